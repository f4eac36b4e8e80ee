//! Runs other people's clients, unmodified, against `imprint serve`.
//!
//! Each script in `conformance/` makes its own directory and its own server, and ends both. It
//! exits with 0, with 77 when a client is not installed, and with anything else when it failed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

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
///
/// All scripts run at once, because most of them wait: for a person's approval, for a lost reply.
pub(crate) fn run(workshop: &Workshop, options: &Options) -> Result<()> {
    let binary = release_binary(workshop)?;
    let only = options.only.as_deref().unwrap_or_default();
    let logs = workshop.target().join("conformance");
    fs::create_dir_all(&logs)?;
    let mut running = Vec::new();
    for script in scripts(workshop, options.deep)? {
        let name = script
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.contains(only) {
            let log = logs.join(format!("{name}.log"));
            running.push((start(workshop, &script, &binary, &log)?, name, log));
        }
    }
    if running.is_empty() {
        bail!("no conformance script is named like `{only}`");
    }
    let mut failed = Vec::new();
    let mut missing = Vec::new();
    for (mut process, name, log) in running {
        let status = process.wait().context("cannot wait for bash")?;
        println!(
            "\n=== conformance: {name}\n{}",
            fs::read_to_string(&log)?.trim_end()
        );
        match status.code() {
            Some(0) => {}
            Some(77) => missing.push(name),
            other => failed.push(format!(
                "{name} ({})",
                other.map_or("killed".into(), describe)
            )),
        }
    }
    if !failed.is_empty() {
        bail!("conformance failed: {}", failed.join(", "));
    }
    for name in missing {
        workshop.skip(
            &format!("conformance {name}"),
            "its client is not installed",
        )?;
    }
    Ok(())
}

fn start(workshop: &Workshop, script: &Path, binary: &Path, log: &Path) -> Result<Child> {
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut bash = workshop.command("timeout");
    bash.args(["--kill-after=10", &LIMIT_SECONDS.to_string(), "bash"])
        .arg(script);
    bash.env("IMPRINT", binary).stdin(Stdio::null());
    bash.stdout(output.try_clone()?).stderr(output);
    bash.spawn().context("cannot start bash")
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
