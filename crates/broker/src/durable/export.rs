//! From the cold store back into records: folded into an empty store they make the same state.
//!
//! What comes out is a journal that could have led here: sessions before what belongs to them, messages by their identities, and a message with all its readers
//! as one record wherever the store has it once.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::ops::ControlFlow;

use columba_proto::{PacketId, QoS};

use super::{
    codec::RecordError,
    fold::read_cleared,
    keys::{
        ColdError, ColdRead, HIGHEST, Part, behind_session, get_number, message_key, parse_queue_key, parse_queued,
        parse_session_key, queue_key, space,
    },
    record::{MessageRecord, Record, TargetRecord},
    wire::Reader,
};
use crate::id::{MessageId, SessionNo};

/// Where exported records go.
pub type Give<'a, E> = dyn FnMut(&Record<'_>) -> Result<(), E> + 'a;

/// References to messages with several readers that are in memory at once: they stand by session, and go out by message.
const REFERENCES_MAX: usize = 100_000;

/// Gives the state at the store's position, record by record. The store must not change meanwhile: it is a snapshot, or nobody writes.
///
/// # Errors
/// What `give` says, and what cannot be read.
pub fn export<E: From<ColdError>>(cold: &dyn ColdRead, give: &mut Give<'_, E>) -> Result<(), E> {
    let highest = MessageId(get_number(cold, space::META, HIGHEST)?.unwrap_or(0));
    // To nobody: it says up to where identities are used.
    give(&published(highest, NOTHING, Vec::new()))?;
    each(cold, space::SESSIONS, &[], None, |key, value| {
        let session = parse_session_key(key).ok_or(ColdError::Key { space: space::SESSIONS })?;
        let client_id = core::str::from_utf8(value).map_err(|_| ColdError::Key { space: space::SESSIONS })?;
        give(&Record::Created { session, client_id })
    })?;
    parts(cold, give)?;
    let counted = own_messages(cold, give)?;
    shared_messages(cold, &counted, give)?;
    each(cold, space::RETAINED, &[], None, |_, value| {
        let mut reader = Reader::new(value);
        let (id, message) = reader.message_id().and_then(|id| Ok((id, reader.message()?))).map_err(in_space(space::RETAINED))?;
        give(&retained(id, message))
    })?;
    // Last: records behind the position may bring versions that are older than these clears.
    for (topic, id) in read_cleared(cold)? {
        give(&retained(id, MessageRecord { topic: &topic, ..NOTHING }))?;
    }
    Ok(())
}

const NOTHING: MessageRecord<'static> =
    MessageRecord { topic: "", qos: QoS::AtMostOnce, retain: false, expires: None, properties: &[], payload: &[] };

