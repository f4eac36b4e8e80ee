//! A registrar in this process: it keeps its word as ours does, and misbehaves when told.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use imprint_agent::Endpoint;
use imprint_est::{Basic, LineStyle, Reply, Request, RequestKind};
use imprint_identity::UnixTime;
use imprint_pkix::certs_only;
use imprint_pkix::csr::Csr;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, HandshakeKind, ServerConfig, SignatureScheme,
};
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::pki::{DAY, Identity, Pki};
use crate::{NOW, endpoint};

pub(crate) const TOKEN: &str = "imp_one_two_three";

pub(crate) struct Registrar {
    pub(crate) pki: Arc<Pki>,
    pub(crate) books: Arc<Mutex<Books>>,
    port: u16,
    task: JoinHandle<()>,
}

/// What the registrar has on record, and how it is to behave.
#[derive(Default)]
pub(crate) struct Books {
    /// The certificate of each public key.
    pub(crate) issued: HashMap<Vec<u8>, Vec<u8>>,
    /// The key that the token is leased to.
    leased: Option<Vec<u8>>,
    /// Certificates that have been used.
    pub(crate) verified: Vec<Vec<u8>>,
    /// `POST /v1/report` bodies with whom they came from.
    pub(crate) reports: Vec<(String, String)>,
    /// Every request, in order, with the connection it came on.
    pub(crate) log: Vec<(u32, String)>,
    pub(crate) connections: u32,
    pub(crate) resumed: u32,
    /// Answers to be given instead, by the path's last segment: status, refusal note, Retry-After.
    pub(crate) instead: HashMap<&'static str, VecDeque<Instead>>,
    /// What the clock says; `None` is [`NOW`].
    pub(crate) clock: Option<UnixTime>,
    /// The validity of the next certificates; `None` is from an hour ago, for 90 days.
    pub(crate) validity: Option<(UnixTime, UnixTime)>,
    /// Certify this key whatever was asked.
    pub(crate) wrong_key: Option<Vec<u8>>,
    /// Certify by another fleet's authority.
    pub(crate) other_pki: Option<Arc<Pki>>,
    /// The product is strict.
    pub(crate) strict: bool,
    /// Answer to every request to come; a captive portal.
    pub(crate) portal: bool,
}

#[derive(Clone)]
pub(crate) struct Instead {
    pub(crate) status: u16,
    pub(crate) note: Option<&'static str>,
    pub(crate) retry_after: Option<&'static str>,
    pub(crate) text: &'static str,
}

impl Instead {
    pub(crate) fn refusal(status: u16, note: &'static str) -> Self {
        Self {
            status,
            note: Some(note),
            retry_after: None,
            text: "No, and this is why.",
        }
    }
}

impl Registrar {
    pub(crate) async fn start() -> Self {
        let pki = Arc::new(Pki::new());
        let identity = pki.server(NOW.plus(-DAY), NOW.plus(90 * DAY));
        Self::showing(pki, identity).await
    }

    pub(crate) async fn showing(pki: Arc<Pki>, identity: Identity) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let books = Arc::new(Mutex::new(Books::default()));
        let acceptor = acceptor(identity);
        let task = tokio::spawn(accept(
            listener,
            acceptor,
            Arc::clone(&pki),
            Arc::clone(&books),
        ));
        Self {
            pki,
            books,
            port,
            task,
        }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        endpoint(&format!("https://localhost:{}", self.port))
    }

    pub(crate) fn by_address(&self) -> Endpoint {
        endpoint(&format!("https://127.0.0.1:{}", self.port))
    }

    pub(crate) fn books<T>(&self, look: impl FnOnce(&mut Books) -> T) -> T {
        look(&mut self.books.lock().unwrap())
    }

    /// Answers the next request to `last_segment` by `instead`.
    pub(crate) fn instead(&self, last_segment: &'static str, instead: Instead) {
        self.books(|books| {
            books
                .instead
                .entry(last_segment)
                .or_default()
                .push_back(instead);
        });
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.books(|books| books.log.iter().map(|(_, path)| path.clone()).collect())
    }

    /// Forgets requests and connections, not what was issued.
    pub(crate) fn forget_log(&self) {
        self.books(|books| books.log.clear());
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// TLS with whoever holds a key.
pub(crate) fn acceptor(identity: Identity) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(AnyHolder))
        .with_single_cert(identity.chain, identity.key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    pki: Arc<Pki>,
    books: Arc<Mutex<Books>>,
) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, pki, books) = (acceptor.clone(), Arc::clone(&pki), Arc::clone(&books));
        tokio::spawn(serve(tcp, acceptor, pki, books));
    }
}

