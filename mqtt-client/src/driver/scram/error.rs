//! Why an authentication by SCRAM failed.

use martlet_session::{GivenUp, SharedError};
use std::fmt;

/// Why an authentication by [`Scram`](crate::hooks::Scram) failed. Nothing in it is secret.
///
/// It is the cause of the [`GivenUp`] that the connection, or
/// [`reauthenticate`](crate::Client::reauthenticate), fails with: its `source()`, which
/// [`Error::find`](crate::Error::find) looks for. A server that rejects the password says so with a
/// reason code instead, in most cases:
/// [`ConnectionError::Rejected`](martlet_session::ConnectionError::Rejected).
///
/// A user name or password that cannot be used stops the client. Everything else is retried as a
/// lost connection is: never before the first connection that worked, unless
/// [`retry_first`](crate::Reconnect::retry_first) says so.
///
/// ```
/// # use martlet_client::{ConnectError, Error, hooks::ScramError};
/// # fn example(error: ConnectError) {
/// match Error::from(error).find::<ScramError>() {
///     Some(ScramError::WrongSignature) => println!("this is not the server that it claims to be"),
///     Some(error) => println!("SCRAM failed: {error}"),
///     None => println!("something else failed"),
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScramError {
    /// The user name is empty, too long for MQTT, or has characters that SASLprep (RFC 4013) prohibits.
    #[error("the user name is empty, too long, or has characters that SASLprep prohibits")]
    UserName,
    /// The password has characters that SASLprep (RFC 4013) prohibits.
    #[error("the password has characters that SASLprep prohibits")]
    Password,
    /// The system has no randomness for a nonce.
    #[error("the system has no randomness")]
    NoRandomness(#[source] SharedError),
    /// A message of the server does not have the form of RFC 5802.
    #[error("the server's message is malformed: {0}")]
    Malformed(ScramPart),
    /// The server's message does not continue the nonce of this client: it belongs to another
    /// conversation, such as one that was recorded.
    #[error("the server's nonce does not begin with the client's, or adds nothing to it")]
    WrongNonce,
    /// The server's iteration count is below
    /// [`MIN_ITERATIONS`](crate::hooks::Scram::MIN_ITERATIONS): from the proof, the password would be
    /// easier to guess.
    #[error("the server's iteration count is too low: {0}")]
    TooFewIterations(u32),
    /// The server's iteration count is above
    /// [`MAX_ITERATIONS`](crate::hooks::Scram::MAX_ITERATIONS). One that is no `u32` counts as the
    /// highest.
    #[error("the server's iteration count is too high: {0}")]
    TooManyIterations(u32),
    /// The server demands an extension (`m=`), of which RFC 5802 defines none.
    #[error("the server demands an extension")]
    MandatoryExtension,
    /// The server reports an error (`e=`), such as `invalid-proof` or `unknown-user`.
    #[error("the server reports {0}")]
    Rejected(String),
    /// The server's signature is wrong: the server does not know the password.
    #[error("the server's signature is wrong")]
    WrongSignature,
    /// The server accepted, but did not prove that it knows the password.
    #[error("the server accepted without its signature")]
    NoSignature,
    /// The server sent a challenge where SCRAM has none.
    #[error("the server sent a challenge where there is none")]
    UnexpectedChallenge,
}

/// The part of a server's message that is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScramPart {
    /// The message as a whole: there is no data, or it is no UTF-8.
    Message,
    /// The nonce (`r=`).
    Nonce,
    /// The salt (`s=`).
    Salt,
    /// The iteration count (`i=`).
    IterationCount,
    /// The server's signature (`v=`).
    Signature,
    /// The server's error (`e=`).
    Error,
    /// What follows: an extension.
    Extension,
}

impl fmt::Display for ScramPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Message => "it is empty or no text",
            Self::Nonce => "the nonce",
            Self::Salt => "the salt",
            Self::IterationCount => "the iteration count",
            Self::Signature => "the signature",
            Self::Error => "the error",
            Self::Extension => "an extension",
        })
    }
}

/// The error of the client's own code, whose cause is the [`ScramError`].
#[derive(Debug, thiserror::Error)]
#[error("SCRAM failed")]
struct Failed(#[source] ScramError);

/// An error in a server's messages may be temporary, or be caused by an attacker between client and
/// server, so the client tries again. A wrong setting is final.
impl From<ScramError> for GivenUp {
    fn from(error: ScramError) -> Self {
        match error {
            ScramError::UserName | ScramError::Password => Self::for_good(Failed(error)),
            _ => Self::for_now(Failed(error)),
        }
    }
}
