//! Where the device's private keys live. Files for now; the trait is what a secure element or a
//! PKCS#11 token fills, so nothing outside ever sees a private key.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
};

use imprint_device::{Fingerprint, Slot};
use imprint_pkix::key;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::files::{self, FileError, Mode};

/// Keeps private keys, and signs with them.
///
/// There are two places: the key in use has one, its successor the other, and they change roles at
/// each renewal with a new key. Every method may be called again after a crash in the middle of it.
pub trait KeyStore: fmt::Debug + Send + Sync {
    /// Keeps a key that was made elsewhere in `slot`, where there is none yet. A store whose keys
    /// are born in it refuses.
    fn adopt(&self, slot: Slot, key_pem: &[u8]) -> Result<PublicKey, KeyError> {
        let _ = (slot, key_pem);
        Err(KeyError::Store("it takes no key from outside".to_owned()))
    }

    /// The public key of `slot`, made now if there is none. When this returns, the key survives a
    /// power cut: the certification request leaves only after that.
    fn make_or_get(&self, slot: Slot) -> Result<PublicKey, KeyError>;

    /// The public key of `slot`, if there is one.
    fn get(&self, slot: Slot) -> Result<Option<PublicKey>, KeyError>;

    /// Signs `message`, hashed as the key's algorithm says. ECDSA signatures are DER.
    fn sign(&self, slot: Slot, message: &[u8]) -> Result<Vec<u8>, KeyError>;

    /// Destroys the key, if it is there and the store can.
    fn discard(&self, slot: Slot) -> Result<(), KeyError>;
}

/// The slot as it stands in file names.
pub(crate) const fn slot_name(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "a",
        Slot::B => "b",
    }
}

/// What a key can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    P256,
    /// ECDSA on P-384 with SHA-384.
    P384,
    /// Ed25519.
    Ed25519,
}

/// A public key, and how it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// How the key signs.
    pub algorithm: KeyAlgorithm,
    /// `SubjectPublicKeyInfo`, DER.
    pub spki: Vec<u8>,
}

impl PublicKey {
    /// By what the journal knows the key.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(sha256(&[&self.spki]))
    }
}

/// SHA-256 of the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut sum = [0; 32];
    sum.copy_from_slice(context.finish().as_ref());
    sum
}

/// Keys as PKCS#8 files in one folder, readable by their owner alone.
#[derive(Debug)]
pub struct FileKeys {
    folder: PathBuf,
    algorithm: KeyAlgorithm,
}

impl FileKeys {
    /// The keys in `folder`. New ones are made for `algorithm`; those that exist stay what they
    /// are.
    pub fn open(folder: &Path, algorithm: KeyAlgorithm) -> Result<Self, KeyError> {
        files::make_folder(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            algorithm,
        })
    }

    fn path(&self, slot: Slot) -> PathBuf {
        self.folder.join(format!("{}.p8", slot_name(slot)))
    }

    fn load(&self, slot: Slot) -> Result<Option<Pair>, KeyError> {
        let path = self.path(slot);
        let Some(pkcs8) = files::read_private(&path)? else {
            return Ok(None);
        };
        Pair::read(&pkcs8)
            .map(Some)
            .ok_or(KeyError::Unreadable { path })
    }
}

impl KeyStore for FileKeys {
    fn adopt(&self, slot: Slot, key_pem: &[u8]) -> Result<PublicKey, KeyError> {
        if self.load(slot)?.is_none() {
            let pkcs8 = pkcs8_of(key_pem).ok_or(KeyError::Foreign)?;
            files::write(&self.path(slot), &pkcs8, Mode::Private)?;
        }
        self.make_or_get(slot)
    }

    fn make_or_get(&self, slot: Slot) -> Result<PublicKey, KeyError> {
        if let Some(pair) = self.load(slot)? {
            // Whoever made it may have been killed before its name was durable.
            files::sync_folder(&self.folder)?;
            return Ok(pair.public());
        }
        let pkcs8 = generate(self.algorithm)?;
        files::write(&self.path(slot), pkcs8.as_ref(), Mode::Private)?;
        // Read back what will be read after a power cut, not what we believe to have written.
        self.get(slot)?.ok_or(KeyError::Missing { slot })
    }

