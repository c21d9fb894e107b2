//! AUTH (§3.15), MQTT 5 only.

use alloc::vec::Vec;
use core::fmt;

use super::{PacketType, Peer};
use crate::error::{PeerError, Violation};
use crate::property::{Properties, Property, PropertyPlace, UserProperties};
use crate::reason::{ReasonCode, ReasonPlace};
use crate::text::Unsaid;
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// AUTH (§3.15).
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Auth<'a> {
    /// §3.15.2.1
    pub reason: ReasonCode,
    /// That of CONNECT [MQTT-4.12.0-5]. Absent only in the short form, which has nothing but success to say.
    pub method: Option<&'a str>,
    /// §3.15.2.2.3
    pub data: Option<&'a [u8]>,
    /// For people (§3.15.2.2.4).
    pub reason_string: Option<&'a str>,
    /// §3.15.2.2.5
    pub user_properties: UserProperties<'a>,
}

impl<'a> Auth<'a> {
    /// One with nothing to add to the exchange.
    pub const fn new(reason: ReasonCode, method: Option<&'a str>, data: Option<&'a [u8]>) -> Self {
        Self { reason, method, data, reason_string: None, user_properties: UserProperties::EMPTY }
    }

    /// Reads the body. Only success without properties may be left out (§3.15.2.1).
    #[inline(never)]
    pub fn decode(from: Peer, body: &'a [u8]) -> Result<Self, PeerError> {
        let mut reader = Reader::new(body);
        let mut auth = Self::new(ReasonCode::SUCCESS, None, None);
        if reader.is_empty() {
            return Ok(auth);
        }
        auth.reason = ReasonCode::from_wire(reader.u8()?, ReasonPlace::Auth, from)?;
        if !reader.is_empty() {
            auth.read_properties(&mut reader)?;
        }
        reader.finish()?;
        if auth.method.is_none() && auth.says_more() {
            return Err(Violation::MissingAuthenticationMethod.into());
        }
        Ok(auth)
    }

    fn read_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), PeerError> {
        let block = Properties::read(reader, PropertyPlace::Auth)?;
        self.user_properties = UserProperties::of_checked_block(block.block(), PropertyPlace::Auth);
        for property in block {
            #[expect(clippy::wildcard_enum_match_arm, reason = "the rest has no place here")]
            match property? {
                Property::AuthenticationMethod(method) => self.method = Some(method),
                Property::AuthenticationData(data) => self.data = Some(data),
                Property::ReasonString(text) => self.reason_string = Some(text),
                Property::UserProperty(_) => {}
                other => return Err(other.misplaced()),
            }
        }
        Ok(())
    }

    fn says_more(&self) -> bool {
        self.reason != ReasonCode::SUCCESS || self.has_properties()
    }

    fn has_properties(&self) -> bool {
        self.method.is_some() || self.data.is_some() || self.reason_string.is_some() || !self.user_properties.is_empty()
    }

    /// Appends the whole frame, in its shortest form; nothing in a version that has no AUTH.
    ///
    /// # Panics
    ///
    /// On a string or binary value of more than 65,535 bytes (see [`crate::check_text`]).
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        if !version.has_auth() {
            return;
        }
        Writer::frame(out, PacketType::Auth.first_byte(), |out| {
            if !self.says_more() {
                return;
            }
            out.reason(self.reason);
            out.measured(|out| {
                out.property(self.method.map(Property::AuthenticationMethod));
                out.property(self.data.map(Property::AuthenticationData));
                out.property(self.reason_string.map(Property::ReasonString));
                self.user_properties.write(out);
            });
        });
    }
}

impl fmt::Debug for Auth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, method, data, reason_string, user_properties } = self;
        f.debug_struct("Auth")
            .field("reason", reason)
            .field("method", method)
            .field("data", &data.map(|data| Unsaid(data.len())))
            .field("reason_string", reason_string)
            .field("user_properties", user_properties)
            .finish()
    }
}
