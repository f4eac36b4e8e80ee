//! What a status LED or a console shows.

use imprint_identity::Step;

use crate::record::Record;

/// A pattern for one LED: `blinks` flashes, then a pause, over and over; or steadily on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// Dark: UNPROVISIONED.
    Off,
    /// Steadily lit: PROVISIONED.
    On,
    /// Working: as many slow flashes as the step's number (BOOTSTRAP 1, ENROLL 2, ...).
    Working {
        /// Flashes between pauses, 1 to 5.
        blinks: u8,
    },
    /// Waiting after a failure: the same number of flashes, each a short double.
    Waiting {
        /// Flashes between pauses, 1 to 5.
        blinks: u8,
    },
    /// QUARANTINE: as many fast flashes as the reason's number.
    Resting {
        /// Flashes between pauses, 1 to 6.
        blinks: u8,
    },
}

impl Record {
    /// What to show while the device stands here.
    #[must_use]
    pub fn indicate(&self) -> Pattern {
        if let Some(reason) = self.quarantine {
            return Pattern::Resting {
                blinks: reason as u8,
            };
        }
        match self.step() {
            Step::Unprovisioned => Pattern::Off,
            Step::Provisioned => Pattern::On,
            step if self.attempts > 0 => Pattern::Waiting { blinks: step as u8 },
            step => Pattern::Working { blinks: step as u8 },
        }
    }
}
