//! A data directory with one tenant, one WhatsApp device and a played provider, and the processes that run on it.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use nodepath::channel;
use nodepath::cli::demo::provider::{FakeWhatsApp, Request};
use nodepath::cli::demo::webhooks::Webhook;
use nodepath::model::secret::Sealer;
use nodepath::model::{Clock, ConversationId, DeviceId, ProspectId, Secret, Timestamp};
use nodepath::store::{ConversationDetail, Store};
use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::process::{Log, Process};

/// Who writes in the tests.
pub(crate) const PROSPECT: &str = "6281234567890";

/// The device's id.
pub(crate) const DEVICE: &str = "shop";

/// How long a test waits for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The key that seals the tests' secrets. It is the same for all, so that they share compiled plugins.
const SEAL_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// How a test wants its device, in the words of `nodepath device add`.
pub(crate) struct Setup {
    plugin: &'static str,
    plugin_config: String,
    settings: Vec<&'static str>,
    environment: Vec<(&'static str, String)>,
    executable: PathBuf,
    prepare: Option<Prepare>,
}

/// Something to be done with an empty directory.
type Prepare = Box<dyn FnOnce(&Path) + Send>;

impl Setup {
    /// A device that is answered by `ponder`, which takes so long.
    pub(crate) fn pondering(think: Duration) -> Self {
        Self {
            plugin: "ponder",
            plugin_config: think_ms(think),
            settings: vec![],
            environment: vec![("NODEPATH_SEAL_KEY", SEAL_KEY.to_owned())],
            executable: env!("CARGO_BIN_EXE_nodepath").into(),
            prepare: None,
        }
    }

    /// A device that is answered by another plugin.
    pub(crate) fn plugin(name: &'static str) -> Self {
        Self {
            plugin: name,
            plugin_config: "{}".to_owned(),
            ..Self::pondering(Duration::ZERO)
        }
    }

    /// A setting of the device, as `KEY=VALUE`.
    pub(crate) fn set(mut self, setting: &'static str) -> Self {
        self.settings.push(setting);
        self
    }

