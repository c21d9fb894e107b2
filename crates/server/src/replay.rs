//! Records out of the journal's frames.

use columba_broker::durable::{Record, RecordError};
use columba_store::Frame;

/// Hands every record of a commit to `take`, in order.
pub(crate) fn records<E: From<RecordError>>(
    frame: &Frame<'_>,
    mut take: impl FnMut(&Record<'_>) -> Result<(), E>,
) -> Result<(), E> {
    for (_, mut bytes) in frame.parts() {
        while !bytes.is_empty() {
            take(&Record::decode(&mut bytes)?)?;
        }
    }
    Ok(())
}
