//! Axum's extractors, refusing in our form.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::ApiError;

/// A JSON body. An empty one reads as `{}`, so that `curl -X POST` alone is enough where every key
/// has a default.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, A: Send + Sync> FromRequest<A> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &A) -> Result<Self, ApiError> {
        let length = request.headers().get(http::header::CONTENT_LENGTH);
        let typed = request.headers().contains_key(http::header::CONTENT_TYPE);
        let empty = !typed && length.is_none_or(|length| length.as_bytes() == b"0");
        if empty && let Ok(value) = serde_json::from_str("{}") {
            return Ok(Self(value));
        }
        let Json(value) = Json::from_request(request, state).await?;
        Ok(Self(value))
    }
}

/// The one parameter in the path, percent-decoded. It reaches the ledger as a parameter of a
/// statement and nothing else.
pub(super) struct At(pub(super) String);

impl<A: Send + Sync> FromRequestParts<A> for At {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &A) -> Result<Self, ApiError> {
        let Path(text) = Path::from_request_parts(parts, state).await?;
        Ok(Self(text))
    }
}

/// The query string.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, A: Send + Sync> FromRequestParts<A> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &A) -> Result<Self, ApiError> {
        let Query(query) = Query::from_request_parts(parts, state).await?;
        Ok(Self(query))
    }
}
