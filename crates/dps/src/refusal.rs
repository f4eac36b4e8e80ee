//! How no is said: the catalogue's codes, under the vendor's numbers.

use core::fmt::Write as _;

use crate::name::{OperationId, RegistrationId};
use crate::reply::Reply;
use crate::request::ParseError;
use crate::state::{RegistrationState, Status};

/// Why the road says no, as the catalogue of refusals has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal<'r> {
    /// The catalogue's word, such as `hardware-not-allowed`.
    pub code: &'r str,
    /// Whose fault it is.
    pub class: Class,
    /// The step at which the device stands, such as `ENROLL`.
    pub step: &'r str,
    /// What happened, in one sentence that strangers may read.
    pub message: &'r str,
    /// What a person does next. May be empty.
    pub hint: &'r str,
    /// When to ask again.
    pub retry: Retry,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// No credential, or one that nobody has heard of.
    Credential,
    /// Known, and the answer is no.
    Denied,
    /// The request itself is wrong.
    Request,
    /// There is no such thing here.
    Absent,
    /// Not now.
    Passing,
    /// A person has to approve first.
    Waiting,
}

/// When to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The cause passes: after so many seconds.
    After(u32),
    /// The same question will always get this answer; a person has to do something.
    Never,
}

/// By which of the two ways a device asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// HTTPS.
    Https,
    /// MQTT.
    Mqtt,
}

macro_rules! numbers {
    ($($(#[doc = $doc:literal])* $variant:ident $number:literal;)*) => {
        /// `errorCode`: six digits, of which the first three are the HTTP status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode { $($(#[doc = $doc])* $variant,)* }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u32 {
                match self { $(Self::$variant => $number,)* }
            }
        }
    };
}

// The vendor lists no numbers; these were seen in the wild, but for those that say "ours".
numbers! {
    /// The body or a name in it is wrong.
    InvalidRequest 400_004;
    /// Whoever allocates hubs has named none (`CustomAllocationIotHubNotSpecified`).
    HubNotSpecified 400_208;
    /// Whoever allocates hubs has turned us away (`CustomAllocationUnauthorizedAccess`).
    HubUnauthorized 400_209;
    /// No credential, a wrong one, or one that may not.
    Unauthorized 401_002;
    /// There is no such path. Ours.
    PathUnknown 404_001;
    /// There is no such scope, enrollment or registration.
    NotFound 404_201;
    /// There is no such operation, or it is another device's.
    OperationUnknown 404_202;
    /// The path takes another method. Ours.
    MethodNotAllowed 405_001;
    /// Something like it exists already.
    Conflict 409_004;
    /// The record has changed meanwhile.
    PreconditionFailed 412_001;
    /// The body is of another type. Ours.
    UnsupportedMediaType 415_001;
    /// Too many questions, or not now.
    Throttled 429_001;
    /// A fault of ours.
    Internal 500_001;
}

impl ErrorCode {
    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        #[expect(clippy::cast_possible_truncation, reason = "three digits are left")]
        let status = (self.number() / 1_000) as u16;
        status
    }

    /// The name of a number that another service may have said.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.number() == number)
    }
}

