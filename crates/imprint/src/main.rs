//! `imprint`: one binary for the server, its operator, and a device on Linux.
//!
//! Wiring and words, nothing else. Every operator's command is a request to the admin API: see
//! [`desk`] for how it gets there.

mod agent;
mod bench;
mod ceremony;
mod cli;
mod commands;
mod demo;
mod desk;
mod directory;
mod doctor;
mod drill;
mod duration;
mod init;
mod issuing;
mod key;
mod open;
mod outcome;
mod problem;
mod remote;
mod serve;
mod settings;
mod toml_file;
mod world;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use desk::Desk;
use directory::Directory;
use outcome::Outcome;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.json;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(error.into()),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("{}", problem::render(&error, json));
        ExitCode::FAILURE
    })
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let json = cli.json;
    let outcome = match cli.command {
        Command::Init(order) => init::run(&cli.dir, order, json).await?,
        Command::Serve(order) => {
            return serve::run(&Directory::existing(&cli.dir)?, &order).await;
        }
        Command::Bench(order) => return bench::run(&order, json).await,
        Command::Demo(order) => return demo::run(&order).await,
        Command::Agent(command) => return agent::run(command, json).await,
        Command::Ca(cli::Ca::New(order)) => issuing::run(&cli.dir, &order, json).await?,
        Command::Drill(cli::DrillCommand::Claim(order)) => {
            drill::run(&cli.dir, order, json).await?
        }
        Command::Template(cli::Template::Check { file }) => commands::template::check(&file, json)?,
        Command::Key(order) => key::run(&order, json)?,
        Command::Doctor => doctor::run(&cli.dir, json).await?,
        command => {
            // On a stopped directory there is no server's log to say what went wrong aside.
            tracing_subscriber::fmt()
                .with_max_level(tracing::Level::ERROR)
                .with_writer(std::io::stderr)
                .with_ansi(false)
                .init();
            // What a person got wrong is said before anything is opened.
            let prepared = commands::prepare(command)?;
            let mut desk = Desk::open(&Directory::existing(&cli.dir)?).await?;
            let outcome = commands::run(&mut desk, prepared, json).await;
            // What was done is on record: a failure to close must not hide what came of it.
            let closed = desk.close().await;
            let outcome = outcome?;
            closed?;
            outcome
        }
    };
    print(&outcome)?;
    Ok(outcome.code)
}

fn print(outcome: &Outcome) -> anyhow::Result<()> {
    if outcome.text.is_empty() {
        return Ok(());
    }
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{}", outcome.text).and_then(|()| stdout.flush()) {
        // `imprint device list | head` is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
