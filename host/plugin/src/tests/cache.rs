//! Compiled components in files: used when they are this host's own, and only then.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// How often the component had to be compiled to be loaded by a new runtime with these settings.
async fn compilations(settings: &Settings) -> u32 {
    let runtime = Runtime::new(settings.clone()).unwrap();
    let asked = AtomicU32::new(0);
    let bytes = component("echo");
    let digest = Digest::of(&bytes);
    let plugin = runtime.load(&digest, || async {
        asked.fetch_add(1, Ordering::Relaxed);
        Ok::<_, io::Error>(bytes)
    });
    let run = runtime.run(&plugin.await.unwrap(), turn("hi")).await;
    assert_eq!(run.texts(), ["You said: hi"]);
    asked.into_inner()
}

/// The only entry of the cache.
fn entry(settings: &Settings) -> PathBuf {
    let mut entries = fs::read_dir(&settings.cache_dir).unwrap();
    entries.next().unwrap().unwrap().path()
}

#[tokio::test]
async fn a_component_is_compiled_once() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::with_cache(dir.path().join("cache"));
    assert_eq!(compilations(&bench.settings).await, 1);
    assert_eq!(compilations(&bench.settings).await, 0);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&bench.settings.cache_dir), 0o700);
    assert_eq!(mode(&entry(&bench.settings)), 0o700);
}

#[tokio::test]
async fn code_that_was_changed_is_never_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::with_cache(dir.path().join("cache"));
    compilations(&bench.settings).await;
    let code = entry(&bench.settings).join("code.cwasm");
    let mut bytes = fs::read(&code).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&code, bytes).unwrap();
    assert_eq!(compilations(&bench.settings).await, 1, "it was loaded");
    assert_eq!(
        compilations(&bench.settings).await,
        0,
        "it was not replaced"
    );
}

#[tokio::test]
async fn code_without_its_mac_or_of_another_key_is_never_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::with_cache(dir.path().join("cache"));
    compilations(&bench.settings).await;
    fs::remove_file(entry(&bench.settings).join("code.mac")).unwrap();
    assert_eq!(compilations(&bench.settings).await, 1);
    let other = Settings {
        cache_key: [8; 32],
        ..bench.settings.clone()
    };
    assert_eq!(compilations(&other).await, 1);
}

#[tokio::test]
async fn code_of_another_component_is_never_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::with_cache(dir.path().join("cache"));
    bench.plugin("test-trap").await;
    let of_trap = entry(&bench.settings);
    let name = of_trap.file_name().unwrap().to_str().unwrap();
    let trap = Digest::of(&component("test-trap"));
    let echo = Digest::of(&component("echo"));
    let of_echo = name.replace(trap.as_str(), echo.as_str());
    fs::rename(&of_trap, of_trap.with_file_name(of_echo)).unwrap();
    assert_eq!(compilations(&bench.settings).await, 1);
}

#[tokio::test]
async fn what_no_host_can_use_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::with_cache(dir.path().join("cache"));
    let stale = bench.settings.cache_dir.join("0123-othercompiler");
    fs::create_dir(&stale).unwrap();
    Runtime::new(bench.settings.clone()).unwrap();
    assert!(!stale.exists());
}

#[tokio::test]
async fn a_directory_that_others_can_read_is_made_private() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::with_cache(dir.path().join("cache"));
    let dir = &bench.settings.cache_dir;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    Runtime::new(bench.settings.clone()).unwrap();
    assert_eq!(
        fs::metadata(dir).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[tokio::test]
async fn bytes_of_another_digest_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::with_cache(dir.path().join("cache"));
    let loaded = bench
        .runtime
        .load(&Digest::of(b"another"), || async {
            Ok::<_, io::Error>(component("echo"))
        })
        .await;
    assert!(matches!(loaded, Err(Error::WrongDigest(_))), "{loaded:?}");
    let lost = bench
        .runtime
        .load(&Digest::of(b"lost"), || async {
            Err(io::Error::other("the disk is gone"))
        })
        .await;
    assert!(matches!(lost, Err(Error::Bytes(_))), "{lost:?}");
}
