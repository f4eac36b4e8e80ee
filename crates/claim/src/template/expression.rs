//! Texts and lists that are worked out: `Ref` and the functions `Fn::*`.

use std::collections::BTreeMap;

use super::TemplateError;
use crate::json::{Kind, Member, Node, Position};

/// Something that gives a text.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) at: Position,
    pub(crate) kind: TextKind,
}

#[derive(Debug, Clone)]
pub(crate) enum TextKind {
    /// It stands there.
    Literal(String),
    /// `{"Ref": name}`
    Ref(Name),
    /// `{"Fn::Join": [delimiter, list]}`
    Join {
        delimiter: Box<Text>,
        list: Box<List>,
    },
    /// `{"Fn::Select": [index, list]}`
    Select { index: Box<Text>, list: Box<List> },
    /// `{"Fn::FindInMap": [map, key, key]}`
    FindInMap(Box<Lookup>),
    /// `{"Fn::Sub": text}` and `{"Fn::Sub": [text, {name: text}]}`
    Sub {
        parts: Vec<Part>,
        variables: BTreeMap<String, Text>,
    },
    /// `{"Fn::Base64": text}`
    Base64(Box<Text>),
}

/// Something that gives a list of texts.
#[derive(Debug, Clone)]
pub(crate) struct List {
    pub(crate) at: Position,
    pub(crate) kind: ListKind,
}

#[derive(Debug, Clone)]
pub(crate) enum ListKind {
    /// They stand there. `None` is `null`, which only `Fn::Select` bears, unless it chooses it.
    Items(Vec<Option<Text>>),
    /// `{"Fn::Split": [delimiter, text]}`
    Split {
        delimiter: Box<Text>,
        text: Box<Text>,
    },
    /// `{"Fn::FindInMap": [map, key, key]}` where the map holds lists.
    FindInMap(Box<Lookup>),
}

#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    pub(crate) map: Text,
    pub(crate) first: Text,
    pub(crate) second: Text,
}

/// A piece of a text with `${...}` in it.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    Literal(String),
    /// One of the function's own variables.
    Variable(String),
    Ref(Name),
}

/// What `Ref` can name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// A parameter that the template declares.
    Parameter(String),
    /// What the certificate says.
    Pseudo(Pseudo),
}

macro_rules! pseudo {
    ($($variant:ident $name:literal;)*) => {
        /// Parameters whose values the certificate gives, never the device.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Pseudo { $($variant,)* }

        impl Pseudo {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => concat!("AWS::IoT::Certificate::", $name),)* }
            }
        }
    };
}

pseudo! {
    Id "Id";
    Country "Country";
    Organization "Organization";
    OrganizationalUnit "OrganizationalUnit";
    DistinguishedNameQualifier "DistinguishedNameQualifier";
    StateName "StateName";
    CommonName "CommonName";
    SerialNumber "SerialNumber";
}

impl Pseudo {
    /// With this beginning no parameter of the device's can be named.
    pub(crate) const PREFIX: &'static str = "AWS::";

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|pseudo| pseudo.name() == name)
    }
}

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Parameter(name) => name,
            Self::Pseudo(pseudo) => pseudo.name(),
        }
    }
}

/// What `Mappings` holds: map, first key, second key.
pub(crate) type Mappings = BTreeMap<String, BTreeMap<String, BTreeMap<String, Mapped>>>;

#[derive(Debug, Clone)]
pub(crate) enum Mapped {
    Text(String),
    List(Vec<String>),
}

impl Mapped {
    const fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::List(_) => Kind::Array,
        }
    }
}

/// What expressions may name, and what they did name.
pub(crate) struct Scope {
    /// The names in `Parameters`.
    pub(crate) declared: BTreeMap<String, super::Parameter>,
    pub(crate) mappings: Mappings,
    /// Every `Ref` and `${}`, in order, with where it stands and how one gets there.
    pub(crate) references: Vec<(Position, String, Name)>,
}

/// How deep functions may stand in each other: far more than anybody reads.
pub(crate) const MAX_DEPTH: usize = 24;

