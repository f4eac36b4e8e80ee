//! The key directory: made once, added to by hand.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair,
};
use zeroize::Zeroizing;

use crate::container::{Container, KeyAlgorithm, Kind};
use crate::error::KeyError;
use crate::file;
use crate::seal::{Purpose, Seal, Sealer};

/// A directory of sealed keys, open for making new ones.
pub struct KeyDirectory {
    dir: PathBuf,
    sealer: Sealer,
    test: bool,
}

impl KeyDirectory {
    /// Makes the directory, its seal (unless it is given) and its token key. A directory that holds
    /// anything is refused. `test` marks every key that is made through this value.
    pub fn init(dir: &Path, seal: &Seal, test: bool) -> Result<Self, KeyError> {
        file::make_directory(dir)?;
        if let Seal::File = seal {
            file::write_new(&seal_path(dir), &*random()?)?;
        }
        let directory = Self {
            dir: dir.to_owned(),
            sealer: sealer(dir, seal)?,
            test,
        };
        let key = Zeroizing::new(random()?.to_vec());
        directory.write(TOKEN_KEY, Kind::Mac, key)?;
        Ok(directory)
    }

    /// Opens a directory that was made before. Keys made through this value are marked like its
    /// token key.
    pub fn at(dir: &Path, seal: &Seal) -> Result<Self, KeyError> {
        let sealer = sealer(dir, seal)?;
        let test = read(dir, TOKEN_KEY, &sealer)?.test;
        Ok(Self {
            dir: dir.to_owned(),
            sealer,
            test,
        })
    }

    /// Makes an authority's key and answers its SubjectPublicKeyInfo, DER. A name that has a key
    /// already is refused.
    pub fn create(&self, name: &str, algorithm: KeyAlgorithm) -> Result<Vec<u8>, KeyError> {
        check_name(name)?;
        let act = "make an ECDSA key";
        let pair = EcdsaKeyPair::generate(signing_algorithm(algorithm))
            .map_err(|_| KeyError::Crypto { act })?;
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| KeyError::Crypto { act })?;
        let pkcs8 = Zeroizing::new(pkcs8.as_ref().to_vec());
        self.write(name, Kind::Ecdsa(algorithm), pkcs8)?;
        public_key_der(&pair)
    }

    fn write(&self, name: &str, kind: Kind, key: Zeroizing<Vec<u8>>) -> Result<(), KeyError> {
        let container = Container {
            kind,
            test: self.test,
            key,
        };
        let text = container.to_text(name, &self.sealer)?;
        file::write_new(&key_path(&self.dir, name), text.as_bytes())
    }
}

/// Checks who may enter `dir`, and fetches its seal.
pub(crate) fn seal_bytes(dir: &Path, seal: &Seal) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    file::check_mode(dir, 0o700)?;
    match seal {
        Seal::Given(seal) => Ok(seal.clone()),
        Seal::File => {
            let path = seal_path(dir);
            let contents = file::read_secret(&path)?;
            let what = "a seal has 32 bytes";
            let seal = contents.as_slice().try_into();
            seal.map(Zeroizing::new)
                .map_err(|_| KeyError::NotAKey { path, what })
        }
    }
}

pub(crate) fn read(dir: &Path, name: &str, sealer: &Sealer) -> Result<Container, KeyError> {
    let path = key_path(dir, name);
    let contents = file::read_secret(&path)?;
    let text = std::str::from_utf8(&contents).map_err(|_| KeyError::NotAKey {
        path: path.clone(),
        what: "it is not text",
    })?;
    Container::from_text(&path, name, text, sealer)
}

/// The names of the authorities' keys, in order.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, KeyError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(file::failed(dir, "list"))? {
        let entry = entry.map_err(file::failed(dir, "list"))?;
        let file_name = entry.file_name();
        let name = file_name
            .to_str()
            .and_then(|name| name.strip_suffix(".key"));
        names.extend(
            name.filter(|name| check_name(name).is_ok())
                .map(str::to_owned),
        );
    }
    names.sort();
    Ok(names)
}

pub(crate) fn key_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.key"))
}

pub(crate) const fn signing_algorithm(algorithm: KeyAlgorithm) -> &'static EcdsaSigningAlgorithm {
    match algorithm {
        KeyAlgorithm::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
        KeyAlgorithm::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
    }
}

pub(crate) fn public_key_der(pair: &EcdsaKeyPair) -> Result<Vec<u8>, KeyError> {
    let der = pair.public_key().as_der();
    der.map(|der| der.as_ref().to_vec())
        .map_err(|_| KeyError::Crypto {
            act: "encode a public key",
        })
}

fn sealer(dir: &Path, seal: &Seal) -> Result<Sealer, KeyError> {
    Sealer::new(&*seal_bytes(dir, seal)?, Purpose::KeyFile)
}

fn seal_path(dir: &Path) -> PathBuf {
    dir.join("seal.key")
}

fn check_name(name: &str) -> Result<(), KeyError> {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let taken = name == "seal" || name == TOKEN_KEY;
    if (1..=64).contains(&name.len()) && name.bytes().all(sound) && !taken {
        return Ok(());
    }
    Err(KeyError::Name {
        name: name.to_owned(),
    })
}

fn random() -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    let filled = SystemRandom::new().fill(&mut *bytes);
    filled.map_err(|_| KeyError::Crypto {
        act: "give random bytes",
    })?;
    Ok(bytes)
}

/// The name of the key that turns tokens into hashes.
pub(crate) const TOKEN_KEY: &str = "token";
