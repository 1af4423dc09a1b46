//! Where messages are printed: standard output, or a file for each.

use super::format::Template;
use super::style::Style;
use crate::escape;
use crate::exit::{Failure, Status};
use clap::{Args, ValueEnum};
use jiff::Zoned;
use martlet_tokio::Message;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Options of what is printed.
#[derive(Args)]
#[group(skip)]
pub(crate) struct OutputOptions {
    /// Print the topic and a space before the payload; --format has precedence
    #[arg(short, long, help_heading = "Output")]
    verbose: bool,
    /// Format of a line: %t topic, %p payload, %x hexadecimal, %j JSON, %J JSON with the payload as JSON, %I time, @H… strftime, \n …; the manual page has all
    #[arg(short = 'F', long, value_name = "FORMAT", help_heading = "Output")]
    format: Option<String>,
    /// What is printed: text, with control characters escaped on a terminal; json, one object a line; raw, never escaped [default: text]
    #[arg(long, value_name = "KIND", help_heading = "Output")]
    output: Option<OutputKind>,
    /// Lay JSON out over several lines
    #[arg(long, help_heading = "Output")]
    pretty: bool,
    /// Print nothing after a message, rather than a line break
    #[arg(
        short = 'N',
        long = "no-newline",
        help_heading = "Output",
        conflicts_with = "nul"
    )]
    no_newline: bool,
    /// Print a NUL after a message, rather than a line break
    #[arg(short = '0', long = "nul", help_heading = "Output")]
    nul: bool,
    /// Write each payload to a file of its own in this folder, and print the file's name
    #[arg(long, value_name = "FOLDER", help_heading = "Output", conflicts_with_all = ["format", "output", "pretty"])]
    to_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputKind {
    /// As it came; what a terminal would act on is escaped there
    Text,
    /// One object a line
    Json,
    /// As it came, on a terminal too
    Raw,
}

impl OutputOptions {
    /// Checks the options.
    pub(crate) fn printer(&self) -> Result<Printer, Failure> {
        let is_json = self.output == Some(OutputKind::Json);
        let template = match (&self.format, is_json) {
            (Some(_), true) => {
                return Err(Failure::usage("--format cannot be used with --output json"));
            }
            (None, true) if self.verbose => {
                return Err(Failure::usage(
                    "--verbose cannot be used with --output json",
                ));
            }
            (None, true) => Some(Template::json()),
            (Some(format), false) => {
                let template = Template::parse(format)
                    .map_err(|error| Failure::usage(format!("--format: {error}")))?;
                Some(template)
            }
            (None, false) => None,
        };
        let has_json = is_json
            || self
                .format
                .as_deref()
                .is_some_and(|format| format.contains(['j', 'J']));
        if self.pretty && !has_json {
            return Err(Failure::usage(
                "--pretty is for JSON: add --output json, or %j to --format",
            ));
        }
        if let Some(folder) = &self.to_dir {
            check_folder(folder)?;
        }
        Ok(Printer {
            template,
            is_verbose: self.verbose,
            style: Style {
                escape: self.output != Some(OutputKind::Raw) && io::stdout().is_terminal(),
                pretty: self.pretty,
            },
            end: match (self.no_newline, self.nul) {
                (true, _) => &[],
                (false, true) => b"\0",
                (false, false) => b"\n",
            },
            folder: self.to_dir.clone(),
            next_file: 0,
            out: Vec::new(),
            writing: None,
        })
    }
}

fn check_folder(folder: &Path) -> Result<(), Failure> {
    match std::fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Failure::usage(format!(
            "--to-dir: {} is not a folder",
            folder.display()
        ))),
        Err(error) => Err(Failure::usage(format!(
            "--to-dir: {}: {error}",
            folder.display()
        ))),
    }
}

/// Prints messages. They are collected, and leave with [`flush`](Self::flush).
pub(crate) struct Printer {
    template: Option<Template>,
    is_verbose: bool,
    style: Style,
    end: &'static [u8],
    folder: Option<PathBuf>,
    next_file: u64,
    out: Vec<u8>,
    /// What leaves now: its buffer comes back.
    writing: Option<JoinHandle<(Vec<u8>, io::Result<()>)>>,
}

