//! Filling a template for one device.

use std::cell::Cell;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::document::Document;
use super::expression::{
    List, ListKind, Lookup, Mapped, Mappings, Name, Part, Pseudo, Text, TextKind, index_of,
};
use super::names::{self, Rule};
use super::{
    CertificateChoice, CertificateParameters, CertificateSource, CertificateStatus, Evaluated,
    Parameter, Policy, PolicyResource, Position, Template, ThingResource, ThingSpec,
};
use crate::json::Node;
use crate::message::{MAX_PARAMETER_VALUE, MAX_PAYLOAD};

/// See [`Template::evaluate`].
pub(super) fn template(
    template: &Template,
    given: &BTreeMap<String, String>,
    certificate: &CertificateParameters,
) -> Result<Evaluated, EvaluationError> {
    let values = Values::new(&template.parameters, &template.mappings, given, certificate);
    // 1. The certificate has every attribute that the template declares (developer guide,
    //    "Just-in-time provisioning"), used or not.
    for (name, parameter) in &template.parameters {
        if let Some(pseudo) = Pseudo::from_name(name) {
            values.named(&Name::Pseudo(pseudo), parameter.at)?;
        }
    }
    // 2. The resources.
    let thing = template
        .thing
        .as_ref()
        .map(|thing| thing.evaluate(&values))
        .transpose()?;
    let policies = template
        .policies
        .iter()
        .map(|policy| policy.evaluate(&values));
    let policies = policies.collect::<Result<_, _>>()?;
    let status = template.certificate.status.as_ref();
    // 3. What the device is told.
    let mut device_configuration = BTreeMap::new();
    for (name, text) in &template.device_configuration {
        device_configuration.insert(name.clone(), values.string(text)?);
    }
    Ok(Evaluated {
        thing,
        certificate: template.certificate.source.evaluate(&values)?,
        certificate_status: status
            .map_or(Ok(CertificateStatus::Active), |text| values.status(text))?,
        certificate_override: template.certificate.status_override,
        policies,
        device_configuration,
    })
}

impl ThingResource {
    fn evaluate(&self, values: &Values<'_>) -> Result<ThingSpec, EvaluationError> {
        let optional = |text: &Option<Text>, rule| {
            let text = text.as_ref();
            text.map(|text| values.ruled(text, rule)).transpose()
        };
        let mut attributes = BTreeMap::new();
        for (name, text) in &self.attributes {
            attributes.insert(name.clone(), values.ruled(text, names::ATTRIBUTE_VALUE)?);
        }
        Ok(ThingSpec {
            name: optional(&self.name, names::THING)?,
            attributes,
            thing_type: optional(&self.thing_type, names::THING_TYPE)?,
            groups: self
                .groups
                .as_ref()
                .map_or(Ok(Vec::new()), |list| values.groups(list))?,
            billing_group: optional(&self.billing_group, names::BILLING_GROUP)?,
            overrides: self.overrides,
        })
    }
}

impl CertificateSource {
    fn evaluate(&self, values: &Values<'_>) -> Result<CertificateChoice, EvaluationError> {
        Ok(match self {
            Self::Id(text) => CertificateChoice::Id(values.string(text)?),
            Self::Request(text) => CertificateChoice::Request {
                csr_pem: values.string(text)?,
            },
            Self::Pem {
                certificate,
                authority,
            } => CertificateChoice::Pem {
                certificate: values.string(certificate)?,
                authority: authority
                    .as_ref()
                    .map(|text| values.string(text))
                    .transpose()?,
            },
        })
    }
}

impl PolicyResource {
    pub(super) fn evaluate(&self, values: &Values<'_>) -> Result<Policy, EvaluationError> {
        match self {
            Self::Named(text) => Ok(Policy::Named(values.ruled(text, names::POLICY)?)),
            Self::Object(document) => {
                let mut out = String::new();
                document.write(&mut out, &mut |text| values.harmless(text))?;
                Ok(Policy::Document(out))
            }
            Self::Text(text) => values.policy(text).map(Policy::Document),
        }
    }
}

/// What names stand for.
pub(super) struct Values<'v> {
    declared: &'v BTreeMap<String, Parameter>,
    mappings: &'v Mappings,
    given: &'v BTreeMap<String, String>,
    certificate: &'v CertificateParameters,
    /// How many more bytes the whole evaluation may make: a text in a text in a text can double
    /// each time.
    room: Cell<usize>,
}

/// A text in pieces, of which each says whether it came with the device.
type Pieces = Vec<Piece>;

#[derive(Clone)]
struct Piece {
    text: String,
    /// From a parameter or the certificate, not from the template.
    is_given: bool,
}

