//! The listeners that are open, and what another configuration makes of them: which stay, which have other terms, which come and which go.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, PoisonError, Weak},
};

use columba_broker::limits::Terms;
use thiserror::Error;

use crate::{
    certificates::{self, Certificates},
    config::{ListenAddress, Listener, Sync},
    core::{Door, DoorBounds, Listening, Mail, Shared},
    durability::{Plan, Waits},
    entrance::Entrance,
    error::StartError,
    listen::{self, ListeningAt},
    watch::Watched,
};

/// All that are open.
#[derive(Debug)]
pub(crate) struct Listeners {
    open: Vec<Open>,
    waits: Waits,
    /// The numbers of those that wait for less than the others, also of former ones.
    written: Vec<u16>,
    /// What holds on each, by its number, also of former ones.
    terms: Vec<Terms>,
}

#[derive(Debug)]
struct Open {
    listener: Listener,
    /// The one through which clients come now.
    door: Arc<Door>,
    /// Those before it, as long as clients are here who came through them.
    former: Vec<Arc<Door>>,
    places: Vec<ListeningAt>,
}

/// Why other listeners cannot be had while the broker runs.
#[derive(Debug, Error)]
pub(crate) enum NotTaken {
    /// What would also keep the broker from starting with them.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It promises more than the journal does as it was opened.
    #[error(
        "listener {0} has acknowledgements wait for the disk, which no listener did when the broker was started: start it anew"
    )]
    SyncsAtLast(ListenAddress),
    /// Every number was given to one.
    #[error("there have been 65,535 listeners since the broker was started: start it anew")]
    Numbers,
}

/// What becomes of a listener that the next configuration has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// The open one at this place stays.
    Stays(usize),
    /// The open one at this place has other terms.
    Alters(usize),
    Comes,
}

/// What the next configuration has, made ready: nothing of it is in force yet, and nothing of it can fail any more.
#[derive(Debug)]
pub(crate) struct Ready {
    next: Vec<Prepared>,
}

#[derive(Debug)]
struct Prepared {
    fate: Fate,
    listener: Listener,
    /// The new door of one that alters or comes, and whether its acknowledgements wait only for the write.
    door: Option<(Arc<Door>, bool)>,
    /// Of one that comes.
    sockets: Vec<Vec<Listening>>,
    places: Vec<ListeningAt>,
}

impl Listeners {
    /// As the broker is started.
    pub(crate) fn new(plan: &Plan, listeners: &[Listener]) -> Self {
        let terms = terms_of(listeners);
        Self { open: Vec::new(), waits: plan.waits, written: plan.written_listeners.clone(), terms }
    }

    /// One that is open from the start on.
    pub(crate) fn opened(&mut self, listener: &Listener, door: Arc<Door>, places: Vec<ListeningAt>) {
        self.open.push(Open { listener: listener.clone(), door, former: Vec::new(), places });
    }

    /// Where they are.
    pub(crate) fn places(&self) -> impl Iterator<Item = &ListeningAt> {
        self.open.iter().flat_map(|open| &open.places)
    }

