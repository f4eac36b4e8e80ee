//! Public keys: which ones a device may have, and why another one is refused.
//!
//! Everything here is decided from the bytes alone, before any mathematics that an attacker could
//! make expensive (explicit curve parameters once hung OpenSSL: CVE-2022-0778). What this leaves
//! to the cryptography library in `attest` is whether a point lies on its curve, and to its arithmetic
//! whether the factors of a modulus lie close together. Not looked for: keys of the Debian
//! generator of 2008 (its lists are megabytes).

mod ed25519;
mod weak_rsa;

use alloc::vec::Vec;
use core::fmt;

use crate::asn1::{
    Element, Elements, Malformed, oid as write_oid, positive_integer, primitive, sequence, tag,
    whole_bits,
};
use crate::oid;

/// A public key of a supported kind, read from its SubjectPublicKeyInfo (RFC 5280 section 4.1).
///
/// Two keys are the same if and only if their [`spki_der`](Self::spki_der) is: exactly one
/// encoding of each key is accepted, so that a second spelling can't pass for a second key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    spki_der: Vec<u8>,
    key_bits: Vec<u8>,
}

/// The kind and size of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// Ed25519.
    Ed25519,
    /// RSA.
    Rsa {
        /// Length of the modulus in bits, 2048 to 4096.
        bits: u16,
    },
}

impl KeyAlgorithm {
    /// The kind without the size of an RSA key: `P-256`, `P-384`, `Ed25519`, `RSA`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::Ed25519 => "Ed25519",
            Self::Rsa { .. } => "RSA",
        }
    }
}

/// The kind and, for RSA, the size: `RSA-3072`.
impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(f, "RSA-{bits}"),
            other => f.write_str(other.name()),
        }
    }
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo in DER.
    pub fn parse(spki_der: &[u8]) -> Result<Self, KeyError> {
        let mut fields = Element::only(spki_der, tag::SEQUENCE, WHAT)?.children(WHAT)?;
        let mut algorithm = fields.expect(tag::SEQUENCE, WHAT)?.children(WHAT)?;
        let bits = fields.expect(tag::BIT_STRING, WHAT)?;
        fields.finish(WHAT)?;
        let kind = algorithm.expect(tag::OID, WHAT)?.oid(WHAT)?;
        let key_bits = bits.whole_bits(WHAT)?;
        let algorithm = if kind == oid::EC_PUBLIC_KEY.as_bytes() {
            elliptic(algorithm, key_bits)?
        } else if kind == oid::ED25519.as_bytes() {
            edwards(algorithm, key_bits)?
        } else if kind == oid::RSA_ENCRYPTION.as_bytes() {
            rsa(algorithm, key_bits)?
        } else {
            return Err(KeyError::UnsupportedAlgorithm);
        };
        Ok(Self {
            algorithm,
            spki_der: spki_der.to_vec(),
            key_bits: key_bits.to_vec(),
        })
    }

    /// The kind and size.
    #[must_use]
    pub const fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The SubjectPublicKeyInfo in DER, byte for byte as it was read.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// The content of the BIT STRING: an uncompressed point `04 || X || Y`, 32 octets of Ed25519,
    /// or an `RSAPublicKey` in DER.
    #[must_use]
    pub fn key_bits(&self) -> &[u8] {
        &self.key_bits
    }
}

impl PublicKey {
    /// The modulus of an RSA key, big-endian without leading zeros.
    #[must_use]
    pub fn rsa_modulus(&self) -> Option<&[u8]> {
        let KeyAlgorithm::Rsa { .. } = self.algorithm else {
            return None;
        };
        let numbers = Element::only(&self.key_bits, tag::SEQUENCE, WHAT).ok()?;
        let mut numbers = numbers.children(WHAT).ok()?;
        let modulus = numbers.expect(tag::INTEGER, WHAT).ok()?;
        modulus.unsigned(WHAT).ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, ", self.algorithm)?;
        self.key_bits
            .iter()
            .rev()
            .take(4)
            .rev()
            .try_for_each(|octet| write!(f, "{octet:02x}"))?;
        f.write_str(")")
    }
}

/// Writes the SubjectPublicKeyInfo of a key from its bare bits, for keys that come from a chip:
/// `04 || X || Y`, 32 octets of Ed25519, or an `RSAPublicKey` in DER. The bits are not checked.
#[must_use]
pub fn spki_der(algorithm: KeyAlgorithm, key_bits: &[u8]) -> Vec<u8> {
    let algorithm = match algorithm {
        KeyAlgorithm::P256 => {
            sequence(&[&write_oid(oid::EC_PUBLIC_KEY), &write_oid(oid::SECP256R1)])
        }
        KeyAlgorithm::P384 => {
            sequence(&[&write_oid(oid::EC_PUBLIC_KEY), &write_oid(oid::SECP384R1)])
        }
        KeyAlgorithm::Ed25519 => sequence(&[&write_oid(oid::ED25519)]),
        KeyAlgorithm::Rsa { .. } => {
            sequence(&[&write_oid(oid::RSA_ENCRYPTION), &primitive(tag::NULL, &[])])
        }
    };
    sequence(&[&algorithm, &whole_bits(key_bits)])
}

