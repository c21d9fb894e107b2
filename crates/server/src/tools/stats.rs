//! How much a data directory holds, and where.

use std::{collections::BTreeSet, fs, io, ops::ControlFlow, path::Path};

use columba_broker::durable::{self, RecoveredSession, recover, space};
use columba_store::{ColdRead as _, Space, Surveyed};

use super::{Offline, ToolError};
use crate::{cold::ColdKeys, error::RecoverError, replay::records};

/// What a data directory holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Sessions that outlive their connections.
    pub sessions: usize,
    /// Their subscriptions.
    pub subscriptions: usize,
    /// Messages in their queues.
    pub queued: u64,
    /// Bytes of these messages where each stands by itself; those of messages for several sessions are in `shared_bytes`.
    pub queued_bytes: u64,
    /// Bytes of messages for several sessions, each counted once.
    pub shared_bytes: u64,
    /// The longest queues, the longest first.
    pub queues: Vec<QueueSize>,
    /// Retained messages.
    pub retained: usize,
    /// Bytes of their payloads.
    pub retained_bytes: u64,
    /// Wills that stand.
    pub wills: usize,
    /// Journal segments, in order.
    pub segments: Vec<Segment>,
    /// Commits behind the cold store's position.
    pub commits: u64,
    /// Bytes that the cold store's files take.
    pub cold_bytes: u64,
    /// Bytes that spare segments take.
    pub spare_bytes: u64,
}

/// One session's queue.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QueueSize {
    /// Whose it is.
    pub client_id: Box<str>,
    /// Messages.
    pub messages: u64,
    /// Bytes of those that stand by themselves.
    pub bytes: u64,
}

/// One file of the journal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Segment {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// Counts. `top` is how many queues to name.
pub fn stats(path: &Path, top: usize) -> Result<Stats, ToolError> {
    let offline = Offline::open(path)?;
    let survey = offline.whole_journal()?;
    let keys = ColdKeys(&offline.cold);
    let mut it = Stats::default();
    let mut state = recover(&keys)?;
    survey.replay(&mut |found| {
        if let Surveyed::Frame(frame) = found {
            it.commits += 1;
            records(&frame, |record| state.apply(record).map_err(RecoverError::from))?;
            state.end_of_commit();
        }
        Ok::<_, RecoverError>(())
    })?;
    state.finish(&keys)?;

    it.sessions = state.sessions.len();
    it.wills = state.wills.len();
    it.retained = state.retained.len();
    it.retained_bytes =
        state.retained.values().filter_map(|(_, kept)| kept.message()).map(|message| message.payload().len() as u64).sum();
    let mut seen = BTreeSet::new();
    for session in state.sessions.values() {
        it.subscriptions += session.subscriptions.len();
        it.wills += usize::from(session.will.is_some());
        let size = queue(&offline, session)?;
        it.queued += size.messages;
        it.queued_bytes += size.bytes;
        seen.insert((std::cmp::Reverse(size.messages), size.client_id.clone(), size.bytes));
        if seen.len() > top {
            seen.pop_last();
        }
    }
    let longest = seen.into_iter().filter(|(messages, ..)| messages.0 > 0);
    it.queues = longest.map(|(messages, client_id, bytes)| QueueSize { client_id, messages: messages.0, bytes }).collect();
    offline.cold.visit(Space(space::MESSAGES), &[], None, &mut |_, value| {
        it.shared_bytes += value.len() as u64;
        ControlFlow::Continue(())
    })?;
    files(path, &mut it).map_err(ToolError::file("look into", path))?;
    Ok(it)
}

/// What waits in memory and in the cold store.
fn queue(offline: &Offline, session: &RecoveredSession) -> Result<QueueSize, ToolError> {
    let mut size = QueueSize { client_id: session.client_id.clone(), messages: session.queue.len() as u64, bytes: 0 };
    size.bytes = session.queue.values().map(|delivery| delivery.message.size() as u64).sum();
    if let Some(part) = &session.cold {
        durable::visit_queue(&ColdKeys(&offline.cold), session.no, &mut |id, bytes| {
            if id <= part.up_to && !part.acked.contains(&id) {
                size.messages += 1;
                size.bytes += bytes as u64;
            }
        })?;
    }
    Ok(size)
}

fn files(path: &Path, it: &mut Stats) -> io::Result<()> {
    for entry in fs::read_dir(path.join("journal"))? {
        let entry = entry?;
        let (name, bytes) = (entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len());
        if Path::new(&name).extension().is_some_and(|ending| ending == "seg") {
            it.segments.push(Segment { name, bytes });
        } else {
            it.spare_bytes += bytes;
        }
    }
    it.segments.sort_by(|a, b| a.name.cmp(&b.name));
    it.cold_bytes = blocks(&path.join("cold"))?;
    Ok(())
}

/// Bytes that files take on the disk: sparse ones less than their length.
fn blocks(path: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { blocks(&entry.path())? } else { entry.metadata()?.blocks() * 512 };
    }
    Ok(bytes)
}