impl Scope {
    /// Reads a text, or what gives one.
    pub(crate) fn text(&mut self, node: &Node<'_>, depth: usize) -> Result<Text, TemplateError> {
        let kind = match node.kind() {
            Kind::Text => TextKind::Literal(node.text()?),
            Kind::Object => self.text_function(node, deeper(node, depth)?)?,
            Kind::Number | Kind::Boolean => {
                let raw = node.raw();
                return Err(node.fault(format!("a text is wanted here: write \"{raw}\"")));
            }
            other => {
                let found = other.name();
                return Err(node.fault(format!("a text is wanted here, not {found}")));
            }
        };
        Ok(Text {
            at: node.at(),
            kind,
        })
    }

    /// Reads a list, or what gives one.
    pub(crate) fn list(&mut self, node: &Node<'_>, depth: usize) -> Result<List, TemplateError> {
        let kind = match node.kind() {
            Kind::Array => {
                let depth = deeper(node, depth)?;
                let items = node.elements()?;
                let items = items.iter().map(|item| match item.kind() {
                    Kind::Null => Ok(None),
                    _ => self.text(item, depth).map(Some),
                });
                ListKind::Items(items.collect::<Result<_, _>>()?)
            }
            Kind::Object => self.list_function(node, deeper(node, depth)?)?,
            other => {
                let found = other.name();
                return Err(node.fault(format!("a list is wanted here, not {found}")));
            }
        };
        Ok(List {
            at: node.at(),
            kind,
        })
    }

    /// The same, for where `null` means nothing.
    pub(crate) fn whole_list(
        &mut self,
        node: &Node<'_>,
        depth: usize,
    ) -> Result<List, TemplateError> {
        let list = self.list(node, depth)?;
        if let ListKind::Items(items) = &list.kind
            && let Some(at) = items.iter().position(Option::is_none)
            && let Some(null) = node.elements()?.get(at)
        {
            return Err(null.fault("there is a null in the list"));
        }
        Ok(list)
    }

    fn text_function(&mut self, node: &Node<'_>, depth: usize) -> Result<TextKind, TemplateError> {
        let Member {
            name,
            key,
            value: argument,
        } = function(node)?;
        match name.as_str() {
            "Ref" => Ok(TextKind::Ref(self.reference(&argument)?)),
            "Fn::Join" => {
                let [delimiter, list] = arguments(&argument, "Fn::Join", ["delimiter", "list"])?;
                Ok(TextKind::Join {
                    delimiter: Box::new(self.text(&delimiter, depth)?),
                    list: Box::new(self.whole_list(&list, depth)?),
                })
            }
            "Fn::Select" => self.select(&argument, depth),
            "Fn::FindInMap" => Ok(TextKind::FindInMap(Box::new(self.lookup(
                &argument,
                depth,
                Kind::Text,
            )?))),
            "Fn::Sub" => self.sub(&argument, depth),
            "Fn::Base64" => Ok(TextKind::Base64(Box::new(self.text(&argument, depth)?))),
            "Fn::Split" => Err(node.fault(
                "Fn::Split gives a list, and a text is wanted here: choose one with Fn::Select",
            )),
            _ => Err(unknown_function(&key, &name)),
        }
    }

    fn list_function(&mut self, node: &Node<'_>, depth: usize) -> Result<ListKind, TemplateError> {
        let Member {
            name,
            key,
            value: argument,
        } = function(node)?;
        match name.as_str() {
            "Fn::Split" => {
                let [delimiter, text] = arguments(&argument, "Fn::Split", ["delimiter", "text"])?;
                let (at, delimiter) = (delimiter.clone(), self.text(&delimiter, depth)?);
                if matches!(&delimiter.kind, TextKind::Literal(text) if text.is_empty()) {
                    return Err(at.fault("the delimiter of Fn::Split is empty"));
                }
                Ok(ListKind::Split {
                    delimiter: Box::new(delimiter),
                    text: Box::new(self.text(&text, depth)?),
                })
            }
            "Fn::FindInMap" => Ok(ListKind::FindInMap(Box::new(self.lookup(
                &argument,
                depth,
                Kind::Array,
            )?))),
            "Ref" | "Fn::Join" | "Fn::Select" | "Fn::Sub" | "Fn::Base64" => {
                Err(node.fault(format!("{name} gives a text, and a list is wanted here")))
            }
            _ => Err(unknown_function(&key, &name)),
        }
    }

