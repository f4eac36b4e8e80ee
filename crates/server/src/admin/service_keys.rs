//! Service keys: what scripts show that were made for Azure's service API.

use std::sync::Arc;

use axum::Json;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use imprint_registrar::ledger::{Acted, ServiceAccess};
use imprint_registrar::{Ledger, Signer};
use utoipa_axum::router::OpenApiRouter;

use super::extract::{At, Body};
use super::views::{ServiceKeyMadeView, ServiceKeyOrder, ServiceKeyView};
use super::{ACTOR, Admin, ApiError, ErrorView, Office, on};

pub(super) fn routes<L: Ledger, S: Signer>() -> OpenApiRouter<Arc<Admin<L, S>>> {
    OpenApiRouter::new()
        .routes(on::<__path_list, _, _, _>(list::<L, S>))
        .routes(on::<__path_new, _, _, _>(new::<L, S>))
        .routes(on::<__path_revoke, _, _, _>(revoke::<L, S>))
}

/// Every service key, by name.
#[utoipa::path(
    get,
    path = "/api/v1/service-keys",
    operation_id = "service_key_list",
    tag = "entries",
    responses((status = 200, body = Vec<ServiceKeyView>), (status = "default", body = ErrorView)),
)]
async fn list<L: Ledger, S: Signer>(
    admin: Office<L, S>,
) -> Result<Json<Vec<ServiceKeyView>>, ApiError> {
    let records = admin.registrar.ledger().service_key_list().await?;
    Ok(Json(records.iter().map(ServiceKeyView::from).collect()))
}

/// Makes a service key for the entries of one product. The connection string is in this answer and in
/// no other.
#[utoipa::path(
    post,
    path = "/api/v1/service-keys",
    operation_id = "service_key_new",
    tag = "entries",
    request_body = ServiceKeyOrder,
    responses((status = 200, body = ServiceKeyMadeView), (status = "default", body = ErrorView)),
)]
async fn new<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Body(order): Body<ServiceKeyOrder>,
) -> Result<Json<ServiceKeyMadeView>, ApiError> {
    let access = order.access.as_deref().unwrap_or("write");
    let access: ServiceAccess = access.parse().map_err(|()| {
        let message = format!("{access:?} is nothing that a service key may do.");
        ApiError::request(message, "Write `read`, `write` or `keys`.")
    })?;
    let host = order.host.as_deref().unwrap_or(&admin.hub);
    let (chance, now) = (&*admin.world.chance, admin.now());
    let made = admin.registrar.service_key_new(
        &order.name,
        &order.product,
        host,
        access,
        ACTOR,
        chance,
        now,
    );
    let (record, key) = made.await?;
    Ok(Json(ServiceKeyMadeView {
        connection_string: format!(
            "HostName={};SharedAccessKeyName={};SharedAccessKey={}",
            record.host,
            record.name,
            STANDARD.encode(&*key)
        ),
        key: ServiceKeyView::from(&record),
    }))
}

/// Takes a service key back: nobody is heard by it from now on. Entries that were made by it stay.
#[utoipa::path(
    delete,
    path = "/api/v1/service-keys/{key}",
    operation_id = "service_key_revoke",
    tag = "entries",
    params(("key" = String, Path, description = "Its name.")),
    responses((status = 200, body = ServiceKeyView), (status = "default", body = ErrorView)),
)]
async fn revoke<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
) -> Result<Json<ServiceKeyView>, ApiError> {
    let (ledger, now) = (admin.registrar.ledger(), admin.now());
    match ledger.service_key_delete(&name, ACTOR, now).await? {
        Acted::Done(record) => Ok(Json(ServiceKeyView::from(&record))),
        _ => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "service-key-unknown",
            format!("There is no service key {name:?}."),
            "See `imprint service-key list`.",
        )),
    }
}
