//! A data directory with one tenant, one WhatsApp device and a played provider, and the processes that run on it.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use nodepath::channel;
use nodepath::cli::demo::provider::{FakeWhatsApp, Request};
use nodepath::cli::demo::webhooks::Webhook;
use nodepath::model::secret::Sealer;
use nodepath::model::{Clock, ConversationId, DeviceId, ProspectId, Secret, Timestamp};
use nodepath::store::{ConversationDetail, Shown, Store};
use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;

/// Who writes in the tests.
pub(crate) const PROSPECT: &str = "6281234567890";

/// The device's id.
pub(crate) const DEVICE: &str = "shop";

/// How long a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The key that seals the tests' secrets. It is the same for all, so that they share compiled plugins.
const SEAL_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// How a test wants its device, in the words of `nodepath device add`.
pub(crate) struct Setup {
    plugin: &'static str,
    plugin_config: String,
    settings: Vec<&'static str>,
    environment: Vec<(&'static str, String)>,
}

impl Setup {
    /// A device that is answered by `ponder`, which takes so long.
    pub(crate) fn pondering(think: Duration) -> Self {
        Self {
            plugin: "ponder",
            plugin_config: think_ms(think),
            settings: vec![],
            environment: vec![("NODEPATH_SEAL_KEY", SEAL_KEY.to_owned())],
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

    /// Sets everything up through the command line.
    pub(crate) async fn site(self) -> Site {
        let dir = tempfile::tempdir().unwrap();
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
            said: Mutex::default(),
        };
        site.share_compiled_plugins();
        site.run(&["tenant", "add", "acme"]).await;
        let component = component(self.plugin);
        site.run(&["plugin", "add", &component, "--tenant", "acme"])
            .await;
        site.write_credentials();
        let mut line = vec![
            "device",
            "add",
            "--tenant",
            "acme",
            "--channel",
            "whatsapp",
            "--id",
            DEVICE,
        ];
        line.extend([
            "--plugin",
            self.plugin,
            "--plugin-config",
            &self.plugin_config,
        ]);
        line.extend(["--credentials", "credentials.json"]);
        for setting in self.settings {
            line.extend(["--set", setting]);
        }
        site.run(&line).await;
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
    client: reqwest::Client,
    /// Everything that any process here has printed.
    said: Mutex<String>,
}

impl Site {
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_nodepath"));
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

    /// Starts the host, which ends by itself as `FAILPOINTS` says, perhaps before it takes webhooks.
    pub(crate) async fn serve_or_abort(&self, failpoints: &str) {
        let (mut child, _log) = self.spawn(failpoints);
        let status = tokio::time::timeout(PATIENCE, child.wait()).await;
        let status = status.expect("the host ends").unwrap();
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    }

    fn spawn(&self, failpoints: &str) -> (Child, Log) {
        let mut command = self.command(&["serve"]);
        command.env("FAILPOINTS", failpoints).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Log::read(child.stderr.take().unwrap());
        (child, log)
    }

    /// Starts the host so that it ends by itself as `FAILPOINTS` says.
    pub(crate) async fn serve_until(&self, failpoints: &str) -> Process<'_> {
        let (child, log) = self.spawn(failpoints);
        self.ready(child, log).await
    }

    /// Starts the host, and does something when it has said these words.
    pub(crate) async fn serve_after(&self, words: &str, act: impl FnOnce()) -> Process<'_> {
        let (child, log) = self.spawn("");
        log.says(words).await;
        act();
        self.ready(child, log).await
    }

    async fn ready(&self, child: Child, log: Log) -> Process<'_> {
        let line = log
            .until("that it takes webhooks", |line| {
                line["fields"].get("listen").is_some()
            })
            .await;
        let address = |name: &str| format!("http://{}", line["fields"][name].as_str().unwrap());
        Process {
            site: self,
            url: address("listen"),
            admin_url: address("admin_listen"),
            child,
            log,
        }
    }

    /// The conversation with [`PROSPECT`], as soon as it is as wanted.
    pub(crate) async fn until(
        &self,
        what: &str,
        wanted: impl Fn(&ConversationDetail) -> bool,
    ) -> ConversationDetail {
        self.until_in(PROSPECT, what, wanted).await
    }

