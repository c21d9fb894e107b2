//! Shared subscriptions as load balancing: who gets how much, with each strategy (§4.8.2).

use alloc::{format, string::String, vec::Vec};

use columba_proto::{AckKind, QoS};

use super::bench::{Bench, Client, Setup, id_of, persistent};
use crate::{Config, route::Strategy};

/// Members that are there, with room for so many messages each.
fn crew<const N: usize>(strategy: Strategy, inflight: u16) -> (Bench, [Client; N]) {
    let mut bench = Bench::spreading(Config { inflight, ..Config::default() }, strategy);
    let members = core::array::from_fn(|number| {
        let (member, _) = bench.connect(&format!("member {number}"), &persistent());
        bench.subscribe(member, "$share/g/jobs/#", QoS::AtLeastOnce);
        member
    });
    (bench, members)
}

/// How many messages a member was sent; all are acknowledged.
fn take(bench: &mut Bench, member: Client) -> usize {
    let told: Vec<String> = bench.told(member).into_iter().filter(|packet| packet.starts_with("publish ")).collect();
    for publish in &told {
        bench.ack(member, AckKind::Puback, id_of(publish));
    }
    told.len()
}

fn publish(bench: &mut Bench, publisher: Client, topic: &str, count: u16) {
    for id in 1..=count {
        bench.publish(publisher, topic, QoS::AtLeastOnce, id, "job");
    }
    assert_eq!(bench.told(publisher).len(), usize::from(count), "all are acknowledged");
}

#[test]
fn round_robin_gives_everybody_the_same() {
    let (mut bench, members) = crew::<4>(Strategy::RoundRobin, 100);
    let (publisher, _) = bench.connect("p", &Setup::default());

    publish(&mut bench, publisher, "jobs/a", 400);

    assert_eq!(members.map(|member| take(&mut bench, member)), [100; 4]);
}

#[test]
fn least_in_flight_gives_more_to_who_is_faster() {
    let (mut bench, [slow, fast, faster]) = crew(Strategy::LeastInFlight, 10);
    let (publisher, _) = bench.connect("p", &Setup::default());
    let (mut of_slow, mut of_fast, mut of_faster) = (0, 0, 0);
    for round in 0..30 {
        publish(&mut bench, publisher, "jobs/a", 4);
        of_faster += take(&mut bench, faster);
        if round % 2 == 0 {
            of_fast += take(&mut bench, fast);
        }
        if round % 15 == 14 {
            of_slow += take(&mut bench, slow);
        }
    }

    assert!(of_faster > of_fast && of_fast > 2 * of_slow, "{of_faster} {of_fast} {of_slow}");
}

#[test]
fn a_sticky_group_has_one_who_works_and_others_who_stand_by() {
    let (mut bench, [first, second, third]) = crew(Strategy::Sticky, 100);
    let (publisher, _) = bench.connect("p", &Setup::default());

    publish(&mut bench, publisher, "jobs/a", 20);
    assert_eq!([first, second, third].map(|member| take(&mut bench, member)), [20, 0, 0]);

    bench.disconnect(first);
    publish(&mut bench, publisher, "jobs/a", 20);
    assert_eq!([second, third].map(|member| take(&mut bench, member)), [20, 0]);
}

#[test]
fn a_hash_of_the_topic_keeps_a_topic_with_one_member_and_spreads_the_topics() {
    let (mut bench, members) = crew::<3>(Strategy::HashTopic, 100);
    let (publisher, _) = bench.connect("p", &Setup::default());
    let mut topics_of = [0; 3];
    for topic in 0..300 {
        publish(&mut bench, publisher, &format!("jobs/{topic}"), 3);
        let shares = members.map(|member| take(&mut bench, member));
        let owner = shares.iter().position(|share| *share == 3).expect("all three have come to one member");
        topics_of[owner] += 1;
    }

    assert!(topics_of.iter().all(|topics| (70..130).contains(topics)), "{topics_of:?}");
}

#[test]
fn a_hash_of_the_client_keeps_a_publisher_with_one_member_and_spreads_the_publishers() {
    let (mut bench, members) = crew::<3>(Strategy::HashClient, 100);
    let mut publishers_of = [0; 3];
    for number in 0..300 {
        let (publisher, _) = bench.connect(&format!("publisher {number}"), &Setup::default());
        publish(&mut bench, publisher, "jobs/a", 2);
        publish(&mut bench, publisher, "jobs/b", 1);
        let shares = members.map(|member| take(&mut bench, member));
        let owner = shares.iter().position(|share| *share == 3).expect("all three have come to one member");
        publishers_of[owner] += 1;
        bench.disconnect(publisher);
    }

    // This broker has four lanes.
    assert!(publishers_of.iter().all(|publishers| (50..200).contains(publishers)), "{publishers_of:?}");
}

#[test]
fn limits_that_ask_who_would_get_a_message_take_nobodys_turn() {
    let config = Config { queue_messages_max: 1_000, ..Config::default() };
    let mut bench = Bench::spreading(config, Strategy::RoundRobin);
    let members = ["one", "two"].map(|client_id| {
        let (member, _) = bench.connect(client_id, &persistent());
        bench.subscribe(member, "$share/g/jobs", QoS::AtLeastOnce);
        member
    });
    let (publisher, _) = bench.connect("p", &Setup::default());

    publish(&mut bench, publisher, "jobs", 20);

    assert_eq!(members.map(|member| take(&mut bench, member)), [10; 2]);
}
