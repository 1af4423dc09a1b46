//! The command line as a whole: the file of options, properties of several words, and the commands.

use crate::connection::SEPARATOR;
use crate::exit::{Failure, Status};
use crate::report::Report;
use crate::{bench, broker, documents, probe, publish, request, subscribe, watch};
use clap::{ArgAction, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// An MQTT client for the command line, for versions 3.1, 3.1.1 and 5
#[derive(Parser)]
#[command(name = "martlet", version, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Commands,
}

#[derive(Subcommand)]
enum Commands {
    /// Publish messages
    Pub(Box<publish::PublishOptions>),
    /// Subscribe to topics, and print the messages
    Sub(Box<subscribe::SubscribeOptions>),
    /// Publish a request and print its response, or answer requests
    Rr(Box<request::RequestOptions>),
    /// Find out what a broker supports, and what it gets wrong
    Probe(Box<probe::ProbeOptions>),
    /// Watch topics live, in a terminal
    Watch(Box<watch::WatchOptions>),
    /// Measure what a server does under load
    Bench(bench::BenchOptions),
    /// Run a broker for tests and for trying things out; not for production
    Broker(broker::BrokerOptions),
    /// Print the completions of a shell
    Completions(documents::CompletionOptions),
    /// Print a manual page, or write all of them to a folder
    Man(documents::ManOptions),
}

/// The commands that read a file of options.
const WITH_FILE: [&str; 5] = ["pub", "sub", "rr", "probe", "watch"];

/// A file of options is no larger.
const MAX_FILE: u64 = 1024 * 1024;

/// Runs the command and returns its exit status.
pub(crate) fn run(arguments: Vec<OsString>) -> Status {
    let parsed = match parse(arguments) {
        Ok(parsed) => parsed,
        Err(ParseError::Ours(failure)) => {
            Report::new(false).failure(&failure);
            return failure.status;
        }
        Err(ParseError::Clap(error)) => return print(&error),
    };
    let (is_quiet, result) = match parsed.command {
        Commands::Pub(options) => (options.connection.quiet, in_runtime(publish::run(*options))),
        Commands::Sub(options) => (
            options.connection.quiet,
            in_runtime(subscribe::run(*options)),
        ),
        Commands::Rr(options) => (options.connection.quiet, in_runtime(request::run(*options))),
        Commands::Probe(options) => (options.connection.quiet, in_runtime(probe::run(*options))),
        Commands::Watch(options) => (options.connection.quiet, in_runtime(watch::run(*options))),
        Commands::Bench(options) => (options.is_quiet(), in_runtime(bench::run(options))),
        Commands::Broker(options) => (false, in_runtime(broker::run(options))),
        Commands::Completions(options) => (false, documents::completions(&options, command())),
        Commands::Man(options) => (false, documents::man(&options, command())),
    };
    match result {
        Ok(()) => Status::Done,
        Err(failure) => {
            Report::new(is_quiet && failure.status != Status::Usage).failure(&failure);
            failure.status
        }
    }
}

/// Prints what clap has to say: help that was asked for, or an error.
fn print(error: &clap::Error) -> Status {
    let printed = error.print().and_then(|()| std::io::stdout().flush());
    match (error.exit_code(), printed) {
        (0, Ok(())) => Status::Done,
        (0, Err(error)) if error.kind() == ErrorKind::BrokenPipe => Status::BrokenPipe,
        (0, Err(error)) => {
            Report::new(false).error(&format!("standard output: {error}"));
            Status::Failed
        }
        // The exit status says the same where standard error is closed.
        _ => Status::Usage,
    }
}

/// The command as clap knows it.
fn command() -> Command {
    let mut command = Arguments::command().after_help(documents::exit_statuses());
    for name in WITH_FILE {
        command = command.mut_subcommand(name, |command| {
            with_connection(command).after_help(documents::after_help(name))
        });
    }
    command.mut_subcommand("bench", |mut command| {
        for name in bench::COMMANDS {
            command = command.mut_subcommand(name, |command| {
                with_connection(command).after_help(bench::after_help(name))
            });
        }
        command
    })
}

/// A command with the options of the connection.
fn with_connection(command: Command) -> Command {
    command
        .disable_help_flag(true)
        .args_override_self(true)
        // A value may begin with a hyphen, as with mosquitto: it is the option's all the same.
        .mut_args(|argument| {
            let is_option = !argument.is_positional();
            match is_option && argument.get_action().takes_values() {
                true => argument.allow_hyphen_values(true),
                false => argument,
            }
        })
        // `-h` is the host, as with mosquitto.
        .arg(
            clap::Arg::new("help")
                .long("help")
                .action(ArgAction::Help)
                .help("Print help"),
        )
}

