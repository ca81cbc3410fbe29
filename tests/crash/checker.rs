//! The checker, on evidence that is made up: it finds nothing where everything is as it should be, and each fault where one is.

use std::collections::BTreeSet;

use nodepath::model::DeviceSettings;
use nodepath::model::device::UnknownPolicy;

use crate::promises::{
    Broken, Doubts, Evidence, Left, Message, Moment, Part, Policy, Posted, Row, Send, Turn, judge,
};

const DEVICE: &str = "shop";
const PROSPECT: &str = "62812";

/// One prospect wrote `a`, and then `b` and `c` in a burst. Both turns were answered, the second in two parts.
fn good() -> Evidence {
    let mut evidence = Evidence {
        moment: Moment::Calm,
        posted: vec![],
        sends: vec![],
        is_log_whole: true,
        left: Left::default(),
        doubted: BTreeSet::new(),
        clock_was_set: false,
    };
    evidence.left.devices.insert(
        DEVICE.to_owned(),
        Policy {
            settings: DeviceSettings::default(),
        },
    );
    evidence.left.conversations.push(Row {
        id: "cnv".to_owned(),
        device: DEVICE.to_owned(),
        prospect: PROSPECT.to_owned(),
        state: "idle".to_owned(),
        owner: None,
        ready_at: None,
    });
    evidence.says(1, "a", "t1");
    evidence.says(2, "b", "t2");
    evidence.says(3, "reply c one; reply c two", "t2");
    evidence.commits("t1", 1, &["You said: a"]);
    evidence.commits("t2", 2, &["c one", "c two"]);
    evidence
}

impl Evidence {
    fn says(&mut self, seq: i64, text: &str, turn: &str) {
        self.posted.push(Posted {
            device: DEVICE.to_owned(),
            prospect: PROSPECT.to_owned(),
            id: format!("wamid.{seq}"),
            text: text.to_owned(),
            is_answered: true,
        });
        self.left.inbox.push(Message {
            id: format!("msg{seq}"),
            seq,
            device: DEVICE.to_owned(),
            conversation: Some("cnv".to_owned()),
            provider_message_id: Some(format!("wamid.{seq}")),
            state: "done".to_owned(),
            reason: None,
            turn: Some(turn.to_owned()),
            received_at: seq * 100,
            settled_at: Some(seq * 100 + 50),
        });
    }

    fn commits(&mut self, turn: &str, epoch: i64, texts: &[&str]) {
        let last = self
            .left
            .inbox
            .iter()
            .filter(|m| m.turn.as_deref() == Some(turn));
        let started_at = last.map(|m| m.received_at).max().unwrap();
        self.left.turns.push(Turn {
            id: turn.to_owned(),
            place: epoch,
            conversation: "cnv".to_owned(),
            epoch,
            outcome: "committed".to_owned(),
            started_at,
            finished_at: started_at + 50,
        });
        for (idx, text) in (0..).zip(texts) {
            let id = format!("{turn}.{idx}");
            self.left.outbox.push(Part {
                id: id.clone(),
                conversation: "cnv".to_owned(),
                device: DEVICE.to_owned(),
                turn: turn.to_owned(),
                idx,
                body: serde_json::json!({ "type": "text", "text": text }).to_string(),
                state: "sent".to_owned(),
                attempts: 1,
                error: None,
            });
            self.arrives(&id, text);
        }
    }

    fn arrives(&mut self, part: &str, text: &str) {
        self.sends.push(Send {
            part: part.to_owned(),
            to: PROSPECT.to_owned(),
            text: text.to_owned(),
            is_taken: true,
            is_refused: false,
            is_silent: false,
        });
    }

    fn resends(&mut self) {
        let policy = self.left.devices.get_mut(DEVICE).unwrap();
        policy.settings.unknown = UnknownPolicy::Resend;
    }
}

/// What is broken once the evidence is changed like this.
fn broken(change: impl FnOnce(&mut Evidence)) -> BTreeSet<Broken> {
    let mut evidence = good();
    change(&mut evidence);
    let violations = judge(&evidence).violations;
    violations.iter().map(|v| v.broken).collect()
}

fn only(broken: Broken) -> BTreeSet<Broken> {
    BTreeSet::from([broken])
}

#[test]
fn nothing_is_broken_where_everything_is_as_it_should_be() {
    assert_eq!(broken(|_| {}), BTreeSet::new());
}

#[test]
fn a_message_that_was_answered_2xx_and_is_not_there_is_lost() {
    let forget = |e: &mut Evidence| {
        e.says(4, "d", "t3");
        e.left.inbox.pop();
    };
    assert_eq!(broken(forget), only(Broken::Lost));
    let never_taken = |e: &mut Evidence| {
        forget(e);
        e.posted[3].is_answered = false;
    };
    assert_eq!(broken(never_taken), BTreeSet::new());
}

#[test]
fn a_message_that_no_reply_answers_is_lost() {
    // Marked by a turn that was not run for it.
    let found = broken(|e| e.says(4, "d", "t1"));
    assert!(found.contains(&Broken::Lost), "{found:?}");
    let found = broken(|e| {
        e.left.inbox[0].state = "skipped".to_owned();
        e.left.inbox[0].turn = None;
    });
    assert!(found.contains(&Broken::Lost), "without a word: {found:?}");
}

