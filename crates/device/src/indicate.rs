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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Fingerprint, Key, Place, Slot};
    use imprint_identity::Quarantine;

    #[test]
    fn a_person_can_tell_the_step_from_the_light() {
        let key = Key {
            slot: Slot::A,
            fingerprint: Fingerprint([0; 32]),
        };
        let at = |place| Record {
            place,
            ..Record::default()
        };
        let troubled = |place| Record {
            attempts: 1,
            ..at(place)
        };
        for (record, want) in [
            (at(Place::Blank), Pattern::Off),
            (at(Place::Bootstrap), Pattern::Working { blinks: 1 }),
            (troubled(Place::Bootstrap), Pattern::Waiting { blinks: 1 }),
            (at(Place::MakeKey), Pattern::Working { blinks: 2 }),
            (
                troubled(Place::CredentialStore { key }),
                Pattern::Waiting { blinks: 3 },
            ),
            (
                Record {
                    quarantine: Some(Quarantine::KeyLost),
                    ..at(Place::Enroll { key })
                },
                Pattern::Resting { blinks: 5 },
            ),
        ] {
            assert_eq!(record.indicate(), want, "{record:?}");
        }
    }
}
