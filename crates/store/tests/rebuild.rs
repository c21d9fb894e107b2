//! A cold store that was large becomes small while it is in use, and no crash in between loses it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use columba_store::cold::{ColdError, KEY_LEN_MAX, Rebuilt, Upkeep};
use columba_store::{Batch, Cold, ColdRead, FjallCold, Position, Space};

const AT: Position = Position { segment: 7, offset: 4096 };
const KEYS: u32 = 4000;

/// A store that held much and of which one key in a hundred lives, in two spaces, and one that is too long for a prefix.
fn emptied(path: &Path) -> FjallCold {
    let mut cold = FjallCold::open(path).unwrap();
    for from in (0..KEYS).step_by(500) {
        let mut batch = Batch::new();
        for key in from..from + 500 {
            batch.put(Space(3), key.to_be_bytes(), vec![7; 2000]);
        }
        cold.write(batch, Position::START).unwrap();
    }
    let mut batch = Batch::new();
    for key in (0..KEYS).filter(|key| key % 100 != 0) {
        batch.remove(Space(3), key.to_be_bytes());
    }
    batch.put(Space(6), vec![9; KEY_LEN_MAX], *b"long");
    batch.put(Space(6), *b"short", *b"value");
    cold.write(batch, AT).unwrap();
    cold
}

fn content(cold: &dyn ColdRead) -> Vec<(u8, Vec<u8>, Vec<u8>)> {
    let of = |space| cold.scan(Space(space), &[], None, usize::MAX).unwrap();
    (0..=9).flat_map(|space| of(space).into_iter().map(move |(key, value)| (space, key, value))).collect()
}

#[test]
fn an_emptied_store_gives_its_space_back_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cold");
    let mut cold = emptied(&path);
    let reader = cold.reader();
    let (before, disk_before) = (content(&cold), cold.disk_bytes().unwrap());
    assert_eq!(before.len(), KEYS as usize / 100 + 2);

    let outcome = cold.rebuild(1 << 20, &mut || true).unwrap();

    let Rebuilt::Done { live } = outcome else { panic!("{outcome:?}") };
    assert!((80_000..200_000).contains(&live), "{live}");
    let disk = cold.disk_bytes().unwrap();
    assert!(disk < 1 << 20 && disk < disk_before / 4, "{disk_before} to {disk}");
    assert_eq!(content(&cold), before);
    assert_eq!(content(&*reader), before, "readers go on with the new store");
    assert_eq!(cold.position(), Some(AT));

    let mut batch = Batch::new();
    batch.remove(Space(6), vec![9; KEY_LEN_MAX]);
    batch.put(Space(3), 100_u32.to_be_bytes(), *b"newer");
    let later = Position { segment: 8, offset: 4096 };
    cold.write(batch, later).unwrap();
    drop((cold, reader));
    let cold = FjallCold::open(&path).unwrap();
    assert_eq!((cold.position(), content(&cold).len()), (Some(later), before.len() - 1));
    assert_eq!(cold.get(Space(3), &100_u32.to_be_bytes()).unwrap(), Some(b"newer".to_vec()));
}

#[test]
fn what_cannot_be_rebuilt_now_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cold");
    let mut cold = emptied(&path);
    let before = content(&cold);

    assert!(matches!(cold.rebuild(10_000, &mut || true).unwrap(), Rebuilt::TooLarge));
    assert!(matches!(FjallCold::rebuild(&mut emptied(&dir.path().join("other")), 0, &mut || true).unwrap(), Rebuilt::TooLarge));
    let snapshot = cold.snapshot().unwrap();
    assert!(matches!(cold.rebuild(1 << 20, &mut || true).unwrap(), Rebuilt::GivenUp), "a reader holds on to the old store");

    assert_eq!(content(&*snapshot), before);
    assert_eq!((content(&cold), cold.position()), (before, Some(AT)));
    assert!(!dir.path().join("cold.new").exists() && !dir.path().join("cold.old").exists());
}

#[test]
fn the_caller_can_end_a_rebuild() {
    let dir = tempfile::tempdir().unwrap();
    let mut cold = FjallCold::open(&dir.path().join("cold")).unwrap();
    let mut batch = Batch::new();
    for key in 0..1000_u32 {
        batch.put(Space(3), key.to_be_bytes(), vec![7; 2000]);
    }
    cold.write(batch, AT).unwrap();

    assert!(matches!(cold.rebuild(u64::MAX, &mut || false).unwrap(), Rebuilt::GivenUp));

    assert_eq!(content(&cold).len(), 1000);
}

