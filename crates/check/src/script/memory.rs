//! A broker in this process: shards, the real journal on a simulated disk, and time that passes only when somebody waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use columba_broker::{Config, Shard, commons::LocalCommons, durable::State, placement::Placement, seam::Gone};
use columba_proto::Time;

use super::world::{Arrival, Ending, LineNo, Unable, World};
use crate::model::LinkNo;
use crate::sim::{Host, Journal, Medium, Rng, Wish, Wrote};

/// Simulated clocks begin here: a Tuesday in November 2026.
const EPOCH_MS: u64 = 1_795_000_000_000;
/// More shards than one, so that every story crosses between them.
const SHARDS: u16 = 2;
const LANES: u16 = 4;
/// Bytes that a script's connection takes without reading: all.
const ROOM: usize = usize::MAX / 2;
/// What a broker that decides at once needs for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longer than the broker's own pauses.
const SILENCE: Duration = Duration::from_millis(50);

/// What a script's end of a connection has.
#[derive(Default)]
struct Line {
    /// Not yet read by the script.
    arrived: Vec<u8>,
    /// Not yet read by the broker.
    sent: Vec<u8>,
    is_closed: bool,
}

/// The whole world.
pub struct Memory {
    config: Arc<Config>,
    medium: Medium,
    rng: Rng,
    host: Host,
    lines: BTreeMap<LinkNo, Line>,
    opened: u32,
    /// Milliseconds since the world began.
    now_ms: u64,
}

impl Memory {
    /// A broker with an empty disk. Same seed, same world.
    ///
    /// # Panics
    ///
    /// Never: an empty disk can be read.
    pub fn new(config: Config, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let medium = Medium::new(&mut rng);
        let config = Arc::new(config);
        let host = start(&config, &medium, &mut rng, 0).expect("an empty disk is taken");
        Self { config, medium, rng, host, lines: BTreeMap::new(), opened: 0, now_ms: 0 }
    }

    /// Lets everything happen that waits for no time.
    fn settle(&mut self) {
        for shard in 0..self.host.shards() {
            self.host.end_turn(shard);
        }
        loop {
            let moved = self.grant() | self.read() | self.commit();
            if !moved {
                return;
            }
        }
    }

    /// What the shards have asked for.
    fn grant(&mut self) -> bool {
        let mut moved = false;
        while let Some(wish) = self.host.wishes.pop_front() {
            moved = true;
            match wish {
                Wish::Bytes { link, bytes } => {
                    if let Some(line) = self.lines.get_mut(&link) {
                        line.arrived.extend_from_slice(&bytes);
                    }
                }
                Wish::Lingers { .. } => {}
                Wish::Closed { link } => {
                    if let Some(line) = self.lines.get_mut(&link) {
                        line.is_closed = true;
                    }
                }
                Wish::Mail { shard } => {
                    self.host.deliver_mail(shard);
                    self.host.end_turn(shard);
                }
                Wish::Load { shard, session, after, count } => {
                    if let Some(loaded) = self.host.journal.load(session, after, count) {
                        self.host.loaded(shard, loaded);
                        self.host.end_turn(shard);
                    }
                }
                Wish::LoadRetained { shard } => {
                    self.host.load_retained(shard);
                    self.host.end_turn(shard);
                }
            }
        }
        moved
    }

    /// Gives the broker what it wants to read.
    fn read(&mut self) -> bool {
        let mut moved = false;
        for (&link, line) in &mut self.lines {
            if line.sent.is_empty() || !self.host.wants_reading(link) {
                continue;
            }
            let bytes = std::mem::take(&mut line.sent);
            let shard = self.host.shard_of(link);
            self.host.receive(link, &bytes);
            if let Some(shard) = shard {
                self.host.end_turn(shard);
            }
            moved = true;
        }
        moved
    }

    /// One commit, synced and told.
    fn commit(&mut self) -> bool {
        if !self.host.journal.can_commit() {
            return false;
        }
        let mark = self.host.mark();
        if !matches!(self.host.journal.write(mark), Wrote::Commit(_)) || self.host.journal.sync().is_none() {
            return false;
        }
        for shard in 0..self.host.shards() {
            if let Some(seq) = self.host.journal.take_synced(shard) {
                self.host.synced(shard, seq);
                self.host.end_turn(shard);
            }
        }
        true
    }

