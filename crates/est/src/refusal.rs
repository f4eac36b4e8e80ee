//! The header `Imprint-Refusal: code; step=S; retry=N`: why not, for machines.

use core::fmt;

/// When to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The cause passes: after so many seconds.
    After(u32),
    /// The same question will always get this answer; a person has to do something.
    Never,
}

/// The content of an `Imprint-Refusal` header. Codes are a closed list of words in `[a-z0-9-]`,
/// and `CERT_NOT_IN_REGISTRY`; steps are those of the provisioning state register. A reader keeps
/// words it doesn't know as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalNote {
    /// What is wrong, in one word, such as `token-leased`.
    pub code: String,
    /// The step at which the device stands, such as `ENROLL`. Empty when none was given.
    pub step: String,
    /// When to ask again.
    pub retry: Retry,
}

impl RefusalNote {
    /// The header's name, as HTTP/1.1 clients see it.
    pub const HEADER: &str = "Imprint-Refusal";

    /// Reads the header's value. Parameters that we don't know are skipped. `None` when there is no
    /// code, or no `retry` that can be read: half a note must not decide that a device gives up.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split(';').map(str::trim);
        let code = parts.next().filter(|code| is_word(code))?;
        let (mut step, mut retry) = ("", None);
        for part in parts {
            match part.split_once('=') {
                Some(("step", name)) if is_word(name) => step = name,
                Some(("retry", "never")) => retry = Some(Retry::Never),
                Some(("retry", seconds)) => retry = seconds.parse().ok().map(Retry::After),
                _ => {}
            }
        }
        Some(Self {
            code: code.to_owned(),
            step: step.to_owned(),
            retry: retry?,
        })
    }
}

impl fmt::Display for RefusalNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if !self.step.is_empty() {
            write!(f, "; step={}", self.step)?;
        }
        match self.retry {
            Retry::After(seconds) => write!(f, "; retry={seconds}"),
            Retry::Never => f.write_str("; retry=never"),
        }
    }
}

/// 1 to 64 characters that can neither end a parameter nor a header line.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn note(code: &str, step: &str, retry: Retry) -> RefusalNote {
        RefusalNote {
            code: code.into(),
            step: step.into(),
            retry,
        }
    }

    #[test]
    fn a_note_is_read_as_it_is_written() {
        for (value, want) in [
            (
                "token-leased; step=ENROLL; retry=3600",
                Some(note("token-leased", "ENROLL", Retry::After(3600))),
            ),
            (
                "device-denied;retry=never;step=ENROLL",
                Some(note("device-denied", "ENROLL", Retry::Never)),
            ),
            (
                "CERT_NOT_IN_REGISTRY; step=VERIFY; retry=never",
                Some(note("CERT_NOT_IN_REGISTRY", "VERIFY", Retry::Never)),
            ),
            (
                "x; new=thing; retry=0",
                Some(note("x", "", Retry::After(0))),
            ),
            ("x", None),
            ("x; step=ENROLL", None),
            ("x; retry=soon", None),
            ("x; retry=-1", None),
            ("x; retry=99999999999", None),
            ("; step=ENROLL; retry=never", None),
            ("", None),
            ("two words; retry=never", None),
        ] {
            assert_eq!(RefusalNote::parse(value), want, "{value}");
        }
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(code in "[a-z][a-z0-9-]{0,40}", step in "[A-Z_]{0,20}", retry in any::<Option<u32>>()) {
            let note = note(&code, &step, retry.map_or(Retry::Never, Retry::After));
            prop_assert_eq!(RefusalNote::parse(&note.to_string()), Some(note));
        }
    }
}
