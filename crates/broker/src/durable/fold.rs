//! The follower of the journal: records become changes of keys.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    vec::Vec,
};
use core::ops::ControlFlow;

use columba_proto::PacketId;

use super::{
    ahead::Ahead,
    keys::{
        ColdError, ColdRead, HIGHEST, KeyChange, ORDER, Part, behind_session, filter_for_value, get_number, message_key,
        message_value, number, parse_queue_key, parse_queued, parse_session_key, put_optional_str, session_key, space,
    },
    record::{GrantRecord, MessageRecord, Record, TargetRecord, WillRecord},
    window::{Known, Reference, Source, Window},
    wire::{Reader, put_grant, put_optional, put_str, put_u64, put_will},
};
use crate::id::{MessageId, SessionNo};

/// Why a record cannot be taken into the cold store.
pub type FoldError = ColdError;

/// Folds the records of whole commits into changes of keys. Beside the changes it holds only the numbers of the living sessions.
///
/// The caller gives it every commit behind the store's position in order, and now and then, between two commits, takes the changes and writes them with the new
/// position in one batch, before the next record.
#[derive(Debug)]
pub struct Fold {
    sessions: BTreeSet<SessionNo>,
    window: Window,
    ahead: Ahead,
    /// Topics that the window before this one cleared: an older version could still have come. Their marks go with this window.
    cleared: BTreeMap<Box<str>, MessageId>,
    early: Early,
    /// The highest identity seen.
    highest: u64,
    /// The highest one in the store: no greater one is to be looked for there.
    floor: u64,
    /// Counts `Sent` records.
    order: u64,
    /// As it stands in the store.
    order_written: u64,
}

/// Loose ends inside one commit.
#[derive(Debug, Default)]
struct Early {
    /// Messages that left a queue before they came.
    acks: BTreeSet<(SessionNo, MessageId)>,
    /// Messages, counted, for sessions that are not there (yet).
    deliveries: BTreeMap<(SessionNo, MessageId), Reference>,
}

impl Fold {
    /// Begins where the store stands.
    pub fn new(cold: &dyn ColdRead) -> Result<Self, FoldError> {
        let highest = get_number(cold, space::META, HIGHEST)?.unwrap_or(0);
        let order = get_number(cold, space::META, ORDER)?.unwrap_or(0);
        let mut sessions = Vec::new();
        scan(cold, space::SESSIONS, &[], None, |key, _| {
            sessions.push(parse_session_key(key).ok_or(ColdError::Key { space: space::SESSIONS })?);
            Ok(())
        })?;
        let cleared = read_cleared(cold)?;
        Ok(Self {
            // Collected at once from sorted numbers, the tree is dense.
            sessions: sessions.into_iter().collect(),
            window: Window::default(),
            ahead: Ahead::default(),
            cleared,
            early: Early::default(),
            highest,
            floor: highest,
            order,
            order_written: order,
        })
    }

    /// Takes the next record of a commit in.
    pub fn record(&mut self, record: &Record<'_>, cold: &dyn ColdRead) -> Result<(), FoldError> {
        match record {
            Record::Created { session, client_id } => self.create(*session, client_id),
            Record::Attached { session, expiry, will } => {
                self.link(*session, *expiry, None);
                match will {
                    Some(will) => self.put(*session, Part::Will, will_value(will)),
                    None => self.delete(*session, Part::Will),
                }
            }
            Record::Detached { session, at, expiry, will_stands } => {
                self.link(*session, *expiry, Some(at.0));
                if !will_stands {
                    self.delete(*session, Part::Will);
                }
            }
            Record::Deleted { session } => self.end_session(*session, cold)?,
            Record::Subscribed { session, filter, grant } => {
                self.put(*session, Part::Subscription(filter), subscription_value(filter, grant));
                match grant.cursor {
                    Some(_) => self.put(*session, Part::Cursor(filter), cursor_value(filter, None)),
                    None => self.delete(*session, Part::Cursor(filter)),
                }
            }
            Record::Unsubscribed { session, filter } => {
                self.delete(*session, Part::Subscription(filter));
                self.delete(*session, Part::Cursor(filter));
            }
            Record::Cursor { session, filter, after } => match after {
                Some(after) => self.put(*session, Part::Cursor(filter), cursor_value(filter, Some(after))),
                None => self.delete(*session, Part::Cursor(filter)),
            },
            Record::Published { id, message, targets, sets_retained, will_of } => {
                self.publish(*id, &Content::Record(message), targets, *sets_retained, cold)?;
                if let Some(session) = will_of {
                    self.remove_will(*session);
                }
            }
            Record::Received { session, packet_id, message } => {
                self.put_fresh(*session, Part::Received(*packet_id), message_value(message));
            }
            Record::Released { session, packet_id, id, targets, sets_retained } => {
                let part = Part::Received(*packet_id);
                let value = self.window.get(space::PARTS, part.key(*session), cold)?;
                self.delete(*session, part);
                let value = value.ok_or(ColdError::MessageMissing(*id))?;
                self.publish(*id, &Content::Value(value), targets, *sets_retained, cold)?;
            }
            Record::Sent { session, packet_id, message, qos } => {
                self.order += 1;
                let mut value = number(self.order);
                put_u64(&mut value, message.0);
                value.push(*qos as u8);
                self.put_fresh(*session, Part::Sent(*packet_id), value);
            }
            Record::Passed { session, packet_id, message } => {
                self.put_fresh(*session, Part::Passed(*packet_id), Vec::from([1]));
                self.leave(*session, *message, cold)?;
            }
            Record::Settled { session, packet_id, message } => self.settle(*session, *packet_id, *message, cold)?,
            Record::Dropped { session, message } => self.leave(*session, *message, cold)?,
            Record::WillSet { session, client_id, will } => {
                self.see(session.0);
                let mut value = Vec::new();
                put_str(&mut value, client_id);
                put_will(&mut value, will);
                self.put(*session, Part::LoneWill, value);
            }
            Record::WillGone { session } => self.remove_will(*session),
        }
        Ok(())
    }

