//! The threads that look at passwords and tokens, because a shard has no time for that: each look is meant to cost tens of milliseconds and megabytes.

use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock},
    thread::{self, JoinHandle},
    time::Duration,
};

use columba_broker::{
    auth::{Answer, Question, Way},
    id::ConnectionId,
};

use super::{Attempts, attempts::Place};
use crate::{
    clock::ProcessClock,
    login::{Couriers, Desk, Methods, Moment, Outcome, Parked, UNKNOWN, Verdict},
};

/// Questions that wait, of everybody and of one address: what a judge can answer within the time that a CONNECT has, about.
const WAITING_MAX: usize = 1_024;
const WAITING_OF_ONE_MAX: usize = 256;

/// Threads, at most.
const JUDGES_MAX: usize = 4;

/// How often they look whether something has to be told.
const LOOK: Duration = Duration::from_secs(10);

/// One shard's question.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) shard: usize,
    pub(crate) connection: ConnectionId,
    pub(crate) question: Question,
    /// The ways to log in before this one have passed it on.
    pub(crate) from: usize,
}

/// Where shards ask.
#[derive(Debug, Default)]
pub(crate) struct Court(RwLock<Option<Judges>>);

impl Court {
    /// Takes a question; false where there is no room for one more, or nobody to be asked.
    pub(crate) fn ask(&self, ask: Ask) -> bool {
        let judges = self.0.read().unwrap_or_else(PoisonError::into_inner);
        judges.as_ref().is_some_and(|judges| judges.ask(ask))
    }

    /// These judge from now on. Whoever waits for those before them hears that it was not judged, and may try again.
    pub(crate) fn seat(&self, judges: Option<Judges>) {
        let before = std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), judges);
        // Its threads end while shards ask the others.
        drop(before);
    }
}

/// Some judges, and the threads that they are.
pub(crate) struct Judges {
    bench: Arc<Bench>,
    threads: Vec<JoinHandle<()>>,
    couriers: Option<Couriers>,
}

struct Bench {
    methods: Arc<Methods>,
    clock: ProcessClock,
    attempts: Arc<Attempts>,
    waiting: Mutex<Waiting>,
    bell: Condvar,
    /// Where questions go that a judge does not answer itself.
    desk: Arc<Desk>,
}

/// Whose question has its turn: one of each address, round and round, so that who asks much waits behind himself.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    of: HashMap<Place, VecDeque<Ask>>,
    round: VecDeque<Place>,
    count: usize,
    is_over: bool,
}

/// What a judge does next.
enum Next {
    Ask(Ask),
    /// Nobody has asked for a while.
    Nothing,
    End,
}

impl Judges {
    /// Starts the threads: as many as half the cores, for the other half carries messages. Each answer goes to `tell`.
    pub(crate) fn start(
        methods: Arc<Methods>,
        clock: ProcessClock,
        attempts: Arc<Attempts>,
        tell: impl Fn(usize, ConnectionId, Answer) + Clone + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (desk, asked) = (Arc::new(Desk::new()), methods.asked.clone());
        let bench = Arc::new(Bench {
            methods,
            clock,
            attempts,
            waiting: Mutex::default(),
            bell: Condvar::new(),
            desk: Arc::clone(&desk),
        });
        let done = {
            let (bench, tell) = (Arc::clone(&bench), tell.clone());
            move |ask, verdict| bench.brought(ask, verdict, &tell)
        };
        let name = {
            let bench = Arc::clone(&bench);
            move |number| bench.methods.name(number)
        };
        if let Some(fetched) = bench.methods.fetched() {
            // Not for longer than there are judges.
            let bench = Arc::downgrade(&bench);
            let tell = tell.clone();
            fetched.send_back_by(move |ask| {
                if let Some(bench) = bench.upgrade() {
                    bench.ask_again(ask, &tell);
                }
            });
        }
        let couriers = asked.map(|asked| Couriers::start(desk, asked, clock, name, done)).transpose()?;
        let count = thread::available_parallelism().map_or(1, |cores| cores.get() / 2).clamp(1, JUDGES_MAX);
        let one = |_| {
            let (bench, tell) = (Arc::clone(&bench), tell.clone());
            thread::Builder::new().name("judge".into()).spawn(move || bench.judge(&tell))
        };
        let threads: io::Result<_> = (0..count).map(one).collect();
        Ok(Self { threads: threads?, bench, couriers })
    }

    /// Takes a question; false where there is no room for one more.
    pub(crate) fn ask(&self, ask: Ask) -> bool {
        let taken = self.bench.lock().push(ask);
        self.bench.bell.notify_one();
        taken
    }

