//! What can be read of a damaged journal is read, and what is lost is named: one commit for one flipped bit, never more, never something else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeMap;

use columba_store::log::{Gap, Harm, Survey, Surveyed};
use columba_store::sim::{Rng, SimDisk};
use columba_store::{Commit, Disk as _, DiskFile as _, Log, LogError, LogOptions, Position, StoreId};

const ID: StoreId = StoreId([3; 16]);
const SALT: u64 = 11;

fn open(disk: &SimDisk) -> Log<SimDisk> {
    let options = LogOptions { segment_bytes_min: 8192, segment_bytes_max: 8192, spares: 1, ..LogOptions::new(ID, SALT) };
    disk.kill();
    Log::open(disk.clone(), options, None).unwrap().0
}

/// Twelve commits of 700 to 1,800 bytes over several segments; where each begins and ends.
fn filled(disk: &SimDisk) -> Vec<(Position, Position)> {
    let mut log = open(disk);
    let mut places = Vec::new();
    for number in 0_u8..12 {
        let before = log.end();
        log.write(&[(0, &content(number + 1))]).unwrap();
        log.sync().unwrap();
        let end = log.end();
        let begin = if before.segment == end.segment { before } else { Position { offset: 4096, ..end } };
        places.push((begin, end));
    }
    disk.kill();
    places
}

fn content(commit: u8) -> Vec<u8> {
    vec![commit; 600 + 100 * usize::from(commit)]
}

fn name(segment: u64) -> String {
    format!("{segment:016x}.seg")
}

fn survey(disk: &SimDisk, from: Option<Position>) -> Survey<SimDisk> {
    Survey::run(disk.clone(), ID, SALT, from).unwrap()
}

/// The commits that can be read, each as it was written, and the gaps between them.
fn read(survey: &Survey<SimDisk>) -> (Vec<u64>, Vec<Gap>) {
    let (mut commits, mut gaps) = (Vec::new(), Vec::new());
    survey
        .replay(&mut |found| {
            match found {
                Surveyed::Frame(frame) => {
                    let parts: Vec<_> = frame.parts().collect();
                    assert_eq!(parts, [(0, &*content(u8::try_from(frame.commit.0).unwrap()))]);
                    commits.push(frame.commit.0);
                }
                Surveyed::Gap(gap) => gaps.push(gap),
            }
            Ok::<_, LogError>(())
        })
        .unwrap();
    assert_eq!(gaps, survey.gaps());
    (commits, gaps)
}

fn all_but(lost: &[u64]) -> Vec<u64> {
    (1..=12).filter(|commit| !lost.contains(commit)).collect()
}

fn gap(after: u64, before: u64) -> Gap {
    Gap { after: Some(Commit(after)), before: Some(Commit(before)) }
}

#[test]
fn nothing_is_wrong_with_a_journal_as_it_was_written() {
    let disk = SimDisk::new(1);
    let places = filled(&disk);

    let whole = survey(&disk, None);
    assert_eq!((read(&whole), whole.wounds()), ((all_but(&[]), vec![]), &[][..]));
    assert_eq!(whole.last(), Commit(12));

    let tail = survey(&disk, Some(places[7].1));
    assert_eq!((read(&tail), tail.wounds()), (((9..=12).collect(), vec![]), &[][..]));
}

