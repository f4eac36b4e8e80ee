//! The one shape that all messages have, in JSON and in CBOR: an object of texts, numbers and
//! objects of texts.
//!
//! Both readers refuse a name that stands twice, since two readers could take one each; skip fields
//! that they don't know, however nested; and allocate for what is there, not for what is announced.

use core::fmt;
use std::collections::BTreeMap;

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use zeroize::Zeroizing;

use crate::message::MessageError;
use crate::topic::Format;

/// A message, taken apart.
#[derive(Default)]
pub(crate) struct Fields(BTreeMap<String, Field>);

enum Field {
    Text(Zeroizing<String>),
    Number(i64),
    Texts(BTreeMap<String, String>),
    /// `null`: as if it weren't there.
    Nothing,
    /// What no field of ours is.
    Other,
}

impl Fields {
    /// Reads `payload`; one without a byte has no fields.
    pub(crate) fn parse(format: Format, payload: &[u8]) -> Result<Self, MessageError> {
        if payload.is_empty() {
            return Ok(Self::default());
        }
        match format {
            Format::Json => parse_json(payload),
            Format::Cbor => parse_cbor(payload),
        }
    }

    /// Takes a text out. `None` when it isn't there.
    pub(crate) fn text(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Zeroizing<String>>, MessageError> {
        match self.0.remove(name) {
            None | Some(Field::Nothing) => Ok(None),
            Some(Field::Text(text)) => Ok(Some(text)),
            Some(_) => Err(MessageError::Kind {
                name,
                wanted: "a text",
            }),
        }
    }

    /// Takes a number out.
    pub(crate) fn number(&mut self, name: &'static str) -> Result<Option<i64>, MessageError> {
        match self.0.remove(name) {
            None | Some(Field::Nothing) => Ok(None),
            Some(Field::Number(number)) => Ok(Some(number)),
            Some(_) => Err(MessageError::Kind {
                name,
                wanted: "a whole number",
            }),
        }
    }

    /// Takes an object of texts out.
    pub(crate) fn texts(
        &mut self,
        name: &'static str,
    ) -> Result<Option<BTreeMap<String, String>>, MessageError> {
        match self.0.remove(name) {
            None | Some(Field::Nothing) => Ok(None),
            Some(Field::Texts(texts)) => Ok(Some(texts)),
            Some(_) => Err(MessageError::Kind {
                name,
                wanted: "an object of texts",
            }),
        }
    }
}

/// A field to be written.
pub(crate) enum Value<'v> {
    Text(&'v str),
    Number(u16),
    Texts(&'v BTreeMap<String, String>),
}

/// Writes an object. The bytes are wiped when dropped, since a private key may be among them.
pub(crate) fn encode(format: Format, fields: &[(&str, Value<'_>)]) -> Zeroizing<Vec<u8>> {
    // Room for all at once: a buffer that grows leaves copies behind.
    let mut out = Zeroizing::new(Vec::with_capacity(room(fields)));
    match format {
        Format::Json => encode_json(&mut out, fields),
        Format::Cbor => encode_cbor(&mut out, fields),
    }
    out
}

/// More bytes than are written, unless a text is full of characters that JSON escapes by six.
fn room(fields: &[(&str, Value<'_>)]) -> usize {
    let length = |value: &Value<'_>| match value {
        Value::Text(text) => text.len() * 2,
        Value::Number(_) => 8,
        Value::Texts(texts) => texts
            .iter()
            .map(|(key, text)| (key.len() + text.len()) * 2 + 16)
            .sum(),
    };
    fields
        .iter()
        .map(|(name, value)| name.len() + length(value) + 16)
        .sum::<usize>()
        + 16
}

// --- JSON ---------------------------------------------------------------------------------------

fn parse_json(payload: &[u8]) -> Result<Fields, MessageError> {
    let mut reader = serde_json::Deserializer::from_slice(payload);
    let fields = reader.deserialize_map(FieldsVisitor);
    let fields = fields.and_then(|fields| reader.end().map(|()| fields));
    fields.map_err(|error| MessageError::Unreadable(error.to_string()))
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let field = map.next_value_seed(FieldSeed)?;
            if fields.contains_key(&name) {
                return Err(de::Error::custom("a name stands twice"));
            }
            fields.insert(name, field);
        }
        Ok(Fields(fields))
    }
}

struct FieldSeed;

impl<'de> DeserializeSeed<'de> for FieldSeed {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Field, E> {
        Ok(Field::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Field, E> {
        Ok(Field::Text(Zeroizing::new(text)))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Field, E> {
        Ok(i64::try_from(number).map_or(Field::Other, Field::Number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Field, E> {
        Ok(Field::Number(number))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Field, E> {
        Ok(Field::Nothing)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Field, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field, A::Error> {
        let (mut texts, mut only_texts) = (BTreeMap::new(), true);
        while let Some(name) = map.next_key::<String>()? {
            match map.next_value_seed(TextSeed)? {
                Some(text) if only_texts => {
                    if texts.insert(name, text).is_some() {
                        return Err(de::Error::custom("a name stands twice"));
                    }
                }
                Some(_) => {}
                None => only_texts = false,
            }
        }
        Ok(if only_texts {
            Field::Texts(texts)
        } else {
            Field::Other
        })
    }
}

/// A text, or `None` for anything else.
struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        Ok(match FieldSeed.deserialize(deserializer)? {
            Field::Text(text) => Some(text.to_string()),
            _ => None,
        })
    }
}

#[expect(
    clippy::expect_used,
    reason = "names are texts and memory does not refuse bytes: there is nothing that could fail"
)]
fn encode_json(out: &mut Vec<u8>, fields: &[(&str, Value<'_>)]) {
    struct Object<'o>(&'o [(&'o str, Value<'o>)]);
    impl Serialize for Object<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(self.0.len()))?;
            for (name, value) in self.0 {
                match value {
                    Value::Text(text) => map.serialize_entry(name, text)?,
                    Value::Number(number) => map.serialize_entry(name, number)?,
                    Value::Texts(texts) => map.serialize_entry(name, texts)?,
                }
            }
            map.end()
        }
    }
    serde_json::to_writer(out, &Object(fields)).expect("an object of texts is JSON");
}

// --- CBOR ---------------------------------------------------------------------------------------

fn parse_cbor(payload: &[u8]) -> Result<Fields, MessageError> {
    let mut reader = Decoder::new(payload);
    let fields = read_map(&mut reader, read_field).map_err(Fault::into_error)?;
    if reader.position() != payload.len() {
        return Err(MessageError::Unreadable(
            "bytes follow the object".to_owned(),
        ));
    }
    Ok(Fields(fields))
}

/// Why CBOR can't be read.
enum Fault {
    Cbor(minicbor::decode::Error),
    Twice,
}

impl From<minicbor::decode::Error> for Fault {
    fn from(error: minicbor::decode::Error) -> Self {
        Self::Cbor(error)
    }
}

impl Fault {
    fn into_error(self) -> MessageError {
        MessageError::Unreadable(match self {
            Self::Cbor(error) => error.to_string(),
            Self::Twice => "a name stands twice".to_owned(),
        })
    }
}

/// A map with text keys, of definite or indefinite length (RFC 8949 section 3.2.1).
fn read_map<V>(
    reader: &mut Decoder<'_>,
    read: impl Fn(&mut Decoder<'_>) -> Result<V, Fault>,
) -> Result<BTreeMap<String, V>, Fault> {
    let mut remaining = reader.map()?;
    let mut map = BTreeMap::new();
    loop {
        match &mut remaining {
            Some(0) => return Ok(map),
            Some(count) => *count -= 1,
            None if reader.datatype()? == Type::Break => {
                reader.skip()?;
                return Ok(map);
            }
            None => {}
        }
        let name = read_text(reader)?;
        let value = read(reader)?;
        if map.insert(name, value).is_some() {
            return Err(Fault::Twice);
        }
    }
}

fn read_text(reader: &mut Decoder<'_>) -> Result<String, Fault> {
    // Text in chunks is rare, and never longer than the payload.
    let mut text = String::new();
    for chunk in reader.str_iter()? {
        text.push_str(chunk?);
    }
    Ok(text)
}

fn read_field(reader: &mut Decoder<'_>) -> Result<Field, Fault> {
    Ok(match reader.datatype()? {
        Type::String | Type::StringIndef => Field::Text(Zeroizing::new(read_text(reader)?)),
        kind if is_whole(kind) => i64::try_from(reader.int()?).map_or(Field::Other, Field::Number),
        Type::Null | Type::Undefined => {
            reader.skip()?;
            Field::Nothing
        }
        Type::Map | Type::MapIndef => read_texts(reader)?,
        _ => {
            reader.skip()?;
            Field::Other
        }
    })
}

/// An inner map, if its keys and values are texts.
fn read_texts(reader: &mut Decoder<'_>) -> Result<Field, Fault> {
    let begin = reader.position();
    match read_map(reader, read_text) {
        Ok(texts) => Ok(Field::Texts(texts)),
        Err(Fault::Twice) => Err(Fault::Twice),
        Err(Fault::Cbor(_)) => {
            reader.set_position(begin);
            reader.skip()?;
            Ok(Field::Other)
        }
    }
}

const fn is_whole(kind: Type) -> bool {
    matches!(
        kind,
        Type::U8
            | Type::U16
            | Type::U32
            | Type::U64
            | Type::I8
            | Type::I16
            | Type::I32
            | Type::I64
            | Type::Int
    )
}

#[expect(clippy::expect_used, reason = "memory does not refuse bytes")]
fn encode_cbor(out: &mut Vec<u8>, fields: &[(&str, Value<'_>)]) {
    try_encode_cbor(out, fields).expect("a Vec takes every byte");
}

fn try_encode_cbor(
    out: &mut Vec<u8>,
    fields: &[(&str, Value<'_>)],
) -> Result<(), minicbor::encode::Error<core::convert::Infallible>> {
    let mut writer = Encoder::new(out);
    writer.map(fields.len() as u64)?;
    for (name, value) in fields {
        writer.str(name)?;
        match value {
            Value::Text(text) => {
                writer.str(text)?;
            }
            Value::Number(number) => {
                writer.u16(*number)?;
            }
            Value::Texts(texts) => {
                writer.map(texts.len() as u64)?;
                for (key, text) in *texts {
                    writer.str(key)?.str(text)?;
                }
            }
        }
    }
    Ok(())
}
