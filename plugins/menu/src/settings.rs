//! The configuration of a device that this plugin answers on.

use serde_json::Value;

/// What a tenant may set, as JSON Schema. Keep it in step with [`problems`].
pub const SCHEMA: &str = r#"{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "business": { "type": "string", "description": "The name in the greeting." },
    "hours": { "type": "string", "description": "The answer to `hours`." },
    "address": { "type": "string", "description": "The answer to `address`." },
    "follow_up_ms": {
      "type": "integer",
      "minimum": 0,
      "description": "How long after the menu to ask whether help is needed; 0 is never."
    }
  }
}"#;

const TEXTS: [&str; 3] = ["business", "hours", "address"];
const FOLLOW_UP: &str = "follow_up_ms";
const AN_HOUR_MS: u64 = 60 * 60 * 1_000;

#[derive(Debug, PartialEq)]
pub struct Settings {
    pub business: String,
    pub hours: String,
    pub address: String,
    /// None is never.
    pub follow_up_ms: Option<u64>,
}

impl Settings {
    /// Reads them through `get`, which answers the value of a key.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let text = |key, default: &str| get(key).unwrap_or_else(|| default.to_owned());
        let follow_up_ms = get(FOLLOW_UP)
            .and_then(|value| value.parse().ok())
            .unwrap_or(AN_HOUR_MS);
        Self {
            business: text("business", "our shop"),
            hours: text("hours", "We are open Monday to Friday, 9:00 to 18:00."),
            address: text("address", "You find us at 1 Market Square."),
            follow_up_ms: (follow_up_ms > 0).then_some(follow_up_ms),
        }
    }
}

/// What is wrong with a configuration, one sentence for each problem.
pub fn problems(json: &str) -> Vec<String> {
    match serde_json::from_str(json) {
        Err(error) => vec![format!("The configuration is not JSON: {error}.")],
        Ok(Value::Object(fields)) => fields
            .iter()
            .filter_map(|(key, value)| problem(key, value))
            .collect(),
        Ok(_) => vec!["The configuration must be a JSON object.".to_owned()],
    }
}

fn problem(key: &str, value: &Value) -> Option<String> {
    if TEXTS.contains(&key) {
        return (!value.is_string()).then(|| format!("`{key}` must be a string."));
    }
    if key == FOLLOW_UP {
        let wanted = "must be a whole number of milliseconds, 0 or more";
        return (!value.is_u64()).then(|| format!("`{key}` {wanted}."));
    }
    Some(format!(
        "`{key}` is unknown; there are {} and {FOLLOW_UP}.",
        TEXTS.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_default() {
        let settings = Settings::read(|_| None);
        assert_eq!(settings.follow_up_ms, Some(AN_HOUR_MS));
        assert!(problems("{}").is_empty());
    }

    #[test]
    fn a_follow_up_after_0_ms_is_none() {
        let settings = Settings::read(|key| (key == FOLLOW_UP).then(|| "0".to_owned()));
        assert_eq!(settings.follow_up_ms, None);
    }

    #[test]
    fn every_problem_is_told() {
        let found = problems(r#"{ "hours": 9, "follow_up_ms": -1, "colour": "red" }"#);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(problems("[]"), ["The configuration must be a JSON object."]);
    }

    #[test]
    fn the_schema_names_what_is_checked() {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap_or_default();
        for key in TEXTS.iter().chain([&FOLLOW_UP]) {
            assert!(
                schema.pointer(&format!("/properties/{key}")).is_some(),
                "{key}"
            );
        }
    }
}
