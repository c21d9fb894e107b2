//! Shared subscriptions: each message goes to one member of the group (§4.8.2).

use alloc::{boxed::Box, sync::Arc};
use core::sync::atomic::{AtomicU32, Ordering};

use columba_proto::QoS;

use super::{Claim, Grant, Presence, SessionRef};
use crate::id::SessionNo;

/// A session and what it was granted.
#[derive(Clone, Debug)]
pub struct Member {
    /// The session.
    pub session: SessionRef,
    /// Its own grant: members of one group may have different ones [MQTT-4.8.2-3].
    pub grant: Grant,
}

/// The members of a shared subscription that a topic matches.
#[derive(Debug)]
pub struct Group {
    /// The subscription as clients write it, `$share/...` included.
    pub filter: Arc<str>,
    /// In order of their session numbers.
    pub members: Box<[Member]>,
    /// What a delivery to one of them has to say of the group.
    pub claim: Claim,
    pub(super) turn: Arc<AtomicU32>,
}

impl Group {
    /// The member whose turn it is, round robin: those online first, of these those with room; then those whose session keeps the message for them. A member
    /// that is away and keeps nothing is never chosen.
    ///
    /// `publisher` is skipped by a member with No Local; the standard forbids it to shared subscriptions [MQTT-3.8.3-4], so it only guards.
    pub fn choose(&self, publisher: Option<SessionNo>) -> Option<&Member> {
        self.best(|member| !(member.grant.no_local && publisher == Some(member.session.no)))
    }

    /// The same among those members that take messages above QoS 0.
    pub fn choose_keeping(&self) -> Option<&Member> {
        self.best(|member| member.grant.qos > QoS::AtMostOnce)
    }

    fn best(&self, may: impl Fn(&Member) -> bool) -> Option<&Member> {
        let fits: [fn(&Presence) -> bool; 3] =
            [|it| it.is_online() && !it.is_full(), Presence::is_online, |it| !it.is_online() && it.is_durable()];
        fits.into_iter().find_map(|fits| self.next(|member| may(member) && fits(&member.session.presence)))
    }

    /// The turn stands behind the member chosen last, so those that are skipped do not double the share of the one behind them. Shards that choose at the same
    /// moment may choose the same member.
    fn next(&self, fits: impl Fn(&Member) -> bool) -> Option<&Member> {
        let count = self.members.len();
        if count == 0 {
            return None;
        }
        let start = self.turn.load(Ordering::Relaxed) as usize % count;
        let (behind, ahead) = self.members.split_at(start);
        let (at, member) = (start..).zip(ahead).chain((0..).zip(behind)).find(|(_, member)| fits(member))?;
        self.turn.store(u32::try_from(at + 1).unwrap_or(0), Ordering::Relaxed);
        Some(member)
    }
}
