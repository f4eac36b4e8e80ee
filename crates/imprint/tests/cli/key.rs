//! `imprint key derive`, where there is no server.

use std::io::Write as _;
use std::process::Stdio;

use crate::support::Place;

/// The vendor's published example.
const GROUP: &str =
    "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==";
const ID: &str = "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6";
const KEY: &str = "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=";

#[test]
fn keys_are_derived_from_a_file_and_for_a_list_without_a_server() {
    let place = Place::empty();
    let group = place.write("group.key", &format!("{GROUP}\n"));
    let line = place.ok(&["key", "derive", "--group-key", &group, ID]);
    assert_eq!(line, format!("{ID}\t{KEY}"));
    let ids = place.write("ids", &format!("# of the first line\n\nDev-1\n {ID} \n"));
    let lines = place.ok(&["key", "derive", "--group-key", &group, &ids, "dev-1"]);
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1], format!("{ID}\t{KEY}"));
    let key = |line: &str| line.split_once('\t').unwrap().1.to_owned();
    assert!(lines[0].starts_with("Dev-1\t") && lines[2].starts_with("dev-1\t"));
    assert_ne!(key(lines[0]), key(lines[2]), "the case of an id counts");
    let document = place.json(&["key", "derive", "--group-key", &group, ID]);
    assert_eq!(document, serde_json::json!([{"id": ID, "key": KEY}]));
    assert!(!place.server().exists(), "nothing was made");
}

#[test]
fn a_groups_key_comes_by_stdin_too() {
    let place = Place::empty();
    let mut command = place.command(&["key", "derive", "--group-key", "-", ID]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(GROUP.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{ID}\t{KEY}\n")
    );
}

#[test]
fn what_is_no_key_or_no_id_is_refused_and_never_said_again() {
    let place = Place::empty();
    let group = place.write("group.key", GROUP);
    let short = place.write("short.key", "AAAA");
    let text = place.write("text.key", "secret words");
    for (key, items, want) in [
        // Typed instead of its file's name.
        (GROUP, &[ID][..], "--group-key is the name of a file"),
        (&*text, &[ID], "the group's key is not base64"),
        (
            &*short,
            &[ID],
            "a shared key has 32 to 64 bytes, this one has 3",
        ),
        (&*group, &["a b"], "registration id 1, \"a b\""),
        (&*group, &["ok", "not/ok"], "registration id 2, \"not/ok\""),
        ("-", &["-"], "stdin can be the key or the ids, not both"),
        (&*group, &["-"], "no registration id is named"),
    ] {
        let arguments = [&["key", "derive", "--group-key", key], items].concat();
        let refusal = place.refused(&arguments);
        assert!(refusal.contains(want), "{arguments:?}: {refusal}");
        for secret in [GROUP, "secret words", "AAAA"] {
            assert!(!refusal.contains(secret), "{refusal}");
        }
    }
}
