//! Keys that signatures of tokens are held against, from PEM, from a secret, or from a JWK Set (RFC 7517).
//!
//! A key says what it can verify; the header of a token only chooses among that. So a public key is never taken for a secret, and no key is one for `none`.

use std::{fs, io, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use columba_net::x509::{self, PublicKey};
use ring::{
    hmac,
    signature::{
        self, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RsaPublicKeyComponents, UnparsedPublicKey,
        VerificationAlgorithm,
    },
};
use rustls::pki_types::{
    CertificateDer, SubjectPublicKeyInfoDer,
    pem::{PemObject as _, SectionKind},
};
use serde::Deserialize;
use thiserror::Error;

/// Bytes of a file with keys, and keys of all files together.
pub(super) const BYTES_MAX: usize = 256 << 10;
const KEYS_MAX: usize = 100;

/// RSA keys with fewer bits are too weak, with more too dear (RFC 7518 §3.3).
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// An algorithm of JWS (RFC 7518 §3.1, RFC 8037).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    pub(super) fn of(name: &str) -> Option<Self> {
        use Algorithm::*;
        Some(match name {
            "HS256" => Hs256,
            "HS384" => Hs384,
            "HS512" => Hs512,
            "RS256" => Rs256,
            "RS384" => Rs384,
            "RS512" => Rs512,
            "PS256" => Ps256,
            "PS384" => Ps384,
            "PS512" => Ps512,
            "ES256" => Es256,
            "ES384" => Es384,
            "EdDSA" => EdDsa,
            _ => return None,
        })
    }
}

/// All keys in force.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Entry>);

/// A key, and for which tokens it is.
#[derive(Debug)]
struct Entry {
    /// Tokens that name a key name this one; `None`: any that fits.
    id: Option<Box<str>>,
    /// It is for this algorithm only.
    algorithm: Option<Algorithm>,
    key: Key,
}

enum Key {
    /// For HS256 and, where it is as long as they ask for, HS384 and HS512 (RFC 7518 §3.2).
    Secret(Box<[u8]>),
    Rsa(RsaPublicKeyComponents<Box<[u8]>>),
    /// An uncompressed point.
    P256(Box<[u8]>),
    P384(Box<[u8]>),
    Ed25519(Box<[u8]>),
}

/// What is wrong with a key, or with a set of them.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum KeyError {
    /// Too much of it.
    #[error("more than 256 KiB, or more than {KEYS_MAX} keys")]
    Much,
    /// Nothing that can be used.
    #[error("no key in it that can be used: RSA from 2048 to 8192 bits, EC on P-256 or P-384, Ed25519")]
    None,
    /// Not PEM.
    #[error("not PEM: \"BEGIN PUBLIC KEY\" or \"BEGIN CERTIFICATE\" is what is read here")]
    Pem,
    /// A private key lies where everybody may read.
    #[error("a private key; the broker needs the public one, and nobody else should have this one")]
    Private,
    /// Not a JWK Set.
    #[error("not a JWK Set: {{\"keys\": [...]}}")]
    Set,
    /// A secret that can be guessed.
    #[error("a secret of fewer than 32 bytes (RFC 7518, 3.2)")]
    Short,
    /// A key pair's part in the place of a secret.
    #[error("PEM in the place of a secret: what everybody may know would make tokens; write it behind key_file")]
    NoSecret,
}

/// What is wrong with a file of keys.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// What stands in it does not do.
    #[error("{}: {problem}", path.display())]
    Keys {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: KeyError,
    },
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

/// What is read of a JWK; the rest says nothing here.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<Box<str>>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

