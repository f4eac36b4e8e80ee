//! How long to wait before trying again, and when to stop trying.

use imprint_identity::UnixTime;

use crate::record::Retry;

/// What a product decides about its devices' patience, and when the firmware was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// When the firmware was built: it can't be earlier now.
    pub built: UnixTime,
    /// What exhausted attempts lead to.
    pub quarantine: QuarantineRule,
    /// Attempts with growing waits before polling slowly (or resting, if strict); 3 to 5, and
    /// what is outside counts as the nearer end.
    pub attempts: u8,
    /// The first wait; each next one is twice as long. Milliseconds.
    pub first_wait_ms: u32,
    /// The wait between slow polls. Milliseconds.
    pub slow_poll_ms: u32,
}

impl Settings {
    /// Five attempts from 2 s on, then one every 15 minutes, for firmware built at `built`.
    #[must_use]
    pub const fn new(built: UnixTime) -> Self {
        Self {
            built,
            quarantine: QuarantineRule::FinalOnly,
            attempts: 5,
            first_wait_ms: 2_000,
            slow_poll_ms: 15 * 60 * 1_000,
        }
    }

    /// The attempts that count, 3 to 5.
    #[must_use]
    pub fn attempts(&self) -> u8 {
        self.attempts.clamp(3, 5)
    }

    /// How long to wait for a turn that the server has named: its word, and never less than a second.
    ///
    /// The device's own floor doesn't count here, and only a little is added: the server has given
    /// others other turns, so whoever stretches its own comes late and makes the crowd longer. A
    /// quarter of a second at most keeps a crowd apart that was told whole seconds.
    #[must_use]
    pub fn turn_ms(&self, retry: Retry, chance: u32) -> u32 {
        let told = match retry {
            Retry::After(seconds) => seconds.saturating_mul(1_000),
            Retry::Later | Retry::Never => self.first_wait_ms,
        };
        told.clamp(TURN_LEAST_MS, DAY_MS) + share(TURN_JITTER_MS, chance)
    }

    /// How long to wait after the `failures`-th failure in a row (1 is the first).
    ///
    /// A quarter of jitter is added, never taken away: a thousand devices that lost the same server
    /// must not come back together, and none may come back before `Retry-After`. A day is the most,
    /// whatever the server says, so that a mistaken answer can't retire a device.
    #[must_use]
    pub fn wait_ms(&self, failures: u8, retry: Retry, chance: u32) -> u32 {
        let own = if failures >= self.attempts() {
            self.slow_poll_ms
        } else {
            let doublings = u32::from(failures.saturating_sub(1));
            self.first_wait_ms
                .saturating_mul(1 << doublings)
                .min(self.slow_poll_ms)
        };
        let asked = match retry {
            Retry::After(seconds) => seconds.saturating_mul(1_000),
            Retry::Later | Retry::Never => 0,
        };
        let least = own.max(asked).min(DAY_MS);
        least + jitter(least, chance)
    }
}

const DAY_MS: u32 = 24 * 60 * 60 * 1_000;

/// The least wait for a turn, whatever the server says.
const TURN_LEAST_MS: u32 = 1_000;
/// The most that is added to a turn.
const TURN_JITTER_MS: u32 = 250;

/// Between nothing and a quarter of `wait_ms`, as `chance` has it.
fn jitter(wait_ms: u32, chance: u32) -> u32 {
    share(wait_ms / 4, chance)
}

/// Between nothing and `most`, as `chance` has it.
fn share(most: u32, chance: u32) -> u32 {
    u32::try_from((u64::from(most) * u64::from(chance)) >> 32).unwrap_or_default()
}

/// What a passing cause leads to once all attempts have failed; see `docs/decisions/0003`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuarantineRule {
    /// Keep polling slowly: only a final refusal quarantines.
    FinalOnly,
    /// `quarantine = "strict"`: a step that fails all its attempts quarantines.
    Strict,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_then_poll_slowly_and_never_come_back_before_they_were_asked_to() {
        let settings = Settings::new(UnixTime(0));
        for (failures, retry, least) in [
            (1, Retry::Later, 2_000),
            (2, Retry::Later, 4_000),
            (4, Retry::Later, 16_000),
            (5, Retry::Later, 900_000),
            (255, Retry::Later, 900_000),
            (1, Retry::After(30), 30_000),
            (5, Retry::After(30), 900_000),
            (5, Retry::After(3_600), 3_600_000),
            (1, Retry::After(u32::MAX), DAY_MS),
        ] {
            assert_eq!(
                settings.wait_ms(failures, retry, 0),
                least,
                "{failures} {retry:?}"
            );
            let most = settings.wait_ms(failures, retry, u32::MAX);
            assert!(
                most > least && most <= least + least / 4,
                "{failures} {retry:?} {most}"
            );
        }
    }

    #[test]
    fn a_turn_is_taken_at_its_time_and_hardly_later() {
        let settings = Settings::new(UnixTime(0));
        for (retry, least) in [
            (Retry::After(0), 1_000),
            (Retry::After(1), 1_000),
            (Retry::After(3), 3_000),
            (Retry::After(150), 150_000),
            (Retry::After(u32::MAX), DAY_MS),
            (Retry::Later, 2_000),
            (Retry::Never, 2_000),
        ] {
            assert_eq!(settings.turn_ms(retry, 0), least, "{retry:?}");
            let most = settings.turn_ms(retry, u32::MAX);
            assert!(most > least && most <= least + 250, "{retry:?} {most}");
        }
    }

    #[test]
    fn a_product_has_three_to_five_attempts_whatever_it_writes() {
        for (written, counted) in [(0, 3), (3, 3), (4, 4), (5, 5), (200, 5)] {
            let settings = Settings {
                attempts: written,
                ..Settings::new(UnixTime(0))
            };
            assert_eq!(settings.attempts(), counted);
        }
    }
}
