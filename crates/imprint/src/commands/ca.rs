//! `imprint ca ...` and `imprint status`.

use std::path::Path;

use anyhow::{Context as _, bail};
use http::Method;
use imprint_server::admin::views::{
    AuthorityView, CaRegistration, CrlRenewal, CrlView, RegisteredCaDefinitionView,
    RegisteredCaView, RegistrationCodeView, StatusView, Switch,
};

use super::shown;
use crate::cli::{Ca, CaRegister};
use crate::desk::{Desk, encoded};
use crate::outcome::{Outcome, facts, table};

/// Reads the certificates that a registration names.
pub(super) fn prepare(order: &Ca) -> anyhow::Result<Option<CaRegistration>> {
    let Ca::Register(CaRegister {
        certificate,
        name,
        product,
        template,
        proof,
        sni_only,
        auto,
        strength,
    }) = order
    else {
        return Ok(None);
    };
    let pem = |path: &Path| {
        let text = std::fs::read_to_string(path);
        text.with_context(|| format!("{} can't be read", path.display()))
    };
    Ok(Some(CaRegistration {
        ca: RegisteredCaDefinitionView {
            name: name.clone(),
            certificate: pem(certificate)?,
            product: product.clone(),
            template: template.clone(),
            mode: sni_only.then(|| "sni-only".to_owned()),
            active: true,
            auto: auto.clone(),
            strength: strength.clone(),
        },
        proof: proof.as_deref().map(pem).transpose()?,
    }))
}

pub(super) async fn run(
    desk: &mut Desk,
    order: Ca,
    registration: Option<CaRegistration>,
    json: bool,
) -> anyhow::Result<Outcome> {
    match order {
        Ca::List => {
            let path = "/api/v1/registered-cas";
            shown(
                desk.ask(Method::GET, path, None::<&()>).await?,
                json,
                registered,
            )
        }
        Ca::Show { ca } => {
            let text = desk.ask(Method::GET, &path(&ca), None::<&()>).await?;
            shown(text, json, show)
        }
        Ca::Register(_) => {
            let path = "/api/v1/registered-cas";
            let text = desk.ask(Method::POST, path, registration.as_ref()).await?;
            shown(text, json, show)
        }
        Ca::New(_) => bail!("this command has no way to the admin API"),
        Ca::Code => {
            let path = "/api/v1/registered-cas/code";
            let text = desk.ask(Method::GET, path, None::<&()>).await?;
            shown(text, json, |view: &RegistrationCodeView| view.code.clone())
        }
        Ca::Activate { ca } => switch(desk, &ca, true, json).await,
        Ca::Deactivate { ca } => switch(desk, &ca, false, json).await,
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

async fn switch(desk: &mut Desk, ca: &str, active: bool, json: bool) -> anyhow::Result<Outcome> {
    let path = format!("{}/switch", path(ca));
    let text = desk
        .ask(Method::POST, &path, Some(&Switch { active }))
        .await?;
    shown(text, json, show)
}

#[expect(clippy::ptr_arg, reason = "what the document is read into")]
fn registered(cas: &Vec<RegisteredCaView>) -> String {
    let rows: Vec<_> = cas
        .iter()
        .map(|ca| {
            let definition = &ca.definition;
            [
                definition.name.clone(),
                definition.product.clone(),
                state(ca),
                definition.mode.clone().unwrap_or_default(),
                ca.not_after.clone(),
                ca.subject.clone(),
            ]
        })
        .collect();
    table(
        ["CA", "PRODUCT", "STATE", "MODE", "UNTIL", "SUBJECT"],
        &rows,
    )
}

fn show(ca: &RegisteredCaView) -> String {
    let definition = &ca.definition;
    let template = definition
        .template
        .as_deref()
        .unwrap_or("its product's own");
    facts(&[
        ("CA", &definition.name),
        ("subject", &ca.subject),
        ("product", &definition.product),
        ("template", template),
        ("state", &state(ca)),
        ("mode", definition.mode.as_deref().unwrap_or_default()),
        ("proves", definition.strength.as_deref().unwrap_or_default()),
        ("from", &ca.not_before),
        ("until", &ca.not_after),
        ("sha256", &ca.sha256),
    ])
}

/// What happens to a new device of it.
fn state(ca: &RegisteredCaView) -> String {
    let auto = ca.definition.auto.as_deref().unwrap_or("jitp");
    if ca.definition.active {
        format!("active ({auto})")
    } else {
        "inactive".to_owned()
    }
}

fn path(ca: &str) -> String {
    format!("/api/v1/registered-cas/{}", encoded(ca))
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
            ("id scope", &status.id_scope),
            ("hub", &status.hub),
            ("warning", &status.warnings.join("\n")),
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
