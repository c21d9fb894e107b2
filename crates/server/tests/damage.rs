//! A damaged data directory: refused with everything that is known about the loss, and usable without it where somebody says so.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod common;

use std::{
    collections::BTreeSet,
    fs,
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use columba_broker::{
    durable::{GrantRecord, MessageRecord, Record, TargetRecord},
    id::{MessageId, SessionNo},
};
use columba_proto::{PacketId, QoS, Time, packet::RetainHandling};
use columba_server::{
    Config, Running, Server, StartError,
    config::{Data, OnDamage, Sources},
};
use columba_store::{Cold as _, Position, StoreDir, sim::Rng};
use common::{Keep, Raw, address, config, connect, frame};

const CLIENTS: [&str; 3] = ["alice", "bob", "carol"];
const FIRST: u64 = 100;
const COUNT: u64 = 12;

fn session(client: usize) -> SessionNo {
    SessionNo((client as u64 + 1) << 12)
}

fn message(number: u64) -> MessageId {
    MessageId(number << 12)
}

fn encoded(records: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        record.encode(&mut bytes);
    }
    bytes
}

fn created(client: usize) -> Vec<u8> {
    let session = session(client);
    let grant = GrantRecord {
        qos: QoS::ExactlyOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::DoNotSend,
        subscription_id: 0,
        cursor: None,
    };
    encoded(&[
        Record::Created { session, client_id: CLIENTS[client] },
        Record::Attached { session, expiry: u32::MAX, will: None },
        Record::Subscribed { session, filter: "news/#", grant },
        Record::Detached { session, at: Time(1), expiry: u32::MAX, will_stands: false },
    ])
}

fn published(number: u64, to: &[usize]) -> Vec<u8> {
    let payload = number.to_be_bytes();
    let message_record = MessageRecord {
        topic: "news/today",
        qos: QoS::AtLeastOnce,
        retain: false,
        expires: None,
        properties: &[],
        payload: &payload,
    };
    let target = |client: &usize| TargetRecord {
        session: session(*client),
        qos: QoS::AtLeastOnce,
        retain: false,
        subscription_ids: Vec::new(),
    };
    encoded(&[Record::Published {
        id: message(number),
        message: message_record,
        targets: to.iter().map(target).collect(),
        sets_retained: false,
        will_of: None,
    }])
}

/// The journal of a broker that was killed: where each commit begins and ends. Message `FIRST + n` is in commit `n + 4`.
fn filled(dir: &Path) -> Vec<(u64, u64)> {
    let dir = StoreDir::open(dir).unwrap();
    drop(dir.open_cold().unwrap());
    let (mut log, _) = dir.open_journal(None).unwrap();
    let mut places = Vec::new();
    let mut commit = |bytes: &[u8]| {
        let from = log.end().offset;
        log.write(&[(0, bytes)]).unwrap();
        log.sync().unwrap();
        places.push((from, log.end().offset));
    };
    for client in 0..CLIENTS.len() {
        commit(&created(client));
    }
    for number in FIRST..FIRST + COUNT {
        let to: &[usize] = if number % 2 == 0 { &[0, 1] } else { &[0] };
        commit(&published(number, to));
    }
    places
}

fn journal(dir: &Path) -> PathBuf {
    dir.join("journal/0000000000000001.seg")
}

fn flip(file: &Path, offset: u64, mask: u8) {
    let mut file = fs::File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(&[byte[0] ^ mask]).unwrap();
}

fn start(dir: &Path, on_damage: OnDamage) -> Result<Running, StartError> {
    Server::start(Config { data: Data::Directory(dir.into()), on_damage, ..config(&["runtime.shards=1"]) })
}

fn refused(dir: &Path) -> StartError {
    start(dir, OnDamage::Refuse).expect_err("a refusal")
}

