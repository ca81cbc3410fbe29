//! How this host is set up: one struct, loaded once.
//!
//! A value comes from the environment, else from the file, else it is the default. The file is TOML: the one that `--config`
//! or `NODEPATH_CONFIG` names, else `nodepath.toml` in the working directory if there is one. In the environment, `log.file`
//! is `NODEPATH_LOG__FILE`. What is not a key is refused in both places, and all problems are told together.

mod duration;
mod keys;
mod load;
mod seal_key;
mod show;
mod size;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use crate::model::Secret;
use crate::store::Retention;
use crate::telemetry;

pub use duration::{format_duration, parse_duration};
pub use load::{Inputs, Loaded, Origin};
pub use size::{format_size, parse_size};

/// The one name in the environment that begins with `NODEPATH_` and is no key: it names the file.
const FILE_VARIABLE: &str = "NODEPATH_CONFIG";

/// How this host is set up. Each field's default stands with its reason in `keys.rs`, from where `nodepath config` prints it.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where everything is kept that must outlive the process.
    pub data_dir: PathBuf,
    /// The database file; see [`Config::database_path`].
    pub database: Option<PathBuf>,
    /// Where webhooks come in.
    pub listen: SocketAddr,
    /// Where health and metrics are asked for; none: nowhere.
    pub admin_listen: Option<SocketAddr>,
    /// Where log lines go.
    pub log: telemetry::Settings,
    /// The key that seals secrets at rest, in Base64; it wins over the file.
    pub seal_key: Option<Secret>,
    /// The file with that key; see [`Config::seal_key_path`].
    pub seal_key_file: Option<PathBuf>,
    /// Threads that run plugins.
    pub workers: usize,
    /// Instances of plugins that can be alive at once.
    pub max_instances: u32,
    /// Memory of all instances of plugins together, in bytes.
    pub max_memory_bytes: u64,
    /// How often the store is asked for what is due.
    pub due_poll: Duration,
    /// How long a stop waits for what is under way.
    pub stop_deadline: Duration,
    /// How long settled rows are kept.
    pub retention: Retention,
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("nodepath-data"),
            database: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            admin_listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 8081))),
            log: telemetry::Settings::default(),
            seal_key: None,
            seal_key_file: None,
            workers: available_parallelism().map_or(1, usize::from),
            max_instances: 256,
            max_memory_bytes: half_of_memory(),
            due_poll: Duration::from_millis(250),
            stop_deadline: Duration::from_secs(25),
            retention: Retention {
                settled: 30 * DAY,
                dead: 90 * DAY,
            },
        }
    }
}

/// Half of this machine's memory, in whole MiB. Plugins rarely use what their budgets let them, and a turn that waits for a budget is
/// slower than one that does not.
fn half_of_memory() -> u64 {
    const MIB: u64 = 1 << 20;
    let info = rustix::system::sysinfo();
    let total = info.totalram.saturating_mul(u64::from(info.mem_unit));
    (total / 2 / MIB * MIB).max(SMALLEST_MEMORY)
}

/// The least memory that plugins can be given: the default budget of one turn.
const SMALLEST_MEMORY: u64 = 64 << 20;

impl Config {
    /// The database file.
    #[must_use]
    pub fn database_path(&self) -> PathBuf {
        self.database
            .clone()
            .unwrap_or_else(|| self.data_dir.join("nodepath.db"))
    }

    /// The file with the sealing key, unless `seal_key` is set.
    #[must_use]
    pub fn seal_key_path(&self) -> PathBuf {
        self.seal_key_file
            .clone()
            .unwrap_or_else(|| self.data_dir.join("seal.key"))
    }

    /// Where compiled plugins are kept. Whatever is in it can be made again.
    #[must_use]
    pub fn cache_dir(&self) -> PathBuf {
        self.data_dir.join("plugin-cache")
    }

    /// What contradicts what, one sentence each.
    fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.admin_listen == Some(self.listen) && self.listen.port() != 0 {
            found.push(format!(
                "admin_listen and listen are both {}: health and metrics must not stand beside webhooks, give them a port of their own",
                self.listen
            ));
        }
        if self.retention.settled < Retention::DEDUPE {
            found.push(format!(
                "retention.settled is {}: keep at least {}, since WhatsApp repeats a webhook for 7 days and an id that was forgotten is answered twice",
                format_duration(self.retention.settled),
                format_duration(Retention::DEDUPE)
            ));
        }
        if self.retention.dead < Retention::DEDUPE {
            found.push(format!(
                "retention.dead is {}: keep at least {}, for the same reason as retention.settled",
                format_duration(self.retention.dead),
                format_duration(Retention::DEDUPE)
            ));
        }
        found
    }
}

/// Why this host can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Values that are wrong: all of them.
    #[error("{}{hint}", Listed(.problems))]
    Problems {
        /// One sentence each.
        problems: Vec<String>,
        /// What helps with several of them; may be empty.
        hint: String,
    },
    /// The sealing key's file can't be read or made.
    #[error("can't {action} the sealing key {}: {source}; make it readable for this user, or set seal_key_file", path.display())]
    SealKeyFile {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There is a database, and the key that its secrets were sealed with is gone.
    #[error(
        "{} is missing, and {} holds secrets that were sealed with it: put the key back, or set seal_key; a new one would open none of them",
        path.display(), database.display()
    )]
    SealKeyGone {
        /// Where the key should be.
        path: PathBuf,
        /// The database.
        database: PathBuf,
    },
    /// The sealing key is none.
    #[error("{place}: {source}")]
    SealKey {
        /// Where it stands.
        place: String,
        /// What is wrong with it.
        source: crate::model::secret::Error,
    },
    /// The data directory can't be made.
    #[error("can't make the directory {}: {source}; set data_dir to a place where this user may write", path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [one] => write!(f, "the configuration has a problem: {one}"),
            all => {
                write!(f, "the configuration has {} problems:", all.len())?;
                all.iter()
                    .try_for_each(|problem| write!(f, "\n  - {problem}"))
            }
        }
    }
}