async fn serve(tcp: TcpStream, acceptor: TlsAcceptor, pki: Arc<Pki>, books: Arc<Mutex<Books>>) {
    let Ok(tls) = acceptor.accept(tcp).await else {
        return;
    };
    let session = tls.get_ref().1;
    let peer = session
        .peer_certificates()
        .and_then(|chain| chain.first())
        .map(|c| c.to_vec());
    let number = {
        let mut books = books.lock().unwrap();
        books.connections += 1;
        books.resumed += u32::from(session.handshake_kind() == Some(HandshakeKind::Resumed));
        books.connections
    };
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (pki, books, peer) = (Arc::clone(&pki), Arc::clone(&books), peer.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let call = Call {
                method: head.method.to_string(),
                path: head.uri.path().to_owned(),
                content_type: text(&head.headers, "Content-Type"),
                authorization: text(&head.headers, "Authorization"),
                peer,
                body,
            };
            let mut books = books.lock().unwrap();
            books.log.push((number, call.path.clone()));
            Ok::<_, Infallible>(books.answer(&call, &pki))
        }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(tls), service)
        .await;
}

fn text(headers: &http::HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .map(|value| value.to_str().unwrap().to_owned())
}

struct Call {
    method: String,
    path: String,
    content_type: Option<String>,
    authorization: Option<String>,
    peer: Option<Vec<u8>>,
    body: Bytes,
}

impl Books {
    fn answer(&mut self, call: &Call, pki: &Pki) -> hyper::Response<Full<Bytes>> {
        if self.portal {
            return reply(
                200,
                &[("Content-Type", "text/html")],
                "<html>Please log in</html>",
            );
        }
        let last = call.path.rsplit('/').next().unwrap();
        if let Some(instead) = self.instead.get_mut(last).and_then(VecDeque::pop_front) {
            let mut headers = Vec::new();
            headers.extend(instead.note.map(|note| ("Imprint-Refusal", note)));
            headers.extend(instead.retry_after.map(|seconds| ("Retry-After", seconds)));
            return reply(instead.status, &headers, instead.text);
        }
        let now = self.clock.unwrap_or(NOW);
        match call.path.as_str() {
            "/v1/time" => reply(
                200,
                &[],
                &format!("{{\"time\":\"{now}\",\"unix\":{}}}", now.0),
            ),
            "/v1/profile" => self.profile(call),
            "/v1/verify" => self.verify(call, now),
            "/v1/report" => self.report(call),
            _ => self.est(call, pki, now),
        }
    }

    fn est(&mut self, call: &Call, pki: &Pki, now: UnixTime) -> hyper::Response<Full<Bytes>> {
        let content_type = call.content_type.as_deref();
        let request = Request::parse(&call.method, &call.path, content_type, &call.body);
        let est = match request.map(|request| request.kind) {
            Err(error) => Reply::Bad(error),
            Ok(RequestKind::CaCerts) => Reply::CaCerts(certs_only::encode(&pki.ca_certs())),
            Ok(RequestKind::SimpleEnroll(csr)) => self.enroll(&csr, call, pki, now),
            Ok(RequestKind::SimpleReenroll(csr)) => self.renew(&csr, call, pki, now),
            Ok(_) => Reply::NoCsrAttrs,
        };
        let http = est.encode(LineStyle::Wrapped);
        let headers: Vec<_> = http.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        reply(
            http.status,
            &headers,
            std::str::from_utf8(&http.body).unwrap(),
        )
    }

    fn enroll(&mut self, csr: &[u8], call: &Call, pki: &Pki, now: UnixTime) -> Reply {
        let Some((user, token)) = credential(call) else {
            return Reply::Unauthorized {
                realm: "test".into(),
            };
        };
        assert_eq!(user, "custom:sn-1");
        if token != TOKEN {
            return refused(401, "token-unknown", None);
        }
        let spki = Csr::parse(csr).unwrap().public_key().spki_der().to_vec();
        if self.leased.get_or_insert_with(|| spki.clone()) != &spki {
            return refused(403, "token-leased", Some(3600));
        }
        self.certify(&spki, pki, now)
    }

