//! T3: a turn ends. Everything that it decided is written, or nothing.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::Error;
use super::accept::FOR_EVER;
use super::group::{Entry, Group, Mark, Next, Notice};
use super::observe::LockEvent;
use super::rows::{PartRow, Row};
use super::sql;
use crate::model::delivery::PartBody;
use crate::model::effect::{Observed, Scope};
use crate::model::overlap::{State, may_restart};
use crate::model::turn::FailureKind;
use crate::model::{
    Backoff, Digest, Effect, Lock, MessageId, OutboxId, TimerId, Timestamp, TurnId,
};

/// How a turn ended, with the lock that it held.
#[derive(Debug)]
pub struct Finish {
    /// The right to end it.
    pub lock: Lock,
    /// What started it.
    pub covered: Covered,
    /// For the table of turns.
    pub record: TurnRecord,
    /// How it ended.
    pub end: TurnEnd,
}

/// What a turn was run for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Covered {
    /// These messages, and no other.
    Messages(Vec<MessageId>),
    /// This timer.
    Timer(TimerId),
    /// The signal of the conversation's row.
    Signal,
}

/// What is kept of a try.
#[derive(Debug)]
pub struct TurnRecord {
    /// Its id.
    pub turn: TurnId,
    /// Which try, from 1.
    pub attempt: u32,
    /// The plugin version that ran.
    pub plugin: Option<Digest>,
    /// Time in the guest's code.
    pub cpu: Duration,
    /// When it was claimed.
    pub started_at: Timestamp,
}

/// How a turn ended.
#[derive(Debug)]
pub enum TurnEnd {
    /// With a decision.
    Commit(Commit),
    /// With a failure; another try may help.
    Retry {
        /// What sort of failure.
        kind: FailureKind,
        /// More of it.
        detail: String,
        /// When to try again.
        at: Timestamp,
    },
    /// With a failure for good. What the prospect is told instead is a decision too.
    GiveUp {
        /// What sort of failure.
        kind: FailureKind,
        /// More of it.
        detail: String,
        /// The fallback.
        fallback: Commit,
    },
    /// It was stopped, because it could not have committed any more.
    Cancelled,
    /// It was stopped, because the host stops. It waits for the next start.
    HandedBack,
}

/// What a turn decided.
#[derive(Debug, Default)]
pub struct Commit {
    /// The parts of the reply, in order.
    pub parts: Vec<(OutboxId, PartBody)>,
    /// State, timers, tags and the hand-over, in the order in which they were asked for. Messages are in `parts`.
    pub effects: Vec<Effect>,
    /// What the turn read of wider scopes.
    pub observed: Vec<Observed>,
}

/// What T3 answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// It is written.
    Committed,
    /// Its failure is written; it runs again later.
    Retrying,
    /// A newer message came before it committed (I6); it runs again over everything.
    Superseded,
    /// A human has taken over; its messages are theirs.
    TakenOver,
    /// Another conversation changed what it had read; it runs again.
    Conflict,
    /// The lock was not this turn's any more (I3). Nothing is written.
    Fenced,
}

/// A row of the table of turns.
pub(super) struct TurnWrite {
    id: String,
    conversation: String,
    epoch: i64,
    attempt: u32,
    plugin: Option<String>,
    trigger: &'static str,
    outcome: &'static str,
    detail: Option<String>,
    cpu_us: i64,
    started_at: i64,
}

/// A change of a value that is kept.
pub(super) struct StateWrite {
    pub(super) tenant: String,
    pub(super) scope: &'static str,
    pub(super) owner: String,
    pub(super) key: String,
    pub(super) change: StateChange,
}

/// What happens to a value.
pub(super) enum StateChange {
    Set {
        value: Vec<u8>,
        expires_at: Option<i64>,
    },
    Delete,
    Add(i64),
}

/// A timer that is set, or taken back (no due time).
pub(super) enum TimerWrite {
    Set {
        id: String,
        conversation: String,
        name: String,
        due: i64,
        payload: Vec<u8>,
    },
    Cancel {
        conversation: String,
        name: String,
    },
    Fired {
        id: String,
    },
}

/// A label that is put on, or taken off (no value).
pub(super) struct TagWrite {
    pub(super) conversation: String,
    pub(super) key: String,
    pub(super) value: Option<String>,
}

