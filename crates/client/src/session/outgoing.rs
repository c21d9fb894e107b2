//! Messages on their way to the server: what waits, and what is in flight.

use std::collections::{HashMap, VecDeque};

use columba_proto::packet::{Ack, AckProperties, Packet, Publish, PublishHead, PublishProperties};
use columba_proto::qos::{AckError, Acked, Outcome, Sender, Sending};
use columba_proto::{AckKind, PacketId, PeerError, QoS, ReasonCode, Version, Violation, wire};

use super::{Outlet, Output, Waiters, Welcome};
use crate::error::{PublishError, Refusal};
use crate::message::Publication;
use crate::translate::{pairs, publish_properties};

pub(crate) struct Outgoing<W: Waiters> {
    inflight_max: u16,
    /// Not sent yet, in the order of the application.
    outbox: VecDeque<Unsent<W>>,
    /// QoS 1 and 2, sent.
    sender: Sender<Unsent<W>>,
    /// QoS 2 after PUBREC: the message is the server's, somebody still waits for PUBCOMP.
    released: HashMap<PacketId, Released<W>>,
}

/// A publication, and who waits for its end.
struct Unsent<W: Waiters> {
    publication: Publication,
    waiter: W::Publish,
}

struct Released<W: Waiters> {
    waiter: W::Publish,
    /// Of PUBREC: it tells more than that of PUBCOMP (§3.5.2.1).
    reason: ReasonCode,
}

impl<W: Waiters> Outgoing<W> {
    pub(crate) fn new(inflight_max: u16) -> Self {
        Self { inflight_max, outbox: VecDeque::new(), sender: Sender::new(inflight_max), released: HashMap::new() }
    }

    /// A new connection has brought a new receive maximum (§4.9).
    pub(crate) fn set_window(&mut self, receive_maximum: u16) {
        self.sender.set_window(self.inflight_max.min(receive_maximum));
    }

    pub(crate) fn enqueue(&mut self, publication: Publication, waiter: W::Publish) {
        self.outbox.push_back(Unsent { publication, waiter });
    }

    /// Sends again what is not acknowledged, in send order: PUBLISH with DUP, or PUBREL [MQTT-4.4.0-1] [MQTT-4.6.0-1].
    pub(crate) fn resume(&mut self, version: Version, outlet: &mut impl Outlet) {
        for (id, sending) in self.sender.resume() {
            send_again(version, id, sending, outlet);
        }
    }

    /// The server has forgotten the session. What it has not taken over is a new message to it, and goes first; what
    /// it has taken over may have been delivered, and must not be sent again.
    pub(crate) fn begin_anew(&mut self, outputs: &mut VecDeque<Output<W>>) {
        let mut unsent = VecDeque::new();
        for (id, sending) in self.sender.drain() {
            match sending {
                Sending::AwaitPuback(message) | Sending::AwaitPubrec(message) => {
                    unsent.push_back(message);
                }
                Sending::AwaitPubcomp => {
                    let released = self.released.remove(&id);
                    outputs.extend(released.map(|released| Output::Published(released.waiter, Err(PublishError::SessionLost))));
                }
            }
        }
        unsent.append(&mut self.outbox);
        self.outbox = unsent;
    }

    pub(crate) fn pump(
        &mut self,
        version: Version,
        welcome: &Welcome,
        outlet: &mut impl Outlet,
        outputs: &mut VecDeque<Output<W>>,
    ) {
        while outlet.has_room() {
            if let Some((id, sending)) = self.sender.resume_next() {
                send_again(version, id, sending, outlet);
            } else if let Some(next) = self.outbox.pop_front_if(|next| is_free_to_go(next, &self.sender)) {
                self.send(version, welcome, next, outlet, outputs);
            } else {
                break;
            }
        }
    }

    fn send(
        &mut self,
        version: Version,
        welcome: &Welcome,
        unsent: Unsent<W>,
        outlet: &mut impl Outlet,
        outputs: &mut VecDeque<Output<W>>,
    ) {
        if let Err(error) = check(version, welcome, &unsent.publication) {
            outputs.push_back(Output::Published(unsent.waiter, Err(error)));
            return;
        }
        match unsent.publication.qos {
            QoS::AtMostOnce => {
                send_publish(version, &unsent.publication, None, Repetition::First, outlet);
                outputs.push_back(Output::Published(unsent.waiter, Ok(ReasonCode::SUCCESS)));
            }
            qos @ (QoS::AtLeastOnce | QoS::ExactlyOnce) => {
                let id = self.sender.begin(qos, unsent);
                if let Some(unsent) = self.sender.get(id).and_then(Sending::message) {
                    send_publish(version, &unsent.publication, Some(id), Repetition::First, outlet);
                }
            }
        }
    }

    /// Whether [`Self::pump`] would send something, given an outlet with room.
    pub(crate) fn can_send(&self) -> bool {
        self.outbox.front().is_some_and(|next| is_free_to_go(next, &self.sender))
    }

