//! Topic filters (MQTT 5.0 section 4.7; MQTT 3.1.1 has the same section).

/// Whether a filter is well formed: `#` alone and last, `+` alone in its level.
pub(super) fn is_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').peekable();
    let sound = filter.len() <= LONGEST && !filter.is_empty();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        let wild = level.contains(['#', '+']);
        if wild && !(level == "+" || level == "#" && last) {
            return false;
        }
    }
    sound
}

/// Whether a topic can be published to: it has no wildcards.
pub(super) fn is_topic(topic: &str) -> bool {
    !topic.is_empty() && topic.len() <= LONGEST && !topic.contains(['#', '+'])
}

/// Whether a message to `topic` is one that `filter` asked for. A filter that begins with a wildcard
/// says nothing about topics that begin with `$` (section 4.7.2).
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['#', '+']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Bytes. The longest that a device needs has a template's name of 36 characters in it.
const LONGEST: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_has_it() {
        let rows = [
            ("a/b/accepted", "a/b/accepted", true),
            ("a/b/accepted", "a/b/rejected", false),
            ("a/b/+", "a/b/accepted", true),
            ("a/b/+", "a/b", false),
            ("a/b/+", "a/b/accepted/c", false),
            ("a/+/accepted", "a/b/accepted", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("#", "a/b", true),
            ("a/b", "a/B", false),
            ("a/b", "a/b/", false),
            ("a/b/", "a/b", false),
            // What the server itself owns is asked for by name.
            ("#", "$aws/certificates/create/json/accepted", false),
            (
                "+/certificates/#",
                "$aws/certificates/create/json/accepted",
                false,
            ),
            ("$aws/#", "$aws/certificates/create/json/accepted", true),
            (
                "$aws/certificates/create/json/+",
                "$aws/certificates/create/json/accepted",
                true,
            ),
            (
                "$aws/certificates/create/+/accepted",
                "$aws/certificates/create/cbor/accepted",
                true,
            ),
        ];
        for (filter, topic, want) in rows {
            assert!(is_filter(filter), "{filter}");
            assert!(is_topic(topic), "{topic}");
            assert_eq!(matches(filter, topic), want, "{filter} {topic}");
        }
    }

    #[test]
    fn a_wildcard_stands_alone_and_a_topic_has_none() {
        let long = "a/".repeat(LONGEST);
        for filter in ["", "a#", "#/a", "a/#/b", "a+", "a/+b", "+a/b", "##", &long] {
            assert!(!is_filter(filter), "{filter}");
            assert!(!is_topic(filter), "{filter}");
        }
        for filter in ["#", "+", "a/+", "+/#"] {
            assert!(is_filter(filter) && !is_topic(filter), "{filter}");
        }
    }
}
