//! Flipped bits in the files of the cold store: refused, or harmless, or an older checkpoint that says so by its position. Never other data.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use columba_store::sim::Rng;
use columba_store::{Batch, Cold as _, ColdRead as _, FjallCold, Position, Space};

const SPACE: Space = Space(3);

/// What the store holds after each checkpoint, by position.
type History = BTreeMap<Position, BTreeMap<Vec<u8>, Vec<u8>>>;

fn position(checkpoint: u64) -> Position {
    Position { segment: 1 + checkpoint / 4, offset: 4096 + 8 * checkpoint }
}

/// Checkpoints of `keys` changes with values of `len` bytes each.
fn filled(path: &Path, checkpoints: u64, keys: u64, len: usize) -> History {
    let mut rng = Rng::new(5);
    let mut cold = FjallCold::open(path).unwrap();
    let mut history = History::new();
    let mut content = BTreeMap::new();
    for checkpoint in 0..checkpoints {
        let mut batch = Batch::new();
        for _ in 0..keys {
            let key = rng.below(3 * keys).to_be_bytes().to_vec();
            if rng.one_in(4) {
                batch.remove(SPACE, key.clone());
                content.remove(&key);
            } else {
                let value: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
                batch.put(SPACE, key.clone(), value.clone());
                content.insert(key, value);
            }
        }
        cold.write(batch, position(checkpoint)).unwrap();
        history.insert(position(checkpoint), content.clone());
    }
    history
}

/// Every file with what is in it; the zeros at its end are left out.
fn files(path: &Path) -> Vec<(PathBuf, Vec<u8>, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            let mut bytes = fs::read(entry.path()).unwrap();
            let len = bytes.len() as u64;
            bytes.truncate(bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1));
            found.push((entry.path(), bytes, len));
        }
    }
    found.sort();
    found
}

#[derive(Debug, Default)]
struct Tally {
    refused: u32,
    unreadable: u32,
    older: u32,
    harmless: u32,
}

fn flip(path: &Path, history: &History, rounds: u64, seed: u64) -> Tally {
    let temp = tempfile::tempdir().unwrap();
    let all = files(path);
    let dirs: Vec<PathBuf> = all.iter().map(|(file, ..)| file.parent().unwrap().strip_prefix(path).unwrap().to_owned()).collect();
    let mut rng = Rng::new(seed);
    let mut tally = Tally::default();
    let newest = *history.last_key_value().unwrap().0;
    for round in 0..rounds {
        let copy = temp.path().join(format!("{round}"));
        // Small files are as likely as long ones.
        let hit = loop {
            let hit = rng.index(all.len());
            if !all[hit].1.is_empty() {
                break hit;
            }
        };
        let (at, bit) = (rng.index(all[hit].1.len()), 1 << rng.below(8));
        for ((number, (file, bytes, len)), dir) in all.iter().enumerate().zip(&dirs) {
            fs::create_dir_all(copy.join(dir)).unwrap();
            let mut bytes = bytes.clone();
            // The first copy is as it was.
            if number == hit && round > 0 {
                bytes[at] ^= bit;
            }
            let to = copy.join(file.strip_prefix(path).unwrap());
            fs::write(&to, bytes).unwrap();
            fs::File::options().write(true).open(&to).unwrap().set_len(*len).unwrap();
        }
        let what = format!("round {round}: bit {bit} of byte {at} of {}", all[hit].0.display());
        match FjallCold::open(&copy) {
            Err(error) => {
                tally.refused += 1;
                assert!(round > 0, "a copy without damage: {error}");
            }
            Ok(cold) => {
                let mut found = BTreeMap::new();
                let read = cold.visit(SPACE, &[], None, &mut |key, value| {
                    found.insert(key.to_vec(), value.to_vec());
                    std::ops::ControlFlow::Continue(())
                });
                match (read, cold.position()) {
                    (Err(_), _) => tally.unreadable += 1,
                    (Ok(()), Some(at)) => {
                        assert!(history[&at] == found, "{what}: not what was there at {at:?}");
                        if at == newest { tally.harmless += 1 } else { tally.older += 1 }
                    }
                    (Ok(()), None) => {
                        assert!(found.is_empty(), "{what}: content without a position");
                        tally.older += 1;
                    }
                }
            }
        }
        fs::remove_dir_all(&copy).unwrap();
        assert!(round > 0 || tally.harmless == 1, "a copy without damage: {tally:?}");
    }
    tally
}

#[test]
fn a_flip_in_young_data_is_seen() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("cold");
    let history = filled(&path, 30, 20, 100);

    let tally = flip(&path, &history, 120, 1);

    eprintln!("{tally:?}");
    assert!(tally.refused + tally.older > 50, "{tally:?}");
}

#[test]
fn a_flip_in_data_that_has_become_tables_is_seen() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("cold");
    let history = filled(&path, 40, 150, 4000);

    let tally = flip(&path, &history, 40, 2);

    eprintln!("{tally:?}");
    assert!(tally.refused + tally.unreadable > 8, "{tally:?}");
}