    fn reference(&mut self, node: &Node<'_>) -> Result<Name, TemplateError> {
        let name = node.text()?;
        self.named(node, &name)
    }

    fn named(&mut self, node: &Node<'_>, name: &str) -> Result<Name, TemplateError> {
        let name = match Pseudo::from_name(name) {
            Some(pseudo) => Name::Pseudo(pseudo),
            None if self.declared.contains_key(name) => Name::Parameter(name.to_owned()),
            None => {
                return Err(node.fault(format!("`Parameters` does not declare `{name}`")));
            }
        };
        self.references
            .push((node.at(), node.path().to_owned(), name.clone()));
        Ok(name)
    }

    fn select(&mut self, node: &Node<'_>, depth: usize) -> Result<TextKind, TemplateError> {
        let [index_node, list_node] = arguments(node, "Fn::Select", ["index", "list"])?;
        let index = match index_node.kind() {
            // The one place where a number may be written as one.
            Kind::Number => Text {
                at: index_node.at(),
                kind: TextKind::Literal(index_node.raw().to_owned()),
            },
            _ => self.text(&index_node, depth)?,
        };
        let list = self.list(&list_node, depth)?;
        if let TextKind::Literal(text) = &index.kind {
            let number = index_of(text).ok_or_else(|| {
                index_node.fault(format!("`{text}` is no index: 0, 1, 2 and so on are"))
            })?;
            if let ListKind::Items(items) = &list.kind {
                match items.get(number) {
                    None => {
                        let length = items.len();
                        return Err(index_node.fault(format!(
                            "index {number} is outside the list, which has {length} elements"
                        )));
                    }
                    Some(None) => {
                        return Err(
                            index_node.fault(format!("element {number} of the list is null"))
                        );
                    }
                    Some(Some(_)) => {}
                }
            }
        }
        Ok(TextKind::Select {
            index: Box::new(index),
            list: Box::new(list),
        })
    }

    fn lookup(
        &mut self,
        node: &Node<'_>,
        depth: usize,
        wanted: Kind,
    ) -> Result<Lookup, TemplateError> {
        let names = ["map", "first key", "second key"];
        let nodes = arguments(node, "Fn::FindInMap", names)?;
        let [map, first, second] = &nodes;
        let lookup = Lookup {
            map: self.text(map, depth)?,
            first: self.text(first, depth)?,
            second: self.text(second, depth)?,
        };
        self.check_lookup(&lookup, &nodes, wanted)?;
        Ok(lookup)
    }

