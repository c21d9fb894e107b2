//! Wrong logins by where they come from: after some, nobody from there is heard for a while; and the log says so once, with their number.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Wrong logins with one name from one address, and how soon each is forgotten: 1,200 guesses an hour. A device with a wrong password does not lock out its neighbours.
const OF_USER: Bound = Bound { wrong_max: 10, forgotten_after: Duration::from_secs(3) };

/// The same with whatever name: who tries many names gets a hundred, then five a second.
const OF_ADDRESS: Bound = Bound { wrong_max: 100, forgotten_after: Duration::from_millis(200) };

/// Names of one address that are remembered; what is tried with others counts for the address only.
const USERS_MAX: usize = 32;

/// After the first wrong login of an address the others are counted for so long, and then told in one line.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// Addresses that are remembered; beyond that the ones that have been quiet for longest are forgotten.
const ADDRESSES_MAX: usize = 16_384;

/// Wrong logins of the last minutes.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<HashMap<Place, Record>>);

/// Where a client is: an address, of IPv6 the part that a provider gives to one customer; or the text for what is none.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Place {
    Address(IpAddr),
    Other(Box<str>),
}

#[derive(Debug)]
struct Record {
    all: Counter,
    of: HashMap<Box<str>, Counter>,
    /// When the log spoke of it, and how many came after that.
    told: Instant,
    untold: u64,
    last_user: Box<str>,
}

/// How many wrong logins are too many.
#[derive(Clone, Copy, Debug)]
struct Bound {
    wrong_max: u32,
    forgotten_after: Duration,
}

/// How many count still, at `since`.
#[derive(Clone, Copy, Debug)]
struct Counter {
    wrong: u32,
    since: Instant,
}

/// Wrong logins that are to be told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct More {
    pub(crate) peer: Box<str>,
    pub(crate) count: u64,
    pub(crate) last_user: Box<str>,
}

/// Whether the log has spoken of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Told {
    /// The first from there for a while: worth a line of its own.
    Now,
    /// Counted, for a line that comes later.
    Later,
}

impl Attempts {
    /// Whether somebody from there may try a password of this user now.
    pub(crate) fn may_try(&self, peer: &str, user: &str) -> bool {
        self.may_try_at(peer, user, Instant::now())
    }

    fn may_try_at(&self, peer: &str, user: &str, now: Instant) -> bool {
        self.lock().get(&Place::of(peer)).is_none_or(|record| {
            let of_user = record.of.get(user).is_none_or(|counter| counter.at(now, OF_USER) < OF_USER.wrong_max);
            of_user && record.all.at(now, OF_ADDRESS) < OF_ADDRESS.wrong_max
        })
    }

    /// A login from there was wrong.
    pub(crate) fn wrong(&self, peer: &str, user: &str) -> Told {
        self.wrong_at(peer, user, Instant::now())
    }

    fn wrong_at(&self, peer: &str, user: &str, now: Instant) -> Told {
        let mut records = self.lock();
        let place = Place::of(peer);
        if records.len() >= ADDRESSES_MAX && !records.contains_key(&place) {
            make_room(&mut records, now);
        }
        let mut told = Told::Later;
        let record = records.entry(place).or_insert_with(|| {
            told = Told::Now;
            Record { all: Counter::new(now), of: HashMap::new(), told: now, untold: 0, last_user: user.into() }
        });
        record.all.add(now, OF_ADDRESS);
        if record.of.len() >= USERS_MAX && !record.of.contains_key(user) {
            record.of.retain(|_, counter| counter.at(now, OF_USER) > 0);
        }
        if record.of.len() < USERS_MAX || record.of.contains_key(user) {
            record.of.entry(user.into()).or_insert_with(|| Counter::new(now)).add(now, OF_USER);
        }
        if told == Told::Later {
            record.untold += 1;
            record.last_user = user.into();
        }
        told
    }

    /// What has to be told by now. Who has been quiet for a whole such time is forgotten.
    pub(crate) fn take_told(&self) -> Vec<More> {
        self.take_told_at(Instant::now())
    }

    fn take_told_at(&self, now: Instant) -> Vec<More> {
        let mut records = self.lock();
        if records.values().all(|record| now.duration_since(record.told) < TOLD_EVERY) {
            return Vec::new();
        }
        let mut told = Vec::new();
        records.retain(|place, record| {
            if now.duration_since(record.told) < TOLD_EVERY {
                return true;
            }
            record.told = now;
            let count = std::mem::take(&mut record.untold);
            if count > 0 {
                told.push(More { peer: place.text(), count, last_user: record.last_user.clone() });
            }
            count > 0 || record.all.at(now, OF_ADDRESS) > 0 || record.of.values().any(|counter| counter.at(now, OF_USER) > 0)
        });
        told.sort_by(|left, right| left.peer.cmp(&right.peer));
        told
    }

