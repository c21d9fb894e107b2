//! The bytes of records, and what a start does with them.

use columba_broker::durable::{Fold, Record, State};

use super::{choices::Choices, keys::Keys};

/// What can be read as a record is written back as the same record; both folds take any sequence of them or refuse it.
///
/// The bytes are commits, each with its length before it in two bytes.
///
/// # Panics
///
/// When it is not.
pub fn record(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut replay = Replay::new();
    while !choices.is_empty() {
        let len = usize::from(choices.u16());
        replay.commit(choices.take(len));
    }
    replay.finish();
}

/// A start and the checkpoint's follower, each until it refuses.
struct Replay {
    state: Option<State>,
    fold: Option<Fold>,
    cold: Keys,
}

impl Replay {
    fn new() -> Self {
        let cold = Keys::default();
        Self { state: Some(State::default()), fold: Fold::new(&cold).ok(), cold }
    }

    fn commit(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let before = rest.len();
            let Ok(record) = Record::decode(&mut rest) else { return };
            assert!(rest.len() < before, "a record has bytes");
            there_and_back(&record);
            self.state = self.state.take().and_then(|mut state| state.apply(&record).ok().map(|()| state));
            self.fold = self.fold.take().and_then(|mut fold| fold.record(&record, &self.cold).ok().map(|()| fold));
        }
        if let Some(state) = &mut self.state {
            state.end_of_commit();
        }
        if let Some(fold) = &mut self.fold {
            fold.end_of_commit();
            self.cold.write(fold.take_changes());
        }
    }

    fn finish(mut self) {
        if let Some(state) = &mut self.state
            && state.finish(&Keys::default()).is_ok()
        {
            assert!(state.load_queues(&Keys::default()).is_ok(), "without a cold store nothing is missing there");
        }
        super::cold::look_at(&self.cold);
    }
}

fn there_and_back(record: &Record<'_>) {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    let mut rest = bytes.as_slice();
    assert_eq!(Record::decode(&mut rest).as_ref(), Ok(record));
    assert!(rest.is_empty(), "{record:?} became more than a record");
}
