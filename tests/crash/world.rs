//! Many conversations on one host that is ended again and again: who writes, how providers deliver, and what is kept to judge it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nodepath::cli::demo::provider::Request;
use nodepath::cli::demo::webhooks::Webhook;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;

use crate::process::Process;
use crate::promises::{self, Broken, Doubts, Evidence, Left, Moment, Posted, Verdict};
use crate::site::{DEVICE, Setup, Site, now};

/// A device whose plugin thinks, so that bursts restart its turns. What is in doubt is held.
pub(crate) const HASTY: &str = DEVICE;
/// A device with the defaults, which sends again what is in doubt.
pub(crate) const PLAIN: &str = "plain";
/// A device that queues, and whose replies have several parts.
pub(crate) const ORDERLY: &str = "orderly";
/// The same, which sends again what is in doubt.
pub(crate) const AGAIN: &str = "again";
pub(crate) const DEVICES: [&str; 4] = [HASTY, PLAIN, ORDERLY, AGAIN];

/// A turn that is killed has been tried, and these are killed more often than a poisonous message would be.
const ATTEMPTS: &str = "max_attempts=100";

/// How long the provider has to tell. Long enough for a status webhook, and short enough to run out often.
const WINDOW: &str = "unknown_window=400ms";

/// How soon a provider delivers again what was not answered 2xx. Real ones wait longer.
const REDELIVERY: Duration = Duration::from_millis(150);

/// How long everything may take to calm down: the longest backoff of a part that was refused a few times, and room.
const CALM: Duration = Duration::from_secs(60);

/// Webhooks that show that a host goes on.
const GOES_ON: usize = 5;

/// What has happened so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// Deliveries that were answered 2xx.
    pub(crate) answered: usize,
    /// Deliveries that were answered 503.
    pub(crate) refused: usize,
    /// Prospects who have not written everything.
    pub(crate) writing: usize,
    /// Whether those who write for as long as they may, may.
    pub(crate) is_over: bool,
}

/// What is kept to judge by.
#[derive(Default)]
struct Kept {
    posted: Vec<Posted>,
    doubted: BTreeSet<String>,
    /// What was broken, and when it was first seen.
    broken: BTreeMap<String, Broken>,
    clock_was_set: bool,
}

/// One site with four devices, and everything that happens there.
pub(crate) struct World {
    pub(crate) site: Site,
    pub(crate) seed: u64,
    began: Instant,
    /// The host that takes webhooks now, if there is one.
    host: watch::Sender<Option<String>>,
    pub(crate) counts: watch::Sender<Counts>,
    kept: Mutex<Kept>,
    /// How long everything may take to calm down.
    pub(crate) patience: Duration,
    /// Whether what is broken is what is looked for, and nobody needs to see it.
    pub(crate) is_planted: bool,
}

/// What came of a scenario.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) rounds: usize,
    pub(crate) faults: usize,
    pub(crate) seconds: u64,
    pub(crate) messages: usize,
    pub(crate) replies: usize,
    pub(crate) twice: usize,
    pub(crate) doubts: Doubts,
    pub(crate) broken: BTreeMap<String, Broken>,
}

impl Outcome {
    /// What came of another site, too.
    pub(crate) fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.faults += other.faults;
        self.seconds += other.seconds;
        self.messages += other.messages;
        self.replies += other.replies;
        self.twice += other.twice;
        self.doubts += other.doubts;
        self.broken.extend(other.broken);
    }

    pub(crate) fn count(&self, broken: Broken) -> usize {
        self.broken.values().filter(|b| **b == broken).count()
    }
}

impl World {
    /// The devices are set up on what `setup` says of the rest.
    pub(crate) async fn new(setup: Setup, seed: u64) -> Self {
        let setup = setup.set(ATTEMPTS).set(WINDOW);
        // Nothing excuses a stale reply of this one.
        let site = setup
            .set("max_restarts=100")
            .set("max_wait=1h")
            .site()
            .await;
        site.add_plugin("echo").await;
        site.add_plugin("test-script").await;
        let resend = "unknown=resend";
        let queue = "overlap=queue";
        for (id, plugin, settings) in [
            (PLAIN, "echo", &[ATTEMPTS, WINDOW, resend][..]),
            (ORDERLY, "test-script", &[ATTEMPTS, WINDOW, queue]),
            (AGAIN, "test-script", &[ATTEMPTS, WINDOW, queue, resend]),
        ] {
            site.add_device(id, plugin, "{}", settings).await;
        }
        Self {
            site,
            seed,
            began: Instant::now(),
            host: watch::Sender::new(None),
            counts: watch::Sender::default(),
            kept: Mutex::default(),
            patience: CALM,
            is_planted: false,
        }
    }

    /// Chance of its own for each thing that takes some.
    pub(crate) fn chance(&self, of: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed ^ of.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// Starts a host that takes webhooks.
    pub(crate) async fn start(&self) -> Process<'_> {
        let host = self.site.serve().await;
        self.takes_webhooks(&host);
        host
    }

