//! Templates evaluate to what the vendor's documents say: `cases/evaluate.json`.
#![expect(
    clippy::unwrap_used,
    reason = "a test stops at the first thing that is not as it should be"
)]

use std::collections::{BTreeMap, BTreeSet};

use imprint_claim::{
    CertificateChoice, CertificateParameters, CertificateStatus, Evaluated, Override, Overrides,
    Policy, Template, ThingSpec,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};

fn cases() -> Value {
    serde_json::from_str(include_str!("../cases/evaluate.json")).unwrap()
}

#[test]
fn every_expression_gives_its_documented_value() {
    let cases = cases();
    let rows = cases["expressions"].as_array().unwrap();
    assert!(rows.len() > 40);
    for row in rows {
        let template = around(&row["expression"]).to_string();
        let got =
            evaluate(row, &template).map(|evaluated| evaluated.device_configuration["x"].clone());
        let want = row["value"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| text(&row["error"]));
        assert_eq!(got, want, "{}: {}", row["name"], row["source"]);
    }
}

#[test]
fn every_template_makes_what_is_documented() {
    let cases = cases();
    let rows = cases["templates"].as_array().unwrap();
    let sources = sources();
    assert!(rows.len() > 40 && rows.len() == sources.len());
    for (row, source) in rows.iter().zip(&sources) {
        let got = evaluate(row, source);
        let want = match &row["want"] {
            Value::Null => Err(text(&row["error"])),
            want => Ok(evaluated(want)),
        };
        assert_eq!(got, want, "{}: {}", row["name"], row["source"]);
    }
}

#[test]
fn every_case_has_its_own_name_and_a_source() {
    let cases = cases();
    let mut names = BTreeSet::new();
    for kind in ["expressions", "templates"] {
        for row in cases[kind].as_array().unwrap() {
            assert!(
                names.insert(text(&row["name"])),
                "{} stands twice",
                row["name"]
            );
            assert!(
                row["source"]
                    .as_str()
                    .is_some_and(|source| !source.is_empty())
            );
        }
    }
}

/// The templates as they stand in the file: a `Value` forgets the order of members.
fn sources() -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Cases {
        templates: Vec<Case>,
    }
    #[derive(serde::Deserialize)]
    struct Case {
        template: Box<RawValue>,
    }
    let cases: Cases = serde_json::from_str(include_str!("../cases/evaluate.json")).unwrap();
    let sources = cases.templates.into_iter();
    sources.map(|case| case.template.get().to_owned()).collect()
}

/// A template whose device configuration is one expression.
fn around(expression: &Value) -> Value {
    let text = json!({"Type": "String"});
    json!({
        "Parameters": {
            "SerialNumber": text,
            "DeviceLocation": text,
            "Region": {"Type": "String", "Default": "de"},
        },
        "Mappings": {"LocationTable": {"Seattle": {"LocationUrl": "https://example.aws", "Zones": ["a", "b"]}}},
        "Resources": {"certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
            "CertificateId": {"Ref": "AWS::IoT::Certificate::Id"},
        }}},
        "DeviceConfiguration": {"x": expression},
    })
}

/// What comes out, or the code of the error.
fn evaluate(row: &Value, source: &str) -> Result<Evaluated, String> {
    let template = match row["bulk"].as_bool() {
        Some(true) => Template::parse_bulk(source),
        _ => Template::parse(source),
    };
    let template = template.unwrap_or_else(|error| panic!("{}: {error}", row["name"]));
    let certificate = &row["certificate"];
    let field = |name: &str| certificate[name].as_str().map(str::to_owned);
    let certificate = CertificateParameters {
        id: "0a".repeat(32),
        country: field("country"),
        organization: field("organization"),
        organizational_unit: field("organizational_unit"),
        distinguished_name_qualifier: field("distinguished_name_qualifier"),
        state_name: field("state_name"),
        common_name: field("common_name"),
        serial_number: field("serial_number"),
    };
    let evaluated = template.evaluate(&texts(&row["parameters"]), &certificate);
    evaluated.map_err(|error| error.code().to_owned())
}

/// The expected value; what a row leaves out is nothing.
fn evaluated(want: &Value) -> Evaluated {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let optional = |value: &Value| value.as_str().map(str::to_owned);
    let thing = want["thing"].as_object().map(|_| {
        let thing = &want["thing"];
        let overrides: Vec<_> = list(&thing["overrides"]).iter().map(setting).collect();
        ThingSpec {
            name: optional(&thing["name"]),
            attributes: texts(&thing["attributes"]),
            thing_type: optional(&thing["thing_type"]),
            groups: list(&thing["groups"]).iter().map(text).collect(),
            billing_group: optional(&thing["billing_group"]),
            overrides: match overrides.as_slice() {
                [attributes, thing_type, groups] => Overrides {
                    attributes: *attributes,
                    thing_type: *thing_type,
                    groups: *groups,
                },
                _ => Overrides::default(),
            },
        }
    });
    let certificate = &want["certificate"];
    Evaluated {
        thing,
        certificate: match (optional(&certificate["csr"]), optional(&certificate["pem"])) {
            (Some(csr_pem), _) => CertificateChoice::Request { csr_pem },
            (None, Some(pem)) => CertificateChoice::Pem {
                certificate: pem,
                authority: optional(&certificate["authority"]),
            },
            (None, None) => {
                let id = optional(&certificate["id"]);
                CertificateChoice::Id(id.unwrap_or_else(|| "0a".repeat(32)))
            }
        },
        certificate_status: match want["status"].as_str() {
            Some("Inactive") => CertificateStatus::Inactive,
            _ => CertificateStatus::Active,
        },
        certificate_override: setting(&want["certificate_override"]),
        policies: list(&want["policies"])
            .iter()
            .map(|policy| match policy["name"].as_str() {
                Some(name) => Policy::Named(name.to_owned()),
                None => Policy::Document(text(&policy["document"])),
            })
            .collect(),
        device_configuration: texts(&want["device_configuration"]),
    }
}

fn setting(value: &Value) -> Override {
    match value.as_str() {
        Some("DoNothing") => Override::DoNothing,
        Some("Replace") => Override::Replace,
        Some("Merge") => Override::Merge,
        _ => Override::Fail,
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let members = value.as_object().into_iter().flatten();
    members
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

#[test]
fn a_template_says_what_it_names_whatever_the_device_says() {
    let body = r#"{"Parameters": {"SerialNumber": {"Type": "String"}},
      "Resources": {
        "thing": {"Type": "AWS::IoT::Thing", "Properties": {
          "ThingTypeName": "sensor",
          "ThingGroups": ["north", {"Fn::Sub": "room-${SerialNumber}"}, "south"],
          "BillingGroup": "books"}},
        "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
          "CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}}},
        "a": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "devices"}},
        "b": {"Type": "AWS::IoT::Policy", "Properties": {
          "PolicyDocument": {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}]}}},
        "c": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": {"Ref": "SerialNumber"}}}}}"#;
    let template = Template::parse(body).unwrap();
    let names = template.names();
    assert_eq!(names.groups, ["north", "south"]);
    assert_eq!(names.thing_type, Some("sensor"));
    assert_eq!(names.policies, ["devices"]);
    let bare = r#"{"Resources": {"certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
      "CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}}}}}"#;
    assert_eq!(
        Template::parse(bare).unwrap().names(),
        imprint_claim::Names::default()
    );
}