/// What became of a message that was to be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Printed {
    Yes,
    /// The format has `%J`, and the payload is not JSON.
    NotJson,
}

impl Printer {
    /// No more is collected once there is this much.
    const FULL: usize = 256 * 1024;

    /// Whether what was collected has to leave before the next message.
    pub(crate) fn is_full(&self) -> bool {
        self.out.len() > Self::FULL
    }

    /// Prints a message.
    pub(crate) fn print(&mut self, message: &Message) -> Result<Printed, Failure> {
        if let Some(folder) = self.folder.clone() {
            let path = self.write_file(&folder, message)?;
            if self.is_verbose {
                self.topic(message);
            }
            self.out
                .extend_from_slice(path.as_os_str().as_encoded_bytes());
            self.out.extend_from_slice(self.end);
        } else if let Some(template) = &self.template {
            let now = Zoned::now();
            let written = template.write(&mut self.out, message, &now, self.style);
            if written.is_err() {
                return Ok(Printed::NotJson);
            }
            self.out.extend_from_slice(self.end);
        } else {
            self.plain(message);
        }
        Ok(Printed::Yes)
    }

    /// As mosquitto prints it, which prints nothing for an empty payload on its own.
    fn plain(&mut self, message: &Message) {
        let payload = message.payload();
        if self.is_verbose {
            self.topic(message);
            if payload.is_empty() {
                self.out.extend_from_slice(b"(null)");
            }
        } else if payload.is_empty() {
            return;
        }
        if self.style.escape {
            self.out
                .extend_from_slice(escape::payload(payload).as_bytes());
        } else {
            self.out.extend_from_slice(payload);
        }
        self.out.extend_from_slice(self.end);
    }

    fn topic(&mut self, message: &Message) {
        if self.style.escape {
            self.out
                .extend_from_slice(escape::line(message.topic()).as_bytes());
        } else {
            self.out.extend_from_slice(message.topic().as_bytes());
        }
        self.out.push(b' ');
    }

    /// Writes the payload to the next file that is not there yet.
    fn write_file(&mut self, folder: &Path, message: &Message) -> Result<PathBuf, Failure> {
        loop {
            self.next_file += 1;
            let path = folder.join(format!("{:08}", self.next_file));
            let failed = |error: io::Error| {
                Failure::new(
                    Status::Failed,
                    format!("--to-dir: {}: {error}", path.display()),
                )
            };
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    return match file.write_all(message.payload()) {
                        Ok(()) => Ok(path),
                        Err(error) => {
                            // Half a payload would be taken for a message.
                            let _ = std::fs::remove_file(&path);
                            Err(failed(error))
                        }
                    };
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Writes what was collected. It takes as long as the reader of the output: the command can be
    /// interrupted meanwhile. Cancel safe.
    pub(crate) async fn flush(&mut self) -> Result<(), Failure> {
        self.written().await?;
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let mut stdout = io::stdout().lock();
            let written = stdout.write_all(&out).and_then(|()| stdout.flush());
            (out, written)
        }));
        self.written().await
    }

    /// The same at the end of the command, which is not held up for long.
    pub(crate) async fn flush_at_end(&mut self) -> Result<(), Failure> {
        const LONGEST: Duration = Duration::from_secs(1);
        let late = || {
            Failure::new(
                Status::Failed,
                "standard output: not everything was read in time",
            )
        };
        let flushed = tokio::time::timeout(LONGEST, self.flush()).await;
        flushed.unwrap_or_else(|_| Err(late()))
    }

    /// Waits until what leaves has left.
    async fn written(&mut self) -> Result<(), Failure> {
        let Some(writing) = &mut self.writing else {
            return Ok(());
        };
        let (mut out, written) = writing.await.expect("writing does not panic");
        self.writing = None;
        if self.out.is_empty() {
            out.clear();
            // What was one large message is given back.
            out.shrink_to(Self::FULL);
            self.out = out;
        }
        written.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Failure::quiet(Status::BrokenPipe),
            _ => Failure::new(Status::Failed, format!("standard output: {error}")),
        })
    }
}