    /// The next moment at which a shard has something to do.
    fn next_wake(&self) -> Option<u64> {
        let wakes = (0..self.host.shards()).filter_map(|shard| self.host.next_wake(shard));
        wakes.min().map(|at| at.0.saturating_sub(EPOCH_MS))
    }

    /// Goes to this moment, and does what is due there.
    fn go_to(&mut self, at_ms: u64) {
        self.now_ms = self.now_ms.max(at_ms);
        let now = Time(EPOCH_MS + self.now_ms);
        self.host.set_now(now);
        for shard in 0..self.host.shards() {
            if self.host.next_wake(shard).is_some_and(|at| at <= now) {
                self.host.with(shard, Shard::tick);
                self.host.end_turn(shard);
            }
        }
        self.settle();
    }

    /// Lets time pass until `done` says so, or to the end.
    fn live(&mut self, time: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now_ms + u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.settle();
        while !done(self) {
            let wake = self.next_wake().map(|wake| wake.max(self.now_ms + 1));
            match wake.filter(|wake| *wake <= end) {
                Some(wake) => self.go_to(wake),
                None => return self.go_to(end),
            }
        }
    }

    fn has_news(&self, link: LinkNo) -> bool {
        self.lines.get(&link).is_none_or(|line| line.is_closed || !line.arrived.is_empty())
    }
}

/// Starts the broker on what is on the disk.
fn start(config: &Arc<Config>, medium: &Medium, rng: &mut Rng, now_ms: u64) -> Result<Host, Unable> {
    let (journal, state): (Journal, State) =
        Journal::start(medium.clone(), usize::from(SHARDS), None).map_err(|error| Unable(format!("{error:?}")))?;
    // One key for all starts: a client stays in its lane.
    let commons = LocalCommons::new(Placement::new([7; 16], LANES, SHARDS), rng.next_u64());
    let mut host = Host::new(config, commons, journal, None, rng, Time(EPOCH_MS + now_ms));
    host.restore(state);
    Ok(host)
}

impl World for Memory {
    fn dial(&mut self) -> Result<LineNo, Unable> {
        let link = LinkNo(self.opened);
        self.opened += 1;
        self.lines.insert(link, Line::default());
        let shard = self.host.open(link, ROOM);
        self.host.end_turn(shard);
        Ok(LineNo(link.0))
    }

    fn send(&mut self, no: LineNo, bytes: &[u8]) {
        if let Some(line) = self.lines.get_mut(&LinkNo(no.0)) {
            line.sent.extend_from_slice(bytes);
        }
        self.settle();
    }

    fn receive(&mut self, no: LineNo, within: Duration, into: &mut Vec<u8>) -> Arrival {
        let wanted = LinkNo(no.0);
        self.live(within, |world| world.has_news(wanted));
        match self.lines.get_mut(&wanted) {
            Some(line) if !line.arrived.is_empty() => {
                into.append(&mut line.arrived);
                Arrival::Bytes
            }
            Some(line) if !line.is_closed => Arrival::Nothing,
            Some(_) | None => Arrival::Closed,
        }
    }

    fn cut(&mut self, no: LineNo) {
        let link = LinkNo(no.0);
        self.settle();
        if let Some(shard) = self.host.shard_of(link) {
            self.host.closed(link, Gone::ByPeer);
            self.host.end_turn(shard);
        }
        self.lines.remove(&link);
        self.settle();
    }

    fn pass(&mut self, time: Duration) {
        self.live(time, |_| false);
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.now_ms)
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn silence(&self) -> Duration {
        SILENCE
    }

    fn restart(&mut self, ending: Ending) -> Result<(), Unable> {
        self.settle();
        match ending {
            Ending::Stopped => {
                for shard in 0..self.host.shards() {
                    self.host.with(shard, Shard::shutdown);
                    self.host.end_turn(shard);
                }
                self.settle();
                self.host.journal.finish();
            }
            Ending::Killed => self.medium.disk.crash(self.rng.next_u64()),
        }
        for line in self.lines.values_mut() {
            line.is_closed = true;
            line.sent.clear();
        }
        self.host = start(&self.config, &self.medium, &mut self.rng, self.now_ms)?;
        self.settle();
        Ok(())
    }
}
