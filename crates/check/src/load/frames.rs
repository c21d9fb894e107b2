//! The few packets that a load generator sends, and the border between frames.

/// Protocol version by its level byte (§3.1.2.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// MQTT 3.1
    V31,
    /// MQTT 3.1.1
    V311,
    /// MQTT 5.0
    V5,
}

/// Quality of Service (§4.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum QoS {
    /// 0
    AtMostOnce,
    /// 1
    AtLeastOnce,
    /// 2
    ExactlyOnce,
}

pub(crate) const CONNACK: u8 = 0x20;
pub(crate) const PUBLISH: u8 = 0x30;
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;
pub(crate) const SUBACK: u8 = 0x90;

fn varint(out: &mut Vec<u8>, mut n: usize) {
    loop {
        let b = (n % 128) as u8;
        n /= 128;
        if n == 0 {
            out.push(b);
            return;
        }
        out.push(b | 0x80);
    }
}
fn text(out: &mut Vec<u8>, s: &str) {
    out.extend_from_slice(&(s.len() as u16).to_be_bytes());
    out.extend_from_slice(s.as_bytes());
}

pub(crate) fn connect(version: Version, client: &str, clean: bool, keep_alive: u16) -> Vec<u8> {
    let mut body = Vec::new();
    let (name, level) = match version {
        Version::V31 => ("MQIsdp", 3),
        Version::V311 => ("MQTT", 4),
        Version::V5 => ("MQTT", 5),
    };
    text(&mut body, name);
    body.push(level);
    body.push(if clean { 2 } else { 0 });
    body.extend_from_slice(&keep_alive.to_be_bytes());
    if version == Version::V5 {
        if clean {
            body.push(0)
        } else {
            body.extend_from_slice(&[5, 0x11, 0, 0, 14, 16])
        }
    }
    text(&mut body, client);
    frame(0x10, &body)
}

pub(crate) fn subscribe(version: Version, id: u16, filters: &[String], qos: QoS) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0)
    }
    for f in filters {
        text(&mut body, f);
        body.push(qos as u8);
    }
    frame(0x82, &body)
}

fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    varint(&mut out, body.len());
    out.extend_from_slice(body);
    out
}

/// A PUBLISH, and where its identifier and payload stand.
pub(crate) fn publish(
    version: Version,
    qos: QoS,
    topic: &str,
    payload: usize,
) -> (Vec<u8>, Option<usize>, usize) {
    let mut body = Vec::new();
    text(&mut body, topic);
    let id = (qos != QoS::AtMostOnce).then_some(body.len());
    if id.is_some() {
        body.extend_from_slice(&[0, 0])
    }
    if version == Version::V5 {
        body.push(0)
    }
    let at = body.len();
    body.resize(at + payload, 0x63);
    let out = frame(PUBLISH | (qos as u8) << 1, &body);
    let head = out.len() - body.len();
    (out, id.map(|i| i + head), at + head)
}

/// First byte, body and whole length of the frame at the start of `bytes`, once it is complete.
pub(crate) fn split(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let mut n = 0usize;
    for i in 0..4 {
        let b = *bytes.get(1 + i)?;
        n |= ((b & 127) as usize) << (7 * i);
        if b < 128 {
            let body = bytes.get(2 + i..2 + i + n)?;
            return Some((bytes[0], body, 2 + i + n));
        }
    }
    None
}

/// Identifier and payload of a PUBLISH.
pub(crate) fn read_publish(version: Version, first: u8, body: &[u8]) -> Option<(u8, u16, &[u8])> {
    let topic = u16::from_be_bytes(*body.first_chunk()?) as usize;
    let mut at = 2 + topic;
    let qos = first >> 1 & 3;
    let mut id = 0;
    if qos > 0 {
        id = u16::from_be_bytes(*body.get(at..)?.first_chunk()?);
        at += 2;
    }
    if version == Version::V5 {
        let n = *body.get(at)?;
        at += 1 + n as usize;
    }
    Some((qos, id, body.get(at..)?))
}
