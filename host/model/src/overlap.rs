//! What a new message does to its conversation: the rule behind the session lock, as a function.

use std::time::Duration;

use super::clock::Timestamp;
use super::device::{DeviceSettings, Overlap};

/// Where a conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing is pending.
    Idle,
    /// Something is pending; a turn starts at `ready_at`.
    Waiting,
    /// A turn runs, under the lock.
    Running,
    /// A turn has committed and its reply is on the way, under the lock.
    Sending,
}

impl State {
    /// The word for it in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Sending => "sending",
        }
    }

    /// Reads the word again.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Idle, Self::Waiting, Self::Running, Self::Sending]
            .into_iter()
            .find(|s| s.as_str() == word)
    }
}

/// What the rule looks at.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// Where the conversation is.
    pub state: State,
    /// When a human has it until; in the past or none: nobody has it.
    pub paused_until: Option<Timestamp>,
    /// How often the running turn was restarted.
    pub restarts: u32,
    /// When the first message of the running turn came.
    pub first_pending_at: Option<Timestamp>,
    /// What waits has failed before, and waits for its next try.
    pub is_retrying: bool,
    /// The message has the text of the one before it, which came this long ago.
    pub same_text_after: Option<Duration>,
    /// The time.
    pub now: Timestamp,
}

/// What a new message does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It takes the lock, and a turn starts now.
    Claim,
    /// It waits with the others for silence, until then.
    Debounce(Timestamp),
    /// The conversation waits already; it joins in.
    Join,
    /// It restarts the running turn.
    Restart,
    /// It waits for the lock to be released.
    Queue,
    /// It is recorded and not answered.
    Skip(SkipReason),
    /// A human has the conversation; it is recorded for them.
    Absorb,
}

/// Why a message is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// The same words came just before.
    SameText,
    /// The conversation was locked and its device's policy is `skip`.
    Locked,
}

impl SkipReason {
    /// The word for it in the store and in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SameText => "same_text",
            Self::Locked => "locked",
        }
    }
}

/// Says what a new message does to its conversation.
#[must_use]
pub fn arrival(at: &Situation, settings: &DeviceSettings) -> Arrival {
    if at.paused_until.is_some_and(|until| until > at.now) {
        return Arrival::Absorb;
    }
    let window = Duration::from_millis(settings.duplicate_window_ms);
    if at.same_text_after.is_some_and(|gap| gap < window) {
        return Arrival::Skip(SkipReason::SameText);
    }
    match (at.state, settings.overlap) {
        (State::Idle, _) if settings.debounce_ms == 0 => Arrival::Claim,
        (State::Idle, _) => Arrival::Debounce(silence_ends(at, settings)),
        // A retry after a failure waits longer than any debounce would, and may not be hurried.
        (State::Waiting, _) if settings.debounce_ms == 0 || at.is_retrying => Arrival::Join,
        (State::Waiting, _) => Arrival::Debounce(silence_ends(at, settings)),
        (State::Running | State::Sending, Overlap::Skip) => Arrival::Skip(SkipReason::Locked),
        (State::Running, Overlap::Restart)
            if may_restart(at.restarts, at.first_pending_at, at.now, settings) =>
        {
            Arrival::Restart
        }
        (State::Running | State::Sending, _) => Arrival::Queue,
    }
}

/// Whether a running turn still yields to a newer message. T1 asks it to announce a restart, T3 to refuse a stale reply.
#[must_use]
pub fn may_restart(
    restarts: u32,
    first_pending_at: Option<Timestamp>,
    now: Timestamp,
    settings: &DeviceSettings,
) -> bool {
    let waited = first_pending_at.map_or(Duration::ZERO, |first| now.since(first));
    settings.overlap == Overlap::Restart
        && restarts < settings.max_restarts
        && waited < settings.max_wait()
}

