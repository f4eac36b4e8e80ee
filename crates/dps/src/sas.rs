//! SAS tokens: `SharedAccessSignature sr=<resource>&sig=<signature>&se=<expiry>[&skn=<key>]`.
//!
//! What is signed is `<sr>`, a line feed and `<se>`, exactly as both stand in the token: one SDK writes
//! `%2F` there, one `%2f`, one `/`. So the text is kept as it came, and whoever checks the signature
//! (the `attest` crate, not this one) decodes it afterwards.

use core::fmt;

use imprint_identity::UnixTime;
use zeroize::Zeroizing;

use crate::json::{from_base64, to_base64};
use crate::name::{IdScope, RegistrationId};
use crate::uri;

/// The longest token that is read, in bytes: the longest id, each of its characters escaped, thrice
/// over.
pub const MAX_TOKEN: usize = 2_048;

/// `skn` in the tokens of devices that register.
pub const REGISTRATION: &str = "registration";

/// A token, taken apart. Nothing is proven by that. It has no `Debug` of its signature, which is as
/// good as a password until the token expires.
#[derive(Clone, PartialEq, Eq)]
pub struct Sas<'t> {
    /// `sr`, as it stands in the token: percent escapes not undone.
    pub resource: &'t str,
    /// `se`, as it stands in the token: 1 to 16 decimal digits.
    pub expiry: &'t str,
    /// `sig`, decoded: HMAC-SHA256.
    pub signature: [u8; 32],
    /// `skn`, decoded: the name of the key; devices of a hub give none.
    pub key_name: Option<String>,
}

impl<'t> Sas<'t> {
    /// Reads a token as it stands in `Authorization`, or in the password of a CONNECT. Its fields
    /// come in any order; those that we don't know are skipped.
    pub fn parse(text: &'t str) -> Result<Self, SasError> {
        if text.len() > MAX_TOKEN {
            return Err(SasError::Long);
        }
        let (scheme, fields) = text.trim().split_once(' ').ok_or(SasError::Scheme)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(SasError::Scheme);
        }
        let (mut resource, mut signature, mut expiry, mut key_name) = (None, None, None, None);
        for (name, value) in uri::pairs(fields.trim_start()) {
            let (slot, name) = match name {
                "sr" => (&mut resource, "sr"),
                "sig" => (&mut signature, "sig"),
                "se" => (&mut expiry, "se"),
                "skn" => (&mut key_name, "skn"),
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(SasError::Twice { name });
            }
        }
        let needed = |field: Option<&'t str>, name| {
            let field = field.filter(|value| !value.is_empty());
            field.ok_or(SasError::Missing { name })
        };
        let expiry = needed(expiry, "se")?;
        if expiry.len() > 16 || !expiry.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SasError::Expiry);
        }
        let resource = needed(resource, "sr")?;
        uri::decode(resource).ok_or(SasError::Escape { name: "sr" })?;
        let signature = uri::decode(needed(signature, "sig")?);
        let signature = signature.ok_or(SasError::Escape { name: "sig" })?;
        let signature = from_base64(&signature).ok_or(SasError::Signature)?;
        let key_name = key_name.filter(|name| !name.is_empty()).map(|name| {
            let name = uri::decode(name);
            name.ok_or(SasError::Escape { name: "skn" })
        });
        Ok(Self {
            resource,
            expiry,
            signature: signature.try_into().map_err(|_| SasError::Signature)?,
            key_name: key_name.transpose()?,
        })
    }
}

impl fmt::Debug for Sas<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sas")
            .field("resource", &self.resource)
            .field("expiry", &self.expiry)
            .field("key_name", &self.key_name)
            .finish_non_exhaustive()
    }
}

/// A token that is still to be signed: the device's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    resource: String,
    expires: i64,
    key_name: Option<&'static str>,
}

impl Unsigned {
    /// For a device that registers.
    #[must_use]
    pub fn registration(scope: &IdScope, id: &RegistrationId, expires: UnixTime) -> Self {
        Self {
            resource: uri::encode(&registration_resource(scope, id)),
            expires: expires.0.max(0),
            key_name: Some(REGISTRATION),
        }
    }

    /// For a device that connects to its hub.
    #[must_use]
    pub fn hub(hub: &str, device_id: &str, expires: UnixTime) -> Self {
        Self {
            resource: uri::encode(&hub_resource(hub, device_id)),
            expires: expires.0.max(0),
            key_name: None,
        }
    }

