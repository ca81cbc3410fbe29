//! T5: what became of sending a part, by our own try or by the provider's word, and the next part or the release.

use std::collections::BTreeSet;

use sqlx::sqlite::SqliteConnection;

use super::Error;
use super::accept::Fate;
use super::group::{Group, Next, Notice};
use super::host::Work;
use super::observe::LockEvent;
use super::rows::{PartRow, json_rows};
use super::writer::{Op, Stage};
use crate::model::device::UnknownPolicy;
use crate::model::inbound::{DeliveryStatus, StatusUpdate};
use crate::model::overlap::State;
use crate::model::{DeviceId, Event, OutboxId, Timestamp};

/// What became of one try to send a part.
#[derive(Debug)]
pub struct Settle {
    /// The part.
    pub part: OutboxId,
    /// Which try it was. Another one than the row's is refused.
    pub attempt: u32,
    /// What became of it.
    pub result: Settled,
}

/// What became of one try, with the decision that follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The provider took it.
    Sent {
        /// The provider's id for it.
        provider_id: Option<String>,
    },
    /// It was certainly not sent; it is tried again then.
    RetryAt {
        /// When.
        at: Timestamp,
        /// In the provider's words.
        why: String,
    },
    /// Nobody can tell. The provider has until then to tell.
    Unknown {
        /// The end of the window.
        until: Timestamp,
        /// What broke.
        why: String,
    },
    /// It was certainly not sent and goes to the dead letters.
    Dead {
        /// In the provider's words.
        why: String,
        /// The device itself is at fault, and its operator must see it.
        alert: bool,
    },
}

/// A part that failed to find its conversation free is looked at again this much later, in milliseconds.
const BUSY_PART_MS: i64 = 1_000;

