//! `imprint service-key ...`.

use http::Method;
use imprint_server::admin::views::{ServiceKeyMadeView, ServiceKeyOrder, ServiceKeyView};

use super::shown;
use crate::cli::ServiceKey;
use crate::desk::{Desk, encoded};
use crate::outcome::{Outcome, facts, table};

pub(super) async fn run(desk: &mut Desk, order: ServiceKey, json: bool) -> anyhow::Result<Outcome> {
    match order {
        ServiceKey::New {
            name,
            product,
            access,
            host,
        } => {
            let body = ServiceKeyOrder {
                name,
                product,
                access: Some(access),
                host,
            };
            let text = desk.ask(Method::POST, PATH, Some(&body)).await?;
            // The text and nothing else, so that a script's settings can take it.
            shown(text, json, |made: &ServiceKeyMadeView| {
                made.connection_string.clone()
            })
        }
        ServiceKey::List => {
            let text = desk.ask(Method::GET, PATH, None::<&()>).await?;
            shown(text, json, list)
        }
        ServiceKey::Revoke { name } => {
            let path = format!("{PATH}/{}", encoded(&name));
            let text = desk.ask(Method::DELETE, &path, None::<&()>).await?;
            shown(text, json, show)
        }
    }
}

#[expect(clippy::ptr_arg, reason = "what the document is read into")]
fn list(keys: &Vec<ServiceKeyView>) -> String {
    let rows: Vec<_> = keys
        .iter()
        .map(|key| {
            [
                key.name.clone(),
                key.product.clone(),
                key.access.clone(),
                key.host.clone(),
                key.created_at.clone(),
            ]
        })
        .collect();
    table(["KEY", "PRODUCT", "ACCESS", "HOST", "SINCE"], &rows)
}

fn show(key: &ServiceKeyView) -> String {
    facts(&[
        ("revoked", &key.name),
        ("product", &key.product),
        ("access", &key.access),
        ("host", &key.host),
        ("since", &key.created_at),
    ])
}

const PATH: &str = "/api/v1/service-keys";
