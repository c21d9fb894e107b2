//! WebSocket (RFC 6455) with MQTT inside (§6): frames in, a stream of bytes out, and the other way round.

mod frame;
mod http;

use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

use self::frame::{Control, Frames, Role};
pub use self::http::{NotOpened, Policy, Refusal};
use crate::{Heard, Layer, LayerError, limits::HTTP_HEAD_BYTES_MAX};

/// Close codes (RFC 6455 §7.4.1).
const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const UNSUPPORTED_DATA: u16 = 1003;
const TOO_BIG: u16 = 1009;

/// Masks are drawn so many at a time.
const MASKS: usize = 64;

/// One end of a WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    state: State,
    /// Answers of the handshake, and the last frame.
    reply: Vec<u8>,
    /// The last ping that is not answered: only that one has to be (RFC 6455 §5.5.3).
    pong: Option<Vec<u8>>,
    masks: Option<Box<Masks>>,
}

#[derive(Debug)]
enum State {
    /// The client's request has not come whole.
    AwaitRequest(Arc<Policy>, Vec<u8>),
    /// The same, but if it is MQTT that comes, that is taken, too.
    AwaitEither(Arc<Policy>),
    /// The server's answer has not come whole.
    AwaitAnswer(Box<str>, Vec<u8>),
    Open(Frames),
    /// It was MQTT that came.
    Plain,
    Closed,
}

/// What a client masks its frames with.
#[derive(Debug)]
struct Masks {
    drawn: [u8; 4 * MASKS],
    used: usize,
}

