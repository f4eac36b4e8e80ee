//! Are the names in a certificate names of their kind?

use der::asn1::AnyRef;
use der::{Reader, SliceReader, Tag, Tagged};
use x509_cert::ext::pkix::AccessDescription;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName, OtherName};

use super::LintError;
use crate::oid as id;

/// At least one name, none twice, each of a kind that some profile has.
pub(super) fn subject(names: &[GeneralName]) -> Result<(), LintError> {
    let good = names.iter().enumerate().all(|(position, name)| {
        let repeated = names.iter().take(position).any(|earlier| earlier == name);
        let good = match name {
            GeneralName::DnsName(name) => is_dns_name(name.as_str()),
            GeneralName::UniformResourceIdentifier(uri) => is_uri(uri.as_str()),
            GeneralName::IpAddress(address) => matches!(address.as_bytes().len(), 4 | 16),
            GeneralName::OtherName(other) => is_hardware_module(other),
            _ => false,
        };
        good && !repeated
    });
    if good && !names.is_empty() {
        Ok(())
    } else {
        Err(LintError::SubjectAltName)
    }
}

/// One point with one full name and nothing else.
pub(super) fn crl_points(points: &[DistributionPoint]) -> Result<(), LintError> {
    let [
        DistributionPoint {
            distribution_point: Some(DistributionPointName::FullName(names)),
            reasons: None,
            crl_issuer: None,
        },
    ] = points
    else {
        return Err(LintError::CrlUrl);
    };
    match names.as_slice() {
        [GeneralName::UniformResourceIdentifier(url)] if is_http_url(url.as_str()) => Ok(()),
        _ => Err(LintError::CrlUrl),
    }
}

/// One description: where the issuer's certificate is.
pub(super) fn authority_info(descriptions: &[AccessDescription]) -> Result<(), LintError> {
    match descriptions {
        [
            AccessDescription {
                access_method: id::CA_ISSUERS,
                access_location: GeneralName::UniformResourceIdentifier(url),
            },
        ] if is_http_url(url.as_str()) => Ok(()),
        _ => Err(LintError::IssuerUrl),
    }
}

/// Preferred name syntax (RFC 1034 section 3.5, RFC 1123 section 2.1); no wildcard, no final dot,
/// no address in disguise.
fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = |label: &str| label.bytes().all(|octet| octet.is_ascii_digit());
    name.len() <= 253
        && name.split('.').all(is_label)
        && !name.rsplit('.').next().is_some_and(is_number)
}

/// `scheme:something` in the characters of RFC 3986, percent signs followed by two hex digits.
fn is_uri(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once(':') else {
        return false;
    };
    let scheme_good = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet));
    let characters_good = rest
        .bytes()
        .all(|octet| octet.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&octet));
    let escapes_good = rest.split('%').skip(1).all(|behind| {
        behind
            .as_bytes()
            .first_chunk::<2>()
            .is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    });
    scheme_good && characters_good && escapes_good && !rest.is_empty()
}

/// Plain http, because a relying party that checks a certificate can't be asked to check another
/// one first (RFC 5280 section 8).
fn is_http_url(url: &str) -> bool {
    is_uri(url)
        && url
            .strip_prefix("http://")
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

/// `id-on-hardwareModuleName { SEQUENCE { hwType OBJECT IDENTIFIER, hwSerialNum OCTET STRING } }`.
/// `hwType` is not decoded: an arc of 128 bits is more than its type in this library can hold.
fn is_hardware_module(other: &OtherName) -> bool {
    let module = || -> der::Result<(usize, usize)> {
        let value = AnyRef::from(&other.value);
        value.tag().assert_eq(Tag::Sequence)?;
        let mut fields = SliceReader::new(value.value())?;
        let hw_type: AnyRef<'_> = fields.decode()?;
        hw_type.tag().assert_eq(Tag::ObjectIdentifier)?;
        let serial: AnyRef<'_> = fields.decode()?;
        serial.tag().assert_eq(Tag::OctetString)?;
        fields.finish()?;
        Ok((hw_type.value().len(), serial.value().len()))
    };
    other.type_id == id::HARDWARE_MODULE_NAME
        && module().is_ok_and(|(hw_type, serial)| hw_type > 0 && serial > 0)
}
