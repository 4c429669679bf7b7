use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use spki::der::Encode;
use spki::der::asn1::UintRef;

use super::*;

const PUBLIC: &str = include_str!("../../../tests/keys/first.pub");
const SECOND: &str = include_str!("../../../tests/keys/second.pub");
const EC: &str = include_str!("../../../tests/keys/ec.pub");
const PRIVATE: &str = "-----BEGIN RSA PRIVATE KEY-----\nMAA=\n-----END RSA PRIVATE KEY-----\n";
/// Where PKCS#1 begins in the SPKI of an RSA key of 2048 bits.
const PKCS1: usize = 24;

fn source(text: impl AsRef<[u8]>) -> KeySource {
    KeySource { origin: "Secret signer, key pub".into(), held: Ok(Held::Entry(text.as_ref().to_vec())) }
}

fn object(entries: &[(&str, &str)]) -> KeySource {
    let entries = entries.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
    KeySource { origin: "ConfigMap a/signer".into(), held: Ok(Held::Object(entries.collect())) }
}

fn first() -> Key {
    read_source(&source(PUBLIC)).unwrap().remove(0)
}

fn der_of(text: &str) -> Vec<u8> {
    pem::parse(text).unwrap().into_contents()
}

fn pem_of(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}

/// An RSA key with this modulus, in PKCS#1; it need not be one.
fn pkcs1_of(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let number = |bytes| UintRef::new(bytes).unwrap();
    pkcs1::RsaPublicKeyRef { modulus: number(modulus), public_exponent: number(exponent) }.to_der().unwrap()
}

#[test]
fn the_kid_is_what_kube_apiserver_computes() {
    let keys = read_source(&source(PUBLIC)).unwrap();
    assert_eq!(keys.len(), 1);
    // openssl pkey -pubin -outform DER -in first.pub | openssl dgst -sha256 -binary | basenc --base64url
    assert_eq!(keys[0].kid, include_str!("../../../tests/keys/first.kid").trim().trim_end_matches('='));
    assert_eq!(keys[0].e, "AQAB");
    assert_eq!(URL_SAFE_NO_PAD.decode(&keys[0].n).unwrap().len(), 256);
}

#[test]
fn one_key_is_the_same_in_every_form() {
    let spki = der_of(PUBLIC);
    let without_null = [&[0x30, 0x82, 0x01, 0x20, 0x30, 0x0b], &spki[6..17], &spki[19..]].concat();
    let lines = |change: fn(&str) -> String| PUBLIC.lines().map(change).collect::<String>();
    let utf16 = |bytes: fn(u16) -> [u8; 2]| format!("\u{feff}{PUBLIC}").encode_utf16().flat_map(bytes).collect();
    let body: String = PUBLIC.lines().filter(|line| !line.starts_with('-')).collect();
    let forms: [(&str, Vec<u8>); 16] = [
        ("SPKI", PUBLIC.into()),
        ("SPKI under the label of PKCS#1: OpenShift", pem_of("RSA PUBLIC KEY", &spki).into()),
        ("PKCS#1", pem_of("RSA PUBLIC KEY", &spki[PKCS1..]).into()),
        ("PKCS#1 under the label of SPKI", pem_of("PUBLIC KEY", &spki[PKCS1..]).into()),
        ("SPKI without parameters", pem_of("PUBLIC KEY", &without_null).into()),
        ("SPKI in DER", spki.clone()),
        ("PKCS#1 in DER", spki[PKCS1..].into()),
        ("CRLF", lines(|line| format!("{line}\r\n")).into()),
        ("CR", lines(|line| format!("{line}\r")).into()),
        ("blanks at the ends", lines(|line| format!("{line} \t\n")).into()),
        ("indented", lines(|line| format!("    {line}\n")).into()),
        ("a byte-order mark, text around", format!("\u{feff}{PUBLIC}trailing: text\n").into()),
        ("text before that is no UTF-8", [b"caf\xe9\n", PUBLIC.as_bytes()].concat()),
        ("UTF-16, little end first", utf16(u16::to_le_bytes)),
        ("UTF-16, big end first", utf16(u16::to_be_bytes)),
        ("headers", format!("-----BEGIN PUBLIC KEY-----\nComment: a\n b\n\n{body}\n-----END PUBLIC KEY-----").into()),
    ];
    for (form, bytes) in forms {
        assert_eq!(read_source(&source(bytes)), Ok(vec![first()]), "{form}");
    }
    let several = format!("old:\n{PUBLIC}\nnew:\n{}", SECOND.replace("PUBLIC KEY", "RSA PUBLIC KEY"));
    assert_eq!(read_source(&source(several)).unwrap().len(), 2);
}

