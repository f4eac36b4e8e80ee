//! The doors by which a device comes in without a token: claim provisioning over MQTT, and just in
//! time.
//!
//! ```text
//! claim             ENROLL            CreateCertificateFromCsr     the claim's certificate in TLS
//!                   CREDENTIAL_STORE  ownership token, then certificate, are written down
//!                   REGISTER          RegisterThing                the claim's certificate in TLS
//!                   VERIFY            CONNECT                      the new certificate in TLS
//! just in time      ENROLL            nothing leaves: the device has its certificate
//!                   VERIFY            CONNECT, or GET /v1/verify   its certificate in TLS
//! ```
//!
//! Every step may be repeated. The same key gets the same pending certificate and the same ownership
//! token, and the same ownership token gets the same answer.

use std::sync::Arc;

use imprint_claim::{Call, Created, Format, Registered, Rejected, Reply, Request, Topic};
use imprint_device::{Action, Credential, Event, Failure, Key};
use imprint_est::client::Refusal;
use imprint_est::{RefusalNote, Retry};
use imprint_pkix::pem;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::agent::Agent;
use crate::calls::CallError;
use crate::http::{Endpoint, LinkError};
use crate::keystore::sha256;
use crate::mqtt::MqttConnection;
use crate::perform::{Trouble, is_for};
use crate::settings::{Claim, OwnCertificate};
use crate::store::Registration;
use crate::tls::{Borrowed, Shown, Spoken, config_for};
use crate::trust::Time;

impl Agent {
    /// ENROLL by claim: a pending certificate for `key`.
    pub(crate) async fn claim_certify(
        &mut self,
        action: &Action,
        key: Key,
        claim: &Claim,
    ) -> Result<Event, Trouble> {
        let csr = self.request(key, &self.first_name())?;
        let csr_pem = pem::encode(pem::CERTIFICATE_REQUEST, &csr);
        let call = call(Topic::CreateFromCsr);
        let request = Request::CreateFromCsr { csr_pem };
        match self.claim_ask(action, claim, &call, &request).await? {
            Reply::Created(created) => self.take_pending(created),
            Reply::Rejected(rejected) => self.rejected(&rejected),
            Reply::Registered(_) => {
                Err(CallError::Unreadable("another call's answer".into()).into())
            }
        }
    }

    fn take_pending(&mut self, created: Created) -> Result<Event, Trouble> {
        let chain = certificates(&created.certificate_pem)?;
        let leaf = chain.first().map(AsRef::as_ref).unwrap_or_default();
        if hex::encode(sha256(&[leaf])) != created.certificate_id {
            let error = "certificateId is not that of certificatePem";
            return Err(CallError::Unreadable(error.into()).into());
        }
        self.hand.granted = chain;
        self.hand.profile = profile_of(&created.certificate_id);
        self.hand.ownership = Some((created.certificate_id, created.ownership));
        Ok(Event::Enrolled)
    }

    /// `CREDENTIAL_STORE`: what ties `RegisterThing` to the certificate is durable before the
    /// certificate is, so that no cut leaves one without the other.
    pub(crate) fn keep_ownership(&mut self) -> Result<(), Trouble> {
        if let Some((certificate_id, ownership)) = &self.hand.ownership {
            self.store.keep_ownership(certificate_id, ownership)?;
        }
        Ok(())
    }

    /// REGISTER by claim: the template makes a thing of the device.
    pub(crate) async fn claim_register(
        &mut self,
        action: &Action,
        credential: Credential,
        claim: &Claim,
    ) -> Result<Event, Trouble> {
        let (stored, _) = self.stored(credential)?;
        let leaf = stored.chain.first().map(AsRef::as_ref).unwrap_or_default();
        let ownership = self.store.ownership(&hex::encode(sha256(&[leaf])))?;
        // Without it the certificate is worth nothing: the same key asks for both again.
        let lost = Trouble::Event(Event::CredentialMissing(credential.slot));
        let ownership = ownership.ok_or(lost)?;
        let template = claim.template.as_ref().or(self.settings.product.as_ref());
        let template = template.ok_or(Trouble::NoTemplate)?.clone();
        let mut parameters = claim.parameters.clone();
        parameters
            .entry("SerialNumber".to_owned())
            .or_insert_with(|| self.settings.hardware.text().to_string());
        let request = Request::Register {
            ownership: String::from_utf8_lossy(ownership.expose()).into_owned(),
            parameters,
        };
        let call = call(Topic::Register {
            template: &template,
        });
        match self.claim_ask(action, claim, &call, &request).await? {
            Reply::Registered(registered) => self.registered(registered),
            Reply::Rejected(rejected) if is_about_pending(&rejected) => {
                // The pending certificate has ended before it was registered; the device may have
                // been off for a day. A new one for the same key is all that it needs, and the machine
                // counts how often that happens.
                let refusal = refusal(&rejected);
                self.note(&CallError::from(refusal.clone()).failure(), &refusal);
                self.hand.hang_up();
                Ok(Event::CredentialMissing(credential.slot))
            }
            Reply::Rejected(rejected) => self.rejected(&rejected),
            Reply::Created(_) => Err(CallError::Unreadable("another call's answer".into()).into()),
        }
    }

