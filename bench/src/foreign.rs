//! The peers in other languages: programs in `bench/foreign`. They take the same arguments as this
//! program as a client (SCENARIO N PORT), speak to the server in the same way, and print the same
//! sample; with the argument `version` they print the version of their library instead.

use crate::peers::{Kind, PEERS};
use crate::runner::Start;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One of these programs.
pub struct Program {
    source: &'static str,
    language: Language,
    /// How to get what it needs.
    install: &'static str,
}

enum Language {
    /// With this library, as the linker calls it.
    C(&'static str),
    Python,
    Node,
}

pub const LIBMOSQUITTO: Program = Program {
    source: "libmosquitto.c",
    language: Language::C("mosquitto"),
    install: "`apt install gcc libmosquitto-dev`",
};

pub const PAHO_C: Program = Program {
    source: "paho.c",
    language: Language::C("paho-mqtt3a"),
    install: "`apt install gcc libpaho-mqtt-dev`",
};

pub const PAHO_PYTHON: Program = Program {
    source: "paho_python.py",
    language: Language::Python,
    install: "`apt install python3-venv`, then `-- install` in place of `-- all`",
};

pub const MQTT_JS: Program = Program {
    source: "mqttjs.js",
    language: Language::Node,
    install: "`apt install nodejs npm`, then `-- install` in place of `-- all`",
};

impl Program {
    /// Builds it if it has to be built, and asks for its version.
    ///
    /// # Errors
    ///
    /// What is missing, and how to get it.
    pub fn prepare(&self, tools: &Path) -> Result<Start, String> {
        let needs = |reason: String| format!("{reason}. It needs {}", self.install);
        let (words, environment) = self.words(tools).map_err(needs)?;
        let mut start = Start {
            words,
            environment,
            version: String::new(),
        };
        start.version = output(start.command(&[]).arg("version")).map_err(needs)?;
        Ok(start)
    }

    fn words(&self, tools: &Path) -> Result<(Vec<OsString>, Environment), String> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("foreign")
            .join(self.source);
        Ok(match self.language {
            Language::C(library) => {
                std::fs::create_dir_all(tools).map_err(|error| error.to_string())?;
                let program = tools.join(source.file_stem().expect("a name"));
                let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
                let mut command = Command::new(compiler);
                command.arg("-O2").arg("-o").arg(&program).arg(&source);
                output(command.args([&format!("-l{library}"), "-lpthread"]))?;
                (vec![program.into()], None)
            }
            Language::Python => {
                let installed = python(tools);
                let python = if installed.exists() {
                    installed.into()
                } else {
                    "python3".into()
                };
                (vec![python, source.into()], None)
            }
            Language::Node => {
                let packages = tools.join("node_modules").into();
                let words = vec!["node".into(), source.into()];
                (words, Some(("NODE_PATH", packages)))
            }
        })
    }
}

type Environment = Option<(&'static str, OsString)>;

/// The folder for what is built and installed unless another is named, beside this program.
pub fn usual_tools() -> PathBuf {
    let me = std::env::current_exe().expect("this program");
    me.with_file_name("martlet-bench-tools")
}

fn python(tools: &Path) -> PathBuf {
    tools.join("python/bin/python")
}

/// Installs the packages for Python and node in `tools`, and reports which peers are there.
pub fn install(tools: &Path) {
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(tools.join("python"));
    let mut pip = Command::new(python(tools));
    pip.args(["-m", "pip", "install", "--upgrade", "paho-mqtt"]);
    let mut npm = Command::new("npm");
    npm.args(["install", "mqtt@latest", "--prefix"]).arg(tools);
    for mut command in [venv, pip, npm] {
        // What it lacks shows below.
        let _ = command.status();
    }
    for peer in PEERS {
        if let Kind::Foreign(program) = &peer.kind {
            match program.prepare(tools) {
                Ok(start) => println!("{}: {}", peer.name, start.version),
                Err(reason) => println!("{}: {reason}", peer.name),
            }
        }
    }
}

/// What a command prints; otherwise the line that says most about why it failed.
fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let log = String::from_utf8_lossy(&output.stderr);
    let lines = || log.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().find(|line| line.contains("rror: "));
    let reason = error.or_else(|| lines().next_back()).unwrap_or("it fails");
    Err(reason.trim_end_matches('.').to_owned())
}
