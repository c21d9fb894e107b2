//! What one subscriber received of one publisher: what is missing, repeated, out of order.

use std::collections::BTreeSet;

/// Counts the deliveries of one publisher to one subscriber.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    next: u64,
    /// Numbers below `next` that have not come yet; bounded by what is in flight.
    missing: BTreeSet<u64>,
    pub(crate) received: u64,
    pub(crate) duplicates: u64,
    pub(crate) out_of_order: u64,
}

impl Tally {
    /// Takes note of one delivery.
    pub(crate) fn note(&mut self, sequence: u64) {
        if sequence >= self.next {
            self.missing.extend(self.next..sequence);
            self.next = sequence + 1;
            self.received += 1;
        } else if self.missing.remove(&sequence) {
            self.out_of_order += 1;
            self.received += 1;
        } else {
            self.duplicates += 1;
        }
    }

    /// How many of the first `sent` messages never came.
    pub(crate) fn lost(&self, sent: u64) -> u64 {
        self.missing.len() as u64 + sent.saturating_sub(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(sequences: &[u64]) -> Tally {
        let mut tally = Tally::default();
        for sequence in sequences {
            tally.note(*sequence);
        }
        tally
    }

    #[test]
    fn a_gap_is_a_loss_until_it_is_filled_late() {
        let gap = after(&[0, 1, 3]);
        assert_eq!((gap.lost(4), gap.lost(6), gap.received), (1, 3, 3));

        let filled = after(&[0, 1, 3, 2]);
        assert_eq!((filled.lost(4), filled.out_of_order, filled.duplicates), (0, 1, 0));
    }

    #[test]
    fn a_second_delivery_is_a_duplicate_not_a_reception() {
        let twice = after(&[0, 1, 1, 0]);

        assert_eq!((twice.received, twice.duplicates, twice.out_of_order), (2, 2, 0));
    }
}
