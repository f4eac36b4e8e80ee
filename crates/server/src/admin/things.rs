//! Things: what templates made of devices.

use std::sync::Arc;

use axum::Json;
use http::StatusCode;
use imprint_registrar::ledger::ThingFilter;
use imprint_registrar::{Ledger, Signer};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;

use super::extract::{Asked, At};
use super::views::{NamedView, PolicyView, ThingView};
use super::{Admin, ApiError, ErrorView, Office, on};

pub(super) fn routes<L: Ledger, S: Signer>() -> OpenApiRouter<Arc<Admin<L, S>>> {
    OpenApiRouter::new()
        .routes(on::<__path_list, _, _, _>(list::<L, S>))
        .routes(on::<__path_get, _, _, _>(get::<L, S>))
        .routes(on::<__path_groups, _, _, _>(groups::<L, S>))
        .routes(on::<__path_types, _, _, _>(types::<L, S>))
        .routes(on::<__path_policies, _, _, _>(policies::<L, S>))
}

/// Things, by name.
#[utoipa::path(
    get,
    path = "/api/v1/things",
    operation_id = "thing_list",
    tag = "things",
    params(
        ("group" = Option<String>, Query, description = "In this group alone."),
        ("after" = Option<String>, Query, description = "The last name of the page before."),
        ("limit" = Option<u32>, Query, description = "1 to 10,000; 1,000 unless told."),
    ),
    responses((status = 200, body = Vec<ThingView>), (status = "default", body = ErrorView)),
)]
async fn list<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Asked(asked): Asked<Filter>,
) -> Result<Json<Vec<ThingView>>, ApiError> {
    let filter = ThingFilter {
        group: asked.group,
        after: asked.after,
        limit: asked.limit.unwrap_or(1_000).clamp(1, 10_000),
    };
    let things = admin.registrar.ledger().thing_list(&filter).await?;
    Ok(Json(things.iter().map(ThingView::from).collect()))
}

/// One thing.
#[utoipa::path(
    get,
    path = "/api/v1/things/{thing}",
    operation_id = "thing_get",
    tag = "things",
    params(("thing" = String, Path, description = "Its name, or its device's.")),
    responses((status = 200, body = ThingView), (status = "default", body = ErrorView)),
)]
async fn get<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
) -> Result<Json<ThingView>, ApiError> {
    let file = admin.registrar.ledger().device_get(&name).await?;
    let thing = file.and_then(|file| file.thing).ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "thing-unknown",
            format!("There is no thing {name:?} here."),
            "See `imprint thing list`; a device that came without a template is no thing.",
        )
    })?;
    Ok(Json(ThingView::from(&thing)))
}

/// The groups that things may be in, by name. New ones come by a fleet file.
#[utoipa::path(
    get,
    path = "/api/v1/groups",
    operation_id = "group_list",
    tag = "things",
    responses((status = 200, body = Vec<NamedView>), (status = "default", body = ErrorView)),
)]
async fn groups<L: Ledger, S: Signer>(
    admin: Office<L, S>,
) -> Result<Json<Vec<NamedView>>, ApiError> {
    let registry = admin.registrar.ledger().registry_list().await?;
    Ok(Json(
        registry.groups.into_iter().map(NamedView::from).collect(),
    ))
}

/// The types that things may have, by name. New ones come by a fleet file.
#[utoipa::path(
    get,
    path = "/api/v1/thing-types",
    operation_id = "thing_type_list",
    tag = "things",
    responses((status = 200, body = Vec<NamedView>), (status = "default", body = ErrorView)),
)]
async fn types<L: Ledger, S: Signer>(
    admin: Office<L, S>,
) -> Result<Json<Vec<NamedView>>, ApiError> {
    let registry = admin.registrar.ledger().registry_list().await?;
    let types = registry.thing_types.into_iter();
    Ok(Json(types.map(NamedView::from).collect()))
}

/// The policies of the fleet file and those that templates have brought, by name, with the document of the first that brought one.
#[utoipa::path(
    get,
    path = "/api/v1/policies",
    operation_id = "policy_list",
    tag = "things",
    responses((status = 200, body = Vec<PolicyView>), (status = "default", body = ErrorView)),
)]
async fn policies<L: Ledger, S: Signer>(
    admin: Office<L, S>,
) -> Result<Json<Vec<PolicyView>>, ApiError> {
    let policies = admin.registrar.ledger().policy_list().await?;
    let view = |(name, document)| PolicyView { name, document };
    Ok(Json(policies.into_iter().map(view).collect()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    group: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}
