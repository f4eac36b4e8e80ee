//! A bag of certificates: the degenerate SignedData that EST calls `certs-only` (RFC 5652 section
//! 5.1, RFC 7030 section 4.1.3).
//!
//! ```text
//! ContentInfo { signedData, [0] SignedData {
//!     version 1, digestAlgorithms {}, { data }, [0] certificates, signerInfos {} } }
//! ```

use alloc::vec::Vec;

use crate::asn1::{Element, Malformed, explicit, integer, oid, primitive, sequence, set, tag};
use crate::oid as id;

/// The most octets that are read.
pub const CERTS_ONLY_MAX: usize = 64 * 1024;

/// The most certificates that are read.
pub const CERTIFICATES_MAX: usize = 32;

/// Wraps certificates, keeping their order. A strict DER encoder would sort the set, but measured
/// clients take the first certificate for their own.
#[must_use]
pub fn encode(certificates: &[&[u8]]) -> Vec<u8> {
    let signed_data = sequence(&[
        &integer(1),
        &set(&[]),
        &sequence(&[&oid(id::CMS_DATA)]),
        &primitive(tag::constructed(0), &certificates.concat()),
        &set(&[]),
    ]);
    sequence(&[&oid(id::CMS_SIGNED_DATA), &explicit(0, &signed_data)])
}

/// Unwraps the certificates, each in DER, in the order in which they came. They are not read
/// further than to tell them apart.
///
/// Tolerant of what other servers add: a version from 1 to 5, digest algorithms, content, CRLs and
/// signatures are passed over (nothing here verifies), and an absent list of certificates is an
/// empty one. Other kinds of certificates in the list are left out.
pub fn decode(der: &[u8]) -> Result<Vec<Vec<u8>>, CertsOnlyError> {
    if der.len() > CERTS_ONLY_MAX {
        return Err(CertsOnlyError::TooLong { octets: der.len() });
    }
    let mut info = Element::only(der, tag::SEQUENCE, "contentInfo")?.children("contentInfo")?;
    if info.expect(tag::OID, "contentType")?.content != id::CMS_SIGNED_DATA.as_bytes() {
        return Err(CertsOnlyError::NotSignedData);
    }
    let content = info.expect(tag::constructed(0), "content")?;
    info.finish("contentInfo")?;
    let signed_data = Element::only(content.content, tag::SEQUENCE, "signedData")?;
    let mut fields = signed_data.children("signedData")?;
    if !(1..=5).contains(&fields.expect(tag::INTEGER, "version")?.small("version")?) {
        return Err(Malformed("version").into());
    }
    fields.expect(tag::SET, "digestAlgorithms")?;
    fields.expect(tag::SEQUENCE, "encapContentInfo")?;
    let certificates = fields.optional(tag::constructed(0), "certificates")?;
    fields.optional(tag::constructed(1), "crls")?;
    fields.expect(tag::SET, "signerInfos")?;
    fields.finish("signedData")?;
    certificates.map_or(Ok(Vec::new()), |certificates| each(&certificates))
}

fn each(certificates: &Element<'_>) -> Result<Vec<Vec<u8>>, CertsOnlyError> {
    let mut found = Vec::new();
    let mut elements = certificates.children("certificates")?;
    while let Some(element) = elements.next("certificates")? {
        if element.tag != tag::SEQUENCE {
            continue;
        }
        if found.len() == CERTIFICATES_MAX {
            return Err(CertsOnlyError::TooMany);
        }
        found.push(element.der.to_vec());
    }
    Ok(found)
}

/// Why a bag of certificates can't be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertsOnlyError {
    /// Longer than [`CERTS_ONLY_MAX`].
    #[error("the PKCS#7 has {octets} octets, at most {CERTS_ONLY_MAX} are read")]
    TooLong {
        /// Its length.
        octets: usize,
    },
    /// Not DER, or not `ContentInfo`.
    #[error("the PKCS#7 can't be read: {0}")]
    Malformed(#[from] Malformed),
    /// `ContentInfo` of another type.
    #[error("the PKCS#7 is not signed data")]
    NotSignedData,
    /// More than [`CERTIFICATES_MAX`] certificates.
    #[error("the PKCS#7 holds more than {CERTIFICATES_MAX} certificates")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn certificates_come_out_as_they_went_in_in_order() {
        let (a, b) = (sequence(&[&integer(2)]), sequence(&[&integer(1)]));
        for bag in [
            vec![],
            vec![&a[..]],
            vec![&a[..], &b[..]],
            vec![&b[..], &a[..], &b[..]],
        ] {
            assert_eq!(decode(&encode(&bag)).unwrap(), bag);
        }
    }

    #[test]
    fn a_bag_has_bounds() {
        let one = sequence(&[&integer(1)]);
        let bag = vec![&one[..]; CERTIFICATES_MAX];
        assert_eq!(decode(&encode(&bag)).unwrap().len(), CERTIFICATES_MAX);
        let bag = vec![&one[..]; CERTIFICATES_MAX + 1];
        assert_eq!(decode(&encode(&bag)), Err(CertsOnlyError::TooMany));
        let long = vec![0x30; CERTS_ONLY_MAX + 1];
        assert_eq!(
            decode(&long),
            Err(CertsOnlyError::TooLong {
                octets: CERTS_ONLY_MAX + 1
            })
        );
    }

    #[test]
    fn other_things_are_no_bag() {
        let data = sequence(&[&oid(id::CMS_DATA), &explicit(0, &sequence(&[]))]);
        assert_eq!(decode(&data), Err(CertsOnlyError::NotSignedData));
        let mut trailing = encode(&[]);
        trailing.push(0);
        for der in [&b""[..], b"\x30\x00", b"hello", &trailing] {
            assert!(
                matches!(decode(der), Err(CertsOnlyError::Malformed(_))),
                "{der:02x?}"
            );
        }
    }
}
