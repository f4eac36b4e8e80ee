//! One MQTT connection without its socket: bytes in, what was asked and bytes out.
//!
//! MQTT 3.1.1 and 5.0 differ in their packets and in how much of a refusal they can carry; nobody
//! outside of this file needs to know which one is spoken. A session ends with its connection:
//! nothing is kept for later, and two clients may have the same id, as devices of a factory do that
//! all call themselves `claim`.

use std::collections::VecDeque;
use std::fmt;
use std::mem;

use imprint_claim::filter;
use imprint_registrar::refusal::{Code, Refusal};
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::prelude::GenericEvent;
use mqtt_protocol_core::mqtt::connection::{Connection, ConnectionOptions, Version, role};
use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, GenericPacketTrait as _, MaximumQos, Packet, Properties, Property,
    Qos, RetainAvailable, ServerKeepAlive, SessionExpiryInterval, SharedSubscriptionAvailable,
    SubEntry, SubscriptionIdentifierAvailable, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, MqttError, PubackReasonCode,
    SubackReasonCode, SubackReturnCode, UnsubackReasonCode,
};

use zeroize::Zeroizing;

use super::frame;
use super::wrong::{Wrong, connect_reason, explanation, return_code};
use crate::limits::{CONNECT_BYTES, MqttLimits};

/// The state of one connection.
pub(super) struct Session {
    codec: Connection<role::Server>,
    limits: MqttLimits,
    state: State,
    /// What has arrived and is no whole packet yet.
    input: Vec<u8>,
    /// What has to be sent.
    output: Vec<u8>,
    subscriptions: Vec<Subscription>,
    may_subscribe: fn(&str) -> bool,
    /// Requests that were handed to the caller and are not answered yet.
    open: u16,
    /// Answers that the client has not acknowledged yet.
    unacknowledged: u16,
    /// Answers that wait until the client has room.
    waiting: VecDeque<(Message, Qos)>,
    /// Whether a packet has come since this was last asked.
    alive: bool,
    /// Whether the client wants to read why (MQTT 5 section 3.1.2.11.7).
    explains: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has come yet.
    Fresh,
    /// CONNECT is here and waits for its CONNACK.
    Asking,
    /// Accepted.
    Open,
    /// Nothing may follow.
    Over,
}

struct Subscription {
    filter: String,
    qos: Qos,
}

/// What the caller has to deal with.
#[derive(Debug)]
pub(super) enum Heard {
    /// The client introduces itself: call [`Session::accept`] or [`Session::refuse`].
    Greeting(Greeting),
    /// A message: call [`Session::answer`], in the order in which they came.
    Published(Published),
    /// The client goes.
    Goodbye,
}

/// What a client says about itself. Nothing of it is proven. The password is not printed.
pub(super) struct Greeting {
    pub(super) client_id: String,
    /// The official SDKs write their name and version here.
    pub(super) user_name: Option<String>,
    /// A shared access signature, where one is shown.
    pub(super) password: Option<Zeroizing<Vec<u8>>>,
    /// Seconds; 0 for none.
    pub(super) keep_alive: u16,
    /// Whether the client wants its session kept, which we don't.
    keeps: bool,
}

impl fmt::Debug for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Greeting")
            .field("client_id", &self.client_id)
            .field("user_name", &self.user_name)
            .field("keep_alive", &self.keep_alive)
            .field("keeps", &self.keeps)
            .finish_non_exhaustive()
    }
}

/// A message from the client.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    /// None if it is not to be acknowledged.
    packet_id: Option<u16>,
}

/// A message to the client.
pub(super) struct Message {
    pub(super) topic: String,
    /// A private key may be in it.
    pub(super) payload: Zeroizing<Vec<u8>>,
}

