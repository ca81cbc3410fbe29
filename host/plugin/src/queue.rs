//! Who runs next: a slot and the memory for each guest, shared fairly between tenants.
//!
//! A turn waits here for its memory as it waits for its slot, so that memory which is all taken is a wait and never an error:
//! not for the tenant that took it, and not for any other.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use nodepath_model::TenantId;

/// Slots and memory for guests. Tenants that wait get theirs in turn, however many turns each has waiting.
#[derive(Clone)]
pub(super) struct Queue(Arc<Mutex<Room>>);

struct Room {
    free: Share,
    /// The most that one tenant may hold, so that one whose plugins are all stuck leaves room for others.
    most: Share,
    held: HashMap<TenantId, Share>,
    /// The tenants that wait, in the order in which they get a slot; each is there once.
    order: VecDeque<TenantId>,
    waiting: HashMap<TenantId, VecDeque<Waiter>>,
}

/// So many slots with so much memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    slots: u32,
    bytes: u64,
}

/// Somebody who waits for one slot.
struct Waiter {
    /// The memory that comes with it.
    bytes: u64,
    sender: oneshot::Sender<Slot>,
}

/// The right to run one guest, and the memory that is set aside for it. Both go back when it is dropped.
pub(super) struct Slot {
    queue: Queue,
    tenant: TenantId,
    bytes: u64,
}

impl Queue {
    /// A queue in front of so many slots and so many bytes. One tenant may hold half of them, or the only slot.
    pub(super) fn new(slots: u32, bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(Room {
            free: Share {
                slots: slots.max(1),
                bytes,
            },
            most: Share {
                slots: (slots / 2).max(1),
                bytes: bytes / 2,
            },
            held: HashMap::new(),
            order: VecDeque::new(),
            waiting: HashMap::new(),
        })))
    }

    /// Waits for a slot with so many bytes, or with the most that a tenant may hold if that is less. Whoever stops waiting
    /// loses nothing but their place.
    pub(super) async fn slot(&self, tenant: &TenantId, bytes: u64) -> Slot {
        loop {
            let (sender, receiver) = oneshot::channel();
            {
                let mut room = self.room();
                // Beyond its share a tenant would wait for ever.
                let bytes = bytes.min(room.most.bytes);
                let line = room.waiting.entry(tenant.clone()).or_default();
                line.push_back(Waiter { bytes, sender });
                if line.len() == 1 {
                    room.order.push_back(tenant.clone());
                }
            }
            self.hand_out();
            if let Ok(slot) = receiver.await {
                return slot;
            }
            // The sender is never dropped unused, but a wait that could hang is worse than a loop that does not turn.
        }
    }

    /// Gives what is free to those who wait. The lock is not held while a slot changes hands, because a slot that finds its
    /// receiver gone comes back through the same lock.
    fn hand_out(&self) {
        loop {
            // The lock must be gone before the slot is sent.
            let next = self.room().next();
            let Some((tenant, Waiter { bytes, sender })) = next else {
                return;
            };
            let slot = Slot {
                queue: self.clone(),
                tenant,
                bytes,
            };
            // Whoever stopped waiting at this very moment gives the slot back by dropping it.
            drop(sender.send(slot));
        }
    }

    fn give_back(&self, tenant: &TenantId, bytes: u64) {
        let mut room = self.room();
        room.free = room.free.with(bytes);
        if let Some(held) = room.held.get_mut(tenant) {
            *held = held.without(bytes);
            if held.slots == 0 {
                room.held.remove(tenant);
            }
        }
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        // Nothing below panics between two writes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// With one slot and its memory more.
    fn with(self, bytes: u64) -> Self {
        Self {
            slots: self.slots.saturating_add(1),
            bytes: self.bytes.saturating_add(bytes),
        }
    }

    /// With one slot and its memory less.
    fn without(self, bytes: u64) -> Self {
        Self {
            slots: self.slots.saturating_sub(1),
            bytes: self.bytes.saturating_sub(bytes),
        }
    }

    fn fits_in(self, most: Self) -> bool {
        self.slots <= most.slots && self.bytes <= most.bytes
    }
}

impl Room {
    /// Takes a slot for the tenant whose turn it is. A tenant that would exceed its own share is passed over: it waits for
    /// itself. One that only waits for room is not, or many small turns would keep a large one waiting for ever.
    fn next(&mut self) -> Option<(TenantId, Waiter)> {
        let mut at = 0;
        loop {
            let tenant = self.order.get(at)?.clone();
            let Some(bytes) = self.first_wish(&tenant) else {
                self.order.remove(at);
                continue;
            };
            let held = self.held.get(&tenant).copied().unwrap_or_default();
            if !held.with(bytes).fits_in(self.most) {
                at += 1;
                continue;
            }
            if !Share::default().with(bytes).fits_in(self.free) {
                return None;
            }
            let waiter = self.waiting.get_mut(&tenant)?.pop_front()?;
            self.free = self.free.without(bytes);
            self.held.insert(tenant.clone(), held.with(bytes));
            self.order.remove(at);
            if self.first_wish(&tenant).is_some() {
                self.order.push_back(tenant.clone());
            }
            return Some((tenant, waiter));
        }
    }

