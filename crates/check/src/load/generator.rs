//! The event loop: connects, sends, receives, measures, drains.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use columba_proto::QoS;
use mio::{Events, Interest, Poll, Token};

use super::client::{Board, Connection, Phase, Publisher, Role, Subscriber};
use super::payload::STAMP;
use super::{LoadError, Pace, Plan, Process, Report, Stop, Topics};

/// No connection is ready after this: give up.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(20);
/// Nothing came for so long while draining: what is missing is lost. At QoS 0 that may happen; where it is a flaw, a busy machine is given more time.
const DRAIN_WAIT_MAX: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];
/// QoS 0 messages that have not come after this no longer hold their publisher back.
const FORGIVE_AFTER: Duration = Duration::from_millis(500);
const READ_BYTES: usize = 64 * 1024;

/// Carries out `plan` and says what happened; looks at `process` (the broker's) while it measures.
pub fn run(plan: &Plan, process: Option<Process>) -> Result<Report, LoadError> {
    run_and_tell(plan, process, || {})
}

/// The same; calls `inside` once all are connected and have subscribed.
pub fn run_and_tell(plan: &Plan, process: Option<Process>, inside: impl FnOnce()) -> Result<Report, LoadError> {
    if plan.payload < STAMP {
        return Err(LoadError::PayloadTooSmall { min: STAMP });
    }
    let mut world = World::new(plan)?;
    world.connect()?;
    inside();
    world.send_and_measure(process)
}

struct World<'p> {
    plan: &'p Plan,
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    board: Board,
    begun: Instant,
    buffer: Vec<u8>,
    /// When publishers began, once they have.
    sending_since: Option<u64>,
}

impl<'p> World<'p> {
    fn new(plan: &'p Plan) -> Result<Self, LoadError> {
        Ok(Self {
            plan,
            poll: Poll::new().map_err(LoadError::io("making a poll"))?,
            events: Events::with_capacity(1024),
            connections: Vec::new(),
            board: Board::new(plan),
            begun: Instant::now(),
            buffer: vec![0; READ_BYTES],
            sending_since: None,
        })
    }

    /// Subscribers first, so that nothing is published before they listen.
    fn connect(&mut self) -> Result<(), LoadError> {
        let run = next_run();
        for number in 0..self.plan.subscribers {
            self.open(format!("{run}s{number}"), Role::Subscriber(Subscriber::new(self.plan, number as usize)))?;
        }
        self.until_ready()?;
        for number in 0..self.plan.publishers {
            let limit = share_of(self.plan, number);
            self.open(format!("{run}p{number}"), Role::Publisher(Publisher::new(self.plan, number, limit)))?;
        }
        self.until_ready()
    }

    fn open(&mut self, name: String, role: Role) -> Result<(), LoadError> {
        let mut connection = Connection::open(self.plan, name, role)?;
        let token = Token(self.connections.len());
        self.poll
            .registry()
            .register(&mut connection.stream, token, Interest::READABLE | Interest::WRITABLE)
            .map_err(LoadError::io("registering a socket"))?;
        self.connections.push(connection);
        Ok(())
    }

    fn until_ready(&mut self) -> Result<(), LoadError> {
        let deadline = Instant::now() + CONNECT_WAIT_MAX;
        while self.connections.iter().any(|connection| connection.phase != Phase::Ready) {
            if Instant::now() > deadline {
                return Err(LoadError::Stalled { doing: "connecting" });
            }
            self.turn(Duration::from_millis(100))?;
        }
        Ok(())
    }

    fn send_and_measure(mut self, process: Option<Process>) -> Result<Report, LoadError> {
        self.tick();
        self.sending_since = Some(self.board.now);
        let warm_up = match self.plan.stop {
            Stop::After(_) => self.plan.warm_up,
            Stop::Messages(_) => Duration::ZERO,
        };
        self.turns_for(warm_up)?;

        let cpu_before = process.map(Process::cpu).transpose()?;
        let measured_since = Instant::now();
        self.board.measuring = true;
        match self.plan.stop {
            Stop::After(duration) => self.turns_for(duration)?,
            Stop::Messages(_) => self.drain()?,
        }
        self.board.measuring = false;
        let measured = measured_since.elapsed();
        let cpu = process.map(Process::cpu).transpose()?.zip(cpu_before).map(|(after, before)| after.saturating_sub(before));

        for connection in &mut self.connections {
            if let Role::Publisher(publisher) = &mut connection.role {
                publisher.limit = publisher.sent;
            }
        }
        self.drain()?;
        Ok(self.report(measured, cpu))
    }

