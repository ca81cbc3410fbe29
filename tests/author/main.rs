//! The way of a plugin's author, with the README alone: its commands are taken from there and run as they stand, with
//! `cargo component build`, the real executable, and a receiver of the replies.
//!
//! `cargo xtask test` prepares the compiler for WebAssembly and cargo-component, and names them in `XTASK_AUTHOR_PATH`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what is not as expected fails the test"
)]

mod readme;
mod shell;

use std::path::{Path, PathBuf};

use nodepath::cli::demo::receiver::{FakeReceiver, Webhook};
use serde_json::Value;

use readme::{Step, steps};
use shell::{Shell, author_path, tool};

/// Where the README's receiver and its host are. Only these are replaced, since a test can't know which ports are free.
const README_RECEIVER: &str = "http://127.0.0.1:9000/replies";
const README_HOST: &str = "127.0.0.1:8080";

#[tokio::test]
async fn from_nothing_to_the_reply_of_ones_own_plugin_by_the_commands_of_the_readme() {
    let receiver = FakeReceiver::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut shell = Shell::start(dir.path()).await;
    let steps = steps(&readme::section("Your own plugin, from nothing to a reply"));
    let mut said = Said::default();
    for step in &steps {
        take(&mut shell, &mut said, step, &receiver).await;
    }
    assert_eq!(
        said.reached,
        [
            "new", "cd", "build", "check", "chat", "add", "device", "serve", "curl"
        ]
    );

    let reply = receiver.received().await;
    assert_eq!(reply.json["type"], "message.reply");
    assert_eq!(reply.json["data"]["message"]["text"], "You said: Hello");
    assert_eq!(
        reply.headers["webhook-signature"],
        said.signature_of(&reply)
    );
    let list = shell.run("nodepath conversation list --json").await;
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(
        (&list[0]["device"], &list[0]["turns"]),
        (&"shop".into(), &1.into())
    );
    let id = list[0]["id"].as_str().unwrap();
    let shown = shell.run(&format!("nodepath conversation show {id}")).await;
    assert!(shown.contains("You said: Hello"), "{shown}");
    shell.stop_host().await;
}

/// What the commands have said that later ones, or the test, need.
#[derive(Default)]
struct Said {
    reached: Vec<&'static str>,
    inbound: String,
    outbound: String,
    host: String,
}

impl Said {
    /// What Standard Webhooks signs: the id, the time and the body.
    fn signature_of(&self, webhook: &Webhook) -> String {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD as BASE64;
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let key = BASE64
            .decode(self.outbound.strip_prefix("whsec_").unwrap())
            .unwrap();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
        for header in ["webhook-id", "webhook-timestamp"] {
            mac.update(webhook.headers[header].as_bytes());
            mac.update(b".");
        }
        mac.update(&webhook.bytes);
        format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
    }
}

/// Runs one command of the README and checks what matters of its answer.
async fn take(shell: &mut Shell, said: &mut Said, step: &Step, receiver: &FakeReceiver) {
    let command = step.command.replace(README_RECEIVER, &receiver.url());
    let words: Vec<_> = command.split_whitespace().collect();
    match words[..] {
        ["nodepath", "plugin", "new", ..] => {
            shell.run(&command).await;
            said.reached.push("new");
        }
        ["cd", folder] => {
            shell.run(&command).await;
            shell.share_target(folder);
            said.reached.push("cd");
        }
        ["cargo", "component", "build", ..] => {
            shell.run(&command).await;
            said.reached.push("build");
        }
        ["nodepath", "plugin", "check", _] => {
            let text = shell.run(&command).await;
            assert!(text.contains("It would run here."), "{text}");
            said.reached.push("check");
        }
        ["nodepath", "chat", _] => {
            let text = shell
                .run_with_input(&command, "Hello\nHow are you?\n")
                .await;
            assert!(
                text.contains("You said: Hello") && text.contains("You said: How are you?"),
                "{text}"
            );
            said.reached.push("chat");
        }
        ["nodepath", "plugin", "add", ..] => {
            shell.run(&command).await;
            said.reached.push("add");
        }
        ["nodepath", "device", "add", ..] => {
            let text = shell.run(&command).await;
            let secret = |name: &str| {
                text.lines()
                    .find_map(|l| l.strip_prefix(name))
                    .unwrap()
                    .trim()
                    .to_owned()
            };
            (said.inbound, said.outbound) = (secret("inbound"), secret("outbound"));
            said.reached.push("device");
        }
        ["nodepath", "serve"] => {
            said.host = shell.serve(&command).await;
            said.reached.push("serve");
        }
        ["secret=whsec_...", ..] => {
            shell
                .run(&command.replace("whsec_...", &said.inbound))
                .await;
        }
        ["curl", ..] => {
            let answer = shell.run(&command.replace(README_HOST, &said.host)).await;
            assert_eq!(
                answer.trim(),
                step.output,
                "the README shows another answer"
            );
            said.reached.push("curl");
        }
        _ => {
            let text = shell.run(&command).await;
            assert!(
                step.output.is_empty() || text.contains(&step.output),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn cargo_component_builds_the_plugins_of_this_project_as_they_stand() {
    let mut shell = Shell::start(&checkout().join("plugins")).await;
    let target = tool("plugins-target");
    shell
        .run(&format!("export CARGO_TARGET_DIR='{}'", target.display()))
        .await;
    shell
        .run("cargo component build --release --locked -p echo -p menu")
        .await;
    for plugin in ["echo", "menu"] {
        let component = target
            .join("wasm32-wasip1/release")
            .join(plugin)
            .with_extension("wasm");
        let text = shell
            .run(&format!(
                "nodepath plugin check --json '{}'",
                component.display()
            ))
            .await;
        let checked: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&checked["ok"], &checked["name"]),
            (&true.into(), &plugin.into())
        );
    }
}

#[tokio::test]
async fn check_says_what_to_do_with_what_is_no_component() {
    let dir = tempfile::tempdir().unwrap();
    let mut shell = Shell::start(dir.path()).await;
    // What `cargo build --target wasm32-wasip1` leaves: a core module.
    std::fs::write(dir.path().join("module.wasm"), b"\0asm\x01\0\0\0").unwrap();
    std::fs::write(dir.path().join("garbage.wasm"), "#!/bin/sh\n").unwrap();
    let module = shell.fails("nodepath plugin check module.wasm", 1).await;
    assert!(module.contains("cargo component build"), "{module}");
    let garbage = shell.fails("nodepath plugin check garbage.wasm", 1).await;
    assert!(garbage.contains("garbage.wasm would not run"), "{garbage}");
    let missing = shell.fails("nodepath plugin check missing.wasm", 1).await;
    assert!(
        missing.contains("can't read missing.wasm; `cargo component build --release` writes"),
        "{missing}"
    );
}

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

#[test]
fn the_author_s_rustup_downloads_nothing() {
    let refused = std::process::Command::new(author_path().join("rustup"))
        .args(["target", "add", "wasm32-wasip1"])
        .output()
        .unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("refused to download"));
}