/// What waits for a client: the numbers of the messages. `None`: its session is gone.
fn waiting(broker: &Running, client: &str) -> Option<BTreeSet<u64>> {
    let (mut raw, present) = Raw::connected(address(broker), &connect(4, client, Keep::Session));
    if !present {
        return None;
    }
    raw.send(&[0xC0, 0]);
    let mut numbers = BTreeSet::new();
    // Behind the last message comes the answer to a ping that was sent when all others had been acknowledged.
    let mut pings = 0;
    while let Some((first, body)) = raw.frame() {
        if first == 0xD0 {
            pings += 1;
            if pings == 20 {
                break;
            }
            raw.send(&[0xC0, 0]);
            std::thread::sleep(std::time::Duration::from_millis(2));
            continue;
        }
        assert_eq!(first & 0xF0, 0x30, "a message");
        let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        raw.send(&frame(0x40, &body[topic..topic + 2]));
        let payload = <[u8; 8]>::try_from(&body[body.len() - 8..]).unwrap();
        assert!(numbers.insert(u64::from_be_bytes(payload)), "each once");
    }
    Some(numbers)
}

fn numbers(client: usize) -> BTreeSet<u64> {
    (FIRST..FIRST + COUNT).filter(|number| client == 0 || client == 1 && number % 2 == 0).collect()
}

#[test]
fn a_refusal_names_the_commit_the_messages_and_the_sessions() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    let places = filled(&dir);
    // Message 104, for alice and bob: its checksum.
    flip(&journal(&dir), places[7].0 + 4, 1);

    let error = refused(&dir);

    let notes = error.notes().join("\n");
    assert!(error.to_string().contains("0000000000000001.seg"), "{error}");
    assert!(notes.contains("lost: commit 8: the messages and sessions with numbers 104 to 104"), "{notes}");
    assert!(notes.contains("session \"alice\": message 104 is lost"), "{notes}");
    assert!(notes.contains("session \"bob\": message 104 is lost"), "{notes}");
    assert!(!notes.contains("carol") && !notes.contains("other sessions"), "{notes}");
    let tries = error.tries(&Sources::default()).join("\n");
    assert!(tries.contains("--accept-loss") && tries.contains("store import"), "{tries}");
    // Nothing was touched by looking.
    assert_eq!(refused(&dir).notes().join("\n"), notes);
}

#[test]
fn with_accept_loss_it_starts_without_the_lost_commit_and_says_so() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    let places = filled(&dir);
    let damaged = places[7].1 - 20;
    flip(&journal(&dir), damaged, 1);
    let as_it_was = fs::read(journal(&dir)).unwrap();
    let notes = refused(&dir).notes();

    let broker = start(&dir, OnDamage::SetAside).unwrap();

    let mut expected = numbers(0);
    assert!(expected.remove(&104));
    assert_eq!(waiting(&broker, "alice"), Some(expected));
    let mut expected = numbers(1);
    assert!(expected.remove(&104));
    assert_eq!(waiting(&broker, "bob"), Some(expected));
    assert_eq!(waiting(&broker, "carol"), Some(BTreeSet::new()));
    broker.stop();
    let report = fs::read_to_string(dir.join("damaged/1/report.txt")).unwrap();
    assert!(notes.iter().all(|line| report.contains(line.as_str())), "{report}\n{notes:?}");
    assert_eq!(fs::read(dir.join("damaged/1/0000000000000001.seg")).unwrap(), as_it_was);
    // It is whole again.
    start(&dir, OnDamage::Refuse).unwrap().stop();
}

#[test]
fn a_lost_beginning_of_a_session_costs_that_session_and_no_other() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    let places = filled(&dir);
    // The head of bob's commit: what it holds cannot be told any more.
    flip(&journal(&dir), places[1].0 + 21, 8);

    let notes = refused(&dir).notes().join("\n");
    assert!(notes.contains("lost: commit 2"), "{notes}");
    assert!(notes.contains("session \"bob\": a session of it began in what is lost"), "{notes}");

    let broker = start(&dir, OnDamage::SetAside).unwrap();
    assert_eq!(waiting(&broker, "alice"), Some(numbers(0)));
    assert_eq!(waiting(&broker, "bob"), None);
    assert_eq!(waiting(&broker, "carol"), Some(BTreeSet::new()));
}

