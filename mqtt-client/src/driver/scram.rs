//! SCRAM (RFC 5802, RFC 7677), a method of enhanced authentication that is ready to use.

mod error;
mod keys;
mod message;
#[cfg(test)]
mod tests;

pub use self::error::{ScramError, ScramPart};

use self::keys::{Hash, Keys};
use self::message::{MAX_ITERATIONS, MIN_ITERATIONS, ServerFirst, escape, signature};
use crate::driver::authenticator::Authenticator;
use crate::driver::guard::HookFuture;
use data_encoding::BASE64;
use martlet_proto::{BinaryData, Utf8String};
use martlet_session::{AuthMessage, GivenUp, SharedError};
use std::fmt;
use std::future::{Future, ready};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use zeroize::Zeroizing;

/// The header of the client's first message: no channel binding, and no other identity to act as.
const GS2_HEADER: &str = "n,,";

/// Authenticates by SCRAM-SHA-256 or SCRAM-SHA-512 (RFC 5802, RFC 7677, MQTT 5 §4.12): client and
/// server prove to each other that they know the password, which neither sends.
///
/// The server's signature is checked on each connection and each time that the client
/// [authenticates again](crate::Client::reauthenticate); nothing is sent or read on a connection
/// before that. What fails is a [`ScramError`]. SCRAM does not encrypt: without TLS everything that
/// follows can be read and changed on its way. There is no channel binding (the methods whose names
/// end with `-PLUS`).
///
/// User name and password go through SASLprep (RFC 4013), which matters outside ASCII only: some
/// servers leave it out, and take such a password only if SASLprep does not change it. CONNECT has
/// no other user name and no password, unless the builder sets them.
///
/// **What it costs.** The server chooses the iterations of PBKDF2, between
/// [`MIN_ITERATIONS`](Self::MIN_ITERATIONS) and [`MAX_ITERATIONS`](Self::MAX_ITERATIONS). The driver
/// works on them in pieces of about half a millisecond and does everything else in between, so
/// neither the client nor its thread is blocked. The keys are kept for as long as the server asks
/// for the same salt and count: what follows costs microseconds.
///
/// `Debug` shows no name and no secret, and the memory of secrets is overwritten when it is
/// released.
///
/// ```
/// use martlet_client::{Client, hooks::Scram};
///
/// let scram = Scram::sha256("meter-7", "secret");
/// let builder = Client::builder("mqtts://broker.example").authenticator(scram);
/// ```
pub struct Scram {
    hash: Hash,
    /// A setting that is wrong is reported when the client connects.
    login: Result<Arc<Login>, ScramError>,
    step: Step,
}

/// The user who authenticates, and the password.
struct Login {
    /// Prepared and escaped.
    user_name: String,
    /// Prepared.
    password: Zeroizing<String>,
    /// Those of the last conversation.
    keys: Mutex<Option<Arc<Keys>>>,
}

/// How far a conversation is.
enum Step {
    /// None has begun, or it has failed or succeeded.
    Idle,
    /// The client's first message was made.
    First { nonce: String, bare: String },
    /// The client's proof was made, or is being made: then it is not here yet.
    Proof(Arc<OnceLock<Expected>>),
}

/// What the server's signature is checked against.
struct Expected {
    keys: Arc<Keys>,
    auth_message: String,
}

impl Scram {
    /// The lowest iteration count that a server may choose, as RFC 7677 has it.
    pub const MIN_ITERATIONS: u32 = MIN_ITERATIONS;

    /// The highest iteration count that a server may choose, so that a hostile one cannot keep the
    /// client busy. It takes 0.2 s with SHA-256 and 0.6 s with SHA-512 on a common processor, and
    /// fifty times as long without optimisation. Where that is more than
    /// [`connect_timeout`](martlet_session::Config::connect_timeout), the attempt fails with that.
    pub const MAX_ITERATIONS: u32 = MAX_ITERATIONS;

    /// The method SCRAM-SHA-256. A user name or password that cannot be used fails the attempt to
    /// connect, as [`ScramError::UserName`] or [`ScramError::Password`].
    pub fn sha256(user_name: impl Into<String>, password: impl Into<String>) -> Self {
        Self::new(
            Hash::Sha256,
            &user_name.into(),
            &Zeroizing::new(password.into()),
        )
    }

    /// The method SCRAM-SHA-512. A user name or password that cannot be used fails the attempt to
    /// connect, as [`ScramError::UserName`] or [`ScramError::Password`].
    pub fn sha512(user_name: impl Into<String>, password: impl Into<String>) -> Self {
        Self::new(
            Hash::Sha512,
            &user_name.into(),
            &Zeroizing::new(password.into()),
        )
    }

    fn new(hash: Hash, user_name: &str, password: &str) -> Self {
        Self {
            hash,
            login: Login::new(user_name, password).map(Arc::new),
            step: Step::Idle,
        }
    }

    /// The client's first message, with this nonce.
    fn first(&mut self, nonce: String) -> Result<BinaryData, ScramError> {
        let login = self.login.as_ref().map_err(Clone::clone)?;
        let bare = format!("n={},r={nonce}", login.user_name);
        let data = BinaryData::new(format!("{GS2_HEADER}{bare}").into_bytes())
            .map_err(|_| ScramError::UserName)?;
        self.step = Step::First { nonce, bare };
        Ok(data)
    }

