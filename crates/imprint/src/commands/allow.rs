//! `imprint allow ...`.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use http::Method;
use imprint_server::admin::views::{AllowlistChange, AllowlistChanged};

use crate::desk::{Desk, encoded, with_query};
use crate::outcome::Outcome;

/// The ids that the command line names: as they are, or one a line in a file or on stdin.
pub(super) fn read(items: &[String]) -> anyhow::Result<Vec<String>> {
    let mut hardware = Vec::new();
    for item in items {
        if item == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("stdin can't be read")?;
            hardware.extend(lines(&text));
        } else if Path::new(item).is_file() {
            let text =
                std::fs::read_to_string(item).with_context(|| format!("{item} can't be read"))?;
            hardware.extend(lines(&text));
        } else {
            hardware.push(item.clone());
        }
    }
    ensure!(!hardware.is_empty(), "no hardware id is named");
    for (at, text) in hardware.iter().enumerate() {
        imprint_identity::HardwareId::parse(text)
            .map_err(|error| anyhow::anyhow!("hardware id {}, {text:?}: {error}", at + 1))?;
    }
    Ok(hardware)
}

fn lines(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(ToOwned::to_owned)
}

pub(super) async fn add(
    desk: &mut Desk,
    product: &str,
    hardware: &[String],
    json: bool,
) -> anyhow::Result<Outcome> {
    let changed = change(desk, Method::POST, product, hardware).await?;
    said(changed, json, |c| {
        format!(
            "{} added to the allowlist of {product}; {} stood there.",
            c.changed,
            c.named - c.changed
        )
    })
}

pub(super) async fn remove(
    desk: &mut Desk,
    product: &str,
    hardware: &[String],
    json: bool,
) -> anyhow::Result<Outcome> {
    let changed = change(desk, Method::DELETE, product, hardware).await?;
    said(changed, json, |c| {
        format!(
            "{} taken off the allowlist of {product}; {} did not stand there.",
            c.changed,
            c.named - c.changed
        )
    })
}

/// Long lists go in lots, each all or none; a lot that went twice changes nothing the second time.
async fn change(
    desk: &mut Desk,
    method: Method,
    product: &str,
    hardware: &[String],
) -> anyhow::Result<AllowlistChanged> {
    let path = path(product);
    let mut total = AllowlistChanged {
        named: 0,
        changed: 0,
    };
    for lot in hardware.chunks(LOT) {
        let body = AllowlistChange {
            hardware: lot.to_vec(),
        };
        let text = desk.ask(method.clone(), &path, Some(&body)).await?;
        let done: AllowlistChanged = serde_json::from_str(&text)?;
        total.named += done.named;
        total.changed += done.changed;
    }
    Ok(total)
}

pub(super) async fn list(desk: &mut Desk, product: &str, json: bool) -> anyhow::Result<Outcome> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let query = [
            ("after", all.last().cloned()),
            ("limit", Some(LOT.to_string())),
        ];
        let page: Vec<String> = desk.get(&with_query(&path(product), &query)).await?;
        let last = page.len() < LOT;
        all.extend(page);
        if last {
            break;
        }
    }
    Ok(Outcome::done(if json {
        serde_json::to_string(&all)?
    } else {
        all.join("\n")
    }))
}

fn path(product: &str) -> String {
    format!("/api/v1/products/{}/allowlist", encoded(product))
}

fn said(
    changed: AllowlistChanged,
    json: bool,
    words: impl FnOnce(&AllowlistChanged) -> String,
) -> anyhow::Result<Outcome> {
    Ok(Outcome::done(if json {
        serde_json::to_string(&changed)?
    } else {
        words(&changed)
    }))
}

/// What one request may carry.
const LOT: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_id_a_line_and_comments() {
        let text = "# batch 7\nstm32:0123456789abcdef01234567\n\n  custom:SN-1  # reworked\r\n";
        let ids: Vec<_> = lines(text).collect();
        assert_eq!(ids, ["stm32:0123456789abcdef01234567", "custom:SN-1"]);
    }

    #[test]
    fn an_id_that_is_none_is_named_with_its_place() {
        let error = read(&["custom:SN-1".into(), "stm32:xx".into()])
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("hardware id 2, \"stm32:xx\": "),
            "{error}"
        );
    }
}
