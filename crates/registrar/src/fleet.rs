//! The fleet as a file: what `imprint apply` reads, and what differs from what is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::claims::definition::{Claim, DefinitionError, RegisteredCa, Template};
use crate::product::{Product, ProductError};
use crate::registry::{Kind, Named, Policy, Reference};

/// The fleet file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fleet {
    /// Its products.
    #[serde(rename = "product")]
    pub products: Vec<Product>,
    /// Groups of things.
    #[serde(rename = "group")]
    pub groups: Vec<Named>,
    /// Types of things.
    #[serde(rename = "thing_type")]
    pub thing_types: Vec<Named>,
    /// Policies on devices' certificates.
    #[serde(rename = "policy")]
    pub policies: Vec<Policy>,
    /// Its provisioning templates.
    #[serde(rename = "template")]
    pub templates: Vec<Template>,
    /// Its claims: what they may, not their certificates.
    #[serde(rename = "claim")]
    pub claims: Vec<Claim>,
    /// Customers' CAs whose devices are provisioned just in time.
    #[serde(rename = "registered_ca")]
    pub registered_cas: Vec<RegisteredCa>,
    /// For CAs that are new here, by name: the certificate on the registration code, PEM.
    #[serde(rename = "proof", skip_serializing_if = "BTreeMap::is_empty")]
    pub proofs: BTreeMap<String, String>,
}

impl Fleet {
    /// Checks every part by itself, and that no name stands twice.
    pub fn check(&self) -> Result<(), FleetError> {
        self.products.iter().try_for_each(Product::check)?;
        self.groups.iter().try_for_each(|one| one.check("group"))?;
        let mut types = self.thing_types.iter();
        types.try_for_each(|one| one.check("thing type"))?;
        self.policies.iter().try_for_each(Policy::check)?;
        self.templates.iter().try_for_each(Template::check)?;
        self.claims.iter().try_for_each(Claim::check)?;
        for ca in &self.registered_cas {
            ca.check()?;
        }
        let named = self.names();
        for (at, (object, name)) in named.iter().enumerate() {
            if named
                .iter()
                .take(at)
                .any(|other| other == &(*object, *name))
            {
                return Err(FleetError::Twice {
                    object: *object,
                    name: (*name).to_owned(),
                });
            }
        }
        let stray = self.proofs.keys().find(|name| {
            let mut cas = self.registered_cas.iter();
            !cas.any(|ca| ca.name == **name)
        });
        match stray {
            Some(name) => Err(unknown(
                Object::RegisteredCa,
                name,
                "proof",
                Object::RegisteredCa,
                name,
                Nearest::of(name, self.registered_cas.iter().map(|ca| ca.name.as_str())),
            )),
            None => Ok(()),
        }
    }

    fn names(&self) -> Vec<(Object, &str)> {
        let products = self.products.iter().map(|one| one.name.as_str());
        let groups = self.groups.iter().map(|one| one.name.as_str());
        let types = self.thing_types.iter().map(|one| one.name.as_str());
        let policies = self.policies.iter().map(|one| one.name.as_str());
        let templates = self.templates.iter().map(|one| one.name.as_str());
        let claims = self.claims.iter().map(|one| one.name.as_str());
        let cas = self.registered_cas.iter().map(|one| one.name.as_str());
        let of = |object| move |name| (object, name);
        products
            .map(of(Object::Product))
            .chain(groups.map(of(Object::Group)))
            .chain(types.map(of(Object::ThingType)))
            .chain(policies.map(of(Object::Policy)))
            .chain(templates.map(of(Object::Template)))
            .chain(claims.map(of(Object::Claim)))
            .chain(cas.map(of(Object::RegisteredCa)))
            .collect()
    }

