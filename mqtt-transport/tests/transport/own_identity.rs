//! Our own certificate and key, as people have them. The files of `tests/keys` and
//! `tests/certificates` were made by OpenSSL 3.0; the command stands beside the name of each where
//! it is used.

use crate::pair::{Identity, leaf, world};
use martlet_transport::{PemSource, Trust, TrustError};
use rcgen::KeyPair;

const PLAIN: &str = include_str!("../keys/plain.pem");

/// A trust whose certificate belongs to the key of `plain.pem`; most others in `tests/keys` are the
/// same key.
fn with_certificate() -> Trust {
    let key = KeyPair::from_pem(PLAIN).unwrap();
    let keeper = Identity::new(&leaf(&["client.example"]).self_signed(&key).unwrap(), &key);
    Trust::new()
        .ca_pem(world().ca.pem())
        .certificate_pem(keeper.chain_pem)
}

fn error_of(key: &str) -> TrustError {
    with_certificate()
        .key_pem(key)
        .key_password("martlet")
        .build()
        .expect_err("the key cannot be read")
}

/// A device with a certificate of X.509 version 1, from `openssl x509 -req` without extensions, was
/// stopped by the client: "a certificate cannot be used as a CA". Its server takes it.
#[test]
fn our_certificate_is_sent_whatever_it_is() {
    let trust = Trust::new().ca_pem(world().ca.pem()).key_pem(PLAIN);
    let expired = {
        let key = KeyPair::from_pem(PLAIN).unwrap();
        let mut params = leaf(&["client.example"]);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        params.self_signed(&key).unwrap().pem()
    };
    // Well-formed PEM, but no certificate in it: whatever it is, the server reads it.
    let unknown = "-----BEGIN CERTIFICATE-----\nMAMCAQc=\n-----END CERTIFICATE-----\n";
    let table = [
        // openssl req -new -key plain.pem -subj /CN=broker.example | openssl x509 -req -signkey
        // plain.pem
        ("version 1", include_str!("../certificates/v1.pem")),
        // openssl req -x509 -key plain.pem -subj /CN=localhost
        ("a CA's", include_str!("../certificates/req_x509.pem")),
        // openssl pkey -in plain.pem -ec_param_enc explicit -out explicit.pem; openssl req -x509
        // -key explicit.pem
        (
            "parameters instead of a curve",
            include_str!("../certificates/explicit.pem"),
        ),
        // openssl x509 -in req_x509.pem -trustout -addtrust serverAuth
        ("with notes", include_str!("../certificates/trusted.pem")),
        ("expired", &expired),
        ("unknown", unknown),
    ];
    for (name, certificate) in table {
        let built = trust.clone().certificate_pem(certificate).build();
        assert!(built.is_ok(), "{name}: {}", built.unwrap_err());
    }
    // What belongs together is still asked where both can be read.
    let rsa = include_str!("../keys/rsa.pem");
    for (name, certificate) in table.into_iter().filter(|(name, _)| *name != "unknown") {
        let error = trust
            .clone()
            .certificate_pem(certificate)
            .key_pem(rsa)
            .build()
            .expect_err(name);
        assert!(
            matches!(error, TrustError::KeyMismatch { .. }),
            "{name}: {error}"
        );
    }
    let of_rsa = include_str!("../certificates/v1_by_ca.pem");
    assert!(
        trust
            .clone()
            .certificate_pem(of_rsa)
            .key_pem(rsa)
            .build()
            .is_ok()
    );
    let error = trust.certificate_pem(of_rsa).build().unwrap_err();
    assert!(matches!(error, TrustError::KeyMismatch { .. }), "{error}");
}

/// "holds no certificate" did not say which of the files it was, where all come from memory.
#[test]
fn whose_certificate_is_missing_is_said() {
    let trust = Trust::new().ca_pem(world().ca.pem()).key_pem(PLAIN);
    for (certificate, words) in [
        ("", "it is empty"),
        (PLAIN, "it holds a private key; are two files mixed up?"),
        (
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
            "certificate request",
        ),
        ("hello", "our own certificate"),
    ] {
        let error = trust
            .clone()
            .certificate_pem(certificate)
            .build()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("our own certificate was to be there") && error.contains(words),
            "{error}"
        );
    }
    let certificate = world().ca.pem();
    let error = trust
        .certificate_pem(certificate.clone())
        .key_pem(certificate)
        .build()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no private key") && error.contains("it holds a certificate; are two files"),
        "{error}"
    );
    let error = Trust::new().ca_pem(PLAIN).build().unwrap_err().to_string();
    assert!(
        error.contains("it holds a private key") && !error.contains("our own"),
        "{error}"
    );
}

