//! `nodepath device`: the numbers and bots of a tenant.

mod change;
mod credentials;
mod settings;

use std::collections::BTreeMap;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::json;

use super::answer::{Answer, Usage};
use super::context::Context;
use super::plugin::{config_of, find_plugin, validate_config};
use super::table::{dash, facts, table, time};
use super::tenant::quoted;
use crate::model::{ChannelKind, Device, DeviceId, DeviceSettings, Digest};
use crate::store::{self, NewDevice, PluginVersion, Store, Tenant};

pub(super) use change::change_device;

use credentials::{CredentialArgs, Made};
use settings::SettingArgs;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a device; secrets that you don't give are made, and shown this once
    ///
    /// With --json: what `device show` has, and `made`: {name: secret} for each secret that was made.
    Add(Box<AddArgs>),
    /// List devices
    ///
    /// With --json: an array of what `device show` has.
    List {
        /// Only this tenant's, by name or id
        #[arg(long, value_name = "NAME|ID")]
        tenant: Option<String>,
    },
    /// Show a device; never its credentials
    ///
    /// With --json: {id, tenant, tenant_name, channel, webhook, plugin: {digest, name, version} or null, plugin_config, settings,
    /// alert, created_at}.
    Show {
        /// The device's id
        id: String,
    },
    /// Change which plugin answers, its configuration, or how conversations are run
    ///
    /// Turns under way keep what they began with. With --json: what `device show` has.
    Set(Box<SetArgs>),
    /// Replace credentials, for example an expired token; what you don't give stays
    ///
    /// With --json: {id, made: {name: secret}}.
    Credentials {
        /// The device's id
        id: String,
        #[command(flatten)]
        credentials: Box<CredentialArgs>,
    },
}

/// The channels as the command line names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Channel {
    /// WhatsApp Cloud API, by Meta
    Whatsapp,
    /// Standard Webhooks in and out, for anything else
    Generic,
}

impl From<Channel> for ChannelKind {
    fn from(channel: Channel) -> Self {
        match channel {
            Channel::Whatsapp => Self::Whatsapp,
            Channel::Generic => Self::Generic,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// Whose it is, by name or id
    #[arg(long, value_name = "NAME|ID")]
    tenant: String,
    /// What it speaks
    #[arg(long)]
    channel: Channel,
    /// What its webhook's path names it: letters, digits, `_` and `-` [default: one is made]
    #[arg(long)]
    id: Option<String>,
    #[command(flatten)]
    plugin: PluginArgs,
    #[command(flatten)]
    settings: SettingArgs,
    #[command(flatten)]
    credentials: CredentialArgs,
}

#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// The device's id
    id: String,
    #[command(flatten)]
    plugin: PluginArgs,
    #[command(flatten)]
    settings: SettingArgs,
}

#[derive(Debug, Args)]
struct PluginArgs {
    /// The plugin that answers: its digest, the beginning of it, or a name, for the one of that name that was added last
    #[arg(long, value_name = "DIGEST|NAME")]
    plugin: Option<String>,
    /// What the plugin reads through `config`: a JSON object, or @FILE with one
    #[arg(long, value_name = "JSON|@FILE")]
    plugin_config: Option<String>,
}

/// A device as programs read it.
#[derive(Serialize)]
struct DeviceJson {
    id: String,
    tenant: String,
    tenant_name: String,
    channel: &'static str,
    webhook: String,
    plugin: Option<PluginJson>,
    plugin_config: serde_json::Value,
    settings: DeviceSettings,
    alert: Option<String>,
    created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    made: Option<BTreeMap<&'static str, String>>,
}

#[derive(Serialize)]
struct PluginJson {
    digest: String,
    name: String,
    version: String,
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let store = match self {
            Self::Add(_) | Self::Credentials { .. } => context.sealing_store().await?,
            Self::List { .. } | Self::Show { .. } | Self::Set(_) => context.store().await?,
        };
        match self {
            Self::Add(args) => add(context, &store, *args).await,
            Self::List { tenant } => list(&store, tenant.as_deref()).await,
            Self::Show { id } => {
                let device = store.device(&DeviceId::from_trusted(id)).await?;
                show(&store, &device, vec![]).await
            }
            Self::Set(args) => set(context, &store, *args).await,
            Self::Credentials { id, credentials } => {
                change_credentials(&store, &DeviceId::from_trusted(id), *credentials).await
            }
        }
    }
}

