//! Packets for people, in one line.

use std::fmt::{self, Write as _};

use columba_proto::packet::{Connack, Connect, Packet, Publish, PublishProperties, Subscribe};
use columba_proto::property::UserProperties;
use columba_proto::{ReasonCode, Version};

/// Characters of a text or payload that are shown.
const SHOWN: usize = 40;

/// A packet with the fields that matter, as in `publish id=1 qos=1 'a/b' 3 B`.
pub fn describe(version: Version, packet: &Packet<'_>) -> String {
    let mut out = packet.packet_type().name().to_owned();
    // Writing to a String cannot fail.
    write_fields(version, packet, &mut out).unwrap_or_default();
    out
}

fn write_fields(version: Version, packet: &Packet<'_>, out: &mut String) -> fmt::Result {
    match packet {
        Packet::Connect(connect) => write_connect(connect, out),
        Packet::Connack(connack) => write_connack(version, connack, out),
        Packet::Publish(publish) => write_publish(publish, out),
        Packet::Ack(ack) => {
            write!(out, " id={}", ack.id)?;
            write_reason(ack.reason, out)?;
            write_for_people(ack.properties.reason_string, ack.properties.user_properties, out)
        }
        Packet::Subscribe(subscribe) => write_subscribe(version, subscribe, out),
        Packet::Suback(suback) => {
            write!(out, " id={} granted=", suback.id)?;
            write_codes(suback.reasons.iter(), out)?;
            write_for_people(suback.properties.reason_string, suback.properties.user_properties, out)
        }
        Packet::Unsubscribe(unsubscribe) => {
            write!(out, " id={}", unsubscribe.id)?;
            unsubscribe.filters.iter().try_for_each(|filter| write!(out, " '{}'", short(filter)))
        }
        Packet::Unsuback(unsuback) => {
            write!(out, " id={}", unsuback.id)?;
            if !unsuback.reasons.is_empty() {
                out.write_str(" reasons=")?;
                write_codes(unsuback.reasons.iter(), out)?;
            }
            write_for_people(unsuback.properties.reason_string, unsuback.properties.user_properties, out)
        }
        Packet::Disconnect(disconnect) => {
            write_reason(disconnect.reason, out)?;
            write_number("session-expiry", disconnect.session_expiry, out)?;
            write_text("server-reference", disconnect.server_reference, out)?;
            write_for_people(disconnect.reason_string, disconnect.user_properties, out)
        }
        Packet::Auth(auth) => {
            write_reason(auth.reason, out)?;
            write_text("method", auth.method, out)
        }
        Packet::Pingreq | Packet::Pingresp => Ok(()),
    }
}

fn write_connect(connect: &Connect<'_>, out: &mut String) -> fmt::Result {
    let clean = u8::from(connect.clean_start);
    write!(out, " {} '{}' clean={clean} keep-alive={}", connect.version.name(), short(connect.client_id), connect.keep_alive)?;
    if let Some(will) = &connect.will {
        write!(out, " will='{}' qos={} retain={}", short(will.topic.as_str()), will.qos as u8, u8::from(will.retain))?;
        write_number("will-delay", Some(will.delay).filter(|delay| *delay > 0), out)?;
    }
    write_text("user", connect.username, out)?;
    let properties = &connect.properties;
    write_number("session-expiry", properties.session_expiry, out)?;
    write_number("receive-maximum", properties.receive_maximum.map(|number| u32::from(number.get())), out)?;
    write_number("maximum-packet-size", properties.maximum_packet_size.map(std::num::NonZero::get), out)?;
    write_number("topic-alias-maximum", properties.topic_alias_maximum.map(u32::from), out)?;
    write_text("method", properties.authentication_method, out)
}

