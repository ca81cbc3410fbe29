//! Changing a device while others may change it too.

use crate::model::Device;
use crate::store::{DeviceChange, Store};

/// How often a change that met another one is made again. People and scripts rarely meet twice.
const TRIES: u32 = 5;

/// Changes a device as it is at this moment: what somebody else changes at the same time is kept, and the change is made again
/// on top of it. No transaction is open while `make` works.
pub(in super::super) async fn change_device(
    store: &Store,
    mut device: Device,
    make: impl AsyncFn(&Device) -> anyhow::Result<Device>,
) -> anyhow::Result<Device> {
    for _ in 0..TRIES {
        let changed = make(&device).await?;
        match store.change_device(&device, &changed).await? {
            DeviceChange::Made => return Ok(changed),
            DeviceChange::Outdated => device = store.device(&device.id).await?,
        }
    }
    anyhow::bail!("others keep changing device {}; try again", device.id)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::super::context::testing::TestContext;
    use super::*;
    use crate::model::DeviceId;

    #[tokio::test]
    async fn a_change_that_met_another_is_made_on_top_of_it() {
        let t = TestContext::with_device().await;
        let store = t.context.store().await.unwrap();
        let id = DeviceId::parse("gen").unwrap();
        let device = store.device(&id).await.unwrap();
        let is_first = Cell::new(true);
        let changed = change_device(&store, device, async |device: &Device| {
            if is_first.replace(false) {
                t.run("device set gen --debounce 4s").await?;
            }
            let mut device = device.clone();
            device.settings.max_restarts = 1;
            Ok(device)
        });
        let changed = changed.await.unwrap().settings;
        assert_eq!((changed.max_restarts, changed.debounce_ms), (1, 4_000));
        let kept = store.device(&id).await.unwrap().settings;
        assert_eq!(kept, changed);
    }

    #[tokio::test]
    async fn whoever_is_overtaken_again_and_again_is_told() {
        let t = TestContext::with_device().await;
        let store = t.context.store().await.unwrap();
        let device = store
            .device(&DeviceId::parse("gen").unwrap())
            .await
            .unwrap();
        let millis = Cell::new(0);
        let never = change_device(&store, device, async |device: &Device| {
            millis.set(millis.get() + 1);
            let line = format!("device set gen --debounce {}ms", millis.get());
            t.run(&line).await?;
            Ok(device.clone())
        });
        let error = never.await.unwrap_err();
        insta::assert_snapshot!(error, @"others keep changing device gen; try again");
    }
}
