//! Questions over HTTPS: method and path say what is asked, and by whom.

use crate::name::{ApiVersion, IdScope, OperationId, RegistrationId};
use crate::request::{self, MAX_BODY, ParseError, Registration, Request};
use crate::uri;

/// One HTTPS request, ready for the road. Who really asks is shown by its `Authorization` (see
/// [`crate::sas`]) or by its client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which fleet is meant.
    pub scope: IdScope,
    /// Which device is meant.
    pub registration_id: RegistrationId,
    /// `api-version`. The vendor wants one always; `curl` need not say it here.
    pub api_version: Option<ApiVersion>,
    /// What is asked.
    pub request: Request,
}

impl Call {
    /// Whether a path is one of this API's, below which scope and with which method ever.
    #[must_use]
    pub fn is_path(path: &str) -> bool {
        path.split('/').nth(2) == Some("registrations")
    }

    /// Reads one HTTP request.
    ///
    /// `target` is the path as it stands in the request line, with its query, nothing decoded;
    /// `body` is all of it (see [`MAX_BODY`]). What stands behind a GET is not looked at: one SDK
    /// sends `{}` there.
    ///
    /// The checks run from the outside in: path, method, names, size, type, body.
    pub fn parse(
        method: &str,
        target: &str,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<Self, ParseError> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path: Vec<&str> = path.split('/').take(7).collect();
        let (scope, id, operation) = match *path.as_slice() {
            ["", scope, "registrations", id] => (scope, id, Operation::Lookup),
            ["", scope, "registrations", id, "register"] => (scope, id, Operation::Register),
            ["", scope, "registrations", id, "operations", one] => {
                (scope, id, Operation::Status(one))
            }
            _ => return Err(ParseError::NotFound),
        };
        let allow = operation.method();
        if method != allow {
            return Err(ParseError::Method { allow });
        }
        let decoded = |text| uri::decode(text).ok_or(ParseError::NotFound);
        let scope = IdScope::new(&decoded(scope)?)?;
        let registration_id = RegistrationId::new(&decoded(id)?)?;
        let api_version = uri::value(query, "api-version");
        let api_version = api_version.map(|text| ApiVersion::new(&text)).transpose()?;
        let request = match operation {
            Operation::Status(one) => Request::OperationStatus {
                operation_id: OperationId::new(&decoded(one)?)?,
            },
            Operation::Lookup => {
                is_json(content_type, body)?;
                request::lookup(body, &registration_id)?;
                Request::Lookup
            }
            Operation::Register => {
                is_json(content_type, body)?;
                let registration = Registration::parse(body, &registration_id)?;
                let force = uri::value(query, "forceRegistration");
                Request::Register(Registration {
                    force: force.is_some_and(|force| force.eq_ignore_ascii_case("true")),
                    ..registration
                })
            }
        };
        Ok(Self {
            scope,
            registration_id,
            api_version,
            request,
        })
    }

    /// The path of this call, with its query: the client's side.
    pub(crate) fn target(&self) -> String {
        let base = self.base();
        let version = self.version();
        match &self.request {
            Request::Register(registration) => {
                let force = if registration.force {
                    "&forceRegistration=true"
                } else {
                    ""
                };
                format!("{base}/register?api-version={version}{force}")
            }
            Request::OperationStatus { operation_id } => self.location(operation_id),
            Request::Lookup => format!("{base}?api-version={version}"),
        }
    }

    /// Where the state of an operation is asked for: the `Location` of a 202.
    pub(crate) fn location(&self, operation_id: &OperationId) -> String {
        let (base, version) = (self.base(), self.version());
        format!("{base}/operations/{operation_id}?api-version={version}")
    }

    /// The vendor's service wants one always.
    fn version(&self) -> &str {
        let version = self.api_version.as_ref();
        version.map_or(ApiVersion::COMMON, ApiVersion::as_str)
    }

    fn base(&self) -> String {
        let id = uri::encode(self.registration_id.as_str());
        format!("/{}/registrations/{id}", self.scope)
    }
}

enum Operation<'p> {
    Register,
    Status(&'p str),
    Lookup,
}

