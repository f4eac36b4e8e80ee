//! Who may ask what: every route and topic of a running server, by every kind of credential. Only the
//! cells that stand here succeed; what the server answers and this table does not name fails the test.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imprint_pkix::certificate::Certificate;
use imprint_registrar::Ledger as _;
use imprint_registrar::ledger::{DeviceAct, EntryKind, ServiceAccess};
use imprint_registrar::product::Product;
use imprint_server::Route;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::claim::certificate_in;
use crate::support::dps::SCOPE;
use crate::support::mqtt::{connect, publish, subscribe};
use crate::support::{Client, Device, Fleet, Foreign, basic, request};

use Credential as C;

/// What somebody may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Credential {
    Nothing,
    Token,
    Claim,
    /// A certificate that waits for its device's registration.
    Pending,
    Member,
    Revoked,
    Quarantined,
    /// A certificate of a CA that nobody has registered.
    Stranger,
    /// A key that an entry has as well.
    SharedKey,
    /// A certificate that an entry names, of a device that has not registered.
    Named,
    /// A service key that may do everything with the entries of its product.
    Service,
    /// The operator's token.
    Admin,
    /// What somebody takes for it.
    WrongAdmin,
}

const ALL: [C; 13] = [
    C::Nothing,
    C::Token,
    C::Claim,
    C::Pending,
    C::Member,
    C::Revoked,
    C::Quarantined,
    C::Stranger,
    C::SharedKey,
    C::Named,
    C::Service,
    C::Admin,
    C::WrongAdmin,
];

/// The table. `None`: anybody.
const TABLE: &[(&str, &str, &str, Option<&[C]>)] = &[
    ("https", "GET", "/.well-known/est/cacerts", None),
    ("https", "GET", "/.well-known/est/csrattrs", None),
    // A certificate of ours is a credential here as well; what comes of it is a renewal.
    (
        "https",
        "POST",
        "/.well-known/est/simpleenroll",
        Some(&[C::Token, C::Member]),
    ),
    (
        "https",
        "POST",
        "/.well-known/est/simplereenroll",
        Some(&[C::Member]),
    ),
    (
        "https",
        "POST",
        "/.well-known/est/serverkeygen",
        Some(&[C::Token, C::Member]),
    ),
    ("https", "POST", "/.well-known/est/fullcmc", Some(&[])),
    ("https", "GET", "/v1/time", None),
    ("https", "GET", "/v1/profile", Some(&[C::Token, C::Member])),
    ("https", "GET", "/v1/verify", Some(&[C::Member])),
    ("https", "POST", "/v1/report", Some(&[C::Token, C::Member])),
    // A TPM alone, which none of these is.
    ("https", "POST", "/v1/tpm/challenge", Some(&[])),
    ("https", "POST", "/v1/tpm/enroll", Some(&[])),
    (
        "https",
        "PUT",
        "/{idScope}/registrations/{registrationId}/register",
        Some(&[C::SharedKey, C::Named]),
    ),
    // An operation is the register once more.
    (
        "https",
        "GET",
        "/{idScope}/registrations/{registrationId}/operations/{operationId}",
        Some(&[C::SharedKey, C::Named]),
    ),
    (
        "https",
        "POST",
        "/{idScope}/registrations/{registrationId}",
        Some(&[C::SharedKey, C::Named]),
    ),
    ("http", "GET", "/ca/{name}", None),
    ("http", "GET", "/crl/{name}", None),
    (
        "mqtts",
        "PUBLISH",
        "$aws/certificates/create/{format}",
        Some(&[C::Claim]),
    ),
    (
        "mqtts",
        "PUBLISH",
        "$aws/certificates/create-from-csr/{format}",
        Some(&[C::Claim]),
    ),
    (
        "mqtts",
        "PUBLISH",
        "$aws/provisioning-templates/{template}/provision/{format}",
        Some(&[C::Claim]),
    ),
    (
        "mqtts",
        "PUBLISH",
        "$dps/registrations/PUT/iotdps-register/?$rid={rid}",
        Some(&[C::SharedKey, C::Named]),
    ),
    (
        "mqtts",
        "PUBLISH",
        "$dps/registrations/GET/iotdps-get-operationstatus/?$rid={rid}&operationId={operationId}",
        Some(&[C::SharedKey, C::Named]),
    ),
    // Whoever is a member may come to the hub.
    (
        "mqtts",
        "PUBLISH",
        "devices/{deviceId}/messages/events/",
        Some(&[C::Member, C::SharedKey, C::Named]),
    ),
    ("mqtts", "PUBLISH", "$aws/{topic}/accepted", Some(&[])),
    ("mqtts", "PUBLISH", "$aws/{topic}/rejected", Some(&[])),
    ("admin", "GET", "/healthz", None),
    ("admin", "GET", "/readyz", None),
    ("admin", "GET", "/api/openapi.json", None),
];

