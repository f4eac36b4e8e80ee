//! A seeded source of chance. The seed is printed by whoever fails, and replays the run.

use std::sync::Mutex;

use imprint_server::Chance;

/// `SplitMix64`: small, and every seed is a good one.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Starts at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is small.
    pub const fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True once in `times`.
    pub const fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let eight = self.next().to_le_bytes();
            chunk.copy_from_slice(&eight[..chunk.len()]);
        }
    }
}

/// The same as the server takes it.
#[must_use]
pub fn seeded(seed: u64) -> Chance {
    let dice = Mutex::new(Dice::new(seed));
    std::sync::Arc::new(move |bytes: &mut [u8]| dice.lock().unwrap().fill(bytes))
}

/// Chance that nobody can replay, from the cryptographic library.
#[must_use]
pub fn real() -> Chance {
    std::sync::Arc::new(|bytes: &mut [u8]| aws_lc_rs::rand::fill(bytes).expect("randomness"))
}

/// The seed of this run: `IMPRINT_SEED` if it is set, else one from the clock.
#[must_use]
pub fn seed() -> u64 {
    let given = std::env::var("IMPRINT_SEED").ok();
    given.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        since.as_nanos() as u64
    })
}
