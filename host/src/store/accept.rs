//! T1: what a webhook told becomes rows of the inbox, and idle conversations are claimed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::SqliteConnection;

use super::group::{Group, Mark, Next, Notice};
use super::host::Work;
use super::observe::LockEvent;
use super::rows::{Row, StateWord, json_rows};
use super::writer::Op;
use super::{Error, devices};
use crate::model::device::Overlap;
use crate::model::inbound::{IgnoreReason, Ignored, InboundMessage, OwnerEcho};
use crate::model::overlap::{Arrival, Situation, SkipReason, State, arrival};
use crate::model::{Content, ConversationId, DeviceId, Event, MessageId, ProspectId, Timestamp};

/// What one webhook told.
#[derive(Debug)]
pub struct Accept {
    /// The device that it came for.
    pub device: DeviceId,
    /// What it told, in its order.
    pub events: Vec<Event>,
}

/// What T1 answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// Everything is on the disk. One fate for each event.
    Stored(Vec<Fate>),
    /// The tenant has too much waiting; nothing was written.
    Full,
}

/// What became of one event at T1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It took the lock: its turn starts now.
    Claimed(MessageId),
    /// It restarts the running turn.
    Restarted(MessageId),
    /// It waits for the lock to be released.
    Queued(MessageId),
    /// It waits for silence, or joins what waits.
    Waiting(MessageId),
    /// It is not answered.
    Skipped(MessageId, SkipReason),
    /// A human has the conversation.
    Absorbed(MessageId),
    /// Its provider delivered it before; nothing has changed.
    Duplicate,
    /// It starts no turn.
    Ignored(IgnoreReason),
    /// The owner wrote by hand; the conversation was handed over, or back.
    Human,
    /// It was news of a message of ours, or of a prospect's id.
    Noted,
}

/// What T1 has found out about one webhook before the rules run.
pub(super) struct Intake {
    /// The rows that it adds, by the index of their event.
    rows: BTreeMap<usize, NewRow>,
    /// Those that are new: the others were delivered before.
    fresh: HashSet<String>,
    verdict: Verdict,
}

#[derive(PartialEq, Eq)]
enum Verdict {
    Go,
    Full,
    NoDevice,
}

#[derive(Serialize, Clone)]
struct NewRow {
    id: String,
    tenant: String,
    device: String,
    conversation: Option<String>,
    #[serde(skip)]
    prospect: Option<ProspectId>,
    provider_message_id: Option<String>,
    message: String,
    state: &'static str,
    reason: Option<&'static str>,
}

/// The owner's words that hand a conversation over for good, and back: those of the original program.
const HAND_OVER: &str = "cmd";
const HAND_BACK: &str = "dmc";

/// The signal that a plugin gets when a human has handed its conversation back.
pub(super) const RESUMED: &str = "resumed";

/// A conversation with a human until somebody hands it back.
pub(super) const FOR_EVER: i64 = i64::MAX;

impl Group {
    /// Loads what the webhooks of the group need, writes their rows, and says which conversations they touch.
    pub(super) async fn load_accepts(
        &mut self,
        conn: &mut SqliteConnection,
        ops: &[Op],
        wanted: &mut BTreeSet<String>,
    ) -> Result<(), Error> {
        let accepts: Vec<_> = ops
            .iter()
            .enumerate()
            .filter_map(|(i, op)| {
                if let Op::Accept(accept, _) = op {
                    Some((i, accept))
                } else {
                    None
                }
            })
            .collect();
        if accepts.is_empty() {
            return Ok(());
        }
        let ids = accepts.iter().map(|(_, a)| a.device.to_string()).collect();
        self.devices.extend(devices::load(conn, &ids).await?);
        let mut room = self.load_room(conn).await?;
        let known = KnownProspects::load(conn, &accepts).await?;
        let mut inserts = Vec::new();
        for (i, accept) in accepts {
            let intake = self.prepare(accept, &known, &mut room);
            inserts.extend(intake.rows.values().cloned());
            wanted.extend(
                intake
                    .rows
                    .values()
                    .filter_map(|row| row.conversation.clone()),
            );
            self.intakes.insert(i, intake);
        }
        let fresh: HashSet<String> = insert(conn, &inserts, self.now).await?;
        for intake in self.intakes.values_mut() {
            intake.fresh = intake
                .rows
                .values()
                .map(|r| r.id.clone())
                .filter(|id| fresh.contains(id))
                .collect();
        }
        Ok(())
    }

