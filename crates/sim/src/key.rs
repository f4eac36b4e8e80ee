//! A device's key, in memory.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use imprint_pkix::key::{KeyAlgorithm, spki_der};
use imprint_pkix::{SignatureAlgorithm, certificate, csr, pem};

/// A P-256 key pair.
pub struct DeviceKey {
    pair: EcdsaKeyPair,
    pkcs8: Vec<u8>,
    spki: Vec<u8>,
}

impl DeviceKey {
    /// A new one.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "every one is another")]
    pub fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
        let pkcs8 = pair
            .to_pkcs8v1()
            .expect("a key in PKCS#8")
            .as_ref()
            .to_vec();
        let spki = spki_der(KeyAlgorithm::P256, pair.public_key().as_ref());
        Self { pair, pkcs8, spki }
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.spki)
    }

    /// SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// PKCS#8, DER.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// A request, DER, signed anew each time: no two have the same bytes.
    #[must_use]
    pub fn csr(&self, common_name: &str) -> Vec<u8> {
        let info = csr::request_info_der(common_name, &self.spki, None);
        let signature = self
            .pair
            .sign(&SystemRandom::new(), &info)
            .expect("a signature");
        csr::assemble(&info, SignatureAlgorithm::EcdsaSha256, signature.as_ref())
    }

    /// A request as PEM, for tools.
    #[must_use]
    pub fn csr_pem(&self, common_name: &str) -> String {
        pem::encode("CERTIFICATE REQUEST", &self.csr(common_name))
    }

    /// A certificate that this key signs.
    #[must_use]
    pub fn certify(&self, to_be_signed: &[u8]) -> Vec<u8> {
        let signed = self.pair.sign(&SystemRandom::new(), to_be_signed);
        let signature = signed.expect("a signature");
        certificate::assemble(
            to_be_signed,
            SignatureAlgorithm::EcdsaSha256,
            signature.as_ref(),
        )
    }

    /// The private key as PEM, for tools.
    #[must_use]
    pub fn pem(&self) -> String {
        pem::encode("PRIVATE KEY", &self.pkcs8)
    }
}

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().try_into().expect("32 bytes")
}
