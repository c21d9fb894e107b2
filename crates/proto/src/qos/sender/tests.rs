use alloc::vec::Vec;

use super::*;

const OK: ReasonCode = ReasonCode::SUCCESS;

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn ids<'a, M: 'a>(exchanges: impl Iterator<Item = (PacketId, &'a Sending<M>)>) -> Vec<u16> {
    exchanges.map(|(id, _)| id.get()).collect()
}

#[test]
fn after_pubrec_there_is_no_message_left_to_resend() {
    let mut sender = Sender::new(10);
    let gate = sender.begin(QoS::ExactlyOnce, "open the gate");

    assert_eq!(sender.on_ack(AckKind::Pubrec, gate, OK), Ok(Acked::Released("open the gate")));

    let again: Vec<_> = sender.resume().collect();
    assert_eq!(again, [(gate, &Sending::AwaitPubcomp)]);
}

#[test]
fn a_qos_1_exchange_ends_with_puback() {
    let mut sender = Sender::new(10);
    let id = sender.begin(QoS::AtLeastOnce, "hello");

    let acked = sender.on_ack(AckKind::Puback, id, OK);

    assert_eq!(acked, Ok(Acked::Finished { message: Some("hello"), outcome: Outcome::Delivered }));
    assert!(sender.is_empty());
    assert_eq!(sender.on_ack(AckKind::Puback, id, OK), Err(AckError::Unknown { kind: AckKind::Puback, id }));
}

#[test]
fn a_refused_pubrec_ends_the_exchange_without_pubrel() {
    let mut sender = Sender::new(10);
    let id = sender.begin(QoS::ExactlyOnce, "too much");

    let acked = sender.on_ack(AckKind::Pubrec, id, ReasonCode::QUOTA_EXCEEDED);

    let outcome = Outcome::Refused(ReasonCode::QUOTA_EXCEEDED);
    assert_eq!(acked, Ok(Acked::Finished { message: Some("too much"), outcome }));
    assert!(sender.is_empty());
}

#[test]
fn a_wrong_acknowledgement_changes_nothing() {
    let mut sender = Sender::new(10);
    let id = sender.begin(QoS::ExactlyOnce, "mine");

    assert_eq!(sender.on_ack(AckKind::Puback, id, OK), Err(AckError::Wrong { kind: AckKind::Puback, id }));

    assert_eq!(sender.get(id), Some(&Sending::AwaitPubrec("mine")));
}

#[test]
fn pubcomp_frees_the_quota_and_pubrec_does_not() {
    let mut sender = Sender::new(1);
    let id = sender.begin(QoS::ExactlyOnce, ());

    let _released = sender.on_ack(AckKind::Pubrec, id, OK).unwrap();
    assert!(!sender.has_room());

    let _finished = sender.on_ack(AckKind::Pubcomp, id, OK).unwrap();
    assert!(sender.has_room());
}

#[test]
fn an_identifier_in_use_is_never_handed_out_again() {
    let mut sender = Sender::new(u16::MAX);
    let slow = sender.begin(QoS::ExactlyOnce, ());

    for _ in 0..200_000 {
        let id = sender.begin(QoS::AtLeastOnce, ());
        assert_ne!(id, slow);
        let _finished = sender.on_ack(AckKind::Puback, id, OK).unwrap();
    }
}

#[test]
fn requests_and_publications_share_the_identifiers() {
    let mut sender = Sender::new(10);
    sender.restore(id(2), Sending::AwaitPuback(()));
    assert_eq!(ids(sender.resume()), [2]);

    let subscribe = sender.begin_request().unwrap();
    let publish = sender.begin(QoS::AtLeastOnce, ());

    assert_eq!((subscribe, publish), (id(3), id(4)));
    assert!(sender.end_request(subscribe));
    assert!(!sender.end_request(subscribe));
}

#[test]
fn identifiers_go_on_behind_those_that_come_from_the_store() {
    let mut sender = Sender::new(10);
    for stored in [65_534, 65_535] {
        sender.restore(id(stored), Sending::AwaitPuback(()));
    }
    sender.remove(id(65_535));
    assert_eq!(ids(sender.resume()), [65_534]);

    assert_eq!(sender.begin(QoS::AtLeastOnce, ()), id(1));
}

#[test]
fn when_every_identifier_is_taken_there_is_no_room() {
    let mut sender = Sender::new(u16::MAX);
    let request = sender.begin_request().unwrap();

    for _ in 1..u16::MAX {
        sender.begin(QoS::AtLeastOnce, ());
    }

    assert!(!sender.has_room());
    assert_eq!(sender.begin_request(), None);
    assert!(sender.end_request(request));
    assert_eq!(sender.begin(QoS::AtLeastOnce, ()), request);
}

#[test]
fn a_session_read_from_the_store_is_sent_again_in_its_order() {
    let mut sender = Sender::new(10);
    sender.restore(id(9), Sending::AwaitPuback("a"));
    sender.restore(id(65_535), Sending::AwaitPubcomp);
    sender.restore(id(1), Sending::AwaitPubrec("b"));

    assert_eq!(ids(sender.resume()), [9, 65_535, 1]);
    assert_eq!(sender.begin(QoS::AtLeastOnce, "c"), id(2));
}

#[test]
fn what_is_sent_again_by_and_by_goes_in_its_order_and_pubrels_at_once() {
    let mut sender = Sender::new(10);
    for (number, state) in [(1, Sending::AwaitPuback(())), (2, Sending::AwaitPubcomp), (3, Sending::AwaitPubrec(()))] {
        sender.restore(id(number), state);
    }

    assert_eq!(ids(sender.resume_at_most(0)), [2]);
    assert_eq!(ids(sender.on_the_wire()), [2]);
    assert!(!sender.has_room());
    assert_eq!(sender.resume_next().map(|(packet_id, _)| packet_id), Some(id(1)));
    assert_eq!(sender.resume_next().map(|(packet_id, _)| packet_id), Some(id(3)));

    assert_eq!(sender.resume_next(), None);
    assert!(sender.has_room());
}

#[test]
fn a_smaller_window_holds_publishes_back_and_never_pubrels() {
    let mut sender = Sender::new(10);
    for (number, state) in
        [(1, Sending::AwaitPuback(())), (2, Sending::AwaitPuback(())), (3, Sending::AwaitPubcomp), (4, Sending::AwaitPubrec(()))]
    {
        sender.restore(id(number), state);
    }
    sender.set_window(2);

    assert_eq!(ids(sender.resume()), [1, 3]);
    assert!(!sender.has_room());
    assert_eq!(sender.resume_next(), None);
    assert_eq!(sender.on_ack(AckKind::Puback, id(2), OK), Err(AckError::NotSent { kind: AckKind::Puback, id: id(2) }));

    let _finished = sender.on_ack(AckKind::Puback, id(1), OK).unwrap();
    assert_eq!(sender.resume_next(), Some((id(2), &Sending::AwaitPuback(()))));
    assert_eq!(sender.resume_next(), None);
}

#[test]
fn an_idle_sender_is_small() {
    assert!(size_of::<Sender<u64>>() <= 64);
}

#[test]
fn what_is_given_up_is_not_sent_again_and_keeps_its_place() {
    let mut sender = Sender::new(10);
    for (qos, message) in [(QoS::ExactlyOnce, "one"), (QoS::AtLeastOnce, "two"), (QoS::AtLeastOnce, "three")] {
        sender.begin(qos, message);
    }

    assert_eq!(sender.give_up(id(1)), Some("one"));
    assert_eq!(sender.give_up(id(1)), None);
    assert_eq!(sender.give_up(id(2)), Some("two"));

    let again: Vec<_> = sender.resume().collect();
    assert_eq!(again, [(id(1), &Sending::AwaitPubcomp), (id(3), &Sending::AwaitPuback("three"))]);
}

#[test]
fn exchanges_are_found_wherever_they_stand() {
    let mut sender = Sender::new(100);
    sender.ids.go_on_behind(id(u16::MAX - 3));
    let begun: Vec<PacketId> = (0..8).map(|number| sender.begin(QoS::AtLeastOnce, number)).collect();
    assert_eq!(begun.iter().map(|id| id.get()).collect::<Vec<_>>(), [65_533, 65_534, 65_535, 1, 2, 3, 4, 5]);
    let gone = [1, 4];
    for at in gone {
        assert!(sender.remove(begun[at]).is_some());
    }

    for (at, id) in begun.into_iter().enumerate() {
        let found = sender.get(id).and_then(Sending::message).copied();
        assert_eq!(found, (!gone.contains(&at)).then_some(at));
    }
    assert_eq!(sender.get(id(6)), None);
}
