//! Bytes of records and of values in the cold store: integers as little-endian base 128, texts and blocks with their length before them.

use alloc::vec::Vec;

use columba_proto::{PacketId, QoS, Time, packet::RetainHandling};

use super::{
    codec::RecordError,
    record::{GrantRecord, MessageRecord, TargetRecord, WillRecord},
};
use crate::id::{MessageId, SessionNo};

/// Reads from the front of a byte slice.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// All that is left must have been read.
    pub(super) fn end(&self) -> Result<(), RecordError> {
        if self.is_empty() { Ok(()) } else { Err(RecordError::Surplus) }
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, RecordError> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u64(&mut self) -> Result<u64, RecordError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(RecordError::Number);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError::Number)
    }

    pub(super) fn u32(&mut self) -> Result<u32, RecordError> {
        self.u64()?.try_into().map_err(|_| RecordError::Number)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], RecordError> {
        let len = self.u64()?;
        self.take(usize::try_from(len).map_err(|_| RecordError::Truncated)?)
    }

    pub(super) fn str(&mut self) -> Result<&'a str, RecordError> {
        core::str::from_utf8(self.bytes()?).map_err(|_| RecordError::Text)
    }

    pub(super) fn session(&mut self) -> Result<SessionNo, RecordError> {
        self.u64().map(SessionNo)
    }

    pub(super) fn message_id(&mut self) -> Result<MessageId, RecordError> {
        self.u64().map(MessageId)
    }

    pub(super) fn packet_id(&mut self) -> Result<PacketId, RecordError> {
        u16::try_from(self.u64()?).ok().and_then(PacketId::new).ok_or(RecordError::Number)
    }

    pub(super) fn time(&mut self) -> Result<Time, RecordError> {
        self.u64().map(Time)
    }

    pub(super) fn flags(&mut self) -> Result<Flags, RecordError> {
        self.u8().map(Flags)
    }

    pub(super) fn message(&mut self) -> Result<MessageRecord<'a>, RecordError> {
        let mut flags = self.flags()?;
        let qos = flags.qos()?;
        let retain = flags.bit();
        let expires = flags.bit();
        flags.end()?;
        Ok(MessageRecord {
            topic: self.str()?,
            qos,
            retain,
            expires: if expires { Some(self.time()?) } else { None },
            properties: self.bytes()?,
            payload: self.bytes()?,
        })
    }

    pub(super) fn will(&mut self) -> Result<WillRecord<'a>, RecordError> {
        Ok(WillRecord { delay: self.u32()?, message_expiry: self.optional(Self::u32)?, message: self.message()? })
    }

    pub(super) fn grant(&mut self) -> Result<GrantRecord, RecordError> {
        let mut flags = self.flags()?;
        let qos = flags.qos()?;
        let no_local = flags.bit();
        let retain_as_published = flags.bit();
        let retain_handling = match flags.bits(2) {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(RecordError::Flags),
        };
        let cursor = flags.bit();
        flags.end()?;
        let subscription_id = self.u32()?;
        let cursor = if cursor { Some(self.message_id()?) } else { None };
        Ok(GrantRecord { qos, no_local, retain_as_published, retain_handling, subscription_id, cursor })
    }

    /// A target whose session number stands as the difference to the one before it.
    pub(super) fn target(&mut self, before: SessionNo) -> Result<TargetRecord, RecordError> {
        let delta = self.u64()?;
        let delta = (delta >> 1) ^ (delta & 1).wrapping_neg();
        let session = SessionNo(before.0.wrapping_add(delta));
        self.target_options(session)
    }

    /// A target without its session number.
    pub(super) fn target_options(&mut self, session: SessionNo) -> Result<TargetRecord, RecordError> {
        let mut flags = self.flags()?;
        let qos = flags.qos()?;
        let retain = flags.bit();
        // Was once "shared".
        let _shared = flags.bit();
        let has_ids = flags.bit();
        flags.end()?;
        let mut subscription_ids = Vec::new();
        if has_ids {
            for _ in 0..self.u64()? {
                // One by one: the count is believed only as far as there are bytes.
                subscription_ids.push(self.u32()?);
            }
        }
        Ok(TargetRecord { session, qos, retain, subscription_ids })
    }

    pub(super) fn optional<T>(&mut self, read: fn(&mut Self) -> Result<T, RecordError>) -> Result<Option<T>, RecordError> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(RecordError::Flags),
        }
    }
}

/// A byte of small fields, read from its low bits upwards.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags(pub(super) u8);

impl Flags {
    pub(super) fn bits(&mut self, count: u32) -> u8 {
        let value = self.0 & ((1 << count) - 1);
        self.0 >>= count;
        value
    }

    pub(super) fn bit(&mut self) -> bool {
        self.bits(1) == 1
    }

    pub(super) fn qos(&mut self) -> Result<QoS, RecordError> {
        QoS::try_from(self.bits(2)).map_err(|_| RecordError::Flags)
    }

    pub(super) fn end(self) -> Result<(), RecordError> {
        if self.0 == 0 { Ok(()) } else { Err(RecordError::Flags) }
    }
}

pub(super) fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn put_str(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

pub(super) fn put_optional(out: &mut Vec<u8>, value: Option<u32>) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put_u64(out, value.into());
    }
}

pub(super) fn put_message(out: &mut Vec<u8>, message: &MessageRecord<'_>) {
    out.push(message.qos as u8 | u8::from(message.retain) << 2 | u8::from(message.expires.is_some()) << 3);
    put_str(out, message.topic);
    if let Some(at) = message.expires {
        put_u64(out, at.0);
    }
    put_bytes(out, message.properties);
    put_bytes(out, message.payload);
}

pub(super) fn put_will(out: &mut Vec<u8>, will: &WillRecord<'_>) {
    put_u64(out, will.delay.into());
    put_optional(out, will.message_expiry);
    put_message(out, &will.message);
}

pub(super) fn put_grant(out: &mut Vec<u8>, grant: &GrantRecord) {
    let handling = match grant.retain_handling {
        RetainHandling::Send => 0,
        RetainHandling::SendIfNew => 1,
        RetainHandling::DoNotSend => 2,
    };
    out.push(
        grant.qos as u8
            | u8::from(grant.no_local) << 2
            | u8::from(grant.retain_as_published) << 3
            | handling << 4
            | u8::from(grant.cursor.is_some()) << 6,
    );
    put_u64(out, grant.subscription_id.into());
    if let Some(newest) = grant.cursor {
        put_u64(out, newest.0);
    }
}

pub(super) fn put_target(out: &mut Vec<u8>, before: SessionNo, session: SessionNo, how: How<'_>) {
    let delta = session.0.wrapping_sub(before.0);
    // Zigzag: targets come in order of their sessions, but nothing depends on it.
    put_u64(out, (delta << 1) ^ (delta >> 63).wrapping_neg());
    put_target_options(out, how);
}

/// How a message goes to a target.
#[derive(Clone, Copy, Debug)]
pub(super) struct How<'a> {
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) ids: &'a [u32],
}

pub(super) fn put_target_options(out: &mut Vec<u8>, how: How<'_>) {
    let has_ids = !how.ids.is_empty();
    out.push(how.qos as u8 | u8::from(how.retain) << 2 | u8::from(has_ids) << 4);
    if has_ids {
        put_u64(out, how.ids.len() as u64);
        for &id in how.ids {
            put_u64(out, id.into());
        }
    }
}

impl<'a> From<&'a TargetRecord> for How<'a> {
    fn from(target: &'a TargetRecord) -> Self {
        Self { qos: target.qos, retain: target.retain, ids: &target.subscription_ids }
    }
}
