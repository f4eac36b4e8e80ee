//! One run: a seed, a few devices, everything that can happen to them, and the judge.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use imprint_attest::PeerCertificate;
use imprint_identity::{HardwareId, UnixTime};
use imprint_pkix::certificate::Certificate;
use imprint_registrar::enroll::{Channel, Kind};
use imprint_registrar::ledger::{DeviceAct, RequestOrigin, RevocationReason, TokenAct};
use imprint_registrar::tokens::TokenOrder;
use imprint_registrar::{
    Authorities, Enrolled, EnrollmentRequest, Ledger as _, Product, Refusal, Registrar, Serial,
    Shown,
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

type Road = Registrar<Tapped<Sqlite, Arc<Gates>>, Tapped<KeySigner, Arc<Gates>>>;

/// What runs share: keys and authorities take longer than a run.
pub(super) struct Ground {
    place: Place,
    authorities: Authorities,
    issuing: Certificate,
    keys: Vec<Arc<DeviceKey>>,
    _directory: tempfile::TempDir,
}

/// What a run has seen.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) steps: usize,
    pub(super) crashes: usize,
    pub(super) gone: usize,
    pub(super) settled_twice: usize,
    pub(super) refusals: BTreeMap<String, usize>,
    pub(super) acts: BTreeMap<&'static str, usize>,
    pub(super) trace: Vec<String>,
}

/// A promise that did not hold.
pub(super) struct Violation {
    pub(super) seed: u64,
    findings: Vec<String>,
    trace: Vec<String>,
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

    /// Somebody wants something.
    fn begin(&mut self) {
        match self.dice.below(100) {
            0..=44 => self.begin_enroll(),
            45..=61 => self.begin_verify(),
            62..=79 => self.begin_renew(),
            80..=87 => self.begin_token_act(),
            _ => self.begin_device_act(),
        }
    }

    fn begin_enroll(&mut self) {
        let token = self.dice.below(self.tokens.len());
        let hardware = match self.tokens[token].bound {
            Some(bound) if !self.dice.once_in(8) => bound,
            _ => self.dice.below(HARDWARE),
        };
        // Mostly its own key; sometimes another's, which is a thief or a cloned flash.
        let key = if self.dice.once_in(3) {
            self.dice.below(KEYS)
        } else {
            hardware
        };
        self.enroll(key, hardware, token);
    }

    fn enroll(&mut self, key: usize, hardware: usize, token: usize) {
        let Token { id, text, .. } = self.tokens[token].clone();
        let request = EnrollmentRequest {
            kind: Kind::Enroll,
            product: None,
            shown: Shown::Token {
                text: text.into(),
                hardware: Some(named(hardware)),
            },
            csr: self.ground.keys[key].csr("sim"),
            channel: Channel::Tls12,
            origin: origin(),
        };
        let what = format!("enroll hardware {hardware} key {key} token {token}");
        self.ask(what, request, key, hardware, id);
    }

    fn begin_renew(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (key, certificate) = self.dice.pick(&self.held).clone();
        let parsed = Certificate::parse(&certificate).unwrap();
        let records = Records::read_from(&self.judge);
        let Some(row) = records
            .certificates
            .iter()
            .find(|row| row.serial == parsed.serial())
        else {
            return;
        };
        let name = &records.device(row.device).hardware;
        let hardware = (0..HARDWARE).find(|&one| named(one) == *name).unwrap();
        let next = if self.dice.once_in(2) {
            key
        } else {
            self.dice.below(KEYS)
        };
        self.used.insert(parsed.serial().to_vec());
        let serial = hex::encode(parsed.serial());
        let request = EnrollmentRequest {
            kind: Kind::Reenroll,
            product: None,
            shown: Shown::Certificate(peer(&certificate)),
            csr: self.ground.keys[next].csr(&parsed.common_name().unwrap()),
            channel: Channel::Tls12,
            origin: origin(),
        };
        self.ask(
            format!("renew {serial} with key {next}"),
            request,
            next,
            hardware,
            serial,
        );
    }

    fn ask(
        &mut self,
        what: String,
        request: EnrollmentRequest,
        key: usize,
        hardware: usize,
        question: String,
    ) {
        let (road, now, seed) = (self.road(), self.now, self.dice.next());
        self.call(what, async move {
            let dice = Mutex::new(Dice::new(seed));
            let chance = |bytes: &mut [u8]| dice.lock().unwrap().fill(bytes);
            let outcome = road.enroll(request, &chance, now).await;
            Done::Enrolled {
                key,
                hardware,
                question,
                outcome,
            }
        });
    }

    fn begin_verify(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (_, certificate) = self.dice.pick(&self.held).clone();
        self.verify(&certificate);
    }

    fn verify(&mut self, certificate: &[u8]) {
        let peer = peer(certificate);
        let serial = peer.parsed.as_ref().unwrap().serial().to_vec();
        let what = format!("verify {}", hex::encode(&serial));
        self.used.insert(serial);
        let (road, now) = (self.road(), self.now);
        self.call(what, async move {
            Done::Verified(road.member(&peer, &origin(), now).await.map(|_| ()))
        });
    }

