//! The judge on small histories written by hand.

use super::{history::*, topics::*, *};

const ALICE: ClientNo = ClientNo(0);
const BOB: ClientNo = ClientNo(1);

/// Alice publishes, Bob subscribes "a/#" at QoS 2 in a persistent session; four messages at QoS 2 on "a/b".
fn begin() -> History {
    let client = |id: &str| ClientInfo { id: id.into(), expiry: u32::MAX, hears_session_present: true, small_only: false };
    let message = |sequence| MessageInfo {
        publisher: ALICE,
        sequence,
        topic: TopicNo(0),
        qos: 2,
        retain: false,
        empty: false,
        expires: false,
        large: false,
        will: None,
    };
    let mut history = History {
        vocabulary: Vocabulary::new(&["a/b"], &["a/#"]),
        clients: vec![client("alice"), client("bob")],
        messages: (0..4).map(message).collect(),
        subscriptions: vec![SubscriptionInfo {
            filter: FilterNo(0),
            qos: 2,
            no_local: false,
            retain_as_published: false,
            retained: Retained::Always,
        }],
        facts: Vec::new(),
        notes: Vec::new(),
    };
    connect(&mut history, ALICE, 0, false);
    connect(&mut history, BOB, 1, false);
    history.add(0, Fact::SubscribeSent { client: BOB, subscription: SubscriptionNo(0) });
    history.add(0, Fact::Subscribed { client: BOB, subscription: SubscriptionNo(0), granted: 2 });
    history
}

fn connect(history: &mut History, client: ClientNo, link: u32, present: bool) {
    history.add(0, Fact::ConnectSent { client, link: LinkNo(link), clean: false, will: None });
    history.add(0, Fact::Connected { client, link: LinkNo(link), present: Some(present) });
}

fn publish(history: &mut History, message: u32) {
    history.add(0, Fact::PublishSent { message: MessageNo(message) });
    history.add(0, Fact::Acknowledged { message: MessageNo(message) });
}

fn deliver(history: &mut History, message: u32) {
    history.add(0, Fact::HandedOver { client: BOB, message: MessageNo(message), qos: 2, retain: false, dup: false });
}

fn wrongs(history: &History) -> Vec<Wrong> {
    judge(history).into_iter().map(|violation| violation.wrong).collect()
}

#[test]
fn a_good_history_is_good() {
    let mut history = begin();
    for message in 0..3 {
        publish(&mut history, message);
        deliver(&mut history, message);
    }

    assert_eq!(wrongs(&history), []);
}

#[test]
fn an_acknowledged_message_that_never_comes_is_lost() {
    let mut history = begin();
    publish(&mut history, 0);
    publish(&mut history, 1);
    deliver(&mut history, 1);

    assert_eq!(wrongs(&history), [Wrong::Lost]);
}

#[test]
fn an_unacknowledged_message_may_come_or_not() {
    let mut history = begin();
    history.add(0, Fact::PublishSent { message: MessageNo(0) });
    history.add(0, Fact::PublishSent { message: MessageNo(1) });
    deliver(&mut history, 1);

    assert_eq!(wrongs(&history), []);
}

#[test]
fn twice_is_once_too_often() {
    let mut history = begin();
    publish(&mut history, 0);
    deliver(&mut history, 0);
    deliver(&mut history, 0);

    assert_eq!(wrongs(&history), [Wrong::Twice]);
}

#[test]
fn the_order_of_a_publisher_is_kept() {
    let mut history = begin();
    publish(&mut history, 0);
    publish(&mut history, 1);
    deliver(&mut history, 1);
    deliver(&mut history, 0);

    assert_eq!(wrongs(&history), [Wrong::OutOfOrder]);
}

#[test]
fn a_promised_session_is_not_forgotten() {
    let mut history = begin();
    history.add(0, Fact::LinkLost { client: BOB, link: LinkNo(1) });
    history.add(0, Fact::Crashed);
    history.add(0, Fact::Recovered);
    connect(&mut history, BOB, 2, false);

    assert_eq!(wrongs(&history), [Wrong::SessionForgotten]);
}

#[test]
fn what_was_not_asked_for_must_not_come() {
    let mut history = begin();
    history.add(0, Fact::UnsubscribeSent { client: BOB, filter: FilterNo(0) });
    history.add(0, Fact::Unsubscribed { client: BOB, filter: FilterNo(0) });
    publish(&mut history, 0);
    deliver(&mut history, 0);

    assert_eq!(wrongs(&history), [Wrong::NotAskedFor]);
}

#[test]
fn a_new_subscription_gets_the_last_retained_message_and_no_older_one() {
    let mut history = begin();
    for message in 0..2 {
        history.messages[message].retain = true;
    }
    history.facts.truncate(4);
    publish(&mut history, 0);
    publish(&mut history, 1);
    history.add(0, Fact::SubscribeSent { client: BOB, subscription: SubscriptionNo(0) });
    history.add(0, Fact::Subscribed { client: BOB, subscription: SubscriptionNo(0), granted: 2 });
    assert_eq!(wrongs(&history), [Wrong::RetainedLost]);

    history.add(0, Fact::HandedOver { client: BOB, message: MessageNo(1), qos: 2, retain: true, dup: false });
    assert_eq!(wrongs(&history), []);

    history.add(0, Fact::HandedOver { client: BOB, message: MessageNo(0), qos: 2, retain: true, dup: false });
    assert_eq!(wrongs(&history), [Wrong::StaleRetained]);
}

#[test]
fn a_will_comes_after_a_lost_connection_and_not_after_disconnect() {
    let mut history = begin();
    history.messages[0].will = Some(0);
    history.facts.truncate(0);
    connect(&mut history, BOB, 1, false);
    history.add(0, Fact::SubscribeSent { client: BOB, subscription: SubscriptionNo(0) });
    history.add(0, Fact::Subscribed { client: BOB, subscription: SubscriptionNo(0), granted: 2 });
    history.add(0, Fact::ConnectSent { client: ALICE, link: LinkNo(0), clean: false, will: Some(MessageNo(0)) });
    history.add(0, Fact::Connected { client: ALICE, link: LinkNo(0), present: Some(false) });
    let open = history.clone();

    history.add(0, Fact::BrokerLost { client: ALICE, link: LinkNo(0) });
    assert_eq!(wrongs(&history), [Wrong::Lost]);

    let mut history = open;
    history.add(0, Fact::DisconnectSent { client: ALICE, link: LinkNo(0), keeps_will: false, ends_session: false });
    history.add(0, Fact::DisconnectRead { client: ALICE, link: LinkNo(0) });
    assert_eq!(wrongs(&history), []);
    deliver(&mut history, 0);
    assert_eq!(wrongs(&history), [Wrong::WillAfterDisconnect]);
}
