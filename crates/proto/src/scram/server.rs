//! The server's half (RFC 5802 §5): a name comes, a challenge goes, a proof comes, a signature goes.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::keys::{Hash, Keys, hmac};
use super::message::{Attributes, check_nonce, text, unescaped};
use super::{ITERATIONS, ScramError, base64};

/// Where a server's nonces come from, and the salts of users that do not exist: 32 bytes that nobody else knows.
pub struct Secret([u8; 32]);

impl Secret {
    /// From bytes of chance.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Nobody can tell it before, and it is another one for every number.
    fn nonce(&self, number: u64) -> String {
        let hash = hmac(&self.0, &[b"nonce", &number.to_be_bytes()]);
        base64::encode(&hash[..18])
    }

    /// Who does not exist looks like somebody who does, today and tomorrow (RFC 5802 §9).
    fn keys_of_nobody(&self, user: &str) -> Keys {
        let [salt, stored, server] = [&b"salt"[..], b"stored", b"server"].map(|what| hmac(&self.0, &[what, user.as_bytes()]));
        Keys::of_nobody(&salt[..16], ITERATIONS, stored, server)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The client's first message.
#[derive(Debug)]
pub struct ClientFirst<'a> {
    user: Box<str>,
    nonce: &'a str,
    /// Up to and with the second comma.
    header: &'a str,
    bare: &'a str,
}

impl<'a> ClientFirst<'a> {
    /// Reads `client-first-message`.
    pub fn read(data: &'a [u8]) -> Result<Self, ScramError> {
        let whole = text(data)?;
        let (flag, rest) = whole.split_once(',').ok_or(ScramError::Grammar)?;
        match flag {
            // "y": the client could, and believes that we cannot. Right.
            "n" | "y" => {}
            _ if flag.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(ScramError::Grammar),
        }
        let (identity, bare) = rest.split_once(',').ok_or(ScramError::Grammar)?;
        let mut attributes = Attributes::of(bare);
        let name = attributes.take('n')?;
        let nonce = attributes.take('r')?;
        check_nonce(nonce)?;
        if name.is_empty() {
            return Err(ScramError::Grammar);
        }
        if !identity.is_empty() && identity.strip_prefix("a=") != Some(name) {
            return Err(ScramError::OtherIdentity);
        }
        let header = &whole[..whole.len() - bare.len()];
        Ok(Self { user: unescaped(name)?.into(), nonce, header, bare })
    }

    /// Whose keys are needed.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The answer, `server-first-message`. `keys` are those of [`Self::user`]; without any the exchange goes on and fails at its end, like one with a wrong
    /// password. No `number` comes twice with one secret.
    pub fn challenge(self, keys: Option<Keys>, secret: &Secret, number: u64) -> (AwaitProof, Vec<u8>) {
        let keys = keys.unwrap_or_else(|| secret.keys_of_nobody(&self.user));
        self.challenge_with(keys, &secret.nonce(number))
    }

    pub(super) fn challenge_with(self, keys: Keys, nonce: &str) -> (AwaitProof, Vec<u8>) {
        let nonce = format!("{}{nonce}", self.nonce);
        let (salt, iterations) = keys.salt();
        let challenge = format!("r={nonce},s={},i={iterations}", base64::encode(salt));
        let begun = format!("{},{challenge},", self.bare).into();
        let binding = base64::encode(self.header.as_bytes()).into();
        (AwaitProof { user: self.user, keys, nonce: nonce.into(), binding, begun }, challenge.into_bytes())
    }
}

/// A challenge is out.
#[derive(Debug)]
pub struct AwaitProof {
    user: Box<str>,
    keys: Keys,
    nonce: Box<str>,
    /// What the client has to repeat of the beginning.
    binding: Box<str>,
    /// `AuthMessage` so far.
    begun: Box<str>,
}

impl AwaitProof {
    /// Who the client says it is.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Reads `client-final-message`; the answer is who the client is, and `server-final-message`.
    pub fn on_proof(self, data: &[u8]) -> Result<(Box<str>, Vec<u8>), ScramError> {
        let whole = text(data)?;
        let (unproved, proof) = whole.rsplit_once(",p=").ok_or(ScramError::Grammar)?;
        let mut attributes = Attributes::of(unproved);
        if attributes.take('c')? != &*self.binding {
            return Err(ScramError::ChannelBinding);
        }
        if attributes.take('r')? != &*self.nonce {
            return Err(ScramError::Nonce);
        }
        let proof: Hash = base64::decode(proof).and_then(|bytes| bytes.try_into().ok()).ok_or(ScramError::Grammar)?;
        let auth_message = [self.begun.as_bytes(), unproved.as_bytes()];
        if !self.keys.accepts(&proof, &auth_message) {
            return Err(ScramError::Proof);
        }
        let signature = base64::encode(&self.keys.signature(&auth_message));
        Ok((self.user, format!("v={signature}").into_bytes()))
    }
}
