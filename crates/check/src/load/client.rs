//! One connection of the generator: a publisher or a subscriber.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use columba_net::Heard;
use columba_proto::packet::{Packet, Publish};
use columba_proto::qos::{Acked, Receiver, Seen, Sender};
use columba_proto::{AckKind, PacketId, QoS, Version};
use hdrhistogram::Histogram;
use mio::net::TcpStream;

use super::frames::{self, Template};
use super::payload::Stamp;
use super::tally::Tally;
use super::via::{Layers, WEB_SOCKET_PATH};
use super::{LoadError, Pace, Plan};

/// A connection stops producing when so much waits to be written.
const OUT_BYTES_MAX: usize = 64 * 1024;
/// Reads of one connection before the next one has its turn.
const READS_PER_TURN: usize = 4;
/// No latency is longer than this.
const LATENCY_MAX: Duration = Duration::from_hours(1);

/// What all connections write down.
pub(crate) struct Board {
    /// Nanoseconds since the run began, as of this turn.
    pub(crate) now: u64,
    pub(crate) measuring: bool,
    pub(crate) deliveries: u64,
    pub(crate) measured_deliveries: u64,
    pub(crate) corrupt: u64,
    /// By subscriber, then by publisher.
    pub(crate) tallies: Vec<Vec<Tally>>,
    /// Deliveries by publisher, for the bound on QoS 0.
    pub(crate) of_publisher: Vec<u64>,
    pub(crate) latency: Histogram<u64>,
    /// From the moment a message was due to the end of its exchange.
    pub(crate) answers: Histogram<u64>,
}

/// Where a connection is on its way to work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    AwaitConnack,
    AwaitSuback,
    Ready,
}

pub(crate) enum Role {
    Publisher(Publisher),
    Subscriber(Subscriber),
}

pub(crate) struct Publisher {
    pub(crate) number: u32,
    template: Template,
    sender: Sender<()>,
    /// When the messages in flight were due; nearly always answered from the front.
    unanswered: VecDeque<(PacketId, u64)>,
    pub(crate) sent: u64,
    pub(crate) limit: u64,
    /// Deliveries that the bound on QoS 0 no longer waits for.
    pub(crate) forgiven: u64,
}

pub(crate) struct Subscriber {
    counted_as: usize,
    filters: Vec<String>,
    receiver: Receiver<()>,
}

pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) role: Role,
    pub(crate) phase: Phase,
    pub(crate) more_to_read: bool,
    name: String,
    version: Version,
    out: Vec<u8>,
    written: usize,
    /// The beginning of a packet whose end has not come yet.
    rest: Vec<u8>,
    layers: Option<Box<Layers>>,
    /// What came through them.
    inward: Vec<u8>,
}

impl Publisher {
    pub(crate) fn new(plan: &Plan, number: u32, limit: u64) -> Self {
        let template = Template::new(plan.version, plan.qos, &super::plan::topic(number), plan.payload);
        let sender = Sender::new(plan.window);
        Self { number, template, sender, unanswered: VecDeque::new(), sent: 0, limit, forgiven: 0 }
    }

    /// How many messages are not acknowledged.
    pub(crate) fn in_flight(&self) -> u64 {
        self.sender.len() as u64
    }

    /// Appends what may leave now.
    fn produce(&mut self, plan: &Plan, board: &Board, sending_since: u64, out: &mut Vec<u8>) {
        while self.sent < self.limit && out.len() < OUT_BYTES_MAX {
            let due = self.due(plan, sending_since).unwrap_or(board.now);
            if due > board.now || !self.has_room(plan, board) {
                return;
            }
            let id = (plan.qos != QoS::AtMostOnce).then(|| self.sender.begin(plan.qos, ()));
            let stamp = Stamp { publisher: self.number, sequence: self.sent, due };
            self.unanswered.extend(id.map(|id| (id, due)));
            self.template.append(id, out, |payload| stamp.write(payload));
            self.sent += 1;
        }
    }

    /// The exchange of this identifier is over.
    fn answered(&mut self, id: PacketId, board: &mut Board) {
        let at = self.unanswered.iter().position(|(begun, _)| *begun == id);
        if let Some((_, due)) = at.and_then(|at| self.unanswered.remove(at))
            && board.measuring
        {
            board.answers.saturating_record(board.now.saturating_sub(due).max(1));
        }
    }

    /// When the next message is due, where there is a schedule.
    fn due(&self, plan: &Plan, sending_since: u64) -> Option<u64> {
        let Pace::PerSecond(rate) = plan.pace else {
            return None;
        };
        let before = self.sent * u64::from(plan.publishers) + u64::from(self.number);
        Some(sending_since + nanoseconds_for(before, rate))
    }

