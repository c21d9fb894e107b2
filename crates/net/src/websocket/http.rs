//! The opening handshake of RFC 6455 §4: one HTTP request, one answer.

use std::fmt::Write;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use thiserror::Error;

/// What both ends append to the key, so that whoever answers knows WebSocket (RFC 6455 §1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The names under which MQTT travels, the standard's first [MQTT-6.0.0-4]; mosquitto takes the second, too.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Which requests are taken.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Policy {
    /// The path to ask for; `None`: any.
    pub path: Option<Box<str>>,
    /// Origins of pages that may connect, as browsers write them (`https://example.org`); empty: all of them. What is no browser says none, and is taken.
    pub origins: Vec<Box<str>>,
}

/// Why a request is not taken, as it is answered.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Refusal {
    /// Not a request.
    #[error("this is not an HTTP request")]
    Malformed,
    /// More than [`HTTP_HEAD_BYTES_MAX`](crate::limits::HTTP_HEAD_BYTES_MAX).
    #[error("the head of the request has more than 8 KiB")]
    TooLong,
    /// Not GET.
    #[error("a WebSocket begins with GET")]
    Method,
    /// Not HTTP/1.1.
    #[error("a WebSocket begins with HTTP/1.1")]
    Version,
    /// Another path.
    #[error("MQTT is not under this path")]
    Path,
    /// A page that may not connect.
    #[error("pages of this origin may not connect")]
    Origin,
    /// An ordinary request.
    #[error("this is the WebSocket port of an MQTT broker: send Upgrade: websocket and Connection: Upgrade")]
    Upgrade,
    /// An old draft.
    #[error("Sec-WebSocket-Version has to be 13")]
    WebSocketVersion,
    /// No key, or one that is none.
    #[error("Sec-WebSocket-Key has to be 16 bytes in base64")]
    Key,
    /// Nothing of ours among the subprotocols.
    #[error("offer the subprotocol mqtt: Sec-WebSocket-Protocol: mqtt [MQTT-6.0.0-3]")]
    Subprotocol,
}

impl Refusal {
    fn status(self) -> &'static str {
        match self {
            Self::Malformed | Self::Key | Self::Subprotocol => "400 Bad Request",
            Self::Origin => "403 Forbidden",
            Self::Path => "404 Not Found",
            Self::Method => "405 Method Not Allowed",
            Self::Upgrade | Self::WebSocketVersion => "426 Upgrade Required",
            Self::TooLong => "431 Request Header Fields Too Large",
            Self::Version => "505 HTTP Version Not Supported",
        }
    }

    /// The whole answer.
    pub(super) fn answer(self) -> Vec<u8> {
        let body = format!("{self}\n");
        let mut answer = format!("HTTP/1.1 {}\r\n", self.status());
        match self {
            Self::Method => answer += "Allow: GET\r\n",
            Self::Upgrade | Self::WebSocketVersion => answer += "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            Self::Malformed | Self::Key | Self::Subprotocol | Self::Origin | Self::Path | Self::TooLong | Self::Version => {}
        }
        write!(
            answer,
            "Connection: close\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("a string takes everything");
        answer.into_bytes()
    }
}

/// Where the head ends, once it does.
pub(super) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|place| place + 4)
}

/// Whether this can be the beginning of a request at all: MQTT and TLS are told by their first byte.
pub(super) fn may_be_request(bytes: &[u8]) -> bool {
    bytes.iter().take(8).take_while(|&&byte| byte != b' ').all(u8::is_ascii_uppercase)
}

/// A head: its first line, and its fields.
struct Head<'a> {
    line: &'a str,
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Head<'a> {
    fn parse(head: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(head).ok()?.strip_suffix("\r\n\r\n")?;
        let mut lines = text.split("\r\n");
        let line = lines.next()?;
        let field = |line: &'a str| {
            let (name, value) = line.split_once(':')?;
            let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
            is_name.then_some((name, value.trim_matches([' ', '\t'])))
        };
        let fields: Option<Vec<_>> = lines.map(field).collect();
        Some(Self { line, fields: fields? })
    }

    fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + 's {
        self.fields.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|&(_, value)| value)
    }

    /// What a list says, over all fields of this name.
    fn items<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + 's {
        self.values(name).flat_map(|value| value.split(',')).map(|item| item.trim_matches([' ', '\t']))
    }

    fn says(&self, name: &str, word: &str) -> bool {
        self.items(name).any(|item| item.eq_ignore_ascii_case(word))
    }
}

