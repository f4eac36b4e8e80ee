//! What a TPM states and signs (TCG TPM 2.0 Library, part 2, sections 10.12 and 11.3).
//!
//! ```text
//! TPMS_ATTEST      u32 magic, u16 type, TPM2B qualifiedSigner, TPM2B extraData, clock, u64 firmware,
//!                  certify: TPM2B name, TPM2B qualifiedName
//!                  quote:   u32 count, count times (u16 hash, u8 size, size octets), TPM2B pcrDigest
//! TPMT_SIGNATURE   u16 scheme, u16 hash,  ECDSA: TPM2B r, TPM2B s   RSA: TPM2B signature
//! ```

use imprint_pkix::ecdsa_signature_der;
use imprint_pkix::key::PublicKey;

use super::public::{AttestationKey, ECDSA, Hash, Public, signature_algorithm};
use super::read::{Reader, TpmError};
use crate::signature::verify_signature;

/// Proof that a key lives in the same TPM as an attestation key, with the attributes that its public
/// area says. Only [`prove_certified`] makes one.
#[derive(Debug, Clone)]
pub struct Certified {
    key: Public,
    firmware: u64,
}

impl Certified {
    /// The key.
    #[must_use]
    pub const fn public(&self) -> &Public {
        &self.key
    }

    /// The same key as certificates carry it.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    /// The TPM's firmware, in its maker's counting.
    #[must_use]
    pub const fn firmware(&self) -> u64 {
        self.firmware
    }
}

/// Proof that a TPM has stated these values of its registers for this nonce. Only [`prove_quote`]
/// makes one.
#[derive(Debug, Clone)]
pub struct Quoted {
    selection: Vec<(Hash, Vec<u8>)>,
    firmware: u64,
}

impl Quoted {
    /// Which registers: for each hash, the numbers of its registers.
    #[must_use]
    pub fn selection(&self) -> &[(Hash, Vec<u8>)] {
        &self.selection
    }

    /// The TPM's firmware, in its maker's counting.
    #[must_use]
    pub const fn firmware(&self) -> u64 {
        self.firmware
    }
}

/// Checks a `TPM2_Certify` of `key` by `attestation_key`: `statement` is the `TPMS_ATTEST`,
/// `signature` the `TPMT_SIGNATURE`, `nonce` what the server has asked for.
///
/// `attestation_key` must have been proven by a credential first ([`super::make_credential`]): anybody
/// can write a public area with these attributes.
pub fn prove_certified(
    attestation_key: &AttestationKey,
    statement: &[u8],
    signature: &[u8],
    nonce: &[u8],
    key: &Public,
) -> Result<Certified, TpmError> {
    let (mut body, firmware) = opened(attestation_key, statement, signature, nonce, CERTIFY)?;
    let name = body.sized(MAX_NAME, WHAT)?;
    body.sized(MAX_NAME, WHAT)?;
    body.finish(WHAT)?;
    if name != key.name().as_bytes() {
        return Err(TpmError::OtherKey);
    }
    if !key.is_device_key() {
        let role = "a device's key";
        let attributes = key.attributes().0;
        return Err(TpmError::Attributes { role, attributes });
    }
    Ok(Certified {
        key: key.clone(),
        firmware,
    })
}

