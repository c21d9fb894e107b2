//! The retained message of a topic is the last accepted one (§3.3.1.3).

use super::{
    deliveries::{Copies, pairs},
    history::{ClientNo, History, MessageNo, Retained, Step},
    publications::Publication,
    sessions::{NEVER, Segment, Timeline},
    topics::TopicNo,
    verdict::{Violation, Wrong},
};

/// Judges every subscription that asks for retained messages, and every copy with RETAIN.
pub(crate) fn judge(
    history: &History,
    timelines: &[Timeline],
    publications: &[Publication],
    copies: &Copies,
    wrong: &mut Vec<Violation>,
) {
    let retained: Vec<MessageNo> =
        (0_u32..).zip(&history.messages).filter(|(_, info)| info.retain).map(|(no, _)| MessageNo(no)).collect();
    if retained.is_empty() {
        return;
    }
    let shelf = Shelf { history, publications, retained };
    for (client, timeline) in (0_u16..).map(ClientNo).zip(timelines) {
        for segment in timeline.segments.iter().filter(|segment| timeline.lives(segment)) {
            // A replacement that asks for none takes back what was not sent yet.
            let takes_back = |later: &Segment| {
                later.filter == segment.filter
                    && later.asked > segment.asked
                    && history.subscription(later.subscription).retained != Retained::Always
            };
            if timeline.segments.iter().any(takes_back) {
                continue;
            }
            for message in shelf.due(client, segment) {
                if !copies.of(client, message).any() {
                    wrong.push(Violation::of_message(Wrong::RetainedLost, message, client));
                }
            }
        }
    }
    for (client, message) in pairs(history) {
        let got = copies.of(client, message);
        if got.retained > 0
            && !history.message(message).empty
            && shelf.is_stale(&timelines[usize::from(client.0)], message, got.last_retained)
        {
            wrong.push(Violation::of_message(Wrong::StaleRetained, message, client));
        }
    }
}

struct Shelf<'a> {
    history: &'a History,
    publications: &'a [Publication],
    retained: Vec<MessageNo>,
}

impl Shelf<'_> {
    fn window(&self, message: MessageNo) -> &Publication {
        &self.publications[message.0 as usize]
    }

    fn on(&self, topic: TopicNo) -> impl Iterator<Item = MessageNo> + '_ {
        self.retained.iter().copied().filter(move |&message| self.history.message(message).topic == topic)
    }

    /// Whether a later one had certainly taken the message's place before `step`.
    fn superseded(&self, message: MessageNo, step: Step) -> bool {
        let (info, window) = (self.history.message(message), self.window(message));
        self.on(info.topic).any(|other| {
            let (other_info, later) = (self.history.message(other), self.window(other));
            let behind = later.from.is_some_and(|from| from > window.latest());
            let same_stream = other_info.publisher == info.publisher
                && other_info.qos == info.qos
                && info.will.is_none()
                && other_info.will.is_none();
            // A copy of an unacknowledged QoS 1 message may be accepted again behind the next one only together with that one.
            later.latest() < step
                && (behind || (same_stream && info.qos > 0 && other_info.sequence > info.sequence && window.by.is_some()))
        })
    }

    /// The retained messages that this subscription must be sent: those that nothing competes with.
    fn due(&self, client: ClientNo, segment: &Segment) -> Vec<MessageNo> {
        let asked = self.history.subscription(segment.subscription);
        let Some(sure_from) =
            segment.sure_from.filter(|_| asked.retained == Retained::Always && segment.sure_to == NEVER && segment.qos_low > 0)
        else {
            return Vec::new();
        };
        if self.history.vocabulary.is_shared(segment.filter) {
            return Vec::new(); // §4.8.2: none for shared subscriptions
        }
        let mut due = Vec::new();
        for &message in &self.retained {
            let info = self.history.message(message);
            let window = self.window(message);
            let accepted = window.by.is_some() && window.from.is_some_and(|from| from < sure_from);
            if !accepted
                || info.empty
                || info.qos == 0
                || info.expires
                || !self.history.vocabulary.matches(segment.filter, info.topic)
            {
                continue;
            }
            let own = (segment.no_local && info.publisher == client) || (info.large && self.history.client(client).small_only);
            let alone = self.on(info.topic).all(|other| {
                other == message
                    || self.window(other).from.is_none()
                    || (self.window(other).latest() < segment.asked && self.superseded(other, segment.asked))
            });
            if alone && !own {
                due.push(message);
            }
        }
        due
    }

    /// Whether no subscription made before `seen` could still find the message.
    fn is_stale(&self, timeline: &Timeline, message: MessageNo, seen: Step) -> bool {
        let topic = self.history.message(message).topic;
        !timeline.segments.iter().any(|segment| {
            segment.asked < seen
                && self.history.vocabulary.matches(segment.filter, topic)
                && !self.superseded(message, segment.asked)
        })
    }
}
