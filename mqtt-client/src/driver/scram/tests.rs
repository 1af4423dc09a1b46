//! The vectors of the standards, and what a server may get wrong. Conversations of a whole client
//! are in `tests/client/scram.rs`.

use super::*;
use std::task::{Context, Poll, Waker};

/// Runs a future that only waits for itself. Returns how often it was polled, too.
fn run<T>(mut future: HookFuture<T>) -> (Result<T, GivenUp>, usize) {
    let mut cx = Context::from_waker(Waker::noop());
    for polls in 1.. {
        if let Poll::Ready(result) = future.as_mut().poll(&mut cx) {
            return (result, polls);
        }
    }
    unreachable!("a number of polls that does not end")
}

fn data(text: impl AsRef<[u8]>) -> AuthMessage {
    AuthMessage::default().data(BinaryData::try_from(text.as_ref()).unwrap())
}

fn bytes(data: &BinaryData) -> String {
    String::from_utf8(data.as_bytes().to_vec()).unwrap()
}

fn scram_error(why: &GivenUp) -> ScramError {
    let source = std::error::Error::source(why).expect("a cause");
    source.downcast_ref::<ScramError>().unwrap().clone()
}

/// Begins with this nonce, and answers this.
fn answer(scram: &mut Scram, nonce: &str, challenge: &str) -> Result<String, ScramError> {
    scram.first(nonce.to_owned())?;
    let (answer, _) = run(scram.answer(data(challenge)));
    match answer {
        Ok(answer) => Ok(bytes(&answer.expect("data"))),
        Err(why) => Err(scram_error(&why)),
    }
}

fn accept(scram: &mut Scram, last: AuthMessage) -> Result<(), ScramError> {
    run(scram.accept(last)).0.map_err(|why| scram_error(&why))
}

const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const WITHOUT_PROOF: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=";

