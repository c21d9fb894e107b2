//! How durable state stands in an ordered key-value store (docs/format.md, "Cold store keys").

use alloc::{boxed::Box, vec::Vec};
use core::{hash::Hasher, ops::ControlFlow};

use columba_proto::PacketId;
use siphasher::sip128::{Hasher128, SipHasher13};
use thiserror::Error;

use super::{
    codec::RecordError,
    record::{MessageRecord, TargetRecord},
    window::Source,
    wire::{How, Reader, put_bytes, put_message, put_target_options, put_u64},
};
use crate::id::{MessageId, SessionNo};

/// The spaces of keys; each is ordered by itself.
pub mod space {
    /// Counters of the broker, by name.
    pub const META: u8 = 0;
    /// Sessions: their client identifiers.
    pub const SESSIONS: u8 = 1;
    /// What belongs to a session, and wills.
    pub const PARTS: u8 = 2;
    /// Queues: (session, message).
    pub const QUEUE: u8 = 3;
    /// Messages that stand in several queues.
    pub const MESSAGES: u8 = 4;
    /// In how many queues each of them stands.
    pub const COUNTS: u8 = 5;
    /// Retained messages, by topic.
    pub const RETAINED: u8 = 6;
    /// Topics whose retained message was cleared in the last window.
    pub const CLEARED: u8 = 7;
}

/// All spaces in use.
pub const SPACES: [u8; 8] =
    [space::META, space::SESSIONS, space::PARTS, space::QUEUE, space::MESSAGES, space::COUNTS, space::RETAINED, space::CLEARED];

/// A change of one key in the cold store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyChange {
    /// One of [`SPACES`].
    pub space: u8,
    /// The key, 1 to 65,535 bytes.
    pub key: Vec<u8>,
    /// The new value; `None`: the key goes.
    pub value: Option<Vec<u8>>,
}

