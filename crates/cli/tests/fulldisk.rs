//! A small disk that becomes full below the real program: nothing acknowledged is lost, whoever cannot be served hears it where his
//! version has a word for it, what promises nothing durable goes on, and so do acknowledgements. When there is room again all goes on by itself.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use columba_check::broker::Broker;
use columba_check::load::{Peer, SessionKind};
use columba_check::loopdisk::LoopDisk;
use columba_check::outside::say;
use columba_check::talk::{Heard, Talk};
use columba_proto::{AckKind, PacketId, QoS, ReasonCode, Version};

const COLUMBA: &str = env!("CARGO_BIN_EXE_columba");
/// Less than the disk's reserve, which is 16 MiB on a small one.
const NEARLY_NOTHING: u64 = 8 << 20;
/// Much longer than it takes.
const PATIENCE: Duration = Duration::from_mins(1);
/// What a publisher waits after a refusal.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);
/// Bytes of a message.
const LONG: usize = 16_000;
const PUBLISHERS: [&str; 4] = ["one", "two", "three", "four"];

fn client(broker: &Broker, version: Version, name: &str, session: SessionKind) -> Talk {
    Talk::connect(broker.address(), version, name, session).expect("it is let in").0
}

/// What happened to one client's messages.
struct Account {
    name: &'static str,
    next: u32,
    acknowledged: Vec<u32>,
    refused: Vec<u32>,
}

impl Account {
    fn of(name: &'static str) -> Self {
        Self { name, next: 0, acknowledged: Vec::new(), refused: Vec::new() }
    }

    /// Publishes one message at QoS 1 and waits for the answer.
    fn publish(&mut self, publisher: &mut Talk) -> ReasonCode {
        self.next += 1;
        let mut payload = self.next.to_le_bytes().to_vec();
        payload.resize(LONG, 7);
        publisher.publish(QoS::AtLeastOnce, &format!("kept/{}", self.name), &payload, 1);
        let Heard::Ack(AckKind::Puback, _, reason) = publisher.hear() else { panic!("PUBACK comes, whatever it says") };
        if reason.is_failure() {
            self.refused.push(self.next);
            thread::sleep(REFUSED_PAUSE);
        } else {
            self.acknowledged.push(self.next);
        }
        reason
    }

    /// Publishes until the broker says `wanted`.
    fn publish_until(&mut self, publisher: &mut Talk, wanted: ReasonCode) {
        let begun = Instant::now();
        while self.publish(publisher) != wanted {
            assert!(begun.elapsed() < PATIENCE, "never {wanted:?}: {} acknowledged", self.acknowledged.len());
        }
    }

    /// Takes in all that waits for the session `name`: every acknowledged message in order, and no refused one.
    fn settle(&self, broker: &Broker, name: &str) {
        let (mut away, present) =
            Talk::connect(broker.address(), Version::V5, name, SessionKind::Persistent).expect("it is let in");
        assert!(present, "{name} had a session");
        for &number in &self.acknowledged {
            let (id, payload) = away.hear_message();
            assert_eq!(payload[..4], number.to_le_bytes(), "{name}");
            assert_eq!(payload.len(), LONG);
            away.acknowledge(AckKind::Puback, id);
        }
        away.ping();
        assert_eq!(away.hear(), Heard::Pong, "nothing that was refused");
    }
}

fn leave_a_subscriber(broker: &Broker, name: &str) {
    let mut away = client(broker, Version::V5, name, SessionKind::Persistent);
    assert_eq!(away.subscribe("kept/#", QoS::AtLeastOnce), ReasonCode::GRANTED_QOS_1);
}

