//! Stories of a session without sockets: lost acknowledgements, resumption, exactly once.

use bytes::Bytes;
use columba_proto::packet::{Ack, AckProperties, Publish, PublishProperties, Suback};
use columba_proto::{PacketId, TopicName};

use super::*;

/// A session whose waiters are numbers, and everything it has sent, in words.
struct Bench {
    session: Session<Numbers>,
    sent: Script,
}

enum Numbers {}

impl Waiters for Numbers {
    type Publish = u32;
    type Request = u32;
    type Inbox = &'static str;
}

/// An outlet that writes down what passes.
#[derive(Default)]
struct Script(Vec<String>);

impl Outlet for Script {
    fn send(&mut self, packet: &Packet<'_>) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the name is enough of the others")]
        self.0.push(match packet {
            Packet::Publish(publish) => format!(
                "publish {}{}{}",
                String::from_utf8_lossy(publish.payload),
                publish.packet_id.map_or_else(String::new, |id| format!(" id={id}")),
                if publish.dup { " dup" } else { "" }
            ),
            Packet::Ack(ack) => format!("{} id={}", packet.packet_type().name(), ack.id),
            Packet::Subscribe(subscribe) => {
                let filters: Vec<&str> = subscribe.entries.iter().map(|entry| entry.filter).collect();
                format!("subscribe {} id={}", filters.join(" "), subscribe.id)
            }
            other => other.packet_type().name().to_owned(),
        });
    }

