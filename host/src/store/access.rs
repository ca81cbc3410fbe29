//! A device together with its credentials, for whoever speaks with its provider: every webhook and every part asks for both.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Error, Store};
use crate::model::{Credentials, Device, DeviceId};

/// How long what was read is believed. A change by this process counts at once, one by a command line beside it after this time:
/// sooner than anybody notices, and long enough that a busy device is read ten times a second and not for each message.
const BELIEVED_FOR: Duration = Duration::from_millis(100);

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
pub(super) struct Remembered(Mutex<HashMap<DeviceId, Memory>>);

#[derive(Debug)]
struct Memory {
    access: Arc<Access>,
    until: Instant,
}

impl Remembered {
    /// What is known of a device, if that is still believed. The first who finds it too old is told so and reads it anew; for everybody
    /// else it holds a little longer, so that they don't all read at once.
    fn get(&self, id: &DeviceId) -> Option<Arc<Access>> {
        let now = Instant::now();
        let mut memory = self.memory();
        let known = memory.get_mut(id)?;
        if known.until <= now {
            known.until = now + BELIEVED_FOR;
            return None;
        }
        Some(known.access.clone())
    }

    fn put(&self, id: &DeviceId, access: &Arc<Access>) {
        let now = Instant::now();
        let mut memory = self.memory();
        if memory.len() >= MAX_REMEMBERED {
            memory.retain(|_, known| known.until > now);
        }
        if memory.len() >= MAX_REMEMBERED {
            memory.clear();
        }
        let (access, until) = (access.clone(), now + BELIEVED_FOR);
        memory.insert(id.clone(), Memory { access, until });
    }

    /// What is known of this device is so no more.
    pub(super) fn forget(&self, id: &DeviceId) {
        self.memory().remove(id);
    }

    /// The map is whole even if a holder of its mutex panicked: every change of it is one call.
    fn memory(&self) -> MutexGuard<'_, HashMap<DeviceId, Memory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// A device and its credentials, as they were a tenth of a second ago at the latest.
    ///
    /// # Errors
    /// If there is none, or its credentials were sealed with another key.
    pub async fn access(&self, id: &DeviceId) -> Result<Arc<Access>, Error> {
        if let Some(known) = self.remembered.get(id) {
            return Ok(known);
        }
        match self.read_access(id).await {
            Ok(access) => {
                self.remembered.put(id, &access);
                Ok(access)
            }
            Err(error) => {
                self.remembered.forget(id);
                Err(error)
            }
        }
    }

    async fn read_access(&self, id: &DeviceId) -> Result<Arc<Access>, Error> {
        Ok(Arc::new(Access {
            device: self.device(id).await?,
            credentials: self.credentials(id).await?,
        }))
    }
}
