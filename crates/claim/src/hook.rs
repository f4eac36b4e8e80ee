//! The pre-provisioning hook: what it is asked, and how its answer is read (AWS IoT developer guide,
//! "Pre-provisioning hooks"; payload version 2020-04-01).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::message::{MAX_PARAMETER_NAME, MAX_PARAMETER_VALUE, MAX_PARAMETERS};

/// The longest answer that is read, in bytes: parameters for one device are far shorter.
pub const MAX_HOOK_REPLY: usize = 64 * 1_024;

/// What the hook is asked. Whoever runs it may be served by the same code as on the vendor's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HookRequest<'r> {
    /// The claim certificate's id: SHA-256 of its DER, 64 lower-case hexadecimal digits.
    pub claim_certificate_id: &'r str,
    /// The pending certificate's id.
    pub certificate_id: &'r str,
    /// The pending certificate.
    pub certificate_pem: &'r str,
    /// The template's name, in the vendor's form of a resource name.
    pub template_arn: &'r str,
    /// The MQTT client id of the connection.
    pub client_id: &'r str,
    /// What the device said.
    pub parameters: &'r BTreeMap<String, String>,
}

impl HookRequest<'_> {
    /// The request's body: JSON.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "names and values are texts: nothing here is no JSON"
    )]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts are JSON")
    }
}

/// What the hook answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookReply {
    /// `allowProvisioning` is true.
    Allowed {
        /// `parameterOverrides`: these come in the place of what the device said.
        overrides: BTreeMap<String, String>,
    },
    /// It is anything else, or missing: whoever doesn't say yes has said no.
    Refused,
}

impl HookReply {
    /// Reads the answer's body.
    ///
    /// As on the vendor's side, `"true"` in any case and `1` are true, and numbers and truths among the
    /// overrides become their texts.
    pub fn parse(body: &[u8]) -> Result<Self, HookError> {
        if body.len() > MAX_HOOK_REPLY {
            return Err(HookError::TooLong);
        }
        let Ok(Value::Object(mut reply)) = serde_json::from_slice(body) else {
            return Err(HookError::NotAnObject);
        };
        // Checked before the verdict: an answer that can't be read says nothing, not no.
        let overrides = reply.remove("parameterOverrides").unwrap_or_default();
        let overrides = texts(overrides)?;
        Ok(if reply.get("allowProvisioning").is_some_and(is_true) {
            Self::Allowed { overrides }
        } else {
            Self::Refused
        })
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Bool(truth) => *truth,
        Value::String(text) => text.eq_ignore_ascii_case("true"),
        Value::Number(number) => number.as_u64() == Some(1),
        _ => false,
    }
}

fn texts(value: Value) -> Result<BTreeMap<String, String>, HookError> {
    let members = match value {
        Value::Null => return Ok(BTreeMap::new()),
        Value::Object(members) => members,
        _ => return Err(HookError::Overrides),
    };
    if members.len() > MAX_PARAMETERS {
        return Err(HookError::TooLong);
    }
    let mut texts = BTreeMap::new();
    for (name, value) in members {
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            _ => return Err(HookError::Overrides),
        };
        if name.len() > MAX_PARAMETER_NAME || text.len() > MAX_PARAMETER_VALUE {
            return Err(HookError::TooLong);
        }
        texts.insert(name, text);
    }
    Ok(texts)
}

/// Why the hook's answer can't be read. The catalogue's word for all of them is
/// `hook-reply-unreadable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// No JSON, or no object.
    #[error("the hook's answer is not a JSON object")]
    NotAnObject,
    /// An override is a list, an object or null.
    #[error("parameterOverrides is not an object of texts, numbers and truths")]
    Overrides,
    /// The answer, or something in it.
    #[error("the hook's answer, or an override in it, is too long")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hook_is_asked_in_the_vendors_words() {
        let request = HookRequest {
            claim_certificate_id: "c1",
            certificate_id: "c2",
            certificate_pem: "P\n",
            template_arn: "arn:aws:iot:local:0:provisioningtemplate/t",
            client_id: "dev",
            parameters: &[("a".to_owned(), "\"".to_owned())].into(),
        };
        let want = concat!(
            r#"{"claimCertificateId":"c1","certificateId":"c2","certificatePem":"P\n","#,
            r#""templateArn":"arn:aws:iot:local:0:provisioningtemplate/t","clientId":"dev","#,
            r#""parameters":{"a":"\""}}"#,
        );
        assert_eq!(request.encode(), want.as_bytes());
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        let allowed = |pairs: &[(&str, &str)]| {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            Ok(HookReply::Allowed {
                overrides: pairs.iter().map(own).collect(),
            })
        };
        for (body, want) in [
            (r#"{"allowProvisioning":true}"#, allowed(&[])),
            (
                r#"{"allowProvisioning":"TRUE","parameterOverrides":null}"#,
                allowed(&[]),
            ),
            (r#"{"allowProvisioning":1,"x":[]}"#, allowed(&[])),
            (
                r#"{"allowProvisioning":true,"parameterOverrides":{"a":"b","n":1.5,"t":false}}"#,
                allowed(&[("a", "b"), ("n", "1.5"), ("t", "false")]),
            ),
            ("{}", Ok(HookReply::Refused)),
            (r#"{"allowProvisioning":false}"#, Ok(HookReply::Refused)),
            (r#"{"allowProvisioning":"yes"}"#, Ok(HookReply::Refused)),
            (r#"{"allowProvisioning":2}"#, Ok(HookReply::Refused)),
            (r#"{"allowProvisioning":null}"#, Ok(HookReply::Refused)),
            (r#"{"AllowProvisioning":true}"#, Ok(HookReply::Refused)),
            ("", Err(HookError::NotAnObject)),
            ("true", Err(HookError::NotAnObject)),
            ("<html>", Err(HookError::NotAnObject)),
            (
                r#"{"allowProvisioning":true}x"#,
                Err(HookError::NotAnObject),
            ),
            (
                r#"{"allowProvisioning":true,"parameterOverrides":[]}"#,
                Err(HookError::Overrides),
            ),
            (
                r#"{"allowProvisioning":true,"parameterOverrides":{"a":{}}}"#,
                Err(HookError::Overrides),
            ),
            (
                r#"{"allowProvisioning":true,"parameterOverrides":{"a":null}}"#,
                Err(HookError::Overrides),
            ),
            (
                r#"{"allowProvisioning":false,"parameterOverrides":{"a":[]}}"#,
                Err(HookError::Overrides),
            ),
        ] {
            assert_eq!(HookReply::parse(body.as_bytes()), want, "{body}");
        }
    }

    #[test]
    fn a_long_answer_is_no_answer() {
        let reply = |value: usize| {
            let value = "v".repeat(value);
            format!(r#"{{"allowProvisioning":true,"parameterOverrides":{{"a":"{value}"}}}}"#)
        };
        assert!(HookReply::parse(reply(MAX_PARAMETER_VALUE).as_bytes()).is_ok());
        let long = HookReply::parse(reply(MAX_PARAMETER_VALUE + 1).as_bytes());
        assert_eq!(long, Err(HookError::TooLong));
        let long = vec![b' '; MAX_HOOK_REPLY + 1];
        assert_eq!(HookReply::parse(&long), Err(HookError::TooLong));
    }
}
