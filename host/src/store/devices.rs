//! Devices and their sealed credentials.

use std::collections::{BTreeSet, HashMap};

use rusqlite::Connection;
use sqlx::FromRow;

use super::sql::{self, Columns};
use super::{Error, Store, outbox};
use crate::model::{
    ChannelKind, Credentials, Device, DeviceId, DeviceSettings, Digest, TenantId, Timestamp,
};

/// A device to add.
#[derive(Debug)]
pub struct NewDevice {
    /// What its webhook's path will name it.
    pub id: DeviceId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it speaks with.
    pub credentials: Credentials,
    /// The plugin version that answers.
    pub plugin: Option<Digest>,
    /// What the plugin reads through `config`: a JSON object.
    pub plugin_config: String,
    /// How its conversations are run.
    pub settings: DeviceSettings,
}

/// What became of a change of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChange {
    /// It is made.
    Made,
    /// Somebody else was quicker, and nothing was changed: read the device again.
    Outdated,
}

#[derive(FromRow)]
struct DeviceRow {
    id: String,
    tenant: String,
    channel: String,
    plugin: Option<String>,
    plugin_config: String,
    settings: String,
    alert: Option<String>,
    created_at: i64,
}

const DEVICE_COLUMNS: &str =
    "SELECT id, tenant, channel, plugin, plugin_config, settings, alert, created_at FROM device";

impl TryFrom<DeviceRow> for Device {
    type Error = Error;

    fn try_from(row: DeviceRow) -> Result<Self, Error> {
        let channel = [ChannelKind::Whatsapp, ChannelKind::Generic]
            .into_iter()
            .find(|c| c.as_str() == row.channel);
        Ok(Self {
            id: DeviceId::from_trusted(row.id),
            tenant: TenantId::from_trusted(row.tenant),
            channel: channel.ok_or_else(|| Error::corrupt("device.channel", &row.channel))?,
            plugin: row.plugin.map(Digest::from_trusted),
            plugin_config: row.plugin_config,
            settings: serde_json::from_str(&row.settings)
                .map_err(|e| Error::corrupt("device.settings", e))?,
            alert: row.alert,
            created_at: Timestamp(row.created_at),
        })
    }
}

/// These devices, for the writer. One that a newer program wrote is left out: it is nobody else's trouble.
pub(super) fn load(
    conn: &Connection,
    ids: &BTreeSet<String>,
) -> Result<HashMap<String, Device>, Error> {
    let mut devices = HashMap::with_capacity(ids.len());
    let sql = format!("{DEVICE_COLUMNS} WHERE id = ?1");
    for id in ids {
        let Some(row) = sql::query_one(conn, &sql, [id], DeviceRow::read)? else {
            continue;
        };
        match Device::try_from(row) {
            Ok(device) => drop(devices.insert(id.clone(), device)),
            Err(error) => tracing::error!(device = id, %error, "store: a device can't be read"),
        }
    }
    Ok(devices)
}

impl DeviceRow {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let mut column = Columns::of(row);
        Ok(Self {
            id: column.take()?,
            tenant: column.take()?,
            channel: column.take()?,
            plugin: column.take()?,
            plugin_config: column.take()?,
            settings: column.take()?,
            alert: column.take()?,
            created_at: column.take()?,
        })
    }
}

impl Store {
    /// Adds a device.
    ///
    /// # Errors
    /// If the id is taken, or the tenant or the plugin version does not exist.
    pub async fn add_device(&self, new: NewDevice) -> Result<Device, Error> {
        self.tenant_by_id(&new.tenant).await?;
        if let Some(plugin) = &new.plugin {
            self.plugin_version(&new.tenant, plugin).await?;
        }
        let settings =
            serde_json::to_string(&new.settings).map_err(|e| Error::corrupt("the settings", e))?;
        let sealed = self
            .sealer()?
            .seal(&seal_place(&new.id), &new.credentials.to_sealable_json())?;
        let added = sqlx::query(
            "INSERT INTO device (id, tenant, channel, credentials, plugin, plugin_config, settings, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING",
        )
        .bind(new.id.as_str())
        .bind(new.tenant.as_str())
        .bind(new.credentials.channel().as_str())
        .bind(sealed)
        .bind(new.plugin.as_ref().map(Digest::as_str))
        .bind(&new.plugin_config)
        .bind(settings)
        .bind(self.now().0)
        .execute(&self.writers)
        .await?;
        if added.rows_affected() == 0 {
            return Err(Error::Refused(format!(
                "there is a device {} already; choose another id",
                new.id
            )));
        }
        self.device(&new.id).await
    }

