//! YAML: the only file that knows of serde_yaml.
//!
//! serde_yaml is no longer developed, and no other crate has taken its place so far. What it gives here is the least that
//! can do: the events of a document become a [`Tree`], within bounds; everything else is ours. Its way to tell where an
//! error is, is to fail there: [`locate`] walks to the place and does.

use super::Settings;
use super::error::{Position, SettingsError, SettingsErrorKind as Kind, Step};
use super::tree::Tree;
use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What is read of a file. A configuration with a thousand topics has a tenth of it.
const MAX_SIZE: usize = 1024 * 1024;
/// How many values there may be, and how many bytes of text, when every alias has been replaced by what it stands for.
const MAX_VALUES: usize = 100_000;
const MAX_TEXT: usize = 4 * MAX_SIZE;
/// How deep values may lie in each other. Ours lie at 4.
const MAX_DEPTH: usize = 16;
/// How many brackets may be open at a time, quoted ones included: the scanner's work grows with the square.
const MAX_BRACKETS: usize = 100;

impl Settings {
    /// Reads a configuration from YAML text of at most 1 MiB.
    ///
    /// Files that it names are not looked for yet; [`builder`](Self::builder) does.
    ///
    /// # Errors
    /// [`SettingsError`] with line and column: no YAML, an unknown key, a wrong type, a value that cannot be, settings
    /// that contradict each other.
    pub fn from_yaml(text: &str) -> Result<Self, SettingsError> {
        let tree = read(text)?;
        let settings = lift(tree).and_then(|tree| {
            let settings = Self::deserialize(tree)
                .map_err(|problem| SettingsError::new(problem.steps.into_iter().rev(), problem.kind))?;
            settings.check()?;
            Ok(settings)
        });
        settings.map_err(|error| {
            let at = locate(text, &error);
            error.at(at)
        })
    }

    /// Reads a configuration from a file of YAML, of at most 1 MiB.
    ///
    /// # Errors
    /// [`SettingsError`] with the file's name: when it cannot be read, and as [`from_yaml`](Self::from_yaml).
    pub fn load(path: impl AsRef<Path>) -> Result<Self, SettingsError> {
        let path = path.as_ref();
        let text = read_file(path).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_| SettingsError::new([""; 0], Kind::NotText))
        });
        text.and_then(|text| Self::from_yaml(&text)).map_err(|error| error.in_file(path))
    }

    /// Prints it as YAML. `***` stands where a secret is: what is read again must have it put in.
    pub fn to_yaml(&self) -> String {
        serde_yaml::to_string(self).expect("names, numbers and text can be written")
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, SettingsError> {
    let fail = |error: &io::Error| {
        SettingsError::new([""; 0], Kind::Unreadable { kind: error.kind(), text: error.to_string() })
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| fail(&error))?;
    file.take(MAX_SIZE as u64 + 1).read_to_end(&mut bytes).map_err(|error| fail(&error))?;
    Ok(bytes)
}

/// The values of a document.
fn read(text: &str) -> Result<Tree, SettingsError> {
    let whole = |kind| SettingsError::new([""; 0], kind);
    if text.len() > MAX_SIZE {
        return Err(whole(Kind::TooLarge { limit: MAX_SIZE }));
    }
    if has_deep_brackets(text) {
        return Err(whole(Kind::Excess("brackets within brackets, too deep")));
    }
    let reading = Reading::default();
    let tree = reading.value(0).deserialize(serde_yaml::Deserializer::from_str(text));
    let tree = tree.map_err(|error| {
        let at = error.location().map(|at| Position { line: at.line(), column: at.column() });
        let kind = reading.refused.take().unwrap_or_else(|| {
            let mut words = error.to_string();
            if let Some(Position { line, column }) = at {
                words = words.replacen(&format!(" at line {line} column {column}"), "", 1);
            }
            Kind::Syntax(words)
        });
        whole(kind).at(at)
    })?;
    if tree == Tree::Null { Err(whole(Kind::Empty)) } else { Ok(tree) }
}

fn has_deep_brackets(text: &str) -> bool {
    let mut open = 0usize;
    text.bytes().any(|byte| {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        open > MAX_BRACKETS
    })
}

/// The documentation of amqtt has the keys of certificates outside of `connection`, where its code has them inside.
fn lift(tree: Tree) -> Result<Tree, SettingsError> {
    let Tree::Map(entries) = tree else { return Ok(tree) };
    let (lifted, mut rest): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|(key, _)| LIFTED.contains(&key.as_str()));
    if lifted.is_empty() {
        return Ok(Tree::Map(rest));
    }
    let there =
        rest.iter_mut().find(|(key, value)| CONNECTION.contains(&key.as_str()) && *value != Tree::Null);
    match there {
        Some((_, Tree::Map(connection))) => {
            for (key, value) in lifted {
                if connection.iter().any(|(there, _)| *there == key) {
                    return Err(SettingsError::new([key.as_str()], Kind::DuplicateKey(key.clone())));
                }
                connection.push((key, value));
            }
        }
        // It is not what it should be, which will be told.
        Some(_) => {}
        None => rest.push((CONNECTION[0].to_owned(), Tree::Map(lifted))),
    }
    Ok(Tree::Map(rest))
}

