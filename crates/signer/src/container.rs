//! A sealed key as text.
//!
//! ```text
//! -----BEGIN IMPRINT SEALED KEY-----
//! base64 of: nonce (12) || AES-256-GCM( kind (1) || flags (1) || key ) || tag (16)
//! -----END IMPRINT SEALED KEY-----
//! ```
//!
//! The additional data is the key's name, so a file that was renamed or swapped for another does not
//! open. `kind` is 1 for ECDSA P-256 and 2 for ECDSA P-384 (`key` is PKCS#8), 3 for HMAC-SHA256
//! (32 bytes). Bit 0 of `flags` marks a key that was made for tests; the other bits are zero.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::error::KeyError;
use crate::seal::Sealer;

/// An authority's kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256, signing with SHA-256.
    P256,
    /// ECDSA on P-384, signing with SHA-384.
    P384,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ecdsa(KeyAlgorithm),
    Mac,
}

pub(crate) struct Container {
    pub(crate) kind: Kind,
    pub(crate) test: bool,
    pub(crate) key: Zeroizing<Vec<u8>>,
}

impl Container {
    pub(crate) fn to_text(&self, name: &str, sealer: &Sealer) -> Result<String, KeyError> {
        let mut plain = Zeroizing::new(Vec::with_capacity(2 + self.key.len()));
        plain.push(match self.kind {
            Kind::Ecdsa(KeyAlgorithm::P256) => 1,
            Kind::Ecdsa(KeyAlgorithm::P384) => 2,
            Kind::Mac => 3,
        });
        plain.push(u8::from(self.test));
        plain.extend_from_slice(&self.key);
        let sealed = sealer.seal(name.as_bytes(), &plain)?;
        Ok(format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(sealed)))
    }

    pub(crate) fn from_text(
        path: &Path,
        name: &str,
        text: &str,
        sealer: &Sealer,
    ) -> Result<Self, KeyError> {
        let not_a_key = |what| KeyError::NotAKey {
            path: path.to_owned(),
            what,
        };
        let body = text
            .trim()
            .strip_prefix(BEGIN)
            .and_then(|rest| rest.strip_suffix(END))
            .ok_or_else(|| not_a_key("it has no BEGIN and END line"))?;
        let sealed = STANDARD
            .decode(body.trim())
            .map_err(|_| not_a_key("it is not base64"))?;
        let plain = sealer
            .unseal(name.as_bytes(), &sealed)
            .ok_or_else(|| KeyError::Sealed {
                path: path.to_owned(),
            })?;
        let (&kind, rest) = plain
            .split_first()
            .ok_or_else(|| not_a_key("it is empty"))?;
        let (&flags, key) = rest.split_first().ok_or_else(|| not_a_key("it is empty"))?;
        let kind = match kind {
            1 => Kind::Ecdsa(KeyAlgorithm::P256),
            2 => Kind::Ecdsa(KeyAlgorithm::P384),
            3 => Kind::Mac,
            _ => return Err(not_a_key("a newer Imprint made it")),
        };
        // A flag that we don't know may forbid what we are about to do.
        let test = match flags {
            0 => false,
            1 => true,
            _ => return Err(not_a_key("a newer Imprint made it")),
        };
        Ok(Self {
            kind,
            test,
            key: Zeroizing::new(key.to_vec()),
        })
    }
}

const BEGIN: &str = "-----BEGIN IMPRINT SEALED KEY-----";
const END: &str = "-----END IMPRINT SEALED KEY-----";
