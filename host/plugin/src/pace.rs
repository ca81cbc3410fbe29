//! How guests share a thread. A guest that computes for long rests after each tick until every other guest on its thread had
//! its chance; of those that compute for long only one goes on at a time. So a short turn waits for one tick, however many
//! endless loops run beside it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The right to compute for long on one thread.
#[derive(Clone)]
pub(super) struct Pace(Arc<Semaphore>);

/// The pace of one call.
#[derive(Clone)]
pub(super) struct Stride {
    pace: Pace,
    held: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Pace {
    /// The pace of a thread.
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// A call on this thread.
    pub(super) fn stride(&self) -> Stride {
        Stride {
            pace: self.clone(),
            held: Arc::default(),
        }
    }
}

impl Stride {
    /// Hands the thread back, until others that wait for it had a step.
    pub(super) fn rest(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::task::yield_now())
    }

    /// Hands the thread back, until it is this call's turn among those that compute for long.
    pub(super) fn queue(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let stride = self.clone();
        Box::pin(async move {
            tokio::task::yield_now().await;
            // The semaphore is never closed.
            let turn = Arc::clone(&stride.pace.0).acquire_owned().await.ok();
            // Whoever gets the semaphore is woken at once, before those that rest. Resting too lets them, and the timers,
            // and whatever else the thread waits for, come first.
            tokio::task::yield_now().await;
            stride.hold(turn);
        })
    }

    /// Ends a step, whether the call rests or waits for the host: the next one that computes for long may go on.
    pub(super) fn pause(&self) {
        self.hold(None);
    }

    fn hold(&self, turn: Option<OwnedSemaphorePermit>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = turn;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    /// Computes for ever, a step at a time, and counts the steps.
    async fn long(pace: Pace, steps: Rc<Cell<u32>>) {
        let stride = pace.stride();
        let mut call = Box::pin(async {
            loop {
                stride.queue().await;
                steps.set(steps.get() + 1);
            }
        });
        poll_fn(|context| {
            let polled = call.as_mut().poll(context);
            stride.pause();
            polled
        })
        .await
    }

    #[tokio::test]
    async fn a_short_call_waits_for_one_step_of_a_hundred_long_ones() {
        LocalSet::new()
            .run_until(async {
                let pace = Pace::new();
                let each: Vec<_> = (0..100).map(|_| Rc::new(Cell::new(0))).collect();
                for own in &each {
                    spawn_local(long(pace.clone(), Rc::clone(own)));
                }
                let sum = || each.iter().map(|own| own.get()).sum::<u32>();
                let mut most = 0;
                while sum() < 1_000 {
                    let before = sum();
                    yield_now().await;
                    most = most.max(sum() - before);
                }
                assert!(most <= 2, "{most} steps at once");
                assert!(each.iter().all(|own| (8..=12).contains(&own.get())));
            })
            .await;
    }

    #[tokio::test]
    async fn a_call_that_goes_away_takes_no_turn_with_it() {
        let pace = Pace::new();
        let (first, second) = (pace.stride(), pace.stride());
        first.queue().await;
        drop(first);
        second.queue().await;
        second.pause();
        pace.stride().queue().await;
    }
}