impl Refusal<'_> {
    /// What a device is told: the one table of how the road's no looks in this protocol.
    ///
    /// `operation`: given where the device has proven who it is, so that it can be told to come back.
    /// Then what waits or passes is `assigning`: one SDK gives up at once when it meets 429 over
    /// HTTPS, and all of them poll. Over MQTT what is denied is then `failed` with its reason, because
    /// the SDKs drop the words of an error there.
    #[must_use]
    pub fn reply(
        &self,
        transport: Transport,
        id: &RegistrationId,
        operation: Option<&OperationId>,
    ) -> Reply {
        let error = self.error();
        match (self.class, transport, operation) {
            (Class::Waiting | Class::Passing, _, Some(operation_id)) => Reply::Assigning {
                operation_id: operation_id.clone(),
                retry_after: error.retry_after.unwrap_or(PATIENCE),
            },
            (Class::Denied, Transport::Mqtt, Some(operation_id)) => Reply::Done {
                operation_id: operation_id.clone(),
                state: Box::new(RegistrationState {
                    registration_id: Some(id.clone()),
                    status: Status::Failed,
                    error_code: Some(error.code.number()),
                    error_message: Some(error.message),
                    ..RegistrationState::default()
                }),
            },
            _ => Reply::Error(error),
        }
    }

    /// The same as an error, for those who have proven nothing, and for the service API.
    ///
    /// The message begins with the vendor's own words and goes on with ours: `Unauthorized
    /// [hardware-not-allowed] This hardware is not on the product's allowlist. If it belongs to you,
    /// ...; retry=never`.
    #[must_use]
    pub fn error(&self) -> ServiceError {
        let (code, words) = self.said();
        let mut message = format!("{words} [{}] {}", self.code, self.message);
        if !self.hint.is_empty() {
            message.push(' ');
            message.push_str(self.hint);
        }
        let (retry, seconds) = match self.retry {
            Retry::After(seconds) => (format!("retry={seconds}"), Some(seconds.max(1))),
            Retry::Never => ("retry=never".to_owned(), None),
        };
        let _ = write!(message, "; {retry}");
        let mut error = ServiceError::new(code, &message);
        error.retry_after = seconds;
        error.note = Some(format!("{}; step={}; {retry}", self.code, self.step));
        error
    }

    /// The same where the device has to ask its whole question again after a while, because its operation
    /// would not repeat it: over MQTT the SDKs do so by themselves when they are told 429.
    #[must_use]
    pub fn throttled(&self) -> ServiceError {
        let mut error = self.error();
        error.code = ErrorCode::Throttled;
        error.retry_after = Some(error.retry_after.unwrap_or(PATIENCE));
        error
    }

    fn said(&self) -> (ErrorCode, &'static str) {
        let named = SAID.iter().find(|(code, ..)| *code == self.code);
        match (named, self.class) {
            (Some((_, code, words)), _) => (*code, words),
            (None, Class::Credential | Class::Denied | Class::Waiting) => {
                (ErrorCode::Unauthorized, "Unauthorized")
            }
            (None, Class::Request) => (ErrorCode::InvalidRequest, "Bad request"),
            (None, Class::Absent) => (ErrorCode::NotFound, "Not found"),
            (None, Class::Passing) => (ErrorCode::Internal, "Internal server error"),
        }
    }
}

/// Where the vendor has a number of its own.
#[rustfmt::skip]
const SAID: &[(&str, ErrorCode, &str)] = &[
    ("not-found",            ErrorCode::PathUnknown, "Not found"),
    ("method-not-allowed",   ErrorCode::MethodNotAllowed, "Method not allowed"),
    ("content-type-wrong",   ErrorCode::UnsupportedMediaType, "Unsupported media type"),
    ("operation-unknown",    ErrorCode::OperationUnknown, "Operation not found"),
    ("enrollment-exists",    ErrorCode::Conflict, "Enrollment already exists"),
    ("etag-differs",         ErrorCode::PreconditionFailed, "Precondition failed"),
    ("hub-missing",          ErrorCode::HubNotSpecified, "Custom allocation failed"),
    ("busy",                 ErrorCode::Throttled, "Throttled"),
    ("guessing-limited",     ErrorCode::Throttled, "Throttled"),
    ("rate-limited",         ErrorCode::Throttled, "Throttled"),
];

/// An error as this API says it: number, sentence, and when to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceError {
    /// `errorCode`, whose first digits are the status.
    pub code: ErrorCode,
    /// `message`, printable and at most [`ServiceError::MAX_MESSAGE`] characters.
    pub message: String,
    /// Seconds to wait, 1 or more, when the cause passes.
    pub retry_after: Option<u32>,
    /// The `Allow` header of a 405.
    pub allow: Option<&'static str>,
    /// The `Imprint-Refusal` header, `code; step=S; retry=N`, where the road has said no.
    pub note: Option<String>,
}

