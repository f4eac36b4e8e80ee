//! `imprint events`, and a webhook that `imprint.toml` names.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::support::{Place, THERMO, settled};

const NEW: [&str; 4] = ["token", "new", "--product", "thermo"];

/// `imprint events --follow`, and its lines.
struct Following {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Following {
    fn new(place: &Place, more: &[&str]) -> Self {
        let arguments = [&["events", "--follow"], more].concat();
        let mut command = place.command(&arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn next(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn events_are_the_same_on_a_stopped_directory_and_on_a_running_server() {
    let place = Place::with_fleet(THERMO);
    place.ok(&NEW);
    let stopped = place.ok(&["events", "--json"]);
    let server = place.serve();
    let running: Value = place.json(&["events"]);
    let stopped: Value = serde_json::from_str(&stopped).unwrap();
    let both = stopped.as_array().unwrap().len();
    assert_eq!(
        &stopped.as_array().unwrap()[..],
        &running.as_array().unwrap()[..both]
    );
    let first = place.ok(&["events", "--after", "1"]);
    let mut lines = first.lines();
    assert!(lines.next().unwrap().starts_with("EVENT  AT"), "{first}");
    let second = settled(lines.next().unwrap());
    assert!(second.starts_with("2      TIME  token-minted"), "{second}");

    let refused = place.refused(&["events", "--after", "999"]);
    assert!(refused.contains("[events-ahead]"), "{refused}");
    let url = "https://hooks.example/";
    let key = place.ok(&["events", "key", url]);
    assert_eq!(key.len(), 64);
    assert_ne!(key, place.ok(&["events", "key", "https://other.example/"]));
    assert_eq!(server.end("TERM"), Some(0));
    assert_eq!(
        place.ok(&["events", "key", url]),
        key,
        "it is made of the server's own key"
    );
    let refused = place.refused(&["events", "key", "http://hooks.example/"]);
    assert!(refused.contains("in the clear"), "{refused}");
}

#[test]
fn who_follows_sees_each_event_once_and_stays_through_a_restart() {
    let place = Place::with_fleet(THERMO);
    let refused = place.refused(&["events", "--follow"]);
    assert!(refused.contains("[no-server]"), "{refused}");
    let server = place.serve();
    let mut following = Following::new(&place, &["--json"]);
    let mut ids = Vec::new();
    let mut read = |following: &mut Following, kind: &str| {
        loop {
            let event: Value = serde_json::from_str(&following.next()).unwrap();
            ids.push(event["id"].as_str().unwrap().parse::<u64>().unwrap());
            if event["type"] == format!("internal.imprint.{kind}") {
                return ids.clone();
            }
        }
    };
    read(&mut following, "product-applied");
    place.ok(&NEW);
    read(&mut following, "token-minted");
    // A server that comes back on another port within the patience of a command.
    assert_eq!(server.end("KILL"), None);
    let server = place.serve();
    place.ok(&NEW);
    let ids = read(&mut following, "token-minted");
    let want: Vec<u64> = (1..=ids.len() as u64).collect();
    assert_eq!(ids, want);
    assert_eq!(server.end("TERM"), Some(0));
    assert_eq!(following.next(), "", "nothing comes any more");
    assert_eq!(following.child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_webhook_in_the_settings_is_told_what_it_asked_for() {
    let place = Place::with_fleet(THERMO);
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/told", receiver.local_addr().unwrap());
    let hook = format!("[[webhook]]\nurl = \"{url}\"\nkinds = [\"token-minted\"]\n");
    let settings = place.read("imprint/imprint.toml");
    place.write("imprint/imprint.toml", &(settings + &hook));
    let _server = place.serve();
    std::thread::sleep(std::time::Duration::from_millis(500));
    place.ok(&NEW);
    let (mut told, _) = receiver.accept().unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4_096];
    while !text.contains("token-minted") {
        let read = told.read(&mut buffer).unwrap();
        assert!(read > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    told.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    assert!(text.starts_with("POST /told HTTP/1.1\r\n"), "{text}");
    assert!(text.contains("imprint-signature: t="), "{text}");
}