    /// The addresses of those that are at a port.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.places().filter_map(ListeningAt::address)
    }

    /// The numbers of those that wait for less than the others.
    pub(crate) fn written(&self) -> &[u16] {
        &self.written
    }

    /// What holds on each, by its number, where that is not what holds everywhere.
    pub(crate) fn terms(&self) -> &[Terms] {
        &self.terms
    }

    /// The numbers that each has: what it asks for now holds also for those who came when it had another one.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (u16, &Listener)> {
        let doors = |open: &'_ Open| open.former.iter().chain([&open.door]).map(|door| door.number).collect::<Vec<_>>();
        self.open.iter().flat_map(move |open| doors(open).into_iter().map(move |number| (number, &open.listener)))
    }

    /// Makes ready what the next configuration has: reads its certificates, takes its addresses. `sync` is what holds where a listener says nothing.
    pub(crate) fn prepare(&self, next: &[Listener], sync: Sync, shared: &Shared) -> Result<Ready, NotTaken> {
        let open: Vec<&Listener> = self.open.iter().map(|open| &open.listener).collect();
        let (fates, _) = difference(&open, next);
        let mut number = names(shared).len();
        let mut ready = Vec::new();
        for (listener, fate) in next.iter().zip(fates) {
            let mut prepared = Prepared { fate, listener: listener.clone(), door: None, sockets: Vec::new(), places: Vec::new() };
            if !matches!(fate, Fate::Stays(_)) {
                let is_written = self.is_written_enough(listener, sync)?;
                let entrance = Entrance::new(listener).map_err(StartError::from)?;
                let own = u16::try_from(number).map_err(|_| NotTaken::Numbers)?;
                number += 1;
                prepared.door = Some((Arc::new(Door::new(own, entrance, DoorBounds::of(listener))), is_written));
            }
            if fate == Fate::Comes {
                let shards = u16::try_from(shared.mesh.len()).unwrap_or(u16::MAX);
                for reserved in listen::reserve(std::slice::from_ref(listener))? {
                    prepared.places.push(reserved.place.clone());
                    prepared.sockets.push(reserved.open(shards)?);
                }
            }
            ready.push(prepared);
        }
        Ok(Ready { next: ready })
    }

    /// Whether its acknowledgements wait only for the write: what was promised less than the disk when the broker was started keeps to that; none promises less later.
    fn is_written_enough(&self, listener: &Listener, sync: Sync) -> Result<bool, NotTaken> {
        match (self.waits, listener.sync.unwrap_or(sync)) {
            (Waits::Written, Sync::Group | Sync::Always) => Err(NotTaken::SyncsAtLast(listener.address.clone())),
            (Waits::Both, Sync::Interval | Sync::None) => Ok(true),
            (Waits::Written | Waits::Synced | Waits::Both, _) => Ok(false),
        }
    }

    /// Notes what is ready as what is open; the numbers of those that wait for less are known from here on, the rest is for [`Change::carry_out`].
    pub(crate) fn change(&mut self, ready: Ready, shared: &Shared) -> Change {
        let mut change = Change::default();
        let mut before: Vec<Option<Open>> = std::mem::take(&mut self.open).into_iter().map(Some).collect();
        for Prepared { fate, listener, door, sockets, places } in ready.next {
            if let Some((door, is_written)) = &door {
                names(shared).push(listener.address.to_string());
                let mut known = certificates(shared);
                known.retain(|(_, certificates)| certificates.strong_count() > 0);
                known.extend(certificates_of(&listener, door));
                drop(known);
                self.written.extend(is_written.then_some(door.number));
                let number = usize::from(door.number);
                if self.terms.len() <= number {
                    self.terms.resize(number + 1, Terms::default());
                }
                self.terms[number] = listener.terms.clone();
                change.watched.extend(door.entrance.certificates().map(certificates::watched).into_iter().flatten());
            }
            let was = match fate {
                Fate::Stays(at) | Fate::Alters(at) => before[at].take(),
                Fate::Comes => None,
            };
            match (was, door) {
                (Some(mut open), None) => {
                    open.door.allow(DoorBounds::of(&listener));
                    open.listener = listener;
                    self.open.push(open);
                }
                (Some(mut open), Some((door, _))) => {
                    set_mode(&open.listener, &listener);
                    tracing::info!(listener = %listener.address, "listener has other terms: they hold for who comes from now on");
                    change.altered.push((open.door.number, Arc::clone(&door)));
                    open.former.push(std::mem::replace(&mut open.door, door));
                    // Nobody is here any more who came through these.
                    open.former.retain(|door| Arc::strong_count(door) > 1);
                    set_scheme(&mut open.places, &listener);
                    open.listener = listener;
                    self.open.push(open);
                }
                (None, Some((door, _))) => {
                    for place in &places {
                        tracing::info!(listener = %place, "listener opened");
                    }
                    change.opened.extend(sockets.into_iter().map(|sockets| (sockets, Arc::clone(&door))));
                    self.open.push(Open { listener, door, former: Vec::new(), places });
                }
                (None, None) => unreachable!("what is not open has a door made for it"),
            }
        }
        for closed in before.into_iter().flatten() {
            tracing::info!(listener = %closed.listener.address, "listener closed: its clients are sent away");
            remove_sockets(&closed.places);
            change.closed.extend(closed.former.into_iter().chain([closed.door]));
        }
        change
    }

    /// Removes what would be left in the file system.
    pub(crate) fn tidy_up(&self) {
        for open in &self.open {
            remove_sockets(&open.places);
        }
    }
}

