//! The certificates that Imprint issues, each as one struct of exactly what may vary.
//!
//! Nothing comes from a request but the key. Times are UTCTime through 2049 and GeneralizedTime
//! from then on; `99991231235959Z` is no expiry (RFC 5280 section 4.1.2.5).

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use const_oid::ObjectIdentifier;
use imprint_identity::UnixTime;

use super::extension::{authority_key_id_der, extension_der};
use crate::asn1::{
    boolean, explicit, integer, octet_string, oid, positive_integer, primitive, sequence,
    sequence_of, tag,
};
use crate::key::PublicKey;
use crate::signature_algorithm::SignatureAlgorithm;
use crate::{dn, names, oid as id, time};

/// A device's LDevID (IEEE 802.1AR): client authentication and nothing else.
///
/// ```text
/// subject           CN=<name in the fleet>
/// keyUsage          critical: digitalSignature
/// extKeyUsage       clientAuth
/// subjectAltName    hardwareModuleName, URIs, DNS names
/// basicConstraints  absent, which means not a CA
/// ```
#[derive(Debug, Clone)]
pub struct Leaf<'a> {
    /// 20 octets, the first between 0x01 and 0x7f.
    pub serial: [u8; 20],
    /// The issuing authority's subject, byte for byte.
    pub issuer_der: &'a [u8],
    /// The issuing authority's subjectKeyIdentifier.
    pub authority_key_id: [u8; 20],
    /// The device's name, 1 to 64 characters.
    pub subject_common_name: &'a str,
    /// The key, the one thing taken from the request.
    pub public_key: &'a PublicKey,
    /// Its identifier (RFC 7093 section 2, method 1).
    pub subject_key_id: [u8; 20],
    /// First second of validity.
    pub not_before: UnixTime,
    /// Last second of validity.
    pub not_after: UnixTime,
    /// `hwType` as OBJECT IDENTIFIER content octets, and `hwSerialNum`.
    pub hardware: Option<(&'a [u8], &'a [u8])>,
    /// URIs among the names.
    pub uris: &'a [String],
    /// DNS names among the names.
    pub dns_names: &'a [String],
    /// Where relying parties find the CRL.
    pub crl_url: Option<&'a str>,
    /// Where relying parties find the issuer's certificate.
    pub issuer_url: Option<&'a str>,
    /// How it will be signed.
    pub signature_algorithm: SignatureAlgorithm,
}

impl Leaf<'_> {
    /// The TBSCertificate in DER.
    #[must_use]
    pub fn to_be_signed(&self) -> Vec<u8> {
        let hardware = self
            .hardware
            .map(|(hw_type, serial)| names::write_hardware_module(hw_type, serial));
        let uris = self.uris.iter().map(|uri| names::write_uri(uri));
        let dns_names = self.dns_names.iter().map(|name| names::write_dns(name));
        let names: Vec<_> = hardware.into_iter().chain(uris).chain(dns_names).collect();
        let mut extensions = vec_of([
            key_usage(DIGITAL_SIGNATURE),
            extended_key_usages(&[id::CLIENT_AUTH]),
            subject_key_id(self.subject_key_id),
            authority_key_id_der(&self.authority_key_id),
        ]);
        extensions.extend(subject_alt_name(&names));
        extensions.extend(self.crl_url.map(crl_distribution_point));
        extensions.extend(self.issuer_url.map(ca_issuers));
        Common {
            serial: self.serial,
            signature_algorithm: self.signature_algorithm,
            issuer_der: self.issuer_der,
            not_before: self.not_before,
            not_after: self.not_after,
            subject_der: &dn::common_name_der(self.subject_common_name, None),
            public_key: self.public_key,
        }
        .to_be_signed(&extensions)
    }
}