impl Session {
    pub(super) fn new(limits: MqttLimits) -> Self {
        let options = ConnectionOptions::new()
            .maximum_packet_size_recv(limits.packet_bytes)
            .receive_maximum(limits.in_flight);
        let mut codec = Connection::with_options(Version::Undetermined, options);
        // An acknowledgement says that it was done, not that it was heard.
        codec.set_auto_pub_response(false);
        codec.set_auto_ping_response(true);
        Self {
            codec,
            limits,
            state: State::Fresh,
            input: Vec::new(),
            output: Vec::new(),
            subscriptions: Vec::new(),
            may_subscribe: |_| false,
            open: 0,
            unacknowledged: 0,
            waiting: VecDeque::new(),
            alive: false,
            explains: true,
        }
    }

    /// Takes bytes in. [`Self::next`] tells what they are.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The next thing that the caller has to deal with, if all of it has arrived.
    pub(super) fn next(&mut self) -> Result<Option<Heard>, Wrong> {
        while let Some(packet) = self.next_packet()? {
            if let Some(heard) = self.packet(packet)? {
                return Ok(Some(heard));
            }
        }
        Ok(None)
    }

    /// What has to be sent now.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        mem::take(&mut self.output)
    }

    /// Whether a whole packet has come since the last call.
    pub(super) fn take_alive(&mut self) -> bool {
        mem::take(&mut self.alive)
    }

    /// Whether the client has room for an answer. Who doesn't read gets nothing more done.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Lets the client in. `name` is its id if it brought none. It may subscribe to what
    /// `may_subscribe` says of a filter.
    pub(super) fn accept(
        &mut self,
        greeting: &Greeting,
        name: &str,
        may_subscribe: fn(&str) -> bool,
    ) -> Result<(), Wrong> {
        self.state = State::Open;
        self.may_subscribe = may_subscribe;
        let packet = if self.is_5() {
            let mut properties = self.capabilities(greeting).map_err(Wrong::codec)?;
            if greeting.client_id.is_empty() {
                let name = AssignedClientIdentifier::new(name).map_err(Wrong::codec)?;
                properties.push(name.into());
            }
            let connack = v5_0::Connack::builder()
                .session_present(false)
                .reason_code(ConnectReasonCode::Success)
                .props(properties);
            connack.build().map(Packet::from)
        } else {
            let connack = v3_1_1::Connack::builder()
                .session_present(false)
                .return_code(ConnectReturnCode::Accepted);
            connack.build().map(Packet::from)
        };
        self.send(packet)
    }

    /// Turns the client away. Nothing follows.
    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        if self.state != State::Asking {
            return;
        }
        let packet = if self.is_5() {
            let connack = v5_0::Connack::builder()
                .session_present(false)
                .reason_code(connect_reason(refusal))
                .props(explanation(refusal));
            connack.build().map(Packet::from)
        } else {
            let connack = v3_1_1::Connack::builder()
                .session_present(false)
                .return_code(return_code(refusal));
            connack.build().map(Packet::from)
        };
        self.last(packet);
    }

    /// Says a request done: it is acknowledged, and the answer is sent if the client listens for it.
    pub(super) fn answer(&mut self, asked: &Published, answer: Message) -> Result<(), Wrong> {
        let granted = self.granted(&answer.topic);
        self.acknowledge(asked, None, granted.is_some())?;
        if let Some(qos) = granted {
            self.waiting.push_back((answer, qos));
        }
        self.deliver()
    }

    /// Says a message received, where there is nothing to answer, or where a rude network has the answer.
    pub(super) fn take(&mut self, told: &Published) -> Result<(), Wrong> {
        self.acknowledge(told, None, true)
    }

    /// Sends one more answer to a request that is acknowledged, where a client listens that knows
    /// duplicates (MQTT 3.1.1 section 4.3.2).
    pub(super) fn repeat(&mut self, answer: Message) -> Result<(), Wrong> {
        if let Some(qos @ Qos::AtLeastOnce) = self.granted(&answer.topic) {
            self.waiting.push_back((answer, qos));
        }
        self.deliver()
    }

    /// Says no to a message. MQTT 5 has a way to say it; a client of 3.1.1 would take any
    /// acknowledgement for a yes, so its connection ends (MQTT 3.1.1 section 3.3.5).
    pub(super) fn forbid(&mut self, asked: &Published, refusal: Refusal) -> Result<(), Wrong> {
        if self.is_5() && asked.packet_id.is_some() {
            return self.acknowledge(asked, Some(&refusal), true);
        }
        Err(Wrong {
            refusal,
            reason: DisconnectReasonCode::NotAuthorized,
        })
    }

    /// Ends the connection, with its reason where that can be told.
    pub(super) fn end(&mut self, wrong: &Wrong) {
        match self.state {
            State::Open if self.is_5() => {
                let disconnect = v5_0::Disconnect::builder()
                    .reason_code(wrong.reason)
                    .props(explanation(&wrong.refusal));
                self.last(disconnect.build().map(Packet::from));
            }
            State::Asking => self.refuse(&wrong.refusal),
            State::Fresh if self.is_5() => {
                self.state = State::Asking;
                self.refuse(&wrong.refusal);
            }
            State::Fresh | State::Open | State::Over => {}
        }
        self.state = State::Over;
    }

    /// Ends the connection without anything being wrong.
    pub(super) fn part(&mut self, reason: DisconnectReasonCode) {
        if self.state == State::Open && self.is_5() {
            let disconnect = v5_0::Disconnect::builder().reason_code(reason);
            self.last(disconnect.build().map(Packet::from));
        }
        self.state = State::Over;
    }

    fn is_5(&self) -> bool {
        self.codec.get_protocol_version() == Version::V5_0
    }
    fn granted(&self, topic: &str) -> Option<Qos> {
        let subscriptions = self.subscriptions.iter();
        subscriptions
            .filter(|subscription| filter::matches(&subscription.filter, topic))
            .map(|subscription| subscription.qos)
            .max_by_key(|qos| *qos as u8)
    }
}

