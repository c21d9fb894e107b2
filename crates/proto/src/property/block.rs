//! Reading a block of properties.

use super::{Property, PropertyId, PropertyPlace};
use crate::error::{Malformed, PeerError, Violation};
use crate::wire::Reader;

/// The bit that says that a User Property came, which may come again wherever it may come at all.
const USER_PROPERTY_SEEN: u64 = 1 << PropertyId::UserProperty as u8;

/// The properties of one block, one by one, each checked for place, multiplicity and value.
#[derive(Clone, Debug)]
pub struct Properties<'a> {
    block: Reader<'a>,
    place: PropertyPlace,
    seen: u64,
}

impl<'a> Properties<'a> {
    /// Takes a block with its length from the front of `reader`.
    #[inline]
    pub fn read(reader: &mut Reader<'a>, place: PropertyPlace) -> Result<Self, Malformed> {
        let len = reader.varint()?;
        Ok(Self::of_block(reader.take(len as usize)?, place))
    }

    /// The properties of a block without its length.
    #[inline]
    pub const fn of_block(block: &'a [u8], place: PropertyPlace) -> Self {
        Self { block: Reader::new(block), place, seen: 0 }
    }

    /// The bytes that have not been read yet.
    pub(crate) const fn block(&self) -> &'a [u8] {
        self.block.rest()
    }

    fn read_one(&mut self) -> Result<Property<'a>, PeerError> {
        // There may be thousands of them, and the first one was welcome here.
        if self.seen & USER_PROPERTY_SEEN != 0 && self.block.rest().first() == Some(&(PropertyId::UserProperty as u8)) {
            self.block.u8()?;
            return Property::read(PropertyId::UserProperty, &mut self.block);
        }
        let number = self.block.varint()?;
        let id = PropertyId::new(number).ok_or(Malformed::UnknownProperty(number))?;
        if !id.is_allowed(self.place) {
            return Err(Malformed::MisplacedProperty(id).into());
        }
        let bit = 1 << id as u8;
        if self.seen & bit != 0 && !id.may_repeat(self.place) {
            return Err(Violation::DuplicateProperty(id).into());
        }
        self.seen |= bit;
        Property::read(id, &mut self.block)
    }
}

impl<'a> Iterator for Properties<'a> {
    type Item = Result<Property<'a>, PeerError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.block.is_empty() { None } else { Some(self.read_one()) }
    }
}
