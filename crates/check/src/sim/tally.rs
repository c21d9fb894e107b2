//! What happened in a life, counted: a simulation in which something never happens says nothing about it.

use std::fmt;

macro_rules! happenings {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Something that can happen in a simulated life and is worth counting.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Happening { $($(#[doc = $doc])+ $name,)+ }

        impl Happening {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// As a line for people.
            fn told(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc,)+).trim_ascii_start(),)+ }
            }
        }
    };
}

happenings! {
    /// the process was killed; the disk kept all that was written
    Kill,
    /// the power failed: of what was not synced anything may be lost
    PowerCut,
    /// ... before a commit was written
    CrashBeforeWrite,
    /// ... between a commit's write and its sync
    CrashBeforeSync,
    /// ... between a commit's sync and the news of it
    CrashBeforeNews,
    /// ... right behind the news of a sync
    CrashAfterNews,
    /// ... in the middle of a checkpoint
    CrashInCheckpoint,
    /// the process was asked to end
    Stop,
    /// the power failed again while a start was reading the journal
    CrashInRecovery,
    /// a start with another number of shards
    OtherShardCount,
    /// a PUBLISH came again before the record of the first was synced
    RepeatBeforeSync,
    /// a crash while the record that hands a QoS 2 message on was not synced
    CrashBeforeHandOnSync,
    /// a crash with a record synced, and its letter to another shard not read
    CutBetweenLanes,
    /// a checkpoint while a message awaited its PUBREL
    CheckpointBeforePubrel,
    /// a checkpoint with a publication in it that waited in another shard's mailbox
    CheckpointBeforeTaking,
    /// a start that found messages of shared groups, waiting or on their way to members
    AssignmentCutInHalf,
    /// a PUBREL that came while the disk was full
    PubrelOnFullDisk,
    /// a commit found no room on the disk, and waited
    DiskFull,
    /// a write or sync of the journal failed
    JournalLost,
    /// a checkpoint failed, and was taken again
    CheckpointFailed,
    /// a checkpoint was taken
    Checkpoint,
    /// a connection was handed to the shard that owns its client
    HandOver,
    /// a client connected over its old connection
    TakeOver,
    /// a window of a queue was read from the cold store
    ColdWindow,
    /// a message of a group became a member's
    Shared,
    /// a member's message came back to the queue of its group on another shard
    Returned,
    /// a will was published
    Will,
    /// a retained message was set or cleared
    Retained,
    /// a message expired in a queue
    MessageExpired,
    /// a message was too large for its reader
    TooLarge,
    /// a reader at QoS 0 was too slow
    SlowReader,
    /// a session ended by its expiry
    SessionExpired,
    /// a slow client kept its answers back
    LateAnswer,
    /// a hostile client connected
    Hostile,
}

/// How often each happened.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    counts: Vec<u64>,
    lives: Vec<u64>,
}

impl Tally {
    pub(crate) fn count(&mut self, what: Happening) {
        self.add(what, 1, 0);
    }

    fn add(&mut self, what: Happening, times: u64, lives: u64) {
        self.counts.resize(Happening::ALL.len(), 0);
        self.lives.resize(Happening::ALL.len(), 0);
        self.counts[what as usize] += times;
        self.lives[what as usize] += lives;
    }

    /// How often it happened.
    pub fn of(&self, what: Happening) -> u64 {
        self.counts.get(what as usize).copied().unwrap_or_default()
    }

    /// In how many of the lives taken in it happened.
    pub fn lives_with(&self, what: Happening) -> u64 {
        self.lives.get(what as usize).copied().unwrap_or_default()
    }

    /// Takes in what happened in one more life.
    pub fn take_in(&mut self, life: &Self) {
        for &what in Happening::ALL {
            let times = life.of(what);
            self.add(what, times, u64::from(times > 0));
        }
    }

    /// Adds up what two parts of a series have counted.
    pub fn merge(&mut self, other: &Self) {
        for &what in Happening::ALL {
            self.add(what, other.of(what), other.lives_with(what));
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>10} {:>8}", "times", "in lives")?;
        for &what in Happening::ALL {
            writeln!(f, "{:>10} {:>8} {}", self.of(what), self.lives_with(what), what.told())?;
        }
        Ok(())
    }
}