/// What `openssl req -newkey`, `genrsa -des3` and `pkcs8` wrote by default over the years could not
/// be read: 3DES, and HMAC-SHA1.
#[cfg(feature = "encrypted-keys")]
#[test]
fn keys_that_openssl_encrypted_are_read() {
    for (name, key) in [
        // openssl pkcs8 -topk8 -in plain.pem -v2 des3
        ("3DES", include_str!("../keys/des3.pem")),
        // openssl pkcs8 -topk8 -in plain.pem -v2 aes-256-cbc -v2prf hmacWithSHA1
        ("HMAC-SHA1", include_str!("../keys/hmac_sha1.pem")),
    ] {
        let trust = with_certificate().key_pem(key);
        let built = trust.clone().key_password("martlet").build();
        assert!(built.is_ok(), "{name}: {}", built.unwrap_err());
        let error = trust.key_password("wrong").build().unwrap_err();
        assert_eq!(
            error,
            TrustError::KeyPasswordWrong {
                source_name: PemSource::Memory
            },
            "{name}"
        );
    }
    // openssl genrsa -des3 2048: read, and another key.
    let error = error_of(include_str!("../keys/genrsa_des3.pem"));
    assert!(matches!(error, TrustError::KeyMismatch { .. }), "{error}");
}

/// "failed to parse private key as RSA, ECDSA, or EdDSA" was all that was said of these.
#[test]
fn keys_that_cannot_be_used_are_named_with_what_helps() {
    let table = [
        // openssl ecparam -name secp521r1 -genkey -noout
        (
            include_str!("../keys/p521.pem"),
            &["P-521", "\"aws-lc-rs\"", "Crypto::AwsLcRs"][..],
        ),
        // openssl ecparam -name secp256k1 -genkey -noout
        (
            include_str!("../keys/secp256k1.pem"),
            &["secp256k1", "ec_paramgen_curve:P-256"],
        ),
        // openssl pkey -in plain.pem -ec_param_enc explicit
        (
            include_str!("../keys/explicit.pem"),
            &["by parameters", "-ec_param_enc named_curve"],
        ),
        // openssl ec -in plain.pem -no_public
        (
            include_str!("../keys/no_public.pem"),
            &["public half", "openssl ec -in"],
        ),
        // openssl ec -in plain.pem -conv_form compressed
        (
            include_str!("../keys/compressed.pem"),
            &["compressed", "-conv_form uncompressed"],
        ),
        // openssl genpkey -algorithm ed448
        (
            include_str!("../keys/ed448.pem"),
            &["Ed448", "openssl genpkey"],
        ),
        // openssl genrsa 1024
        (
            include_str!("../keys/rsa1024.pem"),
            &["RSA key of 1024 bits", "2048", "openssl genrsa"],
        ),
        // ssh-keygen -t ed25519
        (
            include_str!("../keys/openssh.pem"),
            &["OpenSSH", "ssh-keygen -p -m PKCS8"],
        ),
        (
            "-----BEGIN DSA PRIVATE KEY-----\nAAAA\n-----END DSA PRIVATE KEY-----\n",
            &["DSA", "openssl genpkey"],
        ),
        // openssl ec -in plain.pem -aes256
        (
            include_str!("../keys/traditional.pem"),
            &[
                "AES-256-CBC",
                "openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE",
            ],
        ),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            &["damaged", "openssl pkey -in FILE -check"],
        ),
    ];
    for (key, words) in table {
        let error = error_of(key);
        for word in words {
            assert!(
                error.to_string().contains(word),
                "{word} is not in: {error}"
            );
        }
        assert!(matches!(error, TrustError::BadKey { .. }), "{error}");
    }
}

/// A command that helps has the file's name in it, to be pasted.
#[test]
fn the_command_names_the_file() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys/explicit.pem");
    let error = with_certificate()
        .key_file(&path)
        .build()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("-in {} -out NEW.pem", path.display())),
        "{error}"
    );
}

#[cfg(feature = "encrypted-keys")]
#[test]
fn what_a_key_is_encrypted_with_is_named() {
    for (key, words) in [
        // openssl pkcs8 -topk8 -in plain.pem -v2 camellia-256-cbc
        (
            include_str!("../keys/camellia.pem"),
            &["PBES2 with CAMELLIA-256-CBC, PBKDF2, HMAC-SHA256"][..],
        ),
        // openssl pkcs8 -topk8 -in plain.pem -v1 PBE-SHA1-3DES
        (
            include_str!("../keys/pbes1.pem"),
            &["PBE-SHA1-3DES", "aes-256-cbc -in"],
        ),
        // openssl pkcs8 -topk8 -in plain.pem -v1 PBE-MD5-DES -provider legacy -provider default
        (
            include_str!("../keys/pbe_md5_des.pem"),
            &["PBE-MD5-DES", "-provider legacy"],
        ),
    ] {
        let error = error_of(key).to_string();
        for word in words {
            assert!(error.contains(word), "{word} is not in: {error}");
        }
    }
}

