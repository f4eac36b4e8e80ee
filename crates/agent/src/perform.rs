//! What each action of the machine is on Linux. Every one is safe to repeat.

use std::sync::Arc;

use imprint_attest::SharedKeyLength;
use imprint_device::{Action, Credential, Event, Failure, Key, Place, Slot};
use imprint_est::{RequestKind, Secret, authorization};
use imprint_identity::UnixTime;
use imprint_pkix::certificate::Certificate;
use imprint_pkix::{SignatureAlgorithm, csr};
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::agent::Agent;
use crate::calls::{CallError, Enrolled, Report};
use crate::http::{Connection, Endpoint, LinkError};
use crate::keystore::{KeyAlgorithm, KeyError, PublicKey, sha256};
use crate::mqtt::MqttConnection;
use crate::observe::{Moment, Strike};
use crate::reset;
use crate::settings::Door;
use crate::store::{RefusalText, StoreError, StoredCredential};
use crate::tls::{BorrowedError, ClientIdentity};
use crate::trust::{Time, TrustError, device_chain, judge_server};

/// What the device has in hand: in memory alone, gone at a power cut.
#[derive(Debug, Default)]
pub(crate) struct Hand {
    pub(crate) line: Option<(Who, Connection)>,
    /// What the server showed in TLS last: the certificates above ours are mostly among them.
    server_chain: Vec<CertificateDer<'static>>,
    pub(crate) granted: Vec<CertificateDer<'static>>,
    pub(crate) profile: Vec<u8>,
    /// A connection as the claim's holder.
    pub(crate) broker: Option<Box<MqttConnection>>,
    /// The pending certificate's id, and what ties `RegisterThing` to it.
    pub(crate) ownership: Option<(String, String)>,
    /// Trouble on the way to the server, told once it is reached.
    pub(crate) untold: Option<Report>,
}

impl Hand {
    pub(crate) fn hang_up(&mut self) {
        self.line = None;
        self.broker = None;
    }

    pub(crate) fn keep_server_chain(&mut self, chain: &[CertificateDer<'static>]) {
        self.server_chain = chain.to_vec();
    }
}

/// As whom the device has connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Without a certificate.
    Stranger,
    /// With this one.
    Member(Credential),
}

/// The power went.
#[derive(Debug)]
pub(crate) struct PowerCut;

impl Agent {
    /// Performs `action`, and says what happened.
    pub(crate) async fn perform(&mut self, action: &Action) -> Result<Event, PowerCut> {
        let done = match action {
            Action::Bootstrap => self.bootstrap(action).await,
            Action::MakeKey { slot } => self.make_key(*slot),
            Action::Enroll { key } => match self.door.clone() {
                Door::Token => self.enroll(action, *key).await,
                // Boxed, as is whatever speaks MQTT: most devices don't.
                Door::Claim(claim) => Box::pin(self.claim_certify(action, *key, &claim)).await,
                Door::SharedKey(entry) => self.shared_key_enroll(action, *key, &entry).await,
                Door::JustInTime(own) => self.take_own(*key, &own),
            },
            Action::Renew { key, credential } => self.renew(action, *key, *credential).await,
            Action::FetchProfile => self.fetch_profile(action).await,
            Action::StoreCredential { key, slot } => self.store_credential(*key, *slot).await,
            Action::Register { credential } => match self.door.clone() {
                Door::Claim(claim) => {
                    Box::pin(self.claim_register(action, *credential, &claim)).await
                }
                // EST registers in settle, and so does an entry; this is passed through.
                Door::Token | Door::SharedKey(_) | Door::JustInTime(_) => Ok(Event::Registered),
            },
            Action::Verify { credential } => match self.broker() {
                Some(broker) => Box::pin(self.verify_by_mqtt(action, *credential, &broker)).await,
                None => self.verify(action, *credential).await,
            },
            Action::ForgetBootstrap => self
                .store
                .forget_bootstrap()
                .map(|()| Event::Forgotten)
                .map_err(Trouble::from),
            Action::Forget { key, credential } => self.forget(*key, *credential),
            Action::Wipe => self.wipe(),
            Action::Wait { .. } | Action::Rest => Ok(Event::Waited),
        };
        match done {
            Ok(event) | Err(Trouble::Event(event)) => Ok(event),
            Err(Trouble::PowerCut) => Err(PowerCut),
            Err(trouble) => {
                self.hand.hang_up();
                let failure = trouble.failure();
                self.note(&failure, &trouble);
                Ok(match trouble {
                    Trouble::NotForOurKey | Trouble::NotFromOurRoot(_) => Event::WrongCertificate,
                    Trouble::Call(error) if error.is_turn() => Event::Turn(failure),
                    _ => Event::Failed(failure),
                })
            }
        }
    }

