//! EST on the wire: the recipe that every measured client reads, and the refusals.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imprint_identity::Step;
use imprint_registrar::Ledger as _;
use imprint_registrar::ledger::TokenState;
use imprint_registrar::product::{KeyKind, Product};

use crate::support::{Device, Fleet, Reply, basic, post, request};

const ENROLL: &str = "/.well-known/est/thermo/simpleenroll";
const REENROLL: &str = "/.well-known/est/thermo/simplereenroll";
const CACERTS: &str = "/.well-known/est/cacerts";

fn names(reply: &Reply) -> Vec<&str> {
    reply
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect()
}

#[tokio::test]
async fn a_success_has_the_measured_headers_and_no_others() {
    let fleet = Fleet::start().await;
    let (token, _) = fleet.token("thermo", None).await;
    let cacerts = fleet
        .client()
        .once(&request("GET", CACERTS, &[], b""))
        .await;
    let enrolled = fleet.enroll(&Device::new(), "sn-1", &token).await;
    for (reply, content_type) in [
        (&cacerts, "application/pkcs7-mime"),
        (&enrolled, "application/pkcs7-mime; smime-type=certs-only"),
    ] {
        assert!(
            reply.head.starts_with("HTTP/1.1 200 OK\r\n"),
            "{}",
            reply.head
        );
        // strongSwan reads the headers with one read of 1024 bytes.
        assert!(reply.head.len() <= 1024, "{} bytes", reply.head.len());
        let want = [
            "Content-Type",
            "Content-Transfer-Encoding",
            "Content-Length",
            "Date",
        ];
        assert_eq!(names(reply), want);
        assert_eq!(reply.header("Content-Type"), Some(content_type));
        assert_eq!(reply.header("Content-Transfer-Encoding"), Some("base64"));
    }
    let both = cacerts.certificates();
    assert_eq!(both.len(), 2);
    assert!(both.contains(&fleet.root), "the root");
    assert!(
        both.iter().any(|one| one == fleet.issuer.der()),
        "the issuer"
    );
    enrolled.certificate();
}

#[tokio::test]
async fn base64_comes_in_lines_unless_the_client_looks_like_strongswan() {
    let fleet = Fleet::start().await;
    for (headers, wrapped) in [
        (&[][..], false),
        (&[("User-Agent", "libest 3.2.0p"), ("Accept", "*/*")], true),
        (&[("User-Agent", "curl/7.88.1")], true),
    ] {
        let reply = fleet
            .client()
            .once(&request("GET", CACERTS, headers, b""))
            .await;
        let text = reply.text();
        let longest = text.lines().map(str::len).max().unwrap();
        assert_eq!(longest <= 64, wrapped, "{headers:?}: {longest}");
        assert_eq!(text.lines().count() > 1, wrapped, "{headers:?}");
        assert!(text.ends_with('\n') && !text.contains('\r'), "{headers:?}");
    }
}

#[tokio::test]
async fn what_has_nothing_to_say_has_an_empty_body() {
    let fleet = Fleet::start().await;
    fleet
        .apply(Product {
            approval: true,
            ..Product::named("gated")
        })
        .await;
    let (token, _) = fleet.token("gated", None).await;
    let csr = Device::new().csr("x", None);
    let gated = "/.well-known/est/gated/simpleenroll";
    let authorization = basic("sn-1", &token);
    let unknown = basic("sn-1", "00000-00000-00000-00000-00000-00000");
    for (bytes, status, code) in [
        (post(ENROLL, &[], &csr), 401, "credential-missing"),
        (
            post(ENROLL, &[("Authorization", "Bearer x")], &csr),
            401,
            "credential-missing",
        ),
        (
            post(ENROLL, &[("Authorization", "Basic Og==")], &csr),
            401,
            "credential-missing",
        ),
        (
            post(ENROLL, &[("Authorization", &unknown)], &csr),
            401,
            "token-mistyped",
        ),
        (
            post(gated, &[("Authorization", &authorization)], &csr),
            202,
            "approval-pending",
        ),
        (
            request("GET", "/.well-known/est/csrattrs", &[], b""),
            204,
            "",
        ),
    ] {
        let reply = fleet.client().once(&bytes).await;
        assert_eq!((reply.status, reply.code()), (status, code), "{reply:?}");
        // A 204 must not have it (RFC 9110 section 8.6); to the others it says that this is all.
        let length = (status != 204).then_some("0");
        assert_eq!(reply.header("Content-Length"), length, "{reply:?}");
        assert_eq!(
            reply.header("Www-Authenticate").is_some(),
            status == 401,
            "{reply:?}"
        );
        assert_eq!(
            reply.header("Retry-After").is_some(),
            status == 202,
            "{reply:?}"
        );
        assert_eq!(reply.header("Transfer-Encoding"), None);
    }
}

