//! What can go wrong, by who is to blame.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use columba_net::LayerError;
use columba_proto::scram::ScramError;
use columba_proto::{PeerError, QoS, ReasonCode, SubscriptionFilterError, TextError, TopicNameError, Version};
use thiserror::Error;

/// Why there is no connection to the server.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("host {host:?} is not found")]
    Resolve {
        /// As it was given.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address took the connection.
    #[error("{address} does not take the connection")]
    Tcp {
        /// The address that was tried last.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody listens at the path.
    #[error("{} does not take the connection", path.display())]
    Unix {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The host cannot be a name in a certificate.
    #[error("{0:?} is no name that a certificate could have")]
    ServerName(String),
    /// TLS or WebSocket did not come about.
    #[error("{0}")]
    Layer(#[from] LayerError),
    /// It took too long.
    #[error("no CONNACK within {after:?}")]
    TimedOut {
        /// The whole time, from the look-up of the name.
        after: Duration,
    },
    /// The server said no.
    #[error("the server refused the connection: {0}")]
    Refused(Refusal),
    /// The server was there, and went away without a word.
    #[error("the server closed the connection before CONNACK")]
    Closed(#[source] Option<io::Error>),
    /// The server was there, and went away in the middle of the handshake of TLS or WebSocket: whoever does not speak them often does so.
    #[error("the server closed the connection in the middle of the handshake")]
    ClosedInHandshake(#[source] Option<io::Error>),
    /// The server speaks something else on this port.
    #[error("the server answered in {0}")]
    Speaks(Spoken),
    /// What answers is no MQTT server.
    #[error("the server answered with something else than CONNACK")]
    NotMqtt(#[source] PeerError),
    /// The authentication failed on our side: the server did not prove who it is, or user name and password cannot be said in it.
    #[error("the authentication failed")]
    Authentication(#[from] ScramError),
    /// There is no enhanced authentication in this version, and the password was not sent.
    #[error("MQTT {} has no enhanced authentication", .0.name())]
    NoAuthentication(Version),
}

/// What a server may speak instead of MQTT.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Spoken {
    /// TLS: MQTT may be inside.
    Tls,
    /// HTTP: MQTT may be inside a WebSocket.
    Http,
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "TLS",
            Self::Http => "HTTP",
        })
    }
}

/// A refusal in the words of the server.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{reason}{}", said(.text.as_ref()))]
pub struct Refusal {
    /// Its reason code; those of 3.x are translated.
    pub reason: ReasonCode,
    /// Its Reason String (§3.2.2.3.9).
    pub text: Option<String>,
    /// Another server to use (§4.13).
    pub server_reference: Option<String>,
}

fn said(text: Option<&String>) -> String {
    text.map_or_else(String::new, |text| format!(": {text}"))
}

/// Why an established connection ended.
#[derive(Clone, Debug, Error)]
pub enum Lost {
    /// The server said goodbye (§3.14).
    #[error("the server ended the connection: {0}")]
    ByServer(Refusal),
    /// The server closed without a word.
    #[error("the server closed the connection")]
    Closed,
    /// The network failed.
    #[error("the connection broke: {}", .0)]
    Broken(io::ErrorKind),
    /// No answer to PINGREQ (§3.1.2.10).
    #[error("the server did not answer within the keep-alive time")]
    Silent,
    /// The server broke the standard.
    #[error("the server broke the standard: {0}")]
    Peer(#[from] PeerError),
    /// A planted fault cut it: see [`crate::Verdict`].
    #[error("the connection was cut on purpose")]
    Cut,
}

impl Lost {
    /// Whether another attempt may go better. After these words of the server it does not.
    pub fn is_worth_a_retry(&self) -> bool {
        match self {
            Self::ByServer(refusal) => is_worth_a_retry(refusal.reason),
            Self::Closed | Self::Broken(_) | Self::Silent | Self::Peer(_) | Self::Cut => true,
        }
    }
}

impl ConnectError {
    /// What an error of the socket before CONNACK means: also what a layer has found in what came.
    pub(crate) fn closed(error: io::Error) -> Self {
        match error.downcast::<LayerError>() {
            Ok(error) => Self::Layer(error),
            Err(error) => Self::Closed(Some(error)),
        }
    }

    /// Whether another attempt may go better.
    pub fn is_worth_a_retry(&self) -> bool {
        match self {
            Self::Refused(refusal) => is_worth_a_retry(refusal.reason),
            // Also a layer: certificates are renewed.
            Self::Resolve { .. }
            | Self::Tcp { .. }
            | Self::Unix { .. }
            | Self::Layer(_)
            | Self::TimedOut { .. }
            | Self::Closed(_)
            | Self::ClosedInHandshake(_)
            | Self::Speaks(_)
            | Self::NotMqtt(_) => true,
            // The same password to the same server ends in the same way.
            Self::Authentication(_) | Self::NoAuthentication(_) | Self::ServerName(_) => false,
        }
    }
}

fn is_worth_a_retry(reason: ReasonCode) -> bool {
    !matches!(
        reason,
        ReasonCode::SESSION_TAKEN_OVER
            | ReasonCode::BAD_USER_NAME_OR_PASSWORD
            | ReasonCode::NOT_AUTHORIZED
            | ReasonCode::BANNED
            | ReasonCode::CLIENT_IDENTIFIER_NOT_VALID
            | ReasonCode::UNSUPPORTED_PROTOCOL_VERSION
            | ReasonCode::BAD_AUTHENTICATION_METHOD
            | ReasonCode::ADMINISTRATIVE_ACTION
            | ReasonCode::SERVER_MOVED
            | ReasonCode::USE_ANOTHER_SERVER
    )
}

/// The client is closed, or its connection ended and it is not to reconnect.
#[derive(Clone, Debug, Error)]
#[error("the client is closed{}", .0.as_ref().map_or_else(String::new, |lost| format!(": {lost}")))]
pub struct ClientClosed(pub Option<Lost>);

/// Why a publication is not acknowledged with success.
#[derive(Clone, Debug, Error)]
pub enum PublishError {
    /// What was given as a topic is none.
    #[error(transparent)]
    Topic(#[from] TopicNameError),
    /// A property holds what no string of the standard holds (§1.5.4).
    #[error(transparent)]
    Text(#[from] TextError),
    /// The outbox has no room; [`crate::Publish::enqueue`] waits for it.
    #[error("the outbox is full")]
    Full,
    /// The server takes no message of this size (§3.2.2.3.6).
    #[error("the packet has {size} bytes, and the server takes {max}")]
    TooLarge {
        /// Of the PUBLISH.
        size: u64,
        /// What the server takes.
        max: u32,
    },
    /// The server does not offer this QoS [MQTT-3.2.2-11].
    #[error("the server takes at most {max:?}")]
    QoS {
        /// The highest it takes.
        max: QoS,
    },
    /// The server keeps no retained messages [MQTT-3.2.2-14].
    #[error("the server keeps no retained messages")]
    Retain,
    /// The server acknowledged with a failure.
    #[error("the server refused the message: {0}")]
    Refused(Refusal),
    /// The server has lost the session in the middle of the exchange of a QoS 2 message: it is not known whether the
    /// message was delivered, and sending it again could deliver it twice.
    #[error("the server lost the session after it had taken the message over; whether it was delivered is unknown")]
    SessionLost,
    /// Nobody will acknowledge it any more.
    #[error(transparent)]
    Closed(#[from] ClientClosed),
}

/// Why a SUBSCRIBE or UNSUBSCRIBE got no answer.
#[derive(Clone, Debug, Error)]
pub enum SubscribeError {
    /// What was given as a filter is none.
    #[error(transparent)]
    Filter(#[from] SubscriptionFilterError),
    /// No filter was given [MQTT-3.8.3-2].
    #[error("no topic filter was given")]
    NoFilters,
    /// The server refused the subscription.
    #[error("the server refused the subscription: {0}")]
    Refused(Refusal),
    /// Nobody will answer any more.
    #[error(transparent)]
    Closed(#[from] ClientClosed),
}

/// Why an acknowledgement has nothing to acknowledge.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum AckError {
    /// The client is gone.
    #[error("the client is closed")]
    Closed,
}
