//! What must survive: records, their fold, and how the fold stands in the cold store.
//!
//! Every change of durable state is a [`Record`]. The journal is a sequence of commits, each a sequence of records; durable state is their fold, in two shapes:
//! [`State`] holds it in memory (recovery, tools, tests), [`Fold`] follows the journal and turns it into changes of ordered keys (checkpoint). For any cut of a
//! journal, `recover` from the keys plus the records behind the cut is the same as all records from the beginning.
//!
//! Inside one commit the order of records of different shards means nothing: an acknowledgement can stand before its publication, a publication before the
//! session that it goes to. Both shapes keep such loose ends until the end of the commit. A commit is all or nothing, so they always find each other.

mod ahead;
mod apply;
mod codec;
mod export;
mod fold;
mod inspect;
mod keys;
mod mend;
#[cfg(test)]
mod mend_tests;
#[cfg(test)]
mod model;
mod reconcile;
mod record;
mod recover;
mod state;
#[cfg(test)]
mod tests;
mod window;
mod wire;

pub use apply::ApplyError;
pub use codec::{PublicationEncoder, RecordError};
pub use export::{Give, export};
pub use fold::{Fold, FoldError};
pub use inspect::{Inventory, Misfit, inspect, visit_queue};
pub use keys::{ColdError, ColdRead, KeyChange, SPACES, Visit, space};
pub use mend::{Loss, Mended, Mender};
pub use reconcile::{Orphans, reconcile};
pub use record::{GrantRecord, MessageRecord, Record, TargetRecord, WillRecord};
pub use recover::{RecoverError, load_retained, load_window, recover, recover_within};
pub use state::{
    ColdQueue, Exchanges, InFlight, RecoveredCursor, RecoveredGroup, RecoveredSession, RecoveredWill, State, StoredWill,
};
