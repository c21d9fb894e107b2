//! Which sessions and messages unreadable bytes name. Nothing vouches for them, but a flipped bit leaves most of a commit as it was.

use columba_broker::{
    durable::Record,
    id::{MessageId, SessionNo},
};
use columba_store::log::guess_parts;

/// Shows the records that can be made out. False: not all could be looked at.
pub(super) fn guess(bytes: &[u8], show: &mut dyn FnMut(&Record<'_>)) -> bool {
    let (parts, mut whole) = guess_parts(bytes);
    for mut part in parts {
        while !part.is_empty() {
            if let Ok(record) = Record::decode(&mut part) {
                show(&record);
                continue;
            }
            whole = false;
            // The next record begins where this one says that it ends.
            let len = part.get(2..6).and_then(|len| len.try_into().ok()).map_or(u32::MAX, u32::from_le_bytes);
            let next = usize::try_from(len).ok().and_then(|len| part.get(len.checked_add(6)?..));
            part = next.unwrap_or_default();
        }
    }
    whole
}

/// Calls `tell` with each session that a record names, and the message where it names one.
pub(crate) fn of_record(record: &Record<'_>, tell: &mut dyn FnMut(SessionNo, Option<MessageId>)) {
    match record {
        Record::Created { session, .. }
        | Record::Attached { session, .. }
        | Record::Detached { session, .. }
        | Record::Deleted { session }
        | Record::Subscribed { session, .. }
        | Record::Unsubscribed { session, .. }
        | Record::Received { session, .. }
        | Record::Cursor { session, .. }
        | Record::WillSet { session, .. }
        | Record::WillGone { session } => tell(*session, None),
        Record::Published { id, targets, will_of, .. } => {
            for target in targets {
                tell(target.session, Some(*id));
            }
            if let Some(session) = will_of {
                tell(*session, None);
            }
        }
        Record::Released { session, id, targets, .. } => {
            tell(*session, None);
            for target in targets {
                tell(target.session, Some(*id));
            }
        }
        Record::Sent { session, message, .. }
        | Record::Passed { session, message, .. }
        | Record::Dropped { session, message } => {
            tell(*session, Some(*message));
        }
        Record::Settled { session, message, .. } => tell(*session, *message),
    }
}
