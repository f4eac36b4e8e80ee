//! What is wrong between this device and its server, found without enrolling: every layer from the
//! root file to the server's own clock, in order, each with what to do about it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use imprint_identity::UnixTime;
use serde::Serialize;

use crate::calls::{CallError, Server};
use crate::exit::Exit;
use crate::http::{Connection, Endpoint, LinkError, Timeouts, dial, resolve};
use crate::tls::Suites;
use crate::trust::{Roots, Time, TrustError, judge_server};

/// What to look at. The binary reads clock and environment.
#[derive(Debug, Clone)]
pub struct CheckSettings {
    /// The server.
    pub server: Endpoint,
    /// The file of the pinned root.
    pub root: PathBuf,
    /// The product, to see whether the server has it.
    pub product: Option<String>,
    /// The device's clock, whether it is believed or not.
    pub clock: UnixTime,
    /// When this build was made: a clock before it is wrong.
    pub built: UnixTime,
    /// The proxy variables of the environment, as `(name, value)`: `https_proxy`, `ALL_PROXY`, ...
    pub proxies: Vec<(String, String)>,
    /// How long to wait.
    pub timeouts: Timeouts,
}

/// What was found, in the order in which it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// One finding a layer; after the first fault there are no more.
    pub findings: Vec<Finding>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which one: `root`, `clock`, `proxy`, `dns`, `route`, `tcp`, `tls`, `pin`, `time`, `product`.
    pub layer: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// What a person does, where something is wrong.
    pub advice: Option<String>,
}

/// How a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Odd, and no obstacle.
    Odd,
    /// An obstacle; the exit code names it.
    Wrong(#[serde(skip)] Exit),
}

impl Diagnosis {
    /// The first fault's exit code.
    pub fn exit(&self) -> Exit {
        let faults = self
            .findings
            .iter()
            .filter_map(|finding| match finding.verdict {
                Verdict::Wrong(exit) => Some(exit),
                Verdict::Good | Verdict::Odd => None,
            });
        faults.into_iter().next().unwrap_or(Exit::Good)
    }
}

/// Looks at every layer, and stops at the first that is broken: what is above it can't be seen.
pub async fn check(settings: &CheckSettings) -> Diagnosis {
    let mut findings = Vec::new();
    // `Err` holds the finding that ends the diagnosis.
    if let Err(fault) = look(settings, &mut findings).await {
        findings.push(fault);
    }
    Diagnosis { findings }
}

async fn look(settings: &CheckSettings, findings: &mut Vec<Finding>) -> Result<(), Finding> {
    let roots = Arc::new(root(settings, findings)?);
    findings.push(clock(settings));
    let proxy = proxy(settings);
    let proxied = proxy.is_some();
    findings.extend(proxy);
    let addresses = dns(settings, findings).await?;
    route(&addresses, findings)?;
    tcp(settings, &addresses, proxied, findings).await?;
    let server = Server {
        endpoint: settings.server.clone(),
        roots,
        product: settings.product.clone(),
        timeouts: settings.timeouts,
        suites: Suites::All,
        trips: Arc::new(AtomicU32::new(0)),
    };
    let mut connection = tls(settings, &server, findings).await?;
    let at = time(settings, &server, &mut connection, findings).await?;
    validity(&server, &connection, at, findings)?;
    product(&server, &mut connection, findings).await
}

fn root(settings: &CheckSettings, findings: &mut Vec<Finding>) -> Result<Roots, Finding> {
    let roots = Roots::read(&settings.root).map_err(|error| {
        let advice = "copy the fleet's root (ca/root.pem on the server) to this file";
        wrong("root", Exit::Root, error.to_string(), advice)
    })?;
    let seen = format!(
        "{} (SHA-256 {})",
        settings.root.display(),
        roots.fingerprints().join(", ")
    );
    findings.push(good("root", seen));
    Ok(roots)
}

