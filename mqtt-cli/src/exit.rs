//! What the process exits with, and the error that it prints before it does.

use crate::escape;
use martlet_tokio::session::{Awaited, Misbehaviour, TransportErrorKind};
use martlet_tokio::{
    ConnectError, ConnectionError, Error, OpenError, PublishError, RequestError, ResponseError,
    SubscribeError, UnsubscribeError,
};
use std::fmt;
use std::process::ExitCode;

/// No response has come, and nothing that could be taken for one.
pub(crate) const NO_RESPONSE: &str =
    "no response in time; check that a program answers this topic, or wait longer with -W";

/// The exit statuses. [`Status::LIST`] is their documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Connection = 3,
    Rejected = 4,
    Tls = 5,
    Publish = 6,
    Subscribe = 7,
    Partial = 8,
    Lost = 9,
    Missing = 10,
    TimedOut = 27,
    Interrupted = 130,
    BrokenPipe = 141,
    Terminated = 143,
}

impl Status {
    /// All of them with their meaning, as the help and the man pages have them.
    pub(crate) const LIST: &[(Self, &str)] = &[
        (Self::Done, "everything that was asked for has happened"),
        (
            Self::Failed,
            "a file, the store, the input or the output failed while the command ran",
        ),
        (
            Self::Usage,
            "an option, a file that it names or a combination of options is wrong; nothing was sent",
        ),
        (
            Self::Connection,
            "no connection: the name, the network, the proxy, WebSocket, or no answer of an MQTT server",
        ),
        (Self::Rejected, "the server rejected the connection"),
        (
            Self::Tls,
            "TLS failed: a certificate or the handshake, on either side",
        ),
        (
            Self::Publish,
            "no message was published, or it is in doubt whether one was",
        ),
        (
            Self::Subscribe,
            "the server rejected the subscriptions, or did not answer",
        ),
        (
            Self::Partial,
            "some messages were not published, some filters were rejected, some messages were not printed, or bench has seen losses, failures or too low a rate",
        ),
        (
            Self::Lost,
            "the connection was lost and could not be made again, or the server ended it",
        ),
        (
            Self::Missing,
            "a capability that --require names is missing",
        ),
        (Self::TimedOut, "the time of -W is over"),
        (Self::Interrupted, "SIGINT came before the command was done"),
        (Self::BrokenPipe, "the reader of the output has closed it"),
        (Self::Terminated, "SIGTERM came before the command was done"),
    ];

    pub(crate) const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status.code())
    }
}

/// Why the command did not do what was asked for: a status and a line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    /// Empty where there is nothing to print.
    message: String,
}

impl Failure {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// An option, or a combination of options, that cannot work.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Status::Usage, message)
    }

    /// The same with another part of a sentence.
    pub(crate) fn and(self, text: &str) -> Self {
        Self::new(self.status, format!("{}; {text}", self.message))
    }

    /// An end that needs no words, such as that of a pipe.
    pub(crate) fn quiet(status: Status) -> Self {
        Self::new(status, "")
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.message.is_empty()
    }

    /// The client has ended with this error; `connected`: it had a connection before.
    pub(crate) fn of_connection(error: &ConnectionError, connected: bool) -> Self {
        let status = status_of(error, connected);
        let text = connection_error(error);
        match advice(error) {
            Some(advice) => Self::new(status, format!("{text}; {advice}")),
            None => Self::new(status, text),
        }
    }

    /// There is no connection.
    pub(crate) fn of_connect(error: &ConnectError) -> Self {
        match error {
            ConnectError::Connection(error) => Self::of_connection(error, false),
            error => Self::usage(in_one_line(error.clone())),
        }
    }

    pub(crate) fn of_open(error: OpenError) -> Self {
        match error {
            OpenError::Connect(error) => Self::of_connect(&error),
            error => Self::new(Status::Failed, format!("--store: {}", in_one_line(error))),
        }
    }

    /// A message was not published.
    pub(crate) fn of_publish(error: &PublishError) -> Self {
        let text = in_one_line(error.clone());
        let message = match error {
            PublishError::Closed(why) | PublishError::OnHold(why) => {
                let end = Self::of_connection(why, true);
                let status = match end.status {
                    Status::Lost => Status::Publish,
                    status => status,
                };
                return Self::new(status, format!("not published: {}", end.message));
            }
            PublishError::PacketTooLarge { .. } => {
                format!("not published: {text}; send less, or raise the server's limit")
            }
            PublishError::QosNotSupported { .. } => {
                format!("not published: {text}; publish with a lower QoS (-q)")
            }
            PublishError::RetainNotSupported => {
                format!("not published: {text}; leave out -r")
            }
            PublishError::Rejected { .. } => {
                format!("not published: {text}; may this client publish to the topic?")
            }
            PublishError::Kept => format!("{text}; the next command with this --store sends it"),
            PublishError::ServerHungUp { .. } => {
                format!(
                    "{text}; is the message too large, or may this client not publish to the topic?"
                )
            }
            PublishError::InDoubt | PublishError::Timeout => text,
            _ => format!("not published: {text}"),
        };
        Self::new(Status::Publish, message)
    }

    pub(crate) fn of_subscribe(error: &SubscribeError) -> Self {
        let text = in_one_line(error.clone());
        match error {
            SubscribeError::Filter(_) => Self::usage(text),
            SubscribeError::Request(RequestError::Closed(why)) => Self::of_connection(why, true),
            SubscribeError::Rejected { .. } => Self::new(
                Status::Subscribe,
                format!("{text}; may this client subscribe to the filter?"),
            ),
            SubscribeError::Request(_) | _ => {
                Self::new(Status::Subscribe, format!("not subscribed: {text}"))
            }
        }
    }

    pub(crate) fn of_unsubscribe(error: &UnsubscribeError) -> Self {
        match error {
            UnsubscribeError::Request(RequestError::Closed(why)) => Self::of_connection(why, true),
            error => Self::new(
                Status::Subscribe,
                format!("not unsubscribed: {}", in_one_line(error.clone())),
            ),
        }
    }

    pub(crate) fn of_response(error: &ResponseError) -> Self {
        match error {
            ResponseError::Connect(error) => Self::of_connect(error),
            ResponseError::NotInVersion(_) => Self::usage(format!(
                "{}; name the topic of the response with -e",
                in_one_line(error.clone())
            )),
            ResponseError::Subscribe(error) => Self::of_subscribe(error),
            ResponseError::Publish(error) => Self::of_publish(error),
            ResponseError::Timeout => Self::new(Status::TimedOut, NO_RESPONSE),
            ResponseError::NobodyListens => Self::new(Status::Publish, in_one_line(error.clone())),
            error => Self::new(Status::Failed, in_one_line(error.clone())),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape::line(&self.message))
    }
}

