//! The executable under measurement: set up by its own command line, started, watched and stopped.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use rustix::process::{Pid, Signal, kill_process};

use crate::Arguments;
use crate::load;
use crate::provider::Provider;
use crate::webhook;

/// The device that is written to.
pub(crate) const DEVICE: &str = "shop";

/// How long the host may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether the host has started.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What /proc counts CPU time in: the kernel's USER_HZ is 100 on x86 and ARM, whatever its timer runs at.
const TICK: Duration = Duration::from_millis(10);

/// A data directory with a tenant, a device and the echo plugin.
pub(crate) struct Site {
    dir: tempfile::TempDir,
    executable: PathBuf,
}

impl Site {
    /// Sets it up as an operator does.
    pub(crate) async fn set_up(arguments: &Arguments, provider: &Provider) -> Result<Self> {
        fs::create_dir_all(&arguments.dir)?;
        let site = Self {
            dir: tempfile::tempdir_in(&arguments.dir)?,
            executable: fs::canonicalize(&arguments.executable)
                .with_context(|| format!("there is no {}", arguments.executable.display()))?,
        };
        let credentials = serde_json::json!({
            "app_secret": webhook::APP_SECRET,
            "access_token": "bench-access-token",
            "verify_token": "bench-verify-token",
            "phone_number_id": webhook::PHONE_NUMBER_ID,
            "api_base": provider.api_base(),
        });
        fs::write(site.dir().join("credentials.json"), credentials.to_string())?;
        let plugin = fs::canonicalize(&arguments.plugin)
            .with_context(|| format!("there is no {}", arguments.plugin.display()))?;
        let plugin = plugin.to_string_lossy();
        site.run(&["tenant", "add", "acme"])?;
        site.run(&["plugin", "add", &plugin, "--tenant", "acme"])?;
        site.run(&[
            "device",
            "add",
            "--tenant",
            "acme",
            "--channel",
            "whatsapp",
            "--id",
            DEVICE,
            "--plugin",
            "echo",
            "--credentials",
            "credentials.json",
        ])?;
        Ok(site)
    }

    /// Where everything of it lies.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        let output = self.command(&self.executable).args(arguments).output()?;
        ensure!(
            output.status.success(),
            "nodepath {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// A program in this directory, with the settings that every host of a first installation has.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.dir())
            .env("NODEPATH_DATA_DIR", "data")
            .env("NODEPATH_LISTEN", "127.0.0.1:0")
            .env("NODEPATH_ADMIN_LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// Starts the host.
    pub(crate) async fn serve(&self) -> Result<Host> {
        self.serve_under(&self.executable, &[]).await
    }

    /// Starts the host as the child of a program that watches it.
    pub(crate) async fn serve_under(&self, program: &Path, arguments: &[&str]) -> Result<Host> {
        let console = self.dir().join("console.log");
        let mut command = self.command(program);
        command.args(arguments);
        if !arguments.is_empty() {
            command.arg(&self.executable);
        }
        let mut child = command
            .arg("serve")
            .stderr(fs::File::create(&console)?)
            .spawn()
            .with_context(|| format!("can't start {}", program.display()))?;
        let since = Instant::now();
        loop {
            if let Some((address, admin)) = listening(&fs::read_to_string(&console)?) {
                return Ok(Host {
                    child,
                    address,
                    admin,
                });
            }
            if let Some(status) = child.try_wait()? {
                bail!("the host ended with {status}; see {}", console.display());
            }
            if since.elapsed() > PATIENCE {
                child.kill()?;
                bail!("the host takes no webhooks after {PATIENCE:?}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// The addresses in the line that says that webhooks are taken: theirs, and the operator's.
fn listening(console: &str) -> Option<(SocketAddr, SocketAddr)> {
    console.lines().find_map(|line| {
        let address = |field: &str| {
            let (_, value) = line.split_once(field)?;
            value.split_whitespace().next()?.parse().ok()
        };
        Some((address(" listen=")?, address(" admin_listen=")?))
    })
}

/// What the host counts of itself.
pub(crate) struct Figures {
    pub(crate) commits: u64,
    pub(crate) operations: u64,
}

/// A running host. It is killed when it is dropped.
pub(crate) struct Host {
    child: Child,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
}

impl Host {
    /// Its CPU time so far, all threads (proc(5), `stat`, fields 14 and 15).
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat
            .rsplit_once(") ")
            .map(|(_, rest)| rest.split(' ').collect())
            .unwrap_or_default();
        let ticks = |n: usize| fields.get(n).and_then(|field| field.parse::<u64>().ok());
        let (Some(user), Some(system)) = (ticks(11), ticks(12)) else {
            bail!("/proc/…/stat is not as proc(5) says: {stat}");
        };
        Ok(TICK * u32::try_from(user + system)?)
    }

    /// Its resident memory in bytes, what is shared counted in shares (PSS).
    pub(crate) fn memory(&self) -> Result<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        rollup
            .lines()
            .find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB"))
            .and_then(|kib| kib.trim().parse::<u64>().ok())
            .map(|kib| kib * 1_024)
            .context("/proc/…/smaps_rollup has no Pss")
    }

    /// What `/metrics` tells of its commits.
    pub(crate) async fn figures(&self) -> Result<Figures> {
        let mut connection = load::connect(self.admin).await?;
        let request = Request::get("/metrics")
            .header("host", self.admin.to_string())
            .body(Full::default())?;
        let body = connection.send_request(request).await?.into_body();
        let text = String::from_utf8(body.collect().await?.to_bytes().into())?;
        let figure = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            // A figure that was never counted is absent.
            line.map_or(Ok(0), |value| value.trim().parse())
        };
        Ok(Figures {
            commits: figure("nodepath_store_commits_total ")?,
            operations: figure("nodepath_store_group_operations_sum ")?,
        })
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("no process id")?, Signal::TERM)?;
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "the host ended with {status}");
                return Ok(());
            }
            ensure!(since.elapsed() < PATIENCE, "the host does not stop");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
