//! Many conversations at once, bursts, redeliveries, and a host that is killed again and again at moments that a seed chooses. The
//! provider knows the truth; the figures are printed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nodepath::cli::demo::provider::{Answer, Request};
use nodepath::cli::demo::webhooks::Webhook;
use nodepath::store::OutboxRow;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::StatusCode;
use tokio::sync::watch;

use crate::process::Process;
use crate::site::{Setup, Site, now};

const CONVERSATIONS: usize = 15;
/// Messages of each conversation. A look at a conversation shows twenty.
const MESSAGES: usize = 12;
const KILLS: usize = 10;
/// The longest pause of a prospect between two messages. Half of them follow at once.
const PROSPECT_PAUSE_MS: u64 = 500;

#[tokio::test]
async fn whatever_is_killed_nothing_is_lost_doubled_or_out_of_order() {
    let seed =
        std::env::var("STORM_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    eprintln!(
        "storm: STORM_SEED={seed} makes this one again, as far as the machine's timing allows"
    );
    let started = Instant::now();
    let setup = Setup::pondering(Duration::from_millis(30)).set("unknown_window=1s");
    // A turn that is killed has been tried, and these are killed more often than a poisonous message would be.
    let site = setup.set("max_attempts=50").site().await;
    let storm = Storm::new(&site, seed);
    let (host, ()) = tokio::join!(storm.kill_and_restart(), storm.all_write());
    let held = storm.calms_down(&host).await;

    let told = site.provider.taken();
    let before = Verdict::of(&told);
    // Whoever looks at what is held has it sent: the provider has not got it.
    for part in &held {
        site.run(&["dead", "replay", &part.id]).await;
    }
    site.provider.wait_for(told.len() + held.len()).await;
    storm.all_are_idle().await;
    let after = Verdict::of(&site.provider.taken());
    let counts = storm.counts.borrow().clone();
    assert!(host.terminate().await.success());

    eprintln!(
        "storm: {} messages in {CONVERSATIONS} conversations, {} webhooks answered 200 and {} not, {} kills; {} turns run \
         again; {} parts in doubt, of which the provider had {} and {} were held; lost {}, doubled {}, out of order {}; {:.1} s",
        CONVERSATIONS * MESSAGES,
        counts.answered,
        counts.unanswered,
        counts.kills,
        counts.turns,
        counts.in_doubt,
        counts.in_doubt - held.len(),
        held.len(),
        after.lost.len(),
        after.doubled.len(),
        before.out_of_order.len(),
        started.elapsed().as_secs_f32()
    );
    assert_eq!(counts.kills, KILLS);
    assert_eq!(before.out_of_order, BTreeSet::new());
    assert_eq!(after.doubled, BTreeSet::new());
    assert_eq!(after.lost, BTreeSet::new());
    storm.every_message_is_accounted_for().await;
}

/// What has happened so far.
#[derive(Clone, Default)]
struct Counts {
    answered: usize,
    unanswered: usize,
    writing: usize,
    kills: usize,
    turns: usize,
    in_doubt: usize,
}

struct Storm<'a> {
    site: &'a Site,
    seed: u64,
    /// The host that takes webhooks now, if there is one.
    host: watch::Sender<Option<String>>,
    counts: watch::Sender<Counts>,
}

impl<'a> Storm<'a> {
    fn new(site: &'a Site, seed: u64) -> Self {
        let counts = Counts {
            writing: CONVERSATIONS,
            ..Counts::default()
        };
        Self {
            site,
            seed,
            host: watch::Sender::new(None),
            counts: watch::Sender::new(counts),
        }
    }

    async fn all_write(&self) {
        join_all((0..CONVERSATIONS).map(|conversation| self.write(conversation))).await;
    }

    /// One prospect. The provider delivers their messages in order, each until it is answered 200, and every fifth again.
    async fn write(&self, conversation: usize) {
        let mut rng = StdRng::seed_from_u64(self.seed.wrapping_add(conversation as u64));
        for message in 0..MESSAGES {
            let webhook = message_webhook(conversation, message);
            self.deliver(&webhook).await;
            if rng.random_ratio(1, 5) {
                self.deliver(&webhook).await;
            }
            if rng.random_ratio(1, 2) {
                pause(&mut rng, PROSPECT_PAUSE_MS).await;
            }
        }
        self.counts.send_modify(|counts| counts.writing -= 1);
    }