/// What a scan calls for each key and value; `Break` ends it.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Reads an ordered key-value store.
pub trait ColdRead {
    /// The value of a key.
    fn get(&self, space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError>;

    /// Visits keys from `from` (included) to `to` (excluded; `None`: to the end) in their order, until `visit` breaks.
    fn visit(&self, space: u8, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), ColdError>;
}

/// The cold store cannot be read, or holds what cannot be.
#[derive(Debug, Error)]
pub enum ColdError {
    /// The store's own error.
    #[error(transparent)]
    Store(Box<dyn core::error::Error + Send + Sync>),
    /// A value that this program did not write.
    #[error("the cold store holds an unreadable value in space {space}: {error}")]
    Value {
        /// Where.
        space: u8,
        /// What is wrong with it.
        error: RecordError,
    },
    /// A key that this program did not write.
    #[error("the cold store holds an unreadable key in space {space}")]
    Key {
        /// Where.
        space: u8,
    },
    /// An entry of a queue names a message that is not there.
    #[error("the cold store has lost message {0:?}")]
    MessageMissing(MessageId),
    /// A part belongs to a session that is not there.
    #[error("the cold store has lost session {0:?}")]
    SessionMissing(SessionNo),
}

/// Names in [`space::META`].
pub(super) const HIGHEST: &[u8] = b"highest identity";
pub(super) const ORDER: &[u8] = b"order of sending";

/// What stands behind the session number in a key of [`space::PARTS`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part<'a> {
    /// Expiry interval, attached or since when not.
    Link,
    /// The will of a durable session.
    Will,
    /// The will of a client whose session is not durable, with its client identifier.
    LoneWill,
    Subscription(&'a str),
    Cursor(&'a str),
    Received(PacketId),
    /// A message given to the subscriber.
    Sent(PacketId),
    /// PUBREC has come.
    Passed(PacketId),
}

/// Filters up to this length stand in keys as they are; of longer ones the hash. A key has at most 65,535 bytes.
const FILTER_MAX: usize = 60_000;
const HASHED: u8 = 0xFF;

impl Part<'_> {
    pub(super) fn key(self, session: SessionNo) -> Vec<u8> {
        let mut key = session_key(session);
        match self {
            Self::Link => key.push(1),
            Self::Will => key.push(2),
            Self::LoneWill => key.push(3),
            Self::Subscription(filter) => put_filter(&mut key, 4, filter),
            Self::Cursor(filter) => put_filter(&mut key, 5, filter),
            Self::Received(packet_id) => put_packet_id(&mut key, 6, packet_id),
            Self::Sent(packet_id) => put_packet_id(&mut key, 7, packet_id),
            Self::Passed(packet_id) => put_packet_id(&mut key, 8, packet_id),
        }
        key
    }
}

impl<'a> Part<'a> {
    /// The session and the part. A filter too long for a key is to be read from the value: it is empty here.
    pub(super) fn parse(key: &'a [u8]) -> Option<(SessionNo, Self)> {
        let (session, rest) = key.split_first_chunk()?;
        let session = SessionNo(u64::from_be_bytes(*session));
        let (tag, rest) = rest.split_first()?;
        let part = match tag {
            1..=3 if !rest.is_empty() => return None,
            1 => Self::Link,
            2 => Self::Will,
            3 => Self::LoneWill,
            4 => Self::Subscription(parse_filter(rest)?),
            5 => Self::Cursor(parse_filter(rest)?),
            6 => Self::Received(parse_packet_id(rest)?),
            7 => Self::Sent(parse_packet_id(rest)?),
            8 => Self::Passed(parse_packet_id(rest)?),
            _ => return None,
        };
        Some((session, part))
    }
}

fn put_filter(key: &mut Vec<u8>, tag: u8, filter: &str) {
    key.push(tag);
    if filter.len() <= FILTER_MAX {
        key.extend_from_slice(filter.as_bytes());
        return;
    }
    // No text begins with this byte.
    key.push(HASHED);
    let mut hasher = SipHasher13::new();
    hasher.write(filter.as_bytes());
    key.extend_from_slice(&hasher.finish128().as_u128().to_be_bytes());
}

fn parse_filter(rest: &[u8]) -> Option<&str> {
    if rest.first() == Some(&HASHED) { Some("") } else { core::str::from_utf8(rest).ok() }
}

/// The filter for the value of a key that cannot hold it.
pub(super) fn filter_for_value(filter: &str) -> &str {
    if filter.len() <= FILTER_MAX { "" } else { filter }
}

fn put_packet_id(key: &mut Vec<u8>, tag: u8, packet_id: PacketId) {
    key.push(tag);
    key.extend_from_slice(&packet_id.get().to_be_bytes());
}

fn parse_packet_id(rest: &[u8]) -> Option<PacketId> {
    rest.try_into().ok().map(u16::from_be_bytes).and_then(PacketId::new)
}

pub(super) fn session_key(session: SessionNo) -> Vec<u8> {
    session.0.to_be_bytes().to_vec()
}

pub(super) fn parse_session_key(key: &[u8]) -> Option<SessionNo> {
    key.try_into().ok().map(u64::from_be_bytes).map(SessionNo)
}

/// The first key behind all keys of a session.
pub(super) fn behind_session(session: SessionNo) -> Option<Vec<u8>> {
    session.0.checked_add(1).map(|next| next.to_be_bytes().to_vec())
}

pub(super) fn queue_key(session: SessionNo, message: MessageId) -> Vec<u8> {
    let mut key = session_key(session);
    key.extend_from_slice(&message.0.to_be_bytes());
    key
}

pub(super) fn parse_queue_key(key: &[u8]) -> Option<(SessionNo, MessageId)> {
    let (session, message) = key.split_first_chunk()?;
    let message = message.try_into().ok()?;
    Some((SessionNo(u64::from_be_bytes(*session)), MessageId(u64::from_be_bytes(message))))
}

pub(super) fn message_key(message: MessageId) -> Vec<u8> {
    message.0.to_be_bytes().to_vec()
}

/// The value of a key in [`space::QUEUE`].
#[derive(Clone, Debug)]
pub(super) struct Queued<'a> {
    pub(super) target: TargetRecord,
    /// `None`: the message stands in [`space::MESSAGES`].
    pub(super) message: Option<&'a [u8]>,
}

impl Queued<'_> {
    pub(super) fn source(&self) -> Source {
        if self.message.is_some() { Source::Inline } else { Source::Counted }
    }
}

pub(super) fn put_queued(out: &mut Vec<u8>, how: How<'_>, message: Option<&[u8]>) {
    put_target_options(out, how);
    out.extend_from_slice(message.unwrap_or_default());
}

pub(super) fn parse_queued(session: SessionNo, value: &[u8]) -> Result<Queued<'_>, ColdError> {
    let mut reader = Reader::new(value);
    let target = reader.target_options(session).map_err(|error| ColdError::Value { space: space::QUEUE, error })?;
    let message = reader.rest();
    Ok(Queued { target, message: (!message.is_empty()).then_some(message) })
}

pub(super) fn message_value(message: &MessageRecord<'_>) -> Vec<u8> {
    let mut value = Vec::with_capacity(message.topic.len() + message.properties.len() + message.payload.len() + 16);
    put_message(&mut value, message);
    value
}

/// A number as a value.
pub(super) fn number(value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, value);
    out
}

pub(super) fn get_number(cold: &dyn ColdRead, space: u8, key: &[u8]) -> Result<Option<u64>, ColdError> {
    let value = cold.get(space, key)?;
    value.map(|value| Reader::new(&value).u64().map_err(|error| ColdError::Value { space, error })).transpose()
}

/// A text that may be absent.
pub(super) fn put_optional_str(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_bytes(out, text.as_bytes());
    }
}
