//! Who is this certificate? The first question at a door that takes more than members.

use imprint_attest::{
    ChainDoubt, Chained, ClaimDoubt, ClaimHolder, PeerCertificate, issuers_of, prove_chain,
    prove_claim,
};
use imprint_identity::{HardwareId, UnixTime};
use imprint_pkix::certificate::Certificate;

use super::definition::Template;
use super::{fingerprint_of, permit::claim_is_good};
use crate::enroll::{Origin, Registrar};
use crate::ledger::{
    ArrivalFacts, ArrivalQuery, AuthorityRecord, CertificateFingerprint, ClaimRecord, Ledger,
    PendingState, RegistrationFacts,
};
use crate::product::Product;
use crate::refusal::{Code, Refusal};
use crate::serial::Serial;
use crate::signer::Signer;
use crate::verify::Member;

/// Who a certificate is.
#[derive(Debug, Clone)]
pub enum Arrival {
    /// A device of the fleet; VERIFY has happened.
    Member(Box<Member>),
    /// The holder of a claim.
    Claim(Box<ClaimSpeaker>),
    /// A device whose certificate leads to a registered CA and is not on record yet.
    Newcomer(Box<JustInTime>),
}

/// The holder of a claim certificate. Good for a connection; what it may do is judged for each
/// request.
#[derive(Debug, Clone)]
pub struct ClaimSpeaker {
    holder: ClaimHolder,
    name: String,
    product: String,
    fingerprint: CertificateFingerprint,
}

impl ClaimSpeaker {
    /// The claim's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The claim's product, when it arrived.
    #[must_use]
    pub fn product(&self) -> &str {
        &self.product
    }

    /// SHA-256 of the claim certificate: `claimCertificateId`.
    #[must_use]
    pub const fn fingerprint(&self) -> CertificateFingerprint {
        self.fingerprint
    }

    pub(super) const fn holder(&self) -> &ClaimHolder {
        &self.holder
    }
}

/// A device whose certificate leads to a registered CA.
#[derive(Debug, Clone)]
pub struct JustInTime {
    pub(super) chained: Chained,
    pub(super) authority: AuthorityRecord,
    pub(super) product: Product,
    pub(super) template: Option<Template>,
    /// Whether it has named a server in TLS.
    pub(super) names_server: bool,
}

