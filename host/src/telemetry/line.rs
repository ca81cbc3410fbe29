//! A log line: the level, the message, its fields; and at the end where and when.
//!
//! The seed's `grep "SESSION LOCK" logs/app.log` shows lines that begin with the level and the message, so the time stands at
//! the end. Control characters are escaped: what a stranger wrote can't forge a line or steer a terminal.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::model::Clock;

/// Formats a line for people.
pub(super) struct TextLine {
    clock: Clock,
}

impl TextLine {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock }
    }
}

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let parts = Parts::of(event);
        let level = *event.metadata().level();
        if out.has_ansi_escapes() {
            write!(
                out,
                "\x1b[{}m{level:<5}\x1b[0m {}",
                colour(level),
                parts.message
            )?;
        } else {
            write!(out, "{level:<5} {}", parts.message)?;
        }
        write!(out, "{}", parts.fields)?;
        let spans = spans(ctx);
        let target = event.metadata().target();
        let now = self.clock.now();
        if out.has_ansi_escapes() {
            write!(out, " \x1b[2m{spans}target={target} time={now}\x1b[0m")?;
        } else {
            write!(out, " {spans}target={target} time={now}")?;
        }
        writeln!(out)
    }
}

/// Formats a line as a JSON object: `level`, `message`, `target`, `time`, `span`, and the event's `fields`.
pub(super) struct JsonLine {
    clock: Clock,
}

impl JsonLine {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock }
    }
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = JsonFields::default();
        event.record(&mut fields);
        let line = serde_json::json!({
            "level": event.metadata().level().as_str(),
            "message": fields.message,
            "target": event.metadata().target(),
            "time": self.clock.now().to_string(),
            "span": spans(ctx).trim_end(),
            "fields": fields.others,
        });
        writeln!(out, "{line}")
    }
}

/// The spans around an event, outermost first, each followed by a space: `turn{turn=trn_1} `.
fn spans<S, N>(ctx: &FmtContext<'_, S, N>) -> String
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    let mut text = String::new();
    for span in ctx
        .event_scope()
        .into_iter()
        .flat_map(|scope| scope.from_root())
    {
        text.push_str(span.name());
        let extensions = span.extensions();
        if let Some(fields) = extensions
            .get::<FormattedFields<N>>()
            .filter(|f| !f.is_empty())
        {
            text.push('{');
            text.push_str(fields.trim_start());
            text.push('}');
        }
        text.push(' ');
    }
    text
}

fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        _ => 34,
    }
}

/// A span's fields as every line shows them. The registry keeps them by this type, so they are formatted once for all layers; a field that
/// is recorded after its span began would be added by each of them, so there is none.
pub(super) struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, mut out: Writer<'w>, fields: R) -> fmt::Result {
        let mut parts = Parts::default();
        fields.record(&mut parts);
        out.write_str(&parts.fields)
    }
}

/// The message and the fields, each field as ` name=value`.
#[derive(Default)]
struct Parts {
    message: String,
    fields: String,
}

impl Parts {
    fn of(event: &Event<'_>) -> Self {
        let mut parts = Self::default();
        event.record(&mut parts);
        parts
    }

    fn add(&mut self, field: &Field, text: &str) {
        if field.name() == "message" {
            push_escaped(&mut self.message, text);
            return;
        }
        let needs_quotes = text.is_empty() || text.contains([' ', '"', '=']);
        self.fields.push(' ');
        self.fields.push_str(field.name());
        self.fields.push('=');
        if needs_quotes {
            self.fields.push('"');
            push_escaped(
                &mut self.fields,
                &text.replace('\\', "\\\\").replace('"', "\\\""),
            );
            self.fields.push('"');
        } else {
            push_escaped(&mut self.fields, text);
        }
    }
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, &chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

fn push_escaped(into: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() {
            into.extend(c.escape_default());
        } else {
            into.push(c);
        }
    }
}

