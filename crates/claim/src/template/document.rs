//! Policy documents: JSON of which some texts are worked out.

use super::TemplateError;
use super::expression::{MAX_DEPTH, Scope, Text, TextKind, is_function};
use crate::json::{Kind, Node};

/// A JSON value. Members stay in their order.
#[derive(Debug, Clone)]
pub(crate) enum Document {
    Object(Vec<(String, Document)>),
    Array(Vec<Document>),
    /// A text, or a function that gives one.
    Text(Text),
    /// A number, `true`, `false` or `null`, as it was written.
    Other(String),
}

impl Document {
    /// Reads a document; with `scope`, an object that calls a function is what the function gives.
    /// Without, it is an object like others.
    pub(crate) fn read(
        mut scope: Option<&mut Scope>,
        node: &Node<'_>,
        depth: usize,
    ) -> Result<Self, TemplateError> {
        if depth == MAX_DEPTH {
            return Err(node.fault(format!("this stands deeper than {MAX_DEPTH} levels")));
        }
        if let Some(scope) = scope.as_deref_mut()
            && is_function(node)?
        {
            return scope.text(node, depth).map(Self::Text);
        }
        Ok(match node.kind() {
            Kind::Object => {
                let mut members = Vec::new();
                for member in node.members()? {
                    let value = Self::read(scope.as_deref_mut(), &member.value, depth + 1)?;
                    members.push((member.name, value));
                }
                Self::Object(members)
            }
            Kind::Array => {
                let mut elements = Vec::new();
                for element in node.elements()? {
                    elements.push(Self::read(scope.as_deref_mut(), &element, depth + 1)?);
                }
                Self::Array(elements)
            }
            Kind::Text => Self::Text(Text {
                at: node.at(),
                kind: TextKind::Literal(node.text()?),
            }),
            Kind::Null | Kind::Number | Kind::Boolean => Self::Other(node.raw().to_owned()),
        })
    }

    /// Whether this looks like a policy: an object whose `Statement` allows or denies. What the
    /// statements mean is for whoever enforces them.
    pub(crate) fn check_policy(&self) -> Result<(), &'static str> {
        let statements = match self.member("Statement") {
            Some(Self::Array(statements)) if !statements.is_empty() => statements.as_slice(),
            Some(one @ Self::Object(_)) => core::slice::from_ref(one),
            _ => return Err("a policy is an object with a `Statement`"),
        };
        for statement in statements {
            match statement.member("Effect") {
                Some(Self::Text(Text {
                    kind: TextKind::Literal(effect),
                    ..
                })) if effect != "Allow" && effect != "Deny" => {
                    return Err("the `Effect` of a statement is Allow or Deny");
                }
                Some(Self::Text(_)) => {}
                _ => return Err("a statement of a policy has an `Effect`"),
            }
        }
        Ok(())
    }

    /// Writes it without spaces; `text` works out each text.
    pub(crate) fn write<E>(
        &self,
        out: &mut String,
        text: &mut impl FnMut(&Text) -> Result<String, E>,
    ) -> Result<(), E> {
        match self {
            Self::Object(members) => {
                out.push('{');
                for (at, (name, value)) in members.iter().enumerate() {
                    separate(out, at);
                    write_text(out, name);
                    out.push(':');
                    value.write(out, text)?;
                }
                out.push('}');
            }
            Self::Array(elements) => {
                out.push('[');
                for (at, element) in elements.iter().enumerate() {
                    separate(out, at);
                    element.write(out, text)?;
                }
                out.push(']');
            }
            Self::Text(value) => write_text(out, &text(value)?),
            Self::Other(raw) => out.push_str(raw),
        }
        Ok(())
    }

    fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members
                .iter()
                .find(|(found, _)| found == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }
}

fn separate(out: &mut String, at: usize) {
    if at > 0 {
        out.push(',');
    }
}

#[expect(clippy::expect_used, reason = "every str is a JSON text")]
fn write_text(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).expect("a text is JSON"));
}
