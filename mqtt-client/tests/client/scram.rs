//! SCRAM with a whole client, against a server whose side of it is calculated by ring: no code of
//! the client's is in it.

use crate::scripted::{Script, builder, client, settle, soon};
use data_encoding::BASE64;
use martlet_client::hooks::{AuthMessage, Authenticator, HookFuture, Scram, ScramError};
use martlet_client::proto::{BinaryData, ConnectReasonCode, Packet};
use martlet_client::{Client, ConnectError, ConnectionError, Error, QoS};
use martlet_proto::{Auth, AuthReasonCode, ConnAck};
use proptest::prelude::*;
use ring::{digest, hmac, pbkdf2};
use std::future::poll_fn;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

/// What a server knows of a user. A real one stores keys instead of the password.
#[derive(Clone, Copy)]
struct Account {
    method: &'static str,
    user_name: &'static str,
    password: &'static str,
    iterations: u32,
}

const SALT: &[u8] = b"\x00salt\xff,=";

const ACCOUNT: Account = Account {
    method: "SCRAM-SHA-256",
    user_name: "meter=3D7",
    password: "a-secret",
    iterations: 4096,
};

fn scram() -> Scram {
    Scram::sha256("meter=7", "a-secret")
}

impl Account {
    fn hmac(&self, key: &[u8], data: &[u8]) -> Vec<u8> {
        let algorithm = match self.method {
            "SCRAM-SHA-256" => hmac::HMAC_SHA256,
            _ => hmac::HMAC_SHA512,
        };
        let key = hmac::Key::new(algorithm, key);
        hmac::sign(&key, data).as_ref().to_vec()
    }

