//! A claim's own certificates: issued here, or taken in from elsewhere.

use imprint_attest::{KeyFingerprint, prove_possession};
use imprint_identity::UnixTime;
use imprint_pkix::certificate::Certificate;
use imprint_pkix::csr::Csr;
use imprint_pkix::key::PublicKey;
use zeroize::Zeroizing;

use super::definition::RegisteredCa;
use super::fingerprint_of;
use crate::devices::OperatorError;
use crate::enroll::{Chance, Registrar, random};
use crate::issue;
use crate::ledger::{
    Acted, AuthorityRecord, CertificateFingerprint, ClaimCertificateGrant, ClaimRecord,
    ForeignClaimCertificate, Ledger,
};
use crate::serial::Serial;
use crate::signer::Signer;

/// A certificate of a claim, as it leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimIssued {
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// SHA-256 of it.
    pub fingerprint: CertificateFingerprint,
    /// Its last second.
    pub not_after: UnixTime,
}

/// What a trusted user gets to provision one device by hand lives so many seconds.
pub const TRUSTED_USER_SECONDS: i64 = 300;

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// Issues a certificate of a claim from a request, for `lifetime_seconds` from now. A claim may have
    /// several: the one before goes on until it is revoked or ends.
    pub async fn claim_issue(
        &self,
        claim: &str,
        csr_der: &[u8],
        lifetime_seconds: i64,
        actor: &str,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<ClaimIssued, OperatorError> {
        let not_a_request = |reason: String| OperatorError::NotARequest { reason };
        let csr = Csr::parse(csr_der).map_err(|error| not_a_request(error.to_string()))?;
        let proven = prove_possession(&csr).map_err(|error| not_a_request(error.to_string()))?;
        let key = proven.public_key();
        self.claim_sign(claim, key, lifetime_seconds, actor, chance, now)
            .await
    }

    /// The same with a key that is made here, PKCS#8 DER, and nowhere kept: what a trusted user gets
    /// for one device, with [`TRUSTED_USER_SECONDS`].
    pub async fn claim_issue_with_key(
        &self,
        claim: &str,
        lifetime_seconds: i64,
        actor: &str,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<(ClaimIssued, Zeroizing<Vec<u8>>), OperatorError> {
        let (private, spki) = self.signer().device_key().await?;
        let key = PublicKey::parse(&spki).map_err(|error| OperatorError::NotARequest {
            reason: error.to_string(),
        })?;
        let issued = self
            .claim_sign(claim, &key, lifetime_seconds, actor, chance, now)
            .await?;
        Ok((issued, private))
    }

    /// Intend, sign, settle, as for every certificate.
    async fn claim_sign(
        &self,
        claim: &str,
        public_key: &PublicKey,
        lifetime_seconds: i64,
        actor: &str,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<ClaimIssued, OperatorError> {
        let record = self.claim_record(claim).await?;
        let key = KeyFingerprint::of(public_key.spki_der());
        let owner = self
            .ledger()
            .registration_facts(
                &crate::ledger::RegistrationQuery {
                    key: Some(key),
                    ..crate::ledger::RegistrationQuery::default()
                },
                now,
            )
            .await?
            .key_owner;
        if owner.is_some() || self.authorities().owns(key) {
            return Err(OperatorError::NotARequest {
                reason: "its key belongs to a device or an authority".to_owned(),
            });
        }
        let issuer = self.authorities().issuing();
        let unsound = |reason: String| OperatorError::NotAdoptable { reason };
        let (from, until) = (
            issuer.certificate.not_before(),
            issuer.certificate.not_after(),
        );
        if lifetime_seconds < 1 || now < from || now >= until {
            return Err(OperatorError::Lifetime);
        }
        let serial = Serial::new(self.ledger().epoch(), now, random(chance));
        let (not_before, not_after) = (
            now.plus(-BACKDATE_SECONDS).max(from),
            now.plus(lifetime_seconds).min(until),
        );
        let to_be_signed = issue::nameless(
            issuer,
            self.authorities().public_http(),
            &format!("claim-{}", record.claim.name),
            public_key,
            serial,
            not_before,
            not_after,
        )
        .map_err(|refusal| unsound(refusal.to_string()))?;
        let grant = ClaimCertificateGrant {
            claim: record.claim.name.clone(),
            serial,
            issuer: issuer.name.clone(),
            to_be_signed,
            key,
            not_before,
            not_after,
        };
        let to_be_signed = grant.to_be_signed.clone();
        let intended = self.ledger().claim_certificate_intend(grant, actor, now);
        done(claim, intended.await?)?;
        let signature = self.signer().sign(&issuer.key, &to_be_signed).await?;
        let der = imprint_pkix::certificate::assemble(&to_be_signed, issuer.algorithm, &signature);
        let fingerprint = fingerprint_of(&der);
        let settled = self
            .ledger()
            .claim_certificate_settle(serial, fingerprint, der, now)
            .await?;
        let der = settled.ok_or_else(|| OperatorError::ClaimNotNow {
            name: claim.to_owned(),
            state: "revoked",
        })?;
        Ok(ClaimIssued {
            fingerprint: fingerprint_of(&der),
            der,
            not_after,
        })
    }

    /// Takes a claim certificate in that somebody else issued, such as one that devices in the field
    /// have from a cloud. Who issued it is not looked at: its fingerprint on record and possession of
    /// its key are the proof.
    pub async fn claim_take_in(
        &self,
        claim: &str,
        certificate_der: Vec<u8>,
        actor: &str,
        now: UnixTime,
    ) -> Result<ClaimRecord, OperatorError> {
        let certificate =
            Certificate::parse(&certificate_der).map_err(|_| OperatorError::NotACertificate)?;
        let not_adoptable = |reason: &str| OperatorError::NotAdoptable {
            reason: reason.to_owned(),
        };
        if certificate.is_ca() {
            return Err(not_adoptable("it is an authority's"));
        }
        let key = KeyFingerprint::of(certificate.spki_der());
        let query = crate::ledger::RegistrationQuery {
            key: Some(key),
            serial: Some(self.serial_of(&imprint_attest::PeerCertificate {
                der: certificate_der.clone(),
                parsed: Some(certificate.clone()),
            })),
            ..crate::ledger::RegistrationQuery::default()
        };
        let facts = self.ledger().registration_facts(&query, now).await?;
        // A device's identity is never shared with others.
        if facts.key_owner.is_some() || facts.certificate.is_some() || facts.pending.is_some() {
            return Err(not_adoptable("it is on record as a device's"));
        }
        let foreign = ForeignClaimCertificate {
            fingerprint: fingerprint_of(&certificate_der),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            der: certificate_der,
        };
        let adopted = self
            .ledger()
            .claim_certificate_adopt(claim, foreign, actor, now);
        done(claim, adopted.await?)
    }

    async fn claim_record(&self, claim: &str) -> Result<ClaimRecord, OperatorError> {
        let record = self.ledger().claim_get(claim).await?;
        record.ok_or_else(|| OperatorError::NoClaim {
            name: claim.to_owned(),
        })
    }

    /// The code that has to be the common name of the certificate by which a CA proves that its key is
    /// at hand: 64 hex digits, always the same on this server.
    pub async fn registration_code(&self) -> Result<String, OperatorError> {
        let mac = self.signer().token_mac(REGISTRATION_DOMAIN).await?;
        Ok(CertificateFingerprint(mac).to_string())
    }

    /// Reads a CA that is to be registered, and checks that it may be: by a certificate on the
    /// registration code that it has signed, or, in SNI-only mode, without.
    pub async fn ca_register(
        &self,
        ca: RegisteredCa,
        proof_der: Option<&[u8]>,
    ) -> Result<AuthorityRecord, OperatorError> {
        let certificate = ca.check()?;
        let not_adoptable = |reason: &str| OperatorError::NotAdoptable {
            reason: reason.to_owned(),
        };
        let ours = |name: &[u8]| {
            let mut known = self.authorities().known().iter();
            known.any(|authority| authority.subject_der == name)
        };
        // By its issuer's name a certificate is taken for ours.
        if ours(certificate.subject_der()) {
            return Err(not_adoptable("it has the name of an authority of ours"));
        }
        if ca.mode == super::definition::CaMode::Default {
            let proof = proof_der
                .and_then(|der| Certificate::parse_any_version(der).ok())
                .ok_or_else(|| not_adoptable("give a certificate on the registration code"))?;
            let code = self.registration_code().await?;
            let named = proof
                .common_name()
                .is_some_and(|name| name.eq_ignore_ascii_case(&code));
            let signed = certificate.public_key().is_ok_and(|key| {
                imprint_attest::verify_signature(
                    key,
                    &proof.signature_algorithm(),
                    proof.to_be_signed(),
                    proof.signature(),
                )
                .is_ok()
            });
            if !named || !signed || proof.issuer_der() != certificate.subject_der() {
                return Err(not_adoptable(
                    "the proof is not a certificate on the registration code, signed by it",
                ));
            }
        }
        Ok(AuthorityRecord {
            subject_der: certificate.subject_der().to_vec(),
            der: certificate.der().to_vec(),
            ca,
        })
    }
}

fn done<T>(claim: &str, acted: Acted<T>) -> Result<T, OperatorError> {
    let name = || claim.to_owned();
    match acted {
        Acted::Done(done) => Ok(done),
        Acted::Absent => Err(OperatorError::NoClaim { name: name() }),
        Acted::NotNow { state } => Err(OperatorError::ClaimNotNow {
            name: name(),
            state,
        }),
    }
}

/// For devices whose clock is behind.
const BACKDATE_SECONDS: i64 = 3_600;
/// Longer than any one-time token's secret, and unlike an ownership token's message.
const REGISTRATION_DOMAIN: &[u8] = b"imprint CA registration code\0";
