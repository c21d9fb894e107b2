//! TLS 1.2 and 1.3 by rustls, without a socket: records in, records out.

mod config;

use std::{fmt, sync::Arc};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, ServerConfig,
    client::UnbufferedClientConnection,
    pki_types::ServerName,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus},
};
use thiserror::Error;

pub use self::config::{
    Client, ClientCertificates, ConfigError, Identity, MinVersion, Server, ServerParts, Trust, client_config, server_config,
};
use crate::{Heard, Layer, LayerError, limits::TLS_HANDSHAKE_BYTES_MAX};

/// What a record adds to what it carries, and more.
const RECORD_OVERHEAD: usize = 64;

/// Plaintext of one record (RFC 8446 §5.1).
const RECORD_PLAINTEXT_MAX: usize = 16 * 1024;

/// One end of a TLS connection.
#[derive(Debug)]
pub struct Tls {
    side: Side,
    /// A record that has not come whole; also the parts of a handshake message that has not.
    partial: Vec<u8>,
    reply: Vec<u8>,
    phase: Phase,
}

enum Side {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// Keys are not shown.
impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server(_) => "Server",
            Self::Client(_) => "Client",
        })
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// So many bytes of the handshake have come.
    Shaking(usize),
    Open,
    /// The other end is done.
    Ended,
    /// The other end has done wrong, and was told.
    Failed,
}

/// Why a TLS connection cannot be, or cannot go on.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum TlsError {
    /// The other end does not speak TLS, or not ours, or its certificate is not accepted.
    #[error("{}", in_words(.0))]
    Failed(Error),
    /// More than anybody's handshake needs.
    #[error("a handshake of more than {TLS_HANDSHAKE_BYTES_MAX} bytes")]
    TooLong,
}

/// What is wrong with the other end's certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CertificateFault {
    /// None of the authorities that are trusted has signed it, nor who signed it.
    Untrusted,
    /// It is for somebody else.
    OtherName {
        /// Whom it should be for.
        wanted: String,
        /// Whom it is for: names, `*.` in front of some, and addresses.
        names: Vec<String>,
    },
    /// Its time is over.
    Expired {
        /// When it ended, in seconds since 1970, where that is known.
        not_after: Option<u64>,
    },
    /// Its time has not come.
    NotYet {
        /// When it begins, in seconds since 1970, where that is known.
        not_before: Option<u64>,
    },
    /// It has been revoked.
    Revoked,
    /// It says that it is an authority's, which is for signing others and not for being shown: what `openssl req -x509` makes where nothing else is asked for.
    Authority,
    /// It is of version 1, without the extensions that name whom it is for. Many an openssl command makes such, and OpenSSL takes them.
    Version1,
    /// Something else.
    Other(String),
}

impl CertificateFault {
    fn of(error: &CertificateError) -> Self {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the words for all the others are the library's, also for those to come"
        )]
        match error {
            // An authority that was made anew has its old name and another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Untrusted,
            CertificateError::NotValidForNameContext { expected, presented } => Self::OtherName {
                wanted: expected.to_str().into_owned(),
                names: presented.iter().map(|name| bare(name)).collect(),
            },
            CertificateError::Expired => Self::Expired { not_after: None },
            CertificateError::ExpiredContext { not_after, .. } => Self::Expired { not_after: Some(not_after.as_secs()) },
            CertificateError::NotValidYet => Self::NotYet { not_before: None },
            CertificateError::NotValidYetContext { not_before, .. } => Self::NotYet { not_before: Some(not_before.as_secs()) },
            CertificateError::Revoked => Self::Revoked,
            // The library's judge of certificates is another one, and has no type here.
            CertificateError::Other(other) => match format!("{other:?}") {
                text if text.contains("CaUsedAsEndEntity") => Self::Authority,
                text if text.contains("UnsupportedCertVersion") => Self::Version1,
                _ => Self::Other(other.to_string()),
            },
            error => Self::Other(error.to_string()),
        }
    }
}

/// `DnsName("a.example")` and `IpAddress(10.0.0.1)` without what stands around the name.
fn bare(name: &str) -> String {
    let inside = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inside.trim_matches('"').to_owned()
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted => f.write_str("the other end's certificate is signed by none of the known authorities"),
            Self::OtherName { wanted, names } if names.is_empty() => {
                write!(f, "the other end's certificate is for nobody, not for {wanted}")
            }
            Self::OtherName { wanted, names } => {
                write!(f, "the other end's certificate is for {}, not for {wanted}", names.join(" and "))
            }
            Self::Expired { .. } => f.write_str("the other end's certificate has expired"),
            Self::NotYet { .. } => f.write_str("the other end's certificate is not valid yet"),
            Self::Revoked => f.write_str("the other end's certificate has been revoked"),
            Self::Authority => f.write_str("the other end shows an authority's certificate as its own"),
            Self::Version1 => f.write_str(
                "the other end's certificate is of version 1, without extensions; make it anew with some (openssl x509 -req -extfile FILE)",
            ),
            Self::Other(words) => write!(f, "the other end's certificate does not do: {words}"),
        }
    }
}

