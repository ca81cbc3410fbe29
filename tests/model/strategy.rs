//! What is tried: transitions that fit the state of things, now and then one that does not.

use nodepath::model::DeviceSettings;
use nodepath::model::device::{Overlap, UnknownPolicy};
use proptest::prelude::*;
use proptest::sample::select;
use proptest_state_machine::ReferenceStateMachine;

use crate::reference::{PartState, Reference, Stage, State};
use crate::words::{
    Claimed, Conv, Effect, End, Fate, Hand, Op, OwnerWord, Piece, Reply, Told, Transition, Word,
};

/// Pauses that fall before, on and after the limits of the settings below, and of the doubt, the backoff and the takeover.
const WAITS: [i64; 10] = [
    1, 250, 500, 1_000, 1_500, 2_000, 5_000, 20_000, 30_000, 3_600_000,
];

/// The strategies, drawn from the reference.
pub(crate) struct Machine;

impl ReferenceStateMachine for Machine {
    type State = Reference;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Reference> {
        (settings(), settings())
            .prop_map(|(first, second)| Reference::new(vec![first, second]))
            .boxed()
    }

    fn transitions(at: &Reference) -> BoxedStrategy<Transition> {
        let ops = ops(at);
        let alone = ops.clone().prop_map(|op| Transition::Group(vec![op]));
        let together = prop::collection::vec(ops, 2..=4).prop_map(Transition::Group);
        let restart = if at.stage == Stage::Running { 2 } else { 20 };
        prop_oneof![
            40 => alone,
            24 => together,
            16 => select(&WAITS[..]).prop_map(Transition::Wait),
            10 => by_hand(at),
            restart => Just(Transition::Restart),
            1 => prop_oneof![Just(Transition::Drain), Just(Transition::Halt)],
        ]
        .boxed()
    }

    fn apply(mut at: Reference, transition: &Transition) -> Reference {
        at.take(transition);
        at
    }

    fn preconditions(at: &Reference, transition: &Transition) -> bool {
        match transition {
            Transition::Group(ops) => {
                let mut ended = Vec::new();
                ops.iter().all(|op| is_possible(at, op, &mut ended))
            }
            Transition::ReplayPart(part) => at.parts.contains_key(part),
            _ => true,
        }
    }
}

fn is_possible(at: &Reference, op: &Op, ended: &mut Vec<Claimed>) -> bool {
    match op {
        // A lock is handed in once, and asked for again only after an answer: never twice in one commit.
        Op::Finish(turn, Hand::Own, _) => {
            let is_first = !ended.contains(turn);
            ended.push(*turn);
            is_first && at.claims.contains_key(turn)
        }
        Op::Finish(turn, ..) => at.claims.contains_key(turn),
        Op::Settle(part, ..) => at.parts.contains_key(part),
        Op::Due => !at.is_moot(),
        Op::Accept(..) => true,
    }
}

fn settings() -> impl Strategy<Value = DeviceSettings> {
    let overlap = select(vec![
        Overlap::Restart,
        Overlap::Restart,
        Overlap::Queue,
        Overlap::Skip,
    ]);
    let debounce = select(vec![0_u64, 0, 1_000]);
    let window = select(vec![0_u64, 2_000]);
    let unknown = select(vec![UnknownPolicy::Hold, UnknownPolicy::Resend]);
    let max_restarts = select(vec![0_u32, 1, 3]);
    (overlap, debounce, window, unknown, max_restarts).prop_map(
        |(overlap, debounce_ms, duplicate_window_ms, unknown, max_restarts)| DeviceSettings {
            overlap,
            debounce_ms,
            duplicate_window_ms,
            unknown,
            max_restarts,
            ..DeviceSettings::default()
        },
    )
}

