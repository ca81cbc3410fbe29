//! Builds the plugins into components.
//!
//! An author runs `cargo component build`. This does the same with a plain `cargo build` and wit-component, so that the first
//! demo on a fresh machine does not have to wait until cargo-component is compiled.

use crate::layout::Layout;
use crate::wasm_toolchain::{TARGET, WasmToolchain};
use crate::{process, progress};
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as ADAPTER_NAME,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as ADAPTER,
};
use wit_component::ComponentEncoder;

/// Leaves one component for each plugin in [`Layout::components`], and nothing else.
pub(crate) fn build(layout: &Layout, toolchain: &WasmToolchain) -> Result<()> {
    progress::step("building the plugins", || {
        forget_other_library(layout, toolchain)?;
        compile(layout, toolchain)?;
        let components = layout.components();
        fs::create_dir_all(&components)?;
        let names = plugin_names(layout)?;
        for name in &names {
            let module = compiled(layout, name);
            let component = components.join(name).with_extension("wasm");
            if is_stale(&component, &module)? {
                encode(&module, &component)
                    .with_context(|| format!("could not make a component of the plugin {name}"))?;
            }
        }
        remove_others(&components, &names)
    })
}

/// Removes what was compiled against another standard library. Cargo compares compilers only by their version, and two private
/// ones of the same version have each a library of their own: mixing them fails with "can't find crate".
fn forget_other_library(layout: &Layout, toolchain: &WasmToolchain) -> Result<()> {
    let target = layout.plugins_target();
    let marker = target.join("wasm-library.txt");
    let identity = toolchain.library_identity()?;
    if fs::read_to_string(&marker).is_ok_and(|used| used == identity) {
        return Ok(());
    }
    let compiled = target.join(TARGET);
    if compiled.exists() {
        fs::remove_dir_all(&compiled)?;
    }
    fs::create_dir_all(&target)?;
    fs::write(&marker, identity)?;
    Ok(())
}

fn compile(layout: &Layout, toolchain: &WasmToolchain) -> Result<()> {
    process::run(
        toolchain
            .cargo()
            .current_dir(layout.plugins())
            .args([
                "build",
                "--release",
                "--locked",
                "--workspace",
                "--target",
                TARGET,
            ])
            .arg("--target-dir")
            .arg(layout.plugins_target()),
    )
    .context("the plugins do not compile; the reason stands above")
}

fn compiled(layout: &Layout, name: &str) -> PathBuf {
    layout
        .plugins_target()
        .join(TARGET)
        .join("release")
        .join(name.replace('-', "_"))
        .with_extension("wasm")
}

/// The packages of the plugins' workspace that are compiled to a module.
fn plugin_names(layout: &Layout) -> Result<Vec<String>> {
    let metadata = process::output(process::cargo().current_dir(layout.plugins()).args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata is not JSON")?;
    Ok(names_in(&metadata))
}

fn names_in(metadata: &Value) -> Vec<String> {
    let list = |value: &Value, key: &str| {
        value
            .get(key)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let is_plugin = |package: &Value| {
        let targets = list(package, "targets");
        targets
            .iter()
            .any(|target| list(target, "crate_types").contains(&Value::from("cdylib")))
    };
    list(metadata, "packages")
        .iter()
        .filter(|package| is_plugin(package))
        .filter_map(|package| package.get("name")?.as_str().map(str::to_owned))
        .collect()
}

/// A component is older than its module, or than this program, which may have another adapter.
fn is_stale(component: &Path, module: &Path) -> Result<bool> {
    let changed = |path: &Path| -> Result<SystemTime> {
        let metadata =
            fs::metadata(path).with_context(|| format!("{} is missing", path.display()))?;
        Ok(metadata.modified()?)
    };
    let xtask = std::env::current_exe()?;
    let Ok(made) = changed(component) else {
        return Ok(true);
    };
    Ok(made <= changed(module)? || made <= changed(&xtask)?)
}

fn encode(module: &Path, component: &Path) -> Result<()> {
    let bytes = fs::read(module)?;
    // `cargo component build` in plugins/ leaves a component where cargo left the module.
    let bytes = if is_component(&bytes) {
        bytes
    } else {
        ComponentEncoder::default()
            .validate(true)
            .module(&bytes)?
            .adapter(ADAPTER_NAME, ADAPTER)?
            .encode()?
    };
    // A host that runs meanwhile sees the old one or the new one, never half of it.
    let unfinished = component.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&unfinished, bytes)?;
    fs::rename(&unfinished, component)?;
    Ok(())
}

/// Both begin with the magic number and a version; a component has layer 1, a module layer 0.
fn is_component(bytes: &[u8]) -> bool {
    bytes.get(6) == Some(&1)
}

/// Removes the components of plugins that are gone.
fn remove_others(components: &Path, names: &[String]) -> Result<()> {
    for entry in fs::read_dir(components)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if !names.iter().any(|known| *known == name) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packages_with_a_module_are_plugins() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "echo", "targets": [{ "crate_types": ["cdylib"] }] },
            { "name": "guest-kit", "targets": [{ "crate_types": ["lib"] }] },
        ]});
        assert_eq!(names_in(&metadata), ["echo"]);
    }

    #[test]
    fn components_of_plugins_that_are_gone_are_removed() -> Result<()> {
        let folder = tempfile::tempdir()?;
        for name in ["echo", "gone"] {
            fs::write(folder.path().join(name).with_extension("wasm"), "")?;
        }
        remove_others(folder.path(), &["echo".to_owned()])?;
        assert!(folder.path().join("echo.wasm").exists());
        assert!(!folder.path().join("gone.wasm").exists());
        Ok(())
    }

    #[test]
    fn a_component_is_told_from_a_module() {
        assert!(is_component(b"\0asm\x0d\0\x01\0"));
        assert!(!is_component(b"\0asm\x01\0\0\0"));
        assert!(!is_component(b""));
    }
}
