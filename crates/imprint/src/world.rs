//! The clock and chance: the one place where this program reads them for the server.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use imprint_identity::UnixTime;
use imprint_registrar::Serial;
use imprint_server::World;

/// The real ones.
pub(crate) fn world() -> World {
    World {
        now: Arc::new(now),
        chance: Arc::new(chance),
    }
}

/// What time it is; 1970 while the clock is before that.
#[expect(
    clippy::disallowed_methods,
    reason = "the binary reads the clock, here and nowhere else"
)]
pub(crate) fn now() -> UnixTime {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixTime(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Cryptographic randomness.
#[expect(
    clippy::expect_used,
    reason = "without randomness nothing here may go on"
)]
pub(crate) fn chance(buffer: &mut [u8]) {
    rand::fill(buffer).expect("the operating system gives random bytes");
}

/// A serial number for a certificate that is no device's: the ledger's epoch does not matter, the
/// 128 random bits do.
pub(crate) fn serial(now: UnixTime) -> Serial {
    let mut bits = [0; 16];
    chance(&mut bits);
    Serial::new(FIRST_EPOCH, now, bits)
}

const FIRST_EPOCH: u8 = 1;
