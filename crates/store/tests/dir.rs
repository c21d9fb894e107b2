//! The data directory: one user at a time, only our own, only what we understand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs;
use std::path::Path;

use columba_store::dir::{DirError, Identity};
use columba_store::{Batch, Cold as _, Commit, LogError, Position, Space, StoreDir};

fn write_one(dir: &StoreDir, from: Option<Position>, bytes: &[u8]) -> Commit {
    let (mut log, _) = dir.open_journal(from).unwrap();
    let commit = log.write(&[(0, bytes)]).unwrap();
    log.sync().unwrap();
    commit
}

#[test]
fn a_new_directory_is_made_and_found_again() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("a/b/data");
    let made = StoreDir::open(&path).unwrap();
    let identity = made.identity().clone();
    assert_eq!((identity.lanes, identity.slots), (64, 4096));
    assert_eq!(write_one(&made, None, b"one"), Commit(1));
    let mut cold = made.open_cold().unwrap();
    let mut batch = Batch::new();
    batch.put(Space(1), *b"key", *b"value");
    cold.write(batch, Position::START).unwrap();
    drop((cold, made));

    let again = StoreDir::open(&path).unwrap();

    assert_eq!(*again.identity(), identity);
    let cold = again.open_cold().unwrap();
    assert_eq!(cold.position(), Some(Position::START));
    let (log, recovered) = again.open_journal(cold.position()).unwrap();
    assert_eq!((recovered.last, recovered.frames), (Commit(1), 1));
    assert_eq!(log.next(), Commit(2));
}

#[test]
fn two_directories_have_nothing_in_common() {
    let temp = tempfile::tempdir().unwrap();
    let a = StoreDir::open(temp.path().join("a")).unwrap();
    let b = StoreDir::open(temp.path().join("b")).unwrap();
    let (a, b) = (a.identity(), b.identity());
    assert!(a.id != b.id && a.hash_key != b.hash_key && a.journal_salt != b.journal_salt);
    assert_eq!(a.id.to_string().len(), 36);
}

#[test]
fn a_second_user_is_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let _first = StoreDir::open(temp.path().join("data")).unwrap();

    let error = StoreDir::open(temp.path().join("data")).unwrap_err();

    let DirError::InUse { ref path, pid } = error else { panic!("{error}") };
    assert_eq!(pid, Some(std::process::id()));
    assert!(path.ends_with("data") && error.to_string().contains(path.as_str()));
}

#[test]
fn the_lock_goes_with_its_owner() {
    let temp = tempfile::tempdir().unwrap();
    drop(StoreDir::open(temp.path().join("data")).unwrap());
    drop(StoreDir::open(temp.path().join("data")).unwrap());
}

#[test]
fn a_directory_with_other_files_is_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("thesis.tex"), b"years of work").unwrap();

    let error = StoreDir::open(temp.path()).unwrap_err();

    assert!(matches!(&error, DirError::NotOurs { found, .. } if found == "thesis.tex"), "{error}");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
}

fn edit_format(path: &Path, edit: impl Fn(&str) -> String) {
    let file = path.join("format");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, edit(&text)).unwrap();
}

#[test]
fn a_newer_format_is_refused_with_advice() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("data");
    drop(StoreDir::open(&path).unwrap());
    edit_format(&path, |text| text.replace("format = 1", "format = 2"));

    let error = StoreDir::open(&path).unwrap_err();

    assert!(matches!(error, DirError::NewerFormat { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("use the version that wrote it"));
}

#[test]
fn any_changed_character_of_the_format_file_is_seen() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("data");
    drop(StoreDir::open(&path).unwrap());
    let text = fs::read(path.join("format")).unwrap();
    // The last byte is the newline behind the checksum.
    for at in 0..text.len() - 1 {
        let mut changed = text.clone();
        changed[at] ^= 1;
        fs::write(path.join("format"), &changed).unwrap();
        let refused = StoreDir::open(&path);
        assert!(matches!(refused, Err(DirError::Damaged { .. } | DirError::NewerFormat { .. })), "byte {at}");
    }
}

#[test]
fn an_interrupted_creation_is_begun_again() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("data");
    let made = StoreDir::open(&path).unwrap();
    write_one(&made, None, b"never acknowledged: the directory is not finished");
    drop(made);
    // As if the power had failed before the last step.
    fs::rename(path.join("format"), path.join("format.new")).unwrap();

    let again = StoreDir::open(&path).unwrap();

    assert_eq!(write_one(&again, None, b"one"), Commit(1));
}

#[test]
fn a_lost_journal_is_not_taken_for_a_new_one() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("data");
    let made = StoreDir::open(&path).unwrap();
    write_one(&made, None, b"one");
    for entry in fs::read_dir(path.join("journal")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }

    assert!(matches!(made.open_journal(None), Err(LogError::Missing { .. })));
    fs::remove_dir(path.join("journal")).unwrap();
    assert!(matches!(made.open_journal(None), Err(LogError::Io { .. })));
}

#[test]
fn an_identity_can_be_given() {
    let temp = tempfile::tempdir().unwrap();
    let identity = Identity::from_random(core::array::from_fn(|at| u8::try_from(at).unwrap()));

    let dir = StoreDir::open_with(temp.path().join("data"), || Ok(identity.clone())).unwrap();

    assert_eq!(dir.identity().id.to_string(), "00010203-0405-4607-8809-0a0b0c0d0e0f");
    assert_eq!(dir.identity().hash_key[0], 16);
    drop(dir);
    assert_eq!(*StoreDir::open(temp.path().join("data")).unwrap().identity(), identity);
}
