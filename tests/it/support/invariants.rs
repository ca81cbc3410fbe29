//! What must hold in every database that a host has left, whatever the test did.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use nodepath::cli::demo::provider::FakeWhatsApp;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

/// What it is called, and a query for what breaks it.
const NEVER: [(&str, &str); 12] = [
    (
        "a stop leaves no turn",
        "SELECT id FROM conversation WHERE state = 'running' OR owner IS NOT NULL AND state IN ('idle', 'waiting')",
    ),
    (
        "a lock that is left is there for a part that is still to go out",
        "SELECT id FROM conversation WHERE state = 'sending' AND NOT EXISTS (
             SELECT 1 FROM outbox WHERE conversation = conversation.id AND state IN ('queued', 'sending', 'unknown'))",
    ),
    (
        "a part that is still to go out holds its lock, unless an operator sends it again",
        "SELECT outbox.id FROM outbox JOIN conversation ON conversation.id = outbox.conversation
         WHERE outbox.state IN ('queued', 'sending', 'unknown') AND outbox.error IS NULL AND conversation.state <> 'sending'",
    ),
    (
        "I1: every message that counts is pending, or settled with a word about it",
        "SELECT id FROM inbox WHERE state IN ('skipped', 'absorbed', 'dead', 'ignored') AND reason IS NULL",
    ),
    (
        "I2: no message twice",
        "SELECT provider_message_id FROM inbox WHERE provider_message_id IS NOT NULL
         GROUP BY device, provider_message_id HAVING COUNT(*) > 1",
    ),
    (
        "I3: epochs rise",
        "SELECT b.id FROM turn AS a JOIN turn AS b ON b.conversation = a.conversation AND b.rowid > a.rowid
         WHERE b.epoch <= a.epoch",
    ),
    (
        "I5: no message is both pending and done",
        "SELECT id FROM inbox WHERE state = 'pending' AND (turn IS NOT NULL OR settled_at IS NOT NULL)",
    ),
    (
        "I5: what is done was done by a turn that committed",
        "SELECT id FROM inbox WHERE state = 'done' AND NOT EXISTS (
             SELECT 1 FROM turn WHERE turn.id = inbox.turn AND turn.conversation = inbox.conversation
                 AND turn.outcome = 'committed')",
    ),
    (
        "I5: parts are those of a turn that decided",
        "SELECT id FROM outbox WHERE NOT EXISTS (
             SELECT 1 FROM turn WHERE turn.id = outbox.turn AND turn.conversation = outbox.conversation
                 AND turn.outcome NOT IN ('superseded', 'taken_over', 'conflict', 'handed_back', 'retry'))",
    ),
    (
        "I5: the parts of a turn are numbered without a gap",
        "SELECT turn FROM outbox GROUP BY turn HAVING COUNT(*) <> MAX(idx) + 1 OR COUNT(DISTINCT idx) <> COUNT(*)",
    ),
    (
        "I7: nothing is pending in an idle conversation",
        "SELECT inbox.id FROM inbox JOIN conversation ON conversation.id = inbox.conversation
         WHERE inbox.state = 'pending' AND conversation.state = 'idle'",
    ),
    (
        "a conversation that waits knows for how long",
        "SELECT id FROM conversation WHERE state = 'waiting' AND ready_at IS NULL",
    ),
];

/// Checks the database, and compares it with what the provider saw.
pub(super) async fn check(database: &Path, provider: &FakeWhatsApp, may_send_twice: bool) {
    let options = SqliteConnectOptions::new().filename(database);
    let mut conn = options.connect().await.unwrap();
    for (rule, sql) in NEVER {
        let broken: Vec<(String,)> = sqlx::query_as(sql).fetch_all(&mut conn).await.unwrap();
        assert!(broken.is_empty(), "{rule}: broken by {broken:?}");
    }
    let seen: Vec<String> = provider
        .taken()
        .into_iter()
        .filter_map(|request| request.callback)
        .collect();
    let once: HashSet<&String> = seen.iter().collect();
    assert!(
        may_send_twice || once.len() == seen.len(),
        "I8: a part arrived twice: {seen:?}"
    );
    in_order(&mut conn, &seen).await;
}

/// I4: what arrived of a conversation came in the order of its turns and their parts, unless it was sent again by hand.
async fn in_order(conn: &mut SqliteConnection, seen: &[String]) {
    let sql = "SELECT outbox.conversation, outbox.id FROM outbox JOIN turn ON turn.id = outbox.turn
               WHERE outbox.id NOT IN (SELECT subject FROM audit WHERE action = 'dead.replay')
               ORDER BY outbox.conversation, turn.epoch, outbox.idx";
    let decided: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(conn).await.unwrap();
    let mut place: HashMap<&str, usize> = HashMap::new();
    for (at, id) in seen.iter().enumerate() {
        place.entry(id).or_insert(at);
    }
    let mut last: HashMap<&str, usize> = HashMap::new();
    for (conversation, id) in &decided {
        let Some(at) = place.get(id.as_str()) else {
            continue;
        };
        let before = last.insert(conversation, *at);
        assert!(
            before.is_none_or(|before| before < *at),
            "I4: {id} came too early: {seen:?}"
        );
    }
}
