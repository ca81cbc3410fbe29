//! Downloading packages without installing them, and without root.

use crate::process;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Downloads packages into `folder`: those that `choose` names. Where the system's package lists are missing or old, it takes lists
/// of its own in `private`, which needs no root.
pub(crate) fn download(
    folder: &Path,
    private: &Path,
    choose: impl Fn(&Lists<'_>) -> Result<Vec<String>>,
) -> Result<()> {
    let download_with = |lists: &Lists<'_>| {
        let packages = choose(lists)?;
        let mut download = lists.apply("apt-get");
        download.arg("download").args(packages).current_dir(folder);
        process::output(&mut download)
    };
    if download_with(&Lists::System).is_ok() {
        return Ok(());
    }
    eprintln!(
        "xtask: the system's package lists don't do; fetching new ones for this download only"
    );
    let lists = Lists::private(private)?;
    process::output(lists.apply("apt-get").arg("update"))?;
    download_with(&lists)?;
    Ok(())
}

/// What apt knows.
pub(crate) enum Lists<'a> {
    System,
    Private(&'a Path),
}

impl<'a> Lists<'a> {
    fn private(folder: &'a Path) -> Result<Self> {
        fs::create_dir_all(folder.join("lists/partial"))?;
        fs::create_dir_all(folder.join("cache/archives/partial"))?;
        Ok(Self::Private(folder))
    }

    fn apply(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // Root would hand the download to a user who can't write into our folder.
        command
            .env("LC_ALL", "C")
            .args(["-q", "-o", "APT::Sandbox::User=root"]);
        if let Self::Private(folder) = self {
            command
                .arg("-o")
                .arg(format!(
                    "Dir::State::Lists={}",
                    folder.join("lists").display()
                ))
                .arg("-o")
                .arg(format!("Dir::Cache={}", folder.join("cache").display()));
        }
        command
    }

    /// The first package that `package` depends on whose name begins like that.
    pub(crate) fn dependency(&self, package: &str, prefix: &str) -> Result<String> {
        let output = process::output(self.apply("apt-cache").args(["depends", package]))?;
        first_dependency(&output, prefix)
            .with_context(|| format!("apt knows no package {prefix}… that {package} depends on"))
    }
}

fn first_dependency(output: &str, prefix: &str) -> Option<String> {
    output
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with(prefix))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_is_found_by_how_it_begins() {
        let output =
            "libstd-rust-web-1.85\n  Depends: libc6\n  Depends: libllvm19\n  Suggests: libllvm20\n";
        assert_eq!(
            first_dependency(output, "libllvm"),
            Some("libllvm19".to_owned())
        );
        assert_eq!(first_dependency(output, "libz3"), None);
    }
}
