//! Paths of the service API. The words in them are compared without their case: one SDK writes
//! `/enrollmentgroups/`, others `/enrollmentGroups/`.

use crate::name::{ApiVersion, RegistrationId};
use crate::request::ParseError;
use crate::uri;

/// One request's method and path, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCall {
    /// What is asked.
    pub route: Route,
    /// `api-version`.
    pub api_version: Option<ApiVersion>,
}

/// What is asked. Groups are named like devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `GET /enrollments/{id}`.
    EnrollmentGet(RegistrationId),
    /// `PUT /enrollments/{id}`: create, or replace what `If-Match` names.
    EnrollmentPut(RegistrationId),
    /// `DELETE /enrollments/{id}`.
    EnrollmentDelete(RegistrationId),
    /// `POST /enrollments/{id}/attestationmechanism`: with its keys.
    EnrollmentAttestation(RegistrationId),
    /// `POST /enrollments/query`.
    EnrollmentQuery,
    /// `POST /enrollments`: up to ten at once.
    EnrollmentBulk,
    /// `GET /enrollmentGroups/{id}`.
    GroupGet(RegistrationId),
    /// `PUT /enrollmentGroups/{id}`: create, or replace what `If-Match` names.
    GroupPut(RegistrationId),
    /// `DELETE /enrollmentGroups/{id}`.
    GroupDelete(RegistrationId),
    /// `POST /enrollmentGroups/{id}/attestationmechanism`: with its keys.
    GroupAttestation(RegistrationId),
    /// `POST /enrollmentGroups/query`.
    GroupQuery,
    /// `POST /enrollmentGroups`: up to ten at once.
    GroupBulk,
    /// `GET /registrations/{id}`.
    RegistrationGet(RegistrationId),
    /// `DELETE /registrations/{id}`.
    RegistrationDelete(RegistrationId),
    /// `POST /registrations/{group}/query`.
    RegistrationQuery(RegistrationId),
}

impl ServiceCall {
    /// Whether a path is one of this API's, with which method ever.
    #[must_use]
    pub fn is_path(path: &str) -> bool {
        let word = path.split(['/', '?']).nth(1).unwrap_or_default();
        let words = ["enrollments", "enrollmentgroups", "registrations"];
        path.starts_with('/') && words.iter().any(|known| word.eq_ignore_ascii_case(known))
    }

    /// Reads method and path of a request. `target` has its query, nothing decoded.
    pub fn parse(method: &str, target: &str) -> Result<Self, ParseError> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let levels: Vec<String> = path.split('/').take(5).map(str::to_owned).collect();
        let words: Vec<String> = levels
            .iter()
            .map(|word| word.to_ascii_lowercase())
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let id = || {
            let text = levels.get(2).and_then(|text| uri::decode(text));
            Ok::<_, ParseError>(RegistrationId::new(&text.ok_or(ParseError::NotFound)?)?)
        };
        let post = |route: Route| match method {
            "POST" => Ok(route),
            _ => Err(ParseError::Method { allow: "POST" }),
        };
        let route = match *words.as_slice() {
            ["", "enrollments"] => post(Route::EnrollmentBulk)?,
            ["", "enrollmentgroups"] => post(Route::GroupBulk)?,
            // One SDK writes a slash at the end of these.
            ["", "enrollments", ""] if method == "POST" => Route::EnrollmentBulk,
            ["", "enrollmentgroups", ""] if method == "POST" => Route::GroupBulk,
            // `query` is no id where it is asked by POST; by any other method it may be one.
            ["", "enrollments", "query"] if method == "POST" => Route::EnrollmentQuery,
            ["", "enrollmentgroups", "query"] if method == "POST" => Route::GroupQuery,
            ["", "enrollments", _] => match method {
                "GET" => Route::EnrollmentGet(id()?),
                "PUT" => Route::EnrollmentPut(id()?),
                "DELETE" => Route::EnrollmentDelete(id()?),
                _ => return Err(ParseError::Method { allow: RECORD }),
            },
            ["", "enrollmentgroups", _] => match method {
                "GET" => Route::GroupGet(id()?),
                "PUT" => Route::GroupPut(id()?),
                "DELETE" => Route::GroupDelete(id()?),
                _ => return Err(ParseError::Method { allow: RECORD }),
            },
            ["", "registrations", _] => match method {
                "GET" => Route::RegistrationGet(id()?),
                "DELETE" => Route::RegistrationDelete(id()?),
                _ => {
                    return Err(ParseError::Method {
                        allow: "GET, DELETE",
                    });
                }
            },
            ["", "enrollments", _, "attestationmechanism"] => {
                post(Route::EnrollmentAttestation(id()?))?
            }
            ["", "enrollmentgroups", _, "attestationmechanism"] => {
                post(Route::GroupAttestation(id()?))?
            }
            ["", "registrations", _, "query"] => post(Route::RegistrationQuery(id()?))?,
            _ => return Err(ParseError::NotFound),
        };
        let api_version = uri::value(query, "api-version");
        Ok(Self {
            route,
            api_version: api_version.map(|text| ApiVersion::new(&text)).transpose()?,
        })
    }
}

const RECORD: &str = "GET, PUT, DELETE";

/// Which part of a long answer is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// `x-ms-max-item-count`: 1 to [`Page::MOST`].
    pub most: u16,
    /// `x-ms-continuation`: where the last part ended, as the server wrote it then.
    pub continuation: Option<String>,
}

