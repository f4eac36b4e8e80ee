//! The whole server: it binds, serves, keeps house, and comes to an end.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imprint_dps::{IdScope, NameError};
use imprint_pkix::certs_only;
use imprint_registrar::crl::CrlError;
use imprint_registrar::{Ledger, Registrar, Signer};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{Instrument, Span};

use crate::claim::Provision;
use crate::config::{Config, Identity};
use crate::devices::Devices;
use crate::dps::Dps;
use crate::gate::Gate;
use crate::hostile::Hostile;
use crate::http::{Lists, Shelf};
use crate::limits::ReportRate;
use crate::listener::{Http, Lifetime, Listener, Protocol, bind};
use crate::mqtt::{self, Mqtt, Shared};
use crate::operators::Operators;
use crate::outbound::{Outbound, OutboundError};
use crate::routes::{self, Route};
use crate::tls::{Clients, Shown, Tls};
use crate::webhooks::Courier;
use crate::world::World;

/// The server.
#[derive(Debug, Clone, Copy)]
pub struct Server;

/// A server that runs until it is told to stop. Dropping it stops it without waiting.
pub struct Running {
    addresses: Addresses,
    routes: Vec<Route>,
    shown: Arc<Shown>,
    stop: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
    drain: Duration,
}

/// Where the server listens, with the ports that were given to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Addresses {
    /// Devices.
    pub https: Option<SocketAddr>,
    /// Certificates and revocation lists.
    pub http: Option<SocketAddr>,
    /// Devices over MQTT.
    pub mqtts: Option<SocketAddr>,
    /// Operators.
    pub admin: Option<SocketAddr>,
}

impl Server {
    /// Starts to listen, and answers when every listener does and the revocation lists are out.
    pub async fn start<L: Ledger, S: Signer>(
        config: Config,
        registrar: Arc<Registrar<L, S>>,
        world: World,
    ) -> Result<Running, StartError> {
        // 1. What can be wrong in what we were told.
        let shown = Arc::new(Shown::new(&config.identity)?);
        let mut protocols = HTTP.to_vec();
        if config.mqtt_on_https {
            protocols.extend(mqtt::ALPN);
        }
        let for_devices = Tls::new(&shown, Clients::MayShow, &protocols)?;
        let for_mqtt = Tls::new(&shown, Clients::MayShow, &[])?;
        let for_operators = Tls::new(&shown, Clients::Anonymous, HTTP)?;
        let outbound = Outbound::new(&config.outbound_roots)?;
        let scope = IdScope::new(&config.id_scope)?;
        let (https, https_address) = listen("https", config.https)?;
        let (http, http_address) = listen("http", config.http)?;
        let (mqtts, mqtts_address) = listen("mqtts", config.mqtts)?;
        let (admin, admin_address) = listen("admin", config.admin)?;

        // 2. What relying parties expect to find from the first moment.
        let shelf = Arc::new(Shelf::new(registrar.authorities()));
        let lists = Lists::new(&registrar, &world, &shelf);
        lists.renew().await?;

        let routes = routes::all::<L, S>(&shelf);

        // 3. The tasks.
        let (stop, stopped) = watch::channel(false);
        let (alive, ended) = mpsc::channel(1);
        let lifetime = Lifetime {
            stop: stopped,
            alive,
        };
        let span = match &config.hostile {
            Some(_) => tracing::error_span!("hostile"),
            None => Span::none(),
        };
        let listener = |tls| Listener {
            tls,
            limits: config.limits.clone(),
            proxies: config.trusted_proxies.clone(),
            proxy_protocol: config.proxy_protocol,
            lifetime: lifetime.clone(),
            span: span.clone(),
        };
        let run = Run { span: &span };
        if let Some(socket) = http {
            run.listener(socket, listener(None), Http(Arc::clone(&shelf)));
        }
        if let Some(socket) = admin {
            let door = Operators::new(&registrar, &world, &lists, &config, lifetime.stop.clone());
            run.listener(socket, listener(Some(for_operators)), Http(Arc::new(door)));
        }
        let gate = Arc::new(Gate::new(&config.limits));
        let provision = Arc::new(Provision::new(&registrar, &world, &gate, &outbound));
        let hang_up = config.just_in_time_hang_up;
        let hostile = config.hostile.clone().map(|chance| Hostile { chance });
        let dps = Arc::new(Dps::new(&registrar, &world, scope, &config.hub));
        let mqtt = Mqtt::new(
            &registrar,
            &world,
            &gate,
            &provision,
            &dps,
            hang_up,
            hostile.clone(),
        );
        let mqtt = Arc::new(mqtt);
        if let Some(socket) = mqtts {
            run.listener(socket, listener(Some(for_mqtt)), Arc::clone(&mqtt));
        }
        if let Some(socket) = https {
            // A SET in the order of DER (X.690 section 11.6), as strict readers want it: Python's
            // `cryptography` for one. Nobody looks for the own certificate in this reply.
            let mut ca_certs = registrar.authorities().ca_certs();
            ca_certs.sort_unstable();
            let door = Devices {
                registrar: Arc::clone(&registrar),
                world: world.clone(),
                ca_certs: certs_only::encode(&ca_certs),
                trusted_proxies: config.trusted_proxies.clone(),
                body_timeout: config.limits.body,
                gate,
                provision,
                dps,
                report_rate: Mutex::new(ReportRate::default()),
                hostile,
            };
            let http = Http(Arc::new(door));
            let listener = listener(Some(for_devices));
            run.listener(socket, listener, Shared { http, mqtt });
        }
        for hook in &config.webhooks {
            let courier = Courier::new(&registrar, &world, &outbound, hook.clone());
            tokio::spawn(courier.run(lifetime.clone()).instrument(span.clone()));
        }
        let house = keep_house(registrar, world, lists, lifetime);
        tokio::spawn(house.instrument(span.clone()));
        if config.hostile.is_some() {
            let _in = span.enter();
            tracing::warn!("hostile: replies will be lost, repeated and delayed on purpose");
        }
        let addresses = Addresses {
            https: https_address,
            http: http_address,
            mqtts: mqtts_address,
            admin: admin_address,
        };
        Ok(Running {
            addresses,
            routes,
            shown,
            stop,
            ended,
            drain: config.limits.drain,
        })
    }
}

