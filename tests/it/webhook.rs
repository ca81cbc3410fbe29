//! What a provider is answered, and what becomes of what it sent.

use std::collections::BTreeMap;
use std::time::Duration;

use nodepath::channel;
use nodepath::cli::demo::provider::FakeWhatsApp;
use nodepath::cli::demo::webhooks::Webhook;
use nodepath::model::device::Overlap;
use nodepath::model::{DeviceId, Secret};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{PROSPECT, Setup, TestHost, states};

/// The largest webhook of Meta's, in bytes.
const LARGEST: usize = 3 << 20;

/// An answer as a provider sees it: the status, the type of the body, how long to wait, and the body.
async fn told(response: reqwest::Response) -> String {
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        Some(format!("{name}: {}", value.to_str().unwrap()))
    };
    let head = [header("content-type"), header("retry-after")];
    let head: Vec<String> = [Some(response.status().to_string())]
        .into_iter()
        .chain(head)
        .flatten()
        .collect();
    format!("{}\n{}", head.join("\n"), response.text().await.unwrap())
}

fn signed(body: &[u8]) -> String {
    channel::sign_whatsapp(&Secret::new(FakeWhatsApp::APP_SECRET), body)
}

/// Delivers JSON, signed, and expects that it is taken.
pub(crate) async fn receives(host: &TestHost, body: &Value) -> Value {
    let body = body.to_string().into_bytes();
    let signature = signed(&body);
    let response = host.posts_raw(body, Some(&signature)).await;
    crate::support::taken(response).await
}

/// A webhook of Meta's with this value.
pub(crate) fn envelope(value: Value) -> Value {
    let mut whole = json!({
        "messaging_product": "whatsapp",
        "metadata": {
            "display_phone_number": Webhook::OWN_NUMBER, "phone_number_id": FakeWhatsApp::PHONE_NUMBER_ID,
        },
        "contacts": [{ "profile": { "name": "Aminah" }, "wa_id": PROSPECT }],
    });
    let fields = whole.as_object_mut().unwrap();
    fields.extend(value.as_object().unwrap().clone());
    json!({
        "object": "whatsapp_business_account",
        "entry": [{ "id": "100200300400500", "changes": [{ "field": "messages", "value": whole }] }],
    })
}

/// A message of [`PROSPECT`] with these fields besides.
pub(crate) fn message(id: &str, fields: Value) -> Value {
    let mut whole = json!({ "from": PROSPECT, "id": id, "timestamp": "1760433330" });
    let object = whole.as_object_mut().unwrap();
    object.extend(fields.as_object().unwrap().clone());
    whole
}

/// Why each message that starts no turn does not, by its id.
async fn ignored(host: &TestHost) -> BTreeMap<String, String> {
    let mut conn = host.connection().await;
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT provider_message_id, reason FROM inbox WHERE state = 'ignored' ORDER BY seq",
    )
    .fetch_all(&mut conn)
    .await
    .unwrap();
    rows.into_iter().collect()
}

