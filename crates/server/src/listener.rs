//! One listening socket: connections come in, each with its own task, bounds and peer.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use imprint_attest::PeerCertificate;
use imprint_pkix::certificate::Certificate;
use imprint_registrar::enroll::Channel;
use rustls::{ProtocolVersion, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, Interest, Ready};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{Instrument, Span};

use crate::crowd::{Crowd, Handshake, Here, Place, Room};
use crate::limits::{HEADER_BYTES, Limits};
use crate::network::Network;
use crate::proxy;
use crate::reply::Torn;
use crate::tls::Tls;

/// What is spoken on a listener's connections.
pub(crate) trait Protocol: Send + Sync + 'static {
    /// Holds one conversation, from the first byte to the last.
    fn speak(
        &self,
        stream: impl Stream,
        peer: &Peer,
        terms: &Terms<'_>,
    ) -> impl Future<Output = ()> + Send;
}

/// Bytes in both directions.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What holds for one conversation.
pub(crate) struct Terms<'a> {
    pub(crate) limits: &'a Limits,
    /// Who else is on this listener.
    pub(crate) crowd: &'a Crowd,
    pub(crate) lifetime: Lifetime,
}

/// HTTP/1.1, each request answered by a door.
pub(crate) struct Http<D>(pub(crate) Arc<D>);

/// What answers the requests of one listener.
pub(crate) trait Door: Send + Sync + 'static {
    /// What it answers with.
    type Body: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;

    /// Answers one request; an error breaks the connection off.
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> impl Future<Output = Result<Response<Self::Body>, Torn>> + Send;
}

/// Who is at the other end of a connection.
#[derive(Clone)]
pub struct Peer {
    /// Its address: the TCP peer's at the listener, the client's (behind trusted proxies) in the
    /// requests that the admin API sees.
    pub address: IpAddr,
    /// The certificate that it showed, with proof that it holds the key and of nothing else.
    pub certificate: Option<PeerCertificate>,
    /// What it sent behind its certificate, DER.
    pub(crate) chain: Vec<Vec<u8>>,
    /// The server that it named in TLS (SNI), where that is one of our own names and it showed a
    /// certificate: nobody else is asked for it.
    pub(crate) server_name: Option<String>,
    /// The protocol that TLS agreed on (ALPN), if any was offered.
    pub(crate) protocol: Option<Vec<u8>>,
    /// What a channel binding of this connection looks like.
    pub(crate) channel: Channel,
}

/// How one listener's connections are treated.
pub(crate) struct Listener {
    /// `None`: in the clear.
    pub(crate) tls: Option<Tls>,
    pub(crate) limits: Limits,
    /// Addresses that stand for many others.
    pub(crate) proxies: Vec<Network>,
    /// Whether they begin with a PROXY header.
    pub(crate) proxy_protocol: bool,
    pub(crate) lifetime: Lifetime,
    /// Around every log line of this listener.
    pub(crate) span: Span,
}

/// How the end is announced, and how it is known to be complete.
#[derive(Clone)]
pub(crate) struct Lifetime {
    /// Becomes true when the server stops.
    pub(crate) stop: watch::Receiver<bool>,
    /// Dropped by each task at its end.
    pub(crate) alive: mpsc::Sender<()>,
}

