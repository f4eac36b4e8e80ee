//! OpenSSL reads what we write, and we read what OpenSSL writes.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use std::net::IpAddr;
use std::path::Path;

use aws_lc_rs::rsa::KeySize;
use common::{Answer, DAY, Hierarchy, NOW, Signer, issue, openssl, serial};
use imprint_identity::UnixTime;
use imprint_pkix::certificate::{Certificate, Leaf, Server};
use imprint_pkix::crl::{self, Crl, Reason, Revoked, TbsCrl};
use imprint_pkix::csr::{self, Csr};
use imprint_pkix::{SignatureAlgorithm, certs_only, oid, pem};

const HW_TYPE: &[u8] = b"\x2b\x06\x01\x04\x01\x86\x8d\x1f\x01";
const HW_SERIAL: &[u8] = b"\x01\x23\x45\x67\x89\xab\xcd\xef";

fn leaf<'a>(hierarchy: &'a Hierarchy, device: &'a Signer) -> Leaf<'a> {
    Leaf {
        serial: serial(9),
        issuer_der: &hierarchy.issuer_name,
        authority_key_id: hierarchy.signer.key_id(),
        subject_common_name: "thermo-0123456789abcdef",
        public_key: &device.public_key,
        subject_key_id: device.key_id(),
        not_before: NOW.plus(-3_600),
        not_after: NOW.plus(365 * DAY),
        hardware: Some((HW_TYPE, HW_SERIAL)),
        uris: &[],
        dns_names: &[],
        crl_url: None,
        issuer_url: None,
        signature_algorithm: hierarchy.signer.algorithm,
    }
}

/// `openssl verify` as strict as it gets, with the clock at [`NOW`].
fn verify(hierarchy: &Hierarchy, certificate: &[u8], crl: Option<&[u8]>) -> Answer {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let root = file("root.pem", pem::encode(pem::CERTIFICATE, &hierarchy.root));
    let issuer = file(
        "issuer.pem",
        pem::encode(pem::CERTIFICATE, &hierarchy.issuer),
    );
    let leaf = file("leaf.pem", pem::encode(pem::CERTIFICATE, certificate));
    let now = NOW.0.to_string();
    let mut arguments = vec!["verify", "-x509_strict", "-attime", &now, "-CAfile", &root];
    arguments.extend(["-untrusted", &issuer]);
    let crl = crl.map(|crl| file("crl.pem", pem::encode(pem::X509_CRL, crl)));
    if let Some(crl) = &crl {
        arguments.extend(["-crl_check", "-CRLfile", crl]);
    }
    arguments.push(&leaf);
    openssl(&arguments, &[])
}

#[test]
fn openssl_verifies_devices_of_every_kind_under_every_kind_of_authority() {
    let authorities = [
        (Signer::p256(), Signer::p256()),
        (Signer::p384(), Signer::p384()),
        (Signer::ed25519(), Signer::ed25519()),
        (
            Signer::rsa(KeySize::Rsa2048, SignatureAlgorithm::RsaPkcs1Sha384),
            Signer::rsa2048(),
        ),
    ];
    let devices = Signer::every_kind();
    for (root, signer) in authorities {
        let hierarchy = Hierarchy::new(&root, signer);
        for device in &devices {
            for not_after in [NOW.plus(DAY), UnixTime::NO_EXPIRY] {
                let leaf = Leaf {
                    not_after,
                    ..leaf(&hierarchy, device)
                };
                let der = issue(&hierarchy.signer, &leaf.to_be_signed());
                verify(&hierarchy, &der, None).expect_success();
            }
        }
    }
}