async fn add(context: &Context, store: &Store, args: AddArgs) -> anyhow::Result<Answer> {
    let tenant = store.tenant(&args.tenant).await?;
    let channel = ChannelKind::from(args.channel);
    let id = match &args.id {
        Some(id) => DeviceId::parse(id).map_err(|error| Usage(error.to_string()))?,
        None => DeviceId::generate(),
    };
    let mut defaults = DeviceSettings::default();
    if !channel.can_tell() {
        // Nobody will ever say what became of a part: waiting for it would only hold the lock.
        defaults.unknown_window_ms = 0;
    }
    let settings = args.settings.applied_to(defaults)?;
    let plugin = match &args.plugin.plugin {
        Some(name) => Some(find_plugin(store, &tenant.id, name).await?.digest),
        None => None,
    };
    let plugin_config = match &args.plugin.plugin_config {
        Some(source) => config_of(source)?,
        None => "{}".to_owned(),
    };
    if let Some(digest) = &plugin {
        validate_config(context, store, &tenant.id, digest, &plugin_config).await?;
    }
    let (credentials, made) = args.credentials.new_for(channel)?;
    let new = NewDevice {
        id,
        tenant: tenant.id,
        credentials,
        plugin,
        plugin_config,
        settings,
    };
    let device = store.add_device(new).await?;
    show(store, &device, made).await
}

async fn set(context: &Context, store: &Store, args: SetArgs) -> anyhow::Result<Answer> {
    let SetArgs {
        id,
        plugin,
        settings,
    } = &args;
    let device = store.device(&DeviceId::from_trusted(id)).await?;
    let asks_nothing = plugin.plugin.is_none() && plugin.plugin_config.is_none();
    if asks_nothing && settings.is_empty() {
        return Err(
            Usage("say what to set: --plugin, --plugin-config, or a setting".to_owned()).into(),
        );
    }
    let wanted = match &plugin.plugin {
        Some(name) => Some(find_plugin(store, &device.tenant, name).await?.digest),
        None => None,
    };
    let config = plugin.plugin_config.as_deref().map(config_of).transpose()?;
    let changed = change_device(store, device, async |device: &Device| {
        let mut device = device.clone();
        device.settings = settings.applied_to(device.settings)?;
        device.plugin = wanted.clone().or(device.plugin);
        device.plugin_config = config.clone().unwrap_or(device.plugin_config);
        if let (Some(digest), false) = (&device.plugin, asks_nothing) {
            let (tenant, config) = (&device.tenant, &device.plugin_config);
            validate_config(context, store, tenant, digest, config).await?;
        }
        Ok(device)
    });
    show(store, &changed.await?, vec![]).await
}

async fn change_credentials(
    store: &Store,
    id: &DeviceId,
    args: CredentialArgs,
) -> anyhow::Result<Answer> {
    if args.is_empty() {
        return Err(Usage(
            "say which credentials to replace, see --help; they are never shown".to_owned(),
        )
        .into());
    }
    let (credentials, made) = match store.credentials(id).await {
        Ok(present) => args.replacing(&present)?,
        // Sealed with a key that is gone: nothing of them can stay, and nothing of them is needed if all are given.
        Err(lost @ (store::Error::Sealed(_) | store::Error::Corrupt { .. })) => {
            let channel = store.device(id).await?.channel;
            (args.in_place_of_lost(channel, &lost)?, vec![])
        }
        Err(error) => return Err(error.into()),
    };
    store.change_credentials(id, &credentials).await?;
    let text = format!(
        "Replaced credentials of device {id}; what is sent from now on uses them.\n{}",
        shown_once(&made)
    );
    Answer::new(text, json!({ "id": id.as_str(), "made": made_json(&made) }))
}

async fn list(store: &Store, tenant: Option<&str>) -> anyhow::Result<Answer> {
    let tenant = match tenant {
        Some(name) => Some(store.tenant(name).await?.id),
        None => None,
    };
    let mut devices = Vec::new();
    for device in store.devices(tenant.as_ref()).await? {
        devices.push(device_json(store, &device, None).await?);
    }
    let rows: Vec<_> = devices
        .iter()
        .map(|d| {
            let plugin = d.plugin.as_ref();
            [
                d.id.clone(),
                d.tenant_name.clone(),
                d.channel.to_owned(),
                plugin.map_or_else(dash, |p| format!("{} {}", p.name, p.version)),
                d.alert.clone().unwrap_or_else(dash),
                time(Some(d.created_at)),
            ]
        })
        .collect();
    let empty = "There is no device yet; add one with `nodepath device add --tenant NAME --channel whatsapp …`.";
    let text = table(
        ["ID", "TENANT", "CHANNEL", "PLUGIN", "ALERT", "ADDED"],
        &rows,
        empty,
    );
    Answer::new(text, devices)
}

