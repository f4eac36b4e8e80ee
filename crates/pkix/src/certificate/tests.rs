use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use const_oid::ObjectIdentifier;
use proptest::prelude::*;

use super::*;
use crate::asn1::{
    boolean, explicit, integer, octet_string, oid, primitive, sequence, sequence_of, set,
};
use crate::key::{KeyAlgorithm, spki_der};
use crate::names::{write_dns, write_hardware_module, write_ip, write_uri};
use crate::oid as id;

/// A device's TBSCertificate in pieces, so that one can be wrong at a time.
#[derive(Clone)]
struct Parts {
    version: Vec<u8>,
    serial: Vec<u8>,
    algorithm: Vec<u8>,
    issuer: Vec<u8>,
    validity: Vec<u8>,
    subject: Vec<u8>,
    spki: Vec<u8>,
    unique_ids: Vec<u8>,
    extensions: Vec<Vec<u8>>,
}

const KU: usize = 0;
const EKU: usize = 1;
const SKI: usize = 2;
const AKI: usize = 3;
const SAN: usize = 4;
const CRL: usize = 5;
const AIA: usize = 6;

impl Parts {
    fn device() -> Self {
        Self {
            version: explicit(0, &integer(2)),
            serial: primitive(tag::INTEGER, &[0x01; 20]),
            algorithm: SignatureAlgorithm::EcdsaSha256.to_der(),
            issuer: dn::common_name_der("Issuer", None),
            validity: validity(1_000, 2_000),
            subject: dn::common_name_der("device", None),
            spki: spki(),
            unique_ids: vec![],
            extensions: vec![
                key_usage(true, &[7, 0x80]),
                extension_der(
                    id::EXTENDED_KEY_USAGE,
                    false,
                    &sequence(&[&oid(id::CLIENT_AUTH)]),
                ),
                extension_der(id::SUBJECT_KEY_IDENTIFIER, false, &octet_string(&[7; 20])),
                authority_key_id_der(&[8; 20]),
                san(&[
                    write_hardware_module(&[0x2a, 0x03], &[1]),
                    write_uri("https://a.example/b"),
                    write_dns("a.example"),
                ]),
                crl_point(&[write_uri("http://a.example/c")]),
                aia(&[(id::CA_ISSUERS, write_uri("http://a.example/i"))]),
            ],
        }
    }

    fn server() -> Self {
        let mut parts = Self::device();
        let usages = [oid(id::SERVER_AUTH), oid(id::CMC_RA)];
        parts.extensions[EKU] = extension_der(id::EXTENDED_KEY_USAGE, false, &sequence_of(&usages));
        parts.extensions[SAN] = san(&[write_dns("localhost"), write_ip([127, 0, 0, 1].into())]);
        parts
    }

    fn authority() -> Self {
        let mut parts = Self::device();
        parts.extensions[KU] = key_usage(true, &[1, 0x06]);
        parts.extensions[EKU] = constraints(true, &[&boolean(true), &integer(0)]);
        parts.extensions.remove(SAN);
        parts
    }

    fn tbs(&self) -> Vec<u8> {
        let extensions = match self.extensions.as_slice() {
            [] => vec![],
            extensions => explicit(3, &sequence_of(extensions)),
        };
        sequence(&[
            &self.version,
            &self.serial,
            &self.algorithm,
            &self.issuer,
            &self.validity,
            &self.subject,
            &self.spki,
            &self.unique_ids,
            &extensions,
        ])
    }

    fn certificate(&self) -> Vec<u8> {
        assemble(&self.tbs(), SignatureAlgorithm::EcdsaSha256, &[1, 2, 3])
    }
}

fn spki() -> Vec<u8> {
    spki_der(KeyAlgorithm::P256, &[&[0x04], &[0x11; 64][..]].concat())
}

fn validity(from: i64, to: i64) -> Vec<u8> {
    sequence(&[&time::write(UnixTime(from)), &time::write(UnixTime(to))])
}

fn key_usage(critical: bool, bits: &[u8]) -> Vec<u8> {
    extension_der(id::KEY_USAGE, critical, &primitive(tag::BIT_STRING, bits))
}

