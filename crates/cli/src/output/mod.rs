//! How `sub` prints a message.

mod format;
mod json;

use columba_client::Message;
use jiff::Zoned;

use crate::args::{OutputKind, SubArgs};
use crate::exit::Failure;
use format::Format;

/// The way of printing that the command line chose.
#[derive(Debug)]
pub(crate) struct Output {
    shape: Shape,
    topic_in_front: bool,
    newline: bool,
    layout: json::Layout,
}

#[derive(Debug)]
enum Shape {
    Payload,
    Json,
    JsonPayload,
    Hex,
    Base64,
    Format(Format),
}

/// The payload was to be printed as JSON and is not.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct NotJson;

impl Output {
    pub(crate) fn new(args: &SubArgs) -> Result<Self, Failure> {
        let shape = match (&args.output_format, args.format) {
            (Some(format), _) => Shape::Format(Format::parse(format)?),
            (None, OutputKind::Text) => Shape::Payload,
            (None, OutputKind::Json) => Shape::Json,
            (None, OutputKind::JsonPayload) => Shape::JsonPayload,
            (None, OutputKind::Hex) => Shape::Hex,
            (None, OutputKind::Base64) => Shape::Base64,
        };
        let layout = if args.pretty { json::Layout::Pretty } else { json::Layout::Compact };
        Ok(Self { shape, topic_in_front: args.verbose, newline: !args.no_newline, layout })
    }

    /// Appends the message to `out`, or nothing where it cannot be printed as asked.
    pub(crate) fn write(&self, message: &Message, now: &Zoned, out: &mut Vec<u8>) -> Result<(), NotJson> {
        let start = out.len();
        if self.topic_in_front && !matches!(self.shape, Shape::Format(_) | Shape::Json | Shape::JsonPayload) {
            out.extend_from_slice(message.topic().as_bytes());
            out.push(b' ');
        }
        let written = self.write_shape(message, now, out);
        if written.is_err() {
            out.truncate(start);
        } else if self.newline {
            out.push(b'\n');
        }
        written
    }

    fn write_shape(&self, message: &Message, now: &Zoned, out: &mut Vec<u8>) -> Result<(), NotJson> {
        match &self.shape {
            Shape::Payload => out.extend_from_slice(message.payload()),
            Shape::Json => json::message(message, now, self.layout, out),
            Shape::JsonPayload => json::message_with_json_payload(message, now, self.layout, out)?,
            Shape::Hex => hex(message.payload(), Letters::Lower, out),
            Shape::Base64 => out.extend_from_slice(base64(message.payload()).as_bytes()),
            Shape::Format(format) => format.write(message, now, self.layout, out)?,
        }
        Ok(())
    }
}

/// Which letters stand for the digits above nine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Letters {
    Lower,
    Upper,
}

fn hex(bytes: &[u8], letters: Letters, out: &mut Vec<u8>) {
    let digits: &[u8; 16] = match letters {
        Letters::Lower => b"0123456789abcdef",
        Letters::Upper => b"0123456789ABCDEF",
    };
    for byte in bytes {
        out.push(digits[usize::from(byte >> 4)]);
        out.push(digits[usize::from(byte & 15)]);
    }
}

/// Encodes as RFC 4648 §4 says, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(group);
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) as usize & 63;
            text.push(if place <= chunk.len() { char::from(ALPHABET[sextet]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A moment that tests print: 2026-11-21 09:25:18.828964 UTC.
    pub(crate) fn moment() -> Zoned {
        "2026-11-21T09:25:18.828964[UTC]".parse().unwrap()
    }

    #[test]
    fn base64_pads_to_groups_of_four() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"fo"), "Zm8=");
        assert_eq!(base64(b"foo"), "Zm9v");
        assert_eq!(base64(b"foobar"), "Zm9vYmFy");
        assert_eq!(base64(&[0xff, 0xfe]), "//4=");
    }
}
