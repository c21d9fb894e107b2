//! Looks at every key of a cold store: can it be read, does it fit the others, and how much is there.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};

use columba_proto::QoS;

use super::{
    codec::RecordError,
    export::each,
    keys::{
        ColdError, ColdRead, HIGHEST, Part, behind_session, get_number, message_key, parse_queue_key, parse_queued,
        parse_session_key, session_key, space,
    },
    wire::Reader,
};
use crate::id::{MessageId, SessionNo};

/// What a cold store holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Inventory {
    /// Keys of all spaces.
    pub keys: u64,
    /// Bytes of all keys and values.
    pub bytes: u64,
    /// Sessions that outlive their connections.
    pub sessions: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Wills.
    pub wills: u64,
    /// Entries of queues.
    pub queued: u64,
    /// Messages that several entries name.
    pub shared_messages: u64,
    /// Messages received at QoS 2 that await their PUBREL.
    pub received: u64,
    /// Exchanges with subscribers.
    pub in_flight: u64,
    /// Retained messages.
    pub retained: u64,
}

/// Something in a cold store that does not fit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Misfit {
    /// The session that it belongs to.
    pub session: Option<SessionNo>,
    /// What it is.
    pub what: String,
}

/// Reads everything. What does not fit goes to `tell`; what cannot be read at all is an error.
///
/// # Errors
/// What the store says.
pub fn inspect(cold: &dyn ColdRead, tell: &mut dyn FnMut(Misfit)) -> Result<Inventory, ColdError> {
    let mut inspection = Inspection { found: Inventory::default(), sessions: BTreeSet::new(), tell };
    inspection.sessions(cold)?;
    inspection.parts(cold)?;
    let named = inspection.queues(cold)?;
    inspection.messages(cold, &named)?;
    inspection.retained(cold)?;
    inspection.count(cold, space::META)?;
    inspection.count(cold, space::CLEARED)?;
    inspection.highest(cold)?;
    Ok(inspection.found)
}

/// Visits the entries of a session's queue: which message, and how many bytes stand beside the entry (0: the message is shared).
///
/// # Errors
/// What the store says.
pub fn visit_queue(cold: &dyn ColdRead, session: SessionNo, visit: &mut dyn FnMut(MessageId, usize)) -> Result<(), ColdError> {
    each(cold, space::QUEUE, &session_key(session), behind_session(session).as_deref(), |key, value| {
        let (_, id) = parse_queue_key(key).ok_or(ColdError::Key { space: space::QUEUE })?;
        let queued = parse_queued(session, value)?;
        visit(id, queued.message.map_or(0, <[u8]>::len));
        Ok(())
    })
}

struct Inspection<'a> {
    found: Inventory,
    sessions: BTreeSet<SessionNo>,
    tell: &'a mut dyn FnMut(Misfit),
}

