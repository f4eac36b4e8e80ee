//! `imprint drill`: it foretells what happens, and happens to nobody.

use std::fs;

use imprint_identity::UnixTime;
use imprint_pkix::SignatureAlgorithm;
use imprint_pkix::certificate::Certificate;
use imprint_pkix::pem;
use imprint_registrar::enroll::{Channel, Kind};
use imprint_registrar::{Authorities, EnrollmentRequest, Issuer, Origin, Registrar, Shown};
use imprint_signer::{KeySigner, Seal};
use imprint_sqlite::Sqlite;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::support::{Place, THERMO};

/// What the road itself says to this token on this day, on a copy of the ledger: no agent, no TLS.
async fn enrolled(place: &Place, token: &str, at: UnixTime) -> Result<String, String> {
    let server = place.server();
    let copy = tempfile::tempdir().unwrap();
    let path = copy.path().join("ledger.db");
    fs::copy(server.join("ledger.db"), &path).unwrap();
    let read = |name: &str| {
        let text = place.read(&format!("imprint/{name}"));
        Certificate::parse(&pem::decode(pem::CERTIFICATE, &text).unwrap()[0]).unwrap()
    };
    let algorithm = SignatureAlgorithm::EcdsaSha256;
    let issuer = Issuer::new("issuing", "issuing", read("ca/issuing.pem"), algorithm).unwrap();
    let authorities = Authorities::new(vec![issuer], vec![read("ca/root.pem")], None).unwrap();
    let signer = KeySigner::open(&server.join("keys"), &Seal::File, true).unwrap();
    let registrar = Registrar::new(Sqlite::open(&path).unwrap(), signer, authorities);
    let csr = place.read("device.csr");
    let request = EnrollmentRequest {
        kind: Kind::Enroll,
        product: Some("thermo".to_owned()),
        shown: Shown::Token {
            text: Zeroizing::new(token.to_owned()),
            hardware: Some("custom:drill".to_owned()),
        },
        csr: pem::decode(pem::CERTIFICATE_REQUEST, &csr)
            .unwrap()
            .remove(0),
        channel: Channel::Tls12,
        origin: Origin {
            door: "est",
            address: "192.0.2.1".to_owned(),
            at: imprint_registrar::pace::Ticks(0),
        },
    };
    let chance = |buffer: &mut [u8]| aws_lc_rs::rand::fill(buffer).unwrap();
    let outcome = registrar.enroll(request, &chance, at).await;
    match outcome {
        Ok(enrolled) => Ok(enrolled.device.to_string()),
        Err(refusal) => Err(refusal.code.to_string()),
    }
}

fn drill(place: &Place, more: &[&str]) -> Value {
    let arguments = [&["drill", "claim", "--json"], more].concat();
    let said = place.run(&arguments);
    assert_ne!(said.out, "", "{said:?}");
    let drilled: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        said.code == 0,
        drilled["outcome"] == "provisioned",
        "{said:?}"
    );
    drilled
}

fn day(drilled: &Value) -> UnixTime {
    let at = drilled["at"].as_str().unwrap();
    let date = std::process::Command::new("date")
        .args(["-u", "-d", at, "+%s"])
        .output()
        .unwrap();
    let text = String::from_utf8(date.stdout).unwrap();
    UnixTime(text.trim().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_agrees_with_an_enrollment_on_every_day_of_ten_years() {
    let place = Place::with_fleet(THERMO);
    let token = place.ok(&["token", "new", "--product", "thermo", "--expires", "1000d"]);
    fs::rename(place.request("device"), place.path("device.csr")).ok();
    let journal = place.json(&["journal", "list"]);
    let mut members = 0;
    for days in (0..=3_650).step_by(73) {
        let drilled = drill(&place, &["--token", &token, "--at", &format!("+{days}d")]);
        let want = enrolled(&place, &token, day(&drilled)).await;
        let got = match drilled["outcome"].as_str().unwrap() {
            "provisioned" => Ok(drilled["device"].as_str().unwrap().to_owned()),
            _ => Err(drilled["refusal"].as_str().unwrap().to_owned()),
        };
        assert_eq!(got, want, "in {days} days: {drilled}");
        members += usize::from(got.is_ok());
        assert_eq!(got.is_ok(), days <= 1_000, "{drilled}");
    }
    assert_eq!(members, 14);
    // It happened to nobody.
    assert_eq!(place.json(&["journal", "list"]), journal);
    assert_eq!(place.json(&["token", "list"])[0]["state"], "minted");
    let left = fs::read_dir(place.path("")).unwrap();
    let left = left.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with(".imprint-drill")
    });
    assert_eq!(left.count(), 0);
}