struct Run<'a> {
    span: &'a Span,
}

impl Run<'_> {
    fn listener<P: Protocol>(&self, socket: TcpListener, listener: Listener, protocol: P) {
        let listening = listener.run(socket, Arc::new(protocol));
        tokio::spawn(listening.instrument(self.span.clone()));
    }
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Everything that can be asked here.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Shows another server certificate from the next connection on. An unusable one is refused and
    /// changes nothing.
    pub fn reload(&self, identity: &Identity) -> Result<(), StartError> {
        Ok(self.shown.exchange(identity)?)
    }

    /// Takes no more connections, lets requests that are under way have their replies, keeps house
    /// one last time.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        // Every task holds a sender and none sends: the end comes when the last one has dropped it.
        let all_gone = self.ended.recv();
        if timeout(self.drain + LAST_HOUSEKEEPING, all_gone)
            .await
            .is_err()
        {
            tracing::warn!("some connections did not end in time and are cut off");
        }
    }
}

/// What has to be done whether or not anybody asks.
async fn keep_house<L: Ledger, S: Signer>(
    registrar: Arc<Registrar<L, S>>,
    world: World,
    lists: Lists<L, S>,
    mut lifetime: Lifetime,
) {
    let mut complaints = (Complaint::default(), Complaint::default());
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = false;
    let mut lists_due = Instant::now();
    while !last {
        tokio::select! {
            _ = beat.tick() => {}
            _ = lifetime.stop.wait_for(|stop| *stop) => last = true,
        }
        complaints
            .0
            .note("housekeeping", registrar.housekeep(world.now()).await);
        let started = Instant::now();
        if started >= lists_due {
            complaints.1.note("revocation list", lists.renew().await);
            // Looking costs in proportion to what was ever revoked; with 100,000 it may take a
            // twentieth of the time and no more.
            lists_due = Instant::now() + started.elapsed() * 20;
        }
    }
    drop(lifetime.alive);
}

/// Says what fails once and not twice a second.
#[derive(Default)]
struct Complaint {
    said: Option<String>,
}

impl Complaint {
    fn note<T, E: std::error::Error>(&mut self, what: &'static str, outcome: Result<T, E>) {
        let now = outcome.err().map(|error| error.to_string());
        match (&self.said, &now) {
            (before, Some(error)) if before.as_ref() != Some(error) => {
                tracing::error!(%error, "{what} fails and will be tried again");
            }
            (Some(_), None) => tracing::info!("{what} works again"),
            _ => {}
        }
        self.said = now;
    }
}

fn listen(
    name: &'static str,
    address: Option<SocketAddr>,
) -> Result<(Option<TcpListener>, Option<SocketAddr>), StartError> {
    let Some(address) = address else {
        return Ok((None, None));
    };
    let bound = bind(address).and_then(|socket| socket.local_addr().map(|at| (socket, at)));
    let (socket, at) = bound.map_err(|source| StartError::Bind {
        name,
        address,
        source,
    })?;
    Ok((Some(socket), Some(at)))
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address can't be listened on.
    #[error("the {name} listener can't have {address}")]
    Bind {
        /// Which listener.
        name: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's word.
        source: io::Error,
    },
    /// The server certificate or its key can't be used.
    #[error("the server certificate can't be used")]
    Identity(#[from] rustls::Error),
    /// The authorities for those whom the server calls can't be read.
    #[error("the server can't call anybody")]
    Outbound(#[from] OutboundError),
    /// No device could name this scope.
    #[error("the id scope can't be used")]
    IdScope(#[from] NameError),
    /// The first revocation lists can't be made.
    #[error("the revocation lists can't be made")]
    Lists(#[from] CrlError),
}

/// curl --http1.0 offers its own name, and TLS ends where no name is shared.
const HTTP: &[&[u8]] = &[b"http/1.1", b"http/1.0"];
/// Twice a second. A certificate that is superseded when its successor is used is in the list within
/// one; what an operator revokes is there already.
const BEAT: Duration = Duration::from_millis(500);
const LAST_HOUSEKEEPING: Duration = Duration::from_secs(5);
