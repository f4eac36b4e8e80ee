//! Our own authorities: who signs, and whose signatures we know.

use imprint_attest::{Authority, KeyFingerprint, subject_key_id};
use imprint_pkix::SignatureAlgorithm;
use imprint_pkix::certificate::Certificate;

use crate::product::Product;

/// An issuing authority.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Its name in `/ca/<name>.crt` and `/crl/<name>.crl`.
    pub name: String,
    /// The signer's name for its key.
    pub key: String,
    /// Its certificate.
    pub certificate: Certificate,
    /// The algorithm with which it signs.
    pub algorithm: SignatureAlgorithm,
    /// The subject key identifier that its certificates point to.
    pub key_id: [u8; 20],
}

/// All authorities of this server.
#[derive(Debug, Clone)]
pub struct Authorities {
    issuers: Vec<Issuer>,
    above: Vec<Certificate>,
    known: Vec<Authority>,
    keys: Vec<KeyFingerprint>,
    public_http: Option<String>,
}

impl Authorities {
    /// `issuers`: the first one signs, all are recognised; `above`: the chain over them, root last;
    /// `public_http`: the URL under which devices and relying parties reach the `http` listener,
    /// without a trailing slash.
    pub fn new(
        issuers: Vec<Issuer>,
        above: Vec<Certificate>,
        public_http: Option<String>,
    ) -> Result<Self, AuthorityError> {
        if issuers.is_empty() {
            return Err(AuthorityError::None);
        }
        let known = issuers
            .iter()
            .map(|issuer| {
                let key = issuer
                    .certificate
                    .public_key()
                    .map_err(|_| AuthorityError::Key {
                        name: issuer.name.clone(),
                    })?;
                Ok(Authority {
                    subject_der: issuer.certificate.subject_der().to_vec(),
                    public_key: key.clone(),
                })
            })
            .collect::<Result<_, _>>()?;
        let keys = issuers
            .iter()
            .map(|issuer| &issuer.certificate)
            .chain(&above)
            .filter_map(|certificate| certificate.public_key().ok())
            .map(|public| KeyFingerprint::of(public.spki_der()))
            .collect();
        Ok(Self {
            issuers,
            above,
            known,
            keys,
            public_http,
        })
    }

    /// The one that signs.
    #[must_use]
    pub fn issuing(&self) -> &Issuer {
        #[expect(
            clippy::indexing_slicing,
            reason = "checked by new: there is at least one"
        )]
        &self.issuers[0]
    }

    /// The one that signs for this product; `None` when it names one that is not here.
    #[must_use]
    pub fn issuer_of(&self, product: &Product) -> Option<&Issuer> {
        match &product.ca {
            None => Some(self.issuing()),
            Some(name) => self.issuers.iter().find(|issuer| issuer.name == *name),
        }
    }

    /// All that are recognised.
    #[must_use]
    pub fn issuers(&self) -> &[Issuer] {
        &self.issuers
    }

    /// The chain above the issuers, root last.
    #[must_use]
    pub fn above(&self) -> &[Certificate] {
        &self.above
    }

    /// Where the `http` listener is reached from outside.
    #[must_use]
    pub fn public_http(&self) -> Option<&str> {
        self.public_http.as_deref()
    }

    /// As evidence is appraised against them.
    #[must_use]
    pub fn known(&self) -> &[Authority] {
        &self.known
    }

    /// Every certificate that a device needs to trust its fleet (RFC 7030 section 4.1.3): the
    /// issuers and what is above them, in DER.
    #[must_use]
    pub fn ca_certs(&self) -> Vec<&[u8]> {
        let issuers = self.issuers.iter().map(|issuer| issuer.certificate.der());
        issuers
            .chain(self.above.iter().map(Certificate::der))
            .collect()
    }

    /// A certificate of ours with what is above it, root last, DER. Its issuer is found by its own word: its
    /// product may be signed for by another authority since.
    #[must_use]
    pub fn chain(&self, certificate: &[u8]) -> Vec<Vec<u8>> {
        let leaf = Certificate::parse(certificate).ok();
        let is_issuer = |one: &&Certificate| {
            leaf.as_ref()
                .is_some_and(|leaf| leaf.issuer_der() == one.subject_der())
        };
        let issuers = self.issuers.iter().map(|issuer| &issuer.certificate);
        let issuer = issuers.filter(is_issuer).take(1);
        let above = issuer.chain(&self.above).map(|one| one.der().to_vec());
        std::iter::once(certificate.to_vec()).chain(above).collect()
    }

    /// Whether a key is one of ours: a device that shows an authority's key is no device.
    #[must_use]
    pub fn owns(&self, key: KeyFingerprint) -> bool {
        self.keys.contains(&key)
    }
}

impl Issuer {
    /// An issuer from its certificate. The key identifier is the certificate's own, or is made from
    /// its key when it has none.
    pub fn new(
        name: &str,
        key: &str,
        certificate: Certificate,
        algorithm: SignatureAlgorithm,
    ) -> Result<Self, AuthorityError> {
        let public = certificate.public_key().map_err(|_| AuthorityError::Key {
            name: name.to_owned(),
        })?;
        let own = certificate
            .subject_key_id()
            .and_then(|id| <[u8; 20]>::try_from(id).ok());
        let key_id = own.unwrap_or_else(|| subject_key_id(public));
        Ok(Self {
            name: name.to_owned(),
            key: key.to_owned(),
            certificate,
            algorithm,
            key_id,
        })
    }
}

/// Why these can't be a server's authorities.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// Nobody could sign.
    #[error("there is no issuing authority")]
    None,
    /// A key of a type that we don't verify with.
    #[error("the key of issuing authority {name:?} is of a type that can't be used")]
    Key {
        /// The issuer's name.
        name: String,
    },
}