/// RFC 7677 §3.
#[test]
fn the_conversation_of_rfc_7677() {
    let mut scram = Scram::sha256("user", "pencil");
    let first = scram.first(NONCE.to_owned()).unwrap();
    assert_eq!(bytes(&first), format!("n,,n=user,r={NONCE}"));
    let (proof, polls) = run(scram.answer(data(SERVER_FIRST)));
    let proof = bytes(&proof.unwrap().unwrap());
    let expected = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    assert_eq!(proof, format!("{WITHOUT_PROOF}{expected}"));
    assert_eq!(polls, 4, "1,024 iterations at a time");
    let last = data("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_eq!(accept(&mut scram, last), Ok(()));
}

/// There is no vector of a standard: this is the conversation of RFC 7677 with another hash
/// function, as Python's `hashlib.pbkdf2_hmac` and `hmac` calculate it.
#[test]
fn the_same_conversation_with_sha_512() {
    let mut scram = Scram::sha512("user", "pencil");
    let proof = answer(&mut scram, NONCE, SERVER_FIRST).unwrap();
    let expected =
        "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==";
    assert_eq!(proof, format!("{WITHOUT_PROOF}{expected}"));
    let last = data(
        "v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
    );
    assert_eq!(accept(&mut scram, last), Ok(()));
}

/// The names and passwords of RFC 4013 §3, and those that MQTT's messages would take for more than
/// a name. The proofs are calculated as above, of what SASLprep must make of the password.
#[test]
fn names_and_passwords_are_prepared_and_escaped() {
    let first = |name: &str| {
        let first = Scram::sha256(name, "").first("cn".to_owned());
        first.map(|data| bytes(&data))
    };
    assert_eq!(first("j,örg=").unwrap(), "n,,n=j=2Cörg=3D,r=cn");
    assert_eq!(first("I\u{ad}X").unwrap(), "n,,n=IX,r=cn");
    assert_eq!(first("\u{2168}").unwrap(), "n,,n=IX,r=cn");
    let long = "n".repeat(65_536);
    for name in ["", "\u{ad}", "\u{7}", "\u{627}1", &long] {
        assert_eq!(first(name), Err(ScramError::UserName), "{}", name.len());
    }
    let mut wrong = Scram::sha256("user", "a\u{7}");
    assert_eq!(
        answer(&mut wrong, "cn", "r=cnsn,s=c2FsdA==,i=4096"),
        Err(ScramError::Password)
    );
    let (begun, _) = run(wrong.begin());
    assert!(begun.is_err_and(|why| why.is_final()));

    let mut scram = Scram::sha256("IX", "p\u{a0}\u{2168} \u{aa}");
    assert_eq!(
        answer(&mut scram, "cn", "r=cnsn,s=c2FsdA==,i=4096").unwrap(),
        "c=biws,r=cnsn,p=NIU+34mFwYgm/ykqGF7wyoHLwvPRyJlhr0/3ztDCeoA="
    );
    let mut scram = Scram::sha512("j,örg=", "pässwörd x");
    assert_eq!(
        answer(&mut scram, "cn", "r=cnsn,s=AP8Bc2FsdA==,i=5000").unwrap(),
        "c=biws,r=cnsn,p=Xw2JJmcw2N5QRnwCR4snQWcJ0saRl52JAfT8+NJeY9Aosula5uhSOh/4x7sea1Oo+0aDBRdOoBBtXXF89M3dVA=="
    );
}

/// Every first message that a server may get wrong, and its error.
#[test]
fn wrong_challenges_are_typed_errors() {
    use ScramError::{
        Malformed, MandatoryExtension, TooFewIterations, TooManyIterations, WrongNonce,
    };
    use ScramPart::{Error, Extension, IterationCount, Message, Nonce, Salt};
    let rejected = |value: &str| ScramError::Rejected(value.to_owned());
    let long = format!("e={}", "x".repeat(65));
    let cases = [
        ("", Malformed(Message)),
        (",", Malformed(Nonce)),
        ("r", Malformed(Nonce)),
        ("s=c2FsdA==,r=cnsn,i=4096", Malformed(Nonce)),
        ("r=cn s,s=c2FsdA==,i=4096", Malformed(Nonce)),
        ("r=cnß,s=c2FsdA==,i=4096", Malformed(Nonce)),
        ("r=,s=c2FsdA==,i=4096", WrongNonce),
        ("r=cn,s=c2FsdA==,i=4096", WrongNonce),
        ("r=CNsn,s=c2FsdA==,i=4096", WrongNonce),
        ("r=xcnsn,s=c2FsdA==,i=4096", WrongNonce),
        ("r=cnsn", Malformed(Salt)),
        ("r=cnsn,i=4096,s=c2FsdA==", Malformed(Salt)),
        ("r=cnsn,s=,i=4096", Malformed(Salt)),
        ("r=cnsn,s=c2FsdA=,i=4096", Malformed(Salt)),
        ("r=cnsn,s=c2Fs!A==,i=4096", Malformed(Salt)),
        ("r=cnsn,s=c2FsdA==", Malformed(IterationCount)),
        ("r=cnsn,s=c2FsdA==,i=", Malformed(IterationCount)),
        ("r=cnsn,s=c2FsdA==,i=04096", Malformed(IterationCount)),
        ("r=cnsn,s=c2FsdA==,i=+4096", Malformed(IterationCount)),
        ("r=cnsn,s=c2FsdA==,i=-1", Malformed(IterationCount)),
        ("r=cnsn,s=c2FsdA==,i=4096 ", Malformed(IterationCount)),
        ("r=cnsn,s=c2FsdA==,i=1", TooFewIterations(1)),
        ("r=cnsn,s=c2FsdA==,i=4095", TooFewIterations(4095)),
        ("r=cnsn,s=c2FsdA==,i=1000001", TooManyIterations(1_000_001)),
        (
            "r=cnsn,s=c2FsdA==,i=99999999999999999999",
            TooManyIterations(u32::MAX),
        ),
        ("r=cnsn,s=c2FsdA==,i=4096,", Malformed(Extension)),
        ("r=cnsn,s=c2FsdA==,i=4096,x", Malformed(Extension)),
        ("r=cnsn,s=c2FsdA==,i=4096,x=", Malformed(Extension)),
        ("r=cnsn,s=c2FsdA==,i=4096,1=x", Malformed(Extension)),
        ("m=x,r=cnsn,s=c2FsdA==,i=4096", MandatoryExtension),
        ("r=cnsn,s=c2FsdA==,i=4096,m=x", MandatoryExtension),
        ("e=unknown-user", rejected("unknown-user")),
        ("e=other-error,x=y", rejected("other-error")),
        ("e=", Malformed(Error)),
        ("e=<b>", Malformed(Error)),
        (&long, Malformed(Error)),
    ];
    for (challenge, error) in cases {
        let mut scram = Scram::sha256("user", "secret");
        let answer = answer(&mut scram, "cn", challenge);
        assert_eq!(answer, Err(error), "{challenge}");
        // It stays so, whatever comes next.
        assert_eq!(
            accept(&mut scram, data("v=AAAA")),
            Err(ScramError::NoSignature)
        );
    }
    let mut scram = Scram::sha256("user", "secret");
    assert!(answer(&mut scram, "cn", "r=cnsn,s=c2FsdA==,i=4096,x=y,Z=1").is_ok());
    let unexpected = run(scram.answer(data("r=cnsn,s=c2FsdA==,i=4096"))).0;
    assert_eq!(
        scram_error(&unexpected.unwrap_err()),
        ScramError::UnexpectedChallenge
    );
    for not_text in [AuthMessage::default(), data([0xff])] {
        scram.first("cn".to_owned()).unwrap();
        let (answer, _) = run(scram.answer(not_text));
        assert_eq!(scram_error(&answer.unwrap_err()), Malformed(Message));
    }
}

/// Every last message that a server may get wrong, and its error.
#[test]
fn a_wrong_or_missing_signature_is_a_typed_error() {
    use ScramError::{Malformed, MandatoryExtension, NoSignature, WrongSignature};
    use ScramPart::{Extension, Message, Signature};
    let right = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    let cases = [
        ("", Malformed(Message)),
        ("v", Malformed(Signature)),
        (
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4",
            Malformed(Signature),
        ),
        ("v=", WrongSignature),
        ("v=6rri", WrongSignature),
        (
            "v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            WrongSignature,
        ),
        (
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G8=",
            WrongSignature,
        ),
        // The same bytes in another spelling.
        (
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=",
            Malformed(Signature),
        ),
        (
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G8A",
            WrongSignature,
        ),
        ("x=y", Malformed(Signature)),
        (
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=,",
            Malformed(Extension),
        ),
        (
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=,m=1",
            MandatoryExtension,
        ),
        (
            "e=invalid-proof",
            ScramError::Rejected("invalid-proof".to_owned()),
        ),
    ];
    for (last, error) in cases {
        let mut scram = Scram::sha256("user", "pencil");
        answer(&mut scram, NONCE, SERVER_FIRST).unwrap();
        assert_eq!(accept(&mut scram, data(last)), Err(error), "{last}");
        assert_eq!(accept(&mut scram, data(right)), Err(NoSignature));
    }
    let mut scram = Scram::sha256("user", "pencil");
    // Before the client has proved anything: the server was not asked.
    assert_eq!(accept(&mut scram, data(right)), Err(NoSignature));
    scram.first(NONCE.to_owned()).unwrap();
    assert_eq!(accept(&mut scram, data(right)), Err(NoSignature));
    // While the proof is being made, or when it was dropped.
    scram.first(NONCE.to_owned()).unwrap();
    drop(scram.answer(data(SERVER_FIRST)));
    assert_eq!(accept(&mut scram, data(right)), Err(NoSignature));
    answer(&mut scram, NONCE, SERVER_FIRST).unwrap();
    assert_eq!(accept(&mut scram, AuthMessage::default()), Err(NoSignature));
}

/// The keys are made once for a salt and a count, also for clones, and a clone has a conversation
/// of its own.
#[test]
fn keys_are_kept_and_conversations_are_not_shared() {
    let mut scram = Scram::sha256("user", "pencil");
    let polls = |scram: &mut Scram, challenge: &str| {
        scram.first("cn".to_owned()).unwrap();
        let (answer, polls) = run(scram.answer(data(challenge)));
        answer.unwrap();
        polls
    };
    assert_eq!(polls(&mut scram, "r=cnsn,s=c2FsdA==,i=10241"), 10);
    assert_eq!(polls(&mut scram, "r=cnsm,s=c2FsdA==,i=10241"), 1);
    let mut other = scram.clone();
    assert_eq!(polls(&mut other, "r=cnsn,s=c2FsdA==,i=10241"), 1);
    assert_eq!(polls(&mut other, "r=cnsn,s=c2FsdA==,i=10242"), 11);
    assert_eq!(polls(&mut other, "r=cnsn,s=c2FsdAo=,i=10242"), 11);
    assert!(matches!(other.clone().step, Step::Idle));
}

#[test]
fn nonces_differ_and_have_no_comma() {
    let nonces: Vec<String> = (0..100).map(|_| random_nonce().unwrap()).collect();
    for (index, nonce) in nonces.iter().enumerate() {
        assert_eq!(nonce.len(), 32);
        assert!(
            nonce
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b',')
        );
        assert!(!nonces[..index].contains(nonce));
    }
}

#[test]
fn debug_shows_no_secret() {
    let mut scram = Scram::sha256("a-user", "a-secret");
    assert_eq!(
        format!("{scram:?}"),
        r#"Scram { method: "SCRAM-SHA-256", .. }"#
    );
    answer(&mut scram, "cn", "r=cnsn,s=c2FsdA==,i=4096").unwrap();
    assert_eq!(
        format!("{scram:?}"),
        r#"Scram { method: "SCRAM-SHA-256", .. }"#
    );
}

/// A server may be another one next time; the settings stay.
#[test]
fn only_wrong_settings_are_final() {
    let is_final = |error: ScramError| GivenUp::from(error).is_final();
    assert!(is_final(ScramError::UserName) && is_final(ScramError::Password));
    assert!(!is_final(ScramError::Rejected("unknown-user".to_owned())));
    assert!(!is_final(ScramError::WrongSignature));
    let why = GivenUp::from(ScramError::TooFewIterations(1));
    assert_eq!(why.to_string(), "SCRAM failed");
    assert_eq!(
        scram_error(&why).to_string(),
        "the server's iteration count is too low: 1"
    );
}
