//! The QoS 2 and session faults that were found in other brokers, each as a test that columba must never fail.
//!
//! | fault | test | found in |
//! |---|---|---|
//! | a second, third, tenth PUBLISH before PUBREL ends the connection (0x82, 0x91) or counts as a new message | [`publishes_repeated_before_pubrel_are_answered_and_the_client_stays`] | mosquitto #3602, #3599, #3699; `FlashMQ` #171; `paho.golang` #768 |
//! | a PUBLISH repeated on a later connection is delivered again | [`a_publish_repeated_after_a_reconnect_is_delivered_once`] | RMQTT #456, `NanoMQ` #2412 |
//! | the same after a restart; a PUBREC that was owed is never sent | [`an_owed_pubrec_is_sent_after_a_restart`] | `BifroMQ` #281 |
//! | a PUBREL on a resumed session gets 0x92, and its message is lost | [`a_pubrel_on_a_later_connection_releases_the_message`] | `BifroMQ` #281, RMQTT #456 |
//! | a repeated PUBREL is a second delivery, or ends the connection | [`pubrels_repeated_after_the_first_are_answered_and_deliver_nothing`] | `BifroMQ` #281, RMQTT #456 |
//! | a new message under a freed identifier is taken for a repetition | [`after_pubrel_the_identifier_is_a_new_message`] | `NanoMQ` #2412 |
//! | PUBREL for an unknown identifier gets no answer, or ends the connection | [`a_pubrel_for_an_unknown_identifier_is_answered`] | `BifroMQ` #281, RMQTT #456 |
//! | an owed PUBREL is never sent again, or PUBLISH is sent instead | [`an_owed_pubrel_is_sent_again_after_a_reconnect_and_after_a_restart`] | mosquitto bridge #3275, #2165; RMQTT #456; `BifroMQ` #281 |
//! | a repeated PUBLISH has DUP 0 | [`every_redelivery_has_dup_and_no_first_delivery_has`] | `FlashMQ` #176, `BifroMQ` #281, TBMQ #320 |
//! | two messages in flight share an identifier | [`two_live_messages_never_share_an_identifier`] | EMQX #16296 |
//! | an exchange of one direction hides that of the other | [`the_same_identifier_in_both_directions_is_two_exchanges`] | mqtt-lib (its session state) |
//! | message expiry deletes a half-done exchange of a publisher | [`message_expiry_leaves_a_half_done_exchange_with_a_publisher_alone`] | `BifroMQ` #281 |
//! | the same of a subscriber | [`message_expiry_leaves_a_half_done_exchange_with_a_subscriber_alone`] | `BifroMQ` #281 |
//! | an exchange outlives its session, or wedges the next one | [`an_exchange_ends_with_its_session_and_the_next_session_knows_nothing_of_it`] | `NanoMQ` #2412, EMQX #18565 |
//! | a takeover loses or repeats what is half done | [`a_takeover_in_any_step_of_a_publishers_exchange_delivers_once`], [`a_takeover_in_any_step_of_a_subscribers_exchange_delivers_once`] | EMQX #18565, `NanoMQ` #2412 |
//! | a takeover takes up a session that has ended, and its will is lost | [`a_takeover_of_a_session_that_ends_begins_a_new_one_and_publishes_the_will`] | EMQX #18565, #10551 |
//! | the old connection is not told of a takeover | [`the_old_connection_is_told_of_a_takeover`] | `NanoMQ` #1927, mqtt-lib #147 |
//! | a will fires though the client was back within its delay | [`a_will_is_cancelled_by_a_reconnect_within_its_delay`] | mqtt-lib #154 |
//! | an offline message has the QoS of the subscription instead of the smaller one | [`offline_messages_arrive_at_the_smaller_qos_in_all_nine_cells`] | mqtt-lib (its offline branch) |
//! | offline messages are skipped on reconnect | [`no_offline_message_is_skipped_on_reconnect`] | TBMQ #320 |
//! | a message between restart and reconnect vanishes | [`a_message_between_restart_and_reconnect_is_kept`] | RMQTT #477; mosquitto #769, #2666 |
//! | what was acknowledged comes again after a crash | [`what_was_settled_before_a_crash_does_not_come_again`] | mosquitto #1726 |
//! | SUBACK before the subscription works | [`suback_means_subscribed`] | `BifroMQ` #281, docker-vernemq #167 |
//! | a second SUBSCRIBE leaves the old QoS in force, or delivers twice | [`a_second_subscribe_changes_the_qos`] | (asked of every broker) |
//!
//! What was found in clients stands in the session tests of columba-client: a duplicate before PUBREL delivered twice (`paho.golang` #768) in
//! `a_publish_repeated_before_pubrel_is_delivered_once`, a message acknowledged but never given to the application (hivemq-mqtt-client #378) in
//! `a_qos_2_message_is_the_applications_at_pubrel_and_not_before`, identifiers forgotten with a connection (`MQTT.js` #706) in
//! `an_acknowledgement_of_the_application_after_a_loss_waits_for_the_repeated_pubrel`.

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use columba_proto::{
    AckKind, QoS, ReasonCode, Version,
    packet::{Ack, Packet, Publish, PublishProperties},
};

