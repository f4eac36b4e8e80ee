//! DPS over MQTT: client id, user name and topic, a line each, and the payload. The server's side,
//! and what a hub reads.
#![no_main]

use imprint_dps::hub::{self, HubLogin};
use imprint_dps::{Login, Question, client};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
    let mut line = || std::str::from_utf8(parts.next()?).ok();
    let (Some(client_id), Some(user_name), Some(topic)) = (line(), line(), line()) else {
        return;
    };
    let payload = parts.next().unwrap_or_default();
    if let Ok(login) = HubLogin::parse(client_id, user_name) {
        assert!(HubLogin::is_user_name(user_name) && !Login::is_user_name(user_name));
        let _ = hub::telemetry(topic, &login.device_id);
    }
    let Ok(login) = Login::parse(client_id, user_name) else {
        return;
    };
    if login.api_version.is_some() && login.client_version.as_deref() != Some("") {
        let again = Login::parse(client_id, &login.to_string());
        assert_eq!(again.as_ref(), Ok(&login));
    }
    let Ok(question) = Question::parse(topic) else {
        return;
    };
    let Ok(request) = question.request(&login.registration_id, payload) else {
        return;
    };
    // What our own device would publish for it asks the same.
    let sent = client::publish(&request, &login.registration_id, &question.rid);
    let (topic, payload) = sent.expect("only a lookup is not asked over MQTT");
    let again = Question::parse(&topic).expect("our own topic");
    assert_eq!(again.rid, question.rid);
    assert_eq!(
        again.request(&login.registration_id, &payload).as_ref(),
        Ok(&request)
    );
});
