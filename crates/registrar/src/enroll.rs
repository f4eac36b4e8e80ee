//! The one road into the fleet. RFC 7030 section 4.2 calls it simple enrollment; every door leads
//! here.

use std::sync::{Mutex, PoisonError};

use imprint_attest::{
    Doubt, Evidence, KeyFingerprint, Known, KnownCertificate, KnownToken, PeerCertificate,
    PossessionError, Speaker, Token, appraise, prove_possession,
};
use imprint_identity::{DeviceId, HardwareId, IdentityStrength, UnixTime};
use imprint_pkix::csr::{Csr, CsrError};
use zeroize::Zeroizing;

use crate::authority::Authorities;
use crate::door::Door;
use crate::issue::{self, Subject};
use crate::ledger::{
    CertificateOrigin, CertificateRecord, CertificateState, Facts, FactsQuery, Generation, Grant,
    Intention, Ledger, LedgerError, RequestOrigin, Settlement, TokenAlarm, TokenHash, TokenState,
    Waited,
};
use crate::limits::{Guesses, Renewals, Samples};
use crate::pace::{Pace, Rate};
use crate::permit::{Ask, Standing, permit};
use crate::product::{ChannelBinding, Product};
use crate::refusal::{Code, Refusal};
use crate::serial::{EnrollmentId, Serial};
use crate::signer::{Signer, SignerError};

/// Fills a buffer with cryptographic randomness. An argument, so that a test can replay it.
pub type Chance<'a> = &'a (dyn Fn(&mut [u8]) + Send + Sync);

/// Where a request came in.
pub type Origin = RequestOrigin;

/// The road, with what it stands on.
pub struct Registrar<L, S> {
    ledger: L,
    signer: S,
    authorities: Authorities,
    pub(crate) guesses: Mutex<Guesses>,
    pub(crate) samples: Mutex<Samples>,
    renewals: Mutex<Renewals>,
    pub(crate) pace: Mutex<Pace>,
    whole: Option<Rate>,
    knocks: Mutex<Renewals>,
}

/// What a door makes of the bytes that arrived.
#[derive(Clone)]
pub struct EnrollmentRequest {
    /// What is asked.
    pub kind: Kind,
    /// The product that the path names, if it names one.
    pub product: Option<String>,
    /// What the device shows.
    pub shown: Shown,
    /// The certification request, PKCS#10 DER.
    pub csr: Vec<u8>,
    /// The connection, for channel binding.
    pub channel: Channel,
    /// Where it came in.
    pub origin: Origin,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A certificate. The subject in the request is not looked at.
    Enroll,
    /// Another certificate; the request names the same subject (RFC 7030 section 4.2.2).
    Reenroll,
    /// A certificate and a key that the server makes; the request's own key says who asks again.
    ServerKey,
}

/// What the device shows to say who it is.
#[derive(Clone)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// A token as text, and the hardware id that the device typed, if it typed one.
    Token {
        /// As typed or scanned.
        text: Zeroizing<String>,
        /// As typed.
        hardware: Option<String>,
    },
    /// A certificate whose key TLS has seen at work.
    Certificate(PeerCertificate),
    /// An operator speaks for a device.
    Operator {
        /// The device's hardware.
        hardware: HardwareId,
    },
    /// Something that was proven on the way here.
    Vouched(Vouched),
}

/// A device that has proven who it is before it came to the road: by its entry, or by its TPM. Only those
/// parts of the registrar make one.
#[derive(Debug, Clone)]
pub struct Vouched {
    pub(crate) hardware: HardwareId,
    /// How strongly that is proven.
    pub(crate) strength: IdentityStrength,
    /// The name that it gets, where that is said; else by its product's rule.
    pub(crate) name: Option<DeviceId>,
    /// Whether what it has shown speaks of this very device, so that it may replace what that had before.
    pub(crate) bound: bool,
    /// Whether what it has shown serves one key of the device's own, as a token does. A TPM is the device,
    /// and serves any.
    pub(crate) one_key: bool,
    /// Whether it has served a key already.
    pub(crate) served: bool,
    pub(crate) generation: Generation,
    pub(crate) door: Door,
}

