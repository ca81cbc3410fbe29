//! What the code does so that a promise holds, one switch each.

/// The guards. All are on in the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guards {
    /// A webhook is answered after T1 has committed.
    pub(crate) ack_after_commit: bool,
    /// `UNIQUE (device, provider_message_id)`.
    pub(crate) dedupe: bool,
    /// T1 counts `version` up for a new message.
    pub(crate) newcomer_is_counted: bool,
    /// T3 commits only while the row says `running`.
    pub(crate) fence_state: bool,
    /// T3 commits only for the row's epoch.
    pub(crate) fence_epoch: bool,
    /// T3 commits only for the row's owner.
    pub(crate) fence_owner: bool,
    /// T3 refuses what a newer message has made stale.
    pub(crate) newer_refuses_stale: bool,
    /// T3 marks the messages that its turn was run for, by their ids.
    pub(crate) mark_by_id: bool,
    /// A mark changes only what is pending.
    pub(crate) mark_pending_only: bool,
    /// T3 commits no reply once a human has the conversation.
    pub(crate) human_refuses_reply: bool,
    /// A failed try is counted, and the last one gives up.
    pub(crate) attempts_are_counted: bool,
    /// Tries that the end of the host cut off are counted.
    pub(crate) crashes_are_counted: bool,
    /// What was under way at every end of the host is tried by itself.
    pub(crate) suspects_run_alone: bool,
    /// T3 and T5 begin one part of a reply.
    pub(crate) one_part_at_a_time: bool,
    /// A part that is due begins only where no turn has the lock and no other part is under way.
    pub(crate) due_part_needs_the_lock: bool,
    /// T5 settles only the try that is under way.
    pub(crate) settle_only_own_try: bool,
    /// The lock is released after the last part.
    pub(crate) release_after_last_part: bool,
    /// Whoever frees a lock looks for what is pending.
    pub(crate) release_looks_for_pending: bool,
    /// A part in doubt waits for the provider's word, under the lock.
    pub(crate) hold_window: bool,
    /// A status settles a part in doubt.
    pub(crate) status_ends_doubt: bool,
    /// What the provider has told of before its answer was lost is not in doubt.
    pub(crate) told_is_no_doubt: bool,
    /// Recovery frees what was running.
    pub(crate) recovery_frees_running: bool,
    /// Recovery takes what was being sent for `unknown`.
    pub(crate) recovery_sending_is_unknown: bool,
    /// Unlocking by hand holds the parts that are still to go out.
    pub(crate) unlock_holds_parts: bool,
    /// A message that is replayed counts as a new one.
    pub(crate) replay_is_counted: bool,
    /// A message that is replayed wakes its conversation.
    pub(crate) replay_wakes: bool,
}

impl Guards {
    /// As in the product.
    pub(crate) const ALL: Self = Self {
        ack_after_commit: true,
        dedupe: true,
        newcomer_is_counted: true,
        fence_state: true,
        fence_epoch: true,
        fence_owner: true,
        newer_refuses_stale: true,
        mark_by_id: true,
        mark_pending_only: true,
        human_refuses_reply: true,
        attempts_are_counted: true,
        crashes_are_counted: true,
        suspects_run_alone: true,
        one_part_at_a_time: true,
        due_part_needs_the_lock: true,
        settle_only_own_try: true,
        release_after_last_part: true,
        release_looks_for_pending: true,
        hold_window: true,
        status_ends_doubt: true,
        told_is_no_doubt: true,
        recovery_frees_running: true,
        recovery_sending_is_unknown: true,
        unlock_holds_parts: true,
        replay_is_counted: true,
        replay_wakes: true,
    };
}
