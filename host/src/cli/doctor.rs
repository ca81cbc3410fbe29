//! `nodepath doctor`: whether a host would run well here, and what to do about what is wrong.
//!
//! It changes nothing: run by another user than the host's, it would leave files that the host can't write.

mod checks;
mod here;

use serde::Serialize;
use serde_json::json;

use super::answer::{Answer, chain};
use super::context::Context;
use super::table::plain;

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Health {
    Ok,
    /// It works, and somebody should look at it.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
struct Check {
    name: &'static str,
    status: Health,
    detail: String,
    /// What to do; empty where nothing is.
    advice: String,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            status: Health::Ok,
            detail: detail.into(),
            advice: String::new(),
        }
    }

    fn warn(name: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            name,
            status: Health::Warn,
            detail: detail.into(),
            advice: advice.into(),
        }
    }

    fn fail(name: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            status: Health::Fail,
            ..Self::warn(name, detail, advice)
        }
    }

    /// What failed, where the error says what to do itself.
    fn error(name: &'static str, error: impl Into<anyhow::Error>) -> Self {
        Self::fail(name, chain(&error.into()), "")
    }
}

/// With `--json`: `{ok, checks: [{name, status, detail, advice}]}`; status is `ok`, `warn` or `fail`.
pub(super) async fn run(context: &Context) -> anyhow::Result<Answer> {
    let checks = checks::all(context).await;
    let failed = checks.iter().filter(|c| c.status == Health::Fail).count();
    let warned = checks.iter().filter(|c| c.status == Health::Warn).count();
    let mut text: String = checks.iter().map(lines).collect();
    text.push_str(&match (failed, warned) {
        (0, 0) => "\nAll is well.\n".to_owned(),
        (0, warned) => format!(
            "\nA host would run; look at {warned} of {}.\n",
            checks.len()
        ),
        (failed, _) => format!(
            "\nA host would not run well: {failed} of {} failed.\n",
            checks.len()
        ),
    });
    let answer = Answer::new(text, json!({ "ok": failed == 0, "checks": checks }))?;
    Ok(if failed == 0 { answer } else { answer.bad() })
}

fn lines(check: &Check) -> String {
    let status = match check.status {
        Health::Ok => "ok",
        Health::Warn => "warn",
        Health::Fail => "FAIL",
    };
    let mut text = String::new();
    let detail: Vec<_> = check.detail.lines().map(plain).collect();
    let indent = format!("\n{:23}", "");
    text.push_str(&format!(
        "{status:<4}  {:<16} {}\n",
        check.name,
        detail.join(&indent)
    ));
    if !check.advice.is_empty() {
        text.push_str(&format!("{:23}→ {}\n", "", check.advice));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::context::testing::TestContext;
    use super::*;

    #[tokio::test]
    async fn an_empty_place_is_told_and_left_as_it_is() {
        let t = TestContext::new();
        let answer = run(&t.context).await.unwrap();
        let names: Vec<_> = answer.json()["checks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].as_str().unwrap())
            .collect();
        assert_eq!(names[0], "config");
        assert_eq!(answer.json()["ok"], true, "{}", answer.text());
        assert_eq!(
            std::fs::read_dir(t.dir.path()).unwrap().count(),
            0,
            "{}",
            answer.text()
        );
    }

    #[tokio::test]
    async fn a_host_that_was_set_up_is_well() {
        let t = TestContext::new();
        t.context
            .store_or_new()
            .await
            .unwrap()
            .add_tenant("acme", 5)
            .await
            .unwrap();
        let answer = run(&t.context).await.unwrap();
        assert_eq!(answer.json()["ok"], true, "{}", answer.text());
    }

    #[tokio::test]
    async fn a_lost_key_is_a_failure() {
        let t = TestContext::new();
        t.context.store_or_new().await.unwrap();
        std::fs::remove_file(t.dir.path().join("data/seal.key")).unwrap();
        let answer = run(&t.context).await.unwrap();
        assert_eq!(answer.json()["ok"], false);
        assert!(
            answer.text().contains("put the key back"),
            "{}",
            answer.text()
        );
    }

    #[test]
    fn a_check_says_what_to_do() {
        let check = Check::warn("devices", "one\ntwo", "do this");
        insta::assert_snapshot!(lines(&check), @r"
        warn  devices          one
                               two
                               → do this
        ");
    }
}
