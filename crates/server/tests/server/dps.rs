//! Azure's device API and the hub behind it, to the byte.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imprint_identity::Step;
use imprint_registrar::Ledger as _;
use imprint_registrar::ledger::{DeviceAct, EntryKind};
use imprint_registrar::product::{Product, ProductLimits};
use serde_json::Value;

use crate::support::dps::{SCOPE, hmac};
use crate::support::mqtt::{publish, subscribe};
use crate::support::{Device, Fleet, Foreign, Reply, request};

const REGISTER: &str = "$dps/registrations/PUT/iotdps-register/?$rid=7";
const RESULTS: &str = "$dps/registrations/res/#";

async fn step_of(fleet: &Fleet, device: &str) -> Step {
    let file = fleet.registrar.ledger().device_get(device).await.unwrap();
    file.expect("a device").device.step
}

fn body(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test]
async fn a_device_registers_over_https_and_is_provisioned_at_its_hub() {
    let fleet = Fleet::start().await;
    let key = fleet.entry(EntryKind::Individual, "sn-1").await;
    let client = fleet.client();
    let token = fleet.token_to_register(SCOPE, "sn-1", &key);
    let told = fleet.register(&client, "sn-1", Some(&token)).await;
    assert_eq!(told.status, 200, "{}", told.text());
    let said = body(&told);
    let state = &said["registrationState"];
    assert_eq!(said["status"], "assigned");
    assert_eq!(state["assignedHub"], "localhost");
    assert_eq!(state["deviceId"], "thermo-sn-1");
    assert_eq!(state["substatus"], "initialAssignment");
    assert_eq!(step_of(&fleet, "thermo-sn-1").await, Step::Verify);

    // Again, and by its operation: to the byte what it was told.
    let again = fleet.register(&client, "sn-1", Some(&token)).await;
    assert_eq!(again.body, told.body);
    let operation = said["operationId"].as_str().unwrap();
    let path = format!("/{SCOPE}/registrations/sn-1/operations/{operation}?api-version=x");
    let headers = [("Authorization", token.as_str())];
    // As the SDK for Node.js does, with a body behind a GET.
    let polled = client.once(&request("GET", &path, &headers, b"{}")).await;
    assert_eq!((polled.status, &polled.body), (200, &told.body));
    let lookup = format!("/{SCOPE}/registrations/sn-1?api-version=x");
    let looked = client.once(&request("POST", &lookup, &headers, b"")).await;
    assert_eq!(body(&looked), *state);
    let other = path.replace(operation, "5.0");
    let unknown = client.once(&request("GET", &other, &headers, b"")).await;
    assert_eq!((unknown.status, unknown.code()), (404, "operation-unknown"));

    // It comes to its hub: that is VERIFY.
    let token = fleet.token_for_hub("thermo-sn-1", &key);
    let (mut hub, code) = fleet
        .comes_to_hub(&client, "thermo-sn-1", Some(&token))
        .await;
    assert_eq!(code, 0);
    assert_eq!(step_of(&fleet, "thermo-sn-1").await, Step::Provisioned);
    let telemetry = "devices/thermo-sn-1/messages/events/%24.ct=application%2Fjson";
    let puback = hub.says(&publish(4, 9, telemetry, b"{\"t\":1}")).await;
    assert_eq!(puback, Some((0x40, vec![0, 9])));
    // Another device's telemetry ends the connection.
    let stolen = "devices/thermo-sn-2/messages/events/";
    assert_eq!(hub.says(&publish(4, 10, stolen, b"{}")).await, None);
}

