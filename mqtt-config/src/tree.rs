//! A configuration between its text and its structure: a tree of values with their places, and
//! serde's errors with the path to what is wrong and without its value.

use crate::error::{PathStep, Position, SettingsErrorKind as Kind};
use crate::numbers::{self, Scalar};
use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use std::fmt;

/// A value of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    /// Text in quotes or in a block.
    Text(String),
    /// Text without quotes. Where a number or a truth value is expected, it may be one as YAML 1.1
    /// writes them.
    Plain(String),
    /// Bytes, of `!!binary`.
    Bytes(Vec<u8>),
    List(Vec<ListItem>),
    Map(Vec<MapEntry>),
}

/// A value in a list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ListItem {
    pub(crate) at: Position,
    pub(crate) value: Tree,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MapEntry {
    pub(crate) key: String,
    pub(crate) key_at: Position,
    pub(crate) value: Tree,
    pub(crate) value_at: Position,
}

/// What is wrong, and the way to it.
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    /// From the inside out.
    pub(crate) steps: Vec<PathStep>,
}

impl Problem {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            steps: Vec::new(),
        }
    }

    pub(crate) fn within(mut self, step: PathStep) -> Self {
        self.steps.push(step);
        self
    }
}

impl From<Scalar> for Tree {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Null => Self::Null,
            Scalar::Bool(value) => Self::Bool(value),
            Scalar::Int(number) => Self::Int(number),
            Scalar::Float(number) => Self::Float(number),
            Scalar::Text(text) => Self::Plain(text),
        }
    }
}

impl Tree {
    /// What text without quotes is where a number is expected.
    fn into_number(self) -> Self {
        match &self {
            Self::Plain(text) => numbers::yaml_1_1(text).map_or(self, Self::from),
            _ => self,
        }
    }

    /// How many values there are in it, itself included, and how many bytes of text.
    pub(crate) fn size(&self) -> (usize, usize) {
        let add =
            |(values, text), (more_values, more_text)| (values + more_values, text + more_text);
        match self {
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) => (1, 0),
            Self::Text(text) | Self::Plain(text) => (1, text.len()),
            Self::Bytes(bytes) => (1, bytes.len()),
            Self::List(items) => items.iter().map(|item| item.value.size()).fold((1, 0), add),
            Self::Map(entries) => entries
                .iter()
                .map(|entry| add(entry.value.size(), (1, entry.key.len())))
                .fold((1, 0), add),
        }
    }

    /// How deep values lie in each other.
    pub(crate) fn depth(&self) -> usize {
        match self {
            Self::List(items) => {
                1 + items
                    .iter()
                    .map(|item| item.value.depth())
                    .max()
                    .unwrap_or(0)
            }
            Self::Map(entries) => {
                1 + entries
                    .iter()
                    .map(|entry| entry.value.depth())
                    .max()
                    .unwrap_or(0)
            }
            _ => 0,
        }
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Text(_) | Self::Plain(_) => "text",
            Self::Bytes(_) => "binary data",
            Self::List(_) => "a list",
            Self::Map(_) => "keys with values",
        }
    }

    fn instead_of(&self, expected: impl Into<String>) -> Problem {
        Problem::new(Kind::WrongType {
            expected: expected.into(),
            found: self.type_name(),
        })
    }
}

impl std::error::Error for Problem {}

/// Without the way, whose names may be anything.
impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl Error for Problem {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(Kind::Value(text.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Unit | Unexpected::Option => "nothing",
            Unexpected::Bool(_) => "true or false",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
            Unexpected::Float(_) => "a number with a fraction",
            Unexpected::Str(_) | Unexpected::Char(_) => "text",
            Unexpected::Bytes(_) => "binary data",
            Unexpected::Seq => "a list",
            Unexpected::Map => "keys with values",
            _ => "something else",
        };
        Self::new(Kind::WrongType {
            expected: expected.to_string(),
            found,
        })
    }

    fn invalid_value(_found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Kind::Value(format!("expected {expected}")))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownKey {
            suggestion: suggestion(field, known),
            known: known.to_vec(),
        })
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownWord {
            suggestion: suggestion(word, known),
            known: known.to_vec(),
        })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Kind::MissingKey(field))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(Kind::DuplicateKey(Some(field)))
    }
}

/// The known word that was meant: the nearest, if it is near. It is looked for with the first 64
/// letters.
fn suggestion(word: &str, known: &[&str]) -> Option<String> {
    let word = word
        .chars()
        .take(64)
        .collect::<String>()
        .to_lowercase()
        .replace('-', "_");
    let distances = known.iter().map(|known| (distance(&word, known), *known));
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    let is_near = distance <= (nearest.len() / 4).max(usize::from(nearest.len() > 2));
    let is_part = || {
        known
            .iter()
            .find(|known| word.len() > 2 && known.starts_with(&word))
            .copied()
    };
    Some(nearest)
        .filter(|_| is_near)
        .or_else(is_part)
        .map(str::to_owned)
}

/// How many letters must be put in, left out, changed, or changed with their neighbours (optimal
/// string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (rows[i - 1][j] + 1)
                    .min(rows[i][j - 1] + 1)
                    .min(rows[i - 1][j - 1] + change);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

