//! Devices: one number or bot of a tenant on one channel, and how its conversations are run.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::clock::Timestamp;
use super::ids::{DeviceId, Digest, TenantId};
use super::secret::Secret;

/// The channels that this host speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// WhatsApp Cloud API, by Meta.
    Whatsapp,
    /// Standard Webhooks in and out, for anything else.
    Generic,
}

impl ChannelKind {
    /// The word for it in the store, the plugin contract and the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whatsapp => "whatsapp",
            Self::Generic => "generic",
        }
    }

    /// Whether its provider tells by itself, in a status webhook with our id, what became of a message that is in doubt.
    #[must_use]
    pub fn can_tell(self) -> bool {
        match self {
            Self::Whatsapp => true,
            // A receiver may report statuses, but need not.
            Self::Generic => false,
        }
    }
}

/// One number or bot. Its credentials are another value, which only what speaks to the provider asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// What its webhook's path names it.
    pub id: DeviceId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it speaks.
    pub channel: ChannelKind,
    /// The plugin version that answers; none until one is deployed.
    pub plugin: Option<Digest>,
    /// What the plugin reads through `config`: a JSON object.
    pub plugin_config: String,
    /// How its conversations are run.
    pub settings: DeviceSettings,
    /// What the provider refused the whole device for, for example an expired token. It is cleared by the next success.
    pub alert: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
}

impl Device {
    /// How long the provider has to tell what became of a part that is in doubt. Where nobody can tell there is nothing to wait
    /// for.
    #[must_use]
    pub fn unknown_window(&self) -> Duration {
        let window = if self.channel.can_tell() {
            self.settings.unknown_window_ms
        } else {
            0
        };
        Duration::from_millis(window)
    }
}

/// What a device needs to speak to its provider.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "channel", rename_all = "snake_case", deny_unknown_fields)]
pub enum Credentials {
    /// WhatsApp Cloud API.
    Whatsapp {
        /// Signs webhooks (App dashboard, App secret).
        app_secret: Secret,
        /// Bearer token of the Graph API.
        access_token: Secret,
        /// What Meta repeats in the GET challenge.
        verify_token: Secret,
        /// The number's id at Meta.
        phone_number_id: String,
        /// Where the Graph API is, with its version.
        #[serde(default = "graph_api")]
        api_base: String,
    },
    /// Standard Webhooks.
    Generic {
        /// `whsec_…`: what webhooks to us are signed with. During a rotation there are several, and each is accepted.
        inbound: Vec<Secret>,
        /// `whsec_…`: what our webhooks are signed with. During a rotation there are several, and each signs.
        outbound: Vec<Secret>,
        /// Where replies are posted.
        url: String,
    },
}

fn graph_api() -> String {
    "https://graph.facebook.com/v25.0".to_owned()
}

impl Credentials {
    /// The channel that they are for.
    #[must_use]
    pub fn channel(&self) -> ChannelKind {
        match self {
            Self::Whatsapp { .. } => ChannelKind::Whatsapp,
            Self::Generic { .. } => ChannelKind::Generic,
        }
    }

    /// The form that is sealed; `Deserialize` reads it again. There is no `Serialize`, so no answer can carry it.
    #[must_use]
    pub fn to_sealable_json(&self) -> Vec<u8> {
        let expose = |secrets: &[Secret]| {
            secrets
                .iter()
                .map(|s| s.expose().to_owned())
                .collect::<Vec<_>>()
        };
        let value = match self {
            Self::Whatsapp {
                app_secret,
                access_token,
                verify_token,
                phone_number_id,
                api_base,
            } => json!({
                "channel": "whatsapp", "app_secret": app_secret.expose(), "access_token": access_token.expose(),
                "verify_token": verify_token.expose(), "phone_number_id": phone_number_id, "api_base": api_base,
            }),
            Self::Generic {
                inbound,
                outbound,
                url,
            } => json!({
                "channel": "generic", "inbound": expose(inbound), "outbound": expose(outbound), "url": url,
            }),
        };
        value.to_string().into_bytes()
    }
}

