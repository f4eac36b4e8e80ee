//! The whole road on a real ledger and a real signer: one file a promise.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "tests"
)]

mod approval;
mod attacks;
mod by_hand;
mod certificates;
mod claims;
mod entries;
mod explain;
mod guessing;
mod lists;
mod once;
mod policy;
mod renewal;
mod server_keys;
mod support;
mod takeover;
mod token_life;
mod tpm;
