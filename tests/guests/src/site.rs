//! The real executable on a directory of its own, with what it records.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Row as _};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::load::{APP_SECRET, PHONE_NUMBER_ID};

/// The key that seals the secrets, the same in each run, so that plugins are compiled once.
const SEAL_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// How long a host may take to start, and a command to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where one host lives.
pub(crate) struct Site {
    executable: PathBuf,
    dir: tempfile::TempDir,
    provider: SocketAddr,
}

/// A host that runs. It is killed when it is dropped.
pub(crate) struct Host {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
}

/// What the host recorded of one device's turns.
pub(crate) struct Recorded {
    pub(crate) outcome: String,
    pub(crate) detail: String,
    pub(crate) turns: i64,
    pub(crate) cpu: Duration,
}

impl Site {
    pub(crate) fn new(executable: &Path, compiled: &Path, provider: SocketAddr) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir_all(compiled)?;
        std::fs::create_dir_all(dir.path().join("data"))?;
        std::os::unix::fs::symlink(compiled, dir.path().join("data/plugin-cache"))?;
        Ok(Self {
            executable: executable.to_owned(),
            dir,
            provider,
        })
    }

    /// Runs a command of the host, and answers what it says; an error is what it says of a failure.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = timeout(PATIENCE, self.command(arguments).output())
            .await
            .context("the command does not end")??;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            return Ok(said(&output.stdout));
        }
        bail!("{}{}", said(&output.stdout), said(&output.stderr))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.executable);
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("NODEPATH_SEAL_KEY", SEAL_KEY)
            .env("NODEPATH_DATA_DIR", "data")
            .env("NODEPATH_LISTEN", "127.0.0.1:0")
            .env("NODEPATH_ADMIN_LISTEN", "")
            .env("NODEPATH_LOG__FORMAT", "json")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Adds a device that runs this plugin.
    pub(crate) async fn add_device(
        &self,
        tenant: &str,
        id: &str,
        plugin: &str,
        settings: &[&str],
    ) -> Result<()> {
        let credentials = json!({
            "app_secret": APP_SECRET,
            "access_token": "guests-access-token",
            "verify_token": "guests-verify-token",
            "phone_number_id": PHONE_NUMBER_ID,
            "api_base": format!("http://{}/v25.0", self.provider),
        });
        let file = self.path("credentials.json");
        std::fs::write(&file, credentials.to_string())?;
        let mut arguments = vec!["device", "add", "--tenant", tenant, "--channel", "whatsapp"];
        arguments.extend(["--id", id, "--plugin", plugin, "--plugin-config", "{}"]);
        arguments.extend(["--credentials", "credentials.json"]);
        for setting in settings {
            arguments.extend(["--set", setting]);
        }
        self.run(&arguments).await.map(drop)
    }

    /// Registers a component, and answers its digest.
    pub(crate) async fn add_plugin(
        &self,
        tenant: &str,
        name: &str,
        component: &[u8],
    ) -> Result<String> {
        let file = self.path(&format!("{name}.wasm"));
        std::fs::write(&file, component)?;
        let file = file.to_string_lossy();
        let said = self
            .run(&["plugin", "add", &file, "--tenant", tenant, "--json"])
            .await?;
        let json: Value = serde_json::from_str(&said)?;
        let digest = json.get("digest").and_then(Value::as_str);
        Ok(digest.context("plugin add tells no digest")?.to_owned())
    }

    /// Starts the host, and waits until it takes webhooks.
    pub(crate) async fn serve(&self) -> Result<Host> {
        let log = File::create(self.log())?;
        let mut child = self.command(&["serve"]).stderr(log).spawn()?;
        let pid = child.id().context("the host ended at once")?;
        let ready = async {
            loop {
                if let Some(line) = self.lines("serve: taking webhooks")?.first() {
                    return Ok(field(line, "listen").parse()?);
                }
                if let Some(status) = child.try_wait()? {
                    bail!("the host ended with {status}: {}", self.said()?);
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let address = timeout(PATIENCE, ready)
            .await
            .context("the host does not start")??;
        Ok(Host {
            child,
            address,
            pid,
        })
    }

    /// What the host recorded of a device's turns that ended since then, by their outcome.
    pub(crate) async fn recorded(&self, device: &str, since_ms: i64) -> Result<Vec<Recorded>> {
        let rows = sqlx::query(
            "SELECT t.outcome, MIN(COALESCE(t.detail, '')), COUNT(*), SUM(t.cpu_us)
             FROM turn t JOIN conversation c ON c.id = t.conversation
             WHERE c.device = $1 AND t.finished_at >= $2 GROUP BY t.outcome ORDER BY 3 DESC",
        )
        .bind(device)
        .bind(since_ms)
        .fetch_all(&mut self.database().await?)
        .await?;
        let recorded = rows.iter().map(|row| {
            let cpu: i64 = row.try_get(3)?;
            Ok(Recorded {
                outcome: row.try_get(0)?,
                detail: row.try_get(1)?,
                turns: row.try_get(2)?,
                cpu: Duration::from_micros(u64::try_from(cpu)?),
            })
        });
        recorded.collect()
    }

    /// How many conversations of a device have anything to do.
    pub(crate) async fn busy(&self, device: &str) -> Result<i64> {
        let busy = "SELECT COUNT(*) FROM conversation WHERE device = $1 AND state <> 'idle'";
        let mut database = self.database().await?;
        Ok(sqlx::query_scalar(busy)
            .bind(device)
            .fetch_one(&mut database)
            .await?)
    }

    /// Whom the host's log blames for a device's failures, each once.
    pub(crate) fn blamed(&self, device: &str) -> Result<Vec<String>> {
        let mut blamed: Vec<String> = self
            .lines("turn: the ")?
            .iter()
            .filter(|line| field(line, "device") == device)
            .map(|line| field(line, "blame").to_owned())
            .filter(|blame| !blame.is_empty())
            .collect();
        blamed.sort();
        blamed.dedup();
        Ok(blamed)
    }

    /// Everything that the host has logged.
    pub(crate) fn said(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(self.log())?).into_owned())
    }

    /// The lines of the log whose message begins like this.
    fn lines(&self, beginning: &str) -> Result<Vec<Value>> {
        let said = self.said()?;
        let lines = said
            .lines()
            .filter(|line| line.contains(beginning))
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(lines
            .filter(|line| message(line).starts_with(beginning))
            .collect())
    }

    async fn database(&self) -> Result<SqliteConnection> {
        let file = self.path("data/nodepath.db");
        let options = SqliteConnectOptions::new().filename(file).read_only(true);
        Ok(options.busy_timeout(PATIENCE).connect().await?)
    }

    fn log(&self) -> PathBuf {
        self.path("host.log")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Host {
    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Ends it, and waits until it is gone.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.child.kill().await.context("the host can't be ended")
    }
}

fn message(line: &Value) -> &str {
    line.get("message")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn field<'a>(line: &'a Value, name: &str) -> &'a str {
    let value = line.get("fields").and_then(|fields| fields.get(name));
    value.and_then(Value::as_str).unwrap_or_default()
}