impl Keys {
    /// The text of a file, or `Much`.
    pub(super) fn bytes(path: &std::path::Path) -> Result<Vec<u8>, KeyFileError> {
        let io = |error| KeyFileError::Io { path: path.into(), error };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(fs::File::open(path).map_err(io)?, BYTES_MAX as u64 + 1), &mut bytes)
            .map_err(io)?;
        let much = KeyFileError::Keys { path: path.into(), problem: KeyError::Much };
        if bytes.len() > BYTES_MAX { Err(much) } else { Ok(bytes) }
    }

    /// A secret as it is, without line ends behind it.
    pub(super) fn add_secret(&mut self, bytes: &[u8]) -> Result<(), KeyError> {
        let secret = bytes.trim_ascii_end();
        if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
            return Err(KeyError::NoSecret);
        }
        if secret.len() < 32 {
            return Err(KeyError::Short);
        }
        self.push(Entry { id: None, algorithm: None, key: Key::Secret(secret.into()) })
    }

    /// Public keys and certificates, PEM.
    pub(super) fn add_pem(&mut self, bytes: &[u8]) -> Result<(), KeyError> {
        let before = self.0.len();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
            let (kind, der) = section.map_err(|_| KeyError::Pem)?;
            let key = match kind {
                SectionKind::PublicKey => x509::public_key(SubjectPublicKeyInfoDer::from(der.as_slice()).as_ref()).map(Key::of),
                SectionKind::Certificate => x509::public_key_of(CertificateDer::from(der.as_slice()).as_ref()).map(Key::of),
                SectionKind::RsaPrivateKey | SectionKind::PrivateKey | SectionKind::EcPrivateKey => {
                    return Err(KeyError::Private);
                }
                SectionKind::Crl | SectionKind::Csr | SectionKind::EchConfigList | _ => None,
            };
            let key = key.flatten().ok_or(KeyError::None)?;
            self.push(Entry { id: None, algorithm: None, key })?;
        }
        if self.0.len() == before { Err(KeyError::Pem) } else { Ok(()) }
    }

    /// Keys of a set that are for verifying signatures; others in it are passed over, for sets of others hold what they like (RFC 7517 §5).
    pub(super) fn add_set(&mut self, bytes: &[u8]) -> Result<(), KeyError> {
        self.add_entries(bytes, |_| true)
    }

    /// The same of a set that whoever likes can read: secrets in it are none.
    pub(super) fn add_public_set(&mut self, bytes: &[u8]) -> Result<(), KeyError> {
        self.add_entries(bytes, |entry| !matches!(entry.key, Key::Secret(_)))
    }

    fn add_entries(&mut self, bytes: &[u8], is_wanted: impl Fn(&Entry) -> bool) -> Result<(), KeyError> {
        let set: Set = serde_json::from_slice(bytes).map_err(|_| KeyError::Set)?;
        let before = self.0.len();
        let entries = set.keys.into_iter().filter_map(|value| Entry::of(serde_json::from_value(value).ok()?));
        for entry in entries.filter(is_wanted) {
            self.push(entry)?;
        }
        if self.0.len() == before { Err(KeyError::None) } else { Ok(()) }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn push(&mut self, entry: Entry) -> Result<(), KeyError> {
        if self.0.len() >= KEYS_MAX {
            return Err(KeyError::Much);
        }
        self.0.push(entry);
        Ok(())
    }

    /// Whether one of the keys that the token can mean has signed it; `None`: it names one that is not here.
    pub(super) fn verify(&self, algorithm: Algorithm, id: Option<&str>, signed: &[u8], signature: &[u8]) -> Option<bool> {
        let fits = |entry: &&Entry| match (id, entry.id.as_deref()) {
            (Some(id), Some(own)) => id == own,
            (None, _) | (_, None) => true,
        };
        let mut meant = self.0.iter().filter(fits).peekable();
        meant.peek()?;
        Some(
            meant.any(|entry| {
                entry.algorithm.is_none_or(|own| own == algorithm) && entry.key.verify(algorithm, signed, signature)
            }),
        )
    }
}

