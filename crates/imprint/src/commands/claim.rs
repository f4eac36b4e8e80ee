//! `imprint claim ...`.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use http::Method;
use imprint_pkix::{SignatureAlgorithm, csr, pem};
use imprint_registrar::Fleet;
use imprint_registrar::claims::definition::{Claim as Definition, ClaimLimits};
use imprint_server::admin::views::{
    ClaimCertificateAdoption, ClaimCertificateOrder, ClaimCertificateView, ClaimIssuedView,
    ClaimRevocation, ClaimView, Reason,
};
use zeroize::Zeroizing;

use super::shown;
use crate::cli::{Claim, ClaimNew};
use crate::desk::{Desk, encoded};
use crate::directory::{sync_directory, write_new};
use crate::outcome::{Outcome, facts, table};
use crate::problem::Problem;

/// Looks at the places of files before anything is asked; answers a certificate that is to be taken in.
pub(super) fn prepare(order: &Claim) -> anyhow::Result<Option<String>> {
    match order {
        Claim::New(new) => {
            if let Some(path) = &new.cert {
                return Ok(Some(super::device::read(path)?));
            }
            let name = new.name.as_deref().unwrap_or(&new.product);
            let out = new.out.as_deref().unwrap_or(Path::new("."));
            Files::new(out, name).make_room()?;
        }
        Claim::Rotate { claim, out, .. } => Files::new(out, claim).make_room()?,
        _ => {}
    }
    Ok(None)
}

pub(super) async fn run(
    desk: &mut Desk,
    order: Claim,
    certificate: Option<String>,
    json: bool,
) -> anyhow::Result<Outcome> {
    match order {
        Claim::New(order) => new(desk, order, certificate, json).await,
        Claim::Rotate {
            claim,
            expires,
            revoke_old,
            out,
        } => rotate(desk, &claim, expires, revoke_old, &out, json).await,
        Claim::List => {
            let text = desk.ask(Method::GET, "/api/v1/claims", None::<&()>).await?;
            shown(text, json, list)
        }
        Claim::Show { claim } => {
            let text = desk.ask(Method::GET, &path(&claim), None::<&()>).await?;
            shown(text, json, show)
        }
        Claim::Revoke {
            claim,
            certificate,
            reason,
        } => {
            let order = ClaimRevocation {
                reason,
                certificate,
            };
            act(desk, &claim, "revoke", Some(&order), json).await
        }
        Claim::Freeze { claim, reason } => {
            act(desk, &claim, "freeze", Some(&Reason { reason }), json).await
        }
        Claim::Thaw { claim } => act(desk, &claim, "thaw", None::<&()>, json).await,
    }
}

async fn new(
    desk: &mut Desk,
    order: ClaimNew,
    certificate: Option<String>,
    json: bool,
) -> anyhow::Result<Outcome> {
    let name = order.name.unwrap_or_else(|| order.product.clone());
    let known: Vec<ClaimView> = desk.get("/api/v1/claims").await?;
    if known.iter().any(|claim| claim.definition.name == name) {
        bail!(Problem::new(
            "claim-exists",
            format!("There is a claim {name:?} already."),
            "Name this one with --name, or make another certificate with `imprint claim rotate`.",
        ));
    }
    let fleet = Fleet {
        claims: vec![Definition {
            templates: order.templates,
            allowlist: order.allowlist,
            limits: ClaimLimits {
                total: order.cap.unwrap_or(0),
                ..ClaimLimits::default()
            },
            ..Definition::named(&name, &order.product)
        }],
        ..Fleet::default()
    };
    let apply = "/api/v1/fleet/apply";
    if let Some(certificate) = certificate {
        desk.ask(Method::POST, apply, Some(&fleet)).await?;
        let body = ClaimCertificateAdoption { certificate };
        let path = format!("{}/certificates/adopt", path(&name));
        let text = desk.ask(Method::POST, &path, Some(&body)).await?;
        return shown(text, json, show);
    }
    let files = Files::new(order.out.as_deref().unwrap_or(Path::new(".")), &name);
    let request = files.new_key(&name)?;
    let asked = async {
        desk.ask(Method::POST, apply, Some(&fleet)).await?;
        issue(desk, &name, &request, order.expires).await
    };
    let text = files.keep(asked.await)?;
    shown(text, json, |issued| files.told(issued))
}

