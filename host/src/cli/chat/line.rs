//! What a chat shows: each thing as a line for people, and as an object for programs.

use std::time::Duration;

use serde::Serialize;

use super::super::conversation::part;
use super::super::table::{plain, size};
use crate::config::format_duration;
use crate::model::delivery::{PartKind, Presence};
use crate::model::effect::Scope;
use crate::model::turn::Blame;
use crate::model::{Effect, Timestamp, TurnFailure};
use crate::plugin::{LogLevel, LogLine, LogSource, Run};

/// One thing that is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Line {
    /// The plugin that is talked to.
    Plugin {
        name: String,
        version: String,
        description: String,
        digest: String,
    },
    /// A message of the plugin.
    Reply { message: PartKind },
    /// A sign that left at once.
    Presence { sign: &'static str },
    /// A line that the plugin wrote for people.
    Log {
        level: &'static str,
        source: &'static str,
        message: String,
        fields: Vec<(String, String)>,
    },
    /// Something else that the plugin asked for.
    Effect {
        effect: Effect,
        /// When the turn began, for what is due after it.
        #[serde(skip)]
        now: Timestamp,
    },
    /// The turn ended with a decision.
    Turn {
        cpu_us: u64,
        wall_us: u64,
        memory_bytes: u64,
    },
    /// The turn failed, and nothing of it happened.
    Failure {
        kind: &'static str,
        blame: &'static str,
        detail: String,
    },
    /// A value that the plugin keeps; in hexadecimal if it is no text.
    State {
        scope: Scope,
        key: String,
        value: String,
    },
    /// Something about the conversation itself.
    Note { text: String },
}

impl Line {
    pub(super) fn note(text: impl Into<String>) -> Self {
        Self::Note { text: text.into() }
    }

    pub(super) fn presence(sign: Presence) -> Self {
        let sign = match sign {
            Presence::Typing(true) => "typing",
            Presence::Typing(false) => "typing_ended",
            Presence::Read => "read",
        };
        Self::Presence { sign }
    }

    /// Everything that a run shows, its messages aside: they come as the parts that they are sent in.
    pub(super) fn of_run(run: Run, now: Timestamp) -> Vec<Self> {
        let mut lines: Vec<_> = run.logs.into_iter().map(Self::log).collect();
        if run.logs_dropped > 0 {
            lines.push(Self::note(format!(
                "{} more log lines were over the turn's limit and were dropped",
                run.logs_dropped
            )));
        }
        match run.result {
            Ok(outcome) => {
                let others = outcome
                    .effects
                    .into_iter()
                    .filter(|e| !matches!(e, Effect::Send { .. }));
                lines.extend(others.map(|effect| Self::Effect { effect, now }));
                lines.push(Self::Turn {
                    cpu_us: micros(run.cpu),
                    wall_us: micros(run.wall),
                    memory_bytes: run.memory_peak,
                });
            }
            Err(failure) => lines.push(Self::failure(failure)),
        }
        lines
    }

    fn log(line: LogLine) -> Self {
        Self::Log {
            level: match line.level {
                LogLevel::Trace => "trace",
                LogLevel::Debug => "debug",
                LogLevel::Info => "info",
                LogLevel::Warn => "warn",
                LogLevel::Error => "error",
            },
            source: match line.source {
                LogSource::Log => "log",
                LogSource::Stdout => "stdout",
                LogSource::Stderr => "stderr",
            },
            message: line.message,
            fields: line.fields,
        }
    }

    fn failure(failure: TurnFailure) -> Self {
        Self::Failure {
            kind: failure.kind.as_str(),
            blame: match failure.kind.blame() {
                Blame::Guest => "guest",
                Blame::Host => "host",
            },
            detail: failure.detail,
        }
    }

    /// The line for people, with the end of the line.
    pub(super) fn text(&self) -> String {
        let (label, text) = match self {
            Self::Plugin {
                name,
                version,
                description,
                ..
            } => {
                return format!(
                    "{}\n",
                    plain(&format!("{name} {version}: {description} (/help, /quit)"))
                );
            }
            Self::Reply { message } => return reply(message),
            Self::Presence { sign } => ("shows", (*sign).replace('_', " ")),
            Self::Log {
                level,
                message,
                fields,
                ..
            } => {
                let fields: String = fields
                    .iter()
                    .map(|(name, value)| format!(" {name}={value}"))
                    .collect();
                ("log", format!("{level}: {message}{fields}"))
            }
            Self::Effect { effect, now } => effect_text(effect, *now),
            Self::Turn {
                cpu_us,
                wall_us,
                memory_bytes,
            } => (
                "turn",
                format!(
                    "done: {} CPU, {} in all, {}",
                    millis(*cpu_us),
                    millis(*wall_us),
                    size(*memory_bytes)
                ),
            ),
            Self::Failure {
                kind,
                blame,
                detail,
            } => {
                let whose = if *blame == "guest" {
                    "the plugin's fault"
                } else {
                    "the host's fault"
                };
                ("FAILED", format!("{kind} ({whose}): {detail}"))
            }
            Self::State { scope, key, value } => {
                ("state", format!("{}.{key} = {value}", scope.as_str()))
            }
            Self::Note { text } => ("note", text.clone()),
        };
        labelled(label, &text)
    }
}

