//! The whole behaviour of Sender and Receiver, printed: every state with every packet. Review this before any code.

use std::fmt::Write as _;
use std::string::String;

use super::{Receiver, Seen, Sender, Sending};
use crate::packet::AckKind;
use crate::packet_id::PacketId;
use crate::reason::ReasonCode;

const ID: PacketId = PacketId::FIRST;

#[test]
fn every_state_answers_every_packet_as_the_table_says() {
    let mut table = String::new();
    sender_table(&mut table);
    table.push('\n');
    receiver_table(&mut table);

    insta::assert_snapshot!(table);
}

fn sender_table(table: &mut String) {
    use Sending::*;
    const WINDOW: u16 = 10;
    const NO_ROOM: u16 = 0;
    writeln!(table, "SENDER").unwrap();
    for (state, window) in [
        (None, WINDOW),
        (Some(AwaitPuback("message")), WINDOW),
        (Some(AwaitPubrec("message")), WINDOW),
        (Some(AwaitPubcomp), WINDOW),
        (Some(AwaitPuback("message")), NO_ROOM),
        (Some(AwaitPubrec("message")), NO_ROOM),
        (Some(AwaitPubcomp), NO_ROOM),
    ] {
        for kind in AckKind::ALL {
            for reason in [ReasonCode::SUCCESS, ReasonCode::UNSPECIFIED_ERROR] {
                let mut sender = Sender::new(window);
                if let Some(state) = state {
                    sender.restore(ID, state);
                }
                let unsent = if sender.resume().count() == sender.len() { "" } else { ", unsent" };
                let answer = sender.on_ack(kind, ID, reason);
                let before = std::format!("{}{unsent}", name(state.as_ref()));
                let after = name(sender.get(ID));
                let failure = if reason.is_failure() { " 0x80" } else { "" };
                let packet = std::format!("{kind:?}{failure}");
                writeln!(table, "{before:30} + {packet:12} => {after:22} {answer:?}").unwrap();
            }
        }
    }
}

fn name(state: Option<&Sending<&str>>) -> String {
    state.map_or_else(|| "unknown".into(), |state| std::format!("{state:?}"))
}

fn receiver_table(table: &mut String) {
    writeln!(table, "RECEIVER").unwrap();
    for stored in [None, Some("message")] {
        let receiver = || {
            let mut receiver = Receiver::new();
            if let Some(message) = stored {
                receiver.store(ID, message);
            }
            receiver
        };
        let name = |receiver: &Receiver<&str>| {
            receiver.get(ID).map_or_else(|| "unknown".into(), |message| std::format!("AwaitPubrel({message:?})"))
        };

        let mut publish = receiver();
        let seen = publish.on_publish(ID);
        if seen == Seen::New {
            publish.store(ID, "message");
        }
        writeln!(table, "{:22} + Publish => {:22} {seen:?}", name(&receiver()), name(&publish)).unwrap();

        let mut pubrel = receiver();
        let handed_on = pubrel.on_pubrel(ID);
        writeln!(table, "{:22} + Pubrel  => {:22} {handed_on:?}", name(&receiver()), name(&pubrel)).unwrap();
    }
}
