//! The host functions of a turn, called in any order with any arguments, beside a plain account of what they promise. The
//! target of `tests/fuzz` calls it with bytes that a fuzzer invents; the test here with those that earlier runs kept.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use arbitrary::{Result, Unstructured};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::bindings::effects::{EffectError, Host as _};
use super::bindings::handler::Outcome as Ending;
use super::bindings::history::Host as _;
use super::bindings::log::{Host as _, Level};
use super::bindings::presence::Host as _;
use super::bindings::state::{Host as _, StateError};
use super::buffer::Buffer;
use super::grant::Facts;
use super::host::effects::Effects;
use super::host::log::Log;
use super::host::presence::Presence;
use super::host::state::State;
use super::limits::{
    LINE_BYTES, LINE_FIELDS, LOG_BYTES, LOG_BYTES_PER_SECOND, LOG_LINES, LOG_LINES_PER_SECOND,
    PRESENCE,
};
use super::overlay::Overlay;
use super::reads::{Budgeted, Reads};
use nodepath_model::delivery::Presence as Sign;
use nodepath_model::{Effect, Timestamp};

mod account;
mod call;
mod effect;
mod stored;

use self::account::Account;
use self::call::Call;
use self::stored::Stored;

/// The start of every turn.
const NOW: Timestamp = Timestamp(1_760_433_330_000);

/// Reads wait with a timeout, which needs a clock to run.
static RUNTIME: LazyLock<Option<Runtime>> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().ok());

/// Makes the calls that the input stands for: the turn stays within its bounds, a refused call leaves nothing behind, what was
/// written is read back, and the commit gets what was asked for.
pub fn effects(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let Ok((mut turn, ending)) = Turn::begin(&mut input) else {
        return;
    };
    while !input.is_empty() {
        let Ok((call, times)) = call::next(&mut input) else {
            break;
        };
        (0..times).for_each(|_| turn.make(call.clone()));
    }
    turn.end(ending);
}

/// What a guest's host functions work on, and the account of it.
struct Turn {
    facts: Facts,
    buffer: Buffer,
    overlay: Overlay,
    reads: Budgeted,
    log: Log,
    presence: Presence,
    signs: UnboundedReceiver<Sign>,
    started: Instant,
    account: Account,
}

/// A call was refused, because of a limit or for another reason.
#[derive(Debug)]
enum Refused {
    Limit(String),
    Other(String),
}

impl Turn {
    fn begin(input: &mut Unstructured<'_>) -> Result<(Self, Ending)> {
        let ending = *input.choose(&[Ending::Commit, Ending::Silent, Ending::Ignore])?;
        let facts = call::facts(input)?;
        let stored = Arc::new(Stored::arbitrary(input)?);
        let (sender, signs) = unbounded_channel();
        let turn = Self {
            account: Account::new(Arc::clone(&stored), facts.window_open),
            facts,
            buffer: Buffer::default(),
            overlay: Overlay::default(),
            reads: Budgeted::new(stored as Arc<dyn Reads>),
            log: Log::new(),
            presence: Presence::new(sender),
            signs,
            started: Instant::now(),
        };
        Ok((turn, ending))
    }

    /// Makes a call and compares what it answers, and what it left in the buffer, with the account.
    fn make(&mut self, call: Call) {
        match call {
            Call::Get { .. } | Call::ListKeys { .. } | Call::Recent { .. } => self.read(call),
            Call::Write { message, fields } => {
                self.log.write(Level::Info, message, fields);
                self.account.lines += 1;
            }
            Call::Typing(on) => {
                self.presence.typing(on);
                self.account.signs += 1;
            }
            call => {
                let answer = self.ask(call.clone());
                self.account.asked(call, answer);
            }
        }
        let (effects, bytes) = self.buffer.held();
        self.account.check(effects, bytes);
    }

    /// A call that adds an effect.
    fn ask(&mut self, call: Call) -> std::result::Result<Option<String>, Refused> {
        let mut effects = Effects {
            facts: &self.facts,
            buffer: &mut self.buffer,
        };
        let answer = match call {
            Call::SendText { text, options } => effects.send_text(text, options).map(Some),
            Call::SendMedia { media, options } => effects.send_media(media, options).map(Some),
            Call::SendButtons {
                body,
                buttons,
                options,
            } => effects.send_buttons(body, buttons, options).map(Some),
            Call::React { target, emoji } => effects
                .react(target, emoji)
                .map(|()| last_id(self.buffer.held().0)),
            Call::Handover { reason, note } => effects.handover(reason, note).map(|()| None),
            Call::Schedule { id, due, payload } => {
                effects.schedule(id, due, payload).map(|()| None)
            }
            Call::CancelTimer { id } => effects.cancel_timer(id).map(|()| None),
            Call::SetTag { key, value } => effects.set_tag(key, value).map(|()| None),
            other => return self.keep(other).map(|()| None),
        };
        Ok(answer?)
    }

