//! The signature algorithms that certificates, requests and CRLs may carry.

use alloc::vec::Vec;

use const_oid::ObjectIdentifier;

use crate::asn1::{
    Element, Malformed, explicit, integer, oid, positive_integer, primitive, sequence, tag,
};
use crate::oid as id;

/// How something was signed, or will be.
///
/// No SHA-1 and no MD5: what they sign is refused as unsupported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// ECDSA over SHA-256.
    EcdsaSha256,
    /// ECDSA over SHA-384.
    EcdsaSha384,
    /// ECDSA over SHA-512.
    EcdsaSha512,
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// RSASSA-PKCS1-v1_5 over SHA-256.
    RsaPkcs1Sha256,
    /// RSASSA-PKCS1-v1_5 over SHA-384.
    RsaPkcs1Sha384,
    /// RSASSA-PKCS1-v1_5 over SHA-512.
    RsaPkcs1Sha512,
    /// RSASSA-PSS: SHA-256, MGF1 over SHA-256, 32 octets of salt.
    RsaPssSha256,
    /// RSASSA-PSS: SHA-384, MGF1 over SHA-384, 48 octets of salt.
    RsaPssSha384,
    /// RSASSA-PSS: SHA-512, MGF1 over SHA-512, 64 octets of salt.
    RsaPssSha512,
}

impl SignatureAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 10] = [
        Self::EcdsaSha256,
        Self::EcdsaSha384,
        Self::EcdsaSha512,
        Self::Ed25519,
        Self::RsaPkcs1Sha256,
        Self::RsaPkcs1Sha384,
        Self::RsaPkcs1Sha512,
        Self::RsaPssSha256,
        Self::RsaPssSha384,
        Self::RsaPssSha512,
    ];

    /// The name that OpenSSL prints for it, or nearly.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EcdsaSha256 => "ecdsa-with-SHA256",
            Self::EcdsaSha384 => "ecdsa-with-SHA384",
            Self::EcdsaSha512 => "ecdsa-with-SHA512",
            Self::Ed25519 => "ED25519",
            Self::RsaPkcs1Sha256 => "sha256WithRSAEncryption",
            Self::RsaPkcs1Sha384 => "sha384WithRSAEncryption",
            Self::RsaPkcs1Sha512 => "sha512WithRSAEncryption",
            Self::RsaPssSha256 => "rsassaPss-SHA256",
            Self::RsaPssSha384 => "rsassaPss-SHA384",
            Self::RsaPssSha512 => "rsassaPss-SHA512",
        }
    }

    /// The AlgorithmIdentifier in DER: parameters absent for ECDSA and Ed25519, NULL for RSA
    /// (RFC 5758, RFC 8410, RFC 4055).
    #[must_use]
    pub fn to_der(self) -> Vec<u8> {
        let null = primitive(tag::NULL, &[]);
        match self {
            Self::EcdsaSha256 => sequence(&[&oid(id::ECDSA_WITH_SHA256)]),
            Self::EcdsaSha384 => sequence(&[&oid(id::ECDSA_WITH_SHA384)]),
            Self::EcdsaSha512 => sequence(&[&oid(id::ECDSA_WITH_SHA512)]),
            Self::Ed25519 => sequence(&[&oid(id::ED25519)]),
            Self::RsaPkcs1Sha256 => sequence(&[&oid(id::SHA256_WITH_RSA), &null]),
            Self::RsaPkcs1Sha384 => sequence(&[&oid(id::SHA384_WITH_RSA), &null]),
            Self::RsaPkcs1Sha512 => sequence(&[&oid(id::SHA512_WITH_RSA), &null]),
            Self::RsaPssSha256 => pss(id::SHA256, 32, &null),
            Self::RsaPssSha384 => pss(id::SHA384, 48, &null),
            Self::RsaPssSha512 => pss(id::SHA512, 64, &null),
        }
    }

    /// Reads an AlgorithmIdentifier; `None` when it is well formed and not one of ours.
    ///
    /// Parameters may be absent or NULL for every algorithm but PSS: encoders in the field do
    /// both, and a signature means the same either way. PSS takes the hash function's parameters
    /// both absent and NULL (RFC 4055 section 2.1 asks receivers to).
    pub(crate) fn read(element: &Element<'_>) -> Result<Option<Self>, Malformed> {
        const WHAT: &str = "signatureAlgorithm";
        let mut fields = element.children(WHAT)?;
        let algorithm = fields.expect(tag::OID, WHAT)?.oid(WHAT)?;
        let parameters = fields.next(WHAT)?;
        fields.finish(WHAT)?;
        if algorithm == id::RSASSA_PSS.as_bytes() {
            return Ok(Self::ALL
                .into_iter()
                .filter(|candidate| candidate.is_pss())
                .find(|candidate| {
                    element.der == candidate.to_der() || element.der == candidate.without_nulls()
                }));
        }
        if parameters.is_some_and(|parameters| parameters.der != [tag::NULL, 0]) {
            return Ok(None);
        }
        Ok([
            (id::ECDSA_WITH_SHA256, Self::EcdsaSha256),
            (id::ECDSA_WITH_SHA384, Self::EcdsaSha384),
            (id::ECDSA_WITH_SHA512, Self::EcdsaSha512),
            (id::ED25519, Self::Ed25519),
            (id::SHA256_WITH_RSA, Self::RsaPkcs1Sha256),
            (id::SHA384_WITH_RSA, Self::RsaPkcs1Sha384),
            (id::SHA512_WITH_RSA, Self::RsaPkcs1Sha512),
        ]
        .into_iter()
        .find_map(|(known, name)| (known.as_bytes() == algorithm).then_some(name)))
    }

    pub(crate) const fn is_pss(self) -> bool {
        matches!(
            self,
            Self::RsaPssSha256 | Self::RsaPssSha384 | Self::RsaPssSha512
        )
    }

    fn without_nulls(self) -> Vec<u8> {
        match self {
            Self::RsaPssSha256 => pss(id::SHA256, 32, &[]),
            Self::RsaPssSha384 => pss(id::SHA384, 48, &[]),
            Self::RsaPssSha512 => pss(id::SHA512, 64, &[]),
            other => other.to_der(),
        }
    }
}

