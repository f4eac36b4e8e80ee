//! Writes `seeds/<target>/<name>`: inputs that each target accepts, which is checked here, so that
//! fuzzing begins behind the first `return Err`. The same bytes each time; run it after a format has
//! changed: `cargo run --manifest-path fuzz/Cargo.toml --example seeds`.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use imprint_attest::tpm::Public;
use imprint_attest::{SharedKey, Token};
use imprint_claim::{Call, Created, Format, Outcome, Registered, Rejected, Reply, Template};
use imprint_device::{
    Code, Credential, Digest, Errand, Fingerprint, Key, Member, Place, Quarantine, Record, Refusal,
    Renewal, Retry, Slot, Step, image,
};
use imprint_dps::hub::HubLogin;
use imprint_dps::sas::{Sas, Unsigned};
use imprint_dps::service::{IndividualEnrollment, ServiceCall};
use imprint_dps::{
    Call as DpsCall, IdScope, Login, OperationId, Question, RegistrationId, Rid, client as dps,
};
use imprint_est::client::{self, Answer};
use imprint_est::{Operation, Request, RequestKind};
use imprint_identity::{HardwareId, Source, UnixTime};
use imprint_pkix::certificate::{self, Authority, Certificate, Leaf, Server};
use imprint_pkix::crl::{self, Crl, Reason, Revoked, TbsCrl};
use imprint_pkix::csr::{self, Csr};
use imprint_pkix::key::{KeyAlgorithm, PublicKey, spki_der};
use imprint_pkix::{SignatureAlgorithm, certs_only, csr_attrs, dn, oid};

fn main() {
    let requests = requests();
    for (name, der) in &requests {
        Csr::parse(der).expect(name);
        save("csr", name, der);
    }
    let certificates = certificates();
    for (name, tbs) in &certificates {
        certificate::lint(tbs).expect(name);
        save("certificate", &format!("{name}_tbs"), tbs);
        let der = certificate::assemble(tbs, SignatureAlgorithm::EcdsaSha256, &SIGNATURE);
        Certificate::parse(&der).expect(name);
        save("certificate", name, &der);
    }
    let ders: Vec<_> = certificates.iter().map(|(_, der)| der.as_slice()).collect();
    for count in 0..=ders.len() {
        save(
            "certs_only",
            &format!("with_{count}"),
            &certs_only::encode(&ders[..count]),
        );
    }
    crls();
    est_requests(&requests[0].1);
    est_answers(ders[0]);
    claim_topics();
    claim_messages(&requests[0].1);
    claim_templates();
    dps_requests(&requests[0].1);
    dps_mqtt();
    dps_answers();
    sas_tokens();
    tpm_structures();
    let token = Token::from_entropy(*b"0123456789abcdef").text();
    save("token", "text", token.as_bytes());
    save(
        "token",
        "typed",
        token.to_lowercase().replace('-', " ").as_bytes(),
    );
    hardware_ids();
    journal_images();
}