use super::bench::{Bench, Client, Setup, message, persistent, pid, v5, will};
use crate::Config;

const NOTHING: Vec<&str> = Vec::new();
const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// A session that outlives its connection, in any version.
fn lasting(version: Version) -> Setup<'static> {
    if version.has_properties() { Setup { version, ..v5(1_000) } } else { Setup { version, ..persistent() } }
}

/// Takes the session up again; the answer is what it had for the client.
fn back(bench: &mut Bench, client_id: &str, setup: &Setup<'_>) -> (Client, Vec<String>) {
    let client = bench.open(client_id, setup);
    let mut told = bench.told(client);
    let present = if setup.version.has_session_present() { "connack present" } else { "connack new" };
    assert_eq!(told.first().map(String::as_str), Some(present), "{told:?}");
    told.remove(0);
    (client, told)
}

/// A subscriber that stays and acknowledges nothing.
fn listener(bench: &mut Bench, qos: QoS) -> Client {
    let (client, _) = bench.connect("listener", &persistent());
    bench.subscribe(client, "t", qos);
    client
}

fn publish_again(bench: &mut Bench, client: Client, id: u16, payload: &str) {
    bench.say(client, &Packet::Publish(Publish { dup: true, ..message("t", QoS::ExactlyOnce, id, payload) }));
}

/// Publishes at QoS 2 to the end, so that everything is at its targets.
fn publish_once(bench: &mut Bench, client: Client, id: u16, payload: &str) {
    bench.publish(client, "t", QoS::ExactlyOnce, id, payload);
    bench.ack(client, AckKind::Pubrel, id);
    assert_eq!(bench.told(client), [format!("pubrec {id}"), format!("pubcomp {id}")]);
}

/// An answer about an identifier that is not known, which only MQTT 5 can say.
fn unknown(version: Version, answer: &str) -> String {
    if version.has_properties() { format!("{answer} 0x92") } else { answer.to_string() }
}

fn is_there(bench: &mut Bench, client: Client) {
    bench.say_bytes(client, &[0xc0, 0x00]);
    assert_eq!(bench.told(client), ["pingresp"], "the connection stands");
}

fn bytes_of(client: Client, packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(client.version, &mut bytes).unwrap();
    bytes
}

fn ack_bytes(client: Client, kind: AckKind, id: u16) -> Vec<u8> {
    bytes_of(client, &Packet::Ack(Ack::new(kind, pid(id), ReasonCode::SUCCESS)))
}

/// Time passes, with a broker that runs or one that is down.
fn pass(bench: &mut Bench, is_restarted: bool, ms: u64) {
    if is_restarted {
        bench.crash_for(ms);
    } else {
        bench.pass(ms);
    }
}

// Towards us.

#[test]
fn publishes_repeated_before_pubrel_are_answered_and_the_client_stays() {
    for version in VERSIONS {
        // One may be open: a repetition is no new message, so it does not count against the Receive Maximum.
        let mut bench = Bench::with(Config { receive_maximum: 1, ..Config::default() });
        let subscriber = listener(&mut bench, QoS::ExactlyOnce);
        let (publisher, _) = bench.connect("p", &lasting(version));

        bench.publish(publisher, "t", QoS::ExactlyOnce, 7, "x");
        for _ in 2..=10 {
            publish_again(&mut bench, publisher, 7, "x");
        }
        assert_eq!(bench.told(publisher), ["pubrec 7"; 10], "{version:?}");
        assert_eq!(bench.told(subscriber), NOTHING, "handed on at PUBREL");
        bench.ack(publisher, AckKind::Pubrel, 7);

        assert_eq!(bench.told(publisher), ["pubcomp 7"]);
        assert_eq!(bench.told(subscriber), ["publish q2 id1 t x"]);
        is_there(&mut bench, publisher);
    }
}

#[test]
fn a_publish_repeated_after_a_reconnect_is_delivered_once() {
    for version in VERSIONS {
        let mut bench = Bench::new();
        let subscriber = listener(&mut bench, QoS::ExactlyOnce);
        let (publisher, _) = bench.connect("p", &lasting(version));
        bench.publish(publisher, "t", QoS::ExactlyOnce, 7, "x");
        bench.cut_off(publisher);

        let (publisher, _) = back(&mut bench, "p", &lasting(version));
        publish_again(&mut bench, publisher, 7, "x");
        bench.ack(publisher, AckKind::Pubrel, 7);

        assert_eq!(bench.told(publisher), ["pubrec 7", "pubcomp 7"], "{version:?}");
        assert_eq!(bench.told(subscriber), ["publish q2 id1 t x"]);
    }
}

