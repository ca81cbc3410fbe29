//! Files that somebody names on the command line. None is read further than what it is for can take, so that a wrong name
//! (`/dev/zero`, a disk image) costs a message and not the machine's memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context as _;

use crate::plugin::COMPONENT_BYTES;

/// The most bytes of a configuration or of credentials: more than anybody writes by hand.
const TEXT_BYTES: usize = 1 << 20;

/// A component's bytes. One that is too large is read one byte too far, and refused by the runtime in its own words.
pub(super) fn read_component(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let missing = || {
        format!(
            "can't read {shown}; `cargo component build --release` writes target/wasm32-wasip1/release/NAME.wasm"
        )
    };
    // Asked before it is opened: to open a pipe would wait for whoever writes to it.
    let metadata = std::fs::metadata(path).with_context(missing)?;
    anyhow::ensure!(
        metadata.is_file(),
        "{shown} is no regular file; name the component's file, target/wasm32-wasip1/release/NAME.wasm"
    );
    let file = File::open(path).with_context(missing)?;
    read_to(file, COMPONENT_BYTES + 1).with_context(missing)
}

/// A text from a file or, for `-`, from standard input.
pub(super) fn read_text(path: &str) -> io::Result<String> {
    let bytes = if path == "-" {
        read_to(io::stdin(), TEXT_BYTES + 1)?
    } else {
        read_to(File::open(path)?, TEXT_BYTES + 1)?
    };
    if bytes.len() > TEXT_BYTES {
        return Err(io::Error::other(format!(
            "it has more than {TEXT_BYTES} bytes"
        )));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))
}

fn read_to(from: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(u64::try_from(most).unwrap_or(u64::MAX))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::context::testing::TestContext;
    use super::*;

    #[tokio::test]
    async fn a_device_is_no_component() {
        let t = TestContext::with_device().await;
        for line in [
            "plugin check /dev/null",
            "plugin add /dev/null --tenant acme",
            "plugin check /",
            "chat /dev/null",
        ] {
            let error = t.run(line).await.unwrap_err().to_string();
            assert!(error.contains("is no regular file"), "{line}: {error}");
        }
    }

    #[tokio::test]
    async fn a_component_is_read_no_further_than_it_may_be_large() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large.wasm");
        // It takes no room on the disk.
        let bytes = u64::try_from(COMPONENT_BYTES).unwrap() * 64;
        File::create(&path).unwrap().set_len(bytes).unwrap();
        assert_eq!(read_component(&path).unwrap().len(), COMPONENT_BYTES + 1);
        let t = TestContext::new();
        let answer = t.run(&format!("plugin check {}", path.display())).await;
        let answer = answer.unwrap();
        assert_eq!(answer.json()["ok"], false);
        assert!(
            answer.text().contains("more than the 33554432 bytes"),
            "{}",
            answer.text()
        );
    }

    #[test]
    fn a_text_is_read_no_further_than_people_write() {
        let error = read_text("/dev/zero").unwrap_err().to_string();
        assert_eq!(error, "it has more than 1048576 bytes");
        assert_eq!(read_text("/dev/null").unwrap(), "");
    }
}
