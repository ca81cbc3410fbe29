//! The world that plugins are built for, by name: to tell an author which import or export is wrong before anything is
//! compiled. Whether the types fit too is for the linker to say.

use super::Error;
use super::prescan::Outside;

/// The world that plugins are built for.
pub(super) const NAME: &str = "nodepath:plugin/conversation@0.1.0";

const PACKAGE: &str = "nodepath:plugin/";
const VERSION: &str = "0.1.0";

/// The interfaces of the package that a plugin may import.
const IMPORTS: [&str; 8] = [
    "types", "effects", "presence", "history", "state", "config", "log", "clock",
];

/// The interfaces that every plugin exports.
const EXPORTS: [&str; 2] = ["manifest", "handler"];

/// The interfaces of WASI 0.2 that are there, with nothing behind them.
const WASI: [&str; 20] = [
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:clocks/wall-clock",
    "wasi:clocks/monotonic-clock",
    "wasi:filesystem/types",
    "wasi:filesystem/preopens",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
];

/// Whether a component wants only what there is, and offers what it must.
pub(super) fn fits(outside: &Outside) -> Result<(), Error> {
    let wrong: Vec<String> = outside
        .imports
        .iter()
        .filter_map(|name| import(name))
        .collect();
    if !wrong.is_empty() {
        return Err(Error::Refused(format!(
            "it imports what plugins don't get: {}",
            wrong.join("; ")
        )));
    }
    let missing: Vec<String> = EXPORTS
        .iter()
        .map(|interface| format!("{PACKAGE}{interface}@{VERSION}"))
        .filter(|wanted| !outside.exports.contains(wanted))
        .map(|wanted| format!("`{wanted}`"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "it does not export {}: build it for the world `{NAME}`",
        missing.join(" and ")
    )))
}

/// What is wrong with an import, if anything is.
fn import(name: &str) -> Option<String> {
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    if let Some(own) = interface.strip_prefix(PACKAGE) {
        if !IMPORTS.contains(&own) {
            return Some(format!(
                "`{name}` (this host knows no such interface; build for `{NAME}`)"
            ));
        }
        return (version != VERSION)
            .then(|| format!("`{name}` (this host has version {VERSION} of the package)"));
    }
    if WASI.contains(&interface) {
        return (!version.starts_with("0.2."))
            .then(|| format!("`{name}` (this host has WASI 0.2)"));
    }
    Some(match interface.split('/').next() {
        Some("wasi:sockets") => {
            format!("`{name}` (plugins open no connections; leave out what uses `std::net`)")
        }
        Some("wasi:http") => {
            format!("`{name}` (plugins send no requests of their own)")
        }
        _ => format!("`{name}` (it is not part of the world `{NAME}`)"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside(imports: &[&str], exports: &[&str]) -> Outside {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Outside {
            imports: owned(imports),
            exports: owned(exports),
        }
    }

    const BOTH: [&str; 2] = [
        "nodepath:plugin/manifest@0.1.0",
        "nodepath:plugin/handler@0.1.0",
    ];

    #[test]
    fn the_world_and_idle_wasi_are_fine() {
        let imports = [
            "nodepath:plugin/effects@0.1.0",
            "nodepath:plugin/types@0.1.0",
            "wasi:io/streams@0.2.3",
            "wasi:cli/stderr@0.2.9",
        ];
        assert!(fits(&outside(&imports, &BOTH)).is_ok());
    }

    #[test]
    fn each_foreign_import_is_named_with_what_to_do() {
        let imports = [
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:sockets/tcp@0.2.3",
            "nodepath:plugin/effects@0.9.0",
            "nodepath:plugin/llm@0.1.0",
            "acme:db/query",
        ];
        let why = fits(&outside(&imports, &BOTH)).unwrap_err().to_string();
        for import in imports {
            assert!(why.contains(&format!("`{import}` (")), "{why}");
        }
    }

    #[test]
    fn each_missing_export_is_named() {
        let why = fits(&outside(&[], &BOTH[..1])).unwrap_err().to_string();
        assert!(
            why.contains("does not export `nodepath:plugin/handler@0.1.0`:"),
            "{why}"
        );
    }
}