    /// Reaches the server under the pinned root, learns the time, and judges again by that time
    /// what was believed without it.
    async fn bootstrap(&mut self, action: &Action) -> Result<Event, Trouble> {
        self.hand.hang_up();
        let at = self.learn_time().await;
        self.answered(action)?;
        let at = at?;
        Ok(Event::Reached { at })
    }

    pub(crate) async fn learn_time(&mut self) -> Result<UnixTime, Trouble> {
        let mut connection = self.line(Who::Stranger).await?;
        let at = self.server.time(&mut connection).await?;
        let (roots, name) = (&self.server.roots, &self.server.endpoint.name);
        judge_server(connection.server_chain(), roots, name, Time::Known(at))
            .map_err(|error| CallError::Link(LinkError::Trust(error)))?;
        self.was_told(at);
        self.hand.line = Some((Who::Stranger, connection));
        Ok(at)
    }

    fn make_key(&mut self, slot: Slot) -> Result<Event, Trouble> {
        let public = match &self.door {
            // The first key alone is the one that the device was born with: a renewal makes its own.
            Door::JustInTime(own) if self.record().place == Place::MakeKey => {
                self.keys.adopt(slot, own.key_pem.expose())?
            }
            _ => self.keys.make_or_get(slot)?,
        };
        Ok(Event::KeyMade(public.fingerprint()))
    }

    async fn enroll(&mut self, action: &Action, key: Key) -> Result<Event, Trouble> {
        let request = RequestKind::SimpleEnroll(self.request(key, &self.first_name())?);
        let secret = self
            .bootstrap_credential()?
            .ok_or(Trouble::NoBootstrapCredential)?;
        let mut connection = self.line(Who::Stranger).await?;
        let answer = self
            .server
            .enroll(&mut connection, request, Some(&secret))
            .await;
        self.answered(action)?;
        let answer = answer?;
        self.hand.line = Some((Who::Stranger, connection));
        Ok(self.granted(answer))
    }

    async fn renew(
        &mut self,
        action: &Action,
        key: Key,
        credential: Credential,
    ) -> Result<Event, Trouble> {
        // RFC 7030 section 4.2.2: the subject of the certificate that is renewed.
        let name = self
            .name_in(credential)?
            .unwrap_or_else(|| self.first_name());
        let request = RequestKind::SimpleReenroll(self.request(key, &name)?);
        let mut connection = self.line(Who::Member(credential)).await?;
        let answer = self.server.enroll(&mut connection, request, None).await;
        self.answered(action)?;
        let answer = answer?;
        self.hand.line = Some((Who::Member(credential), connection));
        Ok(self.granted(answer))
    }

    pub(crate) fn granted(&mut self, answer: Enrolled) -> Event {
        match answer {
            Enrolled::Granted(certificates) => {
                self.hand.granted = certificates;
                Event::Enrolled
            }
            Enrolled::Pending(after) => {
                let retry =
                    after.map_or(imprint_device::Retry::Later, imprint_device::Retry::After);
                let failure = Failure {
                    retry,
                    ..Failure::passing("approval-pending")
                };
                self.note(&failure, &"an operator has to approve this device");
                Event::Pending(failure)
            }
        }
    }

