//! Products: what there is, and what a fleet file would change.

use std::sync::Arc;

use axum::Json;
use imprint_registrar::fleet::{Change, Fleet};
use imprint_registrar::product::Product;
use imprint_registrar::{Ledger, Signer};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;

use super::extract::{Asked, At, Body};
use super::views::{AppliedView, ChangeView, FleetView, ProductView};
use super::{Admin, ApiError, ErrorView, Office, on};

pub(super) fn routes<L: Ledger, S: Signer>() -> OpenApiRouter<Arc<Admin<L, S>>> {
    OpenApiRouter::new()
        .routes(on::<__path_product_list, _, _, _>(product_list::<L, S>))
        .routes(on::<__path_product_get, _, _, _>(product_get::<L, S>))
        .routes(on::<__path_apply, _, _, _>(apply::<L, S>))
}

/// Every product, by name.
#[utoipa::path(
    get,
    path = "/api/v1/products",
    tag = "products",
    responses((status = 200, body = Vec<ProductView>), (status = "default", body = ErrorView)),
)]
async fn product_list<L: Ledger, S: Signer>(
    admin: Office<L, S>,
) -> Result<Json<Vec<ProductView>>, ApiError> {
    let products = admin.registrar.ledger().product_list().await?;
    Ok(Json(products.iter().map(view).collect::<Result<_, _>>()?))
}

/// One product.
#[utoipa::path(
    get,
    path = "/api/v1/products/{product}",
    tag = "products",
    params(("product" = String, Path, description = "Its name.")),
    responses((status = 200, body = ProductView), (status = "default", body = ErrorView)),
)]
async fn product_get<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
) -> Result<Json<ProductView>, ApiError> {
    Ok(Json(view(&find(&admin, &name).await?)?))
}

/// Adds and changes the products that the fleet file names, all or none. Products that it does not
/// name stay as they are: a product with devices can't be wished away.
#[utoipa::path(
    post,
    path = "/api/v1/fleet/apply",
    tag = "products",
    params(("dry_run" = Option<bool>, Query, description = "Only say what would change.")),
    request_body = FleetView,
    responses((status = 200, body = AppliedView), (status = "default", body = ErrorView)),
)]
async fn apply<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Asked(asked): Asked<Apply>,
    Body(fleet): Body<Fleet>,
) -> Result<Json<AppliedView>, ApiError> {
    fleet.check()?;
    let present = admin.registrar.ledger().product_list().await?;
    let changes = fleet.difference(&present);
    let views = changes
        .iter()
        .map(ChangeView::try_from)
        .collect::<Result<_, _>>()?;
    if !asked.dry_run && !changes.is_empty() {
        let products = changes.iter().map(Change::after).cloned().collect();
        admin
            .registrar
            .ledger()
            .product_apply(products, super::ACTOR, admin.now())
            .await?;
    }
    Ok(Json(AppliedView {
        applied: !asked.dry_run,
        changes: views,
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Apply {
    #[serde(default)]
    dry_run: bool,
}

/// The product of this name, or the error that says there is none.
pub(super) async fn find<L: Ledger, S: Signer>(
    admin: &Admin<L, S>,
    name: &str,
) -> Result<Product, ApiError> {
    let products = admin.registrar.ledger().product_list().await?;
    products
        .into_iter()
        .find(|product| product.name == name)
        .ok_or_else(|| ApiError::product_unknown(name))
}

fn view(product: &Product) -> Result<ProductView, ApiError> {
    Ok(ProductView::try_from(product)?)
}

/// Products are plain data: they have always a form in JSON, and a view has the same keys.
impl From<serde_json::Error> for ApiError {
    fn from(error: serde_json::Error) -> Self {
        Self::new(
            http::StatusCode::INTERNAL_SERVER_ERROR,
            "view-broken",
            format!("A product can't be shown: {error}."),
            "This is a defect of this program; nothing has been changed.",
        )
    }
}
