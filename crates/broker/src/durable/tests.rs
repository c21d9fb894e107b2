//! The two folds of a journal against each other: in memory, and through the cold store at any cut.

use alloc::{collections::BTreeMap, string::ToString, vec::Vec};
use core::cell::Cell;

use columba_proto::QoS;

use super::{
    model::{Commit, Live, MemoryCold},
    *,
};
use crate::{
    id::{GroupKey, MessageId, SessionNo},
    testing::Rng,
};

/// The commit's records with the shards' parts in a random order, as one run of bytes.
fn frame(commit: &Commit, rng: &mut Rng) -> Vec<u8> {
    let mut parts: Vec<_> = commit.iter().collect();
    for last in (1..parts.len()).rev() {
        parts.swap(last, rng.below(last + 1));
    }
    parts.into_iter().flatten().flatten().copied().collect()
}

fn each_record(frame: &[u8], mut each: impl FnMut(&Record<'_>)) {
    let mut rest = frame;
    while !rest.is_empty() {
        each(&Record::decode(&mut rest).unwrap());
    }
}

fn replay(state: &mut State, frames: &[Vec<u8>], seed: u64) {
    for frame in frames {
        each_record(frame, |record| {
            state.apply(record).unwrap_or_else(|error| panic!("seed {seed}: {error} at {record:?}"));
        });
        state.end_of_commit();
    }
}

fn finished(mut state: State, cold: &MemoryCold) -> State {
    state.finish(cold).unwrap();
    state.load_queues(cold).unwrap();
    state
}

fn same(a: &State, b: &State, context: &str) {
    assert_eq!(a.sessions.keys().collect::<Vec<_>>(), b.sessions.keys().collect::<Vec<_>>(), "{context}: sessions");
    for (no, it) in &a.sessions {
        let other = &b.sessions[no];
        assert_eq!(it.queue.keys().collect::<Vec<_>>(), other.queue.keys().collect::<Vec<_>>(), "{context}: queue of {no:?}");
        assert_eq!(it, other, "{context}: session {no:?}");
    }
    assert_eq!(a.retained, b.retained, "{context}: retained");
    assert_eq!(a.groups, b.groups, "{context}: groups");
    assert_eq!(a, b, "{context}");
}

fn agrees_with_the_broker(state: &State, live: &Live, context: &str) {
    let queues: BTreeMap<_, Vec<_>> = state.sessions.iter().map(|(no, it)| (*no, it.queue.keys().copied().collect())).collect();
    let expected = live.sessions.iter().map(|(no, it)| (*no, it.queue.keys().copied().collect())).collect();
    assert_eq!(queues, expected, "{context}: queues");
    for (no, it) in &live.sessions {
        let exchanges: Vec<_> = state.sessions[no].in_flight.iter().collect();
        let expected = it.in_flight.iter().map(|(packet_id, message, qos, passed)| {
            let publish = InFlight::Publish { message: *message, qos: *qos };
            (*packet_id, if *passed { InFlight::Pubrel } else { publish })
        });
        assert_eq!(exchanges, expected.collect::<Vec<_>>(), "{context}: in flight of {no:?}");
    }
    let groups: Vec<_> = state.groups.iter().flat_map(|(no, it)| it.queue.keys().map(|id| (*no, *id))).collect();
    assert_eq!(groups, live.groups.iter().copied().collect::<Vec<_>>(), "{context}: groups");
    let retained: BTreeMap<_, _> = state
        .retained
        .iter()
        .map(|(topic, (id, it))| (&**topic, (*id, it.message().expect("few enough for memory").payload().to_vec())))
        .collect();
    let expected = live.retained.iter().filter(|(_, (_, payload))| !payload.is_empty());
    assert_eq!(
        retained,
        expected.map(|(topic, (id, payload))| (*topic, (*id, payload.clone().into_bytes()))).collect(),
        "{context}: retained"
    );
}

fn windows_come_in_order(cold: &MemoryCold, rng: &mut Rng, context: &str) {
    let mut queues: BTreeMap<SessionNo, Vec<MessageId>> = BTreeMap::new();
    for (_, key) in cold.0.keys().filter(|(space, _)| *space == space::QUEUE) {
        let (session, message) = keys::parse_queue_key(key).unwrap();
        queues.entry(session).or_default().push(message);
    }
    for (session, expected) in queues {
        let (mut read, count) = (Vec::new(), 1 + rng.below(5));
        loop {
            let after = read.last().copied().unwrap_or_default();
            let loaded = load_window(cold, session, after, count).unwrap();
            assert!(loaded.entries.len() <= count, "{context}");
            read.extend(loaded.entries.iter().map(|entry| entry.id));
            if loaded.last {
                break;
            }
        }
        assert_eq!(read, expected, "{context}: windows of {session:?}");
    }
}

#[test]
fn the_cold_store_and_the_tail_are_the_whole_journal_at_any_cut() {
    let count = if cfg!(miri) { 2 } else { 300 };
    for seed in 0..count {
        story(seed);
    }
}

fn story(seed: u64) {
    let context = &*alloc::format!("seed {seed}");
    let mut live = Live::new(seed);
    let mut rng = Rng::new(seed ^ 0xDEAD);
    let mut frames: Vec<Vec<u8>> = Vec::new();
    let mut others: Vec<Vec<u8>> = Vec::new();
    let mut cold = MemoryCold::default();
    let mut fold = Fold::new(&cold).unwrap();
    let mut cut = 0;

    for _ in 0..40 {
        for _ in 0..rng.below(25) {
            live.step();
        }
        let records = live.commit();
        frames.push(frame(&records, &mut rng));
        others.push(frame(&records, &mut rng));
        if rng.chance(30) {
            checkpoint(&mut fold, &mut cold, &frames[cut..]);
            cut = frames.len();
            windows_come_in_order(&cold, &mut rng, context);
            if rng.chance(30) {
                fold = Fold::new(&cold).unwrap();
            }
        }
        if rng.chance(15) {
            let mut recovered = recover(&cold).unwrap();
            replay(&mut recovered, &frames[cut..], seed);
            let mut whole = State::default();
            replay(&mut whole, &frames, seed);
            same(&finished(recovered, &cold), &finished(whole, &MemoryCold::default()), context);
        }
    }
    for _ in 0..2 {
        let records = live.commit();
        frames.push(frame(&records, &mut rng));
        others.push(frame(&records, &mut rng));
    }

    let mut whole = State::default();
    replay(&mut whole, &frames, seed);
    let whole = finished(whole, &MemoryCold::default());
    agrees_with_the_broker(&whole, &live, context);
    let mut other = State::default();
    replay(&mut other, &others, seed);
    same(&whole, &finished(other, &MemoryCold::default()), &(context.to_string() + " in another order of shards"));

    live.end_all();
    frames.push(frame(&live.commit(), &mut rng));
    checkpoint(&mut fold, &mut cold, &frames[cut..]);
    for space in [space::SESSIONS, space::PARTS, space::QUEUE, space::MESSAGES, space::COUNTS] {
        assert_eq!(cold.keys(space), 0, "{context}: something is left in space {space} of sessions that are gone");
    }
    checkpoint(&mut fold, &mut cold, &[]);
    assert_eq!(cold.keys(space::CLEARED), 0, "{context}");
    assert_eq!(fold.take_changes(), [], "{context}");
}

fn checkpoint(fold: &mut Fold, cold: &mut MemoryCold, frames: &[Vec<u8>]) {
    for frame in frames {
        each_record(frame, |record| fold.record(record, &*cold).unwrap());
        fold.end_of_commit();
    }
    cold.write(fold.take_changes());
}

/// A fold with its store, fed record by record.
struct Follower {
    fold: Fold,
    cold: MemoryCold,
}

impl Follower {
    fn new() -> Self {
        let cold = MemoryCold::default();
        Self { fold: Fold::new(&cold).unwrap(), cold }
    }

    fn commit(&mut self, records: &[Record<'_>]) {
        for record in records {
            self.fold.record(record, &self.cold).unwrap();
        }
        self.fold.end_of_commit();
    }

    fn checkpoint(&mut self) {
        let changes = self.fold.take_changes();
        self.cold.write(changes);
    }
}

fn created(no: u64) -> Record<'static> {
    Record::Created { session: SessionNo(no), client_id: "c" }
}

fn published(id: u64, payload: &[u8], to: impl IntoIterator<Item = u64>) -> Record<'_> {
    let target = |no| TargetRecord { session: SessionNo(no), qos: QoS::AtLeastOnce, retain: false, subscription_ids: Vec::new() };
    let message = MessageRecord { topic: "t", qos: QoS::AtLeastOnce, retain: false, expires: None, properties: &[], payload };
    Record::Published {
        id: MessageId(id),
        message,
        targets: to.into_iter().map(target).collect(),
        sets_retained: false,
        will_of: None,
    }
}

