//! Everything that can be asked here: what a running server answers, by name.
//!
//! Whoever draws up who may do what can't forget one: a test compares this with its table.

use imprint_claim::reserved;
use imprint_est::Operation;
use imprint_registrar::{Ledger, Signer};

use crate::http::Shelf;
use crate::{admin, device, operators};

/// One thing that can be asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Where: `https`, `http`, `mqtts` or `admin`.
    pub listener: &'static str,
    /// An HTTP method, or `PUBLISH`.
    pub method: String,
    /// A path or a topic; a parameter in braces.
    pub path: String,
}

/// All routes of a server with this shelf.
pub(crate) fn all<L: Ledger, S: Signer>(shelf: &Shelf) -> Vec<Route> {
    let mut routes: Vec<Route> = Operation::ALL.into_iter().map(est).collect();
    routes.extend(device::ROUTES.map(|(method, path)| route("https", method, path)));
    routes.extend(DPS.map(|(listener, method, path)| route(listener, method, path)));
    routes.extend(shelf.paths().map(|path| route("http", "GET", &path)));
    // A topic has a template's name where a path has a parameter.
    let topics = reserved(TEMPLATE).into_iter();
    routes.extend(topics.map(|topic| {
        let name = topic.name.replace(TEMPLATE, "{template}");
        route("mqtts", "PUBLISH", &name)
    }));
    routes.extend(operators::OPEN.map(|path| route("admin", "GET", path)));
    routes.extend(admin::service::ROUTES.map(|(method, path)| route("admin", method, path)));
    for (path, item) in admin::openapi::<L, S>().paths.paths {
        let methods = [
            ("GET", item.get.is_some()),
            ("POST", item.post.is_some()),
            ("PUT", item.put.is_some()),
            ("PATCH", item.patch.is_some()),
            ("DELETE", item.delete.is_some()),
        ];
        let there = methods.into_iter().filter(|(_, there)| *there);
        routes.extend(there.map(|(method, _)| route("admin", method, &path)));
    }
    routes.sort();
    routes.dedup();
    routes
}

fn est(operation: Operation) -> Route {
    let method = match operation {
        Operation::CaCerts | Operation::CsrAttrs => "GET",
        _ => "POST",
    };
    let path = format!("/.well-known/est/{}", operation.name());
    route("https", method, &path)
}

fn route(listener: &'static str, method: &str, path: &str) -> Route {
    Route {
        listener,
        method: method.to_owned(),
        path: path.to_owned(),
    }
}

/// Azure's device API, and the hub to which it sends devices.
const DPS: [(&str, &str, &str); 6] = [
    (
        "https",
        "PUT",
        "/{idScope}/registrations/{registrationId}/register",
    ),
    (
        "https",
        "GET",
        "/{idScope}/registrations/{registrationId}/operations/{operationId}",
    ),
    ("https", "POST", "/{idScope}/registrations/{registrationId}"),
    (
        "mqtts",
        "PUBLISH",
        "$dps/registrations/PUT/iotdps-register/?$rid={rid}",
    ),
    (
        "mqtts",
        "PUBLISH",
        "$dps/registrations/GET/iotdps-get-operationstatus/?$rid={rid}&operationId={operationId}",
    ),
    ("mqtts", "PUBLISH", "devices/{deviceId}/messages/events/"),
];

const TEMPLATE: &str = "TEMPLATE";