async fn show(store: &Store, device: &Device, made: Vec<Made>) -> anyhow::Result<Answer> {
    let shown = device_json(store, device, (!made.is_empty()).then(|| made_json(&made))).await?;
    let plugin = shown.plugin.as_ref().map_or_else(
        || {
            let tenant = quoted(&shown.tenant_name);
            format!(
                "none: add one with `nodepath plugin add FILE --tenant {tenant} --device {}`",
                shown.id
            )
        },
        |p| {
            let digest = Digest::from_trusted(&p.digest);
            format!("{} {} ({})", p.name, p.version, digest.short())
        },
    );
    let text = facts(&[
        ("device", shown.id.clone()),
        (
            "tenant",
            format!("{} ({})", shown.tenant_name, shown.tenant),
        ),
        ("channel", shown.channel.to_owned()),
        (
            "webhook",
            format!("{} (below your public https address)", shown.webhook),
        ),
        ("plugin", plugin),
        ("plugin config", format!("{:#}", shown.plugin_config)),
        ("alert", shown.alert.clone().unwrap_or_else(dash)),
        ("added", time(Some(shown.created_at))),
        ("settings", settings::lines(&shown.settings)),
    ]);
    Answer::new(text + &shown_once(&made), shown)
}

/// The secrets that were made, which nothing ever shows again.
fn shown_once(made: &[Made]) -> String {
    if made.is_empty() {
        return String::new();
    }
    let mut text = "\nMade now and shown this once; the other side needs them:\n".to_owned();
    let made: Vec<_> = made
        .iter()
        .map(|m| (m.name, m.secret.expose().to_owned()))
        .collect();
    text.push_str(&facts(&made));
    text
}

fn made_json(made: &[Made]) -> BTreeMap<&'static str, String> {
    made.iter()
        .map(|m| (m.name, m.secret.expose().to_owned()))
        .collect()
}

async fn device_json(
    store: &Store,
    device: &Device,
    made: Option<BTreeMap<&'static str, String>>,
) -> anyhow::Result<DeviceJson> {
    let Tenant { name, .. } = store.tenant(device.tenant.as_str()).await?;
    let plugin = match &device.plugin {
        Some(digest) => Some(store.plugin_version(&device.tenant, digest).await?),
        None => None,
    };
    Ok(DeviceJson {
        id: device.id.to_string(),
        tenant: device.tenant.to_string(),
        tenant_name: name,
        channel: device.channel.as_str(),
        webhook: format!("/webhooks/{}", device.id),
        plugin: plugin.map(
            |PluginVersion {
                 digest,
                 name,
                 version,
                 ..
             }| PluginJson {
                digest: digest.to_string(),
                name,
                version,
            },
        ),
        plugin_config: serde_json::from_str(&device.plugin_config)
            .unwrap_or_else(|_| device.plugin_config.clone().into()),
        settings: device.settings.clone(),
        alert: device.alert.clone(),
        created_at: device.created_at.0,
        made,
    })
}

#[cfg(test)]
mod tests {
    use super::super::context::testing::TestContext;
    use super::*;

