//! What a member does beside its work: forgetting the bootstrap credential, and renewal.
//!
//! The credential in use stays in use until its successor has worked. Whatever goes wrong with the
//! successor, the device is a member all the time.

use imprint_identity::{Quarantine, UnixTime};

use crate::machine::{Action, Event};
use crate::record::{Credential, Errand, Key, Place, Record, Renewal};

/// A day, in seconds: renewals begin no closer together, so that a boot loop in which each renewal
/// is refused can't wear out the flash.
const BETWEEN_RENEWALS: i64 = 24 * 60 * 60;

/// What is to be done for `errand`.
pub(crate) fn action(credential: Credential, errand: Errand) -> Action {
    match errand {
        Errand::None => Action::Rest,
        Errand::ForgetBootstrap => Action::ForgetBootstrap,
        Errand::Forget { key, credential } => Action::Forget { key, credential },
        Errand::Renewal(Renewal::MakeKey) => Action::MakeKey {
            slot: credential.key.slot.other(),
        },
        Errand::Renewal(Renewal::Enroll { key }) => Action::Renew { key, credential },
        Errand::Renewal(Renewal::Verify { successor }) => Action::Verify {
            credential: successor,
        },
    }
}

/// A member of the fleet takes note of `event`.
pub(crate) fn went_on(
    record: &Record,
    credential: Credential,
    errand: Errand,
    renewal_began: UnixTime,
    event: &Event,
) -> (Record, Action) {
    let member = |credential, errand| {
        record
            .at(Place::Provisioned {
                credential,
                errand,
                renewal_began,
            })
            .resume()
    };
    match (errand, event) {
        (Errand::ForgetBootstrap | Errand::Forget { .. }, Event::Forgotten) => {
            member(credential, Errand::None)
        }
        (Errand::None, Event::RenewalDue { at, rekey }) if may_begin(renewal_began, *at) => {
            let renewal = if *rekey {
                Renewal::MakeKey
            } else {
                Renewal::Enroll {
                    key: credential.key,
                }
            };
            let errand = Errand::Renewal(renewal);
            record
                .at(Place::Provisioned {
                    credential,
                    errand,
                    renewal_began: *at,
                })
                .resume()
        }
        (Errand::Renewal(Renewal::MakeKey), Event::KeyMade(fingerprint)) => {
            let key = Key {
                slot: credential.key.slot.other(),
                fingerprint: *fingerprint,
            };
            member(credential, Errand::Renewal(Renewal::Enroll { key }))
        }
        // The successor's certificate is in memory alone; after a power cut the device asks again.
        (Errand::Renewal(Renewal::Enroll { .. }), Event::Enrolled) => {
            (record.clone(), Action::FetchProfile)
        }
        (Errand::Renewal(Renewal::Enroll { key }), Event::ProfileFetched) => (
            record.clone(),
            Action::StoreCredential {
                key,
                slot: credential.slot.other(),
            },
        ),
        (Errand::Renewal(Renewal::Enroll { key }), Event::Stored { digest, .. }) => {
            let successor = Credential {
                key,
                slot: credential.slot.other(),
                digest: *digest,
            };
            member(credential, Errand::Renewal(Renewal::Verify { successor }))
        }
        (Errand::Renewal(Renewal::Verify { successor }), Event::Verified { at, .. }) => {
            let forget = Errand::Forget {
                key: (successor.key.slot != credential.key.slot).then_some(credential.key.slot),
                credential: credential.slot,
            };
            let (next, action) = member(successor, forget);
            (
                Record {
                    server_time: Some(*at),
                    ..next
                },
                action,
            )
        }
        (Errand::Renewal(Renewal::Verify { successor }), Event::CredentialMissing(slot))
            if *slot == successor.slot =>
        {
            member(
                credential,
                Errand::Renewal(Renewal::Enroll { key: successor.key }),
            )
        }
        // The successor doesn't need its predecessor any more.
        (Errand::Renewal(Renewal::Verify { .. }), Event::CredentialMissing(_)) => {
            record.clone().resume()
        }
        // The key is still here: ask for the certificate again, by the bootstrap credential.
        (_, Event::CredentialMissing(slot)) if *slot == credential.slot => record
            .at(Place::CredentialStore {
                key: credential.key,
            })
            .resume(),
        (_, Event::KeyMissing(slot)) if *slot == credential.key.slot => {
            record.quarantined(Quarantine::KeyLost).resume()
        }
        (Errand::Renewal(renewal), Event::WrongCertificate | Event::KeyMissing(_)) => {
            given_up(record, credential, renewal, renewal_began)
        }
        _ => record.clone().resume(),
    }
}

/// The successor was refused for good: delete it and stay with the credential in use.
pub(crate) fn given_up(
    record: &Record,
    credential: Credential,
    renewal: Renewal,
    renewal_began: UnixTime,
) -> (Record, Action) {
    let key = match renewal {
        Renewal::MakeKey => Some(credential.key.slot.other()),
        Renewal::Enroll { key } => Some(key.slot),
        Renewal::Verify { successor } => Some(successor.key.slot),
    };
    let errand = Errand::Forget {
        key: key.filter(|slot| *slot != credential.key.slot),
        credential: credential.slot.other(),
    };
    record
        .at(Place::Provisioned {
            credential,
            errand,
            renewal_began,
        })
        .resume()
}

/// Clocks of devices jump both ways, so the distance counts and not the order.
fn may_begin(began: UnixTime, at: UnixTime) -> bool {
    at.since(began).saturating_abs() >= BETWEEN_RENEWALS
}
