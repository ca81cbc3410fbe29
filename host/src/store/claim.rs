//! What becomes of a conversation whose lock is free: its next turn, or silence.
//!
//! Promise I7: whoever frees a lock looks for what is pending in the same transaction, so nothing waits for a wake-up.

use std::time::Duration;

use rand::Rng as _;
use rusqlite::{Connection, params};

use super::Error;
use super::group::{Entry, Group, Mark, Next, Notice};
use super::observe::LockEvent;
use super::rows::{Row, StateWord};
use super::sql;
use super::work::Work;
use super::writer::Stage;
use crate::model::inbound::InboundMessage;
use crate::model::overlap::State;
use crate::model::turn::PendingMessage;
use crate::model::{
    Claim, ConversationId, Device, Lock, MessageId, ProspectId, TimerId, Timestamp, Trigger, TurnId,
};

/// The most messages that one turn answers; what is beyond waits for the next. A plugin is given all of them in one list.
const MAX_MESSAGES_PER_TURN: usize = 100;

/// After so many ends of the host in the middle of a turn it is taken to be the cause.
const SUSPICIOUS: i64 = 2;

/// How long a conversation waits whose device this program can't read. Somebody has to start another program for that.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(60);

/// What waits in a conversation, oldest first, and since when.
#[derive(Default)]
struct Pending {
    messages: Vec<PendingMessage>,
    since: Option<i64>,
}

impl Group {
    pub(super) fn claim(&mut self, conn: &Connection) -> Result<(), Error> {
        let free: Vec<_> = self
            .rows
            .iter()
            .filter(|(_, e)| e.next != Next::Stay)
            .map(|(id, _)| id.clone())
            .collect();
        for id in free {
            let pending = match self.rows.get(&id) {
                // What has just been written need not be read again.
                Some(entry) if entry.was_idle() => self.just_arrived(&id),
                Some(entry) => {
                    let tenant = entry.row.tenant.clone();
                    self.load_pending(conn, &tenant, &id)?
                }
                None => continue,
            };
            // Messages come first, so nobody asks for a timer beside them.
            let timer = match pending.messages.as_slice() {
                [] => load_due_timer(conn, &id, self.now)?,
                _ => None,
            };
            self.start(&id, pending, timer);
        }
        Ok(())
    }

    fn start(&mut self, id: &str, pending: Pending, timer: Option<Trigger>) {
        let Some(mut entry) = self.rows.remove(id) else {
            return;
        };
        let (next, was_locked) = (entry.next, entry.is_locked());
        let released = LockEvent::released(&entry.row, self.now);
        if was_locked && next == Next::Free {
            self.notices.push(Notice::Lock(released.clone()));
        }
        entry.row.first_pending_at = pending.since;
        let trigger = choose(&mut entry.row, pending.messages, timer);
        match (trigger, self.devices.get(&entry.row.device)) {
            _ if entry.row.is_paused(self.now.0) => {
                self.changes.absorb.insert(id.to_owned());
                rest(&mut entry.row);
            }
            (None, _) => rest(&mut entry.row),
            (Some(_), _) if self.stage > Stage::Running => wait(&mut entry.row, self.now),
            // Nobody else's conversation waits for one whose device can't be read.
            (Some(_), None) => wait(&mut entry.row, self.now.plus(UNREADABLE_PAUSE)),
            (Some(trigger), Some(device)) => {
                let claim = take(&mut entry, device.clone(), trigger, self.now);
                if next == Next::Free {
                    self.notices
                        .push(Notice::Lock(LockEvent::acquired(&entry.row)));
                }
                self.notices.push(Notice::Work(Work::Run(Box::new(claim))));
            }
        }
        if was_locked && next == Next::Restart && !entry.is_locked() {
            self.notices.push(Notice::Lock(released));
        }
        self.rows.insert(id.to_owned(), entry);
    }

    /// What waits in a conversation where nothing waited before this group.
    fn just_arrived(&mut self, conversation: &str) -> Pending {
        let mut messages = self.arrived.remove(conversation).unwrap_or_default();
        messages.truncate(MAX_MESSAGES_PER_TURN);
        Pending {
            since: (!messages.is_empty()).then_some(self.now.0),
            messages,
        }
    }

    /// What waits in a conversation. A message that can't be read, which an older program finds after a newer one, goes to the
    /// dead letters and keeps nobody waiting.
    fn load_pending(
        &mut self,
        conn: &Connection,
        tenant: &str,
        conversation: &str,
    ) -> Result<Pending, Error> {
        let rows: Vec<(String, i64, i64, String)> = sql::query(
            conn,
            // The limit is MAX_MESSAGES_PER_TURN; SQLite would plan the statement anew whenever it is bound.
            "SELECT id, seq, received_at, message FROM inbox WHERE state = 'pending' AND tenant = ?1 AND conversation = ?2
             ORDER BY seq LIMIT 100",
            [tenant, conversation],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )?;
        let mut pending = Pending::default();
        for (id, seq, received_at, message) in rows {
            match serde_json::from_str::<InboundMessage>(&message) {
                Ok(message) => {
                    pending.since.get_or_insert(received_at);
                    pending.messages.push(PendingMessage {
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
}

/// Messages come before a signal, and a signal before a timer: a prospect who writes must not wait for a reminder.
///
/// What was under way each time that the host ended is tried by itself, so that nothing that came later shares its fate. Once is
/// no sign of that: hosts are stopped for many reasons, and one reply should answer everything (I6).
fn choose(
    row: &mut Row,
    mut messages: Vec<PendingMessage>,
    timer: Option<Trigger>,
) -> Option<Trigger> {
    if row.crashes >= SUSPICIOUS {
        let is_suspect = |m: &PendingMessage| row.suspect_seq.is_some_and(|last| m.seq <= last);
        if messages.iter().any(is_suspect) {
            messages.retain(is_suspect);
        } else if !messages.is_empty() {
            row.crashes = 0;
            row.attempts = 0;
        }
    }
    if !messages.is_empty() {
        // They say more than that a human has handed back.
        row.signal = None;
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
    row.crashes = 0;
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
    if row.attempts + row.crashes == 0 {
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
    row.suspect_seq = match &trigger {
        Trigger::Messages(messages) => messages.last().map(|m| m.seq),
        Trigger::Timer { .. } | Trigger::Signal { .. } => None,
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
        attempt: u32::try_from(row.attempts + row.crashes + 1).unwrap_or(u32::MAX),
        crashes: u32::try_from(row.crashes).unwrap_or(u32::MAX),
        turn_seq: u64::try_from(row.turns).unwrap_or(0),
        claimed_at: now,
        clock: Timestamp(row.clock),
        seed: u64::from_ne_bytes(row.seed.to_ne_bytes()),
        last_inbound_at: row.last_inbound_at.map(Timestamp),
    }
}

/// The timer that has been due the longest.
fn load_due_timer(
    conn: &Connection,
    conversation: &str,
    now: Timestamp,
) -> Result<Option<Trigger>, Error> {
    sql::query_one(
        conn,
        "SELECT id, name, due, payload FROM timer WHERE due <= ?2 AND conversation = ?1 ORDER BY due, id LIMIT 1",
        params![conversation, now.0],
        |row| {
            Ok(Trigger::Timer {
                id: TimerId::from_trusted(row.get::<_, String>(0)?),
                name: row.get(1)?,
                due: Timestamp(row.get(2)?),
                payload: row.get(3)?,
            })
        },
    )
}
