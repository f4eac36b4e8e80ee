//! Revocation lists: one full list for each issuing authority, renewed ahead of time.

use imprint_identity::UnixTime;
use imprint_pkix::crl::{Reason, Revoked, TbsCrl};

use crate::authority::Issuer;
use crate::enroll::Registrar;
use crate::ledger::{CrlFacts, CrlRecord, Ledger, LedgerError};
use crate::signer::{Signer, SignerError};

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// Makes and publishes what is due: a list is due when there is none, when something was revoked
    /// after it, or when a seventh of its life is over; `force` makes every list anew. Answers the
    /// current list of every issuer.
    pub async fn crl_renew(&self, now: UnixTime, force: bool) -> Result<Vec<CrlRecord>, CrlError> {
        let mut current = Vec::new();
        for issuer in self.authorities().issuers() {
            let facts = self.ledger().crl_facts(&issuer.name, now).await?;
            match &facts.current {
                Some(crl) if !force && !due(&facts, crl, now) => current.push(crl.clone()),
                _ => current.push(self.publish(issuer, &facts, now).await?),
            }
        }
        Ok(current)
    }

    async fn publish(
        &self,
        issuer: &Issuer,
        facts: &CrlFacts,
        now: UnixTime,
    ) -> Result<CrlRecord, CrlError> {
        // Numbers only grow, also after a restore: the clock's seconds are ahead of any number that
        // a lost ledger can have given, unless lists were made faster than one a second.
        let last = facts.current.as_ref().map_or(0, |crl| crl.number);
        let number = (last + 1).max(u64::try_from(now.0).unwrap_or(0));
        let next_update = now.plus(LIFE_SECONDS);
        let revoked: Vec<_> = facts
            .revoked
            .iter()
            .map(|(serial, at, reason)| Revoked {
                serial: serial.0.to_vec(),
                revoked_at: *at,
                // No reason is how "unspecified" is said (RFC 5280 section 5.3.1).
                reason: Reason::from_code(reason.number()),
            })
            .collect();
        let list = TbsCrl {
            issuer_der: issuer.certificate.subject_der(),
            authority_key_id: issuer.key_id,
            number,
            this_update: now,
            next_update,
            revoked: &revoked,
            signature_algorithm: issuer.algorithm,
        };
        let unsound = |reason: String| CrlError::Unsound {
            issuer: issuer.name.clone(),
            reason,
        };
        let to_be_signed = list.to_be_signed();
        let signature = self.signer().sign(&issuer.key, &to_be_signed).await?;
        let crl = CrlRecord {
            issuer: issuer.name.clone(),
            number,
            der: imprint_pkix::crl::assemble(&to_be_signed, issuer.algorithm, &signature),
            this_update: now,
            next_update,
            through: facts.through,
        };
        if self.ledger().crl_publish(crl.clone(), now).await? {
            return Ok(crl);
        }
        // Another node was faster; its list says at least as much as was on record when we read.
        let facts = self.ledger().crl_facts(&issuer.name, now).await?;
        facts
            .current
            .ok_or_else(|| unsound("no list is on record".to_owned()))
    }
}

fn due(facts: &CrlFacts, crl: &CrlRecord, now: UnixTime) -> bool {
    // A clock that went back far would otherwise leave a list from the future in place.
    let ahead = now < crl.this_update.plus(-86_400);
    facts.stale || ahead || now.since(crl.this_update) >= RENEW_SECONDS
}

/// Why a list could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrlError {
    /// The list would not be sound.
    #[error("the revocation list of {issuer:?} can't be made: {reason}")]
    Unsound {
        /// The issuer's name.
        issuer: String,
        /// Why.
        reason: String,
    },
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The signer.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

/// A list's life. A signer that is out for six days harms nobody.
const LIFE_SECONDS: i64 = 7 * 86_400;
const RENEW_SECONDS: i64 = 86_400;