fn ops(at: &Reference) -> BoxedStrategy<Op> {
    let running: Vec<_> = at
        .talks
        .iter()
        .filter(|(_, talk)| talk.state == State::Running)
        .map(|(conv, talk)| Claimed {
            conv: *conv,
            epoch: talk.epoch,
        })
        .collect();
    let told: Vec<_> = at.claims.keys().copied().collect();
    let tries = |is: fn(PartState) -> bool| -> Vec<(Piece, u32)> {
        let parts = at.parts.iter().filter(|(_, part)| is(part.state));
        parts.map(|(piece, part)| (*piece, part.attempts)).collect()
    };
    let sending = tries(|state| state == PartState::Sending);
    let any = tries(|_| true);
    let mut all = vec![(10, accept(at)), (5, Just(Op::Due).boxed())];
    if !running.is_empty() {
        all.push((14, finish(running)));
    }
    if !told.is_empty() {
        all.push((1, finish(told)));
    }
    if !sending.is_empty() {
        all.push((14, settle(sending)));
    }
    if !any.is_empty() {
        all.push((1, settle(any)));
    }
    prop::strategy::Union::new_weighted(all).boxed()
}

fn accept(at: &Reference) -> BoxedStrategy<Op> {
    let at = at.clone();
    (0..at.settings.len())
        .prop_flat_map(move |device| {
            let events = prop::collection::vec(told(&at, device), 1..=3);
            events.prop_map(move |events| Op::Accept(device, renumbered(events)))
        })
        .boxed()
}

/// New messages of one webhook have ids of their own; those that come again keep theirs.
fn renumbered(mut events: Vec<Told>) -> Vec<Told> {
    let mut shift = 0;
    for event in &mut events {
        let (Told::Message { id, .. } | Told::Owner { id, .. } | Told::Ignored { id, .. }) = event
        else {
            continue;
        };
        if *id >= NEW {
            *id = *id - NEW + shift;
            shift += 1;
        }
    }
    events
}

/// Marks an id as that of the next new message: what is above it is the id.
const NEW: u8 = 128;

fn told(at: &Reference, device: usize) -> BoxedStrategy<Told> {
    let known = at.letters.iter().filter(|l| l.device == device);
    let next = u8::try_from(known.count()).unwrap();
    let id = || prop_oneof![7 => Just(NEW + next), 1 => 0..=next];
    let prospect = || prop_oneof![3 => Just(0_usize), 2 => Just(1_usize)];
    let message = (prospect(), id(), 0..3_u8).prop_map(|(prospect, id, text)| Told::Message {
        prospect,
        id,
        text,
    });
    let word = select(vec![
        OwnerWord::Cmd,
        OwnerWord::Dmc,
        OwnerWord::Dmc,
        OwnerWord::Other,
    ]);
    let owner = (prospect(), id(), word).prop_map(|(prospect, id, word)| Told::Owner {
        prospect,
        id,
        word,
    });
    let ignored = (prospect(), id()).prop_map(|(prospect, id)| Told::Ignored { prospect, id });
    let mut all = vec![
        (16, message.boxed()),
        (1, owner.boxed()),
        (1, ignored.boxed()),
    ];
    let tried: Vec<_> = at
        .parts
        .iter()
        .map(|(piece, part)| (*piece, part.attempts.max(1)))
        .collect();
    if !tried.is_empty() {
        all.push((5, status(tried)));
    }
    prop::strategy::Union::new_weighted(all).boxed()
}

fn status(tried: Vec<(Piece, u32)>) -> BoxedStrategy<Told> {
    let word = select(vec![Word::Sent, Word::Delivered, Word::Read, Word::Failed]);
    (select(tried), 0..3_u32, word, any::<bool>())
        .prop_map(
            |((part, attempts), earlier, word, names_ours)| Told::Status {
                part,
                attempt: attempts.saturating_sub(earlier / 2).max(1),
                word,
                names_ours,
            },
        )
        .boxed()
}

