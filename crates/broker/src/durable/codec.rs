//! Records as bytes: `kind u8, version u8, length u32 (little endian), fields`, one behind the other (docs/format.md, "Records").

use alloc::{sync::Arc, vec::Vec};

use columba_proto::QoS;
use thiserror::Error;

use super::{
    record::{MessageRecord, Record, TargetRecord},
    wire::{Flags, How, Reader, put_grant, put_message, put_str, put_target, put_u64, put_will},
};
use crate::{
    id::{MessageId, SessionNo},
    message::Message,
};

/// Bytes that are no record that this program knows. Nothing behind them can be trusted either: refuse to start.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum RecordError {
    /// The bytes end inside a record.
    #[error("a record ends too early")]
    Truncated,
    /// A record says more than its kind has to say.
    #[error("a record is longer than its fields")]
    Surplus,
    /// Written by a later version of this program.
    #[error("unknown kind of record: {0}")]
    UnknownKind(u8),
    /// Written by a later version of this program.
    #[error("record kind {kind} has unknown version {version}")]
    UnknownVersion {
        /// The kind.
        kind: u8,
        /// Its version.
        version: u8,
    },
    /// A number out of its range.
    #[error("a number in a record is out of range")]
    Number,
    /// A text that is not UTF-8.
    #[error("a text in a record is not UTF-8")]
    Text,
    /// Bits that mean nothing.
    #[error("unknown flags in a record")]
    Flags,
}

const HEADER: usize = 6;
const VERSION: u8 = 1;

const CREATED: u8 = 1;
const ATTACHED: u8 = 2;
const DETACHED: u8 = 3;
const DELETED: u8 = 4;
const SUBSCRIBED: u8 = 5;
const UNSUBSCRIBED: u8 = 6;
const PUBLISHED: u8 = 7;
const RECEIVED: u8 = 8;
const RELEASED: u8 = 9;
const SENT: u8 = 10;
const PASSED: u8 = 11;
const SETTLED: u8 = 12;
const DROPPED: u8 = 13;
// 14 was once a message moved from session to session.
const CURSOR: u8 = 15;
const WILL_SET: u8 = 16;
const WILL_GONE: u8 = 17;

