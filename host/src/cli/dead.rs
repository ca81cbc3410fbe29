//! `nodepath dead`: what could not be answered or sent.

use clap::Subcommand;
use serde_json::json;

use super::answer::{Answer, Usage, chain};
use super::context::Context;
use super::table::{dash, short, table, time};
use crate::store::Store;

/// As many as fit on a few screens.
const LIMIT: u32 = 100;

/// As many as `--all` takes up at once; what is left is told.
const ALL: u32 = 10_000;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List dead letters, the newest first: messages (msg_…) that no turn could answer, and parts of replies (out_…) that did
    /// not arrive, or of which nobody knows
    ///
    /// With --json: an array of {id, tenant, device, conversation, state, reason, at}; state is `dead`, `failed` for a part that
    /// the provider took and then could not deliver, or `held` for one of which nobody knows whether it arrived.
    List {
        /// Only this tenant's, by name or id
        #[arg(long, value_name = "NAME|ID")]
        tenant: Option<String>,
        /// How many at most
        #[arg(long, default_value_t = LIMIT)]
        limit: u32,
    },
    /// Take dead letters up again: a message gets a turn, a part is sent once more
    ///
    /// A `held` part may have arrived: replaying it may say it twice. With --json: {replayed, failed: [{id, problem}]}.
    Replay {
        /// `msg_…` or `out_…`
        #[arg(required_unless_present = "all")]
        ids: Vec<String>,
        /// All that are `dead` or `failed`; not those that are `held`, which may have arrived
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// With --all: only this tenant's, by name or id
        #[arg(long, value_name = "NAME|ID", requires = "all")]
        tenant: Option<String>,
    },
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let store = context.store().await?;
        match self {
            Self::List { tenant, limit } => list(&store, tenant.as_deref(), limit).await,
            Self::Replay { ids, all, tenant } => {
                let ids = if all {
                    all_but_held(&store, tenant.as_deref()).await?
                } else {
                    ids
                };
                replay(&store, &ids).await
            }
        }
    }
}

async fn list(store: &Store, tenant: Option<&str>, limit: u32) -> anyhow::Result<Answer> {
    let tenant = match tenant {
        Some(name) => Some(store.tenant(name).await?.id),
        None => None,
    };
    let letters = store.dead_letters(tenant.as_ref(), limit).await?;
    let rows: Vec<_> = letters
        .iter()
        .map(|l| {
            [
                l.id.clone(),
                l.state.clone(),
                l.device.clone(),
                l.conversation.clone(),
                time(Some(l.at)),
                short(&l.reason.clone().unwrap_or_else(dash), 100),
            ]
        })
        .collect();
    let headings = ["ID", "STATE", "DEVICE", "CONVERSATION", "SINCE", "REASON"];
    Answer::new(
        table(headings, &rows, "There are no dead letters."),
        letters,
    )
}

async fn all_but_held(store: &Store, tenant: Option<&str>) -> anyhow::Result<Vec<String>> {
    let tenant = match tenant {
        Some(name) => Some(store.tenant(name).await?.id),
        None => None,
    };
    let letters = store.dead_letters(tenant.as_ref(), ALL).await?;
    // The oldest first, as they came.
    Ok(letters
        .into_iter()
        .rev()
        .filter(|l| l.state != "held")
        .map(|l| l.id)
        .collect())
}

async fn replay(store: &Store, ids: &[String]) -> anyhow::Result<Answer> {
    let (mut replayed, mut failed) = (0_u32, Vec::new());
    for id in ids {
        if !id.starts_with("msg_") && !id.starts_with("out_") {
            return Err(Usage(format!(
                "{id:?} is no dead letter's id; `nodepath dead list` shows them"
            ))
            .into());
        }
        match store.replay(id).await {
            Ok(()) => replayed += 1,
            Err(error) => failed.push((id, chain(&error.into()))),
        }
    }
    let mut text = format!("Replayed {replayed} of {}.\n", ids.len());
    for (id, problem) in &failed {
        text.push_str(&format!("{id}: {problem}\n"));
    }
    let problems: Vec<_> = failed
        .iter()
        .map(|(id, problem)| json!({ "id": id, "problem": problem }))
        .collect();
    let answer = Answer::new(text, json!({ "replayed": replayed, "failed": problems }))?;
    Ok(if failed.is_empty() {
        answer
    } else {
        answer.bad()
    })
}

#[cfg(test)]
mod tests {
    use super::super::context::testing::TestContext;
    use crate::model::turn::FailureKind;
    use crate::store::{Commit, TurnEnd};

    fn give_up() -> TurnEnd {
        TurnEnd::GiveUp {
            kind: FailureKind::Trap,
            detail: "unreachable".to_owned(),
            fallback: Commit::default(),
        }
    }

    #[tokio::test]
    async fn dead_letters_are_listed_and_taken_up_again() {
        let t = TestContext::with_device().await;
        t.receives("hello", give_up).await;
        let listed = t.run("dead list").await.unwrap();
        insta::assert_snapshot!(t.steady(listed.text()), @r"
        ID                                    STATE  DEVICE  CONVERSATION                          SINCE                 REASON
        msg_…  dead   gen     cnv_c5a2f48862984b72719ff4cbca6cde7c  2025-10-14 09:15:30Z  trap: unreachable
        ");
        let replayed = t.run("dead replay --all --tenant acme").await.unwrap();
        assert_eq!(replayed.text(), "Replayed 1 of 1.\n");
        let empty = t.run("dead list").await.unwrap();
        assert_eq!(empty.text(), "There are no dead letters.\n");
        let pending = t.run("conversation list").await.unwrap();
        assert_eq!(pending.json()[0]["pending"], 1);
    }

    #[tokio::test]
    async fn what_the_provider_could_not_deliver_is_listed_and_sent_again() {
        let t = TestContext::with_device().await;
        t.has_failed("hello").await;
        let listed = t.run("dead list").await.unwrap();
        insta::assert_snapshot!(t.steady(listed.text()), @r"
        ID                                    STATE   DEVICE  CONVERSATION                          SINCE                 REASON
        out_…  failed  gen     cnv_c5a2f48862984b72719ff4cbca6cde7c  2025-10-14 09:15:30Z  131026: not deliverable
        ");
        let doctor = t.run("doctor").await.unwrap();
        let told = "1 that the provider could not deliver";
        assert!(doctor.text().contains(told), "{}", doctor.text());
        let replayed = t.run("dead replay --all").await.unwrap();
        assert_eq!(replayed.text(), "Replayed 1 of 1.\n");
        let empty = t.run("dead list").await.unwrap();
        assert_eq!(*empty.json(), serde_json::json!([]));
    }

    #[tokio::test]
    async fn what_is_not_there_is_told_and_the_rest_is_done() {
        let t = TestContext::with_device().await;
        t.receives("hello", give_up).await;
        let listed = t.run("dead list").await.unwrap();
        let id = listed.json()[0]["id"].as_str().unwrap();
        let answer = t.run(&format!("dead replay msg_none {id}")).await.unwrap();
        assert_eq!(answer.json()["replayed"], 1);
        assert_eq!(answer.json()["failed"][0]["id"], "msg_none");
        assert_eq!(answer.exit_code(), std::process::ExitCode::FAILURE);
        let wrong = t.run("dead replay cnv_1").await.unwrap_err();
        assert!(wrong.is::<super::Usage>());
    }
}