    fn get(&self, slot: Slot) -> Result<Option<PublicKey>, KeyError> {
        Ok(self.load(slot)?.map(|pair| pair.public()))
    }

    fn sign(&self, slot: Slot, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.load(slot)?
            .ok_or(KeyError::Missing { slot })?
            .sign(message)
    }

    fn discard(&self, slot: Slot) -> Result<(), KeyError> {
        Ok(files::remove(&self.path(slot))?)
    }
}

/// A key in PEM, as PKCS#8 (RFC 5958) or as SEC 1 (RFC 5915, what `openssl ecparam` writes), as
/// PKCS#8 that we read back.
fn pkcs8_of(key_pem: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let key = PrivateKeyDer::from_pem_slice(key_pem).ok()?;
    let pkcs8 = match &key {
        PrivateKeyDer::Pkcs8(key) => Zeroizing::new(key.secret_pkcs8_der().to_vec()),
        PrivateKeyDer::Sec1(key) => {
            let kinds = [KeyAlgorithm::P256, KeyAlgorithm::P384].into_iter();
            let pair = kinds.filter_map(ecdsa).find_map(|kind| {
                EcdsaKeyPair::from_private_key_der(kind, key.secret_sec1_der()).ok()
            });
            Zeroizing::new(pair?.to_pkcs8v1().ok()?.as_ref().to_vec())
        }
        _ => return None,
    };
    Pair::read(&pkcs8).map(|_| pkcs8)
}

/// A private key in memory, for as long as one signature takes.
enum Pair {
    Ecdsa(KeyAlgorithm, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Pair {
    fn read(pkcs8: &[u8]) -> Option<Self> {
        for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::P384] {
            if let Some(ecdsa) = ecdsa(algorithm)
                && let Ok(pair) = EcdsaKeyPair::from_pkcs8(ecdsa, pkcs8)
            {
                return Some(Self::Ecdsa(algorithm, pair));
            }
        }
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8)
            .ok()
            .map(Self::Ed25519)
    }

    fn public(&self) -> PublicKey {
        match self {
            Self::Ecdsa(algorithm, pair) => PublicKey {
                algorithm: *algorithm,
                spki: spki(*algorithm, pair.public_key().as_ref()),
            },
            Self::Ed25519(pair) => PublicKey {
                algorithm: KeyAlgorithm::Ed25519,
                spki: spki(KeyAlgorithm::Ed25519, pair.public_key().as_ref()),
            },
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match self {
            Self::Ecdsa(_, pair) => {
                let signature = pair.sign(&SystemRandom::new(), message);
                Ok(signature.map_err(|_| KeyError::Crypto)?.as_ref().to_vec())
            }
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

/// PKCS#8 version 1: OpenSSL 3.0 can't read the Ed25519 keys of version 2.
fn generate(algorithm: KeyAlgorithm) -> Result<aws_lc_rs::pkcs8::Document, KeyError> {
    let made = match ecdsa(algorithm) {
        Some(ecdsa) => EcdsaKeyPair::generate(ecdsa).and_then(|pair| pair.to_pkcs8v1()),
        None => Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1()),
    };
    made.map_err(|_| KeyError::Crypto)
}

fn ecdsa(algorithm: KeyAlgorithm) -> Option<&'static EcdsaSigningAlgorithm> {
    match algorithm {
        KeyAlgorithm::P256 => Some(&signature::ECDSA_P256_SHA256_ASN1_SIGNING),
        KeyAlgorithm::P384 => Some(&signature::ECDSA_P384_SHA384_ASN1_SIGNING),
        KeyAlgorithm::Ed25519 => None,
    }
}

fn spki(algorithm: KeyAlgorithm, bits: &[u8]) -> Vec<u8> {
    let algorithm = match algorithm {
        KeyAlgorithm::P256 => key::KeyAlgorithm::P256,
        KeyAlgorithm::P384 => key::KeyAlgorithm::P384,
        KeyAlgorithm::Ed25519 => key::KeyAlgorithm::Ed25519,
    };
    key::spki_der(algorithm, bits)
}

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file is the trouble.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds no key that we know.
    #[error("{} is no PKCS#8 key for P-256, P-384 or Ed25519", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
    },
    /// A key that was there is gone.
    #[error("key {} is gone", slot_name(*slot))]
    Missing {
        /// Which key.
        slot: Slot,
    },
    /// A key from outside is of no kind that we keep.
    #[error("the key is not a P-256, P-384 or Ed25519 key in PEM")]
    Foreign,
    /// A store that is not ours failed.
    #[error("the key store failed: {0}")]
    Store(String),
    /// The cryptographic library refused, which it does when there is no randomness.
    #[error("the cryptographic library could not make or use the key")]
    Crypto,
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::UnparsedPublicKey;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    const ALL: [KeyAlgorithm; 3] = [
        KeyAlgorithm::P256,
        KeyAlgorithm::P384,
        KeyAlgorithm::Ed25519,
    ];

