//! Key derivation, HMAC and CFB as TPMs do them (TCG TPM 2.0 Library, part 1, sections 11.4.10 and
//! annex C.6).

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{digest, hmac};
use zeroize::Zeroizing;

use super::public::Hash;
use super::read::TpmError;

/// `KDFa`: keys from a key, by HMAC in counter mode. `bits` is a multiple of eight.
pub(super) fn kdfa(
    hash: Hash,
    key: &[u8],
    label: &str,
    context: &[u8],
    bits: u32,
) -> Zeroizing<Vec<u8>> {
    expand(bits, |counter| {
        let parts = [
            &counter.to_be_bytes(),
            label.as_bytes(),
            &[0],
            context,
            &bits.to_be_bytes(),
        ];
        mac(hash, key, &parts)
    })
}

/// `KDFe`: a key from the x coordinate of a shared point, by a hash.
pub(super) fn kdfe(
    hash: Hash,
    shared: &[u8],
    label: &str,
    ours: &[u8],
    theirs: &[u8],
    bits: u32,
) -> Zeroizing<Vec<u8>> {
    expand(bits, |counter| {
        let mut context = digest::Context::new(hash.algorithm());
        for part in [
            &counter.to_be_bytes(),
            shared,
            label.as_bytes(),
            &[0],
            ours,
            theirs,
        ] {
            context.update(part);
        }
        context.finish().as_ref().to_vec()
    })
}

fn expand(bits: u32, block: impl Fn(u32) -> Vec<u8>) -> Zeroizing<Vec<u8>> {
    let bytes = usize::try_from(bits / 8).unwrap_or(0);
    let mut out = Zeroizing::new(Vec::with_capacity(bytes + 64));
    for counter in 1_u32.. {
        if out.len() >= bytes {
            break;
        }
        out.extend_from_slice(&Zeroizing::new(block(counter)));
    }
    out.truncate(bytes);
    out
}

/// HMAC over parts in a row.
pub(super) fn mac(hash: Hash, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hash.hmac(), key));
    for part in parts {
        context.update(part);
    }
    context.sign().as_ref().to_vec()
}

/// AES in CFB mode with an IV of zeros, which is sound because each key is used once.
pub(super) fn cfb(key: &[u8], plain: &[u8]) -> Result<Vec<u8>, TpmError> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    let key = UnboundCipherKey::new(algorithm, key).map_err(|_| TpmError::Unsound)?;
    let key = EncryptingKey::cfb128(key).map_err(|_| TpmError::Unsound)?;
    let mut text = plain.to_vec();
    let context = EncryptionContext::Iv128(FixedLength::from(&[0; 16]));
    key.less_safe_encrypt(&mut text, context)
        .map_err(|_| TpmError::Unsound)?;
    Ok(text)
}