/// standards.md section 1.10, and what else a stranger may try.
#[tokio::test]
async fn every_wrong_request_has_its_own_status_and_sentence() {
    let fleet = Fleet::start().await;
    let (token, _) = fleet.token("thermo", None).await;
    let authorization = basic("sn-1", &token);
    let shown = [("Authorization", authorization.as_str())];
    let device = Device::new();
    let csr = device.csr("x", None);
    let mut forged = csr.clone();
    *forged.last_mut().unwrap() ^= 1;
    let text = [("Content-Type", "text/plain"), shown[0]];
    let pkcs10 = [("Content-Type", "application/pkcs10"), shown[0]];
    let long = vec![b'A'; 70_000];
    for (what, bytes, status, code) in [
        (
            "type",
            request("POST", ENROLL, &text, b"MAEF"),
            415,
            "content-type-wrong",
        ),
        (
            "no type",
            request("POST", ENROLL, &shown, b"MAEF"),
            415,
            "content-type-wrong",
        ),
        (
            "forged",
            post(ENROLL, &shown, &forged),
            400,
            "possession-unproven",
        ),
        (
            "no request",
            request("POST", ENROLL, &pkcs10, b"hello"),
            400,
            "csr-unreadable",
        ),
        (
            "empty",
            request("POST", ENROLL, &pkcs10, b""),
            400,
            "csr-unreadable",
        ),
        (
            "no DER",
            post(ENROLL, &shown, &[0x30, 0x03, 2, 1, 5]),
            400,
            "csr-unreadable",
        ),
        (
            "long",
            request("POST", ENROLL, &pkcs10, &long),
            413,
            "request-too-large",
        ),
        (
            "product",
            post("/.well-known/est/nope/simpleenroll", &shown, &csr),
            404,
            "product-unknown",
        ),
        (
            "product",
            request("GET", "/.well-known/est/nope/cacerts", &[], b""),
            404,
            "product-unknown",
        ),
        (
            "dots",
            request("GET", "/.well-known/est/%2e%2e/cacerts", &[], b""),
            404,
            "not-found",
        ),
        (
            "dots",
            request("GET", "/.well-known/est/../cacerts", &[], b""),
            404,
            "not-found",
        ),
        ("path", request("GET", "/", &[], b""), 404, "not-found"),
        (
            "HEAD",
            request("HEAD", CACERTS, &[], b""),
            405,
            "method-not-allowed",
        ),
        (
            "PUT",
            request("PUT", ENROLL, &pkcs10, b"MAEF"),
            405,
            "method-not-allowed",
        ),
        (
            "GET",
            request("GET", ENROLL, &[], b""),
            405,
            "method-not-allowed",
        ),
        (
            "fullcmc",
            request("POST", "/.well-known/est/fullcmc", &pkcs10, b"MAEF"),
            501,
            "operation-not-offered",
        ),
        (
            "keygen",
            post("/.well-known/est/thermo/serverkeygen", &shown, &csr),
            403,
            "server-keygen-off",
        ),
        (
            "renewal",
            post(REENROLL, &shown, &csr),
            401,
            "certificate-missing",
        ),
    ] {
        let mut connection = fleet.client().connect().await.unwrap();
        connection.send(&bytes).await;
        let reply = if what == "HEAD" {
            // There is a Content-Length and no content.
            let rest = connection.rest(std::time::Duration::from_millis(300)).await;
            assert_eq!(rest, None, "a connection that stays open");
            continue;
        } else {
            connection.reply().await.unwrap()
        };
        assert_eq!(
            (reply.status, reply.code()),
            (status, code),
            "{what}: {reply:?}"
        );
        assert!(reply.head.len() <= 1024, "{what}");
        assert_eq!(
            reply.header("Allow").is_some(),
            status == 405,
            "{what}: {reply:?}"
        );
        let empty = status == 401;
        assert_eq!(reply.body.is_empty(), empty, "{what}: {reply:?}");
        if !empty {
            assert_eq!(
                reply.header("Content-Type"),
                Some("text/plain; charset=utf-8"),
                "{what}"
            );
            assert_eq!(reply.text().lines().count(), 1, "{what}: {}", reply.text());
        }
    }
    // And nothing of all that has used the token up.
    fleet.enroll(&device, "sn-1", &token).await.certificate();
}