fn published(id: MessageId, message: MessageRecord<'_>, targets: Vec<TargetRecord>) -> Record<'_> {
    Record::Published { id, message, targets, sets_retained: false, will_of: None }
}

fn retained(id: MessageId, message: MessageRecord<'_>) -> Record<'_> {
    Record::Published { id, message, targets: Vec::new(), sets_retained: true, will_of: None }
}

/// What belongs to sessions, and lone wills. A session's parts are neighbours.
fn parts<E: From<ColdError>>(cold: &dyn ColdRead, give: &mut Give<'_, E>) -> Result<(), E> {
    let mut open: Option<Parts> = None;
    each(cold, space::PARTS, &[], None, |key, value| {
        let (session, part) = Part::parse(key).ok_or(ColdError::Key { space: space::PARTS })?;
        if open.as_ref().is_some_and(|open| open.session != session) {
            open.take().map_or(Ok(()), |done| done.end(give))?;
        }
        open.get_or_insert_with(|| Parts::new(session)).part(part, value, give)
    })?;
    open.map_or(Ok(()), |done| done.end(give))
}

/// The parts of one session that can be given only when others are known.
struct Parts {
    session: SessionNo,
    link: Option<(u32, Option<columba_proto::Time>)>,
    /// The bytes of the will.
    will: Option<Vec<u8>>,
    /// Subscriptions with retained messages to take, as long as no cursor says how far that is.
    cursors: BTreeSet<Box<str>>,
    sent: Vec<(u64, PacketId, MessageId, QoS)>,
    passed: BTreeSet<PacketId>,
}

impl Parts {
    fn new(session: SessionNo) -> Self {
        Self { session, link: None, will: None, cursors: BTreeSet::new(), sent: Vec::new(), passed: BTreeSet::new() }
    }

    fn part<E: From<ColdError>>(&mut self, part: Part<'_>, value: &[u8], give: &mut Give<'_, E>) -> Result<(), E> {
        let session = self.session;
        let broken = in_space(space::PARTS);
        let mut reader = Reader::new(value);
        if !matches!(part, Part::Link | Part::Will) {
            self.attach(give)?;
        }
        match part {
            Part::Link => {
                let expiry = reader.optional(Reader::u32).map_err(&broken)?.unwrap_or(0);
                self.link = Some((expiry, reader.optional(Reader::time).map_err(&broken)?));
            }
            Part::Will => self.will = Some(value.to_vec()),
            Part::LoneWill => {
                let client_id = reader.str().map_err(&broken)?;
                let will = reader.will().map_err(&broken)?;
                return give(&Record::WillSet { session, client_id, will });
            }
            Part::Subscription(filter) => {
                let grant = reader.grant().map_err(&broken)?;
                let filter = whole(filter, reader.str().map_err(&broken)?);
                if grant.cursor.is_some() {
                    self.cursors.insert(filter.into());
                }
                return give(&Record::Subscribed { session, filter, grant });
            }
            Part::Cursor(filter) => {
                let after = reader.optional(Reader::str).map_err(&broken)?;
                let filter = whole(filter, reader.str().map_err(&broken)?);
                self.cursors.remove(filter);
                // One that has not begun came with its subscription.
                if after.is_some() {
                    return give(&Record::Cursor { session, filter, after });
                }
            }
            Part::Received(packet_id) => {
                let message = reader.message().map_err(&broken)?;
                return give(&Record::Received { session, packet_id, message });
            }
            Part::Sent(packet_id) => {
                let order = reader.u64().map_err(&broken)?;
                let message = reader.message_id().map_err(&broken)?;
                let qos = reader.u8().and_then(|qos| QoS::try_from(qos).map_err(|_| RecordError::Flags)).map_err(&broken)?;
                self.sent.push((order, packet_id, message, qos));
            }
            Part::Passed(packet_id) => drop(self.passed.insert(packet_id)),
        }
        Ok(())
    }

    /// Link and will are one record.
    fn attach<E>(&mut self, give: &mut Give<'_, E>) -> Result<(), E>
    where
        E: From<ColdError>,
    {
        let Some((expiry, detached_at)) = self.link.take() else {
            return Ok(());
        };
        let session = self.session;
        let bytes = self.will.take();
        let will = bytes.as_deref().map(|bytes| Reader::new(bytes).will()).transpose().map_err(in_space(space::PARTS))?;
        give(&Record::Attached { session, expiry, will })?;
        if let Some(at) = detached_at {
            give(&Record::Detached { session, at, expiry, will_stands: true })?;
        }
        Ok(())
    }

    fn end<E: From<ColdError>>(mut self, give: &mut Give<'_, E>) -> Result<(), E> {
        self.attach(give)?;
        let session = self.session;
        for filter in self.cursors {
            give(&Record::Cursor { session, filter: &filter, after: None })?;
        }
        self.sent.sort_unstable_by_key(|(order, ..)| *order);
        for (_, packet_id, message, qos) in self.sent {
            give(&Record::Sent { session, packet_id, message, qos })?;
            if self.passed.contains(&packet_id) {
                // Which message it was nobody asks any more; named, it could be taken for one that has come back.
                give(&Record::Passed { session, packet_id, message: MessageId(0) })?;
            }
        }
        Ok(())
    }
}

fn whole<'a>(in_key: &'a str, in_value: &'a str) -> &'a str {
    if in_value.is_empty() { in_key } else { in_value }
}

/// Messages that stand beside their entries. The answer: sessions with entries whose messages do not.
fn own_messages<E: From<ColdError>>(cold: &dyn ColdRead, give: &mut Give<'_, E>) -> Result<Vec<SessionNo>, E> {
    let mut counted: Vec<SessionNo> = Vec::new();
    each(cold, space::QUEUE, &[], None, |key, value| {
        let (session, id) = parse_queue_key(key).ok_or(ColdError::Key { space: space::QUEUE })?;
        let queued = parse_queued(session, value)?;
        let Some(message) = queued.message else {
            if counted.last() != Some(&session) {
                counted.push(session);
            }
            return Ok(());
        };
        let message = Reader::new(message).message().map_err(in_space(space::QUEUE))?;
        give(&published(id, message, Vec::from([queued.target])))
    })?;
    Ok(counted)
}

/// Messages that several entries name, with all of them: the lowest identities that fit into memory, then the next ones.
fn shared_messages<E: From<ColdError>>(cold: &dyn ColdRead, sessions: &[SessionNo], give: &mut Give<'_, E>) -> Result<(), E> {
    let mut from = MessageId(0);
    loop {
        let (readers, behind) = lowest_references(cold, sessions, from)?;
        for (id, targets) in readers {
            let value = cold.get(space::MESSAGES, &message_key(id))?.ok_or(ColdError::MessageMissing(id))?;
            let message = Reader::new(&value).message().map_err(in_space(space::MESSAGES))?;
            give(&published(id, message, targets))?;
        }
        match behind {
            Some(next) => from = next,
            None => return Ok(()),
        }
    }
}

/// Who reads which message.
type Readers = BTreeMap<MessageId, Vec<TargetRecord>>;

/// The readers of the lowest messages from `from` on, and the first message that found no room.
fn lowest_references(
    cold: &dyn ColdRead,
    sessions: &[SessionNo],
    from: MessageId,
) -> Result<(Readers, Option<MessageId>), ColdError> {
    let (mut readers, mut count, mut behind) = (Readers::new(), 0, None);
    for &session in sessions {
        let to = match behind {
            Some(behind) => Some(queue_key(session, behind)),
            None => behind_session(session),
        };
        each(cold, space::QUEUE, &queue_key(session, from), to.as_deref(), |key, value| {
            let (_, id) = parse_queue_key(key).ok_or(ColdError::Key { space: space::QUEUE })?;
            if behind.is_some_and(|behind| id >= behind) {
                return Ok(());
            }
            let queued = parse_queued(session, value)?;
            if queued.message.is_none() {
                readers.entry(id).or_default().push(queued.target);
                count += 1;
            }
            while count > REFERENCES_MAX
                && readers.len() > 1
                && let Some((highest, targets)) = readers.pop_last()
            {
                count -= targets.len();
                behind = Some(highest);
            }
            Ok::<_, ColdError>(())
        })?;
    }
    Ok((readers, behind))
}

fn in_space(space: u8) -> impl Fn(RecordError) -> ColdError {
    move |error| ColdError::Value { space, error }
}

/// Visits a range until `visit` fails.
pub(super) fn each<E: From<ColdError>>(
    cold: &dyn ColdRead,
    space: u8,
    from: &[u8],
    to: Option<&[u8]>,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut result = Ok(());
    cold.visit(space, from, to, &mut |key, value| {
        result = visit(key, value);
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    result
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            model::{Live, MemoryCold},
            *,
        },
        *,
    };
    use crate::testing::Rng;

    fn each_record(frame: &[u8], mut each: impl FnMut(&Record<'_>)) {
        let mut rest = frame;
        while !rest.is_empty() {
            each(&Record::decode(&mut rest).unwrap());
        }
    }

    fn fold_in(cold: &mut MemoryCold, frames: &[Vec<u8>]) {
        let mut fold = Fold::new(cold).unwrap();
        for frame in frames {
            each_record(frame, |record| fold.record(record, cold).unwrap());
            fold.end_of_commit();
        }
        cold.write(fold.take_changes());
    }

    fn recovered(cold: &MemoryCold) -> State {
        let mut state = recover(cold).unwrap();
        state.finish(cold).unwrap();
        state.load_queues(cold).unwrap();
        state
    }

    /// Exported, written and read as bytes, and folded with checkpoints wherever chance has them.
    fn copy(cold: &MemoryCold, rng: &mut Rng) -> MemoryCold {
        let mut bytes = Vec::new();
        export(cold, &mut |record| {
            record.encode(&mut bytes);
            Ok::<_, ColdError>(())
        })
        .unwrap();
        let mut copy = MemoryCold::default();
        let mut fold = Fold::new(&copy).unwrap();
        each_record(&bytes, |record| {
            fold.record(record, &copy).unwrap();
            if rng.chance(5) {
                fold.end_of_commit();
                copy.write(fold.take_changes());
            }
        });
        fold.end_of_commit();
        copy.write(fold.take_changes());
        copy
    }

    #[test]
    fn a_copy_and_the_records_behind_it_are_the_same_state() {
        let count = if cfg!(miri) { 2 } else { 150 };
        for seed in 0..count {
            let mut live = Live::new(seed);
            let mut rng = Rng::new(seed ^ 0xE);
            let mut frames: Vec<Vec<u8>> = Vec::new();
            for _ in 0..30 {
                for _ in 0..live.rng.below(25) {
                    live.step();
                }
                frames.push(live.commit().into_iter().flatten().flatten().collect());
            }
            let mut cold = MemoryCold::default();
            let cut = rng.below(frames.len());
            fold_in(&mut cold, &frames[..cut / 2]);
            fold_in(&mut cold, &frames[cut / 2..cut]);

            let mut copy = copy(&cold, &mut rng);

            assert_eq!(recovered(&copy), recovered(&cold), "seed {seed}");
            fold_in(&mut copy, &frames[cut..]);
            fold_in(&mut cold, &frames[cut..]);
            let (copied, original) = (recovered(&copy), recovered(&cold));
            assert_eq!(copied.sessions, original.sessions, "seed {seed}");
            assert_eq!(copied, original, "seed {seed}");
        }
    }

    #[test]
    fn a_message_for_many_is_one_record() {
        let target =
            |no| TargetRecord { session: SessionNo(no), qos: QoS::AtLeastOnce, retain: false, subscription_ids: Vec::new() };
        let payload = [7; 6000];
        let message = MessageRecord { topic: "t", payload: &payload, ..NOTHING };
        let mut bytes = Vec::new();
        for no in 1..=1000 {
            Record::Created { session: SessionNo(no), client_id: "c" }.encode(&mut bytes);
        }
        for id in 2000..2200 {
            published(MessageId(id), message, (1..=1000).map(target).collect()).encode(&mut bytes);
        }
        let mut cold = MemoryCold::default();
        fold_in(&mut cold, &[bytes]);

        let (mut records, mut references) = (0, 0);
        export(&cold, &mut |record| {
            if let Record::Published { targets, message, .. } = record
                && !message.topic.is_empty()
            {
                records += 1;
                references += targets.len();
            }
            Ok::<_, ColdError>(())
        })
        .unwrap();

        // More than is in memory at once.
        assert!(references > REFERENCES_MAX);
        assert_eq!((records, references), (200, 200_000));
    }
}
