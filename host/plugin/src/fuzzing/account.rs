//! What a turn asked for, kept as a plain list, and what the host functions must answer by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::call::Call;
use super::effect::{effect, size};
use super::stored::Stored;
use super::{NOW, Refused};
use crate::limits::{
    DELAY, EFFECT_BYTES, EFFECTS, EXTRAS, HISTORY, KEY_BYTES, KEYS, MESSAGES, PAYLOAD_BYTES, READS,
    TEXT_BYTES, TIMER_AHEAD, VALUE_BYTES,
};
use nodepath_model::Effect;
use nodepath_model::content::Ext;
use nodepath_model::effect::{Observed, Outgoing, Scope, incremented};

type Answer<T> = Result<T, Refused>;

/// The account of one turn.
pub(super) struct Account {
    stored: Arc<Stored>,
    window_open: bool,
    pub(super) effects: Vec<Effect>,
    bytes: usize,
    messages: usize,
    reads: u32,
    observed: BTreeMap<(Scope, String), i64>,
    /// Lines of the log.
    pub(super) lines: u64,
    /// Signs of presence.
    pub(super) signs: u32,
}

impl Account {
    pub(super) fn new(stored: Arc<Stored>, window_open: bool) -> Self {
        Self {
            stored,
            window_open,
            effects: Vec::new(),
            bytes: 0,
            messages: 0,
            reads: 0,
            observed: BTreeMap::new(),
            lines: 0,
            signs: 0,
        }
    }

    /// A call that adds an effect was answered: either it is among the effects, or a limit or a rule was met.
    pub(super) fn asked(&mut self, call: Call, answer: Answer<Option<String>>) {
        match answer {
            Ok(id) => {
                let effect = effect(call, id);
                self.check_effect(&effect);
                self.bytes += size(&effect);
                self.messages += usize::from(matches!(effect, Effect::Send { .. }));
                self.effects.push(effect);
            }
            Err(Refused::Limit(why)) => {
                let added = effect(call, Some("out_refused".to_owned()));
                let is_own = match &added {
                    Effect::Send {
                        message: Outgoing::Text { text },
                        ..
                    } => text.len() > TEXT_BYTES,
                    Effect::Schedule { payload, .. } => payload.len() > PAYLOAD_BYTES,
                    _ => false,
                };
                let is_message = matches!(added, Effect::Send { .. });
                let is_full = self.effects.len() >= EFFECTS
                    || is_message && self.messages >= MESSAGES
                    || self.bytes + size(&added) > EFFECT_BYTES;
                assert!(is_own || is_full, "{why}: {added:?}");
            }
            Err(Refused::Other(why)) => assert!(!why.is_empty()),
        }
    }

    /// The buffer holds what was asked for and counts it right, within its bounds.
    pub(super) fn check(&self, effects: &[Effect], bytes: usize) {
        assert_eq!(effects.len(), self.effects.len());
        assert_eq!(effects.last(), self.effects.last());
        assert_eq!(bytes, self.bytes, "{:?}", effects.last());
        assert!(bytes <= EFFECT_BYTES);
        assert!(effects.len() <= EFFECTS);
        assert!(self.messages <= MESSAGES);
    }

    fn check_effect(&self, effect: &Effect) {
        match effect {
            Effect::Send {
                message,
                delay_ms,
                ext,
                ..
            } => {
                assert!(self.window_open, "{message:?} outside the window");
                assert!(Duration::from_millis(*delay_ms) <= DELAY);
                assert!(ext.len() <= EXTRAS);
                check_ext(ext);
                if let Outgoing::Text { text } | Outgoing::Buttons { text, .. } = message {
                    assert!(!text.trim().is_empty());
                    assert!(text.len() <= TEXT_BYTES);
                }
            }
            Effect::Schedule { due, payload, .. } => {
                assert!(*due <= NOW.plus(TIMER_AHEAD));
                assert!(payload.len() <= PAYLOAD_BYTES);
            }
            Effect::SetState { key, value, .. } => {
                assert!(is_key(key), "{key:?}");
                assert!(value.len() <= VALUE_BYTES);
            }
            Effect::DeleteState { key, .. } | Effect::IncrementState { key, .. } => {
                assert!(is_key(key), "{key:?}");
            }
            Effect::Handover { .. } | Effect::CancelTimer { .. } | Effect::SetTag { .. } => {}
        }
    }

