//! How much a guest has used: CPU time and memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::ResourceLimiter;

use super::limits::ELEMENT_BYTES;

/// The CPU time of one call into a guest: what its thread spent while it ran, with the host functions that it called. Neither
/// waiting nor another turn on the same thread counts.
///
/// The epoch's callback asks it at each tick. Counting the ticks themselves would charge a guest for a busy machine, and miss
/// what is done between two of them.
#[derive(Clone, Default)]
pub(super) struct CpuMeter(Arc<CpuTimes>);

#[derive(Default)]
struct CpuTimes {
    spent_nanos: AtomicU64,
    resumed_at_nanos: AtomicU64,
    steps: AtomicU32,
}

impl CpuMeter {
    /// Runs one step of the guest on this thread and counts it, also if it panics.
    pub(super) fn measure<T>(&self, step: impl FnOnce() -> T) -> T {
        struct Pause<'a>(&'a CpuMeter);
        impl Drop for Pause<'_> {
            fn drop(&mut self) {
                let spent = self.0.since_resumed();
                self.0.0.spent_nanos.fetch_add(spent, Ordering::Relaxed);
                self.0.0.steps.fetch_add(1, Ordering::Relaxed);
            }
        }
        let now = thread_nanos();
        self.0.resumed_at_nanos.store(now, Ordering::Relaxed);
        let _pause = Pause(self);
        step()
    }

    /// What was counted by the steps before this one.
    pub(super) fn spent(&self) -> Duration {
        Duration::from_nanos(self.0.spent_nanos.load(Ordering::Relaxed))
    }

    /// How many steps it took.
    pub(super) fn steps(&self) -> u32 {
        self.0.steps.load(Ordering::Relaxed)
    }

    /// What was counted, with the step that is under way on this thread.
    pub(super) fn spent_until_now(&self) -> Duration {
        self.spent() + Duration::from_nanos(self.since_resumed())
    }

    fn since_resumed(&self) -> u64 {
        thread_nanos().saturating_sub(self.0.resumed_at_nanos.load(Ordering::Relaxed))
    }
}

fn thread_nanos() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// The sum of all memories and tables of a guest. wasmtime's own limits count each for itself.
///
/// There is no account of all guests here: a guest starts only once [its whole budget](super::queue::Slot) is set aside for
/// it, so what it is refused is only ever beyond that.
pub(super) struct MemoryMeter {
    used: u64,
    peak: u64,
    limit: u64,
    refused: bool,
}

impl MemoryMeter {
    /// Counts against so many bytes.
    pub(super) fn new(limit: u64) -> Self {
        Self {
            used: 0,
            peak: 0,
            limit,
            refused: false,
        }
    }

    /// The most that it held at once, in bytes.
    pub(super) fn peak(&self) -> u64 {
        self.peak
    }

    /// Whether it was refused more. A guest that is refused usually traps soon after.
    pub(super) fn refused(&self) -> bool {
        self.refused
    }

    /// What it may hold, in bytes.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    fn grow(&mut self, current: u64, desired: u64) -> bool {
        let more = desired.saturating_sub(current);
        let sum = self.used.saturating_add(more);
        if sum > self.limit {
            self.refused = true;
            return false;
        }
        self.used = sum;
        self.peak = self.peak.max(sum);
        true
    }
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(bytes(current), bytes(desired)))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let of = |elements| bytes(elements).saturating_mul(ELEMENT_BYTES);
        Ok(self.grow(of(current), of(desired)))
    }
}

fn bytes(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_are_summed() {
        let mut meter = MemoryMeter::new(1_000);
        assert!(meter.memory_growing(0, 500, None).unwrap());
        assert!(meter.memory_growing(0, 400, None).unwrap());
        assert!(meter.table_growing(0, 12, None).unwrap());
        assert_eq!((meter.peak(), meter.refused()), (996, false));
        assert!(!meter.table_growing(12, 13, None).unwrap());
        assert_eq!((meter.peak(), meter.refused()), (996, true));
    }

    #[test]
    fn cpu_time_counts_work_and_not_waiting() {
        let meter = CpuMeter::default();
        meter.measure(|| std::thread::sleep(Duration::from_millis(20)));
        assert!(meter.spent() < Duration::from_millis(10));
        meter.measure(|| {
            while meter.spent_until_now() < Duration::from_millis(20) {
                std::hint::spin_loop();
            }
        });
        assert!(meter.spent() >= Duration::from_millis(20));
    }
}
