//! Any sequence of writes, syncs, checkpoints and restarts, cut off anywhere: what recovery finds is the model's prefix.
//!
//! `COLUMBA_SEED=n cargo test -p columba-store --test prefix` draws other sequences; a failing one is shrunk and printed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::io::IoSlice;
use std::ops::RangeInclusive;

use columba_store::sim::SimDisk;
use columba_store::{Commit, Disk as _, DiskFile as _, Log, LogError, LogOptions, Position, StoreId};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// A frame as the model knows it.
type Parts = Vec<(u16, Vec<u8>)>;

#[derive(Clone, Debug)]
enum Step {
    Write(Parts),
    Sync,
    /// Makes spare segments.
    Prepare,
    /// Everything so far is durable elsewhere: its segments are used again.
    Checkpoint,
    /// A clean stop.
    Seal,
    /// kill -9: what was written stays, synced or not.
    Restart,
}

/// Long enough for several segments, short enough to be cut off everywhere.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..24)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => parts(0..=3_000).prop_map(Step::Write),
        // Longer than any segment.
        1 => parts(20_000..=20_000).prop_map(Step::Write),
        4 => Just(Step::Sync),
        1 => Just(Step::Prepare),
        4 => Just(Step::Checkpoint),
        1 => Just(Step::Seal),
        1 => Just(Step::Restart),
    ]
}

fn parts(len: RangeInclusive<usize>) -> impl Strategy<Value = Parts> {
    vec((any::<u16>(), (any::<u8>(), len).prop_map(|(byte, len)| vec![byte; len])), 0..3)
}

/// The same sequences at every run.
fn cases(cases: u32) -> ProptestConfig {
    let seed = std::env::var("COLUMBA_SEED").map_or(0, |seed| seed.parse().unwrap());
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..ProptestConfig::default() }
}

/// What should be true, kept beside the log.
#[derive(Clone, Debug, Default)]
struct Model {
    /// Frame of commit `n` at `n - 1`; a seal is one without parts.
    written: Vec<Parts>,
    synced: usize,
    /// What the cold store would hold: a position, and the commits before it.
    checkpoint: Option<(Position, usize)>,
}

/// A journal that is being written, with its model.
struct Life {
    disk: SimDisk,
    log: Log<SimDisk>,
    model: Model,
}

fn options() -> LogOptions {
    LogOptions { segment_bytes_min: 8 << 10, segment_bytes_max: 16 << 10, spares: 1, ..LogOptions::new(StoreId([6; 16]), 7) }
}

impl Life {
    fn begin(disk: SimDisk) -> Result<Self, LogError> {
        let (log, _) = Log::open(disk.clone(), options(), None)?;
        Ok(Self { disk, log, model: Model::default() })
    }

    /// One step. An error is the disk's; the model says what may be found afterwards.
    fn step(&mut self, step: &Step) -> Result<(), LogError> {
        match step {
            Step::Write(parts) => self.write(parts),
            Step::Seal => {
                let before = self.log.next();
                let sealed = self.log.seal();
                // As with a write: one that failed may be found whole.
                if self.log.next() > before || sealed.is_err() {
                    self.model.written.push(Parts::new());
                }
                self.note_synced();
                sealed
            }
            Step::Sync => {
                let synced = self.log.sync();
                self.note_synced();
                synced
            }
            Step::Prepare => self.log.handle().prepare(),
            Step::Checkpoint => {
                self.step(&Step::Sync)?;
                self.model.checkpoint = Some((self.log.end(), self.model.written.len()));
                self.log.recycle(self.log.end())
            }
            Step::Restart => {
                self.disk.kill();
                let (log, recovered) = Log::open(self.disk.clone(), options(), self.model.checkpoint.map(|(at, _)| at))?;
                assert_eq!(recovered.last, Commit(self.model.written.len() as u64), "a kill takes nothing away");
                self.log = log;
                self.note_synced();
                Ok(())
            }
        }
    }

    fn write(&mut self, parts: &Parts) -> Result<(), LogError> {
        let borrowed: Vec<_> = parts.iter().map(|(label, bytes)| (*label, bytes.as_slice())).collect();
        let written = self.log.write(&borrowed);
        // A write syncs what is before it. One that failed may be found whole all the same.
        self.note_synced();
        self.model.written.push(parts.clone());
        written.map(drop)
    }

    fn note_synced(&mut self) {
        self.model.synced = usize::try_from(self.log.durable().0).unwrap();
    }
}

