//! VERIFY: the new certificate is used. Any request over mutual TLS is proof of receipt.

use imprint_attest::{Doubt, Evidence, KeyFingerprint, PeerCertificate, appraise};
use imprint_identity::{HardwareId, UnixTime};

use crate::enroll::{Claim, Origin, Registrar, Shown, known, token_serves, usable};
use crate::ledger::{
    CertificateRecord, CertificateState, Credential, DeviceRecord, DeviceState, Facts, FactsQuery,
    Generation, Ledger, LedgerError, RefusalSample, Report,
};
use crate::limits::Guess;
use crate::pace::DOORSTEP_MS;
use crate::permit::{certificate_is_good, device_is_good, registration_is_there};
use crate::product::Product;
use crate::refusal::{Code, Refusal, Retry};
use crate::serial::Serial;
use crate::signer::Signer;

/// A device that has shown its certificate.
#[derive(Debug, Clone)]
pub struct Member {
    /// The device.
    pub device: DeviceRecord,
    /// Its product.
    pub product: Product,
    /// The certificate that it showed.
    pub certificate: CertificateRecord,
    /// Whether this was the certificate's first use.
    pub first_use: bool,
}

/// A device that has shown a token.
#[derive(Debug, Clone)]
pub struct Holder {
    /// What it says it is, or what the token is bound to.
    pub hardware: HardwareId,
    /// The token's product.
    pub product: Product,
    /// The device, if it has a name already.
    pub device: Option<DeviceRecord>,
    /// The token's public name.
    pub token_id: String,
    /// The key that the token serves, if it serves one.
    pub key: Option<KeyFingerprint>,
}

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// Judges a client certificate, for this request and no other; the first time that a
    /// certificate is seen here, its device is PROVISIONED and its token spent.
    pub async fn member(
        &self,
        peer: &PeerCertificate,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<Member, Refusal> {
        let outcome = self.judge(peer, origin, now).await;
        if let Err(refusal) = &outcome {
            self.note(refusal, origin, now);
        }
        outcome
    }

    pub(crate) async fn judge(
        &self,
        peer: &PeerCertificate,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<Member, Refusal> {
        let credential = self.ledger().credential_facts(self.serial_of(peer)).await?;
        let facts = Facts {
            shown: credential,
            ..Facts::default()
        };
        if let Err(doubt) = appraise(
            &Evidence::Certificate(peer.clone()),
            &known(&facts, self.authorities()),
            now,
        ) {
            return Err(self.strange_peer(&doubt, &facts, peer, now).await);
        }
        let mut shown = facts.shown.ok_or(Code::CertNotInRegistry)?;
        let subject = shown.device.id.clone();
        let shown_serial = shown.certificate.serial.to_string();
        let about = |refusal: Refusal| {
            refusal
                .about(subject.as_str())
                .showing(Some(shown_serial.clone()))
        };
        if shown.device.state == DeviceState::Held {
            // It came with its certificate, and may have been approved since it was last here.
            self.held(&shown, origin, now).await?;
            let serial = shown.certificate.serial;
            let again = self.ledger().credential_facts(serial).await?;
            shown = again.ok_or(Code::CertNotInRegistry)?;
        }
        may_speak(&shown).map_err(about)?;
        let first_use = shown.certificate.state == CertificateState::Issued;
        if first_use {
            let evidence = format!("{} from {}", origin.door, origin.address);
            let serial = shown.certificate.serial;
            shown = self
                .ledger()
                .credential_verify(serial, &evidence, now)
                .await?
                .ok_or(Code::CertNotInRegistry)?;
            // Somebody may have revoked it or put its device aside between our read and our write.
            may_speak(&shown).map_err(about)?;
            tracing::info!(device = %shown.device.id, %serial, "PROVISIONED: {evidence}");
        }
        Ok(Member {
            device: shown.device,
            product: shown.product,
            certificate: shown.certificate,
            first_use,
        })
    }

    /// What was shown is no device's that is good: is there a better word for it?
    async fn strange_peer(
        &self,
        doubt: &Doubt,
        facts: &Facts,
        peer: &PeerCertificate,
        now: UnixTime,
    ) -> Refusal {
        if facts.shown.is_none()
            && let Some(refusal) = self.named_otherwise(peer, now).await
        {
            return refusal;
        }
        let serial = peer
            .parsed
            .as_ref()
            .and_then(|shown| Serial::from_octets(shown.serial()));
        let refusal = refuse_doubt(doubt).showing(serial.map(|serial| serial.to_string()));
        match &facts.shown {
            Some(shown) => refusal.about(shown.device.id.as_str()),
            None => refusal,
        }
    }

    /// Who holds a token: for what a device may ask before its first certificate has been used.
    /// Nothing is leased or spent.
    pub async fn token_holder(
        &self,
        token: &str,
        hardware: Option<&str>,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<Holder, Refusal> {
        let shown = Shown::Token {
            text: token.to_owned().into(),
            hardware: hardware.map(str::to_owned),
        };
        let outcome = self.holder(&shown, origin, now).await;
        if let Err(refusal) = &outcome {
            self.note(refusal, origin, now);
        }
        outcome
    }

    async fn holder(
        &self,
        shown: &Shown,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<Holder, Refusal> {
        let claim = self.claim(shown, origin, now).await?;
        let query = FactsQuery {
            product: None,
            token: claim.token,
            asserted: claim.hardware.clone(),
            shown: None,
            key: KeyFingerprint([0; 32]),
            generation: Generation::Operator,
        };
        let facts = self.ledger().enrollment_facts(&query, now).await?;
        let appraised = appraise(&claim.evidence, &known(&facts, self.authorities()), now)
            .map_err(|doubt| self.doubted(&doubt, &claim, origin, now))?;
        self.known_good(origin, now);
        let token = facts.token.ok_or(Code::TokenUnknown)?;
        let about = |code: Code| Refusal::new(code).about(appraised.hardware().text().as_str());
        if !token_serves(token.state) {
            return Err(about(match token.state {
                crate::ledger::TokenState::Dormant => Code::TokenDormant,
                _ => Code::TokenRevoked,
            }));
        }
        // A token that serves a device speaks for that device alone.
        if let (Some(lease), device) = (&token.lease, &facts.device)
            && device
                .as_ref()
                .is_none_or(|device| device.id != lease.device)
        {
            return Err(about(Code::TokenLeased));
        }
        let device = facts.device.filter(|_| token.lease.is_some());
        // Who was put aside is not heard by its token either.
        device_is_good(device.as_ref())?;
        Ok(Holder {
            hardware: appraised.hardware().clone(),
            product: facts.product.ok_or(Code::ProductUnknown)?,
            device,
            key: token.lease.map(|lease| lease.key),
            token_id: token.id,
        })
    }

    /// Keeps what a device says about itself. It changes no state.
    pub async fn report(&self, report: Report, now: UnixTime) -> Result<(), Refusal> {
        Ok(self.ledger().report_add(report, now).await?)
    }

    /// Keeps a sample of a refusal, bounded for each address; written down by [`Self::housekeep`].
    /// The registrar notes its own; a door notes what did not get as far as the registrar. Whom the
    /// door keeps for a moment, until its turn, has been told nothing yet.
    pub fn note(&self, refusal: &Refusal, origin: &Origin, now: UnixTime) {
        if refusal.turn.is_some_and(|turn| turn <= DOORSTEP_MS) {
            return;
        }
        tracing::info!(
            code = refusal.code.as_str(),
            step = refusal.code.step().name(),
            door = origin.door,
            address = origin.address,
            subject = refusal.subject,
            "refused: {refusal}"
        );
        let subject = refusal
            .subject
            .clone()
            .unwrap_or_else(|| origin.address.clone());
        self.lock_samples().add(RefusalSample {
            subject,
            at: now,
            code: refusal.code.as_str().to_owned(),
            step: refusal.code.step(),
            detail: refusal.detail.clone().unwrap_or_default(),
            address: origin.address.clone(),
            credential: refusal.credential.clone().unwrap_or_default(),
            count: 1,
        });
    }

    /// What waits to be done in the background: samples of refusals, the journal's chain, server-made
    /// keys past their hour. Call it every second or so; each call is bounded.
    pub async fn housekeep(&self, now: UnixTime) -> Result<(), LedgerError> {
        let samples = self.lock_samples().drain(now);
        if !samples.is_empty() {
            self.ledger().refusal_add(samples, now).await?;
        }
        for _ in 0..CHAIN_ROUNDS {
            if self.ledger().journal_chain(CHAIN_ROWS).await? < u64::from(CHAIN_ROWS) {
                break;
            }
        }
        if now.0 % 60 == 0 {
            self.ledger()
                .sealed_key_wipe(now.plus(-SEALED_KEY_SECONDS), now)
                .await?;
        }
        let expired = self
            .ledger()
            .pending_expire(now.plus(-PENDING_SECONDS), now)
            .await?;
        if expired > 0 {
            tracing::warn!(
                count = expired,
                "certificates were given to claims and no device was registered with them in an hour: revoked"
            );
        }
        Ok(())
    }

    /// Turns a doubt into a refusal; a credential that we have never heard of counts as a guess.
    pub(crate) fn doubted(
        &self,
        doubt: &Doubt,
        claim: &Claim,
        origin: &Origin,
        now: UnixTime,
    ) -> Refusal {
        if matches!(doubt, Doubt::TokenUnknown | Doubt::TokenForOther { .. }) {
            if let Some(limited) = &claim.limited {
                return limited.clone();
            }
            self.guessed(origin, claim.hardware.as_ref(), now);
        }
        let refusal = refuse_doubt(doubt);
        match &claim.hardware {
            Some(hardware) => refusal.about(hardware.text().as_str()),
            None => refusal,
        }
    }

    pub(crate) fn may_guess(
        &self,
        origin: &Origin,
        hardware: Option<&HardwareId>,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        self.lock_guesses()
            .check(&guess(origin, hardware), now)
            .map_err(|seconds| {
                let refusal = Refusal::new(Code::GuessingLimited).after(seconds);
                Refusal {
                    retry: Retry::After(seconds),
                    ..refusal
                }
            })
    }

    pub(crate) fn guessed(&self, origin: &Origin, hardware: Option<&HardwareId>, now: UnixTime) {
        self.lock_guesses().missed(&guess(origin, hardware), now);
    }

    pub(crate) fn known_good(&self, origin: &Origin, now: UnixTime) {
        self.lock_guesses().good(&origin.address, now);
    }
}

fn guess(origin: &Origin, hardware: Option<&HardwareId>) -> Guess {
    Guess {
        address: origin.address.clone(),
        id: hardware.map(|hardware| hardware.text().as_str().to_owned()),
    }
}

/// Whether a device with this certificate is heard.
fn may_speak(shown: &Credential) -> Result<(), Refusal> {
    use crate::ledger::DeviceState as S;
    let Credential {
        device,
        certificate,
        ..
    } = shown;
    // A device that has to enroll again is told what became of its certificate.
    if matches!(device.state, S::Active | S::Pending | S::Held) {
        certificate_is_good(certificate)?;
    }
    if usable(device.state) {
        return registration_is_there(shown);
    }
    let code = match device.state {
        S::Quarantined => Code::DeviceQuarantined,
        S::Decommissioned => Code::DeviceDecommissioned,
        S::Held => Code::ApprovalPending,
        S::Active | S::Pending | S::Revoked => Code::DeviceRevoked,
    };
    let refusal = Refusal::new(code);
    Err(match &device.reason {
        Some(reason) => refusal.detail(format!("{}: {reason}", device.id)),
        None => refusal,
    })
}

fn refuse_doubt(doubt: &Doubt) -> Refusal {
    let code = match doubt {
        Doubt::NothingShown => Code::CredentialMissing,
        Doubt::TokenUnknown => Code::TokenUnknown,
        Doubt::TokenForOther { .. } => Code::TokenForOther,
        Doubt::HardwareMissing => Code::HardwareMissing,
        Doubt::CertificateUnreadable => Code::CertificateUnreadable,
        Doubt::CertificateExpired { .. } => Code::CertificateExpired,
        Doubt::CertificateNotYetValid { .. } => Code::CertificateNotYetValid,
        Doubt::CertificateNotInRegistry => Code::CertNotInRegistry,
        // Whatever else the appraisal may come to doubt is a no.
        _ => Code::CertificateIssuerUnknown,
    };
    Refusal::new(code).detail(doubt.to_string())
}

/// How long a server-made key waits for its device (RFC 7030 has no word on it).
const SEALED_KEY_SECONDS: i64 = 3_600;
/// How long a pending certificate waits for its registration (AWS: an hour).
const PENDING_SECONDS: i64 = 3_600;
/// Rows chained in one transaction, and transactions in one call: 16,384 rows a second at most.
const CHAIN_ROWS: u32 = 1_024;
const CHAIN_ROUNDS: usize = 16;
