//! The ownership token: a text that ties a registration to one pending certificate of one claim.
//!
//! ```text
//! base64url( serial number, 20 octets || MAC, 32 octets ), no padding: 70 characters
//! MAC over "imprint certificate ownership" 0x00 serial claim's name
//! ```
//!
//! Nothing of it is stored. It is the same whenever it is asked for, so a lost answer can be given
//! again; and a token of another claim does not verify.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::refusal::{Code, Refusal};
use crate::serial::Serial;
use crate::signer::Signer;

pub(super) async fn token_for<S: Signer>(
    signer: &S,
    serial: Serial,
    claim: &str,
) -> Result<String, Refusal> {
    let mac = mac(signer, serial, claim).await?;
    Ok(URL_SAFE_NO_PAD.encode([&serial.0[..], &mac].concat()))
}

/// The certificate that a token is for.
pub(super) async fn serial_in<S: Signer>(
    signer: &S,
    token: &str,
    claim: &str,
) -> Result<Serial, Refusal> {
    let invalid = |why: &str| Refusal::new(Code::OwnershipInvalid).detail(why);
    if token.is_empty() {
        return Err(invalid("the token is empty"));
    }
    if token.len() != LENGTH {
        return Err(invalid("the token has the wrong length"));
    }
    let octets = URL_SAFE_NO_PAD
        .decode(token)
        .map_err(|_| invalid("the token is not base64url"))?;
    let (serial, shown) = octets
        .split_at_checked(20)
        .and_then(|(serial, mac)| Some((Serial::from_octets(serial)?, mac)))
        .ok_or_else(|| invalid("the token has the wrong length"))?;
    let mac = mac(signer, serial, claim).await?;
    verify_slices_are_equal(&mac, shown)
        .map_err(|_| invalid("the token is not one that this claim was given"))?;
    Ok(serial)
}

async fn mac<S: Signer>(signer: &S, serial: Serial, claim: &str) -> Result<[u8; 32], Refusal> {
    let message = [DOMAIN, &serial.0, claim.as_bytes()].concat();
    Ok(signer.token_mac(&message).await?)
}

/// Longer than any one-time token's secret (16 octets), so that neither is ever taken for the other.
const DOMAIN: &[u8] = b"imprint certificate ownership\0";
/// Of 52 octets.
const LENGTH: usize = 70;