fn dropped(no: u64, message: u64) -> Record<'static> {
    Record::Dropped { session: SessionNo(no), message: MessageId(message) }
}

#[test]
fn a_payload_for_many_is_stored_once_and_goes_with_its_last_reader() {
    let mut follower = Follower::new();
    let payload = [7; 3000];
    follower.commit(&[created(1), created(2), created(3), published(10, &payload, 1..=3)]);
    follower.checkpoint();
    assert_eq!((follower.cold.keys(space::QUEUE), follower.cold.keys(space::MESSAGES)), (3, 1));

    follower.commit(&[dropped(1, 10), dropped(2, 10)]);
    follower.checkpoint();
    assert_eq!(load_window(&follower.cold, SessionNo(3), MessageId(0), 9).unwrap().entries[0].message.payload(), payload);

    follower.commit(&[dropped(3, 10)]);
    follower.checkpoint();
    assert_eq!(follower.cold.keys(space::MESSAGES) + follower.cold.keys(space::COUNTS) + follower.cold.keys(space::QUEUE), 0);
}

#[test]
fn what_a_group_has_is_in_the_store_and_goes_when_a_member_has_it() {
    let mut follower = Follower::new();
    let place = GroupKey::of("$share/g/t").place();
    follower.commit(&[created(1), published(10, b"x", [1, place.0]), published(11, b"y", [place.0])]);
    follower.checkpoint();
    let mut state = recover(&follower.cold).unwrap();
    state.load_queues(&follower.cold).unwrap();
    assert_eq!(state.groups[&place].queue.keys().copied().collect::<Vec<_>>(), [MessageId(10), MessageId(11)]);
    assert!(state.groups[&place].queue.values().all(|delivery| delivery.claim.place() == Some(place)));

    follower.commit(&[Record::Deleted { session: SessionNo(1) }, dropped(place.0, 10)]);
    follower.checkpoint();
    let mut state = recover(&follower.cold).unwrap();
    for record in [dropped(place.0, 11), published(12, b"z", [place.0])] {
        state.apply(&record).unwrap();
    }
    state.end_of_commit();
    state.measure_queues(&follower.cold).unwrap();
    assert_eq!(state.groups[&place].stock.map(|stock| stock.messages), Some(1));
    state.load_queues(&follower.cold).unwrap();
    assert_eq!(state.groups[&place].queue.keys().copied().collect::<Vec<_>>(), [MessageId(12)]);
    follower.commit(&[dropped(place.0, 11)]);
    follower.checkpoint();
    assert_eq!(follower.cold.keys(space::MESSAGES) + follower.cold.keys(space::COUNTS) + follower.cold.keys(space::QUEUE), 0);
}

