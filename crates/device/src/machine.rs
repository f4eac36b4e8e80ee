//! The state machine: where the device stands, and what has happened, make where it stands next
//! and what it does now.
//!
//! ```text
//! Blank ─PowerOn─► Bootstrap ─Reached─► MakeKey ─KeyMade─► Enroll ─Enrolled─► CredentialStore
//!                                        (no request                           │ ProfileFetched
//!                                         may leave yet)                       │ Stored
//!   Provisioned ◄─Verified─ Verify ◄─Registered─ Register ◄────────────────────┤
//!    │ ForgetBootstrap         ▲                                               │
//!    │ Renewal, Forget         └────────────── registered by settle ───────────┘
//! ```

use imprint_identity::{Quarantine, UnixTime};

use crate::backoff::Settings;
use crate::record::{
    Credential, Digest, Errand, Failure, Fingerprint, Key, Member, Place, Record, Slot,
};
use crate::renewal;

/// What the caller does next. Every one is safe to repeat: after a power cut it may have happened,
/// partly or wholly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Reach the server, trust it under the pinned root, learn the time (`/v1/time`), check the
    /// hardware. Answer: [`Event::Reached`].
    Bootstrap,
    /// Have a durable key pair in `slot` of the key store: the one that is there already, else a
    /// new one. Answer, once it would survive a power cut: [`Event::KeyMade`].
    MakeKey {
        /// Where.
        slot: Slot,
    },
    /// Ask for a certificate for `key` with the bootstrap credential. The same key gets the same
    /// certificate, however often it asks. Answer: [`Event::Enrolled`], and keep the certificate in
    /// memory; [`Event::KeyMissing`] if the key store has another key or none.
    Enroll {
        /// The key to certify. Never another one.
        key: Key,
    },
    /// Ask for a successor to `credential`, shown in TLS, for `key`. Answer: [`Event::Enrolled`].
    Renew {
        /// The successor's key; the same as the credential's if it isn't changed.
        key: Key,
        /// The credential in use.
        credential: Credential,
    },
    /// Fetch the connection profile for the certificate in hand. Answer: [`Event::ProfileFetched`].
    FetchProfile,
    /// Check that the certificate in hand is for `key` and from our root
    /// ([`Event::WrongCertificate`] if not), write it and the profile to `slot`, unless the same
    /// bytes are there already, and read them back. Answer: [`Event::Stored`].
    StoreCredential {
        /// The key that the certificate must be for.
        key: Key,
        /// Where in the credential store.
        slot: Slot,
    },
    /// Ask the server to register the device. Answer: [`Event::Registered`].
    Register {
        /// With this credential.
        credential: Credential,
    },
    /// Use the credential in a fresh mutual TLS handshake, learn the server's time and check every
    /// certificate's validity against it. Answer: [`Event::Verified`].
    Verify {
        /// This one, from the stores and not from memory.
        credential: Credential,
    },
    /// Delete the bootstrap credential if it is there. Answer: [`Event::Forgotten`].
    ForgetBootstrap,
    /// Delete a key and a credential if they are there. Answer: [`Event::Forgotten`].
    Forget {
        /// The key's place; `None`: the key stays.
        key: Option<Slot>,
        /// The credential's place.
        credential: Slot,
    },
    /// Delete both keys and both credentials, and leave the bootstrap credential if there is one.
    /// Answer: [`Event::Wiped`].
    Wipe,
    /// Wait, then tell [`Event::Waited`]. A member goes on with its work meanwhile.
    Wait {
        /// How long.
        ms: u32,
    },
    /// Nothing to do until something happens. Look at the record for whether it is
    /// PROVISIONED, QUARANTINE or a finished factory reset.
    Rest,
}

