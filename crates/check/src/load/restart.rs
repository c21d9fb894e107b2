//! Killed with many stored messages: how long until the broker listens again, and is everything still there?

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use columba_proto::packet::Packet;
use columba_proto::qos::{Acked, Outcome, Sender};
use columba_proto::{AckKind, QoS, Version};
use columba_store::dir::disk_usage;

use super::frames::{self, Template};
use super::idle::raise_descriptor_limit;
use super::payload::{STAMP, Stamp};
use super::{Line, LoadError, Peer, SessionKind, free_port};

/// Sessions that are set up or emptied side by side.
const BATCH: usize = 100;
/// Acknowledgements that go out together: fewer than any broker's window, or both sides would wait.
const ACK_BYTES: usize = 8 * 4;
/// Between two looks at the broker's directory.
const LOOK: Duration = Duration::from_millis(500);

/// How much to store.
#[derive(Clone, Copy, Debug)]
pub struct RestartPlan {
    /// Persistent sessions, each with one subscription of its own.
    pub sessions: usize,
    /// Messages for all sessions together, each for one of them.
    pub messages: usize,
    /// Bytes of each payload.
    pub payload: usize,
    /// The protocol version of all clients.
    pub version: Version,
    /// How many messages the publisher has unacknowledged.
    pub window: u16,
    /// How long the idle broker is watched at the end, until its directory is as small as it was.
    pub idle: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Restart {
    /// From the first PUBLISH to the last PUBACK.
    pub storing: Duration,
    /// From the start of the killed broker to its first accepted connection.
    pub listens_after: Duration,
    /// From there to the last delivery.
    pub delivering: Duration,
    /// Messages that came, each counted once.
    pub delivered: usize,
    /// Messages that did not come, came out of their order, or were changed.
    pub flaws: usize,
    /// Sessions that the broker did not know any more.
    pub forgotten: usize,
    /// Resident memory of the broker when it listened again, in bytes.
    pub resident: u64,
    /// The most resident memory that the storing broker had, less what it had before, in bytes.
    pub grew_by: u64,
    /// What the broker keeps on disk: made anew, when all was stored, and at its smallest in the idle time after the drain.
    pub on_disk: OnDisk,
}

/// Blocks of the broker's directory, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct OnDisk {
    /// Before the first message.
    pub fresh: u64,
    /// After the last PUBACK.
    pub stored: u64,
    /// The smallest in the idle time after the last delivery.
    pub drained: u64,
    /// How long after the last delivery it was as small as that.
    pub drained_after: Duration,
}

/// Stores, kills, starts again, and counts.
pub fn restart(peer: &Peer, plan: RestartPlan, dir: &Path, mut progress: impl FnMut(&str)) -> Result<Restart, LoadError> {
    if plan.payload < STAMP {
        return Err(LoadError::PayloadTooSmall { min: STAMP });
    }
    raise_descriptor_limit();
    let port = free_port()?;
    let mut running = peer.start(port, dir)?;
    progress("making sessions");
    for from in (0..plan.sessions).step_by(BATCH) {
        let mut lines = open(plan, running.address(), from)?;
        for (line, session) in lines.iter_mut().zip(from..) {
            line.accepted()?;
            line.subscribe(&topic(session), QoS::AtLeastOnce)?;
        }
        lines.iter_mut().try_for_each(Line::subscribed)?;
    }
    let fresh = used(dir)?;
    let before = running.process().resident_memory()?;
    progress("storing messages");
    let begun = Instant::now();
    store(plan, running.address())?;
    let storing = begun.elapsed();
    let grew_by = running.process().peak_memory()?.saturating_sub(before);
    let stored = used(dir)?;

    progress("killing the broker and starting it again");
    running.kill()?;
    let begun = Instant::now();
    let running = peer.start(port, dir)?;
    let listens_after = begun.elapsed();
    let resident = running.process().resident_memory()?;

    progress("counting what comes");
    let begun = Instant::now();
    let mut found = Found::default();
    for from in (0..plan.sessions).step_by(BATCH) {
        let mut lines = open(plan, running.address(), from)?;
        for (line, session) in lines.iter_mut().zip(from..) {
            found.empty_session(line, plan, session)?;
        }
    }
    let delivering = begun.elapsed();
    progress("waiting for the disk space to come back");
    let (drained, drained_after) = smallest(dir, fresh, plan.idle)?;
    let on_disk = OnDisk { fresh, stored, drained, drained_after };
    let Found { delivered, flaws, forgotten } = found;
    Ok(Restart { storing, listens_after, delivering, delivered, flaws, forgotten, resident, grew_by, on_disk })
}