#[test]
fn openssl_shows_the_fields_of_a_device_certificate() {
    let hierarchy = Hierarchy::new(&Signer::p256(), Signer::p256());
    let device = Signer::p256();
    let leaf = Leaf {
        not_after: UnixTime::NO_EXPIRY,
        uris: &["https://fleet.example/thermo-1".to_owned()],
        dns_names: &["thermo-1.example".to_owned()],
        crl_url: Some("http://ca.example:8080/crl/devices.crl"),
        issuer_url: Some("http://ca.example:8080/ca/devices.crt"),
        ..leaf(&hierarchy, &device)
    };
    let der = issue(&hierarchy.signer, &leaf.to_be_signed());
    assert!((500..1_500).contains(&der.len()), "{} octets", der.len());
    let text = openssl(&["x509", "-inform", "DER", "-noout", "-text"], &der).expect_success();
    let text = text.text();
    for want in [
        "Version: 3 (0x2)",
        "01:5a:5a:5a:5a:5a:5a:5a:5a:5a:5a:5a:5a:5a:5a:5a:5a:5a:5a:09",
        "Signature Algorithm: ecdsa-with-SHA256",
        "Issuer: O = Example, CN = Example Devices 1",
        "Not Before: Nov 24 11:00:00 2026 GMT",
        "Not After : Dec 31 23:59:59 9999 GMT",
        "Subject: CN = thermo-0123456789abcdef",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "TLS Web Client Authentication",
        "URI:https://fleet.example/thermo-1",
        "DNS:thermo-1.example",
        "URI:http://ca.example:8080/crl/devices.crl",
        "CA Issuers - URI:http://ca.example:8080/ca/devices.crt",
    ] {
        assert!(text.contains(want), "no {want:?} in\n{text}");
    }
    assert!(!text.contains("Basic Constraints"), "{text}");
}

#[test]
fn a_device_certificate_reads_back() {
    let hierarchy = Hierarchy::new(&Signer::p256(), Signer::p256());
    for device in Signer::every_kind() {
        let leaf = Leaf {
            uris: &["https://fleet.example/thermo-1".to_owned()],
            dns_names: &["thermo-1.example".to_owned()],
            crl_url: Some("http://ca.example/crl/devices.crl"),
            issuer_url: Some("http://ca.example/ca/devices.crt"),
            ..leaf(&hierarchy, &device)
        };
        let der = issue(&hierarchy.signer, &leaf.to_be_signed());
        let read = Certificate::parse(&der).unwrap();
        assert_eq!(read.der(), der);
        assert_eq!(read.to_be_signed(), leaf.to_be_signed());
        assert_eq!(read.serial(), leaf.serial);
        assert_eq!(read.issuer_der(), hierarchy.issuer_name);
        assert_eq!(
            read.common_name().as_deref(),
            Some(leaf.subject_common_name)
        );
        assert_eq!(
            (read.not_before(), read.not_after()),
            (leaf.not_before, leaf.not_after)
        );
        assert_eq!(read.public_key().unwrap(), &device.public_key);
        assert_eq!(read.spki_der(), device.public_key.spki_der());
        assert_eq!(read.subject_key_id(), Some(&device.key_id()[..]));
        assert_eq!(
            read.authority_key_id(),
            Some(&hierarchy.signer.key_id()[..])
        );
        assert!(!read.is_ca() && !read.has_unknown_critical_extension());
        assert_eq!(read.key_usage(), Some(0x8000));
        assert!(read.has_extended_key_usage(oid::CLIENT_AUTH));
        assert_eq!(read.extended_key_usages().count(), 1);
        assert_eq!(read.hardware_module(), Some((HW_TYPE, HW_SERIAL)));
        assert_eq!(
            read.names().uris().collect::<Vec<_>>(),
            ["https://fleet.example/thermo-1"]
        );
        assert_eq!(
            read.names().dns_names().collect::<Vec<_>>(),
            ["thermo-1.example"]
        );
        assert_eq!(read.crl_url(), leaf.crl_url);
        assert_eq!(read.issuer_url(), leaf.issuer_url);
        assert_eq!(read.signature_algorithm(), SignatureAlgorithm::EcdsaSha256);
    }
    let issuer = Certificate::parse(&hierarchy.issuer).unwrap();
    assert_eq!((issuer.is_ca(), issuer.path_len()), (true, Some(0)));
    assert_eq!(issuer.subject_der(), hierarchy.issuer_name);
    assert_eq!(issuer.key_usage(), Some(0x0600));
    let root = Certificate::parse(&hierarchy.root).unwrap();
    assert_eq!((root.is_ca(), root.path_len()), (true, None));
    assert_eq!(root.issuer_der(), root.subject_der());
    assert_eq!(root.subject_der(), hierarchy.root_name);
}

