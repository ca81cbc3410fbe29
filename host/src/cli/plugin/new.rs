//! `nodepath plugin new`: a project that `cargo component build` builds at once, with the contract beside it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use super::super::answer::{Answer, Usage};

/// The project's files: `plugins/template`, and the contract from `wit`.
const FILES: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        include_str!("../../../../plugins/template/Cargo.toml"),
    ),
    (
        "README.md",
        include_str!("../../../../plugins/template/README.md"),
    ),
    (
        ".gitignore",
        include_str!("../../../../plugins/template/.gitignore"),
    ),
    (
        "src/lib.rs",
        include_str!("../../../../plugins/template/src/lib.rs"),
    ),
    ("wit/clock.wit", include_str!("../../../../wit/clock.wit")),
    ("wit/config.wit", include_str!("../../../../wit/config.wit")),
    (
        "wit/effects.wit",
        include_str!("../../../../wit/effects.wit"),
    ),
    (
        "wit/handler.wit",
        include_str!("../../../../wit/handler.wit"),
    ),
    (
        "wit/history.wit",
        include_str!("../../../../wit/history.wit"),
    ),
    ("wit/log.wit", include_str!("../../../../wit/log.wit")),
    (
        "wit/manifest.wit",
        include_str!("../../../../wit/manifest.wit"),
    ),
    (
        "wit/presence.wit",
        include_str!("../../../../wit/presence.wit"),
    ),
    ("wit/state.wit", include_str!("../../../../wit/state.wit")),
    ("wit/types.wit", include_str!("../../../../wit/types.wit")),
    ("wit/world.wit", include_str!("../../../../wit/world.wit")),
];

/// The longest name: what the host takes from a manifest.
const NAME_CHARS: usize = 64;

pub(super) fn run(name: &str, dir: Option<PathBuf>) -> anyhow::Result<Answer> {
    check_name(name)?;
    let dir = dir.unwrap_or_else(|| PathBuf::from(name));
    let occupied = std::fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        anyhow::bail!(
            "{} is there already and not empty; choose another name, or another place with --dir",
            dir.display()
        );
    }
    let file_name = name.replace('-', "_");
    for (path, text) in FILES {
        let text = text
            .replace("{{name}}", name)
            .replace("{{crate}}", &file_name);
        write_new(&dir.join(path), &text)?;
    }
    let wasm = format!("target/wasm32-wasip1/release/{file_name}.wasm");
    let text = format!(
        "Wrote a new plugin to {0}. Next:\n\n    cd {0}\n    cargo component build --release\n    nodepath plugin check {wasm}\n    nodepath chat {wasm}\n    nodepath plugin add {wasm} --tenant NAME\n\nThe README.md in it says what has to be installed once.\n",
        dir.display()
    );
    let files: Vec<_> = FILES.iter().map(|(path, _)| path).collect();
    Answer::new(
        text,
        json!({ "name": name, "dir": dir.display().to_string(), "files": files }),
    )
}

fn check_name(name: &str) -> Result<(), Usage> {
    let begins_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    let chars = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if begins_well && name.chars().all(chars) && name.len() <= NAME_CHARS {
        return Ok(());
    }
    Err(Usage(format!(
        "{name:?} can't be a plugin's name: begin with a lower-case letter, then letters, digits and `-`, {NAME_CHARS} at most"
    )))
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        // Whatever came there meanwhile stays as it is.
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(text.as_bytes())
    };
    write().with_context(|| format!("can't write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("order-status");
        let answer = run("order-status", Some(project.clone())).unwrap();
        let read = |name: &str| std::fs::read_to_string(project.join(name)).unwrap();
        assert!(read("Cargo.toml").contains("name = \"order-status\""));
        assert!(read("README.md").contains("release/order_status.wasm"));
        for (path, _) in FILES {
            assert!(!read(path).contains("{{"), "{path}");
        }
        insta::assert_snapshot!(answer.text().replace(&dir.path().display().to_string(), "."), @r"
        Wrote a new plugin to ./order-status. Next:

            cd ./order-status
            cargo component build --release
            nodepath plugin check target/wasm32-wasip1/release/order_status.wasm
            nodepath chat target/wasm32-wasip1/release/order_status.wasm
            nodepath plugin add target/wasm32-wasip1/release/order_status.wasm --tenant NAME

        The README.md in it says what has to be installed once.
        ");
        assert!(run("order-status", Some(project)).is_err());
    }

    #[test]
    fn the_whole_contract_is_in_it() {
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
        for entry in std::fs::read_dir(wit).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(
                FILES.iter().any(|(path, _)| *path == format!("wit/{name}")),
                "{name}"
            );
        }
    }

    #[test]
    fn a_name_must_be_one_of_a_crate() {
        assert!(check_name("echo-2").is_ok());
        for name in ["", "Echo", "2echo", "a_b", "../x", "a b", &"a".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