    async fn fetch_profile(&mut self, action: &Action) -> Result<Event, Trouble> {
        // What these doors have for a profile came with the certificate. A member asks as others do.
        let is_member = self.record().credential().is_some();
        if !is_member && !matches!(self.door, Door::Token) {
            return Ok(Event::ProfileFetched);
        }
        let who = self
            .hand
            .line
            .as_ref()
            .map_or(Who::Stranger, |(who, _)| *who);
        let secret = match who {
            Who::Stranger => self.bootstrap_credential()?,
            Who::Member(_) => None,
        };
        let mut connection = self.line(who).await?;
        let profile = self.server.profile(&mut connection, secret.as_ref()).await;
        self.answered(action)?;
        let profile = profile?;
        self.follow(&profile);
        self.hand.profile = profile;
        self.hand.line = Some((who, connection));
        Ok(Event::ProfileFetched)
    }

    async fn store_credential(&mut self, key: Key, slot: Slot) -> Result<Event, Trouble> {
        let ours = |der: &&CertificateDer<'static>| is_for(der, key);
        let Some(leaf) = self.hand.granted.iter().find(ours).cloned() else {
            return Err(Trouble::NotForOurKey);
        };
        let first = self.record().credential().is_none();
        if first && matches!(self.door, Door::JustInTime(_)) {
            // From an authority of its maker's, which the server knows and the device need not.
            let chain = self.hand.granted.clone();
            return self.keep(slot, &chain, true);
        }
        let by_claim = first && matches!(self.door, Door::Claim(_));
        if by_claim {
            self.keep_ownership()?;
        }
        let mut others = self.hand.granted.clone();
        others.extend(self.hand.server_chain.iter().cloned());
        let chain = match self.chain(&leaf, &others) {
            Err(TrustError::UnknownIssuer) => {
                others.extend(self.ca_certs().await?);
                self.chain(&leaf, &others)
            }
            chain => chain,
        };
        let chain = chain.map_err(Trouble::NotFromOurRoot)?;
        self.keep(slot, &chain, !by_claim)
    }

    fn keep(
        &self,
        slot: Slot,
        chain: &[CertificateDer<'_>],
        registered: bool,
    ) -> Result<Event, Trouble> {
        let profile = &self.hand.profile;
        let stored = self.store.keep_credential(slot, chain, profile)?;
        Ok(Event::Stored {
            digest: stored.digest(),
            registered,
        })
    }

    /// Where a device that comes in by MQTT verifies its first credential. A renewed one is verified
    /// where it was renewed.
    fn broker(&self) -> Option<Endpoint> {
        match (&self.record().place, &self.door) {
            (Place::Verify { .. }, Door::Claim(claim)) => Some(claim.broker.clone()),
            (Place::Verify { .. }, Door::JustInTime(own)) => own.broker.clone(),
            _ => None,
        }
    }

    /// Whether it is valid now is judged in VERIFY, by the server's time; here it must be ours.
    fn chain(
        &self,
        leaf: &CertificateDer<'static>,
        others: &[CertificateDer<'static>],
    ) -> Result<Vec<CertificateDer<'static>>, TrustError> {
        device_chain(leaf, others, &self.server.roots, Time::AtLeast(UnixTime(0)))
    }

    async fn ca_certs(&mut self) -> Result<Vec<CertificateDer<'static>>, Trouble> {
        let who = self
            .hand
            .line
            .as_ref()
            .map_or(Who::Stranger, |(who, _)| *who);
        let mut connection = self.line(who).await?;
        let found = self.server.ca_certs(&mut connection).await?;
        self.hand.line = Some((who, connection));
        Ok(found)
    }

    /// First use of a credential, by what the stores hold and not by memory, in a handshake that
    /// nothing is resumed in.
    async fn verify(&mut self, action: &Action, credential: Credential) -> Result<Event, Trouble> {
        self.hand.hang_up();
        let who = Who::Member(credential);
        let mut connection = self.line(who).await?;
        if connection.is_resumed() {
            return Err(Trouble::Resumed);
        }
        let at = self.server.verify(&mut connection).await;
        self.answered(action)?;
        let at = at?;
        let own = self.stored(credential)?.0.chain;
        let (valid_from, valid_until) = self.relied_on(&own, connection.server_chain());
        self.hand.line = Some((who, connection));
        self.was_told(at);
        self.tell_the_untold().await;
        Ok(Event::Verified {
            at,
            valid_from,
            valid_until,
        })
    }

