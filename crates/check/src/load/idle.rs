//! What an idle connection costs: growth of the broker's private memory from some connections to many.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use columba_proto::{QoS, Version};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Line, LoadError, Peer, Process, Running, SessionKind, Via, free_port};

/// Connections opened before their answers are read.
const BATCH: usize = 100;
/// Memory that has not moved for this long has settled.
const SETTLED: Duration = Duration::from_millis(600);

/// How many connections to compare with how many.
#[derive(Clone, Copy, Debug)]
pub struct IdlePlan {
    /// Connections at the first look.
    pub few: usize,
    /// Connections at the second look.
    pub many: usize,
    /// The protocol version of all clients.
    pub version: Version,
    /// Whether each client subscribes to a topic of its own.
    pub subscribe: bool,
}

/// What idle connections cost.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Private memory with few connections, in bytes.
    pub before: u64,
    /// Private memory with many connections, in bytes.
    pub after: u64,
    /// Growth for each connection, in bytes.
    pub per_connection: u64,
    /// Connections that were open at the second look.
    pub open: usize,
}

/// Starts `peer`, opens connections from this process, and looks at the memory of the broker's.
pub fn idle(peer: &Peer, plan: IdlePlan, dir: &Path) -> Result<Idle, LoadError> {
    raise_descriptor_limit();
    let running = peer.start(free_port()?, dir)?;
    let mut lines = Vec::with_capacity(plan.many);
    grow(&running, &mut lines, plan.few, plan)?;
    let before = settled(running.process())?;
    grow(&running, &mut lines, plan.many, plan)?;
    let after = settled(running.process())?;
    let grown = (plan.many - plan.few).max(1) as u64;
    Ok(Idle { before, after, per_connection: after.saturating_sub(before) / grown, open: lines.len() })
}

/// Growth of a broker that runs for each of so many connections over one transport, in bytes.
pub(crate) fn per_connection(running: &Running, address: SocketAddr, via: Via, many: usize) -> Result<u64, LoadError> {
    raise_descriptor_limit();
    let few = (many / 10).max(1);
    let mut lines = Vec::with_capacity(many);
    let mut open_to = |to: usize| -> Result<u64, LoadError> {
        while lines.len() < to {
            let name = format!("idle{}", lines.len());
            let mut line = Line::open_via(address, via, Version::V311, &name, SessionKind::Clean)?;
            line.accepted()?;
            line.subscribe(&format!("{name}/commands"), QoS::AtLeastOnce)?;
            line.subscribed()?;
            line.forget_buffer();
            lines.push(line);
        }
        settled(running.process())
    };
    let before = open_to(few)?;
    let after = open_to(many)?;
    Ok(after.saturating_sub(before) / (many - few).max(1) as u64)
}

fn grow(running: &Running, lines: &mut Vec<Line>, to: usize, plan: IdlePlan) -> Result<(), LoadError> {
    while lines.len() < to {
        let from = lines.len();
        for number in from..to.min(from + BATCH) {
            lines.push(Line::open(running.address(), plan.version, &format!("idle{number}"), SessionKind::Clean)?);
        }
        for (line, number) in lines[from..].iter_mut().zip(from..) {
            line.accepted()?;
            if plan.subscribe {
                line.subscribe(&format!("idle/{number}/commands"), QoS::AtLeastOnce)?;
                line.subscribed()?;
            }
            line.forget_buffer();
        }
    }
    Ok(())
}

/// Private memory once it no longer moves.
fn settled(process: Process) -> Result<u64, LoadError> {
    let mut last = process.private_memory()?;
    let mut since = Instant::now();
    while since.elapsed() < SETTLED {
        thread::sleep(Duration::from_millis(100));
        let now = process.private_memory()?;
        if now != last {
            last = now;
            since = Instant::now();
        }
    }
    Ok(last)
}

/// As many descriptors as this process may have; the broker that it starts inherits them.
pub(crate) fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current < maximum {
        // Too few descriptors show themselves as refused connections, with the system's own words.
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).ok();
    }
}