#[test]
fn openssl_trusts_a_server_by_name_and_by_address() {
    let hierarchy = Hierarchy::new(&Signer::p256(), Signer::p256());
    let server = Signer::p256();
    let tbs = Server {
        serial: serial(3),
        issuer_der: &hierarchy.issuer_name,
        authority_key_id: hierarchy.signer.key_id(),
        subject_common_name: "ca.example",
        public_key: &server.public_key,
        subject_key_id: server.key_id(),
        not_before: NOW.plus(-3_600),
        not_after: NOW.plus(365 * DAY),
        dns_names: &["ca.example".to_owned(), "localhost".to_owned()],
        ip_addresses: &[IpAddr::from([127, 0, 0, 1]), "::1".parse().unwrap()],
        crl_url: None,
        issuer_url: None,
        signature_algorithm: hierarchy.signer.algorithm,
    }
    .to_be_signed();
    let der = issue(&hierarchy.signer, &tbs);
    verify(&hierarchy, &der, None).expect_success();
    for (option, name, matches) in [
        ("-checkhost", "ca.example", true),
        ("-checkhost", "localhost", true),
        ("-checkhost", "other.example", false),
        ("-checkip", "127.0.0.1", true),
        ("-checkip", "::1", true),
        ("-checkip", "127.0.0.2", false),
    ] {
        let answer = openssl(&["x509", "-inform", "DER", "-noout", option, name], &der).text();
        assert_eq!(answer.contains("does match"), matches, "{name}: {answer}");
    }
    let text = openssl(&["x509", "-inform", "DER", "-noout", "-text"], &der).text();
    for want in [
        "TLS Web Server Authentication, CMC Registration Authority",
        "IP Address:127.0.0.1",
    ] {
        assert!(text.contains(want), "no {want:?} in\n{text}");
    }
    let read = Certificate::parse(&der).unwrap();
    assert!(read.has_extended_key_usage(oid::CMC_RA));
}

#[test]
fn openssl_finds_revoked_devices_in_our_crl_and_only_those() {
    for signer in [Signer::p256(), Signer::ed25519(), Signer::rsa2048()] {
        let hierarchy = Hierarchy::new(&Signer::p256(), signer);
        let device = Signer::p256();
        let der = issue(&hierarchy.signer, &leaf(&hierarchy, &device).to_be_signed());
        let this = Revoked {
            serial: serial(9).to_vec(),
            revoked_at: NOW.plus(-60),
            reason: Some(Reason::Superseded),
        };
        let other = Revoked {
            serial: serial(8).to_vec(),
            revoked_at: NOW.plus(-70),
            reason: None,
        };
        for (revoked, good) in [
            (vec![], true),
            (vec![other.clone()], true),
            (vec![other.clone(), this.clone()], false),
        ] {
            let tbs = TbsCrl {
                issuer_der: &hierarchy.issuer_name,
                authority_key_id: hierarchy.signer.key_id(),
                number: u64::MAX,
                this_update: NOW.plus(-60),
                next_update: NOW.plus(7 * DAY),
                revoked: &revoked,
                signature_algorithm: hierarchy.signer.algorithm,
            };
            let to_be_signed = tbs.to_be_signed();
            let signature = hierarchy.signer.sign(&to_be_signed);
            let crl = crl::assemble(&to_be_signed, tbs.signature_algorithm, &signature);
            let answer = verify(&hierarchy, &der, Some(&crl));
            assert_eq!(answer.success, good, "{}{}", answer.text(), answer.err);
            assert!(
                good || answer.err.contains("certificate revoked"),
                "{}",
                answer.err
            );

            let read = Crl::parse(&crl).unwrap();
            assert_eq!(read.number(), Some(u64::MAX));
            assert_eq!(read.revoked(), revoked);
            assert_eq!(read.this_update(), tbs.this_update);
            assert_eq!(read.next_update(), Some(tbs.next_update));
            assert_eq!(read.issuer_der(), hierarchy.issuer_name);
            assert_eq!(
                read.authority_key_id(),
                Some(&hierarchy.signer.key_id()[..])
            );
            assert_eq!(read.to_be_signed(), to_be_signed);
            assert_eq!(read.signature(), signature);
            assert_eq!(read.signature_algorithm(), tbs.signature_algorithm);
        }
    }
}

