//! The blob by which a device of Azure DPS imports a key for HMAC into its TPM (the vendor's SDKs
//! take it apart; TCG TPM 2.0 Library, part 1, section 23.3).
//!
//! ```text
//! TPM2B_ID_OBJECT          the inner key, sealed for the endorsement key and the storage key's name
//! TPM2B_ENCRYPTED_SECRET   its seed
//! TPM2B_PRIVATE            the key for HMAC, in an inner and an outer wrapping
//! TPM2B_ENCRYPTED_SECRET   the outer wrapping's seed, for the storage key
//! TPM2B_PUBLIC             the key's public area
//! TPM2B_DATA               nothing
//! ```

use zeroize::Zeroizing;

use super::credential::{SealEntropy, make_credential, seal};
use super::kdf::cfb;
use super::public::{EndorsementKey, Hash, Name, StorageKey};
use super::read::{TpmError, sized};

/// Random bytes for one blob. Never used twice.
pub struct ImportEntropy {
    /// For the credential.
    pub credential: SealEntropy,
    /// The key of the inner wrapping.
    pub inner: [u8; 16],
    /// `seedValue` of the key.
    pub seed_value: [u8; 32],
    /// For the outer wrapping.
    pub outer: SealEntropy,
}

/// The blob that puts `hmac_key` into the TPM that has both keys: with it, and only there, the device
/// signs its SAS tokens from now on.
pub fn import_blob(
    endorsement: &EndorsementKey,
    storage: &StorageKey,
    hmac_key: &[u8; 32],
    entropy: &ImportEntropy,
) -> Result<Vec<u8>, TpmError> {
    let storage_name = storage.public().name();
    let credential = make_credential(
        endorsement,
        &storage_name,
        &entropy.inner,
        &entropy.credential,
    )?;
    let area = public_area(&entropy.seed_value, hmac_key);
    let name = Name::of(Hash::Sha256, &area);
    let sensitive = sensitive(&entropy.seed_value, hmac_key);
    let inner = inner_wrap(&entropy.inner, &name, &sensitive)?;
    let outer = seal(storage.public(), "DUPLICATE", &name, &inner, &entropy.outer)?;
    Ok([
        credential.id_object,
        credential.encrypted_secret,
        sized(&outer.wrapped),
        sized(&outer.secret),
        sized(&area),
        sized(&[]),
    ]
    .concat())
}

/// `TPMT_PUBLIC` of a key for HMAC-SHA256: sign, userWithAuth, noDA; no policy.
pub(super) fn public_area(seed_value: &[u8; 32], hmac_key: &[u8; 32]) -> Vec<u8> {
    let unique = Hash::Sha256.of(&[*seed_value, *hmac_key].concat());
    let head = [
        0x00, 0x08, 0x00, 0x0b, 0x00, 0x04, 0x04, 0x40, 0x00, 0x00, 0x00, 0x05, 0x00, 0x0b,
    ];
    [head.as_slice(), &sized(&unique)].concat()
}

/// `TPM2B_SENSITIVE`: no authorization value.
pub(super) fn sensitive(seed_value: &[u8; 32], hmac_key: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let head = [0x00, 0x08, 0x00, 0x00];
    let secret = [head.as_slice(), &sized(seed_value), &sized(hmac_key)].concat();
    Zeroizing::new(sized(&Zeroizing::new(secret)))
}

/// The inner wrapping: a hash over what is wrapped and the key's name, and both enciphered.
pub(super) fn inner_wrap(
    key: &[u8; 16],
    name: &Name,
    sensitive: &[u8],
) -> Result<Vec<u8>, TpmError> {
    let integrity = Hash::Sha256.of(&Zeroizing::new([sensitive, name.as_bytes()].concat()));
    let plain = Zeroizing::new([sized(&integrity).as_slice(), sensitive].concat());
    cfb(key, &plain)
}
