//! Keys for scripts that make and read entries by Azure's service API: an access policy, for the
//! entries of one product.

use imprint_attest::{ExpiryUnit, KnownKeys, SasEvidence, SharedKey, prove_sas};
use imprint_identity::UnixTime;
use zeroize::Zeroizing;

use super::desk::EntryDeskError;
use super::keys;
use crate::enroll::{Chance, Registrar};
use crate::ledger::{Acted, Ledger, ServiceAccess, ServiceKeyRecord};
use crate::signer::{Signer, SignerError};

/// What a script shows: a signature by its key over the server's name and a time, as both stand in its
/// token.
#[derive(Clone, Copy)]
pub struct ServiceSignature<'s> {
    /// The name of the key.
    pub key_name: &'s str,
    /// What it is for, percent escapes not undone.
    pub resource: &'s str,
    /// Until when it is good, decimal digits.
    pub expiry: &'s str,
    /// HMAC-SHA256 over both, a line feed between them.
    pub signature: &'s [u8; 32],
}

/// Why a script is not heard.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceDoubt {
    /// No such key, or it has not made this signature, or that is over. Which of these is not said.
    #[error("no service key of this server has made this signature for it, or its time is over")]
    Wrong,
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] crate::LedgerError),
    /// The signer.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// Makes a service key. What is answered beside the record is the key, for the only time.
    pub async fn service_key_new(
        &self,
        name: &str,
        product: &str,
        host: &str,
        access: ServiceAccess,
        actor: &str,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<(ServiceKeyRecord, Zeroizing<Vec<u8>>), EntryDeskError> {
        let fits = |text: &str, most, also: &[u8]| {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || also.contains(&byte);
            (1..=most).contains(&text.len()) && text.bytes().all(good)
        };
        if !fits(name, 64, b"-_.") {
            return Err(EntryDeskError::ServiceKeyName {
                name: name.to_owned(),
            });
        }
        if !fits(host, 253, b"-.") {
            return Err(EntryDeskError::ServiceKeyHost {
                host: host.to_owned(),
            });
        }
        let products = self.ledger().product_list().await?;
        if !products.iter().any(|known| known.name == product) {
            return Err(EntryDeskError::NoProduct {
                name: product.to_owned(),
            });
        }
        let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
        chance(&mut key);
        let record = ServiceKeyRecord {
            name: name.to_owned(),
            product: product.to_owned(),
            host: host.to_ascii_lowercase(),
            access,
            sealed: self.signer().seal(&context(name), &key).await?,
            created_at: now,
        };
        match self.ledger().service_key_add(record, actor, now).await? {
            Acted::Done(record) => Ok((record, key)),
            _ => Err(EntryDeskError::ServiceKeyExists {
                name: name.to_owned(),
            }),
        }
    }

    /// Whose signature this is. Its times may be milliseconds: one SDK writes them so.
    pub async fn service_key_prove(
        &self,
        shown: ServiceSignature<'_>,
        now: UnixTime,
    ) -> Result<ServiceKeyRecord, ServiceDoubt> {
        let known = self.ledger().service_key_get(shown.key_name).await?;
        let record = known.ok_or(ServiceDoubt::Wrong)?;
        let context = context(&record.name);
        let key = self.signer().unseal(&context, &record.sealed).await?;
        let key = SharedKey::new(&key).map_err(|_| ServiceDoubt::Wrong)?;
        let keys = KnownKeys::Own {
            primary: &key,
            secondary: None,
        };
        let evidence = SasEvidence {
            resource: shown.resource,
            expiry: shown.expiry,
            unit: ExpiryUnit::SecondsOrMilliseconds,
            signature: shown.signature,
        };
        prove_sas(
            &evidence,
            &record.host,
            &record.name,
            &keys,
            keys::CLOCK_SECONDS,
            now,
        )
        .map_err(|_| ServiceDoubt::Wrong)?;
        Ok(record)
    }
}

/// What a key is sealed for: it opens under no other name.
fn context(name: &str) -> Vec<u8> {
    format!("imprint service key {name}").into_bytes()
}

/// Bytes of a key: the hash's.
const KEY_BYTES: usize = 32;
