//! One shell, as an author has one open, with the environment that `cargo xtask test` prepares.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// A first build downloads and compiles what a plugin depends on.
const PATIENCE: Duration = Duration::from_secs(600);

/// Ends the output of a command, with its status.
const MARK: &str = "--- the end of a command, with status";

/// A shell in a directory.
pub(crate) struct Shell {
    _bash: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    host: Option<Host>,
    dir: PathBuf,
    _bin: tempfile::TempDir,
}

struct Host {
    process: Child,
    _log: Lines<BufReader<ChildStderr>>,
}

/// The folder with the author's compiler.
pub(crate) fn author_path() -> PathBuf {
    match std::env::var_os("XTASK_AUTHOR_PATH") {
        Some(path) => PathBuf::from(path),
        None => panic!(
            "XTASK_AUTHOR_PATH is not set: run `cargo xtask test`, which prepares what an author has"
        ),
    }
}

/// A folder that stays from run to run, so that what plugins depend on is compiled once.
pub(crate) fn tool(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("author")
        .join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

impl Shell {
    pub(crate) async fn start(dir: &Path) -> Self {
        let bin = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_nodepath"), bin.path().join("nodepath"))
            .unwrap();
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let folders = [author_path(), bin.path().to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&inherited));
        let mut command = Command::new("bash");
        command
            .args(["--noprofile", "--norc"])
            .current_dir(dir)
            .env("PATH", std::env::join_paths(folders).unwrap())
            .env("NODEPATH_LISTEN", "127.0.0.1:0")
            .env("NODEPATH_ADMIN_LISTEN", "127.0.0.1:0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            // What the cargo of this test says is not for the author's cargo.
            let text = name.to_string_lossy();
            let is_cargo_s =
                text.starts_with("CARGO") && !matches!(&*text, "CARGO_HOME" | "CARGO_NET_OFFLINE");
            let is_rustc_s = text.starts_with("RUSTC")
                || text.ends_with("RUSTFLAGS")
                || text == "RUSTUP_TOOLCHAIN";
            let is_ours = text.starts_with("NODEPATH_");
            if (is_cargo_s || is_rustc_s || is_ours) && !text.ends_with("LISTEN") {
                command.env_remove(name);
            }
        }
        let mut bash = command.spawn().expect("bash starts");
        let mut shell = Self {
            input: bash.stdin.take().unwrap(),
            output: BufReader::new(bash.stdout.take().unwrap()),
            _bash: bash,
            host: None,
            dir: dir.to_owned(),
            _bin: bin,
        };
        shell.run("exec 2>&1").await;
        shell
    }

    /// Runs a command that must succeed, and answers what it printed.
    pub(crate) async fn run(&mut self, command: &str) -> String {
        self.run_with_input(command, "").await
    }

    /// The same, for a command that reads.
    pub(crate) async fn run_with_input(&mut self, command: &str, input: &str) -> String {
        let (status, text) = self.answer(command, input).await;
        assert_eq!(status, 0, "$ {command}\n{text}");
        text
    }

    /// Runs a command that must fail with this status.
    pub(crate) async fn fails(&mut self, command: &str, wanted: i32) -> String {
        let (status, text) = self.answer(command, "").await;
        assert_eq!(status, wanted, "$ {command}\n{text}");
        text
    }

    async fn answer(&mut self, command: &str, input: &str) -> (i32, String) {
        // In braces it runs in this very shell, so that `cd` and variables stay.
        let quoted = input.replace('\'', r"'\''");
        let lines = format!(
            "{{ {command}\n}} < <(printf %s '{quoted}')\nstatus=$?\necho\necho \"{MARK} $status\"\n"
        );
        let talk = async {
            self.input.write_all(lines.as_bytes()).await.unwrap();
            let mut text = String::new();
            loop {
                let mut line = String::new();
                assert_ne!(
                    self.output.read_line(&mut line).await.unwrap(),
                    0,
                    "bash ended: {text}"
                );
                if let Some(status) = line.strip_prefix(MARK) {
                    return (status.trim().parse().unwrap(), text);
                }
                text.push_str(&line);
            }
        };
        let answer = tokio::time::timeout(PATIENCE, talk).await;
        answer.unwrap_or_else(|_| panic!("it does not end: $ {command}"))
    }

    /// What is built in the project goes where the last run has left what it depends on.
    pub(crate) fn share_target(&mut self, folder: &str) {
        self.dir.push(folder);
        std::os::unix::fs::symlink(tool("target"), self.dir.join("target")).unwrap();
    }

    /// Runs the host in the foreground of a second terminal, and answers where it takes webhooks.
    pub(crate) async fn serve(&mut self, command: &str) -> String {
        let directory = self.run("pwd").await;
        let path = self.run("echo \"$PATH\"").await;
        let mut process = Command::new("bash")
            .args(["--noprofile", "--norc", "-c", &format!("exec {command}")])
            .current_dir(directory.trim())
            .env("PATH", path.trim())
            .env("NODEPATH_LISTEN", "127.0.0.1:0")
            .env("NODEPATH_ADMIN_LISTEN", "127.0.0.1:0")
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        while let Some(line) = log.next_line().await.unwrap() {
            let address = line
                .split_whitespace()
                .find_map(|word| word.strip_prefix("listen="));
            if let Some(address) = address {
                let address = address.to_owned();
                self.host = Some(Host { process, _log: log });
                return address;
            }
            seen.push_str(&line);
        }
        panic!("the host does not take webhooks: {seen}");
    }

    /// Ctrl-C.
    pub(crate) async fn stop_host(&mut self) {
        let mut host = self.host.take().expect("a host runs");
        let id = i32::try_from(host.process.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::INT).unwrap();
        let status = tokio::time::timeout(PATIENCE, host.process.wait()).await;
        assert!(status.unwrap().unwrap().success());
    }
}
