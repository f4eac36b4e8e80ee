//! `imprint why`: the step, the cause, the evidence, what to do, for each way to be stuck.

use std::time::{Duration, Instant};

use crate::support::{Place, THERMO, settled};

#[test]
fn a_device_that_joined_has_nothing_to_do() {
    let place = Place::with_fleet(THERMO);
    let server = place.serve();
    let token = place.ok(&["token", "new", "--product", "thermo"]);
    assert_eq!(server.agent(&place, "custom:SN-1", &token), 0);
    let why = place.ok(&["why", "custom:SN-1"]);
    insta::assert_snapshot!("why_provisioned", settled(&why));
    // The token has told its story.
    let tokens = place.json(&["token", "list"]);
    assert_eq!(tokens[0]["state"], "spent");
    assert_eq!(tokens[0]["lease"]["device"], "thermo-sn-1");
    assert_eq!(server.end("TERM"), Some(0));
}

#[test]
fn a_stranger_that_was_refused_is_explained() {
    let place = Place::with_fleet(THERMO);
    let server = place.serve();
    let mistyped = "00000-00000-00000-00000-00000-00001";
    assert_eq!(
        server.agent(&place, "custom:SN-2", mistyped),
        10,
        "QUARANTINE"
    );
    insta::assert_snapshot!("why_mistyped", settled(&place.ok(&["why", "custom:SN-2"])));
    let json = place.json(&["why", "custom:SN-2"]);
    assert_eq!(json["code"], "token-mistyped");
    assert_eq!(json["state"], serde_json::Value::Null);
    assert_eq!(json["step"], "ENROLL");
    assert_eq!(server.end("TERM"), Some(0));
    // It is on record, not only in the memory of the server that refused it.
    assert_eq!(
        place.json(&["why", "custom:SN-2"])["code"],
        "token-mistyped"
    );
}

#[test]
fn a_second_device_at_a_spent_token_is_explained() {
    let place = Place::with_fleet(THERMO);
    let server = place.serve();
    let token = place.ok(&["token", "new", "--product", "thermo"]);
    assert_eq!(server.agent(&place, "custom:SN-1", &token), 0);
    assert_eq!(server.agent(&place, "custom:SN-3", &token), 10);
    insta::assert_snapshot!("why_spent", settled(&place.ok(&["why", "custom:SN-3"])));
    let show = place.json(&["token", "list"]);
    assert!(show[0]["alarms"].as_u64().unwrap() >= 1);
    assert_eq!(server.end("TERM"), Some(0));
}

#[test]
fn a_device_that_waits_for_approval_is_explained_and_gets_it() {
    let place = Place::with_fleet(&format!("{THERMO}approval = true\n"));
    let server = place.serve();
    let token = place.ok(&["token", "new", "--product", "thermo"]);
    let mut waiting = server
        .agent_command(&place, "custom:SN-4", &token)
        .spawn()
        .unwrap();
    let started = Instant::now();
    while place.run(&["device", "list", "--json"]).out == "[]" {
        assert!(started.elapsed() < Duration::from_secs(20), "nobody asks");
        std::thread::sleep(Duration::from_millis(20));
    }
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    insta::assert_snapshot!("why_held", settled(&place.ok(&["why", "custom:SN-4"])));
    let refusal = place.refused(&["device", "approve", "thermo-sn-4", "--key", "7a"]);
    assert!(refusal.contains("is no key fingerprint"), "{refusal}");
    let other = "7a".repeat(32);
    let refusal = place.refused(&["device", "approve", "thermo-sn-4", "--key", &other]);
    assert!(refusal.contains("[not-now]"), "{refusal}");
    place.ok(&["device", "approve", "thermo-sn-4"]);
    assert_eq!(server.agent(&place, "custom:SN-4", &token), 0);
    let refusal = place.refused(&["device", "approve", "thermo-sn-4"]);
    assert!(refusal.contains("[nobody-waits]"), "{refusal}");
    assert_eq!(server.end("TERM"), Some(0));
}

#[test]
fn what_was_never_heard_of_is_said_to_be_so() {
    let place = Place::new();
    for name in [
        "custom:SN-9",
        "thermo-x",
        "' OR 1=1 --",
        "../../etc/passwd",
        "ä\u{202e}",
    ] {
        let refusal = place.refused(&["why", name]);
        assert!(refusal.contains("[device-unknown]"), "{name}: {refusal}");
    }
}
