//! The format string of `-F`, as mosquitto's clients read it.

use columba_client::Message;
use columba_proto::QoS;
use jiff::Zoned;
use jiff::fmt::strtime;

use super::json::{self, Layout};
use super::{Letters, NotJson, hex};
use crate::exit::Failure;

/// A format string, read once.
#[derive(Debug)]
pub(crate) struct Format(Vec<Piece>);

#[derive(Debug, Eq, PartialEq)]
enum Piece {
    Literal(Vec<u8>),
    /// `%t` and its like.
    Field(Field, Width),
    /// `@H`: one conversion of strftime.
    Time(char),
    /// `@N`.
    Nanoseconds,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Field {
    Topic,
    Payload,
    QoS,
    Retain,
    PacketId,
    Length,
    Hex(Letters),
    Json,
    JsonPayload,
    Iso8601,
    UnixTime,
    ContentType,
    CorrelationData,
    Expiry,
    PayloadFormat,
    /// The payload is eight bytes: a floating-point number in this machine's order.
    Double,
    /// The payload is four bytes: a floating-point number in this machine's order.
    Float,
    ResponseTopic,
    SubscriptionId,
    TopicAlias,
    UserProperties,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Width {
    zeros: bool,
    left: bool,
    min: usize,
    max: Option<usize>,
}

/// Wider fields than this are a slip of the finger.
const FIELD_WIDTH_MAX: usize = 10_000;

impl Format {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut pieces = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let piece = match c {
                '%' => field(&mut chars)?,
                '@' => time(chars.next())?,
                '\\' => Piece::Literal(vec![escape(chars.next())?]),
                other => Piece::Literal(other.to_string().into_bytes()),
            };
            match (pieces.last_mut(), piece) {
                (Some(Piece::Literal(before)), Piece::Literal(more)) => before.extend(more),
                (_, piece) => pieces.push(piece),
            }
        }
        Ok(Self(pieces))
    }

    pub(crate) fn write(&self, message: &Message, now: &Zoned, layout: Layout, out: &mut Vec<u8>) -> Result<(), NotJson> {
        for piece in &self.0 {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Field(Field::Json, _) => json::message(message, now, layout, out),
                Piece::Field(Field::JsonPayload, _) => json::message_with_json_payload(message, now, layout, out)?,
                Piece::Field(field, width) => width.write(*field, &value(*field, message, now), out),
                Piece::Time(conversion) => {
                    // The conversion was tried when the format was read.
                    out.extend_from_slice(strftime(*conversion, now).unwrap_or_default().as_bytes());
                }
                Piece::Nanoseconds => out.extend_from_slice(now.subsec_nanosecond().to_string().as_bytes()),
            }
        }
        Ok(())
    }
}