impl<'v> Values<'v> {
    pub(super) fn new(
        declared: &'v BTreeMap<String, Parameter>,
        mappings: &'v Mappings,
        given: &'v BTreeMap<String, String>,
        certificate: &'v CertificateParameters,
    ) -> Self {
        let room = Cell::new(MAX_PAYLOAD);
        Self {
            declared,
            mappings,
            given,
            certificate,
            room,
        }
    }

    /// A text as it is.
    pub(super) fn string(&self, text: &Text) -> Result<String, EvaluationError> {
        Ok(flat(&self.text(text)?))
    }

    /// A text that must keep a rule.
    pub(super) fn ruled(&self, text: &Text, rule: Rule) -> Result<String, EvaluationError> {
        let value = self.string(text)?;
        match rule.broken_by(&value) {
            None => Ok(value),
            Some(broken) => Err(fault(text.at, EvaluationFault::Name(broken))),
        }
    }

    pub(super) fn status(&self, text: &Text) -> Result<CertificateStatus, EvaluationError> {
        let value = self.string(text)?;
        match value.to_ascii_uppercase().as_str() {
            "ACTIVE" => Ok(CertificateStatus::Active),
            "INACTIVE" => Ok(CertificateStatus::Inactive),
            _ => {
                let broken = "a certificate's Status is Active or Inactive".to_owned();
                Err(fault(text.at, EvaluationFault::Name(broken)))
            }
        }
    }

    pub(super) fn groups(&self, list: &List) -> Result<Vec<String>, EvaluationError> {
        let mut groups = Vec::new();
        for item in self.list(list)? {
            let group = item.map(|pieces| flat(&pieces)).unwrap_or_default();
            if let Some(broken) = names::GROUP.broken_by(&group) {
                return Err(fault(list.at, EvaluationFault::Name(broken)));
            }
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        if groups.len() > names::GROUPS {
            let broken = format!("a thing is in at most {} groups", names::GROUPS);
            return Err(fault(list.at, EvaluationFault::Name(broken)));
        }
        Ok(groups)
    }

    /// A text for a policy. What came with the device must not be able to widen it: a serial number
    /// `*` would open every topic.
    fn harmless(&self, text: &Text) -> Result<String, EvaluationError> {
        let pieces = self.text(text)?;
        check_harmless(&pieces, text.at)?;
        Ok(flat(&pieces))
    }

    /// A policy that is written as one text. It is parsed with a mark in place of whatever came with
    /// the device, and marks are filled afterwards: a value can change neither what is a text
    /// nor what is a member.
    pub(super) fn policy(&self, text: &Text) -> Result<String, EvaluationError> {
        let pieces = self.text(text)?;
        check_harmless(&pieces, text.at)?;
        let broken = |cause: String| fault(text.at, EvaluationFault::PolicyDocument(cause));
        let (mut marked, mut values) = (String::new(), Vec::new());
        for piece in &pieces {
            if piece.is_given {
                marked.push(MARK);
                values.push(piece.text.as_str());
            } else {
                marked.push_str(&piece.text);
            }
        }
        let document = parse_policy(&marked).map_err(broken)?;
        let mut unfilled = values.into_iter();
        let mut out = String::new();
        document
            .write(&mut out, &mut |text| match &text.kind {
                TextKind::Literal(text) => fill(text, &mut unfilled).ok_or_else(too_many_marks),
                _ => Err(too_many_marks()),
            })
            .map_err(broken)?;
        // A mark in a member's name, or one that the template's author wrote.
        if unfilled.next().is_some() || out.contains(MARK) {
            return Err(broken(
                "a value stands where only the template may say something".to_owned(),
            ));
        }
        Ok(out)
    }

    fn text(&self, text: &Text) -> Result<Pieces, EvaluationError> {
        let pieces = match &text.kind {
            TextKind::Literal(literal) => vec![own(literal)],
            TextKind::Ref(name) => vec![given(&self.named(name, text.at)?)],
            TextKind::Join { delimiter, list } => self.join(delimiter, list)?,
            TextKind::Select { index, list } => self.select(index, list)?,
            TextKind::FindInMap(lookup) => match self.lookup(lookup)? {
                Mapped::Text(found) => vec![own(found)],
                Mapped::List(_) => return Err(fault(text.at, EvaluationFault::MapKind("a list"))),
            },
            TextKind::Sub { parts, variables } => self.sub(parts, variables, text.at)?,
            TextKind::Base64(inner) => {
                let pieces = self.text(inner)?;
                let is_given = pieces.iter().any(|piece| piece.is_given);
                vec![Piece {
                    text: STANDARD.encode(flat(&pieces)),
                    is_given,
                }]
            }
        };
        let made = pieces.iter().map(|piece| piece.text.len()).sum();
        let left = self.room.get().checked_sub(made);
        self.room.set(
            left.ok_or_else(|| fault(text.at, EvaluationFault::TooLong { most: MAX_PAYLOAD }))?,
        );
        Ok(pieces)
    }

    fn named(&self, name: &Name, at: Position) -> Result<String, EvaluationError> {
        let default = || {
            self.declared
                .get(name.as_str())
                .and_then(|p| p.default.as_deref())
        };
        let found = match name {
            Name::Parameter(name) => self.given.get(name).map(String::as_str),
            Name::Pseudo(pseudo) => self.certificate.get(*pseudo),
        };
        let value = found.or_else(default).ok_or_else(|| {
            let name = name.as_str().to_owned();
            fault(at, EvaluationFault::Missing { name })
        })?;
        if value.len() > MAX_PARAMETER_VALUE {
            return Err(fault(
                at,
                EvaluationFault::TooLong {
                    most: MAX_PARAMETER_VALUE,
                },
            ));
        }
        Ok(value.to_owned())
    }

    fn join(&self, delimiter: &Text, list: &List) -> Result<Pieces, EvaluationError> {
        let delimiter = self.text(delimiter)?;
        let mut joined = Pieces::new();
        for (at, item) in self.list(list)?.into_iter().enumerate() {
            if at > 0 {
                joined.extend_from_slice(&delimiter);
            }
            joined.extend(item.unwrap_or_default());
        }
        Ok(joined)
    }

    fn select(&self, index: &Text, list: &List) -> Result<Pieces, EvaluationError> {
        let number = self.string(index)?;
        let number = index_of(&number).ok_or_else(|| fault(index.at, EvaluationFault::NoIndex))?;
        let mut items = self.list(list)?;
        let length = items.len();
        if number >= length {
            return Err(fault(index.at, EvaluationFault::Outside { length }));
        }
        let chosen = items.swap_remove(number);
        chosen.ok_or_else(|| fault(index.at, EvaluationFault::Null))
    }

    fn lookup(&self, lookup: &Lookup) -> Result<&'v Mapped, EvaluationError> {
        let missing = |text: &Text| fault(text.at, EvaluationFault::NotInMap);
        let map = self.mappings.get(&self.string(&lookup.map)?);
        let row = map
            .ok_or_else(|| missing(&lookup.map))?
            .get(&self.string(&lookup.first)?);
        let value = row
            .ok_or_else(|| missing(&lookup.first))?
            .get(&self.string(&lookup.second)?);
        value.ok_or_else(|| missing(&lookup.second))
    }

