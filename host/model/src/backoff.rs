//! How long to wait before the next try.

use std::time::Duration;

/// A delay that doubles with each try up to a cap, with jitter so that what failed together does not return together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The delay after the first try.
    pub first: Duration,
    /// The longest delay.
    pub cap: Duration,
}

impl Backoff {
    /// For turns: the second try comes while the prospect still looks, the fifth a quarter of a minute later.
    pub const TURN: Self = Self {
        first: Duration::from_secs(1),
        cap: Duration::from_secs(60),
    };

    /// The delay after try number `attempt` (1 is the first). `chance` is uniform in 0..1 and spreads it over 75–125 %.
    #[must_use]
    pub fn delay(&self, attempt: u32, chance: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(20);
        let plain = self.first.saturating_mul(1 << doublings).min(self.cap);
        plain.mul_f64(0.75 + 0.5 * chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_to_the_cap_and_spreads() {
        let backoff = Backoff {
            first: Duration::from_secs(1),
            cap: Duration::from_secs(10),
        };
        let delays: Vec<_> = (1..=6).map(|n| backoff.delay(n, 0.5).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 10, 10]);
        assert_eq!(backoff.delay(1, 0.0), Duration::from_millis(750));
        assert_eq!(backoff.delay(u32::MAX, 1.0), Duration::from_millis(12_500));
    }
}
