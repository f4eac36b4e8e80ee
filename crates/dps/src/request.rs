//! What a device asks.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::json::{Payload, from_base64, is_object, is_shallow, to_base64};
use crate::name::{NameError, OperationId, RegistrationId};
use crate::refusal::ErrorCode;

/// The longest body or payload that is read, in bytes: the vendor's bound for a message.
pub const MAX_BODY: usize = 96 * 1_024;
/// The longest certification request, in bytes of DER (the vendor's bound for one in base64).
pub const MAX_CSR: usize = 8 * 1_024;
/// The longest public area of a TPM's key, in bytes. An RSA-4096 key's is under 700.
pub const MAX_TPM_KEY: usize = 1_024;

/// What is asked. By whom stands in the path or in the user name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Which hub is mine? (`register`)
    Register(Registration),
    /// What has become of this operation? (`operationstatus`)
    OperationStatus {
        /// The operation that a register was answered with.
        operation_id: OperationId,
    },
    /// What is on record about me? Over HTTPS alone, without an operation.
    Lookup,
}

/// What a device says about itself when it registers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registration {
    /// `payload`: for whoever allocates hubs. JSON `null` is none.
    pub payload: Option<Payload>,
    /// `tpm`: the keys of its TPM.
    pub tpm: Option<TpmEvidence>,
    /// `csr`: a certification request, one DER SEQUENCE, at most [`MAX_CSR`] bytes. Not looked into.
    pub csr: Option<Vec<u8>>,
    /// `forceRegistration`, a parameter of HTTPS alone: allocate anew although a hub is on record.
    pub force: bool,
}

/// The public keys of a TPM, as its `TPM2B_PUBLIC` structures, at most [`MAX_TPM_KEY`] bytes each. Not
/// looked into here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmEvidence {
    /// `endorsementKey`: which TPM it is.
    pub endorsement_key: Vec<u8>,
    /// `storageRootKey`: under which key of its it takes what is sealed for it.
    pub storage_root_key: Option<Vec<u8>>,
}

/// The JSON of a register.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    registration_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<Payload>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tpm: Option<TpmBody>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    csr: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TpmBody {
    endorsement_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    storage_root_key: Option<String>,
}

impl Registration {
    /// Reads the JSON of a register by the device that `id` names. A body need not say who asks; if it
    /// does, it must say the same.
    pub(crate) fn parse(body: &[u8], id: &RegistrationId) -> Result<Self, ParseError> {
        let body: Body = json(body)?;
        let said = body.registration_id.as_deref();
        if said.is_some_and(|said| !said.eq_ignore_ascii_case(id.as_str())) {
            return Err(ParseError::OtherDevice);
        }
        Ok(Self {
            payload: body.payload,
            tpm: body.tpm.map(TpmEvidence::parse).transpose()?,
            csr: body.csr.as_deref().map(csr).transpose()?,
            force: false,
        })
    }

    /// The JSON of a register, as the vendor's SDKs write it.
    pub(crate) fn encode(&self, id: &RegistrationId) -> Vec<u8> {
        let body = Body {
            registration_id: Some(id.as_str().to_owned()),
            payload: self.payload.clone(),
            tpm: self.tpm.as_ref().map(TpmEvidence::encode),
            csr: self.csr.as_deref().map(to_base64),
        };
        // Only a map with keys that are no texts, or a failing writer, could fail here.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl TpmEvidence {
    fn parse(body: TpmBody) -> Result<Self, ParseError> {
        let endorsement_key = key("tpm.endorsementKey", &body.endorsement_key)?;
        let storage_root_key = body.storage_root_key.filter(|text| !text.is_empty());
        let storage_root_key = storage_root_key.map(|text| key("tpm.storageRootKey", &text));
        Ok(Self {
            endorsement_key,
            storage_root_key: storage_root_key.transpose()?,
        })
    }

    fn encode(&self) -> TpmBody {
        TpmBody {
            endorsement_key: to_base64(&self.endorsement_key),
            storage_root_key: self.storage_root_key.as_deref().map(to_base64),
        }
    }
}

/// Reads the body of a lookup, where the SDKs send a register's and may send nothing.
pub(crate) fn lookup(body: &[u8], id: &RegistrationId) -> Result<(), ParseError> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let registration = Registration::parse(body, id)?;
    match registration.csr {
        Some(_) => Err(ParseError::CsrInLookup),
        None => Ok(()),
    }
}