    fn sub(
        &self,
        parts: &[Part],
        variables: &BTreeMap<String, Text>,
        at: Position,
    ) -> Result<Pieces, EvaluationError> {
        let mut pieces = Pieces::new();
        for part in parts {
            match part {
                Part::Literal(literal) => pieces.push(own(literal)),
                Part::Ref(name) => pieces.push(given(&self.named(name, at)?)),
                Part::Variable(name) => {
                    let variable = variables.get(name);
                    pieces.extend(variable.map_or(Ok(Pieces::new()), |text| self.text(text))?);
                }
            }
        }
        Ok(pieces)
    }

    /// The items; `None` is null.
    fn list(&self, list: &List) -> Result<Vec<Option<Pieces>>, EvaluationError> {
        match &list.kind {
            ListKind::Items(items) => {
                let items = items
                    .iter()
                    .map(|item| item.as_ref().map(|text| self.text(text)).transpose());
                items.collect()
            }
            ListKind::Split { delimiter, text } => self.split(delimiter, text),
            ListKind::FindInMap(lookup) => match self.lookup(lookup)? {
                Mapped::List(items) => Ok(items.iter().map(|item| Some(vec![own(item)])).collect()),
                Mapped::Text(_) => Err(fault(list.at, EvaluationFault::MapKind("a text"))),
            },
        }
    }

    fn split(&self, delimiter: &Text, text: &Text) -> Result<Vec<Option<Pieces>>, EvaluationError> {
        let at = delimiter.at;
        let delimiter = self.string(delimiter)?;
        if delimiter.is_empty() {
            let broken = "the delimiter of Fn::Split is empty".to_owned();
            return Err(fault(at, EvaluationFault::Name(broken)));
        }
        let pieces = self.text(text)?;
        // Where a piece ends is lost in the splitting, so one given piece makes all of them given.
        let is_given = pieces.iter().any(|piece| piece.is_given);
        let text = flat(&pieces);
        let piece = |text: &str| {
            Some(vec![Piece {
                text: text.to_owned(),
                is_given,
            }])
        };
        Ok(text.split(&delimiter).map(piece).collect())
    }
}