fn finish(turns: Vec<Claimed>) -> BoxedStrategy<Op> {
    let retry = select(vec![0_i64, 500, 60_000]).prop_map(End::Retry);
    let end = prop_oneof![
        12 => reply().prop_map(End::Commit),
        3 => retry,
        2 => reply().prop_map(|reply| End::GiveUp(Reply { effects: vec![], has_read_counter: false, ..reply })),
        1 => Just(End::HandOver),
        2 => Just(End::Cancelled),
        1 => Just(End::HandedBack),
    ];
    let hand = prop_oneof![
        18 => Just(Hand::Own),
        1 => Just(Hand::OtherOwner),
        1 => Just(Hand::OtherEpoch),
    ];
    (select(turns), hand, end)
        .prop_map(|(turn, hand, end)| Op::Finish(turn, hand, end))
        .boxed()
}

fn reply() -> impl Strategy<Value = Reply> {
    let pause = prop_oneof![4 => Just(0_i64), 1 => Just(1_000_i64)];
    let parts = prop::collection::vec(pause, 0..=3);
    let effects = prop::collection::vec(effect(), 0..=2);
    (parts, effects, prop::bool::weighted(0.3)).prop_map(|(parts, effects, has_read_counter)| {
        Reply {
            parts,
            effects,
            has_read_counter,
        }
    })
}

fn effect() -> impl Strategy<Value = Effect> {
    let after = select(vec![0_i64, 1_000, 3_600_000]);
    prop_oneof![
        3 => (0..2_u8, after).prop_map(|(name, ms)| Effect::Timer(name, ms)),
        1 => (0..2_u8).prop_map(Effect::CancelTimer),
        2 => prop::option::of(0..9_u8).prop_map(Effect::Keep),
        3 => (1..9_i64).prop_map(Effect::Count),
        1 => prop::option::of(0..9_u8).prop_map(Effect::Tag),
        1 => Just(Effect::Handover),
    ]
}

fn settle(tries: Vec<(Piece, u32)>) -> BoxedStrategy<Op> {
    let fate = prop_oneof![
        8 => prop::bool::weighted(0.8).prop_map(|with_id| Fate::Sent { with_id }),
        3 => select(vec![0_i64, 5_000]).prop_map(Fate::RetryIn),
        3 => select(vec![0_i64, 30_000]).prop_map(Fate::UnknownFor),
        1 => select(vec![0_i64, 1_000]).prop_map(Fate::NotTried),
        2 => any::<bool>().prop_map(|alert| Fate::Dead { alert }),
    ];
    // Now and then the answer to the try before.
    let earlier = prop_oneof![9 => Just(0_u32), 1 => Just(1_u32)];
    (select(tries), fate, earlier)
        .prop_map(|((part, attempt), fate, earlier)| {
            Op::Settle(part, attempt.saturating_sub(earlier), fate)
        })
        .boxed()
}

fn by_hand(at: &Reference) -> BoxedStrategy<Transition> {
    let devices = at.settings.len();
    let conv = || {
        (
            0..devices,
            prop_oneof![3 => Just(0_usize), 2 => Just(1_usize)],
        )
            .prop_map(|(device, prospect)| Conv { device, prospect })
    };
    let until = prop::option::of(Just(5_000_i64));
    let mut all = vec![
        (2, conv().prop_map(Transition::Unlock).boxed()),
        (
            2,
            (conv(), until)
                .prop_map(|(c, ms)| Transition::Pause(c, ms))
                .boxed(),
        ),
        (6, conv().prop_map(Transition::Resume).boxed()),
    ];
    let dead = at.letters.iter().filter(|l| l.state == "dead");
    let dead: Vec<_> = dead.map(|l| (l.device, l.id)).collect();
    if !dead.is_empty() {
        let replay = select(dead).prop_map(|(device, id)| Transition::ReplayMessage(device, id));
        all.push((4, replay.boxed()));
    }
    let parts = at.parts.iter().filter(|(_, part)| part.is_dead_letter());
    let parts: Vec<_> = parts.map(|(piece, _)| *piece).collect();
    if !parts.is_empty() {
        all.push((4, select(parts).prop_map(Transition::ReplayPart).boxed()));
    }
    prop::strategy::Union::new_weighted(all).boxed()
}
