//! `config`: what the tenant configured for this plugin on this device.

use serde_json::Value;
use wasmtime::component::HasData;

use crate::bindings::config::Host;

/// The configuration of one turn.
pub(crate) struct Config {
    json: String,
    /// Read when it is first asked for; most plugins ask for nothing.
    parsed: Option<Value>,
}

impl Config {
    /// A JSON object, or nothing.
    pub(crate) fn new(json: String) -> Self {
        let json = match json.trim() {
            "" => "{}".to_owned(),
            _ => json,
        };
        Self { json, parsed: None }
    }
}

impl HasData for Config {
    type Data<'a> = &'a mut Self;
}

impl Host for Config {
    fn get(&mut self, key: String) -> Option<String> {
        let json = &self.json;
        let parsed = self
            .parsed
            .get_or_insert_with(|| serde_json::from_str(json).unwrap_or(Value::Null));
        match parsed.get(&key)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    fn all_json(&mut self) -> String {
        self.json.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_as_they_are_and_the_rest_as_json() {
        let mut config = Config::new(r#"{"a":"x","b":{"c":1},"d":null}"#.to_owned());
        let mut get = |key: &str| config.get(key.to_owned());
        assert_eq!(get("a").as_deref(), Some("x"));
        assert_eq!(get("b").as_deref(), Some(r#"{"c":1}"#));
        assert_eq!(get("d").as_deref(), Some("null"));
        assert_eq!(get("e"), None);
    }

    #[test]
    fn no_configuration_is_an_empty_object() {
        let mut config = Config::new(String::new());
        assert_eq!(config.all_json(), "{}");
        assert_eq!(config.get("a".to_owned()), None);
    }
}