/// One a kind of key, and one with each attribute that is read.
fn requests() -> Vec<(String, Vec<u8>)> {
    let mut requests: Vec<_> = keys()
        .into_iter()
        .map(|(name, spki)| {
            (
                name.to_owned(),
                request(&csr::request_info_der("d", &spki, None)),
            )
        })
        .collect();
    let spki = &keys()[0].1;
    let challenge = csr::request_info_der("thermo-ä", spki, Some("c2VjcmV0"));
    requests.push(("challenge".to_owned(), request(&challenge)));
    let subject = dn::common_name_der("d", Some("Example"));
    let without = request(&tlv(0x30, &[&tlv(0x02, &[&[0]]), &subject, spki]));
    requests.push(("no_attributes".to_owned(), without));
    let dns = tlv(0x82, &[b"a.example"]);
    let uri = tlv(0x86, &[b"urn:x"]);
    let names = tlv(0x04, &[&tlv(0x30, &[&dns, &uri, &hardware_name()])]);
    let san = tlv(0x06, &[oid::SUBJECT_ALT_NAME.as_bytes()]);
    let extensions = tlv(0x30, &[&tlv(0x30, &[&san, &names])]);
    let bmp = tlv(0x1e, &[b"\0s\0e"]);
    for (name, kind, value) in [
        ("extensions", oid::EXTENSION_REQUEST, &extensions),
        (
            "extensions_microsoft",
            oid::MICROSOFT_EXTENSION_REQUEST,
            &extensions,
        ),
        (
            "extensions_empty_string",
            oid::EXTENSION_REQUEST,
            &tlv(0x13, &[]),
        ),
        ("challenge_bmp", oid::CHALLENGE_PASSWORD, &bmp),
        (
            "challenge_t61",
            oid::CHALLENGE_PASSWORD,
            &tlv(0x14, &[b"s\xe4"]),
        ),
    ] {
        let attribute = tlv(
            0x30,
            &[
                &tlv(0x06, &[kind.as_bytes()]),
                &tlv(0x31, &[value.as_slice()]),
            ],
        );
        let attributes = tlv(0xa0, &[&attribute]);
        let info = tlv(
            0x30,
            &[&tlv(0x02, &[&[0]]), &tlv(0x30, &[]), spki, &attributes],
        );
        requests.push((name.to_owned(), request(&info)));
    }
    requests
}

fn request(info: &[u8]) -> Vec<u8> {
    csr::assemble(info, SignatureAlgorithm::EcdsaSha256, &SIGNATURE)
}

/// A key of each kind that reads; none is anyone's.
fn keys() -> Vec<(&'static str, Vec<u8>)> {
    let point = |octets| [&[0x04][..], &vec![0x11; octets]].concat();
    vec![
        ("p256", spki_der(KeyAlgorithm::P256, &point(64))),
        ("p384", spki_der(KeyAlgorithm::P384, &point(96))),
        ("ed25519", spki_der(KeyAlgorithm::Ed25519, &[0x11; 32])),
        ("rsa2048", rsa()),
    ]
}

/// The first modulus after a round number that has no small factor.
fn rsa() -> Vec<u8> {
    let mut modulus = [0; 257];
    modulus[1] = 0x80;
    for low in 0..=u16::MAX {
        modulus[255..].copy_from_slice(&low.to_be_bytes());
        let exponent = tlv(0x02, &[&[1, 0, 1]]);
        let bits = tlv(0x30, &[&tlv(0x02, &[&modulus]), &exponent]);
        let spki = spki_der(KeyAlgorithm::Rsa { bits: 2048 }, &bits);
        if PublicKey::parse(&spki).is_ok() {
            return spki;
        }
    }
    unreachable!("one number in ten has no small factor")
}

/// What is to be signed for a device, with and without everything, a server and two authorities.
fn certificates() -> Vec<(&'static str, Vec<u8>)> {
    let key = PublicKey::parse(&keys()[0].1).unwrap();
    let (root, issuer) = (
        dn::common_name_der("Root", None),
        dn::common_name_der("Issuer", None),
    );
    let full = Leaf {
        serial: [1; 20],
        issuer_der: &issuer,
        authority_key_id: [8; 20],
        subject_common_name: "thermo-1",
        public_key: &key,
        subject_key_id: [7; 20],
        not_before: UnixTime(1_700_000_000),
        not_after: UnixTime::NO_EXPIRY,
        hardware: Some((&[0x2a, 0x03], &[1, 2, 3])),
        uris: &["https://fleet.example/thermo-1".to_owned()],
        dns_names: &["thermo-1.example".to_owned()],
        crl_url: Some("http://ca.example/crl/d.crl"),
        issuer_url: Some("http://ca.example/ca/d.crt"),
        signature_algorithm: SignatureAlgorithm::EcdsaSha256,
    };
    let bare = Leaf {
        hardware: None,
        uris: &[],
        dns_names: &[],
        crl_url: None,
        issuer_url: None,
        not_after: UnixTime(1_800_000_000),
        ..full.clone()
    };
    let server = Server {
        serial: [1; 20],
        issuer_der: &issuer,
        authority_key_id: [8; 20],
        subject_common_name: "localhost",
        public_key: &key,
        subject_key_id: [7; 20],
        not_before: UnixTime(1_700_000_000),
        not_after: UnixTime(1_800_000_000),
        dns_names: &["localhost".to_owned()],
        ip_addresses: &[IpAddr::from([127, 0, 0, 1]), IpAddr::from([0; 16])],
        crl_url: None,
        issuer_url: None,
        signature_algorithm: SignatureAlgorithm::EcdsaSha256,
    };
    let top = Authority {
        serial: [1; 20],
        issuer_der: &root,
        authority_key_id: [7; 20],
        subject_der: &root,
        public_key: &key,
        subject_key_id: [7; 20],
        not_before: UnixTime(1_700_000_000),
        not_after: UnixTime::NO_EXPIRY,
        path_len: None,
        crl_url: None,
        issuer_url: None,
        signature_algorithm: SignatureAlgorithm::EcdsaSha256,
    };
    let below = Authority {
        authority_key_id: [8; 20],
        subject_der: &issuer,
        path_len: Some(0),
        crl_url: Some("http://ca.example/crl/root.crl"),
        ..top.clone()
    };
    vec![
        ("device_full", full.to_be_signed()),
        ("device_bare", bare.to_be_signed()),
        ("server", server.to_be_signed()),
        ("root", top.to_be_signed()),
        ("issuer", below.to_be_signed()),
    ]
}

