//! The smallest plugin: it answers each message with what was said.

wit_bindgen::generate!({ path: "../../wit", world: "conversation" });

use exports::nodepath::plugin::{handler, manifest};
use handler::{Outcome, Trigger, Turn, TurnError};
use nodepath::plugin::{effects, types::Content};

struct Echo;

impl handler::Guest for Echo {
    fn handle(turn: Turn) -> Result<Outcome, TurnError> {
        let Trigger::Messages(messages) = turn.trigger else {
            return Ok(Outcome::Ignore);
        };
        // A burst of messages is one turn, and gets one reply.
        let said: Vec<&str> = messages
            .iter()
            .map(|message| text(&message.content))
            .collect();
        effects::send_text(&format!("You said: {}", said.join("\n")), None)
            .map_err(|error| TurnError::Failed(error.to_string()))?;
        Ok(Outcome::Commit)
    }
}

fn text(content: &Content) -> &str {
    match content {
        Content::Text(text) => text,
        Content::Image(_) => "(an image)",
        Content::Audio(_) => "(a recording)",
        Content::Video(_) => "(a video)",
        Content::Document(_) => "(a document)",
        Content::Location(_) => "(a place)",
        Content::Interactive(choice) => &choice.title,
        Content::Other(_) => "(something else)",
    }
}

impl manifest::Guest for Echo {
    fn describe() -> manifest::Info {
        manifest::Info {
            name: "echo".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            capabilities: Vec::new(),
            config_schema_json: "{}".to_owned(),
            state_schema: 1,
        }
    }

    fn validate_config(_json: String) -> Result<(), Vec<String>> {
        Ok(())
    }
}

export!(Echo);