    /// A variable in the environment of every process.
    pub(crate) fn environment(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// A sealing key in a file, as the first command makes it, instead of one in the environment.
    pub(crate) fn own_key(mut self) -> Self {
        self.environment
            .retain(|(name, _)| *name != "NODEPATH_SEAL_KEY");
        self
    }

    /// The executable that it runs.
    pub(crate) fn runs(&self) -> &Path {
        &self.executable
    }

    /// Another build of the executable.
    pub(crate) fn executable(mut self, path: PathBuf) -> Self {
        self.executable = path;
        self
    }

    /// Does something with the directory before anything is in it, for example mounts a disk.
    pub(crate) fn prepare(mut self, prepare: impl FnOnce(&Path) + Send + 'static) -> Self {
        self.prepare = Some(Box::new(prepare));
        self
    }

    /// Sets everything up through the command line.
    pub(crate) async fn site(self) -> Site {
        let dir = tempfile::tempdir().unwrap();
        if let Some(prepare) = self.prepare {
            prepare(dir.path());
        }
        let provider = FakeWhatsApp::start().await.unwrap();
        let mut environment = self.environment;
        environment.push(("NODEPATH_DATA_DIR", "data".to_owned()));
        environment.push(("NODEPATH_LISTEN", "127.0.0.1:0".to_owned()));
        environment.push(("NODEPATH_ADMIN_LISTEN", "127.0.0.1:0".to_owned()));
        environment.push(("NODEPATH_LOG__FORMAT", "json".to_owned()));
        // What a command line changes is seen at once.
        environment.push(("NODEPATH_DUE_POLL", "20ms".to_owned()));
        let site = Site {
            dir,
            environment,
            provider,
            client: channel::http_client().unwrap(),
            executable: self.executable,
            said: Mutex::default(),
        };
        site.share_compiled_plugins();
        site.run(&["tenant", "add", "acme"]).await;
        site.write_credentials();
        site.add_plugin(self.plugin).await;
        site.add_device(DEVICE, self.plugin, &self.plugin_config, &self.settings)
            .await;
        site
    }
}

/// The configuration of `ponder`.
pub(crate) fn think_ms(think: Duration) -> String {
    format!(r#"{{"think_ms":{}}}"#, think.as_millis())
}

fn component(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/target/components");
    let path = folder.join(name).with_extension("wasm");
    assert!(
        path.exists(),
        "{} is missing: run `cargo xtask plugins` first",
        path.display()
    );
    path.to_str().unwrap().to_owned()
}

/// A directory in which the executable is run.
pub(crate) struct Site {
    dir: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
    pub(crate) provider: FakeWhatsApp,
    pub(crate) client: reqwest::Client,
    executable: PathBuf,
    /// Everything that any process here has printed.
    said: Mutex<String>,
}

impl Site {
    /// Another plugin of the tenant.
    pub(crate) async fn add_plugin(&self, plugin: &str) {
        let component = component(plugin);
        self.run(&["plugin", "add", &component, "--tenant", "acme"])
            .await;
    }

    /// Another device of the tenant, at the same provider.
    pub(crate) async fn add_device(
        &self,
        id: &str,
        plugin: &str,
        plugin_config: &str,
        settings: &[&str],
    ) {
        let line = "device add --tenant acme --channel whatsapp --credentials credentials.json";
        let mut line: Vec<_> = line.split(' ').collect();
        line.extend(["--id", id, "--plugin", plugin]);
        line.extend(["--plugin-config", plugin_config]);
        for setting in settings {
            line.extend(["--set", setting]);
        }
        self.run(&line).await;
    }

    /// Runs a command line, which must succeed, and answers its standard output.
    pub(crate) async fn run(&self, args: &[&str]) -> String {
        let output = self.output(args).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "nodepath {args:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// The same for what is shown this once; it does not count as said.
    pub(crate) async fn run_unheard(&self, args: &[&str]) -> String {
        let before = self.said();
        let shown = self.run(args).await;
        *self.said.lock().unwrap() = before;
        shown
    }

    /// The same with `--json`.
    pub(crate) async fn json(&self, args: &[&str]) -> Value {
        let mut with_json = args.to_vec();
        with_json.push("--json");
        serde_json::from_str(&self.run(&with_json).await).unwrap()
    }

    /// Runs a command line to its end.
    pub(crate) async fn output(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        let output = tokio::time::timeout(PATIENCE, command.output());
        let output = output.await.expect("a command ends").unwrap();
        self.heard(&String::from_utf8_lossy(&output.stdout));
        self.heard(&String::from_utf8_lossy(&output.stderr));
        output
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.executable);
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts the host, and waits until it takes webhooks.
    pub(crate) async fn serve(&self) -> Process<'_> {
        self.serve_until("").await
    }

    /// Starts the host, which kills itself at a place, perhaps before it takes webhooks.
    pub(crate) async fn serve_or_die(&self, place: &str) {
        let (mut child, _log) = self.spawn(place);
        let status = tokio::time::timeout(PATIENCE, child.wait()).await;
        let status = status.expect("the host ends").unwrap();
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
    }

    /// Starts the host where it may not be able to. Answers what it says if it ends; one that takes webhooks is killed.
    pub(crate) async fn tries_to_serve(&self) -> Option<String> {
        let (mut child, mut log) = self.spawn("");
        let heard = log.clone();
        tokio::select! {
            () = heard.takes_webhooks() => {
                child.kill().await.unwrap();
                None
            }
            status = child.wait() => {
                assert!(!status.unwrap().success());
                Some(log.whole().await)
            }
        }
    }

    /// Starts the host and kills it soon, perhaps before it takes webhooks.
    pub(crate) async fn serve_and_kill(&self, after: Duration) {
        let (mut child, _log) = self.spawn("");
        tokio::time::sleep(after).await;
        child.kill().await.unwrap();
    }

    fn spawn(&self, kill_at: &str) -> (Child, Log) {
        let mut command = self.command(&["serve"]);
        command.env("KILL_AT", kill_at).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Log::read(child.stderr.take().unwrap());
        (child, log)
    }

    /// Starts the host, which kills itself when it comes by this place, as `PLACE` or `PLACE@PASS`.
    pub(crate) async fn serve_until(&self, kill_at: &str) -> Process<'_> {
        let (child, log) = self.spawn(kill_at);
        Process::ready(self, child, log).await
    }

    /// Starts the host, and does something when it has said these words.
    pub(crate) async fn serve_after(&self, words: &str, act: impl FnOnce()) -> Process<'_> {
        let (child, log) = self.spawn("");
        log.says(words).await;
        act();
        Process::ready(self, child, log).await
    }

    /// The conversation with [`PROSPECT`], as soon as it is as wanted.
    pub(crate) async fn until(
        &self,
        what: &str,
        wanted: impl Fn(&ConversationDetail) -> bool,
    ) -> ConversationDetail {
        self.until_in(PROSPECT, what, wanted).await
    }

    /// The conversation with a prospect, as soon as it is as wanted.
    pub(crate) async fn until_in(
        &self,
        prospect: &str,
        what: &str,
        wanted: impl Fn(&ConversationDetail) -> bool,
    ) -> ConversationDetail {
        let id = conversation_with(DEVICE, prospect);
        self.until_of(&id, what, wanted).await
    }

