//! Whoever is slow, silent, long or many is held to the bounds, and everybody else is served.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Fleet, request};

const SOON: Duration = Duration::from_secs(3);

#[tokio::test]
async fn who_says_nothing_is_closed() {
    let fleet = Fleet::start_with(|config| {
        config.limits.handshake = Duration::from_millis(200);
        config.limits.headers = Duration::from_millis(200);
    })
    .await;
    // Before TLS.
    let mut tcp = TcpStream::connect(fleet.https()).await.unwrap();
    let mut bytes = Vec::new();
    let ended = tokio::time::timeout(SOON, tcp.read_to_end(&mut bytes)).await;
    assert!(ended.is_ok() && bytes.is_empty(), "no handshake");

    // After it, in the middle of the headers, and between two requests.
    let time = request("GET", "/v1/time", &[], b"");
    for (what, sent) in [
        ("silent", &b""[..]),
        ("half", b"GET /v1/ti"),
        ("HTTP/2", b"PRI * HTTP"),
    ] {
        let mut connection = fleet.client().connect().await.unwrap();
        connection.send(sent).await;
        assert!(connection.rest(SOON).await.is_some(), "{what}");
    }
    let mut connection = fleet.client().connect().await.unwrap();
    connection.send(&time).await;
    assert_eq!(connection.reply().await.unwrap().status, 200);
    assert_eq!(connection.rest(SOON).await, Some(Vec::new()), "idle");
}

#[tokio::test]
async fn headers_that_trickle_do_not_keep_a_connection() {
    let fleet = Fleet::start_with(|config| {
        config.limits.headers = Duration::from_millis(300);
    })
    .await;
    let mut connection = fleet.client().connect().await.unwrap();
    connection.send(b"GET /v1/time HTTP/1.1\r\n").await;
    let mut written = 0;
    for number in 0..40 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let line = format!("X-{number}: y\r\n");
        let sent = connection.tls.write_all(line.as_bytes()).await.is_ok();
        if !sent || connection.tls.flush().await.is_err() {
            break;
        }
        written += 1;
    }
    assert!(written < 40, "two seconds of headers were taken");
}

