//! Azure's service API at the admin listener, to the byte.

use imprint_registrar::Ledger as _;
use imprint_registrar::ledger::{EntryKind, ServiceAccess};
use imprint_registrar::product::Product;
use serde_json::{Value, json};

use crate::support::dps::service_token;
use crate::support::mqtt::publish;
use crate::support::{Client, Device, Fleet, Foreign, Reply, request};

/// A script with a service key.
struct Script {
    client: Client,
    token: String,
}

impl Script {
    async fn new(fleet: &Fleet, access: ServiceAccess) -> Self {
        let name = format!("script-{access}");
        let key = fleet.service_key(&name, access).await;
        Self::with(fleet, fleet.service_token(&name, &key))
    }

    fn with(fleet: &Fleet, token: String) -> Self {
        let mut client = fleet.client();
        client.address = fleet.running.addresses().admin.unwrap();
        Self { client, token }
    }

    async fn asks(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let path = format!("{path}?api-version=2021-10-01");
        let all = [
            ("Authorization", self.token.as_str()),
            ("Content-Type", "application/json; charset=utf-8"),
        ];
        let all = [&all[..], headers].concat();
        self.client
            .once(&request(method, &path, &all, body.as_bytes()))
            .await
    }

    async fn get(&self, path: &str) -> Reply {
        self.asks("GET", path, &[], "").await
    }

    async fn put(&self, record: &Value, etag: Option<&str>) -> Reply {
        let id = record["registrationId"].as_str().unwrap();
        let etag = etag.map(|etag| ("If-Match", etag));
        let headers: Vec<_> = etag.into_iter().collect();
        let path = format!("/enrollments/{id}");
        self.asks("PUT", &path, &headers, &record.to_string()).await
    }
}

