//! TOML files that people write: an unknown key is refused with the nearest known one.

use std::path::Path;

use anyhow::Context as _;
use serde::de::DeserializeOwned;

/// Reads a file into `T`, or says in which line what is wrong.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("{name} can't be read"))?;
    parse(&text).map_err(|error| anyhow::anyhow!("{name}, {error}"))
}

/// Reads a text into `T`. The error begins with the line.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| explain(text, &error))
}

fn explain(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let message = error.message();
    // "unknown field `htps`, expected one of `https`, `http`": serde has no other form for it.
    let mut words = message.split('`').skip(1).step_by(2);
    if !message.starts_with("unknown field") {
        return format!("line {line}: {message}");
    }
    let unknown = words.next().unwrap_or_default();
    let known: Vec<&str> = words.collect();
    let table = table_of(before);
    let place = if table.is_empty() {
        String::new()
    } else {
        format!(" in {table}")
    };
    let advice = match nearest(unknown, &known) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("known keys are {}", known.join(", ")),
    };
    format!("line {line}: unknown key `{unknown}`{place}; {advice}")
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
            "line 4: unknown key `alowlist` in [[product]]; did you mean `allowlist`?"
        );
        assert_eq!(
            error("[[product]]\nname = \"thermo\"\n[product.certificate]\nlifetime = 3\n"),
            "line 4: unknown key `lifetime` in [product.certificate]; \
             did you mean `lifetime_days`?"
        );
        assert_eq!(
            error("[[products]]\nname = \"thermo\"\n"),
            "line 1: unknown key `products`; did you mean `product`?"
        );
    }

    #[test]
    fn a_key_like_no_other_gets_the_list() {
        let text = error("[[product]]\nname = \"a\"\n[product.token]\nzzz = 1\n");
        assert_eq!(
            text,
            "line 4: unknown key `zzz` in [product.token]; \
             known keys are lifetime_days, bound, dormant"
        );
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_line() {
        let text = error("[[product]]\nname = \"thermo\"\nallowlist = \"yes\"\n");
        assert!(text.starts_with("line 3: invalid type: string"), "{text}");
        let text = error("[[product]]\nname = thermo\n");
        assert!(text.starts_with("line 2: "), "{text}");
    }
}
