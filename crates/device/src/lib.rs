//! The device's side of joining a fleet: a state machine and a journal that no power cut breaks.
//!
//! Write down, then act:
//!
//! ```text
//! let (next, action) = record.advance(&event, &settings, chance);   // pure
//! journal.save(&next)?;                                             // two copies, CRC, commit
//! perform(action)                                                   // safe to repeat
//! ```
//!
//! [`Device`] keeps those three lines in order. The machine never waits and owns no radio, clock,
//! flash or chance: the caller performs each [`Action`] and answers with an [`Event`], so one
//! machine serves blocking firmware, async firmware, Linux and the power-cut simulation. A power
//! cut at any instant repeats at most one action, with the same key.
//!
//! No allocation, no `unsafe`, and without feature `std` no `std`, which only adds the [`mod@file`]
//! journal. Machine and journal together take 13 KiB of flash on a Cortex-M4, 14 KiB on a Cortex-M0
//! and 16 KiB on RISC-V (`tests/no_std/run`), no static data, and two halves of 236 to 320 octets.
//!
//! `tests/power_cuts.rs` cuts the power at every instant, twice; `tests/planted/run` plants known
//! bugs and sees them caught; `docs/decisions/0003` says when a device rests for good.
#![no_std]

#[cfg(feature = "std")]
extern crate std;

mod backoff;
mod device;
#[cfg(feature = "std")]
pub mod file;
pub mod image;
mod indicate;
mod journal;
mod machine;
mod record;
mod renewal;
mod trouble;

pub use backoff::{QuarantineRule, Settings};
pub use device::Device;
pub use imprint_identity::{Quarantine, Step, UnixTime};
pub use indicate::Pattern;
pub use journal::{Geometry, Half, Journal, JournalError, Read, Storage, TwoCopies};
pub use machine::{Action, Event};
pub use record::{
    Code, Credential, Digest, Errand, Failure, Fingerprint, Key, Member, Place, Record, Refusal,
    Renewal, Retry, Slot,
};
