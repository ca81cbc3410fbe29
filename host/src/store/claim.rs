//! What becomes of a conversation whose lock is free: its next turn, or silence.
//!
//! Promise I7: whoever frees a lock looks for what is pending in the same transaction, so nothing waits for a wake-up.

use std::collections::HashMap;

use rand::Rng as _;
use sqlx::sqlite::SqliteConnection;

use super::Error;
use super::group::{Entry, Group, Mark, Next, Notice};
use super::host::Work;
use super::observe::LockEvent;
use super::rows::{Row, StateWord, json_rows};
use super::writer::Stage;
use crate::model::inbound::InboundMessage;
use crate::model::overlap::State;
use crate::model::turn::PendingMessage;
use crate::model::{
    Claim, ConversationId, Device, Lock, MessageId, ProspectId, TimerId, Timestamp, Trigger, TurnId,
};

/// The most messages that one turn answers; what is beyond waits for the next. A plugin is given all of them in one list.
const MAX_MESSAGES_PER_TURN: i64 = 100;

/// What waits in a conversation, oldest first, and since when.
#[derive(Default)]
struct Pending {
    messages: Vec<PendingMessage>,
    since: Option<i64>,
}

type DueTimers = HashMap<String, Trigger>;

impl Group {
    pub(super) async fn claim(&mut self, conn: &mut SqliteConnection) -> Result<(), Error> {
        let free: Vec<_> = self
            .rows
            .iter()
            .filter(|(_, e)| e.next != Next::Stay)
            .map(|(id, _)| id.clone())
            .collect();
        if free.is_empty() {
            return Ok(());
        }
        let mut pending = self.load_pending(conn, &free).await?;
        let mut timers = load_due_timers(conn, &free, self.now).await?;
        for id in free {
            let pending = pending.remove(&id).unwrap_or_default();
            self.start(&id, pending, timers.remove(&id))?;
        }
        Ok(())
    }

    fn start(&mut self, id: &str, pending: Pending, timer: Option<Trigger>) -> Result<(), Error> {
        let Some(mut entry) = self.rows.remove(id) else {
            return Ok(());
        };
        if entry.is_locked() && entry.next == Next::Free {
            self.notices
                .push(Notice::Lock(LockEvent::released(&entry.row, self.now)));
        }
        let device = self.device(&entry.row.device)?;
        entry.row.first_pending_at = pending.since;
        let trigger = choose(&entry.row, pending.messages, timer);
        match trigger {
            _ if entry.row.is_paused(self.now.0) => {
                self.changes.absorb.insert(id.to_owned());
                rest(&mut entry.row);
            }
            None => rest(&mut entry.row),
            Some(_) if self.stage > Stage::Running => wait(&mut entry.row, self.now),
            Some(trigger) if entry.row.attempts >= i64::from(device.settings.max_attempts) => {
                self.bury(&mut entry.row, trigger);
            }
            Some(trigger) => {
                let claim = take(&mut entry, device.clone(), trigger, self.now);
                if entry.next == Next::Free {
                    self.notices
                        .push(Notice::Lock(LockEvent::acquired(&entry.row)));
                }
                self.notices.push(Notice::Work(Work::Run(Box::new(claim))));
            }
        }
        self.rows.insert(id.to_owned(), entry);
        Ok(())
    }

    /// What waits in these conversations. A message that can't be read, which an older program finds after a newer one, goes to
    /// the dead letters and keeps nobody waiting.
    async fn load_pending(
        &mut self,
        conn: &mut SqliteConnection,
        conversations: &[String],
    ) -> Result<HashMap<String, Pending>, Error> {
        let rows: Vec<(String, String, i64, i64, String)> = sqlx::query_as(
            "SELECT conversation, id, seq, received_at, message FROM (
                 SELECT conversation, id, seq, received_at, message,
                        ROW_NUMBER() OVER (PARTITION BY conversation ORDER BY seq) AS place
                 FROM inbox WHERE state = 'pending' AND conversation IN (SELECT value FROM json_each($1)))
             WHERE place <= $2 ORDER BY conversation, seq",
        )
        .bind(json_rows(conversations)?)
        .bind(MAX_MESSAGES_PER_TURN)
        .fetch_all(conn)
        .await?;
        let mut pending: HashMap<String, Pending> = HashMap::new();
        for (conversation, id, seq, received_at, message) in rows {
            match serde_json::from_str::<InboundMessage>(&message) {
                Ok(message) => {
                    let entry = pending.entry(conversation).or_default();
                    entry.since.get_or_insert(received_at);
                    entry.messages.push(PendingMessage {
                        id: MessageId::from_trusted(id),
                        seq,
                        message,
                    });
                }
                Err(error) => {
                    let reason = Some(format!("this program can't read it: {error}"));
                    self.changes.marks.push(Mark {
                        id,
                        state: "dead",
                        reason,
                        turn: None,
                    });
                }
            }
        }
        Ok(pending)
    }

    /// A turn that never came to an end, try after try: its messages take the host down with them.
    fn bury(&mut self, row: &mut Row, trigger: Trigger) {
        let reason = format!(
            "the turn was begun {} times and the host ended each time",
            row.attempts
        );
        match trigger {
            Trigger::Messages(messages) => {
                self.changes
                    .marks
                    .extend(messages.into_iter().map(|m| Mark {
                        id: m.id.to_string(),
                        state: "dead",
                        reason: Some(reason.clone()),
                        turn: None,
                    }))
            }
            Trigger::Timer { id, .. } => self.forget_timer(&id),
            Trigger::Signal { .. } => {}
        }
        row.signal = None;
        // Whatever else is pending is found by the next look at what is due.
        wait(row, self.now);
        row.attempts = 0;
    }
}