/// Checks a `TPM2_Quote` by `attestation_key`. `values` are those of the registers that the statement
/// selects, in its order, concatenated; the TPM states their hash. What the values should be is
/// somebody else's to say.
pub fn prove_quote(
    attestation_key: &AttestationKey,
    statement: &[u8],
    signature: &[u8],
    nonce: &[u8],
    values: &[u8],
) -> Result<Quoted, TpmError> {
    let (mut body, firmware) = opened(attestation_key, statement, signature, nonce, QUOTE)?;
    let count = body.u32(WHAT)?;
    if count > MAX_SELECTIONS {
        return Err(TpmError::Long { what: WHAT });
    }
    let mut selection = Vec::new();
    for _ in 0..count {
        let hash = Hash::from_id(body.u16(WHAT)?, "register bank")?;
        let octets = usize::from(body.u8(WHAT)?);
        if octets > MAX_REGISTER_OCTETS {
            return Err(TpmError::Long { what: WHAT });
        }
        selection.push((hash, registers(body.take(octets, WHAT)?)));
    }
    let digest = body.sized(MAX_NAME, WHAT)?;
    body.finish(WHAT)?;
    // The digest is by the hash of the signature's scheme.
    let hash = Hash::from_id(
        Reader::new(signature.get(2..).unwrap_or_default()).u16(WHAT)?,
        WHAT,
    )?;
    if digest != hash.of(values) {
        return Err(TpmError::OtherValues);
    }
    Ok(Quoted {
        selection,
        firmware,
    })
}

/// The numbers of the bits that are set, the lowest bit of the first octet being 0.
fn registers(bitmap: &[u8]) -> Vec<u8> {
    let numbers = (0_u8..).take(bitmap.len() * 8);
    let is_set = |number: &u8| {
        let octet = bitmap.get(usize::from(number / 8));
        octet.is_some_and(|octet| octet & (1 << (number % 8)) != 0)
    };
    numbers.filter(is_set).collect()
}

/// Checks signature, kind and nonce, and hands out the part that depends on the kind.
fn opened<'s>(
    attestation_key: &AttestationKey,
    statement: &'s [u8],
    signature: &[u8],
    nonce: &[u8],
    kind: u16,
) -> Result<(Reader<'s>, u64), TpmError> {
    if statement.len() > MAX_STATEMENT {
        return Err(TpmError::Long { what: WHAT });
    }
    verify(attestation_key.public().public_key(), statement, signature)?;
    let mut fields = Reader::new(statement);
    // A restricted key signs nothing else that begins so: this is what makes it the TPM's word.
    if (fields.u32(WHAT)?, fields.u16(WHAT)?) != (MAGIC, kind) {
        return Err(TpmError::Statement);
    }
    fields.sized(MAX_NAME, WHAT)?;
    if fields.sized(MAX_NONCE, WHAT)? != nonce {
        return Err(TpmError::Nonce);
    }
    fields.u64(WHAT)?;
    fields.u32(WHAT)?;
    fields.u32(WHAT)?;
    fields.u8(WHAT)?;
    let firmware = fields.u64(WHAT)?;
    Ok((fields, firmware))
}

fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> Result<(), TpmError> {
    const SIGNATURE: &str = "signature";
    let mut fields = Reader::new(signature);
    let scheme = fields.u16(SIGNATURE)?;
    let hash = Hash::from_id(fields.u16(SIGNATURE)?, SIGNATURE)?;
    let algorithm = signature_algorithm(scheme, hash)?;
    let bytes = if scheme == ECDSA {
        let r = fields.sized(48, SIGNATURE)?;
        let s = fields.sized(48, SIGNATURE)?;
        ecdsa_signature_der(r, s)
    } else {
        fields.sized(512, SIGNATURE)?.to_vec()
    };
    fields.finish(SIGNATURE)?;
    verify_signature(key, &algorithm, message, &bytes).map_err(|_| TpmError::Signature)
}

const WHAT: &str = "statement";
/// `TPM_GENERATED_VALUE`.
const MAGIC: u32 = 0xff54_4347;
/// `TPM_ST_ATTEST_CERTIFY` and `TPM_ST_ATTEST_QUOTE`.
const CERTIFY: u16 = 0x8017;
const QUOTE: u16 = 0x8018;
/// Two octets and a SHA-512.
const MAX_NAME: usize = 66;
/// A TPM takes no more than its largest hash and two octets.
const MAX_NONCE: usize = 66;
const MAX_SELECTIONS: u32 = 16;
/// 24 registers are three octets; no TPM has more than 32.
const MAX_REGISTER_OCTETS: usize = 4;
/// The longest sound one is far below.
const MAX_STATEMENT: usize = 1_024;
