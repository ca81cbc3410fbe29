//! What the rows of a store show. The SQL is what any database of the store understands.

use std::collections::HashMap;

use nodepath::model::effect::Scope;
use sqlx::FromRow;
use sqlx::sqlite::SqliteConnection;

use super::{Subject, translate};
use crate::reference::Picture;
use crate::words::Conv;

#[derive(FromRow)]
struct TalkRow {
    id: String,
    state: String,
    epoch: i64,
    has_owner: bool,
    attempts: i64,
    crashes: i64,
    restarts: i64,
    turns: i64,
    paused_until: Option<i64>,
    is_signalled: bool,
    first_pending_at: Option<i64>,
    ready_at: Option<i64>,
    is_in_sessions: bool,
    is_in_executions: bool,
}

#[derive(FromRow)]
struct LetterRow {
    id: String,
    device: String,
    provider_message_id: String,
    state: String,
    turn: Option<String>,
}

#[derive(FromRow)]
struct PartRow {
    id: String,
    state: String,
    status: Option<String>,
    attempts: i64,
    next_at: Option<i64>,
}

/// What a row of something small says: what sort of thing, whose, which, and its value.
type Small = (String, String, String, String);

const SMALL: &str = "
SELECT 'kept', owner, '', CAST(value AS TEXT) FROM plugin_state WHERE scope = 'conversation'
UNION ALL SELECT 'tag', conversation, '', value FROM tag
UNION ALL SELECT 'timer', conversation, name, CAST(due AS TEXT) FROM timer
UNION ALL SELECT 'counter of tenant', tenant, '', CAST(value AS TEXT) FROM plugin_state WHERE scope = 'tenant'
UNION ALL SELECT 'alert of device', id, '', CASE WHEN alert IS NULL THEN 'false' ELSE 'true' END FROM device";

/// What must never be, and a query for what breaks it.
const NEVER: [(&str, &str); 8] = [
    (
        "I2: a message has one row",
        "SELECT provider_message_id FROM inbox GROUP BY device, provider_message_id HAVING COUNT(*) > 1",
    ),
    (
        "I3: a turn commits once for each epoch",
        "SELECT conversation FROM turn WHERE outcome = 'committed' GROUP BY conversation, epoch HAVING COUNT(*) > 1",
    ),
    (
        "I4: one part of a conversation is under way",
        "SELECT conversation FROM outbox WHERE state = 'sending' GROUP BY conversation HAVING COUNT(*) > 1",
    ),
    (
        "I4: a part is under way only under the lock",
        "SELECT outbox.id FROM outbox JOIN conversation ON conversation.id = outbox.conversation
         WHERE outbox.state = 'sending' AND conversation.state <> 'sending'",
    ),
    (
        "I5: what is done was done by a turn that committed",
        "SELECT id FROM inbox WHERE state = 'done' AND NOT EXISTS (
             SELECT 1 FROM turn WHERE turn.id = inbox.turn AND turn.conversation = inbox.conversation
                 AND turn.outcome = 'committed')",
    ),
    (
        "I5: what is pending was settled by nobody",
        "SELECT id FROM inbox WHERE state = 'pending' AND (turn IS NOT NULL OR settled_at IS NOT NULL)",
    ),
    (
        "I7: nothing is pending in an idle conversation",
        "SELECT inbox.id FROM inbox JOIN conversation ON conversation.id = inbox.conversation
         WHERE inbox.state = 'pending' AND conversation.state = 'idle'",
    ),
    (
        "I9: a lock is there for a part that is to go out, or a turn",
        "SELECT id FROM conversation WHERE state = 'sending' AND NOT EXISTS (
             SELECT 1 FROM outbox WHERE conversation = conversation.id AND state IN ('queued', 'sending', 'unknown'))",
    ),
];

pub(super) async fn broken(rows: &mut SqliteConnection) -> Vec<(String, String)> {
    let all = NEVER.map(|(what, sql)| format!("SELECT '{what}', * FROM ({sql})"));
    let sql = all.join(" UNION ALL ");
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .fetch_all(rows)
        .await
        .unwrap()
}

pub(super) async fn picture(subject: &mut Subject) -> Picture {
    let mut picture = Picture::new();
    add_talks(subject, &mut picture).await;
    let names = add_letters(subject, &mut picture).await;
    add_parts(subject, &mut picture).await;
    for letter in subject.host.dead_letters(None, u32::MAX).await.unwrap() {
        let name = match subject.parts.get(&letter.id) {
            Some(piece) => format!("dead letter: part {piece:?}"),
            None => format!("dead letter: {}", names[&letter.id]),
        };
        picture.insert(name, letter.state);
    }
    picture
}

