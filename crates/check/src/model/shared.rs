//! Shared subscriptions: one member gets a message (§4.8.2).

use super::{
    deliveries::{Copies, further_ways},
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
            if info.qos != 1 && other_than_1 > 1 + copies.repeats(info, publication) + group.other_ways(info.topic) {
                say(Wrong::Twice);
            }
            if holder.is_none() && group.must(info.qos, info.expires || (info.large && group.takes_small_only()), publication) {
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

    /// How many copies members can have of a message beside the one of this group: by subscriptions of their own, and by other groups.
    fn other_ways(&self, topic: TopicNo) -> u16 {
        let matching = |timeline: &Timeline| {
            let segments: Vec<&Segment> =
                timeline.segments.iter().filter(|segment| self.history.vocabulary.matches(segment.filter, topic)).collect();
            further_ways(self.history, segments.into_iter())
        };
        self.members().map(|(_, timeline)| matching(timeline)).sum()
    }

    /// Whether a member cannot take every message.
    fn takes_small_only(&self) -> bool {
        self.members().any(|(client, _)| self.history.client(client).small_only)
    }

    /// Whether some member had to get it. It is the group's until a member has acknowledged it, and all that were members then or later can have been given it.
    fn must(&self, qos: u8, expires: bool, publication: &Publication) -> bool {
        let (Some(_), Some(from)) = (publication.by, publication.from) else { return false };
        if qos == 0 || expires {
            return false;
        }
        let is_at_0 = |segment: &Segment| self.history.subscription(segment.subscription).qos == 0;
        let concerned = || self.segments().filter(|(_, segment)| segment.maybe_to >= from);
        let served = self.members().any(|(_, timeline)| {
            let own = || timeline.segments.iter().filter(|segment| segment.filter == self.filter);
            let is_sure = |segment: &Segment| {
                timeline.lives(segment)
                    && segment.sure_to == NEVER
                    && segment.sure_from.is_some_and(|sure| sure <= publication.early)
            };
            // Who asks for QoS 0 is not waited for.
            own().any(is_sure) && !own().any(|segment| is_at_0(segment) && segment.maybe_to >= from)
        });
        served && concerned().all(|(timeline, segment)| self.keeps(timeline, segment, qos, from))
    }

    /// Whether a member that was given it had to keep it, or to give it back. A QoS 2 message once sent ends with its session [MQTT-4.8.2-5], one at QoS 0 is lost with
    /// the connection that carries it.
    fn keeps(&self, timeline: &Timeline, segment: &Segment, qos: u8, from: Step) -> bool {
        match qos.min(self.history.subscription(segment.subscription).qos) {
            0 => !timeline.loses_a_connection_after(from),
            1 => true,
            _ => timeline.lives(segment),
        }
    }
}
