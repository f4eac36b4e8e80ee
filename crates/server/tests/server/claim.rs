//! Claim provisioning and first connections, over real MQTT. The official SDKs are in `conformance/`.

use std::time::Duration;

use aws_lc_rs::hmac;
use imprint_claim::{Call, Format, Outcome, Rejected, Reply, Request, Topic};
use imprint_pkix::pem;
use imprint_registrar::Ledger as _;
use imprint_registrar::claims::definition::{AutoRegistration, CaMode, HookFailure, RegisteredCa};
use imprint_registrar::ledger::{ClaimAct, Definitions, DeviceFilter, ThingFilter};
use imprint_registrar::product::Product;
use imprint_server::outbound::key_for;

use crate::support::claim::{HookServer, certificate_in};
use crate::support::mqtt::{connect, publish, subscribe};
use crate::support::{Device, Fleet, Foreign, eventually, request};

const SERIAL: &str = "SerialNumber";
/// In a table, for the token that was given.
const GOOD: &str = "good";

/// Everything that a template may say, in small.
const TEMPLATE: &str = r#"{
  "Parameters": {"SerialNumber": {"Type": "String"}, "Region": {"Type": "String", "Default": "de"},
                 "AWS::IoT::Certificate::Id": {"Type": "String"}},
  "Mappings": {"Hosts": {"de": {"url": "mqtts://de.example"}, "us": {"url": "mqtts://us.example"}}},
  "Resources": {
    "thing": {"Type": "AWS::IoT::Thing", "Properties": {
      "ThingName": {"Fn::Join": ["-", ["dev", {"Ref": "SerialNumber"}]]},
      "ThingTypeName": "thermostat", "ThingGroups": ["hall"],
      "AttributePayload": {"serial": {"Ref": "SerialNumber"}}}},
    "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
      "CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"}},
    "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "devices"}}},
  "DeviceConfiguration": {"url": {"Fn::FindInMap": ["Hosts", {"Ref": "Region"}, "url"]}}
}"#;

async fn step(fleet: &Fleet, device: &str) -> &'static str {
    let file = fleet.registrar.ledger().device_get(device).await.unwrap();
    file.expect("a device").device.step.name()
}

async fn devices(fleet: &Fleet) -> usize {
    let ledger = fleet.registrar.ledger();
    ledger
        .device_list(&DeviceFilter::default())
        .await
        .unwrap()
        .len()
}

fn code(rejected: &Rejected) -> &str {
    rejected.code().unwrap_or("none")
}

#[tokio::test]
async fn a_device_with_its_own_key_becomes_a_member() {
    let fleet = Fleet::start().await;
    let claim = fleet.claim().await;
    for (level, format) in [
        (4, Format::Json),
        (5, Format::Json),
        (4, Format::Cbor),
        (5, Format::Cbor),
    ] {
        let serial = format!("sn-{level}-{}", format.name());
        let key = Device::new();
        let mut asker = fleet.by_claim(&claim, level).await;
        let created = asker.certify(&key, format).await;
        let certificate = certificate_in(&created);
        // Good for nothing before its device has a name.
        let (reason, told) = fleet.knock(&key, &certificate).await;
        assert_eq!(reason, 0x87);
        assert!(told.contains("certificate-pending"), "{told}");
        let registered = asker
            .register(&created.ownership, "thermo", &[(SERIAL, &serial)])
            .await;
        let name = format!("thermo-{serial}");
        assert_eq!(
            registered.unwrap().thing_name.as_deref(),
            Some(name.as_str())
        );
        assert_eq!(step(&fleet, &name).await, "VERIFY");
        assert_eq!(fleet.knock(&key, &certificate).await.0, 0, "level {level}");
        assert_eq!(step(&fleet, &name).await, "PROVISIONED");
    }
    assert_eq!(devices(&fleet).await, 4);
}

