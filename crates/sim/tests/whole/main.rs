//! The whole system, over real sockets, with everything that can go wrong in between. One file a
//! promise; each prints what it counted.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod claims;
mod clocks;
mod entries;
mod hostile;
mod kills;
mod lost_renewals;
mod lost_replies;
mod model;
mod races;
mod storm;
mod support;
