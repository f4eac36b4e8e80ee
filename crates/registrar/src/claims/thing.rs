//! Things: what a template makes of a device in the registry, and what happens when the thing is
//! there already.

use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::ThingRecord;
use crate::refusal::{Code, Refusal};

/// A thing as a template describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ThingSpec {
    /// Its name: 1 to 128 of `[a-zA-Z0-9:_.-]`. (AWS has no `.`; device names may.)
    pub name: String,
    /// Its type.
    pub thing_type: Option<String>,
    /// Its billing group.
    pub billing_group: Option<String>,
    /// The groups that it is in.
    pub groups: Vec<String>,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// The policies on its certificate.
    pub policies: Vec<PolicySpec>,
    /// What happens to attributes that are there and differ.
    pub attributes_override: Override,
    /// What happens to a type that is there and differs; [`Override::Merge`] is [`Override::Fail`].
    pub thing_type_override: Override,
    /// What happens to groups that are there and differ.
    pub groups_override: Override,
    /// The certificate is to stay inactive: the device is held until an operator activates it.
    pub inactive: bool,
}

/// A policy: by name alone, or with its document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicySpec {
    /// Its name.
    pub name: String,
    /// Its document, JSON, kept unless a policy of this name is there.
    pub document: Option<String>,
}

/// `OverrideSettings` of the template language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Override {
    /// What is there stays.
    DoNothing,
    /// What is there goes.
    Replace,
    /// Both, and the template's value where they differ.
    Merge,
    /// The device is refused.
    #[default]
    Fail,
}

impl ThingSpec {
    /// A thing with a name and nothing else.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Whether names and values are within the limits of the registry.
    pub fn check(&self) -> Result<(), Refusal> {
        let wrong = |what: String| Err(Refusal::new(Code::ThingInvalid).detail(what));
        if !is_name(&self.name) {
            return wrong(format!("{:?} is no name of a thing", self.name));
        }
        let names = self.thing_type.iter().chain(&self.billing_group);
        if let Some(name) = names.chain(&self.groups).find(|name| !is_name(name)) {
            return wrong(format!("{name:?} is no name of a type or group"));
        }
        if self.groups.len() > MOST_GROUPS {
            return wrong(format!("it is in more than {MOST_GROUPS} groups"));
        }
        check_attributes(&self.attributes).or_else(wrong)?;
        if self.policies.len() > MOST_GROUPS {
            return wrong(format!("it has more than {MOST_GROUPS} policies"));
        }
        let is_policy = |policy: &&PolicySpec| {
            is_policy_name(&policy.name)
                && policy
                    .document
                    .as_ref()
                    .is_none_or(|document| document.len() <= POLICY_MAX)
        };
        match self.policies.iter().find(|policy| !is_policy(policy)) {
            Some(policy) => wrong(format!("{:?} is no policy", policy.name)),
            None => Ok(()),
        }
    }

    /// The thing as it will be, over the one that is there. Pure; written only if that one is still
    /// as it was.
    pub fn over(&self, present: Option<&ThingRecord>) -> Result<ThingValues, Refusal> {
        let policies = |present: &[String]| {
            let named = self.policies.iter().map(|policy| policy.name.clone());
            let all: BTreeSet<_> = named.chain(present.iter().cloned()).collect();
            all.into_iter().collect()
        };
        let Some(present) = present else {
            return Ok(ThingValues {
                thing_type: self.thing_type.clone(),
                billing_group: self.billing_group.clone(),
                groups: sorted(&self.groups),
                attributes: self.attributes.clone(),
                policies: policies(&[]),
            });
        };
        let values = ThingValues {
            thing_type: self.type_over(present)?,
            billing_group: self
                .billing_group
                .clone()
                .or_else(|| present.values.billing_group.clone()),
            groups: self.groups_over(present)?,
            attributes: self.attributes_over(present)?,
            policies: policies(&present.values.policies),
        };
        check_attributes(&values.attributes)
            .map_err(|what| Refusal::new(Code::ThingInvalid).detail(what))?;
        if values.groups.len() > MOST_GROUPS {
            return Err(differs(present, "groups", "would be too many"));
        }
        Ok(values)
    }

    fn type_over(&self, present: &ThingRecord) -> Result<Option<String>, Refusal> {
        let there = &present.values.thing_type;
        let Some(wanted) = &self.thing_type else {
            return Ok(there.clone());
        };
        match (there, self.thing_type_override) {
            (Some(there), Override::DoNothing) => Ok(Some(there.clone())),
            (Some(there), Override::Fail | Override::Merge) if there != wanted => Err(differs(
                present,
                "type",
                &format!("is {there:?}, the template says {wanted:?}"),
            )),
            _ => Ok(Some(wanted.clone())),
        }
    }

    fn groups_over(&self, present: &ThingRecord) -> Result<Vec<String>, Refusal> {
        let (there, wanted) = (sorted(&present.values.groups), sorted(&self.groups));
        match self.groups_override {
            _ if wanted.is_empty() && self.groups_override != Override::Replace => Ok(there),
            Override::DoNothing => Ok(there),
            Override::Replace => Ok(wanted),
            Override::Merge => {
                let all: BTreeSet<_> = there.into_iter().chain(wanted).collect();
                Ok(all.into_iter().collect())
            }
            Override::Fail if there == wanted || there.is_empty() => Ok(wanted),
            Override::Fail => Err(differs(
                present,
                "groups",
                &format!("are {there:?}, the template says {wanted:?}"),
            )),
        }
    }

