//! MQTT 5 as a device needs it: connect, ask one thing after the other, go.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use imprint_claim::{Call, Outcome, Reply, Request};
use imprint_est::RefusalNote;
use imprint_est::client::Refusal;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::prelude::GenericEvent;
use mqtt_protocol_core::mqtt::connection::{Connection, ConnectionOptions, Version, role};
use mqtt_protocol_core::mqtt::packet::{
    GenericPacketTrait as _, Packet, Property, Qos, SubEntry, SubOpts, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, MqttError};
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::calls::CallError;
use crate::http::{Endpoint, LinkError, Timeouts, secure};

/// One open MQTT connection.
pub(crate) struct MqttConnection {
    stream: TlsStream<TcpStream>,
    codec: Connection<role::Client>,
    /// Packets that have come and were not looked at yet.
    packets: VecDeque<Packet>,
    exchange: Duration,
    chain: Vec<CertificateDer<'static>>,
    resumed: bool,
}

impl MqttConnection {
    /// Connects, shakes hands and introduces the device. When this returns, the server was judged,
    /// and has let the device in.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        config: Arc<ClientConfig>,
        timeouts: Timeouts,
        client_id: &str,
    ) -> Result<Self, CallError> {
        let stream = secure(endpoint, config, timeouts).await?;
        let session = stream.get_ref().1;
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let chain = session.peer_certificates().unwrap_or_default().to_vec();
        let options = ConnectionOptions::new().maximum_packet_size_recv(LONGEST_PACKET);
        let mut codec = Connection::with_options(Version::V5_0, options);
        codec.set_auto_pub_response(true);
        let mut connection = Self {
            stream,
            codec,
            packets: VecDeque::new(),
            exchange: timeouts.exchange,
            chain,
            resumed,
        };
        connection.introduce(client_id).await?;
        Ok(connection)
    }

    async fn introduce(&mut self, client_id: &str) -> Result<(), CallError> {
        let connect = v5_0::Connect::builder()
            .client_id(client_id)
            .map_err(unwritable)?
            .clean_start(true)
            .keep_alive(KEEP_ALIVE_SECONDS)
            .build()
            .map_err(unwritable)?;
        self.send(connect.into()).await?;
        let connack = self
            .wait_for(|packet| match packet {
                Packet::V5_0Connack(connack) => Some(connack),
                _ => None,
            })
            .await?;
        if connack.reason_code() == ConnectReasonCode::Success {
            return Ok(());
        }
        let said = format!("{}", connack.reason_code());
        Err(refusal(connack.props(), &said).into())
    }

    /// What the server showed in TLS, its own certificate first.
    pub(crate) fn server_chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Whether TLS resumed an older session, and so proved no key.
    pub(crate) fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Asks, and waits for the answer: subscribes to both reply topics, publishes, reads. One round
    /// trip by the count, since nothing is decided in between.
    pub(crate) async fn ask(
        &mut self,
        call: &Call<'_>,
        request: &Request,
        trips: &AtomicU32,
    ) -> Result<Reply, CallError> {
        let replies = [
            (call.accepted(), Outcome::Accepted),
            (call.rejected(), Outcome::Rejected),
        ];
        self.subscribe(replies.iter().map(|(topic, _)| topic.as_str()))
            .await?;
        trips.fetch_add(1, Ordering::Relaxed);
        self.publish(&call.to_string(), request.encode(call.format))
            .await?;
        loop {
            let packet = self.next().await?;
            match packet {
                // Refused before anybody read it: there will be no reply.
                Packet::V5_0Puback(puback)
                    if puback
                        .reason_code()
                        .is_some_and(|code| code as u8 >= FAILURE) =>
                {
                    let said = puback
                        .reason_code()
                        .map_or_else(String::new, |code| code.to_string());
                    let none = Vec::new();
                    return Err(refusal(puback.props().as_ref().unwrap_or(&none), &said).into());
                }
                Packet::V5_0Publish(publish) => {
                    let reply = replies
                        .iter()
                        .find(|(topic, _)| topic == publish.topic_name());
                    if let Some((_, outcome)) = reply {
                        let payload = publish.payload().as_slice();
                        let reply = Reply::parse(call, *outcome, payload);
                        return reply.map_err(|error| CallError::Unreadable(error.to_string()));
                    }
                }
                other => heed(&other)?,
            }
        }
    }

    /// Says goodbye. What goes wrong with that concerns nobody.
    pub(crate) async fn close(mut self) {
        if let Ok(disconnect) = v5_0::Disconnect::builder().build() {
            let _ = self.send(disconnect.into()).await;
            let _ = timeout(self.exchange, self.stream.shutdown()).await;
        }
    }

    async fn subscribe(&mut self, topics: impl Iterator<Item = &str>) -> Result<(), CallError> {
        let options = SubOpts::new().set_qos(Qos::AtLeastOnce);
        let entries: Result<Vec<_>, _> =
            topics.map(|topic| SubEntry::new(topic, options)).collect();
        let id = self.codec.acquire_packet_id().map_err(unwritable)?;
        let subscribe = v5_0::Subscribe::builder()
            .packet_id(id)
            .entries(entries.map_err(unwritable)?)
            .build()
            .map_err(unwritable)?;
        self.send(subscribe.into()).await?;
        let suback = self
            .wait_for(|packet| match packet {
                Packet::V5_0Suback(suback) if suback.packet_id() == id => Some(suback),
                _ => None,
            })
            .await?;
        let refused = suback
            .reason_codes()
            .into_iter()
            .find(|code| *code as u8 >= FAILURE);
        match refused {
            Some(code) => Err(refusal(suback.props(), &code.to_string()).into()),
            None => Ok(()),
        }
    }

    async fn publish(&mut self, topic: &str, payload: Vec<u8>) -> Result<(), CallError> {
        let id = self.codec.acquire_packet_id().map_err(unwritable)?;
        let publish = v5_0::Publish::builder()
            .topic_name(topic)
            .map_err(unwritable)?
            .qos(Qos::AtLeastOnce)
            .packet_id(Some(id))
            .payload(payload)
            .build()
            .map_err(unwritable)?;
        Ok(self.send(publish.into()).await?)
    }

    async fn wait_for<T>(&mut self, wanted: impl Fn(Packet) -> Option<T>) -> Result<T, CallError> {
        loop {
            let packet = self.next().await?;
            heed(&packet)?;
            if let Some(found) = wanted(packet) {
                return Ok(found);
            }
        }
    }

    /// The next packet, however many reads it takes.
    async fn next(&mut self) -> Result<Packet, LinkError> {
        let mut buffer = vec![0; READ_BYTES];
        let mut read = 0;
        while self.packets.is_empty() {
            let arrived = timeout(self.exchange, self.stream.read(&mut buffer)).await;
            let count = arrived
                .map_err(|_| LinkError::Silent {
                    doing: "its answer",
                })?
                .map_err(LinkError::Broken)?;
            if count == 0 {
                return Err(LinkError::Broken(std::io::ErrorKind::UnexpectedEof.into()));
            }
            // Somebody who sends a byte at a time would hold us for ever.
            read += 1;
            if read > MOST_READS {
                return Err(LinkError::Silent {
                    doing: "the rest of its answer",
                });
            }
            self.feed(buffer.get(..count).unwrap_or_default()).await?;
        }
        let packet = self.packets.pop_front();
        packet.ok_or_else(|| LinkError::Mqtt("no packet".to_owned()))
    }

    async fn feed(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        let mut cursor = Cursor::new(bytes);
        let mut out = Vec::new();
        while usize::try_from(cursor.position()).is_ok_and(|at| at < bytes.len()) {
            for event in self.codec.recv(&mut cursor) {
                match event {
                    GenericEvent::NotifyPacketReceived(packet) => self.packets.push_back(packet),
                    GenericEvent::RequestSendPacket { packet, .. } => {
                        out.extend(packet.to_continuous_buffer());
                    }
                    GenericEvent::NotifyError(error) => {
                        return Err(LinkError::Mqtt(error.to_string()));
                    }
                    _ => {}
                }
            }
        }
        self.write(&out).await
    }

    async fn send(&mut self, packet: Packet) -> Result<(), LinkError> {
        let mut out = Vec::new();
        for event in self.codec.send(packet) {
            match event {
                GenericEvent::RequestSendPacket { packet, .. } => {
                    out.extend(packet.to_continuous_buffer());
                }
                GenericEvent::NotifyError(error) => return Err(LinkError::Mqtt(error.to_string())),
                _ => {}
            }
        }
        let sent = self.write(&out).await;
        // A certification request is no secret, an ownership token for one certificate hardly; but
        // nothing needs the copy.
        drop(mem::take(&mut out));
        sent
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let written = timeout(self.exchange, async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        });
        let written = written.await.map_err(|_| LinkError::Silent {
            doing: "taking a request",
        })?;
        written.map_err(LinkError::Broken)
    }
}

