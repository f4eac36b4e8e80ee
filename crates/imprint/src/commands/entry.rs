//! `imprint entry ...`.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use imprint_server::admin::views::{
    EntryDerivation, EntryDerivedView, EntryMadeView, EntryOrderView, EntryRotation, EntryView,
};
use zeroize::Zeroizing;

use super::shown;
use crate::cli::{Entry, EntryName, EntryNew, EntryRotate};
use crate::desk::{Desk, encoded};
use crate::outcome::{Outcome, facts, table};

/// What stands in the files that an order names.
#[derive(Default)]
pub(crate) struct Files {
    certificates: Vec<String>,
    key: Option<Zeroizing<String>>,
    secondary_key: Option<Zeroizing<String>>,
    endorsement_key: Option<String>,
    storage_root_key: Option<String>,
}

/// Reads the files that an order names, before anything is asked.
pub(super) fn prepare(order: &Entry) -> anyhow::Result<Files> {
    let key = |path: &Option<std::path::PathBuf>| path.as_deref().map(read_key).transpose();
    Ok(match order {
        Entry::New(new) => Files {
            certificates: new
                .certificates
                .iter()
                .map(|path| super::device::read(path))
                .collect::<Result<_, _>>()?,
            key: key(&new.key)?,
            secondary_key: key(&new.secondary_key)?,
            endorsement_key: new.tpm.as_deref().map(public_key).transpose()?,
            storage_root_key: new.storage_key.as_deref().map(public_key).transpose()?,
        },
        Entry::Rotate(rotate) => Files {
            key: key(&rotate.key)?,
            ..Files::default()
        },
        _ => Files::default(),
    })
}

/// A key is never an argument: those are for everybody to read in the list of processes.
fn read_key(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    if path == Path::new("-") {
        std::io::stdin()
            .take(LONGEST_FILE)
            .read_to_string(&mut text)
            .context("stdin can't be read")?;
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(LONGEST_FILE).read_to_string(&mut text))
            .with_context(|| format!("{} can't be read", path.display()))?;
    }
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// A TPM's public key, in base64 from the bytes as tools write them, or from base64.
fn public_key(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST_FILE).read_to_end(&mut bytes))
        .with_context(|| format!("{} can't be read", path.display()))?;
    // The first octet of a TPM2B_PUBLIC is that of its length, and no letter.
    Ok(match std::str::from_utf8(&bytes) {
        Ok(text) if !text.starts_with(char::is_control) => text.trim().to_owned(),
        _ => STANDARD.encode(bytes),
    })
}

pub(super) async fn run(
    desk: &mut Desk,
    order: Entry,
    files: Files,
    json: bool,
) -> anyhow::Result<Outcome> {
    match order {
        Entry::New(order) => new(desk, order, files, json).await,
        Entry::List => {
            let text = desk
                .ask(Method::GET, "/api/v1/entries", None::<&()>)
                .await?;
            shown(text, json, list)
        }
        Entry::Show(name) => {
            let text = desk.ask(Method::GET, &path(&name), None::<&()>).await?;
            shown(text, json, show)
        }
        Entry::Enable(name) => switch(desk, &name, "enable", json).await,
        Entry::Disable(name) => switch(desk, &name, "disable", json).await,
        Entry::Delete(name) => {
            let text = desk.ask(Method::DELETE, &path(&name), None::<&()>).await?;
            shown(text, json, show)
        }
        Entry::Rotate(order) => rotate(desk, order, files, json).await,
        Entry::Key {
            group,
            registration_id,
            secondary,
        } => {
            let body = EntryDerivation {
                registration_id,
                slot: secondary.then(|| SECONDARY.to_owned()),
            };
            let path = format!("/api/v1/entries/group/{}/derive", encoded(&group));
            let text = desk.ask(Method::POST, &path, Some(&body)).await?;
            // The key and nothing else, so that a script or a flasher can take it.
            shown(text, json, |derived: &EntryDerivedView| derived.key.clone())
        }
    }
}

