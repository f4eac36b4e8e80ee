//! Products: what there is. They come from a fleet file.

use std::sync::Arc;

use axum::Json;
use imprint_registrar::product::Product;
use imprint_registrar::{Ledger, Signer};
use utoipa_axum::router::OpenApiRouter;

use super::extract::At;
use super::views::ProductView;
use super::{Admin, ApiError, ErrorView, Office, on};

pub(super) fn routes<L: Ledger, S: Signer>() -> OpenApiRouter<Arc<Admin<L, S>>> {
    OpenApiRouter::new()
        .routes(on::<__path_product_list, _, _, _>(product_list::<L, S>))
        .routes(on::<__path_product_get, _, _, _>(product_get::<L, S>))
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

/// Definitions are plain data: they have always a form in JSON, and a view has the same keys.
impl From<serde_json::Error> for ApiError {
    fn from(error: serde_json::Error) -> Self {
        Self::new(
            http::StatusCode::INTERNAL_SERVER_ERROR,
            "view-broken",
            format!("This can't be shown: {error}."),
            "This is a defect of this program; nothing has been changed.",
        )
    }
}
