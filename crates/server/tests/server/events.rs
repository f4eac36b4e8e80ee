//! The journal for other programs: nothing is missed, nothing comes twice, nobody waits for ever.

use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::support::{Client, Connection, Fleet, Reply, eventually};

const PATIENCE: Duration = Duration::from_secs(10);

fn operator(fleet: &Fleet) -> Client {
    Client::new(fleet.running.addresses().admin.unwrap(), &fleet.root)
}

fn get(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer an admin token\r\n\
         {headers}\r\n"
    )
}

async fn ask(fleet: &Fleet, path: &str) -> Reply {
    operator(fleet).once(get(path, "").as_bytes()).await
}

fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let kind = reply.header("Content-Type");
    assert_eq!(kind, Some("application/cloudevents-batch+json"));
    serde_json::from_slice(&reply.body).unwrap()
}

/// A stream, and the ids that came out of it.
struct Stream {
    connection: Connection,
    text: String,
}

impl Stream {
    async fn open(fleet: &Fleet, path: &str, headers: &str) -> Self {
        let mut connection = operator(fleet).connect().await.unwrap();
        let headers = format!("Accept: text/event-stream\r\n{headers}");
        connection.send(get(path, &headers).as_bytes()).await;
        let mut stream = Self {
            connection,
            text: String::new(),
        };
        stream.until("\r\n\r\n").await;
        stream
    }

    fn status(&self) -> &str {
        self.text.split(' ').nth(1).unwrap()
    }

    async fn until(&mut self, part: &str) {
        self.read_while(part, |text| !text.contains(part)).await;
    }

    /// Until the event that begins so has come to its end.
    async fn until_whole(&mut self, beginning: &str) {
        let goes_on = |text: &str| {
            let event = text.split_once(beginning);
            !event.is_some_and(|(_, rest)| rest.contains("\n\n"))
        };
        self.read_while(beginning, goes_on).await;
    }

