//! One place where a public key meets a signature.

use aws_lc_rs::signature as aws;
use imprint_pkix::SignatureAlgorithm;
use imprint_pkix::key::{KeyAlgorithm, PublicKey};

/// Checks `signature` over `message` under `key`, by an algorithm that fits the key's type.
///
/// The curve check is part of it: aws-lc refuses points that are not on the curve.
pub fn verify_signature(
    key: &PublicKey,
    algorithm: &SignatureAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    use SignatureAlgorithm as S;
    let verifier: &dyn aws::VerificationAlgorithm = match (key.algorithm(), algorithm) {
        (KeyAlgorithm::P256, S::EcdsaSha256) => &aws::ECDSA_P256_SHA256_ASN1,
        (KeyAlgorithm::P256, S::EcdsaSha384) => &aws::ECDSA_P256_SHA384_ASN1,
        (KeyAlgorithm::P256, S::EcdsaSha512) => &aws::ECDSA_P256_SHA512_ASN1,
        (KeyAlgorithm::P384, S::EcdsaSha256) => &aws::ECDSA_P384_SHA256_ASN1,
        (KeyAlgorithm::P384, S::EcdsaSha384) => &aws::ECDSA_P384_SHA384_ASN1,
        (KeyAlgorithm::P384, S::EcdsaSha512) => &aws::ECDSA_P384_SHA512_ASN1,
        (KeyAlgorithm::Ed25519, S::Ed25519) => &aws::ED25519,
        (KeyAlgorithm::Rsa { .. }, S::RsaPkcs1Sha256) => &aws::RSA_PKCS1_2048_8192_SHA256,
        (KeyAlgorithm::Rsa { .. }, S::RsaPkcs1Sha384) => &aws::RSA_PKCS1_2048_8192_SHA384,
        (KeyAlgorithm::Rsa { .. }, S::RsaPkcs1Sha512) => &aws::RSA_PKCS1_2048_8192_SHA512,
        (KeyAlgorithm::Rsa { .. }, S::RsaPssSha256) => &aws::RSA_PSS_2048_8192_SHA256,
        (KeyAlgorithm::Rsa { .. }, S::RsaPssSha384) => &aws::RSA_PSS_2048_8192_SHA384,
        (KeyAlgorithm::Rsa { .. }, S::RsaPssSha512) => &aws::RSA_PSS_2048_8192_SHA512,
        _ => return Err(SignatureError::Algorithm),
    };
    aws::UnparsedPublicKey::new(verifier, key.key_bits())
        .verify(message, signature)
        .map_err(|_| SignatureError::Mismatch)
}

/// Why a signature was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The signature's algorithm does not belong to the key's type.
    #[error("the signature's algorithm does not fit the key")]
    Algorithm,
    /// The signature is wrong, or the key is not a point on its curve.
    #[error("the signature does not verify under the key")]
    Mismatch,
}
