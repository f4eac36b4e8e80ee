//! Azure's service API: what scripts that were made for DPS ask of it, at the `admin` listener.
//!
//! ```text
//! Authorization: SharedAccessSignature sr=<host>&sig=...&se=...&skn=<service key>
//!   /enrollments, /enrollmentGroups, /registrations   ─►  entries and registrations of one product
//! ```
//!
//! Who asks shows a token by a service key, never the admin token: a script's key is good for the
//! entries of one product and for nothing else. How it looks is the `dps` crate's knowledge; what may be
//! done to an entry is the registrar's.

mod record;

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use imprint_dps::sas::Sas;
use imprint_dps::service::{
    BulkMode, BulkOperation, BulkResult, EnrollmentGroup, IndividualEnrollment, Page, Query,
    QueryTable, Route, ServiceCall,
};
use imprint_dps::{
    Class, MAX_BODY, ParseError, Refusal, RegistrationId, Reply, Retry, ServiceError, Trace,
};
use imprint_registrar::entries::{EntryKeys, ServiceDoubt, ServiceSignature};
use imprint_registrar::ledger::{
    Acted, EntryEvidence, EntryKind, EntryQuery, EntryRecord, EntryRegistration, ServiceAccess,
    ServiceKeyRecord,
};
use imprint_registrar::{Ledger, Signer};
use serde::Serialize;

use super::auth::Tolerance;
use super::{Admin, ApiError, Office, error};
use crate::Peer;
use record::{Asked, etag, etag_of_registration, shown, state};