fn field(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Piece, Failure> {
    let mut width = Width::default();
    while let Some(flag) = chars.next_if(|&c| c == '0' || c == '-') {
        match flag {
            '0' => width.zeros = true,
            _ => width.left = true,
        }
    }
    width.min = number(chars)?.unwrap_or(0);
    if chars.next_if_eq(&'.').is_some() {
        width.max = Some(number(chars)?.unwrap_or(0));
    }
    let Some(letter) = chars.next() else {
        return Err(bad("-F ends inside a '%' sequence; a literal one is %%"));
    };
    let field = match letter {
        '%' => return Ok(Piece::Literal(b"%".to_vec())),
        't' => Field::Topic,
        'p' => Field::Payload,
        'q' => Field::QoS,
        'r' => Field::Retain,
        'd' => Field::Double,
        'm' => Field::PacketId,
        'l' => Field::Length,
        'x' => Field::Hex(Letters::Lower),
        'X' => Field::Hex(Letters::Upper),
        'j' => Field::Json,
        'J' => Field::JsonPayload,
        'I' => Field::Iso8601,
        'U' => Field::UnixTime,
        'A' => Field::TopicAlias,
        'C' => Field::ContentType,
        'D' => Field::CorrelationData,
        'E' => Field::Expiry,
        'F' => Field::PayloadFormat,
        'f' => Field::Float,
        'P' => Field::UserProperties,
        'R' => Field::ResponseTopic,
        'S' => Field::SubscriptionId,
        other => return Err(bad(format!("-F does not know %{other}"))),
    };
    Ok(Piece::Field(field, width))
}

fn number(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Option<usize>, Failure> {
    let mut value: Option<usize> = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        let next = value.unwrap_or(0) * 10 + digit as usize;
        if next > FIELD_WIDTH_MAX {
            return Err(bad(format!("-F asks for a field wider than {FIELD_WIDTH_MAX}")));
        }
        value = Some(next);
    }
    Ok(value)
}

fn time(conversion: Option<char>) -> Result<Piece, Failure> {
    match conversion {
        None => Err(bad("-F ends with '@'; a literal one is @@")),
        Some('@') => Ok(Piece::Literal(b"@".to_vec())),
        Some('N') => Ok(Piece::Nanoseconds),
        Some(c) if strftime(c, &Zoned::default()).is_some() => Ok(Piece::Time(c)),
        Some(c) => Err(bad(format!("-F does not know the time format @{c}"))),
    }
}

fn strftime(conversion: char, now: &Zoned) -> Option<String> {
    strtime::format(format!("%{conversion}"), now).ok()
}

fn escape(letter: Option<char>) -> Result<u8, Failure> {
    Ok(match letter {
        Some('\\') => b'\\',
        Some('0') => 0,
        Some('a') => 7,
        Some('e') => 27,
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('t') => b'\t',
        Some('v') => 11,
        Some(other) => return Err(bad(format!("-F does not know \\{other}"))),
        None => return Err(bad("-F ends with '\\'; a literal one is \\\\")),
    })
}

fn bad(what: impl Into<String>) -> Failure {
    Failure::usage(what).try_this("-F '%t %p'")
}

fn value(field: Field, message: &Message, now: &Zoned) -> Vec<u8> {
    let properties = message.properties();
    let text = |text: &Option<String>| text.clone().unwrap_or_default().into_bytes();
    match field {
        Field::Topic => message.topic().as_bytes().to_vec(),
        Field::Payload => message.payload().to_vec(),
        Field::QoS => vec![b'0' + message.qos() as u8],
        Field::Retain => vec![b'0' + u8::from(message.retain())],
        Field::PacketId => {
            let id = message.packet_id().filter(|_| message.qos() != QoS::AtMostOnce);
            id.map_or(0, columba_proto::PacketId::get).to_string().into_bytes()
        }
        Field::Length => message.payload().len().to_string().into_bytes(),
        Field::Hex(letters) => {
            let mut digits = Vec::new();
            hex(message.payload(), letters, &mut digits);
            digits
        }
        Field::Iso8601 => now.strftime("%Y-%m-%dT%H:%M:%S%z").to_string().into_bytes(),
        Field::UnixTime => {
            let stamp = now.timestamp();
            format!("{}.{:09}", stamp.as_second(), stamp.subsec_nanosecond()).into_bytes()
        }
        Field::ContentType => text(&properties.content_type),
        Field::CorrelationData => properties.correlation_data.as_deref().unwrap_or_default().to_vec(),
        Field::Expiry => properties.message_expiry.map_or_else(Vec::new, |seconds| seconds.to_string().into_bytes()),
        Field::PayloadFormat => {
            if properties.utf8_payload {
                b"1".to_vec()
            } else {
                Vec::new()
            }
        }
        Field::Double => number_in(message, |bytes| bytes.try_into().ok().map(f64::from_ne_bytes)),
        Field::Float => number_in(message, |bytes| bytes.try_into().ok().map(f32::from_ne_bytes)),
        Field::ResponseTopic => text(&properties.response_topic),
        Field::SubscriptionId => {
            let ids: Vec<String> = message.subscription_ids().iter().map(u32::to_string).collect();
            ids.join(" ").into_bytes()
        }
        Field::UserProperties => {
            let pairs: Vec<String> = properties.user_properties.iter().map(|(name, value)| format!("{name}:{value}")).collect();
            pairs.join(" ").into_bytes()
        }
        // Aliases are resolved by the client library; a message carries its topic.
        Field::TopicAlias | Field::Json | Field::JsonPayload => Vec::new(),
    }
}

/// The number that the payload is, or nothing where its length says that it is none.
fn number_in<N: ToString>(message: &Message, read: impl Fn(&[u8]) -> Option<N>) -> Vec<u8> {
    read(message.payload()).map_or_else(Vec::new, |number| number.to_string().into_bytes())
}

impl Width {
    fn write(self, field: Field, value: &[u8], out: &mut Vec<u8>) {
        let value = match self.max {
            Some(max) if cuts(field) => value.get(..max).unwrap_or(value),
            _ => value,
        };
        let blanks = self.min.saturating_sub(value.len());
        if self.left {
            out.extend_from_slice(value);
            out.resize(out.len() + blanks, b' ');
        } else {
            let fill = if self.zeros && pads_with_zeros(field) { b'0' } else { b' ' };
            out.resize(out.len() + blanks, fill);
            out.extend_from_slice(value);
        }
    }
}

/// The fields that a precision shortens.
fn cuts(field: Field) -> bool {
    matches!(field, Field::Topic | Field::ContentType | Field::ResponseTopic | Field::Iso8601)
}

fn pads_with_zeros(field: Field) -> bool {
    matches!(
        field,
        Field::TopicAlias
            | Field::Expiry
            | Field::PayloadFormat
            | Field::Length
            | Field::PacketId
            | Field::SubscriptionId
            | Field::Hex(_)
    )
}

#[cfg(test)]
mod tests {
    use columba_client::MessageProperties;

    use super::super::tests::moment;
    use super::*;

    fn print(format: &str) -> String {
        let properties = MessageProperties {
            user_properties: vec![("k".into(), "v".into()), ("k2".into(), "v2".into())],
            content_type: Some("text/plain".into()),
            correlation_data: Some("abc".into()),
            message_expiry: Some(100),
            response_topic: Some("r/t".into()),
            utf8_payload: true,
        };
        let message = Message::new("a/b".parse().unwrap(), &b"{\"x\":1}"[..]).with_properties(properties);
        let mut out = Vec::new();
        Format::parse(format).unwrap().write(&message, &moment(), Layout::Compact, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_print_as_mosquitto_sub_prints_them() {
        assert_eq!(print("%t|%p|%q|%r|%m|%l|%d%f"), "a/b|{\"x\":1}|0|0|0|7|");
        assert_eq!(print("%x|%X"), "7b2278223a317d|7B2278223A317D");
        assert_eq!(print("%I|%U"), "2026-11-21T09:25:18+0000|1795253118.828964000");
        assert_eq!(print("%A|%C|%D|%E|%F|%P|%R|%S|%%"), "|text/plain|abc|100|1|k:v k2:v2|r/t||%");
    }

    #[test]
    fn widths_pad_and_cut_as_mosquitto_sub_does() {
        assert_eq!(print("%5t|%-8t|%08l|%.2t|%10.2t|%-5lX"), "  a/b|a/b     |00000007|a/|        a/|7    X");
        assert_eq!(print("%8p|"), " {\"x\":1}|");
    }

    #[test]
    fn times_and_escapes_are_resolved() {
        assert_eq!(print("@Y-@m-@d @H:@M @N @@"), "2026-11-21 09:25 828964000 @");
        assert_eq!(print(r"\e[1m\t\\\n\0"), "\u{1b}[1m\t\\\n\0");
    }

    #[test]
    fn mistakes_are_found_before_the_first_message() {
        for wrong in ["%z", "%", "@", "\\", "\\q", "%99999t"] {
            assert!(Format::parse(wrong).is_err(), "{wrong}");
        }
    }
}
