//! `imprint bench storm`: a crowd switches on behind one address, at a product with a pace.
//!
//! The devices are the agent's own code with files on a disk and real waits, by token over HTTPS or by
//! claim over MQTT; the server is a process of its own, and its log says what it granted when. Members
//! renew meanwhile, one after the other, and should not notice.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::iter;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use imprint_agent::device::{Action, Event, Record, Settings as Patience};
use imprint_agent::{
    Agent, Claim, Door, End, Endpoint, KeyAlgorithm, Observer, Roots, Settings, Suites,
    Surroundings, Timeouts,
};
use imprint_est::Secret;
use imprint_identity::HardwareId;
use imprint_registrar::Product;
use imprint_registrar::product::ProductLimits;
use serde::Serialize;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::cli::BenchStorm;
use crate::directory::Directory;
use crate::world;

use super::child::{Addresses, Child};
use super::granted::{Grant, Granted, busiest_second};
use super::load::{Device, Load};
use super::report::percentile;
use super::{PRODUCT, claim, place, prepare};

pub(crate) async fn run(order: &BenchStorm, json: bool) -> anyhow::Result<ExitCode> {
    let place = place(order.at.as_deref())?;
    let directory = Directory::new(&place.path().join("server"));
    let mut crowd = Product::named(CROWD);
    crowd.limits = ProductLimits {
        enrollments_per_second: order.rate,
        burst: (order.rate / 10).max(1),
    };
    let tokens = if order.claims { 0 } else { order.devices };
    let products = [(Product::named(PRODUCT), MEMBERS), (crowd, tokens)];
    let mut tokens = prepare(&directory, products).await?.into_iter();
    let (members, newcomers) = (tokens.next(), tokens.next().unwrap_or_default());
    let crowd = Crowd::gather(order, &directory, newcomers).await?;
    let (child, addresses) = Child::start(&directory)?;

    // 1. Members, and how long a renewal takes them in peace.
    let load = Arc::new(Load::new(&directory, addresses.https.clone())?);
    let members = members.unwrap_or_default().into_iter().enumerate();
    let members = members.map(|(at, token)| Device::new(at, &token)).collect();
    let (members, _) = load.enroll(members, 8).await?;
    let members = load.verify(members, 8).await?;
    let (members, peace) = load.renew(members, 1).await?;

    // 2. The crowd, and renewals meanwhile.
    let over = Arc::new(AtomicBool::new(false));
    let meanwhile = tokio::spawn(renewing(Arc::clone(&load), members, Arc::clone(&over)));
    let states = place.path().join("devices");
    let outcome = storm(order, &directory, &addresses, &states, crowd).await?;
    over.store(true, Ordering::Relaxed);
    let renewals = meanwhile.await??;

    let peak_mib = child.peak_mib()?;
    let lines = child.stop()?.grants;
    let granted = lines.iter().filter_map(|line| Granted::read(line, CROWD));
    let granted: Vec<_> = granted.collect();
    let report = Report::new(order, &outcome, &granted, &peace, &renewals, peak_mib);
    println!(
        "{}",
        if json {
            serde_json::to_string_pretty(&report)?
        } else {
            report.to_string()
        }
    );
    Ok(if report.faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The newcomers: who each of them is, and what it shows.
struct Crowd {
    devices: Vec<(HardwareId, Option<String>)>,
    /// The claim's certificate and key, PEM.
    claim: Option<(String, Zeroizing<String>)>,
}

impl Crowd {
    async fn gather(
        order: &BenchStorm,
        directory: &Directory,
        tokens: Vec<String>,
    ) -> anyhow::Result<Self> {
        let ids = (0..order.devices).map(|at| HardwareId::parse(&format!("custom:crowd-{at}")));
        let ids: Vec<_> = ids.collect::<Result<_, _>>()?;
        let claim = if order.claims {
            Some(claim(directory, CROWD, &ids).await?)
        } else {
            None
        };
        let tokens = tokens.into_iter().map(Some).chain(iter::repeat(None));
        Ok(Self {
            devices: ids.into_iter().zip(tokens).collect(),
            claim,
        })
    }

    fn door(&self, broker: &Endpoint) -> Door {
        let Some((chain, key)) = &self.claim else {
            return Door::Token;
        };
        Door::Claim(Claim {
            broker: broker.clone(),
            template: None,
            parameters: BTreeMap::new(),
            chain_pem: chain.clone(),
            key_pem: Secret::new(key.as_bytes().to_vec()),
        })
    }
}

/// What became of the crowd.
struct Outcome {
    provisioned: usize,
    quarantined: usize,
    /// Why devices ended for a reason of their own, such as their disk, for good.
    broken: Vec<String>,
    /// The same where they were started again.
    restarts: Vec<String>,
    /// When first certificates arrived, since the first device switched on; by claim they are good for
    /// nothing yet.
    certified: Vec<Duration>,
    /// By claim: when registrations arrived.
    registered: Vec<Duration>,
    last: Duration,
}

async fn storm(
    order: &BenchStorm,
    directory: &Directory,
    addresses: &Addresses,
    states: &Path,
    crowd: Crowd,
) -> anyhow::Result<Outcome> {
    let roots = Arc::new(Roots::read(&directory.root_certificate())?);
    let server: Endpoint = format!("https://{}", by_name(&addresses.https)).parse()?;
    let door = crowd.door(&Endpoint::mqtts(&by_name(&addresses.mqtts))?);
    let (tell, mut told) = mpsc::unbounded_channel();
    let began = Instant::now();
    let step = Duration::from_millis(order.within.into()) / order.devices;
    // Devices wait for their disks, and each has a processor of its own: here they share many threads,
    // leave those of the members alone, and make way for the server. Without that it got a fifth of a
    // processor, and the run was about the machine that simulates the devices.
    make_way();
    let threads = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()?;
    let mut running = JoinSet::new();
    for (at, (hardware, token)) in (0_u32..).zip(crowd.devices) {
        let settings = Settings {
            state: states.join(at.to_string()),
            server: server.clone(),
            roots: Arc::clone(&roots),
            product: Some(CROWD.to_owned()),
            hardware,
            token: token.map(|token| Secret::new(token.into_bytes())),
            key: KeyAlgorithm::P256,
            rekey: false,
            patience: Patience::new(world::now().plus(-86_400)),
            door: door.clone(),
            wait_divisor: 1,
            timeouts: Timeouts::default(),
            suites: Suites::All,
        };
        let watch = Watch {
            began,
            tell: tell.clone(),
            told: Arc::default(),
        };
        let on = began + step * at;
        let device = async move {
            tokio::time::sleep_until(on).await;
            live(settings, watch).await
        };
        running.spawn_on(device, threads.handle());
    }
    drop(tell);
    let (mut provisioned, mut quarantined) = (0, 0);
    let (mut broken, mut restarts) = (Vec::new(), Vec::new());
    while let Some(ended) = running.join_next().await {
        let (end, restarted) = ended?;
        restarts.extend(restarted);
        match end {
            Ok(true) => provisioned += 1,
            Ok(false) => quarantined += 1,
            Err(error) => broken.push(error),
        }
    }
    let last = began.elapsed();
    threads.shutdown_background();
    let (mut certified, mut registered) = (Vec::new(), Vec::new());
    while let Some((grant, at)) = told.recv().await {
        match grant {
            Grant::Certificate => certified.push(at),
            Grant::Registration => registered.push(at),
        }
    }
    Ok(Outcome {
        provisioned,
        quarantined,
        broken,
        restarts,
        certified,
        registered,
        last,
    })
}

/// Lowers the priority of this thread and of those that it makes.
fn make_way() {
    let own = std::process::id().to_string();
    // Where there is no such program the devices are merely in the way.
    let _ = Command::new("renice")
        .args(["-n", "15", "-p", &own])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// One device, until it rests; `true`, as a member. What it can't help, such as a disk that is full for a
/// moment, ends it, and it is started again where it stood, as a service is. Says why each time.
async fn live(settings: Settings, watch: Watch) -> (Result<bool, String>, Vec<String>) {
    let mut restarts = Vec::new();
    loop {
        let surroundings = Surroundings {
            clock: Box::new(|| Some(world::now())),
            chance: Box::new(random),
        };
        let once = async {
            let agent = Agent::open(settings.clone(), surroundings, Box::new(watch.clone()))?;
            agent.join(Event::PowerOn).await
        };
        match once.await {
            Ok(end) => return (Ok(matches!(end, End::Member(_))), restarts),
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                if restarts.len() >= MOST_RESTARTS {
                    return (Err(error), restarts);
                }
                restarts.push(error);
                tokio::time::sleep(BEFORE_RESTART).await;
            }
        }
    }
}

/// The server's certificate is for localhost.
fn by_name(address: &str) -> String {
    let port = address.rsplit(':').next().unwrap_or_default();
    format!("localhost:{port}")
}

/// Notes when its device has been granted what it asked for, the first time each.
#[derive(Clone)]
struct Watch {
    began: Instant,
    tell: mpsc::UnboundedSender<(Grant, Duration)>,
    told: Arc<Mutex<Vec<Grant>>>,
}

impl Observer for Watch {
    fn step(&mut self, _: &Record, event: &Event, _: &Action) {
        let grant = match event {
            Event::Enrolled => Grant::Certificate,
            Event::Registered => Grant::Registration,
            _ => return,
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.contains(&grant) {
            told.push(grant);
            let _ = self.tell.send((grant, self.began.elapsed()));
        }
    }
}

/// Renewals in a storm.
#[derive(Default)]
struct Renewals {
    took: Vec<Duration>,
    /// Why attempts failed.
    failed: Vec<String>,
}

/// One renewal after the other, until the storm is over. A member that was not served asks again, as
/// it would in the field: that is told as a fault, and the run goes on.
async fn renewing(
    load: Arc<Load>,
    members: Vec<Device>,
    over: Arc<AtomicBool>,
) -> anyhow::Result<Renewals> {
    let mut members = VecDeque::from(members);
    let mut renewals = Renewals::default();
    while !over.load(Ordering::Relaxed) {
        let mut next = members.pop_front().context("there are members")?;
        let began = Instant::now();
        while let Err(error) = load.renew_once(&mut next).await {
            renewals.failed.push(format!("{error:#}"));
            if over.load(Ordering::Relaxed) {
                return Ok(renewals);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        renewals.took.push(began.elapsed());
        members.push_back(next);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(renewals)
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    world::chance(&mut bytes);
    u32::from_le_bytes(bytes)
}

/// What one storm says.
#[derive(Debug, Serialize)]
struct Report {
    devices: u32,
    rate: u32,
    provisioned: usize,
    quarantined: usize,
    by: &'static str,
    /// Certificates; by claim they are good for nothing yet.
    certificates: Busiest,
    /// By claim.
    registrations: Busiest,
    all_after_s: f64,
    /// Devices that ended for a reason of their own and were started again.
    restarts: usize,
    restarted_because: Option<String>,
    renewals: usize,
    renewals_failed: usize,
    renewal_p50_ms: f64,
    renewal_p99_ms: f64,
    renewal_in_peace_p50_ms: f64,
    renewal_in_peace_p99_ms: f64,
    server_peak_mib: f64,
    faults: Vec<String>,
}

/// How many there were, and how many in the busiest second, by three clocks.
#[derive(Debug, Clone, Copy, Serialize)]
struct Busiest {
    granted: usize,
    /// When the server let them in: what the pace is about, and what is judged.
    let_in: usize,
    /// When the server had the answer ready.
    handed_over: usize,
    /// When the devices had it.
    arrived: usize,
}

impl Busiest {
    fn of(what: Grant, granted: &[Granted], arrived: &[Duration]) -> Self {
        let granted = || granted.iter().filter(|granted| granted.what == what);
        Self {
            granted: granted().count(),
            let_in: busiest_second(granted().map(|granted| granted.let_in).collect()),
            handed_over: busiest_second(granted().map(|granted| granted.handed_over).collect()),
            arrived: busiest_second(arrived.to_vec()),
        }
    }
}

impl Report {
    fn new(
        order: &BenchStorm,
        outcome: &Outcome,
        granted: &[Granted],
        peace: &[Duration],
        renewals: &Renewals,
        server_peak_mib: f64,
    ) -> Self {
        let sorted = |times: &[Duration]| {
            let mut times = times.to_vec();
            times.sort();
            times
        };
        let (peace, storm) = (sorted(peace), sorted(&renewals.took));
        let certificates = Busiest::of(Grant::Certificate, granted, &outcome.certified);
        let registrations = Busiest::of(Grant::Registration, granted, &outcome.registered);
        let all_after_s = outcome.last.as_secs_f64();
        let must = f64::from(order.devices) / f64::from(order.rate);
        let busiest = certificates.let_in.max(registrations.let_in);
        let devices = order.devices as usize;
        let lost = |what: &Busiest| what.granted < devices;
        let checks = [
            (
                outcome.provisioned != devices,
                format!("{} of {devices} PROVISIONED", outcome.provisioned),
            ),
            (
                !outcome.broken.is_empty(),
                format!(
                    "{} devices broke, the first: {}",
                    outcome.broken.len(),
                    outcome.broken.first().map_or("", String::as_str)
                ),
            ),
            (
                lost(&certificates) || (order.claims && lost(&registrations)),
                "the server's log tells of fewer grants than there are devices".to_owned(),
            ),
            (
                busiest > (order.rate + order.rate / 5) as usize,
                format!(
                    "{busiest} let in within one second, at a pace of {}",
                    order.rate
                ),
            ),
            (
                all_after_s > must * 1.2 + 1.2,
                format!("{all_after_s:.1} s, where {must:.1} s would do"),
            ),
            (
                !renewals.failed.is_empty(),
                format!(
                    "{} renewals had to be asked for again, the first: {}",
                    renewals.failed.len(),
                    renewals.failed.first().map_or("", String::as_str)
                ),
            ),
            (
                server_peak_mib > 256.0,
                format!("the server took {server_peak_mib:.0} MiB"),
            ),
        ];
        Self {
            devices: order.devices,
            rate: order.rate,
            provisioned: outcome.provisioned,
            quarantined: outcome.quarantined,
            by: if order.claims { "claim" } else { "token" },
            certificates,
            registrations,
            all_after_s,
            restarts: outcome.restarts.len(),
            restarted_because: outcome.restarts.first().cloned(),
            renewals: storm.len(),
            renewals_failed: renewals.failed.len(),
            renewal_p50_ms: percentile(&storm, 50),
            renewal_p99_ms: percentile(&storm, 99),
            renewal_in_peace_p50_ms: percentile(&peace, 50),
            renewal_in_peace_p99_ms: percentile(&peace, 99),
            server_peak_mib,
            faults: checks
                .into_iter()
                .filter_map(|(wrong, what)| wrong.then_some(what))
                .collect(),
        }
    }
}

impl fmt::Display for Busiest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} let in, {} handed over, {} arrived (of {})",
            self.let_in, self.handed_over, self.arrived, self.granted
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} devices by {} at {} a second, one address: {} PROVISIONED, {} in QUARANTINE, the \
             last after {:.1} s",
            self.devices, self.by, self.rate, self.provisioned, self.quarantined, self.all_after_s
        )?;
        writeln!(f, "busiest second   certificates: {}", self.certificates)?;
        if self.registrations.granted > 0 {
            writeln!(f, "                 registrations: {}", self.registrations)?;
        }
        writeln!(
            f,
            "renewals         p50 {:.1} ms, p99 {:.1} ms of {} (in peace {:.1} and {:.1} ms)",
            self.renewal_p50_ms,
            self.renewal_p99_ms,
            self.renewals,
            self.renewal_in_peace_p50_ms,
            self.renewal_in_peace_p99_ms
        )?;
        write!(
            f,
            "server memory    {:.0} MiB at most",
            self.server_peak_mib
        )?;
        if let Some(why) = &self.restarted_because {
            write!(
                f,
                "\nrestarts         {} of devices, the first: {why}",
                self.restarts
            )?;
        }
        for fault in &self.faults {
            write!(f, "\nFAULT            {fault}")?;
        }
        Ok(())
    }
}

const CROWD: &str = "crowd";
const THREADS: usize = 64;
/// The devices share one process, and its open files: some 20,000 for 10,000 of them.
const MOST_RESTARTS: usize = 20;
const BEFORE_RESTART: Duration = Duration::from_secs(2);
/// A device may renew 24 times an hour: enough of them for some minutes.
const MEMBERS: u32 = 200;
