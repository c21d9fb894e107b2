//! Sans-IO layers between raw bytes and the bytes of a protocol.
//!
//! A [`Layer`] stands between a socket and whoever speaks the protocol: what was read goes in on one side and comes out as bytes of the protocol, and
//! the other way round. It holds no socket, so it travels with a connection from one thread to another, and a test drives it with plain arrays.

mod plain;

use thiserror::Error;

pub use plain::Plain;

/// Bytes of the wire on one side, bytes of the protocol on the other.
pub trait Layer {
    /// Takes what was read from the wire and appends what it means to `inward`.
    ///
    /// Bytes that this layer has to answer by itself (a handshake) wait in [`outgoing`](Self::outgoing).
    fn read(&mut self, wire: &[u8], inward: &mut Vec<u8>) -> Result<(), LayerError>;

    /// Takes bytes of the protocol and appends what is to be written to the wire.
    fn write(&mut self, bytes: &[u8], wire: &mut Vec<u8>) -> Result<(), LayerError>;

    /// Appends what the layer wants to write by itself.
    fn outgoing(&mut self, wire: &mut Vec<u8>);

    /// Whether bytes pass unchanged from now on, so that the caller may leave the layer out.
    fn is_transparent(&self) -> bool;
}

/// The other end does not speak what this layer expects.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum LayerError {
    /// What came cannot be understood.
    #[error("the other end does not speak this transport")]
    Malformed,
}
