//! The parts of replies: one of a conversation is under way at a time, and the lock is released after the last.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use super::Error;
use super::group::{Group, Next, Notice};
use super::observe::LockEvent;
use super::rows::PartRow;
use super::sql;
use super::work::Work;
use super::writer::{Op, Stage};
use crate::model::Event;
use crate::model::device::UnknownPolicy;
use crate::model::overlap::State;

/// A part that failed to find its conversation free is looked at again this much later, in milliseconds.
const BUSY_PART_MS: i64 = 1_000;

impl Group {
    /// Loads the parts that the group's operations name, and the open parts of their conversations.
    pub(super) fn load_parts(
        &mut self,
        conn: &Connection,
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
        let mut named = Vec::new();
        for id in ids {
            named.extend(sql::query(conn, PART_BY_ID, [id], PartRow::read)?);
        }
        for ids in provider_ids {
            named.extend(sql::query(conn, PART_BY_PROVIDER_ID, ids, PartRow::read)?);
        }
        let conversations: BTreeSet<_> = named.iter().map(|p| p.conversation.clone()).collect();
        for conversation in &conversations {
            named.extend(sql::query(conn, OPEN_PARTS, [conversation], PartRow::read)?);
        }
        wanted.extend(conversations);
        self.parts
            .extend(named.into_iter().map(|p| (p.id.clone(), p)));
        Ok(())
    }

    /// Notes that a part has changed, and goes on with its conversation if it is settled.
    pub(super) fn touch(&mut self, id: &str) {
        self.changes.touched_parts.insert(id.to_owned());
        let now = self.now.0;
        let Some(part) = self.parts.get_mut(id).filter(|p| !p.is_open()) else {
            return;
        };
        part.settled_at.get_or_insert(now);
        let conversation = part.conversation.clone();
        self.advance(&conversation);
    }

    /// Begins the next part of a conversation, or releases its lock after the last.
    fn advance(&mut self, conversation: &str) {
        let Some(entry) = self.rows.get(conversation) else {
            return;
        };
        if entry.row.state.0 != State::Sending {
            return;
        }
        let addressee = entry.row.addressee().to_owned();
        let is_open = |p: &&PartRow| p.conversation == conversation && p.is_open();
        let mut open: Vec<_> = self.parts.values().filter(is_open).cloned().collect();
        open.sort_by(|a, b| (&a.turn, a.idx).cmp(&(&b.turn, b.idx)));
        for mut part in open {
            let waits_for_others = part.state == "queued" && part.next_at.is_none();
            if waits_for_others {
                self.begin_part(&mut part, &addressee);
                self.changes.touched_parts.insert(part.id.clone());
                self.parts.insert(part.id.clone(), part.clone());
            }
            if part.is_open() {
                return;
            }
        }
        if let Some(entry) = self.rows.get_mut(conversation) {
            entry.free();
        }
    }

    /// A part whose turn it is goes out at once, or after its pause. One that this program can't read, which an older program
    /// finds after a newer one, is a dead letter and keeps no other waiting.
    pub(super) fn begin_part(&mut self, part: &mut PartRow, addressee: &str) {
        if self.stage == Stage::Halted {
            part.state = "queued".to_owned();
            part.next_at = Some(self.now.0);
            return;
        }
        let is_first_try = part.next_at.is_none() && part.attempts == 0;
        let pause = part.body().map(|body| body.delay_ms);
        if let Ok(pause) = pause
            && pause > 0
            && is_first_try
        {
            part.state = "queued".to_owned();
            part.next_at = Some(self.now.plus(std::time::Duration::from_millis(pause)).0);
            return;
        }
        part.next_at = None;
        part.attempts += 1;
        match part.to_part(addressee) {
            Ok(work) => {
                part.state = "sending".to_owned();
                self.notices.push(Notice::Work(Work::Send(Box::new(work))));
            }
            Err(error) => {
                part.state = "dead".to_owned();
                part.error = Some(format!("this program can't read it: {error}"));
                part.settled_at = Some(self.now.0);
            }
        }
    }

    /// A part whose time has come: a retry, the end of a pause, or the end of a doubt.
    pub(super) fn part_due(&mut self, id: &str) {
        let now = self.now.0;
        let is_due = |p: &PartRow| p.next_at.is_some_and(|at| at <= now);
        let Some(mut part) = self.parts.get(id).cloned().filter(is_due) else {
            return;
        };
        if let Some(state) = self.end_of_doubt(&part) {
            part.state = state.to_owned();
            part.next_at = None;
        } else if self.may_begin(&part.conversation) {
            let addressee = self.lock_for_part(&part.conversation);
            self.begin_part(&mut part, &addressee);
        } else {
            part.next_at = Some(now + BUSY_PART_MS);
        }
        self.parts.insert(part.id.clone(), part);
        self.touch(id);
    }

