//! Servers that refuse, vanish, take over or break the standard: a few bytes each, so that no broker is needed.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::time::Duration;

use columba_client::{AckMode, Client, ConnectError, Event, Lost, Overflow, PublishError, QoS, ReasonCode, Spoken, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);
/// Accepted, no session, no properties.
const CONNACK_5: &[u8] = &[0x20, 3, 0, 0, 0];
const CONNACK_311: &[u8] = &[0x20, 2, 0, 0];

/// A server that answers the first packet of each connection with the next of these, and then waits for the client to
/// go, or goes itself.
async fn server(answers: &'static [&'static [u8]], then: Then) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for answer in answers {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream, answer, then).await;
        }
    });
    port
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Then {
    Wait,
    Close,
}

async fn serve(mut stream: TcpStream, answer: &[u8], then: Then) {
    let mut buffer = [0; 1_024];
    assert!(stream.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0), "the client sends CONNECT");
    stream.write_all(answer).await.ok();
    while then == Then::Wait && stream.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
}

fn client(port: u16) -> columba_client::Builder {
    Client::builder("127.0.0.1", port)
}

#[tokio::test]
async fn a_server_that_knows_no_version_5_is_recognised() {
    let port = server(&[&[0x20, 2, 0, 1]], Then::Close).await;

    let error = client(port).connect().await.unwrap_err();

    let ConnectError::Refused(refusal) = error else { panic!("{error}") };
    assert_eq!(refusal.reason, ReasonCode::UNSUPPORTED_PROTOCOL_VERSION);
}

#[tokio::test]
async fn a_refusal_has_the_servers_words() {
    // Reason 0x87 with the Reason String "no".
    let port = server(&[&[0x20, 8, 0, 0x87, 5, 0x1f, 0, 2, b'n', b'o']], Then::Close).await;

    let error = client(port).connect().await.unwrap_err();

    assert_eq!(error.to_string(), "the server refused the connection: Not authorized (0x87): no");
}

#[tokio::test]
async fn bad_login_of_3_1_1_is_the_reason_of_5() {
    let port = server(&[&[0x20, 2, 0, 4]], Then::Close).await;

    let error = client(port).version(Version::V311).connect().await.unwrap_err();

    let ConnectError::Refused(refusal) = error else { panic!("{error}") };
    assert_eq!(refusal.reason, ReasonCode::BAD_USER_NAME_OR_PASSWORD);
}

#[tokio::test]
async fn a_server_that_is_not_one_is_recognised() {
    let port = server(&[b"220 mail.example ESMTP\r\n"], Then::Close).await;
    assert!(matches!(client(port).connect().await, Err(ConnectError::NotMqtt(_))));

    let port = server(&[b"HTTP/1.1 400 Bad Request\r\n\r\n"], Then::Close).await;
    assert!(matches!(client(port).connect().await, Err(ConnectError::Speaks(Spoken::Http))));

    // A fatal alert of TLS: unexpected message.
    let port = server(&[&[0x15, 3, 3, 0, 2, 2, 10]], Then::Close).await;
    assert!(matches!(client(port).connect().await, Err(ConnectError::Speaks(Spoken::Tls))));

    let port = server(&[b""], Then::Close).await;
    assert!(matches!(client(port).connect().await, Err(ConnectError::Closed(_))));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let port = server(&[b""], Then::Wait).await;
    let mut builder = client(port);
    builder.options_mut().connect_wait_max = Duration::from_millis(50);

    assert!(matches!(builder.connect().await, Err(ConnectError::TimedOut { .. })));
}

#[tokio::test]
async fn a_taken_over_client_does_not_fight_back() {
    // CONNACK, and right behind it DISCONNECT with 0x8e.
    let port = server(&[&[0x20, 3, 0, 0, 0, 0xe0, 2, 0x8e, 0]], Then::Wait).await;
    let client = client(port).connect().await.unwrap();

    let error = timeout(PATIENCE, client.publish("t", "x").qos(QoS::AtLeastOnce).into_future()).await.unwrap().unwrap_err();

    assert!(
        matches!(&error, PublishError::Closed(closed)
            if matches!(&closed.0, Some(Lost::ByServer(why)) if why.reason == ReasonCode::SESSION_TAKEN_OVER)),
        "{error}"
    );
}

