//! What clients saw, held against what a broker promises.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use columba_proto::QoS;

/// One broken promise.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Fault {
    /// A message was acknowledged to its publisher and never reached a subscriber.
    Lost {
        /// Who should have received it.
        subscriber: usize,
        /// Who sent it.
        publisher: usize,
        /// Its number.
        sequence: u64,
    },
    /// A QoS 2 message came more than once.
    Twice {
        /// Who received it.
        subscriber: usize,
        /// Who sent it.
        publisher: usize,
        /// Its number.
        sequence: u64,
    },
    /// A message came for the first time after a later one of the same publisher.
    OutOfOrder {
        /// Who received it.
        subscriber: usize,
        /// Who sent it.
        publisher: usize,
        /// Its number.
        sequence: u64,
    },
    /// CONNACK said that there is no session, to a client that had one.
    Forgotten {
        /// Its client identifier.
        client: String,
    },
    /// A client met something that no broker may do.
    Broken {
        /// Its client identifier.
        client: String,
        /// What.
        why: String,
    },
}

/// What was found; nothing is the only good verdict.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Broken promises.
    pub faults: BTreeSet<Fault>,
    /// Messages sent.
    pub sent: u64,
    /// Deliveries seen.
    pub delivered: u64,
    /// Repeated deliveries at QoS 1, which are allowed.
    pub repeated: u64,
    /// How often the broker went down.
    pub crashes: u64,
    /// Connections that their own client took over.
    pub takeovers: u64,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// Judges what one subscriber received: publisher and number of each delivery, in order. `acknowledged` are the
    /// numbers of each publisher whose responsibility the broker has taken.
    pub(super) fn judge(&mut self, qos: QoS, subscriber: usize, deliveries: &[(usize, u64)], acknowledged: &[BTreeSet<u64>]) {
        let mut seen: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
        for &(publisher, sequence) in deliveries {
            self.delivered += 1;
            let seen = seen.entry(publisher).or_default();
            let latest = seen.last().copied();
            if !seen.insert(sequence) {
                self.repeated += 1;
                if qos == QoS::ExactlyOnce {
                    self.faults.insert(Fault::Twice { subscriber, publisher, sequence });
                }
            } else if latest.is_some_and(|latest| latest > sequence) {
                self.faults.insert(Fault::OutOfOrder { subscriber, publisher, sequence });
            }
        }
        for (publisher, acknowledged) in acknowledged.iter().enumerate() {
            let seen = seen.remove(&publisher).unwrap_or_default();
            let lost = acknowledged.difference(&seen);
            self.faults.extend(lost.map(|&sequence| Fault::Lost { subscriber, publisher, sequence }));
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { faults, sent, delivered, repeated, crashes, takeovers } = self;
        writeln!(
            out,
            "{crashes} crashes, {takeovers} takeovers, {sent} messages sent, {delivered} delivered, {repeated} of them again, {} promises broken",
            faults.len()
        )?;
        faults.iter().take(10).try_for_each(|fault| writeln!(out, "  {fault:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(qos: QoS, deliveries: &[u64]) -> Vec<Fault> {
        let mut verdict = Verdict::default();
        let deliveries: Vec<(usize, u64)> = deliveries.iter().map(|&sequence| (0, sequence)).collect();
        verdict.judge(qos, 0, &deliveries, &[BTreeSet::from([0, 1, 2])]);
        verdict.faults.into_iter().collect()
    }

    const SECOND: (usize, usize, u64) = (0, 0, 1);

    #[test]
    fn what_kept_every_promise_is_clean() {
        assert_eq!(faults(QoS::ExactlyOnce, &[0, 1, 2]), []);
        // Not acknowledged yet, and delivered all the same: nobody promised otherwise.
        assert_eq!(faults(QoS::ExactlyOnce, &[0, 1, 2, 3]), []);
    }

    #[test]
    fn a_repetition_breaks_the_promise_of_qos_2_only() {
        let (subscriber, publisher, sequence) = SECOND;
        assert_eq!(faults(QoS::AtLeastOnce, &[0, 1, 1, 2]), []);
        assert_eq!(faults(QoS::ExactlyOnce, &[0, 1, 1, 2]), [Fault::Twice { subscriber, publisher, sequence }]);
    }

    #[test]
    fn a_loss_and_a_swap_break_every_promise() {
        let (subscriber, publisher, sequence) = SECOND;
        assert_eq!(faults(QoS::AtLeastOnce, &[0, 2]), [Fault::Lost { subscriber, publisher, sequence }]);
        assert_eq!(faults(QoS::AtLeastOnce, &[0, 2, 1]), [Fault::OutOfOrder { subscriber, publisher, sequence }]);
    }
}
