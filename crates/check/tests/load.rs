//! The load generator and the storm against a broker that others wrote: what they say of it must be true.

use std::time::Duration;

use columba_check::broker::Broker;
use columba_check::crash::{Storm, storm};
use columba_check::load::{Durability, IdlePlan, Pace, Peer, Plan, SessionKind, Stop, Topics, idle, run};
use columba_check::outside;
use columba_check::sim::Rng;
use columba_proto::{QoS, Version};

fn mosquitto(test: &str) -> Option<Peer> {
    outside::or_skip(Peer::mosquitto(Durability::Memory), test, "mosquitto")
}

#[test]
fn every_message_is_counted_once_in_every_version_at_every_qos() {
    let Some(peer) = mosquitto("every_message_is_counted_once_in_every_version_at_every_qos") else { return };
    let broker = Broker::of(peer);
    for version in Version::ALL {
        for (qos, session) in QoS::ALL.into_iter().zip([SessionKind::Clean, SessionKind::Clean, SessionKind::Persistent]) {
            let plan = Plan {
                version,
                session,
                publishers: 3,
                subscribers: 2,
                topics: Topics::All,
                // mosquitto throws away what stands behind 1,000 messages in a queue.
                window: 5,
                ahead: 5,
                stop: Stop::Messages(1_000),
                ..Plan::comparing(broker.address(), qos, Duration::ZERO)
            };

            let report = run(&plan, None).unwrap();

            assert_eq!((report.sent, report.received, report.measured_deliveries), (1_000, 2_000, 2_000), "{version:?} {qos:?}");
            assert!(report.is_flawless(), "{report:?}");
        }
    }
}

#[test]
fn a_schedule_is_kept_and_the_process_is_watched() {
    let Some(peer) = mosquitto("a_schedule_is_kept_and_the_process_is_watched") else { return };
    let broker = Broker::of(peer);
    let plan = Plan {
        pace: Pace::PerSecond(2_000.0),
        warm_up: Duration::ZERO,
        ..Plan::comparing(broker.address(), QoS::AtLeastOnce, Duration::from_millis(500))
    };

    let report = run(&plan, Some(broker.process())).unwrap();

    // A busy machine may be late, never early.
    assert!(report.sent <= 1_010, "{} sent", report.sent);
    assert!(report.cpu.is_some_and(|cpu| !cpu.is_zero()));
    assert!(report.is_flawless());
}

#[test]
fn idle_connections_are_open_at_the_same_time() {
    let Some(peer) = mosquitto("idle_connections_are_open_at_the_same_time") else { return };
    let dir = tempfile::tempdir().unwrap();

    let found = idle(&peer, IdlePlan { few: 10, many: 210, version: Version::V5, subscribe: true }, dir.path()).unwrap();

    assert_eq!(found.open, 210);
    assert!(found.per_connection < 64 * 1024, "{found:?}");
}

#[test]
fn without_a_kill_no_promise_is_broken() {
    let Some(peer) = mosquitto("without_a_kill_no_promise_is_broken") else { return };
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut broker = Broker::of(peer.clone());

        let verdict = storm(&mut broker, Storm::at(qos, 0), &mut Rng::new(1));

        assert!(verdict.is_clean(), "{verdict}");
    }
}

#[test]
fn a_broker_that_keeps_nothing_is_found_out_by_one_kill() {
    let Some(peer) = mosquitto("a_broker_that_keeps_nothing_is_found_out_by_one_kill") else { return };
    let mut broker = Broker::of(peer);

    let verdict = storm(&mut broker, Storm::at(QoS::AtLeastOnce, 1), &mut Rng::new(1));

    assert!(!verdict.is_clean(), "{verdict}");
}
