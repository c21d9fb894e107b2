//! Disk space while the broker runs: what was acknowledged comes back without a restart.

mod common;

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use columba_store::dir::disk_usage;
use common::{Keep, Raw, address, connect, durable, frame, publish};

/// Much longer than it takes.
const PATIENCE: Duration = Duration::from_mins(1);

fn wait_until(directory: &Path, what: &str, is_so: impl Fn(u64) -> bool) -> u64 {
    let begun = Instant::now();
    loop {
        let bytes = disk_usage(directory).expect("it is there");
        if is_so(bytes) {
            return bytes;
        }
        assert!(begun.elapsed() < PATIENCE, "never {what}: {bytes} bytes");
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn the_space_of_a_drained_backlog_comes_back_while_the_broker_runs() {
    const MESSAGES: u16 = 1200;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let broker = durable(path, &[]);
    let (mut away, _) = Raw::connected(address(&broker), &connect(4, "away", Keep::Session));
    away.subscribe(4, "backlog", 1);
    drop(away);
    let fresh = wait_until(path, "ready", |bytes| bytes >= 6 << 20);

    let (mut publisher, _) = Raw::connected(address(&broker), &connect(4, "writer", Keep::Nothing));
    let payload = vec![7; 20_000];
    for from in (1..=MESSAGES).step_by(20) {
        (from..from + 20).for_each(|id| publisher.send(&publish(4, id, "backlog", &payload)));
        (from..from + 20).for_each(|_| drop(publisher.expect(0x40)));
    }
    // In the cold store, which is what has to give it back.
    wait_until(path, "in the cold store", |_| disk_usage(&path.join("cold")).expect("measured") > 16 << 20);

    let (mut reader, present) = Raw::connected(address(&broker), &connect(4, "away", Keep::Session));
    assert!(present);
    for _ in 0..MESSAGES {
        let body = reader.expect(0x32);
        reader.send(&frame(0x40, &body[9..11]));
    }
    reader.ping();

    let after = wait_until(path, "small again", |bytes| bytes <= fresh + (4 << 20));
    assert!(after >= 4 << 20, "the journal is still there");
    // And it still works.
    publisher.send(&publish(4, 1, "backlog", b"again"));
    publisher.expect(0x40);
    assert!(reader.expect(0x32).ends_with(b"again"));
    drop((publisher, reader));
    broker.stop();
    let broker = durable(path, &[]);
    assert_eq!(broker.recovered().sessions, 1);
}
