//! How the lines of a lock reach the log.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

use super::*;

/// Keeps what the session lock tells.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for Lines {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = format!("{value:?}");
        if field.name() == "message" && value.contains("SESSION LOCK") {
            self.0.lock().unwrap().push(value);
        }
    }
}

const ACQUIRED: &str = "🔒 SESSION LOCK: Session lock acquired - proceeding with processing";
const RELEASED: &str = "🔒 SESSION LOCK: Session lock released successfully";

#[tokio::test]
async fn lines_come_behind_the_work_and_in_the_order_of_the_commits() {
    let lines = Lines::default();
    let _log = tracing::subscriber::set_default(lines.clone());
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let claim = f.run();
    assert_eq!(lines.take(), [""; 0]);
    f.reply(claim, &["hello"]).await;
    let part = f.send();
    assert_eq!(lines.take(), [ACQUIRED]);
    f.sent(&part).await;
    assert!(f.next().is_none());
    assert_eq!(lines.take(), [RELEASED]);
}

#[tokio::test]
async fn no_line_is_lost_when_nobody_takes_work_any_more() {
    let lines = Lines::default();
    let _log = tracing::subscriber::set_default(lines.clone());
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let claim = f.run();
    f.reply(claim, &["hello"]).await;
    let part = f.send();
    lines.take();
    f.say("m2", "are you there?").await;
    let Fixture { host, work, .. } = f;
    drop(work);
    assert_eq!(lines.take().len(), 1, "the message that met the lock");
    let settle = Settle {
        part: part.id,
        attempt: part.attempt,
        result: Settled::Sent { provider_id: None },
    };
    host.settle(settle).await.unwrap();
    assert_eq!(lines.take(), [RELEASED, ACQUIRED]);
}
