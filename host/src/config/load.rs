//! Putting a configuration together: the defaults, then the file, then the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::keys::{KEYS, Key};
use super::{Config, Error, FILE_VARIABLE};

/// The file that is read when no other is named.
const FILE: &str = "nodepath.toml";

/// What a configuration is made from.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The file that the command line names.
    pub file: Option<PathBuf>,
    /// The environment.
    pub env: Vec<(String, String)>,
}

/// What Kubernetes tells every container of a Service that is called `nodepath`; none of it is meant for us.
const KUBERNETES: [&str; 2] = ["NODEPATH_SERVICE_", "NODEPATH_PORT"];

impl Inputs {
    /// Takes the process's environment, and the file that the command line names.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let env = std::env::vars_os()
            .map(|(name, value)| {
                (
                    name.to_string_lossy().into_owned(),
                    value.to_string_lossy().into_owned(),
                )
            })
            .collect();
        Self { file, env }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The file.
    File(PathBuf),
    /// A variable of the environment.
    Env(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(name) => f.write_str(name),
        }
    }
}

/// A configuration and where each of its values comes from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    pub(super) origins: BTreeMap<&'static str, Origin>,
}

impl Config {
    /// Puts a configuration together.
    ///
    /// # Errors
    /// If anything of it is wrong; the error tells every problem.
    pub fn load(inputs: &Inputs) -> Result<Loaded, Error> {
        let mut load = Load {
            loaded: Loaded {
                config: Self::default(),
                origins: BTreeMap::new(),
            },
            problems: Vec::new(),
            unknown: false,
        };
        load.file(inputs);
        load.environment(&inputs.env);
        load.finish()
    }
}

struct Load {
    loaded: Loaded,
    problems: Vec<String>,
    /// Whether anything was no key: then the keys are listed, once.
    unknown: bool,
}

