//! Both cold stores against a plain map, through reopening and interrupted writes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use columba_store::cold::{ColdError, KEY_LEN_MAX, MemFault, Upkeep};
use columba_store::sim::Rng;
use columba_store::{Batch, Cold, ColdRead, FjallCold, MemCold, Position, Space};

const SPACES: [Space; 3] = [Space(0), Space(7), Space(255)];

type Map = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

fn random_key(rng: &mut Rng) -> Vec<u8> {
    let len = 1 + rng.index(3);
    (0..len).map(|_| u8::try_from(rng.below(4)).unwrap() * 85).collect()
}

/// A batch, and what it makes of `map`. Keys repeat within it.
fn random_batch(rng: &mut Rng, map: &mut Map) -> Batch {
    let mut batch = Batch::new();
    for _ in 0..rng.below(30) {
        let (space, key) = (SPACES[rng.index(3)], random_key(rng));
        if rng.one_in(3) {
            map.remove(&(space, key.clone()));
            batch.remove(space, key);
        } else {
            let value = rng.next_u64().to_le_bytes()[..rng.index(9)].to_vec();
            map.insert((space, key.clone()), value.clone());
            batch.put(space, key, value);
        }
    }
    batch
}

fn assert_same(cold: &dyn ColdRead, map: &Map, rng: &mut Rng) {
    for space in SPACES {
        let all = cold.scan(space, &[], None, usize::MAX).unwrap();
        let expected: Vec<_> =
            map.iter().filter(|((of, _), _)| *of == space).map(|((_, key), value)| (key.clone(), value.clone())).collect();
        assert_eq!(all, expected);

        let (from, to, limit) = (random_key(rng), random_key(rng), rng.index(5));
        let some = cold.scan(space, &from, Some(&to), limit).unwrap();
        let expected: Vec<_> = expected.into_iter().filter(|(key, _)| *key >= from && *key < to).take(limit).collect();
        assert_eq!(some, expected, "{from:?}..{to:?}");

        assert_eq!(cold.get(space, &from).unwrap(), map.get(&(space, from)).cloned());
    }
}

/// Random checkpoints; `reopen` stands for a restart.
fn against_a_map<C: Cold>(seed: u64, mut cold: C, reopen: impl Fn(C) -> C) {
    eprintln!("seed {seed}");
    let mut rng = Rng::new(seed);
    let mut map = Map::new();
    assert_eq!(cold.position(), None);
    for round in 1..60 {
        let batch = random_batch(&mut rng, &mut map);
        let position = Position { segment: round, offset: rng.next_u64() };
        cold.write(batch, position).unwrap();
        if rng.one_in(5) {
            cold = reopen(cold);
        }
        assert_eq!(cold.position(), Some(position));
        assert_same(&cold, &map, &mut rng);
        assert_same(&*cold.reader(), &map, &mut rng);
    }
}

#[test]
fn memory_behaves_like_a_map() {
    for seed in 0..20 {
        against_a_map(seed, MemCold::new(), |cold| cold);
    }
}

#[test]
fn fjall_behaves_like_a_map() {
    for seed in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cold");
        against_a_map(seed, FjallCold::open(&path).unwrap(), |cold| {
            drop(cold);
            FjallCold::open(&path).unwrap()
        });
    }
}

#[test]
fn an_interrupted_write_is_there_wholly_or_not_at_all() {
    let mut cold = MemCold::new();
    let at = |segment| Position { segment, offset: 0 };
    let put = |value: &[u8]| {
        let mut batch = Batch::new();
        batch.put(Space(1), *b"a", value);
        batch.put(Space(2), *b"b", value);
        batch
    };
    cold.write(put(b"1"), at(1)).unwrap();

    cold.fail_next(MemFault::BeforeWrite);
    assert!(matches!(cold.write(put(b"2"), at(2)), Err(ColdError::Injected)));
    assert_eq!((cold.position(), cold.get(Space(2), b"b").unwrap()), (Some(at(1)), Some(b"1".to_vec())));

    cold.fail_next(MemFault::AfterWrite);
    assert!(matches!(cold.write(put(b"3"), at(3)), Err(ColdError::Injected)));
    assert_eq!((cold.position(), cold.get(Space(2), b"b").unwrap()), (Some(at(3)), Some(b"3".to_vec())));
}