    pub(crate) fn on_ack(
        &mut self,
        version: Version,
        ack: &Ack<'_>,
        outlet: &mut impl Outlet,
        outputs: &mut VecDeque<Output<W>>,
    ) -> Result<(), PeerError> {
        match self.sender.on_ack(ack.kind, ack.id, ack.reason) {
            Ok(Acked::Released(unsent)) => {
                self.released.insert(ack.id, Released { waiter: unsent.waiter, reason: ack.reason });
                send_pubrel(ack.id, ReasonCode::SUCCESS, outlet);
            }
            Ok(Acked::ReleasedAgain) => send_pubrel(ack.id, ReasonCode::SUCCESS, outlet),
            Ok(Acked::Finished { message, outcome }) => {
                let end = match message {
                    Some(unsent) => Some(Released { waiter: unsent.waiter, reason: ack.reason }),
                    None => self.released.remove(&ack.id),
                };
                outputs.extend(end.map(|end| Output::Published(end.waiter, result(outcome, end.reason, ack))));
            }
            // Normal after a restart on either side.
            Err(AckError::Unknown { kind: AckKind::Pubrec, id }) => {
                let reason = if version.has_properties() { ReasonCode::PACKET_IDENTIFIER_NOT_FOUND } else { ReasonCode::SUCCESS };
                send_pubrel(id, reason, outlet);
            }
            Err(AckError::Unknown { .. } | AckError::NotSent { .. }) => {}
            Err(AckError::Wrong { kind, id }) => {
                return Err(Violation::WrongAck { kind, id }.into());
            }
        }
        Ok(())
    }

    /// An identifier for SUBSCRIBE or UNSUBSCRIBE, from the same numbers as those of publications.
    pub(crate) fn begin_request(&mut self) -> Option<PacketId> {
        self.sender.begin_request()
    }

    pub(crate) fn end_request(&mut self, id: PacketId) -> bool {
        self.sender.end_request(id)
    }

    pub(crate) fn forget_requests(&mut self) {
        self.sender.forget_requests();
    }

    pub(crate) fn unacknowledged(&self) -> usize {
        let waiting = self.outbox.iter().filter(|unsent| unsent.publication.qos != QoS::AtMostOnce).count();
        self.sender.len() + waiting
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        !self.sender.is_empty()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.sender.is_empty() && self.outbox.is_empty()
    }
}

/// Messages leave in the order of the application: one that needs a place in the window is waited for.
fn is_free_to_go<W: Waiters>(next: &Unsent<W>, sender: &Sender<Unsent<W>>) -> bool {
    next.publication.qos == QoS::AtMostOnce || sender.has_room()
}

fn result(outcome: Outcome, reason: ReasonCode, ack: &Ack<'_>) -> Result<ReasonCode, PublishError> {
    match outcome {
        Outcome::Delivered => Ok(reason),
        Outcome::Refused(reason) => Err(PublishError::Refused(Refusal {
            reason,
            text: ack.properties.reason_string.map(str::to_owned),
            server_reference: None,
        })),
    }
}

/// What the server has said it cannot take is not sent [MQTT-3.2.2-11] [MQTT-3.2.2-14] [MQTT-3.2.2-15].
fn check(version: Version, welcome: &Welcome, publication: &Publication) -> Result<(), PublishError> {
    if publication.qos > welcome.maximum_qos {
        return Err(PublishError::QoS { max: welcome.maximum_qos });
    }
    if publication.retain && !welcome.retain_available {
        return Err(PublishError::Retain);
    }
    let max = welcome.maximum_packet_size.min(wire::FRAME_LEN_MAX);
    let size = frame_len(version, publication);
    if size > u64::from(max) {
        return Err(PublishError::TooLarge { size, max });
    }
    Ok(())
}

fn frame_len(version: Version, publication: &Publication) -> u64 {
    let mut forwarded = Vec::new();
    let user_properties = pairs(&publication.properties.user_properties);
    if version.has_properties() {
        publish_properties(&publication.properties, &user_properties).forwarded_block(&mut forwarded);
    }
    let head = PublishHead {
        topic: publication.topic.as_str(),
        forwarded: &forwarded,
        message_expiry: publication.properties.message_expiry,
        topic_alias: None,
        subscription_ids: &[],
        retain: publication.retain,
        dup: false,
        qos: publication.qos,
        packet_id: (publication.qos != QoS::AtMostOnce).then_some(PacketId::FIRST),
        payload: &publication.payload,
    };
    head.frame_len(version)
}

fn send_again<W: Waiters>(version: Version, id: PacketId, sending: &Sending<Unsent<W>>, outlet: &mut impl Outlet) {
    match sending {
        Sending::AwaitPuback(unsent) | Sending::AwaitPubrec(unsent) => {
            send_publish(version, &unsent.publication, Some(id), Repetition::Again, outlet);
        }
        Sending::AwaitPubcomp => send_pubrel(id, ReasonCode::SUCCESS, outlet),
    }
}

/// Whether a PUBLISH may have been sent before [MQTT-3.3.1-1].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Repetition {
    First,
    Again,
}

fn send_publish(
    version: Version,
    publication: &Publication,
    id: Option<PacketId>,
    repetition: Repetition,
    outlet: &mut impl Outlet,
) {
    let user_properties = pairs(&publication.properties.user_properties);
    let properties = if version.has_properties() {
        publish_properties(&publication.properties, &user_properties)
    } else {
        PublishProperties::default()
    };
    outlet.send(&Packet::Publish(Publish {
        dup: repetition == Repetition::Again,
        qos: publication.qos,
        retain: publication.retain,
        topic: Some(publication.topic.as_name()),
        packet_id: id,
        payload: &publication.payload,
        properties,
    }));
}

fn send_pubrel(id: PacketId, reason: ReasonCode, outlet: &mut impl Outlet) {
    outlet.send(&Packet::Ack(Ack { kind: AckKind::Pubrel, id, reason, properties: AckProperties::default() }));
}