#[test]
fn a_flipped_bit_costs_the_commit_that_it_is_in_and_no_other() {
    let disk = SimDisk::new(2);
    let places = filled(&disk);
    let mut rng = Rng::new(7);
    let mut lost = BTreeMap::new();
    for _ in 0..1500 {
        let hit = rng.index(places.len());
        let (begin, end) = places[hit];
        let offset = begin.offset + rng.below(end.offset - begin.offset);
        let damaged = disk.fork();
        damaged.damage(&name(begin.segment), offset, 1 << rng.below(8));

        let found = survey(&damaged, None);

        let commit = hit as u64 + 1;
        match read(&found) {
            // Padding.
            (commits, gaps) if commits.len() == 12 => assert!(gaps.is_empty() && found.wounds().is_empty()),
            // The last one looks torn.
            (commits, gaps) if commit == 12 => assert_eq!((commits, gaps), (all_but(&[12]), vec![])),
            (commits, gaps) => {
                assert_eq!((commits, gaps), (all_but(&[commit]), vec![gap(commit - 1, commit + 1)]), "byte {offset}");
                let [wound] = found.wounds() else { panic!("{:?}", found.wounds()) };
                assert_eq!((wound.segment, wound.offset, wound.what), (begin.segment, begin.offset, Harm::Frames));
                let bytes = found.bytes(wound).unwrap();
                assert!(bytes.len() >= content(u8::try_from(commit).unwrap()).len(), "what is left of it can be looked at");
                *lost.entry(commit).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(lost.len(), 11, "{lost:?}");
}

#[test]
fn a_damaged_header_costs_nothing() {
    let disk = SimDisk::new(3);
    filled(&disk);
    for bit in 0..72 * 8 {
        for segment in [1, 2] {
            let damaged = disk.fork();
            damaged.damage(&name(segment), bit / 8, 1 << (bit % 8));

            let Ok(found) = Survey::run(damaged, ID, SALT, None) else { panic!("bit {bit}") };

            assert_eq!(read(&found), (all_but(&[]), vec![]), "bit {bit}");
            assert!(matches!(found.wounds(), [wound] if matches!(wound.what, Harm::Header(_))), "bit {bit}");
        }
    }
}

#[test]
fn a_missing_segment_costs_what_was_in_it() {
    let disk = SimDisk::new(4);
    let places = filled(&disk);
    let newest = places[11].0.segment;
    let of = |segment| (1..).zip(&places).filter(move |(_, (begin, _))| begin.segment == segment).map(|(commit, _)| commit);
    for segment in 1..newest {
        let damaged = disk.fork();
        damaged.remove(&name(segment)).unwrap();
        let lost: Vec<u64> = of(segment).collect();

        let found = survey(&damaged, None);

        assert_eq!(read(&found), (all_but(&lost), vec![gap(lost[0] - 1, lost[lost.len() - 1] + 1)]), "segment {segment}");
        assert!(matches!(found.wounds(), [wound] if wound.segment == segment && wound.what == Harm::Missing));
    }
    // Where the cold store stands in a segment that is gone, nobody knows how many there were.
    let damaged = disk.fork();
    damaged.remove(&name(1)).unwrap();
    let found = survey(&damaged, Some(places[1].1));
    assert_eq!(found.gaps().len(), 1);
    assert_eq!(found.gaps()[0].after, None);
}

#[test]
fn any_amount_of_damage_is_survived_and_every_readable_commit_is_found() {
    let disk = SimDisk::new(5);
    let places = filled(&disk);
    let newest = places[11].0.segment;
    let mut rng = Rng::new(9);
    for round in 0..400 {
        let damaged = disk.fork();
        let mut hit = Vec::new();
        for _ in 0..=rng.below(6) {
            let segment = 1 + rng.below(newest);
            let offset = rng.below(8192);
            let len = 1 + rng.below(600);
            for at in offset..(offset + len).min(8192) {
                damaged.damage(&name(segment), at, u8::try_from(1 + rng.below(255)).unwrap());
            }
            hit.push((segment, offset, offset + len));
        }
        let untouched = |(begin, end): &(Position, Position)| {
            !hit.iter().any(|&(segment, from, to)| segment == begin.segment && from < end.offset && begin.offset < to)
        };

        let Ok(found) = Survey::run(damaged, ID, SALT, None) else { panic!("round {round}") };
        let (commits, gaps) = read(&found);

        for (commit, place) in (1..).zip(&places) {
            assert!(!untouched(place) || commits.contains(&commit), "round {round}: commit {commit}");
            let named = gaps.iter().any(|gap| gap.after.unwrap().0 < commit && gap.before.is_none_or(|before| commit < before.0));
            // Behind the last that can be read a crash looks the same.
            let at_the_end = commits.last().is_none_or(|last| commit > *last);
            assert!(commits.contains(&commit) || named || at_the_end, "round {round}: commit {commit} is lost in silence");
        }
    }
}

#[test]
fn another_store_s_segment_gives_nothing_and_a_swapped_name_everything() {
    let disk = SimDisk::new(6);
    filled(&disk);
    let swapped = disk.fork();
    swapped.rename(&name(1), "aside").unwrap();
    swapped.rename(&name(2), &name(1)).unwrap();
    swapped.rename("aside", &name(2)).unwrap();

    assert_eq!(read(&survey(&swapped, None)), (all_but(&[]), vec![]));
    let strange = Survey::run(disk.clone(), StoreId([4; 16]), SALT, None).unwrap();
    assert_eq!(read(&strange).0, [0; 0]);

    let short = disk.fork();
    short.truncate(&name(1), 8000);
    let found = survey(&short, None);
    assert!(found.wounds().iter().any(|wound| matches!(wound.what, Harm::Header(_))));
    assert!(short.open(&name(1)).unwrap().len().unwrap() == 8000, "a survey changes nothing");
}

#[test]
fn what_was_not_synced_when_the_machine_stopped_is_no_damage() {
    let disk = SimDisk::new(7);
    let mut log = open(&disk);
    log.write(&[(0, &content(1))]).unwrap();
    log.sync().unwrap();
    let mut places = Vec::new();
    for number in 2..=4 {
        places.push(log.end());
        log.write_behind(&[(0, &content(number))]).unwrap();
    }
    disk.kill();

    disk.damage(&name(places[1].segment), places[1].offset + 30, 1);

    let found = survey(&disk, None);
    assert_eq!((read(&found), found.wounds()), ((vec![1, 2], vec![]), &[][..]));
}
