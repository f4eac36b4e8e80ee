//! The `http` listener: what a PKI conventionally serves in the clear, and nothing else.
//!
//! ```text
//! /ca/<issuer>.crt   certificate, DER     /ca/<issuer>.pem   the same in PEM
//! /ca/root.crt       the end of the chain /ca/root.pem
//! /crl/<issuer>.crl  revocation list, DER
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use imprint_pkix::pem;
use imprint_registrar::crl::CrlError;
use imprint_registrar::ledger::CrlRecord;
use imprint_registrar::{Authorities, Ledger, Registrar, Signer};

use crate::listener::{Door, Peer};
use crate::reply::Torn;
use crate::world::World;

/// Everything that is served in the clear, in memory: strangers may ask as often as they like and
/// reach no database.
pub(crate) struct Shelf {
    certificates: HashMap<String, Page>,
    lists: ArcSwap<HashMap<String, Page>>,
}

#[derive(Clone)]
struct Page {
    content_type: &'static str,
    body: Bytes,
    /// A revocation list's number; 0 for a certificate.
    number: u64,
}

impl Shelf {
    pub(crate) fn new(authorities: &Authorities) -> Self {
        let mut certificates = HashMap::new();
        let issuers = authorities.issuers();
        let root = authorities
            .above()
            .last()
            .or(issuers.first().map(|first| &first.certificate));
        let named = issuers
            .iter()
            .map(|issuer| (issuer.name.as_str(), &issuer.certificate));
        for (name, certificate) in root.map(|root| ("root", root)).into_iter().chain(named) {
            let der = Page::new("application/pkix-cert", certificate.der().to_vec());
            let text = pem::encode("CERTIFICATE", certificate.der());
            let pem = Page::new("application/x-pem-file", text.into_bytes());
            certificates.insert(format!("/ca/{name}.crt"), der);
            certificates.insert(format!("/ca/{name}.pem"), pem);
        }
        Self {
            certificates,
            lists: ArcSwap::default(),
        }
    }

    /// Puts lists on the shelf in place of older ones, all at one moment. Whoever comes late with
    /// an older list changes nothing.
    fn publish(&self, lists: &[CrlRecord]) {
        self.lists.rcu(|shelf| {
            let mut shelf = HashMap::clone(shelf);
            for list in lists {
                let path = format!("/crl/{}.crl", list.issuer);
                let newer = |page: &Page| page.number >= list.number;
                if !shelf.get(&path).is_some_and(newer) {
                    let page = Page::new("application/pkix-crl", list.der.clone());
                    shelf.insert(
                        path,
                        Page {
                            number: list.number,
                            ..page
                        },
                    );
                }
            }
            shelf
        });
    }

    /// The paths of all that lies here.
    pub(crate) fn paths(&self) -> impl Iterator<Item = String> {
        let lists = self.lists.load();
        let lists: Vec<String> = lists.keys().cloned().collect();
        let fixed = self.certificates.keys().map(ToString::to_string);
        fixed.chain(lists).collect::<Vec<_>>().into_iter()
    }

    fn page(&self, path: &str) -> Option<Page> {
        let fixed = self.certificates.get(path).cloned();
        fixed.or_else(|| self.lists.load().get(path).cloned())
    }
}

impl Page {
    fn new(content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            content_type,
            body: body.into(),
            number: 0,
        }
    }
}

/// Makes revocation lists that are due and puts them on the shelf.
pub(crate) struct Lists<L, S> {
    registrar: Arc<Registrar<L, S>>,
    world: World,
    shelf: Arc<Shelf>,
}

impl<L: Ledger, S: Signer> Lists<L, S> {
    pub(crate) fn new(registrar: &Arc<Registrar<L, S>>, world: &World, shelf: &Arc<Shelf>) -> Self {
        Self {
            registrar: Arc::clone(registrar),
            world: world.clone(),
            shelf: Arc::clone(shelf),
        }
    }

    pub(crate) async fn renew(&self) -> Result<(), CrlError> {
        let lists = self.registrar.crl_renew(self.world.now(), false).await?;
        self.shelf.publish(&lists);
        Ok(())
    }
}

impl<L, S> Clone for Lists<L, S> {
    fn clone(&self) -> Self {
        Self {
            registrar: Arc::clone(&self.registrar),
            world: self.world.clone(),
            shelf: Arc::clone(&self.shelf),
        }
    }
}

impl Door for Shelf {
    type Body = Full<Bytes>;

    async fn answer(
        &self,
        request: Request<Incoming>,
        _peer: &Peer,
    ) -> Result<Response<Full<Bytes>>, Torn> {
        let Some(page) = self.page(request.uri().path()) else {
            let text = "There are certificates at /ca/ and revocation lists at /crl/ here.\n";
            return Ok(said(StatusCode::NOT_FOUND, text));
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = said(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only.\n");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Ok(response);
        }
        let mut response = Response::new(Full::new(page.body));
        let content_type = HeaderValue::from_static(page.content_type);
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        Ok(response)
    }
}

fn said(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
