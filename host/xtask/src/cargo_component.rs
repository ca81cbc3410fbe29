//! cargo-component, which one test needs: the one that writes a plugin the way its author would.

use crate::cargo_tool::CargoTool;
use crate::layout::Layout;
use anyhow::Result;
use std::path::PathBuf;

/// The last release, whose bindings the plugins use.
const TOOL: CargoTool = CargoTool {
    subcommand: "component",
    version: "0.21.1",
    takes: "for the tests, 6 to 15 minutes",
    hint: "the test that needs it",
};

/// Its file, installed if it is nowhere.
pub(crate) fn set_up(layout: &Layout) -> Result<PathBuf> {
    TOOL.set_up(layout)
}
