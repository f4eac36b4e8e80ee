//! The architecture as data: which crate may use which.
//!
//! The drawing is in ARCHITECTURE.md. A dependency that is not drawn is named here, and fails a
//! test; whoever needs it draws it first, in both places, and says why.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell::{Workshop, output};

/// Who may use whom. `identity` and `pkix` may be used by all, and test crates are free.
#[rustfmt::skip]
const DRAWN: &[(&str, &[&str])] = &[
    // The binary wires: it hands a ledger and a signer to the registrar, a machine to the agent. And it
    // derives keys for a factory, which needs nothing but attest's word and the ids of dps.
    ("imprint",   &["server", "agent", "station", "sqlite", "postgres", "signer",
                    "registrar", "device", "est", "attest", "dps"]),
    // Evidence is attest's word; a door that found some says so in that word.
    ("server",    &["est", "scep", "dps", "claim", "registrar", "attest"]),
    ("station",   &["registrar", "elements", "est", "signer", "sqlite"]),
    ("agent",     &["device", "elements", "attest", "est", "scep", "dps", "claim"]),
    ("sqlite",    &["registrar"]),
    ("postgres",  &["registrar"]),
    ("signer",    &["registrar"]),
    ("registrar", &["attest"]),
];

/// Used by all, and `identity` uses nobody.
const WORDS: &[&str] = &["identity", "pkix"];

/// Exist for tests or for the workshop; they may use everything.
const FREE: &[&str] = &["sim", "xtask"];

/// Crates without sockets, files, clock or chance, and what would bring these in.
const PURE: &[&str] = &[
    "identity", "pkix", "est", "scep", "dps", "claim", "attest", "device",
];
const IMPURE: &[&str] = &[
    "axum",
    "getrandom",
    "hyper",
    "mio",
    "rand",
    "rusqlite",
    "rustls",
    "socket2",
    "tokio",
];

/// `cargo xtask arrows`
pub(crate) fn run(workshop: &Workshop) -> Result<()> {
    let metadata = metadata(workshop)?;
    let mut faults = undrawn(&metadata);
    faults.extend(stale(workshop, &metadata)?);
    if !faults.is_empty() {
        bail!(
            "the crates and the drawing differ:\n  {}",
            faults.join("\n  ")
        );
    }
    println!("arrows: every dependency between our crates is drawn");
    Ok(())
}

/// Where the drawing in ARCHITECTURE.md and our table differ, among the crates that exist.
fn stale(workshop: &Workshop, metadata: &Value) -> Result<Vec<String>> {
    let members: Vec<&str> = list(metadata, "packages")
        .map(|package| short(text(package, "name")))
        .collect();
    let table: BTreeSet<(String, String)> = DRAWN
        .iter()
        .flat_map(|(user, used)| used.iter().map(move |used| (*user, *used)))
        .filter(|(user, used)| members.contains(user) && members.contains(used))
        .map(|(user, used)| (user.to_owned(), used.to_owned()))
        .collect();
    let path = workshop.root.join("ARCHITECTURE.md");
    let drawn = drawing(&fs::read_to_string(&path).context("cannot read ARCHITECTURE.md")?);
    let differ = drawn.symmetric_difference(&table);
    Ok(differ
        .map(|(user, used)| {
            let where_found = if drawn.contains(&(user.clone(), used.clone())) {
                "ARCHITECTURE.md"
            } else {
                "xtask/src/arrows.rs"
            };
            format!("{user} -> {used} is in {where_found} alone")
        })
        .collect())
}

fn metadata(workshop: &Workshop) -> Result<Value> {
    let mut cargo = workshop.cargo();
    let json = output(cargo.args(["metadata", "--format-version=1", "--no-deps", "--offline"]))?;
    Ok(serde_json::from_str(&json)?)
}

/// Every dependency that nobody drew, as `from -> to`, sorted.
fn undrawn(metadata: &Value) -> Vec<String> {
    let found: BTreeSet<String> = list(metadata, "packages")
        .flat_map(|package| {
            let from = short(text(package, "name"));
            list(package, "dependencies")
                .filter(|dependency| text(dependency, "kind") != "dev")
                .filter_map(move |dependency| arrow(from, dependency))
        })
        .collect();
    found.into_iter().collect()
}

