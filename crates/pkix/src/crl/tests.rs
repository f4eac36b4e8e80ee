use alloc::vec;

use const_oid::ObjectIdentifier;
use proptest::prelude::*;

use super::*;
use crate::asn1::oid;
use crate::dn;

fn tbs<'a>(issuer_der: &'a [u8], revoked: &'a [Revoked]) -> TbsCrl<'a> {
    TbsCrl {
        issuer_der,
        authority_key_id: [8; 20],
        number: 7,
        this_update: UnixTime(1_000),
        next_update: UnixTime(2_000),
        revoked,
        signature_algorithm: SignatureAlgorithm::EcdsaSha256,
    }
}

/// A CRL out of a TBSCertList in pieces, after the issuer.
fn crl(pieces: &[&[u8]]) -> Vec<u8> {
    let algorithm = SignatureAlgorithm::EcdsaSha256;
    let mut all: Vec<&[u8]> = Vec::new();
    let (version, name) = (integer(1), dn::common_name_der("Issuer", None));
    let inner = algorithm.to_der();
    all.extend([&version[..], &inner, &name]);
    all.extend(pieces);
    assemble(&sequence(&all), algorithm, &[1])
}

#[test]
fn reasons_have_the_codes_of_rfc_5280() {
    for (code, want) in (0..=11).zip([
        None,
        Some("keyCompromise"),
        Some("cACompromise"),
        Some("affiliationChanged"),
        Some("superseded"),
        Some("cessationOfOperation"),
        Some("certificateHold"),
        None,
        None,
        Some("privilegeWithdrawn"),
        Some("aACompromise"),
        None,
    ]) {
        let reason = Reason::from_code(code);
        assert_eq!(reason.map(Reason::name), want, "{code}");
        assert_eq!(reason.map_or(code, Reason::code), code);
    }
}

#[test]
fn a_list_without_entries_leaves_the_field_out() {
    let issuer = dn::common_name_der("Issuer", None);
    let empty = tbs(&issuer, &[]).to_be_signed();
    let der = assemble(&empty, SignatureAlgorithm::EcdsaSha256, &[1]);
    assert_eq!(Crl::parse(&der).unwrap().revoked(), []);
    let after_times = [time::write(UnixTime(2_000)), vec![tag::constructed(0)]].concat();
    assert!(
        empty
            .windows(after_times.len())
            .any(|window| window == after_times)
    );
}

#[test]
fn each_reason_not_to_read_a_crl_is_named() {
    let (this, next) = (time::write(UnixTime(1)), time::write(UnixTime(2)));
    let extensions = |list: &[&[u8]]| explicit(0, &sequence(list));
    let number = |value: &[u8]| extension_der(id::CRL_NUMBER, false, value);
    let partition = extension_der(
        ObjectIdentifier::new_unwrap("2.5.29.28"),
        true,
        &sequence(&[]),
    );
    let harmless = extension_der(
        ObjectIdentifier::new_unwrap("2.5.29.46"),
        false,
        &sequence(&[]),
    );
    let long = positive_integer(&[1; 9]);
    let entry = sequence(&[&sequence(&[&integer(5), &this])]);
    let reason = |value: &[u8]| {
        let extension = extension_der(id::CRL_REASON, false, value);
        sequence(&[&sequence(&[&integer(5), &this, &sequence(&[&extension])])])
    };
    for (what, der, want) in [
        ("bare", crl(&[&this]), None),
        ("no next update", crl(&[&this, &entry]), None),
        (
            "harmless extension",
            crl(&[&this, &next, &extensions(&[&harmless])]),
            None,
        ),
        (
            "number",
            crl(&[&this, &next, &extensions(&[&number(&integer(7))])]),
            None,
        ),
        (
            "no this update",
            crl(&[]),
            Some(Malformed("thisUpdate").into()),
        ),
        (
            "this update no time",
            crl(&[&integer(1)]),
            Some(Malformed("thisUpdate").into()),
        ),
        (
            "something behind",
            crl(&[&this, &next, &entry, &integer(1)]),
            Some(Malformed("tbsCertList").into()),
        ),
        (
            "entry without time",
            crl(&[&this, &next, &sequence(&[&sequence(&[&integer(5)])])]),
            Some(Malformed("revokedCertificates").into()),
        ),
        (
            "reason no code",
            crl(&[&this, &next, &reason(&integer(1))]),
            Some(Malformed("revokedCertificates").into()),
        ),
        (
            "reason of two octets",
            crl(&[&this, &next, &reason(&primitive(tag::ENUMERATED, &[1, 1]))]),
            Some(Malformed("revokedCertificates").into()),
        ),
        (
            "no extension in the list",
            crl(&[&this, &next, &extensions(&[])]),
            Some(Malformed("extensions").into()),
        ),
        (
            "number beyond 64 bits",
            crl(&[&this, &next, &extensions(&[&number(&long)])]),
            Some(Malformed("cRLNumber").into()),
        ),
        (
            "a part of the list",
            crl(&[&this, &next, &extensions(&[&partition])]),
            Some(CrlError::UnknownCriticalExtension),
        ),
    ] {
        assert_eq!(Crl::parse(&der).err(), want, "{what}");
    }
}

