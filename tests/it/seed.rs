//! The seed document's own words, S4 to S25. What other files show is listed in `tests/README.md`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nodepath::cli::demo::provider::{Answer, FakeWhatsApp};
use nodepath::model::device::Overlap;
use nodepath::store::Retention;
use tokio::process::Command;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::support::{Log, PROSPECT, Setup, TestHost, Trouble, checkout, outcomes, states};

const FAILED_TO_ACQUIRE: &str = "ERROR 🔒 SESSION LOCK: Failed to acquire session lock";
const LOCKED: &str = "WARN  🔒 SESSION LOCK: Session already locked - duplicate message detected, skipping processing";
const ACQUIRED: &str = "INFO  🔒 SESSION LOCK: Session lock acquired - proceeding with processing";
const FAILED_TO_RELEASE: &str = "ERROR 🔒 SESSION LOCK: Failed to release session lock";
const RELEASED: &str = "INFO  🔒 SESSION LOCK: Session lock released successfully";

fn skip() -> Setup {
    Setup::script().settings(|s| s.overlap = Overlap::Skip)
}

/// Two identical messages, the second while the first is worked on.
async fn says_it_twice(host: &TestHost) {
    host.provider.hold();
    host.hears("wamid.1", "hello").await;
    host.provider.wait_for_arrivals(1).await;
    assert_eq!(host.hears("wamid.2", "hello").await["skipped"], 1);
    host.provider.release();
    host.provider.sent().await;
    host.until_idle().await;
}

async fn the_table(host: &TestHost) -> Vec<(String, String, String)> {
    let mut conn = host.connection().await;
    let rows = sqlx::query_as("SELECT * FROM ai_whatsapp_session_nodepath");
    rows.fetch_all(&mut conn).await.unwrap()
}

/// S15, S16, S4: `grep "SESSION LOCK" logs/app.log`
#[tokio::test]
async fn the_log_shows_acquired_already_locked_released() {
    let log = Log::start();
    let host = skip().device("dev_grep").start().await;
    says_it_twice(&host).await;
    let lines = log.until("SESSION LOCK", "id_device=dev_grep", 3).await;
    for (line, expected) in lines.iter().zip([ACQUIRED, LOCKED, RELEASED]) {
        assert!(line.starts_with(&format!("{expected} ")), "{line}");
        for field in ["id_prospect=*********7890", "from=*********7890"] {
            assert!(line.contains(field), "{line}");
        }
    }
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[1].contains("action=skipped"), "{}", lines[1]);
    host.stop().await;
}

/// The other two policies say in the same line what they do instead.
#[tokio::test]
async fn the_warning_says_what_becomes_of_the_message() {
    let log = Log::start();
    let setup = Setup::script().device("dev_actions").makes_trouble();
    let host = setup.settings(|s| s.max_restarts = 1).start().await;
    let trouble = Trouble::reads_hang();
    for (n, text) in ["get tenant a", "get tenant b", "get tenant c"]
        .into_iter()
        .enumerate()
    {
        host.hears(&format!("wamid.{n}"), text).await;
        host.until("running", |c| {
            c.summary.state == "running" && c.turns_run.len() == n.min(1)
        })
        .await;
    }
    drop(trouble);
    host.provider.wait_for(2).await;
    host.until_idle().await;
    let lines = log
        .until("already locked", "id_device=dev_actions", 2)
        .await;
    assert!(
        lines[0].starts_with(LOCKED) && lines[0].contains("action=restarted"),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].starts_with(LOCKED) && lines[1].contains("action=queued"),
        "{}",
        lines[1]
    );
    host.stop().await;
}

/// S4, S2: the lock can be neither taken nor released while another program holds the database.
#[tokio::test]
async fn the_log_shows_that_the_lock_could_not_be_taken_or_released() {
    let log = Log::start();
    let host = skip().device("dev_errors").start().await;
    host.provider.hold();
    host.hears("wamid.1", "reply hello").await;
    host.provider.wait_for_arrivals(1).await;
    let mut conn = host.connection().await;
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut conn)
        .await
        .unwrap();
    host.provider.release();
    host.provider.sent().await;
    let second = host.text("wamid.2", "reply never");
    assert_eq!(host.posts(&second).await.status(), 503);
    let failed = log
        .until("Failed to acquire", "id_device=dev_errors", 1)
        .await;
    assert!(failed[0].starts_with(FAILED_TO_ACQUIRE), "{}", failed[0]);
    let conversation = host.conversation();
    let failed = log
        .until("Failed to release", conversation.as_str(), 1)
        .await;
    assert!(failed[0].starts_with(FAILED_TO_RELEASE), "{}", failed[0]);
    assert_eq!(host.locks().await, 1);
    sqlx::query("ROLLBACK").execute(&mut conn).await.unwrap();
    let detail = host.until_idle().await;
    log.until(RELEASED, "id_device=dev_errors", 1).await;
    assert_eq!(
        states(&detail),
        ["done"],
        "the second was not taken, and not answered"
    );
    assert_eq!(host.provider.requests().len(), 1);
    host.stop().await;
}

