//! The simulated world: picks the next due thing, lets it happen, drains what follows.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use columba_broker::{
    Config, MissedQos0, Shard,
    commons::LocalCommons,
    durable::State,
    limits::Rate,
    placement::Placement,
    route::{Strategies, Strategy},
    seam::Gone,
};
use columba_proto::{
    PacketType, Peer, Time, decode,
    packet::Packet,
    wire::{Split, split},
};
use columba_store::sim::Fault;

use super::{
    agenda::{Agenda, Due},
    client::{Client, PublishPlan, Scene, WillPlan},
    faults::PlantedFault,
    host::{Host, Wish},
    hostile,
    journal::{Journal, Medium, StartError, Wrote, interrupt_checkpoint},
    network::{Pipe, random_pipe},
    payload,
    plan::{Odds, Operation, vocabulary},
    rng::Rng,
    tally::{Happening, Tally},
};
use crate::model::{ClientInfo, ClientNo, Difference, Fact, FilterNo, History, LinkNo, Micros, Retained, SubscriptionInfo};

/// Simulated clocks begin here: a Tuesday in November 2026.
const EPOCH_MS: u64 = 1_795_000_000_000;

/// A hostile client that has not come yet.
const NOBODY: LinkNo = LinkNo(u32::MAX);

/// The longest a drained run may take.
const DRAIN_MOST: Micros = 300_000_000;

/// Longer than any message takes at the rate of these worlds.
const PAUSE_MOST: Micros = 5_000_000;

/// One connection.
struct Link {
    client: ClientNo,
    up: Pipe,
    down: Pipe,
    /// The client still uses it.
    in_use: bool,
    /// The network has lost it: nothing more gets through.
    broken: bool,
    /// What follows the client's last byte.
    after: After,
    /// A DISCONNECT is among what the client has written.
    said_goodbye: bool,
    /// The beginning of a frame that the broker has been given.
    partial: Vec<u8>,
}

/// What the broker's end sees behind the last byte of the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum After {
    /// More may come.
    More,
    /// The end of the stream.
    End,
    /// Nothing, not even that: the client has vanished.
    Silence,
}

/// A world from its birth to its verdict.
#[expect(clippy::struct_excessive_bools, reason = "independent conditions of one world, each asked for by itself")]
pub(crate) struct World {
    pub(crate) history: History,
    rng: Rng,
    odds: Odds,
    config: Arc<Config>,
    medium: Medium,
    host: Option<Host>,
    clients: Vec<Client>,
    links: BTreeMap<LinkNo, Link>,
    /// Whose a connection is, by its number, and whether it is over to the broker.
    owners: Vec<(ClientNo, bool)>,
    agenda: Agenda,
    now: Micros,
    ticks: Vec<Option<Micros>>,
    turns: Vec<bool>,
    checkpoint_is_planned: bool,
    operations: usize,
    draining: Option<Micros>,
    /// At the end members of groups stay away until the others are at rest.
    absent: bool,
    /// The disk will fail, or has failed, the journal.
    disk_fault: bool,
    fault: Option<PlantedFault>,
    key: [u8; 16],
    refused: bool,
    disk_is_full: bool,
    /// Hostile clients that are here, and what they still have to send.
    hostile: BTreeMap<LinkNo, VecDeque<Vec<u8>>>,
    hostiles: usize,
    tally: Tally,
    /// Where the process dies, how often it still may, and how often that moment had come when it was looked at last.
    led_into: Option<(Happening, usize, u64)>,
}

impl World {
    pub(crate) fn new(seed: u64, fault: Option<PlantedFault>) -> Self {
        let mut rng = Rng::new(seed);
        let odds = Odds::draw(&mut rng);
        let medium = Medium::new(&mut rng);
        medium.disk.ignore_syncs(fault == Some(PlantedFault::LostSync));
        // Drawn apart: seeds that are named for what happens under them stay as they are otherwise.
        let mut pace = Rng::new(!seed);
        let config = Config {
            receive_maximum: rng.pick(&[2, 20, 1024]),
            inflight: rng.pick(&[1, 5, 100]),
            deliver_ahead_max: rng.pick(&[200, 2_000, 256 * 1024]),
            retry_interval_ms: rng.pick(&[0, 20, 2_000, 30_000]),
            ephemeral_queue_max: rng.pick(&[2, 20, 1_000]),
            hot_messages: rng.pick(&[0, 1, 5, 256]),
            retained_bytes: rng.pick(&[0, 100, 16 * 1024 * 1024]),
            cold_window: rng.pick(&[1, 3, 64]),
            slow_consumer_timeout_ms: rng.pick(&[500, 30_000]),
            unread_answers_max: rng.pick(&[100, 1024 * 1024]),
            held_frames_max: rng.pick(&[4, 8_192]),
            max_topic_alias: rng.pick(&[0, 2, 64]),
            cached_topics_max: rng.pick(&[1, 2, 65_536]),
            bytes_out: pace.pick(&[None, None, None, Rate::new(5_000)]),
            messages_out: pace.pick(&[None, None, None, Rate::new(20)]),
            missed_qos0: pace.pick(&[MissedQos0::Lost, MissedQos0::Lost, MissedQos0::Waits]),
            ..Config::default()
        };
        let key = u128::from(rng.next_u64()).to_le_bytes();
        let shards = usize::from(odds.shards);
        let mut world = Self {
            history: History { vocabulary: vocabulary(), ..History::default() },
            odds,
            config: Arc::new(config),
            medium,
            host: None,
            clients: Vec::new(),
            links: BTreeMap::new(),
            owners: Vec::new(),
            agenda: Agenda::default(),
            now: 0,
            ticks: vec![None; shards],
            turns: vec![false; shards],
            checkpoint_is_planned: false,
            operations: 0,
            draining: None,
            absent: true,
            disk_fault: false,
            fault,
            key,
            refused: false,
            disk_is_full: false,
            hostile: BTreeMap::new(),
            hostiles: 0,
            tally: Tally::default(),
            led_into: None,
            rng,
        };
        for _ in 0..world.odds.hostiles {
            let at = world.rng.below(world.odds.pace * 100);
            world.agenda.add(at, Due::Hostile(NOBODY));
        }
        for number in 0..world.odds.clients + world.odds.workers {
            world.add_one(number >= world.odds.clients);
        }
        world
    }