    /// Checks that what the parts name is there: in the file, or in the fleet as it is.
    pub fn fits(&self, present: &Self) -> Result<(), FleetError> {
        let product = |object, name: &str, wanted: &str| {
            let there = [self, present].iter().any(|fleet| {
                let mut products = fleet.products.iter();
                products.any(|product| product.name == wanted)
            });
            let error = || {
                let known = [self, present]
                    .into_iter()
                    .flat_map(|fleet| &fleet.products);
                let known = known.map(|product| product.name.as_str());
                let nearest = Nearest::of(wanted, known);
                unknown(object, name, "product", Object::Product, wanted, nearest)
            };
            if there { Ok(()) } else { Err(error()) }
        };
        for one in &self.products {
            let mut groups = one.groups.iter();
            let there = |name: &String| {
                [self, present]
                    .iter()
                    .any(|fleet| fleet.has(Kind::Group, name))
            };
            if let Some(missing) = groups.find(|name| !there(name)) {
                let known = [self, present].into_iter().flat_map(|fleet| &fleet.groups);
                let known = known.map(|group| group.name.as_str());
                return Err(FleetError::Unknown {
                    object: Object::Product,
                    name: one.name.clone(),
                    key: "groups",
                    wants: Object::Group,
                    wanted: missing.clone(),
                    nearest: Nearest::of(missing, known),
                });
            }
        }
        for template in &self.templates {
            product(Object::Template, &template.name, &template.product)?;
        }
        for claim in &self.claims {
            product(Object::Claim, &claim.name, &claim.product)?;
            for wanted in &claim.templates {
                self.template_is_there(
                    present,
                    Object::Claim,
                    (&claim.name, "templates"),
                    wanted,
                    &claim.product,
                )?;
            }
            let before = present.claims.iter().find(|other| other.name == claim.name);
            if let Some(before) = before.filter(|before| before.product != claim.product) {
                // Its certificates are out, in devices of that product.
                return Err(FleetError::Fixed {
                    object: Object::Claim,
                    name: claim.name.clone(),
                    key: "product",
                    value: before.product.clone(),
                });
            }
        }
        for ca in &self.registered_cas {
            product(Object::RegisteredCa, &ca.name, &ca.product)?;
            if let Some(wanted) = &ca.template {
                self.template_is_there(
                    present,
                    Object::RegisteredCa,
                    (&ca.name, "template"),
                    wanted,
                    &ca.product,
                )?;
            }
        }
        Ok(())
    }

    /// Checks that each product's issuing authority is one of the server's.
    pub fn can_be_signed_for(&self, authorities: &[&str]) -> Result<(), FleetError> {
        let strange = self.products.iter().find_map(|product| {
            let ca = product.ca.as_deref()?;
            (!authorities.contains(&ca)).then_some((product, ca))
        });
        match strange {
            None => Ok(()),
            Some((product, ca)) => Err(FleetError::NoAuthority {
                product: product.name.clone(),
                wanted: ca.to_owned(),
                nearest: Nearest::of(ca, authorities.iter().copied()),
                authorities: authorities.join(", "),
            }),
        }
    }

