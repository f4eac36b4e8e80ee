//! The admin API itself: its description, its door, and what it says to nonsense.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use imprint_pkix::SignatureAlgorithm;
use imprint_pkix::certificate::Certificate;
use imprint_pkix::pem;
use imprint_registrar::{Authorities, Issuer, Registrar};
use imprint_server::{World, admin};
use imprint_signer::{KeySigner, Seal};
use imprint_sqlite::Sqlite;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::support::{Place, THERMO};

struct Api {
    router: Router,
    _place: Place,
}

struct Answer {
    status: StatusCode,
    retry_after: bool,
    body: Value,
}

impl Api {
    fn new() -> Self {
        let place = Place::with_fleet(THERMO);
        let server = place.server();
        let read = |name: &str| {
            let text = place.read(&format!("imprint/{name}"));
            Certificate::parse(&pem::decode(pem::CERTIFICATE, &text).unwrap()[0]).unwrap()
        };
        let algorithm = SignatureAlgorithm::EcdsaSha256;
        let issuing = read("ca/issuing.pem");
        // Whenever the test runs, the authority that has just been made is good.
        let now = issuing.not_before().plus(7 * 86_400);
        let issuer = Issuer::new("issuing", "issuing", issuing, algorithm).unwrap();
        let authorities = Authorities::new(vec![issuer], vec![read("ca/root.pem")], None).unwrap();
        let signer = KeySigner::open(&server.join("keys"), &Seal::File, true).unwrap();
        let ledger = Sqlite::open(&server.join("ledger.db")).unwrap();
        let world = World {
            now: Arc::new(move || now),
            chance: Arc::new(|buffer| aws_lc_rs::rand::fill(buffer).unwrap()),
        };
        let router = admin::router(admin::State {
            registrar: Arc::new(Registrar::new(ledger, signer, authorities)),
            world,
            tokens: Arc::new([admin::token_digest("other"), admin::token_digest(TOKEN)]),
            id_scope: "0neTEST".to_owned(),
            hub: "localhost".to_owned(),
            stop: None,
        });
        Self {
            router,
            _place: place,
        }
    }

    async fn ask(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> Answer {
        let mut request = Request::builder()
            .method(Method::try_from(method).unwrap())
            .uri(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token);
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, retry_after) = (
            response.status(),
            response.headers().contains_key(header::RETRY_AFTER),
        );
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer {
            status,
            retry_after,
            body,
        }
    }

    async fn operator(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask(method, path, Some(&format!("Bearer {TOKEN}")), body)
            .await
    }
}

fn document() -> Value {
    serde_json::to_value(admin::openapi::<Sqlite, KeySigner>()).unwrap()
}

#[test]
fn the_api_describes_itself() {
    insta::assert_snapshot!(
        "openapi",
        serde_json::to_string_pretty(&document()).unwrap()
    );
}

#[tokio::test]
async fn the_description_is_served_to_anybody() {
    let api = Api::new();
    let answer = api.ask("GET", "/api/openapi.json", None, "").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body, document());
}

#[tokio::test]
async fn every_route_wants_the_admin_token() {
    let api = Api::new();
    let document = document();
    let mut routes = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{product}", "thermo").replace(['{', '}'], "");
        for method in methods
            .as_object()
            .unwrap()
            .keys()
            .map(|name| name.to_uppercase())
        {
            routes += 1;
            // A new API each time would be slow, and the limit on wrong tokens answers 429 soon.
            let answer = api.ask(&method, &path, None, "").await;
            let shut = [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS];
            assert!(
                shut.contains(&answer.status),
                "{method} {path}: {}",
                answer.status
            );
            let answer = api.operator(&method, &path, "").await;
            assert!(
                !shut.contains(&answer.status),
                "{method} {path} as an operator"
            );
        }
    }
    assert!(routes >= 25, "{routes} routes were asked");
}

#[tokio::test]
async fn only_the_whole_token_opens() {
    let api = Api::new();
    for shown in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        TOKEN.to_owned(),
        format!("Basic {TOKEN}"),
        format!("Bearer {}", &TOKEN[1..]),
        format!("Bearer {TOKEN}x"),
        format!("Bearer {}", TOKEN.to_uppercase()),
    ] {
        let answer = api.ask("GET", "/api/v1/status", Some(&shown), "").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{shown}");
        assert_eq!(answer.body["code"], "admin-token-wrong");
        assert!(!answer.body.to_string().contains(TOKEN));
    }
    for shown in [
        format!("Bearer {TOKEN}"),
        format!("bearer  {TOKEN}"),
        "Bearer other".to_owned(),
    ] {
        let answer = api.ask("GET", "/api/v1/status", Some(&shown), "").await;
        assert_eq!(answer.status, StatusCode::OK, "{shown}");
    }
}