#[test]
fn an_owed_pubrec_is_sent_after_a_restart() {
    for version in VERSIONS {
        for on_disk in [true, false] {
            let mut bench = Bench::new();
            listener(&mut bench, QoS::ExactlyOnce);
            let (publisher, _) = bench.connect("p", &lasting(version));
            bench.syncs = on_disk;
            bench.publish(publisher, "t", QoS::ExactlyOnce, 7, "x");
            bench.syncs = true;
            bench.crash();

            let (publisher, told) = back(&mut bench, "p", &lasting(version));
            assert_eq!(told, NOTHING, "PUBREC answers, it is not sent by itself");
            publish_again(&mut bench, publisher, 7, "x");
            assert_eq!(bench.told(publisher), ["pubrec 7"], "{version:?} on disk: {on_disk}");
            bench.ack(publisher, AckKind::Pubrel, 7);
            assert_eq!(bench.told(publisher), ["pubcomp 7"]);

            let (_, told) = back(&mut bench, "listener", &persistent());
            assert_eq!(told, ["publish q2 id1 t x"]);
        }
    }
}

#[test]
fn a_pubrel_on_a_later_connection_releases_the_message() {
    for version in VERSIONS {
        for is_restarted in [false, true] {
            let mut bench = Bench::new();
            listener(&mut bench, QoS::ExactlyOnce);
            let (publisher, _) = bench.connect("p", &lasting(version));
            bench.publish(publisher, "t", QoS::ExactlyOnce, 7, "x");
            assert_eq!(bench.told(publisher), ["pubrec 7"]);
            bench.cut_off(publisher);
            if is_restarted {
                bench.crash();
            }

            let (publisher, _) = back(&mut bench, "p", &lasting(version));
            bench.ack(publisher, AckKind::Pubrel, 7);

            assert_eq!(bench.told(publisher), ["pubcomp 7"], "{version:?}: not 0x92, the session knows it");
            let first = if is_restarted { "publish" } else { "publish dup" };
            let (_, told) = back(&mut bench, "listener", &persistent());
            assert_eq!(told, [format!("{first} q2 id1 t x")]);
        }
    }
}

#[test]
fn pubrels_repeated_after_the_first_are_answered_and_deliver_nothing() {
    for version in VERSIONS {
        let mut bench = Bench::new();
        let subscriber = listener(&mut bench, QoS::ExactlyOnce);
        let (publisher, _) = bench.connect("p", &lasting(version));
        bench.publish(publisher, "t", QoS::ExactlyOnce, 7, "x");
        assert_eq!(bench.told(publisher), ["pubrec 7"]);
        bench.ack(publisher, AckKind::Pubrel, 7);
        assert_eq!(bench.told(publisher), ["pubcomp 7"]);
        let again = unknown(version, "pubcomp 7");

        bench.ack(publisher, AckKind::Pubrel, 7);
        assert_eq!(bench.told(publisher), [&*again], "{version:?} on the same connection");
        bench.cut_off(publisher);
        let (publisher, _) = back(&mut bench, "p", &lasting(version));
        bench.ack(publisher, AckKind::Pubrel, 7);
        assert_eq!(bench.told(publisher), [&*again], "{version:?} on the next");
        assert_eq!(bench.told(subscriber), ["publish q2 id1 t x"]);
        bench.crash();
        let (publisher, _) = back(&mut bench, "p", &lasting(version));
        bench.ack(publisher, AckKind::Pubrel, 7);
        assert_eq!(bench.told(publisher), [&*again], "{version:?} after a restart");
        is_there(&mut bench, publisher);

        let (_, told) = back(&mut bench, "listener", &persistent());
        assert_eq!(told, ["publish dup q2 id1 t x"], "one message, and its first delivery was before the crash");
    }
}

#[test]
fn after_pubrel_the_identifier_is_a_new_message() {
    for version in VERSIONS {
        for is_restarted in [false, true] {
            let mut bench = Bench::new();
            let (subscriber, _) = bench.connect("listener", &persistent());
            bench.subscribe(subscriber, "t", QoS::ExactlyOnce);
            bench.disconnect(subscriber);
            let (mut publisher, _) = bench.connect("p", &lasting(version));

            publish_once(&mut bench, publisher, 7, "one");
            if is_restarted {
                bench.crash();
                (publisher, _) = back(&mut bench, "p", &lasting(version));
            }
            publish_once(&mut bench, publisher, 7, "two");

            let (_, told) = back(&mut bench, "listener", &persistent());
            assert_eq!(told, ["publish q2 id1 t one", "publish q2 id2 t two"], "{version:?}");
        }
    }
}

#[test]
fn a_pubrel_for_an_unknown_identifier_is_answered() {
    for version in VERSIONS {
        let mut bench = Bench::new();
        let (client, _) = bench.connect("c", &lasting(version));

        bench.ack(client, AckKind::Pubrel, 9);
        bench.ack(client, AckKind::Pubrec, 8);
        bench.ack(client, AckKind::Puback, 7);
        bench.ack(client, AckKind::Pubcomp, 6);

        assert_eq!(bench.told(client), [unknown(version, "pubcomp 9"), unknown(version, "pubrel 8")]);
        is_there(&mut bench, client);
    }
}

