//! Making certificates that are no device's: the root, the issuing authority, the server's own.

use std::net::IpAddr;

use anyhow::{Context as _, ensure};
use aws_lc_rs::digest;
use imprint_identity::UnixTime;
use imprint_pkix::certificate::{self, Authority, Certificate, Leaf, Server};
use imprint_pkix::key::PublicKey;
use imprint_pkix::{SignatureAlgorithm, dn};
use imprint_registrar::Signer as _;
use imprint_registrar::product::{self, Product};
use imprint_signer::KeySigner;

use crate::world::serial;

/// The signer's names for the two keys.
pub(crate) const ROOT_KEY: &str = "root";
/// Also the name in `/ca/issuing.crt` and `/crl/issuing.crl`.
pub(crate) const ISSUING_KEY: &str = "issuing";

/// Until when certificates are good.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// So many days from now.
    Days(u32),
    /// `99991231235959Z` (RFC 5280 section 4.1.2.5).
    Never,
}

impl End {
    /// The last second.
    pub(crate) fn after(self, now: UnixTime) -> UnixTime {
        match self {
            Self::Days(days) => now.plus(i64::from(days) * 86_400),
            Self::Never => UnixTime::NO_EXPIRY,
        }
    }
}

/// The root: signs itself, and issuing authorities, and nothing else.
pub(crate) async fn root(
    signer: &KeySigner,
    name: &str,
    end: End,
    now: UnixTime,
) -> anyhow::Result<Certificate> {
    let (key, algorithm) = key_of(signer, ROOT_KEY)?;
    let key_id = key_id(&key);
    let subject = dn::common_name_der(&format!("{name} Root CA"), None);
    let to_be_signed = Authority {
        serial: serial(now).0,
        issuer_der: &subject,
        authority_key_id: key_id,
        subject_der: &subject,
        public_key: &key,
        subject_key_id: key_id,
        not_before: now.plus(-BACKDATE_SECONDS),
        not_after: end.after(now),
        path_len: None,
        crl_url: None,
        issuer_url: None,
        signature_algorithm: algorithm,
    }
    .to_be_signed();
    sign(signer, ROOT_KEY, algorithm, &to_be_signed).await
}

/// An issuing authority on key `key`, under the root.
pub(crate) async fn issuing(
    signer: &KeySigner,
    key: &str,
    common_name: &str,
    root: &Certificate,
    public_http: Option<&str>,
    end: End,
    now: UnixTime,
) -> anyhow::Result<Certificate> {
    let (key, _) = key_of(signer, key)?;
    let (root_key, algorithm) = key_of(signer, ROOT_KEY)?;
    let subject = dn::common_name_der(common_name, None);
    let issuer_url = public_http.map(|url| format!("{url}/ca/root.crt"));
    let to_be_signed = Authority {
        serial: serial(now).0,
        issuer_der: root.subject_der(),
        authority_key_id: key_id(&root_key),
        subject_der: &subject,
        public_key: &key,
        subject_key_id: key_id(&key),
        not_before: now.plus(-BACKDATE_SECONDS).max(root.not_before()),
        not_after: end.after(now).min(root.not_after()),
        path_len: Some(0),
        crl_url: None,
        issuer_url: issuer_url.as_deref(),
        signature_algorithm: algorithm,
    }
    .to_be_signed();
    sign(signer, ROOT_KEY, algorithm, &to_be_signed).await
}

/// The server's own certificate. It never outlives its issuer.
pub(crate) async fn server(
    signer: &KeySigner,
    issuing: &Certificate,
    key: &PublicKey,
    hosts: &[String],
    public_http: Option<&str>,
    end: End,
    now: UnixTime,
) -> anyhow::Result<Certificate> {
    let (issuing_key, algorithm) = key_of(signer, ISSUING_KEY)?;
    let (mut dns_names, mut ip_addresses) = (Vec::new(), Vec::new());
    for host in hosts {
        match host.parse::<IpAddr>() {
            Ok(address) => ip_addresses.push(address),
            Err(_) => dns_names.push(host.clone()),
        }
    }
    // A name for people; a long host name does not fit, and nobody looks for it here.
    let common_name = hosts
        .iter()
        .find(|host| host.len() <= 64)
        .map_or("imprint server", String::as_str);
    let crl_url = public_http.map(|url| format!("{url}/crl/{ISSUING_KEY}.crl"));
    let issuer_url = public_http.map(|url| format!("{url}/ca/{ISSUING_KEY}.crt"));
    let to_be_signed = Server {
        serial: serial(now).0,
        issuer_der: issuing.subject_der(),
        authority_key_id: key_id(&issuing_key),
        subject_common_name: common_name,
        public_key: key,
        subject_key_id: key_id(key),
        not_before: now.plus(-BACKDATE_SECONDS).max(issuing.not_before()),
        not_after: end.after(now).min(issuing.not_after()),
        dns_names: &dns_names,
        ip_addresses: &ip_addresses,
        crl_url: crl_url.as_deref(),
        issuer_url: issuer_url.as_deref(),
        signature_algorithm: algorithm,
    }
    .to_be_signed();
    sign(signer, ISSUING_KEY, algorithm, &to_be_signed).await
}