    /// What can be known of a lookup before anybody asks: keys that stand there must be there.
    fn check_lookup(
        &self,
        lookup: &Lookup,
        nodes: &[Node<'_>; 3],
        wanted: Kind,
    ) -> Result<(), TemplateError> {
        let [map_node, first_node, second_node] = nodes;
        let TextKind::Literal(map) = &lookup.map.kind else {
            return Ok(());
        };
        let rows = self.mappings.get(map);
        let rows = rows.ok_or_else(|| map_node.fault(format!("`Mappings` has no `{map}`")))?;
        let rows: Vec<_> = match &lookup.first.kind {
            TextKind::Literal(key) => {
                let row = rows.get(key);
                vec![row.ok_or_else(|| first_node.fault(format!("`{map}` has no `{key}`")))?]
            }
            _ => rows.values().collect(),
        };
        let TextKind::Literal(key) = &lookup.second.kind else {
            return Ok(());
        };
        let found: Vec<_> = rows.iter().filter_map(|row| row.get(key)).collect();
        if found.is_empty() {
            return Err(second_node.fault(format!("`{map}` has no `{key}` on its second level")));
        }
        if !found.iter().any(|value| value.kind() == wanted) {
            let (is, wanted) = (
                found.first().map_or("", |value| value.kind().name()),
                wanted.name(),
            );
            return Err(second_node.fault(format!("`{key}` is {is}, and {wanted} is wanted here")));
        }
        Ok(())
    }

    fn sub(&mut self, node: &Node<'_>, depth: usize) -> Result<TextKind, TemplateError> {
        let (template, variables) = match node.kind() {
            Kind::Array => {
                let [template, variables] = arguments(node, "Fn::Sub", ["text", "variables"])?;
                (template, variables.members()?)
            }
            Kind::Text => (node.clone(), Vec::new()),
            _ => {
                return Err(
                    node.fault("Fn::Sub takes a text, or a list of a text and its variables")
                );
            }
        };
        let mut known = BTreeMap::new();
        for variable in variables {
            known.insert(variable.name, self.text(&variable.value, depth)?);
        }
        let parts = self.parts(&template, &known)?;
        Ok(TextKind::Sub {
            parts,
            variables: known,
        })
    }

    /// Takes a text apart at its `${name}`; `${!name}` is `${name}` itself.
    fn parts(
        &mut self,
        node: &Node<'_>,
        variables: &BTreeMap<String, Text>,
    ) -> Result<Vec<Part>, TemplateError> {
        let text = node.text()?;
        let (mut parts, mut rest) = (Vec::new(), text.as_str());
        while let Some((before, behind)) = rest.split_once("${") {
            parts.push(Part::Literal(before.to_owned()));
            let (name, behind) = behind.split_once('}').ok_or_else(|| {
                node.fault("a `${` is not closed; `${!` begins one that is meant so")
            })?;
            parts.push(match name.strip_prefix('!') {
                Some(literal) => Part::Literal(format!("${{{literal}}}")),
                None if variables.contains_key(name) => Part::Variable(name.to_owned()),
                None => Part::Ref(self.named(node, name).map_err(|error| {
                    let hint = format!("; write `${{!{name}}}` if it is not ours to fill");
                    TemplateError {
                        message: error.message + &hint,
                        ..error
                    }
                })?),
            });
            rest = behind;
        }
        parts.push(Part::Literal(rest.to_owned()));
        Ok(parts)
    }
}

/// Whether an object is a function's call, and not just an object: one name, `Ref` or `Fn::*`.
pub(crate) fn is_function(node: &Node<'_>) -> Result<bool, TemplateError> {
    let is_name = |name: &str| name == "Ref" || name.starts_with("Fn::") || name.starts_with("Fn:");
    Ok(node.kind() == Kind::Object && node.members()?.iter().any(|member| is_name(&member.name)))
}

/// The function that an object calls, and with what.
fn function<'t>(node: &Node<'t>) -> Result<Member<'t>, TemplateError> {
    let mut members = node.members()?.into_iter();
    let first = members.next();
    let first = first.ok_or_else(|| node.fault("an empty object calls no function"))?;
    match members.next() {
        Some(second) => Err(second.key.fault("a function stands alone in its object")),
        None => Ok(first),
    }
}

fn unknown_function(key: &Node<'_>, name: &str) -> TemplateError {
    key.fault(format!(
        "`{name}` is no function; there are Ref, Fn::Join, Fn::Select, Fn::FindInMap, Fn::Split, \
         Fn::Sub and Fn::Base64"
    ))
}

/// Exactly so many arguments.
fn arguments<'t, const N: usize>(
    node: &Node<'t>,
    function: &str,
    names: [&str; N],
) -> Result<[Node<'t>; N], TemplateError> {
    let wanted = || format!("{function} takes a list of {N}: {}", names.join(", "));
    if node.kind() != Kind::Array {
        return Err(node.fault(wanted()));
    }
    let found = node.elements()?;
    let count = found.len();
    found
        .try_into()
        .map_err(|_| node.fault(format!("{}; here are {count}", wanted())))
}

fn deeper(node: &Node<'_>, depth: usize) -> Result<usize, TemplateError> {
    if depth == MAX_DEPTH {
        return Err(node.fault(format!("this stands deeper than {MAX_DEPTH} levels")));
    }
    Ok(depth + 1)
}

/// `0`, `1`, `12`; not `+1`, not `01`.
pub(crate) fn index_of(text: &str) -> Option<usize> {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}
