//! `imprint bench storm`: a crowd switches on behind one address, at a product with a pace.
//!
//! The devices are the agent's own code with files on a disk and real waits; the server is a process
//! of its own. Members renew meanwhile, one after the other, and should not notice.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use imprint_agent::device::{Action, Event, Record, Settings as Patience};
use imprint_agent::{
    Agent, End, Endpoint, KeyAlgorithm, Observer, Roots, Settings, Suites, Surroundings, Timeouts,
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

use crate::cli::BenchStorm;
use crate::directory::Directory;
use crate::world;

use super::child::Child;
use super::load::{Device, Load};
use super::report::percentile;
use super::{PRODUCT, place, prepare};

pub(crate) async fn run(order: &BenchStorm, json: bool) -> anyhow::Result<ExitCode> {
    let place = place(order.at.as_deref())?;
    let directory = Directory::new(&place.path().join("server"));
    let mut crowd = Product::named(CROWD);
    crowd.limits = ProductLimits {
        enrollments_per_second: order.rate,
        burst: (order.rate / 10).max(1),
    };
    let products = [(Product::named(PRODUCT), MEMBERS), (crowd, order.devices)];
    let mut tokens = prepare(&directory, products).await?.into_iter();
    let (members, newcomers) = (tokens.next(), tokens.next());
    let (child, address) = Child::start(&directory)?;

    // 1. Members, and how long a renewal takes them in peace.
    let load = Arc::new(Load::new(&directory, address.clone())?);
    let members = members.unwrap_or_default().into_iter().enumerate();
    let members = members.map(|(at, token)| Device::new(at, &token)).collect();
    let (members, _) = load.enroll(members, 8).await?;
    let members = load.verify(members, 8).await?;
    let (members, peace) = load.renew(members, 1).await?;

    // 2. The crowd, and renewals meanwhile.
    let over = Arc::new(AtomicBool::new(false));
    let meanwhile = tokio::spawn(renewing(Arc::clone(&load), members, Arc::clone(&over)));
    let states = place.path().join("devices");
    let outcome = storm(
        order,
        &directory,
        &address,
        &states,
        newcomers.unwrap_or_default(),
    )
    .await?;
    over.store(true, Ordering::Relaxed);
    let storm_renewals = meanwhile.await??;

    let report = Report::new(order, &outcome, &peace, &storm_renewals, child.peak_mib()?);
    child.stop()?;
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

/// What became of the crowd, in time since its first device switched on.
struct Outcome {
    provisioned: usize,
    quarantined: usize,
    certified: Vec<Duration>,
    last: Duration,
}

async fn storm(
    order: &BenchStorm,
    directory: &Directory,
    address: &str,
    states: &Path,
    tokens: Vec<String>,
) -> anyhow::Result<Outcome> {
    let roots = Arc::new(Roots::read(&directory.root_certificate())?);
    // The server's certificate is for localhost.
    let port = address.rsplit(':').next().unwrap_or_default();
    let server: Endpoint = format!("https://localhost:{port}").parse()?;
    let (tell, mut told) = mpsc::unbounded_channel();
    let began = Instant::now();
    let step = Duration::from_millis(order.within.into()) / order.devices;
    // Devices wait for their disks, and each has a processor of its own: here they share many threads,
    // and leave those of the members alone.
    let threads = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()?;
    let mut running = JoinSet::new();
    for (at, token) in (0_u32..).zip(tokens) {
        let settings = Settings {
            state: states.join(at.to_string()),
            server: server.clone(),
            roots: Arc::clone(&roots),
            product: Some(CROWD.to_owned()),
            hardware: HardwareId::parse(&format!("custom:crowd-{at}"))?,
            token: Some(Secret::new(token.into_bytes())),
            key: KeyAlgorithm::P256,
            rekey: false,
            patience: Patience::new(world::now().plus(-86_400)),
            door: imprint_agent::Door::Token,
            wait_divisor: 1,
            timeouts: Timeouts::default(),
            suites: Suites::All,
        };
        let watch = Watch {
            began,
            tell: tell.clone(),
            certified: false,
        };
        let on = began + step * at;
        let device = async move {
            tokio::time::sleep_until(on).await;
            let surroundings = Surroundings {
                clock: Box::new(|| Some(world::now())),
                chance: Box::new(random),
            };
            let agent = Agent::open(settings, surroundings, Box::new(watch))?;
            let end = agent.join(Event::PowerOn).await?;
            anyhow::Ok(matches!(end, End::Member(_)))
        };
        running.spawn_on(device, threads.handle());
    }
    drop(tell);
    let (mut provisioned, mut quarantined) = (0, 0);
    while let Some(ended) = running.join_next().await {
        if ended?? {
            provisioned += 1;
        } else {
            quarantined += 1;
        }
    }
    let last = began.elapsed();
    threads.shutdown_background();
    let mut certified = Vec::new();
    while let Some(at) = told.recv().await {
        certified.push(at);
    }
    certified.sort();
    Ok(Outcome {
        provisioned,
        quarantined,
        certified,
        last,
    })
}

/// Notes when its device has been given its certificate.
struct Watch {
    began: Instant,
    tell: mpsc::UnboundedSender<Duration>,
    certified: bool,
}

impl Observer for Watch {
    fn step(&mut self, _: &Record, _: &Event, action: &Action) {
        let has_one = matches!(
            action,
            Action::FetchProfile | Action::StoreCredential { .. }
        );
        if has_one && !self.certified {
            self.certified = true;
            let _ = self.tell.send(self.began.elapsed());
        }
    }
}

/// One renewal after the other, until the storm is over.
async fn renewing(
    load: Arc<Load>,
    mut members: Vec<Device>,
    over: Arc<AtomicBool>,
) -> anyhow::Result<Vec<Duration>> {
    let mut took = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let next = members.pop().context("there are members")?;
        let (back, latency) = load.renew(vec![next], 1).await?;
        members.splice(0..0, back);
        took.extend(latency);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(took)
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
    /// Certificates that arrived within the busiest second.
    busiest_second: usize,
    all_after_s: f64,
    renewals: usize,
    renewal_p50_ms: f64,
    renewal_p99_ms: f64,
    renewal_in_peace_p50_ms: f64,
    renewal_in_peace_p99_ms: f64,
    server_peak_mib: f64,
    faults: Vec<String>,
}

impl Report {
    fn new(
        order: &BenchStorm,
        outcome: &Outcome,
        peace: &[Duration],
        storm: &[Duration],
        server_peak_mib: f64,
    ) -> Self {
        let sorted = |times: &[Duration]| {
            let mut times = times.to_vec();
            times.sort();
            times
        };
        let (peace, storm) = (sorted(peace), sorted(storm));
        let busiest_second = busiest_second(&outcome.certified);
        let all_after_s = outcome.last.as_secs_f64();
        let must = f64::from(order.devices) / f64::from(order.rate);
        let checks = [
            (
                outcome.provisioned != order.devices as usize,
                format!("{} of {} PROVISIONED", outcome.provisioned, order.devices),
            ),
            (
                busiest_second > (order.rate + order.rate / 5) as usize,
                format!(
                    "{busiest_second} in one second, at a pace of {}",
                    order.rate
                ),
            ),
            (
                all_after_s > must * 1.2 + 1.2,
                format!("{all_after_s:.1} s, where {must:.1} s would do"),
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
            busiest_second,
            all_after_s,
            renewals: storm.len(),
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

/// The most of these sorted moments that lie within one second.
fn busiest_second(moments: &[Duration]) -> usize {
    let mut most = 0;
    let mut from = moments.iter().peekable();
    let mut open = 0;
    for moment in moments {
        open += 1;
        while from
            .next_if(|&&first| first + Duration::from_secs(1) <= *moment)
            .is_some()
        {
            open -= 1;
        }
        most = most.max(open);
    }
    most
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} devices at {} a second, one address: {} PROVISIONED, {} in QUARANTINE, the last \
             after {:.1} s",
            self.devices, self.rate, self.provisioned, self.quarantined, self.all_after_s
        )?;
        writeln!(f, "busiest second   {} certificates", self.busiest_second)?;
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
        for fault in &self.faults {
            write!(f, "\nFAULT            {fault}")?;
        }
        Ok(())
    }
}

const CROWD: &str = "crowd";
const THREADS: usize = 64;
/// A device may renew 24 times an hour: enough of them for some minutes.
const MEMBERS: u32 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_second_is_found_wherever_it_begins() {
        let at = |moments: &[u64]| -> Vec<Duration> {
            moments.iter().copied().map(Duration::from_millis).collect()
        };
        assert_eq!(busiest_second(&at(&[])), 0);
        assert_eq!(busiest_second(&at(&[0, 999, 1_000])), 2);
        assert_eq!(busiest_second(&at(&[0, 700, 1_200, 1_600, 2_500])), 3);
    }
}