#[test]
fn message_expiry_leaves_a_half_done_exchange_with_a_publisher_alone() {
    for is_restarted in [false, true] {
        let mut bench = Bench::new();
        let subscribers = QoS::ALL.map(|qos| {
            let (subscriber, _) = bench.connect(&format!("s{qos:?}"), &lasting(Version::V5));
            bench.subscribe(subscriber, "t", qos);
            subscriber
        });
        let (mut publisher, _) = bench.connect("p", &lasting(Version::V5));
        let properties = PublishProperties { message_expiry: Some(1), ..PublishProperties::default() };
        let short_lived = Publish { properties, ..message("t", QoS::ExactlyOnce, 7, "x") };
        bench.say(publisher, &Packet::Publish(short_lived));
        assert_eq!(bench.told(publisher), ["pubrec 7"]);

        bench.pass(2_000);
        if is_restarted {
            bench.crash();
            (publisher, _) = back(&mut bench, "p", &lasting(Version::V5));
        }
        bench.ack(publisher, AckKind::Pubrel, 7);

        assert_eq!(bench.told(publisher), ["pubcomp 7"], "not 0x92: the identifier is known to the end");
        for subscriber in subscribers.into_iter().filter(|_| !is_restarted) {
            assert_eq!(bench.told(subscriber), NOTHING, "its time was over before its delivery began [MQTT-3.3.2-5]");
        }
        publish_once(&mut bench, publisher, 7, "y");
    }
}

// From us.

#[test]
fn an_owed_pubrel_is_sent_again_after_a_reconnect_and_after_a_restart() {
    for version in VERSIONS {
        let mut bench = Bench::new();
        let (subscriber, _) = bench.connect("s", &lasting(version));
        bench.subscribe(subscriber, "t", QoS::ExactlyOnce);
        let (publisher, _) = bench.connect("p", &Setup::default());
        publish_once(&mut bench, publisher, 1, "x");
        bench.ack(subscriber, AckKind::Pubrec, 1);
        assert_eq!(bench.told(subscriber), ["publish q2 id1 t x", "pubrel 1"]);

        bench.cut_off(subscriber);
        let (_, told) = back(&mut bench, "s", &lasting(version));
        assert_eq!(told, ["pubrel 1"], "{version:?}");
        bench.crash();
        let (subscriber, told) = back(&mut bench, "s", &lasting(version));
        assert_eq!(told, ["pubrel 1"], "{version:?} after a restart");

        // The client can have missed that its PUBREC had come.
        bench.ack(subscriber, AckKind::Pubrec, 1);
        assert_eq!(bench.told(subscriber), ["pubrel 1"]);
        bench.ack(subscriber, AckKind::Pubcomp, 1);
        bench.cut_off(subscriber);
        let (_, told) = back(&mut bench, "s", &lasting(version));
        assert_eq!(told, NOTHING, "the exchange is over");
    }
}

#[test]
fn every_redelivery_has_dup_and_no_first_delivery_has() {
    for version in VERSIONS {
        let mut bench = Bench::with(Config { retry_interval_ms: 1_000, ..Config::default() });
        let (subscriber, _) = bench.connect("s", &lasting(version));
        bench.subscribe(subscriber, "t", QoS::ExactlyOnce);
        let (publisher, _) = bench.connect("p", &lasting(version));
        // The publisher's own DUP is not passed on [MQTT-3.3.1-3].
        publish_again(&mut bench, publisher, 1, "two");
        bench.ack(publisher, AckKind::Pubrel, 1);
        bench.say(publisher, &Packet::Publish(Publish { dup: true, ..message("t", QoS::AtLeastOnce, 2, "one") }));
        assert_eq!(bench.told(subscriber), ["publish q2 id1 t two", "publish q1 id2 t one"]);
        let again = ["publish dup q2 id1 t two", "publish dup q1 id2 t one"];

        for _ in 0..3 {
            bench.pass(500);
        }
        let by_the_clock: &[&str] = if version.may_resend() { &again } else { &[] };
        assert_eq!(bench.told(subscriber), by_the_clock, "{version:?} by the clock");
        let (taker, told) = back(&mut bench, "s", &lasting(version));
        assert_eq!(told, again, "{version:?} to the connection that took over");
        bench.cut_off(taker);
        let (_, told) = back(&mut bench, "s", &lasting(version));
        assert_eq!(told, again, "{version:?} after a loss");
        bench.crash();
        let (_, told) = back(&mut bench, "s", &lasting(version));
        assert_eq!(told, again, "{version:?} after a restart");
    }
}

