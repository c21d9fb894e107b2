//! `--trace` and `-d`: the packets as they pass.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::time::Instant;

use columba_client::{Builder, Direction, Packet, PacketEvent, PacketType};

use crate::args::{CommonArgs, TraceLevel};
use crate::connect::Role;
use crate::exit::Failure;
use crate::explain;

/// Adds what `--trace` and `-d` ask for.
pub(crate) fn attach(mut builder: Builder, args: &CommonArgs, role: Role) -> Result<Builder, Failure> {
    if let Some(level) = args.trace {
        let mut out = open(&args.trace_to)?;
        let mut began = None;
        builder = builder.on_packet(move |event| {
            if let Some(line) = line(level, event, &mut began) {
                // A trace that cannot be written must not end the exchange that it shows.
                writeln!(out, "{line}").and_then(|()| out.flush()).ok();
            }
        });
    }
    if args.debug {
        let name = args.id.clone().unwrap_or_else(|| match role {
            Role::Publisher => "columba-pub".to_owned(),
            Role::Subscriber => "columba-sub".to_owned(),
        });
        builder = builder.on_packet(move |event| eprintln!("Client {name} {}", debug_line(event)));
    }
    Ok(builder)
}

fn open(place: &str) -> Result<Box<dyn Write + Send>, Failure> {
    Ok(match place {
        "stderr" => Box::new(io::stderr()),
        "stdout" => Box::new(io::stdout()),
        file => Box::new(
            File::create(file)
                .map_err(|error| Failure::usage(format!("cannot write the trace to {file}: {}", explain::io(&error))))?,
        ),
    })
}

/// The packets that carry messages and their acknowledgements: what the lines of `--trace` are made of.
pub(crate) fn carries_messages(packet: PacketType) -> bool {
    matches!(packet, PacketType::Publish | PacketType::Puback | PacketType::Pubrec | PacketType::Pubrel | PacketType::Pubcomp)
}

fn line(level: TraceLevel, event: &PacketEvent<'_>, began: &mut Option<Instant>) -> Option<String> {
    if level != TraceLevel::All && !carries_messages(event.packet_type()) {
        return None;
    }
    if level == TraceLevel::Names {
        return Some(event.to_string());
    }
    let millis = began.get_or_insert_with(Instant::now).elapsed().as_secs_f64() * 1_000.0;
    let name = event.to_string();
    Some(format!("{millis:>6.3} ms  {name:<15} {}", fields(event.packet)).trim_end().to_owned())
}

/// The fields of a packet in one line.
fn fields(packet: &Packet<'_>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    write_fields(packet, &mut text).unwrap_or_default();
    text
}

fn write_fields(packet: &Packet<'_>, out: &mut String) -> std::fmt::Result {
    match packet {
        Packet::Publish(publish) => {
            if let Some(id) = publish.packet_id {
                write!(out, "id={id} ")?;
            }
            let topic = publish.topic.map_or("", |topic| topic.as_str());
            write!(
                out,
                "qos={} dup={} retain={} topic={topic} {} B",
                publish.qos as u8,
                u8::from(publish.dup),
                u8::from(publish.retain),
                publish.payload.len()
            )
        }
        Packet::Ack(ack) => write!(out, "id={} {}", ack.id, reason(ack.reason)),
        Packet::Connect(connect) => write!(
            out,
            "client={:?} clean={} keep-alive={} version={}",
            connect.client_id,
            u8::from(connect.clean_start),
            connect.keep_alive,
            connect.version.name()
        ),
        Packet::Connack(connack) => {
            write!(out, "session-present={} {}", u8::from(connack.session_present), reason(connack.reason))
        }
        Packet::Subscribe(subscribe) => {
            write!(out, "id={}", subscribe.id)?;
            subscribe.entries.iter().try_for_each(|entry| write!(out, " {} qos={}", entry.filter, entry.options.qos as u8))
        }
        Packet::Suback(suback) => {
            write!(out, "id={}", suback.id)?;
            suback.reasons.iter().try_for_each(|granted| write!(out, " {:#04x}", granted.get()))
        }
        Packet::Unsubscribe(unsubscribe) => {
            write!(out, "id={}", unsubscribe.id)?;
            unsubscribe.filters.iter().try_for_each(|filter| write!(out, " {filter}"))
        }
        Packet::Unsuback(unsuback) => write!(out, "id={}", unsuback.id),
        Packet::Disconnect(disconnect) => out.write_str(&reason(disconnect.reason)),
        Packet::Auth(auth) => out.write_str(&reason(auth.reason)),
        Packet::Pingreq | Packet::Pingresp => Ok(()),
    }
}

