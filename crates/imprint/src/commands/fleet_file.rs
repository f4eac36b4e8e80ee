//! The fleet file: TOML with other files beside it, read into a fleet; and a fleet, written as one.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use imprint_registrar::Fleet;
use imprint_registrar::claims::definition::{
    AutoRegistration, CaMode, Claim, Hook, RegisteredCa, Template,
};
use imprint_registrar::product::Product;
use imprint_registrar::registry::{Named, Policy};
use imprint_server::admin::template_report;
use serde::Deserialize;
use serde_json::{Map, Value};
use toml::Spanned;

use crate::toml_file;

/// The file as it is written: documents and certificates in place, or in files beside it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FleetFile {
    product: Vec<Product>,
    group: Vec<Named>,
    thing_type: Vec<Named>,
    policy: Vec<PolicyEntry>,
    template: Vec<TemplateEntry>,
    claim: Vec<Claim>,
    registered_ca: Vec<CaEntry>,
}

/// `[[policy]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyEntry {
    name: String,
    #[serde(default)]
    description: String,
    /// The document.
    document: Option<String>,
    /// The file that it is in, beside the fleet file.
    file: Option<PathBuf>,
}

/// `[[template]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateEntry {
    name: String,
    product: String,
    #[serde(default)]
    description: String,
    #[serde(default = "yes")]
    enabled: bool,
    /// The document.
    body: Option<Spanned<String>>,
    /// The file that it is in, beside the fleet file.
    file: Option<PathBuf>,
    hardware: Option<String>,
    #[serde(default)]
    create_missing: bool,
    hook: Option<Hook>,
}

/// `[[registered_ca]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaEntry {
    name: String,
    product: String,
    /// The certificate, PEM.
    certificate: Option<String>,
    /// The file that it is in, beside the fleet file.
    file: Option<PathBuf>,
    template: Option<String>,
    #[serde(default)]
    mode: CaMode,
    #[serde(default = "yes")]
    active: bool,
    #[serde(default)]
    auto: AutoRegistration,
    strength: Option<String>,
    /// The certificate on the registration code, PEM.
    proof: Option<String>,
    /// The file that it is in, beside the fleet file.
    proof_file: Option<PathBuf>,
}

/// Reads a fleet file and what it names, and checks all of it, line numbers and all.
pub(super) fn read(path: &Path) -> anyhow::Result<Fleet> {
    let name = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("{name} can't be read"))?;
    let beside = path.parent().unwrap_or(Path::new(""));
    parse(&text, beside, &name.to_string())
}

fn parse(text: &str, beside: &Path, name: &str) -> anyhow::Result<Fleet> {
    let file: FleetFile = toml_file::parse(text).map_err(|error| anyhow!("{name}, {error}"))?;
    let mut fleet = Fleet {
        products: file.product,
        groups: file.group,
        thing_types: file.thing_type,
        claims: file.claim,
        ..Fleet::default()
    };
    for entry in file.policy {
        let what = || format!("{name}: policy {:?}", entry.name);
        let document = either((entry.document, entry.file), beside).with_context(what)?;
        fleet.policies.push(Policy {
            name: entry.name,
            description: entry.description,
            document,
        });
    }
    for entry in file.template {
        fleet.templates.push(template(entry, text, beside, name)?);
    }
    for entry in file.registered_ca {
        let what = format!("{name}: CA {:?}", entry.name);
        let texts = (entry.proof, entry.proof_file);
        if let Some(proof) = either(texts, beside).with_context(|| what.clone())? {
            fleet.proofs.insert(entry.name.clone(), proof);
        }
        let certificate = either((entry.certificate, entry.file), beside)
            .and_then(|text| text.context("give its certificate as `certificate` or `file`"))
            .with_context(|| what)?;
        fleet.registered_cas.push(RegisteredCa {
            name: entry.name,
            certificate,
            product: entry.product,
            template: entry.template,
            mode: entry.mode,
            active: entry.active,
            auto: entry.auto,
            strength: entry.strength.unwrap_or_else(|| "asserted".to_owned()),
        });
    }
    fleet.check().map_err(|error| {
        let place = error
            .place()
            .and_then(|(object, of, key)| toml_file::place_of(text, object.key(), of, key));
        match place {
            Some(place) => anyhow!("{name}, {place}: {error}"),
            None => anyhow!("{name}: {error}"),
        }
    })?;
    Ok(fleet)
}

