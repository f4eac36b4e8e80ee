//! `imprint init`: makes a server's directory, whole or not at all.
//!
//! Everything is made beside its place and moved there at the end, so that a directory that is
//! there is complete, whatever the power did meanwhile.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use imprint_pkix::certificate::Certificate;
use imprint_pkix::key::PublicKey;
use imprint_pkix::pem;
use imprint_registrar::{Ledger as _, Signer as _};
use imprint_signer::{KeyAlgorithm, KeyDirectory, KeySigner};
use imprint_sqlite::Sqlite;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::ceremony::{self, End, ISSUING_KEY, ROOT_KEY};
use crate::cli::Init;
use crate::directory::{Directory, sync_directory, write_new};
use crate::open::{SERVER_KEY_CONTEXT, read_seal};
use crate::outcome::Outcome;
use crate::problem::Problem;
use crate::settings::{check_hosts, check_name, public_http};
use crate::world;

/// What was made, for `--json`.
#[derive(Debug, Serialize)]
struct Made {
    directory: PathBuf,
    admin_token_file: PathBuf,
    root_certificate: PathBuf,
    root_key: PathBuf,
    hosts: Vec<String>,
    public_http: Option<String>,
    /// A device's certificate with a P-256 key.
    device_certificate_bytes: usize,
    /// That, and the issuing authority's: what a device sends in TLS.
    device_chain_bytes: usize,
    server_certificate_bytes: usize,
    /// That, and the issuing authority's: what the server sends in TLS.
    server_chain_bytes: usize,
    root_not_after: String,
    issuing_not_after: String,
    /// Under which devices register with Azure's SDKs.
    id_scope: String,
    for_tests: bool,
}

pub(crate) async fn run(dir: &Path, order: Init, json: bool) -> anyhow::Result<Outcome> {
    let hosts = if order.hosts.is_empty() {
        default_hosts()
    } else {
        order.hosts.clone()
    };
    check_name(&order.name).map_err(|reason| anyhow::anyhow!("--name: {reason}"))?;
    check_hosts(&hosts).map_err(|reason| anyhow::anyhow!("--host: {reason}"))?;
    refuse_existing(dir)?;

    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).with_context(|| format!("{} can't be made", parent.display()))?;
    let workshop = tempfile::Builder::new()
        .prefix(".imprint-init-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .with_context(|| format!("nothing can be made in {}", parent.display()))?;
    let made = make(workshop.path(), dir, &order, hosts).await?;

    // The last step is one rename: a directory of this name exists from now on, and is complete.
    refuse_existing(dir)?;
    fs::rename(workshop.path(), dir)
        .with_context(|| format!("{} can't be put in place", dir.display()))?;
    let _ = workshop.keep();
    sync_directory(parent)?;
    let text = if json {
        serde_json::to_string(&made)?
    } else {
        describe(&made, dir)
    };
    Ok(Outcome::done(text))
}

fn refuse_existing(dir: &Path) -> anyhow::Result<()> {
    if fs::symlink_metadata(dir).is_ok() {
        bail!(Problem::new(
            "directory-exists",
            format!(
                "{} exists already; nothing there has been touched.",
                dir.display()
            ),
            "Name another directory with --dir, or move that one away yourself.",
        ));
    }
    Ok(())
}

