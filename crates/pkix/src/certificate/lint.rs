//! The last look at what is about to be signed (CA/B Baseline Requirements 4.3.1.2 asks the same
//! of public authorities).
//!
//! It shares no code with the profiles: another reader (`x509-cert`, which is strict) takes the
//! finished bytes apart, and every finding has a name. What passes here, `pkilint` must not fault.

mod names;

pub use names::{is_dns_name, is_http_url, is_url};

use der::{Decode, Encode};
use x509_cert::TbsCertificate;
use x509_cert::certificate::Version;
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints, CrlDistributionPoints,
    ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifierOwned;

use crate::key::{KeyError, PublicKey};
use crate::oid as id;
use crate::signature_algorithm::SignatureAlgorithm;

/// Looks at a TBSCertificate and names the first thing that would make a bad certificate.
///
/// Device, server and authority are told apart by their basicConstraints and extended key usage;
/// anything that is none of the three is a finding.
pub fn lint(tbs_der: &[u8]) -> Result<(), LintError> {
    let tbs = TbsCertificate::from_der(tbs_der).map_err(|_| LintError::Unreadable)?;
    // A value can have many spellings and DER has one. This also catches times in the wrong form.
    if tbs.to_der().ok().as_deref() != Some(tbs_der) {
        return Err(LintError::NotCanonical);
    }
    if tbs.version() != Version::V3 {
        return Err(LintError::Version);
    }
    serial(tbs.serial_number().as_bytes())?;
    signature(&tbs)?;
    validity(&tbs)?;
    common_name(tbs.subject(), LintError::Subject)?;
    common_name(tbs.issuer(), LintError::Issuer)?;
    let spki = tbs
        .subject_public_key_info()
        .to_der()
        .map_err(|_| LintError::Unreadable)?;
    PublicKey::parse(&spki).map_err(LintError::Key)?;
    if tbs.issuer_unique_id().is_some() || tbs.subject_unique_id().is_some() {
        return Err(LintError::UniqueId);
    }
    extensions(&tbs)
}

/// The algorithm by which a TBSCertificate says that it will be signed: the one to sign it with.
#[must_use]
pub fn announced_algorithm(tbs_der: &[u8]) -> Option<SignatureAlgorithm> {
    announced(TbsCertificate::from_der(tbs_der).ok()?.signature())
}

/// One that we sign with: parameters absent for ECDSA and Ed25519, NULL for RSA (RFC 5758, RFC 8410,
/// RFC 4055).
fn announced(identifier: &AlgorithmIdentifierOwned) -> Option<SignatureAlgorithm> {
    use SignatureAlgorithm as Known;
    let known = match identifier.oid {
        id::ECDSA_WITH_SHA256 => Known::EcdsaSha256,
        id::ECDSA_WITH_SHA384 => Known::EcdsaSha384,
        id::ECDSA_WITH_SHA512 => Known::EcdsaSha512,
        id::ED25519 => Known::Ed25519,
        id::SHA256_WITH_RSA => Known::RsaPkcs1Sha256,
        id::SHA384_WITH_RSA => Known::RsaPkcs1Sha384,
        id::SHA512_WITH_RSA => Known::RsaPkcs1Sha512,
        _ => return None,
    };
    let is_rsa = matches!(
        known,
        Known::RsaPkcs1Sha256 | Known::RsaPkcs1Sha384 | Known::RsaPkcs1Sha512
    );
    let fits = match &identifier.parameters {
        None => !is_rsa,
        Some(parameters) => is_rsa && parameters.is_null(),
    };
    fits.then_some(known)
}

/// Positive, not zero, at least 64 bits, at most 20 octets (RFC 5280 section 4.1.2.2).
fn serial(content: &[u8]) -> Result<(), LintError> {
    let positive = content.first().is_some_and(|top| *top < 0x80);
    if positive && (9..=20).contains(&content.len()) {
        Ok(())
    } else {
        Err(LintError::Serial)
    }
}

fn signature(tbs: &TbsCertificate) -> Result<(), LintError> {
    match announced(tbs.signature()) {
        Some(_) => Ok(()),
        None => Err(LintError::SignatureAlgorithm),
    }
}

fn validity(tbs: &TbsCertificate) -> Result<(), LintError> {
    let validity = tbs.validity();
    let not_before = validity.not_before.to_unix_duration();
    let not_after = validity.not_after.to_unix_duration();
    if not_before < not_after {
        Ok(())
    } else {
        Err(LintError::Validity)
    }
}

