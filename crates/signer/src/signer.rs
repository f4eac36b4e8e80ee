//! The open keys, at work.

use std::collections::BTreeMap;
use std::path::Path;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use imprint_pkix::SignatureAlgorithm;
use imprint_registrar::{Signer, SignerError};
use zeroize::Zeroizing;

use crate::container::{Container, KeyAlgorithm, Kind};
use crate::directory::{
    self, TOKEN_KEY, key_path, names, public_key_der, seal_bytes, signing_algorithm,
};
use crate::error::KeyError;
use crate::seal::{Purpose, Seal, Sealer};

/// A [`Signer`] that holds the keys of one directory in memory.
pub struct KeySigner {
    keys: BTreeMap<String, Key>,
    token: hmac::Key,
    data: Sealer,
}

struct Key {
    pair: EcdsaKeyPair,
    algorithm: KeyAlgorithm,
    public_key: Vec<u8>,
}

impl KeySigner {
    /// Opens every key in `dir`, once. Refuses files that others may read, keys that don't open, and
    /// keys made for tests unless `allow_test`; the error names the file.
    pub fn open(dir: &Path, seal: &Seal, allow_test: bool) -> Result<Self, KeyError> {
        let seal = seal_bytes(dir, seal)?;
        let sealer = Sealer::new(&seal, Purpose::KeyFile)?;
        let read = |name: &str| -> Result<Container, KeyError> {
            let container = directory::read(dir, name, &sealer)?;
            if container.test && !allow_test {
                return Err(KeyError::TestKey {
                    path: key_path(dir, name),
                });
            }
            Ok(container)
        };
        let token = read(TOKEN_KEY)?;
        if token.kind != Kind::Mac || token.key.len() != 32 {
            let what = "a token key has 32 bytes";
            return Err(KeyError::NotAKey {
                path: key_path(dir, TOKEN_KEY),
                what,
            });
        }
        let mut keys = BTreeMap::new();
        for name in names(dir)? {
            let key = Key::new(&read(&name)?, &key_path(dir, &name))?;
            keys.insert(name, key);
        }
        Ok(Self {
            keys,
            token: hmac::Key::new(hmac::HMAC_SHA256, &token.key),
            data: Sealer::new(&seal, Purpose::Data)?,
        })
    }

    /// The names of the keys that can sign, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// The SubjectPublicKeyInfo of a key, DER.
    pub fn public_key(&self, name: &str) -> Option<&[u8]> {
        self.keys.get(name).map(|key| key.public_key.as_slice())
    }

    /// How a key signs.
    pub fn signature_algorithm(&self, name: &str) -> Option<SignatureAlgorithm> {
        self.keys.get(name).map(|key| match key.algorithm {
            KeyAlgorithm::P256 => SignatureAlgorithm::EcdsaSha256,
            KeyAlgorithm::P384 => SignatureAlgorithm::EcdsaSha384,
        })
    }
}

impl Key {
    fn new(container: &Container, path: &Path) -> Result<Self, KeyError> {
        let not_a_key = |what| KeyError::NotAKey {
            path: path.to_owned(),
            what,
        };
        let Kind::Ecdsa(algorithm) = container.kind else {
            return Err(not_a_key("it can't sign"));
        };
        let pair = EcdsaKeyPair::from_pkcs8(signing_algorithm(algorithm), &container.key)
            .map_err(|_| not_a_key("it is not the kind of key that it says"))?;
        let public_key = public_key_der(&pair)?;
        Ok(Self {
            pair,
            algorithm,
            public_key,
        })
    }
}

impl Signer for KeySigner {
    async fn sign(&self, key: &str, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let no_key = || SignerError::NoKey {
            name: key.to_owned(),
        };
        let key = self.keys.get(key).ok_or_else(no_key)?;
        let signature = key.pair.sign(&SystemRandom::new(), message);
        signature
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| failed("sign"))
    }

    async fn token_mac(&self, token: &[u8]) -> Result<[u8; 32], SignerError> {
        let mut mac = [0; 32];
        mac.copy_from_slice(hmac::sign(&self.token, token).as_ref());
        Ok(mac)
    }

    async fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, SignerError> {
        self.data.seal(context, plain).map_err(|_| failed("seal"))
    }

    async fn unseal(
        &self,
        context: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SignerError> {
        self.data.unseal(context, sealed).ok_or(SignerError::Sealed)
    }

    async fn device_key(&self) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), SignerError> {
        let act = "make a device's key";
        let pair =
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| failed(act))?;
        // PKCS#8 version 1: the form that every client of EST serverkeygen reads.
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| failed(act))?;
        let public_key = public_key_der(&pair).map_err(|_| failed(act))?;
        Ok((Zeroizing::new(pkcs8.as_ref().to_vec()), public_key))
    }
}

fn failed(act: &str) -> SignerError {
    SignerError::Failed {
        reason: format!("the cryptographic library could not {act}"),
    }
}
