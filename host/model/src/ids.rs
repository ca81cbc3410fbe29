//! Identifiers as types of their own, so that two of them can't be mixed up.
//!
//! Ids that Nodepath makes have a prefix that names their kind and sort by the time they were made (UUID version 7).

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text has a character, or a length, that this kind of identifier can't have.
    #[error("{kind} {value:?} is not valid: {rule}")]
    Invalid {
        /// What the text was meant to be.
        kind: &'static str,
        /// The text.
        value: String,
        /// What would be right.
        rule: &'static str,
    },
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes a text that is known to be one, such as a column of the store.
            #[must_use]
            pub fn from_trusted(value: impl Into<String>) -> Self {
                Self(value.into())
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

macro_rules! made_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        text_id!($(#[$doc])* $name);

        impl $name {
            /// Makes a new one.
            #[must_use]
            pub fn generate() -> Self {
                Self(format!(concat!($prefix, "_{}"), uuid::Uuid::now_v7().simple()))
            }
        }
    };
}

made_id!(
    /// A customer of this host, `ten_…`.
    TenantId,
    "ten"
);
made_id!(
    /// One number or bot on one channel: `dev_…`, or what the tenant calls it.
    DeviceId,
    "dev"
);
made_id!(
    /// A message that came in, `msg_…`.
    MessageId,
    "msg"
);
made_id!(
    /// One run of a plugin, `trn_…`.
    TurnId,
    "trn"
);
made_id!(
    /// One message, or part of one, that goes out: `out_…`.
    OutboxId,
    "out"
);
made_id!(
    /// A timer, `tmr_…`; the name that its plugin gave it is another thing.
    TimerId,
    "tmr"
);
text_id!(
    /// Who writes to a device, as the provider names them: a telephone number, a business-scoped user id, …
    ProspectId
);
text_id!(
    /// The pair (device, prospect), `cnv_…`. It follows from the two, so an upsert needs no look-up.
    ConversationId
);
text_id!(
    /// A plugin version: the SHA-256 of the component's bytes, in lower-case hexadecimal.
    Digest
);

/// The most characters that a device id may have: a URL carries it.
const MAX_ID_CHARS: usize = 128;

/// The most characters that a prospect id may have. The longest that a provider documents is a business-scoped user id of
/// WhatsApp: a country, `ENT.` and 128 characters.
const MAX_PROSPECT_CHARS: usize = 160;

impl DeviceId {
    /// Takes a device id that a person chose.
    ///
    /// # Errors
    /// If it would not stand in a URL's path as it is.
    pub fn parse(value: &str) -> Result<Self, Error> {
        let fits = (1..=MAX_ID_CHARS).contains(&value.len());
        if fits
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        {
            return Ok(Self(value.to_owned()));
        }
        Err(Error::Invalid {
            kind: "device id",
            value: value.chars().take(MAX_ID_CHARS).collect(),
            rule: "use 1 to 128 letters, digits, `_` or `-`",
        })
    }
}

impl ProspectId {
    /// Takes a prospect id that a provider sent.
    ///
    /// # Errors
    /// If it is empty, very long, or has control characters.
    pub fn parse(value: &str) -> Result<Self, Error> {
        let fits = !value.is_empty() && value.chars().count() <= MAX_PROSPECT_CHARS;
        if fits && !value.chars().any(char::is_control) {
            return Ok(Self(value.to_owned()));
        }
        Err(Error::Invalid {
            kind: "prospect id",
            value: value.chars().take(MAX_PROSPECT_CHARS).collect(),
            rule: "it must have 1 to 160 characters, none of them a control character",
        })
    }

    /// The id with all but its last four characters hidden, for logs.
    #[must_use]
    pub fn masked(&self) -> String {
        let hidden = self.0.chars().count().saturating_sub(4);
        self.0
            .chars()
            .enumerate()
            .map(|(i, c)| if i < hidden { '*' } else { c })
            .collect()
    }
}

impl ConversationId {
    /// The conversation of this prospect with this device.
    #[must_use]
    pub fn of(device: &DeviceId, prospect: &ProspectId) -> Self {
        let mut hash = Sha256::new();
        hash.update(device.as_str().as_bytes());
        hash.update([0]);
        hash.update(prospect.as_str().as_bytes());
        let digest = hex::encode(hash.finalize());
        Self(format!("cnv_{}", digest.get(..32).unwrap_or(&digest)))
    }
}

impl Digest {
    /// The digest of a component's bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex::encode(Sha256::digest(bytes)))
    }

    /// The first twelve digits: enough for people.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_the_pair_and_not_the_joined_text() {
        let of = |d: &str, p: &str| {
            ConversationId::of(&DeviceId::from_trusted(d), &ProspectId::from_trusted(p))
        };
        assert_eq!(of("a", "b"), of("a", "b"));
        assert_ne!(of("a", "bc"), of("ab", "c"));
        assert_ne!(of("a", "b"), of("b", "a"));
    }

    #[test]
    fn made_ids_sort_by_time() {
        let ids: Vec<_> = (0..100).map(|_| MessageId::generate()).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| id.as_str().starts_with("msg_")));
    }

    #[test]
    fn a_device_id_stands_in_a_path() {
        assert!(DeviceId::parse("device_123").is_ok());
        for bad in ["", "a/b", "a b", "ä", &"x".repeat(129)] {
            assert!(DeviceId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_log_shows_the_end_of_a_number_only() {
        assert_eq!(
            ProspectId::from_trusted("6281234567890").masked(),
            "*********7890"
        );
        assert_eq!(ProspectId::from_trusted("12").masked(), "12");
    }
}
