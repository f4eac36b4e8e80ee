//! `imprint token ...`.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::Context as _;
use fast_qr::convert::svg::SvgBuilder;
use fast_qr::{ECL, QRBuilder};
use http::Method;
use imprint_server::admin::views::{MintedView, Rebind, TokenOrderView, TokenView};

use super::shown;
use crate::cli::{Token, TokenNew};
use crate::desk::{Desk, encoded, with_query};
use crate::directory::{sync_directory, write_new};
use crate::outcome::{Outcome, facts, table};
use crate::problem;

pub(super) async fn run(desk: &mut Desk, order: Token, json: bool) -> anyhow::Result<Outcome> {
    match order {
        Token::New(order) => new(desk, order, json).await,
        Token::List {
            product,
            state,
            limit,
        } => {
            let limit = limit.map(|limit| limit.to_string());
            let query = [("product", product), ("state", state), ("limit", limit)];
            let path = with_query("/api/v1/tokens", &query);
            shown(desk.ask(Method::GET, &path, None::<&()>).await?, json, list)
        }
        Token::Show { id } => {
            let path = format!("/api/v1/tokens/{}", encoded(&id));
            shown(desk.ask(Method::GET, &path, None::<&()>).await?, json, show)
        }
        Token::Revoke { id } => act(desk, &id, "revoke", None::<&()>, json).await,
        Token::Arm { id } => act(desk, &id, "arm", None::<&()>, json).await,
        Token::Rebind { id, hardware } => {
            act(desk, &id, "rebind", Some(&Rebind { hardware }), json).await
        }
    }
}

/// Makes the directory for QR codes, so that no token is made that can't be written down.
pub(super) fn prepare(order: &Token) -> anyhow::Result<()> {
    let Token::New(TokenNew { qr: Some(dir), .. }) = order else {
        return Ok(());
    };
    let name = dir.display();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("{name} can't be made"))?;
    tempfile::tempfile_in(dir).with_context(|| format!("nothing can be written to {name}"))?;
    Ok(())
}

/// One token a line and nothing else, so that a script or a label printer can take them.
async fn new(desk: &mut Desk, order: TokenNew, json: bool) -> anyhow::Result<Outcome> {
    let qr = order.qr;
    let body = TokenOrderView {
        product: order.product,
        hardware: order.hardware,
        count: order.count,
        expires_in_seconds: order.expires,
        dormant: order.dormant.then_some(true),
    };
    let text = desk
        .ask(Method::POST, "/api/v1/tokens", Some(&body))
        .await?;
    let minted: Vec<MintedView> = serde_json::from_str(&text)?;
    let written = qr.map_or(Ok(()), |dir| write_codes(&dir, &minted));
    let text = if json {
        text
    } else {
        let tokens: Vec<_> = minted.iter().map(|minted| minted.token.as_str()).collect();
        tokens.join("\n")
    };
    // The tokens are there, whatever the disk says: this is the only time that they are shown.
    Ok(match written {
        Ok(()) => Outcome::done(text),
        Err(error) => {
            eprintln!("{}", problem::render(&error, json));
            Outcome::found(text)
        }
    })
}

/// One file a token. A code that is damaged by a quarter can still be read: labels get scratched.
fn write_codes(dir: &Path, minted: &[MintedView]) -> anyhow::Result<()> {
    for one in minted {
        let code = QRBuilder::new(one.token.as_str())
            .ecl(ECL::Q)
            .build()
            .map_err(|error| anyhow::anyhow!("token {} fits no QR code: {error:?}", one.id))?;
        let svg = SvgBuilder::default().to_str(&code);
        write_new(&dir.join(format!("{}.svg", one.id)), svg.as_bytes(), 0o600)?;
    }
    sync_directory(dir)
}

async fn act(
    desk: &mut Desk,
    id: &str,
    act: &str,
    body: Option<&(impl serde::Serialize + Sync)>,
    json: bool,
) -> anyhow::Result<Outcome> {
    let path = format!("/api/v1/tokens/{}/{act}", encoded(id));
    shown(desk.ask(Method::POST, &path, body).await?, json, show)
}

#[expect(clippy::ptr_arg, reason = "what the document is read into")]
fn list(tokens: &Vec<TokenView>) -> String {
    let rows: Vec<_> = tokens
        .iter()
        .map(|token| {
            [
                token.id.clone(),
                token.product.clone(),
                state(token),
                token.hardware.clone().unwrap_or_else(|| "any".to_owned()),
                token
                    .lease
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |lease| lease.device.clone()),
                token.expires_at.clone(),
            ]
        })
        .collect();
    table(
        ["TOKEN", "PRODUCT", "STATE", "FOR", "DEVICE", "EXPIRES"],
        &rows,
    )
}

fn show(token: &TokenView) -> String {
    let holder = token.lease.as_ref().map_or_else(String::new, |lease| {
        format!(
            "{} since {} from {}",
            lease.device, lease.since, lease.address
        )
    });
    let key = token.lease.as_ref().map_or("", |lease| &lease.key);
    let alarms = match token.alarms {
        0 => String::new(),
        1 => "another key has knocked once".to_owned(),
        times => format!("other keys have knocked {times} times"),
    };
    let minted = format!("{} by {}", token.minted_at, token.minted_by);
    facts(&[
        ("token", &token.id),
        ("product", &token.product),
        ("for", token.hardware.as_deref().unwrap_or("any hardware")),
        ("state", &state(token)),
        ("minted", &minted),
        ("expires", &token.expires_at),
        ("holder", &holder),
        ("key", key),
        ("spent", token.spent_at.as_deref().unwrap_or_default()),
        ("alarm", &alarms),
    ])
}

fn state(token: &TokenView) -> String {
    if token.expired {
        format!("{} (expired)", token.state)
    } else {
        token.state.clone()
    }
}
