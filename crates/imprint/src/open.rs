//! Opening a directory: settings, keys, authorities, ledger, and the road that stands on them.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use aws_lc_rs::digest;
use imprint_identity::UnixTime;
use imprint_pkix::certificate::Certificate;
use imprint_pkix::pem;
use imprint_registrar::{Authorities, Issuer, Registrar, Signer as _};
use imprint_server::Identity;
use imprint_server::admin::token_digest;
use imprint_signer::{KeySigner, Seal};
use imprint_sqlite::Sqlite;
use zeroize::Zeroizing;

use crate::ceremony::{self, End, ISSUING_KEY};
use crate::directory::{Directory, Lock, replace};
use crate::problem::Problem;
use crate::settings::Settings;

/// The road on this program's ledger and signer.
pub(crate) type Road = Registrar<Sqlite, KeySigner>;

/// An open directory. The lock goes last.
pub(crate) struct Opened {
    pub(crate) settings: Settings,
    pub(crate) registrar: Arc<Road>,
    pub(crate) admin_token: [u8; 32],
    /// Under which devices register with Azure's SDKs.
    pub(crate) id_scope: String,
    _lock: Option<Lock>,
}

/// Opens everything. The lock proves that nobody else has.
pub(crate) fn open(directory: &Directory, lock: Lock) -> anyhow::Result<Opened> {
    open_with(directory, &directory.ledger(), Some(lock))
}

/// Opens everything but the ledger, of which this is a copy that nobody else has.
pub(crate) fn open_copy(directory: &Directory, ledger: &Path) -> anyhow::Result<Opened> {
    open_with(directory, ledger, None)
}

fn open_with(directory: &Directory, ledger: &Path, lock: Option<Lock>) -> anyhow::Result<Opened> {
    let settings = Settings::read(&directory.settings())?;
    let seal = read_seal()?;
    let signer = KeySigner::open(&directory.keys(), &seal, settings.for_tests)?;
    let authorities = authorities(directory, &signer, settings.public_http())?;
    let id_scope = match &settings.id_scope {
        Some(scope) => scope.clone(),
        None => id_scope_of(&read_certificate(&directory.root_certificate())?),
    };
    let ledger = Sqlite::open(ledger)?;
    let road = Registrar::new(ledger, signer, authorities).at_pace(settings.limits.pace());
    let registrar = Arc::new(road);
    let admin_token = token_digest(&directory.read_admin_token()?);
    Ok(Opened {
        settings,
        registrar,
        admin_token,
        id_scope,
        _lock: lock,
    })
}

impl Opened {
    /// The host to which devices are sent that registered with Azure's SDKs.
    pub(crate) fn hub(&self) -> String {
        let first = self.settings.hosts.first();
        let hub = self.settings.hub.as_ref().or(first);
        hub.cloned().unwrap_or_default()
    }
}

/// The id scope of a directory whose settings name none: made of its root, so it stays the same, and no
/// two directories have one. No secret.
pub(crate) fn id_scope_of(root: &Certificate) -> String {
    let hash = digest::digest(&digest::SHA256, root.der());
    let digits = hex::encode_upper(hash.as_ref());
    format!("0ne{}", digits.get(..8).unwrap_or_default())
}

fn authorities(
    directory: &Directory,
    signer: &KeySigner,
    public_http: Option<String>,
) -> anyhow::Result<Authorities> {
    let root = read_certificate(&directory.root_certificate())?;
    let mut names = vec![ISSUING_KEY.to_owned()];
    names.extend(directory.more_authorities()?);
    let issuer = |name: &String| -> anyhow::Result<Issuer> {
        let certificate = read_certificate(&directory.authority(name))?;
        let algorithm = signer
            .signature_algorithm(name)
            .with_context(|| format!("keys/{name}.key is not there"))?;
        if signer.public_key(name) != Some(certificate.spki_der()) {
            bail!("keys/{name}.key is not the key of ca/{name}.pem");
        }
        Ok(Issuer::new(name, name, certificate, algorithm)?)
    };
    let issuers = names.iter().map(issuer).collect::<anyhow::Result<_>>()?;
    Ok(Authorities::new(issuers, vec![root], public_http)?)
}

