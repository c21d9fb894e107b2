//! A JWK Set behind a URL: fetched at the start, again from time to time, and when a token names a key that is not in it.
//!
//! The control plane fetches; judges only look at what there is. Where the set cannot be had, the last one stays in force; where there was none yet, nobody gets
//! in by it.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ring::digest;
use tokio::sync::Notify;

use super::keys::{BYTES_MAX, Keys};
use crate::{
    config::{HttpUrl, Jwt},
    login::wire::{Asking, Line, NoAnswer, ServiceError, Wires},
    users::{Ask, Waiting},
};

/// How long one fetch may take: clients wait for it.
const FETCH_MAX: Duration = Duration::from_secs(10);

/// After a fetch, how long no token starts another one: whoever invents names of keys makes us ask this often and no more.
const REST: Duration = Duration::from_secs(5);

/// After a fetch that failed, how long until the next; twice as long after each further one, at most this or the usual time.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_mins(1);

/// A set of keys, and how it is kept up to date.
pub(crate) struct Fetched {
    wires: Wires,
    every: Duration,
    state: Mutex<State>,
    /// Somebody wants it now.
    bell: Notify,
    /// Where those go who have waited.
    back: Mutex<Option<Back>>,
}

type Back = Box<dyn Fn(Ask) + Send + Sync>;

#[derive(Debug)]
struct State {
    /// The last one that was good.
    set: Option<Set>,
    progress: Progress,
    /// Whose tokens name keys that may be in what is being fetched.
    waiting: Waiting,
    seen: Seen,
}

#[derive(Clone, Debug)]
struct Set {
    keys: Arc<Keys>,
    /// What it was read from, so that a change can be told.
    digest: [u8; 32],
}

/// Whether it is being fetched.
#[derive(Clone, Copy, Debug)]
enum Progress {
    /// Now, or as soon as the control plane comes to it.
    Fetching,
    /// Not since.
    Resting(Instant),
}

/// What has come of it, for whoever looks from outside.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Seen {
    /// Fetches that gave a set.
    pub(crate) good: u64,
    /// Those that did not.
    pub(crate) failed: u64,
    /// When the set in force was there last, in seconds since 1970; 0: never.
    pub(crate) fetched_s: u64,
    /// Those that failed since the last good one.
    failed_since: u32,
}

/// What comes of asking to wait for a fetch.
#[derive(Debug)]
pub(crate) enum Parked {
    /// It waits, and comes back.
    Waits,
    /// The fetch is over meanwhile.
    Over(Ask),
    /// Too many wait.
    Full,
}

impl Fetched {
    /// `None`: there is no such set.
    pub(crate) fn new(wanted: &Jwt) -> Result<Option<Arc<Self>>, ServiceError> {
        let Some(url) = &wanted.jwks_url else { return Ok(None) };
        let wires = Wires::new(url, wanted.jwks_ca.as_deref(), "auth.jwt.jwks_ca")?;
        if wires.is_open_to_others() {
            tracing::warn!(url = %url, "keys of tokens come in plain words: whoever is on their way can make tokens");
        }
        let state = State { set: None, progress: Progress::Fetching, waiting: Waiting::default(), seen: Seen::default() };
        let every = wanted.jwks_refresh;
        Ok(Some(Arc::new(Self { wires, every, state: Mutex::new(state), bell: Notify::new(), back: Mutex::default() })))
    }

    pub(crate) fn url(&self) -> &HttpUrl {
        self.wires.url()
    }

    /// What has come of it so far.
    pub(crate) fn seen(&self) -> Seen {
        self.lock().seen
    }

    /// The keys in force; `None`: there were none yet.
    pub(super) fn keys(&self) -> Option<Arc<Keys>> {
        self.lock().set.as_ref().map(|set| Arc::clone(&set.keys))
    }

    /// A token names a key that is not there: whether it is worth waiting for a fetch, which begins then if it has not.
    pub(super) fn is_worth_waiting(&self, now: Instant) -> bool {
        let mut state = self.lock();
        match state.progress {
            Progress::Fetching => true,
            Progress::Resting(since) if now.saturating_duration_since(since) < REST => false,
            Progress::Resting(_) => {
                state.progress = Progress::Fetching;
                self.bell.notify_one();
                true
            }
        }
    }

    /// Lets somebody wait until the fetch is over, and then go back by `back`.
    pub(crate) fn park(&self, ask: Ask) -> Parked {
        let mut state = self.lock();
        match state.progress {
            Progress::Resting(_) => Parked::Over(ask),
            Progress::Fetching => {
                if state.waiting.push(ask) {
                    Parked::Waits
                } else {
                    Parked::Full
                }
            }
        }
    }

    /// Where those go who have waited, from now on.
    pub(crate) fn send_back_by(&self, back: impl Fn(Ask) + Send + Sync + 'static) {
        *self.back() = Some(Box::new(back));
    }

    /// Sends back whoever waits, without what they wait for.
    pub(crate) fn send_back(&self) {
        let mut waited = std::mem::take(&mut self.lock().waiting);
        if let Some(back) = &*self.back() {
            while let Some(ask) = waited.pop() {
                back(ask);
            }
        }
    }

    /// Fetches it as soon as can be, whenever it was fetched last.
    pub(crate) fn fetch_now(&self) {
        self.lock().progress = Progress::Fetching;
        self.bell.notify_one();
    }

