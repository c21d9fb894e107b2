//! One client of a story: says what it is told to, and hears what comes.

use std::time::Duration;

use columba_proto::packet::{
    Ack, Disconnect, Packet, PacketType, Publish, PublishProperties, Subscribe, SubscribeEntry, SubscriptionOptions, Unsubscribe,
};
use columba_proto::{AckKind, PacketId, Peer, QoS, ReasonCode, TopicName, Version};

use super::asked::Asked;
use super::heard::Heard;
use super::stage::Stage;
use super::words::describe;
use super::world::{Arrival, LineNo};
use super::{Stop, Verdict};

/// A connection, and the packet identifiers that its client has used.
pub struct Client<'s> {
    stage: &'s Stage,
    line: LineNo,
    name: String,
    version: Version,
    read: Vec<u8>,
    last_id: u16,
    asked: Asked,
    /// The CONNACK that accepted it, once it came.
    connack: Option<Heard>,
}

/// A PUBLISH with nothing special: QoS 0, not retained.
///
/// # Panics
///
/// Where `topic` is no topic: stories that want that send bytes.
pub(super) fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Publish<'a> {
    Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: Some(TopicName::new(topic).expect("stories publish to topic names")),
        packet_id: None,
        payload,
        properties: PublishProperties::default(),
    }
}

/// A whole frame: type and flags, and what stands behind the fixed header.
///
/// # Panics
///
/// With a body of more than 268,435,455 bytes.
pub(super) fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut rest = u32::try_from(body.len()).expect("a body that a frame can have");
    loop {
        let low = u8::try_from(rest & 0x7f).expect("seven bits");
        rest >>= 7;
        if rest == 0 {
            bytes.push(low);
            break;
        }
        bytes.push(low | 0x80);
    }
    bytes.extend_from_slice(body);
    bytes
}

impl<'s> Client<'s> {
    pub(super) fn new(stage: &'s Stage, line: LineNo, name: &str, version: Version) -> Self {
        Self { stage, line, name: name.into(), version, read: Vec::new(), last_id: 0, asked: Asked::default(), connack: None }
    }

    fn failed<T>(&self, expected: impl Into<String>, got: impl Into<String>) -> Verdict<T> {
        Err(Stop::Failed { expected: format!("{}: {}", self.name, expected.into()), got: got.into() })
    }

    // What it says.