/// What no route of the admin API answers: the service API's, or nothing.
///
/// Its words don't know upper from lower case, and a query is no enrollment's name, so one function reads
/// its paths and not the router.
pub(super) async fn or_nothing<L: Ledger, S: Signer>(
    State(admin): Office<L, S>,
    request: Request,
) -> Response {
    if !ServiceCall::is_path(request.uri().path()) {
        return error::no_such_route(request.uri()).into_response();
    }
    let at = admin.now();
    let mut id = [0; 8];
    (admin.world.chance)(&mut id);
    let id = hex::encode(id);
    match answer(&admin, request).await {
        Ok(answer) => answer.sent(&id),
        Err(error) => {
            let trace = Trace { id: &id, at };
            let reply = Reply::Error(error).http(None, trace);
            let mut response = Response::builder().status(reply.status);
            for (name, value) in &reply.headers {
                response = response.header(*name, value);
            }
            let response = response.body(Body::from(reply.body));
            response.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
    }
}

/// What is said when all went well.
struct Answer {
    body: Option<Vec<u8>>,
    page: Option<(Page, &'static str, Option<String>)>,
}

type Answered = Result<Answer, ServiceError>;

impl Answer {
    fn of(value: &impl Serialize) -> Self {
        Self {
            // Only a map with keys that are no texts, or a failing writer, could fail here.
            body: Some(serde_json::to_vec(value).unwrap_or_default()),
            page: None,
        }
    }

    const NOTHING: Self = Self {
        body: None,
        page: None,
    };

    fn sent(self, id: &str) -> Response {
        let mut headers = HeaderMap::new();
        let mut say = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        say("x-ms-request-id", id);
        if let Some((page, kind, next)) = &self.page {
            say(Page::MAX_ITEM_COUNT, &page.most.to_string());
            say(Page::ITEM_TYPE, kind);
            if let Some(next) = next {
                say(Page::CONTINUATION, next);
            }
        }
        match self.body {
            None => (StatusCode::NO_CONTENT, headers).into_response(),
            Some(body) => {
                let kind = HeaderValue::from_static("application/json; charset=utf-8");
                headers.insert(header::CONTENT_TYPE, kind);
                (StatusCode::OK, headers, body).into_response()
            }
        }
    }
}

/// A script, and what it asks.
struct Script<'a, L, S> {
    admin: &'a Admin<L, S>,
    key: ServiceKeyRecord,
    /// In the journal.
    actor: String,
    if_match: Option<String>,
}

async fn answer<L: Ledger, S: Signer>(admin: &Arc<Admin<L, S>>, request: Request) -> Answered {
    let (head, body) = request.into_parts();
    let address = head.extensions.get::<Peer>().map(|peer| peer.address);
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    // 1. Who asks?
    let key = match proven(admin, text("authorization")).await {
        Ok(key) => key,
        Err(ServiceDoubt::Wrong) => {
            let mut wrong = admin.lock_wrong_tokens();
            return Err(match wrong.count(address, admin.now()) {
                Tolerance::First(count) => {
                    tracing::warn!(?address, count, "a wrong service key was shown");
                    no(&WRONG_KEY, &ServiceDoubt::Wrong.to_string())
                }
                Tolerance::Spent { seconds } => {
                    let busy = Refusal {
                        retry: Retry::After(seconds),
                        ..LIMITED
                    };
                    busy.error()
                }
            });
        }
        Err(doubt) => return Err(no(&UNAVAILABLE, &doubt.to_string())),
    };
    // 2. What is asked?
    let target = head.uri.path_and_query();
    let target = target.map_or(head.uri.path(), |target| target.as_str());
    let call =
        ServiceCall::parse(head.method.as_str(), target).map_err(|error| unreadable(&error))?;
    let body = to_bytes(body, MAX_BODY + 1).await;
    let body = body.map_err(|_| unreadable(&ParseError::TooLarge))?;
    let page = Page::parse(text(Page::MAX_ITEM_COUNT), text(Page::CONTINUATION));
    let script = Script {
        actor: format!("service/{}", key.name),
        if_match: text("if-match").map(ToOwned::to_owned),
        admin,
        key,
    };
    // 3. May it?
    let needed = match call.route {
        Route::EnrollmentGet(_)
        | Route::GroupGet(_)
        | Route::EnrollmentQuery
        | Route::GroupQuery
        | Route::RegistrationGet(_)
        | Route::RegistrationQuery(_) => ServiceAccess::Read,
        Route::EnrollmentAttestation(_) | Route::GroupAttestation(_) => ServiceAccess::Keys,
        _ => ServiceAccess::Write,
    };
    if !script.key.access.includes(needed) {
        let message = format!(
            "Service key {} may {}, and this takes {}.",
            script.key.name, script.key.access, needed
        );
        return Err(no(&ACCESS, &message));
    }
    script.act(call.route, &body, page).await
}

/// Whose token this is. Nothing of it is repeated.
async fn proven<L: Ledger, S: Signer>(
    admin: &Admin<L, S>,
    token: Option<&str>,
) -> Result<ServiceKeyRecord, ServiceDoubt> {
    let sas = token.and_then(|token| Sas::parse(token).ok());
    let sas = sas.ok_or(ServiceDoubt::Wrong)?;
    let shown = ServiceSignature {
        key_name: sas.key_name.as_deref().ok_or(ServiceDoubt::Wrong)?,
        resource: sas.resource,
        expiry: sas.expiry,
        signature: &sas.signature,
    };
    admin.registrar.service_key_prove(shown, admin.now()).await
}

impl<L: Ledger, S: Signer> Script<'_, L, S> {
    async fn act(&self, route: Route, body: &[u8], page: Page) -> Answered {
        let (individual, group) = (EntryKind::Individual, EntryKind::Group);
        match route {
            Route::EnrollmentGet(id) => self.get(individual, &id).await,
            Route::GroupGet(id) => self.get(group, &id).await,
            Route::EnrollmentPut(id) => {
                let asked =
                    IndividualEnrollment::parse(&id, body).map_err(|error| unreadable(&error))?;
                self.put(asked.into()).await
            }
            Route::GroupPut(id) => {
                let asked =
                    EnrollmentGroup::parse(&id, body).map_err(|error| unreadable(&error))?;
                self.put(asked.into()).await
            }
            Route::EnrollmentDelete(id) => self.delete(individual, &id).await,
            Route::GroupDelete(id) => self.delete(group, &id).await,
            Route::EnrollmentAttestation(id) => self.reveal(individual, &id).await,
            Route::GroupAttestation(id) => self.reveal(group, &id).await,
            Route::EnrollmentQuery => {
                is_query(body, QueryTable::Enrollments)?;
                self.list(individual, page).await
            }
            Route::GroupQuery => {
                is_query(body, QueryTable::EnrollmentGroups)?;
                self.list(group, page).await
            }
            Route::EnrollmentBulk => {
                let asked = BulkOperation::<IndividualEnrollment>::parse(body);
                let asked = asked.map_err(|error| unreadable(&error))?;
                let records = asked.records.into_iter().map(Asked::from).collect();
                self.bulk(asked.mode, records).await
            }
            Route::GroupBulk => {
                let asked = BulkOperation::<EnrollmentGroup>::parse(body);
                let asked = asked.map_err(|error| unreadable(&error))?;
                let records = asked.records.into_iter().map(Asked::from).collect();
                self.bulk(asked.mode, records).await
            }
            Route::RegistrationGet(id) => {
                let found = self.registration(&id).await?;
                Ok(Answer::of(&state(&id, &found)))
            }
            Route::RegistrationDelete(id) => self.end(&id).await,
            Route::RegistrationQuery(group) => {
                is_query(body, QueryTable::Registrations)?;
                self.registrations(&group, page).await
            }
        }
    }

    /// The entry, if there is one of the key's product.
    async fn find(
        &self,
        kind: EntryKind,
        id: &RegistrationId,
    ) -> Result<Option<EntryRecord>, ServiceError> {
        let ledger = self.admin.registrar.ledger();
        let found = ledger.entry_get(kind, &id.canonical()).await;
        found.map_err(|error| no(&UNAVAILABLE, &error.to_string()))
    }

    async fn ours(
        &self,
        kind: EntryKind,
        id: &RegistrationId,
    ) -> Result<EntryRecord, ServiceError> {
        let found = self.find(kind, id).await?;
        let ours = found.filter(|found| found.entry.product == self.key.product);
        ours.ok_or_else(|| no(&ABSENT, &format!("There is no {kind} enrollment {id}.")))
    }

    async fn get(&self, kind: EntryKind, id: &RegistrationId) -> Answered {
        let record = self.ours(kind, id).await?;
        let registered = match kind {
            EntryKind::Individual => self.registered(id).await?,
            EntryKind::Group => None,
        };
        let registered = registered.map(|registered| state(id, &registered));
        Ok(self.said(&record, registered, None))
    }

    fn said(
        &self,
        record: &EntryRecord,
        registered: Option<imprint_dps::RegistrationState>,
        keys: Option<&EntryKeys>,
    ) -> Answer {
        Answer::of(&shown(record, registered, keys, &self.admin.hub))
    }

    async fn put(&self, asked: Asked) -> Answered {
        let found = self.find(asked.kind, &asked.id).await?;
        let if_match = self.if_match.as_deref();
        match (found, if_match) {
            (None, None) => {
                let (record, keys) = self.create(asked).await?;
                Ok(self.said(&record, None, Some(&keys)))
            }
            (None, Some(_)) => Err(no(&CHANGED, "There is no such enrollment any more.")),
            (Some(_), None) => Err(exists(&asked)),
            (Some(found), Some(if_match)) => {
                let record = self.replace(asked, found, Some(if_match)).await?;
                Ok(self.said(&record, None, None))
            }
        }
    }

    /// Keys that are made here are in this answer.
    async fn create(&self, asked: Asked) -> Result<(EntryRecord, EntryKeys), ServiceError> {
        let order = asked.order(&self.key.product, None, &self.admin.hub)?;
        let (chance, now) = (&*self.admin.world.chance, self.admin.now());
        let made = self
            .admin
            .registrar
            .entry_new(order, &self.actor, chance, now);
        let made = made.await.map_err(|error| said(&error.into()))?;
        Ok((made.record, made.made))
    }

    async fn replace(
        &self,
        asked: Asked,
        found: EntryRecord,
        if_match: Option<&str>,
    ) -> Result<EntryRecord, ServiceError> {
        if found.entry.product != self.key.product {
            return Err(exists(&asked));
        }
        if if_match.is_some_and(|text| !etag(&found).is_meant_by(text)) {
            return Err(no(&CHANGED, "The enrollment is not of this etag any more."));
        }
        let order = asked.order(&self.key.product, Some(&found), &self.admin.hub)?;
        let version = Some(found.version);
        let registrar = &self.admin.registrar;
        let replaced = registrar.entry_replace(order, version, &self.actor, self.admin.now());
        replaced.await.map_err(|error| said(&error.into()))
    }

    async fn delete(&self, kind: EntryKind, id: &RegistrationId) -> Answered {
        self.forget(kind, id, self.if_match.as_deref()).await?;
        Ok(Answer::NOTHING)
    }

    async fn forget(
        &self,
        kind: EntryKind,
        id: &RegistrationId,
        if_match: Option<&str>,
    ) -> Result<(), ServiceError> {
        let found = self.ours(kind, id).await?;
        if if_match.is_some_and(|text| !etag(&found).is_meant_by(text)) {
            return Err(no(&CHANGED, "The enrollment is not of this etag any more."));
        }
        let version = if_match.map(|_| found.version);
        let (registrar, now) = (&self.admin.registrar, self.admin.now());
        let name = &found.entry.name;
        let deleted = registrar.entry_delete(kind, name, version, &self.actor, now);
        deleted.await.map_err(|error| said(&error.into()))?;
        Ok(())
    }

    async fn reveal(&self, kind: EntryKind, id: &RegistrationId) -> Answered {
        let found = self.ours(kind, id).await?;
        let (registrar, now) = (&self.admin.registrar, self.admin.now());
        let revealed = registrar.entry_reveal(kind, &found.entry.name, &self.actor, now);
        let (record, keys) = revealed.await.map_err(|error| said(&error.into()))?;
        Ok(Answer::of(&record::attestation(&record, Some(&keys))))
    }

    async fn list(&self, kind: EntryKind, page: Page) -> Answered {
        let ledger = self.admin.registrar.ledger();
        let after = page.continuation.as_deref().unwrap_or_default();
        let most = u32::from(page.most);
        let found = ledger.entry_page(kind, &self.key.product, after, most + 1);
        let mut found = found
            .await
            .map_err(|error| no(&UNAVAILABLE, &error.to_string()))?;
        let more = found.len() > usize::from(page.most);
        found.truncate(usize::from(page.most));
        let next = found.last().filter(|_| more);
        let next = next.map(|last| last.entry.name.clone());
        let views = found
            .iter()
            .map(|record| shown(record, None, None, &self.admin.hub));
        let views: Vec<_> = views.collect();
        let what = match kind {
            EntryKind::Individual => "enrollment",
            EntryKind::Group => "enrollmentGroup",
        };
        Ok(Answer {
            page: Some((page, what, next)),
            ..Answer::of(&views)
        })
    }

    /// Each record by itself, as at Azure: what went wrong with one is said, the others are done.
    async fn bulk(&self, mode: BulkMode, records: Vec<Asked>) -> Answered {
        let mut errors = Vec::new();
        for asked in records {
            let id = asked.id.clone();
            if let Err(error) = self.one_of_bulk(mode, asked).await {
                errors.push((id, error.code, error.message));
            }
        }
        Ok(Answer::of(&BulkResult::of(errors)))
    }

    async fn one_of_bulk(&self, mode: BulkMode, asked: Asked) -> Result<(), ServiceError> {
        let (kind, id) = (asked.kind, asked.id.clone());
        let tag = asked.terms.etag.clone();
        let tag = tag.as_ref().map(imprint_dps::Etag::as_str);
        match mode {
            BulkMode::Delete => self.forget(kind, &id, tag).await,
            BulkMode::Create => match self.find(kind, &id).await? {
                Some(_) => Err(exists(&asked)),
                None => self.create(asked).await.map(drop),
            },
            BulkMode::Update | BulkMode::UpdateIfMatchEtag => {
                let found = self.ours(kind, &id).await?;
                let tag = match (mode, tag) {
                    (BulkMode::Update, _) => None,
                    (_, Some(tag)) => Some(tag),
                    (_, None) => return Err(no(&CHANGED, "The record has no etag.")),
                };
                self.replace(asked, found, tag).await.map(drop)
            }
        }
    }

    async fn registered(
        &self,
        id: &RegistrationId,
    ) -> Result<Option<EntryRegistration>, ServiceError> {
        let query = EntryQuery {
            id: id.canonical(),
            shown: EntryEvidence::Certificate {
                issuers: Vec::new(),
            },
        };
        let ledger = self.admin.registrar.ledger();
        let facts = ledger.entry_facts(&query, self.admin.now()).await;
        let facts = facts.map_err(|error| no(&UNAVAILABLE, &error.to_string()))?;
        let registered = facts.registered;
        let ours = registered.filter(|(_, device)| device.product == self.key.product);
        Ok(ours.map(|(registration, _)| registration))
    }

    async fn registration(&self, id: &RegistrationId) -> Result<EntryRegistration, ServiceError> {
        let found = self.registered(id).await?;
        found.ok_or_else(|| no(&ABSENT, &format!("There is no registration {id}.")))
    }

    async fn end(&self, id: &RegistrationId) -> Answered {
        let found = self.registration(id).await?;
        let meant = |text: &String| etag_of_registration(&found).is_meant_by(text);
        if self.if_match.as_ref().is_some_and(|text| !meant(text)) {
            return Err(no(
                &CHANGED,
                "The registration is not of this etag any more.",
            ));
        }
        let version = self.if_match.as_ref().map(|_| found.version);
        let (ledger, now) = (self.admin.registrar.ledger(), self.admin.now());
        let ended = ledger.registration_end(&found.id, version, &self.actor, now);
        match ended.await {
            Ok(Acted::Done(_)) => Ok(Answer::NOTHING),
            Ok(Acted::Absent) => Err(no(&ABSENT, "There is no such registration.")),
            Ok(Acted::NotNow { .. }) => Err(no(
                &CHANGED,
                "The registration is not of this etag any more.",
            )),
            Err(error) => Err(no(&UNAVAILABLE, &error.to_string())),
        }
    }

    async fn registrations(&self, group: &RegistrationId, page: Page) -> Answered {
        let kind = EntryKind::Group;
        let found = self.ours(kind, group).await?;
        let ledger = self.admin.registrar.ledger();
        let after = page.continuation.as_deref().unwrap_or_default();
        let most = u32::from(page.most);
        let found = ledger.entry_registrations(kind, &found.entry.name, after, most + 1);
        let mut found = found
            .await
            .map_err(|error| no(&UNAVAILABLE, &error.to_string()))?;
        let more = found.len() > usize::from(page.most);
        found.truncate(usize::from(page.most));
        let next = found.last().filter(|_| more).map(|last| last.id.clone());
        let states: Vec<_> = found
            .iter()
            .filter_map(|one| Some(state(&RegistrationId::new(&one.presented).ok()?, one)))
            .collect();
        Ok(Answer {
            page: Some((page, "deviceRegistration", next)),
            ..Answer::of(&states)
        })
    }
}

