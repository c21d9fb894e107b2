//! Which lane a client belongs to, and which shard owns which lane (§ placement in ARCHITECTURE.md).

use core::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::id::{Lane, ShardId};

/// The unit of state: client identifiers are hashed into so many slots, for ever.
pub const SLOTS: u16 = 4096;

/// Client identifier -> slot -> lane -> shard. Everything but the number of shards is fixed when the data directory is made.
#[derive(Clone, Debug)]
pub struct Placement {
    key: [u8; 16],
    lanes: u16,
    shards: u16,
}

impl Placement {
    /// `lanes` from 1 to 4096; `shards` from 1 to `lanes`.
    ///
    /// # Panics
    /// Where these bounds do not hold.
    pub fn new(key: [u8; 16], lanes: u16, shards: u16) -> Self {
        assert!((1..=SLOTS).contains(&lanes), "1 to 4096 lanes");
        assert!((1..=lanes).contains(&shards), "1 shard up to one a lane");
        Self { key, lanes, shards }
    }

    /// The lane of a client.
    #[expect(clippy::missing_panics_doc, reason = "a remainder by a u16 is less than one")]
    pub fn lane(&self, client_id: &str) -> Lane {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(client_id.as_bytes());
        let slot = hasher.finish() % u64::from(SLOTS);
        Lane(u16::try_from(slot % u64::from(self.lanes)).expect("less than a u16"))
    }

    /// The shard that owns a lane now.
    pub fn shard(&self, lane: Lane) -> ShardId {
        ShardId(lane.0 % self.shards)
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.shards
    }
}
