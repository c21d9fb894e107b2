//! The lives of sessions and subscriptions, as far as they are certain from outside.

use super::{
    history::{Breach, ClientNo, Fact, History, LinkNo, Micros, Step, SubscriptionNo},
    topics::FilterNo,
    verdict::{Violation, Wrong},
};

/// "Never": a step behind all others.
pub(crate) const NEVER: Step = Step::MAX;

/// How long after its expiry a session may still be found: the grain of the interval and of the broker's timers.
const EXPIRY_SLACK: Micros = 3_000_000;

/// The life of one subscription.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) subscription: SubscriptionNo,
    pub(crate) filter: FilterNo,
    /// It may be in force from here ...
    pub(crate) asked: Step,
    /// ... and is certainly from here,
    pub(crate) sure_from: Option<Step>,
    /// certainly up to here,
    pub(crate) sure_to: Step,
    /// and perhaps up to here.
    pub(crate) maybe_to: Step,
    /// The lowest QoS that may be in force while the subscription is.
    pub(crate) qos_low: u8,
    /// Own messages may be left out.
    pub(crate) no_local: bool,
    /// The session that it belongs to.
    pub(crate) incarnation: usize,
}

/// The life of one client.
#[derive(Debug)]
pub(crate) struct Timeline {
    client: ClientNo,
    expiry: u32,
    pub(crate) segments: Vec<Segment>,
    /// Up to where each of its sessions certainly lived.
    pub(crate) incarnations: Vec<Step>,
    /// CONNACK has told of a session that outlives its connection, and nothing has ended it since.
    promised: bool,
    /// It has sent a CONNECT at some time.
    known: bool,
    link: Option<LinkNo>,
    connect: (Step, bool),
    /// When the connection ended at the earliest.
    detached: Option<(Step, Micros)>,
    /// When the broker last learned of an end; nothing while it may believe in a connection.
    told: Option<Micros>,
    open: Vec<LinkNo>,
    /// When the broker had lost a connection at the latest.
    lost: Vec<Step>,
    /// UNSUBSCRIBEs of this connection that were not answered yet.
    unsubscribing: Vec<(FilterNo, Step)>,
}

impl Timeline {
    fn new(client: ClientNo, expiry: u32) -> Self {
        Self {
            client,
            expiry,
            segments: Vec::new(),
            incarnations: vec![NEVER],
            promised: false,
            known: false,
            link: None,
            connect: (0, true),
            detached: None,
            told: None,
            open: Vec::new(),
            lost: Vec::new(),
            unsubscribing: Vec::new(),
        }
    }

    /// Whether the session of this segment lived to the end of the history.
    pub(crate) fn lives(&self, segment: &Segment) -> bool {
        self.incarnations[segment.incarnation] == NEVER
    }

    /// Whether the broker may have believed in a connection that ended behind this step.
    pub(crate) fn loses_a_connection_after(&self, step: Step) -> bool {
        self.connections_lost_after(step) > 0
    }

    /// How many such connections there were.
    pub(crate) fn connections_lost_after(&self, step: Step) -> usize {
        self.lost.iter().filter(|&&end| step < end).count()
    }

    fn connect_sent(&mut self, step: Step, link: LinkNo, clean: bool) {
        self.unsubscribing.clear();
        if clean {
            self.end_session(step);
            self.promised = false;
        }
        self.known = true;
        self.link = Some(link);
        self.connect = (step, clean);
        self.open.push(link);
        self.told = None;
    }

    fn connected(&mut self, step: Step, at: Micros, link: LinkNo, present: Option<bool>, wrong: &mut Vec<Violation>) {
        let (sent, clean) = self.connect;
        let present = present.unwrap_or(!clean);
        if present && clean {
            wrong.push(Violation::of_client(Wrong::Broke(Breach::PresentAfterCleanStart), self.client));
        }
        if present && !clean && self.outlived_expiry(at) {
            wrong.push(Violation::of_client(Wrong::SessionOutlivedExpiry, self.client));
        }
        if !present {
            if self.promised && !self.may_be_expired(at) {
                wrong.push(Violation::of_client(Wrong::SessionForgotten, self.client));
            }
            self.end_session(self.detached.map_or(sent, |(step, _)| step.min(sent)));
            for segment in self.segments.iter_mut().filter(|segment| segment.asked < sent) {
                segment.maybe_to = segment.maybe_to.min(step);
            }
        }
        self.promised = self.expiry > 0;
        // A CONNACK can come when its connection is long gone at the other end.
        if self.open.contains(&link) {
            self.detached = None;
        }
        self.told = None;
    }

    fn may_be_expired(&self, at: Micros) -> bool {
        self.expiry != u32::MAX && self.detached.is_some_and(|(_, from)| at >= from + u64::from(self.expiry) * 1_000_000)
    }

    fn outlived_expiry(&self, at: Micros) -> bool {
        // Without a lasting session every connection begins anew, also one that takes the place of another.
        self.expiry == 0
            || self.expiry != u32::MAX
                && self.told.is_some_and(|told| at > told + u64::from(self.expiry) * 1_000_000 + EXPIRY_SLACK)
    }

    /// The connection ended here at the earliest.
    fn detach(&mut self, step: Step, at: Micros) {
        if self.detached.is_none() {
            self.detached = Some((step, at));
        }
        if self.expiry == 0 {
            self.end_session(step);
        }
    }

    fn broker_lost(&mut self, step: Step, at: Micros, link: LinkNo) {
        self.open.retain(|&open| open != link);
        self.lost.push(step);
        if self.open.is_empty() {
            self.told = Some(at);
        }
    }

