//! A disk that is full, and files that can't be written: while the host runs, and when it starts.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures_util::future::join_all;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::process::Process;
use crate::promises::Broken;
use crate::site::Setup;
use crate::storm::{THINK, pause_of, settles, talks};
use crate::world::{Outcome, World};

/// The disk: the database of a run, its journal and the log, several times over.
const SIZE: &str = "size=48m,mode=700";

/// Webhooks that are answered 503 before it counts as a refusal of all.
const REFUSED: usize = 6;

/// A small disk of the run's own under the data directory. It is gone when this is dropped.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// A world whose database and log are on a disk of their own. Only a process in a mount namespace of its own may do that.
    pub(crate) async fn world(seed: u64) -> (Self, World) {
        let setup = Setup::pondering(THINK).environment("NODEPATH_LOG__FILE", "data/app.log");
        let setup = setup.prepare(|dir| {
            let data = dir.join("data");
            std::fs::create_dir(&data).unwrap();
            mount(&["-t", "tmpfs", "-o", SIZE, "tmpfs"], &data);
        });
        let world = World::new(setup, seed).await;
        (Self(world.site.path("data")), world)
    }

    /// Takes all the room that is left.
    async fn fill(&self) {
        // What the journal has taken before, it would take again.
        truncate_journal(&self.0.join("nodepath.db")).await;
        let mut ballast = File::create(self.0.join("ballast")).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }

    fn remount(&self, how: &str) {
        mount(&["-o", how], &self.0);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let ended = Command::new("umount").arg("--lazy").arg(&self.0).status();
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!(
                "crash: {} stays mounted until the run ends",
                self.0.display()
            );
        }
    }
}

fn mount(options: &[&str], place: &Path) {
    let status = Command::new("mount").args(options).arg(place).status();
    assert!(status.unwrap().success(), "mount {options:?}");
}

/// The disk is full, for a while; in every other round a host is killed and started meanwhile.
pub(crate) async fn fills_up(disk: &Disk, world: &World, rounds: usize) -> Outcome {
    let fault = async |is_there: bool| {
        if is_there {
            disk.fill().await;
        } else {
            disk.empty();
        }
    };
    let outcome = hinder(world, rounds, &fault, "a full disk").await;
    reads_only(disk, world).await;
    outcome
}

/// A host that starts on a disk that can only be read says so, and one that starts on it later goes on.
async fn reads_only(disk: &Disk, world: &World) {
    disk.remount("remount,ro");
    refuses_to_start(world, "a read-only disk").await;
    disk.remount("remount,rw");
    let host = world.start().await;
    world.calms_down("after a read-only disk").await;
    assert!(host.terminate().await.success());
}

/// The database can't be written, as root can't either: the file system says so for files that are marked immutable. None where
/// it knows no such mark, or heeds it only when a file is opened.
pub(crate) async fn locks_files(world: &World, rounds: usize) -> Option<Outcome> {
    let probe = world.site.path("probe");
    if !heeds_marks(&probe) {
        return None;
    }
    let fault = async |is_there: bool| {
        for name in ["nodepath.db", "nodepath.db-wal"] {
            let file = world.site.path("data").join(name);
            if file.exists() {
                mark(&file, is_there).unwrap();
            }
        }
    };
    Some(hinder(world, rounds, &fault, "files that are read-only").await)
}

fn heeds_marks(probe: &Path) -> bool {
    let mut file = File::create(probe).unwrap();
    let heeds = mark(probe, true).is_ok() && file.write_all(b"x").is_err();
    drop(mark(probe, false));
    heeds
}

fn mark(path: &Path, is_immutable: bool) -> std::io::Result<()> {
    let file = File::open(path)?;
    let mut flags = ioctl_getflags(&file)?;
    flags.set(IFlags::IMMUTABLE, is_immutable);
    Ok(ioctl_setflags(&file, flags)?)
}

/// Brings a fault on and takes it away, under load. The host answers 503 meanwhile, loses nothing, and goes on by itself.
async fn hinder(world: &World, rounds: usize, fault: &impl AsyncFn(bool), what: &str) -> Outcome {
    let mut rng = world.chance(0);
    let hinder = async {
        let mut host = world.start().await;
        for round in 0..rounds {
            pause_of(&mut rng).await;
            fault(true).await;
            refuses(world, what).await;
            if round % 2 == 1 {
                host = dies_meanwhile(world, host, fault, what, &mut rng).await;
            } else {
                fault(false).await;
            }
            world.goes_on(what).await;
        }
        world.counts.send_modify(|counts| counts.is_over = true);
        host
    };
    let (host, _) = tokio::join!(hinder, join_all(talks(world)));
    let verdict = settles(world, &host, what).await;
    assert!(host.terminate().await.success());
    world.outcome(rounds, rounds, &verdict)
}

/// Nothing is taken that can't be kept.
async fn refuses(world: &World, what: &str) {
    let mut counts = world.counts.subscribe();
    let enough = counts.borrow().refused + REFUSED;
    let refused = counts.wait_for(|c| c.refused >= enough);
    if tokio::time::timeout(world.patience, refused).await.is_err() {
        world.is_broken(
            Broken::LockLeft,
            &format!("{what}: nothing is answered 503"),
        );
    }
}

/// The host is killed while it can write nothing. Another can't take up what it left before it can write, and says so.
async fn dies_meanwhile<'a>(
    world: &'a World,
    host: Process<'a>,
    fault: &impl AsyncFn(bool),
    what: &str,
    rng: &mut StdRng,
) -> Process<'a> {
    world.kill(host).await;
    if rng.random_ratio(1, 2) {
        refuses_to_start(world, what).await;
    }
    fault(false).await;
    world.start().await
}

async fn refuses_to_start(world: &World, what: &str) {
    if let Some(words) = world.site.tries_to_serve().await {
        eprintln!("crash: a start with {what}: {words}");
        if !words.contains("database") && !words.contains("data/") {
            let broken = format!("a start with {what} does not say what to look at: {words}");
            world.is_broken(Broken::LockLeft, &broken);
        }
    }
}

async fn truncate_journal(database: &Path) {
    use sqlx::ConnectOptions as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    let mut conn = options.connect().await.unwrap();
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut conn)
        .await
        .unwrap();
}
