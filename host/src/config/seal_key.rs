//! The key that seals secrets at rest: where it comes from, and how the first one is made.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::{Config, Error};
use crate::model::secret::Sealer;

/// What the key is derived for that proves who compiled a plugin.
const CACHE_PURPOSE: &str = "plugin-cache";

impl Config {
    /// What seals secrets at rest. Where there is neither a key nor a database yet, it makes the data directory and a key in
    /// it, readable for this user only, and says so in the log.
    ///
    /// # Errors
    /// If the key can't be read or made, is none, or is gone while the database is there.
    pub fn sealer(&self) -> Result<Sealer, Error> {
        self.make_data_dir()?;
        if let Some(key) = &self.seal_key {
            return Sealer::from_base64(key.expose()).map_err(|source| Error::SealKey {
                place: "seal_key".to_owned(),
                source,
            });
        }
        let path = self.seal_key_path();
        let read = |source| Error::SealKeyFile {
            action: "read",
            path: path.clone(),
            source,
        };
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.first_key(&path)?;
                std::fs::read_to_string(&path).map_err(read)?
            }
            text => text.map_err(read)?,
        };
        Sealer::from_base64(&text).map_err(|source| Error::SealKey {
            place: path.display().to_string(),
            source,
        })
    }

    /// What proves that a compiled plugin in the cache is this host's own.
    ///
    /// # Errors
    /// Like [`Self::sealer`].
    pub fn cache_key(&self) -> Result<[u8; 32], Error> {
        Ok(self.sealer()?.derive(CACHE_PURPOSE))
    }

    fn first_key(&self, path: &Path) -> Result<(), Error> {
        let database = self.database_path();
        if database.exists() {
            return Err(Error::SealKeyGone {
                path: path.to_owned(),
                database,
            });
        }
        match write_new(path, &Sealer::generate_base64()) {
            Ok(()) => {
                tracing::warn!(
                    path = %path.display(),
                    "seal key: made a new one; keep a copy in a safe place, without it no stored credentials can be opened"
                );
                Ok(())
            }
            // Another process was quicker, and its key counts.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(source) => Err(Error::SealKeyFile {
                action: "make",
                path: path.to_owned(),
                source,
            }),
        }
    }

    fn make_data_dir(&self) -> Result<(), Error> {
        let database = self.database_path();
        let database_dir = database.parent().filter(|dir| !dir.as_os_str().is_empty());
        for dir in [Some(self.data_dir.as_path()), database_dir]
            .into_iter()
            .flatten()
        {
            // Messages of people are in it: for this user only.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(|source| Error::DataDir {
                path: dir.to_owned(),
                source,
            })?;
        }
        Ok(())
    }
}

/// Writes a file that must not exist. It appears whole or not at all, and is on the disk before anything is sealed with it.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.new", std::process::id()));
    let draft = Path::new(&draft);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(draft)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        std::fs::hard_link(draft, path)?;
        match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            Some(dir) => File::open(dir)?.sync_all(),
            None => File::open(".")?.sync_all(),
        }
    })();
    let removed = std::fs::remove_file(draft);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn config(dir: &Path) -> Config {
        Config {
            data_dir: dir.join("data"),
            ..Config::default()
        }
    }

    #[test]
    fn the_first_key_is_made_for_this_user_only_and_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let sealed = config.sealer().unwrap().seal("a", b"x").unwrap();
        assert_eq!(config.sealer().unwrap().open("a", &sealed).unwrap(), b"x");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&config.seal_key_path()), 0o600);
        assert_eq!(mode(&config.data_dir), 0o700);
        assert_eq!(std::fs::read_dir(&config.data_dir).unwrap().count(), 1);
        assert_eq!(config.cache_key().unwrap(), config.cache_key().unwrap());
    }

    #[test]
    fn a_lost_key_is_not_replaced_while_the_database_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        config.sealer().unwrap();
        std::fs::write(config.database_path(), "").unwrap();
        std::fs::remove_file(config.seal_key_path()).unwrap();
        assert!(matches!(config.sealer(), Err(Error::SealKeyGone { .. })));
    }

    #[test]
    fn a_key_that_is_none_is_told_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        std::fs::create_dir(&config.data_dir).unwrap();
        std::fs::write(config.seal_key_path(), "short").unwrap();
        let error = config.sealer().unwrap_err().to_string();
        assert!(
            error.contains("seal.key: the sealing key must be 32 bytes"),
            "{error}"
        );
    }
}
