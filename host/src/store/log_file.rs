//! The writer's log in few writes. SQLite writes each page of a commit by two calls, a header of 24 bytes and then the page: for the
//! commit of one message that is thirty calls, which cost more than everything else in it but the fsync. Here they gather, and go out as
//! one just before the fsync.
//!
//! **Invariant:** nothing gathers past the end of a transaction. SQLite shows a commit to other connections only after the fsync of the log
//! (`walFrames` in its `wal.c`), as long as `synchronous` is `FULL`; so nobody reads what is not in the file yet. What this very
//! connection reads back of a transaction that is larger than its cache is written first. Whoever rolls a transaction back calls
//! [`discard`]: the next transaction, which may be another connection's, writes to the same place. For the same reason a file that is
//! closed writes nothing.
//!
//! It counts on a disk that leaves alone what lies beside a write, as SQLite does too unless it is told otherwise
//! (`SQLITE_IOCAP_POWERSAFE_OVERWRITE`): else there would be writes after the fsync.
//!
//! It is a thin layer over SQLite's own files (sqlite.org/vfs.html, "VFS shims"): whatever is no log passes it by.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::size_of;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use rusqlite::{Connection, OpenFlags, ffi};

/// The name of the layer.
const NAME: &CStr = c"nodepath-log";

/// What gathers at most: 250 pages, a group of some hundred operations.
const MOST: usize = 1 << 20;

/// What SQLite's own file is given at once: it takes less than 128 KiB (`seekAndWriteFd` in its `os_unix.c`).
const MOST_AT_ONCE: usize = 64 << 10;

/// Opens a connection whose log is written in few writes. It must be `synchronous = FULL`, which this sets.
pub(super) fn open(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    let code = *REGISTERED.get_or_init(register);
    if code != ffi::SQLITE_OK {
        return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
    }
    let conn = Connection::open_with_flags_and_vfs(path, flags, NAME)?;
    // Promise I1: a commit that was answered is on the disk.
    conn.pragma_update(None, "synchronous", "FULL")?;
    Ok(conn)
}

/// Forgets what a transaction that did not commit has left. It touches memory only.
pub(super) fn discard(conn: &Connection) {
    // SAFETY: SQLite sets the pointer to the log's file, which is open for as long as the connection; it is ours if its methods are.
    unsafe {
        let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
        let asked = ffi::sqlite3_file_control(
            conn.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_JOURNAL_POINTER,
            (&raw mut file).cast(),
        );
        let is_ours = |file: &ffi::sqlite3_file| ptr::eq(file.pMethods, &raw const METHODS);
        if asked == ffi::SQLITE_OK && file.as_ref().is_some_and(is_ours) {
            gathered(file).bytes.clear();
        }
    }
}

/// The layer below.
static BELOW: AtomicPtr<ffi::sqlite3_vfs> = AtomicPtr::new(ptr::null_mut());

/// Adds the layer to those that SQLite knows, for as long as the process lives.
fn register() -> c_int {
    // SAFETY: the default layer is never taken away. Its functions either get it from `open_file`, or use no more than the fields that
    // the copy has too. The copy is leaked, since SQLite keeps it.
    unsafe {
        let below = ffi::sqlite3_vfs_find(ptr::null());
        let Some(copy) = below.as_ref() else {
            return ffi::SQLITE_ERROR;
        };
        let Ok(own) = c_int::try_from(size_of::<LogFile>()) else {
            return ffi::SQLITE_ERROR;
        };
        let layer = Box::new(ffi::sqlite3_vfs {
            szOsFile: own + copy.szOsFile,
            pNext: ptr::null_mut(),
            zName: NAME.as_ptr(),
            xOpen: Some(open_file),
            ..*copy
        });
        BELOW.store(below, Ordering::Release);
        ffi::sqlite3_vfs_register(Box::into_raw(layer), 0)
    }
}

/// A log. SQLite's own file follows it in the memory that SQLite has set aside for the two.
#[repr(C, align(8))]
struct LogFile {
    base: ffi::sqlite3_file,
    gathered: *mut Gathered,
}

/// What is not written yet: bytes that follow each other.
#[derive(Default)]
struct Gathered {
    at: i64,
    bytes: Vec<u8>,
}

impl Gathered {
    fn end(&self) -> i64 {
        self.at.saturating_add_unsigned(self.bytes.len() as u64)
    }