/// What comes in.
impl Session {
    fn next_packet(&mut self) -> Result<Option<Packet>, Wrong> {
        let fresh = self.state == State::Fresh;
        let kind = self.input.first().map(|first| first >> 4);
        if fresh && kind.is_some_and(|kind| kind != frame::CONNECT) {
            return Err(Wrong::unexpected("the first packet is no CONNECT"));
        }
        let limit = if fresh {
            CONNECT_BYTES.min(self.limits.packet_bytes)
        } else {
            self.limits.packet_bytes
        };
        let Some(length) = frame::packet(&self.input, limit)? else {
            return Ok(None);
        };
        let bytes: Vec<u8> = self.input.drain(..length).collect();
        self.alive = true;
        if fresh {
            self.greet(&bytes)?;
        }
        let (mut found, mut reply) = (None, Vec::new());
        for event in self.codec.recv(&mut Cursor::new(bytes.as_slice())) {
            match event {
                GenericEvent::NotifyPacketReceived(packet) => found = Some(packet),
                // How it ends is ours to say: the codec knows no sentences, and to a CONNECT that it
                // can't read it says "not authorized".
                GenericEvent::NotifyError(error) => return Err(Wrong::codec(error)),
                GenericEvent::RequestSendPacket { packet, .. } => {
                    reply.extend(packet.to_continuous_buffer());
                }
                _ => {}
            }
        }
        self.output.append(&mut reply);
        // Every packet that is no error is one that somebody has to see.
        found
            .map(Some)
            .ok_or_else(|| Wrong::unexpected("the packet repeats another"))
    }