    fn attributes_over(&self, present: &ThingRecord) -> Result<BTreeMap<String, String>, Refusal> {
        let there = &present.values.attributes;
        match self.attributes_override {
            Override::DoNothing => Ok(there.clone()),
            Override::Replace => Ok(self.attributes.clone()),
            Override::Merge => {
                let mut merged = there.clone();
                merged.extend(self.attributes.clone());
                Ok(merged)
            }
            // What is there is added to; what differs is a conflict.
            Override::Fail => {
                let mut merged = there.clone();
                for (name, value) in &self.attributes {
                    if let Some(other) = there.get(name).filter(|other| *other != value) {
                        return Err(differs(
                            present,
                            "attributes",
                            &format!("have {name}={other}, the template says {value}"),
                        ));
                    }
                    merged.insert(name.clone(), value.clone());
                }
                Ok(merged)
            }
        }
    }
}

/// What a thing has beside its name and its device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ThingValues {
    /// Its type.
    pub thing_type: Option<String>,
    /// Its billing group.
    pub billing_group: Option<String>,
    /// The groups that it is in, in order.
    pub groups: Vec<String>,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// The names of the policies on its certificate, in order.
    pub policies: Vec<String>,
}

fn differs(present: &ThingRecord, what: &str, how: &str) -> Refusal {
    Refusal::new(Code::ThingDiffers).detail(format!("thing {}: its {what} {how}", present.name))
}

fn sorted(names: &[String]) -> Vec<String> {
    let set: BTreeSet<_> = names.iter().cloned().collect();
    set.into_iter().collect()
}

/// Whether attributes are within the limits of the registry.
pub(crate) fn check_attributes(attributes: &BTreeMap<String, String>) -> Result<(), String> {
    if attributes.len() > MOST_ATTRIBUTES {
        return Err(format!("it has more than {MOST_ATTRIBUTES} attributes"));
    }
    let is_name = |name: &str| {
        let character = |byte: u8| byte.is_ascii_alphanumeric() || b"_.,@/:#-".contains(&byte);
        (1..=128).contains(&name.len()) && name.bytes().all(character)
    };
    let is_value = |value: &str| {
        let character = |byte: u8| byte.is_ascii_alphanumeric() || b"_.,@/:#=[]-".contains(&byte);
        value.len() <= 800 && value.bytes().all(character)
    };
    for (name, value) in attributes {
        if !is_name(name) {
            return Err(format!("{name:?} is no name of an attribute"));
        }
        if !is_value(value) {
            return Err(format!("attribute {name} can't have the value {value:?}"));
        }
    }
    Ok(())
}

/// Whether a list of groups is within the limits of the registry, and names each once.
pub(crate) fn check_groups(groups: &[String]) -> Result<(), String> {
    if groups.len() > MOST_GROUPS {
        return Err(format!("it is in more than {MOST_GROUPS} groups"));
    }
    if let Some(name) = groups.iter().find(|name| !is_name(name)) {
        return Err(format!("{name:?} is no name of a group"));
    }
    let twice = groups.iter().enumerate();
    let mut twice = twice.filter(|(at, name)| groups.iter().take(*at).any(|one| one == *name));
    match twice.next() {
        Some((_, name)) => Err(format!("group {name:?} stands twice")),
        None => Ok(()),
    }
}

/// Also what names a type, a group and a billing group.
pub(crate) fn is_name(name: &str) -> bool {
    let character = |byte: u8| byte.is_ascii_alphanumeric() || b":_.-".contains(&byte);
    (1..=128).contains(&name.len()) && name.bytes().all(character)
}

pub(crate) fn is_policy_name(name: &str) -> bool {
    let character = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    (1..=128).contains(&name.len()) && name.bytes().all(character)
}

const MOST_ATTRIBUTES: usize = 50;
const MOST_GROUPS: usize = 10;
pub(crate) const POLICY_MAX: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_registry_can_not_hold_is_refused() {
        type Change = fn(&mut ThingSpec);
        let rows: [(&str, Change); 16] = [
            ("", |_| ()),
            ("", |t| t.name = "a:b_c-D.9".into()),
            ("name", |t| t.name = String::new()),
            ("name", |t| t.name = "a b".into()),
            ("name", |t| t.name = "a/b".into()),
            ("name", |t| t.name = "a\u{430}".into()),
            ("name", |t| t.name = "n".repeat(129)),
            ("type or group", |t| t.thing_type = Some("#".into())),
            ("type or group", |t| t.billing_group = Some("+".into())),
            ("type or group", |t| {
                t.groups = vec!["a".into(), "\0".into()];
            }),
            ("groups", |t| t.groups = vec!["a".into(); 11]),
            ("attribute", |t| {
                t.attributes.insert("a b".into(), "c".into());
            }),
            ("attribute", |t| {
                t.attributes.insert("a".into(), "\"".into());
            }),
            ("attribute", |t| {
                t.attributes.insert("a".into(), "v".repeat(801));
            }),
            ("attributes", |t| {
                let each = (0..51).map(|n| (format!("a{n}"), String::new()));
                t.attributes = each.collect();
            }),
            ("policy", |t| {
                t.policies = vec![PolicySpec {
                    name: "a b".into(),
                    document: None,
                }];
            }),
        ];
        for (what, change) in rows {
            let mut thing = ThingSpec::named("thermo-1");
            change(&mut thing);
            match thing.check() {
                Ok(()) => assert_eq!(what, ""),
                Err(refusal) => {
                    assert_eq!(refusal.code, Code::ThingInvalid);
                    let told = refusal.detail.unwrap();
                    assert!(!what.is_empty() && told.contains(what), "{what}: {told}");
                }
            }
        }
    }
}