#[tokio::test]
async fn the_challenge_is_repeated_to_whoever_knows_the_token() {
    let host = Setup::script().start().await;
    let asks = async |token: &str| {
        let url = format!(
            "{}/webhooks/{}?hub.mode=subscribe&hub.verify_token={token}&hub.challenge=1158201444",
            host.url, host.device
        );
        told(host.client.get(url).send().await.unwrap()).await
    };
    insta::assert_snapshot!(asks(FakeWhatsApp::VERIFY_TOKEN).await, @r"
    200 OK
    content-type: text/plain; charset=utf-8
    1158201444
    ");
    insta::assert_snapshot!(asks("wrong").await, @r#"
    403 Forbidden
    content-type: application/problem+json
    {"type":"about:blank","title":"Challenge refused","status":403,"detail":"the challenge does not carry this device's verify token"}
    "#);
    host.stop().await;
}

#[tokio::test]
async fn a_webhook_that_is_not_signed_with_the_devices_secret_is_401_and_changes_nothing() {
    let host = Setup::script().start().await;
    let body = host.text("wamid.1", "hello").body();
    insta::assert_snapshot!(told(host.posts_raw(body.clone(), None).await).await, @r#"
    401 Unauthorized
    content-type: application/problem+json
    {"type":"about:blank","title":"Signature wrong","status":401,"detail":"the header x-hub-signature-256 is missing"}
    "#);
    let mut altered = body.clone();
    altered.push(b' ');
    let of_another = channel::sign_whatsapp(&Secret::new("another-secret"), &body);
    for (body, signature) in [
        (altered, signed(&body)),
        (body.clone(), of_another),
        (body.clone(), "sha256=00".to_owned()),
        (body.clone(), "sha1=00".to_owned()),
    ] {
        let response = host.posts_raw(body, Some(&signature)).await;
        assert_eq!(response.status(), 401, "{signature}");
    }
    assert_eq!(host.count("SELECT COUNT(*) FROM inbox").await, 0);
    // Not even a broken body is looked at before its signature.
    let response = host.posts_raw("{", Some("sha256=00")).await;
    assert_eq!(response.status(), 401);
    host.stop().await;
}

#[tokio::test]
async fn an_unknown_device_and_an_unknown_path_are_404() {
    let host = Setup::script().start().await;
    let nobody = DeviceId::parse("nobody").unwrap();
    let webhook = host.text("wamid.1", "hello");
    insta::assert_snapshot!(told(host.posts_to(&nobody, &webhook).await).await, @r#"
    404 Not Found
    content-type: application/problem+json
    {"type":"about:blank","title":"Unknown device","status":404,"detail":"no device has this webhook address; `nodepath device list` shows those that there are"}
    "#);
    let elsewhere = host.client.get(format!("{}/api/webhook", host.url));
    insta::assert_snapshot!(told(elsewhere.send().await.unwrap()).await, @r#"
    404 Not Found
    content-type: application/problem+json
    {"type":"about:blank","title":"No such path","status":404,"detail":"webhooks are at /webhooks/<device id>"}
    "#);
    host.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413_whether_or_not_it_says_so_first() {
    let host = Setup::script().start().await;
    let padded = |size: usize| {
        let mut body = host.text("wamid.1", "hello").body();
        body.resize(size, b' ');
        body
    };
    insta::assert_snapshot!(told(host.posts_raw(padded(LARGEST + 1), Some("sha256=00")).await).await, @r#"
    413 Payload Too Large
    content-type: application/problem+json
    {"type":"about:blank","title":"Body too large","status":413,"detail":"this channel's webhooks have at most 3145728 bytes"}
    "#);
    let answer = chunked(&host, &padded(LARGEST + 1)).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(host.count("SELECT COUNT(*) FROM inbox").await, 0);
    let largest = padded(LARGEST);
    let signature = signed(&largest);
    let response = host.posts_raw(largest, Some(&signature)).await;
    assert_eq!(response.status(), 200, "one byte less is taken");
    host.until_idle().await;
    host.stop().await;
}

/// Delivers bytes whose number is not told before, and answers the first line that comes back.
async fn chunked(host: &TestHost, body: &[u8]) -> String {
    let address = host.url.trim_start_matches("http://");
    let stream = TcpStream::connect(address).await.unwrap();
    let (read, mut write) = stream.into_split();
    let head = format!(
        "POST /webhooks/{} HTTP/1.1\r\nhost: nodepath\r\nconnection: close\r\nx-hub-signature-256: sha256=00\r\ntransfer-encoding: chunked\r\n\r\n",
        host.device
    );
    let send = async {
        write.write_all(head.as_bytes()).await?;
        for chunk in body.chunks(64 << 10) {
            let size = format!("{:x}\r\n", chunk.len());
            write.write_all(size.as_bytes()).await?;
            write.write_all(chunk).await?;
            write.write_all(b"\r\n").await?;
        }
        write.write_all(b"0\r\n\r\n").await
    };
    let mut answer = Vec::new();
    let mut read = read.take(4_096);
    // The host may hang up before it has read everything.
    let (_sent, _read) = tokio::join!(send, read.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_body_that_is_no_webhook_of_metas_is_400() {
    let host = Setup::script().start().await;
    let posts = async |body: &'static str| {
        let signature = signed(body.as_bytes());
        told(host.posts_raw(body, Some(&signature)).await).await
    };
    insta::assert_snapshot!(posts("{").await, @r#"
    400 Bad Request
    content-type: application/problem+json
    {"type":"about:blank","title":"Body unreadable","status":400,"detail":"the body is not JSON: EOF while parsing an object at line 1 column 1"}
    "#);
    insta::assert_snapshot!(posts(r#"{"object":"page","entry":[]}"#).await, @r#"
    400 Bad Request
    content-type: application/problem+json
    {"type":"about:blank","title":"Body unreadable","status":400,"detail":"the body is not a webhook of this channel: `object` is not `whatsapp_business_account`"}
    "#);
    host.stop().await;
}

#[tokio::test]
async fn a_full_inbox_is_429_until_there_is_room_and_loses_nothing() {
    let setup = Setup::script().settings(|s| s.overlap = Overlap::Queue);
    let host = setup.max_pending(2).start().await;
    host.provider.hold();
    host.hears("wamid.1", "reply one").await;
    host.provider.wait_for_arrivals(1).await;
    host.hears("wamid.2", "two").await;
    host.hears("wamid.3", "three").await;
    let fourth = host.text("wamid.4", "four");
    insta::assert_snapshot!(told(host.posts(&fourth).await).await, @r#"
    429 Too Many Requests
    content-type: application/problem+json
    retry-after: 5
    {"type":"about:blank","title":"Inbox full","status":429,"detail":"too many messages of this tenant wait for their turn; deliver this again later"}
    "#);
    // News of what was sent takes no room.
    let status = Webhook::new().status("wamid.unknown", "delivered", None, host.now());
    assert_eq!(host.receives(status).await["noted"], 1);
    host.provider.release();
    host.provider.wait_for(2).await;
    host.until_idle().await;
    assert_eq!(host.receives(fourth).await["accepted"], 1);
    let replies = host.provider.wait_for(3).await;
    assert_eq!(replies[1].text.as_deref(), Some("You said: two\nthree"));
    assert_eq!(replies[2].text.as_deref(), Some("You said: four"));
    assert_eq!(states(&host.until_idle().await), ["done"; 4]);
    host.stop().await;
}

/// Another program holds the database's write lock for longer than the host waits for it.
#[tokio::test]
async fn a_store_that_is_down_is_503_for_everybody_at_once_and_loses_nothing() {
    let host = Setup::script().start().await;
    let mut conn = host.connection().await;
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut conn)
        .await
        .unwrap();
    let webhooks: Vec<Webhook> = (0..4)
        .map(|n| {
            let (from, id) = (format!("60150000{n:03}"), format!("wamid.{n}"));
            Webhook::new().text(&from, &id, "hello", host.now())
        })
        .collect();
    let started = std::time::Instant::now();
    let all = futures_util::future::join_all(webhooks.iter().map(|w| host.posts(w)));
    for response in all.await {
        let told = told(response).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(told, @r#"
            503 Service Unavailable
            content-type: application/problem+json
            retry-after: 5
            {"type":"about:blank","title":"Store down","status":503,"detail":"the store can't be reached now; nothing was taken, deliver this again"}
            "#);
        }
    }
    let took = started.elapsed();
    assert!(
        took < Duration::from_secs(15),
        "one after the other: {took:?}"
    );
    sqlx::query("ROLLBACK").execute(&mut conn).await.unwrap();
    for webhook in webhooks {
        assert_eq!(host.receives(webhook).await["accepted"], 1);
    }
    host.provider.wait_for(4).await;
    host.stop().await;
}

#[tokio::test]
async fn a_bad_item_takes_nothing_of_its_batch_with_it() {
    let host = Setup::script().start().await;
    let mut batch = envelope(json!({
        "messages": [
            message("wamid.1", json!({ "type": "text", "text": { "body": "one" } })),
            message("wamid.2", json!({ "type": "text", "text": {} })),
            message("wamid.5", json!({ "id": null, "type": "text", "text": { "body": "of no id" } })),
            "not even an object",
            message("wamid.3", json!({ "type": "text", "text": { "body": "three" } })),
        ],
        "statuses": [{ "id": "wamid.x" }],
    }));
    let changes = batch.pointer_mut("/entry/0/changes").unwrap();
    changes.as_array_mut().unwrap().push(json!(17));
    let entries = batch.pointer_mut("/entry").unwrap().as_array_mut().unwrap();
    entries.push(json!(null));
    let another = envelope(json!({
        "messages": [message("wamid.4", json!({ "type": "text", "text": { "body": "four" } }))],
    }));
    entries.push(another["entry"][0].clone());
    let answer = receives(&host, &batch).await;
    assert_eq!(
        (&answer["accepted"], &answer["ignored"]),
        (&json!(4), &json!(5))
    );
    assert_eq!(
        host.provider.sent().await.text.unwrap(),
        "You said: one\nother text {}\nthree\nfour"
    );
    host.until_idle().await;
    let reasons = ignored(&host).await;
    assert!(!reasons.contains_key("wamid.2"), "{reasons:?}");
    assert!(
        reasons.values().all(|reason| reason == "malformed"),
        "{reasons:?}"
    );
    host.stop().await;
}

#[tokio::test]
async fn what_starts_no_turn_is_200_and_recorded_with_its_reason() {
    let host = Setup::script().start().await;
    let text = json!({ "type": "text", "text": { "body": "hi" } });
    let with = |extra: Value| {
        let mut fields = text.clone();
        fields
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        fields
    };
    let items = [
        message("group", with(json!({ "group_id": "120363" }))),
        message("own_message", with(json!({ "from": Webhook::OWN_NUMBER }))),
        message(
            "reaction",
            json!({ "type": "reaction", "reaction": { "message_id": "wamid.1", "emoji": "😮" } }),
        ),
        message(
            "unsupported",
            json!({ "type": "unsupported", "errors": [{ "code": 131_051, "title": "Message type unknown" }] }),
        ),
    ];
    let count = items.len();
    let answer = receives(&host, &envelope(json!({ "messages": items }))).await;
    assert_eq!(
        (&answer["accepted"], &answer["ignored"]),
        (&json!(0), &json!(count))
    );
    // Meta's own broken payload.
    let broken = envelope(json!({
        "messages": [message("broken", json!({ "type": "interactive" }))],
        "errors": [{ "code": 131_000, "title": "Unsupported webhook payload" }],
    }));
    receives(&host, &broken).await;
    let elsewhere = Webhook::to("999").text(PROSPECT, "other_number", "hi", host.now());
    host.receives(elsewhere).await;
    let found = ignored(&host).await;
    for reason in [
        "group",
        "own_message",
        "reaction",
        "unsupported",
        "other_number",
    ] {
        assert_eq!(found[reason], reason);
    }
    assert_eq!(found["broken"], "unsupported");
    assert_eq!(host.count("SELECT COUNT(*) FROM turn").await, 0);
    assert_eq!(host.provider.requests(), []);
    host.stop().await;
}

#[tokio::test]
async fn health_is_told_on_both_listeners_and_readiness_on_the_operators() {
    let host = Setup::script().start().await;
    for (url, expected) in [
        (format!("{}/healthz", host.url), 200),
        (format!("{}/healthz", host.admin_url), 200),
        (format!("{}/readyz", host.admin_url), 200),
        (format!("{}/readyz", host.url), 404),
        (format!("{}/metrics", host.url), 404),
    ] {
        let status = host.client.get(&url).send().await.unwrap().status();
        assert_eq!(status, expected, "{url}");
    }
    host.stop().await;
}
