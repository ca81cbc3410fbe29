//! `kill -9` in the middle, and what the next start makes of it.

use std::time::Duration;

use nodepath::cli::demo::provider::Answer;

use crate::site::{Setup, Site, text, texts, think_ms};

#[tokio::test]
async fn a_turn_that_was_killed_runs_again_and_is_answered_once() {
    let site = Setup::pondering(Duration::from_secs(20))
        .set("budget.wall=60s")
        .site()
        .await;
    let host = site.serve().await;
    host.receives(&text("wamid.1", "hello")).await;
    host.says("Session lock acquired").await;
    site.provider.wait_for_presence(1).await;
    host.kill().await;
    // The row of the dead process is still there; nobody has it.
    assert_eq!(site.locks().await, 1);

    site.run(&[
        "device",
        "set",
        "shop",
        "--plugin-config",
        &think_ms(Duration::ZERO),
    ])
    .await;
    let host = site.serve().await;
    let line = host
        .says("of the last host, which ended in the middle")
        .await;
    assert_eq!(
        (&line["fields"]["turns"], &line["fields"]["unknown_parts"]),
        (&1.into(), &0.into())
    );
    assert_eq!(
        site.provider.sent().await.text.as_deref(),
        Some("You said: hello")
    );
    let detail = site.until_idle().await;
    assert_eq!(
        (site.locks().await, detail.inbox[0].state.as_str()),
        (0, "done")
    );
    assert_eq!(
        host.figure("nodepath_session_locks_recovered_total").await,
        1.0
    );
    let answer = host.receives(&text("wamid.1", "hello")).await;
    assert_eq!(answer["duplicates"], 1);
    assert!(host.terminate().await.success());
    assert_eq!(site.provider.requests().len(), 1);
}

#[tokio::test]
async fn messages_that_waited_behind_a_killed_turn_are_answered_with_it() {
    let site = Setup::pondering(Duration::from_secs(20))
        .set("overlap=queue")
        .set("budget.wall=60s")
        .site()
        .await;
    let host = site.serve().await;
    host.receives(&text("wamid.1", "one")).await;
    site.provider.wait_for_presence(1).await;
    host.receives(&text("wamid.2", "two")).await;
    host.receives(&text("wamid.3", "three")).await;
    host.kill().await;

    site.run(&[
        "device",
        "set",
        "shop",
        "--plugin-config",
        &think_ms(Duration::ZERO),
    ])
    .await;
    let host = site.serve().await;
    site.until_idle().await;
    assert!(host.terminate().await.success());
    assert_eq!(
        texts(&site.provider.taken()),
        ["You said: one / two / three"]
    );
}

#[tokio::test]
async fn a_part_that_was_on_its_way_is_not_sent_again_and_its_status_settles_it() {
    let site = Setup::plugin("echo").set("unknown_window=60s").site().await;
    killed_while_the_answer_is_awaited(&site, Answer::TakeAndStall).await;

    let host = site.serve().await;
    let detail = site
        .until("in doubt", |c| c.outbox[0].state == "unknown")
        .await;
    // While nobody knows, the conversation stays locked, so that no later reply overtakes this one.
    assert_eq!(
        (detail.summary.state.as_str(), site.locks().await),
        ("sending", 1)
    );
    host.receives(&text("wamid.2", "still there?")).await;
    let first = site.provider.taken().remove(0);
    host.receives(&site.status_of(&first, "delivered")).await;
    let detail = site.until_idle().await;
    assert!(host.terminate().await.success());
    let [second, first] = &detail.outbox[..] else {
        panic!("{detail:#?}");
    };
    assert_eq!(
        (
            first.state.as_str(),
            first.status.as_deref(),
            first.attempts
        ),
        ("sent", Some("delivered"), 1)
    );
    assert_eq!(second.state, "sent");
    assert_eq!(
        texts(&site.provider.taken()),
        ["You said: hello", "You said: still there?"]
    );
}

#[tokio::test]
async fn a_part_in_doubt_of_which_nobody_tells_is_held_and_the_conversation_goes_on() {
    let site = Setup::plugin("echo")
        .set("unknown_window=200ms")
        .site()
        .await;
    killed_while_the_answer_is_awaited(&site, Answer::LoseAndStall).await;

    let host = site.serve().await;
    let detail = site.until_idle().await;
    assert_eq!(detail.outbox[0].state, "held");
    let dead = site.json(&["dead", "list"]).await;
    assert_eq!(
        (&dead[0]["id"], &dead[0]["state"]),
        (&detail.outbox[0].id.as_str().into(), &"held".into())
    );
    host.receives(&text("wamid.2", "still there?")).await;
    assert_eq!(
        site.provider.sent().await.text.as_deref(),
        Some("You said: still there?")
    );
    site.until_idle().await;
    // An operator who knows that it did not arrive has it sent.
    site.run(&["dead", "replay", &detail.outbox[0].id]).await;
    assert_eq!(
        site.provider.sent().await.text.as_deref(),
        Some("You said: hello")
    );
    site.until_idle().await;
    assert!(host.terminate().await.success());
    assert_eq!(site.provider.taken().len(), 2);
}

