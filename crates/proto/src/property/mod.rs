//! Properties (§2.2.2): which there are, what they hold, how often they stand in which packet.

mod block;
mod id;
mod lists;
mod value;

pub use block::Properties;
pub use id::{PropertyId, PropertyPlace};
pub use lists::{SubscriptionId, SubscriptionIds, UserProperties};
pub use value::Property;
