//! What durable traffic costs beside the disk: `cargo run --release -p columba-broker --example durable [messages] [sessions]`.
//!
//! One million messages of 256 bytes to 10,000 sessions by default: encoding their records, replaying them in memory, folding them for the cold store (kept, and
//! acknowledged before the checkpoint), recovery from the keys, reading windows.

#![expect(clippy::disallowed_types, reason = "a measurement has a clock")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::{
    collections::BTreeMap,
    io::Write,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use columba_broker::{
    durable::{ColdError, ColdRead, Fold, MessageRecord, PublicationEncoder, Record, State, Visit, load_window, recover},
    id::{MessageId, SessionNo},
};
use columba_proto::QoS;

/// Messages between two checkpoints: about 16 MiB of journal.
const WINDOW: usize = 50_000;

#[derive(Default)]
struct Memory(BTreeMap<(u8, Vec<u8>), Vec<u8>>);

impl Memory {
    fn write(&mut self, fold: &mut Fold) {
        for change in fold.take_changes() {
            match change.value {
                Some(value) => drop(self.0.insert((change.space, change.key), value)),
                None => drop(self.0.remove(&(change.space, change.key))),
            }
        }
    }
}

impl ColdRead for Memory {
    fn get(&self, space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        Ok(self.0.get(&(space, key.to_vec())).cloned())
    }

    fn visit(&self, space: u8, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), ColdError> {
        for ((of, key), value) in self.0.range((space, from.to_vec())..) {
            if *of != space || to.is_some_and(|to| key.as_slice() >= to) || visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    let mut args = std::env::args().skip(1);
    let count: u64 = args.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let sessions: u64 = args.next().map_or(Ok(10_000), |text| text.parse())?;

    let mut setup = Vec::new();
    for no in 1..=sessions {
        Record::Created { session: SessionNo(no << 12), client_id: &format!("client-{no}") }.encode(&mut setup);
    }
    let session_of = |n: u64| SessionNo((n % sessions + 1) << 12);
    let id_of = |n: u64| MessageId((sessions + n + 1) << 12);
    let payload = [7; 256];
    let message = MessageRecord {
        topic: "devices/4711/state",
        qos: QoS::AtLeastOnce,
        retain: false,
        expires: None,
        properties: &[],
        payload: &payload,
    };

    let mut journal = Vec::with_capacity(usize::try_from(count)? * 320);
    let mut ends = vec![0];
    let started = Instant::now();
    for n in 0..count {
        let mut encoder = PublicationEncoder::published(&mut journal, id_of(n), &message, false, None);
        encoder.target(session_of(n), QoS::AtLeastOnce, false, &[]);
        encoder.finish();
        ends.push(journal.len());
    }
    report(&mut out, "encode a publication", started.elapsed(), count)?;
    writeln!(out, "{:<44}{:>8} B", "  its record", journal.len() as u64 / count)?;
    let acknowledged = |from: u64, to: u64| {
        let mut bytes = Vec::new();
        for n in from..to {
            Record::Dropped { session: session_of(n), message: id_of(n) }.encode(&mut bytes);
        }
        bytes
    };

    let started = Instant::now();
    let mut state = State::default();
    for mut bytes in [&*setup, &*journal] {
        while !bytes.is_empty() {
            state.apply(&Record::decode(&mut bytes)?)?;
        }
        state.end_of_commit();
    }
    report(&mut out, "replay it into memory", started.elapsed(), count)?;
    drop(state);

    let mut cold = Memory::default();
    let mut fold = Fold::new(&cold)?;
    take(&mut fold, &cold, &setup)?;
    cold.write(&mut fold);
    let mut left = 0;
    let mut took = Duration::ZERO;
    for from in (0..count).step_by(WINDOW) {
        let to = (from + WINDOW as u64).min(count);
        let acknowledgements = acknowledged(from, to);
        let started = Instant::now();
        take(&mut fold, &cold, &journal[ends[usize::try_from(from)?]..ends[usize::try_from(to)?]])?;
        take(&mut fold, &cold, &acknowledgements)?;
        left += fold.take_changes().len();
        took += started.elapsed();
    }
    report(&mut out, "fold it and its acknowledgement", took, count)?;
    writeln!(out, "{:<44}{left:>8}", "  changes left")?;

    let mut fold = Fold::new(&cold)?;
    let mut took = Duration::ZERO;
    for from in (0..count).step_by(WINDOW) {
        let to = (from + WINDOW as u64).min(count);
        let started = Instant::now();
        take(&mut fold, &cold, &journal[ends[usize::try_from(from)?]..ends[usize::try_from(to)?]])?;
        let changes = fold.take_changes();
        took += started.elapsed();
        for change in changes {
            cold.0.insert((change.space, change.key), change.value.unwrap_or_default());
        }
    }
    report(&mut out, "fold it for good", took, count)?;

    let started = Instant::now();
    let state = recover(&cold)?;
    report(&mut out, "recover a session with a cold queue", started.elapsed(), sessions)?;
    drop(state);
    let started = Instant::now();
    let mut read = 0;
    for no in 1..=sessions {
        read += load_window(&cold, SessionNo(no << 12), MessageId(0), 64)?.entries.len();
    }
    report(&mut out, "read it back in windows of 64", started.elapsed(), read as u64)?;
    let acknowledgements = acknowledged(0, count);
    let started = Instant::now();
    take(&mut fold, &cold, &acknowledgements)?;
    report(&mut out, "fold its acknowledgement when it is cold", started.elapsed(), count)?;
    Ok(())
}

fn take(fold: &mut Fold, cold: &Memory, mut bytes: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    while !bytes.is_empty() {
        fold.record(&Record::decode(&mut bytes)?, cold)?;
    }
    fold.end_of_commit();
    Ok(())
}

fn report(out: &mut impl Write, what: &str, took: Duration, times: u64) -> std::io::Result<()> {
    writeln!(out, "{what:<44}{:>8.0} ns", took.as_nanos() as f64 / times as f64)
}
