//! A link that breaks after exactly so many bytes.
//!
//! It stands between a client and the server on loopback and carries ciphertext: TLS stays end to
//! end, and a cut falls wherever the count says, in the middle of a record or between two.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Which way the counted bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Request,
    /// From the server to the client.
    Reply,
}

/// How the link breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Both sides see the other close.
    Fin,
    /// Both sides see a reset.
    Rst,
    /// Neither sees anything: no byte passes any more.
    Blackhole,
}

/// When and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The way on which bytes are counted, over all connections since it was armed.
    pub way: Way,
    /// So many bytes still pass.
    pub after: u64,
    /// And then this.
    pub how: Cut,
}

/// Bytes and connections since the proxy was armed last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// From clients.
    pub request: u64,
    /// To clients.
    pub reply: u64,
    /// That clients opened.
    pub connections: u64,
}

/// The proxy. Dropping it breaks every link.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    state: Mutex<State>,
    /// Whether a planned cut has happened since the last arming. New connections wait while it is
    /// true, until somebody says that they may pass.
    struck: watch::Sender<bool>,
    open: watch::Sender<bool>,
}

struct State {
    target: SocketAddr,
    plan: Option<Plan>,
    counts: Counts,
}

impl Proxy {
    /// In front of `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                target,
                plan: None,
                counts: Counts::default(),
            }),
            struck: watch::channel(false).0,
            open: watch::channel(true).0,
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            accepting,
        }
    }

    /// Where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Counts from zero, and breaks as planned. Connections that are open go on.
    pub fn arm(&self, plan: Option<Plan>) {
        let mut state = self.shared.state.lock().unwrap();
        state.plan = plan;
        state.counts = Counts::default();
        self.shared.struck.send_replace(false);
        self.shared.open.send_replace(true);
    }

    /// Bytes and connections since it was armed.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.state.lock().unwrap().counts
    }

    /// Whether the planned cut has happened.
    #[must_use]
    pub fn has_struck(&self) -> bool {
        *self.shared.struck.borrow()
    }

    /// Waits for the planned cut.
    pub async fn struck(&self) {
        let mut struck = self.shared.struck.subscribe();
        struck
            .wait_for(|struck| *struck)
            .await
            .expect("the proxy lives");
    }

    /// After a cut, connections wait at the door; this lets them pass, to `target` if it is another.
    pub fn reopen(&self, target: SocketAddr) {
        self.shared.state.lock().unwrap().target = target;
        self.shared.open.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut links = tokio::task::JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        while links.try_join_next().is_some() {}
        links.spawn(link(client, Arc::clone(&shared)));
    }
}

async fn link(client: TcpStream, shared: Arc<Shared>) {
    let mut open = shared.open.subscribe();
    if open.wait_for(|open| *open).await.is_err() {
        return;
    }
    let target = {
        let mut state = shared.state.lock().unwrap();
        state.counts.connections += 1;
        state.target
    };
    // A server that is not there shows itself to the client as a closed connection.
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let how = carry(&client, &server, &shared).await;
    end(client, server, how).await;
}

/// Carries bytes both ways until an end closes or the plan says so.
async fn carry(client: &TcpStream, server: &TcpStream, shared: &Shared) -> Cut {
    let (mut up, mut down) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        let (way, read, to, bytes) = tokio::select! {
            ready = client.readable() => match ready.and_then(|()| client.try_read(&mut up)) {
                Ok(read) => (Way::Request, read, server, &up),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(_) => return Cut::Rst,
            },
            ready = server.readable() => match ready.and_then(|()| server.try_read(&mut down)) {
                Ok(read) => (Way::Reply, read, client, &down),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(_) => return Cut::Rst,
            },
        };
        if read == 0 {
            return Cut::Fin;
        }
        let (passing, cut) = shared.count(way, read);
        if !write_all(to, &bytes[..passing]).await {
            return Cut::Rst;
        }
        if let Some(how) = cut {
            shared.open.send_replace(false);
            shared.struck.send_replace(true);
            return how;
        }
    }
}

impl Shared {
    /// How many of `read` bytes still pass, and how the link breaks after them.
    fn count(&self, way: Way, read: usize) -> (usize, Option<Cut>) {
        let mut state = self.state.lock().unwrap();
        let before = match way {
            Way::Request => state.counts.request,
            Way::Reply => state.counts.reply,
        };
        let plan = state.plan.filter(|plan| plan.way == way);
        let left = plan.map_or(u64::MAX, |plan| plan.after.saturating_sub(before));
        let passing = usize::try_from(left).unwrap_or(usize::MAX).min(read);
        let cut = plan
            .filter(|_| passing < read || left == read as u64)
            .map(|plan| plan.how);
        if cut.is_some() {
            state.plan = None;
        }
        match way {
            Way::Request => state.counts.request += passing as u64,
            Way::Reply => state.counts.reply += passing as u64,
        }
        (passing, cut)
    }
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        if to.writable().await.is_err() {
            return false;
        }
        match to.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
    }
    true
}

async fn end(mut client: TcpStream, mut server: TcpStream, how: Cut) {
    match how {
        Cut::Fin => {
            let _ = (client.shutdown().await, server.shutdown().await);
            // What is unread when a socket is dropped turns its FIN into a reset.
            let drain = async {
                tokio::join!(read_out(&mut client), read_out(&mut server));
            };
            let _ = tokio::time::timeout(LINGER, drain).await;
        }
        Cut::Rst => {
            let _ = (client.set_zero_linger(), server.set_zero_linger());
        }
        Cut::Blackhole => tokio::time::sleep(SILENCE).await,
    }
}

async fn read_out(stream: &mut TcpStream) {
    let mut waste = [0; 4096];
    while stream.read(&mut waste).await.is_ok_and(|read| read > 0) {}
}

const LINGER: Duration = Duration::from_millis(50);
/// Longer than any client or server waits here.
const SILENCE: Duration = Duration::from_secs(30);