impl Page {
    /// The header with the size.
    pub const MAX_ITEM_COUNT: &str = "x-ms-max-item-count";
    /// The header with the place.
    pub const CONTINUATION: &str = "x-ms-continuation";
    /// The header that says what the items are: `enrollment` and the like.
    pub const ITEM_TYPE: &str = "x-ms-item-type";
    /// The most items of one answer.
    pub const MOST: u16 = 1_000;
    /// As many, when nobody says.
    pub const USUAL: u16 = 100;

    /// Reads the two headers. What is no number, or too large, is the usual or the most: a page is
    /// never the whole.
    #[must_use]
    pub fn parse(most: Option<&str>, continuation: Option<&str>) -> Self {
        let most = most.and_then(|text| text.trim().parse::<u64>().ok());
        let most = most.and_then(|most| u16::try_from(most.min(u64::from(Self::MOST))).ok());
        let continuation = continuation.map(str::trim);
        let continuation = continuation.filter(|text| !text.is_empty() && text.len() <= 512);
        Self {
            most: most.filter(|most| *most > 0).unwrap_or(Self::USUAL),
            continuation: continuation.map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::NameError;

    #[test]
    fn routes_are_read_whatever_their_case() {
        let id = || RegistrationId::new("dev-1").unwrap();
        for (method, path, want) in [
            ("GET", "/enrollments/dev-1", Route::EnrollmentGet(id())),
            ("PUT", "/enrollments/dev-1", Route::EnrollmentPut(id())),
            (
                "DELETE",
                "/enrollments/dev-1",
                Route::EnrollmentDelete(id()),
            ),
            (
                "POST",
                "/enrollments/dev-1/attestationmechanism",
                Route::EnrollmentAttestation(id()),
            ),
            ("POST", "/enrollments/query", Route::EnrollmentQuery),
            (
                "GET",
                "/enrollments/query",
                Route::EnrollmentGet(RegistrationId::new("query").unwrap()),
            ),
            ("POST", "/enrollments", Route::EnrollmentBulk),
            ("POST", "/enrollments/", Route::EnrollmentBulk),
            ("POST", "/enrollmentGroups/", Route::GroupBulk),
            ("GET", "/enrollmentGroups/dev%2D1", Route::GroupGet(id())),
            ("PUT", "/enrollmentGroups/dev-1", Route::GroupPut(id())),
            (
                "DELETE",
                "/enrollmentGroups/dev-1",
                Route::GroupDelete(id()),
            ),
            (
                "POST",
                "/enrollmentgroups/dev-1/attestationmechanism",
                Route::GroupAttestation(id()),
            ),
            ("POST", "/enrollmentGroups/query", Route::GroupQuery),
            ("POST", "/enrollmentGroups", Route::GroupBulk),
            ("GET", "/registrations/DEV-1", Route::RegistrationGet(id())),
            (
                "DELETE",
                "/registrations/dev-1",
                Route::RegistrationDelete(id()),
            ),
            (
                "POST",
                "/registrations/dev-1/query",
                Route::RegistrationQuery(id()),
            ),
        ] {
            let target = format!("{path}?api-version=2021-10-01");
            let got = ServiceCall::parse(method, &target).unwrap();
            assert_eq!(got.route, want, "{method} {path}");
            assert_eq!(got.api_version, ApiVersion::new("2021-10-01").ok());
            assert!(ServiceCall::is_path(&target));
        }
    }

    #[test]
    fn other_paths_are_told_apart() {
        let method = |allow| ParseError::Method { allow };
        for (verb, path, want) in [
            ("GET", "/", ParseError::NotFound),
            ("GET", "/enrollments/a/b", ParseError::NotFound),
            (
                "GET",
                "/enrollments/a/attestationmechanism/x",
                ParseError::NotFound,
            ),
            ("GET", "enrollments/a", ParseError::NotFound),
            ("GET", "/enrollments", method("POST")),
            ("PATCH", "/enrollments/a", method("GET, PUT, DELETE")),
            ("PUT", "/registrations/a", method("GET, DELETE")),
            ("GET", "/registrations/a/query", method("POST")),
            (
                "GET",
                "/enrollments/",
                NameError::Empty {
                    what: "registrationId",
                }
                .into(),
            ),
            ("GET", "/enrollments/%zz", ParseError::NotFound),
            (
                "GET",
                "/enrollments/a%2fb",
                NameError::Character {
                    what: "registrationId",
                }
                .into(),
            ),
        ] {
            assert_eq!(ServiceCall::parse(verb, path), Err(want), "{verb} {path}");
        }
        for path in [
            "/",
            "/0ne0/registrations/d/register",
            "/healthz",
            "enrollments",
        ] {
            assert!(!ServiceCall::is_path(path), "{path}");
        }
    }

    #[test]
    fn a_page_is_never_the_whole() {
        for (most, want) in [
            (None, 100),
            (Some("7"), 7),
            (Some(" 7 "), 7),
            (Some("0"), 100),
            (Some("-1"), 100),
            (Some("x"), 100),
            (Some("1000000"), 1_000),
        ] {
            assert_eq!(Page::parse(most, None).most, want, "{most:?}");
        }
        assert_eq!(
            Page::parse(None, Some("a")).continuation.as_deref(),
            Some("a")
        );
        assert_eq!(Page::parse(None, Some(" ")).continuation, None);
        assert_eq!(Page::parse(None, Some(&"a".repeat(513))).continuation, None);
    }
}