fn clock(settings: &CheckSettings) -> Finding {
    let CheckSettings { clock, built, .. } = settings;
    if clock < built {
        let seen = format!("the clock says {clock}, before this program was built ({built})");
        let advice = "no obstacle: the device takes the server's time; other programs may mind";
        return odd("clock", seen, advice);
    }
    good("clock", format!("the clock says {clock}"))
}

/// A proxy is not used; where only a proxy leads out, the connection fails, and this says why.
fn proxy(settings: &CheckSettings) -> Option<Finding> {
    let (name, value) = settings
        .proxies
        .iter()
        .find(|(_, value)| !value.is_empty())?;
    let seen = format!("{name} is set to {}", without_password(value));
    let advice = "the agent connects directly; let the device reach the server without the proxy";
    Some(odd("proxy", seen, advice))
}

fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => url.to_owned(),
    }
}

async fn dns(
    settings: &CheckSettings,
    findings: &mut Vec<Finding>,
) -> Result<Vec<SocketAddr>, Finding> {
    let found = resolve(&settings.server, settings.timeouts.connect).await;
    let addresses = found.map_err(|error| {
        let advice = "check the name in the server's URL, and /etc/resolv.conf of this device";
        wrong("dns", Exit::Dns, with_cause(&error), advice)
    })?;
    let list: Vec<_> = addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    findings.push(good(
        "dns",
        format!("{} is {}", settings.server.host, list.join(", ")),
    ));
    Ok(addresses)
}

/// Connecting a UDP socket sends nothing and asks the kernel for its route.
fn route(addresses: &[SocketAddr], findings: &mut Vec<Finding>) -> Result<(), Finding> {
    let mut failure = io::Error::from(io::ErrorKind::NetworkUnreachable);
    for address in addresses {
        let here = if address.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let local = UdpSocket::bind(here).and_then(|socket| {
            socket.connect(address)?;
            socket.local_addr()
        });
        match local {
            Ok(local) => {
                findings.push(good(
                    "route",
                    format!("to {} from {}", address.ip(), local.ip()),
                ));
                return Ok(());
            }
            Err(error) => failure = error,
        }
    }
    let advice = "check the cable or radio, the address and the default route (`ip route`)";
    Err(wrong(
        "route",
        Exit::Route,
        format!("there is no route to the server: {failure}"),
        advice,
    ))
}

async fn tcp(
    settings: &CheckSettings,
    addresses: &[SocketAddr],
    proxied: bool,
    findings: &mut Vec<Finding>,
) -> Result<(), Finding> {
    let stream = dial(addresses, settings.timeouts.connect)
        .await
        .map_err(|error| {
            let refused = matches!(&error, LinkError::Connect { source, .. }
            if source.kind() == io::ErrorKind::ConnectionRefused);
            let advice = match (refused, proxied) {
                (true, _) => "nobody listens there: check the port, and that `imprint serve` runs",
                (false, true) => {
                    "a proxy is set, so direct connections may be blocked: open the way"
                }
                (false, false) => {
                    "packets vanish: check firewalls between the device and the server"
                }
            };
            let exit = if proxied && !refused {
                Exit::Proxy
            } else {
                Exit::Tcp
            };
            wrong("tcp", exit, with_cause(&error), advice)
        })?;
    let peer = stream
        .peer_addr()
        .map_or_else(|_| settings.server.to_string(), |a| a.to_string());
    findings.push(good("tcp", format!("{peer} accepts")));
    Ok(())
}

async fn tls(
    settings: &CheckSettings,
    server: &Server,
    findings: &mut Vec<Finding>,
) -> Result<Connection, Finding> {
    // The floor and not the clock: whether the clock is right is a finding of its own.
    let opened = server.open(Time::AtLeast(settings.built), None).await;
    let connection = opened.map_err(|error| {
        if let LinkError::Trust(trust) = &error {
            return untrusted(trust, settings);
        }
        let advice = "see what listens at that port; a proxy or another service may answer";
        wrong("tls", Exit::Tls, with_cause(&error), advice)
    })?;
    findings.push(good("tls", "the handshake is done".to_owned()));
    findings.push(good(
        "pin",
        "the server's certificate is from the pinned root".to_owned(),
    ));
    Ok(connection)
}