impl Entry {
    fn of(jwk: Jwk) -> Option<Self> {
        let is_for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
            && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        let algorithm = jwk.alg.as_deref().map(|name| Algorithm::of(name).ok_or(())).transpose().ok()?;
        if !is_for_signatures {
            return None;
        }
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
        let point = |len: usize| {
            let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
            (x.len() == len && y.len() == len).then(|| [&[4][..], &x, &y].concat())
        };
        let key = match (&*jwk.kty, jwk.crv.as_deref()) {
            ("RSA", _) => Key::rsa(&bytes(&jwk.n)?, &bytes(&jwk.e)?)?,
            ("EC", Some("P-256")) => Key::P256(point(32)?.into()),
            ("EC", Some("P-384")) => Key::P384(point(48)?.into()),
            ("OKP", Some("Ed25519")) => Key::Ed25519(bytes(&jwk.x).filter(|x| x.len() == 32)?.into()),
            ("oct", _) => Key::Secret(bytes(&jwk.k).filter(|secret| secret.len() >= 32)?.into()),
            _ => return None,
        };
        Some(Self { id: jwk.kid, algorithm, key })
    }
}

impl Key {
    fn of(key: PublicKey<'_>) -> Option<Self> {
        Some(match key {
            PublicKey::Rsa { modulus, exponent } => Self::rsa(modulus, exponent)?,
            PublicKey::P256(point) => Self::P256(point.into()),
            PublicKey::P384(point) => Self::P384(point.into()),
            PublicKey::Ed25519(bytes) => Self::Ed25519(bytes.into()),
        })
    }

    fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let trimmed = |bytes: &[u8]| Box::from(&bytes[bytes.iter().take_while(|&&byte| byte == 0).count()..]);
        let (n, e): (Box<[u8]>, Box<[u8]>) = (trimmed(modulus), trimmed(exponent));
        let is_good = RSA_BYTES.contains(&n.len()) && (1..=8).contains(&e.len());
        is_good.then_some(Self::Rsa(RsaPublicKeyComponents { n, e }))
    }

    /// Only what fits the kind of the key is looked at.
    fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        use Algorithm::*;
        // In constant time.
        let by_secret = |secret: &[u8], hash, least| {
            secret.len() >= least && hmac::verify(&hmac::Key::new(hash, secret), signed, signature).is_ok()
        };
        let by_rsa = |key: &RsaPublicKeyComponents<Box<[u8]>>, parameters| key.verify(parameters, signed, signature).is_ok();
        let by_point = |key: &[u8], algorithm: &'static dyn VerificationAlgorithm| {
            UnparsedPublicKey::new(algorithm, key).verify(signed, signature).is_ok()
        };
        match (self, algorithm) {
            (Self::Secret(secret), Hs256) => by_secret(secret, hmac::HMAC_SHA256, 32),
            (Self::Secret(secret), Hs384) => by_secret(secret, hmac::HMAC_SHA384, 48),
            (Self::Secret(secret), Hs512) => by_secret(secret, hmac::HMAC_SHA512, 64),
            (Self::Rsa(key), Rs256) => by_rsa(key, &signature::RSA_PKCS1_2048_8192_SHA256),
            (Self::Rsa(key), Rs384) => by_rsa(key, &signature::RSA_PKCS1_2048_8192_SHA384),
            (Self::Rsa(key), Rs512) => by_rsa(key, &signature::RSA_PKCS1_2048_8192_SHA512),
            (Self::Rsa(key), Ps256) => by_rsa(key, &signature::RSA_PSS_2048_8192_SHA256),
            (Self::Rsa(key), Ps384) => by_rsa(key, &signature::RSA_PSS_2048_8192_SHA384),
            (Self::Rsa(key), Ps512) => by_rsa(key, &signature::RSA_PSS_2048_8192_SHA512),
            (Self::P256(point), Es256) => by_point(point, &ECDSA_P256_SHA256_FIXED),
            (Self::P384(point), Es384) => by_point(point, &ECDSA_P384_SHA384_FIXED),
            (Self::Ed25519(key), EdDsa) => by_point(key, &ED25519),
            (Self::Secret(_) | Self::Rsa(_) | Self::P256(_) | Self::P384(_) | Self::Ed25519(_), _) => false,
        }
    }
}

/// The kind only.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret",
            Self::Rsa(_) => "Rsa",
            Self::P256(_) => "P256",
            Self::P384(_) => "P384",
            Self::Ed25519(_) => "Ed25519",
        })
    }
}
