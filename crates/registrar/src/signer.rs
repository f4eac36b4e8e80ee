//! The port to secret keys that this process may not hold itself.

use std::future::Future;

use zeroize::Zeroizing;

/// Signs, authenticates and seals under named keys. A key file, a PKCS#11 token or another process
/// stands behind it; nothing here can export a key.
pub trait Signer: Send + Sync + 'static {
    /// Signs `message` with the authority's key, in the form that X.509 carries (ECDSA: DER
    /// `SEQUENCE { r, s }`).
    fn sign(
        &self,
        key: &str,
        message: &[u8],
    ) -> impl Future<Output = Result<Vec<u8>, SignerError>> + Send;

    /// HMAC-SHA256 under the key that turns tokens into what the ledger keeps of them. Whatever else is
    /// derived by it begins with a word of its own, longer than any token.
    fn token_mac(&self, token: &[u8])
    -> impl Future<Output = Result<[u8; 32], SignerError>> + Send;

    /// Encrypts and authenticates `plain`, bound to `context`; only [`Self::unseal`] with the same
    /// context opens it.
    fn seal(
        &self,
        context: &[u8],
        plain: &[u8],
    ) -> impl Future<Output = Result<Vec<u8>, SignerError>> + Send;

    /// Opens what [`Self::seal`] made.
    fn unseal(
        &self,
        context: &[u8],
        sealed: &[u8],
    ) -> impl Future<Output = Result<Zeroizing<Vec<u8>>, SignerError>> + Send;

    /// Makes a P-256 key pair for a device that can't (EST serverkeygen): PKCS#8 DER, with the
    /// SubjectPublicKeyInfo DER.
    fn device_key(
        &self,
    ) -> impl Future<Output = Result<(Zeroizing<Vec<u8>>, Vec<u8>), SignerError>> + Send;
}

/// Why a signer did not do it. All of these pass: the key is somewhere else and may come back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignerError {
    /// No key of this name.
    #[error("the signer has no key {name:?}")]
    NoKey {
        /// The name that was asked for.
        name: String,
    },
    /// What was to be unsealed is not ours, or not for this context, or was altered.
    #[error("the sealed secret does not open")]
    Sealed,
    /// The signer can't be reached or failed.
    #[error("the signer failed: {reason}")]
    Failed {
        /// In its own words.
        reason: String,
    },
}
