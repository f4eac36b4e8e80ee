//! How many connections there are, how many from each address, and who waits.
//!
//! ```text
//! accept ── in line ───── handshake ── conversation
//!           `waiting`     `handshakes`
//!                         └───── `connections` ─────┘
//! ```
//!
//! Each bound holds for all together, and an address has a share of it: thousands of devices behind one
//! address are served like thousands, and still don't take everybody's place. Within its share an address
//! has a line of its own ([`Line`]), and only those at its front stand in the line of all. Whoever sends
//! nothing stands in no line.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::Limits;
use crate::line::{Line, Served};

/// The connections of one listener.
#[derive(Debug)]
pub(crate) struct Crowd {
    waiting: Arc<Semaphore>,
    places: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    /// Places and handshakes of each address.
    share: (usize, usize),
    /// Connections of each address, waiting or served.
    most: usize,
    addresses: Mutex<HashMap<IpAddr, Present>>,
}

/// What one address may have.
#[derive(Debug, Clone)]
struct Share {
    places: Arc<Semaphore>,
    handshakes: Arc<Line>,
}

/// Those of one address.
#[derive(Debug)]
struct Present {
    count: usize,
    share: Share,
}

/// One connection among those of its address, as long as it lives.
#[derive(Debug)]
pub(crate) struct Here {
    crowd: Arc<Crowd>,
    /// `None` for a proxy, which stands for many addresses and may have everything.
    address: Option<(IpAddr, Share)>,
}

/// Room to wait in.
pub(crate) struct Room {
    _room: OwnedSemaphorePermit,
}

/// A place among those who are served.
pub(crate) struct Place {
    _of_address: Option<OwnedSemaphorePermit>,
    _of_all: OwnedSemaphorePermit,
}

/// The right to shake hands now.
pub(crate) struct Handshake {
    _of_address: Option<Served>,
    _of_all: OwnedSemaphorePermit,
}

impl Crowd {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let of_address = limits.connections_per_address;
        Arc::new(Self {
            waiting: Arc::new(Semaphore::new(limits.waiting)),
            places: Arc::new(Semaphore::new(limits.connections)),
            handshakes: Arc::new(Semaphore::new(limits.handshakes)),
            share: (of_address, limits.handshakes_per_address),
            most: of_address.saturating_add(limits.waiting_per_address),
            addresses: Mutex::default(),
        })
    }

    /// Room for one more to wait in; until there is some, who comes waits in the kernel's queue.
    pub(crate) async fn room(&self) -> Room {
        Room {
            _room: acquire(&self.waiting).await,
        }
    }

    /// One more from `address`, if there are not too many. An IPv6 subnet counts as one address.
    pub(crate) fn join(self: &Arc<Self>, address: IpAddr) -> Option<Here> {
        let address = match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() >> 64 << 64)),
        };
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let present = addresses.entry(address).or_insert_with(|| Present {
            count: 0,
            share: Share {
                places: Arc::new(Semaphore::new(self.share.0)),
                handshakes: Line::new(self.share.1),
            },
        });
        if present.count >= self.most {
            return None;
        }
        present.count += 1;
        Some(Here {
            crowd: Arc::clone(self),
            address: Some((address, present.share.clone())),
        })
    }

    /// One more from a proxy that does not say for whom.
    pub(crate) fn join_for_many(self: &Arc<Self>) -> Here {
        Here {
            crowd: Arc::clone(self),
            address: None,
        }
    }

    /// The places that nobody has.
    pub(crate) fn free(&self) -> usize {
        self.places.available_permits()
    }
}

impl Here {
    /// Waits for a place.
    pub(crate) async fn place(&self) -> Place {
        Place {
            _of_address: self.own_place().await,
            _of_all: acquire(&self.crowd.places).await,
        }
    }

    /// Waits for the right to shake hands, and for the place that comes with it. The address's own come
    /// first: one that has had its share holds nothing that others wait for.
    pub(crate) async fn turn(&self) -> (Handshake, Place) {
        let handshake = match &self.address {
            Some((_, share)) => Some(share.handshakes.turn().await),
            None => None,
        };
        let place = self.own_place().await;
        let handshake = Handshake {
            _of_address: handshake,
            _of_all: acquire(&self.crowd.handshakes).await,
        };
        let place = Place {
            _of_address: place,
            _of_all: acquire(&self.crowd.places).await,
        };
        (handshake, place)
    }

