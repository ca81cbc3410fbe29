//! Changing a device's settings by `--set key=value`. The keys are those of `DeviceSettings`, so a new one needs nothing here.

use clap::Args;
use serde_json::{Map, Value, json};

use super::super::answer::Usage;
use crate::config::{format_duration, format_size, parse_duration, parse_size};
use crate::model::DeviceSettings;
use crate::model::device::Fallback;

#[derive(Debug, Args)]
pub(super) struct SettingArgs {
    /// What a message does that comes while a turn runs: restart, queue or skip
    #[arg(long, value_name = "POLICY")]
    overlap: Option<String>,
    /// How long it must be silent before the first turn, for example 4s
    #[arg(long, value_name = "TIME")]
    debounce: Option<String>,
    /// What the prospect is told when a turn fails for good: silence, handover, or text:WORDS
    #[arg(long, value_name = "WHAT")]
    fallback: Option<String>,
    /// Any other setting, for example max_restarts=1, max_wait=20s or budget.memory=128MiB
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl SettingArgs {
    pub(super) fn is_empty(&self) -> bool {
        self.pairs().is_ok_and(|pairs| pairs.is_empty())
    }

    /// These settings with the changes; all problems are told together.
    pub(super) fn applied_to(&self, settings: DeviceSettings) -> Result<DeviceSettings, Usage> {
        let mut settings = settings;
        let mut problems = Vec::new();
        for (key, value) in self.pairs()? {
            match with(&settings, key, value) {
                Ok(changed) => settings = changed,
                Err(problem) => problems.push(problem),
            }
        }
        problems.extend(settings.problems());
        if problems.is_empty() {
            return Ok(settings);
        }
        Err(Usage(problems.join("\n  and: ")))
    }

    fn pairs(&self) -> Result<Vec<(&str, &str)>, Usage> {
        let named = [
            ("overlap", &self.overlap),
            ("debounce", &self.debounce),
            ("fallback", &self.fallback),
        ];
        let mut pairs: Vec<_> = named
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.as_deref()?)))
            .collect();
        for pair in &self.set {
            pairs.push(pair.split_once('=').ok_or_else(|| {
                Usage(format!(
                    "--set {pair}: write KEY=VALUE, for example max_restarts=1"
                ))
            })?);
        }
        Ok(pairs)
    }
}