    /// How many messages each tenant may still leave waiting.
    async fn load_room(&self, conn: &mut SqliteConnection) -> Result<HashMap<String, i64>, Error> {
        let tenants: BTreeSet<_> = self.devices.values().map(|d| d.tenant.as_str()).collect();
        let room: Vec<(String, i64)> = sqlx::query_as(
            "SELECT id, max_pending - (SELECT COUNT(*) FROM inbox WHERE inbox.tenant = tenant.id AND state = 'pending')
             FROM tenant WHERE id IN (SELECT value FROM json_each($1))",
        )
        .bind(json_rows(&tenants.into_iter().collect::<Vec<_>>())?)
        .fetch_all(conn)
        .await?;
        Ok(room.into_iter().collect())
    }

    fn prepare(
        &mut self,
        accept: &Accept,
        known: &KnownProspects,
        room: &mut HashMap<String, i64>,
    ) -> Intake {
        let mut intake = Intake {
            rows: BTreeMap::new(),
            fresh: HashSet::new(),
            verdict: Verdict::Go,
        };
        let Some(device) = self.devices.get(accept.device.as_str()) else {
            intake.verdict = Verdict::NoDevice;
            return intake;
        };
        let tenant = device.tenant.to_string();
        let messages = accept
            .events
            .iter()
            .filter(|e| matches!(e, Event::Message(_)))
            .count();
        let room = room.entry(tenant.clone()).or_default();
        let needed = i64::try_from(messages).unwrap_or(i64::MAX);
        // A webhook without messages, such as one of statuses, frees room rather than taking it.
        if needed > 0 && needed > *room {
            intake.verdict = Verdict::Full;
            return intake;
        }
        *room -= needed;
        for (i, event) in accept.events.iter().enumerate() {
            if let Some(row) = new_row(
                event,
                &tenant,
                &accept.device,
                known,
                &mut self.changes.aliases,
            ) {
                intake.rows.insert(i, row);
            }
        }
        intake
    }

    /// Runs the rules over one webhook.
    pub(super) fn accept(&mut self, op: usize, accept: &Accept) -> Result<Accepted, Error> {
        let Some(intake) = self.intakes.remove(&op) else {
            return Err(Error::corrupt("a group", "an operation was not loaded"));
        };
        match intake.verdict {
            Verdict::NoDevice => return Err(Error::not_found("device", &accept.device)),
            Verdict::Full => return Ok(Accepted::Full),
            Verdict::Go => {}
        }
        let mut fates = Vec::with_capacity(accept.events.len());
        for (i, event) in accept.events.iter().enumerate() {
            let row = intake.rows.get(&i);
            fates.push(match (event, row) {
                (Event::Status(status), _) => self.note_status(&accept.device, status)?,
                (_, Some(row)) if !intake.fresh.contains(&row.id) => Fate::Duplicate,
                (Event::Message(message), Some(row)) => self.arrive(message, row)?,
                (Event::Echo(echo), Some(row)) => self.hear_owner(echo, row)?,
                (Event::Ignored(ignored), _) => Fate::Ignored(ignored.reason),
                _ => Fate::Noted,
            });
        }
        Ok(Accepted::Stored(fates))
    }

