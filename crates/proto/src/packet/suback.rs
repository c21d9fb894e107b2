//! SUBACK and UNSUBACK (§3.9, §3.11): one reason code per filter, in the order of the filters [MQTT-3.9.3-1]
//! [MQTT-3.11.3-1].

use alloc::vec::Vec;
use core::fmt;

use super::{AckProperties, PacketType, Peer};
use crate::error::PeerError;
use crate::packet_id::PacketId;
use crate::property::PropertyPlace;
use crate::reason::{ReasonCode, ReasonPlace};
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// SUBACK (§3.9).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Suback<'a> {
    /// That of the SUBSCRIBE [MQTT-3.8.4-2] [MQTT-2.2.1-6].
    pub id: PacketId,
    /// Granted QoS or failure, one per filter [MQTT-3.8.4-6].
    pub reasons: Reasons<'a>,
    /// Empty where the version has none.
    pub properties: AckProperties<'a>,
}

/// UNSUBACK (§3.11).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unsuback<'a> {
    /// That of the UNSUBSCRIBE [MQTT-3.10.4-5] [MQTT-2.2.1-6].
    pub id: PacketId,
    /// One per filter [MQTT-3.11.3-2]; none where the version has none.
    pub reasons: Reasons<'a>,
    /// Empty where the version has none.
    pub properties: AckProperties<'a>,
}

/// Reason codes, one per filter: read from a packet, or put together by us.
#[derive(Clone, Copy)]
pub struct Reasons<'a>(Codes<'a>);

#[derive(Clone, Copy)]
enum Codes<'a> {
    /// Bytes that have been checked.
    Payload(&'a [u8]),
    Slice(&'a [ReasonCode]),
}

impl<'a> Reasons<'a> {
    /// None.
    pub const EMPTY: Self = Self(Codes::Slice(&[]));

    fn read(version: Version, place: ReasonPlace, reader: Reader<'a>) -> Result<Self, PeerError> {
        let payload = reader.rest();
        for &code in payload {
            if version.has_properties() {
                ReasonCode::from_wire(code, place, Peer::Server)?;
            } else {
                ReasonCode::from_suback_return_code(code)?;
            }
        }
        Ok(Self(Codes::Payload(payload)))
    }

    /// In the order of the filters.
    pub fn iter(&self) -> impl Iterator<Item = ReasonCode> + Clone + use<'a> {
        let (payload, slice): (&[u8], &[_]) = match self.0 {
            Codes::Payload(payload) => (payload, &[]),
            Codes::Slice(slice) => (&[], slice),
        };
        payload.iter().filter_map(|code| ReasonCode::new(*code)).chain(slice.iter().copied())
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        match self.0 {
            Codes::Payload(payload) => payload.len(),
            Codes::Slice(slice) => slice.len(),
        }
    }

    /// Is there none?
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> From<&'a [ReasonCode]> for Reasons<'a> {
    fn from(reasons: &'a [ReasonCode]) -> Self {
        Self(Codes::Slice(reasons))
    }
}

impl PartialEq for Reasons<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Reasons<'_> {}

impl fmt::Debug for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Suback<'a> {
    /// Reads the body (§3.9.2, §3.9.3).
    #[inline(never)]
    pub fn decode(version: Version, body: &'a [u8]) -> Result<Self, PeerError> {
        let mut reader = Reader::new(body);
        let id = reader.packet_id()?;
        let properties = if version.has_properties() {
            AckProperties::read(&mut reader, PropertyPlace::Suback)?
        } else {
            AckProperties::default()
        };
        let reasons = Reasons::read(version, ReasonPlace::Suback, reader)?;
        Ok(Self { id, reasons, properties })
    }

    /// Appends the whole frame.
    ///
    /// # Panics
    ///
    /// On a string of more than 65,535 bytes (see [`crate::check_text`]).
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        Writer::frame(out, PacketType::Suback.first_byte(), |out| {
            out.packet_id(self.id);
            if version.has_properties() {
                self.properties.write(out);
            }
            for reason in self.reasons.iter() {
                out.u8(if version.has_properties() { reason.get() } else { reason.suback_return_code() });
            }
        });
    }
}

impl<'a> Unsuback<'a> {
    /// Reads the body (§3.11.2, §3.11.3). Before MQTT 5 there is nothing behind the identifier.
    #[inline(never)]
    pub fn decode(version: Version, body: &'a [u8]) -> Result<Self, PeerError> {
        let mut reader = Reader::new(body);
        let id = reader.packet_id()?;
        if !version.unsuback_has_reasons() {
            reader.finish()?;
            return Ok(Self { id, reasons: Reasons::EMPTY, properties: AckProperties::default() });
        }
        let properties = AckProperties::read(&mut reader, PropertyPlace::Unsuback)?;
        let reasons = Reasons::read(version, ReasonPlace::Unsuback, reader)?;
        Ok(Self { id, reasons, properties })
    }

    /// Appends the whole frame.
    ///
    /// # Panics
    ///
    /// On a string of more than 65,535 bytes (see [`crate::check_text`]).
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        Writer::frame(out, PacketType::Unsuback.first_byte(), |out| {
            out.packet_id(self.id);
            if version.unsuback_has_reasons() {
                self.properties.write(out);
                for reason in self.reasons.iter() {
                    out.reason(reason);
                }
            }
        });
    }
}
