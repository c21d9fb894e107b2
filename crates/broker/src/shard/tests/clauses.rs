//! Single clauses of the standards, each a short conversation.

use alloc::vec::Vec;

use columba_proto::{
    QoS, Version,
    packet::{Packet, Publish},
};

use super::bench::{Bench, Setup, message};

const NOTHING: Vec<&str> = Vec::new();

#[test]
fn a_bridge_does_not_get_its_own_messages_back_and_retain_travels_on_to_it() {
    for version in [Version::V31, Version::V311] {
        let mut bench = Bench::new();
        let (bridge, _) = bench.connect("bridge", &Setup { version, bridge: true, ..Setup::default() });
        let (device, _) = bench.connect("device", &Setup { version, ..Setup::default() });
        bench.subscribe(bridge, "#", QoS::AtMostOnce);

        let retained = Publish { retain: true, ..message("t", QoS::AtMostOnce, 0, "x") };
        bench.say(bridge, &Packet::Publish(retained.clone()));
        assert_eq!(bench.told(bridge), NOTHING);

        bench.say(device, &Packet::Publish(retained));
        assert_eq!(bench.told(bridge), ["publish retain q0 id0 t x"]);
    }
}