#[test]
fn two_live_messages_never_share_an_identifier() {
    let mut bench = Bench::with(Config { inflight: 10, ..Config::default() });
    let (subscriber, _) = bench.connect("s", &persistent());
    bench.subscribe(subscriber, "t", QoS::ExactlyOnce);
    let (publisher, _) = bench.connect("p", &Setup::default());
    let publish = |bench: &mut Bench, subscriber, id: u16| {
        bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "x");
        assert_eq!(bench.told(subscriber), [format!("publish q1 id{id} t x")]);
        bench.ack(subscriber, AckKind::Puback, id);
    };
    // In the middle of the numbers, so that going round comes upon them.
    for id in 1..=4 {
        publish(&mut bench, subscriber, id);
    }
    assert_eq!(bench.told(publisher).len(), 4);
    // Three stay open for the whole test, one in each state.
    publish_once(&mut bench, publisher, 1, "awaits PUBREC");
    publish_once(&mut bench, publisher, 1, "awaits PUBCOMP");
    bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "awaits PUBACK");
    bench.ack(subscriber, AckKind::Pubrec, 6);
    let open =
        ["publish q2 id5 t awaits PUBREC", "publish q2 id6 t awaits PUBCOMP", "publish q1 id7 t awaits PUBACK", "pubrel 6"];
    assert_eq!(bench.told(subscriber), open);

    for _ in 0..2 {
        for id in (8..=u16::MAX).chain(1..=4) {
            publish(&mut bench, subscriber, id);
        }
    }
    publish(&mut bench, subscriber, 8);

    // Two more connections, the second after a restart: what is open keeps its identifiers.
    bench.cut_off(subscriber);
    let again = ["publish dup q2 id5 t awaits PUBREC", "pubrel 6", "publish dup q1 id7 t awaits PUBACK"];
    let (subscriber, told) = back(&mut bench, "s", &persistent());
    assert_eq!(told, again);
    publish(&mut bench, subscriber, 9);
    bench.crash();
    let (subscriber, told) = back(&mut bench, "s", &persistent());
    assert_eq!(told, again);
    let (publisher, _) = bench.connect("p", &Setup::default());
    bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "x");
    assert_eq!(bench.told(subscriber), ["publish q1 id8 t x"]);
}

#[test]
fn the_same_identifier_in_both_directions_is_two_exchanges() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect("c", &lasting(Version::V5));
    bench.subscribe(client, "t", QoS::ExactlyOnce);
    let (other, _) = bench.connect("o", &lasting(Version::V5));
    publish_once(&mut bench, other, 1, "to the client");

    bench.publish(client, "u", QoS::ExactlyOnce, 1, "from the client");
    assert_eq!(bench.told(client), ["publish q2 id1 t to the client", "pubrec 1 0x10"]);
    bench.ack(client, AckKind::Pubrec, 1);
    bench.ack(client, AckKind::Pubrel, 1);
    assert_eq!(bench.told(client), ["pubrel 1", "pubcomp 1"], "each its own answer");
    bench.ack(client, AckKind::Pubcomp, 1);

    let (_, told) = back(&mut bench, "c", &lasting(Version::V5));
    assert_eq!(told, NOTHING, "both are over");
}

#[test]
fn message_expiry_leaves_a_half_done_exchange_with_a_subscriber_alone() {
    for has_pubrec in [false, true] {
        for is_restarted in [false, true] {
            let mut bench = Bench::new();
            let (subscriber, _) = bench.connect("s", &lasting(Version::V5));
            bench.subscribe(subscriber, "t", QoS::ExactlyOnce);
            let (publisher, _) = bench.connect("p", &Setup { version: Version::V5, ..Setup::default() });
            let properties = PublishProperties { message_expiry: Some(1), ..PublishProperties::default() };
            bench.say(publisher, &Packet::Publish(Publish { properties, ..message("t", QoS::ExactlyOnce, 1, "x") }));
            bench.ack(publisher, AckKind::Pubrel, 1);
            assert_eq!(bench.told(subscriber), ["publish q2 id1 t x for 1s"]);
            if has_pubrec {
                bench.ack(subscriber, AckKind::Pubrec, 1);
            }
            bench.cut_off(subscriber);
            pass(&mut bench, is_restarted, 2_000);

            let (subscriber, told) = back(&mut bench, "s", &lasting(Version::V5));
            let owed = if has_pubrec { "pubrel 1" } else { "publish dup q2 id1 t x for 0s" };
            assert_eq!(told, [owed], "begun in time, so it goes to its end");
            if !has_pubrec {
                bench.ack(subscriber, AckKind::Pubrec, 1);
                assert_eq!(bench.told(subscriber), ["pubrel 1"]);
            }
            bench.ack(subscriber, AckKind::Pubcomp, 1);
            let (_, told) = back(&mut bench, "s", &lasting(Version::V5));
            assert_eq!(told, NOTHING);
        }
    }
}

// Sessions.

#[test]
fn an_exchange_ends_with_its_session_and_the_next_session_knows_nothing_of_it() {
    for is_restarted in [false, true] {
        let mut bench = Bench::new();
        let subscriber = listener(&mut bench, QoS::ExactlyOnce);
        let (client, _) = bench.connect("c", &v5(10));
        bench.subscribe(client, "to/c", QoS::ExactlyOnce);
        let (other, _) = bench.connect("o", &Setup::default());
        // One exchange in each direction, half done.
        bench.publish(other, "to/c", QoS::ExactlyOnce, 1, "x");
        bench.ack(other, AckKind::Pubrel, 1);
        bench.publish(client, "t", QoS::ExactlyOnce, 7, "never released");
        assert_eq!(bench.told(client), ["publish q2 id1 to/c x", "pubrec 7"]);
        bench.pass(20_000);
        is_there(&mut bench, client);
        bench.cut_off(client);

        pass(&mut bench, is_restarted, 10_000);

        let (client, present) = bench.connect("c", &v5(10));
        assert!(!present, "restarted: {is_restarted}");
        bench.ack(client, AckKind::Pubrec, 1);
        bench.ack(client, AckKind::Pubrel, 7);
        assert_eq!(bench.told(client), ["pubrel 1 0x92", "pubcomp 7 0x92"]);
        publish_once(&mut bench, client, 7, "new");
        let heard = if is_restarted { back(&mut bench, "listener", &persistent()).1 } else { bench.told(subscriber) };
        assert_eq!(heard, ["publish q2 id1 t new"], "what was never released is never delivered");
    }
}