    fn registered(&mut self, registered: Registered) -> Result<Event, Trouble> {
        let registration = Registration {
            thing: registered.thing_name,
            configuration: registered.device_configuration,
        };
        self.store.keep_registration(&registration)?;
        Ok(Event::Registered)
    }

    /// A person has to approve, or the answer is no.
    fn rejected(&mut self, rejected: &Rejected) -> Result<Event, Trouble> {
        let refusal = refusal(rejected);
        let error = CallError::from(refusal.clone());
        if rejected.code() == Some("approval-pending") {
            let failure: Failure = error.failure();
            self.note(&failure, &refusal);
            return Ok(Event::Pending(failure));
        }
        Err(error.into())
    }

    /// One question as the claim's holder.
    async fn claim_ask(
        &mut self,
        action: &Action,
        claim: &Claim,
        call: &Call<'_>,
        request: &Request,
    ) -> Result<Reply, Trouble> {
        let mut connection = if let Some(connection) = self.hand.broker.take() {
            connection
        } else {
            let shown = Borrowed::read(claim.chain_pem.as_bytes(), claim.key_pem.expose());
            let shown = Shown::Borrowed(shown.map_err(Trouble::Claim)?);
            self.connect(&claim.broker, shown).await?
        };
        let reply = connection.ask(call, request, &self.server.trips).await;
        self.answered(action)?;
        let reply = reply?;
        self.hand.broker = Some(connection);
        Ok(reply)
    }

    async fn connect(
        &mut self,
        broker: &Endpoint,
        shown: Shown,
    ) -> Result<Box<MqttConnection>, Trouble> {
        let roots = Arc::clone(&self.server.roots);
        let config = config_for(roots, self.time(), self.server.suites, shown, Spoken::Mqtt);
        let config = config.map_err(|error| CallError::Link(LinkError::Tls(error)))?;
        let name = self.first_name();
        let connection = MqttConnection::open(broker, config, self.server.timeouts, &name).await?;
        self.hand.keep_server_chain(connection.server_chain());
        Ok(Box::new(connection))
    }

    /// VERIFY over MQTT: the new certificate is shown, and the server lets the device in.
    pub(crate) async fn verify_by_mqtt(
        &mut self,
        action: &Action,
        credential: Credential,
        broker: &Endpoint,
    ) -> Result<Event, Trouble> {
        self.hand.hang_up();
        let (stored, identity) = self.stored(credential)?;
        // MQTT tells no time. After a power cut the one that was told is forgotten.
        let began = match self.time() {
            Time::Known(at) => at,
            Time::AtLeast(_) => self.learn_time().await?,
        };
        let connection = self.connect(broker, Shown::Own(identity)).await;
        self.answered(action)?;
        let connection = connection?;
        if connection.is_resumed() {
            return Err(Trouble::Resumed);
        }
        let (valid_from, valid_until) = self.relied_on(&stored.chain, connection.server_chain());
        connection.close().await;
        let at = match self.time() {
            Time::Known(at) => at,
            Time::AtLeast(_) => began,
        };
        self.tell_the_untold().await;
        Ok(Event::Verified {
            at,
            valid_from,
            valid_until,
        })
    }

    /// ENROLL just in time: the certificate is there already, and must be for the key that is.
    pub(crate) fn take_own(&mut self, key: Key, own: &OwnCertificate) -> Result<Event, Trouble> {
        // The key store and the record may differ after a loss; the machine knows what to do.
        self.key(key)?;
        let chain = certificates(&own.chain_pem)?;
        if !chain.first().is_some_and(|leaf| is_for(leaf, key)) {
            return Err(Trouble::NotForOurKey);
        }
        self.hand.granted = chain;
        self.hand.profile = b"{}".to_vec();
        Ok(Event::Enrolled)
    }
}

const fn call(topic: Topic<'_>) -> Call<'_> {
    Call {
        topic,
        format: Format::Json,
    }
}

/// What stands in the place of a connection profile, which nobody gives before `RegisterThing`.
fn profile_of(certificate_id: &str) -> Vec<u8> {
    serde_json::json!({ "certificate_id": certificate_id })
        .to_string()
        .into_bytes()
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, CallError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    chain.ok_or_else(|| CallError::Unreadable("there is no certificate in the PEM".into()))
}

/// Whether it is the pending certificate that is no good, and not the device.
fn is_about_pending(rejected: &Rejected) -> bool {
    matches!(
        rejected.code(),
        Some("ownership-invalid" | "certificate-revoked")
    )
}

/// A rejection as the refusal that HTTPS would have brought.
fn refusal(rejected: &Rejected) -> Refusal {
    let note = rejected.code().map(|code| RefusalNote {
        code: code.to_owned(),
        step: String::new(),
        retry: match rejected.retry() {
            imprint_claim::Retry::After(seconds) => Retry::After(seconds),
            imprint_claim::Retry::Never => Retry::Never,
        },
    });
    // Another server's rejection has no code of ours: then nothing is final.
    Refusal {
        status: rejected.status,
        note,
        retry_after: None,
        text: rejected.message.clone(),
    }
}
