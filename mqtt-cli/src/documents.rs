//! Help, manual pages and completions, all from the options as clap knows them.

use crate::exit::{Failure, Status};
use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

/// Options of `martlet completions`.
#[derive(Args)]
pub(crate) struct CompletionOptions {
    /// Shell to print the completions of
    shell: ShellOption,
}

#[derive(Clone, Copy, ValueEnum)]
enum ShellOption {
    Bash,
    Fish,
    Zsh,
}

/// Options of `martlet man`.
#[derive(Args)]
pub(crate) struct ManOptions {
    /// Command to print the page of; without it that of martlet itself
    #[arg(value_parser = ["pub", "sub", "rr", "probe", "watch", "bench", "bench-pub", "bench-sub", "bench-pubsub", "bench-conn", "broker", "completions", "man"])]
    command: Option<String>,
    /// Write all pages to this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    to_dir: Option<PathBuf>,
}

/// The exit statuses, as the help has them.
pub(crate) fn exit_statuses() -> String {
    let mut text = "Exit status:\n".to_owned();
    for (status, meaning) in Status::LIST {
        text.push_str(&format!("  {:>3}  {meaning}\n", status.code()));
    }
    text
}

/// What follows the options in the help of a command.
pub(crate) fn after_help(command: &str) -> String {
    let format = match command {
        "pub" | "probe" | "watch" => "",
        _ => FORMAT,
    };
    let file = format!(
        "Options file:\n  $XDG_CONFIG_HOME/martlet_{command} or ~/.config/martlet_{command}: one option a line, its value behind a space.\n"
    );
    format!("{format}{file}\n{}", exit_statuses())
}

const FORMAT: &str = r"Format (-F), the language of mosquitto_sub:
  %t topic            %p payload          %l payload's length  %q QoS
  %r retain flag      %x, %X hexadecimal  %j JSON              %J JSON, the payload is JSON
  %C content type     %D correlation data %E expiry interval   %F payload format
  %P user properties  %R response topic   %S subscription id   %A topic alias
  %I ISO 8601 time    %U Unix time        %% a percent sign
  @X                  as %X of strftime(3); @N nanoseconds; @@ an at sign
  \\ \0 \a \e \n \r \t \v  characters
  %-20t is aligned to the left, %08l is filled with zeros, %20.10t has 20 columns and at most 10 bytes of text.

";

/// Prints the completions of a shell.
pub(crate) fn completions(
    options: &CompletionOptions,
    mut command: Command,
) -> Result<(), Failure> {
    let shell = match options.shell {
        ShellOption::Bash => Shell::Bash,
        ShellOption::Fish => Shell::Fish,
        ShellOption::Zsh => Shell::Zsh,
    };
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut command, "martlet", &mut out);
    print(&out)
}

/// Prints a manual page, or writes all of them.
pub(crate) fn man(options: &ManOptions, mut command: Command) -> Result<(), Failure> {
    command.build();
    let page = |command: &Command| {
        let mut out = Vec::new();
        let man = clap_mangen::Man::new(command.clone());
        // Writing to memory does not fail.
        let _ = man.render(&mut out);
        out
    };
    let Some(folder) = &options.to_dir else {
        return match &options.command {
            None => print(&page(&command)),
            Some(name) => {
                let mut found = &command;
                for part in name.split('-') {
                    let part = found.find_subcommand(part);
                    found = part.expect("clap knows the commands");
                }
                print(&page(found))
            }
        };
    };
    let mut pages = vec![("martlet".to_owned(), page(&command))];
    for command in command.get_subcommands() {
        let name = format!("martlet-{}", command.get_name());
        for inner in command.get_subcommands() {
            pages.push((format!("{name}-{}", inner.get_name()), page(inner)));
        }
        pages.push((name, page(command)));
    }
    for (name, text) in pages {
        let path = folder.join(format!("{name}.1"));
        std::fs::write(&path, text).map_err(|error| {
            Failure::new(
                Status::Failed,
                format!("--to-dir: {}: {error}", path.display()),
            )
        })?;
    }
    Ok(())
}

fn print(text: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text).and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::quiet(Status::BrokenPipe),
        _ => Failure::new(Status::Failed, format!("standard output: {error}")),
    })
}
