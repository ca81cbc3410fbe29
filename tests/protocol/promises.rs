//! What must hold in every state, whatever has happened.

use nodepath_model::overlap::State;
use stateright::Property;

use crate::state::{Broken, Letter, LetterState, Part, PartState, System};
use crate::world::World;

pub(crate) const DURABLE: &str = "I1 what was acknowledged is in the file";
pub(crate) const SETTLED: &str =
    "I1, I9 whatever happened, in the end nothing waits and the lock is free";
pub(crate) const ANSWERED: &str = "I1 what is done was answered by a turn that committed";
pub(crate) const DEDUPE: &str = "I2 a message has one row";
pub(crate) const EXCLUSIVE: &str = "I3 turns commit in the order of their epochs, one for each";
pub(crate) const ORDER: &str = "I4 parts arrive in the order of their decision";
pub(crate) const ONE_PART: &str = "I4 one part is under way at a time";
pub(crate) const LOCKED: &str = "I4 the lock is held until the last part is settled";
pub(crate) const ONE_DECISION: &str = "I5 a message is answered once";
pub(crate) const KEPT: &str = "I5 what was decided stays so";
pub(crate) const FRESH: &str = "I6 no reply is stale when it is committed";
pub(crate) const YIELDS: &str = "I6 no reply is committed over a human";
pub(crate) const WOKEN: &str = "I7 an idle conversation has nothing pending";
pub(crate) const ONCE: &str = "I8 the provider takes a part once, unless an operator asks for more";
pub(crate) const NOT_BLIND: &str = "I8 a part is sent again only after a known failure";
pub(crate) const BOUNDED: &str = "I9 tries of a message are counted and end";
pub(crate) const TRIED: &str = "I9 no message dies that was not tried";

pub(crate) fn all(world: &World) -> Vec<Property<World>> {
    let mut all = vec![
        Property::always(DURABLE, |_, at: &System| is_durable(at)),
        Property::always(SETTLED, |world: &World, at: &System| {
            is_settled(at) || makes_progress(world, at)
        }),
        Property::always(ANSWERED, |_, at: &System| was_answered(at)),
        Property::always(DEDUPE, |_, at: &System| has_one_row_each(at)),
        Property::always(EXCLUSIVE, |_, at: &System| !at.is_broken(Broken::Epoch)),
        Property::always(ORDER, |_, at: &System| !at.is_broken(Broken::Order)),
        Property::always(ONE_PART, |_, at: &System| under_way(at) <= 1),
        Property::always(LOCKED, |_, at: &System| is_locked_while_open(at)),
        Property::always(ONE_DECISION, |_, at: &System| {
            at.seen.answers.iter().all(|n| *n <= 1)
        }),
        Property::always(KEPT, |_, at: &System| !at.is_broken(Broken::Undone)),
        Property::always(FRESH, |_, at: &System| !at.is_broken(Broken::Stale)),
        Property::always(YIELDS, |_, at: &System| !at.is_broken(Broken::Interrupted)),
        Property::always(WOKEN, |_, at: &System| {
            at.row.state != State::Idle || at.pending() == 0
        }),
        Property::always(ONCE, |_, at: &System| {
            at.outbox.iter().all(|p| p.taken <= 1 + p.asked)
        }),
        Property::always(NOT_BLIND, |_, at: &System| !at.is_broken(Broken::Blind)),
        Property::always(BOUNDED, is_bounded),
        Property::always(TRIED, |_, at: &System| was_tried(at)),
    ];
    all.extend(stories(world));
    all
}

/// What must be reachable, so that no promise holds only because nothing happens.
fn stories(world: &World) -> Vec<Property<World>> {
    let mut stories = vec![Property::sometimes(
        "everything is answered",
        |_, at: &System| is_settled(at) && at.seen.answers.iter().all(|n| *n == 1),
    )];
    if world.may.crash > 0 {
        stories.push(Property::sometimes(
            "a part is in doubt",
            |_, at: &System| at.outbox.iter().any(|p| p.state == PartState::Unknown),
        ));
    }
    if world.may.fail > 1 {
        stories.push(Property::sometimes("a message dies", |_, at: &System| {
            at.letters(|l| l.state == LetterState::Dead) != 0
        }));
    }
    stories
}

fn is_durable(at: &System) -> bool {
    let is_there = |message: u8| at.inbox.iter().any(|l| l.message == message);
    let mut sent = at.sender.iter().zip(0..);
    sent.all(|(sent, message)| !sent.is_acknowledged || is_there(message))
}

fn has_one_row_each(at: &System) -> bool {
    let rows = |message| at.inbox.iter().filter(|l| l.message == message).count();
    at.inbox.iter().all(|letter| rows(letter.message) == 1)
}

fn was_answered(at: &System) -> bool {
    let done = |l: &&Letter| l.state == LetterState::Done;
    at.inbox
        .iter()
        .filter(done)
        .all(|letter| of(&at.seen.answers, letter) > 0)
}

fn was_tried(at: &System) -> bool {
    let dead = |l: &&Letter| l.state == LetterState::Dead;
    let tries = |l: &Letter| of(&at.seen.failures, l) + of(&at.seen.cut_off, l);
    at.inbox.iter().filter(dead).all(|letter| tries(letter) > 0)
}

fn of(counts: &[u8], letter: &Letter) -> u8 {
    counts
        .get(usize::from(letter.message))
        .copied()
        .unwrap_or(0)
}

/// Nothing waits, and the lock is free.
fn is_settled(at: &System) -> bool {
    at.row.state == State::Idle && at.pending() == 0 && !at.outbox.iter().any(Part::is_open)
}

/// Whether something happens if no fault does. All paths end, so a state in which nothing does is where they end.
fn makes_progress(world: &World, at: &System) -> bool {
    let mut steps = Vec::new();
    world.progress(at, &mut steps);
    !steps.is_empty()
}

fn under_way(at: &System) -> usize {
    let sending = |p: &&Part| p.state == PartState::Sending;
    at.outbox.iter().filter(sending).count()
}

fn is_locked_while_open(at: &System) -> bool {
    let is_locked = at.row.state == State::Sending;
    let keeps_lock = |p: &Part| p.is_open() && !p.is_by_hand;
    is_locked || !at.outbox.iter().any(keeps_lock)
}

/// A message is tried as often as the device says, and once more for each time that an operator has begun anew or that
/// its count was mixed with that of another message.
fn is_bounded(world: &World, at: &System) -> bool {
    let most = u8::try_from(world.settings.max_attempts).unwrap_or(u8::MAX);
    let anew = world.may.unlock + world.may.replay;
    let failures = at
        .seen
        .failures
        .iter()
        .all(|n| *n <= most + anew + world.may.crash);
    let cut_off = at.seen.cut_off.iter().all(|n| *n <= most + anew);
    failures && cut_off
}
