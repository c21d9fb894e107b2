//! Receives what all publishers send, now there and now away.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use columba_proto::packet::Packet;
use columba_proto::qos::{Receiver, Seen};
use columba_proto::{AckKind, QoS};

use crate::load::frames;
use crate::sim::Rng;

use super::judge::Fault;
use super::link::{Link, Shared};
use super::message::Message;

/// A subscriber that comes and goes receives fewer messages than this each time.
const STAYS_FOR_MAX: usize = 400;

/// What a subscriber knows at its end.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Publisher and number, in the order of delivery.
    pub(super) deliveries: Vec<(usize, u64)>,
    pub(super) faults: Vec<Fault>,
}

/// Receives until the last message of every publisher has come. The first subscriber and the last of each four stay; the others leave
/// again and again without a word, and return after one of the next crashes: what they are to receive is nowhere but in the broker's
/// hands.
pub(super) fn subscribe(shared: &Shared, number: usize, subscribed: &AtomicU64, mut rng: Rng) -> Received {
    let comes_and_goes = matches!(number % 4, 1 | 2);
    let mut link = Link::new(shared, "sub", number, rng.fork());
    let mut receiver: Receiver<Message> = Receiver::new();
    let mut deliveries = Vec::new();
    let mut ended = BTreeSet::new();
    let mut asked = false;
    let mut leave_at = 0;
    let request = frames::subscribe(link.version, &["storm/+".to_owned()], shared.qos);
    while ended.len() < shared.publishers && !link.has_given_up() {
        let first: &[u8] = if asked { &[] } else { &request };
        if link.wants_takeover() {
            link.take_over(|link| link.connect(first));
        } else if !link.is_open() {
            link.connect(first);
        }
        if comes_and_goes && asked && !shared.is_calm() && deliveries.len() >= leave_at {
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