#[test]
fn a_drill_beside_a_running_server_tells_every_fate_in_a_sentence() {
    let place = Place::with_fleet(THERMO);
    let token = place.ok(&[
        "token",
        "new",
        "--product",
        "thermo",
        "--hardware",
        "custom:SN-7",
    ]);
    let server = place.serve();
    let today = place.run(&["drill", "claim", "--token", &token]);
    assert_eq!(today.code, 0, "{today:?}");
    assert!(
        today.out.contains("the device becomes a member"),
        "{today:?}"
    );
    assert!(today.out.contains("thermo-sn-7"), "{today:?}");
    for (fate, code) in [
        ("--revoked", "token-revoked"),
        ("--expired", "token-expired"),
    ] {
        let drilled = drill(&place, &["--token", &token, fate]);
        assert_eq!(drilled["outcome"], "quarantine", "{drilled}");
        assert_eq!(drilled["refusal"], code, "{drilled}");
    }
    let far = drill(&place, &["--token", &token, "--at", "2099-01-01"]);
    assert_eq!(far["refusal"], "authority-ended", "{far}");
    let stranger = place.refused(&["drill", "claim", "--token", "0000-0000"]);
    assert!(stranger.contains("[token-unknown]"), "{stranger}");
    // The true device comes afterwards, as if nothing had been.
    assert_eq!(server.agent(&place, "custom:SN-7", &token), 0);
    assert_eq!(server.end("TERM"), Some(0));
}

#[test]
fn a_claim_on_a_shelf_has_a_member_a_refusal_and_an_end() {
    let place = Place::with_fleet(THERMO);
    let out = place.path("claim");
    let out = out.to_str().unwrap();
    place.ok(&[
        "claim",
        "new",
        "--product",
        "thermo",
        "--expires",
        "500d",
        "--out",
        out,
    ]);
    let (certificate, key) = (
        format!("{out}/claim-thermo.pem"),
        format!("{out}/claim-thermo.key"),
    );
    let shown = [
        "--claim-cert",
        certificate.as_str(),
        "--claim-key",
        key.as_str(),
    ];
    for (fate, outcome) in [
        (&["--at", "+0d"][..], "provisioned"),
        (&["--at", "+499d"], "provisioned"),
        (&["--at", "+501d"], "claim-expired"),
        (&["--expired"], "claim-expired"),
        (&["--revoked"], "claim-revoked"),
    ] {
        let drilled = drill(&place, &[&shown[..], fate].concat());
        let got = match &drilled["refusal"] {
            Value::Null => &drilled["outcome"],
            refusal => refusal,
        };
        assert_eq!(got, outcome, "{fate:?}: {drilled}");
    }
    let claim = place.json(&["claim", "show", "thermo"]);
    assert_eq!(
        (&claim["state"], &claim["granted"]),
        (&"active".into(), &0.into())
    );
    let other = place.refused(&[
        "drill",
        "claim",
        "--claim-cert",
        "imprint/ca/root.pem",
        "--claim-key",
        &key,
    ]);
    assert!(other.contains("[claim-unknown]"), "{other}");
}

fn openssl(place: &Place, arguments: &str) {
    let done = std::process::Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(place.path(""))
        .output()
        .unwrap();
    assert!(done.status.success(), "{arguments}: {done:?}");
}

const BORN: &str = r#"
[[product]]
name = "thermo"
bootstrap_grace_days = 100

[[template]]
name = "rooms"
product = "thermo"
body = '''
{"Parameters": {"SerialNumber": {"Type": "String"}, "Room": {"Type": "String"}},
 "Resources": {
   "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
     "CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}}},
   "thing": {"Type": "AWS::IoT::Thing", "Properties": {
     "ThingName": {"Fn::Sub": "${Room}-${SerialNumber}"}}}}}
'''

[[registered_ca]]
name = "acme"
product = "thermo"
file = "acme.pem"
mode = "sni-only"
"#;

