//! How often a message reached a client, and how often it had to.

use super::{
    history::{ClientNo, Fact, History, MessageInfo, MessageNo, Retained, Step},
    publications::Publication,
    sessions::{Segment, Timeline},
    topics::FilterNo,
    verdict::{Violation, Wrong},
};

/// What one client got of one message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Got {
    /// Copies with RETAIN 0, by QoS.
    pub(crate) live: [u16; 3],
    /// Those of them without DUP.
    pub(crate) fresh: u16,
    /// Copies with RETAIN 1 ...
    pub(crate) retained: u16,
    /// ... that cannot be repetitions.
    pub(crate) retained_fresh: u16,
    /// The first of all.
    pub(crate) first: Step,
    /// The first with RETAIN 0.
    pub(crate) first_live: Step,
    /// The last with RETAIN 1.
    pub(crate) last_retained: Step,
    /// The highest and lowest QoS of all.
    pub(crate) highest: u8,
    pub(crate) lowest: u8,
    /// The lowest QoS of those with RETAIN 0.
    pub(crate) lowest_live: u8,
}

impl Got {
    pub(crate) fn live_total(&self) -> u16 {
        self.live.iter().sum()
    }

    pub(crate) fn any(&self) -> bool {
        self.live_total() + self.retained > 0
    }
}

/// All copies, by client and message.
pub(crate) struct Copies {
    messages: usize,
    got: Vec<Got>,
    /// Where the process ended without a word.
    crashes: Vec<Step>,
}

impl Copies {
    pub(crate) fn count(history: &History) -> Self {
        let messages = history.messages.len();
        let mut all = Self {
            messages,
            got: vec![Got { lowest: u8::MAX, lowest_live: u8::MAX, ..Got::default() }; messages * history.clients.len()],
            crashes: Vec::new(),
        };
        for (step, &(_, fact)) in history.facts.iter().enumerate() {
            if let Fact::HandedOver { client, message, qos, retain, dup } = fact {
                let got = &mut all.got[usize::from(client.0) * messages + message.0 as usize];
                if !got.any() {
                    got.first = step;
                }
                got.highest = got.highest.max(qos);
                got.lowest = got.lowest.min(qos);
                if retain {
                    got.retained += 1;
                    got.retained_fresh += u16::from(!dup || qos == 2);
                    got.last_retained = step;
                } else {
                    if got.live_total() == 0 {
                        got.first_live = step;
                    }
                    got.lowest_live = got.lowest_live.min(qos);
                    got.live[usize::from(qos.min(2))] += 1;
                    got.fresh += u16::from(!dup);
                }
            } else if fact == Fact::Crashed {
                all.crashes.push(step);
            }
        }
        all
    }

    /// How often a crash can have repeated this publication: a will below QoS 2 does not wait for its record, so each crash behind it can. At QoS 0 nothing else
    /// repeats.
    pub(crate) fn repeats(&self, info: &MessageInfo, publication: &Publication) -> u16 {
        if info.will.is_none() || info.qos > 0 {
            return 0;
        }
        let behind = self.crashes.iter().filter(|crash| **crash > publication.early).count();
        u16::try_from(behind).unwrap_or(u16::MAX)
    }

    fn crashes(&self) -> u16 {
        u16::try_from(self.crashes.len()).unwrap_or(u16::MAX)
    }

    pub(crate) fn of(&self, client: ClientNo, message: MessageNo) -> &Got {
        &self.got[usize::from(client.0) * self.messages + message.0 as usize]
    }
}

/// Every pair of a client and a message, in a fixed order.
pub(crate) fn pairs(history: &History) -> impl Iterator<Item = (ClientNo, MessageNo)> + use<> {
    let (clients, messages) = (history.clients.len(), history.messages.len());
    (0_u16..)
        .take(clients)
        .flat_map(move |client| (0_u32..).take(messages).map(move |message| (ClientNo(client), MessageNo(message))))
}

/// Judges every pair.
pub(crate) fn judge(
    history: &History,
    timelines: &[Timeline],
    publications: &[Publication],
    copies: &Copies,
    wrong: &mut Vec<Violation>,
) {
    for (client, message) in pairs(history) {
        let (info, publication) = (history.message(message), &publications[message.0 as usize]);
        if info.empty {
            continue;
        }
        let got = copies.of(client, message);
        let timeline = &timelines[usize::from(client.0)];
        let matching = || timeline.segments.iter().filter(|segment| history.vocabulary.matches(segment.filter, info.topic));
        let mut say = |what: Wrong| wrong.push(Violation::of_message(what, message, client));
        if got.any()
            && let Some(what) = too_much(history, info, publication, copies, (timeline, got), matching)
        {
            say(what);
        }
        let due = matching()
            .filter(|segment| {
                !history.vocabulary.is_shared(segment.filter)
                    && timeline.lives(segment)
                    && !(info.large && history.client(client).small_only)
                    && must(segment, client, info, publication)
            })
            .map(|segment| segment.qos_low.min(info.qos))
            .max();
        match due {
            Some(qos) if qos > 0 && !got.any() => say(Wrong::Lost),
            Some(qos) if got.lowest_live < qos && !is_mixed(history, matching()) => say(Wrong::QosLowered),
            Some(_) | None => {}
        }
    }
}

