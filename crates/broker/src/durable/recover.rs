//! From the cold store back into memory: everything but the queues at start, windows of a queue later.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use core::ops::ControlFlow;

use columba_proto::{PacketId, QoS};

use super::{
    codec::RecordError,
    fold::{read_cleared, scan},
    keys::{
        ColdError, ColdRead, HIGHEST, Part, behind_session, get_number, message_key, parse_queue_key, parse_queued,
        parse_session_key, queue_key, space,
    },
    record::TargetRecord,
    state::{ColdQueue, InFlight, RecoveredCursor, RecoveredSession, RecoveredWill, State, StoredWill, delivery},
    wire::Reader,
};
use crate::{
    id::{MessageId, SessionNo},
    message::Message,
    retained::Kept,
    seam::{Delivery, Loaded, StoredRetained},
    session::queue::Stock,
};

/// The cold store cannot be read.
pub type RecoverError = ColdError;

/// Loads all state but the queues. The caller applies the journal behind the store's position to it, commit by commit, and ends with [`State::finish`].
pub fn recover(cold: &dyn ColdRead) -> Result<State, RecoverError> {
    recover_within(cold, usize::MAX)
}

/// The same with about `retained_bytes_max` bytes of retained messages; of the others it only notes that they are there.
pub fn recover_within(cold: &dyn ColdRead, retained_bytes_max: usize) -> Result<State, RecoverError> {
    let mut state = State { highest: get_number(cold, space::META, HIGHEST)?.unwrap_or(0), ..State::default() };
    scan(cold, space::SESSIONS, &[], None, |key, value| {
        let no = parse_session_key(key).ok_or(ColdError::Key { space: space::SESSIONS })?;
        let client_id = core::str::from_utf8(value).map_err(|_| ColdError::Key { space: space::SESSIONS })?;
        state.sessions.insert(no, RecoveredSession::new(no, client_id));
        Ok(())
    })?;
    load_parts(cold, &mut state)?;
    find_queues(cold, &mut state)?;
    let mut bytes = 0;
    scan(cold, space::RETAINED, &[], None, |_, value| {
        let mut reader = Reader::new(value);
        let (id, message) = reader.message_id().and_then(|id| Ok((id, reader.message()?))).map_err(in_space(space::RETAINED))?;
        let topic: Arc<str> = message.topic.into();
        let kept = if bytes < retained_bytes_max {
            let message = Arc::new(message.to_message());
            bytes += message.size();
            Kept::Here(message)
        } else {
            Kept::Cold { expires: message.expires }
        };
        state.retained.insert(topic, (id, kept));
        Ok(())
    })?;
    state.cleared = read_cleared(cold)?.into_iter().map(|(topic, id)| (topic.into(), id)).collect();
    Ok(state)
}

/// Bytes of messages after which a window ends, so that a window of big messages does not take much memory.
const WINDOW_BYTES_MAX: usize = 1 << 20;

/// Entries of a queue that are measured at a time.
const MEASURED_AT_ONCE: usize = 4096;

