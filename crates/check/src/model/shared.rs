//! Shared subscriptions: one member gets a message (§4.8.2).

use super::{
    deliveries::{Copies, is_mixed},
    history::{ClientNo, History, MessageNo, Step},
    publications::Publication,
    sessions::{NEVER, Segment, Timeline},
    topics::{FilterNo, TopicNo},
    verdict::{Violation, Wrong},
};

/// Judges every group.
pub(crate) fn judge(
    history: &History,
    timelines: &[Timeline],
    publications: &[Publication],
    copies: &Copies,
    wrong: &mut Vec<Violation>,
) {
    let mut groups: Vec<FilterNo> =
        history.subscriptions.iter().map(|asked| asked.filter).filter(|&filter| history.vocabulary.is_shared(filter)).collect();
    groups.sort_unstable();
    groups.dedup();
    for filter in groups {
        let group = Group { history, timelines, filter };
        for (message, info) in (0_u32..).map(MessageNo).zip(&history.messages) {
            if !history.vocabulary.matches(filter, info.topic) || info.empty {
                continue;
            }
            let publication = &publications[message.0 as usize];
            let all: Vec<_> = group.members().map(|(client, _)| copies.of(client, message)).collect();
            let other_than_1: u16 = all.iter().map(|got| got.live[0] + got.live[2]).sum();
            let holder = group.members().map(|(client, _)| client).find(|&client| copies.of(client, message).any());
            let someone = holder.or_else(|| group.members().next().map(|(client, _)| client));
            let mut say =
                |what| wrong.push(Violation { wrong: what, message: Some(message), other: None, client: someone, step: None });
            if info.qos != 1 && other_than_1 > 1 + copies.repeats(info, publication) && !group.is_mixed(info.topic) {
                say(Wrong::Twice);
            }
            if holder.is_none()
                && group.must(info.qos, info.topic, info.expires || (info.large && group.takes_small_only()), publication)
            {
                say(Wrong::Lost);
            }
        }
    }
}

struct Group<'a> {
    history: &'a History,
    timelines: &'a [Timeline],
    filter: FilterNo,
}

impl Group<'_> {
    /// All that ever asked to be members, once each.
    fn members(&self) -> impl Iterator<Item = (ClientNo, &Timeline)> + '_ {
        let is_member = |timeline: &Timeline| timeline.segments.iter().any(|segment| segment.filter == self.filter);
        (0_u16..).map(ClientNo).zip(self.timelines).filter(move |(_, timeline)| is_member(timeline))
    }

    fn segments(&self) -> impl Iterator<Item = (&Timeline, &Segment)> + '_ {
        self.members().flat_map(|(_, timeline)| {
            timeline.segments.iter().filter(|segment| segment.filter == self.filter).map(move |segment| (timeline, segment))
        })
    }

    /// Whether a member has subscriptions of its own to the topic.
    fn is_mixed(&self, topic: TopicNo) -> bool {
        self.members().any(|(_, timeline)| {
            is_mixed(
                self.history,
                timeline.segments.iter().filter(|segment| self.history.vocabulary.matches(segment.filter, topic)),
            )
        })
    }

    /// Whether a member cannot take every message.
    fn takes_small_only(&self) -> bool {
        self.members().any(|(client, _)| self.history.client(client).small_only)
    }

    /// At which QoS a member may be sent a message: one copy serves all its subscriptions.
    fn highest_qos(&self, timeline: &Timeline, topic: TopicNo) -> u8 {
        let matching = timeline.segments.iter().filter(|segment| self.history.vocabulary.matches(segment.filter, topic));
        matching.map(|segment| self.history.subscription(segment.subscription).qos).max().unwrap_or(0)
    }

    /// Whether some member had to get it, whoever was chosen.
    fn must(&self, qos: u8, topic: TopicNo, expires: bool, publication: &Publication) -> bool {
        let (Some(by), Some(from)) = (publication.by, publication.from) else { return false };
        if qos == 0 || expires {
            return false;
        }
        let concerned = || self.segments().filter(|(_, segment)| segment.maybe_to >= from && segment.asked <= by);
        let is_at_0 = |segment: &Segment| self.history.subscription(segment.subscription).qos == 0;
        let served = self.members().any(|(_, timeline)| {
            let own = || timeline.segments.iter().filter(|segment| segment.filter == self.filter);
            let is_sure = |segment: &Segment| {
                timeline.lives(segment)
                    && segment.sure_to == NEVER
                    && segment.sure_from.is_some_and(|sure| sure <= publication.early)
            };
            // Who asks for QoS 0 is not waited for.
            own().any(is_sure) && !own().any(|segment| is_at_0(segment) && segment.maybe_to >= from && segment.asked <= by)
        });
        let kept = concerned().all(|(timeline, segment)| self.keeps(timeline, segment, qos, topic, (from, by)));
        let ended = concerned().map(|(timeline, segment)| timeline.incarnations[segment.incarnation]).min();
        let inherited = match ended.filter(|end| *end < NEVER) {
            Some(end) => {
                let heirs = self.segments().filter(|(_, segment)| segment.maybe_to >= end);
                heirs.into_iter().all(|(timeline, segment)| self.keeps_as_heir(timeline, segment, qos, topic, end))
            }
            None => true,
        };
        served && kept && inherited
    }

    /// Whether a member that the publication may have chosen had to keep it, or to pass it on. At QoS 0 nothing is kept, and only who is there is chosen; a QoS 2
    /// message once sent ends with its session [MQTT-4.8.2-5].
    fn keeps(&self, timeline: &Timeline, segment: &Segment, qos: u8, topic: TopicNo, (from, by): (Step, Step)) -> bool {
        if self.history.subscription(segment.subscription).qos == 0 {
            return !timeline.maybe_online(from, by);
        }
        timeline.lives(segment) || qos.min(self.highest_qos(timeline, topic)) < 2
    }

    /// Whether a member that may have inherited it from a session that ended had to get it. At QoS 0 it waits for its reader, and is lost with a connection only;
    /// where no member outlives its connection nothing waits.
    fn keeps_as_heir(&self, timeline: &Timeline, segment: &Segment, qos: u8, topic: TopicNo, end: Step) -> bool {
        if self.history.subscription(segment.subscription).qos == 0 {
            return !timeline.loses_a_connection_after(end)
                && self.members().any(|(client, _)| self.history.client(client).expiry > 0);
        }
        timeline.lives(segment) || qos.min(self.highest_qos(timeline, topic)) < 2
    }
}
