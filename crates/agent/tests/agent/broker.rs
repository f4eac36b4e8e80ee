//! The registrar's MQTT side in this process: it keeps its word as ours does, and misbehaves when
//! told.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use imprint_agent::Endpoint;
use imprint_claim::{Call, Class, Created, Refusal, Registered, Reply, Request, Retry, filter};
use imprint_pkix::certificate::Certificate;
use imprint_pkix::csr::Csr;
use imprint_pkix::pem;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::prelude::GenericEvent;
use mqtt_protocol_core::mqtt::connection::{Connection, Version, role};
use mqtt_protocol_core::mqtt::packet::{
    GenericPacketTrait as _, Packet, Qos, ReasonString, UserProperty, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, SubackReasonCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::NOW;
use crate::pki::{DAY, Pki};
use crate::registrar::acceptor;

pub(crate) struct Broker {
    pub(crate) shelf: Arc<Mutex<Shelf>>,
    port: u16,
    task: JoinHandle<()>,
}

/// What the broker has on record, and how it is to behave.
#[derive(Default)]
pub(crate) struct Shelf {
    /// The claim's certificate.
    pub(crate) claim: Vec<u8>,
    /// Authorities' devices that may come just in time, by certificate.
    pub(crate) known: Vec<Vec<u8>>,
    /// The pending certificate of each public key.
    pub(crate) issued: HashMap<Vec<u8>, Vec<u8>>,
    /// What became of each ownership token: template, parameters, thing.
    pub(crate) things: HashMap<String, (String, String)>,
    /// Certificates that have connected after they were registered.
    pub(crate) verified: Vec<Vec<u8>>,
    /// Every CONNECT by client id, and every call by its topic, in order.
    pub(crate) log: Vec<String>,
    /// Refusals to be given instead, by a part of the topic, or `CONNECT`.
    pub(crate) instead: HashMap<&'static str, VecDeque<(&'static str, Class, Retry)>>,
    /// Raw replies to be given instead of the next ones.
    pub(crate) raw: VecDeque<Vec<u8>>,
    /// Say nothing of why when a CONNECT is refused, as the vendor's service.
    pub(crate) is_taciturn: bool,
    /// So many times hang up when somebody subscribes.
    pub(crate) hang_ups: u32,
}

impl Broker {
    pub(crate) async fn start(pki: &Arc<Pki>, claim: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shelf = Arc::new(Mutex::new(Shelf {
            claim: claim.to_vec(),
            ..Shelf::default()
        }));
        let acceptor = acceptor(pki.server(NOW.plus(-DAY), NOW.plus(90 * DAY)));
        let task = tokio::spawn(accept(
            listener,
            acceptor,
            Arc::clone(pki),
            Arc::clone(&shelf),
        ));
        Self { shelf, port, task }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::mqtts(&format!("localhost:{}", self.port)).unwrap()
    }

    pub(crate) fn shelf<T>(&self, look: impl FnOnce(&mut Shelf) -> T) -> T {
        look(&mut self.shelf.lock().unwrap())
    }

    /// Refuses the next `what`.
    pub(crate) fn refuse(
        &self,
        what: &'static str,
        code: &'static str,
        class: Class,
        retry: Retry,
    ) {
        self.shelf(|shelf| {
            let refusals = shelf.instead.entry(what).or_default();
            refusals.push_back((code, class, retry));
        });
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    pki: Arc<Pki>,
    shelf: Arc<Mutex<Shelf>>,
) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, pki, shelf) = (acceptor.clone(), Arc::clone(&pki), Arc::clone(&shelf));
        tokio::spawn(async move {
            if let Ok(tls) = acceptor.accept(tcp).await {
                serve(tls, &pki, &shelf).await;
            }
        });
    }
}

/// One connection, to its end.
async fn serve(mut tls: TlsStream<TcpStream>, pki: &Pki, shelf: &Mutex<Shelf>) {
    let peer = tls
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first());
    let peer = peer.map(|der| der.to_vec()).unwrap_or_default();
    let mut codec: Connection<role::Server> = Connection::new(Version::V5_0);
    codec.set_auto_pub_response(true);
    codec.set_auto_ping_response(true);
    let (mut filters, mut buffer) = (Vec::new(), vec![0; 4_096]);
    while let Ok(count @ 1..) = tls.read(&mut buffer).await {
        let bytes = &buffer[..count];
        let mut cursor = Cursor::new(bytes);
        while usize::try_from(cursor.position()).unwrap() < bytes.len() {
            let mut out = Vec::new();
            for event in codec.recv(&mut cursor) {
                match event {
                    GenericEvent::RequestSendPacket { packet, .. } => {
                        out.extend(packet.to_continuous_buffer());
                    }
                    GenericEvent::NotifyPacketReceived(packet) => {
                        let answers = answer(
                            &packet,
                            &peer,
                            &mut filters,
                            pki,
                            &mut shelf.lock().unwrap(),
                        );
                        for mut packet in answers {
                            if let Packet::V5_0Publish(publish) = &packet {
                                let publish = v5_0::Publish::builder()
                                    .topic_name(publish.topic_name())
                                    .unwrap()
                                    .qos(Qos::AtLeastOnce)
                                    .packet_id(Some(codec.acquire_packet_id().unwrap()))
                                    .payload(publish.payload().as_slice().to_vec())
                                    .build();
                                packet = publish.unwrap().into();
                            }
                            for event in codec.send(packet) {
                                if let GenericEvent::RequestSendPacket { packet, .. } = event {
                                    out.extend(packet.to_continuous_buffer());
                                }
                            }
                        }
                    }
                    _ => {}
                }
            }
            {
                let mut shelf = shelf.lock().unwrap();
                if shelf.hang_ups > 0 && !filters.is_empty() {
                    shelf.hang_ups -= 1;
                    return;
                }
            }
            if tls.write_all(&out).await.is_err() || tls.flush().await.is_err() {
                return;
            }
        }
    }
}

