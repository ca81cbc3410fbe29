//! `nodepath conversation`: look at conversations, and take them over.

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::answer::Answer;
use super::context::Context;
use super::table::{dash, facts, plain, short, table, time};
use crate::config::parse_duration;
use crate::model::delivery::{PartBody, PartKind};
use crate::model::{Content, ConversationId, InboundMessage};
use crate::store::{
    ByHand, ConversationDetail, ConversationSummary, InboxRow, OutboxRow, Shown, Store, TurnRow,
};

/// As many as fit on a few screens.
const LIMIT: u32 = 100;

/// The longest text of a message that a line shows, in characters.
const EXCERPT: usize = 60;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List conversations, the last active first
    ///
    /// With --json: an array of {id, tenant, device, prospect, prospect_name, state, locked_at, paused_until, turns, pending,
    /// last_inbound_at}; times are milliseconds since 1970.
    List {
        /// Only this tenant's, by name or id
        #[arg(long, value_name = "NAME|ID")]
        tenant: Option<String>,
        /// Only those whose session lock is held
        #[arg(long)]
        locked: bool,
        /// How many at most
        #[arg(long, default_value_t = LIMIT)]
        limit: u32,
    },
    /// Show a conversation: its lock, and its last messages, turns and replies
    ///
    /// With --json: what `conversation list` has, and inbox: [{id, message, state, reason, turn, received_at}], turns_run: [{id,
    /// epoch, attempt, plugin, trigger, outcome, detail, cpu_us, started_at, finished_at}], outbox: [{id, turn, idx, body, state,
    /// status, attempts, provider_message_id, error, created_at}], timers: [[name, due]], tags: [[key, value]].
    Show {
        /// `cnv_…`
        id: String,
    },
    /// Take the session lock away; the turn that runs can't commit and is run again, parts not sent are held
    ///
    /// With --json: {id, done}.
    Unlock {
        /// `cnv_…`
        id: String,
    },
    /// Hand a conversation over to a human: its plugin is not run
    ///
    /// With --json: {id, done, until, changed}; `changed` is false where it was so already.
    Pause {
        /// `cnv_…`
        id: String,
        /// For how long, for example 2h [default: until `resume`]
        #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
        duration: Option<Duration>,
    },
    /// Hand a conversation back to its plugin
    ///
    /// With --json: {id, done, changed}; `changed` is false where it was so already.
    Resume {
        /// `cnv_…`
        id: String,
    },
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let store = context.store().await?;
        match self {
            Self::List {
                tenant,
                locked,
                limit,
            } => {
                let shown = if locked { Shown::Locked } else { Shown::All };
                list(&store, tenant.as_deref(), shown, limit).await
            }
            Self::Show { id } => show(&store, &id).await,
            Self::Unlock { id } => {
                store.unlock(&ConversationId::from_trusted(&id)).await?;
                done(
                    &id,
                    "unlocked",
                    "Unlocked; what waits is run again. Parts that were not sent are among `nodepath dead list`.",
                )
            }
            Self::Pause { id, duration } => pause(context, &store, &id, duration).await,
            Self::Resume { id } => resume(&store, &id).await,
        }
    }
}

fn done(id: &str, what: &str, text: &str) -> anyhow::Result<Answer> {
    Answer::new(text, json!({ "id": id, "done": what }))
}

async fn pause(
    context: &Context,
    store: &Store,
    id: &str,
    duration: Option<Duration>,
) -> anyhow::Result<Answer> {
    let until = duration.map(|duration| context.clock().now().plus(duration));
    let paused = store
        .pause(&ConversationId::from_trusted(id), until)
        .await?;
    let mut text = match until {
        Some(until) => format!(
            "A human has it until {}; what comes meanwhile is theirs.",
            time(Some(until.0))
        ),
        None => format!(
            "A human has it until `nodepath conversation resume {id}`; what comes meanwhile is theirs."
        ),
    };
    if paused == ByHand::WasSo {
        text.push_str(" It was so already.");
    }
    let changed = paused == ByHand::Done;
    let json = json!({ "id": id, "done": "paused", "until": until, "changed": changed });
    Answer::new(text, json)
}

