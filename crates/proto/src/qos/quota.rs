//! How many QoS 1 and 2 messages a peer may have open towards us (§4.9, seen from the receiving side).
//!
//! The sending side needs no counter: the exchanges that [`super::Sender`] has on the wire are the used quota.

use crate::error::Violation;

/// Counts the QoS 1 and 2 publications of a peer that we have not answered yet, against the Receive Maximum that we gave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReceiveQuota {
    max: u16,
    open: u16,
}

impl ReceiveQuota {
    /// For a new connection: quotas do not outlive it (§4.9).
    pub const fn new(max: u16) -> Self {
        Self { max, open: 0 }
    }

    /// How many are open.
    pub const fn open(self) -> u16 {
        self.open
    }

    /// A new QoS 1 or 2 PUBLISH has come. Repetitions of one that is still open do not count again.
    pub const fn take(&mut self) -> Result<(), Violation> {
        if self.open >= self.max {
            return Err(Violation::ReceiveMaximumExceeded);
        }
        self.open += 1;
        Ok(())
    }

    /// PUBACK, PUBCOMP, or a PUBREC of 0x80 or above has been sent.
    pub const fn give_back(&mut self) {
        self.open = self.open.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_than_receive_maximum_is_a_violation() {
        let mut quota = ReceiveQuota::new(2);
        assert!(quota.take().is_ok() && quota.take().is_ok());

        assert_eq!(quota.take(), Err(Violation::ReceiveMaximumExceeded));

        quota.give_back();
        assert_eq!(quota.take(), Ok(()));
    }
}
