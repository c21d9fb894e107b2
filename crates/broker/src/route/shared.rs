//! Shared subscriptions: each message goes to one member of the group (§4.8.2).

use alloc::{boxed::Box, sync::Arc};
use core::sync::atomic::{AtomicU64, Ordering};

use columba_proto::QoS;

use super::{Claim, Grant, Publisher, SessionRef, Strategy, strategy::wish};

/// A session and what it was granted.
#[derive(Clone, Debug)]
pub struct Member {
    /// The session.
    pub session: SessionRef,
    /// Its own grant: members of one group may have different ones [MQTT-4.8.2-3].
    pub grant: Grant,
}

impl Member {
    /// Whether messages above QoS 0 wait for it: as long as its client is there, or beyond that.
    fn keeps(&self) -> bool {
        let presence = &self.session.presence;
        self.grant.qos > QoS::AtMostOnce && (presence.is_online() || presence.is_durable())
    }
}

/// The members of a shared subscription that a topic matches.
#[derive(Debug)]
pub struct Group {
    /// The subscription as clients write it, `$share/...` included.
    pub filter: Arc<str>,
    /// In order of their session numbers.
    pub members: Box<[Member]>,
    /// Where messages wait for one of them: a place in the journal, and a queue of the shard that owns its lane.
    pub queue: SessionRef,
    /// What a delivery to one of them has to say of the group.
    pub claim: Claim,
    /// How a member is chosen.
    pub strategy: Strategy,
    /// By what messages of the topic are known as such.
    pub(super) topic: u64,
    /// Shared by all routes of all shards: round robin counts here, and a sticky group keeps the number of its member.
    pub(super) turn: Arc<AtomicU64>,
}

/// Whether a choice counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Turn {
    /// Somebody gets the message: the next choice is the next one's.
    Take,
    /// It is only asked who would get it.
    Look,
}

impl Group {
    /// Whether a message above QoS 0 goes to the group's queue: a member is there that takes it as such, or will be.
    pub fn keeps(&self) -> bool {
        self.members.iter().any(Member::keeps)
    }

    /// The member that a message of the queue goes to by the strategy: one that is online and to which it can be sent at once. `None`: it waits. With an affinity it
    /// waits for its member as long as that is online.
    pub fn taker(&self, publisher: Publisher) -> Option<&Member> {
        if self.strategy.has_affinity() {
            let member = self.one_of(publisher, Turn::Take, |it| it.session.presence.is_online())?;
            return member.session.presence.has_room().then_some(member);
        }
        self.one_of(publisher, Turn::Take, |it| it.session.presence.is_online() && it.session.presence.has_room())
    }

    /// Whether a member is online.
    pub fn is_attended(&self) -> bool {
        self.members.iter().any(|it| it.session.presence.is_online())
    }

    /// The member that a message gets to at QoS 0, where nothing waits: of those online first, and of these, unless the strategy wants a certain one, those with room.
    ///
    /// The publisher is skipped by a member with No Local; the standard forbids it to shared subscriptions [MQTT-3.8.3-4], so it only guards.
    pub fn choose(&self, publisher: Publisher, turn: Turn) -> Option<&Member> {
        let may = |it: &Member| !(it.grant.no_local && publisher.session == Some(it.session.no));
        let fits: [fn(&Member) -> bool; 3] = [
            |it| it.session.presence.is_online() && it.session.presence.has_room() && !it.session.presence.is_full(),
            |it| it.session.presence.is_online() && !it.session.presence.is_full(),
            |it| it.session.presence.is_online(),
        ];
        let from = if self.strategy.has_affinity() { 2 } else { 0 };
        fits[from..].iter().find_map(|fits| self.one_of(publisher, turn, |it| may(it) && fits(it)))
    }

    fn one_of(&self, publisher: Publisher, turn: Turn, fits: impl Fn(&Member) -> bool) -> Option<&Member> {
        match self.strategy {
            Strategy::RoundRobin => self.next(turn, fits),
            Strategy::LeastInFlight => self.least_loaded(turn, fits),
            Strategy::Sticky => self.same_as_before(turn, fits),
            Strategy::HashTopic => self.by_affinity(self.topic, fits),
            Strategy::HashClient => self.by_affinity(publisher.lane.0.into(), fits),
        }
    }

    /// The turn stands behind the member chosen last, so those that are skipped do not double the share of the one behind them. Shards that choose at the same
    /// moment may choose the same member.
    fn next(&self, turn: Turn, fits: impl Fn(&Member) -> bool) -> Option<&Member> {
        let (at, member) = self.turning().find(|(_, member)| fits(member))?;
        self.take(turn, at);
        Some(member)
    }

    /// Of several with the same load the next one.
    fn least_loaded(&self, turn: Turn, fits: impl Fn(&Member) -> bool) -> Option<&Member> {
        let fitting = self.turning().filter(|(_, member)| fits(member));
        let (at, member) = fitting.min_by_key(|(_, member)| member.session.presence.load())?;
        self.take(turn, at);
        Some(member)
    }

    /// The one chosen last if it still fits, else another.
    fn same_as_before(&self, turn: Turn, fits: impl Fn(&Member) -> bool) -> Option<&Member> {
        let before = self.turn.load(Ordering::Relaxed);
        let at = self.members.binary_search_by_key(&before, |member| member.session.no.0);
        if let Ok(at) = at
            && fits(&self.members[at])
        {
            return Some(&self.members[at]);
        }
        let member = self.members.iter().find(|member| fits(member))?;
        if turn == Turn::Take {
            self.turn.store(member.session.no.0, Ordering::Relaxed);
        }
        Some(member)
    }

    fn by_affinity(&self, affinity: u64, fits: impl Fn(&Member) -> bool) -> Option<&Member> {
        self.members.iter().filter(|member| fits(member)).max_by_key(|member| wish(affinity, member.session.no))
    }

    /// All members with their places, the one whose turn it is first.
    fn turning(&self) -> impl Iterator<Item = (usize, &Member)> {
        let count = self.members.len().max(1) as u64;
        let start = usize::try_from(self.turn.load(Ordering::Relaxed) % count).unwrap_or(0);
        let (behind, ahead) = self.members.split_at(start);
        (start..).zip(ahead).chain((0..).zip(behind))
    }

    fn take(&self, turn: Turn, at: usize) {
        if turn == Turn::Take {
            self.turn.store(at as u64 + 1, Ordering::Relaxed);
        }
    }
}
