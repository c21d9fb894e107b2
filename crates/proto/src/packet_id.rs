//! Packet Identifiers (§2.2.1).

use core::fmt;
use core::num::NonZeroU16;

use crate::error::Malformed;

/// Identifies one exchange, in one direction of one Session (§2.2.1). Never zero.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The first one that a sender hands out.
    pub const FIRST: Self = Self(NonZeroU16::MIN);

    /// As a number.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// `None` for zero, which identifies nothing.
    #[inline]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The next one; 65,535 is followed by 1.
    #[inline]
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(number) => Self(number),
            None => Self::FIRST,
        }
    }
}

impl TryFrom<u16> for PacketId {
    type Error = Malformed;

    #[inline]
    fn try_from(number: u16) -> Result<Self, Malformed> {
        Self::new(number).ok_or(Malformed::PacketIdZero)
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
