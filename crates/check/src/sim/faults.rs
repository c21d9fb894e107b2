//! Faults that are planted around the broker, to show that the judge finds them.

use columba_proto::wire::{Split, split};

use super::rng::Rng;

/// A fault as a broker might have it. None of them is in the broker: each is put into the world around it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PlantedFault {
    /// The broker is told that its records are on disk as soon as they are handed over.
    AckBeforeSync,
    /// PUBRELs to subscribers get lost between broker and network, now and whenever they are repeated.
    PubrelForgotten,
    /// A PUBLISH leaves under an identifier that another one still has.
    IdentifierReused,
    /// Two deliveries to one subscriber change places.
    OrderSwapped,
    /// Recovery forgets one entry of a queue.
    QueueEntrySkipped,
    /// The disk says that it has synced, and has not.
    LostSync,
    /// A letter from one shard to another is lost.
    LetterLost,
    /// A window read from the cold store lacks its first message.
    WindowTorn,
    /// A commit is written without the records of one shard.
    LaneLost,
    /// A checkpoint is written without one of its changes.
    CheckpointTorn,
    /// Nobody asks members that are away for what they hold of their groups.
    RecallLost,
    /// Recovery forgets what shared subscriptions have.
    GroupForgotten,
    /// Recovery forgets a retained message.
    RetainedForgotten,
    /// Recovery forgets all wills.
    WillForgotten,
}

impl PlantedFault {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::AckBeforeSync,
        Self::PubrelForgotten,
        Self::IdentifierReused,
        Self::OrderSwapped,
        Self::QueueEntrySkipped,
        Self::LostSync,
        Self::LetterLost,
        Self::WindowTorn,
        Self::LaneLost,
        Self::CheckpointTorn,
        Self::RecallLost,
        Self::GroupForgotten,
        Self::RetainedForgotten,
        Self::WillForgotten,
    ];
}

/// Stands between a connection's out-buffer and the network, and changes frames.
#[derive(Debug, Default)]
pub(crate) struct Tamper {
    partial: Vec<u8>,
    open: Vec<[u8; 2]>,
}

impl Tamper {
    /// Passes bytes on, whole frames at a time, with the fault done to some of them.
    pub(crate) fn pass(&mut self, fault: PlantedFault, bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
        self.partial.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut self.partial);
        let mut frames: Vec<Vec<u8>> = Vec::new();
        let mut used = 0;
        while let Ok(Split::Frame { len, .. }) = split(&buffer[used..], u32::MAX) {
            frames.push(buffer[used..used + len].to_vec());
            used += len;
        }
        self.partial = buffer[used..].to_vec();
        match fault {
            PlantedFault::PubrelForgotten => frames.retain(|frame| !is_forgotten_pubrel(frame)),
            PlantedFault::IdentifierReused => frames.iter_mut().for_each(|frame| self.reuse(frame, rng)),
            PlantedFault::OrderSwapped => swap(&mut frames, rng),
            PlantedFault::AckBeforeSync
            | PlantedFault::QueueEntrySkipped
            | PlantedFault::LostSync
            | PlantedFault::LetterLost
            | PlantedFault::WindowTorn
            | PlantedFault::LaneLost
            | PlantedFault::CheckpointTorn
            | PlantedFault::RecallLost
            | PlantedFault::GroupForgotten
            | PlantedFault::RetainedForgotten
            | PlantedFault::WillForgotten => {}
        }
        frames.concat()
    }

    /// Gives one PUBLISH in eight the identifier of the one before.
    fn reuse(&mut self, frame: &mut [u8], rng: &mut Rng) {
        let Some(at) = identifier_at(frame) else { return };
        let own = [frame[at], frame[at + 1]];
        if let Some(other) = self.open.last().filter(|other| **other != own && rng.chance(1, 8)) {
            frame[at..at + 2].copy_from_slice(other);
        }
        self.open.push(own);
    }
}

/// A PUBREL with an identifier that is a multiple of 3: always the same ones, also on resume.
fn is_forgotten_pubrel(frame: &[u8]) -> bool {
    frame[0] >> 4 == 6 && u16::from_be_bytes([frame[2], frame[3]]).is_multiple_of(3)
}

/// Swaps two PUBLISH frames that leave together.
fn swap(frames: &mut [Vec<u8>], rng: &mut Rng) {
    for at in 1..frames.len() {
        if frames[at - 1][0] >> 4 == 3 && frames[at][0] >> 4 == 3 && rng.chance(1, 4) {
            frames.swap(at - 1, at);
        }
    }
}

/// Where the Packet Identifier of a PUBLISH stands, if it is one and has one.
fn identifier_at(frame: &[u8]) -> Option<usize> {
    let has_id = frame[0] >> 4 == 3 && frame[0] & 0b0110 != 0;
    let length_bytes = 1 + frame[1..].iter().position(|byte| byte & 0x80 == 0)?;
    let topic_at = 1 + length_bytes;
    let topic_len = usize::from(u16::from_be_bytes([*frame.get(topic_at)?, *frame.get(topic_at + 1)?]));
    has_id.then_some(topic_at + 2 + topic_len)
}
