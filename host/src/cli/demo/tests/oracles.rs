//! The channels against implementations of others: pywa for the WhatsApp Cloud API, and the package of the Standard Webhooks
//! authors. They run in Python, from `tests/oracles`.

use std::path::PathBuf;
use std::process::Stdio;

use http::HeaderMap;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{NOW, PROSPECT, part, text};
use crate::channel::{self, VerifyError, http_client};
use crate::cli::demo::provider::FakeWhatsApp;
use crate::cli::demo::receiver::FakeReceiver;
use crate::model::delivery::{Button, MediaKind, PartKind, Presence};
use crate::model::{Clock, Content, Credentials, Event, InboundMessage, ProspectId, Secret};

/// Runs a script of `tests/oracles` with `input` as its standard input, and reads the JSON that it prints.
async fn oracle(script: &str, input: &Value) -> Value {
    let python = std::env::var_os("XTASK_ORACLE_PYTHON").unwrap_or_else(|| {
        panic!(
            "XTASK_ORACLE_PYTHON is not set. It names the Python of a virtual environment in which \
             tests/oracles/requirements.txt is installed: `cargo xtask test` makes one and sets it, or do it by hand with \
             `python3 -m venv DIR && DIR/bin/pip install -r tests/oracles/requirements.txt` and set it to DIR/bin/python"
        )
    });
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/oracles"));
    let mut child = Command::new(&python)
        .arg(folder.join(script))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{} can't be run: {error}", python.display()));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} failed:\n{stderr}");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{script} printed no JSON ({error}):\n{stderr}"))
}

/// The webhook bodies in `tests/fixtures/whatsapp`, by name.
fn fixtures() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/whatsapp");
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    all.sort();
    all
}

fn whatsapp() -> Credentials {
    Credentials::Whatsapp {
        app_secret: Secret::new("5f4dcc3b5aa765d61d8327deb882cf99"),
        access_token: Secret::new("t"),
        verify_token: Secret::new("v"),
        phone_number_id: FakeWhatsApp::PHONE_NUMBER_ID.to_owned(),
        api_base: "http://127.0.0.1:9".to_owned(),
    }
}

fn header(name: &'static str, value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(name, value.parse().unwrap());
    headers
}

#[tokio::test]
async fn what_pywa_signs_is_believed_and_what_was_altered_is_not() {
    let Credentials::Whatsapp { app_secret, .. } = whatsapp() else {
        panic!("WhatsApp");
    };
    let bodies: Vec<String> = fixtures().into_iter().map(|(_, body)| body).collect();
    let ours: Vec<String> = bodies
        .iter()
        .map(|body| channel::sign_whatsapp(&app_secret, body.as_bytes()))
        .collect();
    let input = json!({ "secret": app_secret.expose(), "bodies": bodies, "signatures": ours });
    let answer = oracle("whatsapp_sign.py", &input).await;
    for (i, body) in bodies.iter().enumerate() {
        let theirs = answer["signatures"][i].as_str().unwrap();
        let headers = header("x-hub-signature-256", theirs);
        let verify = |body: &[u8]| channel::verify(&whatsapp(), &headers, body, NOW);
        assert_eq!(verify(body.as_bytes()), Ok(()));
        for at in [0, body.len() / 2, body.len() - 1] {
            let mut altered = body.clone().into_bytes();
            altered[at] ^= 1;
            assert_eq!(verify(&altered), Err(VerifyError::BadSignature));
        }
        // JSON that means the same is not the same bytes.
        let rewritten = serde_json::from_str::<Value>(body).unwrap().to_string();
        assert_eq!(verify(rewritten.as_bytes()), Err(VerifyError::BadSignature));
        assert_eq!(answer["valid"][i], true, "pywa believes what we sign");
        assert_eq!(answer["valid_when_altered"][i], false);
    }
}