    fn add_one(&mut self, is_worker: bool) {
        let habits = Odds::habits(&mut self.rng, is_worker);
        let number = self.clients.len();
        self.add_client(if is_worker { format!("worker-{number}") } else { format!("client-{number}") }, habits);
    }

    /// Makes this life one that comes to a moment, and dies there.
    pub(crate) fn lead_into(&mut self, moment: Happening) {
        self.odds.lead_into(moment);
        let shards = usize::from(self.odds.shards);
        (self.ticks, self.turns) = (vec![None; shards], vec![false; shards]);
        for _ in self.clients.len()..self.odds.clients + self.odds.workers {
            self.add_one(true);
        }
        self.led_into = Some((moment, 6, 0));
    }

    /// Dies in the moment that this life is led into.
    #[expect(clippy::wildcard_enum_match_arm, reason = "two moments last, the others are counted")]
    fn strike(&mut self) {
        let (Some((moment, left, seen)), Some(host)) = (self.led_into, &self.host) else { return };
        let times = self.tally.of(moment) + host.tally.of(moment);
        let is_now = match moment {
            Happening::CrashBeforeHandOnSync => host.journal.on_its_way.released > 0,
            Happening::CutBetweenLanes => host.has_letters(),
            _ => times > seen,
        };
        if is_now && left > 0 && self.draining.is_none() && self.rng.chance(1, 2) {
            self.crash();
            self.led_into = Some((moment, left - 1, self.tally.of(moment)));
        } else {
            self.led_into = Some((moment, left, times));
        }
    }

    fn add_client(&mut self, id: String, habits: super::client::Habits) -> ClientNo {
        let no = ClientNo(u16::try_from(self.clients.len()).expect("few clients"));
        let hears_session_present = habits.version.has_session_present();
        self.history.clients.push(ClientInfo {
            id: id.clone(),
            expiry: habits.expiry,
            small_only: habits.packet_max.is_some(),
            hears_session_present,
        });
        self.clients.push(Client::new(no, id, habits));
        let at = self.now + self.rng.below(self.odds.pace);
        self.agenda.add(at, Due::Operation(no));
        no
    }

    /// Runs to the end; what happened is in the history.
    pub(crate) fn run(&mut self) {
        self.start();
        self.run_until_quiet();
        if !self.refused && self.rng.chance(1, 3) {
            self.crash();
            self.look_again();
            self.run_until_quiet();
        }
        self.probe();
        self.run_until_quiet();
        self.last_look();
    }

    /// What happened, counted.
    pub(crate) fn tally(&mut self) -> Tally {
        self.take_tally();
        std::mem::take(&mut self.tally)
    }

    fn take_tally(&mut self) {
        if let Some(host) = &mut self.host {
            self.tally.merge(&std::mem::take(&mut host.tally));
        }
    }

    /// How often clients did something.
    pub(crate) fn operations(&self) -> usize {
        self.operations
    }

    fn fact(&mut self, fact: Fact) {
        self.history.add(self.now, fact);
    }

