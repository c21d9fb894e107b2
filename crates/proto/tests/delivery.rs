//! Sender and Receiver against each other over a connection that breaks whenever it likes: QoS 1 arrives at least once,
//! QoS 2 exactly once, both in order, and the window is never exceeded.

use std::collections::VecDeque;

use columba_proto::qos::{AckError, Acked, Receiver, Seen, Sender, Sending};
use columba_proto::{AckKind, PacketId, QoS, ReasonCode};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

type Message = u32;

#[derive(Clone, Copy, Debug)]
enum Step {
    Publish(bool),
    /// The receiver reads one packet.
    Forward,
    /// The sender reads one packet.
    Back,
    /// The connection breaks, all that was on the way is lost, and the session is resumed with this window.
    Cut(u16),
}

#[derive(Clone, Copy, Debug)]
enum Packet {
    Publish { id: PacketId, qos: QoS, message: Message },
    Ack(AckKind, PacketId),
}

struct World {
    sender: Sender<Message>,
    window: usize,
    receiver: Receiver<Message>,
    there: VecDeque<Packet>,
    back: VecDeque<Packet>,
    published: Vec<(QoS, Message)>,
    delivered: Vec<(QoS, Message)>,
}

impl World {
    fn new() -> Self {
        Self {
            sender: Sender::new(3),
            window: 3,
            receiver: Receiver::new(),
            there: VecDeque::new(),
            back: VecDeque::new(),
            published: Vec::new(),
            delivered: Vec::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish(exactly_once) => {
                if self.sender.has_room() {
                    let qos = if exactly_once { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
                    let message = u32::try_from(self.published.len()).expect("few");
                    self.published.push((qos, message));
                    let id = self.sender.begin(qos, message);
                    self.there.push_back(Packet::Publish { id, qos, message });
                }
            }
            Step::Forward => {
                if let Some(packet) = self.there.pop_front() {
                    self.receive(packet);
                }
            }
            Step::Back => {
                if let Some(packet) = self.back.pop_front() {
                    self.answer(packet);
                }
            }
            Step::Cut(window) => self.reconnect(window),
        }
        self.check_window();
    }

    fn receive(&mut self, packet: Packet) {
        let answer = match packet {
            Packet::Publish { id, qos: QoS::ExactlyOnce, message } => {
                if self.receiver.on_publish(id) == Seen::New {
                    assert_eq!(self.receiver.store(id, message), None);
                }
                Packet::Ack(AckKind::Pubrec, id)
            }
            Packet::Publish { id, qos, message } => {
                self.delivered.push((qos, message));
                Packet::Ack(AckKind::Puback, id)
            }
            Packet::Ack(AckKind::Pubrel, id) => {
                if let Some(message) = self.receiver.on_pubrel(id) {
                    self.delivered.push((QoS::ExactlyOnce, message));
                }
                Packet::Ack(AckKind::Pubcomp, id)
            }
            Packet::Ack(kind, _) => panic!("{kind:?} is not for the receiver"),
        };
        self.back.push_back(answer);
    }

    fn answer(&mut self, packet: Packet) {
        let Packet::Ack(kind, id) = packet else {
            panic!("{packet:?} is not for the sender");
        };
        match self.sender.on_ack(kind, id, ReasonCode::SUCCESS) {
            Ok(Acked::Released(_) | Acked::ReleasedAgain) => self.there.push_back(Packet::Ack(AckKind::Pubrel, id)),
            Ok(Acked::Finished { .. }) => {
                if let Some((id, sending)) = self.sender.resume_next() {
                    self.there.push_back(again(id, *sending));
                }
            }
            Err(error @ (AckError::Unknown { .. } | AckError::NotSent { .. } | AckError::Wrong { .. })) => {
                panic!("nothing but lost packets should happen here: {error}")
            }
        }
    }

    fn reconnect(&mut self, window: u16) {
        self.window = usize::from(window);
        self.back.clear();
        self.there.clear();
        self.sender.set_window(window);
        self.there.extend(self.sender.resume().map(|(id, sending)| again(id, *sending)));
    }

    /// [MQTT-3.3.4-9]: counted as the receiver counts, by what it has not answered to the end.
    fn check_window(&self) {
        let unanswered = self.sender.on_the_wire().filter(|(_, sending)| sending.message().is_some()).count();
        assert!(unanswered <= self.window, "{unanswered} publications within a window of {}", self.window);
    }

    fn settle(&mut self) {
        self.reconnect(2);
        while !(self.there.is_empty() && self.back.is_empty()) {
            self.step(Step::Forward);
            self.step(Step::Back);
        }
    }

    fn first_arrivals(&self, qos: QoS) -> Vec<Message> {
        let mut seen = Vec::new();
        for (delivered, message) in &self.delivered {
            if *delivered == qos && !seen.contains(message) {
                seen.push(*message);
            }
        }
        seen
    }
}

fn again(id: PacketId, sending: Sending<Message>) -> Packet {
    match sending {
        Sending::AwaitPuback(message) => Packet::Publish { id, qos: QoS::AtLeastOnce, message },
        Sending::AwaitPubrec(message) => Packet::Publish { id, qos: QoS::ExactlyOnce, message },
        Sending::AwaitPubcomp => Packet::Ack(AckKind::Pubrel, id),
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(Step::Publish),
        6 => Just(Step::Forward),
        6 => Just(Step::Back),
        1 => (1_u16..6).prop_map(Step::Cut),
    ]
}

fn config() -> ProptestConfig {
    let beside = FileFailurePersistence::Direct("tests/proptest-regressions/delivery.txt");
    ProptestConfig { cases: 2_000, failure_persistence: Some(Box::new(beside)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_breaks_nothing_is_lost_and_qos_2_is_never_repeated(
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();

        prop_assert!(world.sender.is_empty() && world.receiver.is_empty());
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let published: Vec<Message> =
                world.published.iter().filter(|(sent, _)| *sent == qos).map(|(_, message)| *message).collect();
            prop_assert_eq!(world.first_arrivals(qos), published);
        }
        let exactly_once = world.delivered.iter().filter(|(qos, _)| *qos == QoS::ExactlyOnce).count();
        prop_assert_eq!(exactly_once, world.first_arrivals(QoS::ExactlyOnce).len());
    }
}
