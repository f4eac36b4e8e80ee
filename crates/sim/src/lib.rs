//! Tests of the whole: links that cut, servers that die, clocks that lie.
//!
//! ```text
//! place    a directory with keys, authorities, a database: what `imprint init` makes, for tests
//! world    a real server on that place, in this process; it can be restarted
//! proxy    a link that breaks after exactly so many bytes
//! tap      wrappers around ledger and signer that see, hold or spoil every call
//! client   EST over TLS by hand; `agent` and `tools` are the other clients
//! checker  compares what clients were told with what is on record, in its own words
//! chance   a seeded source, so that a run can be replayed
//! ```
//!
//! ```text
//! IMPRINT_SEED=n             replays the run that printed it
//! IMPRINT_DEEP=1             hours instead of minutes
//! IMPRINT_REQUIRE_TOOLS=1    a client that is not installed is a failure, not a skip
//! IMPRINT=path               the binary to kill; without it, cargo builds one
//! ```
//!
//! The proofs are in `tests/`. `sim-server` is a server that stops for a moment where it is told
//! to, so that a test can kill it exactly there.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "tools of tests: what can't be done ends the test, and the clock is the real one"
)]

pub mod agent;
pub mod chance;
pub mod checker;
pub mod client;
pub mod key;
pub mod place;
pub mod proxy;
pub mod tap;
pub mod tools;
pub mod world;

/// Whether this is the deep run: hours instead of minutes.
#[must_use]
pub fn deep() -> bool {
    std::env::var_os("IMPRINT_DEEP").is_some()
}

/// `ordinary`, or `deep` in the deep run.
#[must_use]
pub fn many(ordinary: usize, deep_run: usize) -> usize {
    if deep() { deep_run } else { ordinary }
}
