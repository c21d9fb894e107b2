//! The receivers of one topic, with the overlapping subscriptions of each session made one (§3.3.4).

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::num::NonZeroU32;

use columba_proto::QoS;

use super::{Grant, Group, Member, SessionRef};
use crate::seam::SubscriptionIds;

/// Whom a publication to one topic concerns.
#[derive(Debug)]
pub struct Route {
    /// The topic.
    pub topic: Arc<str>,
    /// Sessions with ordinary subscriptions, in order of their numbers.
    pub targets: Box<[Target]>,
    /// Shared subscriptions; one member of each gets the message.
    pub groups: Box<[Group]>,
}

/// A session that a topic concerns.
#[derive(Clone, Debug)]
pub struct Target {
    /// The session.
    pub session: SessionRef,
    /// All its matching subscriptions together.
    pub grant: Merged,
    /// Those without No Local together: what it gets of its own publications [MQTT-3.8.3-3].
    pub own: Option<Merged>,
}

/// Overlapping subscriptions of one session as one: it gets one copy, at the highest QoS of them [MQTT-3.3.4-2].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Merged {
    /// The highest granted QoS.
    pub qos: QoS,
    /// Whether one of them keeps RETAIN as published.
    pub retain_as_published: bool,
    /// All their identifiers, in order; the same one as often as it was given [MQTT-3.3.4-4].
    pub ids: SubscriptionIds,
}

impl Route {
    pub(super) fn new(topic: Arc<str>, mut plain: Vec<&Member>, mut groups: Vec<Group>) -> Self {
        if !plain.is_sorted_by_key(|member| member.session.no) {
            plain.sort_by_key(|member| member.session.no);
        }
        groups.sort_by(|a, b| a.filter.cmp(&b.filter));
        let targets = plain.chunk_by(|a, b| a.session.no == b.session.no).map(Target::new).collect();
        Self { topic, targets, groups: groups.into_boxed_slice() }
    }

    /// Whether nobody subscribes (reason code 0x10).
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.groups.is_empty()
    }
}

impl Target {
    /// From the matching subscriptions of one session.
    fn new(members: &[&Member]) -> Self {
        let all = members.iter().map(|member| &member.grant);
        let own = all.clone().filter(|grant| !grant.no_local);
        let grant = Merged::of(all).expect("a chunk has at least one member");
        Self { session: members[0].session.clone(), grant, own: Merged::of(own) }
    }
}

impl Merged {
    fn of<'a>(mut grants: impl Iterator<Item = &'a Grant>) -> Option<Self> {
        let mut merged = Self::from(grants.next()?);
        for grant in grants {
            merged.qos = merged.qos.max(grant.qos);
            merged.retain_as_published |= grant.retain_as_published;
            merged.ids.extend(grant.id.map(NonZeroU32::get));
        }
        merged.ids.sort_unstable();
        Some(merged)
    }
}

impl From<&Grant> for Merged {
    fn from(grant: &Grant) -> Self {
        Self {
            qos: grant.qos,
            retain_as_published: grant.retain_as_published,
            ids: grant.id.map(NonZeroU32::get).into_iter().collect(),
        }
    }
}
