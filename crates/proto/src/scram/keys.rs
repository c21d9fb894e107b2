//! What a server keeps in place of a password (RFC 5802 §3), and how that is written into a file (RFC 5803 §2).

use alloc::boxed::Box;
use core::fmt;
use core::num::NonZeroU32;
use core::str::FromStr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use super::message::check_text;
use super::{ScramError, base64};

/// 32 bytes of SHA-256.
pub(super) type Hash = [u8; 32];

/// The keys of one user. From them nobody can log in; for each guess of the password one has to do all the rounds.
#[derive(Clone, Eq, PartialEq)]
pub struct Keys {
    salt: Box<[u8]>,
    iterations: NonZeroU32,
    stored: Hash,
    server: Hash,
}

/// The text is none that keys are written in.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("SCRAM keys are written as SCRAM-SHA-256$ROUNDS:SALT$STORED:SERVER (RFC 5803 §2)")]
pub struct KeysError;

impl Keys {
    /// The keys of a password. This takes time, and is meant to.
    pub fn derive(password: &str, salt: &[u8], iterations: NonZeroU32) -> Result<Self, ScramError> {
        let salted = salted(password, salt, iterations)?;
        Ok(Self { salt: salt.into(), iterations, stored: sha256(&client_key(&salted)), server: server_key(&salted) })
    }

    /// Whether these are the keys of this password. Takes as long as [`derive`](Self::derive), whatever the answer.
    pub fn are_of(&self, password: &str) -> bool {
        salted(password, &self.salt, self.iterations).is_ok_and(|salted| sha256(&client_key(&salted)).ct_eq(&self.stored).into())
    }

    /// Rounds that each guess of the password takes.
    pub fn iterations(&self) -> NonZeroU32 {
        self.iterations
    }

    /// Keys of nobody: no password has them.
    pub(super) fn of_nobody(salt: &[u8], iterations: NonZeroU32, stored: Hash, server: Hash) -> Self {
        Self { salt: salt.into(), iterations, stored, server }
    }

    /// §3: does this proof come from somebody who knows the password?
    pub(super) fn accepts(&self, proof: &Hash, auth_message: &[&[u8]]) -> bool {
        let client = xor(proof, &hmac(&self.stored, auth_message));
        sha256(&client).ct_eq(&self.stored).into()
    }

    /// §3: the proof that the server knows the password.
    pub(super) fn signature(&self, auth_message: &[&[u8]]) -> Hash {
        hmac(&self.server, auth_message)
    }

    /// What the client needs for the rounds.
    pub(super) fn salt(&self) -> (&[u8], NonZeroU32) {
        (&self.salt, self.iterations)
    }
}

/// `SaltedPassword` (RFC 5802 §3).
pub(super) fn salted(password: &str, salt: &[u8], iterations: NonZeroU32) -> Result<Hash, ScramError> {
    check_text(password)?;
    Ok(pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), salt, iterations.get()))
}

/// `ClientKey` (RFC 5802 §3).
pub(super) fn client_key(salted: &Hash) -> Hash {
    hmac(salted, &[b"Client Key"])
}

/// `ServerKey` (RFC 5802 §3).
pub(super) fn server_key(salted: &Hash) -> Hash {
    hmac(salted, &[b"Server Key"])
}

pub(super) fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> Hash {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

pub(super) fn xor(left: &Hash, right: &Hash) -> Hash {
    core::array::from_fn(|at| left[at] ^ right[at])
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { salt, iterations, stored, server } = self;
        let [salt, stored, server] = [&**salt, stored, server].map(base64::encode);
        write!(f, "{}${iterations}:{salt}${stored}:{server}", super::METHOD)
    }
}

impl FromStr for Keys {
    type Err = KeysError;

    fn from_str(text: &str) -> Result<Self, KeysError> {
        let read = || {
            let (rounds, hashes) = text.strip_prefix(super::METHOD)?.strip_prefix('$')?.split_once('$')?;
            let (iterations, salt) = rounds.split_once(':')?;
            let (stored, server) = hashes.split_once(':')?;
            let hash = |text| base64::decode(text)?.try_into().ok();
            Some(Self {
                salt: base64::decode(salt)?.into(),
                iterations: iterations.parse().ok()?,
                stored: hash(stored)?,
                server: hash(server)?,
            })
        };
        read().ok_or(KeysError)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn keys_survive_their_text() {
        let keys = Keys::derive("pencil", b"salt", NonZeroU32::MIN).unwrap();

        let text = keys.to_string();

        assert!(text.starts_with("SCRAM-SHA-256$1:c2FsdA==$"), "{text}");
        assert_eq!(text.parse(), Ok(keys));
        for wrong in [text.replace("$1:", "$0:"), text.replace("256", "1"), text[..text.len() - 4].into(), "x".into()] {
            assert_eq!(wrong.parse::<Keys>(), Err(KeysError), "{wrong}");
        }
    }

    #[test]
    fn keys_know_their_password() {
        let keys = Keys::derive("pencil", b"salt", NonZeroU32::MIN).unwrap();

        assert!(keys.are_of("pencil"));
        for wrong in ["Pencil", "", "pencil\n"] {
            assert!(!keys.are_of(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn keys_are_not_told_by_accident() {
        let keys = Keys::derive("pencil", b"salt", NonZeroU32::MIN).unwrap();

        assert_eq!(std::format!("{keys:?}"), "Keys { iterations: 1, .. }");
    }
}
