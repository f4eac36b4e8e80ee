//! How no is said: the catalogue's codes, in the vendor's words.

use core::fmt::Write as _;

/// Why the road says no, as the catalogue of refusals has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal<'r> {
    /// The catalogue's word, such as `hardware-not-allowed`.
    pub code: &'r str,
    /// Whose fault it is.
    pub class: Class,
    /// What happened, in one sentence that strangers may read.
    pub message: &'r str,
    /// What a person does next. May be empty.
    pub hint: &'r str,
    /// When to ask again.
    pub retry: Retry,
    /// What it is about, where the vendor names that: the template, the parameter. May be empty.
    pub about: &'r str,
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

impl Refusal<'_> {
    /// What is published to `<topic>/rejected`.
    ///
    /// `errorMessage` begins with the vendor's own words, so that whoever looks for them finds them,
    /// and goes on with ours: `Access Denied [hardware-not-allowed] This hardware is not on the
    /// product's allowlist. If it belongs to you, ...; retry=never`.
    #[must_use]
    pub fn rejected(&self) -> Rejected {
        let (status, error, words) = self.said();
        let mut message = words.replace("{}", self.about);
        let _ = write!(message, " [{}] {}", self.code, self.message);
        if !self.hint.is_empty() {
            message.push(' ');
            message.push_str(self.hint);
        }
        let _ = match self.retry {
            Retry::After(seconds) => write!(message, "; retry={seconds}"),
            Retry::Never => write!(message, "; retry=never"),
        };
        Rejected::read(status, error, &message)
    }

    /// `statusCode`, `errorCode` and the vendor's words.
    fn said(&self) -> Said {
        let named = SAID.iter().find(|(code, _)| *code == self.code);
        match (named, self.class) {
            (Some((_, said)), _) => *said,
            (None, Class::Credential | Class::Denied | Class::Waiting) => DENIED,
            (None, Class::Request) => (400, "InvalidPayload", "Request is invalid."),
            (None, Class::Absent) => (400, "ProvisioningFailed", "Resource not found."),
            (None, Class::Passing) => (500, "InternalFailure", "Internal failure."),
        }
    }
}

type Said = (u16, &'static str, &'static str);

const DENIED: Said = (403, "AccessDenied", "Access Denied");
const THROTTLED: Said = (429, "ThrottlingException", "Rate exceeded.");

/// Where the vendor has a word of its own. `{}` is what the refusal is about.
#[rustfmt::skip]
const SAID: &[(&str, Said)] = &[
    ("payload-unreadable",   (400, "InvalidPayload", "Message cannot be parsed")),
    ("template-unknown",     (400, "InvalidTemplate", "Template with name {} does not exist.")),
    ("template-disabled",    (400, "InvalidTemplate", "Template {} is not enabled.")),
    ("template-invalid",     (400, "InvalidTemplate", "Template {} is invalid.")),
    ("ownership-missing",    (400, "InvalidCertificateOwnershipToken", "Certificate ownership token cannot be empty.")),
    ("ownership-invalid",    (400, "InvalidCertificateOwnershipToken", "Certificate ownership token is invalid.")),
    ("ownership-used",       (400, "InvalidCertificateOwnershipToken", "Certificate ownership token is invalid.")),
    ("parameter-missing",    (400, "InvalidParameters", "Cannot resolve reference value: {}")),
    ("parameters-invalid",   (400, "InvalidParameters", "Parameters are invalid.")),
    ("hardware-missing",     (400, "InvalidParameters", "Parameters are invalid.")),
    ("hardware-invalid",     (400, "InvalidParameters", "Parameters are invalid.")),
    ("csr-unreadable",       (400, "InvalidPayload", "CSR is invalid.")),
    ("key-not-accepted",     (400, "InvalidPayload", "CSR violates constraints")),
    ("key-unsound",          (400, "InvalidPayload", "CSR violates constraints")),
    ("possession-unproven",  (400, "InvalidPayload", "CSR violates constraints")),
    ("hook-refused",         DENIED),
    ("hook-failed",          (400, "InvocationError", "A failure occurred while invoking the provisioning hook.")),
    ("hook-reply-unreadable", (400, "InvalidResult", "Provisioning hook result is in an invalid format.")),
    ("thing-invalid",        (400, "InvalidParameters", "Parameters are invalid.")),
    ("thing-differs",        (400, "ProvisioningFailed", "Existing resource conflicts with the one in the template.")),
    ("registry-missing",     (400, "ProvisioningFailed", "{} not found.")),
    ("thing-taken",          (400, "ProvisioningFailed", "Existing resource conflicts with the one in the template.")),
    ("busy",                 THROTTLED),
    ("guessing-limited",     THROTTLED),
    ("claim-limited",        THROTTLED),
    ("rate-limited",         THROTTLED),
];

