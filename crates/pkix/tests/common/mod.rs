//! What the tests against OpenSSL share: keys that sign, a small hierarchy, and the `openssl`
//! command.

use std::io::Write as _;
use std::process::{Command, Stdio};

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self as aws, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use imprint_identity::UnixTime;
use imprint_pkix::SignatureAlgorithm;
use imprint_pkix::certificate::{self, Authority};
use imprint_pkix::dn;
use imprint_pkix::key::PublicKey;

/// 2026-11-24T12:00:00Z, and the clock that OpenSSL is told.
pub(crate) const NOW: UnixTime = UnixTime(1_795_521_600);
pub(crate) const DAY: i64 = 86_400;

/// A key pair and the algorithm that it signs with.
pub(crate) struct Signer {
    pair: Pair,
    pub(crate) algorithm: SignatureAlgorithm,
    pub(crate) public_key: PublicKey,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Edwards(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Signer {
    pub(crate) fn p256() -> Self {
        let pair = EcdsaKeyPair::generate(&aws::ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let spki = pair.public_key().as_der().unwrap();
        Self::new(
            spki.as_ref(),
            Pair::Ecdsa(pair),
            SignatureAlgorithm::EcdsaSha256,
        )
    }

    pub(crate) fn p384() -> Self {
        let pair = EcdsaKeyPair::generate(&aws::ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
        let spki = pair.public_key().as_der().unwrap();
        Self::new(
            spki.as_ref(),
            Pair::Ecdsa(pair),
            SignatureAlgorithm::EcdsaSha384,
        )
    }

    pub(crate) fn ed25519() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let spki = pair.public_key().as_der().unwrap();
        Self::new(
            spki.as_ref(),
            Pair::Edwards(pair),
            SignatureAlgorithm::Ed25519,
        )
    }

    pub(crate) fn rsa(size: KeySize, algorithm: SignatureAlgorithm) -> Self {
        let pair = RsaKeyPair::generate(size).unwrap();
        let spki = pair.public_key().as_der().unwrap();
        Self::new(spki.as_ref(), Pair::Rsa(pair), algorithm)
    }

    pub(crate) fn rsa2048() -> Self {
        Self::rsa(KeySize::Rsa2048, SignatureAlgorithm::RsaPkcs1Sha256)
    }

    /// One of each kind that devices may have.
    pub(crate) fn every_kind() -> Vec<Self> {
        vec![Self::p256(), Self::p384(), Self::ed25519(), Self::rsa2048()]
    }

    fn new(spki: &[u8], pair: Pair, algorithm: SignatureAlgorithm) -> Self {
        Self {
            pair,
            algorithm,
            public_key: PublicKey::parse(spki).unwrap(),
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Ecdsa(pair) => pair
                .sign(&SystemRandom::new(), message)
                .unwrap()
                .as_ref()
                .to_vec(),
            Pair::Edwards(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let padding: &dyn aws::RsaEncoding = match self.algorithm {
                    SignatureAlgorithm::RsaPkcs1Sha384 => &aws::RSA_PKCS1_SHA384,
                    SignatureAlgorithm::RsaPkcs1Sha512 => &aws::RSA_PKCS1_SHA512,
                    SignatureAlgorithm::RsaPssSha256 => &aws::RSA_PSS_SHA256,
                    SignatureAlgorithm::RsaPssSha384 => &aws::RSA_PSS_SHA384,
                    SignatureAlgorithm::RsaPssSha512 => &aws::RSA_PSS_SHA512,
                    _ => &aws::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &SystemRandom::new(), message, &mut signature)
                    .unwrap();
                signature
            }
        }
    }

    pub(crate) fn key_id(&self) -> [u8; 20] {
        let hash = digest::digest(&digest::SHA256, self.public_key.key_bits());
        *hash.as_ref().first_chunk().unwrap()
    }
}

/// A root and an issuing authority below it.
#[allow(dead_code, reason = "not every test file uses every part")]
pub(crate) struct Hierarchy {
    pub(crate) root_name: Vec<u8>,
    pub(crate) root: Vec<u8>,
    pub(crate) issuer_name: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) signer: Signer,
}

#[allow(dead_code, reason = "not every test file uses every part")]
impl Hierarchy {
    pub(crate) fn new(root_signer: &Signer, signer: Signer) -> Self {
        let root_name = dn::common_name_der("Example Root", Some("Example"));
        let issuer_name = dn::common_name_der("Example Devices 1", Some("Example"));
        let root = Authority {
            serial: serial(1),
            issuer_der: &root_name,
            authority_key_id: root_signer.key_id(),
            subject_der: &root_name,
            public_key: &root_signer.public_key,
            subject_key_id: root_signer.key_id(),
            not_before: NOW.plus(-DAY),
            not_after: UnixTime::NO_EXPIRY,
            path_len: None,
            crl_url: None,
            issuer_url: None,
            signature_algorithm: root_signer.algorithm,
        };
        let issuer = Authority {
            serial: serial(2),
            authority_key_id: root_signer.key_id(),
            subject_der: &issuer_name,
            public_key: &signer.public_key,
            subject_key_id: signer.key_id(),
            path_len: Some(0),
            ..root.clone()
        };
        Self {
            root: issue(root_signer, &root.to_be_signed()),
            issuer: issue(root_signer, &issuer.to_be_signed()),
            root_name,
            issuer_name,
            signer,
        }
    }
}

/// Lints, signs and assembles.
#[allow(dead_code, reason = "not every test file uses every part")]
pub(crate) fn issue(signer: &Signer, tbs: &[u8]) -> Vec<u8> {
    assert_eq!(certificate::lint(tbs), Ok(()));
    assert_eq!(
        certificate::announced_algorithm(tbs),
        Some(signer.algorithm)
    );
    certificate::assemble(tbs, signer.algorithm, &signer.sign(tbs))
}

/// 20 octets as the ledger makes them, told apart by `n`.
#[allow(dead_code, reason = "not every test file uses every part")]
pub(crate) fn serial(n: u8) -> [u8; 20] {
    let mut serial = [0x5a; 20];
    serial[0] = 0x01;
    serial[19] = n;
    serial
}

/// What a command answered.
pub(crate) struct Answer {
    pub(crate) success: bool,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

#[allow(dead_code, reason = "not every test file uses every part")]
impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    #[track_caller]
    pub(crate) fn expect_success(self) -> Self {
        assert!(self.success, "{}{}", self.text(), self.err);
        self
    }
}

/// Runs `openssl` with these arguments and this input.
pub(crate) fn openssl(arguments: &[&str], input: &[u8]) -> Answer {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the openssl command is needed for these tests");
    // The command may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Answer {
        success: output.status.success(),
        out: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
