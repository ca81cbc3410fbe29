//! What is looked at, in an order in which a first failure explains the later ones.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::context::Context;
use super::super::table::count;
use super::{Check, here};
use crate::config::Config;
use crate::model::{Device, Digest, TenantId, Timestamp};
use crate::plugin::Runtime;
use crate::store::{self, ConversationSummary, Shown, Store};

/// A lock that is held longer than this holds up a person. The longest turn there is unless set takes 30 s.
const LONG_LOCKED: Duration = Duration::from_secs(10 * 60);

/// As many conversations, the last active ones, and as many dead letters as are looked at.
const LOOKED_AT: u32 = 10_000;

/// How long the database's file is read to find damage. A disk reads some gigabytes in that time.
const WHOLE: Duration = Duration::from_secs(10);

/// How long a host may take to say that it is ready.
const READY: Duration = Duration::from_secs(2);

pub(super) async fn all(context: &Context) -> Vec<Check> {
    let config = match context.loaded() {
        Ok(loaded) => loaded.config,
        Err(error) => return vec![Check::error("config", error)],
    };
    let mut checks = vec![Check::ok(
        "config",
        "it is complete; `nodepath config` prints it",
    )];
    let (data_dir, mine) = here::data_dir(&config);
    checks.push(data_dir);
    checks.extend(here::free_space(&config));
    checks.push(here::log_file(&config));
    let running = running(&config, &mut checks).await;
    checks.push(engine(context, &config));
    let mut last_written = None;
    if mine && config.database_path().exists() {
        checks.extend(here::seal_key_file(&config));
        match context.sealing_store().await {
            Ok(store) => {
                checks.push(database(&store, &config).await);
                let conversations = stored(context, &store, running, &mut checks).await;
                last_written = conversations.iter().filter_map(|c| c.last_inbound_at).max();
            }
            Err(error) => checks.push(Check::error("database", error)),
        }
    } else if mine {
        let detail = format!("{} is not there yet", config.database_path().display());
        let advice = "`nodepath tenant add NAME` makes it";
        checks.push(Check::warn("database", detail, advice));
    }
    checks.push(here::clock(
        context.clock().now(),
        last_written.map(Timestamp),
    ));
    checks
}

/// Whether a host runs, and if so whether it is ready; if not, whether its ports are free.
async fn running(config: &Config, checks: &mut Vec<Check>) -> bool {
    match store::running_host(&config.database_path()) {
        Ok(Some(owner)) => {
            checks.push(Check::ok("host", format!("it runs, as process {owner}")));
            if let Some(address) = config.admin_listen {
                checks.push(ready(address).await);
            }
            true
        }
        Ok(None) => {
            checks.push(Check::ok("host", "none runs on this database"));
            checks.extend(here::ports(config));
            false
        }
        Err(error) => {
            checks.push(Check::error("host", error));
            false
        }
    }
}

async fn ready(address: SocketAddr) -> Check {
    match timeout(READY, ask_ready(address)).await {
        Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200") => {
            Check::ok("readiness", format!("{address}/readyz answers"))
        }
        Ok(Ok(answer)) => Check::fail(
            "readiness",
            format!(
                "{address}/readyz answers {:?}",
                answer.lines().next().unwrap_or_default()
            ),
            "look for errors in its log",
        ),
        Ok(Err(error)) => Check::warn(
            "readiness",
            format!("{address}: {error}"),
            "the host may run with another admin_listen than this configuration has",
        ),
        Err(_) => Check::fail(
            "readiness",
            format!("{address} does not answer"),
            "look for errors in its log",
        ),
    }
}