    /// Ends the threads. What waits, or is being looked at, is not judged any more, and hears so.
    fn stop(&mut self) {
        self.bench.lock().close();
        self.bench.bell.notify_all();
        drop(self.couriers.take());
        if let Some(fetched) = self.bench.methods.fetched() {
            fetched.send_back();
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that looks at passwords has ended by itself");
            }
        }
    }
}

impl Drop for Judges {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Bench {
    fn judge(&self, tell: &impl Fn(usize, ConnectionId, Answer)) {
        loop {
            let ask = match self.next() {
                Next::Ask(ask) => ask,
                Next::Nothing => {
                    self.tell_attempts();
                    continue;
                }
                Next::End => {
                    while let Some(ask) = { self.lock().pop() } {
                        tell(ask.shard, ask.connection, Answer::Unjudged);
                    }
                    return;
                }
            };
            self.tell_attempts();
            let (shard, connection) = (ask.shard, ask.connection);
            if !self.attempts.may_try(&ask.question.peer, &ask.question.user) {
                tell(shard, connection, Answer::Unjudged);
                continue;
            }
            let outcome = self.methods.judge(&ask.question, ask.from, Moment::now(&self.clock));
            if self.lock().is_over {
                // By what does not hold any more.
                tell(shard, connection, Answer::Unjudged);
                continue;
            }
            match outcome {
                Outcome::Said(verdict) => {
                    let is_user = matches!(&verdict, Verdict::Right(known) if known.version.is_some());
                    tell(shard, connection, answer(verdict));
                    if is_user {
                        self.methods.logged_in(&ask.question);
                    }
                }
                Outcome::Elsewhere(from) => {
                    if !self.desk.ask(Ask { from, ..ask }) {
                        tell(shard, connection, Answer::Unjudged);
                    }
                }
                Outcome::AfterFetch(from) => self.park(Ask { from, ..ask }, tell),
            }
        }
    }

    /// Somebody else has answered; what it knows nothing of goes on to the next way.
    fn brought(&self, ask: Ask, verdict: Verdict, tell: &impl Fn(usize, ConnectionId, Answer)) {
        if !matches!(verdict, Verdict::Pass) {
            tell(ask.shard, ask.connection, answer(verdict));
            return;
        }
        self.ask_again(Ask { from: ask.from + 1, ..ask }, tell);
    }

    /// Keys are being fetched by which it may be judged.
    fn park(&self, ask: Ask, tell: &impl Fn(usize, ConnectionId, Answer)) {
        let (shard, connection) = (ask.shard, ask.connection);
        match self.methods.fetched().map(|fetched| fetched.park(ask)) {
            Some(Parked::Waits) => {}
            Some(Parked::Over(ask)) => self.ask_again(ask, tell),
            Some(Parked::Full) | None => tell(shard, connection, Answer::Unjudged),
        }
    }

    /// More can be said of it now.
    fn ask_again(&self, ask: Ask, tell: &impl Fn(usize, ConnectionId, Answer)) {
        let (shard, connection) = (ask.shard, ask.connection);
        let taken = self.lock().push(ask);
        self.bell.notify_one();
        if !taken {
            tell(shard, connection, Answer::Unjudged);
        }
    }

    fn next(&self) -> Next {
        let mut waiting = self.lock();
        let mut is_late = false;
        loop {
            if waiting.is_over {
                return Next::End;
            }
            if let Some(ask) = waiting.pop() {
                return Next::Ask(ask);
            }
            if is_late {
                return Next::Nothing;
            }
            let (again, timeout) = self.bell.wait_timeout(waiting, LOOK).unwrap_or_else(PoisonError::into_inner);
            (waiting, is_late) = (again, timeout.timed_out());
        }
    }

    fn tell_attempts(&self) {
        for more in self.attempts.take_told() {
            let (peer, count, user) = (&*more.peer, more.count, &*more.last_user);
            tracing::warn!(peer, count, user, "more logins failed");
        }
    }

    /// Nothing panics while the lock is held.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the shard is told.
fn answer(verdict: Verdict) -> Answer {
    match verdict {
        Verdict::Right(known) => Answer::Right(known),
        Verdict::Wrong(way, why) => Answer::Wrong(way, why),
        Verdict::Pass => Answer::Wrong(Way::Password, UNKNOWN),
        Verdict::Unreachable => Answer::Unreachable,
    }
}

impl Waiting {
    /// Takes no more.
    pub(crate) fn close(&mut self) {
        self.is_over = true;
    }