#[test]
fn a_device_with_the_certificate_that_it_was_born_with_has_its_days() {
    let place = Place::with_fleet(THERMO);
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(
        &place,
        &format!(
            "req -x509 {key} -days 3650 -subj /CN=acme -addext keyUsage=critical,keyCertSign \
             -keyout acme.key -out acme.pem"
        ),
    );
    openssl(
        &place,
        &format!("req {key} -subj /CN=SN-7 -keyout own.key -out own.csr"),
    );
    place.write("ext", "basicConstraints=CA:FALSE\n");
    openssl(
        &place,
        "x509 -req -in own.csr -CA acme.pem -CAkey acme.key -days 300 -extfile ext -out own.pem",
    );
    let born = place.write("born.toml", BORN);
    place.ok(&["apply", &born]);
    let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("own.pem"), path("own.key"));
    let shown = [
        "--own-cert",
        certificate.as_str(),
        "--own-key",
        key.as_str(),
    ];
    for (fate, want) in [
        (&["--at", "+0d"][..], "provisioned"),
        (&["--at", "+299d"], "provisioned"),
        // Heard for its product's grace, and not a day longer.
        (&["--at", "+301d"], "provisioned"),
        (&["--at", "+401d"], "certificate-expired"),
        (&["--expired"], "certificate-expired"),
        (&["--revoked"], "ca-does-not-register"),
    ] {
        let drilled = drill(&place, &[&shown[..], fate].concat());
        let got = match &drilled["refusal"] {
            Value::Null => &drilled["outcome"],
            refusal => refusal,
        };
        assert_eq!(got, want, "{fate:?}: {drilled}");
        if want == "provisioned" {
            assert_eq!(drilled["device"], "SN-7", "{drilled}");
        }
    }
    assert_eq!(place.json(&["device", "list"]).as_array().unwrap().len(), 0);
    let root = path("imprint/ca/root.pem");
    let stranger = place.refused(&["drill", "claim", "--own-cert", &root, "--own-key", &key]);
    assert!(stranger.contains("[ca-unknown]"), "{stranger}");

    // A template's parameters are the device's.
    let out = path("claim");
    place.ok(&["claim", "new", "--product", "thermo", "--out", &out]);
    let (certificate, key) = (
        format!("{out}/claim-thermo.pem"),
        format!("{out}/claim-thermo.key"),
    );
    let shown = [
        "--claim-cert",
        certificate.as_str(),
        "--claim-key",
        key.as_str(),
        "--template",
        "rooms",
    ];
    let drilled = drill(&place, &shown);
    assert_eq!(drilled["refusal"], "parameter-missing", "{drilled}");
    let drilled = drill(&place, &[&shown[..], &["--param", "Room=hall"]].concat());
    assert_eq!(drilled["outcome"], "provisioned", "{drilled}");
}

#[test]
fn a_shared_key_has_no_end_and_ends_with_its_entry() {
    let place = Place::with_fleet(THERMO);
    place.ok(&["entry", "new", "line-1", "--group", "--product", "thermo"]);
    let own = place.json(&["entry", "new", "sn-8", "--product", "thermo"]);
    let files = [
        (
            "sn-7",
            place.write("grouped", &place.ok(&["entry", "key", "line-1", "sn-7"])),
        ),
        (
            "sn-8",
            place.write("own", own["secondary_key"].as_str().unwrap()),
        ),
    ];
    for (id, file) in &files {
        let shown = ["--shared-key", file, "--hardware", id];
        for (fate, want) in [
            (&["--at", "+0d"][..], "provisioned"),
            (&["--at", "+3000d"], "provisioned"),
            (&["--revoked"], "entry-disabled"),
        ] {
            let drilled = drill(&place, &[&shown[..], fate].concat());
            let got = match &drilled["refusal"] {
                Value::Null => &drilled["outcome"],
                refusal => refusal,
            };
            assert_eq!(got, want, "{id} {fate:?}: {drilled}");
        }
        let arguments = [&["drill", "claim"], &shown[..], &["--expired"]].concat();
        let refused = place.refused(&arguments);
        assert!(refused.contains("[no-end]"), "{refused}");
    }
    // Nothing of it was kept: no device, and the entries are enabled.
    assert_eq!(place.json(&["device", "list"]).as_array().unwrap().len(), 0);
    let listed = place.ok(&["entry", "list"]);
    assert!(!listed.contains("disabled"), "{listed}");

    // A key that is somebody else's, and one that is nobody's.
    let (_, grouped) = &files[0];
    let shown = ["--shared-key", grouped, "--hardware", "sn-8"];
    let drilled = drill(&place, &shown);
    assert_eq!(drilled["refusal"], "entry-proof-wrong", "{drilled}");
    let shown = [
        "drill",
        "claim",
        "--shared-key",
        grouped,
        "--hardware",
        "sn-9",
    ];
    let refused = place.refused(&shown);
    assert!(refused.contains("[entry-unknown]"), "{refused}");
}
