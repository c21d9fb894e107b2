//! One connection of the generator: a publisher or a subscriber, without a thought about sockets of others.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use hdrhistogram::Histogram;
use mio::net::TcpStream;

use super::frames::{self, Version};
use super::payload::Stamp;
use super::tally::Tally;
use super::{LoadError, Pace, Plan, SessionKind};

/// A connection stops producing when so much waits to be written.
const OUT_BYTES_MAX: usize = 64 * 1024;
/// Reads of one connection before the next one has its turn.
const READS_PER_TURN: usize = 4;

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
    template: Vec<u8>,
    identifier_at: Option<usize>,
    payload_at: usize,
    /// Identifiers that no exchange uses.
    free: Vec<u16>,
    pub(crate) sent: u64,
    pub(crate) limit: u64,
    pub(crate) in_flight: u64,
    /// Deliveries that a bound on QoS 0 no longer waits for.
    pub(crate) forgiven: u64,
}

pub(crate) struct Subscriber {
    number: usize,
    filters: Vec<String>,
    /// QoS 2 identifiers between PUBLISH and PUBREL.
    awaiting_release: Vec<bool>,
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
    rest: Vec<u8>,
}

impl Publisher {
    pub(crate) fn new(plan: &Plan, number: u32, limit: u64) -> Self {
        let (template, identifier_at, payload_at) =
            frames::publish(plan.version, plan.qos, &plan.topic(number), plan.payload);
        Self {
            number,
            template,
            identifier_at,
            payload_at,
            free: (1..=plan.window).rev().collect(),
            sent: 0,
            limit,
            in_flight: 0,
            forgiven: 0,
        }
    }

    /// Appends what may leave now.
    fn produce(&mut self, plan: &Plan, board: &Board, sending_since: u64, out: &mut Vec<u8>) {
        while self.sent < self.limit && out.len() < OUT_BYTES_MAX {
            let due = match plan.pace {
                Pace::Saturated => board.now,
                Pace::PerSecond(rate) => {
                    sending_since
                        + due_after(
                            self.sent * u64::from(plan.publishers) + u64::from(self.number),
                            rate,
                        )
                }
            };
            if due > board.now {
                return;
            }
            let identifier = if self.identifier_at.is_some() {
                let Some(identifier) = self.free.pop() else {
                    return;
                };
                self.in_flight += 1;
                identifier
            } else {
                let settled = board.of_publisher[self.number as usize] + self.forgiven;
                if (self.sent * plan.fan_out()).saturating_sub(settled)
                    >= u64::from(plan.ahead) * plan.fan_out().max(1)
                {
                    return;
                }
                0
            };
            let start = out.len();
            out.extend_from_slice(&self.template);
            let frame = &mut out[start..];
            if let Some(at) = self.identifier_at {
                frame[at..at + 2].copy_from_slice(&identifier.to_be_bytes());
            }
            Stamp {
                publisher: self.number,
                sequence: self.sent,
                due,
            }
            .write(&mut frame[self.payload_at..]);
            self.sent += 1;
        }
    }

    fn finished(&mut self, identifier: u16) {
        self.free.push(identifier);
        self.in_flight = self.in_flight.saturating_sub(1);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a schedule within the length of a run"
)]
fn due_after(messages: u64, per_second: f64) -> u64 {
    (messages as f64 * 1e9 / per_second) as u64
}

impl Subscriber {
    pub(crate) fn new(plan: &Plan, number: u32) -> Self {
        Self {
            number: number as usize,
            filters: plan.filters(number),
            awaiting_release: vec![false; 1 << 16],
        }
    }

    fn delivered(&mut self, payload: &[u8], board: &mut Board) {
        let stamp = Stamp::read(payload)
            .filter(|stamp| (stamp.publisher as usize) < board.of_publisher.len());
        let Some(stamp) = stamp else {
            board.corrupt += 1;
            return;
        };
        board.tallies[self.number][stamp.publisher as usize].note(stamp.sequence);
        board.of_publisher[stamp.publisher as usize] += 1;
        board.deliveries += 1;
        if board.measuring {
            board.measured_deliveries += 1;
            board
                .latency
                .saturating_record(board.now.saturating_sub(stamp.due).max(1));
        }
    }
}