fn crls() {
    let issuer = dn::common_name_der("Issuer", None);
    let one = |serial: u8, reason| Revoked {
        serial: vec![serial; 20],
        revoked_at: UnixTime(1_700_000_000),
        reason,
    };
    let revoked = [one(1, None), one(2, Some(Reason::KeyCompromise))];
    for (name, revoked) in [("empty", &revoked[..0]), ("two", &revoked[..])] {
        let tbs = TbsCrl {
            issuer_der: &issuer,
            authority_key_id: [8; 20],
            number: 4_711,
            this_update: UnixTime(1_700_000_000),
            next_update: UnixTime(1_700_600_000),
            revoked,
            signature_algorithm: SignatureAlgorithm::EcdsaSha256,
        };
        let der = crl::assemble(&tbs.to_be_signed(), tbs.signature_algorithm, &SIGNATURE);
        Crl::parse(&der).expect(name);
        save("crl", name, &der);
    }
}

fn est_requests(csr: &[u8]) {
    for (name, kind) in [
        ("cacerts", RequestKind::CaCerts),
        ("csrattrs", RequestKind::CsrAttrs),
        ("simpleenroll", RequestKind::SimpleEnroll(csr.to_vec())),
        ("simplereenroll", RequestKind::SimpleReenroll(csr.to_vec())),
        ("serverkeygen", RequestKind::ServerKeyGen(csr.to_vec())),
    ] {
        let request = Request {
            label: Some("thermo"),
            kind,
        };
        let sent = client::encode(&request);
        let head = format!("{} {} application/pkcs10\n", sent.method, sent.path);
        let input = [head.as_bytes(), &sent.body].concat();
        let read = Request::parse(
            sent.method,
            &sent.path,
            Some("application/pkcs10"),
            &sent.body,
        );
        assert_eq!(read.as_ref(), Ok(&request), "{name}");
        save("est_request", name, &input);
    }
    let head = b"POST /.well-known/est/simpleenroll application/pkcs10\n";
    save("est_request", "raw_der", &[&head[..], csr].concat());
    let pem = imprint_pkix::pem::encode("CERTIFICATE REQUEST", csr);
    save("est_request", "pem", &[&head[..], pem.as_bytes()].concat());
    save("est_request", "basic", b"Basic c3RtMzI6MDE6N1pLMw==\n");
}