    #[test]
    fn a_key_is_made_once_and_found_again_by_another_process() {
        for algorithm in ALL {
            let dir = tempfile::tempdir().unwrap();
            let keys = FileKeys::open(dir.path(), algorithm).unwrap();
            assert_eq!(keys.get(Slot::A).unwrap(), None);
            let first = keys.make_or_get(Slot::A).unwrap();
            assert_eq!(first.algorithm, algorithm);
            // Another default does not change what is there.
            let again = FileKeys::open(dir.path(), KeyAlgorithm::P256).unwrap();
            assert_eq!(again.make_or_get(Slot::A).unwrap(), first);
            assert_ne!(keys.make_or_get(Slot::B).unwrap(), first, "slots are apart");
            let mode = fs::metadata(dir.path().join("a.p8")).unwrap().mode();
            assert_eq!(mode & 0o777, 0o600);
            keys.discard(Slot::A).unwrap();
            keys.discard(Slot::A).unwrap();
            assert_eq!(keys.get(Slot::A).unwrap(), None);
            let error = keys.sign(Slot::A, b"x").unwrap_err();
            assert!(matches!(error, KeyError::Missing { slot: Slot::A }));
        }
    }

    #[test]
    fn a_signature_verifies_under_the_spki_that_openssl_reads() {
        for algorithm in ALL {
            let dir = tempfile::tempdir().unwrap();
            let keys = FileKeys::open(dir.path(), algorithm).unwrap();
            let public = keys.make_or_get(Slot::A).unwrap();
            let signature = keys.sign(Slot::A, b"message").unwrap();
            let (verify, header): (&dyn signature::VerificationAlgorithm, _) = match algorithm {
                KeyAlgorithm::P256 => (&signature::ECDSA_P256_SHA256_ASN1, 26),
                KeyAlgorithm::P384 => (&signature::ECDSA_P384_SHA384_ASN1, 23),
                KeyAlgorithm::Ed25519 => (&signature::ED25519, 12),
            };
            let verifier = UnparsedPublicKey::new(verify, &public.spki[header..]);
            verifier.verify(b"message", &signature).unwrap();
            verifier.verify(b"massage", &signature).unwrap_err();

            let path = dir.path().join("a.p8");
            let openssl = std::process::Command::new("openssl")
                .args([
                    "pkey", "-inform", "DER", "-pubout", "-outform", "DER", "-in",
                ])
                .arg(&path)
                .output()
                .unwrap();
            assert_eq!(openssl.stdout, public.spki, "{algorithm:?}");
        }
    }

    #[test]
    fn a_bad_key_file_is_named_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let keys = FileKeys::open(dir.path(), KeyAlgorithm::P256).unwrap();
        let path = dir.path().join("a.p8");
        files::write(&path, b"rubbish", Mode::Private).unwrap();
        let error = keys.make_or_get(Slot::A).unwrap_err();
        assert!(matches!(error, KeyError::Unreadable { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"rubbish");

        keys.make_or_get(Slot::B).unwrap();
        let path = dir.path().join("b.p8");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = keys.sign(Slot::B, b"x").unwrap_err();
        assert!(
            matches!(error, KeyError::File(FileError::ReadableByOthers { .. })),
            "{error}"
        );
    }
}
