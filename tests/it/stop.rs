//! A host that is told to stop loses nothing and does nothing twice.

use std::time::Duration;

use nodepath::cli::demo::provider::FakeWhatsApp;
use nodepath::model::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Setup, TestHost, Trouble, outcomes, parts, states};

/// Waits until the host takes no more connections, which is after it has begun to drain.
async fn until_closed(host: &TestHost) {
    let address = host.url.trim_start_matches("http://").to_owned();
    while TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_turn_that_runs_ends_and_its_reply_leaves() {
    let mut host = Setup::script().makes_trouble().start().await;
    let trouble = Trouble::reads_hang();
    host.hears("wamid.1", "get tenant a; reply and more").await;
    host.until("running", |c| c.summary.state == "running")
        .await;
    host.begin_stop();
    until_closed(&host).await;
    drop(trouble);
    let stopped = host.stop().await;
    assert_eq!(stopped.provider.taken().len(), 2);
    let host = stopped.restart().await;
    let detail = host.until_idle().await;
    assert_eq!(outcomes(&detail), ["committed"]);
    assert_eq!(parts(&detail), ["sent", "sent"]);
    host.stop().await;
}

#[tokio::test]
async fn a_turn_that_is_stuck_is_handed_back_and_runs_once_after_the_restart() {
    let setup = Setup::script().makes_trouble();
    let host = setup.stop_deadline(Duration::from_millis(50)).start().await;
    let trouble = Trouble::reads_hang();
    host.hears("wamid.1", "get tenant a").await;
    host.until("running", |c| c.summary.state == "running")
        .await;
    let stopped = host.stop().await;
    drop(trouble);
    let host = stopped.restart().await;
    host.provider.sent().await;
    let detail = host.until_idle().await;
    assert_eq!(outcomes(&detail), ["handed_back", "committed"]);
    assert_eq!(
        detail.turns_run[0].attempt, 1,
        "handing back is no failed try"
    );
    assert_eq!(host.provider.requests().len(), 1);
    host.stop().await;
}

#[tokio::test]
async fn parts_that_have_not_begun_leave_after_the_restart_and_none_leaves_twice() {
    let setup = Setup::script().stop_deadline(Duration::from_millis(50));
    let mut host = setup.start().await;
    host.provider.hold();
    host.hears("wamid.1", "parts 3").await;
    host.provider.wait_for_arrivals(1).await;
    host.begin_stop();
    until_closed(&host).await;
    // The deadline passes while the first part is with the provider, which then takes it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    host.provider.release();
    let stopped = host.stop().await;
    assert_eq!(stopped.provider.taken().len(), 1);
    let host = stopped.restart().await;
    let taken = host.provider.wait_for(3).await;
    let texts: Vec<_> = taken.iter().filter_map(|m| m.text.as_deref()).collect();
    assert_eq!(texts, ["part 1", "part 2", "part 3"]);
    assert_eq!(parts(&host.until_idle().await), ["sent"; 3]);
    assert_eq!(host.provider.requests().len(), 3);
    host.stop().await;
}

/// A webhook whose first half came before the stop.
#[tokio::test]
async fn a_message_that_is_taken_while_the_host_stops_is_answered_after_the_restart() {
    let mut host = Setup::script().start().await;
    let webhook = host.text("wamid.1", "reply late");
    let (body, signature) = webhook.signed(&Secret::new(FakeWhatsApp::APP_SECRET));
    let address = host.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /webhooks/{} HTTP/1.1\r\nhost: nodepath\r\nx-hub-signature-256: {signature}\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        host.device,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The host asks for the body, so the request is in.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    host.begin_stop();
    until_closed(&host).await;
    stream.write_all(&body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let stopped = host.stop().await;
    assert_eq!(stopped.provider.requests(), []);
    let host = stopped.restart().await;
    assert_eq!(host.provider.sent().await.text.unwrap(), "late");
    let detail = host.until_idle().await;
    assert_eq!(states(&detail), ["done"]);
    host.stop().await;
}

/// What waits for its time waits on: a retry, a pause, a debounce.
#[tokio::test]
async fn what_is_put_off_stays_put_off_over_a_restart() {
    let setup = Setup::script().settings(|s| s.debounce_ms = 4_000);
    let host = setup.clock().start().await;
    host.hears("wamid.1", "reply hello").await;
    let stopped = host.stop().await;
    assert_eq!(stopped.provider.requests(), []);
    let host = stopped.restart().await;
    host.passes(Duration::from_millis(3_999));
    assert_eq!(host.detail().await.summary.state, "waiting");
    host.passes(Duration::from_millis(1));
    assert_eq!(host.provider.sent().await.text.unwrap(), "hello");
    host.until_idle().await;
    host.stop().await;
}
