//! What stands between the socket and MQTT, and the bytes that are on their way through.

use std::io;
use std::sync::Arc;

use columba_net::limits::WRITE_BYTES_MAX;
use columba_net::tls::Tls;
use columba_net::websocket::WebSocket;
use columba_net::{Heard, LayerError, Scratch, Stack};

use crate::error::ConnectError;
use crate::options::Options;
use crate::security::Inside;

pub(crate) struct Layers {
    stack: Stack,
    scratch: Scratch,
    outward: Vec<u8>,
    written: usize,
    /// The other end has said that nothing follows.
    has_ended: bool,
}

impl Layers {
    /// Those that the options name, if any.
    pub(crate) fn new(options: &Options) -> Result<Option<Self>, ConnectError> {
        let inside = if options.web_socket.is_some() { Inside::WebSocket } else { Inside::Mqtt };
        let tls = options.tls.as_ref().map(|tls| {
            let name = options.host.clone().try_into().map_err(|_| ConnectError::ServerName(options.host.clone()))?;
            Tls::client(Arc::clone(&tls.config(inside)), name).map_err(|error| ConnectError::Layer(error.into()))
        });
        let tls = tls.transpose()?;
        let usual = if tls.is_some() { 443 } else { 80 };
        let host = if options.host.contains(':') { format!("[{}]", options.host) } else { options.host.clone() };
        let host = if options.port == usual { host } else { format!("{host}:{}", options.port) };
        let web = options.web_socket.as_ref().map(|path| WebSocket::client(&host, path));
        if tls.is_none() && web.is_none() {
            return Ok(None);
        }
        let stack = Stack::new(None, tls, web);
        Ok(Some(Self { stack, scratch: Scratch::default(), outward: Vec::new(), written: 0, has_ended: false }))
    }

    /// Whether MQTT can be spoken.
    pub(crate) fn is_open(&self) -> bool {
        self.stack.is_open()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// What came from the wire; what it means is appended to `inward`.
    pub(crate) fn came(&mut self, wire: &mut [u8], inward: &mut Vec<u8>) -> Result<(), LayerError> {
        let heard = self.stack.read(wire, inward, &mut self.scratch);
        // Also after an error, which it explains to the other end.
        self.stack.outgoing(&mut self.outward, &mut self.scratch)?;
        self.has_ended |= heard? == Heard::End;
        Ok(())
    }

    /// Takes bytes of MQTT where all of those before are written; the answer is how many.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stack.outgoing(&mut self.outward, &mut self.scratch).map_err(io::Error::other)?;
        if !self.is_idle() || bytes.is_empty() {
            return Ok(0);
        }
        let taken = &bytes[..bytes.len().min(WRITE_BYTES_MAX)];
        self.stack.write(taken, &mut self.outward, &mut self.scratch).map_err(io::Error::other)?;
        Ok(taken.len())
    }

    /// Says that nothing follows.
    pub(crate) fn close(&mut self) {
        self.stack.close(&mut self.outward, &mut self.scratch);
    }

    /// What is to be written to the wire.
    pub(crate) fn outward(&self) -> &[u8] {
        &self.outward[self.written..]
    }

    pub(crate) fn wrote(&mut self, count: usize) {
        self.written += count;
        if self.written == self.outward.len() {
            self.outward.clear();
            self.outward.shrink_to(2 * WRITE_BYTES_MAX);
            self.written = 0;
        }
    }

    /// Whether nothing is to be written.
    pub(crate) fn is_idle(&self) -> bool {
        self.outward.is_empty() && !self.stack.has_outgoing()
    }
}
