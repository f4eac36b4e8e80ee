//! A real server in this process: real TLS, real SQLite, real keys, on a directory of its own. Its
//! clock can be moved, and it can be restarted on the same directory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use imprint_identity::{HardwareId, UnixTime};
use imprint_pkix::pem;
use imprint_registrar::claims::definition::Claim;
use imprint_registrar::ledger::Definitions;
use imprint_registrar::tokens::TokenOrder;
use imprint_registrar::{Ledger, Product, Registrar};
use imprint_server::{Chance, Clock, Config, Limits, Running, Server};
use imprint_signer::KeySigner;
use imprint_sqlite::Sqlite;

use crate::chance;
use crate::key::DeviceKey;
use crate::place::Place;
use crate::tap::{Quiet, Tap, Tapped};

/// The road of a world: the real parts, each behind a tap.
pub type Road<T> = Registrar<Tapped<Sqlite, T>, Tapped<KeySigner, T>>;

/// A server and its directory.
pub struct World<T = Quiet> {
    place: Place,
    tap: T,
    hostile: Option<Chance>,
    clock: Arc<AtomicI64>,
    up: Option<(Running, Arc<Road<T>>)>,
    _directory: tempfile::TempDir,
}

impl World {
    /// A friendly server with one product, [`PRODUCT`].
    pub async fn new() -> Self {
        Self::with(Quiet, None).await
    }
}

impl<T: Tap + Clone> World<T> {
    /// The same with a tap in front of ledger and signer, and with a rude network if `hostile` has
    /// the chance for it.
    pub async fn with(tap: T, hostile: Option<Chance>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let place = Place::make(directory.path(), real_now()).await;
        let clock = Arc::new(AtomicI64::new(0));
        let mut world = Self {
            place,
            tap,
            hostile,
            clock,
            up: None,
            _directory: directory,
        };
        world.start().await;
        let products = vec![Product::named(PRODUCT)];
        world
            .road()
            .ledger()
            .product_apply(products, "sim", world.now())
            .await
            .expect("a product");
        world
    }

    async fn start(&mut self) {
        let (ledger, signer) = (self.place.ledger(), self.place.signer());
        let (registrar, running) = serve(
            &self.place,
            Tapped::new(ledger, self.tap.clone()),
            Tapped::new(signer, self.tap.clone()),
            self.clock(),
            self.hostile.clone(),
        )
        .await;
        self.up = Some((running, registrar));
    }