    /// The commit is complete: what has not found its other half never will.
    pub fn end_of_commit(&mut self) {
        let early = core::mem::take(&mut self.early);
        for ((_, message), entry) in early.deliveries {
            self.window.release(message, entry.source);
        }
    }

    /// About the bytes that `take_changes` would give: the time for a checkpoint comes with them.
    pub fn bytes(&self) -> usize {
        self.window.bytes()
    }

    /// All changes since the last call, to be written in one batch with the position behind the last commit. Called between commits.
    pub fn take_changes(&mut self) -> Vec<KeyChange> {
        debug_assert!(self.early.deliveries.is_empty(), "called between commits");
        self.ahead.clear();
        let marks: BTreeMap<_, _> = self
            .window
            .retained
            .iter()
            .filter(|(_, (_, value))| value.is_none())
            .map(|(topic, (id, _))| (topic.clone(), *id))
            .collect();
        let mut changes = Vec::new();
        for (name, value, before) in [(HIGHEST, self.highest, self.floor), (ORDER, self.order, self.order_written)] {
            if value != before {
                changes.push(KeyChange { space: space::META, key: name.to_vec(), value: Some(number(value)) });
            }
        }
        let old = core::mem::replace(&mut self.cleared, marks);
        for topic in old.into_keys() {
            if !self.cleared.contains_key(&topic) {
                changes.push(KeyChange { space: space::CLEARED, key: topic.into_boxed_bytes().into_vec(), value: None });
            }
        }
        changes.extend(self.window.take());
        self.floor = self.highest;
        self.order_written = self.order;
        changes
    }

    fn create(&mut self, session: SessionNo, client_id: &str) {
        self.see(session.0);
        self.sessions.insert(session);
        self.window.put(space::SESSIONS, session_key(session), client_id.as_bytes().to_vec(), self.maybe_cold(session.0));
        while let Some((&(_, message), _)) =
            self.early.deliveries.range((session, MessageId(0))..=(session, MessageId(u64::MAX))).next()
            && let Some(entry) = self.early.deliveries.remove(&(session, message))
        {
            self.enqueue(session, message, entry);
        }
    }

    /// Whether a client is connected, else since when none is, and for how long the session goes on.
    fn link(&mut self, session: SessionNo, expiry: u32, detached_at: Option<u64>) {
        let mut value = Vec::new();
        put_optional(&mut value, Some(expiry));
        value.push(u8::from(detached_at.is_some()));
        if let Some(at) = detached_at {
            put_u64(&mut value, at);
        }
        self.put(session, Part::Link, value);
    }

    fn end_session(&mut self, session: SessionNo, cold: &dyn ColdRead) -> Result<(), FoldError> {
        self.sessions.remove(&session);
        self.window.delete_session(session);
        if !self.maybe_cold(session.0) {
            return Ok(());
        }
        let from = session_key(session);
        let to = behind_session(session);
        self.window.delete(space::SESSIONS, from.clone(), true);
        let window = &mut self.window;
        scan(cold, space::PARTS, &from, to.as_deref(), |key, _| {
            window.delete(space::PARTS, key.to_vec(), true);
            Ok(())
        })?;
        let mut counted = Vec::new();
        scan(cold, space::QUEUE, &from, to.as_deref(), |key, value| {
            let (_, message) = parse_queue_key(key).ok_or(ColdError::Key { space: space::QUEUE })?;
            if window.is_touched(session, message) {
                return Ok(());
            }
            let queued = parse_queued(session, value)?;
            window.unqueue_cold(session, message);
            if queued.message.is_none() {
                counted.push(message);
            }
            Ok(())
        })?;
        for message in counted {
            self.count(message, cold)?;
            self.window.release(message, Source::Counted);
        }
        Ok(())
    }