#[test]
fn a_qos_2_message_that_may_have_been_handed_on_in_the_gap_is_dropped_and_named() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    filled(&dir);
    let store = StoreDir::open(&dir).unwrap();
    let (mut log, _) = store.open_journal(None).unwrap();
    let (alice, packet_id) = (session(0), PacketId::new(9).unwrap());
    let received = MessageRecord {
        topic: "orders/new",
        qos: QoS::ExactlyOnce,
        retain: false,
        expires: None,
        properties: &[],
        payload: b"once",
    };
    let mut place = Position::START;
    for records in [
        encoded(&[Record::Received { session: alice, packet_id, message: received }]),
        published(200, &[1]),
        published(201, &[1]),
    ] {
        place = log.end();
        log.write(&[(0, &records)]).unwrap();
        log.sync().unwrap();
    }
    drop((log, store));
    // The commit behind it.
    flip(&journal(&dir), place.offset - 24, 4);

    let notes = refused(&dir).notes().join("\n");

    assert!(
        notes.contains("session \"alice\": the message that it sent as 9 at QoS 2, topic \"orders/new\", is dropped"),
        "{notes}"
    );
    let broker = start(&dir, OnDamage::SetAside).unwrap();
    // A new message under the same identifier is a new message.
    let (mut alice, _) = Raw::connected(address(&broker), &connect(4, "alice", Keep::Session));
    alice.send(&frame(0x34, &[0, 6, b'n', b'e', b'w', b's', b'/', b'x', 0, 9, b'!']));
    while alice.frame().unwrap().0 != 0x50 {}
    alice.send(&frame(0x62, &[0, 9]));
    while alice.frame().unwrap().0 != 0x70 {}
    let (mut bob, _) = Raw::connected(address(&broker), &connect(4, "bob", Keep::Session));
    while !bob.frame().unwrap().1.ends_with(b"!") {}
}

#[test]
fn a_missing_segment_is_named_and_can_be_accepted() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    filled(&dir);
    fs::remove_file(journal(&dir)).unwrap();

    let error = refused(&dir);

    assert!(error.to_string().contains("0000000000000001.seg is missing"), "{error}");
    let notes = error.notes().join("\n");
    assert!(notes.contains("the file is missing") && notes.contains("other sessions can be affected"), "{notes}");
    let broker = start(&dir, OnDamage::SetAside).unwrap();
    assert_eq!(waiting(&broker, "alice"), None);
    broker.stop();
    start(&dir, OnDamage::Refuse).unwrap().stop();
}

#[test]
fn a_damaged_format_file_is_made_anew_only_where_somebody_says_so() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    filled(&dir);
    let format = dir.join("format");
    flip(&format, 60, 2);
    let as_it_was = fs::read(&format).unwrap();

    let error = refused(&dir);
    assert!(error.to_string().contains("format is damaged"), "{error}");
    assert!(
        error.tries(&Sources::default()).iter().any(|step| step.contains("--accept-loss")),
        "{:?}",
        error.tries(&Sources::default())
    );

    let broker = start(&dir, OnDamage::SetAside).unwrap();
    assert_eq!(waiting(&broker, "alice"), Some(numbers(0)));
    broker.stop();
    assert_eq!(fs::read(dir.join("damaged/1/format")).unwrap(), as_it_was);
    start(&dir, OnDamage::Refuse).unwrap().stop();
}

