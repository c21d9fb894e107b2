//! Who may connect: bounds on how many there are and how fast they come, for the whole broker, each listener and each address (docs/adr/0032).

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    config::{Config, Listener, Quota},
    entrance::{Address, Entrance},
    machine,
};

/// Connections beyond the bounds that are let in far enough to hear so in their CONNACK; who comes while these are there finds the door shut.
const SURPLUS_MAX: u32 = 64;

/// Addresses that are counted. Where there are more at a time, those beyond come uncounted: the other bounds are there for a whole network that attacks.
const ADDRESSES_MAX: usize = 16_384;

/// A full table is searched for what can be forgotten no more often.
const SWEEP_INTERVAL_US: u64 = 1_000_000;

/// A second's worth may come at once.
const SECOND_US: u64 = 1_000_000;

/// What the configuration allows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Bounds {
    /// Connections of all listeners together.
    pub(crate) max: Option<u32>,
    /// Connections of one address.
    pub(crate) per_address: Option<u32>,
    /// Connections of one address in a second.
    pub(crate) rate_per_address: Option<u32>,
    /// Bytes of memory of the whole process.
    pub(crate) memory: Option<u64>,
}

/// What it allows on one listener.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct DoorBounds {
    pub(crate) max: Option<u32>,
    /// Connections in a second.
    pub(crate) rate: Option<u32>,
    /// All come from the addresses of proxies, which say nothing about clients.
    pub(crate) is_behind_proxies: bool,
}

impl Bounds {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            max: config.max_connections,
            per_address: config.connections_per_address,
            rate_per_address: config.connect_rate_per_address,
            memory: match config.memory_max {
                Quota::None => None,
                Quota::Percent(percent) => machine::memory().map(|bytes| bytes / 100 * u64::from(percent)),
                Quota::Bytes(bytes) => Some(bytes),
            },
        }
    }
}

impl DoorBounds {
    pub(crate) fn of(listener: &Listener) -> Self {
        Self { max: listener.max_connections, rate: listener.connect_rate, is_behind_proxies: listener.proxies.is_some() }
    }
}

/// Counts connections against the bounds.
#[derive(Debug)]
pub(crate) struct Doorkeeper {
    began: Instant,
    all: Count,
    surplus: Count,
    /// 0: no bound.
    per_address: AtomicU32,
    rate_per_address: AtomicU32,
    addresses: Mutex<Addresses>,
    /// Memory is spent: nobody comes in.
    is_shut: AtomicBool,
    /// Bytes that the process may have; 0: no bound.
    memory: AtomicU64,
    refused: [AtomicU64; Refused::ALL.len()],
}

/// Why somebody was not let in, or sent away for want of memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// As many as may be are there, of the listener or in all.
    Full,
    /// As many as may be are there from that address.
    AddressFull,
    /// They come too fast from that address.
    AddressTooFast,
    /// There is no memory for more.
    NoMemory,
    /// Was connected, and held most when memory was spent.
    Shed,
}

impl Refused {
    pub(crate) const ALL: [Self; 5] = [Self::Full, Self::AddressFull, Self::AddressTooFast, Self::NoMemory, Self::Shed];

    /// A stable word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Full => "connections",
            Self::AddressFull => "address-connections",
            Self::AddressTooFast => "address-rate",
            Self::NoMemory => "memory",
            Self::Shed => "shed",
        }
    }
}

/// A listener, for as long as somebody comes through it or is here who did.
#[derive(Debug)]
pub(crate) struct Door {
    /// At the start its index in the configuration; one that is added later has a number that none had before.
    pub(crate) number: u16,
    pub(crate) entrance: Entrance,
    count: Count,
    /// Connections in a second; 0: any number.
    rate: AtomicU32,
    /// The time up to which what came is paid for, in microseconds (a leaky bucket as one number).
    paid_until: AtomicU64,
    is_behind_proxies: AtomicBool,
    /// It is no more: who is on the way from shard to shard is not let in, either.
    is_closed: AtomicBool,
}

