//! Changes the device and the registrar, one line at a time, and counts what no test noticed.

use std::fs;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::deny::install;
use crate::shell::{Workshop, succeeds};

/// The version whose report we read.
const VERSION: &str = "27.1.0";

/// The crates in which a line that no test needs is a defect, and how much must be noticed there.
const PACKAGES: &[&str] = &["imprint-device", "imprint-registrar"];
const LEAST_PERCENT: usize = 90;

#[derive(Args, Default)]
pub(crate) struct Options {
    /// Only this package
    #[arg(long)]
    pub(crate) package: Option<String>,
    /// Only a part of the mutants, as `1/8`
    #[arg(long)]
    pub(crate) shard: Option<String>,
}

/// `cargo xtask mutants`
pub(crate) fn run(workshop: &Workshop, options: &Options) -> Result<()> {
    if !succeeds(workshop.command("cargo-mutants").arg("--version")) {
        install(workshop, "cargo-mutants", VERSION)?;
    }
    let mut weak = Vec::new();
    for package in PACKAGES {
        if options.package.as_ref().is_some_and(|only| only != package) {
            continue;
        }
        let score = mutate(workshop, package, options)?;
        println!("mutants: {package}: {score}");
        if score.percent() < LEAST_PERCENT {
            weak.push(format!("{package}: {score}"));
        }
    }
    if !weak.is_empty() {
        bail!(
            "fewer than {LEAST_PERCENT} % of the mutants were noticed: {}",
            weak.join("; ")
        );
    }
    Ok(())
}

fn mutate(workshop: &Workshop, package: &str, options: &Options) -> Result<Score> {
    let report = workshop.target().join("mutants").join(package);
    fs::create_dir_all(&report)?;
    let mut cargo = workshop.command("cargo-mutants");
    cargo.args([
        "mutants",
        "--package",
        package,
        "--test-package",
        package,
        "--no-shuffle",
    ]);
    // The device's full power-cut proof takes a minute of work; a slow test isn't a noticed mutant.
    cargo.env("IMPRINT_SHORT", "1");
    cargo
        .args(["--timeout", "120", "--jobs", "2", "--output"])
        .arg(&report);
    if let Some(shard) = &options.shard {
        cargo.args(["--shard", shard]);
    }
    // It exits with 2 when a mutant survived: the report says how many, and we judge that.
    let status = cargo.status().context("cannot start cargo-mutants")?;
    if !matches!(status.code(), Some(0 | 2 | 3)) {
        bail!("cargo-mutants for {package} ended with {status}");
    }
    let outcomes = report.join("mutants.out/outcomes.json");
    let json = fs::read_to_string(&outcomes)
        .with_context(|| format!("cannot read {}", outcomes.display()))?;
    Score::read(&serde_json::from_str(&json)?)
}

/// How many mutants a test noticed, of those that compiled.
#[derive(Debug, PartialEq, Eq)]
struct Score {
    noticed: usize,
    missed: usize,
}

impl Score {
    /// A mutant that made a test hang was noticed too.
    fn read(report: &Value) -> Result<Self> {
        let count = |key: &str| {
            let number = report.get(key).and_then(Value::as_u64);
            let number = number.and_then(|number| usize::try_from(number).ok());
            number.with_context(|| format!("the report of cargo-mutants has no `{key}`"))
        };
        let score = Self {
            noticed: count("caught")? + count("timeout")?,
            missed: count("missed")?,
        };
        if score.noticed + score.missed == 0 {
            bail!("no mutant compiled, so nothing was measured");
        }
        Ok(score)
    }

    fn percent(&self) -> usize {
        self.noticed * 100 / (self.noticed + self.missed)
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.noticed + self.missed;
        write!(
            f,
            "{} of {all} mutants noticed ({} %)",
            self.noticed,
            self.percent()
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_score_counts_hangs_as_noticed_and_rounds_down() {
        let report = json!({"caught": 88, "timeout": 1, "missed": 10, "unviable": 400});
        let score = Score::read(&report).unwrap();
        assert_eq!(
            score,
            Score {
                noticed: 89,
                missed: 10
            }
        );
        assert_eq!(score.percent(), 89);
    }

    #[test]
    fn a_report_that_measured_nothing_is_no_success() {
        assert!(Score::read(&json!({"caught": 0, "timeout": 0, "missed": 0})).is_err());
        assert!(Score::read(&json!({"caught": 9})).is_err());
    }
}
