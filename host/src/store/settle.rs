//! T5: what became of sending a part, by our own try or by the provider's word.

use super::Error;
use super::accept::Fate;
use super::group::Group;
use super::rows::PartRow;
use crate::model::inbound::{DeliveryStatus, StatusUpdate};
use crate::model::{DeviceId, OutboxId, Timestamp};

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
    /// It was not even tried, for a fault of ours or because the host stops. It does not count as a try.
    NotTried {
        /// When to try it.
        at: Timestamp,
        /// What hindered us.
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

impl Group {
    pub(super) fn settle(&mut self, settle: &Settle) -> Result<(), Error> {
        let Some(part) = self.parts.get_mut(settle.part.as_str()) else {
            return Err(Error::not_found("part", &settle.part));
        };
        // Promise I8: only the try that is under way is settled; one that was given up tells nothing.
        if part.state != "sending" || part.attempts != i64::from(settle.attempt) {
            return Ok(());
        }
        let told = part.status.clone();
        let (state, next_at, error) = match (&settle.result, told.as_deref()) {
            (Settled::Sent { provider_id }, told) => {
                part.provider_message_id.clone_from(provider_id);
                (
                    "sent",
                    None,
                    part.error.take().filter(|_| told == Some("failed")),
                )
            }
            // The provider's word was faster than its answer.
            (Settled::Unknown { .. }, Some("failed")) => ("dead", None, part.error.take()),
            (Settled::Unknown { .. } | Settled::RetryAt { .. }, Some(word)) if word != "failed" => {
                ("sent", None, None)
            }
            (Settled::RetryAt { at, why }, _) => ("queued", Some(at.0), Some(why.clone())),
            (Settled::NotTried { at, why }, _) => {
                part.attempts -= 1;
                ("queued", Some(at.0), Some(why.clone()))
            }
            (Settled::Unknown { until, why }, _) => ("unknown", Some(until.0), Some(why.clone())),
            (Settled::Dead { why, .. }, _) => ("dead", None, Some(why.clone())),
        };
        part.state = state.to_owned();
        part.next_at = next_at;
        part.error = error;
        let (id, device, attempts) = (part.id.clone(), part.device.clone(), part.attempts);
        match &settle.result {
            Settled::Sent { .. } => self.note_success(device, attempts),
            Settled::Dead { why, alert: true } => {
                self.changes.alerts.insert(device, Some(why.clone()));
            }
            _ => {}
        }
        self.touch(&id);
        Ok(())
    }

    /// A device that can send again clears its alert, and what waits for a next try on it need not wait any longer.
    fn note_success(&mut self, device: String, attempts: i64) {
        let in_row = self.devices.get(&device).and_then(|d| d.alert.as_ref());
        // Another operation of the group may have raised it.
        let in_group = self.changes.alerts.get(&device);
        if in_group.map_or(in_row.is_some(), Option::is_some) {
            self.changes.alerts.insert(device.clone(), None);
        }
        if attempts > 1 {
            self.changes.hurry.insert(device);
        }
    }

    /// The provider tells what became of a message of ours.
    pub(super) fn note_status(&mut self, device: &DeviceId, update: &StatusUpdate) -> Fate {
        // A status may speak of a message that another program sent from the same number.
        let Some(id) = self.part_of(device, update) else {
            return Fate::Noted;
        };
        let Some(part) = self.parts.get_mut(&id) else {
            return Fate::Noted;
        };
        if tells_of_an_earlier_try(part, update) {
            return Fate::Noted;
        }
        let word = status_word(update.status);
        if rank(Some(word)) > rank(part.status.as_deref()) {
            part.status = Some(word.to_owned());
        }
        part.provider_message_id
            .get_or_insert_with(|| update.provider_id.clone());
        let arrived = update.status != DeliveryStatus::Failed;
        if !arrived {
            let silent = || "the provider tells no reason".to_owned();
            part.error = Some(update.detail.clone().unwrap_or_else(silent));
        }
        // The word that ends a doubt; and what has arrived is not tried again, whatever an earlier answer said (I8).
        let was_tried = part.attempts > 0;
        match part.state.as_str() {
            "unknown" | "held" if !arrived => part.state = "dead".to_owned(),
            "unknown" | "held" | "queued" | "dead" if arrived && was_tried => {
                part.state = "sent".to_owned();
                part.error = None;
            }
            _ => {
                self.changes.touched_parts.insert(id);
                return Fate::Noted;
            }
        }
        part.next_at = None;
        self.touch(&id);
        Fate::Noted
    }

    /// The part of this device that a status speaks of: by our own id, or by the provider's.
    fn part_of(&self, device: &DeviceId, update: &StatusUpdate) -> Option<String> {
        let by_callback = update.callback.as_ref().and_then(|id| self.parts.get(id));
        let by_provider_id =
            |p: &&PartRow| p.provider_message_id.as_deref() == Some(&update.provider_id);
        let of_device = |p: &&PartRow| p.device == device.as_str();
        let found = by_callback
            .filter(of_device)
            .or_else(|| self.parts.values().filter(of_device).find(by_provider_id));
        found.map(|p| p.id.clone())
    }
}

/// A part that an operator sends again keeps the provider's id of the try before, and a status of that one may be delivered again.
/// A status of the try under way names another id, or has been noted together with its id.
fn tells_of_an_earlier_try(part: &PartRow, update: &StatusUpdate) -> bool {
    part.is_open()
        && part.status.is_none()
        && part.provider_message_id.as_deref() == Some(&update.provider_id)
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