    fn run_until_quiet(&mut self) {
        while !self.refused {
            let Some((at, due)) = self.agenda.pop() else { return };
            self.now = self.now.max(at);
            if let Some(host) = &mut self.host {
                host.set_now(Time(EPOCH_MS + self.now / 1_000));
            }
            if due == Due::Drain {
                if self.drain_step() {
                    return;
                }
            } else {
                self.happen(due);
            }
            self.strike();
            self.grant();
            if self.draining.is_some_and(|since| self.now > since + DRAIN_MOST) {
                self.fact(Fact::Differs { what: Difference::NeverQuiet });
                let config = &self.config;
                self.history.notes.push(format!(
                    "retry {}, queue {}, slow {}, unread {}, held {}, ahead {}, inflight {}, receive {}",
                    config.retry_interval_ms,
                    config.ephemeral_queue_max,
                    config.slow_consumer_timeout_ms,
                    config.unread_answers_max,
                    config.held_frames_max,
                    config.deliver_ahead_max,
                    config.inflight,
                    config.receive_maximum
                ));
                for (no, link) in &self.links {
                    let door = self.host.as_mut().map(|host| host.condition(*no));
                    self.history.notes.push(format!(
                        "link {} of {}: in use {}, broken {}, up {}, down {}, {door:?}",
                        no.0,
                        link.client.0,
                        link.in_use,
                        link.broken,
                        link.up.len(),
                        link.down.len()
                    ));
                }
                for client in &self.clients {
                    self.history.notes.push(format!("{}: {}", client.id(), client.condition()));
                }
                self.refused = true;
            }
        }
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Operation(client) => self.operation(client),
            Due::Answer(client, link) => self.answer(client, link),
            Due::Up(link) => self.up(link),
            Due::Down(link) => self.down(link),
            Due::ClientHears(link) => self.client_hears(link),
            Due::BrokerHears(link, gone) => self.broker_hears(link, gone),
            Due::TurnEnd(shard) => {
                self.turns[shard] = false;
                self.end_turn(shard);
            }
            Due::Mail(shard) => self.on_shard(shard, |host| host.deliver_mail(shard)),
            Due::Loaded { shard, session, after, count } => {
                let loaded = self.host.as_ref().and_then(|host| host.journal.load(session, after, count));
                if let Some(loaded) = loaded {
                    self.on_shard(shard, |host| host.loaded(shard, loaded));
                }
            }
            Due::LoadedRetained(shard) => self.on_shard(shard, |host| host.load_retained(shard)),
            Due::Tick(shard) => {
                self.ticks[shard] = None;
                self.on_shard(shard, |host| host.with(shard, Shard::tick));
            }
            Due::Commit => self.commit(),
            Due::SyncEnd => self.sync_end(),
            Due::TellSynced(shard) => {
                let news = self.host.as_mut().and_then(|host| host.journal.take_synced(shard));
                if let Some(seq) = news
                    && !self.dies(Happening::CrashBeforeNews)
                {
                    self.on_shard(shard, |host| host.synced(shard, seq));
                    self.dies(Happening::CrashAfterNews);
                }
            }
            Due::Checkpoint => self.checkpoint(),
            Due::Crash => self.crash(),
            Due::Stop => self.stop(),
            Due::DiskFault => {
                let fault = self.rng.pick(&[Fault::Sync, Fault::Write]);
                self.medium.disk.fail(fault, 0);
                self.disk_fault = true;
            }
            Due::DiskFull => {
                self.disk_is_full = true;
                self.medium.disk.limit_space(Some(0));
                let at = self.now + self.rng.pick(&[5_000, 100_000, 3_000_000]);
                self.agenda.add(at, Due::DiskRoom);
            }
            Due::DiskRoom => self.make_room(),
            Due::Haste(client) => {
                if self.draining.is_none() && self.host.is_some() && self.clients[usize::from(client.0)].is_open() {
                    let is_patient = self.clients[usize::from(client.0)].habits.version.has_properties();
                    if is_patient || self.rng.chance(1, 4) {
                        self.act(client, Operation::TakeOver);
                    } else {
                        self.with_client(client, Client::repeat);
                    }
                }
            }
            Due::Hostile(NOBODY) => self.hostile_comes(),
            Due::Hostile(link) => self.hostile_sends(link),
            Due::Start => self.start(),
            Due::Drain => {}
        }
    }
}

/// The server process.
impl World {
    /// Gives a shard something, and ends its turn now or a little later.
    fn on_shard(&mut self, shard: usize, act: impl FnOnce(&mut Host)) {
        let Some(host) = &mut self.host else { return };
        act(host);
        if self.turns[shard] {
            return;
        }
        if self.rng.chance(1, self.odds.lazy_turns) {
            self.turns[shard] = true;
            let at = self.now + self.rng.below(400);
            self.agenda.add(at, Due::TurnEnd(shard));
        } else {
            self.end_turn(shard);
        }
    }

    fn end_turn(&mut self, shard: usize) {
        if let Some(host) = &mut self.host {
            host.end_turn(shard);
        }
    }

    /// Does what the host wishes, and plans what it needs.
    fn grant(&mut self) {
        while let Some(wish) = self.host.as_mut().and_then(|host| host.wishes.pop_front()) {
            match wish {
                Wish::Bytes { link, bytes } => self.send_down(link, bytes),
                Wish::Lingers { link } => self.broker_lost(link),
                Wish::Closed { link } => self.broker_closed(link),
                Wish::Mail { shard } => {
                    let at = self.now + self.rng.below(200);
                    self.agenda.add(at, Due::Mail(shard));
                }
                Wish::Load { shard, session, after, count } => {
                    let at = self.now + self.rng.below(2_000);
                    self.agenda.add(at, Due::Loaded { shard, session, after, count });
                }
                Wish::LoadRetained { shard } => {
                    let at = self.now + self.rng.below(2_000);
                    self.agenda.add(at, Due::LoadedRetained(shard));
                }
            }
        }
        let Some(host) = &mut self.host else { return };
        for shard in 0..host.shards() {
            let wake = host.next_wake(shard).map(|at| at.0.saturating_sub(EPOCH_MS) * 1_000);
            if let Some(wake) = wake.filter(|wake| self.ticks[shard].is_none_or(|planned| *wake < planned)) {
                self.ticks[shard] = Some(wake);
                self.agenda.add(wake.max(self.now), Due::Tick(shard));
            }
        }
        if host.journal.can_commit() && !host.journal.commit_is_planned {
            host.journal.commit_is_planned = true;
            let at = self.now + self.rng.below(150);
            self.agenda.add(at, Due::Commit);
        }
    }

    /// Whether the process dies at this point of a commit; more often where more is at stake.
    fn dies(&mut self, here: Happening) -> bool {
        let Some(host) = self.host.as_ref().filter(|_| self.odds.moments > 0 && self.draining.is_none()) else { return false };
        let journal = &host.journal;
        let stakes = journal.waiting.released + journal.on_its_way.released + journal.waiting.shared + journal.on_its_way.shared;
        let of = if stakes > 0 || host.has_letters() { self.odds.moments } else { 10 * self.odds.moments };
        let dies = self.rng.chance(1, of);
        if dies {
            self.tally.count(here);
            self.crash();
        }
        dies
    }

    fn make_room(&mut self) {
        self.disk_is_full = false;
        self.medium.disk.limit_space(None);
    }