/// Writes an `RSAPublicKey` (RFC 8017 appendix A.1.1) from numbers that come from a chip: the modulus
/// in big endian, with or without leading zeros. The numbers are not checked.
#[must_use]
pub fn rsa_key_bits(modulus: &[u8], exponent: u32) -> Vec<u8> {
    sequence(&[
        &positive_integer(modulus),
        &positive_integer(&exponent.to_be_bytes()),
    ])
}

/// RFC 5480 section 2.1.1: a named curve, and an uncompressed point.
fn elliptic(mut parameters: Elements<'_>, point: &[u8]) -> Result<KeyAlgorithm, KeyError> {
    let curve = parameters.next(WHAT)?.ok_or(KeyError::CurveNotNamed)?;
    parameters.finish(WHAT)?;
    let (algorithm, field_octets) = match curve.tag {
        tag::SEQUENCE => return Err(KeyError::ExplicitCurve),
        tag::OID if curve.content == oid::SECP256R1.as_bytes() => (KeyAlgorithm::P256, 32),
        tag::OID if curve.content == oid::SECP384R1.as_bytes() => (KeyAlgorithm::P384, 48),
        tag::OID => return Err(KeyError::UnsupportedCurve),
        _ => return Err(KeyError::CurveNotNamed),
    };
    match point.split_first() {
        Some((0x04, coordinates)) if coordinates.len() == 2 * field_octets => {
            if coordinates.iter().all(|octet| *octet == 0) {
                return Err(KeyError::DegenerateKey);
            }
            Ok(algorithm)
        }
        Some((0x02 | 0x03, x)) if x.len() == field_octets => Err(KeyError::CompressedPoint),
        _ => Err(KeyError::WrongLength),
    }
}

/// RFC 8410 section 3: no parameters, 32 octets.
fn edwards(parameters: Elements<'_>, key: &[u8]) -> Result<KeyAlgorithm, KeyError> {
    parameters.finish(WHAT)?;
    let key: &[u8; 32] = key.try_into().map_err(|_| KeyError::WrongLength)?;
    if ed25519::has_small_order(key) {
        return Err(KeyError::DegenerateKey);
    }
    Ok(KeyAlgorithm::Ed25519)
}

/// RFC 3279 section 2.3.1: parameters NULL (demanded, because a key with and one without would be
/// two spellings of the same key), and `RSAPublicKey` { modulus, publicExponent }.
fn rsa(mut parameters: Elements<'_>, key: &[u8]) -> Result<KeyAlgorithm, KeyError> {
    let null = parameters.expect(tag::NULL, WHAT)?;
    parameters.finish(WHAT)?;
    if !null.content.is_empty() {
        return Err(Malformed(WHAT).into());
    }
    let mut numbers = Element::only(key, tag::SEQUENCE, WHAT)?.children(WHAT)?;
    let modulus = numbers.expect(tag::INTEGER, WHAT)?.unsigned(WHAT)?;
    let exponent = numbers.expect(tag::INTEGER, WHAT)?.unsigned(WHAT)?;
    numbers.finish(WHAT)?;
    let bits = weak_rsa::bit_length(modulus);
    let bits = u16::try_from(bits)
        .ok()
        .filter(|bits| RSA_BITS.contains(bits))
        .ok_or(KeyError::RsaSize { bits })?;
    weak_rsa::check_exponent(exponent)?;
    weak_rsa::check_modulus(modulus)?;
    Ok(KeyAlgorithm::Rsa { bits })
}

const WHAT: &str = "subjectPublicKeyInfo";

/// Accepted lengths of an RSA modulus.
const RSA_BITS: core::ops::RangeInclusive<u16> = 2048..=4096;

/// Why a public key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not a SubjectPublicKeyInfo.
    #[error("the public key can't be read: {0}")]
    Malformed(#[from] Malformed),
    /// Neither elliptic-curve, nor Ed25519, nor RSA.
    #[error("the public key is of a kind that is not supported")]
    UnsupportedAlgorithm,
    /// A named curve, but not P-256 or P-384.
    #[error("the public key is on a curve that is not supported")]
    UnsupportedCurve,
    /// The curve is written out as numbers instead of named: an attack, or a very old tool.
    #[error("the public key spells out its curve instead of naming it")]
    ExplicitCurve,
    /// The curve is left out, or to be inherited.
    #[error("the public key doesn't name its curve")]
    CurveNotNamed,
    /// A compressed point.
    #[error("the public key is a compressed point")]
    CompressedPoint,
    /// The key has not the length of its kind.
    #[error("the public key has the wrong length for its kind")]
    WrongLength,
    /// All zero, or a point of small order: anyone can sign for it.
    #[error("the public key is degenerate, anyone could sign for it")]
    DegenerateKey,
    /// The modulus is too short or too long.
    #[error("the RSA key has {bits} bits, not 2048 to 4096")]
    RsaSize {
        /// Length of the modulus in bits.
        bits: usize,
    },
    /// The public exponent is even, 65536 or less, or longer than 256 bits.
    #[error("the RSA key's exponent is even, too small or too long")]
    RsaExponent,
    /// The modulus is divisible by a prime below 752 (CA/B Baseline Requirements 6.1.1.3).
    #[error("the RSA key has a small factor")]
    RsaSmallFactor,
    /// The modulus carries the fingerprint of the flawed Infineon generator (ROCA, CVE-2017-15361).
    #[error("the RSA key was made by a flawed generator (ROCA)")]
    RsaRoca,
}

#[cfg(test)]
mod tests;
