//! What a start refuses, what a stop leaves behind, and what a restart finds.

mod common;

use std::{fs, net::TcpStream, os::unix::fs::MetadataExt, path::Path};

use columba_server::{
    Config, Server, StartError,
    config::{Data, Sources},
};
use common::{Keep, Raw, address, config, connect, durable, ephemeral, expect_disconnect, frame, publish};

fn refusal(config: Config) -> StartError {
    Server::start(config).expect_err("a refusal")
}

#[test]
fn a_port_that_another_columba_has_is_taken() {
    for shards in ["runtime.shards=1", "runtime.shards=4"] {
        let first = ephemeral(&[shards]);
        let mut second = Config { data: Data::Ephemeral, ..config(&[shards]) };
        second.listeners[0].address = address(&first).to_string().parse().unwrap();

        let error = refusal(second);

        let expected = format!("{} is taken (pid {}, ", address(&first), std::process::id());
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

#[test]
fn a_data_directory_has_one_broker() {
    let directory = tempfile::tempdir().unwrap();
    let _first = durable(directory.path(), &[]);

    let error = refusal(Config { data: Data::Directory(directory.path().into()), ..config(&[]) });

    assert!(error.to_string().contains("in use"), "{error}");
}

/// Bytes of the blocks that a file or a directory takes, as `du` counts them.
fn disk_usage(path: &Path) -> u64 {
    let meta = fs::symlink_metadata(path).expect("it is there");
    let entries = meta.is_dir().then(|| fs::read_dir(path).expect("a directory that can be read"));
    let inside: u64 = entries.into_iter().flatten().map(|entry| disk_usage(&entry.expect("an entry").path())).sum();
    meta.blocks() * 512 + inside
}

#[test]
fn a_new_directory_is_small_and_has_no_cold_store_yet() {
    let directory = tempfile::tempdir().unwrap();
    let broker = durable(directory.path(), &[]);

    assert!(disk_usage(directory.path()) < 16 << 20);
    assert!(!directory.path().join("cold").exists());
    broker.stop();
    // The segments kept ready are there now.
    assert!(disk_usage(directory.path()) < 16 << 20);
}

#[test]
fn a_reachable_listener_without_permission_is_refused_with_a_way_out() {
    let mut config = Config { data: Data::Ephemeral, ..config(&[]) };
    config.listeners[0].address = "0.0.0.0:0".parse().unwrap();

    let error = refusal(config);

    assert_eq!(error.to_string(), "listener 0.0.0.0:0 is reachable from other machines and has no authentication");
    assert!(
        error.tries(&Sources::default()).iter().any(|step| step.contains("--allow-anonymous")),
        "{:?}",
        error.tries(&Sources::default())
    );
    assert!(error.is_usage());
}

#[test]
fn a_stop_tells_everyone_and_frees_the_port() {
    let broker = ephemeral(&["runtime.shards=2"]);
    let at = address(&broker);
    let (mut new, _) = Raw::connected(at, &connect(5, "new", Keep::Nothing));
    let (mut old, _) = Raw::connected(at, &connect(4, "old", Keep::Nothing));

    let stop = std::thread::spawn(move || broker.stop());
    expect_disconnect(&mut new, 0x8B);
    old.expect_end();
    drop((new, old));
    stop.join().unwrap();

    assert!(TcpStream::connect(at).is_err());
    let mut again = Config { data: Data::Ephemeral, ..config(&[]) };
    again.listeners[0].address = at.to_string().parse().unwrap();
    let again = Server::start(again).unwrap();
    assert_eq!(address(&again), at);
}

#[test]
fn sessions_and_their_messages_outlive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    for version in [4, 5] {
        let reader = format!("reader-{version}");
        let broker = durable(directory.path(), &["runtime.shards=2"]);
        let (mut subscriber, present) = Raw::connected(address(&broker), &connect(version, &reader, Keep::Session));
        assert!(!present);
        subscriber.subscribe(version, "news/#", 1);
        drop(subscriber);
        let (mut publisher, _) = Raw::connected(address(&broker), &connect(version, "writer", Keep::Nothing));
        for id in 1..=50 {
            publisher.send(&publish(version, id, "news/today", &id.to_be_bytes()));
        }
        for id in 1..=50_u16 {
            assert_eq!(publisher.expect(0x40)[..2], id.to_be_bytes());
        }
        drop(publisher);
        broker.stop();

        // Another number of shards: sessions find their owners.
        let broker = durable(directory.path(), &["runtime.shards=3"]);
        assert!(broker.recovered().sessions >= 1);
        let (mut subscriber, present) = Raw::connected(address(&broker), &connect(version, &reader, Keep::Session));
        assert!(present);
        for expected in 1..=50_u16 {
            let body = subscriber.expect(0x32);
            assert_eq!(body[body.len() - 2..], expected.to_be_bytes());
            subscriber.send(&frame(0x40, &body[12..14]));
        }
        subscriber.ping();
        broker.stop();
    }
}

#[test]
fn retained_messages_outlive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let broker = durable(directory.path(), &[]);
    let (mut publisher, _) = Raw::connected(address(&broker), &connect(4, "writer", Keep::Nothing));
    let mut retained = publish(4, 9, "state/door", b"open");
    retained[0] |= 1;
    publisher.send(&retained);
    publisher.expect(0x40);
    broker.stop();

    let broker = durable(directory.path(), &[]);

    assert_eq!(broker.recovered().retained, 1);
    let (mut subscriber, _) = Raw::connected(address(&broker), &connect(4, "reader", Keep::Nothing));
    subscriber.subscribe(4, "state/+", 0);
    assert!(subscriber.expect(0x31).ends_with(b"open"));
}
