//! Who runs next: a slot for each guest, shared fairly between tenants.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use nodepath_model::TenantId;

/// Slots for guests. Tenants that wait get one in turn, however many turns each has waiting.
#[derive(Clone)]
pub(super) struct Queue(Arc<Mutex<Slots>>);

struct Slots {
    free: u32,
    /// The most slots of one tenant, so that one whose plugins are all stuck leaves room for others.
    most: u32,
    held: HashMap<TenantId, u32>,
    /// The tenants that wait, in the order in which they get a slot; each is there once.
    order: VecDeque<TenantId>,
    waiting: HashMap<TenantId, VecDeque<oneshot::Sender<Slot>>>,
}

/// The right to run one guest. It goes back when it is dropped.
pub(super) struct Slot {
    queue: Queue,
    tenant: TenantId,
}

impl Queue {
    /// A queue in front of so many slots. One tenant may hold half of them, or the only one.
    pub(super) fn new(slots: u32) -> Self {
        Self(Arc::new(Mutex::new(Slots {
            free: slots.max(1),
            most: (slots / 2).max(1),
            held: HashMap::new(),
            order: VecDeque::new(),
            waiting: HashMap::new(),
        })))
    }

    /// Waits for a slot. Whoever stops waiting loses nothing but their place.
    pub(super) async fn slot(&self, tenant: &TenantId) -> Slot {
        loop {
            let (sender, receiver) = oneshot::channel();
            {
                let mut slots = self.slots();
                let line = slots.waiting.entry(tenant.clone()).or_default();
                line.push_back(sender);
                if line.len() == 1 {
                    slots.order.push_back(tenant.clone());
                }
            }
            self.hand_out();
            if let Ok(slot) = receiver.await {
                return slot;
            }
            // The sender is never dropped unused, but a wait that could hang is worse than a loop that does not turn.
        }
    }

    /// Gives free slots to those who wait. The lock is not held while a slot changes hands, because a slot that finds its
    /// receiver gone comes back through the same lock.
    fn hand_out(&self) {
        while let Some((tenant, waiter)) = self.slots().next() {
            let slot = Slot {
                queue: self.clone(),
                tenant,
            };
            // Whoever stopped waiting at this very moment gives the slot back by dropping it.
            drop(waiter.send(slot));
        }
    }

    fn give_back(&self, tenant: &TenantId) {
        let mut slots = self.slots();
        slots.free = slots.free.saturating_add(1);
        if let Some(held) = slots.held.get_mut(tenant) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                slots.held.remove(tenant);
            }
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        // Nothing below panics between two writes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    /// Takes a slot for the tenant whose turn it is.
    fn next(&mut self) -> Option<(TenantId, oneshot::Sender<Slot>)> {
        while self.free > 0 {
            let held = |tenant: &TenantId| self.held.get(tenant).copied().unwrap_or(0);
            let at = self.order.iter().position(|t| held(t) < self.most)?;
            let tenant = self.order.remove(at)?;
            let mut line = self.waiting.remove(&tenant).unwrap_or_default();
            // Those who stopped waiting are passed over.
            let waiter = std::iter::from_fn(|| line.pop_front()).find(|waiter| !waiter.is_closed());
            if !line.is_empty() {
                self.waiting.insert(tenant.clone(), line);
                self.order.push_back(tenant.clone());
            }
            if let Some(waiter) = waiter {
                self.free -= 1;
                *self.held.entry(tenant.clone()).or_insert(0) += 1;
                return Some((tenant, waiter));
            }
        }
        None
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.queue.give_back(&self.tenant);
        self.queue.hand_out();
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
        let (queue, tenant) = (queue.clone(), tenant(name));
        let mut waiting = async move { queue.slot(&tenant).await }.boxed();
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
        let queue = Queue::new(2);
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
        let queue = Queue::new(1);
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
        let queue = Queue::new(1);
        let held = has(&mut wait(&queue, "a"));
        let gone = wait(&queue, "a");
        let mut patient = wait(&queue, "a");
        drop(gone);
        drop(held);
        assert!(has(&mut patient).is_some());
    }

    #[test]
    fn a_slot_that_was_granted_to_nobody_goes_on() {
        let queue = Queue::new(1);
        let held = has(&mut wait(&queue, "a"));
        let granted = wait(&queue, "b");
        let mut next = wait(&queue, "c");
        drop(held);
        // `b` has the slot in its channel and is dropped before it looks.
        drop(granted);
        assert!(has(&mut next).is_some());
        assert!(queue.slots().held.is_empty());
    }
}