    /// A call that writes state.
    fn keep(&mut self, call: Call) -> std::result::Result<(), Refused> {
        let mut state = state(&mut self.overlay, &mut self.buffer, &mut self.reads);
        let answer = match call {
            Call::Set {
                scope,
                key,
                value,
                ttl,
            } => state.set(scope, key, value, ttl),
            Call::Delete { scope, key } => state.delete(scope, key),
            Call::Increment { scope, key, by } => state.increment(scope, key, by),
            other => panic!("{other:?} writes nothing"),
        };
        Ok(answer?)
    }

    fn read(&mut self, call: Call) {
        let Some(runtime) = RUNTIME.as_ref() else {
            return;
        };
        let mut state = state(&mut self.overlay, &mut self.buffer, &mut self.reads);
        match call {
            Call::Get { scope, key } => {
                let answer = runtime.block_on(state.get(scope, key.clone()));
                self.account
                    .got(scope.into(), key, answer.map_err(Refused::from));
            }
            Call::ListKeys {
                scope,
                prefix,
                limit,
                cursor,
            } => {
                let listed = state.list_keys(scope, prefix.clone(), limit, cursor.clone());
                let answer = runtime.block_on(listed).map_err(Refused::from);
                self.account
                    .listed(scope.into(), &prefix, limit, cursor, answer);
            }
            Call::Recent { limit, cursor } => {
                let answer = runtime.block_on(self.reads.recent(limit, cursor.clone()));
                self.account
                    .recalled(limit, cursor, answer.map(|page| page.entries.len()));
            }
            other => panic!("{other:?} reads nothing"),
        }
    }

    fn end(mut self, ending: Ending) {
        self.check_log();
        let mut signs = 0;
        while self.signs.try_recv().is_ok() {
            signs += 1;
        }
        assert_eq!(signs, self.account.signs.min(PRESENCE), "signs of presence");
        let expected: Vec<Effect> = self
            .account
            .effects
            .iter()
            .filter(|effect| match ending {
                Ending::Commit => true,
                Ending::Silent => !matches!(effect, Effect::Send { .. }),
                Ending::Ignore => false,
            })
            .cloned()
            .collect();
        assert_eq!(self.buffer.end(ending), expected);
        assert_eq!(self.overlay.into_observed(), self.account.observed());
    }

    fn check_log(&self) {
        let (kept, dropped) = self.log.take();
        let seconds = self.started.elapsed().as_secs_f64();
        let bound = |most, per_second| f64::from(most) + seconds * f64::from(per_second);
        let lines = u32::try_from(kept.len()).unwrap_or(u32::MAX);
        assert_eq!(u64::from(lines) + dropped, self.account.lines);
        assert!(f64::from(lines) <= bound(LOG_LINES, LOG_LINES_PER_SECOND));
        let mut bytes = 0;
        for line in &kept {
            assert!(line.fields.len() <= LINE_FIELDS, "{line:?}");
            let fields = line.fields.iter().flat_map(|(name, value)| [name, value]);
            for text in fields.chain([&line.message]) {
                assert!(text.len() <= LINE_BYTES, "{text:?}");
                assert!(!text.contains(char::is_control), "{text:?}");
                bytes += u32::try_from(text.len()).unwrap_or(u32::MAX);
            }
        }
        assert!(f64::from(bytes) <= bound(LOG_BYTES, LOG_BYTES_PER_SECOND));
    }
}

/// The id of a message that was just asked for.
fn last_id(effects: &[Effect]) -> Option<String> {
    match effects.last() {
        Some(Effect::Send { id, .. }) => Some(id.to_string()),
        _ => None,
    }
}

fn state<'a>(
    overlay: &'a mut Overlay,
    buffer: &'a mut Buffer,
    reads: &'a mut Budgeted,
) -> State<'a> {
    State {
        overlay,
        buffer,
        reads,
        now: NOW,
    }
}

impl From<EffectError> for Refused {
    fn from(error: EffectError) -> Self {
        match error {
            EffectError::LimitExceeded(why) => Self::Limit(why),
            EffectError::Unsupported(why)
            | EffectError::Invalid(why)
            | EffectError::Policy(why) => Self::Other(why),
        }
    }
}

impl From<StateError> for Refused {
    fn from(error: StateError) -> Self {
        match error {
            StateError::LimitExceeded(why) => Self::Limit(why),
            StateError::TooLarge(most) => Self::Other(format!("more than {most} bytes")),
            StateError::Invalid(why) | StateError::Unavailable(why) => Self::Other(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn kept_calls_hold_what_is_promised() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz");
        for folder in ["corpus/effects", "seeds/effects"] {
            let inputs: Vec<_> = std::fs::read_dir(fuzz.join(folder)).unwrap().collect();
            assert!(!inputs.is_empty(), "{folder} is empty");
            for input in inputs {
                effects(&std::fs::read(input.unwrap().path()).unwrap());
            }
        }
    }
}
