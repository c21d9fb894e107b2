//! Shared subscriptions (§4.8.2).

use alloc::boxed::Box;
use core::fmt;
use core::str::FromStr;

use thiserror::Error;

use super::{TopicFilter, TopicFilterError};

const PREFIX: &str = "$share/";

/// The name of a group of subscribers that divide a stream among them.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ShareName(Box<str>);

/// What a client may write in SUBSCRIBE and UNSUBSCRIBE: a filter, or a share of one.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SubscriptionFilter {
    /// An ordinary subscription.
    Plain(TopicFilter),
    /// `$share/{share}/{filter}`: each message goes to one member of the group.
    Shared {
        /// The group.
        share: ShareName,
        /// What it listens to.
        filter: TopicFilter,
    },
}

/// Why a text is no filter to subscribe to. The packet is malformed (0x81).
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum SubscriptionFilterError {
    /// Its topic filter is none.
    #[error(transparent)]
    Filter(#[from] TopicFilterError),
    /// No group between the slashes.
    #[error("$share/ is followed by a share name of at least one character [MQTT-4.8.2-1]")]
    EmptyShareName,
    /// The group's name could be taken for a filter.
    #[error("a share name has no wildcards [MQTT-4.8.2-2]")]
    WildcardInShareName,
    /// Nothing to listen to.
    #[error("a share name is followed by a slash and a topic filter [MQTT-4.8.2-2]")]
    MissingFilter,
}

impl ShareName {
    /// As text.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SubscriptionFilter {
    /// The filter that topics are matched with.
    pub const fn filter(&self) -> &TopicFilter {
        match self {
            Self::Plain(filter) | Self::Shared { filter, .. } => filter,
        }
    }

    /// The group, if it is a share.
    pub const fn share(&self) -> Option<&ShareName> {
        match self {
            Self::Plain(_) => None,
            Self::Shared { share, .. } => Some(share),
        }
    }

    /// Does a text ask for a share? It may still be a bad one.
    pub fn is_share(text: &str) -> bool {
        text.starts_with(PREFIX)
    }
}

impl FromStr for SubscriptionFilter {
    type Err = SubscriptionFilterError;

    fn from_str(text: &str) -> Result<Self, SubscriptionFilterError> {
        let Some(shared) = text.strip_prefix(PREFIX) else {
            return Ok(Self::Plain(text.parse()?));
        };
        let Some((share, filter)) = shared.split_once('/') else {
            return Err(SubscriptionFilterError::MissingFilter);
        };
        if share.is_empty() {
            return Err(SubscriptionFilterError::EmptyShareName);
        }
        if share.contains(['+', '#']) {
            return Err(SubscriptionFilterError::WildcardInShareName);
        }
        if filter.is_empty() {
            return Err(SubscriptionFilterError::MissingFilter);
        }
        let filter = filter.parse()?;
        Ok(Self::Shared { share: ShareName(share.into()), filter })
    }
}

impl fmt::Display for ShareName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SubscriptionFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(filter) => filter.fmt(f),
            Self::Shared { share, filter } => write!(f, "{PREFIX}{share}/{filter}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_share_has_a_name_and_a_filter() {
        let parsed: SubscriptionFilter = "$share/consumers//finance/+".parse().unwrap();

        assert_eq!(parsed.share().map(ShareName::as_str), Some("consumers"));
        assert_eq!(parsed.filter().as_str(), "/finance/+");
        assert_eq!(parsed.to_string(), "$share/consumers//finance/+");
    }

    #[test]
    fn without_the_slash_it_is_an_ordinary_filter() {
        let parsed: SubscriptionFilter = "$share".parse().unwrap();

        assert_eq!(parsed.share(), None);
    }

    #[test]
    fn a_share_without_name_or_filter_is_refused() {
        use SubscriptionFilterError::*;
        for (text, error) in [
            ("$share/", MissingFilter),
            ("$share/a", MissingFilter),
            ("$share/a/", MissingFilter),
            ("$share//b", EmptyShareName),
            ("$share/a+/b", WildcardInShareName),
            ("$share/#/b", WildcardInShareName),
            ("$share/a/b#", Filter(TopicFilterError::MisplacedHash)),
        ] {
            assert_eq!(text.parse::<SubscriptionFilter>(), Err(error), "{text}");
        }
    }
}
