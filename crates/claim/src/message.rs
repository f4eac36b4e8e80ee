//! Requests and replies (AWS IoT developer guide, "Device provisioning MQTT API"), in JSON and CBOR.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::fields::{Fields, Value, encode};
use crate::refusal::Rejected;
use crate::topic::{Call, Format, Topic};

/// The longest payload that is read, in bytes: the vendor's own bound for an MQTT message.
pub const MAX_PAYLOAD: usize = 128 * 1_024;
/// The longest certification request, in bytes of PEM (`CreateCertificateFromCsr` in the vendor's
/// API model).
pub const MAX_CSR: usize = 4_096;
/// The longest ownership token that is read, in bytes. Ours are far shorter.
pub const MAX_OWNERSHIP: usize = 1_024;
/// The most parameters of one `RegisterThing`. A template of 10,240 bytes can't declare more.
pub const MAX_PARAMETERS: usize = 256;
/// The longest name of a parameter, in bytes (`RegisterThing` in the vendor's API model).
pub const MAX_PARAMETER_NAME: usize = 2_048;
/// The longest value of a parameter, in bytes (the same).
pub const MAX_PARAMETER_VALUE: usize = 4_096;

/// What a device asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `CreateKeysAndCertificate`: key and certificate from the server.
    CreateKeys,
    /// `CreateCertificateFromCsr`: a certificate for the device's own key.
    CreateFromCsr {
        /// `certificateSigningRequest`: PKCS#10 as PEM, at most [`MAX_CSR`] bytes. Not looked into.
        csr_pem: String,
    },
    /// `RegisterThing`: the device becomes what the template makes of it.
    Register {
        /// `certificateOwnershipToken`, never empty.
        ownership: String,
        /// `parameters`, for the template.
        parameters: BTreeMap<String, String>,
    },
}

impl Request {
    /// Reads what was published to `call`'s topic.
    ///
    /// Nothing at all and `{}` both ask for keys: raw clients send the one, SDKs the other.
    pub fn parse(call: &Call<'_>, payload: &[u8]) -> Result<Self, MessageError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(MessageError::TooLong {
                name: "payload",
                most: MAX_PAYLOAD,
            });
        }
        let mut fields = Fields::parse(call.format, payload)?;
        Ok(match call.topic {
            Topic::CreateKeys => Self::CreateKeys,
            Topic::CreateFromCsr => {
                let csr = needed(&mut fields, "certificateSigningRequest", MAX_CSR)?;
                Self::CreateFromCsr {
                    csr_pem: csr.to_string(),
                }
            }
            Topic::Register { .. } => {
                let ownership = text(&mut fields, OWNERSHIP, MAX_OWNERSHIP)?;
                let ownership = ownership.filter(|text| !text.is_empty());
                Self::Register {
                    ownership: ownership.ok_or(MessageError::OwnershipEmpty)?.to_string(),
                    parameters: parameters(&mut fields)?,
                }
            }
        })
    }

    /// What to publish, to a topic of the same kind.
    #[must_use]
    pub fn encode(&self, format: Format) -> Vec<u8> {
        let fields: &[_] = match self {
            Self::CreateKeys => &[],
            Self::CreateFromCsr { csr_pem } => {
                &[("certificateSigningRequest", Value::Text(csr_pem))]
            }
            Self::Register {
                ownership,
                parameters,
            } => &[
                (OWNERSHIP, Value::Text(ownership)),
                ("parameters", Value::Texts(parameters)),
            ],
        };
        encode(format, fields).to_vec()
    }
}

fn parameters(fields: &mut Fields) -> Result<BTreeMap<String, String>, MessageError> {
    let parameters = fields.texts("parameters")?.unwrap_or_default();
    if parameters.len() > MAX_PARAMETERS {
        return Err(MessageError::Parameters {
            what: "parameters",
            most: MAX_PARAMETERS,
        });
    }
    for (name, value) in &parameters {
        if name.len() > MAX_PARAMETER_NAME {
            let what = "bytes in a parameter's name";
            return Err(MessageError::Parameters {
                what,
                most: MAX_PARAMETER_NAME,
            });
        }
        if value.len() > MAX_PARAMETER_VALUE {
            let what = "bytes in a parameter's value";
            return Err(MessageError::Parameters {
                what,
                most: MAX_PARAMETER_VALUE,
            });
        }
    }
    Ok(parameters)
}