    fn end_session(&mut self, step: Step) {
        let last = self.incarnations.len() - 1;
        for segment in self.segments.iter_mut().filter(|segment| segment.incarnation == last) {
            segment.sure_to = segment.sure_to.min(step);
        }
        self.incarnations[last] = step.min(self.incarnations[last]);
        self.incarnations.push(NEVER);
    }

    fn subscribe_sent(&mut self, step: Step, history: &History, subscription: SubscriptionNo) {
        let asked = history.subscription(subscription);
        // A replacement never takes the subscription away, but may change it from here [MQTT-3.8.4-3].
        for old in self.segments.iter_mut().filter(|old| old.filter == asked.filter && old.maybe_to == NEVER) {
            old.qos_low = old.qos_low.min(asked.qos);
            old.no_local |= asked.no_local;
        }
        self.segments.push(Segment {
            subscription,
            filter: asked.filter,
            asked: step,
            sure_from: None,
            sure_to: NEVER,
            maybe_to: NEVER,
            qos_low: asked.qos,
            no_local: asked.no_local,
            incarnation: self.incarnations.len() - 1,
        });
    }

    fn subscribed(&mut self, step: Step, subscription: SubscriptionNo, granted: u8) {
        let Some(at) = self.segments.iter().position(|segment| segment.subscription == subscription) else { return };
        let filter = self.segments[at].filter;
        self.segments[at].sure_from = Some(step);
        self.segments[at].qos_low = self.segments[at].qos_low.min(granted);
        for old in self.segments[..at].iter_mut().filter(|old| old.filter == filter) {
            old.sure_to = old.sure_to.min(step);
            old.maybe_to = old.maybe_to.min(step);
        }
    }

    fn unsubscribe_sent(&mut self, step: Step, filter: FilterNo) {
        self.unsubscribing.push((filter, step));
        for segment in self.segments.iter_mut().filter(|segment| segment.filter == filter) {
            segment.sure_to = segment.sure_to.min(step);
        }
    }

    fn unsubscribed(&mut self, step: Step, filter: FilterNo) {
        // Answers come in the order of the questions.
        let Some(at) = self.unsubscribing.iter().position(|(open, _)| *open == filter) else { return };
        let (_, sent) = self.unsubscribing.remove(at);
        for segment in self.segments.iter_mut().filter(|segment| segment.filter == filter && segment.asked < sent) {
            segment.maybe_to = segment.maybe_to.min(step);
        }
    }
}

/// Works out all lives, and names the promises about sessions that were broken.
pub(crate) fn timelines(history: &History, wrong: &mut Vec<Violation>) -> Vec<Timeline> {
    let mut all: Vec<Timeline> =
        (0_u16..).zip(&history.clients).map(|(no, info)| Timeline::new(ClientNo(no), info.expiry)).collect();
    for (step, &(at, fact)) in history.facts.iter().enumerate() {
        follow(&mut all, history, step, at, fact, wrong);
    }
    all
}

fn follow(all: &mut [Timeline], history: &History, step: Step, at: Micros, fact: Fact, wrong: &mut Vec<Violation>) {
    let of = |client: ClientNo| usize::from(client.0);
    match fact {
        Fact::ConnectSent { client, link, clean, .. } => all[of(client)].connect_sent(step, link, clean),
        Fact::Connected { client, link, present } => {
            if present == Some(true) && !all[of(client)].known {
                wrong.push(Violation::of_client(Wrong::SessionInvented, client));
            }
            all[of(client)].connected(step, at, link, present, wrong);
        }
        Fact::DisconnectSent { client, link, ends_session, .. } => {
            let timeline = &mut all[of(client)];
            if timeline.link == Some(link) {
                timeline.detach(step, at);
            }
            if ends_session {
                timeline.end_session(step);
                timeline.promised = false;
            }
        }
        Fact::LinkLost { client, link } => {
            if all[of(client)].link == Some(link) {
                all[of(client)].detach(step, at);
            }
        }
        Fact::BrokerLost { client, link } => {
            let timeline = &mut all[of(client)];
            timeline.broker_lost(step, at, link);
            if timeline.link == Some(link) {
                timeline.detach(step, at);
            }
        }
        Fact::Crashed => {
            for timeline in all.iter_mut().filter(|timeline| timeline.link.is_some()) {
                timeline.detach(step, at);
                timeline.open.clear();
                timeline.lost.push(step);
            }
        }
        Fact::Recovered => {
            for timeline in all.iter_mut().filter(|timeline| timeline.open.is_empty()) {
                timeline.told = Some(at);
            }
        }
        Fact::SubscribeSent { client, subscription } => all[of(client)].subscribe_sent(step, history, subscription),
        Fact::Subscribed { client, subscription, granted } => all[of(client)].subscribed(step, subscription, granted),
        Fact::UnsubscribeSent { client, filter } => all[of(client)].unsubscribe_sent(step, filter),
        Fact::Unsubscribed { client, filter } => all[of(client)].unsubscribed(step, filter),
        Fact::DisconnectRead { .. }
        | Fact::PublishSent { .. }
        | Fact::Received { .. }
        | Fact::Acknowledged { .. }
        | Fact::Abandoned { .. }
        | Fact::Arrived { .. }
        | Fact::HandedOver { .. }
        | Fact::Broke { .. }
        | Fact::Written { .. }
        | Fact::Synced { .. }
        | Fact::Checkpoint { .. }
        | Fact::JournalLost
        | Fact::Draining
        | Fact::Differs { .. } => {}
    }
}
