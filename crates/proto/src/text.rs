//! UTF-8 encoded strings (§1.5.4).

use core::fmt;

use thiserror::Error;

use crate::error::Malformed;

/// The longest string or binary value that two length bytes can announce (§1.5.4, §1.5.6).
pub const TEXT_LEN_MAX: usize = 65_535;

/// Why a text of ours cannot stand in a packet.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum TextError {
    /// Longer than two bytes can say.
    #[error("longer than 65,535 bytes (§1.5.4)")]
    TooLong,
    /// Holds U+0000.
    #[error("holds U+0000 [MQTT-1.5.4-2]")]
    Nul,
}

/// Stands for bytes in `Debug` output: payloads and secrets are not for logs.
pub(crate) struct Unsaid(pub(crate) usize);

impl fmt::Debug for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

/// Checks a text before it is put into a packet: user names, reason strings, user properties and their like.
pub fn check_text(text: &str) -> Result<(), TextError> {
    if text.len() > TEXT_LEN_MAX {
        return Err(TextError::TooLong);
    }
    if has_nul(text.as_bytes()) {
        return Err(TextError::Nul);
    }
    Ok(())
}

/// Reads bytes as a string of the standard: well-formed UTF-8 [MQTT-1.5.4-1] (which leaves no room for surrogates)
/// without U+0000 [MQTT-1.5.4-2], in string pairs too [MQTT-1.5.7-1]. A byte order mark is an ordinary character [MQTT-1.5.4-3].
#[inline]
pub(crate) fn from_wire(bytes: &[u8]) -> Result<&str, Malformed> {
    if has_nul(bytes) {
        return Err(Malformed::NulInString);
    }
    core::str::from_utf8(bytes).map_err(|_| Malformed::NotUtf8)
}

#[inline]
fn has_nul(bytes: &[u8]) -> bool {
    bytes.contains(&0)
}
