//! The two properties that may stand more than once: lists that are never collected, but walked through where they stand.

use core::fmt;
use core::num::NonZeroU32;

use super::{Properties, Property, PropertyPlace};
use crate::wire::{VARINT_MAX, Writer};

/// User Properties in their order (§3.1.2.11.8) [MQTT-3.1.3-10] [MQTT-3.3.2-18]: read from a packet, or put together by us.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a>(Pairs<'a>);

#[derive(Clone, Copy)]
enum Pairs<'a> {
    /// A whole property block that has been checked, with other properties between.
    Block(&'a [u8], PropertyPlace),
    /// A part of such a block that holds nothing else: copied as it is.
    Run(&'a [u8]),
    Slice(&'a [(&'a str, &'a str)]),
}

impl Default for Pairs<'_> {
    fn default() -> Self {
        Self::Slice(&[])
    }
}

impl<'a> UserProperties<'a> {
    /// None.
    pub const EMPTY: Self = Self(Pairs::Slice(&[]));

    /// The User Properties of a block that has been read to its end without error.
    pub(crate) const fn of_checked_block(block: &'a [u8], place: PropertyPlace) -> Self {
        Self(Pairs::Block(block, place))
    }

    /// Bytes of a block that has been read to its end without error, with User Properties and nothing else in them.
    pub(crate) const fn of_checked_run(run: &'a [u8]) -> Self {
        Self(Pairs::Run(run))
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        let (block, place, slice): (&[u8], _, &[_]) = match self.0 {
            Pairs::Block(block, place) => (block, place, &[]),
            Pairs::Run(run) => (run, PropertyPlace::Publish, &[]),
            Pairs::Slice(slice) => (&[], PropertyPlace::Publish, slice),
        };
        let from_block = Properties::of_block(block, place).filter_map(|property| match property {
            Ok(Property::UserProperty(pair)) => Some(pair),
            Ok(_) | Err(_) => None,
        });
        from_block.chain(slice.iter().copied())
    }

    #[inline]
    pub(crate) fn write(&self, out: &mut Writer<'_>) {
        match self.0 {
            // Most messages have none.
            Pairs::Run([]) | Pairs::Slice([]) => {}
            Pairs::Run(run) => out.raw(run),
            Pairs::Block(..) | Pairs::Slice(_) => self.write_each(out),
        }
    }

    fn write_each(&self, out: &mut Writer<'_>) {
        for pair in self.iter() {
            Property::UserProperty(pair).write(out);
        }
    }

    /// How many bytes [`UserProperties::write`] appends.
    pub(crate) fn len(&self) -> usize {
        match self.0 {
            Pairs::Run(run) => run.len(),
            Pairs::Block(..) | Pairs::Slice(_) => self.iter().map(|pair| Property::UserProperty(pair).len()).sum(),
        }
    }
}

impl<'a> From<&'a [(&'a str, &'a str)]> for UserProperties<'a> {
    fn from(pairs: &'a [(&'a str, &'a str)]) -> Self {
        Self(Pairs::Slice(pairs))
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}

impl fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The number that a client gives a subscription: 1 to 268,435,455 (§3.8.2.1.2).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SubscriptionId(NonZeroU32);

impl SubscriptionId {
    /// `None` outside of the limits.
    #[inline]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) if number.get() <= VARINT_MAX => Some(Self(number)),
            Some(_) | None => None,
        }
    }

    /// As a number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// The Subscription Identifiers of a PUBLISH (§3.3.2.3.8): read from a packet, or put together by us.
#[derive(Clone, Copy, Default)]
pub struct SubscriptionIds<'a>(Ids<'a>);

#[derive(Clone, Copy)]
enum Ids<'a> {
    /// A whole property block of a PUBLISH that has been checked.
    Block(&'a [u8]),
    Slice(&'a [SubscriptionId]),
}

impl Default for Ids<'_> {
    fn default() -> Self {
        Self::Slice(&[])
    }
}

impl<'a> SubscriptionIds<'a> {
    /// None.
    pub const EMPTY: Self = Self(Ids::Slice(&[]));

    pub(crate) const fn of_checked_block(block: &'a [u8]) -> Self {
        Self(Ids::Block(block))
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// In the order in which they stand.
    pub fn iter(&self) -> impl Iterator<Item = SubscriptionId> + Clone + use<'a> {
        let (block, slice): (&[u8], &[_]) = match self.0 {
            Ids::Block(block) => (block, &[]),
            Ids::Slice(slice) => (&[], slice),
        };
        let from_block = Properties::of_block(block, PropertyPlace::Publish).filter_map(|property| match property {
            Ok(Property::SubscriptionIdentifier(id)) => Some(id),
            Ok(_) | Err(_) => None,
        });
        from_block.chain(slice.iter().copied())
    }
}

impl<'a> From<&'a [SubscriptionId]> for SubscriptionIds<'a> {
    fn from(ids: &'a [SubscriptionId]) -> Self {
        Self(Ids::Slice(ids))
    }
}

impl PartialEq for SubscriptionIds<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SubscriptionIds<'_> {}

impl fmt::Debug for SubscriptionIds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