/// How the conversations of a device are run. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceSettings {
    /// What a message does that comes while a turn runs.
    pub overlap: Overlap,
    /// After this many restarts a turn commits whatever else comes.
    pub max_restarts: u32,
    /// A turn commits whatever else comes once its first message has waited this long.
    pub max_wait_ms: u64,
    /// How long it must be silent before the first turn.
    pub debounce_ms: u64,
    /// A message with the text of the one before it, this soon after, is a slip of the finger. 0 turns it off.
    pub duplicate_window_ms: u64,
    /// How often a turn is tried before its messages go to the dead letters.
    pub max_attempts: u32,
    /// What the prospect is told when that happens.
    pub fallback: Fallback,
    /// What becomes of a part of which nobody can tell whether it was sent.
    pub unknown: UnknownPolicy,
    /// How long to wait for the provider's word on such a part. 0 where the channel can't tell.
    pub unknown_window_ms: u64,
    /// How long a human has the conversation after the owner wrote from another app. 0: until handed back.
    pub takeover_ms: u64,
    /// Pause between the parts of a reply.
    pub part_delay_ms: u64,
    /// What one turn may use.
    pub budget: Budget,
}

impl Default for DeviceSettings {
    /// Each with its reason, here or with the field. `nodepath device show` shows them, `device set --help` how to change one.
    fn default() -> Self {
        Self {
            overlap: Overlap::Restart,
            // The fourth message of somebody who types in short lines should not make them wait again.
            max_restarts: 3,
            // People give up on a chat that is silent for longer.
            max_wait_ms: 20_000,
            debounce_ms: 0,
            // The seed document: "two identical messages quickly (within 1 second)", and a network's delay between the two.
            duplicate_window_ms: 2_000,
            // With the backoff of a turn this spans 7.5 s: a hiccup is over by then, and nobody waits long for a fallback.
            max_attempts: 5,
            fallback: Fallback::Silence,
            unknown: UnknownPolicy::Hold,
            // Meta's status webhooks come within seconds; the design's bound.
            unknown_window_ms: 30_000,
            // An office hour: the owner who answered by hand will answer the next line too.
            takeover_ms: 3_600_000,
            part_delay_ms: 0,
            budget: Budget::default(),
        }
    }
}

/// The most memory that one turn may be given, in bytes: what an instance of the plugin pool has.
pub const MAX_MEMORY_BYTES: u64 = 512 << 20;

/// The most time in the guest's own code: it holds one of a few threads, and whoever computes for a minute is stuck.
pub const MAX_CPU_MS: u64 = 60_000;

/// The longest turn. Its conversation is locked, and `nodepath doctor` takes a longer lock for a fault.
pub const MAX_WALL_MS: u64 = 10 * 60_000;

/// The most tries of a turn. With the longest backoff, of a minute, they already span an hour and a half.
pub const MAX_ATTEMPTS: u32 = 100;

/// The most restarts of a turn: each runs the plugin again, and who types on must get an answer some time.
pub const MAX_RESTARTS: u32 = 100;

/// The longest a message waits for others to come: whoever wrote it is gone by then. It bounds `debounce` too.
pub const MAX_WAIT_MS: u64 = 3_600_000;

/// The longest time within which the same text again is a slip of the finger; later it is meant.
pub const MAX_DUPLICATE_WINDOW_MS: u64 = 3_600_000;

/// The longest wait for the provider's word on a part: the conversation is locked, and statuses come within seconds.
pub const MAX_UNKNOWN_WINDOW_MS: u64 = 3_600_000;

/// The longest takeover that ends by itself; for a longer one there is 0, until handed back.
pub const MAX_TAKEOVER_MS: u64 = 366 * 24 * 3_600_000;

/// The longest pause between two parts, for which the conversation is locked. A plugin can ask for no longer one either.
pub const MAX_PART_DELAY_MS: u64 = 30_000;

/// The longest fallback, in characters: one message on every channel.
pub const MAX_FALLBACK_CHARS: usize = 4_096;