/// S5: the stages of the original program, as spans.
#[tokio::test]
async fn a_message_passes_through_the_stages_in_their_order() {
    let spans = Spans::default();
    let _here =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    let host = Setup::script().start().await;
    host.answers("wamid.1", "reply hello").await;
    host.stop().await;
    let seen = spans.0.lock().unwrap().clone();
    let stages = ["webhook", "intake", "turn", "plugin", "delivery", "release"];
    let mut found: Vec<_> = seen
        .into_iter()
        .filter(|name| stages.contains(name))
        .collect();
    found.dedup();
    assert_eq!(found, stages);
}

/// Remembers the names of spans in the order in which they began.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<&'static str>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Spans {
    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        _: &tracing::span::Id,
        _: tracing_subscriber::layer::Context<'_, S>,
    ) {
        self.0.lock().unwrap().push(attributes.metadata().name());
    }
}

/// S6 to S12, S17: the seed's timeline and its example row, to the second.
#[tokio::test]
async fn the_seeds_timeline_and_its_table() {
    let host = skip().makes_trouble().clock().start().await;
    assert_eq!(the_table(&host).await, []);
    // T+0s
    let trouble = Trouble::reads_hang();
    host.hears("wamid.1", "get tenant a").await;
    host.until("running", |c| c.summary.state == "running")
        .await;
    let row = ("6281234567890", "device_123", "2025-10-14 09:15:30");
    let expected = (row.0.to_owned(), row.1.to_owned(), row.2.to_owned());
    assert_eq!(the_table(&host).await, std::slice::from_ref(&expected));
    // T+1s
    host.passes(Duration::from_secs(1));
    assert_eq!(
        host.hears("wamid.2", "another question").await["skipped"],
        1
    );
    assert_eq!(
        the_table(&host).await,
        [expected],
        "the lock is still the first's"
    );
    // T+5s
    host.passes(Duration::from_secs(4));
    drop(trouble);
    host.provider.sent().await;
    let detail = host.until_idle().await;
    assert_eq!(the_table(&host).await, []);
    assert_eq!(states(&detail), ["done", "skipped"]);
    assert_eq!(outcomes(&detail), ["committed"]);
    host.stop().await;
}

/// S13, S22: what is stale is the lock of a host that is gone, whatever its age; the lock of a live one never is.
#[tokio::test]
async fn a_live_hosts_lock_is_kept_after_31_seconds_and_a_dead_ones_is_free_at_once() {
    let host = skip().makes_trouble().clock().start().await;
    let trouble = Trouble::reads_hang();
    host.hears("wamid.1", "get tenant a").await;
    host.until("running", |c| c.summary.state == "running")
        .await;
    for seconds in [29, 2] {
        host.passes(Duration::from_secs(seconds));
        let id = format!("wamid.after-{seconds}");
        assert_eq!(host.hears(&id, "anybody?").await["skipped"], 1);
    }
    assert_eq!(host.executions().await, 1);
    let killed = host.as_if_killed();
    drop(trouble);
    host.provider.sent().await;
    host.until_idle().await;
    host.stop().await;
    // No time passes between the death and the next turn.
    let host = killed.restart().await;
    assert_eq!(host.provider.sent().await.text.unwrap(), "a is not set");
    let detail = host.until_idle().await;
    assert_eq!(states(&detail), ["done", "skipped", "skipped"]);
    assert_eq!(outcomes(&detail), ["committed"]);
    assert_eq!(host.locks().await, 0);
    host.stop().await;
}

/// S24, B2: the execution lock is the turn's, and the session lock is held until the reply is sent.
#[tokio::test]
async fn the_execution_lock_covers_the_turn_and_the_session_lock_the_reply_too() {
    let log = Log::start();
    let setup = skip().device("dev_two_locks").makes_trouble();
    let host = setup.start().await;
    let trouble = Trouble::reads_hang();
    host.provider.hold();
    host.hears("wamid.1", "get tenant a").await;
    host.until("running", |c| c.summary.state == "running")
        .await;
    assert_eq!((host.executions().await, host.locks().await), (1, 1));
    drop(trouble);
    host.provider.wait_for_arrivals(1).await;
    assert_eq!((host.executions().await, host.locks().await), (0, 1));
    host.provider.release();
    host.until_idle().await;
    assert_eq!((host.executions().await, host.locks().await), (0, 0));
    let lines = log
        .until("🔒 EXECUTION LOCK: ", "id_device=dev_two_locks", 1)
        .await;
    assert!(
        lines[0].starts_with("INFO  🔒 EXECUTION LOCK: "),
        "{}",
        lines[0]
    );
    host.stop().await;
}

/// S19: the words that the original program's database did not know.
#[tokio::test]
async fn the_tables_have_the_seeds_columns() {
    let host = Setup::script().start().await;
    let mut conn = host.connection().await;
    for (table, expected) in [
        (
            "ai_whatsapp_session_nodepath",
            vec!["id_prospect", "id_device", "timestamp"],
        ),
        (
            "execution_process",
            vec!["id_chat_input", "id_device", "id_prospect", "times"],
        ),
    ] {
        let columns: Vec<String> =
            sqlx::query_scalar("SELECT name FROM pragma_table_info($1) ORDER BY cid")
                .bind(table)
                .fetch_all(&mut conn)
                .await
                .unwrap();
        assert_eq!(columns, expected, "{table}");
    }
    host.stop().await;
}