async fn ask_ready(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(1_024).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Whether the engine can have the address space that its pool asks for.
fn engine(context: &Context, config: &Config) -> Check {
    match context.scratch_of(config.max_instances) {
        Ok(_) => Check::ok(
            "sandbox",
            format!("room for {} plugins at once", config.max_instances),
        ),
        Err(error) => Check::error("sandbox", error),
    }
}

/// Whether the database's file is whole, as far as there is time to read it.
async fn database(store: &Store, config: &Config) -> Check {
    let (name, path) = ("database", config.database_path());
    let path = path.display();
    match timeout(WHOLE, store.damage()).await {
        Ok(Ok(damage)) if damage.is_empty() => Check::ok(name, path.to_string()),
        Ok(Ok(damage)) => Check::fail(
            name,
            format!("{path} is damaged:\n{}", damage.join("\n")),
            "stop the host, keep a copy of the file, and put a backup back",
        ),
        Ok(Err(error)) => Check::error(name, error),
        Err(_) => Check::ok(
            name,
            format!(
                "{path} answers; it is too large to be read through in {} s",
                WHOLE.as_secs()
            ),
        ),
    }
}

/// What the database holds. The answer is the conversations that were looked at.
async fn stored(
    context: &Context,
    store: &Store,
    running: bool,
    checks: &mut Vec<Check>,
) -> Vec<ConversationSummary> {
    match store.devices(None).await {
        Ok(found) => {
            checks.push(credentials(store, &found).await);
            checks.push(devices(&found));
            checks.extend(plugins(context, store, &found).await);
        }
        Err(error) => checks.push(Check::error("devices", error)),
    }
    checks.push(dead(store).await);
    match store.conversations(None, Shown::All, LOOKED_AT).await {
        Ok(found) => {
            checks.push(conversations(&found, running, context.clock().now()));
            found
        }
        Err(error) => {
            checks.push(Check::error("conversations", error));
            vec![]
        }
    }
}

/// Whether the key opens what was sealed.
async fn credentials(store: &Store, devices: &[Device]) -> Check {
    let mut closed = Vec::new();
    for device in devices {
        if let Err(error) = store.credentials(&device.id).await {
            closed.push(format!("{}: {error}", device.id));
        }
    }
    if closed.is_empty() {
        return Check::ok(
            "credentials",
            format!("those of {} can be opened", count(devices.len(), "device")),
        );
    }
    let advice =
        "put the old seal key back, or give new ones with `nodepath device credentials ID`";
    Check::fail("credentials", closed.join("\n"), advice)
}

fn devices(devices: &[Device]) -> Check {
    let alerts = devices
        .iter()
        .filter_map(|d| Some(format!("{}: {}", d.id, d.alert.as_ref()?)));
    let bare = devices
        .iter()
        .filter(|d| d.plugin.is_none())
        .map(|d| format!("{} has no plugin, and answers nothing", d.id));
    let lines: Vec<_> = alerts.chain(bare).collect();
    if lines.is_empty() {
        return Check::ok("devices", count(devices.len(), "device"));
    }
    let advice = "an alert is the provider's: `nodepath device credentials ID`; a plugin: `nodepath device set ID --plugin …`";
    Check::warn("devices", lines.join("\n"), advice)
}

/// Whether every plugin that answers somewhere can be run here: each is started once.
async fn plugins(context: &Context, store: &Store, devices: &[Device]) -> Option<Check> {
    let mut deployed: Vec<_> = devices
        .iter()
        .filter_map(|d| Some((&d.tenant, d.plugin.as_ref()?)))
        .collect();
    deployed.sort_unstable();
    deployed.dedup();
    if deployed.is_empty() {
        return None;
    }
    let scratch = match context.scratch() {
        Ok(scratch) => scratch,
        Err(error) => return Some(Check::error("plugins", error)),
    };
    let mut broken = Vec::new();
    for (tenant, digest) in &deployed {
        if let Err(error) = start(store, &scratch.runtime, tenant, digest).await {
            broken.push(format!("{}: {}", digest.short(), super::chain(&error)));
        }
    }
    if broken.is_empty() {
        return Some(Check::ok(
            "plugins",
            format!("{} started, and said what they are", deployed.len()),
        ));
    }
    let advice = "deploy another version with `nodepath device set ID --plugin …`";
    Some(Check::fail("plugins", broken.join("\n"), advice))
}

async fn start(
    store: &Store,
    runtime: &Runtime,
    tenant: &TenantId,
    digest: &Digest,
) -> anyhow::Result<()> {
    let bytes = store.component(tenant, digest).await?;
    runtime.check(&bytes).await?;
    Ok(())
}

async fn dead(store: &Store) -> Check {
    let letters = match store.dead_letters(None, LOOKED_AT).await {
        Ok(letters) => letters,
        Err(error) => return Check::error("dead letters", error),
    };
    if letters.is_empty() {
        return Check::ok("dead letters", "none");
    }
    let of = |state: &str| letters.iter().filter(|l| l.state == state).count();
    let detail = format!(
        "{} dead, {} that the provider could not deliver, {} held of which nobody knows whether they arrived",
        of("dead"),
        of("failed"),
        of("held")
    );
    Check::warn(
        "dead letters",
        detail,
        "`nodepath dead list` says why; `nodepath dead replay ID` takes one up again",
    )
}

fn conversations(found: &[ConversationSummary], running: bool, now: Timestamp) -> Check {
    let name = "conversations";
    let asleep = found
        .iter()
        .filter(|c| c.state == "idle" && c.pending > 0 && c.paused_until.is_none());
    let asleep: Vec<_> = asleep.map(|c| c.id.as_str()).collect();
    if !asleep.is_empty() {
        let detail = format!(
            "messages wait and nothing wakes them: {}",
            asleep.join(", ")
        );
        return Check::fail(
            name,
            detail,
            "that is a fault of this program: please report it with `nodepath conversation show ID`",
        );
    }
    let locked = found.iter().filter(|c| c.locked_at.is_some());
    if !running {
        let locked = locked.count();
        return if locked == 0 {
            Check::ok(name, format!("{} looked at, none is locked", found.len()))
        } else {
            let detail = format!("{locked} are locked, and no host runs");
            Check::warn(
                name,
                detail,
                "start the host: it takes them up again at once",
            )
        };
    }
    let long: Vec<_> = locked
        .filter(|c| {
            c.locked_at
                .is_some_and(|at| now.since(Timestamp(at)) > LONG_LOCKED)
        })
        .map(|c| c.id.as_str())
        .collect();
    if long.is_empty() {
        return Check::ok(
            name,
            format!("{} looked at, none is locked for long", found.len()),
        );
    }
    let detail = format!("locked for more than ten minutes: {}", long.join(", "));
    Check::warn(
        name,
        detail,
        "`nodepath conversation show ID` says by what; `nodepath conversation unlock ID` ends it",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    const NOW: Timestamp = Timestamp(1_760_433_330_000);

    fn conversation(
        state: &str,
        pending: i64,
        locked_ago: Option<Duration>,
    ) -> ConversationSummary {
        ConversationSummary {
            id: "cnv_1".to_owned(),
            tenant: "ten_1".to_owned(),
            device: "dev_1".to_owned(),
            prospect: "1".to_owned(),
            prospect_name: None,
            state: state.to_owned(),
            locked_at: locked_ago.map(|ago| NOW.minus(ago).0),
            paused_until: None,
            turns: 0,
            pending,
            last_inbound_at: None,
        }
    }

    #[test]
    fn a_conversation_that_is_stuck_is_told() {
        let minute = Duration::from_secs(60);
        let status = |c: ConversationSummary, running| conversations(&[c], running, NOW).status;
        assert_eq!(status(conversation("idle", 0, None), true), Health::Ok);
        assert_eq!(
            status(conversation("running", 1, Some(minute)), true),
            Health::Ok
        );
        assert_eq!(
            status(conversation("running", 1, Some(minute * 11)), true),
            Health::Warn
        );
        assert_eq!(
            status(conversation("running", 1, Some(minute)), false),
            Health::Warn
        );
        assert_eq!(status(conversation("idle", 1, None), true), Health::Fail);
    }

    #[tokio::test]
    async fn a_host_that_does_not_answer_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream
                .write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
                .await
                .unwrap();
        };
        let (check, ()) = tokio::join!(ready(address), answer);
        assert_eq!(check.status, Health::Fail);
        drop(listener);
        assert_eq!(ready(address).await.status, Health::Warn);
    }
}
