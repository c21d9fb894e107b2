//! The library against somebody else's broker: every version and QoS, and the four failures of QoS 2.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use columba_client::{AckMode, Backoff, Client, Direction, PacketType, QoS, ReasonCode, Verdict, Version};
use support::Mosquitto;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);
const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

#[tokio::test]
async fn every_version_and_qos_delivers_at_the_lower_of_both_qos() {
    let Some(broker) = Mosquitto::start("") else {
        return;
    };
    for version in VERSIONS {
        for sent_at in QoS::ALL {
            for asked_for in QoS::ALL {
                one_message(&broker, version, sent_at, asked_for).await;
            }
        }
    }
}

async fn one_message(broker: &Mosquitto, version: Version, sent_at: QoS, asked_for: QoS) {
    let (publisher_trace, subscriber_trace) = (Trace::default(), Trace::default());
    let subscriber = Client::builder("127.0.0.1", broker.port)
        .version(version)
        .client_id("subscriber")
        .on_packet(subscriber_trace.hook())
        .connect()
        .await
        .unwrap();
    let mut inbox = subscriber.subscribe("home/+").qos(asked_for).await.unwrap();
    subscriber_trace.clear();
    let publisher = Client::builder("127.0.0.1", broker.port)
        .version(version)
        .client_id("publisher")
        .on_packet(publisher_trace.hook())
        .connect()
        .await
        .unwrap();
    publisher_trace.clear();

    let reason = publisher.publish("home/sample_topic", "{\"data\":\"test\"}").qos(sent_at).await.unwrap();
    let message = timeout(PATIENCE, inbox.next()).await.unwrap().unwrap();
    subscriber.close().await.unwrap();

    let effective = sent_at.min(asked_for);
    assert_eq!(reason, ReasonCode::SUCCESS);
    assert_eq!(message.topic(), "home/sample_topic");
    assert_eq!(&message.payload()[..], b"{\"data\":\"test\"}");
    assert_eq!(message.qos(), effective, "{version:?} {sent_at:?} {asked_for:?}");
    assert_eq!(publisher_trace.lines(), PUBLISHER[sent_at as usize]);
    assert_eq!(subscriber_trace.lines(), [SUBSCRIBER[effective as usize], &["send: disconnect"]].concat());
    publisher.close().await.unwrap();
}

const PUBLISHER: [&[&str]; 3] = [
    &["send: publish"],
    &["send: publish", "receive: puback"],
    &["send: publish", "receive: pubrec", "send: pubrel", "receive: pubcomp"],
];

const SUBSCRIBER: [&[&str]; 3] = [
    &["receive: publish"],
    &["receive: publish", "send: puback"],
    &["receive: publish", "send: pubrec", "receive: pubrel", "send: pubcomp"],
];

/// What has passed a connection, in the words of the hook.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    fn hook(&self) -> impl FnMut(&columba_client::PacketEvent<'_>) + Send + 'static {
        let lines = Arc::clone(&self.0);
        move |packet| lines.lock().unwrap().push(packet.to_string())
    }

    fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn the_four_failures_of_qos_2_are_repaired_on_both_hops() {
    let Some(broker) = Mosquitto::start("") else {
        return;
    };
    let steps = [PacketType::Publish, PacketType::Pubrec, PacketType::Pubrel, PacketType::Pubcomp];
    for version in [Version::V311, Version::V5] {
        for lost in steps {
            for publisher_suffers in [true, false] {
                lose(&broker, version, lost, publisher_suffers).await;
            }
        }
    }
}

/// Loses one packet of the exchange together with its connection; the message arrives once nevertheless.
async fn lose(broker: &Mosquitto, version: Version, lost: PacketType, publisher_suffers: bool) {
    let name = format!("{version:?}-{lost:?}-{publisher_suffers}").to_lowercase();
    let mut subscriber = persistent(broker, version, &format!("s-{name}"));
    let mut publisher = persistent(broker, version, &format!("p-{name}"));
    if publisher_suffers {
        publisher = publisher.inject_faults(once(lost));
    } else {
        subscriber = subscriber.inject_faults(once(lost));
    }
    let subscriber = subscriber.connect().await.unwrap();
    let mut inbox = subscriber.subscribe(format!("t/{name}")).qos(QoS::ExactlyOnce).await.unwrap();
    let publisher = publisher.connect().await.unwrap();

    let topic = format!("t/{name}");
    for number in 1..=3_u8 {
        let sent = publisher.publish(topic.as_str(), vec![number]).qos(QoS::ExactlyOnce).into_future();
        timeout(PATIENCE, sent).await.unwrap().unwrap();
    }
    let mut received = Vec::new();
    while received.last() != Some(&3) {
        let message = timeout(PATIENCE, inbox.next()).await.unwrap().unwrap();
        received.extend_from_slice(message.payload());
    }

    assert_eq!(received, [1, 2, 3], "{name}");
    publisher.close().await.unwrap();
    subscriber.close().await.unwrap();
}