    /// Takes bytes if they follow on those that are here.
    fn add(&mut self, bytes: &[u8], at: i64) -> bool {
        if self.bytes.is_empty() {
            self.at = at;
        }
        let fits = self.end() == at && self.bytes.len() + bytes.len() <= MOST;
        if fits {
            self.bytes.extend_from_slice(bytes);
        }
        fits
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // The later ones are about shared memory and mapped files, which a log has none of.
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn open_file(
    _layer: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: `file` points to `szOsFile` bytes, which `register` has made large enough for both; the layer below gets itself.
    unsafe {
        let below = BELOW.load(Ordering::Acquire);
        let Some(open) = below.as_ref().and_then(|below| below.xOpen) else {
            return ffi::SQLITE_CANTOPEN;
        };
        if flags & ffi::SQLITE_OPEN_WAL == 0 {
            return open(below, name, file, flags, out_flags);
        }
        // Without methods SQLite does not close it.
        (*file).pMethods = ptr::null();
        let code = open(below, name, under(file), flags, out_flags);
        if code == ffi::SQLITE_OK {
            let log = file.cast::<LogFile>();
            (*log).gathered = Box::into_raw(Box::default());
            (*log).base.pMethods = &raw const METHODS;
        }
        code
    }
}

/// SQLite's own file, behind ours.
///
/// # Safety
/// `file` is one that [`open_file`] was given for a log.
unsafe fn under(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: the memory goes on for as long as the file of the layer below is.
    unsafe { file.cast::<LogFile>().add(1).cast() }
}

/// What has gathered for a file.
///
/// # Safety
/// `file` is an open log, and nobody else holds this: SQLite calls a file from one thread at a time.
unsafe fn gathered<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Gathered {
    // SAFETY: it was made when the file was opened, and goes when it is closed.
    unsafe { &mut *(*file.cast::<LogFile>()).gathered }
}

/// Calls the file below.
macro_rules! below {
    ($file:ident, $method:ident $(, $argument:expr)*) => {{
        let file = under($file);
        match (*file).pMethods.as_ref().and_then(|methods| methods.$method) {
            Some(method) => method(file $(, $argument)*),
            None => ffi::SQLITE_IOERR,
        }
    }};
}

/// Calls the file below, which then has all that was written.
macro_rules! below_flushed {
    ($file:ident, $method:ident $(, $argument:expr)*) => {
        match flush($file) {
            ffi::SQLITE_OK => below!($file, $method $(, $argument)*),
            code => code,
        }
    };
}

/// Writes what has gathered, within its transaction. If that fails, the transaction does, and what is in the file after the last commit
/// counts for nothing.
///
/// # Safety
/// `file` is an open log.
unsafe fn flush(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as the caller promises; the bytes outlive the call, and are no more than MOST.
    unsafe {
        let waiting = gathered(file);
        if waiting.bytes.is_empty() {
            return ffi::SQLITE_OK;
        }
        let code = write_through(file, &waiting.bytes, waiting.at);
        waiting.bytes.clear();
        code
    }
}

/// # Safety
/// `file` is an open log.
unsafe fn write_through(file: *mut ffi::sqlite3_file, bytes: &[u8], at: i64) -> c_int {
    let mut at = at;
    for piece in bytes.chunks(MOST_AT_ONCE) {
        // SAFETY: as the caller promises; the length is MOST_AT_ONCE at most, so no sign is lost.
        let code = unsafe {
            below!(
                file,
                xWrite,
                piece.as_ptr().cast(),
                piece.len() as c_int,
                at
            )
        };
        if code != ffi::SQLITE_OK {
            return code;
        }
        at = at.saturating_add_unsigned(piece.len() as u64);
    }
    ffi::SQLITE_OK
}

// SAFETY, for all that follow: SQLite calls them with a log that `open_file` has opened and `close` has not closed yet, with memory as
// large as it says, and from one thread at a time.

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    at: i64,
) -> c_int {
    unsafe {
        let length = usize::try_from(length).unwrap_or(0);
        let bytes = std::slice::from_raw_parts(bytes.cast::<u8>(), length);
        if gathered(file).add(bytes, at) {
            return ffi::SQLITE_OK;
        }
        match flush(file) {
            ffi::SQLITE_OK if gathered(file).add(bytes, at) => ffi::SQLITE_OK,
            ffi::SQLITE_OK => write_through(file, bytes, at),
            code => code,
        }
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    unsafe { below_flushed!(file, xSync, flags) }
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    length: c_int,
    at: i64,
) -> c_int {
    unsafe { below_flushed!(file, xRead, into, length, at) }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    unsafe { below_flushed!(file, xTruncate, size) }
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    unsafe { below_flushed!(file, xFileSize, size) }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    unsafe {
        let log = file.cast::<LogFile>();
        drop(Box::from_raw((*log).gathered));
        (*log).gathered = ptr::null_mut();
        below!(file, xClose)
    }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    unsafe { below!(file, xLock, level) }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    unsafe { below!(file, xUnlock, level) }
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    unsafe { below!(file, xCheckReservedLock, out) }
}

unsafe extern "C" fn file_control(
    file: *mut ffi::sqlite3_file,
    what: c_int,
    argument: *mut c_void,
) -> c_int {
    unsafe { below!(file, xFileControl, what, argument) }
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    unsafe { below!(file, xSectorSize) }
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    unsafe { below!(file, xDeviceCharacteristics) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn database() -> (tempfile::TempDir, Connection, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.db");
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let writer = open(&path, flags).unwrap();
        writer
            .execute_batch(
                "PRAGMA journal_mode = WAL; CREATE TABLE t (n INTEGER PRIMARY KEY, b BLOB)",
            )
            .unwrap();
        let reader = Connection::open(&path).unwrap();
        (dir, writer, reader)
    }

    fn insert(conn: &Connection, rows: i64) {
        let mut insert = conn
            .prepare("INSERT INTO t (b) VALUES (randomblob(3000))")
            .unwrap();
        for _ in 0..rows {
            insert.execute([]).unwrap();
        }
    }

    fn seen(conn: &Connection) -> (i64, String) {
        let count = conn.query_row("SELECT COUNT(*) FROM t", [], |row| row.get(0));
        let check = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0));
        (count.unwrap(), check.unwrap())
    }

    /// Write calls of this thread so far (proc(5), `io`).
    fn writes() -> u64 {
        let io = fs::read_to_string("/proc/thread-self/io").unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix("syscw: "));
        line.unwrap().parse().unwrap()
    }

