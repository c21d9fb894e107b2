//! DISCONNECT (§3.14).

use alloc::vec::Vec;

use super::{PacketType, Peer};
use crate::error::{PeerError, Violation};
use crate::property::{Properties, Property, PropertyId, PropertyPlace, UserProperties};
use crate::reason::{ReasonCode, ReasonPlace};
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// DISCONNECT (§3.14). 3.x knows only the client's, and only as [`ReasonCode::NORMAL_DISCONNECTION`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Disconnect<'a> {
    /// §3.14.2.1
    pub reason: ReasonCode,
    /// Seconds, in place of those in CONNECT; from clients only [MQTT-3.14.2-2]. Whether it may be raised from zero only
    /// the server knows (§3.14.2.2.2).
    pub session_expiry: Option<u32>,
    /// For people (§3.14.2.2.3).
    pub reason_string: Option<&'a str>,
    /// §3.14.2.2.4
    pub user_properties: UserProperties<'a>,
    /// Another server to go to; from servers only (§3.14.2.2.5).
    pub server_reference: Option<&'a str>,
}

impl<'a> Disconnect<'a> {
    /// One with nothing to add.
    pub const fn new(reason: ReasonCode) -> Self {
        Self { reason, session_expiry: None, reason_string: None, user_properties: UserProperties::EMPTY, server_reference: None }
    }

    /// Reads the body. In v5 the property length may be missing, and the reason code before it too (§3.14.2.1).
    #[inline(never)]
    pub fn decode(version: Version, from: Peer, body: &'a [u8]) -> Result<Self, PeerError> {
        let mut reader = Reader::new(body);
        let mut disconnect = Self::new(ReasonCode::NORMAL_DISCONNECTION);
        if version.has_properties() && !reader.is_empty() {
            disconnect.reason = ReasonCode::from_wire(reader.u8()?, ReasonPlace::Disconnect, from)?;
            if !reader.is_empty() {
                disconnect.read_properties(from, &mut reader)?;
            }
        }
        reader.finish()?;
        Ok(disconnect)
    }

    fn read_properties(&mut self, from: Peer, reader: &mut Reader<'a>) -> Result<(), PeerError> {
        let block = Properties::read(reader, PropertyPlace::Disconnect)?;
        self.user_properties = UserProperties::of_checked_block(block.block(), PropertyPlace::Disconnect);
        for property in block {
            match (property?, from) {
                (Property::SessionExpiryInterval(seconds), Peer::Client) => {
                    self.session_expiry = Some(seconds);
                }
                (Property::SessionExpiryInterval(_), Peer::Server) => {
                    return Err(Violation::PropertyDirection(PropertyId::SessionExpiryInterval).into());
                }
                (Property::ServerReference(text), Peer::Server) => {
                    self.server_reference = Some(text);
                }
                (Property::ServerReference(_), Peer::Client) => {
                    return Err(Violation::PropertyDirection(PropertyId::ServerReference).into());
                }
                (Property::ReasonString(text), _) => self.reason_string = Some(text),
                (Property::UserProperty(_), _) => {}
                (other, _) => return Err(other.misplaced()),
            }
        }
        Ok(())
    }

    fn has_properties(&self) -> bool {
        self.session_expiry.is_some()
            || self.reason_string.is_some()
            || self.server_reference.is_some()
            || !self.user_properties.is_empty()
    }

    /// Appends the whole frame, in its shortest form.
    ///
    /// # Panics
    ///
    /// On a string of more than 65,535 bytes (see [`crate::check_text`]).
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        Writer::frame(out, PacketType::Disconnect.first_byte(), |out| {
            if !version.has_properties() {
                return;
            }
            let says_more = self.has_properties();
            if says_more || self.reason != ReasonCode::NORMAL_DISCONNECTION {
                out.reason(self.reason);
            }
            if says_more {
                out.measured(|out| {
                    out.property(self.session_expiry.map(Property::SessionExpiryInterval));
                    out.property(self.reason_string.map(Property::ReasonString));
                    self.user_properties.write(out);
                    out.property(self.server_reference.map(Property::ServerReference));
                });
            }
        });
    }
}