    /// What the codec does not look at in a CONNECT, and the one answer for versions that neither of
    /// us knows.
    fn greet(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        let header = bytes.iter().skip(1).position(|byte| byte & 0x80 == 0);
        let body = bytes
            .get(header.unwrap_or_default() + 2..)
            .unwrap_or_default();
        let (level, flags) = match body {
            // The second name is that of MQTT 3.1, of 2010.
            [0, 4, b'M', b'Q', b'T', b'T', level, flags, ..]
            | [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', level, flags, ..] => (*level, *flags),
            _ => return Err(Wrong::malformed("this is not MQTT")),
        };
        if !matches!(level, 4 | 5) {
            self.output.extend(UNACCEPTABLE_VERSION);
            let reason = DisconnectReasonCode::ProtocolError;
            return Err(Wrong::unsupported(
                reason,
                &format!("MQTT of level {level}"),
            ));
        }
        let (will, will_rest) = (flags & 0b100 != 0, flags & 0b11_1000 != 0);
        if flags & 1 != 0 || !will && will_rest || flags & 0b1_1000 == 0b1_1000 {
            return Err(Wrong::malformed(
                "flags of the CONNECT contradict each other",
            ));
        }
        Ok(())
    }

    fn packet(&mut self, packet: Packet) -> Result<Option<Heard>, Wrong> {
        match packet {
            Packet::V3_1_1Connect(connect) => {
                self.state = State::Asking;
                let greeting = Greeting {
                    client_id: connect.client_id().to_owned(),
                    user_name: connect.user_name().map(str::to_owned),
                    password: connect.password().map(|bytes| bytes.to_vec().into()),
                    keep_alive: connect.keep_alive(),
                    keeps: !connect.clean_session(),
                };
                if greeting.client_id.is_empty() && greeting.keeps {
                    return Err(Wrong::unexpected("a session is to be kept, but for nobody"));
                }
                Ok(Some(Heard::Greeting(greeting)))
            }
            Packet::V5_0Connect(connect) => {
                self.state = State::Asking;
                self.greeted(&connect).map(Some)
            }
            Packet::V3_1_1Publish(publish) => {
                let packet_id = publish.packet_id();
                let (topic, payload) = (publish.topic_name(), publish.payload().as_slice());
                self.published(topic, payload, packet_id, publish.qos(), publish.retain())
            }
            Packet::V5_0Publish(publish) => {
                let packet_id = publish.packet_id();
                let (topic, payload) = (publish.topic_name(), publish.payload().as_slice());
                self.published(topic, payload, packet_id, publish.qos(), publish.retain())
            }
            Packet::V3_1_1Subscribe(subscribe) => {
                let codes = self.subscribe(subscribe.packet_id(), subscribe.entries())?;
                let suback = v3_1_1::Suback::builder()
                    .packet_id(subscribe.packet_id())
                    .return_codes(codes.into_iter().map(return_code_of).collect());
                self.send(suback.build().map(Packet::from)).map(|()| None)
            }
            Packet::V5_0Subscribe(subscribe) => {
                let named =
                    |property: &Property| matches!(property, Property::SubscriptionIdentifier(_));
                if subscribe.props().iter().any(named) {
                    let reason = DisconnectReasonCode::SubscriptionIdentifiersNotSupported;
                    return Err(Wrong::unsupported(reason, "a subscription identifier"));
                }
                let codes = self.subscribe(subscribe.packet_id(), subscribe.entries())?;
                let suback = v5_0::Suback::builder()
                    .packet_id(subscribe.packet_id())
                    .reason_codes(codes);
                self.send(suback.build().map(Packet::from)).map(|()| None)
            }
            Packet::V3_1_1Unsubscribe(unsubscribe) => {
                let id = known_id(unsubscribe.packet_id())?;
                for filter in unsubscribe.entries() {
                    self.unsubscribe(filter.as_str());
                }
                let unsuback = v3_1_1::Unsuback::builder().packet_id(id);
                self.send(unsuback.build().map(Packet::from)).map(|()| None)
            }
            Packet::V5_0Unsubscribe(unsubscribe) => {
                let id = known_id(unsubscribe.packet_id())?;
                let filters = unsubscribe.entries().iter();
                let codes = filters
                    .map(|filter| self.unsubscribe(filter.as_str()))
                    .collect();
                let unsuback = v5_0::Unsuback::builder().packet_id(id).reason_codes(codes);
                self.send(unsuback.build().map(Packet::from)).map(|()| None)
            }
            // The codec knows which acknowledgement is whose, and has closed if it was nobody's.
            Packet::V3_1_1Puback(_) | Packet::V5_0Puback(_) => {
                self.unacknowledged = self.unacknowledged.saturating_sub(1);
                self.deliver().map(|()| None)
            }
            // The codec has answered it.
            Packet::V3_1_1Pingreq(_) | Packet::V5_0Pingreq(_) => Ok(None),
            Packet::V3_1_1Disconnect(_) | Packet::V5_0Disconnect(_) => {
                self.state = State::Over;
                Ok(Some(Heard::Goodbye))
            }
            other => Err(Wrong::unexpected(format!(
                "a packet {:?}",
                other.packet_type()
            ))),
        }
    }

    fn greeted(&mut self, connect: &v5_0::Connect) -> Result<Heard, Wrong> {
        let mut keeps = !connect.clean_start();
        for property in connect.props() {
            match property {
                Property::RequestProblemInformation(wanted) => self.explains = wanted.val() != 0,
                Property::SessionExpiryInterval(seconds) => keeps |= seconds.val() != 0,
                Property::AuthenticationMethod(_) => {
                    let reason = DisconnectReasonCode::ProtocolError;
                    return Err(Wrong::unsupported(reason, "enhanced authentication"));
                }
                _ => {}
            }
        }
        if connect.will_flag() && connect.will_retain() {
            let reason = DisconnectReasonCode::RetainNotSupported;
            return Err(Wrong::unsupported(reason, "a will that is to be retained"));
        }
        Ok(Heard::Greeting(Greeting {
            client_id: connect.client_id().to_owned(),
            user_name: connect.user_name().map(str::to_owned),
            password: connect.password().map(|bytes| bytes.to_vec().into()),
            keep_alive: connect.keep_alive(),
            keeps,
        }))
    }

    fn published(
        &mut self,
        topic: &str,
        payload: &[u8],
        packet_id: Option<u16>,
        qos: Qos,
        retain: bool,
    ) -> Result<Option<Heard>, Wrong> {
        packet_id.map(known_id).transpose()?;
        if qos == Qos::ExactlyOnce {
            let reason = DisconnectReasonCode::QosNotSupported;
            return Err(Wrong::unsupported(reason, "a message of QoS 2"));
        }
        if retain {
            let reason = DisconnectReasonCode::RetainNotSupported;
            return Err(Wrong::unsupported(
                reason,
                "a message that is to be retained",
            ));
        }
        if !is_topic(topic) {
            let reason = DisconnectReasonCode::TopicNameInvalid;
            return Err(Wrong::new(
                Code::PacketUnreadable,
                reason,
                "no topic has that name",
            ));
        }
        if self.open >= self.limits.in_flight {
            return Err(Wrong::codec(MqttError::ReceiveMaximumExceeded));
        }
        self.open += 1;
        Ok(Some(Heard::Published(Published {
            topic: topic.to_owned(),
            payload: payload.to_vec(),
            packet_id,
        })))
    }

    fn subscribe(&mut self, id: u16, entries: &[SubEntry]) -> Result<Vec<SubackReasonCode>, Wrong> {
        known_id(id)?;
        let limit = self.limits.filters;
        let codes = entries.iter().enumerate().map(|(index, entry)| {
            if index >= limit {
                return SubackReasonCode::QuotaExceeded;
            }
            self.subscribe_one(entry.topic_filter(), entry.sub_opts().qos())
        });
        Ok(codes.collect())
    }

    fn subscribe_one(&mut self, filter: &str, wanted: Qos) -> SubackReasonCode {
        if filter.starts_with("$share/") {
            return SubackReasonCode::SharedSubscriptionsNotSupported;
        }
        if !is_filter(filter) {
            return SubackReasonCode::TopicFilterInvalid;
        }
        if !(self.may_subscribe)(filter) {
            return SubackReasonCode::NotAuthorized;
        }
        let (qos, code) = match wanted {
            Qos::AtMostOnce => (Qos::AtMostOnce, SubackReasonCode::GrantedQos0),
            _ => (Qos::AtLeastOnce, SubackReasonCode::GrantedQos1),
        };
        let mut known = self.subscriptions.iter_mut();
        if let Some(subscription) = known.find(|known| known.filter == filter) {
            subscription.qos = qos;
        } else if self.subscriptions.len() >= self.limits.subscriptions {
            return SubackReasonCode::QuotaExceeded;
        } else {
            let filter = filter.to_owned();
            self.subscriptions.push(Subscription { filter, qos });
        }
        code
    }

    fn unsubscribe(&mut self, filter: &str) -> UnsubackReasonCode {
        let before = self.subscriptions.len();
        self.subscriptions.retain(|known| known.filter != filter);
        if self.subscriptions.len() < before {
            UnsubackReasonCode::Success
        } else {
            UnsubackReasonCode::NoSubscriptionExisted
        }
    }
}

/// What goes out.
impl Session {
    /// MQTT 5 section 3.2.2.3: what a client should know before it asks for it. The codec adds the
    /// packet size and how much may be in flight.
    fn capabilities(&self, greeting: &Greeting) -> Result<Properties, MqttError> {
        let mut properties: Properties = vec![
            MaximumQos::new(1)?.into(),
            RetainAvailable::new(0)?.into(),
            SubscriptionIdentifierAvailable::new(0)?.into(),
            SharedSubscriptionAvailable::new(0)?.into(),
        ];
        if greeting.keeps {
            properties.push(SessionExpiryInterval::new(0)?.into());
        }
        let ours = self.keep_alive(greeting);
        if ours != greeting.keep_alive {
            properties.push(ServerKeepAlive::new(ours)?.into());
        }
        Ok(properties)
    }

