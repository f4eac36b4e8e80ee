//! The operator's API: every act that a person takes on the fleet, over HTTP.
//!
//! The command line has no other way in. Against a running server it speaks to the `admin`
//! listener; on a stopped directory it builds this same router and calls it in its own process.
//! So an act means the same in both, and there is one writer, never two.
//!
//! The OpenAPI document at `/api/openapi.json` is made from the routes themselves: `on` registers
//! a handler under the path and method that its documentation names, so the two can't drift apart.

mod allowlist;
mod auth;
mod authorities;
mod claims;
mod devices;
mod entries;
mod error;
mod events;
mod extract;
mod fleet;
mod journal;
mod products;
mod registered_cas;
pub(crate) mod service;
mod service_keys;
mod status;
mod templates;
mod things;
mod tokens;
pub mod views;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::middleware;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use imprint_identity::UnixTime;
use imprint_registrar::{Ledger, Registrar, Signer};
use tokio::sync::{Semaphore, watch};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::Paths;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::PathItemExt as _;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

pub use auth::token_digest;
pub use error::{ApiError, ErrorView};
pub use templates::report as template_report;

use crate::World;
use auth::WrongTokens;

/// What the API acts on, and who may act.
pub struct State<L, S> {
    /// The road and its ledger.
    pub registrar: Arc<Registrar<L, S>>,
    /// Time and chance.
    pub world: World,
    /// [`token_digest`] of each token that opens the API.
    pub tokens: Arc<[[u8; 32]]>,
    /// Under which id scope devices register by their entries.
    pub id_scope: String,
    /// The host to which those are sent.
    pub hub: String,
    /// Becomes true when the server stops, so that nobody waits any longer; `None` without a server.
    pub stop: Option<watch::Receiver<bool>>,
}

impl<L, S> Clone for State<L, S> {
    fn clone(&self) -> Self {
        Self {
            registrar: Arc::clone(&self.registrar),
            world: self.world.clone(),
            tokens: Arc::clone(&self.tokens),
            id_scope: self.id_scope.clone(),
            hub: self.hub.clone(),
            stop: self.stop.clone(),
        }
    }
}

/// What the routes share.
struct Admin<L, S> {
    registrar: Arc<Registrar<L, S>>,
    world: World,
    tokens: Arc<[[u8; 32]]>,
    id_scope: String,
    hub: String,
    wrong_tokens: Mutex<WrongTokens>,
    /// Places for those who wait for events.
    waiting: Semaphore,
    stop: Option<watch::Receiver<bool>>,
}

impl<L: Ledger, S: Signer> Admin<L, S> {
    fn now(&self) -> UnixTime {
        (self.world.now)()
    }

    /// Writes down what was refused until now and chains the journal, so that a person who asks
    /// sees what has just happened.
    async fn settle(&self) -> Result<(), ApiError> {
        Ok(self.registrar.housekeep(self.now()).await?)
    }

    fn lock_wrong_tokens(&self) -> MutexGuard<'_, WrongTokens> {
        self.wrong_tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes new revocation lists after an act that revoked something. The act itself is on
    /// record and stands; a list that could not be made now is made by the next renewal.
    async fn publish_revocations(&self) {
        if let Err(error) = self.registrar.crl_renew(self.now(), false).await {
            tracing::error!(%error, "a revocation is on record, but not yet on a list");
        }
    }
}

/// The router for the `admin` listener.
///
/// Everything under `/api/v1` wants an admin token. Azure's service API wants a service key
/// (`admin/service`). The OpenAPI document says nothing about the fleet and wants none.
pub fn router<L: Ledger, S: Signer>(state: State<L, S>) -> Router {
    let State {
        registrar,
        world,
        tokens,
        id_scope,
        hub,
        stop,
    } = state;
    let admin = Arc::new(Admin {
        registrar,
        world,
        tokens,
        id_scope,
        hub,
        wrong_tokens: Mutex::default(),
        waiting: Semaphore::new(events::MOST_WAITING),
        stop,
    });
    let (api, document) = routes::<L, S>().split_for_parts();
    let document: Arc<str> = document.to_json().unwrap_or_default().into();
    let open = Router::new().route("/api/openapi.json", get(async move || json_text(&document)));
    api.route_layer(middleware::from_fn_with_state(
        Arc::clone(&admin),
        auth::guard::<L, S>,
    ))
    .merge(open)
    .fallback(service::or_nothing::<L, S>)
    .method_not_allowed_fallback(error::no_such_method)
    .layer(DefaultBodyLimit::max(LARGEST_BODY))
    .with_state(admin)
}

/// The OpenAPI document, as `/api/openapi.json` serves it.
#[must_use]
pub fn openapi<L: Ledger, S: Signer>() -> OpenApi {
    routes::<L, S>().split_for_parts().1
}

/// Every route, once.
fn routes<L: Ledger, S: Signer>() -> OpenApiRouter<Arc<Admin<L, S>>> {
    OpenApiRouter::with_openapi(document())
        .merge(status::routes())
        .merge(authorities::routes())
        .merge(fleet::routes())
        .merge(products::routes())
        .merge(templates::routes())
        .merge(claims::routes())
        .merge(entries::routes())
        .merge(service_keys::routes())
        .merge(registered_cas::routes())
        .merge(things::routes())
        .merge(allowlist::routes())
        .merge(tokens::routes())
        .merge(devices::routes())
        .merge(journal::routes())
        .merge(events::routes())
}

/// The part of the document that no route brings along.
fn document() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(
        info(
            title = "Imprint admin API",
            description = "What `imprint` commands speak. Names and ids in paths are percent-encoded; \
                times are RFC 3339 in UTC; every error is `{code, message, hint}`.",
        ),
        security(("admin_token" = [])),
        components(schemas(ErrorView)),
    )]
    struct Document;
    let mut document = Document::openapi();
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    document
        .components
        .get_or_insert_default()
        .add_security_scheme("admin_token", SecurityScheme::Http(token));
    document
}

/// The state as handlers take it.
type Office<L, S> = axum::extract::State<Arc<Admin<L, S>>>;

/// Registers `handler` where its documentation `P` (made by `#[utoipa::path]`) says.
///
/// `utoipa_axum::routes!` does this for plain functions; ours are generic over the two ports.
#[expect(clippy::needless_pass_by_value, reason = "as axum takes handlers")]
fn on<P, H, T, A>(handler: H) -> UtoipaMethodRouter<A>
where
    P: utoipa::Path + utoipa::__dev::SchemaReferences,
    H: Handler<T, A>,
    T: 'static,
    A: Clone + Send + Sync + 'static,
{
    let mut schemas = Vec::new();
    P::schemas(&mut schemas);
    let mut paths = Paths::new();
    let methods = P::methods();
    let router = methods.iter().fold(MethodRouter::new(), |router, method| {
        router.on(method.to_method_filter(), handler.clone())
    });
    paths.add_path_operation(P::path(), methods, P::operation());
    (schemas, paths, router)
}

fn json_text(text: &str) -> Response {
    use axum::response::IntoResponse as _;
    (
        [(http::header::CONTENT_TYPE, "application/json")],
        text.to_owned(),
    )
        .into_response()
}

/// Who acts, in the journal: whoever holds the admin token.
const ACTOR: &str = "admin";

/// Bytes in a request. The largest one is a page of an allowlist: 10,000 ids of up to 144 bytes.
const LARGEST_BODY: usize = 2 * 1024 * 1024;
