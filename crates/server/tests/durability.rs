//! What acknowledgements wait for, and what happens when the disk quota is reached: over sockets.

mod common;

use std::{
    thread,
    time::{Duration, Instant},
};

use columba_server::{Config, Running, config::Data};
use common::{Keep, Raw, address, config, connect, durable, frame, publish, subscribe};

/// Much longer than it takes.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn every_mode_acknowledges_and_finds_its_messages_after_a_stop() {
    for sync in ["group", "always", "interval", "none"] {
        let directory = tempfile::tempdir().unwrap();
        let mode = format!("durability.sync={sync}");
        let broker = durable(directory.path(), &[&mode, "runtime.shards=2"]);
        let (mut reader, _) = Raw::connected(address(&broker), &connect(4, "reader", Keep::Session));
        reader.subscribe(4, "t", 2);
        drop(reader);
        let (mut publisher, _) = Raw::connected(address(&broker), &connect(4, "writer", Keep::Session));
        publisher.send(&publish(4, 1, "t", b"one"));
        publisher.expect(0x40);
        let mut exactly = publish(4, 2, "t", b"two");
        exactly[0] = 0x34;
        publisher.send(&exactly);
        publisher.expect(0x50);
        publisher.send(&frame(0x62, &[0, 2]));
        publisher.expect(0x70);
        broker.stop();

        let broker = durable(directory.path(), &[&mode]);
        let (mut reader, present) = Raw::connected(address(&broker), &connect(4, "reader", Keep::Session));
        assert!(present, "{sync}");
        assert!(reader.expect(0x32).ends_with(b"one"), "{sync}");
        assert!(reader.expect(0x34).ends_with(b"two"), "{sync}");
    }
}

/// Publishes until the broker refuses (0x97); how many it took.
fn fill(publisher: &mut Raw, payload: &[u8]) -> u16 {
    let begun = Instant::now();
    for id in 1.. {
        publisher.send(&publish(5, id, "backlog", payload));
        let answer = publisher.expect(0x40);
        match answer.get(2) {
            Some(0x97) => return id - 1,
            None | Some(0 | 0x10) => {}
            Some(other) => panic!("reason {other:#04x}"),
        }
        assert!(begun.elapsed() < PATIENCE, "never refused");
    }
    unreachable!("there are more identifiers than the quota has room for")
}

/// Publishes until the broker takes it.
fn until_taken(publisher: &mut Raw, payload: &[u8]) {
    let begun = Instant::now();
    loop {
        publisher.send(&publish(5, 2, "backlog", payload));
        if publisher.expect(0x40).get(2).is_none_or(|&reason| reason < 0x80) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "never resumed");
        thread::sleep(Duration::from_millis(100));
    }
}

fn with_quota() -> (tempfile::TempDir, Running) {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = durable(directory.path(), &["durability.disk_quota=32MiB"]);
    let (mut away, _) = Raw::connected(address(&broker), &connect(4, "away", Keep::Session));
    away.subscribe(4, "backlog", 1);
    drop(away);
    (directory, broker)
}

#[test]
fn at_the_quota_nothing_more_is_stored_and_everything_else_goes_on() {
    let (_directory, broker) = with_quota();
    let at = address(&broker);
    let (mut publisher, _) = Raw::connected(at, &connect(5, "writer", Keep::Nothing));
    let payload = vec![7; 50_000];
    let stored = fill(&mut publisher, &payload);
    assert!(stored > 50, "{stored} messages");

    // No new session, no new subscription of one that is kept.
    let mut new = Raw::open(at);
    new.send(&connect(5, "new", Keep::Session));
    assert_eq!(new.expect(0x20)[1], 0x97);
    let mut old = Raw::open(at);
    old.send(&connect(4, "old", Keep::Session));
    assert_eq!(old.expect(0x20)[1], 3);
    // What is not kept goes on.
    let (mut hearer, _) = Raw::connected(at, &connect(4, "hearer", Keep::Nothing));
    hearer.subscribe(4, "news", 1);
    publisher.send(&publish(5, 1, "news", b"x"));
    publisher.expect(0x40);
    assert!(hearer.expect(0x32).ends_with(b"x"));

    // The backlog is drained, and nothing that was acknowledged is missing.
    let (mut reader, present) = Raw::connected(at, &connect(4, "away", Keep::Session));
    assert!(present);
    reader.send(&subscribe(4, 9, "more", 1));
    let mut drained = 0;
    let mut refused = false;
    while drained < stored || !refused {
        let (first, body) = reader.frame().expect("a frame");
        if first == 0x90 {
            refused = body[2..] == [0x80];
        } else {
            reader.send(&frame(0x40, &body[9..11]));
            drained += 1;
        }
    }
    reader.ping();

    // And then there is room again, by itself.
    until_taken(&mut publisher, b"again");
    assert!(reader.expect(0x32).ends_with(b"again"));
    let (mut new, _) = Raw::connected(at, &connect(5, "new", Keep::Session));
    new.subscribe(5, "more", 1);
}

#[test]
fn a_quota_that_a_reload_raises_makes_room_at_once() {
    let (directory, mut broker) = with_quota();
    let (mut publisher, _) = Raw::connected(address(&broker), &connect(5, "writer", Keep::Nothing));
    fill(&mut publisher, &vec![7; 50_000]);

    let more = Config { data: Data::Directory(directory.path().into()), ..config(&["durability.disk_quota=none"]) };
    assert_eq!(broker.reload(more).unwrap(), Vec::<&str>::new(), "nothing waits for a start");

    until_taken(&mut publisher, b"there is room");
    let less = Config { data: Data::Directory(directory.path().into()), ..config(&["durability.disk_quota=32MiB"]) };
    broker.reload(less).unwrap();
    fill(&mut publisher, b"and now there is none");
}