    /// Within how many seconds a client has to say something.
    pub(super) fn keep_alive(&self, greeting: &Greeting) -> u16 {
        let seconds =
            |bound: std::time::Duration| u16::try_from(bound.as_secs()).unwrap_or(u16::MAX);
        match greeting.keep_alive {
            0 => seconds(self.limits.idle).max(1),
            wanted => wanted.min(seconds(self.limits.keep_alive).max(1)),
        }
    }

    fn acknowledge(
        &mut self,
        asked: &Published,
        refusal: Option<&Refusal>,
        heard: bool,
    ) -> Result<(), Wrong> {
        self.open = self.open.saturating_sub(1);
        let Some(id) = asked.packet_id else {
            return Ok(());
        };
        if !self.is_5() {
            let puback = v3_1_1::Puback::builder().packet_id(id);
            return self.send(puback.build().map(Packet::from));
        }
        let puback = v5_0::Puback::builder().packet_id(id);
        let puback = match refusal {
            Some(refusal) if self.explains => puback
                .reason_code(PubackReasonCode::NotAuthorized)
                .props(explanation(refusal)),
            Some(_) => puback.reason_code(PubackReasonCode::NotAuthorized),
            None if heard => puback,
            None => puback.reason_code(PubackReasonCode::NoMatchingSubscribers),
        };
        self.send(puback.build().map(Packet::from))
    }

