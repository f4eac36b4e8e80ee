//! A claim, a device that holds it, and a hook that says what the test wants.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use imprint_claim::{Call, Created, Format, Outcome, Registered, Rejected, Reply, Request, Topic};
use imprint_pkix::pem;
use imprint_registrar::Ledger as _;
use imprint_registrar::claims::definition::{Claim, Hook, HookFailure, Template};
use imprint_registrar::ledger::Definitions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::fleet::aws_chance;
use super::mqtt::{connect, publish, subscribe};
use super::{Client, Connection, Device, Fleet};

/// The holder of a claim: its key and its certificate, which many devices share.
pub(crate) struct Holder {
    pub(crate) key: Device,
    pub(crate) certificate: Vec<u8>,
}

impl Fleet {
    /// Claim `line-1` of product `thermo`, with a certificate.
    pub(crate) async fn claim(&self) -> Holder {
        self.claim_with(|_| {}).await
    }

    pub(crate) async fn claim_with(&self, change: impl FnOnce(&mut Claim)) -> Holder {
        let mut claim = Claim::named("line-1", "thermo");
        change(&mut claim);
        let name = claim.name.clone();
        self.define(Definitions {
            claims: vec![claim],
            ..Definitions::default()
        })
        .await;
        let key = Device::new();
        let csr = key.csr("any", None);
        let issued = self
            .registrar
            .claim_issue(&name, &csr, 86_400, "test", &aws_chance, self.now())
            .await
            .unwrap();
        let certificate = issued.der;
        Holder { key, certificate }
    }

    pub(crate) async fn template(&self, body: &str, hook: Option<(&str, HookFailure)>) {
        self.template_that(body, hook, true).await;
    }

    /// `create_missing`: what it names is added.
    pub(crate) async fn template_that(
        &self,
        body: &str,
        hook: Option<(&str, HookFailure)>,
        create_missing: bool,
    ) {
        let hook = hook.map(|(url, on_failure)| Hook {
            url: url.to_owned(),
            on_failure,
        });
        let template = Template {
            name: "t1".into(),
            product: "thermo".into(),
            description: String::new(),
            enabled: true,
            body: body.to_owned(),
            hardware: "SerialNumber".into(),
            create_missing,
            hook,
        };
        self.define(Definitions {
            templates: vec![template],
            ..Definitions::default()
        })
        .await;
    }

    pub(crate) async fn define(&self, definitions: Definitions) {
        let ledger = self.registrar.ledger();
        ledger
            .fleet_apply(definitions, "test", self.now())
            .await
            .unwrap();
    }

    /// A client at the `mqtts` listener.
    pub(crate) fn mqtt_client(&self, key: &Device, certificate: &[u8]) -> Client {
        let mut client = self.client_as(key, certificate);
        client.address = self.mqtts();
        client
    }

    /// A connection by the claim.
    pub(crate) async fn by_claim(&self, holder: &Holder, level: u8) -> Asker {
        let client = self.mqtt_client(&holder.key, &holder.certificate);
        let mut connection = client.connect().await.unwrap();
        let (first, body) = connection.says(&connect(level, "claim")).await.unwrap();
        assert_eq!((first, body[1]), (0x20, 0), "{body:?}");
        Asker {
            connection,
            level,
            next: 1,
        }
    }

    /// What this certificate gets as an answer to a CONNECT of MQTT 5: its reason code.
    pub(crate) async fn knock(&self, key: &Device, certificate: &[u8]) -> (u8, String) {
        let client = self.mqtt_client(key, certificate);
        let mut connection = client.connect().await.unwrap();
        let (_, body) = connection.says(&connect(5, "x")).await.unwrap();
        (body[1], String::from_utf8_lossy(&body).into_owned())
    }
}

/// A device that asks over one connection.
pub(crate) struct Asker {
    pub(crate) connection: Connection,
    pub(crate) level: u8,
    next: u16,
}

