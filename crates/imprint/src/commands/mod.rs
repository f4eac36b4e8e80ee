//! The operator's commands: each one asks the admin API and shows the answer.
//!
//! With `--json` the answer is printed as it came; without, it is laid out for a person.

mod allow;
mod apply;
mod ca;
mod claim;
mod device;
mod entry;
mod events;
mod fleet_file;
mod journal;
mod service_key;
pub(crate) mod template;
mod token;
mod why;

use anyhow::bail;
use imprint_registrar::Fleet;
use imprint_server::admin::views::CaRegistration;

use crate::cli::{
    Allow, Apply, Ca, Claim, Command, Device, Entry, Events, Journal, ServiceKey, Template, Thing,
    Token,
};
use crate::desk::Desk;
use crate::outcome::Outcome;

/// A command whose files have been read.
pub(crate) enum Prepared {
    Apply {
        fleet: Box<Fleet>,
        dry_run: bool,
    },
    Export,
    Claim {
        order: Claim,
        certificate: Option<String>,
    },
    Entry {
        order: Entry,
        files: entry::Files,
    },
    ServiceKey(ServiceKey),
    Template(Template),
    Thing(Thing),
    Token(Token),
    AllowAdd {
        product: String,
        hardware: Vec<String>,
    },
    AllowRemove {
        product: String,
        hardware: Vec<String>,
    },
    AllowList {
        product: String,
    },
    Device {
        order: Device,
        file: Option<String>,
    },
    Why {
        device: String,
    },
    Journal(Journal),
    Events(Events),
    Ca {
        order: Ca,
        registration: Option<CaRegistration>,
    },
    Status,
}

/// Reads what the command line names, so that a mistake in a file is told before a directory is
/// opened or a server asked.
pub(crate) fn prepare(command: Command) -> anyhow::Result<Prepared> {
    Ok(match command {
        Command::Apply(Apply { file, dry_run }) => Prepared::Apply {
            fleet: Box::new(fleet_file::read(&file)?),
            dry_run,
        },
        Command::Export => Prepared::Export,
        Command::Claim(order) => Prepared::Claim {
            certificate: claim::prepare(&order)?,
            order,
        },
        Command::Entry(order) => Prepared::Entry {
            files: entry::prepare(&order)?,
            order,
        },
        Command::ServiceKey(order) => Prepared::ServiceKey(order),
        Command::Template(order) => Prepared::Template(order),
        Command::Thing(order) => Prepared::Thing(order),
        Command::Token(order) => {
            token::prepare(&order)?;
            Prepared::Token(order)
        }
        Command::Allow(Allow::Add(change)) => Prepared::AllowAdd {
            hardware: allow::read(&change.items)?,
            product: change.product,
        },
        Command::Allow(Allow::Remove(change)) => Prepared::AllowRemove {
            hardware: allow::read(&change.items)?,
            product: change.product,
        },
        Command::Allow(Allow::List { product }) => Prepared::AllowList { product },
        Command::Device(order) => {
            let file = match &order {
                Device::Issue { csr: path, .. }
                | Device::Adopt {
                    certificate: path, ..
                } => Some(device::read(path)?),
                _ => None,
            };
            Prepared::Device { order, file }
        }
        Command::Why { device } => Prepared::Why { device },
        Command::Journal(order) => Prepared::Journal(order),
        Command::Events(order) => Prepared::Events(order),
        Command::Ca(order) => Prepared::Ca {
            registration: ca::prepare(&order)?,
            order,
        },
        Command::Status => Prepared::Status,
        _ => bail!("this command has no way to the admin API"),
    })
}

/// Carries a command out.
pub(crate) async fn run(desk: &mut Desk, command: Prepared, json: bool) -> anyhow::Result<Outcome> {
    match command {
        Prepared::Apply { fleet, dry_run } => apply::run(desk, &fleet, dry_run, json).await,
        Prepared::Export => apply::export(desk, json).await,
        Prepared::Claim { order, certificate } => claim::run(desk, order, certificate, json).await,
        Prepared::Entry { order, files } => entry::run(desk, order, files, json).await,
        Prepared::ServiceKey(order) => service_key::run(desk, order, json).await,
        Prepared::Template(order) => template::run(desk, order, json).await,
        Prepared::Thing(order) => template::things(desk, order, json).await,
        Prepared::Token(order) => token::run(desk, order, json).await,
        Prepared::AllowAdd { product, hardware } => {
            allow::add(desk, &product, &hardware, json).await
        }
        Prepared::AllowRemove { product, hardware } => {
            allow::remove(desk, &product, &hardware, json).await
        }
        Prepared::AllowList { product } => allow::list(desk, &product, json).await,
        Prepared::Device { order, file } => {
            device::run(desk, order, file.unwrap_or_default(), json).await
        }
        Prepared::Why { device } => why::run(desk, &device, json).await,
        Prepared::Journal(order) => journal::run(desk, order, json).await,
        Prepared::Events(order) => events::run(desk, order, json).await,
        Prepared::Ca {
            order,
            registration,
        } => ca::run(desk, order, registration, json).await,
        Prepared::Status => ca::status(desk, json).await,
    }
}

/// The document as it came, or a person's view of it.
fn shown<T: serde::de::DeserializeOwned>(
    text: String,
    json: bool,
    lay_out: impl FnOnce(&T) -> String,
) -> anyhow::Result<Outcome> {
    if json {
        return Ok(Outcome::done(text));
    }
    let view = serde_json::from_str(&text)?;
    Ok(Outcome::done(lay_out(&view)))
}
