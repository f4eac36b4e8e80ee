//! The server as a whole.

use axum::Json;
use imprint_registrar::{Ledger, Signer};
use utoipa_axum::router::OpenApiRouter;

use super::views::StatusView;
use super::{Admin, ApiError, ErrorView, Office, on};
use std::sync::Arc;

pub(super) fn routes<L: Ledger, S: Signer>() -> OpenApiRouter<Arc<Admin<L, S>>> {
    OpenApiRouter::new().routes(on::<__path_status, _, _, _>(status::<L, S>))
}

/// What runs here, and for which products.
#[utoipa::path(
    get,
    path = "/api/v1/status",
    tag = "server",
    responses((status = 200, body = StatusView), (status = "default", body = ErrorView)),
)]
async fn status<L: Ledger, S: Signer>(admin: Office<L, S>) -> Result<Json<StatusView>, ApiError> {
    let authorities = admin.registrar.authorities();
    let products = admin.registrar.ledger().product_list().await?;
    Ok(Json(StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time: admin.now().to_string(),
        issuing: authorities.issuing().name.clone(),
        public_http: authorities.public_http().map(ToOwned::to_owned),
        products: products.into_iter().map(|product| product.name).collect(),
    }))
}
