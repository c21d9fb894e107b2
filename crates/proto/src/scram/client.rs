//! The client's half (RFC 5802 §5).

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;

use subtle::ConstantTimeEq as _;

use super::keys::{Hash, client_key, hmac, salted, server_key, sha256, xor};
use super::message::{Attributes, check_nonce, check_text, escaped, text};
use super::{ITERATIONS_MAX, ScramError, base64};

/// The first message is out.
pub struct AwaitChallenge {
    password: Box<str>,
    nonce: Box<str>,
    bare: Box<str>,
}

/// The proof is out.
pub struct AwaitSignature {
    expected: Hash,
}

/// Begins an exchange; the answer has `client-first-message`. The nonce is printable, without a comma, and was never used before: 18 bytes of chance will do.
pub fn begin(user: &str, password: &str, nonce: &str) -> Result<(AwaitChallenge, Vec<u8>), ScramError> {
    check_text(user)?;
    check_text(password)?;
    check_nonce(nonce)?;
    if user.is_empty() {
        return Err(ScramError::Text);
    }
    let bare = format!("n={},r={nonce}", escaped(user));
    let first = format!("n,,{bare}").into_bytes();
    Ok((AwaitChallenge { password: password.into(), nonce: nonce.into(), bare: bare.into() }, first))
}

impl AwaitChallenge {
    /// Reads `server-first-message`; the answer has `client-final-message`. This takes as long as the server's iteration count says.
    pub fn on_challenge(self, data: &[u8]) -> Result<(AwaitSignature, Vec<u8>), ScramError> {
        let challenge = text(data)?;
        let mut attributes = Attributes::of(challenge);
        let nonce = attributes.take('r')?;
        check_nonce(nonce)?;
        if nonce.strip_prefix(&*self.nonce).is_none_or(str::is_empty) {
            return Err(ScramError::Nonce);
        }
        let salt = base64::decode(attributes.take('s')?).ok_or(ScramError::Grammar)?;
        let iterations: u32 = attributes.take('i')?.parse().map_err(|_| ScramError::Grammar)?;
        let iterations =
            NonZeroU32::new(iterations).filter(|rounds| rounds.get() <= ITERATIONS_MAX).ok_or(ScramError::Iterations)?;
        let salted = salted(&self.password, &salt, iterations)?;
        // "biws" is "n,,", with which we began.
        let unproved = format!("c=biws,r={nonce}");
        let auth_message = format!("{},{challenge},{unproved}", self.bare);
        let auth_message = [auth_message.as_bytes()];
        let client = client_key(&salted);
        let proof = xor(&client, &hmac(&sha256(&client), &auth_message));
        let expected = hmac(&server_key(&salted), &auth_message);
        Ok((AwaitSignature { expected }, format!("{unproved},p={}", base64::encode(&proof)).into_bytes()))
    }
}

impl AwaitSignature {
    /// Reads `server-final-message`: does the server know the password as well?
    pub fn on_signature(self, data: &[u8]) -> Result<(), ScramError> {
        let text = text(data)?;
        if text.starts_with("e=") {
            return Err(ScramError::Refused);
        }
        let signature = base64::decode(Attributes::of(text).take('v')?).ok_or(ScramError::Grammar)?;
        if signature.ct_eq(&self.expected).into() { Ok(()) } else { Err(ScramError::Signature) }
    }
}

impl fmt::Debug for AwaitChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwaitChallenge(..)")
    }
}

impl fmt::Debug for AwaitSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwaitSignature(..)")
    }
}