fn answer(
    packet: &Packet,
    peer: &[u8],
    filters: &mut Vec<String>,
    pki: &Pki,
    shelf: &mut Shelf,
) -> Vec<Packet> {
    match packet {
        Packet::V5_0Connect(connect) => {
            shelf.log.push(format!("CONNECT {}", connect.client_id()));
            vec![shelf.connected(peer).into()]
        }
        Packet::V5_0Subscribe(subscribe) => {
            let topics: Vec<_> = subscribe
                .entries()
                .iter()
                .map(|e| e.topic_filter().to_owned())
                .collect();
            let codes = topics
                .iter()
                .map(|_| SubackReasonCode::GrantedQos1)
                .collect();
            filters.extend(topics);
            let suback = v5_0::Suback::builder()
                .packet_id(subscribe.packet_id())
                .reason_codes(codes);
            vec![suback.build().unwrap().into()]
        }
        Packet::V5_0Publish(publish) => {
            shelf.log.push(publish.topic_name().to_owned());
            let call = Call::parse(publish.topic_name()).unwrap();
            let reply = shelf.reply(&call, publish.payload().as_slice(), peer, pki);
            let topic = reply.topic(&call);
            assert!(
                filters.iter().any(|filter| filter::matches(filter, &topic)),
                "{topic} in {filters:?}"
            );
            let payload = shelf
                .raw
                .pop_front()
                .unwrap_or_else(|| reply.encode(call.format).to_vec());
            let publish = v5_0::Publish::builder()
                .topic_name(topic)
                .unwrap()
                .payload(payload)
                .build();
            vec![publish.unwrap().into()]
        }
        _ => Vec::new(),
    }
}

impl Shelf {
    fn refusal(&mut self, what: &str) -> Option<(&'static str, Class, Retry)> {
        let refusals = self
            .instead
            .iter_mut()
            .find(|(part, queue)| what.contains(**part) && !queue.is_empty());
        refusals.and_then(|(_, queue)| queue.pop_front())
    }

    /// Who is this certificate?
    fn connected(&mut self, peer: &[u8]) -> v5_0::Connack {
        let connack = v5_0::Connack::builder().session_present(false);
        if let Some((code, _, retry)) = self.refusal("CONNECT") {
            let connack = connack.reason_code(ConnectReasonCode::NotAuthorized);
            if self.is_taciturn {
                return connack.build().unwrap();
            }
            let retry = match retry {
                Retry::After(seconds) => seconds.to_string(),
                Retry::Never => "never".to_owned(),
            };
            let line = format!("{code}; step=ENROLL; retry={retry}");
            let reason = ReasonString::new("No, and this is why.").unwrap();
            let note = UserProperty::new("Imprint-Refusal", line).unwrap();
            return connack
                .props(vec![reason.into(), note.into()])
                .build()
                .unwrap();
        }
        let thing = self.things.contains_key(&ownership(peer));
        let known = thing || self.known.iter().any(|known| known == peer);
        if known && !self.verified.iter().any(|verified| verified == peer) {
            self.verified.push(peer.to_vec());
        }
        let code = if known || peer == self.claim {
            ConnectReasonCode::Success
        } else {
            ConnectReasonCode::NotAuthorized
        };
        connack.reason_code(code).build().unwrap()
    }

    fn reply(&mut self, call: &Call<'_>, payload: &[u8], peer: &[u8], pki: &Pki) -> Reply {
        if let Some((code, class, retry)) = self.refusal(&call.to_string()) {
            let refusal = Refusal {
                code,
                class,
                message: "No.",
                hint: "And this is why.",
                retry,
                about: "",
            };
            return Reply::Rejected(refusal.rejected());
        }
        assert_eq!(peer, self.claim, "only the claim's holder asks");
        match Request::parse(call, payload).unwrap() {
            Request::CreateKeys => panic!("our agent makes its own keys"),
            Request::CreateFromCsr { csr_pem } => {
                let der = pem::decode(pem::CERTIFICATE_REQUEST, &csr_pem)
                    .unwrap()
                    .remove(0);
                let spki = Csr::parse(&der).unwrap().public_key().spki_der().to_vec();
                let make = || pki.device("pending", &spki, NOW.plus(-3_600), NOW.plus(90 * DAY));
                let certificate = self.issued.entry(spki.clone()).or_insert_with(make).clone();
                assert!(Certificate::parse(&certificate).is_ok());
                Reply::Created(Created {
                    ownership: ownership(&certificate),
                    certificate_id: id(&certificate),
                    certificate_pem: pem::encode(pem::CERTIFICATE, &certificate),
                    private_key_pem: None,
                })
            }
            Request::Register {
                ownership,
                parameters,
            } => {
                let said = (call.to_string(), format!("{parameters:?}"));
                let known = self.things.entry(ownership).or_insert_with(|| said.clone());
                assert_eq!(*known, said, "one token, one thing");
                Reply::Registered(Registered {
                    device_configuration: [("colour".to_owned(), "red".to_owned())].into(),
                    thing_name: parameters
                        .get("SerialNumber")
                        .map(|id| id.replace(':', "-")),
                })
            }
        }
    }
}

fn ownership(certificate: &[u8]) -> String {
    format!("own-{}", id(certificate))
}

pub(crate) fn id(certificate: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    hex::encode(digest)
}