impl Group {
    /// Loads the parts that the group's operations name, and the open parts of their conversations.
    pub(super) async fn load_parts(
        &mut self,
        conn: &mut SqliteConnection,
        ops: &[Op],
        wanted: &mut BTreeSet<String>,
    ) -> Result<(), Error> {
        let mut ids: BTreeSet<&str> = self.due.parts.iter().map(String::as_str).collect();
        let mut provider_ids: BTreeSet<(&str, &str)> = BTreeSet::new();
        for op in ops {
            match op {
                Op::Settle(settle, _) => {
                    ids.insert(settle.part.as_str());
                }
                Op::Accept(accept, _) => {
                    for event in &accept.events {
                        if let Event::Status(status) = event {
                            ids.extend(status.callback.as_deref());
                            provider_ids.insert((accept.device.as_str(), &status.provider_id));
                        }
                    }
                }
                _ => {}
            }
        }
        if ids.is_empty() && provider_ids.is_empty() {
            return Ok(());
        }
        let rows: Vec<PartRow> = sqlx::query_as(
            "WITH named AS (
                 SELECT id, conversation FROM outbox WHERE id IN (SELECT value FROM json_each($1))
                 UNION
                 SELECT o.id, o.conversation FROM json_each($2) AS t
                 JOIN outbox AS o ON o.device = t.value ->> 0 AND o.provider_message_id = t.value ->> 1)
             SELECT * FROM outbox WHERE id IN (SELECT id FROM named)
             UNION
             SELECT * FROM outbox
             WHERE state IN ('queued', 'sending', 'unknown') AND conversation IN (SELECT conversation FROM named)",
        )
        .bind(json_rows(&ids.into_iter().collect::<Vec<_>>())?)
        .bind(json_rows(&provider_ids.into_iter().collect::<Vec<_>>())?)
        .fetch_all(conn)
        .await?;
        wanted.extend(rows.iter().map(|p| p.conversation.clone()));
        self.parts
            .extend(rows.into_iter().map(|p| (p.id.clone(), p)));
        Ok(())
    }

    pub(super) fn settle(&mut self, settle: &Settle) -> Result<(), Error> {
        let now = self.now.0;
        let Some(part) = self.parts.get_mut(settle.part.as_str()) else {
            return Err(Error::not_found("part", &settle.part));
        };
        // Promise I8: only the try that is under way is settled; one that was given up tells nothing.
        if part.state != "sending" || part.attempts != i64::from(settle.attempt) {
            return Ok(());
        }
        let (state, next_at, error) = match &settle.result {
            Settled::Sent { provider_id } => {
                part.provider_message_id.clone_from(provider_id);
                ("sent", None, None)
            }
            Settled::RetryAt { at, why } => ("queued", Some(at.0), Some(why)),
            // The provider's word was faster than its answer.
            Settled::Unknown { .. } if part.status.as_deref().is_some_and(|s| s != "failed") => {
                ("sent", None, None)
            }
            Settled::Unknown { until, why } => ("unknown", Some(until.0), Some(why)),
            Settled::Dead { why, .. } => ("dead", None, Some(why)),
        };
        part.state = state.to_owned();
        part.next_at = next_at;
        part.error = error.cloned();
        let id = part.id.clone();
        let device = part.device.clone();
        if let Settled::Sent { .. } = settle.result {
            if self.devices.get(&device).is_some_and(|d| d.alert.is_some()) {
                self.changes.alerts.insert(device.clone(), None);
            }
        } else if let Settled::Dead { why, alert: true } = &settle.result {
            self.changes.alerts.insert(device, Some(why.clone()));
        }
        self.touch(&id, now)
    }

    /// The provider tells what became of a message of ours.
    pub(super) fn note_status(
        &mut self,
        device: &DeviceId,
        update: &StatusUpdate,
    ) -> Result<Fate, Error> {
        let now = self.now.0;
        let by_callback = update
            .callback
            .as_ref()
            .filter(|id| self.parts.contains_key(*id))
            .cloned();
        let id = by_callback.or_else(|| {
            let matches =
                |p: &&PartRow| p.provider_message_id.as_deref() == Some(&update.provider_id);
            self.parts.values().find(matches).map(|p| p.id.clone())
        });
        // A status may speak of a message that another program sent from the same number, or of another tenant's.
        let Some(part) = id
            .and_then(|id| self.parts.get_mut(&id))
            .filter(|p| p.device == device.as_str())
        else {
            return Ok(Fate::Noted);
        };
        let word = status_word(update.status);
        if rank(Some(word)) > rank(part.status.as_deref()) {
            part.status = Some(word.to_owned());
        }
        part.provider_message_id
            .get_or_insert_with(|| update.provider_id.clone());
        if update.status == DeliveryStatus::Failed {
            part.error = Some(
                update
                    .detail
                    .clone()
                    .unwrap_or_else(|| "the provider tells no reason".to_owned()),
            );
        }
        // The word that ends a doubt.
        if matches!(part.state.as_str(), "unknown" | "held") {
            let arrived = update.status != DeliveryStatus::Failed;
            part.state = if arrived { "sent" } else { "dead" }.to_owned();
            part.next_at = None;
            if arrived {
                part.error = None;
            }
        }
        let id = part.id.clone();
        self.touch(&id, now)?;
        Ok(Fate::Noted)
    }

    /// Notes that a part has changed, and goes on with its conversation if it is settled.
    fn touch(&mut self, id: &str, now: i64) -> Result<(), Error> {
        self.changes.touched_parts.insert(id.to_owned());
        let Some(part) = self.parts.get_mut(id) else {
            return Ok(());
        };
        if part.is_open() {
            return Ok(());
        }
        part.settled_at.get_or_insert(now);
        let conversation = part.conversation.clone();
        self.advance(&conversation)
    }

    /// Begins the next part of a conversation, or releases its lock after the last.
    fn advance(&mut self, conversation: &str) -> Result<(), Error> {
        let Some(entry) = self
            .rows
            .get_mut(conversation)
            .filter(|e| e.row.state.0 == State::Sending)
        else {
            return Ok(());
        };
        let mut open: Vec<_> = self
            .parts
            .values()
            .filter(|p| p.conversation == conversation && p.is_open())
            .cloned()
            .collect();
        open.sort_by(|a, b| (&a.turn, a.idx).cmp(&(&b.turn, b.idx)));
        let Some(mut first) = open.into_iter().next() else {
            entry.free();
            return Ok(());
        };
        if first.state == "queued" && first.next_at.is_none() {
            let prospect = entry.row.prospect.clone();
            self.begin_part(&mut first, &prospect)?;
            self.changes.touched_parts.insert(first.id.clone());
            self.parts.insert(first.id.clone(), first);
        }
        Ok(())
    }

    /// A part whose turn it is goes out at once, or after its pause.
    pub(super) fn begin_part(&mut self, part: &mut PartRow, prospect: &str) -> Result<(), Error> {
        if self.stage == Stage::Halted {
            part.state = "queued".to_owned();
            part.next_at = Some(self.now.0);
            return Ok(());
        }
        let pause = part.body()?.delay_ms;
        if pause > 0 && part.next_at.is_none() && part.attempts == 0 {
            part.state = "queued".to_owned();
            part.next_at = Some(self.now.plus(std::time::Duration::from_millis(pause)).0);
            return Ok(());
        }
        part.state = "sending".to_owned();
        part.next_at = None;
        part.attempts += 1;
        self.notices
            .push(Notice::Work(Work::Send(Box::new(part.to_part(prospect)?))));
        Ok(())
    }

    /// A part whose time has come: a retry, the end of a pause, or the end of a doubt.
    pub(super) fn part_due(&mut self, id: &str) -> Result<(), Error> {
        let now = self.now.0;
        let Some(mut part) = self
            .parts
            .get(id)
            .cloned()
            .filter(|p| p.next_at.is_some_and(|at| at <= now))
        else {
            return Ok(());
        };
        if part.state == "unknown"
            && self.device(&part.device)?.settings.unknown == UnknownPolicy::Hold
        {
            part.state = "held".to_owned();
            part.next_at = None;
            self.parts.insert(part.id.clone(), part);
            return self.touch(id, now);
        }
        let conversation = part.conversation.clone();
        let under_way = |p: &PartRow| p.conversation == conversation && p.state == "sending";
        let busy = self.parts.values().any(under_way);
        let Some(entry) = self.rows.get_mut(&conversation) else {
            return Ok(());
        };
        // A part that an operator sends again takes the lock, so that it can't overtake a turn.
        // Another operation of the group may have given the lock to a turn.
        let may_lock = matches!(entry.row.state.0, State::Idle | State::Waiting)
            && entry.next == Next::Stay
            && self.stage == Stage::Running;
        if busy || self.stage == Stage::Halted || !(may_lock || entry.row.state.0 == State::Sending)
        {
            part.next_at = Some(now + BUSY_PART_MS);
        } else {
            if may_lock {
                entry.row.epoch += 1;
                entry.row.state.0 = State::Sending;
                entry.row.locked_at = Some(now);
                self.notices
                    .push(Notice::Lock(LockEvent::acquired(&entry.row)));
            }
            let prospect = entry.row.prospect.clone();
            self.begin_part(&mut part, &prospect)?;
        }
        self.changes.touched_parts.insert(part.id.clone());
        self.parts.insert(part.id.clone(), part);
        Ok(())
    }

    pub(super) async fn flush_parts(&mut self, conn: &mut SqliteConnection) -> Result<(), Error> {
        let touched: Vec<_> = self
            .changes
            .touched_parts
            .iter()
            .filter_map(|id| self.parts.get(id))
            .cloned()
            .collect();
        if !self.changes.new_parts.is_empty() {
            // Promise I5: what a turn decided is inserted once; only the progress of its delivery is updated below.
            sqlx::query(
                "INSERT INTO outbox (id, tenant, device, conversation, turn, idx, body, state, attempts, next_at, created_at)
                 SELECT value ->> 'id', value ->> 'tenant', value ->> 'device', value ->> 'conversation',
                     value ->> 'turn', value ->> 'idx', value ->> 'body', value ->> 'state', value ->> 'attempts',
                     value ->> 'next_at', value ->> 'created_at'
                 FROM json_each($1)",
            )
            .bind(json_rows(&self.changes.new_parts)?)
            .execute(&mut *conn)
            .await?;
        }
        if !touched.is_empty() {
            sqlx::query(
                "UPDATE outbox SET state = t.state, status = t.status, attempts = t.attempts, next_at = t.next_at,
                     provider_message_id = t.provider_message_id, error = t.error, settled_at = t.settled_at
                 FROM (SELECT value ->> 'id' AS id, value ->> 'state' AS state, value ->> 'status' AS status,
                           value ->> 'attempts' AS attempts, value ->> 'next_at' AS next_at,
                           value ->> 'provider_message_id' AS provider_message_id, value ->> 'error' AS error,
                           value ->> 'settled_at' AS settled_at
                       FROM json_each($1)) AS t
                 WHERE outbox.id = t.id",
            )
            .bind(json_rows(&touched)?)
            .execute(conn)
            .await?;
        }
        Ok(())
    }
}

fn status_word(status: DeliveryStatus) -> &'static str {
    match status {
        DeliveryStatus::Sent => "sent",
        DeliveryStatus::Delivered => "delivered",
        DeliveryStatus::Read => "read",
        DeliveryStatus::Failed => "failed",
    }
}

/// Statuses come in any order, and again; only progress counts. What was delivered can't have failed.
fn rank(word: Option<&str>) -> u8 {
    match word {
        None => 0,
        Some("sent") => 1,
        Some("failed") => 2,
        Some("delivered") => 3,
        Some(_) => 4,
    }
}