#[tokio::test]
async fn a_body_that_trickles_is_ended_with_408() {
    let fleet = Fleet::start_with(|config| {
        config.limits.body = Duration::from_millis(300);
    })
    .await;
    let path = "/.well-known/est/thermo/simpleenroll";
    let headers = [
        ("Content-Type", "application/pkcs10"),
        ("Content-Length", "4000"),
    ];
    let mut connection = fleet.client().connect().await.unwrap();
    connection.send(&request("POST", path, &headers, b"")).await;
    for _ in 0..10 {
        connection.send(b"M").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let reply = connection.reply().await.unwrap();
    assert_eq!((reply.status, reply.code()), (408, "request-too-slow"));
    assert_eq!(reply.header("Connection"), Some("close"));
    assert!(connection.rest(SOON).await.is_some());
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_in_a_readable_way() {
    let fleet = Fleet::start().await;
    let path = "/.well-known/est/thermo/simpleenroll";
    let headers = [("Content-Type", "application/pkcs10")];
    // The client is still writing when the answer is known; it must get to read it.
    for length in [64 * 1024 + 1, 900_000] {
        let bytes = request("POST", path, &headers, &vec![b'A'; length]);
        let reply = fleet.client().once(&bytes).await;
        assert_eq!(
            (reply.status, reply.code()),
            (413, "request-too-large"),
            "{length}"
        );
    }
}

#[tokio::test]
async fn headers_that_are_too_long_are_refused() {
    let fleet = Fleet::start().await;
    let long = "x".repeat(40_000);
    let mut connection = fleet.client().connect().await.unwrap();
    connection
        .send(&request("GET", "/v1/time", &[("X-Long", &long)], b""))
        .await;
    let answer = connection.rest(SOON).await.expect("an end");
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
}

#[tokio::test]
async fn a_server_that_has_too_much_to_do_says_so() {
    let fleet = Fleet::start_with(|config| config.limits.requests_in_flight = 0).await;
    let mut moments = Vec::new();
    for _ in 0..8 {
        let reply = fleet
            .client()
            .once(&request("GET", "/v1/time", &[], b""))
            .await;
        assert_eq!((reply.status, reply.code()), (503, "busy"));
        let seconds: u32 = reply.header("Retry-After").unwrap().parse().unwrap();
        assert!((2..=10).contains(&seconds), "{seconds}");
        moments.push(seconds);
    }
    moments.sort_unstable();
    moments.dedup();
    assert!(
        moments.len() > 1,
        "everybody would come back at once: {moments:?}"
    );
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_their_turn() {
    let fleet = Fleet::start_with(|config| {
        config.limits.connections = 2;
        config.limits.headers = Duration::from_millis(400);
    })
    .await;
    let _first = fleet.client().connect().await.unwrap();
    let _second = fleet.client().connect().await.unwrap();
    // Waits in line until one of the idle ones is closed.
    let (client, time) = (fleet.client(), request("GET", "/v1/time", &[], b""));
    let third = tokio::time::timeout(SOON, client.once(&time)).await;
    assert_eq!(third.unwrap().status, 200);
}

#[tokio::test]
async fn nobody_keeps_a_place_that_others_wait_for() {
    let fleet = Fleet::start_with(|config| config.limits.connections = 4).await;
    let time = request("GET", "/v1/time", &[], b"");
    let mut first = fleet.client().connect().await.unwrap();
    first.send(&time).await;
    assert_eq!(first.reply().await.unwrap().header("Connection"), None);
    let _second = fleet.client().connect().await.unwrap();
    let _third = fleet.client().connect().await.unwrap();
    let _fourth = fleet.client().connect().await.unwrap();
    first.send(&time).await;
    assert_eq!(
        first.reply().await.unwrap().header("Connection"),
        Some("close")
    );
    assert_eq!(first.rest(SOON).await, Some(Vec::new()));
}

#[tokio::test]
async fn an_old_connection_is_asked_to_come_again() {
    let fleet = Fleet::start_with(|config| {
        config.limits.connection_age = Duration::from_millis(300);
    })
    .await;
    let mut connection = fleet.client().connect().await.unwrap();
    let time = request("GET", "/v1/time", &[], b"");
    let mut served = 0;
    for _ in 0..100 {
        if connection.tls.write_all(&time).await.is_err() {
            break;
        }
        let Some(reply) = connection.reply().await else {
            break;
        };
        assert_eq!(reply.status, 200);
        served += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        (1..100).contains(&served),
        "{served} requests on one connection"
    );
}

#[tokio::test]
async fn a_server_that_stops_finishes_what_it_has_begun() {
    let fleet = Fleet::start().await;
    let https = fleet.https();
    let (token, _) = fleet.token("thermo", None).await;
    let device = crate::support::Device::new();
    let authorization = crate::support::basic("sn-1", &token);
    let path = "/.well-known/est/thermo/simpleenroll";
    let headers = [("Authorization", authorization.as_str())];
    let bytes = crate::support::post(path, &headers, &device.csr("x", None));
    let mut connection = fleet.client().connect().await.unwrap();
    let (head, tail) = bytes.split_at(bytes.len() - 10);
    connection.send(head).await;
    tokio::time::sleep(Duration::from_millis(100)).await;

    let Fleet {
        running, registrar, ..
    } = fleet;
    let stopping = tokio::spawn(running.shutdown());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(
        TcpStream::connect(https).await.is_err(),
        "no new connections"
    );
    connection.send(tail).await;
    connection.reply().await.unwrap().certificate();
    tokio::time::timeout(SOON, stopping)
        .await
        .expect("an end")
        .unwrap();
    drop(registrar);
}

#[tokio::test]
async fn behind_a_proxy_that_says_for_whom_each_client_counts_for_itself() {
    let fleet = Fleet::start_with(|config| {
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        config.proxy_protocol = true;
        config.limits.connections_per_address = 1;
        config.limits.waiting_per_address = 0;
    })
    .await;
    let client = fleet.client();
    let through = async |header: &str| {
        client
            .connect_behind(header.as_bytes(), client.config())
            .await
    };
    let first = through("PROXY TCP4 203.0.113.9 10.0.0.1 1111 8443\r\n").await;
    assert!(first.is_ok(), "one from there");
    let second = through("PROXY TCP4 203.0.113.9 10.0.0.1 1112 8443\r\n").await;
    assert!(second.is_err(), "and not another while the first is here");
    let other = through("PROXY TCP4 203.0.113.10 10.0.0.1 1113 8443\r\n").await;
    assert!(other.is_ok(), "one from elsewhere");
    assert!(
        through("").await.is_err(),
        "a proxy that does not say for whom"
    );
    drop(first);
    for _ in 0..200 {
        if through("PROXY TCP4 203.0.113.9 10.0.0.1 1114 8443\r\n")
            .await
            .is_ok()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a place was not given back");
}
