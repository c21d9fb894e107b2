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

/// A group of two lasting members, Bob at QoS 1, Carol at QoS 0 and not connected; Alice's messages, which nobody else gets.
fn begin_group() -> History {
    let mut history = begin();
    history.facts.clear();
    history.vocabulary = Vocabulary::new(&["a/b"], &["$share/g/a/#"]);
    history.clients.push(ClientInfo { id: "carol".into(), ..history.clients[1].clone() });
    history.clients[1].expiry = 5;
    let at = |qos| SubscriptionInfo { qos, ..history.subscriptions[0] };
    history.subscriptions = vec![at(1), at(1), at(0)];
    connect(&mut history, ALICE, 0, false);
    connect(&mut history, BOB, 1, false);
    connect(&mut history, CAROL, 2, false);
    for (client, subscription) in [(BOB, 0), (CAROL, 1)] {
        let subscription = SubscriptionNo(subscription);
        history.add(0, Fact::SubscribeSent { client, subscription });
        history.add(0, Fact::Subscribed { client, subscription, granted: 1 });
    }
    history
}

const CAROL: ClientNo = ClientNo(2);

fn leave(history: &mut History, client: ClientNo, link: u32) {
    history.add(0, Fact::LinkLost { client, link: LinkNo(link) });
    history.add(0, Fact::BrokerLost { client, link: LinkNo(link) });
}

/// Carol asks for QoS 0, and whether it is granted she never hears.
fn ask_for_0(history: &mut History) {
    history.add(0, Fact::SubscribeSent { client: CAROL, subscription: SubscriptionNo(2) });
}

#[test]
fn what_goes_to_a_member_at_qos_0_is_lost_only_with_a_connection_of_hers() {
    let mut history = begin_group();
    publish(&mut history, 0);
    leave(&mut history, BOB, 1);
    assert_eq!(wrongs(&history), [Wrong::Lost], "both take it at QoS 1");

    ask_for_0(&mut history);
    assert_eq!(wrongs(&history), [Wrong::Lost], "what she was sent she has");

    leave(&mut history, CAROL, 2);
    assert_eq!(wrongs(&history), [], "it may have been on its way to her, at QoS 0");
}

#[test]
fn a_member_that_is_away_at_qos_0_loses_nothing() {
    let mut history = begin_group();
    history.subscriptions[1].qos = 0;
    leave(&mut history, CAROL, 2);
    publish(&mut history, 0);
    assert_eq!(wrongs(&history), [Wrong::Lost]);

    connect(&mut history, CAROL, 3, true);
    assert_eq!(wrongs(&history), [Wrong::Lost], "whether she comes back or not");

    leave(&mut history, CAROL, 3);
    assert_eq!(wrongs(&history), []);
}

/// A will of Alice for the group, whose connection has ended.
fn begin_group_will(qos: u8) -> History {
    let mut history = begin_group();
    history.messages[0].will = Some(0);
    history.messages[0].qos = qos;
    let connect = Fact::ConnectSent { client: ALICE, link: LinkNo(7), clean: false, will: Some(MessageNo(0)) };
    history.add(0, connect);
    history.add(0, Fact::Connected { client: ALICE, link: LinkNo(7), present: Some(true) });
    history
}

fn crash(history: &mut History) {
    history.add(10, Fact::Crashed);
    history.add(20, Fact::Recovered);
}

#[test]
fn each_crash_may_repeat_a_will_at_qos_0_once_and_nothing_else_may() {
    let will = |history: &mut History, client| {
        history.add(10, Fact::HandedOver { client, message: MessageNo(0), qos: 0, retain: false, dup: false });
    };
    let mut history = begin_group_will(0);
    leave(&mut history, ALICE, 7);
    will(&mut history, BOB);
    will(&mut history, CAROL);
    assert_eq!(wrongs(&history), [Wrong::Twice], "without a crash");

    let mut history = begin_group_will(0);
    leave(&mut history, ALICE, 7);
    will(&mut history, BOB);
    crash(&mut history);
    will(&mut history, CAROL);
    assert_eq!(wrongs(&history), [], "once for one crash");
    will(&mut history, CAROL);
    assert_eq!(wrongs(&history), [Wrong::Twice], "and not twice");
}

#[test]
fn a_will_published_before_a_crash_may_be_taken_back_only_where_its_record_was_not_on_disk() {
    let mut history = begin();
    history.messages[0].will = Some(0);
    history.messages[0].qos = 1;
    let connect_with_will = Fact::ConnectSent { client: ALICE, link: LinkNo(7), clean: false, will: Some(MessageNo(0)) };
    history.add(0, connect_with_will);
    history.add(0, Fact::Connected { client: ALICE, link: LinkNo(7), present: Some(true) });
    history.add(0, Fact::BrokerLost { client: ALICE, link: LinkNo(7) });
    let mut on_disk = history.clone();
    let come_back = |history: &mut History| {
        crash(history);
        connect(history, ALICE, 8, true);
        connect(history, BOB, 9, true);
    };

    history.add(9_000, Fact::Written { commit: 5 });
    come_back(&mut history);
    assert_eq!(wrongs(&history), [], "written, but perhaps lost with the crash");

    on_disk.add(9_000, Fact::Written { commit: 5 });
    on_disk.add(9_500, Fact::Synced { commit: 5 });
    come_back(&mut on_disk);
    assert_eq!(wrongs(&on_disk), [Wrong::Lost]);
}
