//! What becomes of a part, for everything that a provider can do with it.

use std::time::Duration;

use http::HeaderMap;
use serde_json::json;

use super::{NOW, PROSPECT, part, text};
use crate::channel::{self, http_client};
use crate::cli::demo::provider::{Answer, FakeWhatsApp};
use crate::cli::demo::receiver::{FakeReceiver, ReceiverAnswer};
use crate::cli::demo::webhooks::Webhook;
use crate::model::delivery::{Button, DeadScope, MediaKind, PartKind, Presence};
use crate::model::{Content, Credentials, Delivery, Event, ProspectId, Secret};

fn media(media: MediaKind) -> PartKind {
    PartKind::Media {
        media,
        url: "https://example.com/file".to_owned(),
        caption: Some("Look".to_owned()),
        filename: Some("form.pdf".to_owned()),
    }
}

fn buttons() -> PartKind {
    let button = |id: &str, title: &str| Button {
        id: id.to_owned(),
        title: title.to_owned(),
    };
    PartKind::Buttons {
        text: "Which?".to_owned(),
        buttons: vec![button("a", "Tea"), button("b", "Coffee")],
    }
}

fn react(emoji: Option<&str>) -> PartKind {
    PartKind::React {
        target: "wamid.theirs".to_owned(),
        emoji: emoji.map(str::to_owned),
    }
}

/// `sent`, `retry after 30s`, `unknown`, `dead message` or `dead device`, and why.
fn told(delivery: Delivery) -> (String, String) {
    match delivery {
        Delivery::Sent { provider_id } => ("sent".to_owned(), provider_id.unwrap_or_default()),
        Delivery::Retry { after: None, why } => ("retry".to_owned(), why),
        Delivery::Retry {
            after: Some(after),
            why,
        } => (format!("retry after {}s", after.as_secs()), why),
        Delivery::Unknown { why } => ("unknown".to_owned(), why),
        Delivery::Dead {
            why,
            scope: DeadScope::Message,
        } => ("dead message".to_owned(), why),
        Delivery::Dead {
            why,
            scope: DeadScope::Device,
        } => ("dead device".to_owned(), why),
    }
}

#[tokio::test]
async fn graph_takes_every_kind_of_part() {
    let provider = FakeWhatsApp::start().await.unwrap();
    let client = http_client().unwrap();
    let mut reply = part(PROSPECT, text("hello"));
    reply.body.reply_to = Some("wamid.theirs".to_owned());
    reply.body.ext = vec![("preview_url".to_owned(), "true".to_owned())];
    let parts = [
        reply,
        part("MY.70112233445566778899", text("no number")),
        part("MY.ENT.abc123", text("no number either")),
        part("+60 12", text("no id either")),
        part(PROSPECT, media(MediaKind::Image)),
        part(PROSPECT, media(MediaKind::Audio)),
        part(PROSPECT, media(MediaKind::Video)),
        part(PROSPECT, media(MediaKind::Document)),
        part(PROSPECT, buttons()),
        part(PROSPECT, react(Some("👍"))),
        part(PROSPECT, react(None)),
    ];
    let mut seen = String::new();
    for part in &parts {
        let delivery = channel::send(&client, &provider.credentials(), part, NOW).await;
        let request = provider.requests().pop().unwrap();
        seen += &format!("{}\n  {:?}\n", request.body, told(delivery));
    }
    insta::assert_snapshot!("whatsapp_requests", seen);
}

