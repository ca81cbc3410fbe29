//! Every key: its name, what it is for and why its default is what it is, how it is read and how it is shown.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;

use super::{Config, SMALLEST_MEMORY, format_duration, format_size, parse_duration, parse_size};
use crate::model::Secret;
use crate::model::secret::Sealer;
use crate::telemetry::{Format, check_filter};

/// One key of the file and the environment.
pub(super) struct Key {
    /// Its name in the file, with dots.
    pub(super) name: &'static str,
    /// What it is for, and the reason for its default.
    pub(super) help: &'static str,
    /// Takes a value; the error says what would be right.
    pub(super) set: fn(&mut Config, &Value) -> Result<(), String>,
    /// Gives the value back.
    pub(super) show: fn(&Config) -> Shown,
}

/// A value as `nodepath config` shows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shown {
    Value(Value),
    Secret,
    Unset,
}

impl Key {
    /// Its name in the environment.
    pub(super) fn variable(&self) -> String {
        format!("NODEPATH_{}", self.name.replace('.', "__").to_uppercase())
    }
}

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "data_dir",
        help: "Everything that must outlive the process. Below the working directory, so that a first try leaves nothing elsewhere.",
        set: |c, v| put(&mut c.data_dir, path(v)),
        show: |c| shown_path(&c.data_dir),
    },
    Key {
        name: "database",
        help: "The SQLite file. In the data directory unless set, since the two are backed up together.",
        set: |c, v| put(&mut c.database, path(v).map(Some)),
        show: |c| shown_path(&c.database_path()),
    },
    Key {
        name: "listen",
        help: "Where webhooks come in. Loopback, because TLS ends in a proxy on this machine.",
        set: |c, v| put(&mut c.listen, address(v)),
        show: |c| shown(c.listen.to_string()),
    },
    Key {
        name: "admin_listen",
        help: "Where /readyz and /metrics are (and /healthz, which the webhooks' address has too); \"\" for nowhere. They tell of every tenant.",
        set: |c, v| put(&mut c.admin_listen, unless_empty(v, address)),
        show: |c| shown(c.admin_listen.map_or_else(String::new, |a| a.to_string())),
    },
    Key {
        name: "log.file",
        help: "A file of plain lines that begin with the level; \"\" for none. Where `grep \"SESSION LOCK\" logs/app.log` looks.",
        set: |c, v| put(&mut c.log.file, unless_empty(v, path)),
        show: |c| {
            c.log
                .file
                .as_ref()
                .map_or_else(|| shown(""), |p| shown_path(p))
        },
    },
    Key {
        name: "log.filter",
        help: "What is logged: a level, or directives such as info,nodepath::store=debug,plugin=warn. info shows each lock.",
        set: |c, v| put(&mut c.log.filter, text(v).and_then(check_filter)),
        show: |c| shown(c.log.filter.clone()),
    },
    Key {
        name: "log.format",
        help: "The console's format, text or json. text, because a person starts the first host.",
        set: |c, v| put(&mut c.log.format, text(v).and_then(Format::parse)),
        show: |c| shown(c.log.format.as_str()),
    },
    Key {
        name: "seal_key",
        help: "The key that seals secrets at rest: 32 bytes in Base64, from `openssl rand -base64 32`. It wins over seal_key_file.",
        set: |c, v| put(&mut c.seal_key, unless_empty(v, seal_key)),
        show: |c| c.seal_key.as_ref().map_or(Shown::Unset, |_| Shown::Secret),
    },
    Key {
        name: "seal_key_file",
        help: "A file with that key, made on the first start. In the data directory unless set: keep a copy apart from the backups.",
        set: |c, v| put(&mut c.seal_key_file, path(v).map(Some)),
        show: |c| shown_path(&c.seal_key_path()),
    },
    Key {
        name: "workers",
        help: "Threads that run plugins. One for each core: a plugin that computes holds one.",
        set: |c, v| put(&mut c.workers, number(v, 1, 1_024)),
        show: |c| shown_number(c.workers),
    },
    Key {
        name: "max_instances",
        help: "Plugins at work at once; a tenant may have half, the rest wait. One that waits for the store holds no thread.",
        set: |c, v| put(&mut c.max_instances, number(v, 2, 10_000)),
        show: |c| shown_number(c.max_instances),
    },
    Key {
        name: "max_memory",
        help: "Memory of all plugins at work together: half of the machine's. A tenant may have half of it; a turn waits for its device's budget.",
        set: |c, v| put(&mut c.max_memory_bytes, size(v, SMALLEST_MEMORY)),
        show: |c| shown(format_size(c.max_memory_bytes)),
    },
    Key {
        name: "due_poll",
        help: "How often the store is asked for what is due: how late a timer or a change by the command line may be noticed.",
        set: |c, v| {
            put(
                &mut c.due_poll,
                duration(v, Duration::from_millis(10), Duration::from_secs(60)),
            )
        },
        show: |c| shown(format_duration(c.due_poll)),
    },
    Key {
        name: "stop_deadline",
        help: "How long a stop waits for turns and sends. Below the 30s after which Kubernetes kills; what is not done by then runs again.",
        set: |c, v| {
            put(
                &mut c.stop_deadline,
                duration(v, Duration::ZERO, Duration::from_secs(3_600)),
            )
        },
        show: |c| shown(format_duration(c.stop_deadline)),
    },
    Key {
        name: "retention.settled",
        help: "How long answered messages, replies and turns are kept, at least 8d. A month of history for plugins and questions.",
        set: |c, v| {
            put(
                &mut c.retention.settled,
                duration(v, Duration::ZERO, Duration::MAX),
            )
        },
        show: |c| shown(format_duration(c.retention.settled)),
    },
    Key {
        name: "retention.dead",
        help: "How long dead letters are kept, at least 8d. A quarter: somebody has to look at each.",
        set: |c, v| {
            put(
                &mut c.retention.dead,
                duration(v, Duration::ZERO, Duration::MAX),
            )
        },
        show: |c| shown(format_duration(c.retention.dead)),
    },
];

