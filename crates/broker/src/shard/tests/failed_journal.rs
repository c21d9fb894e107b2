//! The journal is lost: nothing durable is acknowledged any more, in no version and in no order.

use alloc::{format, vec::Vec};

use columba_proto::{
    AckKind, QoS, Version,
    packet::{Packet, Publish, Will},
};

use super::bench::{Bench, Client, Setup, message, persistent, v5, will};
use crate::{Config, Shard};

const NOTHING: Vec<&str> = Vec::new();

/// A broker whose journal fails once a durable session waits for `durable`, and a client is there that hears `ephemeral`.
fn failed(config: Config, before: impl FnOnce(&mut Bench)) -> (Bench, Client) {
    let mut bench = Bench::with(config);
    let (away, _) = bench.connect("away", &persistent());
    bench.subscribe(away, "durable", QoS::ExactlyOnce);
    bench.disconnect(away);
    let (hearer, _) = bench.connect("hearer", &Setup::default());
    bench.subscribe(hearer, "ephemeral", QoS::ExactlyOnce);
    before(&mut bench);
    bench.syncs = false;
    bench.act(Shard::journal_failed);
    (bench, hearer)
}

#[test]
fn with_a_failed_journal_nothing_durable_is_acknowledged_and_the_rest_goes_on() {
    let mut bench = Bench::new();
    let (durable, _) = bench.connect("d", &v5(100));
    bench.subscribe(durable, "t", QoS::AtLeastOnce);
    let (ephemeral, _) = bench.connect("e", &v5(0));
    bench.subscribe(ephemeral, "e", QoS::AtLeastOnce);
    bench.act(Shard::journal_failed);
    assert_eq!(bench.told(durable), ["disconnect 0x89"]);

    bench.publish(ephemeral, "t", QoS::AtLeastOnce, 1, "x");
    bench.publish(ephemeral, "e", QoS::AtLeastOnce, 2, "x");

    assert_eq!(bench.told(ephemeral), ["puback 1 0x97", "publish q1 id1 e x", "puback 2"]);
}

#[test]
fn a_3_x_client_gets_no_acknowledgement_behind_a_refused_publication() {
    for version in [Version::V31, Version::V311] {
        let (mut bench, hearer) = failed(Config::default(), |_| {});
        let (publisher, _) = bench.connect("p", &Setup { version, ..Setup::default() });
        bench.subscribe(publisher, "to/p", QoS::AtLeastOnce);
        bench.publish(publisher, "ephemeral", QoS::AtLeastOnce, 1, "one");
        assert_eq!(bench.told(publisher), ["puback 1"], "nothing durable is promised by this one");

        bench.publish(publisher, "durable", QoS::AtLeastOnce, 2, "refused");
        bench.publish(publisher, "ephemeral", QoS::AtLeastOnce, 3, "would pass it");
        bench.publish(publisher, "ephemeral", QoS::ExactlyOnce, 4, "would pass it");
        assert_eq!(bench.told(publisher), NOTHING, "{version:?}");
        assert_eq!(bench.told(hearer), ["publish q1 id1 ephemeral one"], "not delivered either: the client will send it again");

        // It is still heard.
        bench.publish(publisher, "ephemeral", QoS::AtMostOnce, 0, "at once");
        assert_eq!(bench.told(hearer), ["publish q0 id0 ephemeral at once"]);
        bench.publish(hearer, "to/p", QoS::AtLeastOnce, 1, "x");
        bench.ack(publisher, AckKind::Puback, 1);
        bench.say_bytes(publisher, &[0xc0, 0x00]);
        assert_eq!(bench.told(publisher), ["publish q1 id1 to/p x", "pingresp"]);
        assert!(bench.shard.wants_reading(publisher.id));

        bench.pass(29_999);
        bench.say_bytes(publisher, &[0xc0, 0x00]);
        assert_eq!(bench.told(publisher), ["pingresp"]);
        bench.pass(1);
        assert!(bench.shard.out(publisher.id).is_none(), "closed");
        let told = bench.events.iter().any(|event| event.contains("reason: Unstorable, count: 3"));
        assert!(told, "{version:?}: {:?}", bench.events);

        // The next connection is judged anew.
        let (publisher, _) = bench.connect("p", &Setup { version, ..Setup::default() });
        bench.publish(publisher, "ephemeral", QoS::AtLeastOnce, 3, "again");
        assert_eq!(bench.told(publisher), ["puback 3"]);
    }
}

