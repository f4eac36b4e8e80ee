//! kill -9 of the server under load: nothing that a client was told is lost, nothing is there twice,
//! nothing was signed that nobody knows, no token is burnt.

mod fleet;
mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use imprint_pkix::certificate::Certificate;
use imprint_pkix::pem;
use imprint_registrar::tokens::TokenOrder;
use imprint_registrar::{Ledger as _, Product, Registrar};
use imprint_sim::chance::{self, Dice};
use imprint_sim::checker::{Outside, Records, check_change};
use imprint_sim::place::Place;
use imprint_sim::world::{PRODUCT, real_now};
use imprint_sim::{many, tools};

use crate::support::{assert_clean, judge_at, seconds};
use fleet::Fleet;
use server::Server;

/// The gaps of an enrollment, and two of VERIFY; `sim-server` says what each means.
const GAPS: [&str; 6] = ["intend", "sign", "settle", "reply", "verify", "spent"];

/// `sim-server` is the real server with the real parts; it stops one request exactly where it is
/// told to, and is killed there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_in_any_gap_loses_and_doubles_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::make(directory.path(), real_now()).await;
    let kills = many(24, 204);
    let tokens = mint(&place, kills * 200).await;
    let subject = Subject {
        what: "sim-server",
        database: place.database(),
        issuing: place.issuing(),
        fleet: Fleet::start(&place.root_der(), tokens),
    };
    let command = |gap: Option<(&str, usize)>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sim-server"));
        command.arg(place.path());
        if let Some((gap, count)) = gap {
            command.args([gap, &count.to_string()]);
        }
        command
    };
    let counted = subject.kill_and_judge(kills, &GAPS, command).await;
    for gap in GAPS {
        assert!(counted.contains_key(gap), "no kill in {gap}: {counted:?}");
    }
}

/// The same with the binary that users run, wherever it happens to be. What the kill cut off is read
/// from the ledger afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imprint_serve_killed_at_any_moment_loses_and_doubles_nothing() {
    let binary = tools::imprint();
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().join("fleet");
    let imprint = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        command.env("IMPRINT_DIR", &dir).args(arguments);
        command
    };
    let any_port = "127.0.0.1:0";
    run(imprint(&[
        "init",
        "--for-tests",
        "--host",
        "127.0.0.1",
        "--https",
        any_port,
        "--http",
        any_port,
        "--mqtts",
        any_port,
        "--admin",
        any_port,
    ]));
    let fleet_file = directory.path().join("fleet.toml");
    std::fs::write(&fleet_file, format!("[[product]]\nname = \"{PRODUCT}\"\n")).unwrap();
    run(imprint(&["apply", &fleet_file.to_string_lossy()]));
    let kills = many(20, 200);
    let count = (kills * 200).to_string();
    let tokens = run(imprint(&[
        "token",
        "new",
        "--product",
        PRODUCT,
        "--count",
        &count,
    ]));
    let tokens = tokens.lines().map(str::to_owned).collect();
    let root = certificate(&dir.join("ca/root.pem"));
    let subject = Subject {
        what: "imprint serve",
        database: dir.join("ledger.db"),
        issuing: certificate(&dir.join("ca/issuing.pem")),
        fleet: Fleet::start(root.der(), tokens),
    };
    subject
        .kill_and_judge(kills, &[], |_| imprint(&["serve"]))
        .await;
}

/// What is killed, and who suffers from it.
struct Subject {
    what: &'static str,
    database: PathBuf,
    issuing: Certificate,
    fleet: Fleet,
}

