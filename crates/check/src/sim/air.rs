//! What is in the air: records that were handed over and are not synced, so that the world knows which moment it is.

use columba_broker::durable::Record;

use super::{
    payload,
    tally::{Happening, Tally},
};
use crate::model::MessageNo;

/// Records on their way to the disk.
#[derive(Debug, Default)]
pub(crate) struct Air {
    /// Messages whose first record this is.
    messages: Vec<MessageNo>,
    /// QoS 2 messages to be handed on.
    pub(crate) released: usize,
    /// Messages of groups that are a member's from here on, or ended.
    pub(crate) shared: usize,
}

impl Air {
    /// Takes in the records of one turn.
    pub(crate) fn take_in(&mut self, mut records: &[u8], tally: &mut Tally) {
        while let Ok(record) = Record::decode(&mut records) {
            self.record(&record, tally);
            if records.is_empty() {
                return;
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the other records mark no moment")]
    fn record(&mut self, record: &Record<'_>, tally: &mut Tally) {
        match record {
            Record::Published { message, sets_retained, will_of, .. } => {
                self.messages.extend(payload::read(message.payload));
                if *sets_retained {
                    tally.count(Happening::Retained);
                }
                if will_of.is_some() {
                    tally.count(Happening::Will);
                }
            }
            Record::Received { message, .. } => self.messages.extend(payload::read(message.payload)),
            Record::Released { sets_retained, .. } => {
                self.released += 1;
                if *sets_retained {
                    tally.count(Happening::Retained);
                }
            }
            Record::Dropped { session, .. } if session.is_group() => {
                self.shared += 1;
                tally.count(Happening::Shared);
            }
            _ => {}
        }
    }

    /// Whether the first record of this message is in the air.
    pub(crate) fn has(&self, message: MessageNo) -> bool {
        self.messages.contains(&message)
    }
}

/// How many QoS 2 messages a run of folded records leaves waiting for their PUBREL, as a change.
pub(crate) fn awaiting_pubrel(record: &Record<'_>) -> i64 {
    i64::from(matches!(record, Record::Received { .. })) - i64::from(matches!(record, Record::Released { .. }))
}
