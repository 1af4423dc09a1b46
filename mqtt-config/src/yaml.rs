//! YAML: the only file that knows of the crates that read and write it.
//!
//! Of the reader nothing but the events of a document is asked; what they stand for, and within
//! which bounds, is decided here: a [`Tree`]. The writer is serde_yaml, which is no longer
//! developed; it reads nothing.

use crate::error::{PathStep, Position, SettingsError, SettingsErrorKind as Kind, own_key};
use crate::numbers::resolve;
use crate::secret::{BYTE_ORDER_MARK, is_utf16};
use crate::tree::{ListItem, MapEntry, Tree};
use crate::{ConnectionSettings, Settings};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What is read of a file. A configuration with a thousand topics has a tenth of it.
const MAX_SIZE: usize = 1024 * 1024;
/// How many values there may be, and how many bytes of text, when every alias has been replaced by
/// what it stands for.
const MAX_VALUES: usize = 100_000;
const MAX_TEXT: usize = 4 * MAX_SIZE;
/// How deep values may lie in each other. Ours lie at 4.
const MAX_DEPTH: usize = 16;
/// How many brackets may be open at a time, quoted ones included: the scanner's work may grow with
/// the square.
const MAX_BRACKETS: usize = 100;

impl Settings {
    /// Reads a configuration from YAML text of at most 1 MiB; a byte order mark at its beginning is
    /// passed over.
    ///
    /// As a file of amqtt means it, the version is 3.1.1 unless
    /// [`martlet.version`](crate::Martlet::version) says otherwise. Files that it
    /// names are not looked for yet; [`builder`](Self::builder) does.
    ///
    /// # Errors
    /// [`SettingsError`] with line and column: no YAML, an unknown key, a wrong type, a value that
    /// cannot be, settings that contradict each other.
    pub fn from_yaml(text: &str) -> Result<Self, SettingsError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let tree = lift(read(text)?)?;
        let settings = Self::deserialize(tree)
            .map_err(|problem| SettingsError::new(problem.steps.into_iter().rev(), problem.kind))
            .and_then(|settings| settings.check().map(|()| settings));
        settings.map_err(|error| {
            // It was a tree a moment ago; errors are rare, and good files need no second one.
            let at = read(text)
                .and_then(lift)
                .ok()
                .and_then(|tree| locate(&tree, &error));
            error.at(at).without_names()
        })
    }

    /// Reads a configuration from a file of YAML, of at most 1 MiB.
    ///
    /// # Errors
    /// [`SettingsError`] with the file's name: when it cannot be read, and as
    /// [`from_yaml`](Self::from_yaml).
    pub fn load(path: impl AsRef<Path>) -> Result<Self, SettingsError> {
        let path = path.as_ref();
        let text = read_file(path).and_then(|bytes| {
            if is_utf16(&bytes) {
                return Err(whole(Kind::Utf16));
            }
            let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
            String::from_utf8(text.to_vec()).map_err(|_| whole(Kind::NotText))
        });
        text.and_then(|text| Self::from_yaml(&text))
            .map_err(|error| error.in_file(path))
    }

    /// Prints it as YAML. `***` stands where a secret is: what is read again must have it put in.
    pub fn to_yaml(&self) -> String {
        serde_yaml::to_string(self).expect("names, numbers and text can be written")
    }
}

/// An error of no place in particular.
fn whole(kind: Kind) -> SettingsError {
    SettingsError::new([""; 0], kind)
}

fn at(at: Position, kind: Kind) -> SettingsError {
    whole(kind).at(Some(at))
}

fn read_file(path: &Path) -> Result<Vec<u8>, SettingsError> {
    let fail = |error: &io::Error| {
        whole(Kind::Unreadable {
            kind: error.kind(),
            text: error.to_string(),
        })
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| fail(&error))?;
    file.take(MAX_SIZE as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fail(&error))?;
    Ok(bytes)
}

/// The values of a document.
fn read(text: &str) -> Result<Tree, SettingsError> {
    if text.len() > MAX_SIZE {
        return Err(whole(Kind::TooLarge { limit: MAX_SIZE }));
    }
    if has_deep_brackets(text) {
        return Err(whole(Kind::Excess("brackets within brackets, too deep")));
    }
    let parser = Parser::new_from_str(text);
    let tabbed = text.lines().map(tabbed).collect();
    match (Reading {
        parser,
        tabbed,
        anchors: HashMap::new(),
        values: 0,
        text: 0,
    })
    .document()?
    {
        Tree::Null => Err(whole(Kind::Empty)),
        tree => Ok(tree),
    }
}

