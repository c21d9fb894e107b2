//! What each attacker says, byte by byte.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use columba_proto::packet::{Connect, ConnectProperties, Publish, PublishProperties};
use columba_proto::{PacketId, QoS, TopicName, Version};

use super::{Attack, Attacker, Target};
use crate::load::{LoadError, SessionKind, frames, tls_first_words};

/// When a voice is heard again, once what it has said is written.
pub(super) enum Next {
    AtOnce,
    After(Duration),
    Never,
    /// The connection is closed, and begun again.
    Leave,
}

/// Appends what is said next.
pub(super) type Voice = Box<dyn FnMut(&mut Vec<u8>) -> Next>;

/// What one connection does in the attack.
pub(super) struct Part {
    pub(super) address: SocketAddr,
    /// Whether it reads what comes.
    pub(super) reads: bool,
    pub(super) voice: Voice,
}

/// More than an HTTP answer, a WebSocket's head and CONNACK.
pub(super) const ANSWER_BYTES_MAX: usize = 1024;

/// Between two bytes of a CONNECT that comes slowly: it is not whole when the broker's patience ends.
const DRIP: Duration = Duration::from_millis(700);
/// Bytes that are said at a time in a flood.
const BREATH: usize = 64 * 1024;
/// Filters in one SUBSCRIBE.
const FILTERS_PER_PACKET: u32 = 500;
/// Levels of the filters of the bomb that are either a word or a wildcard: room for 131,072 filters.
const BOMB_LEVELS: u32 = 17;
/// Filters of one attacker: what one session may have, all different from those of the others.
const BOMB_FILTERS: u32 = 10_000;
/// Bytes of a packet that is nearly the largest one that brokers take.
const NEARLY_WHOLE: usize = 2 * 1024 * 1024 - 64;
/// Retained messages of one attacker.
const RETAINED: u64 = 50_000;

/// A head of HTTP that opens a WebSocket (RFC 6455 §4.1).
const UPGRADE: &[u8] =
    b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// Whether there is a CONNACK without a failure in the first bytes of an answer (§3.2), as it is or in one frame of a WebSocket.
pub(super) fn says_yes(answer: &[u8]) -> bool {
    let at = if answer.starts_with(b"HTTP/1.1 101 ") {
        answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|end| end + 4 + 2)
    } else {
        Some(0)
    };
    let connack = at.and_then(|at| answer.get(at..)).unwrap_or_default();
    matches!(connack, [0x20, _, _, 0, ..])
}

/// The part of one connection that was begun so often before.
pub(super) fn part(attacker: Attacker<'_>, number: usize, life: u32) -> Result<Part, LoadError> {
    let Attacker { attack, target, .. } = attacker;
    let name = format!("attacker-{}-{number}", std::process::id());
    let part = |address, voice| Part { address, reads: true, voice };
    Ok(match attack {
        Attack::HalfOpenTcp => part(target.plain, once(Vec::new())),
        Attack::HalfOpenTls => {
            let mut words = tls_first_words()?;
            if number.is_multiple_of(2) {
                words.truncate(words.len() / 2);
            }
            part(target.tls, once(words))
        }
        Attack::SlowConnect => part(target.plain, drip(frames::connect(Version::V5, &name, SessionKind::Clean))),
        Attack::Garbage => {
            let address = [target.plain, target.tls, target.web_socket][number % 3];
            part(address, once(noise(number as u64, life)))
        }
        Attack::HugeLengths => huge(target, number),
        Attack::Unfinished => part(target.plain, once(unfinished(&name, number))),
        Attack::ConnectStorm => {
            let mut words = frames::connect(Version::V5, &name, SessionKind::Clean);
            words.extend([0xC0, 0]);
            let mut said = false;
            let voice = move |out: &mut Vec<u8>| {
                if std::mem::replace(&mut said, true) {
                    return Next::Leave;
                }
                out.extend_from_slice(&words);
                // Time for the answer.
                Next::After(Duration::from_millis(2))
            };
            part(target.plain, Box::new(voice))
        }
        Attack::Takeovers => {
            let id = format!("attacker-{}", std::process::id());
            part(target.plain, once(frames::connect(Version::V311, &id, SessionKind::Persistent)))
        }
        Attack::SubscriptionBomb => part(target.plain, bomb(&name, number)),
        Attack::AliasFlood => part(target.plain, flood(connect5(&name), alias)),
        Attack::UserPropertyFlood => part(target.plain, flood(connect5(&name), user_properties)),
        Attack::RetainedFlood => part(target.plain, retained(&name, number)),
        Attack::DeadSubscriber => dead(target, &name, number),
        Attack::OneByteFrames => part(target.web_socket, one_byte_frames(&name)),
        // Not in this horde: it waits for each answer.
        Attack::WrongCertificates => part(target.certified, once(Vec::new())),
    })
}