/// Binds `address`. The queue is long enough for a factory that switches its line on.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Listener {
    /// Takes connections until the server stops; the socket is closed then, whoever is still there.
    pub(crate) async fn run<P: Protocol>(self, socket: TcpListener, protocol: Arc<P>) {
        let listener = Arc::new(self);
        let crowd = Crowd::new(&listener.limits);
        let mut stop = listener.lifetime.stop.clone();
        loop {
            let next = async {
                // Room first: whom we can't let wait here waits in the kernel's queue.
                let room = crowd.room().await;
                (socket.accept().await, room)
            };
            let (accepted, room) = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                next = next => next,
            };
            let (tcp, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: closing connections makes room.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
                    continue;
                }
            };
            let (protocol, own) = (Arc::clone(&protocol), Arc::clone(&listener));
            let crowd = Arc::clone(&crowd);
            let connection = async move {
                let Some((guest, entry)) = own.let_in(tcp, address.ip(), &crowd, room).await else {
                    return;
                };
                // In a box, and made only now: who waits needs none of this.
                Box::pin(own.connection(guest, entry, &*protocol, &crowd)).await;
            };
            tokio::spawn(connection.instrument(listener.span.clone()));
        }
    }

    /// From the first moment until it is the guest's turn, with as little as possible: thousands wait
    /// here when a factory switches its power on, and whoever wants to hold us up has to do it here.
    async fn let_in(
        &self,
        tcp: TcpStream,
        address: IpAddr,
        crowd: &Arc<Crowd>,
        room: Room,
    ) -> Option<(Guest, Entry)> {
        let mut stop = self.lifetime.stop.clone();
        let in_line = async {
            let guest = self.guest(tcp, address, crowd).await?;
            let entry = self.in_line(&guest).await?;
            Some((guest, entry))
        };
        let let_in = tokio::select! {
            biased;
            let_in = in_line => let_in,
            _ = stop.wait_for(|stop| *stop) => None,
        };
        drop(room);
        let_in
    }

    /// Who is really at the other end, if there is room for one more from there.
    async fn guest(
        &self,
        mut tcp: TcpStream,
        address: IpAddr,
        crowd: &Arc<Crowd>,
    ) -> Option<Guest> {
        let mut address = address.to_canonical();
        let is_proxy = |address| self.proxies.iter().any(|proxy| proxy.contains(address));
        if self.proxy_protocol && is_proxy(address) {
            match timeout(self.limits.handshake, proxy::read(&mut tcp)).await {
                Ok(Ok(client)) => address = client.map_or(address, |client| client.to_canonical()),
                Ok(Err(error)) => {
                    tracing::debug!(%address, %error, "a proxy does not say for whom it speaks");
                    return None;
                }
                Err(_) => return None,
            }
        }
        let here = if is_proxy(address) {
            crowd.join_for_many()
        } else if let Some(here) = crowd.join(address) {
            here
        } else {
            tracing::debug!(%address, "too many connections from here");
            return None;
        };
        Some(Guest { tcp, address, here })
    }

    /// Waits until the guest may come in. `None`: it went, or said nothing, or the line was too long.
    async fn in_line(&self, guest: &Guest) -> Option<Entry> {
        let (address, limits) = (guest.address, &self.limits);
        let too_long = |_| tracing::debug!(%address, "waited too long");
        if self.tls.is_none() {
            let place = timeout(limits.wait, guest.here.place()).await;
            return Some(Entry {
                place: place.map_err(too_long).ok()?,
                handshake: None,
            });
        }
        // Nobody waits for the silent: they stand in no line.
        let first = timeout(limits.handshake, guest.tcp.peek(&mut [0])).await;
        if !matches!(first, Ok(Ok(1..))) {
            tracing::debug!(%address, "said nothing");
            return None;
        }
        let turn = timeout(limits.wait, guest.here.turn()).await;
        let (handshake, place) = turn.map_err(too_long).ok()?;
        // Readable it is. Who has hung up meanwhile gets no cryptography.
        let ready = guest.tcp.ready(Interest::READABLE).await;
        if ready.map_or(true, Ready::is_read_closed) {
            tracing::debug!(%address, "gone before its turn");
            return None;
        }
        Some(Entry {
            place,
            handshake: Some(handshake),
        })
    }

    async fn connection<P: Protocol>(
        &self,
        guest: Guest,
        entry: Entry,
        protocol: &P,
        crowd: &Crowd,
    ) {
        let Guest { tcp, address, here } = guest;
        let terms = Terms {
            limits: &self.limits,
            crowd,
            lifetime: self.lifetime.clone(),
        };
        // Replies are one write each; waiting to fill a packet would only cost time.
        let _ = tcp.set_nodelay(true);
        if let Some(tls) = &self.tls {
            let shaken = timeout(self.limits.handshake, Box::pin(tls.accept(tcp))).await;
            drop(entry.handshake);
            match shaken {
                Ok(Ok(stream)) => match Peer::of(address, stream.get_ref().1, tls) {
                    Ok(peer) => Box::pin(protocol.speak(stream, &peer, &terms)).await,
                    Err(error) => tracing::debug!(%address, %error, "no exporter"),
                },
                Ok(Err(error)) => tracing::debug!(%address, %error, "handshake failed"),
                Err(_) => tracing::debug!(%address, "handshake too slow"),
            }
        } else {
            let peer = Peer {
                address,
                certificate: None,
                chain: Vec::new(),
                server_name: None,
                protocol: None,
                channel: Channel::Tls12,
            };
            Box::pin(protocol.speak(tcp, &peer, &terms)).await;
        }
        drop((entry.place, here));
    }
}

