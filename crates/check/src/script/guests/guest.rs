//! One connection of a client, seen from the server.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use columba_proto::packet::{Ack, Connack, ConnackProperties, Connect, Packet, PacketType, Publish, Suback};
use columba_proto::{AckKind, PacketId, Peer, QoS, ReasonCode, Version};

use super::{PATIENCE, Visit};
use crate::script::client::message;
use crate::script::heard::Heard;
use crate::script::words::describe;
use crate::script::{Stop, Verdict};

/// Bytes read at a time.
const CHUNK: usize = 4_096;

/// A client that has said CONNECT.
#[derive(Debug)]
pub struct Guest {
    stream: TcpStream,
    version: Version,
    read: Vec<u8>,
    connect: Option<Heard>,
}

impl Guest {
    /// Takes a connection and waits for the CONNECT, which must be the first packet and well-formed.
    pub(super) fn greet(visit: &mut Visit, stream: TcpStream) -> Verdict<Self> {
        let io = |error: std::io::Error| Stop::Skipped(format!("the socket of the client: {error}"));
        stream.set_nonblocking(false).and_then(|()| stream.set_nodelay(true)).map_err(io)?;
        let mut guest = Self { stream, version: visit.order.version, read: Vec::new(), connect: None };
        let connect = guest.expect(visit, PacketType::Connect)?;
        let Packet::Connect(Connect { version, .. }) = connect.packet() else {
            return failed("CONNECT", connect.told());
        };
        if version != visit.order.version {
            let spoken = version.name();
            return Err(Stop::Skipped(format!("the client speaks MQTT {spoken}, not {}", visit.order.version.name())));
        }
        guest.connect = Some(connect);
        Ok(guest)
    }