async fn make(
    workshop: &Path,
    dir: &Path,
    order: &Init,
    hosts: Vec<String>,
) -> anyhow::Result<Made> {
    let now = world::now();
    let place = Directory::new(workshop);
    for folder in ["ca", "tls", "run"] {
        fs::create_dir(workshop.join(folder))?;
    }

    // 1. Keys, sealed.
    let seal = read_seal()?;
    let keys = KeyDirectory::init(&place.keys(), &seal, order.for_tests)?;
    keys.create(ROOT_KEY, KeyAlgorithm::P256)?;
    keys.create(ISSUING_KEY, KeyAlgorithm::P256)?;
    let signer = KeySigner::open(&place.keys(), &seal, order.for_tests)?;

    // 2. Authorities.
    let public_http = public_http(order.http, &hosts);
    let public_http = public_http.as_deref();
    let [root_end, issuing_end, server_end] = if order.no_expiry {
        [End::Never; 3]
    } else {
        [
            End::Days(ROOT_DAYS),
            End::Days(ISSUING_DAYS),
            End::Days(SERVER_DAYS),
        ]
    };
    let root = ceremony::root(&signer, &order.name, root_end, now).await?;
    let issuing = ceremony::issuing(
        &signer,
        ISSUING_KEY,
        &format!("{} Issuing CA", order.name),
        &root,
        public_http,
        issuing_end,
        now,
    )
    .await?;
    let device_certificate_bytes = ceremony::device_certificate_bytes(&issuing, public_http)?;

    // 3. The server's own certificate, on a key that is sealed as well.
    let (key_der, key) = new_server_key()?;
    let server = ceremony::server(
        &signer,
        &issuing,
        &key,
        &hosts,
        public_http,
        server_end,
        now,
    )
    .await?;
    let sealed = signer.seal(SERVER_KEY_CONTEXT, &key_der).await?;

    // 4. Files, each on disk before the next.
    let certificate = |one: &Certificate| pem::encode(pem::CERTIFICATE, one.der());
    let chain = [certificate(&server), certificate(&issuing)].concat();
    write_new(
        &place.root_certificate(),
        certificate(&root).as_bytes(),
        0o644,
    )?;
    write_new(
        &place.issuing_certificate(),
        certificate(&issuing).as_bytes(),
        0o644,
    )?;
    write_new(&place.server_chain(), chain.as_bytes(), 0o644)?;
    write_new(&place.server_key(), &sealed, 0o600)?;
    write_new(&place.admin_token(), new_admin_token().as_bytes(), 0o600)?;
    write_new(&place.settings(), settings(order, &hosts).as_bytes(), 0o644)?;

    // 5. The database.
    let ledger = Sqlite::open(&place.ledger())?;
    ledger.product_list().await?;
    ledger.close()?;
    for folder in ["ca", "tls", "run", "keys", "."] {
        sync_directory(&workshop.join(folder))?;
    }

    let there = Directory::new(dir);
    Ok(Made {
        directory: dir.to_owned(),
        admin_token_file: there.admin_token(),
        root_certificate: there.root_certificate(),
        root_key: there.keys().join(format!("{ROOT_KEY}.key")),
        hosts,
        public_http: public_http.map(ToOwned::to_owned),
        device_certificate_bytes,
        device_chain_bytes: device_certificate_bytes + issuing.der().len(),
        server_certificate_bytes: server.der().len(),
        server_chain_bytes: server.der().len() + issuing.der().len(),
        root_not_after: root.not_after().to_string(),
        issuing_not_after: issuing.not_after().to_string(),
        id_scope: crate::open::id_scope_of(&root),
        for_tests: order.for_tests,
    })
}

/// PKCS#8 of the server's TLS key, and its public half.
pub(crate) fn new_server_key() -> anyhow::Result<(Zeroizing<Vec<u8>>, PublicKey)> {
    let failed = |_| anyhow::anyhow!("a TLS key can't be made");
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?;
    let pkcs8 = pair.to_pkcs8v1().map_err(failed)?;
    let spki = pair.public_key().as_der().map_err(failed)?;
    let public = PublicKey::parse(spki.as_ref()).context("the TLS key that was just made")?;
    Ok((Zeroizing::new(pkcs8.as_ref().to_vec()), public))
}

/// 256 random bits as text. The prefix lets scanners for leaked secrets find it.
fn new_admin_token() -> Zeroizing<String> {
    let mut secret = Zeroizing::new([0; 32]);
    world::chance(&mut *secret);
    Zeroizing::new(format!("imprint-admin-{}\n", hex::encode(*secret)))
}

/// The names by which this machine is surely reached.
fn default_hosts() -> Vec<String> {
    let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim().to_lowercase();
    if !hosts.contains(&name) && check_hosts(std::slice::from_ref(&name)).is_ok() {
        hosts.push(name);
    }
    hosts
}

fn settings(order: &Init, hosts: &[String]) -> String {
    let quoted: Vec<_> = hosts.iter().map(|host| format!("{host:?}")).collect();
    let days = if order.no_expiry { 0 } else { SERVER_DAYS };
    let name = toml::Value::String(order.name.clone()).to_string();
    SETTINGS
        .replace("@NAME", &name)
        .replace("@HOSTS", &quoted.join(", "))
        .replace("@HTTPS", &order.https.to_string())
        .replace("@HTTP", &order.http.to_string())
        .replace("@MQTTS", &order.mqtts.to_string())
        .replace("@ADMIN", &order.admin.to_string())
        .replace("@DAYS", &days.to_string())
        .replace("@TESTS", &order.for_tests.to_string())
}

fn describe(made: &Made, dir: &Path) -> String {
    let mut text = String::new();
    let dir = dir.display();
    let pointers = match &made.public_http {
        Some(url) => format!("{url}/crl/issuing.crl (change `public_http` before devices join)"),
        None => "none; set `public_http` before devices join if you want them".to_owned(),
    };
    let _ = write!(
        text,
        "Made {dir} for {hosts}.

  root CA             until {root_end}  {root}
  issuing CA          until {issuing_end}
  device certificate  {leaf} bytes with a P-256 key, {chain} with the issuing CA's
  server certificate  {server} bytes, {server_chain} with the issuing CA's
  CRL pointers        {pointers}
  id scope            {scope}
  admin token         {token}

The root key is needed again only to make another issuing CA. Take it offline: move
{key} to a medium that you lock away, together with a copy of
{dir}/keys/seal.key, without which it does not open.
seal.key unseals every key here: keep it out of backups, or leave it out of the directory altogether
and give it in IMPRINT_SEAL_KEY (64 hex digits).

Next: write a fleet file with
  [[product]]
  name = \"thermo\"
then `imprint apply FILE`, `imprint serve`, and `imprint token new --product thermo`.",
        hosts = made.hosts.join(", "),
        root_end = made.root_not_after,
        root = made.root_certificate.display(),
        issuing_end = made.issuing_not_after,
        leaf = made.device_certificate_bytes,
        chain = made.device_chain_bytes,
        server = made.server_certificate_bytes,
        server_chain = made.server_chain_bytes,
        scope = made.id_scope,
        token = made.admin_token_file.display(),
        key = made.root_key.display(),
    );
    if made.for_tests {
        text.push_str(
            "\n\nThese keys are marked as test keys: never put them in front of a fleet.",
        );
    }
    text
}

