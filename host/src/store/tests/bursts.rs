//! Any burst of messages, redeliveries, ends of turns and passing time, under each policy, against a plain account of what must
//! come of it.

use proptest::prelude::*;

use super::*;

/// So many bursts in a test run; each opens a database of its own. `PROPTEST_CASES` asks for more.
const CASES: u32 = 8;

/// How many messages of the fixture's tenant may wait.
const MAX_PENDING: usize = 10;

/// What happens to a conversation.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A new message comes.
    Say,
    /// One that came before comes again, counted from the newest.
    Redeliver(usize),
    /// The running turn commits, or the part that is being sent arrives.
    Proceed,
    /// Time passes, and the host looks for what is due.
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Say),
        1 => (0..6_usize).prop_map(Step::Redeliver),
        4 => Just(Step::Proceed),
        2 => (0..3_000_u64).prop_map(Step::Pass),
    ]
}

prop_compose! {
    fn settings()(
        overlap in prop::sample::select(vec![Overlap::Restart, Overlap::Queue, Overlap::Skip]),
        max_restarts in 0..3_u32,
        max_wait_ms in 1_000..5_000_u64,
        debounce_ms in prop_oneof![Just(0), 1..1_000_u64],
    ) -> DeviceSettings {
        // Every message has another text, so none is taken for a slip of the finger.
        DeviceSettings { overlap, max_restarts, max_wait_ms, debounce_ms, ..DeviceSettings::default() }
    }
}

/// What must be so, kept beside the store.
struct Account {
    f: Fixture,
    settings: DeviceSettings,
    /// How many messages came.
    said: usize,
    /// Those that no turn has answered yet, with their times, in the order in which they came.
    pending: Vec<(String, Timestamp)>,
    skipped: usize,
    answered: usize,
    running: Option<Running>,
    sending: Option<Part>,
    turns: i64,
}

/// A turn under its lock.
struct Running {
    claim: Claim,
    /// Messages that came since and wait.
    newer: usize,
    restarts: u32,
}

impl Account {
    async fn new(settings: DeviceSettings) -> Self {
        Self {
            f: fixture(settings.clone()).await,
            settings,
            said: 0,
            pending: Vec::new(),
            skipped: 0,
            answered: 0,
            running: None,
            sending: None,
            turns: 0,
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Say => self.say().await,
            Step::Redeliver(back) => self.redeliver(back).await,
            Step::Proceed => self.proceed().await,
            Step::Pass(ms) => self.f.due_after(Duration::from_millis(ms)).await,
        }
        self.look(0);
    }

    async fn say(&mut self) {
        let text = format!("text {}", self.said);
        let Some(fate) = self.deliver(self.said).await else {
            return;
        };
        self.said += 1;
        let is_locked = self.running.is_some() || self.sending.is_some();
        let is_skipped = is_locked && self.settings.overlap == Overlap::Skip;
        assert_eq!(matches!(fate, Fate::Skipped(..)), is_skipped, "{fate:?}");
        if is_skipped {
            self.skipped += 1;
            return;
        }
        assert_eq!(
            matches!(fate, Fate::Restarted(_)),
            self.may_restart(),
            "{fate:?}"
        );
        self.pending.push((text, self.f.clock.now()));
        if let Some(running) = &mut self.running {
            running.newer += 1;
        }
    }

    async fn redeliver(&mut self, back: usize) {
        let Some(n) = self.said.checked_sub(back + 1) else {
            return;
        };
        let before = self.f.detail().await.summary;
        let fate = self.deliver(n).await;
        assert!(matches!(fate, None | Some(Fate::Duplicate)), "{fate:?}");
        assert_eq!(self.f.detail().await.summary, before);
        assert!(self.f.next().is_none(), "a redelivery starts something");
    }

    /// The provider delivers message `n`, and does so later if there is no room for it.
    async fn deliver(&self, n: usize) -> Option<Fate> {
        let message = message(&format!("m{n}"), PROSPECT, &format!("text {n}"));
        let accepted = self.f.accept(vec![Event::Message(message)]).await;
        let has_room = self.pending.len() < MAX_PENDING;
        match accepted {
            Accepted::Stored(mut fates) if has_room => fates.pop(),
            Accepted::Full if !has_room => None,
            other => panic!("{other:?} with {} waiting", self.pending.len()),
        }
    }

    /// The running turn commits, or the part that is being sent arrives.
    async fn proceed(&mut self) {
        if let Some(part) = self.sending.take() {
            self.f.sent(&part).await;
            return;
        }
        let may_restart = self.may_restart();
        let Some(turn) = self.running.take() else {
            return;
        };
        let covered = texts(&turn.claim).len();
        let finished = self.f.reply(turn.claim, &["a reply"]).await;
        if turn.newer > 0 && may_restart {
            assert_eq!(finished, Finished::Superseded, "a stale reply");
            self.look(turn.restarts + 1);
            assert!(self.running.is_some(), "no turn follows the stale one");
            return;
        }
        assert_eq!(finished, Finished::Committed);
        self.turns += 1;
        self.answered += covered;
        self.pending.drain(..covered);
    }

    /// Whether a newer message is to restart the running turn.
    fn may_restart(&self) -> bool {
        let (Some(turn), Some((_, first))) = (&self.running, self.pending.first()) else {
            return false;
        };
        self.settings.overlap == Overlap::Restart
            && turn.restarts < self.settings.max_restarts
            && self.f.clock.now().since(*first) < self.settings.max_wait()
    }

    /// Takes what the store wants done. One thing is under way at a time, and a turn covers exactly what is pending.
    fn look(&mut self, restarts: u32) {
        while let Some(work) = self.f.next() {
            if let Work::Cancel { .. } = work {
                continue;
            }
            assert!(
                self.running.is_none() && self.sending.is_none(),
                "two hold one lock: {work:?}"
            );
            match work {
                Work::Run(claim) => {
                    let pending: Vec<&str> = self.pending.iter().map(|(t, _)| &**t).collect();
                    assert_eq!(texts(&claim), pending);
                    self.running = Some(Running {
                        claim: *claim,
                        newer: 0,
                        restarts,
                    });
                }
                Work::Send(part) => self.sending = Some(*part),
                Work::Cancel { .. } => {}
            }
        }
    }

    /// Lets everything come to its end, and counts.
    async fn end(mut self) {
        while !self.pending.is_empty() || self.sending.is_some() {
            self.take(Step::Pass(self.settings.max_wait_ms)).await;
            self.take(Step::Proceed).await;
        }
        assert_eq!(self.answered + self.skipped, self.said);
        let summary = self.f.detail().await.summary;
        assert_eq!(summary.state, "idle");
        assert_eq!((summary.turns, summary.pending), (self.turns, 0));
        assert_eq!(self.f.locks().await, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]
    #[test]
    fn any_burst_ends_in_one_turn_for_each_message(
        settings in settings(),
        steps in prop::collection::vec(step(), 1..24),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut account = Account::new(settings).await;
            account.take(Step::Say).await;
            for step in steps {
                account.take(step).await;
            }
            account.end().await;
        });
    }
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(CASES)
}
