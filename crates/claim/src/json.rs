//! JSON whose every value knows where it stands.
//!
//! `serde_json` checks the grammar and hands out each value as the slice of the text that it is;
//! where that slice lies says line and column. So there is one reading of JSON here, not two.

use core::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::template::TemplateError;

/// A place in a text. Both count from 1; columns count characters, not bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Lines end with LF.
    pub line: u32,
    /// A tab is one character.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl Position {
    fn of(offset: usize, text: &str) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count();
        let begin = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(begin..).unwrap_or_default().chars().count();
        Self {
            line: u32::try_from(line + 1).unwrap_or(u32::MAX),
            column: u32::try_from(column + 1).unwrap_or(u32::MAX),
        }
    }

    /// Where `serde_json` stopped: it counts bytes, and the one that it has just read.
    fn of_error(error: &serde_json::Error, text: &str) -> Self {
        if error.is_eof() {
            return Self::of(text.len(), text);
        }
        let begin: usize = text
            .split_inclusive('\n')
            .take(error.line().saturating_sub(1))
            .map(str::len)
            .sum();
        let offset = begin + error.column().saturating_sub(1);
        let whole = (0..=offset.min(text.len())).rev();
        let offset = whole.into_iter().find(|at| text.is_char_boundary(*at));
        Self::of(offset.unwrap_or(0), text)
    }
}

/// One value of a document.
#[derive(Debug, Clone)]
pub(crate) struct Node<'t> {
    /// The whole document.
    document: &'t str,
    /// The value's own text, without space around it.
    raw: &'t str,
    /// How one gets there: `Resources.thing.Properties`.
    path: String,
}

/// What kind of value it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    Text,
    Null,
    Number,
    Boolean,
}

impl Kind {
    /// With its article, for sentences.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "a list",
            Self::Text => "a text",
            Self::Null => "null",
            Self::Number => "a number",
            Self::Boolean => "true or false",
        }
    }
}

/// One member of an object.
pub(crate) struct Member<'t> {
    pub(crate) name: String,
    /// The name itself, for errors that are about it.
    pub(crate) key: Node<'t>,
    pub(crate) value: Node<'t>,
}

impl<'t> Node<'t> {
    /// The document's one value.
    pub(crate) fn root(document: &'t str) -> Result<Self, TemplateError> {
        let raw: &RawValue = serde_json::from_str(document).map_err(|error| {
            let at = Position::of_error(&error, document);
            TemplateError::new(at, "", format!("this is not JSON: {}", words(&error)))
        })?;
        Ok(Self {
            document,
            raw: raw.get(),
            path: String::new(),
        })
    }

    /// Where it begins.
    pub(crate) fn at(&self) -> Position {
        let offset = self.raw.as_ptr().addr() - self.document.as_ptr().addr();
        Position::of(offset, self.document)
    }

    /// An error about this value.
    pub(crate) fn fault(&self, message: impl Into<String>) -> TemplateError {
        TemplateError::new(self.at(), &self.path, message.into())
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The value's own text.
    pub(crate) const fn raw(&self) -> &'t str {
        self.raw
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.raw.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::Text,
            Some(b'n') => Kind::Null,
            Some(b't' | b'f') => Kind::Boolean,
            _ => Kind::Number,
        }
    }

    /// The text that it is.
    pub(crate) fn text(&self) -> Result<String, TemplateError> {
        self.expect(Kind::Text)?;
        self.read()
    }

    /// The members, in order. A name that stands twice is an error: one of the two would be lost.
    pub(crate) fn members(&self) -> Result<Vec<Member<'t>>, TemplateError> {
        self.expect(Kind::Object)?;
        let raw: Members<'t> = self.read()?;
        let mut members: Vec<Member<'t>> = Vec::with_capacity(raw.0.len());
        for (key, value) in raw.0 {
            let key = self.child(key.get(), "");
            let name = key.text()?;
            if members.iter().any(|member| member.name == name) {
                return Err(key.fault(format!("`{name}` stands twice")));
            }
            let value = self.child(value.get(), &name);
            members.push(Member { name, key, value });
        }
        Ok(members)
    }

    /// The elements, in order.
    pub(crate) fn elements(&self) -> Result<Vec<Self>, TemplateError> {
        self.expect(Kind::Array)?;
        let raw: Vec<&'t RawValue> = self.read()?;
        let child = |(at, value): (usize, &&'t RawValue)| self.child(value.get(), &at.to_string());
        Ok(raw.iter().enumerate().map(child).collect())
    }

    fn expect(&self, wanted: Kind) -> Result<(), TemplateError> {
        let found = self.kind();
        if found == wanted {
            return Ok(());
        }
        let (wanted, found) = (wanted.name(), found.name());
        Err(self.fault(format!("{wanted} is wanted here, not {found}")))
    }

    fn read<T: Deserialize<'t>>(&self) -> Result<T, TemplateError> {
        // The grammar was checked by `root`; what is left is a lone surrogate in a text.
        serde_json::from_str(self.raw).map_err(|error| self.fault(words(&error)))
    }

    fn child(&self, raw: &'t str, name: &str) -> Self {
        let dot = if self.path.is_empty() || name.is_empty() {
            ""
        } else {
            "."
        };
        Self {
            document: self.document,
            raw,
            path: format!("{}{dot}{name}", self.path),
        }
    }
}

/// The error without the place, which we say ourselves.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_owned()
}

/// An object as slices of the text.
struct Members<'t>(Vec<(&'t RawValue, &'t RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Slices;
        impl<'de> Visitor<'de> for Slices {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Slices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32) -> Position {
        Position { line, column }
    }

    #[test]
    fn every_value_knows_where_it_stands() {
        let root = Node::root(" {\n\t\"ä\": [1,\r\n  \"b\" ] ,\"c\":{\"d\": null}}\n").unwrap();
        assert_eq!(root.at(), at(1, 2));
        let members = root.members().unwrap();
        let [first, second] = members.as_slice() else {
            panic!("two members");
        };
        assert_eq!((first.key.at(), first.value.at()), (at(2, 2), at(2, 7)));
        let elements = first.value.elements().unwrap();
        assert_eq!(elements[1].at(), at(3, 3));
        assert_eq!(elements[1].path(), "ä.1");
        let inner = second.value.members().unwrap();
        assert_eq!(inner[0].value.path(), "c.d");
        assert_eq!(inner[0].value.at(), at(3, 20));
        assert_eq!(inner[0].value.kind(), Kind::Null);
    }

    #[test]
    fn what_is_no_json_is_placed() {
        for (text, want) in [
            ("", at(1, 1)),
            ("{", at(1, 2)),
            ("{\n\n", at(3, 1)),
            ("{\"a\":1,}", at(1, 8)),
            ("{\n \"ä\": x}", at(2, 7)),
            ("{} x", at(1, 4)),
            ("{\"a\":01}", at(1, 7)),
            ("// c\n{}", at(1, 1)),
        ] {
            let error = Node::root(text).unwrap_err();
            assert_eq!(
                (error.line, error.column),
                (want.line, want.column),
                "{text:?} {error}"
            );
        }
    }

    #[test]
    fn a_lone_surrogate_is_no_text() {
        let root = Node::root(r#"["\ud800", "\ud83d\ude00"]"#).unwrap();
        let elements = root.elements().unwrap();
        assert!(elements[0].text().is_err());
        assert_eq!(elements[1].text().unwrap(), "😀");
    }
}
