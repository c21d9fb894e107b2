//! A TCP connection to the server: bytes in and out, and nothing that decides.

use std::io;
use std::net::{IpAddr, SocketAddr};

use columba_proto::packet::Packet;
use columba_proto::{PeerError, Version, wire};
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};

use crate::error::ConnectError;
use crate::limits::{READ_BYTES, WRITE_BYTES_MAX};
use crate::session::Outlet;
use crate::tap::{Direction, Tap, Verdict};

pub(crate) struct Connection {
    stream: TcpStream,
    pub(crate) input: Input,
    pub(crate) output: Output,
}

/// What has been read and not yet handled.
pub(crate) struct Input {
    bytes: Vec<u8>,
    handled: usize,
    max_packet_size: u32,
}

/// What has been encoded and not yet written.
pub(crate) struct Output {
    version: Version,
    bytes: Vec<u8>,
    written: usize,
    /// A planted fault ends the connection when this is written.
    is_cut: bool,
    packets: u64,
}

/// What may happen next on the socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Readiness {
    /// There is something to read, or the end.
    Readable,
    /// There is room to write.
    Writable,
}

/// A whole packet in the read buffer.
pub(crate) struct Frame<'a> {
    pub(crate) first: u8,
    pub(crate) body: &'a [u8],
    /// Bytes to say back to [`Input::handled`].
    pub(crate) len: usize,
}

impl Connection {
    pub(crate) async fn open(
        host: &str,
        port: u16,
        from: Option<IpAddr>,
        version: Version,
        max_packet_size: Option<u32>,
    ) -> Result<Self, ConnectError> {
        let addresses = tokio::net::lookup_host((host, port))
            .await
            .map_err(|source| ConnectError::Resolve { host: host.to_owned(), source })?;
        let mut failure = None;
        for address in addresses {
            match connect(address, from).await {
                Ok(stream) => {
                    return Ok(Self {
                        stream,
                        input: Input::new(max_packet_size.unwrap_or(wire::FRAME_LEN_MAX)),
                        output: Output::new(version),
                    });
                }
                // Where both ::1 and 127.0.0.1 refuse, the address that people know makes the better message.
                Err(source) => failure = Some((address, source)),
            }
        }
        Err(match failure {
            Some((address, source)) => ConnectError::Tcp { address, source },
            None => ConnectError::Resolve { host: host.to_owned(), source: io::ErrorKind::NotFound.into() },
        })
    }

    /// Waits until something can be done.
    pub(crate) async fn ready(&self, reading: bool) -> io::Result<Readiness> {
        let interest = match (reading, self.output.is_empty()) {
            (true, true) => Interest::READABLE,
            (true, false) => Interest::READABLE | Interest::WRITABLE,
            (false, false) => Interest::WRITABLE,
            (false, true) => std::future::pending().await,
        };
        let ready = self.stream.ready(interest).await?;
        if ready.is_readable() || ready.is_read_closed() {
            return Ok(Readiness::Readable);
        }
        Ok(Readiness::Writable)
    }

    /// Reads what is there; `Ok(false)` at the end of the stream.
    pub(crate) fn read(&mut self) -> io::Result<bool> {
        self.input.make_room();
        let start = self.input.bytes.len();
        self.input.bytes.resize(start + READ_BYTES, 0);
        let got = self.stream.try_read(&mut self.input.bytes[start..]);
        self.input.bytes.truncate(start + got.as_ref().copied().unwrap_or(0));
        match got {
            Ok(bytes) => Ok(bytes > 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Writes what the socket takes.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.try_write(&self.output.bytes[self.output.written..]) {
                Ok(bytes) => self.output.wrote(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes everything.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.write()?;
        while !self.output.is_empty() {
            self.stream.writable().await?;
            self.write()?;
        }
        Ok(())
    }

    /// Closes in an orderly way: no reset may overtake what has been written.
    pub(crate) async fn shut_down(mut self) -> io::Result<()> {
        tokio::io::AsyncWriteExt::shutdown(&mut self.stream).await?;
        // The server closes when it has read our DISCONNECT.
        loop {
            self.stream.readable().await?;
            self.input.bytes.clear();
            self.input.handled = 0;
            if !self.read()? {
                return Ok(());
            }
        }
    }
}

async fn connect(address: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Input {
    fn new(max_packet_size: u32) -> Self {
        Self { bytes: Vec::new(), handled: 0, max_packet_size }
    }

    /// The next frame, if all of it is there.
    pub(crate) fn frame(&self) -> Result<Option<Frame<'_>>, PeerError> {
        match wire::split(&self.bytes[self.handled..], self.max_packet_size)? {
            wire::Split::Need => Ok(None),
            wire::Split::Frame { first, body, len } => Ok(Some(Frame { first, body, len })),
        }
    }

    /// The first byte that has not been handled.
    pub(crate) fn first(&self) -> Option<u8> {
        self.bytes.get(self.handled).copied()
    }

    pub(crate) fn handled(&mut self, len: usize) {
        self.handled += len;
    }

    fn make_room(&mut self) {
        if self.handled > 0 {
            self.bytes.drain(..self.handled);
            self.handled = 0;
            // The memory of a large message is not kept for the small ones behind it.
            if self.bytes.len() < READ_BYTES {
                self.bytes.shrink_to(2 * READ_BYTES);
            }
        }
    }
}

impl Output {
    fn new(version: Version) -> Self {
        Self { version, bytes: Vec::new(), written: 0, is_cut: false, packets: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    pub(crate) fn cut(&mut self) {
        self.is_cut = true;
    }

    /// Packets sent so far.
    pub(crate) fn packets(&self) -> u64 {
        self.packets
    }

    fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        if self.is_empty() {
            self.bytes.clear();
            self.written = 0;
        }
    }
}

/// Where the session's packets go: past the tap, into the buffer.
pub(crate) struct Wire<'a> {
    pub(crate) output: &'a mut Output,
    pub(crate) tap: &'a mut Tap,
}

impl Outlet for Wire<'_> {
    fn send(&mut self, packet: &Packet<'_>) {
        let output = &mut *self.output;
        if output.is_cut {
            return;
        }
        output.packets += 1;
        let verdict = self.tap.judge(Direction::Send, packet);
        if matches!(verdict, Verdict::Keep | Verdict::CutAfter) {
            let encoded = packet.encode(output.version, &mut output.bytes);
            debug_assert!(encoded.is_ok(), "the session measures a PUBLISH before it begins an exchange");
        }
        output.is_cut = matches!(verdict, Verdict::CutBefore | Verdict::CutAfter);
    }

    fn has_room(&self) -> bool {
        self.output.bytes.len() < WRITE_BYTES_MAX && !self.output.is_cut
    }
}