#[test]
fn a_visit_ends_where_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut fjall = FjallCold::open(&dir.path().join("cold")).unwrap();
    let mut memory = MemCold::new();
    for cold in [&mut fjall as &mut dyn Cold, &mut memory] {
        let mut batch = Batch::new();
        for number in 0..100_u8 {
            batch.put(Space(7), [number], [number]);
        }
        cold.write(batch, Position::START).unwrap();
        let mut seen = Vec::new();
        let visit = &mut |key: &[u8], _: &[u8]| {
            seen.push(key[0]);
            if key[0] == 12 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        cold.visit(Space(7), &[10], None, visit).unwrap();
        assert_eq!(seen, [10, 11, 12]);
    }
}

#[test]
fn a_half_made_store_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cold");
    std::fs::create_dir(dir.path().join("cold.new")).unwrap();
    std::fs::write(dir.path().join("cold.new/0.jnl"), b"half").unwrap();

    let mut cold = FjallCold::open(&path).unwrap();

    cold.write(Batch::new(), Position::START).unwrap();
    assert!(!dir.path().join("cold.new").exists());
}

#[test]
fn a_key_that_is_too_long_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut fjall = FjallCold::open(&dir.path().join("cold")).unwrap();
    let mut memory = MemCold::new();
    for cold in [&mut fjall as &mut dyn Cold, &mut memory] {
        let mut good = Batch::new();
        good.put(Space(0), *b"", *b"1");
        good.put(Space(0), vec![9; KEY_LEN_MAX], *b"2");
        let mut bad = Batch::new();
        bad.put(Space(0), *b"", *b"3");
        bad.put(Space(0), vec![9; KEY_LEN_MAX + 1], *b"4");

        assert!(matches!(cold.write(bad, Position::START), Err(ColdError::KeyTooLong { .. })));
        assert_eq!((cold.get(Space(0), b"").unwrap(), cold.position()), (None, None));

        cold.write(good, Position::START).unwrap();
        assert_eq!(cold.get(Space(0), b"").unwrap(), Some(b"1".to_vec()));
        assert_eq!(cold.get(Space(0), &vec![9; KEY_LEN_MAX]).unwrap(), Some(b"2".to_vec()));
    }
}

#[test]
fn a_visit_beside_a_writer_sees_whole_checkpoints() {
    const KEYS: u16 = 500;
    // Long enough that tables are written meanwhile: the moment at which one is done used to show half of a checkpoint.
    const VALUE: usize = 500;
    let dir = tempfile::tempdir().unwrap();
    let mut cold = FjallCold::open(&dir.path().join("cold")).unwrap();
    let reader = cold.reader();
    let writing = AtomicBool::new(true);

    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..200_u8 {
                let mut batch = Batch::new();
                for key in 0..KEYS {
                    batch.put(Space(1), key.to_be_bytes(), [round; VALUE]);
                }
                cold.write(batch, Position::START).unwrap();
            }
            writing.store(false, SeqCst);
        });
        while writing.load(SeqCst) {
            let values = reader.scan(Space(1), &[], None, usize::MAX).unwrap();
            assert!(values.is_empty() || values.len() == usize::from(KEYS), "{} keys", values.len());
            assert!(values.iter().all(|(_, value)| *value == values[0].1), "two checkpoints in one visit");
        }
    });
}

