//! One run: a seed, a few devices, everything that can happen to them, and the judge.

mod acts;
mod settle_down;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use imprint_attest::PeerCertificate;
use imprint_identity::{HardwareId, UnixTime};
use imprint_pkix::certificate::Certificate;
use imprint_registrar::ledger::RequestOrigin;
use imprint_registrar::tokens::TokenOrder;
use imprint_registrar::{
    Authorities, Enrolled, Ledger as _, Product, Refusal, Registrar, Serial, Ticks,
};
use imprint_signer::KeySigner;
use imprint_sim::chance::Dice;
use imprint_sim::checker::{self, Outside, Records, Told, check_change};
use imprint_sim::key::{DeviceKey, sha256};
use imprint_sim::place::Place;
use imprint_sim::tap::Tapped;
use imprint_sim::world::PRODUCT;
use imprint_sqlite::Sqlite;
use rusqlite::Connection;

use super::directory;
use super::gates::Gates;
use super::planted::{Bug, Spoiler};
use super::report::{Report, Violation};

type Road = Registrar<Tapped<Sqlite, Arc<Gates>>, Tapped<KeySigner, Arc<Gates>>>;

/// What runs share: keys and authorities take longer than a run.
pub(super) struct Ground {
    place: Place,
    authorities: Authorities,
    issuing: Certificate,
    keys: Vec<Arc<DeviceKey>>,
    _directory: tempfile::TempDir,
}

impl Ground {
    pub(super) fn new() -> Self {
        let directory = directory();
        let place = runtime().block_on(Place::make(directory.path(), START));
        let keys = (0..KEYS).map(|_| Arc::new(DeviceKey::new())).collect();
        let (authorities, issuing) = (place.authorities(), place.issuing());
        Self {
            place,
            authorities,
            issuing,
            keys,
            _directory: directory,
        }
    }

    /// One run on a ledger of its own.
    pub(super) fn run(&self, seed: u64, bug: Option<Bug>) -> Result<Report, Violation> {
        let folder = directory();
        let database = folder.path().join("ledger.db");
        runtime().block_on(async {
            let mut run = Run::new(self, seed, database, bug).await;
            let outcome = run.play().await;
            let Run { report, .. } = run;
            match outcome {
                Ok(()) => Ok(report),
                Err(findings) => Err(Violation {
                    seed,
                    findings,
                    trace: report.trace,
                }),
            }
        })
    }
}

struct Run<'a> {
    ground: &'a Ground,
    dice: Dice,
    database: PathBuf,
    bug: Option<Bug>,
    gates: Arc<Gates>,
    road: Option<Arc<Road>>,
    judge: Connection,
    now: UnixTime,
    tokens: Vec<Token>,
    /// Certificates in clients' hands, with the key's number.
    held: Vec<(usize, Vec<u8>)>,
    outside: Outside,
    /// Serial numbers of certificates that a client has begun to use.
    used: BTreeSet<Vec<u8>>,
    /// Serial numbers that somebody has settled.
    settled: BTreeSet<Serial>,
    before: Records,
    callers: Vec<Caller>,
    next_caller: usize,
    report: Report,
}

#[derive(Clone)]
struct Token {
    id: String,
    text: String,
    bound: Option<usize>,
}

struct Caller {
    number: usize,
    what: String,
    future: Pin<Box<dyn Future<Output = Done> + Send>>,
}

/// How a call ended, as its caller is told.
enum Done {
    Enrolled {
        key: usize,
        hardware: usize,
        question: String,
        outcome: Result<Enrolled, Refusal>,
    },
    Verified(Result<(), Refusal>),
    Acted(&'static str),
}

/// What does not hold.
type Findings = Vec<String>;

impl<'a> Run<'a> {
    async fn new(ground: &'a Ground, seed: u64, database: PathBuf, bug: Option<Bug>) -> Self {
        let (gates, road) = open(ground, &database, None);
        let products = vec![Product::named(PRODUCT)];
        road.ledger()
            .inner()
            .product_apply(products, "sim", START)
            .await
            .unwrap();
        drop(road);
        let judge = Connection::open(&database).unwrap();
        drop(gates);
        let (gates, road) = open(ground, &database, bug);
        let before = Records::read_from(&judge);
        let mut run = Self {
            ground,
            dice: Dice::new(seed),
            database,
            bug,
            gates,
            road: Some(road),
            judge,
            now: START,
            tokens: Vec::new(),
            held: Vec::new(),
            outside: Outside::default(),
            used: BTreeSet::new(),
            settled: BTreeSet::new(),
            before,
            callers: Vec::new(),
            next_caller: 1,
            report: Report::default(),
        };
        for bound in [None, None, Some(0)] {
            run.mint(bound).await;
        }
        run
    }

