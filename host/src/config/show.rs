//! The effective configuration, for `nodepath config`: what each value is, where it comes from and what it is for.

use serde_json::{Map, json};

use super::keys::{KEYS, Shown};
use super::{Loaded, Origin};

impl Loaded {
    /// Where a key's value comes from.
    #[must_use]
    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }

    /// The effective configuration as TOML that can be read again. Secrets stand in it as comments, without their value.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut lines = Vec::new();
        let mut table = "";
        // A key without a table must stand before the first table.
        let (plain, nested): (Vec<_>, Vec<_>) = KEYS.iter().partition(|k| !k.name.contains('.'));
        for key in plain.into_iter().chain(nested) {
            let (in_table, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
            if in_table != table {
                table = in_table;
                lines.push(format!("[{table}]\n"));
            }
            let line = match (key.show)(&self.config) {
                Shown::Value(value) => format!("{name} = {value}  # {}", self.origin(key.name)),
                Shown::Secret => format!("# {name} is set, from {}", self.origin(key.name)),
                Shown::Unset => format!("# {name} is not set"),
            };
            lines.push(format!("# {}\n{line}\n", key.help));
        }
        lines.join("\n")
    }

    /// The effective configuration as JSON: `{key: {value, origin, variable}}`. A secret's value is `"[secret]"`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let entries = KEYS.iter().map(|key| {
            let value = match (key.show)(&self.config) {
                Shown::Value(toml::Value::Integer(number)) => json!(number),
                Shown::Value(value) => json!(value.as_str()),
                Shown::Secret => json!("[secret]"),
                Shown::Unset => json!(null),
            };
            let entry = json!({
                "value": value,
                "origin": self.origin(key.name).to_string(),
                "variable": key.variable(),
            });
            (key.name.to_owned(), entry)
        });
        entries.collect::<Map<_, _>>().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Inputs};

    fn loaded(env: &[(&str, &str)]) -> Loaded {
        let env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Config::load(&Inputs {
            file: None,
            env: env.collect(),
        })
        .unwrap()
    }

    #[test]
    fn what_is_printed_is_the_same_configuration_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("printed.toml");
        let before = loaded(&[
            ("NODEPATH_WORKERS", "3"),
            ("NODEPATH_ADMIN_LISTEN", ""),
            ("NODEPATH_DATA_DIR", "/x"),
        ]);
        std::fs::write(&file, before.to_toml()).unwrap();
        let after = Config::load(&Inputs {
            file: Some(file),
            env: vec![],
        })
        .unwrap();
        let resolved = Config {
            database: Some(before.config.database_path()),
            seal_key_file: Some(before.config.seal_key_path()),
            ..before.config
        };
        assert_eq!(after.config, resolved);
    }

    #[test]
    fn every_value_is_shown_with_its_origin_and_no_secret_is() {
        let key = crate::model::secret::Sealer::generate_base64();
        let loaded = loaded(&[
            ("NODEPATH_MAX_MEMORY", "2GiB"),
            ("NODEPATH_SEAL_KEY", &key),
            ("NODEPATH_WORKERS", "2"),
        ]);
        let toml = loaded.to_toml();
        assert!(!toml.contains(&key) && !loaded.to_json().to_string().contains(&key));
        insta::assert_snapshot!(toml, @r#"
        # Everything that must outlive the process. Below the working directory, so that a first try leaves nothing elsewhere.
        data_dir = "nodepath-data"  # default

        # The SQLite file. In the data directory unless set, since the two are backed up together.
        database = "nodepath-data/nodepath.db"  # default

        # Where webhooks come in. Loopback, because TLS ends in a proxy on this machine.
        listen = "127.0.0.1:8080"  # default

        # Where /readyz and /metrics are (and /healthz, which the webhooks' address has too); "" for nowhere. They tell of every tenant.
        admin_listen = "127.0.0.1:8081"  # default

        # The key that seals secrets at rest: 32 bytes in Base64, from `openssl rand -base64 32`. It wins over seal_key_file.
        # seal_key is set, from NODEPATH_SEAL_KEY

        # A file with that key, made on the first start. In the data directory unless set: keep a copy apart from the backups.
        seal_key_file = "nodepath-data/seal.key"  # default

        # Threads that run plugins. One for each core: a plugin that computes holds one.
        workers = 2  # NODEPATH_WORKERS

        # Plugins at work at once; a tenant may have half, the rest wait. One that waits for the store holds no thread.
        max_instances = 256  # default

        # Memory of all plugins at work together: half of the machine's. A tenant may have half of it; a turn waits for its device's budget.
        max_memory = "2GiB"  # NODEPATH_MAX_MEMORY

        # How often the store is asked for what is due: how late a timer or a change by the command line may be noticed.
        due_poll = "250ms"  # default

        # How long a stop waits for turns and sends. Below the 30s after which Kubernetes kills; what is not done by then runs again.
        stop_deadline = "25s"  # default

        [log]

        # A file of plain lines that begin with the level; "" for none. Where `grep "SESSION LOCK" logs/app.log` looks.
        file = "logs/app.log"  # default

        # What is logged: a level, or directives such as info,nodepath::store=debug,plugin=warn. info shows each lock.
        filter = "info"  # default

        # The console's format, text or json. text, because a person starts the first host.
        format = "text"  # default

        [retention]

        # How long answered messages, replies and turns are kept, at least 8d. A month of history for plugins and questions.
        settled = "30d"  # default

        # How long dead letters are kept, at least 8d. A quarter: somebody has to look at each.
        dead = "90d"  # default
        "#);
    }
}