/// `{statusCode, errorCode, errorMessage}`: what a rejection says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// `statusCode`, as in HTTP; 0 when the server gave none.
    pub status: u16,
    /// `errorCode`, such as `AccessDenied`.
    pub error: String,
    /// `errorMessage`, printable and at most [`Rejected::MAX_MESSAGE`] characters.
    pub message: String,
}

impl Rejected {
    /// The longest message that is kept, in characters: clients on microcontrollers have little room.
    pub const MAX_MESSAGE: usize = 512;

    /// What a peer said, made fit for a log: control characters are blanks, what is too long ends
    /// early, though not before a last `; retry=N`.
    pub(crate) fn read(status: u16, error: &str, message: &str) -> Self {
        let printable = |text: &str, most| -> String {
            let shown = |c: char| if c.is_control() { ' ' } else { c };
            text.chars().map(shown).take(most).collect()
        };
        let tail = message
            .rfind(RETRY)
            .filter(|_| message.chars().count() > Self::MAX_MESSAGE);
        let (head, tail) = message.split_at(tail.unwrap_or(message.len()));
        let tail = printable(tail, 20);
        let mut message = printable(head, Self::MAX_MESSAGE - tail.chars().count());
        message.push_str(&tail);
        Self {
            status,
            error: printable(error, 64),
            message,
        }
    }

    /// The catalogue's code, when the server is one that gives it: the first `[word]`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        let (_, rest) = self.message.split_once('[')?;
        let (code, _) = rest.split_once(']')?;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        ((1..=64).contains(&code.len()) && code.bytes().all(is_word)).then_some(code)
    }

    /// When to ask again: what the message says; and where it says nothing (the vendor's own
    /// service never does), what the error means: throttled, or a fault of the server, passes.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self.message.rsplit_once(RETRY).map(|(_, retry)| retry) {
            Some("never") => Retry::Never,
            Some(seconds) if seconds.parse::<u32>().is_ok() => {
                Retry::After(seconds.parse().unwrap_or(PATIENCE))
            }
            _ if self.is_passing() => Retry::After(PATIENCE),
            _ => Retry::Never,
        }
    }

    fn is_passing(&self) -> bool {
        let passing = ["InternalFailure", "InvocationError"];
        matches!(self.status, 0 | 429 | 500..)
            || self.error.contains("Throttling")
            || passing.contains(&self.error.as_str())
    }
}

const RETRY: &str = "; retry=";