    /// The client's proof, in answer to the server's first message.
    fn proof(
        &mut self,
        challenge: &AuthMessage,
    ) -> Result<impl Future<Output = Result<BinaryData, ScramError>> + Send + use<>, ScramError>
    {
        let login = self.login.clone()?;
        // Whatever is wrong from here on ends the conversation: it is not accepted later.
        let Step::First { nonce, bare } = std::mem::replace(&mut self.step, Step::Idle) else {
            return Err(ScramError::UnexpectedChallenge);
        };
        let text = text(challenge)?;
        let server = ServerFirst::parse(text, &nonce)?;
        let end = format!(
            "c={},r={}",
            BASE64.encode(GS2_HEADER.as_bytes()),
            server.nonce
        );
        let auth_message = format!("{bare},{text},{end}");
        let (hash, salt, iterations) = (self.hash, server.salt, server.iterations);
        let expected = Arc::new(OnceLock::new());
        self.step = Step::Proof(expected.clone());
        Ok(async move {
            let keys = login.keys(hash, &salt, iterations).await;
            let proof = BASE64.encode(&keys.proof(auth_message.as_bytes()));
            let answer = BinaryData::new(format!("{end},p={proof}").into_bytes());
            let _ = expected.set(Expected { keys, auth_message });
            // The server's nonce fills what a message can hold.
            answer.map_err(|_| ScramError::Malformed(ScramPart::Nonce))
        })
    }

    /// Checks the server's signature.
    fn check(&mut self, last: &AuthMessage) -> Result<(), ScramError> {
        let step = std::mem::replace(&mut self.step, Step::Idle);
        if last.data.is_none() {
            return Err(ScramError::NoSignature);
        }
        let signature = signature(text(last)?)?;
        let Step::Proof(expected) = step else {
            return Err(ScramError::NoSignature);
        };
        let Some(Expected { keys, auth_message }) = expected.get() else {
            return Err(ScramError::NoSignature);
        };
        if keys.is_signed(auth_message.as_bytes(), &signature) {
            Ok(())
        } else {
            Err(ScramError::WrongSignature)
        }
    }
}

impl Login {
    fn new(user_name: &str, password: &str) -> Result<Self, ScramError> {
        let user_name = stringprep::saslprep(user_name).map_err(|_| ScramError::UserName)?;
        if user_name.is_empty() {
            return Err(ScramError::UserName);
        }
        let password = stringprep::saslprep(password).map_err(|_| ScramError::Password)?;
        Ok(Self {
            user_name: escape(&user_name),
            password: Zeroizing::new(password.into_owned()),
            keys: Mutex::new(None),
        })
    }

    /// The keys for this salt and iteration count, which are made if the last were for another.
    async fn keys(&self, hash: Hash, salt: &[u8], iterations: u32) -> Arc<Keys> {
        let kept = self.lock().clone();
        if let Some(keys) = kept.filter(|keys| keys.are_for(salt, iterations)) {
            return keys;
        }
        let keys = Keys::derive(hash, self.password.as_bytes(), salt, iterations).await;
        let keys = Arc::new(keys);
        *self.lock() = Some(keys.clone());
        keys
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Keys>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text of a message of the server.
fn text(message: &AuthMessage) -> Result<&str, ScramError> {
    let data = message.data.as_ref().map(BinaryData::as_bytes);
    data.filter(|data| !data.is_empty())
        .and_then(|data| std::str::from_utf8(data).ok())
        .ok_or(ScramError::Malformed(ScramPart::Message))
}

/// 192 bits of the system's randomness, as printable characters without a comma.
fn random_nonce() -> Result<String, ScramError> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes)
        .map_err(|error| ScramError::NoRandomness(SharedError::new(error)))?;
    Ok(BASE64.encode(&bytes))
}

fn given_up<T: Send + 'static>(error: ScramError) -> HookFuture<T> {
    Box::pin(ready(Err(error.into())))
}

impl Authenticator for Scram {
    fn method(&self) -> Utf8String {
        let method = self.hash.method().try_into();
        method.expect("the name of a method is a string of MQTT")
    }

    fn begin(&mut self) -> HookFuture<Option<BinaryData>> {
        let first = random_nonce().and_then(|nonce| self.first(nonce));
        Box::pin(ready(first.map(Some).map_err(GivenUp::from)))
    }

    fn answer(&mut self, challenge: AuthMessage) -> HookFuture<Option<BinaryData>> {
        match self.proof(&challenge) {
            Ok(proof) => Box::pin(async { Ok(Some(proof.await?)) }),
            Err(error) => given_up(error),
        }
    }

    fn accept(&mut self, last: AuthMessage) -> HookFuture<()> {
        Box::pin(ready(self.check(&last).map_err(GivenUp::from)))
    }
}

/// The same user with the same password, in a conversation of its own.
impl Clone for Scram {
    fn clone(&self) -> Self {
        Self {
            hash: self.hash,
            login: self.login.clone(),
            step: Step::Idle,
        }
    }
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scram")
            .field("method", &self.hash.method())
            .finish_non_exhaustive()
    }
}