    /// From now on this one takes webhooks.
    pub(crate) fn takes_webhooks(&self, host: &Process<'_>) {
        self.host.send_replace(Some(host.url()));
    }

    /// Kills the host, and looks at what it has left.
    pub(crate) async fn kill(&self, host: Process<'_>) {
        host.kill().await;
        self.buried("killed").await;
    }

    /// Looks at what a host that has died has left.
    pub(crate) async fn buried(&self, when: &str) {
        self.host.send_replace(None);
        let left = self.left_by_the_dead().await;
        {
            let mut kept = self.kept.lock().unwrap();
            let under_way = |state: &str| matches!(state, "sending" | "unknown");
            let doubted = left.outbox.iter().filter(|p| under_way(&p.state));
            kept.doubted.extend(doubted.map(|p| p.id.clone()));
        }
        self.judge(left, Moment::Any, when);
    }

    /// A copy is read, so that the next host finds the files as the last one has left them.
    async fn left_by_the_dead(&self) -> Left {
        let copy = tempfile::tempdir().unwrap();
        for name in ["nodepath.db", "nodepath.db-wal"] {
            let file = self.site.path("data").join(name);
            if file.exists() {
                std::fs::copy(file, copy.path().join(name)).unwrap();
            }
        }
        Left::read(&copy.path().join("nodepath.db")).await.unwrap()
    }

    /// Everybody writes as `talk` says, each to one device; answers when they have.
    pub(crate) async fn converse(&self, talk: Talk) {
        self.counts.send_modify(|counts| counts.writing += 1);
        let mut rng = self.chance(talk.prospect);
        let prospect = talk.number();
        for place in 0.. {
            let enough = match talk.messages {
                Some(messages) => place >= messages,
                None => self.counts.borrow().is_over,
            };
            if enough {
                break;
            }
            let own_word = format!("w{}.{place}", talk.prospect);
            let text = if talk.is_scripted() && rng.random_ratio(1, 3) {
                format!("reply {own_word} one; reply {own_word} two; reply {own_word} three")
            } else {
                own_word
            };
            let index = self.writes(talk.device, &prospect, &text);
            self.deliver(index).await;
            if rng.random_ratio(1, 5) {
                self.deliver(index).await;
            }
            if rng.random_ratio(1, 2) {
                pause(&mut rng, talk.pause_ms).await;
            }
        }
        self.counts.send_modify(|counts| counts.writing -= 1);
    }

    /// Somebody writes one message, whose word is made of theirs, and it is delivered.
    pub(crate) async fn says(&self, device: &str, prospect: &str, word: &str) -> usize {
        let text = format!("w{prospect}.{word}");
        let index = self.writes(device, prospect, &text);
        self.deliver(index).await;
        index
    }

    /// Writes down that a prospect has written, and answers which message it is.
    fn writes(&self, device: &str, prospect: &str, text: &str) -> usize {
        let mut kept = self.kept.lock().unwrap();
        let index = kept.posted.len();
        kept.posted.push(Posted {
            device: device.to_owned(),
            prospect: prospect.to_owned(),
            id: format!("wamid.{index}"),
            text: text.to_owned(),
            is_answered: false,
        });
        index
    }

    /// Delivers a message until it is answered 2xx.
    pub(crate) async fn deliver(&self, index: usize) {
        let posted = self.kept.lock().unwrap().posted[index].clone();
        let webhook = Webhook::new().text(&posted.prospect, &posted.id, &posted.text, now());
        let mut host = self.host.subscribe();
        loop {
            let url = host.wait_for(Option::is_some).await.unwrap().clone();
            let url = url.unwrap();
            match self.site.deliver_to(&posted.device, &url, &webhook).await {
                Some((status, _)) if status.is_success() => {
                    self.kept.lock().unwrap().posted[index].is_answered = true;
                    self.counts.send_modify(|counts| counts.answered += 1);
                    return;
                }
                Some((status, body)) if status.as_u16() != 503 && status.as_u16() != 429 => {
                    panic!("the host refused a webhook: {status} {body}")
                }
                Some(_) => self.counts.send_modify(|counts| counts.refused += 1),
                None => {}
            }
            let is_other = |now: &Option<String>| now.as_ref() != Some(&url);
            // The provider's own schedule: it delivers again some time later, or as soon as there is another host.
            drop(tokio::time::timeout(REDELIVERY, host.wait_for(is_other)).await);
        }
    }

    /// Delivers a message again that was answered, whenever that was.
    pub(crate) async fn redeliver_some(&self, rng: &mut StdRng, most: usize) {
        let count = self.kept.lock().unwrap().posted.len();
        for _ in 0..most.min(count) {
            self.deliver(rng.random_range(0..count)).await;
        }
    }

    /// The provider tells of some of what it has taken since.
    pub(crate) async fn tells(&self, host: &Process<'_>, since: usize, rng: &mut StdRng) {
        let requests = self.site.provider.requests();
        let taken = requests.iter().skip(since).filter(|r| r.wamid.is_some());
        for request in taken.filter(|_| rng.random_ratio(1, 2)) {
            self.tell(host, request).await;
        }
    }