    fn publish(
        &mut self,
        id: MessageId,
        message: &Content<'_>,
        targets: &[TargetRecord],
        sets_retained: bool,
        cold: &dyn ColdRead,
    ) -> Result<(), FoldError> {
        self.see(id.0);
        for target in targets {
            self.hold(id, || message.value(), cold)?;
            self.deliver(id, Reference { target: target.clone(), source: Source::Window });
        }
        if sets_retained {
            self.set_retained(id, message, cold)?;
        }
        Ok(())
    }

    /// Puts a message, counted for this, into a queue, unless an earlier record of this commit says that it has left it.
    fn deliver(&mut self, message: MessageId, entry: Reference) {
        let session = entry.target.session;
        if self.early.acks.remove(&(session, message)) {
            self.window.release(message, entry.source);
        } else if self.sessions.contains(&session) || session.is_group() {
            self.enqueue(session, message, entry);
        } else if let Some(before) = self.early.deliveries.insert((session, message), entry) {
            self.window.release(message, before.source);
        }
    }

    fn enqueue(&mut self, session: SessionNo, message: MessageId, entry: Reference) {
        if let Some(surplus) = self.window.enqueue(session, message, entry) {
            self.window.release(message, surplus);
        }
    }

    /// A message leaves a queue.
    fn leave(&mut self, session: SessionNo, message: MessageId, cold: &dyn ColdRead) -> Result<(), FoldError> {
        let source = match self.window.unqueue(session, message) {
            Known::Here(entry) => Some(entry.source),
            Known::Untouched if self.maybe_queued(session, message) => {
                let source = self.ahead.find(session, message, cold)?;
                if let Some(source) = source {
                    self.unqueue_cold(session, message, source, cold)?;
                }
                source
            }
            Known::Gone | Known::Untouched => None,
        };
        match source {
            Some(source) => self.window.release(message, source),
            None => drop(self.early.acks.insert((session, message))),
        }
        Ok(())
    }

    fn settle(
        &mut self,
        session: SessionNo,
        packet_id: PacketId,
        message: Option<MessageId>,
        cold: &dyn ColdRead,
    ) -> Result<(), FoldError> {
        self.delete(session, Part::Sent(packet_id));
        if let Some(message) = message {
            return self.leave(session, message, cold);
        }
        self.delete(session, Part::Passed(packet_id));
        Ok(())
    }

    /// Takes an entry out of a queue in the store. A counted message's count is loaded.
    fn unqueue_cold(
        &mut self,
        session: SessionNo,
        message: MessageId,
        source: Source,
        cold: &dyn ColdRead,
    ) -> Result<(), FoldError> {
        self.window.unqueue_cold(session, message);
        if source == Source::Counted {
            self.count(message, cold)?;
        }
        Ok(())
    }

    /// Holds a message in the window, counted once more. One that the store has too (a message that a group passed on) goes on being counted there.
    fn hold(&mut self, message: MessageId, value: impl FnOnce() -> Vec<u8>, cold: &dyn ColdRead) -> Result<(), FoldError> {
        if self.maybe_cold(message.0)
            && let Entry::Vacant(unknown) = self.window.counts.entry(message)
            && let Some(count) = get_number(cold, space::COUNTS, &message_key(message))?
        {
            unknown.insert(count);
        }
        self.window.hold(message, value);
        Ok(())
    }

    /// Loads the count of a message.
    fn count(&mut self, message: MessageId, cold: &dyn ColdRead) -> Result<(), FoldError> {
        if let Entry::Vacant(unknown) = self.window.counts.entry(message) {
            let count = get_number(cold, space::COUNTS, &message_key(message))?;
            unknown.insert(count.ok_or(ColdError::MessageMissing(message))?);
        }
        Ok(())
    }

    /// The highest identity wins: lanes may write their versions of a topic in another order.
    fn set_retained(&mut self, id: MessageId, message: &Content<'_>, cold: &dyn ColdRead) -> Result<(), FoldError> {
        let (topic, is_clear) = message.topic()?;
        let known = match self.window.retained.get(&*topic) {
            Some((known, _)) => Some(*known),
            None => self.cleared.get(&*topic).copied().max(self.retained_in_store(&topic, id, cold)?),
        };
        if known.is_none_or(|known| known < id) {
            let value = (!is_clear).then(|| {
                let mut value = number(id.0);
                value.extend_from_slice(&message.value());
                value
            });
            self.window.retained.insert(topic, (id, value));
        }
        Ok(())
    }

