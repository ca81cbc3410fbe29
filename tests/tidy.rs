//! The structure holds: who may use whom, how long a file and a function may be, and what must not be written down. The table
//! is ARCHITECTURE.md's; a rule that is broken fails here.

#![expect(clippy::unwrap_used, reason = "a check that can't look fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules of the host each may use. `model` and `plugin` are crates of their own, for which cargo holds the same: the
/// first depends on no other of ours, the second on the first.
const MAY_USE: [(&str, &[&str]); 11] = [
    ("main", &["cli"]),
    (
        "cli",
        &[
            "app",
            "channel",
            "config",
            "model",
            "plugin",
            "store",
            "telemetry",
            "turn",
        ],
    ),
    (
        "app",
        &[
            "channel", "config", "delivery", "http", "model", "plugin", "store", "turn",
        ],
    ),
    ("config", &["model", "store", "telemetry"]),
    ("telemetry", &["disk", "model"]),
    ("http", &["channel", "model", "store"]),
    // A turn shows presence through the loop that speaks to providers.
    ("turn", &["channel", "delivery", "model", "plugin", "store"]),
    ("delivery", &["channel", "model", "store"]),
    ("channel", &["model"]),
    ("store", &["disk", "model"]),
    ("disk", &[]),
];

/// Libraries, and the only places that may know them. `cli/demo` plays a provider, which is a server and a client.
const ONLY_IN: [(&str, &[&str]); 7] = [
    ("sqlx", &["store"]),
    ("rusqlite", &["store"]),
    ("wasmtime", &["plugin"]),
    ("wasmtime_wasi", &["plugin"]),
    ("wasmparser", &["plugin"]),
    ("axum", &["http", "app", "cli/demo"]),
    ("reqwest", &["channel", "delivery", "cli/demo"]),
];

/// A file stops here, its tests aside.
const MAX_FILE_LINES: usize = 500;
/// A function stops here.
const MAX_FUNCTION_LINES: usize = 70;

