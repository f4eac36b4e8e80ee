//! A member's life: its certificate gets a successor at two thirds of its lifetime. The old one
//! stays until the new one has been used (the machine sees to that).

use std::time::Duration;

use imprint_device::{Credential, Event};
use imprint_identity::UnixTime;
use imprint_pkix::certificate::Certificate;

use crate::agent::{Agent, End, Ran};
use crate::calls::Profile;
use crate::error::AgentError;
use crate::store::StoredCredential;

/// When a certificate should get a successor: when its profile says so, but while it still lives,
/// else after two thirds of its lifetime. `None`: it has no end.
pub fn due(not_before: UnixTime, not_after: UnixTime, profile: &Profile) -> Option<UnixTime> {
    let lifetime = not_after.since(not_before);
    let own = not_before.plus(lifetime / 3 * 2);
    let told = profile.renew_after.map(UnixTime);
    let told = told.filter(|at| (not_before..not_after).contains(at));
    match (not_after, told) {
        (UnixTime::NO_EXPIRY, None) => None,
        (_, told) => Some(told.unwrap_or(own)),
    }
}

impl StoredCredential {
    /// When this credential should get a successor.
    pub fn renewal_due(&self) -> Option<UnixTime> {
        let leaf = Certificate::parse(self.chain.first()?).ok()?;
        let profile = Profile::of(&self.profile);
        due(leaf.not_before(), leaf.not_after(), &profile)
    }
}

impl Agent {
    /// Renews now, if the credential in use is due. Says whether a renewal began.
    pub async fn renew_if_due(&mut self) -> Result<Renewed, AgentError> {
        let Some(credential) = self.record().credential() else {
            return Ok(Renewed::NotDue);
        };
        let Some(due) = self.due_of(credential)? else {
            return Ok(Renewed::NotDue);
        };
        match self.now().await {
            Some(now) if now >= due => self.renew_now(now).await,
            _ => Ok(Renewed::NotDue),
        }
    }

    /// Renews whether it is due or not; at most once a day.
    pub async fn renew_now(&mut self, at: UnixTime) -> Result<Renewed, AgentError> {
        let before = self.record().credential();
        let due = Event::RenewalDue {
            at,
            rekey: self.settings.rekey,
        };
        if self.run(due).await? == Ran::PowerCut {
            return Ok(Renewed::PowerCut);
        }
        let after = self.record().credential();
        Ok(if before == after {
            Renewed::Refused
        } else {
            Renewed::Done
        })
    }

    /// Lives as a member, until the device rests in quarantine or its power is cut.
    pub async fn stay(mut self) -> Result<End, AgentError> {
        loop {
            if self.renew_if_due().await? == Renewed::PowerCut {
                return Ok(End::PowerCut);
            }
            if let Some(reason) = self.record().quarantine {
                return Ok(End::Quarantined(reason, Box::new(self)));
            }
            self.idle(BETWEEN_LOOKS).await;
        }
    }

    fn due_of(&self, credential: Credential) -> Result<Option<UnixTime>, AgentError> {
        let stored = self.store.credential(credential.slot)?;
        Ok(stored.and_then(|stored| stored.renewal_due()))
    }

    /// The time: by a clock that is believed, else asked for now. What was told earlier does not
    /// count, because the counter behind it stands still while the device sleeps.
    async fn now(&mut self) -> Option<UnixTime> {
        match self.believed_clock() {
            Some(now) => Some(now),
            None => self.learn_time().await.ok(),
        }
    }
}

/// What came of looking at a certificate's age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// It is young enough, or has no end, or the time is not known.
    NotDue,
    /// The successor is in use.
    Done,
    /// There is no successor now; the one in use stays.
    Refused,
    /// The observer cut the power.
    PowerCut,
}

/// Often enough for lifetimes of days; a device without a clock asks the server each time.
const BETWEEN_LOOKS: Duration = Duration::from_hours(6);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_due_at_two_thirds_or_when_the_profile_says() {
        let end = UnixTime::NO_EXPIRY;
        for (not_before, not_after, renew_after, want) in [
            (UnixTime(0), UnixTime(300), None, Some(200)),
            (UnixTime(1_000), UnixTime(1_300), Some(1_100), Some(1_100)),
            // A profile that names a time outside the lifetime is not believed.
            (UnixTime(1_000), UnixTime(1_300), Some(1_300), Some(1_200)),
            (UnixTime(1_000), UnixTime(1_300), Some(5), Some(1_200)),
            (UnixTime(1_000), end, None, None),
            (UnixTime(1_000), end, Some(2_000), Some(2_000)),
        ] {
            let profile = Profile {
                renew_after,
                ..Profile::default()
            };
            let got = due(not_before, not_after, &profile);
            assert_eq!(
                got,
                want.map(UnixTime),
                "{not_before:?} {not_after:?} {renew_after:?}"
            );
        }
    }
}
