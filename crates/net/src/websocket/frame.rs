//! Frames of RFC 6455 §5: their heads, their masks, and what may follow what.

use super::WebSocketError;
use crate::limits::{CONTROL_PAYLOAD_MAX, FRAME_PAYLOAD_MAX};

/// A head at its longest: two bytes, eight of length, four of mask.
const HEAD_BYTES_MAX: usize = 14;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// In place of a length: it stands behind, in two bytes or in eight.
const LEN_16: u8 = 0x7E;
const LEN_64: u8 = 0x7F;

/// Opcodes.
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Which end reads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    /// It reads masked frames and writes others.
    Server,
    /// It reads others and writes masked ones.
    Client,
}

/// Takes frames apart as their bytes come; of payloads nothing is kept but that of control frames.
#[derive(Debug)]
pub(super) struct Frames {
    role: Role,
    /// A head that has not come whole.
    head: [u8; HEAD_BYTES_MAX],
    head_len: u8,
    /// Frames of a message have come and its last one has not.
    in_message: bool,
    current: Option<Current>,
    control: Vec<u8>,
}

/// The frame whose payload comes.
#[derive(Clone, Copy, Debug)]
struct Current {
    opcode: u8,
    left: u64,
    /// Turned so that its first byte is the next one's.
    mask: u32,
}

/// What a control frame asks for.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Control {
    /// To answer with this.
    Ping(Vec<u8>),
    /// To close, with the same code.
    Close(Option<u16>),
}

struct Head {
    first: u8,
    masked: bool,
    payload: u64,
    mask: u32,
}

impl Frames {
    pub(super) fn new(role: Role) -> Self {
        Self { role, head: [0; HEAD_BYTES_MAX], head_len: 0, in_message: false, current: None, control: Vec::new() }
    }

    /// Takes `bytes` from the front until a control frame asks for something, or to their end. Messages are one stream: where one ends and the next
    /// begins means nothing to MQTT [MQTT-6.0.0-2].
    pub(super) fn read(&mut self, bytes: &mut &[u8], inward: &mut Vec<u8>) -> Result<Option<Control>, WebSocketError> {
        loop {
            let mut current = match self.current {
                Some(current) => current,
                None => match self.next_head(bytes)? {
                    Some(head) => self.begin(&head)?,
                    None => return Ok(None),
                },
            };
            let here = bytes.len().min(usize::try_from(current.left).unwrap_or(usize::MAX));
            let (payload, rest) = bytes.split_at(here);
            *bytes = rest;
            let is_control = current.opcode >= CLOSE;
            let target = if is_control { &mut self.control } else { &mut *inward };
            let start = target.len();
            target.extend_from_slice(payload);
            current.mask = apply_mask(&mut target[start..], current.mask);
            current.left -= here as u64;
            if current.left > 0 {
                self.current = Some(current);
                return Ok(None);
            }
            self.current = None;
            if is_control && let Some(control) = self.end_control(current.opcode)? {
                return Ok(Some(control));
            }
        }
    }