/// What the shards are to be told.
#[derive(Debug, Default)]
pub(crate) struct Change {
    opened: Vec<(Vec<Listening>, Arc<Door>)>,
    altered: Vec<(u16, Arc<Door>)>,
    closed: Vec<Arc<Door>>,
    watched: Vec<Watched>,
}

impl Change {
    /// Tells the shards; the files of new doors are to be watched. The shards have to know the limits already: what acknowledgements wait for is looked up by a listener's number.
    pub(crate) fn carry_out(self, shared: &Shared) -> Vec<Watched> {
        let all = 0..shared.mesh.len();
        for door in &self.closed {
            door.close();
            all.clone().for_each(|shard| shared.mesh.post_one(shard, Mail::CloseDoor(door.number)));
        }
        for (from, to) in self.altered {
            all.clone().for_each(|shard| shared.mesh.post_one(shard, Mail::ChangeDoor { from, to: Arc::clone(&to) }));
        }
        for (sockets, door) in self.opened {
            for (shard, socket) in all.clone().zip(sockets) {
                shared.mesh.post_one(shard, Mail::Listen(socket, Arc::clone(&door)));
            }
        }
        self.watched
    }
}

/// The addresses of all that there have been, by their numbers.
pub(crate) fn names(shared: &Shared) -> std::sync::MutexGuard<'_, Vec<String>> {
    shared.listeners.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a shard has heard of what listeners are called.
#[derive(Debug, Default)]
pub(crate) struct KnownNames(Vec<String>);

impl KnownNames {
    /// What the listener of this number is called, or was. Who does not know it asks once: names do not change.
    pub(crate) fn of(&mut self, shared: &Shared, number: u16) -> &str {
        if self.0.len() <= usize::from(number) {
            self.0.clone_from(&names(shared));
        }
        self.0.get(usize::from(number)).map_or("", String::as_str)
    }
}

/// The certificates of listeners with TLS, by their addresses, as long as somebody comes through them or is here who did; later ones behind.
pub(crate) fn certificates(shared: &Shared) -> std::sync::MutexGuard<'_, Vec<(String, Weak<Certificates>)>> {
    shared.certificates.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A listener's certificates, if it has any, for [`certificates`].
pub(crate) fn certificates_of(listener: &Listener, door: &Door) -> Option<(String, Weak<Certificates>)> {
    door.entrance.certificates().map(|it| (listener.address.to_string(), Arc::downgrade(it)))
}

/// The terms of listeners that get their numbers in this order.
pub(crate) fn terms_of(listeners: &[Listener]) -> Vec<Terms> {
    listeners.iter().map(|listener| listener.terms.clone()).collect()
}

/// Clients that are connected, by MQTT version: for each listener, which may have had several numbers under one name.
pub(crate) fn online_by_name<'n>(names: &'n [String], online: &[[u64; 3]]) -> BTreeMap<&'n str, [u64; 3]> {
    let mut sums: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for (number, name) in names.iter().enumerate() {
        let sum = sums.entry(name).or_default();
        for (sum, count) in sum.iter_mut().zip(online.get(number).copied().unwrap_or_default()) {
            *sum += count;
        }
    }
    sums
}

/// What becomes of each that comes next, and which of those now are to be closed.
fn difference(now: &[&Listener], next: &[Listener]) -> (Vec<Fate>, Vec<usize>) {
    let mut left: Vec<usize> = (0..now.len()).collect();
    let fates = next
        .iter()
        .map(|listener| {
            let Some(found) = left.iter().position(|&at| is_at_same_place(now[at], listener)) else {
                return Fate::Comes;
            };
            let at = left.remove(found);
            if is_same(now[at], listener) { Fate::Stays(at) } else { Fate::Alters(at) }
        })
        .collect();
    (fates, left)
}

/// Whether one socket does for both, whatever is spoken there.
fn is_at_same_place(now: &Listener, next: &Listener) -> bool {
    if now.interface != next.interface {
        return false;
    }
    match (&now.address, &next.address) {
        (ListenAddress::Net { host, port, .. }, ListenAddress::Net { host: next_host, port: next_port, .. }) => {
            (host, port) == (next_host, next_port)
        }
        (now, next) => now == next,
    }
}

