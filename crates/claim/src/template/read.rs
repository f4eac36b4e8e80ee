//! Reading a template, and checking whatever can be checked before a device comes.

use std::collections::BTreeMap;

use super::document::Document;
use super::evaluate::Values;
use super::expression::{
    List, ListKind, Mapped, Mappings, Name, Part, Pseudo, Scope, Text, TextKind,
};
use super::names::{self, Rule};
use super::{
    CertificateParameters, CertificateResource, CertificateSource, EvaluationError,
    EvaluationFault, MAX_TEMPLATE, Override, Overrides, Parameter, PolicyResource, Position,
    Template, TemplateError, ThingResource,
};
use crate::json::{Kind, Member, Node};

/// Which certificates a template may speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The device's own alone.
    Device,
    /// Also one to be issued, and one made elsewhere.
    Bulk,
}

/// See [`Template::parse`].
pub(super) fn template(text: &str, form: Form) -> Result<Template, TemplateError> {
    if text.len() > MAX_TEMPLATE {
        let (at, length) = (Position { line: 1, column: 1 }, text.len());
        let message = format!("a template has at most {MAX_TEMPLATE} bytes; this one has {length}");
        return Err(TemplateError::new(at, "", message));
    }
    let root = Node::root(text)?;
    let mut sections = Section::of(
        &root,
        &["Parameters", "Mappings", "Resources", "DeviceConfiguration"],
        &["AWSTemplateFormatVersion", "Description", "Version"],
    )?;
    // Names first: whatever follows refers to them, in whichever order the sections stand.
    let mut scope = Scope {
        declared: sections
            .take("Parameters")
            .map_or(Ok(BTreeMap::new()), |node| parameters(&node))?,
        mappings: sections
            .take("Mappings")
            .map_or(Ok(Mappings::new()), |node| mappings(&node))?,
        references: Vec::new(),
    };
    let node = sections.take("Resources");
    let node = node.ok_or_else(|| root.fault("a template has `Resources`"))?;
    let resources = resources(&mut scope, &node, form)?;
    let configuration = sections.take("DeviceConfiguration");
    let device_configuration = configuration.as_ref().map_or(Ok(Vec::new()), |node| {
        device_configuration(&mut scope, node)
    })?;
    Ok(Template {
        parameters: scope.declared,
        mappings: scope.mappings,
        thing: resources.thing,
        certificate: resources.certificate,
        policies: resources.policies,
        configuration_at: configuration
            .filter(|_| !device_configuration.is_empty())
            .map(|n| n.at()),
        device_configuration,
        references: scope.references,
    })
}

// --- the sections -------------------------------------------------------------------------------

fn parameters(node: &Node<'_>) -> Result<BTreeMap<String, Parameter>, TemplateError> {
    let mut parameters = BTreeMap::new();
    for Member { name, key, value } in node.members()? {
        if name.is_empty() {
            return Err(key.fault("a parameter has a name"));
        }
        if name.starts_with(Pseudo::PREFIX) && Pseudo::from_name(&name).is_none() {
            let known: Vec<_> = Pseudo::ALL.iter().map(|pseudo| pseudo.name()).collect();
            let known = known.join(", ");
            return Err(key.fault(format!(
                "`{name}` is no pseudo parameter; there are {known}"
            )));
        }
        let mut section = Section::of(&value, &["Type", "Default"], &["Description"])?;
        let kind = section
            .take("Type")
            .ok_or_else(|| value.fault("a parameter has a `Type`"))?;
        if kind.text()? != "String" {
            return Err(kind.fault("parameters are of the type `String`, and of no other"));
        }
        let default = section
            .take("Default")
            .map(|node| node.text())
            .transpose()?;
        parameters.insert(
            name,
            Parameter {
                at: key.at(),
                default,
            },
        );
    }
    Ok(parameters)
}

fn mappings(node: &Node<'_>) -> Result<Mappings, TemplateError> {
    let mut maps = Mappings::new();
    for map in node.members()? {
        let mut rows = BTreeMap::new();
        for row in plain(&map.value)? {
            let mut values = BTreeMap::new();
            for value in plain(&row.value)? {
                values.insert(value.name, mapped(&value.value)?);
            }
            rows.insert(row.name, values);
        }
        maps.insert(map.name, rows);
    }
    Ok(maps)
}