impl Connection {
    pub(crate) fn open(plan: &Plan, name: String, role: Role) -> Result<Self, LoadError> {
        let stream = TcpStream::connect(plan.address).map_err(LoadError::io("connecting"))?;
        // Not every platform reports a failed option before the connection stands; batching happens here anyway.
        stream.set_nodelay(true).ok();
        let out = frames::connect(plan.version, &name, plan.session == SessionKind::Clean, 600);
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
        })
    }

    /// Reads what has come and answers it.
    pub(crate) fn read(
        &mut self,
        plan: &Plan,
        board: &mut Board,
        buffer: &mut [u8],
    ) -> Result<(), LoadError> {
        self.more_to_read = false;
        for _ in 0..READS_PER_TURN {
            match self.stream.read(buffer) {
                Ok(0) => return Err(self.lost("the broker closed it")),
                Ok(length) => {
                    self.take(plan, board, &buffer[..length])?;
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

    fn take(&mut self, plan: &Plan, board: &mut Board, bytes: &[u8]) -> Result<(), LoadError> {
        let mut joined = std::mem::take(&mut self.rest);
        let bytes = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined[..]
        };
        let mut at = 0;
        while let Some((first, body, length)) = frames::split(&bytes[at..]) {
            self.handle(plan, board, first, body)?;
            at += length;
        }
        self.rest = bytes[at..].to_vec();
        Ok(())
    }

    fn handle(
        &mut self,
        plan: &Plan,
        board: &mut Board,
        first: u8,
        body: &[u8],
    ) -> Result<(), LoadError> {
        if first & 0xf0 == frames::PUBLISH {
            return self.on_publish(board, first, body);
        }
        let identifier = body
            .first_chunk()
            .map_or(0, |bytes| u16::from_be_bytes(*bytes));
        match (first, &mut self.role) {
            (frames::CONNACK, role) => {
                let code = body.get(1).copied().unwrap_or(0xff);
                if code != 0 {
                    return Err(LoadError::Refused { code });
                }
                self.phase = Phase::Ready;
                if let Role::Subscriber(subscriber) = role
                    && !subscriber.filters.is_empty()
                {
                    self.out.extend_from_slice(&frames::subscribe(
                        self.version,
                        1,
                        &subscriber.filters,
                        plan.qos,
                    ));
                    self.phase = Phase::AwaitSuback;
                }
            }
            (frames::SUBACK, Role::Subscriber(_)) => {
                let code = body.last().copied().unwrap_or(0xff);
                if code >= 0x80 {
                    return Err(LoadError::SubscriptionRefused { code });
                }
                self.phase = Phase::Ready;
            }
            (frames::PUBACK | frames::PUBCOMP, Role::Publisher(publisher)) => {
                publisher.finished(identifier)
            }
            (frames::PUBREC, Role::Publisher(_)) => self.answer(frames::PUBREL, identifier),
            (frames::PUBREL, Role::Subscriber(subscriber)) => {
                subscriber.awaiting_release[usize::from(identifier)] = false;
                self.answer(frames::PUBCOMP, identifier);
            }
            _ => return Err(self.lost("the broker sent a packet that does not belong here")),
        }
        Ok(())
    }

    fn on_publish(&mut self, board: &mut Board, first: u8, body: &[u8]) -> Result<(), LoadError> {
        let Role::Subscriber(subscriber) = &mut self.role else {
            return Err(self.lost("a publisher was sent a message"));
        };
        let Some((qos, identifier, payload)) = frames::read_publish(self.version, first, body)
        else {
            return Err(self.lost("a malformed PUBLISH"));
        };
        match qos {
            0 => subscriber.delivered(payload, board),
            1 => {
                subscriber.delivered(payload, board);
                self.answer(frames::PUBACK, identifier);
            }
            _ => {
                let known = std::mem::replace(
                    &mut subscriber.awaiting_release[usize::from(identifier)],
                    true,
                );
                if !known {
                    subscriber.delivered(payload, board);
                }
                self.answer(frames::PUBREC, identifier);
            }
        }
        Ok(())
    }

    fn answer(&mut self, first: u8, identifier: u16) {
        let [high, low] = identifier.to_be_bytes();
        self.out.extend_from_slice(&[first, 2, high, low]);
    }

    pub(crate) fn produce(&mut self, plan: &Plan, board: &Board, sending_since: u64) {
        if let Role::Publisher(publisher) = &mut self.role {
            publisher.produce(plan, board, sending_since, &mut self.out);
        }
    }

    /// Writes until the socket is full or nothing is left.
    pub(crate) fn flush(&mut self) -> Result<(), LoadError> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(length) => self.written += length,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::NotConnected
                    ) =>
                {
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

    /// When the next message is due, for a paced publisher.
    pub(crate) fn next_due(&self, plan: &Plan, sending_since: u64) -> Option<u64> {
        match (&self.role, plan.pace) {
            (Role::Publisher(publisher), Pace::PerSecond(rate))
                if publisher.sent < publisher.limit =>
            {
                Some(
                    sending_since
                        + due_after(
                            publisher.sent * u64::from(plan.publishers)
                                + u64::from(publisher.number),
                            rate,
                        ),
                )
            }
            _ => None,
        }
    }

    fn lost(&self, why: &'static str) -> LoadError {
        LoadError::Lost {
            client: self.name.clone(),
            why,
        }
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
            tallies: (0..plan.subscribers).map(|_| row()).collect(),
            of_publisher: vec![0; plan.publishers as usize],
            latency: Histogram::new_with_bounds(
                1_000,
                Duration::from_secs(3600)
                    .as_nanos()
                    .try_into()
                    .unwrap_or(u64::MAX),
                3,
            )
            .expect("the bounds are in order and three digits are allowed"),
        }
    }
}