/// Whether who comes finds the same, but for how many may, and how fast.
fn is_same(now: &Listener, next: &Listener) -> bool {
    *now == Listener { max_connections: now.max_connections, connect_rate: now.connect_rate, ..next.clone() }
}

fn set_scheme(places: &mut [ListeningAt], next: &Listener) {
    for place in places {
        if let (ListeningAt::Port(scheme, _), ListenAddress::Net { scheme: spoken, .. }) = (place, &next.address) {
            *scheme = *spoken;
        }
    }
}

fn set_mode(now: &Listener, next: &Listener) {
    if let ListenAddress::Unix(path) = &next.address
        && now.mode != next.mode
        && let Err(error) = fs::set_permissions(path, Permissions::from_mode(next.mode))
    {
        tracing::error!(path = %path.display(), %error, "the permissions of a socket cannot be changed");
    }
}

fn remove_sockets(places: &[ListeningAt]) {
    for place in places {
        if let ListeningAt::Path(path) = place {
            remove_socket(path);
        }
    }
}

fn remove_socket(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(%error, "cannot remove a socket");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(url: &str) -> Listener {
        Listener::at(url.parse().unwrap())
    }

    fn fates(now: &[Listener], next: &[Listener]) -> (Vec<Fate>, Vec<usize>) {
        difference(&now.iter().collect::<Vec<_>>(), next)
    }

    #[test]
    fn what_is_at_the_same_place_stays_or_alters_and_the_rest_comes_and_goes() {
        let now = [listener("127.0.0.1:1883"), listener("127.0.0.1:8883"), listener("unix:/run/a.sock")];
        let more = Listener { max_connections: Some(5), ..listener("127.0.0.1:1883") };
        let web = listener("ws://127.0.0.1:8883");
        let other_mode = Listener { mode: 0o600, ..listener("unix:/run/a.sock") };

        assert_eq!(fates(&now, &now), (vec![Fate::Stays(0), Fate::Stays(1), Fate::Stays(2)], vec![]));
        assert_eq!(fates(&now, &[now[2].clone(), more]), (vec![Fate::Stays(2), Fate::Stays(0)], vec![1]));
        assert_eq!(fates(&now, &[web, other_mode]), (vec![Fate::Alters(1), Fate::Alters(2)], vec![0]));
        let lo = Listener { interface: Some("lo".parse().unwrap()), ..listener("127.0.0.1:1883") };
        assert_eq!(fates(&now[..1], std::slice::from_ref(&lo)), (vec![Fate::Comes], vec![0]));
        assert_eq!(fates(&[now[0].clone(), lo.clone()], &[lo]), (vec![Fate::Stays(1)], vec![0]));
        let (elsewhere, again) = (listener("127.0.0.2:1883"), listener("127.0.0.1:1883"));
        assert_eq!(fates(&now, &[elsewhere, again.clone(), again]), (vec![Fate::Comes, Fate::Stays(0), Fate::Comes], vec![1, 2]));
    }

    #[test]
    fn one_that_got_other_terms_is_still_one() {
        let names = ["a", "b", "a", "c"].map(String::from);

        let online = online_by_name(&names, &[[1, 2, 3], [0, 1, 0], [1, 0, 4]]);

        assert_eq!(online.into_iter().collect::<Vec<_>>(), [("a", [2, 2, 7]), ("b", [0, 1, 0]), ("c", [0, 0, 0])]);
    }

    #[test]
    fn nobody_is_promised_the_disk_by_a_journal_that_does_not_sync() {
        let with = |waits| Listeners { open: Vec::new(), waits, written: Vec::new(), terms: Vec::new() };
        let says = |sync| Listener { sync: Some(sync), ..listener("127.0.0.1:1883") };

        assert!(matches!(with(Waits::Written).is_written_enough(&says(Sync::Group), Sync::None), Err(NotTaken::SyncsAtLast(_))));
        assert!(with(Waits::Both).is_written_enough(&says(Sync::None), Sync::Group).unwrap());
        assert!(!with(Waits::Both).is_written_enough(&says(Sync::Group), Sync::None).unwrap());
        assert!(
            !with(Waits::Synced).is_written_enough(&says(Sync::None), Sync::Group).unwrap(),
            "it waits for more than it must"
        );
    }
}
