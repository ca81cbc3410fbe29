//! Compiling a component to machine code: one at a time, and in a process of its own, because a compiler can be made to work
//! for ever or to take all the memory there is.

use std::io::{self, Read as _};
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::limits::{
    COMPILE_ADDRESS_SPACE, COMPILE_CPU, COMPILE_WALL, COMPILED_BYTES, COMPONENT_BYTES,
};
use super::words::clean;
use super::{Error, engine, prescan};

/// Who compiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// This executable, run as `<executable> compile-plugin`, which calls [`compile_child`].
    Child(std::path::PathBuf),
    /// This process. For tests, and for commands that only ever see their own user's components.
    InProcess,
}

/// The argument that makes the executable a compiler.
pub const COMPILE_ARGUMENT: &str = "compile-plugin";

/// The exit status of a child that refuses a component and says why.
const REFUSED: u8 = 2;

/// The longest complaint of a child that is read, in bytes.
const COMPLAINT_BYTES: u64 = 16 << 10;

/// The compiler, and whose turn it is.
pub(super) struct Compiling {
    compiler: Compiler,
    /// How long one component may take.
    pub(super) wall: Duration,
    one: Semaphore,
}

impl Compiling {
    pub(super) fn new(compiler: Compiler) -> Self {
        Self {
            compiler,
            wall: COMPILE_WALL,
            one: Semaphore::new(1),
        }
    }

    /// Waits until nothing else compiles. The semaphore is never closed.
    pub(super) async fn turn(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.one.acquire().await.ok()
    }

    /// Compiles a component.
    pub(super) async fn compile(&self, component: Vec<u8>) -> Result<Vec<u8>, Error> {
        match &self.compiler {
            Compiler::InProcess => tokio::task::spawn_blocking(move || compile(&component))
                .await
                .map_err(|_| Error::Compiler(io::Error::other("it panicked")))?,
            Compiler::Child(executable) => in_child(executable, &component, self.wall).await,
        }
    }
}

fn compile(component: &[u8]) -> Result<Vec<u8>, Error> {
    prescan::prescan(component)?;
    engine::for_compiling()?
        .precompile_component(component)
        .map_err(|error| Error::Refused(format!("it is not a valid component: {error:#}")))
}

async fn in_child(executable: &Path, component: &[u8], wall: Duration) -> Result<Vec<u8>, Error> {
    let mut child = Command::new(executable)
        .arg(COMPILE_ARGUMENT)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::Compiler)?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(Error::Compiler(io::Error::other("it has no pipes")));
    };
    let give = async {
        // A child that refuses early closes its end; its exit status says more than the broken pipe.
        stdin.write_all(component).await.ok();
        drop(stdin);
    };
    let (mut code, mut complaint) = (Vec::new(), Vec::new());
    let (mut stdout, mut stderr) = (
        stdout.take(COMPILED_BYTES.saturating_add(1)),
        stderr.take(COMPLAINT_BYTES),
    );
    let exchange = async {
        let ((), read, complained) = tokio::join!(
            give,
            stdout.read_to_end(&mut code),
            stderr.read_to_end(&mut complaint)
        );
        read.and(complained)?;
        // What is beyond the bounds is not read, and a child that still writes it ends with a broken pipe.
        drop((stdout, stderr));
        child.wait().await
    };
    let status = timeout(wall, exchange)
        .await
        .map_err(|_| too_much("time"))?
        .map_err(Error::Compiler)?;
    verdict(status, code, &complaint)
}

fn verdict(status: ExitStatus, code: Vec<u8>, complaint: &[u8]) -> Result<Vec<u8>, Error> {
    if u64::try_from(code.len()).is_ok_and(|length| length > COMPILED_BYTES) {
        return Err(too_much("room for its code"));
    }
    if status.success() {
        return Ok(code);
    }
    let complaint = clean(&String::from_utf8_lossy(complaint), 4_096);
    if status.code() == Some(i32::from(REFUSED)) {
        return Err(Error::Refused(complaint));
    }
    // Memory that can't be had aborts the compiler, and CPU time that is used up kills it.
    tracing::warn!("The compiler of plugins ended with {status}: {complaint}");
    Err(too_much("time or memory"))
}

fn too_much(what: &str) -> Error {
    Error::Refused(format!(
        "compiling it takes too much {what}; make its functions smaller, or build it with optimisation"
    ))
}

/// The body of the hidden subcommand `compile-plugin`: reads a component from the standard input, compiles it under limits
/// that it sets on its own process, and writes the machine code to the standard output.
///
/// Call it before anything else is started in the process. What is wrong goes to the standard error.
#[must_use]
pub fn compile_child() -> ExitCode {
    match limited().and_then(|()| exchange(io::stdin().lock(), io::stdout().lock())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Refused(why)) => {
            eprintln!("{why}");
            ExitCode::from(REFUSED)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

pub(super) fn limited() -> Result<(), Error> {
    let set = |resource, most| {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit).map_err(|error| Error::Compiler(error.into()))
    };
    set(Resource::As, COMPILE_ADDRESS_SPACE)?;
    set(Resource::Cpu, COMPILE_CPU.as_secs())?;
    // Neither a core file nor any other.
    set(Resource::Core, 0)
}

pub(super) fn exchange(input: impl io::Read, mut output: impl io::Write) -> Result<(), Error> {
    let mut component = Vec::new();
    // One byte more than allowed shows that it is too large.
    let most = u64::try_from(COMPONENT_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    input
        .take(most)
        .read_to_end(&mut component)
        .map_err(Error::Compiler)?;
    let code = compile(&component)?;
    output
        .write_all(&code)
        .and_then(|()| output.flush())
        .map_err(Error::Compiler)
}