/// How many bytes the certificate of a device with a P-256 key has under this authority: measured on
/// a specimen with an ordinary hardware id. Nothing is signed for it.
pub(crate) fn device_certificate_bytes(
    issuing: &Certificate,
    public_http: Option<&str>,
) -> anyhow::Result<usize> {
    let key = issuing
        .public_key()
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let crl_url = public_http.map(|url| format!("{url}/crl/{ISSUING_KEY}.crl"));
    let issuer_url = public_http.map(|url| format!("{url}/ca/{ISSUING_KEY}.crt"));
    let product = Product::named("product");
    let name = "product-stm32-2f003c000951343034393936";
    let uris: Vec<_> = Some(product::fill(&product.certificate.uri, name, &product.name))
        .into_iter()
        .filter(|uri| !uri.is_empty())
        .collect();
    let hardware = imprint_identity::HardwareId::parse("stm32:2f003c000951343034393936")?;
    let hw_type = hardware.source().hw_type_octets();
    let to_be_signed = Leaf {
        serial: [1; 20],
        issuer_der: issuing.subject_der(),
        authority_key_id: key_id(key),
        subject_common_name: name,
        public_key: key,
        subject_key_id: key_id(key),
        not_before: issuing.not_before(),
        not_after: issuing.not_after(),
        hardware: Some((&hw_type, hardware.raw())),
        uris: &uris,
        dns_names: &[],
        crl_url: crl_url.as_deref(),
        issuer_url: issuer_url.as_deref(),
        signature_algorithm: SignatureAlgorithm::EcdsaSha256,
    }
    .to_be_signed();
    let longest_signature = [0x30; 72];
    let algorithm = SignatureAlgorithm::EcdsaSha256;
    let bytes = certificate::assemble(&to_be_signed, algorithm, &longest_signature).len();
    ensure!(
        (500..=1_500).contains(&bytes),
        "a device's certificate would have {bytes} bytes; constrained devices want 500 to 1,500. \
         Use a shorter name or public_http"
    );
    Ok(bytes)
}

/// Signs, and reads back what came out: a certificate that we can't read is not written down.
async fn sign(
    signer: &KeySigner,
    key: &str,
    algorithm: SignatureAlgorithm,
    to_be_signed: &[u8],
) -> anyhow::Result<Certificate> {
    let signature = signer.sign(key, to_be_signed).await?;
    let der = certificate::assemble(to_be_signed, algorithm, &signature);
    Certificate::parse(&der).context("the certificate that was just made can't be read")
}

fn key_of(signer: &KeySigner, name: &str) -> anyhow::Result<(PublicKey, SignatureAlgorithm)> {
    let spki = signer
        .public_key(name)
        .with_context(|| format!("there is no key {name:?}"))?;
    let algorithm = signer
        .signature_algorithm(name)
        .with_context(|| format!("key {name:?} has no algorithm"))?;
    let key = PublicKey::parse(spki).with_context(|| format!("key {name:?} can't be read"))?;
    Ok((key, algorithm))
}

/// The leftmost 160 bits of SHA-256 over the key (RFC 7093 section 2, method 1).
fn key_id(key: &PublicKey) -> [u8; 20] {
    let hash = digest::digest(&digest::SHA256, key.key_bits());
    let mut id = [0; 20];
    id.iter_mut()
        .zip(hash.as_ref())
        .for_each(|(to, from)| *to = *from);
    id
}

/// A device whose clock is behind by up to a day accepts what was made a moment ago; no device
/// certificate is backdated further than this.
const BACKDATE_SECONDS: i64 = 86_400;
