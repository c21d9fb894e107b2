//! Looking at each packet as it passes, and planting faults.

use std::fmt;

use columba_proto::PacketType;
use columba_proto::packet::Packet;

/// Which way a packet goes, seen from us.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Direction {
    /// To the server.
    Send,
    /// From the server.
    Receive,
}

/// A packet at the moment it is sent or received. Prints as `send: publish`.
#[derive(Debug)]
pub struct PacketEvent<'a> {
    /// Which way.
    pub direction: Direction,
    /// The packet.
    pub packet: &'a Packet<'a>,
}

impl PacketEvent<'_> {
    /// What kind of packet it is.
    pub fn packet_type(&self) -> PacketType {
        self.packet.packet_type()
    }
}

impl fmt::Display for PacketEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Send => "send",
            Direction::Receive => "receive",
        };
        write!(f, "{direction}: {}", self.packet_type().name())
    }
}

/// What becomes of a packet: the network of a test or a demonstration.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Verdict {
    /// It goes through.
    Keep,
    /// It goes through, and the connection breaks behind it.
    CutAfter,
    /// It is lost, and the connection lives on; TCP does not do this.
    Lose,
    /// It is lost, and the connection with it.
    CutBefore,
}

type Judge = Box<dyn FnMut(&PacketEvent<'_>) -> Verdict + Send>;

/// Everybody who looks at the packets.
#[derive(Default)]
pub(crate) struct Tap(Vec<Judge>);

impl Tap {
    pub(crate) fn add(&mut self, judge: Judge) {
        self.0.push(judge);
    }

    /// Shows the packet to all; the hardest verdict counts.
    pub(crate) fn judge(&mut self, direction: Direction, packet: &Packet<'_>) -> Verdict {
        let event = PacketEvent { direction, packet };
        self.0.iter_mut().map(|judge| judge(&event)).max().unwrap_or(Verdict::Keep)
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tap({})", self.0.len())
    }
}