impl Subject {
    /// Four of five kills are in a gap, if there are gaps to choose from; the others wherever the
    /// server is. Answers how many there were of each.
    async fn kill_and_judge(
        self,
        kills: usize,
        gaps: &[&'static str],
        command: impl Fn(Option<(&str, usize)>) -> Command,
    ) -> BTreeMap<String, usize> {
        let started = Instant::now();
        let seed = chance::seed();
        println!("IMPRINT_SEED={seed}");
        let mut dice = Dice::new(seed);
        let mut counted: BTreeMap<String, usize> = BTreeMap::new();
        let mut before = Records::read(&self.database);
        let mut starts = Vec::new();
        let mut cut_off = CutOff::default();
        let mut kill = 0;
        // Chance may need a few more until it has hit every kind of gap.
        while kill < kills || (!cut_off.is_everywhere() && kill < 4 * kills) {
            let chosen = !gaps.is_empty() && kill % 5 != 4;
            let gap = chosen.then(|| gaps[(kill - kill / 5) % gaps.len()]);
            let up = Instant::now();
            let server = Server::start(command(gap.map(|gap| (gap, 1 + dice.below(6)))));
            starts.push(up.elapsed());
            self.fleet.at.send_replace(Some(server.address));
            if let Some(gap) = gap {
                server.wait_for(&format!("at {gap}"));
            } else {
                let pause = Duration::from_micros(20_000 + dice.next() % 300_000);
                tokio::time::sleep(pause).await;
            }
            server.kill();
            self.fleet.at.send_replace(None);
            *counted
                .entry(gap.unwrap_or("anywhere").to_owned())
                .or_default() += 1;

            // What is on record now is what the next server starts from.
            let outside = self.fleet.outside.lock().unwrap().clone();
            let (after, findings) = judge_at(&self.database, &self.issuing, &outside);
            assert_clean(&format!("after kill {kill}, seed {seed}"), &findings);
            let backwards = check_change(&before, &after);
            assert!(
                backwards.is_empty(),
                "after kill {kill}, seed {seed}: {backwards:?}"
            );
            cut_off.add(&after, &outside);
            before = after;
            kill += 1;
        }

        // When the faults stop, everything converges.
        let server = Server::start(command(None));
        self.fleet.at.send_replace(Some(server.address));
        let (outside, retried) = self.fleet.finish().await;
        let (records, findings) = judge_at(&self.database, &self.issuing, &outside);
        server.kill();
        starts.sort();
        println!(
            "S4 kill -9 of {}: {kill} kills, by gap {counted:?}; found afterwards: {cut_off}; {} \
             devices, {} answers, {retried} of them after a retry; start p50 {} ms, worst {} ms; \
             {}; {}",
            self.what,
            records.devices.len(),
            outside.told.len(),
            starts[starts.len() / 2].as_millis(),
            starts[starts.len() - 1].as_millis(),
            findings.to_string().lines().next().unwrap(),
            seconds(started)
        );
        assert_clean("at the end", &findings);
        assert!(retried > 0, "no client noticed anything");
        assert!(cut_off.is_everywhere(), "the kills missed a gap: {cut_off}");
        for told in &outside.told {
            let states: Vec<_> = records
                .tokens_of(&told.hardware)
                .iter()
                .map(|token| token.state.clone())
                .collect();
            assert_eq!(
                states,
                ["spent"],
                "{}: its token is stranded",
                told.hardware
            );
            assert_eq!(
                records.certificates_of(&told.hardware).len(),
                1,
                "{}",
                told.hardware
            );
        }
        counted
    }
}

/// What the kills have cut off, as the ledger has it: summed over all of them.
#[derive(Default)]
struct CutOff {
    unsigned: usize,
    untold: usize,
    unproven: usize,
}

impl CutOff {
    const fn is_everywhere(&self) -> bool {
        self.unsigned > 0 && self.untold > 0 && self.unproven > 0
    }

    fn add(&mut self, records: &Records, outside: &Outside) {
        let told = |der: &Vec<u8>| outside.told.iter().any(|told| told.certificate == *der);
        for row in &records.certificates {
            match &row.der {
                None => self.unsigned += 1,
                Some(der) if row.verified_at.is_none() && told(der) => self.unproven += 1,
                Some(der) if row.verified_at.is_none() => self.untold += 1,
                Some(_) => {}
            }
        }
    }
}

impl std::fmt::Display for CutOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            unsigned,
            untold,
            unproven,
        } = self;
        write!(
            f,
            "{unsigned} intended and not settled, {untold} settled and not told, "
        )?;
        write!(f, "{unproven} told and not verified")
    }
}

async fn mint(place: &Place, count: usize) -> Vec<String> {
    let road = Registrar::new(place.ledger(), place.signer(), place.authorities());
    let products = vec![Product::named(PRODUCT)];
    road.ledger()
        .product_apply(products, "sim", real_now())
        .await
        .unwrap();
    let order = TokenOrder {
        product: PRODUCT.to_owned(),
        count: u32::try_from(count).unwrap(),
        ..TokenOrder::default()
    };
    let minted = road
        .token_new(order, "sim", &*chance::real(), real_now())
        .await
        .unwrap();
    minted
        .into_iter()
        .map(|token| token.text.to_string())
        .collect()
}

/// Runs a command to its end; what it printed.
fn run(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn certificate(file: &Path) -> Certificate {
    let text = std::fs::read_to_string(file).unwrap();
    Certificate::parse(&pem::decode("CERTIFICATE", &text).unwrap()[0]).unwrap()
}
