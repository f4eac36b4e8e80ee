//! The routes that only Imprint's own devices know, and whose address a request is from.

use imprint_registrar::Ledger as _;
use imprint_registrar::ledger::{DeviceAct, RevocationReason};
use imprint_registrar::product::{ConnectionProfile, Product, QuarantineRule};
use serde_json::json;

use crate::support::{Device, Fleet, basic, request, version_1_certificate};

#[tokio::test]
async fn anybody_learns_the_time() {
    let fleet = Fleet::start().await;
    let reply = fleet
        .client()
        .once(&request("GET", "/v1/time", &[], b""))
        .await
        .json();
    let unix = reply["unix"].as_i64().unwrap();
    assert!((fleet.now().0 - unix).abs() <= 5, "{reply}");
    assert_eq!(reply["time"], imprint_identity::UnixTime(unix).to_string());
}

#[tokio::test]
async fn a_device_learns_its_profile_by_token_before_and_by_certificate_after() {
    let fleet = Fleet::start().await;
    fleet
        .apply(Product {
            quarantine: QuarantineRule::Strict,
            connection: ConnectionProfile {
                endpoint: "mqtts://broker.example:8883".into(),
                topic_prefix: "fleet/{product}/{device}".into(),
            },
            groups: vec!["thermo-early".into(), "all".into()],
            attributes: [("site".to_owned(), "north".to_owned())].into(),
            ..Product::named("thermo")
        })
        .await;
    let (token, _) = fleet.token("thermo", None).await;
    let profile = |authorization: &str| {
        request(
            "GET",
            "/v1/profile",
            &[("Authorization", authorization)],
            b"",
        )
    };
    let authorization = basic("sn-1", &token);

    let early = fleet.client().once(&profile(&authorization)).await.json();
    assert_eq!(
        (&early["device"], &early["renew_after"]),
        (&json!(null), &json!(null)),
        "{early}"
    );
    assert_eq!(early["product"], "thermo");

    let device = Device::new();
    let certificate = fleet.enroll(&device, "sn-1", &token).await.certificate();
    let by_token = fleet.client().once(&profile(&authorization)).await.json();
    assert_eq!(by_token["device"], "thermo-sn-1");
    assert_eq!(by_token["endpoint"], "mqtts://broker.example:8883");
    assert_eq!(by_token["topic_prefix"], "fleet/thermo/thermo-sn-1");
    assert_eq!(by_token["groups"], json!(["thermo-early", "all"]));
    assert_eq!(by_token["attributes"], json!({ "site": "north" }));
    assert_eq!(by_token["quarantine"], "strict");
    let life = 365 * 86_400 * 2 / 3;
    let renewal = by_token["renew_after"].as_i64().unwrap() - fleet.now().0;
    assert!(
        (life - 7_200..=life).contains(&renewal),
        "{renewal} is not about {life}"
    );

    let bare = request("GET", "/v1/profile", &[], b"");
    let by_certificate = fleet
        .client_as(&device, &certificate)
        .once(&bare)
        .await
        .json();
    assert_eq!(by_certificate["device"], by_token["device"]);
    assert_eq!(by_certificate["renew_after"], by_token["renew_after"]);

    for (authorization, status, code) in [
        (None, 401, "credential-missing"),
        (Some(basic("sn-2", &token)), 403, "token-leased"),
        (Some("Basic !".to_owned()), 401, "credential-missing"),
    ] {
        let bytes = authorization.map_or_else(|| bare.clone(), |shown| profile(&shown));
        let reply = fleet.client().once(&bytes).await;
        assert_eq!((reply.status, reply.code()), (status, code), "{reply:?}");
    }
}

