//! What a server wants to see in requests (RFC 7030 section 4.5.2, RFC 8951 section 3.2, RFC 9908).
//!
//! `CsrAttrs ::= SEQUENCE SIZE (0..MAX) OF AttrOrOID`. Imprint decides every field of a certificate
//! itself, so the one thing worth saying is which kind of key it will take. It asks for no
//! extensions: a measured client copies what is asked for into its request as empty strings.

use alloc::vec::Vec;

use const_oid::ObjectIdentifier;

use crate::asn1::{Element, Malformed, integer, oid, sequence, sequence_of, set, tag};
use crate::key::KeyAlgorithm;
use crate::oid as id;

/// Says that a key of this kind is wanted: an attribute with the key type and its curve or size
/// (RFC 9908 section 3.2), and the signature algorithm that goes with it. Ed25519 has no
/// parameters, so its one identifier says both.
#[must_use]
pub fn encode(wanted: KeyAlgorithm) -> Vec<u8> {
    let named = |kind, value: &[u8]| sequence(&[&oid(kind), &set(&[value])]);
    let parts = match wanted {
        KeyAlgorithm::P256 => alloc::vec![
            named(id::EC_PUBLIC_KEY, &oid(id::SECP256R1)),
            oid(id::ECDSA_WITH_SHA256),
        ],
        KeyAlgorithm::P384 => alloc::vec![
            named(id::EC_PUBLIC_KEY, &oid(id::SECP384R1)),
            oid(id::ECDSA_WITH_SHA384),
        ],
        KeyAlgorithm::Ed25519 => alloc::vec![oid(id::ED25519)],
        KeyAlgorithm::Rsa { bits } => alloc::vec![
            named(id::RSA_ENCRYPTION, &integer(bits.into())),
            oid(id::SHA256_WITH_RSA),
        ],
    };
    sequence_of(&parts)
}

/// Nothing in particular is wanted.
#[must_use]
pub fn encode_nothing() -> Vec<u8> {
    sequence(&[])
}

/// The kind of key that is wanted, if one that we can make is named. Everything else that a server
/// may want is passed over.
pub fn decode(der: &[u8]) -> Result<Option<KeyAlgorithm>, Malformed> {
    let mut wanted = None;
    let mut items = Element::only(der, tag::SEQUENCE, WHAT)?.children(WHAT)?;
    while let Some(item) = items.next(WHAT)? {
        let named = match item.tag {
            tag::OID => by_signature(item.oid(WHAT)?),
            tag::SEQUENCE => by_attribute(&item)?,
            _ => return Err(Malformed(WHAT)),
        };
        wanted = wanted.or(named);
    }
    Ok(wanted)
}

fn by_signature(kind: &[u8]) -> Option<KeyAlgorithm> {
    (kind == id::ED25519.as_bytes()).then_some(KeyAlgorithm::Ed25519)
}

fn by_attribute(attribute: &Element<'_>) -> Result<Option<KeyAlgorithm>, Malformed> {
    let mut fields = attribute.children(WHAT)?;
    let kind = fields.expect(tag::OID, WHAT)?.oid(WHAT)?;
    let value = fields.expect(tag::SET, WHAT)?.children(WHAT)?.next(WHAT)?;
    fields.finish(WHAT)?;
    let is = |name: ObjectIdentifier| kind == name.as_bytes();
    Ok(match value {
        Some(curve) if is(id::EC_PUBLIC_KEY) && curve.tag == tag::OID => [
            (id::SECP256R1, KeyAlgorithm::P256),
            (id::SECP384R1, KeyAlgorithm::P384),
        ]
        .into_iter()
        .find_map(|(name, key)| (curve.content == name.as_bytes()).then_some(key)),
        Some(bits) if is(id::RSA_ENCRYPTION) && bits.tag == tag::INTEGER => {
            u16::try_from(bits.small(WHAT)?)
                .ok()
                .map(|bits| KeyAlgorithm::Rsa { bits })
        }
        _ if is(id::ED25519) => Some(KeyAlgorithm::Ed25519),
        _ => None,
    })
}

const WHAT: &str = "csrattrs";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_is_wanted_reads_back() {
        for wanted in [
            KeyAlgorithm::P256,
            KeyAlgorithm::P384,
            KeyAlgorithm::Ed25519,
            KeyAlgorithm::Rsa { bits: 3072 },
        ] {
            assert_eq!(decode(&encode(wanted)), Ok(Some(wanted)));
        }
        assert_eq!(encode_nothing(), [0x30, 0x00]);
        assert_eq!(decode(&encode_nothing()), Ok(None));
    }

    /// RFC 8951 section 3.2: challengePassword, secp384r1, a request for macAddress, and
    /// ecdsaWithSHA384.
    #[test]
    fn the_example_of_rfc_8951_wants_p384() {
        let example = b"\x30\x41\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07\x30\x12\x06\x07\x2a\
            \x86\x48\xce\x3d\x02\x01\x31\x07\x06\x05\x2b\x81\x04\x00\x22\x30\x16\x06\x09\x2a\x86\
            \x48\x86\xf7\x0d\x01\x09\x0e\x31\x09\x06\x07\x2b\x06\x01\x01\x01\x01\x16\x06\x08\x2a\
            \x86\x48\xce\x3d\x04\x03\x03";
        assert_eq!(decode(example), Ok(Some(KeyAlgorithm::P384)));
    }
}
