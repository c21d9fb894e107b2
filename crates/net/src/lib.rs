//! Sans-IO layers between raw bytes and the bytes of a protocol.
//!
//! A [`Layer`] stands between a socket and whoever speaks the protocol: what was read goes in on one side and comes out as bytes of the protocol, and
//! the other way round. It holds no socket, so it travels with a connection from one thread to another, and a test drives it with plain arrays. A [`Stack`]
//! is what one connection has of them: PROXY protocol, TLS and WebSocket, in this order from the wire.

pub mod limits;
mod plain;
pub mod proxy;
mod stack;
pub mod tls;
pub mod websocket;
pub mod x509;

use thiserror::Error;

pub use plain::Plain;
pub use stack::{Scratch, Stack};

/// Bytes of the wire on one side, bytes of the protocol on the other.
pub trait Layer {
    /// Takes what was read from the wire and appends what it means to `inward`; what stands in `wire` afterwards means nothing.
    ///
    /// Bytes that this layer has to answer by itself (a handshake) wait in [`outgoing`](Self::outgoing), also after an error: they say what is wrong.
    fn read(&mut self, wire: &mut [u8], inward: &mut Vec<u8>) -> Result<Heard, LayerError>;

    /// Takes bytes of the protocol and appends what is to be written to the wire. Before the layer [`is_open`](Self::is_open) there is nothing to say.
    fn write(&mut self, bytes: &[u8], wire: &mut Vec<u8>) -> Result<(), LayerError>;

    /// Appends what the layer wants to write by itself.
    fn outgoing(&mut self, wire: &mut Vec<u8>);

    /// Whether [`outgoing`](Self::outgoing) has anything.
    fn has_outgoing(&self) -> bool;

    /// Appends what says that nothing more is written.
    fn close(&mut self, wire: &mut Vec<u8>);

    /// Whether its handshake is over.
    fn is_open(&self) -> bool;

    /// Whether bytes pass unchanged from now on, so that the caller may leave the layer out.
    fn is_transparent(&self) -> bool;
}

/// What may follow behind what was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heard {
    /// More.
    More,
    /// Nothing: the other end has said that it is done.
    End,
}

/// The other end does not speak what this layer expects.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum LayerError {
    /// The TLS handshake failed, or a record was not genuine.
    #[error("TLS: {0}")]
    Tls(#[from] tls::TlsError),
    /// Not a WebSocket handshake that can be answered, or not a frame that may come.
    #[error("WebSocket: {0}")]
    WebSocket(#[from] websocket::WebSocketError),
    /// No header of the PROXY protocol where there must be one.
    #[error("PROXY protocol: {0}")]
    Proxy(#[from] proxy::ProxyError),
}