/// Exactly one common name of 1 to 64 printable characters (RFC 5280 appendix A).
fn common_name(name: &Name, finding: LintError) -> Result<(), LintError> {
    let texts = name
        .iter()
        .filter(|attribute| attribute.oid == id::COMMON_NAME);
    let mut texts = texts.map(|attribute| attribute.value.decode_as::<alloc::string::String>());
    match (texts.next(), texts.next()) {
        (Some(Ok(text)), None)
            if (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control) =>
        {
            Ok(())
        }
        _ => Err(finding),
    }
}

fn extensions(tbs: &TbsCertificate) -> Result<(), LintError> {
    let list = tbs
        .extensions()
        .map(alloc::vec::Vec::as_slice)
        .unwrap_or_default();
    for (position, extension) in list.iter().enumerate() {
        if !KNOWN.contains(&extension.extn_id) {
            return Err(LintError::ExtensionUnknown);
        }
        if list
            .iter()
            .take(position)
            .any(|earlier| earlier.extn_id == extension.extn_id)
        {
            return Err(LintError::ExtensionRepeated);
        }
        let critical = matches!(extension.extn_id, id::KEY_USAGE | id::BASIC_CONSTRAINTS);
        if extension.critical != critical {
            return Err(LintError::Criticality);
        }
    }
    key_ids(tbs)?;
    let authority = is_authority(tbs)?;
    key_usage(tbs, authority)?;
    extended_key_usage(tbs, authority)?;
    match (find(tbs, LintError::SubjectAltName)?, is_server(tbs)?) {
        (Some(SubjectAltName(names)), true) => names::of_server(&names)?,
        (Some(SubjectAltName(names)), false) if !authority => names::of_device(&names)?,
        (None, false) => {}
        // A server without a name is one that no client can trust; an authority has only its own.
        _ => return Err(LintError::SubjectAltName),
    }
    if let Some(CrlDistributionPoints(points)) = find(tbs, LintError::CrlUrl)? {
        names::crl_points(&points)?;
    }
    if let Some(AuthorityInfoAccessSyntax(descriptions)) = find(tbs, LintError::IssuerUrl)? {
        names::authority_info(&descriptions)?;
    }
    Ok(())
}

/// Both identifiers, 20 octets each, and the authority's by key alone. On a self-issued certificate
/// they are the same.
fn key_ids(tbs: &TbsCertificate) -> Result<(), LintError> {
    let finding = LintError::SubjectKeyId;
    let SubjectKeyIdentifier(subject) = find(tbs, finding)?.ok_or(finding)?;
    if subject.as_bytes().len() != 20 {
        return Err(finding);
    }
    let finding = LintError::AuthorityKeyId;
    let authority: AuthorityKeyIdentifier = find(tbs, finding)?.ok_or(finding)?;
    let by_key_alone = authority.authority_cert_issuer.is_none()
        && authority.authority_cert_serial_number.is_none();
    let key_id = authority
        .key_identifier
        .filter(|_| by_key_alone)
        .ok_or(finding)?;
    let self_issued = tbs.issuer() == tbs.subject();
    if key_id.as_bytes().len() == 20 && (key_id == subject) == self_issued {
        Ok(())
    } else {
        Err(finding)
    }
}

/// basicConstraints is either absent or says that this is an authority.
fn is_authority(tbs: &TbsCertificate) -> Result<bool, LintError> {
    let finding = LintError::BasicConstraints;
    match find::<BasicConstraints>(tbs, finding)? {
        None => Ok(false),
        Some(constraints) if constraints.ca => Ok(true),
        Some(_) => Err(finding),
    }
}

fn key_usage(tbs: &TbsCertificate, authority: bool) -> Result<(), LintError> {
    let finding = LintError::KeyUsage;
    let KeyUsage(usages) = find(tbs, finding)?.ok_or(finding)?;
    let want = if authority {
        KeyUsages::KeyCertSign | KeyUsages::CRLSign
    } else {
        KeyUsages::DigitalSignature.into()
    };
    if usages == want { Ok(()) } else { Err(finding) }
}

fn extended_key_usage(tbs: &TbsCertificate, authority: bool) -> Result<(), LintError> {
    let finding = LintError::ExtendedKeyUsage;
    let usages = find::<ExtendedKeyUsage>(tbs, finding)?;
    let usages = usages
        .as_ref()
        .map(|ExtendedKeyUsage(usages)| usages.as_slice());
    let good = match usages {
        None => authority,
        Some(usages) => !authority && (usages == DEVICE_USAGES || usages == SERVER_USAGES),
    };
    if good { Ok(()) } else { Err(finding) }
}

