//! Whatever is lost on the way, and however often the server starts again: one certificate, the
//! same bytes, and a token that is never stranded nor serves anybody else.

use std::time::{Duration, Instant};

use imprint_agent::{End, Silent};
use imprint_pkix::certificate::Certificate;
use imprint_sim::agent::Setup;
use imprint_sim::checker::{Outside, Records, Told};
use imprint_sim::client::Client;
use imprint_sim::key::{DeviceKey, sha256};
use imprint_sim::proxy::{Counts, Cut, Plan, Proxy, Way};
use imprint_sim::tools::{self, Tool};
use imprint_sim::world::World;
use imprint_sim::{deep, many};

use crate::support::{assert_clean, client_folder, judge, seconds};

/// What a sweep has seen.
#[derive(Default)]
struct Seen {
    cuts: [usize; 2],
    out_of_reach: usize,
    after_intend: usize,
    after_settle: usize,
    restarts: usize,
    power_cuts: usize,
    thieves: usize,
    outside: Outside,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_lost_at_any_byte_costs_curl_one_more_try_and_nothing_else() {
    if tools::have(&["curl"]) {
        sweep_tool("curl", Tool::Curl).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_lost_at_any_byte_costs_strong_swan_one_more_try_and_nothing_else() {
    if tools::have(&["pki"]) {
        sweep_tool("strongSwan pki", Tool::StrongSwan).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_lost_at_any_byte_costs_our_agent_one_more_try_and_nothing_else() {
    let started = Instant::now();
    let mut seen = Seen::default();
    let sizes = agent_sizes().await;
    let plans = plans(sizes);
    for part in share(&plans, sweep_agent).await {
        seen.add(part);
    }
    seen.report("imprint agent", sizes, started);
}

async fn sweep_tool(name: &str, tool: Tool) {
    let started = Instant::now();
    let mut seen = Seen::default();
    let sizes = tool_sizes(tool).await;
    let plans = plans(sizes);
    for part in share(&plans, |part| sweep_one_tool(tool, part)).await {
        seen.add(part);
    }
    seen.report(name, sizes, started);
}

/// How long one enrollment is, in bytes each way.
async fn tool_sizes(tool: Tool) -> Counts {
    let world = World::new().await;
    let folder = client_folder(world.place());
    let proxy = Proxy::start(world.https()).await;
    let (key, token) = (DeviceKey::new(), world.token().await);
    tool.enroll(folder.path(), proxy.address(), &key, "custom:SN-0", &token)
        .await
        .unwrap();
    proxy.counts()
}

async fn agent_sizes() -> Counts {
    let world = World::new().await;
    let proxy = Proxy::start(world.https()).await;
    let state = tempfile::tempdir().unwrap();
    let root = world.place().root_pem();
    let token = world.token().await;
    let setup = Setup::new(&root, proxy.address(), "custom:SN-0", &token);
    let end = setup
        .join(&state.path().join("device"), Box::new(Silent))
        .await
        .unwrap();
    let End::Member(agent) = end else {
        panic!("{end:?}")
    };
    assert!(agent.trips() <= 4, "{} round trips", agent.trips());
    proxy.counts()
}

/// A cut at every 16th byte of either way, and a few beyond: signatures differ in length.
fn plans(sizes: Counts) -> Vec<Case> {
    let step = many(16, 1);
    let ways = [(Way::Request, sizes.request), (Way::Reply, sizes.reply)];
    let kinds: &[Cut] = if deep() {
        &[Cut::Fin, Cut::Rst, Cut::Blackhole]
    } else {
        &[Cut::Fin, Cut::Rst]
    };
    let mut cases = Vec::new();
    for (way, size) in ways {
        for (at, after) in (0..size).step_by(step).enumerate() {
            let chosen = if deep() {
                kinds
            } else {
                &kinds[at % 2..=at % 2]
            };
            cases.extend(chosen.iter().map(|&how| Plan { way, after, how }));
        }
    }
    let numbered = cases.into_iter().enumerate();
    // Four cuts in a row have all of: with and without a restart, with a FIN and with a reset.
    numbered
        .map(|(number, plan)| Case {
            number,
            plan,
            restart: number / 2 % 2 == 1,
        })
        .collect()
}

#[derive(Clone, Copy)]
struct Case {
    number: usize,
    plan: Plan,
    restart: bool,
}

/// Shares the cases among worlds of their own: most of the time is spent waiting.
async fn share<F>(cases: &[Case], sweep: impl Fn(Vec<Case>) -> F) -> Vec<Seen>
where
    F: Future<Output = Seen> + Send + 'static,
{
    let mut tasks = Vec::new();
    for worker in 0..WORKERS {
        let own = cases
            .iter()
            .skip(worker)
            .step_by(WORKERS)
            .copied()
            .collect();
        tasks.push(tokio::spawn(sweep(own)));
    }
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.unwrap());
    }
    seen
}

async fn sweep_one_tool(tool: Tool, cases: Vec<Case>) -> Seen {
    let mut seen = Seen::default();
    let mut world = World::new().await;
    let folder = client_folder(world.place());
    let client = Client::new(&world.place().root_der());
    let proxy = Proxy::start(world.https()).await;
    for case in cases {
        let hardware = format!("custom:SN-{}", case.number);
        let (key, token) = (DeviceKey::new(), world.token().await);
        proxy.arm(Some(case.plan));

        // 1. The first try, through a link that breaks. Nobody lets a second connection through.
        let first = tool.enroll(folder.path(), proxy.address(), &key, &hardware, &token);
        let first = tokio::select! {
            first = first => first,
            () = async { proxy.struck().await; tokio::time::sleep(HANGS).await } => {
                Err("still waiting".to_owned())
            }
        };
        let certificate = first.ok();
        // 2. The server, perhaps another process by now, and a thief who has read the token.
        seen.note(case, proxy.has_struck(), world.place(), &hardware);
        if case.restart {
            world.restart().await;
            seen.restarts += 1;
        }
        proxy.reopen(world.https());
        let mut thief = Thief::new(&client, &hardware, &token);
        thief.knock_if_leased(&world, &mut seen).await;

        // 3. The second try.
        let again = tool
            .enroll(folder.path(), world.https(), &key, &hardware, &token)
            .await;
        let again = again.unwrap_or_else(|said| panic!("{:?}: stranded: {said}", case.plan));
        for bytes in certificate.iter().chain([&again]) {
            seen.outside
                .told
                .push(told(&hardware, key.fingerprint(), &token, bytes));
        }
        thief.knock(&world, &mut seen).await;
        let verified = client.verify(world.https(), &key, &again).await.unwrap();
        assert_eq!(verified.status, 200, "{verified:?}");
    }
    seen.conclude(&world);
    seen
}

async fn sweep_agent(cases: Vec<Case>) -> Seen {
    let mut seen = Seen::default();
    let mut world = World::new().await;
    let client = Client::new(&world.place().root_der());
    let proxy = Proxy::start(world.https()).await;
    let states = tempfile::tempdir().unwrap();
    let root = world.place().root_pem();
    for case in cases {
        let hardware = format!("custom:SN-{}", case.number);
        let token = world.token().await;
        let state = states.path().join(&hardware);
        let setup = Setup::new(&root, proxy.address(), &hardware, &token);
        // A black hole is noticed by nothing else.
        let setup = Setup {
            patience: Duration::from_secs(2),
            ..setup
        };
        let join = |setup: Setup, state: std::path::PathBuf| {
            tokio::spawn(async move { setup.join(&state, Box::new(Silent)).await })
        };
        proxy.arm(Some(case.plan));
        let mut device = join(setup.clone(), state.clone());
        let mut ended = None;
        tokio::select! {
            end = &mut device => ended = Some(end),
            () = proxy.struck() => {}
        }
        // The link is broken, and new ones wait at the proxy.
        seen.note(case, proxy.has_struck(), world.place(), &hardware);
        if proxy.has_struck() && case.number % 8 >= 4 {
            // The device loses its power as well, and wakes up with what its journal holds.
            device.abort();
            let _ = (&mut device).await;
            device = join(setup, state);
            seen.power_cuts += 1;
            ended = None;
        }
        if case.restart {
            world.restart().await;
            seen.restarts += 1;
        }
        let mut thief = Thief::new(&client, &hardware, &token);
        thief.knock_if_leased(&world, &mut seen).await;
        proxy.reopen(world.https());
        let end = match ended {
            Some(end) => end,
            None => device.await,
        };
        let end = end.unwrap().unwrap();
        let End::Member(agent) = end else {
            panic!("{:?}: {end:?}", case.plan)
        };
        thief.knock(&world, &mut seen).await;

        let credential = agent.record().credential().unwrap();
        let stored = agent.store().credential(credential.slot).unwrap().unwrap();
        let leaf = stored.chain[0].as_ref();
        let key = sha256(Certificate::parse(leaf).unwrap().spki_der());
        seen.outside.told.push(told(&hardware, key, &token, leaf));
        assert!(
            agent.store().token().unwrap().is_none(),
            "the token is forgotten at the end"
        );
    }
    seen.conclude(&world);
    seen
}

fn told(hardware: &str, key: [u8; 32], token: &str, certificate: &[u8]) -> Told {
    Told {
        hardware: hardware.to_owned(),
        key,
        question: token.to_owned(),
        certificate: certificate.to_vec(),
    }
}

/// Somebody who has read the token and comes with a key of his own.
struct Thief<'a> {
    client: &'a Client,
    key: DeviceKey,
    hardware: &'a str,
    token: &'a str,
}

impl<'a> Thief<'a> {
    fn new(client: &'a Client, hardware: &'a str, token: &'a str) -> Self {
        Self {
            client,
            key: DeviceKey::new(),
            hardware,
            token,
        }
    }

    /// Before the device has come back: whoever came first has the token, so this is only theft
    /// once the device's request has arrived.
    async fn knock_if_leased(&mut self, world: &World, seen: &mut Seen) {
        let leased = !Records::read(&world.place().database())
            .tokens_of(self.hardware)
            .is_empty();
        if leased {
            self.knock(world, seen).await;
        }
    }

    async fn knock(&mut self, world: &World, seen: &mut Seen) {
        let answer = self
            .client
            .enroll(world.https(), &self.key, self.hardware, self.token)
            .await
            .unwrap();
        assert_eq!(answer.status, 403, "a second key: {answer:?}");
        let code = answer.refusal.as_deref();
        assert!(
            matches!(code, Some("token-leased" | "token-spent")),
            "{answer:?}"
        );
        seen.thieves += 1;
    }
}

impl Seen {
    /// Where the cut fell, by what is on record at that moment.
    fn note(
        &mut self,
        case: Case,
        struck: bool,
        place: &imprint_sim::place::Place,
        hardware: &str,
    ) {
        if !struck {
            self.out_of_reach += 1;
            return;
        }
        self.cuts[usize::from(case.plan.way == Way::Reply)] += 1;
        let records = Records::read(&place.database());
        let certificates = records.certificates_of(hardware);
        self.after_intend += usize::from(!certificates.is_empty());
        self.after_settle += usize::from(certificates.iter().any(|row| row.is_settled()));
    }

    /// One certificate a device, and every token spent by the device that it served.
    fn conclude(&self, world: &World) {
        let (records, findings) = judge(world.place(), &self.outside);
        assert_clean("after the sweep", &findings);
        for told in &self.outside.told {
            assert_eq!(
                records.certificates_of(&told.hardware).len(),
                1,
                "{}",
                told.hardware
            );
            let tokens = records.tokens_of(&told.hardware);
            let states: Vec<_> = tokens.iter().map(|token| token.state.as_str()).collect();
            assert_eq!(states, ["spent"], "{}", told.hardware);
        }
    }

    fn add(&mut self, other: Self) {
        self.cuts[0] += other.cuts[0];
        self.cuts[1] += other.cuts[1];
        self.out_of_reach += other.out_of_reach;
        self.after_intend += other.after_intend;
        self.after_settle += other.after_settle;
        self.restarts += other.restarts;
        self.power_cuts += other.power_cuts;
        self.thieves += other.thieves;
        self.outside.told.extend(other.outside.told);
    }

    fn report(&self, client: &str, sizes: Counts, started: Instant) {
        let cuts = self.cuts[0] + self.cuts[1];
        println!(
            "S7 {client}: {cuts} cuts ({} in the request of {} bytes, {} in the reply of {}), {} \
             beyond the end; {} fell after intend, {} after settle; {} server restarts, {} power \
             cuts of the device; every retry had the same certificate; {} second keys refused, 0 \
             certified; {}",
            self.cuts[0],
            sizes.request,
            self.cuts[1],
            sizes.reply,
            self.out_of_reach,
            self.after_intend,
            self.after_settle,
            self.restarts,
            self.power_cuts,
            self.thieves,
            seconds(started)
        );
        assert!(
            self.after_settle > 0,
            "no cut fell after settle, so nothing was tested"
        );
        assert!(self.after_intend < cuts, "no cut fell before intend");
        assert!(self.out_of_reach * 10 < cuts, "the cuts missed");
        assert!(
            self.restarts * 2 >= cuts - 4,
            "half of the retries come after a restart"
        );
    }
}

const WORKERS: usize = 4;
/// A client that hangs on a second connection is given up after this.
const HANGS: Duration = Duration::from_secs(3);