/// What operators are asked and do: for whoever holds the admin token, and for nobody else. Each route
/// stands here by itself, so that a new one is seen by a person before it is served.
const OPERATORS: &[(&str, &str)] = &[
    ("GET", "/api/v1/authorities"),
    ("POST", "/api/v1/authorities/crl/renew"),
    ("POST", "/api/v1/certificates/adopt"),
    ("POST", "/api/v1/certificates/issue"),
    ("GET", "/api/v1/claims"),
    ("GET", "/api/v1/claims/{claim}"),
    ("POST", "/api/v1/claims/{claim}/certificates"),
    ("POST", "/api/v1/claims/{claim}/certificates/adopt"),
    ("POST", "/api/v1/claims/{claim}/freeze"),
    ("POST", "/api/v1/claims/{claim}/revoke"),
    ("POST", "/api/v1/claims/{claim}/thaw"),
    ("GET", "/api/v1/devices"),
    ("GET", "/api/v1/devices/{device}"),
    ("POST", "/api/v1/devices/{device}/approve"),
    ("POST", "/api/v1/devices/{device}/decommission"),
    ("POST", "/api/v1/devices/{device}/quarantine"),
    ("POST", "/api/v1/devices/{device}/release"),
    ("POST", "/api/v1/devices/{device}/revoke"),
    ("GET", "/api/v1/entries"),
    ("POST", "/api/v1/entries"),
    ("POST", "/api/v1/entries/group/{name}/derive"),
    ("DELETE", "/api/v1/entries/{kind}/{name}"),
    ("GET", "/api/v1/entries/{kind}/{name}"),
    ("POST", "/api/v1/entries/{kind}/{name}/disable"),
    ("POST", "/api/v1/entries/{kind}/{name}/enable"),
    ("POST", "/api/v1/entries/{kind}/{name}/rotate"),
    ("GET", "/api/v1/events"),
    ("GET", "/api/v1/events/key"),
    ("GET", "/api/v1/fleet"),
    ("POST", "/api/v1/fleet/apply"),
    ("GET", "/api/v1/groups"),
    ("GET", "/api/v1/journal"),
    ("GET", "/api/v1/journal/verify"),
    ("GET", "/api/v1/policies"),
    ("GET", "/api/v1/products"),
    ("GET", "/api/v1/products/{product}"),
    ("DELETE", "/api/v1/products/{product}/allowlist"),
    ("GET", "/api/v1/products/{product}/allowlist"),
    ("POST", "/api/v1/products/{product}/allowlist"),
    ("GET", "/api/v1/registered-cas"),
    ("POST", "/api/v1/registered-cas"),
    ("GET", "/api/v1/registered-cas/code"),
    ("GET", "/api/v1/registered-cas/{ca}"),
    ("POST", "/api/v1/registered-cas/{ca}/switch"),
    ("GET", "/api/v1/service-keys"),
    ("POST", "/api/v1/service-keys"),
    ("DELETE", "/api/v1/service-keys/{key}"),
    ("GET", "/api/v1/status"),
    ("GET", "/api/v1/templates"),
    ("POST", "/api/v1/templates/check"),
    ("GET", "/api/v1/templates/{template}"),
    ("GET", "/api/v1/thing-types"),
    ("GET", "/api/v1/things"),
    ("GET", "/api/v1/things/{thing}"),
    ("GET", "/api/v1/tokens"),
    ("POST", "/api/v1/tokens"),
    ("GET", "/api/v1/tokens/{token}"),
    ("POST", "/api/v1/tokens/{token}/arm"),
    ("POST", "/api/v1/tokens/{token}/rebind"),
    ("POST", "/api/v1/tokens/{token}/revoke"),
    ("GET", "/api/v1/why/{device}"),
];

