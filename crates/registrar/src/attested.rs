//! An LDevID for a key that lives in a TPM: the device's own key, certified by an attestation key which
//! only the TPM with this endorsement key can have.
//!
//! ```text
//! device   endorsement key, attestation key      tpm_challenge   nothing is proven by that
//! server   a secret, sealed for this TPM and this attestation key; and a nonce
//! device   TPM2_ActivateCredential gives the secret; TPM2_Certify of its key, over the nonce
//! device   secret, statement, key, request       tpm_enroll      the road, and a certificate
//! ```
//!
//! What each part proves: the endorsement key says which TPM it is, because the operator has listed it
//! or its maker has certified it. The secret says that the attestation key is in that TPM. The statement
//! says that the device's key is there too, made there and never to leave. The request says that the
//! device can use it.
//!
//! Secret and nonce are MACs over all of that and five minutes, and on record nowhere, as for the
//! entries of TPMs (`entries/tpm.rs`): any node takes the answer to what another asked.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use imprint_attest::tpm::{
    AttestationKey, Certified, EndorsementKey, Public, SealEntropy, TpmError, make_credential,
    prove_certified, prove_endorsement,
};
use imprint_identity::{HardwareId, IdentityStrength, UnixTime};
use imprint_pkix::certificate::Certificate;
use imprint_pkix::csr::Csr;

use crate::door::Door;
use crate::enroll::{
    Chance, Channel, Enrolled, EnrollmentRequest, Kind, Origin, Registrar, Shown, Vouched, random,
    refuse_csr,
};
use crate::ledger::{Generation, Ledger, RegistrationFacts, RegistrationQuery};
use crate::refusal::{Code, Refusal};
use crate::signer::Signer;

/// A TPM that asks to be challenged. Everything is as it came from the device.
#[derive(Debug, Clone)]
pub struct TpmQuestion {
    /// The product that it would join.
    pub product: String,
    /// Which TPM it is: a `TPM2B_PUBLIC`.
    pub endorsement_key: Vec<u8>,
    /// Its maker's word for that, DER, as it lies in the TPM's NV.
    pub endorsement_certificate: Option<Vec<u8>>,
    /// What leads from there to an authority of the maker's that the product names, DER.
    pub intermediates: Vec<Vec<u8>>,
    /// The key that will certify the device's: a `TPM2B_PUBLIC`.
    pub attestation_key: Vec<u8>,
}

/// What only that TPM can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmChallenge {
    /// `TPM2B_ID_OBJECT` and `TPM2B_ENCRYPTED_SECRET` for `TPM2_ActivateCredential`.
    pub id_object: Vec<u8>,
    /// See `id_object`.
    pub encrypted_secret: Vec<u8>,
    /// `qualifyingData` for `TPM2_Certify`.
    pub nonce: [u8; 32],
}

/// The answer, with the key that is to be certified.
#[derive(Clone)]
pub struct TpmAnswer {
    /// Who answers, again.
    pub question: TpmQuestion,
    /// What `TPM2_ActivateCredential` gave.
    pub secret: Vec<u8>,
    /// The device's own key: a `TPM2B_PUBLIC`.
    pub key: Vec<u8>,
    /// What `TPM2_Certify` stated: a `TPMS_ATTEST`.
    pub statement: Vec<u8>,
    /// By the attestation key: a `TPMT_SIGNATURE`.
    pub signature: Vec<u8>,
    /// PKCS#10, DER, signed by the device's own key.
    pub csr: Vec<u8>,
}

