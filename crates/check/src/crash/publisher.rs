//! Publishes without a pause, over every crash and takeover.

use std::collections::BTreeSet;

use columba_proto::packet::Packet;
use columba_proto::qos::{AckError, Acked, Sender, Sending};
use columba_proto::{AckKind, PacketId};

use crate::sim::Rng;

use super::judge::Fault;
use super::link::{Link, Shared};
use super::message::Message;

/// What a publisher knows at its end.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) sent: u64,
    /// What the broker has taken responsibility for: PUBACK at QoS 1, PUBREC at QoS 2.
    pub(super) acknowledged: BTreeSet<u64>,
    pub(super) faults: Vec<Fault>,
}

/// Publishes until it is calm, then one last message, and ends when all is acknowledged.
pub(super) fn publish(shared: &Shared, number: usize, window: u16, rng: Rng) -> Published {
    let mut link = Link::new(shared, "pub", number, rng);
    let mut sender: Sender<Message> = Sender::new(window);
    let mut published = Published::default();
    let mut last_sent = false;
    while !(link.has_given_up() || last_sent && sender.is_empty()) {
        if link.wants_takeover() {
            link.take_over(|link| resume(link, &mut sender));
        } else if !link.is_open() {
            resume(&mut link, &mut sender);
        }
        while sender.has_room() && !last_sent && link.is_open() {
            last_sent = shared.is_calm();
            let message = Message { publisher: number, sequence: published.sent, is_last: last_sent };
            published.sent += 1;
            let id = sender.begin(shared.qos, message);
            link.publish(message, id, false);
        }
        link.flush();
        link.receive(|link, packet| {
            let Packet::Ack(ack) = packet else {
                return link.broken("a publisher was sent something else than acknowledgements");
            };
            match sender.on_ack(ack.kind, ack.id, ack.reason) {
                Ok(Acked::Released(message)) => {
                    published.acknowledged.insert(message.sequence);
                    link.acknowledge(AckKind::Pubrel, ack.id);
                }
                Ok(Acked::Finished { message, .. }) => published.acknowledged.extend(message.map(|message| message.sequence)),
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
        sender.iter().next().map(|(_, state): (_, &Sending<Message>)| state)
    ));
    published
}

/// Connects, and says again what is unanswered.
fn resume(link: &mut Link<'_>, sender: &mut Sender<Message>) {
    link.connect(&[]);
    if !link.is_open() {
        return;
    }
    let repeated: Vec<(PacketId, Option<Message>)> = sender.resume().map(|(id, state)| (id, state.message().copied())).collect();
    for (id, message) in repeated {
        match message {
            Some(message) => link.publish(message, id, true),
            None => link.acknowledge(AckKind::Pubrel, id),
        }
    }
}
