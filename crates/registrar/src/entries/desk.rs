//! What an operator does to entries: they are made, switched, and given keys. A key is said once, when
//! it is made here; one that was made elsewhere is never said.

use imprint_attest::{GroupKey, SharedKey, SharedKeyLength};
use imprint_identity::UnixTime;
use zeroize::Zeroizing;

use super::definition::{Attestation, Entry, EntryError, is_registration_id};
use super::keys::{self, Key};
use crate::enroll::{Chance, Registrar};
use crate::ledger::{
    Acted, EntryAct, EntryKind, EntryRecord, KeySlot, Ledger, LedgerError, NewEntry, SealedKeys,
};
use crate::signer::{Signer, SignerError};

/// An entry to be made.
pub struct EntryOrder {
    /// The definition.
    pub entry: Entry,
    /// Whether it is good from the start.
    pub enabled: bool,
    /// Keys that were made elsewhere. Where there is none, it is made here.
    pub keys: EntryKeys,
}

/// Keys in the open, one a slot. They are not printed.
#[derive(Default)]
pub struct EntryKeys {
    /// The first.
    pub primary: Option<Zeroizing<Vec<u8>>>,
    /// The second.
    pub secondary: Option<Zeroizing<Vec<u8>>>,
}

/// An entry, with the keys that were made for it just now. Nobody can ask for them again.
pub struct MadeEntry {
    /// What is on record.
    pub record: EntryRecord,
    /// What was made here.
    pub made: EntryKeys,
}

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// Writes an entry down. One that is there already stays as it is.
    pub async fn entry_new(
        &self,
        order: EntryOrder,
        actor: &str,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<MadeEntry, EntryDeskError> {
        let (new, made) = self.entry_sealed(order, Some(chance)).await?;
        let (kind, name) = (new.entry.kind, new.entry.name.clone());
        let record = done(kind, &name, self.ledger().entry_add(new, actor, now).await?)?;
        Ok(MadeEntry { record, made })
    }

    /// Puts another definition in the place of an entry's. Keys that are not given stay; product and
    /// attestation stay as well, because its devices were let in by them. `version`: the one that was
    /// read before.
    pub async fn entry_replace(
        &self,
        order: EntryOrder,
        version: Option<u64>,
        actor: &str,
        now: UnixTime,
    ) -> Result<EntryRecord, EntryDeskError> {
        let (kind, name) = (order.entry.kind, order.entry.name.clone());
        let known = self.entry_on_record(kind, &name).await?;
        let fault = |key, reason: &str| EntryError {
            entry: name.clone(),
            key,
            reason: reason.to_owned(),
        };
        if known.entry.product != order.entry.product {
            let reason =
                "an entry's devices are of the product that it was made for; make another entry";
            return Err(fault("product", reason).into());
        }
        if known.entry.attestation.name() != order.entry.attestation.name() {
            let reason = "keys and certificates don't take each other's place; make another entry";
            return Err(fault("attestation", reason).into());
        }
        let (new, _) = self.entry_sealed(order, None).await?;
        // What was decided on is what is replaced.
        let version = Some(version.unwrap_or(known.version));
        let new = Box::new(new);
        let act = EntryAct::Replace { new, version };
        let acted = self
            .ledger()
            .entry_act(kind, &name, act, actor, now)
            .await?;
        done(kind, &name, acted)
    }

    /// Forgets an entry and its keys. Devices that are registered by it are not heard any more, by keys
    /// or by certificates, unless they have got a certificate of ours since. Answers what it was.
    pub async fn entry_delete(
        &self,
        kind: EntryKind,
        name: &str,
        version: Option<u64>,
        actor: &str,
        now: UnixTime,
    ) -> Result<EntryRecord, EntryDeskError> {
        let act = EntryAct::Delete { version };
        let acted = self.ledger().entry_act(kind, name, act, actor, now).await?;
        done(kind, name, acted)
    }

    /// Says an entry's keys, for who has the right to ask. It is noted in the journal first.
    pub async fn entry_reveal(
        &self,
        kind: EntryKind,
        name: &str,
        actor: &str,
        now: UnixTime,
    ) -> Result<(EntryRecord, EntryKeys), EntryDeskError> {
        let act = EntryAct::Reveal;
        let acted = self.ledger().entry_act(kind, name, act, actor, now).await?;
        let record = done(kind, name, acted)?;
        let mut keys = EntryKeys::default();
        // A TPM's key goes to its TPM and to nobody else.
        let is_said = record.entry.attestation == Attestation::SymmetricKey;
        for slot in [KeySlot::Primary, KeySlot::Secondary] {
            if let Some(sealed) = record.keys.get(slot).filter(|_| is_said) {
                let context = keys::context(kind, name, slot);
                *keys.slot(slot) = Some(self.signer().unseal(&context, sealed).await?);
            }
        }
        Ok((record, keys))
    }

    /// What is kept of an order, and the keys that were made for it: none without chance.
    async fn entry_sealed(
        &self,
        order: EntryOrder,
        chance: Option<Chance<'_>>,
    ) -> Result<(NewEntry, EntryKeys), EntryDeskError> {
        let EntryOrder {
            entry,
            enabled,
            keys: mut given,
        } = order;
        entry.check()?;
        let products = self.ledger().product_list().await?;
        if !products.iter().any(|product| product.name == entry.product) {
            return Err(EntryDeskError::NoProduct {
                name: entry.product,
            });
        }
        let by_key = entry.attestation == Attestation::SymmetricKey;
        let by_tpm = matches!(entry.attestation, Attestation::Tpm { .. });
        if !by_key && (given.primary.is_some() || given.secondary.is_some()) {
            return Err(EntryDeskError::NoKeys { name: entry.name });
        }
        let mut sealed = SealedKeys::default();
        let mut made = EntryKeys::default();
        for slot in [KeySlot::Primary, KeySlot::Secondary] {
            let (key, is_new) = match (given.slot(slot).take(), chance) {
                (Some(key), _) => (key, false),
                (None, Some(chance)) if by_key => (keys::make(&entry.attestation, chance), true),
                (None, _) => continue,
            };
            SharedKey::new(&key)?;
            let box_of = self.seal_key(entry.kind, &entry.name, slot, &key).await?;
            match slot {
                KeySlot::Primary => sealed.primary = Some(box_of),
                KeySlot::Secondary => sealed.secondary = Some(box_of),
            }
            if is_new {
                *made.slot(slot) = Some(key);
            }
        }
        if by_tpm && let Some(chance) = chance {
            // It goes to its TPM and to nobody else, so it is not said here.
            let (slot, key) = (KeySlot::Primary, keys::make(&entry.attestation, chance));
            sealed.primary = Some(self.seal_key(entry.kind, &entry.name, slot, &key).await?);
        }
        let certificates = entry.attestation.certificates().unwrap_or_default();
        let new = NewEntry {
            subjects: match entry.kind {
                EntryKind::Individual => Vec::new(),
                EntryKind::Group => certificates
                    .iter()
                    .map(|one| one.subject_der().to_vec())
                    .collect(),
            },
            enabled,
            keys: sealed,
            entry,
        };
        Ok((new, made))
    }

    /// Lets devices register by an entry, or lets nobody.
    pub async fn entry_switch(
        &self,
        kind: EntryKind,
        name: &str,
        enabled: bool,
        actor: &str,
        now: UnixTime,
    ) -> Result<EntryRecord, EntryDeskError> {
        let act = if enabled {
            EntryAct::Enable
        } else {
            EntryAct::Disable
        };
        let acted = self.ledger().entry_act(kind, name, act, actor, now).await?;
        done(kind, name, acted)
    }

    /// Puts another key into a slot: this one, or one that is made here.
    pub async fn entry_rotate(
        &self,
        kind: EntryKind,
        name: &str,
        slot: KeySlot,
        key: Option<Zeroizing<Vec<u8>>>,
        actor: &str,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<MadeEntry, EntryDeskError> {
        let record = self.entry_on_record(kind, name).await?;
        let by_tpm = matches!(record.entry.attestation, Attestation::Tpm { .. });
        let given = key.is_some() || slot == KeySlot::Secondary;
        if matches!(record.entry.attestation, Attestation::X509 { .. }) || by_tpm && given {
            return Err(EntryDeskError::NoKeys {
                name: name.to_owned(),
            });
        }
        let is_said = key.is_none() && !by_tpm;
        let key: Key = key.unwrap_or_else(|| keys::make(&record.entry.attestation, chance));
        SharedKey::new(&key)?;
        let sealed = self.seal_key(kind, name, slot, &key).await?;
        let act = EntryAct::Key { slot, sealed };
        let acted = self.ledger().entry_act(kind, name, act, actor, now).await?;
        let mut made = EntryKeys::default();
        if is_said {
            *made.slot(slot) = Some(key);
        }
        let record = done(kind, name, acted)?;
        Ok(MadeEntry { record, made })
    }

    /// The key of one device of a group, to be written into it: so the group's key never has to leave.
    pub async fn entry_derive(
        &self,
        group: &str,
        slot: KeySlot,
        registration_id: &str,
    ) -> Result<SharedKey, EntryDeskError> {
        if !is_registration_id(registration_id) {
            return Err(EntryDeskError::NotAnId {
                id: registration_id.to_owned(),
            });
        }
        let kind = EntryKind::Group;
        let record = self.entry_on_record(kind, group).await?;
        let sealed = record
            .keys
            .get(slot)
            .ok_or_else(|| EntryDeskError::NoKeys {
                name: group.to_owned(),
            })?;
        let context = keys::context(kind, group, slot);
        let key = self.signer().unseal(&context, sealed).await?;
        Ok(GroupKey::new(&key)?.derive(registration_id))
    }

    async fn entry_on_record(
        &self,
        kind: EntryKind,
        name: &str,
    ) -> Result<EntryRecord, EntryDeskError> {
        let found = self.ledger().entry_get(kind, name).await?;
        found.ok_or_else(|| unknown(kind, name))
    }
}

impl EntryKeys {
    const fn slot(&mut self, slot: KeySlot) -> &mut Option<Zeroizing<Vec<u8>>> {
        match slot {
            KeySlot::Primary => &mut self.primary,
            KeySlot::Secondary => &mut self.secondary,
        }
    }
}

fn done(
    kind: EntryKind,
    name: &str,
    acted: Acted<EntryRecord>,
) -> Result<EntryRecord, EntryDeskError> {
    match acted {
        Acted::Done(record) => Ok(record),
        Acted::Absent => Err(unknown(kind, name)),
        Acted::NotNow { state } => Err(EntryDeskError::NotNow {
            kind,
            name: name.to_owned(),
            state,
        }),
    }
}

fn done_to(state: &str) -> &'static str {
    if state == "changed" {
        "changed or deleted"
    } else {
        "made"
    }
}