/// The connection that a request came on, for channel binding (RFC 7030 section 3.5).
#[derive(Clone, Copy)]
pub enum Channel {
    /// tls-unique can't be had.
    Tls12,
    /// The exporter of RFC 9266.
    Tls13 {
        /// `EXPORTER-Channel-Binding`, no context, 32 bytes.
        exporter: [u8; 32],
    },
    /// The admin interface: the request came by hand.
    Operator,
}

/// The answer: a certificate that is on record.
#[derive(Clone)]
pub struct Enrolled {
    /// Whose.
    pub device: DeviceId,
    /// In which product.
    pub product: Product,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// Whether this had been answered before.
    pub again: bool,
    /// The server-made private key, PKCS#8 DER, where one was asked for.
    pub private_key: Option<Zeroizing<Vec<u8>>>,
    /// The way through the road, for the log.
    pub enrollment: EnrollmentId,
}

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// A road on this ledger and this signer.
    pub fn new(ledger: L, signer: S, authorities: Authorities) -> Self {
        Self {
            ledger,
            signer,
            authorities,
            guesses: Mutex::new(Guesses::default()),
            samples: Mutex::new(Samples::default()),
            renewals: Mutex::new(Renewals::default()),
            pace: Mutex::new(Pace::default()),
            whole: None,
            knocks: Mutex::new(Renewals::default()),
        }
    }

    /// Lets in at most so many newcomers a second, over all products.
    #[must_use]
    pub const fn at_pace(mut self, whole: Option<Rate>) -> Self {
        self.whole = whole;
        self
    }

    /// Issues one device its certificate, once.
    ///
    /// The same device asking again with the same key and credential gets the same certificate, so a
    /// reply lost on the way costs one more round trip and nothing else.
    pub async fn enroll(
        &self,
        request: EnrollmentRequest,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<Enrolled, Refusal> {
        let outcome = self.walk(&request, chance, now).await;
        if let Err(refusal) = &outcome {
            self.note(refusal, &request.origin, now);
        }
        outcome
    }

    /// The road itself. Read it downwards.
    pub(crate) async fn walk(
        &self,
        request: &EnrollmentRequest,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<Enrolled, Refusal> {
        let csr = Csr::parse(&request.csr).map_err(refuse_csr)?;
        let key = KeyFingerprint::of(csr.public_key().spki_der());
        let claim = self.claim(&request.shown, &request.origin, now).await?;
        let query = FactsQuery {
            product: request.product.clone(),
            token: claim.token,
            asserted: claim.hardware.clone(),
            shown: claim.serial,
            key,
            generation: claim.generation,
        };
        let enrollment = EnrollmentId(random(chance));
        let mut device_key = None;
        let mut in_turn = false;

        // A conditional write that finds other facts than we decided on sends us back to read.
        for _ in 0..ATTEMPTS {
            // 1. Recall: what do we know of this credential, this device, this key?
            let facts = self.ledger.enrollment_facts(&query, now).await?;

            // 2. Appraise: who is asking? Evidence becomes proof here or nowhere.
            let known = known(&facts, &self.authorities);
            let appraised = match appraise(&claim.evidence, &known, now) {
                Ok(appraised) => appraised,
                Err(doubt) => return Err(self.strange(&doubt, &facts, &claim, request, now).await),
            };
            let proven = prove_possession(&csr).map_err(|error| refuse_possession(&error))?;
            if matches!(appraised.speaker(), Speaker::Member(_)) {
                // Whatever a certificate is used for, its first use is the proof of receipt.
                if self.first_use(&facts, &request.origin, now).await? {
                    continue;
                }
            } else {
                self.known_good(&request.origin, now);
            }

            // 3. Permit: may they join, or have they joined already? A pure answer.
            let ask = Ask {
                kind: request.kind,
                csr: &csr,
                key: &proven,
                product: request.product.as_deref(),
                generation: claim.generation,
                bound: binding(&csr, request.channel),
                door: match &request.shown {
                    Shown::Vouched(vouched) => Some(vouched.door),
                    _ => Door::from_word(request.origin.door),
                },
                vouched: match &request.shown {
                    Shown::Vouched(vouched) => Some(vouched),
                    _ => None,
                },
            };
            let standing = permit(&appraised, &ask, &facts, &self.authorities, now);
            let (device, product, standing) = match standing {
                Ok(permitted) => permitted,
                Err(refusal) => {
                    let refusal = refusal.showing(shown_in(&facts));
                    return Err(self.alarmed(refusal, &facts, &query, request, now).await);
                }
            };
            let answer = |record, again| Answer {
                record,
                product: product.clone(),
                again,
                enrollment,
            };
            let intended = match standing {
                Standing::Settled(record) => {
                    return self.hand_over(answer(record, true), request.kind).await;
                }
                Standing::Intended(record) => record,
                Standing::Waiting => {
                    // Who goes on the list is a newcomer too; who is on it asks for what is on record.
                    let is_listed = facts.token.as_ref().is_some_and(|one| one.lease.is_some());
                    if !is_listed && !in_turn {
                        self.may_enter(&device, &product, &claim.generation, &request.origin)?;
                        in_turn = true;
                    }
                    let wait =
                        issue::wait(enrollment, &device, &appraised, &facts, &ask, request, now);
                    match self.ledger.enrollment_wait(wait, now).await? {
                        Waited::Changed => continue,
                        outcome => return Err(outcome.refusal().about(device.as_str())),
                    }
                }
                // 4. Intend: write down what will be signed, and lease the token to this key.
                Standing::New { replaces } => {
                    if matches!(appraised.speaker(), Speaker::Member(_)) {
                        self.may_renew(&device, now)?;
                    } else if !in_turn {
                        self.may_enter(&device, &product, &claim.generation, &request.origin)?;
                        in_turn = true;
                    }
                    let serial = Serial::new(self.ledger.epoch(), now, random(chance));
                    let subject = match request.kind {
                        Kind::Enroll | Kind::Reenroll => Subject::own(&proven),
                        Kind::ServerKey => {
                            Subject::made(&self.signer, &mut device_key, &serial).await?
                        }
                    };
                    let grant: Grant = issue::grant(
                        enrollment,
                        serial,
                        &device,
                        &appraised,
                        &facts,
                        &ask,
                        &product,
                        subject,
                        replaces,
                        &self.authorities,
                        request,
                        now,
                    )?;
                    match self.ledger.enrollment_intend(grant, now).await? {
                        Intention::Intended(record) => record,
                        Intention::Settled(record) => {
                            return self.hand_over(answer(record, true), request.kind).await;
                        }
                        Intention::Changed if facts.device.is_none() => {
                            self.name_is_free(&device, appraised.hardware()).await?;
                            continue;
                        }
                        Intention::Changed => continue,
                    }
                }
            };
            // 5. Sign exactly what is on record.
            let certificate = self.sign(&intended).await?;
            // 6. Settle: keep the certificate and register the device in one transaction. Two askers
            //    may both have signed: the ledger keeps the first, and both get that.
            return match self
                .ledger
                .enrollment_settle(intended.serial, certificate, now)
                .await?
            {
                Settlement::Settled(record) => {
                    self.hand_over(answer(record, false), request.kind).await
                }
                Settlement::Void => Err(Refusal::new(Code::EnrollmentVoid).about(device.as_str())),
            };
        }
        Err(Code::Busy.into())
    }

    /// The ledger under the road.
    pub const fn ledger(&self) -> &L {
        &self.ledger
    }

    /// The keys under the road.
    pub const fn signer(&self) -> &S {
        &self.signer
    }

    /// The authorities whose certificates the road issues.
    pub const fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// Turns what was shown into evidence and the names under which the ledger knows it.
    pub(crate) async fn claim(
        &self,
        shown: &Shown,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<Claim, Refusal> {
        match shown {
            Shown::Nothing => Err(Code::CredentialMissing.into()),
            Shown::Token { text, hardware } => {
                // An empty user means the id to which the token is bound.
                let typed = hardware.as_deref().filter(|typed| !typed.is_empty());
                // Whoever swaps the two would have the token written down as a name.
                if typed.is_some_and(|typed| Token::parse(typed).is_ok()) {
                    return Err(Refusal::new(Code::HardwareInvalid)
                        .detail("a token stands where the hardware id belongs"));
                }
                let asserted = typed.map(HardwareId::parse).transpose().map_err(|error| {
                    Refusal::new(Code::HardwareInvalid).detail(error.to_string())
                })?;
                // The right token always passes: a stranger's guesses lock nobody out.
                let limited = self.may_guess(origin, asserted.as_ref(), now).err();
                let token = Token::parse(text).map_err(|error| {
                    if let Some(limited) = &limited {
                        return limited.clone();
                    }
                    self.guessed(origin, asserted.as_ref(), now);
                    let refusal = Refusal::new(Code::TokenMistyped).detail(error.to_string());
                    match &asserted {
                        Some(hardware) => refusal.about(hardware.text().as_str()),
                        None => refusal,
                    }
                })?;
                let hash = TokenHash(self.signer.token_mac(token.secret()).await?);
                Ok(Claim {
                    evidence: Evidence::Token {
                        asserted: asserted.clone(),
                    },
                    token: Some(hash),
                    hardware: asserted,
                    serial: None,
                    generation: Generation::Token(hash),
                    limited,
                })
            }
            Shown::Certificate(peer) => {
                let serial = self.serial_of(peer);
                Ok(Claim {
                    evidence: Evidence::Certificate(peer.clone()),
                    token: None,
                    hardware: None,
                    serial: Some(serial),
                    generation: Generation::Renewal(serial),
                    limited: None,
                })
            }
            Shown::Vouched(vouched) => Ok(Claim {
                evidence: Evidence::Vouched {
                    hardware: vouched.hardware.clone(),
                    strength: vouched.strength,
                },
                token: None,
                hardware: Some(vouched.hardware.clone()),
                serial: None,
                generation: vouched.generation,
                limited: None,
            }),
            Shown::Operator { hardware } => Ok(Claim {
                evidence: Evidence::Operator {
                    hardware: hardware.clone(),
                },
                token: None,
                hardware: Some(hardware.clone()),
                serial: None,
                generation: Generation::Operator,
                limited: None,
            }),
        }
    }

    /// What was shown is in doubt. A certificate that is no device's may be a claim's, or wait for its
    /// device: that is the better word.
    async fn strange(
        &self,
        doubt: &Doubt,
        facts: &Facts,
        claim: &Claim,
        request: &EnrollmentRequest,
        now: UnixTime,
    ) -> Refusal {
        if let (Shown::Certificate(peer), None) = (&request.shown, &facts.shown)
            && let Some(refusal) = self.named_otherwise(peer, now).await
        {
            return refusal;
        }
        self.doubted(doubt, claim, &request.origin, now)
    }

    /// When the certificate that was shown has never been used, this is its first use. Answers
    /// whether anything changed, so that the facts must be read again.
    async fn first_use(
        &self,
        facts: &Facts,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<bool, Refusal> {
        let Some(shown) = &facts.shown else {
            return Ok(false);
        };
        if shown.certificate.state != CertificateState::Issued
            || !usable(shown.device.state)
            || shown.registration_over
        {
            return Ok(false);
        }
        let evidence = format!("{} from {}", origin.door, origin.address);
        self.ledger
            .credential_verify(shown.certificate.serial, &evidence, now)
            .await?;
        Ok(true)
    }

    /// Signs the recorded bytes and puts the certificate together.
    async fn sign(&self, intended: &CertificateRecord) -> Result<Vec<u8>, Refusal> {
        self.sign_recorded(&intended.issuer, &intended.to_be_signed)
            .await
    }

    pub(crate) async fn sign_recorded(
        &self,
        issuer: &str,
        to_be_signed: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let issuer = self
            .authorities
            .issuers()
            .iter()
            .find(|known| known.name == issuer)
            .ok_or_else(|| {
                Refusal::new(Code::SignerUnavailable)
                    .detail(format!("no authority {issuer:?} is loaded"))
            })?;
        let signature = self.signer.sign(&issuer.key, to_be_signed).await?;
        Ok(imprint_pkix::certificate::assemble(
            to_be_signed,
            issuer.algorithm,
            &signature,
        ))
    }

    /// Gives out what is on record, and nothing else.
    async fn hand_over(&self, answer: Answer, kind: Kind) -> Result<Enrolled, Refusal> {
        let Answer {
            record,
            product,
            again,
            enrollment,
        } = answer;
        let about = |refusal: Refusal| refusal.about(record.device.as_str());
        let der = record.der.as_ref().ok_or_else(|| {
            Refusal::new(Code::LedgerUnavailable).detail("a settled certificate has no bytes")
        })?;
        let made_here = record.subject_key != record.request_key;
        let private_key = match (kind, &record.sealed_key) {
            (Kind::ServerKey, Some(sealed)) => {
                Some(self.signer.unseal(&record.serial.0, sealed).await?)
            }
            (Kind::ServerKey, None) => return Err(about(Code::ServerKeyGone.into())),
            // A certificate on a key that this asker does not hold would be of no use to it.
            (Kind::Enroll | Kind::Reenroll, _) if made_here => {
                return Err(about(Refusal::new(Code::KeyInUse).detail(
                    "this request key has been answered with a server-made key before",
                )));
            }
            (Kind::Enroll | Kind::Reenroll, _) => None,
        };
        Ok(Enrolled {
            device: record.device.clone(),
            product,
            certificate: der.clone(),
            again,
            private_key,
            enrollment,
        })
    }

    /// One device that renews in a circle fills nobody's disk and nobody's revocation list.
    pub(crate) fn may_renew(&self, device: &DeviceId, now: UnixTime) -> Result<(), Refusal> {
        let mut renewals = self.renewals.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = renewals.check(device.as_str(), now);
        counted.map(drop).map_err(|seconds| {
            Refusal::new(Code::Busy)
                .about(device.as_str())
                .detail(format!("{device} has renewed too often within the hour"))
                .after(seconds)
        })
    }

    /// Newcomers come in at the fleet's pace. A person at the admin interface does not queue.
    fn may_enter(
        &self,
        device: &DeviceId,
        product: &Product,
        generation: &Generation,
        origin: &Origin,
    ) -> Result<(), Refusal> {
        let who = match generation {
            Generation::Token(TokenHash(who)) => *who,
            Generation::Entry | Generation::Attested => {
                KeyFingerprint::of(device.as_str().as_bytes()).0
            }
            _ => return Ok(()),
        };
        self.pace(product, &who, origin)
            .map_err(|refusal| refusal.about(device.as_str()))
    }

    /// Whether it is the turn of `who`, in its product and in the whole fleet; where nothing limits,
    /// nothing is counted.
    pub(crate) fn pace(
        &self,
        product: &Product,
        who: &[u8; 32],
        origin: &Origin,
    ) -> Result<(), Refusal> {
        self.lanes(&product.name, WHOLE_FLEET, product, who, origin)
    }

    /// The same for a certificate that will wait for its device, in lanes of their own: its signature
    /// costs what any signature costs, and who has one must not stand in line behind all who have none.
    pub(crate) fn pace_pending(
        &self,
        product: &Product,
        who: &[u8; 32],
        origin: &Origin,
    ) -> Result<(), Refusal> {
        let own = format!("{}{PENDING}", product.name);
        self.lanes(&own, PENDING, product, who, origin)
    }

    fn lanes(
        &self,
        own: &str,
        whole: &str,
        product: &Product,
        who: &[u8; 32],
        origin: &Origin,
    ) -> Result<(), Refusal> {
        let own = product.limits.rate().map(|rate| (own, rate));
        let whole = self.whole.map(|rate| (whole, rate));
        let lanes: Vec<_> = own.into_iter().chain(whole).collect();
        if lanes.is_empty() {
            return Ok(());
        }
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.ask(&lanes, who, origin.at).map_err(Refusal::turn)
    }

    /// Whether an operator is to be told that a device which is held is here: once a minute.
    pub(crate) fn knocks(&self, device: &DeviceId, now: UnixTime) -> bool {
        let mut knocks = self.knocks.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = format!("{device} {}", now.0.div_euclid(60));
        knocks.check(&minute, now).is_ok_and(|count| count == 1)
    }

    /// A device that would be new gets a name; this says so when the name is another's.
    pub(crate) async fn name_is_free(
        &self,
        name: &DeviceId,
        hardware: &HardwareId,
    ) -> Result<(), Refusal> {
        let owner = self.ledger.device_get(name.as_str()).await?;
        match owner {
            Some(file) if file.device.hardware != *hardware => Err(Refusal::new(Code::NameTaken)
                .about(hardware.text().as_str())
                .detail(format!(
                    "{name} is the name of {}, so {hardware} can't have it",
                    file.device.hardware
                ))),
            _ => Ok(()),
        }
    }

    /// A second key at a leased or spent token is an alarm, not only a refusal.
    async fn alarmed(
        &self,
        refusal: Refusal,
        facts: &Facts,
        query: &FactsQuery,
        request: &EnrollmentRequest,
        now: UnixTime,
    ) -> Refusal {
        if let (Code::TokenLeased | Code::TokenSpent, Some(token)) = (refusal.code, &facts.token) {
            tracing::warn!(
                token = token.id,
                key = %query.key,
                address = request.origin.address,
                "a second key knocks at a token: {refusal}"
            );
            let alarm = TokenAlarm {
                hash: token.hash,
                key: query.key,
                hardware: query.asserted.clone(),
                address: request.origin.address.clone(),
            };
            // The refusal stands whether or not the alarm could be written down.
            if let Err(error) = self.ledger.token_alarm(alarm, now).await {
                tracing::warn!(%error, "an alarm could not be kept");
            }
        }
        refusal
    }

    pub(crate) fn lock_guesses(&self) -> std::sync::MutexGuard<'_, Guesses> {
        self.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_samples(&self) -> std::sync::MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was shown, as evidence and as the names under which the ledger knows it.
pub(crate) struct Claim {
    pub(crate) evidence: Evidence,
    pub(crate) token: Option<TokenHash>,
    pub(crate) hardware: Option<HardwareId>,
    pub(crate) serial: Option<Serial>,
    pub(crate) generation: Generation,
    /// What a wrong credential is answered while too many came from here.
    pub(crate) limited: Option<Refusal>,
}

struct Answer {
    record: CertificateRecord,
    product: Product,
    again: bool,
    enrollment: EnrollmentId,
}

/// The part of the facts that bears on who is speaking.
pub(crate) fn known<'a>(facts: &Facts, authorities: &'a Authorities) -> Known<'a> {
    Known {
        token: facts.token.as_ref().map(|token| KnownToken {
            bound: token.bound.clone(),
        }),
        certificate: facts.shown.as_ref().and_then(|shown| {
            Some(KnownCertificate {
                der: shown.certificate.der.clone()?,
                device: shown.device.id.clone(),
                hardware: shown.device.hardware.clone(),
                strength: shown.device.strength,
                // One of ours is renewed before its end. One that the device was born with may have
                // been on a shelf until now.
                grace_days: match shown.certificate.origin {
                    CertificateOrigin::Foreign => shown.product.bootstrap_grace_days,
                    _ => 0,
                },
            })
        }),
        authorities: authorities.known(),
    }
}

/// What was shown, by its public name.
fn shown_in(facts: &Facts) -> Option<String> {
    let token = facts.token.as_ref().map(|token| token.id.clone());
    let serial = || {
        facts
            .shown
            .as_ref()
            .map(|shown| shown.certificate.serial.to_string())
    };
    token.or_else(serial)
}

pub(crate) const fn usable(state: crate::ledger::DeviceState) -> bool {
    matches!(state, crate::ledger::DeviceState::Active)
}

/// Whether a request's channel binding is that of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    /// The request carries none, or came by hand.
    None,
    /// It is that of this connection.
    Fits,
    /// It is not.
    Differs,
    /// On this version of TLS nobody can tell.
    Unsupported,
}

impl Binding {
    /// The verdict under a product's rule.
    pub(crate) fn judge(self, rule: ChannelBinding) -> Result<(), Refusal> {
        match (rule, self) {
            (ChannelBinding::Ignore, _) | (_, Self::None | Self::Fits) => Ok(()),
            (ChannelBinding::Verify, Self::Differs) => Err(Code::ChannelBindingMismatch.into()),
            (ChannelBinding::Verify, Self::Unsupported) => {
                Err(Code::ChannelBindingUnsupported.into())
            }
        }
    }
}

fn binding(csr: &Csr, channel: Channel) -> Binding {
    use base64::Engine as _;
    match (csr.challenge_password(), channel) {
        (None, _) | (_, Channel::Operator) => Binding::None,
        (Some(_), Channel::Tls12) => Binding::Unsupported,
        (Some(text), Channel::Tls13 { exporter }) => {
            let want = base64::engine::general_purpose::STANDARD.encode(exporter);
            if text == want {
                Binding::Fits
            } else {
                Binding::Differs
            }
        }
    }
}

pub(crate) fn random<const N: usize>(chance: Chance<'_>) -> [u8; N] {
    let mut bytes = [0; N];
    chance(&mut bytes);
    bytes
}

pub(crate) fn refuse_csr(error: CsrError) -> Refusal {
    let code = match &error {
        CsrError::Key(_) => Code::KeyUnsound,
        _ => Code::CsrUnreadable,
    };
    Refusal::new(code).detail(error.to_string())
}

pub(crate) fn refuse_possession(error: &PossessionError) -> Refusal {
    let code = match error {
        PossessionError::Weak(_) => Code::KeyUnsound,
        _ => Code::PossessionUnproven,
    };
    Refusal::new(code).detail(error.to_string())
}

impl Waited {
    /// What a device is told that is not let in yet.
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Self::Listed => Code::ApprovalPending.into(),
            Self::Changed => Code::Busy.into(),
            Self::UsedUp => Code::ClaimUsedUp.into(),
            Self::Limited { seconds, why } => {
                Refusal::new(Code::ClaimLimited).detail(why).after(seconds)
            }
        }
    }
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        Self::new(Code::LedgerUnavailable).detail(error.to_string())
    }
}

impl From<SignerError> for Refusal {
    fn from(error: SignerError) -> Self {
        Self::new(Code::SignerUnavailable).detail(error.to_string())
    }
}

/// Whether a token's state lets it serve anybody at all; used where nothing is enrolled.
pub(crate) const fn token_serves(state: TokenState) -> bool {
    matches!(
        state,
        TokenState::Minted | TokenState::Leased | TokenState::Spent
    )
}

/// No product is called so.
const WHOLE_FLEET: &str = "";
/// No product's name ends so.
const PENDING: &str = " pending";
/// How often the road reads again when its facts change under it. Each repeat means that somebody
/// else got through, so three are already rare.
pub(crate) const ATTEMPTS: usize = 5;
