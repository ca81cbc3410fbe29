//! Plugin versions: a component's bytes under its digest, for the tenant that registered it.

use sqlx::FromRow;

use super::{Error, Store};
use crate::model::{Digest, TenantId, Timestamp};

/// A plugin version to add; it has been checked.
#[derive(Debug)]
pub struct NewPlugin {
    /// Whose it is.
    pub tenant: TenantId,
    /// The SHA-256 of the component.
    pub digest: Digest,
    /// What it calls itself.
    pub name: String,
    /// The version that it tells.
    pub version: String,
    /// What it says of itself, as JSON.
    pub manifest: String,
    /// The component.
    pub component: Vec<u8>,
}

/// A plugin version that is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginVersion {
    /// The SHA-256 of the component.
    pub digest: Digest,
    /// What it calls itself.
    pub name: String,
    /// The version that it tells.
    pub version: String,
    /// What it says of itself, as JSON.
    pub manifest: String,
    /// The component's length, in bytes.
    pub size_bytes: u64,
    /// When it was registered.
    pub created_at: Timestamp,
}

#[derive(FromRow)]
struct PluginRow {
    digest: String,
    name: String,
    version: String,
    manifest: String,
    size_bytes: i64,
    created_at: i64,
}

impl From<PluginRow> for PluginVersion {
    fn from(row: PluginRow) -> Self {
        Self {
            digest: Digest::from_trusted(row.digest),
            name: row.name,
            version: row.version,
            manifest: row.manifest,
            size_bytes: u64::try_from(row.size_bytes).unwrap_or(0),
            created_at: Timestamp(row.created_at),
        }
    }
}

impl Store {
    /// Registers a plugin version. Registering the same bytes again changes nothing.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn add_plugin(&self, new: NewPlugin) -> Result<PluginVersion, Error> {
        self.tenant_by_id(&new.tenant).await?;
        sqlx::query(
            "INSERT INTO plugin_version (tenant, digest, name, version, manifest, component, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        )
        .bind(new.tenant.as_str())
        .bind(new.digest.as_str())
        .bind(new.name)
        .bind(new.version)
        .bind(new.manifest)
        .bind(new.component)
        .bind(self.now().0)
        .execute(&self.writers)
        .await?;
        self.plugin_version(&new.tenant, &new.digest).await
    }

    /// A tenant's plugin versions, newest first.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn plugins(&self, tenant: &TenantId) -> Result<Vec<PluginVersion>, Error> {
        let rows: Vec<PluginRow> = sqlx::query_as(
            "SELECT digest, name, version, manifest, length(component) AS size_bytes, created_at
             FROM plugin_version WHERE tenant = $1 ORDER BY created_at DESC, digest",
        )
        .bind(tenant.as_str())
        .fetch_all(&self.readers)
        .await?;
        Ok(rows.into_iter().map(PluginVersion::from).collect())
    }

    /// One of a tenant's plugin versions.
    ///
    /// # Errors
    /// If this tenant has none of this digest, whoever else has.
    pub async fn plugin_version(
        &self,
        tenant: &TenantId,
        digest: &Digest,
    ) -> Result<PluginVersion, Error> {
        let row: Option<PluginRow> = sqlx::query_as(
            "SELECT digest, name, version, manifest, length(component) AS size_bytes, created_at
             FROM plugin_version WHERE tenant = $1 AND digest = $2",
        )
        .bind(tenant.as_str())
        .bind(digest.as_str())
        .fetch_optional(&self.readers)
        .await?;
        row.map(PluginVersion::from)
            .ok_or_else(|| Error::not_found("plugin version", digest))
    }

    /// A component's bytes.
    ///
    /// # Errors
    /// If this tenant has none of this digest.
    pub async fn component(&self, tenant: &TenantId, digest: &Digest) -> Result<Vec<u8>, Error> {
        let row: Option<(Vec<u8>,)> = sqlx::query_as(
            "SELECT component FROM plugin_version WHERE tenant = $1 AND digest = $2",
        )
        .bind(tenant.as_str())
        .bind(digest.as_str())
        .fetch_optional(&self.readers)
        .await?;
        row.map(|(bytes,)| bytes)
            .ok_or_else(|| Error::not_found("plugin version", digest))
    }
}
