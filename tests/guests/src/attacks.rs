//! Every way in which a plugin misbehaves, and what the host must make of it.

/// What an attacker's device runs.
pub(crate) struct Attack {
    /// What it is called: the device's id.
    pub(crate) name: &'static str,
    /// Where its component comes from.
    pub(crate) component: Component,
    /// What its prospects write.
    pub(crate) text: &'static str,
    /// How long each of its turns may take.
    pub(crate) wall: &'static str,
    /// What the host must record for its turns.
    pub(crate) outcome: &'static str,
    /// What the reason must say, for whoever wrote the plugin.
    pub(crate) words: &'static str,
    /// Whether a short run measures what it does to its neighbours: one for each thing of which it asks for the most.
    pub(crate) is_heavy: bool,
}

/// Where a component comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Component {
    /// `wat/` of this package.
    Wat,
    /// `plugins/` of the project, by its name.
    Rust(&'static str),
}

/// A plugin that must not even be registered, and what its author must be told.
pub(crate) struct Refusal {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Where its component comes from.
    pub(crate) component: Component,
    /// What its author must be told.
    pub(crate) words: &'static str,
}

/// Longer than an attack lasts on a machine that does other things too: what computes is to meet its other budget.
const LONG: &str = "budget.wall=30s";

const CPU: &str = "computed for longer than 200 ms";
const RULES: &str = "broke the rules of calls to and from the host";
const UNREACHABLE: &str = "`unreachable` instruction";

/// What runs and fails, or is bounded.
pub(crate) const ATTACKS: &[Attack] = &[
    rust("trap", "test-trap", "hi", "trap", "its last words: "),
    rust("loop", "test-loop", "hi", "cpu_budget", CPU).heavy(),
    rust(
        "memory",
        "test-memory",
        "hi",
        "memory",
        "its 64 MiB of memory",
    )
    .heavy(),
    rust(
        "sleep",
        "test-sleep",
        "hi",
        "wall_budget",
        "longer than 1000 ms",
    )
    .brief()
    .heavy(),
    rust(
        "recursion",
        "test-script",
        "recurse",
        "trap",
        "stack of 512 KiB",
    ),
    rust(
        "exit",
        "test-script",
        "fail on purpose",
        "failed",
        "on purpose",
    ),
    rust(
        "memory-kept-full",
        "test-script",
        "grow 50",
        "committed",
        "",
    )
    .heavy(),
    rust(
        "long-turns",
        "test-script",
        "spin 50; reply done",
        "committed",
        "",
    ),
    rust(
        "log-flood-that-ends",
        "test-script",
        "flood 5000; reply done",
        "committed",
        "",
    ),
    rust(
        "effects-that-end",
        "test-script",
        "manyeffects 100000",
        "committed",
        "",
    ),
    rust("state-flood", "test-script", STATE_FLOOD, "committed", ""),
    rust(
        "string-huge",
        "test-script",
        "bigtext 3000000",
        "trap",
        "more than 2 MiB to the host",
    ),
    wat("log-flood", "cpu_budget", CPU).heavy(),
    wat("effect-flood", "cpu_budget", CPU),
    wat("polls", "cpu_budget", CPU).heavy(),
    wat("sleeps", "wall_budget", "longer than 1000 ms").brief(),
    wat("start-loops", "cpu_budget", CPU),
    wat("start-traps", "trap", UNREACHABLE),
    wat("realloc-grows", "memory", "its 64 MiB of memory"),
    wat("realloc-loops", "cpu_budget", CPU),
    wat("realloc-traps", "trap", UNREACHABLE),
    wat("realloc-lies", "trap", RULES),
    wat("realloc-slants", "trap", RULES),
    wat("realloc-calls", "trap", "from its allocator"),
    wat("post-return-loops", "cpu_budget", CPU),
    wat("post-return-traps", "trap", UNREACHABLE),
    wat(
        "post-return-calls",
        "trap",
        "from the clean-up after its answer",
    ),
    wat("string-beyond", "trap", RULES),
    wat("string-broken", "trap", RULES),
    wat("list-endless", "trap", RULES),
    wat("list-repeats", "trap", "more than 2 MiB to the host"),
    wat("enum-unknown", "trap", RULES),
    wat("handle-unknown", "trap", RULES),
    wat("handle-twice", "trap", RULES),
    wat("handles-kept", "trap", "256 WASI handles"),
    wat("random-flood", "trap", "random bytes"),
    wat("grows-by-pages", "memory", "its 64 MiB of memory"),
    wat("grows-in-vain", "cpu_budget", CPU),
    wat("memories-grow", "memory", "its 64 MiB of memory"),
    wat("tables-grow", "trap", UNREACHABLE),
    wat("recurses", "trap", "stack of 512 KiB"),
    wat("returns-beyond", "trap", RULES),
    wat("returns-nonsense", "trap", RULES),
    wat("returns-much", "trap", "more than 2 MiB to the host"),
    wat("extras-deep", "failed", "nests at most 127 deep"),
];