#[tokio::test]
async fn verify_answers_the_devices_own_record_and_makes_it_provisioned() {
    let fleet = Fleet::start().await;
    let (device, certificate) = fleet.enrolled("esp-mac:24:6f:28:ab:cd:01").await;
    let verify = request("GET", "/v1/verify", &[], b"");
    let reply = fleet
        .client_as(&device, &certificate)
        .once(&verify)
        .await
        .json();
    let parsed = imprint_pkix::certificate::Certificate::parse(&certificate).unwrap();
    assert_eq!(reply["id"], parsed.common_name().unwrap());
    assert_eq!(reply["product"], "thermo");
    assert_eq!(reply["hardware"], "esp-mac:246f28abcd01");
    assert_eq!(
        (&reply["state"], &reply["step"]),
        (&json!("active"), &json!("PROVISIONED"))
    );
    assert_eq!(reply["serial"], hex::encode(parsed.serial()));
    assert_eq!(reply["not_after"], parsed.not_after().0);

    // A token is no way in here, and no certificate is none either.
    let (token, _) = fleet.token("thermo", None).await;
    let authorization = basic("sn-9", &token);
    for headers in [&[][..], &[("Authorization", authorization.as_str())]] {
        let reply = fleet
            .client()
            .once(&request("GET", "/v1/verify", headers, b""))
            .await;
        assert_eq!((reply.status, reply.code()), (401, "credential-missing"));
    }
}

#[tokio::test]
async fn a_certificate_that_is_no_good_gets_a_sentence() {
    let fleet = Fleet::start().await;
    let verify = request("GET", "/v1/verify", &[], b"");
    let stranger = Device::new();
    let old = version_1_certificate(&stranger);
    let reply = fleet.client_as(&stranger, &old).once(&verify).await;
    assert_eq!(
        (reply.status, reply.code()),
        (403, "certificate-unreadable")
    );
    assert!(reply.text().contains("X.509 v3"), "{}", reply.text());

    // Another fleet's device.
    let elsewhere = Fleet::start().await;
    let (foreign, certificate) = elsewhere.enrolled("sn-1").await;
    let reply = fleet.client_as(&foreign, &certificate).once(&verify).await;
    assert_eq!(
        (reply.status, reply.code()),
        (403, "certificate-issuer-unknown")
    );

    // Revoked between two requests on one connection: judged for each request.
    let (device, certificate) = fleet.enrolled("sn-1").await;
    let mut connection = fleet
        .client_as(&device, &certificate)
        .connect()
        .await
        .unwrap();
    connection.send(&verify).await;
    let name = connection.reply().await.unwrap().json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let act = DeviceAct::Revoke {
        reason: RevocationReason::KeyCompromise,
        note: "lost".into(),
    };
    let ledger = fleet.registrar.ledger();
    let file = ledger.device_get(&name).await.unwrap().unwrap();
    ledger
        .device_act(&file.device.id, act, "test", fleet.now())
        .await
        .unwrap();
    connection.send(&verify).await;
    let reply = connection.reply().await.unwrap();
    assert_eq!(reply.status, 403, "{reply:?}");
    assert!(
        !reply.text().contains("lost"),
        "the operator's words are not for devices"
    );
}

