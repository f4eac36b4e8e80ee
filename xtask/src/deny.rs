//! Licenses, banned crates and sources, by cargo-deny and `deny.toml`.
//!
//! The advisories check needs a database from the network and is left to those who have it:
//! `cargo deny check advisories`.

use anyhow::Result;

use crate::shell::{Workshop, run as run_command, succeeds};

/// The version whose configuration `deny.toml` is.
const VERSION: &str = "0.20.2";

/// `cargo xtask deny`
pub(crate) fn run(workshop: &Workshop) -> Result<()> {
    if !succeeds(workshop.command("cargo-deny").arg("--version")) {
        install(workshop, "cargo-deny", VERSION)?;
    }
    let mut deny = workshop.command("cargo-deny");
    run_command(deny.args([
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]))
}

/// Builds one of cargo's own tools into `target/tools`, which takes minutes the first time.
pub(crate) fn install(workshop: &Workshop, name: &str, version: &str) -> Result<()> {
    println!(
        "setup: building {name} {version} into {}",
        workshop.tools().display()
    );
    let mut cargo = workshop.cargo();
    cargo.args([
        "install",
        "--quiet",
        "--locked",
        "--version",
        version,
        name,
        "--root",
    ]);
    run_command(
        cargo
            .arg(workshop.tools())
            // A tool that runs for a second is not worth a minute of optimising.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    )
}