fn constraints(critical: bool, fields: &[&[u8]]) -> Vec<u8> {
    extension_der(id::BASIC_CONSTRAINTS, critical, &sequence(fields))
}

fn san(names: &[Vec<u8>]) -> Vec<u8> {
    extension_der(id::SUBJECT_ALT_NAME, false, &sequence_of(names))
}

fn crl_point(names: &[Vec<u8>]) -> Vec<u8> {
    let point = sequence(&[&explicit(0, &explicit(0, &names.concat()))]);
    extension_der(id::CRL_DISTRIBUTION_POINTS, false, &sequence(&[&point]))
}

fn aia(descriptions: &[(ObjectIdentifier, Vec<u8>)]) -> Vec<u8> {
    let descriptions: Vec<_> = descriptions
        .iter()
        .map(|(method, name)| sequence(&[&oid(*method), name]))
        .collect();
    extension_der(
        id::AUTHORITY_INFO_ACCESS,
        false,
        &sequence_of(&descriptions),
    )
}

fn extended(usages: &[ObjectIdentifier]) -> Vec<u8> {
    let usages: Vec<_> = usages.iter().map(|usage| oid(*usage)).collect();
    extension_der(id::EXTENDED_KEY_USAGE, false, &sequence_of(&usages))
}

#[test]
fn good_certificates_have_no_finding() {
    for (what, parts) in [
        ("device", Parts::device()),
        ("server", Parts::server()),
        ("authority", Parts::authority()),
    ] {
        assert_eq!(lint(&parts.tbs()), Ok(()), "{what}");
        Certificate::parse(&parts.certificate()).unwrap();
    }
    let mut bare = Parts::device();
    bare.extensions.truncate(AKI + 1);
    assert_eq!(lint(&bare.tbs()), Ok(()), "no names and no pointers");
    let mut root = Parts::authority();
    root.issuer.clone_from(&root.subject);
    root.extensions[AKI] = authority_key_id_der(&[7; 20]);
    assert_eq!(lint(&root.tbs()), Ok(()), "root");
}

