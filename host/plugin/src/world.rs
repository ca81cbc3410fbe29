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
    // Toolchains import whole families, so what is wrong with them is said once.
    let mut wrong: Vec<(String, String)> = Vec::new();
    for name in &outside.imports {
        let Some(why) = objection(name) else { continue };
        match wrong.iter_mut().find(|(_, known)| *known == why) {
            Some((names, _)) => names.push_str(&format!(", `{name}`")),
            None => wrong.push((format!("`{name}`"), why)),
        }
    }
    if !wrong.is_empty() {
        let wrong: Vec<String> = wrong
            .iter()
            .map(|(names, why)| format!("{names} ({why})"))
            .collect();
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
fn objection(name: &str) -> Option<String> {
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    if let Some(own) = interface.strip_prefix(PACKAGE) {
        return if !IMPORTS.contains(&own) {
            Some(format!(
                "this host knows no such interface; build for `{NAME}`"
            ))
        } else if version != VERSION {
            Some(format!("this host has version {VERSION} of the package"))
        } else {
            None
        };
    }
    if WASI.contains(&interface) {
        return (!version.starts_with("0.2.")).then(|| "this host has WASI 0.2".to_owned());
    }
    Some(match interface.split('/').next() {
        Some("wasi:sockets") => {
            "plugins open no connections: in Rust leave out what uses `std::net`, in Python build with `--stub-wasi`"
                .to_owned()
        }
        Some("wasi:http") => {
            "plugins send no requests of their own: in JavaScript disable the features `http` and `fetch-event`"
                .to_owned()
        }
        _ => format!("not part of the world `{NAME}`"),
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
            "wasi:sockets/udp@0.2.3",
            "nodepath:plugin/effects@0.9.0",
            "nodepath:plugin/llm@0.1.0",
            "wasi:cli/stdin@0.3.0",
            "acme:db/query",
        ];
        let why = fits(&outside(&imports, &BOTH)).unwrap_err().to_string();
        insta::assert_snapshot!(why.replace("; `", "\n`"), @r"
        the plugin is refused: it imports what plugins don't get: `wasi:http/outgoing-handler@0.2.0` (plugins send no requests of their own: in JavaScript disable the features `http` and `fetch-event`)
        `wasi:sockets/tcp@0.2.3`, `wasi:sockets/udp@0.2.3` (plugins open no connections: in Rust leave out what uses `std::net`, in Python build with `--stub-wasi`)
        `nodepath:plugin/effects@0.9.0` (this host has version 0.1.0 of the package)
        `nodepath:plugin/llm@0.1.0` (this host knows no such interface; build for `nodepath:plugin/conversation@0.1.0`)
        `wasi:cli/stdin@0.3.0` (this host has WASI 0.2)
        `acme:db/query` (not part of the world `nodepath:plugin/conversation@0.1.0`)
        ");
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
