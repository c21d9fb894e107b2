//! Shared subscriptions as load balancing, with the real program over TCP and four shards.

use columba_check::broker::Broker;
use columba_check::talk::{Heard, Talk};
use columba_proto::packet::{Connect, ConnectProperties};
use columba_proto::{AckKind, PacketId, QoS, ReasonCode, Version};

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
        member.subscribe(&format!("end/{number}"), QoS::AtLeastOnce);
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

/// Everything up to the one that says "end".
fn take_all(member: &mut Talk) -> Vec<String> {
    std::iter::from_fn(|| Some(take(member)).filter(|payload| payload != "end")).collect()
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
    let members = members::<3>(&broker);
    let (mut one, mut other) = (connect(&broker, "one"), connect(&broker, "other"));

    for round in 0..3 {
        for topic in 0..60 {
            let publisher = if round == 1 { &mut other } else { &mut one };
            publish(publisher, &format!("jobs/{topic}"), &topic.to_string());
        }
    }
    for number in 0..members.len() {
        // What goes to a member by its own subscription comes behind what was published to its group before.
        publish(&mut one, &format!("end/{number}"), "end");
    }

    let shares = members.map(|mut member| take_all(&mut member));
    assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), 180);
    for share in &shares {
        let mut topics = share.clone();
        topics.sort();
        assert!(topics.chunk_by(|a, b| a == b).all(|same| same.len() == 3), "{topics:?}");
        assert!((5..40).contains(&(topics.len() / 3)), "{topics:?}");
    }
}
