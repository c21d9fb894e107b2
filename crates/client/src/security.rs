//! TLS of a connection: which servers are good, and who we are.

use std::sync::Arc;

use columba_net::tls::{self, ConfigError, Identity, Trust};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

/// What connections in TLS are made with; cheap to clone.
#[derive(Clone, Debug)]
pub struct Tls {
    /// By what is spoken inside: ALPN names it.
    mqtt: Arc<ClientConfig>,
    web: Arc<ClientConfig>,
}

/// Which servers are good.
#[derive(Clone, Debug, Default)]
pub enum Roots {
    /// Those whose authorities this machine trusts.
    #[default]
    System,
    /// Those of these authorities alone, PEM.
    Pem(Vec<u8>),
    /// Every one, whoever it is: whoever stands between reads and writes along.
    Anybody,
}

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsSetupError {
    /// This machine names no authority.
    #[error("this machine has no certificates of authorities")]
    NoSystemRoots,
    /// The authorities' certificates do not do.
    #[error("the authorities: {0}")]
    Roots(#[source] ConfigError),
    /// Our certificate or its key does not do.
    #[error("the client's certificate: {0}")]
    Identity(#[source] ConfigError),
}

impl Tls {
    /// With these authorities, and as nobody or as the owner of a certificate with its key, both PEM.
    pub fn new(roots: &Roots, identity: Option<(&[u8], &[u8])>) -> Result<Self, TlsSetupError> {
        let roots = match roots {
            Roots::System => Some(system_roots()?),
            Roots::Pem(text) => Some(Trust::roots(text).map_err(TlsSetupError::Roots)?),
            Roots::Anybody => None,
        };
        let identity = identity.map(|(chain, key)| Identity { chain, key });
        let config = |protocol: &str| {
            tls::client_config(&tls::Client { roots: roots.clone(), identity, protocols: &[protocol] })
                .map_err(TlsSetupError::Identity)
        };
        Ok(Self { mqtt: config("mqtt")?, web: config("http/1.1")? })
    }

    pub(crate) fn config(&self, inside: Inside) -> Arc<ClientConfig> {
        Arc::clone(match inside {
            Inside::Mqtt => &self.mqtt,
            Inside::WebSocket => &self.web,
        })
    }
}

/// What is spoken inside TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Inside {
    Mqtt,
    WebSocket,
}

/// A certificate that this machine has and nobody understands is passed over, as everybody does it.
fn system_roots() -> Result<RootCertStore, TlsSetupError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 { Err(TlsSetupError::NoSystemRoots) } else { Ok(roots) }
}
