//! The prospects' side: signed webhooks at a steady rate, whatever becomes of them.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use sha2::Sha256;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use crate::provider::Screens;

/// The secret that signs every device's webhooks.
pub(crate) const APP_SECRET: &str = "guests-app-secret";

/// Every device's number at the provider: the path of a webhook says which device is meant.
pub(crate) const PHONE_NUMBER_ID: &str = "1122334455667";

/// How long a webhook may take. A host that is slower answers nobody.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long after it was put off a message is written again.
const AGAIN: Duration = Duration::from_millis(50);

/// A device that is written to, and by how many.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) device: String,
    pub(crate) conversations: u32,
    /// What everybody writes; none: each message says its own id, and is to be answered with it.
    pub(crate) text: Option<String>,
}

/// How webhooks were answered.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) taken: Cell<u64>,
    pub(crate) put_off: Cell<u64>,
    pub(crate) failed: Cell<u64>,
}

/// Sends webhooks to one host.
#[derive(Clone)]
pub(crate) struct Prospects {
    host: SocketAddr,
    idle: Rc<RefCell<Vec<SendRequest<Full<Bytes>>>>>,
    screens: Screens,
    pub(crate) sent: Rc<Cell<u64>>,
}

impl Prospects {
    pub(crate) fn of(host: SocketAddr, screens: Screens) -> Self {
        Self {
            host,
            idle: Rc::default(),
            screens,
            sent: Rc::default(),
        }
    }

    /// Writes to a device so often in each second, until the end comes. The rate is the load's, never the host's: a webhook
    /// that is not answered delays no other.
    pub(crate) async fn write(
        &self,
        target: Target,
        per_second: u32,
        end: impl Future<Output = ()>,
    ) -> Counts {
        let counts = Rc::new(Counts::default());
        let mut under_way = JoinSet::new();
        let mut due = tokio::time::Instant::now();
        tokio::pin!(end);
        loop {
            tokio::select! {
                biased;
                () = &mut end => break,
                () = sleep_until(due) => {}
            }
            due += Duration::from_secs(1) / per_second.max(1);
            let (prospects, target, counts) = (self.clone(), target.clone(), counts.clone());
            under_way.spawn_local(async move { prospects.one(&target, &counts).await });
            while under_way.try_join_next().is_some() {}
        }
        under_way.join_all().await;
        Rc::into_inner(counts).unwrap_or_default()
    }

    /// Writes until so many messages are taken. One that is put off, since its tenant has too much waiting, is written again a little
    /// later, as providers do.
    pub(crate) async fn burst(&self, target: Target, messages: u64) -> Result<()> {
        let (counts, begun) = (Counts::default(), Instant::now());
        while counts.taken.get() < messages {
            ensure!(
                counts.failed.get() == 0 && begun.elapsed() < PATIENCE,
                "{} does not take its messages",
                target.device
            );
            let put_off = counts.put_off.get();
            self.one(&target, &counts).await;
            if counts.put_off.get() > put_off {
                sleep(AGAIN).await;
            }
        }
        Ok(())
    }

    async fn one(&self, target: &Target, counts: &Counts) {
        let n = self.sent.get();
        self.sent.set(n + 1);
        let id = format!("wamid.{n}");
        let prospect = 628_100_000_000 + n % u64::from(target.conversations.max(1));
        let text = target.text.clone().unwrap_or_else(|| id.clone());
        let body = webhook(prospect, &id, &text);
        let is_waited_for = target.text.is_none();
        if is_waited_for {
            self.screens.asked(&id, Instant::now());
        }
        let count = match timeout(PATIENCE, self.post(&target.device, body)).await {
            Ok(Ok(StatusCode::OK)) => &counts.taken,
            Ok(Ok(StatusCode::TOO_MANY_REQUESTS)) => &counts.put_off,
            Ok(Ok(_) | Err(_)) | Err(_) => &counts.failed,
        };
        count.set(count.get() + 1);
    }

    async fn post(&self, device: &str, body: Bytes) -> Result<StatusCode> {
        let idle = self.idle.borrow_mut().pop();
        let mut connection = match idle.filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let request = Request::post(format!("/webhooks/{device}"))
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("x-hub-signature-256", signature(&body)?)
            .body(Full::new(body))?;
        let response = connection.send_request(request).await?;
        let status = response.status();
        response.into_body().collect().await?;
        self.idle.borrow_mut().push(connection);
        Ok(status)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.host).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with its sender.
        tokio::task::spawn_local(connection);
        Ok(sender)
    }
}

fn signature(body: &[u8]) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(APP_SECRET.as_bytes())
        .ok()
        .context("HMAC takes any key")?;
    mac.update(body);
    Ok(format!(
        "sha256={}",
        hex::encode(mac.finalize().into_bytes())
    ))
}

/// A text of a prospect, as Meta delivers it.
fn webhook(prospect: u64, id: &str, text: &str) -> Bytes {
    let now = now_seconds().to_string();
    let prospect = prospect.to_string();
    let value = json!({
        "messaging_product": "whatsapp",
        "metadata": { "display_phone_number": "60311223344", "phone_number_id": PHONE_NUMBER_ID },
        "contacts": [{ "profile": { "name": "Aminah" }, "wa_id": prospect }],
        "messages": [{ "from": prospect, "id": id, "timestamp": now, "type": "text", "text": { "body": text } }],
    });
    let webhook = json!({
        "object": "whatsapp_business_account",
        "entry": [{ "id": "100200300400500", "changes": [{ "field": "messages", "value": value }] }],
    });
    Bytes::from(webhook.to_string())
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the world outside, which has no clock but the machine's"
)]
fn now_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
