//! `nodepath demo`: a host, and providers that are only played.

pub mod graph_rules;
pub mod provider;
pub mod receiver;
mod script;
mod stage;
mod transcript;
pub mod webhooks;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::context::Context;
use super::serve::Signals;
use crate::app::App;
use crate::channel;
use crate::config::Config;
use crate::model::{Clock, DeviceId, DeviceSettings, Digest};
use crate::store::{NewDevice, NewPlugin, Store};
use crate::telemetry;

use self::provider::FakeWhatsApp;
use self::script::{DEVICE, PROSPECT, Script};
use self::transcript::Transcript;

/// Run a host with a demo tenant and a played WhatsApp, and show a conversation
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the built plugins are; `cargo xtask plugins` builds them
    #[arg(long, value_name = "DIR", default_value = "plugins/target/components")]
    plugins: PathBuf,
    /// End after the script, with an error if anything differed from what the README shows
    #[arg(long)]
    exit: bool,
    /// Where the demo keeps its data; what an earlier demo has left there is deleted
    #[arg(long, value_name = "DIR", default_value = "nodepath-demo")]
    data_dir: PathBuf,
}

/// The plugin that answers. It takes its time, so that there is something to restart.
const PLUGIN: &str = "ponder";

/// Marks a directory as one that a demo may delete.
const MARK: &str = ".nodepath-demo";

/// What the README shows, which the demo holds itself to.
const README: &str = include_str!("../../../README.md");

impl Args {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Answer> {
        clear(&self.data_dir)?;
        let config = Config {
            data_dir: self.data_dir.clone(),
            ..Config::default()
        };
        let provider = Arc::new(
            FakeWhatsApp::start()
                .await
                .context("the played WhatsApp can't start")?,
        );
        let transcript = Transcript::new(provider.clone());
        telemetry::start_with(&config.log, transcript.clone())?;

        let app = App::open(&config, Clock::System, context.compiler()?, None).await?;
        let store = Store::clone(&app.host());
        set_up(&store, &self.plugins, &provider).await?;
        let listener = listen(&config).await?;
        let base = format!("http://{}", listener.local_addr()?);
        let script = Script {
            client: channel::http_client()?,
            url: format!("{base}/webhooks/{DEVICE}"),
            store,
            transcript: transcript.clone(),
            clock: Clock::System,
        };
        let stop = CancellationToken::new();
        let (ended, played) = tokio::join!(
            app.run(listener, None, stop.clone().cancelled_owned()),
            self.play(script, &transcript, &base, &stop),
        );
        ended?;
        played?;
        Ok(Answer::silent())
    }

    /// Plays the script; then stops the host, or leaves it to the reader.
    async fn play(
        &self,
        script: Script,
        transcript: &Transcript,
        base: &str,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        println!("Nodepath listens on {base}; its log is logs/app.log\n");
        let played = script.run().await;
        if played.is_ok() && !self.exit {
            self.leave_running(base);
            Signals::watch()?.next().await;
        }
        stop.cancel();
        played?;
        if self.exit {
            compare(&transcript.text())
        } else {
            Ok(())
        }
    }

    fn leave_running(&self, base: &str) {
        let secret = FakeWhatsApp::APP_SECRET;
        let number = FakeWhatsApp::PHONE_NUMBER_ID;
        let data_dir = self.data_dir.display();
        println!(
            r#"
The host goes on. Write to it from another terminal, and watch this one:

say() {{
  body='{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{{"field":"messages","value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"972123456789","phone_number_id":"{number}"}},"messages":[{{"from":"{PROSPECT}","id":"wamid.'$RANDOM$RANDOM'","timestamp":"'$(date +%s)'","type":"text","text":{{"body":"'"$1"'"}}}}]}}}}]}}]}}'
  curl -s {base}/webhooks/{DEVICE} -d "$body" -H "x-hub-signature-256: sha256=$(printf %s "$body" | openssl dgst -sha256 -hmac {secret} | sed 's/.* //')"
}}
say "Good evening"

Look at it: NODEPATH_DATA_DIR={data_dir} target/debug/nodepath conversation list
            grep "SESSION LOCK" logs/app.log
Ctrl-C ends it."#
        );
    }
}

/// Deletes what an earlier demo has left, and nothing else.
fn clear(dir: &Path) -> anyhow::Result<()> {
    if dir.exists() {
        let is_ours = dir.join(MARK).exists();
        anyhow::ensure!(
            is_ours,
            "{} is there and no demo has made it; choose another --data-dir",
            dir.display()
        );
        std::fs::remove_dir_all(dir).with_context(|| format!("can't delete {}", dir.display()))?;
    }
    std::fs::create_dir_all(dir).with_context(|| format!("can't make {}", dir.display()))?;
    std::fs::write(dir.join(MARK), "")
        .with_context(|| format!("can't write into {}", dir.display()))
}

async fn set_up(store: &Store, plugins: &Path, provider: &FakeWhatsApp) -> anyhow::Result<()> {
    let path = plugins.join(format!("{PLUGIN}.wasm"));
    let component = std::fs::read(&path).with_context(|| {
        format!(
            "can't read {}; build it with `cargo xtask plugins`",
            path.display()
        )
    })?;
    let digest = Digest::of(&component);
    let tenant = store.add_tenant("demo", 1_000).await?.id;
    let new = NewPlugin {
        tenant: tenant.clone(),
        digest: digest.clone(),
        name: PLUGIN.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        manifest: "{}".to_owned(),
        component,
    };
    store.add_plugin(new).await?;
    let device = NewDevice {
        id: DeviceId::parse(DEVICE)?,
        tenant,
        credentials: provider.credentials(),
        plugin: Some(digest),
        plugin_config: r#"{"think_ms":700}"#.to_owned(),
        settings: DeviceSettings::default(),
    };
    store.add_device(device).await?;
    Ok(())
}

/// The usual address, or a free one if something listens there.
async fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(config.listen).await {
        Ok(listener) => Ok(listener),
        Err(_) => Ok(TcpListener::bind("127.0.0.1:0").await?),
    }
}

/// Holds the transcript against the README.
fn compare(transcript: &str) -> anyhow::Result<()> {
    let expected = README
        .split("<!-- demo -->")
        .nth(1)
        .context("the README has no block between <!-- demo --> marks")?;
    let expected = expected
        .trim()
        .trim_start_matches("```text")
        .trim_matches('`')
        .trim();
    let (transcript, mut differences) = (transcript.trim(), Vec::new());
    let width = expected.lines().count().max(transcript.lines().count());
    let (mut readme, mut shown) = (expected.lines(), transcript.lines());
    for i in 1..=width {
        let (wanted, got) = (readme.next().unwrap_or(""), shown.next().unwrap_or(""));
        if wanted != got {
            differences.push(format!(
                "line {i}: the README has {wanted:?}, the demo showed {got:?}"
            ));
        }
    }
    anyhow::ensure!(
        differences.is_empty(),
        "the demo differs from the README:\n{}",
        differences.join("\n")
    );
    println!("\nEverything went as the README shows.");
    Ok(())
}