/// What pywa and we can both say of a message.
fn summary(message: &InboundMessage) -> Value {
    let (kind, said) = match &message.content {
        Content::Text { text } => ("text", text.clone()),
        Content::Image(media) if media.ext.iter().any(|(key, _)| key == "sticker") => {
            ("sticker", media.id.clone())
        }
        Content::Image(media) => ("image", media.id.clone()),
        Content::Audio(media) => ("audio", media.id.clone()),
        Content::Video(media) => ("video", media.id.clone()),
        Content::Document(media) => ("document", media.id.clone()),
        Content::Location {
            latitude,
            longitude,
            ..
        } => ("location", format!("{latitude:.4} {longitude:.4}")),
        Content::Interactive { id, title } => ("choice", format!("{id} {title}")),
        Content::Other { kind, .. } => (kind.as_str(), String::new()),
    };
    let forwarded = message.ext.iter().any(|(key, _)| key == "forwarded");
    json!({
        "id": message.provider_id,
        "from": message.prospect.as_str(),
        "user_id": message.alias.as_ref().unwrap_or(&message.prospect).as_str(),
        "name": message.prospect_name,
        "at": message.sent_at.0 / 1_000,
        "kind": kind,
        "said": said,
        "reply_to": message.reply_to,
        "forwarded": forwarded,
    })
}