    /// Its CONNECT.
    ///
    /// # Panics
    ///
    /// Never: it begins with one.
    pub fn connect(&self) -> Connect<'_> {
        let Some(Packet::Connect(connect)) = self.connect.as_ref().map(Heard::packet) else { panic!("a guest has said CONNECT") };
        connect
    }

    /// Sends a packet.
    ///
    /// # Panics
    ///
    /// With one that is larger than any packet may be.
    pub fn send(&mut self, visit: &mut Visit, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes).expect("stories send packets that can be sent");
        visit.say(format!("send: {}", describe(self.version, packet)));
        // A client that is gone shows when it is read from.
        let _gone = self.stream.write_all(&bytes);
    }

    /// Sends any bytes.
    pub fn send_bytes(&mut self, visit: &mut Visit, what: &str, bytes: &[u8]) {
        visit.say(format!("send: {what}"));
        let _gone = self.stream.write_all(bytes);
    }

    /// Accepts the client. The older versions cannot say that there was a session, and MQTT 3.1 not even that there was none.
    pub fn accept(&mut self, visit: &mut Visit, session_present: bool, properties: ConnackProperties<'_>) {
        let session_present = session_present && self.version.has_session_present();
        self.send(visit, &Packet::Connack(Connack { session_present, reason: ReasonCode::SUCCESS, properties }));
    }

    /// Answers PUBACK, PUBREC, PUBREL or PUBCOMP that all is well.
    pub fn acknowledge(&mut self, visit: &mut Visit, kind: AckKind, id: PacketId) {
        self.send(visit, &Packet::Ack(Ack::new(kind, id, ReasonCode::SUCCESS)));
    }

    /// Waits for SUBSCRIBE and grants what it asks for.
    pub fn grant(&mut self, visit: &mut Visit) -> Verdict<Heard> {
        let heard = self.expect(visit, PacketType::Subscribe)?;
        if let Packet::Subscribe(subscribe) = heard.packet() {
            let reasons: Vec<_> = subscribe.entries.iter().map(|entry| ReasonCode::from(entry.options.qos)).collect();
            let suback = Suback { id: subscribe.id, properties: <_>::default(), reasons: reasons.as_slice().into() };
            self.send(visit, &Packet::Suback(suback));
        }
        Ok(heard)
    }

    /// Publishes to the topic that the client subscribes to.
    pub fn publish(&mut self, visit: &mut Visit, qos: QoS, id: Option<PacketId>, dup: bool, payload: &str) {
        let topic = visit.order.topic.clone();
        let publish = Publish { qos, packet_id: id, dup, ..message(&topic, payload.as_bytes()) };
        self.send(visit, &Packet::Publish(publish));
    }

    /// The next packet within this time; `None` where nothing comes.
    pub fn hear_within(&mut self, visit: &mut Visit, within: Duration) -> Verdict<Option<Heard>> {
        match self.next(visit, Instant::now() + within)? {
            Next::Packet(heard) => Ok(Some(heard)),
            Next::Nothing => Ok(None),
            Next::Closed => failed("the connection stays", "the client closed it".into()),
        }
    }

    /// This packet, which must come next; pings are answered on the way.
    pub fn expect(&mut self, visit: &mut Visit, kind: PacketType) -> Verdict<Heard> {
        let until = Instant::now() + PATIENCE;
        loop {
            let heard = match self.next(visit, until)? {
                Next::Packet(heard) => heard,
                Next::Nothing => return failed(kind.name(), format!("nothing within {} s", PATIENCE.as_secs())),
                Next::Closed => return failed(kind.name(), "the client closed the connection".into()),
            };
            if heard.packet_type() == kind {
                return Ok(heard);
            }
            if heard.packet_type() != PacketType::Pingreq {
                return failed(kind.name(), heard.told());
            }
            self.send(visit, &Packet::Pingresp);
        }
    }

    /// This acknowledgement for this identifier.
    pub fn expect_ack(&mut self, visit: &mut Visit, kind: AckKind, id: PacketId) -> Verdict {
        let heard = self.expect(visit, kind.packet_type())?;
        let got = heard.ack().id;
        if got == id { Ok(()) } else { failed(&format!("{} for {id}", kind.packet_type().name()), heard.told()) }
    }

    /// The client ends the connection, perhaps after a DISCONNECT, and says nothing behind it.
    pub fn expect_end(&mut self, visit: &mut Visit) -> Verdict {
        let until = Instant::now() + PATIENCE;
        let mut said_goodbye = false;
        loop {
            match self.next(visit, until)? {
                Next::Closed => return Ok(()),
                Next::Nothing => return failed("the client closes the connection", "it stays open".into()),
                Next::Packet(heard) if said_goodbye => return failed("nothing behind DISCONNECT", heard.told()),
                Next::Packet(heard) => said_goodbye = heard.packet_type() == PacketType::Disconnect,
            }
        }
    }

    /// Breaks the connection off.
    pub fn cut(self, visit: &mut Visit) {
        visit.say("the server breaks the connection off");
        // It may be broken already.
        let _gone = self.stream.shutdown(Shutdown::Both);
    }

    fn next(&mut self, visit: &mut Visit, until: Instant) -> Verdict<Next> {
        loop {
            match Heard::take(Peer::Client, self.version, &mut self.read) {
                Ok(Some(heard)) => {
                    visit.say(format!("receive: {}", heard.told()));
                    return Ok(Next::Packet(heard));
                }
                Ok(None) => {}
                Err(error) => return failed("a well-formed packet that a client may send", error.to_string()),
            }
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let from = self.read.len();
            self.read.resize(from + CHUNK, 0);
            let read = self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(&mut self.read[from..]));
            self.read.truncate(from + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => {
                    visit.say("closes the connection");
                    return Ok(Next::Closed);
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(Next::Nothing);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    visit.say("breaks the connection off");
                    return Ok(Next::Closed);
                }
            }
        }
    }
}

/// What came next.
enum Next {
    Packet(Heard),
    Closed,
    Nothing,
}

pub(super) fn failed<T>(expected: &str, got: String) -> Verdict<T> {
    Err(Stop::Failed { expected: expected.into(), got })
}
