//! HTTP Basic (RFC 7617) as EST uses it (RFC 7030 section 3.2.3): who, and the token.

use core::fmt;

use base64::Engine;

use crate::Secret;
use crate::body::BASE64;

/// What a device shows in `Authorization: Basic`.
#[derive(Clone, PartialEq, Eq)]
pub struct Basic {
    /// The hardware id, `source:value`. Empty is legal (RFC 7030 section 3.2.3): the token alone
    /// then says which device this is.
    pub user: String,
    /// The token, visible ASCII or UTF-8 text.
    pub password: Secret,
}

impl Basic {
    /// Reads the value of an `Authorization` header.
    ///
    /// The user ends at the *last* colon. RFC 7617 ends it at the first, but a hardware id has
    /// colons in it (`esp-mac:24:6f:…`) and a token has none.
    pub fn parse(header_value: &str) -> Result<Self, BasicError> {
        if header_value.len() > LONGEST {
            return Err(BasicError::TooLong);
        }
        let (scheme, credentials) = header_value
            .trim()
            .split_once(' ')
            .ok_or(BasicError::NotBasic)?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(BasicError::NotBasic);
        }
        let bytes = Secret::new(
            BASE64
                .decode(credentials.trim())
                .map_err(|_| BasicError::NotBase64)?,
        );
        let text = core::str::from_utf8(bytes.expose()).map_err(|_| BasicError::NotText)?;
        if text.chars().any(char::is_control) {
            return Err(BasicError::NotText);
        }
        let (user, password) = text.rsplit_once(':').ok_or(BasicError::NoColon)?;
        if password.is_empty() {
            return Err(BasicError::NoPassword);
        }
        Ok(Self {
            user: user.to_owned(),
            password: Secret::new(password.as_bytes().to_vec()),
        })
    }

    /// The token as text.
    #[must_use]
    pub fn token(&self) -> &str {
        // `parse` took it from a text; who builds a `Basic` by hand from other bytes gets nothing.
        core::str::from_utf8(self.password.expose()).unwrap_or_default()
    }
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basic")
            .field("user", &self.user)
            .field("password", &self.password)
            .finish()
    }
}

/// The value of an `Authorization` header for `user` and `token`. Send it only inside TLS whose
/// server was verified (RFC 7030 section 4.1.1).
#[must_use]
pub fn authorization(user: &str, token: &str) -> Secret {
    let pair = Secret::new([user.as_bytes(), b":", token.as_bytes()].concat());
    let encoded = Secret::new(BASE64.encode(pair.expose()).into_bytes());
    Secret::new([b"Basic ".as_slice(), encoded.expose()].concat())
}

/// Why an `Authorization` header says nothing to us. All of them are a 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BasicError {
    /// Another scheme, or no credentials behind it.
    #[error("the Authorization header is not HTTP Basic")]
    NotBasic,
    /// The credentials are not base64.
    #[error("the Basic credentials are not base64")]
    NotBase64,
    /// The credentials are not UTF-8, or have control characters.
    #[error("the Basic credentials are not text")]
    NotText,
    /// There is no colon.
    #[error("the Basic credentials have no colon; write `hardware-id:token`, or `:token`")]
    NoColon,
    /// Nothing behind the last colon.
    #[error("the Basic credentials have no token behind the last colon")]
    NoPassword,
    /// Longer than any id and token.
    #[error("the Authorization header is longer than {LONGEST} characters")]
    TooLong,
}

/// Room for 64 bytes of id in hex, and a token several times longer than ours.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_user_ends_at_the_last_colon() {
        for (credentials, user, token) in [
            ("sn-1:imp_abc", "sn-1", "imp_abc"),
            (
                "esp-mac:24:6f:28:ab:cd:01:imp_abc",
                "esp-mac:24:6f:28:ab:cd:01",
                "imp_abc",
            ),
            (
                "stm32:2f0045000e51363234343730:t",
                "stm32:2f0045000e51363234343730",
                "t",
            ),
            (":imp_abc", "", "imp_abc"),
        ] {
            let basic = Basic::parse(&format!("Basic {}", BASE64.encode(credentials))).unwrap();
            assert_eq!(
                (basic.user.as_str(), basic.token()),
                (user, token),
                "{credentials}"
            );
        }
    }

    #[test]
    fn other_headers_are_refused() {
        let encode = |bytes: &[u8]| format!("Basic {}", BASE64.encode(bytes));
        for (header, want) in [
            (String::new(), BasicError::NotBasic),
            ("Basic".into(), BasicError::NotBasic),
            ("Bearer abc".into(), BasicError::NotBasic),
            ("Digest username=\"a\"".into(), BasicError::NotBasic),
            ("Basic a:b".into(), BasicError::NotBase64),
            ("Basic =".into(), BasicError::NotBase64),
            (encode(b"token"), BasicError::NoColon),
            (encode(b"user:"), BasicError::NoPassword),
            (encode(b":"), BasicError::NoPassword),
            (encode(b"a:\xff"), BasicError::NotText),
            (encode(b"a:b\n"), BasicError::NotText),
            (encode(b"a\0:b"), BasicError::NotText),
            (encode(&[b'a'; 1000]), BasicError::TooLong),
        ] {
            assert_eq!(Basic::parse(&header), Err(want), "{header}");
        }
    }

    #[test]
    fn the_scheme_has_no_case_and_the_token_is_never_printed() {
        let basic = Basic::parse(&format!("bAsIc  {} ", BASE64.encode("a:imp_secret"))).unwrap();
        let printed = format!("{basic:?} {:?}", authorization("a", "imp_secret"));
        assert!(
            !printed.contains("imp_secret") && printed.contains("10 bytes"),
            "{printed}"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(user in "[a-zA-Z0-9:._-]{0,80}", token in "[a-zA-Z0-9_-]{1,80}") {
            let header = authorization(&user, &token);
            let basic = Basic::parse(core::str::from_utf8(header.expose()).unwrap()).unwrap();
            prop_assert_eq!((basic.user.as_str(), basic.token()), (user.as_str(), token.as_str()));
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = Basic::parse(&text);
            let _ = Basic::parse(&format!("Basic {text}"));
        }
    }
}
