//! A host that runs, and what it says.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use nodepath::cli::demo::webhooks::Webhook;
use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr};
use tokio::sync::watch;

use crate::site::{DEVICE, PATIENCE, Site, post};

/// What a host says that does.
const TAKES_WEBHOOKS: &str = "serve: taking webhooks";

/// A running host. It is killed when it is dropped.
pub(crate) struct Process<'a> {
    site: &'a Site,
    url: String,
    admin_url: String,
    child: Child,
    log: Log,
}

impl<'a> Process<'a> {
    /// Waits until it takes webhooks.
    pub(crate) async fn ready(site: &'a Site, child: Child, log: Log) -> Self {
        let line = log
            .until("that it takes webhooks", |line| {
                line["fields"].get("listen").is_some()
            })
            .await;
        let address = |name: &str| format!("http://{}", line["fields"][name].as_str().unwrap());
        Self {
            site,
            url: address("listen"),
            admin_url: address("admin_listen"),
            child,
            log,
        }
    }

    /// Its id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Delivers a webhook, signed, and expects that it is taken.
    pub(crate) async fn receives(&self, webhook: &Webhook) -> Value {
        let (status, body) = self.delivers(webhook).await.expect("the host answers");
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Delivers a webhook, signed; none if the host went away before it answered.
    pub(crate) async fn delivers(&self, webhook: &Webhook) -> Option<(StatusCode, String)> {
        self.site.deliver(&self.url, webhook).await
    }

    /// Delivers a webhook with another signature.
    pub(crate) async fn delivers_signed(
        &self,
        webhook: &Webhook,
        signature: &str,
    ) -> Option<(StatusCode, String)> {
        let url = format!("{}/webhooks/{DEVICE}", self.url);
        post(&self.site.client, &url, webhook.body(), signature).await
    }

    /// Opens a connection, says this, and no more.
    pub(crate) async fn connects(&self, words: &str) -> tokio::net::TcpStream {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        stream
    }

    /// Where it takes webhooks.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// The figure of this name, with its labels.
    pub(crate) async fn figure(&self, name: &str) -> f64 {
        let url = format!("{}/metrics", self.admin_url);
        let text = self
            .site
            .client
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits for a log line that contains these words.
    pub(crate) async fn says(&self, words: &str) -> Value {
        self.log.says(words).await
    }

    /// `kill -9`.
    pub(crate) async fn kill(self) {
        let status = self.ends_by(Signal::KILL).await;
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) async fn terminate(self) -> ExitStatus {
        self.ends_by(Signal::TERM).await
    }

    /// Sends a signal, if it is still there.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.id()).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    async fn ends_by(self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.ends().await
    }

    /// Waits until the process has reached the place that `serve_until` named.
    pub(crate) async fn dies(self) {
        assert_eq!(self.ends().await.signal(), Some(Signal::KILL.as_raw()));
    }

    /// Waits until it is gone.
    pub(crate) async fn has_died(&mut self) {
        self.child.wait().await.unwrap();
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ends(mut self) -> ExitStatus {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status.expect("the host ends").unwrap();
        let text = self.log.whole().await;
        self.site.heard(&text);
        status
    }
}

/// What a process writes to standard error, line by line.
#[derive(Clone)]
pub(crate) struct Log {
    lines: watch::Receiver<Vec<String>>,
}

impl Log {
    /// Listens until the process ends.
    pub(crate) fn read(stderr: ChildStderr) -> Self {
        let (heard, lines) = watch::channel(Vec::new());
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with the process that it listens to"
        )]
        tokio::spawn(async move {
            let mut source = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = source.next_line().await {
                heard.send_modify(|lines| lines.push(line));
            }
        });
        Self { lines }
    }

    /// Waits for a line that contains these words.
    pub(crate) async fn says(&self, words: &str) -> Value {
        let contains = |line: &Value| line["message"].as_str().is_some_and(|m| m.contains(words));
        self.until(words, contains).await
    }

    /// Waits until the host takes webhooks.
    pub(crate) async fn takes_webhooks(&self) {
        let mut lines = self.lines.clone();
        let takes = |lines: &Vec<String>| lines.iter().any(|line| line.contains(TAKES_WEBHOOKS));
        // One that ends instead is noticed by its end.
        if lines.wait_for(takes).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut lines = self.lines.clone();
        let find = |lines: &Vec<String>| {
            let parsed = lines
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok());
            parsed.into_iter().find(|line| wanted(line))
        };
        let found =
            tokio::time::timeout(PATIENCE, lines.wait_for(|lines| find(lines).is_some())).await;
        match found {
            Ok(Ok(lines)) => find(&lines).unwrap(),
            _ => panic!("the host never said {what:?}: {:#?}", *self.lines.borrow()),
        }
    }

    /// Everything, once the process has ended.
    pub(crate) async fn whole(&mut self) -> String {
        // The sender is dropped at the end of the output.
        while self.lines.changed().await.is_ok() {}
        self.lines.borrow().join("\n")
    }
}
