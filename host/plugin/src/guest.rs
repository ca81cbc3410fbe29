//! All that a guest's host functions can reach: the data of its store. There is no store of conversations in it, no channel
//! and no secret.

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::Error;
use super::bindings::{clock, config, effects, handler, history, log, presence, state, types};
use super::buffer::Buffer;
use super::grant::Facts;
use super::host::clock::Clock;
use super::host::config::Config;
use super::host::effects::{Effects, HasEffects};
use super::host::history::HasHistory;
use super::host::log::Log;
use super::host::presence::Presence;
use super::host::state::{HasState, State};
use super::host::wasi;
use super::meter::MemoryMeter;
use super::overlay::Overlay;
use super::reads::Budgeted;
use super::turn::Surroundings;
use nodepath_model::turn::Outcome;

/// The data of one guest's store.
pub(super) struct Guest {
    /// What it has used of its memory.
    pub(super) memory: MemoryMeter,
    /// What it wrote for people.
    pub(super) log: Log,
    facts: Facts,
    buffer: Buffer,
    overlay: Overlay,
    reads: Budgeted,
    config: Config,
    clock: Clock,
    presence: Presence,
    wasi: WasiCtx,
    handles: ResourceTable,
}

impl Guest {
    /// A guest in these surroundings, for which so much memory is set aside.
    pub(super) fn new(around: Surroundings, memory_bytes: u64) -> Self {
        let log = Log::new();
        let wall = around.budget.wall();
        Self {
            memory: MemoryMeter::new(memory_bytes),
            facts: Facts {
                limits: around.limits,
                window_open: around.window_open,
                now: around.clock,
            },
            buffer: Buffer::default(),
            overlay: Overlay::default(),
            reads: Budgeted::new(around.reads),
            config: Config::new(around.config),
            clock: Clock::new(around.clock, wall, around.seed),
            presence: Presence::new(around.presence),
            wasi: wasi::context(around.clock, around.seed, &log),
            handles: wasi::handles(),
            log,
        }
    }

    /// What it leaves behind when it ends its turn like this. What it read counts however it ends: an `ignore` may rest on
    /// it too.
    pub(super) fn into_outcome(self, ending: handler::Outcome) -> Outcome {
        Outcome {
            effects: self.buffer.end(ending),
            observed: self.overlay.into_observed(),
        }
    }

    fn effects(&mut self) -> Effects<'_> {
        Effects {
            facts: &self.facts,
            buffer: &mut self.buffer,
        }
    }

    fn state(&mut self) -> State<'_> {
        State {
            overlay: &mut self.overlay,
            buffer: &mut self.buffer,
            reads: &mut self.reads,
            now: self.clock.shown(),
        }
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.handles,
        }
    }
}

impl types::Host for Guest {}

/// The linker of the world: what a plugin may import, and nothing else.
pub(super) fn linker(engine: &Engine) -> Result<Linker<Guest>, Error> {
    let mut linker = Linker::new(engine);
    link(&mut linker).map_err(Error::engine)?;
    Ok(linker)
}

fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    effects::add_to_linker::<_, HasEffects>(linker, Guest::effects)?;
    presence::add_to_linker::<_, Presence>(linker, |guest| &mut guest.presence)?;
    history::add_to_linker::<_, HasHistory>(linker, |guest| &mut guest.reads)?;
    state::add_to_linker::<_, HasState>(linker, Guest::state)?;
    config::add_to_linker::<_, Config>(linker, |guest| &mut guest.config)?;
    log::add_to_linker::<_, Log>(linker, |guest| &mut guest.log)?;
    clock::add_to_linker::<_, Clock>(linker, |guest| &mut guest.clock)?;
    wasi::add_to_linker(linker)
}