    /// A product's own template, named like it, is always there.
    fn template_is_there(
        &self,
        present: &Self,
        object: Object,
        (name, key): (&str, &'static str),
        wanted: &str,
        product: &str,
    ) -> Result<(), FleetError> {
        match self.template(wanted).or_else(|| present.template(wanted)) {
            None if wanted == product => Ok(()),
            None => {
                let known = [self, present]
                    .into_iter()
                    .flat_map(|fleet| &fleet.templates);
                let nearest = Nearest::of(wanted, known.map(|one| one.name.as_str()));
                let wants = Object::Template;
                Err(unknown(object, name, key, wants, wanted, nearest))
            }
            Some(template) if template.product == product => Ok(()),
            Some(template) => Err(FleetError::OtherProduct {
                object,
                name: name.to_owned(),
                key,
                template: wanted.to_owned(),
                product: template.product.clone(),
            }),
        }
    }

    /// Whether there is a group, type or policy of this name.
    #[must_use]
    pub fn has(&self, kind: Kind, name: &str) -> bool {
        self.names_of(kind).any(|one| one == name)
    }

    /// The names of all groups, types or policies.
    pub fn names_of(&self, kind: Kind) -> impl Iterator<Item = &str> {
        let named: &[Named] = match kind {
            Kind::Group => &self.groups,
            Kind::ThingType => &self.thing_types,
            Kind::Policy => &[],
        };
        let policies: &[Policy] = match kind {
            Kind::Policy => &self.policies,
            _ => &[],
        };
        let named = named.iter().map(|one| one.name.as_str());
        named.chain(policies.iter().map(|one| one.name.as_str()))
    }

    /// The template of this name.
    #[must_use]
    pub fn template(&self, name: &str) -> Option<&Template> {
        self.templates.iter().find(|template| template.name == name)
    }

    /// Whether a registered CA uses the template: such a one is filled from a certificate alone.
    #[must_use]
    pub fn is_just_in_time(&self, template: &str) -> bool {
        let mut cas = self.registered_cas.iter();
        cas.any(|ca| ca.template.as_deref() == Some(template))
    }

    /// What applying this file would change, in its order. What the file does not name stays as it is:
    /// a product with devices can't be wished away.
    pub fn difference(&self, present: &Self) -> Result<Vec<Change>, serde_json::Error> {
        let mut changes = Vec::new();
        let mut note = |object, name: &str, before, default, after| {
            if before != after {
                changes.push(Change {
                    object,
                    name: name.to_owned(),
                    is_new: before == Value::Null,
                    before: if before == Value::Null {
                        default
                    } else {
                        before
                    },
                    after,
                });
            }
        };
        for one in &self.products {
            let before = present.products.iter().find(|other| other.name == one.name);
            let default = serde_json::to_value(Product::named(&one.name))?;
            let (before, after) = (serde_json::to_value(before)?, serde_json::to_value(one)?);
            note(Object::Product, &one.name, before, default, after);
        }
        for (object, ours, theirs) in [
            (Object::Group, &self.groups, &present.groups),
            (Object::ThingType, &self.thing_types, &present.thing_types),
        ] {
            for one in ours {
                let before = theirs.iter().find(|other| other.name == one.name);
                let default = serde_json::to_value(Named::new(&one.name))?;
                let (before, after) = (serde_json::to_value(before)?, serde_json::to_value(one)?);
                note(object, &one.name, before, default, after);
            }
        }
        for one in &self.policies {
            let mut policies = present.policies.iter();
            let before = policies.find(|other| other.name == one.name);
            let default = bare::<Policy>(&one.name, &[])?;
            let (before, after) = (serde_json::to_value(before)?, serde_json::to_value(one)?);
            note(Object::Policy, &one.name, before, default, after);
        }
        for one in &self.templates {
            let before = present.template(&one.name);
            let default = bare::<Template>(&one.name, &["product", "body"])?;
            let (before, after) = (serde_json::to_value(before)?, serde_json::to_value(one)?);
            note(Object::Template, &one.name, before, default, after);
        }
        for one in &self.claims {
            let before = present.claims.iter().find(|other| other.name == one.name);
            let default = serde_json::to_value(Claim::named(&one.name, ""))?;
            let (before, after) = (serde_json::to_value(before)?, serde_json::to_value(one)?);
            note(Object::Claim, &one.name, before, default, after);
        }
        for one in &self.registered_cas {
            let mut cas = present.registered_cas.iter();
            let before = cas.find(|other| other.name == one.name);
            let default = bare::<RegisteredCa>(&one.name, &["product", "certificate"])?;
            let (before, after) = (serde_json::to_value(before)?, serde_json::to_value(one)?);
            note(Object::RegisteredCa, &one.name, before, default, after);
        }
        Ok(changes)
    }

    /// The file with no more in it than makes it this fleet: keys that have their default are left
    /// out.
    pub fn shortest(&self) -> Result<Value, serde_json::Error> {
        let nothing = Self::default();
        let mut parts: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for change in self.difference(&nothing)? {
            let mut after = change.after;
            leave_out(&mut after, &change.before);
            if let Value::Object(keys) = &mut after {
                keys.insert("name".to_owned(), Value::String(change.name));
            }
            parts.entry(change.object.key()).or_default().push(after);
        }
        serde_json::to_value(parts)
    }
}

/// An object with empty texts where it needs some, and every other key's default.
fn bare<T: serde::de::DeserializeOwned + Serialize>(
    name: &str,
    needed: &[&str],
) -> Result<Value, serde_json::Error> {
    let mut keys = serde_json::Map::new();
    keys.insert("name".to_owned(), name.into());
    for key in needed {
        keys.insert((*key).to_owned(), "".into());
    }
    let read: T = serde_json::from_value(Value::Object(keys))?;
    serde_json::to_value(read)
}

/// Takes out of `value` what `default` says as well.
fn leave_out(value: &mut Value, default: &Value) {
    let (Value::Object(keys), Value::Object(defaults)) = (value, default) else {
        return;
    };
    keys.retain(|key, value| {
        let default = defaults.get(key).unwrap_or(&Value::Null);
        if value == default {
            return false;
        }
        leave_out(value, default);
        true
    });
}

/// One part of a fleet file that differs from what is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is.
    pub object: Object,
    /// Its name.
    pub name: String,
    /// Whether there is none of this name yet.
    pub is_new: bool,
    /// As it is; for a new one, every key's default.
    pub before: Value,
    /// As it will be.
    pub after: Value,
}