fn est_answers(certificate: &[u8]) {
    let p7 = certs_only::encode(&[certificate]);
    let attributes = csr_attrs::encode(KeyAlgorithm::P256);
    let smime = "application/pkcs7-mime; smime-type=certs-only";
    for (name, head, body) in [
        (
            "cacerts",
            "cacerts 200 application/pkcs7-mime".to_owned(),
            &p7[..],
        ),
        ("simpleenroll", format!("simpleenroll 200 {smime}"), &p7[..]),
        (
            "csrattrs",
            "csrattrs 200 application/csrattrs".to_owned(),
            &attributes[..],
        ),
        ("pending", "simpleenroll 202 text/plain".to_owned(), b""),
        (
            "refused",
            "simpleenroll 403 text/plain".to_owned(),
            b"the token was spent",
        ),
    ] {
        let input = format!("{head}\n60\ntoken-spent; step=ENROLL; retry=never\n");
        let mut words = head.splitn(3, ' ');
        let operation = match words.next() {
            Some("cacerts") => Operation::CaCerts,
            Some("csrattrs") => Operation::CsrAttrs,
            _ => Operation::SimpleEnroll,
        };
        let status = words.next().unwrap().parse().unwrap();
        let content_type = words.next();
        let header =
            |name: &str| content_type.filter(|_| name.eq_ignore_ascii_case("content-type"));
        Answer::parse(operation, status, header, body).expect(name);
        save("est_answer", name, &[input.as_bytes(), body].concat());
    }
    let parts = "--b\r\nContent-Type: application/pkcs8\r\n\r\nMAA=\r\n\
        --b\r\nContent-Type: application/pkcs7-mime; smime-type=certs-only\r\n\r\nMAA=\r\n--b--\r\n";
    let header = |name: &str| {
        name.eq_ignore_ascii_case("content-type")
            .then_some("multipart/mixed; boundary=b")
    };
    Answer::parse(Operation::ServerKeyGen, 200, header, parts.as_bytes()).expect("serverkeygen");
    let head = "serverkeygen 200 multipart/mixed; boundary=b\n\n\n";
    save(
        "est_answer",
        "serverkeygen",
        format!("{head}{parts}").as_bytes(),
    );
}

fn claim_topics() {
    for (at, topic) in imprint_claim::reserved("t-1").iter().enumerate() {
        let name = topic.name.replace(['$', '/'], "_");
        let wanted = ["$aws/#", "$aws/certificates/+/+/accepted", "#"][at % 3];
        save(
            "claim_topic",
            &name,
            format!("{wanted}\n{}", topic.name).as_bytes(),
        );
    }
}

/// Each kind of message in each format; the first byte says which.
fn claim_messages(csr: &[u8]) {
    let csr_pem = imprint_pkix::pem::encode("CERTIFICATE REQUEST", csr);
    let parameters = BTreeMap::from([("SerialNumber".to_owned(), "SN-1".to_owned())]);
    let created = |key: Option<&str>| {
        Reply::Created(Created {
            ownership: "o".to_owned(),
            certificate_id: "00".repeat(32),
            certificate_pem: "-----BEGIN CERTIFICATE-----\n".to_owned(),
            private_key_pem: key.map(|key| key.to_owned().into()),
        })
    };
    let registered = Reply::Registered(Registered {
        device_configuration: parameters.clone(),
        thing_name: Some("dev-1".to_owned()),
    });
    let rejected = Reply::Rejected(Rejected {
        status: 403,
        error: "AccessDenied".to_owned(),
        message: "Access Denied [token-leased] no; retry=60".to_owned(),
    });
    let register = imprint_claim::Request::Register {
        ownership: "o".to_owned(),
        parameters,
    };
    for format in Format::ALL {
        let cbor = if format == Format::Cbor { 4 } else { 0 };
        let calls: Vec<_> = Call::all("t")
            .filter(|call| call.format == format)
            .collect();
        for (name, topic, request) in [
            ("create_keys", 0_u8, imprint_claim::Request::CreateKeys),
            (
                "create_from_csr",
                1,
                imprint_claim::Request::CreateFromCsr {
                    csr_pem: csr_pem.clone(),
                },
            ),
            ("register", 2, register.clone()),
        ] {
            let payload = request.encode(format);
            let read = imprint_claim::Request::parse(&calls[usize::from(topic)], &payload);
            assert_eq!(read, Ok(request), "{name}");
            let input = [&[topic | cbor][..], &payload].concat();
            save(
                "claim_message",
                &format!("{name}_{}", format.name()),
                &input,
            );
        }
        for (name, topic, reply) in [
            ("created", 1_u8, created(None)),
            (
                "created_with_key",
                0,
                created(Some("-----BEGIN PRIVATE KEY-----\n")),
            ),
            ("registered", 2, registered.clone()),
            ("rejected", 2, rejected.clone()),
        ] {
            let payload = reply.encode(format);
            let outcome = reply.outcome();
            let read = Reply::parse(&calls[usize::from(topic)], outcome, &payload);
            assert_eq!(read, Ok(reply), "{name}");
            let no = if outcome == Outcome::Rejected { 16 } else { 0 };
            let input = [&[topic | cbor | 8 | no][..], &payload].concat();
            save(
                "claim_message",
                &format!("{name}_{}", format.name()),
                &input,
            );
        }
    }
    save("claim_message", "create_keys_empty", &[0]);
}