impl ServiceError {
    /// The longest message, in characters: clients on microcontrollers have little room.
    pub const MAX_MESSAGE: usize = 512;

    /// An error in words. Control characters become blanks; what is too long ends early, though not
    /// before a last `; retry=N`.
    #[must_use]
    pub fn new(code: ErrorCode, message: &str) -> Self {
        Self {
            code,
            message: fit(message),
            retry_after: None,
            allow: None,
            note: None,
        }
    }
}

/// A message fit for a log and for a small device.
pub(crate) fn fit(message: &str) -> String {
    let printable = |text: &str, most| -> String {
        let shown = |c: char| if c.is_control() { ' ' } else { c };
        text.chars().map(shown).take(most).collect()
    };
    let is_long = message.chars().count() > ServiceError::MAX_MESSAGE;
    let tail = message.rfind(RETRY).filter(|_| is_long);
    let (head, tail) = message.split_at(tail.unwrap_or(message.len()));
    let tail = printable(tail, 20);
    let mut message = printable(head, ServiceError::MAX_MESSAGE - tail.chars().count());
    message.push_str(&tail);
    message
}

/// The catalogue's code in a message of ours: the first `[word]`.
pub(crate) fn code_in(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once('[')?;
    let (code, _) = rest.split_once(']')?;
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    ((1..=64).contains(&code.len()) && code.bytes().all(is_word)).then_some(code)
}

/// What a message of ours says about asking again.
pub(crate) fn retry_in(message: &str) -> Option<Retry> {
    match message.rsplit_once(RETRY)?.1 {
        "never" => Some(Retry::Never),
        seconds => seconds.parse().ok().map(Retry::After),
    }
}

impl From<&ParseError> for ServiceError {
    fn from(error: &ParseError) -> Self {
        let refusal = Refusal {
            code: error.code(),
            class: Class::Request,
            step: "BOOTSTRAP",
            message: &error.to_string(),
            hint: "",
            retry: Retry::Never,
        };
        Self {
            allow: error.allow(),
            ..refusal.error()
        }
    }
}

const RETRY: &str = "; retry=";

