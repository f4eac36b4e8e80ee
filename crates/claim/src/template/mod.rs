//! Provisioning templates (AWS IoT developer guide, "Provisioning templates").
//!
//! A template says what a device becomes: a thing with attributes, type and groups, the state of
//! its certificate, policies, and what the device is told. [`Template::parse`] checks it when it is
//! applied, and says where it is wrong; [`Template::evaluate`] fills it for one device.
//!
//! What a device says is data for ever: a parameter's value is never read again as JSON, as a
//! template or as a policy.

mod document;
mod evaluate;
mod expression;
mod names;
mod read;

use std::collections::BTreeMap;

use document::Document;
use expression::{List, ListKind, Mappings, Name, Text, TextKind};

pub use crate::json::Position;
pub use evaluate::{EvaluationError, EvaluationFault};

/// The longest template, in bytes (the vendor's API model: `templateBody`).
pub const MAX_TEMPLATE: usize = 10_240;

/// A template that has been checked.
#[derive(Debug, Clone)]
pub struct Template {
    parameters: BTreeMap<String, Parameter>,
    mappings: Mappings,
    thing: Option<ThingResource>,
    certificate: CertificateResource,
    policies: Vec<PolicyResource>,
    device_configuration: Vec<(String, Text)>,
    /// Every `Ref`, with where it stands and how one gets there.
    references: Vec<(Position, String, Name)>,
    /// Where `DeviceConfiguration` is, if it says anything.
    configuration_at: Option<Position>,
}

/// One of `Parameters`. All are texts.
#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    at: Position,
    default: Option<String>,
}

#[derive(Debug, Clone)]
struct ThingResource {
    name: Option<Text>,
    attributes: Vec<(String, Text)>,
    thing_type: Option<Text>,
    groups: Option<List>,
    billing_group: Option<Text>,
    overrides: Overrides,
}

#[derive(Debug, Clone)]
struct CertificateResource {
    source: CertificateSource,
    status: Option<Text>,
    status_override: Override,
}

#[derive(Debug, Clone)]
enum CertificateSource {
    Id(Text),
    Request(Text),
    Pem {
        certificate: Text,
        authority: Option<Text>,
    },
}

#[derive(Debug, Clone)]
enum PolicyResource {
    Named(Text),
    /// An object, with functions in it.
    Object(Document),
    /// A text that is a JSON object.
    Text(Text),
}

/// Where a template is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Use {
    /// `RegisterThing` over MQTT: the device gives the parameters.
    Claim,
    /// Just-in-time provisioning: the certificate's subject gives them, and the device hears nothing.
    JustInTime,
}

impl Template {
    /// Reads a template for devices that come by claim or just in time.
    ///
    /// It must have exactly one certificate, whose `CertificateId` is
    /// `{"Ref": "AWS::IoT::Certificate::Id"}`, and at most one thing. What can be known without a
    /// device is checked here: grammar, names, references, maps, indices, and the limits of every
    /// value that depends on nobody.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        read::template(text, read::Form::Device)
    }

    /// Reads a template for bulk registration, where the certificate may also be given as
    /// `CertificateSigningRequest` or `CertificatePem`.
    pub fn parse_bulk(text: &str) -> Result<Self, TemplateError> {
        read::template(text, read::Form::Bulk)
    }

    /// Whether the template can work in this use: whether somebody gives each parameter that it
    /// wants, and somebody hears what it says.
    pub fn check_for(&self, used: Use) -> Result<(), TemplateError> {
        let unfit = |(at, path, name): &(Position, String, Name)| {
            let default = self
                .parameters
                .get(name.as_str())
                .and_then(|p| p.default.as_ref());
            let gives = match (used, name) {
                (_, Name::Pseudo(expression::Pseudo::Id)) => None,
                (Use::Claim, Name::Pseudo(_)) => Some(
                    "a device that comes by claim has no certificate of its own to take it from",
                ),
                (Use::JustInTime, Name::Parameter(_)) => {
                    Some("nobody gives it to a device that comes just in time")
                }
                _ => None,
            };
            let why = gives.filter(|_| default.is_none())?;
            let name = name.as_str();
            Some(TemplateError::new(
                *at,
                path,
                format!("`{name}` has no default, and {why}"),
            ))
        };
        if let Some(error) = self.references.iter().find_map(unfit) {
            return Err(error);
        }
        match self.configuration_at {
            Some(at) if used == Use::JustInTime => Err(TemplateError::new(
                at,
                "DeviceConfiguration",
                "a device that comes just in time gets no answer that could hold it".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// The parameters that the template declares, and their defaults, in alphabetical order.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.parameters
            .iter()
            .map(|(name, parameter)| (name.as_str(), parameter.default.as_deref()))
    }

    /// The groups, type and policies that the template names whatever the device says: those that stand
    /// there as texts. What is worked out is known when a device comes.
    #[must_use]
    pub fn names(&self) -> Names<'_> {
        let mut names = Names::default();
        if let Some(thing) = &self.thing {
            names.thing_type = thing.thing_type.as_ref().and_then(as_literal);
            if let Some(ListKind::Items(items)) = thing.groups.as_ref().map(|list| &list.kind) {
                names.groups = items.iter().flatten().filter_map(as_literal).collect();
            }
        }
        let policies = self.policies.iter().filter_map(|policy| match policy {
            PolicyResource::Named(text) => as_literal(text),
            _ => None,
        });
        names.policies = policies.collect();
        names
    }

    /// What the template makes of one device.
    ///
    /// `parameters` are what the device said, perhaps overridden by a hook; those that the template
    /// doesn't declare are left aside. No parameter can stand in for what the certificate says.
    pub fn evaluate(
        &self,
        parameters: &BTreeMap<String, String>,
        certificate: &CertificateParameters,
    ) -> Result<Evaluated, EvaluationError> {
        evaluate::template(self, parameters, certificate)
    }
}

/// What a template names as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names<'t> {
    /// The thing's groups.
    pub groups: Vec<&'t str>,
    /// The thing's type.
    pub thing_type: Option<&'t str>,
    /// Policies by name; those with a document have none.
    pub policies: Vec<&'t str>,
}

