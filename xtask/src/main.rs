//! The workshop: `cargo xtask test` runs at home exactly what CI runs.
//!
//! One file a command. Nothing here decides what is right: it finds the tools, runs them, and says
//! plainly what ran, what failed and what was skipped.

mod arrows;
mod conformance;
mod deny;
mod device;
mod fuzz;
mod mutants;
mod readme;
mod setup;
mod shell;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::shell::Workshop;

/// The workshop of Imprint.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs what the tests need, then runs all of them
    Test(test::Options),
    /// Installs what the tests need: Debian packages, and Python tools under target/tools
    Setup {
        /// Also what only the deep run needs
        #[arg(long)]
        deep: bool,
    },
    /// Compares the crates' dependencies with the drawing of the architecture
    Arrows,
    /// Runs the commands in README.md and docs/ against the release binary
    Readme,
    /// Runs other people's clients against `imprint serve`
    Conformance(conformance::Options),
    /// Runs every fuzz target for a while
    Fuzz(fuzz::Options),
    /// Mutates the device and the registrar, and counts what no test noticed
    Mutants(mutants::Options),
    /// Plants each known bug in the device and sees it caught
    Planted,
    /// Compiles the device's machine without std, and prints its size
    NoStd,
    /// Checks licenses, banned crates and sources with cargo-deny
    Deny,
}

fn main() -> ExitCode {
    let workshop = match Workshop::here() {
        Ok(workshop) => workshop,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let done = match Arguments::parse().command {
        // It reports what it skipped as its last words.
        Command::Test(options) => return ended(test::run(&workshop, &options)),
        Command::Setup { deep } => setup::run(&workshop, deep),
        Command::Arrows => arrows::run(&workshop),
        Command::Readme => readme::run(&workshop),
        Command::Conformance(options) => conformance::run(&workshop, &options),
        Command::Fuzz(options) => fuzz::run(&workshop, &options),
        Command::Mutants(options) => mutants::run(&workshop, &options),
        Command::Planted => device::planted(&workshop),
        Command::NoStd => device::no_std(&workshop),
        Command::Deny => deny::run(&workshop),
    };
    workshop.report_skipped();
    ended(done)
}

fn ended(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
