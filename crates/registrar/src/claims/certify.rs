//! A pending certificate for (claim, key): good for nothing but the registration of its device.

use imprint_attest::{KeyFingerprint, prove_possession};
use imprint_identity::UnixTime;
use imprint_pkix::csr::Csr;
use imprint_pkix::key::PublicKey;
use zeroize::Zeroizing;

use super::arrive::ClaimSpeaker;
use super::permit::{Asking, claim_is_good, may_ask};
use super::{fingerprint_of, ownership};
use crate::enroll::{ATTEMPTS, Chance, Origin, Registrar, random, refuse_csr, refuse_possession};
use crate::issue;
use crate::ledger::{
    Claimed, Ledger, PendingGrant, PendingRecord, RegistrationFacts, RegistrationQuery,
};
use crate::limits::network;
use crate::refusal::{Code, Refusal};
use crate::serial::{EnrollmentId, Serial};
use crate::signer::Signer;

/// A certificate that waits for its device, with the token that registers it.
#[derive(Clone)]
pub struct PendingCertificate {
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// SHA-256 of it, in hex: `certificateId`.
    pub certificate_id: String,
    /// `certificateOwnershipToken`.
    pub ownership: String,
    /// Its serial number.
    pub serial: Serial,
    /// Whether this had been answered before.
    pub again: bool,
}

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// Answers a claim's request for a certificate on the device's own key (`CreateCertificateFromCsr`).
    ///
    /// The same key asking again by the same claim gets the same certificate and the same token, also
    /// after its device was registered, while claim and certificate are good.
    pub async fn claim_certify(
        &self,
        speaker: &ClaimSpeaker,
        csr_der: &[u8],
        origin: &Origin,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<PendingCertificate, Refusal> {
        let outcome = async {
            let csr = Csr::parse(csr_der).map_err(refuse_csr)?;
            let proven = prove_possession(&csr).map_err(|error| refuse_possession(&error))?;
            let who = KeyFingerprint::of(proven.public_key().spki_der()).0;
            self.certify(speaker, proven.public_key(), Some(who), origin, chance, now)
                .await
        };
        self.noted(outcome.await, speaker, origin, now)
    }

    /// Answers a claim's request for a certificate and a key (`CreateKeysAndCertificate`). Each request
    /// gets a new key and a new certificate; the key, PKCS#8 DER, is nowhere kept.
    ///
    /// `client_id`: what the device calls itself, for its turn in a crowd. It has no key yet that would
    /// tell it from others, and devices that share a name share a turn: it is kept by claim and address.
    pub async fn claim_certify_with_key(
        &self,
        speaker: &ClaimSpeaker,
        client_id: &str,
        origin: &Origin,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<(PendingCertificate, Zeroizing<Vec<u8>>), Refusal> {
        let outcome = async {
            // Whether the claim is good, and whose turn it is, comes before any work for it.
            let facts = self
                .claim_facts(speaker, RegistrationQuery::default(), now)
                .await?;
            let product = facts.product.as_ref().ok_or(Code::ProductUnknown)?;
            let who = turn_of(speaker, client_id, &origin.address);
            self.pace_pending(product, &who, origin)?;
            let (private, spki) = self.signer().device_key().await?;
            let public = PublicKey::parse(&spki)
                .map_err(|error| Refusal::new(Code::SignerUnavailable).detail(error.to_string()))?;
            let pending = self
                .certify(speaker, &public, None, origin, chance, now)
                .await?;
            Ok((pending, private))
        };
        self.noted(outcome.await, speaker, origin, now)
    }

    /// `who` has to wait for its turn; `None`: has waited for it.
    async fn certify(
        &self,
        speaker: &ClaimSpeaker,
        public_key: &PublicKey,
        mut who: Option<[u8; 32]>,
        origin: &Origin,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<PendingCertificate, Refusal> {
        let key = KeyFingerprint::of(public_key.spki_der());
        let enrollment = EnrollmentId(random(chance));
        for _ in 0..ATTEMPTS {
            // 1. Recall, appraise: what do we know of this claim and this key?
            let query = RegistrationQuery {
                key: Some(key),
                ..RegistrationQuery::default()
            };
            let facts = self.claim_facts(speaker, query, now).await?;

            // 2. Permit: may this key have a certificate, or has it one?
            let claims_own = speaker.holder().key();
            let authorities = self.authorities();
            let asking = may_ask(key, public_key, claims_own, &facts, authorities, now)?;
            let intended = match asking {
                Asking::Settled(record) => return self.give(speaker, &record, true).await,
                Asking::Intended(record) => record,
                // 3. Newcomers come at the fleet's pace. Intend: write down what will be signed.
                Asking::New => {
                    if let Some(who) = who {
                        let product = facts.product.as_ref().ok_or(Code::ProductUnknown)?;
                        self.pace_pending(product, &who, origin)?;
                    }
                    who = None;
                    let serial = Serial::new(self.ledger().epoch(), now, random(chance));
                    let grant = self.pending_grant(
                        enrollment, speaker, &facts, public_key, serial, origin, now,
                    )?;
                    match self.ledger().pending_intend(grant, now).await? {
                        Claimed::Done(record) if record.der.is_some() => {
                            return self.give(speaker, &record, true).await;
                        }
                        Claimed::Done(record) => record,
                        Claimed::Changed => continue,
                        Claimed::UsedUp => return Err(Code::ClaimUsedUp.into()),
                        Claimed::Limited { seconds, why } => {
                            let refusal = Refusal::new(Code::ClaimLimited).detail(why);
                            return Err(refusal.after(seconds));
                        }
                    }
                }
            };
            // 4. Sign exactly what is on record; 5. settle. The first signature stays.
            let der = self
                .sign_recorded(&intended.issuer, &intended.to_be_signed)
                .await?;
            let settled = self.ledger().pending_settle(intended.serial, der, now);
            if let Some(record) = settled.await? {
                return self.give(speaker, &record, false).await;
            }
            // It was ended meanwhile: by the claim's end, or an hour's. Read which.
        }
        Err(Code::Busy.into())
    }

    /// Facts of a claim that is good, and whose certificate is.
    pub(super) async fn claim_facts(
        &self,
        speaker: &ClaimSpeaker,
        query: RegistrationQuery,
        now: UnixTime,
    ) -> Result<RegistrationFacts, Refusal> {
        let query = RegistrationQuery {
            claim: Some((speaker.name().to_owned(), speaker.fingerprint())),
            ..query
        };
        let facts = self.ledger().registration_facts(&query, now).await?;
        let claim = claim_is_good(&facts)?;
        let certificate = imprint_attest::PeerCertificate {
            der: speaker.holder().der().to_vec(),
            parsed: imprint_pkix::certificate::Certificate::parse(speaker.holder().der()).ok(),
        };
        let shown = facts.shown.as_ref().and_then(|shown| shown.der.as_deref());
        let grace = claim.claim.grace_days(facts.product.as_ref());
        // A connection may outlive the certificate that it began with.
        imprint_attest::prove_claim(&certificate, shown.unwrap_or_default(), grace, now)
            .map_err(|doubt| super::arrive::doubted_claim(claim, doubt))?;
        Ok(facts)
    }

    fn pending_grant(
        &self,
        enrollment: EnrollmentId,
        speaker: &ClaimSpeaker,
        facts: &RegistrationFacts,
        public_key: &PublicKey,
        serial: Serial,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<PendingGrant, Refusal> {
        let product = facts.product.as_ref().ok_or(Code::ProductUnknown)?;
        let key = KeyFingerprint::of(public_key.spki_der());
        let issuer = issue::issuer_of(self.authorities(), product)?;
        let (not_before, not_after) = issue::validity(product, issuer, now)?;
        let hash: String = key.to_string().chars().take(32).collect();
        let to_be_signed = issue::nameless(
            issuer,
            self.authorities().public_http(),
            &format!("pending-{hash}"),
            public_key,
            serial,
            not_before,
            not_after,
        )?;
        Ok(PendingGrant {
            enrollment,
            claim: speaker.name().to_owned(),
            shown: speaker.fingerprint(),
            key,
            serial,
            issuer: issuer.name.clone(),
            to_be_signed,
            not_before,
            not_after,
            origin_of_request: origin.clone(),
        })
    }

    /// Gives out what is on record, and nothing else.
    async fn give(
        &self,
        speaker: &ClaimSpeaker,
        record: &PendingRecord,
        again: bool,
    ) -> Result<PendingCertificate, Refusal> {
        let der = record.der.clone().ok_or_else(|| {
            Refusal::new(Code::LedgerUnavailable).detail("a settled certificate has no bytes")
        })?;
        Ok(PendingCertificate {
            certificate_id: fingerprint_of(&der).to_string(),
            ownership: ownership::token_for(self.signer(), record.serial, speaker.name()).await?,
            serial: record.serial,
            again,
            der,
        })
    }

    /// Keeps a sample of a refusal; it is about the claim where nothing closer is known.
    pub(super) fn noted<T>(
        &self,
        outcome: Result<T, Refusal>,
        speaker: &ClaimSpeaker,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<T, Refusal> {
        outcome.map_err(|refusal| {
            let refusal = match refusal.subject {
                Some(_) => refusal,
                None => refusal.about(speaker.name()),
            };
            let refusal = refusal.showing(Some(speaker.fingerprint().to_string()));
            self.note(&refusal, origin, now);
            refusal
        })
    }
}

/// Whose turn it is where the key is made here. A name can be typed at will, so it tells the devices of one
/// address from each other and no more: a claim has so many turns for an address, however many names come
/// from there, and devices whose names fall together come one after the other.
fn turn_of(speaker: &ClaimSpeaker, client_id: &str, address: &str) -> [u8; 32] {
    let [high, low, ..] = fingerprint_of(client_id.as_bytes()).0;
    let among = u16::from_be_bytes([high, low]) % TURNS_OF_AN_ADDRESS;
    let who = format!("{} {} {among}", speaker.fingerprint(), network(address));
    fingerprint_of(who.as_bytes()).0
}

/// At 50 a second they last for 20 seconds: whoever takes all of them sends others that far back, and not
/// behind as many names as it can think of.
const TURNS_OF_AN_ADDRESS: u16 = 1_024;