impl DeviceSettings {
    /// What is wrong with them, one sentence for each problem.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.beyond_bounds();
        problems.extend(self.budget.beyond_bounds());
        problems.extend(self.contradictions());
        problems
    }

    fn beyond_bounds(&self) -> Vec<String> {
        beyond([
            (
                "max_attempts",
                u64::from(self.max_attempts),
                1..=u64::from(MAX_ATTEMPTS),
                "without one no turn would ever run, and after many the conversation has waited for hours",
            ),
            (
                "max_restarts",
                u64::from(self.max_restarts),
                0..=u64::from(MAX_RESTARTS),
                "each runs the plugin again",
            ),
            (
                "max_wait_ms",
                self.max_wait_ms,
                0..=MAX_WAIT_MS,
                "whoever wrote is gone after an hour",
            ),
            (
                "duplicate_window_ms",
                self.duplicate_window_ms,
                0..=MAX_DUPLICATE_WINDOW_MS,
                "the same text an hour later is meant",
            ),
            (
                "unknown_window_ms",
                self.unknown_window_ms,
                0..=MAX_UNKNOWN_WINDOW_MS,
                "the conversation is locked meanwhile",
            ),
            (
                "takeover_ms",
                self.takeover_ms,
                0..=MAX_TAKEOVER_MS,
                "that is a year; 0 stands for: until handed back",
            ),
            (
                "part_delay_ms",
                self.part_delay_ms,
                0..=MAX_PART_DELAY_MS,
                "the conversation is locked meanwhile",
            ),
        ])
    }

    /// What does not fit together.
    fn contradictions(&self) -> Vec<String> {
        let Budget {
            cpu_ms, wall_ms, ..
        } = self.budget;
        let text = match &self.fallback {
            Fallback::Text { text } => Some(text),
            Fallback::Silence | Fallback::Handover => None,
        };
        let rules = [
            (
                self.debounce_ms > self.max_wait_ms,
                "debounce_ms must not be above max_wait_ms, after which a turn runs anyhow",
            ),
            (
                cpu_ms > wall_ms,
                "budget.cpu_ms must not be above budget.wall_ms, which ends the turn anyhow",
            ),
            (
                text.is_some_and(|text| text.trim().is_empty()),
                "the fallback's text must not be empty; for no answer set fallback=silence",
            ),
            (
                text.is_some_and(|text| text.chars().count() > MAX_FALLBACK_CHARS),
                "the fallback's text must have at most 4096 characters, which every channel takes as one message",
            ),
        ];
        rules
            .into_iter()
            .filter(|(wrong, _)| *wrong)
            .map(|(_, words)| words.to_owned())
            .collect()
    }

    /// `max_wait_ms` as a duration.
    #[must_use]
    pub fn max_wait(&self) -> Duration {
        Duration::from_millis(self.max_wait_ms)
    }
}

/// Names of settings with their values, their bounds, and why those are the bounds.
type Bounds<const N: usize> = [(&'static str, u64, RangeInclusive<u64>, &'static str); N];

/// Those that are out of their bounds.
fn beyond<const N: usize>(bounds: Bounds<N>) -> Vec<String> {
    bounds
        .into_iter()
        .filter(|(_, value, bounds, _)| !bounds.contains(value))
        .map(|(name, _, bounds, why)| {
            let (least, most) = bounds.into_inner();
            format!("{name} must be from {least} to {most}: {why}")
        })
        .collect()
}

/// What a message does that comes while the conversation's turn runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// One new turn answers the old messages and the new one.
    #[default]
    Restart,
    /// The turn commits, and the next one answers what came meanwhile.
    Queue,
    /// The new message is recorded and not answered.
    Skip,
}

/// What the prospect is told when a turn fails for good.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fallback {
    /// Nothing.
    #[default]
    Silence,
    /// A fixed text.
    Text {
        /// The text.
        text: String,
    },
    /// Nothing, and the conversation is handed over to a human.
    Handover,
}

/// What becomes of a part of which nobody can tell whether it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownPolicy {
    /// It is shown to the operator, and the conversation goes on. Nobody is written to twice.
    #[default]
    Hold,
    /// It is sent again. Nobody goes without a reply.
    Resend,
}

/// What one turn of a plugin may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Time in the guest's own code, in milliseconds.
    pub cpu_ms: u64,
    /// Time from beginning to end, in milliseconds.
    pub wall_ms: u64,
    /// All memories and tables of the guest together, in bytes.
    pub memory_bytes: u64,
}

