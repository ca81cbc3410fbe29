//! `nodepath config`: the effective configuration.

use super::answer::Answer;
use super::context::Context;

/// With `--json`: `{KEY: {value, origin, variable}}`.
pub(super) fn run(context: &Context) -> anyhow::Result<Answer> {
    let loaded = context.loaded()?;
    Answer::new(loaded.to_toml(), loaded.to_json())
}