impl Door {
    pub(crate) fn new(number: u16, entrance: Entrance, bounds: DoorBounds) -> Self {
        let door = Self {
            number,
            entrance,
            count: Count::up_to(None),
            rate: AtomicU32::new(0),
            paid_until: AtomicU64::new(0),
            is_behind_proxies: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        };
        door.allow(bounds);
        door
    }

    /// Other bounds for those who come from now on; who is inside stays.
    pub(crate) fn allow(&self, bounds: DoorBounds) {
        self.count.allow(bounds.max);
        self.rate.store(bounds.rate.unwrap_or(0), Ordering::Relaxed);
        self.is_behind_proxies.store(bounds.is_behind_proxies, Ordering::Relaxed);
    }

    /// Nobody comes through it any more.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }
}

/// What a connection occupies for as long as it is there.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(super) door: Arc<Door>,
    /// Its address in the table, or one of the two below: it has to be small, for every connection has one.
    at: u16,
}

/// One too many, here only to be told.
const SURPLUS: u16 = u16::MAX;
/// Not counted by its address.
const UNCOUNTED: u16 = u16::MAX - 1;

impl Place {
    #[cfg(test)]
    pub(super) fn uncounted(door: Arc<Door>) -> Self {
        Self { door, at: UNCOUNTED }
    }

    pub(super) fn is_surplus(&self) -> bool {
        self.at == SURPLUS
    }
}

/// What becomes of a connection that has come.
#[derive(Clone, Debug)]
pub(super) enum Admission {
    /// It comes in.
    In(Place),
    /// It comes in far enough to be told that there is no place.
    ToBeTold(Place, Refused),
    /// It is closed.
    Closed(Refused),
}

#[derive(Debug)]
struct Count {
    now: AtomicU32,
    max: AtomicU32,
}

impl Count {
    fn up_to(max: Option<u32>) -> Self {
        Self { now: AtomicU32::new(0), max: AtomicU32::new(max.unwrap_or(u32::MAX)) }
    }

