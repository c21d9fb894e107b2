//! What a session's shard tells all others about it.

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// What a session's shard tells all others about it. Only the owner says it; the others read what may be a moment old.
#[derive(Debug)]
pub struct Presence {
    flags: AtomicU8,
    /// Messages above QoS 0 on their way to its client.
    load: AtomicU32,
    /// How many of them there may be.
    window: AtomicU32,
}

const ONLINE: u8 = 1;
const DURABLE: u8 = 2;
const FULL: u8 = 4;
const AT_LIMIT: u8 = 8;

/// The load of a client that takes nothing more at present, whatever its window.
const BLOCKED: u32 = u32::MAX;

impl Default for Presence {
    fn default() -> Self {
        Self { flags: AtomicU8::new(0), load: AtomicU32::new(0), window: AtomicU32::new(BLOCKED) }
    }
}

impl Presence {
    /// A client is connected to the session.
    pub fn is_online(&self) -> bool {
        self.has(ONLINE)
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
        self.load() < self.window.load(Ordering::Relaxed)
    }

    /// How many messages above QoS 0 are on their way to its client. Told of members of shared subscriptions only.
    pub fn load(&self) -> u32 {
        self.load.load(Ordering::Relaxed)
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

    /// For the owner: so many messages above QoS 0 are on their way to its client, of so many that may be. `None`: it takes none at present.
    pub fn set_load(&self, load: Option<u32>, window: u32) {
        self.window.store(window, Ordering::Relaxed);
        self.load.store(load.unwrap_or(BLOCKED), Ordering::Relaxed);
    }

    fn has(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    fn set(&self, flag: u8, on: bool) {
        // Nobody else writes; the result says only what was there before.
        let _before =
            if on { self.flags.fetch_or(flag, Ordering::Relaxed) } else { self.flags.fetch_and(!flag, Ordering::Relaxed) };
    }
}
