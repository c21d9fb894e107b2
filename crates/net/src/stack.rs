//! What one connection has of layers, from the wire inwards: PROXY protocol, TLS, WebSocket.

use std::net::SocketAddr;

use crate::{Heard, Layer, LayerError, proxy::Proxy, tls::Tls, websocket::WebSocket};

/// The layers of one connection. None at all: bytes pass unchanged.
#[derive(Debug, Default)]
pub struct Stack {
    proxy: Option<Proxy>,
    tls: Option<Tls>,
    web: Option<WebSocket>,
}

/// Bytes between two layers, one for all stacks of a thread: it is empty between two calls, and keeps its memory.
#[derive(Debug, Default)]
pub struct Scratch {
    outer: Vec<u8>,
    inner: Vec<u8>,
}

impl Scratch {
    /// Gives back memory beyond `bytes` for each of its buffers.
    pub fn shrink_to(&mut self, bytes: usize) {
        for buffer in [&mut self.outer, &mut self.inner] {
            buffer.clear();
            buffer.shrink_to(bytes);
        }
    }
}

impl Stack {
    /// A stack of these.
    pub fn new(proxy: Option<Proxy>, tls: Option<Tls>, web: Option<WebSocket>) -> Self {
        Self { proxy, tls, web }
    }

    /// Takes what was read from the wire and appends bytes of the protocol to `inward`. What stands in `wire` afterwards means nothing.
    ///
    /// What was understood before an error stands in `inward`, too.
    pub fn read(&mut self, wire: &mut [u8], inward: &mut Vec<u8>, scratch: &mut Scratch) -> Result<Heard, LayerError> {
        let Scratch { outer, inner } = scratch;
        let Some(proxy) = self.proxy.as_mut().filter(|proxy| !proxy.is_transparent()) else {
            return self.read_inside(wire, inward, inner);
        };
        outer.clear();
        proxy.read(wire, outer)?;
        self.read_inside(outer, inward, inner)
    }

    fn read_inside(&mut self, wire: &mut [u8], inward: &mut Vec<u8>, between: &mut Vec<u8>) -> Result<Heard, LayerError> {
        if wire.is_empty() {
            return Ok(Heard::More);
        }
        match (&mut self.tls, &mut self.web) {
            (None, None) => {
                inward.extend_from_slice(wire);
                Ok(Heard::More)
            }
            (Some(tls), None) => tls.read(wire, inward),
            (None, Some(web)) => web.read(wire, inward),
            (Some(tls), Some(web)) => {
                between.clear();
                let heard = tls.read(wire, between);
                if between.is_empty() {
                    return heard;
                }
                match web.read(between, inward)? {
                    Heard::More => heard,
                    Heard::End => Ok(Heard::End),
                }
            }
        }
    }

    /// Takes bytes of the protocol and appends what is to be written to the wire.
    pub fn write(&mut self, bytes: &[u8], wire: &mut Vec<u8>, scratch: &mut Scratch) -> Result<(), LayerError> {
        match (&mut self.tls, &mut self.web) {
            (None, None) => wire.extend_from_slice(bytes),
            (Some(tls), None) => tls.write(bytes, wire)?,
            (None, Some(web)) => web.write(bytes, wire)?,
            (Some(tls), Some(web)) => {
                scratch.inner.clear();
                web.write(bytes, &mut scratch.inner)?;
                tls.write(&scratch.inner, wire)?;
            }
        }
        Ok(())
    }

    /// Appends what the layers want to say by themselves.
    pub fn outgoing(&mut self, wire: &mut Vec<u8>, scratch: &mut Scratch) -> Result<(), LayerError> {
        match (&mut self.tls, &mut self.web) {
            (None, None) => {}
            (Some(tls), None) => tls.outgoing(wire),
            (None, Some(web)) => web.outgoing(wire),
            (Some(tls), Some(web)) => {
                tls.outgoing(wire);
                // A client's request waits for the handshake outside.
                if tls.is_open() && web.has_outgoing() {
                    scratch.inner.clear();
                    web.outgoing(&mut scratch.inner);
                    tls.write(&scratch.inner, wire)?;
                }
            }
        }
        Ok(())
    }

    /// Whether [`outgoing`](Self::outgoing) has anything now.
    pub fn has_outgoing(&self) -> bool {
        let (tls, tls_is_open) = self.tls.as_ref().map_or((false, true), |tls| (tls.has_outgoing(), tls.is_open()));
        tls || (tls_is_open && self.web.as_ref().is_some_and(WebSocket::has_outgoing))
    }

    /// Appends the last words of all layers: also what is wrong, after an error.
    pub fn close(&mut self, wire: &mut Vec<u8>, scratch: &mut Scratch) {
        match (&mut self.tls, &mut self.web) {
            (None, None) => {}
            (Some(tls), None) => tls.close(wire),
            (None, Some(web)) => web.close(wire),
            (Some(tls), Some(web)) => {
                scratch.inner.clear();
                web.close(&mut scratch.inner);
                if tls.is_open() && !scratch.inner.is_empty() {
                    // Where that fails, the end of the stream says it.
                    tls.write(&scratch.inner, wire).unwrap_or_default();
                }
                tls.close(wire);
            }
        }
    }

    /// Whether all handshakes are over.
    pub fn is_open(&self) -> bool {
        self.proxy.as_ref().is_none_or(Layer::is_open)
            && self.tls.as_ref().is_none_or(Layer::is_open)
            && self.web.as_ref().is_none_or(Layer::is_open)
    }

    /// Whether bytes pass unchanged from now on.
    pub fn is_transparent(&self) -> bool {
        self.tls.is_none()
            && self.proxy.as_ref().is_none_or(Layer::is_transparent)
            && self.web.as_ref().is_none_or(Layer::is_transparent)
    }

    /// For whom a proxy speaks, once it has said so.
    pub fn source(&self) -> Option<SocketAddr> {
        self.proxy.as_ref().and_then(Proxy::source)
    }

    /// The other end's certificate in DER, where it has shown one and it was accepted.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.tls.as_ref().and_then(Tls::peer_certificate)
    }
}
