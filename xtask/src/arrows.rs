//! The architecture as data: which crate may use which.
//!
//! The drawing is in ARCHITECTURE.md. A dependency that is not drawn is named here, and fails a
//! test; whoever needs it draws it first, in both places, and says why.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::shell::{Workshop, output};

/// Who may use whom. `identity` and `pkix` may be used by all, and test crates are free.
#[rustfmt::skip]
const DRAWN: &[(&str, &[&str])] = &[
    // The binary wires: it hands a ledger and a signer to the registrar, a machine to the agent.
    ("imprint",   &["server", "agent", "station", "sqlite", "postgres", "signer",
                    "registrar", "device", "est"]),
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
    let undrawn = undrawn(&metadata);
    if !undrawn.is_empty() {
        bail!("not drawn in ARCHITECTURE.md:\n  {}", undrawn.join("\n  "));
    }
    println!("arrows: every dependency between our crates is drawn");
    Ok(())
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

    fn ours(name: &str, kind: Option<&str>) -> Value {
        json!({"name": format!("imprint-{name}"), "kind": kind, "path": "/crates"})
    }

    fn theirs(name: &str, kind: Option<&str>) -> Value {
        json!({"name": name, "kind": kind})
    }
}
