//! `imprint ca ...` and `imprint status`.

use http::Method;
use imprint_server::admin::views::{AuthorityView, CrlRenewal, CrlView, StatusView};

use super::shown;
use crate::cli::Ca;
use crate::desk::Desk;
use crate::outcome::{Outcome, facts};

pub(super) async fn run(desk: &mut Desk, order: Ca, json: bool) -> anyhow::Result<Outcome> {
    match order {
        Ca::Info => {
            let text = desk
                .ask(Method::GET, "/api/v1/authorities", None::<&()>)
                .await?;
            shown(text, json, |authorities: &Vec<AuthorityView>| {
                let parts: Vec<_> = authorities.iter().map(authority).collect();
                parts.join("\n\n")
            })
        }
        Ca::Crl { force } => {
            let path = "/api/v1/authorities/crl/renew";
            let text = desk
                .ask(Method::POST, path, Some(&CrlRenewal { force }))
                .await?;
            shown(text, json, |lists: &Vec<CrlView>| {
                let lines: Vec<_> = lists
                    .iter()
                    .map(|crl| format!("{}: {}", crl.issuer, list(crl)))
                    .collect();
                lines.join("\n")
            })
        }
    }
}

pub(super) async fn status(desk: &mut Desk, json: bool) -> anyhow::Result<Outcome> {
    let text = desk.ask(Method::GET, "/api/v1/status", None::<&()>).await?;
    shown(text, json, |status: &StatusView| {
        facts(&[
            ("version", &status.version),
            ("time", &status.time),
            ("signs", &status.issuing),
            ("public http", status.public_http.as_deref().unwrap_or("-")),
            ("products", &status.products.join(", ")),
        ])
    })
}

fn authority(authority: &AuthorityView) -> String {
    let name = format!(
        "{} ({}), \"{}\"",
        authority.name, authority.role, authority.subject
    );
    let bytes = format!("{} bytes", authority.bytes);
    let crl = authority.crl.as_ref().map_or_else(String::new, list);
    facts(&[
        ("authority", &name),
        ("key", &authority.key),
        ("from", &authority.not_before),
        ("until", &authority.not_after),
        ("certificate", &bytes),
        ("sha256", &authority.sha256),
        ("crl", &crl),
    ])
}

fn list(crl: &CrlView) -> String {
    format!(
        "number {}, {} bytes, of {}, the next by {}",
        crl.number, crl.bytes, crl.this_update, crl.next_update
    )
}
