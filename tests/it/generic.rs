//! The generic channel: Standard Webhooks in and out, signed both ways.

use std::time::Duration;

use nodepath::channel;
use nodepath::cli::demo::receiver::{FakeReceiver, ReceiverAnswer, Webhook};
use nodepath::model::{Credentials, DeviceId, DeviceSettings, Secret, Timestamp};
use serde_json::{Value, json};

use crate::support::{Setup, TestHost, conversation, parts, states, taken};

const CUSTOMER: &str = "customer-17";

/// A host with a device that speaks to a receiver.
struct Shop {
    host: TestHost,
    receiver: FakeReceiver,
    device: DeviceId,
}

impl Shop {
    async fn open(setup: Setup) -> Self {
        Self::with(setup, |_, _| ()).await
    }

    /// With more secrets than one on each side.
    async fn with(setup: Setup, change: impl FnOnce(&mut Vec<Secret>, &mut Vec<Secret>)) -> Self {
        let host = setup.start().await;
        let receiver = FakeReceiver::start().await.unwrap();
        let mut credentials = receiver.credentials();
        let Credentials::Generic {
            inbound, outbound, ..
        } = &mut credentials
        else {
            panic!("{credentials:?}")
        };
        change(inbound, outbound);
        let settings = DeviceSettings::default();
        let device = host
            .add_device(&host.tenant, "shop", credentials, "test-script", settings)
            .await;
        Self {
            host,
            receiver,
            device,
        }
    }

    /// Delivers a webhook that is signed with this secret, at this time.
    async fn posts(
        &self,
        id: &str,
        secret: &str,
        at: Timestamp,
        body: &Value,
    ) -> reqwest::Response {
        let body = body.to_string().into_bytes();
        let secrets = [Secret::new(secret)];
        let (timestamp, signature) =
            channel::sign_standard_webhook(&secrets, id, &body, at).unwrap();
        self.host
            .request(&self.device)
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body)
            .send()
            .await
            .unwrap()
    }

    async fn receives(&self, id: &str, body: &Value) -> Value {
        let now = self.host.now();
        taken(
            self.posts(id, FakeReceiver::INBOUND_SECRET, now, body)
                .await,
        )
        .await
    }

    async fn hears(&self, id: &str, text: &str) -> Value {
        self.receives(id, &said(text)).await
    }

    async fn until(
        &self,
        what: &str,
        wanted: impl Fn(&nodepath::store::ConversationDetail) -> bool,
    ) -> nodepath::store::ConversationDetail {
        let id = conversation(&self.device, CUSTOMER);
        self.host.until_in(&id, what, wanted).await
    }

    async fn until_idle(&self) -> nodepath::store::ConversationDetail {
        self.until("idle", |c| c.summary.state == "idle").await
    }
}

fn said(text: &str) -> Value {
    json!({ "type": "message.received", "data": { "from": CUSTOMER, "text": text } })
}

/// Checks a webhook's signature as a receiver does that has this secret.
fn is_signed(webhook: &Webhook, secret: &str) -> bool {
    let header = |name: &str| webhook.headers[name].to_str().unwrap();
    let at: i64 = header("webhook-timestamp").parse().unwrap();
    let (_, expected) = channel::sign_standard_webhook(
        &[Secret::new(secret)],
        header("webhook-id"),
        &webhook.bytes,
        Timestamp(at * 1_000),
    )
    .unwrap();
    header("webhook-signature")
        .split(' ')
        .any(|signature| signature == expected)
}

#[tokio::test]
async fn a_message_comes_in_and_the_reply_goes_out_signed() {
    let shop = Shop::open(Setup::script()).await;
    assert_eq!(shop.hears("wh-1", "hello").await["accepted"], 1);
    let reply = shop.receiver.received().await;
    assert!(is_signed(&reply, FakeReceiver::OUTBOUND_SECRET));
    let data = &reply.json["data"];
    assert_eq!(reply.json["type"], "message.reply");
    assert_eq!(
        (&data["to"], &data["id_device"]),
        (&json!(CUSTOMER), &json!("shop"))
    );
    assert_eq!(
        data["message"],
        json!({ "type": "text", "text": "You said: hello" })
    );
    assert_eq!(reply.headers["webhook-id"], data["id"].as_str().unwrap());
    assert_eq!(parts(&shop.until_idle().await), ["sent"]);
    assert_eq!(shop.host.locks().await, 0);
    shop.host.stop().await;
}

