//! The words that every part of Imprint shares: which hardware this is and how far that can be
//! trusted, the name it has in the fleet, the step it has reached, and the time.
//!
//! No allocation, no IO, no clock: firmware and server link the same crate.

#![no_std]

mod device_id;
mod hardware;
mod naming;
mod source;
mod step;
mod strength;
mod time;

pub use device_id::{DeviceId, DeviceIdError};
pub use hardware::{HardwareId, HardwareIdError, HardwareText};
pub use naming::{NamingError, NamingRule};
pub use source::Source;
pub use step::{Quarantine, Step};
pub use strength::IdentityStrength;
pub use time::UnixTime;
