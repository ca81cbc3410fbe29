//! Plugins that misbehave in ways that no Rust plugin can: core modules as text in `wat/`, made into components.
//!
//! A guest is the text of one module that has what is special about it. `src/frame.wat` adds the rest: a memory, an allocator,
//! a manifest that is taken, and a turn that commits nothing. Numbers in a guest are the canonical ABI's: where a function
//! takes or returns more than fits, there is an address.

use std::path::Path;

use anyhow::{Context as _, Result};
use wit_component::{ComponentEncoder, LibraryInfo, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

include!(concat!(env!("OUT_DIR"), "/guests.rs"));

const FRAME: &str = include_str!("frame.wat");

/// Begins another module of the same component, and names it for those that import from it.
const PART: &str = ";;; part ";

/// The names of all guests.
pub fn names() -> impl Iterator<Item = &'static str> {
    GUESTS.iter().map(|(name, _)| *name)
}

/// The component of a guest.
///
/// # Errors
/// If there is none of this name, or its text is wrong.
pub fn component(name: &str) -> Result<Vec<u8>> {
    let guest = GUESTS.iter().find(|(known, _)| *known == name);
    let (_, text) = guest.with_context(|| format!("there is no tests/guests/wat/{name}.wat"))?;
    component_of(text).with_context(|| format!("tests/guests/wat/{name}.wat is wrong"))
}

fn component_of(guest: &str) -> Result<Vec<u8>> {
    let (main, parts) = guest.split_once(PART).unwrap_or((guest, ""));
    let mut module = wat::parse_str(framed(main))?;
    let (resolve, world) = world()?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    let mut encoder = ComponentEncoder::default().validate(true).module(&module)?;
    for part in parts.split(PART).filter(|part| !part.is_empty()) {
        let (names, text) = part.split_once('\n').unwrap_or((part, ""));
        let module = wat::parse_str(format!("(module {text})"))?;
        for name in names.split_whitespace() {
            encoder = encoder.library(name, &module, alone())?;
        }
    }
    encoder.encode()
}

/// A part is made before the main module, and imports nothing.
fn alone() -> LibraryInfo {
    LibraryInfo {
        instantiate_after_shims: false,
        arguments: Vec::new(),
    }
}

/// The module of a guest: what it says, and of the frame what it does not say.
fn framed(guest: &str) -> String {
    let missing: String = FRAME
        .split(";;; ")
        .skip(1)
        .filter_map(|part| part.split_once('\n'))
        .filter(|(name, _)| !guest.contains(&format!("(export \"{}\")", name.trim())))
        .map(|(_, text)| text)
        .collect();
    format!("(module\n{guest}\n{missing})")
}

fn world() -> Result<(Resolve, WorldId)> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut resolve = Resolve::default();
    resolve.push_dir(here.join("../../wit"))?;
    let own = std::fs::read_to_string(here.join("wit/wasi.wit"))?;
    let package = resolve.push_str("wasi.wit", &own)?;
    let world = resolve.select_world(&[package], Some("guest"))?;
    Ok((resolve, world))
}