    fn hash(&self, data: &[u8]) -> Vec<u8> {
        let algorithm = match self.method {
            "SCRAM-SHA-256" => &digest::SHA256,
            _ => &digest::SHA512,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }

    fn salted_password(&self) -> Vec<u8> {
        let (algorithm, length) = match self.method {
            "SCRAM-SHA-256" => (pbkdf2::PBKDF2_HMAC_SHA256, 32),
            _ => (pbkdf2::PBKDF2_HMAC_SHA512, 64),
        };
        let mut salted = vec![0; length];
        let iterations = NonZeroU32::new(self.iterations).unwrap();
        pbkdf2::derive(
            algorithm,
            iterations,
            SALT,
            self.password.as_bytes(),
            &mut salted,
        );
        salted
    }

    /// The server's first message, and with which nonce the client came.
    fn challenge(&self, client_first: &str) -> (String, String) {
        let start = format!("n,,n={},r=", self.user_name);
        let nonce = client_first.strip_prefix(&start).expect("this user");
        assert!(nonce.len() >= 24, "{nonce}");
        let challenge = format!(
            "r={nonce}the+server's,s={},i={}",
            BASE64.encode(SALT),
            self.iterations
        );
        (challenge, nonce.to_owned())
    }

    /// The server's final message, if the client's proof is right.
    fn verify(&self, client_first: &str, server_first: &str, client_last: &str) -> Option<String> {
        let (without_proof, proof) = client_last.split_once(",p=").expect("a proof");
        let nonce = server_first.split(',').next().unwrap();
        assert_eq!(without_proof, format!("c=biws,{nonce}"));
        let bare = client_first.strip_prefix("n,,").unwrap();
        let signed = format!("{bare},{server_first},{without_proof}");
        let salted = self.salted_password();
        let stored_key = self.hash(&self.hmac(&salted, b"Client Key"));
        let client_signature = self.hmac(&stored_key, signed.as_bytes());
        let proof = BASE64.decode(proof.as_bytes()).expect("base64");
        assert_eq!(proof.len(), client_signature.len());
        let client_key: Vec<u8> = proof
            .iter()
            .zip(&client_signature)
            .map(|(a, b)| a ^ b)
            .collect();
        let signature = self.hmac(&self.hmac(&salted, b"Server Key"), signed.as_bytes());
        (self.hash(&client_key) == stored_key).then(|| format!("v={}", BASE64.encode(&signature)))
    }
}

fn text(data: Option<&BinaryData>) -> String {
    String::from_utf8(data.expect("data").as_bytes().to_vec()).unwrap()
}

fn data(text: impl AsRef<[u8]>) -> Option<BinaryData> {
    Some(BinaryData::try_from(text.as_ref()).unwrap())
}

fn auth(account: &Account, reason: AuthReasonCode, text: &str) -> Auth {
    Auth {
        authentication_method: Some(account.method.try_into().unwrap()),
        authentication_data: data(text),
        ..Auth::new(reason)
    }
}

fn connack(account: &Account, text: Option<&str>) -> ConnAck {
    let mut connack = ConnAck::new(ConnectReasonCode::Success);
    connack.properties.authentication_method = Some(account.method.try_into().unwrap());
    connack.properties.authentication_data = text.and_then(data);
    connack
}

async fn next_auth(script: &mut Script, reason: AuthReasonCode) -> String {
    match script.packet().await {
        Packet::Auth(auth) if auth.reason == reason => text(auth.authentication_data.as_ref()),
        other => panic!("expected AUTH, got {other:?}"),
    }
}

/// The server's side up to the client's proof: the client's nonce, and the answer to the proof.
async fn converse(
    script: &mut Script,
    account: &Account,
    client_first: &str,
) -> (String, Option<String>) {
    let (challenge, nonce) = account.challenge(client_first);
    script
        .send(auth(
            account,
            AuthReasonCode::ContinueAuthentication,
            &challenge,
        ))
        .await;
    let last = next_auth(script, AuthReasonCode::ContinueAuthentication).await;
    (nonce, account.verify(client_first, &challenge, &last))
}

/// The same, from the CONNECT on.
async fn converse_at_connect(script: &mut Script, account: &Account) -> (String, Option<String>) {
    let connect = script.connect().await;
    assert_eq!((connect.user_name, connect.password), (None, None));
    let method = connect.properties.authentication_method.expect("a method");
    assert_eq!(method.as_str(), account.method);
    let first = text(connect.properties.authentication_data.as_ref());
    converse(script, account, &first).await
}

/// The same, from the AUTH on with which the client authenticates again.
async fn converse_again(script: &mut Script, account: &Account) -> (String, Option<String>) {
    let first = next_auth(script, AuthReasonCode::ReAuthenticate).await;
    converse(script, account, &first).await
}

async fn connected(account: &Account, scram: Scram) -> (Client, Script, String) {
    let (client, _, mut network) = client(builder().authenticator(scram));
    let mut script = network.dial().await.open();
    let (nonce, verified) = converse_at_connect(&mut script, account).await;
    let verified = verified.expect("the right password");
    script.send(connack(account, Some(&verified))).await;
    soon(client.connected()).await.unwrap();
    (client, script, nonce)
}

fn scram_error(error: impl Into<Error>) -> ScramError {
    let error = error.into();
    let found = error.find::<ScramError>();
    found.unwrap_or_else(|| panic!("{error:#}")).clone()
}

#[tokio::test]
async fn connects_and_authenticates_again() {
    let sha512 = Account {
        method: "SCRAM-SHA-512",
        password: "pässwörd",
        ..ACCOUNT
    };
    let second = Scram::sha512("meter=7", "pa\u{308}sswo\u{308}rd");
    for (account, scram) in [(ACCOUNT, scram()), (sha512, second)] {
        let (client, mut script, mut nonce) = connected(&account, scram).await;
        for _ in 0..2 {
            let (again, next) = tokio::join!(soon(client.reauthenticate()), async {
                let (nonce, verified) = converse_again(&mut script, &account).await;
                let verified = verified.expect("the right password");
                script
                    .send(auth(&account, AuthReasonCode::Success, &verified))
                    .await;
                nonce
            });
            again.unwrap();
            assert_ne!(next, nonce, "each conversation has a nonce of its own");
            nonce = next;
        }
        // The connection lives.
        let publish = client.publish("a", "b").qos(QoS::AtLeastOnce);
        let (published, ()) = tokio::join!(soon(publish), async {
            let id = script.published_id().await;
            script.puback(id).await;
        });
        published.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_password_is_rejected_by_the_server() {
    let (client, _, mut network) =
        client(builder().authenticator(Scram::sha256("meter=7", "A-secret")));
    let mut script = network.dial().await.open();
    let (_, verified) = converse_at_connect(&mut script, &ACCOUNT).await;
    assert_eq!(verified, None);
    let mut connack = connack(&ACCOUNT, Some("e=invalid-proof"));
    connack.reason = ConnectReasonCode::NotAuthorized;
    script.send(connack).await;
    let error = soon(client.connected()).await.unwrap_err();
    let ConnectError::Connection(ConnectionError::Rejected(rejection)) = error else {
        panic!("{error:?}");
    };
    assert_eq!(rejection.reason, ConnectReasonCode::NotAuthorized);
}

/// The signature of a server that knows another password only.
async fn forged(script: &mut Script, first: &str) -> String {
    let knows = Account {
        password: "another",
        ..ACCOUNT
    };
    let (challenge, _) = knows.challenge(first);
    script
        .send(auth(
            &knows,
            AuthReasonCode::ContinueAuthentication,
            &challenge,
        ))
        .await;
    let last = next_auth(script, AuthReasonCode::ContinueAuthentication).await;
    assert_eq!(knows.verify(first, &challenge, &last), None);
    // It does not know what it would have to sign with.
    let (without_proof, _) = last.split_once(",p=").unwrap();
    let signed = format!("{},{challenge},{without_proof}", &first[3..]);
    let key = knows.hmac(&knows.salted_password(), b"Server Key");
    format!("v={}", BASE64.encode(&knows.hmac(&key, signed.as_bytes())))
}

/// Nothing else was sent, although there is something to send.
async fn only_disconnects(script: Script) {
    let rest = script.rest().await;
    assert!(matches!(rest[..], [Packet::Disconnect(_)]), "{rest:?}");
}

#[tokio::test]
async fn a_server_that_forges_its_signature_is_left() {
    let (client, _, mut network) = client(builder().authenticator(scram()));
    let publish = client.publish("a", "b").qos(QoS::AtLeastOnce);
    let _receipt = soon(publish.enqueue()).await.unwrap();
    let mut script = network.dial().await.open();
    let connect = script.connect().await;
    let first = text(connect.properties.authentication_data.as_ref());
    let signature = forged(&mut script, &first).await;
    script.send(connack(&ACCOUNT, Some(&signature))).await;
    only_disconnects(script).await;
    let error = soon(client.connected()).await.unwrap_err();
    let shown = format!("{:#}", Error::from(error.clone()));
    assert!(
        shown.ends_with("SCRAM failed: the server's signature is wrong"),
        "{shown}"
    );
    assert_eq!(scram_error(error), ScramError::WrongSignature);
}

#[tokio::test]
async fn a_server_that_forges_its_signature_later_is_left() {
    let (client, mut script, _) = connected(&ACCOUNT, scram()).await;
    let (again, ()) = tokio::join!(soon(client.reauthenticate()), async move {
        let first = next_auth(&mut script, AuthReasonCode::ReAuthenticate).await;
        let signature = forged(&mut script, &first).await;
        script
            .send(auth(&ACCOUNT, AuthReasonCode::Success, &signature))
            .await;
        only_disconnects(script).await;
    });
    assert_eq!(scram_error(again.unwrap_err()), ScramError::WrongSignature);
}

/// Servers that accept without having proved anything: at once, behind the proof, and with a
/// signature of an earlier conversation.
#[tokio::test]
async fn a_server_that_proves_nothing_is_left() {
    let mut earlier = None;
    for case in 0..4 {
        let (client, _, mut network) = client(builder().authenticator(scram()));
        let mut script = network.dial().await.open();
        if case < 2 {
            script.connect().await;
            let last = (case == 1).then_some("v=AAAA");
            script.send(connack(&ACCOUNT, last)).await;
        } else {
            let (_, verified) = converse_at_connect(&mut script, &ACCOUNT).await;
            let last = earlier.replace(verified.unwrap());
            script.send(connack(&ACCOUNT, last.as_deref())).await;
        }
        only_disconnects(script).await;
        let error = scram_error(soon(client.connected()).await.unwrap_err());
        if case == 3 {
            assert_eq!(error, ScramError::WrongSignature);
        } else {
            assert_eq!(error, ScramError::NoSignature, "{case}");
        }
    }
}

#[tokio::test]
async fn a_challenge_that_is_wrong_ends_the_attempt() {
    let cases = [
        (
            "r=a-nonce-of-its-own,s=c2FsdA==,i=4096",
            ScramError::WrongNonce,
        ),
        (
            "e=unknown-user",
            ScramError::Rejected("unknown-user".to_owned()),
        ),
    ];
    for (challenge, expected) in cases {
        let (client, _, mut network) = client(builder().authenticator(scram()));
        let mut script = network.dial().await.open();
        script.connect().await;
        script
            .send(auth(
                &ACCOUNT,
                AuthReasonCode::ContinueAuthentication,
                challenge,
            ))
            .await;
        only_disconnects(script).await;
        let error = soon(client.connected()).await.unwrap_err();
        assert_eq!(scram_error(error), expected);
    }
}

/// What cannot be sent is said before anything is.
#[tokio::test]
async fn a_name_that_cannot_be_used_fails_the_attempt() {
    let (client, _, mut network) = client(builder().authenticator(Scram::sha256("", "a-secret")));
    let error = soon(client.connected()).await.unwrap_err();
    assert_eq!(scram_error(error), ScramError::UserName);
    assert!(network.is_quiet());
}

/// All of this is on one thread: PBKDF2 in one piece would let nobody else have a turn.
#[tokio::test]
async fn many_iterations_do_not_block_the_thread() {
    let costly = Account {
        iterations: 50_000,
        ..ACCOUNT
    };
    let (client, _, mut network) = client(builder().authenticator(scram()));
    let mut script = network.dial().await.open();
    let connect = script.connect().await;
    let first = text(connect.properties.authentication_data.as_ref());
    let (challenge, _) = costly.challenge(&first);
    settle().await;
    script
        .send(auth(
            &costly,
            AuthReasonCode::ContinueAuthentication,
            &challenge,
        ))
        .await;
    let turns = Arc::new(AtomicUsize::new(0));
    let other = tokio::spawn({
        let turns = turns.clone();
        // Ready again at once, as the driver is: tokio's `yield_now` lets those before it.
        poll_fn(move |cx| {
            turns.fetch_add(1, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        })
    });
    let last = next_auth(&mut script, AuthReasonCode::ContinueAuthentication).await;
    other.abort();
    assert!(costly.verify(&first, &challenge, &last).is_some());
    let turns = turns.load(Ordering::Relaxed);
    assert!(turns >= 40, "{turns} turns in 50,000 iterations");
    drop(client);
}

/// Polls a future that waits for nothing but itself, at most this often.
fn poll<T>(mut future: HookFuture<T>, times: usize) -> Option<Result<T, ScramError>> {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..times {
        if let Poll::Ready(result) = future.as_mut().poll(&mut cx) {
            return Some(result.map_err(|why| {
                let source = std::error::Error::source(&why).expect("a cause");
                source
                    .downcast_ref::<ScramError>()
                    .expect("SCRAM's")
                    .clone()
            }));
        }
    }
    None
}

/// One part of a message, which is often nearly right; `{}` stands for the client's nonce.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("r={}server".to_owned()),
        Just("s=c2FsdA==".to_owned()),
        (0u64..5_000_000_000).prop_map(|count| format!("i={count}")),
        (4_000u32..6_000).prop_map(|count| format!("i={count}")),
        "[rsiemvxpcn]=[ -~]{0,8}",
        "[a-z]?=?\\PC{0,4}",
    ]
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop::collection::vec(part(), 0..6);
    let count = (4_000u32..6_000).prop_map(|count| format!("r={{}}server,s=c2FsdA==,i={count}"));
    prop_oneof![
        parts.prop_map(|parts| parts.join(",").into_bytes()),
        (count, part()).prop_map(|(start, end)| format!("{start},{end}").into_bytes()),
        prop::collection::vec(any::<u8>(), 0..64),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Arbitrary server messages, in any order, cause no panic, and a server that does not know the
    /// password is never accepted.
    #[test]
    fn no_message_of_a_server_panics_or_is_accepted(
        messages in prop::collection::vec((any::<bool>(), message(), 0usize..8), 1..5),
    ) {
        let mut scram = scram();
        let first = poll(scram.begin(), 1).expect("at once").expect("randomness");
        let first = text(first.as_ref());
        let nonce = first.rsplit_once("r=").expect("a nonce").1;
        for (is_last, bytes, polls) in messages {
            let bytes = match String::from_utf8(bytes) {
                Ok(text) => text.replace("{}", nonce).into_bytes(),
                Err(error) => error.into_bytes(),
            };
            let message = AuthMessage::default().data(data(&bytes));
            if is_last {
                let accepted = poll(scram.accept(message), 1).expect("at once");
                prop_assert!(accepted.is_err());
            } else if let Some(Ok(answer)) = poll(scram.answer(message), polls) {
                let start = format!("c=biws,r={nonce}");
                prop_assert!(text(answer.as_ref()).starts_with(&start));
            }
        }
    }
}
