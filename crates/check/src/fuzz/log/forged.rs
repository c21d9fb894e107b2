//! A journal whose checksums are right and whose content is anything: what a program with other ideas might have written.

use std::io::IoSlice;

use columba_store::{Disk as _, DiskFile as _, Position, SimDisk};

use super::{ID, SALT, goes_on, open, read};
use crate::fuzz::choices::Choices;

const FRAMES_START: usize = 4096;
const SEGMENT_BYTES: [usize; 4] = [8 << 10, 4096, 4104, 12 << 10];

pub(super) fn run(choices: &mut Choices<'_>) {
    let disk = SimDisk::new(2);
    for number in 0..=u64::from(choices.below(3)) {
        segment(&disk, number + 1, choices);
    }
    let from = choices.bit().then(|| Position { segment: 1 + u64::from(choices.below(3)), offset: u64::from(choices.u16()) });
    let Ok((log, recovered)) = open(&disk, from) else { return };
    let (_, frames) = read(&log, &recovered);
    goes_on(&disk, log, &recovered, &frames);
}

/// docs/format.md, "A journal segment".
fn segment(disk: &SimDisk, number: u64, choices: &mut Choices<'_>) {
    let mut bytes = vec![0; choices.pick(&SEGMENT_BYTES)];
    let size = bytes.len() as u64;
    // Not so high that the numbers end: no journal gets there.
    let first = if choices.bit() { u64::from(choices.u16()) } else { u64::MAX - 0x1_0000 - u64::from(choices.u16()) };
    bytes[0..8].copy_from_slice(b"COLUMBAJ");
    bytes[8..12].copy_from_slice(&1_u32.to_le_bytes());
    bytes[16..32].copy_from_slice(&ID.0);
    bytes[32..40].copy_from_slice(&SALT.to_le_bytes());
    bytes[40..48].copy_from_slice(&number.to_le_bytes());
    bytes[48..56].copy_from_slice(&first.to_le_bytes());
    bytes[56..64].copy_from_slice(&size.to_le_bytes());
    let check = crc32c::crc32c(&bytes[..68]);
    bytes[68..72].copy_from_slice(&check.to_le_bytes());
    let seed = crc32c::crc32c_append(crc32c::crc32c(&SALT.to_le_bytes()), &number.to_le_bytes());

    let (mut at, mut commit) = (FRAMES_START, first);
    for _ in 0..choices.below(8) {
        let frame = frame(seed, commit, choices);
        let len = frame.len().min(bytes.len() - at);
        bytes[at..at + len].copy_from_slice(&frame[..len]);
        at += len;
        commit = commit.wrapping_add(1);
    }
    let file = disk.create(&format!("{number:016x}.seg")).expect("a good disk");
    file.write_at(&[IoSlice::new(&bytes)], 0).and_then(|()| file.sync_data()).expect("a good disk");
}

/// docs/format.md, "A frame"; each field right, or not.
fn frame(seed: u32, commit: u64, choices: &mut Choices<'_>) -> Vec<u8> {
    let parts = parts(choices);
    let odd = choices.byte();
    let is = |bit: u8| odd >> bit & 1 == 1;
    let mut frame = vec![0; 24];
    let len = if is(0) { choices.u32() } else { u32::try_from(parts.len()).expect("few bytes") };
    frame[0..4].copy_from_slice(&len.to_le_bytes());
    let check = if is(1) { choices.u32() } else { crc32c::crc32c_append(seed, &parts) };
    frame[4..8].copy_from_slice(&check.to_le_bytes());
    let commit = if is(2) { commit.wrapping_add(u64::from(choices.byte())).wrapping_sub(128) } else { commit };
    frame[8..16].copy_from_slice(&commit.to_le_bytes());
    frame[16] = if is(3) { choices.byte() } else { 1 };
    frame[17] = u8::from(is(4));
    let check = if is(5) { choices.u32() } else { crc32c::crc32c_append(seed, &frame[..20]) };
    frame[20..24].copy_from_slice(&check.to_le_bytes());
    frame.extend_from_slice(&parts);
    frame.resize(frame.len().next_multiple_of(8) + if is(6) { 8 } else { 0 }, u8::from(is(7)));
    frame
}

/// Parts that fill their frame, or any bytes in their place.
fn parts(choices: &mut Choices<'_>) -> Vec<u8> {
    if choices.below(4) == 0 {
        return choices.block().to_vec();
    }
    let mut parts = Vec::new();
    for _ in 0..choices.below(3) {
        let bytes = choices.block();
        parts.extend_from_slice(&choices.u16().to_le_bytes());
        parts.extend_from_slice(&u32::try_from(bytes.len()).expect("a block is short").to_le_bytes());
        parts.extend_from_slice(bytes);
    }
    parts
}
