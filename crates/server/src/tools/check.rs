//! Whether everything in a data directory can be read and fits together.

use std::path::Path;

use columba_broker::{
    durable::{self, Inventory, Misfit, recover_within},
    id::SessionNo,
};
use columba_store::{Cold as _, Surveyed};

use super::{Offline, ToolError};
use crate::{
    cold::ColdKeys,
    damage::{Damage, diagnose},
    error::RecoverError,
    replay::records,
};

/// What does not fit is told so often; the rest is counted.
const MISFITS_MAX: usize = 1000;

/// What a check has found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// What the cold store holds; `None`: it cannot be read to its end.
    pub inventory: Option<Inventory>,
    /// What is wrong, in words.
    pub problems: Vec<String>,
    /// Problems that are only counted.
    pub more: u64,
    /// What is wrong with the journal, and what is lost with it.
    pub damage: Option<Box<Damage>>,
    /// Commits behind the cold store's position.
    pub commits: u64,
    /// Their records.
    pub records: u64,
}

impl CheckReport {
    /// Whether a broker can serve all of it.
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty() && self.damage.is_none()
    }

    fn problem(&mut self, what: String) {
        if self.problems.len() < MISFITS_MAX {
            self.problems.push(what);
        } else {
            self.more += 1;
        }
    }
}

/// Reads every frame and every key of a directory that no broker has.
///
/// # Errors
/// Where it cannot be told: the directory is not there, in use, of another version, or cannot be read by this user. Damage is no error but what is reported.
pub fn check(path: &Path) -> Result<CheckReport, ToolError> {
    let offline = Offline::open(path)?;
    let mut report = CheckReport::default();
    let keys = ColdKeys(&offline.cold);
    let mut misfits = Vec::new();
    let mut more = 0;
    let inventory = durable::inspect(&keys, &mut |misfit| {
        if misfits.len() < MISFITS_MAX { misfits.push(misfit) } else { more += 1 }
    });
    match inventory {
        Ok(inventory) => report.inventory = Some(inventory),
        Err(error) => report.problem(format!("cold store: {error}")),
    }
    let client_of = |session: SessionNo| {
        let id =
            columba_store::ColdRead::get(&offline.cold, columba_store::Space(durable::space::SESSIONS), &session.0.to_be_bytes());
        id.ok().flatten().map(|id| format!("{:?}", String::from_utf8_lossy(&id)))
    };
    for Misfit { session, what } in misfits {
        let session = session.map(|session| (client_of(session), session.seq()));
        report.problem(match session {
            Some((Some(client), _)) => format!("session {client}: {what}"),
            Some((None, number)) => format!("session number {number}: {what}"),
            None => what,
        });
    }
    report.more += more;
    if report.inventory.is_some() {
        match journal(&offline, &mut report) {
            Ok(()) => {}
            Err(ToolError::Damaged(damage)) => report.damage = Some(damage),
            Err(ToolError::Recover(error)) => report.problem(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}

/// Every frame, and whether its records go on from the cold store.
fn journal(offline: &Offline, report: &mut CheckReport) -> Result<(), ToolError> {
    let survey = offline.dir.survey_journal(offline.cold.position())?;
    if !survey.wounds().is_empty() || !survey.gaps().is_empty() {
        let cause = format!("the journal of {} is damaged", offline.dir.path().display());
        return Err(ToolError::Damaged(Box::new(diagnose(&offline.dir, &offline.cold, cause)?)));
    }
    let keys = ColdKeys(&offline.cold);
    let mut state = recover_within(&keys, 0)?;
    survey.replay(&mut |found| {
        if let Surveyed::Frame(frame) = found {
            report.commits += 1;
            records(&frame, |record| {
                report.records += 1;
                state.apply(record).map_err(RecoverError::from)
            })?;
            state.end_of_commit();
        }
        Ok::<_, RecoverError>(())
    })?;
    Ok(state.finish(&keys)?)
}