    /// The next head, once it is whole.
    fn next_head(&mut self, bytes: &mut &[u8]) -> Result<Option<Head>, WebSocketError> {
        if self.head_len == 0 {
            if let Some((head, len)) = parse(bytes) {
                *bytes = &bytes[len..];
                return Ok(Some(head));
            }
            // A wrong first byte is answered at once: what it announces need never come.
            if let Some(&first) = bytes.first() {
                self.judge(first)?;
            }
        }
        while let Some((&byte, rest)) = bytes.split_first() {
            self.head[usize::from(self.head_len)] = byte;
            self.head_len += 1;
            *bytes = rest;
            if let Some((head, _)) = parse(&self.head[..usize::from(self.head_len)]) {
                self.head_len = 0;
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    fn judge(&self, first: u8) -> Result<(), WebSocketError> {
        if first & RESERVED != 0 {
            return Err(WebSocketError::Frame("bits are set that no extension explains"));
        }
        match first & 0xF {
            TEXT => Err(WebSocketError::Text),
            CONTINUATION if !self.in_message => Err(WebSocketError::Frame("a continuation of nothing")),
            BINARY if self.in_message => Err(WebSocketError::Frame("a message within a message")),
            CLOSE | PING | PONG if first & FINAL == 0 => Err(WebSocketError::Frame("a control frame in parts")),
            CONTINUATION | BINARY | CLOSE | PING | PONG => Ok(()),
            _ => Err(WebSocketError::Frame("an unknown opcode")),
        }
    }

    fn begin(&mut self, head: &Head) -> Result<Current, WebSocketError> {
        self.judge(head.first)?;
        match (self.role, head.masked) {
            (Role::Server, false) => return Err(WebSocketError::Frame("a client's frame without a mask")),
            (Role::Client, true) => return Err(WebSocketError::Frame("a server's frame with a mask")),
            (Role::Server, true) | (Role::Client, false) => {}
        }
        let opcode = head.first & 0xF;
        if opcode >= CLOSE {
            if head.payload > CONTROL_PAYLOAD_MAX as u64 {
                return Err(WebSocketError::Frame("a control frame that is too long"));
            }
            self.control.clear();
        } else {
            if head.payload > FRAME_PAYLOAD_MAX {
                return Err(WebSocketError::TooLarge);
            }
            self.in_message = head.first & FINAL == 0;
        }
        Ok(Current { opcode, left: head.payload, mask: head.mask })
    }

    fn end_control(&mut self, opcode: u8) -> Result<Option<Control>, WebSocketError> {
        let payload = std::mem::take(&mut self.control);
        match opcode {
            PING => Ok(Some(Control::Ping(payload))),
            CLOSE => match payload.as_slice() {
                [] => Ok(Some(Control::Close(None))),
                [_] => Err(WebSocketError::Frame("a close code of one byte")),
                [high, low, ..] => Ok(Some(Control::Close(Some(u16::from_be_bytes([*high, *low]))))),
            },
            // A pong that nobody asked for is a sign of life and wants no answer.
            _ => Ok(None),
        }
    }
}

/// The head at the front with its length, where it is whole.
fn parse(bytes: &[u8]) -> Option<(Head, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (payload, rest, len) = match second & !MASKED {
        LEN_16 => rest.split_first_chunk().map(|(len, rest)| (u64::from(u16::from_be_bytes(*len)), rest, 4))?,
        LEN_64 => rest.split_first_chunk().map(|(len, rest)| (u64::from_be_bytes(*len), rest, 10))?,
        len => (u64::from(len), rest, 2),
    };
    let masked = second & MASKED != 0;
    if !masked {
        return Some((Head { first, masked, payload, mask: 0 }, len));
    }
    let mask = u32::from_ne_bytes(*rest.first_chunk()?);
    Some((Head { first, masked, payload, mask }, len + 4))
}

/// Masks or unmasks, which is the same; the answer is the mask for what follows.
fn apply_mask(bytes: &mut [u8], mask: u32) -> u32 {
    if mask == 0 {
        return 0;
    }
    let wide = u64::from(mask) << 32 | u64::from(mask);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    let mut mask = mask.to_ne_bytes();
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    mask.rotate_left(rest.len() % 4);
    u32::from_ne_bytes(mask)
}

/// Appends a frame with `bytes`, masked where there is a mask.
fn write(opcode: u8, bytes: &[u8], mask: Option<[u8; 4]>, wire: &mut Vec<u8>) {
    let flag = if mask.is_some() { MASKED } else { 0 };
    wire.reserve(HEAD_BYTES_MAX + bytes.len());
    wire.push(FINAL | opcode);
    match (u8::try_from(bytes.len()), u16::try_from(bytes.len())) {
        (Ok(len @ ..LEN_16), _) => wire.push(flag | len),
        (_, Ok(len)) => {
            wire.push(flag | LEN_16);
            wire.extend(len.to_be_bytes());
        }
        _ => {
            wire.push(flag | LEN_64);
            wire.extend((bytes.len() as u64).to_be_bytes());
        }
    }
    wire.extend(mask.iter().flatten());
    let start = wire.len();
    wire.extend_from_slice(bytes);
    if let Some(mask) = mask {
        apply_mask(&mut wire[start..], u32::from_ne_bytes(mask));
    }
}

/// A whole message in one frame.
pub(super) fn write_binary(bytes: &[u8], mask: Option<[u8; 4]>, wire: &mut Vec<u8>) {
    write(BINARY, bytes, mask, wire);
}

pub(super) fn write_pong(bytes: &[u8], mask: Option<[u8; 4]>, wire: &mut Vec<u8>) {
    write(PONG, bytes, mask, wire);
}

pub(super) fn write_close(code: Option<u16>, mask: Option<[u8; 4]>, wire: &mut Vec<u8>) {
    write(CLOSE, code.map(u16::to_be_bytes).as_ref().map_or(&[], <[u8; 2]>::as_slice), mask, wire);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `bytes` mean to this end when they come in pieces of this size.
    fn read(role: Role, bytes: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<Control>), WebSocketError> {
        let (mut frames, mut inward, mut controls) = (Frames::new(role), Vec::new(), Vec::new());
        for mut piece in bytes.chunks(piece) {
            while let Some(control) = frames.read(&mut piece, &mut inward)? {
                controls.push(control);
            }
        }
        Ok((inward, controls))
    }

    fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut wire = Vec::new();
        write(0, payload, mask, &mut wire);
        wire[0] = first;
        wire
    }

    const MASK: Option<[u8; 4]> = Some([0x37, 0xFA, 0x21, 0x3D]);

    #[test]
    fn messages_in_whatever_frames_and_pieces_are_one_stream() {
        let wire = [
            frame(0x02, b"one ", MASK),
            frame(0x89, b"are you there", MASK),
            frame(0x00, b"packet in ", MASK),
            frame(0x80, b"three frames", MASK),
            frame(0x82, &[7; 300], MASK),
            frame(0x8A, b"unasked", MASK),
            frame(0x82, &vec![8; 70_000], MASK),
            frame(0x88, &1000u16.to_be_bytes(), MASK),
        ]
        .concat();

        for piece in [1, 2, 3, 13, 4096, wire.len()] {
            let (inward, controls) = read(Role::Server, &wire, piece).unwrap();

            assert_eq!(inward, [b"one packet in three frames".as_slice(), &[7; 300], &vec![8; 70_000]].concat());
            assert_eq!(controls, [Control::Ping(b"are you there".to_vec()), Control::Close(Some(1000))], "pieces of {piece}");
        }
    }

    #[test]
    fn a_server_s_frames_have_no_mask() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let mut wire = Vec::new();
            write_binary(&vec![9; len], None, &mut wire);

            assert_eq!(read(Role::Client, &wire, 1000), Ok((vec![9; len], vec![])));
            assert!(read(Role::Server, &wire, 1000).is_err());
        }
    }