    /// Nothing panics while the lock is held.
    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the half that has been quiet for longest.
fn make_room(records: &mut HashMap<Place, Record>, now: Instant) {
    let mut ages: Vec<Duration> = records.values().map(|record| now.duration_since(record.all.since)).collect();
    let middle = ages.len() / 2;
    let (_, &mut age, _) = ages.select_nth_unstable(middle);
    records.retain(|_, record| now.duration_since(record.all.since) < age);
}

impl Counter {
    fn new(now: Instant) -> Self {
        Self { wrong: 0, since: now }
    }

    fn at(self, now: Instant, bound: Bound) -> u32 {
        let forgotten = now.duration_since(self.since).as_millis() / bound.forgotten_after.as_millis();
        self.wrong.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX))
    }

    fn add(&mut self, now: Instant, bound: Bound) {
        *self = Self { wrong: self.at(now, bound).saturating_add(1), since: now };
    }
}

impl Place {
    pub(super) fn of(peer: &str) -> Self {
        match peer.parse::<SocketAddr>().map(|address| address.ip().to_canonical()) {
            Ok(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                Self::Address(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
            }
            Ok(address @ IpAddr::V4(_)) => Self::Address(address),
            Err(_) => Self::Other(peer.into()),
        }
    }

    fn text(&self) -> Box<str> {
        match self {
            Self::Address(address) => address.to_string().into(),
            Self::Other(text) => text.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn after_many_wrong_logins_a_name_has_to_wait_there_and_others_do_not() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        for port in 0..OF_USER.wrong_max {
            assert!(attempts.may_try_at("10.0.0.7:1", "eve", start));
            attempts.wrong_at(&format!("10.0.0.7:{port}"), "eve", start);
        }

        assert!(!attempts.may_try_at("10.0.0.7:99", "eve", start));
        assert!(!attempts.may_try_at("[::ffff:10.0.0.7]:99", "eve", start), "the same in other words");
        assert!(attempts.may_try_at("10.0.0.8:1", "eve", start));
        assert!(attempts.may_try_at("10.0.0.7:1", "bob", start));
        assert!(attempts.may_try_at("10.0.0.7:99", "eve", second(start, 3)), "one is forgotten");
    }

    #[test]
    fn who_tries_many_names_has_to_wait_too() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        for number in 0..OF_ADDRESS.wrong_max {
            assert!(attempts.may_try_at("10.0.0.7:1", "admin", start));
            attempts.wrong_at("10.0.0.7:1", &format!("user{number}"), start);
        }

        assert!(!attempts.may_try_at("10.0.0.7:1", "admin", start));
        assert!(attempts.may_try_at("10.0.0.8:1", "admin", start));
        let remembered = attempts.lock()[&Place::of("10.0.0.7:1")].of.len();
        assert!(remembered <= USERS_MAX, "{remembered}");
    }

    #[test]
    fn an_ipv6_customer_is_one_place() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        for host in 0..OF_USER.wrong_max {
            attempts.wrong_at(&format!("[2001:db8:1:2::{host:x}]:1"), "eve", start);
        }

        assert!(!attempts.may_try_at("[2001:db8:1:2:ffff::1]:1", "eve", start));
        assert!(attempts.may_try_at("[2001:db8:1:3::1]:1", "eve", start));
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_with_their_number() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        assert_eq!(attempts.wrong_at("10.0.0.7:1", "eve", start), Told::Now);
        assert_eq!(attempts.wrong_at("10.0.0.7:2", "bob", start), Told::Later);
        assert_eq!(attempts.wrong_at("10.0.0.7:3", "root", second(start, 59)), Told::Later);
        assert_eq!(attempts.wrong_at("10.0.0.8:1", "eve", start), Told::Now);
        assert_eq!(attempts.take_told_at(second(start, 59)), []);

        let more = More { peer: "10.0.0.7".into(), count: 2, last_user: "root".into() };
        assert_eq!(attempts.take_told_at(second(start, 60)), [more]);
        assert_eq!(attempts.take_told_at(second(start, 180)), []);
        assert!(attempts.lock().is_empty(), "who is quiet is forgotten");
    }

    #[test]
    fn the_addresses_of_many_guessers_are_bounded() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        let address = |number: usize| format!("{}:1", std::net::Ipv4Addr::from(u32::try_from(number).unwrap()));
        for number in 0..ADDRESSES_MAX + 10 {
            attempts.wrong_at(&address(number), "eve", start + Duration::from_millis(number as u64));
        }

        let records = attempts.lock();
        assert!(records.len() <= ADDRESSES_MAX, "{}", records.len());
        assert!(records.contains_key(&Place::of(&address(ADDRESSES_MAX))), "the latest are remembered");
    }
}