#[tokio::test]
async fn pywa_reads_the_fixtures_as_we_do() {
    // pywa reads the first item of a webhook only, and cares for none of what has no contact.
    let messages = [
        "text",
        "text_reply",
        "text_forwarded",
        "text_referral",
        "text_product",
        "image",
        "audio_voice",
        "video_forwarded",
        "document",
        "sticker",
        "location",
        "location_bare",
        "contacts",
        "button_reply",
        "list_reply",
        "template_button",
        "order",
        "user_id_only",
        "user_id_in_contacts",
        "batch",
    ];
    let statuses = ["status_sent", "statuses"];
    let bodies: Vec<(String, Value)> = fixtures()
        .into_iter()
        .filter(|(name, _)| messages.contains(&name.as_str()) || statuses.contains(&name.as_str()))
        .map(|(name, body)| (name, serde_json::from_str(&body).unwrap()))
        .collect();
    assert_eq!(bodies.len(), messages.len() + statuses.len());
    let theirs = oracle("whatsapp_parse.py", &json!(bodies)).await;
    for (name, body) in &bodies {
        let body = body.to_string();
        let events = channel::parse(&whatsapp(), &HeaderMap::new(), body.as_bytes(), NOW).unwrap();
        let ours = match &events[0] {
            Event::Message(message) => summary(message),
            Event::Status(status) => json!({
                "id": status.provider_id,
                "status": format!("{:?}", status.status).to_lowercase(),
                "at": status.at.0 / 1_000,
                "callback": status.callback,
            }),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(ours, theirs[name], "{name}");
    }
}

#[tokio::test]
async fn we_send_what_pywa_sends() {
    let client = http_client().unwrap();
    let theirs = FakeWhatsApp::start().await.unwrap();
    let input = json!({
        "api_base": theirs.api_base(),
        "token": FakeWhatsApp::ACCESS_TOKEN,
        "phone_id": FakeWhatsApp::PHONE_NUMBER_ID,
        "to": PROSPECT,
        "bsuid": "MY.70112233445566778899",
        "tracker": part(PROSPECT, text("")).id,
    });
    let sent = oracle("whatsapp_send.py", &input).await;
    let ours = FakeWhatsApp::start().await.unwrap();
    let media = |media, caption: Option<&str>, filename: Option<&str>| PartKind::Media {
        media,
        url: "https://example.com/file".to_owned(),
        caption: caption.map(str::to_owned),
        filename: filename.map(str::to_owned),
    };
    let button = |id: &str, title: &str| Button {
        id: id.to_owned(),
        title: title.to_owned(),
    };
    let mut reply = part(PROSPECT, text("hello"));
    reply.body.reply_to = Some("wamid.theirs".to_owned());
    let react = |emoji: Option<&str>| PartKind::React {
        target: "wamid.theirs".to_owned(),
        emoji: emoji.map(str::to_owned),
    };
    let parts = [
        reply,
        part("MY.70112233445566778899", text("no number")),
        part(PROSPECT, media(MediaKind::Image, Some("Look"), None)),
        part(PROSPECT, media(MediaKind::Video, Some("Watch"), None)),
        part(PROSPECT, media(MediaKind::Audio, None, None)),
        part(
            PROSPECT,
            media(MediaKind::Document, Some("Read"), Some("form.pdf")),
        ),
        part(
            PROSPECT,
            PartKind::Buttons {
                text: "Which?".to_owned(),
                buttons: vec![button("a", "Tea"), button("b", "Coffee")],
            },
        ),
        part(PROSPECT, react(Some("👍"))),
        part(PROSPECT, react(None)),
    ];
    for part in &parts {
        channel::send(&client, &ours.credentials(), part, NOW).await;
    }
    let prospect = ProspectId::from_trusted(PROSPECT);
    for signal in [Presence::Read, Presence::Typing(true)] {
        let message = Some("wamid.theirs");
        channel::presence(&client, &ours.credentials(), &prospect, message, signal).await;
    }
    assert_eq!(ours.requests(), theirs.requests());
    assert_eq!(ours.presence(), theirs.presence());
    let wamids: Vec<Value> = ours.taken().iter().map(|r| json!(r.wamid)).collect();
    assert_eq!(
        sent["ids"],
        json!(wamids),
        "pywa understands the played provider's answers"
    );
}

#[tokio::test]
async fn pywa_and_we_agree_on_what_an_error_is() {
    let provider = FakeWhatsApp::start().await.unwrap();
    let input = json!({
        "api_base": provider.api_base(),
        "token": "wrong",
        "phone_id": FakeWhatsApp::PHONE_NUMBER_ID,
        "to": PROSPECT,
    });
    let answer = oracle("whatsapp_error.py", &input).await;
    assert_eq!(
        answer,
        json!({ "class": "ExpiredAccessToken", "code": 190, "status": 401 })
    );
}

#[tokio::test]
async fn standard_webhooks_are_signed_and_believed_both_ways() {
    // The package reads the clock itself, so this test can't stand still.
    let now = Clock::System.now();
    let secrets = [FakeReceiver::INBOUND_SECRET, FakeReceiver::OUTBOUND_SECRET];
    let bodies = ["{}", "", "{\"text\":\"Selamat pagi 👋\"}", "{\"a\": 1}\n"];
    let ours: Vec<Value> = bodies
        .iter()
        .map(|body| {
            let both = secrets.map(Secret::new);
            let (timestamp, signature) =
                channel::sign_standard_webhook(&both, "msg_ours", body.as_bytes(), now).unwrap();
            json!({ "body": body, "timestamp": timestamp, "signature": signature })
        })
        .collect();
    let input =
        json!({ "secrets": secrets, "now": now.0 / 1_000, "bodies": bodies, "signed": ours });
    let answer = oracle("standard_webhooks.py", &input).await;
    let credentials = |secrets: &[&str]| Credentials::Generic {
        inbound: secrets.iter().map(|secret| Secret::new(*secret)).collect(),
        outbound: vec![],
        url: String::new(),
    };
    for (i, body) in bodies.iter().enumerate() {
        for (j, secret) in secrets.iter().enumerate() {
            let theirs = &answer["signed"][i][j];
            let mut headers = HeaderMap::new();
            for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
                headers.insert(name, theirs[name].as_str().unwrap().parse().unwrap());
            }
            let verify = |secrets: &[&str], body: &str| {
                channel::verify(&credentials(secrets), &headers, body.as_bytes(), now)
            };
            assert_eq!(verify(&[secret], body), Ok(()));
            assert_eq!(verify(&secrets, body), Ok(()), "during a rotation");
            let bad = Err(VerifyError::BadSignature);
            assert_eq!(verify(&[secrets[1 - j]], body), bad, "another secret");
            assert_eq!(verify(&[secret], &format!("{body} ")), bad, "another body");
            assert_eq!(answer["valid"][i][j], true, "they believe what we sign");
            assert_eq!(answer["valid_when_altered"][i][j], false);
        }
    }
}