/// Opens what is on `disk` and returns how many commits there are; each must be the model's.
fn recover(disk: &SimDisk, model: &Model) -> Result<usize, TestCaseError> {
    disk.kill();
    let (from, before) = model.checkpoint.unwrap_or((Position::START, 0));
    let opened = Log::open(disk.clone(), options(), model.checkpoint.map(|(at, _)| at));
    let (log, recovered) = opened.map_err(|error| TestCaseError::fail(format!("refused: {error}")))?;
    let mut reader = log.reader(from);
    let mut count = before;
    while let Some(frame) = reader.next_frame().map_err(|error| TestCaseError::fail(error.to_string()))? {
        let parts: Parts = frame.parts().map(|(label, bytes)| (label, bytes.to_vec())).collect();
        prop_assert_eq!(frame.commit, Commit(count as u64 + 1));
        prop_assert_eq!(Some(&parts), model.written.get(count), "commit {} came back altered", count + 1);
        count += 1;
    }
    prop_assert_eq!(recovered.last, Commit(count as u64));
    prop_assert_eq!(recovered.frames, (count - before) as u64);
    prop_assert_eq!(recovered.end, log.end());
    Ok(count)
}

/// As [`recover`], where a crash came at some time: nothing promised is missing, and what was found stays.
fn recover_after_crash(disk: &SimDisk, model: &Model, seed: u64) -> Result<(), TestCaseError> {
    disk.crash(seed);
    let found = recover(disk, model)?;
    prop_assert!(found >= model.synced, "{} commits were synced, {} came back", model.synced, found);
    // Recovery has synced what it showed: another crash takes nothing of it.
    disk.crash(seed + 1);
    prop_assert_eq!(recover(disk, model)?, found);
    Ok(())
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn after_every_prefix_of_every_sequence_recovery_equals_the_model(steps in steps()) {
        let mut life = Life::begin(SimDisk::new(1)).unwrap();
        for (at, step) in (0..).zip(&steps) {
            life.step(step).unwrap();
            prop_assert_eq!(recover(&life.disk.fork(), &life.model)?, life.model.written.len(), "after a kill");
            for seed in 0..4 {
                recover_after_crash(&life.disk.fork(), &life.model, 100 * at + seed)?;
            }
        }
    }

    #[test]
    fn power_that_fails_at_any_operation_leaves_a_prefix_with_all_that_was_synced(steps in steps()) {
        for operations in 0.. {
            let disk = SimDisk::new(2);
            disk.cut_power_after(operations);
            let begun = Life::begin(disk.clone());
            let (model, failed) = match begun {
                Err(_) => (Model::default(), true),
                Ok(mut life) => {
                    let failed = steps.iter().any(|step| life.step(step).is_err());
                    (life.model, failed)
                }
            };
            recover_after_crash(&disk, &model, operations)?;
            if !failed {
                // The power outlasted all of it: there is no later moment.
                prop_assert!(operations >= 3, "a journal cannot be made in {} operations", operations);
                break;
            }
        }
    }

    #[test]
    fn a_last_frame_cut_off_at_any_byte_is_torn_or_whole(steps in steps(), last in parts(0..=200)) {
        let mut life = Life::begin(SimDisk::new(3)).unwrap();
        for step in &steps {
            life.step(step).unwrap();
        }
        life.step(&Step::Sync).unwrap();
        // In the segment that is there, so that only bytes of the frame are written: a new one is synced before.
        let (before, begin) = (life.disk.fork(), life.log.end());
        life.write(&last).unwrap();
        let end = life.log.end();
        prop_assume!(begin.segment == end.segment);

        let name = format!("{:016x}.seg", begin.segment);
        let whole = read(&life.disk, &name, begin.offset, end.offset);
        let content = 24 + last.iter().map(|(_, bytes)| 6 + bytes.len()).sum::<usize>();
        let all = life.model.written.len();
        for cut in 0..=whole.len() {
            let disk = before.fork();
            disk.open(&name).unwrap().write_at(&[IoSlice::new(&whole[..cut])], begin.offset).unwrap();
            // What was there before may happen to be what was to come: zeros, most often.
            let is_whole = read(&disk, &name, begin.offset, end.offset)[..content] == whole[..content];
            let found = recover(&disk, &life.model)?;
            prop_assert_eq!(found, if is_whole { all } else { all - 1 }, "cut after {} of {} bytes", cut, whole.len());
        }
    }
}

fn read(disk: &SimDisk, name: &str, from: u64, to: u64) -> Vec<u8> {
    let file = disk.open(name).unwrap();
    let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += file.read_at(&mut bytes[filled..], from + filled as u64).unwrap();
    }
    bytes
}

/// The judge must be able to find something: a model that was promised more than there is.
#[test]
fn a_lost_frame_is_found_out() {
    let mut life = Life::begin(SimDisk::new(4)).unwrap();
    life.disk.ignore_syncs(true);
    life.step(&Step::Write(vec![(1, b"promised".to_vec())])).unwrap();
    life.step(&Step::Sync).unwrap();

    let found = (0..20).filter(|&seed| recover_after_crash(&life.disk.fork(), &life.model, seed).is_err()).count();

    assert!(found > 0, "twenty crashes of a disk that lies took nothing away");
}
