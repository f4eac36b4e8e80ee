//! Keys, requests, and a certificate that no library of ours would make.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use imprint_pkix::{SignatureAlgorithm, csr, dn};

/// A device, as far as a server can tell: a key.
pub(crate) struct Device {
    pub(crate) pkcs8: Vec<u8>,
    pair: EcdsaKeyPair,
}

impl Device {
    pub(crate) fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
        Self {
            pkcs8: pkcs8.as_ref().to_vec(),
            pair,
        }
    }

    pub(crate) fn public_key_der(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.pair.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    }

    /// A certification request; ECDSA signs each one differently.
    pub(crate) fn csr(&self, common_name: &str, challenge_password: Option<&str>) -> Vec<u8> {
        let key = self.public_key_der();
        let info = csr::request_info_der(common_name, &key, challenge_password);
        let signature = self.pair.sign(&SystemRandom::new(), &info).unwrap();
        csr::assemble(&info, SignatureAlgorithm::EcdsaSha256, signature.as_ref())
    }
}

/// An X.509 version 1 certificate, as `openssl x509 -req` makes one when no extensions are named.
/// Its own signature is nonsense: nobody but its issuer could tell.
pub(crate) fn version_1_certificate(device: &Device) -> Vec<u8> {
    let algorithm = SignatureAlgorithm::EcdsaSha256.to_der();
    let name = dn::common_name_der("maker", None);
    let validity = element(
        0x30,
        &[
            element(0x17, &[b"260101000000Z".to_vec()]),
            element(0x17, &[b"490101000000Z".to_vec()]),
        ],
    );
    let serial = element(0x02, &[vec![7]]);
    let key = device.public_key_der();
    let to_be_signed = element(
        0x30,
        &[serial, algorithm.clone(), name.clone(), validity, name, key],
    );
    let signature = element(0x03, &[vec![0, 0x30, 0x06, 2, 1, 1, 2, 1, 1]]);
    element(0x30, &[to_be_signed, algorithm, signature])
}

fn element(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    let length = match content.len() {
        short @ 0..=127 => vec![u8::try_from(short).unwrap()],
        long => {
            let [.., high, low] = long.to_be_bytes();
            if high == 0 {
                vec![0x81, low]
            } else {
                vec![0x82, high, low]
            }
        }
    };
    [vec![tag], length, content].concat()
}
