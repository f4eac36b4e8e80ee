//! `imprint serve`.

use std::fs;
use std::net::TcpStream;

use imprint_pkix::certificate::Certificate;
use imprint_pkix::pem;

use crate::support::{Place, THERMO};

#[test]
fn the_ready_line_names_the_listeners_that_run_and_no_others() {
    let place = Place::new();
    place.edit(
        "imprint/imprint.toml",
        "\nhttp = \"127.0.0.1:0\"",
        "\nhttp = \"off\"",
    );
    let server = place.serve();
    let words: Vec<_> = server.ready.split(' ').collect();
    let names: Vec<_> = words
        .iter()
        .map(|word| word.split('=').next().unwrap())
        .collect();
    assert_eq!(names, ["ready", "https", "mqtts", "admin"]);
    for listener in ["https", "mqtts", "admin"] {
        let address = server.address(listener).unwrap();
        assert!(!address.ends_with(":0"), "{address}");
        TcpStream::connect(address).unwrap();
    }
    let written = fs::read_to_string(place.server().join("run/admin")).unwrap();
    assert_eq!(written.trim(), server.address("admin").unwrap());
    assert_eq!(server.end("TERM"), Some(0));
    assert!(!place.server().join("run/admin").exists());
}

#[test]
fn an_interrupt_ends_the_server_in_order_as_well() {
    let place = Place::new();
    assert_eq!(place.serve().end("INT"), Some(0));
    let log = place.read("log");
    assert!(log.contains("the server ends"), "{log}");
}

#[test]
fn a_second_server_is_refused_and_the_first_goes_on() {
    let place = Place::new();
    let server = place.serve();
    let refusal = place.refused(&["serve"]);
    assert!(refusal.contains("is held by serve, process "), "{refusal}");
    place.ok(&["status"]);
    assert_eq!(server.end("TERM"), Some(0));
}

#[test]
fn what_a_killed_server_left_behind_misleads_nobody() {
    let place = Place::with_fleet(THERMO);
    assert_eq!(place.serve().end("KILL"), None);
    assert!(place.server().join("run/admin").exists());
    place.ok(&["token", "new", "--product", "thermo"]);
    assert!(!place.server().join("run/admin").exists());
    assert_eq!(place.serve().end("TERM"), Some(0));
}

#[test]
fn a_server_without_an_admin_listener_says_so() {
    let place = Place::new();
    place.edit(
        "imprint/imprint.toml",
        "\nadmin = \"127.0.0.1:0\"",
        "\nadmin = \"off\"",
    );
    let server = place.serve();
    assert_eq!(server.address("admin"), None);
    let refusal = place.refused(&["status"]);
    assert!(refusal.contains("its admin listener is off"), "{refusal}");
    assert_eq!(server.end("TERM"), Some(0));
    place.ok(&["status"]);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let place = Place::new();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("\nhttps = \"{}\"", other.local_addr().unwrap());
    place.edit("imprint/imprint.toml", "\nhttps = \"127.0.0.1:0\"", &taken);
    let said = place.run(&["serve"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(said.out, "", "never ready");
    assert!(
        said.err.contains(&other.local_addr().unwrap().to_string()),
        "{said:?}"
    );
    place.ok(&["status"]);
}

#[test]
fn a_server_for_other_hosts_makes_itself_a_new_certificate() {
    let place = Place::new();
    let names = || {
        let text = place.read("imprint/tls/server.pem");
        let der = pem::decode(pem::CERTIFICATE, &text).unwrap().remove(0);
        let server = Certificate::parse(&der).unwrap();
        (
            server.names().for_people().collect::<Vec<_>>(),
            server.serial().to_vec(),
        )
    };
    let (before, first) = names();
    assert_eq!(before, ["IP:127.0.0.1"]);
    assert_eq!(place.serve().end("TERM"), Some(0));
    assert_eq!(
        names().1,
        first,
        "nothing has changed, so nothing is made anew"
    );
    let hosts = "hosts = [\"localhost\", \"::1\"]";
    place.edit("imprint/imprint.toml", "hosts = [\"127.0.0.1\"]", hosts);
    let server = place.serve();
    let (mut after, second) = names();
    after.sort();
    assert_eq!(after, ["DNS:localhost", "IP:::1"]);
    assert_ne!(first, second);
    place.ok(&["status"]);
    assert_eq!(server.end("TERM"), Some(0));
}

#[test]
fn a_json_log_is_one_object_a_line_and_a_rude_server_says_so_in_each() {
    let place = Place::new();
    assert_eq!(
        place.serve_with(&["--log-json", "--hostile"]).end("TERM"),
        Some(0)
    );
    let log = place.read("log");
    assert!(log.lines().count() >= 2, "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["timestamp"].is_string());
        assert_eq!(
            line["span"]["name"], "hostile",
            "a rude server says so in every line: {line}"
        );
    }
}
