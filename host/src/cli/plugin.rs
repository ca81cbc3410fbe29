//! `nodepath plugin`: WebAssembly components that answer.

mod check;
mod new;

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use serde::Serialize;

use super::answer::{Answer, Usage};
use super::context::Context;
use super::device::change_device;
use super::files::{read_component, read_text};
use super::table::{size, table, time};
use super::tenant::quoted;
use crate::model::{Device, DeviceId, Digest, TenantId};
use crate::plugin::{Plugin, Runtime};
use crate::store::{NewPlugin, PluginVersion, Store, Tenant};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a new plugin project in Rust that `cargo component build` builds at once
    ///
    /// With --json: {name, dir, files}.
    New {
        /// Its name, and that of its directory: lower-case letters, digits and `-`
        name: String,
        /// Where the project goes [default: ./NAME]
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Say whether a component would run here, and what it asks for; exit code 1 if it would not
    ///
    /// With --json: {ok, file, problem, digest, size_bytes, name, version, description, imports, capabilities: [{name, reason,
    /// optional}], config_schema, state_schema}; where ok is false, only ok, file and problem.
    Check {
        /// The component
        file: PathBuf,
    },
    /// Register a component for a tenant, and deploy it to devices
    ///
    /// With --json: {digest, name, version, size_bytes, created_at, devices}.
    Add {
        /// The component
        file: PathBuf,
        /// Whose it is, by name or id
        #[arg(long, value_name = "NAME|ID")]
        tenant: String,
        /// Let it answer on this device from now on; may be given several times
        #[arg(long = "device", value_name = "ID")]
        devices: Vec<String>,
    },
    /// List a tenant's plugin versions, the newest first
    ///
    /// With --json: an array of {digest, name, version, size_bytes, created_at, devices}.
    List {
        /// Whose, by name or id
        #[arg(long, value_name = "NAME|ID")]
        tenant: String,
    },
}

#[derive(Serialize)]
struct VersionJson {
    digest: String,
    name: String,
    version: String,
    size_bytes: u64,
    created_at: i64,
    devices: Vec<String>,
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Answer> {
        match self {
            Self::New { name, dir } => new::run(&name, dir),
            Self::Check { file } => check::run(context, &file).await,
            Self::Add {
                file,
                tenant,
                devices,
            } => add(context, &file, &tenant, &devices).await,
            Self::List { tenant } => list(&context.store().await?, &tenant).await,
        }
    }
}

async fn add(
    context: &Context,
    file: &Path,
    tenant: &str,
    devices: &[String],
) -> anyhow::Result<Answer> {
    let store = context.store().await?;
    let tenant = store.tenant(tenant).await?;
    // All devices are looked up first, so that a wrong one stops everything before anything is changed.
    let mut targets = Vec::new();
    for id in devices {
        targets.push(device_of(&store, &tenant, id).await?);
    }
    let bytes = read_component(file)?;
    let runtime = context.runtime()?;
    let checked = runtime
        .check(&bytes)
        .await
        .with_context(|| file.display().to_string())?;
    let candidate = Candidate {
        plugin: runtime
            .load(&checked.digest, || async {
                Ok::<_, io::Error>(bytes.clone())
            })
            .await?,
        name: checked.manifest.name.clone(),
        runtime,
    };
    for device in &targets {
        candidate.takes_config_of(device).await?;
    }
    let version = store
        .add_plugin(NewPlugin {
            tenant: tenant.id.clone(),
            digest: checked.digest,
            name: checked.manifest.name.clone(),
            version: checked.manifest.version.clone(),
            manifest: serde_json::to_string(&check::manifest_json(&checked.manifest))?,
            component: bytes,
        })
        .await?;
    for device in targets {
        let id = device.id.clone();
        // Asked again: somebody may have changed the device since.
        let deployed = change_device(&store, device, async |device: &Device| {
            candidate.takes_config_of(device).await?;
            Ok(Device {
                plugin: Some(version.digest.clone()),
                ..device.clone()
            })
        });
        deployed
            .await
            .with_context(|| format!("the plugin is added, and not deployed to device {id}"))?;
    }
    let text = added_text(&version, &tenant.name, devices);
    Answer::new(text, version_json(&version, devices.to_vec()))
}

async fn device_of(store: &Store, tenant: &Tenant, id: &str) -> anyhow::Result<Device> {
    let device = store.device(&DeviceId::from_trusted(id)).await?;
    if device.tenant != tenant.id {
        anyhow::bail!("device {id} is not one of tenant {}", tenant.name);
    }
    Ok(device)
}

/// A plugin that is about to answer on devices.
struct Candidate {
    runtime: Runtime,
    plugin: Plugin,
    name: String,
}

