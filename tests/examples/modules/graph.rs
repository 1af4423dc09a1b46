//! The modules of a crate and the imports between them.

use super::source::{Token, closing, starts_with, tokens, without_tests};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A path of segments from the crate's root, which is the empty path.
type ModulePath = Vec<String>;

/// The modules of one crate that have files, and the imports between them. Re-exports are followed
/// to the module that defines the name; they are not imports themselves.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) modules: BTreeMap<ModulePath, Module>,
    pub(crate) arrows: BTreeSet<(ModulePath, ModulePath)>,
    /// The first-level folders.
    folders: BTreeSet<String>,
}

/// A module's file.
#[derive(Debug, Default)]
pub(crate) struct Module {
    tokens: Vec<Token>,
    /// The names in `use` items, with their paths.
    aliases: BTreeMap<String, ModulePath>,
    /// The paths of `use …::*` items.
    globs: Vec<ModulePath>,
}

/// A name in a `use` item.
struct Import {
    path: Vec<String>,
    /// `None` is a glob.
    name: Option<String>,
    /// Whether it is visible outside the module: a re-export.
    public: bool,
}

impl Graph {
    /// Reads the crate whose root is `src/lib.rs`, or `src/main.rs` where there is no library.
    pub(crate) fn read(src: &Path) -> Result<Self, String> {
        let mut graph = Self::default();
        let library = src.join("lib.rs");
        let root = match library.exists() {
            true => library,
            false => src.join("main.rs"),
        };
        graph.read_module(&root, src, Vec::new())?;
        let imports: Vec<_> = graph
            .modules
            .iter()
            .map(|(path, module)| (path.clone(), imports(&module.tokens)))
            .collect();
        for (path, imports) in &imports {
            for import in imports {
                let Some(target) = graph.absolute(path, &import.path) else {
                    continue;
                };
                let module = graph.modules.get_mut(path).expect("it was just listed");
                match &import.name {
                    Some(name) => drop(module.aliases.insert(name.clone(), target)),
                    None => module.globs.push(target),
                }
            }
        }
        for (path, imports) in &imports {
            graph.add_arrows(path, imports);
        }
        Ok(graph)
    }

    fn read_module(&mut self, file: &Path, dir: &Path, path: ModulePath) -> Result<(), String> {
        let text =
            fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let tokens = without_tests(&tokens(&text));
        for at in 0..tokens.len().saturating_sub(2) {
            if tokens[at].text != "mod" || tokens[at + 2].text != ";" {
                continue;
            }
            let name = &tokens[at + 1].text;
            let mut child = path.clone();
            child.push(name.clone());
            let inside = dir.join(name);
            let beside: PathBuf = dir.join(format!("{name}.rs"));
            if inside.is_dir() && path.is_empty() {
                self.folders.insert(name.clone());
            }
            // A module with `#[path]` has neither file and is left out.
            if beside.exists() {
                self.read_module(&beside, &inside, child)?;
            } else if inside.join("mod.rs").exists() {
                self.read_module(&inside.join("mod.rs"), &inside, child)?;
            }
        }
        let module = Module {
            tokens,
            ..Module::default()
        };
        self.modules.insert(path, module);
        Ok(())
    }

    /// The path from the root, if it is of this crate.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<ModulePath> {
        let mut base = module.to_vec();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => {
                base.clear();
                rest = &path[1..];
            }
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|segment| segment == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            first => {
                let mut child = base.clone();
                child.push(first.to_owned());
                self.modules.get(&child)?;
            }
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    /// The module in which the item at `path` is defined, behind all re-exports.
    fn home(&self, path: &[String], depth: usize) -> ModulePath {
        let mut module = Vec::new();
        for (at, segment) in path.iter().enumerate() {
            let mut child = module.clone();
            child.push(segment.clone());
            if self.modules.contains_key(&child) {
                module = child;
                continue;
            }
            let Some(found) = self.modules.get(&module).filter(|_| depth < 8) else {
                break;
            };
            let rest = &path[at + 1..];
            if let Some(target) = found.aliases.get(segment) {
                return self.home(&[target, rest].concat(), depth + 1);
            }
            for target in &found.globs {
                let home = self.home(&[target, &path[at..]].concat(), depth + 1);
                let definers = self.modules.get(&home).map(|module| &module.tokens);
                if definers.is_some_and(|tokens| uses(tokens, segment)) {
                    return home;
                }
            }
            break;
        }
        module
    }