fn unknown(kind: EntryKind, name: &str) -> EntryDeskError {
    EntryDeskError::NoEntry {
        kind,
        name: name.to_owned(),
    }
}

/// Why an act on an entry was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryDeskError {
    /// What is wrong with the definition.
    #[error(transparent)]
    Definition(#[from] EntryError),
    /// No such product.
    #[error("there is no product {name:?}; products come from `imprint apply`")]
    NoProduct {
        /// The name that was given.
        name: String,
    },
    /// No such entry.
    #[error("there is no {kind} entry {name:?}")]
    NoEntry {
        /// For one device, or for many.
        kind: EntryKind,
        /// The name that was given.
        name: String,
    },
    /// It is there already (`exists`), there are too many (`too many`), or it is not what it was when
    /// this was decided (`changed`).
    #[error("the {kind} entry {name:?} can't be {}: {state}", done_to(state))]
    NotNow {
        /// For one device, or for many.
        kind: EntryKind,
        /// The entry.
        name: String,
        /// Why, as a word.
        state: &'static str,
    },
    /// Its devices come with certificates, or its key is for a TPM.
    #[error(
        "entry {name:?} has no keys to be given: its devices come with certificates, or with a TPM"
    )]
    NoKeys {
        /// The entry.
        name: String,
    },
    /// Not a registration id.
    #[error("{id:?} is no registration id: 1 to 128 letters, digits, '-', '.', '_' and ':'")]
    NotAnId {
        /// What was given.
        id: String,
    },
    /// No name for a service key.
    #[error("{name:?} is no name for a service key: 1 to 64 letters, digits, '-', '_' and '.'")]
    ServiceKeyName {
        /// What was given.
        name: String,
    },
    /// No name of a server.
    #[error("{host:?} is no host: scripts reach the server by a name without a port")]
    ServiceKeyHost {
        /// What was given.
        host: String,
    },
    /// There is one already.
    #[error("there is a service key {name:?} already")]
    ServiceKeyExists {
        /// The name.
        name: String,
    },
    /// Too short or too long.
    #[error(transparent)]
    Key(#[from] SharedKeyLength),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The signer.
    #[error(transparent)]
    Signer(#[from] SignerError),
}
