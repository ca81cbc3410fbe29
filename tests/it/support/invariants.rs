//! What must hold in every database that a host has left, whatever the test did. `tests/promises` says what that is.

use std::collections::BTreeSet;
use std::path::Path;

use nodepath::cli::demo::provider::FakeWhatsApp;

use crate::promises::{Evidence, Left, Moment, judge};

/// Checks the database, and compares it with what the provider saw.
pub(super) async fn check(database: &Path, provider: &FakeWhatsApp) {
    let evidence = Evidence {
        moment: Moment::Stopped,
        // Tests post what they like, and say themselves what is to become of it.
        posted: vec![],
        sends: provider.requests().into_iter().map(Into::into).collect(),
        // Tests have several providers, let rows go, and take a host twice from one moment on.
        is_log_whole: false,
        left: Left::read(database).await.unwrap(),
        doubted: BTreeSet::new(),
        clock_was_set: false,
    };
    let violations = judge(&evidence).violations;
    assert!(violations.is_empty(), "{violations:#?}");
}