    fn renew(&mut self, csr: &[u8], call: &Call, pki: &Pki, now: UnixTime) -> Reply {
        let Some(peer) = &call.peer else {
            return refused(401, "certificate-missing", None);
        };
        assert!(self.verified.contains(peer), "only a member renews");
        let csr = Csr::parse(csr).unwrap();
        let old = imprint_pkix::certificate::Certificate::parse(peer).unwrap();
        if csr.subject_der() != old.subject_der() {
            return refused(400, "subject-differs", None);
        }
        let spki = csr.public_key().spki_der().to_vec();
        if old.spki_der() == spki {
            // Same key, new generation: one successor, whose validity began later.
            let mut successor = spki.clone();
            successor.extend_from_slice(old.serial());
            let der = self.issued.entry(successor).or_insert_with(|| {
                pki.device("thermo-sn-1", &spki, now.plus(-3600), now.plus(90 * DAY))
            });
            return Reply::Certificate(certs_only::encode(&[der]));
        }
        self.certify(&spki, pki, now)
    }

    /// The same key gets the same certificate.
    fn certify(&mut self, spki: &[u8], pki: &Pki, now: UnixTime) -> Reply {
        let (from, until) = self
            .validity
            .unwrap_or((now.plus(-3600), now.plus(90 * DAY)));
        let other = self.other_pki.clone();
        let pki = other.as_deref().unwrap_or(pki);
        let asked = self.wrong_key.as_deref().unwrap_or(spki);
        let der = self
            .issued
            .entry(spki.to_vec())
            .or_insert_with(|| pki.device("thermo-sn-1", asked, from, until));
        Reply::Certificate(certs_only::encode(&[der]))
    }

    fn profile(&self, call: &Call) -> hyper::Response<Full<Bytes>> {
        let known = self.is_member(call) || credential(call).is_some_and(|(_, t)| t == TOKEN);
        if !known {
            return reply(
                401,
                &[("Imprint-Refusal", "credential-missing; retry=never")],
                "",
            );
        }
        let rule = if self.strict { "strict" } else { "default" };
        let profile = format!(
            "{{\"device\":\"thermo-sn-1\",\"endpoint\":\"mqtts://broker\",\"groups\":[],\
             \"quarantine\":\"{rule}\"}}"
        );
        reply(200, &[], &profile)
    }

    fn verify(&mut self, call: &Call, now: UnixTime) -> hyper::Response<Full<Bytes>> {
        let Some(peer) = &call.peer else {
            let note = "certificate-missing; step=VERIFY; retry=never";
            return reply(401, &[("Imprint-Refusal", note)], "");
        };
        if !self.issued.values().any(|der| der == peer) {
            let note = "CERT_NOT_IN_REGISTRY; step=VERIFY; retry=never";
            return reply(403, &[("Imprint-Refusal", note)], "Not on record.");
        }
        if !self.verified.contains(peer) {
            self.verified.push(peer.clone());
        }
        reply(
            200,
            &[],
            &format!("{{\"id\":\"thermo-sn-1\",\"server_time\":{}}}", now.0),
        )
    }

    fn report(&mut self, call: &Call) -> hyper::Response<Full<Bytes>> {
        let from = match (&call.peer, credential(call)) {
            (Some(_), _) => "certificate".to_owned(),
            (None, Some((user, token))) if token == TOKEN => user,
            _ => return reply(401, &[], ""),
        };
        assert!(call.body.len() <= 1024);
        self.reports
            .push((from, String::from_utf8(call.body.to_vec()).unwrap()));
        reply(204, &[], "")
    }

    fn is_member(&self, call: &Call) -> bool {
        call.peer
            .as_ref()
            .is_some_and(|peer| self.verified.contains(peer))
    }
}

fn credential(call: &Call) -> Option<(String, String)> {
    let basic = Basic::parse(call.authorization.as_deref()?).unwrap();
    Some((basic.user.clone(), basic.token().to_owned()))
}

fn refused(status: u16, code: &'static str, retry_after: Option<u32>) -> Reply {
    let text = "No, and this is why.".to_owned();
    Reply::Refused {
        status,
        retry_after,
        code,
        step: "ENROLL",
        text,
    }
}

fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> hyper::Response<Full<Bytes>> {
    let mut builder = hyper::Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap()
}

/// Whoever proves to hold a key may speak; trust is decided later, as in ours.
#[derive(Debug)]
struct AnyHolder;

impl ClientCertVerifier for AnyHolder {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: rustls_pki_types::UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let algorithms = provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let algorithms = provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
