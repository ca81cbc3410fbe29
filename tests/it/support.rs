//! A host in this process, on a database of its own, with one tenant, one WhatsApp device and a played provider.

mod invariants;
mod log;
mod setup;
mod trouble;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nodepath::app::App;
use nodepath::channel;
use nodepath::cli::demo::provider::FakeWhatsApp;
use nodepath::cli::demo::webhooks::Webhook;
use nodepath::config::Config;
use nodepath::model::{Clock, ConversationId, DeviceId, ProspectId, Secret, TenantId, Timestamp};
use nodepath::store::{ConversationDetail, Store};
use reqwest::StatusCode;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) use self::log::Log;
pub(crate) use self::setup::{Setup, component};
pub(crate) use self::trouble::Trouble;

/// Who writes in the tests.
pub(crate) const PROSPECT: &str = "6281234567890";

/// How long a test waits for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running host.
pub(crate) struct TestHost {
    pub(crate) url: String,
    pub(crate) admin_url: String,
    pub(crate) store: Store,
    pub(crate) provider: Arc<FakeWhatsApp>,
    pub(crate) client: reqwest::Client,
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
    left: Left,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

/// What outlives a run of the host.
struct Left {
    config: Config,
    clock: Clock,
    dir: Arc<tempfile::TempDir>,
    tenant: TenantId,
    device: DeviceId,
    _trouble: trouble::Guard,
}

impl TestHost {
    async fn run(app: App, provider: Arc<FakeWhatsApp>, left: Left) -> Self {
        let store = Store::clone(&app.host());
        let (listener, admin) = (listen().await, listen().await);
        let url = format!("http://{}", listener.local_addr().unwrap());
        let admin_url = format!("http://{}", admin.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        #[expect(clippy::disallowed_methods, reason = "the handle is joined by `stop`")]
        let task = tokio::spawn(app.run(listener, Some(admin), async {
            stopped.await.ok();
        }));
        Self {
            url,
            admin_url,
            store,
            provider,
            client: channel::http_client().unwrap(),
            tenant: left.tenant.clone(),
            device: left.device.clone(),
            left,
            running: Some(Running { stop, task }),
        }
    }

    /// Delivers a webhook, signed, and expects that it is taken.
    pub(crate) async fn receives(&self, webhook: Webhook) -> serde_json::Value {
        taken(self.posts(&webhook).await).await
    }

    /// Delivers a text of [`PROSPECT`], and expects that it is taken.
    pub(crate) async fn hears(&self, id: &str, text: &str) -> serde_json::Value {
        self.receives(self.text(id, text)).await
    }

    /// Delivers a text of [`PROSPECT`], and waits until it is answered and the lock is free.
    pub(crate) async fn answers(&self, id: &str, text: &str) -> String {
        let before = self.provider.taken().len();
        self.hears(id, text).await;
        let taken = self.provider.wait_for(before + 1).await;
        self.until_idle().await;
        taken[before].text.clone().unwrap_or_default()
    }

    /// A webhook with one text of [`PROSPECT`], sent now by the host's clock.
    pub(crate) fn text(&self, id: &str, text: &str) -> Webhook {
        Webhook::new().text(PROSPECT, id, text, self.now())
    }

    /// Delivers a webhook, signed.
    pub(crate) async fn posts(&self, webhook: &Webhook) -> reqwest::Response {
        self.posts_to(&self.device, webhook).await
    }

    /// Delivers a webhook to another device, signed.
    pub(crate) async fn posts_to(&self, device: &DeviceId, webhook: &Webhook) -> reqwest::Response {
        let (body, signature) = webhook.signed(&Secret::new(FakeWhatsApp::APP_SECRET));
        let request = self.request(device).body(body);
        let signed = request.header("x-hub-signature-256", signature);
        signed.send().await.unwrap()
    }

    /// Delivers bytes.
    pub(crate) async fn posts_raw(
        &self,
        body: impl Into<reqwest::Body>,
        signature: Option<&str>,
    ) -> reqwest::Response {
        let mut request = self.request(&self.device).body(body);
        if let Some(signature) = signature {
            request = request.header("x-hub-signature-256", signature);
        }
        request.send().await.unwrap()
    }

    /// A webhook in the making.
    pub(crate) fn request(&self, device: &DeviceId) -> reqwest::RequestBuilder {
        self.client.post(format!("{}/webhooks/{device}", self.url))
    }

    /// Waits until the conversation with [`PROSPECT`] is as wanted. The store has no events, so it is asked again and again.
    pub(crate) async fn until(
        &self,
        what: &str,
        wanted: impl Fn(&ConversationDetail) -> bool,
    ) -> ConversationDetail {
        self.until_in(&self.conversation(), what, wanted).await
    }

    /// Waits until a conversation is as wanted.
    pub(crate) async fn until_in(
        &self,
        id: &ConversationId,
        what: &str,
        wanted: impl Fn(&ConversationDetail) -> bool,
    ) -> ConversationDetail {
        let look = async {
            loop {
                if let Ok(detail) = self.store.conversation(id).await
                    && wanted(&detail)
                {
                    return detail;
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(detail) => detail,
            Err(_) => panic!("never {what}: {:#?}", self.store.conversation(id).await),
        }
    }

    /// Waits until the lock of the conversation with [`PROSPECT`] is free and nothing waits.
    pub(crate) async fn until_idle(&self) -> ConversationDetail {
        self.until("idle", |c| c.summary.state == "idle").await
    }

    pub(crate) fn conversation(&self) -> ConversationId {
        conversation(&self.device, PROSPECT)
    }

    /// How the conversation with [`PROSPECT`] is now.
    pub(crate) async fn detail(&self) -> ConversationDetail {
        self.store.conversation(&self.conversation()).await.unwrap()
    }

    /// How many rows the seed's view of session locks has.
    pub(crate) async fn locks(&self) -> i64 {
        self.count("SELECT COUNT(*) FROM ai_whatsapp_session_nodepath")
            .await
    }

    /// How many rows the seed's view of executions has.
    pub(crate) async fn executions(&self) -> i64 {
        self.count("SELECT COUNT(*) FROM execution_process").await
    }

    /// Asks the database through a connection of our own, as somebody beside the host would.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        let mut conn = self.connection().await;
        let count = sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap();
        conn.close().await.unwrap();
        count
    }

    /// A connection of our own to the host's database.
    pub(crate) async fn connection(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.database());
        options.connect().await.unwrap()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.left.config.database_path()
    }

    /// What time it is for the host.
    pub(crate) fn now(&self) -> Timestamp {
        self.left.clock.now()
    }

    /// Lets time pass for a host whose clock the test sets.
    pub(crate) fn passes(&self, time: Duration) {
        assert!(matches!(self.left.clock, Clock::Manual(_)), "Setup::clock");
        self.left.clock.advance(time);
    }

    /// What the host would leave if it died now: the files as they are, without what only its process knows. The host itself
    /// goes on.
    pub(crate) fn as_if_killed(&self) -> Stopped {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let mut config = self.left.config.clone();
        config.data_dir = dir.path().to_owned();
        for suffix in ["", "-wal"] {
            let file = |path: PathBuf| {
                let mut path = path.into_os_string();
                path.push(suffix);
                path
            };
            std::fs::copy(file(self.database()), file(config.database_path())).unwrap();
        }
        Stopped {
            left: Left {
                config,
                dir,
                ..self.left.again()
            },
            provider: self.provider.clone(),
        }
    }

    /// Begins to stop the host; [`TestHost::stop`] waits for the end.
    pub(crate) fn begin_stop(&mut self) {
        let running = self.running.as_mut().unwrap();
        let (spent, _) = oneshot::channel();
        std::mem::replace(&mut running.stop, spent).send(()).ok();
    }

    /// Stops the host and checks what must hold in every database that a host has left.
    pub(crate) async fn stop(mut self) -> Stopped {
        self.begin_stop();
        self.running.take().unwrap().task.await.unwrap().unwrap();
        invariants::check(&self.database(), &self.provider).await;
        Stopped {
            left: self.left.again(),
            provider: self.provider.clone(),
        }
    }
}

impl Left {
    fn again(&self) -> Self {
        Self {
            config: self.config.clone(),
            clock: self.clock.clone(),
            dir: self.dir.clone(),
            tenant: self.tenant.clone(),
            device: self.device.clone(),
            _trouble: self._trouble.clone(),
        }
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        // A test that forgets to stop its host checks less than it could.
        assert!(
            self.running.is_none() || std::thread::panicking(),
            "stop the host at the end of the test"
        );
    }
}

/// What a stopped host has left.
pub(crate) struct Stopped {
    left: Left,
    pub(crate) provider: Arc<FakeWhatsApp>,
}

impl Stopped {
    /// Starts a host on the same database, with the same provider.
    pub(crate) async fn restart(self) -> TestHost {
        let app = setup::open(&self.left.config, &self.left.clock).await;
        TestHost::run(app, self.provider, self.left).await
    }
}

/// The body of an answer that must be 200.
pub(crate) async fn taken(response: reqwest::Response) -> serde_json::Value {
    let (status, body) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, StatusCode::OK, "{body}");
    serde_json::from_str(&body).unwrap()
}

pub(crate) fn conversation(device: &DeviceId, prospect: &str) -> ConversationId {
    ConversationId::of(device, &ProspectId::from_trusted(prospect))
}

/// The states of the last messages that came in, oldest first.
pub(crate) fn states(detail: &ConversationDetail) -> Vec<&str> {
    detail
        .inbox
        .iter()
        .rev()
        .map(|m| m.state.as_str())
        .collect()
}

/// The outcomes of the last tries of turns, oldest first.
pub(crate) fn outcomes(detail: &ConversationDetail) -> Vec<&str> {
    let turns = detail.turns_run.iter().rev();
    turns.map(|t| t.outcome.as_str()).collect()
}

/// The states of the last parts, in the order of their decision.
pub(crate) fn parts(detail: &ConversationDetail) -> Vec<&str> {
    let rows = detail.outbox.iter().rev();
    rows.map(|p| p.state.as_str()).collect()
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Where a file of the checkout is.
pub(crate) fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
