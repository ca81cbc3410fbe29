//! Tenants.

use sqlx::FromRow;

use super::{Error, Store};
use crate::model::{TenantId, Timestamp};

/// A customer of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// What people call it.
    pub name: String,
    /// A webhook that would leave more messages waiting than this is answered 429.
    pub max_pending: u32,
    /// When it was added.
    pub created_at: Timestamp,
}

#[derive(FromRow)]
struct TenantRow {
    id: String,
    name: String,
    max_pending: i64,
    created_at: i64,
}

impl From<TenantRow> for Tenant {
    fn from(row: TenantRow) -> Self {
        Self {
            id: TenantId::from_trusted(row.id),
            name: row.name,
            max_pending: u32::try_from(row.max_pending).unwrap_or(u32::MAX),
            created_at: Timestamp(row.created_at),
        }
    }
}

impl Store {
    /// Adds a tenant.
    ///
    /// # Errors
    /// If the name is empty or taken.
    pub async fn add_tenant(&self, name: &str, max_pending: u32) -> Result<Tenant, Error> {
        let name = name.trim();
        if name.is_empty() {
            return Err(Error::Refused("a tenant needs a name".to_owned()));
        }
        let tenant = Tenant {
            id: TenantId::generate(),
            name: name.to_owned(),
            max_pending,
            created_at: self.now(),
        };
        let added = sqlx::query(
            "INSERT INTO tenant (id, name, max_pending, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(tenant.id.as_str())
        .bind(&tenant.name)
        .bind(tenant.max_pending)
        .bind(tenant.created_at.0)
        .execute(&self.writers)
        .await?;
        if added.rows_affected() == 0 {
            return Err(Error::Refused(format!(
                "there is a tenant {name:?} already; choose another name"
            )));
        }
        Ok(tenant)
    }

    /// Changes how many of a tenant's messages may wait. It holds from the next webhook on.
    ///
    /// # Errors
    /// If there is no such tenant.
    pub async fn change_tenant(&self, id: &TenantId, max_pending: u32) -> Result<Tenant, Error> {
        let changed: Option<TenantRow> =
            sqlx::query_as("UPDATE tenant SET max_pending = $2 WHERE id = $1 RETURNING *")
                .bind(id.as_str())
                .bind(max_pending)
                .fetch_optional(&self.writers)
                .await?;
        changed
            .map(Tenant::from)
            .ok_or_else(|| Error::not_found("tenant", id))
    }

    /// All tenants.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn tenants(&self) -> Result<Vec<Tenant>, Error> {
        let rows: Vec<TenantRow> = sqlx::query_as("SELECT * FROM tenant ORDER BY created_at, id")
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.into_iter().map(Tenant::from).collect())
    }

    /// The tenant of this name or id.
    ///
    /// # Errors
    /// If there is none.
    pub async fn tenant(&self, name_or_id: &str) -> Result<Tenant, Error> {
        let row: Option<TenantRow> =
            sqlx::query_as("SELECT * FROM tenant WHERE name = $1 OR id = $1")
                .bind(name_or_id)
                .fetch_optional(&self.readers)
                .await?;
        row.map(Tenant::from)
            .ok_or_else(|| Error::not_found("tenant", name_or_id))
    }

    pub(super) async fn tenant_by_id(&self, id: &TenantId) -> Result<Tenant, Error> {
        self.tenant(id.as_str()).await
    }
}
