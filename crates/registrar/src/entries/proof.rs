//! A signature by a shared key becomes proof: which of an entry's keys made it?

use std::fmt;

use imprint_attest::{
    ExpiryUnit, GroupKey, KnownKeys, SasEvidence, SharedKey, SharedKeyDoubt, prove_sas,
};
use imprint_identity::UnixTime;

use super::definition::Attestation;
use super::keys::{CLOCK_SECONDS, context};
use super::permit::{Proven, is_for_keys, wrong};
use super::register::Newcomer;
use super::tpm::tpm_of;
use crate::enroll::Registrar;
use crate::ledger::{EntryFacts, EntryKind, EntryRecord, KeySlot, Ledger};
use crate::refusal::{Code, Refusal};
use crate::signer::{Signer, SignerError};

/// A signature over a resource and a time by a key that is shared with the server (Azure: a shared
/// access signature).
#[derive(Clone)]
pub struct SharedKeySignature {
    /// The resource as the client wrote it, percent escapes not undone: so it was signed.
    pub resource: String,
    /// Until when it is good, as the client wrote it: seconds since 1970 in decimal digits.
    pub expiry: String,
    /// HMAC-SHA256 over both, a line feed between them.
    pub signature: [u8; 32],
    /// The resource that it has to be for, for this request.
    pub expected: String,
}

/// Until it expires, the signature is as good as a password: it is not printed.
impl fmt::Debug for SharedKeySignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKeySignature")
            .field("resource", &self.resource)
            .field("expiry", &self.expiry)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

/// An entry's keys, unsealed for one look.
enum Keys {
    Own(SharedKey, Option<SharedKey>),
    Group(GroupKey, Option<GroupKey>),
}

