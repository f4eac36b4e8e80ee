//! A crowd at the door: who waits costs little, and nobody waits for those who hold things up.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream as Blocking};
use std::time::Duration;

use imprint_server::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Client, Fleet, request};

const SOON: Duration = Duration::from_secs(3);

/// A fleet with few handshakes at once, behind a proxy that says for whom: so that one machine has
/// many addresses.
async fn fleet(change: impl FnOnce(&mut Limits)) -> Fleet {
    Fleet::start_with(|config| {
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        config.proxy_protocol = true;
        config.limits.handshakes = 3;
        config.limits.handshakes_per_address = 2;
        change(&mut config.limits);
    })
    .await
}

fn header(from: &str) -> String {
    format!("PROXY TCP4 {from} 10.0.0.1 1111 8443\r\n")
}

/// A connection from there that sends this and nothing more.
async fn stuck(server: SocketAddr, from: &str, bytes: &[u8]) -> TcpStream {
    let mut tcp = TcpStream::connect(server).await.unwrap();
    tcp.write_all(header(from).as_bytes()).await.unwrap();
    tcp.write_all(bytes).await.unwrap();
    tcp
}

/// Whether a client from there gets an answer soon.
async fn is_served(client: &Client, from: &str) -> bool {
    let served = async {
        let header = header(from);
        let connected = client.connect_behind(header.as_bytes(), client.config());
        let Ok(mut connection) = connected.await else {
            return false;
        };
        let time = request("GET", "/v1/time", &[], b"");
        connection.send(&time).await;
        connection
            .reply()
            .await
            .is_some_and(|reply| reply.status == 200)
    };
    timeout(SOON, served).await == Ok(true)
}

/// The beginning of a `ClientHello`: a record of 512 octets of which these are all that come.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
const FACTORY: &str = "203.0.113.9";
const ELSEWHERE: &str = "198.51.100.1";

#[tokio::test]
async fn the_silent_stop_nobody_not_even_at_their_own_address() {
    let fleet = fleet(|limits| limits.handshake = Duration::from_mins(1)).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(stuck(fleet.https(), FACTORY, b"").await);
    }
    let client = fleet.client();
    assert!(is_served(&client, FACTORY).await, "behind the same address");
    assert!(is_served(&client, ELSEWHERE).await, "behind another one");
}

#[tokio::test]
async fn handshakes_that_nobody_finishes_stop_their_own_address_alone_and_not_for_long() {
    let fleet = fleet(|limits| {
        limits.handshake = Duration::from_secs(8);
        limits.wait = Duration::from_mins(1);
    })
    .await;
    let began = Instant::now();
    let mut half = Vec::new();
    for _ in 0..50 {
        half.push(stuck(fleet.https(), FACTORY, HALF_A_HELLO).await);
    }
    // Until two of them have their turn.
    sleep(Duration::from_millis(200)).await;
    let client = fleet.client();
    assert!(
        is_served(&client, ELSEWHERE).await,
        "behind another address"
    );
    assert!(!is_served(&client, FACTORY).await, "two handshakes at once");
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "a slow machine proves nothing"
    );
    // They go, and their place in the line is worth nothing.
    drop(half);
    let patient = async { while !is_served(&client, FACTORY).await {} };
    let served = timeout(Duration::from_secs(20), patient).await;
    served.expect("the line moves on");
}

#[tokio::test]
async fn nobody_stands_in_line_for_ever() {
    let fleet = fleet(|limits| {
        limits.handshakes_per_address = 1;
        limits.handshake = Duration::from_mins(1);
        limits.wait = Duration::from_millis(300);
    })
    .await;
    let _first = stuck(fleet.https(), FACTORY, HALF_A_HELLO).await;
    sleep(Duration::from_millis(100)).await;
    let mut second = stuck(fleet.https(), FACTORY, HALF_A_HELLO).await;
    let mut rest = Vec::new();
    let ended = timeout(SOON, second.read_to_end(&mut rest)).await;
    assert!(ended.is_ok() && rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn a_server_that_stops_does_not_wait_for_those_in_line() {
    let fleet = fleet(|limits| {
        limits.handshakes_per_address = 1;
        limits.handshake = Duration::from_secs(1);
        limits.wait = Duration::from_mins(1);
        limits.drain = Duration::from_secs(20);
    })
    .await;
    let mut stuck_ones = Vec::new();
    for _ in 0..20 {
        stuck_ones.push(stuck(fleet.https(), FACTORY, HALF_A_HELLO).await);
    }
    sleep(Duration::from_millis(100)).await;
    // One handshake of a second is under way; twenty would take twenty.
    let stopped = timeout(Duration::from_secs(10), fleet.running.shutdown()).await;
    assert!(stopped.is_ok());
}

/// What so many connections of each kind take of this process's memory, client and server together.
#[tokio::test]
async fn a_waiting_crowd_costs_little_and_one_that_idles_not_much() {
    const MANY: usize = 300;
    const ONE_WAITING: usize = 6 * 1024;
    const ONE_IDLE: usize = 70 * 1024;
    let fleet = Fleet::start_with(|config| {
        config.limits.handshakes_per_address = 1;
        config.limits.handshake = Duration::from_mins(1);
        config.limits.wait = Duration::from_mins(1);
        config.limits.headers = Duration::from_mins(1);
    })
    .await;
    let client = fleet.client();
    let config = client.config();
    let time = request("GET", "/v1/time", &[], b"");
    // What the first ones make is there for all.
    for _ in 0..8 {
        client.once(&time).await;
    }

    // 1. Members of a crowd that have come in and say nothing.
    let before = resident();
    let mut idle = Vec::new();
    for _ in 0..MANY {
        let mut connection = client.connect_with(config.clone()).await.unwrap();
        connection.send(&time).await;
        assert_eq!(connection.reply().await.unwrap().status, 200);
        idle.push(connection);
    }
    let one = (resident() - before) / MANY;
    println!("an idle connection takes {one} octets at both ends");
    assert!(
        one < ONE_IDLE,
        "an idle connection takes {one} octets at both ends"
    );

    // 2. A crowd that waits for its handshakes. Plain sockets, so that their end costs nothing here.
    let mut line = vec![half_a_hello(fleet.https())];
    sleep(Duration::from_millis(200)).await;
    let before = resident();
    line.extend((0..MANY).map(|_| half_a_hello(fleet.https())));
    sleep(Duration::from_millis(500)).await;
    let one = resident().saturating_sub(before) / MANY;
    println!("one that waits takes {one} octets");
    assert!(one < ONE_WAITING, "one that waits takes {one} octets");
}

fn half_a_hello(server: SocketAddr) -> Blocking {
    let mut tcp = Blocking::connect(server).unwrap();
    tcp.write_all(HALF_A_HELLO).unwrap();
    tcp
}

/// Octets of memory that this process has.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<usize>().unwrap() * 1024
}
