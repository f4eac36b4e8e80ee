//! Which operation a path names, and for which product (RFC 7030 section 3.2.2).

/// An EST operation (RFC 7030 section 3.2.2, table in figure 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `/cacerts`: the certificates that a device needs to trust its fleet (section 4.1).
    CaCerts,
    /// `/simpleenroll`: a first certificate (section 4.2.1).
    SimpleEnroll,
    /// `/simplereenroll`: another certificate, asked for with the present one (section 4.2.2).
    SimpleReenroll,
    /// `/csrattrs`: what a request should hold (section 4.5).
    CsrAttrs,
    /// `/serverkeygen`: a certificate and a key that the server made (section 4.4).
    ServerKeyGen,
    /// `/fullcmc` (section 4.3). Known, so that no product takes its name; not offered.
    FullCmc,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 6] = [
        Self::CaCerts,
        Self::SimpleEnroll,
        Self::SimpleReenroll,
        Self::CsrAttrs,
        Self::ServerKeyGen,
        Self::FullCmc,
    ];

    /// The last segment of the path.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CaCerts => "cacerts",
            Self::SimpleEnroll => "simpleenroll",
            Self::SimpleReenroll => "simplereenroll",
            Self::CsrAttrs => "csrattrs",
            Self::ServerKeyGen => "serverkeygen",
            Self::FullCmc => "fullcmc",
        }
    }

    /// The one method that the operation takes.
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            Self::CaCerts | Self::CsrAttrs => "GET",
            Self::SimpleEnroll | Self::SimpleReenroll | Self::ServerKeyGen | Self::FullCmc => {
                "POST"
            }
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.name() == name)
    }
}

/// A path, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route<'a> {
    /// The label: in Imprint the product. Never the name of an operation.
    pub label: Option<&'a str>,
    /// What is asked.
    pub operation: Operation,
}

impl<'a> Route<'a> {
    /// Reads `/.well-known/est[/<label>]/<operation>`.
    ///
    /// `/<label>/.well-known/est/<operation>` is read alike: strongSwan's `pki --est` puts a path
    /// given in `--url` before the prefix. `None` is a 404. Labels are plain text: a percent sign
    /// or a dot segment is never decoded, so nothing can hide behind it.
    #[must_use]
    pub fn parse(path: &'a str) -> Option<Self> {
        let (before, after) = match path.strip_prefix(PREFIX) {
            Some(after) => (None, after),
            None => path
                .strip_prefix('/')?
                .split_once(PREFIX)
                .map(|(a, b)| (Some(a), b))?,
        };
        let (label, name) = match (before, after.split_once('/')) {
            (None, Some((label, name))) => (Some(label), name),
            (before, None) => (before, after),
            (Some(_), Some(_)) => return None,
        };
        if !label.is_none_or(is_label) {
            return None;
        }
        Some(Self {
            label,
            operation: Operation::from_name(name)?,
        })
    }

    /// The path that [`Self::parse`] reads, label behind the prefix.
    #[must_use]
    pub fn path(&self) -> String {
        let name = self.operation.name();
        match self.label {
            Some(label) => format!("{PREFIX}{label}/{name}"),
            None => format!("{PREFIX}{name}"),
        }
    }
}

/// Whether `text` may be a label, and so a product's name: 1 to 64 characters of
/// `[A-Za-z0-9._-]`, at least one of them a letter or digit, and not an operation (RFC 7030
/// section 3.2.2).
#[must_use]
pub fn is_label(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && text.bytes().any(|byte| byte.is_ascii_alphanumeric())
        && Operation::from_name(text).is_none()
}

const PREFIX: &str = "/.well-known/est/";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_names_an_operation_and_perhaps_a_label() {
        for operation in Operation::ALL {
            let name = operation.name();
            for (path, label) in [
                (format!("/.well-known/est/{name}"), None),
                (format!("/.well-known/est/thermo/{name}"), Some("thermo")),
                (format!("/.well-known/est/a.b_C-9/{name}"), Some("a.b_C-9")),
                (format!("/thermo/.well-known/est/{name}"), Some("thermo")),
            ] {
                assert_eq!(
                    Route::parse(&path),
                    Some(Route { label, operation }),
                    "{path}"
                );
            }
        }
    }

    #[test]
    fn anything_else_is_not_found() {
        let long = format!("/.well-known/est/{}/cacerts", "a".repeat(65));
        for path in [
            "",
            "/",
            "cacerts",
            "/cacerts",
            "/.well-known/est",
            "/.well-known/est/",
            "/.well-known/est//cacerts",
            "/.well-known/est/CACERTS",
            "/.well-known/est/cacerts/",
            "/.well-known/est/cacerts?x=1",
            "/.well-known/est/%63acerts",
            "/.well-known/est/%2e%2e/cacerts",
            "/.well-known/est/../cacerts",
            "/.well-known/est/./cacerts",
            "/.well-known/est/a%2fb/cacerts",
            "/.well-known/est/a b/cacerts",
            "/.well-known/est/a/b/cacerts",
            "/.well-known/est/simpleenroll/cacerts",
            "/.well-known/est/fullcmc/cacerts",
            "/cacerts/.well-known/est/cacerts",
            "/../.well-known/est/cacerts",
            "/a/b/.well-known/est/cacerts",
            "/a/.well-known/est/b/cacerts",
            "/a/.well-known/est/.well-known/est/cacerts",
            "/.well-known/est/\u{e4}/cacerts",
            &long,
        ] {
            assert_eq!(Route::parse(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_route_comes_back_from_its_path(label in "([a-z0-9-]{1,64})?", which in 0_usize..6) {
            let label = Some(label.as_str()).filter(|label| is_label(label));
            let route = Route { label, operation: Operation::ALL[which] };
            let path = route.path();
            prop_assert_eq!(Route::parse(&path), Some(route));
        }

        #[test]
        fn no_path_panics(path in ".{0,40}") {
            let _ = Route::parse(&path);
            let _ = Route::parse(&format!("/.well-known/est/{path}"));
        }
    }
}
