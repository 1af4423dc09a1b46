//! A configuration between its text and its structure: a tree of values, and serde's errors with the path to what is
//! wrong and without its value.

use super::error::{SettingsErrorKind as Kind, Step};
use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use std::fmt;

/// A value of a file.
#[derive(Debug, PartialEq)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

/// What is wrong, and the way to it.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) kind: Kind,
    /// From the inside out.
    pub(super) steps: Vec<Step>,
}

impl Problem {
    fn new(kind: Kind) -> Self {
        Self { kind, steps: Vec::new() }
    }

    pub(super) fn within(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

impl Tree {
    fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "keys with values",
        }
    }

    fn instead_of(&self, expected: impl Into<String>) -> Problem {
        Problem::new(Kind::WrongType { expected: expected.into(), found: self.type_name() })
    }
}

impl std::error::Error for Problem {}

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
            Unexpected::Seq => "a list",
            Unexpected::Map => "keys with values",
            _ => "something else",
        };
        Self::new(Kind::WrongType { expected: expected.to_string(), found })
    }

    fn invalid_value(_found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Kind::Value(format!("expected {expected}")))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownKey {
            key: shown(field),
            suggestion: suggestion(field, known),
            known: known.to_vec(),
        })
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownWord { suggestion: suggestion(word, known), known: known.to_vec() })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Kind::MissingKey(field))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(Kind::DuplicateKey(field.to_owned()))
    }
}

/// No more of a key than a key has.
fn shown(word: &str) -> String {
    word.chars().take(64).collect()
}

/// The known word that was meant: the nearest, if it is near.
fn suggestion(word: &str, known: &[&str]) -> Option<String> {
    let word = shown(word).to_lowercase().replace('-', "_");
    let distances = known.iter().map(|known| (distance(&word, known), *known));
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    let is_near = distance <= (nearest.len() / 4).max(usize::from(nearest.len() > 2));
    let is_part = || known.iter().find(|known| word.len() > 2 && known.starts_with(&word)).copied();
    Some(nearest).filter(|_| is_near).or_else(is_part).map(str::to_owned)
}

/// How many letters must be put in, left out, changed, or changed with their neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
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
                match self {
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
            Self::Text(text) => visitor.visit_string(text),
            Self::List(items) => visitor.visit_seq(Items { items: items.into_iter(), next: 0 }),
            Self::Map(entries) => visitor.visit_map(Entries { entries: entries.into_iter(), current: None }),
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

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self {
            Self::Bool(value) => visitor.visit_bool(*value),
            // Words of YAML 1.1, which the files of amqtt are written in.
            Self::Text(word) => match word.as_str() {
                "yes" | "Yes" | "YES" | "on" | "On" | "ON" => visitor.visit_bool(true),
                "no" | "No" | "NO" | "off" | "Off" | "OFF" => visitor.visit_bool(false),
                _ => Err(self.instead_of("true or false")),
            },
            _ => Err(self.instead_of("true or false")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self {
            Self::Text(text) => visitor.visit_string(text),
            // Without quotes it may not be what was written, such as 1.10.
            Self::Bool(_) | Self::Int(_) | Self::Float(_) => Err(self.instead_of("text (put it in quotes)")),
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
        let Self::Map(mut entries) = self else { return Err(self.instead_of("keys with values")) };
        if let Some((key, _)) = entries.iter().find(|(key, _)| !fields.contains(&key.as_str())) {
            return Err(Problem::unknown_field(key, fields).within(Step::Key(key.clone())));
        }
        // A key without a value is as good as no key.
        entries.retain(|(_, value)| *value != Self::Null);
        Self::Map(entries).deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match self {
            Self::Text(word) => visitor.visit_enum(Word(word)),
            other => Err(other.instead_of("a word")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
    }
}

impl IntoDeserializer<'_, Problem> for Tree {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

struct Items {
    items: std::vec::IntoIter<Tree>,
    next: usize,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = Problem;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Problem> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let step = Step::Item(self.next);
        self.next += 1;
        seed.deserialize(item).map(Some).map_err(|problem| problem.within(step))
    }
}

struct Entries {
    entries: std::vec::IntoIter<(String, Tree)>,
    current: Option<(String, Tree)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Problem> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        let deserializer: StringDeserializer<Problem> = key.clone().into_deserializer();
        let found = seed.deserialize(deserializer).map_err(|problem| {
            let kind = match problem.kind {
                Kind::UnknownWord { suggestion, known } => {
                    Kind::UnknownKey { key: shown(&key), suggestion, known }
                }
                kind => kind,
            };
            Problem { kind, ..problem }.within(Step::Key(key.clone()))
        })?;
        self.current = Some((key, value));
        Ok(Some(found))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Problem> {
        let (key, value) = self.current.take().expect("serde asks for the key before its value");
        seed.deserialize(value).map_err(|problem| problem.within(Step::Key(key)))
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