    #[tokio::test]
    async fn a_device_is_added_with_secrets_that_are_shown_once() {
        let t = TestContext::new();
        t.run("tenant add acme").await.unwrap();
        let line =
            "device add --tenant acme --channel generic --id gen --url https://example.test/in";
        let added = t.run(line).await.unwrap();
        let secret = added.json()["made"]["inbound"].as_str().unwrap();
        let text = added.text().replace(secret, "whsec_A");
        let text = text.replace(
            added.json()["made"]["outbound"].as_str().unwrap(),
            "whsec_B",
        );
        insta::assert_snapshot!(t.steady(&text), @r"
        device         gen
        tenant         acme (ten_…)
        channel        generic
        webhook        /webhooks/gen (below your public https address)
        plugin         none: add one with `nodepath plugin add FILE --tenant acme --device gen`
        plugin config  {}
        alert          -
        added          2025-10-14 09:15:30Z
        settings       budget.cpu = 1s
                       budget.memory = 64MiB
                       budget.wall = 30s
                       debounce = 0s
                       duplicate_window = 2s
                       fallback = silence
                       max_attempts = 5
                       max_restarts = 3
                       max_wait = 20s
                       overlap = restart
                       part_delay = 0s
                       takeover = 1h
                       unknown = hold
                       unknown_window = 0s

        Made now and shown this once; the other side needs them:
        inbound   whsec_A
        outbound  whsec_B
        ");
        let shown = t.run("device show gen").await.unwrap();
        assert!(!shown.text().contains("whsec_") && shown.json().get("made").is_none());
        let listed = t.run("device list").await.unwrap();
        insta::assert_snapshot!(listed.text(), @r"
        ID   TENANT  CHANNEL  PLUGIN  ALERT  ADDED
        gen  acme    generic  -       -      2025-10-14 09:15:30Z
        ");
        assert_eq!(listed.json()[0], *shown.json());
    }

    #[tokio::test]
    async fn a_whatsapp_device_takes_its_secrets_from_files() {
        let t = TestContext::new();
        t.run("tenant add acme").await.unwrap();
        let file = t.file(
            "meta.json",
            r#"{"app_secret": "hunter2", "phone_number_id": "106540352242922"}"#,
        );
        let token = t.file("token", "EAAx\n");
        let line =
            format!("device add --tenant acme --channel whatsapp --id wa --credentials {file}");
        let error = t.run(&line).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "credentials: access_token is missing; give --access-token"
        );
        let added = t
            .run(&format!("{line} --access-token @{token}"))
            .await
            .unwrap();
        let made: Vec<_> = added.json()["made"].as_object().unwrap().keys().collect();
        assert_eq!(made, ["verify_token"]);
        assert!(!added.text().contains("hunter2") && !added.text().contains("EAAx"));
        // Its provider can tell what became of a part.
        assert_eq!(added.json()["settings"]["unknown_window_ms"], 30_000);
        let changed = t
            .run(&format!("device credentials wa --access-token @{token}"))
            .await
            .unwrap();
        assert_eq!(changed.json()["made"], serde_json::json!({}));
        assert!(
            t.run("device credentials wa")
                .await
                .unwrap_err()
                .is::<Usage>()
        );
    }

    #[tokio::test]
    async fn credentials_that_can_not_work_are_refused() {
        let t = TestContext::new();
        t.run("tenant add acme").await.unwrap();
        let file = t.file(
            "meta.json",
            r#"{"app_secret": "s", "access_token": "EAA\nx", "phone_number_id": "1", "api_base": "https://"}"#,
        );
        let line =
            format!("device add --tenant acme --channel whatsapp --id wa --credentials {file}");
        let error = t.run(&line).await.unwrap_err();
        assert!(error.is::<Usage>());
        insta::assert_snapshot!(error, @r"
        credentials: access_token must be one or more visible ASCII characters without spaces
          and: api_base must be an absolute http or https URL
        ");
        t.run("device add --tenant acme --channel generic --id gen --url http://127.0.0.1:9/in")
            .await
            .unwrap();
        let short = t.file("short", "whsec_c2hvcnQ=");
        let error = t
            .run(&format!("device credentials gen --inbound @{short}"))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("inbound must be"), "{error}");
    }

    #[tokio::test]
    async fn a_lost_key_is_recovered_from_by_giving_all_credentials() {
        let t = TestContext::with_device().await;
        let key = crate::model::secret::Sealer::generate_base64();
        std::fs::write(t.dir.path().join("data/seal.key"), key).unwrap();
        let secret = t.file("secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let line = format!("device credentials gen --url https://x.test --inbound @{secret}");
        let error = t.run(&line).await.unwrap_err();
        assert!(error.is::<Usage>());
        insta::assert_snapshot!(error, @r"
        those that were there can't be opened, so all must be given; credentials: outbound is missing; give --outbound
          because: a sealed value can't be opened: it was sealed with another key or was changed; set the key that it was sealed with
        ");
        t.run(&format!("{line} --outbound @{secret}"))
            .await
            .unwrap();
        let doctor = t.run("doctor").await.unwrap();
        assert!(
            doctor.text().contains("those of 1 device can be opened"),
            "{}",
            doctor.text()
        );
    }

    #[tokio::test]
    async fn what_opens_no_credentials_works_without_the_key() {
        let t = TestContext::with_device().await;
        std::fs::remove_file(t.dir.path().join("data/seal.key")).unwrap();
        for line in [
            "device list",
            "device show gen",
            "device set gen --overlap skip",
            "conversation list",
            "tenant list",
            "dead list",
        ] {
            let answer = t.run(line).await;
            assert!(answer.is_ok(), "{line}: {answer:?}");
        }
        let error = t
            .run("device credentials gen --url https://x.test")
            .await
            .unwrap_err();
        assert!(error.to_string().contains("put the key back"), "{error}");
    }

    #[tokio::test]
    async fn settings_are_changed_and_wrong_ones_change_nothing() {
        let t = TestContext::with_device().await;
        let changed = t
            .run("device set gen --overlap queue --debounce 4s --set max_restarts=1")
            .await
            .unwrap();
        assert_eq!(changed.json()["settings"]["debounce_ms"], 4_000);
        let error = t
            .run("device set gen --overlap skip --set debonce=1s")
            .await
            .unwrap_err();
        assert!(error.is::<Usage>());
        let shown = t.run("device show gen").await.unwrap();
        assert_eq!(shown.json()["settings"]["overlap"], "queue");
        assert!(t.run("device set gen").await.unwrap_err().is::<Usage>());
        assert!(t.run("device set other --overlap skip").await.is_err());
        assert!(
            t.run("device add --tenant acme --channel generic --id a/b --url https://x.test")
                .await
                .unwrap_err()
                .is::<Usage>()
        );
    }
}
