//! What an operator reads when the answer is no: `{code, message, hint}`.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use imprint_registrar::ledger::LedgerError;
use imprint_registrar::product::ProductError;
use imprint_registrar::refusal::{Class, Refusal, Retry};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An error, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorView {
    /// A stable word for machines.
    #[schema(example = "device-unknown")]
    pub code: String,
    /// What happened, in one sentence.
    pub message: String,
    /// What a person does next.
    pub hint: String,
}

/// An error with its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// After how many seconds asking again makes sense, if it does.
    pub retry_after: Option<u32>,
    /// What is said.
    pub view: ErrorView,
}

impl ApiError {
    /// An error of this status and code.
    pub fn new(
        status: StatusCode,
        code: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let view = ErrorView {
            code: code.to_owned(),
            message: message.into(),
            hint: hint.into(),
        };
        Self {
            status,
            retry_after: None,
            view,
        }
    }

    /// Asking again after so many seconds makes sense.
    #[must_use]
    pub const fn after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(super) fn request(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "request-unreadable", message, hint)
    }

    pub(super) fn product_unknown(name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "product-unknown",
            format!("There is no product {name:?} here."),
            "See `imprint status` for the products that there are; new ones come from `imprint apply`.",
        )
    }

    pub(super) fn device_unknown(name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "device-unknown",
            format!("There is no device {name:?} on record, neither by name nor by hardware id."),
            "See `imprint device list`; `imprint why` also knows ids that were only refused.",
        )
    }

    pub(super) fn token_unknown(id: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "token-unknown",
            format!("There is no token with the id {id:?} on record."),
            "See `imprint token list`; the id begins with t- and is not the token's text.",
        )
    }

    pub(super) fn not_now(what: &str, state: &str, act: &str, hint: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "not-now",
            format!("{what} is {state}, so it can't be {act}."),
            hint,
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.view)).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        tracing::error!(%error, "the ledger did not answer an operator");
        let hint = "Look at the server's disk and log; asking again is safe.";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ledger-unavailable",
            error.to_string(),
            hint,
        )
        .after(30)
    }
}

impl From<ProductError> for ApiError {
    fn from(error: ProductError) -> Self {
        let hint = "Mend this key in the fleet file; nothing has been changed.";
        Self::new(
            StatusCode::BAD_REQUEST,
            "product-unsound",
            error.to_string(),
            hint,
        )
    }
}

/// A refusal on the road, as an operator sees it: with the detail that strangers don't get.
impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code.class() {
            // The operator is who he says; what is missing is in the request.
            Class::Credential | Class::Request => StatusCode::BAD_REQUEST,
            Class::Denied | Class::Waiting => StatusCode::CONFLICT,
            Class::Absent => StatusCode::NOT_FOUND,
            Class::Passing => StatusCode::SERVICE_UNAVAILABLE,
        };
        let message = match &refusal.detail {
            Some(detail) => format!("{} ({detail})", refusal.code.message()),
            None => refusal.code.message().to_owned(),
        };
        let error = Self::new(status, refusal.code.as_str(), message, refusal.code.hint());
        match refusal.retry {
            Retry::After(seconds) => error.after(seconds),
            Retry::Never => error,
        }
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        Self {
            status: rejection.status(),
            ..Self::request(rejection.body_text(), SEE_DOCUMENT)
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::request(rejection.body_text(), SEE_DOCUMENT)
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::request(
            rejection.body_text(),
            "Percent-encode names and ids in paths as UTF-8.",
        )
    }
}

/// A path that leads nowhere.
pub(super) fn no_such_route(uri: &Uri) -> ApiError {
    let message = format!("There is nothing at {}.", uri.path());
    ApiError::new(
        StatusCode::NOT_FOUND,
        "route-unknown",
        message,
        SEE_DOCUMENT,
    )
}

/// A path that is there, asked in a way that it does not know.
pub(super) async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{method} is not what {} answers to.", uri.path());
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-unknown",
        message,
        SEE_DOCUMENT,
    )
}

const SEE_DOCUMENT: &str = "The API is described at /api/openapi.json.";
