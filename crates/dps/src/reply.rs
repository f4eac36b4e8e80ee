//! What a device is answered.

use core::fmt;

use imprint_identity::UnixTime;
use serde_json::{Value, json};

use crate::http::Call;
use crate::json::to_base64;
use crate::mqtt::answer_topic;
use crate::name::{OperationId, Rid};
use crate::refusal::ServiceError;
use crate::state::{RegistrationState, Status};
use crate::time;

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// 202: not yet; ask for the operation.
    Assigning {
        /// By which to ask.
        operation_id: OperationId,
        /// Seconds until then, 1 or more.
        retry_after: u32,
    },
    /// 200: the end of an operation. A register may be answered so at once, which saves the
    /// device two seconds or more.
    Done {
        /// Which operation.
        operation_id: OperationId,
        /// How it ended: `status` is `assigned` or `failed`.
        state: Box<RegistrationState>,
    },
    /// 200: what is on record, to a lookup. It never holds `issuedCertificateChain`.
    State(Box<RegistrationState>),
    /// 401: a TPM's first step. Sign with the key in this blob, which only that TPM can open, and ask
    /// again. Over HTTPS alone.
    Challenge {
        /// `authenticationKey`.
        blob: Vec<u8>,
    },
    /// No.
    Error(ServiceError),
}

/// By what an answer is found in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace<'t> {
    /// `trackingId` and `x-ms-request-id`: printable ASCII, such as an enrollment's id.
    pub id: &'t str,
    /// `timestampUtc`.
    pub at: UnixTime,
}

impl Reply {
    /// The HTTP status, which MQTT has in the topic.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Assigning { .. } => 202,
            Self::Done { .. } | Self::State(_) => 200,
            Self::Challenge { .. } => 401,
            Self::Error(error) => error.code.status(),
        }
    }

    /// The HTTP reply to `call`, which is `None` when the request could not be read.
    ///
    /// One SDK leaves a body unparsed unless its type is `application/json`. The caller adds no more
    /// than `Date` and `Connection`.
    #[must_use]
    pub fn http(&self, call: Option<&Call>, trace: Trace<'_>) -> HttpReply {
        let body = self.body(trace);
        let mut headers = vec![
            ("Content-Type", "application/json; charset=utf-8".to_owned()),
            ("Content-Length", body.len().to_string()),
            ("x-ms-request-id", trace.id.to_owned()),
        ];
        if let Some(seconds) = self.retry_after() {
            headers.push(("Retry-After", seconds.to_string()));
        }
        if let (Self::Assigning { operation_id, .. }, Some(call)) = (self, call) {
            headers.push(("Location", call.location(operation_id)));
        }
        if let Self::Error(error) = self {
            headers.push(("x-ms-error-code", error.code.number().to_string()));
            headers.extend(error.allow.map(|method| ("Allow", method.to_owned())));
            headers.extend(error.note.clone().map(|note| ("Imprint-Refusal", note)));
        }
        HttpReply {
            status: self.status(),
            headers,
            body,
        }
    }

    /// Topic and payload of the MQTT reply to the question with this `$rid`.
    #[must_use]
    pub fn mqtt(&self, rid: &Rid, trace: Trace<'_>) -> (String, Vec<u8>) {
        let topic = answer_topic(self.status(), rid, self.retry_after());
        (topic, self.body(trace))
    }

    fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Assigning { retry_after, .. } => Some((*retry_after).max(1)),
            Self::Error(error) => error.retry_after,
            _ => None,
        }
    }

    fn body(&self, trace: Trace<'_>) -> Vec<u8> {
        match self {
            Self::Assigning { operation_id, .. } => bytes(&json!({
                "operationId": operation_id,
                "status": Status::Assigning,
            })),
            Self::Done {
                operation_id,
                state,
            } => bytes(&Wrapped {
                operation_id,
                status: state.status,
                registration_state: state,
            }),
            Self::State(state) => bytes(&RegistrationState {
                issued_certificate_chain: None,
                ..(**state).clone()
            }),
            // No `status`: the C SDK would take the answer for a registration's.
            Self::Challenge { blob } => bytes(&json!({
                "authenticationKey": to_base64(blob),
                "keyName": "registration",
                "message": "Sign with this key and register again.",
            })),
            Self::Error(error) => bytes(&json!({
                "errorCode": error.code.number(),
                "trackingId": trace.id,
                "message": error.message,
                "info": Value::Null,
                "timestampUtc": time::text(trace.at),
            })),
        }
    }
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Wrapped<'r> {
    operation_id: &'r OperationId,
    status: Status,
    registration_state: &'r RegistrationState,
}

fn bytes(value: &impl serde::Serialize) -> Vec<u8> {
    // Only a map with keys that are no texts, or a failing writer, could fail here.
    serde_json::to_vec(value).unwrap_or_default()
}

/// An HTTP reply, to be sent as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpReply {
    /// The status code.
    pub status: u16,
    /// Names and values, in order; `Content-Length` among them.
    pub headers: Vec<(&'static str, String)>,
    /// As many bytes as `Content-Length` says.
    pub body: Vec<u8>,
}

impl HttpReply {
    /// The value of a header, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// The body may hold a payload and is not printed.
impl fmt::Debug for HttpReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpReply")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body_length", &self.body.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{ApiVersion, IdScope, RegistrationId};
    use crate::refusal::ErrorCode;
    use crate::request::Request;

