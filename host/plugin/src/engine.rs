//! The engine: every setting that the sandbox rests on, and the ticker that interrupts guests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Instant;

use tokio::sync::watch;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    WasmBacktraceDetails, WasmFeatures,
};

use super::Error;
use super::limits::{
    ASYNC_STACK, CORE_INSTANCES, KEEP_RESIDENT, LINGER, MEMORIES, POOL_MEMORY, TABLE_ELEMENTS,
    TABLES, TICK, WASM_STACK,
};

/// Slots that the pool has beyond the most guests that run at once, because a slot is free only a moment after its guest is
/// gone.
const SPARE_SLOTS: u32 = 8;

/// The engine that runs guests.
pub(super) fn for_running(max_instances: u32) -> Result<Engine, Error> {
    let slots = max_instances.saturating_add(SPARE_SLOTS);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_stacks(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES))
        .total_memories(slots.saturating_mul(MEMORIES))
        .total_tables(slots.saturating_mul(TABLES))
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_tables_per_module(TABLES)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(POOL_MEMORY)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT)
        .async_stack_keep_resident(KEEP_RESIDENT)
        // Where the kernel can tell which pages were touched (Linux 6.7), just those are zeroed, wherever they are.
        .pagemap_scan(Enabled::Auto);
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config).map_err(Error::engine)
}

/// The engine that only compiles. Its code is the same, but it reserves no address space, so a limit can be set on that.
pub(super) fn for_compiling() -> Result<Engine, Error> {
    Engine::new(&config()).map_err(Error::engine)
}

/// One hostile component must not take every core, so the feature `parallel-compilation` is not compiled in.
fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(ASYNC_STACK)
        // A guest must not find the words of the one before it on its stack.
        .async_stack_zeroing(true)
        // A turn that is run again takes the same path.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        // Files and lines would be those of whoever built the plugin; names of functions are enough.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .shared_memory(false)
        .wasm_features(surface(), false);
    config
}

/// What plugins have no need for: it would only be more to attack. Threads and garbage collection are not even compiled in.
fn surface() -> WasmFeatures {
    WasmFeatures::THREADS
        | WasmFeatures::SHARED_EVERYTHING_THREADS
        | WasmFeatures::MEMORY64
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::CUSTOM_PAGE_SIZES
        | WasmFeatures::STACK_SWITCHING
        | WasmFeatures::EXCEPTIONS
        | WasmFeatures::LEGACY_EXCEPTIONS
        | WasmFeatures::WIDE_ARITHMETIC
        | WasmFeatures::CM_ASYNC
        | WasmFeatures::CM_THREADING
        | WasmFeatures::CM_ERROR_CONTEXT
}

/// Advances the epoch on a thread of its own, because a guest that computes leaves no turn to a task. It sleeps once no
/// guest has lived for a while: to wake it costs more than a short turn.
pub(super) struct Ticker {
    thread: Thread,
    stop: Arc<AtomicBool>,
}

impl Ticker {
    /// Starts it.
    pub(super) fn start(engine: &Engine, live: watch::Receiver<usize>) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let (engine, stopped) = (engine.weak(), Arc::clone(&stop));
        let handle = thread::Builder::new()
            .name("plugin-ticker".to_owned())
            .spawn(move || {
                let mut last_lived = Instant::now();
                while !stopped.load(Ordering::Acquire) {
                    if *live.borrow() != 0 {
                        last_lived = Instant::now();
                    } else if last_lived.elapsed() >= LINGER {
                        thread::park();
                        last_lived = Instant::now();
                        continue;
                    }
                    thread::sleep(TICK);
                    if let Some(engine) = engine.upgrade() {
                        engine.increment_epoch();
                    }
                }
            })
            .map_err(Error::Thread)?;
        Ok(Self {
            thread: handle.thread().clone(),
            stop,
        })
    }

    /// Wakes it for the first guest that lives.
    pub(super) fn wake(&self) {
        self.thread.unpark();
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::DefaultHasher;
    use std::hash::{Hash, Hasher};

    use super::*;

    #[test]
    fn what_one_engine_compiles_the_other_runs() {
        let hash = |engine: Engine| {
            let mut hasher = DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(
            hash(for_compiling().unwrap()),
            hash(for_running(4).unwrap())
        );
    }
}
