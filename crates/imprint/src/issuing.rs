//! `imprint ca new`: another issuing authority under the same root.
//!
//! It is made beside a running server, which goes on as it was and signs by it after its next start.

use std::path::Path;

use anyhow::Context as _;
use imprint_signer::{KeyAlgorithm, KeyDirectory, KeySigner};
use serde::Serialize;

use crate::ceremony::{self, End, ISSUING_KEY, ROOT_KEY};
use crate::cli::CaNew;
use crate::directory::{Directory, sync_directory, write_new};
use crate::open::{read_certificate, read_seal};
use crate::outcome::Outcome;
use crate::problem::Problem;
use crate::settings::Settings;
use crate::world;

/// What was made, for `--json`.
#[derive(Debug, Serialize)]
struct Made {
    name: String,
    certificate: std::path::PathBuf,
    not_after: String,
}

pub(crate) async fn run(dir: &Path, order: &CaNew, json: bool) -> anyhow::Result<Outcome> {
    let directory = Directory::existing(dir)?;
    let settings = Settings::read(&directory.settings())?;
    let name = &order.name;
    let path = directory.authority(name);
    check(name)?;
    if path.exists() {
        return Err(Problem::new(
            "ca-exists",
            format!("There is an issuing authority {name:?} already; nothing has been touched."),
            "See `imprint ca info`; choose another name.",
        )
        .into());
    }
    let seal = read_seal()?;
    let root = read_certificate(&directory.root_certificate())?;
    if !directory.keys().join(format!("{ROOT_KEY}.key")).exists() {
        return Err(Problem::new(
            "root-key-missing",
            "The root's key is not here, and nobody else can sign for an issuing authority.",
            "Bring keys/root.key back from where it is locked away, for as long as this takes.",
        )
        .into());
    }
    // 1. A key, sealed. One that a power cut has left without a certificate is good.
    if !directory.keys().join(format!("{name}.key")).exists() {
        KeyDirectory::at(&directory.keys(), &seal)?.create(name, KeyAlgorithm::P256)?;
    }
    // 2. Its certificate: from now on the authority is there.
    let signer = KeySigner::open(&directory.keys(), &seal, settings.for_tests)?;
    let certificate = ceremony::issuing(
        &signer,
        name,
        &format!("{} {name} CA", settings.name),
        &root,
        settings.public_http().as_deref(),
        End::Days(order.days),
        world::now(),
    )
    .await?;
    let pem = imprint_pkix::pem::encode(imprint_pkix::pem::CERTIFICATE, certificate.der());
    write_new(&path, pem.as_bytes(), 0o644)?;
    sync_directory(path.parent().context("an authority lies in ca/")?)?;
    let made = Made {
        name: name.clone(),
        not_after: certificate.not_after().to_string(),
        certificate: path,
    };
    Ok(Outcome::done(if json {
        serde_json::to_string(&made)?
    } else {
        format!(
            "Made issuing authority {name:?} under the root, good until {}.\n\
             Restart the server; then a product with `ca = {name:?}` is signed for by it.",
            made.not_after
        )
    }))
}

fn check(name: &str) -> anyhow::Result<()> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let edges = [name.bytes().next(), name.bytes().last()];
    let sound = (1..=32).contains(&name.len())
        && name.bytes().all(inner)
        && edges.iter().flatten().all(u8::is_ascii_alphanumeric);
    if sound && ![ROOT_KEY, ISSUING_KEY, "seal", "token"].contains(&name) {
        return Ok(());
    }
    Err(Problem::new(
        "name-unsound",
        format!("{name:?} can't be the name of an issuing authority."),
        "Use 1 to 32 of a-z, 0-9 and '-', no mark at the ends, and no name that is taken: root, issuing.",
    )
    .into())
}