#[tokio::test]
async fn a_device_that_gets_its_key_from_the_server_becomes_a_member() {
    let fleet = Fleet::start().await;
    let claim = fleet.claim().await;
    for (level, payload) in [(4, &b""[..]), (5, b"{}")] {
        let serial = format!("sn-{level}");
        let mut asker = fleet.by_claim(&claim, level).await;
        let call = Call {
            topic: Topic::CreateKeys,
            format: Format::Json,
        };
        let (outcome, answer) = asker.ask_raw(&call, payload).await;
        let Reply::Created(created) = Reply::parse(&call, outcome, &answer).unwrap() else {
            panic!("no certificate")
        };
        asker
            .register(&created.ownership, "thermo", &[(SERIAL, &serial)])
            .await
            .unwrap();
        let key = created.private_key_pem.clone().unwrap();
        let pkcs8 = pem::decode("PRIVATE KEY", &key).unwrap().remove(0);
        let mut client = fleet
            .client()
            .with_identity(&certificate_in(&created), &pkcs8);
        client.address = fleet.mqtts();
        let mut connection = client.connect().await.unwrap();
        let (_, body) = connection.says(&connect(level, "x")).await.unwrap();
        assert_eq!(body[1], 0);
        assert_eq!(
            step(&fleet, &format!("thermo-{serial}")).await,
            "PROVISIONED"
        );
    }
}

#[tokio::test]
async fn the_same_question_gets_the_same_bytes() {
    let fleet = Fleet::start().await;
    let claim = fleet.claim().await;
    fleet.template(TEMPLATE, None).await;
    let key = Device::new();
    let first = fleet
        .by_claim(&claim, 4)
        .await
        .certify(&key, Format::Json)
        .await;
    // Each time another connection, and another signature under the request.
    let again = fleet
        .by_claim(&claim, 5)
        .await
        .certify(&key, Format::Cbor)
        .await;
    assert_eq!(first, again);
    let mut answers = Vec::new();
    for format in [Format::Json, Format::Json, Format::Cbor, Format::Cbor] {
        let call = Call {
            topic: Topic::Register { template: "t1" },
            format,
        };
        let request = Request::Register {
            ownership: first.ownership.clone(),
            parameters: [(SERIAL.to_owned(), "sn-1".to_owned())].into(),
        };
        let mut asker = fleet.by_claim(&claim, 4).await;
        answers.push(asker.ask_raw(&call, &request.encode(format)).await);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[2], answers[3]);
    let want = r#"{"deviceConfiguration":{"url":"mqtts://de.example"},"thingName":"dev-sn-1"}"#;
    assert_eq!(answers[0], (Outcome::Accepted, want.as_bytes().to_vec()));
    // And after it has proven receipt.
    fleet.knock(&key, &certificate_in(&first)).await;
    let late = fleet
        .by_claim(&claim, 4)
        .await
        .certify(&key, Format::Json)
        .await;
    assert_eq!(first, late);
    assert_eq!(devices(&fleet).await, 1);
}

#[tokio::test]
async fn a_template_says_what_the_device_becomes() {
    let fleet = Fleet::start().await;
    let claim = fleet.claim().await;
    fleet.template(TEMPLATE, None).await;
    let mut asker = fleet.by_claim(&claim, 4).await;
    let created = asker.certify(&Device::new(), Format::Json).await;
    let parameters = [(SERIAL, "sn-1"), ("Region", "us"), ("unknown", "x")];
    let registered = asker
        .register(&created.ownership, "t1", &parameters)
        .await
        .unwrap();
    assert_eq!(registered.device_configuration["url"], "mqtts://us.example");
    let things = fleet
        .registrar
        .ledger()
        .thing_list(&ThingFilter::default())
        .await
        .unwrap();
    let [thing] = &things[..] else {
        panic!("{things:?}")
    };
    assert_eq!(
        (thing.name.as_str(), thing.device.as_str()),
        ("dev-sn-1", "thermo-sn-1")
    );
    assert_eq!(thing.values.attributes["serial"], "sn-1");
    assert_eq!(thing.values.thing_type.as_deref(), Some("thermostat"));
    assert_eq!(thing.values.groups, ["hall"]);
    assert_eq!(thing.values.policies, ["devices"]);
}