const ROOT_DAYS: u32 = 25 * 365 + 6;
const ISSUING_DAYS: u32 = 10 * 365 + 2;
const SERVER_DAYS: u32 = 365;

const SETTINGS: &str = r#"# Imprint's settings. Products are not here: they come from `imprint apply FILE`.
# Read at start: restart the server after a change.

# The fleet's name, as it stands in the authorities' certificates.
name = @NAME

# The DNS names and IP addresses under which devices reach this server. The server makes itself a
# new certificate when it starts with other hosts than before.
hosts = [@HOSTS]

# Listeners: "address:port", or "off". Port 0 takes a free port at each start.
# https: devices (EST, /v1/...).
https = "@HTTPS"
# http: CA certificates and revocation lists, in the clear as PKI serves them, and nothing else.
http = "@HTTP"
# mqtts: devices over MQTT 3.1.1 and 5, for the topics of provisioning alone: it is no broker.
mqtts = "@MQTTS"
# admin: operators. The `imprint` commands find it by themselves.
admin = "@ADMIN"

# Whether https speaks MQTT as well, with clients that ask for it in TLS (ALPN "mqtt" or
# "x-amzn-mqtt-ca"): one port for all devices, such as 443.
# mqtt_on_https = true

# Devices with Azure's SDKs register under this id scope. Left out, it is made of the root certificate,
# and `imprint status` shows it.
# id_scope = "0ne00000000"
# The host to which they are sent afterwards, on port 8883, without the port: this server, by a name that
# they can reach it by. Left out, it is the first of the hosts above.
# hub = "hub.example"

# Whether a device with the certificate of a registered CA, registered by its first MQTT connection, is
# hung up on without an answer and has to connect again, as AWS does it. Only for clients that rely
# on that.
# just_in_time_hang_up = true

# The URL under which devices and relying parties reach the http listener. Certificates point there
# for revocation lists. Left out, it is made of the first host above that is not this machine's own
# loopback, and of http's port; with port 0, certificates point nowhere.
# public_http = "http://pki.example:8080"

# Proxies in front of the https listener whose X-Forwarded-For is believed, so that limits count
# devices' addresses and not the proxy's.
# trusted_proxies = ["192.0.2.1", "10.0.0.0/8"]
# Whether those speak the PROXY protocol (version 1 or 2), as TCP load balancers do.
# proxy_protocol = false

# The authorities (PEM) by which those are known whom this server calls, webhooks for one. Left out:
# those that the operating system trusts.
# outbound_ca = "ca/outbound.pem"

# Days for which the server makes its own certificate; it does so by itself when a third is left.
# 0 for no expiry.
server_certificate_days = @DAYS

# The log, on stderr: "text" or "json"; "error", "warn", "info" or "debug".
log_format = "text"
log_level = "info"

# Whether the keys here are marked as not to be trusted. Changing this does not change the keys.
for_tests = @TESTS

# Bounds for all devices together; each product has its own pace in the fleet file. 0 newcomers a
# second is no limit. Renewals and devices that are in already are not counted.
# [limits]
# enrollments_per_second = 0
# burst = 10
# connections = 8192
# connections_per_address = 6144
# requests_in_flight = 1024

# Who is told what happens in the fleet: each event is posted there as JSON, signed, in order, at
# least once. `imprint events key URL` prints the key. Kinds left out: all of them.
# [[webhook]]
# url = "https://hooks.example/imprint"
# kinds = ["device-*", "certificate-revoked"]
"#;

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::settings::Settings;
    use crate::toml_file;

    fn order(arguments: &[&str]) -> Init {
        let cli = Cli::parse_from(["imprint", "init"].iter().chain(arguments));
        let Command::Init(order) = cli.command else {
            panic!("init is init")
        };
        order
    }

    #[test]
    fn the_settings_that_are_written_are_settings_that_are_read() {
        let order = order(&["--name", "A \"quoted\" fleet", "--https", "127.0.0.1:0"]);
        let text = settings(&order, &["a.example".into(), "::1".into()]);
        let read: Settings = toml_file::parse(&text).unwrap();
        assert_eq!(read.name, "A \"quoted\" fleet");
        assert_eq!(read.hosts, ["a.example", "::1"]);
        assert_eq!(read.https.0, Some("127.0.0.1:0".parse().unwrap()));
        assert!(text.contains("\nhttps = \"127.0.0.1:0\"\n"));
        assert!(!text.contains('@'), "{text}");
    }
}
