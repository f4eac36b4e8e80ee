//! What a member does beside its work: forgetting the bootstrap credential, and renewal.
//!
//! The credential in use stays in use until its successor has worked. Whatever goes wrong with the
//! successor, the device is a member all the time.

use imprint_identity::UnixTime;

use crate::machine::{Action, Event};
use crate::record::{Credential, Errand, Key, Member, Place, Record, Renewal};

/// What is to be done for a member's errand.
pub(crate) fn action(member: Member) -> Action {
    let Member {
        credential, errand, ..
    } = member;
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
pub(crate) fn went_on(record: &Record, member: Member, event: &Event) -> (Record, Action) {
    let credential = member.credential;
    let on = |errand| {
        record
            .at(Place::Provisioned(Member { errand, ..member }))
            .resume()
    };
    match (member.errand, event) {
        (Errand::ForgetBootstrap | Errand::Forget { .. }, Event::Forgotten) => on(Errand::None),
        (Errand::None, Event::RenewalDue { at, rekey }) if may_begin(member.renewal_began, *at) => {
            let renewal = if *rekey {
                Renewal::MakeKey
            } else {
                Renewal::Enroll {
                    key: credential.key,
                }
            };
            let errand = Errand::Renewal(renewal);
            let begun = Member {
                errand,
                renewal_began: *at,
                ..member
            };
            record.at(Place::Provisioned(begun)).resume()
        }
        (Errand::Renewal(Renewal::MakeKey), Event::KeyMade(fingerprint)) => {
            let key = Key {
                slot: credential.key.slot.other(),
                fingerprint: *fingerprint,
            };
            on(Errand::Renewal(Renewal::Enroll { key }))
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
            on(Errand::Renewal(Renewal::Verify { successor }))
        }
        (Errand::Renewal(Renewal::Verify { successor }), Event::Verified { at, .. }) => {
            let renewed = Member {
                credential: successor,
                errand: leftover(credential, successor),
                ..member
            };
            let next = record.at(Place::Provisioned(renewed)).told(*at);
            Record { losses: 0, ..next }.resume()
        }
        (Errand::Renewal(Renewal::Verify { successor }), Event::CredentialMissing(slot)) => {
            if *slot != successor.slot {
                // The successor doesn't need its predecessor any more.
                return record.clone().resume();
            }
            let errand = Errand::Renewal(Renewal::Enroll { key: successor.key });
            match record.lost_once_more() {
                Some(next) => next
                    .at(Place::Provisioned(Member { errand, ..member }))
                    .resume(),
                None => given_up(record, member),
            }
        }
        (_, Event::CredentialMissing(slot)) if *slot == credential.slot => record.credential_lost(),
        (_, Event::KeyMissing(slot)) if *slot == credential.key.slot => record.key_lost(),
        (Errand::Renewal(_), Event::WrongCertificate | Event::KeyMissing(_)) => {
            given_up(record, member)
        }
        _ => record.clone().resume(),
    }
}

/// The successor can't be had: delete it and stay with the credential in use.
pub(crate) fn given_up(record: &Record, member: Member) -> (Record, Action) {
    let Member {
        credential, errand, ..
    } = member;
    let key = match errand {
        Errand::Renewal(Renewal::Enroll { key }) => key.slot,
        Errand::Renewal(Renewal::Verify { successor }) => successor.key.slot,
        _ => credential.key.slot.other(),
    };
    let errand = Errand::Forget {
        key: (key != credential.key.slot).then_some(key),
        credential: credential.slot.other(),
    };
    record
        .at(Place::Provisioned(Member { errand, ..member }))
        .resume()
}

/// What a renewal leaves over: the old credential, and its key unless the new one uses it too.
fn leftover(old: Credential, new: Credential) -> Errand {
    Errand::Forget {
        key: (new.key.slot != old.key.slot).then_some(old.key.slot),
        credential: old.slot,
    }
}

/// Clocks of devices jump both ways, so the distance counts and not the order.
fn may_begin(began: UnixTime, at: UnixTime) -> bool {
    at.since(began).saturating_abs() >= BETWEEN_RENEWALS
}

/// A day, in seconds: renewals begin no closer together, so that a boot loop in which each renewal
/// is refused can't wear out the flash.
const BETWEEN_RENEWALS: i64 = 24 * 60 * 60;