/// To which of the two reply topics a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// `<topic>/accepted`.
    Accepted,
    /// `<topic>/rejected`.
    Rejected,
}

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A pending certificate, to either of the two ways of asking for one.
    Created(Created),
    /// The device has been registered.
    Registered(Registered),
    /// No, and why not.
    Rejected(Rejected),
}

/// A pending certificate: good for nothing but `RegisterThing`.
#[derive(Clone, PartialEq, Eq)]
pub struct Created {
    /// `certificateOwnershipToken`: ties `RegisterThing` to this certificate.
    pub ownership: String,
    /// `certificateId`: SHA-256 of the DER certificate as 64 lower-case hexadecimal digits.
    pub certificate_id: String,
    /// `certificatePem`: the certificate, with what comes above it if the server says so.
    pub certificate_pem: String,
    /// `privateKey` as PEM, to `CreateKeysAndCertificate` alone. Wiped when dropped.
    pub private_key_pem: Option<Zeroizing<String>>,
}

/// What became of the device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registered {
    /// `deviceConfiguration`: what the template wants the device to know.
    pub device_configuration: BTreeMap<String, String>,
    /// `thingName`, unless the template makes no thing.
    pub thing_name: Option<String>,
}

impl Reply {
    /// Where this goes.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Created(_) | Self::Registered(_) => Outcome::Accepted,
            Self::Rejected(_) => Outcome::Rejected,
        }
    }

    /// The topic to which this answers `call`.
    #[must_use]
    pub fn topic(&self, call: &Call<'_>) -> String {
        match self.outcome() {
            Outcome::Accepted => call.accepted(),
            Outcome::Rejected => call.rejected(),
        }
    }

    /// The payload. Wiped when dropped: a private key may be in it.
    #[must_use]
    pub fn encode(&self, format: Format) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Created(created) => created.encode(format),
            Self::Registered(registered) => registered.encode(format),
            Self::Rejected(rejected) => encode(
                format,
                &[
                    ("statusCode", Value::Number(rejected.status)),
                    ("errorCode", Value::Text(&rejected.error)),
                    ("errorMessage", Value::Text(&rejected.message)),
                ],
            ),
        }
    }

    /// Reads what came as the `outcome` of `call`: the device's side.
    pub fn parse(call: &Call<'_>, outcome: Outcome, payload: &[u8]) -> Result<Self, MessageError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(MessageError::TooLong {
                name: "payload",
                most: MAX_PAYLOAD,
            });
        }
        let mut fields = Fields::parse(call.format, payload)?;
        Ok(match (outcome, call.topic) {
            (Outcome::Rejected, _) => Self::Rejected(rejected(&mut fields)?),
            (Outcome::Accepted, Topic::CreateKeys | Topic::CreateFromCsr) => {
                Self::Created(created(&mut fields)?)
            }
            (Outcome::Accepted, Topic::Register { .. }) => Self::Registered(Registered {
                device_configuration: fields.texts("deviceConfiguration")?.unwrap_or_default(),
                thing_name: fields.text("thingName")?.map(|name| name.to_string()),
            }),
        })
    }
}

fn created(fields: &mut Fields) -> Result<Created, MessageError> {
    Ok(Created {
        ownership: needed(fields, OWNERSHIP, MAX_OWNERSHIP)?.to_string(),
        certificate_id: needed(fields, "certificateId", MAX_PAYLOAD)?.to_string(),
        certificate_pem: needed(fields, "certificatePem", MAX_PAYLOAD)?.to_string(),
        private_key_pem: fields.text("privateKey")?,
    })
}

