//! What the binary lends to the server: the clock, and chance.

use std::fmt;
use std::sync::Arc;

use imprint_identity::UnixTime;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> UnixTime + Send + Sync>;

/// Fills a buffer with cryptographic randomness.
pub type Chance = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// The clock and chance. Only the binary has the real ones; a test can replay them.
#[derive(Clone)]
pub struct World {
    /// The clock.
    pub now: Clock,
    /// Chance.
    pub chance: Chance,
}

impl World {
    /// What time it is.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        (self.now)()
    }

    /// A number below `end`, for spreading things out; `end` is small, so the bias of the remainder
    /// does not matter.
    pub(crate) fn below(&self, end: u32) -> u32 {
        below(&self.chance, end)
    }
}

pub(crate) fn below(chance: &Chance, end: u32) -> u32 {
    let mut bytes = [0; 4];
    chance(&mut bytes);
    u32::from_le_bytes(bytes) % end.max(1)
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("now", &self.now())
            .finish_non_exhaustive()
    }
}