#[test]
fn when_others_fill_the_disk_publishers_hear_it_and_go_on_when_there_is_room() {
    let test = "when_others_fill_the_disk_publishers_hear_it_and_go_on_when_there_is_room";
    let Some(disk) = LoopDisk::or_skip(test, 192) else { return };
    let mut broker = Broker::of(Peer::columba(COLUMBA, &[]).with_data_in(disk.path().join("data")));
    leave_a_subscriber(&broker, "away");
    leave_a_subscriber(&broker, "drains");
    let mut live = client(&broker, Version::V5, "live", SessionKind::Clean);
    assert_eq!(live.subscribe("live/#", QoS::AtLeastOnce), ReasonCode::GRANTED_QOS_1);
    let mut half = client(&broker, Version::V5, "half", SessionKind::Persistent);
    let nine = PacketId::new(9).expect("not 0");
    half.publish(QoS::ExactlyOnce, "live/half", b"half", 9);
    assert_eq!(half.hear(), Heard::Ack(AckKind::Pubrec, nine, ReasonCode::SUCCESS));
    let mut old = client(&broker, Version::V311, "old", SessionKind::Clean);
    let mut publisher = client(&broker, Version::V5, "publisher", SessionKind::Persistent);
    let mut account = Account::of("publisher");
    account.publish_until(&mut publisher, ReasonCode::SUCCESS);

    disk.fill(NEARLY_NOTHING);
    account.publish_until(&mut publisher, ReasonCode::QUOTA_EXCEEDED);

    // An old client gets no answer, and is heard all the same.
    old.publish(QoS::AtLeastOnce, "kept/numbers", b"dropped", 1);
    old.ping();
    assert_eq!(old.hear(), Heard::Pong);
    // What has no promise goes on, and what was promised is kept.
    old.publish(QoS::AtMostOnce, "live/a", b"0", 0);
    assert_eq!(live.hear(), Heard::Message(None, b"0".to_vec()));
    half.acknowledge(AckKind::Pubrel, nine);
    assert_eq!(half.hear(), Heard::Ack(AckKind::Pubcomp, nine, ReasonCode::SUCCESS));
    assert_eq!(live.hear_message().1, b"half");
    account.settle(&broker, "drains");
    let newcomer = Talk::connect(broker.address(), Version::V5, "newcomer", SessionKind::Persistent).map(|_| ());
    assert_eq!(newcomer, Err(ReasonCode::QUOTA_EXCEEDED));

    disk.make_room();
    account.publish_until(&mut publisher, ReasonCode::SUCCESS);
    leave_a_subscriber(&broker, "newcomer");
    broker.kill();
    broker.restart();

    account.settle(&broker, "away");
    assert!(!account.refused.is_empty() && account.acknowledged.len() > 1);
    say(&format!("{test}: {} acknowledged, {} refused\n", account.acknowledged.len(), account.refused.len()));
}

#[test]
fn when_the_broker_itself_fills_the_disk_a_drained_queue_makes_room() {
    let test = "when_the_broker_itself_fills_the_disk_a_drained_queue_makes_room";
    let Some(disk) = LoopDisk::or_skip(test, 192) else { return };
    let mut broker = Broker::of(Peer::columba(COLUMBA, &[]).with_data_in(disk.path().join("data")));
    leave_a_subscriber(&broker, "away");
    let mut publisher = client(&broker, Version::V5, "publisher", SessionKind::Persistent);
    let mut account = Account::of("publisher");

    account.publish_until(&mut publisher, ReasonCode::QUOTA_EXCEEDED);
    broker.kill();
    broker.restart();
    account.settle(&broker, "away");

    let mut later = Account::of("publisher");
    let mut publisher = client(&broker, Version::V5, "publisher", SessionKind::Persistent);
    later.publish_until(&mut publisher, ReasonCode::SUCCESS);
    let acknowledged = account.acknowledged.len();
    say(&format!("{test}: {acknowledged} acknowledged before it was full, {} refused after\n", later.refused.len()));
    later.settle(&broker, "away");
}