enum ParseError {
    Ours(Failure),
    Clap(clap::Error),
}

fn parse(arguments: Vec<OsString>) -> Result<Arguments, ParseError> {
    let mut command = command();
    command.build();
    let arguments = expand(&command, arguments).map_err(ParseError::Ours)?;
    let matches = command
        .try_get_matches_from_mut(arguments)
        .map_err(ParseError::Clap)?;
    Arguments::from_arg_matches(&matches).map_err(ParseError::Clap)
}

/// The client's work is on a thread of its own: one that blocks in standard output does not stop
/// it.
fn in_runtime<F: Future<Output = Result<(), Failure>>>(work: F) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(Status::Failed, format!("cannot start the runtime: {error}"))
        })?;
    let result = runtime.block_on(work);
    // A thread that reads standard input is not waited for.
    runtime.shutdown_background();
    result
}

/// Puts the file of options before the others, and makes one word of each property.
fn expand(command: &Command, arguments: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    let Some((command, name, words)) = addressed(command, &arguments) else {
        return Ok(arguments);
    };
    let mut arguments = arguments.into_iter();
    let mut expanded: Vec<OsString> = arguments.by_ref().take(words).collect();
    let given = Options::split(command, arguments.collect());
    if let Some((path, is_named)) = options_file(&name, &given) {
        let mut found = Options::split(command, read_options(command, &path, is_named)?);
        found.check()?;
        found.give_way_to(&given, command);
        expanded.extend(found.into_words());
    }
    given.check()?;
    expanded.extend(given.into_words());
    Ok(expanded)
}

/// The command that the first words name, its name in that of its file of options, and how many
/// words these are; none for a command that reads no such file.
fn addressed<'a>(
    command: &'a Command,
    arguments: &[OsString],
) -> Option<(&'a Command, String, usize)> {
    let name = arguments.get(1)?.to_str()?;
    if name == "bench" {
        let kind = arguments.get(2)?.to_str()?;
        let found = command.find_subcommand(name)?.find_subcommand(kind)?;
        return Some((found, format!("bench_{kind}"), 3));
    }
    let is_with_file = WITH_FILE.contains(&name);
    let found = command.find_subcommand(name).filter(|_| is_with_file)?;
    Some((found, name.to_owned(), 2))
}

/// The words of a command line, those of an option together.
struct Options(Vec<(Option<String>, Vec<OsString>)>);

impl Options {
    fn split(command: &Command, words: Vec<OsString>) -> Self {
        let mut options = Vec::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let Some(written) = word.to_str().and_then(|text| written(command, text)) else {
                options.push((None, vec![word]));
                continue;
            };
            for Written { name, word, values } in written {
                if name == "property" {
                    let first = attached(&word).map(OsString::from);
                    options.push((Some(name), property(first, &mut words)));
                    continue;
                }
                let values = words.by_ref().take(values);
                let words = std::iter::once(word.into()).chain(values).collect();
                options.push((Some(name), words));
            }
        }
        Self(options)
    }

    /// Rejects what clap would take the last of, although the others are lost then.
    fn check(&self) -> Result<(), Failure> {
        let is_message = |(name, _): &&(Option<String>, _)| name.as_deref() == Some("message");
        match self.0.iter().filter(is_message).count() {
            0 | 1 => Ok(()),
            _ => Err(Failure::usage(
                "--message can be given once: for several messages use -l, or -f for each",
            )),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|(found, _)| found.as_deref() == Some(name))
    }

    /// The value of a long option: the next word, or what follows its `=`.
    fn value(&self, name: &str) -> Option<&OsStr> {
        let options = &mut self.0.iter().rev();
        let (_, words) = options.find(|(found, _)| found.as_deref() == Some(name))?;
        match words.as_slice() {
            [_, value, ..] => Some(value),
            [word] => attached(word.to_str()?).map(OsStr::new),
            [] => None,
        }
    }

    /// Drops what the command line says in another way.
    fn give_way_to(&mut self, given: &Self, command: &Command) {
        /// What an option takes the place of although clap takes both.
        const REPLACES: &[(&str, &str)] = &[
            ("verbose", "output"),
            ("format", "output"),
            ("output", "verbose"),
            ("output", "format"),
        ];
        let given: Vec<&str> = given
            .0
            .iter()
            .filter_map(|(name, _)| name.as_deref())
            .collect();
        let gives_way = |found: &str| {
            let is_replaced = |name: &&str| {
                REPLACES.contains(&(*name, found)) || exclude_each_other(command, name, found)
            };
            given.iter().any(is_replaced)
        };
        self.0
            .retain(|(found, _)| !found.as_deref().is_some_and(gives_way));
    }

    fn into_words(self) -> impl Iterator<Item = OsString> {
        self.0.into_iter().flat_map(|(_, words)| words)
    }
}