fn untrusted(trust: &TrustError, settings: &CheckSettings) -> Finding {
    let seen = format!("the server at {}: {trust}", settings.server);
    match trust {
        TrustError::Name { .. } => {
            let advice = "use a name that is in the certificate, or renew the server's \
                          certificate with `--host` and this name";
            wrong("pin", Exit::Name, seen, advice)
        }
        TrustError::Expired { .. } | TrustError::NotYetValid { .. } => {
            wrong("pin", Exit::Clock, seen, "renew the server's certificate")
        }
        _ => {
            let advice = "compare the root file with ca/root.pem on the server; if they are the \
                          same, somebody stands in between (a captive portal, an inspecting proxy)";
            wrong("pin", Exit::Pin, seen, advice)
        }
    }
}

async fn time(
    settings: &CheckSettings,
    server: &Server,
    connection: &mut Connection,
    findings: &mut Vec<Finding>,
) -> Result<UnixTime, Finding> {
    let at = server
        .time(connection)
        .await
        .map_err(|error| no_registrar("time", &error))?;
    let ahead = settings.clock.since(at);
    if at < settings.built {
        let seen = format!("the server says {at}, before this program was built");
        return Err(wrong(
            "time",
            Exit::Clock,
            seen,
            "set the clock of the server",
        ));
    }
    if ahead.abs() > TOLERATED_SECONDS {
        let seen = format!("the server says {at}; this clock is {ahead} seconds ahead of it");
        let advice = "no obstacle to enrolling; set one of the two clocks";
        findings.push(odd("time", seen, advice));
    } else {
        findings.push(good("time", format!("the server says {at}")));
    }
    Ok(at)
}

/// By the server's own time, the server's certificate must be valid: the device judges so too.
fn validity(
    server: &Server,
    connection: &Connection,
    at: UnixTime,
    findings: &mut Vec<Finding>,
) -> Result<(), Finding> {
    let chain = connection.server_chain();
    judge_server(chain, &server.roots, &server.endpoint.name, Time::Known(at)).map_err(
        |error| {
            let advice = "renew the server's certificate, or set the server's clock";
            wrong("validity", Exit::Clock, error.to_string(), advice)
        },
    )?;
    findings.push(good(
        "validity",
        "the server's certificate is valid by its own time".to_owned(),
    ));
    Ok(())
}

/// `cacerts` needs no credential, and names the product in its path.
async fn product(
    server: &Server,
    connection: &mut Connection,
    findings: &mut Vec<Finding>,
) -> Result<(), Finding> {
    let Some(product) = &server.product else {
        return Ok(());
    };
    match server.ca_certs(connection).await {
        Ok(certificates) => {
            let seen = format!(
                "{product} is known, with {} CA certificates",
                certificates.len()
            );
            findings.push(good("product", seen));
            Ok(())
        }
        Err(error) => Err(no_registrar("product", &error)),
    }
}

fn no_registrar(layer: &'static str, error: &CallError) -> Finding {
    let advice = match error {
        CallError::Refused(refusal) if refusal.note.is_some() => {
            "check the product's name on the server (`imprint apply`)"
        }
        _ => "the server answers, but not as a registrar: check host and port",
    };
    wrong(layer, Exit::Http, with_cause(error), advice)
}

fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn good(layer: &'static str, seen: String) -> Finding {
    Finding {
        layer,
        verdict: Verdict::Good,
        seen,
        advice: None,
    }
}

fn odd(layer: &'static str, seen: String, advice: &str) -> Finding {
    Finding {
        layer,
        verdict: Verdict::Odd,
        seen,
        advice: Some(advice.to_owned()),
    }
}

fn wrong(layer: &'static str, exit: Exit, seen: String, advice: &str) -> Finding {
    Finding {
        layer,
        verdict: Verdict::Wrong(exit),
        seen,
        advice: Some(advice.to_owned()),
    }
}

/// Clocks may differ by so much before it is worth a word.
const TOLERATED_SECONDS: i64 = 120;
