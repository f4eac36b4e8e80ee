//! A TPM on the road: it is challenged, it answers, and it gets its key.
//!
//! ```text
//! device   these are my endorsement key and my storage key       nothing is proven by that
//! server   a nonce, sealed so that this TPM alone imports it      entry_challenge
//! device   a signature by the nonce                               entry_register, as by any shared key
//! server   the device's own key, sealed in the same way
//! ```
//!
//! The nonce is on record nowhere: it is a MAC over registration id, endorsement key and the five
//! minutes in which it was given, under a key that every node has. So whoever asks for challenges in a
//! device's name takes nothing from the device, no node has to tell another, and a nonce is worth
//! nothing for another id, for another TPM, or ten minutes later. Within these minutes the same answer
//! gets the same key, which is what a device needs whose reply was lost.

use std::fmt;

use imprint_attest::tpm::{
    EndorsementKey, ImportEntropy, Public, StorageKey, TpmError, import_blob,
};
use imprint_attest::{KnownKeys, SharedKey, SharedKeyDoubt};
use imprint_identity::UnixTime;
use zeroize::Zeroizing;

use super::definition::NamedTpm;
use super::hub::is_guess;
use super::keys::{TPM_KEY_BYTES, context};
use super::permit::{Proven, is_enabled, wrong};
use super::proof::{SharedKeySignature, doubted, proves};
use super::register::Newcomer;
use crate::enroll::{Chance, Origin, Registrar, random};
use crate::ledger::{EntryAct, EntryEvidence, EntryRecord, KeySlot, Ledger};
use crate::refusal::{Code, Refusal};
use crate::signer::Signer;

/// The public keys that a device says its TPM has: `TPM2B_PUBLIC` structures, as they came.
#[derive(Clone, PartialEq, Eq)]
pub struct TpmKeys {
    /// Which TPM it is.
    pub endorsement: Vec<u8>,
    /// Under which of its keys it takes what is sealed for it.
    pub storage: Option<Vec<u8>>,
}