/// The reserve is gone as well: the cold store cannot write what makes it smaller, and its engine fails. Nobody but the broker can make room.
#[test]
fn without_a_byte_left_for_the_cold_store_a_drained_queue_makes_room() {
    let test = "without_a_byte_left_for_the_cold_store_a_drained_queue_makes_room";
    let Some(disk) = LoopDisk::or_skip(test, 192) else { return };
    let mut broker = Broker::of(Peer::columba(COLUMBA, &[]).with_data_in(disk.path().join("data")));
    leave_a_subscriber(&broker, "away");
    let mut publisher = client(&broker, Version::V5, "publisher", SessionKind::Persistent);
    let mut account = Account::of("publisher");
    account.publish_until(&mut publisher, ReasonCode::QUOTA_EXCEEDED);
    broker.kill();
    disk.fill(0);
    broker.restart();
    // What the start has given back.
    disk.fill(0);
    account.settle(&broker, "away");

    let mut later = Account::of("publisher");
    let mut publisher = client(&broker, Version::V5, "publisher", SessionKind::Persistent);
    later.publish_until(&mut publisher, ReasonCode::SUCCESS);
    let acknowledged = account.acknowledged.len();
    say(&format!("{test}: {acknowledged} acknowledged before it was full, {} refused after\n", later.refused.len()));
    broker.kill();
    broker.restart();
    later.settle(&broker, "away");
}

/// Asks until it is refused. Each time anew: what came in before anyone noticed waits for room.
fn wait_until_refused(broker: &Broker) {
    let begun = Instant::now();
    loop {
        let mut asking = client(broker, Version::V5, "asking", SessionKind::Clean);
        asking.publish(QoS::AtLeastOnce, "kept/asked", b"?", 1);
        if let Some(Heard::Ack(AckKind::Puback, _, ReasonCode::QUOTA_EXCEEDED)) = asking.hear_within(Duration::from_millis(500)) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "never refused");
    }
}

#[test]
fn a_disk_without_a_byte_left_loses_nothing_under_load() {
    let test = "a_disk_without_a_byte_left_loses_nothing_under_load";
    let Some(disk) = LoopDisk::or_skip(test, 192) else { return };
    let mut broker = Broker::of(Peer::columba(COLUMBA, &[]).with_data_in(disk.path().join("data")));
    for publisher in PUBLISHERS.into_iter().chain(["asked"]) {
        let mut away = client(&broker, Version::V5, &format!("wants-{publisher}"), SessionKind::Persistent);
        assert_eq!(away.subscribe(&format!("kept/{publisher}"), QoS::AtLeastOnce), ReasonCode::GRANTED_QOS_1);
    }
    let address = broker.address();
    let has_room = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);

    let accounts: Vec<Account> = thread::scope(|scope| {
        let publish = |name| {
            let (has_room, answered) = (&has_room, &answered);
            move || {
                let connected = Talk::connect(address, Version::V5, name, SessionKind::Persistent);
                let mut publisher = connected.expect("it is let in").0;
                let mut account = Account::of(name);
                while !has_room.load(Ordering::SeqCst) {
                    account.publish(&mut publisher);
                    answered.fetch_add(1, Ordering::SeqCst);
                }
                account.publish_until(&mut publisher, ReasonCode::SUCCESS);
                account
            }
        };
        let publishers: Vec<_> = PUBLISHERS.map(|name| scope.spawn(publish(name))).into();
        while answered.load(Ordering::SeqCst) < 1_500 && publishers.iter().all(|thread| !thread.is_finished()) {
            thread::yield_now();
        }
        disk.fill(0);
        wait_until_refused(&broker);
        disk.make_room();
        has_room.store(true, Ordering::SeqCst);
        publishers.into_iter().map(|thread| thread.join().expect("the broker goes on by itself")).collect()
    });

    // It starts on a full disk, and queues are emptied there.
    disk.fill(0);
    broker.kill();
    broker.restart();
    let count = |of: fn(&Account) -> usize| accounts.iter().map(of).sum::<usize>();
    say(&format!(
        "{test}: {} acknowledged, {} refused\n",
        count(|account| account.acknowledged.len()),
        count(|account| account.refused.len())
    ));
    for account in &accounts {
        account.settle(&broker, &format!("wants-{}", account.name));
    }
}