async fn resume(store: &Store, id: &str) -> anyhow::Result<Answer> {
    let resumed = store.resume(&ConversationId::from_trusted(id)).await?;
    let text = match resumed {
        ByHand::Done => "Handed back; the plugin is run with the signal `resumed`.",
        ByHand::WasSo => "Its plugin has it. It was so already.",
    };
    let changed = resumed == ByHand::Done;
    let json = json!({ "id": id, "done": "resumed", "changed": changed });
    Answer::new(text, json)
}

async fn list(
    store: &Store,
    tenant: Option<&str>,
    shown: Shown,
    limit: u32,
) -> anyhow::Result<Answer> {
    let tenant = match tenant {
        Some(name) => Some(store.tenant(name).await?.id),
        None => None,
    };
    let conversations = store.conversations(tenant.as_ref(), shown, limit).await?;
    let rows: Vec<_> = conversations
        .iter()
        .map(|c| {
            [
                c.id.clone(),
                c.device.clone(),
                who(c),
                state(c),
                time(c.locked_at),
                c.pending.to_string(),
                c.turns.to_string(),
                time(c.last_inbound_at),
            ]
        })
        .collect();
    let empty = match shown {
        Shown::Locked => "No conversation is locked.",
        Shown::All => "There is no conversation yet; it begins with the first webhook.",
    };
    let headings = [
        "ID",
        "DEVICE",
        "PROSPECT",
        "STATE",
        "LOCKED SINCE",
        "PENDING",
        "TURNS",
        "LAST WROTE",
    ];
    Answer::new(table(headings, &rows, empty), conversations)
}

async fn show(store: &Store, id: &str) -> anyhow::Result<Answer> {
    let detail = store
        .conversation(&ConversationId::from_trusted(id))
        .await?;
    let ConversationDetail {
        summary,
        inbox,
        turns_run,
        outbox,
        timers,
        tags,
    } = &detail;
    let mut text = facts(&[
        ("conversation", summary.id.clone()),
        ("tenant", summary.tenant.clone()),
        ("device", summary.device.clone()),
        ("prospect", who(summary)),
        ("state", state(summary)),
        ("locked since", time(summary.locked_at)),
        ("pending", summary.pending.to_string()),
        ("turns", summary.turns.to_string()),
        ("last wrote", time(summary.last_inbound_at)),
        (
            "timers",
            named(
                timers
                    .iter()
                    .map(|(name, due)| format!("{name} at {}", time(Some(*due)))),
            ),
        ),
        (
            "tags",
            named(tags.iter().map(|(key, value)| format!("{key}={value}"))),
        ),
    ]);
    let headings = ["CAME IN", "ID", "STATE", "MESSAGE", "REASON"];
    let rows: Vec<_> = inbox.iter().map(inbox_row).collect();
    text.push_str(&format!(
        "\n{}",
        table(headings, &rows, "No message is kept.")
    ));
    let headings = [
        "TURN", "EPOCH", "TRY", "OUTCOME", "CPU", "STARTED", "DETAIL",
    ];
    let rows: Vec<_> = turns_run.iter().map(turn_row).collect();
    text.push_str(&format!("\n{}", table(headings, &rows, "No turn has run.")));
    let headings = [
        "WENT OUT", "ID", "STATE", "STATUS", "TRIES", "MESSAGE", "ERROR",
    ];
    let rows: Vec<_> = outbox.iter().map(outbox_row).collect();
    text.push_str(&format!(
        "\n{}",
        table(headings, &rows, "Nothing went out.")
    ));
    Answer::new(text, detail)
}

fn who(c: &ConversationSummary) -> String {
    match &c.prospect_name {
        Some(name) => format!("{} ({})", c.prospect, short(name, 30)),
        None => c.prospect.clone(),
    }
}

fn state(c: &ConversationSummary) -> String {
    match c.paused_until {
        None => c.state.clone(),
        Some(i64::MAX) => format!("{}, a human has it", c.state),
        Some(until) => format!("{}, a human has it until {}", c.state, time(Some(until))),
    }
}