#[tokio::test]
async fn what_a_provider_does_decides_what_becomes_of_a_part() {
    let provider = FakeWhatsApp::start().await.unwrap();
    let client = http_client().unwrap();
    let after = Some(Duration::from_secs(30));
    let refuse = |code, retry_after| Answer::Refuse { code, retry_after };
    let status = |status, retry_after| Answer::Status {
        status,
        retry_after,
    };
    for (answer, expected) in [
        (Answer::Take, "sent"),
        (refuse(130_429, after), "retry after 30s"),
        (refuse(131_056, None), "retry after 6s"),
        (refuse(131_000, None), "retry"),
        (refuse(131_047, None), "dead message"),
        (refuse(190, None), "dead device"),
        (status(429, after), "retry after 30s"),
        (status(503, None), "retry"),
        (status(502, None), "unknown"),
        (status(302, None), "dead device"),
        (status(404, None), "dead device"),
        (status(413, None), "dead message"),
        (status(200, None), "unknown"),
        (Answer::TakeAndCut, "unknown"),
        (Answer::LoseAndCut, "unknown"),
    ] {
        provider.script([answer.clone()]);
        let part = part(PROSPECT, text("hello"));
        let delivery = channel::send(&client, &provider.credentials(), &part, NOW).await;
        let (class, why) = told(delivery);
        assert_eq!(class, expected, "{answer:?}: {why}");
    }
    assert_eq!(
        provider.taken().len(),
        2,
        "one that was told and one that was cut"
    );
}

#[tokio::test]
async fn a_provider_that_never_answers_leaves_it_unknown() {
    let provider = FakeWhatsApp::start().await.unwrap();
    http_client().unwrap();
    let hasty = reqwest::Client::builder()
        .timeout(Duration::from_millis(300))
        .no_proxy()
        .build()
        .unwrap();
    for stall in [Answer::TakeAndStall, Answer::LoseAndStall] {
        provider.script([stall]);
        let part = part(PROSPECT, text("hello"));
        let delivery = channel::send(&hasty, &provider.credentials(), &part, NOW).await;
        let (class, why) = told(delivery);
        assert_eq!(class, "unknown");
        assert!(why.starts_with("timed out"), "{why}");
    }
}

#[tokio::test]
async fn nobody_there_is_no_doubt() {
    let vacated = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = vacated.local_addr().unwrap();
    drop(vacated);
    let client = http_client().unwrap();
    let provider = FakeWhatsApp::start().await.unwrap();
    let with_base = |base: String| match provider.credentials() {
        Credentials::Whatsapp {
            app_secret,
            access_token,
            verify_token,
            phone_number_id,
            ..
        } => Credentials::Whatsapp {
            app_secret,
            access_token,
            verify_token,
            phone_number_id,
            api_base: base,
        },
        other => other,
    };
    let part = part(PROSPECT, text("hello"));
    let nobody = with_base(format!("http://{address}/v25.0"));
    let (class, why) = told(channel::send(&client, &nobody, &part, NOW).await);
    assert_eq!(class, "retry");
    assert!(why.starts_with("no connection"), "{why}");
    let nonsense = with_base("no url".to_owned());
    let delivery = channel::send(&client, &nonsense, &part, NOW).await;
    assert_eq!(told(delivery).0, "dead device");
}

#[tokio::test]
async fn a_wrong_token_or_number_stops_the_device_and_is_not_told() {
    let provider = FakeWhatsApp::start().await.unwrap();
    let client = http_client().unwrap();
    let with = |token: &str, number: &str| Credentials::Whatsapp {
        app_secret: Secret::new("s"),
        access_token: Secret::new(token),
        verify_token: Secret::new("v"),
        phone_number_id: number.to_owned(),
        api_base: provider.api_base(),
    };
    for (token, number) in [
        ("EAAsecret", FakeWhatsApp::PHONE_NUMBER_ID),
        ("", FakeWhatsApp::PHONE_NUMBER_ID),
        ("bad\ntoken", FakeWhatsApp::PHONE_NUMBER_ID),
        (FakeWhatsApp::ACCESS_TOKEN, "999"),
    ] {
        let part = part(PROSPECT, text("hello"));
        let delivery = channel::send(&client, &with(token, number), &part, NOW).await;
        let (class, why) = told(delivery);
        assert_eq!(class, "dead device", "{why}");
        assert!(token.is_empty() || !why.contains(token), "{why}");
    }
    assert!(provider.taken().is_empty());
}

