//! What the device makes of failures: wait and try again, ask again, or rest.

use imprint_identity::Quarantine;

use crate::backoff::{QuarantineRule, Settings};
use crate::machine::Action;
use crate::record::{Errand, Failure, Member, Place, Record, Refusal, Retry};
use crate::renewal;

impl Record {
    /// The action failed or was refused.
    pub(crate) fn failed(
        &self,
        failure: &Failure,
        settings: &Settings,
        chance: u32,
    ) -> (Self, Action) {
        if self.is_idle() {
            // Nothing was asked, so only the server's word that we are out changes anything.
            let out = self.is_member() && failure.retry == Retry::Never;
            return if out {
                self.refused(failure)
            } else {
                self.clone().resume()
            };
        }
        if failure.retry == Retry::Never && !self.is_deleting() {
            return self.refused(failure);
        }
        let next = if self.attempts < settings.attempts() {
            Self {
                attempts: self.attempts + 1,
                ..self.noted(failure)
            }
        } else {
            self.noted_sparingly(failure)
        };
        let strict = settings.quarantine == QuarantineRule::Strict;
        if strict && next.attempts >= settings.attempts() && self.is_joining() {
            return next.quarantined(Quarantine::AttemptsExhausted).resume();
        }
        let ms = settings.wait_ms(next.attempts, failure.retry, chance);
        (next, Action::Wait { ms })
    }

    /// Somebody has to approve, or others go first: wait, and count nothing.
    pub(crate) fn pending(&self, failure: &Failure, ms: u32) -> (Self, Action) {
        if self.is_idle() {
            return self.clone().resume();
        }
        (self.noted_sparingly(failure), Action::Wait { ms })
    }

    /// Final. A member that only asked for a successor stays a member.
    fn refused(&self, failure: &Failure) -> (Self, Action) {
        let noted = self.noted(failure);
        match self.place {
            Place::Provisioned(
                member @ Member {
                    errand: Errand::Renewal(_),
                    ..
                },
            ) => renewal::given_up(&noted, member),
            _ => noted.quarantined(Quarantine::Refused).resume(),
        }
    }

    /// The key that the server knows is gone. Another one would look like a thief's.
    pub(crate) fn key_lost(&self) -> (Self, Action) {
        match self.place.key() {
            Some(_) => self.quarantined(Quarantine::KeyLost).resume(),
            None => self.clone().resume(),
        }
    }

    /// The credential is gone and its key is not: ask again, the same key gets the same
    /// certificate. A store that loses again and again is broken, and a person must look at it.
    pub(crate) fn credential_lost(&self) -> (Self, Action) {
        let Some(credential) = self.place.credential() else {
            return self.clone().resume();
        };
        let lost = Failure::lasting("credential-lost");
        match self.lost_once_more() {
            Some(next) => next
                .at(Place::CredentialStore {
                    key: credential.key,
                })
                .noted(&lost)
                .resume(),
            None => self
                .noted(&lost)
                .quarantined(Quarantine::AttemptsExhausted)
                .resume(),
        }
    }

    /// One loss more, unless that is too many.
    pub(crate) fn lost_once_more(&self) -> Option<Self> {
        (self.losses < LOSSES_MAX).then(|| Self {
            losses: self.losses + 1,
            ..self.clone()
        })
    }

    fn noted(&self, failure: &Failure) -> Self {
        let (code, step) = (failure.code.clone(), self.place.step());
        Self {
            refusal: Some(Refusal {
                code,
                step,
                retry: failure.retry,
            }),
            ..self.clone()
        }
    }

    /// With another cause noted, if that is news and this place's few rewrites aren't used up.
    fn noted_sparingly(&self, failure: &Failure) -> Self {
        let known = self.refusal.as_ref();
        let news =
            known.is_none_or(|known| known.code != failure.code || known.step != self.place.step());
        if !news || self.notes >= NOTES_MAX {
            return self.clone();
        }
        Self {
            notes: self.notes + 1,
            ..self.noted(failure)
        }
    }

    /// Nothing is under way.
    fn is_idle(&self) -> bool {
        matches!(
            self.place,
            Place::Blank
                | Place::Provisioned(Member {
                    errand: Errand::None,
                    ..
                })
        )
    }

    /// The action under way is local: there is nobody who could refuse it for good.
    fn is_deleting(&self) -> bool {
        matches!(
            self.place,
            Place::Wiping
                | Place::Provisioned(Member {
                    errand: Errand::ForgetBootstrap | Errand::Forget { .. },
                    ..
                })
        )
    }

    fn is_member(&self) -> bool {
        matches!(self.place, Place::Provisioned(_))
    }

    fn is_joining(&self) -> bool {
        !matches!(
            self.place,
            Place::Blank | Place::Wiping | Place::Provisioned(_)
        )
    }
}

/// How often one place may be rewritten only to name another cause.
const NOTES_MAX: u8 = 4;
/// How often a lost credential is fetched again before a person must look.
const LOSSES_MAX: u8 = 3;