    pub(crate) fn push(&mut self, ask: Ask) -> bool {
        let place = Place::of(&ask.question.peer);
        let own = self.of.entry(place.clone()).or_default();
        if self.is_over || self.count >= WAITING_MAX || own.len() >= WAITING_OF_ONE_MAX {
            if own.is_empty() {
                self.of.remove(&place);
            }
            return false;
        }
        if own.is_empty() {
            self.round.push_back(place);
        }
        own.push_back(ask);
        self.count += 1;
        true
    }

    pub(crate) fn pop(&mut self) -> Option<Ask> {
        let place = self.round.pop_front()?;
        let own = self.of.get_mut(&place)?;
        let ask = own.pop_front()?;
        self.count -= 1;
        if own.is_empty() {
            self.of.remove(&place);
        } else {
            self.round.push_back(place);
        }
        Some(ask)
    }
}

impl fmt::Debug for Judges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judges").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{
        config::Config,
        users::{Kind, KnownUsers, Secret, UsersFile},
    };

    fn ask(number: u32, peer: &str, user: &str, password: &str) -> Ask {
        let question = Question {
            user: user.into(),
            password: password.as_bytes().into(),
            peer: peer.into(),
            client_id: "c".into(),
            listener: 0,
        };
        Ask { shard: 0, connection: ConnectionId { slot: number, generation: 0 }, question, from: 0 }
    }

    #[test]
    fn who_asks_much_waits_behind_himself() {
        let mut waiting = Waiting::default();
        for number in 0..4 {
            assert!(waiting.push(ask(number, "10.0.0.1:1", "a", "")));
        }
        assert!(waiting.push(ask(10, "10.0.0.2:1", "b", "")));
        assert!(waiting.push(ask(20, "10.0.0.3:1", "c", "")));

        let order: Vec<u32> = std::iter::from_fn(|| waiting.pop()).map(|ask| ask.connection.slot).collect();

        assert_eq!(order, [0, 10, 20, 1, 2, 3]);
        assert!(waiting.of.is_empty() && waiting.count == 0, "nothing is left behind");
    }

    #[test]
    fn what_waits_is_bounded_for_one_and_for_all() {
        let mut waiting = Waiting::default();
        let fill = |waiting: &mut Waiting, peer: &str| (0..2_000).take_while(|_| waiting.push(ask(0, peer, "a", ""))).count();

        assert_eq!(fill(&mut waiting, "10.0.0.1:1"), WAITING_OF_ONE_MAX);
        let others: usize = (2..100).map(|host| fill(&mut waiting, &format!("10.0.0.{host}:1"))).sum();

        assert_eq!(WAITING_OF_ONE_MAX + others, WAITING_MAX);
        assert!(!waiting.push(ask(0, "10.0.1.1:1", "a", "")));
        assert_eq!(waiting.of.len(), 4, "who is refused leaves no trace");
    }

    #[test]
    fn answers_come_back_and_many_wrong_ones_end_the_looking() {
        let mut file = UsersFile::default();
        file.set("eve", Secret::derive(Kind::Sha512, "pencil", [1; 16]).unwrap()).unwrap();
        let attempts = Arc::new(Attempts::default());
        let users = Arc::new(KnownUsers::new(&file, Arc::clone(&attempts)));
        let (sender, answers) = mpsc::channel();
        let tell = move |_, connection: ConnectionId, answer| sender.send((connection.slot, answer)).unwrap();
        let methods = Methods::new(&Config::default(), Some(users), None, None).unwrap();
        for listener in &Config::default().listeners {
            methods.open(0, listener);
        }
        let mut judges = Judges::start(Arc::new(methods), ProcessClock::start(), Arc::clone(&attempts), tell).unwrap();

        assert!(judges.ask(ask(1, "10.0.0.1:1", "eve", "pencil")));
        assert!(matches!(answers.recv().unwrap(), (1, Answer::Right(_))));
        assert!(judges.ask(ask(2, "10.0.0.1:1", "eve", "Pencil")));
        assert!(matches!(answers.recv().unwrap(), (2, Answer::Wrong(Way::Password, "wrong password"))));
        while attempts.may_try("10.0.0.1:1", "eve") {
            attempts.wrong("10.0.0.1:1", "eve");
        }
        assert!(judges.ask(ask(3, "10.0.0.1:1", "eve", "pencil")));
        assert!(matches!(answers.recv().unwrap(), (3, Answer::Unjudged)));

        judges.stop();
        assert!(!judges.ask(ask(4, "10.0.0.1:1", "eve", "pencil")), "nobody is there to look");
    }
}