impl CertificateParameters {
    fn get(&self, pseudo: Pseudo) -> Option<&str> {
        match pseudo {
            Pseudo::Id => Some(&self.id),
            Pseudo::Country => self.country.as_deref(),
            Pseudo::Organization => self.organization.as_deref(),
            Pseudo::OrganizationalUnit => self.organizational_unit.as_deref(),
            Pseudo::DistinguishedNameQualifier => self.distinguished_name_qualifier.as_deref(),
            Pseudo::StateName => self.state_name.as_deref(),
            Pseudo::CommonName => self.common_name.as_deref(),
            Pseudo::SerialNumber => self.serial_number.as_deref(),
        }
    }
}

fn own(text: &str) -> Piece {
    Piece {
        text: text.to_owned(),
        is_given: false,
    }
}

fn given(text: &str) -> Piece {
    Piece {
        text: text.to_owned(),
        is_given: true,
    }
}

fn flat(pieces: &[Piece]) -> String {
    pieces.iter().map(|piece| piece.text.as_str()).collect()
}

// --- policies -----------------------------------------------------------------------------------

/// Stands for a value while a policy is parsed. Private use: no template has a reason to contain it,
/// and JSON has no place for it but inside a text.
const MARK: char = '\u{10fffd}';

/// Characters that mean more than themselves in a policy or in a topic filter.
const WILD: &[char] = &['*', '?', '#', '+', '$'];

fn check_harmless(pieces: &[Piece], at: Position) -> Result<(), EvaluationError> {
    let wild = |c: char| WILD.contains(&c) || c.is_control() || c == MARK;
    let mut given = pieces.iter().filter(|piece| piece.is_given);
    if given.any(|piece| piece.text.contains(wild)) {
        return Err(fault(at, EvaluationFault::PolicyWildcard));
    }
    Ok(())
}

/// A policy document that is written as a text.
fn parse_policy(text: &str) -> Result<Document, String> {
    let node = Node::root(text).map_err(|error| error.to_string())?;
    // Without a scope: a text that came out of a template is not one itself.
    let document = Document::read(None, &node, 0).map_err(|error| error.to_string())?;
    document.check_policy()?;
    Ok(document)
}

/// Puts the next values in the place of marks.
fn fill<'v>(text: &str, values: &mut impl Iterator<Item = &'v str>) -> Option<String> {
    let mut parts = text.split(MARK);
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        filled.push_str(values.next()?);
        filled.push_str(part);
    }
    Some(filled)
}

fn too_many_marks() -> String {
    "the document contains a character that is reserved".to_owned()
}

// --- errors -------------------------------------------------------------------------------------

/// Why a template can't be filled for a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template {at}: {fault}")]
pub struct EvaluationError {
    /// Where in the template.
    pub at: Position,
    /// What is wrong.
    pub fault: EvaluationFault,
}

/// What is wrong with a template's values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationFault {
    /// Nobody gave a value, and there is no default.
    #[error("nobody gave a value for `{name}`, and it has no default")]
    Missing {
        /// The parameter.
        name: String,
    },
    /// A name or value breaks its rule. The sentence says which.
    #[error("{0}")]
    Name(String),
    /// `Fn::Select` with an index that is no number.
    #[error("the index of Fn::Select is not 0, 1, 2 or so on")]
    NoIndex,
    /// `Fn::Select` outside its list.
    #[error("the index of Fn::Select is outside its list of {length}")]
    Outside {
        /// How long the list is.
        length: usize,
    },
    /// `Fn::Select` chose null.
    #[error("Fn::Select chose a null")]
    Null,
    /// `Fn::FindInMap` found nothing.
    #[error("Fn::FindInMap finds nothing under this key")]
    NotInMap,
    /// `Fn::FindInMap` found another kind of value.
    #[error("Fn::FindInMap found {0}, which does not fit here")]
    MapKind(&'static str),
    /// A value, or all of them together.
    #[error("what comes out is longer than {most} bytes")]
    TooLong {
        /// How long it may be.
        most: usize,
    },
    /// A value from the device would widen a policy.
    #[error("a value with one of * ? # + $ or a control character can't go into a policy")]
    PolicyWildcard,
    /// The policy's text is no policy.
    #[error("the policy's document: {0}")]
    PolicyDocument(String),
}

impl EvaluationError {
    /// The catalogue's word for it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match &self.fault {
            EvaluationFault::Missing { .. } => "parameter-missing",
            EvaluationFault::PolicyDocument(_) => "template-invalid",
            _ => "parameters-invalid",
        }
    }

    /// What the vendor's words name: the parameter that nobody gave.
    #[must_use]
    pub fn about(&self) -> &str {
        match &self.fault {
            EvaluationFault::Missing { name } => name,
            _ => "",
        }
    }
}

fn fault(at: Position, fault: EvaluationFault) -> EvaluationError {
    EvaluationError { at, fault }
}
