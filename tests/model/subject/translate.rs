//! From the suite's words to the store's, and back.

use nodepath::model::delivery::{PartBody, PartKind};
use nodepath::model::effect::{self, Observed, Scope};
use nodepath::model::inbound::{DeliveryStatus, IgnoreReason, Ignored, OwnerEcho, StatusUpdate};
use nodepath::model::turn::FailureKind;
use nodepath::model::{
    Claim, Content, ConversationId, DeviceId, Event, InboundMessage, OutboxId, ProspectId,
    Timestamp, Trigger,
};
use nodepath::store::{self, Accepted, Commit, Covered, Finished, Settle, Settled, TurnEnd};

use crate::words::{
    Answer, Claimed, Conv, Covers, Effect, End, Fate, Order, OwnerWord, Piece, Reply, Told, Word,
};

/// The key of the tenant's counter.
pub(super) const COUNTER: &str = "n";
/// The key of what a conversation keeps.
pub(super) const KEPT: &str = "k";
/// The label of a conversation.
const TAG: &str = "t";

pub(super) fn device_id(device: usize) -> DeviceId {
    DeviceId::from_trusted(format!("device_{device}"))
}

pub(super) fn prospect_id(prospect: usize) -> ProspectId {
    ProspectId::from_trusted(format!("prospect_{prospect}"))
}

pub(super) fn conversation_id(conv: Conv) -> ConversationId {
    ConversationId::of(&device_id(conv.device), &prospect_id(conv.prospect))
}

pub(super) fn part_id(piece: Piece) -> OutboxId {
    OutboxId::from_trusted(format!("out_{piece:?}"))
}

/// The number at the end of a name that this module has made.
pub(super) fn number<T: std::str::FromStr>(name: &str) -> T {
    let digits = name.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap();
    digits.parse().ok().unwrap()
}

pub(super) fn conv(id: &ConversationId) -> Conv {
    let all = (0..2).flat_map(|device| (0..2).map(move |prospect| Conv { device, prospect }));
    let mut all = all.filter(|conv| conversation_id(*conv) == *id);
    all.next().unwrap()
}

pub(super) fn event(told: &Told) -> Event {
    match told {
        Told::Message { prospect, id, text } => Event::Message(InboundMessage {
            provider_id: format!("m{id}"),
            prospect: prospect_id(*prospect),
            alias: None,
            prospect_name: None,
            sent_at: Timestamp(0),
            content: Content::text(format!("text {text}")),
            reply_to: None,
            ext: vec![],
        }),
        Told::Owner { prospect, id, word } => Event::Echo(OwnerEcho {
            provider_id: format!("m{id}"),
            prospect: prospect_id(*prospect),
            sent_at: Timestamp(0),
            content: Content::text(match word {
                OwnerWord::Cmd => "cmd",
                OwnerWord::Dmc => "dmc",
                OwnerWord::Other => "let me see to it",
            }),
        }),
        Told::Status {
            part,
            attempt,
            word,
            names_ours,
        } => Event::Status(StatusUpdate {
            provider_id: provider_id(*part, *attempt),
            callback: names_ours.then(|| part_id(*part).to_string()),
            status: match word {
                Word::Sent => DeliveryStatus::Sent,
                Word::Failed => DeliveryStatus::Failed,
                Word::Delivered => DeliveryStatus::Delivered,
                Word::Read => DeliveryStatus::Read,
            },
            at: Timestamp(0),
            detail: None,
        }),
        Told::Ignored { prospect, id } => Event::Ignored(Ignored {
            provider_id: Some(format!("m{id}")),
            prospect: Some(prospect_id(*prospect)),
            reason: IgnoreReason::Reaction,
            excerpt: "👍".to_owned(),
        }),
    }
}

/// The provider gives every try an id of its own.
fn provider_id(part: Piece, attempt: u32) -> String {
    format!("wamid.{part:?}.{attempt}")
}

pub(super) fn accepted(accepted: Accepted) -> Answer {
    match accepted {
        Accepted::Full => Answer::Full,
        Accepted::Stored(fates) => Answer::Stored(fates.iter().map(fate_word).collect()),
    }
}

fn fate_word(fate: &store::Fate) -> &'static str {
    match fate {
        store::Fate::Claimed(_) => "claimed",
        store::Fate::Restarted(_) => "restarted",
        store::Fate::Queued(_) => "queued",
        store::Fate::Waiting(_) => "waiting",
        store::Fate::Skipped(_, reason) => match reason.as_str() {
            "same_text" => "skipped: same_text",
            _ => "skipped: locked",
        },
        store::Fate::Absorbed(_) => "absorbed",
        store::Fate::Duplicate => "duplicate",
        store::Fate::Ignored(_) => "ignored",
        store::Fate::Human => "human",
        store::Fate::Noted => "noted",
    }
}

pub(super) fn finished(finished: Finished) -> Answer {
    Answer::Finished(match finished {
        Finished::Committed => "committed",
        Finished::Retrying => "retrying",
        Finished::Superseded => "superseded",
        Finished::TakenOver => "taken over",
        Finished::Conflict => "conflict",
        Finished::Fenced => "fenced",
    })
}