/// What has happened. An event that doesn't belong to where the device stands changes nothing, and
/// is answered by what is to be done there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Power has come.
    PowerOn,
    /// A wait is over.
    Waited,
    /// The server was reached and trusted, and says that it is `at` now.
    Reached {
        /// Server time.
        at: UnixTime,
    },
    /// The key store durably holds this key in the slot that was asked for.
    KeyMade(Fingerprint),
    /// The certificate is in hand.
    Enrolled,
    /// The profile is in hand.
    ProfileFetched,
    /// Certificate and profile were written and read back.
    Stored {
        /// Of what was read back.
        digest: Digest,
        /// Whether the server has registered the device already when it settled (EST does).
        registered: bool,
    },
    /// The fleet has the device on record.
    Registered,
    /// The credential has worked.
    Verified {
        /// Server time.
        at: UnixTime,
        /// The latest `notBefore` of all certificates that were relied on.
        valid_from: UnixTime,
        /// The earliest `notAfter` of them.
        valid_until: UnixTime,
    },
    /// What was to be forgotten is gone.
    Forgotten,
    /// A factory reset has deleted everything.
    Wiped,
    /// The credential in use should get a successor.
    RenewalDue {
        /// Now.
        at: UnixTime,
        /// With a new key, or with the key in use (secure elements with one permanent key).
        rekey: bool,
    },
    /// The action failed or was refused.
    Failed(Failure),
    /// The server has the request and wants us back later (EST 202, an operator's approval): not
    /// an attempt that failed.
    Pending(Failure),
    /// More devices ask than the server lets in at once, and it has named this one's turn
    /// (`rate-limited`): not an attempt that failed. [`Device`](crate::Device) obeys a few times in a
    /// row and then takes it for a failure; who drives [`Record::advance`] without it must do so too.
    Turn(Failure),
    /// The key store doesn't have the key that the record names.
    KeyMissing(Slot),
    /// The credential store doesn't have the credential that the record names.
    CredentialMissing(Slot),
    /// The certificate is not for our key, or not from our root.
    WrongCertificate,
    /// The hardware is not the one that began.
    HardwareMismatch,
    /// The operator wants the device to rest.
    OperatorQuarantine,
    /// A person has removed the cause of the quarantine: go on where the device stood.
    Release,
    /// Back to UNPROVISIONED: keys and credentials go, from any state.
    FactoryReset,
}

impl Record {
    /// Where the device stands after `event`, and what it does now. Save the first durably before
    /// doing the second. `chance` is 32 random bits for the jitter of a wait.
    #[must_use]
    pub fn advance(&self, event: &Event, settings: &Settings, chance: u32) -> (Self, Action) {
        match event {
            Event::FactoryReset => self.at(Place::Wiping).released().resume(),
            Event::OperatorQuarantine => self.quarantined(Quarantine::Operator).resume(),
            Event::HardwareMismatch => self.quarantined(Quarantine::HardwareMismatch).resume(),
            Event::Release if self.quarantine.is_some() => self.released().resume(),
            _ if self.quarantine.is_some() => (self.clone(), Action::Rest),
            Event::Failed(failure) => self.failed(failure, settings, chance),
            Event::Pending(failure) => {
                self.pending(failure, settings.wait_ms(1, failure.retry, chance))
            }
            Event::Turn(failure) => self.pending(failure, settings.turn_ms(failure.retry, chance)),
            _ => self.went_on(event, settings, chance),
        }
    }