#[tokio::test]
async fn a_head_request_gets_the_headers_of_a_405() {
    let fleet = Fleet::start().await;
    let mut connection = fleet.client().connect().await.unwrap();
    connection
        .send(&request("HEAD", CACERTS, &[("Connection", "close")], b""))
        .await;
    let text = connection
        .rest(std::time::Duration::from_secs(5))
        .await
        .unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
        "{text}"
    );
    assert!(
        text.contains("\r\nAllow: GET\r\n") && text.ends_with("\r\n\r\n"),
        "{text}"
    );
}

#[tokio::test]
async fn a_request_is_taken_in_every_form_that_clients_send() {
    let fleet = Fleet::start().await;
    let (token, _) = fleet.token("thermo", Some("sn-1")).await;
    let device = Device::new();
    let csr = device.csr("x", None);
    let base64 = STANDARD.encode(&csr);
    let lines: Vec<_> = base64
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    let pem = |label: &str| {
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            lines.join("\n")
        )
    };
    // An empty user means the hardware to which the token is bound.
    for user in ["sn-1", ""] {
        let authorization = basic(user, &token);
        let headers = [
            ("Content-Type", "application/pkcs10"),
            ("Authorization", authorization.as_str()),
        ];
        let mut forms = vec![
            request("POST", ENROLL, &headers, base64.as_bytes()),
            request("POST", ENROLL, &headers, lines.join("\r\n").as_bytes()),
            request(
                "POST",
                ENROLL,
                &headers,
                pem("CERTIFICATE REQUEST").as_bytes(),
            ),
            request(
                "POST",
                ENROLL,
                &headers,
                pem("NEW CERTIFICATE REQUEST").as_bytes(),
            ),
            request("POST", ENROLL, &headers, &csr),
            // Where strongSwan puts a path that is given in its URL.
            request(
                "POST",
                "/thermo/.well-known/est/simpleenroll",
                &headers,
                base64.as_bytes(),
            ),
            // The token knows its product.
            request(
                "POST",
                "/.well-known/est/simpleenroll",
                &headers,
                base64.as_bytes(),
            ),
        ];
        let encoded = [&headers[..], &[("Content-Transfer-Encoding", "base64")]].concat();
        forms.push(request("POST", ENROLL, &encoded, base64.as_bytes()));
        let chunked = [&headers[..], &[("Transfer-Encoding", "chunked")]].concat();
        let (first, second) = base64.split_at(100);
        let chunks = format!(
            "64\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
            second.len()
        );
        forms.push([request("POST", ENROLL, &chunked, b""), chunks.into_bytes()].concat());
        let old = String::from_utf8(request("POST", ENROLL, &headers, base64.as_bytes())).unwrap();
        forms.push(old.replacen("HTTP/1.1", "HTTP/1.0", 1).into_bytes());

        let mut certificates = Vec::new();
        for form in forms {
            certificates.push(fleet.client().once(&form).await.certificate());
        }
        certificates.dedup();
        assert_eq!(certificates.len(), 1, "the same question, the same answer");
    }
}

#[tokio::test]
async fn a_connection_carries_one_request_after_another() {
    let fleet = Fleet::start().await;
    let mut connection = fleet.client().connect().await.unwrap();
    let one = request("GET", "/v1/time", &[], b"");
    // Two at once, then one more.
    connection
        .send(&[&one[..], &request("GET", CACERTS, &[], b"")].concat())
        .await;
    assert_eq!(
        connection.reply().await.unwrap().header("Content-Type"),
        Some("application/json")
    );
    assert_eq!(connection.reply().await.unwrap().certificates().len(), 2);
    connection.send(&one).await;
    assert_eq!(connection.reply().await.unwrap().status, 200);
}

