//! MQTT to the byte: packets made by hand, and what came back.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use super::wire::Connection;

/// A packet with its length.
pub(crate) fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let more = length > 127;
        bytes.push(u8::try_from(length & 0x7f).unwrap() | if more { 0x80 } else { 0 });
        length >>= 7;
        if !more {
            break;
        }
    }
    [bytes, body].concat()
}

/// A string with its length.
pub(crate) fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

/// CONNECT with a clean session and a keep-alive of a minute.
pub(crate) fn connect(level: u8, client_id: &str) -> Vec<u8> {
    connect_with(level, 0b10, 60, client_id)
}

pub(crate) fn connect_with(level: u8, flags: u8, keep_alive: u16, client_id: &str) -> Vec<u8> {
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    let head = [
        &text("MQTT")[..],
        &[level, flags],
        &keep_alive.to_be_bytes(),
    ]
    .concat();
    packet(0x10, &[&head, properties, &text(client_id)])
}

/// SUBSCRIBE to filters, to be told at least once.
pub(crate) fn subscribe(level: u8, id: u16, filters: &[&str]) -> Vec<u8> {
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    let filters = filters
        .iter()
        .map(|filter| [text(filter), vec![1]].concat());
    packet(
        0x82,
        &[
            &id.to_be_bytes(),
            properties,
            &filters.collect::<Vec<_>>().concat(),
        ],
    )
}

pub(crate) fn unsubscribe(level: u8, id: u16, filter: &str) -> Vec<u8> {
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    packet(0xa2, &[&id.to_be_bytes(), properties, &text(filter)])
}

/// PUBLISH, to be acknowledged.
pub(crate) fn publish(level: u8, id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    packet(
        0x32,
        &[&text(topic), &id.to_be_bytes(), properties, payload],
    )
}

pub(crate) const PINGREQ: &[u8] = &[0xc0, 0];
pub(crate) const PINGRESP: &[u8] = &[0xd0, 0];
pub(crate) const DISCONNECT: &[u8] = &[0xe0, 0];

/// What came: the first byte, and what follows the length.
pub(crate) type Came = (u8, Vec<u8>);

impl Connection {
    /// The next packet; `None` when the connection ends before it is complete.
    pub(crate) async fn came(&mut self) -> Option<Came> {
        let patience = Duration::from_secs(10);
        let read = async {
            let first = self.tls.read_u8().await.ok()?;
            let (mut length, mut shift) = (0, 0);
            loop {
                let byte = usize::from(self.tls.read_u8().await.ok()?);
                length |= (byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut body = vec![0; length];
            self.tls.read_exact(&mut body).await.ok()?;
            Some((first, body))
        };
        let came = tokio::time::timeout(patience, read);
        came.await.expect("a packet or an end")
    }

    /// What the server says to this.
    pub(crate) async fn says(&mut self, bytes: &[u8]) -> Option<Came> {
        self.send(bytes).await;
        self.came().await
    }
}
