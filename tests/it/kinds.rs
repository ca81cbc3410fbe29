//! Each kind of message, and each kind of prospect, as the plugin and the provider get to see them.

use nodepath::cli::demo::webhooks::Webhook;
use serde_json::json;

use crate::support::Setup;
use crate::webhook::{envelope, message, receives};

#[tokio::test]
async fn every_kind_of_message_reaches_the_plugin_as_the_contract_says() {
    let host = Setup::script().start().await;
    let file =
        |mime: &str| json!({ "mime_type": mime, "sha256": "c2hh", "id": "654", "caption": "look" });
    let contact =
        json!([{ "name": { "formatted_name": "Budi" }, "phones": [{ "phone": "+62 811" }] }]);
    for (n, (fields, expected)) in [
        (json!({ "type": "image", "image": file("image/jpeg") }), "image 654 image/jpeg look"),
        (
            json!({ "type": "audio", "audio": { "mime_type": "audio/ogg; codecs=opus", "id": "655", "voice": true } }),
            "audio 655 audio/ogg; codecs=opus",
        ),
        (
            json!({ "type": "video", "context": { "forwarded": true }, "video": file("video/mp4") }),
            "video 654 video/mp4 look",
        ),
        (
            json!({ "type": "document", "document": { "filename": "a.pdf", "mime_type": "application/pdf", "id": "656" } }),
            "document 656 application/pdf a.pdf",
        ),
        (
            json!({ "type": "sticker", "sticker": { "mime_type": "image/webp", "id": "657", "animated": false } }),
            "image 657 image/webp",
        ),
        (
            json!({ "type": "location", "location": { "latitude": 37.46, "longitude": -122.21, "name": "Here" } }),
            "location 37.46 -122.21 Here",
        ),
        (
            json!({ "type": "contacts", "contacts": contact }),
            r#"other contacts [{"name":{"formatted_name":"Budi"},"phones":[{"phone":"+62 811"}]}]"#,
        ),
        (
            json!({ "type": "interactive", "context": { "id": "wamid.0" },
                    "interactive": { "type": "button_reply", "button_reply": { "id": "yes", "title": "Yes" } } }),
            "chose yes Yes",
        ),
        (
            json!({ "type": "interactive",
                    "interactive": { "type": "list_reply", "list_reply": { "id": "row", "title": "Row", "description": "d" } } }),
            "chose row Row",
        ),
        (
            json!({ "type": "button", "button": { "payload": "again", "text": "Again" } }),
            "chose again Again",
        ),
        (
            json!({ "type": "order", "order": { "catalog_id": "1", "product_items": [] } }),
            r#"other order {"catalog_id":"1","product_items":[]}"#,
        ),
        (
            json!({ "type": "system", "system": { "body": "A changed", "type": "customer_identity_changed" } }),
            r#"other system {"body":"A changed","type":"customer_identity_changed"}"#,
        ),
        (
            json!({ "type": "edit", "edit": { "original_message_id": "wamid.0" } }),
            r#"other edit {"original_message_id":"wamid.0"}"#,
        ),
        (
            json!({ "type": "revoke", "revoke": { "original_message_id": "wamid.0" } }),
            r#"other revoke {"original_message_id":"wamid.0"}"#,
        ),
        (
            json!({ "type": "text", "text": { "body": "from an advertisement" },
                    "referral": { "source_url": "https://example.com/ad", "ctwa_clid": "c" } }),
            "from an advertisement",
        ),
        (json!({ "type": "poll", "poll": { "name": "p" } }), r#"other poll {"name":"p"}"#),
    ]
    .into_iter()
    .enumerate()
    {
        let item = message(&format!("wamid.{n}"), fields);
        receives(&host, &envelope(json!({ "messages": [item] }))).await;
        let said = host.provider.sent().await.text.unwrap();
        assert_eq!(said.trim_end(), format!("You said: {expected}"));
        host.until_idle().await;
    }
    host.stop().await;
}

#[tokio::test]
async fn one_who_has_no_number_is_answered_at_the_user_id() {
    let host = Setup::script().start().await;
    let user = "US.13491208655302741918";
    let item = json!({
        "from_user_id": user, "id": "wamid.1", "timestamp": "1760433330", "type": "text", "text": { "body": "hi" },
    });
    let contacts = json!([{ "profile": { "name": "Aminah" }, "user_id": user }]);
    receives(
        &host,
        &envelope(json!({ "contacts": contacts, "messages": [item] })),
    )
    .await;
    let reply = host.provider.sent().await;
    assert_eq!(reply.body["recipient"], user);
    host.stop().await;
}

/// A reply to the old number would not arrive.
#[tokio::test]
async fn one_who_has_a_new_number_is_answered_there_and_known_still() {
    let host = Setup::script().start().await;
    host.answers("wamid.1", "set conversation k kept; reply ok")
        .await;
    let new = "6289999999999";
    let news = message(
        "wamid.2",
        json!({ "type": "system", "system": { "body": "A changed", "type": "user_changed_number", "wa_id": new } }),
    );
    receives(
        &host,
        &envelope(json!({ "contacts": [], "messages": [news] })),
    )
    .await;
    assert_eq!(host.provider.wait_for(2).await[1].to, new);
    let text = Webhook::new().text(new, "wamid.3", "get conversation k", host.now());
    host.receives(text).await;
    let reply = host.provider.wait_for(3).await.remove(2);
    assert_eq!(
        (reply.to.as_str(), reply.text.as_deref()),
        (new, Some("k=kept"))
    );
    host.until_idle().await;
    host.stop().await;
}