#[test]
fn a_window_of_big_messages_is_shorter() {
    let mut follower = Follower::new();
    let payload = alloc::vec![7; 400_000];
    follower.commit(&[created(1), created(2)]);
    for id in 10..20 {
        // Every second one stands in two queues.
        follower.commit(&[published(id, &payload, 1..=1 + id % 2)]);
    }
    follower.checkpoint();

    let (mut read, mut windows, mut after) = (0, 0, MessageId(0));
    loop {
        let loaded = load_window(&follower.cold, SessionNo(1), after, 64).unwrap();
        (read, windows) = (read + loaded.entries.len(), windows + 1);
        if loaded.last {
            break;
        }
        after = loaded.entries.last().unwrap().id;
    }

    assert_eq!((read, windows), (10, 4));
    let mut state = recover(&follower.cold).unwrap();
    state.load_queues(&follower.cold).unwrap();
    assert_eq!(state.sessions[&SessionNo(1)].queue.len(), 10);
}

#[test]
fn what_comes_and_goes_between_two_checkpoints_is_never_written() {
    let mut follower = Follower::new();
    follower.commit(&[created(1)]);
    follower.checkpoint();

    for id in 10..1000 {
        follower.commit(&[published(id, b"x", [1]), dropped(1, id)]);
    }

    assert_eq!(follower.fold.take_changes().len(), 1, "the highest identity and nothing else");
}

