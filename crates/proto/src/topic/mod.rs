//! Topic Names and Topic Filters (§4.7), shared subscriptions (§4.8.2).

mod filter;
mod name;
mod share;

pub use filter::{Level, Levels, TopicFilter, TopicFilterError, matches};
pub use name::{TopicName, TopicNameBuf, TopicNameError};
pub use share::{ShareName, SubscriptionFilter, SubscriptionFilterError};