/// What scripts ask that were made for Azure's service API: for whoever holds a service key, and not for
/// the admin token.
const SCRIPTS: &[(&str, &str)] = &[
    ("POST", "/enrollmentGroups"),
    ("POST", "/enrollmentGroups/query"),
    ("DELETE", "/enrollmentGroups/{enrollmentGroupId}"),
    ("GET", "/enrollmentGroups/{enrollmentGroupId}"),
    ("PUT", "/enrollmentGroups/{enrollmentGroupId}"),
    (
        "POST",
        "/enrollmentGroups/{enrollmentGroupId}/attestationmechanism",
    ),
    ("POST", "/enrollments"),
    ("POST", "/enrollments/query"),
    ("DELETE", "/enrollments/{registrationId}"),
    ("GET", "/enrollments/{registrationId}"),
    ("PUT", "/enrollments/{registrationId}"),
    ("POST", "/enrollments/{registrationId}/attestationmechanism"),
    ("POST", "/registrations/{enrollmentGroupId}/query"),
    ("DELETE", "/registrations/{registrationId}"),
    ("GET", "/registrations/{registrationId}"),
];

/// The row of a route: the words in braces stand for several.
fn row(route: &Route) -> Option<&'static [C]> {
    let family = match (route.listener, route.path.as_str()) {
        ("http", path) if path.starts_with("/ca/") => "/ca/{name}".to_owned(),
        ("http", path) if path.starts_with("/crl/") => "/crl/{name}".to_owned(),
        ("mqtts", path) if path.ends_with("/accepted") => "$aws/{topic}/accepted".to_owned(),
        ("mqtts", path) if path.ends_with("/rejected") => "$aws/{topic}/rejected".to_owned(),
        ("mqtts", path) => path
            .replace("/json", "/{format}")
            .replace("/cbor", "/{format}"),
        (_, path) => path.to_owned(),
    };
    let is_asked = |method: &str, path: &str| method == route.method && path == family;
    let found = TABLE
        .iter()
        .find(|(listener, method, path, _)| *listener == route.listener && is_asked(method, path));
    if let Some((.., allowed)) = found {
        return Some(allowed.unwrap_or(&ALL));
    }
    let is_operators = |(method, path): &(&str, &str)| is_asked(method, path);
    if route.listener == "admin" && SCRIPTS.iter().any(is_operators) {
        return Some(&[C::Service]);
    }
    let found = route.listener == "admin" && OPERATORS.iter().any(is_operators);
    found.then_some(&[C::Admin])
}

/// Somebody with a credential of this kind.
struct Somebody {
    credential: C,
    hardware: String,
    key: Option<Vec<u8>>,
    certificate: Option<(Device, Vec<u8>)>,
    token: Option<String>,
}

