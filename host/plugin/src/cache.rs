//! Compiled components in files. Loading one runs whatever machine code is in it, so a file is loaded only if this host can
//! prove that it wrote it.
//!
//! An entry is a directory with the code and its MAC. It appears by a rename and never changes.
//!
//! It works on Linux, with `/proc` mounted: the file that was verified is mapped through `/proc/self/fd`, since wasmtime maps
//! components by name only, and by then a name may stand for another file.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Read, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::Error;
use super::limits::CACHED_BYTES;
use nodepath_model::Digest;

const CODE: &str = "code.cwasm";
const MAC: &str = "code.mac";
const UNFINISHED: &str = ".unfinished-";

/// An entry that was begun so long ago belongs to a process that is gone.
const ABANDONED: Duration = Duration::from_secs(3_600);

/// The directory of one host's compiled components.
pub(super) struct Cache {
    dir: PathBuf,
    key: [u8; 32],
    /// Names the settings and the compiler that the code was made with. Code of others can't run here.
    compatibility: String,
}

impl Cache {
    /// Opens the directory, makes it private, and removes what can't be used any more.
    pub(super) fn open(dir: &Path, key: [u8; 32], engine: &Engine) -> Result<Self, Error> {
        let private = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            let owner = fs::metadata(dir)?.uid();
            if owner != rustix::process::geteuid().as_raw() {
                return Err(io::Error::other("it belongs to another user"));
            }
            fs::set_permissions(dir, Permissions::from_mode(0o700))
        };
        private().map_err(Error::Cache)?;
        let cache = Self {
            dir: dir.to_owned(),
            key,
            compatibility: compatibility(engine),
        };
        cache.tidy().map_err(Error::Cache)?;
        Ok(cache)
    }

    /// Loads the code of a component, if it is there and was written by a host with the same key. Blocks.
    ///
    /// # Errors
    /// If the code is ours and can't be mapped, or wants more than an instance of the sandbox has.
    pub(super) fn load(
        &self,
        engine: &Engine,
        digest: &Digest,
    ) -> Result<Option<Component>, Error> {
        let entry = self.entry(digest);
        let Ok(code) = File::open(entry.join(CODE)) else {
            return Ok(None);
        };
        if let Err(why) = self.verify(digest, &entry, &code) {
            tracing::warn!(
                plugin = digest.short(),
                "A compiled plugin in the cache is not used and is removed: {why}"
            );
            self.remove(&entry);
            return Ok(None);
        }
        // The very file that was verified is mapped, whatever the name stands for by now.
        let same = format!("/proc/self/fd/{}", code.as_raw_fd());
        // SAFETY: the MAC proves that a host with our key wrote these bytes for this digest with a compiler and settings like
        // ours, and files in this directory, which is private to our user, are never changed in place.
        unsafe { Component::deserialize_file(engine, same) }
            .map(Some)
            .map_err(not_loaded)
    }

    fn verify(&self, digest: &Digest, entry: &Path, code: &File) -> io::Result<()> {
        let mac = fs::read(entry.join(MAC))?;
        self.mac(digest, code)?
            .verify_slice(&mac)
            .map_err(|_| io::Error::other("it was not written by this host, or was changed"))
    }

    /// Keeps the code of a component. Blocks.
    pub(super) fn keep(&self, digest: &Digest, code: &[u8]) -> io::Result<()> {
        let unfinished = self.unfinished();
        DirBuilder::new().mode(0o700).create(&unfinished)?;
        let mac = self.mac(digest, code)?.finalize().into_bytes();
        // A crash may leave a torn file behind, which the MAC finds out; so nothing is synced.
        let written = write(&unfinished.join(CODE), code)
            .and_then(|()| write(&unfinished.join(MAC), &mac))
            .and_then(|()| fs::rename(&unfinished, self.entry(digest)));
        match written {
            Ok(()) => self.make_room(digest),
            Err(error) => {
                self.remove(&unfinished);
                match error.kind() {
                    // Another process was first, with code that is as good.
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => Ok(()),
                    _ => Err(error),
                }
            }
        }
    }

    /// The MAC covers what the code is for, so that no entry passes for another.
    fn mac(&self, digest: &Digest, mut code: impl Read) -> io::Result<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).map_err(io::Error::other)?;
        for part in [digest.as_str(), &self.compatibility] {
            mac.update(part.as_bytes());
            mac.update(&[0]);
        }
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = code.read(&mut buffer)?;
            match buffer.get(..length) {
                None | Some([]) => return Ok(mac),
                Some(bytes) => mac.update(bytes),
            }
        }
    }

    fn entry(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{digest}-{}", self.compatibility))
    }

    fn unfinished(&self) -> PathBuf {
        let name = uuid::Uuid::new_v4().simple();
        self.dir.join(format!("{UNFINISHED}{name}"))
    }

    /// Takes an entry away in one step, so that nobody sees half of one. What can't be removed now is removed by the next
    /// host that starts.
    fn remove(&self, entry: &Path) {
        let unfinished = self.unfinished();
        if fs::rename(entry, &unfinished).is_ok() {
            fs::remove_dir_all(&unfinished).ok();
        }
    }

    /// Removes the code of other compilers and settings, and what crashed hosts began.
    fn tidy(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let stale = if name.starts_with(UNFINISHED) {
                age(&entry.metadata()?) > ABANDONED
            } else {
                !name.ends_with(&self.compatibility)
            };
            if stale {
                self.remove(&entry.path());
            }
        }
        Ok(())
    }

    /// Removes the oldest entries beyond the cache's size. The one that was just written stays.
    fn make_room(&self, newest: &Digest) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if let Ok(code) = fs::metadata(path.join(CODE)) {
                entries.push((code.modified()?, code.len(), path));
            }
        }
        entries.sort();
        let mut sum: u64 = entries.iter().map(|(_, size, _)| size).sum();
        let newest = self.entry(newest);
        for (_, size, path) in entries {
            if sum <= CACHED_BYTES {
                break;
            }
            if path != newest {
                self.remove(&path);
                sum = sum.saturating_sub(size);
            }
        }
        Ok(())
    }
}

