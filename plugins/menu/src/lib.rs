//! A menu: keywords, buttons, a memory across turns, tags, a hand-over to a human, and a follow-up when the prospect goes quiet.
//!
//! What it says is decided in [`dialogue`], without the host; this file carries it out. See [`settings`] for what a tenant
//! can configure.

mod dialogue;
mod settings;

wit_bindgen::generate!({ path: "../../wit", world: "conversation" });

use dialogue::{Answer, Memory, Said, Topic};
use exports::nodepath::plugin::{handler, manifest};
use handler::{Outcome, Trigger, Turn, TurnError};
use nodepath::plugin::effects::{Button, EffectError};
use nodepath::plugin::state::{Scope, StateError};
use nodepath::plugin::types::{Content, InboundMessage};
use nodepath::plugin::{clock, config, effects, state};
use settings::Settings;

/// There is one such timer in a conversation: scheduling it again replaces it.
const FOLLOW_UP_TIMER: &str = "follow-up";

const NAME: &str = "menu.name";
const LAST_TOPIC: &str = "menu.last-topic";
const VISITS: &str = "menu.visits";

struct Menu;

impl handler::Guest for Menu {
    fn handle(turn: Turn) -> Result<Outcome, TurnError> {
        match turn.trigger {
            Trigger::Messages(messages) => answer(&messages)?,
            Trigger::Timer(timer) if timer.id == FOLLOW_UP_TIMER => {
                effects::send_text(dialogue::FOLLOW_UP, None)?;
            }
            Trigger::Timer(_) | Trigger::Signal(_) => return Ok(Outcome::Ignore),
        }
        Ok(Outcome::Commit)
    }
}

fn answer(messages: &[InboundMessage]) -> Result<(), TurnError> {
    // They wrote, so there is nobody to follow up with; a menu below starts the wait again.
    effects::cancel_timer(FOLLOW_UP_TIMER)?;

    let settings = Settings::read(config::get);
    let burst: Vec<Said> = messages
        .iter()
        .map(|message| said(&message.content))
        .collect();
    let before = recall()?;
    let mut memory = before.clone();
    match dialogue::answer(&burst, &mut memory, &settings) {
        Answer::Text(text) => {
            effects::send_text(&text, None)?;
        }
        Answer::Menu(text) => {
            send_menu(&text)?;
            if let Some(delay) = settings.follow_up_ms {
                let due = clock::now().saturating_add(delay);
                effects::schedule(FOLLOW_UP_TIMER, due, &[])?;
            }
        }
        Answer::HandOver(text) => {
            effects::send_text(&text, None)?;
            effects::set_tag("waiting-for", Some("human"))?;
            effects::handover("The prospect asked for a person.", None)?;
        }
    }
    remember(&before, &memory)
}

fn said(content: &Content) -> Said {
    match content {
        Content::Text(text) => Said::Text(text.clone()),
        Content::Interactive(choice) => Said::Button(choice.id.clone()),
        _ => Said::SomethingElse,
    }
}

/// Sends the buttons, or the same as a text where the channel has none.
fn send_menu(text: &str) -> Result<(), EffectError> {
    let button = |(id, title): (&str, &str)| Button {
        id: id.to_owned(),
        title: title.to_owned(),
    };
    let buttons: Vec<Button> = dialogue::BUTTONS.into_iter().map(button).collect();
    match effects::send_buttons(text, &buttons, None) {
        Err(EffectError::Unsupported(_)) => {
            let choices = buttons
                .iter()
                .map(|button| format!("\n• {}: write “{}”", button.title, button.id));
            effects::send_text(&format!("{text}{}", choices.collect::<String>()), None).map(drop)
        }
        sent => sent.map(drop),
    }
}

/// The memory belongs to the prospect, so that it is there on the tenant's other devices too.
fn recall() -> Result<Memory, StateError> {
    let text = |key| -> Result<Option<String>, StateError> {
        let value = state::get(Scope::Prospect, key)?;
        Ok(value.and_then(|bytes| String::from_utf8(bytes).ok()))
    };
    Ok(Memory {
        name: text(NAME)?,
        last_topic: text(LAST_TOPIC)?.and_then(|id| Topic::from_id(&id)),
        visits: text(VISITS)?
            .and_then(|count| count.parse().ok())
            .unwrap_or(0),
    })
}

/// Writes what changed, and tags the conversation with its topic.
fn remember(before: &Memory, after: &Memory) -> Result<(), TurnError> {
    if let Some(name) = after.name.as_ref().filter(|_| after.name != before.name) {
        state::set(Scope::Prospect, NAME, name.as_bytes(), None)?;
    }
    if let Some(topic) = after
        .last_topic
        .filter(|_| after.last_topic != before.last_topic)
    {
        state::set(Scope::Prospect, LAST_TOPIC, topic.id().as_bytes(), None)?;
        effects::set_tag("topic", Some(topic.id()))?;
    }
    let visits = i64::try_from(after.visits.saturating_sub(before.visits)).unwrap_or(i64::MAX);
    if visits > 0 {
        state::increment(Scope::Prospect, VISITS, visits)?;
    }
    Ok(())
}

/// What the host refuses once, it refuses again: running the turn another time would not help.
impl From<EffectError> for TurnError {
    fn from(error: EffectError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// State that can't be reached now may be there in a moment.
impl From<StateError> for TurnError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Unavailable(_) => Self::Retry(None),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl manifest::Guest for Menu {
    fn describe() -> manifest::Info {
        manifest::Info {
            name: "menu".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            capabilities: Vec::new(),
            config_schema_json: settings::SCHEMA.to_owned(),
            state_schema: 1,
        }
    }

    fn validate_config(json: String) -> Result<(), Vec<String>> {
        let problems = settings::problems(&json);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }
}

export!(Menu);
