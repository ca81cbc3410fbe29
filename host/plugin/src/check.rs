//! What a plugin says of itself, and whether it may be believed.

use super::Error;
use super::bindings::manifest::Info;
use super::words::clean;
use nodepath_model::delivery::ChannelLimits;
use nodepath_model::{Budget, Digest};

/// What a plugin may use to say what it is.
pub(super) const BUDGET: Budget = Budget {
    // An interpreter has to start first.
    cpu_ms: 2_000,
    wall_ms: 10_000,
    memory_bytes: 128 << 20,
};

/// The channel of a plugin that nobody talks to.
pub(super) const NO_CHANNEL: ChannelLimits = ChannelLimits {
    text_chars: usize::MAX,
    caption_chars: usize::MAX,
    buttons_text_chars: usize::MAX,
    buttons: usize::MAX,
    button_title_chars: usize::MAX,
    button_id_chars: usize::MAX,
    reactions: true,
    window: None,
};

/// A component that would run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What it is known by.
    pub digest: Digest,
    /// Its size, in bytes.
    pub size_bytes: u64,
    /// What it says of itself.
    pub manifest: Manifest,
    /// What it imports, by name.
    pub imports: Vec<String>,
}

/// What a plugin says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What people call it, in lower case.
    pub name: String,
    /// Its author's version; the host goes by the digest.
    pub version: String,
    /// One line.
    pub description: String,
    /// What it would use beyond the interfaces that every plugin has. All of them are optional: this host grants none, and
    /// refuses a plugin that can't do without.
    pub capabilities: Vec<Capability>,
    /// JSON Schema of its configuration.
    pub config_schema_json: String,
    /// The layout of its stored state.
    pub state_schema: u32,
}

/// Something that a plugin would use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// For example `fetch:api.example.com`.
    pub name: String,
    /// For the tenant who is asked to grant it.
    pub reason: String,
    /// It works without it too.
    pub optional: bool,
}

/// The longest name, version and description, in characters: they stand in one line of a list.
pub(super) const NAME_CHARS: usize = 64;
pub(super) const VERSION_CHARS: usize = 64;
pub(super) const DESCRIPTION_CHARS: usize = 300;

/// The most capabilities, and the longest schema in bytes.
pub(super) const CAPABILITIES: usize = 32;
pub(super) const SCHEMA_BYTES: usize = 64 << 10;

/// Takes what `describe` answered. Whatever people are shown is cleaned; what a program relies on must be right.
pub(super) fn manifest(info: Info) -> Result<Manifest, Error> {
    let Info {
        name,
        version,
        description,
        capabilities,
        config_schema_json,
        state_schema,
    } = info;
    if !is_name(&name) {
        return refuse(format!(
            "its name is `{}`; a name has 1 to {NAME_CHARS} lower-case letters, digits or hyphens, for example `order-status`",
            clean(&name, NAME_CHARS)
        ));
    }
    if version.is_empty() || version.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return refuse("its version is empty or has spaces in it; use one like `1.2.3`".to_owned());
    }
    if capabilities.len() > CAPABILITIES {
        return refuse(format!("it asks for more than {CAPABILITIES} capabilities"));
    }
    let needed: Vec<_> = capabilities.iter().filter(|c| !c.optional).collect();
    if !needed.is_empty() {
        let names: Vec<_> = needed
            .iter()
            .map(|capability| format!("`{}`", clean(&capability.name, NAME_CHARS)))
            .collect();
        return refuse(format!(
            "it can't do without {}, and this host grants no capabilities yet; let it work without and say `optional: true`",
            names.join(" and ")
        ));
    }
    let schema: Option<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(&config_schema_json).ok();
    if schema.is_none() || config_schema_json.len() > SCHEMA_BYTES {
        return refuse(format!(
            "its `config-schema-json` is not a JSON object of at most {SCHEMA_BYTES} bytes; `{{}}` stands for any configuration"
        ));
    }
    Ok(Manifest {
        name,
        version: clean(&version, VERSION_CHARS),
        description: clean(&description, DESCRIPTION_CHARS),
        capabilities: capabilities
            .into_iter()
            .map(|capability| Capability {
                name: clean(&capability.name, NAME_CHARS),
                reason: clean(&capability.reason, DESCRIPTION_CHARS),
                optional: capability.optional,
            })
            .collect(),
        config_schema_json,
        state_schema,
    })
}

/// The most problems of a configuration, and the longest, in characters: people read them.
pub(super) const PROBLEMS: usize = 32;
pub(super) const PROBLEM_CHARS: usize = 500;

/// What a plugin says of a configuration, made safe to show.
pub(super) fn problems(problems: Vec<String>) -> Vec<String> {
    problems
        .iter()
        .take(PROBLEMS)
        .map(|problem| clean(problem, PROBLEM_CHARS))
        .collect()
}

fn is_name(name: &str) -> bool {
    let fits = (1..=NAME_CHARS).contains(&name.len());
    fits && name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn refuse<T>(why: String) -> Result<T, Error> {
    Err(Error::Refused(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::manifest as bindings;

    fn info() -> Info {
        Info {
            name: "echo".to_owned(),
            version: "0.1.0".to_owned(),
            description: "Says it again\u{1b}[2J\nand again".to_owned(),
            capabilities: vec![],
            config_schema_json: "{}".to_owned(),
            state_schema: 1,
        }
    }

    #[test]
    fn what_people_see_is_cleaned() {
        let manifest = manifest(info()).unwrap();
        assert_eq!(manifest.description, "Says it again[2J and again");
    }

    #[test]
    fn a_manifest_that_is_wrong_is_refused() {
        let name = |name: &str| Info {
            name: name.to_owned(),
            ..info()
        };
        let schema = |json: &str| Info {
            config_schema_json: json.to_owned(),
            ..info()
        };
        for bad in [name(""), name("Echo"), name("a b"), name(&"a".repeat(65))] {
            assert!(manifest(bad).is_err());
        }
        for bad in [schema(""), schema("[]"), schema("{")] {
            assert!(manifest(bad).is_err());
        }
    }

    #[test]
    fn a_capability_that_it_can_not_do_without_is_refused_by_name() {
        let capability = |name: &str, optional| bindings::Capability {
            name: name.to_owned(),
            reason: "to look orders up".to_owned(),
            optional,
        };
        let asks = |capabilities| Info {
            capabilities,
            ..info()
        };
        let optional = manifest(asks(vec![capability("llm", true)])).unwrap();
        assert_eq!(optional.capabilities[0].name, "llm");
        let needed = asks(vec![
            capability("llm", true),
            capability("fetch:api.example.com", false),
            capability("sms\u{7}", false),
        ]);
        assert_eq!(
            manifest(needed).unwrap_err().to_string(),
            "the plugin is refused: it can't do without `fetch:api.example.com` and `sms`, and this host grants no \
             capabilities yet; let it work without and say `optional: true`"
        );
    }
}