#[test]
fn a_store_without_anything_has_nothing_to_rebuild() {
    let dir = tempfile::tempdir().unwrap();
    let mut cold = FjallCold::open(&dir.path().join("cold")).unwrap();

    assert!(matches!(cold.rebuild(0, &mut || true).unwrap(), Rebuilt::Done { live: 0 }));
    assert_eq!(cold.disk_bytes().unwrap(), 0);
}

#[test]
fn a_crash_between_the_renames_of_a_rebuild_is_settled_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cold");
    let (new, old) = (dir.path().join("cold.new"), dir.path().join("cold.old"));
    let before = {
        let mut cold = emptied(&path);
        drop(emptied(&new));
        let before = content(&cold);
        assert!(matches!(cold.rebuild(1, &mut || true).unwrap(), Rebuilt::TooLarge));
        before
    };
    assert!(!new.exists(), "a half-made copy of an earlier process is removed");

    // The old store has its other name already, the new one not yet.
    fs::rename(&path, &old).unwrap();
    fs::create_dir(&new).unwrap();
    let cold = FjallCold::open(&path).unwrap();
    assert_eq!((content(&cold), cold.position()), (before.clone(), Some(AT)));
    assert!(!old.exists() && !new.exists());
    drop(cold);

    // The new one is there, the old one was not yet removed.
    fs::create_dir(&old).unwrap();
    fs::write(old.join("0.jnl"), b"old").unwrap();
    let cold = FjallCold::open(&path).unwrap();
    assert_eq!((content(&cold), cold.position()), (before, Some(AT)));
    assert!(!old.exists());
}

#[test]
fn a_large_store_is_compacted_where_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let mut cold = emptied(&dir.path().join("cold"));
    let before = content(&cold);
    let compact = cold.compaction().unwrap();

    std::thread::spawn(compact).join().unwrap().unwrap();

    assert_eq!(content(&cold), before);
    assert!(cold.keys_about() < u64::from(KEYS), "{}", cold.keys_about());
    cold.write(Batch::new(), AT).unwrap();
    assert!(!matches!(cold.get(Space(9), b""), Err(ColdError::Closed { .. })));
}

#[test]
fn without_upkeep_nothing_but_its_journal_grows_and_it_can_be_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cold");
    let mut cold = emptied(&path);
    let reader = cold.reader();
    let held = reader.snapshot().unwrap();
    assert!(!cold.set_upkeep(Upkeep::None).unwrap(), "a reader holds on to the engine");
    drop(held);
    assert!(cold.set_upkeep(Upkeep::None).unwrap());
    let before = content(&cold);
    let files = files(&path);

    // More than a memtable takes otherwise.
    for round in 0..20_u32 {
        let mut batch = Batch::new();
        batch.put(Space(9), round.to_be_bytes(), vec![1; 1 << 20]);
        cold.write(batch, AT).unwrap();
    }
    for round in 0..20_u32 {
        let mut batch = Batch::new();
        batch.remove(Space(9), round.to_be_bytes());
        cold.write(batch, AT).unwrap();
    }
    assert_eq!(self::files(&path), files);
    assert_eq!(content(&*reader), before);
    assert_eq!(cold.upkeep(), Upkeep::None);

    assert!(matches!(cold.rebuild(1 << 20, &mut || true).unwrap(), Rebuilt::Done { .. }));
    assert_eq!((cold.upkeep(), content(&*reader)), (Upkeep::Full, before));
}

#[test]
fn without_upkeep_memory_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut cold = emptied(&dir.path().join("cold"));
    cold.set_upkeep(Upkeep::None).unwrap();
    let mut write = || {
        let mut batch = Batch::new();
        batch.put(Space(9), *b"again", vec![1; 4 << 20]);
        cold.write(batch, AT)
    };
    let refused = (0..20).find_map(|_| write().err());
    assert!(matches!(refused, Some(ColdError::NoUpkeep { .. })), "{refused:?}");
    cold.reopen(Upkeep::Full).unwrap();
    let mut batch = Batch::new();
    batch.remove(Space(9), *b"again");
    cold.write(batch, AT).unwrap();
}

/// The names of all files of a store.
fn files(path: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { BTreeSet::from([path]) }).collect()
}

#[test]
fn before_its_first_write_it_is_known_what_its_disk_has_free() {
    let dir = tempfile::tempdir().unwrap();
    let mut cold = FjallCold::open(&dir.path().join("cold")).unwrap();

    assert!(cold.free_bytes().unwrap() > 0);

    assert_eq!((cold.disk_bytes().unwrap(), cold.upkeep()), (0, Upkeep::Full));
    assert!(cold.set_upkeep(Upkeep::None).unwrap());
    let mut batch = Batch::new();
    batch.put(Space(1), *b"key", *b"value");
    cold.write(batch, AT).unwrap();
}