fn is_server(tbs: &TbsCertificate) -> Result<bool, LintError> {
    let usages = find::<ExtendedKeyUsage>(tbs, LintError::ExtendedKeyUsage)?;
    Ok(usages.is_some_and(|ExtendedKeyUsage(usages)| usages.as_slice() == SERVER_USAGES))
}

/// The extension of this type, if it is there; `finding` if it can't be read.
fn find<'a, T>(tbs: &'a TbsCertificate, finding: LintError) -> Result<Option<T>, LintError>
where
    T: Decode<'a> + const_oid::AssociatedOid,
{
    let found = tbs.get_extension::<T>().map_err(|_| finding)?;
    Ok(found.map(|(_, value)| value))
}

const KNOWN: [const_oid::ObjectIdentifier; 8] = [
    id::KEY_USAGE,
    id::EXTENDED_KEY_USAGE,
    id::SUBJECT_KEY_IDENTIFIER,
    id::AUTHORITY_KEY_IDENTIFIER,
    id::SUBJECT_ALT_NAME,
    id::BASIC_CONSTRAINTS,
    id::CRL_DISTRIBUTION_POINTS,
    id::AUTHORITY_INFO_ACCESS,
];

const DEVICE_USAGES: &[const_oid::ObjectIdentifier] = &[id::CLIENT_AUTH];
const SERVER_USAGES: &[const_oid::ObjectIdentifier] = &[id::SERVER_AUTH, id::CMC_RA];

/// What is wrong with a certificate that was about to be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LintError {
    /// Not a TBSCertificate.
    #[error("it can't be read")]
    Unreadable,
    /// Not DER, or a time in the wrong form for its year.
    #[error("it is not in canonical form")]
    NotCanonical,
    /// Not version 3.
    #[error("it is not of version 3")]
    Version,
    /// Not positive, under 64 bits, or over 20 octets.
    #[error("the serial number is not positive, too short or too long")]
    Serial,
    /// Announces a signature algorithm that we don't make. RSA-PSS is one: requests may use it, but
    /// few relying parties check it and `pkilint` can't.
    #[error("the signature algorithm is not supported")]
    SignatureAlgorithm,
    /// It ends before it begins.
    #[error("it ends before it begins")]
    Validity,
    /// Not exactly one common name of 1 to 64 printable characters.
    #[error("the subject has not one common name of 1 to 64 characters")]
    Subject,
    /// Not exactly one common name of 1 to 64 printable characters.
    #[error("the issuer has not one common name of 1 to 64 characters")]
    Issuer,
    /// A key that we would refuse in a request.
    #[error("the key is refused: {0}")]
    Key(KeyError),
    /// A unique identifier (RFC 5280 section 4.1.2.8 forbids).
    #[error("it has a unique identifier")]
    UniqueId,
    /// An extension that no profile has.
    #[error("it has an extension that no profile has")]
    ExtensionUnknown,
    /// The same extension twice.
    #[error("it has an extension twice")]
    ExtensionRepeated,
    /// Critical where it must not be, or the other way round.
    #[error("an extension has the wrong criticality")]
    Criticality,
    /// Missing, or not 20 octets.
    #[error("the subject key identifier is missing or wrong")]
    SubjectKeyId,
    /// Missing, not 20 octets, or at odds with who issued it.
    #[error("the authority key identifier is missing or wrong")]
    AuthorityKeyId,
    /// There, but not for an authority.
    #[error("the basic constraints are wrong")]
    BasicConstraints,
    /// Missing, or not exactly what its kind of certificate may do.
    #[error("the key usage is missing or wrong")]
    KeyUsage,
    /// Missing, or not exactly what its kind of certificate may do.
    #[error("the extended key usage is missing or wrong")]
    ExtendedKeyUsage,
    /// Missing on a server, empty, repeated, or of a kind that the certificate may not have.
    #[error("the subject alternative names are missing, repeated or of the wrong kind")]
    SubjectAltName,
    /// Not an [`is_url`].
    #[error("a URI in the names is not an http or https URL with a full host name or address")]
    Uri,
    /// On a device, not an [`is_dns_name`].
    #[error("a DNS name in the names is not a full host name")]
    DnsName,
    /// An otherName that is not a well-formed hardwareModuleName.
    #[error("the hardware module name is not well formed")]
    HardwareModule,
    /// Not one [`is_http_url`].
    #[error("the CRL's place is not one http URL with a full host name or address")]
    CrlUrl,
    /// Not one [`is_http_url`].
    #[error("the issuer's place is not one http URL with a full host name or address")]
    IssuerUrl,
}
