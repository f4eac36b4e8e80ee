//! TOML files that people write: an unknown key is refused with the nearest known one.

use std::fmt;
use std::path::Path;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

/// Reads a file into `T`, or says where what is wrong.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("{name} can't be read"))?;
    parse(&text).map_err(|error| anyhow::anyhow!("{name}, {error}"))
}

/// Reads a text into `T`. The error begins with line and column.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| explain(text, &error))
}

fn explain(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.get(..at).unwrap_or_default();
    let place = Place::of(text, at);
    let message = error.message();
    // "unknown field `htps`, expected one of `https`, `http`": serde has no other form for it.
    let mut words = message.split('`').skip(1).step_by(2);
    let unknown = words.next().unwrap_or_default();
    let known: Vec<&str> = words.collect();
    let advice = |what: &str| match nearest(unknown, &known) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("known {what} are {}", known.join(", ")),
    };
    if message.starts_with("unknown variant") {
        return format!("{place}: unknown word `{unknown}`; {}", advice("words"));
    }
    if !message.starts_with("unknown field") {
        return format!("{place}: {message}");
    }
    let table = table_of(before);
    let table = if table.is_empty() {
        String::new()
    } else {
        format!(" in {table}")
    };
    format!(
        "{place}: unknown key `{unknown}`{table}; {}",
        advice("keys")
    )
}

/// A place in a text, both counted from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    line: usize,
    column: usize,
}

impl Place {
    /// Where octet `at` is.
    pub(crate) fn of(text: &str, at: usize) -> Self {
        let before = text.get(..at.min(text.len())).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self {
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Where the key `path` (dotted) of the object `name` among `[[table]]` has its value, if it is written
/// down; else where the object begins.
pub(crate) fn place_of(text: &str, table: &str, name: &str, path: &str) -> Option<Place> {
    let document = DeTable::parse(text).ok()?;
    let DeValue::Array(objects) = document.get_ref().get(table)?.get_ref() else {
        return None;
    };
    let object = objects.iter().find(|object| {
        let DeValue::Table(keys) = object.get_ref() else {
            return false;
        };
        keys.get("name").and_then(|value| value.get_ref().as_str()) == Some(name)
    })?;
    let mut found = object;
    for key in path.split('.') {
        let DeValue::Table(keys) = found.get_ref() else {
            break;
        };
        match keys.get(key) {
            Some(value) => found = value,
            None => break,
        }
    }
    Some(Place::of(text, found.span().start))
}

/// The table header above the line that the mistake is in.
fn table_of(before: &str) -> &str {
    let above = before
        .rfind('\n')
        .and_then(|end| before.get(..end))
        .unwrap_or_default();
    above
        .lines()
        .map(str::trim)
        .rfind(|line| line.starts_with('['))
        .map_or("", |line| line.split('#').next().unwrap_or(line).trim())
}

/// The known key that was most likely meant.
fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|key| (strsim::jaro_winkler(unknown, key), *key))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use imprint_registrar::Fleet;

    use super::*;

    fn error(text: &str) -> String {
        parse::<Fleet>(text).map(|_| ()).unwrap_err()
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one_and_its_line() {
        assert_eq!(
            error("# the fleet\n[[product]]\nname = \"thermo\"\nalowlist = true\n"),
            "line 4, column 1: unknown key `alowlist` in [[product]]; did you mean `allowlist`?"
        );
        assert_eq!(
            error("[[product]]\nname = \"thermo\"\n[product.certificate]\nlifetime = 3\n"),
            "line 4, column 1: unknown key `lifetime` in [product.certificate]; \
             did you mean `lifetime_days`?"
        );
        assert_eq!(
            error("[[products]]\nname = \"thermo\"\n"),
            "line 1, column 3: unknown key `products`; did you mean `product`?"
        );
    }

    #[test]
    fn a_key_like_no_other_gets_the_list() {
        let text = error("[[product]]\nname = \"a\"\n[product.token]\nzzz = 1\n");
        assert_eq!(
            text,
            "line 4, column 1: unknown key `zzz` in [product.token]; \
             known keys are lifetime_days, bound, dormant"
        );
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_line() {
        let text = error("[[product]]\nname = \"thermo\"\nallowlist = \"yes\"\n");
        assert!(
            text.starts_with("line 3, column 13: invalid type: string"),
            "{text}"
        );
        let text = error("[[product]]\nname = \"thermo\"\ndoors = [\"est\", \"clam\"]\n");
        assert_eq!(
            text,
            "line 3, column 17: unknown word `clam`; did you mean `claim`?"
        );
        let text = error("[[product]]\nname = thermo\n");
        assert!(text.starts_with("line 2, column "), "{text}");
    }

    #[test]
    fn a_value_is_found_by_its_object_and_its_key() {
        let text = "# a\n[[product]]\nname = \"thermo\"\n\n[[product]]\nname = \"valve\"\n\
                    naming = \"x\"\ncertificate.lifetime_days = 40_000\n[product.token]\nbound = true\n";
        let place =
            |name, path| place_of(text, "product", name, path).map(|place| place.to_string());
        for (path, want) in [
            ("naming", "line 7, column 10"),
            ("certificate.lifetime_days", "line 8, column 29"),
            ("token.bound", "line 10, column 9"),
            // What is not written down is told where the object begins.
            ("keys", "line 5, column 1"),
        ] {
            assert_eq!(place("valve", path).as_deref(), Some(want), "{path}");
        }
        assert_eq!(place("gone", "naming"), None);
    }
}
