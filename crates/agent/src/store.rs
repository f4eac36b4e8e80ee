//! The state directory: all that a device keeps, and nothing that it could not lose a copy of.
//!
//! ```text
//! STATE/                 0700
//!   lock                 held while an agent runs
//!   journal.a, .b        the state machine's record, the newer of the two
//!   setup.json           which hardware and product this directory is for
//!   token, claim.json,   the bootstrap credential, 0600, until the new one has worked
//!   shared-key.json
//!   ownership.json       what ties RegisterThing to the pending certificate, 0600, as long
//!   keys/a.p8, b.p8      private keys, 0600
//!   credential-a/, -b/   chain.pem (own certificate first) and profile.json (as the server sent it)
//!   registration.json    by the claim door: the thing's name, and what the template tells the device
//!   refusal.json         the last refusal in words, for `status`
//! ```

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imprint_device::{Digest, Slot};
use imprint_dps::{IdScope, RegistrationId};
use imprint_est::Secret;
use imprint_pkix::pem;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::files::{self, FileError, Mode};
use crate::http::Endpoint;
use crate::keystore::{sha256, slot_name};
use crate::settings::{Claim, SharedKeyEntry};

const SHARED_KEY: &str = "shared-key.json";

/// The files of one device.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

/// What a state directory is for. Written once, before anything leaves the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// `source:value`.
    pub hardware: String,
    /// The product, when one was named.
    pub product: Option<String>,
    /// `host:port`, as last used.
    pub server: String,
}

/// A certificate and its profile, as they were read back.
#[derive(Debug, Clone)]
pub struct StoredCredential {
    /// The device's certificate, then those above it, without the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The connection profile, byte for byte.
    pub profile: Vec<u8>,
}

/// A refusal in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalText {
    /// The machine's word.
    pub code: String,
    /// At which step.
    pub step: String,
    /// What the server or the system said, one line.
    pub text: String,
    /// When, if the time was known; Unix seconds.
    pub at: Option<i64>,
}

/// What a template made of the device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Registration {
    /// The thing's name, if there is a thing.
    pub thing: Option<String>,
    /// What the template wants the device to know.
    pub configuration: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct KeptClaim {
    broker: String,
    template: Option<String>,
    parameters: BTreeMap<String, String>,
    chain: String,
    key: String,
}

#[derive(Serialize, Deserialize)]
struct KeptSharedKey {
    scope: String,
    registration_id: String,
    /// Base64.
    key: String,
}

#[derive(Serialize, Deserialize)]
struct KeptOwnership {
    certificate_id: String,
    ownership: String,
}

/// Held while an agent works in a state directory: two agents would write one journal.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, never looked at")] File);

