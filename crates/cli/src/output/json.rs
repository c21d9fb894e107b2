//! A message as JSON, with the field names of mosquitto's clients.

use columba_client::Message;
use columba_proto::QoS;
use jiff::Zoned;

use super::{NotJson, base64};

/// One line or several.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Layout {
    Compact,
    Pretty,
}

/// The message, its payload as a JSON string; as `payload_base64` where it is not UTF-8.
pub(crate) fn message(message: &Message, now: &Zoned, layout: Layout, out: &mut Vec<u8>) {
    let (name, payload) = match std::str::from_utf8(message.payload()) {
        Ok("") => ("payload", "null".to_owned()),
        Ok(text) => ("payload", quoted(text)),
        Err(_) => ("payload_base64", quoted(&base64(message.payload()))),
    };
    write(message, now, (name, payload), layout, out);
}

/// The message, its payload as the JSON that it is.
pub(crate) fn message_with_json_payload(
    message: &Message,
    now: &Zoned,
    layout: Layout,
    out: &mut Vec<u8>,
) -> Result<(), NotJson> {
    let payload = if message.payload().is_empty() { "null".to_owned() } else { minified(message.payload())? };
    write(message, now, ("payload", payload), layout, out);
    Ok(())
}

fn write(message: &Message, now: &Zoned, payload: (&str, String), layout: Layout, out: &mut Vec<u8>) {
    let mut object = Object::default();
    let stamp = now.strftime("%Y-%m-%dT%H:%M:%S.%6f%z").to_string();
    object.add("tst", quoted(&stamp));
    object.add("topic", quoted(message.topic()));
    object.add("qos", (message.qos() as u8).to_string());
    object.add("retain", u8::from(message.retain()).to_string());
    object.add("dup", u8::from(message.dup()).to_string());
    object.add("payloadlen", message.payload().len().to_string());
    if let (Some(id), true) = (message.packet_id(), message.qos() != QoS::AtMostOnce) {
        object.add("mid", id.get().to_string());
    }
    match message.subscription_ids() {
        [] => {}
        [id] => object.add("sub_id", id.to_string()),
        ids => object.add("sub_id", format!("{ids:?}")),
    }
    let properties = properties(message);
    if !properties.0.is_empty() {
        object.0.push(("properties".to_owned(), Value::Object(properties)));
    }
    object.add(payload.0, payload.1);
    object.write(layout, 1, out);
}

fn properties(message: &Message) -> Object {
    let properties = message.properties();
    let mut object = Object::default();
    if !properties.user_properties.is_empty() {
        object.0.push(("user-properties".to_owned(), Value::Object(user_properties(&properties.user_properties))));
    }
    if let Some(content_type) = &properties.content_type {
        object.add("content-type", quoted(content_type));
    }
    if let Some(data) = &properties.correlation_data {
        object.add("correlation-data", quoted(&String::from_utf8_lossy(data)));
    }
    if properties.utf8_payload {
        object.add("payload-format-indicator", "1".to_owned());
    }
    if let Some(topic) = &properties.response_topic {
        object.add("response-topic", quoted(topic));
    }
    if let Some(seconds) = properties.message_expiry {
        object.add("message-expiry-interval", seconds.to_string());
    }
    object
}

/// A name that occurs more than once becomes an array: nothing is lost, and the object keeps distinct names.
fn user_properties(pairs: &[(String, String)]) -> Object {
    let mut object = Object::default();
    for (at, (name, value)) in pairs.iter().enumerate() {
        if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
            continue;
        }
        let again: Vec<String> = pairs[at..].iter().filter(|(other, _)| other == name).map(|(_, value)| quoted(value)).collect();
        if again.len() > 1 {
            object.add(name, format!("[{}]", again.join(",")));
        } else {
            object.add(name, quoted(value));
        }
    }
    object
}

/// An object whose fields keep their order.
#[derive(Default)]
struct Object(Vec<(String, Value)>);

enum Value {
    /// JSON text.
    Text(String),
    Object(Object),
}

