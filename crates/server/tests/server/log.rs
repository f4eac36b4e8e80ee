//! What the log says, and what it must not say.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{Device, Fleet, basic, post, request, seeded};

/// Everything that is logged on this thread, and so by this test's server.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> (Self, DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        (log, guard)
    }

    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().unwrap().clone();
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn an_enrollment_is_one_line_with_its_id_and_without_its_token() {
    let (log, _guard) = Log::start();
    let fleet = Fleet::start().await;
    let (token, _) = fleet.token("thermo", None).await;
    fleet
        .enroll(&Device::new(), "sn-1", &token)
        .await
        .certificate();
    fleet.enroll(&Device::new(), "sn-1", &token).await;
    fleet.enroll(&Device::new(), "sn-1", "a guess").await;

    let lines = log.lines();
    let handed_over: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("certificate handed over"))
        .collect();
    assert_eq!(handed_over.len(), 1, "{lines:#?}");
    for field in [
        "enrollment=",
        "device=thermo-sn-1",
        "address=",
        "again=false",
    ] {
        assert!(
            handed_over[0].contains(field),
            "{field}: {}",
            handed_over[0]
        );
    }
    assert!(
        lines.iter().any(|line| line.contains("token-leased")),
        "{lines:#?}"
    );
    let secrets = [
        token.clone(),
        token.replace('-', ""),
        basic("sn-1", &token),
        "a guess".into(),
    ];
    for (line, secret) in lines
        .iter()
        .flat_map(|line| secrets.iter().map(move |s| (line, s)))
    {
        assert!(
            !line.contains(secret.trim_start_matches("Basic ")),
            "{line}"
        );
    }
}

#[tokio::test]
async fn every_line_of_a_hostile_server_says_so() {
    let (log, _guard) = Log::start();
    let fleet = Fleet::start_with(|config| config.hostile = Some(seeded(3))).await;
    // What the test itself does to the ledger is not the server's.
    let (token, _) = fleet.token("thermo", None).await;
    let before = log.lines().len();
    let authorization = basic("sn-1", &token);
    let headers = [("Authorization", authorization.as_str())];
    for number in 0..60 {
        let mut connection = fleet.client().connect().await.unwrap();
        let bytes = match number % 3 {
            0 => request("GET", "/v1/verify", &[], b""),
            _ => post(
                "/.well-known/est/thermo/simpleenroll",
                &headers,
                &Device::new().csr("x", None),
            ),
        };
        connection.send(&bytes).await;
        connection.reply().await;
    }
    let lines = log.lines();
    let lines = &lines[before..];
    assert!(lines.len() > 60, "{} lines", lines.len());
    assert!(
        lines.iter().any(|line| line.contains("refused")),
        "{lines:#?}"
    );
    assert!(lines.iter().any(|line| line.contains("fate")), "{lines:#?}");
    for line in lines {
        assert!(line.contains("hostile"), "{line}");
    }
}