impl std::fmt::Debug for MqttConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MqttConnection")
    }
}

/// A server that hangs up says why.
fn heed(packet: &Packet) -> Result<(), CallError> {
    let Packet::V5_0Disconnect(disconnect) = packet else {
        return Ok(());
    };
    let said = disconnect
        .reason_code()
        .map_or_else(String::new, |code| code.to_string());
    let none = Vec::new();
    Err(refusal(disconnect.props().as_ref().unwrap_or(&none), &said).into())
}

/// What a packet says about why not: the line that HTTP has in its header, and the sentence. Where
/// the server gives neither, the reason code is all there is, and it never means "give up": it
/// may come from something in between.
fn refusal(properties: &[Property], said: &str) -> Refusal {
    let mut text = said.to_owned();
    let mut line = None;
    for property in properties {
        match property {
            Property::ReasonString(reason) => reason.val().clone_into(&mut text),
            Property::UserProperty(user) if user.key() == RefusalNote::HEADER => {
                line = Some(user.val());
            }
            _ => {}
        }
    }
    let header = |name: &str| line.filter(|_| name == RefusalNote::HEADER);
    Refusal::read(FORBIDDEN, header, text.as_bytes())
}

fn unwritable(error: MqttError) -> CallError {
    CallError::Link(LinkError::Mqtt(error.to_string()))
}

/// As HTTP would say it.
const FORBIDDEN: u16 = 403;
/// Reason codes from here on are failures (MQTT 5 section 2.4).
const FAILURE: u8 = 0x80;
/// A reply of the largest payload, and its topic.
const LONGEST_PACKET: u32 = 160 * 1_024;
const READ_BYTES: usize = 16 * 1_024;
/// For one packet: a kilobyte at a time is slow enough.
const MOST_READS: u32 = 512;
/// The connection lasts a few seconds.
const KEEP_ALIVE_SECONDS: u16 = 120;