impl StateDir {
    /// The directory at `path`, made if it isn't there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        files::make_folder(path)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// The directory at `path`, only to look at. `None` when there is none.
    pub fn look(path: &Path) -> Option<Self> {
        path.is_dir().then(|| Self {
            path: path.to_owned(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the directory for this process.
    pub fn lock(&self) -> Result<Lock, StoreError> {
        let path = self.path.join("lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options
            .open(&path)
            .map_err(|error| FileError::new("open", &path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => Err(StoreError::Busy {
                path: self.path.clone(),
            }),
            Err(TryLockError::Error(error)) => Err(FileError::new("lock", &path, error).into()),
        }
    }

    /// The private keys.
    pub fn keys_path(&self) -> PathBuf {
        self.path.join("keys")
    }

    /// What the directory is for.
    pub fn setup(&self) -> Result<Option<Setup>, StoreError> {
        self.json("setup.json")
    }

    /// Keeps what the directory is for.
    pub fn keep_setup(&self, setup: &Setup) -> Result<(), StoreError> {
        if self.setup()?.as_ref() == Some(setup) {
            return Ok(());
        }
        self.keep_json("setup.json", setup)
    }

    /// After a factory reset the directory is for whatever comes. A token, a claim or a shared key stays.
    pub fn forget_setup(&self) -> Result<(), StoreError> {
        for name in [
            "ownership.json",
            "registration.json",
            "refusal.json",
            "setup.json",
        ] {
            files::remove(&self.path.join(name))?;
        }
        Ok(())
    }

    /// What a cut has left half written: there may be a key in it.
    pub(crate) fn forget_leftovers(&self) -> Result<(), StoreError> {
        let credentials = Slot::ALL.map(|slot| self.credential_path(slot));
        let folders = [self.path.clone(), self.keys_path()];
        for folder in folders.iter().chain(&credentials) {
            files::remove_leftovers(folder)?;
        }
        Ok(())
    }

    /// The bootstrap credential, while there is one.
    pub fn token(&self) -> Result<Option<Secret>, StoreError> {
        let token = files::read_private(&self.path.join("token"))?;
        Ok(token
            .map(|text| Secret::new(text.trim_ascii().to_vec()))
            .filter(|t| !t.expose().is_empty()))
    }

    /// Keeps the bootstrap credential until [`Self::forget_bootstrap`].
    pub fn keep_token(&self, token: &Secret) -> Result<(), StoreError> {
        if self.token()?.as_ref() == Some(token) {
            return Ok(());
        }
        Ok(files::write(
            &self.path.join("token"),
            token.expose(),
            Mode::Private,
        )?)
    }

    /// The claim, while there is one.
    pub fn claim(&self) -> Result<Option<Claim>, StoreError> {
        let kept: Option<KeptClaim> = self.private_json("claim.json")?;
        let Some(kept) = kept else {
            return Ok(None);
        };
        let broker = Endpoint::mqtts(&kept.broker).map_err(|error| StoreError::Json {
            path: self.path.join("claim.json"),
            source: serde::de::Error::custom(error),
        })?;
        Ok(Some(Claim {
            broker,
            template: kept.template,
            parameters: kept.parameters,
            chain_pem: kept.chain,
            key_pem: Secret::new(kept.key.into_bytes()),
        }))
    }

    /// Keeps the claim until [`Self::forget_bootstrap`].
    pub fn keep_claim(&self, claim: &Claim) -> Result<(), StoreError> {
        if self.claim()?.as_ref() == Some(claim) {
            return Ok(());
        }
        self.keep_private_json(
            "claim.json",
            &KeptClaim {
                broker: claim.broker.to_string(),
                template: claim.template.clone(),
                parameters: claim.parameters.clone(),
                chain: claim.chain_pem.clone(),
                key: String::from_utf8_lossy(claim.key_pem.expose()).into_owned(),
            },
        )
    }

    /// The entry and its shared key, while they are kept.
    pub fn shared_key(&self) -> Result<Option<SharedKeyEntry>, StoreError> {
        let kept: Option<KeptSharedKey> = self.private_json(SHARED_KEY)?;
        let Some(kept) = kept else {
            return Ok(None);
        };
        let edited = |error: &dyn std::fmt::Display| StoreError::Json {
            path: self.path.join(SHARED_KEY),
            source: serde::de::Error::custom(error),
        };
        let key = STANDARD.decode(kept.key);
        Ok(Some(SharedKeyEntry {
            scope: IdScope::new(&kept.scope).map_err(|error| edited(&error))?,
            registration_id: RegistrationId::new(&kept.registration_id)
                .map_err(|error| edited(&error))?,
            key: Secret::new(key.map_err(|_| edited(&"the key is not base64"))?),
        }))
    }

    /// Keeps the entry and its shared key until [`Self::forget_bootstrap`].
    pub fn keep_shared_key(&self, entry: &SharedKeyEntry) -> Result<(), StoreError> {
        if self.shared_key()?.as_ref() == Some(entry) {
            return Ok(());
        }
        self.keep_private_json(
            SHARED_KEY,
            &KeptSharedKey {
                scope: entry.scope.to_string(),
                registration_id: entry.registration_id.as_str().to_owned(),
                key: STANDARD.encode(entry.key.expose()),
            },
        )
    }

    /// What ties `RegisterThing` to the certificate with this id, if it is kept.
    pub fn ownership(&self, certificate_id: &str) -> Result<Option<Secret>, StoreError> {
        let kept: Option<KeptOwnership> = self.private_json("ownership.json")?;
        let kept = kept.filter(|kept| kept.certificate_id == certificate_id);
        Ok(kept.map(|kept| Secret::new(kept.ownership.into_bytes())))
    }

    /// Keeps what ties `RegisterThing` to a certificate until [`Self::forget_bootstrap`].
    pub fn keep_ownership(&self, certificate_id: &str, ownership: &str) -> Result<(), StoreError> {
        let known = self.ownership(certificate_id)?;
        if known.is_some_and(|known| known.expose() == ownership.as_bytes()) {
            return Ok(());
        }
        self.keep_private_json(
            "ownership.json",
            &KeptOwnership {
                certificate_id: certificate_id.to_owned(),
                ownership: ownership.to_owned(),
            },
        )
    }

    /// Keeps what the template made of the device, for the device's own programs.
    pub fn keep_registration(&self, registered: &Registration) -> Result<(), StoreError> {
        if self.registration()?.as_ref() == Some(registered) {
            return Ok(());
        }
        self.keep_json("registration.json", registered)
    }

    /// What the template made of the device, where it came in by a claim.
    pub fn registration(&self) -> Result<Option<Registration>, StoreError> {
        self.json("registration.json")
    }

    /// Whether a bootstrap credential is still kept.
    pub fn has_bootstrap(&self) -> Result<bool, StoreError> {
        let is_there = |name| self.path.join(name).exists();
        Ok(self.token()?.is_some() || is_there("claim.json") || is_there(SHARED_KEY))
    }

    /// The new credential has worked: deletes the bootstrap credential.
    pub fn forget_bootstrap(&self) -> Result<(), StoreError> {
        for name in ["token", "claim.json", SHARED_KEY, "ownership.json"] {
            files::remove(&self.path.join(name))?;
        }
        Ok(())
    }

    /// Writes certificate and profile to `slot`, unless the same bytes are there, and reads them
    /// back. The two files don't change together; a cut in between is seen by the digest.
    pub fn keep_credential(
        &self,
        slot: Slot,
        chain: &[CertificateDer<'_>],
        profile: &[u8],
    ) -> Result<StoredCredential, StoreError> {
        let folder = self.credential_path(slot);
        files::make_folder(&folder)?;
        let text: String = chain
            .iter()
            .map(|der| pem::encode(pem::CERTIFICATE, der))
            .collect();
        for (name, content) in [("chain.pem", text.as_bytes()), ("profile.json", profile)] {
            let path = folder.join(name);
            if files::read(&path)?.as_deref() != Some(content) {
                files::write(&path, content, Mode::Public)?;
            }
        }
        self.credential(slot)?
            .ok_or(StoreError::NotReadBack { path: folder })
    }

    /// What is in `slot`, if it is whole enough to be read.
    pub fn credential(&self, slot: Slot) -> Result<Option<StoredCredential>, StoreError> {
        let folder = self.credential_path(slot);
        let chain = files::read(&folder.join("chain.pem"))?;
        let profile = files::read(&folder.join("profile.json"))?;
        let Some((chain, profile)) = chain.zip(profile) else {
            return Ok(None);
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
        Ok(chain
            .ok()
            .filter(|c| !c.is_empty())
            .map(|chain| StoredCredential { chain, profile }))
    }

    /// Deletes what is in `slot`.
    pub fn forget_credential(&self, slot: Slot) -> Result<(), StoreError> {
        let folder = self.credential_path(slot);
        for name in ["chain.pem", "profile.json"] {
            files::remove(&folder.join(name))?;
        }
        Ok(())
    }

    /// Where certificate and profile of `slot` are, for the device's own programs.
    pub fn credential_path(&self, slot: Slot) -> PathBuf {
        self.path.join(format!("credential-{}", slot_name(slot)))
    }

    /// The last refusal in words.
    pub fn refusal(&self) -> Result<Option<RefusalText>, StoreError> {
        self.json("refusal.json")
    }

    /// Keeps a refusal in words, if it is news.
    pub fn keep_refusal(&self, refusal: &RefusalText) -> Result<(), StoreError> {
        let known = self.refusal().ok().flatten();
        let same = known.is_some_and(|k| {
            k.code == refusal.code && k.step == refusal.step && k.text == refusal.text
        });
        if same {
            Ok(())
        } else {
            self.keep_json("refusal.json", refusal)
        }
    }

    fn json<T: for<'a> Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let path = self.path.join(name);
        let Some(text) = files::read(&path)? else {
            return Ok(None);
        };
        let read = serde_json::from_slice(&text);
        read.map(Some)
            .map_err(|source| StoreError::Json { path, source })
    }

    /// The same for a secret.
    fn private_json<T: for<'a> Deserialize<'a>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, StoreError> {
        let path = self.path.join(name);
        let Some(text) = files::read_private(&path)? else {
            return Ok(None);
        };
        let read = serde_json::from_slice(&text);
        read.map(Some)
            .map_err(|source| StoreError::Json { path, source })
    }

    fn keep_private_json(&self, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let path = self.path.join(name);
        let text = serde_json::to_vec_pretty(value).map(Zeroizing::new);
        let text = text.map_err(|source| StoreError::Json {
            path: path.clone(),
            source,
        })?;
        Ok(files::write(&path, &text, Mode::Private)?)
    }

    fn keep_json(&self, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let path = self.path.join(name);
        let text = serde_json::to_vec_pretty(value).map_err(|source| StoreError::Json {
            path: path.clone(),
            source,
        })?;
        Ok(files::write(&path, &text, Mode::Public)?)
    }
}

impl StoredCredential {
    /// By what the journal knows it: SHA-256 of the certificate, then of the profile's bytes.
    pub fn digest(&self) -> Digest {
        let leaf = self.chain.first().map(AsRef::as_ref).unwrap_or_default();
        Digest(sha256(&[leaf, &self.profile]))
    }
}

/// A state directory that can't be used, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file of it.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another agent.
    #[error("another agent works in {}", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// A file that is not ours, or was edited.
    #[error("{} can't be read", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The file system did not give back what it took.
    #[error("what was written to {} could not be read back", path.display())]
    NotReadBack {
        /// The folder.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    fn state() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("deep/state")).unwrap();
        (dir, state)
    }

    #[test]
    fn a_credential_is_read_back_and_its_digest_sees_every_change() {
        let (_dir, state) = state();
        assert!(state.credential(Slot::A).unwrap().is_none());
        let chain = [
            CertificateDer::from(vec![0x30, 1, 5]),
            CertificateDer::from(vec![0x30, 0]),
        ];
        let kept = state.keep_credential(Slot::A, &chain, b"{}").unwrap();
        assert_eq!(
            (kept.chain.as_slice(), kept.profile.as_slice()),
            (&chain[..], &b"{}"[..])
        );
        assert_eq!(kept.digest(), Digest(sha256(&[b"\x30\x01\x05{}"])));
        assert!(state.credential(Slot::B).unwrap().is_none());

        fs::write(state.credential_path(Slot::A).join("profile.json"), "{ }").unwrap();
        assert_ne!(
            state.credential(Slot::A).unwrap().unwrap().digest(),
            kept.digest()
        );
        fs::write(state.credential_path(Slot::A).join("chain.pem"), "torn").unwrap();
        assert!(state.credential(Slot::A).unwrap().is_none());
        let again = state.keep_credential(Slot::A, &chain, b"{}").unwrap();
        assert_eq!(again.digest(), kept.digest());

        state.forget_credential(Slot::A).unwrap();
        state.forget_credential(Slot::A).unwrap();
        assert!(state.credential(Slot::A).unwrap().is_none());
    }

    #[test]
    fn the_token_is_private_and_goes_when_told() {
        let (_dir, state) = state();
        assert_eq!(state.token().unwrap(), None);
        let token = Secret::new(b"imp_abc".to_vec());
        state.keep_token(&token).unwrap();
        let path = state.path().join("token");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::write(&path, "imp_abc\n").unwrap();
        assert_eq!(state.token().unwrap(), Some(token));
        fs::write(&path, "\n").unwrap();
        assert_eq!(state.token().unwrap(), None);
        state.forget_bootstrap().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn two_agents_never_share_a_directory() {
        let (_dir, state) = state();
        let held = state.lock().unwrap();
        assert!(matches!(state.lock().unwrap_err(), StoreError::Busy { .. }));
        drop(held);
        state.lock().unwrap();
        assert_eq!(fs::metadata(state.path()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn setup_and_refusal_come_back_and_rubbish_is_named() {
        let (_dir, state) = state();
        assert_eq!(
            (state.setup().unwrap(), state.refusal().unwrap()),
            (None, None)
        );
        let setup = Setup {
            hardware: "custom:sn-1".into(),
            product: Some("thermo".into()),
            server: "localhost:8443".into(),
        };
        state.keep_setup(&setup).unwrap();
        assert_eq!(state.setup().unwrap(), Some(setup));
        let refusal = RefusalText {
            code: "token-leased".into(),
            step: "ENROLL".into(),
            text: "The token is leased to another key.".into(),
            at: Some(5),
        };
        state.keep_refusal(&refusal).unwrap();
        assert_eq!(state.refusal().unwrap(), Some(refusal.clone()));
        state
            .keep_refusal(&RefusalText {
                at: Some(9),
                ..refusal.clone()
            })
            .unwrap();
        assert_eq!(
            state.refusal().unwrap(),
            Some(refusal),
            "the first time is kept"
        );
        fs::write(state.path().join("setup.json"), "{").unwrap();
        let error = state.setup().unwrap_err();
        assert!(error.to_string().contains("setup.json"), "{error}");
    }
}