/// Whole numbers, checked for their range before serde sees them.
macro_rules! integers {
    ($($method:ident $visit:ident $type:ident)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
                let expected = || format!("a whole number from {} to {}", $type::MIN, $type::MAX);
                match self.into_number() {
                    Tree::Int(number) => match $type::try_from(number) {
                        Ok(number) => visitor.$visit(number),
                        Err(_) => Err(Problem::new(Kind::Value(format!("expected {}", expected())))),
                    },
                    other => Err(other.instead_of(expected())),
                }
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Tree {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Bool(value) => visitor.visit_bool(value),
            Self::Int(number) => match (u64::try_from(number), i64::try_from(number)) {
                (Ok(number), _) => visitor.visit_u64(number),
                (_, Ok(number)) => visitor.visit_i64(number),
                _ => Err(Problem::custom("a number far too large")),
            },
            Self::Float(number) => visitor.visit_f64(number),
            Self::Text(text) | Self::Plain(text) => visitor.visit_string(text),
            Self::Bytes(bytes) => visitor.visit_byte_buf(bytes),
            Self::List(items) => visitor.visit_seq(Items {
                items: items.into_iter(),
                next: 0,
            }),
            Self::Map(entries) => visitor.visit_map(Entries {
                entries: entries.into_iter(),
                current: None,
            }),
        }
    }

    integers! {
        deserialize_i8 visit_i8 i8
        deserialize_i16 visit_i16 i16
        deserialize_i32 visit_i32 i32
        deserialize_i64 visit_i64 i64
        deserialize_u8 visit_u8 u8
        deserialize_u16 visit_u16 u16
        deserialize_u32 visit_u32 u32
        deserialize_u64 visit_u64 u64
    }

    /// Any number, whole or not.
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.into_number().deserialize_any(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self {
            Self::Bool(value) => visitor.visit_bool(*value),
            // Words of YAML 1.1, which the files of amqtt are written in.
            Self::Plain(word) => match word.as_str() {
                "yes" | "Yes" | "YES" | "on" | "On" | "ON" => visitor.visit_bool(true),
                "no" | "No" | "NO" | "off" | "Off" | "OFF" => visitor.visit_bool(false),
                _ => Err(self.instead_of("true or false")),
            },
            _ => Err(self.instead_of("true or false")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self {
            Self::Text(text) | Self::Plain(text) => visitor.visit_string(text),
            Self::Bytes(bytes) => match String::from_utf8(bytes) {
                Ok(text) => visitor.visit_string(text),
                Err(error) => Err(Self::Bytes(error.into_bytes()).instead_of("text")),
            },
            // Without quotes it may not be what was written, such as 1.10.
            Self::Bool(_) | Self::Int(_) | Self::Float(_) => {
                Err(self.instead_of("text (put it in quotes)"))
            }
            other => Err(other.instead_of("text")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self {
            Self::Null => visitor.visit_none(),
            some => visitor.visit_some(some),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self {
            Self::List(_) => self.deserialize_any(visitor),
            other => Err(other.instead_of("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self {
            Self::Map(_) => self.deserialize_any(visitor),
            other => Err(other.instead_of("keys with values")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let Self::Map(mut entries) = self else {
            return Err(self.instead_of("keys with values"));
        };
        if let Some(entry) = entries
            .iter()
            .find(|entry| !fields.contains(&entry.key.as_str()))
        {
            return Err(Problem::unknown_field(&entry.key, fields)
                .within(PathStep::from(entry.key.as_str())));
        }
        // A key without a value is equivalent to no key.
        entries.retain(|entry| entry.value != Self::Null);
        Self::Map(entries).deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match self {
            Self::Text(word) | Self::Plain(word) => visitor.visit_enum(Word(word)),
            other => Err(other.instead_of("a word")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct
    }
}

impl IntoDeserializer<'_, Problem> for Tree {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

struct Items {
    items: std::vec::IntoIter<ListItem>,
    next: usize,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = Problem;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Problem> {
        let Some(item) = self.items.next() else {
            return Ok(None);
        };
        let step = PathStep::Item(self.next);
        self.next += 1;
        seed.deserialize(item.value)
            .map(Some)
            .map_err(|problem| problem.within(step))
    }
}

struct Entries {
    entries: std::vec::IntoIter<MapEntry>,
    current: Option<MapEntry>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Problem> {
        let Some(entry) = self.entries.next() else {
            return Ok(None);
        };
        let deserializer: StringDeserializer<Problem> = entry.key.clone().into_deserializer();
        let found = seed.deserialize(deserializer).map_err(|problem| {
            let kind = match problem.kind {
                Kind::UnknownWord { suggestion, known } => Kind::UnknownKey { suggestion, known },
                kind => kind,
            };
            Problem { kind, ..problem }.within(PathStep::from(entry.key.as_str()))
        })?;
        self.current = Some(entry);
        Ok(Some(found))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Problem> {
        let entry = self
            .current
            .take()
            .expect("serde asks for the key before its value");
        seed.deserialize(entry.value)
            .map_err(|problem| problem.within(PathStep::from(entry.key.as_str())))
    }
}

/// A variant of an enum, which has nothing but its name.
struct Word(String);

impl<'de> EnumAccess<'de> for Word {
    type Error = Problem;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Problem> {
        let deserializer: StringDeserializer<Problem> = self.0.clone().into_deserializer();
        Ok((seed.deserialize(deserializer)?, self))
    }
}

impl<'de> VariantAccess<'de> for Word {
    type Error = Problem;

    fn unit_variant(self) -> Result<(), Problem> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _seed: T) -> Result<T::Value, Problem> {
        Err(Problem::custom("expected a word alone"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Problem> {
        Err(Problem::custom("expected a word alone"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Problem> {
        Err(Problem::custom("expected a word alone"))
    }
}