fn named(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.collect();
    if items.is_empty() {
        dash()
    } else {
        items.join("\n")
    }
}

fn inbox_row(row: &InboxRow) -> [String; 5] {
    let message = serde_json::from_str::<InboundMessage>(&row.message);
    let says = message.map_or_else(|_| row.message.clone(), |m| content(&m.content));
    [
        time(Some(row.received_at)),
        row.id.clone(),
        row.state.clone(),
        short(&says, EXCERPT),
        row.reason.clone().unwrap_or_else(dash),
    ]
}

fn turn_row(row: &TurnRow) -> [String; 7] {
    [
        row.id.clone(),
        row.epoch.to_string(),
        row.attempt.to_string(),
        row.outcome.clone(),
        format!("{}µs", row.cpu_us),
        time(Some(row.started_at)),
        short(row.detail.as_deref().unwrap_or("-"), 100),
    ]
}

fn outbox_row(row: &OutboxRow) -> [String; 7] {
    let body = serde_json::from_str::<PartBody>(&row.body);
    let says = body.map_or_else(|_| row.body.clone(), |body| part(&body.kind));
    [
        time(Some(row.created_at)),
        row.id.clone(),
        row.state.clone(),
        row.status.clone().unwrap_or_else(dash),
        row.attempts.to_string(),
        short(&says, EXCERPT),
        short(row.error.as_deref().unwrap_or("-"), 100),
    ]
}

/// A message that came in, in one line.
fn content(content: &Content) -> String {
    match content {
        Content::Text { text } => text.replace('\n', " "),
        Content::Interactive { title, .. } => format!("[{title}]"),
        other => {
            let value = serde_json::to_value(other).unwrap_or(Value::Null);
            format!(
                "({})",
                value.get("type").and_then(Value::as_str).unwrap_or("other")
            )
        }
    }
}