#[tokio::test]
async fn the_same_key_gets_the_same_certificate_and_another_key_a_refusal() {
    let fleet = Fleet::start().await;
    let (token, id) = fleet.token("thermo", None).await;
    let (device, thief) = (Device::new(), Device::new());
    let first = fleet.enroll(&device, "sn-1", &token).await.certificate();
    assert_eq!(
        fleet.enroll(&device, "sn-1", &token).await.certificate(),
        first
    );

    let refused = fleet.enroll(&thief, "sn-1", &token).await;
    assert_eq!((refused.status, refused.code()), (403, "token-leased"));
    assert_eq!(refused.header("Retry-After"), Some("3600"));
    assert!(
        !refused.text().contains(&id),
        "strangers don't learn who holds it"
    );

    // VERIFY is any request over mutual TLS: curl and strongSwan know no /v1/verify.
    let held = fleet
        .registrar
        .ledger()
        .token_get(&id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(held.state, TokenState::Leased);
    let client = fleet.client_as(&device, &first);
    assert_eq!(
        client.once(&request("GET", CACERTS, &[], b"")).await.status,
        200
    );
    let spent = fleet
        .registrar
        .ledger()
        .token_get(&id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(spent.state, TokenState::Spent);
    let name = spent.lease.unwrap().device;
    let file = fleet
        .registrar
        .ledger()
        .device_get(name.as_str())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(file.device.step, Step::Provisioned);

    // A spent token still answers its own key, and nobody else's.
    assert_eq!(
        fleet.enroll(&device, "sn-1", &token).await.certificate(),
        first
    );
    assert_eq!(
        fleet.enroll(&thief, "sn-1", &token).await.code(),
        "token-spent"
    );
}

#[tokio::test]
async fn a_renewal_is_by_the_certificate_in_tls() {
    let fleet = Fleet::start().await;
    let (device, old) = fleet.enrolled("sn-1").await;
    let client = fleet.client_as(&device, &old);
    let name = imprint_pkix::certificate::Certificate::parse(&old)
        .unwrap()
        .common_name()
        .unwrap();

    let wrong = client
        .once(&post(REENROLL, &[], &device.csr("somebody-else", None)))
        .await;
    assert_eq!((wrong.status, wrong.code()), (400, "subject-differs"));

    let next = Device::new();
    let new = client
        .once(&post(REENROLL, &[], &next.csr(&name, None)))
        .await
        .certificate();
    assert_ne!(new, old);
    let again = client
        .once(&post(REENROLL, &[], &next.csr(&name, None)))
        .await
        .certificate();
    assert_eq!(again, new, "the reply was lost, so the device asks again");

    // The old one works until the new one has been used, and not after.
    let verify = request("GET", "/v1/verify", &[], b"");
    assert_eq!(client.once(&verify).await.status, 200);
    assert_eq!(fleet.client_as(&next, &new).once(&verify).await.status, 200);
    let late = client.once(&verify).await;
    assert_eq!((late.status, late.code()), (403, "certificate-superseded"));
}

#[tokio::test]
async fn a_product_says_which_key_it_wants() {
    let fleet = Fleet::start().await;
    fleet
        .apply(Product {
            keys: vec![KeyKind::P384],
            ..Product::named("big")
        })
        .await;
    for (label, want) in [
        ("big", imprint_pkix::key::KeyAlgorithm::P384),
        ("thermo", imprint_pkix::key::KeyAlgorithm::P256),
    ] {
        let path = format!("/.well-known/est/{label}/csrattrs");
        let reply = fleet.client().once(&request("GET", &path, &[], b"")).await;
        assert_eq!(reply.header("Content-Type"), Some("application/csrattrs"));
        let der = STANDARD.decode(reply.text().trim_end()).unwrap();
        assert_eq!(imprint_pkix::csr_attrs::decode(&der), Ok(Some(want)));
    }
    let unknown = request("GET", "/.well-known/est/nope/csrattrs", &[], b"");
    assert_eq!(fleet.client().once(&unknown).await.status, 404);
}

#[tokio::test]
async fn a_server_made_key_comes_with_its_certificate_twice_alike() {
    let fleet = Fleet::start().await;
    fleet
        .apply(Product {
            server_keygen: true,
            ..Product::named("tiny")
        })
        .await;
    let (token, _) = fleet.token("tiny", None).await;
    let authorization = basic("sn-1", &token);
    let device = Device::new();
    let ask = async || {
        let headers = [("Authorization", authorization.as_str())];
        let path = "/.well-known/est/tiny/serverkeygen";
        fleet
            .client()
            .once(&post(path, &headers, &device.csr("x", None)))
            .await
    };
    let reply = ask().await;
    assert_eq!(reply.status, 200, "{reply:?}: {}", reply.text());
    let content_type = reply.header("Content-Type").unwrap();
    assert!(
        content_type.starts_with("multipart/mixed; boundary="),
        "{content_type}"
    );
    let text = reply.text();
    assert!(
        text.contains("application/pkcs8") && text.contains("smime-type=certs-only"),
        "{text}"
    );
    assert_eq!(ask().await.text(), text);
}
