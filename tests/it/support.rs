//! A host in this process, on a database of its own, with one tenant, one WhatsApp device and a played provider.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nodepath::app::App;
use nodepath::channel;
use nodepath::cli::demo::provider::FakeWhatsApp;
use nodepath::cli::demo::webhooks::Webhook;
use nodepath::config::Config;
use nodepath::model::{
    Clock, ConversationId, DeviceId, DeviceSettings, Digest, ProspectId, Secret, TenantId,
    Timestamp,
};
use nodepath::plugin::Compiler;
use nodepath::store::{ConversationDetail, Host, NewDevice, NewPlugin, Store};
use reqwest::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Who writes in the tests.
pub(crate) const PROSPECT: &str = "6281234567890";

/// How long a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The key that seals the tests' secrets. It is the same for all, so that they share compiled plugins.
const SEAL_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// How a test wants its host.
pub(crate) struct Setup {
    plugin: &'static str,
    plugin_config: String,
    settings: DeviceSettings,
    max_pending: u32,
    stop_deadline: Duration,
}

impl Setup {
    /// A host whose device is answered by this plugin.
    pub(crate) fn plugin(name: &'static str) -> Self {
        Self {
            plugin: name,
            plugin_config: "{}".to_owned(),
            settings: DeviceSettings::default(),
            max_pending: 1_000,
            stop_deadline: PATIENCE,
        }
    }

    pub(crate) fn settings(self, change: impl FnOnce(&mut DeviceSettings)) -> Self {
        let mut settings = self.settings;
        change(&mut settings);
        Self { settings, ..self }
    }

    pub(crate) fn plugin_config(self, json: impl Into<String>) -> Self {
        Self {
            plugin_config: json.into(),
            ..self
        }
    }

    pub(crate) fn max_pending(self, max_pending: u32) -> Self {
        Self {
            max_pending,
            ..self
        }
    }

    pub(crate) fn stop_deadline(self, stop_deadline: Duration) -> Self {
        Self {
            stop_deadline,
            ..self
        }
    }

    pub(crate) async fn start(self) -> TestHost {
        TestHost::start(self).await
    }
}

/// A running host.
pub(crate) struct TestHost {
    pub(crate) url: String,
    pub(crate) admin_url: String,
    pub(crate) store: Store,
    pub(crate) provider: FakeWhatsApp,
    pub(crate) client: reqwest::Client,
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
    config: Config,
    dir: Arc<tempfile::TempDir>,
    running: Option<(oneshot::Sender<()>, JoinHandle<anyhow::Result<()>>)>,
}

