//! What T1 looks up and inserts before its rules run: whose the messages are, and which of them are new.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rusqlite::{Connection, params};

use super::accept::Accept;
use super::group::Group;
use super::rows::Row;
use super::sql;
use super::writer::Op;
use super::{Error, devices};
use crate::model::inbound::{Ignored, InboundMessage, OwnerEcho};
use crate::model::{ConversationId, DeviceId, Event, MessageId, ProspectId, Timestamp};

/// What T1 has found out about one webhook before the rules run.
pub(super) struct Intake {
    /// The rows that it adds, by the index of their event.
    pub(super) rows: BTreeMap<usize, NewRow>,
    /// Those that are new: the others were delivered before.
    pub(super) fresh: HashSet<String>,
    pub(super) verdict: Verdict,
}

#[derive(PartialEq, Eq)]
pub(super) enum Verdict {
    Go,
    Full,
    NoDevice,
}

pub(super) struct NewRow {
    pub(super) id: String,
    /// Its place among all rows, once it is written.
    pub(super) seq: i64,
    pub(super) tenant: String,
    pub(super) device: String,
    pub(super) conversation: Option<String>,
    pub(super) prospect: Option<ProspectId>,
    pub(super) provider_message_id: Option<String>,
    pub(super) message: String,
    pub(super) state: &'static str,
    pub(super) reason: Option<&'static str>,
}

impl Group {
    /// Loads what the webhooks of the group need, writes their rows, and says which conversations they touch.
    pub(super) fn load_accepts(
        &mut self,
        conn: &Connection,
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
        self.devices.extend(devices::load(conn, &ids)?);
        let mut room = self.load_room(conn)?;
        let known = KnownProspects::load(conn, &accepts)?;
        for (i, accept) in accepts {
            let mut intake = self.prepare(accept, &known, &mut room);
            for row in intake.rows.values_mut() {
                if insert(conn, row, self.now)? {
                    row.seq = conn.last_insert_rowid();
                    intake.fresh.insert(row.id.clone());
                }
            }
            wanted.extend(
                intake
                    .rows
                    .values()
                    .filter_map(|row| row.conversation.clone()),
            );
            self.intakes.insert(i, intake);
        }
        for row in known.conversations.into_values() {
            self.keep_row(row);
        }
        Ok(())
    }

    /// How many messages each tenant may still leave waiting.
    fn load_room(&self, conn: &Connection) -> Result<HashMap<String, i64>, Error> {
        let mut room = HashMap::new();
        for device in self.devices.values() {
            let tenant = device.tenant.as_str();
            if room.contains_key(tenant) {
                continue;
            }
            let left = sql::query_one(
                conn,
                "SELECT max_pending - (SELECT COUNT(*) FROM inbox WHERE inbox.tenant = tenant.id AND state = 'pending')
                 FROM tenant WHERE id = ?1",
                [tenant],
                |row| row.get(0),
            )?;
            room.insert(tenant.to_owned(), left.unwrap_or(0));
        }
        Ok(room)
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
        // A tenant with room left is not turned away for one large batch, which would never fit.
        if needed > 0 && *room <= 0 {
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
}

/// Which ids belong to which prospect, for the ids that a group's webhooks name.
struct KnownProspects {
    /// (device, id) → the id under which the conversation is.
    aliases: HashMap<(String, String), String>,
    /// The conversations that there are under one of the ids.
    conversations: HashMap<String, Row>,
}

impl KnownProspects {
    fn load(conn: &Connection, accepts: &[(usize, &Accept)]) -> Result<Self, Error> {
        let mut known = Self {
            aliases: HashMap::new(),
            conversations: HashMap::new(),
        };
        let mut ids = BTreeSet::new();
        for (_, accept) in accepts {
            for event in &accept.events {
                for id in prospects_of(event) {
                    ids.insert((&accept.device, id));
                }
            }
        }
        for (device, id) in ids {
            let (device_id, prospect) = (device.as_str(), id.as_str());
            let alias: Option<String> = sql::query_one(
                conn,
                "SELECT prospect FROM prospect_alias WHERE device = ?1 AND alias = ?2",
                [device_id, prospect],
                |row| row.get(0),
            )?;
            if let Some(alias) = alias {
                let key = (device_id.to_owned(), prospect.to_owned());
                known.aliases.insert(key, alias);
            }
            let conversation = ConversationId::of(device, id);
            if let Some(row) = Row::load(conn, conversation.as_str())? {
                known.conversations.insert(row.id.clone(), row);
            }
        }
        Ok(known)
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
            written.map(|(_, _, p)| p.clone()).or_else(|| {
                self.aliases
                    .get(&(device.to_string(), id.to_string()))
                    .cloned()
            })
        };
        let known = lookup(prospect).or_else(|| alias.and_then(lookup));
        // A conversation that is there goes on, whichever of the two ids it began under.
        let has_conversation = |id: &&ProspectId| {
            self.conversations
                .contains_key(ConversationId::of(device, id).as_str())
        };
        let begun = || {
            [Some(prospect), alias]
                .into_iter()
                .flatten()
                .find(has_conversation)
        };
        let canonical = known.unwrap_or_else(|| begun().unwrap_or(prospect).to_string());
        // Both ids are written down when two are told, also the one that the conversation has: whichever comes alone next
        // time leads to it.
        if let Some(alias) = alias {
            for id in [prospect, alias] {
                if self.aliases.get(&(device.to_string(), id.to_string())) != Some(&canonical) {
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
        seq: 0,
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

/// Promise I2: one row for each (device, provider's id). Answers whether the row is new.
fn insert(conn: &Connection, row: &NewRow, now: Timestamp) -> Result<bool, Error> {
    #[cfg(feature = "planted-bugs")]
    if super::planted::is("dedupe-expires-early") {
        super::planted::forget_ids(conn, now)?;
    }
    let inserted = sql::execute(
        conn,
        "INSERT INTO inbox (id, tenant, device, conversation, provider_message_id, message, state, reason, received_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT DO NOTHING",
        params![
            row.id,
            row.tenant,
            row.device,
            row.conversation,
            row.provider_message_id,
            row.message,
            row.state,
            row.reason,
            now.0
        ],
    )?;
    Ok(inserted > 0)
}
