//! The keys of SCRAM (RFC 5802 §3), which are made of the password.

use hmac::digest::{Digest, Output};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};
use std::future::poll_fn;
use std::task::Poll;
use zeroize::{Zeroize, Zeroizing};

/// Iterations of PBKDF2 between two looks at everything else that the driver does: about half a
/// millisecond, or less.
const ITERATIONS_A_TURN: u32 = 1024;

/// Bytes that are overwritten when they are dropped.
pub(super) type Secret = Zeroizing<Vec<u8>>;

/// The hash function of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

/// What a password is for one salt and one iteration count.
pub(super) struct Keys {
    hash: Hash,
    salt: Vec<u8>,
    iterations: u32,
    client_key: Secret,
    server_key: Secret,
}

impl Hash {
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    fn digest(self, data: &[u8]) -> Secret {
        Zeroizing::new(match self {
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha512 => Sha512::digest(data).to_vec(),
        })
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> Secret {
        let bytes = match self {
            Self::Sha256 => keyed::<Hmac<Sha256>>(key)
                .chain_update(data)
                .finalize()
                .into_bytes()
                .to_vec(),
            Self::Sha512 => keyed::<Hmac<Sha512>>(key)
                .chain_update(data)
                .finalize()
                .into_bytes()
                .to_vec(),
        };
        Zeroizing::new(bytes)
    }

    /// Whether this is the HMAC of the data, in a time that does not depend on what differs.
    fn is_hmac(self, tag: &[u8], key: &[u8], data: &[u8]) -> bool {
        match self {
            Self::Sha256 => keyed::<Hmac<Sha256>>(key)
                .chain_update(data)
                .verify_slice(tag),
            Self::Sha512 => keyed::<Hmac<Sha512>>(key)
                .chain_update(data)
                .verify_slice(tag),
        }
        .is_ok()
    }

    async fn salted_password(self, password: &[u8], salt: &[u8], iterations: u32) -> Secret {
        match self {
            Self::Sha256 => {
                Derivation::<Hmac<Sha256>>::new(password, salt, iterations)
                    .run()
                    .await
            }
            Self::Sha512 => {
                Derivation::<Hmac<Sha512>>::new(password, salt, iterations)
                    .run()
                    .await
            }
        }
    }
}

fn keyed<M: KeyInit>(key: &[u8]) -> M {
    M::new_from_slice(key).expect("HMAC takes keys of any length")
}

impl Keys {
    pub(super) async fn derive(hash: Hash, password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let salted = hash.salted_password(password, salt, iterations).await;
        Self {
            hash,
            salt: salt.to_vec(),
            iterations,
            client_key: hash.hmac(&salted, b"Client Key"),
            server_key: hash.hmac(&salted, b"Server Key"),
        }
    }

    pub(super) fn are_for(&self, salt: &[u8], iterations: u32) -> bool {
        self.salt == salt && self.iterations == iterations
    }

    /// The client's proof: its key, hidden by a signature that the server can make too.
    pub(super) fn proof(&self, auth_message: &[u8]) -> Secret {
        let stored_key = self.hash.digest(&self.client_key);
        let mut proof = self.hash.hmac(&stored_key, auth_message);
        for (byte, key) in proof.iter_mut().zip(self.client_key.iter()) {
            *byte ^= key;
        }
        proof
    }

    pub(super) fn is_signed(&self, auth_message: &[u8], signature: &[u8]) -> bool {
        self.hash.is_hmac(signature, &self.server_key, auth_message)
    }
}

/// PBKDF2 with one block of output, `Hi` in RFC 5802 §2.2. It is here rather than from a crate so
/// that it can pause.
struct Derivation<M: Mac> {
    keyed: M,
    last: Output<M>,
    sum: Output<M>,
    left: u32,
}

impl<M: Mac + KeyInit + Clone> Derivation<M> {
    fn new(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let keyed: M = keyed(password);
        let first = keyed.clone().chain_update(salt).chain_update([0, 0, 0, 1]);
        let last = first.finalize().into_bytes();
        Self {
            keyed,
            sum: last.clone(),
            last,
            left: iterations.saturating_sub(1),
        }
    }

    fn step(&mut self) {
        let next = self.keyed.clone().chain_update(&self.last);
        self.last = next.finalize().into_bytes();
        for (byte, other) in self.sum.iter_mut().zip(&self.last) {
            *byte ^= other;
        }
    }

    /// Pauses every now and then, so that nothing else waits for long.
    async fn run(mut self) -> Secret {
        poll_fn(move |cx| {
            let steps = self.left.min(ITERATIONS_A_TURN);
            for _ in 0..steps {
                self.step();
            }
            self.left -= steps;
            if self.left == 0 {
                return Poll::Ready(Zeroizing::new(self.sum.to_vec()));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }
}

impl<M: Mac> Drop for Derivation<M> {
    fn drop(&mut self) {
        self.last.as_mut_slice().zeroize();
        self.sum.as_mut_slice().zeroize();
    }
}
