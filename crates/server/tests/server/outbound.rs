//! The server as a client: to whom it speaks, and what it makes of bad answers.

use std::net::SocketAddr;
use std::time::Duration;

use imprint_server::outbound::{Answer, Outbound, OutboundError, Roots, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::support::Fleet;

const LIMIT: Duration = Duration::from_secs(5);

async fn post(roots: Roots, url: &str) -> Result<Answer, OutboundError> {
    let url: Target = url.parse().unwrap();
    let outbound = Outbound::new(&roots).unwrap();
    outbound.post(&url, &[], "{}", LIMIT).await
}

/// A server that says `answer` to every request, closes after it if told to, and tells what came.
async fn says(answer: &'static [u8], closes: bool) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, hears) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for connection in 0.. {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let heard = heard.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 4_096];
                while let Ok(read @ 1..) = tcp.read(&mut buffer).await {
                    let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                    let _ = heard.send(format!("{connection} {text}"));
                    tcp.write_all(answer).await.unwrap();
                    if closes {
                        return;
                    }
                }
            });
        }
    });
    (format!("http://{address}/hook?a=1"), hears)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_is_certified_by_the_given_authorities_is_told_anything() {
    let fleet = Fleet::start().await;
    let url = format!("https://{}/nobody", fleet.https());
    let answer = post(Roots::Der(vec![fleet.root.clone()]), &url)
        .await
        .unwrap();
    assert_eq!(answer.status, 404);

    // By a name in the certificate as well as by an address.
    let named = url.replace("127.0.0.1", "localhost");
    assert!(
        post(Roots::Der(vec![fleet.root.clone()]), &named)
            .await
            .is_ok()
    );

    // A file serves as well; the system's authorities, and another fleet's, do not know this one.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        imprint_pkix::pem::encode("CERTIFICATE", &fleet.root),
    )
    .unwrap();
    assert!(
        post(Roots::File(file.path().to_owned()), &url)
            .await
            .is_ok()
    );
    let other = Fleet::start().await;
    for roots in [Roots::System, Roots::Der(vec![other.root.clone()])] {
        let error = post(roots, &url).await.unwrap_err();
        assert!(matches!(error, OutboundError::Handshake(_)), "{error}");
    }
}

#[tokio::test]
async fn a_request_says_where_it_goes_and_one_connection_serves_for_many() {
    let (url, mut hears) = says(b"HTTP/1.1 204 No Content\r\n\r\n", false).await;
    let mut line = Outbound::new(&Roots::System)
        .unwrap()
        .line(url.parse().unwrap());
    for body in ["one", "two"] {
        assert_eq!(line.post(&[], body, LIMIT).await.unwrap().status, 204);
        let heard = hears.recv().await.unwrap();
        assert!(
            heard.starts_with("0 POST /hook?a=1 HTTP/1.1\r\n"),
            "{heard}"
        );
        assert!(heard.ends_with(body), "{heard}");
    }
}

#[tokio::test]
async fn a_connection_that_the_other_side_closed_meanwhile_is_made_anew() {
    let (url, mut hears) = says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true).await;
    let mut line = Outbound::new(&Roots::System)
        .unwrap()
        .line(url.parse().unwrap());
    for connection in ["0 ", "1 ", "2 "] {
        let answer = line.post(&[], "{}", LIMIT).await.unwrap();
        assert_eq!(answer.body, "ok");
        assert!(hears.recv().await.unwrap().starts_with(connection));
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let redirect = b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\n\
                     Content-Length: 0\r\n\r\n";
    let (url, _hears) = says(redirect, true).await;
    assert_eq!(post(Roots::System, &url).await.unwrap().status, 307);
}

#[tokio::test]
async fn what_is_no_answer_is_an_error_within_its_bounds() {
    let url = |address: SocketAddr| format!("http://{address}/");
    // Nobody there.
    let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let nobody = free.local_addr().unwrap();
    drop(free);
    let error = post(Roots::System, &url(nobody)).await.unwrap_err();
    assert!(
        matches!(error, OutboundError::Unreachable { .. }),
        "{error}"
    );

    // Nothing like HTTP, and a connection that ends in the middle.
    for broken in [
        &b"what?\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
    ] {
        let (url, _hears) = says(broken, true).await;
        let error = post(Roots::System, &url).await.unwrap_err();
        assert!(matches!(error, OutboundError::Broken(_)), "{error}");
    }

    // Silence.
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let target: Target = url(silent.local_addr().unwrap()).parse().unwrap();
    let outbound = Outbound::new(&Roots::System).unwrap();
    let limit = Duration::from_millis(50);
    let error = outbound.post(&target, &[], "{}", limit).await.unwrap_err();
    assert!(matches!(error, OutboundError::Slow { .. }), "{error}");

    // More than anybody has reason to say.
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n";
    let long: &'static [u8] = format!("{head}{}", "x".repeat(70_000)).into_bytes().leak();
    let (url, _hears) = says(long, true).await;
    let error = post(Roots::System, &url).await.unwrap_err();
    assert!(matches!(error, OutboundError::TooLong), "{error}");
}