/// Members of which none calls a function.
fn plain<'t>(node: &Node<'t>) -> Result<Vec<Member<'t>>, TemplateError> {
    let members = node.members()?;
    let call = members
        .iter()
        .find(|member| member.name == "Ref" || member.name.starts_with("Fn:"));
    match call {
        Some(member) => Err(member
            .key
            .fault("`Mappings` can't contain functions or parameters")),
        None => Ok(members),
    }
}

fn mapped(node: &Node<'_>) -> Result<Mapped, TemplateError> {
    match node.kind() {
        Kind::Array => {
            let elements = node.elements()?;
            let texts = elements.iter().map(Node::text).collect::<Result<_, _>>()?;
            Ok(Mapped::List(texts))
        }
        Kind::Object => {
            plain(node)?;
            Err(node.fault("a map has two levels of keys, and texts or lists of texts below"))
        }
        _ => node.text().map(Mapped::Text),
    }
}

fn device_configuration(
    scope: &mut Scope,
    node: &Node<'_>,
) -> Result<Vec<(String, Text)>, TemplateError> {
    let members = node.members()?.into_iter();
    let members = members.map(|member| Ok((member.name, scope.text(&member.value, 0)?)));
    members.collect()
}

#[derive(Default)]
struct Found {
    thing: Option<ThingResource>,
    certificate: Option<CertificateResource>,
    policies: Vec<PolicyResource>,
}

struct Resources {
    thing: Option<ThingResource>,
    certificate: CertificateResource,
    policies: Vec<PolicyResource>,
}

fn resources(scope: &mut Scope, node: &Node<'_>, form: Form) -> Result<Resources, TemplateError> {
    let mut found = Found::default();
    for Member { key, value, .. } in node.members()? {
        let mut resource = Section::of(&value, &["Type", "Properties", "OverrideSettings"], &[])?;
        let kind = resource
            .take("Type")
            .ok_or_else(|| value.fault("a resource has a `Type`"))?;
        let properties = resource.take("Properties");
        let properties = properties.ok_or_else(|| value.fault("a resource has `Properties`"))?;
        let overrides = resource.take("OverrideSettings");
        match kind.text()?.as_str() {
            "AWS::IoT::Thing" if found.thing.is_some() => {
                return Err(key.fault("a template makes at most one thing; this is the second"));
            }
            "AWS::IoT::Certificate" if found.certificate.is_some() => {
                return Err(
                    key.fault("only one certificate resource can be defined; this is the second")
                );
            }
            "AWS::IoT::Thing" => {
                found.thing = Some(thing(scope, &properties, overrides.as_ref())?);
            }
            "AWS::IoT::Certificate" => {
                found.certificate =
                    Some(certificate(scope, &properties, overrides.as_ref(), form)?);
            }
            "AWS::IoT::Policy" => {
                if let Some(overrides) = overrides {
                    return Err(overrides.fault("a policy has no `OverrideSettings`"));
                }
                found.policies.push(policy(scope, &properties)?);
            }
            other => {
                return Err(kind.fault(format!(
                    "`{other}` is no type of resource; there are AWS::IoT::Thing, \
                     AWS::IoT::Certificate and AWS::IoT::Policy"
                )));
            }
        }
    }
    let certificate = found.certificate;
    Ok(Resources {
        thing: found.thing,
        certificate: certificate
            .ok_or_else(|| node.fault("a template must have a certificate resource"))?,
        policies: found.policies,
    })
}

// --- the resources ------------------------------------------------------------------------------