fn reason(reason: columba_client::ReasonCode) -> String {
    if reason == columba_client::ReasonCode::SUCCESS {
        return "success".to_owned();
    }
    explain::reason_words(reason)
}

/// A packet in the manner of mosquitto's `-d`.
fn debug_line(event: &PacketEvent<'_>) -> String {
    let verb = match event.direction {
        Direction::Send => "sending",
        Direction::Receive => "received",
    };
    let name = event.packet_type().name().to_uppercase();
    let rest = match event.packet {
        Packet::Publish(publish) => format!(
            " (d{}, q{}, r{}, m{}, '{}', ... ({} bytes))",
            u8::from(publish.dup),
            publish.qos as u8,
            u8::from(publish.retain),
            publish.packet_id.map_or(0, columba_client::PacketId::get),
            publish.topic.map_or("", |topic| topic.as_str()),
            publish.payload.len()
        ),
        Packet::Ack(ack) => format!(" (m{}, rc{})", ack.id, ack.reason.get()),
        Packet::Connack(connack) => format!(" ({})", connack.reason.get()),
        Packet::Subscribe(_) | Packet::Suback(_) | Packet::Unsubscribe(_) | Packet::Unsuback(_) => {
            format!(" ({})", fields(event.packet))
        }
        Packet::Connect(_) | Packet::Disconnect(_) | Packet::Auth(_) | Packet::Pingreq | Packet::Pingresp => String::new(),
    };
    format!("{verb} {name}{rest}")
}

#[cfg(test)]
mod tests {
    use columba_proto::packet::{Ack, AckProperties, Publish, PublishProperties};
    use columba_proto::{AckKind, PacketId, QoS, ReasonCode, TopicName};

    use super::*;

    fn publish() -> Packet<'static> {
        Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: Some(TopicName::new("home/sample_topic").unwrap()),
            packet_id: Some(PacketId::FIRST),
            payload: b"x",
            properties: PublishProperties::default(),
        })
    }

    fn puback() -> Packet<'static> {
        Packet::Ack(Ack {
            kind: AckKind::Puback,
            id: PacketId::FIRST,
            reason: ReasonCode::SUCCESS,
            properties: AckProperties::default(),
        })
    }

    fn shown(level: TraceLevel, direction: Direction, packet: &Packet<'_>) -> Option<String> {
        line(level, &PacketEvent { direction, packet }, &mut None)
    }

    #[test]
    fn names_are_the_words_of_the_tutorials_and_nothing_else() {
        assert_eq!(shown(TraceLevel::Names, Direction::Send, &publish()).as_deref(), Some("send: publish"));
        assert_eq!(shown(TraceLevel::Names, Direction::Receive, &puback()).as_deref(), Some("receive: puback"));
        assert_eq!(shown(TraceLevel::Names, Direction::Send, &Packet::Pingreq), None);
        assert_eq!(shown(TraceLevel::Detail, Direction::Send, &Packet::Pingreq), None);
        assert!(shown(TraceLevel::All, Direction::Send, &Packet::Pingreq).is_some());
    }

    #[test]
    fn details_have_time_and_fields() {
        let line = shown(TraceLevel::Detail, Direction::Send, &publish()).unwrap();
        let (time, rest) = line.split_once(" ms  ").unwrap();

        assert!(time.trim().parse::<f64>().is_ok(), "{line}");
        assert_eq!(rest, "send: publish   id=1 qos=1 dup=0 retain=0 topic=home/sample_topic 1 B");
        let line = shown(TraceLevel::Detail, Direction::Receive, &puback()).unwrap();
        assert!(line.ends_with("receive: puback id=1 success"), "{line}");
    }

    #[test]
    fn debug_lines_are_those_of_mosquitto() {
        let line = debug_line(&PacketEvent { direction: Direction::Send, packet: &publish() });

        assert_eq!(line, "sending PUBLISH (d0, q1, r0, m1, 'home/sample_topic', ... (1 bytes))");
    }
}