/// A new certificate beside the old ones, which go on unless they are to end now.
async fn rotate(
    desk: &mut Desk,
    name: &str,
    expires: Option<i64>,
    revoke_old: bool,
    out: &Path,
    json: bool,
) -> anyhow::Result<Outcome> {
    let before: ClaimView = desk.get(&path(name)).await?;
    let files = Files::new(out, name);
    let request = files.new_key(name)?;
    let text = files.keep(issue(desk, name, &request, expires).await)?;
    let old = before
        .certificates
        .into_iter()
        .filter(|old| old.state == "active");
    let old: Vec<_> = old.filter_map(|old| old.fingerprint).collect();
    if revoke_old {
        for fingerprint in &old {
            let order = ClaimRevocation {
                certificate: Some(fingerprint.clone()),
                ..ClaimRevocation::default()
            };
            let path = format!("{}/revoke", path(name));
            desk.ask(Method::POST, &path, Some(&order)).await?;
        }
    }
    shown(text, json, |issued| {
        let after = match (old.len(), revoke_old) {
            (0, _) => String::new(),
            (many, true) => format!("\n{many} older revoked."),
            (many, false) => {
                format!(
                    "\n{many} older still heard: `imprint claim revoke --certificate` ends one."
                )
            }
        };
        files.told(issued) + &after
    })
}

async fn issue(
    desk: &mut Desk,
    name: &str,
    request: &str,
    expires_in_seconds: Option<i64>,
) -> anyhow::Result<String> {
    let body = ClaimCertificateOrder {
        csr: request.to_owned(),
        expires_in_seconds,
    };
    let path = format!("{}/certificates", path(name));
    desk.ask(Method::POST, &path, Some(&body)).await
}

async fn act(
    desk: &mut Desk,
    claim: &str,
    act: &str,
    body: Option<&(impl serde::Serialize + Sync)>,
    json: bool,
) -> anyhow::Result<Outcome> {
    let path = format!("{}/{act}", path(claim));
    shown(desk.ask(Method::POST, &path, body).await?, json, show)
}

/// Where a claim's key and certificate go, and what devices trust.
struct Files {
    out: PathBuf,
    key: PathBuf,
    certificate: PathBuf,
    root: PathBuf,
}

impl Files {
    fn new(out: &Path, name: &str) -> Self {
        Self {
            out: out.to_owned(),
            key: out.join(format!("claim-{name}.key")),
            certificate: out.join(format!("claim-{name}.pem")),
            root: out.join("root.pem"),
        }
    }

    /// Nothing that is there is written over.
    fn make_room(&self) -> anyhow::Result<()> {
        for path in [&self.key, &self.certificate] {
            if fs::symlink_metadata(path).is_ok() {
                bail!(Problem::new(
                    "file-exists",
                    format!(
                        "{} exists already; nothing has been touched.",
                        path.display()
                    ),
                    "Name another directory with --out.",
                ));
            }
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.out)
            .with_context(|| format!("{} can't be made", self.out.display()))
    }

    /// Makes the key, keeps it for its owner's eyes, and answers a request for its certificate. The key
    /// is on disk before anybody hears of it.
    fn new_key(&self, name: &str) -> anyhow::Result<String> {
        let failed = |_| anyhow::anyhow!("a key can't be made");
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?;
        let private = pair.to_pkcs8v1().map_err(failed)?;
        let text = Zeroizing::new(pem::encode("PRIVATE KEY", private.as_ref()));
        write_new(&self.key, text.as_bytes(), 0o600)?;
        let public = pair.public_key().as_der().map_err(failed)?;
        let info = csr::request_info_der(&format!("claim-{name}"), public.as_ref(), None);
        let signature = pair.sign(&SystemRandom::new(), &info).map_err(failed)?;
        let algorithm = SignatureAlgorithm::EcdsaSha256;
        let der = csr::assemble(&info, algorithm, signature.as_ref());
        Ok(pem::encode(pem::CERTIFICATE_REQUEST, &der))
    }

    /// Keeps the certificate that came. A key for which there is none, because the server said no, is
    /// of no use; where nobody knows what the server did, it stays.
    fn keep(&self, answer: anyhow::Result<String>) -> anyhow::Result<String> {
        let text = match answer {
            Ok(text) => text,
            Err(error) => {
                if error.is::<Problem>() {
                    crate::directory::remove_if_there(&self.key)?;
                }
                return Err(error);
            }
        };
        let issued: ClaimIssuedView = serde_json::from_str(&text)?;
        let [issuers @ .., root] = issued.chain.as_slice() else {
            bail!("the answer has no chain");
        };
        // A device shows the chain, because a proxy or another cloud may want it.
        let chain = format!("{}{}", issued.certificate, issuers.concat());
        write_new(&self.certificate, chain.as_bytes(), 0o644)?;
        if fs::symlink_metadata(&self.root).is_err() {
            write_new(&self.root, root.as_bytes(), 0o644)?;
        }
        sync_directory(&self.out)?;
        Ok(text)
    }