    fn begin_token_act(&mut self) {
        let token = self.dice.pick(&self.tokens).clone();
        let hardware = HardwareId::parse(&named(self.dice.below(HARDWARE))).unwrap();
        let (name, act) = match self.dice.below(8) {
            0 => ("token-revoked", TokenAct::Revoke),
            1 => (
                "token-rebound",
                TokenAct::Rebind {
                    hardware: Some(hardware),
                },
            ),
            _ => ("token-rebound", TokenAct::Rebind { hardware: None }),
        };
        let (road, now) = (self.road(), self.now);
        self.call(format!("{act:?} {}", token.id), async move {
            road.ledger()
                .token_act(&token.id, act, "sim", now)
                .await
                .unwrap();
            Done::Acted(name)
        });
    }

    fn begin_device_act(&mut self) {
        let device = format!("{PRODUCT}-{}", short_name(self.dice.below(HARDWARE)));
        let (name, act) = match self.dice.below(10) {
            0..=5 => ("device-released", DeviceAct::Release),
            6..=7 => (
                "device-quarantined",
                DeviceAct::Quarantine {
                    reason: "sim".to_owned(),
                },
            ),
            8 => {
                let reason = RevocationReason::KeyCompromise;
                (
                    "device-revoked",
                    DeviceAct::Revoke {
                        reason,
                        note: "sim".to_owned(),
                    },
                )
            }
            _ => (
                "device-decommissioned",
                DeviceAct::Decommission {
                    reason: "sim".to_owned(),
                },
            ),
        };
        let (road, now) = (self.road(), self.now);
        self.call(format!("{act:?} {device}"), async move {
            let device = device.parse().unwrap();
            road.ledger()
                .device_act(&device, act, "sim", now)
                .await
                .unwrap();
            Done::Acted(name)
        });
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

    /// The faults stop. Everybody comes to an end, and every token still serves whom it promised.
    async fn settle_down(&mut self) -> Result<(), Findings> {
        while !self.callers.is_empty() {
            self.advance(0).await?;
            self.judge()?;
        }
        self.restart();
        for token in 0..self.tokens.len() {
            self.token_serves(token).await?;
        }
        self.judge()
    }

    async fn token_serves(&mut self, token: usize) -> Result<(), Findings> {
        let records = Records::read_from(&self.judge);
        let row = records
            .tokens
            .iter()
            .find(|row| row.id == self.tokens[token].id)
            .unwrap();
        let (Some(key), Some(device), "leased" | "spent") =
            (row.lease_key, row.lease_device, row.state.as_str())
        else {
            return Ok(());
        };
        let device = records.device(device).clone();
        let of_holder = records.certificates.iter().rfind(|one| {
            one.state != "void"
                && one.request_key == key
                && one.generation[1..] == row.hash
                && one.generation[0] == 1
        });
        let key = self
            .ground
            .keys
            .iter()
            .position(|one| one.fingerprint() == key)
            .unwrap();
        let hardware = (0..HARDWARE)
            .find(|&one| named(one) == device.hardware)
            .unwrap();
        let told_before = self.outside.told.len();
        let refusals_before = self.report.refusals.clone();
        self.enroll(key, hardware, token);
        while !self.callers.is_empty() {
            self.advance(0).await?;
        }
        let answer = self
            .outside
            .told
            .get(told_before)
            .map(|told| told.certificate.clone());
        let holds = match (of_holder, &answer) {
            // A good certificate on record is the answer.
            (Some(one), Some(told)) if one.is_settled() && one.is_live() => {
                one.der.as_ref() == Some(told)
            }
            (Some(one), None) if one.is_settled() && one.is_live() => device.state != "active",
            // One that ended is named as such, or the device is.
            (Some(one), answer) if one.is_settled() => answer.is_none(),
            // Nothing is settled: it gets a certificate now, unless its device is out.
            (_, Some(_)) => true,
            (_, None) => {
                let out = matches!(
                    device.state.as_str(),
                    "quarantined" | "revoked" | "decommissioned"
                );
                let newly: Vec<_> = self
                    .report
                    .refusals
                    .iter()
                    .filter(|(code, count)| refusals_before.get(*code) != Some(*count))
                    .map(|(code, _)| code.as_str())
                    .collect();
                out || newly == ["device-exists"]
            }
        };
        if !holds {
            return Err(vec![format!(
                "burnt: token {token} ({}) does not serve its holder, device {} ({}), on record \
                 {:?}, told {}",
                row.state,
                device.name,
                device.state,
                of_holder.map(|one| one.state.clone()),
                answer.is_some()
            )]);
        }
        if let Some(certificate) = answer {
            self.verify(&certificate);
            while !self.callers.is_empty() {
                self.advance(0).await?;
            }
        }
        self.judge()
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

impl Report {
    pub(super) fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.crashes += other.crashes;
        self.gone += other.gone;
        self.settled_twice += other.settled_twice;
        for (code, count) in other.refusals {
            *self.refusals.entry(code).or_default() += count;
        }
        for (act, count) in other.acts {
            *self.acts.entry(act).or_default() += count;
        }
    }
}

impl Violation {
    pub(super) fn first(&self) -> &str {
        self.findings.first().map_or("", String::as_str)
    }
}

/// What is wrong, and how it came to that.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "IMPRINT_SEED={}", self.seed)?;
        self.trace
            .iter()
            .try_for_each(|line| writeln!(f, "    {line}"))?;
        self.findings
            .iter()
            .try_for_each(|finding| writeln!(f, "{finding}"))
    }
}

impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const START: UnixTime = UnixTime(1_800_000_000);
const STEPS: usize = 160;
const HARDWARE: usize = 3;
/// One for each piece of hardware, and two that belong to nobody.
const KEYS: usize = 5;
/// So many want something at once.
const CALLERS: usize = 4;