/// Whether clap takes at most one of two options: one conflicts with the other, or they are in a
/// group that has one.
fn exclude_each_other(command: &Command, one: &str, other: &str) -> bool {
    let conflicts = |one: &str, other: &str| {
        let mut arguments = command.get_arguments();
        arguments
            .find(|argument| argument.get_id() == one)
            .is_some_and(|argument| {
                let excluded = command.get_arg_conflicts_with(argument);
                excluded.iter().any(|argument| argument.get_id() == other)
            })
    };
    let mut groups = command.get_groups();
    let share_group = groups.any(|group| {
        let has = |name: &str| group.get_args().any(|id| id == name);
        !group.clone().is_multiple() && has(one) && has(other)
    });
    one != other && (share_group || conflicts(one, other) || conflicts(other, one))
}

/// An option of a command line.
struct Written {
    name: String,
    /// With the value, where that is not a word of its own.
    word: String,
    /// How many of the next words are its values.
    values: usize,
}

/// The options that this word is: several where short ones are joined.
fn written(command: &Command, word: &str) -> Option<Vec<Written>> {
    let values = |argument: &clap::Arg| match argument.get_action().takes_values() {
        true => argument
            .get_num_args()
            .map_or(1, |range| range.min_values()),
        false => 0,
    };
    if let Some(long) = word.strip_prefix("--") {
        let (long, has_value) = match long.split_once('=') {
            Some((long, _)) => (long, true),
            None => (long, false),
        };
        let argument = command.get_arguments().find(|argument| {
            let aliases = argument.get_all_aliases().unwrap_or_default();
            argument.get_long() == Some(long) || aliases.contains(&long)
        })?;
        return Some(vec![Written {
            name: argument.get_id().to_string(),
            word: word.to_owned(),
            values: if has_value { 0 } else { values(argument) },
        }]);
    }
    // `-vd`, `-dt topic` and `-ttopic`: the last that takes a value has what is left.
    let mut rest = word.strip_prefix('-')?;
    let mut all = Vec::new();
    while let Some(short) = rest.chars().next() {
        let mut arguments = command.get_arguments();
        let argument = arguments.find(|argument| argument.get_short() == Some(short))?;
        let after = &rest[short.len_utf8()..];
        let (word, values) = match values(argument) {
            0 => (format!("-{short}"), 0),
            count if after.is_empty() => (format!("-{short}"), count),
            _ => (format!("-{rest}"), 0),
        };
        let is_whole = word.len() > rest.len();
        all.push(Written {
            name: argument.get_id().to_string(),
            word,
            values,
        });
        if is_whole {
            break;
        }
        rest = after;
    }
    (!all.is_empty()).then_some(all)
}

/// The value that is in the word of its option: `--name=value`, or `-nvalue`.
fn attached(word: &str) -> Option<&str> {
    if word.starts_with("--") {
        return word.split_once('=').map(|(_, value)| value);
    }
    let value = word.get(2..)?;
    // clap takes `-n=value` for the same.
    let value = value.strip_prefix('=').unwrap_or(value);
    (!value.is_empty()).then_some(value)
}

/// `COMMAND IDENTIFIER VALUE`, or `COMMAND user-property NAME VALUE`. `first`: the command, where it
/// is no word of its own.
fn property(first: Option<OsString>, words: &mut impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut parts = Vec::from_iter(first);
    parts.extend(words.by_ref().take(2 - parts.len()));
    let values = match parts.get(1).is_some_and(|part| part == "user-property") {
        true => 2,
        false => 1,
    };
    parts.extend(words.take(values));
    let separator = SEPARATOR.to_string();
    vec!["--property".into(), parts.join(OsStr::new(&separator))]
}

/// The file of options, and whether the command line names it.
fn options_file(name: &str, given: &Options) -> Option<(PathBuf, bool)> {
    if let Some(path) = given.value("options_file") {
        return Some((path.into(), true));
    }
    if given.has("no_options_file") {
        return None;
    }
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let folder = match (set("XDG_CONFIG_HOME"), set("HOME")) {
        (Some(folder), _) => PathBuf::from(folder),
        (None, Some(home)) => Path::new(&home).join(".config"),
        (None, None) => return None,
    };
    Some((folder.join(format!("martlet_{name}")), false))
}

