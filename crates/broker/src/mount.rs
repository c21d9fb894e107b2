//! Mount points: what stands before every topic of a listener's clients, and they never see.

use alloc::{format, string::String, sync::Arc};
use core::{fmt, str::FromStr};

use columba_proto::{SubscriptionFilter, TopicName, TopicNameError};
use thiserror::Error;

/// Bytes of one: it is part of every topic of its clients, which may have 65,535.
const MOUNT_POINT_LEN_MAX: usize = 1_024;

/// The beginning of all topics of a listener's clients: levels with a slash behind them.
#[derive(Clone, Eq, PartialEq)]
pub struct MountPoint(Arc<str>);

/// The text is no mount point.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum MountPointError {
    /// It would run into the first level of the topics, and no filter could begin with a wildcard.
    #[error("a slash at its end, like \"site-7/\"")]
    NoSlash,
    /// Those are the broker's own topics.
    #[error("something that does not begin with \"$\"")]
    Own,
    /// It leaves too little of a topic.
    #[error("{MOUNT_POINT_LEN_MAX} bytes at most")]
    Long,
    /// It holds what a topic may not.
    #[error("the beginning of a topic: {0}")]
    Topic(TopicNameError),
}

impl FromStr for MountPoint {
    type Err = MountPointError;

    fn from_str(text: &str) -> Result<Self, MountPointError> {
        TopicName::new(text).map_err(MountPointError::Topic)?;
        match () {
            () if !text.ends_with('/') => Err(MountPointError::NoSlash),
            () if text.starts_with('$') => Err(MountPointError::Own),
            () if text.len() > MOUNT_POINT_LEN_MAX => Err(MountPointError::Long),
            () => Ok(Self(text.into())),
        }
    }
}

impl MountPoint {
    /// What a client calls `topic`, as everybody else does, into `whole`. Not a topic if it is too long for one.
    pub(crate) fn whole<'w>(&self, topic: &str, whole: &'w mut String) -> Result<TopicName<'w>, TopicNameError> {
        whole.clear();
        whole.push_str(&self.0);
        whole.push_str(topic);
        TopicName::new(whole)
    }

    /// The same of what a client has written into SUBSCRIBE or UNSUBSCRIBE: the name of a share stands before it all.
    pub(crate) fn filter(&self, text: &str) -> String {
        match text.parse() {
            Ok(SubscriptionFilter::Shared { share, filter }) => format!("$share/{share}/{}{filter}", self.0),
            Ok(SubscriptionFilter::Plain(_)) | Err(_) => format!("{}{text}", self.0),
        }
    }

    /// What a client here calls this topic; `None`: it knows nothing of it.
    pub(crate) fn seen<'t>(&self, topic: &'t str) -> Option<&'t str> {
        topic.strip_prefix(&*self.0).filter(|rest| !rest.is_empty())
    }
}

impl fmt::Display for MountPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MountPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use MountPointError::*;

    use super::*;

    #[test]
    fn what_a_client_says_and_what_it_sees_fit_together() {
        let mount: MountPoint = "site/7/".parse().unwrap();
        let mut whole = String::new();

        assert_eq!(mount.whole("a/b", &mut whole).map(TopicName::as_str), Ok("site/7/a/b"));
        assert_eq!(mount.whole("$SYS/x", &mut whole).map(TopicName::as_str), Ok("site/7/$SYS/x"));
        assert!(mount.whole(&"a".repeat(65_530), &mut whole).is_err(), "longer than a topic can be");
        for (filter, expected) in [
            ("#", "site/7/#"),
            ("+/b", "site/7/+/b"),
            ("$share/g/#", "$share/g/site/7/#"),
            ("$share/g//x", "$share/g/site/7//x"),
            ("$SYS/#", "site/7/$SYS/#"),
            ("$sharing/x", "site/7/$sharing/x"),
        ] {
            assert_eq!(mount.filter(filter), expected);
            expected.parse::<SubscriptionFilter>().unwrap();
        }
        for (topic, seen) in [
            ("site/7/a/b", Some("a/b")),
            ("site/7//", Some("/")),
            ("site/7/", None),
            ("site/7", None),
            ("site/77/a", None),
            ("a/b", None),
        ] {
            assert_eq!(mount.seen(topic), seen, "{topic}");
        }
    }

    #[test]
    fn a_mount_point_is_the_beginning_of_topics() {
        for good in ["a/", "a/b/", "/", "ä/"] {
            assert!(good.parse::<MountPoint>().is_ok(), "{good}");
        }
        assert_eq!("a".parse::<MountPoint>(), Err(NoSlash));
        assert_eq!("$SYS/".parse::<MountPoint>(), Err(Own));
        assert_eq!(format!("{}/", "a".repeat(MOUNT_POINT_LEN_MAX)).parse::<MountPoint>(), Err(Long));
        for bad in ["", "+/", "a/#/", "a\0/"] {
            assert!(matches!(bad.parse::<MountPoint>(), Err(Topic(_))), "{bad:?}");
        }
    }
}
