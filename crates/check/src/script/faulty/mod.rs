//! Brokers with one fault each, to show that the scripts find it: a right broker, and between it and the story somebody who changes what passes.

mod answers;
mod faults;
mod lenient;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use columba_proto::packet::{Connect, Packet};
use columba_proto::wire::{FRAME_LEN_MAX, Split, split};
use columba_proto::{Peer, Version, decode};

use super::clause::Clause;
use super::world::{Arrival, Ending, LineNo, Unable, World};

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Fault> {
    [faults::FAULTS, lenient::FAULTS, answers::FAULTS].into_iter().flatten()
}

/// One way to break the standard.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// What the broker does.
    pub name: &'static str,
    /// What that breaks: for each of them a script must fail.
    pub breaks: &'static [Clause],
    /// What is changed.
    pub meddle: fn(&mut Scene, Frame),
}

/// A packet on its way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// Who sent it.
    pub from: Peer,
    version: Version,
    bytes: Vec<u8>,
}

impl Frame {
    fn of(from: Peer, version: Version, packet: &Packet<'_>) -> Self {
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes).expect("what was a packet stays one");
        Self { from, version, bytes }
    }

    /// What is in it; `None` where it is broken.
    pub fn packet(&self) -> Option<Packet<'_>> {
        match split(&self.bytes, FRAME_LEN_MAX) {
            Ok(Split::Frame { first, body, .. }) => decode(self.version, self.from, first, body).ok(),
            Ok(Split::Need) | Err(_) => None,
        }
    }

    /// The same with its packet changed; a broken one stays as it is.
    #[must_use]
    pub fn changed(self, change: impl FnOnce(&mut Packet<'_>)) -> Self {
        let Some(mut packet) = self.packet() else { return self };
        change(&mut packet);
        Self::of(self.from, self.version, &packet)
    }
}

/// What a fault may do, and remember of this connection.
#[derive(Debug, Default)]
pub struct Scene {
    version: Option<Version>,
    up: Vec<u8>,
    down: Vec<u8>,
    /// Answered in the broker's place, or let through.
    for_client: VecDeque<u8>,
    for_broker: Vec<u8>,
    /// The connection seems to stay open when the broker has closed it.
    pub hides_end: bool,
    /// What was held back.
    pub held: Vec<Frame>,
    /// A number to remember.
    pub count: u32,
}

impl Scene {
    /// Lets it go where it was going.
    pub fn pass(&mut self, frame: &Frame) {
        match frame.from {
            Peer::Client => self.for_broker.extend_from_slice(&frame.bytes),
            Peer::Server => self.for_client.extend(&frame.bytes),
        }
    }

    /// Says something to the client in the broker's name.
    pub fn answer(&mut self, packet: &Packet<'_>) {
        if let Some(version) = self.version {
            self.for_client.extend(Frame::of(Peer::Server, version, packet).bytes);
        }
    }
}

/// A world whose broker has one fault.
pub struct Faulty {
    inner: Box<dyn World>,
    meddle: fn(&mut Scene, Frame),
    scenes: BTreeMap<LineNo, Scene>,
}

impl Faulty {
    /// The broker of `inner` with this fault.
    pub fn new(inner: Box<dyn World>, fault: &Fault) -> Self {
        Self { inner, meddle: fault.meddle, scenes: BTreeMap::new() }
    }
}

/// Takes whole frames out of `bytes`; what no frame can become goes through as it is.
fn each_frame(from: Peer, scene: &mut Scene, meddle: fn(&mut Scene, Frame)) {
    loop {
        let bytes = match from {
            Peer::Client => &mut scene.up,
            Peer::Server => &mut scene.down,
        };
        let frame: Vec<u8> = match split(bytes, FRAME_LEN_MAX) {
            Ok(Split::Frame { len, .. }) => bytes.drain(..len).collect(),
            Ok(Split::Need) => return,
            Err(_) => {
                let broken = std::mem::take(bytes);
                match from {
                    Peer::Client => scene.for_broker.extend(broken),
                    Peer::Server => scene.for_client.extend(broken),
                }
                return;
            }
        };
        if let Ok(Split::Frame { first, body, .. }) = split(&frame, FRAME_LEN_MAX)
            && first >> 4 == 1
            && let Ok(connect) = Connect::decode(body)
        {
            scene.version = Some(connect.version);
        }
        let version = scene.version.unwrap_or(Version::V311);
        meddle(scene, Frame { from, version, bytes: frame });
    }
}

impl World for Faulty {
    fn dial(&mut self) -> Result<LineNo, Unable> {
        let line = self.inner.dial()?;
        self.scenes.insert(line, Scene::default());
        Ok(line)
    }

    fn send(&mut self, line: LineNo, bytes: &[u8]) {
        let Some(scene) = self.scenes.get_mut(&line) else { return };
        scene.up.extend_from_slice(bytes);
        each_frame(Peer::Client, scene, self.meddle);
        let bytes = std::mem::take(&mut scene.for_broker);
        // The beginning of a frame has to arrive too: a broker may judge by it.
        if bytes.is_empty() && scene.up.is_empty() {
            return;
        }
        self.inner.send(line, &bytes);
    }

    fn receive(&mut self, line: LineNo, within: Duration, into: &mut Vec<u8>) -> Arrival {
        let until = self.inner.now() + within;
        loop {
            let Some(scene) = self.scenes.get_mut(&line) else { return Arrival::Closed };
            if !scene.for_client.is_empty() {
                into.extend(scene.for_client.drain(..));
                return Arrival::Bytes;
            }
            let left = until.saturating_sub(self.inner.now());
            match self.inner.receive(line, left, &mut scene.down) {
                Arrival::Bytes => {
                    each_frame(Peer::Server, scene, self.meddle);
                    let answers = std::mem::take(&mut scene.for_broker);
                    if !answers.is_empty() {
                        self.inner.send(line, &answers);
                    }
                }
                Arrival::Closed if scene.hides_end => {
                    self.inner.pass(left);
                    return Arrival::Nothing;
                }
                end @ (Arrival::Closed | Arrival::Nothing) => return end,
            }
        }
    }

    fn cut(&mut self, line: LineNo) {
        self.scenes.remove(&line);
        self.inner.cut(line);
    }

    fn pass(&mut self, time: Duration) {
        self.inner.pass(time);
    }

    fn now(&self) -> Duration {
        self.inner.now()
    }

    fn patience(&self) -> Duration {
        self.inner.patience()
    }

    fn silence(&self) -> Duration {
        self.inner.silence()
    }

    fn restart(&mut self, ending: Ending) -> Result<(), Unable> {
        self.inner.restart(ending)
    }
}
