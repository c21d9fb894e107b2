//! The order of one publisher's messages on one topic at one QoS (§4.6) [MQTT-4.6.0-6].

use super::{
    deliveries::Copies,
    history::{ClientNo, Fact, History, MessageNo, Step},
    publications::Publication,
    sessions::Timeline,
    topics::TopicNo,
    verdict::{Violation, Wrong},
};

/// One ordered stream, as one subscriber sees it.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
struct Stream {
    client: u16,
    publisher: u16,
    topic: TopicNo,
    published: u8,
    delivered: u8,
}

/// Judges all streams of plain subscriptions. Copies with RETAIN belong to no stream: retained messages come whenever a subscription begins.
pub(crate) fn judge(
    history: &History,
    timelines: &[Timeline],
    publications: &[Publication],
    copies: &Copies,
    wrong: &mut Vec<Violation>,
) {
    let mut firsts: Vec<(Stream, u32, Step, MessageNo)> = Vec::new();
    for (step, &(_, fact)) in history.facts.iter().enumerate() {
        let Fact::HandedOver { client, message, qos, retain: false, .. } = fact else { continue };
        let info = history.message(message);
        let shared = timelines[usize::from(client.0)].segments.iter().any(|segment| {
            history.vocabulary.is_shared(segment.filter) && history.vocabulary.matches(segment.filter, info.topic)
        });
        if !shared && info.will.is_none() && !info.empty {
            let stream =
                Stream { client: client.0, publisher: info.publisher.0, topic: info.topic, published: info.qos, delivered: qos };
            firsts.push((stream, info.sequence, step, message));
        }
    }
    firsts.sort_unstable_by_key(|&(stream, sequence, step, _)| (stream, sequence, step));
    firsts.dedup_by_key(|&mut (stream, sequence, ..)| (stream, sequence));
    for pair in firsts.windows(2) {
        let [(stream, _, earlier_first, earlier), (other, _, later_first, later)] = pair else { continue };
        // With RETAIN it can have come before, where a subscription keeps the flag.
        let had_it = copies.of(ClientNo(stream.client), *earlier).first < *later_first;
        if stream == other
            && later_first < earlier_first
            && !had_it
            && !excused(history, timelines, publications, *stream, *earlier, *later_first)
        {
            wrong.push(Violation {
                other: Some(*later),
                ..Violation::of_message(Wrong::OutOfOrder, *earlier, ClientNo(stream.client))
            });
        }
    }
}

/// Where a later message may come first. A message published again after a lost connection comes behind later ones, where the subscription began between the two.
fn excused(
    history: &History,
    timelines: &[Timeline],
    publications: &[Publication],
    stream: Stream,
    earlier: MessageNo,
    later_first: Step,
) -> bool {
    let publication = &publications[earlier.0 as usize];
    let had_subscribed = timelines[usize::from(stream.client)].segments.iter().any(|segment| {
        history.vocabulary.matches(segment.filter, stream.topic)
            && segment.qos_low >= stream.delivered
            && !(segment.no_local && stream.publisher == stream.client)
            && publication
                .from
                .is_some_and(|from| segment.sure_from.is_some_and(|sure| sure <= from) && segment.sure_to >= later_first)
    });
    // At QoS 0 the first copy may have been lost.
    let again = stream.published == 1 && publication.sends > 1 && (!had_subscribed || stream.delivered == 0);
    // Who gives its session up has no claim to the order of what it left behind.
    let given_up = stream.published > 0 && publication.by.is_none();
    // The first copy may have waited too long, and the repeated publication not.
    again || given_up || history.message(earlier).expires
}