#[test]
fn modules_use_only_what_they_may() {
    let mut broken = Vec::new();
    for file in sources() {
        let module = file.module();
        if ["lib", "model", "plugin"].contains(&module) {
            continue;
        }
        let allowed: &[&str] = MAY_USE
            .iter()
            .find(|(name, _)| *name == module)
            .map_or(&[], |(_, allowed)| allowed);
        for used in file.used_modules() {
            if used != module && !allowed.contains(&used.as_str()) {
                broken.push(format!("{} uses crate::{used}", file.name));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_crates_below_depend_on_no_other_of_ours_than_they_may() {
    let manifest =
        |name: &str| fs::read_to_string(root().join(format!("host/{name}/Cargo.toml"))).unwrap();
    // What only its tests use is no dependency of the crate's.
    let ours = |text: &str| {
        let (used, _) = text.split_once("[dev-dependencies]").unwrap_or((text, ""));
        used.lines()
            .filter(|l| l.starts_with("nodepath"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(ours(&manifest("model")), Vec::<String>::new());
    assert_eq!(
        ours(&manifest("plugin")),
        ["nodepath-model.workspace = true"]
    );
}

#[test]
fn a_library_stays_in_its_place() {
    let mut broken = Vec::new();
    for file in sources() {
        for (library, places) in ONLY_IN {
            let is_there = file.code().lines().any(|line| uses(line, library));
            let may = places.iter().any(|place| file.name.starts_with(place));
            if is_there && !may {
                broken.push(format!("{} uses {library}", file.name));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn files_and_functions_are_short() {
    let mut long = Vec::new();
    for file in sources() {
        let lines = file.code().lines().count();
        if lines > MAX_FILE_LINES && !file.is_test() {
            long.push(format!("{} has {lines} lines", file.name));
        }
        for (function, lines) in functions(file.code()) {
            if lines > MAX_FUNCTION_LINES && !file.is_test() {
                long.push(format!("{}: {function} has {lines} lines", file.name));
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn nothing_is_left_undone() {
    // Put together here, so that this file has none itself.
    let marks = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["to", "do!("].concat(),
        ["unimpl", "emented!("].concat(),
    ];
    let left: Vec<_> = sources()
        .iter()
        .flat_map(|file| {
            marks
                .iter()
                .filter(|mark| file.text.contains(*mark))
                .map(|mark| format!("{}: {mark}", file.name))
        })
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

/// The bugs that `cargo xtask crash` must find are compiled only where its feature asks for them, and nothing else asks for it.
#[test]
fn planted_bugs_are_in_no_build_but_the_campaign_s() {
    let mut bare = Vec::new();
    for file in sources().iter().filter(|f| f.name != "store/planted") {
        let lines: Vec<_> = file.text.lines().map(str::trim).collect();
        for (i, line) in lines.iter().enumerate() {
            let names_it = line.contains("planted::") || line.contains("mod planted");
            let statement = lines.get(..i).unwrap_or_default();
            let is_guarded = statement
                .iter()
                .rev()
                .take(2)
                .any(|line| *line == "#[cfg(feature = \"planted-bugs\")]");
            if names_it && !is_guarded {
                bare.push(format!("{}: {line}", file.name));
            }
        }
    }
    assert!(bare.is_empty(), "{bare:#?}");
    let manifests = ["Cargo.toml", "host/Cargo.toml", "host/xtask/Cargo.toml"];
    for manifest in manifests {
        let text = fs::read_to_string(root().join(manifest)).unwrap();
        let asks = text.lines().filter(|line| line.contains("planted-bugs"));
        let expected: &[&str] = if manifest == "host/Cargo.toml" {
            &["planted-bugs = []"]
        } else {
            &[]
        };
        assert_eq!(asks.collect::<Vec<_>>(), expected, "{manifest}");
    }
}

#[test]
fn every_test_that_the_tests_readme_names_exists() {
    let readme = fs::read_to_string(root().join("tests/README.md")).unwrap();
    let code: String = rust_files(&[root().join("host"), root().join("tests")])
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    // A test is named in backquotes, by its function, perhaps below its module.
    let names: BTreeSet<_> = readme
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| {
            name.contains('_')
                && name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c))
        })
        .filter_map(|name| name.rsplit("::").next())
        .filter(|name| name.matches('_').count() >= 2)
        .collect();
    assert!(names.len() > 30, "the table is gone: {names:?}");
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !code.contains(&format!("fn {name}(")))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_checks_see_what_they_look_for() {
    assert!(uses("use sqlx::Row;", "sqlx"));
    assert!(uses("    let x = sqlx::query(", "sqlx"));
    assert!(!uses("// as sqlx::query does", "sqlx"));
    assert!(!uses("use mysqlx::Row;", "sqlx"));
    let long = format!(
        "fn a() {{\n{}}}\n\n    pub async fn b(\n    ) {{\n    }}\n",
        "    x();\n".repeat(80)
    );
    assert_eq!(
        functions(&long),
        [("a".to_owned(), 82), ("b".to_owned(), 3)]
    );
}

/// A source file of the host.
struct Source {
    /// Below its `src`, without its ending: `store/accept`, `plugin/engine`.
    name: String,
    text: String,
}

impl Source {
    fn module(&self) -> &str {
        self.name.split('/').next().unwrap()
    }

    fn is_test(&self) -> bool {
        self.name
            .split('/')
            .any(|part| part == "tests" || part.ends_with("_tests"))
    }

    /// Everything before the tests.
    fn code(&self) -> &str {
        self.text.split("#[cfg(test)]").next().unwrap()
    }

    fn used_modules(&self) -> BTreeSet<String> {
        let code = if self.is_test() { "" } else { self.code() };
        code.lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .flat_map(|line| line.split("crate::").skip(1))
            .map(|rest| {
                rest.chars()
                    .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                    .collect::<String>()
            })
            .filter(|module| !module.is_empty())
            .collect()
    }
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for (src, module) in [
        ("host/src", ""),
        ("host/model/src", "model/"),
        ("host/plugin/src", "plugin/"),
    ] {
        let src = root().join(src);
        let files = rust_files(std::slice::from_ref(&src));
        assert!(files.len() > 10, "the sources are gone");
        for path in files {
            let name = path.strip_prefix(&src).unwrap().with_extension("");
            found.push(Source {
                name: format!("{module}{}", name.to_str().unwrap()),
                text: fs::read_to_string(&path).unwrap(),
            });
        }
    }
    found
}

/// The names and lengths of the functions of code that rustfmt has formatted.
fn functions(code: &str) -> Vec<(String, usize)> {
    let lines: Vec<_> = code.lines().collect();
    let mut found = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let Some((before, after)) = line.split_once("fn ") else {
            continue;
        };
        let is_start = before
            .split_whitespace()
            .all(|word| word.starts_with("pub") || ["async", "const", "unsafe"].contains(&word));
        if !is_start || line.ends_with(';') || line.ends_with('}') {
            continue;
        }
        let indent: String = line.chars().take_while(|c| *c == ' ').collect();
        let end = lines
            .iter()
            .skip(i)
            .position(|l| *l == format!("{indent}}}"));
        let name: String = after
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        found.extend(end.map(|end| (name, end + 1)));
    }
    found
}

/// Whether a line of code names a library.
fn uses(line: &str, library: &str) -> bool {
    let path = format!("{library}::");
    let is_whole = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    !line.trim_start().starts_with("//") && line.match_indices(&path).any(|(at, _)| is_whole(at))
}

fn rust_files(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = folders.to_vec();
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
