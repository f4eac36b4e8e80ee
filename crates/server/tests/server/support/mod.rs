//! A fleet of its own for each test, and clients that say exactly what the test wants.

pub(crate) mod claim;
pub(crate) mod dps;
mod fleet;
mod keys;
pub(crate) mod mqtt;
mod outage;
pub(crate) mod tpm;
mod wire;

pub(crate) use fleet::{Fleet, eventually};
pub(crate) use keys::{Device, Foreign, version_1_certificate};
pub(crate) use wire::{Client, Connection, Reply, basic, post, request};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use imprint_server::Chance;

/// Xorshift: the same bytes for the same seed.
pub(crate) fn seeded(seed: u64) -> Chance {
    let state = AtomicU64::new(seed);
    Arc::new(move |bytes: &mut [u8]| {
        for byte in bytes {
            let mut x = state.load(Ordering::Relaxed);
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            state.store(x, Ordering::Relaxed);
            *byte = x.to_be_bytes()[3];
        }
    })
}