    /// The memory that the first of a tenant's line waits for. Those who stopped waiting are taken out of its beginning, and a
    /// line that ends with that is gone.
    fn first_wish(&mut self, tenant: &TenantId) -> Option<u64> {
        let line = self.waiting.get_mut(tenant)?;
        while line
            .pop_front_if(|waiter| waiter.sender.is_closed())
            .is_some()
        {}
        let first = line.front().map(|waiter| waiter.bytes);
        if first.is_none() {
            self.waiting.remove(tenant);
        }
        first
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.queue.give_back(&self.tenant, self.bytes);
        self.queue.hand_out();
    }
}

impl Slot {
    /// The memory that is set aside for its guest, in bytes.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::from_trusted(name)
    }

    fn wait(queue: &Queue, name: &str) -> BoxFuture<'static, Slot> {
        wait_for(queue, name, 0)
    }

    fn wait_for(queue: &Queue, name: &str, bytes: u64) -> BoxFuture<'static, Slot> {
        let (queue, tenant) = (queue.clone(), tenant(name));
        let mut waiting = async move { queue.slot(&tenant, bytes).await }.boxed();
        match waiting.poll_unpin(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(slot) => async move { slot }.boxed(),
            Poll::Pending => waiting,
        }
    }

    fn has(waiting: &mut BoxFuture<'static, Slot>) -> Option<Slot> {
        match waiting.poll_unpin(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(slot) => Some(slot),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_tenant_with_one_turn_does_not_wait_for_another_with_many() {
        let queue = Queue::new(2, 0);
        let first = has(&mut wait(&queue, "busy")).unwrap();
        let mut busy: Vec<_> = (0..100).map(|_| wait(&queue, "busy")).collect();
        let mut quiet = wait(&queue, "quiet");
        assert!(busy.iter_mut().all(|waiting| has(waiting).is_none()));
        let slot = has(&mut quiet).unwrap();
        drop((first, slot));
        assert!(has(&mut busy[0]).is_some());
    }

    #[test]
    fn tenants_take_turns() {
        let queue = Queue::new(1, 0);
        let mut held = has(&mut wait(&queue, "a"));
        let mut lines: Vec<_> = ["a", "a", "a", "b", "b", "c"]
            .iter()
            .map(|name| (*name, wait(&queue, name)))
            .collect();
        let mut order = Vec::new();
        while !lines.is_empty() {
            drop(held.take());
            let at = lines.iter_mut().position(|(_, waiting)| {
                held = has(waiting);
                held.is_some()
            });
            order.push(lines.remove(at.unwrap()).0);
        }
        assert_eq!(order, ["a", "b", "c", "a", "b", "a"]);
    }

    #[test]
    fn whoever_stops_waiting_takes_no_slot_with_them() {
        let queue = Queue::new(1, 0);
        let held = has(&mut wait(&queue, "a"));
        let gone = wait(&queue, "a");
        let mut patient = wait(&queue, "a");
        drop(gone);
        drop(held);
        assert!(has(&mut patient).is_some());
    }

    #[test]
    fn a_slot_that_was_granted_to_nobody_goes_on() {
        let queue = Queue::new(1, 0);
        let held = has(&mut wait(&queue, "a"));
        let granted = wait(&queue, "b");
        let mut next = wait(&queue, "c");
        drop(held);
        // `b` has the slot in its channel and is dropped before it looks.
        drop(granted);
        assert!(has(&mut next).is_some());
        assert!(queue.room().held.is_empty());
    }

    #[test]
    fn a_tenant_holds_half_of_the_memory_and_waits_for_itself() {
        let queue = Queue::new(100, 1_000);
        let first = has(&mut wait_for(&queue, "hungry", 300)).unwrap();
        let mut second = wait_for(&queue, "hungry", 300);
        assert!(has(&mut second).is_none());
        let other = has(&mut wait_for(&queue, "other", 300)).unwrap();
        assert!(has(&mut second).is_none());
        drop(first);
        assert!(has(&mut second).is_some());
        drop(other);
    }

    #[test]
    fn a_wish_beyond_a_tenants_share_is_cut_to_it() {
        let queue = Queue::new(100, 1_000);
        let slot = has(&mut wait_for(&queue, "a", 5_000)).unwrap();
        assert_eq!(slot.memory_bytes(), 500);
    }

    #[test]
    fn small_turns_do_not_keep_a_large_one_waiting() {
        let queue = Queue::new(100, 1_000);
        let held = [("a", 500), ("b", 300)]
            .map(|(name, bytes)| has(&mut wait_for(&queue, name, bytes)).unwrap());
        let mut large = wait_for(&queue, "large", 400);
        let mut small = wait_for(&queue, "small", 100);
        assert!(has(&mut large).is_none() && has(&mut small).is_none());
        drop(held);
        assert!(has(&mut large).is_some() && has(&mut small).is_some());
    }

    #[test]
    fn all_that_was_taken_comes_back() {
        let queue = Queue::new(4, 1_000);
        let slots: Vec<_> = ["a", "b", "a", "b"]
            .map(|name| has(&mut wait_for(&queue, name, 250)).unwrap())
            .into();
        let mut next = wait_for(&queue, "c", 500);
        assert!(has(&mut next).is_none());
        drop(slots);
        drop(has(&mut next).unwrap());
        let room = queue.room();
        assert_eq!((room.free.slots, room.free.bytes), (4, 1_000));
        assert!(room.held.is_empty() && room.order.is_empty() && room.waiting.is_empty());
    }
}