    /// Sends what waits, as far as the client has room.
    fn deliver(&mut self) -> Result<(), Wrong> {
        loop {
            let vacancy = self.codec.get_receive_maximum_vacancy_for_send();
            let full = self.unacknowledged >= self.limits.in_flight || vacancy == Some(0);
            let Some((message, qos)) = self
                .waiting
                .pop_front_if(|(_, qos)| *qos == Qos::AtMostOnce || !full)
            else {
                return Ok(());
            };
            self.publish(message, qos)?;
        }
    }

    fn publish(&mut self, message: Message, qos: Qos) -> Result<(), Wrong> {
        let Message { topic, payload } = message;
        let id = if qos == Qos::AtMostOnce {
            None
        } else {
            self.unacknowledged += 1;
            Some(self.codec.acquire_packet_id().map_err(Wrong::codec)?)
        };
        let packet = if self.is_5() {
            let publish = v5_0::Publish::builder()
                .topic_name(topic)
                .map_err(Wrong::codec)?;
            let publish = publish.qos(qos).payload(payload.as_slice()).packet_id(id);
            publish.build().map(Packet::from)
        } else {
            let publish = v3_1_1::Publish::builder()
                .topic_name(topic)
                .map_err(Wrong::codec)?;
            let publish = publish.qos(qos).payload(payload.as_slice()).packet_id(id);
            publish.build().map(Packet::from)
        };
        self.send(packet)
    }