fn persistent(broker: &Mosquitto, version: Version, client_id: &str) -> columba_client::Builder {
    let mut builder = Client::builder("127.0.0.1", broker.port).version(version).client_id(client_id).persistent(u32::MAX);
    builder.options_mut().reconnect = Some(Backoff { first: Duration::from_millis(1), max: Duration::from_millis(10) });
    builder
}

/// Cuts the connection at the first packet of this kind, in whichever direction, so that it is lost.
fn once(lost: PacketType) -> impl FnMut(&columba_client::PacketEvent<'_>) -> Verdict + Send + 'static {
    let mut done = false;
    move |event| {
        if done || event.packet_type() != lost {
            return Verdict::Keep;
        }
        done = true;
        Verdict::CutBefore
    }
}

#[tokio::test]
async fn what_came_while_away_is_in_the_inbox_that_was_there_before_connect() {
    let Some(broker) = Mosquitto::start("") else {
        return;
    };
    let away = persistent(&broker, Version::V5, "sleeper").connect().await.unwrap();
    away.subscribe("offline/#").qos(QoS::ExactlyOnce).await.unwrap().keep();
    away.close().await.unwrap();
    let publisher = Client::builder("127.0.0.1", broker.port).connect().await.unwrap();
    for number in 0..10_u8 {
        let qos = if number % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        publisher.publish("offline/x", vec![number]).qos(qos).await.unwrap();
    }

    let mut builder = persistent(&broker, Version::V5, "sleeper");
    let mut inbox = builder.inbox(AckMode::Manual);
    let back = builder.connect().await.unwrap();

    let mut received = Vec::new();
    for _ in 0..10 {
        let message = timeout(PATIENCE, inbox.next()).await.unwrap().unwrap();
        received.push(message.payload()[0]);
        message.ack().unwrap();
    }
    // A QoS 2 message is the application's at its PUBREL only, so each level keeps its own order.
    let of = |parity| received.iter().copied().filter(|number| number % 2 == parity).collect::<Vec<_>>();
    assert_eq!((of(0), of(1)), (vec![0, 2, 4, 6, 8], vec![1, 3, 5, 7, 9]));
    back.close().await.unwrap();
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again() {
    let Some(broker) = Mosquitto::start("") else {
        return;
    };
    let mut builder = persistent(&broker, Version::V311, "worker");
    let mut inbox = builder.inbox(AckMode::Manual);
    let worker = builder.connect().await.unwrap();
    worker.subscribe("jobs").qos(QoS::AtLeastOnce).into_shared_inbox().await.unwrap();
    worker.publish("jobs", "job").qos(QoS::AtLeastOnce).await.unwrap();
    drop(timeout(PATIENCE, inbox.next()).await.unwrap().unwrap());
    worker.close().await.unwrap();

    let again = persistent(&broker, Version::V311, "worker").connect().await.unwrap();
    let mut inbox = again.unclaimed().unwrap();

    assert_eq!(&timeout(PATIENCE, inbox.next()).await.unwrap().unwrap().payload()[..], b"job");
}

#[tokio::test]
async fn what_a_closed_inbox_has_not_taken_comes_again() {
    let Some(broker) = Mosquitto::start("") else { return };
    let mut builder = persistent(&broker, Version::V5, "leaver");
    let inbox = builder.inbox(AckMode::OnTake);
    let client = builder.connect().await.unwrap();
    client.subscribe("jobs").qos(QoS::AtLeastOnce).into_shared_inbox().await.unwrap();
    client.publish("jobs", "before").qos(QoS::AtLeastOnce).await.unwrap();
    drop(inbox);
    client.publish("jobs", "after").qos(QoS::AtLeastOnce).await.unwrap();
    client.close().await.unwrap();

    let again = persistent(&broker, Version::V5, "leaver").connect().await.unwrap();
    let mut inbox = again.unclaimed().unwrap();

    for expected in [b"before" as &[u8], b"after"] {
        let message = timeout(PATIENCE, inbox.next()).await.unwrap().unwrap();
        assert_eq!(&message.payload()[..], expected);
    }
}

#[tokio::test]
async fn a_dropped_subscription_does_not_hold_up_the_others() {
    let Some(broker) = Mosquitto::start("") else { return };
    let client = Client::builder("127.0.0.1", broker.port).connect().await.unwrap();
    let unwanted = client.subscribe("unwanted").qos(QoS::AtLeastOnce).await.unwrap();
    let mut wanted = client.subscribe("wanted").qos(QoS::AtLeastOnce).await.unwrap();
    client.publish("unwanted", "x").qos(QoS::AtLeastOnce).await.unwrap();
    drop(unwanted);

    // More than mosquitto has in flight at once: they all come only if the unwanted one is acknowledged.
    for number in 0..50_u8 {
        client.publish("wanted", vec![number]).qos(QoS::AtLeastOnce).await.unwrap();
    }

    for number in 0..50_u8 {
        assert_eq!(timeout(PATIENCE, wanted.next()).await.unwrap().unwrap().payload()[..], [number]);
    }
}

#[tokio::test]
async fn a_dropped_client_sends_what_it_has_promised_and_says_goodbye() {
    let Some(broker) = Mosquitto::start("") else { return };
    let subscriber = Client::builder("127.0.0.1", broker.port).connect().await.unwrap();
    let mut inbox = subscriber.subscribe("last/words").qos(QoS::ExactlyOnce).await.unwrap();
    let (goodbye, mut said) = tokio::sync::mpsc::unbounded_channel();
    let publisher = Client::builder("127.0.0.1", broker.port)
        .on_packet(move |packet| drop(goodbye.send(packet.to_string())))
        .connect()
        .await
        .unwrap();

    let delivery = publisher.publish("last/words", "x").qos(QoS::ExactlyOnce).enqueue().await.unwrap();
    drop(publisher);

    assert_eq!(timeout(PATIENCE, delivery).await.unwrap().unwrap(), ReasonCode::SUCCESS);
    assert_eq!(&timeout(PATIENCE, inbox.next()).await.unwrap().unwrap().payload()[..], b"x");
    let mut lines = Vec::new();
    while let Some(line) = timeout(PATIENCE, said.recv()).await.unwrap() {
        lines.push(line);
    }
    assert_eq!(lines.last().map(String::as_str), Some("send: disconnect"));
}

#[tokio::test]
async fn a_silent_connection_is_kept_alive_with_pings() {
    let Some(broker) = Mosquitto::start("") else {
        return;
    };
    let (pings, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let mut builder = Client::builder("127.0.0.1", broker.port).on_packet(move |packet| {
        if packet.packet_type() == PacketType::Pingresp && packet.direction == Direction::Receive {
            pings.send(()).ok();
        }
    });
    builder.options_mut().keep_alive = 1;
    let client = builder.connect().await.unwrap();

    timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();

    client.publish("t", "still here").qos(QoS::AtLeastOnce).await.unwrap();
}

#[tokio::test]
async fn many_messages_through_a_small_window_arrive_in_order() {
    const MESSAGES: u32 = 2_000;
    let Some(broker) = Mosquitto::start("allow_anonymous true\nmax_queued_messages 0") else {
        return;
    };
    // In MQTT 5 it would end the connection with 0x93, and rightly: mosquitto 2.0.11 sends more than the receive maximum of a
    // client that takes its time (`columba check` finds it, too). MQTT 3.1.1 knows no such bound.
    let subscriber = Client::builder("127.0.0.1", broker.port).version(Version::V311).connect().await.unwrap();
    let mut inbox = subscriber.subscribe("n").qos(QoS::ExactlyOnce).await.unwrap();
    let mut builder = Client::builder("127.0.0.1", broker.port);
    builder.options_mut().inflight_max = 7;
    let publisher = builder.connect().await.unwrap();

    let mut deliveries = Vec::new();
    for number in 0..MESSAGES {
        let payload = number.to_be_bytes().to_vec();
        deliveries.push(publisher.publish("n", payload).qos(QoS::ExactlyOnce).enqueue().await.unwrap());
    }
    for delivery in deliveries {
        timeout(PATIENCE, delivery).await.unwrap().unwrap();
    }

    for number in 0..MESSAGES {
        let message = timeout(PATIENCE, inbox.next()).await.unwrap().unwrap();
        assert_eq!(message.payload()[..], number.to_be_bytes());
    }
}
