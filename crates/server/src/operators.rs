//! The `admin` listener: the operator's router, and whether the server lives.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use hyper::body::Incoming;
use hyper::{Request, Response};
use imprint_registrar::{Ledger, Registrar, Signer};
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::admin;
use crate::config::Config;
use crate::http::Lists;
use crate::listener::{Door, Peer};
use crate::network::{self, Network};
use crate::reply::Torn;
use crate::world::World;

/// Answers operators.
pub(crate) struct Operators<L, S> {
    router: Router,
    trusted_proxies: Vec<Network>,
    lists: Lists<L, S>,
}

impl<L: Ledger, S: Signer> Operators<L, S> {
    pub(crate) fn new(
        registrar: &Arc<Registrar<L, S>>,
        world: &World,
        lists: &Lists<L, S>,
        config: &Config,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let ready = {
            let registrar = Arc::clone(registrar);
            move || {
                let registrar = Arc::clone(&registrar);
                async move { readiness(registrar.ledger().product_list().await.is_ok()) }
            }
        };
        let state = admin::State {
            registrar: Arc::clone(registrar),
            world: world.clone(),
            tokens: config.admin_tokens.clone().into(),
            id_scope: config.id_scope.clone(),
            hub: config.hub.clone(),
            stop: Some(stop),
        };
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .merge(admin::router(state));
        Self {
            router,
            trusted_proxies: config.trusted_proxies.clone(),
            lists: lists.clone(),
        }
    }
}

fn readiness(ledger_answers: bool) -> (StatusCode, &'static str) {
    if ledger_answers {
        (StatusCode::OK, "ready\n")
    } else {
        let text = "the ledger does not answer\n";
        (StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

impl<L: Ledger, S: Signer> Door for Operators<L, S> {
    type Body = axum::body::Body;

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        peer: &Peer,
    ) -> Result<Response<axum::body::Body>, Torn> {
        let acts = !request.method().is_safe();
        let mut peer = peer.clone();
        peer.address = network::client(peer.address, request.headers(), &self.trusted_proxies);
        request.extensions_mut().insert(peer);
        let response = self.router.clone().oneshot(request).await?;
        if acts && response.status().is_success() {
            // Who revokes may rely on the list from the answer on. Should this fail, the act is on
            // record all the same, and housekeeping tries again and says why.
            let _ = self.lists.renew().await;
        }
        Ok(response)
    }
}

/// What anybody who reaches the `admin` listener may ask.
pub(crate) const OPEN: [&str; 3] = ["/healthz", "/readyz", "/api/openapi.json"];