#[tokio::test]
async fn a_device_of_a_group_registers_over_mqtt_in_one_connection() {
    let fleet = Fleet::start().await;
    let group = fleet.entry(EntryKind::Group, "line-1").await;
    let key = hmac(&group, b"SN-1");
    let client = fleet.client();
    let token = fleet.token_to_register(SCOPE, "SN-1", &key);
    let (mut connection, code) = fleet.comes_to_register(&client, "SN-1", Some(&token)).await;
    assert_eq!(code, 0);
    // Not before it has asked.
    let ledger = fleet.registrar.ledger();
    assert!(ledger.device_get("thermo-sn-1").await.unwrap().is_none());
    let suback = connection.says(&subscribe(4, 1, &[RESULTS])).await;
    assert_eq!(suback, Some((0x90, vec![0, 1, 1])));
    let payload = br#"{"payload": {"model": "m1"}, "registrationId": "SN-1"}"#;
    let puback = connection.says(&publish(4, 2, REGISTER, payload)).await;
    assert_eq!(puback, Some((0x40, vec![0, 2])));
    let (topic, told) = connection.published_back().await;
    assert_eq!(topic, "$dps/registrations/res/200/?$rid=7");
    assert_eq!(told["registrationState"]["registrationId"], "SN-1");
    assert_eq!(told["registrationState"]["deviceId"], "thermo-sn-1");
    assert_eq!(
        told["registrationState"]["symmetricKey"]["enrollmentGroupId"],
        "line-1"
    );

    let operation = told["operationId"].as_str().unwrap();
    let poll = format!(
        "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=8&operationId={operation}"
    );
    connection.says(&publish(4, 3, &poll, b" ")).await.unwrap();
    let (topic, polled) = connection.published_back().await;
    assert_eq!(topic, "$dps/registrations/res/200/?$rid=8");
    assert_eq!(polled, told);
    connection
        .says(&publish(4, 4, REGISTER, b"no"))
        .await
        .unwrap();
    let (topic, no) = connection.published_back().await;
    assert_eq!(topic, "$dps/registrations/res/400/?$rid=7");
    assert_eq!(no["errorCode"], 400_004);

    let token = fleet.token_for_hub("thermo-sn-1", &key);
    let (_, code) = fleet
        .comes_to_hub(&client, "thermo-sn-1", Some(&token))
        .await;
    assert_eq!(code, 0);
    assert_eq!(step_of(&fleet, "thermo-sn-1").await, Step::Provisioned);
}

#[tokio::test]
async fn a_device_with_a_certificate_registers_and_is_provisioned_by_both_ways() {
    let fleet = Fleet::start().await;
    let maker = Foreign::new("Acme");
    fleet
        .entry_for(EntryKind::Group, "acme", maker.certificate.der())
        .await;
    let client = fleet.client();
    for (id, by_mqtt) in [("sn-1", false), ("sn-2", true)] {
        let device = Device::new();
        let certificate = maker.issue(&device, id);
        let shown = fleet.client_as(&device, &certificate);
        if by_mqtt {
            let (mut connection, code) = fleet.comes_to_register(&shown, id, None).await;
            assert_eq!(code, 0);
            connection.says(&subscribe(4, 1, &[RESULTS])).await.unwrap();
            connection
                .says(&publish(4, 2, REGISTER, b"{}"))
                .await
                .unwrap();
            let (topic, _) = connection.published_back().await;
            assert_eq!(topic, "$dps/registrations/res/200/?$rid=7");
        } else {
            let told = fleet.register(&shown, id, None).await;
            assert_eq!(told.status, 200, "{}", told.text());
            let x509 = &body(&told)["registrationState"]["x509"];
            assert_eq!(x509["enrollmentGroupId"], "acme");
        }
        let name = format!("thermo-{id}");
        assert_eq!(step_of(&fleet, &name).await, Step::Verify);
        let (_, code) = fleet.comes_to_hub(&shown, &name, None).await;
        assert_eq!(code, 0);
        assert_eq!(step_of(&fleet, &name).await, Step::Provisioned);
        // Under another name, or without its certificate.
        let (_, code) = fleet.comes_to_hub(&shown, "thermo-sn-9", None).await;
        assert_eq!(code, 5);
        let (_, code) = fleet.comes_to_hub(&client, &name, None).await;
        assert_eq!(code, 5);
    }
}