/// The vendor's SDKs take a rejection with any of its fields missing; so does this.
fn rejected(fields: &mut Fields) -> Result<Rejected, MessageError> {
    let status = fields.number("statusCode")?;
    let error = fields.text("errorCode")?;
    let message = fields.text("errorMessage")?;
    Ok(Rejected::read(
        status
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or(0),
        error.as_ref().map_or("", |text| text.as_str()),
        message.as_ref().map_or("", |text| text.as_str()),
    ))
}

impl Created {
    fn encode(&self, format: Format) -> Zeroizing<Vec<u8>> {
        let mut fields = vec![
            (OWNERSHIP, Value::Text(&self.ownership)),
            ("certificateId", Value::Text(&self.certificate_id)),
            ("certificatePem", Value::Text(&self.certificate_pem)),
        ];
        if let Some(key) = &self.private_key_pem {
            fields.push(("privateKey", Value::Text(key)));
        }
        encode(format, &fields)
    }
}

impl core::fmt::Debug for Created {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Neither the key nor the token belongs in a log.
        f.debug_struct("Created")
            .field("certificate_id", &self.certificate_id)
            .field("with_key", &self.private_key_pem.is_some())
            .finish_non_exhaustive()
    }
}

impl Registered {
    fn encode(&self, format: Format) -> Zeroizing<Vec<u8>> {
        let mut fields = vec![(
            "deviceConfiguration",
            Value::Texts(&self.device_configuration),
        )];
        if let Some(name) = &self.thing_name {
            fields.push(("thingName", Value::Text(name)));
        }
        encode(format, &fields)
    }
}

fn text(
    fields: &mut Fields,
    name: &'static str,
    most: usize,
) -> Result<Option<Zeroizing<String>>, MessageError> {
    match fields.text(name)? {
        Some(text) if text.len() > most => Err(MessageError::TooLong { name, most }),
        found => Ok(found),
    }
}

fn needed(
    fields: &mut Fields,
    name: &'static str,
    most: usize,
) -> Result<Zeroizing<String>, MessageError> {
    text(fields, name, most)?.ok_or(MessageError::Missing { name })
}

const OWNERSHIP: &str = "certificateOwnershipToken";