fn write_connack(version: Version, connack: &Connack<'_>, out: &mut String) -> fmt::Result {
    write!(out, " session-present={}", u8::from(connack.session_present))?;
    write_reason(connack.reason, out)?;
    if !version.has_properties() {
        return Ok(());
    }
    let properties = &connack.properties;
    write_number("session-expiry", properties.session_expiry, out)?;
    write_number("receive-maximum", properties.receive_maximum.map(|number| u32::from(number.get())), out)?;
    write_number("maximum-qos", properties.maximum_qos.map(|qos| qos as u32), out)?;
    write_number("maximum-packet-size", properties.maximum_packet_size.map(std::num::NonZero::get), out)?;
    write_number("topic-alias-maximum", properties.topic_alias_maximum.map(u32::from), out)?;
    write_number("server-keep-alive", properties.server_keep_alive.map(u32::from), out)?;
    write_text("assigned", properties.assigned_client_id, out)?;
    write_for_people(properties.reason_string, properties.user_properties, out)
}

fn write_publish(publish: &Publish<'_>, out: &mut String) -> fmt::Result {
    if let Some(id) = publish.packet_id {
        write!(out, " id={id}")?;
    }
    write!(out, " qos={} dup={} retain={}", publish.qos as u8, u8::from(publish.dup), u8::from(publish.retain))?;
    match publish.topic {
        Some(topic) => write!(out, " '{}'", short(topic.as_str()))?,
        None => out.write_str(" ''")?,
    }
    write_publish_properties(&publish.properties, out)?;
    match std::str::from_utf8(publish.payload) {
        Ok(text) if text.len() <= SHOWN && !text.chars().any(char::is_control) => write!(out, " \"{text}\""),
        Ok(_) | Err(_) => write!(out, " {} B", publish.payload.len()),
    }
}

fn write_publish_properties(properties: &PublishProperties<'_>, out: &mut String) -> fmt::Result {
    write_number("format", properties.payload_format.map(u32::from), out)?;
    write_number("expiry", properties.message_expiry, out)?;
    write_number("alias", properties.topic_alias.map(|number| u32::from(number.get())), out)?;
    write_text("response-topic", properties.response_topic, out)?;
    write_text("content-type", properties.content_type, out)?;
    properties.subscription_ids.iter().try_for_each(|id| write!(out, " subscription={}", id.get()))?;
    write_for_people(None, properties.user_properties, out)
}

fn write_subscribe(version: Version, subscribe: &Subscribe<'_>, out: &mut String) -> fmt::Result {
    write!(out, " id={}", subscribe.id)?;
    for entry in subscribe.entries.iter() {
        write!(out, " '{}' options={:#04x}", short(entry.filter), entry.options.to_byte(version))?;
    }
    subscribe.subscription_id.map_or(Ok(()), |id| write!(out, " subscription={}", id.get()))
}

fn write_reason(reason: ReasonCode, out: &mut String) -> fmt::Result {
    if reason == ReasonCode::SUCCESS { Ok(()) } else { write!(out, " {reason}") }
}

fn write_codes(codes: impl Iterator<Item = ReasonCode>, out: &mut String) -> fmt::Result {
    for (at, code) in codes.enumerate() {
        write!(out, "{}{:#04x}", if at == 0 { "" } else { "," }, code.get())?;
    }
    Ok(())
}

fn write_number(name: &str, number: Option<u32>, out: &mut String) -> fmt::Result {
    number.map_or(Ok(()), |number| write!(out, " {name}={number}"))
}

fn write_text(name: &str, text: Option<&str>, out: &mut String) -> fmt::Result {
    text.map_or(Ok(()), |text| write!(out, " {name}='{}'", short(text)))
}

fn write_for_people(reason: Option<&str>, properties: UserProperties<'_>, out: &mut String) -> fmt::Result {
    write_text("why", reason, out)?;
    properties.iter().try_for_each(|(name, value)| write!(out, " {}:{}", short(name), short(value)))
}

/// A text that fits into a line.
fn short(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    let left = text.chars().count().saturating_sub(SHOWN);
    if left > 0 {
        // Writing to a String cannot fail.
        write!(shown, "… and {left} more").unwrap_or_default();
    }
    shown
}