    fn arrive(&mut self, message: &InboundMessage, new: &NewRow) -> Result<Fate, Error> {
        let now = self.now;
        self.ensure_row(new);
        let settings = self.device(&new.device)?.settings.clone();
        let Some(entry) = new
            .conversation
            .as_ref()
            .and_then(|id| self.rows.get_mut(id))
        else {
            return Err(Error::corrupt("a group", "a message has no conversation"));
        };
        let hash = content_hash(&message.content);
        let situation = situation(&entry.row, hash.as_deref(), now);
        let arrival = match arrival(&situation, &settings) {
            // Something earlier in this very group takes the lock when the group is written.
            Arrival::Claim if entry.next != Next::Stay && settings.overlap == Overlap::Skip => {
                Arrival::Skip(SkipReason::Locked)
            }
            Arrival::Claim if entry.next != Next::Stay => Arrival::Join,
            // The turn that it would restart has ended in this very group.
            Arrival::Restart if entry.next == Next::Free => Arrival::Queue,
            other => other,
        };
        let row = &mut entry.row;
        row.last_inbound_at = Some(now.0);
        if message.prospect_name.is_some() {
            row.prospect_name.clone_from(&message.prospect_name);
        }
        let id = MessageId::from_trusted(&new.id);
        let (fate, mark) = match arrival {
            Arrival::Skip(reason) => (
                Fate::Skipped(id, reason),
                Some(("skipped", reason.as_str())),
            ),
            Arrival::Absorb => (Fate::Absorbed(id), Some(("absorbed", "human"))),
            Arrival::Claim => (Fate::Claimed(id), None),
            Arrival::Restart => (Fate::Restarted(id), None),
            Arrival::Queue => (Fate::Queued(id), None),
            Arrival::Debounce(_) | Arrival::Join => (Fate::Waiting(id), None),
        };
        if let Some((state, reason)) = mark {
            let mark = Mark {
                id: new.id.clone(),
                state,
                reason: Some(reason.to_owned()),
                turn: None,
            };
            self.changes.marks.push(mark);
        } else {
            // Promise I6 hangs on this count: it rises for new messages only, and T3 compares it.
            row.version += 1;
            row.last_hash = hash;
            row.last_hash_at = Some(now.0);
            row.first_pending_at.get_or_insert(now.0);
        }
        match arrival {
            Arrival::Claim => entry.free(),
            Arrival::Debounce(at) => {
                row.state = StateWord(State::Waiting);
                row.ready_at = Some(at.0);
            }
            _ => {}
        }
        self.tell_arrival(new, arrival);
        Ok(fate)
    }

    /// What a message that met a lock is logged with, and the running turn's order to stop.
    fn tell_arrival(&mut self, new: &NewRow, arrival: Arrival) {
        let Some(entry) = new.conversation.as_ref().and_then(|id| self.rows.get(id)) else {
            return;
        };
        let action = match arrival {
            Arrival::Restart => "restarted",
            Arrival::Queue => "queued",
            Arrival::Skip(_) => "skipped",
            _ => return,
        };
        let busy = Notice::Lock(LockEvent::busy(&entry.row, action));
        // A lock that is taken by this very group is told first.
        let notices = if entry.next == Next::Free {
            &mut self.after_claims
        } else {
            &mut self.notices
        };
        notices.push(busy);
        if arrival == Arrival::Restart {
            let conversation = ConversationId::from_trusted(&entry.row.id);
            self.notices.push(Notice::Work(Work::Cancel {
                conversation,
                epoch: entry.row.epoch,
            }));
        }
    }