impl<'a> Record<'a> {
    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Published { id, message, targets, sets_retained, will_of } => {
                let mut encoder = PublicationEncoder::published(out, *id, message, *sets_retained, *will_of);
                encoder.targets(targets);
                let _count = encoder.finish();
            }
            Self::Released { session, packet_id, id, targets, sets_retained } => {
                let mut encoder = PublicationEncoder::released(out, *session, *packet_id, *id, *sets_retained);
                encoder.targets(targets);
                let _count = encoder.finish();
            }
            Self::Created { session, client_id } => framed(out, CREATED, |out| {
                put_u64(out, session.0);
                put_str(out, client_id);
            }),
            Self::Attached { session, expiry, will } => framed(out, ATTACHED, |out| {
                put_u64(out, session.0);
                put_u64(out, (*expiry).into());
                out.push(u8::from(will.is_some()));
                if let Some(will) = will {
                    put_will(out, will);
                }
            }),
            Self::Detached { session, at, expiry, will_stands } => framed(out, DETACHED, |out| {
                put_u64(out, session.0);
                put_u64(out, at.0);
                put_u64(out, (*expiry).into());
                out.push(u8::from(*will_stands));
            }),
            Self::Deleted { session } => framed(out, DELETED, |out| put_u64(out, session.0)),
            Self::Subscribed { session, filter, grant } => framed(out, SUBSCRIBED, |out| {
                put_u64(out, session.0);
                put_str(out, filter);
                put_grant(out, grant);
            }),
            Self::Unsubscribed { session, filter } => framed(out, UNSUBSCRIBED, |out| {
                put_u64(out, session.0);
                put_str(out, filter);
            }),
            Self::Received { session, packet_id, message } => framed(out, RECEIVED, |out| {
                put_u64(out, session.0);
                put_u64(out, packet_id.get().into());
                put_message(out, message);
            }),
            Self::Sent { session, packet_id, message, qos } => framed(out, SENT, |out| {
                put_u64(out, session.0);
                put_u64(out, packet_id.get().into());
                put_u64(out, message.0);
                out.push(*qos as u8);
            }),
            Self::Passed { session, packet_id, message } => framed(out, PASSED, |out| {
                put_u64(out, session.0);
                put_u64(out, packet_id.get().into());
                put_u64(out, message.0);
            }),
            Self::Settled { session, packet_id, message } => framed(out, SETTLED, |out| {
                put_u64(out, session.0);
                put_u64(out, packet_id.get().into());
                out.push(u8::from(message.is_some()));
                if let Some(message) = message {
                    put_u64(out, message.0);
                }
            }),
            Self::Dropped { session, message } => framed(out, DROPPED, |out| {
                put_u64(out, session.0);
                put_u64(out, message.0);
            }),
            Self::Cursor { session, filter, after } => framed(out, CURSOR, |out| {
                put_u64(out, session.0);
                put_str(out, filter);
                out.push(u8::from(after.is_some()));
                if let Some(after) = after {
                    put_str(out, after);
                }
            }),
            Self::WillSet { session, client_id, will } => framed(out, WILL_SET, |out| {
                put_u64(out, session.0);
                put_str(out, client_id);
                put_will(out, will);
            }),
            Self::WillGone { session } => framed(out, WILL_GONE, |out| put_u64(out, session.0)),
        }
    }

    /// Reads one record from the front of `bytes` and moves them behind it.
    pub fn decode(bytes: &mut &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8()?;
        let version = reader.u8()?;
        let len = reader.take(4)?;
        let len = u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize;
        if !(CREATED..=WILL_GONE).contains(&kind) {
            return Err(RecordError::UnknownKind(kind));
        }
        if version != VERSION {
            return Err(RecordError::UnknownVersion { kind, version });
        }
        let mut fields = Reader::new(reader.take(len)?);
        let record = Self::fields(kind, &mut fields)?;
        fields.end()?;
        *bytes = &bytes[HEADER + len..];
        Ok(record)
    }

    fn fields(kind: u8, fields: &mut Reader<'a>) -> Result<Self, RecordError> {
        Ok(match kind {
            CREATED => Self::Created { session: fields.session()?, client_id: fields.str()? },
            ATTACHED => {
                Self::Attached { session: fields.session()?, expiry: fields.u32()?, will: fields.optional(Reader::will)? }
            }
            DETACHED => Self::Detached {
                session: fields.session()?,
                at: fields.time()?,
                expiry: fields.u32()?,
                will_stands: boolean(fields)?,
            },
            DELETED => Self::Deleted { session: fields.session()? },
            SUBSCRIBED => Self::Subscribed { session: fields.session()?, filter: fields.str()?, grant: fields.grant()? },
            UNSUBSCRIBED => Self::Unsubscribed { session: fields.session()?, filter: fields.str()? },
            PUBLISHED => {
                let mut flags = fields.flags()?;
                let (sets_retained, is_will) = (flags.bit(), flags.bit());
                flags.end()?;
                Self::Published {
                    id: fields.message_id()?,
                    will_of: if is_will { Some(fields.session()?) } else { None },
                    message: fields.message()?,
                    targets: targets(fields)?,
                    sets_retained,
                }
            }
            RECEIVED => Self::Received { session: fields.session()?, packet_id: fields.packet_id()?, message: fields.message()? },
            RELEASED => {
                let sets_retained = boolean(fields)?;
                Self::Released {
                    session: fields.session()?,
                    packet_id: fields.packet_id()?,
                    id: fields.message_id()?,
                    targets: targets(fields)?,
                    sets_retained,
                }
            }
            SENT => Self::Sent {
                session: fields.session()?,
                packet_id: fields.packet_id()?,
                message: fields.message_id()?,
                qos: QoS::try_from(fields.u8()?).map_err(|_| RecordError::Flags)?,
            },
            PASSED => Self::Passed { session: fields.session()?, packet_id: fields.packet_id()?, message: fields.message_id()? },
            SETTLED => Self::Settled {
                session: fields.session()?,
                packet_id: fields.packet_id()?,
                message: fields.optional(Reader::message_id)?,
            },
            DROPPED => Self::Dropped { session: fields.session()?, message: fields.message_id()? },
            CURSOR => Self::Cursor { session: fields.session()?, filter: fields.str()?, after: fields.optional(Reader::str)? },
            WILL_SET => Self::WillSet { session: fields.session()?, client_id: fields.str()?, will: fields.will()? },
            WILL_GONE => Self::WillGone { session: fields.session()? },
            kind => return Err(RecordError::UnknownKind(kind)),
        })
    }
}

