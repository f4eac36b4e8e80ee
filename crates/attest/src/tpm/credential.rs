//! Sealing for one TPM: `MakeCredential` in software (TCG TPM 2.0 Library, part 1, section 24 and
//! annexes B.10.4 and C.6.4).

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512,
    OaepPublicEncryptingKey, PublicEncryptingKey,
};
use zeroize::Zeroizing;

use super::kdf::{cfb, kdfa, kdfe, mac};
use super::public::{Curve, EndorsementKey, Hash, Name, Public, TpmKind};
use super::read::{TpmError, sized};

/// A secret that one TPM opens, for one of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// `TPM2B_ID_OBJECT`: the secret, enciphered, and a MAC over it and the key's name.
    pub id_object: Vec<u8>,
    /// `TPM2B_ENCRYPTED_SECRET`: from what its keys are derived, for the endorsement key.
    pub encrypted_secret: Vec<u8>,
}

/// The longest secret, in bytes: that of SHA-256, which every TPM has.
pub const MAX_SECRET: usize = 32;

/// Random bytes for one sealing: a seed for RSA, a private key for a curve. Never used twice.
pub type SealEntropy = [u8; 48];

/// Seals `secret` for the TPM with this endorsement key, to be opened for the key with this name: the
/// TPM gives it out only if that key is loaded there too.
pub fn make_credential(
    endorsement: &EndorsementKey,
    name: &Name,
    secret: &[u8],
    entropy: &SealEntropy,
) -> Result<Credential, TpmError> {
    if secret.is_empty() || secret.len() > MAX_SECRET {
        return Err(TpmError::Secret);
    }
    let sealed = seal(
        endorsement.public(),
        "IDENTITY",
        name,
        &sized(secret),
        entropy,
    )?;
    Ok(Credential {
        id_object: sized(&sealed.wrapped),
        encrypted_secret: sized(&sealed.secret),
    })
}

impl Credential {
    /// The file that `tpm2_activatecredential` of tpm2-tools reads.
    #[must_use]
    pub fn file(&self) -> Vec<u8> {
        let head = [0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1];
        [head.as_slice(), &self.id_object, &self.encrypted_secret].concat()
    }
}

/// The two parts of what is sealed, without the sizes around them.
pub(super) struct Sealed {
    /// `TPM2B` of the MAC, and the cipher text behind it.
    pub(super) wrapped: Vec<u8>,
    /// The seed, for the parent.
    pub(super) secret: Vec<u8>,
}

/// Seals `plain` for the owner of `parent`, bound to `name`.
pub(super) fn seal(
    parent: &Public,
    label: &str,
    name: &Name,
    plain: &[u8],
    entropy: &SealEntropy,
) -> Result<Sealed, TpmError> {
    let unsupported = TpmError::Unsupported { what: "cipher" };
    let bits = parent.symmetric_bits().ok_or(unsupported)?;
    let hash = parent.hash();
    let (seed, secret) = share(parent, label, entropy)?;
    let wrapped = wrap(hash, &seed, bits, name, plain)?;
    Ok(Sealed { wrapped, secret })
}

/// Enciphers and MACs with the keys that follow from `seed`.
pub(super) fn wrap(
    hash: Hash,
    seed: &[u8],
    bits: u16,
    name: &Name,
    plain: &[u8],
) -> Result<Vec<u8>, TpmError> {
    let key = kdfa(hash, seed, "STORAGE", name.as_bytes(), u32::from(bits));
    let text = cfb(&key, plain)?;
    let integrity_bits = u32::try_from(hash.octets() * 8).unwrap_or(0);
    let key = kdfa(hash, seed, "INTEGRITY", &[], integrity_bits);
    let integrity = mac(hash, &key, &[&text, name.as_bytes()]);
    Ok([sized(&integrity), text].concat())
}

/// A seed that the owner of `parent` and we have, and what it is told so that it has it.
pub(super) fn share(
    parent: &Public,
    label: &str,
    entropy: &SealEntropy,
) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), TpmError> {
    let hash = parent.hash();
    match parent.kind() {
        TpmKind::Rsa { .. } => {
            let seed = entropy.get(..hash.octets()).ok_or(TpmError::Entropy)?;
            let secret = encrypt(parent, label, seed)?;
            Ok((Zeroizing::new(seed.to_vec()), secret))
        }
        TpmKind::Ecc { curve, x, y } => {
            let ours = entropy.get(..curve.octets()).ok_or(TpmError::Entropy)?;
            let (our_x, our_y, shared) = agree(*curve, ours, x, y)?;
            let bits = u32::try_from(hash.octets() * 8).unwrap_or(0);
            let seed = kdfe(hash, &shared, label, &our_x, x, bits);
            Ok((seed, [sized(&our_x), sized(&our_y)].concat()))
        }
    }
}

/// RSA-OAEP whose label ends with a zero octet (annex B.4).
fn encrypt(parent: &Public, label: &str, seed: &[u8]) -> Result<Vec<u8>, TpmError> {
    let algorithm = match parent.hash() {
        Hash::Sha256 => &OAEP_SHA256_MGF1SHA256,
        Hash::Sha384 => &OAEP_SHA384_MGF1SHA384,
        Hash::Sha512 => &OAEP_SHA512_MGF1SHA512,
    };
    let unsound = |_| TpmError::Unsound;
    let key = PublicEncryptingKey::from_der(parent.public_key().spki_der());
    let key = key.map_err(|_| TpmError::Unsound)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(unsound)?;
    let label = [label.as_bytes(), &[0]].concat();
    let mut out = vec![0; key.ciphertext_size()];
    let text = key.encrypt(algorithm, seed, &mut out, Some(&label));
    text.map(|text| text.to_vec()).map_err(unsound)
}

type Shared = (Vec<u8>, Vec<u8>, Zeroizing<Vec<u8>>);

/// ECDH: our public point and the x coordinate of the shared one. The library refuses a point that is
/// not on the curve.
fn agree(curve: Curve, ours: &[u8], x: &[u8], y: &[u8]) -> Result<Shared, TpmError> {
    let algorithm = match curve {
        Curve::P256 => &agreement::ECDH_P256,
        Curve::P384 => &agreement::ECDH_P384,
    };
    let private = PrivateKey::from_private_key(algorithm, ours);
    let private = private.map_err(|_| TpmError::Entropy)?;
    let public = private
        .compute_public_key()
        .map_err(|_| TpmError::Entropy)?;
    let point = public.as_ref().get(1..).ok_or(TpmError::Entropy)?;
    let (our_x, our_y) = point
        .split_at_checked(curve.octets())
        .ok_or(TpmError::Entropy)?;
    let theirs = [&[0x04], x, y].concat();
    let theirs = UnparsedPublicKey::new(algorithm, theirs);
    let shared = agreement::agree(&private, theirs, TpmError::Unsound, |shared| {
        Ok(Zeroizing::new(shared.to_vec()))
    })?;
    Ok((our_x.to_vec(), our_y.to_vec(), shared))
}
