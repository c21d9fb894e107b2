//! The topics in which the broker speaks of itself: `$SYS/...` (§4.7.2, docs/adr/0029).
//!
//! What stands there is kept like retained messages, so that a subscriber has the present values at once, but in memory only: it is true of a running broker.

use alloc::sync::Arc;

use columba_proto::{QoS, TopicName};

use super::{Shard, handing_on::Publication};
use crate::{
    id::Lane,
    message::Message,
    route::{Publisher, Turn},
    seam::Cx,
};

/// Below this a client publishes nothing (§4.7.2), but for what bridges of mosquitto tell about themselves.
const OWN: &str = "$SYS";
const BRIDGES: &str = "$SYS/broker/connection/";
const BRIDGE_STATE: &str = "/state";

/// Whether a topic is the broker's own.
#[inline]
pub(super) fn is_own(topic: &str) -> bool {
    // Almost none begins with it, and this is asked for every publication.
    topic.as_bytes().first() == Some(&b'$') && is_below(topic)
}

fn is_below(topic: &str) -> bool {
    let is_own = topic.strip_prefix(OWN).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let bridge = topic.strip_prefix(BRIDGES).and_then(|rest| rest.strip_suffix(BRIDGE_STATE));
    is_own && !bridge.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

impl Shard {
    /// Says something about the broker in one of its own topics: retained in memory, at QoS 0, without a record. Any one shard can say it for all.
    pub fn announce(&mut self, cx: &Cx<'_>, topic: TopicName<'_>, payload: &[u8]) {
        debug_assert!(is_own(topic.as_str()), "a topic of clients is retained on disk");
        let route = self.cache.route(cx, topic.as_str());
        let message = Arc::new(Message::new(Arc::clone(&route.topic), QoS::AtMostOnce, true, None, &[], payload));
        cx.commons.write_retained(&mut |retained| {
            retained.announce(cx.commons.clock().message(Lane(0)), Arc::clone(&message));
        });
        let audience = route.audience(Publisher::default(), QoS::AtMostOnce, true, Turn::Take);
        let full = self.hand_on(cx, crate::id::MessageId(0), &audience, &mut Publication::of(&message));
        debug_assert!(full.is_empty(), "nobody waits for QoS 0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_own_topics_are_those_of_sys_but_for_the_state_of_bridges() {
        for own in ["$SYS", "$SYS/", "$SYS/broker/uptime", "$SYS/broker/connection/a/b/state", "$SYS/broker/connection//state"] {
            assert!(is_own(own), "{own}");
        }
        for other in ["a", "$", "$SYSTEM/x", "$sys/x", "a/$SYS", "/$SYS", "$SYS/broker/connection/home.attic/state"] {
            assert!(!is_own(other), "{other}");
        }
    }
}