    /// Keeps it up to date, without end.
    pub(crate) async fn keep(&self) {
        loop {
            self.lock().progress = Progress::Fetching;
            let fetched = tokio::time::timeout(FETCH_MAX, self.fetch()).await;
            let pause = self.took(fetched.unwrap_or_else(|_| Err(NoAnswer("no answer in time".into()))));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.bell.notified() => {}
            }
        }
    }

    async fn fetch(&self) -> Result<Set, NoAnswer> {
        // Not kept open: it is long until the next time.
        let (status, bytes) = Line::default().ask(&self.wires, Asking::Get, BYTES_MAX).await?;
        if status != 200 {
            return Err(NoAnswer(format!("status {status}")));
        }
        let mut keys = Keys::default();
        keys.add_public_set(&bytes).map_err(|error| NoAnswer(error.to_string()))?;
        let digest = digest::digest(&digest::SHA256, &bytes).as_ref().try_into().unwrap_or_default();
        Ok(Set { keys: Arc::new(keys), digest })
    }

    /// A fetch is over: what it gave is in force, and whoever waited for it is judged again. The answer is how long until the next.
    fn took(&self, fetched: Result<Set, NoAnswer>) -> Duration {
        let mut state = self.lock();
        let had = state.seen.failed_since;
        let pause = match fetched {
            Ok(set) => {
                let is_new = state.set.as_ref().is_none_or(|old| old.digest != set.digest);
                let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                state.seen = Seen { good: state.seen.good + 1, fetched_s: unix.as_secs(), failed_since: 0, ..state.seen };
                if is_new || had > 0 {
                    tracing::info!(url = %self.url(), keys = set.keys.len(), "key set of tokens fetched");
                }
                state.set = Some(set);
                self.every
            }
            Err(error) => {
                state.seen = Seen { failed: state.seen.failed + 1, failed_since: had.saturating_add(1), ..state.seen };
                let url = self.url();
                match (had, &state.set) {
                    (0, None) => {
                        tracing::error!(%url, %error, "the key set of tokens cannot be fetched: nobody logs in by its keys");
                    }
                    (0, Some(_)) => {
                        tracing::warn!(%url, %error, "the key set of tokens cannot be fetched: the last one stays in force");
                    }
                    (1.., _) => tracing::debug!(%url, %error, "the key set of tokens still cannot be fetched"),
                }
                RETRY.saturating_mul(1 << had.min(8)).min(RETRY_MAX).min(self.every)
            }
        };
        state.progress = Progress::Resting(Instant::now());
        drop(state);
        self.send_back();
        pause
    }

    /// Whoever is called while it is held takes no lock of this set.
    fn back(&self) -> MutexGuard<'_, Option<Back>> {
        self.back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing panics while the lock is held, and nobody waits with it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetched").field("url", self.url()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched() -> Arc<Fetched> {
        let url = "http://127.0.0.1:1/jwks".parse().unwrap();
        Fetched::new(&Jwt { jwks_url: Some(url), ..Jwt::default() }).unwrap().unwrap()
    }

    fn set(kid: &str) -> Set {
        let mut keys = Keys::default();
        let text = format!(
            r#"{{"keys": [{{"kty": "OKP", "crv": "Ed25519", "kid": "{kid}", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}]}}"#
        );
        keys.add_public_set(text.as_bytes()).unwrap();
        Set { keys: Arc::new(keys), digest: [kid.as_bytes()[0]; 32] }
    }

    #[test]
    fn invented_names_of_keys_make_us_fetch_once_in_a_while() {
        let fetched = fetched();
        assert!(fetched.is_worth_waiting(Instant::now()), "the first fetch is to come");
        fetched.took(Ok(set("a")));
        let over = Instant::now();

        let asked = (0..100).filter(|&ms| fetched.is_worth_waiting(over + Duration::from_millis(ms))).count();
        assert_eq!(asked, 0);
        assert!(fetched.is_worth_waiting(over + REST));
        assert!(fetched.is_worth_waiting(over + REST), "it is on its way, and others wait for the same");
        fetched.took(Err(NoAnswer("gone".into())));
        assert!(!fetched.is_worth_waiting(Instant::now()), "also one that fails is one");
    }

    #[test]
    fn the_last_good_set_stays_and_the_next_try_comes_sooner() {
        let fetched = fetched();
        let gone = || Err(NoAnswer("gone".into()));
        assert_eq!(fetched.took(gone()), RETRY);
        assert!(fetched.keys().is_none());
        assert_eq!(fetched.took(Ok(set("a"))), Jwt::default().jwks_refresh);
        let first = fetched.keys().unwrap();

        let pauses: Vec<Duration> = (0..6).map(|_| fetched.took(gone())).collect();

        assert!(Arc::ptr_eq(&first, &fetched.keys().unwrap()));
        let seconds = [5, 10, 20, 40, 60, 60];
        assert_eq!(pauses, seconds.map(Duration::from_secs));
        let seen = fetched.seen();
        assert_eq!((seen.good, seen.failed), (1, 7));
        assert!(seen.fetched_s > 0);
    }

    #[test]
    fn secrets_that_everybody_can_fetch_are_none() {
        let secret = r#"{"kty": "oct", "kid": "s", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
        let text = format!(r#"{{"keys": [{secret}]}}"#);

        assert_eq!(Keys::default().add_set(text.as_bytes()), Ok(()), "in a file of ours it is one");
        assert_eq!(Keys::default().add_public_set(text.as_bytes()), Err(super::super::KeyError::None));
    }
}