impl JustInTime {
    /// The device's certificate.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        self.chained.certificate()
    }

    /// SHA-256 of it, in hex.
    #[must_use]
    pub fn certificate_id(&self) -> String {
        fingerprint_of(self.certificate().der()).to_string()
    }

    /// The CA.
    #[must_use]
    pub const fn authority(&self) -> &AuthorityRecord {
        &self.authority
    }

    /// The product of the CA's devices.
    #[must_use]
    pub const fn product(&self) -> &Product {
        &self.product
    }

    /// The template by which they are made; `None`: by the product alone.
    #[must_use]
    pub const fn template(&self) -> Option<&Template> {
        self.template.as_ref()
    }

    /// The hardware id that the certificate names, where no template says otherwise: its
    /// hardwareModuleName (RFC 4108 section 5) of a source that we know, else its common name.
    #[must_use]
    pub fn hardware(&self) -> Option<HardwareId> {
        let certificate = self.certificate();
        crate::devices::hardware_of(certificate).or_else(|| {
            let name = certificate.common_name()?;
            HardwareId::parse(&name).ok()
        })
    }
}

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// Judges a client certificate, for a connection or a request. `chain`: what the device sent behind
    /// its certificate; `sni`: the server that it named in TLS, where that is one of our names.
    ///
    /// A claim's holder and a newcomer have done nothing yet; a member has proven receipt of its
    /// certificate. A newcomer of a CA that does not register by itself, or that is not active, is
    /// refused by [`Registrar::just_in_time`], not here.
    pub async fn arrive(
        &self,
        peer: &PeerCertificate,
        chain: &[Vec<u8>],
        sni: Option<&str>,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<Arrival, Refusal> {
        let outcome = self.who(peer, chain, sni, origin, now).await;
        if let Err(refusal) = &outcome {
            self.note(refusal, origin, now);
        }
        outcome
    }

    async fn who(
        &self,
        peer: &PeerCertificate,
        chain: &[Vec<u8>],
        sni: Option<&str>,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<Arrival, Refusal> {
        if peer.parsed.is_none() {
            return Err(Code::CertificateUnreadable.into());
        }
        let sent: Vec<_> = chain
            .iter()
            .take(MOST_SENT)
            .filter_map(|der| Certificate::parse(der).ok())
            .collect();
        let query = ArrivalQuery {
            fingerprint: fingerprint_of(&peer.der),
            serial: self.serial_of(peer),
            issuers: issuers_of(peer, &sent),
        };
        let facts = self.ledger().arrival_facts(&query, now).await?;
        if let Some(speaker) = claim_speaker(peer, &facts, &query, now)? {
            return Ok(Arrival::Claim(Box::new(speaker)));
        }
        if facts.credential.is_some() {
            let member = self.judge(peer, origin, now).await?;
            return Ok(Arrival::Member(Box::new(member)));
        }
        if let Some(refusal) = pending_shown(peer, &facts) {
            return Err(refusal);
        }
        if self.names_ours(peer) {
            // Ours by name: the appraisal says what is wrong with it.
            let member = self.judge(peer, origin, now).await?;
            return Ok(Arrival::Member(Box::new(member)));
        }
        let newcomer = newcomer(peer, &sent, facts, sni, now)?;
        Ok(Arrival::Newcomer(Box::new(newcomer)))
    }

    /// The serial number under which a certificate is on record, if it is: its own if it says that
    /// it is ours, else one made of its octets.
    pub(crate) fn serial_of(&self, peer: &PeerCertificate) -> Serial {
        let own = || {
            let shown = peer.parsed.as_ref()?;
            Serial::from_octets(shown.serial())
        };
        match self.names_ours(peer).then(own).flatten() {
            Some(serial) => serial,
            None => Serial::of_foreign(&peer.der),
        }
    }

    /// Whether a certificate names one of our authorities as its issuer. It may be lying.
    pub(crate) fn names_ours(&self, peer: &PeerCertificate) -> bool {
        let Some(shown) = &peer.parsed else {
            return false;
        };
        let mut known = self.authorities().known().iter();
        known.any(|authority| authority.subject_der == shown.issuer_der())
    }

    /// A better word for a certificate that is no member's: is it a claim's, or does it wait for its
    /// device? Asked only when it is refused already.
    pub(crate) async fn named_otherwise(
        &self,
        peer: &PeerCertificate,
        now: UnixTime,
    ) -> Option<Refusal> {
        let query = ArrivalQuery {
            fingerprint: fingerprint_of(&peer.der),
            serial: self.serial_of(peer),
            issuers: Vec::new(),
        };
        let facts = self.ledger().arrival_facts(&query, now).await.ok()?;
        if let Some((claim, _)) = &facts.claim {
            let refusal = Refusal::new(Code::ClaimOnlyProvisions)
                .detail(format!(
                    "this is a certificate of claim {}",
                    claim.claim.name
                ))
                .about(claim.claim.name.as_str());
            return Some(refusal);
        }
        pending_shown(peer, &facts)
    }
}

/// `None`: it is no claim's certificate.
fn claim_speaker(
    peer: &PeerCertificate,
    facts: &ArrivalFacts,
    query: &ArrivalQuery,
    now: UnixTime,
) -> Result<Option<ClaimSpeaker>, Refusal> {
    let Some((claim, certificate)) = &facts.claim else {
        return Ok(None);
    };
    let about = |refusal: Refusal| {
        refusal
            .about(claim.claim.name.as_str())
            .showing(Some(query.fingerprint.to_string()))
    };
    let good = RegistrationFacts {
        claim: Some(claim.clone()),
        shown: Some(certificate.clone()),
        ..RegistrationFacts::default()
    };
    claim_is_good(&good).map_err(about)?;
    let der = certificate.der.as_deref().unwrap_or_default();
    let grace = claim.claim.grace_days(facts.product.as_ref());
    let holder =
        prove_claim(peer, der, grace, now).map_err(|doubt| about(doubted_claim(claim, doubt)))?;
    Ok(Some(ClaimSpeaker {
        holder,
        name: claim.claim.name.clone(),
        product: claim.claim.product.clone(),
        fingerprint: query.fingerprint,
    }))
}

pub(super) fn doubted_claim(claim: &ClaimRecord, doubt: ClaimDoubt) -> Refusal {
    let code = match doubt {
        ClaimDoubt::Expired { .. } => Code::ClaimExpired,
        ClaimDoubt::NotYetValid { .. } => Code::CertificateNotYetValid,
        ClaimDoubt::Unreadable => Code::CertificateUnreadable,
        // Whatever else there may be to doubt is a no.
        _ => Code::ClaimUnknown,
    };
    Refusal::new(code).detail(format!("claim {}: {doubt}", claim.claim.name))
}

/// A certificate that waits for its device is good for nothing in TLS; one that waited in vain is
/// revoked.
fn pending_shown(peer: &PeerCertificate, facts: &ArrivalFacts) -> Option<Refusal> {
    let pending = facts.pending.as_ref()?;
    if pending.der.as_ref() != Some(&peer.der) {
        return None;
    }
    let code = match pending.state {
        PendingState::Pending | PendingState::Registered => Code::CertificatePending,
        PendingState::Ended => Code::CertificateRevoked,
    };
    let refusal = Refusal::new(code)
        .detail(format!(
            "claim {} asked for it at {}",
            pending.claim, pending.at
        ))
        .about(pending.claim.as_str())
        .showing(Some(pending.serial.to_string()));
    Some(refusal)
}

fn newcomer(
    peer: &PeerCertificate,
    sent: &[Certificate],
    facts: ArrivalFacts,
    sni: Option<&str>,
    now: UnixTime,
) -> Result<JustInTime, Refusal> {
    let mut doubt = None;
    for (authority, product, template) in facts.authorities {
        let Ok(anchor) = Certificate::parse(&authority.der) else {
            continue;
        };
        let of_product = product.as_ref();
        let grace = of_product.map_or(0, |product| product.bootstrap_grace_days);
        match prove_chain(peer, sent, &anchor, grace, now) {
            Ok(chained) => {
                let product = product.ok_or_else(|| {
                    Refusal::new(Code::ProductUnknown).detail(format!(
                        "CA {} is for {}",
                        authority.ca.name, authority.ca.product
                    ))
                })?;
                if template.is_none()
                    && let Some(name) = &authority.ca.template
                {
                    return Err(Refusal::new(Code::TemplateUnknown)
                        .detail(format!("CA {} names template {name}", authority.ca.name)));
                }
                return Ok(JustInTime {
                    names_server: sni.is_some(),
                    chained,
                    authority,
                    product,
                    template,
                });
            }
            Err(found) => doubt = Some((authority, found)),
        }
    }
    Err(match doubt {
        Some((authority, doubt)) => doubted_chain(&authority, doubt),
        None => not_registered(peer),
    })
}

fn doubted_chain(authority: &AuthorityRecord, doubt: ChainDoubt) -> Refusal {
    let code = match doubt {
        ChainDoubt::Expired { .. } => Code::CertificateExpired,
        ChainDoubt::NotYetValid { .. } => Code::CertificateNotYetValid,
        ChainDoubt::Unreadable => Code::CertificateUnreadable,
        ChainDoubt::Key => Code::KeyUnsound,
        _ => Code::CaNotRegistered,
    };
    Refusal::new(code).detail(format!("CA {}: {doubt}", authority.ca.name))
}

fn not_registered(peer: &PeerCertificate) -> Refusal {
    let name = |der: &[u8]| imprint_pkix::dn::common_name(der);
    let issuer = peer
        .parsed
        .as_ref()
        .and_then(|shown| name(shown.issuer_der()));
    let issuer = issuer.unwrap_or_else(|| "(no common name)".to_owned());
    Refusal::new(Code::CaNotRegistered)
        .detail(format!("issuer {issuer:?}"))
        .showing(Some(fingerprint_of(&peer.der).to_string()))
}

/// What is looked at of what a device sent behind its certificate.
const MOST_SENT: usize = 4;
