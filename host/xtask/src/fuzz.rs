//! `cargo xtask fuzz`: every fuzz target over what earlier runs kept, and then over what it invents.
//!
//! No sanitizer is built in: our code is safe Rust, so there is nothing for it to see, and without it the targets run twice as
//! fast and build with the toolchain that is there.

mod report;

use self::report::Report;
use crate::layout::Layout;
use crate::{cargo_fuzz, process, progress};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// A fuzz target of `tests/fuzz`.
struct Target {
    name: &'static str,
    /// The longest input that is invented, in bytes: what the target reads at its largest in earnest, and no more, since long
    /// inputs are slow and say little.
    max_bytes: u32,
}

const TARGETS: [Target; 6] = [
    // Some hundred calls of host functions.
    Target {
        name: "effects",
        max_bytes: 2_048,
    },
    Target {
        name: "generic_signature",
        max_bytes: 1_024,
    },
    Target {
        name: "generic_webhook",
        max_bytes: 2_048,
    },
    // Its limit is one byte, so this is cut several times.
    Target {
        name: "split",
        max_bytes: 512,
    },
    Target {
        name: "whatsapp_signature",
        max_bytes: 1_024,
    },
    // A handful of messages.
    Target {
        name: "whatsapp_webhook",
        max_bytes: 4_096,
    },
];

/// How long each target runs by itself, in seconds.
const FULL: u32 = 20 * 60;
const QUICK: u32 = 10;

/// An input that takes longer is a finding, in seconds. They take microseconds; this leaves room for a busy machine.
const TIMEOUT: u32 = 10;

struct Options {
    targets: Vec<&'static Target>,
    seconds: u32,
    seed: Option<u32>,
    keep: bool,
    inputs: Vec<PathBuf>,
}

pub(crate) fn run(layout: &Layout, arguments: &[String]) -> Result<ExitCode> {
    let options = Options::read(arguments)?;
    let fuzzer = Fuzzer::build(layout)?;
    if let ([target], false) = (&options.targets[..], options.inputs.is_empty()) {
        return fuzzer.repeat(target, &options.inputs);
    }
    let mut reports = Vec::new();
    for target in &options.targets {
        let report = fuzzer.run(target, &options)?;
        if options.keep && report.found.is_empty() {
            fuzzer.keep(target)?;
        }
        reports.push(report);
    }
    println!("{}", report::table(&reports));
    let found: Vec<_> = reports.iter().flat_map(Report::findings).collect();
    if found.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("\n{}", found.join("\n"));
    Ok(ExitCode::FAILURE)
}

impl Options {
    fn read(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            targets: Vec::new(),
            seconds: FULL,
            seed: None,
            keep: false,
            inputs: Vec::new(),
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut number = || -> Result<u32> {
                let text = arguments.next().context("a number has to follow");
                Ok(text?.parse()?)
            };
            match argument.as_str() {
                "--quick" => options.seconds = QUICK,
                "--seconds" => options.seconds = number().context("--seconds")?,
                "--seed" => options.seed = Some(number().context("--seed")?),
                "--keep" => options.keep = true,
                name => match TARGETS.iter().find(|target| target.name == name) {
                    Some(target) => options.targets.push(target),
                    None if Path::new(name).is_file() => {
                        options.inputs.push(fs::canonicalize(name)?);
                    }
                    None => {
                        let names = TARGETS.map(|target| target.name).join(", ");
                        bail!("`{name}` is no option, no file and no target; there are {names}")
                    }
                },
            }
        }
        if !options.inputs.is_empty() && options.targets.len() != 1 {
            bail!("name the one target that is to read the files");
        }
        if options.targets.is_empty() {
            options.targets = TARGETS.iter().collect();
        }
        Ok(options)
    }
}

/// The built targets, and where their files are.
struct Fuzzer<'a> {
    root: &'a Path,
    /// Where cargo finds its subcommand `fuzz`.
    path: std::ffi::OsString,
}

impl<'a> Fuzzer<'a> {
    fn build(layout: &'a Layout) -> Result<Self> {
        let tool = cargo_fuzz::set_up(layout)?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([tool].into_iter().chain(std::env::split_paths(&path)))?;
        let fuzzer = Self {
            root: &layout.root,
            path,
        };
        let mut fetch = process::cargo();
        fetch
            .current_dir(fuzzer.root)
            .args(["fetch", "--locked", "--quiet", "--manifest-path"])
            .arg("tests/fuzz/Cargo.toml");
        process::run(&mut fetch).context(
            "tests/fuzz/Cargo.lock does not have what the host depends on now: \
             `cargo update --workspace --manifest-path tests/fuzz/Cargo.toml`, and commit it",
        )?;
        eprintln!("xtask: building the fuzz targets (it takes four to ten minutes the first time)");
        process::run(&mut fuzzer.cargo("build"))?;
        Ok(fuzzer)
    }

