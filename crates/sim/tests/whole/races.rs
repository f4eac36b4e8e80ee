//! Two at once, over TLS: of two keys at one token one wins, and two requests of one key have one
//! answer. That they really met on the road is measured, not hoped for.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use imprint_registrar::Serial;
use imprint_registrar::ledger::TokenHash;
use imprint_sim::checker::{Outside, Told};
use imprint_sim::client::{Answer, Client, Link};
use imprint_sim::key::DeviceKey;
use imprint_sim::many;
use imprint_sim::tap::{Call, Tap};
use imprint_sim::world::World;

use crate::support::{assert_clean, judge, seconds};

/// Counts the tokens at which two walks have met between appraise and settle: both had read their
/// facts before either had settled.
#[derive(Default)]
struct Meetings {
    by_token: Mutex<HashMap<TokenHash, Walks>>,
    token_of: Mutex<HashMap<Serial, TokenHash>>,
    met: AtomicUsize,
}

#[derive(Default)]
struct Walks {
    connections: HashSet<tokio::task::Id>,
    settled: bool,
}

impl Tap for Meetings {
    async fn before(&self, call: &Call) {
        match (call.name, call.token, call.serial) {
            ("enrollment_intend", Some(token), Some(serial)) => {
                self.token_of.lock().unwrap().insert(serial, token);
            }
            ("enrollment_settle", _, Some(serial)) => {
                let token = self.token_of.lock().unwrap().get(&serial).copied();
                let mut by_token = self.by_token.lock().unwrap();
                if let Some(walks) = token.and_then(|token| by_token.get_mut(&token)) {
                    walks.settled = true;
                }
            }
            _ => {}
        }
    }

    async fn after(&self, call: &Call) {
        let ("enrollment_facts", Some(token)) = (call.name, call.token) else {
            return;
        };
        let mut by_token = self.by_token.lock().unwrap();
        let walks = by_token.entry(token).or_default();
        // Every connection has a task of its own, and walks one request at a time.
        if !walks.settled && walks.connections.insert(tokio::task::id()) {
            self.met
                .fetch_add(usize::from(walks.connections.len() == 2), Ordering::Relaxed);
        }
    }
}

/// What a worker has seen.
#[derive(Default)]
struct Seen {
    outside: Outside,
    keys_refused: usize,
    answered_alike: usize,
    handshakes: usize,
    server_errors: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_at_once_one_wins_and_the_server_keeps_its_countenance() {
    races(many(10_000, 100_000), FRESH_EVERY).await;
}

/// As devices really come: each racer with a connection and a handshake of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_at_once_that_have_just_shaken_hands_one_wins_too() {
    races(many(500, 20_000), 1).await;
}

/// Half of the pairs are two keys at one token, half one key twice. Every worker begins with fresh
/// connections every `fresh_every` pairs.
async fn races(pairs: usize, fresh_every: usize) {
    let started = Instant::now();
    let meetings = Arc::new(Meetings::default());
    let world = Arc::new(World::with(Arc::clone(&meetings), None).await);
    let tokens = world.tokens(pairs).await;
    let tokens = Arc::new(tokens);
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let (world, tokens, next) = (world.clone(), tokens.clone(), next.clone());
        workers.push(tokio::spawn(async move {
            race(&world, &tokens, &next, fresh_every).await
        }));
    }
    let mut seen = Seen::default();
    for worker in workers {
        seen.add(worker.await.unwrap());
    }
    let met = meetings.met.load(Ordering::Relaxed);
    let (records, findings) = judge(world.place(), &seen.outside);
    println!(
        "S8 races over TLS: {pairs} pairs, half of them two keys at one token and half one key \
         twice; {met} met between appraise and settle ({} %); {} handshakes, {} requests; {} \
         second keys refused, {} repeated questions answered alike, {} answers of 5xx; {}; {}",
        met * 100 / pairs,
        seen.handshakes,
        pairs * 2,
        seen.keys_refused,
        seen.answered_alike,
        seen.server_errors,
        findings.to_string().lines().next().unwrap(),
        seconds(started)
    );
    assert_clean("after the races", &findings);
    assert_eq!(seen.server_errors, 0);
    assert_eq!(seen.keys_refused, pairs / 2);
    assert_eq!(seen.answered_alike, pairs / 2);
    assert_eq!(records.devices.len(), pairs, "one device a pair");
    assert_eq!(
        records.certificates.len(),
        pairs,
        "one certificate a pair, and no other intent"
    );
    assert!(met * 2 >= pairs, "only {met} of {pairs} pairs met");
}