    /// The version in the store, if it can be as young as `id`.
    fn retained_in_store(&self, topic: &str, id: MessageId, cold: &dyn ColdRead) -> Result<Option<MessageId>, FoldError> {
        if !self.maybe_cold(id.0) {
            return Ok(None);
        }
        Ok(get_number(cold, space::RETAINED, topic.as_bytes())?.map(MessageId))
    }

    fn remove_will(&mut self, session: SessionNo) {
        self.delete(session, Part::Will);
        self.delete(session, Part::LoneWill);
    }

    fn put(&mut self, session: SessionNo, part: Part<'_>, value: Vec<u8>) {
        self.window.put(space::PARTS, part.key(session), value, self.maybe_cold(session.0));
    }

    /// Puts a part that is not there: what was under its identifier has been deleted before.
    fn put_fresh(&mut self, session: SessionNo, part: Part<'_>, value: Vec<u8>) {
        self.window.put(space::PARTS, part.key(session), value, false);
    }

    fn delete(&mut self, session: SessionNo, part: Part<'_>) {
        self.window.delete(space::PARTS, part.key(session), self.maybe_cold(session.0));
    }

    fn see(&mut self, id: u64) {
        self.highest = self.highest.max(id);
    }

    /// Whether the store can have this entry. The place of a group is no identity.
    fn maybe_queued(&self, session: SessionNo, message: MessageId) -> bool {
        self.maybe_cold(message.0) && (session.is_group() || self.maybe_cold(session.0))
    }

    fn maybe_cold(&self, id: u64) -> bool {
        id <= self.floor
    }
}

/// A message on its way into the store.
enum Content<'a> {
    Record(&'a MessageRecord<'a>),
    /// As it stood for a `Received`.
    Value(Vec<u8>),
}

impl Content<'_> {
    fn value(&self) -> Vec<u8> {
        match self {
            Self::Record(message) => message_value(message),
            Self::Value(value) => value.clone(),
        }
    }

    /// Its topic, and whether its payload is empty.
    fn topic(&self) -> Result<(Box<str>, bool), ColdError> {
        match self {
            Self::Record(message) => Ok((message.topic.into(), message.payload.is_empty())),
            Self::Value(value) => {
                let message = Reader::new(value).message();
                let message = message.map_err(|error| ColdError::Value { space: space::PARTS, error })?;
                Ok((message.topic.into(), message.payload.is_empty()))
            }
        }
    }
}

fn will_value(will: &WillRecord<'_>) -> Vec<u8> {
    let mut value = Vec::new();
    put_will(&mut value, will);
    value
}

fn subscription_value(filter: &str, grant: &GrantRecord) -> Vec<u8> {
    let mut value = Vec::new();
    put_grant(&mut value, grant);
    put_str(&mut value, filter_for_value(filter));
    value
}

fn cursor_value(filter: &str, after: Option<&str>) -> Vec<u8> {
    let mut value = Vec::new();
    put_optional_str(&mut value, after);
    put_str(&mut value, filter_for_value(filter));
    value
}

/// The topics cleared in the last window.
pub(super) fn read_cleared(cold: &dyn ColdRead) -> Result<BTreeMap<Box<str>, MessageId>, ColdError> {
    let mut cleared = BTreeMap::new();
    scan(cold, space::CLEARED, &[], None, |key, value| {
        let topic = core::str::from_utf8(key).map_err(|_| ColdError::Key { space: space::CLEARED })?;
        let id = Reader::new(value).message_id().map_err(|error| ColdError::Value { space: space::CLEARED, error })?;
        cleared.insert(topic.into(), id);
        Ok(())
    })?;
    Ok(cleared)
}

/// Visits a range until `visit` fails.
pub(super) fn scan(
    cold: &dyn ColdRead,
    space: u8,
    from: &[u8],
    to: Option<&[u8]>,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), ColdError>,
) -> Result<(), ColdError> {
    scan_some(cold, space, from, to, |key, value| visit(key, value).map(|()| true))
}

/// Visits a range until `visit` fails or wants no more.
pub(super) fn scan_some(
    cold: &dyn ColdRead,
    space: u8,
    from: &[u8],
    to: Option<&[u8]>,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, ColdError>,
) -> Result<(), ColdError> {
    let mut result = Ok(true);
    cold.visit(space, from, to, &mut |key, value| {
        result = visit(key, value);
        if let Ok(true) = result { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    result.map(|_| ())
}
