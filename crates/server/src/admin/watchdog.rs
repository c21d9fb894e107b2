//! The service manager's watchdog: fed for as long as every event loop turns and the journal goes on. Starved, it has the broker killed and started anew.

use columba_store::Commit;
use tokio::time::sleep;

use super::outside::{Live, Outside};
use crate::notify;

/// Feeds it twice as often as it wants, if there is one.
pub(super) async fn feed(outside: &Outside) {
    let Some(patience) = notify::watchdog() else { return std::future::pending().await };
    let live = outside.wait_live().await;
    let mut journal = Progress::default();
    loop {
        if turns(live).await && live.journal.as_ref().is_none_or(|it| journal.goes_on(it.appended(), it.written(), it.is_held()))
        {
            notify::alive();
        } else {
            tracing::error!("an event loop or the journal has stood still; the service manager is not told that all is well");
        }
        sleep(patience / 2).await;
    }
}

/// Whether all event loops answer.
async fn turns(live: &Live) -> bool {
    for shard in 0..live.shards.len() {
        if live.shards.ask(shard, |_, _| ()).await.is_err() {
            return false;
        }
    }
    true
}

/// What waited for the journal at the last look.
#[derive(Debug, Default)]
struct Progress(Option<Commit>);

impl Progress {
    /// Whether what waited at the last look has been written since. A full disk is nothing that a new start would mend, nor is a journal that has failed and whose
    /// broker goes on: both are held.
    fn goes_on(&mut self, appended: Commit, written: Commit, is_held: bool) -> bool {
        let waited = self.0.replace(appended);
        is_held || waited.is_none_or(|waited| waited <= written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_that_stands_still_with_something_to_write_does_not_go_on() {
        let mut progress = Progress::default();
        let mut look = |appended, written, is_held| progress.goes_on(Commit(appended), Commit(written), is_held);

        assert!(look(0, 0, false) && look(0, 0, false), "nothing is to be written");
        assert!(look(5, 3, false), "this was appended since the last look");
        assert!(look(9, 5, false), "it is written, and more has come");
        assert!(!look(12, 8, false), "not all that waited then");
        assert!(look(12, 8, true), "the disk is full");
        assert!(!look(12, 11, false));
        assert!(look(12, 12, false));
    }
}