    fn allow(&self, max: Option<u32>) {
        self.max.store(max.unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    fn enter(&self) -> bool {
        let entered = self.now.fetch_add(1, Ordering::Relaxed) < self.max.load(Ordering::Relaxed);
        if !entered {
            self.leave();
        }
        entered
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The time up to which one more is paid for; `Err`: when it may come.
fn pay(paid_until: u64, rate: u32, now: u64) -> Result<u64, u64> {
    let step = (SECOND_US / u64::from(rate.max(1))).max(1);
    let next = paid_until.max(now) + step;
    if next <= now + SECOND_US { Ok(next) } else { Err(next - SECOND_US) }
}

#[derive(Debug, Default)]
struct Addresses {
    places: HashMap<IpAddr, u16>,
    entries: Vec<Entry>,
    free: Vec<u16>,
    swept: u64,
}

#[derive(Debug)]
struct Entry {
    address: IpAddr,
    connections: u32,
    paid_until: u64,
}

impl Addresses {
    /// The entry of an address, a new one if need be. `None`: there is no room for one.
    fn place(&mut self, address: IpAddr, now: u64) -> Option<u16> {
        if let Some(&at) = self.places.get(&address) {
            return Some(at);
        }
        if self.places.len() >= ADDRESSES_MAX {
            self.sweep(now);
        }
        let at = match self.free.pop() {
            Some(at) => at,
            None if self.entries.len() < ADDRESSES_MAX => u16::try_from(self.entries.len()).ok()?,
            None => return None,
        };
        let entry = Entry { address, connections: 0, paid_until: 0 };
        match self.entries.get_mut(usize::from(at)) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
        self.places.insert(address, at);
        Some(at)
    }

    /// Forgets those who are not there and have come slowly enough.
    fn sweep(&mut self, now: u64) {
        if now < self.swept.saturating_add(SWEEP_INTERVAL_US) && self.swept > 0 {
            return;
        }
        self.swept = now.max(1);
        let Self { places, entries, free, .. } = self;
        places.retain(|_, at| {
            let entry = &entries[usize::from(*at)];
            let stays = entry.connections > 0 || entry.paid_until > now;
            if !stays {
                free.push(*at);
            }
            stays
        });
    }

    fn leave(&mut self, at: u16, now: u64) {
        let Some(entry) = self.entries.get_mut(usize::from(at)) else { return };
        entry.connections = entry.connections.saturating_sub(1);
        if entry.connections == 0 && entry.paid_until <= now {
            self.places.remove(&entry.address);
            self.free.push(at);
        }
    }
}

/// Of IPv6 the part that a provider gives to one customer.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

impl Doorkeeper {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        let doorkeeper = Self {
            began: Instant::now(),
            all: Count::up_to(None),
            surplus: Count::up_to(Some(SURPLUS_MAX)),
            per_address: AtomicU32::new(0),
            rate_per_address: AtomicU32::new(0),
            addresses: Mutex::default(),
            is_shut: AtomicBool::new(false),
            memory: AtomicU64::new(0),
            refused: Default::default(),
        };
        doorkeeper.allow(bounds);
        doorkeeper
    }

    /// Other bounds for those who come from now on; who is inside stays.
    pub(crate) fn allow(&self, bounds: &Bounds) {
        self.all.allow(bounds.max);
        self.memory.store(bounds.memory.unwrap_or(0), Ordering::Relaxed);
        self.per_address.store(bounds.per_address.unwrap_or(0), Ordering::Relaxed);
        self.rate_per_address.store(bounds.rate_per_address.unwrap_or(0), Ordering::Relaxed);
    }

    /// Bytes that the process may have, where that is bounded.
    pub(crate) fn memory_max(&self) -> Option<u64> {
        Some(self.memory.load(Ordering::Relaxed)).filter(|max| *max > 0)
    }

    /// Nobody comes in while memory is spent.
    pub(crate) fn shut(&self, is_shut: bool) {
        self.is_shut.store(is_shut, Ordering::Relaxed);
    }

    /// How many were refused, or sent away, by [`Refused::ALL`].
    pub(crate) fn refused(&self) -> [u64; Refused::ALL.len()] {
        std::array::from_fn(|index| self.refused[index].load(Ordering::Relaxed))
    }

    pub(super) fn count(&self, refused: Refused, count: u64) {
        self.refused[refused as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// When this listener may take the next connection, where that is not at once: until then it waits in the system's queue.
    pub(super) fn not_before(&self, door: &Door, now: Instant) -> Option<Instant> {
        let rate = door.rate.load(Ordering::Relaxed);
        if rate == 0 {
            return None;
        }
        let at = pay(door.paid_until.load(Ordering::Relaxed), rate, self.micros(now)).err()?;
        Some(self.began + Duration::from_micros(at))
    }

    /// One has come: a place for it, if only to be told that there is none.
    pub(super) fn enter(&self, door: &Arc<Door>, peer: &Address, now: Instant) -> Admission {
        let now = self.micros(now);
        let rate = door.rate.load(Ordering::Relaxed);
        if rate > 0 {
            // Several shards look at the same time: what one of them took too much is paid for later.
            let paid = |until: u64| Some(until.max(now) + (SECOND_US / u64::from(rate)).max(1));
            door.paid_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid).unwrap_or_default();
        }
        let at = match peer {
            Address::Net(peer) if !door.is_behind_proxies.load(Ordering::Relaxed) => self.enter_from(peer.ip(), now),
            Address::Net(_) | Address::Local { .. } => Ok(UNCOUNTED),
        };
        let refused = match at {
            Ok(at) if self.is_shut.load(Ordering::Relaxed) => {
                self.leave_address(at, now);
                Refused::NoMemory
            }
            Ok(at) if self.fits(door) => return Admission::In(Place { door: Arc::clone(door), at }),
            Ok(at) => {
                self.leave_address(at, now);
                Refused::Full
            }
            Err(refused) => refused,
        };
        self.count(refused, 1);
        // Who comes too fast is not served at all: that is what costs.
        if refused != Refused::AddressTooFast && self.surplus.enter() {
            return Admission::ToBeTold(Place { door: Arc::clone(door), at: SURPLUS }, refused);
        }
        Admission::Closed(refused)
    }

    fn enter_from(&self, address: IpAddr, now: u64) -> Result<u16, Refused> {
        let (max, rate) = (self.per_address.load(Ordering::Relaxed), self.rate_per_address.load(Ordering::Relaxed));
        if max == 0 && rate == 0 {
            return Ok(UNCOUNTED);
        }
        let mut addresses = self.addresses();
        let Some(at) = addresses.place(counted_as(address), now) else { return Ok(UNCOUNTED) };
        let entry = &mut addresses.entries[usize::from(at)];
        if rate > 0 {
            entry.paid_until = pay(entry.paid_until, rate, now).map_err(|_| Refused::AddressTooFast)?;
        }
        if max > 0 && entry.connections >= max {
            return Err(Refused::AddressFull);
        }
        entry.connections += 1;
        Ok(at)
    }

    fn fits(&self, door: &Door) -> bool {
        if !self.all.enter() {
            return false;
        }
        let entered = door.count.enter();
        if !entered {
            self.all.leave();
        }
        entered
    }

    pub(super) fn leave(&self, place: &Place) {
        if place.is_surplus() {
            self.surplus.leave();
            return;
        }
        place.door.count.leave();
        self.all.leave();
        self.leave_address(place.at, self.micros(Instant::now()));
    }

    fn leave_address(&self, at: u16, now: u64) {
        if at != UNCOUNTED {
            self.addresses().leave(at, now);
        }
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }

    /// Nothing panics while the lock is held.
    fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Address {
        Address::Net(format!("{address}:1234").parse().unwrap())
    }

    fn here() -> Address {
        from("127.0.0.1")
    }

    fn door(bounds: DoorBounds) -> Arc<Door> {
        Arc::new(Door::new(0, Entrance::new(&Listener::local()).unwrap(), bounds))
    }

    fn open_door() -> Arc<Door> {
        door(DoorBounds::default())
    }

    fn is_closed(admission: &Admission, by: Refused) -> bool {
        matches!(admission, Admission::Closed(refused) if *refused == by)
    }

    fn place(admission: Admission) -> Place {
        match admission {
            Admission::In(place) => place,
            refused @ (Admission::ToBeTold(..) | Admission::Closed(_)) => panic!("{refused:?}"),
        }
    }

    #[test]
    fn some_of_those_who_are_too_many_are_told_and_take_no_place_of_others() {
        let doorkeeper = Doorkeeper::new(&Bounds { max: Some(2), ..Bounds::default() });
        let (narrow, wide) = (door(DoorBounds { max: Some(1), ..DoorBounds::default() }), open_door());
        let now = Instant::now();
        let first = place(doorkeeper.enter(&narrow, &here(), now));

        let mut told = Vec::new();
        for _ in 0..SURPLUS_MAX {
            let Admission::ToBeTold(place, Refused::Full) = doorkeeper.enter(&narrow, &here(), now) else { panic!("it is full") };
            told.push(place);
        }
        assert!(is_closed(&doorkeeper.enter(&narrow, &here(), now), Refused::Full), "full, and enough are being told");
        place(doorkeeper.enter(&wide, &here(), now));
        assert!(is_closed(&doorkeeper.enter(&wide, &here(), now), Refused::Full), "the whole is full");
        assert_eq!(doorkeeper.refused()[Refused::Full as usize], u64::from(SURPLUS_MAX) + 2);

        doorkeeper.leave(&told[0]);
        assert!(matches!(doorkeeper.enter(&narrow, &here(), now), Admission::ToBeTold(..)));
        doorkeeper.leave(&first);
        place(doorkeeper.enter(&narrow, &here(), now));
    }

    #[test]
    fn one_address_has_its_share_and_takes_nothing_from_another() {
        let bounds = Bounds { per_address: Some(2), ..Bounds::default() };
        let doorkeeper = Doorkeeper::new(&bounds);
        let (open, now) = (open_door(), Instant::now());
        let first = place(doorkeeper.enter(&open, &from("192.0.2.1"), now));
        place(doorkeeper.enter(&open, &from("192.0.2.1"), now));

        let Admission::ToBeTold(surplus, Refused::AddressFull) = doorkeeper.enter(&open, &from("192.0.2.1"), now) else {
            panic!("a third one")
        };
        doorkeeper.leave(&surplus);
        place(doorkeeper.enter(&open, &from("192.0.2.2"), now));
        place(doorkeeper.enter(&open, &Address::Local { pid: 1, uid: 1 }, now));
        // One customer has very many addresses of IPv6.
        place(doorkeeper.enter(&open, &from("[2001:db8::1]"), now));
        place(doorkeeper.enter(&open, &from("[2001:db8::2]"), now));
        assert!(matches!(doorkeeper.enter(&open, &from("[2001:db8::3]"), now), Admission::ToBeTold(_, Refused::AddressFull)));

        doorkeeper.leave(&first);
        place(doorkeeper.enter(&open, &from("192.0.2.1"), now));
    }

    #[test]
    fn who_comes_too_fast_from_one_address_is_closed_until_it_has_paid() {
        let bounds = Bounds { rate_per_address: Some(10), ..Bounds::default() };
        let doorkeeper = Doorkeeper::new(&bounds);
        let (open, now) = (open_door(), Instant::now());
        let come = |at: Instant| doorkeeper.enter(&open, &here(), at);
        for _ in 0..10 {
            doorkeeper.leave(&place(come(now)));
        }

        assert!(is_closed(&come(now), Refused::AddressTooFast), "to connect and go is to connect");
        place(doorkeeper.enter(&open, &from("192.0.2.2"), now));
        place(come(now + Duration::from_millis(101)));
        assert!(is_closed(&come(now + Duration::from_millis(102)), Refused::AddressTooFast));
    }

    #[test]
    fn a_listener_s_rate_says_when_the_next_one_may_come() {
        let doorkeeper = Doorkeeper::new(&Bounds::default());
        let slow = door(DoorBounds { rate: Some(4), ..DoorBounds::default() });
        let now = Instant::now();
        for _ in 0..4 {
            assert_eq!(doorkeeper.not_before(&slow, now), None);
            place(doorkeeper.enter(&slow, &here(), now));
        }

        let at = doorkeeper.not_before(&slow, now).expect("a second's worth has come");
        assert!(at > now);
        assert_eq!(doorkeeper.not_before(&slow, at), None);
    }

    #[test]
    fn behind_proxies_addresses_say_nothing() {
        let doorkeeper = Doorkeeper::new(&Bounds { per_address: Some(1), ..Bounds::default() });
        let behind = door(DoorBounds { is_behind_proxies: true, ..DoorBounds::default() });

        place(doorkeeper.enter(&behind, &here(), Instant::now()));
        place(doorkeeper.enter(&behind, &here(), Instant::now()));
    }

    #[test]
    fn the_table_of_addresses_has_an_end_and_forgets_who_has_gone() {
        let bounds = Bounds { rate_per_address: Some(1), ..Bounds::default() };
        let doorkeeper = Doorkeeper::new(&bounds);
        let (open, now) = (open_door(), Instant::now());
        let number = |number: usize| from(&format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255));
        for each in 0..ADDRESSES_MAX {
            doorkeeper.leave(&place(doorkeeper.enter(&open, &number(each), now)));
        }

        doorkeeper.leave(&place(doorkeeper.enter(&open, &number(ADDRESSES_MAX), now)));
        assert_eq!(doorkeeper.addresses().places.len(), ADDRESSES_MAX, "beyond that nobody is counted");
        doorkeeper.leave(&place(doorkeeper.enter(&open, &number(ADDRESSES_MAX), now + Duration::from_secs(5))));

        assert_eq!(doorkeeper.addresses().places.len(), 1);
    }

    #[test]
    fn while_memory_is_spent_nobody_comes_in_and_some_are_told() {
        let doorkeeper = Doorkeeper::new(&Bounds::default());
        let open = open_door();
        doorkeeper.shut(true);
        assert!(matches!(doorkeeper.enter(&open, &here(), Instant::now()), Admission::ToBeTold(_, Refused::NoMemory)));

        doorkeeper.shut(false);
        place(doorkeeper.enter(&open, &here(), Instant::now()));
    }
}