    /// Ends the server and starts it again on the same directory, at another port.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start().await;
    }

    /// Ends the server: requests that are under way have their replies, the ledger is closed.
    pub async fn stop(&mut self) {
        let Some((running, registrar)) = self.up.take() else {
            return;
        };
        running.shutdown().await;
        // Whoever was cut off may still hold the road for a moment; there is one writer, never two.
        for _ in 0..2_000 {
            if Arc::strong_count(&registrar) == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let registrar = Arc::into_inner(registrar).expect("nobody else holds the ledger");
        tokio::task::spawn_blocking(move || drop(registrar))
            .await
            .expect("the ledger closes");
    }

    /// Where devices connect.
    pub fn https(&self) -> SocketAddr {
        self.running().addresses().https.expect("https is on")
    }

    /// Where devices connect that speak MQTT.
    pub fn mqtts(&self) -> SocketAddr {
        self.running().addresses().mqtts.expect("mqtts is on")
    }

    /// Where revocation lists are.
    pub fn http(&self) -> SocketAddr {
        self.running().addresses().http.expect("http is on")
    }

    /// The road behind the server.
    pub fn road(&self) -> &Arc<Road<T>> {
        &self.up.as_ref().expect("the server runs").1
    }

    fn running(&self) -> &Running {
        &self.up.as_ref().expect("the server runs").0
    }

    /// The directory.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// What the server takes for the time.
    pub fn now(&self) -> UnixTime {
        (self.clock())()
    }

    /// Moves the server's clock by so many seconds from the real time.
    pub fn set_clock(&self, offset_seconds: i64) {
        self.clock.store(offset_seconds, Ordering::Relaxed);
    }

    /// The hand of the server's clock, in seconds from the real time.
    pub fn clock_hand(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.clock)
    }

    fn clock(&self) -> Clock {
        let clock = Arc::clone(&self.clock);
        Arc::new(move || real_now().plus(clock.load(Ordering::Relaxed)))
    }

    /// One token for any hardware.
    pub async fn token(&self) -> String {
        self.tokens(1).await.remove(0)
    }

    /// Tokens for any hardware.
    pub async fn tokens(&self, count: usize) -> Vec<String> {
        let count = u32::try_from(count).expect("not so many");
        self.mint(TokenOrder {
            count,
            ..TokenOrder::default()
        })
        .await
    }

    /// One token for this hardware alone.
    pub async fn token_for(&self, hardware: &str) -> String {
        let hardware = vec![HardwareId::parse(hardware).expect("a hardware id")];
        self.mint(TokenOrder {
            hardware,
            ..TokenOrder::default()
        })
        .await
        .remove(0)
    }

    /// A claim of [`PRODUCT`] of this name, with a certificate: that, and its key, both PEM.
    pub async fn claim(&self, name: &str) -> (String, String) {
        let claims = vec![Claim::named(name, PRODUCT)];
        self.define(Definitions {
            claims,
            ..Definitions::default()
        })
        .await;
        let key = DeviceKey::new();
        let csr = key.csr("claim");
        let chance = chance::real();
        let issued = self
            .road()
            .claim_issue(name, &csr, 86_400, "sim", &*chance, self.now())
            .await
            .expect("a claim's certificate");
        (pem::encode(pem::CERTIFICATE, &issued.der), key.pem())
    }

    /// What an operator writes down.
    pub async fn define(&self, definitions: Definitions) {
        let ledger = self.road().ledger();
        let applied = ledger.fleet_apply(definitions, "sim", self.now()).await;
        applied.expect("definitions");
    }

    async fn mint(&self, order: TokenOrder) -> Vec<String> {
        let order = TokenOrder {
            product: PRODUCT.to_owned(),
            ..order
        };
        let chance = chance::real();
        let minted = self
            .road()
            .token_new(order, "sim", &*chance, self.now())
            .await;
        minted
            .expect("tokens")
            .into_iter()
            .map(|token| token.text.to_string())
            .collect()
    }
}

/// A server on `place`, at free ports of loopback.
pub async fn serve<L: Ledger, S: imprint_registrar::Signer>(
    place: &Place,
    ledger: L,
    signer: S,
    now: Clock,
    hostile: Option<Chance>,
) -> (Arc<Registrar<L, S>>, Running) {
    let registrar = Arc::new(Registrar::new(ledger, signer, place.authorities()));
    let any_port = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let config = Config {
        https: any_port,
        http: any_port,
        mqtts: any_port,
        mqtt_on_https: false,
        just_in_time_hang_up: false,
        id_scope: "0neTEST".into(),
        hub: "localhost".into(),
        admin: None,
        identity: place.identity(),
        admin_tokens: Vec::new(),
        trusted_proxies: Vec::new(),
        webhooks: Vec::new(),
        outbound_roots: imprint_server::outbound::Roots::default(),
        proxy_protocol: false,
        // A cut link may leave a request in the middle of its way; nobody waits for it.
        limits: Limits {
            drain: Duration::from_millis(500),
            ..Limits::default()
        },
        hostile,
    };
    let world = imprint_server::World {
        now,
        chance: chance::real(),
    };
    let running = Server::start(config, Arc::clone(&registrar), world).await;
    (registrar, running.expect("the server starts"))
}

/// The real clock.
#[must_use]
pub fn real_now() -> UnixTime {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    UnixTime(i64::try_from(since.as_secs()).expect("not so late"))
}

/// The product of every world.
pub const PRODUCT: &str = "thermo";
