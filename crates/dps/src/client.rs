//! The device's half: questions to bytes, answers to [`Answer`]s, over both ways.
//!
//! Answers of the vendor's own service are read too: without our code in the message, and with
//! fields missing that an SDK doesn't need either.

use core::fmt;

use serde::Deserialize;

use crate::http::Call;
use crate::json::{from_base64, is_object, is_shallow};
use crate::mqtt;
use crate::name::{OperationId, Rid};
use crate::refusal::{self, PATIENCE, Retry, Transport};
use crate::request::{MAX_BODY, Request};
use crate::state::{RegistrationState, Status};

/// What to send for `call` over HTTPS: without `Host`, and without `Authorization`, because a token
/// must not be made before the server was verified (see [`crate::sas::Unsigned`]).
#[must_use]
pub fn http(call: &Call) -> HttpRequest {
    let (method, body) = match &call.request {
        Request::Register(registration) => ("PUT", registration.encode(&call.registration_id)),
        Request::OperationStatus { .. } => ("GET", Vec::new()),
        Request::Lookup => {
            let registration = crate::Registration::default();
            ("POST", registration.encode(&call.registration_id))
        }
    };
    let mut headers = vec![("Accept", "application/json".to_owned())];
    if method != "GET" {
        headers.push(("Content-Type", "application/json; charset=utf-8".to_owned()));
        headers.push(("Content-Length", body.len().to_string()));
    }
    HttpRequest {
        method,
        target: call.target(),
        headers,
        body,
    }
}

/// Topic and payload to publish for a request over MQTT, after subscribing to
/// [`crate::SUBSCRIPTION`]. `None` for a lookup, which MQTT doesn't have.
#[must_use]
pub fn publish(
    request: &Request,
    id: &crate::RegistrationId,
    rid: &Rid,
) -> Option<(String, Vec<u8>)> {
    let topic = mqtt::topic(rid, request)?;
    let payload = match request {
        Request::Register(registration) => registration.encode(id),
        // What the vendor's SDKs send there.
        _ => b" ".to_vec(),
    };
    Some((topic, payload))
}

/// An HTTP request, to be sent as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// `PUT`, `GET` or `POST`.
    pub method: &'static str,
    /// The path, with its query.
    pub target: String,
    /// Names and values, in order.
    pub headers: Vec<(&'static str, String)>,
    /// As many bytes as `Content-Length` says.
    pub body: Vec<u8>,
}

/// The body may hold a payload and is not printed.
impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("target", &self.target)
            .field("body_length", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Not yet: ask for this operation.
    Assigning {
        /// By which to ask.
        operation_id: OperationId,
        /// Seconds to wait, at most an hour. `None` when the server didn't say.
        retry_after: Option<u32>,
    },
    /// The device has its hub.
    Assigned(Box<RegistrationState>),
    /// What is on record, to a lookup.
    State(Box<RegistrationState>),
    /// A TPM has to open this, and to sign with what is in it.
    Challenge {
        /// `authenticationKey`.
        blob: Vec<u8>,
    },
    /// No.
    Refused(Refused),
}

/// Why not, as far as the server said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The status; 200 for a registration that has failed.
    pub status: u16,
    /// `errorCode`, if there was one.
    pub error_code: Option<u32>,
    /// The sentence for a person: printable, perhaps empty.
    pub message: String,
    /// Seconds to wait, by header or topic.
    pub retry_after: Option<u32>,
}

