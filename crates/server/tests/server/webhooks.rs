//! Webhooks: at least once, in order, signed, and nobody's trouble but their own.

use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::hmac;
use imprint_registrar::Ledger as _;
use imprint_server::{Kinds, Webhook};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::support::{Client, Fleet};

const PATIENCE: Duration = Duration::from_secs(20);

/// How a receiver treats one request after the other; the last manner stays.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Takes,
    Fails,
    BreaksOff,
    IsSilent,
}

struct Receiver {
    url: String,
    heard: mpsc::UnboundedReceiver<Heard>,
}

/// One request.
#[derive(Debug)]
struct Heard {
    head: String,
    body: String,
}

impl Heard {
    fn id(&self) -> u64 {
        let event: Value = serde_json::from_str(&self.body).unwrap();
        event["id"].as_str().unwrap().parse().unwrap()
    }

    fn kind(&self) -> String {
        let event: Value = serde_json::from_str(&self.body).unwrap();
        event["type"].as_str().unwrap().to_owned()
    }

    fn header(&self, name: &str) -> &str {
        let lines = self.head.lines();
        let mut found = lines.filter_map(|line| line.split_once(": "));
        let header = found.find(|(header, _)| header.eq_ignore_ascii_case(name));
        header.expect(name).1
    }
}

impl Receiver {
    async fn new(manners: &'static [Manner]) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (tell, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut number = 0;
            loop {
                let (mut tcp, _) = listener.accept().await.unwrap();
                while let Some(request) = read(&mut tcp).await {
                    let manner = manners.get(number).or(manners.last()).unwrap();
                    number += 1;
                    let _ = tell.send(request);
                    match manner {
                        Manner::Takes => answer(&mut tcp, "204 No Content").await,
                        Manner::Fails => answer(&mut tcp, "500 Oh no").await,
                        Manner::BreaksOff => break,
                        Manner::IsSilent => std::future::pending().await,
                    }
                }
            }
        });
        Self { url, heard }
    }

    async fn next(&mut self) -> Heard {
        let next = timeout(PATIENCE, self.heard.recv()).await;
        next.expect("an event in time").unwrap()
    }

    fn hook(&self, kinds: &[&str]) -> Webhook {
        Webhook {
            url: self.url.parse().unwrap(),
            kinds: kinds
                .iter()
                .map(|text| text.parse::<Kinds>().unwrap())
                .collect(),
        }
    }
}

async fn read(tcp: &mut TcpStream) -> Option<Heard> {
    let mut text = Vec::new();
    let mut buffer = vec![0; 4_096];
    loop {
        let so_far = String::from_utf8(text.clone()).unwrap();
        if let Some((head, body)) = so_far.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() == length.unwrap().parse::<usize>().unwrap() {
                let (head, body) = (head.to_owned(), body.to_owned());
                return Some(Heard { head, body });
            }
        }
        match tcp.read(&mut buffer).await {
            Ok(read @ 1..) => text.extend_from_slice(&buffer[..read]),
            _ => return None,
        }
    }
}

async fn answer(tcp: &mut TcpStream, status: &str) {
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
    tcp.write_all(text.as_bytes()).await.unwrap();
}

async fn key(fleet: &Fleet, url: &str) -> Vec<u8> {
    let admin = Client::new(fleet.running.addresses().admin.unwrap(), &fleet.root);
    let path = format!("/api/v1/events/key?url={url}");
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer an admin token\r\n\r\n");
    let reply = admin.once(request.as_bytes()).await;
    let view: Value = serde_json::from_slice(&reply.body).unwrap();
    hex::decode(view["key"].as_str().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_in_order_and_signed_however_often_they_are_not_taken() {
    use Manner::{BreaksOff, Fails, Takes};
    let mut receiver = Receiver::new(&[Takes, Fails, BreaksOff, Takes, Takes]).await;
    let hook = receiver.hook(&["token-*"]);
    let fleet = Fleet::start_with(|config| config.webhooks = vec![hook]).await;
    // The cursor is there before the first event.
    sleep(Duration::from_millis(500)).await;
    let key = key(&fleet, &receiver.url).await;
    let other = self::key(&fleet, "https://other.example/").await;
    assert_ne!(key, other);
    for _ in 0..4 {
        fleet.token("thermo", None).await;
    }
    let mut ids = Vec::new();
    while ids.last() != Some(&6) {
        let heard = receiver.next().await;
        assert_eq!(heard.kind(), "internal.imprint.token-minted");
        assert_eq!(heard.header("Content-Type"), "application/cloudevents+json");
        let signature = heard.header("Imprint-Signature");
        let (time, mac) = signature.split_once(",v1=").unwrap();
        let time = time.strip_prefix("t=").unwrap();
        let signed = format!("{time}.{}", heard.body);
        let verified = |key: &[u8]| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            hmac::verify(&key, signed.as_bytes(), &hex::decode(mac).unwrap()).is_ok()
        };
        assert!(verified(&key) && !verified(&other), "{signature}");
        let late = fleet
            .now()
            .since(imprint_identity::UnixTime(time.parse().unwrap()));
        assert!((0..60).contains(&late));
        ids.push(heard.id());
    }
    // A list and the product stand before; the second token was not taken twice.
    assert_eq!(ids, [3, 4, 4, 4, 5, 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_silent_delays_no_other() {
    let silent = Receiver::new(&[Manner::IsSilent]).await;
    let mut quick = Receiver::new(&[Manner::Takes]).await;
    let nobody = Webhook {
        url: "http://127.0.0.1:9/".parse().unwrap(),
        kinds: Vec::new(),
    };
    let hooks = vec![silent.hook(&[]), nobody, quick.hook(&[])];
    let fleet = Fleet::start_with(|config| config.webhooks = hooks).await;
    sleep(Duration::from_millis(500)).await;
    for _ in 0..3 {
        fleet.token("thermo", None).await;
    }
    let told = timeout(Duration::from_secs(3), async {
        let mut told = 0;
        while told < 3 {
            told += usize::from(quick.next().await.kind().ends_with("token-minted"));
        }
    });
    told.await.expect("the quick one hears at once");
    // And no device.
    let (device, certificate) = fleet.enrolled("custom:SN-1").await;
    assert!(!certificate.is_empty());
    drop(device);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_while_no_server_runs_is_told_after_its_start() {
    let mut receiver = Receiver::new(&[Manner::Takes]).await;
    let hook = receiver.hook(&["token-minted"]);
    let again = hook.clone();
    let fleet = Fleet::start_with(|config| config.webhooks = vec![hook]).await;
    sleep(Duration::from_millis(500)).await;
    fleet.token("thermo", None).await;
    let mut ids = vec![receiver.next().await.id()];
    // Until its answer has arrived, or it would have to come again.
    sleep(Duration::from_millis(500)).await;
    let fleet = fleet.stopped().await;
    fleet.token("thermo").await;
    let fleet = fleet.started(|config| config.webhooks = vec![again]).await;
    fleet.token("thermo", None).await;
    ids.extend([receiver.next().await.id(), receiver.next().await.id()]);
    // What was taken before the stop does not come again: the cursor was written down.
    let told = fleet.registrar.ledger().journal_read(0, 100).await.unwrap();
    let minted = told.iter().filter(|row| row.kind == "token-minted");
    let minted: Vec<u64> = minted.map(|row| row.number).collect();
    assert_eq!(ids, minted);
}
