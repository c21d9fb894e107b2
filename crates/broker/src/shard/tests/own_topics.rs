//! What the broker says of itself in `$SYS/...`, and who else may speak there (§4.7.2).

use columba_proto::{AckKind, QoS, TopicName, Version};

use super::bench::{Bench, Setup, persistent, v5, will};
use crate::{event::DropReason, id::MessageId, seam::Commons as _};

const NOTHING: [&str; 0] = [];

fn announce(bench: &mut Bench, topic: &str, payload: &str) {
    let topic = TopicName::new(topic).unwrap();
    bench.act(|shard, cx| shard.announce(cx, topic, payload.as_bytes()));
}

#[test]
fn what_the_broker_says_reaches_who_is_here_now_and_who_comes_later() {
    let mut bench = Bench::new();
    let (here, _) = bench.connect("here", &persistent());
    bench.subscribe(here, "$SYS/#", QoS::ExactlyOnce);

    announce(&mut bench, "$SYS/broker/uptime", "1 seconds");
    announce(&mut bench, "$SYS/broker/uptime", "2 seconds");
    let (later, _) = bench.connect("later", &Setup::default());
    bench.ask(later, "$SYS/broker/+", QoS::AtMostOnce);

    assert_eq!(bench.told(here), ["publish q0 id0 $SYS/broker/uptime 1 seconds", "publish q0 id0 $SYS/broker/uptime 2 seconds"]);
    assert_eq!(bench.told(later), ["suback 0", "publish retain q0 id0 $SYS/broker/uptime 2 seconds"]);
}

#[test]
fn what_it_takes_back_is_not_there_for_who_comes_later() {
    let mut bench = Bench::new();
    let (here, _) = bench.connect("here", &persistent());
    bench.subscribe(here, "$SYS/#", QoS::ExactlyOnce);

    announce(&mut bench, "$SYS/broker/uptime", "1 seconds");
    announce(&mut bench, "$SYS/broker/uptime", "");
    let (later, _) = bench.connect("later", &Setup::default());
    bench.ask(later, "$SYS/broker/+", QoS::AtMostOnce);

    assert_eq!(bench.told(here), ["publish q0 id0 $SYS/broker/uptime 1 seconds", "publish q0 id0 $SYS/broker/uptime "]);
    assert_eq!(bench.told(later), ["suback 0"]);
}

#[test]
fn wildcards_at_the_start_do_not_see_it() {
    let mut bench = Bench::new();
    let (reader, _) = bench.connect("reader", &Setup::default());
    for filter in ["#", "+/#", "+/broker/uptime"] {
        bench.subscribe(reader, filter, QoS::AtMostOnce);
    }

    announce(&mut bench, "$SYS/broker/uptime", "1 seconds");

    assert_eq!(bench.told(reader), NOTHING);
}

#[test]
fn nothing_of_it_is_written_and_nothing_of_it_goes_from_memory() {
    let mut bench = Bench::new();
    let (reader, _) = bench.connect("reader", &persistent());
    bench.subscribe(reader, "$SYS/#", QoS::AtLeastOnce);
    bench.disconnect(reader);

    announce(&mut bench, "$SYS/broker/uptime", "1 seconds");
    assert_eq!(bench.replay().retained.len(), 0);
    bench.commons.write_retained(&mut |retained| assert!(!retained.stored(MessageId(u64::MAX), 0, usize::MAX)));

    let reader = bench.open("reader", &persistent());
    assert_eq!(bench.told(reader), ["connack present"], "it was away, and no queue has filled");
    bench.ask(reader, "$SYS/broker/uptime", QoS::AtLeastOnce);
    assert_eq!(bench.told(reader), ["suback 1", "publish retain q0 id0 $SYS/broker/uptime 1 seconds"]);
    bench.commons.read_retained(&mut |retained| assert_eq!(retained.bytes(), 0));
}

#[test]
fn nobody_else_publishes_there_and_an_mqtt_5_client_is_told() {
    for version in [Version::V311, Version::V5] {
        let mut bench = Bench::new();
        let (reader, _) = bench.connect("reader", &Setup::default());
        bench.subscribe(reader, "$SYS/#", QoS::AtMostOnce);
        let (client, _) = bench.connect("client", &Setup { version, ..Setup::default() });

        bench.publish(client, "$SYS/broker/uptime", QoS::AtMostOnce, 0, "x");
        bench.publish(client, "$SYS/broker/uptime", QoS::AtLeastOnce, 1, "x");
        bench.publish(client, "$SYS/broker/uptime", QoS::ExactlyOnce, 2, "x");
        let told = bench.told(client);
        if version == Version::V5 {
            assert_eq!(told, ["puback 1 0x87", "pubrec 2 0x87"]);
        } else {
            assert_eq!(told, ["puback 1", "pubrec 2"]);
            bench.ack(client, AckKind::Pubrel, 2);
            assert_eq!(bench.told(client), ["pubcomp 2"]);
        }

        assert_eq!(bench.told(reader), NOTHING);
        assert_eq!(bench.shard.counters().dropped[DropReason::NotAuthorized as usize], 3);
        bench.commons.read_retained(&mut |retained| assert!(retained.is_empty()));
    }
}

#[test]
fn a_bridge_tells_its_state_there_as_it_does_at_mosquitto() {
    let mut bench = Bench::new();
    let (reader, _) = bench.connect("reader", &Setup::default());
    bench.subscribe(reader, "$SYS/#", QoS::AtMostOnce);
    let (bridge, _) = bench.connect("bridge", &Setup { bridge: true, ..Setup::default() });

    bench.publish(bridge, "$SYS/broker/connection/attic/state", QoS::AtLeastOnce, 1, "1");

    assert_eq!(bench.told(bridge), ["puback 1"]);
    assert_eq!(bench.told(reader), ["publish q0 id0 $SYS/broker/connection/attic/state 1"]);
}

#[test]
fn a_will_for_one_of_the_brokers_topics_is_refused() {
    let mut bench = Bench::new();

    let client = bench.open("client", &Setup { will: Some(will("$SYS/broker/uptime", 0)), ..v5(0) });

    assert_eq!(bench.told(client), ["connack 0x87"]);
}