    fn has_room(&self) -> bool {
        true
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Server {
    HasSession,
    HasNone,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new("localhost", 1883);
        options.clean_start = false;
        options.session_expiry = 3_600;
        change(&mut options);
        Self { session: Session::new(&options), sent: Script::default() }
    }

    fn connected(change: impl FnOnce(&mut Options)) -> Self {
        let mut bench = Self::new(change);
        bench.connect(Server::HasNone);
        bench
    }

    fn connect(&mut self, server: Server) -> Resumption {
        self.connect_with_window(server, u16::MAX)
    }

    fn connect_with_window(&mut self, server: Server, receive_maximum: u16) -> Resumption {
        let welcome = Welcome {
            session_present: Some(server == Server::HasSession),
            receive_maximum,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: 1_000,
            subscription_ids_available: true,
            assigned_client_id: None,
            server_keep_alive: None,
        };
        let resumption = self.session.on_connack(&welcome, &mut self.sent);
        self.session.pump(&mut self.sent);
        resumption
    }

    fn reconnect(&mut self, server: Server) -> Resumption {
        self.session.on_lost();
        self.connect(server)
    }

    fn publish(&mut self, payload: &'static str, qos: QoS, waiter: u32) {
        let publication = Publication {
            topic: "t".parse().unwrap(),
            payload: Bytes::from_static(payload.as_bytes()),
            qos,
            retain: false,
            properties: crate::MessageProperties::default(),
        };
        self.session.publish(publication, waiter);
        self.session.pump(&mut self.sent);
    }

    fn receive(&mut self, packet: &Packet<'_>) -> Result<(), Lost> {
        let result = self.session.on_packet(packet, &mut self.sent);
        self.session.pump(&mut self.sent);
        result
    }

    fn receive_ack(&mut self, kind: AckKind, number: u16) {
        self.receive_ack_with(kind, number, ReasonCode::SUCCESS);
    }

    fn receive_ack_with(&mut self, kind: AckKind, number: u16, reason: ReasonCode) {
        let ack = Ack { kind, id: id(number), reason, properties: AckProperties::default() };
        self.receive(&Packet::Ack(ack)).unwrap();
    }

    fn receive_publish(&mut self, payload: &str, qos: QoS, number: u16) -> Result<(), Lost> {
        self.receive(&Packet::Publish(Publish {
            dup: false,
            qos,
            retain: false,
            topic: Some(TopicName::new("t").unwrap()),
            packet_id: PacketId::new(number).filter(|_| qos != QoS::AtMostOnce),
            payload: payload.as_bytes(),
            properties: PublishProperties::default(),
        }))
    }

    fn subscribe(&mut self, filter: &str, inbox: &'static str, of: InboxOf) {
        let request = SubscribeRequest {
            filters: vec![filter.parse().unwrap()],
            options: QoS::ExactlyOnce.into(),
            subscription_id: None,
            user_properties: Vec::new(),
        };
        self.session.subscribe(request, inbox, of, Some(0), &mut self.sent);
    }

    fn receive_suback(&mut self, number: u16, reason: ReasonCode) {
        let reasons = [reason];
        let suback = Suback { id: id(number), reasons: reasons.as_slice().into(), properties: AckProperties::default() };
        self.receive(&Packet::Suback(suback)).unwrap();
    }

    fn ack(&mut self, token: AckToken) {
        self.session.ack(token, &mut self.sent);
    }

    /// What has been sent since the last call.
    fn sent(&mut self) -> Vec<String> {
        std::mem::take(&mut self.sent.0)
    }

    /// What has been delivered since the last call: payloads, and tokens where there are some.
    fn delivered(&mut self) -> (Vec<String>, Vec<AckToken>) {
        let (mut payloads, mut tokens) = (Vec::new(), Vec::new());
        while let Some(output) = self.session.next_output() {
            if let Output::Deliver { message, token, .. } = output {
                payloads.push(String::from_utf8_lossy(message.payload()).into_owned());
                tokens.extend(token);
            }
        }
        (payloads, tokens)
    }

    /// Who has been told what since the last call.
    fn published(&mut self) -> Vec<(u32, Result<ReasonCode, String>)> {
        let mut ends = Vec::new();
        while let Some(output) = self.session.next_output() {
            if let Output::Published(waiter, result) = output {
                ends.push((waiter, result.map_err(|error| error.to_string())));
            }
        }
        ends
    }
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

#[test]
fn a_publisher_hears_the_reason_of_the_last_acknowledgement() {
    let mut bench = Bench::connected(|_| {});

    bench.publish("zero", QoS::AtMostOnce, 10);
    bench.publish("one", QoS::AtLeastOnce, 11);
    bench.publish("two", QoS::ExactlyOnce, 12);
    assert_eq!(bench.sent(), ["publish zero", "publish one id=1", "publish two id=2"]);
    assert_eq!(bench.published(), [(10, Ok(ReasonCode::SUCCESS))]);

    bench.receive_ack_with(AckKind::Puback, 1, ReasonCode::NO_MATCHING_SUBSCRIBERS);
    bench.receive_ack_with(AckKind::Pubrec, 2, ReasonCode::NO_MATCHING_SUBSCRIBERS);
    assert_eq!(bench.published(), [(11, Ok(ReasonCode::NO_MATCHING_SUBSCRIBERS))]);
    bench.receive_ack(AckKind::Pubcomp, 2);

    assert_eq!(bench.sent(), ["pubrel id=2"]);
    assert_eq!(bench.published(), [(12, Ok(ReasonCode::NO_MATCHING_SUBSCRIBERS))]);
    assert_eq!(bench.session.unacknowledged(), 0);
}

#[test]
fn a_refused_message_is_an_error_and_not_sent_again() {
    let mut bench = Bench::connected(|_| {});
    bench.publish("one", QoS::AtLeastOnce, 1);
    bench.publish("two", QoS::ExactlyOnce, 2);
    bench.sent();

    bench.receive_ack_with(AckKind::Puback, 1, ReasonCode::NOT_AUTHORIZED);
    bench.receive_ack_with(AckKind::Pubrec, 2, ReasonCode::QUOTA_EXCEEDED);

    let ends = bench.published();
    assert!(ends.iter().all(|(_, result)| result.is_err()), "{ends:?}");
    bench.reconnect(Server::HasSession);
    assert_eq!(bench.sent(), [""; 0]);
}

#[test]
fn a_lost_publish_or_pubrec_is_repaired_by_a_publish_with_dup() {
    let mut bench = Bench::connected(|_| {});
    bench.publish("two", QoS::ExactlyOnce, 2);
    bench.sent();

    bench.reconnect(Server::HasSession);

    assert_eq!(bench.sent(), ["publish two id=1 dup"]);
}

#[test]
fn a_lost_pubrel_or_pubcomp_is_repaired_by_a_pubrel_and_never_by_a_publish() {
    let mut bench = Bench::connected(|_| {});
    bench.publish("two", QoS::ExactlyOnce, 2);
    bench.receive_ack(AckKind::Pubrec, 1);
    bench.sent();

    bench.reconnect(Server::HasSession);
    assert_eq!(bench.sent(), ["pubrel id=1"]);
    bench.receive_ack(AckKind::Pubcomp, 1);

    assert_eq!(bench.published(), [(2, Ok(ReasonCode::SUCCESS))]);
    bench.reconnect(Server::HasSession);
    assert_eq!(bench.sent(), [""; 0]);
}

#[test]
fn a_session_is_resumed_in_send_order_before_anything_new() {
    let mut bench = Bench::connected(|_| {});
    bench.publish("a", QoS::ExactlyOnce, 1);
    bench.publish("b", QoS::AtLeastOnce, 2);
    bench.publish("c", QoS::ExactlyOnce, 3);
    bench.receive_ack(AckKind::Pubrec, 1);
    bench.session.on_lost();
    bench.publish("d", QoS::AtMostOnce, 4);
    bench.sent();

    bench.connect(Server::HasSession);

    assert_eq!(bench.sent(), ["pubrel id=1", "publish b id=2 dup", "publish c id=3 dup", "publish d"]);
}

#[test]
fn a_smaller_window_holds_the_repetitions_back() {
    let mut bench = Bench::connected(|_| {});
    for (waiter, payload) in (1..).zip(["a", "b", "c"]) {
        bench.publish(payload, QoS::AtLeastOnce, waiter);
    }
    bench.session.on_lost();
    bench.sent();

    bench.connect_with_window(Server::HasSession, 1);
    assert_eq!(bench.sent(), ["publish a id=1 dup"]);
    bench.receive_ack(AckKind::Puback, 1);
    assert_eq!(bench.sent(), ["publish b id=2 dup"]);
    bench.publish("d", QoS::AtLeastOnce, 4);
    bench.receive_ack(AckKind::Puback, 2);

    assert_eq!(bench.sent(), ["publish c id=3 dup"]);
}

#[test]
fn no_more_than_the_window_is_in_flight() {
    let mut bench = Bench::connected(|options| options.inflight_max = 2);
    for (waiter, payload) in (1..).zip(["a", "b", "c"]) {
        bench.publish(payload, QoS::AtLeastOnce, waiter);
    }
    bench.publish("zero, behind the others", QoS::AtMostOnce, 9);
    assert_eq!(bench.sent(), ["publish a id=1", "publish b id=2"]);

    bench.receive_ack(AckKind::Puback, 1);

    assert_eq!(bench.sent(), ["publish c id=3", "publish zero, behind the others"]);
}

#[test]
fn what_a_forgetful_server_has_not_taken_over_is_a_new_message() {
    let mut bench = Bench::connected(|_| {});
    bench.publish("a", QoS::AtLeastOnce, 1);
    bench.publish("b", QoS::ExactlyOnce, 2);
    bench.publish("c", QoS::ExactlyOnce, 3);
    bench.receive_ack(AckKind::Pubrec, 2);
    bench.sent();

    let resumption = bench.reconnect(Server::HasNone);

    assert_eq!(resumption, Resumption::Lost);
    assert_eq!(bench.sent(), ["publish a id=4", "publish c id=5"]);
    let ends = bench.published();
    assert!(matches!(ends.as_slice(), [(2, Err(_))]), "whether b was delivered is unknown: {ends:?}");
}

#[test]
fn a_message_that_the_server_cannot_take_is_not_sent() {
    let mut bench = Bench::connected(|_| {});

    bench.publish(Box::leak("x".repeat(2_000).into_boxed_str()), QoS::AtLeastOnce, 1);

    assert_eq!(bench.sent(), [""; 0]);
    assert_eq!(bench.published(), [(1, Err("the packet has 2009 bytes, and the server takes 1000".to_owned()))]);
}

#[test]
fn the_timed_repetition_of_3_1_1_sends_all_that_is_in_flight_again() {
    let mut bench = Bench::connected(|options| options.version = Version::V311);
    bench.publish("a", QoS::ExactlyOnce, 1);
    bench.publish("b", QoS::AtLeastOnce, 2);
    bench.receive_ack(AckKind::Pubrec, 1);
    bench.sent();

    bench.session.repeat(&mut bench.sent);

    assert_eq!(bench.sent(), ["pubrel id=1", "publish b id=2 dup"]);
}

#[test]
fn an_unknown_pubrec_is_answered_and_other_unknown_acknowledgements_are_not() {
    let mut bench = Bench::connected(|_| {});

    bench.receive_ack(AckKind::Puback, 7);
    bench.receive_ack(AckKind::Pubcomp, 8);
    bench.receive_ack(AckKind::Pubrec, 9);

    assert_eq!(bench.sent(), ["pubrel id=9"]);
}

#[test]
fn a_wrong_acknowledgement_ends_the_connection() {
    let mut bench = Bench::connected(|_| {});
    bench.publish("a", QoS::AtLeastOnce, 1);

    let pubrec = Ack { kind: AckKind::Pubrec, id: id(1), reason: ReasonCode::SUCCESS, properties: AckProperties::default() };

    assert!(matches!(bench.receive(&Packet::Ack(pubrec)), Err(Lost::Peer(_))));
}

#[test]
fn a_qos_2_message_is_the_applications_at_pubrel_and_not_before() {
    let mut bench = Bench::connected(|_| {});

    bench.receive_publish("once", QoS::ExactlyOnce, 5).unwrap();
    assert_eq!((bench.sent(), bench.delivered().0), (vec!["pubrec id=5".to_owned()], vec![]));
    bench.receive_ack(AckKind::Pubrel, 5);

    let (payloads, tokens) = bench.delivered();
    assert_eq!(payloads, ["once"]);
    assert_eq!(bench.sent(), [""; 0], "the application has not acknowledged");
    bench.ack(tokens[0]);
    assert_eq!(bench.sent(), ["pubcomp id=5"]);
}

#[test]
fn a_publish_repeated_before_pubrel_is_delivered_once() {
    let mut bench = Bench::connected(|_| {});
    bench.receive_publish("once", QoS::ExactlyOnce, 5).unwrap();
    bench.reconnect(Server::HasSession);

    bench.receive_publish("once", QoS::ExactlyOnce, 5).unwrap();
    bench.receive_publish("once", QoS::ExactlyOnce, 5).unwrap();
    bench.receive_ack(AckKind::Pubrel, 5);

    assert_eq!(bench.sent(), ["pubrec id=5", "pubrec id=5", "pubrec id=5"]);
    assert_eq!(bench.delivered().0, ["once"]);
}

#[test]
fn a_pubrel_for_an_unknown_identifier_is_answered_and_delivers_nothing() {
    let mut bench = Bench::connected(|_| {});

    bench.receive_ack(AckKind::Pubrel, 77);

    assert_eq!(bench.sent(), ["pubcomp id=77"]);
    assert_eq!(bench.delivered().0, [""; 0]);
}

#[test]
fn a_pubrel_repeated_while_the_application_works_is_answered_once_and_delivers_nothing() {
    let mut bench = Bench::connected(|_| {});
    bench.receive_publish("once", QoS::ExactlyOnce, 5).unwrap();
    bench.receive_ack(AckKind::Pubrel, 5);
    let (_, tokens) = bench.delivered();
    bench.reconnect(Server::HasSession);
    bench.sent();

    bench.receive_ack(AckKind::Pubrel, 5);
    assert_eq!(bench.sent(), [""; 0]);
    bench.ack(tokens[0]);

    assert_eq!(bench.sent(), ["pubcomp id=5"]);
    assert_eq!(bench.delivered().0, [""; 0]);
}

#[test]
fn an_acknowledgement_of_the_application_after_a_loss_waits_for_the_repeated_pubrel() {
    let mut bench = Bench::connected(|_| {});
    bench.receive_publish("once", QoS::ExactlyOnce, 5).unwrap();
    bench.receive_ack(AckKind::Pubrel, 5);
    let (_, tokens) = bench.delivered();
    bench.session.on_lost();
    bench.sent();

    bench.ack(tokens[0]);
    bench.connect(Server::HasSession);
    assert_eq!(bench.sent(), [""; 0]);
    bench.receive_ack(AckKind::Pubrel, 5);

    assert_eq!(bench.sent(), ["pubcomp id=5"]);
}

#[test]
fn pubacks_leave_in_the_order_of_the_messages() {
    let mut bench = Bench::connected(|_| {});
    for number in 1..=3 {
        bench.receive_publish("m", QoS::AtLeastOnce, number).unwrap();
    }
    let (_, tokens) = bench.delivered();

    bench.ack(tokens[2]);
    bench.ack(tokens[1]);
    assert_eq!(bench.sent(), [""; 0]);
    bench.ack(tokens[0]);

    assert_eq!(bench.sent(), ["puback id=1", "puback id=2", "puback id=3"]);
}

#[test]
fn a_stale_acknowledgement_acknowledges_nothing() {
    let mut bench = Bench::connected(|_| {});
    bench.receive_publish("old", QoS::AtLeastOnce, 1).unwrap();
    let (_, stale) = bench.delivered();
    bench.reconnect(Server::HasSession);
    bench.receive_publish("another message, the same identifier", QoS::AtLeastOnce, 1).unwrap();

    bench.ack(stale[0]);

    assert_eq!(bench.sent(), [""; 0]);
}

#[test]
fn a_server_that_exceeds_our_receive_maximum_breaks_the_standard() {
    let mut bench = Bench::connected(|options| options.receive_maximum = 2);
    bench.receive_publish("a", QoS::AtLeastOnce, 1).unwrap();
    bench.receive_publish("b", QoS::ExactlyOnce, 2).unwrap();
    bench.receive_publish("b again", QoS::ExactlyOnce, 2).unwrap();
    bench.receive_publish("qos 0 does not count", QoS::AtMostOnce, 0).unwrap();

    let error = bench.receive_publish("c", QoS::AtLeastOnce, 3).unwrap_err();

    assert!(matches!(error, Lost::Peer(peer) if peer.reason_code() == ReasonCode::RECEIVE_MAXIMUM_EXCEEDED));
}

#[test]
fn subscriptions_are_made_anew_only_where_the_server_has_lost_them() {
    let mut bench = Bench::connected(|_| {});
    bench.subscribe("t/#", "mine", InboxOf::Subscription);
    bench.receive_suback(1, ReasonCode::GRANTED_QOS_2);
    assert_eq!(bench.sent(), ["subscribe t/# id=1"]);

    bench.reconnect(Server::HasSession);
    assert_eq!(bench.sent(), [""; 0]);
    bench.reconnect(Server::HasNone);

    assert_eq!(bench.sent(), ["subscribe t/# id=2"]);
}

#[test]
fn a_subscribe_without_an_answer_is_asked_again() {
    let mut bench = Bench::connected(|_| {});
    bench.subscribe("t", "mine", InboxOf::Subscription);
    bench.sent();

    bench.reconnect(Server::HasNone);

    assert_eq!(bench.sent(), ["subscribe t id=2"]);
}

#[test]
fn a_message_goes_to_the_inbox_that_asked_for_it_even_before_suback() {
    let mut bench = Bench::connected(|_| {});
    bench.receive_publish("early", QoS::AtMostOnce, 0).unwrap();
    bench.subscribe("t", "mine", InboxOf::Subscription);
    bench.receive_publish("retained", QoS::AtMostOnce, 0).unwrap();
    bench.receive_suback(1, ReasonCode::NOT_AUTHORIZED);
    bench.receive_publish("late", QoS::AtMostOnce, 0).unwrap();

    let mut routes = Vec::new();
    while let Some(output) = bench.session.next_output() {
        if let Output::Deliver { route, .. } = output {
            routes.push(route);
        }
    }

    assert_eq!(routes, [Route::CatchAll, Route::To(vec![0]), Route::CatchAll]);
}

#[test]
fn subscriptions_that_share_an_inbox_get_a_message_once() {
    let mut bench = Bench::connected(|_| {});
    bench.subscribe("t", "shared", InboxOf::Client);
    bench.subscribe("#", "shared", InboxOf::Client);
    bench.subscribe("+", "mine", InboxOf::Subscription);
    bench.receive_publish("m", QoS::AtMostOnce, 0).unwrap();

    let Some(Output::Deliver { route: Route::To(numbers), .. }) = bench.session.next_output() else {
        panic!("it is delivered to subscriptions");
    };

    let inboxes: Vec<_> = numbers.iter().filter_map(|number| bench.session.inbox(*number)).collect();
    assert_eq!(inboxes, [&"shared", &"mine"]);
}

#[test]
fn a_session_that_begins_anew_has_forgotten_what_waited_for_pubrel() {
    let mut bench = Bench::connected(|_| {});
    bench.receive_publish("of the old session", QoS::ExactlyOnce, 5).unwrap();

    bench.reconnect(Server::HasNone);
    bench.receive_publish("of the new session", QoS::ExactlyOnce, 5).unwrap();
    bench.receive_ack(AckKind::Pubrel, 5);

    assert_eq!(bench.delivered().0, ["of the new session"]);
}

/// A server's half of a session, as simple as it can be: what it takes over, and what it has still to deliver.
#[derive(Default)]
struct ServerHalf {
    /// QoS 2 before PUBREL.
    stored: columba_proto::qos::Receiver<u32>,
    accepted: Vec<u32>,
}

impl ServerHalf {
    /// Takes a packet of the client, and says what it answers.
    fn on_packet(&mut self, line: &str) -> Option<(AckKind, u16)> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        let number = |word: Option<&str>| word?.strip_prefix("id=")?.parse().ok();
        match kind {
            "publish" => {
                let payload: u32 = words.next()?.parse().unwrap();
                let id_number = number(words.next())?;
                // The odd ones are of QoS 1: each arrival is a delivery. The even ones are of QoS 2.
                if payload % 2 == 1 {
                    self.accepted.push(payload);
                    return Some((AckKind::Puback, id_number));
                }
                if self.stored.on_publish(id(id_number)) == columba_proto::qos::Seen::New {
                    self.stored.store(id(id_number), payload);
                }
                Some((AckKind::Pubrec, id_number))
            }
            "pubrel" => {
                let id_number = number(words.next())?;
                self.accepted.extend(self.stored.on_pubrel(id(id_number)));
                Some((AckKind::Pubcomp, id_number))
            }
            _ => None,
        }
    }
}

/// A small generator; its seed is printed by the test that fails.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

#[test]
fn over_a_line_that_breaks_at_random_nothing_is_lost_and_qos_2_comes_once() {
    for seed in 1..=300_u64 {
        let told = break_at_random(seed);
        let of = |parity: u32| told.iter().copied().filter(move |payload| payload % 2 == parity);

        let once: Vec<u32> = of(0).collect();
        assert_eq!(once, (0..40).step_by(2).collect::<Vec<_>>(), "seed {seed}: QoS 2 once and in order");
        let mut at_least_once: Vec<u32> = of(1).collect();
        at_least_once.sort_unstable();
        at_least_once.dedup();
        assert_eq!(at_least_once, (1..40).step_by(2).collect::<Vec<_>>(), "seed {seed}: QoS 1 at least once");
    }
}

/// Publishes 40 numbered messages while packets of both directions are lost, each with its connection. Returns what the
/// server has accepted, in order.
fn break_at_random(seed: u64) -> Vec<u32> {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut server = ServerHalf::default();
    let window = u16::try_from(1 + dice.roll(8)).unwrap();
    let mut bench = Bench::connected(|options| options.inflight_max = window);
    let mut acknowledged = 0;
    let mut next = 0_u32;
    for _ in 0..20_000 {
        if acknowledged == 40 {
            break;
        }
        if next < 40 && dice.roll(3) == 0 {
            let qos = if next % 2 == 1 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            bench.publish(Box::leak(next.to_string().into_boxed_str()), qos, next);
            next += 1;
        }
        // TCP delivers a prefix of what was sent, then nothing more.
        let packets = bench.sent();
        let breaks_at = if dice.roll(4) == 0 { dice.roll(1 + packets.len()) } else { usize::MAX };
        let answers: Vec<_> = packets.iter().take(breaks_at).filter_map(|packet| server.on_packet(packet)).collect();
        let answers_lost_from = if breaks_at == usize::MAX { usize::MAX } else { dice.roll(1 + answers.len()) };
        for (kind, number) in answers.into_iter().take(answers_lost_from) {
            bench.receive_ack(kind, number);
        }
        if breaks_at != usize::MAX {
            bench.sent();
            bench.reconnect(Server::HasSession);
        }
        acknowledged += bench.published().iter().filter(|(_, result)| result.is_ok()).count();
    }
    assert_eq!(acknowledged, 40, "seed {seed}: every exchange ends");
    server.accepted
}
