//! What shards, the loader and the server say to a shard.

use std::sync::Arc;

use columba_broker::{
    Room,
    access::Acl,
    auth::Answer,
    id::{ConnectionId, MessageId},
    limits,
    seam::{Loaded, LoadedRetained, Parcel},
};

use super::{
    accept::Listening,
    doorkeeper::{Door, Place},
    mesh::Weighed,
    stream::Stream,
    wire::Wire,
};
use crate::{admin::Question, pressure};

/// A letter to a shard.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A connection whose client lives with the addressee.
    Connection(Arrival),
    /// From another brain.
    Parcel(Parcel),
    /// A window of a queue from the cold store.
    Loaded(Loaded),
    /// Retained messages from the cold store.
    LoadedRetained(LoadedRetained),
    /// The cold store has every publication up to here.
    Stored(MessageId),
    /// A password has been looked at.
    Answered(ConnectionId, Answer),
    /// Users have come, gone, or have other passwords.
    UsersChanged,
    /// Other rules hold.
    Acl(Option<Arc<Acl>>),
    /// The disk has room, or has none.
    Room(Room),
    /// Memory is short, or is not any more.
    Memory(pressure::Told),
    /// Another configuration.
    Config(Arc<limits::Config>),
    /// Another listening socket.
    Listen(Listening, Arc<Door>),
    /// Who comes through this door from now on comes through another one.
    ChangeDoor {
        /// Its number.
        from: u16,
        /// The other one.
        to: Arc<Door>,
    },
    /// The listener of this number is no more.
    CloseDoor(u16),
    /// From the control plane.
    Question(Question),
    /// Everyone is sent away, nobody new is let in.
    Shutdown,
}

/// A connection on its way from the shard that accepted it.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(super) stream: Stream,
    pub(super) wire: Option<Box<Wire>>,
    pub(super) place: Place,
    /// What was read already, from the first byte on.
    pub(super) bytes: Vec<u8>,
}

impl Weighed for Mail {
    fn weight(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Connection(arrival) => arrival.bytes.len(),
                Self::Parcel(Parcel::Deliver { message, targets, .. }) => message.size() + size_of_val(targets.as_slice()),
                Self::Parcel(Parcel::Given { delivery, .. } | Parcel::Returned { delivery }) => delivery.message.size(),
                Self::Parcel(Parcel::Attend { filter }) => filter.len(),
                Self::Loaded(loaded) => loaded.entries.iter().map(|entry| entry.message.size()).sum(),
                Self::LoadedRetained(loaded) => {
                    loaded.messages.iter().filter_map(|(_, found)| found.as_ref()).map(|(_, message)| message.size()).sum()
                }
                // They are few: the control plane asks one after the other.
                Self::Answered(..)
                | Self::Config(_)
                | Self::Listen(..)
                | Self::ChangeDoor { .. }
                | Self::CloseDoor(_)
                | Self::UsersChanged
                | Self::Acl(_)
                | Self::Question(_)
                | Self::Parcel(Parcel::Knock { .. } | Parcel::Recall { .. } | Parcel::SendAway { .. })
                | Self::Stored(_)
                | Self::Room(_)
                | Self::Memory(_)
                | Self::Shutdown => 0,
            }
    }
}
