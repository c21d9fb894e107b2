//! When a message was accepted, as far as it is certain from outside; wills included.

use super::{
    history::{ClientNo, Fact, History, LinkNo, MessageNo, Micros, Step},
    sessions::NEVER,
};

/// After a crash clients get so long to come back before their wills are published.
const GRACE: Micros = 5_000_000;

/// So long the records of an end may take to come to the journal: its turn can be left open.
const TURN: Micros = 1_000;

/// Grain of will delays and of the broker's timers.
const WILL_SLACK: Micros = 3_000_000;

/// The window within which one message was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    /// Not accepted before this step; `None`: never left its publisher.
    pub(crate) from: Option<Step>,
    /// A subscription in force from here on is early enough.
    pub(crate) early: Step,
    /// Accepted at this step at the latest; `None`: perhaps never.
    pub(crate) by: Option<Step>,
    /// How often it was sent.
    pub(crate) sends: u32,
    /// The broker must not publish it: a will that was taken back.
    pub(crate) taken_back: bool,
}

impl Publication {
    /// Not accepted after this step.
    pub(crate) fn latest(&self) -> Step {
        self.by.unwrap_or(NEVER)
    }
}

/// What CONNACK has said about a will.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Promise {
    /// It has not come.
    None,
    /// The will is recorded.
    Recorded,
    /// The journal had failed by then: no will can be recorded any more.
    Unrecorded,
}

/// The end of a connection that carries a will.
#[derive(Debug)]
struct Willed {
    message: MessageNo,
    client: ClientNo,
    link: LinkNo,
    promise: Promise,
    /// First step from which the broker may think that the connection is gone.
    lost: Option<(Step, Micros)>,
    /// A crash may have hidden that.
    crashed: bool,
    /// The commit that tells of the end; once it is on disk no crash hides it.
    written: Option<u64>,
    on_disk: bool,
    /// From when on its delay counts, at the latest.
    told: Option<Micros>,
    /// A DISCONNECT that removes the will was sent, and read.
    disconnect: Option<Step>,
    read: bool,
    /// The client's next CONNECT.
    next: Option<Micros>,
}

/// All windows, by message number.
pub(crate) fn publications(history: &History) -> Vec<Publication> {
    let none = Publication { from: None, early: NEVER, by: None, sends: 0, taken_back: false };
    let mut all = vec![none; history.messages.len()];
    let mut wills: Vec<Willed> = Vec::new();
    let mut last_crash = 0;
    let mut journal_is_lost = false;
    for (step, &(at, fact)) in history.facts.iter().enumerate() {
        if let Fact::PublishSent { message } = fact {
            let publication = &mut all[message.0 as usize];
            publication.sends += 1;
            if publication.from.is_none() {
                (publication.from, publication.early) = (Some(step), step);
            }
        } else if let Fact::Acknowledged { message } = fact {
            all[message.0 as usize].by = Some(step);
        } else if fact == Fact::Crashed {
            last_crash = step;
            if std::mem::take(&mut journal_is_lost) {
                // Nothing of what became of them since is on disk, and a CONNACK that is still on its way was perhaps sent since.
                for will in &mut wills {
                    will.crashed = true;
                    will.hear(Promise::Unrecorded);
                }
            }
        } else if fact == Fact::JournalLost {
            journal_is_lost = true;
        } else if let Fact::Connected { link, .. } = fact {
            let promise = if journal_is_lost { Promise::Unrecorded } else { Promise::Recorded };
            on_link(&mut wills, link, |will| will.hear(promise));
        }
        follow_wills(&mut wills, step, at, fact);
    }
    let end = history.facts.last().map_or(0, |&(at, _)| at);
    for will in wills {
        let delay = Micros::from(history.message(will.message).will.unwrap_or(0)) * 1_000_000;
        let begun = all[will.message.0 as usize].from;
        all[will.message.0 as usize] = Publication {
            from: begun,
            early: will.lost.map_or(NEVER, |(step, _)| step),
            by: will.is_due(delay, end).then_some(NEVER - 1),
            sends: 1,
            taken_back: will.read && will.disconnect.is_some_and(|step| step > last_crash),
        };
    }
    // A will may be published from its CONNECT on.
    for (step, &(_, fact)) in history.facts.iter().enumerate() {
        if let Fact::ConnectSent { will: Some(will), .. } = fact {
            all[will.0 as usize].from = Some(step);
        }
    }
    all
}

impl Willed {
    /// What is certain of its record, said once.
    fn hear(&mut self, promise: Promise) {
        if self.promise == Promise::None {
            self.promise = promise;
        }
    }

    fn is_due(&self, delay: Micros, end: Micros) -> bool {
        let Some(told) = self.told.filter(|_| self.promise == Promise::Recorded && self.disconnect.is_none()) else {
            return false;
        };
        let delay = if self.crashed { delay.max(GRACE) } else { delay };
        delay == 0 || self.next.unwrap_or(end) > told + delay + WILL_SLACK
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "wills know of connections, commits and crashes only")]
fn follow_wills(wills: &mut Vec<Willed>, step: Step, at: Micros, fact: Fact) {
    match fact {
        Fact::ConnectSent { client, link, will, .. } => {
            for old in wills.iter_mut().filter(|old| old.client == client && old.next.is_none()) {
                old.next = Some(at);
                old.lost.get_or_insert((step, at));
            }
            if let Some(message) = will {
                wills.push(Willed {
                    message,
                    client,
                    link,
                    promise: Promise::None,
                    lost: None,
                    crashed: false,
                    written: None,
                    on_disk: false,
                    told: None,
                    disconnect: None,
                    read: false,
                    next: None,
                });
            }
        }
        Fact::DisconnectSent { link, keeps_will, .. } => on_link(wills, link, |will| {
            will.lost.get_or_insert((step, at));
            if !keeps_will {
                will.disconnect = Some(step);
            }
        }),
        // The client's next CONNECT may have come before it, and taken the session over.
        Fact::DisconnectRead { link, .. } => on_link(wills, link, |will| will.read = will.next.is_none()),
        Fact::LinkLost { link, .. } => on_link(wills, link, |will| {
            will.lost.get_or_insert((step, at));
        }),
        Fact::BrokerLost { link, .. } => on_link(wills, link, |will| {
            will.lost.get_or_insert((step, at));
            will.told = Some(at);
        }),
        Fact::Crashed => {
            for will in wills {
                will.lost.get_or_insert((step, at));
                will.crashed |= !will.on_disk;
                will.written = None;
            }
        }
        Fact::Written { commit } => {
            for will in wills.iter_mut().filter(|will| will.told.is_some_and(|told| at > told + TURN)) {
                will.written.get_or_insert(commit);
            }
        }
        Fact::Synced { commit } => {
            for will in wills.iter_mut().filter(|will| will.written.is_some_and(|written| written <= commit)) {
                will.on_disk = true;
            }
        }
        // What was attached at the crash, or whose end was not yet on disk, counts from the recovery.
        Fact::Recovered => {
            for will in wills.iter_mut().filter(|will| will.lost.is_some() && (will.crashed || will.told.is_none())) {
                will.told = Some(at);
            }
        }
        _ => {}
    }
}

fn on_link(wills: &mut [Willed], link: LinkNo, change: impl FnOnce(&mut Willed)) {
    if let Some(will) = wills.iter_mut().rev().find(|will| will.link == link) {
        change(will);
    }
}