/// The settings as lines `key = value`, with times and sizes as people write them.
pub(super) fn lines(settings: &DeviceSettings) -> String {
    let lines = flat(settings).into_iter().map(|(key, value)| {
        let number = value.as_u64();
        let (key, value) = match (key.strip_suffix("_ms"), key.strip_suffix("_bytes"), number) {
            (Some(key), _, Some(ms)) => (
                key.to_owned(),
                format_duration(std::time::Duration::from_millis(ms)),
            ),
            (_, Some(key), Some(bytes)) => (key.to_owned(), format_size(bytes)),
            _ if key == "fallback" => (key, fallback_text(&settings.fallback)),
            _ => match value {
                Value::String(text) => (key, text),
                other => (key, other.to_string()),
            },
        };
        format!("{key} = {value}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The settings with one of them changed. `debounce=4s` stands for `debounce_ms=4000`.
fn with(settings: &DeviceSettings, key: &str, text: &str) -> Result<DeviceSettings, String> {
    let known = flat(settings);
    let (time, size) = (format!("{key}_ms"), format!("{key}_bytes"));
    let (key, value) = if key == "fallback" {
        (key, fallback(text)?)
    } else if known.contains_key(&time) {
        let time_value = parse_duration(text).map_err(|error| format!("{key}: {error}"))?;
        (
            time.as_str(),
            json!(u64::try_from(time_value.as_millis()).unwrap_or(u64::MAX)),
        )
    } else if known.contains_key(&size) {
        let bytes = parse_size(text).map_err(|error| format!("{key}: {error}"))?;
        (size.as_str(), json!(bytes))
    } else {
        match known.get(key) {
            Some(Value::Number(_)) => {
                let number: u64 = text
                    .parse()
                    .map_err(|_| format!("{key}: {text:?} is not a whole number"))?;
                (key, json!(number))
            }
            Some(_) => (key, json!(text)),
            None => return Err(unknown(key, &known)),
        }
    };
    let mut object = json!(settings);
    let pointer = format!("/{}", key.replace('.', "/"));
    if let Some(place) = object.pointer_mut(&pointer) {
        *place = value;
    }
    serde_json::from_value(object).map_err(|error| format!("{key}: {error}"))
}

fn fallback(text: &str) -> Result<Value, String> {
    match text.split_once(':') {
        Some(("text", words)) => Ok(json!({ "kind": "text", "text": words })),
        None if matches!(text, "silence" | "handover") => Ok(json!({ "kind": text })),
        _ => Err(format!(
            "fallback: {text:?} is none; write silence, handover, or text:WORDS"
        )),
    }
}

fn fallback_text(fallback: &Fallback) -> String {
    match fallback {
        Fallback::Silence => "silence".to_owned(),
        Fallback::Handover => "handover".to_owned(),
        Fallback::Text { text } => format!("text:{text}"),
    }
}

fn unknown(key: &str, known: &Map<String, Value>) -> String {
    let keys: Vec<_> = known
        .keys()
        .map(|key| {
            let bare = key
                .strip_suffix("_ms")
                .or_else(|| key.strip_suffix("_bytes"));
            bare.unwrap_or(key)
        })
        .collect();
    format!("there is no setting {key:?}; there are {}", keys.join(", "))
}

/// All settings by name, those within another with a dot. `fallback` stays whole.
fn flat(settings: &DeviceSettings) -> Map<String, Value> {
    let mut flat = Map::new();
    let Value::Object(top) = json!(settings) else {
        return flat;
    };
    for (key, value) in top {
        match value {
            Value::Object(inner) if key != "fallback" => {
                for (name, value) in inner {
                    flat.insert(format!("{key}.{name}"), value);
                }
            }
            value => {
                flat.insert(key, value);
            }
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::device::Overlap;

    fn set(pairs: &[&str]) -> Result<DeviceSettings, String> {
        let args = SettingArgs {
            overlap: None,
            debounce: None,
            fallback: None,
            set: pairs.iter().map(|p| (*p).to_owned()).collect(),
        };
        args.applied_to(DeviceSettings::default())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn settings_are_changed_by_name_with_times_and_sizes_as_people_write_them() {
        let settings = set(&[
            "overlap=queue",
            "debounce=4s",
            "max_wait_ms=9000",
            "budget.memory=128MiB",
            "budget.cpu_ms=500",
            "fallback=text:Back soon: promised",
        ])
        .unwrap();
        assert_eq!(settings.overlap, Overlap::Queue);
        assert_eq!((settings.debounce_ms, settings.max_wait_ms), (4_000, 9_000));
        assert_eq!(
            (settings.budget.memory_bytes, settings.budget.cpu_ms),
            (128 << 20, 500)
        );
        let text = "Back soon: promised".to_owned();
        assert_eq!(settings.fallback, Fallback::Text { text });
    }

    #[test]
    fn all_problems_are_told_together_with_what_there_is() {
        let error = set(&[
            "overlapp=queue",
            "overlap=never",
            "debounce=4",
            "max_attempts=0",
            "fallback=sorry",
            "max_restarts=few",
        ]);
        insta::assert_snapshot!(error.unwrap_err(), @r#"
        there is no setting "overlapp"; there are budget.cpu, budget.memory, budget.wall, debounce, duplicate_window, fallback, max_attempts, max_restarts, max_wait, overlap, part_delay, takeover, unknown, unknown_window
          and: overlap: unknown variant `never`, expected one of `restart`, `queue`, `skip`
          and: debounce: "4" is not a length of time: write one like 250ms, 30s, 5m, 2h or 30d
          and: fallback: "sorry" is none; write silence, handover, or text:WORDS
          and: max_restarts: "few" is not a whole number
          and: max_attempts must be from 1 to 100: without one no turn would ever run, and after many the conversation has waited for hours
        "#);
        insta::assert_snapshot!(set(&["debounce"]).unwrap_err(), @"--set debounce: write KEY=VALUE, for example max_restarts=1");
    }

    #[test]
    fn settings_are_shown_as_they_are_set() {
        insta::assert_snapshot!(lines(&DeviceSettings::default()), @r#"
        budget.cpu = 1s
        budget.memory = 64MiB
        budget.wall = 30s
        debounce = 0s
        duplicate_window = 2s
        fallback = silence
        max_attempts = 5
        max_restarts = 3
        max_wait = 20s
        overlap = restart
        part_delay = 0s
        takeover = 1h
        unknown = hold
        unknown_window = 30s
        "#);
    }
}
