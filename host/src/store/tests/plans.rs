//! What must not become slower as a database grows is found by its index.

use super::*;

/// What every settle and every status webhook runs reads the open parts of its conversation, not all that it ever sent.
#[tokio::test]
async fn the_open_parts_of_a_conversation_are_found_by_their_index() {
    let f = fixture(DeviceSettings::default()).await;
    let mut plans = vec![];
    for (sql, index) in [
        (crate::store::outbox::OPEN_PARTS, "outbox_open"),
        (
            "SELECT COUNT(*) FROM inbox WHERE inbox.tenant = 'x' AND inbox.conversation = 'x' AND inbox.state = 'pending'",
            "inbox_pending (tenant=? AND conversation=?",
        ),
        (
            "SELECT COUNT(*) FROM inbox WHERE inbox.tenant = 'x' AND state = 'pending'",
            "inbox_pending",
        ),
        (
            "UPDATE inbox SET state = 'absorbed' WHERE state = 'pending' AND tenant = 'x' AND conversation = 'x'",
            "inbox_pending (tenant=? AND conversation=?",
        ),
    ] {
        let plan = f.plan(sql).await;
        if !plan.iter().any(|step| step.contains(index)) {
            plans.push(plan);
        }
    }
    assert!(plans.is_empty(), "{plans:#?}");
}

/// A page of a long conversation costs no more than one of a short one.
#[tokio::test]
async fn a_page_of_the_past_is_read_by_its_indexes() {
    let f = fixture(DeviceSettings::default()).await;
    let steps = f.plan(reads::HISTORY).await;
    for index in [
        "inbox_history (conversation=? AND received_at<?)",
        "turn_history (conversation=? AND finished_at<?)",
        "sqlite_autoindex_outbox_2 (turn=?)",
    ] {
        assert!(steps.iter().any(|step| step.contains(index)), "{steps:#?}");
    }
}

#[tokio::test]
async fn the_list_of_dead_letters_reads_only_those() {
    let f = fixture(DeviceSettings::default()).await;
    let plan = f.plan(dead::DEAD_LETTERS).await;
    for index in ["inbox_dead", "outbox_dead"] {
        let found = plan.iter().any(|step| step.ends_with(index));
        assert!(found, "{index}: {plan:?}");
    }
}