    fn went_on(&self, event: &Event, settings: &Settings, chance: u32) -> (Self, Action) {
        if let Some(code) = clock_doubt(event, settings) {
            return self.failed(&Failure::passing(code), settings, chance);
        }
        match (self.place, event) {
            (Place::Blank, Event::PowerOn) => self.at(Place::Bootstrap).resume(),
            (Place::Wiping, Event::Wiped) => (Self::default(), Action::Rest),
            (Place::Bootstrap, Event::Reached { at }) => self.at(Place::MakeKey).told(*at).resume(),
            (Place::MakeKey, Event::KeyMade(fingerprint)) => {
                let key = Key {
                    slot: Slot::A,
                    fingerprint: *fingerprint,
                };
                self.at(Place::Enroll { key }).resume()
            }
            // The certificate is in memory alone: after a power cut, CREDENTIAL_STORE asks again.
            (Place::Enroll { key }, Event::Enrolled) => (
                self.at(Place::CredentialStore { key }),
                Action::FetchProfile,
            ),
            (Place::CredentialStore { .. }, Event::Enrolled) => {
                (self.clone(), Action::FetchProfile)
            }
            (Place::CredentialStore { key }, Event::ProfileFetched) => {
                (self.clone(), Action::StoreCredential { key, slot: Slot::A })
            }
            (Place::CredentialStore { key }, Event::Stored { digest, registered }) => {
                let credential = Credential {
                    key,
                    slot: Slot::A,
                    digest: *digest,
                };
                let place = if *registered {
                    Place::Verify { credential }
                } else {
                    Place::Register { credential }
                };
                self.at(place).resume()
            }
            (Place::Register { credential }, Event::Registered) => {
                self.at(Place::Verify { credential }).resume()
            }
            (Place::Verify { credential }, Event::Verified { at, .. }) => {
                let errand = Errand::ForgetBootstrap;
                let member = Member {
                    credential,
                    errand,
                    renewal_began: UnixTime(0),
                };
                self.at(Place::Provisioned(member)).told(*at).resume()
            }
            (Place::Provisioned(member), _) => renewal::went_on(self, member, event),
            (_, Event::CredentialMissing(_)) => self.credential_lost(),
            (_, Event::KeyMissing(_)) => self.key_lost(),
            (
                Place::Enroll { .. } | Place::CredentialStore { .. } | Place::Verify { .. },
                Event::WrongCertificate,
            ) => self.quarantined(Quarantine::WrongCertificate).resume(),
            _ => self.clone().resume(),
        }
    }

    /// What is to be done here, from the record alone: after power-on, after a wait, after a step.
    pub(crate) fn resume(self) -> (Self, Action) {
        if self.quarantine.is_some() {
            return (self, Action::Rest);
        }
        let action = match self.place {
            Place::Blank => Action::Rest,
            Place::Wiping => Action::Wipe,
            Place::Bootstrap => Action::Bootstrap,
            Place::MakeKey => Action::MakeKey { slot: Slot::A },
            Place::Enroll { key } | Place::CredentialStore { key } => Action::Enroll { key },
            Place::Register { credential } => Action::Register { credential },
            Place::Verify { credential } => Action::Verify { credential },
            Place::Provisioned(member) => renewal::action(member),
        };
        (self, action)
    }

    /// At `place`, with the count of failures begun anew.
    pub(crate) fn at(&self, place: Place) -> Self {
        Self {
            place,
            attempts: 0,
            notes: 0,
            ..self.clone()
        }
    }

    pub(crate) fn told(self, at: UnixTime) -> Self {
        Self {
            server_time: Some(at),
            ..self
        }
    }

    /// Resting for `reason`. The first reason stays: what follows from it would hide it.
    pub(crate) fn quarantined(&self, reason: Quarantine) -> Self {
        Self {
            quarantine: self.quarantine.or(Some(reason)),
            ..self.clone()
        }
    }

    fn released(&self) -> Self {
        Self {
            quarantine: None,
            attempts: 0,
            notes: 0,
            losses: 0,
            ..self.clone()
        }
    }
}

/// What is wrong with the server's time, if an event brings it: it is before the firmware was
/// built, or outside the validity of the certificates that were just relied on.
fn clock_doubt(event: &Event, settings: &Settings) -> Option<&'static str> {
    match *event {
        Event::Reached { at } | Event::Verified { at, .. } if at < settings.built => {
            Some("server-clock-behind")
        }
        Event::Verified { at, valid_from, .. } if at < valid_from => {
            Some("certificate-not-yet-valid")
        }
        Event::Verified {
            at, valid_until, ..
        } if at > valid_until => Some("certificate-expired"),
        _ => None,
    }
}
