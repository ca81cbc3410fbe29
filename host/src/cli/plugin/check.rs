//! `nodepath plugin check`: whether a component would run, and what it asks for.

use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::super::answer::{Answer, chain};
use super::super::context::Context;
use super::super::files::read_component;
use super::super::table::{facts, plain, size};
use crate::plugin::{Capability, Checked, Error, Manifest};

pub(super) async fn run(context: &Context, file: &Path) -> anyhow::Result<Answer> {
    let bytes = read_component(file)?;
    let scratch = context.scratch()?;
    match scratch.runtime.check(&bytes).await {
        Ok(checked) => good(file, &checked),
        Err(error @ (Error::Refused(_) | Error::Guest(_))) => {
            let problem = plain_lines(&chain(&error.into()));
            let text = format!("{} would not run: {problem}\n", file.display());
            let json =
                json!({ "ok": false, "file": file.display().to_string(), "problem": problem });
            Ok(Answer::new(text, json)?.bad())
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Serialize)]
struct CheckJson {
    ok: bool,
    file: String,
    digest: String,
    size_bytes: u64,
    imports: Vec<String>,
    #[serde(flatten)]
    manifest: Value,
}

fn good(file: &Path, checked: &Checked) -> anyhow::Result<Answer> {
    let manifest = &checked.manifest;
    let capabilities = if manifest.capabilities.is_empty() {
        "none".to_owned()
    } else {
        manifest
            .capabilities
            .iter()
            .map(capability_line)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let schema = serde_json::from_str::<Value>(&manifest.config_schema_json);
    let text = facts(&[
        ("file", file.display().to_string()),
        ("plugin", format!("{} {}", manifest.name, manifest.version)),
        ("says", manifest.description.clone()),
        ("digest", checked.digest.to_string()),
        (
            "size",
            format!(
                "{} ({} bytes)",
                size(checked.size_bytes),
                checked.size_bytes
            ),
        ),
        ("imports", checked.imports.join("\n")),
        ("capabilities", capabilities),
        (
            "config schema",
            schema.map_or_else(
                |_| manifest.config_schema_json.clone(),
                |s| format!("{s:#}"),
            ),
        ),
        ("state schema", manifest.state_schema.to_string()),
    ]);
    let json = CheckJson {
        ok: true,
        file: file.display().to_string(),
        digest: checked.digest.to_string(),
        size_bytes: checked.size_bytes,
        imports: checked.imports.clone(),
        manifest: manifest_json(manifest),
    };
    Answer::new(format!("{text}\nIt would run here.\n"), json)
}

fn capability_line(capability: &Capability) -> String {
    // One that was not optional would have been refused.
    format!(
        "{} (wanted, not granted by this host): {}",
        capability.name, capability.reason
    )
}

/// What a plugin says of itself, as it is stored and shown to programs.
pub(super) fn manifest_json(manifest: &Manifest) -> Value {
    let capabilities: Vec<_> = manifest
        .capabilities
        .iter()
        .map(|c| json!({ "name": c.name, "reason": c.reason, "optional": c.optional }))
        .collect();
    json!({
        "name": manifest.name,
        "version": manifest.version,
        "description": manifest.description,
        "capabilities": capabilities,
        "config_schema": serde_json::from_str(&manifest.config_schema_json).unwrap_or(Value::Null),
        "state_schema": manifest.state_schema,
    })
}

fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}
