//! One publication to all its receivers.

use columba_proto::QoS;
use smallvec::SmallVec;

use super::{Claim, Merged, Publisher, Route, SessionRef, Target, Turn, UNCLAIMED};
use crate::{
    id::SessionNo,
    seam::{ParcelTarget, SubscriptionIds},
};

/// One session, or queue of a shared subscription, that gets a publication, and how.
#[derive(Clone, Copy, Debug)]
pub struct Receiver<'r> {
    /// The session, or the queue.
    pub session: &'r SessionRef,
    /// min(publication, subscription) [MQTT-3.8.4-8]; for a queue as published.
    pub qos: QoS,
    /// RETAIN to deliver with; for a queue as published.
    pub retain: bool,
    /// For a queue: whose message it is.
    pub claim: Claim,
    /// Identifiers of its matching subscriptions.
    pub ids: &'r SubscriptionIds,
}

/// All receivers of one publication. They can be gone through more than once; at QoS 0 the turn of a shared subscription is taken once.
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
    /// With shared subscriptions: chosen, and kept.
    Chosen(SmallVec<[ParcelTarget; 4]>),
}

impl Audience<'_> {
    /// Calls `each` once for every receiver.
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
            claim: self.claim,
            ids: SubscriptionIds::from_slice(self.ids),
        }
    }

    /// Whether it gets a promise that outlives its connection, as a session or as a group.
    pub fn is_durable(&self) -> bool {
        self.qos > QoS::AtMostOnce && (self.session.presence.is_durable() || self.claim.is_recorded())
    }
}

impl<'r> From<&'r ParcelTarget> for Receiver<'r> {
    fn from(target: &'r ParcelTarget) -> Self {
        Self { session: &target.session, qos: target.qos, retain: target.retain, claim: target.claim, ids: &target.ids }
    }
}

impl Route {
    /// Who gets a publication, or with [`Turn::Look`] would get it.
    #[inline]
    pub fn audience(&self, publisher: Publisher, qos: QoS, retain: bool, turn: Turn) -> Audience<'_> {
        if self.groups.is_empty() {
            return Audience::Plain { route: self, publisher: publisher.session, qos, retain };
        }
        self.chosen(publisher, qos, retain, turn)
    }

    fn chosen(&self, publisher: Publisher, qos: QoS, retain: bool, turn: Turn) -> Audience<'_> {
        let mut chosen = SmallVec::new();
        self.receivers(publisher, qos, retain, turn, |session, qos, retain, ids, claim| {
            chosen.push(ParcelTarget { session: session.clone(), qos, retain, claim, ids: ids.clone() });
        });
        Audience::Chosen(chosen)
    }

    /// Calls `each` for every copy of the publication: the session or the queue, the QoS to deliver with, the RETAIN flag, the subscription identifiers, and whose
    /// message it is.
    ///
    /// A shared subscription is independent of all others of its members (§4.8.2): one that is chosen has the copy of its own subscriptions beside, as the standard
    /// allows for overlapping ones [MQTT-3.3.4-3].
    pub fn receivers(
        &self,
        publisher: Publisher,
        publish_qos: QoS,
        publish_retain: bool,
        turn: Turn,
        mut each: impl FnMut(&SessionRef, QoS, bool, &SubscriptionIds, Claim),
    ) {
        // Downgraded to what was granted, never raised [MQTT-3.8.4-8]; RETAIN only as published where asked for [MQTT-3.3.1-12] [MQTT-3.3.1-13].
        let mut deliver = |session: &SessionRef, grant: &Merged, claim| {
            each(session, publish_qos.min(grant.qos), publish_retain && grant.retain_as_published, &grant.ids, claim);
        };
        for target in &self.targets {
            if let Some(grant) = target.for_publisher(publisher.session) {
                deliver(&target.session, grant, UNCLAIMED);
            }
        }
        // Its members' grants count when one of them gets the message.
        let as_published = Merged { qos: QoS::ExactlyOnce, retain_as_published: true, ids: SubscriptionIds::new() };
        for group in &self.groups {
            if publish_qos > QoS::AtMostOnce && group.keeps() {
                deliver(&group.queue, &as_published, group.claim);
            } else if let Some(member) = group.choose(publisher, turn) {
                deliver(&member.session, &Merged::from(&member.grant), UNCLAIMED);
            }
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
            claim: UNCLAIMED,
            ids: &grant.ids,
        }
    }

    /// No Local keeps a client's own publications from it [MQTT-3.8.3-3].
    fn for_publisher(&self, publisher: Option<SessionNo>) -> Option<&Merged> {
        if publisher == Some(self.session.no) { self.own.as_ref() } else { Some(&self.grant) }
    }
}
