use alloc::vec;
use alloc::vec::Vec;

use const_oid::ObjectIdentifier;
use proptest::prelude::*;

use super::*;
use crate::asn1::{explicit, integer, octet_string, oid, primitive, sequence, sequence_of, set};
use crate::certificate::extension_der;
use crate::key::{KeyAlgorithm, spki_der};
use crate::names::{write as names_der, write_dns, write_uri};
use crate::oid as id;

const UNSTRUCTURED_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.2");

fn spki() -> Vec<u8> {
    spki_der(KeyAlgorithm::P256, &[&[0x04], &[0x11; 64][..]].concat())
}

/// A request with these attributes; `None` leaves the whole field out.
fn request(attributes: Option<&[Vec<u8>]>) -> Vec<u8> {
    let attributes = attributes.map_or_else(Vec::new, |list| {
        primitive(tag::constructed(0), &list.concat())
    });
    let subject = dn::common_name_der("thermo-1", None);
    signed_request(&sequence(&[&integer(0), &subject, &spki(), &attributes]))
}

fn signed_request(info: &[u8]) -> Vec<u8> {
    assemble(info, SignatureAlgorithm::EcdsaSha256, &[1, 2, 3])
}

fn attribute(kind: ObjectIdentifier, values: &[&[u8]]) -> Vec<u8> {
    sequence(&[&oid(kind), &set(values)])
}

fn challenge(tag: u8, content: &[u8]) -> Vec<u8> {
    attribute(id::CHALLENGE_PASSWORD, &[&primitive(tag, content)])
}

/// `extensionRequest` with a SAN of these names and a key usage.
fn extension_request(names: &[Vec<u8>]) -> Vec<u8> {
    let usage = primitive(tag::BIT_STRING, &[7, 0x80]);
    let extensions = sequence(&[
        &extension_der(id::KEY_USAGE, true, &usage),
        &extension_der(id::SUBJECT_ALT_NAME, false, &names_der(names)),
    ]);
    attribute(id::EXTENSION_REQUEST, &[&extensions])
}

#[test]
fn attributes_may_be_left_out_empty_or_unsorted() {
    let (first, second) = (
        challenge(tag::UTF8_STRING, b"secret"),
        extension_request(&[write_dns("a.example")]),
    );
    for (what, attributes) in [
        ("left out", None),
        ("empty", Some(vec![])),
        ("in order", Some(vec![first.clone(), second.clone()])),
        ("out of order", Some(vec![second, first])),
    ] {
        let read = Csr::parse(&request(attributes.as_deref())).expect(what);
        let present = attributes.is_some_and(|list| !list.is_empty());
        assert_eq!(
            read.challenge_password(),
            present.then_some("secret"),
            "{what}"
        );
        assert_eq!(
            read.requested_names().map(NameSet::len),
            present.then_some(1),
            "{what}"
        );
    }
}

#[test]
fn a_challenge_is_read_from_every_string_type() {
    for (tag, content, want) in [
        (tag::UTF8_STRING, "geheimß".as_bytes(), "geheimß"),
        (tag::PRINTABLE_STRING, b"secret", "secret"),
        (tag::IA5_STRING, b"s@cret", "s@cret"),
        (tag::T61_STRING, b"geheim\xdf", "geheimß"),
        (tag::BMP_STRING, b"\0s\0\xdf", "sß"),
        (tag::PRINTABLE_STRING, b"", ""),
        (tag::UTF8_STRING, &[b'x'; 255], &"x".repeat(255)),
    ] {
        let read = Csr::parse(&request(Some(&[challenge(tag, content)]))).unwrap();
        assert_eq!(read.challenge_password(), Some(want));
    }
}

/// To ignore one would be to skip a channel binding that was asked for.
#[test]
fn a_challenge_that_is_not_one_text_is_refused() {
    let good = primitive(tag::UTF8_STRING, b"secret");
    for (what, attributes) in [
        ("no value", vec![attribute(id::CHALLENGE_PASSWORD, &[])]),
        (
            "two values",
            vec![attribute(id::CHALLENGE_PASSWORD, &[&good, &good])],
        ),
        (
            "twice",
            vec![attribute(id::CHALLENGE_PASSWORD, &[&good]); 2],
        ),
        ("octets", vec![challenge(tag::OCTET_STRING, b"secret")]),
        ("not UTF-8", vec![challenge(tag::UTF8_STRING, b"\xff")]),
        (
            "half a character",
            vec![challenge(tag::BMP_STRING, b"\0s\xd8\0")],
        ),
        ("too long", vec![challenge(tag::UTF8_STRING, &[b'x'; 256])]),
    ] {
        let error = Csr::parse(&request(Some(&attributes))).unwrap_err();
        assert_eq!(error, CsrError::ChallengePassword, "{what}");
    }
}