    async fn read_while(&mut self, part: &str, goes_on: impl Fn(&str) -> bool) {
        let read = async {
            let mut buffer = vec![0; 4_096];
            while goes_on(&self.text) {
                let read = self.connection.tls.read(&mut buffer).await.unwrap();
                assert!(read > 0, "the stream ended before {part:?}: {}", self.text);
                self.text
                    .push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        };
        timeout(PATIENCE, read).await.expect(part);
    }

    fn ids(&self) -> Vec<u64> {
        let lines = self.text.lines();
        lines
            .filter_map(|line| line.strip_prefix("id: ")?.parse().ok())
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_told_as_a_cloud_event() {
    let fleet = Fleet::start().await;
    let (_, id) = fleet.token("thermo", None).await;
    let told = events(&ask(&fleet, "/api/v1/events").await);
    let minted = told.last().unwrap();
    assert_eq!(minted["specversion"], "1.0");
    assert_eq!(minted["type"], "internal.imprint.token-minted");
    assert_eq!(minted["subject"], id.as_str());
    assert_eq!(minted["datacontenttype"], "application/json");
    assert_eq!(minted["data"]["actor"], "test");
    assert_eq!(minted["id"], told.len().to_string());
    let source = minted["source"].as_str().unwrap();
    assert!(source.starts_with("https://imprint.internal/") && source.ends_with("/1"));

    // In pages, from where the reader is; nothing behind the last one.
    let page = events(&ask(&fleet, "/api/v1/events?after=1&limit=1").await);
    assert_eq!(page, told[1..2]);
    let path = format!("/api/v1/events?after={}", told.len());
    assert!(events(&ask(&fleet, &path).await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_waits_gets_the_next_row_and_an_empty_answer_in_the_end() {
    let fleet = Fleet::start().await;
    let head = events(&ask(&fleet, "/api/v1/events").await).len();
    let path = format!("/api/v1/events?after={head}&wait=20");
    let started = Instant::now();
    let ((), reply) = tokio::join!(
        async {
            sleep(Duration::from_millis(400)).await;
            fleet.token("thermo", None).await;
        },
        ask(&fleet, &path)
    );
    let told = events(&reply);
    assert_eq!(told[0]["id"], (head + 1).to_string());
    assert!(started.elapsed() < PATIENCE);

    let path = format!("/api/v1/events?after={}&wait=1", head + 1);
    assert!(events(&ask(&fleet, &path).await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_again_and_again_misses_nothing_and_repeats_nothing() {
    let fleet = Fleet::start().await;
    let writing = async {
        for _ in 0..60 {
            fleet.token("thermo", None).await;
            sleep(Duration::from_millis(20)).await;
        }
    };
    let reading = async {
        let mut ids: Vec<u64> = Vec::new();
        for target in [5, 20, 40, 62] {
            let last = ids
                .last()
                .map_or(String::new(), |last| format!("Last-Event-ID: {last}\r\n"));
            if ids.last().is_some_and(|last| *last >= target) {
                continue;
            }
            // `after` is for who begins; who comes again says where it was.
            let mut stream = Stream::open(&fleet, "/api/v1/events?after=0", &last).await;
            assert_eq!(stream.status(), "200");
            stream.until_whole(&format!("id: {target}\n")).await;
            // What was only begun does not count.
            let whole = stream.text.rfind("\n\n").unwrap();
            stream.text.truncate(whole);
            ids.extend(stream.ids());
        }
        ids
    };
    let ((), ids) = tokio::join!(writing, reading);
    let want: Vec<u64> = (1..=ids.len() as u64).collect();
    assert_eq!(ids, want);
    assert_eq!(ids.len(), 62, "a list, a product, and sixty tokens");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_further_than_the_journal_is_told_so() {
    let fleet = Fleet::start().await;
    for path in [
        "/api/v1/events?after=999",
        "/api/v1/events?after=999&wait=9",
    ] {
        let reply = ask(&fleet, path).await;
        assert_eq!(reply.status, 409);
        assert!(reply.text().contains("events-ahead"), "{}", reply.text());
    }
    let stream = Stream::open(&fleet, "/api/v1/events", "Last-Event-ID: 999\r\n").await;
    assert_eq!(stream.status(), "409");
    let stream = Stream::open(&fleet, "/api/v1/events", "Last-Event-ID: x\r\n").await;
    assert_eq!(stream.status(), "400");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_are_bounded_and_a_place_comes_free_when_one_leaves() {
    let fleet = Fleet::start().await;
    let mut streams = Vec::new();
    for _ in 0..64 {
        let stream = Stream::open(&fleet, "/api/v1/events", "").await;
        assert_eq!(stream.status(), "200");
        streams.push(stream);
    }
    let one_more = Stream::open(&fleet, "/api/v1/events", "").await;
    assert_eq!(one_more.status(), "503");
    assert!(
        one_more.text.contains("Retry-After: 30"),
        "{}",
        one_more.text
    );
    let head = events(&ask(&fleet, "/api/v1/events?wait=1").await).len();
    let path = format!("/api/v1/events?after={head}&wait=1");
    assert_eq!(ask(&fleet, &path).await.status, 503);
    // Who does not wait needs no place.
    let path = format!("/api/v1/events?after={head}");
    assert_eq!(ask(&fleet, &path).await.status, 200);

    streams.pop();
    eventually("a place is free", || async {
        // A stream finds out that nobody is there when it has something to say.
        fleet.token("thermo", None).await;
        let stream = Stream::open(&fleet, "/api/v1/events", "").await;
        stream.status() == "200"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_do_not_keep_a_server_that_stops() {
    let fleet = Fleet::start().await;
    let stream = Stream::open(&fleet, "/api/v1/events?after=1", "").await;
    let waiting = {
        let mut connection = operator(&fleet).connect().await.unwrap();
        let path = "/api/v1/events?after=1&wait=30";
        connection.send(get(path, "").as_bytes()).await;
        connection
    };
    sleep(Duration::from_millis(300)).await;
    let started = Instant::now();
    fleet.running.shutdown().await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    drop((stream, waiting));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_admin_token_nothing_is_told() {
    let fleet = Fleet::start().await;
    for path in ["/api/v1/events", "/api/v1/events/key?url=https://a.example"] {
        let bare = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
        assert_eq!(operator(&fleet).once(bare.as_bytes()).await.status, 401);
    }
}