#[tokio::test]
async fn graph_refuses_what_breaks_its_rules() {
    let provider = FakeWhatsApp::start().await.unwrap();
    let client = http_client().unwrap();
    let four = PartKind::Buttons {
        text: "Which?".to_owned(),
        buttons: (0..4)
            .map(|n| Button {
                id: n.to_string(),
                title: n.to_string(),
            })
            .collect(),
    };
    for (to, kind, code) in [
        (PROSPECT, text(&"x".repeat(4_097)), "100"),
        (PROSPECT, text(" "), "100"),
        (PROSPECT, four, "131009"),
        ("", text("hello"), "100"),
        ("nobody", text("hello"), "131009"),
    ] {
        let delivery = channel::send(&client, &provider.credentials(), &part(to, kind), NOW).await;
        let (class, why) = told(delivery);
        assert_eq!(class, "dead message", "{why}");
        assert!(why.starts_with(&format!("(#{code})")), "{why}");
    }
    let longest = part(PROSPECT, text(&"👋".repeat(4_096)));
    let delivery = channel::send(&client, &provider.credentials(), &longest, NOW).await;
    assert_eq!(told(delivery).0, "sent");
}

#[tokio::test]
async fn presence_is_a_read_mark_with_or_without_typing() {
    let provider = FakeWhatsApp::start().await.unwrap();
    let client = http_client().unwrap();
    let prospect = ProspectId::from_trusted(PROSPECT);
    let signals = [
        Presence::Typing(true),
        Presence::Typing(false),
        Presence::Read,
    ];
    for signal in signals {
        let message = Some("wamid.theirs");
        channel::presence(&client, &provider.credentials(), &prospect, message, signal).await;
    }
    channel::presence(
        &client,
        &provider.credentials(),
        &prospect,
        None,
        Presence::Read,
    )
    .await;
    let read = json!({
        "messaging_product": "whatsapp", "status": "read", "message_id": "wamid.theirs",
    });
    let mut typing = read.clone();
    typing["typing_indicator"] = json!({ "type": "text" });
    assert_eq!(provider.wait_for_presence(2).await, [typing, read]);
    assert!(provider.requests().is_empty());
}

#[tokio::test]
async fn a_gate_holds_messages_until_it_is_opened() {
    let provider = FakeWhatsApp::start().await.unwrap();
    let client = http_client().unwrap();
    provider.hold();
    let credentials = provider.credentials();
    let held = part(PROSPECT, text("hello"));
    let send = channel::send(&client, &credentials, &held, NOW);
    let open = async {
        provider.wait_for_arrivals(1).await;
        assert!(provider.requests().is_empty());
        provider.release();
        provider.sent().await
    };
    let (delivery, request) = tokio::join!(send, open);
    assert_eq!(
        told(delivery),
        ("sent".to_owned(), "wamid.demo1".to_owned())
    );
    assert_eq!(request.text.as_deref(), Some("hello"));
    assert_eq!(request.callback.as_deref(), Some(held.id.as_str()));
    assert_eq!(
        provider.wait_for(1).await,
        provider.wait_for_requests(1).await
    );
}