async fn add_talks(subject: &mut Subject, picture: &mut Picture) {
    let talks: Vec<TalkRow> = sqlx::query_as(
        "SELECT id, state, epoch, owner IS NOT NULL AS has_owner, attempts, crashes, restarts, turns, paused_until,
             signal IS NOT NULL AS is_signalled, first_pending_at, ready_at,
             EXISTS (SELECT 1 FROM ai_whatsapp_session_nodepath WHERE id_prospect = prospect AND id_device = device)
                 AS is_in_sessions,
             EXISTS (SELECT 1 FROM execution_process WHERE id_prospect = prospect AND id_device = device)
                 AS is_in_executions
         FROM conversation",
    )
    .fetch_all(&mut subject.rows)
    .await
    .unwrap();
    let convs = convs();
    let locks = subject.host.session_locks().await.unwrap().len();
    assert_eq!(locks, talks.iter().filter(|t| t.is_in_sessions).count());
    for talk in talks {
        add_talk(picture, convs[&talk.id], &talk);
    }
    let small: Vec<Small> = sqlx::query_as(SMALL)
        .fetch_all(&mut subject.rows)
        .await
        .unwrap();
    for (what, whose, which, value) in small {
        let name = match (convs.get(&whose), which.as_str()) {
            (Some(conv), "") => format!("conversation {conv:?} {what}"),
            (Some(conv), name) => {
                let number: u8 = translate::number(name);
                format!("conversation {conv:?} {what} {number}")
            }
            (None, _) => format!("{what} {}", place(subject, &whose)),
        };
        picture.insert(name, value);
    }
}

/// Of a tenant or a device.
fn place(subject: &Subject, id: &str) -> usize {
    let tenant = subject.tenants.iter().position(|t| t.as_str() == id);
    tenant.unwrap_or_else(|| translate::number(id))
}

fn convs() -> HashMap<String, Conv> {
    let all = (0..2).flat_map(|device| (0..2).map(move |prospect| Conv { device, prospect }));
    all.map(|conv| (translate::conversation_id(conv).to_string(), conv))
        .collect()
}

fn add_talk(picture: &mut Picture, conv: Conv, talk: &TalkRow) {
    let mut add = |what: &str, value: String| {
        picture.insert(format!("conversation {conv:?} {what}"), value);
    };
    add("state", talk.state.clone());
    add("epoch", talk.epoch.to_string());
    add("has an owner", talk.has_owner.to_string());
    let counts = format!(
        "{} attempts, {} crashes, {} restarts, {} turns",
        talk.attempts, talk.crashes, talk.restarts, talk.turns
    );
    add("counts", counts);
    add("paused until", format!("{:?}", talk.paused_until));
    add("signalled", talk.is_signalled.to_string());
    add("first pending at", format!("{:?}", talk.first_pending_at));
    if talk.state == "waiting" {
        add("ready at", talk.ready_at.unwrap().to_string());
    }
    if talk.is_in_sessions {
        add("in the view of sessions", "yes".to_owned());
    }
    if talk.is_in_executions {
        add("in the view of executions", "yes".to_owned());
    }
}

/// Answers what each message is called, by its id.
async fn add_letters(subject: &mut Subject, picture: &mut Picture) -> HashMap<String, String> {
    let letters: Vec<LetterRow> = sqlx::query_as(
        "SELECT id, device, provider_message_id, state, turn FROM inbox ORDER BY seq",
    )
    .fetch_all(&mut subject.rows)
    .await
    .unwrap();
    let mut names = HashMap::new();
    for (place, letter) in letters.into_iter().enumerate() {
        let id: u8 = translate::number(&letter.provider_message_id);
        let device: usize = translate::number(&letter.device);
        let name = format!("message {id} of device {device}");
        let turn = subject.conv_of_turn(letter.turn.as_ref());
        let what = format!("{} by {turn}, place {place}", letter.state);
        picture.insert(name.clone(), what);
        names.insert(letter.id, name);
    }
    names
}

async fn add_parts(subject: &mut Subject, picture: &mut Picture) {
    let sql = "SELECT id, state, status, attempts, next_at FROM outbox";
    let parts: Vec<PartRow> = sqlx::query_as(sql)
        .fetch_all(&mut subject.rows)
        .await
        .unwrap();
    for part in parts {
        let piece = subject.parts[&part.id];
        let what = format!(
            "{}, {}, {} tries, next at {:?}",
            part.state,
            part.status.unwrap_or("untold".to_owned()),
            part.attempts,
            part.next_at
        );
        picture.insert(format!("part {piece:?}"), what);
    }
}

impl Subject {
    pub(super) async fn counter_version(&self, conv: Conv) -> i64 {
        let (tenant, conversation) = (&self.tenants[conv.device], translate::conversation_id(conv));
        let prospect = translate::prospect_id(conv.prospect);
        let (scope, key) = (Scope::Tenant, translate::COUNTER);
        let kept = self.host.kept(tenant, &conversation, &prospect, scope, key);
        kept.await.unwrap().map_or(0, |kept| kept.version)
    }

    /// Our own id of a message, which only its row has.
    pub(super) async fn message_id(&mut self, device: usize, id: u8) -> String {
        let sql = "SELECT id FROM inbox WHERE device = $1 AND provider_message_id = $2";
        let row: Option<(String,)> = sqlx::query_as(sql)
            .bind(translate::device_id(device).to_string())
            .bind(format!("m{id}"))
            .fetch_optional(&mut self.rows)
            .await
            .unwrap();
        row.map_or("msg_none".to_owned(), |(id,)| id)
    }
}