fn put<T>(slot: &mut T, value: Result<T, String>) -> Result<(), String> {
    *slot = value?;
    Ok(())
}

fn unless_empty<T>(v: &Value, read: fn(&Value) -> Result<T, String>) -> Result<Option<T>, String> {
    if v.as_str() == Some("") {
        return Ok(None);
    }
    read(v).map(Some)
}

fn text(v: &Value) -> Result<&str, String> {
    v.as_str()
        .ok_or_else(|| format!("it is {}: write a text in quotation marks", a_type(v)))
}

fn path(v: &Value) -> Result<PathBuf, String> {
    match text(v)? {
        "" => Err("it is empty: write a path, or leave the key out".to_owned()),
        path => Ok(PathBuf::from(path)),
    }
}

fn address(v: &Value) -> Result<SocketAddr, String> {
    let text = text(v)?;
    text.parse().map_err(|_| {
        format!("{text:?} is not an address: write one like 127.0.0.1:8080 or [::1]:8080")
    })
}

fn duration(v: &Value, least: Duration, most: Duration) -> Result<Duration, String> {
    let Some(text) = v.as_str() else {
        return Err(format!(
            "it is {}: write a length of time like \"30s\"",
            a_type(v)
        ));
    };
    let duration = parse_duration(text)?;
    if (least..=most).contains(&duration) {
        return Ok(duration);
    }
    Err(format!(
        "it is {text}: choose between {} and {}",
        format_duration(least),
        format_duration(most)
    ))
}

fn size(v: &Value, least: u64) -> Result<u64, String> {
    let Some(text) = v.as_str() else {
        return Err(format!("it is {}: write a size like \"512MiB\"", a_type(v)));
    };
    let bytes = parse_size(text)?;
    if bytes >= least {
        return Ok(bytes);
    }
    Err(format!(
        "it is {text}: give at least {}",
        format_size(least)
    ))
}

/// A whole number; the environment has it as text.
fn number<T: TryFrom<i64>>(v: &Value, least: i64, most: i64) -> Result<T, String> {
    let number = match v {
        Value::Integer(number) => Some(*number),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number
        .filter(|n| (least..=most).contains(n))
        .and_then(|n| T::try_from(n).ok())
        .ok_or_else(|| format!("it must be a whole number from {least} to {most}"))
}

/// The message never repeats the value.
fn seal_key(v: &Value) -> Result<Secret, String> {
    let text = text(v)?;
    Sealer::from_base64(text).map_err(|error| error.to_string())?;
    Ok(Secret::new(text.trim()))
}

fn a_type(v: &Value) -> &'static str {
    match v {
        Value::String(_) => "a text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

fn shown(text: impl Into<String>) -> Shown {
    Shown::Value(Value::String(text.into()))
}

fn shown_path(path: &Path) -> Shown {
    shown(path.display().to_string())
}

fn shown_number<T: TryInto<i64>>(number: T) -> Shown {
    Shown::Value(Value::Integer(number.try_into().unwrap_or(i64::MAX)))
}
