//! Topic filters of MQTT subscriptions (MQTT 5.0 and 3.1.1 section 4.7).

use crate::topic::{Direction, reserved};

/// Whether `filter` may be subscribed to at all: 1 to 65,535 bytes without NUL; `+` fills a level,
/// `#` fills the last one (section 4.7.1).
#[must_use]
pub fn is_valid(filter: &str) -> bool {
    let levels = filter.split('/').count();
    let whole = |(at, level): (usize, &str)| match level {
        "#" => at + 1 == levels,
        "+" => true,
        _ => !level.contains(['+', '#', '\0']),
    };
    (1..=usize::from(u16::MAX)).contains(&filter.len()) && filter.split('/').enumerate().all(whole)
}

/// Whether a message to `topic` goes to whoever subscribed to `filter`.
///
/// A filter that begins with a wildcard does not match a topic that begins with `$`
/// (section 4.7.2): `#` gets no replies, `$aws/#` does. An invalid filter matches nothing.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if !is_valid(filter) || (filter.starts_with(['+', '#']) && topic.starts_with('$')) {
        return false;
    }
    let (mut filters, mut topics) = (filter.split('/'), topic.split('/'));
    loop {
        match (filters.next(), topics.next()) {
            // `a/#` matches `a` as well (section 4.7.1.2).
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}

/// Whether any reply of claim provisioning could ever match `filter`, for whichever template. A
/// subscription to anything else has no purpose here.
#[must_use]
pub fn reaches_a_reply(filter: &str) -> bool {
    let template = filter.strip_prefix("$aws/provisioning-templates/");
    let template = template.and_then(|rest| rest.split('/').next());
    let template = template
        .filter(|name| crate::topic::is_template_name(name))
        .unwrap_or("any");
    reserved(template)
        .iter()
        .filter(|topic| topic.direction == Direction::Answer)
        .any(|topic| matches(filter, &topic.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &str = "$aws/certificates/create/json/accepted";

    #[test]
    fn filters_match_as_mqtt_says() {
        for (filter, topic, want) in [
            (REPLY, REPLY, true),
            ("$aws/certificates/create/json/rejected", REPLY, false),
            ("$aws/certificates/create/json/+", REPLY, true),
            ("$aws/certificates/create/+/accepted", REPLY, true),
            ("$aws/certificates/create/+", REPLY, false),
            ("$aws/certificates/create/json/accepted/+", REPLY, false),
            ("$aws/certificates/create/json/accepted/#", REPLY, true),
            ("$aws/certificates/create/#", REPLY, true),
            ("$aws/#", REPLY, true),
            ("$aws/+/+/+/+", REPLY, true),
            ("$aws/+/+/+", REPLY, false),
            ("#", REPLY, false),
            ("+/#", REPLY, false),
            ("+/certificates/create/json/accepted", REPLY, false),
            ("$AWS/#", REPLY, false),
            ("$aws/certificates/create/json/accepted/", REPLY, false),
            ("#", "a/b", true),
            ("+/b", "a/b", true),
            ("a/+", "a/", true),
            ("+", "/a", false),
            ("/+", "/a", true),
            ("a/#/b", "a/x/b", false),
            ("a+/b", "a+/b", false),
        ] {
            assert_eq!(matches(filter, topic), want, "{filter} {topic}");
        }
    }

    #[test]
    fn malformed_filters_are_told_apart() {
        for (filter, want) in [
            ("a", true),
            ("/", true),
            ("#", true),
            ("+", true),
            ("a/+/b/#", true),
            ("", false),
            ("a#", false),
            ("#/a", false),
            ("a/#b", false),
            ("a/b+", false),
            ("a\0", false),
        ] {
            assert_eq!(is_valid(filter), want, "{filter:?}");
        }
        assert!(is_valid(&"a".repeat(65_535)));
        assert!(!is_valid(&"a".repeat(65_536)));
    }

    #[test]
    fn a_subscription_that_gets_no_reply_is_told_apart() {
        for (filter, want) in [
            (REPLY, true),
            ("$aws/#", true),
            ("$aws/certificates/+/json/+", true),
            (
                "$aws/provisioning-templates/t-1/provision/cbor/rejected",
                true,
            ),
            ("$aws/provisioning-templates/+/provision/+/+", true),
            (
                "$aws/provisioning-templates/a b/provision/cbor/rejected",
                false,
            ),
            ("$aws/certificates/create/json", false),
            ("$aws/events/#", false),
            ("#", false),
            ("telemetry/#", false),
            (
                "$aws/provisioning-templates/t/provision/xml/accepted",
                false,
            ),
        ] {
            assert_eq!(reaches_a_reply(filter), want, "{filter}");
        }
    }
}
