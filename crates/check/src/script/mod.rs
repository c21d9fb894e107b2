//! Conversations of the standard: what each side sends and receives, word for word.

/// The packets by which a publisher delivers one message (§4.3), as `--trace` and the tutorials print them.
pub fn publisher_trace(qos: u8) -> &'static [&'static str] {
    match qos {
        0 => &["send: publish"],
        1 => &["send: publish", "receive: puback"],
        _ => &["send: publish", "receive: pubrec", "send: pubrel", "receive: pubcomp"],
    }
}

/// The packets by which a subscriber is delivered one message at the QoS that it receives.
pub fn subscriber_trace(qos: u8) -> &'static [&'static str] {
    match qos {
        0 => &["receive: publish"],
        1 => &["receive: publish", "send: puback"],
        _ => &["receive: publish", "send: pubrec", "receive: pubrel", "send: pubcomp"],
    }
}
