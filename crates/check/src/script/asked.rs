//! What a client asked of the server in its CONNECT, and every packet is measured by.

use columba_proto::packet::{Connect, Packet};

use super::heard::Heard;

/// The server's duties towards one client (§3.1.2.11). Nothing is asked before CONNECT.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Asked {
    maximum_packet_size: Option<u32>,
    topic_alias_maximum: u16,
    no_problem_information: bool,
    response_information: bool,
}

impl Asked {
    pub(super) fn of(connect: &Connect<'_>) -> Self {
        let properties = &connect.properties;
        Self {
            maximum_packet_size: properties.maximum_packet_size.map(std::num::NonZero::get),
            topic_alias_maximum: properties.topic_alias_maximum.unwrap_or(0),
            no_problem_information: !properties.wants_problem_information(),
            response_information: properties.request_response_information.unwrap_or(false),
        }
    }

    /// What this packet should not have been, if anything [MQTT-3.1.2-24] [MQTT-3.1.2-26] to [MQTT-3.1.2-29].
    pub(super) fn breach(&self, heard: &Heard) -> Option<String> {
        if let Some(maximum) = self.maximum_packet_size.filter(|&maximum| heard.size > maximum as usize) {
            return Some(format!("no packet of more than {maximum} bytes"));
        }
        let packet = heard.packet();
        let most = self.topic_alias_maximum;
        if matches!(&packet, Packet::Publish(publish) if publish.properties.topic_alias.is_some_and(|alias| alias.get() > most)) {
            return Some(format!("no topic alias above {most}"));
        }
        let answers = matches!(&packet, Packet::Connack(connack) if connack.properties.response_information.is_some());
        if answers && !self.response_information {
            return Some("no response information, for none was asked for".into());
        }
        if self.no_problem_information && explains(&packet) {
            return Some("no reason string and no user property, for none was asked for".into());
        }
        None
    }
}

/// Whether something is for people in a packet where they may not want it [MQTT-3.1.2-29].
fn explains(packet: &Packet<'_>) -> bool {
    let (why, pairs) = match packet {
        Packet::Ack(ack) => (ack.properties.reason_string, ack.properties.user_properties),
        Packet::Suback(suback) => (suback.properties.reason_string, suback.properties.user_properties),
        Packet::Unsuback(unsuback) => (unsuback.properties.reason_string, unsuback.properties.user_properties),
        Packet::Auth(auth) => (auth.reason_string, auth.user_properties),
        Packet::Connect(_)
        | Packet::Connack(_)
        | Packet::Publish(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::Pingreq
        | Packet::Pingresp
        | Packet::Disconnect(_) => return false,
    };
    why.is_some() || !pairs.is_empty()
}
