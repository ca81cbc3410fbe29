//! Turns that go as their plugin wants.

use futures_util::future::BoxFuture;

use super::*;
use nodepath_model::TimerId;
use nodepath_model::delivery::{Button, MediaKind};
use nodepath_model::effect::{Observed, Outgoing, Scope};
use nodepath_model::turn::{Author, HistoryEntry, HistoryPage};

#[tokio::test]
async fn echo_answers_a_burst_once() {
    let bench = Bench::new();
    let plugin = bench.plugin("echo").await;
    let burst = Trigger::Messages(vec![message("one"), message("two")]);
    let run = bench.runtime.run(&plugin, turn_of(burst)).await;
    assert_eq!(run.texts(), ["You said: one\ntwo"]);
    assert!(run.cpu > Duration::ZERO && run.wall >= run.cpu && run.memory_peak > 0);
    bench.empty().await;
}

#[tokio::test]
async fn every_effect_comes_back_as_data_in_the_order_of_the_calls() {
    let bench = Bench::new();
    let run = bench
        .script(
            "answer a; delay 500 b; media https://example.com/a.pdf Price list; buttons Yes,No; react; \
             unreact; handover They asked; timer t 1000 p; cancel u; tag vip yes; tag vip",
        )
        .await;
    let mut effects = run.effects().iter();
    let mut sent = || match effects.next() {
        Some(Effect::Send {
            message,
            reply_to,
            delay_ms,
            ..
        }) => (message.clone(), reply_to.clone(), *delay_ms),
        other => panic!("{other:?}"),
    };
    let text = |text: &str| Outgoing::Text {
        text: text.to_owned(),
    };
    let last = MessageId::from_trusted("msg_1");
    assert_eq!(sent(), (text("a"), Some(last.clone()), 0));
    assert_eq!(sent(), (text("b"), None, 500));
    let media = Outgoing::Media {
        media: MediaKind::Document,
        url: "https://example.com/a.pdf".to_owned(),
        caption: Some("Price list".to_owned()),
        filename: None,
    };
    assert_eq!(sent().0, media);
    let button = |id: &str, title: &str| Button {
        id: id.to_owned(),
        title: title.to_owned(),
    };
    let buttons = Outgoing::Buttons {
        text: "Choose:".to_owned(),
        buttons: vec![button("button-1", "Yes"), button("button-2", "No")],
    };
    assert_eq!(sent().0, buttons);
    for emoji in [Some("👍".to_owned()), None] {
        let target = last.clone();
        assert_eq!(sent().0, Outgoing::React { target, emoji });
    }
    let rest: Vec<String> = effects
        .map(|effect| serde_json::to_string(effect).unwrap())
        .collect();
    insta::assert_snapshot!(rest.join("\n"), @r#"
    {"effect":"handover","reason":"They asked","note":null}
    {"effect":"schedule","name":"t","due":1760433331000,"payload":[112]}
    {"effect":"cancel_timer","name":"u"}
    {"effect":"set_tag","key":"vip","value":"yes"}
    {"effect":"set_tag","key":"vip","value":null}
    "#);
}

#[tokio::test]
async fn a_refused_effect_is_told_to_the_plugin_and_the_turn_goes_on() {
    let bench = Bench::new();
    let run = bench
        .script("buttons a,b,c,d; media http://example.com/a.png; delay 99000 late; bigtext 70000; reply done")
        .await;
    insta::assert_snapshot!(run.texts().join("\n"), @r"
    error: invalid: there are 4 buttons; this channel shows 1 to 3
    error: invalid: the url must be absolute, begin with `https://` and be percent-encoded
    error: invalid: a delay may be 30000 ms; use a timer to write later
    error: limit-exceeded: a text may have 65536 bytes; this one has 70000
    done
    ");
}

#[tokio::test]
async fn the_buffer_is_bounded() {
    let bench = Bench::new();
    let run = bench.script("manyeffects 100000").await;
    assert_eq!(run.effects().len(), limits::MESSAGES);
    assert_eq!(
        run.logs[0].message,
        "20 effects were taken, then limit-exceeded: a turn may send 20 messages"
    );
}

#[tokio::test]
async fn silent_and_ignore_drop_what_they_say_they_drop() {
    let bench = Bench::new();
    let asked = "reply hi; set conversation k v; tag vip yes; timer t 1 p; handover please";
    let silent = bench.script(&format!("{asked}; silent")).await;
    let kinds: Vec<_> = silent
        .effects()
        .iter()
        .map(|effect| serde_json::to_value(effect).unwrap()["effect"].clone())
        .collect();
    assert_eq!(kinds, ["set_state", "set_tag", "schedule", "handover"]);
    let ignored = bench.script(&format!("{asked}; ignore")).await;
    assert_eq!(ignored.effects(), []);
}

#[tokio::test]
async fn a_timer_and_a_signal_start_turns_too() {
    let bench = Bench::new();
    let plugin = bench.plugin("test-script").await;
    let timer = Trigger::Timer {
        id: TimerId::from_trusted("tmr_1"),
        name: "follow-up".to_owned(),
        due: Timestamp(1),
        payload: b"cart".to_vec(),
    };
    let run = bench.runtime.run(&plugin, turn_of(timer)).await;
    assert_eq!(run.texts(), ["timer follow-up cart"]);
    let signal = Trigger::Signal {
        kind: "resumed".to_owned(),
        json: "{}".to_owned(),
    };
    let run = bench.runtime.run(&plugin, turn_of(signal)).await;
    assert_eq!(run.effects(), []);
}

#[tokio::test]
async fn a_turn_knows_where_it_is_and_how_it_is_configured() {
    let bench = Bench::new();
    let plugin = bench.plugin("test-script").await;
    let input = TurnInput {
        config: r#"{"shop":"Sari's","open":[9,17]}"#.to_owned(),
        attempt: 2,
        ..turn("turn; config shop; config open; config door; now")
    };
    let run = bench.runtime.run(&plugin, input).await;
    assert_eq!(
        run.texts(),
        [
            "turn 3 attempt 2 whatsapp device_1 6281234567890 Sari",
            "shop=Sari's",
            "open=[9,17]",
            "door is not set",
            "now 1760433330000",
        ]
    );
}

/// A store with a few values and a past.
struct Kept;

impl Reads for Kept {
    fn state<'a>(
        &'a self,
        scope: Scope,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredValue>, ReadError>> {
        let value = match (scope, key) {
            (Scope::Conversation, "broken") => {
                return Box::pin(async { Err(ReadError::Unavailable) });
            }
            (Scope::Conversation, "name") => Some(("Sari", 1)),
            (Scope::Prospect, "visits") => Some(("41", 7)),
            (Scope::Tenant, "motto") => Some(("Always open", 3)),
            _ => None,
        };
        let stored = value.map(|(value, version)| StoredValue {
            value: value.as_bytes().to_vec(),
            version,
        });
        Box::pin(async { Ok(stored) })
    }

    fn state_keys<'a>(
        &'a self,
        scope: Scope,
        _: &'a str,
        _: Option<&'a str>,
        _: u32,
    ) -> BoxFuture<'a, Result<Vec<String>, ReadError>> {
        let keys: &[&str] = match scope {
            Scope::Conversation => &["broken", "name"],
            Scope::Prospect | Scope::Tenant => &[],
        };
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        Box::pin(async { Ok(keys) })
    }

    fn history<'a>(
        &'a self,
        limit: u32,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<HistoryPage, ReadError>> {
        let entry = |n: u32| HistoryEntry {
            id: format!("out_{n}"),
            at: Timestamp(1),
            author: Author::Plugin,
            content: Content::text(format!("entry {n} of {limit}")),
        };
        let entries = (1..=2).map(entry).collect();
        Box::pin(async {
            Ok(HistoryPage {
                entries,
                next: None,
            })
        })
    }
}

