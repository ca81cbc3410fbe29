//! From what a plugin said to what T3 writes.

use std::time::Duration;

use crate::channel;
use crate::model::delivery::{PartBody, PartKind};
use crate::model::device::Fallback;
use crate::model::effect::Outgoing;
use crate::model::turn::{Blame, FailureKind};
use crate::model::{
    Backoff, Claim, Effect, MessageId, OutboxId, Outcome, Timestamp, Trigger, TurnFailure,
};
use crate::store::{Commit, Covered, Error, Store, TurnEnd};

/// What a turn is run for, as T3 wants it.
pub(super) fn covered(trigger: &Trigger) -> Covered {
    match trigger {
        Trigger::Messages(messages) => {
            Covered::Messages(messages.iter().map(|m| m.id.clone()).collect())
        }
        Trigger::Timer { id, .. } => Covered::Timer(id.clone()),
        Trigger::Signal { .. } => Covered::Signal,
    }
}

/// The provider's id of the last message that the turn answers.
pub(super) fn last_provider_id(trigger: &Trigger) -> Option<String> {
    let Trigger::Messages(messages) = trigger else {
        return None;
    };
    messages.last().map(|m| m.message.provider_id.clone())
}

/// How a failed try ends: with another one, or for good.
pub(super) fn failed(claim: &Claim, failure: &TurnFailure, now: Timestamp) -> TurnEnd {
    let TurnFailure {
        kind,
        detail,
        retry_after,
    } = failure;
    let (kind, detail) = (*kind, detail.clone());
    let configured = claim.device.settings.max_attempts;
    let most = match kind.blame() {
        Blame::Guest => configured,
        Blame::Host => configured.max(HOST_ATTEMPTS),
    };
    if !kind.is_final() && claim.attempt < most {
        let backoff = Backoff::TURN.delay(claim.attempt, rand::random());
        let at = now.plus(retry_after.unwrap_or(backoff).min(MAX_RETRY_AFTER));
        return TurnEnd::Retry { kind, detail, at };
    }
    give_up(claim, kind, detail)
}

/// How often a turn is tried that fails for a fault of this host, or because its device has no plugin. With the backoff of a turn
/// that is some ten minutes, in which somebody can mend it; messages are not to blame.
pub(super) const HOST_ATTEMPTS: u32 = 20;

/// The end of a turn whose tries have taken the host down again and again. It is not tried once more.
pub(super) fn is_poisonous(claim: &Claim) -> Option<TurnEnd> {
    let detail = format!("the host ended {} times while the turn ran", claim.crashes);
    (claim.crashes >= claim.device.settings.max_attempts)
        .then(|| give_up(claim, FailureKind::Host, detail))
}

fn give_up(claim: &Claim, kind: FailureKind, detail: String) -> TurnEnd {
    let fallback = match (kind, &claim.device.settings.fallback) {
        (FailureKind::Handover, _) => handover(&detail),
        (_, Fallback::Silence) => Commit::default(),
        (_, Fallback::Handover) => handover(&format!("{kind}: {detail}")),
        (_, Fallback::Text { text }) => {
            let kinds = channel::split(claim.device.channel, PartKind::Text { text: text.clone() });
            let parts = kinds
                .into_iter()
                .map(|kind| (OutboxId::generate(), plain(kind)))
                .collect();
            Commit {
                parts,
                ..Commit::default()
            }
        }
    };
    TurnEnd::GiveUp {
        kind,
        detail,
        fallback,
    }
}

/// The longest delay that a guest may ask for before its next try: its prospect waits meanwhile.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

fn handover(reason: &str) -> Commit {
    let effect = Effect::Handover {
        reason: reason.to_owned(),
        note: None,
    };
    Commit {
        effects: vec![effect],
        ..Commit::default()
    }
}

fn plain(kind: PartKind) -> PartBody {
    PartBody {
        kind,
        reply_to: None,
        delay_ms: 0,
        ext: vec![],
    }
}

/// What T3 writes of an outcome: messages become parts that the channel takes, everything else stays as it is.
///
/// # Errors
/// If the provider's id of a message that is answered can't be looked up.
pub(super) async fn commit(
    store: &Store,
    claim: &Claim,
    outcome: Outcome,
) -> Result<Commit, Error> {
    let mut commit = Commit {
        observed: outcome.observed,
        ..Commit::default()
    };
    for effect in outcome.effects {
        let Effect::Send {
            id,
            message,
            reply_to,
            delay_ms,
            ext,
        } = effect
        else {
            commit.effects.push(effect);
            continue;
        };
        let reply_to = match reply_to {
            Some(message) => provider_id(store, claim, &message).await?,
            None => None,
        };
        let Some(kind) = part_kind(store, claim, message).await? else {
            continue;
        };
        let pause = claim.device.settings.part_delay_ms;
        for (i, kind) in channel::split(claim.device.channel, kind)
            .into_iter()
            .enumerate()
        {
            // The first part has the id that the plugin was told, and shows what it answers.
            let is_first = i == 0;
            let part = if is_first {
                id.clone()
            } else {
                OutboxId::generate()
            };
            let before = if commit.parts.is_empty() { 0 } else { pause };
            let body = PartBody {
                kind,
                reply_to: reply_to.clone().filter(|_| is_first),
                delay_ms: if is_first {
                    delay_ms.max(before)
                } else {
                    pause
                },
                ext: ext.clone(),
            };
            commit.parts.push((part, body));
        }
    }
    Ok(commit)
}

async fn part_kind(
    store: &Store,
    claim: &Claim,
    message: Outgoing,
) -> Result<Option<PartKind>, Error> {
    Ok(match message {
        Outgoing::Text { text } => Some(PartKind::Text { text }),
        Outgoing::Media {
            media,
            url,
            caption,
            filename,
        } => Some(PartKind::Media {
            media,
            url,
            caption,
            filename,
        }),
        Outgoing::Buttons { text, buttons } => Some(PartKind::Buttons { text, buttons }),
        Outgoing::React { target, emoji } => {
            let found = provider_id(store, claim, &target).await?;
            if found.is_none() {
                tracing::warn!(%target, "turn: the plugin reacts to a message that this conversation has not");
            }
            found.map(|target| PartKind::React { target, emoji })
        }
    })
}

/// The provider's id of a message of this conversation. Most are among those that the turn answers.
async fn provider_id(
    store: &Store,
    claim: &Claim,
    message: &MessageId,
) -> Result<Option<String>, Error> {
    if let Trigger::Messages(messages) = &claim.trigger
        && let Some(found) = messages.iter().find(|m| m.id == *message)
    {
        return Ok(Some(found.message.provider_id.clone()));
    }
    store.provider_id(&claim.lock.conversation, message).await
}

/// What the turn is run for, with the messages that were answered under the ids that a plugin knows.
///
/// # Errors
/// If they can't be looked up.
pub(super) async fn with_own_ids(store: &Store, claim: &Claim) -> Result<Trigger, Error> {
    let mut trigger = claim.trigger.clone();
    if let Trigger::Messages(messages) = &mut trigger {
        for pending in messages {
            if let Some(answered) = pending.message.reply_to.take() {
                let conversation = &claim.lock.conversation;
                pending.message.reply_to = store.own_id(conversation, &answered).await?;
            }
        }
    }
    Ok(trigger)
}
