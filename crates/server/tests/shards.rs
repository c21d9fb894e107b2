//! Clients meet whichever shard they live on, whoever accepted them.

mod common;

use common::{Keep, Raw, address, connect, ephemeral, publish};

const CLIENTS: usize = 24;

/// Every client hears every other one, in the order of each sender.
fn all_hear_all(set: &[&str]) {
    const MESSAGES: u16 = 20;
    let broker = ephemeral(set);
    let mut clients: Vec<Raw> = (0..CLIENTS)
        .map(|number| {
            let version = [3, 4, 5][number % 3];
            let (mut client, _) = Raw::connected(address(&broker), &connect(version, &format!("client-{number}"), Keep::Nothing));
            client.subscribe(version, "all/+", 0);
            client
        })
        .collect();

    for message in 0..MESSAGES {
        for (number, client) in clients.iter_mut().enumerate() {
            let version = [3, 4, 5][number % 3];
            client.send(&publish(version, 0, &format!("all/{number:02}"), &message.to_be_bytes()));
        }
    }

    for client in &mut clients {
        let mut next = [0; CLIENTS];
        for _ in 0..CLIENTS * usize::from(MESSAGES) {
            let body = client.expect(0x30);
            let sender = usize::from(body[6] - b'0') * 10 + usize::from(body[7] - b'0');
            let message = body.last_chunk().map(|bytes| u16::from_be_bytes(*bytes));
            assert_eq!(message, Some(next[sender]), "in the order of client {sender}");
            next[sender] += 1;
        }
        client.ping();
    }
}

#[test]
fn one_shard() {
    all_hear_all(&["runtime.shards=1", "runtime.workers=1"]);
}

#[test]
fn four_shards_on_one_worker() {
    all_hear_all(&["runtime.shards=4", "runtime.workers=1"]);
}

#[test]
fn four_shards_on_four_workers() {
    all_hear_all(&["runtime.shards=4", "runtime.workers=4"]);
}

#[test]
fn five_shards_on_two_workers() {
    all_hear_all(&["runtime.shards=5", "runtime.workers=2"]);
}

#[test]
fn what_follows_connect_at_once_travels_with_the_connection() {
    let broker = ephemeral(&["runtime.shards=4", "runtime.workers=2"]);

    for number in 0..CLIENTS {
        let mut client = Raw::open(address(&broker));
        let connect = connect(4, &format!("hasty-{number}"), Keep::Nothing);
        client.send(&[connect, common::subscribe(4, 1, "here", 0), publish(4, 0, "here", b"now"), vec![0xC0, 0]].concat());

        client.expect(0x20);
        client.expect(0x90);
        let body = client.expect(0x30);
        assert!(body.ends_with(b"now"));
        client.expect(0xD0);
    }
}

#[test]
fn one_client_identifier_is_one_client_whoever_accepts_it() {
    let broker = ephemeral(&["runtime.shards=4", "runtime.workers=4"]);
    let (mut before, _) = Raw::connected(address(&broker), &connect(5, "twin", Keep::Nothing));

    for _ in 0..CLIENTS {
        let (next, _) = Raw::connected(address(&broker), &connect(5, "twin", Keep::Nothing));
        common::expect_disconnect(&mut before, 0x8E);
        before = next;
    }
}

#[test]
fn a_large_message_crosses_in_pieces_to_a_slow_reader() {
    let broker = ephemeral(&["runtime.shards=2", "runtime.workers=2", "limits.max_packet_size=\"8MiB\""]);
    let (mut reader, _) = Raw::connected(address(&broker), &connect(4, "reader", Keep::Nothing));
    reader.subscribe(4, "big", 0);
    let (mut writer, _) = Raw::connected(address(&broker), &connect(4, "writer", Keep::Nothing));
    let payload: Vec<u8> = (0..6_000_000_u32).map(|n| (n % 251) as u8).collect();

    writer.send(&publish(4, 0, "big", &payload));
    writer.ping();

    let body = reader.expect(0x30);
    assert!(body.ends_with(&payload));
    reader.ping();
}