#[tokio::test]
async fn no_is_said_in_the_words_of_the_protocol() {
    let fleet = Fleet::start().await;
    let key = fleet.entry(EntryKind::Individual, "sn-1").await;
    let client = fleet.client();
    let good = fleet.token_to_register(SCOPE, "sn-1", &key);
    let wrong = fleet.token_to_register(SCOPE, "sn-1", &[7; 32]);
    let other = fleet.token_to_register(SCOPE, "sn-2", &key);
    for (id, token, status, code) in [
        ("sn-1", None, 401, "credential-missing"),
        ("sn-1", Some("Basic eDp5"), 401, "signature-unreadable"),
        ("sn-1", Some(wrong.as_str()), 401, "entry-proof-wrong"),
        ("sn-2", Some(other.as_str()), 401, "entry-unknown"),
        ("sn-1", Some(other.as_str()), 401, "entry-proof-wrong"),
    ] {
        let reply = fleet.register(&client, id, token).await;
        assert_eq!(
            (reply.status, reply.code()),
            (status, code),
            "{}",
            reply.text()
        );
        assert_eq!(reply.header("X-Ms-Error-Code"), Some("401002"));
        assert_eq!(body(&reply)["errorCode"], 401_002);
        if let Some(token) = token.filter(|token| !token.starts_with("Basic")) {
            let (_, refused) = fleet.comes_to_register(&client, id, Some(token)).await;
            assert_eq!(refused, 5, "{id}");
        }
    }
    // Another scope, by both ways.
    let elsewhere = fleet.token_to_register("0neOTHER", "sn-1", &key);
    let headers = [("Authorization", elsewhere.as_str())];
    let path = "/0neOTHER/registrations/sn-1/register";
    let reply = client.once(&request("PUT", path, &headers, b"{}")).await;
    assert_eq!((reply.status, reply.code()), (404, "scope-unknown"));
    let user = "0neOTHER/registrations/sn-1/api-version=2019-03-31";
    let (_, code) = fleet.comes(&client, "sn-1", user, Some(&elsewhere)).await;
    assert_eq!(code, 5);
    // A body about somebody else, and a method that is none.
    let headers = [("Authorization", good.as_str())];
    let path = format!("/{SCOPE}/registrations/sn-1/register");
    let somebody = br#"{"registrationId":"sn-2"}"#;
    let reply = client
        .once(&request("PUT", &path, &headers, somebody))
        .await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    let reply = client.once(&request("GET", &path, &headers, b"")).await;
    assert_eq!((reply.status, reply.header("Allow")), (405, Some("PUT")));
    // None of this has made a device.
    let ledger = fleet.registrar.ledger();
    assert!(ledger.device_get("custom:sn-1").await.unwrap().is_none());
    // And none of it keeps the right key out.
    assert_eq!(
        fleet.register(&client, "sn-1", Some(&good)).await.status,
        200
    );
}

#[tokio::test]
async fn who_was_put_aside_reads_why() {
    let fleet = Fleet::start().await;
    let key = fleet.entry(EntryKind::Individual, "sn-1").await;
    let client = fleet.client();
    let token = fleet.token_to_register(SCOPE, "sn-1", &key);
    assert_eq!(
        fleet.register(&client, "sn-1", Some(&token)).await.status,
        200
    );
    let act = DeviceAct::Quarantine {
        reason: "drill".to_owned(),
    };
    let id = "thermo-sn-1".parse().unwrap();
    let ledger = fleet.registrar.ledger();
    ledger
        .device_act(&id, act, "test", fleet.now())
        .await
        .unwrap();
    let reply = fleet.register(&client, "sn-1", Some(&token)).await;
    assert_eq!((reply.status, reply.code()), (401, "device-quarantined"));
    // Over MQTT it has proven its key, and reads it as a registration that failed.
    let (mut connection, code) = fleet.comes_to_register(&client, "sn-1", Some(&token)).await;
    assert_eq!(code, 0);
    connection.says(&subscribe(4, 1, &[RESULTS])).await.unwrap();
    connection
        .says(&publish(4, 2, REGISTER, b"{}"))
        .await
        .unwrap();
    let (_, told) = connection.published_back().await;
    assert_eq!(told["status"], "failed");
    let why = told["registrationState"]["errorMessage"].as_str().unwrap();
    assert!(
        why.contains("device-quarantined") && !why.contains("drill"),
        "{why}"
    );
    let token = fleet.token_for_hub("thermo-sn-1", &key);
    let (_, code) = fleet
        .comes_to_hub(&client, "thermo-sn-1", Some(&token))
        .await;
    assert_eq!(code, 5);
}

#[tokio::test]
async fn who_waits_is_told_to_ask_for_its_operation() {
    let fleet = Fleet::start().await;
    fleet
        .apply(Product {
            approval: true,
            ..Product::named("thermo")
        })
        .await;
    let key = fleet.entry(EntryKind::Individual, "sn-1").await;
    let client = fleet.client();
    let token = fleet.token_to_register(SCOPE, "sn-1", &key);
    let told = fleet.register(&client, "sn-1", Some(&token)).await;
    assert_eq!(told.status, 202, "{}", told.text());
    assert_eq!(body(&told)["status"], "assigning");
    assert_eq!(told.header("Retry-After"), Some("60"));
    let location = told.header("Location").unwrap().to_owned();
    let id = "thermo-sn-1".parse().unwrap();
    let until = fleet.now().plus(3_600);
    let act = DeviceAct::Approve { key: None, until };
    let ledger = fleet.registrar.ledger();
    ledger
        .device_act(&id, act, "test", fleet.now())
        .await
        .unwrap();
    let headers = [("Authorization", token.as_str())];
    let polled = client
        .once(&request("GET", &location, &headers, b"{}"))
        .await;
    assert_eq!(polled.status, 200);
    assert_eq!(body(&polled)["status"], "assigned");
}