fn as_literal(text: &Text) -> Option<&str> {
    match &text.kind {
        TextKind::Literal(literal) => Some(literal),
        _ => None,
    }
}

/// What a device's certificate gives a template: the subject's attributes, each the first of its
/// kind, and the certificate's id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateParameters {
    /// `AWS::IoT::Certificate::Id`: SHA-256 of the DER, 64 lower-case hexadecimal digits.
    pub id: String,
    /// `::Country` (C).
    pub country: Option<String>,
    /// `::Organization` (O).
    pub organization: Option<String>,
    /// `::OrganizationalUnit` (OU).
    pub organizational_unit: Option<String>,
    /// `::DistinguishedNameQualifier` (dnQualifier).
    pub distinguished_name_qualifier: Option<String>,
    /// `::StateName` (ST).
    pub state_name: Option<String>,
    /// `::CommonName` (CN).
    pub common_name: Option<String>,
    /// `::SerialNumber`: the subject's attribute serialNumber (2.5.4.5), not the certificate's
    /// serial number.
    pub serial_number: Option<String>,
}

/// What a template makes of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluated {
    /// The thing, if the template makes one.
    pub thing: Option<ThingSpec>,
    /// The certificate that the template speaks of.
    pub certificate: CertificateChoice,
    /// Whether the certificate will be good.
    pub certificate_status: CertificateStatus,
    /// What happens to the state of a certificate that has one.
    pub certificate_override: Override,
    /// The policies, in the template's order.
    pub policies: Vec<Policy>,
    /// What the device is told.
    pub device_configuration: BTreeMap<String, String>,
}

/// A thing as the template wants it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ThingSpec {
    /// 1 to 128 of `[a-zA-Z0-9:_-]`. `None` when the template doesn't say: the device's own name.
    pub name: Option<String>,
    /// At most 50, and 3 without a type.
    pub attributes: BTreeMap<String, String>,
    /// The thing type's name.
    pub thing_type: Option<String>,
    /// At most 10 groups, in the template's order, each once.
    pub groups: Vec<String>,
    /// The billing group's name.
    pub billing_group: Option<String>,
    /// What happens where the thing is there already, and differs.
    pub overrides: Overrides,
}

/// `OverrideSettings` of a thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `AttributePayload`.
    pub attributes: Override,
    /// `ThingTypeName`, never [`Override::Merge`].
    pub thing_type: Override,
    /// `ThingGroups`.
    pub groups: Override,
}

/// What happens to a property of a resource that is there already, and differs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Override {
    /// `DO_NOTHING`: it stays as it is.
    DoNothing,
    /// `REPLACE`: it becomes what the template says.
    Replace,
    /// `FAIL`: the request is refused. So it is without a setting.
    #[default]
    Fail,
    /// `MERGE`: both; where both say something, the template.
    Merge,
}

/// Which certificate a template speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateChoice {
    /// By its id. In a template for devices it is always the device's own.
    Id(String),
    /// To be issued for a request (bulk).
    Request {
        /// PKCS#10 as PEM.
        csr_pem: String,
    },
    /// Made elsewhere, under a registered authority (bulk).
    Pem {
        /// The certificate.
        certificate: String,
        /// The authority's, where several have its subject.
        authority: Option<String>,
    },
}

/// `Status` of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CertificateStatus {
    /// `ACTIVE`.
    Active,
    /// `INACTIVE`.
    Inactive,
}

/// A policy for the device's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// One that exists already, by its name.
    Named(String),
    /// One that the template brings, as JSON without spaces. Its name is made from what it says.
    Document(String),
}

/// Why a template can't be used, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {}{message}", prefix(path))]
pub struct TemplateError {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// How one gets there from the top, such as `Resources.thing.Properties.ThingName`. Empty at
    /// the top.
    pub path: String,
    /// What is wrong, and where that helps, what would be right.
    pub message: String,
}

impl TemplateError {
    pub(crate) fn new(at: Position, path: &str, message: String) -> Self {
        Self {
            line: at.line,
            column: at.column,
            path: path.to_owned(),
            message,
        }
    }
}

fn prefix(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!("{path}: ")
    }
}