impl Asker {
    /// Subscribes to both answers as the SDKs do, asks, and waits: which answer came, and its bytes.
    pub(crate) async fn ask_raw(&mut self, call: &Call<'_>, payload: &[u8]) -> (Outcome, Vec<u8>) {
        for filter in [call.accepted(), call.rejected()] {
            let id = self.id();
            let bytes = subscribe(self.level, id, &[&filter]);
            let (first, body) = self.connection.says(&bytes).await.unwrap();
            assert_eq!((first, body.last()), (0x90, Some(&1)), "{filter}");
        }
        let id = self.id();
        let bytes = publish(self.level, id, &call.to_string(), payload);
        let (first, body) = self.connection.says(&bytes).await.unwrap();
        assert_eq!(
            (first, &body[..2]),
            (0x40, &id.to_be_bytes()[..]),
            "{body:?}"
        );
        let (first, body) = self.connection.came().await.unwrap();
        assert_eq!(first, 0x32);
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = std::str::from_utf8(&body[2..2 + length])
            .unwrap()
            .to_owned();
        let id = [body[2 + length], body[3 + length]];
        self.connection.send(&[0x40, 2, id[0], id[1]]).await;
        let properties = usize::from(self.level == 5);
        let payload = body[4 + length + properties..].to_vec();
        let outcome = if topic == call.accepted() {
            Outcome::Accepted
        } else {
            assert_eq!(topic, call.rejected());
            Outcome::Rejected
        };
        (outcome, payload)
    }

    fn id(&mut self) -> u16 {
        self.next += 1;
        self.next
    }

    async fn ask(&mut self, topic: Topic<'_>, format: Format, request: &Request) -> Reply {
        let call = Call { topic, format };
        let (outcome, payload) = self.ask_raw(&call, &request.encode(format)).await;
        Reply::parse(&call, outcome, &payload).unwrap()
    }

    pub(crate) async fn certify(&mut self, key: &Device, format: Format) -> Created {
        let csr_pem = pem::encode("CERTIFICATE REQUEST", &key.csr("any", None));
        let request = Request::CreateFromCsr { csr_pem };
        match self.ask(Topic::CreateFromCsr, format, &request).await {
            Reply::Created(created) => created,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn register(
        &mut self,
        ownership: &str,
        template: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Registered, Rejected> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let request = Request::Register {
            ownership: ownership.to_owned(),
            parameters: parameters.iter().map(own).collect(),
        };
        let topic = Topic::Register { template };
        match self.ask(topic, Format::Json, &request).await {
            Reply::Registered(registered) => Ok(registered),
            Reply::Rejected(rejected) => Err(rejected),
            other @ Reply::Created(_) => panic!("{other:?}"),
        }
    }
}

/// The certificate in an answer, DER.
pub(crate) fn certificate_in(created: &Created) -> Vec<u8> {
    pem::decode(pem::CERTIFICATE, &created.certificate_pem)
        .unwrap()
        .remove(0)
}

/// A hook on loopback: what it was asked, and how it answers.
pub(crate) struct HookServer {
    pub(crate) url: String,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl HookServer {
    /// Answers everybody with these bytes after a while; without any it never does.
    pub(crate) async fn start(answer: &str, delay: Duration) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", socket.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&asked), answer.to_owned());
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = socket.accept().await {
                let (log, answer) = (Arc::clone(&log), answer.clone());
                tokio::spawn(async move {
                    let request = read_request(&mut tcp).await;
                    log.lock().unwrap().push(request);
                    tokio::time::sleep(delay).await;
                    let _ = tcp.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self { url, asked }
    }

    pub(crate) async fn saying(status: u16, body: &str) -> Self {
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n{body}");
        Self::start(&answer, Duration::ZERO).await
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// One request, all of it, as text.
async fn read_request(tcp: &mut tokio::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4_096];
        let count = tcp.read(&mut chunk).await.unwrap_or(0);
        bytes.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert!(count > 0, "a request that ends early: {text}");
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            })
            .unwrap_or(0);
        if count == 0 || body.len() >= length {
            return text;
        }
    }
}
