//! `imprint key ...`: keys that devices share with the server, for the bench where they are made.
//!
//! No server is asked, and none need be there: a factory has the group's key, or it has the list that
//! comes out of this. A key is read from a file or from stdin and never from the command line, where
//! every process can read it and the shell keeps it.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imprint_attest::GroupKey;
use imprint_dps::RegistrationId;
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::{Key, KeyDerive};
use crate::outcome::Outcome;

pub(crate) fn run(order: &Key, json: bool) -> anyhow::Result<Outcome> {
    match order {
        Key::Derive(order) => derive(order, json),
    }
}

/// One device a line: its id, a tab, its key. Or a document with the same.
fn derive(order: &KeyDerive, json: bool) -> anyhow::Result<Outcome> {
    let from_stdin = order.items.iter().filter(|item| *item == "-").count();
    let from_stdin = from_stdin + usize::from(order.group_key == "-");
    ensure!(from_stdin <= 1, "stdin can be the key or the ids, not both");
    let group = group_key(&order.group_key)?;
    let ids = ids(&order.items)?;
    let keys = ids.iter().map(|id| {
        let key = group.derive(id.as_str());
        (id, Zeroizing::new(STANDARD.encode(key.expose())))
    });
    let text = if json {
        let keys: Vec<_> = keys
            .map(|(id, key)| json!({"id": id, "key": key.as_str()}))
            .collect();
        serde_json::to_string(&keys)?
    } else {
        let lines: Vec<_> = keys
            .map(|(id, key)| format!("{id}\t{}", key.as_str()))
            .collect();
        lines.join("\n")
    };
    Ok(Outcome::done(text))
}

/// The name of the file is never said again: it may be a key that somebody has typed there.
fn group_key(file: &str) -> anyhow::Result<GroupKey> {
    let text = Zeroizing::new(if file == "-" {
        stdin()?
    } else {
        let hint = "--group-key is the name of a file with the key in base64, or `-` for stdin";
        std::fs::read_to_string(file).context(hint)?
    });
    let key = STANDARD.decode(text.trim()).ok();
    let key = Zeroizing::new(key.context("the group's key is not base64")?);
    Ok(GroupKey::new(&key)?)
}

fn ids(items: &[String]) -> anyhow::Result<Vec<RegistrationId>> {
    let mut ids: Vec<RegistrationId> = Vec::new();
    for item in items {
        let text = if item == "-" {
            stdin()?
        } else if Path::new(item).is_file() {
            std::fs::read_to_string(item).with_context(|| format!("{item} can't be read"))?
        } else {
            item.clone()
        };
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let id = RegistrationId::new(line);
            let id = id.with_context(|| format!("registration id {}, {line:?}", ids.len() + 1))?;
            ids.push(id);
        }
    }
    if ids.is_empty() {
        bail!("no registration id is named");
    }
    Ok(ids)
}

fn stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    let mut stdin = std::io::stdin();
    stdin
        .read_to_string(&mut text)
        .context("stdin can't be read")?;
    Ok(text)
}
