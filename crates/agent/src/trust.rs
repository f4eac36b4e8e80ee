//! Whom the device trusts: servers whose chain ends at the pinned root, under the name it dialled.

use std::fmt;
use std::path::{Path, PathBuf};

use imprint_identity::UnixTime;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor};
use webpki::{EndEntityCert, KeyUsage};

use crate::files::{self, FileError};
use crate::keystore::sha256;

/// The pinned roots. There are no others: what the operating system trusts is not asked.
#[derive(Clone)]
pub struct Roots {
    certificates: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
}

impl Roots {
    /// The certificates of a PEM file, usually one.
    pub fn read(path: &Path) -> Result<Self, RootsError> {
        let pem = files::read(path)?.ok_or_else(|| RootsError::Absent {
            path: path.to_owned(),
        })?;
        Self::from_pem(&pem).map_err(|why| RootsError::Unreadable {
            path: path.to_owned(),
            why,
        })
    }

    /// The certificates of a PEM text. The error says what is wrong with it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let certificates = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        if certificates.is_empty() {
            return Err("there is no certificate in it".to_owned());
        }
        let anchor = |der| webpki::anchor_from_trusted_cert(der).map(|anchor| anchor.to_owned());
        let anchors = certificates
            .iter()
            .map(anchor)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("a certificate in it can't be used as a root: {error}"))?;
        Ok(Self {
            certificates,
            anchors,
        })
    }

    /// SHA-256 of each root, in hex: what a person compares.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<String> {
        self.certificates
            .iter()
            .map(|der| hex::encode(sha256(&[der])))
            .collect()
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Roots").field(&self.fingerprints()).finish()
    }
}

/// What is known of the time when a chain is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// It is this moment.
    Known(UnixTime),
    /// It is this moment or a later one: the build time of the firmware, or the last time that was
    /// known. A certificate that had expired by then has expired; one that begins later may be
    /// valid, and that is for the server's own time to say.
    AtLeast(UnixTime),
}

/// Whether the server that showed `chain` (its own certificate first) is `name`, under `roots`.
pub fn judge_server(
    chain: &[CertificateDer<'_>],
    roots: &Roots,
    name: &ServerName<'_>,
    time: Time,
) -> Result<(), TrustError> {
    let (leaf, others) = chain.split_first().ok_or(TrustError::NoCertificate)?;
    judge_chain(leaf, others, roots, KeyUsage::server_auth(), time)?;
    let leaf = EndEntityCert::try_from(leaf).map_err(|error| TrustError::other(&error))?;
    leaf.verify_is_valid_for_subject_name(name)
        .map_err(|error| match error {
            webpki::Error::CertNotValidForName(context) => TrustError::Name {
                wanted: name.to_str().into_owned(),
                presented: context.presented.join(", "),
            },
            error => TrustError::other(&error),
        })
}

/// A device's own chain: its certificate, then those of `others` that lead from it to one of
/// `roots`, without the root. The certificate must be good for client authentication.
pub fn device_chain(
    leaf: &CertificateDer<'static>,
    others: &[CertificateDer<'static>],
    roots: &Roots,
    time: Time,
) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let above = judge_chain(leaf, others, roots, KeyUsage::client_auth(), time)?;
    Ok(std::iter::once(leaf.clone()).chain(above).collect())
}

/// The certificates between `leaf` and the root, in order.
fn judge_chain(
    leaf: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    roots: &Roots,
    usage: KeyUsage,
    time: Time,
) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let leaf = EndEntityCert::try_from(leaf).map_err(|error| TrustError::other(&error))?;
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    let (mut at, may_be_later) = match time {
        Time::Known(at) => (at, false),
        Time::AtLeast(at) => (at, true),
    };
    // Without a clock the question is whether there is any moment, from the floor on, at which the
    // whole chain is valid: move to the latest beginning of a validity, which is the first such
    // moment. Every round moves forward, and a chain has a few certificates.
    for _ in 0..MOST_CERTIFICATES {
        let moment = rustls_pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            u64::try_from(at.0).unwrap_or(0),
        ));
        let judged = leaf.verify_for_usage(
            algorithms,
            &roots.anchors,
            others,
            moment,
            usage,
            None,
            None,
        );
        match judged {
            Ok(path) => {
                let above = path.intermediate_certificates();
                return Ok(above
                    .map(|certificate| certificate.der().into_owned())
                    .collect());
            }
            Err(webpki::Error::CertNotValidYet { not_before, .. }) => {
                let not_before = moment_of(not_before);
                if !may_be_later || not_before <= at {
                    return Err(TrustError::NotYetValid { not_before, at });
                }
                at = not_before;
            }
            Err(webpki::Error::CertExpired { not_after, .. }) => {
                return Err(TrustError::Expired {
                    not_after: moment_of(not_after),
                    at,
                });
            }
            Err(webpki::Error::UnknownIssuer) => return Err(TrustError::UnknownIssuer),
            Err(webpki::Error::RequiredEkuNotFoundContext(_)) => return Err(TrustError::Usage),
            Err(error) => return Err(TrustError::other(&error)),
        }
    }
    Err(TrustError::Other(
        "the chain has too many certificates".to_owned(),
    ))
}

fn moment_of(time: rustls_pki_types::UnixTime) -> UnixTime {
    UnixTime(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

/// Rounds of the search for a moment; webpki builds no longer chains than this.
const MOST_CERTIFICATES: usize = 8;

/// Why a chain is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// Nothing was shown.
    #[error("there is no certificate")]
    NoCertificate,
    /// It does not end at a pinned root.
    #[error("the certificate is not from the pinned root")]
    UnknownIssuer,
    /// It is another server's.
    #[error("the certificate is for {presented}, and not for {wanted}")]
    Name {
        /// The name that was dialled.
        wanted: String,
        /// The names in the certificate.
        presented: String,
    },
    /// Its extended key usage says that it is for something else.
    #[error("the certificate is for another purpose")]
    Usage,
    /// It has expired.
    #[error("the certificate expired at {not_after}, and it is {at}")]
    Expired {
        /// The end of its validity.
        not_after: UnixTime,
        /// The time that was taken.
        at: UnixTime,
    },
    /// It is not valid yet.
    #[error("the certificate is valid from {not_before}, and it is {at}")]
    NotYetValid {
        /// The beginning of its validity.
        not_before: UnixTime,
        /// The time that was taken.
        at: UnixTime,
    },
    /// Something rarer.
    #[error("the certificate is bad: {0}")]
    Other(String),
}

impl TrustError {
    fn other(error: &webpki::Error) -> Self {
        Self::Other(format!("{error:?}"))
    }
}

/// Why a root file can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootsError {
    /// The operating system said no.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no such file.
    #[error("the root file {} does not exist", path.display())]
    Absent {
        /// The file.
        path: PathBuf,
    },
    /// No certificates, or no roots.
    #[error("the root file {} can't be used: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}