/// Seconds until the next try when nobody said.
pub(crate) const PATIENCE: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOT_ALLOWED: Refusal<'_> = Refusal {
        code: "hardware-not-allowed",
        class: Class::Denied,
        step: "ENROLL",
        message: "This hardware is not on the product's allowlist.",
        hint: "If it belongs to you, `imprint allow add`.",
        retry: Retry::Never,
    };

    #[test]
    fn numbers_are_six_digits_and_begin_with_the_status() {
        for code in ErrorCode::ALL {
            assert!((400_000..600_000).contains(&code.number()), "{code:?}");
            assert_eq!(ErrorCode::from_number(code.number()), Some(*code));
        }
        assert_eq!(ErrorCode::Unauthorized.status(), 401);
        assert_eq!(ErrorCode::from_number(401_003), None);
    }

    #[test]
    fn a_refusal_is_said_in_the_vendors_words_and_ours() {
        let error = NOT_ALLOWED.error();
        assert_eq!(error.code, ErrorCode::Unauthorized);
        assert_eq!(
            error.message,
            "Unauthorized [hardware-not-allowed] This hardware is not on the product's allowlist. \
             If it belongs to you, `imprint allow add`.; retry=never"
        );
        assert_eq!(
            error.note.as_deref(),
            Some("hardware-not-allowed; step=ENROLL; retry=never")
        );
        assert_eq!(code_in(&error.message), Some("hardware-not-allowed"));
        assert_eq!(retry_in(&error.message), Some(Retry::Never));
    }

    #[test]
    fn codes_and_classes_have_the_vendors_numbers() {
        use Class::{Absent, Credential, Denied, Passing, Request, Waiting};
        for (code, class, want) in [
            ("credential-missing", Credential, ErrorCode::Unauthorized),
            ("anything-new", Denied, ErrorCode::Unauthorized),
            ("anything-new", Waiting, ErrorCode::Unauthorized),
            ("payload-unreadable", Request, ErrorCode::InvalidRequest),
            ("enrollment-unknown", Absent, ErrorCode::NotFound),
            ("operation-unknown", Absent, ErrorCode::OperationUnknown),
            ("ledger-unavailable", Passing, ErrorCode::Internal),
            ("busy", Passing, ErrorCode::Throttled),
            ("rate-limited", Passing, ErrorCode::Throttled),
            ("etag-differs", Denied, ErrorCode::PreconditionFailed),
        ] {
            let refusal = Refusal {
                code,
                class,
                ..NOT_ALLOWED
            };
            assert_eq!(refusal.error().code, want, "{code} {class:?}");
        }
    }

    #[test]
    fn who_has_proven_who_it_is_is_told_to_come_back() {
        let id = RegistrationId::new("Dev-1").unwrap();
        let operation = OperationId::new("5.a").unwrap();
        let after = |class, retry| Refusal {
            class,
            retry,
            ..NOT_ALLOWED
        };
        let assigning = |retry_after| Reply::Assigning {
            operation_id: operation.clone(),
            retry_after,
        };
        for transport in [Transport::Https, Transport::Mqtt] {
            let waiting = after(Class::Waiting, Retry::After(30));
            assert_eq!(
                waiting.reply(transport, &id, Some(&operation)),
                assigning(30)
            );
            let passing = after(Class::Passing, Retry::After(0));
            assert_eq!(
                passing.reply(transport, &id, Some(&operation)),
                assigning(1)
            );
            let endless = after(Class::Waiting, Retry::Never);
            assert_eq!(
                endless.reply(transport, &id, Some(&operation)),
                assigning(60)
            );
            for refusal in [waiting, passing, NOT_ALLOWED] {
                assert_eq!(
                    refusal.reply(transport, &id, None),
                    Reply::Error(refusal.error())
                );
            }
        }
        let waiting = after(Class::Waiting, Retry::After(30)).throttled();
        assert_eq!(
            (waiting.code, waiting.retry_after),
            (ErrorCode::Throttled, Some(30))
        );
        let https = NOT_ALLOWED.reply(Transport::Https, &id, Some(&operation));
        assert_eq!(https, Reply::Error(NOT_ALLOWED.error()));
        let Reply::Done { state, .. } = NOT_ALLOWED.reply(Transport::Mqtt, &id, Some(&operation))
        else {
            panic!("failed, and done");
        };
        assert_eq!(
            (state.status, state.error_code),
            (Status::Failed, Some(401_002))
        );
        assert_eq!(state.error_message, Some(NOT_ALLOWED.error().message));
    }

    #[test]
    fn what_can_not_be_read_is_an_error_too() {
        let error = ServiceError::from(&ParseError::Method { allow: "PUT" });
        assert_eq!((error.code.status(), error.allow), (405, Some("PUT")));
        let error = ServiceError::from(&ParseError::OtherDevice);
        assert_eq!(error.code, ErrorCode::InvalidRequest);
        assert_eq!(code_in(&error.message), Some("payload-unreadable"));
    }

    #[test]
    fn a_message_stays_short_and_printable() {
        let message = fit(&format!("a\r\n{}; retry=7", "y".repeat(9_000)));
        assert_eq!(message.chars().count(), ServiceError::MAX_MESSAGE);
        assert!(!message.contains(char::is_control));
        assert_eq!(retry_in(&message), Some(Retry::After(7)));
    }

    proptest! {
        #[test]
        fn code_and_retry_survive_the_way(
            code in "[a-zA-Z][a-zA-Z0-9_-]{0,40}",
            message in "[^\\[]{0,900}",
            seconds in any::<Option<u32>>(),
        ) {
            let retry = seconds.map_or(Retry::Never, Retry::After);
            let refusal = Refusal { code: &code, message: &message, retry, ..NOT_ALLOWED };
            let error = refusal.error();
            prop_assert_eq!(code_in(&error.message), Some(code.as_str()));
            prop_assert_eq!(retry_in(&error.message), Some(retry));
        }
    }
}