#[tokio::test]
async fn wrong_tokens_are_limited_and_lock_nobody_out() {
    let api = Api::new();
    let mut limited = 0;
    for _ in 0..30 {
        let answer = api
            .ask("GET", "/api/v1/status", Some("Bearer guess"), "")
            .await;
        limited +=
            usize::from(answer.status == StatusCode::TOO_MANY_REQUESTS && answer.retry_after);
    }
    assert_eq!(limited, 20);
    assert_eq!(
        api.operator("GET", "/api/v1/status", "").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn nonsense_is_answered_in_one_form() {
    let api = Api::new();
    for (method, path, body, status, code) in [
        ("GET", "/", "", 404, "route-unknown"),
        ("GET", "/api/v1/nothing", "", 404, "route-unknown"),
        ("DELETE", "/api/v1/devices", "", 405, "method-unknown"),
        (
            "GET",
            "/api/v1/devices?limit=many",
            "",
            400,
            "request-unreadable",
        ),
        (
            "GET",
            "/api/v1/devices?state=gone",
            "",
            400,
            "request-unreadable",
        ),
        (
            "GET",
            "/api/v1/devices?stat=held",
            "",
            400,
            "request-unreadable",
        ),
        ("GET", "/api/v1/devices/%FF", "", 400, "request-unreadable"),
        (
            "GET",
            "/api/v1/devices/%27%20OR%201%3D1%20--",
            "",
            404,
            "device-unknown",
        ),
        (
            "GET",
            "/api/v1/devices/..%2F..%2Fetc%2Fpasswd",
            "",
            404,
            "device-unknown",
        ),
        ("GET", "/api/v1/devices/%00", "", 404, "device-unknown"),
        ("GET", "/api/v1/tokens/t-%25", "", 404, "token-unknown"),
        ("GET", "/api/v1/products/x", "", 404, "product-unknown"),
        ("POST", "/api/v1/tokens", "{", 400, "request-unreadable"),
        ("POST", "/api/v1/tokens", "[]", 422, "request-unreadable"),
        (
            "POST",
            "/api/v1/tokens",
            r#"{"product":"thermo","cnt":2}"#,
            422,
            "request-unreadable",
        ),
        (
            "POST",
            "/api/v1/tokens",
            r#"{"product":"thermo","count":0}"#,
            400,
            "request-unreadable",
        ),
        (
            "POST",
            "/api/v1/tokens",
            r#"{"product":"thermo","count":100001}"#,
            400,
            "request-unreadable",
        ),
        (
            "POST",
            "/api/v1/tokens",
            r#"{"product":"thermo","expires_in_seconds":-5}"#,
            400,
            "request-unreadable",
        ),
        (
            "POST",
            "/api/v1/tokens",
            r#"{"product":"x"}"#,
            404,
            "product-unknown",
        ),
        (
            "POST",
            "/api/v1/fleet/apply",
            r#"{"product":[{"name":"a","alowlist":true}]}"#,
            422,
            "request-unreadable",
        ),
        (
            "POST",
            "/api/v1/fleet/apply",
            r#"{"product":[{"name":"A"}]}"#,
            400,
            "product-unsound",
        ),
        (
            "POST",
            "/api/v1/certificates/issue",
            r#"{"product":"thermo","hardware":"custom:A","csr":"AAAA"}"#,
            400,
            "csr-unreadable",
        ),
        (
            "POST",
            "/api/v1/certificates/adopt",
            r#"{"product":"thermo","certificate":"AAAA"}"#,
            400,
            "certificate-unreadable",
        ),
        (
            "POST",
            "/api/v1/devices/x/quarantine",
            r#"{"reason":"a\u001bb"}"#,
            400,
            "request-unreadable",
        ),
    ] {
        let answer = api.operator(method, path, body).await;
        let what = format!("{method} {path} {body}: {} {}", answer.status, answer.body);
        assert_eq!(answer.status.as_u16(), status, "{what}");
        assert_eq!(answer.body["code"], code, "{what}");
        for part in ["message", "hint"] {
            assert!(
                answer.body[part]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{what}"
            );
        }
    }
    let status = api.operator("GET", "/api/v1/status", "").await;
    assert_eq!(
        status.body["products"],
        serde_json::json!(["thermo"]),
        "nothing has changed"
    );
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused() {
    let api = Api::new();
    let long = format!(r#"{{"hardware":["{}"]}}"#, "a".repeat(3 * 1024 * 1024));
    let answer = api
        .operator("POST", "/api/v1/products/thermo/allowlist", &long)
        .await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let many: Vec<_> = (0..10_001).map(|n| format!("custom:{n}")).collect();
    let many = serde_json::json!({ "hardware": many }).to_string();
    let answer = api
        .operator("POST", "/api/v1/products/thermo/allowlist", &many)
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn devices_come_in_pages() {
    let api = Api::new();
    let csr = |n: usize| {
        use aws_lc_rs::encoding::AsDer as _;
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let key: Vec<u8> = pair.public_key().as_der().unwrap().as_ref().to_vec();
        let info = imprint_pkix::csr::request_info_der("x", &key, None);
        let signature = pair
            .sign(&aws_lc_rs::rand::SystemRandom::new(), &info)
            .unwrap();
        let algorithm = SignatureAlgorithm::EcdsaSha256;
        let der = imprint_pkix::csr::assemble(&info, algorithm, signature.as_ref());
        let csr = pem::encode(pem::CERTIFICATE_REQUEST, &der);
        serde_json::json!({ "product": "thermo", "hardware": format!("custom:D{n}"), "csr": csr })
    };
    for n in 0..5 {
        let answer = api
            .operator("POST", "/api/v1/certificates/issue", &csr(n).to_string())
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
    let mut names: Vec<String> = Vec::new();
    loop {
        let after = names
            .last()
            .map_or_else(String::new, |name| format!("&after={name}"));
        let path = format!("/api/v1/devices?limit=2{after}");
        let page = api.operator("GET", &path, "").await.body;
        let page = page.as_array().unwrap();
        names.extend(
            page.iter()
                .map(|device| device["id"].as_str().unwrap().to_owned()),
        );
        if page.len() < 2 {
            break;
        }
    }
    assert_eq!(
        names,
        [
            "thermo-d0",
            "thermo-d1",
            "thermo-d2",
            "thermo-d3",
            "thermo-d4"
        ]
    );
}

const TOKEN: &str = "imprint-admin-0123456789abcdef";
