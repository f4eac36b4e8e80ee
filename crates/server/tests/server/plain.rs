//! The `http` listener, and the admin listener's signs of life.

use std::net::SocketAddr;

use imprint_pkix::certificate::Certificate;
use imprint_registrar::Ledger as _;
use imprint_registrar::ledger::{DeviceAct, RevocationReason};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Client, Fleet, eventually, request};

/// Status line, content type and body of an answer in the clear.
async fn fetch(address: SocketAddr, method: &str, path: &str) -> (String, String, Vec<u8>) {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let bytes = request(method, path, &[("Connection", "close")], b"");
    tcp.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).await.unwrap();
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.lines().next().unwrap().to_owned();
    let content_type = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Type: "));
    (
        status,
        content_type.unwrap_or_default().to_owned(),
        answer[end + 4..].to_vec(),
    )
}

#[tokio::test]
async fn certificates_and_lists_are_there_in_the_clear_and_nothing_else() {
    let fleet = Fleet::start().await;
    let http = fleet.running.addresses().http.unwrap();
    for (path, der) in [
        ("/ca/issuing", fleet.issuer.der()),
        ("/ca/root", &fleet.root[..]),
    ] {
        let (status, kind, body) = fetch(http, "GET", &format!("{path}.crt")).await;
        assert_eq!(
            (status.as_str(), kind.as_str()),
            ("HTTP/1.1 200 OK", "application/pkix-cert")
        );
        assert_eq!(body, der, "{path}");
        let (_, _, pem) = fetch(http, "GET", &format!("{path}.pem")).await;
        assert!(pem.starts_with(b"-----BEGIN CERTIFICATE-----\n"), "{path}");
        let (status, _, body) = fetch(http, "HEAD", &format!("{path}.crt")).await;
        assert_eq!((status.as_str(), body.len()), ("HTTP/1.1 200 OK", 0));
    }
    let (status, kind, _) = fetch(http, "GET", "/crl/issuing.crl").await;
    assert_eq!(
        (status.as_str(), kind.as_str()),
        ("HTTP/1.1 200 OK", "application/pkix-crl")
    );
    for path in [
        "/",
        "/ca/",
        "/ca/../ca/root.crt",
        "/crl/root.crl",
        "/v1/time",
        "/healthz",
    ] {
        assert_eq!(
            fetch(http, "GET", path).await.0,
            "HTTP/1.1 404 Not Found",
            "{path}"
        );
    }
    let refused = fetch(http, "POST", "/ca/root.crt").await.0;
    assert_eq!(refused, "HTTP/1.1 405 Method Not Allowed");
}

#[tokio::test]
async fn a_revocation_is_in_the_list_within_a_second_or_so() {
    let fleet = Fleet::start().await;
    let http = fleet.running.addresses().http.unwrap();
    let (_, certificate) = fleet.enrolled("sn-1").await;
    let serial = Certificate::parse(&certificate).unwrap().serial().to_vec();
    let listed = async || {
        let list = fetch(http, "GET", "/crl/issuing.crl").await.2;
        list.windows(serial.len()).any(|window| window == serial)
    };
    assert!(!listed().await);
    let ledger = fleet.registrar.ledger();
    let file = ledger.device_get("thermo-sn-1").await.unwrap().unwrap();
    let act = DeviceAct::Revoke {
        reason: RevocationReason::KeyCompromise,
        note: String::new(),
    };
    ledger
        .device_act(&file.device.id, act, "test", fleet.now())
        .await
        .unwrap();
    eventually("the serial is in the list", listed).await;
}

#[tokio::test]
async fn an_operators_revocation_is_in_the_list_before_the_answer() {
    let fleet = Fleet::start().await;
    let addresses = fleet.running.addresses();
    let (_, certificate) = fleet.enrolled("sn-1").await;
    let serial = Certificate::parse(&certificate).unwrap().serial().to_vec();
    let client = Client::new(addresses.admin.unwrap(), &fleet.root);
    let headers = [
        ("Authorization", "Bearer an admin token"),
        ("Content-Type", "application/json"),
    ];
    let path = "/api/v1/devices/thermo-sn-1/revoke";
    let body = br#"{"reason":"key-compromise","note":"stolen"}"#;
    let reply = client.once(&request("POST", path, &headers, body)).await;
    assert_eq!(reply.status, 200, "{reply:?}: {}", reply.text());
    let list = fetch(addresses.http.unwrap(), "GET", "/crl/issuing.crl")
        .await
        .2;
    assert!(list.windows(serial.len()).any(|window| window == serial));
}

#[tokio::test]
async fn the_admin_listener_shows_signs_of_life_to_all_and_the_api_to_the_token() {
    let fleet = Fleet::start().await;
    let client = Client::new(fleet.running.addresses().admin.unwrap(), &fleet.root);
    for (path, text) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let bytes = request("GET", path, &[], b"");
        let reply = client.once(&bytes).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, text));
    }
    let bare = client
        .once(&request("GET", "/api/v1/products", &[], b""))
        .await;
    assert!(matches!(bare.status, 401 | 404), "{bare:?}");
    // The device routes are not here.
    assert_eq!(
        client
            .once(&request("GET", "/v1/time", &[], b""))
            .await
            .status,
        404
    );
}
