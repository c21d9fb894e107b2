//! The PROXY protocol, versions 1 and 2: a proxy says before all else for whom it speaks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

use crate::{
    Heard, Layer, LayerError,
    limits::{PROXY_V1_BYTES_MAX, PROXY_V2_BYTES_MAX},
};

/// How a header of version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of a header of version 2 up to its addresses.
const V2_HEAD: usize = 16;

/// Waits for the header; behind it everything passes unchanged.
#[derive(Debug, Default)]
pub struct Proxy {
    state: State,
}

#[derive(Debug)]
enum State {
    /// What has come of the header.
    Awaiting(Vec<u8>),
    /// The header was there. `None`: the proxy speaks for itself, or cannot say for whom.
    Open(Option<SocketAddr>),
}

impl Default for State {
    fn default() -> Self {
        Self::Awaiting(Vec::new())
    }
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ProxyError {
    /// Something else came.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// It begins like one and goes on like none.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// Version 2 with more behind the addresses than is taken.
    #[error("the PROXY header has more than {PROXY_V2_BYTES_MAX} bytes")]
    TooLong,
}

/// A header that is whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Header {
    source: Option<SocketAddr>,
    len: usize,
}

impl Proxy {
    /// For whom the proxy speaks, once it has said so.
    pub fn source(&self) -> Option<SocketAddr> {
        match self.state {
            State::Awaiting(_) => None,
            State::Open(source) => source,
        }
    }
}

impl Layer for Proxy {
    fn read(&mut self, wire: &mut [u8], inward: &mut Vec<u8>) -> Result<Heard, LayerError> {
        match &mut self.state {
            State::Open(_) => inward.extend_from_slice(wire),
            State::Awaiting(partial) => {
                let before = partial.len();
                let taken = wire.len().min(V2_HEAD + PROXY_V2_BYTES_MAX - before);
                partial.extend_from_slice(&wire[..taken]);
                if let Some(header) = header(partial)? {
                    inward.extend_from_slice(&wire[header.len - before..]);
                    self.state = State::Open(header.source);
                }
            }
        }
        Ok(Heard::More)
    }

    fn write(&mut self, bytes: &[u8], wire: &mut Vec<u8>) -> Result<(), LayerError> {
        wire.extend_from_slice(bytes);
        Ok(())
    }

    fn outgoing(&mut self, _: &mut Vec<u8>) {}

    fn has_outgoing(&self) -> bool {
        false
    }

    fn close(&mut self, _: &mut Vec<u8>) {}

    fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    fn is_transparent(&self) -> bool {
        self.is_open()
    }
}

/// The header at the front, `None` where more has to come.
fn header(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    if bytes.starts_with(b"PROXY ") {
        return version_1(bytes);
    }
    if bytes.starts_with(SIGNATURE) {
        return version_2(bytes);
    }
    let may_become = b"PROXY ".starts_with(bytes) || SIGNATURE.starts_with(bytes);
    if may_become { Ok(None) } else { Err(ProxyError::Missing) }
}

fn version_1(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let line = &bytes[..bytes.len().min(PROXY_V1_BYTES_MAX)];
    let Some(end) = line.windows(2).position(|two| two == b"\r\n") else {
        return if bytes.len() < PROXY_V1_BYTES_MAX { Ok(None) } else { Err(ProxyError::Malformed) };
    };
    let text = std::str::from_utf8(&line[..end]).map_err(|_| ProxyError::Malformed)?;
    let mut words = text.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    let header = |source| Some(Header { source, len: end + 2 });
    if family == "UNKNOWN" {
        return Ok(header(None));
    }
    let mut word = || words.next().ok_or(ProxyError::Malformed);
    let (source, target) = (word()?, word()?);
    let (source_port, target_port) = (port(word()?)?, port(word()?)?);
    if word().is_ok() {
        return Err(ProxyError::Malformed);
    }
    let ip = |text: &str| -> Result<IpAddr, ProxyError> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().map(Into::into).map_err(|_| ProxyError::Malformed),
            "TCP6" => text.parse::<Ipv6Addr>().map(Into::into).map_err(|_| ProxyError::Malformed),
            _ => Err(ProxyError::Malformed),
        }
    };
    let (source, _) = (SocketAddr::new(ip(source)?, source_port), SocketAddr::new(ip(target)?, target_port));
    Ok(header(Some(source)))
}

/// Digits alone: `parse` would take a sign.
fn port(text: &str) -> Result<u16, ProxyError> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or(ProxyError::Malformed)
}