impl TlsError {
    /// What is wrong with the other end's certificate, where that is it.
    pub fn certificate(&self) -> Option<CertificateFault> {
        match self {
            Self::Failed(Error::InvalidCertificate(error)) => Some(CertificateFault::of(error)),
            Self::Failed(_) | Self::TooLong => None,
        }
    }

    /// Whether what the other end has said is no TLS at all.
    pub fn is_not_tls(&self) -> bool {
        matches!(self, Self::Failed(Error::InvalidMessage(_)))
    }

    /// Whether the other end wants a certificate, and got none.
    pub fn is_certificate_wanted(&self) -> bool {
        matches!(self, Self::Failed(Error::AlertReceived(AlertDescription::CertificateRequired)))
    }
}

/// What the library says, and more where that would lead nowhere.
fn in_words(error: &Error) -> String {
    if let Error::InvalidCertificate(error) = error { CertificateFault::of(error).to_string() } else { error.to_string() }
}

/// What one look at the records brought.
struct Step {
    /// Bytes that are done with.
    used: usize,
    next: Result<Next, Error>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    /// Look once more.
    Again,
    /// More records have to come.
    Blocked,
    /// More records may come, and ours may go.
    Open,
    /// The other end sends no more.
    Ended,
}

impl Tls {
    /// The end that was connected to.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        UnbufferedServerConnection::new(config).map(|server| Self::new(Side::Server(Box::new(server)))).map_err(TlsError::Failed)
    }

    /// The end that connects; its first words wait in [`outgoing`](Layer::outgoing).
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, TlsError> {
        let client = UnbufferedClientConnection::new(config, name).map_err(TlsError::Failed)?;
        let mut tls = Self::new(Side::Client(Box::new(client)));
        tls.handle(&mut [], &mut Vec::new())?;
        Ok(tls)
    }

    fn new(side: Side) -> Self {
        Self { side, partial: Vec::new(), reply: Vec::new(), phase: Phase::Shaking(0) }
    }

    /// The other end's own certificate in DER, where it has shown one and it was accepted.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        let chain = match &self.side {
            Side::Server(server) => server.peer_certificates(),
            Side::Client(client) => client.peer_certificates(),
        };
        chain?.first().map(AsRef::as_ref)
    }

    /// Handles all whole records of `bytes`; the answer is how many bytes they had.
    fn handle(&mut self, bytes: &mut [u8], inward: &mut Vec<u8>) -> Result<usize, TlsError> {
        let mut used = 0;
        loop {
            let step = match &mut self.side {
                Side::Server(server) => step(server.process_tls_records(&mut bytes[used..]), inward, &mut self.reply),
                Side::Client(client) => step(client.process_tls_records(&mut bytes[used..]), inward, &mut self.reply),
            };
            used += step.used;
            let next = match step.next {
                Ok(next) => next,
                Err(error) => return Err(self.fail(error, &mut bytes[used..])),
            };
            match next {
                Next::Again => {}
                Next::Blocked => return Ok(used),
                Next::Open => {
                    if matches!(self.phase, Phase::Shaking(_)) {
                        self.phase = Phase::Open;
                    }
                    return Ok(used);
                }
                Next::Ended => {
                    self.phase = Phase::Ended;
                    return Ok(used);
                }
            }
        }
    }

    /// Takes what the library wants to say of it. It says that before it looks at `left`, which it must not judge twice.
    fn fail(&mut self, error: Error, left: &mut [u8]) -> TlsError {
        self.phase = Phase::Failed;
        loop {
            let said = match &mut self.side {
                Side::Server(server) if server.wants_write() => {
                    step(server.process_tls_records(left), &mut Vec::new(), &mut self.reply)
                }
                Side::Client(client) if client.wants_write() => {
                    step(client.process_tls_records(left), &mut Vec::new(), &mut self.reply)
                }
                Side::Server(_) | Side::Client(_) => return TlsError::Failed(error),
            };
            if said.next.is_err() {
                return TlsError::Failed(error);
            }
        }
    }
}

fn step<Data>(status: UnbufferedStatus<'_, '_, Data>, inward: &mut Vec<u8>, reply: &mut Vec<u8>) -> Step {
    let mut used = status.discard;
    let next = status.state.and_then(|state| advance(state, &mut used, inward, reply));
    Step { used, next }
}

fn advance<Data>(
    state: ConnectionState<'_, '_, Data>,
    used: &mut usize,
    inward: &mut Vec<u8>,
    reply: &mut Vec<u8>,
) -> Result<Next, Error> {
    match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                *used += record.discard;
                inward.extend_from_slice(record.payload);
            }
            Ok(Next::Again)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            append(reply, RECORD_OVERHEAD, |room| Ok(data.encode(room)?))?;
            Ok(Next::Again)
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Next::Again)
        }
        ConnectionState::BlockedHandshake => Ok(Next::Blocked),
        ConnectionState::WriteTraffic(_) => Ok(Next::Open),
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Next::Ended),
        // Early data is not offered.
        ConnectionState::ReadEarlyData(_) | _ => Err(Error::General("early data was not offered".into())),
    }
}

