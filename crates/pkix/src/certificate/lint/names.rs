//! Are the names in a certificate names of their kind?
//!
//! The rules are the narrower ones of RFC 5280 and of `pkilint`, which faults every URI that is not
//! a web address (`urn:` too, though RFC 5280 section 4.2.1.6 would have it) and every host of a
//! single label.

use core::net::{Ipv4Addr, Ipv6Addr};

use der::asn1::AnyRef;
use der::{Reader, SliceReader, Tag, Tagged};
use x509_cert::ext::pkix::AccessDescription;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName, OtherName};

use super::LintError;
use crate::asn1::is_object_identifier;
use crate::oid as id;

/// May this be a URI in a device's certificate? An `http` or `https` URL whose host is a name of at
/// least two labels or an address; no user, query or fragment.
#[must_use]
pub fn is_url(uri: &str) -> bool {
    let rest = uri
        .strip_prefix("https://")
        .or_else(|| uri.strip_prefix("http://"));
    let Some(rest) = rest.filter(|_| uri.len() <= 255) else {
        return false;
    };
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    is_authority(authority) && is_path(path)
}

/// May this be the URL of a CRL or of an issuer's certificate? As [`is_url`], and plain `http`: a
/// relying party that checks one certificate can't be asked to check another one first (RFC 5280
/// section 8).
#[must_use]
pub fn is_http_url(url: &str) -> bool {
    url.starts_with("http://") && is_url(url)
}

/// May this be a DNS name in a device's certificate? Preferred name syntax (RFC 1034 section 3.5,
/// RFC 1123 section 2.1) of at least two labels, the last no number and not of one letter; no
/// wildcard, no final dot.
#[must_use]
pub fn is_dns_name(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    is_host_name(name)
        && name.contains('.')
        && last.len() >= 2
        && last.ends_with(|end: char| end.is_ascii_alphabetic())
}

/// The same, but `localhost` and the like will do: a server answers to what its clients call it.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253
        && name.split('.').all(is_label)
        && !last.bytes().all(|octet| octet.is_ascii_digit())
}

/// `host` or `host:port`, an IPv6 address in brackets.
fn is_authority(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port_good = port.is_none_or(|port| {
        !port.starts_with(['0', '+']) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host_good = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<Ipv4Addr>().is_ok() || is_dns_name(host),
    };
    port_good && host_good
}

/// The characters of RFC 3986 section 3.3, each percent sign followed by two hexadecimal digits.
fn is_path(path: &str) -> bool {
    let characters_good = path
        .bytes()
        .all(|octet| octet.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&octet));
    let escapes_good = path.split('%').skip(1).all(|behind| {
        behind
            .as_bytes()
            .first_chunk::<2>()
            .is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    });
    characters_good && escapes_good
}

/// A device's names: at least one, none twice.
pub(super) fn of_device(names: &[GeneralName]) -> Result<(), LintError> {
    not_empty_none_twice(names)?;
    names.iter().try_for_each(|name| match name {
        GeneralName::DnsName(name) if is_dns_name(name.as_str()) => Ok(()),
        GeneralName::DnsName(_) => Err(LintError::DnsName),
        GeneralName::UniformResourceIdentifier(uri) if is_url(uri.as_str()) => Ok(()),
        GeneralName::UniformResourceIdentifier(_) => Err(LintError::Uri),
        GeneralName::OtherName(other) if is_hardware_module(other) => Ok(()),
        GeneralName::OtherName(_) => Err(LintError::HardwareModule),
        _ => Err(LintError::SubjectAltName),
    })
}

/// A server's names: at least one, none twice.
pub(super) fn of_server(names: &[GeneralName]) -> Result<(), LintError> {
    not_empty_none_twice(names)?;
    names.iter().try_for_each(|name| match name {
        GeneralName::DnsName(name) if is_host_name(name.as_str()) => Ok(()),
        GeneralName::DnsName(_) => Err(LintError::DnsName),
        GeneralName::IpAddress(address) if matches!(address.as_bytes().len(), 4 | 16) => Ok(()),
        _ => Err(LintError::SubjectAltName),
    })
}

fn not_empty_none_twice(names: &[GeneralName]) -> Result<(), LintError> {
    let repeated = names
        .iter()
        .enumerate()
        .any(|(position, name)| names.iter().take(position).any(|earlier| earlier == name));
    if names.is_empty() || repeated {
        Err(LintError::SubjectAltName)
    } else {
        Ok(())
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

/// `id-on-hardwareModuleName { SEQUENCE { hwType OBJECT IDENTIFIER, hwSerialNum OCTET STRING } }`.
/// `hwType` is not decoded: an arc of 128 bits is more than its type in this library can hold.
fn is_hardware_module(other: &OtherName) -> bool {
    let module = || -> der::Result<bool> {
        let value = AnyRef::from(&other.value);
        value.tag().assert_eq(Tag::Sequence)?;
        let mut fields = SliceReader::new(value.value())?;
        let hw_type: AnyRef<'_> = fields.decode()?;
        hw_type.tag().assert_eq(Tag::ObjectIdentifier)?;
        let serial: AnyRef<'_> = fields.decode()?;
        serial.tag().assert_eq(Tag::OctetString)?;
        fields.finish()?;
        Ok(is_object_identifier(hw_type.value()) && !serial.value().is_empty())
    };
    other.type_id == id::HARDWARE_MODULE_NAME && module().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_web_addresses_with_a_whole_host() {
        for (url, want) in [
            ("http://ca.example/crl/d.crl", true),
            ("https://x.example/a%20b", true),
            ("http://ca.example:8080", true),
            ("http://127.0.0.1:8080/ca/root.crt", true),
            ("http://[2001:db8::1]:8080/x", true),
            ("http://[::1]/x", true),
            ("http://localhost/x", false),
            ("http://ca/x", false),
            ("http://ca.example:0/x", false),
            ("http://ca.example:080/x", false),
            ("http://ca.example:65536/x", false),
            ("http://ca.example:/x", false),
            ("http://", false),
            ("http:///x", false),
            ("http://user@ca.example/x", false),
            ("http://ca.example/a b", false),
            ("http://ca.example/%2", false),
            ("http://ca.example/ä", false),
            ("http://ca.example/?q=1", false),
            ("http://::1/x", false),
            ("http://[127.0.0.1]/x", false),
            ("HTTP://ca.example/x", false),
            ("ftp://ca.example/x", false),
            ("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", false),
            ("", false),
        ] {
            assert_eq!(is_url(url), want, "{url}");
        }
        assert!(is_http_url("http://ca.example/x") && !is_http_url("https://ca.example/x"));
    }

    #[test]
    fn dns_names_have_two_labels_and_servers_may_have_one() {
        for (name, device, server) in [
            ("thermo-1.devices.example", true, true),
            ("xn--nxasmq6b.example", true, true),
            ("1.example", true, true),
            ("localhost", false, true),
            ("a.b", false, true),
            ("a.example1", false, true),
            ("1.2.3.4", false, false),
            ("*.example", false, false),
            ("a..example", false, false),
            ("a.example.", false, false),
            ("-a.example", false, false),
            ("a-.example", false, false),
            ("a_b.example", false, false),
            ("ä.example", false, false),
            ("", false, false),
        ] {
            assert_eq!(
                (is_dns_name(name), is_host_name(name)),
                (device, server),
                "{name}"
            );
        }
        let long = ["a"; 126].join(".") + ".example";
        assert!(!is_dns_name(&long) && !is_dns_name(&("a".repeat(64) + ".example")));
    }
}
