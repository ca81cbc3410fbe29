//! The Rust toolchain that compiles plugins to `wasm32-wasip1`, found or made.

mod debian;

use crate::layout::Layout;
use crate::{process, progress};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;
use std::{env, fs};

pub(crate) const TARGET: &str = "wasm32-wasip1";

/// Forces one of the [`Origin`]s.
const VARIABLE: &str = "XTASK_WASM_TOOLCHAIN";

/// A compiler that has the target, and the cargo to run it with.
pub(crate) struct WasmToolchain {
    pub(crate) rustc: PathBuf,
    pub(crate) cargo: PathBuf,
}

impl WasmToolchain {
    /// A cargo that compiles with this toolchain, whatever the environment says about compilers and flags: those are meant
    /// for programs of this machine.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        command.env("RUSTC", &self.rustc);
        for variable in [
            "RUSTUP_TOOLCHAIN",
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "CARGO_TARGET_DIR",
        ] {
            command.env_remove(variable);
        }
        command
    }

    /// Tells this toolchain's standard library for the target from any other.
    pub(crate) fn library_identity(&self) -> Result<String> {
        let sysroot = process::output(Command::new(&self.rustc).args(["--print", "sysroot"]))?;
        let library = libraries(Path::new(sysroot.trim()));
        let made = fs::metadata(&library)
            .and_then(|metadata| metadata.modified())
            .with_context(|| format!("could not look at {}", library.display()))?;
        let since = made.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(format!("{} {}", library.display(), since.as_nanos()))
    }
}

/// Where the toolchain comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    /// The active toolchain, as it is.
    Active,
    /// A private one, made of Debian's packages.
    Debian,
    /// The active one, after `rustup target add`.
    Rustup,
}

pub(crate) fn set_up(layout: &Layout) -> Result<WasmToolchain> {
    let active = Active::find()?;
    let forced = forced_origin(env::var(VARIABLE).ok().as_deref())?;
    match forced.unwrap_or_else(|| default_origin(&active)) {
        Origin::Active => active.with_target(),
        Origin::Debian => debian::set_up(layout, &active),
        Origin::Rustup => {
            if !active.has_target() {
                add_with_rustup()?;
            }
            active.with_target()
        }
    }
}

fn forced_origin(value: Option<&str>) -> Result<Option<Origin>> {
    match value {
        None | Some("") => Ok(None),
        Some("active") => Ok(Some(Origin::Active)),
        Some("debian") => Ok(Some(Origin::Debian)),
        Some("rustup") => Ok(Some(Origin::Rustup)),
        Some(other) => bail!("{VARIABLE} is `{other}`; it can be active, debian or rustup"),
    }
}

fn default_origin(active: &Active) -> Origin {
    if active.has_target() {
        Origin::Active
    } else if debian::is_here() {
        Origin::Debian
    } else {
        Origin::Rustup
    }
}

fn add_with_rustup() -> Result<()> {
    if process::find("rustup").is_none() {
        bail!(
            "this Rust toolchain has no target {TARGET}, and there is no rustup to add it\n\
             Install the target with whatever installed Rust here, for example a package named like \
             rust-std-{TARGET}, and run this again."
        );
    }
    progress::step(&format!("adding the target {TARGET} with rustup"), || {
        process::run(Command::new("rustup").args(["target", "add", TARGET]))
    })
    .with_context(|| {
        format!(
            "rustup could not add {TARGET}; when `rustup target add {TARGET}` works, run this again"
        )
    })
}

/// The toolchain that compiles the host.
struct Active {
    sysroot: PathBuf,
    /// For example `x86_64-unknown-linux-gnu`.
    host: String,
}

impl Active {
    fn find() -> Result<Self> {
        let rustc = || Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        let sysroot = process::output(rustc().args(["--print", "sysroot"]))?;
        let version = process::output(rustc().arg("-vV"))?;
        let host = version
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .context("`rustc -vV` does not say which host it is for")?;
        Ok(Self {
            sysroot: PathBuf::from(sysroot.trim()),
            host: host.to_owned(),
        })
    }

    fn has_target(&self) -> bool {
        // A target that was removed can leave its folder behind.
        fs::read_dir(libraries(&self.sysroot)).is_ok_and(|mut files| files.next().is_some())
    }

    fn with_target(&self) -> Result<WasmToolchain> {
        if !self.has_target() {
            bail!(
                "the active Rust toolchain in {} has no target {TARGET}\n\
                 Add it with `rustup target add {TARGET}`, or unset {VARIABLE} to have it made another way.",
                self.sysroot.display()
            );
        }
        Ok(WasmToolchain {
            rustc: self.sysroot.join("bin/rustc"),
            cargo: self.cargo(),
        })
    }

    fn cargo(&self) -> PathBuf {
        let beside_rustc = self.sysroot.join("bin/cargo");
        if beside_rustc.is_file() {
            return beside_rustc;
        }
        env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
    }

    /// The programs that rustc links with, `rust-lld` among them.
    fn linkers(&self) -> PathBuf {
        Path::new(&self.sysroot)
            .join("lib/rustlib")
            .join(&self.host)
            .join("bin")
    }
}

fn libraries(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib").join(TARGET).join("lib")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_forces_an_origin_or_is_refused() {
        assert!(matches!(forced_origin(None), Ok(None)));
        assert!(matches!(forced_origin(Some("")), Ok(None)));
        assert!(matches!(
            forced_origin(Some("debian")),
            Ok(Some(Origin::Debian))
        ));
        assert!(forced_origin(Some("nix")).is_err());
    }

    #[test]
    fn a_target_folder_without_libraries_is_no_target() -> Result<()> {
        let sysroot = tempfile::tempdir()?;
        let active = Active {
            sysroot: sysroot.path().to_owned(),
            host: "x86_64-unknown-linux-gnu".to_owned(),
        };
        let libraries = libraries(sysroot.path());
        fs::create_dir_all(&libraries)?;
        assert!(!active.has_target());
        fs::write(libraries.join("libstd.rlib"), "")?;
        assert!(active.has_target());
        Ok(())
    }
}