fn used(dir: &Path) -> Result<u64, LoadError> {
    disk_usage(dir).map_err(|source| LoadError::Io { doing: "measuring the broker's directory", source })
}

/// Waits until the directory is as small as it was, so long at most. The answer is the smallest that it was, and when.
fn smallest(dir: &Path, fresh: u64, idle: Duration) -> Result<(u64, Duration), LoadError> {
    let begun = Instant::now();
    let mut smallest = (used(dir)?, Duration::ZERO);
    while smallest.0 > fresh && begun.elapsed() < idle {
        thread::sleep(LOOK);
        let now = used(dir)?;
        if now < smallest.0 {
            smallest = (now, begun.elapsed());
        }
    }
    Ok(smallest)
}

fn open(plan: RestartPlan, address: SocketAddr, from: usize) -> Result<Vec<Line>, LoadError> {
    let name = |session| format!("restart{session}");
    (from..plan.sessions.min(from + BATCH))
        .map(|session| Line::open(address, plan.version, &name(session), SessionKind::Persistent))
        .collect()
}

fn topic(session: usize) -> String {
    format!("restart/{session}")
}

/// One publisher sends to all sessions in turn and ends when the last message is acknowledged.
fn store(plan: RestartPlan, address: SocketAddr) -> Result<(), LoadError> {
    let mut line = Line::open(address, plan.version, "restart-publisher", SessionKind::Clean)?;
    line.accepted()?;
    let mut sender: Sender<()> = Sender::new(plan.window);
    let mut next = 0;
    let mut out = Vec::new();
    while next < plan.messages || !sender.is_empty() {
        while next < plan.messages && sender.has_room() {
            let session = next % plan.sessions;
            let template = Template::new(plan.version, QoS::AtLeastOnce, &topic(session), plan.payload);
            let stamp = stamp(session, next / plan.sessions);
            template.append(Some(sender.begin(QoS::AtLeastOnce, ())), &mut out, |payload| stamp.write(payload));
            next += 1;
        }
        line.send(&out)?;
        out.clear();
        // Half a window at a time: neither side waits for the other's last word.
        let enough = sender.len() / 2;
        while sender.len() > enough {
            let finished = line.packet(|packet| {
                let Packet::Ack(ack) = packet else {
                    return false;
                };
                let acked = sender.on_ack(ack.kind, ack.id, ack.reason);
                matches!(acked, Ok(Acked::Finished { outcome: Outcome::Delivered, .. }))
            })?;
            if !finished {
                return Err(LoadError::Stalled { doing: "waiting for PUBACK" });
            }
        }
    }
    Ok(())
}

/// Names the session and the place of a message in its queue.
fn stamp(session: usize, place: usize) -> Stamp {
    let publisher = u32::try_from(session).expect("fewer sessions than 2^32");
    Stamp { publisher, sequence: place as u64, due: 0 }
}

#[derive(Default)]
struct Found {
    delivered: usize,
    flaws: usize,
    forgotten: usize,
}

impl Found {
    /// Receives all that waits for one session, in its order, and acknowledges it.
    fn empty_session(&mut self, line: &mut Line, plan: RestartPlan, session: usize) -> Result<(), LoadError> {
        let waiting = plan.messages / plan.sessions + usize::from(session < plan.messages % plan.sessions);
        if !line.accepted()? {
            self.forgotten += 1;
            self.flaws += waiting;
            return Ok(());
        }
        let mut acks = Vec::new();
        for place in 0..waiting {
            let expected = stamp(session, place);
            let right = line.packet(|packet| {
                let Packet::Publish(publish) = packet else {
                    return false;
                };
                if let Some(id) = publish.packet_id {
                    frames::acknowledge(plan.version, AckKind::Puback, id, &mut acks);
                }
                Stamp::read(publish.payload) == Some(expected)
            });
            let Ok(is_right) = right else {
                // Nothing more comes: the rest is lost.
                self.flaws += waiting - place;
                return Ok(());
            };
            self.delivered += usize::from(is_right);
            self.flaws += usize::from(!is_right);
            if acks.len() >= ACK_BYTES || place + 1 == waiting {
                line.send(&acks)?;
                acks.clear();
            }
        }
        Ok(())
    }
}