/// Every template of the crate's own cases, and a value to fill it with.
fn claim_templates() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/claim/cases/evaluate.json");
    let cases: serde_json::Value = serde_json::from_slice(&fs::read(cases).unwrap()).unwrap();
    for case in cases["templates"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let template = case["template"].to_string();
        assert!(Template::parse_bulk(&template).is_ok(), "{name}");
        save(
            "claim_template",
            name,
            format!("SN-1\n{template}").as_bytes(),
        );
    }
    let certificate = r#""Resources":{"c":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"}}}}"#;
    for case in cases["expressions"].as_array().unwrap() {
        let (name, expression) = (case["name"].as_str().unwrap(), &case["expression"]);
        let template = format!(
            r#"{{"Parameters":{{"SerialNumber":{{"Type":"String"}},"DeviceLocation":{{"Type":"String"}},"Region":{{"Type":"String"}}}},"Mappings":{{"LocationTable":{{"Seattle":{{"LocationUrl":"u","Zones":["a","b"]}}}}}},{certificate},"DeviceConfiguration":{{"x":{expression}}}}}"#
        );
        assert!(Template::parse(&template).is_ok(), "{name}");
        save(
            "claim_template",
            name,
            format!("Seattle\n{template}").as_bytes(),
        );
    }
}

/// One a source, where a plain value will do.
fn hardware_ids() {
    let mut written = 0;
    for source in Source::ALL {
        for raw in [
            &b"\x24\x0a\xc4\x12\x34\x56\x78\x9a\xbc\xde\xf1\x13\x57\x9b\xdf\x31"[..],
            b"sn-1",
        ] {
            for length in [4, 6, 8, 9, 12, 16] {
                let Some(raw) = raw.get(..length) else {
                    continue;
                };
                let Ok(id) = HardwareId::new(source, raw) else {
                    continue;
                };
                let text = id.to_string();
                assert_eq!(HardwareId::parse(&text).as_ref(), Ok(&id));
                save(
                    "hardware_id",
                    &format!("{source:?}_{length}"),
                    text.as_bytes(),
                );
                written += 1;
            }
        }
    }
    assert!(written > 5, "only {written} hardware ids");
}

