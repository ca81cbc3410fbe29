//! Chance that comes out the same when a turn is run again.

use std::convert::Infallible;

use rand::TryRng;
use sha2::{Digest as _, Sha256};

/// A stream of random bytes that follows from a turn's seed: SHA-256 over the seed, the stream's name and a counter. No
/// crate's generator stands behind it, because theirs change between versions, and a turn may be replayed years later.
pub(super) struct Chance {
    seed: u64,
    stream: &'static str,
    counter: u64,
    block: Vec<u8>,
}

impl Chance {
    /// The beginning of a stream. Streams of other names have nothing in common with it.
    pub(super) fn new(seed: u64, stream: &'static str) -> Self {
        Self {
            seed,
            stream,
            counter: 0,
            block: Vec::new(),
        }
    }

    /// The next number.
    pub(super) fn next_u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.next_byte();
        }
        bytes
    }

    fn next_byte(&mut self) -> u8 {
        loop {
            if let Some(byte) = self.block.pop() {
                return byte;
            }
            let mut hash = Sha256::new();
            hash.update(self.seed.to_le_bytes());
            hash.update(self.counter.to_le_bytes());
            hash.update(self.stream.as_bytes());
            self.block = hash.finalize().to_vec();
            self.counter = self.counter.wrapping_add(1);
        }
    }
}

impl TryRng for Chance {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.take()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for byte in bytes {
            *byte = self.next_byte();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_stream_in_every_version() {
        let first = |seed, stream| Chance::new(seed, stream).next_u64();
        assert_eq!(first(7, "clock"), 5_203_206_638_840_374_563);
        assert_ne!(first(7, "clock"), first(8, "clock"));
        assert_ne!(first(7, "clock"), first(7, "wasi"));
        let mut chance = Chance::new(7, "clock");
        let two = (chance.next_u64(), chance.next_u64());
        assert_ne!(two.0, two.1);
    }
}