/// How many characters a line is indented by, if a tab is among them.
fn tabbed(line: &str) -> Option<usize> {
    let indented = line.len() - line.trim_start_matches([' ', '\t']).len();
    line[..indented].contains('\t').then_some(indented)
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

/// What amqtt makes of the top of a file. `broker` is the old name of `connection`, and takes its
/// place where both are given. amqtt's documentation has the keys of certificates outside of it,
/// where its code has them inside.
fn lift(tree: Tree) -> Result<Tree, SettingsError> {
    let Tree::Map(entries) = tree else {
        return Ok(tree);
    };
    let (lifted, mut rest): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .partition(|entry| LIFTED.contains(&entry.key.as_str()));
    // A key without a value is equivalent to no key, wherever it stands.
    let lifted: Vec<_> = lifted
        .into_iter()
        .filter(|entry| entry.value != Tree::Null)
        .collect();
    let given = |rest: &[MapEntry], key| {
        rest.iter()
            .position(|entry: &MapEntry| entry.key == key && entry.value != Tree::Null)
    };
    if let (Some(_), Some(replaced)) = (given(&rest, BROKER), given(&rest, CONNECTION)) {
        // It does not count, but what is wrong with it is not passed over.
        let MapEntry {
            value, value_at, ..
        } = rest.remove(replaced);
        ConnectionSettings::deserialize(value).map_err(|problem| {
            let steps = problem
                .steps
                .into_iter()
                .chain([PathStep::from(CONNECTION)])
                .collect::<Vec<_>>();
            SettingsError::new(steps.into_iter().rev(), problem.kind)
                .at(Some(value_at))
                .without_names()
        })?;
    }
    if lifted.is_empty() {
        return Ok(Tree::Map(rest));
    }
    match given(&rest, BROKER)
        .or_else(|| given(&rest, CONNECTION))
        .map(|index| &mut rest[index].value)
    {
        Some(Tree::Map(connection)) => {
            connection.retain(|inside| inside.value != Tree::Null);
            for entry in lifted {
                if connection.iter().any(|inside| inside.key == entry.key) {
                    let kind = Kind::DuplicateKey(own_key(&entry.key));
                    return Err(
                        SettingsError::new([entry.key.as_str()], kind).at(Some(entry.key_at))
                    );
                }
                connection.push(entry);
            }
        }
        // It is not what it should be, which will be reported.
        Some(_) => {}
        None => {
            let place = lifted[0].key_at;
            let (key, value) = (CONNECTION.to_owned(), Tree::Map(lifted));
            rest.push(MapEntry {
                key,
                key_at: place,
                value,
                value_at: place,
            });
        }
    }
    Ok(Tree::Map(rest))
}

const CONNECTION: &str = "connection";
const BROKER: &str = "broker";
const LIFTED: [&str; 5] = ["cafile", "capath", "cadata", "certfile", "keyfile"];

/// Where in the text the error is: the key that is unknown, the value that is wrong, or, if it is
/// not there, the nearest around it.
fn locate(tree: &Tree, error: &SettingsError) -> Option<Position> {
    let at_key = error.kind().is_about_the_key();
    let (mut tree, mut place) = (tree, Some(START));
    for (depth, step) in error.steps().iter().enumerate() {
        match (tree, step) {
            (Tree::List(items), PathStep::Item(item)) => {
                let Some(item) = items.get(*item) else { break };
                (tree, place) = (&item.value, Some(item.at));
            }
            (Tree::Map(entries), step) => {
                let named = |key: &str| entries.iter().find(|entry| entry.key == key);
                let found = entries.iter().find(|entry| step.is_key(&entry.key));
                // The structure has one name for both.
                let found = found
                    .or_else(|| named(BROKER).filter(|_| depth == 0 && step.is_key(CONNECTION)));
                let Some(entry) = found else { break };
                let is_last = depth + 1 == error.steps().len();
                (tree, place) = (
                    &entry.value,
                    Some(if at_key && is_last {
                        entry.key_at
                    } else {
                        entry.value_at
                    }),
                );
            }
            _ => break,
        }
    }
    place
}

const START: Position = Position { line: 1, column: 1 };

/// What has been read of a document.
struct Reading<'a> {
    parser: Parser<'a, StrInput<'a>>,
    tabbed: Vec<Option<usize>>,
    anchors: HashMap<usize, Tree>,
    values: usize,
    text: usize,
}

type Parsed<T> = Result<T, SettingsError>;

