//! Answers of subscribers: PUBACK, PUBREC, PUBCOMP; and PUBREL of publishers (§4.3).

use columba_proto::{
    AckKind, PacketId, ReasonCode, Violation,
    packet::Ack,
    qos::{AckError, Acked, Outcome},
};

use super::Shard;
use crate::{
    connection::Connection,
    durable::Record,
    event::DropReason,
    hold::Frame,
    id::{ChangeSeq, ConnectionId},
    seam::Cx,
};

impl Shard {
    pub(super) fn on_ack(&mut self, cx: &Cx<'_>, id: ConnectionId, ack: &Ack<'_>) {
        if ack.kind == AckKind::Pubrel {
            self.on_pubrel(cx, id, ack);
            return;
        }
        let Some(open) = self.connections.get_mut(id).and_then(Connection::open) else { return };
        // What has not left on this connection cannot be answered on it.
        if !open.ring.is_empty() && open.ring.holds_publish(ack.id) {
            return;
        }
        let slot = open.session;
        let session = &mut self.sessions[slot as usize];
        let (no, recorded) = (session.no, session.recorded);
        match session.sender.on_ack(ack.kind, ack.id, ack.reason) {
            Ok(Acked::Released(delivery)) => {
                let until = if recorded {
                    self.record(&Record::Passed { session: no, packet_id: ack.id, message: delivery.id })
                } else {
                    ChangeSeq(0)
                };
                self.send(cx, id, until, release(ack.id, ReasonCode::SUCCESS));
            }
            Ok(Acked::ReleasedAgain) => {
                let until = if recorded { self.batch.last_append() } else { ChangeSeq(0) };
                self.send(cx, id, until, release(ack.id, ReasonCode::SUCCESS));
            }
            Ok(Acked::Finished { message, outcome }) => {
                match message {
                    // The journal knows it as the group's.
                    Some(delivery) if !delivery.claim.is_none() => self.acknowledged_for_group(slot, &delivery),
                    message if recorded => {
                        let message = message.map(|delivery| delivery.id);
                        self.record(&Record::Settled { session: no, packet_id: ack.id, message });
                    }
                    Some(_) | None => {}
                }
                if let Outcome::Refused(_) = outcome {
                    self.dropped(cx, slot as usize, DropReason::Refused);
                }
                self.pump(cx, slot);
            }
            // PUBREC for what we do not know, normal after a recovery: 0x92 in MQTT 5, plainly PUBREL before.
            Err(AckError::Unknown { .. }) if ack.kind == AckKind::Pubrec && !ack.reason.is_failure() => {
                let until = if recorded { self.batch.last_append() } else { ChangeSeq(0) };
                self.send(cx, id, until, release(ack.id, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND));
            }
            Err(AckError::Unknown { .. } | AckError::NotSent { .. }) => {}
            Err(AckError::Wrong { kind, id: packet_id }) => {
                self.blame(cx, id, &Violation::WrongAck { kind, id: packet_id }.into());
            }
        }
    }
}

fn release(id: PacketId, reason: ReasonCode) -> Frame {
    Frame::Ack { kind: AckKind::Pubrel, id, reason }
}