    fn commit(&mut self) {
        if self.dies(Happening::CrashBeforeWrite) {
            return;
        }
        let Some(host) = &mut self.host else { return };
        host.journal.commit_is_planned = false;
        if !host.journal.can_commit() {
            return;
        }
        let mark = host.mark();
        match host.journal.write(mark) {
            Wrote::Commit(commit) => {
                self.fact(Fact::Written { commit: commit.0 });
                if !self.dies(Happening::CrashBeforeSync) {
                    let at = self.now + 30 + self.rng.below(self.odds.sync);
                    self.agenda.add(at, Due::SyncEnd);
                }
            }
            Wrote::NoSpace => {
                self.tally.count(Happening::DiskFull);
                host.journal.commit_is_planned = true;
                self.agenda.add(self.now + 5_000, Due::Commit);
            }
            Wrote::Failed => self.journal_failed(),
        }
    }

    fn sync_end(&mut self) {
        let Some(host) = &mut self.host else { return };
        match host.journal.sync() {
            Some(commit) => {
                let told: Vec<usize> = (0..host.shards()).filter(|&shard| host.journal.has_news(shard)).collect();
                self.fact(Fact::Synced { commit: commit.0 });
                self.plan_checkpoint();
                for shard in told {
                    let at = self.now + self.rng.below(100);
                    self.agenda.add(at, Due::TellSynced(shard));
                }
            }
            None => self.journal_failed(),
        }
    }

    /// A write or sync has failed. Without a fault of the disk that is one of the store.
    fn journal_failed(&mut self) {
        if std::mem::take(&mut self.disk_fault) {
            self.lose_journal();
            return;
        }
        let why = self.host.as_mut().and_then(|host| host.journal.failed.take());
        self.history.notes.extend(why);
        self.fact(Fact::Differs { what: Difference::JournalFailed });
        self.refused = true;
    }

    /// A checkpoint follows some time behind the commits that it takes in.
    fn plan_checkpoint(&mut self) {
        if let Some(most) = self.odds.checkpoint.filter(|_| !self.checkpoint_is_planned) {
            self.checkpoint_is_planned = true;
            let at = self.now + self.rng.between(100, most);
            self.agenda.add(at, Due::Checkpoint);
        }
    }

    fn checkpoint(&mut self) {
        self.checkpoint_is_planned = false;
        let Some(host) = &mut self.host else { return };
        let dies = self.draining.is_none() && self.rng.chance(1, 40);
        let fails = !dies && self.draining.is_none() && self.rng.chance(1, 30);
        let most = self.rng.pick(&[1, 5, 1_000]);
        let mut result = host.journal.fold(most);
        if result.is_ok() && (dies || fails || self.rng.chance(1, 2)) {
            if dies || fails {
                interrupt_checkpoint(&self.medium, &mut self.rng);
            }
            if host.journal.awaits_pubrel() {
                self.tally.count(Happening::CheckpointBeforePubrel);
            }
            if host.awaits_taking(host.journal.folded_to) {
                self.tally.count(Happening::CheckpointBeforeTaking);
            }
            result = host.journal.checkpoint(&mut self.rng);
        } else if result.is_ok() {
            return;
        }
        match result {
            Ok(commit) => {
                host.tell_stored(self.config.retained_bytes);
                self.tally.count(Happening::Checkpoint);
                self.fact(Fact::Checkpoint { commit: commit.0 });
            }
            Err(_) if dies => {
                self.tally.count(Happening::CrashInCheckpoint);
                self.crash();
            }
            Err(_) if fails => {
                self.tally.count(Happening::CheckpointFailed);
                if let Err(why) = host.journal.begin_anew() {
                    self.history.notes.push(why);
                    self.journal_failed();
                }
                self.plan_checkpoint();
            }
            Err(why) => {
                self.history.notes.push(why);
                self.journal_failed();
            }
        }
    }

    /// The shards are told; what promises nothing durable goes on until somebody restarts the process.
    fn lose_journal(&mut self) {
        self.fact(Fact::JournalLost);
        self.tally.count(Happening::JournalLost);
        for shard in 0..self.turns.len() {
            if let Some(host) = &mut self.host {
                host.with(shard, Shard::journal_failed);
                host.end_turn(shard);
            }
        }
        let at = self.now + self.rng.below(3_000_000);
        self.agenda.add(at, Due::Crash);
    }

    /// The process is asked to end: it says good-bye, writes what it has, and goes.
    fn stop(&mut self) {
        if self.disk_fault {
            return self.crash();
        }
        self.tally.count(Happening::Stop);
        self.make_room();
        for shard in 0..self.turns.len() {
            if let Some(host) = &mut self.host {
                host.with(shard, Shard::shutdown);
                host.end_turn(shard);
            }
        }
        self.grant();
        if let Some(host) = &mut self.host {
            host.journal.finish();
            for shard in 0..host.shards() {
                if let Some(seq) = host.journal.take_synced(shard) {
                    host.synced(shard, seq);
                    host.end_turn(shard);
                }
            }
        }
        self.grant();
        self.crash();
    }

    /// The process ends at once. Whether the power goes too is drawn: then unsynced bytes are kept, lost or torn.
    fn crash(&mut self) {
        self.take_tally();
        let Some(host) = self.host.take() else { return };
        if host.journal.waiting.released + host.journal.on_its_way.released > 0 {
            self.tally.count(Happening::CrashBeforeHandOnSync);
        }
        if host.has_letters() {
            self.tally.count(Happening::CutBetweenLanes);
        }
        self.hostile.clear();
        self.make_room();
        self.fact(Fact::Crashed);
        self.agenda.end_process();
        let is_faulty = std::mem::take(&mut self.disk_fault);
        if !is_faulty && self.rng.chance(1, 4) && self.fault != Some(PlantedFault::LostSync) {
            self.tally.count(Happening::Kill);
            self.medium.disk.kill();
        } else {
            self.tally.count(Happening::PowerCut);
            self.medium.disk.crash(self.rng.next_u64());
        }
        self.ticks.fill(None);
        self.turns.fill(false);
        let links: Vec<LinkNo> = self.links.keys().copied().collect();
        for link in links {
            self.sever(link);
        }
        let at = self.now + self.rng.pick(&[100, 5_000, 700_000]);
        self.agenda.add(at, Due::Start);
    }

