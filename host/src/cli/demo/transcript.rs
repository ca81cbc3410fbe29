//! What the demo shows: what goes in, what the host's own log lines tell, and what comes out, as one conversation.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::provider::FakeWhatsApp;

/// The lines so far, how many messages have met the lock, and how often it was released. Clones are handles of the same transcript.
#[derive(Clone)]
pub(super) struct Transcript(Arc<Inner>);

struct Inner {
    provider: Arc<FakeWhatsApp>,
    state: Mutex<State>,
    met: watch::Sender<usize>,
    released: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    replies: usize,
}

impl Transcript {
    pub(super) fn new(provider: Arc<FakeWhatsApp>) -> Self {
        Self(Arc::new(Inner {
            provider,
            state: Mutex::default(),
            met: watch::Sender::new(0),
            released: watch::Sender::new(0),
        }))
    }

    /// Adds a line, and prints it.
    pub(super) fn line(&self, text: impl Into<String>) {
        self.state(|state| state.add(text.into()));
    }

    /// How many messages have met the lock so far, whether they took it or not.
    pub(super) fn met(&self) -> usize {
        *self.0.met.borrow()
    }

    /// Waits until so many messages have met the lock. The log tells it after the webhook's answer.
    pub(super) async fn until_met(&self, messages: usize) {
        let mut met = self.0.met.subscribe();
        // The sender lives as long as this handle, so this can't fail.
        met.wait_for(|n| *n >= messages).await.ok();
    }

    /// How often the lock was released so far.
    pub(super) fn releases(&self) -> usize {
        *self.0.released.borrow()
    }

    /// Waits until the lock was released that often.
    pub(super) async fn until_released(&self, times: usize) {
        let mut released = self.0.released.subscribe();
        // The sender lives as long as this handle, so this can't fail.
        released.wait_for(|n| *n >= times).await.ok();
    }

    /// All lines so far.
    pub(super) fn text(&self) -> String {
        self.state(|state| state.lines.join("\n"))
    }

    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The provider has taken another message; shows what the prospect now reads.
    fn reply(&self) {
        let taken = self.0.provider.taken();
        self.state(|state| {
            let new = taken
                .iter()
                .skip(state.replies)
                .filter_map(|request| request.body.pointer("/text/body"));
            for text in new.collect::<Vec<_>>() {
                state.replies += 1;
                state.add(format!("   ← {text}"));
            }
        });
    }
}

impl State {
    fn add(&mut self, line: String) {
        println!("{line}");
        self.lines.push(line);
    }
}

const SAME_WORDS: &str = "   ✋ skipped: the same words came just before";

/// What the seed's lines are in the words of the demo.
impl<S: Subscriber> Layer<S> for Transcript {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = fields.text("message");
        if message.starts_with("🔒 SESSION LOCK: Session lock acquired") {
            self.line("   🔒 lock acquired");
            self.0.met.send_modify(|n| *n += 1);
        } else if message.starts_with("🔒 SESSION LOCK: Session already locked") {
            self.line(match fields.text("action") {
                "restarted" => "   🔁 the turn restarts: one reply will cover everything",
                "queued" => "   ⏳ queued: the next turn answers it",
                _ => SAME_WORDS,
            });
            self.0.met.send_modify(|n| *n += 1);
        } else if message.starts_with("store: a message is skipped") {
            // On a slow machine the turn that it would have met has ended.
            self.line(SAME_WORDS);
            self.0.met.send_modify(|n| *n += 1);
        } else if message.starts_with("🔒 SESSION LOCK: Session lock released") {
            self.line("   🔓 lock released");
            self.0.released.send_modify(|n| *n += 1);
        } else if message.starts_with("delivery: part") && message.ends_with("was sent") {
            self.reply();
        }
    }
}

/// An event's fields as text.
#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Fields {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let mut text = String::new();
        // Writing to a String can't fail.
        write!(text, "{value:?}").ok();
        self.0.insert(field.name(), text);
    }
}