    /// The conversation with a prospect, as soon as it is as wanted. The store has no events, so it is asked again and again.
    pub(crate) async fn until_in(
        &self,
        prospect: &str,
        what: &str,
        wanted: impl Fn(&ConversationDetail) -> bool,
    ) -> ConversationDetail {
        let (store, id) = (self.store().await, conversation(prospect));
        let look = async {
            loop {
                if let Some(detail) = store.conversation(&id).await.ok().filter(&wanted) {
                    return detail;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, look).await;
        let now = store.conversation(&id).await;
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

    /// Every conversation, whole.
    pub(crate) async fn conversations(&self) -> Vec<ConversationDetail> {
        let store = self.store().await;
        let mut found = Vec::new();
        for summary in store.conversations(None, Shown::All, 1_000).await.unwrap() {
            let id = ConversationId::from_trusted(summary.id);
            found.push(store.conversation(&id).await.unwrap());
        }
        store.close().await;
        found
    }

    async fn store(&self) -> Store {
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
        let (body, signature) = webhook.signed(&Secret::new(FakeWhatsApp::APP_SECRET));
        post(&self.client, url, body, &signature).await
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Everything that any process has printed so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn heard(&self, text: &str) {
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

/// A running host. It is killed when it is dropped.
pub(crate) struct Process<'a> {
    site: &'a Site,
    url: String,
    pub(crate) admin_url: String,
    child: Child,
    log: Log,
}

impl Process<'_> {
    /// Its id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Delivers a webhook, signed, and expects that it is taken.
    pub(crate) async fn receives(&self, webhook: &Webhook) -> Value {
        let (status, body) = self.delivers(webhook).await.expect("the host answers");
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Delivers a webhook, signed; none if the host went away before it answered.
    pub(crate) async fn delivers(&self, webhook: &Webhook) -> Option<(StatusCode, String)> {
        self.site.deliver(&self.url, webhook).await
    }

    /// Delivers a webhook with another signature.
    pub(crate) async fn delivers_signed(
        &self,
        webhook: &Webhook,
        signature: &str,
    ) -> Option<(StatusCode, String)> {
        post(&self.site.client, &self.url, webhook.body(), signature).await
    }

    /// Opens a connection, says this, and no more.
    pub(crate) async fn connects(&self, words: &str) -> tokio::net::TcpStream {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        stream
    }

    /// Where it takes webhooks.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// The figure of this name, with its labels.
    pub(crate) async fn figure(&self, name: &str) -> f64 {
        let url = format!("{}/metrics", self.admin_url);
        let text = self
            .site
            .client
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// How many turns of the last host it runs again, and how many of its parts are in doubt. It says so before it takes webhooks.
    pub(crate) fn recovered(&self) -> (usize, usize) {
        let lines = self.log.lines.borrow();
        let line = lines
            .iter()
            .find(|line| line.contains("the last host ended in the middle"));
        let line: Value = line.map_or(Value::Null, |line| serde_json::from_str(line).unwrap());
        let count = |name: &str| line["fields"][name].as_u64().unwrap_or(0);
        (
            usize::try_from(count("turns")).unwrap(),
            usize::try_from(count("unknown_parts")).unwrap(),
        )
    }

    /// Waits for a log line that contains these words.
    pub(crate) async fn says(&self, words: &str) -> Value {
        self.log.says(words).await
    }

    /// `kill -9`.
    pub(crate) async fn kill(self) {
        let status = self.ends_by(Signal::KILL).await;
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) async fn terminate(self) -> ExitStatus {
        self.ends_by(Signal::TERM).await
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.id()).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    async fn ends_by(self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.ends().await
    }

    /// Waits until the process has reached the place that `serve_until` named.
    pub(crate) async fn aborts(self) {
        assert_eq!(self.ends().await.signal(), Some(Signal::ABORT.as_raw()));
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ends(mut self) -> ExitStatus {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status.expect("the host ends").unwrap();
        let text = self.log.whole().await;
        self.site.heard(&text);
        status
    }
}

async fn post(
    client: &reqwest::Client,
    url: &str,
    body: Vec<u8>,
    signature: &str,
) -> Option<(StatusCode, String)> {
    let request = client
        .post(format!("{url}/webhooks/{DEVICE}"))
        .header("x-hub-signature-256", signature)
        .body(body);
    let response = request.send().await.ok()?;
    let status = response.status();
    Some((status, response.text().await.ok()?))
}

/// What a process writes to standard error, line by line.
struct Log {
    lines: watch::Receiver<Vec<String>>,
}

impl Log {
    fn read(stderr: ChildStderr) -> Self {
        let (heard, lines) = watch::channel(Vec::new());
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with the process that it listens to"
        )]
        tokio::spawn(async move {
            let mut source = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = source.next_line().await {
                heard.send_modify(|lines| lines.push(line));
            }
        });
        Self { lines }
    }

    async fn says(&self, words: &str) -> Value {
        let contains = |line: &Value| line["message"].as_str().is_some_and(|m| m.contains(words));
        self.until(words, contains).await
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut lines = self.lines.clone();
        let find = |lines: &Vec<String>| {
            let parsed = lines
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok());
            parsed.into_iter().find(|line| wanted(line))
        };
        let found =
            tokio::time::timeout(PATIENCE, lines.wait_for(|lines| find(lines).is_some())).await;
        match found {
            Ok(Ok(lines)) => find(&lines).unwrap(),
            _ => panic!("the host never said {what:?}: {:#?}", *self.lines.borrow()),
        }
    }

    /// Everything, once the process has ended.
    async fn whole(&mut self) -> String {
        // The sender is dropped at the end of the output.
        while self.lines.changed().await.is_ok() {}
        self.lines.borrow().join("\n")
    }
}

/// The conversation with this prospect.
pub(crate) fn conversation(prospect: &str) -> ConversationId {
    ConversationId::of(
        &DeviceId::from_trusted(DEVICE),
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