/// Says this, and no more.
fn once(words: Vec<u8>) -> Voice {
    Box::new(move |out| {
        out.extend_from_slice(&words);
        Next::Never
    })
}

fn drip(words: Vec<u8>) -> Voice {
    let mut words = words.into_iter();
    Box::new(move |out| {
        out.extend(words.next());
        Next::After(DRIP)
    })
}

/// Says `first`, and then what `next` makes of a number that grows.
fn flood(first: Vec<u8>, mut next: impl FnMut(u64, &mut Vec<u8>) + 'static) -> Voice {
    let mut first = Some(first);
    let mut number = 0;
    Box::new(move |out| {
        out.extend(first.take().unwrap_or_default());
        while out.len() < BREATH {
            next(number, out);
            number += 1;
        }
        Next::AtOnce
    })
}

/// The same bytes for the same numbers (xorshift64).
fn noise(number: u64, life: u32) -> Vec<u8> {
    let mut state = (number << 32 | u64::from(life)).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let words = (0..256).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.collect()
}

/// Whatever announces most.
fn huge(target: &Target, number: usize) -> Part {
    let filler = [0; 4096];
    let (address, words) = match number % 4 {
        // CONNECT of 256 MiB.
        0 => (target.plain, [&[0x10, 0xFF, 0xFF, 0xFF, 0x7F], &filler[..]].concat()),
        // Strings that are longer than their packet.
        1 => (target.plain, b"\x10\x10\x00\x04MQTT\x05\xC6\x00\x3C\x00\xFF\xFFabc".to_vec()),
        // A TLS record of 64 KiB with a message of 16 MiB.
        2 => (target.tls, [&[22, 3, 1, 0xFF, 0xFF, 1, 0xFF, 0xFF, 0xFF], &filler[..]].concat()),
        // A WebSocket's frame of 2^63 bytes.
        _ => (target.web_socket, [UPGRADE, &[0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]].concat()),
    };
    Part { address, reads: true, voice: once(words) }
}

fn unfinished(name: &str, number: usize) -> Vec<u8> {
    let mut words = Vec::new();
    let first = if number.is_multiple_of(2) {
        words.extend(frames::connect(Version::V311, name, SessionKind::Clean));
        [0x30, 0, 1, b'x']
    } else {
        [0x10, 0, 4, b'M']
    };
    let length = NEARLY_WHOLE;
    let digit = |shift: usize| u8::try_from(length >> shift & 0x7F).expect("seven bits");
    words.extend([first[0], digit(0) | 0x80, digit(7) | 0x80, digit(14)]);
    words.extend(&first[1..]);
    words.resize(words.len() + length - 16, b'.');
    words
}

fn connect5(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    Connect {
        version: Version::V5,
        bridge: false,
        clean_start: true,
        keep_alive: 600,
        client_id: name,
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    }
    .encode(&mut out);
    out
}

fn publish(version: Version, publish: &Publish<'_>, out: &mut Vec<u8>) {
    publish.encode(version, out).expect("smaller than the largest packet");
}

fn at_most_once<'a>(topic: &'a str, payload: &'a [u8], properties: PublishProperties<'a>) -> Publish<'a> {
    let topic = Some(TopicName::new(topic).expect("attackers publish to plain topic names"));
    Publish { dup: false, qos: QoS::AtMostOnce, retain: false, topic, packet_id: None, payload, properties }
}

/// Aliases 1 to 64, each for another topic every time.
fn alias(number: u64, out: &mut Vec<u8>) {
    let topic = format!("{number}/{}", "alias".repeat(200));
    let alias = u16::try_from(number % 64 + 1).ok().and_then(NonZeroU16::new);
    let properties = PublishProperties { topic_alias: alias, ..PublishProperties::default() };
    publish(Version::V5, &at_most_once(&topic, b"x", properties), out);
}

/// By turns a few long properties and very many short ones, 200 KiB or so.
fn user_properties(number: u64, out: &mut Vec<u8>) {
    let long = "p".repeat(60_000);
    let pairs: Vec<(&str, &str)> = if number.is_multiple_of(2) { vec![("name", &long); 3] } else { vec![("a", "b"); 30_000] };
    let properties = PublishProperties { user_properties: pairs[..].into(), ..PublishProperties::default() };
    publish(Version::V5, &at_most_once("attack/properties", b"x", properties), out);
}