    /// The provider tells that a message has arrived. Whether the host is there to hear it is a matter of luck.
    pub(crate) async fn tell(&self, host: &Process<'_>, request: &Request) {
        let webhook = self.site.status_of(request, "delivered");
        drop(host.delivers(&webhook).await);
    }

    /// Waits until nothing is under way, or for as long as that may take, and judges what there is then.
    pub(crate) async fn calms_down(&self, when: &str) -> Verdict {
        let database = self.database();
        let calm = async {
            while !Left::is_calm(&database).await.unwrap_or(false) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // What is not calm by then is told by the checker.
        drop(tokio::time::timeout(self.patience, calm).await);
        let left = Left::read(&database).await.unwrap();
        self.judge(left, Moment::Calm, when)
    }

    pub(crate) fn database(&self) -> std::path::PathBuf {
        self.site.path("data/nodepath.db")
    }

    /// Judges everything, and keeps what is broken with the moment at which it was first seen.
    fn judge(&self, left: Left, moment: Moment, when: &str) -> Verdict {
        let mut kept = self.kept.lock().unwrap();
        let evidence = Evidence {
            moment,
            posted: kept.posted.clone(),
            sends: self
                .site
                .provider
                .requests()
                .into_iter()
                .map(Into::into)
                .collect(),
            is_log_whole: true,
            left,
            doubted: kept.doubted.clone(),
            clock_was_set: kept.clock_was_set,
        };
        let verdict = promises::judge(&evidence);
        for violation in &verdict.violations {
            let what = violation.to_string();
            let is_new = kept.broken.insert(what, violation.broken).is_none();
            if is_new && !self.is_planted {
                eprintln!("crash: BROKEN ({when}, seed {}): {violation}", self.seed);
            }
        }
        verdict
    }

    /// Waits until webhooks are taken, by the host that there is.
    pub(crate) async fn goes_on(&self, when: &str) {
        let mut counts = self.counts.subscribe();
        let enough = counts.borrow().answered + GOES_ON;
        let answered = counts.wait_for(|c| c.answered >= enough || c.writing == 0);
        if tokio::time::timeout(self.patience, answered).await.is_err() {
            self.is_broken(Broken::LockLeft, &format!("{when}: no webhook is taken"));
        }
    }

    /// Something that the checker can't see: the host did not do what it must.
    pub(crate) fn is_broken(&self, broken: Broken, what: &str) {
        eprintln!("crash: BROKEN (seed {}): {broken:?}: {what}", self.seed);
        self.kept
            .lock()
            .unwrap()
            .broken
            .insert(what.to_owned(), broken);
    }

    /// From now on the host's times say nothing about what came first.
    pub(crate) fn clock_is_set(&self) {
        self.kept.lock().unwrap().clock_was_set = true;
    }

    /// What is broken so far.
    pub(crate) fn broken(&self) -> BTreeMap<String, Broken> {
        self.kept.lock().unwrap().broken.clone()
    }

    /// Whoever looks for the fault has the database, as it is, and the logs.
    fn keep_files(&self) {
        if self.is_planted || self.broken().is_empty() {
            return;
        }
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{}", self.seed));
        let files = [
            "data/nodepath.db",
            "data/nodepath.db-wal",
            "data/app.log",
            "logs/app.log",
        ];
        std::fs::create_dir_all(&place).unwrap();
        for file in files
            .map(|file| self.site.path(file))
            .iter()
            .filter(|f| f.exists())
        {
            std::fs::copy(file, place.join(file.file_name().unwrap())).unwrap();
        }
        eprintln!(
            "crash: the database and the log are kept in {}",
            place.display()
        );
    }

    /// What came of everything.
    pub(crate) fn outcome(&self, rounds: usize, faults: usize, verdict: &Verdict) -> Outcome {
        self.keep_files();
        let kept = self.kept.lock().unwrap();
        Outcome {
            rounds,
            faults,
            seconds: self.began.elapsed().as_secs(),
            messages: kept.posted.len(),
            replies: self.site.provider.taken().len(),
            twice: verdict.twice,
            doubts: verdict.doubts,
            broken: kept.broken.clone(),
        }
    }
}

/// One prospect, and how they write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Talk {
    /// Which prospect; no two are the same.
    pub(crate) prospect: u64,
    pub(crate) device: &'static str,
    /// How many messages; none for as long as the scenario lasts.
    pub(crate) messages: Option<usize>,
    /// The longest pause between two messages. Half of them follow at once.
    pub(crate) pause_ms: u64,
}

impl Talk {
    fn number(&self) -> String {
        format!("62812{:07}", self.prospect)
    }

    fn is_scripted(&self) -> bool {
        [ORDERLY, AGAIN].contains(&self.device)
    }
}

/// A part of the scenario: nothing waits for it.
pub(crate) async fn pause(rng: &mut StdRng, longest_ms: u64) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..=longest_ms))).await;
}

/// The seed of this run: the environment's, or any.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("CRASH_SEED").ok();
    given.map_or_else(rand::random, |seed| seed.parse().unwrap())
}
