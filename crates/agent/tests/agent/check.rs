//! `check` names the broken layer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use imprint_agent::{CheckSettings, Endpoint, Exit, Timeouts, Verdict, check};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::pki::{DAY, Pki};
use crate::registrar::{Instead, Registrar};
use crate::{BUILT, NOW, endpoint};

fn look_at(server: Endpoint, root: &Path) -> CheckSettings {
    CheckSettings {
        server,
        root: root.to_owned(),
        product: Some("thermo".into()),
        clock: NOW,
        built: BUILT,
        proxies: Vec::new(),
        timeouts: Timeouts {
            connect: Duration::from_secs(3),
            handshake: Duration::from_secs(3),
            exchange: Duration::from_secs(3),
        },
    }
}

/// The first fault of a diagnosis: its layer, its exit code, and that it has advice.
async fn fault(settings: &CheckSettings) -> (&'static str, Exit, String) {
    let diagnosis = check(settings).await;
    let last = diagnosis.findings.last().unwrap();
    assert!(matches!(last.verdict, Verdict::Wrong(_)), "{diagnosis:#?}");
    assert!(last.advice.is_some(), "{last:?}");
    (last.layer, diagnosis.exit(), last.seen.clone())
}

fn root_file(pki: &Pki) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pki.root_pem()).unwrap();
    file
}

#[tokio::test]
async fn a_sound_way_is_found_sound_and_nothing_is_enrolled() {
    let registrar = Registrar::start().await;
    let root = root_file(&registrar.pki);
    let diagnosis = check(&look_at(registrar.endpoint(), root.path())).await;
    assert_eq!(diagnosis.exit(), Exit::Good, "{diagnosis:#?}");
    assert!(
        diagnosis
            .findings
            .iter()
            .all(|finding| finding.verdict == Verdict::Good)
    );
    let layers: Vec<_> = diagnosis
        .findings
        .iter()
        .map(|finding| finding.layer)
        .collect();
    let want = [
        "root", "clock", "dns", "route", "tcp", "tls", "pin", "time", "validity", "product",
    ];
    assert_eq!(layers, want);
    assert_eq!(
        registrar.paths(),
        ["/v1/time", "/.well-known/est/thermo/cacerts"]
    );
}

#[tokio::test]
async fn each_broken_layer_is_named() {
    let registrar = Registrar::start().await;
    let root = root_file(&registrar.pki);
    let sound = look_at(registrar.endpoint(), root.path());

    let absent = CheckSettings {
        root: "/nowhere/root.pem".into(),
        ..sound.clone()
    };
    assert_eq!(fault(&absent).await.1, Exit::Root);

    let nameless = CheckSettings {
        server: endpoint("https://x.invalid"),
        ..sound.clone()
    };
    assert_eq!(fault(&nameless).await.1, Exit::Dns);

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let server = endpoint(&format!("https://localhost:{port}"));
    let refused = CheckSettings {
        server,
        ..sound.clone()
    };
    let (layer, exit, seen) = fault(&refused).await;
    assert_eq!((layer, exit), ("tcp", Exit::Tcp), "{seen}");

    let other = root_file(&Pki::new());
    let stranger = CheckSettings {
        root: other.path().to_owned(),
        ..sound.clone()
    };
    assert_eq!(fault(&stranger).await.1, Exit::Pin);

    registrar.instead(
        "cacerts",
        Instead::refusal(404, "product-unknown; step=BOOTSTRAP; retry=never"),
    );
    let (layer, exit, seen) = fault(&sound).await;
    assert_eq!((layer, exit), ("product", Exit::Http), "{seen}");

    registrar.books(|books| books.portal = true);
    assert_eq!(fault(&sound).await.1, Exit::Http);
}

#[tokio::test]
async fn what_is_no_tls_is_named_and_silence_ends() {
    let root = root_file(&Pki::new());
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b""] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = endpoint(&format!("https://{}", listener.local_addr().unwrap()));
        let task = tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 64]).await;
                let _ = stream.write_all(answer).await;
                held.push(stream);
            }
        });
        let mut settings = look_at(server, root.path());
        settings.timeouts.handshake = Duration::from_millis(200);
        let (layer, exit, seen) = fault(&settings).await;
        assert_eq!((layer, exit), ("tls", Exit::Tls), "{seen}");
        task.abort();
    }
}

#[tokio::test]
async fn clocks_are_compared_and_only_the_servers_is_an_obstacle() {
    let registrar = Registrar::start().await;
    let root = root_file(&registrar.pki);
    for clock in [
        imprint_identity::UnixTime(0),
        NOW.plus(3650 * DAY),
        NOW.plus(-600),
    ] {
        let settings = CheckSettings {
            clock,
            ..look_at(registrar.endpoint(), root.path())
        };
        let diagnosis = check(&settings).await;
        assert_eq!(diagnosis.exit(), Exit::Good);
        let odd = diagnosis
            .findings
            .iter()
            .any(|finding| finding.verdict == Verdict::Odd);
        assert!(odd, "{diagnosis:#?}");
    }

    let pki = Arc::new(Pki::new());
    let expired = pki.server(NOW.plus(-9 * DAY), NOW.plus(-DAY));
    let root = root_file(&pki);
    let registrar = Registrar::showing(pki, expired).await;
    let settings = look_at(registrar.endpoint(), root.path());
    let (layer, exit, seen) = fault(&settings).await;
    assert_eq!((layer, exit), ("validity", Exit::Clock), "{seen}");
    registrar.books(|books| books.clock = Some(BUILT.plus(-DAY)));
    assert_eq!(fault(&settings).await.0, "time");
}

#[tokio::test]
async fn a_proxy_is_named_without_its_password() {
    let registrar = Registrar::start().await;
    let root = root_file(&registrar.pki);
    let mut settings = look_at(registrar.endpoint(), root.path());
    settings.proxies = vec![
        ("http_proxy".into(), String::new()),
        (
            "https_proxy".into(),
            "http://me:secret@proxy.example:3128".into(),
        ),
    ];
    let diagnosis = check(&settings).await;
    let proxy = diagnosis
        .findings
        .iter()
        .find(|finding| finding.layer == "proxy")
        .unwrap();
    assert_eq!(proxy.verdict, Verdict::Odd);
    assert!(proxy.seen.contains("proxy.example:3128") && !proxy.seen.contains("secret"));
    let json = serde_json::to_string(&diagnosis).unwrap();
    assert!(
        json.contains("\"odd\"") && json.contains("\"good\""),
        "{json}"
    );
}