/// The answer to a request, whose head is whole.
pub(super) fn answer(head: &[u8], policy: &Policy) -> Result<Vec<u8>, Refusal> {
    let head = Head::parse(head).ok_or(Refusal::Malformed)?;
    let mut words = head.line.split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(Refusal::Malformed);
    };
    match version {
        "HTTP/1.1" => {}
        _ if version.starts_with("HTTP/") => return Err(Refusal::Version),
        _ => return Err(Refusal::Malformed),
    }
    if method != "GET" {
        return Err(Refusal::Method);
    }
    let path = target.split('?').next().unwrap_or_default();
    if policy.path.as_deref().is_some_and(|wanted| wanted != path) {
        return Err(Refusal::Path);
    }
    let is_known = |origin: &str| policy.origins.iter().any(|known| known.eq_ignore_ascii_case(origin));
    if !policy.origins.is_empty() && !head.values("Origin").all(is_known) {
        return Err(Refusal::Origin);
    }
    if !head.says("Upgrade", "websocket") || !head.says("Connection", "upgrade") {
        return Err(Refusal::Upgrade);
    }
    if !head.says("Sec-WebSocket-Version", "13") {
        return Err(Refusal::WebSocketVersion);
    }
    let mut keys = head.values("Sec-WebSocket-Key");
    let (Some(key), None) = (keys.next(), keys.next()) else { return Err(Refusal::Key) };
    if !is_key(key) {
        return Err(Refusal::Key);
    }
    let offered: Vec<&str> = head.items("Sec-WebSocket-Protocol").collect();
    let subprotocol = SUBPROTOCOLS.iter().find(|known| offered.contains(known)).ok_or(Refusal::Subprotocol)?;
    let accept = accept_of(key);
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    )
    .into_bytes())
}

/// 16 bytes in base64.
fn is_key(key: &str) -> bool {
    key.len() == 24 && key.ends_with("==") && key[..22].bytes().all(|byte| ALPHABET.contains(&byte))
}

/// Asks for a WebSocket with MQTT inside.
pub(super) fn request(host: &str, path: &str, key: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
    .into_bytes()
}

/// Why an answer to our request opens nothing.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum NotOpened {
    /// No answer of HTTP.
    #[error("the server's answer is not HTTP")]
    Malformed,
    /// More than [`HTTP_HEAD_BYTES_MAX`](crate::limits::HTTP_HEAD_BYTES_MAX).
    #[error("the head of the server's answer has more than 8 KiB")]
    TooLong,
    /// An answer that says no.
    #[error("the server answers {0}")]
    Status(Box<str>),
    /// It says yes, but not to what was asked.
    #[error("the server's answer does not belong to this request")]
    Accept,
    /// It speaks something else [MQTT-6.0.0-4].
    #[error("the server does not name the subprotocol mqtt [MQTT-6.0.0-4]")]
    Subprotocol,
}

/// Whether an answer, whose head is whole, opens what was asked for with `key`.
pub(super) fn judge(head: &[u8], key: &str) -> Result<(), NotOpened> {
    let head = Head::parse(head).ok_or(NotOpened::Malformed)?;
    let status =
        head.line.strip_prefix("HTTP/1.1 ").or_else(|| head.line.strip_prefix("HTTP/1.0 ")).ok_or(NotOpened::Malformed)?;
    if status.split(' ').next() != Some("101") {
        return Err(NotOpened::Status(status.into()));
    }
    if !head.says("Upgrade", "websocket") || !head.values("Sec-WebSocket-Accept").eq([accept_of(key).as_str()]) {
        return Err(NotOpened::Accept);
    }
    if !head.values("Sec-WebSocket-Protocol").eq(["mqtt"]) {
        return Err(NotOpened::Subprotocol);
    }
    Ok(())
}

