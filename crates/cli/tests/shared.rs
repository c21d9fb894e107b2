//! Shared subscriptions as load balancing, with the real program over TCP and four shards.

use std::time::{Duration, Instant};

use columba_check::broker::Broker;
use columba_check::talk::{Heard, Talk};
use columba_proto::packet::{Connect, ConnectProperties};
use columba_proto::{AckKind, PacketId, QoS, ReasonCode, Version};

/// How long messages may take that must come.
const PATIENCE: Duration = Duration::from_secs(30);

const COLUMBA: &str = env!("CARGO_BIN_EXE_columba");

fn start(strategy: &str) -> Broker {
    let strategy = format!("shared.strategy={strategy}");
    Broker::start(COLUMBA, &["--set", "runtime.shards=4", "--set", "runtime.workers=2", "--set", &strategy])
}

fn connect(broker: &Broker, name: &str) -> Talk {
    let connect = Connect {
        version: Version::V5,
        bridge: false,
        clean_start: true,
        keep_alive: 0,
        client_id: name,
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties { session_expiry: Some(1_000), ..ConnectProperties::default() },
    };
    Talk::call(broker.address(), &connect).expect("it is let in").0
}

fn members<const N: usize>(broker: &Broker) -> [Talk; N] {
    core::array::from_fn(|number| {
        let mut member = connect(broker, &format!("member {number}"));
        member.subscribe("$share/crew/jobs/#", QoS::AtLeastOnce);
        member
    })
}

fn publish(publisher: &mut Talk, topic: &str, payload: &str) {
    publisher.publish(QoS::AtLeastOnce, topic, payload.as_bytes(), 1);
    assert_eq!(publisher.hear(), Heard::Ack(AckKind::Puback, PacketId::FIRST, ReasonCode::SUCCESS));
}

/// The next message, which is acknowledged.
fn take(member: &mut Talk) -> String {
    let (id, payload) = member.hear_message();
    member.acknowledge(AckKind::Puback, id);
    String::from_utf8(payload).expect("text")
}

/// What each member gets of so many messages, all acknowledged.
fn take_all<const N: usize>(members: &mut [Talk; N], count: usize) -> [Vec<String>; N] {
    let mut shares = [const { Vec::new() }; N];
    let until = Instant::now() + PATIENCE;
    while shares.iter().map(Vec::len).sum::<usize>() < count {
        for (member, share) in members.iter_mut().zip(&mut shares) {
            match member.hear_within(Duration::from_millis(1)) {
                Some(Heard::Message(Some(id), payload)) => {
                    member.acknowledge(AckKind::Puback, id);
                    share.push(String::from_utf8(payload).expect("text"));
                }
                Some(other) => panic!("a member hears {other:?}"),
                None => assert!(Instant::now() < until, "{shares:?}"),
            }
        }
    }
    shares
}

#[test]
fn round_robin_gives_every_member_the_same() {
    let broker = start("round-robin");
    let mut members = members::<4>(&broker);
    let mut publisher = connect(&broker, "publisher");

    for number in 0..200 {
        publish(&mut publisher, &format!("jobs/{number}"), "job");
    }

    for member in &mut members {
        let share: Vec<_> = (0..50).map(|_| take(member)).collect();
        assert_eq!(share.len(), 50);
    }
}

#[test]
fn a_hash_of_the_topic_gives_each_topic_to_one_member() {
    let broker = start("hash-topic");
    let mut members = members::<3>(&broker);
    let (mut one, mut other) = (connect(&broker, "one"), connect(&broker, "other"));

    for round in 0..3 {
        for topic in 0..60 {
            let publisher = if round == 1 { &mut other } else { &mut one };
            publish(publisher, &format!("jobs/{topic}"), &topic.to_string());
        }
    }

    let shares = take_all(&mut members, 180);
    for share in &shares {
        let mut topics = share.clone();
        topics.sort();
        assert!(topics.chunk_by(|a, b| a == b).all(|same| same.len() == 3), "{topics:?}");
        assert!((5..40).contains(&(topics.len() / 3)), "{topics:?}");
    }
}

/// Takes what comes until a message says so, and leaves that one unanswered.
fn hold(member: &mut Talk, payload: &str) {
    while String::from_utf8_lossy(&member.hear_message().1) != payload {}
}

#[test]
fn what_a_member_leaves_unacknowledged_goes_to_another_one_at_once() {
    let broker = start("round-robin");
    let [mut one, mut two] = members::<2>(&broker);
    let mut publisher = connect(&broker, "publisher");
    for number in 0..10 {
        publish(&mut publisher, "jobs/a", &number.to_string());
    }
    let has = take_all(core::array::from_mut(&mut two), 5).concat();
    hold(&mut one, if has.contains(&"9".to_owned()) { "8" } else { "9" });

    drop(one);

    let mut all = [has, take_all(core::array::from_mut(&mut two), 5).concat()].concat();
    all.sort();
    assert_eq!(all, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

#[test]
fn what_waited_or_was_unacknowledged_when_the_broker_was_killed_goes_to_whoever_comes_first() {
    let mut broker = start("round-robin");
    let [mut one] = members::<1>(&broker);
    let mut publisher = connect(&broker, "publisher");
    publish(&mut publisher, "jobs/a", "unacknowledged");
    hold(&mut one, "unacknowledged");
    drop(one);
    publish(&mut publisher, "jobs/a", "waits");

    broker.kill();
    broker.restart();
    let [_, mut two] = ["publisher", "two"].map(|name| connect(&broker, name));
    two.subscribe("$share/crew/jobs/#", QoS::AtLeastOnce);

    assert_eq!(take_all(core::array::from_mut(&mut two), 2).concat(), ["unacknowledged", "waits"]);
}
