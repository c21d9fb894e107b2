//! The grammar of the messages (RFC 5802 §7): attributes of one letter, with commas between them.

use alloc::string::String;

use super::{MESSAGE_BYTES_MAX, ScramError};

/// The text of a message.
pub(super) fn text(data: &[u8]) -> Result<&str, ScramError> {
    if data.len() > MESSAGE_BYTES_MAX {
        return Err(ScramError::TooLong);
    }
    core::str::from_utf8(data).map_err(|_| ScramError::Grammar)
}

/// The attributes of a message, one after the other.
pub(super) struct Attributes<'a>(Option<&'a str>);

impl<'a> Attributes<'a> {
    pub(super) const fn of(text: &'a str) -> Self {
        Self(Some(text))
    }

    /// The value of the next attribute, which is this one.
    pub(super) fn take(&mut self, name: char) -> Result<&'a str, ScramError> {
        let rest = self.0.ok_or(ScramError::Grammar)?;
        let (attribute, rest) = rest.split_once(',').map_or((rest, None), |(first, rest)| (first, Some(rest)));
        self.0 = rest;
        match attribute.strip_prefix(name).and_then(|value| value.strip_prefix('=')) {
            Some(value) => Ok(value),
            // Stands only in front, where another is expected.
            None if attribute.starts_with("m=") => Err(ScramError::Extension),
            None => Err(ScramError::Grammar),
        }
    }
}

/// `nonce`: printable, and there.
pub(super) fn check_nonce(nonce: &str) -> Result<(), ScramError> {
    let is_good = !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    if is_good { Ok(()) } else { Err(ScramError::Grammar) }
}

/// What `SASLprep` forbids in ASCII.
pub(super) fn check_text(text: &str) -> Result<(), ScramError> {
    if text.chars().any(char::is_control) { Err(ScramError::Text) } else { Ok(()) }
}

/// `saslname`: a name with its commas and equals signs spelled out.
pub(super) fn escaped(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

/// The name that was [`escaped`].
pub(super) fn unescaped(text: &str) -> Result<String, ScramError> {
    let mut parts = text.split('=');
    let mut name = String::from(parts.next().unwrap_or_default());
    for part in parts {
        let (letter, rest) = match part.split_at_checked(2) {
            Some(("2C", rest)) => (',', rest),
            Some(("3D", rest)) => ('=', rest),
            Some(_) | None => return Err(ScramError::Grammar),
        };
        name.push(letter);
        name.push_str(rest);
    }
    Ok(name)
}
