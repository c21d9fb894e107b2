//! Clients that keep their half of a session over any number of connections.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use columba_proto::packet::{Packet, Publish, PublishProperties};
use columba_proto::qos::{AckError, Acked, Receiver, Seen, Sender, Sending};
use columba_proto::{AckKind, PacketId, QoS, TopicName, Version};

use crate::load::SessionKind;
use crate::load::frames;
use crate::sim::Rng;

use super::judge::Fault;

/// Publisher, number, and whether it is the publisher's last: what stands before it has arrived once this has.
const PAYLOAD: usize = 8 + 8 + 1;
/// A silent connection looks up this often whether the storm is over.
const LOOK_UP: Duration = Duration::from_millis(50);
/// A subscriber that comes and goes receives fewer messages than this each time.
const STAYS_FOR_MAX: usize = 400;
const RECONNECT_PAUSE: Duration = Duration::from_millis(2);
/// How long a client that makes no progress waits before it gives up.
const PROGRESS_WAIT_MAX: Duration = Duration::from_secs(20);

/// What all clients of a storm share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) address: SocketAddr,
    pub(super) qos: QoS,
    pub(super) publishers: usize,
    /// Packets that clients have received so far.
    pub(super) packets: AtomicU64,
    /// How often the broker has been killed so far.
    pub(super) kills: AtomicU64,
    /// No more kills: publishers send their last message.
    pub(super) calm: AtomicBool,
    /// Clients that have got to their end, or given up.
    pub(super) done: AtomicU64,
}

/// What a publisher knows at its end.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) sent: u64,
    /// What the broker has taken responsibility for: PUBACK at QoS 1, PUBREC at QoS 2.
    pub(super) acknowledged: BTreeSet<u64>,
    pub(super) faults: Vec<Fault>,
}

/// What a subscriber knows at its end.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Publisher and number, in the order of delivery.
    pub(super) deliveries: Vec<(usize, u64)>,
    pub(super) faults: Vec<Fault>,
}

/// Publishes until it is calm, then one last message, and ends when all is acknowledged.
pub(super) fn publish(shared: &Shared, number: usize, window: u16) -> Published {
    let mut link = Link::new(shared, format!("storm-pub-{number}"), version_of(number));
    let mut sender: Sender<u64> = Sender::new(window);
    let mut published = Published::default();
    let mut last_sent = false;
    while !(link.has_given_up() || last_sent && sender.is_empty()) {
        if !link.is_open() {
            link.connect(&[]);
            if link.is_open() {
                let repeated: Vec<(PacketId, Option<u64>)> =
                    sender.resume().map(|(id, state)| (id, state.message().copied())).collect();
                for (id, message) in repeated {
                    match message {
                        Some(sequence) => link.publish(number, sequence, last_sent && sequence + 1 == published.sent, id, true),
                        None => link.acknowledge(AckKind::Pubrel, id),
                    }
                }
            }
        }
        while sender.has_room() && !last_sent && link.is_open() {
            last_sent = shared.calm.load(Ordering::Relaxed);
            let sequence = published.sent;
            let id = sender.begin(shared.qos, sequence);
            published.sent += 1;
            link.publish(number, sequence, last_sent, id, false);
        }
        link.flush();
        link.receive(|link, packet| {
            let Packet::Ack(ack) = packet else {
                return link.broken("a publisher was sent something else than acknowledgements");
            };
            match sender.on_ack(ack.kind, ack.id, ack.reason) {
                Ok(Acked::Released(sequence)) => {
                    published.acknowledged.insert(sequence);
                    link.acknowledge(AckKind::Pubrel, ack.id);
                }
                Ok(Acked::Finished { message, .. }) => published.acknowledged.extend(message),
                Ok(Acked::ReleasedAgain) => link.acknowledge(AckKind::Pubrel, ack.id),
                Err(AckError::Unknown { .. } | AckError::NotSent { .. } | AckError::Wrong { .. }) => {
                    link.broken("an acknowledgement of something that was not sent");
                }
            }
        });
    }
    published.faults = link.finish(&format!(
        "{} messages unacknowledged: {:?}",
        sender.len(),
        sender.iter().next().map(|(_, state): (_, &Sending<u64>)| state)
    ));
    published
}