#[test]
fn a_part_that_is_sent_and_never_arrived_is_lost() {
    assert_eq!(broken(|e| drop(e.sends.pop())), only(Broken::Lost));
    // It is in plain sight of the operator.
    let held = broken(|e| {
        e.sends.pop();
        e.left.outbox[2].state = "held".to_owned();
    });
    assert_eq!(held, BTreeSet::new());
}

#[test]
fn a_message_with_two_rows_and_one_with_two_replies_are_doubled() {
    let found = broken(|e| {
        let again = Message {
            id: "msg9".to_owned(),
            seq: 9,
            ..e.left.inbox[0].clone()
        };
        e.left.inbox.push(again);
    });
    assert!(found.contains(&Broken::Doubled), "{found:?}");
    let found = broken(|e| {
        e.says(4, "d", "t3");
        e.commits("t3", 3, &["You said: a / d"]);
    });
    assert!(found.contains(&Broken::Doubled), "{found:?}");
}

#[test]
fn a_reply_that_overtakes_another_is_out_of_order() {
    assert_eq!(broken(|e| e.sends.swap(0, 1)), only(Broken::OutOfOrder));
    assert_eq!(broken(|e| e.sends.swap(1, 2)), only(Broken::OutOfOrder));
    let by_hand = broken(|e| {
        e.sends.swap(0, 2);
        e.left
            .replayed
            .extend(["t1.0".to_owned(), "t2.1".to_owned()]);
    });
    assert_eq!(by_hand, BTreeSet::new());
}

#[test]
fn a_reply_that_a_newer_message_should_have_stopped_is_stale() {
    let came_meanwhile = |e: &mut Evidence| {
        e.left.inbox[1].received_at = e.left.turns[0].started_at + 10;
    };
    assert_eq!(broken(came_meanwhile), only(Broken::Stale));
    let has_been_restarted_enough = broken(|e| {
        came_meanwhile(e);
        e.left
            .devices
            .get_mut(DEVICE)
            .unwrap()
            .settings
            .max_restarts = 0;
    });
    assert_eq!(has_been_restarted_enough, BTreeSet::new());
}

#[test]
fn an_epoch_that_does_not_rise_is_not_exclusive() {
    assert_eq!(
        broken(|e| e.left.turns[1].epoch = 1),
        only(Broken::NotExclusive)
    );
}

#[test]
fn what_left_and_was_not_decided_so_is_undecided() {
    let found = broken(|e| e.arrives("ghost", "boo"));
    assert_eq!(found, only(Broken::Undecided));
    let found = broken(|e| e.left.outbox[2].idx = 3);
    assert!(found.contains(&Broken::Undecided), "{found:?}");
    let found = broken(|e| e.left.turns[1].outcome = "superseded".to_owned());
    assert!(found.contains(&Broken::Undecided), "{found:?}");
}

#[test]
fn a_message_that_nothing_will_answer_lacks_its_wake_up() {
    let found = broken(|e| {
        e.moment = Moment::Any;
        e.says(4, "d", "none");
        let last = e.left.inbox.last_mut().unwrap();
        (last.state, last.turn, last.settled_at) = ("pending".to_owned(), None, None);
    });
    assert_eq!(found, only(Broken::WakeUpLost));
    let found = broken(|e| {
        e.moment = Moment::Any;
        e.left.conversations[0].state = "waiting".to_owned();
    });
    assert_eq!(found, only(Broken::WakeUpLost));
}

#[test]
fn a_lock_that_is_held_for_nothing_is_left() {
    for state in ["running", "sending"] {
        let found = broken(|e| e.left.conversations[0].state = state.to_owned());
        assert_eq!(found, only(Broken::LockLeft), "{state}");
    }
    let without_the_lock = broken(|e| {
        e.moment = Moment::Any;
        e.left.outbox[2].state = "sending".to_owned();
    });
    assert_eq!(without_the_lock, only(Broken::LockLeft));
}

#[test]
fn a_part_that_leaves_again_must_have_been_refused_or_asked_for() {
    let again = |e: &mut Evidence| {
        e.sends[2].is_taken = false;
        e.arrives("t2.1", "c two");
    };
    assert_eq!(broken(again), only(Broken::BlindResend));
    let refused = broken(|e| {
        again(e);
        e.sends[2].is_refused = true;
    });
    assert_eq!(refused, BTreeSet::new());
    let asked_for = broken(|e| {
        again(e);
        e.resends();
    });
    assert_eq!(asked_for, BTreeSet::new());
}

#[test]
fn doubts_are_counted_by_what_ended_them() {
    let mut evidence = good();
    evidence.doubted.insert("t1.0".to_owned());
    evidence.sends[2].is_silent = true;
    evidence.left.outbox[2].state = "held".to_owned();
    let doubts = judge(&evidence).doubts;
    let expected = Doubts {
        told: 1,
        held: 1,
        ..Doubts::default()
    };
    assert_eq!((doubts, doubts.all()), (expected, 2));

    evidence.resends();
    evidence.left.outbox[2].state = "sent".to_owned();
    evidence.arrives("t2.1", "c two");
    let verdict = judge(&evidence);
    assert_eq!((verdict.doubts.resent, verdict.twice), (1, 1));
    assert_eq!(verdict.violations, []);
}
