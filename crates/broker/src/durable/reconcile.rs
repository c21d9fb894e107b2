//! After keys of a cold store were lost: takes out what stands on them, so that the rest fits together again.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{
    export::each,
    inspect::read_part,
    keys::{
        ColdError, ColdRead, KeyChange, Part, get_number, message_key, number, parse_queue_key, parse_queued, parse_session_key,
        space,
    },
    wire::Reader,
};
use crate::id::{MessageId, SessionNo};

/// What had to go, beside what was lost itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Orphans {
    /// Sessions of which only parts or messages were left: their clients are not known.
    pub sessions: BTreeSet<SessionNo>,
    /// Entries of queues whose messages were lost.
    pub entries: Vec<(SessionNo, MessageId)>,
}

/// Gives the changes that make a store fit again in which keys are missing.
///
/// # Errors
/// What the store and `give` say.
pub fn reconcile<E: From<ColdError>>(
    cold: &dyn ColdRead,
    give: &mut dyn FnMut(KeyChange) -> Result<(), E>,
) -> Result<Orphans, E> {
    let mut orphans = Orphans::default();
    let mut sessions = BTreeSet::new();
    let gone = |space: u8, key: &[u8]| KeyChange { space, key: key.to_vec(), value: None };
    each(cold, space::SESSIONS, &[], None, |key, value| {
        match parse_session_key(key).filter(|_| core::str::from_utf8(value).is_ok()) {
            Some(session) => drop(sessions.insert(session)),
            None => give(gone(space::SESSIONS, key))?,
        }
        Ok::<_, E>(())
    })?;
    each(cold, space::PARTS, &[], None, |key, value| match Part::parse(key) {
        Some((session, part)) if part != Part::LoneWill && !sessions.contains(&session) => {
            orphans.sessions.insert(session);
            give(gone(space::PARTS, key))
        }
        Some((_, part)) if read_part(part, value).is_ok() => Ok(()),
        Some(_) | None => give(gone(space::PARTS, key)),
    })?;
    let mut named = Vec::new();
    each(cold, space::QUEUE, &[], None, |key, value| {
        let Some((session, id)) = parse_queue_key(key) else {
            return give(gone(space::QUEUE, key));
        };
        let queued = parse_queued(session, value);
        if !(session.is_group() || sessions.contains(&session)) {
            orphans.sessions.insert(session);
            return give(gone(space::QUEUE, key));
        }
        let is_whole = match queued.map(|queued| queued.message) {
            Ok(Some(message)) => Reader::new(message).message().is_ok(),
            Ok(None) if is_message(cold, id)? => {
                named.push(id);
                true
            }
            Ok(None) | Err(_) => false,
        };
        if !is_whole {
            orphans.entries.push((session, id));
            give(gone(space::QUEUE, key))?;
        }
        Ok(())
    })?;
    named.sort_unstable();
    counts(cold, &named, give)?;
    each(cold, space::RETAINED, &[], None, |key, value| {
        let mut reader = Reader::new(value);
        let is_whole = reader.message_id().and_then(|_| reader.message()).is_ok();
        if is_whole { Ok(()) } else { give(gone(space::RETAINED, key)) }
    })?;
    Ok(orphans)
}

/// Whether a shared message is there and can be read.
fn is_message(cold: &dyn ColdRead, id: MessageId) -> Result<bool, ColdError> {
    let value = cold.get(space::MESSAGES, &message_key(id))?;
    Ok(value.is_some_and(|value| Reader::new(&value).message().is_ok()))
}

/// Shared messages without readers go, the others are counted anew. `named` are they, once for each reader.
fn counts<E: From<ColdError>>(
    cold: &dyn ColdRead,
    named: &[MessageId],
    give: &mut dyn FnMut(KeyChange) -> Result<(), E>,
) -> Result<(), E> {
    for of in [space::MESSAGES, space::COUNTS] {
        each(cold, of, &[], None, |key, _| {
            let id = key.try_into().ok().map(u64::from_be_bytes).map(MessageId);
            let is_named = id.is_some_and(|id| named.binary_search(&id).is_ok());
            if is_named { Ok(()) } else { give(KeyChange { space: of, key: key.to_vec(), value: None }) }
        })?;
    }
    for same in named.chunk_by(|a, b| a == b) {
        let (key, count) = (message_key(same[0]), same.len() as u64);
        let known = get_number(cold, space::COUNTS, &key);
        if !matches!(known, Ok(Some(known)) if known == count) {
            give(KeyChange { space: space::COUNTS, key, value: Some(number(count)) })?;
        }
    }
    Ok(())
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

    #[test]
    fn whatever_keys_are_lost_the_rest_fits_again() {
        for seed in 0..120 {
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
            let mut rng = Rng::new(seed);
            let keys: Vec<_> = cold.0.keys().filter(|(of, _)| *of != space::META).cloned().collect();
            let whole = cold.clone();
            for key in keys {
                if rng.chance(10) {
                    cold.0.remove(&key);
                }
            }

            let mut changes = Vec::new();
            let give = &mut |change| {
                changes.push(change);
                Ok::<_, ColdError>(())
            };
            reconcile(&cold, give).unwrap();
            cold.write(changes);

            let mut misfits = Vec::new();
            inspect(&cold, &mut |misfit| misfits.push(misfit)).unwrap();
            assert_eq!(misfits, [], "seed {seed}");
            let mut state = recover(&cold).unwrap();
            state.finish(&cold).unwrap();
            state.load_queues(&cold).unwrap();
            assert!(state.sessions.len() * 2 > live.sessions.len(), "seed {seed}");
            // And nothing is taken from a store that is whole.
            let mut changes = 0;
            let orphans = reconcile(&whole, &mut |_| {
                changes += 1;
                Ok::<_, ColdError>(())
            });
            assert_eq!((orphans.unwrap(), changes), (Orphans::default(), 0), "seed {seed}");
        }
    }
}