impl Object {
    fn add(&mut self, name: &str, json: String) {
        self.0.push((name.to_owned(), Value::Text(json)));
    }

    fn write(&self, layout: Layout, depth: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        for (at, (name, value)) in self.0.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            new_line(layout, depth, out);
            out.extend_from_slice(quoted(name).as_bytes());
            out.push(b':');
            if layout == Layout::Pretty {
                out.push(b' ');
            }
            match value {
                Value::Text(json) => out.extend_from_slice(json.as_bytes()),
                Value::Object(object) => object.write(layout, depth + 1, out),
            }
        }
        new_line(layout, depth - 1, out);
        out.push(b'}');
    }
}

fn new_line(layout: Layout, depth: usize, out: &mut Vec<u8>) {
    if layout == Layout::Pretty {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// JSON without the white space between its tokens, in its own order and with its own numbers.
fn minified(payload: &[u8]) -> Result<String, NotJson> {
    serde_json::from_slice::<serde_json::Value>(payload).map_err(|_| NotJson)?;
    let text = std::str::from_utf8(payload).map_err(|_| NotJson)?;
    let mut inside = false;
    let mut escaped = false;
    Ok(text
        .chars()
        .filter(|&c| {
            let keep = inside || !c.is_ascii_whitespace();
            match c {
                '"' if !escaped => inside = !inside,
                _ => {}
            }
            escaped = inside && c == '\\' && !escaped;
            keep
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use columba_client::MessageProperties;

    use super::super::tests::moment;
    use super::*;

    fn sample(payload: &'static [u8]) -> Message {
        let properties = MessageProperties {
            user_properties: vec![("k".into(), "v".into()), ("k2".into(), "a".into()), ("k2".into(), "b".into())],
            content_type: Some("text/plain".into()),
            ..MessageProperties::default()
        };
        Message::new("a/b".parse().unwrap(), payload).with_properties(properties)
    }

    #[test]
    fn fields_have_mosquittos_names_and_order() {
        let mut out = Vec::new();
        message(&sample(b"say \"hi\""), &moment(), Layout::Compact, &mut out);

        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"tst":"2026-11-21T09:25:18.828964+0000","topic":"a/b","qos":0,"retain":0,"dup":0,"payloadlen":8,"#.to_owned()
                + r#""properties":{"user-properties":{"k":"v","k2":["a","b"]},"content-type":"text/plain"},"#
                + r#""payload":"say \"hi\""}"#
        );
    }

    #[test]
    fn bytes_that_are_not_text_come_as_base64() {
        let mut out = Vec::new();
        message(&Message::new("a".parse().unwrap(), &b"\xff\xfe"[..]), &moment(), Layout::Compact, &mut out);

        assert!(String::from_utf8(out).unwrap().ends_with(r#""payload_base64":"//4="}"#));
    }

    #[test]
    fn a_json_payload_keeps_its_order_and_numbers() {
        let mut out = Vec::new();
        let payload = &b"{\"x\": 1.50, \"b\" : [1, 2], \"a \\\" \": \"c  d\"}"[..];
        message_with_json_payload(&Message::new("a".parse().unwrap(), payload), &moment(), Layout::Compact, &mut out).unwrap();

        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with(r#""payload":{"x":1.50,"b":[1,2],"a \" ":"c  d"}}"#), "{text}");
        let refused = message_with_json_payload(
            &Message::new("a".parse().unwrap(), &b"{oops"[..]),
            &moment(),
            Layout::Compact,
            &mut Vec::new(),
        );
        assert_eq!(refused, Err(NotJson));
    }

    #[test]
    fn pretty_json_is_the_same_object() {
        let (mut pretty, mut compact) = (Vec::new(), Vec::new());
        message(&sample(b"x"), &moment(), Layout::Pretty, &mut pretty);
        message(&sample(b"x"), &moment(), Layout::Compact, &mut compact);

        let read = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
        assert_eq!(read(&pretty), read(&compact));
        assert!(pretty.contains(&b'\n'));
    }
}