/// What is wrong with what came.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum WebSocketError {
    /// The request is not taken; it was answered.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Our request was not taken.
    #[error("{0}")]
    NotOpened(#[from] NotOpened),
    /// MQTT is binary [MQTT-6.0.0-1].
    #[error("a text frame: MQTT is binary [MQTT-6.0.0-1]")]
    Text,
    /// A frame that is larger than any packet.
    #[error("a frame larger than the largest packet")]
    TooLarge,
    /// A frame that may not come.
    #[error("{0}")]
    Frame(&'static str),
}

impl WebSocket {
    /// The end that was connected to.
    pub fn server(policy: Arc<Policy>) -> Self {
        Self::new(State::AwaitRequest(policy, Vec::new()), None)
    }

    /// The same on a port that takes MQTT as it is, too: the first byte tells which.
    pub fn server_or_plain(policy: Arc<Policy>) -> Self {
        Self::new(State::AwaitEither(policy), None)
    }

    /// The end that connects, to `path` of `host` (with its port, where that is not the usual one); its first words wait in
    /// [`outgoing`](Layer::outgoing).
    pub fn client(host: &str, path: &str) -> Self {
        let key = http::base64(&random::<16>());
        let request = http::request(host, path, &key);
        let mut layer = Self::new(State::AwaitAnswer(key.into(), Vec::new()), Some(Box::new(Masks::new())));
        layer.reply = request;
        layer
    }

    fn new(state: State, masks: Option<Box<Masks>>) -> Self {
        Self { state, reply: Vec::new(), pong: None, masks }
    }

    fn mask(&mut self) -> Option<[u8; 4]> {
        self.masks.as_mut().map(|masks| masks.next())
    }

    fn role(&self) -> Role {
        if self.masks.is_some() { Role::Client } else { Role::Server }
    }

    /// What follows the head of the handshake in `head`, once that is whole; the other bytes stay in it.
    fn shake(&mut self) -> Result<Option<Vec<u8>>, WebSocketError> {
        let (State::AwaitRequest(_, head) | State::AwaitAnswer(_, head)) = &mut self.state else { return Ok(None) };
        let Some(end) = http::end_of_head(&head[..head.len().min(HTTP_HEAD_BYTES_MAX)]) else {
            let is_too_long = head.len() >= HTTP_HEAD_BYTES_MAX;
            return match &self.state {
                State::AwaitRequest(_, head) if !http::may_be_request(head) => Err(Refusal::Malformed.into()),
                State::AwaitRequest(..) if is_too_long => Err(Refusal::TooLong.into()),
                State::AwaitAnswer(_, head) if !b"HTTP/".starts_with(&head[..head.len().min(5)]) => {
                    Err(NotOpened::Malformed.into())
                }
                State::AwaitAnswer(..) if is_too_long => Err(NotOpened::TooLong.into()),
                State::AwaitRequest(..)
                | State::AwaitAnswer(..)
                | State::AwaitEither(_)
                | State::Open(_)
                | State::Plain
                | State::Closed => Ok(None),
            };
        };
        let rest = head.split_off(end);
        match &self.state {
            State::AwaitRequest(policy, head) => self.reply = http::answer(head, policy)?,
            State::AwaitAnswer(key, head) => http::judge(head, key)?,
            State::AwaitEither(_) | State::Open(_) | State::Plain | State::Closed => {}
        }
        self.state = State::Open(Frames::new(self.role()));
        Ok(Some(rest))
    }

    fn frames(&mut self, mut bytes: &[u8], inward: &mut Vec<u8>) -> Result<Heard, WebSocketError> {
        loop {
            let State::Open(frames) = &mut self.state else { return Ok(Heard::End) };
            match frames.read(&mut bytes, inward)? {
                None => return Ok(Heard::More),
                Some(Control::Ping(payload)) => self.pong = Some(payload),
                Some(Control::Close(code)) => {
                    self.leave(code);
                    return Ok(Heard::End);
                }
            }
        }
    }

    /// Says the last word.
    fn leave(&mut self, code: Option<u16>) {
        let mask = self.mask();
        frame::write_close(code, mask, &mut self.reply);
        self.state = State::Closed;
    }

    fn take(&mut self, wire: &[u8], inward: &mut Vec<u8>) -> Result<Heard, WebSocketError> {
        if let (State::AwaitEither(policy), Some(first)) = (&self.state, wire.first()) {
            self.state =
                if first.is_ascii_uppercase() { State::AwaitRequest(Arc::clone(policy), Vec::new()) } else { State::Plain };
        }
        match &mut self.state {
            State::Open(_) => self.frames(wire, inward),
            State::Plain => {
                inward.extend_from_slice(wire);
                Ok(Heard::More)
            }
            State::AwaitRequest(_, head) | State::AwaitAnswer(_, head) => {
                head.extend_from_slice(wire);
                match self.shake()? {
                    Some(rest) => self.frames(&rest, inward),
                    None => Ok(Heard::More),
                }
            }
            State::AwaitEither(_) => Ok(Heard::More),
            State::Closed => Ok(Heard::End),
        }
    }
}

impl Layer for WebSocket {
    fn read(&mut self, wire: &mut [u8], inward: &mut Vec<u8>) -> Result<Heard, LayerError> {
        let taken = self.take(wire, inward);
        match &taken {
            Ok(_) => {}
            Err(WebSocketError::Refused(refusal)) => {
                self.reply = refusal.answer();
                self.state = State::Closed;
            }
            Err(WebSocketError::NotOpened(_)) => self.state = State::Closed,
            Err(WebSocketError::Text) => self.leave(Some(UNSUPPORTED_DATA)),
            Err(WebSocketError::TooLarge) => self.leave(Some(TOO_BIG)),
            Err(WebSocketError::Frame(_)) => self.leave(Some(PROTOCOL_ERROR)),
        }
        Ok(taken?)
    }

    fn write(&mut self, bytes: &[u8], wire: &mut Vec<u8>) -> Result<(), LayerError> {
        self.outgoing(wire);
        match &self.state {
            State::Plain => wire.extend_from_slice(bytes),
            State::Open(_) => {
                let mask = self.mask();
                frame::write_binary(bytes, mask, wire);
            }
            // Nothing is said before the handshake, and nothing behind the last frame.
            State::AwaitRequest(..) | State::AwaitEither(_) | State::AwaitAnswer(..) | State::Closed => {}
        }
        Ok(())
    }

    fn outgoing(&mut self, wire: &mut Vec<u8>) {
        if let Some(payload) = self.pong.take()
            && matches!(self.state, State::Open(_))
        {
            let mask = self.mask();
            // Behind an answer of the handshake, which comes first.
            frame::write_pong(&payload, mask, &mut self.reply);
        }
        if !self.reply.is_empty() {
            wire.append(&mut self.reply);
            self.reply = Vec::new();
        }
    }

    fn has_outgoing(&self) -> bool {
        !self.reply.is_empty() || self.pong.is_some()
    }

    fn close(&mut self, wire: &mut Vec<u8>) {
        if matches!(self.state, State::Open(_)) {
            self.outgoing(wire);
            self.leave(Some(NORMAL));
        }
        self.outgoing(wire);
    }

    fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_) | State::Plain | State::Closed)
    }

    fn is_transparent(&self) -> bool {
        matches!(self.state, State::Plain)
    }
}

impl Masks {
    fn new() -> Self {
        Self { drawn: random(), used: 0 }
    }

    fn next(&mut self) -> [u8; 4] {
        let (masks, _) = self.drawn.as_chunks();
        if let Some(&mask) = masks.get(self.used) {
            self.used += 1;
            return mask;
        }
        *self = Self::new();
        self.next()
    }
}

