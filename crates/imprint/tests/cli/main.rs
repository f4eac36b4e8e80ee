//! The real binary in real directories: what operators type, and what they get.

#![expect(
    clippy::disallowed_methods,
    reason = "a test waits for processes, and gives them their environment"
)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::format_push_string,
    reason = "a test that meets the unexpected ends there"
)]

mod acts;
mod agent;
mod api;
mod catalogue;
mod doctor;
mod drill;
mod entries;
mod events;
mod expired;
mod files;
mod fleet;
mod init;
mod journal;
mod key;
mod life;
mod serve;
mod stolen;
mod support;
mod why;