#[tokio::test]
async fn a_breach_ends_the_connection_and_the_client_comes_back() {
    // A PUBLISH with QoS 3, then a server that behaves.
    let port = server(&[&[0x20, 3, 0, 0, 0, 0x36, 0], CONNACK_5], Then::Wait).await;
    let mut builder = client(port);
    builder.options_mut().reconnect = Some(columba_client::Backoff { first: Duration::ZERO, max: Duration::ZERO });
    let client = builder.connect().await.unwrap();
    let mut events = client.events();

    let mut connected = 0;
    let mut breaches = 0;
    while connected < 2 {
        #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else there is should not come")]
        match timeout(PATIENCE, events.recv()).await.unwrap().unwrap() {
            Event::Connected { .. } => connected += 1,
            Event::Disconnected(Lost::Peer(_)) => breaches += 1,
            Event::Disconnected(_) | Event::Reconnecting { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    assert_eq!(breaches, 1);
    client.close().await.unwrap();
}

#[tokio::test]
async fn without_reconnection_a_lost_connection_ends_the_client() {
    let port = server(&[CONNACK_311], Then::Close).await;
    let mut builder = client(port).version(Version::V311);
    builder.options_mut().reconnect = None;
    let mut inbox = builder.inbox(AckMode::OnTake);
    let client = builder.connect().await.unwrap();

    assert!(timeout(PATIENCE, inbox.next()).await.unwrap().is_none());
    assert!(client.publish("t", "x").qos(QoS::AtLeastOnce).await.is_err());
    assert!(client.close().await.is_err());
}

#[tokio::test]
async fn a_dead_server_is_noticed_by_the_missing_pingresp() {
    let port = server(&[CONNACK_5], Then::Wait).await;
    let mut builder = client(port);
    builder.options_mut().keep_alive = 1;
    builder.options_mut().reconnect = None;
    let client = builder.connect().await.unwrap();

    let error = timeout(PATIENCE, client.publish("t", "x").qos(QoS::AtLeastOnce).into_future()).await.unwrap().unwrap_err();

    assert!(matches!(&error, PublishError::Closed(closed) if matches!(closed.0, Some(Lost::Silent))), "{error}");
}

#[tokio::test]
async fn the_outbox_is_bounded() {
    let port = server(&[CONNACK_5], Then::Wait).await;
    let mut builder = client(port);
    builder.options_mut().outbox_bytes_max = 1_000;
    let client = builder.connect().await.unwrap();
    let publish = || client.publish("t", vec![0; 500]).qos(QoS::AtLeastOnce);

    let first = publish().try_enqueue();
    let second = publish().try_enqueue();

    assert!(first.is_ok());
    assert!(matches!(second, Err(PublishError::Full)));
}

/// CONNACK, and right behind it ten messages of QoS 0 on topic `t`, numbered.
const CONNACK_AND_TEN: &[u8] = &[
    0x20, 3, 0, 0, 0, 0x30, 5, 0, 1, b't', 0, 0, 0x30, 5, 0, 1, b't', 0, 1, 0x30, 5, 0, 1, b't', 0, 2, 0x30, 5, 0, 1, b't', 0, 3,
    0x30, 5, 0, 1, b't', 0, 4, 0x30, 5, 0, 1, b't', 0, 5, 0x30, 5, 0, 1, b't', 0, 6, 0x30, 5, 0, 1, b't', 0, 7, 0x30, 5, 0, 1,
    b't', 0, 8, 0x30, 5, 0, 1, b't', 0, 9,
];

#[tokio::test]
async fn messages_of_qos_0_that_nobody_takes_are_dropped_at_the_bound_and_counted() {
    let port = server(&[CONNACK_AND_TEN], Then::Wait).await;
    let mut builder = client(port);
    builder.options_mut().inbox_bytes_max = 4 * (columba_client::limits::MESSAGE_OVERHEAD_BYTES + 2);
    let mut inbox = builder.inbox(AckMode::OnTake);
    let client = builder.connect().await.unwrap();
    let mut events = client.events();

    let mut dropped = 0;
    while dropped < 6 {
        if matches!(timeout(PATIENCE, events.recv()).await.unwrap().unwrap(), Event::Dropped) {
            dropped += 1;
        }
    }

    for number in 0..4 {
        assert_eq!(inbox.try_next().unwrap().payload()[..], [number]);
    }
    assert!(inbox.try_next().is_none());
}

#[tokio::test]
async fn a_client_that_stops_reading_at_the_bound_loses_nothing() {
    const MESSAGES: u8 = 40;
    // Much more than is read at once, so that the bound is met between two reads.
    let large = |number: u8| [&[0x30, 0xa4, 0x9c, 0x01, 0, 1, b't', 0][..], &vec![number; 20_000]].concat();
    let bytes: Vec<u8> = CONNACK_5.iter().copied().chain((0..MESSAGES).flat_map(large)).collect();
    let port = server(vec![&*bytes.leak()].leak(), Then::Wait).await;
    let mut builder = client(port);
    builder.options_mut().inbox_bytes_max = 50_000;
    builder.options_mut().overflow = Overflow::StopReading;
    let mut inbox = builder.inbox(AckMode::OnTake);
    let _client = builder.connect().await.unwrap();

    for number in 0..MESSAGES {
        assert_eq!(timeout(PATIENCE, inbox.next()).await.unwrap().unwrap().payload()[0], number);
    }
}
