//! Sends that nobody could tell about, by what became of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

use super::{Evidence, grouped};

/// How many parts were in doubt, by what ended the doubt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Doubts {
    /// The provider's word said that it had arrived.
    pub(crate) told: usize,
    /// The device asks for it to be sent again.
    pub(crate) resent: usize,
    /// Held, for the operator to see.
    pub(crate) held: usize,
    /// Held, and sent by the operator.
    pub(crate) by_hand: usize,
    /// The provider's word said that it had not arrived, or it was refused later.
    pub(crate) dead: usize,
    /// Not ended.
    pub(crate) open: usize,
}

impl Doubts {
    pub(crate) fn all(&self) -> usize {
        self.told + self.resent + self.held + self.by_hand + self.dead + self.open
    }
}

impl AddAssign for Doubts {
    fn add_assign(&mut self, other: Self) {
        self.told += other.told;
        self.resent += other.resent;
        self.held += other.held;
        self.by_hand += other.by_hand;
        self.dead += other.dead;
        self.open += other.open;
    }
}

/// A part was in doubt if a host was killed while it was under way, or if the provider gave no answer that tells.
pub(super) fn count(evidence: &Evidence) -> Doubts {
    let silent = evidence.sends.iter().filter(|s| s.is_silent);
    let mut doubted: BTreeSet<&str> = silent.map(|s| s.part.as_str()).collect();
    doubted.extend(evidence.doubted.iter().map(String::as_str));
    let log: BTreeMap<_, _> = grouped(&evidence.sends, |s| s.part.as_str());
    let mut doubts = Doubts::default();
    for part in &evidence.left.outbox {
        if !doubted.contains(part.id.as_str()) {
            continue;
        }
        let policy = evidence.left.devices.get(&part.device);
        let tries = log.get(part.id.as_str()).map_or(0, Vec::len);
        let tries = tries.max(usize::try_from(part.attempts).unwrap_or(0));
        let is_resent = policy.is_some_and(super::Policy::resends) && tries > 1;
        let place = match part.state.as_str() {
            _ if evidence.left.replayed.contains(&part.id) => &mut doubts.by_hand,
            "sent" if is_resent => &mut doubts.resent,
            "sent" => &mut doubts.told,
            "held" => &mut doubts.held,
            "dead" => &mut doubts.dead,
            _ => &mut doubts.open,
        };
        *place += 1;
    }
    doubts
}
