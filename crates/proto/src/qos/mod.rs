//! Quality of Service (§4.3): the contract between one Sender and one Receiver, hop by hop, written once.
//!
//! A broker is Receiver towards its publishers and Sender towards its subscribers, a client the other way round; both use
//! these types. `M` is what they keep per exchange: a message in the client, a reference into the store in the broker.

mod level;
mod packet_ids;
mod quota;
mod receiver;
mod sender;
#[cfg(test)]
mod table;

pub use level::QoS;
pub use quota::ReceiveQuota;
pub use receiver::{Receiver, Seen};
pub use sender::{AckError, Acked, Outcome, Sender, Sending, Step};
