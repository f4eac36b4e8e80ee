//! The fleet as a file, claims, templates and customers' CAs: on a stopped directory as on a running
//! server.

use std::fs;
use std::process::Command;

use crate::support::{Place, mode, settled};

const FLEET: &str = r#"
[[product]]
name = "thermo"
certificate.lifetime_days = 30

[[product]]
name = "valve"

[[group]]
name = "field"
description = "Where the weather is"

[[template]]
name = "field"
product = "thermo"
file = "field.json"
hook = { url = "https://hooks.example/before" }

[[template]]
name = "factory"
product = "valve"
hardware = "AWS::IoT::Certificate::SerialNumber"
body = '''
{
  "Parameters": { "AWS::IoT::Certificate::SerialNumber": { "Type": "String" } },
  "Resources": {
    "certificate": {
      "Type": "AWS::IoT::Certificate",
      "Properties": { "CertificateId": { "Ref": "AWS::IoT::Certificate::Id" } }
    },
    "thing": {
      "Type": "AWS::IoT::Thing",
      "Properties": { "ThingName": { "Ref": "AWS::IoT::Certificate::SerialNumber" } }
    }
  }
}
'''

[[claim]]
name = "line-1"
product = "thermo"
templates = ["field", "thermo"]
allowlist = true
limits = { total = 1000, expected_per_hour = [50] }

[[registered_ca]]
name = "acme"
product = "valve"
template = "factory"
file = "acme.pem"
mode = "sni-only"
"#;

const FIELD: &str = r#"{
  "Parameters": { "SerialNumber": { "Type": "String" } },
  "Resources": {
    "certificate": {
      "Type": "AWS::IoT::Certificate",
      "Properties": { "CertificateId": { "Ref": "AWS::IoT::Certificate::Id" }, "Status": "Active" }
    },
    "thing": {
      "Type": "AWS::IoT::Thing",
      "Properties": {
        "ThingName": { "Fn::Join": ["-", ["thermo", { "Ref": "SerialNumber" }]] },
        "ThingGroups": ["field"]
      }
    }
  }
}
"#;

fn openssl(place: &Place, arguments: &str) {
    let done = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(place.path(""))
        .output()
        .unwrap();
    assert!(done.status.success(), "{arguments}: {done:?}");
}

/// A customer's CA, `<name>.pem` and `<name>.key`.
fn authority(place: &Place, name: &str) {
    openssl(
        place,
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
             -subj /CN={name} -addext keyUsage=critical,keyCertSign -keyout {name}.key -out {name}.pem"
        ),
    );
}

/// A certificate on `code` that the CA has signed; its path.
fn proof(place: &Place, ca: &str, code: &str, name: &str) -> String {
    openssl(
        place,
        &format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={code} \
             -keyout {name}.key -out {name}.csr"
        ),
    );
    openssl(
        place,
        &format!("x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}.key -days 30 -out {name}.pem"),
    );
    place
        .path(&format!("{name}.pem"))
        .to_str()
        .unwrap()
        .to_owned()
}

fn place() -> Place {
    let place = Place::new();
    place.write("fleet.toml", FLEET);
    place.write("field.json", FIELD);
    authority(&place, "acme");
    place
}

/// A session with a fleet file, claims and templates: every answer, with what differs from run to run
/// replaced.
fn session(place: &Place) -> String {
    let file = |name: &str| place.path(name).to_str().unwrap().to_owned();
    let (fleet, out, again) = (file("fleet.toml"), file("out"), file("out-2"));
    let broken = place.write(
        "broken.json",
        &FIELD.replace("\"Ref\": \"SerialNumber\"", "\"Rf\": 1"),
    );
    let field = file("field.json");
    let commands: &[&[&str]] = &[
        &["apply", &fleet, "--dry-run"],
        &["apply", &fleet],
        &["apply", &fleet],
        &["apply", &fleet, "--json"],
        &[
            "claim",
            "new",
            "--product",
            "valve",
            "--cap",
            "5",
            "--expires",
            "5m",
            "--out",
            &out,
        ],
        &["claim", "new", "--product", "valve", "--out", &again],
        &["claim", "new", "--product", "pump", "--out", &again],
        &["claim", "rotate", "valve", "--out", &again],
        &["claim", "rotate", "valve", "--out", &again],
        &["claim", "list"],
        &["claim", "show", "line-1"],
        &[
            "claim",
            "freeze",
            "valve",
            "--reason",
            "a key was photographed",
        ],
        &[
            "claim",
            "freeze",
            "valve",
            "--reason",
            "a key was photographed",
        ],
        &["claim", "thaw", "valve"],
        &["claim", "revoke", "valve", "--certificate", "00"],
        &["claim", "revoke", "valve", "--reason", "it leaked"],
        &["claim", "thaw", "valve"],
        &["claim", "show", "valve"],
        &["claim", "show", "nobody"],
        &["template", "list"],
        &["template", "show", "field"],
        &["template", "check", &field],
        &["template", "check", &broken],
        &["template", "check", &field, "--json"],
        &["ca", "list"],
        &["ca", "deactivate", "acme"],
        &["ca", "show", "acme"],
        &["ca", "show", "nobody"],
        &["thing", "list"],
        &["thing", "show", "nobody"],
        &["export"],
    ];
    let mut text = String::new();
    for command in commands {
        let said = place.run(command);
        text.push_str(&format!("$ imprint {}\n", command.join(" ")));
        for line in [&said.out, &said.err] {
            if !line.is_empty() {
                text.push_str(&format!("{line}\n"));
            }
        }
        text.push_str(&format!("[{}]\n\n", said.code));
    }
    let root = format!(
        "{}/",
        place.path("").to_str().unwrap().trim_end_matches('/')
    );
    let certificate = place.read("acme.pem");
    let size = format!("({} octets)", certificate.len());
    let text = text
        .replace(&root, "")
        .replace(&certificate, "(the CA's certificate)\n")
        .replace(&size, "(its octets)");
    settled(&text)
}

