//! Devices that want in while the server dies again and again.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imprint_sim::checker::{Outside, Told};
use imprint_sim::client::Client;
use imprint_sim::key::DeviceKey;
use tokio::sync::watch;

/// Devices that join one after the other, on several lines at once, and never give up.
pub(super) struct Fleet {
    pub(super) at: watch::Sender<Option<SocketAddr>>,
    pub(super) outside: Arc<Mutex<Outside>>,
    stop: watch::Sender<bool>,
    lines: Vec<tokio::task::JoinHandle<usize>>,
}

impl Fleet {
    /// `root_der` is what they trust; each has a token.
    pub(super) fn start(root_der: &[u8], tokens: Vec<String>) -> Self {
        let (at, stop) = (watch::channel(None).0, watch::channel(false).0);
        let outside = Arc::new(Mutex::new(Outside::default()));
        let tokens = Arc::new(Mutex::new(tokens.into_iter().enumerate()));
        let client = Client::new(root_der);
        let lines = (0..LINES)
            .map(|_| {
                let line = Line {
                    client: client.clone(),
                    at: at.subscribe(),
                    outside: Arc::clone(&outside),
                    interrupted: 0,
                };
                let (tokens, stop) = (Arc::clone(&tokens), stop.subscribe());
                tokio::spawn(line.work(tokens, stop))
            })
            .collect();
        Self {
            at,
            outside,
            stop,
            lines,
        }
    }

    /// Lets every device that has begun come to its end. What they were told, and how many answers
    /// came only after a retry.
    pub(super) async fn finish(self) -> (Outside, usize) {
        self.stop.send_replace(true);
        let mut interrupted = 0;
        for line in self.lines {
            interrupted += line.await.unwrap();
        }
        (
            Arc::into_inner(self.outside).unwrap().into_inner().unwrap(),
            interrupted,
        )
    }
}

struct Line {
    client: Client,
    at: watch::Receiver<Option<SocketAddr>>,
    outside: Arc<Mutex<Outside>>,
    interrupted: usize,
}

type Tokens = Arc<Mutex<std::iter::Enumerate<std::vec::IntoIter<String>>>>;

impl Line {
    async fn work(mut self, tokens: Tokens, stop: watch::Receiver<bool>) -> usize {
        while !*stop.borrow() {
            let Some((number, token)) = tokens.lock().unwrap().next() else {
                break;
            };
            let (key, hardware) = (DeviceKey::new(), format!("custom:SN-{number}"));
            let certificate = self.enroll(&key, &hardware, &token).await;
            self.verify(&key, &certificate).await;
            if number % 4 == 0 {
                // A spent token still answers its own key.
                let again = self.enroll(&key, &hardware, &token).await;
                assert_eq!(again, certificate, "{hardware}");
            }
        }
        self.interrupted
    }

    async fn enroll(&mut self, key: &DeviceKey, hardware: &str, token: &str) -> Vec<u8> {
        for attempt in 0.. {
            let server = self.server().await;
            let answer = self.client.enroll(server, key, hardware, token).await;
            let Ok(answer) = answer else {
                tokio::time::sleep(AFTER_FAILURE).await;
                continue;
            };
            let certificate = answer.certificate().unwrap_or_else(|| panic!("{answer:?}"));
            self.interrupted += usize::from(attempt > 0);
            self.outside.lock().unwrap().told.push(Told {
                hardware: hardware.to_owned(),
                key: key.fingerprint(),
                question: token.to_owned(),
                certificate: certificate.clone(),
            });
            return certificate;
        }
        unreachable!()
    }

    async fn verify(&mut self, key: &DeviceKey, certificate: &[u8]) {
        loop {
            let server = self.server().await;
            match self.client.verify(server, key, certificate).await {
                Ok(answer) => {
                    assert_eq!(answer.status, 200, "{answer:?}");
                    return;
                }
                Err(_) => tokio::time::sleep(AFTER_FAILURE).await,
            }
        }
    }

    /// Where the server is, as soon as there is one.
    async fn server(&mut self) -> SocketAddr {
        let server = self.at.wait_for(Option::is_some).await.unwrap();
        server.unwrap()
    }
}

const LINES: usize = 12;
const AFTER_FAILURE: Duration = Duration::from_millis(2);