/// An error with what caused it; a cause that the message repeats is told once.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[derive(Default)]
struct JsonFields {
    message: String,
    others: serde_json::Map<String, serde_json::Value>,
}

impl JsonFields {
    fn add(&mut self, field: &Field, value: serde_json::Value) {
        match (field.name(), value) {
            ("message", serde_json::Value::String(text)) => self.message = text,
            (name, value) => {
                self.others.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for JsonFields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, chain(value).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::model::Timestamp;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn clock() -> Clock {
        Clock::manual(Timestamp(1_760_433_330_000))
    }

    fn logged(act: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let file = tracing_subscriber::fmt::layer()
            .event_format(TextLine::new(clock()))
            .fmt_fields(Fields)
            .with_ansi(false)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(file), act);
        String::from_utf8(captured.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_begins_as_the_seed_shows_it() {
        let text = logged(|| {
            tracing::info!(
                id_device = "device_123",
                id_prospect = "*********7890",
                epoch = 1,
                "🔒 SESSION LOCK: Session lock acquired - proceeding with processing"
            );
            tracing::warn!(
                "🔒 SESSION LOCK: Session already locked - duplicate message detected, skipping processing"
            );
            tracing::error!("🔒 SESSION LOCK: Failed to acquire session lock");
        });
        insta::assert_snapshot!(text, @r"
        INFO  🔒 SESSION LOCK: Session lock acquired - proceeding with processing id_device=device_123 id_prospect=*********7890 epoch=1 target=nodepath::telemetry::line::tests time=2025-10-14T09:15:30.000Z
        WARN  🔒 SESSION LOCK: Session already locked - duplicate message detected, skipping processing target=nodepath::telemetry::line::tests time=2025-10-14T09:15:30.000Z
        ERROR 🔒 SESSION LOCK: Failed to acquire session lock target=nodepath::telemetry::line::tests time=2025-10-14T09:15:30.000Z
        ");
    }

    #[test]
    fn spans_stand_at_the_end() {
        let text = logged(|| {
            let turn = tracing::info_span!("turn", turn = "trn_1", conversation = "cnv_1");
            turn.in_scope(|| tracing::info!(target: "plugin", order = 7, "looked up"));
        });
        insta::assert_snapshot!(text, @"INFO  looked up order=7 turn{turn=trn_1 conversation=cnv_1} target=plugin time=2025-10-14T09:15:30.000Z");
    }

    #[test]
    fn what_a_stranger_wrote_stays_on_its_line() {
        let text = logged(|| {
            tracing::info!(name = "a \"b\"\nERROR forged", "hi\r\n\x1b[31mred");
        });
        assert_eq!(text.lines().count(), 1);
        insta::assert_snapshot!(text, @r#"INFO  hi\r\n\u{1b}[31mred name="a \"b\"\nERROR forged" target=nodepath::telemetry::line::tests time=2025-10-14T09:15:30.000Z"#);
    }

    #[test]
    fn an_error_is_told_with_its_cause_and_says_nothing_twice() {
        #[derive(Debug, thiserror::Error)]
        #[error("can't open it")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("disk on fire"));
        let text =
            logged(|| tracing::error!(error = &error as &dyn std::error::Error, "store: no"));
        assert!(
            text.starts_with("ERROR store: no error=\"can't open it: disk on fire\""),
            "{text}"
        );
    }

    #[test]
    fn the_console_can_have_it_as_json() {
        let captured = Captured::default();
        let writer = captured.clone();
        let console = tracing_subscriber::fmt::layer()
            .event_format(JsonLine::new(clock()))
            .fmt_fields(Fields)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(console), || {
            tracing::info!(epoch = 3, id_device = "device_123", "🔒 SESSION LOCK: x");
        });
        let line: serde_json::Value = serde_json::from_slice(&captured.0.lock().unwrap()).unwrap();
        assert_eq!(line["message"], "🔒 SESSION LOCK: x");
        assert_eq!(line["fields"]["epoch"], 3);
        assert_eq!(line["time"], "2025-10-14T09:15:30.000Z");
    }
}