/// A certificate authority: the root (issuer and subject are the same) or an issuing one.
#[derive(Debug, Clone)]
pub struct Authority<'a> {
    /// 20 octets, the first between 0x01 and 0x7f.
    pub serial: [u8; 20],
    /// The issuer's subject, byte for byte; for a root, its own.
    pub issuer_der: &'a [u8],
    /// The issuer's subjectKeyIdentifier; for a root, its own.
    pub authority_key_id: [u8; 20],
    /// Its name, from [`dn::common_name_der`].
    pub subject_der: &'a [u8],
    /// Its key.
    pub public_key: &'a PublicKey,
    /// The key's identifier. It stays the same over renewals with the same key.
    pub subject_key_id: [u8; 20],
    /// First second of validity.
    pub not_before: UnixTime,
    /// Last second of validity.
    pub not_after: UnixTime,
    /// How many authorities may follow below: 0 for one that issues to devices.
    pub path_len: Option<u8>,
    /// Where relying parties find the CRL.
    pub crl_url: Option<&'a str>,
    /// Where relying parties find the issuer's certificate.
    pub issuer_url: Option<&'a str>,
    /// How it will be signed.
    pub signature_algorithm: SignatureAlgorithm,
}

impl Authority<'_> {
    /// The TBSCertificate in DER.
    #[must_use]
    pub fn to_be_signed(&self) -> Vec<u8> {
        let mut extensions = vec_of([
            authority_constraints(self.path_len),
            key_usage(KEY_CERT_SIGN | CRL_SIGN),
            subject_key_id(self.subject_key_id),
            authority_key_id_der(&self.authority_key_id),
        ]);
        extensions.extend(self.crl_url.map(crl_distribution_point));
        extensions.extend(self.issuer_url.map(ca_issuers));
        Common {
            serial: self.serial,
            signature_algorithm: self.signature_algorithm,
            issuer_der: self.issuer_der,
            not_before: self.not_before,
            not_after: self.not_after,
            subject_der: self.subject_der,
            public_key: self.public_key,
        }
        .to_be_signed(&extensions)
    }
}

/// The registrar's own TLS certificate: a server that may speak for the CA, so that EST clients
/// trust it whatever name they reached it by (RFC 7030 section 3.6.1).
#[derive(Debug, Clone)]
pub struct Server<'a> {
    /// 20 octets, the first between 0x01 and 0x7f.
    pub serial: [u8; 20],
    /// The issuing authority's subject, byte for byte.
    pub issuer_der: &'a [u8],
    /// The issuing authority's subjectKeyIdentifier.
    pub authority_key_id: [u8; 20],
    /// A name for people, 1 to 64 characters; clients look at the two lists below.
    pub subject_common_name: &'a str,
    /// The server's key.
    pub public_key: &'a PublicKey,
    /// Its identifier.
    pub subject_key_id: [u8; 20],
    /// First second of validity.
    pub not_before: UnixTime,
    /// Last second of validity.
    pub not_after: UnixTime,
    /// The DNS names that it answers to.
    pub dns_names: &'a [String],
    /// The addresses that it answers at.
    pub ip_addresses: &'a [IpAddr],
    /// Where relying parties find the CRL.
    pub crl_url: Option<&'a str>,
    /// Where relying parties find the issuer's certificate.
    pub issuer_url: Option<&'a str>,
    /// How it will be signed.
    pub signature_algorithm: SignatureAlgorithm,
}

impl Server<'_> {
    /// The TBSCertificate in DER.
    #[must_use]
    pub fn to_be_signed(&self) -> Vec<u8> {
        let dns_names = self.dns_names.iter().map(|name| names::write_dns(name));
        let addresses = self
            .ip_addresses
            .iter()
            .map(|address| names::write_ip(*address));
        let names: Vec<_> = dns_names.chain(addresses).collect();
        let mut extensions = vec_of([
            key_usage(DIGITAL_SIGNATURE),
            extended_key_usages(&[id::SERVER_AUTH, id::CMC_RA]),
            subject_key_id(self.subject_key_id),
            authority_key_id_der(&self.authority_key_id),
        ]);
        extensions.extend(subject_alt_name(&names));
        extensions.extend(self.crl_url.map(crl_distribution_point));
        extensions.extend(self.issuer_url.map(ca_issuers));
        Common {
            serial: self.serial,
            signature_algorithm: self.signature_algorithm,
            issuer_der: self.issuer_der,
            not_before: self.not_before,
            not_after: self.not_after,
            subject_der: &dn::common_name_der(self.subject_common_name, None),
            public_key: self.public_key,
        }
        .to_be_signed(&extensions)
    }
}

