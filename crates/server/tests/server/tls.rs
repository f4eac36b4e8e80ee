//! What a handshake agrees on, and what it leaves to HTTP.

use rustls::crypto::aws_lc_rs::{cipher_suite as suite, kx_group};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, HandshakeKind, NamedGroup, ProtocolVersion};

use crate::support::{Device, Fleet, request, version_1_certificate};

#[tokio::test]
async fn tls_1_2_and_1_3_are_both_spoken_in_every_group() {
    let fleet = Fleet::start().await;
    let time = request("GET", "/v1/time", &[], b"");
    for (version, group, name) in [
        (&TLS13, kx_group::X25519MLKEM768, NamedGroup::X25519MLKEM768),
        (&TLS13, kx_group::X25519, NamedGroup::X25519),
        (&TLS13, kx_group::SECP256R1, NamedGroup::secp256r1),
        (&TLS13, kx_group::SECP384R1, NamedGroup::secp384r1),
        (&TLS12, kx_group::X25519, NamedGroup::X25519),
        (&TLS12, kx_group::SECP256R1, NamedGroup::secp256r1),
        (&TLS12, kx_group::SECP384R1, NamedGroup::secp384r1),
    ] {
        let mut client = fleet.client().speaking(version);
        client.provider.kx_groups = vec![group];
        let mut connection = client.connect().await.unwrap();
        let tls = connection.tls.get_ref().1;
        assert_eq!(tls.protocol_version(), Some(version.version));
        assert_eq!(tls.negotiated_key_exchange_group().unwrap().name(), name);
        connection.send(&time).await;
        assert_eq!(connection.reply().await.unwrap().status, 200, "{name:?}");
    }
}

#[tokio::test]
async fn a_client_that_merely_lists_aes_256_first_gets_aes_128() {
    let fleet = Fleet::start().await;
    let all = [
        suite::TLS13_AES_256_GCM_SHA384,
        suite::TLS13_CHACHA20_POLY1305_SHA256,
        suite::TLS13_AES_128_GCM_SHA256,
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ];
    for (suites, version, want) in [
        (&all[..3], &TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256),
        // A controller without AES in hardware puts ChaCha20 first, and means it.
        (
            &all[1..3],
            &TLS13,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        ),
        (&all[..1], &TLS13, CipherSuite::TLS13_AES_256_GCM_SHA384),
        (
            &all[3..],
            &TLS12,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        ),
        (
            &all[4..],
            &TLS12,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        ),
        (
            &all[3..4],
            &TLS12,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        ),
    ] {
        let mut client = fleet.client().speaking(version);
        client.provider.cipher_suites = suites.to_vec();
        let connection = client.connect().await.unwrap();
        let got = connection
            .tls
            .get_ref()
            .1
            .negotiated_cipher_suite()
            .unwrap()
            .suite();
        assert_eq!(got, want, "{suites:?}");
    }
}

#[tokio::test]
async fn nothing_is_resumed() {
    let fleet = Fleet::start().await;
    let (device, certificate) = fleet.enrolled("sn-1").await;
    for version in [&TLS12, &TLS13] {
        let client = fleet.client_as(&device, &certificate).speaking(version);
        let config = client.config();
        for _ in 0..2 {
            let mut connection = client.connect_with(config.clone()).await.unwrap();
            connection
                .send(&request("GET", "/v1/verify", &[], b""))
                .await;
            assert_eq!(connection.reply().await.unwrap().status, 200);
            let kind = connection.tls.get_ref().1.handshake_kind();
            assert_eq!(kind, Some(HandshakeKind::Full), "{version:?}");
        }
    }
}

#[tokio::test]
async fn any_certificate_passes_the_handshake_and_is_judged_by_a_sentence() {
    let fleet = Fleet::start().await;
    let stranger = Device::new();
    let old = version_1_certificate(&stranger);
    for version in [&TLS12, &TLS13] {
        let client = fleet.client_as(&stranger, &old).speaking(version);
        // What is for everybody is for those with a strange certificate, too.
        let time = client.once(&request("GET", "/v1/time", &[], b"")).await;
        assert_eq!(time.status, 200, "{version:?}");
        let verify = client.once(&request("GET", "/v1/verify", &[], b"")).await;
        assert_eq!(
            (verify.status, verify.code()),
            (403, "certificate-unreadable"),
            "{version:?}"
        );
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_does_not_pass_the_handshake() {
    let fleet = Fleet::start().await;
    let (_, certificate) = fleet.enrolled("sn-1").await;
    for version in [&TLS12, &TLS13] {
        let thief = Device::new();
        let client = fleet.client_as(&thief, &certificate).speaking(version);
        // In TLS 1.3 the client is done before the server has looked: then the first read fails.
        let reply = match client.connect().await {
            Err(_) => None,
            Ok(mut connection) => {
                use tokio::io::AsyncWriteExt as _;
                let _ = connection
                    .tls
                    .write_all(&request("GET", "/v1/verify", &[], b""))
                    .await;
                connection.reply().await
            }
        };
        assert!(reply.is_none(), "{version:?}: {reply:?}");
    }
}

#[tokio::test]
async fn a_new_server_certificate_is_shown_without_a_restart() {
    let fleet = Fleet::start().await;
    let shown = async || {
        let connection = fleet.client().connect().await.unwrap();
        connection.tls.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let before = shown().await;
    let mut old = fleet.client().connect().await.unwrap();
    let identity = fleet.another_identity().await;
    fleet.running.reload(&identity).unwrap();
    assert_eq!(shown().await, identity.chain[0]);
    assert_ne!(before, identity.chain[0]);
    old.send(&request("GET", "/v1/time", &[], b"")).await;
    assert_eq!(
        old.reply().await.unwrap().status,
        200,
        "connections live on"
    );

    // One that can't be used changes nothing.
    let mut mixed = fleet.another_identity().await;
    mixed.private_key = identity.private_key.clone();
    assert!(fleet.running.reload(&mixed).is_err());
    assert_eq!(shown().await, identity.chain[0]);
}

#[tokio::test]
async fn only_http_1_1_is_offered() {
    let fleet = Fleet::start().await;
    let mut client = fleet.client();
    client.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let connection = client.connect().await.unwrap();
    let tls = connection.tls.get_ref().1;
    assert_eq!(tls.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(tls.protocol_version(), Some(ProtocolVersion::TLSv1_3));
}
