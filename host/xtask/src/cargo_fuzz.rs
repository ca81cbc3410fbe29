//! cargo-fuzz, which builds the fuzz targets and runs them.

use crate::cargo_tool::CargoTool;
use crate::layout::Layout;
use anyhow::{Context, Result};
use std::path::PathBuf;

const TOOL: CargoTool = CargoTool {
    subcommand: "fuzz",
    version: "0.13.2",
    takes: "one or two minutes",
    hint: "the fuzz targets; it needs a network that reaches the crates, and a C++ compiler (Debian: apt-get install g++) to build them",
};

/// The folder that has its executable, which is installed if it is nowhere.
pub(crate) fn set_up(layout: &Layout) -> Result<PathBuf> {
    let file = TOOL.set_up(layout)?;
    let folder = file.parent().context("cargo-fuzz is in no folder")?;
    Ok(folder.to_owned())
}
