//! What things may name: groups, types and policies that the fleet has. Parts of the fleet file.
//!
//! A template that names one which is not here is refused, as the vendor's own service refuses it: a
//! mistyped group is a device that nobody finds again.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::claims::definition::{DefinitionError, wrong};
use crate::claims::thing::{self, ThingSpec};

/// A group of things, or a type of thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Its name: 1 to 128 of `[a-zA-Z0-9:_.-]`.
    pub name: String,
    /// For people, at most 500 characters.
    #[serde(default)]
    pub description: String,
}

/// A policy on devices' certificates, for whoever reads the registry: a broker, a cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Its name: 1 to 128 of `[a-zA-Z0-9_+=,.@-]`.
    pub name: String,
    /// For people, at most 500 characters.
    #[serde(default)]
    pub description: String,
    /// Its document, a JSON object, at most 2,048 octets; none: its name says it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
}

/// What kinds of things a thing may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A group.
    Group,
    /// A type.
    ThingType,
    /// A policy.
    Policy,
}

impl Kind {
    /// The word under which it is stored; its key in the fleet file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::ThingType => "thing_type",
            Self::Policy => "policy",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Group => "group",
            Self::ThingType => "thing type",
            Self::Policy => "policy",
        })
    }
}

/// One that is named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl Reference {
    /// What a thing of this description names. A policy that brings its document names nothing.
    #[must_use]
    pub fn all_of(spec: &ThingSpec) -> BTreeSet<Self> {
        let of = |kind| {
            move |name: &String| Self {
                kind,
                name: name.clone(),
            }
        };
        let by_name = spec.policies.iter().filter(|one| one.document.is_none());
        let groups = spec.groups.iter().map(of(Kind::Group));
        let types = spec.thing_type.iter().map(of(Kind::ThingType));
        let policies = by_name.map(|one| &one.name).map(of(Kind::Policy));
        groups.chain(types).chain(policies).collect()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind, self.name)
    }
}

impl Named {
    /// One with a name alone.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            description: String::new(),
        }
    }

    /// Checks what the types can't. `kind`: the key in the fleet file.
    pub fn check(&self, kind: &'static str) -> Result<(), DefinitionError> {
        if !thing::is_name(&self.name) {
            let reason = "use 1 to 128 of a-z, A-Z, 0-9, ':', '_', '.' and '-'";
            return Err(wrong(kind, &self.name, "name", reason.into()));
        }
        check_description(kind, &self.name, &self.description)
    }
}

impl Policy {
    /// Checks what the types can't.
    pub fn check(&self) -> Result<(), DefinitionError> {
        let fault = |key, reason: String| Err(wrong("policy", &self.name, key, reason));
        if !thing::is_policy_name(&self.name) {
            let reason = "use 1 to 128 of a-z, A-Z, 0-9 and '_+=,.@-'";
            return fault("name", reason.into());
        }
        if let Some(document) = &self.document {
            if document.len() > thing::POLICY_MAX {
                let reason = format!(
                    "it has {} octets, at most {} are kept",
                    document.len(),
                    thing::POLICY_MAX
                );
                return fault("document", reason);
            }
            let read = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(document);
            if let Err(error) = read {
                return fault("document", format!("this is no JSON object: {error}"));
            }
        }
        check_description("policy", &self.name, &self.description)
    }
}

fn check_description(kind: &'static str, name: &str, text: &str) -> Result<(), DefinitionError> {
    if text.chars().count() > 500 {
        let reason = "use at most 500 characters".into();
        return Err(wrong(kind, name, "description", reason));
    }
    Ok(())
}

/// All of them, each kind by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registry {
    /// Groups.
    pub groups: Vec<Named>,
    /// Types.
    pub thing_types: Vec<Named>,
    /// Policies.
    pub policies: Vec<Policy>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_registry_can_not_hold_is_refused_by_its_key() {
        let named = |name: &str, description: &str| Named {
            name: name.into(),
            description: description.into(),
        };
        let long = "d".repeat(501);
        for (one, want) in [
            (named("hall:1_a.b-c", ""), None),
            (named("", ""), Some("name")),
            (named("hall 1", ""), Some("name")),
            (named(&"h".repeat(129), ""), Some("name")),
            (named("hall", &long), Some("description")),
        ] {
            let key = one.check("group").err().map(|error| error.key);
            assert_eq!(key, want, "{one:?}");
        }
        let policy = |name: &str, document: Option<&str>| Policy {
            name: name.into(),
            description: String::new(),
            document: document.map(str::to_owned),
        };
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(2_041));
        for (one, want) in [
            (policy("a=b,c@d+e", None), None),
            (policy("devices", Some("{}")), None),
            (policy("a/b", None), Some("name")),
            (policy("devices", Some("[]")), Some("document")),
            (policy("devices", Some("{")), Some("document")),
            (policy("devices", Some(&large)), Some("document")),
        ] {
            assert_eq!(one.check().err().map(|error| error.key), want, "{one:?}");
        }
    }

    #[test]
    fn a_policy_that_brings_its_document_names_nothing() {
        use crate::claims::thing::PolicySpec;
        let policy = |name: &str, document: Option<&str>| PolicySpec {
            name: name.into(),
            document: document.map(str::to_owned),
        };
        let spec = ThingSpec {
            thing_type: Some("sensor".into()),
            billing_group: Some("north".into()),
            groups: vec!["b".into(), "a".into(), "b".into()],
            policies: vec![policy("devices", None), policy("0123", Some("{}"))],
            ..ThingSpec::named("thing")
        };
        let named: Vec<_> = Reference::all_of(&spec)
            .iter()
            .map(ToString::to_string)
            .collect();
        let want = [
            "group \"a\"",
            "group \"b\"",
            "thing type \"sensor\"",
            "policy \"devices\"",
        ];
        assert_eq!(named, want);
    }
}