impl Group {
    pub(super) fn finish(&mut self, finish: &Finish) -> Result<Finished, Error> {
        let id = finish.lock.conversation.as_str();
        let Some(entry) = self.rows.get(id).filter(|e| e.row.is_held_by(&finish.lock)) else {
            return Ok(Finished::Fenced);
        };
        let row = &entry.row;
        let newer = row.version != row.claim_version;
        let settings = &self.device(&row.device)?.settings;
        let restarts = u32::try_from(row.restarts).unwrap_or(u32::MAX);
        let may_restart = may_restart(
            restarts,
            row.first_pending_at.map(Timestamp),
            self.now,
            settings,
        );
        let (finished, outcome, detail) = match &finish.end {
            _ if row.is_paused(self.now.0) => (Finished::TakenOver, "taken_over", None),
            TurnEnd::HandedBack => (Finished::Retrying, "handed_back", None),
            TurnEnd::Cancelled => (Finished::Superseded, "superseded", None),
            // Promise I6: a newer message came, so this reply is stale.
            _ if newer && may_restart => (Finished::Superseded, "superseded", None),
            TurnEnd::Commit(commit) if self.is_outdated(row, commit) => {
                (Finished::Conflict, "conflict", None)
            }
            TurnEnd::Commit(_) => (Finished::Committed, "committed", None),
            TurnEnd::Retry { kind, detail, .. } => {
                (Finished::Retrying, kind.as_str(), Some(detail))
            }
            TurnEnd::GiveUp { kind, detail, .. } => {
                (Finished::Committed, kind.as_str(), Some(detail))
            }
        };
        let record = record(finish, outcome, detail);
        self.changes.turns.push(record);
        self.apply(finish, finished)?;
        Ok(finished)
    }

    fn apply(&mut self, finish: &Finish, finished: Finished) -> Result<(), Error> {
        let now = self.now;
        let id = finish.lock.conversation.as_str();
        match (finished, &finish.end) {
            (Finished::TakenOver, _) => {
                self.mark(finish, "absorbed", Some("human"));
                self.spend_trigger(finish);
                self.entry(id)?.free();
            }
            (Finished::Superseded, _) => {
                let entry = self.entry(id)?;
                entry.row.restarts += 1;
                entry.next = Next::Restart;
            }
            (Finished::Conflict, _) => {
                // Somebody else's commit is no failure of this turn, and whoever conflicts makes way for one who does not.
                let backoff = Backoff::TURN.delay(finish.record.attempt, rand::random());
                self.put_off(id, now.plus(backoff))?;
            }
            (_, TurnEnd::Retry { at, .. }) => {
                self.entry(id)?.row.attempts += 1;
                self.put_off(id, *at)?;
            }
            (_, TurnEnd::HandedBack) => self.put_off(id, now)?,
            (_, TurnEnd::Commit(commit)) => {
                self.mark(finish, "done", None);
                self.commit(finish, commit)?;
            }
            (
                _,
                TurnEnd::GiveUp {
                    kind,
                    detail,
                    fallback,
                },
            ) => {
                let state = if *kind == FailureKind::Handover {
                    "absorbed"
                } else {
                    "dead"
                };
                self.mark(finish, state, Some(&format!("{kind}: {detail}")));
                self.commit(finish, fallback)?;
            }
            (_, TurnEnd::Cancelled) => {}
        }
        Ok(())
    }

    fn entry(&mut self, id: &str) -> Result<&mut Entry, Error> {
        self.rows
            .get_mut(id)
            .ok_or_else(|| Error::corrupt("a group", "a conversation was not loaded"))
    }

    /// Lets go of the lock until then.
    fn put_off(&mut self, id: &str, at: Timestamp) -> Result<(), Error> {
        let now = self.now;
        let entry = self.entry(id)?;
        let released = LockEvent::released(&entry.row, now);
        entry.row.unlock(State::Waiting);
        entry.row.ready_at = Some(at.0);
        self.notices.push(Notice::Lock(released));
        Ok(())
    }

    fn mark(&mut self, finish: &Finish, state: &'static str, reason: Option<&str>) {
        let Covered::Messages(ids) = &finish.covered else {
            return;
        };
        self.changes.marks.extend(ids.iter().map(|id| Mark {
            id: id.to_string(),
            state,
            reason: reason.map(str::to_owned),
            turn: Some(finish.record.turn.to_string()),
        }));
    }

    /// A timer fires once, and a signal is given once.
    fn spend_trigger(&mut self, finish: &Finish) {
        match &finish.covered {
            Covered::Timer(id) => self
                .changes
                .timers
                .push(TimerWrite::Fired { id: id.to_string() }),
            Covered::Messages(_) => {}
            Covered::Signal => {
                if let Some(entry) = self.rows.get_mut(finish.lock.conversation.as_str()) {
                    entry.row.signal = None;
                }
            }
        }
    }