    /// The broker's end is gone; what is in the network may still arrive.
    fn sever(&mut self, no: LinkNo) {
        let Some(link) = self.links.get_mut(&no) else { return };
        link.up.clear();
        link.down.break_off(&mut self.rng);
        if link.in_use {
            let at = self.now.max(link.down.next_due().unwrap_or(0)) + self.rng.below(20_000);
            self.agenda.add(at, Due::ClientHears(no));
        } else {
            self.links.remove(&no);
        }
    }

    /// Starts the server on what is on the disk.
    fn start(&mut self) {
        if self.host.is_some() {
            return;
        }
        if self.odds.reshards && !self.history.facts.is_empty() {
            let shards = self.rng.pick(&[1, 2, 3]);
            if shards != self.odds.shards {
                self.tally.count(Happening::OtherShardCount);
            }
            self.odds.shards = shards;
            self.ticks = vec![None; usize::from(shards)];
            self.turns = vec![false; usize::from(shards)];
        }
        if self.history.facts.len() > 10 && self.rng.chance(1, 5) {
            self.medium.disk.cut_power_after(self.rng.below(6));
        }
        let (journal, state) = match Journal::start(self.medium.clone(), self.turns.len(), self.fault) {
            Ok(started) => started,
            Err(StartError::Power) => {
                self.tally.count(Happening::CrashInRecovery);
                self.medium.disk.crash(self.rng.next_u64());
                let at = self.now + 1_000;
                self.agenda.add(at, Due::Start);
                return;
            }
            Err(StartError::Refused(why)) => {
                self.history.notes.push(why);
                self.fact(Fact::Differs { what: Difference::RecoveryRefused });
                self.refused = true;
                return;
            }
        };
        // The power holds from here on, whatever was left of the countdown.
        self.medium.disk.cut_power_after(u64::MAX / 2);
        let placement = Placement::new(self.key, self.odds.lanes, self.odds.shards);
        let shared = LocalCommons::with(placement, self.rng.next_u64(), strategies(self.key));
        let now = Time(EPOCH_MS + self.now / 1_000);
        let mut host = Host::new(&self.config, shared, journal, self.fault, &mut self.rng, now);
        if state.groups.values().any(|group| !group.queue.is_empty()) {
            self.tally.count(Happening::AssignmentCutInHalf);
        }
        host.restore(state);
        self.host = Some(host);
        if !self.history.facts.is_empty() {
            self.fact(Fact::Recovered);
        }
        for shard in 0..self.turns.len() {
            self.end_turn(shard);
        }
        self.checkpoint_is_planned = false;
        self.plan_checkpoint();
    }
}

/// How the groups of a life spread their messages: both may do it differently. Drawn with the key, so that all else is as it was without.
fn strategies(key: [u8; 16]) -> Strategies {
    const ALL: [Strategy; 8] = [
        Strategy::RoundRobin,
        Strategy::RoundRobin,
        Strategy::RoundRobin,
        Strategy::LeastInFlight,
        Strategy::LeastInFlight,
        Strategy::Sticky,
        Strategy::HashTopic,
        Strategy::HashClient,
    ];
    let [default, of_h, ..] = key.map(|byte| ALL[usize::from(byte) % ALL.len()]);
    Strategies { default, by_group: BTreeMap::from([("h".into(), of_h)]) }
}

/// The network.
impl World {
    fn send_down(&mut self, no: LinkNo, bytes: Vec<u8>) {
        let Some(link) = self.links.get_mut(&no) else { return };
        if link.in_use && !link.broken {
            if let Some(due) = link.down.push(self.now, bytes, &mut self.rng) {
                self.agenda.add(due, Due::Down(no));
            }
        } else if let Some(host) = &mut self.host {
            // Nobody reads there any more; the kernel swallows it.
            host.drained(no, bytes.len());
        }
    }

    fn up(&mut self, no: LinkNo) {
        let Some(link) = self.links.get_mut(&no) else { return };
        let Some(host) = &mut self.host else { return };
        let Some(shard) = host.shard_of(no) else { return };
        if !host.wants_reading(no) {
            let at = self.now + 500;
            self.agenda.add(at, Due::Up(no));
            return;
        }
        let Some(bytes) = link.up.pop(self.now) else { return };
        let (is_last, said_goodbye, client) = (link.up.is_empty(), link.said_goodbye, link.client);
        if let Some(due) = link.up.next_due() {
            self.agenda.add(due, Due::Up(no));
        } else if link.after == After::End {
            let at = self.now + self.rng.below(300);
            self.agenda.add(at, Due::BrokerHears(no, Gone::ByPeer));
        }
        if is_last && said_goodbye {
            self.fact(Fact::DisconnectRead { client, link: no });
        }
        self.note_frames(no, client, &bytes);
        self.on_shard(shard, |host| {
            host.receive(no, &bytes);
        });
    }

