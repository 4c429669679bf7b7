//! Every form that openssl and ssh-keygen make of an RSA key: read, or refused with the command that converts it, which is
//! then run.

use std::path::Path;
use std::process::{Command, Stdio};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rolecall::desired::keys::{Held, KeySource, read_source};

/// Makes the forms of one key in an empty directory. Files that are read as they are begin with `read-`, those that have
/// to be converted with `convert-`, those that never will do with `refuse-`.
const MAKE: &str = r"
set -e
exec 2>/dev/null
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key
openssl pkey -in key -pubout -out public
sed 's/PUBLIC KEY/RSA PUBLIC KEY/' public > read-openshift
cp public read-spki
openssl rsa -in key -RSAPublicKey_out -out read-pkcs1
sed 's/RSA PUBLIC KEY/PUBLIC KEY/' read-pkcs1 > read-pkcs1-as-spki
openssl pkey -pubin -in public -outform DER -out read-spki.der
openssl rsa -in key -RSAPublicKey_out -outform DER -out read-pkcs1.der
openssl rsa -pubin -in public -text -out read-with-text
sed 's/$/\r/' public > read-crlf
sed 's/$/ \t/' public > read-trailing-blanks
{ printf '\357\273\277'; cat public; echo; } > read-byte-order-mark
iconv -f UTF-8 -t UTF-16 public > read-utf-16
{ echo; echo 'Bag Attributes: none'; cat public; echo 'end'; } > read-text-around
sed '1a Comment: a header\n' public > read-header

openssl req -x509 -new -key key -subj /CN=signer -days 1 -out convert-certificate
openssl x509 -in convert-certificate -outform DER -out convert-certificate.der
openssl x509 -in convert-certificate -trustout -out convert-trusted-certificate
openssl x509 -in convert-certificate -text -out convert-certificate-with-text
openssl x509 -in convert-certificate -pubkey -noout -out read-from-certificate
openssl x509 -in convert-certificate -pubkey -out convert-key-and-certificate
openssl req -new -key key -subj /CN=signer -out convert-request
openssl req -in convert-request -outform DER -out convert-request.der
openssl rsa -pubin -in public -outform MSBLOB -out convert-blob
openssl rsa -pubin -in public -text -noout -out convert-printed
openssl rsa -pubin -in public -modulus -noout -out convert-modulus
openssl base64 -in public -out convert-base64
openssl base64 -A -in public -out convert-base64-on-one-line
openssl base64 -in read-spki.der -out convert-base64-of-der

cp key convert-private
openssl rsa -in key -traditional -out convert-private-pkcs1
openssl pkcs8 -topk8 -in key -passout pass:secret -out convert-private-encrypted
openssl rsa -in key -traditional -aes256 -passout pass:secret -out convert-private-pkcs1-encrypted
openssl pkcs8 -topk8 -in key -nocrypt -outform DER -out convert-private.der
openssl rsa -in key -traditional -outform DER -out convert-private-pkcs1.der
openssl pkcs8 -topk8 -in key -passout pass:secret -outform DER -out convert-private-encrypted.der
openssl rsa -in key -outform MSBLOB -out convert-private-blob
openssl rsa -in key -outform PVK -pvk-none -out convert-private-pvk
openssl pkey -in key -text -out convert-private-with-text
openssl pkey -in key -text -noout -out convert-private-printed
openssl pkcs12 -export -inkey key -in convert-certificate -passout pass:secret -out convert-private-pkcs12
if command -v ssh-keygen; then
  ssh-keygen -i -m PKCS8 -f public > convert-ssh
  ssh-keygen -e -m RFC4716 -f convert-ssh > convert-ssh2
  ssh-keygen -e -m PKCS8 -f convert-ssh > read-from-ssh
  ssh-keygen -e -m PEM -f convert-ssh > read-from-ssh-pkcs1
  cp key convert-private-ssh
  chmod 600 convert-private-ssh
  ssh-keygen -p -P '' -N '' -f convert-private-ssh
fi

openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec && openssl pkey -in ec -pubout -out refuse-EC
openssl pkey -in ec -pubout -outform DER -out refuse-EC.der
for kind in ED25519 ED448 X25519; do openssl genpkey -algorithm $kind | openssl pkey -pubout -out refuse-$kind; done
openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out pss && openssl pkey -in pss -pubout -out refuse-PSS
openssl rsa -in pss -RSAPublicKey_out -out refuse-PSS-with-its-label
openssl pkey -in pss -pubout -outform DER -out refuse-PSS.der
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 | openssl pkey -pubout -out refuse-1024
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 | openssl rsa -RSAPublicKey_out -out refuse-1024-pkcs1
";

/// The kid of the one key in these bytes, or the message.
fn kid(bytes: Vec<u8>) -> Result<String, String> {
    let source = KeySource { origin: "FILE".into(), held: Ok(Held::Entry(bytes)) };
    let keys = read_source(&source).map_err(|error| error.to_string())?;
    assert_eq!(keys.len(), 1);
    Ok(keys[0].kid.clone())
}

/// Runs the command that a message names on a file. A password is asked for on the terminal; here it is given.
fn convert(dir: &Path, file: &str, message: &str) -> Vec<u8> {
    let command = message.split('`').nth(1).unwrap_or_else(|| panic!("{file}: no command in {message}"));
    // What was printed cannot be read back: the message asks for the file that was printed.
    let file = match file {
        "convert-printed" | "convert-modulus" => "public",
        "convert-private-printed" => "key",
        file => file,
    };
    let encrypted = file.contains("encrypted") || file.ends_with("pkcs12");
    let input = if encrypted { format!("-passin pass:secret -in {file}") } else { format!("-in {file}") };
    let command = command.replace("-in FILE", &input).replace("FILE", file);
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", &command]).current_dir(dir).stdin(Stdio::null()).output().expect("a shell");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn every_form_is_read_or_refused_with_the_command_that_converts_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let made = Command::new("sh").args(["-c", MAKE]).current_dir(dir.path()).stdout(Stdio::null()).status();
    assert!(made.expect("a shell").success(), "openssl failed: run the commands by hand");
    let bytes = |file: &str| std::fs::read(dir.path().join(file)).expect("a file");
    let wanted = URL_SAFE_NO_PAD.encode(digest(&SHA256, &bytes("read-spki.der")));

    let listing = std::fs::read_dir(dir.path()).expect("a listing");
    let mut files: Vec<String> =
        listing.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    files.sort();
    let mut seen = [0; 3];
    for file in files {
        let read = kid(bytes(&file));
        if file.starts_with("read-") {
            seen[0] += 1;
            assert_eq!(read.as_ref(), Ok(&wanted), "{file}");
        } else if file.starts_with("convert-") {
            seen[1] += 1;
            let message = read.expect_err(&file);
            assert_eq!(file.contains("private"), message.contains("holds a private key ("), "{file}: {message}");
            assert_eq!(kid(convert(dir.path(), &file, &message)).as_ref(), Ok(&wanted), "{file}: {message}");
        } else if let Some(why) = file.strip_prefix("refuse-") {
            seen[2] += 1;
            let message = read.expect_err(&file).to_lowercase();
            let why = why.split(['.', '-']).next().unwrap_or_default().to_lowercase();
            assert!(message.contains(&why) && !message.contains('`'), "{file}: {message}");
        }
    }
    assert!(seen[0] >= 14 && seen[1] >= 25 && seen[2] == 10, "{seen:?}");
}