/// Seconds until the next try when a passing cause comes without one.
const PATIENCE: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOT_ALLOWED: Refusal<'_> = Refusal {
        code: "hardware-not-allowed",
        class: Class::Denied,
        message: "This hardware is not on the product's allowlist.",
        hint: "If it belongs to you, `imprint allow add`.",
        retry: Retry::Never,
        about: "",
    };

    #[test]
    fn a_refusal_is_said_in_the_vendors_words_and_ours() {
        let rejected = NOT_ALLOWED.rejected();
        assert_eq!(
            (rejected.status, rejected.error.as_str()),
            (403, "AccessDenied")
        );
        assert_eq!(
            rejected.message,
            "Access Denied [hardware-not-allowed] This hardware is not on the product's \
             allowlist. If it belongs to you, `imprint allow add`.; retry=never"
        );
        assert_eq!(rejected.code(), Some("hardware-not-allowed"));
        assert_eq!(rejected.retry(), Retry::Never);
    }

    #[test]
    fn codes_and_classes_are_said_as_the_vendor_would() {
        use Class::{Absent, Credential, Denied, Passing, Request, Waiting};
        for (code, class, about, status, error, words) in [
            (
                "payload-unreadable",
                Request,
                "",
                400,
                "InvalidPayload",
                "Message cannot be parsed [",
            ),
            (
                "template-unknown",
                Absent,
                "t",
                400,
                "InvalidTemplate",
                "Template with name t does not exist. [",
            ),
            (
                "ownership-missing",
                Request,
                "",
                400,
                "InvalidCertificateOwnershipToken",
                "Certificate ownership token cannot be empty. [",
            ),
            (
                "ownership-used",
                Denied,
                "",
                400,
                "InvalidCertificateOwnershipToken",
                "Certificate ownership token is invalid. [",
            ),
            (
                "parameter-missing",
                Request,
                "SerialNumber",
                400,
                "InvalidParameters",
                "Cannot resolve reference value: SerialNumber [",
            ),
            (
                "hook-refused",
                Denied,
                "",
                403,
                "AccessDenied",
                "Access Denied [",
            ),
            (
                "hook-failed",
                Passing,
                "",
                400,
                "InvocationError",
                "A failure occurred while invoking the provisioning hook. [",
            ),
            (
                "busy",
                Passing,
                "",
                429,
                "ThrottlingException",
                "Rate exceeded. [",
            ),
            (
                "ledger-unavailable",
                Passing,
                "",
                500,
                "InternalFailure",
                "Internal failure. [",
            ),
            (
                "claim-revoked",
                Denied,
                "",
                403,
                "AccessDenied",
                "Access Denied [",
            ),
            (
                "anything-new",
                Credential,
                "",
                403,
                "AccessDenied",
                "Access Denied [",
            ),
            (
                "anything-new",
                Request,
                "",
                400,
                "InvalidPayload",
                "Request is invalid. [",
            ),
            (
                "anything-new",
                Absent,
                "",
                400,
                "ProvisioningFailed",
                "Resource not found. [",
            ),
            (
                "approval-pending",
                Waiting,
                "",
                403,
                "AccessDenied",
                "Access Denied [",
            ),
        ] {
            let refusal = Refusal {
                code,
                class,
                about,
                ..NOT_ALLOWED
            };
            let rejected = refusal.rejected();
            assert_eq!(
                (rejected.status, rejected.error.as_str()),
                (status, error),
                "{code}"
            );
            assert!(rejected.message.starts_with(words), "{}", rejected.message);
            assert_eq!(rejected.code(), Some(code));
        }
    }

    #[test]
    fn what_the_vendors_own_service_says_is_understood() {
        for (status, error, message, code, retry) in [
            (403, "AccessDenied", "Access Denied", None, Retry::Never),
            (
                400,
                "InvalidCertificateOwnershipToken",
                "Certificate ownership token is invalid.",
                None,
                Retry::Never,
            ),
            (
                429,
                "ThrottlingException",
                "Rate exceeded",
                None,
                Retry::After(60),
            ),
            (
                400,
                "ThrottlingException",
                "Rate exceeded",
                None,
                Retry::After(60),
            ),
            (500, "InternalFailure", "", None, Retry::After(60)),
            (400, "InvocationError", "hook", None, Retry::After(60)),
            (0, "", "", None, Retry::After(60)),
            (
                403,
                "AccessDenied",
                "x [two words] y; retry=5",
                None,
                Retry::After(5),
            ),
            (
                403,
                "AccessDenied",
                "x [token-leased] y; retry=soon",
                Some("token-leased"),
                Retry::Never,
            ),
            (403, "AccessDenied", "x [] y; retry=-1", None, Retry::Never),
            (
                403,
                "AccessDenied",
                "[a; retry=99999999999",
                None,
                Retry::Never,
            ),
        ] {
            let rejected = Rejected::read(status, error, message);
            assert_eq!(rejected.code(), code, "{message}");
            assert_eq!(rejected.retry(), retry, "{message}");
        }
    }

    #[test]
    fn a_peer_writes_neither_lines_nor_books_into_our_log() {
        let rejected = Rejected::read(400, "a\nb", &format!("x\r\n{}; retry=7", "y".repeat(9_000)));
        assert_eq!(rejected.error, "a b");
        assert_eq!(rejected.message.chars().count(), Rejected::MAX_MESSAGE);
        assert!(!rejected.message.contains(char::is_control));
        assert_eq!(rejected.retry(), Retry::After(7));
    }

    proptest! {
        #[test]
        fn code_and_retry_survive_the_way(code in "[a-zA-Z][a-zA-Z0-9_-]{0,40}", message in "[^\\[]{0,900}", seconds in any::<Option<u32>>()) {
            let retry = seconds.map_or(Retry::Never, Retry::After);
            let refusal = Refusal { code: &code, message: &message, retry, ..NOT_ALLOWED };
            let rejected = refusal.rejected();
            prop_assert_eq!(rejected.code(), Some(code.as_str()));
            prop_assert_eq!(rejected.retry(), retry);
        }
    }
}