#[test]
fn other_versions_and_algorithms_are_refused() {
    let name = dn::common_name_der("Issuer", None);
    let this = time::write(UnixTime(1));
    let inner = SignatureAlgorithm::EcdsaSha384.to_der();
    let outer = SignatureAlgorithm::EcdsaSha256;
    let differ = sequence(&[&integer(1), &inner, &name, &this]);
    assert_eq!(
        Crl::parse(&assemble(&differ, outer, &[1])).err(),
        Some(CrlError::AlgorithmsDiffer)
    );
    let version_1 = sequence(&[&outer.to_der(), &name, &this]);
    let error = Crl::parse(&assemble(&version_1, outer, &[1])).err();
    assert_eq!(error, Some(Malformed("version").into()));
    let sha1 = sequence(&[&oid(ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"))]);
    let signed = sequence(&[&integer(1), &sha1, &name, &this]);
    let der = sequence(&[&signed, &sha1, &primitive(tag::BIT_STRING, &[0, 1])]);
    assert_eq!(Crl::parse(&der).err(), Some(CrlError::SignatureAlgorithm));
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        number: u64,
        this in 0..UnixTime::NO_EXPIRY.0,
        entries in proptest::collection::vec(
            (1..0x80_u8, proptest::collection::vec(any::<u8>(), 0..19), 0..4_000_000_000_i64,
             proptest::option::of(proptest::sample::select(&Reason::ALL[..]))),
            0..20,
        ),
    ) {
        let issuer = dn::common_name_der("Issuer", Some("Example"));
        let revoked: Vec<_> = entries
            .into_iter()
            .map(|(first, rest, revoked_at, reason)| Revoked {
                serial: [vec![first], rest].concat(),
                revoked_at: UnixTime(revoked_at),
                reason,
            })
            .collect();
        let tbs = TbsCrl { number, this_update: UnixTime(this), ..tbs(&issuer, &revoked) };
        let to_be_signed = tbs.to_be_signed();
        let read = Crl::parse(&assemble(&to_be_signed, tbs.signature_algorithm, &[1, 2])).unwrap();
        prop_assert_eq!(read.revoked(), revoked.as_slice());
        prop_assert_eq!(read.number(), Some(number));
        prop_assert_eq!(read.this_update(), tbs.this_update);
        prop_assert_eq!(read.next_update(), Some(tbs.next_update));
        prop_assert_eq!(read.authority_key_id(), Some(&[8; 20][..]));
        prop_assert_eq!(read.to_be_signed(), to_be_signed);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Crl::parse(&bytes);
        let _ = crate::certs_only::decode(&bytes);
        let _ = crate::csr_attrs::decode(&bytes);
        let _ = crate::key::PublicKey::parse(&bytes);
    }
}