#[tokio::test]
async fn a_redelivery_is_known_by_the_webhooks_id() {
    let shop = Shop::open(Setup::script()).await;
    shop.hears("wh-1", "reply hello").await;
    shop.receiver.received().await;
    shop.until_idle().await;
    assert_eq!(shop.hears("wh-1", "reply hello").await["duplicates"], 1);
    assert_eq!(shop.hears("wh-2", "reply more").await["accepted"], 1);
    shop.receiver.received().await;
    let detail = shop.until_idle().await;
    assert_eq!(states(&detail), ["done", "done"]);
    assert_eq!(shop.receiver.webhooks().len(), 2);
    shop.host.stop().await;
}

#[tokio::test]
async fn while_secrets_rotate_the_old_and_the_new_are_both_good() {
    let old = "whsec_b2xkLWluYm91bmQtc2VjcmV0LTAwMDAwMDAx";
    let next = "whsec_bmV4dC1vdXRib3VuZC1zZWNyZXQtMDAwMDAx";
    let shop = Shop::with(Setup::script(), |inbound, outbound| {
        inbound.push(Secret::new(old));
        outbound.push(Secret::new(next));
    })
    .await;
    let now = shop.host.now();
    for (id, secret) in [("wh-1", old), ("wh-2", FakeReceiver::INBOUND_SECRET)] {
        let response = shop
            .posts(id, secret, now, &said(&format!("reply {id}")))
            .await;
        assert_eq!(taken(response).await["accepted"], 1);
        let reply = shop.receiver.received().await;
        assert!(is_signed(&reply, FakeReceiver::OUTBOUND_SECRET));
        assert!(is_signed(&reply, next));
        assert!(!is_signed(&reply, old));
        shop.until_idle().await;
    }
    shop.host.stop().await;
}