    /// The bytes to sign with HMAC-SHA256 under the device's key.
    #[must_use]
    pub fn to_sign(&self) -> Vec<u8> {
        format!("{}\n{}", self.resource, self.expires).into_bytes()
    }

    /// The token's text.
    #[must_use]
    pub fn sign(&self, signature: &[u8; 32]) -> Zeroizing<String> {
        let signature = uri::encode(&to_base64(signature));
        let key = self.key_name.map(|name| format!("&skn={name}"));
        Zeroizing::new(format!(
            "{SCHEME} sr={}&sig={signature}&se={}{}",
            self.resource,
            self.expires,
            key.unwrap_or_default()
        ))
    }
}

/// What the token of a device that registers is for, nothing escaped.
#[must_use]
pub fn registration_resource(scope: &IdScope, id: &RegistrationId) -> String {
    format!("{scope}/registrations/{id}")
}

/// What the token of a hub's device is for, nothing escaped.
#[must_use]
pub fn hub_resource(hub: &str, device_id: &str) -> String {
    format!("{hub}/devices/{device_id}")
}

const SCHEME: &str = "SharedAccessSignature";

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SasError {
    /// It is too long.
    #[error("the SAS token is longer than {MAX_TOKEN} bytes")]
    Long,
    /// It begins with something else.
    #[error("the credential is not a SharedAccessSignature")]
    Scheme,
    /// A field is missing or empty.
    #[error("the SAS token has no {name}")]
    Missing {
        /// Which field.
        name: &'static str,
    },
    /// A field stands twice.
    #[error("the SAS token has {name} twice")]
    Twice {
        /// Which field.
        name: &'static str,
    },
    /// A field has half an escape, or is no text.
    #[error("the SAS token's {name} has a broken percent escape")]
    Escape {
        /// Which field.
        name: &'static str,
    },
    /// `se` is no number.
    #[error("the SAS token's se is not a number of at most 16 digits")]
    Expiry,
    /// `sig` is not 32 bytes in base64.
    #[error("the SAS token's sig is not the base64 of 32 bytes")]
    Signature,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIGNATURE: &str = "IdFg1jlBfJrOB9qwWuU9bzSHanN%2FYFcC8KKN3HY2pC0%3D";

    #[test]
    fn tokens_are_read_as_each_sdk_writes_them() {
        let id = "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6";
        for (token, resource, key_name) in [
            // Python.
            (
                format!(
                    "SharedAccessSignature sr=0ne00IMPRINT%2Fregistrations%2F{id}&sig={SIGNATURE}&se=1893456000"
                ),
                format!("0ne00IMPRINT%2Fregistrations%2F{id}"),
                None,
            ),
            // .NET, and everybody's TPM.
            (
                format!(
                    "SharedAccessSignature sr=0ne00IMPRINT%2Fregistrations%2F{id}&sig={SIGNATURE}&se=1893456000&skn=registration"
                ),
                format!("0ne00IMPRINT%2Fregistrations%2F{id}"),
                Some("registration"),
            ),
            // C: lower-case digits, in the signature too.
            (
                format!(
                    "SharedAccessSignature sr=0ne00IMPRINT%2fregistrations%2f{id}&sig={}&se=1893456000&skn=registration",
                    SIGNATURE.replace("%2F", "%2f").replace("%3D", "%3d")
                ),
                format!("0ne00IMPRINT%2fregistrations%2f{id}"),
                Some("registration"),
            ),
            // Node.js: nothing escaped, and another order.
            (
                format!(
                    "SharedAccessSignature sr=0ne00IMPRINT/registrations/{id}&sig={SIGNATURE}&skn=registration&se=1893456000"
                ),
                format!("0ne00IMPRINT/registrations/{id}"),
                Some("registration"),
            ),
            (
                "sharedaccesssignature  se=1893456000&x=y&skn=&sig=IdFg1jlBfJrOB9qwWuU9bzSHanN/YFcC8KKN3HY2pC0=&sr=hub%2Fdevices%2Fd".to_owned(),
                "hub%2Fdevices%2Fd".to_owned(),
                None,
            ),
        ] {
            let sas = Sas::parse(&token).unwrap();
            assert_eq!(sas.resource, resource);
            assert_eq!(sas.expiry, "1893456000");
            assert_eq!(sas.key_name.as_deref(), key_name);
            assert_eq!(sas.signature[..2], [0x21, 0xd1]);
        }
    }

    #[test]
    fn what_is_no_token_is_told_apart() {
        let token = |fields: &str| format!("SharedAccessSignature {fields}");
        let good = |name: &str| match name {
            "sr" => "sr=a".to_owned(),
            "se" => "se=1".to_owned(),
            _ => format!("sig={SIGNATURE}"),
        };
        let with = |changed: &str| {
            let (name, _) = changed.split_once('=').unwrap();
            let others = ["sr", "se", "sig"]
                .into_iter()
                .filter(|other| *other != name);
            let fields: Vec<_> = others.map(good).chain([changed.to_owned()]).collect();
            token(&fields.join("&"))
        };
        for (text, want) in [
            (String::new(), SasError::Scheme),
            ("SharedAccessSignature".to_owned(), SasError::Scheme),
            (
                format!("Bearer sr=a&se=1&sig={SIGNATURE}"),
                SasError::Scheme,
            ),
            (token(""), SasError::Scheme),
            (token("x"), SasError::Missing { name: "se" }),
            (with("se="), SasError::Missing { name: "se" }),
            (with("sr="), SasError::Missing { name: "sr" }),
            (with("sig="), SasError::Missing { name: "sig" }),
            (with("sr=a&sr=b"), SasError::Twice { name: "sr" }),
            (with("se=1&se=1"), SasError::Twice { name: "se" }),
            (with("skn=a&skn=b"), SasError::Twice { name: "skn" }),
            (with("sr=%2"), SasError::Escape { name: "sr" }),
            (with("sr=%ff"), SasError::Escape { name: "sr" }),
            (with("sig=%2"), SasError::Escape { name: "sig" }),
            (with("skn=%"), SasError::Escape { name: "skn" }),
            (with("se=-1"), SasError::Expiry),
            (with("se=+1"), SasError::Expiry),
            (with("se=1.5"), SasError::Expiry),
            (with("se=1e9"), SasError::Expiry),
            (with("se=99999999999999999"), SasError::Expiry),
            (with("sig=AAAA"), SasError::Signature),
            (with("sig=*"), SasError::Signature),
            (token(&"x".repeat(MAX_TOKEN)), SasError::Long),
        ] {
            assert_eq!(Sas::parse(&text), Err(want), "{text}");
        }
        // Names are compared with their case: `SE` is another field.
        let other_case = token(&format!("sr=a&SE=1&sig={SIGNATURE}"));
        assert_eq!(
            Sas::parse(&other_case),
            Err(SasError::Missing { name: "se" })
        );
    }

    #[test]
    fn a_debugger_prints_no_signature() {
        let token = format!("SharedAccessSignature sr=a&se=1&sig={SIGNATURE}");
        let printed = format!("{:?}", Sas::parse(&token).unwrap());
        assert_eq!(
            printed,
            "Sas { resource: \"a\", expiry: \"1\", key_name: None, .. }"
        );
    }

    proptest! {
        #[test]
        fn sign_then_parse_is_identity(
            scope in "[0-9A-Za-z_-]{1,64}",
            id in "[0-9A-Za-z._:-]{0,127}[0-9A-Za-z-]",
            expires in 0_i64..9_999_999_999,
            signature: [u8; 32],
        ) {
            let (scope, id) = (IdScope::new(&scope).unwrap(), RegistrationId::new(&id).unwrap());
            for unsigned in [
                Unsigned::registration(&scope, &id, UnixTime(expires)),
                Unsigned::hub("hub.example", id.as_str(), UnixTime(expires)),
            ] {
                let token = unsigned.sign(&signature);
                let sas = Sas::parse(&token).unwrap();
                prop_assert_eq!(format!("{}\n{}", sas.resource, sas.expiry).into_bytes(), unsigned.to_sign());
                prop_assert_eq!(sas.signature, signature);
                prop_assert_eq!(sas.key_name.as_deref(), unsigned.key_name);
            }
        }

        #[test]
        fn no_text_panics(text in "(SharedAccessSignature )?[a-z=&%0-9/ ]{0,80}") {
            let _ = Sas::parse(&text);
        }
    }
}
