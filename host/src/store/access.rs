//! A device together with its credentials, for whoever speaks with its provider: every webhook and every part asks for both.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::task::TaskTracker;

use super::{Error, Store};
use crate::model::{Credentials, Device, DeviceId};

/// How long what was read is believed. A change by this process counts at once, one by a command line beside it after this time:
/// sooner than anybody notices.
const BELIEVED_FOR: Duration = Duration::from_millis(200);

/// When it is read anew beside whoever asks for it. So a busy device is read ten times a second and not for each message, and no message
/// waits for that.
const READ_AHEAD: Duration = Duration::from_millis(100);

/// The most devices that are remembered, of some KiB each. A host with more that are busy at once reads some of them more often.
const MAX_REMEMBERED: usize = 4_096;

/// A device and how to speak for it.
#[derive(Debug)]
pub struct Access {
    /// The device.
    pub device: Device,
    /// Its credentials.
    pub credentials: Credentials,
}

/// What was read lately.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    memory: Mutex<Memory>,
    reading: TaskTracker,
}

#[derive(Debug, Default)]
struct Memory {
    known: HashMap<DeviceId, Known>,
    /// Counts what was forgotten: what was read before that is not kept.
    forgotten: u64,
}

#[derive(Debug)]
struct Known {
    access: Arc<Access>,
    read_at: Instant,
    is_being_read: bool,
}

/// What somebody who asks for a device is to do.
enum Answer {
    Believe(Arc<Access>),
    /// And have it read anew meanwhile.
    BelieveAndRead(Arc<Access>),
    Read,
}

impl Remembered {
    /// What is known of a device, if that is still believed. The first who finds it old is told so; nobody else reads it meanwhile, or
    /// they would all do so at once.
    fn get(&self, id: &DeviceId) -> Answer {
        let mut memory = self.memory();
        let Some(known) = memory.known.get_mut(id) else {
            return Answer::Read;
        };
        let (age, is_being_read) = (known.read_at.elapsed(), known.is_being_read);
        if age < READ_AHEAD || (is_being_read && age < BELIEVED_FOR * 2) {
            return Answer::Believe(known.access.clone());
        }
        known.is_being_read = true;
        if age < BELIEVED_FOR {
            Answer::BelieveAndRead(known.access.clone())
        } else {
            Answer::Read
        }
    }

    fn put(&self, id: &DeviceId, access: &Arc<Access>, read_at: Instant, forgotten: u64) {
        let mut memory = self.memory();
        if memory.forgotten != forgotten {
            return;
        }
        if memory.known.len() >= MAX_REMEMBERED {
            memory
                .known
                .retain(|_, known| known.read_at.elapsed() < BELIEVED_FOR);
        }
        if memory.known.len() >= MAX_REMEMBERED {
            memory.known.clear();
        }
        let known = Known {
            access: access.clone(),
            read_at,
            is_being_read: false,
        };
        memory.known.insert(id.clone(), known);
    }

    /// What is known of this device is so no more, nor what is just being read.
    pub(super) fn forget(&self, id: &DeviceId) {
        let mut memory = self.memory();
        memory.forgotten += 1;
        memory.known.remove(id);
    }

    /// Waits for what is being read beside somebody who asked.
    pub(super) async fn finish(&self) {
        self.reading.close();
        self.reading.wait().await;
    }

    fn forgotten(&self) -> u64 {
        self.memory().forgotten
    }

    /// The map is whole even if a holder of its mutex panicked: every change of it is one call.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// A device and its credentials, as they were two fifths of a second ago at the latest.
    ///
    /// # Errors
    /// If there is none, or its credentials were sealed with another key.
    pub async fn access(&self, id: &DeviceId) -> Result<Arc<Access>, Error> {
        match self.remembered.get(id) {
            Answer::Believe(known) => Ok(known),
            Answer::BelieveAndRead(known) => {
                let (store, id) = (self.clone(), id.clone());
                // Whoever asks next hears what became of it.
                let reading = async move { drop(store.read_and_remember(&id).await) };
                self.remembered.reading.spawn(reading);
                Ok(known)
            }
            Answer::Read => self.read_and_remember(id).await,
        }
    }

    async fn read_and_remember(&self, id: &DeviceId) -> Result<Arc<Access>, Error> {
        let (read_at, forgotten) = (Instant::now(), self.remembered.forgotten());
        let access = self.read_access(id).await;
        match &access {
            Ok(access) => self.remembered.put(id, access, read_at, forgotten),
            Err(_) => self.remembered.forget(id),
        }
        access
    }

    async fn read_access(&self, id: &DeviceId) -> Result<Arc<Access>, Error> {
        Ok(Arc::new(Access {
            device: self.device(id).await?,
            credentials: self.credentials(id).await?,
        }))
    }

    /// What was read of a device a moment ago is not believed any more.
    pub fn forget_access(&self, id: &DeviceId) {
        self.remembered.forget(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChannelKind, DeviceSettings, TenantId, Timestamp};

    fn access() -> Arc<Access> {
        Arc::new(Access {
            device: Device {
                id: DeviceId::from_trusted("d"),
                tenant: TenantId::from_trusted("t"),
                channel: ChannelKind::Generic,
                plugin: None,
                plugin_config: "{}".to_owned(),
                settings: DeviceSettings::default(),
                alert: None,
                created_at: Timestamp(0),
            },
            credentials: Credentials::Generic {
                inbound: vec![],
                outbound: vec![],
                url: "https://x.test".to_owned(),
            },
        })
    }

    fn believes(remembered: &Remembered, id: &DeviceId) -> &'static str {
        match remembered.get(id) {
            Answer::Believe(_) => "yes",
            Answer::BelieveAndRead(_) => "and read",
            Answer::Read => "read",
        }
    }

    #[test]
    fn what_is_forgotten_while_it_is_read_is_not_kept() {
        let (remembered, id) = (Remembered::default(), DeviceId::from_trusted("d"));
        let before = remembered.forgotten();
        remembered.forget(&id);
        remembered.put(&id, &access(), Instant::now(), before);
        assert_eq!(believes(&remembered, &id), "read");
        remembered.put(&id, &access(), Instant::now(), remembered.forgotten());
        assert_eq!(believes(&remembered, &id), "yes");
    }

    #[test]
    fn one_reads_anew_while_the_others_believe_a_little_longer_and_not_for_ever() {
        let (remembered, id) = (Remembered::default(), DeviceId::from_trusted("d"));
        let now = Instant::now();
        remembered.put(&id, &access(), now - READ_AHEAD, 0);
        assert_eq!(
            believes(&remembered, &id),
            "and read",
            "nobody waits for it"
        );
        assert_eq!(believes(&remembered, &id), "yes");
        remembered.put(&id, &access(), now - BELIEVED_FOR, 0);
        assert_eq!(believes(&remembered, &id), "read", "the first");
        assert_eq!(believes(&remembered, &id), "yes", "the second does not");
        remembered.put(&id, &access(), now - BELIEVED_FOR * 2, 0);
        assert_eq!(believes(&remembered, &id), "read");
        assert_eq!(believes(&remembered, &id), "read", "too old for anybody");
    }
}
