//! `imprint serve`: opens the directory, starts the listeners, says so, and ends when told to.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use imprint_server::outbound::Roots;
use imprint_server::{Addresses, Chance, Config, Running, Server};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{Instrument as _, Span};

use crate::cli::Serve;
use crate::directory::{Directory, remove_if_there, replace};
use crate::open::{Opened, identity, open};
use crate::problem::Problem;
use crate::settings::{LogFormat, Settings};
use crate::world::{self, world};

pub(crate) async fn run(directory: &Directory, order: &Serve) -> anyhow::Result<ExitCode> {
    let settings = Settings::read(&directory.settings())?;
    log(&settings, order)?;
    let Some(lock) = directory.try_lock("serve")? else {
        bail!(Problem::new(
            "directory-held",
            format!(
                "{} is held by {}.",
                directory.root().display(),
                directory.holder()
            ),
            "A directory has one server; `imprint status` asks the one that runs.",
        ));
    };
    let opened = open(directory, lock)?;
    // Signals first: whoever ends this process right after the ready line ends it in order.
    let (terminate, interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    // A rude server says so in every line of its log: the server's own lines, and these.
    let manner = if order.hostile {
        tracing::error_span!("hostile")
    } else {
        Span::none()
    };
    let config = config(directory, &opened, order)
        .instrument(manner.clone())
        .await?;
    let running = Server::start(config, Arc::clone(&opened.registrar), world())
        .await
        .context("the server can't start")?;
    stay(directory, &opened, running, terminate, interrupt)
        .instrument(manner)
        .await
}

/// Says that the server is ready, keeps its certificate young, and ends it when told to.
async fn stay(
    directory: &Directory,
    opened: &Opened,
    running: Running,
    mut terminate: Signal,
    mut interrupt: Signal,
) -> anyhow::Result<ExitCode> {
    let addresses = running.addresses();
    let admin = addresses
        .admin
        .map_or_else(|| "off".to_owned(), |address| address.to_string());
    let told = format!("{admin}\n");
    replace(&directory.run_admin(), told.as_bytes(), 0o600)?;
    announce(addresses)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), directory = %directory.root().display(), "ready");

    let mut renewals = interval(RENEWAL_CHECK);
    renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
    renewals.tick().await;
    let code = loop {
        tokio::select! {
            _ = terminate.recv() => break ExitCode::SUCCESS,
            _ = interrupt.recv() => break ExitCode::SUCCESS,
            reason = opened.registrar.ledger().failure() => {
                // An answer given from here on would be a promise that the disk may not keep.
                tracing::error!(reason, "the ledger can't write any more: the server ends");
                break ExitCode::FAILURE;
            }
            _ = renewals.tick() => renew(directory, opened, &running).await,
        }
    };
    tracing::info!("the server ends: open requests are answered first");
    remove_if_there(&directory.run_admin())?;
    running.shutdown().await;
    let groups = opened.registrar.ledger().group_sizes();
    tracing::info!(
        groups = groups.groups,
        group_mean = groups.mean(),
        "the ledger's commits"
    );
    opened.registrar.ledger().close()?;
    Ok(code)
}

/// Takes a new certificate where the present one is near its end. What goes wrong is said and tried
/// again at the next look; the present one serves until then.
async fn renew(directory: &Directory, opened: &Opened, running: &Running) {
    match identity(directory, opened, world::now()).await {
        Ok(identity) => {
            if let Err(error) = running.reload(&identity) {
                tracing::error!(%error, "the server's new certificate can't be used");
            }
        }
        Err(error) => tracing::error!("the server's certificate: {error:#}"),
    }
}

async fn config(directory: &Directory, opened: &Opened, order: &Serve) -> anyhow::Result<Config> {
    let settings = &opened.settings;
    if settings.for_tests {
        tracing::warn!("this directory's keys are marked as test keys: no fleet may trust them");
    }
    Ok(Config {
        https: settings.https.0,
        http: settings.http.0,
        mqtts: settings.mqtts.0,
        mqtt_on_https: settings.mqtt_on_https,
        just_in_time_hang_up: settings.just_in_time_hang_up,
        id_scope: opened.id_scope.clone(),
        hub: opened.hub(),
        admin: settings.admin.0,
        identity: identity(directory, opened, world::now()).await?,
        admin_tokens: vec![opened.admin_token],
        trusted_proxies: settings.proxies().map_err(anyhow::Error::msg)?,
        webhooks: settings.webhooks().map_err(anyhow::Error::msg)?,
        outbound_roots: match &settings.outbound_ca {
            Some(file) => Roots::File(directory.root().join(file)),
            None => Roots::System,
        },
        proxy_protocol: settings.proxy_protocol,
        limits: settings.limits.server(),
        hostile: order.hostile.then(|| Arc::new(world::chance) as Chance),
    })
}

/// The one line on stdout: tools wait for it.
fn announce(addresses: Addresses) -> anyhow::Result<()> {
    let listeners = [
        ("https", addresses.https),
        ("http", addresses.http),
        ("mqtts", addresses.mqtts),
        ("admin", addresses.admin),
    ];
    let mut line = "ready".to_owned();
    for (name, address) in listeners {
        if let Some(address) = address {
            line.extend([" ", name, "="]);
            line.push_str(&address.to_string());
        }
    }
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    Ok(())
}

fn log(settings: &Settings, order: &Serve) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&settings.log_level)
        .with_context(|| format!("`log_level` in imprint.toml: {:?}", settings.log_level))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if order.log_json || settings.log_format == LogFormat::Json {
        log.json().init();
    } else {
        log.with_ansi(false).init();
    }
    Ok(())
}

/// How often the server looks whether its own certificate is near its end.
const RENEWAL_CHECK: Duration = Duration::from_hours(6);