/// Filters of which each matches any beginning of the topics, and publications without a pause that walk through those of all attackers and reach none.
fn bomb(name: &str, number: usize) -> Voice {
    let filter = move |number: u32| {
        let levels = (0..BOMB_LEVELS).map(|level| if number >> level & 1 == 1 { "+/" } else { "b/" });
        levels.collect::<String>() + "end"
    };
    let first_filter = u32::try_from(number).unwrap_or(0).wrapping_mul(BOMB_FILTERS);
    let mut first = frames::connect(Version::V311, name, SessionKind::Clean);
    for from in (0..BOMB_FILTERS).step_by(FILTERS_PER_PACKET as usize) {
        let to = BOMB_FILTERS.min(from + FILTERS_PER_PACKET);
        let filters: Vec<String> = (from..to).map(|place| filter(first_filter.wrapping_add(place))).collect();
        first.extend(frames::subscribe(Version::V311, &filters, QoS::AtMostOnce));
    }
    let path = "b/".repeat(BOMB_LEVELS as usize);
    flood(first, move |turn, out| {
        let topic = format!("{path}{number}-{turn}");
        publish(Version::V311, &at_most_once(&topic, b"x", PublishProperties::default()), out);
    })
}

fn retained(name: &str, number: usize) -> Voice {
    let mut first = Some(frames::connect(Version::V311, name, SessionKind::Clean));
    let mut turn = 0;
    Box::new(move |out| {
        out.extend(first.take().unwrap_or_default());
        while out.len() < BREATH && turn < RETAINED {
            let topic = format!("flood/{number}/{turn}");
            let message = Publish { retain: true, ..at_most_once(&topic, &[b'.'; 100], PublishProperties::default()) };
            publish(Version::V311, &message, out);
            turn += 1;
        }
        if turn < RETAINED { Next::AtOnce } else { Next::Never }
    })
}

/// The first subscribes and reads nothing, the others publish to it: at QoS 0 and 1, without waiting for anything.
fn dead(target: &Target, name: &str, number: usize) -> Part {
    let mut words = frames::connect(Version::V311, name, SessionKind::Clean);
    if number == 0 {
        words.extend(frames::subscribe(Version::V311, &["dead/#".to_owned()], QoS::AtLeastOnce));
        return Part { address: target.plain, reads: false, voice: once(words) };
    }
    let qos = if number.is_multiple_of(2) { QoS::AtMostOnce } else { QoS::AtLeastOnce };
    let voice = flood(words, move |turn, out| {
        let id = u16::try_from(turn % 65_535 + 1).ok().and_then(PacketId::new);
        let packet_id = if qos == QoS::AtMostOnce { None } else { id };
        let message = at_most_once("dead/letters", &[b'.'; 1_000], PublishProperties::default());
        publish(Version::V311, &Publish { qos, packet_id, ..message }, out);
    });
    Part { address: target.plain, reads: true, voice }
}

fn one_byte_frames(name: &str) -> Voice {
    let mut packet = Vec::new();
    publish(Version::V311, &at_most_once("attack/bytes", b"x", PublishProperties::default()), &mut packet);
    let mut first = UPGRADE.to_vec();
    in_single_bytes(&frames::connect(Version::V311, name, SessionKind::Clean), &mut first);
    flood(first, move |_, out| in_single_bytes(&packet, out))
}

fn in_single_bytes(packet: &[u8], out: &mut Vec<u8>) {
    for byte in packet {
        out.extend([0x82, 0x81, 0, 0, 0, 0, *byte]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_yes_is_seen_as_it_is_and_in_a_web_socket() {
        assert!(says_yes(&[0x20, 2, 0, 0]));
        assert!(says_yes(&[0x20, 3, 0, 0, 0]));
        assert!(says_yes(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x82\x04\x20\x02\x00\x00"));
        for no in [&[0x20, 2, 0, 5][..], &[0x20, 2], &[21, 3, 3, 0], b"HTTP/1.1 400 Bad Request\r\n\r\n", b""] {
            assert!(!says_yes(no), "{no:?}");
        }
    }

    #[test]
    fn what_is_unfinished_lacks_its_end_and_no_more() {
        let words = unfinished("x", 1);

        let length = words[1..4].iter().rev().fold(0, |length, byte| length << 7 | usize::from(byte & 0x7F));
        assert_eq!(length, NEARLY_WHOLE);
        assert!(words[3] != 0 && words[3] < 0x80, "as short as a length can be said");
        assert!(words.len() < length + 4 && words.len() + 32 > length);
    }

    #[test]
    fn noise_is_the_same_again_and_never_the_same_elsewhere() {
        assert_eq!(noise(3, 1), noise(3, 1));
        assert_ne!(noise(3, 1), noise(3, 2));
        assert_ne!(noise(3, 1), noise(4, 1));
    }
}
