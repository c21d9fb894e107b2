//! Decoding allocates nothing at all, so no packet can make it allocate more than its own size; nor do topic aliases once they are given away.
#![expect(unsafe_code, reason = "counting allocations takes a global allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use columba_proto::packet::Packet;
use columba_proto::wire::{Split, split};
use columba_proto::{AliasesOut, OutAlias, Peer, TopicName, Version, decode};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps to the contract of `alloc`, which is ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the contract of `dealloc`, which is ours.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Decodes one frame, walks through everything in it, and counts.
fn allocations(version: Version, from: Peer, frame: &[u8]) -> usize {
    let before = ALLOCATIONS.get();
    let Ok(Split::Frame { first, body, .. }) = split(frame, u32::MAX) else {
        panic!("no frame: {frame:02x?}");
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other packets hold no lists")]
    match decode(version, from, first, body).expect("a good packet") {
        Packet::Publish(publish) => {
            assert_eq!(publish.properties.user_properties.iter().count(), 300);
            assert_eq!(publish.properties.subscription_ids.iter().count(), 300);
        }
        Packet::Subscribe(subscribe) => assert_eq!(subscribe.entries.len(), 300),
        Packet::Unsubscribe(unsubscribe) => assert_eq!(unsubscribe.filters.len(), 300),
        Packet::Suback(suback) => assert_eq!(suback.reasons.len(), 300),
        other => panic!("{other:?} is not in this test"),
    }
    ALLOCATIONS.get() - before
}

/// A frame whose body is a head and many times the same.
fn frame(first: u8, head: &[u8], repeated: &[u8]) -> Vec<u8> {
    let body = [head, &repeated.repeat(300)].concat();
    [&[first][..], &length(body.len()), &body].concat()
}

/// As a variable byte integer of two bytes.
fn length(len: usize) -> [u8; 2] {
    assert!((0x80..0x4000).contains(&len), "two bytes");
    let low = u8::try_from(len % 0x80).expect("below 128");
    let high = u8::try_from(len / 0x80).expect("below 128");
    [low | 0x80, high]
}

#[test]
fn decoding_allocates_nothing() {
    let user_property = [0x26, 0, 1, b'n', 0, 1, b'v'];
    let subscription_id = [0x0b, 1];
    let properties = [&user_property[..], &subscription_id].concat();
    let [low, high] = length(properties.len() * 300);
    let publish_head = [0, 1, b't', low, high];

    for (from, frame) in [
        (Peer::Server, frame(0x30, &publish_head, &properties)),
        (Peer::Client, frame(0x82, &[0, 1, 0], &[0, 1, b'f', 1])),
        (Peer::Client, frame(0xa2, &[0, 1, 0], &[0, 1, b'f'])),
        (Peer::Server, frame(0x90, &[0, 1, 0], &[1])),
    ] {
        assert_eq!(allocations(Version::V5, from, &frame), 0);
    }
}

#[test]
fn topic_aliases_that_change_hands_allocate_nothing() {
    let names: Vec<String> = (0..48).map(|number| format!("gate/{number:02}")).collect();
    let topics: Vec<_> = names.iter().map(|name| TopicName::new(name).expect("a topic name")).collect();
    let mut aliases = AliasesOut::new(32);
    let mut introduced = 0;
    let rounds: Vec<_> = topics.chunks(8).map(|few| [few; 16].concat()).collect();
    let mut send_all = || {
        for topic in rounds.iter().flatten() {
            introduced += usize::from(matches!(aliases.assign(*topic), OutAlias::Introduce(_)));
        }
    };
    (0..100).for_each(|_| send_all());

    let before = ALLOCATIONS.get();
    (0..100).for_each(|_| send_all());

    let allocations = ALLOCATIONS.get() - before;
    assert_eq!(allocations, 0);
    assert!(introduced > 200, "they changed hands: {introduced}");
}