/// Counts how often the store is asked.
struct Counted<'a> {
    cold: &'a MemoryCold,
    asked: Cell<usize>,
}

impl ColdRead for Counted<'_> {
    fn get(&self, space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        self.asked.set(self.asked.get() + 1);
        self.cold.get(space, key)
    }

    fn visit(&self, space: u8, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), ColdError> {
        self.asked.set(self.asked.get() + 1);
        self.cold.visit(space, from, to, visit)
    }
}

#[test]
fn what_leaves_queues_in_their_order_is_not_looked_up_one_by_one() {
    const SESSIONS: u64 = 3;
    const MESSAGES: u64 = 3000;
    let mut follower = Follower::new();
    let sessions: Vec<_> = (1..=SESSIONS).map(created).collect();
    follower.commit(&sessions);
    for id in 0..MESSAGES {
        follower.commit(&[published(10 + id, b"x", [1 + id % SESSIONS])]);
    }
    follower.checkpoint();

    let cold = Counted { cold: &follower.cold, asked: Cell::new(0) };
    for id in 0..MESSAGES {
        follower.fold.record(&dropped(1 + id % SESSIONS, 10 + id), &cold).unwrap();
        follower.fold.end_of_commit();
    }

    assert!(cold.asked.get() <= 30, "asked {} times", cold.asked.get());
    follower.checkpoint();
    assert_eq!(follower.cold.keys(space::QUEUE), 0);
}

#[test]
fn what_leaves_queues_in_no_order_is_found_too_and_nothing_twice() {
    const MESSAGES: u64 = 500;
    let seed = 7;
    let mut rng = Rng::new(seed);
    let mut follower = Follower::new();
    follower.commit(&[created(1), created(2)]);
    // Every third message stands in both queues and is counted.
    let payload = [7; 3000];
    for id in 0..MESSAGES {
        follower.commit(&[published(10 + id, &payload, 1..=1 + u64::from(id % 3 == 0))]);
    }
    follower.checkpoint();

    let mut left: Vec<_> = (0..MESSAGES).map(|id| 10 + id).collect();
    while !left.is_empty() {
        let message = left.swap_remove(rng.below(left.len()));
        follower.commit(&[dropped(1, message)]);
        if rng.chance(2) {
            follower.checkpoint();
            // Once more: it is not there, neither in the store nor in what was read ahead.
            follower.commit(&[dropped(1, message)]);
        }
    }
    follower.checkpoint();

    let in_both = (0..MESSAGES).step_by(3).count();
    assert_eq!((follower.cold.keys(space::QUEUE), follower.cold.keys(space::MESSAGES)), (in_both, in_both), "seed {seed}");
    for id in (0..MESSAGES).step_by(3) {
        follower.commit(&[dropped(2, 10 + id)]);
    }
    follower.checkpoint();
    assert_eq!(follower.cold.keys(space::QUEUE) + follower.cold.keys(space::MESSAGES), 0, "seed {seed}");
}
