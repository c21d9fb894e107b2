//! What many stories say, and packets that no client may send.

use std::collections::BTreeSet;
use std::time::Duration;

use columba_proto::packet::{Connect, Packet, Publish, PublishProperties, Will};
use columba_proto::{AckKind, QoS, ReasonCode, TopicName, Version};

use crate::script::client::{frame, message};
use crate::script::{Client, Heard, Stage, Verdict};

/// Longer than an expiry of a second, as brokers that look once a second keep it.
pub(super) const PAST_A_SECOND: Duration = Duration::from_secs(3);

/// A PUBLISH at this QoS.
pub(super) fn at<'a>(qos: QoS, topic: &'a str, payload: &'a [u8]) -> Publish<'a> {
    Publish { qos, ..message(topic, payload) }
}

/// The QoS levels that the broker takes.
pub(super) fn levels(stage: &Stage) -> impl Iterator<Item = QoS> + Clone + use<> {
    let maximum = stage.features().maximum_qos;
    QoS::ALL.into_iter().filter(move |qos| *qos <= maximum)
}

/// Connects somebody whose session must still be there.
pub(super) fn back<'s>(stage: &'s Stage, name: &str) -> Verdict<Client<'s>> {
    let client = stage.lasting_client(name)?;
    if stage.version().has_session_present() {
        stage.same("session present", true, client.session_present())?;
    }
    Ok(client)
}

/// A CONNECT with a will at QoS 0.
///
/// # Panics
///
/// Where `topic` is no topic.
pub(super) fn with_will<'a>(stage: &'a Stage, id: &'a str, topic: &'a str) -> Connect<'a> {
    let will = Will {
        topic: TopicName::new(topic).expect("stories have wills for topic names"),
        payload: b"the will",
        qos: QoS::AtMostOnce,
        retain: false,
        delay: 0,
        properties: PublishProperties::default(),
    };
    Connect { will: Some(will), ..stage.clean(id) }
}

/// This PUBLISH is this message at this QoS.
pub(super) fn is(stage: &Stage, heard: &Heard, qos: QoS, topic: &str, payload: &[u8]) -> Verdict {
    let publish = heard.publish();
    let shown = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
    stage.same("the message", (topic, shown(payload), qos), (heard.topic(), shown(publish.payload), publish.qos))
}

/// The next packet is this message at this QoS. It is not answered.
pub(super) fn hears(stage: &Stage, client: &mut Client<'_>, qos: QoS, topic: &str, payload: &[u8]) -> Verdict<Heard> {
    let heard = client.expect_publish()?;
    is(stage, &heard, qos, topic, payload)?;
    Ok(heard)
}

/// The same with the whole handshake of its QoS.
pub(super) fn takes(stage: &Stage, client: &mut Client<'_>, qos: QoS, topic: &str, payload: &[u8]) -> Verdict {
    let heard = hears(stage, client, qos, topic, payload)?;
    client.take(&heard)
}

/// Takes so many messages with the handshakes of their QoS, which may run into each other.
pub(super) fn take_all(stage: &Stage, client: &mut Client<'_>, count: usize) -> Verdict<Vec<Heard>> {
    let (mut all, mut open) = (Vec::new(), BTreeSet::new());
    while all.len() < count || !open.is_empty() {
        let heard = client.hear()?;
        match heard.packet() {
            Packet::Publish(publish) => {
                if let Some(id) = publish.packet_id {
                    let is_last = publish.qos == QoS::AtLeastOnce;
                    client.acknowledge(if is_last { AckKind::Puback } else { AckKind::Pubrec }, id);
                    if !is_last {
                        open.insert(id);
                    }
                }
                all.push(heard);
            }
            Packet::Ack(ack) if ack.kind == AckKind::Pubrel => {
                stage.check(open.remove(&ack.id), "a PUBREL for what is open", heard.told())?;
                client.acknowledge(AckKind::Pubcomp, ack.id);
            }
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
            | Packet::Auth(_) => stage.check(false, "a message", heard.told())?,
        }
    }
    stage.same("the number of messages", count, all.len())?;
    Ok(all)
}

/// A string as it stands in a packet, well-formed or not.
///
/// # Panics
///
/// With more than 65,535 bytes.
pub(super) fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = u16::try_from(bytes.len()).expect("a string of the standard").to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

/// A SUBSCRIBE or UNSUBSCRIBE with identifier 10, without properties.
pub(super) fn request(version: Version, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 10];
    if version.has_properties() {
        body.push(0);
    }
    body.extend_from_slice(payload);
    frame(first, &body)
}

/// Strings that are not well-formed UTF-8.
pub(super) const ILL_FORMED: &[(&str, &[u8])] = &[
    ("a byte that no character has", b"a/\xff"),
    ("a character that is cut off", b"a/\xe2\x82"),
    ("a slash in two bytes", b"a\xc0\xaf"),
    ("half of a surrogate pair", b"a/\xed\xa0\x80"),
    ("a number beyond the last character", b"a/\xf4\x90\x80\x80"),
];

/// Each of these ends the connection on which it comes, for one of these reasons, and no other.
pub(super) fn each_ends(stage: &Stage, table: &[(&str, Vec<u8>)], reasons: &[ReasonCode]) -> Verdict {
    let mut bystander = stage.client("bystander")?;
    for (what, bytes) in table {
        let mut client = stage.client("breaker")?;
        client.send_bytes(what, bytes);
        client.expect_end(reasons)?;
    }
    bystander.ping()
}