impl fmt::Debug for TpmKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TpmKeys")
            .field("endorsement", &hex::encode(&self.endorsement))
            .finish_non_exhaustive()
    }
}

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// Challenges the TPM that a device says it has: a blob by which that TPM, and no other, gets the
    /// key with which the device has to sign. Nothing is written down.
    pub async fn entry_challenge(
        &self,
        newcomer: &Newcomer,
        origin: &Origin,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<Vec<u8>, Refusal> {
        // Whose TPM is the right one always passes: a stranger's guesses lock nobody out.
        let limited = self.may_guess(origin, Some(newcomer.hardware()), now);
        let outcome = self.challenged(newcomer, chance, now).await;
        let outcome = match (outcome, limited) {
            (Err(refusal), Err(limited)) if is_guess(&refusal) => Err(limited),
            (Err(refusal), Ok(())) if is_guess(&refusal) => {
                self.guessed(origin, Some(newcomer.hardware()), now);
                Err(refusal)
            }
            (outcome, _) => outcome,
        };
        self.entry_noted(newcomer, outcome, origin, now)
    }

    async fn challenged(
        &self,
        newcomer: &Newcomer,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<Vec<u8>, Refusal> {
        let shown = EntryEvidence::SharedKey;
        let facts = self.entries_for(newcomer, shown, now).await?;
        let entry = facts.individual.as_ref().ok_or_else(|| {
            let detail = "there is no entry of its own for it, and a group has no TPM";
            Refusal::new(Code::EntryUnknown).detail(detail)
        })?;
        let named = tpm_of(entry)?;
        let named = named.ok_or_else(|| wrong(entry, "its device comes without a TPM"))?;
        let storage = storage_key(&named, entry, newcomer.tpm())?;
        is_enabled(entry)?;
        let nonce = self.nonce(&named, newcomer.id(), window(now)).await?;
        blob(&named.endorsement, &storage, &nonce, chance)
    }

    /// Whether the nonce that was sealed for this TPM made the signature.
    pub(super) async fn has_answered(
        &self,
        entry: &EntryRecord,
        named: &NamedTpm,
        newcomer: &Newcomer,
        signature: &SharedKeySignature,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        is_named(named, newcomer.tpm())?;
        let id = newcomer.id();
        let latest = window(now);
        // One later: the node that gave it may be ahead of this one.
        for (age, window) in (latest - OLDEST..=latest + 1).rev().enumerate() {
            let nonce = self.nonce(named, id, window).await?;
            // A MAC is as long as a key.
            let Ok(nonce) = SharedKey::new(&nonce[..]) else {
                continue;
            };
            let known = KnownKeys::Own {
                primary: &nonce,
                secondary: None,
            };
            match proves(&known, newcomer.presented(), signature, now) {
                Ok(()) if age <= GOOD => return Ok(()),
                Ok(()) => return Err(Code::TpmAnswerLate.into()),
                Err(SharedKeyDoubt::Signature) => {}
                Err(doubt) => return Err(doubted(entry, doubt)),
            }
        }
        Err(doubted(entry, SharedKeyDoubt::Signature))
    }

    /// The key for one challenge: 32 bytes, the same on every node.
    async fn nonce(
        &self,
        named: &NamedTpm,
        id: &str,
        window: i64,
    ) -> Result<Zeroizing<[u8; 32]>, Refusal> {
        let name = named.endorsement.public().name();
        // An id has no zero octet, and what follows it has one length for each hash.
        let message = [
            CHALLENGE,
            id.as_bytes(),
            &[0],
            &window.to_be_bytes(),
            name.as_bytes(),
        ];
        let mac = self.signer().token_mac(&message.concat()).await?;
        Ok(Zeroizing::new(mac))
    }

    /// Remembers under which key the TPM takes what is sealed for it. Answers whether it had not been
    /// known, so that what was read before is read again.
    pub(super) async fn storage_key_is_new(
        &self,
        proven: &Proven,
        newcomer: &Newcomer,
        now: UnixTime,
    ) -> Result<bool, Refusal> {
        let entry = &proven.entry;
        let shown = newcomer.tpm().and_then(|keys| keys.storage.as_ref());
        let (Some(named), Some(shown)) = (tpm_of(entry)?, shown) else {
            return Ok(false);
        };
        storage_key(&named, entry, newcomer.tpm())?;
        if entry.storage_key.as_ref() == Some(shown) {
            return Ok(false);
        }
        let act = EntryAct::StorageKey {
            public: shown.clone(),
        };
        let (kind, name) = (entry.entry.kind, &entry.entry.name);
        let actor = newcomer.hardware().text();
        self.ledger()
            .entry_act(kind, name, act, actor.as_str(), now)
            .await?;
        Ok(true)
    }

    /// The device's own key, sealed for its TPM; `None` for who has none. Each time it is the same key
    /// in other wrapping.
    pub(super) async fn key_for_tpm(
        &self,
        proven: &Proven,
        newcomer: &Newcomer,
        chance: Chance<'_>,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let entry = &proven.entry;
        let Some(named) = tpm_of(entry)? else {
            return Ok(None);
        };
        let storage = storage_key(&named, entry, newcomer.tpm())?;
        let sealed = entry.keys.get(KeySlot::Primary);
        let sealed = sealed.ok_or_else(|| wrong(entry, "it has no key"))?;
        let context = context(entry.entry.kind, &entry.entry.name, KeySlot::Primary);
        let key = self.signer().unseal(&context, sealed).await?;
        let key: &[u8; TPM_KEY_BYTES] = key
            .as_slice()
            .try_into()
            .map_err(|_| wrong(entry, "its key is not as long as a TPM's"))?;
        blob(&named.endorsement, &storage, key, chance).map(Some)
    }
}

/// The TPM that an entry names, where it names one.
pub(super) fn tpm_of(entry: &EntryRecord) -> Result<Option<NamedTpm>, Refusal> {
    // Checked when it was written down.
    let named = entry.entry.attestation.tpm();
    named.map_err(|why| Refusal::new(Code::ProfileUnsound).detail(why))
}

/// Whether what a device has shown of its TPM is what its entry names. Who shows nothing has shown
/// nothing wrong.
fn is_named(named: &NamedTpm, shown: Option<&TpmKeys>) -> Result<(), Refusal> {
    let Some(shown) = shown else { return Ok(()) };
    // To the bit: another policy or other attributes make another key of it.
    if shown.endorsement != named.endorsement.public().tpm2b() {
        // Who can't be read is told so; who can is somebody else.
        let theirs = Public::parse(&shown.endorsement).map_err(unreadable)?;
        let detail = format!("it shows {:?}", theirs.name());
        return Err(Refusal::new(Code::TpmOther).detail(detail));
    }
    Ok(())
}

/// The key under which a TPM takes what is sealed for it: as shown, else as it was shown last.
fn storage_key(
    named: &NamedTpm,
    entry: &EntryRecord,
    shown: Option<&TpmKeys>,
) -> Result<StorageKey, Refusal> {
    is_named(named, shown)?;
    let shown = shown.and_then(|keys| keys.storage.as_ref());
    let Some(bytes) = shown.or(entry.storage_key.as_ref()) else {
        let detail = "the device has not said under which key its TPM takes what is sealed for it";
        let missing = || Refusal::new(Code::TpmUnreadable).detail(detail);
        return named.storage.clone().ok_or_else(missing);
    };
    let public = Public::parse(bytes).map_err(unreadable)?;
    let storage = StorageKey::new(public)
        .map_err(|error| Refusal::new(Code::TpmKeyUnsound).detail(error.to_string()))?;
    match &named.storage {
        Some(only) if *only != storage => {
            let detail = "its storage key is not the one that the entry names";
            Err(Refusal::new(Code::TpmOther).detail(detail))
        }
        _ => Ok(storage),
    }
}

fn blob(
    endorsement: &EndorsementKey,
    storage: &StorageKey,
    key: &[u8; 32],
    chance: Chance<'_>,
) -> Result<Vec<u8>, Refusal> {
    let entropy = ImportEntropy {
        credential: random(chance),
        inner: random(chance),
        seed_value: random(chance),
        outer: random(chance),
    };
    import_blob(endorsement, storage, key, &entropy).map_err(|error| match error {
        // Once in 2^32: the next try draws others.
        TpmError::Entropy => Code::Busy.into(),
        error => unreadable(error),
    })
}

fn unreadable(error: TpmError) -> Refusal {
    Refusal::new(Code::TpmUnreadable).detail(error.to_string())
}

/// In which of the windows a moment is.
const fn window(now: UnixTime) -> i64 {
    now.0.div_euclid(WINDOW_SECONDS)
}

/// A nonce is good in the window in which it was given and in the next: 5 to 10 minutes.
const WINDOW_SECONDS: i64 = 300;
/// Windows, from the one ahead of us: that one, the one that is now, the one before.
const GOOD: usize = 2;
/// Windows in which a nonce is still known for what it was: an hour.
const OLDEST: i64 = 12;
const CHALLENGE: &[u8] = b"imprint tpm challenge\0";
