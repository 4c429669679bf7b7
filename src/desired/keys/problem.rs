//! What is wrong with an entry that should hold an RSA public key, and the command that makes it right.

/// Reads the public key of a private key that openssl can read.
pub(super) const FROM_PRIVATE: &str = "openssl pkey -pubout -in FILE";
/// Reads the public key of a private key in OpenSSH's own form, which openssl cannot read.
pub(super) const FROM_SSH: &str = "ssh-keygen -e -m PKCS8 -f FILE";

/// Why an entry, or a part of it, gives no key to publish. Each message continues the name of the entry, and names in
/// backquotes the command that writes the key as it can be read; FILE stands for the entry in a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// There is nothing in it that looks like a key.
    #[error(
        "holds no PEM, and no public key in DER; put the public key there in PEM (-----BEGIN PUBLIC KEY----- or -----BEGIN RSA PUBLIC KEY-----)"
    )]
    Nothing,
    /// A private key, in whatever form.
    #[error(
        "holds a private key ({label}); only the public key belongs there: remove the private key now, and treat it as known to all who may read that object. `{command}` writes its public key"
    )]
    Private {
        /// The PEM label, or what the form is called.
        label: String,
        /// Writes the public key.
        command: &'static str,
    },
    /// A private key as JSON.
    #[error(
        "holds a private key (JWK); only the public key belongs there, in PEM: remove the private key now, and treat it as known to all who may read that object"
    )]
    PrivateJwk,
    /// A certificate, in PEM or DER.
    #[error(
        "holds a certificate; put the public key alone there: `openssl x509 {}-pubkey -noout -in FILE`",
        if *.der { "-inform DER " } else { "" }
    )]
    Certificate {
        /// Whether it is DER.
        der: bool,
    },
    /// A certificate request, in PEM or DER.
    #[error(
        "holds a certificate request; put the public key alone there: `openssl req {}-pubkey -noout -in FILE`",
        if *.der { "-inform DER " } else { "" }
    )]
    CertificateRequest {
        /// Whether it is DER.
        der: bool,
    },
    /// An RSA key that is bound to PSS (RFC 4055); RS256 is PKCS#1 v1.5.
    #[error(
        "holds an RSA-PSS public key (rsassaPss); OpenShift signs tokens with RS256, by a key of the type rsaEncryption: give the public key that the cluster signs with"
    )]
    Pss,
    /// A public key that is not RSA.
    #[error(
        "holds a public key that is not RSA but {kind}; OpenShift signs tokens with RS256, by an RSA key: give the public key that the cluster signs with"
    )]
    NotRsa {
        /// What it is instead.
        kind: String,
    },
    /// An RSA key that is too small or too large. RS256 takes 2048 bits or more (RFC 7518, section 3.3).
    #[error(
        "holds an RSA public key that has {bits} bits; RS256 takes keys of 2048 bits or more, and Rolecall none of more than 8192: have the cluster sign with another key"
    )]
    Size {
        /// Bits of the modulus.
        bits: usize,
    },
    /// A modulus or an exponent that no RSA key has.
    #[error(
        "holds an RSA public key whose modulus or exponent cannot be one (both are odd, the exponent is at least 3 and below 2^33); copy the key again from where it was made"
    )]
    Invalid,
    /// A line as ssh-keygen writes it.
    #[error("holds an OpenSSH public key (ssh-rsa); write it as PEM: `{FROM_SSH}`")]
    OpenSsh,
    /// A public key as commercial SSH writes it (RFC 4716).
    #[error(
        "holds an SSH2 public key (RFC 4716); write it as PEM: `ssh-keygen -i -f FILE | ssh-keygen -e -m PKCS8 -f /dev/stdin`"
    )]
    Ssh2,
    /// A Windows key file.
    #[error("holds a Microsoft PUBLICKEYBLOB; write it as PEM: `openssl rsa -pubin -inform MSBLOB -in FILE -pubout`")]
    MsBlob,
    /// What `openssl … -text` or `-modulus` prints.
    #[error(
        "holds the text that openssl prints of a key, which nothing reads back; put the key itself there, from the file that was printed: `openssl rsa -pubin -in FILE -pubout`"
    )]
    Text,
    /// A whole key in base64, once too often: often an entry that was encoded by hand and again by `kubectl`.
    #[error("holds a public key that is encoded in base64 once more; decode it: `base64 -d FILE`")]
    Encoded,
    /// A block that ought to hold a public key and cannot be decoded.
    #[error(
        "holds a PEM block {label:?} in line {line} that cannot be read: {why}; copy the key again, from -----BEGIN to -----END"
    )]
    Broken {
        /// The PEM label.
        label: String,
        /// The line of its BEGIN, from 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// A PEM block of another kind.
    #[error("holds a PEM block {label:?}; expected \"PUBLIC KEY\" or \"RSA PUBLIC KEY\"")]
    WrongBlock {
        /// The PEM label.
        label: String,
    },
}

impl KeyProblem {
    pub(super) fn private(label: impl Into<String>) -> Self {
        Self::Private { label: label.into(), command: FROM_PRIVATE }
    }

    /// Whether a public key was meant, so that passing it over would publish a set that is silently smaller.
    pub(super) fn is_of_a_public_key(&self) -> bool {
        !matches!(
            self,
            Self::Nothing | Self::Certificate { .. } | Self::CertificateRequest { .. } | Self::WrongBlock { .. }
        )
    }
}