async fn new(
    desk: &mut Desk,
    order: EntryNew,
    files: Files,
    json: bool,
) -> anyhow::Result<Outcome> {
    let body = EntryOrderView {
        kind: kind(&order.entry).to_owned(),
        name: order.entry.name,
        product: order.product,
        certificates: files.certificates,
        primary_key: files.key.map(|key| key.to_string()),
        secondary_key: files.secondary_key.map(|key| key.to_string()),
        endorsement_key: files.endorsement_key,
        storage_root_key: files.storage_root_key,
        device_id: order.device_id,
        strength: order.strength,
        disabled: order.disabled,
    };
    let text = desk
        .ask(Method::POST, "/api/v1/entries", Some(&body))
        .await?;
    shown(text, json, made)
}

async fn rotate(
    desk: &mut Desk,
    order: EntryRotate,
    files: Files,
    json: bool,
) -> anyhow::Result<Outcome> {
    let slot = if order.secondary { SECONDARY } else { PRIMARY };
    let body = EntryRotation {
        slot: slot.to_owned(),
        key: files.key.map(|key| key.to_string()),
    };
    let path = format!("{}/rotate", path(&order.entry));
    let text = desk.ask(Method::POST, &path, Some(&body)).await?;
    shown(text, json, made)
}

async fn switch(
    desk: &mut Desk,
    name: &EntryName,
    act: &str,
    json: bool,
) -> anyhow::Result<Outcome> {
    let path = format!("{}/{act}", path(name));
    let text = desk.ask(Method::POST, &path, None::<&()>).await?;
    shown(text, json, show)
}

#[expect(clippy::ptr_arg, reason = "what the document is read into")]
fn list(entries: &Vec<EntryView>) -> String {
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            [
                entry.name.clone(),
                entry.kind.clone(),
                entry.product.clone(),
                entry.attestation.clone(),
                enabled(entry).to_owned(),
                entry.registered.to_string(),
            ]
        })
        .collect();
    let header = [
        "ENTRY",
        "KIND",
        "PRODUCT",
        "ATTESTATION",
        "ENABLED",
        "REGISTERED",
    ];
    table(header, &rows)
}

/// What was made, and its keys for the only time.
fn made(made: &EntryMadeView) -> String {
    let mut text = show(&made.entry);
    let keys = [
        ("primary key", made.primary_key.as_deref()),
        ("secondary key", made.secondary_key.as_deref()),
    ];
    let said: Vec<_> = keys
        .into_iter()
        .filter_map(|(name, key)| Some((name, key?)))
        .collect();
    if !said.is_empty() {
        text = format!("{text}\n\n{}\n\nKeys are not shown again.", facts(&said));
    }
    text
}

fn show(entry: &EntryView) -> String {
    let keys = match entry.keys.as_slice() {
        [] => String::new(),
        slots => format!("{} (sealed)", slots.join(", ")),
    };
    let certificates = match entry.certificates.len() {
        0 => String::new(),
        many => many.to_string(),
    };
    facts(&[
        ("entry", &entry.name),
        ("kind", &entry.kind),
        ("product", &entry.product),
        ("attestation", &entry.attestation),
        ("keys", &keys),
        ("certificates", &certificates),
        ("device", entry.device_id.as_deref().unwrap_or_default()),
        ("strength", &entry.strength),
        ("enabled", enabled(entry)),
        ("registered", &entry.registered.to_string()),
        ("since", &entry.created_at),
        ("changed", &entry.updated_at),
    ])
}

const fn enabled(entry: &EntryView) -> &'static str {
    if entry.enabled { "yes" } else { "no" }
}

const fn kind(name: &EntryName) -> &'static str {
    if name.group { "group" } else { "individual" }
}

fn path(name: &EntryName) -> String {
    format!("/api/v1/entries/{}/{}", kind(name), encoded(&name.name))
}

const PRIMARY: &str = "primary";
const SECONDARY: &str = "secondary";
/// Bytes. The longest key has 88 in base64.
const LONGEST_FILE: u64 = 4_096;
