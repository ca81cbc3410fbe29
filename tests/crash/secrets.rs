//! What must not be seen is not seen: in no log, on no screen, and not in the database.

use std::path::Path;

use nodepath::cli::demo::provider::{Answer, FakeWhatsApp};
use nodepath::cli::demo::receiver::FakeReceiver;

use crate::site::{Setup, Site, text};

#[tokio::test]
async fn secrets_are_in_no_log_no_answer_and_not_plain_in_the_database() {
    let site = Setup::plugin("echo")
        .own_key()
        .environment("NODEPATH_LOG__FILTER", "trace")
        .site()
        .await;
    let made = a_generic_device(&site).await;
    everything_is_used(&site).await;
    every_command_speaks(&site).await;

    let key = std::fs::read_to_string(site.path("data/seal.key")).unwrap();
    let mut secrets = vec![
        FakeWhatsApp::APP_SECRET.to_owned(),
        FakeWhatsApp::ACCESS_TOKEN.to_owned(),
        FakeWhatsApp::VERIFY_TOKEN.to_owned(),
        key.trim().to_owned(),
    ];
    secrets.extend(
        made.iter()
            .map(|secret| secret.trim_start_matches("whsec_").to_owned()),
    );
    let said = site.said();
    let log = std::fs::read_to_string(site.path("logs/app.log")).unwrap();
    assert!(said.contains("SESSION LOCK") && log.contains("SESSION LOCK"));
    let files = files(&site.path("data"));
    assert!(
        files.iter().any(|(name, _)| name == "nodepath.db"),
        "the database is gone"
    );
    for secret in &secrets {
        assert!(
            !said.contains(secret),
            "it was printed: {}",
            around(&said, secret)
        );
        assert!(
            !log.contains(secret),
            "it was logged: {}",
            around(&log, secret)
        );
        for (name, bytes) in files.iter().filter(|(name, _)| name != "seal.key") {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{name} holds the secret {secret:?}");
        }
    }
}

/// A device whose secrets are made and shown once; this showing is not kept.
async fn a_generic_device(site: &Site) -> Vec<String> {
    let receiver = FakeReceiver::start().await.unwrap();
    let mut line = vec![
        "device",
        "add",
        "--tenant",
        "acme",
        "--channel",
        "generic",
        "--id",
        "web",
        "--json",
    ];
    let url = receiver.url();
    line.extend(["--plugin", "echo", "--url", &url]);
    let added: serde_json::Value = serde_json::from_str(&site.run_unheard(&line).await).unwrap();
    let made = &added["made"];
    ["inbound", "outbound"]
        .map(|name| made[name].as_str().unwrap().to_owned())
        .to_vec()
}

/// A conversation with all that can go wrong on the way, and a kill.
async fn everything_is_used(site: &Site) {
    let refused = Answer::Refuse {
        code: 190,
        retry_after: None,
    };
    site.provider
        .script([Answer::Take, refused, Answer::TakeAndCut]);
    let host = site.serve().await;
    for (i, words) in ["one", "two", "three"].into_iter().enumerate() {
        host.receives(&text(&format!("wamid.{i}"), words)).await;
        site.provider.wait_for_requests(i + 1).await;
        site.until("settled", |c| {
            c.outbox.len() == i + 1 && c.outbox[0].state != "sending"
        })
        .await;
    }
    let forged = host
        .delivers_signed(&text("wamid.9", "forged"), "sha256=00")
        .await;
    assert_eq!(forged.unwrap().0, reqwest::StatusCode::UNAUTHORIZED);
    host.figure("nodepath_parts_total").await;
    host.kill().await;
    assert!(site.serve().await.terminate().await.success());
}

async fn every_command_speaks(site: &Site) {
    let conversations = site.json(&["conversation", "list"]).await;
    let conversation = conversations[0]["id"].as_str().unwrap().to_owned();
    let lines: [&[&str]; 9] = [
        &["config"],
        &["doctor"],
        &["tenant", "list"],
        &["plugin", "list", "--tenant", "acme"],
        &["device", "list"],
        &["device", "show", "shop"],
        &["device", "show", "web"],
        &["conversation", "show", &conversation],
        &["dead", "list"],
    ];
    for line in lines {
        // `doctor` ends with 1 if something is wrong; what it says is what counts here.
        site.output(line).await;
        site.output(&[line, &["--json"]].concat()).await;
    }
    // A typing error must not repeat what was typed.
    let inline = site
        .output(&[
            "device",
            "credentials",
            "shop",
            "--access-token",
            FakeWhatsApp::ACCESS_TOKEN,
        ])
        .await;
    assert_eq!(inline.status.code(), Some(2));
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.path().is_file());
    files
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                std::fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

fn around<'a>(text: &'a str, secret: &str) -> &'a str {
    text.lines()
        .find(|line| line.contains(secret))
        .unwrap_or_default()
}