async fn over_kept(script: &str) -> Run {
    let bench = Bench::new();
    let plugin = bench.plugin("test-script").await;
    let input = TurnInput {
        reads: Arc::new(Kept),
        ..turn(script)
    };
    bench.runtime.run(&plugin, input).await
}

#[tokio::test]
async fn state_is_read_through_the_turns_own_writes() {
    let run = over_kept(
        "get conversation name; set conversation name Budi; get conversation name; delete conversation name; \
         get conversation name; set conversation new x; keys conversation; incr prospect visits 1; \
         get prospect visits; get conversation broken",
    )
    .await;
    insta::assert_snapshot!(run.texts().join("\n"), @r"
    name=Sari
    name=Budi
    name is not set
    keys: broken,new
    visits=42
    error: unavailable: try again later
    ");
}

#[tokio::test]
async fn what_a_turn_saw_of_shared_state_is_told() {
    let run = over_kept(
        "get conversation name; get tenant motto; get tenant none; incr prospect visits 1; set prospect own x; \
         get prospect own",
    )
    .await;
    let saw = |scope, key: &str, version| Observed {
        scope,
        key: key.to_owned(),
        version,
    };
    assert_eq!(
        run.result.unwrap().observed,
        [
            saw(Scope::Tenant, "motto", 3),
            saw(Scope::Tenant, "none", 0)
        ]
    );
}

#[tokio::test]
async fn state_writes_carry_their_bounds_and_their_end() {
    let run =
        over_kept("expire prospect k 1000 v; expire prospect k 0 v; bigstate tenant big 300000")
            .await;
    let Some(Effect::SetState { expires_at, .. }) = run.effects().first() else {
        panic!("{run:?}")
    };
    assert_eq!(*expires_at, Some(Timestamp(1_760_433_331_000)));
    assert_eq!(
        run.texts(),
        [
            "error: invalid: ttl-ms is 0; use `delete` to forget a value",
            "error: too-large: 262144"
        ]
    );
}

#[tokio::test]
async fn history_is_a_page_of_at_most_a_hundred() {
    let run = over_kept("history 4000000000").await;
    assert_eq!(
        run.texts(),
        ["plugin: entry 1 of 100\nplugin: entry 2 of 100"]
    );
}

#[tokio::test]
async fn presence_leaves_at_once() {
    let bench = Bench::new();
    let plugin = bench.plugin("test-script").await;
    let (presence, mut signs) = unbounded_channel();
    let input = TurnInput {
        presence,
        ..turn("read; typing; typing off; fail now")
    };
    let run = bench.runtime.run(&plugin, input).await;
    assert_eq!(run.failure().kind, FailureKind::Failed);
    let sent: Vec<_> = std::iter::from_fn(|| signs.try_recv().ok()).collect();
    assert_eq!(
        sent,
        [
            Presence::Read,
            Presence::Typing(true),
            Presence::Typing(false)
        ]
    );
}

#[tokio::test]
async fn time_stands_still_and_chance_repeats() {
    let bench = Bench::new();
    let plugin = bench.plugin("test-script").await;
    let with_seed = async |seed| {
        let input = TurnInput {
            seed,
            ..turn("random; random; now; wasi")
        };
        let run = bench.runtime.run(&plugin, input).await;
        run.texts().join("\n")
    };
    let first = with_seed(1).await;
    assert_eq!(first, with_seed(1).await);
    assert_ne!(first, with_seed(2).await);
    assert!(first.contains("wall clock: 1760433330000"), "{first}");
    assert!(first.contains("monotonic clock: stands still"), "{first}");
}

#[tokio::test]
async fn an_attempt_sees_what_the_one_before_it_saw() {
    let bench = Bench::new();
    let plugin = bench.plugin("test-fickle").await;
    let attempt = async |attempt, seed| {
        let input = TurnInput {
            attempt,
            seed,
            ..turn("hi")
        };
        bench.runtime.run(&plugin, input).await
    };
    let (first, second) = (attempt(1, 7).await, attempt(2, 7).await);
    assert_eq!(first.failure().kind, FailureKind::Trap);
    assert_eq!(second.texts(), ["attempt 2"]);
    assert_eq!(first.logs[0].message, second.logs[0].message);
    let other = attempt(2, 8).await;
    assert_ne!(first.logs[0].message, other.logs[0].message);
}

#[tokio::test]
async fn behind_wasi_there_is_nothing() {
    let bench = Bench::new();
    let run = bench.script("wasi").await;
    let seen = run.texts().join("\n");
    for nothing in [
        "environment: 0",
        "arguments: 0",
        "files: none",
        "sockets: refused",
    ] {
        assert!(seen.contains(nothing), "{seen}");
    }
}

#[tokio::test]
async fn what_a_guest_writes_for_people_is_kept_and_cleaned() {
    let bench = Bench::new();
    let run = bench
        .script("log warn careful; stdout to whom it may concern; stderr a\u{1b}[31mb")
        .await;
    let line = |n: usize| {
        (
            &run.logs[n].level,
            &run.logs[n].source,
            run.logs[n].message.as_str(),
        )
    };
    assert_eq!(line(0), (&LogLevel::Warn, &LogSource::Log, "careful"));
    assert_eq!(
        run.logs[0].fields,
        [("turn".to_owned(), "trn_1".to_owned())]
    );
    assert_eq!(
        line(1),
        (
            &LogLevel::Info,
            &LogSource::Stdout,
            "to whom it may concern"
        )
    );
    assert_eq!(line(2), (&LogLevel::Warn, &LogSource::Stderr, "a[31mb"));
    let flood = bench.script("flood 5000").await;
    assert!(flood.logs.len() < 1_000);
    assert_eq!(flood.logs.len() as u64 + flood.logs_dropped, 5_000);
}

#[tokio::test]
async fn a_configuration_is_validated_by_the_plugin() {
    let bench = Bench::new();
    let plugin = bench.plugin("test-script").await;
    let ask = async |json: &str| bench.runtime.validate_config(&plugin, json).await.unwrap();
    assert_eq!(ask("{}").await, Ok(()));
    assert_eq!(
        ask(r#"["refuse-me"]"#).await,
        Err(vec!["The configuration asks to be refused.".to_owned()])
    );
}
