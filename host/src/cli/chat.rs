//! `nodepath chat`: talk to a plugin in the terminal.
use std::path::PathBuf;

use super::answer::Answer;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The component
    file: PathBuf,
}

impl Args {
    pub(super) async fn run(self, _json: bool) -> anyhow::Result<Answer> {
        anyhow::bail!("{} can't be talked to yet", self.file.display())
    }
}