#[cfg(not(feature = "encrypted-keys"))]
#[test]
fn an_encrypted_key_names_the_feature_that_is_off() {
    let error = error_of(include_str!("../keys/pbkdf2.pem"));
    assert_eq!(
        error,
        TrustError::EncryptedKeysOff {
            source_name: PemSource::Memory
        }
    );
    assert!(error.to_string().contains("\"encrypted-keys\""), "{error}");
}

/// `openssl ecparam -genkey` writes EC PARAMETERS before the key, and Windows' editors a byte order
/// mark: then the first section was passed over, and "there is no key".
#[test]
fn files_are_read_as_they_are_met() {
    let trust = with_certificate();
    let mark = |text: &str| format!("\u{feff}{text}");
    let keys = [
        include_str!("../keys/with_parameters.pem").to_owned(),
        mark(PLAIN),
        mark(PLAIN).replace('\n', "\r\n"),
        PLAIN.trim_end().to_owned(),
        PLAIN.replace('\n', "\n  "),
        format!("Bag Attributes\n    friendlyName: a\nKey Attributes: <No Attributes>\n{PLAIN}"),
    ];
    for key in keys {
        let built = trust.clone().key_pem(key.clone()).build();
        assert!(built.is_ok(), "{key}: {}", built.unwrap_err());
    }
    // Both certificates of a file that begins with a mark count, and those of two files that were
    // put together.
    let (first, second) = (world().ca.pem(), crate::pair::Ca::new("Other").pem());
    for bundle in [
        mark(&first) + &mark(&second),
        first.trim_end().to_owned() + &second,
    ] {
        let built = Trust::new()
            .ca_pem(bundle.replacen("MII", "*II", 2))
            .build();
        assert!(
            matches!(built, Err(TrustError::BadPem { .. })),
            "the first is not passed over"
        );
        Trust::new().ca_pem(bundle).build().unwrap();
    }
}

/// Text from PowerShell's `>` is UTF-16: "holds no certificate in PEM form" did not help.
#[test]
fn utf_16_is_named() {
    let utf_16 = |text: &str, mark: &[u8], bytes: fn(u16) -> [u8; 2]| {
        mark.iter()
            .copied()
            .chain(text.encode_utf16().flat_map(bytes))
            .collect::<Vec<u8>>()
    };
    let pem = world().ca.pem();
    for mark in [true, false] {
        let (little, big): (&[u8], &[u8]) = if mark {
            (&[0xff, 0xfe], &[0xfe, 0xff])
        } else {
            (&[], &[])
        };
        for file in [
            utf_16(&pem, little, u16::to_le_bytes),
            utf_16(&pem, big, u16::to_be_bytes),
        ] {
            let error = Trust::new().ca_pem(file).build().unwrap_err();
            assert!(matches!(error, TrustError::NoCertificate { .. }), "{error}");
            assert!(error.to_string().contains("UTF-16"), "{error}");
        }
        let error = with_certificate()
            .key_pem(utf_16(PLAIN, little, u16::to_le_bytes))
            .build()
            .unwrap_err();
        assert!(
            matches!(error, TrustError::NoKey { .. }) && error.to_string().contains("UTF-16"),
            "{error}"
        );
    }
}

/// One of 140 certificates in a bundle was damaged, and the error named only the file.
#[test]
fn a_bad_certificate_in_a_bundle_is_named() {
    use data_encoding::BASE64;
    let other = crate::pair::Ca::new("Other CA");
    let der = other.certificate.der();
    // Cut off behind the subject, as when a line is lost.
    let cut = BASE64.encode(&der[..der.len() - 40]);
    let bad = format!("-----BEGIN CERTIFICATE-----\n{cut}\n-----END CERTIFICATE-----\n");
    let good = world().ca.pem();
    let line = good.lines().count() + 2;
    let error = Trust::new()
        .ca_pem(format!("{good}\n{bad}{good}"))
        .build()
        .unwrap_err();
    let words =
        format!("certificate number 2 in the PEM given in memory (\"Other CA\", line {line})");
    assert!(error.to_string().contains(&words), "{error}");
    assert!(
        matches!(&error, TrustError::BadCertificate { number: 2, subject: Some(name), .. } if name == "Other CA"),
        "{error}"
    );
    // OpenSSL's own kind is not passed over.
    let trusted = include_str!("../certificates/trusted.pem");
    let error = Trust::new()
        .ca_pem(format!("{good}{trusted}"))
        .build()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("number 2") && error.contains("openssl x509"),
        "{error}"
    );
    let error = Trust::new()
        .ca_pem(trusted)
        .build()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("TRUSTED CERTIFICATE") && error.contains("openssl x509"),
        "{error}"
    );
    // What is no longer base64 is named by its section.
    let error = Trust::new()
        .ca_pem(format!("{good}\n{}", bad.replacen("MII", "*II", 1)))
        .build()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("section 2, which begins in line {line}")),
        "{error}"
    );
}