/// Receives until the last message of every publisher has come. The first subscriber stays; the others leave again and again
/// without a word, and return after the next kill: what they are to receive is nowhere but in the broker's hands.
pub(super) fn subscribe(shared: &Shared, number: usize, subscribed: &AtomicU64, mut rng: Rng) -> Received {
    let mut link = Link::new(shared, format!("storm-sub-{number}"), version_of(number));
    let mut receiver: Receiver<Message> = Receiver::new();
    let mut deliveries = Vec::new();
    let mut ended = BTreeSet::new();
    let mut asked = false;
    let mut leave_at = 0;
    let request = frames::subscribe(link.version, &["storm/+".to_owned()], shared.qos);
    while ended.len() < shared.publishers && !link.has_given_up() {
        if !link.is_open() {
            link.connect(if asked { &[] } else { &request });
        }
        let is_calm = shared.calm.load(Ordering::Relaxed);
        if number > 0 && asked && !is_calm && deliveries.len() >= leave_at {
            link.stay_away();
            leave_at = deliveries.len() + rng.index(STAYS_FOR_MAX);
            continue;
        }
        let mut deliver = |message: Message| {
            deliveries.push((message.publisher, message.sequence));
            if message.is_last {
                ended.insert(message.publisher);
            }
        };
        link.receive(|link, packet| match packet {
            Packet::Suback(_) => {
                asked = true;
                subscribed.fetch_add(1, Ordering::Relaxed);
            }
            Packet::Publish(publish) => match (Message::read(publish.payload), publish.packet_id) {
                (Some(message), Some(id)) if publish.qos == QoS::ExactlyOnce => {
                    if receiver.on_publish(id) == Seen::New {
                        receiver.store(id, message);
                    }
                    link.acknowledge(AckKind::Pubrec, id);
                }
                (Some(message), Some(id)) => {
                    deliver(message);
                    link.acknowledge(AckKind::Puback, id);
                }
                (_, _) => link.broken("a message that nobody sent"),
            },
            Packet::Ack(ack) if ack.kind == AckKind::Pubrel => {
                if let Some(message) = receiver.on_pubrel(ack.id) {
                    deliver(message);
                }
                link.acknowledge(AckKind::Pubcomp, ack.id);
            }
            Packet::Ack(_)
            | Packet::Connect(_)
            | Packet::Connack(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::Unsuback(_)
            | Packet::Pingreq
            | Packet::Pingresp
            | Packet::Disconnect(_)
            | Packet::Auth(_) => {
                link.broken("a subscriber was sent a packet that does not belong here");
            }
        });
        link.flush();
    }
    let faults = link.finish(&format!("the last message of {} publishers has not come", shared.publishers - ended.len()));
    Received { deliveries, faults }
}

/// Old and new clients side by side.
fn version_of(number: usize) -> Version {
    if number.is_multiple_of(2) { Version::V311 } else { Version::V5 }
}

struct Message {
    publisher: usize,
    sequence: u64,
    is_last: bool,
}

impl Message {
    fn bytes(publisher: usize, sequence: u64, is_last: bool) -> [u8; PAYLOAD] {
        let mut bytes = [0; PAYLOAD];
        bytes[..8].copy_from_slice(&(publisher as u64).to_le_bytes());
        bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
        bytes[16] = u8::from(is_last);
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; PAYLOAD] = bytes.try_into().ok()?;
        let publisher = u64::from_le_bytes(*bytes.first_chunk()?);
        let sequence = u64::from_le_bytes(*bytes[8..].first_chunk()?);
        Some(Self { publisher: usize::try_from(publisher).ok()?, sequence, is_last: bytes[16] == 1 })
    }
}

/// A client identifier and its connection of the moment.
struct Link<'s> {
    shared: &'s Shared,
    client_id: String,
    version: Version,
    stream: Option<TcpStream>,
    read: Vec<u8>,
    out: Vec<u8>,
    /// The broker has confirmed a session, so from now on it has one.
    has_session: bool,
    moved_at: Instant,
    faults: Vec<Fault>,
}

impl<'s> Link<'s> {
    fn new(shared: &'s Shared, client_id: String, version: Version) -> Self {
        Self {
            shared,
            client_id,
            version,
            stream: None,
            read: Vec::new(),
            out: Vec::new(),
            has_session: false,
            moved_at: Instant::now(),
            faults: Vec::new(),
        }
    }

    fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// A fault that makes going on pointless, or no progress for too long.
    fn has_given_up(&self) -> bool {
        !self.faults.is_empty() || self.moved_at.elapsed() > PROGRESS_WAIT_MAX
    }

