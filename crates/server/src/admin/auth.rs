//! Who may speak to the admin API: whoever holds the admin token.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::{constant_time, digest};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use imprint_identity::UnixTime;
use imprint_registrar::{Ledger, Signer};

use super::{Admin, ApiError};
use crate::Peer;

/// The digest under which a server knows the admin token. The token has 256 random bits, so a plain
/// hash is enough: there is nothing to guess.
#[must_use]
pub fn token_digest(token: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    out
}

/// Lets a request pass that carries the admin token.
pub(super) async fn guard<L: Ledger, S: Signer>(
    State(admin): State<Arc<Admin<L, S>>>,
    request: Request,
    next: Next,
) -> Response {
    let address = request.extensions().get::<Peer>().map(|peer| peer.address);
    match check(&admin, request.headers(), address) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn check<L: Ledger, S: Signer>(
    admin: &Admin<L, S>,
    headers: &HeaderMap,
    address: Option<IpAddr>,
) -> Result<(), ApiError> {
    let shown = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let right = shown.is_some_and(|token| {
        let digest = token_digest(token);
        let same =
            |known: &[u8; 32]| constant_time::verify_slices_are_equal(&digest, known).is_ok();
        // Every known token is compared, so that the time says nothing about which one fits.
        admin.tokens.iter().filter(|known| same(known)).count() > 0
    });
    // The right token always passes: a stranger's guesses must not lock the operator out.
    if right {
        return Ok(());
    }
    let mut wrong = admin.lock_wrong_tokens();
    match wrong.count(address, admin.now()) {
        Tolerance::First(count) => {
            tracing::warn!(?address, count, "a wrong admin token was shown");
            Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "admin-token-wrong",
                if shown.is_some() {
                    "This is not the admin token of this server."
                } else {
                    "The admin API wants the admin token."
                },
                "Send `Authorization: Bearer <token>`; `imprint init` wrote the token to admin.token.",
            ))
        }
        Tolerance::Spent { seconds } => Err(ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "admin-token-limited",
            "Too many wrong admin tokens came from this address.",
            "Wait, then use the token from the directory's admin.token.",
        )
        .after(seconds)),
    }
}

/// Wrong tokens by address, so that whoever hammers on the door fills neither the log nor the CPU.
#[derive(Debug, Default)]
pub(super) struct WrongTokens {
    since: UnixTime,
    by_address: HashMap<Option<IpAddr>, u32>,
}

pub(super) enum Tolerance {
    First(u32),
    Spent { seconds: u32 },
}

impl WrongTokens {
    pub(super) fn count(&mut self, address: Option<IpAddr>, now: UnixTime) -> Tolerance {
        // A clock that was set back begins a new window as well.
        let age = now.since(self.since);
        if !(0..WINDOW_SECONDS).contains(&age) {
            self.since = now;
            self.by_address.clear();
        }
        let seconds = u32::try_from(WINDOW_SECONDS - now.since(self.since)).unwrap_or(1);
        let full = self.by_address.len() >= MOST_ADDRESSES;
        match self.by_address.get_mut(&address) {
            Some(count) if *count >= PER_WINDOW => Tolerance::Spent { seconds },
            Some(count) => {
                *count += 1;
                Tolerance::First(*count)
            }
            None if full => Tolerance::Spent { seconds },
            None => {
                self.by_address.insert(address, 1);
                Tolerance::First(1)
            }
        }
    }
}

/// Ten typing mistakes a minute are a person's; more are not.
const PER_WINDOW: u32 = 10;
const WINDOW_SECONDS: i64 = 60;
/// Bounds the table: 4,096 addresses are a botnet, and a botnet gets no explanations.
const MOST_ADDRESSES: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(wrong: &mut WrongTokens, address: u8, now: i64) -> bool {
        let address = Some(IpAddr::from([192, 0, 2, address]));
        matches!(wrong.count(address, UnixTime(now)), Tolerance::Spent { .. })
    }

    #[test]
    fn the_eleventh_wrong_token_of_a_minute_is_not_looked_at() {
        let mut wrong = WrongTokens::default();
        let verdicts: Vec<_> = (0..11).map(|_| spent(&mut wrong, 1, 1_000)).collect();
        assert_eq!(verdicts.iter().filter(|&&spent| spent).count(), 1);
        assert!(verdicts[10]);
        assert!(
            !spent(&mut wrong, 2, 1_000),
            "another address is another count"
        );
        assert!(spent(&mut wrong, 1, 1_059));
        assert!(!spent(&mut wrong, 1, 1_060), "a new minute begins");
        assert!(
            !spent(&mut wrong, 1, 10),
            "a clock set back does not lock anybody out"
        );
    }

    #[test]
    fn the_table_of_addresses_is_bounded() {
        let mut wrong = WrongTokens::default();
        for n in 0..10_000_u32 {
            wrong.count(Some(IpAddr::from(n.to_be_bytes())), UnixTime(1_000));
        }
        assert_eq!(wrong.by_address.len(), MOST_ADDRESSES);
    }
}