fn thing(
    scope: &mut Scope,
    node: &Node<'_>,
    overrides: Option<&Node<'_>>,
) -> Result<ThingResource, TemplateError> {
    let known = [
        "ThingName",
        "AttributePayload",
        "ThingTypeName",
        "ThingGroups",
        "BillingGroup",
    ];
    let mut section = Section::of(node, &known, &[])?;
    let payload = section.take("AttributePayload");
    let thing = ThingResource {
        name: section.ruled(scope, "ThingName", names::THING)?,
        attributes: payload
            .as_ref()
            .map_or(Ok(Vec::new()), |node| attributes(scope, node))?,
        thing_type: section.ruled(scope, "ThingTypeName", names::THING_TYPE)?,
        groups: section
            .take("ThingGroups")
            .map(|node| groups(scope, &node))
            .transpose()?,
        billing_group: section.ruled(scope, "BillingGroup", names::BILLING_GROUP)?,
        overrides: overrides.map_or(Ok(Overrides::default()), thing_overrides)?,
    };
    let most = match thing.thing_type {
        Some(_) => names::ATTRIBUTES_WITH_TYPE,
        None => names::ATTRIBUTES_WITHOUT_TYPE,
    };
    match payload {
        Some(node) if thing.attributes.len() > most => Err(node.fault(format!(
            "a thing has at most {} attributes, and {} if it has no type",
            names::ATTRIBUTES_WITH_TYPE,
            names::ATTRIBUTES_WITHOUT_TYPE,
        ))),
        _ => Ok(thing),
    }
}

fn attributes(scope: &mut Scope, node: &Node<'_>) -> Result<Vec<(String, Text)>, TemplateError> {
    let mut attributes = Vec::new();
    for Member { name, key, value } in node.members()? {
        if let Some(broken) = names::ATTRIBUTE.broken_by(&name) {
            return Err(key.fault(broken));
        }
        let text = scope.text(&value, 0)?;
        check_rule(scope, &value, &text, names::ATTRIBUTE_VALUE)?;
        attributes.push((name, text));
    }
    Ok(attributes)
}

fn groups(scope: &mut Scope, node: &Node<'_>) -> Result<List, TemplateError> {
    let list = scope.whole_list(node, 0)?;
    if let ListKind::Items(items) = &list.kind {
        for (item, node) in items.iter().zip(node.elements()?) {
            if let Some(text) = item {
                check_rule(scope, &node, text, names::GROUP)?;
            }
        }
    }
    if is_constant(&list) {
        check(scope, node, |values| values.groups(&list))?;
    }
    Ok(list)
}

fn thing_overrides(node: &Node<'_>) -> Result<Overrides, TemplateError> {
    // The guide's list has the one spelling and its examples the other.
    let known = ["AttributePayload", "ThingTypeName", "ThingGroups"];
    let also = ["ATTRIBUTE_PAYLOAD", "THING_TYPE_NAME", "THING_GROUPS"];
    let mut section = Section::of(node, &known, &also)?;
    let mut read = |name, also, may_merge| {
        let node = section.take(name).or_else(|| section.take(also));
        node.map_or(Ok(Override::Fail), |node| {
            override_setting(&node, may_merge)
        })
    };
    Ok(Overrides {
        attributes: read("AttributePayload", "ATTRIBUTE_PAYLOAD", true)?,
        thing_type: read("ThingTypeName", "THING_TYPE_NAME", false)?,
        groups: read("ThingGroups", "THING_GROUPS", true)?,
    })
}

fn override_setting(node: &Node<'_>, may_merge: bool) -> Result<Override, TemplateError> {
    match node.text()?.as_str() {
        "DO_NOTHING" => Ok(Override::DoNothing),
        "REPLACE" => Ok(Override::Replace),
        "FAIL" => Ok(Override::Fail),
        "MERGE" if may_merge => Ok(Override::Merge),
        "MERGE" => Err(node.fault("MERGE is for AttributePayload and ThingGroups alone")),
        other => {
            let merge = if may_merge { ", MERGE" } else { "" };
            Err(node.fault(format!(
                "`{other}` is none of DO_NOTHING, REPLACE, FAIL{merge}"
            )))
        }
    }
}