/// RSASSA-PSS-params (RFC 4055 section 3.1), one hash function throughout.
fn pss(hash: ObjectIdentifier, salt_octets: u64, hash_parameters: &[u8]) -> Vec<u8> {
    let hash = sequence(&[&oid(hash), hash_parameters]);
    let mask = sequence(&[&oid(id::MGF1), &hash]);
    let parameters = sequence(&[
        &explicit(0, &hash),
        &explicit(1, &mask),
        &explicit(2, &integer(salt_octets)),
    ]);
    sequence(&[&oid(id::RSASSA_PSS), &parameters])
}

/// Writes an `Ecdsa-Sig-Value` (RFC 3279 section 2.2.3) from the two numbers that a chip gives: in
/// big endian, as long as the field or shorter.
#[must_use]
pub fn ecdsa_signature_der(r: &[u8], s: &[u8]) -> Vec<u8> {
    sequence(&[&positive_integer(r), &positive_integer(s)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(der: &[u8]) -> Option<SignatureAlgorithm> {
        let element = Element::only(der, tag::SEQUENCE, "test").unwrap();
        SignatureAlgorithm::read(&element).unwrap()
    }

    #[test]
    fn every_algorithm_reads_as_itself() {
        for algorithm in SignatureAlgorithm::ALL {
            assert_eq!(read(&algorithm.to_der()), Some(algorithm));
            assert_eq!(read(&algorithm.without_nulls()), Some(algorithm));
        }
    }

    #[test]
    fn other_algorithms_are_not_ours() {
        let sha1_with_rsa = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5");
        let null = primitive(tag::NULL, &[]);
        for der in [
            sequence(&[&oid(sha1_with_rsa), &null]),
            sequence(&[&oid(id::RSASSA_PSS)]),
            sequence(&[&oid(id::RSASSA_PSS), &null]),
            pss(id::SHA256, 20, &null),
            sequence(&[&oid(id::ECDSA_WITH_SHA256), &integer(1)]),
        ] {
            assert_eq!(read(&der), None, "{der:02x?}");
        }
    }
}