/// Why something was not written into the room it was given.
enum TooSmall {
    For(InsufficientSizeError),
    Never,
}

impl From<EncodeError> for TooSmall {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(size) => Self::For(size),
            EncodeError::AlreadyEncoded => Self::Never,
        }
    }
}

impl From<EncryptError> for TooSmall {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(size) => Self::For(size),
            EncryptError::EncryptExhausted => Self::Never,
        }
    }
}

/// Appends what `write` makes, with as much room as it turns out to need.
fn append(out: &mut Vec<u8>, expected: usize, mut write: impl FnMut(&mut [u8]) -> Result<usize, TooSmall>) -> Result<(), Error> {
    let start = out.len();
    let mut room = expected;
    loop {
        out.resize(start + room, 0);
        match write(&mut out[start..]) {
            Ok(len) => {
                out.truncate(start + len);
                return Ok(());
            }
            Err(TooSmall::For(size)) if size.required_size > room => room = size.required_size,
            Err(TooSmall::For(_) | TooSmall::Never) => {
                out.truncate(start);
                return Err(Error::EncryptError);
            }
        }
    }
}

/// What is said behind an open handshake.
enum Say<'a> {
    Bytes(&'a [u8]),
    Close,
}

fn say<Data>(status: UnbufferedStatus<'_, '_, Data>, what: &Say<'_>, wire: &mut Vec<u8>) -> Result<bool, Error> {
    match status.state? {
        ConnectionState::WriteTraffic(mut traffic) => {
            match what {
                Say::Bytes(bytes) => {
                    let records = bytes.len().div_ceil(RECORD_PLAINTEXT_MAX);
                    let room = bytes.len() + records * RECORD_OVERHEAD;
                    append(wire, room, |room| Ok(traffic.encrypt(bytes, room)?))?;
                }
                Say::Close => append(wire, RECORD_OVERHEAD, |room| Ok(traffic.queue_close_notify(room)?))?,
            }
            Ok(true)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            append(wire, RECORD_OVERHEAD, |room| Ok(data.encode(room)?))?;
            Ok(false)
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(false)
        }
        ConnectionState::PeerClosed => Ok(false),
        ConnectionState::Closed
        | ConnectionState::BlockedHandshake
        | ConnectionState::ReadTraffic(_)
        | ConnectionState::ReadEarlyData(_)
        | _ => Err(Error::HandshakeNotComplete),
    }
}

impl Tls {
    fn say(&mut self, what: &Say<'_>, wire: &mut Vec<u8>) -> Result<(), TlsError> {
        loop {
            // What has come in parts stays where the library has seen it.
            let said = match &mut self.side {
                Side::Server(server) => say(server.process_tls_records(&mut self.partial), what, wire),
                Side::Client(client) => say(client.process_tls_records(&mut self.partial), what, wire),
            };
            if said.map_err(TlsError::Failed)? {
                return Ok(());
            }
        }
    }
}

impl Layer for Tls {
    fn read(&mut self, wire: &mut [u8], inward: &mut Vec<u8>) -> Result<Heard, LayerError> {
        match &mut self.phase {
            Phase::Shaking(received) => *received += wire.len(),
            Phase::Open => {}
            Phase::Ended | Phase::Failed => return Ok(Heard::End),
        }
        if self.partial.is_empty() {
            let used = self.handle(wire, inward)?;
            self.partial.extend_from_slice(&wire[used..]);
        } else {
            let mut partial = std::mem::take(&mut self.partial);
            partial.extend_from_slice(wire);
            let used = self.handle(&mut partial, inward)?;
            if used < partial.len() {
                partial.drain(..used);
                self.partial = partial;
            }
        }
        match self.phase {
            Phase::Shaking(received) if received > TLS_HANDSHAKE_BYTES_MAX => Err(TlsError::TooLong.into()),
            Phase::Shaking(_) | Phase::Open => Ok(Heard::More),
            Phase::Ended | Phase::Failed => Ok(Heard::End),
        }
    }

    fn write(&mut self, bytes: &[u8], wire: &mut Vec<u8>) -> Result<(), LayerError> {
        self.outgoing(wire);
        Ok(self.say(&Say::Bytes(bytes), wire)?)
    }

    fn outgoing(&mut self, wire: &mut Vec<u8>) {
        wire.append(&mut self.reply);
        self.reply = Vec::new();
    }

    fn has_outgoing(&self) -> bool {
        !self.reply.is_empty()
    }

    fn close(&mut self, wire: &mut Vec<u8>) {
        self.outgoing(wire);
        if self.is_open() || self.phase == Phase::Ended {
            // Where the library has nothing to say any more, the end of the stream says it.
            self.say(&Say::Close, wire).unwrap_or_default();
        }
    }

    fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    fn is_transparent(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