    /// Delivers until it is answered 200.
    async fn deliver(&self, webhook: &Webhook) {
        let mut host = self.host.subscribe();
        loop {
            let url = host
                .wait_for(Option::is_some)
                .await
                .unwrap()
                .clone()
                .unwrap();
            match self.site.deliver(&url, webhook).await {
                Some((StatusCode::OK, _)) => {
                    self.counts.send_modify(|counts| counts.answered += 1);
                    return;
                }
                Some(other) => panic!("the host refused a webhook: {other:?}"),
                None => {
                    self.counts.send_modify(|counts| counts.unanswered += 1);
                    let is_other = |now: &Option<String>| now.as_ref() != Some(&url);
                    host.wait_for(is_other).await.unwrap();
                }
            }
        }
    }

    /// Kills the host at some moment, again and again; the last one stays.
    async fn kill_and_restart(&self) -> Process<'a> {
        let mut rng = StdRng::seed_from_u64(!self.seed);
        for _ in 0..KILLS {
            let host = self.start().await;
            self.moment(&mut rng).await;
            host.kill().await;
            self.host.send_replace(None);
            self.counts.send_modify(|counts| counts.kills += 1);
        }
        self.start().await
    }

    /// Waits for the moment of a kill: some time after some webhooks, soon after some replies, or while the provider owes answers.
    async fn moment(&self, rng: &mut StdRng) {
        let provider = &self.site.provider;
        let some = rng.random_range(1..5);
        let decided = provider.requests().len();
        let is_busy = self.counts.borrow().writing > CONVERSATIONS / 2;
        match rng.random_range(0..3) {
            0 if is_busy => {
                let stall = |_| {
                    if rng.random_ratio(1, 2) {
                        Answer::TakeAndStall
                    } else {
                        Answer::LoseAndStall
                    }
                };
                provider.script((0..some).map(stall).collect::<Vec<_>>());
                provider.wait_for_requests(decided + some).await;
            }
            1 if is_busy => {
                provider.wait_for_requests(decided + some).await;
                pause(rng, 10).await;
            }
            _ => {
                let enough = self.counts.borrow().answered + some;
                let reached = |counts: &Counts| counts.answered >= enough || counts.writing == 0;
                self.counts.subscribe().wait_for(reached).await.unwrap();
                pause(rng, 200).await;
            }
        }
    }

    async fn start(&self) -> Process<'a> {
        let host = self.site.serve().await;
        let (turns, parts) = host.recovered();
        self.counts.send_modify(|counts| {
            counts.turns += turns;
            counts.in_doubt += parts;
        });
        self.host.send_replace(Some(host.url()));
        host
    }

    /// The provider tells of everything that it has taken, and what nobody can tell of is held. Answers that.
    async fn calms_down(&self, host: &Process<'_>) -> Vec<OutboxRow> {
        for request in self.site.provider.taken() {
            host.receives(&self.site.status_of(&request, "delivered"))
                .await;
        }
        self.all_are_idle().await;
        // What was sent meanwhile.
        for request in self.site.provider.taken() {
            host.receives(&self.site.status_of(&request, "delivered"))
                .await;
        }
        let taken = self.site.provider.taken();
        let taken: BTreeSet<_> = taken
            .iter()
            .filter_map(|request| request.callback.as_deref())
            .collect();
        let mut held = Vec::new();
        for part in self.parts().await {
            match part.state.as_str() {
                "sent" => assert!(
                    taken.contains(part.id.as_str()),
                    "the provider has not got it: {part:?}"
                ),
                "held" => {
                    assert!(
                        !taken.contains(part.id.as_str()),
                        "the provider has told of it: {part:?}"
                    );
                    held.push(part);
                }
                _ => panic!("a part is neither sent nor held: {part:?}"),
            }
        }
        held
    }

    async fn all_are_idle(&self) {
        for conversation in 0..CONVERSATIONS {
            let calm = |c: &nodepath::store::ConversationDetail| {
                let open = |part: &OutboxRow| {
                    matches!(part.state.as_str(), "queued" | "sending" | "unknown")
                };
                c.summary.state == "idle" && !c.outbox.iter().any(open)
            };
            self.site
                .until_in(&prospect(conversation), "idle", calm)
                .await;
        }
        assert_eq!(self.site.locks().await, 0);
    }

    async fn parts(&self) -> Vec<OutboxRow> {
        let conversations = self.site.conversations().await;
        conversations.into_iter().flat_map(|c| c.outbox).collect()
    }

    /// Every message is one row, done in a turn that has decided once.
    async fn every_message_is_accounted_for(&self) {
        let conversations = self.site.conversations().await;
        assert_eq!(conversations.len(), CONVERSATIONS);
        for conversation in conversations {
            let decided: BTreeSet<_> = conversation.outbox.iter().map(|part| &part.turn).collect();
            assert_eq!(
                decided.len(),
                conversation.outbox.len(),
                "one part for each turn: {conversation:#?}"
            );
            assert_eq!(conversation.inbox.len(), MESSAGES, "{conversation:#?}");
            for message in &conversation.inbox {
                let has_turn = message
                    .turn
                    .as_ref()
                    .is_some_and(|turn| decided.contains(turn));
                assert!(
                    message.state == "done" && has_turn,
                    "{message:?} of {conversation:#?}"
                );
            }
        }
    }
}