    /// One attempt; `first` goes out behind CONNECT's answer.
    fn connect(&mut self, first: &[u8]) {
        self.read.clear();
        self.out.clear();
        let Ok(stream) = self.attempt() else {
            thread::sleep(RECONNECT_PAUSE);
            return;
        };
        self.stream = Some(stream);
        let mut present = None;
        while self.is_open() && present.is_none() && !self.has_given_up() {
            self.receive_one(|link, packet| {
                let Packet::Connack(connack) = packet else {
                    return link.broken("something else than CONNACK came first");
                };
                if connack.reason.is_failure() {
                    return link.close();
                }
                present = Some(connack.session_present);
            });
        }
        let Some(present) = present else { return };
        if self.has_session && !present {
            self.faults.push(Fault::Forgotten { client: self.client_id.clone() });
        }
        self.has_session = true;
        self.out.extend_from_slice(first);
        self.flush();
    }

    fn attempt(&self) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.shared.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK_UP))?;
        stream.write_all(&frames::connect(self.version, &self.client_id, SessionKind::Persistent))?;
        Ok(stream)
    }

    fn close(&mut self) {
        self.stream = None;
    }

    /// Gone until the next kill, or until it is calm.
    fn stay_away(&mut self) {
        self.close();
        let kills = self.shared.kills.load(Ordering::Relaxed);
        while self.shared.kills.load(Ordering::Relaxed) == kills && !self.shared.calm.load(Ordering::Relaxed) {
            thread::sleep(RECONNECT_PAUSE);
        }
        self.moved_at = Instant::now();
    }

    fn broken(&mut self, why: &str) {
        self.faults.push(Fault::Broken { client: self.client_id.clone(), why: why.to_owned() });
        self.close();
    }

    fn publish(&mut self, publisher: usize, sequence: u64, is_last: bool, id: PacketId, dup: bool) {
        let topic = format!("storm/{publisher}");
        Publish {
            dup,
            qos: self.shared.qos,
            retain: false,
            topic: Some(TopicName::trusted(&topic)),
            packet_id: Some(id),
            payload: &Message::bytes(publisher, sequence, is_last),
            properties: PublishProperties::default(),
        }
        .encode(self.version, &mut self.out)
        .expect("a few bytes are smaller than the largest packet");
    }

    fn acknowledge(&mut self, kind: AckKind, id: PacketId) {
        frames::acknowledge(self.version, kind, id, &mut self.out);
    }

    fn flush(&mut self) {
        if let Some(stream) = &mut self.stream
            && stream.write_all(&self.out).is_err()
        {
            self.close();
        }
        self.out.clear();
    }

    /// Waits for bytes and hands over every whole packet.
    fn receive(&mut self, mut handle: impl FnMut(&mut Self, Packet<'_>)) {
        self.receive_bytes();
        while self.is_open() && self.take(&mut handle) {}
    }

    fn receive_one(&mut self, mut handle: impl FnMut(&mut Self, Packet<'_>)) {
        if !self.take(&mut handle) {
            self.receive_bytes();
        }
    }

    /// Hands over one packet, if there is a whole one.
    fn take(&mut self, handle: &mut impl FnMut(&mut Self, Packet<'_>)) -> bool {
        let read = std::mem::take(&mut self.read);
        let length = match frames::next(self.version, &read) {
            Ok(Some((packet, length))) => {
                self.moved_at = Instant::now();
                self.shared.packets.fetch_add(1, Ordering::Relaxed);
                handle(self, packet);
                length
            }
            Ok(None) => 0,
            Err(error) => {
                self.broken(&error.to_string());
                0
            }
        };
        self.read = read;
        self.read.drain(..length);
        length > 0
    }

    fn receive_bytes(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let mut buffer = [0; 16 * 1024];
        match stream.read(&mut buffer) {
            Ok(0) => self.close(),
            Ok(length) => self.read.extend_from_slice(&buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(_) => self.close(),
        }
    }

    /// What went wrong; `missing` says what a client waited for that gave up.
    fn finish(mut self, missing: &str) -> Vec<Fault> {
        if self.moved_at.elapsed() > PROGRESS_WAIT_MAX {
            self.faults.push(Fault::Broken { client: self.client_id, why: format!("gave up waiting: {missing}") });
        }
        self.shared.done.fetch_add(1, Ordering::Relaxed);
        self.faults
    }
}
