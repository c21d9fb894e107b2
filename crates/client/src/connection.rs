//! A connection to the server: bytes in and out, through TLS and WebSocket where they are spoken, and nothing that decides.

use std::io;
use std::net::{IpAddr, SocketAddr};

use columba_proto::packet::Packet;
use columba_proto::{PeerError, Version, wire};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::error::{ConnectError, Spoken};
use crate::layers::Layers;
use crate::limits::{READ_BYTES, WRITE_BYTES_MAX};
use crate::options::Options;
use crate::session::Outlet;
use crate::tap::{Direction, Tap, Verdict};

/// Read at once where layers turn it into something else: a TLS record.
const LAYERED_READ_BYTES: usize = 16 << 10;

pub(crate) struct Connection {
    socket: Socket,
    layers: Option<Box<Layers>>,
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

/// A socket of either family.
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    async fn ready(&self, interest: Interest) -> io::Result<tokio::io::Ready> {
        match self {
            Self::Tcp(stream) => stream.ready(interest).await,
            Self::Unix(stream) => stream.ready(interest).await,
        }
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Unix(stream) => stream.try_read(buffer),
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
        }
    }

    async fn shut_down(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => AsyncWriteExt::shutdown(stream).await,
            Self::Unix(stream) => AsyncWriteExt::shutdown(stream).await,
        }
    }
}

impl Connection {
    /// Connects, and shakes hands as the transport wants it.
    pub(crate) async fn open(options: &Options) -> Result<Self, ConnectError> {
        let layers = Layers::new(options)?.map(Box::new);
        let socket = match &options.unix {
            Some(path) => UnixStream::connect(path)
                .await
                .map(Socket::Unix)
                .map_err(|source| ConnectError::Unix { path: path.clone(), source })?,
            None => Socket::Tcp(connect_to(&options.host, options.port, options.bind_address).await?),
        };
        let input = Input::new(options.maximum_packet_size.unwrap_or(wire::FRAME_LEN_MAX));
        let mut connection = Self { socket, layers, input, output: Output::new(options.version) };
        connection.shake().await?;
        Ok(connection)
    }

    async fn shake(&mut self) -> Result<(), ConnectError> {
        let closed = |error| ConnectError::ClosedInHandshake(Some(error));
        let mut buffer = vec![0; LAYERED_READ_BYTES];
        loop {
            let Some(layers) = &mut self.layers else { return Ok(()) };
            if layers.is_open() {
                return Ok(());
            }
            if layers.has_ended() {
                return Err(ConnectError::ClosedInHandshake(None));
            }
            write_layered(&self.socket, layers, &mut self.output).map_err(closed)?;
            let interest = if layers.is_idle() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            self.socket.ready(interest).await.map_err(closed)?;
            let count = match self.socket.try_read(&mut buffer) {
                Ok(0) => return Err(ConnectError::ClosedInHandshake(None)),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(closed(error)),
            };
            if let Err(error) = layers.came(&mut buffer[..count], &mut self.input.bytes) {
                // The server is told why, if it still listens.
                write_layered(&self.socket, layers, &mut self.output).unwrap_or_default();
                return Err(error.into());
            }
        }
    }

    /// Waits until something can be done.
    pub(crate) async fn ready(&self, reading: bool) -> io::Result<Readiness> {
        let has_ended = self.layers.as_ref().is_some_and(|layers| layers.has_ended());
        if reading && has_ended {
            return Ok(Readiness::Readable);
        }
        let interest = match (reading, self.is_written()) {
            (true, true) => Interest::READABLE,
            (true, false) => Interest::READABLE | Interest::WRITABLE,
            (false, false) => Interest::WRITABLE,
            (false, true) => std::future::pending().await,
        };
        let ready = self.socket.ready(interest).await?;
        if ready.is_readable() || ready.is_read_closed() {
            return Ok(Readiness::Readable);
        }
        Ok(Readiness::Writable)
    }

    fn is_written(&self) -> bool {
        self.output.is_empty() && self.layers.as_ref().is_none_or(|layers| layers.is_idle())
    }

    /// Reads what is there; `Ok(false)` at the end of the stream.
    pub(crate) fn read(&mut self) -> io::Result<bool> {
        self.input.make_room();
        if let Some(layers) = &mut self.layers {
            return read_layered(&self.socket, layers, &mut self.input);
        }
        let start = self.input.bytes.len();
        self.input.bytes.resize(start + READ_BYTES, 0);
        let got = self.socket.try_read(&mut self.input.bytes[start..]);
        self.input.bytes.truncate(start + got.as_ref().copied().unwrap_or(0));
        match got {
            Ok(bytes) => Ok(bytes > 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Writes what the socket takes.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        if let Some(layers) = &mut self.layers {
            return write_layered(&self.socket, layers, &mut self.output);
        }
        while !self.output.is_empty() {
            match self.socket.try_write(&self.output.bytes[self.output.written..]) {
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
        while !self.is_written() {
            self.socket.ready(Interest::WRITABLE).await?;
            self.write()?;
        }
        Ok(())
    }

    /// Closes in an orderly way: no reset may overtake what has been written.
    pub(crate) async fn shut_down(mut self) -> io::Result<()> {
        if let Some(layers) = &mut self.layers {
            layers.close();
            self.flush().await?;
        }
        self.socket.shut_down().await?;
        // The server closes when it has read our DISCONNECT.
        loop {
            self.ready(true).await?;
            self.input.bytes.clear();
            self.input.handled = 0;
            if !self.read()? {
                return Ok(());
            }
        }
    }
}

fn read_layered(socket: &Socket, layers: &mut Layers, input: &mut Input) -> io::Result<bool> {
    if layers.has_ended() {
        return Ok(false);
    }
    let mut buffer = [0; LAYERED_READ_BYTES];
    match socket.try_read(&mut buffer) {
        Ok(0) => Ok(false),
        Ok(count) => {
            layers.came(&mut buffer[..count], &mut input.bytes).map_err(io::Error::other)?;
            // What came before the end is handled before the end is told.
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

fn write_layered(socket: &Socket, layers: &mut Layers, output: &mut Output) -> io::Result<()> {
    loop {
        let taken = layers.take(&output.bytes[output.written..])?;
        output.wrote(taken);
        if layers.outward().is_empty() {
            return Ok(());
        }
        match socket.try_write(layers.outward()) {
            Ok(count) => layers.wrote(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

async fn connect_to(host: &str, port: u16, from: Option<IpAddr>) -> Result<TcpStream, ConnectError> {
    let addresses =
        tokio::net::lookup_host((host, port)).await.map_err(|source| ConnectError::Resolve { host: host.to_owned(), source })?;
    let mut failure = None;
    for address in addresses {
        match connect(address, from).await {
            Ok(stream) => return Ok(stream),
            // Where both ::1 and 127.0.0.1 refuse, the address that people know makes the better message.
            Err(source) => failure = Some((address, source)),
        }
    }
    Err(match failure {
        Some((address, source)) => ConnectError::Tcp { address, source },
        None => ConnectError::Resolve { host: host.to_owned(), source: io::ErrorKind::NotFound.into() },
    })
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

    /// What the server speaks where that is not MQTT, by its first bytes.
    pub(crate) fn other_protocol(&self) -> Option<Spoken> {
        match self.bytes.get(self.handled..)? {
            // An alert of TLS (RFC 8446 §5.1): as a packet it would be a CONNECT with flags, which nobody sends.
            [0x15] | [0x15, 0x03, ..] => Some(Spoken::Tls),
            bytes if bytes.starts_with(b"HTTP/") => Some(Spoken::Http),
            _ => None,
        }
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