/// Why a message can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not an object in the topic's format, or a name stands twice.
    #[error("the payload can't be read: {0}")]
    Unreadable(String),
    /// A field has another kind of value.
    #[error("{name} is not {wanted}")]
    Kind {
        /// The field.
        name: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A field is missing.
    #[error("{name} is missing")]
    Missing {
        /// The field.
        name: &'static str,
    },
    /// The ownership token is missing or empty.
    #[error("certificateOwnershipToken is empty")]
    OwnershipEmpty,
    /// Something is longer than it may be.
    #[error("{name} is longer than {most} bytes")]
    TooLong {
        /// The field.
        name: &'static str,
        /// How long it may be, in bytes.
        most: usize,
    },
    /// There are too many parameters, or one is too long.
    #[error("there are more than {most} {what}")]
    Parameters {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
}

impl MessageError {
    /// The catalogue's word for it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OwnershipEmpty => "ownership-missing",
            Self::Parameters { .. } => "parameters-invalid",
            _ => "payload-unreadable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    const KEYS: Topic<'_> = Topic::CreateKeys;
    const CSR: Topic<'_> = Topic::CreateFromCsr;
    const REGISTER: Topic<'_> = Topic::Register { template: "t" };

    fn call(topic: Topic<'_>, format: Format) -> Call<'_> {
        Call { topic, format }
    }

    fn json(topic: Topic<'_>, payload: &str) -> Result<Request, MessageError> {
        Request::parse(&call(topic, Format::Json), payload.as_bytes())
    }

    fn cbor(topic: Topic<'_>, payload: &str) -> Result<Request, MessageError> {
        Request::parse(&call(topic, Format::Cbor), &hex(payload))
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte =
            |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    fn register(ownership: &str, parameters: &[(&str, &str)]) -> Request {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Request::Register {
            ownership: ownership.into(),
            parameters: parameters.iter().map(own).collect(),
        }
    }

    #[test]
    fn requests_are_read_as_clients_send_them() {
        for payload in ["", "{}", " { } ", r#"{"x":[1,{"y":[{}]}]}"#] {
            assert_eq!(json(KEYS, payload), Ok(Request::CreateKeys), "{payload}");
        }
        // {}, {_}, {"x": [1, {}]}
        for payload in ["", "a0", "bfff", "a1 6178 8201a0"] {
            assert_eq!(cbor(KEYS, payload), Ok(Request::CreateKeys), "{payload}");
        }
        let csr = Request::CreateFromCsr {
            csr_pem: "P\r\n".into(),
        };
        assert_eq!(
            json(CSR, r#"{"certificateSigningRequest":"P\r\n"}"#),
            Ok(csr.clone())
        );
        // {"certificateSigningRequest": "P\r\n"}, then in two chunks in a map without a length.
        let name = "7819 6365727469666963617465 5369676e696e67 52657175657374";
        assert_eq!(cbor(CSR, &format!("a1 {name} 63500d0a")), Ok(csr.clone()));
        assert_eq!(
            cbor(CSR, &format!("bf {name} 7f 6150 620d0a ff ff")),
            Ok(csr)
        );
        for (payload, want) in [
            (r#"{"certificateOwnershipToken":"o"}"#, register("o", &[])),
            (
                r#"{"parameters":null,"certificateOwnershipToken":"o"}"#,
                register("o", &[]),
            ),
            (
                r#"{"parameters":{"a":"\"ä","b":""},"certificateOwnershipToken":"o","z":1}"#,
                register("o", &[("a", "\"ä"), ("b", "")]),
            ),
        ] {
            assert_eq!(json(REGISTER, payload), Ok(want), "{payload}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_refused() {
        for (topic, payload) in [
            (KEYS, "x"),
            (KEYS, "[]"),
            (KEYS, "null"),
            (KEYS, "{} {}"),
            (KEYS, "{"),
            (KEYS, r#"{"a":1,"a":1}"#),
            (KEYS, "{\"a\":\"\u{1}\"}"),
            (CSR, ""),
            (CSR, "{}"),
            (CSR, r#"{"certificateSigningRequest":1}"#),
            (CSR, r#"{"certificateSigningRequest":null}"#),
            (
                CSR,
                r#"{"certificateSigningRequest":"a","certificateSigningRequest":"a"}"#,
            ),
            (CSR, r#"{"CertificateSigningRequest":"a"}"#),
            (REGISTER, r#"{"certificateOwnershipToken":["o"]}"#),
            (
                REGISTER,
                r#"{"certificateOwnershipToken":"o","parameters":[]}"#,
            ),
            (
                REGISTER,
                r#"{"certificateOwnershipToken":"o","parameters":"a"}"#,
            ),
            (
                REGISTER,
                r#"{"certificateOwnershipToken":"o","parameters":{"a":1}}"#,
            ),
            (
                REGISTER,
                r#"{"certificateOwnershipToken":"o","parameters":{"a":null}}"#,
            ),
            (
                REGISTER,
                r#"{"certificateOwnershipToken":"o","parameters":{"a":{"b":"c"}}}"#,
            ),
            (
                REGISTER,
                r#"{"certificateOwnershipToken":"o","parameters":{"a":"1","a":"2"}}"#,
            ),
        ] {
            let error = json(topic, payload).expect_err(payload);
            assert_eq!(error.code(), "payload-unreadable", "{payload}");
        }
        for payload in ["", "{}", r#"{"certificateOwnershipToken":""}"#] {
            assert_eq!(
                json(REGISTER, payload),
                Err(MessageError::OwnershipEmpty),
                "{payload}"
            );
        }
        for payload in [
            "80",                         // an array
            "6178",                       // a text
            "a0 00",                      // something behind it
            "a1 6161",                    // no value
            "a1 01 01",                   // a key that is no text
            "a2 616101 616101",           // a name twice
            "bf 616101",                  // no end
            "bb ffffffffffffffff 616101", // more announced than there is
            "7b ffffffffffffffff 61",
            "a1 62c328 01", // not UTF-8
            "ff",
        ] {
            let error = cbor(KEYS, payload).expect_err(payload);
            assert_eq!(error.code(), "payload-unreadable", "{payload}");
        }
    }

    #[test]
    fn limits_hold_at_their_edge() {
        let csr = |length| Request::CreateFromCsr {
            csr_pem: "x".repeat(length),
        };
        let parameter = |name, value| {
            register(
                "o",
                &[("n".repeat(name).as_str(), "v".repeat(value).as_str())],
            )
        };
        let parameters = |count: usize| {
            let names: Vec<_> = (0..count).map(|at| at.to_string()).collect();
            let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
            register("o", &pairs)
        };
        let ownership = |length| register(&"o".repeat(length), &[]);
        for (topic, good, bad, code) in [
            (CSR, csr(MAX_CSR), csr(MAX_CSR + 1), "payload-unreadable"),
            (
                REGISTER,
                ownership(MAX_OWNERSHIP),
                ownership(MAX_OWNERSHIP + 1),
                "payload-unreadable",
            ),
            (
                REGISTER,
                parameter(MAX_PARAMETER_NAME, 1),
                parameter(MAX_PARAMETER_NAME + 1, 1),
                "parameters-invalid",
            ),
            (
                REGISTER,
                parameter(1, MAX_PARAMETER_VALUE),
                parameter(1, MAX_PARAMETER_VALUE + 1),
                "parameters-invalid",
            ),
            (
                REGISTER,
                parameters(MAX_PARAMETERS),
                parameters(MAX_PARAMETERS + 1),
                "parameters-invalid",
            ),
        ] {
            for format in Format::ALL {
                let call = call(topic, format);
                assert_eq!(
                    Request::parse(&call, &good.encode(format)),
                    Ok(good.clone())
                );
                let error = Request::parse(&call, &bad.encode(format)).unwrap_err();
                assert_eq!(error.code(), code, "{error}");
            }
        }
        let blank = vec![b' '; MAX_PAYLOAD + 1];
        assert!(Request::parse(&call(KEYS, Format::Json), &blank).is_err());
    }

    #[test]
    fn nesting_without_end_costs_no_stack() {
        let deep = format!(r#"{{"x":{}"#, "[".repeat(100_000));
        assert!(json(KEYS, &deep).is_err());
        let mut deep = hex("a1 6178");
        deep.extend(vec![0x81; 100_000]);
        assert!(Request::parse(&call(KEYS, Format::Cbor), &deep).is_err());
        deep.push(0x01);
        let read = Request::parse(&call(KEYS, Format::Cbor), &deep);
        assert_eq!(read, Ok(Request::CreateKeys));
    }

    #[test]
    fn replies_are_written_as_the_vendor_writes_them() {
        let created = Created {
            ownership: "o".into(),
            certificate_id: "ab".into(),
            certificate_pem: "c\n".into(),
            private_key_pem: None,
        };
        let with_key = Created {
            private_key_pem: Some("k".to_owned().into()),
            ..created.clone()
        };
        let registered = Registered {
            device_configuration: [("a".to_owned(), "b".to_owned())].into(),
            thing_name: Some("dev-1".into()),
        };
        let rejected = Rejected {
            status: 403,
            error: "AccessDenied".into(),
            message: "no".into(),
        };
        for (reply, want) in [
            (
                Reply::Created(created),
                r#"{"certificateOwnershipToken":"o","certificateId":"ab","certificatePem":"c\n"}"#,
            ),
            (
                Reply::Created(with_key),
                r#"{"certificateOwnershipToken":"o","certificateId":"ab","certificatePem":"c\n","privateKey":"k"}"#,
            ),
            (
                Reply::Registered(registered),
                r#"{"deviceConfiguration":{"a":"b"},"thingName":"dev-1"}"#,
            ),
            (
                Reply::Registered(Registered::default()),
                r#"{"deviceConfiguration":{}}"#,
            ),
            (
                Reply::Rejected(rejected),
                r#"{"statusCode":403,"errorCode":"AccessDenied","errorMessage":"no"}"#,
            ),
        ] {
            assert_eq!(reply.encode(Format::Json).as_slice(), want.as_bytes());
        }
    }

    #[test]
    fn half_an_answer_is_no_answer() {
        for (topic, payload) in [
            (CSR, ""),
            (CSR, "{}"),
            (CSR, r#"{"certificateId":"a","certificatePem":"b"}"#),
            (
                CSR,
                r#"{"certificateOwnershipToken":"o","certificatePem":"b"}"#,
            ),
            (
                CSR,
                r#"{"certificateOwnershipToken":"o","certificateId":"a"}"#,
            ),
            (REGISTER, r#"{"deviceConfiguration":{"a":1}}"#),
            (REGISTER, r#"{"thingName":1}"#),
        ] {
            let call = call(topic, Format::Json);
            assert!(
                Reply::parse(&call, Outcome::Accepted, payload.as_bytes()).is_err(),
                "{payload}"
            );
        }
        let empty = Reply::parse(&call(CSR, Format::Json), Outcome::Rejected, b"{}");
        let want = Rejected {
            status: 0,
            error: String::new(),
            message: String::new(),
        };
        assert_eq!(empty, Ok(Reply::Rejected(want)));
    }

    #[test]
    fn neither_key_nor_ownership_is_printed() {
        let created = Created {
            ownership: "OWNER".into(),
            certificate_id: "ab".into(),
            certificate_pem: String::new(),
            private_key_pem: Some("SECRET".to_owned().into()),
        };
        let printed = format!("{:?}", Reply::Created(created));
        assert!(
            !printed.contains("SECRET") && !printed.contains("OWNER"),
            "{printed}"
        );
    }

    fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
        btree_map(any::<String>(), any::<String>(), 0..8)
    }

    fn requests() -> impl Strategy<Value = Request> {
        prop_oneof![
            Just(Request::CreateKeys),
            any::<String>().prop_map(|csr_pem| Request::CreateFromCsr { csr_pem }),
            ("\\PC{1,40}", texts()).prop_map(|(ownership, parameters)| Request::Register {
                ownership,
                parameters
            }),
        ]
    }

    fn replies() -> impl Strategy<Value = (Topic<'static>, Reply)> {
        let created = (
            any::<String>(),
            any::<String>(),
            any::<String>(),
            any::<Option<String>>(),
        );
        let created = created.prop_map(|(ownership, certificate_id, certificate_pem, key)| {
            let private_key_pem = key.map(Zeroizing::new);
            (
                CSR,
                Reply::Created(Created {
                    ownership,
                    certificate_id,
                    certificate_pem,
                    private_key_pem,
                }),
            )
        });
        let registered =
            (texts(), any::<Option<String>>()).prop_map(|(device_configuration, thing_name)| {
                (
                    REGISTER,
                    Reply::Registered(Registered {
                        device_configuration,
                        thing_name,
                    }),
                )
            });
        let rejected =
            (any::<u16>(), "[ -~]{0,30}", "[ -~]{0,300}").prop_map(|(status, error, message)| {
                (
                    KEYS,
                    Reply::Rejected(Rejected {
                        status,
                        error,
                        message,
                    }),
                )
            });
        prop_oneof![created, registered, rejected]
    }

    proptest! {
        #[test]
        fn encode_then_parse_is_identity_for_requests(request in requests()) {
            let topic = match request {
                Request::CreateKeys => KEYS,
                Request::CreateFromCsr { .. } => CSR,
                Request::Register { .. } => REGISTER,
            };
            for format in Format::ALL {
                let read = Request::parse(&call(topic, format), &request.encode(format));
                prop_assert_eq!(read.as_ref(), Ok(&request));
            }
        }

        #[test]
        fn encode_then_parse_is_identity_for_replies((topic, reply) in replies()) {
            for format in Format::ALL {
                let payload = reply.encode(format);
                let read = Reply::parse(&call(topic, format), reply.outcome(), &payload);
                prop_assert_eq!(read.as_ref(), Ok(&reply));
            }
        }
    }
}