#[tokio::test]
async fn the_demos_webhooks_are_believed_and_understood() {
    let provider = FakeWhatsApp::start().await.unwrap();
    let credentials = provider.credentials();
    let (body, signature) = Webhook::new()
        .text(PROSPECT, "wamid.1", "hi", NOW)
        .image(PROSPECT, "wamid.2", "my cat", NOW)
        .button(PROSPECT, "wamid.3", "a", "Tea", NOW)
        .status("wamid.demo1", "delivered", Some("out_1"), NOW)
        .echo(PROSPECT, "wamid.4", "I'll do it", NOW)
        .signed(&Secret::new(FakeWhatsApp::APP_SECRET));
    let mut headers = HeaderMap::new();
    headers.insert("x-hub-signature-256", signature.parse().unwrap());
    channel::verify(&credentials, &headers, &body, NOW).unwrap();
    let events = channel::parse(&credentials, &headers, &body, NOW).unwrap();
    let told: Vec<&str> = events
        .iter()
        .map(|event| match event {
            Event::Message(message) => match &message.content {
                Content::Text { .. } => "text",
                Content::Image(_) => "image",
                Content::Interactive { .. } => "interactive",
                other => panic!("{other:?}"),
            },
            Event::Status(_) => "status",
            Event::Echo(_) => "echo",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["text", "image", "interactive", "status", "echo"]);
}

#[tokio::test]
async fn a_receiver_gets_each_part_signed_and_the_same_for_every_try() {
    let receiver = FakeReceiver::start().await.unwrap();
    let client = http_client().unwrap();
    let secrets = vec![
        Secret::new(FakeReceiver::OUTBOUND_SECRET),
        Secret::new("whsec_bmV4dC1vdXRib3VuZC1zZWNyZXQtMDAwMQ=="),
    ];
    let credentials = Credentials::Generic {
        inbound: secrets.clone(),
        outbound: secrets.clone(),
        url: receiver.url(),
    };
    let mut reply = part("customer-17", buttons());
    reply.body.reply_to = Some("m-1".to_owned());
    reply.body.ext = vec![
        ("page".to_owned(), "\"/pricing\"".to_owned()),
        ("broken".to_owned(), "{".to_owned()),
    ];
    let later = NOW.plus(Duration::from_secs(400));
    for now in [NOW, later] {
        let delivery = channel::send(&client, &credentials, &reply, now).await;
        assert_eq!(told(delivery), ("sent".to_owned(), String::new()));
        let webhook = receiver.received().await;
        let signatures = webhook.headers["webhook-signature"].to_str().unwrap();
        assert_eq!(signatures.split(' ').count(), 2);
        for secret in &secrets {
            // A receiver that knows only one of the two secrets believes it.
            let knows_one = Credentials::Generic {
                inbound: vec![secret.clone()],
                outbound: vec![],
                url: String::new(),
            };
            channel::verify(&knows_one, &webhook.headers, &webhook.bytes, now).unwrap();
        }
        assert_eq!(webhook.headers["webhook-id"], reply.id.as_str());
    }
    let [first, second] = &receiver.webhooks()[..] else {
        panic!("two webhooks");
    };
    assert_eq!(first.bytes, second.bytes);
    insta::assert_snapshot!("generic_request", format!("{:#}", first.json));
}

#[tokio::test]
async fn what_a_receiver_answers_decides_what_becomes_of_a_part() {
    let receiver = FakeReceiver::start().await.unwrap();
    let client = http_client().unwrap();
    let status = |status| ReceiverAnswer::Status {
        status,
        retry_after: None,
    };
    let asks = |status| ReceiverAnswer::Status {
        status,
        retry_after: Some(Duration::from_secs(30)),
    };
    for (answer, expected) in [
        (status(204), "sent"),
        (status(302), "dead device"),
        (status(400), "dead message"),
        (status(401), "dead message"),
        (status(410), "dead device"),
        (status(408), "retry"),
        (asks(429), "retry after 30s"),
        (status(500), "retry"),
        (asks(503), "retry after 30s"),
        (ReceiverAnswer::Cut, "unknown"),
    ] {
        receiver.script([answer]);
        let part = part("customer-17", text("hello"));
        let delivery = channel::send(&client, &receiver.credentials(), &part, NOW).await;
        let (class, why) = told(delivery);
        assert_eq!(class, expected, "{answer:?}: {why}");
    }
    for (url, outbound) in [
        ("file:///etc/passwd", FakeReceiver::OUTBOUND_SECRET),
        ("not a url", FakeReceiver::OUTBOUND_SECRET),
        (receiver.url().as_str(), "whsec_"),
    ] {
        let credentials = Credentials::Generic {
            inbound: vec![],
            outbound: vec![Secret::new(outbound)],
            url: url.to_owned(),
        };
        let part = part("customer-17", text("hello"));
        let delivery = channel::send(&client, &credentials, &part, NOW).await;
        assert_eq!(told(delivery).0, "dead device", "{url}");
    }
}
