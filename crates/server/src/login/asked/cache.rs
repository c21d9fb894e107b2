//! What the service has said lately, by a keyed hash of what it was asked: no password stays in memory, and nothing of it can be computed without the key of this start.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    time::{Duration, Instant},
};

use columba_broker::auth::Question;
use ring::{
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};

use crate::login::Verdict;

/// Answers that are kept; beyond that the oldest go.
const ENTRIES_MAX: usize = 10_000;

/// What was asked, as a hash.
pub(super) type Key = [u8; 32];

/// Answers in their time.
pub(super) struct Cache {
    secret: hmac::Key,
    entries: HashMap<Key, (Verdict, Instant)>,
    /// The oldest first; one that was asked for again stands there twice.
    order: VecDeque<(Key, Instant)>,
}

impl Cache {
    pub(super) fn new() -> Self {
        let mut secret = [0; 32];
        SystemRandom::new().fill(&mut secret).expect("the system has chance, or nothing here is secure");
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        Self { secret, entries: HashMap::new(), order: VecDeque::new() }
    }

    /// Everything that the service is told but the port of the client, each part with its length before it.
    pub(super) fn key(&self, question: &Question) -> Key {
        let Question { user, password, peer, client_id, listener } = question;
        let place = peer.rsplit_once(':').map_or(&**peer, |(address, _)| address);
        let mut context = hmac::Context::with_key(&self.secret);
        for part in [user.as_bytes(), password, place.as_bytes(), client_id.as_bytes(), &listener.to_be_bytes()] {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.sign().as_ref());
        key
    }

    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<Verdict> {
        self.entries.get(key).filter(|(_, until)| now < *until).map(|(verdict, _)| verdict.clone())
    }

    pub(super) fn put(&mut self, key: Key, verdict: &Verdict, kept: Duration, now: Instant) {
        if kept.is_zero() {
            return;
        }
        while self.order.len() >= ENTRIES_MAX || self.order.front().is_some_and(|(_, until)| *until <= now) {
            let Some((old, until)) = self.order.pop_front() else { break };
            if self.entries.get(&old).is_some_and(|(_, newer)| *newer == until) {
                self.entries.remove(&old);
            }
        }
        let until = now + kept;
        self.entries.insert(key, (verdict.clone(), until));
        self.order.push_back((key, until));
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use columba_broker::auth::Way;

    use super::*;

    fn question(user: &str, password: &str) -> Question {
        Question {
            user: user.into(),
            password: password.as_bytes().into(),
            peer: "10.0.0.1:7".into(),
            client_id: "c".into(),
            listener: 0,
        }
    }

    #[test]
    fn an_answer_is_good_for_its_time_and_for_what_was_asked() {
        let (mut cache, start, kept) = (Cache::new(), Instant::now(), Duration::from_secs(10));
        let key = cache.key(&question("eve", "pencil"));
        cache.put(key, &Verdict::Wrong(Way::Http, "no"), kept, start);

        assert!(cache.get(&key, start + kept / 2).is_some() && cache.get(&key, start + kept).is_none());
        assert_eq!(key, cache.key(&Question { peer: "10.0.0.1:8".into(), ..question("eve", "pencil") }), "another port");
        for other in [
            question("evep", "encil"),
            question("eve", "Pencil"),
            Question { client_id: "d".into(), ..question("eve", "pencil") },
            Question { peer: "10.0.0.2:7".into(), ..question("eve", "pencil") },
            Question { listener: 1, ..question("eve", "pencil") },
        ] {
            assert_ne!(cache.key(&other), key, "{other:?}");
        }
        assert_ne!(Cache::new().key(&question("eve", "pencil")), key, "another start has another key");
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_newest_stay() {
        let (mut cache, start) = (Cache::new(), Instant::now());
        let mut keys = Vec::new();
        for number in 0..ENTRIES_MAX + 5_000 {
            let key = cache.key(&question("eve", &number.to_string()));
            cache.put(key, &Verdict::Pass, Duration::from_secs(10), start);
            keys.push(key);
        }
        assert!(cache.entries.len() <= ENTRIES_MAX && cache.order.len() <= ENTRIES_MAX);
        assert!(cache.get(&keys[0], start).is_none() && cache.get(keys.last().unwrap(), start).is_some());

        cache.put(keys[0], &Verdict::Pass, Duration::ZERO, start);
        assert!(cache.get(&keys[0], start).is_none(), "not kept at all");
        cache.put(keys[0], &Verdict::Pass, Duration::from_secs(1), start + Duration::from_secs(20));
        assert_eq!((cache.entries.len(), cache.order.len()), (1, 1), "what is over goes");
    }
}