/// What happens to the packet of a step when the second connection comes.
#[derive(Clone, Copy, Debug)]
enum Caught {
    /// Half of it has come.
    Halfway,
    /// It waits for the disk.
    Held,
    /// It was written, and the client has not read it.
    Unread,
}

#[test]
fn a_takeover_in_any_step_of_a_publishers_exchange_delivers_once() {
    use AckKind::{Pubcomp, Pubrec, Pubrel};
    let steps = [
        (None, Caught::Halfway),
        (Some(Pubrec), Caught::Held),
        (Some(Pubrec), Caught::Unread),
        (Some(Pubrel), Caught::Halfway),
        (Some(Pubcomp), Caught::Held),
        (Some(Pubcomp), Caught::Unread),
    ];
    for version in VERSIONS {
        for (step, caught) in steps {
            let case = format!("{version:?} {step:?} {caught:?}");
            let mut bench = Bench::new();
            let subscriber = listener(&mut bench, QoS::ExactlyOnce);
            let (old, _) = bench.connect("p", &lasting(version));
            let publish = bytes_of(old, &Packet::Publish(message("t", QoS::ExactlyOnce, 7, "x")));
            let pubrel = ack_bytes(old, Pubrel, 7);
            let has_released = matches!(step, Some(Pubrel | Pubcomp));

            if has_released {
                bench.say_bytes(old, &publish);
                assert_eq!(bench.told(old), ["pubrec 7"]);
            }
            bench.syncs = !matches!(caught, Caught::Held);
            let under_way = if has_released { &pubrel } else { &publish };
            let half = matches!(caught, Caught::Halfway);
            bench.say_bytes(old, if half { &under_way[..under_way.len() / 2] } else { under_way });

            // The client repeats what it has no answer to, without waiting for CONNACK.
            let new = bench.open("p", &lasting(version));
            if !has_released {
                publish_again(&mut bench, new, 7, "x");
            }
            bench.ack(new, Pubrel, 7);
            bench.syncs = true;
            bench.sync();

            let pubcomp = if step == Some(Pubcomp) { unknown(version, "pubcomp 7") } else { "pubcomp 7".into() };
            let told = bench.told(new);
            let expected = if has_released { vec![pubcomp] } else { vec!["pubrec 7".to_string(), pubcomp] };
            assert_eq!(told[1..], expected, "{case}");
            assert!(!bench.told(old).iter().any(|told| matches!(caught, Caught::Held) && told.starts_with("pub")), "{case}");
            assert_eq!(bench.told(subscriber), ["publish q2 id1 t x"], "{case}");
            bench.publish(new, "t", QoS::ExactlyOnce, 7, "y");
            bench.ack(new, Pubrel, 7);
            assert_eq!(bench.told(subscriber), ["publish q2 id2 t y"], "{case}: the identifier is free");
        }
    }
}

#[test]
fn a_takeover_in_any_step_of_a_subscribers_exchange_delivers_once() {
    use AckKind::{Pubcomp, Pubrec, Pubrel};
    let steps = [
        (None, Caught::Held),
        (None, Caught::Unread),
        (Some(Pubrec), Caught::Halfway),
        (Some(Pubrel), Caught::Held),
        (Some(Pubrel), Caught::Unread),
        (Some(Pubcomp), Caught::Halfway),
    ];
    for version in VERSIONS {
        for (step, caught) in steps {
            let case = format!("{version:?} {step:?} {caught:?}");
            let mut bench = Bench::new();
            let (old, _) = bench.connect("s", &lasting(version));
            bench.subscribe(old, "t", QoS::ExactlyOnce);
            let (publisher, _) = bench.connect("p", &Setup::default());
            let (pubrec, pubcomp) = (ack_bytes(old, Pubrec, 1), ack_bytes(old, Pubcomp, 1));
            let held = matches!(caught, Caught::Held);

            bench.publish(publisher, "t", QoS::ExactlyOnce, 1, "x");
            bench.syncs = !(held && step.is_none());
            bench.ack(publisher, Pubrel, 1);
            if !bench.syncs {
                assert!(bench.sync_once(), "the publication is on disk, its identifier is not");
            }
            match step {
                Some(Pubrec) => bench.say_bytes(old, &pubrec[..pubrec.len() / 2]),
                Some(Pubrel) => {
                    bench.syncs = !held;
                    bench.say_bytes(old, &pubrec);
                }
                Some(Pubcomp) => {
                    bench.say_bytes(old, &pubrec);
                    bench.say_bytes(old, &pubcomp[..pubcomp.len() / 2]);
                }
                Some(AckKind::Puback) | None => {}
            }
            let new = bench.open("s", &lasting(version));
            bench.syncs = true;
            bench.sync();

            let has_passed = matches!(step, Some(Pubrel | Pubcomp));
            let owed = if has_passed { "pubrel 1" } else { "publish dup q2 id1 t x" };
            assert_eq!(bench.told(new)[1..], [owed], "{case}");
            assert!(!held || !bench.told(old).iter().any(|told| told == owed), "{case}: held frames die with their connection");
            if !has_passed {
                bench.ack(new, Pubrec, 1);
                assert_eq!(bench.told(new), ["pubrel 1"], "{case}");
            }
            bench.ack(new, Pubcomp, 1);
            let (last, told) = back(&mut bench, "s", &lasting(version));
            assert_eq!(told, NOTHING, "{case}");
            assert_eq!(bench.told(publisher), ["pubrec 1", "pubcomp 1"], "{case}");
            publish_once(&mut bench, publisher, 1, "y");
            assert_eq!(bench.told(last), ["publish q2 id2 t y"], "{case}");
        }
    }
}