impl Keys {
    const fn known(&self) -> KnownKeys<'_> {
        match self {
            Self::Own(primary, secondary) => KnownKeys::Own {
                primary,
                secondary: secondary.as_ref(),
            },
            Self::Group(primary, secondary) => KnownKeys::Group {
                primary,
                secondary: secondary.as_ref(),
            },
        }
    }
}

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// The entry of a device that shows a signature: its own if it has one, else the first group by
    /// whose key it holds.
    pub(super) async fn by_key(
        &self,
        newcomer: &Newcomer,
        signature: &SharedKeySignature,
        facts: &EntryFacts,
        now: UnixTime,
    ) -> Result<Proven, Refusal> {
        let id = newcomer.presented();
        is_for_this(signature)?;
        if let Some(entry) = &facts.individual {
            if let Some(named) = tpm_of(entry)? {
                self.has_answered(entry, &named, newcomer, signature, now)
                    .await?;
                return Ok(Proven::by_key(entry, newcomer.id()));
            }
            is_for_keys(entry)?;
            self.has_signed(entry, id, signature, now).await?;
            return Ok(Proven::by_key(entry, newcomer.id()));
        }
        let mut unopened = None;
        for group in &facts.groups {
            let keys = match self.keys_of(group).await {
                Ok(keys) => keys,
                // One group whose keys don't open keeps nobody else out.
                Err(SignerError::Sealed) => {
                    unopened = Some(group);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let Some(keys) = keys else { continue };
            match proves(&keys.known(), id, signature, now) {
                Ok(()) => return Ok(Proven::by_key(group, newcomer.id())),
                Err(SharedKeyDoubt::Signature) => {}
                Err(doubt) => return Err(doubted(group, doubt)),
            }
        }
        // It may be this one's: until an operator has put the seal back, nobody can say.
        if let Some(group) = unopened {
            let detail = format!("the keys of group {} can't be unsealed", group.entry.name);
            return Err(Refusal::new(Code::SignerUnavailable).detail(detail));
        }
        let why = match facts.groups.len() {
            0 => "there is no entry for it, and no group with keys".to_owned(),
            many => {
                format!("there is no entry for it, and no key of {many} groups made this signature")
            }
        };
        Err(Refusal::new(Code::EntryUnknown).detail(why))
    }

    /// Whether one of the entry's keys made this signature, and whether it is good. The key of a group
    /// makes none: what counts is the key that is derived from it for the id as the device writes it, or
    /// in lower case.
    pub(super) async fn has_signed(
        &self,
        entry: &EntryRecord,
        id: &str,
        signature: &SharedKeySignature,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        is_for_this(signature)?;
        let keys = self.keys_of(entry).await?;
        let keys = keys.ok_or_else(|| match entry.entry.attestation {
            // Its keys went with it, so nobody can prove anything by it any more.
            Attestation::SymmetricKey => Refusal::new(Code::EntryUnknown)
                .detail(format!("entry {} has been deleted", entry.entry.name)),
            Attestation::X509 { .. } | Attestation::Tpm { .. } => wrong(entry, "it has no key"),
        })?;
        proves(&keys.known(), id, signature, now).map_err(|doubt| doubted(entry, doubt))
    }

    /// `None`: it has none.
    async fn keys_of(&self, entry: &EntryRecord) -> Result<Option<Keys>, SignerError> {
        let unsealed = async |slot| {
            let Some(sealed) = entry.keys.get(slot) else {
                return Ok(None);
            };
            let context = context(entry.entry.kind, &entry.entry.name, slot);
            self.signer().unseal(&context, sealed).await.map(Some)
        };
        let [primary, secondary] = [
            unsealed(KeySlot::Primary).await,
            unsealed(KeySlot::Secondary).await,
        ];
        // Where one slot opens, its key is heard.
        let (primary, secondary) = match (primary, secondary) {
            (Err(SignerError::Sealed), Ok(Some(other))) => (None, Some(other)),
            (Ok(Some(one)), Err(SignerError::Sealed)) => (Some(one), None),
            (primary, secondary) => (primary?, secondary?),
        };
        if primary.is_none() != secondary.is_none() && entry.keys.get(KeySlot::Primary).is_some() {
            tracing::error!(
                entry = entry.entry.name,
                "one of its two keys is not there, or can't be unsealed"
            );
        }
        // Lengths were checked when the keys were sealed; what does not fit is no key of ours.
        Ok(match entry.entry.kind {
            EntryKind::Individual => {
                let key = |key: &Vec<u8>| SharedKey::new(key).ok();
                let secondary = secondary.as_deref().and_then(key);
                let primary = primary.as_deref().and_then(key);
                either(primary, secondary).map(|(first, other)| Keys::Own(first, other))
            }
            EntryKind::Group => {
                let key = |key: &Vec<u8>| GroupKey::new(key).ok();
                let secondary = secondary.as_deref().and_then(key);
                let primary = primary.as_deref().and_then(key);
                either(primary, secondary).map(|(first, other)| Keys::Group(first, other))
            }
        })
    }
}

/// What can be said without a key is said before one is unsealed: a stranger's token for something else
/// costs nothing.
fn is_for_this(signature: &SharedKeySignature) -> Result<(), Refusal> {
    evidence(signature)
        .is_for(&signature.expected)
        .map_err(|doubt| match doubt {
            SharedKeyDoubt::ExpiryUnreadable | SharedKeyDoubt::Escape => {
                Refusal::new(Code::SignatureUnreadable).detail(doubt.to_string())
            }
            _ => Refusal::new(Code::EntryProofWrong).detail(doubt.to_string()),
        })
}

fn evidence(signature: &SharedKeySignature) -> SasEvidence<'_> {
    SasEvidence {
        resource: &signature.resource,
        expiry: &signature.expiry,
        unit: ExpiryUnit::Seconds,
        signature: &signature.signature,
    }
}

/// The keys that are there, in the order of their slots.
fn either<K>(primary: Option<K>, secondary: Option<K>) -> Option<(K, Option<K>)> {
    match (primary, secondary) {
        (Some(primary), secondary) => Some((primary, secondary)),
        (None, Some(secondary)) => Some((secondary, None)),
        (None, None) => None,
    }
}

pub(super) fn proves(
    keys: &KnownKeys<'_>,
    id: &str,
    signature: &SharedKeySignature,
    now: UnixTime,
) -> Result<(), SharedKeyDoubt> {
    let expected = &signature.expected;
    prove_sas(&evidence(signature), expected, id, keys, CLOCK_SECONDS, now).map(drop)
}

/// A doubt about what an entry's device has signed.
pub(super) fn doubted(entry: &EntryRecord, doubt: SharedKeyDoubt) -> Refusal {
    let code = match doubt {
        SharedKeyDoubt::Expired { .. } => Code::SignatureExpired,
        SharedKeyDoubt::ExpiryUnreadable | SharedKeyDoubt::Escape => Code::SignatureUnreadable,
        // Whatever else there may be to doubt is a no.
        _ => return wrong(entry, &doubt.to_string()),
    };
    Refusal::new(code).detail(doubt.to_string())
}