#[test]
fn a_3_x_client_is_refused_at_publish_and_not_at_pubrel() {
    let (mut bench, hearer) = failed(Config::default(), |_| {});
    let (publisher, _) = bench.connect("p", &Setup::default());

    bench.publish(publisher, "ephemeral", QoS::ExactlyOnce, 1, "one");
    assert_eq!(bench.told(publisher), ["pubrec 1"]);
    bench.publish(publisher, "durable", QoS::ExactlyOnce, 2, "refused");
    assert_eq!(bench.told(publisher), NOTHING);
    bench.ack(publisher, AckKind::Pubrel, 1);

    assert_eq!(bench.told(publisher), ["pubcomp 1"], "its PUBLISH came before the refused one");
    assert_eq!(bench.told(hearer), ["publish q2 id1 ephemeral one"]);
}

#[test]
fn an_mqtt_5_client_hears_of_each_refused_publication() {
    // One may be open: a refusal closes it.
    let (mut bench, hearer) = failed(Config { receive_maximum: 1, ..Config::default() }, |_| {});
    let (publisher, _) = bench.connect("p", &v5(0));

    for id in 1..=5 {
        bench.publish(publisher, "durable", QoS::AtLeastOnce, id, "x");
        bench.publish(publisher, "durable", QoS::ExactlyOnce, id, "x");
        assert_eq!(bench.told(publisher), [format!("puback {id} 0x97"), format!("pubrec {id} 0x97")]);
    }
    bench.ack(publisher, AckKind::Pubrel, 5);
    assert_eq!(bench.told(publisher), ["pubcomp 5 0x92"], "a refused identifier is free [MQTT-4.3.3-9]");
    bench.publish(publisher, "ephemeral", QoS::AtLeastOnce, 6, "x");

    assert_eq!(bench.told(publisher), ["puback 6"]);
    assert_eq!(bench.told(hearer), ["publish q1 id1 ephemeral x"]);
    bench.pass(60_000);
    bench.say_bytes(publisher, &[0xc0, 0x00]);
    assert_eq!(bench.told(publisher), ["pingresp"], "the connection stays");
}

#[test]
fn a_retained_message_is_refused_too() {
    for (version, answer) in [(Version::V5, Some("puback 1 0x97")), (Version::V311, None)] {
        let (mut bench, hearer) = failed(Config::default(), |_| {});
        let (publisher, _) = bench.connect("p", &Setup { version, ..Setup::default() });

        let retained = Publish { retain: true, ..message("ephemeral", QoS::AtLeastOnce, 1, "x") };
        bench.say(publisher, &Packet::Publish(retained));

        assert_eq!(bench.told(publisher), Vec::from_iter(answer), "{version:?}");
        assert_eq!(bench.told(hearer), NOTHING);
    }
}

#[test]
fn a_promise_from_before_the_failure_is_not_kept_by_half() {
    // PUBREC has left; the message would have to be on disk for the session that is away.
    for version in [Version::V311, Version::V5] {
        let mut publisher = None;
        let (mut bench, _) = failed(Config::default(), |bench| {
            let (client, _) = bench.connect("p", &Setup { version, ..Setup::default() });
            bench.publish(client, "durable", QoS::ExactlyOnce, 1, "x");
            assert_eq!(bench.told(client), ["pubrec 1"]);
            publisher = Some(client);
        });
        let publisher = publisher.expect("it connected");

        bench.ack(publisher, AckKind::Pubrel, 1);

        let farewell: &[&str] = if version.server_may_disconnect() { &["disconnect 0x83"] } else { &[] };
        assert_eq!(bench.told(publisher), farewell, "no PUBCOMP");
    }
}

#[test]
fn a_will_in_the_journal_waits_for_the_next_start_whatever_its_qos() {
    for (qos, delay) in [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 0), (QoS::ExactlyOnce, 0), (QoS::AtMostOnce, 5)] {
        let mut bench = Bench::new();
        let (hearer, _) = bench.connect("hearer", &Setup::default());
        bench.subscribe(hearer, "w", QoS::ExactlyOnce);
        let will = Will { qos, ..will("w", delay) };
        let (dying, _) = bench.connect("dying", &Setup { version: Version::V5, will: Some(will), ..Setup::default() });
        bench.syncs = false;
        bench.act(Shard::journal_failed);

        bench.cut_off(dying);
        bench.pass(10_000);

        assert_eq!(bench.told(hearer), NOTHING, "{qos:?}, delay {delay}: it would come again");
    }
}