fn template(
    entry: TemplateEntry,
    text: &str,
    beside: &Path,
    name: &str,
) -> anyhow::Result<Template> {
    // What is wrong with a document is told by its place in the file that it stands in.
    let (body, file, above) = match (entry.body, entry.file) {
        (Some(body), None) => {
            let above = lines_above(text, body.span().start);
            (body.into_inner(), name.to_owned(), above)
        }
        (None, Some(file)) => {
            let path = beside.join(file);
            let file = path.display().to_string();
            let body =
                fs::read_to_string(&path).with_context(|| format!("{file} can't be read"))?;
            (body, file, 0)
        }
        _ => bail!(
            "{name}: template {:?}: give its document as `body` or `file`, one of them",
            entry.name
        ),
    };
    if let Some(fault) = template_report(&body).fault {
        let (line, column) = (above + fault.line as usize, fault.column);
        let path = if fault.path.is_empty() {
            String::new()
        } else {
            format!("{}: ", fault.path)
        };
        bail!(
            "{file}:{line}:{column}: template {:?}: {path}{}",
            entry.name,
            fault.message
        );
    }
    Ok(Template {
        name: entry.name,
        product: entry.product,
        description: entry.description,
        enabled: entry.enabled,
        body,
        hardware: entry.hardware.unwrap_or_else(|| "SerialNumber".to_owned()),
        create_missing: entry.create_missing,
        hook: entry.hook,
    })
}

/// The lines in front of a text that begins at octet `start`. One in three quotes may begin in the
/// line below them.
fn lines_above(text: &str, start: usize) -> usize {
    let (before, from) = text.split_at_checked(start).unwrap_or((text, ""));
    let below = ["'''\n", "\"\"\"\n", "'''\r\n", "\"\"\"\r\n"]
        .iter()
        .any(|quotes| from.starts_with(quotes));
    before.matches('\n').count() + usize::from(below)
}

/// A text that is given in place or in a file, not both.
fn either(
    (text, file): (Option<String>, Option<PathBuf>),
    beside: &Path,
) -> anyhow::Result<Option<String>> {
    match (text, file) {
        (Some(_), Some(_)) => bail!("give a text or a file, not both"),
        (text, None) => Ok(text),
        (None, Some(file)) => {
            let path = beside.join(file);
            let text = fs::read_to_string(&path);
            Ok(Some(text.with_context(|| {
                format!("{} can't be read", path.display())
            })?))
        }
    }
}

/// A fleet as a file that makes it: keys that have their default are left out.
pub(super) fn write(fleet: &Fleet) -> anyhow::Result<String> {
    let shortest = fleet.shortest()?;
    let mut blocks = Vec::new();
    for part in PARTS {
        for object in shortest
            .get(part)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let keys = object.as_object().context("each part is an object")?;
            blocks.push(block(&format!("[[{part}]]"), part, keys));
        }
    }
    Ok(blocks.join("\n"))
}

/// In this order.
const PARTS: [&str; 7] = [
    "product",
    "group",
    "thing_type",
    "policy",
    "template",
    "claim",
    "registered_ca",
];

/// A table: its name first, then whose it is, then the other keys, tables last.
fn block(header: &str, path: &str, keys: &Map<String, Value>) -> String {
    let mut text = format!("{header}\n");
    let first = ["name", "product"];
    let others = keys
        .keys()
        .map(String::as_str)
        .filter(|key| !first.contains(key));
    let mut tables = String::new();
    for key in first.into_iter().chain(others) {
        match keys.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::Object(inner)) => {
                let path = format!("{path}.{key}");
                tables.push_str(&block(&format!("[{path}]"), &path, inner));
            }
            Some(value) => {
                let _ = writeln!(text, "{} = {}", bare(key), scalar(value));
            }
        }
    }
    text + &tables
}