fn targets(fields: &mut Reader<'_>) -> Result<Vec<TargetRecord>, RecordError> {
    let mut targets: Vec<TargetRecord> = Vec::new();
    while !fields.is_empty() {
        let before = targets.last().map_or(SessionNo(0), |target| target.session);
        targets.push(fields.target(before)?);
    }
    Ok(targets)
}

fn boolean(fields: &mut Reader<'_>) -> Result<bool, RecordError> {
    let mut flags: Flags = fields.flags()?;
    let value = flags.bit();
    flags.end()?;
    Ok(value)
}

fn framed(out: &mut Vec<u8>, kind: u8, fields: impl FnOnce(&mut Vec<u8>)) {
    let start = begin(out, kind);
    fields(out);
    end(out, start);
}

fn begin(out: &mut Vec<u8>, kind: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&[kind, VERSION, 0, 0, 0, 0]);
    start
}

fn end(out: &mut [u8], start: usize) {
    let len =
        u32::try_from(out.len() - start - HEADER).expect("a packet has less than 256 MiB and a broker fewer than 2^28 sessions");
    out[start + 2..start + HEADER].copy_from_slice(&len.to_le_bytes());
}

/// Writes a `Published` or `Released` record target by target, straight into the buffer: the path of all durable traffic.
#[derive(Debug)]
#[must_use = "the record is complete only after `finish`"]
pub struct PublicationEncoder<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    last: SessionNo,
    count: usize,
}

impl<'o> PublicationEncoder<'o> {
    /// Begins a [`Record::Published`].
    pub fn published(
        out: &'o mut Vec<u8>,
        id: MessageId,
        message: &MessageRecord<'_>,
        sets_retained: bool,
        will_of: Option<SessionNo>,
    ) -> Self {
        let start = begin(out, PUBLISHED);
        out.push(u8::from(sets_retained) | u8::from(will_of.is_some()) << 1);
        put_u64(out, id.0);
        if let Some(session) = will_of {
            put_u64(out, session.0);
        }
        put_message(out, message);
        Self { out, start, last: SessionNo(0), count: 0 }
    }

    /// Begins a [`Record::Released`].
    pub fn released(
        out: &'o mut Vec<u8>,
        session: SessionNo,
        packet_id: columba_proto::PacketId,
        id: MessageId,
        sets_retained: bool,
    ) -> Self {
        let start = begin(out, RELEASED);
        out.push(u8::from(sets_retained));
        put_u64(out, session.0);
        put_u64(out, packet_id.get().into());
        put_u64(out, id.0);
        Self { out, start, last: SessionNo(0), count: 0 }
    }

    /// Adds a durable target. In order of sessions they take the least space.
    pub fn target(&mut self, session: SessionNo, qos: QoS, retain: bool, ids: &[u32]) {
        put_target(self.out, self.last, session, How { qos, retain, ids });
        self.last = session;
        self.count += 1;
    }

    fn targets(&mut self, targets: &[TargetRecord]) {
        for it in targets {
            self.target(it.session, it.qos, it.retain, &it.subscription_ids);
        }
    }

    /// Completes the record; returns how many targets it has.
    pub fn finish(self) -> usize {
        end(self.out, self.start);
        self.count
    }
}

impl<'a> From<&'a Message> for MessageRecord<'a> {
    fn from(message: &'a Message) -> Self {
        Self {
            topic: &message.topic,
            qos: message.qos,
            retain: message.retain,
            expires: message.expires,
            properties: message.properties(),
            payload: message.payload(),
        }
    }
}