impl Candidate {
    /// Whether it can work with the configuration that the device has.
    async fn takes_config_of(&self, device: &Device) -> anyhow::Result<()> {
        let Err(problems) = self
            .runtime
            .validate_config(&self.plugin, &device.plugin_config)
            .await?
        else {
            return Ok(());
        };
        let (id, name) = (&device.id, &self.name);
        let advice = format!(
            "That is the configuration of device {id}. Add the plugin without --device {id}, then give the device both at once: `nodepath device set {id} --plugin {name} --plugin-config …`"
        );
        Err(refusal(&problems, &advice))
    }
}

/// A plugin can't work with a configuration.
pub(super) fn refusal(problems: &[String], advice: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "the plugin refuses the configuration:\n  - {}\n{advice}",
        problems.join("\n  - ")
    )
}

fn added_text(version: &PluginVersion, tenant: &str, devices: &[String]) -> String {
    let PluginVersion {
        digest,
        name,
        version,
        ..
    } = version;
    let mut text = format!(
        "Added {name} {version} ({}) for tenant {tenant}.\n",
        digest.short()
    );
    for id in devices {
        text.push_str(&format!(
            "It answers on device {id} from the next turn on.\n"
        ));
    }
    if devices.is_empty() {
        let (name, tenant) = (quoted(name), quoted(tenant));
        text.push_str(&format!(
            "Next: `nodepath device set ID --plugin {name}`, or add a device with `nodepath device add --tenant {tenant} --plugin {name} …`.\n"
        ));
    }
    text
}

async fn list(store: &Store, tenant: &str) -> anyhow::Result<Answer> {
    let tenant = store.tenant(tenant).await?;
    let devices = store.devices(Some(&tenant.id)).await?;
    let versions: Vec<_> = store
        .plugins(&tenant.id)
        .await?
        .iter()
        .map(|version| {
            let on = devices
                .iter()
                .filter(|d| d.plugin.as_ref() == Some(&version.digest));
            version_json(version, on.map(|d| d.id.to_string()).collect())
        })
        .collect();
    let rows: Vec<_> = versions
        .iter()
        .map(|v| {
            [
                v.name.clone(),
                v.version.clone(),
                Digest::from_trusted(&v.digest).short().to_owned(),
                size(v.size_bytes),
                time(Some(v.created_at)),
                v.devices.join(", "),
            ]
        })
        .collect();
    let empty = format!(
        "Tenant {0} has no plugin yet; add one with `nodepath plugin add FILE --tenant {1}`.",
        tenant.name,
        quoted(&tenant.name)
    );
    let text = table(
        ["NAME", "VERSION", "DIGEST", "SIZE", "ADDED", "DEVICES"],
        &rows,
        &empty,
    );
    Answer::new(text, versions)
}

fn version_json(version: &PluginVersion, devices: Vec<String>) -> VersionJson {
    VersionJson {
        digest: version.digest.to_string(),
        name: version.name.clone(),
        version: version.version.clone(),
        size_bytes: version.size_bytes,
        created_at: version.created_at.0,
        devices,
    }
}

/// The shortest beginning of a digest that counts as one.
const DIGEST_PREFIX: usize = 8;

/// A tenant's plugin version by its digest, the beginning of it, or its name: then the one that was added last.
pub(super) async fn find_plugin(
    store: &Store,
    tenant: &TenantId,
    wanted: &str,
) -> anyhow::Result<PluginVersion> {
    let versions = store.plugins(tenant).await?;
    if let Some(version) = versions.iter().find(|v| v.name == wanted) {
        return Ok(version.clone());
    }
    let mut of_digest = versions
        .iter()
        .filter(|v| wanted.len() >= DIGEST_PREFIX && v.digest.as_str().starts_with(wanted));
    match (of_digest.next(), of_digest.next()) {
        (Some(version), None) => Ok(version.clone()),
        (Some(_), Some(_)) => {
            anyhow::bail!("several plugins begin with {wanted}; give more of the digest")
        }
        (None, _) => {
            let names: Vec<_> = versions.iter().map(|v| v.name.as_str()).collect();
            let known = if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            };
            anyhow::bail!(
                "the tenant has no plugin {wanted:?} (it has {known}); add it with `nodepath plugin add FILE --tenant …`"
            )
        }
    }
}

/// A plugin's configuration: a JSON object, or what a file holds.
pub(super) fn config_of(source: &str) -> anyhow::Result<String> {
    let text = match source.strip_prefix('@') {
        Some(path) => read_text(path).with_context(|| format!("can't read {path}"))?,
        None => source.to_owned(),
    };
    match serde_json::from_str(&text) {
        Ok(serde_json::Value::Object(object)) => Ok(serde_json::Value::Object(object).to_string()),
        Ok(_) => Err(Usage(
            "the plugin's configuration must be a JSON object, such as {\"greeting\": \"Hi\"}"
                .to_owned(),
        )
        .into()),
        Err(error) => Err(Usage(format!(
            "the plugin's configuration is not JSON: {error}; for a file write @FILE"
        ))
        .into()),
    }
}

