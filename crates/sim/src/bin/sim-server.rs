//! `sim-server DIRECTORY [GAP N]`: the real server on a [`Place`], which stops the N-th request
//! that comes to a gap, says so, and waits there to be killed. Everything else goes on.
//!
//! ```text
//! intend   decided, nothing written
//! sign     the intent is on record, nothing is signed
//! settle   signed, and the certificate is nowhere but in memory
//! reply    the certificate is on record, nobody has been told
//! verify   the device is back, nothing says so yet
//! spent    the token is spent, the device does not know
//! ```
//!
//! It prints `ready https=ADDRESS`, then `at GAP`, and ends when its standard input does.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a tool of tests")]

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use imprint_sim::place::Place;
use imprint_sim::tap::{Call, Tap, Tapped};
use imprint_sim::world::{real_now, serve};

/// Holds one request at one gap.
struct Gate {
    gap: Option<String>,
    left: AtomicU64,
    open: AtomicBool,
}

impl Gate {
    async fn come_to(&self, gap: &str) {
        let here = self.gap.as_deref() == Some(gap) && self.open.load(Ordering::SeqCst);
        if here && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            say(&format!("at {gap}"));
            std::future::pending::<()>().await;
        }
    }
}

impl Tap for Gate {
    async fn before(&self, call: &Call) {
        match call.name {
            "enrollment_intend" => self.come_to("intend").await,
            "sign" => self.come_to("sign").await,
            "enrollment_settle" => self.come_to("settle").await,
            "credential_verify" => self.come_to("verify").await,
            _ => {}
        }
    }

    async fn after(&self, call: &Call) {
        match call.name {
            "enrollment_settle" => self.come_to("reply").await,
            "credential_verify" => self.come_to("spent").await,
            _ => {}
        }
    }
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let place = Place::at(&PathBuf::from(arguments.next().expect("a directory")));
    let gap = arguments.next();
    let left = arguments
        .next()
        .map_or(1, |count| count.parse().expect("a number"));
    let gate = Arc::new(Gate {
        gap,
        left: AtomicU64::new(left),
        open: AtomicBool::new(false),
    });
    let (_registrar, running) = serve(
        &place,
        Tapped::new(place.ledger(), Arc::clone(&gate)),
        Tapped::new(place.signer(), Arc::clone(&gate)),
        Arc::new(real_now),
        None,
    )
    .await;
    // Only now: the first revocation list is signed as well, and is no enrollment.
    gate.open.store(true, Ordering::SeqCst);
    say(&format!(
        "ready https={}",
        running.addresses().https.expect("https is on")
    ));
    // Whoever started us holds our standard input open for as long as it lives.
    let parent = tokio::task::spawn_blocking(|| {
        let _ = std::io::stdin().read(&mut [0]);
    });
    parent.await.unwrap();
    running.shutdown().await;
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .expect("somebody listens");
}
