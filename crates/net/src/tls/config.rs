//! From certificates, keys and lists of revoked certificates in PEM to what a TLS connection is made with.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
    server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};
use thiserror::Error;

use crate::{limits::AUTHORITY_NAMES_BYTES_MAX, x509};

/// A certificate with what led to it, and its key: both PEM.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The certificate first, then those between it and the root.
    pub chain: &'a [u8],
    /// PKCS#8, PKCS#1 or SEC1; not encrypted.
    pub key: &'a [u8],
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default)]
pub enum ClientCertificates<'a> {
    /// They are not asked.
    #[default]
    NotAsked,
    /// They may; one that is shown must be good.
    Optional(Trust<'a>),
    /// Nobody comes in without.
    Required(Trust<'a>),
}

/// Whose certificates are good.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trust<'a> {
    /// The authorities' certificates, PEM.
    pub roots: &'a [u8],
    /// Lists of what they have revoked, PEM. Where there are any, each client certificate's issuer must have one, and one that is not out of date.
    pub revoked: Option<&'a [u8]>,
}

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum MinVersion {
    /// TLS 1.2, RFC 5246.
    #[default]
    Tls12,
    /// TLS 1.3, RFC 8446.
    Tls13,
}

/// What a listener's TLS is made of.
#[derive(Clone, Copy, Debug)]
pub struct ServerParts<'a> {
    /// Who we are.
    pub identity: Identity<'a>,
    /// Who they are.
    pub clients: ClientCertificates<'a>,
    /// Protocols inside, by their ALPN names; clients that name none are taken, too.
    pub protocols: &'a [&'a str],
    /// The oldest version.
    pub min_version: MinVersion,
}

/// A listener's TLS, and what is to be said of its certificate.
#[derive(Clone, Debug)]
pub struct Server {
    /// For each new connection.
    pub config: Arc<ServerConfig>,
    /// Seconds since 1970 until which our certificate is good.
    pub not_after: u64,
    /// Its subject.
    pub subject: Option<String>,
}

/// What a client's TLS is made of.
#[derive(Clone, Debug)]
pub struct Client<'a> {
    /// Which servers are good; `None`: every one, whoever it is.
    pub roots: Option<RootCertStore>,
    /// Who we are, where the server asks.
    pub identity: Option<Identity<'a>>,
    /// Protocols inside, by their ALPN names, the best first.
    pub protocols: &'a [&'a str],
}

/// Which file is not what it should be.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// No certificate.
    #[error("there is no certificate in it (PEM, \"BEGIN CERTIFICATE\")")]
    NoCertificate,
    /// A certificate that is none.
    #[error("the certificate cannot be read: {0}")]
    Certificate(rustls::Error),
    /// A PEM file that is none.
    #[error("it is not PEM: {0}")]
    Pem(pem::Error),
    /// No key, or one that is locked.
    #[error("there is no private key in it (PEM, not encrypted): {0}")]
    Key(pem::Error),
    /// A key of a kind that is not spoken, or of another certificate.
    #[error("the private key does not go with the certificate: {0}")]
    KeyMismatch(rustls::Error),
    /// No list of revoked certificates.
    #[error("there is no list of revoked certificates in it (PEM, \"BEGIN X509 CRL\")")]
    NoList,
    /// The authorities or the lists cannot be used.
    #[error("the authorities or their lists of revoked certificates cannot be used: {0}")]
    Verifier(#[from] VerifierBuilderError),
}

/// Named here and nowhere else, so that another provider in the tree cannot matter.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// What connections of a listener are made with from now on.
pub fn server_config(parts: &ServerParts<'_>) -> Result<Server, ConfigError> {
    let provider = provider();
    let versions: &[_] = match parts.min_version {
        MinVersion::Tls12 => &[&TLS13, &TLS12],
        MinVersion::Tls13 => &[&TLS13],
    };
    let verifier = match parts.clients {
        ClientCertificates::NotAsked => None,
        ClientCertificates::Optional(trust) => Some(client_verifier(&provider, trust, Whom::Some)?),
        ClientCertificates::Required(trust) => Some(client_verifier(&provider, trust, Whom::All)?),
    };
    let chain = certificates(parts.identity.chain)?;
    let own = chain.first().ok_or(ConfigError::NoCertificate)?;
    let (not_after, subject) = (x509::not_after(own).unwrap_or(0), x509::subject(own));
    let builder =
        ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).map_err(ConfigError::Certificate)?;
    let asks = verifier.is_some();
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::from_pem_slice(parts.identity.key).map_err(ConfigError::Key)?;
    let mut config = builder.with_single_cert(chain, key).map_err(ConfigError::KeyMismatch)?;
    config.alpn_protocols = parts.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    if asks {
        // A ticket would let in whoever was good when it was made: each handshake looks at the certificate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        config.ticketer = ring::Ticketer::new().map_err(ConfigError::Certificate)?;
        config.send_tls13_tickets = 1;
    }
    Ok(Server { config: Arc::new(config), not_after, subject })
}

/// Who has to show a certificate.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Whom {
    All,
    Some,
}

fn client_verifier(
    provider: &Arc<CryptoProvider>,
    trust: Trust<'_>,
    whom: Whom,
) -> Result<Arc<dyn ClientCertVerifier>, ConfigError> {
    let roots = Arc::new(roots(trust.roots)?);
    // A name has its length before it.
    let names_bytes: usize = roots.subjects().iter().map(|name| 2 + name.as_ref().len()).sum();
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    if names_bytes > AUTHORITY_NAMES_BYTES_MAX {
        builder = builder.clear_root_hint_subjects();
    }
    if let Some(revoked) = trust.revoked {
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(revoked).collect();
        let lists = lists.map_err(ConfigError::Pem)?;
        if lists.is_empty() {
            return Err(ConfigError::NoList);
        }
        // Of the authorities between, few publish lists.
        builder = builder.with_crls(lists).only_check_end_entity_revocation().enforce_revocation_expiration();
    }
    if whom == Whom::Some {
        builder = builder.allow_unauthenticated();
    }
    Ok(builder.build()?)
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(ConfigError::Pem)?;
    if found.is_empty() { Err(ConfigError::NoCertificate) } else { Ok(found) }
}

/// The authorities of a PEM file.
pub(super) fn roots(text: &[u8]) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(text)? {
        roots.add(certificate).map_err(ConfigError::Certificate)?;
    }
    Ok(roots)
}

impl Trust<'_> {
    /// The authorities alone, for a client to judge servers by.
    pub fn roots(text: &[u8]) -> Result<RootCertStore, ConfigError> {
        roots(text)
    }
}

/// What connections to servers are made with.
pub fn client_config(parts: &Client<'_>) -> Result<Arc<ClientConfig>, ConfigError> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(ConfigError::Certificate)?;
    let builder = match &parts.roots {
        Some(roots) => builder.with_root_certificates(roots.clone()),
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody { algorithms })),
    };
    let mut config = match parts.identity {
        Some(identity) => {
            let key = PrivateKeyDer::from_pem_slice(identity.key).map_err(ConfigError::Key)?;
            builder.with_client_auth_cert(certificates(identity.chain)?, key).map_err(ConfigError::KeyMismatch)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = parts.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// Takes every certificate. The other end has to own its key, but nobody says whose that is.
#[derive(Debug)]
struct Anybody {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