#[test]
fn openssl_shows_each_reason_and_our_crl_number() {
    let hierarchy = Hierarchy::new(&Signer::p256(), Signer::p256());
    let revoked: Vec<_> = Reason::ALL
        .into_iter()
        .map(|reason| Revoked {
            serial: vec![reason.code()],
            revoked_at: NOW,
            reason: Some(reason),
        })
        .collect();
    let tbs = TbsCrl {
        issuer_der: &hierarchy.issuer_name,
        authority_key_id: hierarchy.signer.key_id(),
        number: 4_711,
        this_update: NOW,
        next_update: NOW.plus(DAY),
        revoked: &revoked,
        signature_algorithm: hierarchy.signer.algorithm,
    }
    .to_be_signed();
    let crl = crl::assemble(
        &tbs,
        hierarchy.signer.algorithm,
        &hierarchy.signer.sign(&tbs),
    );
    let text = openssl(&["crl", "-inform", "DER", "-noout", "-text"], &crl)
        .expect_success()
        .text();
    for want in [
        "Version 2 (0x1)",
        "Next Update: Nov 25 12:00:00 2026 GMT",
        "Key Compromise",
        "CA Compromise",
        "Affiliation Changed",
        "Superseded",
        "Cessation Of Operation",
        "Certificate Hold",
        "Privilege Withdrawn",
        "AA Compromise",
        "X509v3 CRL Number: \n                4711",
    ] {
        assert!(text.contains(want), "no {want:?} in\n{text}");
    }
    assert_eq!(Crl::parse(&crl).unwrap().revoked(), revoked);
}

#[test]
fn openssl_opens_our_bag_of_certificates_and_we_open_its() {
    let hierarchy = Hierarchy::new(&Signer::p256(), Signer::p256());
    let certificates = [&hierarchy.issuer[..], &hierarchy.root];
    let bag = certs_only::encode(&certificates);
    let print = ["pkcs7", "-inform", "DER", "-print_certs"];
    let text = openssl(&print, &bag).expect_success().text();
    assert_eq!(pem::decode(pem::CERTIFICATE, &text).unwrap(), certificates);

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("certificates.pem");
    let text = certificates
        .map(|der| pem::encode(pem::CERTIFICATE, der))
        .concat();
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let theirs = openssl(
        &["crl2pkcs7", "-nocrl", "-outform", "DER", "-certfile", path],
        &[],
    );
    let theirs = theirs.expect_success().out;
    assert_eq!(certs_only::decode(&theirs).unwrap(), certificates);
    assert_eq!(theirs, bag);
}