/// A TPM that the fleet knows, with an attestation key that may be in it.
struct Expected {
    endorsement: EndorsementKey,
    attestation: AttestationKey,
    hardware: HardwareId,
    strength: IdentityStrength,
}

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// Challenges a TPM that the fleet knows. Nothing is written down.
    pub async fn tpm_challenge(
        &self,
        question: &TpmQuestion,
        origin: &Origin,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<TpmChallenge, Refusal> {
        let outcome = async {
            let expected = self.expected(question, now).await?;
            let of = window(now);
            let secret = self.mac(SECRET, question, &expected, of).await?;
            let nonce = self.mac(NONCE, question, &expected, of).await?;
            let entropy: SealEntropy = random(chance);
            let name = expected.attestation.public().name();
            let sealed = make_credential(&expected.endorsement, &name, &secret, &entropy);
            let sealed = sealed.map_err(refuse)?;
            Ok(TpmChallenge {
                id_object: sealed.id_object,
                encrypted_secret: sealed.encrypted_secret,
                nonce,
            })
        };
        let outcome = outcome.await;
        self.tpm_noted(question, outcome, origin, now)
    }

    /// Issues a certificate for a key that a TPM has certified, once: the same key gets the same one. The
    /// TPM is the device, so it may come with another key, which takes the place of the first when it is
    /// used.
    pub async fn tpm_enroll(
        &self,
        answer: &TpmAnswer,
        channel: Channel,
        origin: &Origin,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<Enrolled, Refusal> {
        let outcome = async {
            let question = &answer.question;
            // 1. Which TPM is this, and who vouches for it?
            let expected = self.expected(question, now).await?;
            // 2. Is the attestation key in it?
            let of = self.has_opened(answer, &expected, now).await?;
            // 3. Is the device's key there too, and stated so to us, now?
            let certified = self.has_certified(answer, &expected, of).await?;
            // 4. Is that the key which is to be certified? That it can be used, the road finds out.
            let csr = Csr::parse(&answer.csr).map_err(refuse_csr)?;
            if csr.public_key().spki_der() != certified.public_key().spki_der() {
                let detail = "the request is for another key than the one in the TPM";
                return Err(Refusal::new(Code::TpmKeyOther).detail(detail));
            }
            // 5. The road.
            let request = EnrollmentRequest {
                kind: Kind::Enroll,
                product: Some(question.product.clone()),
                shown: Shown::Vouched(Vouched {
                    hardware: expected.hardware,
                    strength: expected.strength,
                    name: None,
                    bound: true,
                    one_key: false,
                    served: false,
                    generation: Generation::Attested,
                    door: Door::Est,
                }),
                csr: answer.csr.clone(),
                channel,
                origin: origin.clone(),
            };
            self.walk(&request, chance, now).await
        };
        let outcome = Box::pin(outcome).await;
        self.tpm_noted(&answer.question, outcome, origin, now)
    }

    /// A TPM that somebody vouches for: its maker's certificate, or the operator's list; or it is in.
    async fn expected(&self, question: &TpmQuestion, now: UnixTime) -> Result<Expected, Refusal> {
        let endorsement = EndorsementKey::new(public(&question.endorsement_key)?);
        let endorsement = endorsement.map_err(refuse)?;
        let attestation = AttestationKey::new(public(&question.attestation_key)?);
        let attestation = attestation.map_err(refuse)?;
        let hardware = hardware_of(&endorsement)?;
        let query = RegistrationQuery {
            product: Some(question.product.clone()),
            hardware: Some(hardware.clone()),
            ..RegistrationQuery::default()
        };
        let facts = self.ledger().registration_facts(&query, now).await?;
        let strength = vouched(question, &endorsement, &facts, now)?;
        Ok(Expected {
            endorsement,
            attestation,
            hardware,
            strength,
        })
    }

    /// Whether the TPM gave out the secret; answers when it was asked for.
    async fn has_opened(
        &self,
        answer: &TpmAnswer,
        expected: &Expected,
        now: UnixTime,
    ) -> Result<i64, Refusal> {
        let latest = window(now);
        // One later: the node that gave it may be ahead of this one.
        for (age, of) in (latest - OLDEST..=latest + 1).rev().enumerate() {
            let secret = self.mac(SECRET, &answer.question, expected, of).await?;
            if verify_slices_are_equal(&secret, &answer.secret).is_ok() {
                if age > GOOD {
                    return Err(Code::TpmAnswerLate.into());
                }
                return Ok(of);
            }
        }
        Err(Code::TpmAnswerWrong.into())
    }

    async fn has_certified(
        &self,
        answer: &TpmAnswer,
        expected: &Expected,
        of: i64,
    ) -> Result<Certified, Refusal> {
        let key = public(&answer.key)?;
        let nonce = self.mac(NONCE, &answer.question, expected, of).await?;
        let (statement, signature) = (&answer.statement, &answer.signature);
        prove_certified(&expected.attestation, statement, signature, &nonce, &key).map_err(refuse)
    }

    /// Good for one TPM, one attestation key, one product and five minutes.
    async fn mac(
        &self,
        what: &[u8],
        question: &TpmQuestion,
        expected: &Expected,
        window: i64,
    ) -> Result<[u8; 32], Refusal> {
        let hardware = expected.hardware.text();
        let name = expected.attestation.public().name();
        // Neither text has a zero octet.
        let message = [
            what,
            hardware.as_str().as_bytes(),
            &[0],
            question.product.as_bytes(),
            &[0],
            &window.to_be_bytes(),
            name.as_bytes(),
        ];
        Ok(self.signer().token_mac(&message.concat()).await?)
    }

    /// Counts guesses, says whom a refusal is about, and keeps a sample of it.
    fn tpm_noted<T>(
        &self,
        question: &TpmQuestion,
        outcome: Result<T, Refusal>,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<T, Refusal> {
        let endorsement = Public::parse(&question.endorsement_key).ok();
        let endorsement = endorsement.and_then(|public| EndorsementKey::new(public).ok());
        let hardware = endorsement.and_then(|key| hardware_of(&key).ok());
        outcome.map_err(|refusal| {
            let is_guess = matches!(refusal.code, Code::TpmUnknown | Code::TpmAnswerWrong);
            let refusal = if is_guess {
                if let Err(limited) = self.may_guess(origin, hardware.as_ref(), now) {
                    limited
                } else {
                    self.guessed(origin, hardware.as_ref(), now);
                    refusal
                }
            } else {
                refusal
            };
            let refusal = match (&refusal.subject, &hardware) {
                (None, Some(hardware)) => refusal.about(hardware.text().as_str()),
                _ => refusal,
            };
            let refusal = refusal.showing(Some("TPM".to_owned()));
            self.note(&refusal, origin, now);
            refusal
        })
    }
}

/// Who vouches for a TPM, and how strongly.
fn vouched(
    question: &TpmQuestion,
    endorsement: &EndorsementKey,
    facts: &RegistrationFacts,
    now: UnixTime,
) -> Result<IdentityStrength, Refusal> {
    let product = facts.product.as_ref().ok_or(Code::ProductUnknown)?;
    let makers = product.tpm_makers();
    let doubt = match &question.endorsement_certificate {
        Some(_) if makers.is_empty() => "the product names no maker of TPMs".to_owned(),
        Some(certificate) => {
            let sent = question.intermediates.iter().take(MOST_SENT);
            let sent: Vec<_> = sent
                .filter_map(|der| Certificate::parse(der).ok())
                .collect();
            match prove_endorsement(endorsement, certificate, &sent, &makers, now) {
                Ok(_) => return Ok(IdentityStrength::VendorProven),
                Err(doubt) => doubt.to_string(),
            }
        }
        None => "it has shown no certificate".to_owned(),
    };
    if facts.allowed {
        return Ok(IdentityStrength::ElementKey);
    }
    // What was promised once is not taken back by a list for newcomers.
    let known = facts
        .device
        .as_ref()
        .filter(|known| known.product == product.name);
    if let Some(known) = known.filter(|known| known.state.is_registered()) {
        return Ok(known.strength);
    }
    let detail = format!(
        "it is not on the allowlist of {}, and {doubt}",
        product.name
    );
    Err(Refusal::new(Code::TpmUnknown).detail(detail))
}

/// By its endorsement key a device with a TPM is known: SHA-256 over the SubjectPublicKeyInfo.
fn hardware_of(endorsement: &EndorsementKey) -> Result<HardwareId, Refusal> {
    let spki = endorsement.public().public_key().spki_der();
    let hash = hex::encode(digest::digest(&digest::SHA256, spki));
    HardwareId::parse(&format!("tpm-ek:{hash}"))
        .map_err(|error| Refusal::new(Code::HardwareInvalid).detail(error.to_string()))
}

fn public(bytes: &[u8]) -> Result<Public, Refusal> {
    Public::parse(bytes).map_err(refuse)
}

fn refuse(error: TpmError) -> Refusal {
    let code = match error {
        // Once in 2^32: the next try draws others.
        TpmError::Entropy => Code::Busy,
        TpmError::Attributes { .. } | TpmError::Template => Code::TpmKeyUnsound,
        TpmError::Signature | TpmError::Statement => Code::TpmStatementWrong,
        TpmError::Nonce => Code::TpmNonceWrong,
        TpmError::OtherKey => Code::TpmKeyOther,
        _ => Code::TpmUnreadable,
    };
    Refusal::new(code).detail(error.to_string())
}

/// In which of the windows a moment is.
const fn window(now: UnixTime) -> i64 {
    now.0.div_euclid(300)
}

/// Windows, from the one ahead of us: that one, the one that is now, the one before.
const GOOD: usize = 2;
/// Windows in which an answer is still known for what it was: an hour.
const OLDEST: i64 = 12;
/// As far as a maker's chain goes.
const MOST_SENT: usize = 4;
const SECRET: &[u8] = b"imprint tpm credential\0";
const NONCE: &[u8] = b"imprint tpm certification\0";