/// The fields that every TBSCertificate has.
struct Common<'a> {
    serial: [u8; 20],
    signature_algorithm: SignatureAlgorithm,
    issuer_der: &'a [u8],
    not_before: UnixTime,
    not_after: UnixTime,
    subject_der: &'a [u8],
    public_key: &'a PublicKey,
}

impl Common<'_> {
    /// RFC 5280 section 4.1, version 3.
    fn to_be_signed(&self, extensions: &[Vec<u8>]) -> Vec<u8> {
        sequence(&[
            &explicit(0, &integer(2)),
            &positive_integer(&self.serial),
            &self.signature_algorithm.to_der(),
            self.issuer_der,
            &sequence(&[&time::write(self.not_before), &time::write(self.not_after)]),
            self.subject_der,
            self.public_key.spki_der(),
            &explicit(3, &sequence_of(extensions)),
        ])
    }
}

/// Bits of keyUsage in its first octet (RFC 5280 section 4.2.1.3).
const DIGITAL_SIGNATURE: u8 = 0x80;
const KEY_CERT_SIGN: u8 = 0x04;
const CRL_SIGN: u8 = 0x02;

fn key_usage(bits: u8) -> Vec<u8> {
    // A named BIT STRING drops its trailing zero bits and says how many it dropped.
    let unused = u8::try_from(bits.trailing_zeros()).unwrap_or(0);
    extension_der(
        id::KEY_USAGE,
        true,
        &primitive(tag::BIT_STRING, &[unused, bits]),
    )
}

fn authority_constraints(path_len: Option<u8>) -> Vec<u8> {
    let path_len = path_len.map_or_else(Vec::new, |path_len| integer(path_len.into()));
    extension_der(
        id::BASIC_CONSTRAINTS,
        true,
        &sequence(&[&boolean(true), &path_len]),
    )
}

fn extended_key_usages(usages: &[ObjectIdentifier]) -> Vec<u8> {
    let usages: Vec<_> = usages.iter().map(|usage| oid(*usage)).collect();
    extension_der(id::EXTENDED_KEY_USAGE, false, &sequence_of(&usages))
}

fn subject_key_id(key_id: [u8; 20]) -> Vec<u8> {
    extension_der(id::SUBJECT_KEY_IDENTIFIER, false, &octet_string(&key_id))
}

/// Absent when there is no name: an empty list would not be a valid one. Not critical, because
/// the subject is never empty.
fn subject_alt_name(names: &[Vec<u8>]) -> Option<Vec<u8>> {
    if names.is_empty() {
        return None;
    }
    Some(extension_der(
        id::SUBJECT_ALT_NAME,
        false,
        &names::write(names),
    ))
}

/// One DistributionPoint with one fullName.
fn crl_distribution_point(url: &str) -> Vec<u8> {
    let full_name = explicit(0, &names::write_uri(url));
    let point = sequence(&[&explicit(0, &full_name)]);
    extension_der(id::CRL_DISTRIBUTION_POINTS, false, &sequence(&[&point]))
}

fn ca_issuers(url: &str) -> Vec<u8> {
    let description = sequence(&[&oid(id::CA_ISSUERS), &names::write_uri(url)]);
    extension_der(id::AUTHORITY_INFO_ACCESS, false, &sequence(&[&description]))
}

fn vec_of<const N: usize>(items: [Vec<u8>; N]) -> Vec<Vec<u8>> {
    items.into_iter().collect()
}