pub(super) fn end(turn: Claimed, end: &End, counter: i64, now: Timestamp) -> TurnEnd {
    let detail = "as the test says".to_owned();
    match end {
        End::Commit(reply) => TurnEnd::Commit(commit(turn, reply, counter, now)),
        End::Retry(ms) => TurnEnd::Retry {
            kind: FailureKind::Trap,
            detail,
            at: Timestamp(now.0 + ms),
        },
        End::GiveUp(reply) => TurnEnd::GiveUp {
            kind: FailureKind::Trap,
            detail,
            fallback: commit(turn, reply, counter, now),
        },
        End::HandOver => {
            let effects = vec![Effect::Handover];
            let reply = Reply {
                effects,
                ..Reply::default()
            };
            TurnEnd::GiveUp {
                kind: FailureKind::Handover,
                detail,
                fallback: commit(turn, &reply, counter, now),
            }
        }
        End::Cancelled => TurnEnd::Cancelled,
        End::HandedBack => TurnEnd::HandedBack,
    }
}

/// The parts that an end decides, if it is committed.
pub(super) fn pieces(turn: Claimed, end: &End) -> Vec<Piece> {
    let (End::Commit(reply) | End::GiveUp(reply)) = end else {
        return vec![];
    };
    let idx = 0..reply.parts.len();
    idx.map(|idx| Piece { turn, idx }).collect()
}

fn commit(turn: Claimed, reply: &Reply, counter: i64, now: Timestamp) -> Commit {
    let parts = reply.parts.iter().enumerate().map(|(idx, pause)| {
        let piece = Piece { turn, idx };
        let body = PartBody {
            kind: PartKind::Text {
                text: format!("{piece:?}"),
            },
            reply_to: None,
            delay_ms: u64::try_from(*pause).unwrap(),
            ext: vec![],
        };
        (part_id(piece), body)
    });
    let observed = Observed {
        scope: Scope::Tenant,
        key: COUNTER.to_owned(),
        version: counter,
    };
    Commit {
        parts: parts.collect(),
        effects: reply.effects.iter().map(|e| effect(e, now)).collect(),
        observed: reply
            .has_read_counter
            .then_some(observed)
            .into_iter()
            .collect(),
    }
}

fn effect(effect: &Effect, now: Timestamp) -> effect::Effect {
    match effect {
        Effect::Timer(name, ms) => effect::Effect::Schedule {
            name: format!("timer_{name}"),
            due: Timestamp(now.0 + ms),
            payload: vec![*name],
        },
        Effect::CancelTimer(name) => effect::Effect::CancelTimer {
            name: format!("timer_{name}"),
        },
        Effect::Keep(Some(value)) => effect::Effect::SetState {
            scope: Scope::Conversation,
            key: KEPT.to_owned(),
            value: value.to_string().into_bytes(),
            expires_at: None,
        },
        Effect::Keep(None) => effect::Effect::DeleteState {
            scope: Scope::Conversation,
            key: KEPT.to_owned(),
        },
        Effect::Count(by) => effect::Effect::IncrementState {
            scope: Scope::Tenant,
            key: COUNTER.to_owned(),
            by: *by,
        },
        Effect::Tag(value) => effect::Effect::SetTag {
            key: TAG.to_owned(),
            value: value.map(|v| v.to_string()),
        },
        Effect::Handover => effect::Effect::Handover {
            reason: "as the test says".to_owned(),
            note: None,
        },
    }
}

pub(super) fn settle(part: Piece, attempt: u32, fate: Fate, now: Timestamp) -> Settle {
    let why = "as the test says".to_owned();
    let after = |ms: i64| Timestamp(now.0 + ms);
    let result = match fate {
        Fate::Sent { with_id } => Settled::Sent {
            provider_id: with_id.then(|| provider_id(part, attempt)),
        },
        Fate::RetryIn(ms) => Settled::RetryAt { at: after(ms), why },
        Fate::UnknownFor(ms) => Settled::Unknown {
            until: after(ms),
            why,
        },
        Fate::NotTried(ms) => Settled::NotTried { at: after(ms), why },
        Fate::Dead { alert } => Settled::Dead { why, alert },
    };
    Settle {
        part: part_id(part),
        attempt,
        result,
    }
}

pub(super) fn covered(trigger: &Trigger) -> Covered {
    match trigger {
        Trigger::Messages(messages) => {
            Covered::Messages(messages.iter().map(|m| m.id.clone()).collect())
        }
        Trigger::Timer { id, .. } => Covered::Timer(id.clone()),
        Trigger::Signal { .. } => Covered::Signal,
    }
}

pub(super) fn claim(claim: &Claim) -> Order {
    let covers = match &claim.trigger {
        Trigger::Messages(messages) => {
            let ids = messages.iter().map(|m| number(&m.message.provider_id));
            Covers::Messages(ids.collect())
        }
        Trigger::Timer { name, payload, .. } => {
            let number = number(name);
            assert_eq!(payload, &[number]);
            Covers::Timer(number)
        }
        Trigger::Signal { kind, .. } => {
            assert_eq!(kind, "resumed");
            Covers::Signal
        }
    };
    let conv = conv(&claim.lock.conversation);
    assert_eq!(claim.device.id, device_id(conv.device));
    let epoch = claim.lock.epoch;
    Order::Run {
        turn: Claimed { conv, epoch },
        covers,
        attempt: i64::from(claim.attempt),
        crashes: i64::from(claim.crashes),
        turns: i64::try_from(claim.turn_seq).unwrap(),
    }
}