fn accept_of(key: &str) -> String {
    base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()).as_ref())
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 with padding (RFC 4648 §4).
pub(super) fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * place) & 0x3F) as usize];
            text.push(if place > three.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "GET /mqtt?x=1 HTTP/1.1\r\nHost: broker\r\nupgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqttv3.1\r\nSec-WebSocket-Protocol: chat, mqtt\r\nOrigin: https://example.org\r\n\r\n";

    fn refused(text: &str, policy: &Policy) -> Refusal {
        answer(text.as_bytes(), policy).unwrap_err()
    }

    #[test]
    fn the_key_of_the_rfc_gets_its_answer_and_the_client_knows_it() {
        let answered = answer(GOOD.as_bytes(), &Policy::default()).unwrap();

        let text = String::from_utf8(answered.clone()).unwrap();
        assert!(text.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{text}");
        assert!(text.contains("Sec-WebSocket-Protocol: mqtt\r\n"), "{text}");
        assert_eq!(judge(&answered, "dGhlIHNhbXBsZSBub25jZQ=="), Ok(()));
        assert_eq!(judge(&answered, "another key"), Err(NotOpened::Accept));
    }

    #[test]
    fn a_refusal_says_what_is_wrong() {
        let any = Policy::default();
        let cases = [
            (GOOD.replace("GET", "POST"), Refusal::Method),
            (GOOD.replace("HTTP/1.1", "HTTP/1.0"), Refusal::Version),
            (GOOD.replace("WebSocket", "h2c"), Refusal::Upgrade),
            (GOOD.replace("keep-alive, Upgrade", "keep-alive"), Refusal::Upgrade),
            (GOOD.replace("Version: 13", "Version: 8"), Refusal::WebSocketVersion),
            (GOOD.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"), Refusal::Key),
            (GOOD.replace("Sec-WebSocket-Key", "X-Key"), Refusal::Key),
            (GOOD.replace("chat, mqtt", "chat").replace("mqttv3.1", "soap"), Refusal::Subprotocol),
            (GOOD.replace("Host: broker", "no colon"), Refusal::Malformed),
            (GOOD.replace("/mqtt?x=1", "/mqtt x"), Refusal::Malformed),
        ];
        for (request, refusal) in cases {
            assert_eq!(refused(&request, &any), refusal, "{request}");
            let answer = String::from_utf8(refusal.answer()).unwrap();
            assert!(answer.ends_with(&format!("\r\n\r\n{refusal}\n")), "{answer}");
        }
        let named = Policy { path: Some("/broker".into()), origins: Vec::new() };
        assert_eq!(refused(GOOD, &named), Refusal::Path);
        assert!(answer(GOOD.replace("/mqtt?", "/broker?").as_bytes(), &named).is_ok());
    }

    #[test]
    fn pages_of_other_origins_are_kept_out_where_origins_are_named() {
        let policy = Policy { path: None, origins: vec!["https://example.net".into()] };

        assert_eq!(refused(GOOD, &policy), Refusal::Origin);
        assert!(answer(GOOD.replace("example.org", "example.net").as_bytes(), &policy).is_ok());
        assert!(answer(GOOD.replace("Origin: https://example.org\r\n", "").as_bytes(), &policy).is_ok());
    }

    #[test]
    fn mosquitto_s_old_name_is_taken_where_the_standard_s_is_not_offered() {
        let answered = answer(GOOD.replace("chat, mqtt", "chat").as_bytes(), &Policy::default()).unwrap();

        assert!(String::from_utf8(answered).unwrap().contains("Sec-WebSocket-Protocol: mqttv3.1\r\n"));
    }

    #[test]
    fn a_client_opens_only_what_it_asked_for() {
        let yes = String::from_utf8(answer(GOOD.as_bytes(), &Policy::default()).unwrap()).unwrap();
        let judged = |text: String| judge(text.as_bytes(), "dGhlIHNhbXBsZSBub25jZQ==");

        assert_eq!(judged(yes.replace("Protocol: mqtt", "Protocol: chat")), Err(NotOpened::Subprotocol));
        assert_eq!(judged("HTTP/1.1 404 Not Found\r\n\r\n".into()), Err(NotOpened::Status("404 Not Found".into())));
        assert_eq!(judged("SSH-2.0\r\n\r\n".into()), Err(NotOpened::Malformed));
    }

    #[test]
    fn base64_pads() {
        assert_eq!(["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes())), ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }
}