    /// What becomes of a part in doubt whose window has passed; none if it is to be sent (again).
    fn end_of_doubt(&self, part: &PartRow) -> Option<&'static str> {
        // A device that can't be read asks for nothing to be sent again.
        let policy = self.devices.get(&part.device).map(|d| d.settings.unknown);
        match (part.state.as_str(), part.status.as_deref()) {
            ("unknown", Some("failed")) => Some("dead"),
            ("unknown", Some(_)) => Some("sent"),
            ("unknown", None) if policy.unwrap_or_default() == UnknownPolicy::Hold => Some("held"),
            _ => None,
        }
    }

    /// Whether a part of this conversation may go out now: none other is under way, and no turn has the lock, or is given it by
    /// this group.
    fn may_begin(&self, conversation: &str) -> bool {
        let under_way = |p: &PartRow| p.conversation == conversation && p.state == "sending";
        let Some(entry) = self.rows.get(conversation) else {
            return false;
        };
        let is_free = matches!(entry.row.state.0, State::Idle | State::Waiting)
            && entry.next == Next::Stay
            && self.stage == Stage::Running;
        let is_sending = entry.row.state.0 == State::Sending && self.stage != Stage::Halted;
        (is_free || is_sending) && !self.parts.values().any(under_way)
    }

    /// A part that an operator sends again takes the lock, so that it can't overtake a turn. Answers whom it is for.
    fn lock_for_part(&mut self, conversation: &str) -> String {
        let now = self.now.0;
        let Some(entry) = self.rows.get_mut(conversation) else {
            return String::new();
        };
        if entry.row.state.0 != State::Sending {
            entry.row.epoch += 1;
            entry.row.state.0 = State::Sending;
            entry.row.locked_at = Some(now);
            let event = LockEvent::taken_for_part(&entry.row);
            self.notices.push(Notice::Lock(event));
        }
        entry.row.addressee().to_owned()
    }

    pub(super) fn flush_parts(&self, conn: &Connection) -> Result<(), Error> {
        let of = |ids: &'_ BTreeSet<String>| -> Vec<&PartRow> {
            ids.iter().filter_map(|id| self.parts.get(id)).collect()
        };
        for part in of(&self.changes.new_parts) {
            insert(conn, part)?;
        }
        for part in of(&self.changes.touched_parts) {
            update(conn, part)?;
        }
        for device in &self.changes.hurry {
            sql::execute(conn, HURRY, params![device, self.now.0])?;
        }
        Ok(())
    }
}

/// Promise I5: what a turn decided is inserted once; only the progress of its delivery is updated.
fn insert(conn: &Connection, part: &PartRow) -> Result<usize, Error> {
    sql::execute(
        conn,
        "INSERT INTO outbox (id, tenant, device, conversation, turn, idx, body, state, attempts, next_at, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            part.id,
            part.tenant,
            part.device,
            part.conversation,
            part.turn,
            part.idx,
            part.body,
            part.state,
            part.attempts,
            part.next_at,
            part.created_at
        ],
    )
}

fn update(conn: &Connection, part: &PartRow) -> Result<usize, Error> {
    sql::execute(
        conn,
        "UPDATE outbox SET state = ?2, status = ?3, attempts = ?4, next_at = ?5, provider_message_id = ?6, error = ?7,
             settled_at = ?8
         WHERE id = ?1",
        params![
            part.id,
            part.state,
            part.status,
            part.attempts,
            part.next_at,
            part.provider_message_id,
            part.error,
            part.settled_at
        ],
    )
}

/// What waits for its next try on a device (?1) is due now (?2): whatever hindered it is gone.
pub(super) const HURRY: &str = "
UPDATE outbox SET next_at = ?2 WHERE device = ?1 AND state = 'queued' AND attempts > 0 AND next_at > ?2";

/// A query for whole parts, with the columns in the order in which `PartRow::read` takes them.
macro_rules! select_parts {
    ($from:literal) => {
        concat!(
            "SELECT id, tenant, device, conversation, turn, idx, body, state, status, attempts, next_at, provider_message_id,
                 error, created_at, settled_at ",
            $from
        )
    };
}

const PART_BY_ID: &str = select_parts!("FROM outbox WHERE id = ?1");

const PART_BY_PROVIDER_ID: &str =
    select_parts!("FROM outbox WHERE device = ?1 AND provider_message_id = ?2");

// The open parts of a conversation are few, and all that it ever sent may be many: the condition is that of the index outbox_open.
pub(super) const OPEN_PARTS: &str = select_parts!(
    "FROM outbox WHERE (state = 'queued' OR state = 'sending' OR state = 'unknown') AND conversation = ?1"
);