    /// Changes which plugin version answers, its configuration, or how conversations are run, unless somebody else has
    /// changed any of that since `was` was read: what fits together is decided by whoever has read all of it. Turns under way
    /// keep what they were claimed with.
    ///
    /// # Errors
    /// If the device or the plugin version does not exist.
    pub async fn change_device(&self, was: &Device, now: &Device) -> Result<DeviceChange, Error> {
        if let Some(plugin) = &now.plugin {
            self.plugin_version(&now.tenant, plugin).await?;
        }
        let settings =
            serde_json::to_string(&now.settings).map_err(|e| Error::corrupt("the settings", e))?;
        let mut tx = self.writers.begin_with("BEGIN IMMEDIATE").await?;
        let present: Option<DeviceRow> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "{DEVICE_COLUMNS} WHERE id = $1 AND tenant = $2"
        )))
        .bind(was.id.as_str())
        .bind(was.tenant.as_str())
        .fetch_optional(&mut *tx)
        .await?;
        let present: Device = present
            .ok_or_else(|| Error::not_found("device", &was.id))?
            .try_into()?;
        let chosen = |d: &Device| {
            (
                d.plugin.clone(),
                d.plugin_config.clone(),
                d.settings.clone(),
            )
        };
        if chosen(&present) != chosen(was) {
            return Ok(DeviceChange::Outdated);
        }
        sqlx::query(
            "UPDATE device SET plugin = $2, plugin_config = $3, settings = $4 WHERE id = $1",
        )
        .bind(was.id.as_str())
        .bind(now.plugin.as_ref().map(Digest::as_str))
        .bind(&now.plugin_config)
        .bind(settings)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        self.remembered.forget(&was.id);
        Ok(DeviceChange::Made)
    }

    /// Replaces a device's credentials, for example when a token has expired. Its alert is cleared.
    ///
    /// # Errors
    /// If the device does not exist, or they are for another channel.
    pub async fn change_credentials(
        &self,
        id: &DeviceId,
        credentials: &Credentials,
    ) -> Result<(), Error> {
        let sealed = self
            .sealer()?
            .seal(&seal_place(id), &credentials.to_sealable_json())?;
        let mut tx = self.writers.begin_with("BEGIN IMMEDIATE").await?;
        let changed = sqlx::query(
            "UPDATE device SET credentials = $2, alert = NULL WHERE id = $1 AND channel = $3",
        )
        .bind(id.as_str())
        .bind(sealed)
        .bind(credentials.channel().as_str())
        .execute(&mut *tx)
        .await?;
        if changed.rows_affected() == 0 {
            return Err(Error::not_found("device of this channel", id));
        }
        // What was refused for the old ones need not wait for its next try.
        sqlx::query(outbox::HURRY)
            .bind(id.as_str())
            .bind(self.now().0)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        self.remembered.forget(id);
        Ok(())
    }

    /// A device.
    ///
    /// # Errors
    /// If there is none.
    pub async fn device(&self, id: &DeviceId) -> Result<Device, Error> {
        let row: Option<DeviceRow> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "{DEVICE_COLUMNS} WHERE id = $1"
        )))
        .bind(id.as_str())
        .fetch_optional(&self.readers)
        .await?;
        row.ok_or_else(|| Error::not_found("device", id))?
            .try_into()
    }

    /// A tenant's devices, or everybody's.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn devices(&self, tenant: Option<&TenantId>) -> Result<Vec<Device>, Error> {
        let rows: Vec<DeviceRow> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "{DEVICE_COLUMNS} WHERE $1 IS NULL OR tenant = $1 ORDER BY created_at, id"
        )))
        .bind(tenant.map(TenantId::as_str))
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter().map(Device::try_from).collect()
    }

    /// A device's credentials, for whoever speaks to its provider.
    ///
    /// # Errors
    /// If there is no such device, or they were sealed with another key.
    pub async fn credentials(&self, id: &DeviceId) -> Result<Credentials, Error> {
        let row: Option<(Vec<u8>,)> =
            sqlx::query_as("SELECT credentials FROM device WHERE id = $1")
                .bind(id.as_str())
                .fetch_optional(&self.readers)
                .await?;
        let (sealed,) = row.ok_or_else(|| Error::not_found("device", id))?;
        let plain = self.sealer()?.open(&seal_place(id), &sealed)?;
        // The parser's own words would carry pieces of the secret.
        serde_json::from_slice(&plain)
            .map_err(|_| Error::corrupt("device.credentials", "not what this program seals"))
    }
}

fn seal_place(id: &DeviceId) -> String {
    format!("device/{id}")
}