/// One option a line, its value behind a space; `#` begins a comment.
fn read_options(command: &Command, path: &Path, is_named: bool) -> Result<Vec<OsString>, Failure> {
    let wrong =
        |text: String| Failure::usage(format!("--options-file: {}: {text}", path.display()));
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound && !is_named => return Ok(Vec::new()),
        opened => opened.map_err(|error| wrong(error.to_string()))?,
    };
    // What is no regular file does not say how large it is.
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(wrong(format!("larger than {MAX_FILE} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("not UTF-8".to_owned()))?;
    let mut words = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_end_matches('\r');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let read = read_line(command, line);
        words.extend(read.map_err(|error| wrong(format!("line {}: {error}", number + 1)))?);
    }
    Ok(words)
}

/// The words of a line. All its option needs is there: it would take the next line otherwise, or
/// what the command line begins with.
fn read_line(command: &Command, line: &str) -> Result<Vec<OsString>, String> {
    let (option, value) = match line.split_once(' ') {
        Some((option, value)) => (option, value.trim_start_matches(' ')),
        None => (line, ""),
    };
    if !option.starts_with('-') {
        return Err("expected an option".to_owned());
    }
    if value.contains(SEPARATOR) {
        return Err("a value holds a NUL".to_owned());
    }
    let written = written(command, option).ok_or_else(|| format!("there is no option {option}"))?;
    let last = written.last().ok_or("expected an option")?;
    let expected = match (last.name.as_str(), last.values) {
        ("property", 1) if value.split_ascii_whitespace().nth(1) == Some("user-property") => 4,
        ("property", 1) => 3,
        (_, values) => values,
    };
    let values: Vec<&str> = match (last.name.as_str(), expected) {
        _ if value.is_empty() => Vec::new(),
        ("topic_qos", 2) => value
            .rsplit_once(' ')
            .map_or_else(|| vec![value], |(topic, qos)| vec![topic, qos]),
        (_, parts) => value.splitn(parts.max(1), ' ').collect(),
    };
    if values.len() != expected {
        return Err(match expected {
            0 => format!("{option} takes no value"),
            1 => format!("{option} needs a value"),
            _ => format!("{option} needs {expected} values"),
        });
    }
    let words = std::iter::once(option).chain(values);
    Ok(words.map(OsString::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    fn expanded(words: &[&str]) -> Vec<String> {
        let mut command = command();
        command.build();
        let words = words.iter().map(OsString::from).collect();
        let words = expand(&command, words).unwrap();
        words
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    /// A payload that looks like an option is a payload, as with mosquitto.
    #[test]
    fn a_property_becomes_one_word() {
        let begin = ["martlet", "pub", "--no-options-file"];
        let words = |rest: &[&str]| expanded(&[&begin[..], rest].concat())[3..].to_vec();
        assert_eq!(
            words(&["-D", "publish", "user-property", "-a", "b", "-t", "x"]),
            ["--property", "publish\0user-property\0-a\0b", "-t", "x"]
        );
        assert_eq!(
            words(&[
                "-D",
                "publish",
                "content-type",
                "text",
                "-m",
                "-D",
                "-t",
                "x"
            ]),
            [
                "--property",
                "publish\0content-type\0text",
                "-m",
                "-D",
                "-t",
                "x"
            ]
        );
        assert_eq!(
            words(&["-rm", "-D", "-tx", "-d"]),
            ["-r", "-m", "-D", "-tx", "-d"]
        );
        assert_eq!(words(&["-D", "publish"]), ["--property", "publish"]);
        assert_eq!(
            words(&["--topic-qos", "-D", "1"]),
            ["--topic-qos", "-D", "1"]
        );
    }

    /// `-rD publish content-type text` has lost its `-r`: the message was published, and not retained.
    #[test]
    fn options_that_are_joined_to_a_property_stay() {
        let begin = ["martlet", "pub", "--no-options-file"];
        let words = |rest: &[&str]| expanded(&[&begin[..], rest].concat())[3..].to_vec();
        let property = ["--property", "publish\0content-type\0text"];
        assert_eq!(
            words(&["-rdD", "publish", "content-type", "text", "-q1"]),
            [&["-r", "-d"], &property[..], &["-q1"]].concat()
        );
        for joined in ["-Dpublish", "--property=publish", "-D=publish"] {
            assert_eq!(words(&[joined, "content-type", "text"]), property);
        }
        assert_eq!(words(&["-rZm", "x"]), ["-rZm", "x"], "clap names it");
    }

    /// An option that lacks its value took the next line, or the beginning of the command line: with
    /// `--will-payload` at the end of the file, `-r` was the payload of the will.
    #[test]
    fn a_line_of_a_file_is_whole() {
        let mut command = command();
        command.build();
        let publish = command.find_subcommand("pub").unwrap();
        for (line, expected) in [
            ("-m two  words", Ok(vec!["-m", "two  words"])),
            ("-rm x", Ok(vec!["-rm", "x"])),
            ("-q1", Ok(vec!["-q1"])),
            ("--pw=a b", Err("--pw=a takes no value")),
            ("-r", Ok(vec!["-r"])),
            ("-r true", Err("-r takes no value")),
            ("-m", Err("-m needs a value")),
            ("--will-payload ", Err("--will-payload needs a value")),
            (
                "-D publish content-type a b",
                Ok(vec!["-D", "publish", "content-type", "a b"]),
            ),
            (
                "-D publish user-property a b c",
                Ok(vec!["-D", "publish", "user-property", "a", "b c"]),
            ),
            ("-D publish content-type", Err("-D needs 3 values")),
            ("-D publish user-property a", Err("-D needs 4 values")),
            ("-D publish content-type a\0b", Err("a value holds a NUL")),
            ("--topic-qos a b 1", Ok(vec!["--topic-qos", "a b", "1"])),
            ("--topic-qos a", Err("--topic-qos needs 2 values")),
            ("--nonsense x", Err("there is no option --nonsense")),
            ("--", Err("there is no option --")),
            ("-", Err("there is no option -")),
            ("host x", Err("expected an option")),
        ] {
            let expected = expected.map_err(str::to_owned);
            let found = read_line(publish, line);
            let found = found.map(|words| {
                let words = words.into_iter().map(OsString::into_string);
                words.collect::<Result<Vec<_>, _>>().unwrap()
            });
            let expected =
                expected.map(|words| words.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(found, expected, "{line:?}");
        }
    }

    /// Of the options of a group that has one, too.
    #[test]
    fn a_payload_takes_the_place_of_that_of_the_file() {
        let mut command = command();
        command.build();
        let publish = command.find_subcommand("pub").unwrap();
        for given in ["-s", "-n", "-l"] {
            let words = |words: &[&str]| words.iter().map(OsString::from).collect();
            let mut file = Options::split(publish, words(&["-m", "x", "-f", "y", "-r"]));
            file.give_way_to(&Options::split(publish, words(&[given])), publish);
            assert_eq!(file.into_words().collect::<Vec<_>>(), ["-r"], "{given}");
        }
    }

    #[test]
    fn the_command_line_has_precedence_over_the_file() {
        let mut command = command();
        command.build();
        let sub = command.find_subcommand("sub").unwrap();
        let words = |words: &[&str]| words.iter().map(OsString::from).collect();
        let left = |file: &[&str], line: &[&str]| {
            let mut file = Options::split(sub, words(file));
            file.give_way_to(&Options::split(sub, words(line)), sub);
            let left: Vec<_> = file
                .into_words()
                .map(|word| word.into_string().unwrap())
                .collect();
            left.join(" ")
        };
        assert_eq!(
            left(&["-h", "a", "-p", "1", "-v"], &["-L", "mqtt://b"]),
            "-v"
        );
        assert_eq!(left(&["-h", "a", "-p", "1"], &["-p", "2"]), "-h a -p 1");
        assert_eq!(left(&["-L", "mqtt://a"], &["-h", "b"]), "");
        assert_eq!(
            left(&["-P", "x", "-t", "a"], &["--password-env", "P"]),
            "-t a"
        );
        // What clap excludes, in either direction, and what only the output excludes.
        assert_eq!(left(&["-i", "a", "-k", "9"], &["-I", "b"]), "-k 9");
        assert_eq!(left(&["--ws-path", "/x"], &["-L", "ws://b/y"]), "");
        assert_eq!(left(&["--to-dir", "x", "-N"], &["-F", "%p"]), "-N");
        assert_eq!(left(&["-v", "-F", "%p"], &["--output", "json"]), "");
        assert_eq!(left(&["-v", "-N"], &["-F", "%p"]), "-v -N");
        assert_eq!(left(&["-RvF", "%p"], &["--output", "json"]), "-R");
        assert_eq!(left(&["--output", "json"], &["-vC", "3"]), "");
    }
}