/// Silence is over `debounce` after this message, but never later than `max_wait` after the first.
fn silence_ends(at: &Situation, settings: &DeviceSettings) -> Timestamp {
    let quiet = at.now.plus(Duration::from_millis(settings.debounce_ms));
    let latest = at
        .first_pending_at
        .unwrap_or(at.now)
        .plus(settings.max_wait());
    quiet.min(latest).max(at.now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(100_000);

    fn at(state: State) -> Situation {
        Situation {
            state,
            paused_until: None,
            restarts: 0,
            first_pending_at: Some(NOW),
            is_retrying: false,
            same_text_after: None,
            now: NOW,
        }
    }

    fn with(overlap: Overlap) -> DeviceSettings {
        DeviceSettings {
            overlap,
            ..DeviceSettings::default()
        }
    }

    #[test]
    fn the_table_of_policies() {
        use Arrival::*;
        let skip = Skip(SkipReason::Locked);
        for (state, overlap, expected) in [
            (State::Idle, Overlap::Restart, Claim),
            (State::Idle, Overlap::Queue, Claim),
            (State::Idle, Overlap::Skip, Claim),
            (State::Waiting, Overlap::Restart, Join),
            (State::Waiting, Overlap::Queue, Join),
            (State::Waiting, Overlap::Skip, Join),
            (State::Running, Overlap::Restart, Restart),
            (State::Running, Overlap::Queue, Queue),
            (State::Running, Overlap::Skip, skip),
            (State::Sending, Overlap::Restart, Queue),
            (State::Sending, Overlap::Queue, Queue),
            (State::Sending, Overlap::Skip, skip),
        ] {
            assert_eq!(
                arrival(&at(state), &with(overlap)),
                expected,
                "{state:?} {overlap:?}"
            );
        }
    }

    #[test]
    fn a_turn_that_was_restarted_often_or_waited_long_commits() {
        let often = Situation {
            restarts: 3,
            ..at(State::Running)
        };
        assert_eq!(arrival(&often, &with(Overlap::Restart)), Arrival::Queue);
        let long = Situation {
            first_pending_at: Some(Timestamp(80_000)),
            ..at(State::Running)
        };
        assert_eq!(arrival(&long, &with(Overlap::Restart)), Arrival::Queue);
    }

    #[test]
    fn a_human_gets_the_message_before_any_other_rule() {
        let paused = Situation {
            paused_until: Some(Timestamp(100_001)),
            same_text_after: Some(Duration::ZERO),
            ..at(State::Running)
        };
        assert_eq!(arrival(&paused, &with(Overlap::Skip)), Arrival::Absorb);
        let over = Situation {
            paused_until: Some(NOW),
            ..at(State::Idle)
        };
        assert_eq!(arrival(&over, &with(Overlap::Skip)), Arrival::Claim);
    }

    #[test]
    fn the_same_text_within_the_window_is_skipped() {
        let soon = Situation {
            same_text_after: Some(Duration::from_millis(1_999)),
            ..at(State::Idle)
        };
        assert_eq!(
            arrival(&soon, &with(Overlap::Restart)),
            Arrival::Skip(SkipReason::SameText)
        );
        let later = Situation {
            same_text_after: Some(Duration::from_millis(2_000)),
            ..at(State::Idle)
        };
        assert_eq!(arrival(&later, &with(Overlap::Restart)), Arrival::Claim);
    }

    #[test]
    fn debounce_waits_for_silence_but_not_for_ever() {
        let settings = DeviceSettings {
            debounce_ms: 4_000,
            ..DeviceSettings::default()
        };
        assert_eq!(
            arrival(&at(State::Idle), &settings),
            Arrival::Debounce(Timestamp(104_000))
        );
        let chatty = Situation {
            first_pending_at: Some(Timestamp(82_000)),
            ..at(State::Waiting)
        };
        assert_eq!(
            arrival(&chatty, &settings),
            Arrival::Debounce(Timestamp(102_000))
        );
    }
}