    fn turns_for(&mut self, duration: Duration) -> Result<(), LoadError> {
        let end = Instant::now() + duration;
        let mut moved_at = Instant::now();
        let mut deliveries = self.board.deliveries;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.turn(left.min(Duration::from_millis(100)))?;
            if self.board.deliveries != deliveries {
                deliveries = self.board.deliveries;
                moved_at = Instant::now();
            } else if moved_at.elapsed() > FORGIVE_AFTER {
                self.forgive();
                moved_at = Instant::now();
            }
        }
    }

    /// Until everything that was to be sent has been sent, answered and delivered, or nothing comes any more.
    fn drain(&mut self) -> Result<(), LoadError> {
        let wait_max = DRAIN_WAIT_MAX[usize::from(self.plan.qos > QoS::AtMostOnce)];
        let mut moved_at = Instant::now();
        let mut seen = (0, 0);
        loop {
            let (sent, pending) = self.publishers().fold((0, 0), |(sent, pending), publisher| {
                (sent + publisher.sent, pending + publisher.in_flight() + (publisher.limit - publisher.sent))
            });
            if pending == 0 && self.board.deliveries >= sent * self.plan.fan_out() {
                return Ok(());
            }
            let now = (sent, self.board.deliveries);
            if now != seen {
                seen = now;
                moved_at = Instant::now();
            } else if moved_at.elapsed() > wait_max {
                return Ok(());
            } else if moved_at.elapsed() > FORGIVE_AFTER {
                self.forgive();
            }
            self.turn(Duration::from_millis(100))?;
        }
    }

    /// One round of waiting, reading, producing and writing.
    fn turn(&mut self, wait: Duration) -> Result<(), LoadError> {
        let wait = if self.connections.iter().any(|connection| connection.more_to_read) {
            Duration::ZERO
        } else {
            wait.min(self.until_next_due())
        };
        match self.poll.poll(&mut self.events, Some(wait)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(LoadError::io("waiting for events")(error)),
        }
        self.tick();
        for event in &self.events {
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.connections[event.token().0].more_to_read = true;
            }
        }
        for connection in &mut self.connections {
            if connection.more_to_read {
                connection.read(self.plan, &mut self.board, &mut self.buffer)?;
            }
        }
        self.tick();
        for connection in &mut self.connections {
            if let Some(since) = self.sending_since {
                connection.produce(self.plan, &self.board, since);
            }
            connection.flush()?;
        }
        Ok(())
    }

    fn until_next_due(&self) -> Duration {
        let (Pace::PerSecond(_), Some(since)) = (self.plan.pace, self.sending_since) else {
            return Duration::MAX;
        };
        let next = self.connections.iter().filter_map(|connection| connection.next_due(self.plan, since)).min();
        next.map_or(Duration::MAX, |due| Duration::from_nanos(due.saturating_sub(self.board.now)))
    }

    fn tick(&mut self) {
        self.board.now = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    }

    /// The broker has thrown QoS 0 messages away, as it may: their publishers go on.
    fn forgive(&mut self) {
        if self.plan.qos != QoS::AtMostOnce {
            return;
        }
        let fan_out = self.plan.fan_out();
        for connection in &mut self.connections {
            if let Role::Publisher(publisher) = &mut connection.role {
                publisher.forgiven =
                    (publisher.sent * fan_out).saturating_sub(self.board.of_publisher[publisher.number as usize]);
            }
        }
    }

    fn publishers(&self) -> impl Iterator<Item = &Publisher> {
        self.connections.iter().filter_map(|connection| match &connection.role {
            Role::Publisher(publisher) => Some(publisher),
            Role::Subscriber(_) => None,
        })
    }

    fn report(self, measured: Duration, cpu: Option<Duration>) -> Report {
        let sent_by: Vec<u64> = self.publishers().map(|publisher| publisher.sent).collect();
        let mut report = Report {
            sent: sent_by.iter().sum(),
            received: 0,
            lost: 0,
            duplicates: 0,
            out_of_order: 0,
            corrupt: self.board.corrupt,
            measured_deliveries: self.board.measured_deliveries,
            measured,
            cpu,
            latency: self.board.latency,
            answers: self.board.answers,
        };
        for (subscriber, row) in self.board.tallies.iter().enumerate() {
            for (publisher, tally) in row.iter().enumerate() {
                if self.plan.receives(subscriber, publisher) {
                    report.received += tally.received;
                    report.lost += tally.lost(sent_by[publisher]);
                    report.duplicates += tally.duplicates;
                    // What goes to several members overtakes.
                    if self.plan.topics != Topics::Shared {
                        report.out_of_order += tally.out_of_order;
                    }
                } else {
                    // A message that nobody asked for is as wrong as a changed one.
                    report.corrupt += tally.received;
                }
            }
        }
        report
    }
}

/// How many messages one publisher sends.
fn share_of(plan: &Plan, number: u32) -> u64 {
    match plan.stop {
        Stop::After(_) => u64::MAX,
        Stop::Messages(all) => {
            let publishers = u64::from(plan.publishers);
            all / publishers + u64::from(u64::from(number) < all % publishers)
        }
    }
}

/// A beginning for client identifiers that no other run on this machine uses; short enough for MQTT 3.1 (§3.1.3.1 there).
fn next_run() -> String {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    format!("l{}x{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed))
}