async fn somebody(fleet: &Fleet, credential: C, number: usize) -> Somebody {
    let hardware = format!("sn-{number}");
    let (mut certificate, mut token, mut key) = (None, None, None);
    let act = async |act: DeviceAct| {
        let id = format!("thermo-{hardware}").parse().unwrap();
        let ledger = fleet.registrar.ledger();
        ledger
            .device_act(&id, act, "test", fleet.now())
            .await
            .unwrap();
    };
    match credential {
        C::Nothing => {}
        C::Admin => token = Some("Bearer an admin token".to_owned()),
        C::WrongAdmin => token = Some("Bearer an admin's token".to_owned()),
        C::Service => {
            let name = format!("key-{number}");
            let made = fleet.service_key(&name, ServiceAccess::Keys).await;
            token = Some(fleet.service_token(&name, &made));
        }
        C::Token => {
            let (text, _) = fleet.token("thermo", None).await;
            token = Some(basic(&hardware, &text));
        }
        C::Claim | C::Pending => {
            let name = format!("line-{number}");
            let claim = fleet.claim_with(|claim| claim.name = name).await;
            certificate = Some(if credential == C::Claim {
                (claim.key, claim.certificate)
            } else {
                let key = Device::new();
                let mut asker = fleet.by_claim(&claim, 4).await;
                let created = asker.certify(&key, imprint_claim::Format::Json).await;
                (key, certificate_in(&created))
            });
        }
        C::Member | C::Revoked | C::Quarantined => {
            certificate = Some(fleet.enrolled(&hardware).await);
            match credential {
                C::Revoked => {
                    let reason = imprint_registrar::ledger::RevocationReason::KeyCompromise;
                    act(DeviceAct::Revoke {
                        reason,
                        note: String::new(),
                    })
                    .await;
                }
                C::Quarantined => {
                    let reason = "drill".to_owned();
                    act(DeviceAct::Quarantine { reason }).await;
                }
                _ => {}
            }
        }
        C::SharedKey => key = Some(fleet.entry(EntryKind::Individual, &hardware).await),
        C::Named => {
            let device = Device::new();
            let shown = Foreign::new("Maker").issue(&device, &hardware);
            fleet
                .entry_for(EntryKind::Individual, &hardware, &shown)
                .await;
            certificate = Some((device, shown));
        }
        C::Stranger => {
            let device = Device::new();
            let shown = Foreign::new("Nobody's CA").issue(&device, &hardware);
            certificate = Some((device, shown));
        }
    }
    Somebody {
        credential,
        hardware,
        key,
        certificate,
        token,
    }
}

impl Somebody {
    fn client(&self, fleet: &Fleet) -> Client {
        match &self.certificate {
            Some((device, shown)) => fleet.client_as(device, shown),
            None => fleet.client(),
        }
    }

    /// Whether this succeeds.
    async fn asks(&self, fleet: &Fleet, route: &Route) -> bool {
        match route.listener {
            "https" if route.path.starts_with("/{idScope}/") => self.registers(fleet, route).await,
            "https" => self.over_https(fleet, route).await,
            "mqtts" if route.path.starts_with("$dps/") => self.as_newcomer(fleet, route).await,
            "mqtts" if route.path.starts_with("devices/") => self.at_hub(fleet, route).await,
            "mqtts" => self.publishes(fleet, route).await,
            "http" => self.in_the_clear(fleet, route).await,
            _ => self.as_an_operator(fleet, route).await,
        }
    }

    async fn over_https(&self, fleet: &Fleet, route: &Route) -> bool {
        let mut headers = Vec::new();
        if let Some(token) = &self.token {
            headers.push(("Authorization", token.as_str()));
        }
        let fresh = Device::new();
        let body = match route.path.rsplit('/').next() {
            _ if route.method == "GET" => Vec::new(),
            Some("report") => br#"{"step":"ENROLL","code":"x","attempts":1}"#.to_vec(),
            _ => {
                headers.push(("Content-Type", "application/pkcs10"));
                let csr = fresh.csr("any", None);
                STANDARD.encode(csr).into_bytes()
            }
        };
        // A renewal repeats the subject of the certificate.
        let body = match (&self.certificate, route.path.ends_with("/simplereenroll")) {
            (Some((_, shown)), true) => {
                let name = Certificate::parse(shown).unwrap().common_name().unwrap();
                let csr = fresh.csr(&name, None);
                STANDARD.encode(csr).into_bytes()
            }
            _ => body,
        };
        let bytes = request(&route.method, &route.path, &headers, &body);
        self.client(fleet).once(&bytes).await.status < 400
    }