    /// The latest beginning and the earliest end of what VERIFY has relied on.
    ///
    /// A certificate that the device was born with may have ended on a shelf. Whether it is heard for
    /// some time longer is its product's grace, which is the server's to know, and the server has just
    /// heard it; the device's own successor is due at once.
    pub(crate) fn relied_on(
        &self,
        own: &[CertificateDer<'_>],
        servers: &[CertificateDer<'_>],
    ) -> (UnixTime, UnixTime) {
        let (from, until) = validity(servers);
        let (own_from, own_until) = validity(own);
        let first = matches!(self.record().place, Place::Verify { .. });
        let born_with = first && matches!(self.door, Door::JustInTime(_));
        let until = if born_with {
            until
        } else {
            until.min(own_until)
        };
        (from.max(own_from), until)
    }

    fn forget(&mut self, key: Option<Slot>, credential: Slot) -> Result<Event, Trouble> {
        self.hand.hang_up();
        self.store.forget_credential(credential)?;
        if let Some(slot) = key {
            self.keys.discard(slot)?;
        }
        Ok(Event::Forgotten)
    }

    fn wipe(&mut self) -> Result<Event, Trouble> {
        self.hand = Hand::default();
        reset::wipe(&self.store, &*self.keys)?;
        self.follow(b"{}");
        Ok(Event::Wiped)
    }

    /// The server has answered, in whatever way: fate may take the reply.
    pub(crate) fn answered(&mut self, action: &Action) -> Result<(), Trouble> {
        match self.strike(Moment::Answered(action)) {
            Strike::None => Ok(()),
            Strike::PowerCut => Err(Trouble::PowerCut),
            Strike::ReplyLost => Err(CallError::Link(LinkError::Injected).into()),
        }
    }

    /// The open connection as `who`, or a fresh one. The caller gives it back when it is sound.
    pub(crate) async fn line(&mut self, who: Who) -> Result<Connection, Trouble> {
        match self.hand.line.take() {
            Some((known, connection)) if known == who && !connection.is_closed() => {
                return Ok(connection);
            }
            _ => {}
        }
        let identity = match who {
            Who::Stranger => None,
            Who::Member(credential) => Some(self.stored(credential)?.1),
        };
        let connection = self.server.open(self.time(), identity).await;
        let connection = connection.map_err(CallError::Link)?;
        self.hand.server_chain = connection.server_chain().to_vec();
        Ok(connection)
    }

    /// What the stores hold of `credential`, if it is what the journal knows.
    pub(crate) fn stored(
        &self,
        credential: Credential,
    ) -> Result<(StoredCredential, ClientIdentity), Trouble> {
        let stored = self.store.credential(credential.slot)?;
        let stored = stored.filter(|stored| stored.digest() == credential.digest);
        let stored = stored.ok_or(Trouble::Event(Event::CredentialMissing(credential.slot)))?;
        let slot = credential.key.slot;
        let identity = ClientIdentity {
            chain: stored.chain.clone(),
            public: self.key(credential.key)?,
            keys: Arc::clone(&self.keys),
            slot,
        };
        Ok((stored, identity))
    }

    /// The key that the journal knows, and no other.
    pub(crate) fn key(&self, key: Key) -> Result<PublicKey, Trouble> {
        let public = self.keys.get(key.slot)?;
        let public = public.filter(|public| public.fingerprint() == key.fingerprint);
        public.ok_or(Trouble::Event(Event::KeyMissing(key.slot)))
    }

    /// A certification request for `key` (PKCS#10, DER).
    pub(crate) fn request(&self, key: Key, common_name: &str) -> Result<Vec<u8>, Trouble> {
        let public = self.key(key)?;
        let info = csr::request_info_der(common_name, &public.spki, None);
        let signature = self.keys.sign(key.slot, &info)?;
        let algorithm = match public.algorithm {
            KeyAlgorithm::P256 => SignatureAlgorithm::EcdsaSha256,
            KeyAlgorithm::P384 => SignatureAlgorithm::EcdsaSha384,
            KeyAlgorithm::Ed25519 => SignatureAlgorithm::Ed25519,
        };
        Ok(csr::assemble(&info, algorithm, &signature))
    }

    /// The subject of a first request. The registrar ignores it, people don't: it is the hardware,
    /// as far as a common name has room (64 characters).
    pub(crate) fn first_name(&self) -> String {
        self.settings
            .hardware
            .name_part()
            .chars()
            .take(64)
            .collect()
    }

    fn name_in(&self, credential: Credential) -> Result<Option<String>, Trouble> {
        let (stored, _) = self.stored(credential)?;
        let leaf = stored
            .chain
            .first()
            .and_then(|der| Certificate::parse(der).ok());
        Ok(leaf.and_then(|leaf| leaf.common_name()))
    }

    /// The token, as `Authorization`.
    pub(crate) fn bootstrap_credential(&self) -> Result<Option<Secret>, Trouble> {
        let token = self.store.token()?;
        let user = self.settings.hardware.text();
        Ok(token.map(|token| authorization(&user, &String::from_utf8_lossy(token.expose()))))
    }

    /// Keeps a failure in words, beside the code that the journal keeps.
    pub(crate) fn note(&mut self, failure: &Failure, text: &dyn std::fmt::Display) {
        let at = match self.time() {
            Time::Known(at) => Some(at.0),
            Time::AtLeast(_) => None,
        };
        let refusal = RefusalText {
            code: failure.code.to_string(),
            step: self.record().step().to_string(),
            text: text.to_string(),
            at,
        };
        // The words are a comfort: when the disk has no room for them, the journal has the code.
        let _ = self.store.keep_refusal(&refusal);
        let record = self.record().clone();
        self.observer.trouble(&record, &refusal);
    }
}

impl From<reset::WipeError> for Trouble {
    fn from(error: reset::WipeError) -> Self {
        match error {
            reset::WipeError::Store(error) => error.into(),
            reset::WipeError::Key(error) => error.into(),
        }
    }
}

/// Whether a certificate is for this key.
pub(crate) fn is_for(der: &CertificateDer<'_>, key: Key) -> bool {
    EndEntityCert::try_from(der).is_ok_and(|certificate| {
        sha256(&[&certificate.subject_public_key_info()]) == key.fingerprint.0
    })
}

/// The latest beginning and the earliest end of these certificates' validity.
fn validity(certificates: &[CertificateDer<'_>]) -> (UnixTime, UnixTime) {
    let parsed = certificates
        .iter()
        .filter_map(|der| Certificate::parse(der).ok());
    parsed.fold(
        (UnixTime(i64::MIN), UnixTime(i64::MAX)),
        |(from, until), certificate| {
            (
                from.max(certificate.not_before()),
                until.min(certificate.not_after()),
            )
        },
    )
}

/// Why an action did not do what it is for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// Something that the machine has its own word for.
    #[error("{0:?}")]
    Event(Event),
    #[error("the power was cut")]
    PowerCut,
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(
        "there is no bootstrap credential in the state directory; give a token, a claim or a shared key"
    )]
    NoBootstrapCredential,
    #[error("the claim can't be used: {0}")]
    Claim(BorrowedError),
    #[error("the shared key can't be used: {0}")]
    SharedKey(SharedKeyLength),
    #[error("neither a template nor a product is named, and RegisterThing needs one")]
    NoTemplate,
    #[error("the server resumed an older session, which proves nothing")]
    Resumed,
    #[error("the certificate that came back is not for this device's key")]
    NotForOurKey,
    #[error("the certificate that came back is not from the pinned root: {0}")]
    NotFromOurRoot(TrustError),
}

impl Trouble {
    fn failure(&self) -> Failure {
        match self {
            Self::Call(error) => error.failure(),
            Self::Store(_) => Failure::passing("storage-failed"),
            Self::Key(_) => Failure::passing("key-store-failed"),
            Self::NoBootstrapCredential => Failure::lasting("bootstrap-credential-missing"),
            Self::Claim(_) => Failure::lasting("claim-unusable"),
            Self::SharedKey(_) => Failure::lasting("shared-key-unusable"),
            Self::NoTemplate => Failure::lasting("template-missing"),
            Self::Resumed => Failure::passing("handshake-resumed"),
            Self::NotForOurKey | Self::NotFromOurRoot(_) => Failure::lasting("wrong-certificate"),
            Self::Event(_) | Self::PowerCut => Failure::passing("unknown"),
        }
    }
}