#[test]
fn what_is_no_public_rsa_key_is_refused_by_name() {
    let block = |label: &str| format!("-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n");
    let odd = |bits: usize| [vec![0x80], vec![0; bits / 8 - 2], vec![1]].concat();
    let sized = |bits| pem_of("RSA PUBLIC KEY", &pkcs1_of(&odd(bits), &[1, 0, 1]));
    let spki = der_of(PUBLIC);
    // The object identifier of rsaEncryption ends in 1, that of rsassaPss in 10.
    let pss: Vec<u8> = spki.iter().enumerate().map(|(at, byte)| if at == 16 { 10 } else { *byte }).collect();
    let truncated = PUBLIC.replace("-----END PUBLIC KEY-----\n", "");
    let damaged = PUBLIC.replacen("MII", "M!!", 1);
    let private_on_one_line = "-----BEGIN PRIVATE KEY-----MIIEvQ-----END PRIVATE KEY-----";
    for (text, says) in [
        ("junk".to_owned(), "holds no PEM"),
        (String::new(), "holds no PEM"),
        ("{\"keys\": []}".to_owned(), "holds no PEM"),
        (PRIVATE.to_owned(), "holds a private key (RSA PRIVATE KEY)"),
        (format!("{PUBLIC}{PRIVATE}"), "holds a private key (RSA PRIVATE KEY)"),
        (block("ENCRYPTED PRIVATE KEY"), "(ENCRYPTED PRIVATE KEY); only the public key belongs there: remove"),
        (block("OPENSSH PRIVATE KEY"), "`ssh-keygen -e -m PKCS8 -f FILE` writes its public key"),
        (block("PRIVATE KEY"), "`openssl pkey -pubout -in FILE` writes its public key"),
        (private_on_one_line.to_owned(), "holds a private key (PRIVATE KEY)"),
        ("-----BEGIN PRIVATE KEY MIIEvQ".to_owned(), "holds a private key (PRIVATE KEY)"),
        (STANDARD.encode(PRIVATE.repeat(4)), "holds a private key (RSA PRIVATE KEY)"),
        ("Private-Key: (2048 bit, 2 primes)\nmodulus:\n".to_owned(), "holds a private key (as openssl prints it"),
        (r#"{"kty":"RSA","n":"AQAB","e":"AQAB","d":"AQAB"}"#.to_owned(), "holds a private key (JWK)"),
        (r#"{"keys":[{"kty":"oct","k":"AQAB"}]}"#.to_owned(), "holds a private key (JWK)"),
        ("PuTTY-User-Key-File-3: ssh-rsa\n".to_owned(), "holds a private key (PuTTY)"),
        (block("CERTIFICATE"), "holds a certificate; put the public key alone there: `openssl x509 -pubkey -noout"),
        (block("CERTIFICATE REQUEST"), "`openssl req -pubkey -noout -in FILE`"),
        (format!("{PUBLIC}{}", block("CERTIFICATE")), "holds a certificate"),
        (block("X509 CRL"), "holds a PEM block \"X509 CRL\"; expected \"PUBLIC KEY\" or \"RSA PUBLIC KEY\""),
        (
            block("PUBLIC KEY"),
            "a PEM block \"PUBLIC KEY\" in line 1 that cannot be read: it is neither SPKI nor PKCS#1",
        ),
        (format!("a\nb\n{damaged}"), "\"PUBLIC KEY\" in line 3 that cannot be read: its base64 is damaged"),
        (truncated, "it has no -----END line"),
        (PUBLIC.replace("-----END PUBLIC", "-----END RSA PUBLIC"), "its -----END line has another label"),
        (PUBLIC.replace("PUBLIC KEY-----", "PUBLIC KEY"), "its first line does not end in -----"),
        (PUBLIC.replace('\n', "\\n"), "its line breaks are written out as a backslash and an n"),
        ("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----".to_owned(), "it is empty"),
        (EC.to_owned(), "holds a public key that is not RSA but EC; OpenShift signs tokens with RS256"),
        ("ssh-ed25519 AAAAC3 a@b".to_owned(), "not RSA but ssh-ed25519"),
        ("ssh-rsa AAAAB3 a@b".to_owned(), "`ssh-keygen -e -m PKCS8 -f FILE`"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\n".to_owned(), "`ssh-keygen -i -f FILE | ssh-keygen -e -m PKCS8"),
        ("Public-Key: (2048 bit)\nModulus:\n".to_owned(), "`openssl rsa -pubin -in FILE -pubout`"),
        (pem_of("PUBLIC KEY", &pss), "holds an RSA-PSS public key (rsassaPss); OpenShift signs tokens with RS256"),
        (STANDARD.encode(PUBLIC), "encoded in base64 once more; decode it: `base64 -d FILE`"),
        (sized(1024), "has 1024 bits; RS256 takes keys of 2048 bits or more, and Rolecall none of more than 8192"),
        (sized(2040), "has 2040 bits"),
        (sized(8200), "has 8200 bits"),
        (pem_of("RSA PUBLIC KEY", &pkcs1_of(&odd(2048), &[2])), "whose modulus or exponent cannot be one"),
        (pem_of("RSA PUBLIC KEY", &pkcs1_of(&odd(2048), &[1])), "whose modulus or exponent cannot be one"),
    ] {
        let error = read_source(&source(&text)).unwrap_err().to_string();
        assert!(error.contains(says) && error.starts_with("Secret signer, key pub holds"), "{text}\n{error}");
        assert!(!error.contains("MII") && !error.contains('\n'), "{error}");
    }
    assert!(read_source(&source(sized(2048))).is_ok() && read_source(&source(sized(8192))).is_ok());
}

#[test]
fn an_object_gives_the_keys_of_all_its_entries() {
    let openshift = |text: &str| text.replace("PUBLIC KEY", "RSA PUBLIC KEY");
    let (one, two) = (openshift(SECOND), openshift(PUBLIC));
    let ca = "# roots\n-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let certs = object(&[("service-account-002.pub", &two), ("service-account-001.pub", &one), ("ca", ca), ("x", "y")]);
    let keys = read_source(&certs).unwrap();
    assert_eq!(keys, [read_source(&source(SECOND)).unwrap().remove(0), first()], "in the order of the names");

    for (entries, says) in [
        (&[][..], "ConfigMap a/signer holds no RSA public key in any of its 0 entries"),
        (&[("ca", ca), ("text", "a")], "ConfigMap a/signer holds no RSA public key in any of its 2 entries"),
        (&[("a", &one), ("b", EC)], "ConfigMap a/signer, key b holds a public key that is not RSA but EC"),
        (&[("a", &one), ("b", "-----BEGIN PUBLIC KEY-----\n")], "ConfigMap a/signer, key b holds a PEM block"),
        (&[("a", &one), ("b", "ssh-rsa AAAAB3 a")], "ConfigMap a/signer, key b holds an OpenSSH public key"),
        (&[("a", &format!("{ca}{EC}"))], "ConfigMap a/signer, key a holds a public key that is not RSA but EC"),
        (&[("a", &format!("{one}{ca}"))], "ConfigMap a/signer, key a holds a certificate"),
        (
            &[("service-account.key", PRIVATE), ("service-account.pub", &one), ("bad.pub", EC)],
            "ConfigMap a/signer, key service-account.key holds a private key (RSA PRIVATE KEY), so ConfigMap a/signer cannot be a source as a whole; name the entry that holds the public key (key: service-account.pub).",
        ),
        (&[("a", PRIVATE)], "no entry of it holds a public key that could be named"),
    ] {
        let error = read_source(&object(entries)).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_key_that_left_its_source_stays_until_it_is_retired() {
    let day = Duration::from_hours(24);
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let old = first();
    let remembered = [RememberedKey { key: old.clone(), retiring_since: None }];
    let both = wanted_keys(&[source(SECOND)], &remembered, day, start).unwrap();
    assert_eq!(both.len(), 2);
    assert_eq!(both[1], WantedKey { key: old.clone(), retiring_since: Some(start) });

    let retiring = [RememberedKey { key: old, retiring_since: Some(start) }];
    let almost = start + Duration::from_secs(86_399);
    assert_eq!(wanted_keys(&[source(SECOND)], &retiring, day, almost).unwrap().len(), 2);
    assert_eq!(wanted_keys(&[source(SECOND)], &retiring, day, start + day).unwrap().len(), 1);
    let returned = wanted_keys(&[source(SECOND), source(PUBLIC)], &retiring, day, almost).unwrap();
    assert!(returned.iter().all(|key| key.retiring_since.is_none()));
}

#[test]
fn an_empty_set_is_refused() {
    assert!(wanted_keys(&[], &[], Duration::ZERO, Timestamp::UNIX_EPOCH).is_err());
    let gone = KeySource { origin: "Secret a, key b".into(), held: Err("the Secret does not exist".into()) };
    let error = wanted_keys(&[source(PUBLIC), gone], &[], Duration::ZERO, Timestamp::UNIX_EPOCH).unwrap_err();
    assert!(error.to_string().contains("the Secret does not exist"));
}

#[test]
fn keys_are_told_apart_by_modulus_and_exponent() {
    let day = Duration::from_hours(24);
    let sources = [source(PUBLIC), source(pem_of("RSA PUBLIC KEY", &der_of(PUBLIC)[PKCS1..])), source(PUBLIC)];
    let padded = [&[0, 0][..], &URL_SAFE_NO_PAD.decode(first().n).unwrap()].concat();
    for old in [
        Key { kid: "another".into(), ..first() },
        Key { n: first().n + "==", e: "AQAB".into(), kid: String::new() },
        Key { n: URL_SAFE_NO_PAD.encode(padded), e: "AAEAAQ".into(), kid: "zeros".into() },
    ] {
        let remembered = [RememberedKey { key: old, retiring_since: None }];
        let wanted = wanted_keys(&sources, &remembered, day, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(wanted, [WantedKey { key: first(), retiring_since: None }]);
    }
    let exponent = Key { e: "Aw".into(), ..first() };
    let remembered = [RememberedKey { key: exponent, retiring_since: None }];
    assert_eq!(wanted_keys(&sources, &remembered, day, Timestamp::UNIX_EPOCH).unwrap().len(), 2);
}

#[test]
fn more_keys_than_aws_accepts_are_refused() {
    let old = |number: usize| RememberedKey {
        key: Key { kid: format!("k{number}"), n: URL_SAFE_NO_PAD.encode(number.to_be_bytes()), e: "AQAB".into() },
        retiring_since: None,
    };
    let wanted = |retiring: usize| {
        let remembered: Vec<_> = (1..=retiring).map(old).collect();
        wanted_keys(&[source(PUBLIC)], &remembered, Duration::from_hours(1), Timestamp::UNIX_EPOCH)
    };
    assert_eq!(wanted(99).unwrap().len(), 100);
    let error = wanted(100).unwrap_err();
    assert_eq!(error, KeysRefused::TooMany { count: 101, retiring: 100 });
    assert!(error.to_string().contains("101 keys would be published, 100 of them because they are retiring"));
}

#[test]
fn a_published_document_is_read_whatever_it_holds() {
    let entries = |jwks: &str| published_entries(jwks.as_bytes());
    let names = |jwks: &str| entries(jwks).unwrap().into_iter().map(|entry| entry.name).collect::<Vec<_>>();
    let deep = "[".repeat(100_000);
    for bad in ["", "null", "[]", "{}", "{\"keys\": {}}", "{\"keys\": null}", deep.as_str()] {
        assert_eq!(entries(bad), None, "{bad:.20}");
        assert_eq!(kids_of(bad.as_bytes()), None);
    }
    let jwks =
        format!(r#"{{"keys": [{{"kid": "a"}}, {{"kid": ""}}, {{}}, 7, null, {{"kid": "{}"}}]}}"#, "x".repeat(999));
    let long = "x".repeat(64);
    let read = names(&jwks);
    assert_eq!(read[0], "a");
    assert!(read[1..5].iter().all(|name| name.starts_with("without-kid-")), "{read:?}");
    assert!(read[5].starts_with(&format!("{long}-")), "{read:?}");
    let unnameable = names(r#"{"keys": [{"kid": "a, b"}, {"kid": "ab"}, {"kid": "a,b"}]}"#);
    assert_eq!(unnameable[1], "ab");
    let distinct: std::collections::BTreeSet<&String> = read.iter().chain(&unnameable).collect();
    assert_eq!(distinct.len(), read.len() + unnameable.len(), "each can be named alone: {distinct:?}");
    assert!(distinct.iter().all(|name| !name.contains([',', ' '])), "{distinct:?}");
    assert_eq!(kids_of(jwks.as_bytes()), None);
    let no_rsa = r#"{"keys": [{"kty": "EC", "n": "AQ", "e": "AQAB"}, {"kty": "RSA", "n": "*", "e": "AQAB"}, {"n": "AAA", "e": "AQAB"}]}"#;
    assert!(entries(no_rsa).unwrap().iter().all(|entry| entry.number.is_none()));
    let many: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    assert_eq!(named(many.iter().map(String::as_str)), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 490 more");
}

#[test]
fn what_is_held_is_not_shown() {
    let shown = format!("{:?} {:?}", source(PRIVATE), object(&[("secret-name", PRIVATE)]));
    assert!(!shown.contains("MAA") && !shown.contains("secret-name"), "{shown}");
}

proptest! {
    /// Damaged keys are read or refused, in PEM and DER, and nothing of them is in a message.
    #[test]
    fn no_input_panics(at in 0_usize..450, with in prop::collection::vec(any::<u8>(), 0..8), cut in 0_usize..450, der: bool) {
        let mut bytes = if der { der_of(PUBLIC) } else { PUBLIC.as_bytes().to_vec() };
        let at = at.min(bytes.len());
        let end = (at + with.len()).min(bytes.len());
        bytes.splice(at..end, with);
        bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(300)));
        if let Err(error) = read_source(&source(&bytes)) {
            prop_assert!(error.to_string().len() < 600);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_source(&source(&bytes));
        let _ = (kids_of(&bytes), published_entries(&bytes));
        let framed = [b"-----BEGIN ".as_slice(), &bytes, b"-----\n-----END "].concat();
        let _ = read_source(&source(&framed));
    }
}
