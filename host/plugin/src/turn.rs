//! What a turn is given, and what comes back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::Reads;
use super::bindings::{handler, types};
use super::run::Call;
use nodepath_model::delivery::{ChannelLimits, Presence};
use nodepath_model::turn::Outcome;
use nodepath_model::{
    Budget, ChannelKind, ConversationId, DeviceId, ProspectId, TenantId, Timestamp, Trigger,
    TurnFailure, TurnId,
};

/// Everything that a turn is given.
#[derive(Clone)]
pub struct TurnInput {
    /// Whose turn it is; tenants share the threads fairly.
    pub tenant: TenantId,
    /// Its id.
    pub turn: TurnId,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// The conversation.
    pub conversation: ConversationId,
    /// What it speaks.
    pub channel: ChannelKind,
    /// The device that was written to.
    pub device: DeviceId,
    /// Who wrote.
    pub prospect: ProspectId,
    /// The name that they go by.
    pub prospect_name: Option<String>,
    /// How many turns of the conversation were committed before.
    pub turn_seq: u64,
    /// Why the plugin is run.
    pub trigger: Trigger,
    /// The plugin's configuration: a JSON object, or nothing.
    pub config: String,
    /// What the channel can express.
    pub limits: ChannelLimits,
    /// Whether the prospect may be written to freely now.
    pub window_open: bool,
    /// What the turn may use.
    pub budget: Budget,
    /// What its clocks show.
    pub clock: Timestamp,
    /// What its chance is made from.
    pub seed: u64,
    /// What it reads.
    pub reads: Arc<dyn Reads>,
    /// Where its signs of presence go. A turn sends a few dozen at most.
    pub presence: UnboundedSender<Presence>,
}

/// A turn that has come to its end.
#[derive(Debug, Clone)]
pub struct Run {
    /// What is to happen, or why nothing is.
    pub result: Result<Outcome, TurnFailure>,
    /// What the guest wrote for people.
    pub logs: Vec<LogLine>,
    /// How many lines of it were dropped.
    pub logs_dropped: u64,
    /// Time in the guest and the host functions that it called, without waiting.
    pub cpu: Duration,
    /// Time from beginning to end, without waiting for a slot.
    pub wall: Duration,
    /// The most memory that it held, in bytes.
    pub memory_peak: u64,
}

/// A line that a guest wrote for people, without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How grave it is.
    pub level: LogLevel,
    /// How it was written.
    pub source: LogSource,
    /// What it says.
    pub message: String,
    /// More, as names and values.
    pub fields: Vec<(String, String)>,
}

/// How grave a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// For whoever looks.
    Info,
    /// Something is odd.
    Warn,
    /// Something is wrong.
    Error,
}

/// How a line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// Through `log.write`.
    Log,
    /// To the standard output.
    Stdout,
    /// To the standard error, as a panic is.
    Stderr,
}

/// The world around a guest, as far as the guest can tell.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) config: String,
    pub(super) limits: ChannelLimits,
    pub(super) window_open: bool,
    pub(super) budget: Budget,
    pub(super) clock: Timestamp,
    pub(super) seed: u64,
    pub(super) reads: Arc<dyn Reads>,
    pub(super) presence: UnboundedSender<Presence>,
}

/// A turn as the guest gets it, and what is around it.
pub(super) fn taken_apart(turn: TurnInput) -> (TenantId, Call, Surroundings) {
    let call = Call::Handle(Box::new(handler::Turn {
        id: turn.turn.to_string(),
        attempt: turn.attempt,
        conversation: types::ConversationRef {
            id: turn.conversation.to_string(),
            channel: turn.channel.as_str().to_owned(),
            device_id: turn.device.to_string(),
            prospect_id: turn.prospect.to_string(),
            prospect_name: turn.prospect_name,
            turn_seq: turn.turn_seq,
            ext: Vec::new(),
        },
        trigger: turn.trigger.into(),
    }));
    let around = Surroundings {
        config: turn.config,
        limits: turn.limits,
        window_open: turn.window_open,
        budget: turn.budget,
        clock: turn.clock,
        seed: turn.seed,
        reads: turn.reads,
        presence: turn.presence,
    };
    (turn.tenant, call, around)
}
