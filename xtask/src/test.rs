//! `cargo xtask test`: installs what is needed, runs everything, says what was skipped.

use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use crate::shell::{Workshop, run as run_command, succeeds};
use crate::{conformance, device, fuzz, mutants, setup};

#[derive(Args)]
pub(crate) struct Options {
    /// Hours instead of minutes: more cuts and kills, fuzzing, mutants
    #[arg(long)]
    deep: bool,
    /// Only one part, by its name; it repeats
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

/// One part of the test run.
type Part = (&'static str, fn(&Workshop, &Options) -> Result<()>);

/// What every run has, in the order of how soon it fails.
const PARTS: &[Part] = &[
    ("setup", |workshop, options| {
        setup::run(workshop, options.deep)
    }),
    ("crates", crates),
    ("doctests", doctests),
    ("no_std", |workshop, _| device::no_std(workshop)),
    ("planted", |workshop, _| device::planted(workshop)),
    ("demo", demo),
    ("conformance", clients),
];

/// What only the deep run has.
const DEEP: &[Part] = &[
    ("fuzz", |workshop, _| {
        fuzz::run(
            workshop,
            &fuzz::Options {
                seconds: 60,
                only: None,
            },
        )
    }),
    ("mutants", |workshop, _| {
        mutants::run(workshop, &mutants::Options::default())
    }),
];

/// `cargo xtask test`
pub(crate) fn run(workshop: &Workshop, options: &Options) -> Result<()> {
    let parts = chosen(options)?;
    let mut failed = Vec::new();
    let mut times = Vec::new();
    for (name, part) in parts {
        println!("\n##### {name}");
        let started = now();
        let done = part(workshop, options);
        times.push(format!("{name} {} s", started.elapsed().as_secs()));
        if let Err(error) = done {
            println!("FAILED {name}: {error:#}");
            failed.push(name);
            // Without its tools, a strict run would only fail again at each of them.
            if name == "setup" {
                break;
            }
        }
    }
    println!("\nTook: {}.", times.join(", "));
    workshop.report_skipped();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    println!(
        "Passed, {}.",
        if workshop.has_skipped() {
            "but for what was skipped"
        } else {
            "all of it"
        }
    );
    Ok(())
}

fn chosen(options: &Options) -> Result<Vec<Part>> {
    let all = PARTS.iter().chain(DEEP.iter().filter(|_| options.deep));
    if let Some(unknown) = options.only.iter().find(|name| !is_known(name)) {
        let names: Vec<&str> = PARTS.iter().chain(DEEP).map(|(name, _)| *name).collect();
        bail!(
            "no part is named `{unknown}`; there are {}",
            names.join(", ")
        );
    }
    if options.only.is_empty() {
        return Ok(all.copied().collect());
    }
    let named = |name: &str| options.only.iter().any(|only| only == name);
    Ok(PARTS
        .iter()
        .chain(DEEP)
        .filter(|(name, _)| named(name))
        .copied()
        .collect())
}

fn is_known(name: &str) -> bool {
    PARTS.iter().chain(DEEP).any(|(known, _)| *known == name)
}

/// Every test of every crate. Tests read `IMPRINT_DEEP` to do what takes hours.
fn crates(workshop: &Workshop, options: &Options) -> Result<()> {
    let mut cargo = workshop.cargo();
    if options.deep {
        cargo.env("IMPRINT_DEEP", "1");
    }
    if succeeds(workshop.cargo().args(["nextest", "--version"])) {
        let profile = if options.deep { "deep" } else { "default" };
        return run_command(cargo.args(["nextest", "run", "--workspace", "--profile", profile]));
    }
    run_command(cargo.args(["test", "--workspace", "--all-targets", "--no-fail-fast"]))
}

fn doctests(workshop: &Workshop, _: &Options) -> Result<()> {
    run_command(workshop.cargo().args(["test", "--workspace", "--doc"]))
}

/// Clients that others wrote.
fn clients(workshop: &Workshop, options: &Options) -> Result<()> {
    let deep = options.deep;
    conformance::run(workshop, &conformance::Options { only: None, deep })
}

/// A whole fleet in one process, judged by its own invariants.
fn demo(workshop: &Workshop, _: &Options) -> Result<()> {
    let binary = conformance::release_binary(workshop)?;
    run_command(
        workshop
            .command(&binary.to_string_lossy())
            .args(["demo", "--exit"]),
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "the workshop says how long its parts take"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_named_runs_alone_and_a_misspelled_one_is_refused() {
        let chosen = |deep, only: &[&str]| {
            let only = only.iter().map(|name| (*name).to_owned()).collect();
            let parts = chosen(&Options { deep, only })?;
            Ok::<_, anyhow::Error>(parts.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        assert_eq!(chosen(false, &["demo"]).unwrap(), ["demo"]);
        assert_eq!(
            chosen(false, &["fuzz", "crates"]).unwrap(),
            ["crates", "fuzz"]
        );
        assert!(!chosen(false, &[]).unwrap().contains(&"mutants"));
        assert!(chosen(true, &[]).unwrap().contains(&"mutants"));
        assert!(chosen(false, &["dmeo"]).is_err());
    }
}