impl<'a> Reading<'a> {
    fn document(mut self) -> Parsed<Tree> {
        let mut tree = Tree::Null;
        let mut documents = 0;
        loop {
            let (event, place) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(tree),
                Event::DocumentStart(_) if documents == 1 => {
                    return Err(at(
                        place,
                        Kind::Syntax("there is a second document".to_owned()),
                    ));
                }
                Event::DocumentStart(_) => documents = 1,
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                event => tree = self.value(event, place, 0)?,
            }
        }
    }

    fn next(&mut self) -> Parsed<(Event<'a>, Position)> {
        match self.parser.next_event() {
            Some(Ok((event, Span { start, end }))) => {
                let place = Position {
                    line: start.line(),
                    column: start.col() + 1,
                };
                // Without a bracket: its first key or item is here. PyYAML rejects a tab before it,
                // as YAML 1.1 does.
                let is_block = matches!(event, Event::MappingStart(..) | Event::SequenceStart(..))
                    && start.index() == end.index();
                if is_block && self.tabbed.get(start.line() - 1) == Some(&Some(start.col())) {
                    return Err(at(
                        place,
                        Kind::Syntax("a tab in the indentation; use spaces".to_owned()),
                    ));
                }
                Ok((event, place))
            }
            Some(Err(error)) => Err(syntax(&error)),
            None => Ok((Event::StreamEnd, START)),
        }
    }

    /// The value that begins with this event.
    fn value(&mut self, event: Event<'a>, place: Position, depth: usize) -> Parsed<Tree> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, text.len(), place)?;
                let tree = match tag.as_deref() {
                    Some(tag) if is_binary(tag) => {
                        Tree::Bytes(binary(&text).map_err(|kind| at(place, kind))?)
                    }
                    Some(_) => return Err(at(place, TAG)),
                    None if style == ScalarStyle::Plain => resolve(text.into_owned()).into(),
                    None => Tree::Text(text.into_owned()),
                };
                self.remember(anchor, &tree, place)?;
                Ok(tree)
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_begin(depth, tag.as_ref(), place)?;
                let mut items = Vec::new();
                loop {
                    let (event, place) = self.next()?;
                    if event == Event::SequenceEnd {
                        break;
                    }
                    items.push(ListItem {
                        at: place,
                        value: self.value(event, place, depth + 1)?,
                    });
                }
                let tree = Tree::List(items);
                self.remember(anchor, &tree, place)?;
                Ok(tree)
            }
            Event::MappingStart(anchor, tag) => {
                self.check_begin(depth, tag.as_ref(), place)?;
                let tree = Tree::Map(self.entries(depth)?);
                self.remember(anchor, &tree, place)?;
                Ok(tree)
            }
            Event::Alias(anchor) => {
                let recursive = || at(place, Kind::Excess("a value that contains itself"));
                let tree = self.anchors.get(&anchor).ok_or_else(recursive)?.clone();
                if depth + tree.depth() > MAX_DEPTH {
                    return Err(at(place, TOO_DEEP));
                }
                let (values, text) = tree.size();
                self.count(values, text, place)?;
                Ok(tree)
            }
            _ => Err(at(place, Kind::Syntax("a value is missing".to_owned()))),
        }
    }

    /// The entries of a map up to its end. Those of `<<` come first, and give way to those that are
    /// written out.
    fn entries(&mut self, depth: usize) -> Parsed<Vec<MapEntry>> {
        let mut seen = HashSet::new();
        let (mut merged, mut entries) = (Vec::<MapEntry>::new(), Vec::new());
        loop {
            let (event, key_at) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let is_merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = self.key(event, key_at, depth + 1)?;
            let (event, value_at) = self.next()?;
            let value = self.value(event, value_at, depth + 1)?;
            if is_merge {
                merge(&mut merged, value).map_err(|kind| at(value_at, kind))?;
                continue;
            }
            if !seen.insert(key.clone()) {
                return Err(at(key_at, Kind::DuplicateKey(own_key(&key))));
            }
            entries.push(MapEntry {
                key,
                key_at,
                value,
                value_at,
            });
        }
        merged.retain(|entry| !seen.contains(&entry.key));
        merged.append(&mut entries);
        Ok(merged)
    }

    fn key(&mut self, event: Event<'a>, place: Position, depth: usize) -> Parsed<String> {
        if matches!(&event, Event::Scalar(.., Some(_))) {
            return Err(at(place, TAG));
        }
        match self.value(event, place, depth)? {
            Tree::Text(key) | Tree::Plain(key) => Ok(key),
            other => {
                let expected = "text as a key (put it in quotes)".to_owned();
                Err(at(
                    place,
                    Kind::WrongType {
                        expected,
                        found: other.type_name(),
                    },
                ))
            }
        }
    }

    fn check_begin(
        &mut self,
        depth: usize,
        tag: Option<&Cow<'_, Tag>>,
        place: Position,
    ) -> Parsed<()> {
        if tag.is_some() {
            return Err(at(place, TAG));
        }
        if depth == MAX_DEPTH {
            return Err(at(place, TOO_DEEP));
        }
        self.count(1, 0, place)
    }

    fn remember(&mut self, anchor: usize, tree: &Tree, place: Position) -> Parsed<()> {
        if anchor > 0 {
            let (values, text) = tree.size();
            self.count(values, text, place)?;
            self.anchors.insert(anchor, tree.clone());
        }
        Ok(())
    }

    fn count(&mut self, values: usize, text: usize, place: Position) -> Parsed<()> {
        self.values += values;
        self.text += text;
        if self.values > MAX_VALUES || self.text > MAX_TEXT {
            return Err(at(
                place,
                Kind::Excess("too many values; are there aliases of aliases?"),
            ));
        }
        Ok(())
    }
}