#[tokio::test]
async fn one_token_registers_one_thing() {
    let fleet = Fleet::start().await;
    let claim = fleet.claim().await;
    let other = fleet.claim_with(|other| other.name = "line-2".into()).await;
    let mut asker = fleet.by_claim(&claim, 4).await;
    let created = asker.certify(&Device::new(), Format::Json).await;
    let ownership = created.ownership.as_str();
    // Another claim's token is nobody's.
    let mut thief = fleet.by_claim(&other, 4).await;
    let stolen = thief.register(ownership, "thermo", &[(SERIAL, "a")]);
    assert_eq!(code(&stolen.await.unwrap_err()), "ownership-invalid");
    // Two things at the same moment: one of them.
    let mut second = fleet.by_claim(&claim, 5).await;
    let one = asker.register(ownership, "thermo", &[(SERIAL, "a")]);
    let two = second.register(ownership, "thermo", &[(SERIAL, "b")]);
    let (one, two) = tokio::join!(one, two);
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    let refused = one.err().or(two.err()).unwrap();
    assert_eq!(
        (refused.error.as_str(), code(&refused)),
        ("InvalidCertificateOwnershipToken", "ownership-used")
    );
    assert_eq!(devices(&fleet).await, 1);
}

/// Token, template, parameters; status, error and how the message begins.
type Row = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    u16,
    &'static str,
    &'static str,
);