#[test]
fn a_takeover_of_a_session_that_ends_begins_a_new_one_and_publishes_the_will() {
    // A session that ends with its connection; one that is thrown away by the new connection. Each with an exchange half done.
    for (first, second) in [(v5(0), v5(100)), (v5(100), Setup { clean: true, ..v5(100) })] {
        for delay in [0, 50] {
            let mut bench = Bench::new();
            let (watcher, _) = bench.connect("w", &Setup::default());
            bench.subscribe(watcher, "will", QoS::AtMostOnce);
            let subscriber = listener(&mut bench, QoS::ExactlyOnce);
            let (old, _) = bench.connect("c", &Setup { will: Some(will("will", delay)), clean: false, ..first });
            bench.subscribe(old, "mine", QoS::AtLeastOnce);
            bench.publish(old, "t", QoS::ExactlyOnce, 7, "never released");

            let new = bench.open("c", &second);

            assert_eq!(bench.told(new), ["connack new"]);
            assert_eq!(
                bench.told(watcher),
                ["publish q0 id0 will gone"],
                "the session is over, so is the will's delay [MQTT-3.1.3-9]"
            );
            bench.ack(new, AckKind::Pubrel, 7);
            assert_eq!(bench.told(new), ["pubcomp 7 0x92"]);
            bench.publish(watcher, "mine", QoS::AtMostOnce, 0, "x");
            assert_eq!((bench.told(new), bench.told(subscriber)), (vec![], vec![]), "nothing of the old session is left");
        }
    }
}

#[test]
fn the_old_connection_is_told_of_a_takeover() {
    for version in VERSIONS {
        for clean in [false, true] {
            let mut bench = Bench::new();
            let (old, _) = bench.connect("c", &lasting(version));

            bench.connect("c", &Setup { clean, ..lasting(version) });

            let farewell: &[&str] = if version.server_may_disconnect() { &["disconnect 0x8e"] } else { &[] };
            assert_eq!(bench.told(old), farewell, "{version:?}");
            let closed = bench.events.iter().any(|event| event.contains("Disconnected") && event.contains("connected again"));
            assert!(closed, "{version:?}: {:?}", bench.events);
        }
    }
}

#[test]
fn a_will_is_cancelled_by_a_reconnect_within_its_delay() {
    for is_restarted in [false, true] {
        let mut bench = Bench::new();
        let (watcher, _) = bench.connect("w", &persistent());
        bench.subscribe(watcher, "will", QoS::AtLeastOnce);
        let setup = || Setup { will: Some(will("will", 50)), ..v5(100) };
        let (client, _) = bench.connect("c", &setup());
        bench.cut_off(client);
        pass(&mut bench, is_restarted, 49_000);

        let (client, present) = bench.connect("c", &setup());
        assert!(present);
        bench.pass(1_000_000);
        let (watcher, told) = back(&mut bench, "w", &persistent());
        assert_eq!(told, NOTHING, "restarted: {is_restarted}");

        // The next absence counts from its own beginning.
        bench.cut_off(client);
        pass(&mut bench, is_restarted, 49_999);
        let watcher = if is_restarted { back(&mut bench, "w", &persistent()).0 } else { watcher };
        assert_eq!(bench.told(watcher), NOTHING);
        bench.pass(1);
        assert_eq!(bench.told(watcher), ["publish q1 id1 will gone"]);
    }
}

// What waits for a client that is away.

#[test]
fn offline_messages_arrive_at_the_smaller_qos_in_all_nine_cells() {
    for version in VERSIONS {
        for is_restarted in [false, true] {
            for published in QoS::ALL {
                for granted in QoS::ALL {
                    let mut bench = Bench::new();
                    let (subscriber, _) = bench.connect("s", &lasting(version));
                    bench.subscribe(subscriber, "t", granted);
                    bench.disconnect(subscriber);
                    let (publisher, _) = bench.connect("p", &Setup { version, ..Setup::default() });

                    bench.publish(publisher, "t", published, u16::from(published > QoS::AtMostOnce), "x");
                    if published == QoS::ExactlyOnce {
                        bench.ack(publisher, AckKind::Pubrel, 1);
                    }
                    if is_restarted {
                        bench.crash();
                    }

                    let (_, told) = back(&mut bench, "s", &lasting(version));
                    let effective = published.min(granted);
                    let expected: Vec<String> = match effective {
                        QoS::AtMostOnce => vec![],
                        QoS::AtLeastOnce | QoS::ExactlyOnce => vec![format!("publish q{} id1 t x", effective as u8)],
                    };
                    assert_eq!(told, expected, "{version:?} published {published:?} granted {granted:?}");
                }
            }
        }
    }
}