const TAG: Kind = Kind::Excess("a tag; no setting has another than !!binary");
const TOO_DEEP: Kind = Kind::Excess("values within values, too deep");

/// The reader's own words, which quote nothing of the file but punctuation.
fn syntax(error: &ScanError) -> SettingsError {
    let marker = error.marker();
    let place = Position {
        line: marker.line(),
        column: marker.col() + 1,
    };
    at(place, Kind::Syntax(error.info().to_owned()))
}

/// `<<`, the merge key of YAML 1.1: a map or a list of maps, of which the first has precedence.
fn merge(merged: &mut Vec<MapEntry>, value: Tree) -> Result<(), Kind> {
    let wrong = |tree: &Tree| {
        let expected = "keys with values, or a list of those, to merge".to_owned();
        Kind::WrongType {
            expected,
            found: tree.type_name(),
        }
    };
    let maps = match value {
        Tree::Map(entries) => vec![entries],
        Tree::List(items) => {
            let maps = items.into_iter().map(|item| match item.value {
                Tree::Map(entries) => Ok(entries),
                other => Err(wrong(&other)),
            });
            maps.collect::<Result<Vec<_>, _>>()?
        }
        other => return Err(wrong(&other)),
    };
    let mut there: HashSet<String> = merged.iter().map(|entry| entry.key.clone()).collect();
    for entry in maps.into_iter().flatten() {
        if there.insert(entry.key.clone()) {
            merged.push(entry);
        }
    }
    Ok(())
}

fn is_binary(tag: &Tag) -> bool {
    let name = [tag.handle.as_str(), tag.suffix.as_str()].concat();
    name == "tag:yaml.org,2002:binary"
}

/// Base64 (RFC 4648 §4), with white space anywhere, as YAML has it.
fn binary(text: &str) -> Result<Vec<u8>, Kind> {
    let wrong = || Kind::Value("it is not base64".to_owned());
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count, mut padding) = (0u32, 0u32, 0u32);
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                padding += 1;
                continue;
            }
            _ => return Err(wrong()),
        };
        if padding > 0 {
            return Err(wrong());
        }
        bits = bits << 6 | u32::from(value);
        count += 1;
        if count % 4 == 0 {
            bytes.extend(&bits.to_be_bytes()[1..]);
            bits = 0;
        }
    }
    match (count % 4, padding) {
        (0, 0) => {}
        (2, 2) => bytes.push((bits >> 4) as u8),
        (3, 1) => bytes.extend(&((bits >> 2) as u16).to_be_bytes()),
        _ => return Err(wrong()),
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64() {
        let table: [(&str, Option<&[u8]>); 11] = [
            ("", Some(b"")),
            ("Zg==", Some(b"f")),
            ("Zm8=", Some(b"fo")),
            ("Zm9v", Some(b"foo")),
            ("Zm9v\n YmFy", Some(b"foobar")),
            ("/+8=", Some(&[0xff, 0xef])),
            ("Zg", None),
            ("Zg=", None),
            ("Z", None),
            ("Zg==Zg==", None),
            ("Zm9v!", None),
        ];
        for (text, bytes) in table {
            assert_eq!(binary(text).ok().as_deref(), bytes, "{text:?}");
        }
    }
}