    fn send(&mut self, packet: Result<Packet, MqttError>) -> Result<(), Wrong> {
        for event in self.codec.send(packet.map_err(Wrong::codec)?) {
            match event {
                GenericEvent::RequestSendPacket { packet, .. } => {
                    self.output.extend(packet.to_continuous_buffer());
                }
                // A client with room for less than our answer has, most likely.
                GenericEvent::NotifyError(error) => return Err(Wrong::codec(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// The last packet of a connection: it needs no state, and the codec may have lost its own.
    fn last(&mut self, packet: Result<Packet, MqttError>) {
        if let Ok(packet) = packet {
            self.output.extend(packet.to_continuous_buffer());
        }
        self.state = State::Over;
    }
}

fn is_filter(filter: &str) -> bool {
    filter.len() <= LONGEST_TOPIC && filter::is_valid(filter)
}

/// Whether a topic can be published to: it has no wildcards.
fn is_topic(topic: &str) -> bool {
    (1..=LONGEST_TOPIC).contains(&topic.len()) && !topic.contains(['#', '+'])
}

/// Section 2.2.1: a packet id is never 0.
fn known_id(id: u16) -> Result<u16, Wrong> {
    if id == 0 {
        return Err(Wrong::unexpected("the packet id is 0"));
    }
    Ok(id)
}

/// MQTT 3.1.1 knows one failure.
fn return_code_of(code: SubackReasonCode) -> SubackReturnCode {
    match code {
        SubackReasonCode::GrantedQos0 => SubackReturnCode::SuccessMaximumQos0,
        SubackReasonCode::GrantedQos1 => SubackReturnCode::SuccessMaximumQos1,
        _ => SubackReturnCode::Failure,
    }
}

/// Bytes. The longest that a device needs has a template's name of 36 characters in it.
const LONGEST_TOPIC: usize = 512;
/// CONNACK with return code 1, in the form that every version understands (MQTT 3.1.1 section
/// 3.2.2.3).
const UNACCEPTABLE_VERSION: [u8; 4] = [0x20, 0x02, 0x00, 0x01];

#[cfg(test)]
mod tests {
    use super::*;

    /// A session with a client of this level that is in and has subscribed, to be told at least once.
    fn open(level: u8, properties: &[u8], filters: &[&str]) -> Session {
        let mut session = Session::new(MqttLimits::default());
        let connect = [
            b"\0\x04MQTT",
            &[level, 2, 0, 60][..],
            properties,
            b"\0\x01x",
        ]
        .concat();
        session.feed(&packet(0x10, &connect));
        let Heard::Greeting(greeting) = session.next().unwrap().unwrap() else {
            panic!("a CONNECT is a greeting")
        };
        session.accept(&greeting, "x", |_| true).unwrap();
        for filter in filters {
            let none: &[u8] = if level == 5 { &[0] } else { &[] };
            session.feed(&packet(
                0x82,
                &[&[0, 9], none, &text(filter), &[1]].concat(),
            ));
            assert!(session.next().unwrap().is_none());
        }
        session.take_output();
        session
    }

    fn packet(first: u8, body: &[u8]) -> Vec<u8> {
        [&[first, u8::try_from(body.len()).unwrap()], body].concat()
    }

    fn text(text: &str) -> Vec<u8> {
        [&[0, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    }

    /// What the client asks at least once.
    fn ask(session: &mut Session, id: u8) -> Published {
        let none: &[u8] = if session.is_5() { &[0] } else { &[] };
        session.feed(&packet(
            0x32,
            &[&text("ask")[..], &[0, id], none, b"?"].concat(),
        ));
        match session.next().unwrap() {
            Some(Heard::Published(published)) => published,
            other => panic!("{other:?}"),
        }
    }

    fn message(topic: &str) -> Message {
        let (topic, payload) = (topic.to_owned(), b"!".to_vec().into());
        Message { topic, payload }
    }

    #[test]
    fn an_answer_follows_its_acknowledgement_if_somebody_listens() {
        for (filters, heard) in [
            (&["said/accepted"][..], true),
            (&["said/+"], true),
            (&["x", "said/#"], true),
            (&["said/rejected"], false),
            (&[], false),
        ] {
            let mut session = open(4, &[], filters);
            let asked = ask(&mut session, 5);
            assert_eq!(asked.payload, b"?");
            session.answer(&asked, message("said/accepted")).unwrap();
            let mut want = vec![0x40, 2, 0, 5];
            if heard {
                want.extend(packet(
                    0x32,
                    &[&text("said/accepted"), &[0, 1][..], b"!"].concat(),
                ));
            }
            assert_eq!(session.take_output(), want, "{filters:?}");

            let mut session = open(5, &[0], filters);
            let asked = ask(&mut session, 5);
            session.answer(&asked, message("said/accepted")).unwrap();
            let output = session.take_output();
            let puback: &[u8] = if heard {
                &[0x40, 2, 0, 5]
            } else {
                &[0x40, 3, 0, 5, 0x10]
            };
            assert!(output.starts_with(puback), "{filters:?}: {output:x?}");
            assert_eq!(output.len() > puback.len(), heard, "{filters:?}");
        }
    }

    #[test]
    fn who_does_not_acknowledge_gets_no_more_than_it_has_room_for() {
        // Receive maximum 1.
        let mut session = open(5, &[3, 0x21, 0, 1], &["said"]);
        for id in 1..=3 {
            let asked = ask(&mut session, id);
            session.answer(&asked, message("said")).unwrap();
            assert_eq!(session.has_room(), id == 1, "{id}");
        }
        session.take_output();
        // Each answer takes the packet id that has just become free.
        for (acknowledged, room) in [(1, false), (2, true), (3, true)] {
            session.feed(&[0x40, 2, 0, 1]);
            assert!(session.next().unwrap().is_none());
            assert_eq!(session.has_room(), room, "{acknowledged}");
            assert_eq!(session.take_output().is_empty(), acknowledged == 3);
        }
    }

    #[test]
    fn more_requests_at_once_than_there_is_room_for_end_the_connection() {
        for level in [4, 5] {
            let properties: &[u8] = if level == 5 { &[0] } else { &[] };
            let mut session = open(level, properties, &[]);
            let limit = u8::try_from(MqttLimits::default().in_flight).unwrap();
            for id in 1..=limit {
                ask(&mut session, id);
            }
            // Neither with an acknowledgement nor without.
            let with = packet(0x32, &[&text("ask")[..], &[0, 99], properties].concat());
            for more in [with, packet(0x30, &[&text("ask")[..], properties].concat())] {
                session.feed(&more);
                let wrong = session.next().unwrap_err();
                assert_eq!(wrong.reason, DisconnectReasonCode::ReceiveMaximumExceeded);
                assert_eq!(wrong.refusal.code, Code::MqttLimit);
            }
        }
    }
}
