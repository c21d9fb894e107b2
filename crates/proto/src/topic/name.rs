//! Topic Names (§4.7).

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use core::borrow::Borrow;
use core::fmt;
use core::str::{FromStr, Split};

use thiserror::Error;

use crate::text::TEXT_LEN_MAX;

/// What a message is published to: at least one character [MQTT-4.7.3-1], no wildcards [MQTT-4.7.0-1], no U+0000
/// [MQTT-4.7.3-2], at most 65,535 bytes [MQTT-4.7.3-3].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicName<'a>(&'a str);

/// Why a text is no Topic Name. The packet is malformed (0x81).
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum TopicNameError {
    /// Empty.
    #[error("a topic name has at least one character [MQTT-4.7.3-1]")]
    Empty,
    /// `+` or `#`.
    #[error("a topic name has no wildcards [MQTT-3.3.2-2]")]
    Wildcard,
    /// U+0000.
    #[error("a topic name holds no U+0000 [MQTT-4.7.3-2]")]
    Nul,
    /// More than two length bytes can say.
    #[error("a topic name has at most 65,535 bytes [MQTT-4.7.3-3]")]
    TooLong,
}

impl<'a> TopicName<'a> {
    /// Checks a text.
    #[inline]
    pub fn new(text: &'a str) -> Result<Self, TopicNameError> {
        if text.is_empty() {
            return Err(TopicNameError::Empty);
        }
        if has_forbidden(text.as_bytes()) || text.len() > TEXT_LEN_MAX {
            return Err(what_is_wrong(text));
        }
        Ok(Self(text))
    }

    /// Takes a text that was a Topic Name before: read back from our own store, or handed over by another shard.
    #[inline]
    pub fn trusted(text: &'a str) -> Self {
        debug_assert!(Self::new(text).is_ok(), "not a topic name: {text:?}");
        Self(text)
    }

    /// As text.
    #[inline]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The parts between the slashes; there is at least one, and any of them may be empty (§4.7.1.1).
    pub fn levels(self) -> Split<'a, char> {
        self.0.split('/')
    }

    /// Does it begin with `$`? Filters that begin with a wildcard do not match it [MQTT-4.7.2-1].
    #[inline]
    pub fn is_dollar(self) -> bool {
        self.0.starts_with('$')
    }

    /// A copy that owns its text.
    pub fn to_buf(self) -> TopicNameBuf {
        TopicNameBuf(self.0.into())
    }
}

/// Is one of the bytes `+`, `#` or zero? Eight at a time: topic names are short, and each PUBLISH has one to check.
#[inline]
fn has_forbidden(bytes: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    // `+` and `#` differ in this bit only.
    const MASK: u64 = !(ONES << 3);
    const HASH: u64 = ONES * b'#' as u64;

    // The usual way to find a zero byte in a word: it borrows from its high bit, which it has not.
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    let mut found = 0;
    for word in words.iter().chain([&last]) {
        let word = u64::from_ne_bytes(*word);
        found |= has_zero(word) | has_zero((word & MASK) ^ HASH);
    }
    found != 0
}

#[cold]
fn what_is_wrong(text: &str) -> TopicNameError {
    if text.len() > TEXT_LEN_MAX {
        TopicNameError::TooLong
    } else if text.contains('\0') {
        TopicNameError::Nul
    } else {
        TopicNameError::Wildcard
    }
}

impl fmt::Display for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl AsRef<str> for TopicName<'_> {
    fn as_ref(&self) -> &str {
        self.0
    }
}

/// A [`TopicName`] that owns its text.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicNameBuf(Box<str>);

impl TopicNameBuf {
    /// The borrowed form.
    #[inline]
    pub fn as_name(&self) -> TopicName<'_> {
        TopicName(&self.0)
    }

    /// As text.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicNameBuf {
    type Err = TopicNameError;

    fn from_str(text: &str) -> Result<Self, TopicNameError> {
        TopicName::new(text).map(TopicName::to_buf)
    }
}

impl Borrow<str> for TopicNameBuf {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicNameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<TopicNameBuf> for alloc::string::String {
    fn from(name: TopicNameBuf) -> Self {
        name.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    #[test]
    fn a_topic_name_may_be_a_lone_slash_or_hold_empty_levels_and_spaces() {
        for text in ["/", "a//b", " ", "$SYS/x", "\u{feff}bom", "ünï"] {
            assert_eq!(TopicName::new(text).map(TopicName::as_str), Ok(text));
        }
    }

    #[test]
    fn a_topic_name_has_no_wildcard_no_nul_and_is_neither_empty_nor_endless() {
        assert_eq!(TopicName::new(""), Err(TopicNameError::Empty));
        assert_eq!(TopicName::new("a/+"), Err(TopicNameError::Wildcard));
        assert_eq!(TopicName::new("a#"), Err(TopicNameError::Wildcard));
        assert_eq!(TopicName::new("a\0"), Err(TopicNameError::Nul));
        assert_eq!(TopicName::new(&"x".repeat(65_536)), Err(TopicNameError::TooLong));
        let longest: String = "x".repeat(65_535);
        assert!(TopicName::new(&longest).is_ok());
    }
}
