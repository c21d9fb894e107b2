//! Who subscribes to one filter: one session, thousands, and shared groups.

use alloc::{boxed::Box, collections::BTreeMap, string::ToString, sync::Arc, vec::Vec};
use core::sync::atomic::AtomicU64;

use columba_proto::topic::{ShareName, SubscriptionFilter};

use super::{Claim, Group, Inserted, Member, SessionRef, Strategies, Strategy};
use crate::id::{GroupKey, SessionNo};

/// The subscribers of one filter. Most filters have one.
#[derive(Debug, Default)]
pub(super) enum Holders {
    #[default]
    Nobody,
    One(Member),
    Crowd(Box<Crowd>),
}

#[derive(Debug, Default)]
pub(super) struct Crowd {
    plain: Members,
    groups: BTreeMap<Box<str>, Share>,
}

/// A shared group in the index.
#[derive(Debug)]
struct Share {
    filter: Arc<str>,
    key: GroupKey,
    queue: SessionRef,
    strategy: Strategy,
    turn: Arc<AtomicU64>,
    members: Members,
}

/// Subscribers in order of their session numbers.
#[derive(Debug)]
enum Members {
    Few(Vec<Member>),
    Many(BTreeMap<SessionNo, Member>),
}

/// Above this a tree is cheaper than shifting a vector.
const FEW_MAX: usize = 32;

impl Holders {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Nobody)
    }

    pub(super) fn insert(&mut self, filter: &SubscriptionFilter, member: Member, strategies: &Strategies) -> Inserted {
        if filter.share().is_none() {
            match self {
                Self::Nobody => {
                    *self = Self::One(member);
                    return Inserted::New;
                }
                Self::One(one) if one.session.no == member.session.no => {
                    *one = member;
                    return Inserted::Replaced;
                }
                Self::One(_) | Self::Crowd(_) => {}
            }
        }
        let crowd = self.crowd();
        let Some(share) = filter.share() else {
            return crowd.plain.insert(member);
        };
        if let Some(group) = crowd.groups.get_mut(share.as_str()) {
            return group.members.insert(member);
        }
        let text: Arc<str> = filter.to_string().into();
        let key = GroupKey::of(&text);
        let mut group = Share {
            key,
            // No session has this slot.
            queue: SessionRef { no: key.place(), slot: u32::MAX, presence: Arc::default() },
            filter: text,
            strategy: strategies.of(share.as_str()),
            turn: Arc::default(),
            members: Members::default(),
        };
        let inserted = group.members.insert(member);
        crowd.groups.insert(share.as_str().into(), group);
        inserted
    }

    pub(super) fn remove(&mut self, filter: &SubscriptionFilter, session: SessionNo) -> bool {
        match (&mut *self, filter.share()) {
            (Self::Nobody, _) | (Self::One(_), Some(_)) => false,
            (Self::One(one), None) => {
                let here = one.session.no == session;
                if here {
                    *self = Self::Nobody;
                }
                here
            }
            (Self::Crowd(crowd), share) => {
                let removed = crowd.remove(share.map(ShareName::as_str), session);
                if crowd.plain.len() == 0 && crowd.groups.is_empty() {
                    *self = Self::Nobody;
                }
                removed
            }
        }
    }

    /// Adds everybody to what one topic, known by `affinity`, matched.
    pub(super) fn collect<'a>(&'a self, affinity: u64, plain: &mut Vec<&'a Member>, groups: &mut Vec<Group>) {
        match self {
            Self::Nobody => {}
            Self::One(one) => plain.push(one),
            Self::Crowd(crowd) => {
                crowd.plain.each(|member| plain.push(member));
                for share in crowd.groups.values() {
                    groups.push(share.group(affinity));
                }
            }
        }
    }

    /// A shared subscription with all its members.
    pub(super) fn group(&self, share: &ShareName) -> Option<Group> {
        Some(self.share(share)?.group(0))
    }

    /// The queue of a shared subscription that has members.
    pub(super) fn queue_of(&self, share: &ShareName) -> Option<SessionRef> {
        Some(self.share(share)?.queue.clone())
    }

    fn share(&self, share: &ShareName) -> Option<&Share> {
        match self {
            Self::Nobody | Self::One(_) => None,
            Self::Crowd(crowd) => crowd.groups.get(share.as_str()),
        }
    }

    fn crowd(&mut self) -> &mut Crowd {
        if !matches!(self, Self::Crowd(_)) {
            let mut crowd = Box::<Crowd>::default();
            if let Self::One(one) = core::mem::take(self) {
                let _new = crowd.plain.insert(one);
            }
            *self = Self::Crowd(crowd);
        }
        let Self::Crowd(crowd) = self else { unreachable!("it was made one above") };
        crowd
    }
}

impl Crowd {
    fn remove(&mut self, share: Option<&str>, session: SessionNo) -> bool {
        let Some(share) = share else {
            return self.plain.remove(session);
        };
        let Some(group) = self.groups.get_mut(share) else {
            return false;
        };
        let removed = group.members.remove(session);
        if group.members.len() == 0 {
            self.groups.remove(share);
        }
        removed
    }
}

impl Share {
    fn group(&self, topic: u64) -> Group {
        let mut members = Vec::with_capacity(self.members.len());
        self.members.each(|member| members.push(member.clone()));
        let lasts = members.iter().any(|member| member.session.presence.is_durable());
        Group {
            filter: Arc::clone(&self.filter),
            members: members.into_boxed_slice(),
            queue: self.queue.clone(),
            claim: Claim::of(self.key, lasts),
            strategy: self.strategy,
            topic,
            turn: Arc::clone(&self.turn),
        }
    }
}

impl Default for Members {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Members {
    fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    fn insert(&mut self, member: Member) -> Inserted {
        let replaced = match self {
            Self::Few(few) => match few.binary_search_by_key(&member.session.no, |member| member.session.no) {
                Ok(at) => {
                    few[at] = member;
                    true
                }
                Err(at) if few.len() < FEW_MAX => {
                    few.insert(at, member);
                    false
                }
                Err(_) => {
                    let mut many: BTreeMap<_, _> = few.drain(..).map(|member| (member.session.no, member)).collect();
                    many.insert(member.session.no, member);
                    *self = Self::Many(many);
                    false
                }
            },
            Self::Many(many) => many.insert(member.session.no, member).is_some(),
        };
        if replaced { Inserted::Replaced } else { Inserted::New }
    }

    fn remove(&mut self, session: SessionNo) -> bool {
        match self {
            Self::Few(few) => {
                let found = few.binary_search_by_key(&session, |member| member.session.no);
                if let Ok(at) = found {
                    few.remove(at);
                }
                found.is_ok()
            }
            Self::Many(many) => {
                let removed = many.remove(&session).is_some();
                // Well below the upper bound, so that a session that comes and goes does not rebuild it each time.
                if many.len() <= FEW_MAX / 2 {
                    *self = Self::Few(core::mem::take(many).into_values().collect());
                }
                removed
            }
        }
    }

    fn each<'a>(&'a self, mut visit: impl FnMut(&'a Member)) {
        match self {
            Self::Few(few) => few.iter().for_each(visit),
            Self::Many(many) => many.values().for_each(&mut visit),
        }
    }
}