    async fn play(&mut self) -> Result<(), Findings> {
        for _ in 0..STEPS {
            self.report.steps += 1;
            match self.dice.below(100) {
                0..=1 => self.crash(),
                2..=4 => self.hang_up(),
                5..=7 => self.now = self.now.plus((self.dice.next() % 5_000).cast_signed()),
                8..=9 => {
                    let bound = self.dice.once_in(2).then(|| self.dice.below(HARDWARE));
                    self.mint(bound).await;
                }
                10..=39 if self.callers.len() < CALLERS => self.begin(),
                _ => self.step().await?,
            }
            self.judge()?;
        }
        self.settle_down().await
    }

    fn call(&mut self, what: String, future: impl Future<Output = Done> + Send + 'static) {
        let number = self.next_caller;
        self.next_caller += 1;
        self.note(format!("{number}: {what}"));
        self.callers.push(Caller {
            number,
            what,
            future: Box::pin(future),
        });
    }

    /// One caller goes on to its next gate or its end.
    async fn step(&mut self) -> Result<(), Findings> {
        if self.callers.is_empty() {
            return Ok(());
        }
        let at = self.dice.below(self.callers.len());
        self.advance(at).await
    }

    async fn advance(&mut self, at: usize) -> Result<(), Findings> {
        let number = self.callers[at].number;
        self.gates.let_pass(number);
        let (gates, caller) = (Arc::clone(&self.gates), &mut self.callers[at]);
        let done = poll_fn(|context| match caller.future.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if gates.at(number).is_some() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await;
        match done {
            None => {
                let gate = self.gates.at(number).unwrap();
                let moment = if gate.happened { "after" } else { "before" };
                self.note(format!("{number} {moment} {}", gate.call.name));
                if let ("enrollment_settle", true, Some(serial)) =
                    (gate.call.name, gate.happened, gate.call.serial)
                {
                    self.report.settled_twice += usize::from(!self.settled.insert(serial));
                }
                if gate.call.name == "sign" && !gate.happened {
                    return self.about_to_sign(&gate.call.message);
                }
            }
            Some(done) => {
                let caller = self.callers.remove(at);
                self.told(&caller, done);
            }
        }
        Ok(())
    }

    /// No signature without a prior intent.
    fn about_to_sign(&mut self, message: &[u8]) -> Result<(), Findings> {
        let digest = sha256(message);
        self.outside.signed.push(digest);
        let records = Records::read_from(&self.judge);
        if records
            .certificates
            .iter()
            .any(|row| row.to_be_signed == digest)
        {
            Ok(())
        } else {
            Err(vec![
                "something is about to be signed that is not on record".to_owned(),
            ])
        }
    }

    /// The caller has its answer.
    fn told(&mut self, caller: &Caller, done: Done) {
        let number = caller.number;
        let refused = match done {
            Done::Enrolled {
                key,
                hardware,
                question,
                outcome: Ok(enrolled),
            } => {
                let act = if caller.what.starts_with("renew") {
                    "renewed"
                } else {
                    "enrolled"
                };
                *self.report.acts.entry(act).or_default() += 1;
                self.held.push((key, enrolled.certificate.clone()));
                self.outside.told.push(Told {
                    hardware: named(hardware),
                    key: self.ground.keys[key].fingerprint(),
                    question,
                    certificate: enrolled.certificate,
                });
                self.note(format!("{number} {act}, again: {}", enrolled.again));
                None
            }
            Done::Verified(Ok(())) => {
                *self.report.acts.entry("verified").or_default() += 1;
                self.note(format!("{number} verified"));
                None
            }
            Done::Acted(act) => {
                *self.report.acts.entry(act).or_default() += 1;
                self.note(format!("{number} {act}"));
                None
            }
            Done::Enrolled {
                outcome: Err(refusal),
                ..
            }
            | Done::Verified(Err(refusal)) => Some(refusal.code.to_string()),
        };
        if let Some(code) = refused {
            self.note(format!("{number} refused: {code}"));
            *self.report.refusals.entry(code).or_default() += 1;
        }
    }

    /// A caller's connection breaks: whatever it asked may be done or not, and nobody is told.
    fn hang_up(&mut self) {
        if self.callers.is_empty() {
            return;
        }
        let at = self.dice.below(self.callers.len());
        let caller = self.callers.remove(at);
        self.gates.forget(caller.number);
        self.note(format!("{} is gone", caller.number));
        self.report.gone += 1;
    }

    /// The server dies where it stands and starts again.
    fn crash(&mut self) {
        self.report.crashes += 1;
        self.note("crash".to_owned());
        self.restart();
    }

    fn restart(&mut self) {
        self.callers.clear();
        // The road holds the ledger, which holds the file; the old one must be gone first.
        let old = self.road.take().and_then(Arc::into_inner);
        drop(old.expect("nobody else holds the road"));
        let (gates, road) = open(self.ground, &self.database, self.bug);
        (self.gates, self.road) = (gates, Some(road));
    }

    fn road(&self) -> Arc<Road> {
        Arc::clone(self.road.as_ref().expect("the server runs"))
    }

    async fn mint(&mut self, bound: Option<usize>) {
        let hardware = bound.map(|one| HardwareId::parse(&named(one)).unwrap());
        let order = TokenOrder {
            product: PRODUCT.to_owned(),
            hardware: hardware.into_iter().collect(),
            count: 1,
            ..TokenOrder::default()
        };
        let dice = Mutex::new(Dice::new(self.dice.next()));
        let chance = |bytes: &mut [u8]| dice.lock().unwrap().fill(bytes);
        let minted = self
            .road()
            .token_new(order, "sim", &chance, self.now)
            .await
            .unwrap()
            .remove(0);
        let number = self.tokens.len();
        self.note(format!("token {number} for {bound:?}"));
        self.tokens.push(Token {
            id: minted.id,
            text: minted.text.to_string(),
            bound,
        });
    }

    /// The judge looks at everything.
    fn judge(&mut self) -> Result<(), Findings> {
        let records = Records::read_from(&self.judge);
        if records == self.before {
            return Ok(());
        }
        let mut findings = checker::check(&records, &self.outside, &self.ground.issuing).all();
        findings.extend(check_change(&self.before, &records));
        for row in records
            .certificates
            .iter()
            .filter(|row| row.verified_at.is_some())
        {
            if !self.used.contains(row.serial.as_slice()) {
                let serial = hex::encode(row.serial);
                findings.push(format!("{serial} counts as used, and nobody has shown it"));
            }
        }
        self.before = records;
        if findings.is_empty() {
            Ok(())
        } else {
            Err(findings)
        }
    }

    fn note(&mut self, line: String) {
        self.report.trace.push(line);
    }
}

fn open(ground: &Ground, database: &std::path::Path, bug: Option<Bug>) -> (Arc<Gates>, Arc<Road>) {
    let ledger = Sqlite::open(database).unwrap();
    let spoiler = bug.map(|bug| Spoiler::new(bug, database));
    let gates = Arc::new(Gates::new(spoiler));
    let road = Registrar::new(
        Tapped::new(ledger, Arc::clone(&gates)),
        Tapped::new(ground.place.signer(), Arc::clone(&gates)),
        ground.authorities.clone(),
    );
    (gates, Arc::new(road))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn named(hardware: usize) -> String {
    format!("custom:{}", short_name(hardware))
}

fn short_name(hardware: usize) -> String {
    format!("sn-{hardware}")
}

fn origin() -> RequestOrigin {
    RequestOrigin {
        at: Ticks::default(),
        door: "est",
        address: "127.0.0.1".to_owned(),
    }
}

fn peer(certificate: &[u8]) -> PeerCertificate {
    PeerCertificate {
        der: certificate.to_vec(),
        parsed: Certificate::parse(certificate).ok(),
    }
}

const START: UnixTime = UnixTime(1_800_000_000);
const STEPS: usize = 160;
const HARDWARE: usize = 3;
/// One for each piece of hardware, and two that belong to nobody.
const KEYS: usize = 5;
/// So many want something at once.
const CALLERS: usize = 4;
