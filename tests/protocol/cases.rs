//! Each guard with the smallest world in which its absence shows, and the promise that breaks there.

use nodepath_model::device::{Overlap, UnknownPolicy};

use crate::guards::Guards;
use crate::promises;
use crate::world::World;

/// A guard that is taken away.
pub(crate) struct Case {
    pub(crate) guard: &'static str,
    pub(crate) take_away: fn(&mut Guards),
    pub(crate) world: fn() -> World,
    /// The promise that breaks; none where another guard stands behind it.
    pub(crate) breaks: Option<&'static str>,
}

macro_rules! case {
    ($($guard:ident),+; $world:expr; $breaks:expr) => {
        Case {
            guard: concat!($(stringify!($guard), " "),+).trim_ascii_end(),
            take_away: |guards| { $(guards.$guard = false;)+ },
            world: || $world,
            breaks: $breaks,
        }
    };
}

/// What each guard is there for.
pub(crate) const NEEDED: &[Case] = &[
    case!(ack_after_commit; ended(); Some(promises::DURABLE)),
    case!(dedupe; calm("a redelivery", 1, |w| w.may.redeliver = 1); Some(promises::DEDUPE)),
    case!(newcomer_is_counted; World::calm("a burst", 2); Some(promises::FRESH)),
    case!(newer_refuses_stale; World::calm("a burst", 2); Some(promises::FRESH)),
    case!(fence_state; calm("a commit that nobody heard of", 1, |w| w.may.ask_again = 1); Some(promises::ONE_DECISION)),
    case!(fence_epoch, fence_owner; unlocked(2); Some(promises::ONE_DECISION)),
    case!(fence_epoch; unlocked(2).with(|w| w.owners_repeat = true); Some(promises::FRESH)),
    case!(fence_owner; epochs_repeat(); Some(promises::FRESH)),
    case!(mark_by_id; replayed().overlap(Overlap::Queue); Some(promises::ANSWERED)),
    case!(mark_pending_only, fence_epoch, fence_owner; unlocked(2).with(|w| {
        w.settings.max_attempts = 1;
        w.may.fail = 1;
    }); Some(promises::KEPT)),
    case!(human_refuses_reply; calm("a human", 1, |w| w.may.take_over = 1); Some(promises::YIELDS)),
    case!(attempts_are_counted; calm("a plugin that fails", 1, |w| w.may.fail = 3); Some(promises::BOUNDED)),
    case!(crashes_are_counted; calm("a host that ends again", 1, |w| w.may.crash = 3); Some(promises::BOUNDED)),
    case!(suspects_run_alone; calm("a message that ends the host", 2, |w| w.may.crash = 2); Some(promises::TRIED)),
    case!(one_part_at_a_time; two_parts(); Some(promises::ORDER)),
    case!(release_after_last_part; two_parts(); Some(promises::LOCKED)),
    case!(due_part_needs_the_lock; calm("a part that is sent again", 2, |w| {
        w.may.reject = 1;
        w.may.replay = 1;
    }); Some(promises::ONE_PART)),
    case!(settle_only_own_try; unlocked(1).with(|w| {
        w.may.replay = 1;
        w.may.refuse = 1;
    }); Some(promises::NOT_BLIND)),
    case!(release_looks_for_pending; World::calm("a queue", 2).overlap(Overlap::Queue); Some(promises::WOKEN)),
    case!(hold_window; lost_answer(); Some(promises::ONCE)),
    case!(status_ends_doubt; lost_answer(); Some(promises::ONCE)),
    case!(told_is_no_doubt; lost_answer(); Some(promises::ONCE)),
    case!(recovery_frees_running; ended(); Some(promises::SETTLED)),
    case!(recovery_sending_is_unknown; ended(); Some(promises::NOT_BLIND)),
    case!(unlock_holds_parts; unlocked(1); Some(promises::LOCKED)),
    case!(replay_is_counted; replayed(); Some(promises::FRESH)),
    case!(replay_wakes; replayed(); Some(promises::WOKEN)),
];

/// Guards behind which another stands: alone, they are missed only in the worlds that [`NEEDED`] names. An owner is drawn anew
/// for every claim and an epoch counts every claim, so that either tells two claims apart unless chance or the file repeats
/// itself; and what is fenced off marks nothing.
pub(crate) const SECOND: &[Case] = &[
    case!(fence_epoch; crowded("without the epoch"); None),
    case!(fence_owner; crowded("without the owner"); None),
    case!(mark_pending_only; crowded("without a look at the mark"); None),
];

fn calm(name: &'static str, messages: u8, change: impl FnOnce(&mut World)) -> World {
    World::calm(name, messages).with(change)
}

fn ended() -> World {
    calm("a host that ends", 1, |w| w.may.crash = 1)
}

fn unlocked(messages: u8) -> World {
    calm("a lock that is taken away", messages, |w| w.may.unlock = 1)
}

fn two_parts() -> World {
    calm("a reply of two parts", 1, |w| w.parts = 2)
}

fn lost_answer() -> World {
    calm("a lost answer, sent again", 1, |w| w.may.lose_answer = 1).unknown(UnknownPolicy::Resend)
}

fn replayed() -> World {
    calm("a dead letter that is replayed", 2, |w| {
        w.settings.max_attempts = 1;
        w.may.fail = 1;
        w.may.replay = 1;
    })
}

/// With debounce, claims are made when they are due and are told to nobody outside, so that a file can forget one.
fn epochs_repeat() -> World {
    calm("epochs that repeat", 2, |w| {
        w.settings.debounce_ms = 1;
        w.may.lose_claim = 1;
    })
}

fn crowded(name: &'static str) -> World {
    calm(name, 2, |w| {
        w.ghosts = true;
        w.may.crash = 1;
        w.may.fail = 1;
        w.may.unlock = 1;
    })
}