/// A part of a reply, in one line.
pub(super) fn part(kind: &PartKind) -> String {
    match kind {
        PartKind::Text { text } => plain(&text.replace('\n', " ")),
        PartKind::Media {
            media,
            url,
            caption,
            ..
        } => {
            let caption = caption.as_deref().unwrap_or_default();
            format!("({} {url}) {caption}", media.as_str())
                .trim_end()
                .to_owned()
        }
        PartKind::Buttons { text, buttons } => {
            let titles: Vec<_> = buttons.iter().map(|b| format!("[{}]", b.title)).collect();
            format!("{} {}", text.replace('\n', " "), titles.join(" "))
        }
        PartKind::React { target, emoji } => match emoji {
            Some(emoji) => format!("(reaction {emoji} to {target})"),
            None => format!("(reaction to {target} taken back)"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::testing::TestContext;
    use super::*;
    use crate::model::OutboxId;
    use crate::store::{Commit, TurnEnd};

    fn reply(text: &str) -> TurnEnd {
        let kind = PartKind::Text {
            text: text.to_owned(),
        };
        let body = PartBody {
            kind,
            reply_to: None,
            delay_ms: 0,
            ext: vec![],
        };
        TurnEnd::Commit(Commit {
            parts: vec![(OutboxId::generate(), body)],
            ..Commit::default()
        })
    }

    #[tokio::test]
    async fn conversations_are_listed_and_shown() {
        let t = TestContext::with_device().await;
        let none = t.run("conversation list").await.unwrap();
        insta::assert_snapshot!(none.text(), @"There is no conversation yet; it begins with the first webhook.");
        let id = t.receives("hello\nthere", || reply("Hi!")).await;
        let all = t
            .run("conversation list --tenant acme --locked")
            .await
            .unwrap();
        insta::assert_snapshot!(t.steady(all.text()), @r"
        ID                                    DEVICE  PROSPECT                  STATE    LOCKED SINCE          PENDING  TURNS  LAST WROTE
        cnv_c5a2f48862984b72719ff4cbca6cde7c  gen     6281234567890 (Sari�[2J)  sending  2025-10-14 09:15:30Z  0        1      2025-10-14 09:15:30Z
        ");
        assert_eq!(all.json()[0]["state"], "sending");
        let shown = t.run(&format!("conversation show {id}")).await.unwrap();
        insta::assert_snapshot!(t.steady(shown.text()), @r"
        conversation  cnv_c5a2f48862984b72719ff4cbca6cde7c
        tenant        ten_…
        device        gen
        prospect      6281234567890 (Sari�[2J)
        state         sending
        locked since  2025-10-14 09:15:30Z
        pending       0
        turns         1
        last wrote    2025-10-14 09:15:30Z
        timers        -
        tags          -

        CAME IN               ID                                    STATE  MESSAGE      REASON
        2025-10-14 09:15:30Z  msg_…  done   hello there  -

        TURN                                  EPOCH  TRY  OUTCOME    CPU    STARTED               DETAIL
        trn_…  1      1    committed  250µs  2025-10-14 09:15:30Z  -

        WENT OUT              ID                                    STATE    STATUS  TRIES  MESSAGE  ERROR
        2025-10-14 09:15:30Z  out_…  sending  -       1      Hi!      -
        ");
        assert_eq!(shown.json()["outbox"][0]["state"], "sending");
        assert_eq!(shown.json()["outbox"][0]["body"]["text"], "Hi!");
        assert_eq!(
            shown.json()["inbox"][0]["message"]["content"]["text"],
            "hello\nthere"
        );
        assert_eq!(shown.json()["prospect_name"], "Sari\u{1b}[2J");
    }

    #[tokio::test]
    async fn a_lock_is_taken_away_once() {
        let t = TestContext::with_device().await;
        let id = t.receives("hello", || reply("Hi!")).await;
        let done = t.run(&format!("conversation unlock {id}")).await.unwrap();
        assert_eq!(done.json()["done"], "unlocked");
        let again = t
            .run(&format!("conversation unlock {id}"))
            .await
            .unwrap_err();
        assert!(again.to_string().contains("is not locked"), "{again}");
    }

    #[tokio::test]
    async fn a_human_takes_over_for_a_while_and_hands_back() {
        let t = TestContext::with_device().await;
        let id = t
            .receives("hello", || TurnEnd::Commit(Commit::default()))
            .await;
        let paused = t
            .run(&format!("conversation pause {id} --for 2h"))
            .await
            .unwrap();
        insta::assert_snapshot!(paused.text(), @"A human has it until 2025-10-14 11:15:30Z; what comes meanwhile is theirs.");
        let shown = t.run("conversation list").await.unwrap();
        assert!(
            shown
                .text()
                .contains("idle, a human has it until 2025-10-14 11:15:30Z"),
            "{}",
            shown.text()
        );
        let resumed = t.run(&format!("conversation resume {id}")).await.unwrap();
        assert_eq!(resumed.json()["done"], "resumed");
        assert_eq!(resumed.json()["changed"], true);
        assert!(t.run("conversation pause cnv_none").await.is_err());
        assert!(t.run("conversation resume cnv_none").await.is_err());
    }

    #[tokio::test]
    async fn pausing_and_resuming_twice_is_done_well_and_told() {
        let t = TestContext::with_device().await;
        let id = t
            .receives("hello", || TurnEnd::Commit(Commit::default()))
            .await;
        let resume = format!("conversation resume {id}");
        let pause = format!("conversation pause {id}");
        for (line, changed, told) in [
            (&resume, false, "Its plugin has it. It was so already."),
            (&pause, true, "comes meanwhile is theirs."),
            (
                &pause,
                false,
                "comes meanwhile is theirs. It was so already.",
            ),
            (&resume, true, "signal `resumed`."),
        ] {
            let answer = t.run(line).await.unwrap();
            assert_eq!(answer.json()["changed"], changed, "{line}");
            assert!(answer.text().ends_with(told), "{}", answer.text());
            assert_eq!(answer.exit_code(), std::process::ExitCode::SUCCESS);
        }
    }
}