#[tokio::test]
async fn a_part_in_doubt_is_sent_again_where_the_device_says_so() {
    let site = Setup::plugin("echo")
        .set("unknown_window=200ms")
        .set("unknown=resend")
        .site()
        .await;
    killed_while_the_answer_is_awaited(&site, Answer::LoseAndStall).await;

    let host = site.serve().await;
    let detail = site.until_idle().await;
    assert!(host.terminate().await.success());
    assert_eq!(
        (detail.outbox[0].state.as_str(), detail.outbox[0].attempts),
        ("sent", 2)
    );
    assert_eq!(texts(&site.provider.taken()), ["You said: hello"]);
}

/// Sends "hello", and kills the host while the provider, which may or may not have taken the reply, owes it an answer.
async fn killed_while_the_answer_is_awaited(site: &Site, answer: Answer) {
    site.provider.script([answer]);
    let host = site.serve().await;
    host.receives(&text("wamid.1", "hello")).await;
    site.provider.wait_for_requests(1).await;
    host.kill().await;
}

#[tokio::test]
async fn a_timer_that_fell_due_while_nobody_ran_fires_once() {
    let site = Setup::plugin("test-script").site().await;
    let host = site.serve().await;
    host.receives(&text("wamid.1", "reply set; timer reminder 100 now"))
        .await;
    site.provider.sent().await;
    site.until_idle().await;
    host.kill().await;

    let host = site.serve().await;
    assert_eq!(
        site.provider.sent().await.text.as_deref(),
        Some("timer reminder now")
    );
    let detail = site.until_idle().await;
    assert!(detail.timers.is_empty(), "{detail:#?}");
    assert!(host.terminate().await.success());
    assert_eq!(texts(&site.provider.taken()), ["set", "timer reminder now"]);
}

#[tokio::test]
async fn a_second_process_on_the_same_database_refuses_to_start_and_names_the_first() {
    let site = Setup::plugin("echo").site().await;
    let host = site.serve().await;
    let refused = site.output(&["serve"]).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said.contains(&format!(
            "in use by another nodepath process (id {})",
            host.id()
        )),
        "{said}"
    );
    // The first has not noticed.
    host.receives(&text("wamid.1", "hello")).await;
    site.provider.sent().await;
    site.until_idle().await;
    host.kill().await;
    // The kernel has freed the lock, so nobody has to clean up.
    let host = site.serve().await;
    site.until_idle().await;
    assert!(host.terminate().await.success());
}

#[tokio::test]
async fn a_message_that_ends_the_host_every_time_goes_to_the_dead_letters() {
    let site = Setup::plugin("echo").set("max_attempts=2").site().await;
    let host = site.serve_until("turn.attempt").await;
    host.delivers(&text("wamid.1", "poison")).await;
    host.dies().await;
    site.serve_or_die("turn.attempt").await;

    let host = site.serve().await;
    let detail = site.until_idle().await;
    let reason = "host: the host ended 2 times while the turn ran";
    assert_eq!(
        (
            detail.inbox[0].state.as_str(),
            detail.inbox[0].reason.as_deref()
        ),
        ("dead", Some(reason))
    );
    host.receives(&text("wamid.2", "hello")).await;
    assert_eq!(
        site.provider.sent().await.text.as_deref(),
        Some("You said: hello")
    );
    site.until_idle().await;
    assert!(host.terminate().await.success());
}

#[tokio::test]
async fn a_host_starts_while_doctor_looks_whether_there_is_one() {
    let site = Setup::plugin("echo").site().await;
    // What `doctor` does for a moment.
    let looked_at = std::fs::File::create(site.path("data/nodepath.db.lock")).unwrap();
    looked_at.lock_shared().unwrap();
    let host = site
        .serve_after("is locked; looking again", || drop(looked_at))
        .await;
    assert!(host.terminate().await.success());
}

#[tokio::test]
async fn log_lines_go_to_a_new_file_after_a_rotation_by_renaming() {
    let site = Setup::plugin("echo").site().await;
    let host = site.serve().await;
    let (file, renamed) = (site.path("logs/app.log"), site.path("logs/app.log.1"));
    std::fs::rename(&file, &renamed).unwrap();
    let mut messages = 0;
    // It is noticed within a second of lines, so there must be lines.
    while !file.exists() {
        messages += 1;
        host.receives(&text(
            &format!("wamid.{messages}"),
            &format!("text {messages}"),
        ))
        .await;
        site.provider.sent().await;
        site.until_idle().await;
    }
    assert!(host.terminate().await.success());
    let lines = |path| std::fs::read_to_string(path).unwrap();
    let all = lines(renamed) + &lines(file);
    assert_eq!(all.matches("Session lock released").count(), messages);
}