#[tokio::test]
async fn newcomers_come_in_at_the_pace_of_their_product() {
    let fleet = Fleet::start().await;
    fleet
        .apply(Product {
            limits: ProductLimits {
                enrollments_per_second: 1,
                burst: 1,
            },
            ..Product::named("thermo")
        })
        .await;
    let group = fleet.entry(EntryKind::Group, "line-1").await;
    let client = fleet.client();
    let mut statuses = Vec::new();
    for number in 0..8 {
        let id = format!("sn-{number}");
        let token = fleet.token_to_register(SCOPE, &id, &hmac(&group, id.as_bytes()));
        let client = client.clone();
        let asked = fleet.register(&client, &id, Some(&token));
        // Who waits at the door for its turn is not waited for here.
        let patience = std::time::Duration::from_millis(500);
        if let Ok(reply) = tokio::time::timeout(patience, asked).await {
            statuses.push(reply.status);
        }
    }
    assert_eq!(statuses.first(), Some(&200));
    // Nobody is refused for good: the SDK for Node.js gives up when it reads 429.
    assert!(
        statuses.iter().all(|status| [200, 202].contains(status)),
        "{statuses:?}"
    );
    assert!(statuses.contains(&202), "{statuses:?}");
}

#[tokio::test]
async fn a_device_that_registers_may_do_nothing_else() {
    let fleet = Fleet::start().await;
    let key = fleet.entry(EntryKind::Individual, "sn-1").await;
    let client = fleet.client();
    let token = fleet.token_to_register(SCOPE, "sn-1", &key);
    for topic in [
        "devices/thermo-sn-1/messages/events/",
        "$aws/certificates/create/json",
        "$dps/registrations/POST/iotdps-register/?$rid=1",
    ] {
        let (mut connection, _) = fleet.comes_to_register(&client, "sn-1", Some(&token)).await;
        assert_eq!(
            connection.says(&publish(4, 2, topic, b"{}")).await,
            None,
            "{topic}"
        );
    }
    let (mut connection, _) = fleet.comes_to_register(&client, "sn-1", Some(&token)).await;
    let suback = connection.says(&subscribe(4, 1, &["#"])).await;
    assert_eq!(suback, Some((0x90, vec![0, 1, 0x80])));
}