#[test]
fn a_fleet_in_a_file_means_the_same_on_a_stopped_directory_and_on_a_running_server() {
    let stopped = session(&place());
    insta::assert_snapshot!("a_session_with_a_fleet_file", stopped);
    let place = place();
    let server = place.serve();
    let running = session(&place);
    assert_eq!(running, stopped);
    assert_eq!(server.end("TERM"), Some(0));
}

#[test]
fn what_is_exported_is_the_fleet_and_applying_it_changes_nothing() {
    let place = place();
    place.ok(&["apply", place.path("fleet.toml").to_str().unwrap()]);
    let exported = place.ok(&["export"]);
    fs::create_dir(place.path("elsewhere")).unwrap();
    let file = place.write("elsewhere/exported.toml", &exported);
    assert_eq!(place.ok(&["apply", &file]), "Nothing differs.");
    // On another server it makes the same fleet.
    let other = Place::new();
    let copy = other.write("exported.toml", &exported);
    other.ok(&["apply", &copy]);
    assert_eq!(other.ok(&["export"]), exported);
    assert_eq!(other.json(&["export"]), place.json(&["export"]));
}

#[test]
fn a_file_is_applied_as_a_whole_or_not_at_all() {
    let place = place();
    let before = place.json(&["journal", "list"]);
    let rows: [(&str, &str, &str); 7] = [
        (
            "templates = [\"field\"",
            "templates = [\"gone\"",
            "there is no template \"gone\"",
        ),
        (
            "product = \"valve\"\ntemplate",
            "product = \"thermo\"\ntemplate",
            "is of product \"valve\"",
        ),
        (
            "hook = {",
            "hardware = \"Serial\"\nhook = {",
            "does not declare the parameter \"Serial\"",
        ),
        (
            "file = \"acme.pem\"\nmode = \"sni-only\"",
            "file = \"acme.pem\"",
            "[ca-not-proven]",
        ),
        (
            "template = \"factory\"",
            "template = \"field\"",
            "is of product \"thermo\"",
        ),
        (
            "expected_per_hour = [50]",
            "expected_per_hour = [1, 2]",
            "24 for the hours",
        ),
        (
            "\"Ref\": \"AWS::IoT::Certificate::SerialNumber\" }",
            "\"Ref\": \"Gone\" }",
            "broken.toml:33:45: ",
        ),
    ];
    for (was, is, want) in rows {
        assert!(FLEET.contains(was), "{was}");
        let file = place.write("broken.toml", &FLEET.replace(was, is));
        let refused = place.refused(&["apply", &file]);
        assert!(refused.contains(want), "{was}: {refused}");
        assert_eq!(place.json(&["journal", "list"]), before, "{was}");
    }
}