    /// The owner wrote to the prospect from another app.
    fn hear_owner(&mut self, echo: &OwnerEcho, new: &NewRow) -> Result<Fate, Error> {
        let now = self.now.0;
        self.ensure_row(new);
        let takeover = self.device(&new.device)?.settings.takeover_ms;
        let Some(entry) = new
            .conversation
            .as_ref()
            .and_then(|id| self.rows.get_mut(id))
        else {
            return Ok(Fate::Noted);
        };
        let row = &mut entry.row;
        let word = if let Content::Text { text } = &echo.content {
            text.trim()
        } else {
            ""
        };
        if word == HAND_BACK {
            if row.paused_until.take().is_some() && row.state.0 == State::Idle {
                row.signal = Some(RESUMED.to_owned());
                entry.free();
            }
            return Ok(Fate::Human);
        }
        let for_ever = word == HAND_OVER || takeover == 0 || row.paused_until == Some(FOR_EVER);
        let until = i64::try_from(takeover)
            .unwrap_or(FOR_EVER)
            .saturating_add(now);
        row.paused_until = Some(if for_ever { FOR_EVER } else { until });
        match row.state.0 {
            State::Running => {
                let conversation = ConversationId::from_trusted(&row.id);
                self.notices.push(Notice::Work(Work::Cancel {
                    conversation,
                    epoch: row.epoch,
                }));
            }
            State::Waiting => entry.free(),
            State::Idle | State::Sending => {}
        }
        Ok(Fate::Human)
    }

    fn ensure_row(&mut self, new: &NewRow) {
        let (Some(conversation), Some(prospect)) = (&new.conversation, &new.prospect) else {
            return;
        };
        if !self.rows.contains_key(conversation) {
            let id = ConversationId::from_trusted(conversation);
            let device = DeviceId::from_trusted(&new.device);
            self.add_row(Row::new(&id, &new.tenant, &device, prospect, self.now.0));
        }
    }
}

fn situation(row: &Row, hash: Option<&str>, now: Timestamp) -> Situation {
    let same_text = hash.is_some() && row.last_hash.as_deref() == hash;
    let gap = row
        .last_hash_at
        .map(|at| Duration::from_millis(u64::try_from(now.0 - at).unwrap_or(0)));
    Situation {
        state: row.state.0,
        paused_until: row.paused_until.map(Timestamp),
        restarts: u32::try_from(row.restarts).unwrap_or(u32::MAX),
        first_pending_at: row.first_pending_at.map(Timestamp),
        same_text_after: if same_text { gap } else { None },
        now,
    }
}

/// What two slips of the finger have in common: the words, or the button. Two pictures are two pictures.
fn content_hash(content: &Content) -> Option<String> {
    let (kind, words) = match content {
        Content::Text { text } => ("text", text),
        Content::Interactive { id, .. } => ("interactive", id),
        _ => return None,
    };
    let mut hash = Sha256::new();
    hash.update(kind);
    hash.update([0]);
    hash.update(words.trim());
    Some(hex::encode(hash.finalize()))
}

/// Which ids belong to which prospect, for the ids that a group's webhooks name.
struct KnownProspects(HashMap<(String, String), String>);

impl KnownProspects {
    async fn load(
        conn: &mut SqliteConnection,
        accepts: &[(usize, &Accept)],
    ) -> Result<Self, Error> {
        let mut ids = BTreeSet::new();
        for (_, accept) in accepts {
            for event in &accept.events {
                for id in prospects_of(event) {
                    ids.insert((accept.device.as_str(), id.as_str()));
                }
            }
        }
        let ids: Vec<_> = ids.into_iter().collect();
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT a.device, a.alias, a.prospect FROM json_each($1) AS t
             JOIN prospect_alias AS a ON a.device = t.value ->> 0 AND a.alias = t.value ->> 1",
        )
        .bind(json_rows(&ids)?)
        .fetch_all(conn)
        .await?;
        Ok(Self(
            rows.into_iter()
                .map(|(device, alias, prospect)| ((device, alias), prospect))
                .collect(),
        ))
    }

    /// The id under which the prospect's conversation is, and writes down the other ids that came with it.
    fn resolve(
        &self,
        device: &DeviceId,
        prospect: &ProspectId,
        alias: Option<&ProspectId>,
        aliases: &mut Vec<(String, String, String)>,
    ) -> ProspectId {
        let lookup = |id: &ProspectId| {
            let written = aliases
                .iter()
                .rev()
                .find(|(d, a, _)| d == device.as_str() && a == id.as_str());
            written
                .map(|(_, _, p)| p.clone())
                .or_else(|| self.0.get(&(device.to_string(), id.to_string())).cloned())
        };
        let known = lookup(prospect).or_else(|| alias.and_then(lookup));
        let canonical = known.unwrap_or_else(|| prospect.to_string());
        // Both ids are written down when two are told, also the one that the conversation has: whichever comes alone next
        // time leads to it.
        if let Some(alias) = alias {
            for id in [prospect, alias] {
                if self.0.get(&(device.to_string(), id.to_string())) != Some(&canonical) {
                    aliases.push((device.to_string(), id.to_string(), canonical.clone()));
                }
            }
        }
        ProspectId::from_trusted(canonical)
    }
}

