//! A root, an issuing authority, and the certificates of servers and devices.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU8, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use imprint_agent::Roots;
use imprint_identity::UnixTime;
use imprint_pkix::certificate::{self, Authority, Certificate, Leaf, Server};
use imprint_pkix::key::{self, PublicKey};
use imprint_pkix::{SignatureAlgorithm, dn, pem};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{BUILT, NOW};

const P256: SignatureAlgorithm = SignatureAlgorithm::EcdsaSha256;
pub(crate) const DAY: i64 = 86_400;

pub(crate) struct Pki {
    root: Holder,
    issuing: Holder,
    serial: AtomicU8,
}

/// A key and its certificate.
pub(crate) struct Holder {
    pair: EcdsaKeyPair,
    public: PublicKey,
    subject: Vec<u8>,
    id: [u8; 20],
    pub(crate) der: Vec<u8>,
}

impl Holder {
    fn new(subject: &str, id: u8) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let spki = key::spki_der(key::KeyAlgorithm::P256, pair.public_key().as_ref());
        Self {
            pair,
            public: PublicKey::parse(&spki).unwrap(),
            subject: dn::common_name_der(subject, None),
            id: [id; 20],
            der: Vec::new(),
        }
    }

    fn sign(&self, tbs: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(&SystemRandom::new(), tbs).unwrap();
        certificate::assemble(tbs, P256, signature.as_ref())
    }
}

impl Pki {
    pub(crate) fn new() -> Self {
        let mut root = Holder::new("test root", 1);
        let mut issuing = Holder::new("test issuing CA", 2);
        root.der = root.sign(&authority(&root, &root, 1, None));
        issuing.der = root.sign(&authority(&issuing, &root, 2, Some(0)));
        Self {
            root,
            issuing,
            serial: AtomicU8::new(3),
        }
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::from_pem(self.root_pem().as_bytes()).unwrap()
    }

    pub(crate) fn root_pem(&self) -> String {
        pem::encode(pem::CERTIFICATE, &self.root.der)
    }

    pub(crate) fn ca_certs(&self) -> [&[u8]; 2] {
        [&self.issuing.der, &self.root.der]
    }

    /// A server certificate for `localhost` and `127.0.0.1`, valid in this span, with its key; the
    /// issuing CA behind it.
    pub(crate) fn server(&self, from: UnixTime, until: UnixTime) -> Identity {
        let mut identity = self.server_by(&self.issuing, from, until);
        identity.chain.push(self.issuing.der.clone().into());
        identity
    }

    /// The same, directly below the root.
    pub(crate) fn server_by_root(&self, from: UnixTime, until: UnixTime) -> Identity {
        self.server_by(&self.root, from, until)
    }

    fn server_by(&self, issuer: &Holder, from: UnixTime, until: UnixTime) -> Identity {
        let holder = Holder::new("server", 9);
        let tbs = Server {
            serial: self.next_serial(),
            issuer_der: &issuer.subject,
            authority_key_id: issuer.id,
            subject_common_name: "server",
            public_key: &holder.public,
            subject_key_id: holder.id,
            not_before: from,
            not_after: until,
            dns_names: &["localhost".to_owned()],
            ip_addresses: &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
            crl_url: None,
            issuer_url: None,
            signature_algorithm: P256,
        };
        let der = issuer.sign(&tbs.to_be_signed());
        let pkcs8 = holder.pair.to_pkcs8v1().unwrap().as_ref().to_vec();
        Identity {
            chain: vec![der.into()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8)),
        }
    }

    /// A device certificate for the key in `spki`.
    pub(crate) fn device(
        &self,
        name: &str,
        spki: &[u8],
        from: UnixTime,
        until: UnixTime,
    ) -> Vec<u8> {
        let public = PublicKey::parse(spki).unwrap();
        let tbs = Leaf {
            serial: self.next_serial(),
            issuer_der: &self.issuing.subject,
            authority_key_id: self.issuing.id,
            subject_common_name: name,
            public_key: &public,
            subject_key_id: [8; 20],
            not_before: from,
            not_after: until,
            hardware: None,
            uris: &[],
            dns_names: &[],
            crl_url: None,
            issuer_url: None,
            signature_algorithm: P256,
        };
        let der = self.issuing.sign(&tbs.to_be_signed());
        assert!(Certificate::parse(&der).is_ok());
        der
    }

    /// A key that was made elsewhere, and a certificate for it: both as PEM, and the certificate.
    pub(crate) fn stranger(&self, name: &str) -> (String, String, Vec<u8>) {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let spki = key::spki_der(key::KeyAlgorithm::P256, pair.public_key().as_ref());
        let der = self.device(name, &spki, BUILT.plus(-DAY), NOW.plus(365 * DAY));
        let pkcs8 = pair.to_pkcs8v1().unwrap();
        (
            pem::encode(pem::CERTIFICATE, &der),
            pem::encode("PRIVATE KEY", pkcs8.as_ref()),
            der,
        )
    }

    fn next_serial(&self) -> [u8; 20] {
        let mut serial = [1; 20];
        serial[19] = self.serial.fetch_add(1, Ordering::Relaxed);
        serial
    }
}

/// What a TLS server shows.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

fn authority(holder: &Holder, issuer: &Holder, serial: u8, path_len: Option<u8>) -> Vec<u8> {
    Authority {
        serial: [serial; 20],
        issuer_der: &issuer.subject,
        authority_key_id: issuer.id,
        subject_der: &holder.subject,
        public_key: &holder.public,
        subject_key_id: holder.id,
        not_before: BUILT.plus(-3_650 * DAY),
        not_after: NOW.plus(3_650 * DAY),
        path_len,
        crl_url: None,
        issuer_url: None,
        signature_algorithm: P256,
    }
    .to_be_signed()
}