fn body(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn record(id: &str) -> Value {
    json!({"registrationId": id, "attestation": {"type": "symmetricKey"}})
}

/// The number and our own word for it.
fn no(reply: &Reply) -> (u16, String) {
    let message = body(reply)["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let code = message.split(['[', ']']).nth(1).unwrap_or_default();
    (reply.status, code.to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn an_etag_keeps_two_scripts_from_each_other() {
    let fleet = Fleet::start().await;
    let script = Script::new(&fleet, ServiceAccess::Write).await;
    let made = script.put(&record("SN-1"), None).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let made = body(&made);
    assert_eq!(made["registrationId"], "sn-1");
    assert_eq!(made["iotHubs"], json!(["localhost"]));
    // Keys that were made here are said then, and then no more.
    assert_eq!(
        text(&made["attestation"]["symmetricKey"]["primaryKey"]).len(),
        88
    );
    let read = body(&script.get("/enrollments/sn-1").await);
    assert_eq!(
        read["attestation"],
        json!({"type": "symmetricKey", "symmetricKey": {}})
    );
    assert_eq!(read["etag"], made["etag"]);

    let again = script.put(&record("sn-1"), None).await;
    assert_eq!(no(&again), is(409, "enrollment-exists"));
    let first = text(&made["etag"]).to_owned();
    let mut changed = read.clone();
    changed["provisioningStatus"] = json!("disabled");
    let one = script.put(&changed, Some(&first)).await;
    assert_eq!(
        (one.status, &body(&one)["provisioningStatus"]),
        (200, &json!("disabled"))
    );
    let other = script.put(&changed, Some(&first)).await;
    assert_eq!(no(&other), is(412, "etag-differs"));
    // Once more, after its answer was lost: nothing differs, and the etag stays.
    let second = text(&body(&one)["etag"]).to_owned();
    let same = script.put(&changed, Some(&second)).await;
    assert_eq!(text(&body(&same)["etag"]), second);
    let any = script.put(&read, Some("*")).await;
    assert_eq!(
        (any.status, &body(&any)["provisioningStatus"]),
        (200, &json!("enabled"))
    );
    let absent = script.put(&record("sn-2"), Some("*")).await;
    assert_eq!(no(&absent), is(412, "etag-differs"));

    let stale = [("If-Match", first.as_str())];
    let kept = script.asks("DELETE", "/enrollments/sn-1", &stale, "").await;
    assert_eq!(no(&kept), is(412, "etag-differs"));
    let gone = script.asks("DELETE", "/enrollments/sn-1", &[], "").await;
    assert_eq!((gone.status, gone.body.len()), (204, 0));
    let twice = script.asks("DELETE", "/enrollments/sn-1", &[], "").await;
    assert_eq!(no(&twice), is(404, "entry-unknown"));
    // Made again, it is another one.
    let anew = body(&script.put(&record("sn-1"), None).await);
    assert_ne!(
        anew["attestation"]["symmetricKey"],
        made["attestation"]["symmetricKey"]
    );
}

#[tokio::test]
async fn what_is_not_here_is_refused_and_not_passed_over() {
    let fleet = Fleet::start().await;
    let script = Script::new(&fleet, ServiceAccess::Write).await;
    for (more, code) in [
        (
            json!({"allocationPolicy": "custom"}),
            "enrollment-unsupported",
        ),
        (
            json!({"iotHubs": ["other.example"]}),
            "enrollment-unsupported",
        ),
        (
            json!({"iotHubHostName": "other.example"}),
            "enrollment-unsupported",
        ),
        (
            json!({"capabilities": {"iotEdge": true}}),
            "enrollment-unsupported",
        ),
        (
            json!({"initialTwin": {"tags": {"a": 1}}}),
            "enrollment-unsupported",
        ),
        (
            json!({"reprovisionPolicy": {"updateHubAssignment": false, "migrateDeviceData": false}}),
            "enrollment-unsupported",
        ),
        (
            json!({"attestation": {"type": "x509", "x509": {"caReferences": {"primary": "a"}}}}),
            "enrollment-unsupported",
        ),
        (
            json!({"attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": "AAAA"}}}),
            "key-length",
        ),
        (json!({"deviceId": "Not A Name"}), "entry-unsound"),
        (json!({"registrationId": "other"}), "payload-unreadable"),
        (
            json!({"attestation": {"type": "none"}}),
            "payload-unreadable",
        ),
    ] {
        let mut all = record("sn-1");
        for (key, value) in more.as_object().unwrap() {
            all[key] = value.clone();
        }
        let all = all.to_string();
        let told = script.asks("PUT", "/enrollments/sn-1", &[], &all).await;
        assert_eq!(no(&told), is(400, code), "{more}");
    }
    let absent = script.get("/enrollments/sn-1").await;
    assert_eq!(no(&absent), is(404, "entry-unknown"));
    // What says the same as this server does is taken.
    let mut usual = record("sn-1");
    usual["allocationPolicy"] = json!("static");
    usual["iotHubs"] = json!(["localhost"]);
    usual["initialTwin"] = json!({"tags": {}, "properties": {"desired": {}}});
    assert_eq!(script.put(&usual, None).await.status, 200);
    for (method, path, want) in [
        ("PATCH", "/enrollments/sn-1", 405),
        ("GET", "/enrollments/sn-1/more", 404),
        ("GET", "/enrollments/a%2Fb", 400),
    ] {
        assert_eq!(
            script.asks(method, path, &[], "").await.status,
            want,
            "{path}"
        );
    }
    let long = "x".repeat(100_000);
    let told = script.asks("PUT", "/enrollments/sn-1", &[], &long).await;
    assert_eq!(no(&told), is(400, "request-too-large"));
}

#[tokio::test]
async fn a_service_key_is_good_for_its_product_its_host_and_its_time() {
    let fleet = Fleet::start().await;
    fleet.apply(Product::named("other")).await;
    let key = fleet.service_key("scripts", ServiceAccess::Write).await;
    let now = fleet.now().0;
    let with = |token| Script::with(&fleet, token);
    for (name, host, until, status) in [
        ("scripts", "localhost", now + 60, 200),
        // One SDK counts milliseconds.
        ("scripts", "localhost", (now + 60) * 1_000, 200),
        ("scripts", "LOCALHOST", now + 60, 200),
        ("scripts", "other.example", now + 60, 401),
        ("scripts", "localhost", now - 301, 401),
        ("scripts", "localhost", (now - 301) * 1_000, 401),
        ("script", "localhost", now + 60, 401),
    ] {
        let script = with(service_token(name, &key, host, until));
        let query = r#"{"query": "SELECT * FROM enrollments"}"#;
        let told = script.asks("POST", "/enrollments/query", &[], query).await;
        assert_eq!(
            told.status,
            status,
            "{name} {host} {until}: {}",
            told.text()
        );
    }
    for token in [
        "",
        "Bearer an admin token",
        "SharedAccessSignature sr=localhost",
    ] {
        let told = with(token.to_owned()).get("/enrollments/x").await;
        assert_eq!(no(&told), is(401, "service-key-wrong"), "{token}");
    }
    // Another product's entries are not there.
    let script = with(fleet.service_token("scripts", &key));
    fleet.entry(EntryKind::Individual, "sn-1").await;
    assert_eq!(script.get("/enrollments/sn-1").await.status, 200);
    let now = fleet.now();
    let host = "localhost";
    let chance = |out: &mut [u8]| aws_lc_rs::rand::fill(out).unwrap();
    let other = fleet.registrar.service_key_new(
        "others",
        "other",
        host,
        ServiceAccess::Keys,
        "test",
        &chance,
        now,
    );
    let (_, other) = other.await.unwrap();
    let other = with(fleet.service_token("others", &other));
    for (method, path) in [
        ("GET", "/enrollments/sn-1"),
        ("DELETE", "/enrollments/sn-1"),
        ("POST", "/enrollments/sn-1/attestationmechanism"),
        ("GET", "/registrations/sn-1"),
    ] {
        let told = other.asks(method, path, &[], "").await;
        assert_eq!(no(&told), is(404, "entry-unknown"), "{method} {path}");
    }
    assert_eq!(
        no(&other.put(&record("sn-1"), None).await),
        is(409, "enrollment-exists")
    );
    assert_eq!(
        no(&other.put(&record("sn-1"), Some("*")).await),
        is(409, "enrollment-exists")
    );
    let query = r#"{"query": "SELECT * FROM enrollments"}"#;
    let none = other.asks("POST", "/enrollments/query", &[], query).await;
    assert_eq!(body(&none), json!([]));
    // Taken back, it is nothing.
    let ledger = fleet.registrar.ledger();
    ledger
        .service_key_delete("scripts", "test", now)
        .await
        .unwrap();
    assert_eq!(
        no(&script.get("/enrollments/sn-1").await),
        is(401, "service-key-wrong")
    );
}

#[tokio::test]
async fn who_guesses_is_not_looked_at_and_the_right_key_still_is() {
    let fleet = Fleet::start().await;
    let right = Script::new(&fleet, ServiceAccess::Read).await;
    let wrong = Script::with(&fleet, fleet.service_token("script-read", &[7; 32]));
    let mut told = Vec::new();
    for _ in 0..11 {
        told.push(wrong.get("/enrollments/x").await.status);
    }
    assert_eq!(told[..10], [401; 10]);
    assert_eq!(told[10], 429);
    assert_eq!(right.get("/enrollments/x").await.status, 404);
    // Neither does it say keys, nor write.
    let reveal = right
        .asks("POST", "/enrollments/x/attestationmechanism", &[], "")
        .await;
    assert_eq!(no(&reveal), is(401, "service-key-access"));
    assert_eq!(
        no(&right.put(&record("x"), None).await),
        is(401, "service-key-access")
    );
}

#[tokio::test]
async fn devices_of_an_entry_that_is_gone_are_not_heard() {
    let fleet = Fleet::start().await;
    let script = Script::new(&fleet, ServiceAccess::Write).await;
    let key = fleet.entry(EntryKind::Individual, "sn-1").await;
    let client = fleet.client();
    let token = fleet.token_to_register("0neTEST", "sn-1", &key);
    assert_eq!(
        fleet.register(&client, "sn-1", Some(&token)).await.status,
        200
    );
    let maker = Foreign::new("Maker");
    let device = Device::new();
    let shown = maker.issue(&device, "sn-2");
    fleet.entry_for(EntryKind::Individual, "sn-2", &shown).await;
    let by_certificate = fleet.client_as(&device, &shown);
    assert_eq!(
        fleet.register(&by_certificate, "sn-2", None).await.status,
        200
    );
    let comes = async |with: &Client, device: &str, key: Option<&[u8]>| {
        let token = key.map(|key| fleet.token_for_hub(device, key));
        let (mut connection, code) = fleet.comes_to_hub(with, device, token.as_deref()).await;
        if code == 0 {
            let topic = format!("devices/{device}/messages/events/");
            connection
                .says(&publish(4, 2, &topic, b"{}"))
                .await
                .unwrap();
        }
        code
    };
    assert_eq!(comes(&client, "thermo-sn-1", Some(&key)).await, 0);
    assert_eq!(comes(&by_certificate, "thermo-sn-2", None).await, 0);

    // A registration that is ended is made again by who may.
    let state = script.get("/registrations/sn-1").await;
    assert_eq!(body(&state)["status"], "assigned");
    let gone = script.asks("DELETE", "/registrations/sn-1", &[], "").await;
    assert_eq!(gone.status, 204);
    assert_ne!(comes(&client, "thermo-sn-1", Some(&key)).await, 0);
    let state = script.get("/registrations/sn-1").await;
    assert_eq!(body(&state)["status"], "unassigned");
    assert_eq!(
        fleet.register(&client, "sn-1", Some(&token)).await.status,
        200
    );
    assert_eq!(comes(&client, "thermo-sn-1", Some(&key)).await, 0);

    // Without its entry there is nothing left to register by.
    for id in ["sn-1", "sn-2"] {
        let gone = script
            .asks("DELETE", &format!("/enrollments/{id}"), &[], "")
            .await;
        assert_eq!(gone.status, 204);
    }
    assert_ne!(comes(&client, "thermo-sn-1", Some(&key)).await, 0);
    assert_ne!(comes(&by_certificate, "thermo-sn-2", None).await, 0);
    assert_eq!(
        fleet.register(&client, "sn-1", Some(&token)).await.status,
        401
    );
    assert_eq!(
        fleet.register(&by_certificate, "sn-2", None).await.status,
        401
    );
    let csr = device.csr("thermo-sn-2", None);
    let csr = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, csr);
    let headers = [("Content-Type", "application/pkcs10")];
    let path = "/.well-known/est/simplereenroll";
    let renewal = request("POST", path, &headers, csr.as_bytes());
    let renewal = by_certificate.once(&renewal).await;
    assert_eq!(renewal.code(), "registration-ended");
    // Made again, with the same certificate, it is the same device.
    fleet.entry_for(EntryKind::Individual, "sn-2", &shown).await;
    assert_eq!(
        fleet.register(&by_certificate, "sn-2", None).await.status,
        200
    );
    assert_eq!(comes(&by_certificate, "thermo-sn-2", None).await, 0);
}