    async fn own_place(&self) -> Option<OwnedSemaphorePermit> {
        match &self.address {
            Some((_, share)) => Some(acquire(&share.places).await),
            None => None,
        }
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let Some((address, _)) = self.address.take() else {
            return;
        };
        let mut addresses = self
            .crowd
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = addresses.entry(address) {
            entry.get_mut().count -= 1;
            if entry.get().count == 0 {
                entry.remove();
            }
        }
    }
}

#[expect(clippy::expect_used, reason = "it is never closed")]
async fn acquire(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let permit = Arc::clone(semaphore).acquire_owned().await;
    permit.expect("nobody closes these")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn crowd(connections: usize, handshakes: usize, of_address: (usize, usize)) -> Arc<Crowd> {
        Crowd::new(&Limits {
            connections,
            handshakes,
            connections_per_address: of_address.0,
            handshakes_per_address: of_address.1,
            waiting_per_address: 4,
            ..Limits::default()
        })
    }

    fn at(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    async fn at_once<T>(waits: impl Future<Output = T>) -> Option<T> {
        timeout(Duration::ZERO, waits).await.ok()
    }

    #[tokio::test]
    async fn an_address_that_has_had_its_share_holds_nothing_that_others_wait_for() {
        let crowd = crowd(8, 4, (6, 2));
        let here: Vec<_> = (0..5).map(|_| crowd.join(at(1)).unwrap()).collect();
        let _first = at_once(here[0].turn()).await.unwrap();
        let second = at_once(here[1].turn()).await.unwrap();
        // Three more stand in the line of their address, for good as far as they know.
        let mut third = Box::pin(here[2].turn());
        let mut fourth = Box::pin(here[3].turn());
        assert!(at_once(&mut third).await.is_none() && at_once(&mut fourth).await.is_none());
        assert!(at_once(here[4].turn()).await.is_none());
        let other = crowd.join(at(2)).unwrap();
        let another = crowd.join(at(3)).unwrap();
        let _other = at_once(other.turn()).await.expect("from another address");
        let _another = at_once(another.turn()).await.expect("from a third one");
        // The last to come is the first to be served.
        drop(second.0);
        assert!(at_once(&mut third).await.is_none());
        assert!(at_once(fourth).await.is_some());
    }

    #[tokio::test]
    async fn a_place_outlives_the_handshake_and_counts() {
        let crowd = crowd(2, 4, (2, 4));
        let here: Vec<_> = (1..=3).map(|last| crowd.join(at(last)).unwrap()).collect();
        let (handshake, place) = at_once(here[0].turn()).await.unwrap();
        drop(handshake);
        let _second = at_once(here[1].place()).await.unwrap();
        assert_eq!(crowd.free(), 0);
        assert!(at_once(here[2].turn()).await.is_none());
        drop(place);
        assert!(at_once(here[2].turn()).await.is_some());
    }

    #[test]
    fn an_address_has_so_many_connections_and_a_subnet_is_one_address() {
        let crowd = crowd(8, 8, (2, 2));
        let six = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        let mut here: Vec<_> = (1..=6).map(|last| crowd.join(six(last)).unwrap()).collect();
        assert!(crowd.join(six(7)).is_none());
        assert!(
            crowd
                .join(IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 7]))
                .is_some()
        );
        here.pop();
        assert!(crowd.join(six(8)).is_some());
        drop(here);
        assert!(
            crowd.addresses.lock().unwrap().is_empty(),
            "nobody is remembered"
        );
    }

    #[tokio::test]
    async fn a_proxy_stands_for_many() {
        let crowd = crowd(3, 3, (1, 1));
        let here: Vec<_> = (0..3).map(|_| crowd.join_for_many()).collect();
        let mut held = Vec::new();
        for one in &here {
            held.push(
                at_once(one.turn())
                    .await
                    .expect("it has no share of its own"),
            );
        }
        assert!(at_once(crowd.join_for_many().place()).await.is_none());
    }
}
