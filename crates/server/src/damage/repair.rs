//! Going on without what is lost: everything readable goes into the cold store, the damaged files are kept aside, and the journal begins anew.
//!
//! Until the one write of the cold store everything is as it was, and after it everything is done: a crash in between changes nothing.

use columba_broker::durable::{Fold, Mender, Record, recover_within};
use columba_store::{Cold as _, ColdRead as _, FjallCold, RealDisk, StoreDir, Survey, Surveyed};

use super::Damage;
use crate::{
    cold::{ColdKeys, batch},
    error::{RecoverError, StartError},
    replay::records,
};

/// Sets the damaged segments aside and takes in what can be kept.
pub(crate) fn set_aside(dir: &StoreDir, cold: &mut FjallCold, damage: &Damage) -> Result<(), StartError> {
    let aside = dir.set_aside()?;
    let survey = dir.survey_journal(cold.position()).map_err(RecoverError::from)?;
    for wound in survey.wounds() {
        aside.segment(wound.segment)?;
    }
    let text = format!("{damage}\n\n{}\n", damage.lines().join("\n"));
    let report = aside.report(&text)?;

    take_in(dir, cold, &survey, Before::Known)?;
    for line in damage.lines() {
        tracing::error!(what = line.as_str(), "damage");
    }
    tracing::error!(report = %report.display(), "went on without what is lost; the damaged files are beside the report");
    Ok(())
}

/// Whether the cold store has all that it should have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Before {
    /// It has.
    Known,
    /// It lacks something: all that is behind is behind a gap.
    Doubtful,
}

/// Takes everything that can be read of the journal into the cold store, and begins a new segment behind it.
pub(super) fn take_in(dir: &StoreDir, cold: &mut FjallCold, survey: &Survey<RealDisk>, before: Before) -> Result<(), StartError> {
    let view = cold.snapshot().map_err(RecoverError::from)?;
    let keys = ColdKeys(&*view);
    let mut mender = Mender::new(recover_within(&keys, 0).map_err(RecoverError::from)?);
    if before == Before::Doubtful {
        mender.gap();
    }
    let mut fold = Fold::new(&keys).map_err(RecoverError::from)?;
    survey.replay(&mut |found| {
        match found {
            Surveyed::Gap(_) => mender.gap(),
            Surveyed::Frame(frame) => {
                records(&frame, |record| {
                    mender.record(record, &mut |record: &Record<'_>| fold.record(record, &keys).map_err(RecoverError::from))
                })?;
                mender.end_of_commit();
                fold.end_of_commit();
            }
        }
        Ok::<_, RecoverError>(())
    })?;
    mender.finish(&keys, &mut |record: &Record<'_>| fold.record(record, &keys).map_err(RecoverError::from))?;
    fold.end_of_commit();
    drop(view);
    let position = dir.begin_segment(survey.newest() + 1, survey.last().next()).map_err(RecoverError::from)?;
    Ok(cold.write(batch(fold.take_changes()), position).map_err(RecoverError::from)?)
}