#[test]
fn requested_names_are_a_set_under_either_name_of_the_attribute() {
    let (a, b) = (write_dns("a.example"), write_uri("urn:b"));
    let names = |attribute: Vec<u8>| {
        Csr::parse(&request(Some(&[attribute])))
            .unwrap()
            .requested_names()
            .cloned()
    };
    let one = names(extension_request(&[a.clone(), b.clone()])).unwrap();
    let two = names(extension_request(&[b, a])).unwrap();
    assert_eq!((one.len(), &one), (2, &two));
    let extensions = extension_der(id::SUBJECT_ALT_NAME, false, &names_der(&[write_dns("a")]));
    let microsoft = attribute(
        id::MICROSOFT_EXTENSION_REQUEST,
        &[&sequence(&[&extensions])],
    );
    assert_eq!(
        names(microsoft).unwrap().dns_names().collect::<Vec<_>>(),
        ["a"]
    );
}

#[test]
fn an_extension_request_without_extensions_is_as_if_absent() {
    for (what, values) in [
        (
            "an empty string",
            vec![primitive(tag::PRINTABLE_STRING, b"")],
        ),
        ("no value", vec![]),
        ("not extensions", vec![sequence(&[&integer(1)])]),
        ("no extension", vec![sequence(&[])]),
        ("cut off", vec![sequence(&[&[0x30, 0x05]])]),
    ] {
        let values: Vec<_> = values.iter().map(Vec::as_slice).collect();
        let attribute = attribute(id::EXTENSION_REQUEST, &values);
        let read = Csr::parse(&request(Some(&[attribute]))).expect(what);
        assert_eq!(read.requested_names(), None, "{what}");
    }
}

#[test]
fn an_ambiguous_extension_request_is_refused() {
    let good = extension_request(&[write_dns("a.example")]);
    let san = extension_der(id::SUBJECT_ALT_NAME, false, &names_der(&[write_dns("a")]));
    let empty = extension_der(id::SUBJECT_ALT_NAME, false, &names_der(&[]));
    let extensions = sequence(&[&san]);
    for (what, attributes, want) in [
        (
            "twice",
            vec![good.clone(), good],
            CsrError::ExtensionRequestRepeated,
        ),
        (
            "two lists of extensions",
            vec![attribute(
                id::EXTENSION_REQUEST,
                &[&extensions, &extensions],
            )],
            CsrError::ExtensionRequestRepeated,
        ),
        (
            "two lists of names",
            vec![attribute(
                id::EXTENSION_REQUEST,
                &[&sequence(&[&san, &san])],
            )],
            CsrError::ExtensionRequestRepeated,
        ),
        (
            "no name in the list",
            vec![attribute(id::EXTENSION_REQUEST, &[&sequence(&[&empty])])],
            CsrError::RequestedNames,
        ),
    ] {
        assert_eq!(
            Csr::parse(&request(Some(&attributes))).unwrap_err(),
            want,
            "{what}"
        );
    }
}

/// libest copies whatever the server asks for as an attribute with an empty string.
#[test]
fn unknown_attributes_are_passed_over_whatever_they_hold() {
    let vendor = primitive(
        tag::OID,
        b"\x69\x83\xfb\x80\xc9\xa8\xd3\xa0\xdb\xbc\xb8\xc6\xd1\xa2\xe3\x95\xc2\xb7\xe1\x26",
    );
    let attributes = vec![
        attribute(UNSTRUCTURED_NAME, &[]),
        attribute(UNSTRUCTURED_NAME, &[&integer(1), &octet_string(&[0xff])]),
        attribute(id::EC_PUBLIC_KEY, &[&primitive(tag::PRINTABLE_STRING, b"")]),
        sequence(&[&vendor, &set(&[&explicit(5, &integer(1))])]),
    ];
    let read = Csr::parse(&request(Some(&attributes))).unwrap();
    assert_eq!(read.common_name().as_deref(), Some("thermo-1"));
}

#[test]
fn the_subject_may_be_empty_and_is_kept_as_it_came() {
    let info = sequence(&[&integer(0), &sequence(&[]), &spki(), &[0xa0, 0x00]]);
    let read = Csr::parse(&signed_request(&info)).unwrap();
    assert_eq!(
        (read.subject_der(), read.common_name()),
        (&[0x30, 0x00][..], None)
    );
    let read = Csr::parse(&request(None)).unwrap();
    assert_eq!(read.subject_der(), dn::common_name_der("thermo-1", None));
}