    /// A command of cargo-fuzz with the settings that every one of them has to share, or it would build anew.
    fn cargo(&self, command: &str) -> Command {
        let mut cargo = process::cargo();
        cargo
            .current_dir(self.root)
            .env("PATH", &self.path)
            .args(["fuzz", command])
            .args(["--fuzz-dir", "tests/fuzz", "--target-dir", "target/fuzz"])
            // Why there is no sanitizer is said above. One codegen unit, which is the default, takes twice as long to build.
            .args(["--sanitizer", "none", "--codegen-units", "16"]);
        cargo
    }

    /// Runs one target for a while. What it finds that is new stays in `target`, so that a run changes nothing in the checkout.
    fn run(&self, target: &Target, options: &Options) -> Result<Report> {
        let found = self.found(target);
        let log = self
            .root
            .join("target/fuzz")
            .join(target.name)
            .with_extension("log");
        fs::create_dir_all(self.root.join(&found))?;
        fs::create_dir_all(self.root.join(corpus(target)))?;
        let mut fuzz = self.cargo("run");
        fuzz.arg(target.name)
            .args([found, corpus(target), seeds(target)])
            .arg("--")
            .arg(format!("-max_total_time={}", options.seconds))
            .arg(format!("-max_len={}", target.max_bytes))
            .arg(format!("-timeout={TIMEOUT}"))
            .arg("-print_final_stats=1")
            .args(options.seed.map(|seed| format!("-seed={seed}")))
            .args(self.dictionary(target))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(
                File::create(&log).with_context(|| format!("could not write {}", log.display()))?,
            );
        let what = format!("fuzzing {} for {} s", target.name, options.seconds);
        let status = progress::step(&what, || process::status(&mut fuzz))?;
        let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let report = Report::read(target.name, &said);
        if !status.success() && report.found.is_empty() {
            bail!(
                "{} ended with {status} and left no input; {} has its words",
                target.name,
                log.display()
            );
        }
        Ok(report)
    }

    /// Runs a target over single inputs, for whoever looks into one.
    fn repeat(&self, target: &Target, inputs: &[PathBuf]) -> Result<ExitCode> {
        let status = process::status(self.cargo("run").arg(target.name).args(inputs))?;
        Ok(if status.success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// Adds what was found to the corpus, and leaves in it one input for each place that is reached, but not one for each count
    /// of how often: those make ten times as many, and a run invents them again in minutes.
    fn keep(&self, target: &Target) -> Result<()> {
        let found = self.root.join(self.found(target));
        let corpus = self.root.join(corpus(target));
        for entry in fs::read_dir(&found)? {
            let entry = entry?;
            fs::copy(entry.path(), corpus.join(entry.file_name()))?;
        }
        progress::step(&format!("minimising the corpus of {}", target.name), || {
            let mut minimise = self.cargo("cmin");
            minimise.arg(target.name).arg(&corpus);
            process::output(minimise.args(["--", "-use_counters=0"]))
        })?;
        Ok(())
    }

    fn found(&self, target: &Target) -> PathBuf {
        Path::new("target/fuzz/found").join(target.name)
    }

    fn dictionary(&self, target: &Target) -> Option<String> {
        let file = format!("tests/fuzz/dictionaries/{}.dict", target.name);
        self.root
            .join(&file)
            .is_file()
            .then(|| format!("-dict={file}"))
    }
}

fn corpus(target: &Target) -> PathBuf {
    Path::new("tests/fuzz/corpus").join(target.name)
}

/// Inputs that people wrote.
fn seeds(target: &Target) -> PathBuf {
    match target.name {
        "whatsapp_webhook" => PathBuf::from("tests/fixtures/whatsapp"),
        name => Path::new("tests/fuzz/seeds").join(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Options> {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        Options::read(&arguments)
    }

    #[test]
    fn all_targets_run_for_twenty_minutes_unless_it_is_told_otherwise() {
        let options = read(&[]).unwrap();
        assert_eq!((options.targets.len(), options.seconds), (6, 1_200));
        let options = read(&["split", "--seconds", "3", "--seed", "7"]).unwrap();
        assert_eq!(options.targets.len(), 1);
        assert_eq!((options.seconds, options.seed), (3, Some(7)));
        assert_eq!(read(&["--quick"]).unwrap().seconds, QUICK);
        for bad in [&["splt"][..], &["--seconds"], &["--seed", "x"], &[file!()]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_target_is_run() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/targets");
        let mut files: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let name = entry.unwrap().path();
                name.file_stem().unwrap().to_str().unwrap().to_owned()
            })
            .collect();
        files.sort();
        assert_eq!(files, TARGETS.map(|target| target.name));
    }
}
