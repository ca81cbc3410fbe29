//! The worlds that the protocol is put into: what may go wrong, how often, and how the device is set.

use nodepath_model::DeviceSettings;
use nodepath_model::device::{Overlap, UnknownPolicy};

use crate::guards::Guards;

/// A world. Every number is how often something may happen on one path, so that paths end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) name: &'static str,
    pub(crate) guards: Guards,
    pub(crate) settings: DeviceSettings,
    /// Messages of the prospect, all different.
    pub(crate) messages: u8,
    /// How many parts a reply has.
    pub(crate) parts: u8,
    /// Whether the provider tells what became of a message. What it tells comes within the window.
    pub(crate) tells: bool,
    /// Whether the turns of a host that has ended may still ask for their commit, which the process lock rules out.
    pub(crate) ghosts: bool,
    /// Whether every claim draws the same owner, as after a virtual machine was copied with its source of chance.
    pub(crate) owners_repeat: bool,
    pub(crate) may: May,
}

/// How often each fault may still happen, and what people may still do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct May {
    /// The first message is delivered again although it was acknowledged.
    pub(crate) redeliver: u8,
    /// The host ends as by kill -9.
    pub(crate) crash: u8,
    /// The file loses its last claim with the host: a disk that lies about its flush.
    pub(crate) lose_claim: u8,
    /// The plugin fails.
    pub(crate) fail: u8,
    /// T3 commits and its caller is not told, so that it asks again.
    pub(crate) ask_again: u8,
    /// The provider refuses a POST for now.
    pub(crate) refuse: u8,
    /// The provider refuses a POST for good.
    pub(crate) reject: u8,
    /// The answer to a POST is lost.
    pub(crate) lose_answer: u8,
    /// An operator unlocks.
    pub(crate) unlock: u8,
    /// An operator replays a dead letter.
    pub(crate) replay: u8,
    /// A human takes over, and hands back.
    pub(crate) take_over: u8,
}

impl World {
    /// Nothing goes wrong, and `messages` come.
    pub(crate) fn calm(name: &'static str, messages: u8) -> Self {
        let settings = DeviceSettings {
            // So that a path of three messages has a restart and a turn that commits regardless.
            max_restarts: 1,
            max_attempts: 2,
            ..DeviceSettings::default()
        };
        Self {
            name,
            guards: Guards::ALL,
            settings,
            messages,
            parts: 1,
            tells: true,
            ghosts: false,
            owners_repeat: false,
            may: May::default(),
        }
    }

    pub(crate) fn overlap(mut self, overlap: Overlap) -> Self {
        self.settings.overlap = overlap;
        self
    }

    pub(crate) fn unknown(mut self, unknown: UnknownPolicy) -> Self {
        self.settings.unknown = unknown;
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// What every change must hold in: a few seconds for all of them.
pub(crate) fn small() -> Vec<World> {
    vec![
        World::calm("three messages, two crashes", 3).with(|w| {
            w.may.redeliver = 1;
            w.may.crash = 2;
            w.may.lose_answer = 1;
        }),
        World::calm("an operator who unlocks", 2).with(|w| {
            w.may.redeliver = 1;
            w.may.crash = 2;
            w.may.unlock = 1;
            w.may.lose_answer = 1;
        }),
        World::calm("ghosts of dead hosts", 2).with(|w| {
            w.ghosts = true;
            w.may.crash = 2;
            w.may.unlock = 1;
        }),
        World::calm("failures and replays", 2)
            .overlap(Overlap::Queue)
            .with(|w| {
                w.parts = 2;
                w.may.crash = 1;
                w.may.fail = 2;
                w.may.replay = 1;
            }),
        World::calm("parts that are sent again", 1)
            .unknown(UnknownPolicy::Resend)
            .with(|w| {
                w.parts = 2;
                w.may.crash = 2;
                w.may.lose_answer = 1;
                w.may.refuse = 1;
                w.may.reject = 1;
                w.may.replay = 1;
            }),
        World::calm("a provider that tells nothing", 2).with(|w| {
            w.parts = 2;
            w.tells = false;
            w.may.crash = 1;
            w.may.lose_answer = 1;
            w.may.refuse = 1;
        }),
        World::calm("a human who takes over", 2).with(|w| {
            w.may.take_over = 1;
            w.may.crash = 1;
            w.may.fail = 1;
            w.may.ask_again = 1;
        }),
        World::calm("who is busy skips", 3)
            .overlap(Overlap::Skip)
            .with(|w| {
                w.may.redeliver = 1;
                w.may.crash = 2;
            }),
        World::calm("silence is waited for", 2).with(|w| {
            w.settings.debounce_ms = 1;
            w.may.redeliver = 1;
            w.may.crash = 1;
            w.may.lose_claim = 1;
            w.may.unlock = 1;
        }),
        World::calm("owners that repeat", 2).with(|w| {
            w.owners_repeat = true;
            w.ghosts = true;
            w.may.crash = 1;
            w.may.unlock = 1;
        }),
    ]
}

/// What is checked now and then: millions of states.
pub(crate) fn large() -> Vec<World> {
    vec![
        World::calm("everything at once", 3).with(|w| {
            w.may.redeliver = 1;
            w.may.crash = 2;
            w.may.unlock = 1;
            w.may.lose_answer = 1;
        }),
        World::calm("everything at once, queued", 3)
            .overlap(Overlap::Queue)
            .with(|w| {
                w.may.redeliver = 1;
                w.may.crash = 2;
                w.may.unlock = 1;
                w.may.lose_answer = 1;
            }),
        World::calm("four messages", 4).with(|w| {
            w.may.redeliver = 1;
            w.may.crash = 2;
        }),
        World::calm("three crashes", 2).with(|w| {
            w.ghosts = true;
            w.may.crash = 3;
            w.may.unlock = 1;
        }),
        World::calm("everything that an operator does", 2).with(|w| {
            w.parts = 2;
            w.may.crash = 1;
            w.may.fail = 2;
            w.may.replay = 2;
            w.may.unlock = 1;
        }),
    ]
}