/// What stands in a fleet file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// `[[product]]`
    Product,
    /// `[[group]]`
    Group,
    /// `[[thing_type]]`
    ThingType,
    /// `[[policy]]`
    Policy,
    /// `[[template]]`
    Template,
    /// `[[claim]]`
    Claim,
    /// `[[registered_ca]]`
    RegisteredCa,
}

impl Object {
    /// The one that is called so in an error.
    fn of_kind(kind: &str) -> Option<Self> {
        let all = [
            Self::Product,
            Self::Group,
            Self::ThingType,
            Self::Policy,
            Self::Template,
            Self::Claim,
            Self::RegisteredCa,
        ];
        all.into_iter().find(|object| object.to_string() == kind)
    }

    /// Its key in the file.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Product => "product",
            Self::Group => "group",
            Self::ThingType => "thing_type",
            Self::Policy => "policy",
            Self::Template => "template",
            Self::Claim => "claim",
            Self::RegisteredCa => "registered_ca",
        }
    }
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::RegisteredCa => "CA",
            Self::ThingType => "thing type",
            other => other.key(),
        })
    }
}

/// What is wrong with a fleet file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// A product.
    #[error(transparent)]
    Product(#[from] ProductError),
    /// A template, a claim or a CA.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The same name twice.
    #[error("{object} {name:?} stands twice in the file")]
    Twice {
        /// What it is.
        object: Object,
        /// Its name.
        name: String,
    },
    /// Something that is named is not there.
    #[error(
        "{object} {name:?}, `{key}`: there is no {wants} {wanted:?}, neither in the file nor in the fleet{nearest}"
    )]
    Unknown {
        /// What names it.
        object: Object,
        /// Its name.
        name: String,
        /// In which key.
        key: &'static str,
        /// What it names.
        wants: Object,
        /// By which name.
        wanted: String,
        /// What it may have meant.
        nearest: Nearest,
    },
    /// A template names what the registry does not have.
    #[error(
        "template {template:?} names {missing}, which is neither in the file nor in the fleet{nearest}"
    )]
    Missing {
        /// The template.
        template: String,
        /// What it names.
        missing: Reference,
        /// What it may have meant.
        nearest: Nearest,
    },
    /// An issuing authority that the server does not have.
    #[error(
        "product {product:?}, `ca`: this server has no issuing authority {wanted:?}, but {authorities}{nearest}"
    )]
    NoAuthority {
        /// The product.
        product: String,
        /// What it names.
        wanted: String,
        /// Those that there are.
        authorities: String,
        /// What it may have meant.
        nearest: Nearest,
    },
    /// A template of another product.
    #[error("{object} {name:?}, `{key}`: template {template:?} is of product {product:?}")]
    OtherProduct {
        /// What names it.
        object: Object,
        /// Its name.
        name: String,
        /// In which key.
        key: &'static str,
        /// The template.
        template: String,
        /// Its product.
        product: String,
    },
    /// A key that never changes.
    #[error(
        "{object} {name:?}, `{key}`: it is {value:?} and stays so; give the new one another name"
    )]
    Fixed {
        /// What it is.
        object: Object,
        /// Its name.
        name: String,
        /// Which key.
        key: &'static str,
        /// Its value.
        value: String,
    },
}

