//! Panics when it is asked what it is, so it can't be registered.

use guest_kit::{handler, manifest};

struct Guest;

impl manifest::Guest for Guest {
    fn describe() -> manifest::Info {
        panic!("test-manifest does not say what it is");
    }

    fn validate_config(_json: String) -> Result<(), Vec<String>> {
        Ok(())
    }
}

impl handler::Guest for Guest {
    fn handle(_turn: handler::Turn) -> Result<handler::Outcome, handler::TurnError> {
        Ok(handler::Outcome::Ignore)
    }
}

guest_kit::export!(Guest with_types_in guest_kit);