    /// Sends a packet.
    ///
    /// # Panics
    ///
    /// With one that is larger than any packet may be.
    pub fn send(&mut self, packet: &Packet<'_>) {
        if let Packet::Connect(connect) = packet {
            self.asked = Asked::of(connect);
        }
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes).expect("stories send packets that can be sent");
        self.stage.say(&self.name, format!("send: {}", describe(self.version, packet)));
        self.stage.world.borrow_mut().send(self.line, &bytes);
    }

    /// Sends any bytes.
    pub fn send_bytes(&mut self, what: &str, bytes: &[u8]) {
        let shown: Vec<String> = bytes.iter().take(48).map(|byte| format!("{byte:02x}")).collect();
        let more = if bytes.len() > shown.len() { format!(" … {} bytes", bytes.len()) } else { String::new() };
        self.stage.say(&self.name, format!("send: {what}: {}{more}", shown.join(" ")));
        self.stage.world.borrow_mut().send(self.line, bytes);
    }

    /// A packet identifier that this client has not used yet.
    ///
    /// # Panics
    ///
    /// After 65,535 of them.
    pub fn next_id(&mut self) -> PacketId {
        self.last_id += 1;
        PacketId::new(self.last_id).expect("few identifiers are used in one story")
    }

    /// Publishes and does not wait for anything. The answer is the identifier of a QoS 1 or 2 message.
    pub fn publish(&mut self, publish: &Publish<'_>) -> Option<PacketId> {
        let packet_id = (publish.qos != QoS::AtMostOnce).then(|| publish.packet_id.unwrap_or_else(|| self.next_id()));
        self.send(&Packet::Publish(Publish { packet_id, ..publish.clone() }));
        packet_id
    }

    /// Publishes with the whole handshake of its QoS (§4.3).
    pub fn deliver(&mut self, publish: &Publish<'_>) -> Verdict {
        let qos = publish.qos;
        let Some(id) = self.publish(publish) else { return Ok(()) };
        if qos == QoS::AtLeastOnce {
            return self.expect_ack(AckKind::Puback, id).map(drop);
        }
        self.expect_ack(AckKind::Pubrec, id)?;
        self.acknowledge(AckKind::Pubrel, id);
        self.expect_ack(AckKind::Pubcomp, id).map(drop)
    }

    /// Sends PUBACK, PUBREC, PUBREL or PUBCOMP that all is well.
    pub fn acknowledge(&mut self, kind: AckKind, id: PacketId) {
        self.send(&Packet::Ack(Ack::new(kind, id, ReasonCode::SUCCESS)));
    }

    /// Sends SUBSCRIBE; the answer is its identifier.
    pub fn ask(&mut self, entries: &[(&str, SubscriptionOptions)]) -> PacketId {
        let id = self.next_id();
        let entries: Vec<_> = entries.iter().map(|&(filter, options)| SubscribeEntry { filter, options }).collect();
        let entries = entries.as_slice().into();
        self.send(&Packet::Subscribe(Subscribe { id, subscription_id: None, user_properties: <_>::default(), entries }));
        id
    }

    /// Subscribes, and must be granted this QoS.
    pub fn subscribe(&mut self, filter: &str, qos: QoS) -> Verdict {
        self.subscribe_with(filter, qos.into())
    }

    /// The same with all options.
    pub fn subscribe_with(&mut self, filter: &str, options: SubscriptionOptions) -> Verdict {
        let id = self.ask(&[(filter, options)]);
        let heard = self.expect_suback(id)?;
        let granted: Vec<_> = heard.suback().reasons.iter().collect();
        self.stage.same("granted", vec![ReasonCode::from(options.qos)], granted)
    }

    /// Sends UNSUBSCRIBE; the answer is its identifier.
    pub fn ask_no_more(&mut self, filters: &[&str]) -> PacketId {
        let id = self.next_id();
        self.send(&Packet::Unsubscribe(Unsubscribe { id, user_properties: <_>::default(), filters: filters.into() }));
        id
    }

    /// Says good-bye with reason 0 and closes.
    pub fn disconnect(mut self) {
        self.send(&Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION)));
        self.cut();
    }

    /// Says good-bye with reason 0, and lets the broker close: what comes next finds the connection gone.
    pub fn leave(mut self) {
        self.send(&Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION)));
        // A broker that leaves the closing to the client may do so.
        while let Ok(Some(_)) = self.hear_or_end() {}
        self.cut();
    }

    /// Closes the connection without a word.
    pub fn cut(self) {
        self.stage.say(&self.name, "closes the connection".into());
        self.stage.hang_up(self.line);
    }

    // What it hears.

    /// The CONNACK that accepted this client.
    ///
    /// # Panics
    ///
    /// Where it was not accepted.
    pub fn connack(&self) -> &Heard {
        self.connack.as_ref().expect("a connected client")
    }

    /// Whether the broker had its session.
    pub fn session_present(&self) -> bool {
        self.connack().connack().session_present
    }

    /// Waits for the next packet, so long at most; `None` where nothing comes. A closed connection is a failure.
    pub fn hear_within(&mut self, within: Duration) -> Verdict<Option<Heard>> {
        let until = self.stage.now() + within;
        loop {
            if let Some(heard) = self.next_whole()? {
                return Ok(Some(heard));
            }
            let left = until.saturating_sub(self.stage.now());
            let arrival = self.stage.world.borrow_mut().receive(self.line, left, &mut self.read);
            match arrival {
                Arrival::Bytes => {}
                Arrival::Nothing => return Ok(None),
                Arrival::Closed => {
                    self.stage.say(&self.name, "the broker closes the connection".into());
                    return self.failed("the connection stays", "the broker closed it");
                }
            }
        }
    }

    /// The next packet, which must come soon, or `None` where the broker closes the connection in its place.
    pub fn hear_or_end(&mut self) -> Verdict<Option<Heard>> {
        let until = self.stage.now() + self.patience();
        loop {
            if let Some(heard) = self.next_whole()? {
                return Ok(Some(heard));
            }
            let left = until.saturating_sub(self.stage.now());
            let arrival = self.stage.world.borrow_mut().receive(self.line, left, &mut self.read);
            match arrival {
                Arrival::Bytes => {}
                Arrival::Closed => break,
                Arrival::Nothing => return self.failed("a packet, or a closed connection", "neither"),
            }
        }
        self.stage.say(&self.name, "the broker closes the connection".into());
        Ok(None)
    }

    /// All that comes until the broker closes the connection, which it must.
    pub fn hear_to_the_end(mut self) -> Verdict<Vec<Heard>> {
        let mut all = Vec::new();
        while let Some(heard) = self.hear_or_end()? {
            all.push(heard);
        }
        Ok(all)
    }

    /// The next packet, which must come soon.
    pub fn hear(&mut self) -> Verdict<Heard> {
        self.hear_for(self.patience(), "a packet")
    }

    fn patience(&self) -> Duration {
        self.stage.world.borrow().patience()
    }

    fn hear_for(&mut self, within: Duration, what: &str) -> Verdict<Heard> {
        match self.hear_within(within)? {
            Some(heard) => Ok(heard),
            None => self.failed(what, format!("nothing within {} ms", within.as_millis())),
        }
    }

    fn expect(&mut self, kind: PacketType, within: Duration) -> Verdict<Heard> {
        let what = kind.name();
        let heard = self.hear_for(within, what)?;
        if heard.packet_type() == kind { Ok(heard) } else { self.failed(what, heard.told()) }
    }

    /// A CONNACK, whatever it says.
    pub fn expect_connack(&mut self) -> Verdict<Heard> {
        let heard = self.expect(PacketType::Connack, self.patience())?;
        if !heard.connack().reason.is_failure() {
            self.connack = Some(heard.clone());
        }
        Ok(heard)
    }

    /// A CONNACK, or `None` where the broker closes the connection in its place.
    pub fn expect_connack_or_end(&mut self) -> Verdict<Option<Heard>> {
        match self.hear_or_end()? {
            Some(heard) if heard.packet_type() != PacketType::Connack => self.failed("connack", heard.told()),
            heard => Ok(heard),
        }
    }

    /// A CONNACK that accepts.
    pub fn accepted(&mut self) -> Verdict<&Heard> {
        let heard = self.expect_connack()?;
        if heard.connack().reason.is_failure() {
            return self.failed("to be accepted", heard.told());
        }
        Ok(self.connack())
    }

    /// A PUBLISH. Nothing is answered.
    pub fn expect_publish(&mut self) -> Verdict<Heard> {
        self.expect(PacketType::Publish, self.patience())
    }

    /// A PUBLISH within this time. Nothing is answered.
    pub fn expect_publish_within(&mut self, within: Duration) -> Verdict<Heard> {
        self.expect(PacketType::Publish, within)
    }

    /// A PUBLISH, received with the whole handshake of its QoS (§4.3).
    pub fn receive(&mut self) -> Verdict<Heard> {
        let heard = self.expect_publish()?;
        self.take(&heard)?;
        Ok(heard)
    }

    /// Answers a PUBLISH with the whole handshake of its QoS.
    pub fn take(&mut self, heard: &Heard) -> Verdict {
        let publish = heard.publish();
        let Some(id) = publish.packet_id else { return Ok(()) };
        if publish.qos == QoS::AtLeastOnce {
            self.acknowledge(AckKind::Puback, id);
            return Ok(());
        }
        self.acknowledge(AckKind::Pubrec, id);
        self.expect_ack(AckKind::Pubrel, id)?;
        self.acknowledge(AckKind::Pubcomp, id);
        Ok(())
    }

    /// Every PUBLISH until nothing comes any more, received with the handshake of its QoS; several may be under way at a time.
    pub fn receive_all(&mut self) -> Verdict<Vec<Heard>> {
        let silence = self.stage.silence();
        let mut all = Vec::new();
        while let Some(heard) = self.hear_within(silence)? {
            match heard.packet() {
                Packet::Publish(Publish { qos, packet_id, .. }) => {
                    if let Some(id) = packet_id {
                        let answer = if qos == QoS::AtLeastOnce { AckKind::Puback } else { AckKind::Pubrec };
                        self.acknowledge(answer, id);
                    }
                    all.push(heard);
                }
                Packet::Ack(Ack { kind: AckKind::Pubrel, id, .. }) => self.acknowledge(AckKind::Pubcomp, id),
                Packet::Ack(_)
                | Packet::Connect(_)
                | Packet::Connack(_)
                | Packet::Subscribe(_)
                | Packet::Suback(_)
                | Packet::Unsubscribe(_)
                | Packet::Unsuback(_)
                | Packet::Pingreq
                | Packet::Pingresp
                | Packet::Disconnect(_)
                | Packet::Auth(_) => return self.failed("publish or nothing", heard.told()),
            }
        }
        Ok(all)
    }

    /// This acknowledgement for this identifier, whatever it says.
    pub fn expect_ack(&mut self, kind: AckKind, id: PacketId) -> Verdict<Heard> {
        let heard = self.expect(kind.packet_type(), self.patience())?;
        let got = heard.ack().id;
        if got == id { Ok(heard) } else { self.failed(format!("{} for {id}", kind.packet_type().name()), heard.told()) }
    }

    /// This acknowledgement with this reason.
    pub fn expect_ack_with(&mut self, kind: AckKind, id: PacketId, reason: ReasonCode) -> Verdict {
        let heard = self.expect_ack(kind, id)?;
        if heard.ack().reason == reason { Ok(()) } else { self.failed(format!("{reason}"), heard.told()) }
    }

    /// The SUBACK for this identifier.
    pub fn expect_suback(&mut self, id: PacketId) -> Verdict<Heard> {
        let heard = self.expect(PacketType::Suback, self.patience())?;
        let got = heard.suback().id;
        if got == id { Ok(heard) } else { self.failed(format!("SUBACK for {id}"), heard.told()) }
    }

    /// The UNSUBACK for this identifier.
    pub fn expect_unsuback(&mut self, id: PacketId) -> Verdict<Heard> {
        let heard = self.expect(PacketType::Unsuback, self.patience())?;
        let got = heard.unsuback().id;
        if got == id { Ok(heard) } else { self.failed(format!("UNSUBACK for {id}"), heard.told()) }
    }

    /// Sends PINGREQ and must hear PINGRESP next.
    pub fn ping(&mut self) -> Verdict {
        self.send(&Packet::Pingreq);
        self.expect(PacketType::Pingresp, self.patience()).map(drop)
    }

    /// Nothing comes, and the connection stays.
    pub fn expect_nothing(&mut self) -> Verdict {
        let silence = self.stage.world.borrow().silence();
        self.expect_nothing_for(silence)
    }

    /// Nothing comes for so long, and the connection stays.
    pub fn expect_nothing_for(&mut self, time: Duration) -> Verdict {
        match self.hear_within(time)? {
            None => Ok(()),
            Some(heard) => self.failed("nothing comes", heard.told()),
        }
    }

    /// The broker ends the connection because of this. It may say why first, in MQTT 5 and not before CONNACK in any other packet: then one of these reasons
    /// is right, and another one, or none, is against advice.
    pub fn expect_end(mut self, reasons: &[ReasonCode]) -> Verdict {
        let patience = self.patience();
        self.ended_within(patience, reasons)
    }

    /// The same within this time.
    pub fn expect_end_within(mut self, within: Duration, reasons: &[ReasonCode]) -> Verdict {
        self.ended_within(within, reasons)
    }

    /// The broker closes the connection and says nothing at all before.
    pub fn expect_end_unsaid(mut self) -> Verdict {
        match self.stage.until_closed(self.line, self.patience(), &mut self.read) {
            false => self.failed("the broker closes the connection", "it stays open"),
            true if self.read.is_empty() => {
                self.stage.say(&self.name, "the broker closes the connection".into());
                Ok(())
            }
            true => {
                let heard = self.next_whole()?;
                self.failed(
                    "the broker closes the connection without a word",
                    heard.map_or_else(String::new, |heard| heard.told()),
                )
            }
        }
    }

    /// The broker closes the connection, whatever it says before: that.
    pub fn expect_closed(mut self) -> Verdict<Vec<u8>> {
        if !self.stage.until_closed(self.line, self.patience(), &mut self.read) {
            return self.failed("the broker closes the connection", "it stays open");
        }
        self.stage.say(&self.name, format!("the broker says {:02x?} and closes the connection", self.read));
        Ok(self.read)
    }

    fn ended_within(&mut self, within: Duration, reasons: &[ReasonCode]) -> Verdict {
        let until = self.stage.now() + within;
        let mut last_word = None;
        loop {
            while let Some(heard) = self.next_whole()? {
                last_word = Some(self.last_word(&heard, reasons)?);
            }
            let left = until.saturating_sub(self.stage.now());
            let arrival = self.stage.world.borrow_mut().receive(self.line, left, &mut self.read);
            match arrival {
                Arrival::Bytes => {}
                Arrival::Closed => break,
                Arrival::Nothing => return self.failed("the broker closes the connection", "it stays open"),
            }
        }
        self.stage.say(&self.name, "the broker closes the connection".into());
        if self.version.has_properties() && last_word.is_none() && !reasons.is_empty() {
            self.stage.advise(format!("{}: closed without a reason; {} would say why", self.name, told(reasons)));
        }
        Ok(())
    }

    fn next_whole(&mut self) -> Verdict<Option<Heard>> {
        match Heard::take(Peer::Server, self.version, &mut self.read) {
            Ok(Some(heard)) => {
                self.stage.say(&self.name, format!("receive: {}", heard.told()));
                match self.asked.breach(&heard) {
                    None => Ok(Some(heard)),
                    Some(breach) => self.failed(breach, heard.told()),
                }
            }
            Ok(None) => Ok(None),
            Err(error) => self.failed("a well-formed packet that a server may send", error.to_string()),
        }
    }

    /// What a server may say before it closes: CONNACK with a failure, or DISCONNECT.
    fn last_word(&mut self, heard: &Heard, reasons: &[ReasonCode]) -> Verdict<ReasonCode> {
        let reason = match heard.packet() {
            Packet::Connack(connack) if connack.reason.is_failure() && self.connack.is_none() => Some(connack.reason),
            Packet::Disconnect(disconnect) => Some(disconnect.reason),
            Packet::Connack(_)
            | Packet::Connect(_)
            | Packet::Publish(_)
            | Packet::Ack(_)
            | Packet::Subscribe(_)
            | Packet::Suback(_)
            | Packet::Unsubscribe(_)
            | Packet::Unsuback(_)
            | Packet::Pingreq
            | Packet::Pingresp
            | Packet::Auth(_) => None,
        };
        let Some(reason) = reason else {
            return self.failed(format!("the broker closes the connection ({})", told(reasons)), heard.told());
        };
        if !reasons.is_empty() && !reasons.contains(&reason) {
            self.stage.advise(format!("{}: {reason}, where {} is the reason", self.name, told(reasons)));
        }
        Ok(reason)
    }
}

fn told(reasons: &[ReasonCode]) -> String {
    let told: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    told.join(" or ")
}
