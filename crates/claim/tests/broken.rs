//! A broken template is refused where it is broken: `cases/broken.txt`.

use imprint_claim::{MAX_TEMPLATE, Template, TemplateError, Use};

const CERT: &str = r#"{"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}}}"#;

#[test]
fn every_broken_template_is_refused_where_it_is_broken() {
    let cases = include_str!("../cases/broken.txt");
    let mut count = 0;
    for case in cases.split("\n== ").skip(1) {
        let (name, rest) = case.split_once('\n').unwrap();
        let (marked, says) = rest.rsplit_once("\nsays: ").unwrap();
        let marked = whole(marked);
        let (before, after) = marked.split_once('⟦').unwrap();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
        let error = Template::parse(&format!("{before}{after}")).expect_err(name);
        let place = (error.line as usize, error.column as usize);
        assert_eq!(place, (line, column), "{name}: {error}");
        assert!(error.message.contains(says.trim_end()), "{name}: {error}");
        count += 1;
    }
    assert!(count >= 40, "{count} cases");
}

/// The template, with its abbreviations written out.
fn whole(case: &str) -> String {
    let case = case.replace("CERT", CERT);
    match case.strip_prefix("THING") {
        None => case,
        Some(properties) => format!(
            r#"{{"Parameters": {{"SerialNumber": {{"Type": "String"}}}},
                "Mappings": {{"Loc": {{"de": {{"name": "a", "zones": ["a", "b"]}}}}}},
                "Resources": {{"certificate": {CERT}, "thing": {{"Type": "AWS::IoT::Thing",
                "Properties": {properties}}}}}}}"#
        ),
    }
}

#[test]
fn an_error_says_how_one_gets_there() {
    let template =
        whole(r#"THING{"AttributePayload": {"a": {"Fn::Join": ["", ["x", {"Ref": "y"}]]}}}"#);
    let error = Template::parse(&template).unwrap_err();
    let path = "Resources.thing.Properties.AttributePayload.a.Fn::Join.1.1.Ref";
    assert_eq!(error.path, path);
    let place = format!("{}:{}", error.line, error.column);
    assert_eq!(
        error.to_string(),
        format!("{place}: {path}: `Parameters` does not declare `y`")
    );
}

#[test]
fn a_template_has_10_240_bytes_and_not_one_more() {
    let template = format!(r#"{{"Resources": {{"certificate": {CERT}}}}}"#);
    let blanks = |length: usize| format!("{template}{}", " ".repeat(length - template.len()));
    assert!(Template::parse(&blanks(MAX_TEMPLATE)).is_ok());
    let error = Template::parse(&blanks(MAX_TEMPLATE + 1)).unwrap_err();
    assert!(error.message.contains("10241"), "{error}");
}

#[test]
fn depth_costs_no_stack() {
    for (open, close) in [("[", "]"), (r#"{"Fn::Base64":"#, "}"), (r#"{"a":"#, "}")] {
        let many = 10_000 / (open.len() + close.len()) - 40;
        let nested = format!("{}\"x\"{}", open.repeat(many), close.repeat(many));
        for template in [
            nested.clone(),
            format!(
                r#"{{"Resources": {{"certificate": {CERT}}}, "DeviceConfiguration": {{"a": {nested}}}}}"#
            ),
            format!(
                r#"{{"Resources": {{"certificate": {CERT}, "p": {{"Type": "AWS::IoT::Policy", "Properties": {{"PolicyDocument": {{"Statement": {nested}}}}}}}}}}}"#
            ),
        ] {
            assert!(Template::parse(&template).is_err());
        }
    }
}

#[test]
fn functions_may_stand_in_each_other_but_not_without_end() {
    let nested = |depth: usize| {
        let value = format!(
            "{}\"x\"{}",
            r#"{"Fn::Base64": "#.repeat(depth),
            "}".repeat(depth)
        );
        format!(
            r#"{{"Resources": {{"certificate": {CERT}}}, "DeviceConfiguration": {{"a": {value}}}}}"#
        )
    };
    assert!(Template::parse(&nested(24)).is_ok());
    let error = Template::parse(&nested(25)).unwrap_err();
    assert!(error.message.contains("deeper"), "{error}");
}

#[test]
fn a_template_fits_its_use_or_says_why_not() {
    let text = r#"{"Type": "String"}"#;
    let template = |parameters: &str, properties: &str, configuration: &str| {
        format!(
            r#"{{"Parameters": {{{parameters}}}, "Resources": {{"certificate": {CERT}, "t": {{"Type": "AWS::IoT::Thing",
            "Properties": {{{properties}}}}}}}, "DeviceConfiguration": {{{configuration}}}}}"#
        )
    };
    let by_device = template(
        &format!(r#""s": {text}"#),
        r#""ThingName": {"Ref": "s"}"#,
        "",
    );
    let by_subject = template(
        "",
        r#""ThingName": {"Ref": "AWS::IoT::Certificate::CommonName"}"#,
        "",
    );
    let by_nobody = template(
        r#""s": {"Type": "String", "Default": "x"}"#,
        r#""ThingName": {"Fn::Sub": "${s}-${AWS::IoT::Certificate::Id}"}"#,
        "",
    );
    let telling = template("", "", r#""a": "b""#);
    for (template, used, good) in [
        (&by_device, Use::Claim, true),
        (&by_device, Use::JustInTime, false),
        (&by_subject, Use::Claim, false),
        (&by_subject, Use::JustInTime, true),
        (&by_nobody, Use::Claim, true),
        (&by_nobody, Use::JustInTime, true),
        (&telling, Use::Claim, true),
        (&telling, Use::JustInTime, false),
    ] {
        let checked = Template::parse(template).unwrap().check_for(used);
        assert_eq!(checked.is_ok(), good, "{used:?} {template} {checked:?}");
    }
    let error: TemplateError = Template::parse(&by_device)
        .unwrap()
        .check_for(Use::JustInTime)
        .unwrap_err();
    assert_eq!(
        (error.line, error.path.as_str()),
        (2, "Resources.t.Properties.ThingName.Ref")
    );
}