    /// What this somebody may show to register: a signature by the key, or what there is otherwise.
    fn signature(&self, fleet: &Fleet) -> Option<String> {
        let signed = |key: &Vec<u8>| fleet.token_to_register(SCOPE, &self.hardware, key);
        self.key.as_ref().map(signed).or(self.token.clone())
    }

    async fn registers(&self, fleet: &Fleet, route: &Route) -> bool {
        let client = self.client(fleet);
        let signature = self.signature(fleet);
        let told = fleet
            .register(&client, &self.hardware, signature.as_deref())
            .await;
        if route.method == "PUT" {
            return told.status < 400;
        }
        let told: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
        let operation = told["operationId"].as_str().unwrap_or("5.0");
        let path = route
            .path
            .replace("{idScope}", SCOPE)
            .replace("{registrationId}", &self.hardware)
            .replace("{operationId}", operation);
        let mut headers = Vec::new();
        headers.extend(signature.as_deref().map(|text| ("Authorization", text)));
        let bytes = request(&route.method, &path, &headers, b"");
        client.once(&bytes).await.status < 400
    }

    async fn as_newcomer(&self, fleet: &Fleet, route: &Route) -> bool {
        let client = self.client(fleet);
        let signature = self.signature(fleet);
        let coming = fleet.comes_to_register(&client, &self.hardware, signature.as_deref());
        let (mut connection, code) = coming.await;
        if code != 0 {
            return false;
        }
        connection
            .says(&subscribe(4, 1, &["$dps/registrations/res/#"]))
            .await
            .unwrap();
        let topic = "$dps/registrations/PUT/iotdps-register/?$rid=1";
        connection.says(&publish(4, 2, topic, b"{}")).await.unwrap();
        let (answer, told) = connection.published_back().await;
        let Some(operation) = told["operationId"].as_str() else {
            return false;
        };
        if route.path.contains("PUT") {
            return answer.starts_with("$dps/registrations/res/200/");
        }
        let topic = route.path.replace("{rid}", "2");
        let topic = topic.replace("{operationId}", operation);
        connection.says(&publish(4, 3, &topic, b" ")).await.unwrap();
        let (answer, _) = connection.published_back().await;
        answer.starts_with("$dps/registrations/res/200/")
    }

    async fn at_hub(&self, fleet: &Fleet, route: &Route) -> bool {
        let client = self.client(fleet);
        if matches!(self.credential, C::SharedKey | C::Named) {
            let signature = self.signature(fleet);
            fleet
                .register(&client, &self.hardware, signature.as_deref())
                .await;
        }
        let device = format!("thermo-{}", self.hardware);
        let signed = self.key.as_ref();
        let token = signed.map(|key| fleet.token_for_hub(&device, key));
        let token = token.or(self.token.clone());
        let coming = fleet.comes_to_hub(&client, &device, token.as_deref());
        let (mut connection, code) = coming.await;
        if code != 0 {
            return false;
        }
        let topic = route.path.replace("{deviceId}", &device);
        let told = connection.says(&publish(4, 2, &topic, b"{}")).await;
        told.is_some_and(|(first, _)| first == 0x40)
    }

    async fn publishes(&self, fleet: &Fleet, route: &Route) -> bool {
        let mut client = self.client(fleet);
        client.address = fleet.mqtts();
        let mut connection = client.connect().await.unwrap();
        let (first, body) = connection.says(&connect(5, "x")).await.unwrap();
        assert_eq!(first, 0x20);
        if body[1] != 0 {
            return false;
        }
        let topic = route.path.replace("{template}", "thermo");
        let (first, body) = connection.says(&publish(5, 7, &topic, b"")).await.unwrap();
        assert_eq!(first, 0x40);
        // Heard, though nobody listens for the answer.
        matches!(body.get(2), None | Some(0x00 | 0x10))
    }