impl MessageRecord<'_> {
    /// The message that the record holds.
    pub fn to_message(&self) -> Message {
        Message::new(Arc::from(self.topic), self.qos, self.retain, self.expires, self.properties, self.payload)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use columba_proto::PacketId;

    use super::*;
    use crate::{durable::model::Live, testing::Rng};

    /// Records of all kinds, as bytes.
    fn history(seed: u64) -> Vec<Vec<u8>> {
        let mut live = Live::new(seed);
        for _ in 0..500 {
            live.step();
        }
        live.end_all();
        live.commit().into_iter().flatten().collect()
    }

    #[test]
    fn what_is_decoded_is_what_was_encoded() {
        const UNUSED: u8 = 14;
        let mut kinds = [false; WILL_GONE as usize + 1];
        for seed in 0..20 {
            for bytes in history(seed) {
                let mut rest = &*bytes;
                let record = Record::decode(&mut rest).unwrap();
                assert!(rest.is_empty(), "seed {seed}");
                let mut again = Vec::new();
                record.encode(&mut again);
                assert_eq!(again, bytes, "seed {seed}: {record:?}");
                kinds[usize::from(bytes[0])] = true;
            }
        }
        kinds[usize::from(UNUSED)] = true;
        assert!(kinds[1..].iter().all(|seen| *seen), "all kinds: {kinds:?}");
    }

    #[test]
    fn records_stand_one_behind_the_other() {
        let records = history(1);
        let bytes: Vec<u8> = records.iter().flatten().copied().collect();

        let (mut rest, mut count) = (&*bytes, 0);
        while !rest.is_empty() {
            Record::decode(&mut rest).unwrap();
            count += 1;
        }

        assert_eq!(count, records.len());
    }

    #[test]
    fn targets_keep_any_session_number_in_any_order() {
        let mut rng = Rng::new(1);
        for _ in 0..1000 {
            let target = |rng: &mut Rng| TargetRecord {
                session: SessionNo(*rng.pick(&[
                    0,
                    1,
                    u64::MAX,
                    u64::MAX - 1,
                    1 << 63,
                    rng.clone().next(),
                    rng.clone().next() >> 40,
                ])),
                qos: *rng.pick(&[QoS::AtLeastOnce, QoS::ExactlyOnce]),
                retain: rng.chance(50),
                subscription_ids: (0..rng.below(4)).map(|_| rng.small()).collect(),
            };
            let record = Record::Released {
                session: SessionNo(rng.next()),
                packet_id: PacketId::new(65_535).unwrap(),
                id: MessageId(rng.next()),
                targets: (0..rng.below(10)).map(|_| target(&mut rng)).collect(),
                sets_retained: rng.chance(50),
            };
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            assert_eq!(Record::decode(&mut &*bytes), Ok(record));
        }
    }

    #[test]
    fn sorted_targets_take_few_bytes() {
        let message =
            MessageRecord { topic: "t", qos: QoS::AtLeastOnce, retain: false, expires: None, properties: &[], payload: &[] };
        let mut out = Vec::new();
        let mut encoder = PublicationEncoder::published(&mut out, MessageId(1 << 40), &message, false, None);
        for n in 0..1000 {
            encoder.target(SessionNo(((1_000_000 + n) << 12) | (n % 64)), QoS::AtLeastOnce, false, &[]);
        }
        assert_eq!(encoder.finish(), 1000);

        assert!(out.len() < 3100, "{}", out.len());
    }

    #[test]
    fn a_cut_record_is_truncated_and_nothing_is_taken() {
        for bytes in history(2) {
            for len in 0..bytes.len() {
                let mut rest = &bytes[..len];
                assert_eq!(Record::decode(&mut rest), Err(RecordError::Truncated));
                assert_eq!(rest.len(), len);
            }
        }
    }

    #[test]
    fn what_a_later_version_wrote_is_refused() {
        let mut bytes = Vec::new();
        Record::Deleted { session: SessionNo(5) }.encode(&mut bytes);
        let decode = |at: usize, value: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            Record::decode(&mut &*bytes).map(|_| ())
        };

        assert_eq!(decode(0, 99), Err(RecordError::UnknownKind(99)));
        assert_eq!(decode(0, 0), Err(RecordError::UnknownKind(0)));
        assert_eq!(decode(1, 2), Err(RecordError::UnknownVersion { kind: DELETED, version: 2 }));
        bytes.push(0);
        bytes[2] += 1;
        assert_eq!(Record::decode(&mut &*bytes), Err(RecordError::Surplus));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            for mut bytes in history(seed % 10) {
                for _ in 0..=rng.below(3) {
                    let at = rng.below(bytes.len());
                    bytes[at] = rng.byte();
                }
                let decoded = catch_unwind(|| Record::decode(&mut &*bytes).is_ok());
                assert!(decoded.is_ok(), "seed {seed}: {bytes:?}");
            }
        }
    }
}
