//! Listeners whose acknowledgements wait only until a record is written, beside others that wait for the disk.

use alloc::{vec, vec::Vec};

use columba_proto::{AckKind, QoS};

use super::bench::{Bench, persistent, v5};
use crate::Config;

const NOTHING: Vec<&str> = Vec::new();
const WRITTEN: u16 = 1;

fn bench() -> Bench {
    let mut bench = Bench::with(Config { written_listeners: vec![WRITTEN], ..Config::default() });
    let (away, _) = bench.connect("away", &persistent());
    bench.subscribe(away, "t", QoS::ExactlyOnce);
    bench.disconnect(away);
    bench
}

#[test]
fn each_listener_waits_for_what_it_was_told_to() {
    let mut bench = bench();
    let (strict, _) = bench.connect("strict", &v5(0));
    bench.listener = WRITTEN;
    let (eager, _) = bench.connect("eager", &v5(0));
    bench.syncs = false;

    bench.publish(strict, "t", QoS::AtLeastOnce, 1, "x");
    bench.publish(eager, "t", QoS::AtLeastOnce, 1, "x");
    assert_eq!((bench.told(strict), bench.told(eager)), (Vec::new(), Vec::new()), "not even written");

    bench.write_through();
    assert_eq!(bench.told(strict), NOTHING);
    assert_eq!(bench.told(eager), ["puback 1"]);

    bench.sync();
    assert_eq!(bench.told(strict), ["puback 1"]);
    assert_eq!(bench.told(eager), NOTHING, "once");
}

#[test]
fn what_is_synced_is_written() {
    let mut bench = bench();
    bench.listener = WRITTEN;
    let (eager, _) = bench.connect("eager", &persistent());
    bench.syncs = false;

    bench.publish(eager, "t", QoS::ExactlyOnce, 1, "x");
    bench.sync();
    assert_eq!(bench.told(eager), ["pubrec 1"]);

    bench.ack(eager, AckKind::Pubrel, 1);
    bench.write_through();
    assert_eq!(bench.told(eager), ["pubcomp 1"]);
    bench.sync();
    bench.act(|shard, _| assert!(!shard.is_waiting()));
}

#[test]
fn a_client_of_either_listener_is_sent_away_when_the_journal_fails() {
    let mut bench = bench();
    bench.listener = WRITTEN;
    let (eager, _) = bench.connect("eager", &v5(0));
    let (waiting, _) = bench.connect("waiting", &v5(0));
    bench.syncs = false;
    bench.publish(eager, "t", QoS::AtLeastOnce, 1, "x");
    bench.write_through();
    bench.publish(waiting, "t", QoS::AtLeastOnce, 1, "x");

    bench.act(crate::Shard::journal_failed);

    assert_eq!(bench.told(eager), ["puback 1"], "it waits for nothing");
    assert_eq!(bench.told(waiting), ["disconnect 0x89"]);
}