    #[test]
    fn what_no_frame_may_be_is_refused_at_its_head() {
        let wrong = |first, payload: &[u8]| read(Role::Server, &frame(first, payload, MASK), 1).unwrap_err();

        assert_eq!(wrong(0x81, b"text"), WebSocketError::Text);
        for (first, payload) in [
            (0xC2, b"compressed".as_slice()),
            (0x83, b"unknown opcode"),
            (0x80, b"a continuation of nothing"),
            (0x09, b"a ping in parts"),
            (0x89, &[0; 126]),
            (0x88, b"1"),
        ] {
            assert!(matches!(wrong(first, payload), WebSocketError::Frame(_)), "{first:#x}");
        }
        let nested = [frame(0x02, b"a", MASK), frame(0x82, b"b", MASK)].concat();
        assert!(matches!(read(Role::Server, &nested, 99), Err(WebSocketError::Frame(_))));
        // Only the first byte is there.
        assert_eq!(read(Role::Server, &[0x81], 1), Err(WebSocketError::Text));
    }

    #[test]
    fn a_frame_that_announces_too_much_is_refused_before_it_comes() {
        for len in [FRAME_PAYLOAD_MAX + 1, u64::MAX, 1 << 63] {
            let head = [[0x82, 0xFF].as_slice(), &len.to_be_bytes(), &[1, 2, 3, 4]].concat();

            assert_eq!(read(Role::Server, &head, 1), Err(WebSocketError::TooLarge));
        }
    }
}