/// Reads a JSON object of a bounded size and depth.
pub(crate) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ParseError> {
    if body.len() > MAX_BODY {
        return Err(ParseError::TooLarge);
    }
    if !is_shallow(body) {
        return Err(ParseError::Deep);
    }
    if !is_object(body) {
        return Err(ParseError::Json("it is not a JSON object".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| ParseError::Json(words(&error)))
}

/// The parser's words, without anything that stood in the body: they may reach a log.
fn words(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Eof => "it ends early",
        serde_json::error::Category::Syntax => "this is not JSON",
        serde_json::error::Category::Data => {
            "a field is missing, stands twice or is of another kind"
        }
        serde_json::error::Category::Io => "it can't be read",
    };
    format!("{kind} (line {}, column {})", error.line(), error.column())
}

fn key(name: &'static str, text: &str) -> Result<Vec<u8>, ParseError> {
    let key = from_base64(text).ok_or(ParseError::Base64 { name })?;
    match key.len() {
        0 => Err(ParseError::Base64 { name }),
        1..=MAX_TPM_KEY => Ok(key),
        _ => Err(ParseError::Long {
            name,
            most: MAX_TPM_KEY,
        }),
    }
}

fn csr(text: &str) -> Result<Vec<u8>, ParseError> {
    let name = "csr";
    let der = from_base64(text).ok_or(ParseError::Base64 { name })?;
    match (der.len(), der.first()) {
        (0..=MAX_CSR, Some(0x30)) => Ok(der),
        (0..=MAX_CSR, _) => Err(ParseError::NotDer),
        _ => Err(ParseError::Long {
            name,
            most: MAX_CSR,
        }),
    }
}

/// Why bytes ask nothing that we answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// No such path or topic.
    #[error(
        "there is no DPS operation here; it is /<idScope>/registrations/<registrationId>/register or the like"
    )]
    NotFound,
    /// The operation takes another method.
    #[error("this DPS operation takes {allow} only")]
    Method {
        /// The method that it takes.
        allow: &'static str,
    },
    /// More than [`MAX_BODY`] bytes.
    #[error("the body is longer than {MAX_BODY} bytes")]
    TooLarge,
    /// Not `application/json`.
    #[error("the body is not application/json")]
    ContentType,
    /// One of the names is none.
    #[error("{0}")]
    Name(#[from] NameError),
    /// The body can't be read.
    #[error("the body can't be read: {0}")]
    Json(String),
    /// The body nests too deep.
    #[error("the body nests deeper than 32")]
    Deep,
    /// The body names another device than the path or the user name.
    #[error("the body's registrationId is not the one that asks")]
    OtherDevice,
    /// A field that should be base64.
    #[error("{name} is empty or not base64")]
    Base64 {
        /// Which field.
        name: &'static str,
    },
    /// A field is longer than it may be.
    #[error("{name} is longer than {most} bytes")]
    Long {
        /// Which field.
        name: &'static str,
        /// How long it may be.
        most: usize,
    },
    /// The certification request is something else.
    #[error("csr is not a PKCS#10 request in DER; send it without PEM's lines")]
    NotDer,
    /// A lookup signs nothing.
    #[error("a lookup takes no csr; register with it")]
    CsrInLookup,
}

impl ParseError {
    /// How the vendor numbers it.
    #[must_use]
    pub const fn error_code(&self) -> ErrorCode {
        match self {
            Self::NotFound => ErrorCode::PathUnknown,
            Self::Method { .. } => ErrorCode::MethodNotAllowed,
            Self::ContentType => ErrorCode::UnsupportedMediaType,
            _ => ErrorCode::InvalidRequest,
        }
    }