fn certificate(
    scope: &mut Scope,
    node: &Node<'_>,
    overrides: Option<&Node<'_>>,
    form: Form,
) -> Result<CertificateResource, TemplateError> {
    let known = [
        "CertificateId",
        "CertificateSigningRequest",
        "CertificatePem",
        "CACertificatePem",
        "Status",
    ];
    // The guide spells `CertificateID` in its list of properties. `ThingPrincipalType` says whether
    // a certificate may have several things; here it has one.
    let mut section = Section::of(node, &known, &["CertificateID", "ThingPrincipalType"])?;
    let source = certificate_source(scope, node, &mut section, form)?;
    if let Some(kind) = section.take("ThingPrincipalType")
        && !["EXCLUSIVE_THING", "NON_EXCLUSIVE_THING"].contains(&kind.text()?.as_str())
    {
        return Err(kind.fault("this is neither EXCLUSIVE_THING nor NON_EXCLUSIVE_THING"));
    }
    let status_node = section.take("Status");
    let status = status_node
        .as_ref()
        .map(|node| scope.text(node, 0))
        .transpose()?;
    if let (Some(node), Some(text)) = (&status_node, &status)
        && is_constant_text(text)
    {
        check(scope, node, |values| values.status(text))?;
    }
    let status_override = match overrides {
        Some(node) => {
            let mut section = Section::of(node, &["Status"], &[])?;
            let setting = section.take("Status");
            setting.map_or(Ok(Override::Fail), |node| override_setting(&node, false))?
        }
        None => Override::Fail,
    };
    Ok(CertificateResource {
        source,
        status,
        status_override,
    })
}

fn certificate_source(
    scope: &mut Scope,
    node: &Node<'_>,
    section: &mut Section<'_>,
    form: Form,
) -> Result<CertificateSource, TemplateError> {
    let id = section
        .take("CertificateId")
        .or_else(|| section.take("CertificateID"));
    let request = section.take("CertificateSigningRequest");
    let certificate = section.take("CertificatePem");
    let authority = section.take("CACertificatePem");
    let one = "a certificate is given by exactly one of CertificateId, CertificateSigningRequest \
               and CertificatePem";
    let bulk = "only bulk registration takes this; a device that comes by itself shows its \
                certificate: \"CertificateId\": {\"Ref\": \"AWS::IoT::Certificate::Id\"}";
    match (id, request, certificate, authority) {
        (_, Some(other), ..) | (_, _, Some(other), _) | (.., Some(other))
            if form == Form::Device =>
        {
            Err(other.fault(bulk))
        }
        (Some(id), None, None, None) => {
            let text = scope.text(&id, 0)?;
            let own = matches!(&text.kind, TextKind::Ref(Name::Pseudo(Pseudo::Id)));
            if form == Form::Device && !own {
                return Err(
                    id.fault("CertificateId must be {\"Ref\": \"AWS::IoT::Certificate::Id\"}")
                );
            }
            Ok(CertificateSource::Id(text))
        }
        (None, Some(request), None, None) => {
            Ok(CertificateSource::Request(scope.text(&request, 0)?))
        }
        (None, None, Some(certificate), authority) => Ok(CertificateSource::Pem {
            certificate: scope.text(&certificate, 0)?,
            authority: authority.map(|node| scope.text(&node, 0)).transpose()?,
        }),
        _ => Err(node.fault(one)),
    }
}

fn policy(scope: &mut Scope, node: &Node<'_>) -> Result<PolicyResource, TemplateError> {
    let mut section = Section::of(node, &["PolicyName", "PolicyDocument"], &[])?;
    match (section.take("PolicyName"), section.take("PolicyDocument")) {
        (Some(name), None) => {
            let text = scope.text(&name, 0)?;
            check_rule(scope, &name, &text, names::POLICY)?;
            Ok(PolicyResource::Named(text))
        }
        (None, Some(document)) => policy_document(scope, &document),
        _ => {
            Err(node.fault("a policy has a PolicyName or a PolicyDocument, not both and not none"))
        }
    }
}

fn policy_document(scope: &mut Scope, node: &Node<'_>) -> Result<PolicyResource, TemplateError> {
    if node.kind() == Kind::Object && !super::expression::is_function(node)? {
        let document = Document::read(Some(scope), node, 0)?;
        document
            .check_policy()
            .map_err(|broken| node.fault(broken))?;
        return Ok(PolicyResource::Object(document));
    }
    let text = scope.text(node, 0)?;
    if is_constant_text(&text) {
        check(scope, node, |values| values.policy(&text))?;
    } else {
        try_policy(scope, node, &text)?;
    }
    Ok(PolicyResource::Text(text))
}