/// Chance from the system: a page must not be able to guess what is on the wire (RFC 6455 §10.3).
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("a system that gives no chance has no TLS either");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends after their handshake.
    fn opened() -> (WebSocket, WebSocket) {
        let mut client = WebSocket::client("broker:8083", "/mqtt");
        let mut server = WebSocket::server(Arc::default());
        carry(&mut client, &mut server).unwrap();
        carry(&mut server, &mut client).unwrap();
        assert!(client.is_open() && server.is_open());
        (client, server)
    }

    /// What `from` has to say, to `to`; the answer is what that means to it.
    fn carry(from: &mut WebSocket, to: &mut WebSocket) -> Result<(Vec<u8>, Heard), LayerError> {
        let (mut wire, mut inward) = (Vec::new(), Vec::new());
        from.outgoing(&mut wire);
        let heard = to.read(&mut wire, &mut inward)?;
        Ok((inward, heard))
    }

    fn raw(server: &mut WebSocket, first: u8, payload: &[u8]) -> Result<Heard, LayerError> {
        let mut wire = vec![first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
        wire.extend(payload);
        server.read(&mut wire, &mut Vec::new())
    }

    #[test]
    fn what_one_end_writes_the_other_reads() {
        let (mut client, mut server) = opened();
        for bytes in [b"\x10\x0C".as_slice(), &vec![5; 100_000]] {
            let (mut wire, mut inward) = (Vec::new(), Vec::new());
            client.write(bytes, &mut wire).unwrap();
            assert!(wire.len() > bytes.len() && wire[6..8] != bytes[..2], "masked");
            server.read(&mut wire, &mut inward).unwrap();
            assert_eq!(inward, bytes);

            let (mut wire, mut inward) = (Vec::new(), Vec::new());
            server.write(bytes, &mut wire).unwrap();
            client.read(&mut wire, &mut inward).unwrap();
            assert_eq!(inward, bytes);
        }
    }

    #[test]
    fn bytes_right_behind_the_handshake_are_not_lost() {
        let mut wire = http::request("x", "/", "dGhlIHNhbXBsZSBub25jZQ==");
        frame::write_binary(b"\x10early", Some([1, 2, 3, 4]), &mut wire);
        for piece in [1, 7, wire.len()] {
            let (mut server, mut inward) = (WebSocket::server(Arc::default()), Vec::new());

            for piece in wire.chunks(piece) {
                server.read(&mut piece.to_vec(), &mut inward).unwrap();
            }

            assert_eq!(inward, b"\x10early");
        }
    }

    #[test]
    fn a_thousand_pings_are_answered_by_one_pong() {
        let (mut client, mut server) = opened();
        for _ in 0..1000 {
            raw(&mut server, 0x89, b"still there?").unwrap();
        }

        let mut wire = Vec::new();
        server.outgoing(&mut wire);

        assert_eq!(wire, b"\x8A\x0Cstill there?");
        assert_eq!(client.read(&mut wire, &mut Vec::new()), Ok(Heard::More));
    }

    #[test]
    fn a_text_frame_closes_with_1003() {
        let (_, mut server) = opened();

        assert_eq!(raw(&mut server, 0x81, b"hello"), Err(WebSocketError::Text.into()));

        let mut wire = Vec::new();
        server.close(&mut wire);
        assert_eq!(wire, [0x88, 2, 0x03, 0xEB]);
    }

    #[test]
    fn a_close_is_answered_with_its_own_code_and_once() {
        let (_, mut server) = opened();

        assert_eq!(raw(&mut server, 0x88, &1001u16.to_be_bytes()), Ok(Heard::End));

        let mut wire = Vec::new();
        server.close(&mut wire);
        server.close(&mut wire);
        assert_eq!(wire, [0x88, 2, 0x03, 0xE9]);
    }

    #[test]
    fn what_is_no_request_is_refused_at_its_first_byte_and_an_endless_one_at_8_kib() {
        let mut server = WebSocket::server(Arc::default());
        assert_eq!(server.read(&mut [0x10], &mut Vec::new()), Err(WebSocketError::from(Refusal::Malformed).into()));

        let mut server = WebSocket::server(Arc::default());
        let mut endless = [b"GET / HTTP/1.1\r\nCookie: ".as_slice(), &[b'x'; 9000]].concat();
        assert_eq!(server.read(&mut endless, &mut Vec::new()), Err(WebSocketError::from(Refusal::TooLong).into()));
        let mut answer = Vec::new();
        server.close(&mut answer);
        assert!(answer.starts_with(b"HTTP/1.1 431 "));
    }

    #[test]
    fn a_shared_port_tells_by_the_first_byte() {
        let (mut plain, mut inward) = (WebSocket::server_or_plain(Arc::default()), Vec::new());
        plain.read(&mut [0x10, 0x00], &mut inward).unwrap();
        assert!(plain.is_transparent());
        assert_eq!(inward, [0x10, 0x00]);

        let (mut client, mut web) = (WebSocket::client("x", "/"), WebSocket::server_or_plain(Arc::default()));
        carry(&mut client, &mut web).unwrap();
        assert!(web.is_open() && !web.is_transparent());
    }
}
