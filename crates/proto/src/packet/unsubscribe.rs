//! UNSUBSCRIBE (§3.10).

use alloc::vec::Vec;
use core::fmt;

use super::PacketType;
use crate::error::{PeerError, Violation};
use crate::packet_id::PacketId;
use crate::property::{Properties, PropertyPlace, UserProperties};
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// UNSUBSCRIBE (§3.10).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unsubscribe<'a> {
    /// UNSUBACK repeats it [MQTT-3.10.4-5].
    pub id: PacketId,
    /// §3.10.2.1.2
    pub user_properties: UserProperties<'a>,
    /// At least one [MQTT-3.10.3-2].
    pub filters: UnsubscribeFilters<'a>,
}

/// The filters of an UNSUBSCRIBE in their order: read from a packet, or put together by us.
#[derive(Clone, Copy)]
pub struct UnsubscribeFilters<'a>(Filters<'a>);

#[derive(Clone, Copy)]
enum Filters<'a> {
    /// A payload that has been checked.
    Payload(&'a [u8]),
    Slice(&'a [&'a str]),
}

impl<'a> UnsubscribeFilters<'a> {
    fn read(reader: Reader<'a>) -> Result<Self, PeerError> {
        let payload = reader.rest();
        if payload.is_empty() {
            return Err(Violation::NoFilters(PacketType::Unsubscribe).into());
        }
        let mut reader = reader;
        while !reader.is_empty() {
            reader.text()?;
        }
        Ok(Self(Filters::Payload(payload)))
    }

    /// String by string [MQTT-3.10.3-1]; each is compared with what was subscribed, character by character [MQTT-3.10.4-1].
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let (payload, slice): (&[u8], &[_]) = match self.0 {
            Filters::Payload(payload) => (payload, &[]),
            Filters::Slice(slice) => (&[], slice),
        };
        let mut reader = Reader::new(payload);
        core::iter::from_fn(move || reader.text().ok()).chain(slice.iter().copied())
    }

    /// The bytes that they were read from; none where they were put together by us.
    pub const fn payload(&self) -> &'a [u8] {
        match self.0 {
            Filters::Payload(payload) => payload,
            Filters::Slice(_) => &[],
        }
    }

    /// Those in the end of a [payload](Self::payload), from the beginning of one of them on.
    pub const fn of_payload(payload: &'a [u8]) -> Self {
        Self(Filters::Payload(payload))
    }

    /// Takes the first one off.
    pub fn pop_first(&mut self) -> Option<&'a str> {
        match &mut self.0 {
            Filters::Payload(payload) => {
                let mut reader = Reader::new(payload);
                let filter = reader.text().ok()?;
                *payload = reader.rest();
                Some(filter)
            }
            Filters::Slice(slice) => {
                let (first, rest) = slice.split_first()?;
                *slice = rest;
                Some(first)
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Never so in a packet that has been decoded.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl<'a> From<&'a [&'a str]> for UnsubscribeFilters<'a> {
    fn from(filters: &'a [&'a str]) -> Self {
        Self(Filters::Slice(filters))
    }
}

impl PartialEq for UnsubscribeFilters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UnsubscribeFilters<'_> {}

impl fmt::Debug for UnsubscribeFilters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Unsubscribe<'a> {
    /// Reads the body (§3.10.2, §3.10.3).
    #[inline(never)]
    pub fn decode(version: Version, body: &'a [u8]) -> Result<Self, PeerError> {
        let mut reader = Reader::new(body);
        let id = reader.packet_id()?;
        let user_properties = if version.has_properties() {
            UserProperties::read_alone(&mut reader, PropertyPlace::Unsubscribe)?
        } else {
            UserProperties::EMPTY
        };
        let filters = UnsubscribeFilters::read(reader)?;
        Ok(Self { id, user_properties, filters })
    }

    /// Appends the whole frame.
    ///
    /// # Panics
    ///
    /// On a string of more than 65,535 bytes (see [`crate::check_text`]).
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        Writer::frame(out, PacketType::Unsubscribe.first_byte(), |out| {
            out.packet_id(self.id);
            if version.has_properties() {
                out.measured(|out| self.user_properties.write(out));
            }
            for filter in self.filters.iter() {
                out.text(filter);
            }
        });
    }
}

impl<'a> UserProperties<'a> {
    /// A block that holds nothing else.
    fn read_alone(reader: &mut Reader<'a>, place: PropertyPlace) -> Result<Self, PeerError> {
        let block = Properties::read(reader, place)?;
        let user_properties = Self::of_checked_block(block.block(), place);
        for property in block {
            property?;
        }
        Ok(user_properties)
    }
}
