//! Any commits of any history are lost: the rest still folds, nothing known is lost beside them, and no receipt stays that would swallow a new message.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::ToString,
    vec::Vec,
};

use columba_proto::{PacketId, QoS};

use super::{
    model::{Live, MemoryCold},
    *,
};
use crate::{
    id::{MessageId, SessionNo},
    testing::Rng,
};

/// What a test can meet.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Cold(#[from] ColdError),
}

fn each_record(frame: &[u8], mut each: impl FnMut(&Record<'_>)) {
    let mut rest = frame;
    while !rest.is_empty() {
        each(&Record::decode(&mut rest).unwrap());
    }
}

/// Folds the frames that are left into the store, as the repair of a data directory does. Checkpoints wherever `rng` says.
fn mended(cold: &mut MemoryCold, frames: &[Option<Vec<u8>>], rng: &mut Rng) -> (State, Loss) {
    let before = cold.clone();
    let mut mender = Mender::new(recover(cold).unwrap());
    let mut fold = Fold::new(cold).unwrap();
    for frame in frames {
        let Some(frame) = frame else {
            mender.gap();
            continue;
        };
        each_record(frame, |record| {
            let mut out = |record: &Record<'_>| fold.record(record, cold).map_err(Trouble::from);
            mender.record(record, &mut out).unwrap();
        });
        mender.end_of_commit();
        fold.end_of_commit();
        if rng.chance(20) {
            cold.write(fold.take_changes());
        }
    }
    let (mut state, loss) =
        mender.finish(&before, &mut |record: &Record<'_>| fold.record(record, cold).map_err(Trouble::from)).unwrap();
    fold.end_of_commit();
    cold.write(fold.take_changes());
    state.load_queues(&before).unwrap();
    (state, loss)
}

fn recovered(cold: &MemoryCold) -> State {
    let mut state = recover(cold).unwrap();
    state.finish(cold).unwrap();
    state.load_queues(cold).unwrap();
    state
}

/// What a history says, by commit.
struct Story {
    frames: Vec<Vec<u8>>,
    truth: State,
}

fn story(seed: u64) -> Story {
    let mut live = Live::new(seed);
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for _ in 0..40 {
        for _ in 0..live.rng.below(25) {
            live.step();
        }
        frames.push(live.commit().into_iter().flatten().flatten().collect());
    }
    frames.push(live.commit().into_iter().flatten().flatten().collect());
    let mut truth = State::default();
    for frame in &frames {
        each_record(frame, |record| truth.apply(record).unwrap());
        truth.end_of_commit();
    }
    truth.finish(&MemoryCold::default()).unwrap();
    Story { frames, truth }
}

/// A store that has taken in the first commits, and the commits behind them.
fn cut(story: &Story, at: usize) -> (MemoryCold, Vec<Option<Vec<u8>>>) {
    let mut cold = MemoryCold::default();
    let mut fold = Fold::new(&cold).unwrap();
    for frame in &story.frames[..at] {
        each_record(frame, |record| fold.record(record, &cold).unwrap());
        fold.end_of_commit();
    }
    cold.write(fold.take_changes());
    (cold, story.frames[at..].iter().cloned().map(Some).collect())
}

#[test]
fn without_a_gap_nothing_is_mended() {
    for seed in 0..60 {
        let story = story(seed);
        let mut rng = Rng::new(seed);
        let (mut cold, frames) = cut(&story, rng.below(40));

        let (state, loss) = mended(&mut cold, &frames, &mut rng);

        assert_eq!(loss, Loss::default(), "seed {seed}");
        assert_eq!(state, story.truth, "seed {seed}");
        assert_eq!(recovered(&cold), story.truth, "seed {seed}");
    }
}

#[test]
fn any_lost_commits_cost_only_what_was_in_them() {
    let count = if cfg!(miri) { 2 } else { 400 };
    for seed in 0..count {
        let story = story(seed);
        let mut rng = Rng::new(seed ^ 0xBAD);
        let at = rng.below(30);
        let (mut cold, mut frames) = cut(&story, at);
        for _ in 0..=rng.below(4) {
            let from = rng.below(frames.len());
            let to = (from + 1 + rng.below(4)).min(frames.len());
            frames[from..to].fill(None);
        }

        let (state, loss) = mended(&mut cold, &frames, &mut rng);

        let context = &*alloc::format!("seed {seed}: {loss:?}");
        let again = recovered(&cold);
        // What leaves a queue twice, for a record between is lost, is not the same to both folds. What is kept is what the store has.
        let without_queue = |it: &RecoveredSession| RecoveredSession {
            queue: BTreeMap::new(),
            in_flight: Exchanges::default(),
            cold: None,
            ..it.clone()
        };
        for (no, it) in &state.sessions {
            let kept = again.sessions.get(no).map(without_queue);
            assert_eq!(Some(without_queue(it)), kept, "{context}: the fold and the state differ at {no:?}");
        }
        assert_eq!(state.sessions.len(), again.sessions.len(), "{context}");
        assert_eq!(state.retained, again.retained, "{context}");
        keeps_what_is_known(&story, at, &frames, &again, context);
    }
}

fn keeps_what_is_known(story: &Story, at: usize, frames: &[Option<Vec<u8>>], state: &State, context: &str) {
    let lost = |commit: usize| commit >= at && frames[commit - at].is_none();
    let last_gap = (0..story.frames.len()).rev().find(|commit| lost(*commit)).unwrap();
    let mut delivered = BTreeSet::new();
    let mut received: BTreeMap<(SessionNo, PacketId), bool> = BTreeMap::new();
    let mut created = BTreeSet::new();
    for (commit, frame) in story.frames.iter().enumerate() {
        let kept = !lost(commit);
        each_record(frame, |record| {
            if let Record::Created { session, .. } = record
                && kept
            {
                created.insert(*session);
            }
            if let Record::Published { id, targets, .. } = record
                && kept
            {
                delivered.extend(targets.iter().map(|target| (target.session, *id)));
            }
            if let Record::Received { session, packet_id, .. } = record {
                received.insert((*session, *packet_id), kept && commit > last_gap);
            }
        });
    }
    for (no, it) in story.truth.sessions.iter().filter(|(no, _)| created.contains(*no)) {
        let mended = state.sessions.get(no).unwrap_or_else(|| panic!("{context}: session {no:?} is gone"));
        let known = it.queue.keys().filter(|id| delivered.contains(&(*no, **id)));
        for id in known {
            assert!(mended.queue.contains_key(id), "{context}: {no:?} has lost {id:?}");
        }
        for packet_id in it.received.keys().filter(|packet_id| received[&(*no, **packet_id)]) {
            assert!(mended.received.contains_key(packet_id), "{context}: {no:?} has lost what it received as {packet_id:?}");
        }
        for packet_id in mended.received.keys() {
            assert!(it.received.contains_key(packet_id), "{context}: {no:?} would swallow the next {packet_id:?}");
        }
    }
}

fn apply(mender: &mut Mender, records: &[Record<'_>]) -> Vec<alloc::string::String> {
    let mut out = Vec::new();
    for record in records {
        let mut give = |record: &Record<'_>| {
            out.push(alloc::format!("{record:?}").split(' ').next().unwrap().to_string());
            Ok::<_, Trouble>(())
        };
        mender.record(record, &mut give).unwrap();
    }
    mender.end_of_commit();
    out
}

fn packet(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

#[test]
fn a_client_that_begins_anew_has_ended_its_old_session() {
    let mut mender = Mender::new(State::default());
    apply(&mut mender, &[Record::Created { session: SessionNo(1 << 12), client_id: "c" }]);
    mender.gap();

    let out = apply(&mut mender, &[Record::Created { session: SessionNo(9 << 12), client_id: "c" }]);

    assert_eq!(out, ["Deleted", "Created"]);
    let give = &mut |_: &Record<'_>| Ok::<_, Trouble>(());
    let (state, loss) = mender.finish(&MemoryCold::default(), give).unwrap();
    assert_eq!(state.sessions.keys().copied().collect::<Vec<_>>(), [SessionNo(9 << 12)]);
    assert_eq!(loss.ended_sessions, [(SessionNo(1 << 12), "c".into())]);
    assert_eq!(loss.identities, [(MessageId(1 << 12), Some(MessageId(9 << 12)))]);
}

#[test]
fn a_pubrec_whose_publish_was_lost_is_still_answered() {
    let (session, message) = (SessionNo(1), MessageId(5));
    let mut mender = Mender::new(State::default());
    apply(&mut mender, &[Record::Created { session, client_id: "c" }]);
    mender.gap();

    let out = apply(&mut mender, &[Record::Passed { session, packet_id: packet(3), message }]);

    assert_eq!(out, ["Sent", "Passed"]);
    let exchanges: Vec<_> = mender.state().sessions[&session].in_flight.iter().collect();
    assert_eq!(exchanges, [(packet(3), InFlight::Pubrel)]);
}

#[test]
fn an_identifier_that_is_used_anew_was_free() {
    let session = SessionNo(1);
    let sent = |message| Record::Sent { session, packet_id: packet(3), message: MessageId(message), qos: QoS::AtLeastOnce };
    let mut mender = Mender::new(State::default());
    apply(&mut mender, &[Record::Created { session, client_id: "c" }, sent(5)]);
    mender.gap();

    assert_eq!(apply(&mut mender, &[sent(6)]), ["Settled", "Sent"]);
}

#[test]
fn what_nobody_knows_is_left_out_and_said() {
    let session = SessionNo(7);
    let mut mender = Mender::new(State::default());
    mender.gap();

    let released = Record::Released {
        session,
        packet_id: packet(1),
        id: MessageId(8),
        targets: Vec::from([TargetRecord {
            session: SessionNo(2),
            qos: QoS::AtLeastOnce,
            retain: false,
            subscription_ids: Vec::new(),
        }]),
        sets_retained: false,
    };
    assert_eq!(
        apply(&mut mender, &[Record::Detached { session, at: columba_proto::Time(1), expiry: 1, will_stands: true }, released]),
        [""; 0]
    );

    let (_, loss) = mender.finish(&MemoryCold::default(), &mut |_: &Record<'_>| Ok::<_, Trouble>(())).unwrap();
    assert_eq!(loss.unknown_sessions, BTreeSet::from([session]));
    assert_eq!(loss.lost_messages, [(MessageId(8), Vec::from([SessionNo(2)]))]);
}

#[test]
fn a_contradiction_before_any_gap_is_still_refused() {
    let mut mender = Mender::new(State::default());

    let refused = mender.record(&Record::Deleted { session: SessionNo(1) }, &mut |_: &Record<'_>| Ok::<_, Trouble>(()));

    assert!(matches!(refused, Err(Trouble::Apply(ApplyError::NoSession(SessionNo(1))))));
}