/// A key as TOML takes it: names of attributes may hold what a bare one can't.
fn bare(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !key.is_empty() && key.bytes().all(plain) {
        key.to_owned()
    } else {
        quoted(key)
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_readable_in_lines(text) => format!("'''\n{text}'''"),
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(scalar).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// Whether a text can stand in three quotes as it is.
fn is_readable_in_lines(text: &str) -> bool {
    let plain = |letter: char| matches!(letter, '\n' | '\t') || !letter.is_control();
    text.contains('\n') && text.chars().all(plain) && !text.contains("''") && !text.ends_with('\'')
}

/// A basic string (TOML 1.0): quotes, backslashes and control characters are escaped.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            letter if letter.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

const fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use imprint_registrar::Door;
    use imprint_registrar::claims::definition::{ClaimLimits, HookFailure};
    use imprint_registrar::product::{CertificateProfile, ConnectionProfile, ProductLimits};
    use proptest::collection::{btree_map, btree_set, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn read_back(text: &str) -> Result<Fleet, String> {
        parse(text, Path::new("."), "fleet.toml").map_err(|error| format!("{error:#}"))
    }

    fn error(text: &str) -> String {
        read_back(text).unwrap_err()
    }

    /// Where a document may break its line.
    const RESOURCES: &str = ",\"Resources\"";

    /// Documents that are written in many ways and mean something.
    fn body() -> impl Strategy<Value = String> {
        let text = "[ -~\t'\"\\\\äü☃]{0,12}";
        (text, any::<bool>(), any::<bool>(), "'{0,3}").prop_map(|(default, lines, crlf, quotes)| {
            let default = serde_json::to_string(&format!("{default}{quotes}")).unwrap();
            let document = format!(
                r#"{{"Parameters":{{"SerialNumber":{{"Type":"String","Default":{default}}}}},"#
            ) + r#""Resources":{"certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"}}}}}"#;
            match (lines, crlf) {
                (false, _) => document,
                (true, false) => document.replace(RESOURCES, ",\n\t\"Resources\"") + "\n",
                (true, true) => document.replace(RESOURCES, ",\r\n\"Resources\""),
            }
        })
    }

    fn products() -> impl Strategy<Value = Vec<Product>> {
        let product = (
            any::<bool>(),
            0..36_500_u32,
            "[ -~]{0,20}",
            btree_set("[a-zA-Z0-9:_.-]{1,8}", 0..3),
            (any::<u32>(), any::<u32>()),
            option::of(proptest::sample::subsequence(
                Door::ALL,
                0..=Door::ALL.len(),
            )),
            // Patterns with everything in them that TOML has to escape.
            option::of("[a-z\"'\\\\]\\\\[dws][.][a-z#=]{0,4}"),
            btree_map(
                "[a-zA-Z0-9_.,@/:#-]{1,6}",
                "[a-zA-Z0-9_.,@/:#=\\[\\]-]{0,9}",
                0..3,
            ),
            0..=3_650_u32,
        );
        vec(product, 1..4).prop_map(|products| {
            let numbered = products.into_iter().enumerate();
            numbered
                .map(
                    |(
                        at,
                        (
                            flag,
                            lifetime_days,
                            topic_prefix,
                            groups,
                            pace,
                            doors,
                            serial_pattern,
                            attributes,
                            bootstrap_grace_days,
                        ),
                    )| Product {
                        allowlist: flag,
                        ca: flag.then(|| "issuing".to_owned()),
                        doors,
                        serial_pattern,
                        groups: groups.into_iter().collect(),
                        attributes,
                        bootstrap_grace_days,
                        certificate: CertificateProfile {
                            lifetime_days,
                            ..CertificateProfile::default()
                        },
                        connection: ConnectionProfile {
                            topic_prefix,
                            ..ConnectionProfile::default()
                        },
                        limits: ProductLimits {
                            enrollments_per_second: pace.0,
                            burst: pace.1,
                        },
                        ..Product::named(&format!("p{at}"))
                    },
                )
                .collect()
        })
    }

    fn fleets() -> impl Strategy<Value = Fleet> {
        let hook = (any::<bool>(), "[ -~]{0,9}").prop_map(|(allow, path)| Hook {
            url: format!("https://a.example/{path}"),
            on_failure: if allow {
                HookFailure::Allow
            } else {
                HookFailure::Refuse
            },
        });
        let template = (
            body(),
            "\\PC{0,20}",
            any::<bool>(),
            option::of(hook),
            any::<bool>(),
        );
        let named = (btree_set("[a-zA-Z0-9:_.-]{1,9}", 0..4), "\\PC{0,9}");
        let policy = (
            "\\PC{0,9}",
            option::of(btree_map("[a-z\"'\\\\]{0,3}", "[ -~\n\t'\"]{0,9}", 0..3)),
        );
        let claim = (
            any::<bool>(),
            0..9_u32,
            0..u32::MAX,
            vec(any::<u32>(), 24),
            0..3_u8,
        );
        let registry = (named.clone(), named, vec(policy, 0..3));
        (products(), registry, vec(template, 0..4), vec(claim, 0..4)).prop_map(
            |(products, (groups, types, policies), templates, claims)| {
                let named = |(names, description): (BTreeSet<String>, String)| {
                    let named = names.into_iter().map(|name| Named {
                        name,
                        description: description.clone(),
                    });
                    named.collect::<Vec<_>>()
                };
                let policies = policies.into_iter().enumerate();
                let policies = policies.map(|(at, (description, document))| Policy {
                    name: format!("p={at}"),
                    description,
                    document: document
                        .map(|document| serde_json::to_string_pretty(&document).unwrap()),
                });
                let templates: Vec<_> = templates
                    .into_iter()
                    .enumerate()
                    .map(
                        |(at, (body, description, enabled, hook, create_missing))| Template {
                            name: format!("T_{at}"),
                            product: "p0".into(),
                            description,
                            enabled,
                            body,
                            hardware: "SerialNumber".into(),
                            create_missing,
                            hook,
                        },
                    )
                    .collect();
                let claims = claims.into_iter().enumerate().map(
                    |(at, (allowlist, grace, total, curve, height))| Claim {
                        templates: templates.iter().map(|one| one.name.clone()).collect(),
                        allowlist,
                        bootstrap_grace_days: grace,
                        limits: ClaimLimits {
                            total: total.into(),
                            expected_per_hour: match height {
                                0 => Vec::new(),
                                1 => curve[..1].to_vec(),
                                _ => curve,
                            },
                            ..ClaimLimits::default()
                        },
                        ..Claim::named(&format!("line-{at}"), "p0")
                    },
                );
                Fleet {
                    products,
                    groups: named(groups),
                    thing_types: named(types),
                    policies: policies.collect(),
                    claims: claims.collect(),
                    templates,
                    ..Fleet::default()
                }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn what_is_written_reads_back_as_the_same_fleet(fleet in fleets()) {
            prop_assert_eq!(fleet.check(), Ok(()));
            let text = write(&fleet).unwrap();
            let back = read_back(&text);
            prop_assert_eq!(back.as_ref(), Ok(&fleet), "{}", text);
            prop_assert_eq!(write(&fleet).unwrap(), text);
        }
    }

    #[test]
    fn a_file_has_no_more_in_it_than_it_needs() {
        let fleet = Fleet {
            products: vec![Product::named("thermo")],
            claims: vec![Claim::named("line-1", "thermo")],
            ..Fleet::default()
        };
        let want = "[[product]]\nname = \"thermo\"\n\n\
                    [[claim]]\nname = \"line-1\"\nproduct = \"thermo\"\n";
        assert_eq!(write(&fleet).unwrap(), want);
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let product = "[[product]]\nname = \"thermo\"\n";
        let claim =
            format!("{product}[[claim]]\nname = \"l\"\nproduct = \"thermo\"\ntemplate = []\n");
        assert_eq!(
            error(&claim),
            "fleet.toml, line 6, column 1: unknown key `template` in [[claim]]; \
             did you mean `templates`?"
        );
        let head = "[[template]]\nname = \"t\"\nproduct = \"thermo\"\n";
        let in_place =
            format!("{head}body = '''\n{{\n  \"Resources\": {{}},\n  \"Rules\": 1\n}}\n'''\n");
        let told = error(&in_place);
        assert!(
            told.starts_with("fleet.toml:7:3: template \"t\": "),
            "{told}"
        );
        let in_line = format!("{head}body = '{{ \"Rules\": 1 }}'\n");
        let told = error(&in_line);
        assert!(
            told.starts_with("fleet.toml:4:3: template \"t\": "),
            "{told}"
        );
        assert!(error(head).contains("give its document as `body` or `file`"));
        let told = error(&format!("{head}file = \"gone.json\"\n"));
        assert!(told.starts_with("./gone.json can't be read"), "{told}");
        let ca = "[[registered_ca]]\nname = \"a\"\nproduct = \"thermo\"\n";
        assert!(error(ca).contains("CA \"a\": give its certificate"));
        let told = error(&format!("{ca}certificate = \"no\"\nmode = \"sni\"\n"));
        assert!(told.contains("line 5"), "{told}");
        let told = error(&format!("{ca}certificate = \"no\"\n"));
        assert!(
            told.starts_with("fleet.toml, line 4, column 15: CA \"a\", `certificate`: "),
            "{told}"
        );
        let told = error(&format!("{product}serial_pattern = \"(\"\n"));
        assert!(
            told.starts_with(
                "fleet.toml, line 3, column 18: product \"thermo\", `serial_pattern`: "
            ),
            "{told}"
        );
        let told = error(&format!(
            "{product}[[policy]]\nname = \"p\"\ndocument = \"[]\"\n"
        ));
        assert!(
            told.starts_with("fleet.toml, line 5, column 12: policy \"p\", `document`: "),
            "{told}"
        );
        let told = error(&format!("{product}{product}"));
        assert!(
            told.starts_with("fleet.toml, line 2, column 8: product \"thermo\" stands twice"),
            "{told}"
        );
    }
}
