//! The store as a running plugin sees it: its own conversation, and its own tenant's values.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::model::effect::Scope;
use crate::model::turn::HistoryPage;
use crate::model::{Claim, ConversationId, ProspectId, TenantId, Timestamp};
use crate::plugin::{ReadError, Reads, StoredValue};
use crate::store::{Error, Host};

/// Promise I10: every read names the tenant and the conversation of the claim, which no guest can choose.
pub(super) struct StoreReads {
    host: Arc<Host>,
    tenant: TenantId,
    conversation: ConversationId,
    prospect: ProspectId,
    /// The past ends here: what comes while the turn runs is the next one's.
    began_at: Timestamp,
}

impl StoreReads {
    pub(super) fn new(host: Arc<Host>, claim: &Claim) -> Self {
        Self {
            host,
            tenant: claim.device.tenant.clone(),
            conversation: claim.lock.conversation.clone(),
            prospect: claim.prospect.clone(),
            began_at: claim.claimed_at,
        }
    }
}

impl Reads for StoreReads {
    fn state<'a>(
        &'a self,
        scope: Scope,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredValue>, ReadError>> {
        async move {
            trouble().await?;
            let kept = self
                .host
                .kept(&self.tenant, &self.conversation, &self.prospect, scope, key);
            let found = kept.await.map_err(unavailable)?;
            Ok(found.map(|s| StoredValue {
                value: s.value,
                version: s.version,
            }))
        }
        .boxed()
    }

    fn state_keys<'a>(
        &'a self,
        scope: Scope,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<String>, ReadError>> {
        async move {
            self.host
                .kept_keys(
                    &self.tenant,
                    &self.conversation,
                    &self.prospect,
                    scope,
                    prefix,
                    after,
                    limit,
                )
                .await
                .map_err(unavailable)
        }
        .boxed()
    }

    fn history<'a>(
        &'a self,
        limit: u32,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<HistoryPage, ReadError>> {
        async move {
            let page = self
                .host
                .history(&self.conversation, self.began_at, limit, cursor)
                .await;
            page.map_err(unavailable)?.ok_or(ReadError::BadCursor)
        }
        .boxed()
    }
}

/// Where the tests let a host call fail (`return`), panic (`panic`), or wait for as long as that is set (`return(hang)`).
async fn trouble() -> Result<(), ReadError> {
    while let Some(how) = ordered() {
        if how != "hang" {
            return Err(ReadError::Unavailable);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

fn ordered() -> Option<String> {
    fail::fail_point!("turn.read_state", |how| Some(how.unwrap_or_default()));
    None
}

/// The guest is told that it failed, and the operator why.
#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function for map_err"
)]
fn unavailable(error: Error) -> ReadError {
    tracing::error!(%error, "turn: a plugin's read failed");
    ReadError::Unavailable
}