impl Inspection<'_> {
    fn misfit(&mut self, session: Option<SessionNo>, what: String) {
        (self.tell)(Misfit { session, what });
    }

    fn weigh(&mut self, key: &[u8], value: &[u8]) {
        self.found.keys += 1;
        self.found.bytes += (key.len() + value.len()) as u64;
    }

    fn count(&mut self, cold: &dyn ColdRead, space: u8) -> Result<(), ColdError> {
        each(cold, space, &[], None, |key, value| {
            self.weigh(key, value);
            Ok(())
        })
    }

    fn sessions(&mut self, cold: &dyn ColdRead) -> Result<(), ColdError> {
        let mut clients: BTreeMap<Box<str>, SessionNo> = BTreeMap::new();
        each(cold, space::SESSIONS, &[], None, |key, value| {
            self.weigh(key, value);
            let Some(session) = parse_session_key(key) else {
                self.misfit(None, "a session has an unreadable key".into());
                return Ok(());
            };
            self.found.sessions += 1;
            self.sessions.insert(session);
            match core::str::from_utf8(value) {
                Err(_) => self.misfit(Some(session), "its client identifier is no text".into()),
                Ok(client_id) => {
                    if let Some(other) = clients.insert(client_id.into(), session) {
                        self.misfit(Some(session), format!("session {} has the same client identifier", other.0));
                    }
                }
            }
            Ok(())
        })
    }

    fn parts(&mut self, cold: &dyn ColdRead) -> Result<(), ColdError> {
        each(cold, space::PARTS, &[], None, |key, value| {
            self.weigh(key, value);
            let Some((session, part)) = Part::parse(key) else {
                self.misfit(None, "a part of a session has an unreadable key".into());
                return Ok(());
            };
            if part != Part::LoneWill && !self.sessions.contains(&session) {
                self.misfit(Some(session), format!("there is no such session, and yet it has {}", name(part)));
            }
            match part {
                Part::Subscription(_) => self.found.subscriptions += 1,
                Part::Will | Part::LoneWill => self.found.wills += 1,
                Part::Received(_) => self.found.received += 1,
                Part::Sent(_) => self.found.in_flight += 1,
                Part::Link | Part::Cursor(_) | Part::Passed(_) => {}
            }
            if let Err(error) = read_part(part, value) {
                self.misfit(Some(session), format!("{} cannot be read: {error}", name(part)));
            }
            Ok(())
        })
    }

    /// The answer: the messages that are named, once for each entry.
    fn queues(&mut self, cold: &dyn ColdRead) -> Result<Vec<MessageId>, ColdError> {
        let mut named = Vec::new();
        each(cold, space::QUEUE, &[], None, |key, value| {
            self.weigh(key, value);
            let Some((session, id)) = parse_queue_key(key) else {
                self.misfit(None, "an entry of a queue has an unreadable key".into());
                return Ok(());
            };
            self.found.queued += 1;
            let queued = parse_queued(session, value);
            if !(session.is_group() || self.sessions.contains(&session)) {
                self.misfit(Some(session), format!("there is no such session, and yet message {} waits for it", id.0));
            }
            match queued.map(|queued| queued.message.map(|message| Reader::new(message).message())) {
                Ok(None) => named.push(id),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) | Err(ColdError::Value { error, .. }) => {
                    self.misfit(Some(session), format!("message {} of its queue cannot be read: {error}", id.0));
                }
                Err(error) => return Err(error),
            }
            Ok(())
        })?;
        named.sort_unstable();
        Ok(named)
    }

    fn messages(&mut self, cold: &dyn ColdRead, named: &[MessageId]) -> Result<(), ColdError> {
        for same in named.chunk_by(|a, b| a == b) {
            let id = same[0];
            if cold.get(space::MESSAGES, &message_key(id))?.is_none() {
                self.misfit(None, format!("message {} is lost, and {} queues name it", id.0, same.len()));
            }
            match get_number(cold, space::COUNTS, &message_key(id)) {
                Ok(Some(count)) if count == same.len() as u64 => {}
                Ok(Some(count)) => {
                    self.misfit(None, format!("message {} counts {count} readers and has {}", id.0, same.len()));
                }
                Ok(None) => self.misfit(None, format!("message {} has no count of its readers", id.0)),
                Err(ColdError::Value { error, .. }) => {
                    self.misfit(None, format!("the count of message {} cannot be read: {error}", id.0));
                }
                Err(error) => return Err(error),
            }
        }
        self.count(cold, space::COUNTS)?;
        each(cold, space::MESSAGES, &[], None, |key, value| {
            self.weigh(key, value);
            self.found.shared_messages += 1;
            let id = key.try_into().ok().map(u64::from_be_bytes).map(MessageId);
            match id {
                None => self.misfit(None, "a message has an unreadable key".into()),
                Some(id) if named.binary_search(&id).is_err() => {
                    self.misfit(None, format!("message {} is in no queue", id.0));
                }
                Some(_) => {}
            }
            if let Err(error) = Reader::new(value).message() {
                self.misfit(None, format!("message {} cannot be read: {error}", id.unwrap_or_default().0));
            }
            Ok(())
        })
    }

    fn retained(&mut self, cold: &dyn ColdRead) -> Result<(), ColdError> {
        each(cold, space::RETAINED, &[], None, |key, value| {
            self.weigh(key, value);
            self.found.retained += 1;
            let mut reader = Reader::new(value);
            match reader.message_id().and_then(|_| reader.message()) {
                Ok(message) if message.topic.as_bytes() == key => {}
                Ok(message) => {
                    let key = String::from_utf8_lossy(key);
                    self.misfit(None, format!("the retained message of topic {key:?} has topic {:?}", message.topic));
                }
                Err(error) => {
                    let key = String::from_utf8_lossy(key);
                    self.misfit(None, format!("the retained message of topic {key:?} cannot be read: {error}"));
                }
            }
            Ok(())
        })
    }

    fn highest(&mut self, cold: &dyn ColdRead) -> Result<(), ColdError> {
        let highest = get_number(cold, space::META, HIGHEST)?.unwrap_or(0);
        if let Some(session) = self.sessions.last().copied().filter(|session| session.0 > highest) {
            self.misfit(Some(session), format!("its number is above {highest}, the highest that was given out"));
        }
        Ok(())
    }
}