impl Terms<'_> {
    /// Whether places run short on this listener.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowd.free() < self.limits.connections / 4
    }
}

impl<D: Door> Protocol for Http<D> {
    async fn speak(&self, stream: impl Stream, peer: &Peer, terms: &Terms<'_>) {
        let limits = terms.limits;
        let mut stop = terms.lifetime.stop.clone();
        let service = service_fn(async |request| {
            // In a box: what answering needs is large, and hyper moves a connection about with room for
            // it before anybody has asked.
            let mut response = Box::pin(self.0.answer(request, peer)).await?;
            // When places run short, nobody keeps one between two requests: whoever wants to hold
            // them all has to pay for a handshake each time.
            if terms.is_crowded() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Torn>(response)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // Covers an idle connection as well; without it a peer that says nothing stays for ever.
            .header_read_timeout(limits.headers)
            .max_buf_size(HEADER_BYTES)
            // Clients exist that look for `Content-Length` as it is spelled in the RFC.
            .title_case_headers(true)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut outcome = tokio::select! {
            outcome = connection.as_mut() => Some(outcome),
            () = tokio::time::sleep(limits.connection_age) => None,
            _ = stop.wait_for(|stop| *stop) => None,
        };
        if outcome.is_none() {
            // The request that is under way gets its reply, and nothing follows it.
            connection.as_mut().graceful_shutdown();
            outcome = timeout(limits.drain, connection).await.ok();
        }
        if let Some(Err(error)) = outcome {
            tracing::debug!(address = %peer.address, %error, "connection ended");
        }
    }
}

/// A connection that has come.
struct Guest {
    tcp: TcpStream,
    /// Who is really at the other end.
    address: IpAddr,
    here: Here,
}

/// What a connection has to have before anything is done for it.
struct Entry {
    place: Place,
    /// Where there is TLS.
    handshake: Option<Handshake>,
}

impl Peer {
    fn of(address: IpAddr, tls: &ServerConnection, own: &Tls) -> Result<Self, rustls::Error> {
        let shown = tls.peer_certificates().unwrap_or_default();
        let certificate = shown.first().map(|der| PeerCertificate {
            der: der.to_vec(),
            parsed: Certificate::parse(der).ok(),
        });
        let channel = match tls.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => {
                let exporter = [0; 32];
                let exporter = tls.export_keying_material(exporter, CHANNEL_BINDING, None)?;
                Channel::Tls13 { exporter }
            }
            _ => Channel::Tls12,
        };
        Ok(Self {
            address,
            certificate,
            chain: shown.iter().skip(1).map(|der| der.to_vec()).collect(),
            server_name: tls
                .server_name()
                .filter(|name| !shown.is_empty() && own.answers_to(name))
                .map(str::to_owned),
            protocol: tls.alpn_protocol().map(<[u8]>::to_vec),
            channel,
        })
    }
}

/// RFC 9266 section 4.2. TLS 1.3 makes no difference between no context and an empty one.
const CHANNEL_BINDING: &[u8] = b"EXPORTER-Channel-Binding";
const BACKLOG: u32 = 4_096;
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);
