//! Answers of a DPS server: one octet that says to what and by which way, two of status, and the
//! body; or a topic, a line feed, and the payload. The device's side.
#![no_main]

use imprint_dps::client::Answer;
use imprint_dps::{OperationId, Registration, Request, Rid};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((which, rest)) = bytes.split_first() else {
        return;
    };
    let operation_id = OperationId::new("5.a").expect("a good name");
    let request = match which & 3 {
        0 => Request::Register(Registration::default()),
        1 => Request::OperationStatus { operation_id },
        _ => Request::Lookup,
    };
    let answer = if which & 4 == 0 {
        let [high, low, body @ ..] = rest else {
            return;
        };
        let status = u16::from_be_bytes([*high, *low]);
        let retry = (which & 8 != 0).then_some("7");
        Answer::http(&request, status, |_| retry, body)
    } else {
        let end = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(rest.len());
        let Ok(topic) = std::str::from_utf8(&rest[..end]) else {
            return;
        };
        let payload = rest.get(end + 1..).unwrap_or_default();
        Answer::mqtt(
            &request,
            &Rid::new("1").expect("a good name"),
            topic,
            payload,
        )
    };
    match answer {
        Ok(Answer::Refused(refused)) => {
            assert!(!refused.message.chars().any(char::is_control));
            let _ = (refused.code(), refused.retry(), refused.to_string());
        }
        Ok(Answer::Assigned(state)) => assert!(state.assigned_hub.is_some()),
        _ => {}
    }
});