impl Refused {
    /// The catalogue's code, when the server is one that gives it.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        refusal::code_in(&self.message)
    }

    /// When to ask again: what the message says; else header or topic; else what the status means,
    /// throttled or a fault of the server passes.
    #[must_use]
    pub fn retry(&self) -> Retry {
        let said = refusal::retry_in(&self.message);
        let said = said.or(self.retry_after.map(Retry::After));
        said.unwrap_or(match self.status {
            429.. => Retry::After(PATIENCE),
            _ => Retry::Never,
        })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status)?;
        if let Some(code) = self.error_code {
            write!(f, ", error {code}")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl Answer {
    /// Reads the HTTP reply to `request`. `header` finds a header's value by its name, whatever its
    /// case; `body` is all of it.
    ///
    /// An error is not a refusal: the bytes don't say what the server wants, so a device tries
    /// again and gives up nothing.
    pub fn http<'a>(
        request: &Request,
        status: u16,
        header: impl Fn(&str) -> Option<&'a str>,
        body: &[u8],
    ) -> Result<Self, AnswerError> {
        let retry_after = header("Retry-After").and_then(|text| text.trim().parse().ok());
        Self::read(Transport::Https, request, status, retry_after, body)
    }

    /// Reads a message that came to [`crate::SUBSCRIPTION`], as the answer to `request` if its `$rid`
    /// is the request's.
    pub fn mqtt(
        request: &Request,
        rid: &Rid,
        topic: &str,
        payload: &[u8],
    ) -> Result<Self, AnswerError> {
        let (status, found, retry_after) =
            mqtt::parse_answer_topic(topic).ok_or(AnswerError::Topic)?;
        if found != *rid {
            return Err(AnswerError::OtherRid);
        }
        Self::read(Transport::Mqtt, request, status, retry_after, payload)
    }

    fn read(
        transport: Transport,
        request: &Request,
        status: u16,
        retry_after: Option<u32>,
        body: &[u8],
    ) -> Result<Self, AnswerError> {
        let retry_after = retry_after.map(|seconds| seconds.min(LONGEST_WAIT));
        match (status, request) {
            (200, Request::Lookup) => Ok(Self::State(Box::new(json(body)?))),
            (200 | 202, Request::Register(_) | Request::OperationStatus { .. }) => {
                let operation: Operation = json(body)?;
                operation.answer(status, retry_after)
            }
            (300.., _) => Ok(Self::refused(transport, status, retry_after, body)),
            _ => Err(AnswerError::Status { status }),
        }
    }

    fn refused(transport: Transport, status: u16, retry_after: Option<u32>, body: &[u8]) -> Self {
        // A proxy's page is no JSON; its status still says something.
        let said: ErrorBody = json(body).unwrap_or_default();
        let blob = said.authentication_key.as_deref().and_then(from_base64);
        match blob {
            Some(blob) if status == 401 && transport == Transport::Https => {
                Self::Challenge { blob }
            }
            _ => Self::Refused(Refused {
                status,
                error_code: said.error_code,
                message: refusal::fit(&said.message.unwrap_or_default()),
                retry_after,
            }),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    operation_id: Option<OperationId>,
    status: Status,
    registration_state: Option<RegistrationState>,
}

impl Operation {
    fn answer(self, status: u16, retry_after: Option<u32>) -> Result<Answer, AnswerError> {
        match (self.status, self.registration_state) {
            (Status::Assigning | Status::Unassigned, _) => Ok(Answer::Assigning {
                operation_id: self.operation_id.ok_or(AnswerError::Incomplete)?,
                retry_after,
            }),
            (Status::Assigned, Some(state)) => {
                let whole = state.assigned_hub.is_some() && state.device_id.is_some();
                if whole {
                    Ok(Answer::Assigned(Box::new(state)))
                } else {
                    Err(AnswerError::Incomplete)
                }
            }
            (Status::Assigned, None) => Err(AnswerError::Incomplete),
            (Status::Failed | Status::Disabled, state) => {
                let state = state.unwrap_or_default();
                Ok(Answer::Refused(Refused {
                    status,
                    error_code: state.error_code,
                    message: refusal::fit(&state.error_message.unwrap_or_default()),
                    retry_after,
                }))
            }
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ErrorBody {
    error_code: Option<u32>,
    message: Option<String>,
    authentication_key: Option<String>,
}

fn json<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, AnswerError> {
    if body.len() > MAX_BODY || !is_shallow(body) {
        return Err(AnswerError::Large);
    }
    if !is_object(body) {
        return Err(AnswerError::Unreadable);
    }
    serde_json::from_slice(body).map_err(|_| AnswerError::Unreadable)
}

/// A server that says more is believed an hour: clocks of servers are set wrong too.
const LONGEST_WAIT: u32 = 3_600;

/// Why an answer says nothing that a device can act upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// A status that the API does not use for this question.
    #[error(
        "the server answered with status {status}, which is no DPS answer; is this the DPS server?"
    )]
    Status {
        /// The status.
        status: u16,
    },
    /// The topic is no answer's.
    #[error("the message came on a topic that carries no answer")]
    Topic,
    /// The answer belongs to another question.
    #[error("the answer is to another question")]
    OtherRid,
    /// The body is too long or nests too deep.
    #[error("the server's answer is longer than {MAX_BODY} bytes, or nests too deep")]
    Large,
    /// The body can't be read.
    #[error("the server's answer can't be read")]
    Unreadable,
    /// `assigned` without hub or device, or `assigning` without an operation.
    #[error("the server's answer lacks the hub, the device or the operation")]
    Incomplete,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{ApiVersion, IdScope, RegistrationId};
    use crate::reply::{Reply, Trace};
    use crate::request::Registration;
    use crate::{ErrorCode, Payload, ServiceError};
    use imprint_identity::UnixTime;
    use proptest::prelude::*;

    const TRACE: Trace<'_> = Trace {
        id: "e-1",
        at: UnixTime(0),
    };

    fn call(request: Request) -> Call {
        Call {
            scope: IdScope::new("0ne0").unwrap(),
            registration_id: RegistrationId::new("Dev:1").unwrap(),
            api_version: ApiVersion::new(ApiVersion::COMMON).ok(),
            request,
        }
    }

    fn register() -> Request {
        Request::Register(Registration {
            payload: Payload::parse("{\"a\":1}"),
            ..Registration::default()
        })
    }

    fn poll() -> Request {
        Request::OperationStatus {
            operation_id: OperationId::new("5.a").unwrap(),
        }
    }

    fn assigned() -> RegistrationState {
        RegistrationState {
            status: Status::Assigned,
            assigned_hub: Some("hub.example".into()),
            device_id: Some("dev:1".into()),
            ..RegistrationState::default()
        }
    }

    #[test]
    fn what_the_device_sends_the_server_reads() {
        for request in [register(), poll(), Request::Lookup] {
            let call = call(request);
            let sent = http(&call);
            let content_type = sent
                .headers
                .iter()
                .find(|(name, _)| *name == "Content-Type");
            let content_type = content_type.map(|(_, value)| value.as_str());
            let got = Call::parse(sent.method, &sent.target, content_type, &sent.body);
            assert_eq!(got.as_ref(), Ok(&call));
            let rid = Rid::new("1").unwrap();
            match publish(&call.request, &call.registration_id, &rid) {
                Some((topic, payload)) => {
                    let question = crate::Question::parse(&topic).unwrap();
                    let got = question.request(&call.registration_id, &payload);
                    assert_eq!(got, Ok(call.request));
                }
                None => assert_eq!(call.request, Request::Lookup),
            }
        }
        assert!(!format!("{:?}", http(&call(register()))).contains("\"a\""));
    }

    #[test]
    fn what_the_server_says_the_device_reads() {
        let operation_id = OperationId::new("5.a").unwrap();
        let throttled = ServiceError {
            retry_after: Some(5),
            ..ServiceError::new(ErrorCode::Throttled, "Throttled [busy] Too many.; retry=5")
        };
        let refused = Refused {
            status: 429,
            error_code: Some(429_001),
            message: throttled.message.clone(),
            retry_after: Some(5),
        };
        assert_eq!(
            (refused.code(), refused.retry()),
            (Some("busy"), Retry::After(5))
        );
        let failed = RegistrationState {
            status: Status::Failed,
            error_code: Some(401_002),
            error_message: Some("Unauthorized [token-leased] x; retry=never".into()),
            ..RegistrationState::default()
        };
        let rid = Rid::new("1").unwrap();
        for (request, reply, want) in [
            (
                register(),
                Reply::Assigning {
                    operation_id: operation_id.clone(),
                    retry_after: 3,
                },
                Answer::Assigning {
                    operation_id: operation_id.clone(),
                    retry_after: Some(3),
                },
            ),
            (
                poll(),
                Reply::Done {
                    operation_id: operation_id.clone(),
                    state: Box::new(assigned()),
                },
                Answer::Assigned(Box::new(assigned())),
            ),
            (
                register(),
                Reply::Done {
                    operation_id,
                    state: Box::new(failed),
                },
                Answer::Refused(Refused {
                    status: 200,
                    error_code: Some(401_002),
                    message: "Unauthorized [token-leased] x; retry=never".into(),
                    retry_after: None,
                }),
            ),
            (poll(), Reply::Error(throttled), Answer::Refused(refused)),
        ] {
            let sent = reply.http(Some(&call(request.clone())), TRACE);
            let got = Answer::http(&request, sent.status, |name| sent.header(name), &sent.body);
            assert_eq!(got.as_ref(), Ok(&want));
            let (topic, payload) = reply.mqtt(&rid, TRACE);
            assert_eq!(Answer::mqtt(&request, &rid, &topic, &payload), Ok(want));
        }
        let state = Reply::State(Box::new(assigned())).http(None, TRACE);
        let got = Answer::http(
            &Request::Lookup,
            200,
            |name| state.header(name),
            &state.body,
        );
        assert_eq!(got, Ok(Answer::State(Box::new(assigned()))));
        let challenge = Reply::Challenge { blob: vec![7] }.http(None, TRACE);
        let got = Answer::http(
            &register(),
            401,
            |name| challenge.header(name),
            &challenge.body,
        );
        assert_eq!(got, Ok(Answer::Challenge { blob: vec![7] }));
    }

    #[test]
    fn answers_of_others_are_read_or_told_apart() {
        let plain = |status, error_code, message: &str| {
            Ok(Answer::Refused(Refused {
                status,
                error_code,
                message: message.into(),
                retry_after: None,
            }))
        };
        for (request, status, body, want) in [
            (
                register(),
                401,
                r#"{"errorCode":401002,"trackingId":"8ad0463c","message":"Invalid certificate.","timestampUtc":"2020-04-10T05:24:22.4718526Z"}"#,
                plain(401, Some(401_002), "Invalid certificate."),
            ),
            (register(), 502, "<html>", plain(502, None, "")),
            (register(), 302, "", plain(302, None, "")),
            (
                register(),
                204,
                "",
                Err(AnswerError::Status { status: 204 }),
            ),
            (
                Request::Lookup,
                202,
                "{}",
                Err(AnswerError::Status { status: 202 }),
            ),
            (register(), 200, "<html>", Err(AnswerError::Unreadable)),
            (register(), 200, "{}", Err(AnswerError::Unreadable)),
            (
                register(),
                200,
                r#"{"status":"new"}"#,
                Err(AnswerError::Unreadable),
            ),
            (
                register(),
                200,
                r#"{"status":"assigned"}"#,
                Err(AnswerError::Incomplete),
            ),
            (
                register(),
                200,
                r#"{"status":"assigned","registrationState":{"status":"assigned","deviceId":"d"}}"#,
                Err(AnswerError::Incomplete),
            ),
            (
                register(),
                202,
                r#"{"status":"assigning"}"#,
                Err(AnswerError::Incomplete),
            ),
            (
                poll(),
                200,
                r#"{"status":"disabled"}"#,
                plain(200, None, ""),
            ),
        ] {
            let got = Answer::http(&request, status, |_| None, body.as_bytes());
            assert_eq!(got, want, "{status} {body}");
        }
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        let got = Answer::http(&register(), 200, |_| None, deep.as_bytes());
        assert_eq!(got, Err(AnswerError::Large));
    }

    #[test]
    fn an_answer_to_another_question_is_not_taken() {
        let rid = Rid::new("1").unwrap();
        for (topic, want) in [
            ("$dps/registrations/res/200/?$rid=2", AnswerError::OtherRid),
            (
                "$dps/registrations/PUT/iotdps-register/?$rid=1",
                AnswerError::Topic,
            ),
        ] {
            assert_eq!(Answer::mqtt(&register(), &rid, topic, b"{}"), Err(want));
        }
    }

    #[test]
    fn nobody_waits_longer_than_an_hour_on_a_strangers_word() {
        let body = br#"{"operationId":"5.a","status":"assigning"}"#;
        let got = Answer::http(&register(), 202, |_| Some("4000000000"), body);
        let operation_id = OperationId::new("5.a").unwrap();
        assert_eq!(
            got,
            Ok(Answer::Assigning {
                operation_id,
                retry_after: Some(3_600)
            })
        );
    }

    #[test]
    fn what_nobody_said_follows_from_the_status() {
        let refused = |status, retry_after| Refused {
            status,
            error_code: None,
            message: String::new(),
            retry_after,
        };
        for (status, retry_after, want) in [
            (401, None, Retry::Never),
            (404, None, Retry::Never),
            (429, None, Retry::After(60)),
            (500, None, Retry::After(60)),
            (503, Some(7), Retry::After(7)),
        ] {
            assert_eq!(refused(status, retry_after).retry(), want, "{status}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(status: u16, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            for request in [register(), poll(), Request::Lookup] {
                let _ = Answer::http(&request, status, |_| Some("x"), &body);
            }
        }
    }
}
