//! The words that every part of Imprint shares: which hardware this is and how far that can be
//! trusted, the name it has in the fleet, the step it has reached, and the time.
//!
//! No allocation, no IO, no clock: firmware and server link the same crate.

#![no_std]

mod device_id;
mod step;
mod time;

pub use device_id::{DeviceId, DeviceIdError};
pub use step::{Quarantine, Step};
pub use time::UnixTime;
