//! An embeddable asynchronous MQTT client: 3.1, 3.1.1 and 5.0, at every QoS.
//!
//! * [`Client`] is a cheap handle; a driver task moves the packets, and never waits for the application.
//! * [`Publish`] resolves with the reason code of the last acknowledgement; [`Delivery`] leaves that for later.
//! * [`Subscription`] and [`Inbox`] are streams of messages. What the application has not taken is not acknowledged.
//! * A lost connection is made again, and the session goes on where it was: PUBLISH with DUP, PUBREL, in send order. Only
//!   where the server has forgotten the session are the subscriptions made anew, and [`Event::SessionLost`] says so.
//!
//! "§" and `[MQTT-…]` mean the MQTT 5.0 standard.

pub mod limits;

mod client;
mod clocks;
mod command;
mod connection;
mod dial;
mod driver;
mod error;
mod event;
mod inbox;
mod layers;
mod login;
mod message;
mod options;
mod reconnect;
mod security;
mod session;
mod subscription;
mod tap;
mod translate;

pub use client::{Builder, Client, Delivery, Publish};
pub use columba_net::LayerError;
pub use columba_net::tls::CertificateFault;
pub use columba_proto::packet::{Packet, RetainHandling, SubscriptionOptions};
pub use columba_proto::scram::ScramError;
pub use columba_proto::{AckKind, PacketId, PacketType, QoS, ReasonCode, TopicNameBuf, Version};
pub use command::{Goodbye, Unacknowledged};
pub use error::{AckError, ClientClosed, ConnectError, Lost, PublishError, Refusal, Spoken, SubscribeError};
pub use event::Event;
pub use inbox::{AckMode, Inbox};
pub use message::{Message, MessageProperties, Publication};
pub use options::{AuthMethod, Options, Overflow, Will};
pub use reconnect::Backoff;
pub use security::{Roots, Tls, TlsSetupError};
pub use session::Answer;
pub use subscription::{Subscribe, Subscription};
pub use tap::{Direction, PacketEvent, Verdict};
