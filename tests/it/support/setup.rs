//! How a test wants its host.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nodepath::app::App;
use nodepath::cli::demo::provider::FakeWhatsApp;
use nodepath::config::Config;
use nodepath::model::{
    Clock, Credentials, DeviceId, DeviceSettings, Digest, Secret, TenantId, Timestamp,
};
use nodepath::plugin::Compiler;
use nodepath::store::{NewDevice, NewPlugin, Store};

use super::{Left, PATIENCE, TestHost, checkout, log, trouble};

/// The key that seals the tests' secrets. It is the same for all, so that they share compiled plugins.
const SEAL_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Where a clock that a test sets begins: the time in the seed's example.
const START: Timestamp = Timestamp(1_760_433_330_000);

/// How a test wants its host.
pub(crate) struct Setup {
    plugin: &'static str,
    plugin_config: String,
    device: &'static str,
    settings: DeviceSettings,
    max_pending: u32,
    stop_deadline: Duration,
    clock: Clock,
    makes_trouble: bool,
}

impl Setup {
    /// A host whose device is answered by this plugin.
    pub(crate) fn plugin(name: &'static str) -> Self {
        Self {
            plugin: name,
            plugin_config: "{}".to_owned(),
            device: "device_123",
            settings: DeviceSettings::default(),
            max_pending: 1_000,
            stop_deadline: PATIENCE,
            clock: Clock::System,
            makes_trouble: false,
        }
    }

    /// A host whose plugin does what the message tells it.
    pub(crate) fn script() -> Self {
        Self::plugin("test-script")
    }

    pub(crate) fn settings(mut self, change: impl FnOnce(&mut DeviceSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    pub(crate) fn plugin_config(mut self, json: impl Into<String>) -> Self {
        self.plugin_config = json.into();
        self
    }

    /// Another id for the device, for tests that look for their own lines in a log.
    pub(crate) fn device(mut self, device: &'static str) -> Self {
        self.device = device;
        self
    }

    pub(crate) fn max_pending(mut self, max_pending: u32) -> Self {
        self.max_pending = max_pending;
        self
    }

    pub(crate) fn stop_deadline(mut self, stop_deadline: Duration) -> Self {
        self.stop_deadline = stop_deadline;
        self
    }

    /// Time stands still until the test lets it pass.
    pub(crate) fn clock(mut self) -> Self {
        self.clock = Clock::manual(START);
        self
    }

    /// The test makes the host itself fail, with a [`super::Trouble`]. It has the process to itself.
    pub(crate) fn makes_trouble(mut self) -> Self {
        self.makes_trouble = true;
        self
    }

    pub(crate) async fn start(self) -> TestHost {
        let trouble = trouble::Guard::take(self.makes_trouble).await;
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let config = config(dir.path(), self.stop_deadline);
        let provider = Arc::new(FakeWhatsApp::start().await.unwrap());
        let app = open(&config, &self.clock).await;
        let store = Store::clone(&app.host());
        let tenant = store.add_tenant("acme", self.max_pending).await.unwrap().id;
        let plugin = register(&store, &tenant, self.plugin).await;
        let device = DeviceId::parse(self.device).unwrap();
        let new = NewDevice {
            id: device.clone(),
            tenant: tenant.clone(),
            credentials: provider.credentials(),
            plugin: Some(plugin),
            plugin_config: self.plugin_config,
            settings: self.settings,
        };
        store.add_device(new).await.unwrap();
        let left = Left {
            config,
            clock: self.clock,
            dir,
            tenant,
            device,
            _trouble: trouble,
        };
        TestHost::run(app, provider, left).await
    }
}

impl TestHost {
    /// Adds a device to a tenant, answered by one of this project's plugins.
    pub(crate) async fn add_device(
        &self,
        tenant: &TenantId,
        id: &str,
        credentials: Credentials,
        plugin: &str,
        settings: DeviceSettings,
    ) -> DeviceId {
        let plugin = register(&self.store, tenant, plugin).await;
        let new = NewDevice {
            id: DeviceId::parse(id).unwrap(),
            tenant: tenant.clone(),
            credentials,
            plugin: Some(plugin),
            plugin_config: "{}".to_owned(),
            settings,
        };
        self.store.add_device(new).await.unwrap().id
    }
}

/// Registers a plugin of this project.
pub(crate) async fn register(store: &Store, tenant: &TenantId, name: &str) -> Digest {
    let path = component(name);
    let Ok(component) = std::fs::read(&path) else {
        panic!(
            "{} is missing: run `cargo xtask plugins` first",
            path.display()
        );
    };
    let digest = Digest::of(&component);
    let new = NewPlugin {
        tenant: tenant.clone(),
        digest: digest.clone(),
        name: name.to_owned(),
        version: "0.0.0".to_owned(),
        manifest: "{}".to_owned(),
        component,
    };
    store.add_plugin(new).await.unwrap();
    digest
}

pub(crate) fn component(name: &str) -> PathBuf {
    checkout(&format!("plugins/target/components/{name}.wasm"))
}

fn config(dir: &Path, stop_deadline: Duration) -> Config {
    Config {
        data_dir: dir.to_owned(),
        seal_key: Some(Secret::new(SEAL_KEY)),
        stop_deadline,
        // Tests see at once what a command line, or a clock of their own, changes.
        due_poll: Duration::from_millis(5),
        ..Config::default()
    }
}

pub(super) async fn open(config: &Config, clock: &Clock) -> App {
    // Compiled plugins are shared by all tests: the key is the same, and so is what they compile.
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-cache");
    std::fs::create_dir_all(&shared).unwrap();
    let cache = config.cache_dir();
    if !cache.exists() {
        std::os::unix::fs::symlink(&shared, &cache).unwrap();
    }
    let compiler = Compiler::Child(PathBuf::from(env!("CARGO_BIN_EXE_nodepath")));
    App::open(config, clock.clone(), compiler, log::metrics())
        .await
        .unwrap()
}
