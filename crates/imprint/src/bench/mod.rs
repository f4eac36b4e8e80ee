//! `imprint bench enroll`: what one cold enrollment costs the server, beside what its cryptography,
//! system calls and durable rows alone cost on this machine in the same minutes.
//!
//! The server is a process of its own, so that its CPU time is measured alone; this process is the
//! devices. Microseconds drift with the host by a third, so figures are given in **V**: one P-256
//! verification, measured before and after the run.

mod calibrate;
mod child;
mod granted;
mod load;
mod report;
mod storm;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use imprint_identity::HardwareId;
use imprint_pkix::pem;
use imprint_registrar::claims::definition::Claim;
use imprint_registrar::ledger::Definitions;
use imprint_registrar::tokens::TokenOrder;
use imprint_registrar::{Ledger as _, Product};
use zeroize::Zeroizing;

use crate::cli::{Bench, BenchEnroll, Cli, Command};
use crate::directory::Directory;
use crate::open::open;
use crate::world;

use calibrate::Calibration;
use child::Child;
use load::{Device, Load};
use report::Report;

pub(crate) async fn run(order: &Bench, json: bool) -> anyhow::Result<ExitCode> {
    match order {
        Bench::Enroll(order) => enroll(order, json).await,
        Bench::Storm(order) => storm::run(order, json).await,
    }
}

async fn enroll(order: &BenchEnroll, json: bool) -> anyhow::Result<ExitCode> {
    let place = place(order.at.as_deref())?;
    let directory = Directory::new(&place.path().join("server"));

    // 1. A server's directory with a product and a token for each device.
    let warm_up = order.count / 10 + 64;
    let products = [(Product::named(PRODUCT), order.count + warm_up)];
    let tokens = prepare(&directory, products).await?.remove(0);

    // 2. Keys and requests, made beforehand: their cost is the devices'.
    let mut devices: Vec<_> = tokens
        .into_iter()
        .enumerate()
        .map(|(at, token)| Device::new(at, &token))
        .collect();
    let (child, addresses) = Child::start(&directory)?;
    let load = Arc::new(Load::new(&directory, addresses.https)?);

    // 3. The server's first requests are not what is measured: caches fill, files grow.
    let measured = devices.split_off(warm_up as usize);
    let (warmed, _) = load.enroll(devices, order.in_flight).await?;
    let (measured, before) = if order.mtls {
        // For renewals, every device must be a member: that is what is not measured here.
        let (members, _) = load.enroll(measured, order.in_flight).await?;
        let members = load.verify(members, order.in_flight).await?;
        drop(warmed);
        (members, calibrate(place.path(), order).await?)
    } else {
        (measured, calibrate(place.path(), order).await?)
    };

    // 4. The run.
    let cpu_before = child.cpu_seconds()?;
    let began = tokio::time::Instant::now();
    let (_, mut latencies) = if order.mtls {
        load.renew(measured, order.in_flight).await?
    } else {
        load.enroll(measured, order.in_flight).await?
    };
    let wall = began.elapsed();
    let cpu = child.cpu_seconds()? - cpu_before;
    let after = calibrate(place.path(), order).await?;
    let groups = child.stop()?.groups;

    latencies.sort();
    let report = Report::new(order, &latencies, wall, cpu, groups, &before.mean(&after));
    println!(
        "{}",
        if json {
            report.json()
        } else {
            report.to_string()
        }
    );
    Ok(if report.is_void() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn calibrate(place: &Path, order: &BenchEnroll) -> anyhow::Result<Calibration> {
    let (place, mtls) = (place.to_owned(), order.mtls);
    // On a thread of its own, whose CPU time is then what was spent here.
    tokio::task::spawn_blocking(move || Calibration::measure(&place, mtls)).await?
}

/// A folder on a real disk that disappears.
fn place(at: Option<&Path>) -> anyhow::Result<tempfile::TempDir> {
    let base = at.map_or_else(std::env::temp_dir, Path::to_owned);
    refuse_memory(&base)?;
    tempfile::Builder::new()
        .prefix("imprint-bench-")
        .tempdir_in(&base)
        .with_context(|| format!("nothing can be made in {}", base.display()))
}

/// A server's directory with these products, and so many tokens of each.
async fn prepare<const N: usize>(
    directory: &Directory,
    products: [(Product, u32); N],
) -> anyhow::Result<Vec<Vec<String>>> {
    use clap::Parser as _;
    let any = "127.0.0.1:0";
    let words = [
        "imprint",
        "init",
        "--name",
        "Bench",
        "--for-tests",
        "--host",
        "localhost",
    ];
    let words = words.into_iter().chain([
        "--https", any, "--http", any, "--mqtts", any, "--admin", any,
    ]);
    let Command::Init(init) = Cli::parse_from(words).command else {
        bail!("init is init")
    };
    crate::init::run(directory.root(), init, true).await?;
    let Some(lock) = directory.try_lock("bench")? else {
        bail!("the directory is held")
    };
    let opened = open(directory, lock)?;
    let now = world::now();
    let ledger = opened.registrar.ledger();
    let named = products
        .iter()
        .map(|(product, _)| product.clone())
        .collect();
    ledger.product_apply(named, "bench", now).await?;
    let mut tokens = Vec::new();
    for (product, count) in products {
        if count == 0 {
            tokens.push(Vec::new());
            continue;
        }
        let order = TokenOrder {
            product: product.name,
            count,
            ..TokenOrder::default()
        };
        let minted = opened
            .registrar
            .token_new(order, "bench", &world::chance, now)
            .await?;
        tokens.push(
            minted
                .into_iter()
                .map(|token| token.text.to_string())
                .collect(),
        );
    }
    ledger.close()?;
    Ok(tokens)
}

/// A claim of a product, with these hardware ids on the product's allowlist and no others welcome: its
/// certificate and its key, PEM.
async fn claim(
    directory: &Directory,
    product: &str,
    hardware: &[HardwareId],
) -> anyhow::Result<(String, Zeroizing<String>)> {
    let Some(lock) = directory.try_lock("bench")? else {
        bail!("the directory is held")
    };
    let opened = open(directory, lock)?;
    let (now, ledger) = (world::now(), opened.registrar.ledger());
    let mut claim = Claim::named("crowd", product);
    claim.allowlist = true;
    let definitions = Definitions {
        claims: vec![claim],
        ..Definitions::default()
    };
    ledger.fleet_apply(definitions, "bench", now).await?;
    for some in hardware.chunks(1_000) {
        ledger
            .allow_add(product, some.to_vec(), "bench", now)
            .await?;
    }
    let issued =
        opened
            .registrar
            .claim_issue_with_key("crowd", CLAIM_SECONDS, "bench", &world::chance, now);
    let (issued, key) = issued.await?;
    ledger.close()?;
    Ok((
        pem::encode(pem::CERTIFICATE, &issued.der),
        Zeroizing::new(pem::encode("PRIVATE KEY", &key)),
    ))
}

/// Memory that looks like a disk makes every figure a lie.
fn refuse_memory(at: &Path) -> anyhow::Result<()> {
    let at = at
        .canonicalize()
        .with_context(|| format!("{} is not there", at.display()))?;
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let deepest = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            Some((words.next()?, words.next()?))
        })
        .filter(|(point, _)| at.starts_with(point))
        .max_by_key(|(point, _)| point.len());
    if let Some((point, kind @ ("tmpfs" | "ramfs"))) = deepest {
        bail!(
            "{} is memory ({kind} at {point}): name a disk with --at",
            at.display()
        );
    }
    Ok(())
}

const PRODUCT: &str = "thermo";
const CLAIM_SECONDS: i64 = 86_400;