/// Messages come before a signal, and a signal before a timer: a prospect who writes must not wait for a reminder.
fn choose(row: &Row, messages: Vec<PendingMessage>, timer: Option<Trigger>) -> Option<Trigger> {
    if !messages.is_empty() {
        return Some(Trigger::Messages(messages));
    }
    let signal = row.signal.as_ref().map(|kind| Trigger::Signal {
        kind: kind.clone(),
        json: "{}".to_owned(),
    });
    signal.or(timer)
}

fn rest(row: &mut Row) {
    row.unlock(State::Idle);
    row.ready_at = None;
    row.first_pending_at = None;
    row.attempts = 0;
    row.restarts = 0;
}

fn wait(row: &mut Row, now: Timestamp) {
    row.unlock(State::Waiting);
    row.ready_at = Some(now.0);
}

/// Takes the lock.
fn take(entry: &mut Entry, device: Device, trigger: Trigger, now: Timestamp) -> Claim {
    let mut rng = rand::rng();
    let (turn, owner) = (
        TurnId::generate(),
        format!(
            "{:032x}",
            u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())
        ),
    );
    let row = &mut entry.row;
    row.epoch += 1;
    row.attempts += 1;
    if row.attempts == 1 {
        // A try after a failure sees the same time and the same chance as the first.
        row.clock = now.0;
        row.seed = i64::from_ne_bytes(rng.next_u64().to_ne_bytes());
    }
    row.claim_version = row.version;
    row.claimed_at = Some(now.0);
    if entry.next == Next::Free {
        row.locked_at = Some(now.0);
        row.restarts = 0;
    }
    row.state = StateWord(State::Running);
    row.owner = Some(owner.clone());
    row.turn = Some(turn.to_string());
    row.plugin = device.plugin.as_ref().map(ToString::to_string);
    row.timer = if let Trigger::Timer { id, .. } = &trigger {
        Some(id.to_string())
    } else {
        None
    };
    row.ready_at = None;
    Claim {
        lock: Lock {
            conversation: ConversationId::from_trusted(&row.id),
            epoch: row.epoch,
            owner,
        },
        turn,
        device,
        prospect: ProspectId::from_trusted(&row.prospect),
        prospect_name: row.prospect_name.clone(),
        trigger,
        attempt: u32::try_from(row.attempts).unwrap_or(u32::MAX),
        turn_seq: u64::try_from(row.turns).unwrap_or(0),
        claimed_at: now,
        clock: Timestamp(row.clock),
        seed: u64::from_ne_bytes(row.seed.to_ne_bytes()),
        last_inbound_at: row.last_inbound_at.map(Timestamp),
    }
}

async fn load_due_timers(
    conn: &mut SqliteConnection,
    conversations: &[String],
    now: Timestamp,
) -> Result<DueTimers, Error> {
    let rows: Vec<(String, String, String, i64, Vec<u8>)> = sqlx::query_as(
        "SELECT conversation, id, name, due, payload FROM timer
         WHERE due <= $2 AND conversation IN (SELECT value FROM json_each($1)) ORDER BY due, id",
    )
    .bind(json_rows(conversations)?)
    .bind(now.0)
    .fetch_all(conn)
    .await?;
    let mut timers = DueTimers::new();
    for (conversation, id, name, due, payload) in rows {
        let timer = Trigger::Timer {
            id: TimerId::from_trusted(id),
            name,
            due: Timestamp(due),
            payload,
        };
        timers.entry(conversation).or_insert(timer);
    }
    Ok(timers)
}