#[test]
fn no_flipped_bit_of_the_journal_changes_or_loses_a_message_in_silence() {
    let temp = tempfile::tempdir().unwrap();
    let original = temp.path().join("original");
    let places = filled(&original);
    let end = places.last().unwrap().1;
    let mut rng = Rng::new(4);
    let (mut refusals, mut harmless) = (0, 0);
    for round in 0..20 {
        let dir = temp.path().join(format!("round-{round}"));
        copy(&original, &dir);
        let offset = if rng.one_in(8) { rng.below(72) } else { 4096 + rng.below(end - 4096) };
        flip(&journal(&dir), offset, 1 << rng.below(8));
        let hit = places.iter().position(|(from, to)| (*from..*to).contains(&offset));
        let last = hit == Some(places.len() - 1);

        let broker = match start(&dir, OnDamage::Refuse) {
            Ok(broker) => {
                harmless += 1;
                broker
            }
            Err(error) => {
                refusals += 1;
                assert!(matches!(error, StartError::Damaged(_)), "round {round}: {error}");
                start(&dir, OnDamage::SetAside).unwrap()
            }
        };

        for (client, name) in CLIENTS.iter().enumerate() {
            let may_miss = hit.filter(|hit| *hit >= 3).map(|hit| FIRST + hit as u64 - 3);
            match waiting(&broker, name) {
                None => assert_eq!(hit, Some(client), "round {round}, byte {offset}: {name}'s session is gone"),
                Some(found) => {
                    let missing: Vec<_> = numbers(client).difference(&found).copied().collect();
                    assert!(missing.iter().all(|number| Some(*number) == may_miss), "round {round}, byte {offset}: {missing:?}");
                    let silent = !dir.join("damaged").exists();
                    assert!(missing.is_empty() || !silent || last, "round {round}, byte {offset}: lost in silence");
                }
            }
        }
        broker.stop();
        fs::remove_dir_all(&dir).unwrap();
    }
    assert!(refusals > 12, "{refusals} refused, {harmless} not");
}

/// What goes away meanwhile is left out: on a busy machine the engine's last thread may still remove a table that its newest version does not name.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            match fs::copy(entry.path(), to) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                copied => assert!(copied.is_ok(), "{copied:?}"),
            }
        }
    }
}

/// The same content taken into the cold store by three checkpoints, and one message more in each.
fn filled_cold(dir: &Path) -> BTreeSet<u64> {
    filled(dir);
    let mut expected = numbers(0);
    for number in 300..303 {
        start(dir, OnDamage::Refuse).unwrap().stop();
        let store = StoreDir::open(dir).unwrap();
        let position = store.open_cold().unwrap().position();
        let (mut log, _) = store.open_journal(position).unwrap();
        log.write(&[(0, &published(number, &[0]))]).unwrap();
        log.sync().unwrap();
        expected.insert(number);
    }
    start(dir, OnDamage::Refuse).unwrap().stop();
    expected
}

fn files(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
            continue;
        }
        let bytes = fs::read(entry.path()).unwrap();
        let written = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1);
        found.push((entry.path(), written));
    }
    found.sort();
    found
}

#[test]
fn a_flipped_bit_in_the_cold_store_is_refused_and_what_can_be_read_is_rescued() {
    let temp = tempfile::tempdir().unwrap();
    let original = temp.path().join("original");
    let expected = filled_cold(&original);
    let journal = files(&original.join("cold")).into_iter().find(|(file, _)| file.extension().is_some_and(|it| it == "jnl"));
    let (journal, written) = journal.unwrap();
    let journal = journal.strip_prefix(&original).unwrap();
    let mut rng = Rng::new(11);
    let (mut refusals, mut whole) = (0, 0);
    for round in 0..12 {
        let dir = temp.path().join(format!("round-{round}"));
        copy(&original, &dir);
        flip(&dir.join(journal), rng.below(written), 1 << rng.below(8));

        let broker = match start(&dir, OnDamage::Refuse) {
            Ok(broker) => broker,
            Err(error) => {
                refusals += 1;
                assert!(
                    error.tries(&Sources::default()).iter().any(|step| step.contains("--accept-loss")),
                    "round {round}: {error}"
                );
                start(&dir, OnDamage::SetAside).unwrap_or_else(|error| panic!("round {round}: {error}"))
            }
        };

        let said = dir.join("damaged/1/report.txt").exists();
        match waiting(&broker, "alice") {
            None => assert!(said, "round {round}: lost in silence"),
            Some(found) => {
                assert!(found.is_subset(&expected), "round {round}: {found:?}");
                whole += u32::from(found == expected);
                assert!(said || found == expected, "round {round}: lost in silence: {found:?}");
            }
        }
        broker.stop();
        start(&dir, OnDamage::Refuse).unwrap().stop();
        fs::remove_dir_all(&dir).unwrap();
    }
    assert!(refusals >= 8, "{refusals} refused, {whole} with everything");
}