    fn has_room(&self, plan: &Plan, board: &Board) -> bool {
        if plan.qos != QoS::AtMostOnce {
            return self.sender.has_room();
        }
        let settled = board.of_publisher[self.number as usize] + self.forgiven;
        let ahead = (self.sent * plan.fan_out()).saturating_sub(settled);
        ahead < u64::from(plan.ahead) * plan.fan_out().max(1)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a schedule within the length of a run, which is positive and far below 2^53"
)]
fn nanoseconds_for(messages: u64, per_second: f64) -> u64 {
    (messages as f64 * 1e9 / per_second) as u64
}

impl Subscriber {
    pub(crate) fn new(plan: &Plan, number: usize) -> Self {
        Self { counted_as: plan.counted_as(number), filters: plan.filters(number), receiver: Receiver::new() }
    }

    /// Counts a message and answers it. At QoS 2 it counts when it comes first; nothing is stored until PUBREL.
    fn received(&mut self, publish: &Publish<'_>, version: Version, board: &mut Board, out: &mut Vec<u8>) {
        match (publish.qos, publish.packet_id) {
            (QoS::ExactlyOnce, Some(id)) => {
                if self.receiver.on_publish(id) == Seen::New {
                    self.receiver.store(id, ());
                    self.delivered(publish.payload, board);
                }
                frames::acknowledge(version, AckKind::Pubrec, id, out);
            }
            (QoS::AtLeastOnce, Some(id)) => {
                self.delivered(publish.payload, board);
                frames::acknowledge(version, AckKind::Puback, id, out);
            }
            (_, _) => self.delivered(publish.payload, board),
        }
    }

    fn delivered(&self, payload: &[u8], board: &mut Board) {
        let known = |stamp: &Stamp| (stamp.publisher as usize) < board.of_publisher.len();
        let Some(stamp) = Stamp::read(payload).filter(known) else {
            board.corrupt += 1;
            return;
        };
        let publisher = stamp.publisher as usize;
        board.tallies[self.counted_as][publisher].note(stamp.sequence);
        board.of_publisher[publisher] += 1;
        board.deliveries += 1;
        if board.measuring {
            board.measured_deliveries += 1;
            board.latency.saturating_record(board.now.saturating_sub(stamp.due).max(1));
        }
    }
}

impl Connection {
    pub(crate) fn open(plan: &Plan, name: String, role: Role) -> Result<Self, LoadError> {
        let stream = TcpStream::connect(plan.address).map_err(LoadError::io("connecting"))?;
        // Not every platform takes the option before the connection stands; batching happens here anyway.
        stream.set_nodelay(true).ok();
        let out = frames::connect(plan.version, &name, plan.session);
        Ok(Self {
            stream,
            role,
            phase: Phase::AwaitConnack,
            more_to_read: false,
            name,
            version: plan.version,
            out,
            written: 0,
            rest: Vec::new(),
            layers: Layers::new(plan.via, WEB_SOCKET_PATH)?,
            inward: Vec::new(),
        })
    }

    /// Reads what has come and answers it.
    pub(crate) fn read(&mut self, plan: &Plan, board: &mut Board, buffer: &mut [u8]) -> Result<(), LoadError> {
        self.more_to_read = false;
        for _ in 0..READS_PER_TURN {
            match self.stream.read(buffer) {
                Ok(0) => return Err(self.lost("the broker closed it")),
                Ok(length) => {
                    self.came(plan, board, &mut buffer[..length])?;
                    if length < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(self.lost("reading failed")),
            }
        }
        self.more_to_read = true;
        Ok(())
    }

    fn came(&mut self, plan: &Plan, board: &mut Board, wire: &mut [u8]) -> Result<(), LoadError> {
        let Some(layers) = &mut self.layers else { return self.take(plan, board, wire) };
        let mut inward = std::mem::take(&mut self.inward);
        let heard = layers.came(wire, &mut inward);
        match heard {
            Ok(Heard::More) => {}
            Ok(Heard::End) => return Err(self.lost("the broker closed it")),
            Err(why) => return Err(self.lost(why)),
        }
        self.take(plan, board, &inward)?;
        inward.clear();
        self.inward = inward;
        Ok(())
    }

    fn take(&mut self, plan: &Plan, board: &mut Board, bytes: &[u8]) -> Result<(), LoadError> {
        let mut joined = std::mem::take(&mut self.rest);
        let bytes = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined[..]
        };
        let mut at = 0;
        while let Some((packet, length)) =
            frames::next(self.version, &bytes[at..]).map_err(|_| self.lost("a malformed packet"))?
        {
            self.handle(plan, board, packet)?;
            at += length;
        }
        self.rest.extend_from_slice(&bytes[at..]);
        Ok(())
    }

