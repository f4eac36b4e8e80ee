//! Keys, requests, and a certificate that no library of ours would make.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use imprint_attest::subject_key_id;
use imprint_pkix::certificate::{Authority, Certificate, Leaf, assemble};
use imprint_pkix::key::PublicKey;
use imprint_pkix::{SignatureAlgorithm, csr, dn};

use super::fleet::clock;

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

    pub(crate) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.pair
            .sign(&SystemRandom::new(), bytes)
            .unwrap()
            .as_ref()
            .to_vec()
    }

    /// A certification request; ECDSA signs each one differently.
    pub(crate) fn csr(&self, common_name: &str, challenge_password: Option<&str>) -> Vec<u8> {
        let key = self.public_key_der();
        let info = csr::request_info_der(common_name, &key, challenge_password);
        let signature = self.pair.sign(&SystemRandom::new(), &info).unwrap();
        csr::assemble(&info, SignatureAlgorithm::EcdsaSha256, signature.as_ref())
    }
}

/// A customer's own CA, which the server has never seen.
pub(crate) struct Foreign {
    key: Device,
    pub(crate) certificate: Certificate,
}

impl Foreign {
    pub(crate) fn new(name: &str) -> Self {
        let key = Device::new();
        let public_key = PublicKey::parse(&key.public_key_der()).unwrap();
        let subject = dn::common_name_der(name, None);
        let own_id = subject_key_id(&public_key);
        let to_be_signed = Authority {
            serial: [7; 20],
            issuer_der: &subject,
            authority_key_id: own_id,
            subject_der: &subject,
            public_key: &public_key,
            subject_key_id: own_id,
            not_before: clock().plus(-86_400),
            not_after: clock().plus(86_400),
            path_len: Some(0),
            crl_url: None,
            issuer_url: None,
            signature_algorithm: SignatureAlgorithm::EcdsaSha256,
        }
        .to_be_signed();
        let signature = key.sign(&to_be_signed);
        let der = assemble(&to_be_signed, SignatureAlgorithm::EcdsaSha256, &signature);
        let certificate = Certificate::parse(&der).unwrap();
        Self { key, certificate }
    }

    /// A device's certificate, DER.
    pub(crate) fn issue(&self, device: &Device, common_name: &str) -> Vec<u8> {
        let public_key = PublicKey::parse(&device.public_key_der()).unwrap();
        let mut serial = [1; 20];
        aws_lc_rs::rand::fill(&mut serial[1..]).unwrap();
        let to_be_signed = Leaf {
            serial,
            issuer_der: self.certificate.subject_der(),
            authority_key_id: self
                .certificate
                .subject_key_id()
                .unwrap()
                .try_into()
                .unwrap(),
            subject_common_name: common_name,
            public_key: &public_key,
            subject_key_id: subject_key_id(&public_key),
            not_before: clock().plus(-3_600),
            not_after: clock().plus(3_600),
            hardware: None,
            uris: &[],
            dns_names: &[],
            crl_url: None,
            issuer_url: None,
            signature_algorithm: SignatureAlgorithm::EcdsaSha256,
        }
        .to_be_signed();
        let signature = self.key.sign(&to_be_signed);
        assemble(&to_be_signed, SignatureAlgorithm::EcdsaSha256, &signature)
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