    const TRACE: Trace<'_> = Trace {
        id: "e-1",
        at: UnixTime(1_661_983_370),
    };

    fn call() -> Call {
        Call {
            scope: IdScope::new("0ne0").unwrap(),
            registration_id: RegistrationId::new("dev:1").unwrap(),
            api_version: ApiVersion::new("2021-06-01").ok(),
            request: Request::Lookup,
        }
    }

    fn operation_id() -> OperationId {
        OperationId::new("5.a").unwrap()
    }

    fn text(body: &[u8]) -> &str {
        std::str::from_utf8(body).unwrap()
    }

    #[test]
    fn a_device_that_has_to_wait_is_told_where_and_how_long() {
        let reply = Reply::Assigning {
            operation_id: operation_id(),
            retry_after: 3,
        };
        let http = reply.http(Some(&call()), TRACE);
        assert_eq!(http.status, 202);
        assert_eq!(
            text(&http.body),
            r#"{"operationId":"5.a","status":"assigning"}"#
        );
        for (name, want) in [
            ("content-type", Some("application/json; charset=utf-8")),
            ("content-length", Some("42")),
            ("retry-after", Some("3")),
            (
                "location",
                Some("/0ne0/registrations/dev%3A1/operations/5.a?api-version=2021-06-01"),
            ),
            ("x-ms-request-id", Some("e-1")),
            ("x-ms-error-code", None),
        ] {
            assert_eq!(http.header(name), want, "{name}");
        }
        let (topic, payload) = reply.mqtt(&Rid::new("7").unwrap(), TRACE);
        assert_eq!(topic, "$dps/registrations/res/202/?$rid=7&retry-after=3");
        assert_eq!(payload, http.body);
    }

    #[test]
    fn nobody_is_told_to_wait_no_time_at_all() {
        let reply = Reply::Assigning {
            operation_id: operation_id(),
            retry_after: 0,
        };
        let (topic, _) = reply.mqtt(&Rid::new("7").unwrap(), TRACE);
        assert!(topic.ends_with("&retry-after=1"), "{topic}");
    }

    #[test]
    fn the_end_wraps_the_state_and_a_lookup_does_not() {
        let state = Box::new(RegistrationState {
            status: Status::Assigned,
            assigned_hub: Some("hub.example".into()),
            device_id: Some("dev:1".into()),
            issued_certificate_chain: Some(vec![vec![0x30, 0]]),
            ..RegistrationState::default()
        });
        let done = Reply::Done {
            operation_id: operation_id(),
            state: state.clone(),
        };
        let http = done.http(Some(&call()), TRACE);
        assert_eq!(http.status, 200);
        assert_eq!(
            text(&http.body),
            "{\"operationId\":\"5.a\",\"status\":\"assigned\",\"registrationState\":\
             {\"assignedHub\":\"hub.example\",\"deviceId\":\"dev:1\",\"status\":\"assigned\",\
             \"issuedCertificateChain\":[\"MAA=\"]}}"
        );
        assert_eq!(http.header("retry-after"), None);
        assert_eq!(http.header("location"), None);
        let (topic, payload) = done.mqtt(&Rid::new("7").unwrap(), TRACE);
        assert_eq!(
            (topic.as_str(), payload),
            ("$dps/registrations/res/200/?$rid=7", http.body)
        );
        // A lookup has no chain, even if the server hands one over.
        let looked_up = Reply::State(state).http(Some(&call()), TRACE);
        assert_eq!(
            text(&looked_up.body),
            r#"{"assignedHub":"hub.example","deviceId":"dev:1","status":"assigned"}"#
        );
    }

    #[test]
    fn a_tpms_challenge_is_a_401_without_a_status() {
        let http = Reply::Challenge {
            blob: vec![1, 2, 3],
        }
        .http(Some(&call()), TRACE);
        let body: Value = serde_json::from_slice(&http.body).unwrap();
        assert_eq!(http.status, 401);
        assert_eq!(body["authenticationKey"], "AQID");
        assert_eq!(body["keyName"], "registration");
        assert!(body["message"].is_string());
        assert!(body.get("status").is_none());
    }

    #[test]
    fn an_error_has_its_number_twice() {
        let mut error = ServiceError::new(ErrorCode::Throttled, "Throttled");
        error.retry_after = Some(5);
        let http = Reply::Error(error.clone()).http(None, TRACE);
        assert_eq!(http.status, 429);
        assert_eq!(http.header("x-ms-error-code"), Some("429001"));
        assert_eq!(http.header("retry-after"), Some("5"));
        let body: Value = serde_json::from_slice(&http.body).unwrap();
        assert_eq!(
            body,
            json!({
                "errorCode": 429_001, "trackingId": "e-1", "message": "Throttled", "info": null,
                "timestampUtc": "2022-08-31T22:02:50.0000000Z",
            })
        );
        let (topic, _) = Reply::Error(error).mqtt(&Rid::new("7").unwrap(), TRACE);
        assert_eq!(topic, "$dps/registrations/res/429/?$rid=7&retry-after=5");
    }

    #[test]
    fn what_a_debugger_prints_has_no_body() {
        let state = RegistrationState {
            payload: crate::Payload::parse("{\"password\":\"hunter2\"}"),
            ..RegistrationState::default()
        };
        let reply = Reply::State(Box::new(state));
        let printed = format!("{reply:?} {:?}", reply.http(None, TRACE));
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}
