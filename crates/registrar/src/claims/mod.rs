//! Claims, templates and registered CAs on the road: devices that come with a certificate which is
//! not theirs yet, or not ours.
//!
//! ```text
//!            arrive            who is this certificate? a member, a claim, a newcomer
//! claim:     claim_certify     a pending certificate for (claim, key), with its ownership token
//!            claim_open        token and template are good: the door evaluates the template
//!            claim_register    permit, and one transaction: device, certificate, thing, answer
//! newcomer:  just_in_time      permit, and one transaction: device, certificate, thing
//! ```
//!
//! A claim certificate reaches nothing but these calls, and a pending certificate reaches nothing at
//! all. Every call reads the claim again: a claim that is revoked or frozen is refused at its next
//! request, whatever connection it comes on.

mod arrive;
mod certify;
pub mod definition;
mod issue;
mod just_in_time;
mod open;
mod ownership;
mod permit;
mod register;
pub mod thing;

pub use arrive::{Arrival, ClaimSpeaker, JustInTime};
pub use certify::PendingCertificate;
pub use issue::{ClaimIssued, TRUSTED_USER_SECONDS};
pub use open::Opening;
pub(crate) use permit::{Join, Joining, may_join, newcomers_key_is_welcome};
pub use register::{Registration, device_name};

use aws_lc_rs::digest;

use crate::ledger::CertificateFingerprint;

/// SHA-256 of a certificate in DER; in hex, what AWS calls a certificate id.
#[must_use]
pub fn fingerprint_of(certificate_der: &[u8]) -> CertificateFingerprint {
    let mut octets = [0; 32];
    octets.copy_from_slice(digest::digest(&digest::SHA256, certificate_der).as_ref());
    CertificateFingerprint(octets)
}