fn is_query(body: &[u8], wanted: QueryTable) -> Result<(), ServiceError> {
    let table = Query::parse(body).map_err(|error| unreadable(&error))?;
    // The vendor's client asks for registrations by whatever text its caller has.
    if table == wanted || wanted == QueryTable::Registrations {
        return Ok(());
    }
    Err(no(
        &UNSUPPORTED,
        "This path holds another table than the query names.",
    ))
}

fn exists(asked: &Asked) -> ServiceError {
    let message = format!(
        "There is an enrollment {} already, and the request names no etag of it.",
        asked.id
    );
    no(&EXISTS, &message)
}

fn unreadable(error: &ParseError) -> ServiceError {
    ServiceError::from(error)
}

fn no(refusal: &Refusal<'static>, message: &str) -> ServiceError {
    let refusal = Refusal {
        message,
        ..*refusal
    };
    refusal.error()
}

/// What the desk said no to, in this API's words.
fn said(error: &ApiError) -> ServiceError {
    let view = &error.view;
    let (code, class) = match (error.status, view.code.as_str()) {
        (_, "entry-exists") => ("enrollment-exists", Class::Denied),
        (_, "entry-changed") => ("etag-differs", Class::Denied),
        (StatusCode::NOT_FOUND, code) => (code, Class::Absent),
        (StatusCode::SERVICE_UNAVAILABLE, code) => (code, Class::Passing),
        (_, code) => (code, Class::Request),
    };
    let refusal = Refusal {
        code,
        class,
        step: STEP,
        message: &view.message,
        hint: &view.hint,
        retry: error.retry_after.map_or(Retry::Never, Retry::After),
    };
    refusal.error()
}