    /// A value was read: it is what the commit will make of it.
    pub(super) fn got(&mut self, scope: Scope, key: String, answer: Answer<Option<Vec<u8>>>) {
        if !is_key(&key) {
            assert!(matches!(answer, Err(Refused::Other(_))), "{key:?}");
            return;
        }
        let is_own = self.effects.iter().any(|effect| match effect {
            Effect::SetState {
                scope: s, key: k, ..
            }
            | Effect::DeleteState { scope: s, key: k } => *s == scope && *k == key,
            _ => false,
        });
        if !is_own {
            if !self.may_read(&answer) {
                return;
            }
            if Stored::is_broken(&key) {
                assert!(matches!(answer, Err(Refused::Other(_))), "{answer:?}");
                return;
            }
            if scope != Scope::Conversation {
                let version = self.stored.value(scope, &key).map_or(0, |v| v.version);
                self.observed.insert((scope, key.clone()), version);
            }
        }
        let expected = self.value(scope, &key);
        assert_eq!(answer.ok(), Some(expected), "{scope:?} {key:?}");
    }

    /// Keys were listed: those that the commit will leave, page by page.
    pub(super) fn listed(
        &mut self,
        scope: Scope,
        prefix: &str,
        limit: u32,
        cursor: Option<String>,
        answer: Answer<(Vec<String>, Option<String>)>,
    ) {
        if !(prefix.is_empty() || is_key(prefix)) || !cursor.as_deref().is_none_or(is_key) {
            assert!(matches!(answer, Err(Refused::Other(_))), "{answer:?}");
            return;
        }
        if limit == 0 {
            assert_eq!(answer.ok(), Some((Vec::new(), cursor)));
            return;
        }
        if !self.may_read(&answer) {
            return;
        }
        let limit = usize::try_from(limit.min(KEYS)).unwrap_or(usize::MAX);
        let mut keys: Vec<String> = self
            .keys(scope)
            .into_iter()
            .filter(|key| key.starts_with(prefix))
            .filter(|key| cursor.as_ref().is_none_or(|cursor| key > cursor))
            .collect();
        let more = keys.len() > limit;
        keys.truncate(limit);
        let next = keys.last().filter(|_| more).cloned();
        assert_eq!(answer.ok(), Some((keys, next)));
    }

    /// The past was read, of which there is as much as anybody asks for.
    pub(super) fn recalled(
        &mut self,
        limit: u32,
        cursor: Option<String>,
        answer: Result<usize, impl std::fmt::Debug>,
    ) {
        let is_long = cursor.as_ref().is_some_and(|c| c.len() > KEY_BYTES);
        if !is_long {
            self.reads += 1;
        }
        let is_answered = cursor.is_none() && self.reads <= READS;
        let expected = usize::try_from(limit.min(HISTORY)).ok();
        assert_eq!(answer.ok(), expected.filter(|_| is_answered));
    }

    /// What the turn saw of wider scopes.
    pub(super) fn observed(&self) -> Vec<Observed> {
        self.observed
            .iter()
            .map(|((scope, key), version)| Observed {
                scope: *scope,
                key: key.clone(),
                version: *version,
            })
            .collect()
    }

    /// Counts a read, and says whether the turn still had one.
    fn may_read<T: std::fmt::Debug>(&mut self, answer: &Answer<T>) -> bool {
        self.reads += 1;
        let may = self.reads <= READS;
        assert!(
            may || matches!(answer, Err(Refused::Limit(_))),
            "{answer:?}"
        );
        may
    }

    /// The value of a key once the effects so far are committed one after the other.
    fn value(&self, scope: Scope, key: &str) -> Option<Vec<u8>> {
        let stored = self.stored.value(scope, key).map(|v| v.value.clone());
        self.effects
            .iter()
            .fold(stored, |value, effect| match effect {
                Effect::SetState {
                    scope: s,
                    key: k,
                    value,
                    ..
                } if *s == scope && k == key => Some(value.clone()),
                Effect::DeleteState { scope: s, key: k } if *s == scope && k == key => None,
                Effect::IncrementState {
                    scope: s,
                    key: k,
                    by,
                } if *s == scope && k == key => Some(incremented(value.as_deref(), *by)),
                _ => value,
            })
    }

    fn keys(&self, scope: Scope) -> BTreeSet<String> {
        let mut keys: BTreeSet<String> = self.stored.keys(scope).cloned().collect();
        for effect in &self.effects {
            match effect {
                Effect::SetState { scope: s, key, .. }
                | Effect::IncrementState { scope: s, key, .. }
                    if *s == scope =>
                {
                    keys.insert(key.clone());
                }
                Effect::DeleteState { scope: s, key } if *s == scope => {
                    keys.remove(key);
                }
                _ => {}
            }
        }
        keys
    }
}

fn check_ext(ext: &Ext) {
    for (name, json) in ext {
        let read = serde_json::from_str::<serde::de::IgnoredAny>(json);
        assert!(read.is_ok(), "{name:?} is no JSON: {json:?}");
    }
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.len() <= KEY_BYTES && !key.contains(char::is_control)
}