/// Runs pairs until there are no more.
async fn race(
    world: &World<Arc<Meetings>>,
    tokens: &[String],
    next: &AtomicUsize,
    fresh_every: usize,
) -> Seen {
    let client = Client::new(&world.place().root_der());
    let mut seen = Seen::default();
    let connect = async || client.connect(world.https()).await.unwrap();
    let mut links = (connect().await, connect().await);
    seen.handshakes += 2;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(token) = tokens.get(number) else {
            return seen;
        };
        if number.is_multiple_of(fresh_every) {
            links = (connect().await, connect().await);
            seen.handshakes += 2;
        }
        let first = DeviceKey::new();
        if number.is_multiple_of(2) {
            // In every other such pair the two even call themselves differently.
            let other = if number.is_multiple_of(4) {
                "SN"
            } else {
                "THIEF"
            };
            let names = (
                format!("custom:SN-{number}"),
                format!("custom:{other}-{number}"),
            );
            let second = DeviceKey::new();
            let answers = pair(&mut links, (&first, &names.0), (&second, &names.1), token).await;
            seen.two_keys([(&first, &names.0), (&second, &names.1)], answers, token);
        } else {
            let name = format!("custom:SN-{number}");
            let answers = pair(&mut links, (&first, &name), (&first, &name), token).await;
            seen.one_key(&first, &name, answers, token);
        }
    }
}

async fn pair(
    links: &mut (Link, Link),
    first: (&DeviceKey, &str),
    second: (&DeviceKey, &str),
    token: &str,
) -> [Answer; 2] {
    let (first, second) = tokio::join!(
        links.0.enroll(first.0, first.1, token),
        links.1.enroll(second.0, second.1, token)
    );
    [first.unwrap(), second.unwrap()]
}

impl Seen {
    fn two_keys(&mut self, who: [(&DeviceKey, &String); 2], answers: [Answer; 2], token: &str) {
        let won: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == 200)
            .collect();
        assert_eq!(
            won.len(),
            1,
            "exactly one wins: {:?}",
            answers.map(|a| (a.status, a.refusal))
        );
        for ((key, hardware), answer) in who.into_iter().zip(&answers) {
            self.count(answer);
            if let Some(certificate) = answer.certificate() {
                self.told(key, hardware, token, certificate);
            } else {
                assert_eq!(
                    answer.refusal.as_deref(),
                    Some("token-leased"),
                    "{answer:?}"
                );
                assert_eq!(answer.status, 403);
                self.keys_refused += 1;
            }
        }
    }

    fn one_key(&mut self, key: &DeviceKey, hardware: &str, answers: [Answer; 2], token: &str) {
        for answer in &answers {
            self.count(answer);
        }
        let [first, second] =
            answers.map(|answer| answer.certificate().unwrap_or_else(|| panic!("{answer:?}")));
        assert_eq!(first, second, "{hardware} was told two certificates");
        self.answered_alike += 1;
        self.told(key, hardware, token, first);
    }

    fn told(&mut self, key: &DeviceKey, hardware: &str, token: &str, certificate: Vec<u8>) {
        self.outside.told.push(Told {
            hardware: hardware.to_owned(),
            key: key.fingerprint(),
            question: token.to_owned(),
            certificate,
        });
    }

    fn count(&mut self, answer: &Answer) {
        self.server_errors += usize::from(answer.status >= 500);
    }

    fn add(&mut self, other: Self) {
        self.outside.told.extend(other.outside.told);
        self.keys_refused += other.keys_refused;
        self.answered_alike += other.answered_alike;
        self.handshakes += other.handshakes;
        self.server_errors += other.server_errors;
    }
}

/// Pairs at the same time: enough that one flush to disk serves many.
const WORKERS: usize = 32;
/// Every so many pairs, a worker begins with fresh connections.
const FRESH_EVERY: usize = 16;