fn version_2(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let Some(&[what, family, high, low]) = bytes.get(12..V2_HEAD) else { return Ok(None) };
    let body = usize::from(u16::from_be_bytes([high, low]));
    if what >> 4 != 2 || what & 0xF > 1 {
        return Err(ProxyError::Malformed);
    }
    if body > PROXY_V2_BYTES_MAX {
        return Err(ProxyError::TooLong);
    }
    let Some(addresses) = bytes.get(V2_HEAD..V2_HEAD + body) else { return Ok(None) };
    let is_local = what == 0x20;
    let source = match family >> 4 {
        // A health check of the proxy itself: whatever else stands there is to be passed over.
        _ if is_local => None,
        1 => {
            let &[a, b, c, d, _, _, _, _, high, low, _, _] = addresses.first_chunk().ok_or(ProxyError::Malformed)?;
            Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])))
        }
        2 => {
            let (ip, rest) = addresses.split_first_chunk::<16>().ok_or(ProxyError::Malformed)?;
            let &[high, low, _, _] = rest.get(16..).and_then(<[u8]>::first_chunk).ok_or(ProxyError::Malformed)?;
            Some(SocketAddr::new(Ipv6Addr::from(*ip).into(), u16::from_be_bytes([high, low])))
        }
        // Not said, or a Unix socket.
        0 | 3 => None,
        _ => return Err(ProxyError::Malformed),
    };
    Ok(Some(Header { source, len: V2_HEAD + body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of `bytes` in pieces of this size: the source, and what passed.
    fn read(bytes: &[u8], piece: usize) -> Result<(bool, Option<SocketAddr>, Vec<u8>), LayerError> {
        let (mut layer, mut inward) = (Proxy::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            layer.read(&mut piece.to_vec(), &mut inward)?;
        }
        Ok((layer.is_open(), layer.source(), inward))
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
        bytes.extend(addresses);
        bytes
    }

    #[test]
    fn a_proxy_names_whom_it_speaks_for_however_its_bytes_come() {
        let four = v2(0x21, 0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 0x1F, 0x90, 0x07, 0x5B]);
        let six = v2(0x21, 0x21, &[[0; 15].as_slice(), &[1], &[0; 16], &[0, 9, 0, 9], b"tail"].concat());
        let headers: [(&[u8], Option<&str>); 6] = [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 1883\r\n", Some("192.0.2.7:8080")),
            (b"PROXY TCP6 ::1 ::2 9 1883\r\n", Some("[::1]:9")),
            (b"PROXY UNKNOWN anything may stand here\r\n", None),
            (&four, Some("192.0.2.7:8080")),
            (&six, Some("[::1]:9")),
            (&v2(0x20, 0x00, &[]), None),
        ];

        for (header, source) in headers {
            let source = source.map(|text| text.parse().unwrap());
            let bytes = [header, b"\x10\x0Crest"].concat();
            for piece in [1, 7, bytes.len()] {
                assert_eq!(read(&bytes, piece), Ok((true, source, b"\x10\x0Crest".to_vec())), "in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
        let refused = |bytes: &[u8]| read(bytes, 1).unwrap_err();

        assert_eq!(refused(b"\x10"), ProxyError::Missing.into());
        assert_eq!(refused(b"PROXX"), ProxyError::Missing.into());
        for malformed in [
            "TCP4 1.2.3.4 1.2.3.4 1 +1",
            "TCP4 1.2.3.4 1.2.3.4 1 70000",
            "TCP4 ::1 ::1 1 1",
            "TCP5 1.2.3.4 1.2.3.4 1 1",
            "TCP4 1.2.3.4",
            "TCP4 1.2.3.4 1.2.3.4 1 1 1",
        ] {
            assert_eq!(refused(format!("PROXY {malformed}\r\n").as_bytes()), ProxyError::Malformed.into(), "{malformed}");
        }
        assert_eq!(refused(&[b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat()), ProxyError::Malformed.into());
        assert_eq!(refused(&v2(0x11, 0x11, &[])), ProxyError::Malformed.into());
        assert_eq!(refused(&v2(0x21, 0x11, &[1, 2, 3])), ProxyError::Malformed.into());
        assert_eq!(refused(&v2(0x21, 0x21, &[0; 35])), ProxyError::Malformed.into());
        assert_eq!(refused(&v2(0x21, 0x41, &[0; 12])), ProxyError::Malformed.into());
        assert_eq!(refused(&v2(0x21, 0x11, &[0; PROXY_V2_BYTES_MAX + 1])), ProxyError::TooLong.into());
    }

    #[test]
    fn a_longest_header_with_more_in_the_same_read_passes() {
        let header = v2(0x21, 0x11, &[9; PROXY_V2_BYTES_MAX]);
        let bytes = [header.as_slice(), &[7; 10_000]].concat();

        for piece in [bytes.len(), 4_000] {
            assert_eq!(read(&bytes, piece).unwrap().2, [7; 10_000]);
        }
    }
}
