//! The keys of entries: made or imported, sealed, and said once.

use zeroize::Zeroizing;

use super::definition::Attestation;
use crate::enroll::{Chance, Registrar};
use crate::ledger::{EntryKind, KeySlot, Ledger};
use crate::signer::{Signer, SignerError};

/// A key in the open. It is not printed and is wiped when it goes.
pub(super) type Key = Zeroizing<Vec<u8>>;

/// A new key of 64 bytes, as Azure makes them; for a TPM 32.
pub(super) fn make(attestation: &Attestation, chance: Chance<'_>) -> Key {
    let bytes = match attestation {
        Attestation::Tpm { .. } => TPM_KEY_BYTES,
        _ => KEY_BYTES,
    };
    let mut key = Zeroizing::new(vec![0; bytes]);
    chance(&mut key);
    key
}

/// What a key is sealed for: it opens in no other slot and for no other entry.
pub(super) fn context(kind: EntryKind, name: &str, slot: KeySlot) -> Vec<u8> {
    format!("imprint entry {kind} {name} {slot}").into_bytes()
}

impl<L: Ledger, S: Signer> Registrar<L, S> {
    pub(super) async fn seal_key(
        &self,
        kind: EntryKind,
        name: &str,
        slot: KeySlot,
        key: &[u8],
    ) -> Result<Vec<u8>, SignerError> {
        self.signer().seal(&context(kind, name, slot), key).await
    }
}

/// Bytes of a key that is made here.
const KEY_BYTES: usize = 64;
/// What is sealed for a TPM is as long as its hash.
pub(super) const TPM_KEY_BYTES: usize = 32;
/// How many seconds the clock of who signs may be behind.
pub(super) const CLOCK_SECONDS: u32 = 300;
