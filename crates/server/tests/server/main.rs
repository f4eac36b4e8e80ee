//! The server as its clients see it: over real sockets and TLS, on a real ledger and signer.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it wants ends there"
)]

mod channel;
mod claim;
mod crowd;
mod device;
mod dps;
mod est;
mod events;
mod hostile;
mod limits;
mod log;
mod matrix;
mod mqtt;
mod outage;
mod outbound;
mod plain;
mod service;
mod support;
mod tls;
mod tpm;
mod webhooks;