const STEP: &str = "REGISTER";

const fn refusal(code: &'static str, class: Class, hint: &'static str) -> Refusal<'static> {
    Refusal {
        code,
        class,
        step: STEP,
        message: "",
        hint,
        retry: Retry::Never,
    }
}

const WRONG_KEY: Refusal<'static> = refusal(
    "service-key-wrong",
    Class::Credential,
    "Use the connection string that `imprint service-key new` printed, and look at the clock.",
);
const LIMITED: Refusal<'static> = Refusal {
    message: "Too many wrong keys came from this address.",
    ..refusal(
        "guessing-limited",
        Class::Passing,
        "Wait, then use the right key.",
    )
};
const ACCESS: Refusal<'static> = refusal(
    "service-key-access",
    Class::Denied,
    "Make another key with `imprint service-key new --access`.",
);
const ABSENT: Refusal<'static> =
    refusal("entry-unknown", Class::Absent, "See `imprint entry list`.");
const EXISTS: Refusal<'static> = refusal(
    "enrollment-exists",
    Class::Denied,
    "Read it first, and send it back with its etag.",
);
const CHANGED: Refusal<'static> = refusal(
    "etag-differs",
    Class::Denied,
    "Read it again, and send it back with its etag.",
);
const UNSUPPORTED: Refusal<'static> = refusal(
    "enrollment-unsupported",
    Class::Request,
    "See docs/azure-dps.md for what is here; nothing has been changed.",
);
const UNAVAILABLE: Refusal<'static> = Refusal {
    retry: Retry::After(30),
    ..refusal(
        "ledger-unavailable",
        Class::Passing,
        "Look at the server's disk and log; asking again is safe.",
    )
};

/// What can be asked, for the table of who may.
pub(crate) const ROUTES: [(&str, &str); 15] = [
    ("GET", "/enrollments/{registrationId}"),
    ("PUT", "/enrollments/{registrationId}"),
    ("DELETE", "/enrollments/{registrationId}"),
    ("POST", "/enrollments/{registrationId}/attestationmechanism"),
    ("POST", "/enrollments/query"),
    ("POST", "/enrollments"),
    ("GET", "/enrollmentGroups/{enrollmentGroupId}"),
    ("PUT", "/enrollmentGroups/{enrollmentGroupId}"),
    ("DELETE", "/enrollmentGroups/{enrollmentGroupId}"),
    (
        "POST",
        "/enrollmentGroups/{enrollmentGroupId}/attestationmechanism",
    ),
    ("POST", "/enrollmentGroups/query"),
    ("POST", "/enrollmentGroups"),
    ("GET", "/registrations/{registrationId}"),
    ("DELETE", "/registrations/{registrationId}"),
    ("POST", "/registrations/{enrollmentGroupId}/query"),
];