/// In how many more ways than one a message can come to a client with these subscriptions: each shared one brings its own, the plain ones together one.
pub(crate) fn further_ways<'a>(history: &History, segments: impl Iterator<Item = &'a Segment>) -> u16 {
    let mut ways: Vec<Option<FilterNo>> = Vec::new();
    for segment in segments {
        let way = Some(segment.filter).filter(|&filter| history.vocabulary.is_shared(filter));
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    u16::try_from(ways.len().saturating_sub(1)).unwrap_or(u16::MAX)
}

/// Whether there is more than one.
pub(crate) fn is_mixed<'a>(history: &History, segments: impl Iterator<Item = &'a Segment>) -> bool {
    further_ways(history, segments) > 0
}

/// Whether the publication was certainly accepted while the subscription was certainly in force.
pub(crate) fn must(segment: &Segment, subscriber: ClientNo, info: &MessageInfo, publication: &Publication) -> bool {
    let (Some(sure_from), Some(by)) = (segment.sure_from, publication.by) else { return false };
    sure_from <= publication.early
        && by <= segment.sure_to
        && !info.expires
        && !(segment.no_local && info.publisher == subscriber)
}

fn too_much<'a, I: Iterator<Item = &'a Segment>>(
    history: &History,
    info: &MessageInfo,
    publication: &Publication,
    copies: &Copies,
    (timeline, got): (&Timeline, &Got),
    matching: impl Fn() -> I,
) -> Option<Wrong> {
    let live = got.live_total();
    // Two subscriptions: the member may inherit what it had by its own one.
    let extra = further_ways(history, matching());
    if publication.taken_back {
        return Some(Wrong::WillAfterDisconnect);
    }
    // A member may inherit what was published before it came.
    let overlaps = |segment: &Segment| {
        history.vocabulary.is_shared(segment.filter)
            || (publication.from.is_some_and(|from| from <= segment.maybe_to) && segment.asked <= publication.latest())
    };
    if live > 0 && !matching().any(|segment| segment.asked < got.first_live && overlaps(segment)) {
        return Some(Wrong::NotAskedFor);
    }
    if matching().map(|segment| history.subscription(segment.subscription).qos).max().is_none_or(|asked| got.highest > asked) {
        return Some(Wrong::QosAboveGrant);
    }
    let repeats = copies.repeats(info, publication) + extra;
    // Copies at QoS 1 may be repeated, each by itself; one that a member had can also come back to it through its group, at another QoS.
    let is_shared = matching().any(|segment| history.vocabulary.is_shared(segment.filter));
    let counted = if extra > 0 || is_shared { live - got.live[1] } else { live };
    if info.qos != 1 && counted > 1 + repeats && live != got.live[1] {
        return Some(Wrong::Twice);
    }
    // A member whose connection or session ends with the message can be chosen again in its next one, after others have had it.
    let sessions = matching().map(|segment| segment.incarnation + 1).max().unwrap_or(0);
    let lost = publication.from.map_or(0, |from| timeline.connections_lost_after(from));
    let chances = u32::try_from(if is_shared { sessions + lost } else { 0 }).unwrap_or(u32::MAX);
    if u32::from(got.fresh).saturating_sub(chances)
        > publication.sends * u32::from(1 + extra) * u32::from(1 + copies.crashes()) + u32::from(extra)
    {
        return Some(Wrong::TooOften);
    }
    if got.retained > 0 && !info.retain {
        return Some(Wrong::RetainFlag);
    }
    let asked_for_retained =
        matching().filter(|segment| history.subscription(segment.subscription).retained != Retained::Never).count();
    let live_with_flag =
        matching().filter(|segment| history.subscription(segment.subscription).retain_as_published).count().min(1);
    // Below QoS 2 a crash can repeat each of them.
    let (crashes, sends) = if got.lowest == 2 { (0, 0) } else { (copies.crashes.len(), publication.sends as usize) };
    if usize::from(got.retained_fresh) > (asked_for_retained + live_with_flag) * (1 + crashes) + sends {
        return Some(Wrong::TooOften);
    }
    None
}