impl Operation<'_> {
    const fn method(&self) -> &'static str {
        match self {
            Self::Register => "PUT",
            Self::Status(_) => "GET",
            Self::Lookup => "POST",
        }
    }
}

/// Whoever says no type is believed.
fn is_json(content_type: Option<&str>, body: &[u8]) -> Result<(), ParseError> {
    if body.len() > MAX_BODY {
        return Err(ParseError::TooLarge);
    }
    let media_type = content_type.and_then(|found| found.split(';').next());
    let is_json = |found: &str| found.trim().eq_ignore_ascii_case("application/json");
    if media_type.is_none_or(is_json) {
        Ok(())
    } else {
        Err(ParseError::ContentType)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::NameError;
    use proptest::prelude::*;

    const JSON: Option<&str> = Some("application/json; charset=utf-8");

    fn call(version: &str, request: Request) -> Call {
        Call {
            scope: IdScope::new("0ne00111111").unwrap(),
            registration_id: RegistrationId::new("dev-1").unwrap(),
            api_version: ApiVersion::new(version).ok(),
            request,
        }
    }

    fn status(id: &str) -> Request {
        Request::OperationStatus {
            operation_id: OperationId::new(id).unwrap(),
        }
    }

    #[test]
    fn requests_are_read_as_each_sdk_sends_them() {
        let register = |force| {
            Request::Register(Registration {
                force,
                ..Registration::default()
            })
        };
        let operation = "5.0123456789abcdef.6a9e5c42-0b6c-4a39-9d29-a4d3d1d0e5f1";
        let base = "/0ne00111111/registrations/dev-1";
        for (method, target, content_type, body, want) in [
            (
                "PUT",
                format!("{base}/register?api-version=2019-03-31"),
                JSON,
                r#"{"registrationId":"dev-1"}"#,
                call("2019-03-31", register(false)),
            ),
            // The C SDK: a version of its own, and upper case.
            (
                "PUT",
                "/0NE00111111/registrations/DEV-1/register?api-version=2021-06-01".to_owned(),
                JSON,
                r#"{"registrationId":"dev-1"}"#,
                call("2021-06-01", register(false)),
            ),
            (
                "PUT",
                format!("{base}/register?forceRegistration=true&api-version=2099-01-01-preview"),
                None,
                "{}",
                call("2099-01-01-preview", register(true)),
            ),
            (
                "PUT",
                format!("{base}/register"),
                JSON,
                "{}",
                call("", register(false)),
            ),
            // Node.js sends `{}` behind its GET.
            (
                "GET",
                format!("{base}/operations/{operation}?api-version=2019-03-31"),
                JSON,
                "{}",
                call("2019-03-31", status(operation)),
            ),
            (
                "GET",
                format!("{base}/operations/{operation}?api-version=2019-03-31"),
                Some("text/plain"),
                "\0 anything",
                call("2019-03-31", status(operation)),
            ),
            // C and .NET escape what need not be escaped.
            (
                "GET",
                "/0ne00111111/registrations/dev%2D1/operations/5%2Ea?api-version=2019-03-31"
                    .to_owned(),
                None,
                "",
                call("2019-03-31", status("5.a")),
            ),
            (
                "POST",
                format!("{base}?api-version=2019-03-31"),
                JSON,
                r#"{"registrationId":"dev-1"}"#,
                call("2019-03-31", Request::Lookup),
            ),
        ] {
            let got = Call::parse(method, &target, content_type, body.as_bytes());
            assert_eq!(got, Ok(want), "{method} {target}");
            assert!(Call::is_path(&target));
        }
    }

    #[test]
    fn the_first_thing_wrong_is_the_one_that_is_named() {
        let long = " ".repeat(MAX_BODY + 1);
        let method = |allow| ParseError::Method { allow };
        let character = |what| ParseError::Name(NameError::Character { what });
        for (verb, target, content_type, body, want, status) in [
            ("GET", "/", None, "", ParseError::NotFound, 404),
            (
                "PUT",
                "/s/registrations/d/register/x",
                JSON,
                "{}",
                ParseError::NotFound,
                404,
            ),
            (
                "PUT",
                "/s/registrations/d/register/",
                JSON,
                "{}",
                ParseError::NotFound,
                404,
            ),
            (
                "PUT",
                "s/registrations/d/register",
                JSON,
                "{}",
                ParseError::NotFound,
                404,
            ),
            (
                "PUT",
                "/s/Registrations/d/register",
                JSON,
                "{}",
                ParseError::NotFound,
                404,
            ),
            (
                "PUT",
                "/s/registrations/%zz/register",
                JSON,
                "{}",
                ParseError::NotFound,
                404,
            ),
            (
                "POST",
                "/s/registrations/d/register",
                JSON,
                "{}",
                method("PUT"),
                405,
            ),
            (
                "put",
                "/s/registrations/d/register",
                JSON,
                "{}",
                method("PUT"),
                405,
            ),
            ("PUT", "/s/registrations/d", JSON, "{}", method("POST"), 405),
            (
                "POST",
                "/s/registrations/d/operations/o",
                JSON,
                "",
                method("GET"),
                405,
            ),
            (
                "PUT",
                "//registrations/d/register",
                JSON,
                "{}",
                NameError::Empty { what: "idScope" }.into(),
                400,
            ),
            (
                "PUT",
                "/s/registrations/a%2Fb/register",
                JSON,
                "{}",
                character("registrationId"),
                400,
            ),
            (
                "GET",
                "/s/registrations/d/operations/o%2F",
                None,
                "",
                character("operationId"),
                400,
            ),
            (
                "PUT",
                "/s/registrations/d/register?api-version=a/b",
                JSON,
                "{}",
                character("api-version"),
                400,
            ),
            (
                "PUT",
                "/s/registrations/d/register",
                JSON,
                &*long,
                ParseError::TooLarge,
                400,
            ),
            (
                "PUT",
                "/s/registrations/d/register",
                Some("text/plain"),
                &*long,
                ParseError::TooLarge,
                400,
            ),
            (
                "PUT",
                "/s/registrations/d/register",
                Some("text/plain"),
                "{}",
                ParseError::ContentType,
                415,
            ),
            (
                "PUT",
                "/s/registrations/d/register",
                JSON,
                r#"{"registrationId":"e"}"#,
                ParseError::OtherDevice,
                400,
            ),
            (
                "POST",
                "/s/registrations/d",
                JSON,
                r#"{"csr":"MAA="}"#,
                ParseError::CsrInLookup,
                400,
            ),
        ] {
            let got = Call::parse(verb, target, content_type, body.as_bytes());
            assert_eq!(got, Err(want.clone()), "{verb} {target}");
            assert_eq!(want.error_code().status(), status, "{want:?}");
        }
    }

    proptest! {
        #[test]
        fn target_then_parse_is_identity(
            scope in "[0-9A-Za-z_-]{1,64}",
            id in "[0-9A-Za-z._:-]{0,40}[0-9A-Za-z-]",
            operation in "[0-9A-Za-z._~-]{1,200}",
            version in "20[0-9]{2}-0[1-9]-0[1-9](-preview)?",
            force: bool,
        ) {
            let operation_id = OperationId::new(&operation).unwrap();
            for request in [
                Request::Register(Registration { force, ..Registration::default() }),
                Request::OperationStatus { operation_id },
                Request::Lookup,
            ] {
                let call = Call {
                    scope: IdScope::new(&scope).unwrap(),
                    registration_id: RegistrationId::new(&id).unwrap(),
                    api_version: ApiVersion::new(&version).ok(),
                    request,
                };
                let method = match call.request {
                    Request::Register(_) => "PUT",
                    Request::OperationStatus { .. } => "GET",
                    Request::Lookup => "POST",
                };
                prop_assert_eq!(Call::parse(method, &call.target(), JSON, b"{}"), Ok(call));
            }
        }

        #[test]
        fn no_target_panics(target in "/?.{0,60}", body in ".{0,40}") {
            for method in ["PUT", "GET", "POST"] {
                let _ = Call::parse(method, &target, JSON, body.as_bytes());
            }
        }
    }
}