/// A part of the storm: nothing waits for it.
async fn pause(rng: &mut StdRng, longest_ms: u64) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..longest_ms))).await;
}

fn message_webhook(conversation: usize, message: usize) -> Webhook {
    let id = format!("wamid.{conversation}.{message}");
    Webhook::new().text(
        &prospect(conversation),
        &id,
        &name(conversation, message),
        now(),
    )
}

fn prospect(conversation: usize) -> String {
    format!("62812000{conversation:04}")
}

/// The text of a message.
fn name(conversation: usize, message: usize) -> String {
    format!("{conversation}.{message}")
}

/// What prospects see, against what they wrote.
#[derive(Debug, Default, PartialEq)]
struct Verdict {
    /// Messages that no reply answers.
    lost: BTreeSet<String>,
    /// Messages that several replies answer.
    doubled: BTreeSet<String>,
    /// Messages that are answered after a later one, or to somebody else.
    out_of_order: BTreeSet<String>,
}

impl Verdict {
    fn of(taken: &[Request]) -> Self {
        let replies = taken
            .iter()
            .map(|r| (r.to.as_str(), r.text.as_deref().unwrap_or_default()));
        Self::of_replies(replies)
    }

    fn of_replies<'r>(replies: impl Iterator<Item = (&'r str, &'r str)>) -> Self {
        let mut answered: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (to, text) in replies {
            let words = text.strip_prefix("You said: ").unwrap_or(text);
            answered.entry(to).or_default().extend(words.split(" / "));
        }
        let mut verdict = Self::default();
        for conversation in 0..CONVERSATIONS {
            let seen = answered
                .remove(prospect(conversation).as_str())
                .unwrap_or_default();
            let wrote: Vec<_> = (0..MESSAGES)
                .map(|message| name(conversation, message))
                .collect();
            for message in &wrote {
                match seen.iter().filter(|s| *s == message).count() {
                    0 => verdict.lost.insert(message.clone()),
                    1 => continue,
                    _ => verdict.doubled.insert(message.clone()),
                };
            }
            let place = |message: &str| wrote.iter().position(|w| w == message);
            let mut last = None;
            for message in seen {
                if place(message).is_none() || place(message) < last {
                    verdict.out_of_order.insert(message.to_owned());
                }
                last = place(message).max(last);
            }
        }
        verdict
            .out_of_order
            .extend(answered.into_values().flatten().map(str::to_owned));
        verdict
    }
}

#[test]
fn the_verdict_sees_what_it_looks_for() {
    let mut replies: Vec<(String, String)> = (0..CONVERSATIONS)
        .map(|c| {
            (
                prospect(c),
                format!(
                    "You said: {}",
                    (0..MESSAGES)
                        .map(|m| name(c, m))
                        .collect::<Vec<_>>()
                        .join(" / ")
                ),
            )
        })
        .collect();
    let judge = |replies: &[(String, String)]| {
        Verdict::of_replies(
            replies
                .iter()
                .map(|(to, text)| (to.as_str(), text.as_str())),
        )
    };
    assert_eq!(judge(&replies), Verdict::default());
    replies[3].1 = "You said: 3.1 / 3.0 / 3.2".to_owned();
    replies.push((prospect(4), "You said: 4.3".to_owned()));
    replies[5].0 = prospect(6);
    let verdict = judge(&replies);
    assert!(
        verdict.lost.contains("3.3") && verdict.lost.contains("5.0"),
        "{verdict:?}"
    );
    assert_eq!(verdict.doubled, BTreeSet::from(["4.3".to_owned()]));
    assert!(
        verdict.out_of_order.contains("3.0") && verdict.out_of_order.contains("5.0"),
        "{verdict:?}"
    );
}
