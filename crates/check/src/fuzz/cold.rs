//! Keys and values that a cold store might hold.

use columba_broker::{
    durable::{ColdRead, Fold, load_window, recover},
    id::{MessageId, SessionNo},
};

use super::{choices::Choices, keys::Keys};

/// Windows read from one queue at most: broken values can make one long, never endless.
const WINDOWS_MAX: usize = 64;

/// Whatever stands in the cold store, a start takes it or refuses it, and so do the follower and the reading of a queue.
///
/// The bytes are entries: space, key, value; keys and values with their lengths before them in one byte.
pub fn cold(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut keys = Keys::default();
    while !choices.is_empty() {
        let space = choices.byte();
        let (key, value) = (choices.block(), choices.block());
        keys.put(space, key, value);
    }
    look_at(&keys);
}

/// Reads all there is in every way there is.
pub(super) fn look_at(keys: &Keys) {
    let _fold = Fold::new(keys);
    for session in 0..4 {
        read_queue(keys, SessionNo(session));
    }
    let Ok(mut state) = recover(keys) else { return };
    for session in state.sessions.keys() {
        read_queue(keys, *session);
    }
    if state.finish(keys).is_ok() {
        let _queues = state.load_queues(keys);
    }
}

fn read_queue(keys: &dyn ColdRead, session: SessionNo) {
    let mut after = MessageId(0);
    for _ in 0..WINDOWS_MAX {
        let Ok(loaded) = load_window(keys, session, after, 3) else { return };
        assert!(loaded.entries.len() <= 3, "no more than was asked for");
        assert!(loaded.entries.is_sorted_by(|a, b| a.id < b.id), "in order");
        assert!(loaded.entries.first().is_none_or(|first| first.id > after), "behind what was read");
        let Some(last) = loaded.entries.last().filter(|_| !loaded.last) else { return };
        after = last.id;
    }
}
