//! Runs other people's clients, unmodified, against `imprint serve`.
//!
//! Each script in `conformance/` makes its own directory and its own server, and ends both. It
//! exits with 0, with 77 when a client is not installed, and with anything else when it failed.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::shell::{Workshop, run as run_command};

#[derive(Args)]
pub(crate) struct Options {
    /// Only the scripts whose name contains this
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// Also the scripts whose clients are large, in `conformance/deep`
    #[arg(long)]
    pub(crate) deep: bool,
}

/// `cargo xtask conformance`
pub(crate) fn run(workshop: &Workshop, options: &Options) -> Result<()> {
    let binary = release_binary(workshop)?;
    let only = options.only.as_deref().unwrap_or_default();
    let mut failed = Vec::new();
    let mut ran = 0;
    for script in scripts(workshop, options.deep)? {
        let name = script
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !name.contains(only) {
            continue;
        }
        ran += 1;
        println!("\n=== conformance: {name}");
        let mut bash = workshop.command("timeout");
        bash.args(["--kill-after=10", &LIMIT_SECONDS.to_string(), "bash"])
            .arg(&script);
        bash.env("IMPRINT", &binary);
        match bash.status().context("cannot start bash")?.code() {
            Some(0) => {}
            Some(77) => workshop.skip(&format!("conformance {name}"), "see its output")?,
            other => failed.push(format!(
                "{name} ({})",
                other.map_or("killed".into(), describe)
            )),
        }
    }
    match (ran, failed.as_slice()) {
        (0, _) => bail!("no conformance script is named like `{only}`"),
        (_, []) => Ok(()),
        (_, failed) => bail!("conformance failed: {}", failed.join(", ")),
    }
}

/// Longer than the longest script takes on two cores by far.
const LIMIT_SECONDS: u32 = 600;

/// Builds `imprint` as its users run it, and says where it is.
pub(crate) fn release_binary(workshop: &Workshop) -> Result<PathBuf> {
    run_command(
        workshop
            .cargo()
            .args(["build", "--release", "--package", "imprint"]),
    )?;
    Ok(workshop.target().join("release/imprint"))
}

fn scripts(workshop: &Workshop, deep: bool) -> Result<Vec<PathBuf>> {
    let folders = ["conformance", "conformance/deep"];
    let mut scripts = Vec::new();
    for folder in folders.iter().take(if deep { 2 } else { 1 }) {
        let entries = fs::read_dir(workshop.root.join(folder));
        for entry in entries.with_context(|| format!("cannot read {folder}"))? {
            let path = entry?.path();
            let is_script = path.extension().is_some_and(|extension| extension == "sh");
            if is_script && path.file_stem().is_some_and(|stem| stem != "lib") {
                scripts.push(path);
            }
        }
    }
    scripts.sort();
    Ok(scripts)
}

fn describe(code: i32) -> String {
    match code {
        124 | 137 => format!("took longer than {LIMIT_SECONDS} s"),
        code => format!("exit code {code}"),
    }
}
