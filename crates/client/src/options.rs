//! What a client is told before it connects.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use columba_proto::{QoS, TopicNameBuf, Version};

use crate::limits;
use crate::message::MessageProperties;
use crate::reconnect::Backoff;
use crate::security::Tls;

/// Everything about a connection and its session; [`crate::Client::builder`] fills it in.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name or address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The path of a Unix socket, in place of host and port.
    pub unix: Option<PathBuf>,
    /// TLS, where it is spoken; `host` is the name that the server's certificate has to have.
    pub tls: Option<Tls>,
    /// The path of a WebSocket, where MQTT is spoken over one.
    pub web_socket: Option<String>,
    /// The local address to connect from.
    pub bind_address: Option<IpAddr>,
    /// The version to speak.
    pub version: Version,
    /// Our identifier; empty asks the server for one (§3.1.3.1).
    pub client_id: String,
    /// Whether a session that the server still has is thrown away first (§3.1.2.4).
    pub clean_start: bool,
    /// Seconds for which the session outlives its connection (§3.1.2.11.2). Before MQTT 5 a session ends with its
    /// connection if it began clean, and lasts for ever if not.
    pub session_expiry: u32,
    /// The longest silence from us, zero for no limit (§3.1.2.10).
    pub keep_alive: u16,
    /// Who we are.
    pub username: Option<String>,
    /// How we prove it.
    pub password: Option<Bytes>,
    /// How user name and password are shown to the server; `None`: as they are, in CONNECT. MQTT 5 only.
    pub auth_method: Option<AuthMethod>,
    /// What the server publishes when our connection ends without a DISCONNECT (§3.1.2.5).
    pub will: Option<Will>,
    /// Messages of QoS 1 and 2 that the server may have in flight to us.
    pub receive_maximum: u16,
    /// The largest packet that the server may send us.
    pub maximum_packet_size: Option<u32>,
    /// Topic aliases that the server may use (§3.1.2.11.5).
    pub topic_alias_maximum: u16,
    /// Names and values of the application in CONNECT.
    pub user_properties: Vec<(String, String)>,
    /// Whether the server may send a response information (§3.1.2.11.6).
    pub request_response_information: bool,
    /// Whether the server explains failures (§3.1.2.11.7).
    pub request_problem_information: bool,
    /// Messages of QoS 1 and 2 that we have in flight at once, where the server does not say less.
    pub inflight_max: u16,
    /// Bytes of publications that wait or are in flight.
    pub outbox_bytes_max: usize,
    /// Bytes of QoS 0 messages that may wait for the application, in all inboxes together. Those of QoS 1 and 2 are bounded by
    /// `receive_maximum`, or by what the server has in flight before MQTT 5.
    pub inbox_bytes_max: usize,
    /// What happens to a QoS 0 message beyond that.
    pub overflow: Overflow,
    /// How to come back after a lost connection; `None` closes the client instead.
    pub reconnect: Option<Backoff>,
    /// The longest wait for CONNACK.
    pub connect_wait_max: Duration,
    /// After this time without an acknowledgement, send again what is in flight: 3.1 asks for it, 3.1.1 allows it, 5
    /// forbids it. Zero turns it off.
    pub retry_interval: Duration,
}

/// An enhanced authentication (§4.12).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthMethod {
    /// SCRAM-SHA-256 (RFC 7677): the password does not travel, and the server has to prove that it knows the user. Passwords are text here.
    ScramSha256,
}

/// The message that speaks for a client that is gone (§3.1.2.5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Will {
    /// Where to.
    pub topic: TopicNameBuf,
    /// What.
    pub payload: Bytes,
    /// With which promise.
    pub qos: QoS,
    /// Whether the server keeps it for later subscribers.
    pub retain: bool,
    /// Seconds that the server waits for us to come back (§3.1.3.2.2).
    pub delay: u32,
    /// What goes along.
    pub properties: MessageProperties,
}

/// What happens to a QoS 0 message when [`Options::inbox_bytes_max`] of them are waiting for the application.
///
/// QoS 1 and 2 need no such choice: what the application has not taken is not acknowledged, and the server stops.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Overflow {
    /// It is dropped, and [`crate::Event::Dropped`] counts it.
    #[default]
    Drop,
    /// Nothing more is read from the server until the application has caught up. Acknowledgements of our own
    /// publications wait as long, so an application that publishes from its receive loop must not choose this.
    StopReading,
}

impl Options {
    /// Defaults for a server.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            unix: None,
            tls: None,
            web_socket: None,
            bind_address: None,
            version: Version::V5,
            client_id: String::new(),
            clean_start: true,
            session_expiry: 0,
            keep_alive: 60,
            username: None,
            password: None,
            auth_method: None,
            will: None,
            receive_maximum: limits::RECEIVE_MAXIMUM,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            user_properties: Vec::new(),
            request_response_information: false,
            request_problem_information: true,
            inflight_max: limits::INFLIGHT_MAX,
            outbox_bytes_max: limits::OUTBOX_BYTES_MAX,
            inbox_bytes_max: limits::INBOX_BYTES_MAX,
            overflow: Overflow::default(),
            reconnect: Some(Backoff::default()),
            connect_wait_max: limits::CONNECT_WAIT_MAX,
            retry_interval: limits::RETRY_INTERVAL,
        }
    }

    /// Whether the session outlives its connection.
    pub fn is_persistent(&self) -> bool {
        self.version.session_expiry(self.clean_start, Some(self.session_expiry)) > 0
    }
}
