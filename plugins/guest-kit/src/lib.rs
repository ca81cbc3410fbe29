//! What the test guests share: the bindings of the world `conversation`, and [`guest!`], which turns a function into a plugin.
//!
//! A plugin that people learn from, like `echo`, has its own bindings and manifest instead, so that its source is complete.

wit_bindgen::generate!({
    path: "../../wit",
    world: "conversation",
    pub_export_macro: true,
});

pub use exports::nodepath::plugin::{handler, manifest};
pub use nodepath::plugin::{clock, config, effects, history, log, presence, state, types};

/// Makes the plugin of this crate: `guest!("name", "what it does", handle)`, where `handle` has the signature of
/// `handler.handle`.
#[macro_export]
macro_rules! guest {
    ($name:literal, $description:literal, $handle:path) => {
        struct Guest;

        impl $crate::manifest::Guest for Guest {
            fn describe() -> $crate::manifest::Info {
                $crate::describe($name, $description)
            }

            fn validate_config(json: String) -> Result<(), Vec<String>> {
                $crate::validate_config(&json)
            }
        }

        impl $crate::handler::Guest for Guest {
            fn handle(
                turn: $crate::handler::Turn,
            ) -> Result<$crate::handler::Outcome, $crate::handler::TurnError> {
                $handle(turn)
            }
        }

        $crate::export!(Guest with_types_in $crate);
    };
}

/// The manifest of a test guest: no capabilities, any configuration.
pub fn describe(name: &str, description: &str) -> manifest::Info {
    manifest::Info {
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        description: description.to_owned(),
        capabilities: Vec::new(),
        config_schema_json: "{}".to_owned(),
        state_schema: 1,
    }
}

/// Refuses a configuration that contains the text `"refuse-me"`, so that a host test can see a refusal.
pub fn validate_config(json: &str) -> Result<(), Vec<String>> {
    if json.contains("\"refuse-me\"") {
        return Err(vec!["The configuration asks to be refused.".to_owned()]);
    }
    Ok(())
}
