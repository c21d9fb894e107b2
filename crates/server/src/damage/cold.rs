//! A cold store that cannot be read: what can be rescued of it, and who misses something.

use std::collections::BTreeMap;

use columba_broker::{
    durable::{Orphans, SPACES, reconcile, space},
    id::{MessageId, SessionNo},
};
use columba_store::{Cold as _, ColdRead, FjallCold, Position, Space, StoreDir, cold::Rescued, cold::Unreadable};

use super::repair::{Before, take_in};
use crate::{
    cold::{ColdKeys, batch},
    error::{RecoverError, StartError},
};

/// Sessions that a report names.
const NAMED_MAX: usize = 1000;

/// Keeps the damaged store aside, and puts one in its place that holds what can be read of it.
pub(crate) fn rescue(dir: &StoreDir, cause: &RecoverError) -> Result<(), StartError> {
    let aside = dir.set_aside()?;
    aside.copy_cold("cold")?;
    // Reading it changes it.
    let work = aside.copy_cold("cold.work")?;
    let spaces: Vec<Space> = SPACES.map(Space).to_vec();
    let refused = |error| StartError::from(RecoverError::from(error));
    let (mut cold, rescued) = FjallCold::rescue(&work, &aside.rescued_path(), &spaces).map_err(refused)?;
    let mut changes = Vec::new();
    let orphans = reconcile(&ColdKeys(&cold), &mut |change| {
        changes.push(change);
        Ok::<_, RecoverError>(())
    })?;
    let lines = lines(&cold, &rescued, &orphans, changes.len());
    if let Some(position) = cold.position() {
        cold.write(batch(changes), position).map_err(refused)?;
    }
    let text = format!("{cause}\n\n{}\n", lines.join("\n"));
    let report = aside.report(&text)?;
    drop(cold);
    aside.remove(&work)?;
    aside.take_rescued()?;
    let mut cold = dir.open_cold().map_err(refused)?;
    let survey = dir.survey_journal(cold.position()).map_err(RecoverError::from)?;
    for wound in survey.wounds() {
        aside.segment(wound.segment)?;
    }
    take_in(dir, &mut cold, &survey, Before::Doubtful)?;
    tracing::error!(%cause, "the cold store is damaged");
    for line in lines {
        tracing::error!(what = line.as_str(), "damage");
    }
    tracing::error!(report = %report.display(), "went on with what can be read of the cold store; a copy of the damaged one is beside the report");
    Ok(())
}

fn lines(cold: &FjallCold, rescued: &Rescued, orphans: &Orphans, dropped: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if rescued.tables_are_lost {
        lines.push(
            "lost: everything in the cold store's tables: sessions, subscriptions, queued and retained messages".to_owned(),
        );
    }
    if rescued.lost_checkpoints > 0 {
        let count = rescued.lost_checkpoints;
        lines.push(format!(
            "lost: at least {count} checkpoints in the cold store's own journal; what they changed is as it was before"
        ));
    }
    lines.extend(rescued.unreadable.iter().map(hole));
    let mut affected: BTreeMap<SessionNo, u64> = BTreeMap::new();
    for (session, _) in &orphans.entries {
        *affected.entry(*session).or_default() += 1;
    }
    for hole in &rescued.unreadable {
        sessions_in(cold, hole, &mut affected);
    }
    for (session, messages) in affected.iter().take(NAMED_MAX) {
        let id = cold.get(Space(space::SESSIONS), &session.0.to_be_bytes()).ok().flatten();
        let name = id.map_or_else(|| format!("number {}", session.seq()), |id| format!("{:?}", String::from_utf8_lossy(&id)));
        lines.push(format!(
            "session {name}: something of it is in what cannot be read; {messages} of its messages are lost for certain"
        ));
    }
    if affected.len() > NAMED_MAX {
        lines.push(format!("and {} more sessions", affected.len() - NAMED_MAX));
    }
    if !orphans.sessions.is_empty() {
        let numbers: Vec<String> = orphans.sessions.iter().take(NAMED_MAX).map(|session| session.seq().to_string()).collect();
        lines.push(format!("sessions whose clients are not known any more, by number: {}", numbers.join(", ")));
    }
    lines.push(format!("dropped: {dropped} keys that stood on what is lost"));
    lines.push(match rescued.position {
        Some(Position { segment, offset }) => format!("kept: what can be read up to byte {offset} of journal segment {segment}"),
        None => "kept: what the journal holds".to_owned(),
    });
    lines
}

/// The sessions between the ends of an unreadable place that can still be named.
fn sessions_in(cold: &FjallCold, hole: &Unreadable, affected: &mut BTreeMap<SessionNo, u64>) {
    if !matches!(hole.space.0, space::SESSIONS | space::PARTS | space::QUEUE) {
        return;
    }
    let prefix = |key: &[u8]| key.get(..8).and_then(|session| session.try_into().ok()).map(u64::from_be_bytes);
    let from = hole.after.as_deref().and_then(prefix).unwrap_or(0);
    let to = hole.before.as_deref().and_then(prefix).map(|to| to.saturating_add(1).to_be_bytes());
    let named = cold.visit(Space(space::SESSIONS), &from.to_be_bytes(), to.as_ref().map(<[u8; 8]>::as_slice), &mut |key, _| {
        affected.extend(prefix(key).map(|session| (SessionNo(session), 0)));
        if affected.len() > NAMED_MAX { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    });
    if let Err(error) = named {
        tracing::debug!(%error, "cannot name all sessions");
    }
}

fn hole(hole: &Unreadable) -> String {
    let what = match hole.space.0 {
        space::SESSIONS => "sessions",
        space::PARTS => "subscriptions, wills and exchanges",
        space::QUEUE => "queued messages",
        space::MESSAGES | space::COUNTS => "messages that several sessions share",
        space::RETAINED | space::CLEARED => "retained messages",
        _ => "counters",
    };
    let place = |key: &Option<Vec<u8>>, open: &str| key.as_deref().map_or_else(|| open.to_owned(), |key| name(hole.space.0, key));
    format!("lost: {what} between {} and {}", place(&hole.after, "the first"), place(&hole.before, "the last"))
}

/// A key in words.
fn name(space: u8, key: &[u8]) -> String {
    let number = |at: usize| key.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    match (space, number(0), number(8)) {
        (space::RETAINED | space::CLEARED | space::META, ..) | (_, None, _) => format!("{:?}", String::from_utf8_lossy(key)),
        (space::QUEUE, Some(session), Some(message)) => {
            format!("message {} of session number {}", MessageId(message).seq(), SessionNo(session).seq())
        }
        (space::MESSAGES | space::COUNTS, Some(message), _) => format!("message {}", MessageId(message).seq()),
        (_, Some(session), _) => format!("session number {}", SessionNo(session).seq()),
    }
}
