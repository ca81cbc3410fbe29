//! A Nodepath plugin. `wit/` documents everything that it can do; `cargo component build --release` makes the component.

// The interfaces of `wit/` as Rust: imports in `nodepath::plugin`, exports in `exports::nodepath::plugin`.
wit_bindgen::generate!({ path: "wit", world: "conversation" });

use exports::nodepath::plugin::{handler, manifest};
use handler::{Outcome, Trigger, Turn, TurnError};
use nodepath::plugin::{effects, types::Content};

struct Plugin;

impl handler::Guest for Plugin {
    /// Runs once for each turn, in a fresh instance: what must last goes into `nodepath::plugin::state`. Nothing that it asks
    /// for happens before it returns `Ok(Outcome::Commit)`.
    fn handle(turn: Turn) -> Result<Outcome, TurnError> {
        let Trigger::Messages(messages) = turn.trigger else {
            return Ok(Outcome::Ignore);
        };
        // Messages that came in one burst are one turn, and get one reply.
        let said: Vec<&str> = messages.iter().map(|message| text(&message.content)).collect();
        effects::send_text(&format!("You said: {}", said.join("\n")), None)
            .map_err(|error| TurnError::Failed(error.to_string()))?;
        Ok(Outcome::Commit)
    }
}

fn text(content: &Content) -> &str {
    match content {
        Content::Text(text) => text,
        Content::Interactive(choice) => &choice.title,
        _ => "(something that is not text)",
    }
}

impl manifest::Guest for Plugin {
    /// Runs when the plugin is added, and tells the host what it is.
    fn describe() -> manifest::Info {
        manifest::Info {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            capabilities: Vec::new(),
            config_schema_json: "{}".to_owned(),
            state_schema: 1,
        }
    }

    /// Runs when a device is given a configuration; each problem is one sentence.
    fn validate_config(_json: String) -> Result<(), Vec<String>> {
        Ok(())
    }
}

export!(Plugin);
