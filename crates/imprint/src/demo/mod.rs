//! `imprint demo`: a whole fleet in one terminal, nothing kept.
//!
//! A real server on free ports of loopback, and devices that are the agent's own code over real TLS.
//! Some are unlucky on purpose. At the end an audit compares what the devices hold with what is on
//! record; with `--exit` its outcome is the exit code.

mod audit;
mod cast;
mod stage;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use imprint_agent::{Endpoint, Roots};
use imprint_identity::HardwareId;
use imprint_registrar::tokens::TokenOrder;
use imprint_registrar::{Ledger as _, Product};
use imprint_server::{Config, Limits, Running, Server};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cli::{Cli, Command, Demo};
use crate::directory::Directory;
use crate::open::{Opened, identity, open};
use crate::world::{self, world};

use cast::{Device, Ended, Luck};
use stage::Stage;

pub(crate) async fn run(order: &Demo) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let place = tempfile::tempdir().context("a temporary directory can't be made")?;
    let stage = Arc::new(Stage::new(began));

    // 1. A server as `init`, `apply` and `serve` make it, in this process.
    let directory = Directory::new(&place.path().join("server"));
    let (opened, running) = serve(&directory).await?;
    let addresses = running.addresses();
    let https = addresses.https.context("the https listener is off")?;
    stage.say(
        "server",
        &format!("ready on https://{https}, product {PRODUCT}, allowlist on"),
    );

    // 2. Twenty devices that are lucky, four that are not.
    let cast = cast(&opened, order.devices).await?;
    let roots = Arc::new(Roots::read(&directory.root_certificate())?);
    let endpoint: Endpoint = format!("https://localhost:{}", https.port()).parse()?;
    let [lucky, unlucky, late] = cast;
    let ended = play(
        &stage,
        place.path(),
        &endpoint,
        &roots,
        lucky,
        unlucky,
        late,
    )
    .await?;

    // 3. What do the devices hold, and what is on record?
    opened.registrar.housekeep(world::now()).await?;
    let report = audit::audit(&opened.registrar, &ended, &stage).await?;
    println!("\n{report}");
    if !order.exit {
        linger(&directory, https.port()).await?;
    }
    running.shutdown().await;
    opened.registrar.ledger().close()?;
    Ok(if report.held() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn serve(directory: &Directory) -> anyhow::Result<(Opened, Running)> {
    use clap::Parser as _;
    let any = "127.0.0.1:0";
    let words = [
        "imprint",
        "init",
        "--name",
        "Demo",
        "--for-tests",
        "--host",
        "localhost",
    ];
    let words = words.into_iter().chain([
        "--https", any, "--http", any, "--mqtts", any, "--admin", any,
    ]);
    let Command::Init(init) = Cli::parse_from(words).command else {
        bail!("init is init")
    };
    crate::init::run(directory.root(), init, true).await?;
    let Some(lock) = directory.try_lock("demo")? else {
        bail!("the directory is held")
    };
    let opened = open(directory, lock)?;
    let product = Product {
        allowlist: true,
        ..Product::named(PRODUCT)
    };
    opened
        .registrar
        .ledger()
        .product_apply(vec![product], "demo", world::now())
        .await?;
    let config = Config {
        https: opened.settings.https.0,
        http: opened.settings.http.0,
        mqtts: opened.settings.mqtts.0,
        mqtt_on_https: opened.settings.mqtt_on_https,
        just_in_time_hang_up: opened.settings.just_in_time_hang_up,
        id_scope: opened.id_scope.clone(),
        hub: opened.hub(),
        admin: opened.settings.admin.0,
        identity: identity(directory, &opened, world::now()).await?,
        admin_tokens: vec![opened.admin_token],
        trusted_proxies: Vec::new(),
        webhooks: Vec::new(),
        outbound_roots: imprint_server::outbound::Roots::default(),
        proxy_protocol: false,
        limits: Limits::default(),
        hostile: None,
    };
    let running = Server::start(config, Arc::clone(&opened.registrar), world()).await?;
    // So that `imprint --dir ...` finds this server too.
    if let Some(admin) = running.addresses().admin {
        let text = format!("{admin}\n");
        crate::directory::replace(&directory.run_admin(), text.as_bytes(), 0o600)?;
    }
    Ok((opened, running))
}

/// Lucky ones, unlucky ones, and the one that comes later with somebody else's token. All but the
/// stranger are on the allowlist; each has a token of its own but the last.
async fn cast(opened: &Opened, devices: u32) -> anyhow::Result<[Vec<Device>; 3]> {
    let registrar = &opened.registrar;
    let order = TokenOrder {
        product: PRODUCT.to_owned(),
        count: devices + 3,
        ..TokenOrder::default()
    };
    let now = world::now();
    let mut tokens = registrar
        .token_new(order, "demo", &world::chance, now)
        .await?
        .into_iter()
        .map(|minted| (minted.id.clone(), minted.text.to_string()));
    let mut device = |number: u32, luck: Luck| -> anyhow::Result<Device> {
        let hardware = HardwareId::parse(&format!("custom:sn-{number:04}"))?;
        let (token_id, token) = tokens.next().context("there is a token for each")?;
        Ok(Device {
            hardware,
            token_id,
            token,
            luck,
        })
    };
    let lucky: Vec<_> = (1..=devices)
        .map(|number| device(number, Luck::Good))
        .collect::<Result<_, _>>()?;
    let unlucky = vec![
        device(9_001, Luck::ReplyLost)?,
        device(9_002, Luck::PowerCut)?,
        device(9_003, Luck::Stranger)?,
    ];
    let first = lucky
        .first()
        .or(unlucky.first())
        .context("there is a device")?;
    let late = vec![Device {
        hardware: HardwareId::parse("custom:sn-9004")?,
        token_id: first.token_id.clone(),
        token: first.token.clone(),
        luck: Luck::ReusedToken,
    }];
    let all = lucky.iter().chain(&unlucky).chain(&late);
    let allowed = all
        .filter(|device| device.luck != Luck::Stranger)
        .map(|device| device.hardware.clone())
        .collect();
    registrar
        .ledger()
        .allow_add(PRODUCT, allowed, "demo", now)
        .await?;
    Ok([lucky, unlucky, late])
}

async fn play(
    stage: &Arc<Stage>,
    place: &Path,
    endpoint: &Endpoint,
    roots: &Arc<Roots>,
    lucky: Vec<Device>,
    unlucky: Vec<Device>,
    late: Vec<Device>,
) -> anyhow::Result<Vec<Ended>> {
    let mut ended = Vec::new();
    for act in [lucky.into_iter().chain(unlucky).collect(), late] {
        let mut playing = JoinSet::new();
        let act: Vec<Device> = act;
        for device in act {
            let state = place.join(device.hardware.name_part().as_str());
            playing.spawn(cast::live(
                device,
                state,
                endpoint.clone(),
                Arc::clone(roots),
                Arc::clone(stage),
            ));
        }
        while let Some(one) = playing.join_next().await {
            ended.push(one??);
        }
    }
    ended.sort_by_key(|one| one.device.hardware.text().as_str().to_owned());
    Ok(ended)
}

async fn linger(directory: &Directory, port: u16) -> anyhow::Result<()> {
    let dir = directory.root().display();
    println!(
        "\nThe server goes on at https://localhost:{port} until you press Ctrl-C. Meanwhile, elsewhere:\n
  imprint --dir {dir} device list
  imprint --dir {dir} why custom:sn-9003
  imprint --dir {dir} journal verify"
    );
    tokio::signal::ctrl_c().await?;
    Ok(())
}

const PRODUCT: &str = "thermo";
