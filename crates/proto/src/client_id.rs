//! Client Identifiers (§3.1.3.1).

use alloc::boxed::Box;
use core::borrow::Borrow;
use core::fmt;
use core::str::FromStr;

use thiserror::Error;

use crate::text::{TextError, check_text};

/// The key under which client and server hold a Session [MQTT-3.1.3-2]. Never empty: an empty identifier in CONNECT asks
/// the server to make one up, and is the broker's business.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(Box<str>);

/// Why a text is no Client Identifier.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ClientIdError {
    /// Empty.
    #[error("a client identifier has at least one character here; an empty one asks the server for another [MQTT-3.1.3-6]")]
    Empty,
    /// Not a string of the standard.
    #[error(transparent)]
    Text(#[from] TextError),
}

impl ClientId {
    /// Checks a text and keeps it.
    pub fn new(text: &str) -> Result<Self, ClientIdError> {
        if text.is_empty() {
            return Err(ClientIdError::Empty);
        }
        check_text(text)?;
        Ok(Self(text.into()))
    }

    /// As text.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Must every server take it: 1 to 23 bytes of digits and ASCII letters [MQTT-3.1.3-5]?
    pub fn is_universal(&self) -> bool {
        self.0.len() <= 23 && self.0.bytes().all(|byte| byte.is_ascii_alphanumeric())
    }
}

impl FromStr for ClientId {
    type Err = ClientIdError;

    fn from_str(text: &str) -> Result<Self, ClientIdError> {
        Self::new(text)
    }
}

impl AsRef<str> for ClientId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ClientId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
