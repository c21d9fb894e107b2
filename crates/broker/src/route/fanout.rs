//! One publication to all its receivers.

use columba_proto::QoS;
use smallvec::SmallVec;

use super::{Claim, Group, Member, Merged, Publisher, Route, SessionRef, Target, Turn, UNCLAIMED};
use crate::{
    id::SessionNo,
    seam::{ParcelTarget, SubscriptionIds},
};

/// One session that gets a publication, and how.
#[derive(Clone, Copy, Debug)]
pub struct Receiver<'r> {
    /// The session.
    pub session: &'r SessionRef,
    /// min(publication, subscription) [MQTT-3.8.4-8].
    pub qos: QoS,
    /// RETAIN to deliver with.
    pub retain: bool,
    /// The shared subscriptions that have part in it.
    pub claim: &'r Claim,
    /// Identifiers of its matching subscriptions.
    pub ids: &'r SubscriptionIds,
}

/// All receivers of one publication. They can be gone through more than once; the turn of a shared subscription is taken once.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "lives on the stack while one publication is handled; boxing would allocate")]
pub enum Audience<'r> {
    /// Only ordinary subscriptions: read from the route as often as needed.
    Plain {
        /// Where they stand.
        route: &'r Route,
        /// Whose own publications No Local keeps away.
        publisher: Option<SessionNo>,
        /// Of the publication.
        qos: QoS,
        /// Of the publication.
        retain: bool,
    },
    /// With shared subscriptions: chosen and kept.
    Chosen(SmallVec<[ParcelTarget; 4]>),
}

impl Audience<'_> {
    /// Calls `each` once for every receiver, in order of session numbers.
    #[inline]
    pub fn each(&self, mut each: impl FnMut(Receiver<'_>)) {
        match self {
            Self::Plain { route, publisher, qos, retain } => {
                for target in &route.targets {
                    if let Some(grant) = target.for_publisher(*publisher) {
                        each(target.receiver(grant, *qos, *retain));
                    }
                }
            }
            Self::Chosen(targets) => targets.iter().for_each(|target| each(Receiver::from(target))),
        }
    }

    /// Whether a receiver fits.
    pub fn any(&self, fits: impl Fn(Receiver<'_>) -> bool) -> bool {
        let mut any = false;
        self.each(|receiver| any |= fits(receiver));
        any
    }

    /// Whether nobody gets it.
    pub fn is_empty(&self) -> bool {
        !self.any(|_| true)
    }

    /// All receivers, to be kept.
    pub fn to_targets(&self) -> alloc::vec::Vec<ParcelTarget> {
        let mut targets = alloc::vec::Vec::new();
        self.each(|receiver| targets.push(receiver.to_target()));
        targets
    }
}

impl Receiver<'_> {
    /// To be kept.
    pub fn to_target(&self) -> ParcelTarget {
        ParcelTarget {
            session: self.session.clone(),
            qos: self.qos,
            retain: self.retain,
            claim: self.claim.clone(),
            ids: SubscriptionIds::from_slice(self.ids),
        }
    }

    /// Whether it gets a promise that outlives its connection, by its own session or by that of another member of its group.
    pub fn is_durable(&self) -> bool {
        self.qos > QoS::AtMostOnce && (self.session.presence.is_durable() || self.claim.is_recorded())
    }
}

impl<'r> From<&'r ParcelTarget> for Receiver<'r> {
    fn from(target: &'r ParcelTarget) -> Self {
        Self { session: &target.session, qos: target.qos, retain: target.retain, claim: &target.claim, ids: &target.ids }
    }
}

