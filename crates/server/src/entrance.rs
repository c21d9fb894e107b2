//! What a connection of a listener goes through before it speaks MQTT, and what is known of it behind that.

use std::{fmt, net::SocketAddr, sync::Arc};

use columba_net::{
    LayerError, Stack,
    proxy::Proxy,
    tls::Tls,
    websocket::{Policy, WebSocket},
    x509,
};
use thiserror::Error;

use crate::{
    certificates::{CertificateError, Certificates},
    config::{Identity, Listener, Network},
};

/// One listener's way in.
#[derive(Debug)]
pub(crate) struct Entrance {
    certificates: Option<Arc<Certificates>>,
    web: Option<(Arc<Policy>, Web)>,
    proxies: Option<Vec<Network>>,
    identity: Identity,
}

/// Whether everybody has to speak WebSocket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Web {
    Only,
    BesideMqtt,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Address {
    /// Somewhere.
    Net(SocketAddr),
    /// A process of this machine, over a Unix socket.
    Local { pid: i32, uid: u32 },
}

/// Why somebody does not get in.
#[derive(Debug, Error)]
pub(crate) enum NoEntrance {
    /// Not one of the proxies.
    #[error("only the proxies of proxy_trust may connect here")]
    NoProxy,
    /// TLS cannot be begun.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The certificate does not say who it is.
    #[error("the client's certificate has no name that could be a user name")]
    Nameless,
}

impl Entrance {
    /// Reads what the listener needs.
    pub(crate) fn new(listener: &Listener) -> Result<Self, CertificateError> {
        let certificates = listener.has_tls().then(|| Certificates::read(listener).map(Arc::new)).transpose()?;
        let web = listener.has_web_sockets().then(|| {
            let policy = Policy { path: listener.web.path.clone(), origins: listener.web.origins.clone() };
            (Arc::new(policy), if listener.web.beside_mqtt { Web::BesideMqtt } else { Web::Only })
        });
        Ok(Self { certificates, web, proxies: listener.proxies.clone(), identity: listener.tls.identity })
    }

    /// The certificates to watch, where there are any.
    pub(crate) fn certificates(&self) -> Option<&Arc<Certificates>> {
        self.certificates.as_ref()
    }

    /// What stands between the socket of a new connection and MQTT; `None`: nothing.
    pub(crate) fn stack(&self, from: &Address) -> Result<Option<Stack>, NoEntrance> {
        if let (Some(proxies), Address::Net(from)) = (&self.proxies, from)
            && !proxies.iter().any(|proxy| proxy.contains(from.ip()))
        {
            return Err(NoEntrance::NoProxy);
        }
        let proxy = self.proxies.is_some().then(Proxy::default);
        let tls = self.certificates.as_ref().map(|certificates| Tls::server(certificates.config()));
        let tls = tls.transpose().map_err(LayerError::Tls)?;
        let web = self.web.as_ref().map(|(policy, web)| match web {
            Web::Only => WebSocket::server(Arc::clone(policy)),
            Web::BesideMqtt => WebSocket::server_or_plain(Arc::clone(policy)),
        });
        let is_plain = proxy.is_none() && tls.is_none() && web.is_none();
        Ok((!is_plain).then(|| Stack::new(proxy, tls, web)))
    }

    /// The user name that a certificate gives, where the listener wants that and one was shown.
    pub(crate) fn identity(&self, stack: &Stack) -> Result<Option<Box<str>>, NoEntrance> {
        let name = match (self.identity, stack.peer_certificate()) {
            (Identity::None, _) | (_, None) => return Ok(None),
            (Identity::CommonName, Some(certificate)) => x509::common_name(certificate),
            (Identity::Subject, Some(certificate)) => x509::subject(certificate),
        };
        name.map(|name| Some(name.into_boxed_str())).ok_or(NoEntrance::Nameless)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(address) => address.fmt(f),
            Self::Local { pid, uid } => write!(f, "unix:pid={pid},uid={uid}"),
        }
    }
}