/// Asks the plugin whether it can work with this configuration.
pub(super) async fn validate_config(
    context: &Context,
    store: &Store,
    tenant: &TenantId,
    digest: &Digest,
    config: &str,
) -> anyhow::Result<()> {
    let runtime = context.runtime()?;
    let plugin = runtime
        .load(digest, || store.component(tenant, digest))
        .await?;
    match runtime.validate_config(&plugin, config).await? {
        Ok(()) => Ok(()),
        Err(problems) => Err(refusal(&problems, "Change it with --plugin-config")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::testing::TestContext;

    #[tokio::test]
    async fn a_plugin_is_checked_added_and_answers() {
        let t = TestContext::with_device().await;
        let menu = TestContext::component("menu");
        let checked = t.run(&format!("plugin check {menu}")).await.unwrap();
        assert_eq!(checked.json()["ok"], true);
        assert_eq!(checked.json()["name"], "menu");
        let added = t
            .run(&format!("plugin add {menu} --tenant acme --device gen"))
            .await
            .unwrap();
        assert_eq!(added.json()["digest"], checked.json()["digest"]);
        let listed = t.run("plugin list --tenant acme").await.unwrap();
        assert_eq!(listed.json()[0], *added.json());
        let digest = checked.json()["digest"].as_str().unwrap();
        let short = &digest[..12];
        insta::assert_snapshot!(added.text().replace(short, "DIGEST"), @r"
        Added menu 0.1.0 (DIGEST) for tenant acme.
        It answers on device gen from the next turn on.
        ");

        let by_digest = t
            .run(&format!("device set gen --plugin {short}"))
            .await
            .unwrap();
        assert_eq!(by_digest.json()["plugin"]["digest"], digest);
        let refused = t.file("config.json", r#"{"businness": "Joe's"}"#);
        let error = t
            .run(&format!(
                "device set gen --plugin menu --plugin-config @{refused}"
            ))
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the plugin refuses the configuration:"),
            "{error}"
        );
        let taken = t.file("config.json", r#"{"business": "Joe's"}"#);
        let set = t
            .run(&format!("device set gen --plugin-config @{taken}"))
            .await
            .unwrap();
        assert_eq!(set.json()["plugin_config"]["business"], "Joe's");
        let doctor = t.run("doctor").await.unwrap();
        assert!(doctor.text().contains("1 started"), "{}", doctor.text());
    }

    #[tokio::test]
    async fn a_plugin_that_refuses_one_devices_configuration_changes_none() {
        let t = TestContext::with_device().await;
        t.run("device add --tenant acme --channel generic --id odd --url http://127.0.0.1:9/in")
            .await
            .unwrap();
        let config = t.file("config.json", r#"{"businness": "Joe's"}"#);
        t.run(&format!("device set odd --plugin-config @{config}"))
            .await
            .unwrap();
        let menu = TestContext::component("menu");
        let line = format!("plugin add {menu} --tenant acme --device gen --device odd");
        let error = t.run(&line).await.unwrap_err().to_string();
        let advice = "That is the configuration of device odd. Add the plugin without --device odd, then give the device both at once: `nodepath device set odd --plugin menu --plugin-config …`";
        assert!(error.ends_with(advice), "{error}");
        let shown = t.run("device show gen").await.unwrap();
        assert!(shown.json()["plugin"].is_null());
        let listed = t.run("plugin list --tenant acme").await.unwrap();
        assert_eq!(*listed.json(), serde_json::json!([]));
    }

    #[tokio::test]
    async fn a_component_that_would_not_run_is_told_to_its_author() {
        let t = TestContext::new();
        let other = TestContext::component("test-world");
        let answer = t.run(&format!("plugin check {other}")).await.unwrap();
        assert_eq!(answer.json()["ok"], false);
        assert!(
            answer.text().contains("would not run: "),
            "{}",
            answer.text()
        );
        assert_eq!(answer.exit_code(), std::process::ExitCode::FAILURE);
        let text = t.file("text.wasm", "hello");
        assert_eq!(
            t.run(&format!("plugin check {text}")).await.unwrap().json()["ok"],
            false
        );
        let missing = t.run("plugin check nowhere.wasm").await.unwrap_err();
        assert!(
            missing
                .to_string()
                .contains("cargo component build --release"),
            "{missing}"
        );
    }

    #[tokio::test]
    async fn a_plugin_that_is_not_there_is_told_with_those_that_are() {
        let t = TestContext::with_device().await;
        let error = t.run("device set gen --plugin echo").await.unwrap_err();
        insta::assert_snapshot!(error, @r#"the tenant has no plugin "echo" (it has none); add it with `nodepath plugin add FILE --tenant …`"#);
    }
}
