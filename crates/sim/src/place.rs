//! A server's directory: what `imprint init` makes, in the few files that a test needs.
//!
//! ```text
//! keys/          sealed keys of the root and the issuing authority, marked as made for tests
//! ca/            root.der, root.pem, issuing.der
//! tls/           server.der, server.p8
//! ledger.db      the ledger
//! ```

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use imprint_attest::subject_key_id;
use imprint_identity::UnixTime;
use imprint_pkix::certificate::{self, Certificate};
use imprint_pkix::key::PublicKey;
use imprint_pkix::{SignatureAlgorithm, dn, pem};
use imprint_registrar::{Authorities, Issuer, Signer as _};
use imprint_server::Identity;
use imprint_signer::{KeyAlgorithm, KeyDirectory, KeySigner, Seal};
use imprint_sqlite::Sqlite;

use crate::key::DeviceKey;

/// A directory that a server can be started on.
#[derive(Debug, Clone)]
pub struct Place {
    directory: PathBuf,
}

impl Place {
    /// Makes keys, authorities and the server's certificate in `directory`, valid from a day before
    /// `now`: the root for 20 years, the issuing authority and the server for 10.
    pub async fn make(directory: &Path, now: UnixTime) -> Self {
        let keys = KeyDirectory::init(&directory.join("keys"), &Seal::File, true).expect("keys");
        for name in ["root", "issuing"] {
            keys.create(name, KeyAlgorithm::P256).expect("a key");
        }
        for name in ["ca", "tls"] {
            fs::create_dir(directory.join(name)).expect("a folder");
        }
        let place = Self::at(directory);
        place.certify(now).await;
        place
    }

    /// One that was made before.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    async fn certify(&self, now: UnixTime) {
        let signer = self.signer();
        let algorithm = SignatureAlgorithm::EcdsaSha256;
        let (root_name, issuing_name) = (
            dn::common_name_der("Sim Root", None),
            dn::common_name_der("Sim Issuing", None),
        );
        let key = |name| PublicKey::parse(signer.public_key(name).unwrap()).unwrap();
        let (root_key, issuing_key) = (key("root"), key("issuing"));
        let not_before = now.plus(-DAY);
        let authority = |serial, name, public_key, years: i64, path_len| certificate::Authority {
            serial: [serial; 20],
            issuer_der: &root_name,
            authority_key_id: subject_key_id(&root_key),
            subject_der: name,
            public_key,
            subject_key_id: subject_key_id(public_key),
            not_before,
            not_after: now.plus(years * 365 * DAY),
            path_len,
            crl_url: None,
            issuer_url: None,
            signature_algorithm: algorithm,
        };
        let server_key = DeviceKey::new();
        let server_public = PublicKey::parse(server_key.spki()).unwrap();
        let server = certificate::Server {
            serial: [9; 20],
            issuer_der: &issuing_name,
            authority_key_id: subject_key_id(&issuing_key),
            subject_common_name: "localhost",
            public_key: &server_public,
            subject_key_id: subject_key_id(&server_public),
            not_before,
            not_after: now.plus(10 * 365 * DAY),
            dns_names: &["localhost".to_owned()],
            ip_addresses: &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
            crl_url: None,
            issuer_url: None,
            signature_algorithm: algorithm,
        };
        for (file, by, to_be_signed) in [
            (
                "ca/root.der",
                "root",
                authority(7, &root_name, &root_key, 20, None).to_be_signed(),
            ),
            (
                "ca/issuing.der",
                "root",
                authority(8, &issuing_name, &issuing_key, 10, Some(0)).to_be_signed(),
            ),
            ("tls/server.der", "issuing", server.to_be_signed()),
        ] {
            let signature = signer.sign(by, &to_be_signed).await.expect("a signature");
            self.write(
                file,
                &certificate::assemble(&to_be_signed, algorithm, &signature),
            );
        }
        self.write(
            "ca/root.pem",
            pem::encode("CERTIFICATE", &self.read("ca/root.der")).as_bytes(),
        );
        self.write("tls/server.p8", server_key.pkcs8());
    }

    /// The keys, opened.
    #[must_use]
    pub fn signer(&self) -> KeySigner {
        KeySigner::open(&self.directory.join("keys"), &Seal::File, true).expect("the keys open")
    }

    /// The ledger, opened for writing.
    #[must_use]
    pub fn ledger(&self) -> Sqlite {
        Sqlite::open(&self.database()).expect("the ledger opens")
    }

    /// The authorities.
    #[must_use]
    pub fn authorities(&self) -> Authorities {
        let algorithm = SignatureAlgorithm::EcdsaSha256;
        let issuer = Issuer::new("issuing", "issuing", self.issuing(), algorithm).unwrap();
        let root = Certificate::parse(&self.read("ca/root.der")).unwrap();
        Authorities::new(vec![issuer], vec![root], None).unwrap()
    }

    /// The certificate of the authority that issues.
    #[must_use]
    pub fn issuing(&self) -> Certificate {
        Certificate::parse(&self.read("ca/issuing.der")).unwrap()
    }

    /// What the server shows.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            chain: vec![self.read("tls/server.der"), self.read("ca/issuing.der")],
            private_key: self.read("tls/server.p8").into(),
        }
    }

    /// The root certificate, DER.
    #[must_use]
    pub fn root_der(&self) -> Vec<u8> {
        self.read("ca/root.der")
    }

    /// The root certificate's file, PEM.
    #[must_use]
    pub fn root_pem(&self) -> PathBuf {
        self.directory.join("ca/root.pem")
    }

    /// The database's file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.directory.join("ledger.db")
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.directory.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        fs::write(self.directory.join(file), bytes)
            .unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

const DAY: i64 = 86_400;
