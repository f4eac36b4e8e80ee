//! Devices with a TPM ask for a certificate on a key that lives in it: two questions, in JSON.
//!
//! ```text
//! POST /v1/tpm/challenge   {"product","endorsement_key","endorsement_certificate","intermediates",
//!                           "attestation_key"}
//!                          answers {"credential","nonce"}
//! POST /v1/tpm/enroll      the same, and {"secret","key","statement","signature","csr"}
//!                          answers {"device","chain","again"}
//! ```
//!
//! Everything binary is base64. Keys are `TPM2B_PUBLIC`, `statement` is the `TPMS_ATTEST` and `signature`
//! the `TPMT_SIGNATURE` of a `TPM2_Certify` over `nonce`; `credential` is `TPM2B_ID_OBJECT` and
//! `TPM2B_ENCRYPTED_SECRET` in a row. Certificates are DER. `chain` is PEM, the device's own certificate
//! first. Refusals look as everywhere below `/v1/`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imprint_est::HttpReply;
use imprint_identity::UnixTime;
use imprint_pkix::pem;
use imprint_registrar::attested::{TpmAnswer, TpmQuestion};
use imprint_registrar::refusal::{Code, Refusal};
use imprint_registrar::{Ledger, Signer};
use serde::{Deserialize, Serialize};

use crate::device::json;
use crate::devices::{Asked, Devices};
use crate::listener::Peer;

impl<L: Ledger, S: Signer> Devices<L, S> {
    pub(crate) async fn tpm_challenge(
        &self,
        asked: &Asked,
        now: UnixTime,
    ) -> Result<HttpReply, Refusal> {
        let question = read::<Question>(asked)?.question()?;
        let challenge = self
            .registrar
            .tpm_challenge(&question, &asked.origin, &*self.world.chance, now)
            .await?;
        let credential = [challenge.id_object, challenge.encrypted_secret].concat();
        Ok(json(&Challenge {
            credential: STANDARD.encode(credential),
            nonce: STANDARD.encode(challenge.nonce),
        }))
    }

    pub(crate) async fn tpm_enroll(
        &self,
        asked: &Asked,
        peer: &Peer,
        now: UnixTime,
    ) -> Result<HttpReply, Refusal> {
        let answer = read::<Answer>(asked)?.answer()?;
        let (chance, origin) = (&*self.world.chance, &asked.origin);
        let enrolled = self
            .registrar
            .tpm_enroll(&answer, peer.channel, origin, chance, now)
            .await?;
        tracing::info!(
            enrollment = %enrolled.enrollment,
            device = %enrolled.device,
            product = enrolled.product.name,
            address = asked.origin.address,
            again = enrolled.again,
            "certificate for a key in a TPM handed over"
        );
        let chain = self.registrar.authorities().chain(&enrolled.certificate);
        let chain = chain.iter().map(|der| pem::encode(pem::CERTIFICATE, der));
        Ok(json(&Enrolled {
            device: enrolled.device.as_str(),
            chain: chain.collect(),
            again: enrolled.again,
        }))
    }
}

/// Who asks: a TPM, by what is public of it.
#[derive(Deserialize)]
struct Question {
    product: String,
    endorsement_key: String,
    #[serde(default)]
    endorsement_certificate: Option<String>,
    #[serde(default)]
    intermediates: Vec<String>,
    attestation_key: String,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(flatten)]
    question: Question,
    secret: String,
    key: String,
    statement: String,
    signature: String,
    csr: String,
}

#[derive(Serialize)]
struct Challenge {
    credential: String,
    nonce: String,
}

#[derive(Serialize)]
struct Enrolled<'e> {
    device: &'e str,
    chain: String,
    again: bool,
}

impl Question {
    fn question(self) -> Result<TpmQuestion, Refusal> {
        let certificate = self.endorsement_certificate.as_deref();
        let intermediates = self.intermediates.iter().take(MOST_INTERMEDIATES);
        Ok(TpmQuestion {
            product: self.product,
            endorsement_key: bytes("endorsement_key", &self.endorsement_key)?,
            endorsement_certificate: certificate
                .map(|text| bytes("endorsement_certificate", text))
                .transpose()?,
            intermediates: intermediates
                .map(|text| bytes("intermediates", text))
                .collect::<Result<_, _>>()?,
            attestation_key: bytes("attestation_key", &self.attestation_key)?,
        })
    }
}

impl Answer {
    fn answer(self) -> Result<TpmAnswer, Refusal> {
        Ok(TpmAnswer {
            secret: bytes("secret", &self.secret)?,
            key: bytes("key", &self.key)?,
            statement: bytes("statement", &self.statement)?,
            signature: bytes("signature", &self.signature)?,
            csr: bytes("csr", &self.csr)?,
            question: self.question.question()?,
        })
    }
}

fn read<'a, T: Deserialize<'a>>(asked: &'a Asked) -> Result<T, Refusal> {
    let body = &asked.body;
    let read = (body.len() <= MOST_BYTES).then(|| serde_json::from_slice(body));
    match read {
        Some(Ok(read)) => Ok(read),
        // Not its words: they may repeat what stood there.
        Some(Err(error)) => Err(unreadable(&format!(
            "it is not the JSON that is expected (line {}, column {})",
            error.line(),
            error.column()
        ))),
        None => Err(unreadable("it is longer than any sound one")),
    }
}

fn bytes(what: &str, text: &str) -> Result<Vec<u8>, Refusal> {
    let bytes = STANDARD.decode(text.trim());
    bytes.map_err(|_| unreadable(&format!("{what} is not base64")))
}

fn unreadable(why: &str) -> Refusal {
    Refusal::new(Code::PayloadUnreadable).detail(why)
}

/// Certificates, keys and a request, in base64: far below this.
const MOST_BYTES: usize = 64 * 1_024;
const MOST_INTERMEDIATES: usize = 4;