/// The error with its causes.
pub(crate) fn in_one_line(error: impl Into<Error>) -> String {
    format!("{:#}", error.into())
}

/// The same of a connection's error, with the option where the library's text names a setting.
pub(crate) fn connection_error(error: &ConnectionError) -> String {
    match error {
        ConnectionError::NoConnAck { version, instead } => format!(
            "{instead} to the CONNECT of {version}; if the server speaks another version, choose it with -V"
        ),
        error => in_one_line(error.clone()),
    }
}

fn status_of(error: &ConnectionError, connected: bool) -> Status {
    match error {
        ConnectionError::Transport(error) => match error.kind() {
            TransportErrorKind::Tls
            | TransportErrorKind::Certificate
            | TransportErrorKind::ClientCertificate => Status::Tls,
            _ if connected => Status::Lost,
            _ => Status::Connection,
        },
        // The command's own authenticator gives up where the server has asked for more. So does code
        // of the client that has panicked, for which there is no status.
        ConnectionError::Rejected(_) | ConnectionError::GivenUp(_) => Status::Rejected,
        ConnectionError::Configuration(_) | ConnectionError::CannotConnect { .. } => Status::Usage,
        _ if connected => Status::Lost,
        _ => Status::Connection,
    }
}

/// What to do about it, where the library's text does not say so.
fn advice(error: &ConnectionError) -> Option<&'static str> {
    use martlet_tokio::proto::ConnectReasonCode as Code;
    match error {
        ConnectionError::Transport(error) => match error.kind() {
            TransportErrorKind::Resolve => Some("is the name of the host (-h) right?"),
            TransportErrorKind::Connect | TransportErrorKind::ConnectTimeout => {
                Some("is a server running at this host (-h) and port (-p)?")
            }
            TransportErrorKind::Certificate => {
                Some("name the authority that signed the server's certificate with --cafile")
            }
            TransportErrorKind::ClientCertificate => {
                Some("name a certificate that the server accepts with --cert and --key")
            }
            TransportErrorKind::HandshakeTimeout => Some("is this the right port?"),
            TransportErrorKind::Proxy => Some("is --proxy right?"),
            TransportErrorKind::WebSocket => Some("is the path (--ws-path) right?"),
            _ => None,
        },
        ConnectionError::Rejected(rejection) => match rejection.reason {
            Code::BadUserNameOrPassword | Code::NotAuthorized => {
                Some("are the user name (-u) and the password right?")
            }
            Code::ClientIdentifierNotValid => Some("choose another client identifier (-i)"),
            Code::UnsupportedProtocolVersion => Some("choose another version (-V)"),
            _ => None,
        },
        ConnectionError::Timeout(Awaited::ConnAck) => Some("is this the port of an MQTT server?"),
        ConnectionError::PeerMisbehaved(Misbehaviour::BeforeConnAck(_))
        | ConnectionError::Malformed(_) => Some("is this the port of an MQTT server?"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_status_has_a_code_of_its_own() {
        let codes: BTreeSet<u8> = Status::LIST
            .iter()
            .map(|(status, _)| status.code())
            .collect();
        assert_eq!(codes.len(), Status::LIST.len());
        assert_eq!(codes.first(), Some(&0));
    }

    /// The page on migration has a row for each, with the meaning that the help has.
    #[test]
    fn the_documentation_has_every_status() {
        let page = include_str!("../../docs/migrating-from-mosquitto.md");
        let (_, section) = page.split_once("\n## Exit statuses\n").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let row = |line: &str| {
            let (code, meaning) = line.strip_prefix("| ")?.split_once(" | ")?;
            let meaning = meaning.trim_end_matches(" |").replace('`', "");
            Some((code.parse().ok()?, meaning))
        };
        let rows: Vec<(u8, String)> = section.lines().filter_map(row).collect();
        assert_eq!(rows.len(), Status::LIST.len(), "{rows:?}");
        for (status, meaning) in Status::LIST {
            let row = rows.iter().find(|(code, _)| *code == status.code());
            let (_, found) = row.expect(meaning);
            assert!(found.starts_with(meaning), "{found} is not: {meaning}");
        }
    }

    #[test]
    fn an_error_is_one_line_and_harmless() {
        let failure = Failure::new(Status::Failed, "a\nb\u{1b}[2J");
        assert_eq!(failure.to_string(), "a\\nb\\x1b[2J");
    }
}