    /// A conversation, as soon as it is as wanted. The store has no events, so it is asked again and again.
    pub(crate) async fn until_of(
        &self,
        id: &ConversationId,
        what: &str,
        wanted: impl Fn(&ConversationDetail) -> bool,
    ) -> ConversationDetail {
        let store = self.store().await;
        let look = async {
            loop {
                if let Some(detail) = store.conversation(id).await.ok().filter(&wanted) {
                    return detail;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, look).await;
        let now = store.conversation(id).await;
        store.close().await;
        found.unwrap_or_else(|_| panic!("never {what}: {now:#?}"))
    }

    /// Waits until the conversation with [`PROSPECT`] is idle.
    pub(crate) async fn until_idle(&self) -> ConversationDetail {
        self.until("idle", |c| c.summary.state == "idle").await
    }

    /// The seed's query for locked sessions: how many there are.
    pub(crate) async fn locks(&self) -> usize {
        let store = self.store().await;
        let locks = store.session_locks().await.unwrap().len();
        store.close().await;
        locks
    }

    /// The store, beside the host.
    pub(crate) async fn store(&self) -> Store {
        let sealer = Sealer::from_base64(SEAL_KEY).unwrap();
        Store::open(&self.path("data/nodepath.db"), Clock::System, sealer)
            .await
            .unwrap()
    }

    /// Tells with a status webhook what became of a message that the provider has taken.
    pub(crate) fn status_of(&self, request: &Request, status: &str) -> Webhook {
        let wamid = request.wamid.as_deref().unwrap();
        Webhook::new().status(wamid, status, request.callback.as_deref(), now())
    }

    /// Delivers a webhook, signed, to a host; none if it went away before it answered.
    pub(crate) async fn deliver(
        &self,
        url: &str,
        webhook: &Webhook,
    ) -> Option<(StatusCode, String)> {
        self.deliver_to(DEVICE, url, webhook).await
    }

    /// The same for another device.
    pub(crate) async fn deliver_to(
        &self,
        device: &str,
        url: &str,
        webhook: &Webhook,
    ) -> Option<(StatusCode, String)> {
        let (body, signature) = webhook.signed(&Secret::new(FakeWhatsApp::APP_SECRET));
        let url = format!("{url}/webhooks/{device}");
        post(&self.client, &url, body, &signature).await
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Everything that any process has printed so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Keeps what a process has printed.
    pub(crate) fn heard(&self, text: &str) {
        self.said.lock().unwrap().push_str(text);
    }

    fn share_compiled_plugins(&self) {
        if self
            .environment
            .iter()
            .any(|(name, _)| *name == "NODEPATH_SEAL_KEY")
        {
            let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-cache");
            std::fs::create_dir_all(&shared).unwrap();
            std::fs::create_dir_all(self.path("data")).unwrap();
            std::os::unix::fs::symlink(&shared, self.path("data/plugin-cache")).unwrap();
        }
    }

    fn write_credentials(&self) {
        let credentials = serde_json::json!({
            "app_secret": FakeWhatsApp::APP_SECRET,
            "access_token": FakeWhatsApp::ACCESS_TOKEN,
            "verify_token": FakeWhatsApp::VERIFY_TOKEN,
            "phone_number_id": FakeWhatsApp::PHONE_NUMBER_ID,
            "api_base": self.provider.api_base(),
        });
        std::fs::write(self.path("credentials.json"), credentials.to_string()).unwrap();
    }
}

pub(crate) async fn post(
    client: &reqwest::Client,
    url: &str,
    body: Vec<u8>,
    signature: &str,
) -> Option<(StatusCode, String)> {
    let request = client
        .post(url)
        .header("x-hub-signature-256", signature)
        .body(body);
    let response = request.send().await.ok()?;
    let status = response.status();
    Some((status, response.text().await.ok()?))
}

/// The conversation of a device with a prospect.
pub(crate) fn conversation_with(device: &str, prospect: &str) -> ConversationId {
    ConversationId::of(
        &DeviceId::from_trusted(device),
        &ProspectId::from_trusted(prospect),
    )
}

/// A webhook with one text of [`PROSPECT`].
pub(crate) fn text(id: &str, text: &str) -> Webhook {
    Webhook::new().text(PROSPECT, id, text, now())
}

/// The texts that prospects have on their screens, in order.
pub(crate) fn texts(requests: &[Request]) -> Vec<&str> {
    requests.iter().filter_map(|r| r.text.as_deref()).collect()
}

pub(crate) fn now() -> Timestamp {
    Clock::System.now()
}