    fn add_arrows(&mut self, path: &ModulePath, imports: &[Import]) {
        let module = &self.modules[path];
        let mut targets = Vec::new();
        for import in imports {
            let Some(target) = self.absolute(path, &import.path) else {
                continue;
            };
            // A re-export is an import only where the module uses the name itself.
            let used = match &import.name {
                Some(name) => uses(&module.tokens, name),
                None => false,
            };
            if !import.public || used {
                targets.push(target);
            }
        }
        targets.extend(
            inline_paths(&module.tokens)
                .iter()
                .filter_map(|inline| self.absolute(path, inline)),
        );
        for target in targets {
            let home = self.home(&target, 0);
            if home != *path {
                self.arrows.insert((path.clone(), home));
            }
        }
    }

    /// The cycles: sets of more than one module of which each can be reached from each.
    pub(crate) fn cycles(&self) -> Vec<Vec<ModulePath>> {
        let nodes: Vec<ModulePath> = self.modules.keys().cloned().collect();
        cycles(&nodes, &self.arrows)
    }

    /// The first-level folder of a module; `.` for files that are in none.
    pub(crate) fn room<'a>(&'a self, module: &'a [String]) -> &'a str {
        match module.first() {
            Some(first) if self.folders.contains(first) => first,
            _ => ".",
        }
    }

    /// The arrows between rooms.
    pub(crate) fn room_arrows(&self) -> BTreeSet<(String, String)> {
        self.arrows
            .iter()
            .map(|(from, to)| (self.room(from).to_owned(), self.room(to).to_owned()))
            .filter(|(from, to)| from != to)
            .collect()
    }

    /// Whether the modules of a cycle are in more than one room.
    pub(crate) fn crosses_rooms(&self, cycle: &[ModulePath]) -> bool {
        let rooms: BTreeSet<&str> = cycle.iter().map(|module| self.room(module)).collect();
        rooms.len() > 1
    }
}

/// The strongly connected components of more than one node.
pub(crate) fn cycles<T: Clone + Ord>(nodes: &[T], arrows: &BTreeSet<(T, T)>) -> Vec<Vec<T>> {
    let reach: BTreeMap<&T, BTreeSet<&T>> = nodes
        .iter()
        .map(|node| (node, reachable(node, arrows)))
        .collect();
    let mut cycles = Vec::new();
    let mut placed = BTreeSet::new();
    for node in nodes {
        if !reach[node].contains(node) || placed.contains(node) {
            continue;
        }
        let mut cycle = Vec::new();
        for other in &reach[node] {
            if reach.get(other).is_some_and(|back| back.contains(node)) {
                placed.insert(*other);
                cycle.push((*other).clone());
            }
        }
        cycles.push(cycle);
    }
    cycles
}

fn reachable<'a, T: Ord>(from: &T, arrows: &'a BTreeSet<(T, T)>) -> BTreeSet<&'a T> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&T> = arrows
        .iter()
        .filter(|a| a.0 == *from)
        .map(|a| &a.1)
        .collect();
    while let Some(node) = open.pop() {
        if found.insert(node) {
            open.extend(arrows.iter().filter(|a| a.0 == *node).map(|a| &a.1));
        }
    }
    found
}

/// Whether the name is used outside `use` items.
fn uses(tokens: &[Token], name: &str) -> bool {
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].text == "use" {
            while at < tokens.len() && tokens[at].text != ";" {
                at += 1;
            }
        } else if tokens[at].text == name {
            return true;
        }
        at += 1;
    }
    false
}

fn imports(tokens: &[Token]) -> Vec<Import> {
    let mut imports = Vec::new();
    for at in 0..tokens.len() {
        if tokens[at].text == "use" {
            let before = at.checked_sub(1).map_or("", |before| &tokens[before].text);
            let public = matches!(before, "pub" | ")");
            read_tree(tokens, at + 1, &[], public, &mut imports);
        }
    }
    imports
}