    /// Looks for what marks a moment in what the broker is given.
    fn note_frames(&mut self, no: LinkNo, client: ClientNo, bytes: &[u8]) {
        let version = self.clients[usize::from(client.0)].habits.version;
        let (Some(link), Some(host)) = (self.links.get_mut(&no), &self.host) else { return };
        link.partial.extend_from_slice(bytes);
        let mut used = 0;
        while let Ok(Split::Frame { first, body, len }) = split(&link.partial[used..], u32::MAX) {
            used += len;
            let repeated = match PacketType::of(first) {
                Ok(PacketType::Pubrel) if self.disk_is_full => {
                    self.tally.count(Happening::PubrelOnFullDisk);
                    None
                }
                Ok(PacketType::Publish) if first & 0b1000 != 0 => match decode(version, Peer::Client, first, body) {
                    Ok(Packet::Publish(publish)) => payload::read(publish.payload),
                    Ok(_) | Err(_) => None,
                },
                Ok(_) | Err(_) => None,
            };
            if repeated.is_some_and(|message| host.journal.waiting.has(message) || host.journal.on_its_way.has(message)) {
                self.tally.count(Happening::RepeatBeforeSync);
            }
        }
        link.partial.drain(..used);
    }

    fn down(&mut self, no: LinkNo) {
        let Some(link) = self.links.get_mut(&no) else { return };
        let Some(bytes) = link.down.pop(self.now) else { return };
        if let Some(due) = link.down.next_due() {
            self.agenda.add(due, Due::Down(no));
        }
        let client = link.client;
        if let Some(host) = &mut self.host {
            host.drained(no, bytes.len());
        }
        self.with_client(client, |client, scene| {
            if client.link() == Some(no) {
                client.received(scene, &bytes);
            }
        });
    }

    /// To the broker the connection is over, from the first time that this is called on.
    fn broker_lost(&mut self, no: LinkNo) {
        let (client, is_over) = &mut self.owners[no.0 as usize];
        if !std::mem::replace(is_over, true) {
            let client = *client;
            self.fact(Fact::BrokerLost { client, link: no });
        }
    }

    /// The broker has closed its end.
    fn broker_closed(&mut self, no: LinkNo) {
        self.broker_lost(no);
        let Some(link) = self.links.get_mut(&no) else { return };
        link.up.clear();
        let last = link.down.last_due().unwrap_or(self.now);
        let at = last.max(self.now) + self.rng.below(2_000);
        self.agenda.add(at, Due::ClientHears(no));
    }

    fn client_hears(&mut self, no: LinkNo) {
        let Some(link) = self.links.remove(&no) else { return };
        self.with_client(link.client, |client, scene| {
            if client.link() == Some(no) {
                client.lost(scene);
            }
        });
    }

    fn broker_hears(&mut self, no: LinkNo, gone: Gone) {
        let Some(host) = &mut self.host else { return };
        let Some(shard) = host.shard_of(no) else { return };
        self.on_shard(shard, |host| host.closed(no, gone));
        self.broker_lost(no);
        if self.links.get(&no).is_some_and(|link| !link.in_use) {
            self.links.remove(&no);
        }
    }

    /// The client's end is closed or lost.
    fn let_go(&mut self, client: ClientNo, after: After) {
        let Some(no) = self.clients[usize::from(client.0)].link() else { return };
        self.with_client(client, Client::lost);
        let Some(link) = self.links.get_mut(&no) else { return };
        link.in_use = false;
        link.after = after;
        let unread = link.down.len();
        link.down.clear();
        let idle = link.up.is_empty();
        let Some(host) = &mut self.host else {
            self.links.remove(&no);
            return;
        };
        host.drained(no, unread);
        if after == After::End && idle {
            let at = self.now + self.rng.below(1_000);
            self.agenda.add(at, Due::BrokerHears(no, Gone::ByPeer));
        }
    }

    /// The network loses the connection; each side learns it in its own time.
    fn cut(&mut self, no: LinkNo) {
        let Some(link) = self.links.get_mut(&no) else { return };
        link.broken = true;
        link.up.break_off(&mut self.rng);
        link.down.break_off(&mut self.rng);
        let (one, other) = (self.now + self.rng.below(30_000), self.now + self.rng.below(30_000));
        self.agenda.add(one, Due::ClientHears(no));
        self.agenda.add(other, Due::BrokerHears(no, Gone::Failed));
    }

