//! Answers like `echo`, after a pause such as a model would take. While it pauses, a newer message restarts its turn, so that
//! a burst gets one reply. The pause, in milliseconds, is the configuration key `think_ms`.

wit_bindgen::generate!({ path: "../../wit", world: "conversation" });

use std::time::Duration;

use exports::nodepath::plugin::{handler, manifest};
use handler::{Outcome, Trigger, Turn, TurnError};
use nodepath::plugin::{config, effects, presence, types::Content};

struct Ponder;

/// The pause where the configuration says nothing.
const THINK_MS: u64 = 500;

impl handler::Guest for Ponder {
    fn handle(turn: Turn) -> Result<Outcome, TurnError> {
        let Trigger::Messages(messages) = turn.trigger else {
            return Ok(Outcome::Ignore);
        };
        presence::typing(true);
        std::thread::sleep(Duration::from_millis(think_ms()));
        let said: Vec<&str> = messages
            .iter()
            .map(|message| match &message.content {
                Content::Text(text) => text,
                Content::Image(_) => "(an image)",
                _ => "(something else)",
            })
            .collect();
        effects::send_text(&format!("You said: {}", said.join(" / ")), None)
            .map_err(|error| TurnError::Failed(error.to_string()))?;
        Ok(Outcome::Commit)
    }
}

fn think_ms() -> u64 {
    let configured = config::get("think_ms").and_then(|text| text.parse().ok());
    configured.unwrap_or(THINK_MS)
}

impl manifest::Guest for Ponder {
    fn describe() -> manifest::Info {
        manifest::Info {
            name: "ponder".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            capabilities: Vec::new(),
            config_schema_json:
                r#"{"type":"object","properties":{"think_ms":{"type":"integer","minimum":0}}}"#
                    .to_owned(),
            state_schema: 1,
        }
    }

    fn validate_config(json: String) -> Result<(), Vec<String>> {
        let config: serde_json::Value =
            serde_json::from_str(&json).map_err(|error| vec![error.to_string()])?;
        match config.get("think_ms") {
            Some(value) if !value.is_u64() => Err(vec![
                "`think_ms` must be a number of milliseconds, such as 500.".to_owned(),
            ]),
            _ => Ok(()),
        }
    }
}

export!(Ponder);