/// The server's certificate and key; made anew when it is near its end, or when it is for other
/// hosts than the settings name. A server whose every certificate has expired starts all the same:
/// devices that can't join because of it have to be told so by somebody.
pub(crate) async fn identity(
    directory: &Directory,
    opened: &Opened,
    now: UnixTime,
) -> anyhow::Result<Identity> {
    let signer = opened.registrar.signer();
    let sealed_path = directory.server_key();
    let sealed = std::fs::read(&sealed_path)
        .with_context(|| format!("{} can't be read", sealed_path.display()))?;
    let private_key = signer
        .unseal(SERVER_KEY_CONTEXT, &sealed)
        .await
        .with_context(|| sealed_path.display().to_string())?;
    let present = read_certificate(&directory.server_chain())?;
    let issuing = &opened.registrar.authorities().issuing().certificate;
    let server = match reason_to_renew(&present, &opened.settings, issuing, now) {
        None => present,
        Some(reason) => {
            let key = present
                .public_key()
                .map_err(|error| anyhow::anyhow!("{error}"))?;
            let settings = &opened.settings;
            let end = match settings.server_certificate_days {
                0 => End::Never,
                days => End::Days(days),
            };
            let public_http = settings.public_http();
            let hosts = &settings.hosts;
            let server = ceremony::server(
                signer,
                issuing,
                key,
                hosts,
                public_http.as_deref(),
                end,
                now,
            )
            .await?;
            let chain = [server.der(), issuing.der()].map(|der| pem::encode(pem::CERTIFICATE, der));
            replace(&directory.server_chain(), chain.concat().as_bytes(), 0o644)?;
            tracing::info!(reason, not_after = %server.not_after(), "the server has a new certificate");
            server
        }
    };
    if server.not_after() < now {
        tracing::error!(
            not_after = %server.not_after(),
            "the server's certificate has expired and can't be made anew: \
             its issuing authority is at its end, or the clock is wrong"
        );
    }
    let chain = vec![server.der().to_vec(), issuing.der().to_vec()];
    Ok(Identity {
        chain,
        private_key: Zeroizing::new(private_key.to_vec()),
    })
}

/// Why the server's certificate must be made anew, if it must.
fn reason_to_renew(
    present: &Certificate,
    settings: &Settings,
    issuing: &Certificate,
    now: UnixTime,
) -> Option<&'static str> {
    let mut named: Vec<String> = present.names().for_people().collect();
    let mut wanted: Vec<String> = settings
        .hosts
        .iter()
        .map(|host| match host.parse::<std::net::IpAddr>() {
            Ok(address) => format!("IP:{address}"),
            Err(_) => format!("DNS:{host}"),
        })
        .collect();
    named.sort();
    wanted.sort();
    wanted.dedup();
    if named != wanted {
        return Some("other hosts");
    }
    if present.issuer_der() != issuing.subject_der() {
        return Some("another issuing authority");
    }
    // Where the issuer's end is the limit, a new certificate would live no longer.
    let whole = present.not_after().since(present.not_before());
    let near = present.not_after().since(now) < whole / 3;
    let longer = present.not_after() < issuing.not_after() && now < issuing.not_after();
    (near && longer).then_some("near its end")
}

/// The first certificate in a PEM file.
pub(crate) fn read_certificate(path: &Path) -> anyhow::Result<Certificate> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} can't be read", path.display()))?;
    let blocks = pem::decode(pem::CERTIFICATE, &text)
        .with_context(|| format!("{} is no certificate", path.display()))?;
    let der = blocks.first().map(Vec::as_slice).unwrap_or_default();
    Certificate::parse(der).with_context(|| format!("{} can't be read", path.display()))
}

/// The key that unseals: from the environment, else the file `keys/seal.key`.
#[expect(
    clippy::disallowed_methods,
    reason = "the one secret that may come by the environment"
)]
pub(crate) fn read_seal() -> anyhow::Result<Seal> {
    match std::env::var("IMPRINT_SEAL_KEY") {
        Ok(text) => {
            let text = Zeroizing::new(text);
            Seal::from_hex(text.trim()).map_err(|error| {
                Problem::new(
                    "seal-key-unreadable",
                    format!("IMPRINT_SEAL_KEY is no seal: {error}."),
                    "Give 64 hex digits, or unset it to use keys/seal.key.",
                )
                .into()
            })
        }
        Err(_) => Ok(Seal::File),
    }
}

/// What the server's TLS key is sealed for: nothing else opens under this name.
pub(crate) const SERVER_KEY_CONTEXT: &[u8] = b"imprint server tls key";
