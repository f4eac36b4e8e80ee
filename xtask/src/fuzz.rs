//! Runs every fuzz target for a while, from its seeds.

use std::fs;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::deny::install;
use crate::shell::{Workshop, output, run as run_command, succeeds};

/// The version that the targets are built with.
const VERSION: &str = "0.13.2";

#[derive(Args)]
pub(crate) struct Options {
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u32,
    /// Only the targets whose name contains this
    #[arg(long)]
    pub(crate) only: Option<String>,
}

/// `cargo xtask fuzz`
pub(crate) fn run(workshop: &Workshop, options: &Options) -> Result<()> {
    let only = options.only.as_deref().unwrap_or_default();
    let targets: Vec<String> = targets(workshop)?
        .into_iter()
        .filter(|target| target.contains(only))
        .collect();
    if targets.is_empty() {
        bail!("no fuzz target is named like `{only}`");
    }
    if !succeeds(workshop.command("cargo-fuzz").arg("--version")) {
        install(workshop, "cargo-fuzz", VERSION)?;
    }
    for target in targets {
        println!("\n=== fuzz: {target}, {} s", options.seconds);
        one(workshop, &target, options.seconds).with_context(|| format!("fuzzing {target}"))?;
    }
    Ok(())
}

/// New inputs go to `fuzz/corpus/`, which is not kept; the seeds in `fuzz/seeds/` are only read.
fn one(workshop: &Workshop, target: &str, seconds: u32) -> Result<()> {
    let corpus = format!("fuzz/corpus/{target}");
    fs::create_dir_all(workshop.root.join(&corpus))?;
    let mut cargo = workshop.command("cargo-fuzz");
    // The stable compiler has all that is needed but the permission; its sanitizers it has not.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo.args([
        "fuzz",
        "run",
        "--fuzz-dir",
        "fuzz",
        "--sanitizer",
        "none",
        target,
        &corpus,
    ]);
    let seeds = format!("fuzz/seeds/{target}");
    if workshop.root.join(&seeds).is_dir() {
        cargo.arg(&seeds);
    }
    cargo.args(["--", &format!("-max_total_time={seconds}"), "-timeout=10"]);
    run_command(cargo.arg("-print_final_stats=1"))
}

fn targets(workshop: &Workshop) -> Result<Vec<String>> {
    let mut cargo = workshop.cargo();
    cargo.args(["metadata", "--format-version=1", "--no-deps"]);
    let json = output(cargo.args(["--manifest-path", "fuzz/Cargo.toml"]))?;
    let metadata: Value = serde_json::from_str(&json)?;
    let names = metadata
        .pointer("/packages/0/targets")
        .and_then(Value::as_array);
    Ok(names
        .into_iter()
        .flatten()
        .filter(|target| target.pointer("/kind/0").is_some_and(|kind| kind == "bin"))
        .filter_map(|target| Some(target.get("name")?.as_str()?.to_owned()))
        .collect())
}