/// Reads one tree of a `use` item and returns the index behind it.
fn read_tree(
    tokens: &[Token],
    mut at: usize,
    prefix: &[String],
    public: bool,
    imports: &mut Vec<Import>,
) -> usize {
    let mut path = prefix.to_vec();
    let mut name = None;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "::" => at += 1,
            "{" => {
                let end = closing(tokens, at);
                at += 1;
                while at < end {
                    at = read_tree(tokens, at, &path, public, imports) + 1;
                }
                return end + 1;
            }
            "*" => {
                imports.push(Import {
                    path,
                    name: None,
                    public,
                });
                return at + 1;
            }
            "as" => {
                name = Some(tokens[at + 1].text.clone());
                at += 2;
            }
            ";" | "," | "}" => break,
            segment => {
                if segment != "self" || path.is_empty() {
                    path.push(segment.to_owned());
                }
                at += 1;
            }
        }
    }
    let name = name.or_else(|| path.last().cloned());
    if name.is_some() {
        imports.push(Import { path, name, public });
    }
    at
}

/// Paths in code that begin with `crate`, `self`, `super` or a name: the last are of this crate if
/// a child module has that name.
fn inline_paths(tokens: &[Token]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at + 1 < tokens.len() {
        if tokens[at].text == "use" {
            while at < tokens.len() && tokens[at].text != ";" {
                at += 1;
            }
            continue;
        }
        let first = at == 0 || !matches!(tokens[at - 1].text.as_str(), "::" | "in");
        if first && is_segment(&tokens[at].text) && tokens[at + 1].text == "::" {
            let mut path = vec![tokens[at].text.clone()];
            while starts_with(&tokens[at + 1..], &["::"])
                && tokens
                    .get(at + 2)
                    .is_some_and(|next| is_segment(&next.text))
            {
                path.push(tokens[at + 2].text.clone());
                at += 2;
            }
            paths.push(path);
        }
        at += 1;
    }
    paths
}

fn is_segment(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a crate's sources to a temporary folder and reads them.
    fn graph(name: &str, files: &[(&str, &str)]) -> Graph {
        let id = std::process::id();
        let src = std::env::temp_dir().join(format!("martlet-modules-{id}-{name}"));
        for (file, text) in files {
            let file = src.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let graph = Graph::read(&src);
        fs::remove_dir_all(&src).unwrap();
        graph.unwrap()
    }

    #[test]
    fn a_cycle_behind_re_exports_is_found() {
        let graph = graph(
            "cycle",
            &[
                (
                    "lib.rs",
                    "mod a; mod b; mod c; pub use a::{A, Other as Name}; pub use b::*;",
                ),
                (
                    "a.rs",
                    "use crate::{B, c::{self, C}}; pub struct A; pub struct Other;",
                ),
                ("b.rs", "pub struct B(crate::Name);"),
                ("c.rs", "pub struct C;"),
            ],
        );
        let cycle = [vec!["a".to_owned()], vec!["b".to_owned()]];
        assert_eq!(graph.cycles(), [cycle]);
        assert_eq!(graph.arrows.len(), 3);
        assert!(!graph.crosses_rooms(&graph.cycles()[0]));
    }

    #[test]
    fn a_cycle_across_rooms_is_found() {
        let graph = graph(
            "rooms",
            &[
                ("lib.rs", "mod hub; mod link; pub use hub::Hub;"),
                ("hub.rs", "mod state; pub use self::state::Hub;"),
                (
                    "hub/state.rs",
                    "use crate::link::Link; pub struct Hub(Link);",
                ),
                (
                    "link.rs",
                    "pub struct Link; fn f() { super::hub::Hub::new() }",
                ),
                ("link/unused.rs", "not Rust at all"),
            ],
        );
        assert_eq!(graph.cycles().len(), 1);
        assert!(graph.crosses_rooms(&graph.cycles()[0]));
        let arrow = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(
            graph.room_arrows().into_iter().collect::<Vec<_>>(),
            [arrow("hub", "link"), arrow("link", "hub")]
        );
    }

    #[test]
    fn tests_comments_and_strings_are_no_imports() {
        let graph = graph(
            "none",
            &[
                ("lib.rs", "mod a; mod b;"),
                ("a.rs", "use crate::b::B; pub struct A;"),
                (
                    "b.rs",
                    "pub struct B; // crate::a::A\n/* crate::a::A */ const X: &str = \"crate::a::A\"; \
                     #[cfg(test)] #[expect(unused)] mod tests { use crate::a::A; } \
                     fn f<'a>(_: &'a B) -> char { '\"' } #[cfg(test)] use crate::a::A;",
                ),
            ],
        );
        assert_eq!(graph.arrows.len(), 1);
        assert!(graph.cycles().is_empty());
    }
}
