//! What the shard of a session, or of a group's queue, tells all others about it.

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// What the shard of a session, or of a group's queue, tells all others about it. Where nothing else is said only the owner says it; the others read what may be a
/// moment old.
///
/// A message waits in a group's queue, or a member has room for it: whoever finds that it cannot go on says so first and looks a second time, so these two are told in
/// one order to all (`SeqCst`).
#[derive(Debug)]
pub struct Presence {
    flags: AtomicU8,
    /// Messages of its own above QoS 0 on their way to its client.
    load: AtomicU32,
    /// Messages that groups have given to it and that are not acknowledged: their queues count up, it counts down.
    given: AtomicU32,
    /// How many of both there may be.
    window: AtomicU32,
}

const ONLINE: u8 = 1;
const DURABLE: u8 = 2;
const FULL: u8 = 4;
const AT_LIMIT: u8 = 8;
const WAITING: u8 = 16;
const HOLDING: u8 = 32;
const KNOCKED: u8 = 64;

/// The load of a client that takes nothing more at present, whatever its window.
const BLOCKED: u32 = u32::MAX / 2;

impl Default for Presence {
    fn default() -> Self {
        Self { flags: AtomicU8::new(0), load: AtomicU32::new(0), given: AtomicU32::new(0), window: AtomicU32::new(BLOCKED) }
    }
}

impl Presence {
    /// A client is connected to the session.
    pub fn is_online(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & ONLINE != 0
    }

    /// The session outlives its connection.
    pub fn is_durable(&self) -> bool {
        self.has(DURABLE)
    }

    /// Its queue has no room.
    pub fn is_full(&self) -> bool {
        self.has(FULL)
    }

    /// Its queue on disk is as long as it may be.
    pub fn is_at_limit(&self) -> bool {
        self.has(AT_LIMIT)
    }

    /// A message above QoS 0 could be sent to its client at once. Told of members of shared subscriptions only.
    pub fn has_room(&self) -> bool {
        self.load() < self.window.load(Ordering::SeqCst)
    }

    /// How many messages above QoS 0 are on their way to its client. Told of members of shared subscriptions only.
    pub fn load(&self) -> u32 {
        self.load.load(Ordering::SeqCst).saturating_add(self.given.load(Ordering::SeqCst))
    }

    /// Of a group: messages wait in its queue for a member with room.
    pub fn is_waiting(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & WAITING != 0
    }

    /// Of a member: it is away with messages that its groups want back where somebody else is there. Of a group: it may have such a member.
    pub fn is_holding(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & HOLDING != 0
    }

    /// For the owner.
    pub fn set_waiting(&self, on: bool) {
        self.set(WAITING, on);
    }

    /// For the owner, and of a group for its members.
    pub fn set_holding(&self, on: bool) {
        self.set(HOLDING, on);
    }

    /// Of a group: a member tells it that there is room. `false`: one has told it already, and it has not looked yet.
    pub fn knock(&self) -> bool {
        self.flags.fetch_or(KNOCKED, Ordering::SeqCst) & KNOCKED == 0
    }

    /// Of a group, for the owner: it looks now.
    pub fn hear_knock(&self) {
        self.set(KNOCKED, false);
    }

    /// Of a member, for a group's queue: a message is on its way to it.
    pub fn add_given(&self) {
        let _before = self.given.fetch_add(1, Ordering::SeqCst);
    }

    /// Of a member, for the owner: one of these messages is its client's, or goes back.
    pub fn sub_given(&self) {
        let _before = self.given.fetch_sub(1, Ordering::SeqCst);
    }

    /// For the owner.
    pub fn set_at_limit(&self, on: bool) {
        self.set(AT_LIMIT, on);
    }

    /// For the owner.
    pub fn set_online(&self, on: bool) {
        self.set(ONLINE, on);
    }

    /// For the owner.
    pub fn set_durable(&self, on: bool) {
        self.set(DURABLE, on);
    }

    /// For the owner.
    pub fn set_full(&self, on: bool) {
        self.set(FULL, on);
    }

    /// For the owner: so many messages of its own above QoS 0 are on their way to its client, of so many that may be with those of groups. `None`: it takes none
    /// at present.
    pub fn set_load(&self, load: Option<u32>, window: u32) {
        self.window.store(window, Ordering::SeqCst);
        self.load.store(load.unwrap_or(BLOCKED), Ordering::SeqCst);
    }

    fn has(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    fn set(&self, flag: u8, on: bool) {
        // What was there before tells nobody anything.
        let _before =
            if on { self.flags.fetch_or(flag, Ordering::SeqCst) } else { self.flags.fetch_and(!flag, Ordering::SeqCst) };
    }
}