#[test]
fn no_offline_message_is_skipped_on_reconnect() {
    for is_restarted in [false, true] {
        let mut bench = Bench::with(Config { inflight: 3, ..Config::default() });
        let (subscriber, _) = bench.connect("s", &persistent());
        bench.subscribe(subscriber, "t", QoS::ExactlyOnce);
        let (publisher, _) = bench.connect("p", &Setup::default());
        for number in 1..=20 {
            if number == 6 {
                bench.cut_off(subscriber);
            }
            publish_once(&mut bench, publisher, number, &format!("{number}"));
        }
        if is_restarted {
            bench.crash();
        }

        let (subscriber, mut told) = back(&mut bench, "s", &persistent());
        let mut heard = Vec::new();
        while !told.is_empty() {
            for line in core::mem::take(&mut told) {
                let mut words = line.split(' ');
                let id = words.find_map(|word| word.strip_prefix("id")).unwrap().parse().unwrap();
                heard.push((line.contains("dup"), line.rsplit(' ').next().unwrap().parse::<u16>().unwrap()));
                bench.ack(subscriber, AckKind::Pubrec, id);
                bench.ack(subscriber, AckKind::Pubcomp, id);
            }
            told = bench.told(subscriber);
            told.retain(|line| !line.starts_with("pubrel"));
        }

        let expected: Vec<_> = (1..=20).map(|number| (number <= 3, number)).collect();
        assert_eq!(heard, expected, "every one, in order, DUP on those that were under way");
    }
}

#[test]
fn a_message_between_restart_and_reconnect_is_kept() {
    for version in VERSIONS {
        let mut bench = Bench::new();
        let (subscriber, _) = bench.connect("s", &lasting(version));
        bench.subscribe(subscriber, "t", QoS::ExactlyOnce);
        bench.crash();
        let (publisher, _) = bench.connect("p", &Setup::default());
        bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "one");
        assert_eq!(bench.told(publisher), ["puback 1"]);
        publish_once(&mut bench, publisher, 2, "two");
        bench.crash();

        let (_, told) = back(&mut bench, "s", &lasting(version));
        assert_eq!(told, ["publish q1 id1 t one", "publish q2 id2 t two"], "{version:?}");
    }
}

#[test]
fn what_was_settled_before_a_crash_does_not_come_again() {
    let mut bench = Bench::new();
    let (subscriber, _) = bench.connect("s", &persistent());
    bench.subscribe(subscriber, "t", QoS::ExactlyOnce);
    let (publisher, _) = bench.connect("p", &Setup::default());
    for number in 1..=3 {
        publish_once(&mut bench, publisher, number, "x");
        bench.ack(subscriber, AckKind::Pubrec, number);
        if number < 3 {
            bench.ack(subscriber, AckKind::Pubcomp, number);
        }
    }

    bench.crash();

    let (_, told) = back(&mut bench, "s", &persistent());
    assert_eq!(told, ["pubrel 3"]);
}

#[test]
fn suback_means_subscribed() {
    for version in VERSIONS {
        let mut bench = Bench::new();
        let (publisher, _) = bench.connect("p", &Setup::default());
        let (subscriber, _) = bench.connect("s", &lasting(version));
        bench.syncs = false;

        bench.ask(subscriber, "t", QoS::ExactlyOnce);
        assert_eq!(bench.told(subscriber), NOTHING, "not before it is on disk");
        bench.sync();
        assert_eq!(bench.told(subscriber), ["suback 2"]);
        bench.syncs = true;
        bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "x");
        assert_eq!(bench.told(subscriber), ["publish q1 id1 t x"]);
        bench.ack(subscriber, AckKind::Puback, 1);
        bench.crash();
        let (publisher, _) = bench.connect("p", &Setup::default());
        bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "y");

        let (_, told) = back(&mut bench, "s", &lasting(version));
        assert_eq!(told, ["publish q1 id1 t y"], "{version:?}");
    }
}

#[test]
fn a_second_subscribe_changes_the_qos() {
    for version in VERSIONS {
        for (first, second) in [(QoS::ExactlyOnce, QoS::AtLeastOnce), (QoS::AtLeastOnce, QoS::ExactlyOnce)] {
            for is_restarted in [false, true] {
                let mut bench = Bench::new();
                let (subscriber, _) = bench.connect("s", &lasting(version));
                bench.subscribe(subscriber, "t", first);
                bench.subscribe(subscriber, "t", second);
                bench.disconnect(subscriber);
                if is_restarted {
                    bench.crash();
                }
                let (publisher, _) = bench.connect("p", &Setup::default());

                publish_once(&mut bench, publisher, 1, "x");

                let (_, told) = back(&mut bench, "s", &lasting(version));
                assert_eq!(told, [format!("publish q{} id1 t x", second as u8)], "{version:?}: once, at the new QoS");
            }
        }
    }
}