fn journal_images() {
    let key = |slot| Key {
        slot,
        fingerprint: Fingerprint([0x11; 32]),
    };
    let credential = |slot| Credential {
        key: key(slot),
        slot,
        digest: Digest([0x22; 32]),
    };
    let member = |errand| {
        Place::Provisioned(Member {
            credential: credential(Slot::A),
            errand,
            renewal_began: UnixTime(1_700_000_000),
        })
    };
    let enroll = Errand::Renewal(Renewal::Enroll { key: key(Slot::B) });
    let verify = Errand::Renewal(Renewal::Verify {
        successor: credential(Slot::B),
    });
    let forget = Errand::Forget {
        key: Some(Slot::B),
        credential: Slot::B,
    };
    for (name, place) in [
        ("blank", Place::Blank),
        ("wiping", Place::Wiping),
        ("bootstrap", Place::Bootstrap),
        ("make_key", Place::MakeKey),
        ("enroll", Place::Enroll { key: key(Slot::A) }),
        (
            "credential_store",
            Place::CredentialStore { key: key(Slot::A) },
        ),
        (
            "register",
            Place::Register {
                credential: credential(Slot::A),
            },
        ),
        (
            "verify",
            Place::Verify {
                credential: credential(Slot::A),
            },
        ),
        ("provisioned", member(Errand::None)),
        ("forget_bootstrap", member(Errand::ForgetBootstrap)),
        (
            "renewal_make_key",
            member(Errand::Renewal(Renewal::MakeKey)),
        ),
        ("renewal_enroll", member(enroll)),
        ("renewal_verify", member(verify)),
        ("forget", member(forget)),
    ] {
        let record = Record {
            place,
            ..Record::default()
        };
        let refused = Record {
            quarantine: Quarantine::from_byte(1),
            attempts: 3,
            refusal: Some(Refusal {
                code: Code::new("token-leased"),
                step: Step::Enroll,
                retry: Retry::After(60),
            }),
            server_time: Some(UnixTime(1_700_000_000)),
            ..record.clone()
        };
        for (name, record) in [
            (name.to_owned(), record),
            (format!("{name}_refused"), refused),
        ] {
            let bytes = image::encode(7, &record);
            assert_eq!(image::parse(&bytes), Some((7, record)), "{name}");
            save("journal_image", &name, &bytes);
        }
    }
}

/// `otherName hardwareModuleName`, as OpenSSL writes it.
fn hardware_name() -> Vec<u8> {
    let module = tlv(
        0x30,
        &[&tlv(0x06, &[&[0x2a, 0x03]]), &tlv(0x04, &[&[1, 2]])],
    );
    let kind = tlv(0x06, &[oid::HARDWARE_MODULE_NAME.as_bytes()]);
    tlv(0xa0, &[&kind, &tlv(0xa0, &[&module])])
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap();
    let [high, low] = length.to_be_bytes();
    let mut element = vec![tag];
    match length {
        0..=0x7f => element.push(low),
        0x80..=0xff => element.extend([0x81, low]),
        _ => element.extend([0x82, high, low]),
    }
    element.extend(content);
    element
}

/// DER of two small numbers, as ECDSA would make.
const SIGNATURE: [u8; 8] = [0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01];

/// What the vendor's SDKs send over HTTPS, and operators' scripts.
fn dps_requests(csr: &[u8]) {
    let base = "/0ne0/registrations/dev-1";
    let csr = base64(csr);
    let tpm = base64(&area(ATTESTATION));
    for (name, method, target, body) in [
        (
            "python",
            "PUT",
            format!("{base}/register?api-version=2019-03-31"),
            r#"{"payload": {"model": "m1"}, "registrationId": "dev-1"}"#.to_owned(),
        ),
        (
            "force",
            "PUT",
            format!("{base}/register?api-version=2021-06-01&forceRegistration=true"),
            "{}".to_owned(),
        ),
        (
            "csr",
            "PUT",
            format!("{base}/register?api-version=2025-07-01-preview"),
            format!("{{\"registrationId\":\"dev-1\",\"csr\":\"{csr}\"}}"),
        ),
        (
            "tpm",
            "PUT",
            format!("{base}/register?api-version=2019-03-31"),
            format!("{{\"tpm\":{{\"endorsementKey\":\"{tpm}\",\"storageRootKey\":\"{tpm}\"}}}}"),
        ),
        (
            "poll",
            "GET",
            format!("{base}/operations/5.a?api-version=2019-03-31"),
            "{}".to_owned(),
        ),
        (
            "lookup",
            "POST",
            format!("{base}?api-version=2019-03-31"),
            r#"{"registrationId":"dev-1"}"#.to_owned(),
        ),
    ] {
        DpsCall::parse(method, &target, Some("application/json"), body.as_bytes()).expect(name);
        let input = format!("{method} {target} application/json\n{body}");
        save("dps_request", name, input.as_bytes());
    }
    let id = RegistrationId::new("dev-1").unwrap();
    for (name, body) in [
        (
            "enrollment_key",
            r#"{"registrationId":"dev-1","attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"AAEC"}},"iotHubs":["h"],"initialTwin":{"tags":{"a":1},"properties":{"desired":{}}}}"#,
        ),
        (
            "enrollment_x509",
            r#"{"registrationId":"dev-1","attestation":{"type":"x509","x509":{"caReferences":{"primary":"r"}}},"reprovisionPolicy":{"updateHubAssignment":true},"createdDateTimeUtc":"2022-08-31T22:02:50.5163352Z"}"#,
        ),
    ] {
        IndividualEnrollment::parse(&id, body.as_bytes()).expect(name);
        let target = "/enrollments/dev-1?api-version=2021-10-01";
        ServiceCall::parse("PUT", target).expect(name);
        save(
            "dps_request",
            name,
            format!("PUT {target}\n{body}").as_bytes(),
        );
    }
    save(
        "dps_request",
        "query",
        b"POST /enrollments/query\n{\"query\":\"SELECT * FROM enrollments\"}",
    );
}