impl FleetError {
    /// Where in the file it is: the object, its name and the key.
    #[must_use]
    pub fn place(&self) -> Option<(Object, &str, &'static str)> {
        match self {
            Self::Product(error) => Some((Object::Product, &error.product, error.key)),
            Self::Definition(error) => Some((Object::of_kind(error.kind)?, &error.name, error.key)),
            Self::Twice { object, name } => Some((*object, name, "name")),
            Self::Unknown {
                object, name, key, ..
            }
            | Self::OtherProduct {
                object, name, key, ..
            }
            | Self::Fixed {
                object, name, key, ..
            } => Some((*object, name, key)),
            Self::Missing { template, .. } => Some((Object::Template, template, "name")),
            Self::NoAuthority { product, .. } => Some((Object::Product, product, "ca")),
        }
    }
}

fn unknown(
    object: Object,
    name: &str,
    key: &'static str,
    wants: Object,
    wanted: &str,
    nearest: Nearest,
) -> FleetError {
    FleetError::Unknown {
        object,
        name: name.to_owned(),
        key,
        wants,
        wanted: wanted.to_owned(),
        nearest,
    }
}

/// The known name that was most likely meant, if one is like it: `; did you mean "thermo"?`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nearest(Option<String>);

impl Nearest {
    /// Among these.
    #[must_use]
    pub fn of<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let likely = known
            .map(|name| (strsim::jaro_winkler(wanted, name), name))
            .filter(|(likeness, _)| *likeness > ALIKE)
            .max_by(|(one, _), (other, _)| one.total_cmp(other));
        Self(likely.map(|(_, name)| name.to_owned()))
    }
}

impl std::fmt::Display for Nearest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(name) => write!(f, "; did you mean {name:?}?"),
            None => Ok(()),
        }
    }
}