const CONNECTION: [&str; 2] = ["connection", "broker"];
const LIFTED: [&str; 5] = ["cafile", "capath", "cadata", "certfile", "keyfile"];

/// What has been read of a document, and why it goes no further.
#[derive(Default)]
struct Reading {
    values: Cell<usize>,
    text: Cell<usize>,
    /// serde_yaml's error knows the place, this the reason.
    refused: RefCell<Option<Kind>>,
}

impl Reading {
    fn value(&self, depth: usize) -> Value<'_> {
        Value { reading: self, depth }
    }

    fn refuse<E: Error>(&self, kind: Kind) -> E {
        self.refused.replace(Some(kind));
        E::custom("refused")
    }

    fn count<E: Error>(&self, text: usize) -> Result<(), E> {
        self.values.set(self.values.get() + 1);
        self.text.set(self.text.get() + text);
        if self.values.get() > MAX_VALUES || self.text.get() > MAX_TEXT {
            return Err(self.refuse(Kind::Excess("too many values; are there aliases of aliases?")));
        }
        Ok(())
    }
}

/// A value to be read.
#[derive(Clone, Copy)]
struct Value<'a> {
    reading: &'a Reading,
    depth: usize,
}

impl Value<'_> {
    fn within<E: Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.reading.refuse(Kind::Excess("values within values, too deep")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Tree, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    /// A document without anything.
    fn visit_none<E: Error>(self) -> Result<Tree, E> {
        self.visit_unit()
    }

    fn visit_unit<E: Error>(self) -> Result<Tree, E> {
        self.reading.count(0)?;
        Ok(Tree::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Tree, E> {
        self.reading.count(0)?;
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Tree, E> {
        self.visit_i128(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Tree, E> {
        self.visit_i128(number.into())
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<Tree, E> {
        self.reading.count(0)?;
        Ok(Tree::Int(number))
    }

    fn visit_u128<E: Error>(self, number: u128) -> Result<Tree, E> {
        self.visit_i128(i128::try_from(number).unwrap_or(i128::MAX))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Tree, E> {
        self.reading.count(0)?;
        Ok(Tree::Float(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Tree, E> {
        self.reading.count(text.len())?;
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        self.reading.count(0)?;
        let within = self.within()?;
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(within)? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        self.reading.count(0)?;
        let within = self.within()?;
        let mut seen = HashSet::new();
        let mut entries = Vec::new();
        while let Some(key) = map.next_key_seed(Key { reading: self.reading, seen: &mut seen })? {
            entries.push((key, map.next_value_seed(within)?));
        }
        Ok(Tree::Map(entries))
    }

    /// serde_yaml's reading of a tag.
    fn visit_enum<A: EnumAccess<'de>>(self, _tagged: A) -> Result<Tree, A::Error> {
        Err(self.reading.refuse(Kind::Excess("a tag; no setting has one")))
    }
}

/// The key of a map, to be read.
struct Key<'a> {
    reading: &'a Reading,
    seen: &'a mut HashSet<String>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        from.deserialize_any(self)
    }
}

impl Key<'_> {
    fn wrong<E: Error>(&self, found: &'static str) -> E {
        let expected = "text as a key (put it in quotes)".to_owned();
        self.reading.refuse(Kind::WrongType { expected, found })
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text as a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        self.reading.count(key.len())?;
        if key == "<<" {
            return Err(self.reading.refuse(Kind::Excess("maps cannot be merged; write the keys out")));
        }
        if !self.seen.insert(key.to_owned()) {
            return Err(self.reading.refuse(Kind::DuplicateKey(key.chars().take(64).collect())));
        }
        Ok(key.to_owned())
    }

    fn visit_unit<E: Error>(self) -> Result<String, E> {
        Err(self.wrong("nothing"))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<String, E> {
        Err(self.wrong("true or false"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<String, E> {
        Err(self.wrong("a number"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<String, E> {
        Err(self.wrong("a number"))
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<String, E> {
        Err(self.wrong("a number"))
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<String, E> {
        Err(self.wrong("a number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<String, E> {
        Err(self.wrong("a number"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(self.wrong("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(self.wrong("keys with values"))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(self.wrong("a tag"))
    }
}

/// Where in the text the error is: the key that is unknown, the value that is wrong, or, if it is not there, the
/// nearest around it.
fn locate(text: &str, error: &SettingsError) -> Option<Position> {
    let steps = error.steps();
    let at_key = error.kind().is_about_the_key();
    let place = |steps: &[Step]| {
        let place = Place { steps, at_key };
        let error = place.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
        error.location().map(|at| Position { line: at.line(), column: at.column() })
    };
    (0..=steps.len()).rev().find_map(|depth| {
        let steps = &steps[..depth];
        place(steps).or_else(|| match steps {
            // Under its other name, or at the top.
            [Step::Key(first), rest @ ..] if *first == CONNECTION[0] => {
                let other = [&[Step::from(CONNECTION[1])], rest].concat();
                place(&other).or_else(|| place(rest).filter(|_| !rest.is_empty()))
            }
            _ => None,
        })
    })
}

/// The way to a place, to fail there.
#[derive(Clone, Copy)]
struct Place<'a> {
    steps: &'a [Step],
    at_key: bool,
}

impl Place<'_> {
    fn scalar<E: Error>(self) -> Result<(), E> {
        if self.steps.is_empty() { Err(E::custom("here")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar()
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.scalar()?;
        let mut item = 0;
        loop {
            let next = match &self.steps[0] {
                Step::Item(wanted) if *wanted == item => {
                    list.next_element_seed(Self { steps: &self.steps[1..], ..self })?
                }
                _ => list.next_element::<IgnoredAny>()?.map(drop),
            };
            if next.is_none() {
                return Ok(());
            }
            item += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.scalar()?;
        while let Some(found) = map.next_key_seed(PlaceOfKey(self))? {
            if found {
                map.next_value_seed(Self { steps: &self.steps[1..], ..self })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Tells whether a key is the next step, or fails there when it is the last.
struct PlaceOfKey<'a>(Place<'a>);

impl<'de> DeserializeSeed<'de> for PlaceOfKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for PlaceOfKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        let found = matches!(&self.0.steps[0], Step::Key(wanted) if wanted == key);
        if found && self.0.at_key && self.0.steps.len() == 1 {
            return Err(E::custom("here"));
        }
        Ok(found)
    }
}