type Spoil = fn(&mut Parts);

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one table: each thing that can be wrong, once"
)]
fn each_wrong_thing_on_a_device_is_found() {
    use LintError as E;
    let rows: &[(&str, E, Spoil)] = &[
        ("version 1", E::NotCanonical, |p| {
            p.version = explicit(0, &integer(0));
        }),
        ("version absent", E::Version, |p| p.version.clear()),
        ("version 2", E::Version, |p| {
            p.version = explicit(0, &integer(1));
        }),
        ("version 4", E::Unreadable, |p| {
            p.version = explicit(0, &integer(3));
        }),
        ("serial 0", E::Serial, |p| p.serial = integer(0)),
        ("serial short", E::Serial, |p| p.serial = integer(1)),
        ("serial negative", E::Serial, |p| {
            p.serial = primitive(tag::INTEGER, &[0x80; 20]);
        }),
        ("serial long", E::Serial, |p| {
            p.serial = primitive(tag::INTEGER, &[1; 21]);
        }),
        ("serial very long", E::Unreadable, |p| {
            p.serial = primitive(tag::INTEGER, &[1; 22]);
        }),
        ("serial padded", E::Unreadable, |p| {
            p.serial = primitive(tag::INTEGER, &[0, 1]);
        }),
        ("SHA-1", E::SignatureAlgorithm, |p| {
            p.algorithm = sequence(&[&oid(ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"))]);
        }),
        ("PSS", E::SignatureAlgorithm, |p| {
            p.algorithm = SignatureAlgorithm::RsaPssSha256.to_der();
        }),
        ("NULL for ECDSA", E::SignatureAlgorithm, |p| {
            let null = primitive(tag::NULL, &[]);
            p.algorithm = sequence(&[&oid(id::ECDSA_WITH_SHA256), &null]);
        }),
        ("ends before it begins", E::Validity, |p| {
            p.validity = validity(2_000, 1_000);
        }),
        ("ends when it begins", E::Validity, |p| {
            p.validity = validity(2_000, 2_000);
        }),
        ("1970 as GeneralizedTime", E::NotCanonical, |p| {
            let early = primitive(tag::GENERALIZED_TIME, b"19700101000001Z");
            p.validity = sequence(&[&early, &time::write(UnixTime(2_000))]);
        }),
        ("no seconds", E::Unreadable, |p| {
            let early = primitive(tag::UTC_TIME, b"7001010000Z");
            p.validity = sequence(&[&early, &time::write(UnixTime(2_000))]);
        }),
        ("a fraction", E::Unreadable, |p| {
            let late = primitive(tag::GENERALIZED_TIME, b"20600101000001.5Z");
            p.validity = sequence(&[&time::write(UnixTime(1_000)), &late]);
        }),
        ("empty subject", E::Subject, |p| p.subject = sequence(&[])),
        ("empty common name", E::Subject, |p| {
            p.subject = dn::common_name_der("", None);
        }),
        ("65 characters", E::Subject, |p| {
            p.subject = dn::common_name_der(&"x".repeat(65), None);
        }),
        ("NUL", E::Subject, |p| {
            p.subject = dn::common_name_der("a\0b", None);
        }),
        ("line feed", E::Subject, |p| {
            p.subject = dn::common_name_der("a\nb", None);
        }),
        ("two common names", E::Subject, |p| {
            let name = set(&[&sequence(&[
                &oid(id::COMMON_NAME),
                &primitive(tag::UTF8_STRING, b"x"),
            ])]);
            p.subject = sequence(&[&name, &name]);
        }),
        ("not UTF-8", E::Subject, |p| {
            let value = primitive(tag::UTF8_STRING, b"\xff");
            p.subject = sequence(&[&set(&[&sequence(&[&oid(id::COMMON_NAME), &value])])]);
        }),
        ("issuer empty", E::Issuer, |p| p.issuer = sequence(&[])),
        ("compressed point", E::Key(KeyError::CompressedPoint), |p| {
            p.spki = spki_der(KeyAlgorithm::P256, &[&[0x02], &[0x11; 32][..]].concat());
        }),
        ("unique id", E::UniqueId, |p| {
            p.unique_ids = primitive(tag::implicit(1), &[0, 1]);
        }),
        ("no extensions", E::SubjectKeyId, |p| p.extensions.clear()),
        ("unknown extension", E::ExtensionUnknown, |p| {
            let netscape = ObjectIdentifier::new_unwrap("2.16.840.1.113730.1.1");
            p.extensions
                .push(extension_der(netscape, false, &boolean(true)));
        }),
        ("repeated", E::ExtensionRepeated, |p| {
            p.extensions.push(p.extensions[KU].clone());
        }),
        ("KU not critical", E::Criticality, |p| {
            p.extensions[KU] = key_usage(false, &[7, 0x80]);
        }),
        ("EKU critical", E::Criticality, |p| {
            p.extensions[EKU] = extension_der(
                id::EXTENDED_KEY_USAGE,
                true,
                &sequence(&[&oid(id::CLIENT_AUTH)]),
            );
        }),
        ("FALSE written out", E::NotCanonical, |p| {
            p.extensions[SKI] = sequence(&[
                &oid(id::SUBJECT_KEY_IDENTIFIER),
                &boolean(false),
                &octet_string(&octet_string(&[7; 20])),
            ]);
        }),
        ("no SKI", E::SubjectKeyId, |p| {
            drop(p.extensions.remove(SKI));
        }),
        ("SKI short", E::SubjectKeyId, |p| {
            p.extensions[SKI] =
                extension_der(id::SUBJECT_KEY_IDENTIFIER, false, &octet_string(&[7; 19]));
        }),
        ("no AKI", E::AuthorityKeyId, |p| {
            drop(p.extensions.remove(AKI));
        }),
        ("AKI empty", E::AuthorityKeyId, |p| {
            p.extensions[AKI] = extension_der(id::AUTHORITY_KEY_IDENTIFIER, false, &sequence(&[]));
        }),
        ("AKI short", E::AuthorityKeyId, |p| {
            p.extensions[AKI] = authority_key_id_der(&[8; 4]);
        }),
        ("AKI is SKI", E::AuthorityKeyId, |p| {
            p.extensions[AKI] = authority_key_id_der(&[7; 20]);
        }),
        ("no KU", E::KeyUsage, |p| drop(p.extensions.remove(KU))),
        ("KU also keyEncipherment", E::KeyUsage, |p| {
            p.extensions[KU] = key_usage(true, &[5, 0xa0]);
        }),
        ("KU keyCertSign", E::KeyUsage, |p| {
            p.extensions[KU] = key_usage(true, &[1, 0x06]);
        }),
        ("KU nothing", E::KeyUsage, |p| {
            p.extensions[KU] = key_usage(true, &[0]);
        }),
        ("CA:FALSE", E::BasicConstraints, |p| {
            p.extensions.push(constraints(true, &[]));
        }),
        ("CA:TRUE", E::KeyUsage, |p| {
            p.extensions.push(constraints(true, &[&boolean(true)]));
        }),
        ("no EKU", E::ExtendedKeyUsage, |p| {
            drop(p.extensions.remove(EKU));
        }),
        ("EKU also serverAuth", E::ExtendedKeyUsage, |p| {
            p.extensions[EKU] = extended(&[id::CLIENT_AUTH, id::SERVER_AUTH]);
        }),
        ("EKU twice", E::ExtendedKeyUsage, |p| {
            p.extensions[EKU] = extended(&[id::CLIENT_AUTH, id::CLIENT_AUTH]);
        }),
        ("any EKU", E::ExtendedKeyUsage, |p| {
            p.extensions[EKU] = extended(&[ObjectIdentifier::new_unwrap("2.5.29.37.0")]);
        }),
        ("SAN empty", E::SubjectAltName, |p| {
            p.extensions[SAN] = san(&[]);
        }),
        ("SAN not IA5", E::SubjectAltName, |p| {
            p.extensions[SAN] = san(&[write_dns("ä.example")]);
        }),
        ("SAN repeated", E::SubjectAltName, |p| {
            p.extensions[SAN] = san(&[write_dns("a.example"), write_dns("a.example")]);
        }),
        ("SAN email", E::SubjectAltName, |p| {
            p.extensions[SAN] = san(&[primitive(tag::implicit(1), b"a@a.example")]);
        }),
        ("SAN address", E::SubjectAltName, |p| {
            p.extensions[SAN] = san(&[write_ip([127, 0, 0, 1].into())]);
        }),
        ("SAN urn", E::Uri, |p| {
            p.extensions[SAN] = san(&[write_uri("urn:x:y")]);
        }),
        ("SAN wildcard", E::DnsName, |p| {
            p.extensions[SAN] = san(&[write_dns("*.a.example")]);
        }),
        ("SAN one label", E::DnsName, |p| {
            p.extensions[SAN] = san(&[write_dns("localhost")]);
        }),
        ("no hardware serial", E::HardwareModule, |p| {
            p.extensions[SAN] = san(&[write_hardware_module(&[0x2a, 0x03], &[])]);
        }),
        ("no hardware type", E::HardwareModule, |p| {
            p.extensions[SAN] = san(&[write_hardware_module(&[], &[1])]);
        }),
        ("hardware type cut off", E::HardwareModule, |p| {
            p.extensions[SAN] = san(&[write_hardware_module(&[0x2a, 0x83], &[1])]);
        }),
        ("CRL over https", E::CrlUrl, |p| {
            p.extensions[CRL] = crl_point(&[write_uri("https://a.example/c")]);
        }),
        ("CRL at localhost", E::CrlUrl, |p| {
            p.extensions[CRL] = crl_point(&[write_uri("http://localhost/c")]);
        }),
        ("CRL twice", E::CrlUrl, |p| {
            let url = write_uri("http://a.example/c");
            p.extensions[CRL] = crl_point(&[url.clone(), url]);
        }),
        ("CRL point empty", E::CrlUrl, |p| {
            p.extensions[CRL] = extension_der(id::CRL_DISTRIBUTION_POINTS, false, &sequence(&[]));
        }),
        ("OCSP", E::IssuerUrl, |p| {
            let ocsp = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
            p.extensions[AIA] = aia(&[(ocsp, write_uri("http://a.example/o"))]);
        }),
        ("issuer over ldap", E::IssuerUrl, |p| {
            p.extensions[AIA] = aia(&[(id::CA_ISSUERS, write_uri("ldap://a.example/i"))]);
        }),
        ("no issuer pointer inside", E::IssuerUrl, |p| {
            p.extensions[AIA] = aia(&[]);
        }),
    ];
    for (what, want, spoil) in rows {
        let mut parts = Parts::device();
        spoil(&mut parts);
        assert_eq!(lint(&parts.tbs()), Err(*want), "{what}");
    }
}

#[test]
fn each_wrong_thing_on_an_authority_is_found() {
    use LintError as E;
    let rows: &[(&str, E, Spoil)] = &[
        ("constraints not critical", E::Criticality, |p| {
            p.extensions[EKU] = constraints(false, &[&boolean(true)]);
        }),
        ("CA:FALSE", E::BasicConstraints, |p| {
            p.extensions[EKU] = constraints(true, &[]);
        }),
        ("no constraints", E::KeyUsage, |p| {
            drop(p.extensions.remove(EKU));
        }),
        ("pathLen negative", E::BasicConstraints, |p| {
            let negative = primitive(tag::INTEGER, &[0xff]);
            p.extensions[EKU] = constraints(true, &[&boolean(true), &negative]);
        }),
        ("KU digitalSignature", E::KeyUsage, |p| {
            p.extensions[KU] = key_usage(true, &[7, 0x80]);
        }),
        ("KU keyCertSign alone", E::KeyUsage, |p| {
            p.extensions[KU] = key_usage(true, &[2, 0x04]);
        }),
        ("an EKU", E::ExtendedKeyUsage, |p| {
            p.extensions.push(extended(&[id::CLIENT_AUTH]));
        }),
        ("a SAN", E::SubjectAltName, |p| {
            p.extensions.push(san(&[write_dns("a.example")]));
        }),
        ("self-issued under another key", E::AuthorityKeyId, |p| {
            p.issuer = p.subject.clone();
        }),
    ];
    for (what, want, spoil) in rows {
        let mut parts = Parts::authority();
        spoil(&mut parts);
        assert_eq!(lint(&parts.tbs()), Err(*want), "{what}");
    }
}

#[test]
fn each_wrong_thing_on_a_server_is_found() {
    use LintError as E;
    let rows: &[(&str, E, Spoil)] = &[
        ("no name", E::SubjectAltName, |p| {
            drop(p.extensions.remove(SAN));
        }),
        ("a URI", E::SubjectAltName, |p| {
            p.extensions[SAN] = san(&[write_uri("http://a.b")]);
        }),
        ("wildcard", E::DnsName, |p| {
            p.extensions[SAN] = san(&[write_dns("*.example")]);
        }),
        ("address of 5 octets", E::SubjectAltName, |p| {
            p.extensions[SAN] = san(&[primitive(tag::implicit(7), &[1; 5])]);
        }),
        ("serverAuth alone", E::ExtendedKeyUsage, |p| {
            p.extensions[EKU] = extended(&[id::SERVER_AUTH]);
        }),
    ];
    for (what, want, spoil) in rows {
        let mut parts = Parts::server();
        spoil(&mut parts);
        assert_eq!(lint(&parts.tbs()), Err(*want), "{what}");
    }
}

#[test]
fn trailing_bytes_are_no_certificate() {
    let parts = Parts::device();
    let trailing = [parts.tbs(), vec![0]].concat();
    assert_eq!(lint(&trailing), Err(LintError::Unreadable));
    let what = Malformed("certificate");
    let trailing = [parts.certificate(), vec![0]].concat();
    assert_eq!(Certificate::parse(&trailing).unwrap_err(), what.into());
    let long = vec![0x30; CERTIFICATE_MAX + 1];
    let want = CertificateError::TooLong {
        octets: CERTIFICATE_MAX + 1,
    };
    assert_eq!(Certificate::parse(&long).unwrap_err(), want);
}

#[test]
fn each_reason_not_to_read_a_certificate_is_named() {
    use CertificateError as E;
    let rows: &[(&str, E, Spoil)] = &[
        ("version 1", E::Version, |p| p.version.clear()),
        ("version 2", E::Version, |p| {
            p.version = explicit(0, &integer(1));
        }),
        ("algorithms differ", E::AlgorithmsDiffer, |p| {
            p.algorithm = SignatureAlgorithm::EcdsaSha384.to_der();
        }),
        ("one time", Malformed("validity").into(), |p| {
            p.validity = sequence(&[&time::write(UnixTime(1))]);
        }),
        ("three times", Malformed("validity").into(), |p| {
            let moment = time::write(UnixTime(1));
            p.validity = sequence(&[&moment, &moment, &moment]);
        }),
        ("serial padded", Malformed("serialNumber").into(), |p| {
            p.serial = primitive(tag::INTEGER, &[0, 1]);
        }),
        ("no key", Malformed("subjectPublicKeyInfo").into(), |p| {
            p.spki.clear();
        }),
        ("repeated", E::ExtensionRepeated, |p| {
            p.extensions.push(p.extensions[KU].clone());
        }),
        ("empty list", Malformed("extensions").into(), |p| {
            p.unique_ids = explicit(3, &sequence(&[]));
            p.extensions.clear();
        }),
        (
            "KU bits beyond the end",
            Malformed("keyUsage").into(),
            |p| {
                p.extensions[KU] = key_usage(true, &[7, 0x81]);
            },
        ),
        ("KU unused 8", Malformed("keyUsage").into(), |p| {
            p.extensions[KU] = key_usage(true, &[8, 0x80]);
        }),
        ("EKU empty", Malformed("extKeyUsage").into(), |p| {
            p.extensions[EKU] = extended(&[]);
        }),
        (
            "SKI not octets",
            Malformed("subjectKeyIdentifier").into(),
            |p| {
                p.extensions[SKI] = extension_der(id::SUBJECT_KEY_IDENTIFIER, false, &integer(1));
            },
        ),
        ("SAN empty", Malformed("subjectAltName").into(), |p| {
            p.extensions[SAN] = san(&[]);
        }),
        (
            "CRL url not IA5",
            Malformed("cRLDistributionPoints").into(),
            |p| {
                p.extensions[CRL] = crl_point(&[write_uri("http://ä.example")]);
            },
        ),
    ];
    for (what, want, spoil) in rows {
        let mut parts = Parts::device();
        spoil(&mut parts);
        assert_eq!(
            Certificate::parse(&parts.certificate()).unwrap_err(),
            *want,
            "{what}"
        );
    }
    let sha1 = sequence(&[&oid(ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"))]);
    let parts = Parts {
        algorithm: sha1.clone(),
        ..Parts::device()
    };
    let der = sequence(&[&parts.tbs(), &sha1, &primitive(tag::BIT_STRING, &[0, 1])]);
    assert_eq!(Certificate::parse(&der).unwrap_err(), E::SignatureAlgorithm);
}

#[test]
fn foreign_certificates_read_though_they_are_not_like_ours() {
    let mut parts = Parts::device();
    parts.serial = primitive(tag::INTEGER, &[0x00, 0x80]);
    parts.issuer = sequence(&[]);
    parts.spki = sequence(&[
        &sequence(&[&oid(ObjectIdentifier::new_unwrap(
            "2.16.840.1.101.3.4.3.18",
        ))]),
        &primitive(tag::BIT_STRING, &[0, 1, 2]),
    ]);
    parts.unique_ids = primitive(tag::implicit(1), &[0, 1]);
    parts.extensions[CRL] = extension_der(
        id::CRL_DISTRIBUTION_POINTS,
        false,
        &sequence(&[&sequence(&[&primitive(tag::implicit(1), &[0])])]),
    );
    parts.extensions[AKI] = extension_der(
        id::AUTHORITY_KEY_IDENTIFIER,
        false,
        &sequence(&[
            &primitive(tag::constructed(1), &write_dns("a")),
            &primitive(tag::implicit(2), &[1]),
        ]),
    );
    let name_constraints = ObjectIdentifier::new_unwrap("2.5.29.30");
    parts
        .extensions
        .push(extension_der(name_constraints, true, &sequence(&[])));
    let read = Certificate::parse(&parts.certificate()).unwrap();
    assert_eq!(read.serial(), [0x00, 0x80]);
    assert_eq!(read.public_key(), Err(KeyError::UnsupportedAlgorithm));
    assert_eq!(read.spki_der(), parts.spki);
    assert_eq!((read.crl_url(), read.authority_key_id()), (None, None));
    assert!(read.has_unknown_critical_extension());
}

#[test]
fn a_finding_says_what_is_wrong() {
    let text = LintError::Key(KeyError::RsaExponent).to_string();
    assert_eq!(
        text,
        "the key is refused: the RSA key's exponent is even, too small or too long"
    );
}

proptest! {
    /// Whatever a caller puts in, the profile either lints clean and reads back, or is found out;
    /// and it is never unreadable DER.
    #[test]
    fn a_leaf_lints_clean_and_reads_back_or_is_found_out(
        serial: [u8; 20],
        name in "\\PC{0,70}|[a-z0-9.-]{1,64}",
        from in 0..UnixTime::NO_EXPIRY.0 + 10,
        length in -10..4_000_000_000_i64,
        hardware in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        uri in proptest::option::of("(https?://)?[a-z0-9.:/-]{0,30}|\\PC{0,20}"),
        dns in proptest::option::of("[a-z0-9.-]{0,30}|\\PC{0,20}"),
        crl in proptest::option::of("http://[a-z]{1,5}\\.example/[a-z0-9.-]{0,30}"),
    ) {
        let public_key = PublicKey::parse(&spki()).unwrap();
        let issuer = dn::common_name_der("Issuer", None);
        let (uris, dns_names): (Vec<_>, Vec<_>) =
            (uri.into_iter().collect(), dns.into_iter().collect());
        let leaf = Leaf {
            serial,
            issuer_der: &issuer,
            authority_key_id: [8; 20],
            subject_common_name: &name,
            public_key: &public_key,
            subject_key_id: [7; 20],
            not_before: UnixTime(from),
            not_after: UnixTime(from + length),
            hardware: hardware.as_deref().map(|serial| (&[0x2a, 0x03][..], serial)),
            uris: &uris,
            dns_names: &dns_names,
            crl_url: crl.as_deref(),
            issuer_url: None,
            signature_algorithm: SignatureAlgorithm::EcdsaSha256,
        };
        let tbs = leaf.to_be_signed();
        match lint(&tbs) {
            Ok(()) => {
                let der = assemble(&tbs, leaf.signature_algorithm, &[1]);
                let read = Certificate::parse(&der).unwrap();
                prop_assert_eq!(read.common_name(), Some(name.clone()));
                prop_assert_eq!(read.not_before(), leaf.not_before);
                prop_assert_eq!(read.not_after(), leaf.not_after.min(UnixTime::NO_EXPIRY));
                prop_assert_eq!(read.crl_url(), leaf.crl_url);
                prop_assert_eq!(read.names().uris().collect::<Vec<_>>(), uris.clone());
                prop_assert_eq!(read.names().dns_names().collect::<Vec<_>>(), dns_names.clone());
                prop_assert_eq!(read.hardware_module(), leaf.hardware);
            }
            // Text that is not IA5 makes the list of names unreadable, never the certificate.
            Err(finding) => prop_assert!(
                !matches!(finding, LintError::Unreadable | LintError::NotCanonical)
            ),
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Certificate::parse(&bytes);
        let _ = lint(&bytes);
        let _ = announced_algorithm(&bytes);
    }

    /// One octet of a good certificate changed, taken away or doubled.
    #[test]
    fn damaged_certificates_are_read_without_panic(at: prop::sample::Index, octet: u8, how in 0..3) {
        let mut der = Parts::device().certificate();
        let at = at.index(der.len());
        match how {
            0 => der[at] = octet,
            1 => drop(der.remove(at)),
            _ => der.insert(at, octet),
        }
        if let Ok(read) = Certificate::parse(&der) {
            let _ = lint(read.to_be_signed());
            let _ = (read.names().for_people().count(), read.common_name());
        }
    }
}
