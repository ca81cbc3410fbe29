//! The words that every other module speaks, and the rules that need nothing but their arguments.
//!
//! **Invariant:** nothing here does input or output, reads a clock or knows a database, a provider or WebAssembly.

pub mod backoff;
pub mod clock;
pub mod content;
pub mod delivery;
pub mod device;
pub mod effect;
pub mod ids;
pub mod inbound;
pub mod overlap;
pub mod secret;
pub mod share;
pub mod turn;

#[cfg(test)]
mod backoff_tests;
#[cfg(test)]
mod overlap_tests;

pub use backoff::Backoff;
pub use clock::{Clock, Timestamp};
pub use content::{Content, Media};
pub use delivery::{DeadScope, Delivery, Part, PartBody};
pub use device::{Budget, ChannelKind, Credentials, Device, DeviceSettings};
pub use effect::Effect;
pub use ids::{
    ConversationId, DeviceId, Digest, MessageId, OutboxId, ProspectId, TenantId, TimerId, TurnId,
};
pub use inbound::{Event, InboundMessage};
pub use secret::Secret;
pub use share::Shares;
pub use turn::{Claim, Lock, Outcome, Trigger, TurnFailure};
