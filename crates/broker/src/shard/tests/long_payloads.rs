//! Payloads that are longer than `max_payload`.

use alloc::format;

use columba_proto::{AckKind, QoS, Version};

use super::bench::{Bench, Setup, persistent, v5, will};
use crate::{Config, event::DropReason};

const NOTHING: [&str; 0] = [];

fn bench() -> Bench {
    Bench::with(Config { max_payload: 4, ..Config::default() })
}

#[test]
fn what_is_longer_is_dropped_at_each_qos_and_its_client_goes_on() {
    for version in [Version::V311, Version::V5] {
        let mut bench = bench();
        let (reader, _) = bench.connect("reader", &persistent());
        bench.subscribe(reader, "t", QoS::ExactlyOnce);
        let (client, _) = bench.connect("client", &Setup { version, ..Setup::default() });

        bench.publish(client, "t", QoS::AtMostOnce, 0, "12345");
        bench.publish(client, "t", QoS::AtLeastOnce, 1, "12345");
        bench.publish(client, "t", QoS::ExactlyOnce, 2, "12345");

        let code = if version == Version::V5 { " 0x97" } else { "" };
        assert_eq!(bench.told(client), [format!("puback 1{code}"), format!("pubrec 2{code}")]);
        if version == Version::V311 {
            bench.ack(client, AckKind::Pubrel, 2);
            assert_eq!(bench.told(client), ["pubcomp 2"]);
        }
        assert_eq!(bench.told(reader), NOTHING);
        assert_eq!(bench.shard.counters().dropped[DropReason::PayloadTooLarge as usize], 3);

        bench.publish(client, "t", QoS::AtMostOnce, 0, "1234");
        assert_eq!(bench.told(reader), ["publish q0 id0 t 1234"]);
    }
}

#[test]
fn a_will_that_could_not_be_published_is_not_taken() {
    let mut bench = bench();
    let long = columba_proto::packet::Will { payload: b"12345", ..will("t", 0) };
    let client = bench.open("client", &Setup { will: Some(long), ..v5(0) });
    assert_eq!(bench.told(client), ["connack 0x95"]);
    let client = bench.open("client", &Setup { will: Some(will("t", 0)), ..v5(0) });
    assert_eq!(bench.told(client), ["connack new"], "four bytes");
}