#[tokio::test]
async fn a_device_reports_its_own_trouble_and_a_stranger_does_not() {
    let fleet = Fleet::start().await;
    let (token, _) = fleet.token("thermo", None).await;
    let authorization = basic("sn-1", &token);
    let shown = ("Authorization", authorization.as_str());
    let json = ("Content-Type", "application/json");
    let said = br#"{"step":"ENROLL","code":"token-leased","attempts":3}"#;
    let long = [&said[..said.len() - 1], &[b' '; 1_024], b"}"].concat();

    let reply = fleet
        .client()
        .once(&request("POST", "/v1/report", &[shown, json], said))
        .await;
    assert_eq!((reply.status, reply.body.len()), (204, 0), "{reply:?}");
    for (headers, body, status, code) in [
        (&[json][..], &said[..], 401, "credential-missing"),
        (&[shown, json], b"{}", 400, "report-unreadable"),
        (&[shown, json], &long, 400, "report-unreadable"),
    ] {
        let reply = fleet
            .client()
            .once(&request("POST", "/v1/report", headers, body))
            .await;
        assert_eq!((reply.status, reply.code()), (status, code), "{reply:?}");
    }
    let get = fleet
        .client()
        .once(&request("GET", "/v1/report", &[], b""))
        .await;
    assert_eq!((get.status, get.header("Allow")), (405, Some("POST")));
    assert_eq!(
        fleet
            .client()
            .once(&request("GET", "/v1/else", &[], b""))
            .await
            .status,
        404
    );

    // What the device said is found under its name once it has one.
    let device = Device::new();
    let certificate = fleet.enroll(&device, "sn-1", &token).await.certificate();
    let client = fleet.client_as(&device, &certificate);
    let said = br#"{"step":"VERIFY","code":"clock-behind","attempts":1}"#;
    assert_eq!(
        client
            .once(&request("POST", "/v1/report", &[json], said))
            .await
            .status,
        204
    );
    let file = fleet
        .registrar
        .ledger()
        .device_get("thermo-sn-1")
        .await
        .unwrap()
        .unwrap();
    let codes: Vec<_> = file
        .reports
        .iter()
        .map(|report| report.code.as_str())
        .collect();
    assert!(codes.contains(&"clock-behind"), "{codes:?}");

    // And not without end.
    let mut limited = None;
    for _ in 0..30 {
        let reply = client
            .once(&request("POST", "/v1/report", &[json], said))
            .await;
        if reply.status != 204 {
            limited = Some(reply);
            break;
        }
    }
    let limited = limited.expect("the thirtieth report of a minute is one too many");
    assert_eq!((limited.status, limited.code()), (503, "busy"));
    assert!(limited.header("Retry-After").is_some());
}

#[tokio::test]
async fn a_token_does_not_report_more_often_under_many_names() {
    let fleet = Fleet::start().await;
    let (token, _) = fleet.token("thermo", None).await;
    let said = br#"{"step":"ENROLL","code":"no-route","attempts":1}"#;
    let mut statuses = Vec::new();
    for number in 0..30 {
        let authorization = basic(&format!("sn-{number}"), &token);
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/json"),
        ];
        let report = request("POST", "/v1/report", &headers, said);
        statuses.push(fleet.client().once(&report).await.status);
    }
    assert_eq!(statuses[0], 204);
    assert_eq!(statuses[29], 503, "{statuses:?}");
}

#[tokio::test]
async fn a_device_that_was_put_aside_reads_no_profile_by_its_token_either() {
    let fleet = Fleet::start().await;
    let (token, _) = fleet.token("thermo", None).await;
    let device = Device::new();
    fleet.enroll(&device, "sn-1", &token).await.certificate();
    let authorization = basic("sn-1", &token);
    let headers = [("Authorization", authorization.as_str())];
    let profile = request("GET", "/v1/profile", &headers, b"");
    assert_eq!(fleet.client().once(&profile).await.status, 200);
    let act = DeviceAct::Quarantine {
        reason: "drill".into(),
    };
    let ledger = fleet.registrar.ledger();
    let now = imprint_identity::UnixTime(1_800_000_000);
    ledger
        .device_act(&"thermo-sn-1".parse().unwrap(), act, "test", now)
        .await
        .unwrap();
    let reply = fleet.client().once(&profile).await;
    assert_eq!((reply.status, reply.code()), (403, "device-quarantined"));
}

#[tokio::test]
async fn the_forwarded_address_counts_behind_a_trusted_proxy_alone() {
    for (proxies, want) in [(vec!["127.0.0.0/8"], "203.0.113.9"), (vec![], "127.0.0.1")] {
        let fleet = Fleet::start_with(|config| {
            config.trusted_proxies = proxies.iter().map(|text| text.parse().unwrap()).collect();
        })
        .await;
        let (token, id) = fleet.token("thermo", None).await;
        let authorization = basic("sn-1", &token);
        let headers = [
            ("Authorization", authorization.as_str()),
            ("X-Forwarded-For", "198.51.100.1, 203.0.113.9"),
        ];
        let path = "/.well-known/est/thermo/simpleenroll";
        let csr = Device::new().csr("x", None);
        fleet
            .client()
            .once(&crate::support::post(path, &headers, &csr))
            .await
            .certificate();
        let token = fleet
            .registrar
            .ledger()
            .token_get(&id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(token.lease.unwrap().address, want, "{proxies:?}");
    }
}
