//! The judge: all promises, and which of them a history breaks.

use core::fmt;

use super::{
    deliveries,
    history::{Breach, ClientNo, Difference, Fact, History, MessageNo, Micros, Step},
    order, publications, retained, sessions, shared,
};

/// So long a refusal may be on its way.
const LATE: Micros = 10_000_000;

/// A broken promise.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Wrong {
    /// An acknowledged message did not reach a session that had to get it.
    Lost,
    /// A message was handed over twice where the standard says once.
    Twice,
    /// More copies than publications, without a reason to repeat.
    TooOften,
    /// A message reached a client that had not asked for it.
    NotAskedFor,
    /// Delivered with less than min(publication, subscription).
    QosLowered,
    /// Delivered with more than the subscription allows.
    QosAboveGrant,
    /// Handed over before an earlier message of the same publisher, topic and QoS.
    OutOfOrder,
    /// A retained message came though a later one had replaced it.
    StaleRetained,
    /// RETAIN was set where it must not be.
    RetainFlag,
    /// The retained message of a topic was not sent to a new subscription.
    RetainedLost,
    /// A will was published though it was taken back.
    WillAfterDisconnect,
    /// A session that CONNACK had promised was gone.
    SessionForgotten,
    /// A session was still there long after its expiry.
    SessionOutlivedExpiry,
    /// Session Present for a client that had never connected.
    SessionInvented,
    /// A packet that a broker may not send.
    Broke(Breach),
    /// The state inside the broker is not what it must be.
    Differs(Difference),
}

/// One broken promise, with what it is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Which promise.
    pub wrong: Wrong,
    /// About which message.
    pub message: Option<MessageNo>,
    /// And which other.
    pub other: Option<MessageNo>,
    /// Towards which client.
    pub client: Option<ClientNo>,
    /// Where, if it is one moment.
    pub step: Option<Step>,
}

impl Violation {
    pub(crate) fn of_client(wrong: Wrong, client: ClientNo) -> Self {
        Self { wrong, message: None, other: None, client: Some(client), step: None }
    }

    pub(crate) fn of_message(wrong: Wrong, message: MessageNo, client: ClientNo) -> Self {
        Self { wrong, message: Some(message), other: None, client: Some(client), step: None }
    }

    /// The violation with the facts that concern it.
    pub fn told(&self, history: &History) -> String {
        let about: Vec<MessageNo> = self.message.into_iter().chain(self.other).collect();
        format!("{}\n{}", Headline(self, history), history.story(&about, self.client, self.step, 40))
    }
}

struct Headline<'a>(&'a Violation, &'a History);

impl fmt::Display for Headline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(violation, history) = self;
        write!(f, "{:?}", violation.wrong)?;
        if let Some(message) = violation.message {
            write!(f, ": {}", super::history::Message(history, message))?;
        }
        if let Some(client) = violation.client {
            write!(f, ", {}", history.client(client).id)?;
        }
        Ok(())
    }
}

/// Every promise that the history breaks.
pub fn judge(history: &History) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut refusals_until = 0;
    for (step, &(at, fact)) in history.facts.iter().enumerate() {
        if fact == Fact::JournalLost {
            refusals_until = Micros::MAX;
        } else if fact == Fact::Recovered && refusals_until == Micros::MAX {
            refusals_until = at + LATE;
        }
        if let Fact::Broke { client, breach } = fact {
            if matches!(breach, Breach::Refused(_)) && at < refusals_until {
                continue;
            }
            wrong.push(Violation { step: Some(step), ..Violation::of_client(Wrong::Broke(breach), client) });
        } else if let Fact::Differs { what } = fact {
            wrong.push(Violation { wrong: Wrong::Differs(what), message: None, other: None, client: None, step: Some(step) });
        }
    }
    let timelines = sessions::timelines(history, &mut wrong);
    let publications = publications::publications(history);
    let copies = deliveries::Copies::count(history);
    deliveries::judge(history, &timelines, &publications, &copies, &mut wrong);
    shared::judge(history, &timelines, &publications, &copies, &mut wrong);
    retained::judge(history, &timelines, &publications, &copies, &mut wrong);
    order::judge(history, &timelines, &publications, &copies, &mut wrong);
    wrong
}
