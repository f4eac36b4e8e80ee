//! `--hostile`: a rude network in front of an honest road.
//!
//! Any client can be tried against it: replies are lost after they were committed, requests are
//! executed twice, delayed, or turned away. What is answered at all is answered as always. HTTP and
//! MQTT meet the same fates; how each looks in MQTT stands in `mqtt`.

use std::time::Duration;

use hyper::Response;
use imprint_est::{HttpReply, LineStyle};
use imprint_registrar::refusal::{Code, Refusal};

use crate::reply::{ReplyBody, Torn, refused, response};
use crate::world::{Chance, below};

/// The source of rudeness.
#[derive(Clone)]
pub(crate) struct Hostile {
    pub(crate) chance: Chance,
}

/// What happens to one request, or to one MQTT packet that asks for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// As it should be.
    Fair,
    /// Executed, and not a byte comes back.
    Silent,
    /// Executed, and the reply ends in its middle: over MQTT, behind the acknowledgement.
    Midway,
    /// Executed twice, answered once; over MQTT both answers come.
    Twice,
    /// Executed after a while.
    Late(Duration),
    /// Turned away with a passing cause, not executed.
    Busy,
}

impl Hostile {
    /// Answers one request by executing `reply` once, twice or not at all.
    pub(crate) async fn treat<F: Future<Output = HttpReply>>(
        &self,
        reply: impl Fn() -> F,
    ) -> Result<Response<ReplyBody>, Torn> {
        let fate = self.fate();
        match fate {
            Fate::Fair => {}
            Fate::Late(pause) => tokio::time::sleep(pause).await,
            Fate::Twice => {
                let first = reply().await;
                tracing::warn!(status = first.status, "hostile: executed, and now again");
            }
            Fate::Busy => {
                return Ok(response(refused(&self.busy()).encode(LineStyle::Wrapped)));
            }
            Fate::Silent => {
                reply().await;
                return Err(Torn);
            }
            Fate::Midway => return torn(reply().await),
        }
        Ok(response(reply().await))
    }

    /// The passing cause.
    pub(crate) fn busy(&self) -> Refusal {
        Refusal::new(Code::Busy).after(1 + below(&self.chance, 3))
    }

    /// What happens to the next request; anything but fairness is said in the log.
    pub(crate) fn fate(&self) -> Fate {
        let fate = self.draw();
        if fate != Fate::Fair {
            tracing::warn!(?fate, "hostile: a request meets its fate");
        }
        fate
    }

    /// Of a thousand requests 50 lose their reply, 20 are executed twice, 30 are late and 20 are
    /// turned away.
    fn draw(&self) -> Fate {
        match below(&self.chance, 1_000) {
            0..25 => Fate::Silent,
            25..50 => Fate::Midway,
            50..70 => Fate::Twice,
            70..100 => Fate::Late(Duration::from_millis(
                50 + u64::from(below(&self.chance, 450)),
            )),
            100..120 => Fate::Busy,
            _ => Fate::Fair,
        }
    }
}

/// The status, the headers and half of the body; without a body there is no middle.
fn torn(reply: HttpReply) -> Result<Response<ReplyBody>, Torn> {
    let mut response = response(reply);
    let ReplyBody::Whole(Some(bytes)) = response.body() else {
        return Err(Torn);
    };
    if bytes.len() < 2 {
        return Err(Torn);
    }
    let promised = bytes.len() as u64;
    let beginning = Some(bytes.slice(..bytes.len() / 2));
    let pause = Box::pin(tokio::time::sleep(Duration::from_millis(20)));
    *response.body_mut() = ReplyBody::Torn {
        beginning,
        promised,
        pause,
    };
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Xorshift: the same rudeness for the same seed.
    fn seeded(seed: u64) -> Chance {
        let state = AtomicU64::new(seed);
        Arc::new(move |bytes: &mut [u8]| {
            for byte in bytes {
                let mut x = state.load(Ordering::Relaxed);
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                state.store(x, Ordering::Relaxed);
                *byte = x.to_be_bytes()[3];
            }
        })
    }

    #[test]
    fn one_reply_in_twenty_is_lost_and_a_seed_replays_which() {
        let fates = |seed| {
            let hostile = Hostile {
                chance: seeded(seed),
            };
            (0..20_000).map(|_| hostile.draw()).collect::<Vec<_>>()
        };
        assert_eq!(fates(7), fates(7));
        assert_ne!(fates(7), fates(8));
        let mut count = BTreeMap::new();
        for fate in fates(7) {
            let name = match fate {
                Fate::Silent | Fate::Midway => "lost",
                Fate::Twice => "twice",
                Fate::Late(pause) => {
                    assert!((50..500).contains(&pause.as_millis()), "{pause:?}");
                    "late"
                }
                Fate::Busy => "busy",
                Fate::Fair => "fair",
            };
            *count.entry(name).or_insert(0_u32) += 1;
        }
        for (name, of_a_thousand) in [("lost", 50), ("twice", 20), ("late", 30), ("busy", 20)] {
            let (got, want) = (count[name], of_a_thousand * 20);
            assert!(
                got.abs_diff(want) < want / 5,
                "{name}: {got}, not about {want}"
            );
        }
    }
}
