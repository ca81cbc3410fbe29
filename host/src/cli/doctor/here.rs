//! The machine: the user, directories, ports, the log file and the clock.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::super::table::size;
use super::Check;
use crate::config::Config;
use crate::model::Timestamp;

/// 2025-01-01. A clock before that was never set.
const LONG_AGO: Timestamp = Timestamp(1_735_689_600_000);

/// Below this much free space somebody should look, and below the other a busy host stops within minutes: its write-ahead log
/// alone takes up to 256 MiB at full load.
const LITTLE: u64 = 1 << 30;
const TOO_LITTLE: u64 = 384 << 20;

/// Permissions of the group and of everybody else.
const OTHERS: u32 = 0o077;

/// The data directory; the second answer is whether this is the user whose it is.
pub(super) fn data_dir(config: &Config) -> (Check, bool) {
    let (name, dir) = ("data directory", config.data_dir.as_path());
    let shown = dir.display();
    let Ok(metadata) = std::fs::metadata(dir) else {
        return (would_be_made(name, dir), true);
    };
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != user {
        let detail = format!("{shown} belongs to user {owner}, and this is user {user}");
        let advice = "run this as the user that runs the host; the database was not looked at";
        return (Check::fail(name, detail, advice), false);
    }
    let check = if let Err(error) = tempfile::tempfile_in(dir) {
        let advice = "give this user the right to write there, or make room on the disk";
        Check::fail(
            name,
            format!("nothing can be written to {shown}: {error}"),
            advice,
        )
    } else if metadata.mode() & OTHERS != 0 {
        let detail = format!("{shown} is open to other users of this machine");
        Check::warn(
            name,
            detail,
            format!("it holds people's messages: chmod 700 {shown}"),
        )
    } else {
        Check::ok(name, shown.to_string())
    };
    (check, true)
}

/// Room on the disk of the database. Where it can't be asked for, nothing is said.
pub(super) fn free_space(config: &Config) -> Option<Check> {
    let dir = nearest_dir(&config.database_path());
    let found = rustix::fs::statvfs(&dir).ok()?;
    Some(room(&dir, found.f_bavail.saturating_mul(found.f_frsize)))
}

fn room(dir: &Path, free: u64) -> Check {
    let name = "disk";
    let detail = format!("{} free at {}", size(free), dir.display());
    let advice = "make room: without any, no webhook can be accepted";
    if free < TOO_LITTLE {
        Check::fail(name, detail, advice)
    } else if free < LITTLE {
        Check::warn(name, detail, advice)
    } else {
        Check::ok(name, detail)
    }
}

/// The file with the sealing key, as far as others may read it.
pub(super) fn seal_key_file(config: &Config) -> Option<Check> {
    let path = config.seal_key_path();
    let metadata = std::fs::metadata(&path)
        .ok()
        .filter(|_| config.seal_key.is_none())?;
    (metadata.mode() & OTHERS != 0).then(|| {
        let detail = format!(
            "{} can be read by other users of this machine",
            path.display()
        );
        Check::warn("seal key", detail, format!("chmod 600 {}", path.display()))
    })
}

pub(super) fn log_file(config: &Config) -> Check {
    let name = "log file";
    let Some(path) = &config.log.file else {
        return Check::ok(name, "none is set; log lines go to the console only");
    };
    let shown = path.display().to_string();
    if !path.exists() {
        return would_be_made(name, path);
    }
    match std::fs::OpenOptions::new().append(true).open(path) {
        Ok(_) => Check::ok(name, shown),
        Err(error) => Check::fail(
            name,
            format!("{shown} can't be written: {error}"),
            "give this user the right to write it, or set log.file",
        ),
    }
}

/// A path that is not there yet: whether it could be made.
fn would_be_made(name: &'static str, path: &Path) -> Check {
    let shown = path.display();
    let above = nearest_dir(path);
    match tempfile::tempfile_in(&above) {
        Ok(_) => Check::ok(
            name,
            format!("{shown} is not there yet; the first start makes it"),
        ),
        Err(error) => Check::fail(
            name,
            format!(
                "{shown} is not there, and {} can't be written: {error}",
                above.display()
            ),
            "give this user the right to write there, or set another path",
        ),
    }
}

fn nearest_dir(path: &Path) -> PathBuf {
    let above = path.ancestors().skip(1).find(|dir| dir.is_dir());
    above.map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Whether the addresses are free, for a host that does not run yet.
pub(super) fn ports(config: &Config) -> Vec<Check> {
    let addresses = [
        ("listen", Some(config.listen)),
        ("admin_listen", config.admin_listen),
    ];
    addresses
        .into_iter()
        .filter_map(|(name, address)| Some(port(name, address?)))
        .collect()
}

fn port(name: &'static str, address: SocketAddr) -> Check {
    match TcpListener::bind(address) {
        Ok(_) => Check::ok(name, format!("{address} is free")),
        Err(error) => Check::fail(
            name,
            format!("{address}: {error}"),
            format!("stop what listens there, or set {name}"),
        ),
    }
}

/// The clock, against a date that is past for certain and against what was last written down.
pub(super) fn clock(now: Timestamp, last_written: Option<Timestamp>) -> Check {
    let name = "clock";
    let advice = "set the machine's clock (NTP): signatures, timers and retention go by it";
    if now < LONG_AGO {
        return Check::fail(name, format!("it shows {now}, which is long past"), advice);
    }
    match last_written.filter(|last| *last > now) {
        Some(last) => Check::warn(
            name,
            format!("it shows {now}, and a message came in at {last}: it was set back"),
            advice,
        ),
        None => Check::ok(name, now.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_or_was_set_back_is_told() {
        let now = Timestamp(1_760_433_330_000);
        assert_eq!(clock(now, None).status, Health::Ok);
        assert_eq!(clock(Timestamp(0), None).status, Health::Fail);
        assert_eq!(clock(now, Some(Timestamp(now.0 + 1))).status, Health::Warn);
    }

    #[test]
    fn a_disk_that_is_full_is_told_before_it_is() {
        let status = |free| room(Path::new("/"), free).status;
        assert_eq!(status(2 << 30), Health::Ok);
        assert_eq!(status(500 << 20), Health::Warn);
        assert_eq!(status(0), Health::Fail);
        assert!(free_space(&Config::default()).is_some());
    }

    #[test]
    fn a_port_that_is_taken_is_a_failure() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let check = port("listen", taken.local_addr().unwrap());
        assert_eq!(check.status, Health::Fail);
        assert_eq!(check.advice, "stop what listens there, or set listen");
    }

    #[test]
    fn a_data_directory_that_others_may_read_is_told() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let config = Config {
            data_dir: dir.path().to_owned(),
            ..Config::default()
        };
        assert_eq!(data_dir(&config).0.status, Health::Warn);
    }
}
