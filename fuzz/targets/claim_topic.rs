//! Topics and topic filters: a filter, a line feed, a topic.
#![no_main]

use imprint_claim::{Call, filter};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (wanted, topic) = text.split_once('\n').unwrap_or(("#", text));
    let matched = filter::matches(wanted, topic);
    assert!(!matched || filter::is_valid(wanted));
    if filter::is_valid(topic) && !topic.contains(['+', '#']) {
        assert!(filter::matches(topic, topic));
    }
    let Ok(call) = Call::parse(topic) else {
        return;
    };
    assert_eq!(call.to_string(), topic);
    for reply in [call.accepted(), call.rejected()] {
        assert!(Call::parse(&reply).is_err());
        assert!(!filter::matches(wanted, &reply) || filter::reaches_a_reply(wanted));
    }
});
