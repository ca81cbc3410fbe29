//! The little of WASI that components import without using it, with nothing behind it: no files, no environment, no
//! arguments, no network. Its clocks and its chance are those of the turn, and its output goes to the turn's log.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiView};

use super::log::{Log, text};
use crate::chance::Chance;
use crate::limits::{HANDLES, LINE_BYTES, RANDOM_BYTES};
use crate::{LogLevel, LogLine, LogSource};
use nodepath_model::Timestamp;

/// WASI for one turn.
pub(crate) fn context(clock: Timestamp, seed: u64, log: &Log) -> WasiCtx {
    let now = Frozen(Duration::from_millis(u64::try_from(clock.0).unwrap_or(0)));
    WasiCtx::builder()
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .wall_clock(now)
        .monotonic_clock(now)
        .secure_random(Chance::new(seed, "wasi random"))
        .insecure_random(Chance::new(seed, "wasi insecure random"))
        .insecure_random_seed(u128::from(Chance::new(seed, "wasi seed").next_u64()))
        .max_random_size(RANDOM_BYTES)
        .stdout(Output::new(log, LogSource::Stdout))
        .stderr(Output::new(log, LogSource::Stderr))
        .build()
}

/// The handles of one turn.
pub(crate) fn handles() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(HANDLES);
    table
}

struct Handles;

impl HasData for Handles {
    type Data<'a> = &'a mut ResourceTable;
}

/// Links what components of the usual toolchains import. Sockets and HTTP are left out, so that a component that wants them
/// is refused when it is uploaded and not surprised when it runs.
pub(crate) fn add_to_linker<T: WasiView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    use wasmtime_wasi_io::bindings::wasi::io;

    let l = linker;
    io::error::add_to_linker::<T, Handles>(l, |t| t.ctx().table)?;
    io::poll::add_to_linker::<T, Handles>(l, |t| t.ctx().table)?;
    io::streams::add_to_linker::<T, Handles>(l, |t| t.ctx().table)?;
    cli::environment::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::exit::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::stdin::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::stdout::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::stderr::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_input::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_output::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_stdin::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_stdout::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_stderr::add_to_linker::<T, WasiCli>(l, T::cli)?;
    clocks::wall_clock::add_to_linker::<T, WasiClocks>(l, T::clocks)?;
    clocks::monotonic_clock::add_to_linker::<T, WasiClocks>(l, T::clocks)?;
    filesystem::types::add_to_linker::<T, WasiFilesystem>(l, T::filesystem)?;
    filesystem::preopens::add_to_linker::<T, WasiFilesystem>(l, T::filesystem)?;
    random::random::add_to_linker::<T, WasiRandom>(l, T::random)?;
    random::insecure::add_to_linker::<T, WasiRandom>(l, T::random)?;
    random::insecure_seed::add_to_linker::<T, WasiRandom>(l, T::random)?;
    Ok(())
}

/// A clock that stands still.
#[derive(Clone, Copy)]
struct Frozen(Duration);

impl HostWallClock for Frozen {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

impl HostMonotonicClock for Frozen {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A standard stream that ends in the log, line by line.
#[derive(Clone)]
struct Output {
    log: Log,
    source: LogSource,
}

impl Output {
    fn new(log: &Log, source: LogSource) -> Self {
        Self {
            log: log.clone(),
            source,
        }
    }

    /// A write is taken as whole lines: the runtimes of all languages buffer up to a line.
    fn add(&self, bytes: &[u8]) {
        let level = match self.source {
            LogSource::Stderr => LogLevel::Warn,
            LogSource::Stdout | LogSource::Log => LogLevel::Info,
        };
        for line in String::from_utf8_lossy(bytes).lines() {
            let message = text(line);
            if !message.is_empty() {
                self.log.add(LogLine {
                    level,
                    source: self.source,
                    message,
                    fields: Vec::new(),
                });
            }
        }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.add(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LINE_BYTES)
    }
}

impl AsyncWrite for Output {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.add(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
