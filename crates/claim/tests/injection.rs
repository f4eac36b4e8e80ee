//! Whatever a device says, a template keeps its shape.
#![expect(
    clippy::unwrap_used,
    reason = "a test stops at the first thing that is not as it should be"
)]

use std::collections::BTreeMap;

use imprint_claim::{CertificateParameters, Policy, Template};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The same policy in its two forms, and a device configuration, with a value in each.
fn template() -> Template {
    let policy = |document: Value| json!({"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": document}});
    let object = json!({"Statement": [{"Effect": "Allow", "Resource": {"Fn::Sub": "a/${v}/b"}}]});
    let text = json!({"Fn::Join": ["", [
        "{\"Statement\":[{\"Effect\":\"Allow\",\"Resource\":\"a/", {"Ref": "v"}, "/b\"}]}",
    ]]});
    let template = json!({
        "Parameters": {"v": {"Type": "String"}},
        "Resources": {
            "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
                "CertificateId": {"Ref": "AWS::IoT::Certificate::Id"},
            }},
            "p": policy(object),
            "q": policy(text),
        },
        "DeviceConfiguration": {"x": {"Fn::Sub": ["<${a}>", {"a": {"Ref": "v"}}]}},
    });
    Template::parse(&template.to_string()).unwrap()
}

fn check(value: &str) -> Result<(), TestCaseError> {
    let parameters = BTreeMap::from([("v".to_owned(), value.to_owned())]);
    let evaluated = template().evaluate(&parameters, &CertificateParameters::default());
    let wild = |c: char| "*?#+$\u{10fffd}".contains(c) || c.is_control();
    let Ok(evaluated) = evaluated else {
        prop_assert!(value.contains(wild), "{value:?} was refused");
        return Ok(());
    };
    prop_assert!(!value.contains(wild), "{value:?} was taken");
    let resource = format!("a/{value}/b");
    let want = json!({"Statement": [{"Effect": "Allow", "Resource": resource}]});
    for policy in &evaluated.policies {
        let Policy::Document(document) = policy else {
            panic!("a document");
        };
        prop_assert_eq!(&serde_json::from_str::<Value>(document).unwrap(), &want);
    }
    let told = evaluated.device_configuration.get("x");
    prop_assert_eq!(told, Some(&format!("<{value}>")));
    Ok(())
}

proptest! {
    #[test]
    fn no_value_changes_the_shape_of_a_policy(value in "[\"\\\\{}\\[\\],:a*/\u{10fffd}\u{e4} -]{0,12}") {
        check(&value)?;
    }

    #[test]
    fn no_text_at_all_does(value in any::<String>()) {
        check(&value)?;
    }
}