/// Reads up to `count` entries of a queue behind `after`, in order; fewer where they are big, but at least one. What was settled since the last checkpoint is
/// still among them.
pub fn load_window(cold: &dyn ColdRead, session: SessionNo, after: MessageId, count: usize) -> Result<Loaded, RecoverError> {
    let mut read: Vec<(MessageId, TargetRecord, Option<Arc<Message>>)> = Vec::new();
    let mut last = true;
    if let Some(from) = after.0.checked_add(1) {
        let (mut result, mut bytes) = (Ok(()), 0);
        cold.visit(space::QUEUE, &queue_key(session, MessageId(from)), behind_session(session).as_deref(), &mut |key, value| {
            last = read.len() < count && bytes < WINDOW_BYTES_MAX;
            if !last {
                return ControlFlow::Break(());
            }
            bytes += value.len();
            result = parse_entry(key, value).map(|entry| read.push(entry));
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        result?;
    }
    let (mut entries, mut bytes) = (Vec::with_capacity(read.len()), 0);
    for (id, target, message) in read {
        if bytes >= WINDOW_BYTES_MAX {
            last = false;
            break;
        }
        let message = match message {
            Some(message) => Some(message),
            None => counted_message(cold, session, id)?,
        };
        if let Some(message) = message {
            bytes += message.size();
            entries.push(delivery(id, message, &target));
        }
    }
    Ok(Loaded { session, entries, last })
}

impl State {
    /// The replay is complete: fetches what it only named (messages in flight), and forgets what only mattered to it.
    pub fn finish(&mut self, cold: &dyn ColdRead) -> Result<(), RecoverError> {
        self.cleared.clear();
        for session in self.sessions.values_mut() {
            let named: Vec<_> = session.in_flight.iter().collect();
            for (packet_id, exchange) in named {
                let InFlight::Publish { message, .. } = exchange else {
                    continue;
                };
                if session.queue.contains_key(&message) {
                    continue;
                }
                let stays = session.cold.as_ref().is_some_and(|cold| !cold.acked.contains(&message));
                match if stays { load_entry(cold, session.no, message)? } else { None } {
                    Some((target, stored)) => session.take_from_cold(delivery(message, stored, &target)),
                    // It left the queue otherwise (dropped, moved): nothing to send again.
                    None => drop(session.in_flight.remove(packet_id)),
                }
            }
        }
        Ok(())
    }

    /// Counts what waits for each session and group, which takes a look at every entry of every queue: for queues with limits.
    pub fn measure_queues(&mut self, cold: &dyn ColdRead) -> Result<(), RecoverError> {
        for session in self.sessions.values_mut() {
            let sent: BTreeSet<_> = session
                .in_flight
                .iter()
                .filter_map(|(_, it)| match it {
                    InFlight::Publish { message, .. } => Some(message),
                    InFlight::Pubrel => None,
                })
                .collect();
            session.stock = Some(measure(cold, session.no, &session.queue, session.cold.as_ref(), &sent)?);
        }
        for (&no, group) in &mut self.groups {
            group.stock = Some(measure(cold, no, &group.queue, group.cold.as_ref(), &BTreeSet::new())?);
        }
        Ok(())
    }

    /// Brings all queues and retained messages into memory: for tools and comparisons.
    pub fn load_queues(&mut self, cold: &dyn ColdRead) -> Result<(), RecoverError> {
        for (topic, (_, kept)) in &mut self.retained {
            if let (Kept::Cold { .. }, Some((_, message))) = (&*kept, load_retained(cold, topic)?) {
                *kept = Kept::Here(message);
            }
        }
        for session in self.sessions.values_mut() {
            if let Some(part) = session.cold.take() {
                load_queue(cold, session.no, &part, |entry| drop(session.queue.insert(entry.id, entry)))?;
            }
        }
        for (&no, group) in &mut self.groups {
            if let Some(part) = group.cold.take() {
                load_queue(cold, no, &part, |entry| drop(group.queue.insert(entry.id, entry)))?;
            }
        }
        self.groups.retain(|_, group| !group.queue.is_empty());
        Ok(())
    }
}

/// What waits in a queue, without what was sent.
fn measure(
    cold: &dyn ColdRead,
    no: SessionNo,
    queue: &BTreeMap<MessageId, Delivery>,
    part: Option<&ColdQueue>,
    sent: &BTreeSet<MessageId>,
) -> Result<Stock, RecoverError> {
    let mut stock = Stock::default();
    queue.values().filter(|delivery| !sent.contains(&delivery.id)).for_each(|delivery| stock.add(&delivery.message));
    let Some(part) = part else { return Ok(stock) };
    let mut after = MessageId(0);
    loop {
        let Loaded { entries, last, .. } = load_window(cold, no, after, MEASURED_AT_ONCE)?;
        after = entries.last().map_or(part.up_to, |entry| entry.id);
        let waits = |entry: &&Delivery| entry.id <= part.up_to && !part.acked.contains(&entry.id) && !sent.contains(&entry.id);
        entries.iter().filter(waits).for_each(|entry| stock.add(&entry.message));
        if last || after >= part.up_to {
            return Ok(stock);
        }
    }
}

/// Reads a whole queue.
fn load_queue(
    cold: &dyn ColdRead,
    session: SessionNo,
    part: &ColdQueue,
    mut take: impl FnMut(Delivery),
) -> Result<(), RecoverError> {
    let mut after = MessageId(0);
    loop {
        let Loaded { entries, last, .. } = load_window(cold, session, after, usize::MAX)?;
        after = entries.last().map_or(part.up_to, |entry| entry.id);
        entries.into_iter().filter(|entry| entry.id <= part.up_to && !part.acked.contains(&entry.id)).for_each(&mut take);
        if last {
            return Ok(());
        }
    }
}

/// Reads the retained message of a topic.
pub fn load_retained(cold: &dyn ColdRead, topic: &str) -> Result<StoredRetained, RecoverError> {
    let Some(value) = cold.get(space::RETAINED, topic.as_bytes())? else {
        return Ok(None);
    };
    let mut reader = Reader::new(&value);
    let (id, message) = reader.message_id().and_then(|id| Ok((id, reader.message()?))).map_err(in_space(space::RETAINED))?;
    Ok(Some((id, Arc::new(message.to_message()))))
}

impl RecoveredSession {
    fn take_from_cold(&mut self, delivery: Delivery) {
        if let Some(cold) = &mut self.cold {
            cold.acked.insert(delivery.id);
        }
        self.queue.insert(delivery.id, delivery);
    }
}

/// Which exchange a `Sent` part begins.
struct Sent {
    order: u64,
    message: MessageId,
    qos: QoS,
}

fn load_parts(cold: &dyn ColdRead, state: &mut State) -> Result<(), RecoverError> {
    // A session's parts are neighbours, and PUBRECs stand behind all PUBLISHes.
    let mut sent: BTreeMap<(SessionNo, PacketId), Sent> = BTreeMap::new();
    let mut passed: Vec<(SessionNo, PacketId)> = Vec::new();
    scan(cold, space::PARTS, &[], None, |key, value| {
        let (no, part) = Part::parse(key).ok_or(ColdError::Key { space: space::PARTS })?;
        let mut reader = Reader::new(value);
        if part == Part::LoneWill {
            let client_id = reader.str().map_err(in_space(space::PARTS))?;
            let will = StoredWill::from(&reader.will().map_err(in_space(space::PARTS))?);
            state.wills.insert(no, RecoveredWill { no, client_id: client_id.into(), will });
            return Ok(());
        }
        let session = state.sessions.get_mut(&no).ok_or(ColdError::SessionMissing(no))?;
        match part {
            Part::Sent(packet_id) => drop(sent.insert((no, packet_id), read_sent(&mut reader).map_err(in_space(space::PARTS))?)),
            Part::Passed(packet_id) => passed.push((no, packet_id)),
            Part::Link | Part::Will | Part::LoneWill | Part::Subscription(_) | Part::Cursor(_) | Part::Received(_) => {
                session.read_part(part, &mut reader).map_err(in_space(space::PARTS))?;
            }
        }
        Ok(())
    })?;
    for ((no, packet_id), it) in sent {
        if let Some(session) = state.sessions.get_mut(&no) {
            session.in_flight.insert(it.order, packet_id, InFlight::Publish { message: it.message, qos: it.qos });
        }
    }
    for (no, packet_id) in passed {
        if let Some(exchange) = state.sessions.get_mut(&no).and_then(|session| session.in_flight.get_mut(packet_id)) {
            *exchange = InFlight::Pubrel;
        }
    }
    Ok(())
}

fn read_sent(reader: &mut Reader<'_>) -> Result<Sent, RecordError> {
    let order = reader.u64()?;
    let message = reader.message_id()?;
    let qos = QoS::try_from(reader.u8()?).map_err(|_| RecordError::Flags)?;
    Ok(Sent { order, message, qos })
}

impl RecoveredSession {
    fn read_part(&mut self, part: Part<'_>, value: &mut Reader<'_>) -> Result<(), RecordError> {
        match part {
            Part::Link => {
                self.expiry = value.optional(Reader::u32)?.unwrap_or(0);
                self.detached_at = value.optional(Reader::time)?;
                self.attached = self.detached_at.is_none();
            }
            Part::Will => self.will = Some(StoredWill::from(&value.will()?)),
            Part::Subscription(filter) => {
                let grant = value.grant()?;
                let long = value.str()?;
                let filter = if long.is_empty() { filter } else { long };
                self.subscriptions.insert(filter.into(), grant);
            }
            Part::Cursor(filter) => {
                let after = value.optional(Reader::str)?;
                let long = value.str()?;
                let filter = if long.is_empty() { filter } else { long };
                // Subscriptions stand before cursors.
                let newest = self.subscriptions.get(filter).and_then(|grant| grant.cursor).unwrap_or_default();
                self.cursors.insert(filter.into(), RecoveredCursor { after: after.map(Into::into), newest });
            }
            Part::Received(packet_id) => {
                self.received.insert(packet_id, Arc::new(value.message()?.to_message()));
            }
            Part::LoneWill | Part::Sent(_) | Part::Passed(_) => {}
        }
        Ok(())
    }
}

/// Marks the sessions and groups that have entries in the store, skipping from session to session.
fn find_queues(cold: &dyn ColdRead, state: &mut State) -> Result<(), RecoverError> {
    let mut from = Some(Vec::new());
    while let Some(start) = from.take() {
        let mut found = None;
        cold.visit(space::QUEUE, &start, None, &mut |key, _| {
            found = Some(parse_queue_key(key));
            ControlFlow::Break(())
        })?;
        let Some(key) = found else {
            break;
        };
        let (no, _) = key.ok_or(ColdError::Key { space: space::QUEUE })?;
        let cold = Some(ColdQueue { up_to: MessageId(state.highest), ..ColdQueue::default() });
        match state.sessions.get_mut(&no) {
            Some(session) => session.cold = cold,
            None if no.is_group() => state.groups.entry(no).or_default().cold = cold,
            None => return Err(ColdError::SessionMissing(no)),
        }
        from = behind_session(no);
    }
    Ok(())
}

fn load_entry(
    cold: &dyn ColdRead,
    session: SessionNo,
    id: MessageId,
) -> Result<Option<(TargetRecord, Arc<Message>)>, RecoverError> {
    let key = queue_key(session, id);
    let Some(value) = cold.get(space::QUEUE, &key)? else {
        return Ok(None);
    };
    let (_, target, message) = parse_entry(&key, &value)?;
    let message = match message {
        Some(message) => Some(message),
        None => counted_message(cold, session, id)?,
    };
    Ok(message.map(|message| (target, message)))
}

fn parse_entry(key: &[u8], value: &[u8]) -> Result<(MessageId, TargetRecord, Option<Arc<Message>>), ColdError> {
    let (session, id) = parse_queue_key(key).ok_or(ColdError::Key { space: space::QUEUE })?;
    let queued = parse_queued(session, value)?;
    let message = queued.message.map(|value| parse_message(space::QUEUE, value)).transpose()?;
    Ok((id, queued.target, message))
}

/// The message of an entry that has it not beside itself. `None`: a checkpoint has taken both away in between.
fn counted_message(cold: &dyn ColdRead, session: SessionNo, id: MessageId) -> Result<Option<Arc<Message>>, ColdError> {
    if let Some(value) = cold.get(space::MESSAGES, &message_key(id))? {
        return parse_message(space::MESSAGES, &value).map(Some);
    }
    match cold.get(space::QUEUE, &queue_key(session, id))? {
        Some(_) => Err(ColdError::MessageMissing(id)),
        None => Ok(None),
    }
}

fn parse_message(space: u8, value: &[u8]) -> Result<Arc<Message>, ColdError> {
    let mut reader = Reader::new(value);
    let message = reader.message().and_then(|message| reader.end().map(|()| message));
    message.map(|message| Arc::new(message.to_message())).map_err(in_space(space))
}

fn in_space(space: u8) -> impl Fn(RecordError) -> ColdError {
    move |error| ColdError::Value { space, error }
}