    fn handle(&mut self, plan: &Plan, board: &mut Board, packet: Packet<'_>) -> Result<(), LoadError> {
        match (packet, &mut self.role) {
            (Packet::Connack(connack), _) if connack.reason.is_failure() => {
                return Err(LoadError::Refused { reason: connack.reason });
            }
            (Packet::Connack(_), Role::Subscriber(subscriber)) if !subscriber.filters.is_empty() => {
                let frame = frames::subscribe(self.version, &subscriber.filters, plan.qos);
                self.out.extend_from_slice(&frame);
                self.phase = Phase::AwaitSuback;
            }
            (Packet::Connack(_), _) => self.phase = Phase::Ready,
            (Packet::Suback(suback), Role::Subscriber(_)) => {
                if let Some(reason) = suback.reasons.iter().find(|reason| reason.is_failure()) {
                    return Err(LoadError::SubscriptionRefused { reason });
                }
                self.phase = Phase::Ready;
            }
            (Packet::Publish(publish), Role::Subscriber(subscriber)) => {
                subscriber.received(&publish, self.version, board, &mut self.out);
            }
            (Packet::Ack(ack), Role::Subscriber(subscriber)) if ack.kind == AckKind::Pubrel => {
                subscriber.receiver.on_pubrel(ack.id);
                frames::acknowledge(self.version, AckKind::Pubcomp, ack.id, &mut self.out);
            }
            (Packet::Ack(ack), Role::Publisher(publisher)) => match publisher.sender.on_ack(ack.kind, ack.id, ack.reason) {
                Ok(Acked::Released(()) | Acked::ReleasedAgain) => {
                    frames::acknowledge(self.version, AckKind::Pubrel, ack.id, &mut self.out);
                }
                Ok(Acked::Finished { .. }) => publisher.answered(ack.id, board),
                Err(_) => return Err(self.lost("an acknowledgement of nothing that was sent")),
            },
            (_, _) => return Err(self.lost("the broker sent a packet that does not belong here")),
        }
        Ok(())
    }

    pub(crate) fn produce(&mut self, plan: &Plan, board: &Board, sending_since: u64) {
        if let Role::Publisher(publisher) = &mut self.role {
            publisher.produce(plan, board, sending_since, &mut self.out);
        }
    }

    /// Writes until the socket is full or nothing is left.
    pub(crate) fn flush(&mut self) -> Result<(), LoadError> {
        if self.layers.is_some() {
            return self.flush_through();
        }
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(self.lost("writing failed")),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    fn flush_through(&mut self) -> Result<(), LoadError> {
        loop {
            let Some(layers) = &mut self.layers else { return Ok(()) };
            if let Err(why) = layers.take(&mut self.out) {
                return Err(self.lost(why));
            }
            if layers.outward().is_empty() {
                return Ok(());
            }
            match self.stream.write(layers.outward()) {
                Ok(length) => layers.wrote(length),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(self.lost("writing failed")),
            }
        }
    }

    /// When the next message is due, for a publisher with a schedule and something left to send.
    pub(crate) fn next_due(&self, plan: &Plan, sending_since: u64) -> Option<u64> {
        match &self.role {
            Role::Publisher(publisher) if publisher.sent < publisher.limit => publisher.due(plan, sending_since),
            Role::Publisher(_) | Role::Subscriber(_) => None,
        }
    }

    fn lost(&self, why: &'static str) -> LoadError {
        LoadError::Lost { client: self.name.clone(), why }
    }
}

impl Board {
    pub(crate) fn new(plan: &Plan) -> Self {
        let row = || (0..plan.publishers).map(|_| Tally::default()).collect();
        Self {
            now: 0,
            measuring: false,
            deliveries: 0,
            measured_deliveries: 0,
            corrupt: 0,
            tallies: (0..plan.counted()).map(|_| row()).collect(),
            of_publisher: vec![0; plan.publishers as usize],
            latency: histogram(),
            answers: histogram(),
        }
    }
}

/// Nanoseconds, from a microsecond on, with three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    let longest = u64::try_from(LATENCY_MAX.as_nanos()).expect("an hour has few nanoseconds");
    Histogram::new_with_bounds(1_000, longest, 3).expect("the bounds are in order and three digits are allowed")
}
