//! Where a device stands, read from its state directory, also while an agent works in it.

use std::path::Path;

use imprint_device::file::FileJournal;
use imprint_device::{Journal, Record};
use imprint_identity::UnixTime;
use imprint_pkix::certificate::Certificate;
use serde::Serialize;

use crate::error::AgentError;
use crate::exit::Exit;
use crate::store::{RefusalText, StateDir, StoredCredential};

/// The provisioning state register, and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The step's name: UNPROVISIONED to PROVISIONED, or QUARANTINE.
    pub step: String,
    /// Why it rests, if it does.
    pub quarantine: Option<String>,
    /// Failures at this step so far.
    pub attempts: u8,
    /// What failed last, by the journal: the word, and at which step.
    pub refusal: Option<LastRefusal>,
    /// `source:value`, once the device has begun.
    pub hardware: Option<String>,
    /// The product it asked to join.
    pub product: Option<String>,
    /// `host:port`, as last used.
    pub server: Option<String>,
    /// Whether a token or a claim is still kept.
    pub token_kept: bool,
    /// The last server time that was taken under the pinned root.
    pub server_time: Option<String>,
    /// The certificate in use, or about to be verified.
    pub certificate: Option<CertificateStatus>,
}

/// The last refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastRefusal {
    /// The machine's word.
    pub code: String,
    /// At which step.
    pub step: String,
    /// Whether and when the device comes back: `later`, `never` or seconds.
    pub retry: String,
    /// What the server or the system said, if it was kept.
    pub text: Option<String>,
    /// When, if the time was known.
    pub at: Option<String>,
}

/// What a person wants to know of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateStatus {
    /// The device's name in the fleet.
    pub common_name: Option<String>,
    /// In hex.
    pub serial: String,
    /// The first second.
    pub not_before: String,
    /// The last second.
    pub not_after: String,
    /// When it gets a successor; `None`: it has no end.
    pub renew_at: Option<String>,
    /// The chain, own certificate first.
    pub chain_file: String,
    /// The connection profile.
    pub profile_file: String,
}

impl Status {
    /// Reads the state directory at `path`. One that isn't there is a device that never began.
    pub fn read(path: &Path) -> Result<Self, AgentError> {
        let Some(store) = StateDir::look(path) else {
            return Ok(Self::of(&Record::default()));
        };
        let record = FileJournal::new(path).load().map_err(AgentError::Journal)?;
        let record = record.unwrap_or_default();
        let setup = store.setup()?;
        let mut status = Self::of(&record);
        if let Some(setup) = setup {
            status.hardware = Some(setup.hardware);
            status.product = setup.product;
            status.server = Some(setup.server);
        }
        status.token_kept = store.has_bootstrap()?;
        let words = store.refusal().ok().flatten();
        if let (Some(refusal), Some(words)) = (&mut status.refusal, words) {
            refusal.add(words);
        }
        if let Some(credential) = record.place.credential()
            && let Some(stored) = store.credential(credential.slot)?
        {
            let folder = store.credential_path(credential.slot);
            status.certificate = CertificateStatus::of(&stored, &folder);
        }
        Ok(status)
    }

    fn of(record: &Record) -> Self {
        let refusal = record.refusal.as_ref().map(|refusal| LastRefusal {
            code: refusal.code.to_string(),
            step: refusal.step.to_string(),
            retry: match refusal.retry {
                imprint_device::Retry::Later => "later".to_owned(),
                imprint_device::Retry::Never => "never".to_owned(),
                imprint_device::Retry::After(seconds) => seconds.to_string(),
            },
            text: None,
            at: None,
        });
        Self {
            step: record.step().to_string(),
            quarantine: record.quarantine.map(|reason| reason.to_string()),
            attempts: record.attempts,
            refusal,
            hardware: None,
            product: None,
            server: None,
            token_kept: false,
            server_time: record.server_time.map(|at| at.to_string()),
            certificate: None,
        }
    }

    /// What a script branches on.
    pub fn exit(&self) -> Exit {
        match self.step.as_str() {
            "PROVISIONED" => Exit::Good,
            "QUARANTINE" => Exit::Quarantined,
            _ => Exit::NotYet,
        }
    }
}

impl LastRefusal {
    /// The words belong to the code only if they were kept for it.
    fn add(&mut self, words: RefusalText) {
        if words.code == self.code {
            self.text = Some(words.text);
            self.at = words.at.map(|at| UnixTime(at).to_string());
        }
    }
}

impl CertificateStatus {
    fn of(stored: &StoredCredential, folder: &Path) -> Option<Self> {
        let leaf = Certificate::parse(stored.chain.first()?).ok()?;
        Some(Self {
            common_name: leaf.common_name(),
            serial: hex::encode(leaf.serial()),
            not_before: leaf.not_before().to_string(),
            not_after: leaf.not_after().to_string(),
            renew_at: stored.renewal_due().map(|at| at.to_string()),
            chain_file: folder.join("chain.pem").display().to_string(),
            profile_file: folder.join("profile.json").display().to_string(),
        })
    }
}