impl Route {
    /// Who gets a publication, or with [`Turn::Look`] would get it.
    #[inline]
    pub fn audience(&self, publisher: Publisher, qos: QoS, retain: bool, turn: Turn) -> Audience<'_> {
        if self.groups.is_empty() {
            return Audience::Plain { route: self, publisher: publisher.session, qos, retain };
        }
        let mut chosen = SmallVec::new();
        self.receivers(publisher, qos, retain, turn, |session, qos, retain, ids, claim| {
            chosen.push(ParcelTarget { session: session.clone(), qos, retain, claim: claim.clone(), ids: ids.clone() });
        });
        Audience::Chosen(chosen)
    }

    /// Calls `each` for every copy of the publication, in order of session numbers: the session, the QoS to deliver with, the RETAIN flag, the subscription
    /// identifiers, and which shared subscriptions have part in it.
    ///
    /// A session may be both an ordinary subscriber and the chosen member of groups. Above QoS 0 it gets one copy for all of them, as the standard allows for
    /// overlapping subscriptions (§3.3.4): one publication stands in a session's queue at most once. At QoS 0, where nothing stands in a queue, each of them
    /// brings its own copy with its own identifiers [MQTT-3.3.4-5].
    pub fn receivers(
        &self,
        publisher: Publisher,
        publish_qos: QoS,
        publish_retain: bool,
        turn: Turn,
        mut each: impl FnMut(&SessionRef, QoS, bool, &SubscriptionIds, &Claim),
    ) {
        let mut deliver = |session: &SessionRef, grant: &Merged, claim: &Claim| {
            // Downgraded to what was granted, never raised [MQTT-3.8.4-8]; RETAIN only as published where asked for [MQTT-3.3.1-12] [MQTT-3.3.1-13].
            each(session, publish_qos.min(grant.qos), publish_retain && grant.retain_as_published, &grant.ids, claim);
        };
        let mut chosen: SmallVec<[Choice<'_>; 4]> =
            self.groups.iter().filter_map(|group| Choice::of(group, publisher, turn)).collect();
        chosen.sort_by_key(Choice::session);
        let mut chosen = chosen.chunk_by(|a, b| a.session() == b.session()).peekable();

        for target in &self.targets {
            while let Some(before) = chosen.next_if(|run| run[0].session() < target.session.no) {
                through_groups(publish_qos, None, before, &mut deliver);
            }
            let plain = target.for_publisher(publisher.session);
            match (plain, chosen.next_if(|run| run[0].session() == target.session.no)) {
                (plain, Some(run)) => through_groups(publish_qos, plain, run, &mut deliver),
                (Some(grant), None) => deliver(&target.session, grant, &UNCLAIMED),
                (None, None) => {}
            }
        }
        for run in chosen {
            through_groups(publish_qos, None, run, &mut deliver);
        }
    }
}

impl Target {
    // Downgraded to what was granted, never raised [MQTT-3.8.4-8]; RETAIN only as published where asked for [MQTT-3.3.1-12] [MQTT-3.3.1-13].
    #[inline]
    fn receiver<'r>(&'r self, grant: &'r Merged, qos: QoS, retain: bool) -> Receiver<'r> {
        Receiver {
            session: &self.session,
            qos: qos.min(grant.qos),
            retain: retain && grant.retain_as_published,
            claim: &UNCLAIMED,
            ids: &grant.ids,
        }
    }

    /// No Local keeps a client's own publications from it [MQTT-3.8.3-3].
    fn for_publisher(&self, publisher: Option<SessionNo>) -> Option<&Merged> {
        if publisher == Some(self.session.no) { self.own.as_ref() } else { Some(&self.grant) }
    }
}

/// The member that a group has chosen.
#[derive(Clone, Copy)]
struct Choice<'r> {
    member: &'r Member,
    claim: &'r Claim,
}

impl<'r> Choice<'r> {
    fn of(group: &'r Group, publisher: Publisher, turn: Turn) -> Option<Self> {
        Some(Self { member: group.choose(publisher, turn)?, claim: &group.claim })
    }

    fn session(&self) -> SessionNo {
        self.member.session.no
    }
}

/// The copies for a session that groups have chosen, and that has perhaps a subscription of its own.
fn through_groups(
    publish_qos: QoS,
    plain: Option<&Merged>,
    run: &[Choice<'_>],
    deliver: &mut impl FnMut(&SessionRef, &Merged, &Claim),
) {
    let session = &run[0].member.session;
    let mut queued: Option<(Merged, Claim)> = None;
    let plain = plain.cloned().map(|grant| (grant, &UNCLAIMED));
    for (grant, claim) in plain.into_iter().chain(run.iter().map(|choice| (Merged::from(&choice.member.grant), choice.claim))) {
        match &mut queued {
            _ if publish_qos.min(grant.qos) == QoS::AtMostOnce => deliver(session, &grant, claim),
            Some((queued, claims)) => {
                queued.add(&grant);
                claims.add(claim);
            }
            None => queued = Some((grant, claim.clone())),
        }
    }
    if let Some((grant, claim)) = queued {
        deliver(session, &grant, &claim);
    }
}