#[test]
fn openssl_verifies_our_requests() {
    let pss = [
        SignatureAlgorithm::RsaPssSha256,
        SignatureAlgorithm::RsaPssSha384,
        SignatureAlgorithm::RsaPssSha512,
        SignatureAlgorithm::RsaPkcs1Sha512,
    ];
    let pss = pss.map(|algorithm| Signer::rsa(KeySize::Rsa2048, algorithm));
    for signer in Signer::every_kind().into_iter().chain(pss) {
        for challenge in [None, Some("x+/=")] {
            let spki = signer.public_key.spki_der();
            let info = csr::request_info_der("thermo-ä", spki, challenge);
            let signature = signer.sign(&info);
            let der = csr::assemble(&info, signer.algorithm, &signature);
            let arguments = ["req", "-inform", "DER", "-noout", "-verify", "-text"];
            let answer = openssl(&arguments, &der).expect_success();
            assert!(answer.err.contains("verify OK"), "{}", answer.err);
            assert_eq!(
                answer.text().contains("challengePassword"),
                challenge.is_some()
            );

            let read = Csr::parse(&der).unwrap();
            assert_eq!(read.der(), der);
            assert_eq!(read.to_be_signed(), info);
            assert_eq!(read.signature(), signature);
            assert_eq!(read.signature_algorithm(), signer.algorithm);
            assert_eq!(read.public_key(), &signer.public_key);
            assert_eq!(read.common_name().as_deref(), Some("thermo-ä"));
            assert_eq!(read.challenge_password(), challenge);
            assert_eq!(read.requested_names(), None);
        }
    }
}

#[test]
fn requests_made_by_openssl_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("openssl.cnf");
    std::fs::write(
        &config,
        "[req]\ndistinguished_name = dn\nattributes = attributes\nprompt = no\n\
         req_extensions = extensions\n[dn]\nO = Example\nCN = thermo-1\n\
         [attributes]\nchallengePassword = secret1\nunstructuredName = whatever\n\
         [extensions]\nsubjectAltName = DNS:thermo-1.example, URI:urn:x, \
         otherName:1.3.6.1.5.5.7.8.4;SEQUENCE:hmn\nkeyUsage = digitalSignature\n\
         [hmn]\nt = OID:1.3.6.1.4.1.99999.1\ns = FORMAT:HEX,OCTETSTRING:0123456789ABCDEF\n",
    )
    .unwrap();
    for kind in [
        &["ec", "ec_paramgen_curve:P-256"][..],
        &["ec", "ec_paramgen_curve:P-384"],
        &["ed25519"],
        &["rsa", "rsa_keygen_bits:2048"],
    ] {
        let der = request(directory.path(), &config, kind);
        let read = Csr::parse(&der).unwrap();
        assert_eq!(read.common_name().as_deref(), Some("thermo-1"));
        assert_eq!(read.challenge_password(), Some("secret1"));
        let names = read.requested_names().unwrap();
        assert_eq!(names.len(), 3);
        assert_eq!(names.dns_names().collect::<Vec<_>>(), ["thermo-1.example"]);
        assert_eq!(names.hardware_module().unwrap().1, HW_SERIAL);
    }
    for (kind, message) in [
        (
            &["ec", "ec_paramgen_curve:P-224"][..],
            "is on a curve that is not supported",
        ),
        (
            &["ec", "ec_paramgen_curve:P-256", "ec_param_enc:explicit"],
            "spells out its curve instead of naming it",
        ),
        (
            &["rsa", "rsa_keygen_bits:1024"],
            "has 1024 bits, not 2048 to 4096",
        ),
        (
            &["rsa", "rsa_keygen_bits:2048", "rsa_keygen_pubexp:3"],
            "exponent is even, too small or too long",
        ),
    ] {
        let error = Csr::parse(&request(directory.path(), &config, kind))
            .unwrap_err()
            .to_string();
        assert!(error.contains(message), "{kind:?}: {error}");
    }
}

/// `openssl req -new` with a new key of this kind and these options of it.
fn request(directory: &Path, config: &Path, kind: &[&str]) -> Vec<u8> {
    let key = directory.join("key.pem");
    let key = key.to_str().unwrap();
    let mut arguments = vec!["req", "-new", "-config", config.to_str().unwrap()];
    arguments.extend([
        "-outform", "DER", "-nodes", "-keyout", key, "-newkey", kind[0],
    ]);
    arguments.extend(kind[1..].iter().flat_map(|option| ["-pkeyopt", option]));
    openssl(&arguments, &[]).expect_success().out
}