/// Why code that is ours can't be loaded. Either the system did not give what it takes, which is no fault of the plugin's, or
/// the pool refuses it: then a memory or a table of it is larger than an instance has, or there are too many of them.
fn not_loaded(error: wasmtime::Error) -> Error {
    let of_system = error
        .chain()
        .any(|cause| cause.is::<io::Error>() || cause.is::<rustix::io::Errno>());
    if of_system {
        return Error::Cache(io::Error::other(format!(
            "a compiled plugin can't be mapped (this needs Linux with /proc mounted, and memory): {error:#}"
        )));
    }
    Error::Refused(format!(
        "it begins with more than the sandbox has for an instance: {error:#}"
    ))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the age of a file is told by the clock that the file system used"
)]
fn age(metadata: &fs::Metadata) -> Duration {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    SystemTime::now()
        .duration_since(modified)
        .unwrap_or_default()
}

/// The first digits of a hash over everything that compiled code depends on.
fn compatibility(engine: &Engine) -> String {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Sha(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let mut hash = hex::encode(hasher.0.finalize());
    hash.truncate(16);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_is_not_the_plugins_fault() {
        let gone = io::Error::from(io::ErrorKind::NotFound);
        let error = not_loaded(wasmtime::Error::from(gone).context("failed to open file"));
        assert!(
            matches!(&error, Error::Cache(why) if why.to_string().contains("/proc")),
            "{error:?}"
        );
        let full = not_loaded(wasmtime::Error::from(rustix::io::Errno::NOMEM));
        assert!(matches!(full, Error::Cache(_)), "{full:?}");
        let large = not_loaded(wasmtime::Error::msg("memory index 0 is too large"));
        assert!(matches!(large, Error::Refused(_)), "{large:?}");
    }
}