#[tokio::test]
async fn what_is_not_signed_now_and_with_the_secret_is_401() {
    let shop = Shop::open(Setup::script().clock()).await;
    let (host, good) = (&shop.host, FakeReceiver::INBOUND_SECRET);
    let now = host.now();
    let late = Duration::from_secs(5 * 60 + 1);
    for (secret, at) in [
        (FakeReceiver::OUTBOUND_SECRET, now),
        (good, now.minus(late)),
        (good, now.plus(late)),
    ] {
        let response = shop.posts("wh-1", secret, at, &said("hello")).await;
        assert_eq!(response.status(), 401);
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
    }
    let unsigned = host.request(&shop.device).body(said("hello").to_string());
    assert_eq!(unsigned.send().await.unwrap().status(), 401);
    assert_eq!(host.count("SELECT COUNT(*) FROM inbox").await, 0);
    let edge = Duration::from_secs(5 * 60);
    for (id, at) in [("wh-1", now.minus(edge)), ("wh-2", now.plus(edge))] {
        let response = shop.posts(id, good, at, &said(id)).await;
        assert_eq!(taken(response).await["accepted"], 1);
    }
    shop.until("answered", |c| {
        c.summary.state == "idle" && states(c) == ["done", "done"]
    })
    .await;
    shop.host.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_busy_is_tried_again_by_the_schedule_with_the_same_id() {
    let shop = Shop::open(Setup::script().clock()).await;
    let busy = |status, retry_after| ReceiverAnswer::Status {
        status,
        retry_after,
    };
    shop.receiver
        .script([busy(503, None), busy(429, Some(Duration::from_secs(900)))]);
    shop.hears("wh-1", "reply hello").await;
    let first = shop.receiver.received().await;
    shop.until("put off", |c| {
        c.outbox
            .iter()
            .any(|p| p.state == "queued" && p.attempts == 1)
    })
    .await;
    assert_eq!(shop.host.locks().await, 1);
    shop.host.passes(Duration::from_millis(4_999));
    assert_eq!(shop.receiver.webhooks().len(), 1);
    shop.host.passes(Duration::from_millis(501));
    let second = shop.receiver.received().await;
    shop.until("put off again", |c| {
        c.outbox
            .iter()
            .any(|p| p.state == "queued" && p.attempts == 2)
    })
    .await;
    // The schedule says 5 minutes, and the receiver 15.
    shop.host.passes(Duration::from_secs(899));
    assert_eq!(shop.receiver.webhooks().len(), 2);
    shop.host.passes(Duration::from_secs(1));
    let third = shop.receiver.received().await;
    for again in [&second, &third] {
        assert_eq!(again.headers["webhook-id"], first.headers["webhook-id"]);
        assert_eq!(again.bytes, first.bytes);
        assert!(is_signed(again, FakeReceiver::OUTBOUND_SECRET));
    }
    assert_ne!(
        first.headers["webhook-timestamp"],
        third.headers["webhook-timestamp"]
    );
    assert_eq!(parts(&shop.until_idle().await), ["sent"]);
    shop.host.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_alerts_the_operator() {
    let shop = Shop::open(Setup::script()).await;
    shop.receiver.script([ReceiverAnswer::Status {
        status: 410,
        retry_after: None,
    }]);
    shop.hears("wh-1", "reply hello").await;
    shop.until("dead", |c| parts(c) == ["dead"]).await;
    let alert = shop.host.store.device(&shop.device).await.unwrap().alert;
    assert!(alert.unwrap().contains("410"));
    assert_eq!(shop.until_idle().await.summary.state, "idle");
    shop.host.stop().await;
}

/// Nobody can tell whether the receiver has it, so it is held at once, and the receiver's own word settles it later.
#[tokio::test]
async fn a_receiver_that_hangs_up_leaves_the_part_in_doubt() {
    let shop = Shop::open(Setup::script()).await;
    shop.receiver.script([ReceiverAnswer::Cut]);
    shop.hears("wh-1", "parts 2").await;
    shop.receiver.received().await;
    let second = shop.receiver.received().await;
    assert_eq!(second.json["data"]["message"]["text"], "part 2");
    let detail = shop.until_idle().await;
    assert_eq!(parts(&detail), ["held", "sent"]);
    let ours = detail.outbox[1].id.clone();
    let status = json!({ "type": "message.status", "data": { "id": ours, "status": "delivered" } });
    assert_eq!(shop.receives("wh-2", &status).await["noted"], 1);
    assert_eq!(parts(&shop.until_idle().await), ["sent", "sent"]);
    assert_eq!(shop.receiver.webhooks().len(), 2, "nothing was sent again");
    shop.host.stop().await;
}

#[tokio::test]
async fn groups_own_messages_and_reactions_start_no_turn_and_an_echo_takes_over() {
    let shop = Shop::open(Setup::script()).await;
    for (id, extra) in [
        ("group", json!({ "is_group": true })),
        ("own_message", json!({ "from_me": true })),
        ("reaction", json!({ "kind": "reaction" })),
        ("malformed", json!({ "from": null })),
    ] {
        let mut body = said("hello");
        let data = body["data"].as_object_mut().unwrap();
        data.extend(extra.as_object().unwrap().clone());
        assert_eq!(shop.receives(id, &body).await["ignored"], 1, "{id}");
    }
    let by_hand = json!({ "type": "message.echo", "data": { "to": CUSTOMER, "text": "I'm here" } });
    shop.receives("echo", &by_hand).await;
    assert_eq!(shop.hears("wh-1", "hello").await["absorbed"], 1);
    assert_eq!(shop.receiver.webhooks(), []);
    let sql = "SELECT COUNT(*) FROM inbox WHERE state = 'ignored' AND reason = provider_message_id";
    assert_eq!(shop.host.count(sql).await, 4);
    shop.host.stop().await;
}

#[tokio::test]
async fn there_is_no_challenge_and_a_body_of_a_megabyte_is_the_largest() {
    let shop = Shop::open(Setup::script()).await;
    let url = format!("{}/webhooks/shop?hub.mode=subscribe", shop.host.url);
    assert_eq!(
        shop.host.client.get(url).send().await.unwrap().status(),
        403
    );
    let large = shop
        .host
        .request(&shop.device)
        .header("webhook-id", "wh-0")
        .header("webhook-timestamp", "0")
        .header("webhook-signature", "v1,AA==")
        .body(vec![b' '; (1 << 20) + 1]);
    assert_eq!(large.send().await.unwrap().status(), 413);
    let no_json = json!("only a text");
    let response = shop
        .posts(
            "wh-1",
            FakeReceiver::INBOUND_SECRET,
            shop.host.now(),
            &no_json,
        )
        .await;
    assert_eq!(response.status(), 400);
    shop.host.stop().await;
}
