//! EST meets the road (RFC 7030): bytes become a request, the registrar answers, the answer becomes
//! bytes. How the bytes look is the `est` crate's knowledge, who joins is the registrar's.

use imprint_est::{HttpReply, Reply, Request, RequestKind, Secret};
use imprint_pkix::key::KeyAlgorithm;
use imprint_pkix::{certs_only, csr_attrs};
use imprint_registrar::enroll::{Enrolled, EnrollmentRequest, Kind, Shown};
use imprint_registrar::product::{KeyKind, Product};
use imprint_registrar::refusal::{Code, Refusal};
use imprint_registrar::{Ledger, Signer};

use crate::devices::{Asked, Devices};
use crate::gate::Turn;
use crate::listener::Peer;

impl<L: Ledger, S: Signer> Devices<L, S> {
    /// Answers one request to an EST path, or to no path that we know.
    pub(crate) async fn est(&self, asked: &Asked, peer: &Peer) -> Result<HttpReply, Turn> {
        let (method, path) = (asked.head.method.as_str(), asked.head.uri.path());
        let reply = match Request::parse(method, path, asked.content_type(), &asked.body) {
            Ok(request) => match self.operation(request, asked, peer).await {
                Ok(reply) => reply,
                Err(refusal) => match Turn::of(&refusal) {
                    Some(turn) => return Err(turn),
                    None => self.refuse(refusal),
                },
            },
            Err(error) => {
                self.seen(asked, peer, self.world.now()).await;
                Reply::Bad(error)
            }
        };
        Ok(reply.encode(asked.line_style()))
    }

    async fn operation(
        &self,
        request: Request<'_>,
        asked: &Asked,
        peer: &Peer,
    ) -> Result<Reply, Refusal> {
        let (kind, csr) = match request.kind {
            RequestKind::SimpleEnroll(csr) => (Kind::Enroll, csr),
            RequestKind::SimpleReenroll(csr) => (Kind::Reenroll, csr),
            RequestKind::ServerKeyGen(csr) => (Kind::ServerKey, csr),
            RequestKind::CaCerts => {
                self.known_product(request.label, asked, peer).await?;
                return Ok(Reply::CaCerts(self.ca_certs.clone()));
            }
            RequestKind::CsrAttrs => {
                let product = self.known_product(request.label, asked, peer).await?;
                return Ok(csr_attributes(product.as_ref()));
            }
        };
        self.enroll(kind, request.label, csr, asked, peer).await
    }

    async fn enroll(
        &self,
        kind: Kind,
        label: Option<&str>,
        csr: Vec<u8>,
        asked: &Asked,
        peer: &Peer,
    ) -> Result<Reply, Refusal> {
        let now = self.world.now();
        let shown = match kind {
            // The certificate being renewed is the one in TLS and nothing else (section 4.2.2).
            Kind::Reenroll => {
                Shown::Certificate(peer.certificate.clone().ok_or(Code::CertificateMissing)?)
            }
            Kind::Enroll | Kind::ServerKey => asked.shown(peer)?,
        };
        if matches!(shown, Shown::Token { .. }) {
            self.seen(asked, peer, now).await;
        }
        let request = EnrollmentRequest {
            kind,
            product: label.map(str::to_owned),
            shown,
            csr,
            channel: peer.channel,
            origin: asked.origin.clone(),
        };
        let enrolled = self
            .registrar
            .enroll(request, &*self.world.chance, now)
            .await?;
        tracing::info!(
            enrollment = %enrolled.enrollment,
            device = %enrolled.device,
            product = enrolled.product.name,
            address = asked.origin.address,
            kind = ?kind,
            again = enrolled.again,
            let_in_ms = asked.origin.at.0,
            "certificate handed over"
        );
        Ok(handed_over(enrolled))
    }

    /// The product of a path, where one is named; a name that we don't know is a 404 also where
    /// nothing depends on it, so that a mistyped URL shows at the first request.
    async fn known_product(
        &self,
        label: Option<&str>,
        asked: &Asked,
        peer: &Peer,
    ) -> Result<Option<Product>, Refusal> {
        self.seen(asked, peer, self.world.now()).await;
        let Some(label) = label else { return Ok(None) };
        let products = self.registrar.ledger().product_list().await?;
        let product = products.into_iter().find(|product| product.name == label);
        product.map(Some).ok_or_else(|| Code::ProductUnknown.into())
    }
}

/// The certificate that was issued and no other (section 4.2.3).
fn handed_over(enrolled: Enrolled) -> Reply {
    let certificate = certs_only::encode(&[&enrolled.certificate]);
    match enrolled.private_key {
        None => Reply::Certificate(certificate),
        Some(key) => Reply::ServerKey {
            pkcs8: Secret::new(key.to_vec()),
            certs_only: certificate,
        },
    }
}

/// The kind of key that the product names first. Without a product there is nothing to ask for.
fn csr_attributes(product: Option<&Product>) -> Reply {
    let wanted = match product.and_then(|product| product.keys.first()) {
        None => return Reply::NoCsrAttrs,
        Some(KeyKind::P256) => KeyAlgorithm::P256,
        Some(KeyKind::P384) => KeyAlgorithm::P384,
        Some(KeyKind::Ed25519) => KeyAlgorithm::Ed25519,
        Some(KeyKind::Rsa) => KeyAlgorithm::Rsa { bits: 2048 },
    };
    Reply::CsrAttrs(csr_attrs::encode(wanted))
}