    fn commit(&mut self, finish: &Finish, commit: &Commit) -> Result<(), Error> {
        self.spend_trigger(finish);
        let id = finish.lock.conversation.to_string();
        let row = self.entry(&id)?.row.clone();
        for effect in &commit.effects {
            self.write_effect(&row, effect);
        }
        let now = self.now.0;
        let mut parts: Vec<_> = commit
            .parts
            .iter()
            .enumerate()
            .map(|(i, (part, body))| new_part(&row, &finish.record.turn, i, part, body, now))
            .collect::<Result<_, _>>()?;
        if let Some(first) = parts.first_mut() {
            self.begin_part(first, row.addressee());
        }
        let has_parts = !parts.is_empty();
        #[cfg(feature = "planted-bugs")]
        let has_parts = has_parts && !super::planted::is("release-before-send");
        for part in parts {
            self.changes.new_parts.insert(part.id.clone());
            self.parts.insert(part.id.clone(), part);
        }
        let handover = commit
            .effects
            .iter()
            .any(|e| matches!(e, Effect::Handover { .. }));
        let entry = self.entry(&id)?;
        entry.row.turns += 1;
        entry.row.attempts = 0;
        entry.row.crashes = 0;
        entry.row.restarts = 0;
        if handover {
            entry.row.paused_until = Some(FOR_EVER);
        }
        if has_parts {
            entry.row.state.0 = State::Sending;
            // What has come meanwhile is the next turn's.
            entry.row.first_pending_at = None;
        } else {
            entry.free();
        }
        Ok(())
    }

    fn write_effect(&mut self, row: &Row, effect: &Effect) {
        let state = |scope: Scope, key: &str, change| StateWrite {
            tenant: row.tenant.clone(),
            scope: scope.as_str(),
            owner: scope_owner(scope, &row.id, &row.prospect),
            key: key.to_owned(),
            change,
        };
        let conversation = row.id.clone();
        match effect {
            Effect::SetState {
                scope,
                key,
                value,
                expires_at,
            } => {
                let change = StateChange::Set {
                    value: value.clone(),
                    expires_at: expires_at.map(|t| t.0),
                };
                self.changes.state.push(state(*scope, key, change));
            }
            Effect::DeleteState { scope, key } => {
                self.changes
                    .state
                    .push(state(*scope, key, StateChange::Delete))
            }
            Effect::IncrementState { scope, key, by } => {
                self.changes
                    .state
                    .push(state(*scope, key, StateChange::Add(*by)));
            }
            Effect::Schedule { name, due, payload } => self.changes.timers.push(TimerWrite::Set {
                id: TimerId::generate().to_string(),
                conversation,
                name: name.clone(),
                due: due.0,
                payload: payload.clone(),
            }),
            Effect::CancelTimer { name } => {
                self.changes.timers.push(TimerWrite::Cancel {
                    conversation,
                    name: name.clone(),
                });
            }
            Effect::SetTag { key, value } => {
                self.changes.tags.push(TagWrite {
                    conversation,
                    key: key.clone(),
                    value: value.clone(),
                });
            }
            // The hand-over is a column of the conversation, and messages are parts.
            Effect::Handover { .. } | Effect::Send { .. } => {}
        }
    }

    pub(super) fn flush_turns(&self, conn: &Connection) -> Result<(), Error> {
        for turn in &self.changes.turns {
            sql::execute(
                conn,
                "INSERT INTO turn (id, conversation, epoch, attempt, plugin, \"trigger\", outcome, detail, cpu_us, started_at,
                     finished_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                params![
                    turn.id,
                    turn.conversation,
                    turn.epoch,
                    turn.attempt,
                    turn.plugin,
                    turn.trigger,
                    turn.outcome,
                    turn.detail,
                    turn.cpu_us,
                    turn.started_at,
                    self.now.0
                ],
            )?;
        }
        Ok(())
    }
}

/// Whose value it is, within the tenant.
pub(super) fn scope_owner(scope: Scope, conversation: &str, prospect: &str) -> String {
    match scope {
        Scope::Conversation => conversation.to_owned(),
        Scope::Prospect => prospect.to_owned(),
        Scope::Tenant => String::new(),
    }
}

fn record(finish: &Finish, outcome: &'static str, detail: Option<&String>) -> TurnWrite {
    TurnWrite {
        id: finish.record.turn.to_string(),
        conversation: finish.lock.conversation.to_string(),
        epoch: finish.lock.epoch,
        attempt: finish.record.attempt,
        plugin: finish.record.plugin.as_ref().map(ToString::to_string),
        trigger: match finish.covered {
            Covered::Messages(_) => "messages",
            Covered::Timer(_) => "timer",
            Covered::Signal => "signal",
        },
        outcome,
        detail: detail.cloned(),
        cpu_us: i64::try_from(finish.record.cpu.as_micros()).unwrap_or(i64::MAX),
        started_at: finish.record.started_at.0,
    }
}

fn new_part(
    row: &Row,
    turn: &TurnId,
    i: usize,
    id: &OutboxId,
    body: &PartBody,
    now: i64,
) -> Result<PartRow, Error> {
    Ok(PartRow {
        id: id.to_string(),
        tenant: row.tenant.clone(),
        device: row.device.clone(),
        conversation: row.id.clone(),
        turn: turn.to_string(),
        idx: i64::try_from(i).unwrap_or(i64::MAX),
        body: serde_json::to_string(body).map_err(|e| Error::corrupt("a reply", e))?,
        state: "queued".to_owned(),
        status: None,
        attempts: 0,
        next_at: None,
        provider_message_id: None,
        error: None,
        created_at: now,
        settled_at: None,
    })
}