#[test]
fn each_reason_not_to_read_a_request_is_named() {
    let subject = dn::common_name_der("thermo-1", None);
    let good = request(None);
    let p192 = sequence(&[
        &oid(id::EC_PUBLIC_KEY),
        &oid(ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.1")),
    ]);
    let p192 = sequence(&[&p192, &primitive(tag::BIT_STRING, &[0, 4])]);
    let info = |parts: &[&[u8]]| signed_request(&sequence(parts));
    let sha1 = sequence(&[&oid(ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"))]);
    let plain = sequence(&[&integer(0), &subject, &spki()]);
    let bad_attribute = primitive(tag::constructed(0), &integer(1));
    let bits = primitive(tag::BIT_STRING, &[0, 1]);
    for (what, der, want) in [
        ("nothing", vec![], Malformed("certificationRequest").into()),
        (
            "trailing",
            [&good[..], &[0]].concat(),
            Malformed("certificationRequest").into(),
        ),
        (
            "cut off",
            good[..good.len() - 1].to_vec(),
            Malformed("certificationRequest").into(),
        ),
        (
            "long",
            vec![0x30; CSR_MAX + 1],
            CsrError::TooLong {
                octets: CSR_MAX + 1,
            },
        ),
        (
            "version 2",
            info(&[&integer(1), &subject, &spki()]),
            CsrError::Version,
        ),
        (
            "no version",
            info(&[&subject, &spki()]),
            Malformed("version").into(),
        ),
        (
            "no subject",
            info(&[&integer(0)]),
            Malformed("subject").into(),
        ),
        (
            "subject no name",
            info(&[&integer(0), &sequence(&[&integer(1)]), &spki()]),
            Malformed("subject").into(),
        ),
        (
            "no key",
            info(&[&integer(0), &subject]),
            Malformed("subjectPublicKeyInfo").into(),
        ),
        (
            "P-192",
            info(&[&integer(0), &subject, &p192]),
            CsrError::Key(KeyError::UnsupportedCurve),
        ),
        (
            "attribute no sequence",
            info(&[&integer(0), &subject, &spki(), &bad_attribute]),
            Malformed("attributes").into(),
        ),
        (
            "something behind",
            info(&[&integer(0), &subject, &spki(), &[0xa0, 0x00], &integer(1)]),
            Malformed("certificationRequestInfo").into(),
        ),
        (
            "SHA-1",
            sequence(&[&plain, &sha1, &bits]),
            CsrError::SignatureAlgorithm,
        ),
        (
            "no signature",
            sequence(&[&plain, &SignatureAlgorithm::EcdsaSha256.to_der()]),
            Malformed("signature").into(),
        ),
    ] {
        assert_eq!(Csr::parse(&der).unwrap_err(), want, "{what}");
    }
}

proptest! {
    #[test]
    fn a_request_that_we_build_reads_back(
        name in "\\PC{0,64}",
        challenge in proptest::option::of("\\PC{0,64}"),
        signature in proptest::collection::vec(any::<u8>(), 0..100),
        algorithm in proptest::sample::select(&SignatureAlgorithm::ALL[..]),
    ) {
        let info = request_info_der(&name, &spki(), challenge.as_deref());
        let der = assemble(&info, algorithm, &signature);
        let read = Csr::parse(&der).unwrap();
        prop_assert_eq!(read.common_name(), Some(name));
        prop_assert_eq!(read.challenge_password(), challenge.as_deref());
        prop_assert_eq!(read.to_be_signed(), info);
        prop_assert_eq!(read.signature(), signature);
        prop_assert_eq!(read.signature_algorithm(), algorithm);
        prop_assert_eq!(read.public_key().spki_der(), spki());
        prop_assert_eq!(read.der(), der);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Csr::parse(&bytes);
    }

    #[test]
    fn attributes_of_any_shape_are_read_without_panic(
        values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..4),
        kind in proptest::sample::select(vec![id::CHALLENGE_PASSWORD, id::EXTENSION_REQUEST]),
        tag: u8,
    ) {
        let values: Vec<_> = values.iter().map(|value| primitive(tag, value)).collect();
        let attribute = sequence(&[&oid(kind), &primitive(tag::SET, &sequence_of(&values))]);
        let _ = Csr::parse(&request(Some(&[attribute])));
    }
}