/// The arrow of one dependency, if it may not be there.
fn arrow(from: &str, dependency: &Value) -> Option<String> {
    let name = text(dependency, "name");
    let is_ours = dependency.get("path").is_some_and(Value::is_string);
    let allowed = match (is_ours, short(name)) {
        _ if FREE.contains(&from) => true,
        (true, to) => may_use(from, to),
        (false, _) => !(PURE.contains(&from) && IMPURE.contains(&name)),
    };
    (!allowed).then(|| format!("{from} -> {}", if is_ours { short(name) } else { name }))
}

fn may_use(from: &str, to: &str) -> bool {
    let drawn = DRAWN
        .iter()
        .any(|(user, used)| *user == from && used.contains(&to));
    let words = WORDS.contains(&to) && from != "identity";
    drawn || words
}

/// The arrows between our crates as ARCHITECTURE.md draws them: `a, b -> c, d`, several on a line.
fn drawing(document: &str) -> BTreeSet<(String, String)> {
    let mut arrows = BTreeSet::new();
    for line in document.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let tips = words.iter().enumerate().filter(|(_, word)| **word == "->");
        for (tip, _) in tips {
            let (before, after) = words.split_at(tip);
            let users = before.iter().rev().enumerate();
            let users = users.take_while(|(at, word)| *at == 0 || word.ends_with(','));
            for (_, user) in users {
                for used in names(after.get(1..).unwrap_or_default()) {
                    arrows.insert((user.trim_end_matches(',').to_owned(), used));
                }
            }
        }
    }
    arrows
}

/// Words up to the first that no comma follows.
fn names(words: &[&str]) -> Vec<String> {
    let more = words.iter().take_while(|word| word.ends_with(',')).count();
    let list = words.iter().take(more + 1);
    list.map(|word| word.trim_end_matches(',').to_owned())
        .collect()
}

/// `imprint-est` is drawn as `est`; the binary is `imprint`.
fn short(package: &str) -> &str {
    package.strip_prefix("imprint-").unwrap_or(package)
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_dependency_between_our_crates_is_drawn() {
        let workshop = Workshop::here().unwrap();
        assert_eq!(undrawn(&metadata(&workshop).unwrap()), Vec::<String>::new());
    }

    #[test]
    fn an_undrawn_arrow_is_named() {
        let rows: &[(&str, Value, &[&str])] = &[
            ("est", ours("registrar", None), &["est -> registrar"]),
            ("registrar", ours("sqlite", None), &["registrar -> sqlite"]),
            (
                "registrar",
                ours("sqlite", Some("build")),
                &["registrar -> sqlite"],
            ),
            ("registrar", ours("sqlite", Some("dev")), &[]),
            ("identity", ours("pkix", None), &["identity -> pkix"]),
            ("device", ours("pkix", None), &[]),
            ("agent", ours("server", None), &["agent -> server"]),
            ("server", ours("est", None), &[]),
            ("server", ours("sqlite", None), &["server -> sqlite"]),
            ("sim", ours("sqlite", None), &[]),
            ("est", theirs("tokio", None), &["est -> tokio"]),
            ("est", theirs("tokio", Some("dev")), &[]),
            ("agent", theirs("tokio", None), &[]),
        ];
        for (from, dependency, want) in rows {
            let metadata = json!({"packages": [
                {"name": format!("imprint-{from}"), "dependencies": [dependency]},
            ]});
            assert_eq!(undrawn(&metadata), *want, "{from} uses {dependency}");
        }
    }

    #[test]
    fn the_drawing_in_the_document_is_the_table() {
        let workshop = Workshop::here().unwrap();
        let metadata = metadata(&workshop).unwrap();
        assert_eq!(stale(&workshop, &metadata).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_drawing_is_read_arrow_by_arrow() {
        let arrows = drawing("a, b  ->  c, d   (why)      e -> f\nnone of these: g\n");
        let pairs = [("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("e", "f")];
        assert_eq!(
            arrows,
            pairs
                .map(|(from, to)| (from.to_owned(), to.to_owned()))
                .into()
        );
    }

    fn ours(name: &str, kind: Option<&str>) -> Value {
        json!({"name": format!("imprint-{name}"), "kind": kind, "path": "/crates"})
    }

    fn theirs(name: &str, kind: Option<&str>) -> Value {
        json!({"name": name, "kind": kind})
    }
}