/// Tries a policy's text on a device that says `x` to everything, so that a comma too many is found
/// now and not by the first device. Only what is wrong with the document counts: a map that has no
/// `x` is not at fault.
fn try_policy(scope: &Scope, node: &Node<'_>, text: &Text) -> Result<(), TemplateError> {
    let x = || Some("x".to_owned());
    let somebody = scope
        .declared
        .keys()
        .map(|name| (name.clone(), "x".to_owned()))
        .collect();
    let something = CertificateParameters {
        id: "x".to_owned(),
        country: x(),
        organization: x(),
        organizational_unit: x(),
        distinguished_name_qualifier: x(),
        state_name: x(),
        common_name: x(),
        serial_number: x(),
    };
    let values = Values::new(&scope.declared, &scope.mappings, &somebody, &something);
    match values.policy(text) {
        Err(EvaluationError {
            at,
            fault: fault @ EvaluationFault::PolicyDocument(_),
        }) => Err(TemplateError::new(at, node.path(), fault.to_string())),
        _ => Ok(()),
    }
}

// --- helpers ------------------------------------------------------------------------------------

/// An object whose names are known.
struct Section<'t>(Vec<Member<'t>>);

impl<'t> Section<'t> {
    /// The members of `node`, which are all of `known` or `tolerated`.
    fn of(node: &Node<'t>, known: &[&str], tolerated: &[&str]) -> Result<Self, TemplateError> {
        let members = node.members()?;
        for Member { name, key, value } in &members {
            if !known.contains(&name.as_str()) && !tolerated.contains(&name.as_str()) {
                let known = known.join(", ");
                return Err(key.fault(format!("`{name}` is not known here; there are {known}")));
            }
            if value.kind() == Kind::Null {
                return Err(value.fault(format!("`{name}` cannot be null")));
            }
        }
        Ok(Self(members))
    }

    fn take(&mut self, name: &str) -> Option<Node<'t>> {
        let at = self.0.iter().position(|member| member.name == name)?;
        Some(self.0.swap_remove(at).value)
    }

    /// A text that must keep a rule.
    fn ruled(
        &mut self,
        scope: &mut Scope,
        name: &str,
        rule: Rule,
    ) -> Result<Option<Text>, TemplateError> {
        let Some(node) = self.take(name) else {
            return Ok(None);
        };
        let text = scope.text(&node, 0)?;
        check_rule(scope, &node, &text, rule)?;
        Ok(Some(text))
    }
}

/// Checks a text that is the same for every device.
fn check_rule(
    scope: &Scope,
    node: &Node<'_>,
    text: &Text,
    rule: Rule,
) -> Result<(), TemplateError> {
    if is_constant_text(text) {
        check(scope, node, |values| values.ruled(text, rule))?;
    }
    Ok(())
}

/// Works out what depends on nobody, so that its faults are found now.
fn check<T>(
    scope: &Scope,
    node: &Node<'_>,
    work: impl FnOnce(&Values<'_>) -> Result<T, EvaluationError>,
) -> Result<(), TemplateError> {
    let (nobody, none) = (BTreeMap::new(), CertificateParameters::default());
    let values = Values::new(&scope.declared, &scope.mappings, &nobody, &none);
    match work(&values) {
        Ok(_) => Ok(()),
        Err(error) => Err(TemplateError::new(
            error.at,
            node.path(),
            error.fault.to_string(),
        )),
    }
}

fn is_constant(list: &List) -> bool {
    match &list.kind {
        ListKind::Items(items) => items.iter().flatten().all(is_constant_text),
        ListKind::Split { delimiter, text } => {
            is_constant_text(delimiter) && is_constant_text(text)
        }
        ListKind::FindInMap(lookup) => [&lookup.map, &lookup.first, &lookup.second]
            .into_iter()
            .all(is_constant_text),
    }
}

/// Whether no device has a say in it.
fn is_constant_text(text: &Text) -> bool {
    match &text.kind {
        TextKind::Literal(_) => true,
        TextKind::Ref(_) => false,
        TextKind::Join { delimiter, list } => is_constant_text(delimiter) && is_constant(list),
        TextKind::Select { index, list } => is_constant_text(index) && is_constant(list),
        TextKind::FindInMap(lookup) => [&lookup.map, &lookup.first, &lookup.second]
            .into_iter()
            .all(is_constant_text),
        TextKind::Sub { parts, variables } => {
            let is_ref = |part: &Part| matches!(part, Part::Ref(_));
            !parts.iter().any(is_ref) && variables.values().all(is_constant_text)
        }
        TextKind::Base64(text) => is_constant_text(text),
    }
}
