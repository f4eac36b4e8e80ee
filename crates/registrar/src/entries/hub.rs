//! At the hub: a device comes with the shared key by which it was registered. That is VERIFY.

use imprint_identity::{HardwareId, Step, UnixTime};

use super::permit::is_enabled;
use super::proof::SharedKeySignature;
use crate::enroll::{Origin, Registrar};
use crate::ledger::{DeviceRecord, DeviceState, Ledger, SharedKeyFacts};
use crate::permit::device_is_good;
use crate::product::Product;
use crate::refusal::{Code, Refusal};
use crate::signer::Signer;

/// A device that has shown its shared key at the hub.
#[derive(Debug, Clone)]
pub struct HubMember {
    /// The device.
    pub device: DeviceRecord,
    /// Its product.
    pub product: Product,
    /// Whether this was the first time.
    pub first_use: bool,
}

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// Judges a device that comes to the hub with a signature by its shared key, for this connection and
    /// no other; the first time it is PROVISIONED. `host`: the hub by the name that the device uses.
    pub async fn shared_key_member(
        &self,
        device: &str,
        host: &str,
        signature: &SharedKeySignature,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<HubMember, Refusal> {
        let outcome = self.at_hub(device, host, signature, origin, now).await;
        let outcome = outcome.map_err(|refusal| match &refusal.subject {
            Some(_) => refusal,
            None => refusal.about(device),
        });
        if let Err(refusal) = &outcome {
            self.note(refusal, origin, now);
        }
        outcome
    }

    async fn at_hub(
        &self,
        name: &str,
        host: &str,
        signature: &SharedKeySignature,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<HubMember, Refusal> {
        // The right key always passes: a stranger's guesses lock nobody out.
        let guessed = HardwareId::parse(name).ok();
        let limited = self.may_guess(origin, guessed.as_ref(), now).err();
        let outcome = self.judge_key(name, host, signature, origin, now).await;
        match &outcome {
            Ok(_) => self.known_good(origin, now),
            Err(refusal) if is_guess(refusal) => {
                if let Some(limited) = limited {
                    return Err(limited);
                }
                self.guessed(origin, guessed.as_ref(), now);
            }
            Err(_) => {}
        }
        outcome
    }

    async fn judge_key(
        &self,
        name: &str,
        host: &str,
        signature: &SharedKeySignature,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<HubMember, Refusal> {
        // 1. Recall: what do we know of this device?
        let facts = self.ledger().shared_key_facts(name).await?;
        let facts = facts.ok_or_else(|| {
            let detail = format!("{name:?} is no device that was registered with a shared key");
            Refusal::new(Code::EntryUnknown).detail(detail)
        })?;
        // 2. Appraise: has its key signed for this hub?
        if !facts.registration.hub.eq_ignore_ascii_case(host) {
            let detail = format!(
                "its hub is {}, and it asked for {host:?}",
                facts.registration.hub
            );
            return Err(Refusal::new(Code::EntryProofWrong).detail(detail));
        }
        let presented = &facts.registration.presented;
        self.has_signed(&facts.entry, presented, signature, now)
            .await?;
        // 3. Permit. Only who has the key is told what its own entry says.
        if let Some(own) = &facts.own {
            is_enabled(own)?;
            let detail = format!("{} has an entry of its own now", facts.registration.id);
            return Err(Refusal::new(Code::RegistrationEnded).detail(detail));
        }
        may_speak(&facts)?;
        if facts.registration.verified_at.is_some() && facts.device.step == Step::Provisioned {
            return Ok(member(facts, false));
        }
        // 4. It has come: VERIFY.
        let evidence = format!("{} from {}", origin.door, origin.address);
        let id = facts.device.id.clone();
        let judged = facts.judged();
        let after = self
            .ledger()
            .shared_key_verify(&id, judged, &evidence, now)
            .await?;
        let after = after.ok_or(Code::EntryUnknown)?;
        // Somebody may have put it aside between our read and our write, or replaced its key.
        may_speak(&after)?;
        if after.registration.verified_at.is_none() || after.device.step != Step::Provisioned {
            return Err(Code::Busy.into());
        }
        tracing::info!(device = %id, "PROVISIONED: {evidence}");
        Ok(member(after, true))
    }
}

fn member(facts: SharedKeyFacts, first_use: bool) -> HubMember {
    HubMember {
        device: facts.device,
        product: facts.product,
        first_use,
    }
}

/// Whether a device with this key is heard.
fn may_speak(facts: &SharedKeyFacts) -> Result<(), Refusal> {
    device_is_good(Some(&facts.device))?;
    is_enabled(&facts.entry)?;
    match facts.device.state {
        DeviceState::Held => Err(Code::ApprovalPending.into()),
        DeviceState::Active if facts.registration.live => Ok(()),
        _ => Err(Code::RegistrationEnded.into()),
    }
}

/// Whether a refusal may be the answer to a guess.
pub(super) const fn is_guess(refusal: &Refusal) -> bool {
    matches!(
        refusal.code,
        Code::EntryUnknown | Code::EntryProofWrong | Code::TpmOther
    )
}