fn labelled(label: &str, text: &str) -> String {
    let lines: Vec<_> = text.lines().map(plain).collect();
    let indent = format!("\n{:12}", "");
    format!("  {label:<8}  {}\n", lines.join(&indent))
}

fn reply(message: &PartKind) -> String {
    let text = match message {
        PartKind::Text { text } => text.clone(),
        PartKind::Buttons { text, buttons } => {
            let buttons: String = buttons
                .iter()
                .map(|b| format!("\n[{}]  /button {}", b.title, b.id))
                .collect();
            format!("{text}{buttons}")
        }
        other => part(other),
    };
    let lines: Vec<_> = text.lines().map(plain).collect();
    format!("bot> {}\n", lines.join("\n     "))
}

fn effect_text(effect: &Effect, now: Timestamp) -> (&'static str, String) {
    match effect {
        // Messages are shown as the parts that they are sent in.
        Effect::Send { .. } => ("message", String::new()),
        Effect::Handover { reason, note } => {
            let note = note
                .as_deref()
                .map(|note| format!(" ({note})"))
                .unwrap_or_default();
            (
                "handover",
                format!("to a human: {reason}{note}; /resume hands it back"),
            )
        }
        Effect::Schedule { name, due, payload } => {
            let payload = if payload.is_empty() {
                String::new()
            } else {
                format!(" with {}", value_text(payload))
            };
            (
                "timer",
                format!("{name} in {}{payload}", format_duration(due.since(now))),
            )
        }
        Effect::CancelTimer { name } => ("timer", format!("{name} is taken back")),
        Effect::SetTag {
            key,
            value: Some(value),
        } => ("tag", format!("{key} = {value}")),
        Effect::SetTag { key, value: None } => ("tag", format!("{key} is taken away")),
        Effect::SetState {
            scope,
            key,
            value,
            expires_at,
        } => {
            let until = expires_at
                .map(|at| format!(" for {}", format_duration(at.since(now))))
                .unwrap_or_default();
            (
                "state",
                format!("{}.{key} = {}{until}", scope.as_str(), value_text(value)),
            )
        }
        Effect::DeleteState { scope, key } => {
            ("state", format!("{}.{key} is forgotten", scope.as_str()))
        }
        Effect::IncrementState { scope, key, by } => {
            ("state", format!("{}.{key} += {by}", scope.as_str()))
        }
    }
}

/// Bytes as the text that they mostly are, else in hexadecimal.
pub(super) fn value_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(|c| c.is_control() && c != '\n') => text.to_owned(),
        _ => format!("0x{}", hex::encode(bytes)),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(micros: u64) -> String {
    format!("{}.{:03} ms", micros / 1_000, micros % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::delivery::Button;

    const NOW: Timestamp = Timestamp(1_760_433_330_000);

    fn text(effect: Effect) -> String {
        Line::Effect { effect, now: NOW }.text()
    }

    #[test]
    fn effects_are_told_in_one_line_each() {
        let scope = Scope::Tenant;
        let key = "n".to_owned();
        let effects = [
            Effect::SetState {
                scope,
                key: key.clone(),
                value: vec![0, 255],
                expires_at: Some(NOW.plus(Duration::from_secs(60))),
            },
            Effect::IncrementState {
                scope,
                key: key.clone(),
                by: -2,
            },
            Effect::DeleteState {
                scope,
                key: key.clone(),
            },
            Effect::Schedule {
                name: "follow-up".to_owned(),
                due: NOW.plus(Duration::from_secs(600)),
                payload: b"x".to_vec(),
            },
            Effect::CancelTimer {
                name: "follow-up".to_owned(),
            },
            Effect::SetTag {
                key: key.clone(),
                value: Some("1".to_owned()),
            },
            Effect::SetTag { key, value: None },
            Effect::Handover {
                reason: "asked".to_owned(),
                note: Some("be kind".to_owned()),
            },
        ];
        let all: String = effects.into_iter().map(text).collect();
        insta::assert_snapshot!(all, @r"
        state     tenant.n = 0x00ff for 1m
        state     tenant.n += -2
        state     tenant.n is forgotten
        timer     follow-up in 10m with x
        timer     follow-up is taken back
        tag       n = 1
        tag       n is taken away
        handover  to a human: asked (be kind); /resume hands it back
        ");
    }

    #[test]
    fn buttons_are_shown_with_what_presses_them() {
        let button = Button {
            id: "yes".to_owned(),
            title: "Yes\x1b".to_owned(),
        };
        let message = PartKind::Buttons {
            text: "Sure?".to_owned(),
            buttons: vec![button],
        };
        assert_eq!(
            Line::Reply { message }.text(),
            "bot> Sure?\n     [Yes\u{fffd}]  /button yes\n"
        );
    }

    #[test]
    fn names_for_programs_do_not_change() {
        let line = Line::Failure {
            kind: "trap",
            blame: "guest",
            detail: "x".to_owned(),
        };
        let json = serde_json::to_string(&line).unwrap();
        assert_eq!(
            json,
            r#"{"type":"failure","kind":"trap","blame":"guest","detail":"x"}"#
        );
        let effect = Effect::SetTag {
            key: "k".to_owned(),
            value: None,
        };
        let json = serde_json::to_string(&Line::Effect { effect, now: NOW }).unwrap();
        assert_eq!(
            json,
            r#"{"type":"effect","effect":{"effect":"set_tag","key":"k","value":null}}"#
        );
    }
}