#[test]
fn a_claims_key_is_made_here_and_is_on_disk_before_anybody_hears_of_it() {
    let place = place();
    place.ok(&["apply", place.path("fleet.toml").to_str().unwrap()]);
    let out = place.path("claims");
    let new = [
        "claim",
        "new",
        "--product",
        "valve",
        "--name",
        "v1",
        "--out",
    ];
    place.ok(&[&new[..], &[out.to_str().unwrap()]].concat());
    assert_eq!(mode(&out), 0o700);
    assert_eq!(mode(&out.join("claim-v1.key")), 0o600);
    openssl(
        &place,
        "verify -CAfile claims/root.pem -untrusted claims/claim-v1.pem claims/claim-v1.pem",
    );
    let key = place.read("claims/claim-v1.key");
    openssl(&place, "pkey -in claims/claim-v1.key -noout");
    // Nothing is written over, and a refusal leaves no key behind.
    let refused = place.refused(&[&new[..], &[out.to_str().unwrap()]].concat());
    assert!(refused.contains("[file-exists]"), "{refused}");
    assert_eq!(place.read("claims/claim-v1.key"), key);
    let other = place.path("other");
    let refused = place.refused(&[
        "claim",
        "new",
        "--product",
        "pump",
        "--out",
        other.to_str().unwrap(),
    ]);
    assert!(
        refused.contains("there is no product \"pump\""),
        "{refused}"
    );
    assert_eq!(fs::read_dir(&other).unwrap().count(), 0);

    // One that is revoked at once, and one from elsewhere.
    place.ok(&[
        "claim",
        "rotate",
        "v1",
        "--revoke-old",
        "--out",
        other.to_str().unwrap(),
    ]);
    let claim = place.json(&["claim", "show", "v1"]);
    let states: Vec<_> = claim["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["state"])
        .collect();
    assert_eq!(states, ["active", "revoked"]);
    openssl(
        &place,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=cloud \
         -addext basicConstraints=CA:FALSE -keyout cloud.key -out cloud.pem",
    );
    let cloud = place.path("cloud.pem");
    let adopt = [
        "claim",
        "new",
        "--product",
        "thermo",
        "--cert",
        cloud.to_str().unwrap(),
    ];
    let adopted = place.json(&adopt);
    assert_eq!(
        adopted["certificates"][0]["serial"],
        serde_json::Value::Null
    );
    assert_eq!(adopted["certificates"][0]["state"], "active");
}

#[test]
fn a_ca_is_registered_by_a_proof_on_this_servers_code_alone() {
    let place = place();
    place.ok(&["apply", place.path("fleet.toml").to_str().unwrap()]);
    authority(&place, "bolt");
    let code = place.ok(&["ca", "code"]);
    assert_eq!(code.len(), 64);
    let bolt = place.path("bolt.pem");
    let register = |proof: &str| {
        let base = ["ca", "register", bolt.to_str().unwrap(), "--name", "bolt"];
        place.run(&[&base[..], &["--product", "valve", "--proof", proof]].concat())
    };
    for (by, on, name) in [
        ("acme", code.as_str(), "by-another"),
        ("bolt", "0000", "on-another"),
    ] {
        let said = register(&proof(&place, by, on, name));
        assert!(said.err.contains("[ca-not-proven]"), "{said:?}");
    }
    let said = register(&proof(&place, "bolt", &code, "right"));
    assert_eq!(said.code, 0, "{said:?}");
    // What was proven once need not be proven again, as in an exported file.
    let file = place.write("exported.toml", &place.ok(&["export"]));
    assert_eq!(place.ok(&["apply", &file]), "Nothing differs.");
    place.ok(&["ca", "deactivate", "bolt"]);
    assert!(
        place
            .ok(&["apply", &file])
            .starts_with("~ registered_ca bolt (changed)")
    );
    let cas = place.json(&["ca", "list"]);
    assert_eq!(cas[1]["name"], "bolt");
    assert_eq!(
        (&cas[1]["active"], &cas[1]["mode"]),
        (&true.into(), &"default".into())
    );
}

#[test]
fn a_product_is_signed_for_by_an_authority_of_its_own() {
    let place = Place::with_fleet("[[product]]\nname = \"thermo\"\n");
    let file = "[[product]]\nname = \"thermo\"\nca = \"vales\"\n";
    let file = place.write("second.toml", file);
    let told = place.refused(&["apply", &file]);
    assert!(
        told.contains("no issuing authority \"vales\", but issuing"),
        "{told}"
    );
    for name in ["root", "issuing", "seal", "token", "A", "a/b", ""] {
        let told = place.refused(&["ca", "new", name]);
        assert!(told.contains("[name-unsound]"), "{name}: {told}");
    }
    let made = place.ok(&["ca", "new", "valves"]);
    assert!(made.contains("Restart the server"), "{made}");
    let told = place.refused(&["ca", "new", "valves"]);
    assert!(told.contains("[ca-exists]"), "{told}");
    let told = place.refused(&["apply", &file]);
    assert!(told.contains("did you mean \"valves\"?"), "{told}");
    place.edit("second.toml", "vales", "valves");
    place.ok(&["apply", &file]);
    assert!(place.ok(&["export"]).contains("ca = \"valves\""));

    let server = place.serve();
    let token = place.ok(&["token", "new", "--product", "thermo"]);
    assert_eq!(server.agent(&place, "custom:SN-1", &token), 0);
    let device = place.json(&["device", "show", "thermo-sn-1"]);
    assert_eq!(device["step"], "PROVISIONED");
    assert_eq!(device["certificates"][0]["issuer"], "valves");
    let pem = device["certificates"][0]["pem"].as_str().unwrap();
    place.write("device.pem", pem);
    openssl(
        &place,
        "verify -CAfile imprint/ca/root.pem -untrusted imprint/ca/valves.pem device.pem",
    );
    let lists = place.json(&["ca", "crl"]);
    let issuers = lists.as_array().unwrap().iter();
    let issuers: Vec<_> = issuers
        .map(|list| list["issuer"].as_str().unwrap())
        .collect();
    assert_eq!(issuers, ["issuing", "valves"]);
    assert_eq!(server.end("TERM"), Some(0));

    // The root's key belongs in a safe.
    fs::rename(place.path("imprint/keys/root.key"), place.path("root.key")).unwrap();
    let told = place.refused(&["ca", "new", "third"]);
    assert!(told.contains("[root-key-missing]"), "{told}");
}