/// What is refused before it runs.
pub(crate) const REFUSALS: &[Refusal] = &[
    refused(
        "test-manifest",
        Component::Rust("test-manifest"),
        "does not say what it is",
    ),
    refused(
        "test-world",
        Component::Rust("test-world"),
        "test:elsewhere/engine",
    ),
    refused("data-beyond", Component::Wat, "out of bounds memory access"),
    refused(
        "describes-deeply",
        Component::Wat,
        "not a JSON object of at most 65536 bytes",
    ),
    refused("describes-for-ever", Component::Wat, "longer than "),
    refused(
        "describes-much",
        Component::Wat,
        "more than 2 MiB to the host",
    ),
    refused(
        "memories-many",
        Component::Wat,
        "the configured maximum of 4",
    ),
    refused(
        "tables-many",
        Component::Wat,
        "the per-instance limit of 16",
    ),
    refused(
        "instances-many",
        Component::Wat,
        "the configured maximum of 64",
    ),
    refused(
        "problems-endless",
        Component::Wat,
        "more than 2 MiB to the host",
    ),
];

/// As much as a turn may write, in four values of the largest size.
const STATE_FLOOD: &str = "bigstate conversation a 262000; bigstate conversation b 262000; \
     bigstate prospect c 262000; bigstate prospect d 262000";

impl Attack {
    /// With a second for each turn.
    const fn brief(mut self) -> Self {
        self.wall = "budget.wall=1s";
        self
    }

    const fn heavy(mut self) -> Self {
        self.is_heavy = true;
        self
    }
}

const fn wat(name: &'static str, outcome: &'static str, words: &'static str) -> Attack {
    Attack {
        name,
        component: Component::Wat,
        text: "hi",
        wall: LONG,
        outcome,
        words,
        is_heavy: false,
    }
}

const fn rust(
    name: &'static str,
    plugin: &'static str,
    text: &'static str,
    outcome: &'static str,
    words: &'static str,
) -> Attack {
    Attack {
        name,
        component: Component::Rust(plugin),
        text,
        wall: LONG,
        outcome,
        words,
        is_heavy: false,
    }
}

const fn refused(name: &'static str, component: Component, words: &'static str) -> Refusal {
    Refusal {
        name,
        component,
        words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guest_is_an_attack_or_is_refused() {
        let attacks = ATTACKS.iter().map(|a| (a.name, a.component));
        let refusals = REFUSALS.iter().map(|r| (r.name, r.component));
        let known: Vec<_> = attacks
            .chain(refusals)
            .filter(|(_, component)| *component == Component::Wat)
            .map(|(name, _)| name)
            .collect();
        for name in nodepath_test_guests::names() {
            assert!(known.contains(&name), "{name} is in no list of attacks.rs");
        }
        assert_eq!(known.len(), nodepath_test_guests::names().count());
    }
}