    /// Lets a client act, and sends what it says.
    fn with_client(&mut self, no: ClientNo, act: impl FnOnce(&mut Client, &mut Scene<'_>)) {
        let client = &mut self.clients[usize::from(no.0)];
        let owed = client.owes_answers();
        let mut scene = Scene { now: self.now, history: &mut self.history };
        act(client, &mut scene);
        let out = client.take_out();
        let Some(link) = client.link() else { return };
        if let Some(slow) = client.habits.slow.filter(|_| !owed && client.owes_answers()) {
            let slow = if self.draining.is_some() { 500 } else { slow };
            let at = self.now + self.rng.below(slow);
            self.agenda.add(at, Due::Answer(no, link));
        }
        if out.is_empty() {
            return;
        }
        let Some(there) = self.links.get_mut(&link) else { return };
        if there.broken {
            return;
        }
        if let Some(due) = there.up.push(self.now, out, &mut self.rng) {
            self.agenda.add(due, Due::Up(link));
        }
    }

    fn answer(&mut self, no: ClientNo, link: LinkNo) {
        if self.clients[usize::from(no.0)].link() != Some(link) {
            return;
        }
        let count = 1 + self.rng.index(4);
        self.tally.count(Happening::LateAnswer);
        self.with_client(no, |client, _| client.answer(count));
        let client = &self.clients[usize::from(no.0)];
        if let Some(slow) = client.habits.slow.filter(|_| client.owes_answers()) {
            let slow = if self.draining.is_some() { 500 } else { slow };
            let at = self.now + self.rng.below(slow);
            self.agenda.add(at, Due::Answer(no, link));
        }
    }
}

/// What clients do.
impl World {
    fn operation(&mut self, no: ClientNo) {
        if self.draining.is_some() {
            return;
        }
        if self.operations >= self.odds.operations {
            self.begin_to_drain();
            return;
        }
        let client = &self.clients[usize::from(no.0)];
        let operation = match client.link() {
            None if self.host.is_none() => Operation::Rest,
            None => Operation::Connect,
            Some(_) if client.is_open() => self.odds.operation(&mut self.rng, &client.habits, !client.filters.is_empty()),
            Some(_) if self.rng.chance(1, 20) => Operation::Cut,
            Some(_) => Operation::Rest,
        };
        let rests = operation == Operation::Rest;
        if !rests {
            self.operations += 1;
            self.act(no, operation);
            if operation == Operation::Publish && self.rng.chance(self.odds.hasty, 16) {
                let at = self.now + self.rng.pick(&[300, 3_000, 30_000]);
                self.agenda.add(at, Due::Haste(no));
            }
            if self.odds.full_disks && !self.disk_is_full && self.rng.chance(1, 40) {
                self.agenda.add(self.now, Due::DiskFull);
            }
            if self.rng.chance(self.odds.crash, 1_000) {
                let at = self.now + self.rng.below(2_000);
                let end = self.rng.pick(&[
                    Due::Crash,
                    Due::Crash,
                    Due::Crash,
                    Due::Crash,
                    Due::Stop,
                    Due::DiskFault,
                    Due::DiskFull,
                    Due::DiskFull,
                ]);
                self.agenda.add(at, end);
            }
        }
        let pause = if rests {
            10 * self.odds.pace
        } else if matches!(operation, Operation::Disconnect | Operation::Vanish | Operation::Cut) && self.rng.chance(1, 4) {
            self.rng.pick(&[4_000_000, 8_000_000])
        } else if self.rng.chance(1, 60) {
            self.rng.pick(&[1_000_000, 8_000_000, 40_000_000])
        } else {
            self.odds.pace
        };
        let at = self.now + 1 + self.rng.below(pause);
        self.agenda.add(at, Due::Operation(no));
    }

    fn act(&mut self, no: ClientNo, operation: Operation) {
        let habits = self.clients[usize::from(no.0)].habits;
        match operation {
            Operation::Connect => {
                let clean = self.rng.chance(1, 25) && habits.version.has_properties();
                self.connect(no, clean);
            }
            Operation::Publish => {
                for _ in 0..self.rng.pick(&[1, 1, 1, 2, 5]) {
                    let plan = self.odds.publish(&mut self.rng);
                    self.with_client(no, |client, scene| client.publish(scene, plan));
                }
            }
            Operation::Subscribe => {
                let asked = Odds::subscribe(&mut self.rng, &habits);
                self.with_client(no, |client, scene| client.subscribe(scene, &asked));
            }
            Operation::Unsubscribe => {
                let filters = self.clients[usize::from(no.0)].filters.clone();
                if !filters.is_empty() {
                    let from = self.rng.index(filters.len());
                    let some: Vec<FilterNo> = filters[from..].iter().take(1 + self.rng.index(2)).copied().collect();
                    self.with_client(no, |client, scene| client.unsubscribe(scene, &some));
                }
            }
            Operation::Disconnect => {
                let (keeps_will, ends_session) = (self.rng.chance(1, 4), self.rng.chance(1, 6));
                let link = self.clients[usize::from(no.0)].link();
                self.with_client(no, |client, scene| client.disconnect(scene, keeps_will, ends_session));
                if let Some(link) = link.and_then(|link| self.links.get_mut(&link)) {
                    link.said_goodbye = !link.broken;
                }
                self.let_go(no, After::End);
            }
            Operation::Cut => {
                if let Some(link) = self.clients[usize::from(no.0)].link() {
                    self.cut(link);
                }
            }
            Operation::Vanish => self.let_go(no, After::Silence),
            Operation::TakeOver => {
                self.tally.count(Happening::TakeOver);
                self.let_go(no, After::Silence);
                self.connect(no, false);
            }
            Operation::Ping => self.with_client(no, |client, _| client.ping()),
            Operation::Rest => {}
        }
    }

    fn connect(&mut self, no: ClientNo, clean: bool) {
        let Some(host) = &mut self.host else { return };
        let link = LinkNo(u32::try_from(self.owners.len()).expect("few connections"));
        self.owners.push((no, false));
        let room = self.rng.pick(&[64, 2_000, 65_536]);
        host.open(link, room);
        self.links.insert(
            link,
            Link {
                client: no,
                up: random_pipe(&mut self.rng),
                down: random_pipe(&mut self.rng),
                in_use: true,
                broken: false,
                after: After::More,
                said_goodbye: false,
                partial: Vec::new(),
            },
        );
        if let Some(link) = self.links.get_mut(&link).filter(|_| self.draining.is_some()) {
            link.up.calm();
            link.down.calm();
        }
        let will = if self.draining.is_none() && self.rng.chance(1, 3) { Some(self.plan_will(no)) } else { None };
        self.with_client(no, |client, scene| client.connect(scene, link, clean, will));
    }

    fn hostile_comes(&mut self) {
        let Some(host) = self.host.as_mut().filter(|_| self.draining.is_none()) else { return };
        self.tally.count(Happening::Hostile);
        self.hostiles += 1;
        let link = LinkNo(u32::try_from(self.owners.len()).expect("few connections"));
        // Over from the beginning, to the judge.
        self.owners.push((ClientNo(u16::MAX), true));
        host.open(link, 200);
        self.hostile.insert(link, hostile::script(&mut self.rng, self.hostiles).into());
        self.agenda.add(self.now + 50, Due::Hostile(link));
    }

