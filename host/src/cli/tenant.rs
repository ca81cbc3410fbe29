//! `nodepath tenant`: the customers of this host.

use clap::Subcommand;
use serde::Serialize;

use super::answer::Answer;
use super::context::Context;
use super::table::{table, time};
use crate::store::{Store, Tenant};

/// A burst that a plugin answers within minutes. What is above stays with the provider, which delivers again.
const MAX_PENDING: u32 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a tenant
    ///
    /// With --json: {id, name, max_pending, created_at}; times are milliseconds since 1970.
    Add {
        /// What people call it; no two have the same
        name: String,
        /// A webhook that would leave more messages waiting than this is answered 429
        #[arg(long, default_value_t = MAX_PENDING, value_parser = clap::value_parser!(u32).range(1..))]
        max_pending: u32,
    },
    /// Change how many messages of a tenant may wait; it holds from the next webhook on
    ///
    /// With --json: {id, name, max_pending, created_at}.
    Set {
        /// Which, by name or id
        #[arg(value_name = "NAME|ID")]
        tenant: String,
        /// A webhook that would leave more messages waiting than this is answered 429
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        max_pending: u32,
    },
    /// List all tenants
    ///
    /// With --json: an array of {id, name, max_pending, created_at}.
    List,
}

#[derive(Serialize)]
struct TenantJson<'a> {
    id: &'a str,
    name: &'a str,
    max_pending: u32,
    created_at: i64,
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Answer> {
        match self {
            Self::Add { name, max_pending } => {
                add(&context.store_or_new().await?, &name, max_pending).await
            }
            Self::Set {
                tenant,
                max_pending,
            } => set(&context.store().await?, &tenant, max_pending).await,
            Self::List => list(&context.store().await?).await,
        }
    }
}

async fn add(store: &Store, name: &str, max_pending: u32) -> anyhow::Result<Answer> {
    let tenant = store.add_tenant(name, max_pending).await?;
    let text = format!(
        "Added tenant {} ({}).\nNext: `nodepath device add --tenant {} --channel whatsapp …`, see its --help.",
        tenant.name,
        tenant.id,
        quoted(&tenant.name)
    );
    Answer::new(text, json(&tenant))
}

async fn set(store: &Store, tenant: &str, max_pending: u32) -> anyhow::Result<Answer> {
    let id = store.tenant(tenant).await?.id;
    let tenant = store.change_tenant(&id, max_pending).await?;
    let text = format!(
        "Tenant {} may have {max_pending} messages waiting from the next webhook on.",
        tenant.name
    );
    Answer::new(text, json(&tenant))
}

async fn list(store: &Store) -> anyhow::Result<Answer> {
    let tenants = store.tenants().await?;
    let rows: Vec<_> = tenants
        .iter()
        .map(|t| {
            [
                t.id.to_string(),
                t.name.clone(),
                t.max_pending.to_string(),
                time(Some(t.created_at.0)),
            ]
        })
        .collect();
    let empty = "There is no tenant yet; add one with `nodepath tenant add NAME`.";
    let text = table(["ID", "NAME", "MAX PENDING", "ADDED"], &rows, empty);
    Answer::new(text, tenants.iter().map(json).collect::<Vec<_>>())
}

fn json(tenant: &Tenant) -> TenantJson<'_> {
    TenantJson {
        id: tenant.id.as_str(),
        name: &tenant.name,
        max_pending: tenant.max_pending,
        created_at: tenant.created_at.0,
    }
}

/// A name as it must stand on a command line.
pub(super) fn quoted(name: &str) -> String {
    let bare = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.chars().all(bare) {
        return name.to_owned();
    }
    format!("'{}'", name.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::super::context::testing::TestContext;
    use super::*;

    fn add(name: &str) -> Command {
        Command::Add {
            name: name.to_owned(),
            max_pending: 7,
        }
    }

    #[tokio::test]
    async fn a_tenant_is_added_and_listed() {
        let t = TestContext::new();
        let added = add("acme").run(&t.context).await.unwrap();
        let listed = Command::List.run(&t.context).await.unwrap();
        assert_eq!(listed.json()[0], *added.json());
        assert_eq!(added.json()["max_pending"], 7);
        let id = added.json()["id"].as_str().unwrap();
        insta::assert_snapshot!(listed.text().replace(id, "ten_…"), @r"
        ID                                    NAME  MAX PENDING  ADDED
        ten_…  acme  7            2025-10-14 09:15:30Z
        ");
    }

    #[tokio::test]
    async fn a_tenants_bound_is_changed_by_name_or_id() {
        let t = TestContext::new();
        let added = add("acme").run(&t.context).await.unwrap();
        let id = added.json()["id"].as_str().unwrap();
        let changed = t.run("tenant set acme --max-pending 9").await.unwrap();
        insta::assert_snapshot!(changed.text(), @"Tenant acme may have 9 messages waiting from the next webhook on.");
        assert_eq!(changed.json()["max_pending"], 9);
        t.run(&format!("tenant set {id} --max-pending 8"))
            .await
            .unwrap();
        let listed = t.run("tenant list").await.unwrap();
        assert_eq!(listed.json()[0]["max_pending"], 8);
        assert!(t.run("tenant set acme --max-pending 0").await.is_err());
        assert!(t.run("tenant set other --max-pending 1").await.is_err());
    }

    #[tokio::test]
    async fn a_wrong_directory_is_told_and_not_made() {
        let t = TestContext::new();
        let error = Command::List.run(&t.context).await.unwrap_err().to_string();
        assert!(error.starts_with("there is no database "), "{error}");
        assert!(!t.dir.path().join("data").exists());
    }

    #[tokio::test]
    async fn a_name_is_taken_once() {
        let t = TestContext::new();
        add("acme").run(&t.context).await.unwrap();
        let error = add("acme").run(&t.context).await.unwrap_err();
        insta::assert_snapshot!(error, @r#"there is a tenant "acme" already; choose another name"#);
    }

    #[test]
    fn a_name_with_spaces_is_quoted() {
        assert_eq!(quoted("acme"), "acme");
        assert_eq!(quoted("Joe's bar"), "'Joe'\\''s bar'");
    }
}