fn prospects_of(event: &Event) -> Vec<&ProspectId> {
    match event {
        Event::Message(m) => std::iter::once(&m.prospect).chain(&m.alias).collect(),
        Event::Echo(e) => vec![&e.prospect],
        Event::Renamed { from, to } => vec![from, to],
        Event::Ignored(i) => i.prospect.iter().collect(),
        Event::Status(_) => vec![],
    }
}

fn new_row(
    event: &Event,
    tenant: &str,
    device: &DeviceId,
    known: &KnownProspects,
    aliases: &mut Vec<(String, String, String)>,
) -> Option<NewRow> {
    let (provider_id, prospect, message, state, reason) = match event {
        Event::Message(m) => {
            let prospect = known.resolve(device, &m.prospect, m.alias.as_ref(), aliases);
            (
                Some(&m.provider_id),
                Some(prospect),
                serde_json::to_string(m).ok()?,
                "pending",
                None,
            )
        }
        Event::Echo(echo) => {
            let prospect = known.resolve(device, &echo.prospect, None, aliases);
            let text = serde_json::to_string(&as_message(echo)).ok()?;
            (Some(&echo.provider_id), Some(prospect), text, "human", None)
        }
        Event::Ignored(Ignored {
            provider_id,
            prospect,
            reason,
            excerpt,
        }) => {
            let text = serde_json::to_string(excerpt).ok()?;
            (
                provider_id.as_ref(),
                prospect.clone(),
                text,
                "ignored",
                Some(reason.as_str()),
            )
        }
        Event::Renamed { from, to } => {
            known.resolve(device, from, Some(to), aliases);
            return None;
        }
        Event::Status(_) => return None,
    };
    Some(NewRow {
        id: MessageId::generate().to_string(),
        tenant: tenant.to_owned(),
        device: device.to_string(),
        conversation: prospect
            .as_ref()
            .map(|p| ConversationId::of(device, p).to_string()),
        prospect,
        provider_message_id: provider_id.cloned(),
        message,
        state,
        reason,
    })
}

fn as_message(echo: &OwnerEcho) -> InboundMessage {
    InboundMessage {
        provider_id: echo.provider_id.clone(),
        prospect: echo.prospect.clone(),
        alias: None,
        prospect_name: None,
        sent_at: echo.sent_at,
        content: echo.content.clone(),
        reply_to: None,
        ext: vec![],
    }
}

/// Promise I2: one row for each (device, provider's id). Answers the ids of the rows that are new.
async fn insert(
    conn: &mut SqliteConnection,
    rows: &[NewRow],
    now: Timestamp,
) -> Result<HashSet<String>, Error> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let fresh: Vec<(String,)> = sqlx::query_as(
        "INSERT INTO inbox (id, tenant, device, conversation, provider_message_id, message, state, reason, received_at)
         SELECT value ->> 'id', value ->> 'tenant', value ->> 'device', value ->> 'conversation',
                value ->> 'provider_message_id', value ->> 'message', value ->> 'state', value ->> 'reason', $2
         FROM json_each($1) WHERE true
         ON CONFLICT DO NOTHING
         RETURNING id",
    )
    .bind(json_rows(rows)?)
    .bind(now.0)
    .fetch_all(conn)
    .await?;
    Ok(fresh.into_iter().map(|(id,)| id).collect())
}