    fn hostile_sends(&mut self, link: LinkNo) {
        let Some(shard) = self.host.as_ref().and_then(|host| host.shard_of(link)) else { return };
        let Some(script) = self.hostile.get_mut(&link) else { return };
        match script.pop_front() {
            Some(piece) => self.on_shard(shard, |host| {
                host.receive(link, &piece);
            }),
            // Many stay, and read nothing.
            None if self.rng.chance(1, 4) => self.on_shard(shard, |host| host.closed(link, Gone::Failed)),
            None => return,
        }
        let at = self.now + self.rng.below(20_000);
        self.agenda.add(at, Due::Hostile(link));
    }

    fn plan_will(&mut self, no: ClientNo) -> WillPlan {
        let plan = PublishPlan { expires: false, empty: false, ..self.odds.publish(&mut self.rng) };
        let client = &mut self.clients[usize::from(no.0)];
        let delay = if client.habits.version.has_properties() { self.rng.pick(&[0, 0, 1, 10]) } else { 0 };
        WillPlan { message: client.new_message(&mut self.history, plan, Some(delay)), delay }
    }
}

/// The end.
impl World {
    fn begin_to_drain(&mut self) {
        self.fact(Fact::Draining);
        self.make_room();
        // Who has vanished without a word is given up in the end, as by any network.
        let silent: Vec<LinkNo> =
            self.links.iter().filter(|(_, link)| !link.in_use && link.after == After::Silence).map(|(no, _)| *no).collect();
        for no in silent {
            let at = self.now + self.rng.below(30_000);
            self.agenda.add(at, Due::BrokerHears(no, Gone::Failed));
        }
        for link in std::mem::take(&mut self.hostile).into_keys() {
            if let Some(shard) = self.host.as_ref().and_then(|host| host.shard_of(link)) {
                self.on_shard(shard, |host| host.closed(link, Gone::Failed));
            }
        }
        for link in self.links.values_mut() {
            link.up.calm();
            link.down.calm();
        }
        self.look_again();
    }

    /// Brings every lasting client back and waits until nobody has anything left to say; true once that is so. Of the members of groups every other one comes last:
    /// by then the others must have had what waits, and what it was sent.
    fn drain_step(&mut self) -> bool {
        let mut at_rest = self.host.is_some();
        for index in 0..self.clients.len() {
            let client = &self.clients[index];
            let (no, lasting) = (client.no, client.habits.expiry > 0);
            let is_absent = self.absent && index % 2 == 0 && client.habits.worker.is_some();
            if client.link().is_none() && lasting && !is_absent {
                self.connect(no, false);
                at_rest = false;
            } else if client.link().is_some() {
                at_rest &= client.is_open() && client.is_at_rest();
            }
        }
        let last = self.history.last_of_a_message().max(self.draining.unwrap_or(0));
        if at_rest && !self.agenda.has_work() && self.now >= last + self.longest_pause() {
            if !std::mem::take(&mut self.absent) {
                return true;
            }
            self.look_at_groups();
        }
        self.agenda.add(self.now + 20_000, Due::Drain);
        false
    }

    /// For how long no message may move though there is more to come: a client that was sent its share waits for the next second's.
    fn longest_pause(&self) -> Micros {
        if self.config.bytes_out.is_some() || self.config.messages_out.is_some() { PAUSE_MOST } else { 0 }
    }

    /// A stranger subscribes to everything: what is retained?
    fn probe(&mut self) {
        let habits = super::client::Habits {
            version: columba_proto::Version::V5,
            expiry: 0,
            always_clean: true,
            receive_maximum: None,
            packet_max: None,
            window: 10,
            slow: None,
            keep_alive: 0,
            worker: None,
        };
        let no = self.add_client("probe".into(), habits);
        self.connect(no, true);
        self.look_again();
        self.run_until_quiet();
        let asked = SubscriptionInfo {
            filter: FilterNo(3),
            qos: 2,
            no_local: false,
            retain_as_published: false,
            retained: Retained::Always,
        };
        self.with_client(no, |client, scene| client.subscribe(scene, &[asked]));
        self.look_again();
    }

    fn look_again(&mut self) {
        self.draining = Some(self.now);
        self.agenda.add(self.now + 1_000, Due::Drain);
    }

    /// Nothing waits for those who are away where somebody is there.
    fn look_at_groups(&mut self) {
        let Some(host) = self.host.as_ref().filter(|_| !self.refused) else { return };
        let Some(state) = host.journal.state() else { return };
        let held_up = host.held_up(&state);
        if !held_up.is_empty() {
            self.history.notes.extend(held_up);
            self.fact(Fact::Differs { what: Difference::GroupHeldUp });
        }
    }

    /// The state of the shards must be the fold of what is on disk, and nothing may be left over.
    fn last_look(&mut self) {
        if self.refused {
            return;
        }
        let Some(host) = &mut self.host else { return };
        let Some(state) = host.journal.state() else {
            self.fact(Fact::Differs { what: Difference::RecoveryRefused });
            return;
        };
        let differences = host.differences(&state);
        let left_over = left_over(&state, &self.clients);
        if !differences.is_empty() {
            self.history.notes.extend(differences);
            self.fact(Fact::Differs { what: Difference::StateIsNotItsFold });
        }
        for client in left_over {
            self.fact(Fact::Differs { what: Difference::QueueNotEmpty(client) });
        }
    }
}

/// Connected clients for which the state still has messages.
fn left_over(state: &State, clients: &[Client]) -> Vec<ClientNo> {
    let mut found = Vec::new();
    for session in state.sessions.values() {
        let client = clients.iter().find(|client| client.id() == &*session.client_id);
        if let Some(client) = client.filter(|client| client.is_open())
            && !(session.queue.is_empty() && session.in_flight.is_empty() && session.received.is_empty())
        {
            found.push(client.no);
        }
    }
    found
}