/// From here on two names are alike.
const ALIKE: f64 = 0.7;

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> Fleet {
        let template: Template = serde_json::from_value(serde_json::json!({
            "name": "field", "product": "thermo", "body": "{}"
        }))
        .unwrap();
        let policy = Policy {
            name: "devices".into(),
            description: String::new(),
            document: Some("{}".into()),
        };
        let claim = Claim {
            templates: vec!["field".into(), "thermo".into()],
            ..Claim::named("line-1", "thermo")
        };
        Fleet {
            products: vec![Product::named("thermo"), Product::named("valve")],
            groups: vec![Named::new("hall")],
            thing_types: vec![Named::new("sensor")],
            policies: vec![policy],
            templates: vec![template],
            claims: vec![claim],
            ..Fleet::default()
        }
    }

    #[test]
    fn applying_twice_changes_nothing_the_second_time() {
        let fleet = fleet();
        assert_eq!(fleet.check(), Ok(()));
        assert_eq!(fleet.fits(&Fleet::default()), Ok(()));
        let changes = fleet.difference(&Fleet::default()).unwrap();
        let named: Vec<_> = changes
            .iter()
            .map(|change| format!("{} {} {}", change.object, change.name, change.is_new))
            .collect();
        let want = [
            "product thermo",
            "product valve",
            "group hall",
            "thing type sensor",
            "policy devices",
            "template field",
            "claim line-1",
        ];
        assert_eq!(named, want.map(|name| format!("{name} true")));
        assert_eq!(fleet.difference(&fleet).unwrap(), []);
    }

    #[test]
    fn the_shortest_file_is_the_same_fleet() {
        let mut fleet = fleet();
        fleet.products[0].certificate.lifetime_days = 30;
        fleet.claims[0].limits.total = 7;
        let shortest = fleet.shortest().unwrap();
        let want = serde_json::json!({
            "product": [
                { "name": "thermo", "certificate": { "lifetime_days": 30 } },
                { "name": "valve" },
            ],
            "group": [{ "name": "hall" }],
            "thing_type": [{ "name": "sensor" }],
            "policy": [{ "name": "devices", "document": "{}" }],
            "template": [{ "name": "field", "product": "thermo", "body": "{}" }],
            "claim": [{
                "name": "line-1",
                "product": "thermo",
                "templates": ["field", "thermo"],
                "limits": { "total": 7 },
            }],
        });
        assert_eq!(shortest, want);
        assert_eq!(serde_json::from_value::<Fleet>(shortest).unwrap(), fleet);
    }

    #[test]
    fn what_is_named_has_to_be_there_and_of_the_same_product() {
        type Break = fn(&mut Fleet);
        let rows: [(&str, Break); 9] = [
            (
                "product \"thermo\", `groups`: there is no group \"hal\", neither in the file nor in \
                 the fleet; did you mean \"hall\"?",
                |fleet| fleet.products[0].groups = vec!["hall".into(), "hal".into()],
            ),
            ("group \"hall\" stands twice", |fleet| {
                fleet.groups.push(Named::new("hall"));
            }),
            ("thing type \"a b\", `name`: ", |fleet| {
                fleet.thing_types.push(Named::new("a b"));
            }),
            (
                "claim \"line-1\", `product`: there is no product \"gone\"",
                |fleet| {
                    fleet.claims[0].product = "gone".into();
                },
            ),
            (
                "claim \"line-1\", `templates`: there is no template \"gone\"",
                |fleet| {
                    fleet.claims[0].templates[0] = "gone".into();
                },
            ),
            (
                "claim \"line-1\", `templates`: template \"field\" is of product \"valve\"",
                |fleet| {
                    fleet.templates[0].product = "valve".into();
                },
            ),
            (
                "template \"field\", `product`: there is no product \"gone\"",
                |fleet| {
                    fleet.templates[0].product = "gone".into();
                    fleet.claims.clear();
                },
            ),
            ("product \"thermo\" stands twice", |fleet| {
                fleet.products.push(Product::named("thermo"));
            }),
            ("CA \"gone\", `proof`: there is no CA \"gone\"", |fleet| {
                fleet.proofs.insert("gone".into(), String::new());
            }),
        ];
        for (want, break_it) in rows {
            let mut broken = fleet();
            break_it(&mut broken);
            let error = broken.check().and_then(|()| broken.fits(&Fleet::default()));
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with(want), "{error}");
        }
        // What is there already counts as well, and a claim's product stays.
        let only_claim = Fleet {
            claims: fleet().claims,
            ..Fleet::default()
        };
        assert_eq!(only_claim.fits(&fleet()), Ok(()));
        let mut moved = fleet();
        moved.claims = vec![Claim::named("line-1", "valve")];
        let error = moved.fits(&fleet()).unwrap_err().to_string();
        assert!(error.contains("it is \"thermo\" and stays so"), "{error}");
    }
}