    /// The refusal's word for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Method { .. } => "method-not-allowed",
            Self::TooLarge => "request-too-large",
            Self::ContentType => "content-type-wrong",
            Self::NotDer => "csr-unreadable",
            _ => "payload-unreadable",
        }
    }

    /// The value of the `Allow` header, where there is one (RFC 9110 section 15.5.6).
    #[must_use]
    pub const fn allow(&self) -> Option<&'static str> {
        match self {
            Self::Method { allow } => Some(*allow),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id() -> RegistrationId {
        RegistrationId::new("Dev-1").unwrap()
    }

    fn parse(body: &str) -> Result<Registration, ParseError> {
        Registration::parse(body.as_bytes(), &id())
    }

    #[test]
    fn a_register_is_read_as_each_sdk_writes_it() {
        let payload = |text| Registration {
            payload: Payload::parse(text),
            ..Registration::default()
        };
        let tpm = Registration {
            tpm: Some(TpmEvidence {
                endorsement_key: vec![0, 1],
                storage_root_key: Some(vec![2]),
            }),
            ..Registration::default()
        };
        for (body, want) in [
            // Python.
            (
                r#"{"payload": {"model": "m1"}, "registrationId": "Dev-1"}"#,
                payload(r#"{"model": "m1"}"#),
            ),
            // Node.js.
            (
                r#"{"registrationId":"Dev-1","payload":{"model":"m1"}}"#,
                payload(r#"{"model":"m1"}"#),
            ),
            (r#"{"registrationId":"dev-1"}"#, Registration::default()),
            (
                r#"{"registrationId":"Dev-1","payload":null}"#,
                Registration::default(),
            ),
            (
                r#"{"registrationId":"Dev-1","payload":null,"tpm":null,"csr":null}"#,
                Registration::default(),
            ),
            ("{}", Registration::default()),
            (" {\"new\":[1,2]}\n", Registration::default()),
            (r#"{"payload":"text"}"#, payload("\"text\"")),
            (
                r#"{"registrationId":"Dev-1","tpm":{"endorsementKey":"AAE=","storageRootKey":"Ag=="}}"#,
                tpm.clone(),
            ),
            (
                r#"{"csr":"MAA="}"#,
                Registration {
                    csr: Some(vec![0x30, 0]),
                    ..Registration::default()
                },
            ),
        ] {
            assert_eq!(parse(body), Ok(want), "{body}");
        }
        assert_eq!(Registration::parse(&tpm.encode(&id()), &id()), Ok(tpm));
    }

    #[test]
    fn the_first_thing_wrong_is_named() {
        let base64 = |name| ParseError::Base64 { name };
        let long_key = to_base64(&[1; MAX_TPM_KEY + 1]);
        let long_csr = to_base64(&[0x30; MAX_CSR + 1]);
        let deep = format!("{{\"payload\":{}{}}}", "[".repeat(32), "]".repeat(32));
        for (body, want) in [
            (r#"{"registrationId":"dev-2"}"#, ParseError::OtherDevice),
            (r#"{"registrationId":""}"#, ParseError::OtherDevice),
            (r#"{"csr":"*"}"#, base64("csr")),
            (r#"{"csr":""}"#, ParseError::NotDer),
            (r#"{"csr":"AAAA"}"#, ParseError::NotDer),
            (r#"{"csr":"LS0tLS1CRUdJTg=="}"#, ParseError::NotDer),
            (
                &*format!("{{\"csr\":\"{long_csr}\"}}"),
                ParseError::Long {
                    name: "csr",
                    most: MAX_CSR,
                },
            ),
            (
                r#"{"tpm":{"endorsementKey":""}}"#,
                base64("tpm.endorsementKey"),
            ),
            (
                r#"{"tpm":{"endorsementKey":"AA==","storageRootKey":"?"}}"#,
                base64("tpm.storageRootKey"),
            ),
            (
                &*format!("{{\"tpm\":{{\"endorsementKey\":\"{long_key}\"}}}}"),
                ParseError::Long {
                    name: "tpm.endorsementKey",
                    most: MAX_TPM_KEY,
                },
            ),
            (&*deep, ParseError::Deep),
            (&*" ".repeat(MAX_BODY + 1), ParseError::TooLarge),
        ] {
            assert_eq!(
                parse(body),
                Err(want.clone()),
                "{}",
                &body[..body.len().min(80)]
            );
        }
        for body in [
            "",
            " ",
            "[]",
            "{",
            "{}{}",
            r#"{"registrationId":1}"#,
            r#"{"tpm":{}}"#,
            r#"{"csr":["MAA="]}"#,
            r#"{"payload":1,"payload":2}"#,
        ] {
            assert!(matches!(parse(body), Err(ParseError::Json(_))), "{body}");
        }
    }

    #[test]
    fn what_stood_in_a_body_is_not_said_again() {
        let error = parse(r#"{"registrationId": {"secret": 1}}"#).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn a_lookup_takes_a_body_or_none_but_no_request() {
        for body in ["", " ", "{}", r#"{"registrationId":"dev-1","payload":{}}"#] {
            assert_eq!(lookup(body.as_bytes(), &id()), Ok(()), "{body}");
        }
        assert_eq!(
            lookup(br#"{"csr":"MAA="}"#, &id()),
            Err(ParseError::CsrInLookup)
        );
        assert_eq!(
            lookup(br#"{"registrationId":"x"}"#, &id()),
            Err(ParseError::OtherDevice)
        );
    }

    proptest! {
        #[test]
        fn encode_then_parse_is_identity(
            payload in proptest::option::of("[a-z\\\\\"ä]{0,20}"),
            key in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..40)),
            root in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..40)),
            csr in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        ) {
            let registration = Registration {
                payload: payload.map(|text| Payload::parse(&serde_json::to_string(&text).unwrap()).unwrap()),
                tpm: key.map(|endorsement_key| TpmEvidence { endorsement_key, storage_root_key: root }),
                csr: csr.map(|mut der| { der.insert(0, 0x30); der }),
                force: false,
            };
            prop_assert_eq!(Registration::parse(&registration.encode(&id()), &id()), Ok(registration));
        }

        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Registration::parse(&body, &id());
        }
    }
}