    #[test]
    fn a_commit_of_many_pages_is_one_write_and_everybody_sees_it() {
        let (_dir, writer, reader) = database();
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        insert(&writer, 10);
        let before = writes();
        writer.execute_batch("COMMIT").unwrap();
        assert_eq!(writes() - before, 1);
        assert_eq!(seen(&reader), (10, "ok".to_owned()));
    }

    #[test]
    fn a_transaction_larger_than_all_caches_reads_itself_and_arrives_whole() {
        let (dir, writer, reader) = database();
        writer
            .execute_batch("PRAGMA cache_size = 10; BEGIN IMMEDIATE")
            .unwrap();
        insert(&writer, 1_000);
        // Pages that were written in this transaction change again.
        writer
            .execute_batch("UPDATE t SET b = randomblob(2999) WHERE n % 7 = 0")
            .unwrap();
        assert_eq!(seen(&writer).0, 1_000);
        assert_eq!(seen(&reader).0, 0);
        writer.execute_batch("COMMIT").unwrap();
        assert_eq!(seen(&reader), (1_000, "ok".to_owned()));
        // As it is found after a kill: the files alone.
        let copy = dir.path().join("copy.db");
        fs::copy(dir.path().join("test.db"), &copy).unwrap();
        fs::copy(
            dir.path().join("test.db-wal"),
            dir.path().join("copy.db-wal"),
        )
        .unwrap();
        assert_eq!(
            seen(&Connection::open(copy).unwrap()),
            (1_000, "ok".to_owned())
        );
    }

    /// What is left of a transaction that was rolled back must not be written over what another connection has committed there since.
    #[test]
    fn what_is_rolled_back_is_never_written_over_the_commit_of_another() {
        for closes in [false, true] {
            let (dir, writer, other) = database();
            // What is rolled back is read from the database again then, and not from the log, which would write what has gathered.
            writer
                .execute_batch(
                    "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA cache_size = 10; BEGIN IMMEDIATE",
                )
                .unwrap();
            insert(&writer, 200);
            writer.execute_batch("ROLLBACK").unwrap();
            if closes {
                insert(&other, 200);
                drop(writer);
            } else {
                discard(&writer);
                insert(&other, 200);
                insert(&writer, 1);
                assert_eq!(seen(&writer), (201, "ok".to_owned()));
            }
            let rows = if closes { 200 } else { 201 };
            assert_eq!(seen(&other), (rows, "ok".to_owned()));
            let fresh = Connection::open(dir.path().join("test.db")).unwrap();
            assert_eq!(seen(&fresh), (rows, "ok".to_owned()));
        }
    }

    #[test]
    fn what_is_rolled_back_leaves_nothing_behind() {
        let (_dir, writer, reader) = database();
        writer.execute_batch("PRAGMA cache_size = 10").unwrap();
        for rows in [300, 3] {
            writer.execute_batch("BEGIN IMMEDIATE").unwrap();
            insert(&writer, rows);
            writer.execute_batch("ROLLBACK").unwrap();
            insert(&writer, 1);
        }
        assert_eq!(seen(&reader), (2, "ok".to_owned()));
        // The log begins anew.
        reader
            .execute_batch("PRAGMA wal_checkpoint(RESTART)")
            .unwrap();
        insert(&writer, 2);
        assert_eq!(seen(&reader), (4, "ok".to_owned()));
        writer.close().unwrap();
        assert_eq!(seen(&reader), (4, "ok".to_owned()));
    }
}