fn name(part: Part<'_>) -> String {
    match part {
        Part::Link => "its expiry".into(),
        Part::Will | Part::LoneWill => "its will".into(),
        Part::Subscription(filter) => format!("subscription {filter:?}"),
        Part::Cursor(filter) => format!("the cursor of subscription {filter:?}"),
        Part::Received(id) => format!("the message received as {}", id.get()),
        Part::Sent(id) => format!("the exchange {}", id.get()),
        Part::Passed(id) => format!("the PUBREC of exchange {}", id.get()),
    }
}

pub(super) fn read_part(part: Part<'_>, value: &[u8]) -> Result<(), RecordError> {
    let mut reader = Reader::new(value);
    match part {
        Part::Link => {
            reader.optional(Reader::u32)?;
            reader.optional(Reader::time)?;
        }
        Part::Will => drop(reader.will()?),
        Part::LoneWill => {
            reader.str()?;
            reader.will()?;
        }
        Part::Subscription(_) => {
            reader.grant()?;
            reader.str()?;
        }
        Part::Cursor(_) => {
            reader.optional(Reader::str)?;
            reader.str()?;
        }
        Part::Received(_) => drop(reader.message()?),
        Part::Sent(_) => {
            reader.u64()?;
            reader.message_id()?;
            QoS::try_from(reader.u8()?).map_err(|_| RecordError::Flags)?;
        }
        Part::Passed(_) => drop(reader.u8()?),
    }
    reader.end()
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

    fn filled(seed: u64) -> MemoryCold {
        let mut live = Live::new(seed);
        for _ in 0..600 {
            live.step();
        }
        let mut cold = MemoryCold::default();
        let mut fold = Fold::new(&cold).unwrap();
        for bytes in live.commit().into_iter().flatten() {
            fold.record(&Record::decode(&mut &*bytes).unwrap(), &cold).unwrap();
        }
        fold.end_of_commit();
        cold.write(fold.take_changes());
        cold
    }

    fn misfits(cold: &MemoryCold) -> Vec<Misfit> {
        let mut misfits = Vec::new();
        inspect(cold, &mut |misfit| misfits.push(misfit)).unwrap();
        misfits
    }

    #[test]
    fn what_the_fold_wrote_fits() {
        for seed in 0..40 {
            let cold = filled(seed);

            let mut count = 0;
            let found = inspect(&cold, &mut |_| count += 1).unwrap();

            assert_eq!(misfits(&cold), [], "seed {seed}");
            assert_eq!(found.keys, cold.0.len() as u64);
            let keys = |space| cold.keys(space) as u64;
            assert_eq!((found.sessions, found.queued), (keys(space::SESSIONS), keys(space::QUEUE)));
            assert_eq!((found.retained, found.shared_messages), (keys(space::RETAINED), keys(space::MESSAGES)));
        }
    }

    #[test]
    fn a_key_that_is_lost_is_missed_wherever_others_name_it() {
        let (mut seen, mut all) = ([0; 8], [0; 8]);
        for seed in 0..10 {
            let cold = filled(seed);
            for (space, key) in cold.0.keys() {
                let mut less = cold.clone();
                less.0.remove(&(*space, key.clone()));
                all[usize::from(*space)] += 1;
                seen[usize::from(*space)] += usize::from(!misfits(&less).is_empty());
            }
        }
        assert!(all[usize::from(space::MESSAGES)] > 0, "{all:?}");
        assert_eq!(seen[usize::from(space::MESSAGES)], all[usize::from(space::MESSAGES)]);
        assert_eq!(seen[usize::from(space::COUNTS)], all[usize::from(space::COUNTS)]);
        assert!(seen[usize::from(space::SESSIONS)] > all[usize::from(space::SESSIONS)] / 2, "{seen:?} of {all:?}");
    }
}