impl Budget {
    fn beyond_bounds(self) -> Vec<String> {
        beyond([
            (
                "budget.cpu_ms",
                self.cpu_ms,
                1..=MAX_CPU_MS,
                "without any no plugin could answer, and one that computes holds a thread",
            ),
            (
                "budget.wall_ms",
                self.wall_ms,
                1..=MAX_WALL_MS,
                "the conversation is locked meanwhile",
            ),
            (
                "budget.memory_bytes",
                self.memory_bytes,
                1..=MAX_MEMORY_BYTES,
                "an instance of the plugin pool has no more (512MiB)",
            ),
        ])
    }

    /// `cpu_ms` as a duration.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        Duration::from_millis(self.cpu_ms)
    }

    /// `wall_ms` as a duration.
    #[must_use]
    pub fn wall(&self) -> Duration {
        Duration::from_millis(self.wall_ms)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            // A Rust guest answers in well below 1 ms, a Python one in 2 ms; this leaves room for real work.
            cpu_ms: 1_000,
            wall_ms: 30_000,
            // Python components need over 14 MiB before they do anything.
            memory_bytes: 64 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_survive_sealing_and_are_not_printed() {
        let credentials = Credentials::Whatsapp {
            app_secret: Secret::new("s1"),
            access_token: Secret::new("s2"),
            verify_token: Secret::new("s3"),
            phone_number_id: "1122334455667".to_owned(),
            api_base: graph_api(),
        };
        let read: Credentials = serde_json::from_slice(&credentials.to_sealable_json()).unwrap();
        assert_eq!(read, credentials);
        assert!(!format!("{credentials:?}").contains("s1"));
    }

    #[test]
    fn settings_that_could_not_work_are_told_all_together() {
        assert_eq!(DeviceSettings::default().problems(), Vec::<String>::new());
        let settings = DeviceSettings {
            max_attempts: 0,
            debounce_ms: 30_000,
            fallback: Fallback::Text {
                text: " ".to_owned(),
            },
            budget: Budget {
                cpu_ms: 40_000,
                wall_ms: 30_000,
                memory_bytes: 0,
            },
            ..DeviceSettings::default()
        };
        assert_eq!(settings.problems().len(), 5);
    }

    #[test]
    fn every_number_has_an_upper_bound_and_a_reason() {
        const DAYS_300: u64 = 300 * 24 * 3_600_000;
        let settings = DeviceSettings {
            max_restarts: u32::MAX,
            max_wait_ms: DAYS_300,
            debounce_ms: DAYS_300,
            duplicate_window_ms: DAYS_300,
            max_attempts: 4_000_000_000,
            fallback: Fallback::Text {
                text: "é".repeat(MAX_FALLBACK_CHARS + 1),
            },
            unknown_window_ms: DAYS_300,
            takeover_ms: 2 * DAYS_300,
            part_delay_ms: DAYS_300,
            budget: Budget {
                cpu_ms: DAYS_300,
                wall_ms: DAYS_300,
                memory_bytes: u64::MAX,
            },
            ..DeviceSettings::default()
        };
        let problems = settings.problems();
        assert_eq!(problems.len(), 11, "{problems:#?}");
        let longest = DeviceSettings {
            max_restarts: MAX_RESTARTS,
            max_wait_ms: MAX_WAIT_MS,
            debounce_ms: MAX_WAIT_MS,
            duplicate_window_ms: MAX_DUPLICATE_WINDOW_MS,
            max_attempts: MAX_ATTEMPTS,
            fallback: Fallback::Text {
                text: "é".repeat(MAX_FALLBACK_CHARS),
            },
            unknown_window_ms: MAX_UNKNOWN_WINDOW_MS,
            takeover_ms: MAX_TAKEOVER_MS,
            part_delay_ms: MAX_PART_DELAY_MS,
            budget: Budget {
                cpu_ms: MAX_CPU_MS,
                wall_ms: MAX_WALL_MS,
                memory_bytes: MAX_MEMORY_BYTES,
            },
            ..DeviceSettings::default()
        };
        assert_eq!(longest.problems(), Vec::<String>::new());
    }

    #[test]
    fn a_setting_that_does_not_exist_is_refused() {
        assert!(serde_json::from_str::<DeviceSettings>(r#"{"overlapp":"queue"}"#).is_err());
        let some: DeviceSettings = serde_json::from_str(r#"{"overlap":"queue"}"#).unwrap();
        assert_eq!(
            some,
            DeviceSettings {
                overlap: Overlap::Queue,
                ..DeviceSettings::default()
            }
        );
    }
}