/// S25: what an operator watches.
#[tokio::test]
async fn the_figures_of_the_lock_are_there_to_watch() {
    let _log = Log::start();
    let host = skip().start().await;
    says_it_twice(&host).await;
    let figures = host.client.get(format!("{}/metrics", host.admin_url));
    let text = figures.send().await.unwrap().text().await.unwrap();
    for name in [
        "nodepath_session_locks_acquired_total",
        "nodepath_session_locks_busy_total{action=\"skipped\"}",
        "nodepath_session_locks_active",
        "nodepath_session_lock_held_seconds_count",
        "nodepath_turns_total{outcome=\"commit\"}",
        "nodepath_parts_total{result=\"sent\"}",
    ] {
        assert!(text.contains(name), "{name} is missing:\n{text}");
    }
    host.stop().await;
}

/// B11, I2: an id is remembered for longer than Meta repeats itself, and then it goes.
#[tokio::test]
async fn old_rows_go_and_what_counts_stays() {
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    let keep = Retention {
        settled: DAY,
        dead: 90 * DAY,
    };
    let host = Setup::script().clock().start().await;
    host.answers("wamid.1", "reply hello").await;
    host.hears("wamid.2", "fail in a way").await;
    host.until("dead", |c| states(c) == ["done", "dead"]).await;
    host.passes(7 * DAY);
    assert_eq!(host.store.forget(keep).await.unwrap(), 0);
    assert_eq!(host.hears("wamid.1", "reply hello").await["duplicates"], 1);
    host.passes(2 * DAY);
    assert!(host.store.forget(keep).await.unwrap() > 0);
    let detail = host.detail().await;
    assert_eq!(states(&detail), ["dead"]);
    assert!(detail.outbox.is_empty() && detail.turns_run.is_empty());
    host.stop().await;
}

/// B9: what the original program wrote at error level.
#[tokio::test]
async fn a_log_tells_no_text_no_number_and_no_secret() {
    let log = Log::start();
    let host = Setup::script().device("dev_discreet").start().await;
    let refused = Answer::Refuse {
        code: 131_026,
        retry_after: None,
    };
    host.provider.script([refused]);
    host.hears("wamid.1", "reply my-private-words").await;
    host.provider.wait_for_requests(1).await;
    host.until_idle().await;
    host.hears("wamid.2", "fail in a way").await;
    host.until("dead", |c| states(c) == ["done", "dead"]).await;
    let unsigned = host.posts_raw("my-private-words", None).await;
    assert_eq!(unsigned.status(), 401);
    log.until("SESSION LOCK", "id_device=dev_discreet", 4).await;
    let text = std::fs::read_to_string(log.path()).unwrap();
    for secret in [
        "my-private-words",
        PROSPECT,
        FakeWhatsApp::APP_SECRET,
        FakeWhatsApp::ACCESS_TOKEN,
        FakeWhatsApp::VERIFY_TOKEN,
    ] {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
    host.stop().await;
}

/// Runs the script that anyone can run against a host.
async fn verify(host: &TestHost, log: &Log, secret: &str) -> (Option<i32>, String) {
    let run = Command::new(checkout("tests/verify-session-lock"))
        .args(["--url", &host.url, "--device", host.device.as_str()])
        .args(["--text", "delay 1500 hello", "--timeout", "20"])
        .arg("--database")
        .arg(host.database())
        .arg("--log")
        .arg(log.path())
        .env("APP_SECRET", secret)
        .output()
        .await
        .unwrap();
    let told = [run.stdout, run.stderr].concat();
    (run.status.code(), String::from_utf8(told).unwrap())
}

/// S18: the seed's three steps, by its script.
#[tokio::test]
async fn the_script_passes() {
    let log = Log::start();
    for (overlap, device) in [
        (Overlap::Skip, "dev_script_1"),
        (Overlap::Restart, "dev_script_2"),
    ] {
        let setup = Setup::script().settings(|s| s.overlap = overlap);
        let host = setup.device(device).start().await;
        let (code, told) = verify(&host, &log, FakeWhatsApp::APP_SECRET).await;
        assert_eq!(code, Some(0), "{told}");
        assert_eq!(told.matches("PASS  ").count(), 8, "{told}");
        assert_eq!(host.provider.taken().len(), 1);
        host.stop().await;
    }
}

#[tokio::test]
async fn the_script_fails_where_there_are_two_replies_and_where_the_secret_is_wrong() {
    let log = Log::start();
    let setup = Setup::script().settings(|s| {
        s.overlap = Overlap::Queue;
        s.duplicate_window_ms = 0;
    });
    let host = setup.device("dev_script_3").start().await;
    let (code, told) = verify(&host, &log, "another").await;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("FAIL  the first message is taken"), "{told}");
    let (code, told) = verify(&host, &log, FakeWhatsApp::APP_SECRET).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("FAIL  exactly ONE reply"), "{told}");
    host.stop().await;
}