impl TestHost {
    async fn start(setup: Setup) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let config = config(dir.path(), setup.stop_deadline);
        let provider = FakeWhatsApp::start().await.unwrap();
        let app = open(&config).await;
        let host = app.host();
        let tenant = host.add_tenant("acme", setup.max_pending).await.unwrap().id;
        let plugin = register(&host, &tenant, setup.plugin).await;
        let device = DeviceId::parse("device_123").unwrap();
        host.add_device(NewDevice {
            id: device.clone(),
            tenant: tenant.clone(),
            credentials: provider.credentials(),
            plugin: Some(plugin),
            plugin_config: setup.plugin_config,
            settings: setup.settings,
        })
        .await
        .unwrap();
        drop(host);
        Self::run(app, config, dir, provider, tenant, device).await
    }

    async fn run(
        app: App,
        config: Config,
        dir: Arc<tempfile::TempDir>,
        provider: FakeWhatsApp,
        tenant: TenantId,
        device: DeviceId,
    ) -> Self {
        let store = Store::clone(&app.host());
        let (listener, admin) = (listen().await, listen().await);
        let url = format!("http://{}", listener.local_addr().unwrap());
        let admin_url = format!("http://{}", admin.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        #[expect(clippy::disallowed_methods, reason = "the handle is joined by `stop`")]
        let task = tokio::spawn(app.run(listener, Some(admin), async {
            stopped.await.ok();
        }));
        let client = channel::http_client().unwrap();
        let running = Some((stop, task));
        Self {
            url,
            admin_url,
            store,
            provider,
            client,
            tenant,
            device,
            config,
            dir,
            running,
        }
    }

    /// Delivers a webhook, signed, and expects that it is taken.
    pub(crate) async fn receives(&self, webhook: Webhook) -> serde_json::Value {
        let response = self.posts(&webhook).await;
        let (status, body) = (response.status(), response.text().await.unwrap());
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Delivers a webhook, signed.
    pub(crate) async fn posts(&self, webhook: &Webhook) -> reqwest::Response {
        let (body, signature) = webhook.signed(&Secret::new(FakeWhatsApp::APP_SECRET));
        self.posts_raw(body, Some(&signature)).await
    }

    /// Delivers bytes.
    pub(crate) async fn posts_raw(
        &self,
        body: Vec<u8>,
        signature: Option<&str>,
    ) -> reqwest::Response {
        let url = format!("{}/webhooks/{}", self.url, self.device);
        let mut request = self.client.post(url).body(body);
        if let Some(signature) = signature {
            request = request.header("x-hub-signature-256", signature);
        }
        request.send().await.unwrap()
    }

    /// Waits until the conversation with [`PROSPECT`] is as wanted. The store has no events, so it is asked again and again.
    pub(crate) async fn until(
        &self,
        what: &str,
        wanted: impl Fn(&ConversationDetail) -> bool,
    ) -> ConversationDetail {
        let id = self.conversation();
        let look = async {
            loop {
                if let Ok(detail) = self.store.conversation(&id).await
                    && wanted(&detail)
                {
                    return detail;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(detail) => detail,
            Err(_) => panic!("never {what}: {:#?}", self.store.conversation(&id).await),
        }
    }

    /// Waits until the lock of the conversation with [`PROSPECT`] is free and nothing waits.
    pub(crate) async fn until_idle(&self) -> ConversationDetail {
        self.until("idle", |c| c.summary.state == "idle").await
    }

    pub(crate) fn conversation(&self) -> ConversationId {
        ConversationId::of(&self.device, &ProspectId::from_trusted(PROSPECT))
    }

    pub(crate) async fn locks(&self) -> usize {
        self.store.session_locks().await.unwrap().len()
    }

    /// Stops the host and checks what must hold in every database that a host has left.
    pub(crate) async fn stop(mut self) -> Stopped {
        let (stop, task) = self.running.take().unwrap();
        stop.send(()).ok();
        task.await.unwrap().unwrap();
        let path = self.config.database_path();
        let sealer = self.config.sealer().unwrap();
        let store = Store::open(&path, Clock::System, sealer).await.unwrap();
        let idle = store
            .conversations(None, nodepath::store::Shown::All, 1_000)
            .await
            .unwrap();
        for conversation in idle {
            assert!(
                conversation.state != "idle" || conversation.pending == 0,
                "I7: {conversation:?}"
            );
            assert_ne!(
                conversation.state, "running",
                "a stop leaves no turn: {conversation:?}"
            );
        }
        store.close().await;
        Stopped {
            config: self.config.clone(),
            dir: self.dir.clone(),
            tenant: self.tenant.clone(),
            device: self.device.clone(),
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
    config: Config,
    dir: Arc<tempfile::TempDir>,
    tenant: TenantId,
    device: DeviceId,
}

impl Stopped {
    /// Starts a host on the same database; `provider` is the one that its device speaks to.
    pub(crate) async fn restart(self, provider: FakeWhatsApp) -> TestHost {
        let app = open(&self.config).await;
        TestHost::run(
            app,
            self.config,
            self.dir,
            provider,
            self.tenant,
            self.device,
        )
        .await
    }
}

/// A webhook with one text of [`PROSPECT`].
pub(crate) fn whatsapp_text(id: &str, text: &str) -> Webhook {
    Webhook::new().text(PROSPECT, id, text, now())
}

pub(crate) fn now() -> Timestamp {
    Clock::System.now()
}

/// Registers a plugin of this project.
pub(crate) async fn register(host: &Host, tenant: &TenantId, name: &str) -> Digest {
    let path = component(name);
    let Ok(component) = std::fs::read(&path) else {
        panic!(
            "{} is missing: run `cargo xtask plugins` first",
            path.display()
        );
    };
    let digest = Digest::of(&component);
    host.add_plugin(NewPlugin {
        tenant: tenant.clone(),
        digest: digest.clone(),
        name: name.to_owned(),
        version: "0.0.0".to_owned(),
        manifest: "{}".to_owned(),
        component,
    })
    .await
    .unwrap();
    digest
}

pub(crate) fn component(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../plugins/target/components/{name}.wasm"))
}

fn config(dir: &Path, stop_deadline: Duration) -> Config {
    Config {
        data_dir: dir.to_owned(),
        seal_key: Some(Secret::new(SEAL_KEY)),
        stop_deadline,
        // Tests see what a command line changes at once.
        due_poll: Duration::from_millis(20),
        ..Config::default()
    }
}

async fn open(config: &Config) -> App {
    // Compiled plugins are shared by all tests: the key is the same, and so is what they compile.
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-cache");
    std::fs::create_dir_all(&shared).unwrap();
    let cache = config.cache_dir();
    if !cache.exists() {
        std::os::unix::fs::symlink(&shared, &cache).unwrap();
    }
    let compiler = Compiler::Child(PathBuf::from(env!("CARGO_BIN_EXE_nodepath")));
    App::open(config, Clock::System, compiler, None)
        .await
        .unwrap()
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}