fn dps_mqtt() {
    let user_name = "0ne0/registrations/dev-1/api-version=2019-03-31&ClientVersion=py%2F2.14.0";
    Login::parse("dev-1", user_name).unwrap();
    let put = "$dps/registrations/PUT/iotdps-register/?$rid=6a9e5c42";
    let get = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=5.a";
    for (name, topic, payload) in [
        (
            "register",
            put,
            r#"{"registrationId":"dev-1","payload":null}"#,
        ),
        ("poll", get, " "),
        ("poll_again", get, r#"{"registrationId":"dev-1"}"#),
    ] {
        Question::parse(topic).expect(name);
        let input = format!("dev-1\n{user_name}\n{topic}\n{payload}");
        save("dps_mqtt", name, input.as_bytes());
    }
    let user_name = "hub.example/dev-1/?api-version=2019-10-01&DeviceClientType=py%2F2.14.0";
    HubLogin::parse("dev-1", user_name).unwrap();
    let input = format!("dev-1\n{user_name}\ndevices/dev-1/messages/events/a=b\n{{}}");
    save("dps_mqtt", "hub", input.as_bytes());
}

fn dps_answers() {
    let assigned = r#"{"operationId":"5.a","status":"assigned","registrationState":{"registrationId":"dev-1","createdDateTimeUtc":"2022-08-31T22:02:50.5163352Z","assignedHub":"h","deviceId":"d","status":"assigned","substatus":"initialAssignment","etag":"IjEi","payload":{"a":1},"symmetricKey":{"enrollmentGroupId":"g"},"issuedCertificateChain":["MAA="]}}"#;
    let failed = r#"{"operationId":"5.a","status":"failed","registrationState":{"status":"failed","errorCode":401002,"errorMessage":"Unauthorized [token-leased] x; retry=never"}}"#;
    let refused = r#"{"errorCode":401002,"trackingId":"8ad0463c","message":"Invalid certificate.","info":null,"timestampUtc":"2020-04-10T05:24:22.4718526Z"}"#;
    let request = |which: u8| match which & 3 {
        0 => imprint_dps::Request::Register(imprint_dps::Registration::default()),
        1 => imprint_dps::Request::OperationStatus {
            operation_id: OperationId::new("5.a").unwrap(),
        },
        _ => imprint_dps::Request::Lookup,
    };
    for (name, which, status, body) in [
        (
            "assigning",
            8,
            202_u16,
            r#"{"operationId":"5.a","status":"assigning"}"#,
        ),
        ("assigned", 1, 200, assigned),
        ("failed", 1, 200, failed),
        ("refused", 0, 401, refused),
        (
            "challenge",
            0,
            401,
            r#"{"authenticationKey":"AQI=","keyName":"registration"}"#,
        ),
        (
            "state",
            2,
            200,
            r#"{"registrationId":"dev-1","status":"disabled"}"#,
        ),
    ] {
        dps::Answer::http(&request(which), status, |_| None, body.as_bytes()).expect(name);
        let input = [&[which], &status.to_be_bytes()[..], body.as_bytes()].concat();
        save("dps_answer", name, &input);
        let topic = format!("$dps/registrations/res/{status}/?$rid=1&retry-after=3");
        if which & 3 != 2 {
            let rid = Rid::new("1").unwrap();
            dps::Answer::mqtt(&request(which), &rid, &topic, body.as_bytes()).expect(name);
            let input = format!("{}{topic}\n{body}", char::from(which | 4));
            save("dps_answer", &format!("{name}_mqtt"), input.as_bytes());
        }
    }
}

fn sas_tokens() {
    let (scope, id) = (
        IdScope::new("0ne0").unwrap(),
        RegistrationId::new("dev-1").unwrap(),
    );
    let unsigned = Unsigned::registration(&scope, &id, UnixTime(1_893_456_000));
    let signature = SharedKey::new(&[7; 32]).unwrap().sign(&unsigned.to_sign());
    let token = unsigned.sign(&signature).to_string();
    for (name, token) in [
        ("dotnet", token.clone()),
        ("c", token.replace("%2F", "%2f").replace("%3D", "%3d")),
        ("node", token.replacen("%2F", "/", 2)),
        ("python", token.replace("&skn=registration", "")),
    ] {
        Sas::parse(&token).expect(name);
        save("sas", name, token.as_bytes());
    }
}

fn tpm_structures() {
    for (name, text) in [
        ("attestation_key", ATTESTATION.to_owned()),
        (
            "endorsement_key_p256",
            format!("0023000b000300f20020{POLICY}00060080004300100003001000{POINT}"),
        ),
        (
            "endorsement_key_rsa",
            format!(
                "0001000b000300f20020{POLICY}000600800043001008000000000001009b{}01",
                "5a".repeat(254)
            ),
        ),
        (
            "storage_key",
            format!("0023000b00030472000000060080004300100003001000{POINT}"),
        ),
    ] {
        let area = area(&text);
        // No modulus of this form is sound; what reads it gets that far.
        if name != "endorsement_key_rsa" {
            Public::parse(&area).expect(name);
        }
        save("tpm", name, &[&[0], area.as_slice()].concat());
    }
    let name = format!("0022000b{}", "11".repeat(32));
    let head = |kind| {
        format!("ff544347{kind}{name}0001010000000000014aeb0000000200000000012019102300163636")
    };
    let signature = format!("0018000b0020{}0020{}", "11".repeat(32), "22".repeat(32));
    for (file, statement) in [
        ("certify", format!("{}{name}{name}", head("8017"))),
        (
            "quote",
            format!(
                "{}00000001000b030100010020{}",
                head("8018"),
                "33".repeat(32)
            ),
        ),
    ] {
        let statement = hex(&statement);
        let length = u8::try_from(statement.len()).unwrap();
        let input = [&[1, length], statement.as_slice(), &hex(&signature)].concat();
        save("tpm", file, &input);
    }
}

/// A `TPM2B_PUBLIC` around an area.
fn area(text: &str) -> Vec<u8> {
    let area = hex(text);
    let size = u16::try_from(area.len()).unwrap();
    [&size.to_be_bytes(), area.as_slice()].concat()
}

const ATTESTATION: &str = "0023000b00050072000000100018000b00030010\
    00200217e617f0b6443928278f96999e69a23a4f2c152bdf6d6cdf66e5b80282d4ed\
    0020194a7debcb97712d2dda3ca85aa8765a56f45fc758599652f2897c65306e5794";
const POINT: &str = "200217e617f0b6443928278f96999e69a23a4f2c152bdf6d6cdf66e5b80282d4ed\
    0020194a7debcb97712d2dda3ca85aa8765a56f45fc758599652f2897c65306e5794";
const POLICY: &str = "ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// RFC 4648 section 4, as PEM writes it, in one line.
fn base64(bytes: &[u8]) -> String {
    let pem = imprint_pkix::pem::encode("X", bytes);
    pem.lines()
        .filter(|line| !line.starts_with("---"))
        .collect()
}

fn save(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}