    fn told(&self, issued: &ClaimIssuedView) -> String {
        let [key, certificate, root] =
            [&self.key, &self.certificate, &self.root].map(|path| path.display().to_string());
        facts(&[
            ("claim", &issued.claim),
            ("fingerprint", &issued.fingerprint),
            ("until", &issued.not_after),
            (
                "key",
                &format!("{key} (it was made here and is nowhere else)"),
            ),
            ("certificate", &certificate),
            ("root", &root),
        ])
    }
}

#[expect(clippy::ptr_arg, reason = "what the document is read into")]
fn list(claims: &Vec<ClaimView>) -> String {
    let rows: Vec<_> = claims
        .iter()
        .map(|claim| {
            let heard = claim
                .certificates
                .iter()
                .filter(|one| one.state == "active");
            let until = heard.map(|one| one.not_after.as_str()).max();
            [
                claim.definition.name.clone(),
                claim.definition.product.clone(),
                claim.state.clone(),
                registered(claim),
                until.unwrap_or("-").to_owned(),
            ]
        })
        .collect();
    table(["CLAIM", "PRODUCT", "STATE", "REGISTERED", "UNTIL"], &rows)
}

fn registered(claim: &ClaimView) -> String {
    match claim
        .definition
        .limits
        .as_ref()
        .map_or(0, |limits| limits.total)
    {
        0 => claim.granted.to_string(),
        total => format!("{} of {total}", claim.granted),
    }
}

fn show(claim: &ClaimView) -> String {
    let definition = &claim.definition;
    let templates = if definition.templates.is_empty() {
        "all of its product".to_owned()
    } else {
        definition.templates.join(", ")
    };
    let hardware = if definition.allowlist {
        "on the product's allowlist alone"
    } else {
        "as the product says"
    };
    let alarm = |count: u32, limit: Option<u32>, what: &str| match (count, limit) {
        (0, _) => String::new(),
        (count, Some(limit @ 1..)) => format!("{count} {what}, frozen at {limit}"),
        (count, _) => format!("{count} {what}"),
    };
    let limits = definition.limits.as_ref();
    let unknown = alarm(
        claim.unknown_hardware,
        limits.map(|limits| limits.unknown_hardware),
        "hardware ids off the allowlist have asked",
    );
    let two_keys = alarm(
        claim.two_keys,
        limits.map(|limits| limits.two_keys),
        "hardware ids came with two keys",
    );
    let unregistered = match claim.unregistered {
        0 => String::new(),
        many => format!("{many} keys were certified and never registered"),
    };
    let waiting = match claim.waiting {
        0 => String::new(),
        many => format!("{many} certificates"),
    };
    let mut parts = vec![facts(&[
        ("claim", &definition.name),
        ("product", &definition.product),
        ("templates", &templates),
        ("hardware", hardware),
        ("state", &claim.state),
        ("reason", claim.reason.as_deref().unwrap_or_default()),
        ("registered", &registered(claim)),
        ("waiting", &waiting),
        ("alarm", &unknown),
        ("alarm", &two_keys),
        ("lost", &unregistered),
        ("since", &claim.created_at),
        ("changed", &claim.updated_at),
    ])];
    if !claim.certificates.is_empty() {
        let rows: Vec<_> = claim.certificates.iter().map(certificate).collect();
        parts.push(table(
            ["CERTIFICATE", "STATE", "FROM", "UNTIL", "ISSUED"],
            &rows,
        ));
    }
    parts.join("\n\n")
}

fn certificate(certificate: &ClaimCertificateView) -> [String; 5] {
    let issued = if certificate.serial.is_some() {
        "here"
    } else {
        "elsewhere"
    };
    [
        certificate
            .fingerprint
            .clone()
            .unwrap_or_else(|| "-".to_owned()),
        certificate.state.clone(),
        certificate.not_before.clone(),
        certificate.not_after.clone(),
        issued.to_owned(),
    ]
}

fn path(claim: &str) -> String {
    format!("/api/v1/claims/{}", encoded(claim))
}