#[tokio::test]
async fn a_rejection_is_in_the_vendors_words_and_ours() {
    let fleet = Fleet::start().await;
    let claim = fleet.claim().await;
    fleet.template(TEMPLATE, None).await;
    let mut asker = fleet.by_claim(&claim, 5).await;
    let created = asker.certify(&Device::new(), Format::Json).await;
    let rows: &[Row] = &[
        (
            "",
            "t1",
            &[],
            400,
            "InvalidCertificateOwnershipToken",
            "Certificate ownership token cannot be empty. [ownership-missing]",
        ),
        (
            "nonsense",
            "t1",
            &[],
            400,
            "InvalidCertificateOwnershipToken",
            "Certificate ownership token is invalid. [ownership-invalid]",
        ),
        (
            GOOD,
            "nowhere",
            &[],
            400,
            "InvalidTemplate",
            "Template with name nowhere does not exist. [template-unknown]",
        ),
        (
            "nonsense",
            "nowhere",
            &[],
            400,
            "InvalidTemplate",
            "Template with name nowhere does not exist. [template-unknown]",
        ),
        (
            GOOD,
            "t1",
            &[],
            400,
            "InvalidParameters",
            "Parameters are invalid. [hardware-missing]",
        ),
        (
            GOOD,
            "t1",
            &[(SERIAL, "a\nb")],
            400,
            "InvalidParameters",
            "Parameters are invalid. [hardware-invalid]",
        ),
        (
            GOOD,
            "t1",
            &[(SERIAL, "a"), ("Region", "fr")],
            400,
            "InvalidParameters",
            "Parameters are invalid. [parameters-invalid]",
        ),
        (
            GOOD,
            "thermo",
            &[],
            400,
            "InvalidParameters",
            "Parameters are invalid. [hardware-missing]",
        ),
    ];
    let good = created.ownership.as_str();
    for (ownership, template, parameters, status, error, begins) in rows {
        let ownership = if *ownership == GOOD { good } else { ownership };
        let rejected = asker
            .register(ownership, template, parameters)
            .await
            .unwrap_err();
        assert_eq!(
            (rejected.status, rejected.error.as_str()),
            (*status, *error),
            "{rejected:?}"
        );
        assert!(
            rejected.message.starts_with(begins),
            "{begins}: {}",
            rejected.message
        );
    }
    assert_eq!(devices(&fleet).await, 0, "a rejection changes nothing");
    // After all of them the token is as good as before.
    asker.register(good, "t1", &[(SERIAL, "a")]).await.unwrap();

    for (topic, payload, want) in [
        (Topic::CreateFromCsr, &b"no json"[..], "payload-unreadable"),
        (Topic::CreateFromCsr, b"", "payload-unreadable"),
        (
            Topic::CreateFromCsr,
            br#"{"certificateSigningRequest":"no PEM"}"#,
            "csr-unreadable",
        ),
        (Topic::CreateKeys, b"[]", "payload-unreadable"),
        (
            Topic::Register { template: "t1" },
            b"{}",
            "ownership-missing",
        ),
        (
            Topic::Register { template: "t1" },
            b"\xff",
            "payload-unreadable",
        ),
    ] {
        for format in Format::ALL {
            let call = Call { topic, format };
            let (outcome, answer) = asker.ask_raw(&call, payload).await;
            let Reply::Rejected(rejected) = Reply::parse(&call, outcome, &answer).unwrap() else {
                panic!("{topic:?} {payload:?}")
            };
            // What is broken JSON is broken CBOR in another way.
            if format == Format::Json {
                assert_eq!(code(&rejected), want, "{topic:?} {payload:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_claim_reaches_provisioning_and_nothing_else() {
    let fleet = Fleet::start().await;
    let claim = fleet.claim().await;
    // Over HTTPS it is nobody.
    let client = fleet.client_as(&claim.key, &claim.certificate);
    for path in ["/v1/verify", "/v1/profile"] {
        let reply = client.once(&request("GET", path, &[], b"")).await;
        assert_eq!(
            (reply.status, reply.code()),
            (403, "claim-only-provisions"),
            "{path}"
        );
    }
    for topic in [
        "telemetry",
        "$aws/things/x/shadow/update",
        "$aws/certificates/create/xml",
        "$aws/certificates/create/json/accepted",
        "$aws/provisioning-templates/thermo/provision/json/rejected",
        "$aws/provisioning-templates/a b/provision/json",
        "$AWS/certificates/create/json",
        "$aws/certificates/create/json/",
    ] {
        let mut asker = fleet.by_claim(&claim, 5).await;
        let (first, body) = asker
            .connection
            .says(&publish(5, 9, topic, b"{}"))
            .await
            .unwrap();
        assert_eq!((first, body[2]), (0x40, 0x87), "{topic}");
    }
    let mut asker = fleet.by_claim(&claim, 5).await;
    for (filter, want) in [
        ("$aws/certificates/#", 1),
        ("$aws/certificates/create/json/+", 1),
        ("$aws/provisioning-templates/+/provision/+/accepted", 1),
        ("$aws/things/#", 0x87),
        ("telemetry", 0x87),
        ("#", 0x87),
    ] {
        let (_, body) = asker
            .connection
            .says(&subscribe(5, 9, &[filter]))
            .await
            .unwrap();
        assert_eq!(body.last(), Some(&want), "{filter}");
    }
    // And what is a claim's is not a member's.
    let (device, certificate) = fleet.enrolled("sn-1").await;
    let mut member = fleet
        .mqtt_client(&device, &certificate)
        .connect()
        .await
        .unwrap();
    member.says(&connect(5, "x")).await.unwrap();
    for call in Call::all("thermo") {
        let asked = publish(5, 9, &call.to_string(), b"{}");
        let (first, body) = member.says(&asked).await.unwrap();
        assert_eq!((first, body[2]), (0x40, 0x87), "{call}");
    }
    assert_eq!(devices(&fleet).await, 1);
}

#[tokio::test]
async fn a_claim_that_is_revoked_is_refused_at_its_next_request() {
    let fleet = Fleet::start().await;
    let claim = fleet.claim().await;
    let mut asker = fleet.by_claim(&claim, 4).await;
    let key = Device::new();
    let created = asker.certify(&key, Format::Json).await;
    asker
        .register(&created.ownership, "thermo", &[(SERIAL, "a")])
        .await
        .unwrap();
    let next = asker.certify(&Device::new(), Format::Json).await;
    let act = ClaimAct::Revoke {
        reason: "drill".into(),
    };
    let ledger = fleet.registrar.ledger();
    ledger
        .claim_act("line-1", act, "test", fleet.now())
        .await
        .unwrap();
    let refused = asker
        .register(&next.ownership, "thermo", &[(SERIAL, "b")])
        .await
        .unwrap_err();
    assert_eq!((refused.status, code(&refused)), (403, "claim-revoked"));
    let (reason, told) = fleet.knock(&claim.key, &claim.certificate).await;
    assert!(reason == 0x87 && told.contains("claim-revoked"), "{told}");
    // What it has provisioned is not touched.
    assert_eq!(fleet.knock(&key, &certificate_in(&created)).await.0, 0);
}

// ---- the hook ----------------------------------------------------------------------------------

/// What a registration with this hook gets, and how long it took.
async fn with_hook(url: &str, policy: HookFailure) -> (Result<Option<String>, Rejected>, Duration) {
    let fleet = Fleet::start().await;
    let claim = fleet.claim().await;
    fleet.template(TEMPLATE, Some((url, policy))).await;
    let mut asker = fleet.by_claim(&claim, 4).await;
    let created = asker.certify(&Device::new(), Format::Json).await;
    let began = tokio::time::Instant::now();
    let registered = asker
        .register(&created.ownership, "t1", &[(SERIAL, "sn-1")])
        .await;
    (
        registered.map(|registered| registered.thing_name),
        began.elapsed(),
    )
}

#[tokio::test]
async fn a_hook_is_asked_in_the_vendors_form_and_signed() {
    let hook = HookServer::saying(200, r#"{"allowProvisioning":true}"#).await;
    let fleet = Fleet::start().await;
    let claim = fleet.claim().await;
    fleet
        .template(TEMPLATE, Some((&hook.url, HookFailure::Refuse)))
        .await;
    let mut asker = fleet.by_claim(&claim, 4).await;
    let created = asker.certify(&Device::new(), Format::Json).await;
    for _ in 0..2 {
        asker
            .register(&created.ownership, "t1", &[(SERIAL, "sn-1")])
            .await
            .unwrap();
    }
    assert_eq!(
        hook.count(),
        1,
        "what is on record is not asked about again"
    );
    let asked = hook.asked.lock().unwrap()[0].clone();
    let (head, body) = asked.split_once("\r\n\r\n").unwrap();
    let told: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(told["certificateId"], created.certificate_id.as_str());
    assert_eq!(told["certificatePem"], created.certificate_pem.as_str());
    assert_eq!(told["clientId"], "claim");
    assert_eq!(told["parameters"][SERIAL], "sn-1");
    assert!(
        told["templateArn"]
            .as_str()
            .unwrap()
            .ends_with(":provisioningtemplate/t1")
    );
    assert_eq!(told["claimCertificateId"].as_str().unwrap().len(), 64);
    // As a receiver checks it.
    let header = head
        .lines()
        .find_map(|line| line.strip_prefix("imprint-signature: "))
        .unwrap();
    let (time, signature) = header
        .strip_prefix("t=")
        .unwrap()
        .split_once(",v1=")
        .unwrap();
    let key = key_for(fleet.registrar.signer(), &hook.url)
        .await
        .unwrap()
        .to_hex();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &hex::decode(key).unwrap());
    let signed = format!("{time}.{body}");
    hmac::verify(&key, signed.as_bytes(), &hex::decode(signature).unwrap()).unwrap();
}

#[tokio::test]
async fn a_hook_may_say_no_and_may_change_what_the_device_said() {
    let says = async |body: &str| {
        let hook = HookServer::saying(200, body).await;
        with_hook(&hook.url, HookFailure::Refuse).await.0
    };
    let changed =
        says(r#"{"allowProvisioning":true,"parameterOverrides":{"SerialNumber":"Z"}}"#).await;
    assert_eq!(changed.unwrap().as_deref(), Some("dev-Z"));
    for body in [r#"{"allowProvisioning":false}"#, "{}"] {
        let refused = says(body).await.unwrap_err();
        assert_eq!(
            (refused.status, refused.error.as_str()),
            (403, "AccessDenied")
        );
        assert_eq!(code(&refused), "hook-refused");
    }
}

#[tokio::test]
async fn a_hook_is_asked_about_nobody_whom_the_fleet_refuses() {
    let hook = HookServer::saying(200, r#"{"allowProvisioning":true}"#).await;
    let fleet = Fleet::start().await;
    let claim = fleet.claim_with(|claim| claim.allowlist = true).await;
    fleet
        .template(TEMPLATE, Some((&hook.url, HookFailure::Refuse)))
        .await;
    let ledger = fleet.registrar.ledger();
    let listed = vec!["sn-1".parse().unwrap()];
    let added = ledger.allow_add("thermo", listed, "test", fleet.now());
    added.await.unwrap();
    let mut asker = fleet.by_claim(&claim, 4).await;
    let created = asker.certify(&Device::new(), Format::Json).await;
    let mut ask = async |id: &str| {
        let parameters = [(SERIAL, id)];
        let asked = asker.register(&created.ownership, "t1", &parameters);
        asked.await.map(|_| ()).map_err(|no| code(&no).to_owned())
    };
    assert_eq!(ask("sn-9").await, Err("hardware-not-allowed".to_owned()));
    assert_eq!(hook.count(), 0, "the cheapest check comes first");
    let record = ledger.claim_get("line-1").await.unwrap().unwrap();
    assert_eq!(record.unknown_hardware, 1, "and counts as it always does");
    ask("sn-1").await.unwrap();
    assert_eq!(hook.count(), 1);
    // Another key for a device that is registered.
    let thief = asker.certify(&Device::new(), Format::Json).await;
    let known = [(SERIAL, "sn-1")];
    let asked = asker.register(&thief.ownership, "t1", &known);
    assert_eq!(code(&asked.await.unwrap_err()), "device-exists");
    // One that waits is asked about once, however often it comes.
    let waits = Product {
        approval: true,
        ..Product::named("thermo")
    };
    fleet.apply(waits).await;
    let listed = vec!["sn-2".parse().unwrap()];
    let added = ledger.allow_add("thermo", listed, "test", fleet.now());
    added.await.unwrap();
    let waits = [(SERIAL, "sn-2")];
    for _ in 0..3 {
        let asked = asker.register(&thief.ownership, "t1", &waits);
        assert_eq!(code(&asked.await.unwrap_err()), "approval-pending");
    }
    assert_eq!(hook.count(), 2);
}

#[tokio::test]
async fn a_hook_that_fails_refuses_unless_told_otherwise() {
    let closed = {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/", socket.local_addr().unwrap())
    };
    let yes = r#"{"allowProvisioning":true}"#;
    let slow = HookServer::start("", Duration::from_mins(1)).await;
    let broken = HookServer::start(
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
        Duration::ZERO,
    )
    .await;
    let no_http = HookServer::start("\0\0\0", Duration::ZERO).await;
    let status = HookServer::saying(500, yes).await;
    let elsewhere = HookServer::start(
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        Duration::ZERO,
    )
    .await;
    let garbage = HookServer::saying(200, "<html>").await;
    let nested = HookServer::saying(
        200,
        r#"{"allowProvisioning":true,"parameterOverrides":{"a":{}}}"#,
    )
    .await;
    let failed = ("InvocationError", "hook-failed");
    let unreadable = ("InvalidResult", "hook-reply-unreadable");
    for (what, url, want) in [
        ("dead", &closed, failed),
        ("broken", &broken.url, failed),
        ("no HTTP", &no_http.url, failed),
        ("500", &status.url, failed),
        ("a redirect", &elsewhere.url, failed),
        ("garbage", &garbage.url, unreadable),
        ("nested", &nested.url, unreadable),
        ("slow", &slow.url, failed),
    ] {
        let (refused, took) = with_hook(url, HookFailure::Refuse).await;
        let refused = refused.unwrap_err();
        assert_eq!((refused.error.as_str(), code(&refused)), want, "{what}");
        assert!(took < Duration::from_secs(8), "{what}: {took:?}");
        assert!(
            what != "slow" || took >= Duration::from_millis(4_900),
            "{took:?}"
        );
    }
    for url in [&closed, &garbage.url] {
        let (allowed, _) = with_hook(url, HookFailure::Allow).await;
        assert_eq!(allowed.unwrap().as_deref(), Some("dev-sn-1"));
    }
    // Who says no has answered: the policy for failures is not for it.
    let no = HookServer::saying(200, r#"{"allowProvisioning":false}"#).await;
    assert!(with_hook(&no.url, HookFailure::Allow).await.0.is_err());
}

#[tokio::test]
async fn what_a_template_names_and_nobody_has_written_down_is_told_in_the_vendors_words() {
    let fleet = Fleet::start().await;
    let claim = fleet.claim().await;
    fleet.template_that(TEMPLATE, None, false).await;
    let mut asker = fleet.by_claim(&claim, 4).await;
    let created = asker.certify(&Device::new(), Format::Json).await;
    let parameters = [(SERIAL, "sn-1")];
    let rejected = asker.register(&created.ownership, "t1", &parameters).await;
    let rejected = rejected.unwrap_err();
    assert_eq!(
        (rejected.status, rejected.error.as_str()),
        (400, "ProvisioningFailed")
    );
    assert_eq!(code(&rejected), "registry-missing");
    assert!(
        rejected.message.starts_with("group \"hall\" not found. ["),
        "{}",
        rejected.message
    );
    assert!(matches!(rejected.retry(), imprint_claim::Retry::After(_)));
    assert_eq!(devices(&fleet).await, 0);
    // Once it is there, the same token registers.
    fleet.template_that(TEMPLATE, None, true).await;
    let registered = asker.register(&created.ownership, "t1", &parameters).await;
    assert_eq!(registered.unwrap().thing_name.as_deref(), Some("dev-sn-1"));
}

#[tokio::test]
async fn a_slow_hook_holds_up_nobody() {
    let slow = HookServer::start("", Duration::from_mins(1)).await;
    let fleet = Fleet::start_with(|config| config.limits.requests_in_flight = 4).await;
    let claim = fleet.claim().await;
    fleet
        .template(TEMPLATE, Some((&slow.url, HookFailure::Refuse)))
        .await;
    let mut waiting = Vec::new();
    for number in 0..8 {
        let mut asker = fleet.by_claim(&claim, 4).await;
        let created = asker.certify(&Device::new(), Format::Json).await;
        waiting.push(async move {
            let serial = format!("sn-{number}");
            asker
                .register(&created.ownership, "t1", &[(SERIAL, &serial)])
                .await
        });
    }
    let waiting = tokio::spawn(futures(waiting));
    eventually("all of them wait for the hook", async || slow.count() == 8).await;
    // More wait than there are places, and there is a place.
    let mut asker = fleet.by_claim(&claim, 4).await;
    let created = asker.certify(&Device::new(), Format::Json).await;
    asker
        .register(&created.ownership, "thermo", &[(SERIAL, "quick")])
        .await
        .unwrap();
    waiting.abort();
}

async fn futures<F: Future<Output = T> + Send + 'static, T: Send + 'static>(all: Vec<F>) -> Vec<T> {
    let tasks: Vec<_> = all.into_iter().map(tokio::spawn).collect();
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await.unwrap());
    }
    done
}

// ---- the first connection ----------------------------------------------------------------------

async fn register_ca(fleet: &Fleet, foreign: &Foreign, change: impl FnOnce(&mut RegisteredCa)) {
    let mut ca = RegisteredCa {
        name: "acme".into(),
        certificate: pem::encode(pem::CERTIFICATE, foreign.certificate.der()),
        product: "thermo".into(),
        template: None,
        mode: CaMode::SniOnly,
        active: true,
        auto: AutoRegistration::Jitp,
        strength: "asserted".into(),
    };
    change(&mut ca);
    let authority = fleet.registrar.ca_register(ca, None).await.unwrap();
    fleet
        .define(Definitions {
            authorities: vec![authority],
            ..Definitions::default()
        })
        .await;
}

#[tokio::test]
async fn a_registered_cas_device_is_a_member_by_its_first_connection() {
    let fleet = Fleet::start().await;
    let foreign = Foreign::new("Acme Device CA");
    let (device, other) = (Device::new(), Device::new());
    let certificate = foreign.issue(&device, "sn-1");
    // TLS takes any; what it is told is a sentence.
    let (reason, told) = fleet.knock(&device, &certificate).await;
    assert_eq!(reason, 0x87);
    assert!(told.contains("CA_NOT_REGISTERED"), "{told}");
    let verify = request("GET", "/v1/verify", &[], b"");
    let reply = fleet.client_as(&device, &certificate).once(&verify).await;
    assert_eq!((reply.status, reply.code()), (403, "CA_NOT_REGISTERED"));

    register_ca(&fleet, &foreign, |_| {}).await;
    for _ in 0..2 {
        assert_eq!(fleet.knock(&device, &certificate).await.0, 0);
        assert_eq!(step(&fleet, "thermo-sn-1").await, "PROVISIONED");
    }
    // Over HTTPS as well.
    let certificate = foreign.issue(&other, "sn-2");
    let reply = fleet.client_as(&other, &certificate).once(&verify).await;
    assert_eq!(reply.json()["id"], "thermo-sn-2");
    assert_eq!(reply.json()["step"], "PROVISIONED");
    assert_eq!(devices(&fleet).await, 2);
}

#[tokio::test]
async fn a_ca_that_proved_nothing_wants_the_servers_own_name() {
    let fleet = Fleet::start().await;
    let foreign = Foreign::new("Acme Device CA");
    register_ca(&fleet, &foreign, |_| {}).await;
    let device = Device::new();
    let certificate = foreign.issue(&device, "sn-1");
    let verify = request("GET", "/v1/verify", &[], b"");
    for other in ["fleet.example", "localhost.example", "ost"] {
        let client = fleet.client_as(&device, &certificate).naming(other);
        let reply = client.once(&verify).await;
        assert_eq!(
            (reply.status, reply.code()),
            (403, "sni-missing"),
            "{other}"
        );
    }
    assert_eq!(devices(&fleet).await, 0);
    let client = fleet.client_as(&device, &certificate).naming("LOCALHOST");
    assert_eq!(client.once(&verify).await.json()["id"], "thermo-sn-1");
}

#[tokio::test]
async fn a_hundred_first_connections_make_ten_devices() {
    let fleet = Fleet::start().await;
    let foreign = Foreign::new("Acme Device CA");
    register_ca(&fleet, &foreign, |_| {}).await;
    let mut knocks = Vec::new();
    for number in 0..10 {
        let device = Device::new();
        let certificate = foreign.issue(&device, &format!("sn-{number}"));
        let client = fleet.mqtt_client(&device, &certificate);
        for _ in 0..10 {
            let client = client.clone();
            knocks.push(async move {
                let mut connection = client.connect().await.unwrap();
                connection.says(&connect(4, "x")).await
            });
        }
    }
    for came in futures(knocks).await {
        assert_eq!(came, Some((0x20, vec![0, 0])));
    }
    assert_eq!(devices(&fleet).await, 10);
}

#[tokio::test]
async fn a_first_connection_can_be_hung_up_on_for_those_who_rely_on_it() {
    let fleet = Fleet::start_with(|config| config.just_in_time_hang_up = true).await;
    let foreign = Foreign::new("Acme Device CA");
    register_ca(&fleet, &foreign, |_| {}).await;
    let device = Device::new();
    let certificate = foreign.issue(&device, "sn-1");
    let client = fleet.mqtt_client(&device, &certificate);
    for want in [None, Some((0x20, vec![0, 0]))] {
        let mut connection = client.connect().await.unwrap();
        assert_eq!(connection.says(&connect(4, "x")).await, want);
    }
}

#[tokio::test]
async fn a_newcomer_is_made_by_its_cas_template() {
    let body = r#"{"Parameters": {"AWS::IoT::Certificate::CommonName": {"Type": "String"},
                                  "AWS::IoT::Certificate::Id": {"Type": "String"}},
      "Resources": {
        "thing": {"Type": "AWS::IoT::Thing", "Properties": {
          "ThingName": {"Fn::Sub": "jit-${AWS::IoT::Certificate::CommonName}"}}},
        "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
          "CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}}}}}"#;
    let fleet = Fleet::start().await;
    let foreign = Foreign::new("Acme Device CA");
    fleet.template(body, None).await;
    register_ca(&fleet, &foreign, |ca| ca.template = Some("t1".into())).await;
    let device = Device::new();
    let certificate = foreign.issue(&device, "sn-1");
    let (reason, told) = fleet.knock(&device, &certificate).await;
    assert_eq!(reason, 0, "{told}");
    let file = fleet
        .registrar
        .ledger()
        .device_get("jit-sn-1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(file.thing.unwrap().name, "jit-sn-1");

    // A hook would not be asked, so it is not passed over.
    fleet
        .template(body, Some(("http://127.0.0.1:1/", HookFailure::Allow)))
        .await;
    let other = Device::new();
    let (_, told) = fleet.knock(&other, &foreign.issue(&other, "sn-2")).await;
    assert!(told.contains("template-invalid"), "{told}");
    assert_eq!(devices(&fleet).await, 1);
}

#[tokio::test]
async fn a_newcomer_that_waits_for_approval_is_told_so() {
    let fleet = Fleet::start().await;
    let foreign = Foreign::new("Acme Device CA");
    register_ca(&fleet, &foreign, |ca| ca.auto = AutoRegistration::Jitr).await;
    let device = Device::new();
    let certificate = foreign.issue(&device, "sn-1");
    for _ in 0..2 {
        let (reason, told) = fleet.knock(&device, &certificate).await;
        assert_eq!(reason, 0x88);
        assert!(
            told.contains("approval-pending; step=ENROLL; retry=60"),
            "{told}"
        );
    }
}