impl Load {
    fn file(&mut self, inputs: &Inputs) {
        let from_env = || {
            let named = inputs.env.iter().find(|(name, _)| name == FILE_VARIABLE);
            named.map(|(_, path)| PathBuf::from(path))
        };
        let named = inputs.file.clone().or_else(from_env);
        let path = named.clone().unwrap_or_else(|| PathBuf::from(FILE));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                let path = path.display();
                self.problems.push(format!(
                    "{path} can't be read: {error}; name a file that can, or none"
                ));
                return;
            }
        };
        match text.parse::<Table>() {
            Ok(table) => self.table(&path, "", &table),
            // The parser's own message would show the line, which may hold the sealing key.
            Err(error) => self.problems.push(format!(
                "{} is not TOML, line {}: {}",
                path.display(),
                line_of(&text, error.span().map_or(0, |span| span.start)),
                error.message()
            )),
        }
    }

    fn table(&mut self, path: &Path, prefix: &str, table: &Table) {
        for (name, value) in table {
            let name = format!("{prefix}{name}");
            let inner = format!("{name}.");
            let origin = Origin::File(path.to_owned());
            match value {
                Value::Table(table) if KEYS.iter().any(|k| k.name.starts_with(&inner)) => {
                    self.table(path, &inner, table);
                }
                value => match KEYS.iter().find(|k| k.name == name) {
                    Some(key) => self.set(key, value, origin),
                    None => self.unknown(&name, &origin),
                },
            }
        }
    }

    fn environment(&mut self, env: &[(String, String)]) {
        for (name, value) in env {
            let is_ours =
                name.starts_with("NODEPATH_") && !KUBERNETES.iter().any(|p| name.starts_with(p));
            if !is_ours || name == FILE_VARIABLE {
                continue;
            }
            let origin = Origin::Env(name.clone());
            match KEYS.iter().find(|k| k.variable() == *name) {
                Some(key) => self.set(key, &Value::String(value.clone()), origin),
                None => self.unknown(name, &origin),
            }
        }
    }

    fn set(&mut self, key: &Key, value: &Value, origin: Origin) {
        match (key.set)(&mut self.loaded.config, value) {
            Ok(()) => {
                self.loaded.origins.insert(key.name, origin);
            }
            Err(problem) => self
                .problems
                .push(format!("{} (from {origin}): {problem}", key.name)),
        }
    }

    fn unknown(&mut self, name: &str, origin: &Origin) {
        self.unknown = true;
        self.problems.push(match origin {
            Origin::Env(_) => format!("{name} in the environment is no key of this program"),
            origin => format!("{name} in {origin} is no key of this program"),
        });
    }

    fn finish(mut self) -> Result<Loaded, Error> {
        self.problems.extend(self.loaded.config.contradictions());
        if self.problems.is_empty() {
            return Ok(self.loaded);
        }
        let names: Vec<_> = KEYS.iter().map(|k| k.name).collect();
        let hint = if self.unknown {
            format!(
                "\nThe keys are {}; in the environment, log.file is NODEPATH_LOG__FILE.",
                names.join(", ")
            )
        } else {
            String::new()
        };
        Err(Error::Problems {
            problems: self.problems,
            hint,
        })
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    1 + before.iter().filter(|b| **b == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, env: &[(&str, &str)]) -> Result<Loaded, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodepath.toml");
        std::fs::write(&path, file).unwrap();
        let env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Config::load(&Inputs {
            file: Some(path),
            env: env.collect(),
        })
        .map_err(|error| match error {
            Error::Problems { problems, hint } => {
                let dir = format!("{}/", dir.path().display());
                let problems = problems.into_iter().map(|p| p.replace(&dir, ""));
                Error::Problems {
                    problems: problems.collect(),
                    hint,
                }
            }
            other => other,
        })
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
        let file = "due_poll = \"1s\"\nworkers = 3\n[log]\nfile = \"\"\n";
        let loaded = load(
            file,
            &[
                ("NODEPATH_WORKERS", "5"),
                ("HOME", "/"),
                ("NODEPATH_LOG__FILTER", "debug"),
            ],
        )
        .unwrap();
        assert_eq!(loaded.config.workers, 5);
        assert_eq!(loaded.config.due_poll.as_millis(), 1_000);
        assert_eq!(loaded.config.log.file, None);
        assert_eq!(loaded.config.log.filter, "debug");
        assert_eq!(loaded.config.max_instances, Config::default().max_instances);
    }

    #[test]
    fn all_problems_are_told_together() {
        let file = "listen = \"localhost\"\nworkers = \"many\"\nlogfile = \"x\"\n[retention]\nsettled = \"7d\"\n[log]\nlevel = 1\n";
        let env = [
            ("NODEPATH_STOP_DEADLINE", "30"),
            ("NODEPATH_LOG_FILE", "x"),
            ("NODEPATH_MAX_MEMORY", "64MB"),
        ];
        let error = load(file, &env).unwrap_err();
        insta::assert_snapshot!(error, @r#"
        the configuration has 8 problems:
          - listen (from nodepath.toml): "localhost" is not an address: write one like 127.0.0.1:8080 or [::1]:8080
          - log.level in nodepath.toml is no key of this program
          - logfile in nodepath.toml is no key of this program
          - workers (from nodepath.toml): it must be a whole number from 1 to 1024
          - stop_deadline (from NODEPATH_STOP_DEADLINE): "30" is not a length of time: write one like 250ms, 30s, 5m, 2h or 30d
          - NODEPATH_LOG_FILE in the environment is no key of this program
          - max_memory (from NODEPATH_MAX_MEMORY): "64MB" is not a size: write one like 512KiB, 64MiB or 2GiB
          - retention.settled is 7d: keep at least 8d, since WhatsApp repeats a webhook for 7 days and an id that was forgotten is answered twice
        The keys are data_dir, database, listen, admin_listen, log.file, log.filter, log.format, seal_key, seal_key_file, workers, max_instances, max_memory, due_poll, stop_deadline, retention.settled, retention.dead; in the environment, log.file is NODEPATH_LOG__FILE.
        "#);
    }

    #[test]
    fn a_broken_file_is_told_without_its_text() {
        let error = load("workers = 2\nseal_key = \"c2VjcmV0\nx = 1", &[]).unwrap_err();
        insta::assert_snapshot!(error, @r#"the configuration has a problem: nodepath.toml is not TOML, line 2: invalid basic string, expected `"`"#);
    }

    #[test]
    fn a_bad_sealing_key_is_told_without_its_text() {
        let error = load("", &[("NODEPATH_SEAL_KEY", "hunter2")])
            .unwrap_err()
            .to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(error.contains("openssl rand -base64 32"), "{error}");
    }

    #[test]
    fn no_name_is_taken_without_being_a_key() {
        assert!(load("", &[("NODEPATH_CONFIG", "elsewhere.toml")]).is_ok());
        // Kubernetes, of a Service that is called `nodepath`.
        let service = [
            ("NODEPATH_SERVICE_HOST", "10.0.0.1"),
            ("NODEPATH_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ];
        assert!(load("", &service).is_ok());
        for name in ["NODEPATH_ORACLE_PYTHON", "NODEPATH_COMPONENTS"] {
            assert!(load("", &[(name, "x")]).is_err(), "{name}");
        }
    }

    #[test]
    fn a_file_that_was_named_must_exist() {
        let inputs = Inputs {
            env: vec![(
                "NODEPATH_CONFIG".to_owned(),
                "/nowhere/at/all.toml".to_owned(),
            )],
            ..Inputs::default()
        };
        let error = Config::load(&inputs).unwrap_err().to_string();
        assert!(
            error.contains("/nowhere/at/all.toml can't be read"),
            "{error}"
        );
    }

    #[test]
    fn a_sealing_key_is_not_printed() {
        let key = crate::model::secret::Sealer::generate_base64();
        let loaded = load("", &[("NODEPATH_SEAL_KEY", &key)]).unwrap();
        assert!(!format!("{loaded:?}").contains(&key));
    }
}