    async fn in_the_clear(&self, fleet: &Fleet, route: &Route) -> bool {
        let address = fleet.running.addresses().http.unwrap();
        let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let headers = [("Connection", "close")];
        tcp.write_all(&request("GET", &route.path, &headers, b""))
            .await
            .unwrap();
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).await.unwrap();
        answer.starts_with(b"HTTP/1.1 200")
    }

    /// What an operator may do depends on what is asked; here counts whether he is heard at all.
    async fn as_an_operator(&self, fleet: &Fleet, route: &Route) -> bool {
        let mut headers = vec![("Content-Type", "application/json")];
        if let Some(token) = &self.token {
            headers.push(("Authorization", token.as_str()));
        }
        let mut client = self.client(fleet);
        client.address = fleet.running.addresses().admin.unwrap();
        // Nothing is in it that could be done: the road to the answer is what counts.
        let path = route.path.replace(['{', '}'], "");
        let bytes = request(&route.method, &path, &headers, b"");
        let mut connection = client.connect().await.unwrap();
        connection.send(&bytes).await;
        let mut head = [0; 12];
        connection.tls.read_exact(&mut head).await.unwrap();
        // Whoever has shown nothing good too often is not even looked at.
        !matches!(&head[9..], b"401" | b"403" | b"429" | b"503")
    }
}

/// Routes of a server that no row names.
fn unlisted(routes: &[Route]) -> Vec<&Route> {
    routes.iter().filter(|route| row(route).is_none()).collect()
}

#[tokio::test]
async fn a_new_route_fails_the_table_and_a_row_for_none_does_too() {
    let fleet = Fleet::start().await;
    let routes = fleet.running.routes();
    let new = |listener, method: &str, path: &str| Route {
        listener,
        method: method.to_owned(),
        path: path.to_owned(),
    };
    let news = [
        new("admin", "GET", "/api/v1/secrets"),
        new("admin", "DELETE", "/api/v1/devices/{device}"),
        new("admin", "PUT", "/api/v1/fleet"),
        new("admin", "GET", "/enrollments"),
        new("https", "GET", "/api/v1/devices"),
        new("https", "DELETE", "/v1/verify"),
        new("mqtts", "PUBLISH", "$aws/things/{thing}/shadow"),
        new("http", "GET", "/metrics"),
    ];
    assert_eq!(unlisted(&news).len(), news.len());
    for (method, path) in OPERATORS.iter().chain(SCRIPTS) {
        let there = |route: &Route| {
            (route.listener, &*route.method, &*route.path) == ("admin", *method, *path)
        };
        assert!(routes.iter().any(there), "{method} {path} is no route");
    }
}

#[tokio::test]
async fn only_the_cells_of_the_table_succeed() {
    let mut wrong = Vec::new();
    let (mut cells, mut open) = (0, 0);
    let one = Fleet::start().await;
    let unlisted = unlisted(one.running.routes());
    assert!(
        unlisted.is_empty(),
        "the table has no row for {unlisted:#?}"
    );
    for credential in ALL {
        let fleet = Fleet::start().await;
        let keygen = Product {
            server_keygen: true,
            ..Product::named("thermo")
        };
        fleet.apply(keygen).await;
        for (number, route) in fleet.running.routes().iter().enumerate() {
            let allowed = row(route).is_some_and(|allowed| allowed.contains(&credential));
            // A new one for each cell: what one cell spends, the next one must not miss.
            let somebody = somebody(&fleet, credential, number).await;
            let succeeded = somebody.asks(&fleet, route).await;
            cells += 1;
            open += usize::from(succeeded);
            if succeeded != allowed {
                wrong.push(format!("{:?} {route:?}: {succeeded}", somebody.credential));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "of {cells} cells, {open} open: {wrong:#?}"
    );
    assert!(cells > 300, "{cells}");
}