#[test]
fn keys_as_long_as_the_longest_topic_stand_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cold");
    let mut fjall = FjallCold::open(&path).unwrap();
    let mut memory = MemCold::new();
    // All lengths around the limit, with shared beginnings, and short ones.
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for len in [1, 65_531, 65_532, 65_533, 65_534, 65_535] {
        for last in [0, 7, 255] {
            let mut key = vec![7; len];
            key[len - 1] = last;
            keys.push(key);
        }
    }
    for cold in [&mut fjall as &mut dyn Cold, &mut memory] {
        let mut batch = Batch::new();
        for (number, key) in keys.iter().enumerate() {
            batch.put(Space(6), key.clone(), number.to_le_bytes());
            batch.put(Space(7), key.clone(), *b"another space");
        }
        batch.remove(Space(6), keys[13].clone());
        cold.write(batch, Position::START).unwrap();
    }
    drop(fjall);
    let fjall = FjallCold::open(&path).unwrap();

    for from in &keys {
        assert_eq!(fjall.get(Space(6), from).unwrap(), memory.get(Space(6), from).unwrap());
        for to in keys.iter().map(Some).chain([None]) {
            let scan = |cold: &dyn ColdRead| cold.scan(Space(6), from, to.map(Vec::as_slice), 100).unwrap();
            assert_eq!(scan(&fjall), scan(&memory));
        }
    }
    assert_eq!(fjall.scan(Space(6), &[], None, 100).unwrap().len(), keys.len() - 1);
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut fjall = FjallCold::open(&dir.path().join("cold")).unwrap();
    let mut memory = MemCold::new();
    for cold in [&mut fjall as &mut dyn Cold, &mut memory] {
        let write = |cold: &mut dyn Cold, value: &[u8]| {
            let mut batch = Batch::new();
            batch.put(Space(1), *b"key", value);
            cold.write(batch, Position::START).unwrap();
        };
        write(cold, b"old");
        let snapshot = cold.reader().snapshot().unwrap();
        write(cold, b"new");

        assert_eq!(snapshot.get(Space(1), b"key").unwrap(), Some(b"old".to_vec()));
        assert_eq!(snapshot.snapshot().unwrap().scan(Space(1), &[], None, 9).unwrap()[0].1, b"old");
        assert_eq!(cold.get(Space(1), b"key").unwrap(), Some(b"new".to_vec()));
    }
}

#[test]
fn readers_go_on_after_the_store_was_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut cold = FjallCold::open(&dir.path().join("cold")).unwrap();
    let reader = cold.reader();
    let mut batch = Batch::new();
    batch.put(Space(1), *b"key", *b"value");
    cold.write(batch, Position::START).unwrap();
    let snapshot = cold.snapshot().unwrap();

    assert!(cold.reopen(Upkeep::Full).is_err(), "a snapshot keeps the old engine alive");
    assert!(matches!(reader.get(Space(1), b"key"), Err(ColdError::Closed { .. })));
    drop(snapshot);
    cold.reopen(Upkeep::Full).unwrap();

    assert_eq!(reader.get(Space(1), b"key").unwrap(), Some(b"value".to_vec()));
    assert_eq!(cold.position(), Some(Position::START));
    cold.write(Batch::new(), Position::START).unwrap();
}

#[test]
fn a_store_takes_no_space_before_its_first_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cold");
    let mut cold = FjallCold::open(&path).unwrap();
    let reader = cold.reader();
    let snapshot = reader.snapshot().unwrap();
    assert_eq!(reader.get(Space(1), b"key").unwrap(), None);
    assert!(reader.scan(Space(1), &[], None, 9).unwrap().is_empty());
    assert!(!path.exists());

    let mut batch = Batch::new();
    batch.put(Space(1), *b"key", *b"value");
    cold.write(batch, Position::START).unwrap();

    assert_eq!(reader.get(Space(1), b"key").unwrap(), Some(b"value".to_vec()));
    assert_eq!(snapshot.get(Space(1), b"key").unwrap(), None);
    assert!(path.exists());
}