#[tokio::test]
async fn a_device_gets_its_certificate_with_its_registration_by_both_ways() {
    let fleet = Fleet::start().await;
    let group = fleet.entry(EntryKind::Group, "line-1").await;
    let client = fleet.client();
    let mut chains = Vec::new();
    for (id, by_mqtt) in [("sn-1", false), ("sn-2", true)] {
        let shared = hmac(&group, id.as_bytes());
        let token = fleet.token_to_register(SCOPE, id, &shared);
        let (device, other) = (Device::new(), Device::new());
        let ask = async |device: &Device| {
            let csr = STANDARD.encode(device.csr(id, None));
            let asked = format!(r#"{{"registrationId":"{id}","csr":"{csr}"}}"#);
            if by_mqtt {
                let (mut connection, _) = fleet.comes_to_register(&client, id, Some(&token)).await;
                connection.says(&subscribe(4, 1, &[RESULTS])).await.unwrap();
                let asked = publish(4, 2, REGISTER, asked.as_bytes());
                connection.says(&asked).await.unwrap();
                connection.published_back().await.1
            } else {
                let headers = [("Authorization", token.as_str())];
                let path =
                    format!("/{SCOPE}/registrations/{id}/register?api-version=2025-07-01-preview");
                let told = request("PUT", &path, &headers, asked.as_bytes());
                body(&client.once(&told).await)
            }
        };
        let told = ask(&device).await;
        let state = &told["registrationState"];
        assert_eq!(state["status"], "assigned", "{told}");
        let chain: Vec<_> = state["issuedCertificateChain"]
            .as_array()
            .unwrap()
            .iter()
            .map(|der| STANDARD.decode(der.as_str().unwrap()).unwrap())
            .collect();
        assert!(chain.len() >= 2);
        // Lost on its way: the same again, in a request that is signed anew.
        assert_eq!(ask(&device).await, told);
        let refused = ask(&other).await.to_string();
        assert!(refused.contains("device-exists"), "{refused}");
        // It is its certificate's now, and not the shared key's.
        let name = format!("thermo-{id}");
        let by_key = fleet.token_for_hub(&name, &shared);
        let (_, code) = fleet.comes_to_hub(&client, &name, Some(&by_key)).await;
        assert_eq!(code, 5);
        let shown = fleet.client_as(&device, &chain[0]);
        let (_, code) = fleet.comes_to_hub(&shown, &name, None).await;
        assert_eq!(code, 0);
        assert_eq!(step_of(&fleet, &name).await, Step::Provisioned);
        // What is on record has no certificate in it.
        let headers = [("Authorization", token.as_str())];
        let lookup = format!("/{SCOPE}/registrations/{id}?api-version=x");
        let looked = client.once(&request("POST", &lookup, &headers, b"")).await;
        assert_eq!(body(&looked).get("issuedCertificateChain"), None);
        assert_eq!(looked.status, 200);
        chains.push(chain);
    }
    assert_eq!(chains[0][1..], chains[1][1..]);
}

#[tokio::test]
async fn who_waits_with_a_request_is_told_to_ask_the_whole_again() {
    let fleet = Fleet::start().await;
    fleet
        .apply(Product {
            approval: true,
            ..Product::named("thermo")
        })
        .await;
    let key = fleet.entry(EntryKind::Individual, "sn-1").await;
    let client = fleet.client();
    let token = fleet.token_to_register(SCOPE, "sn-1", &key);
    let device = Device::new();
    let headers = [("Authorization", token.as_str())];
    let csr = STANDARD.encode(device.csr("sn-1", None));
    let asked = format!(r#"{{"csr":"{csr}"}}"#);
    let path = format!("/{SCOPE}/registrations/sn-1/register?api-version=x");
    let ask = request("PUT", &path, &headers, asked.as_bytes());
    let told = client.once(&ask).await;
    assert_eq!((told.status, told.code()), (429, "approval-pending"));
    assert_eq!(told.header("Retry-After"), Some("60"));
    let until = fleet.now().plus(3_600);
    let act = DeviceAct::Approve { key: None, until };
    let ledger = fleet.registrar.ledger();
    let id = "thermo-sn-1".parse().unwrap();
    let acted = ledger.device_act(&id, act, "test", fleet.now());
    acted.await.unwrap();
    assert_eq!(client.once(&ask).await.status, 200);
}

#[tokio::test]
async fn a_tpm_is_challenged_over_https_and_another_one_is_told_so() {
    let fleet = Fleet::start().await;
    let (endorsement, storage) = (tpm_key(0x0003_00b2, POLICY), tpm_key(0x0003_0472, ""));
    fleet.entry_for_tpm("sn-1", &endorsement).await;
    let client = fleet.client();
    let ask = async |id: &str, endorsement: &[u8]| {
        let headers = [("Content-Type", "application/json; charset=utf-8")];
        let path = format!("/{SCOPE}/registrations/{id}/register?api-version=2019-03-31");
        let (endorsement, storage) = (STANDARD.encode(endorsement), STANDARD.encode(&storage));
        let tpm = format!(r#"{{"endorsementKey":"{endorsement}","storageRootKey":"{storage}"}}"#);
        let body = format!(r#"{{"registrationId":"{id}","tpm":{tpm}}}"#);
        client
            .once(&request("PUT", &path, &headers, body.as_bytes()))
            .await
    };
    for _ in 0..2 {
        let told = ask("sn-1", &endorsement).await;
        assert_eq!((told.status, told.code()), (401, ""), "{}", told.text());
        let said = body(&told);
        // With a status, one SDK would take it for a registration's end.
        assert_eq!(
            (&said["keyName"], said.get("status")),
            (&"registration".into(), None)
        );
        let blob = STANDARD.decode(said["authenticationKey"].as_str().unwrap());
        assert!(blob.unwrap().len() > 300);
    }
    let other = tpm_key(0x0003_00b2, POLICY);
    for (id, endorsement, code) in [
        ("sn-1", &other[..], "tpm-other"),
        ("sn-1", &endorsement[..40], "tpm-unreadable"),
        ("sn-2", &endorsement[..], "entry-unknown"),
    ] {
        let told = ask(id, endorsement).await;
        assert_eq!(told.code(), code, "{}", told.text());
        assert_eq!(body(&told).get("authenticationKey"), None);
    }
    // Nothing is on record of who has only asked.
    let ledger = fleet.registrar.ledger();
    assert!(ledger.device_get("custom:sn-1").await.unwrap().is_none());
}

/// A `TPM2B_PUBLIC` of a new P-256 key.
fn tpm_key(attributes: u32, policy: &str) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let point = key.public_key().as_ref();
    let parts: [&[u8]; 6] = [
        &[0, 0x23, 0, 0x0b],
        &attributes.to_be_bytes(),
        &sized(&hex::decode(policy).unwrap()),
        &[0, 6, 0, 128, 0, 0x43, 0, 0x10, 0, 3, 0, 0x10],
        &sized(&point[1..33]),
        &sized(&point[33..]),
    ];
    sized(&parts.concat())
}

const POLICY: &str = "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa";
