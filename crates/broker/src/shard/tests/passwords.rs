//! User name and password in CONNECT (§3.1.3.5, §3.1.3.6): asked of the world, and nothing moves before it has answered.

use alloc::{sync::Arc, vec, vec::Vec};

use columba_proto::{
    QoS, Version,
    packet::{ConnectProperties, Packet},
    scram::{Keys, Secret},
};

use super::bench::{Bench, Client, Setup, message, will};
use crate::{
    Config,
    access::{Acl, Action, Actions, Effect, Pattern, Placeholders, Rule, Who},
    auth::{Answer, Door, Known, Login, Passwords, Question, Strangers, UserVersion, Users, Way},
    id::ConnectionId,
    seam::Output,
    stats::LoginOutcome,
};

const FIRST: UserVersion = UserVersion(1);
const NOTHING: Vec<&str> = Vec::new();

/// There is "eve", whose version another one may change.
#[derive(Debug)]
struct Eve(core::sync::atomic::AtomicU64);

impl Eve {
    fn becomes(&self, version: u64) {
        self.0.store(version, core::sync::atomic::Ordering::Relaxed);
    }
}

impl Users for Eve {
    fn scram_keys(&self, _: &str) -> Option<Keys> {
        None
    }

    fn version(&self, user: &str) -> Option<UserVersion> {
        let version = self.0.load(core::sync::atomic::Ordering::Relaxed);
        (user == "eve" && version > 0).then_some(UserVersion(version))
    }

    /// "mallory" has guessed too often.
    fn may_try(&self, _: &str, user: &str) -> bool {
        user != "mallory"
    }
}

fn bench_with(strangers: Strangers) -> (Bench, Arc<Eve>) {
    let eve = Arc::new(Eve(1.into()));
    let login = Login::new(Arc::clone(&eve) as Arc<dyn Users>, Secret::new([3; 32]), strangers);
    (Bench::with(Config { login: Some(login), ..Config::default() }), eve)
}

fn bench() -> Bench {
    bench_with(Strangers::Refused).0
}

fn as_eve(version: Version) -> Setup<'static> {
    Setup { version, username: Some("eve"), password: Some(b"pencil"), ..Setup::default() }
}

/// The world's yes.
fn right() -> Answer {
    Answer::Right(Known::user("eve", Way::Password, Some(FIRST)))
}

/// What the world was asked.
fn asked(bench: &mut Bench) -> Vec<(ConnectionId, Question)> {
    let outputs = bench.outputs().into_iter();
    #[expect(clippy::wildcard_enum_match_arm, reason = "only questions are looked for")]
    let questions = outputs.filter_map(|output| match output {
        Output::Ask { connection, question } => Some((connection, question)),
        _ => None,
    });
    questions.collect()
}

fn answer(bench: &mut Bench, client: Client, answer: Answer) {
    bench.act(|shard, cx| shard.answered(cx, client.id, answer));
}

fn logged_in(bench: &mut Bench, client_id: &str, setup: &Setup<'_>) -> Client {
    let client = bench.open(client_id, setup);
    answer(bench, client, right());
    assert_eq!(bench.told(client), ["connack new"]);
    client
}

#[test]
fn the_world_is_asked_about_a_password_and_the_client_waits() {
    for version in Version::ALL {
        let mut bench = bench();

        let client = bench.open("c", &as_eve(version));

        let question = Question {
            user: "eve".into(),
            password: (*b"pencil").into(),
            peer: "table".into(),
            client_id: "c".into(),
            listener: 0,
        };
        assert_eq!(asked(&mut bench), [(client.id, question)]);
        assert_eq!(bench.told(client), NOTHING, "{version:?}");
        assert!(!bench.shard.wants_reading(client.id), "what it says now would have to be kept");

        answer(&mut bench, client, right());
        assert_eq!(bench.told(client), ["connack new"], "{version:?}");
        assert!(bench.shard.wants_reading(client.id));
        assert!(bench.events.iter().any(|event| event.contains("user: Some(\"eve\")")), "{:?}", bench.events);
    }
}

#[test]
fn one_user_has_so_many_connections_and_takes_its_own_place() {
    let login = Login::new(Arc::new(Eve(1.into())), Secret::new([3; 32]), Strangers::Refused);
    let mut bench = Bench::with(Config { login: Some(login), connections_per_user: Some(2), ..Config::default() });
    let one = logged_in(&mut bench, "one", &as_eve(Version::V5));
    logged_in(&mut bench, "two", &as_eve(Version::V311));

    for (version, refused) in [(Version::V5, "connack 0x97"), (Version::V311, "connack 0x88")] {
        let three = bench.open("three", &as_eve(version));
        answer(&mut bench, three, right());
        assert_eq!(bench.told(three), [refused]);
    }
    // It takes over its own connection.
    logged_in(&mut bench, "two", &as_eve(Version::V5));
    let other = bench.open("three", &as_eve(Version::V5));
    answer(&mut bench, other, Answer::Right(Known::user("adam", Way::Password, None)));
    assert_eq!(bench.told(other), ["connack new"], "another user");
    bench.disconnect(one);
    logged_in(&mut bench, "four", &as_eve(Version::V5));
}

#[test]
fn a_wrong_password_is_refused_in_the_words_of_each_version() {
    for (version, given, expected) in [
        (Version::V31, Answer::Wrong(Way::Password, "guessed"), "connack 0x86"),
        (Version::V311, Answer::Wrong(Way::Password, "guessed"), "connack 0x86"),
        (Version::V5, Answer::Wrong(Way::Password, "guessed"), "connack 0x86"),
        (Version::V311, Answer::Unjudged, "connack 0x88"),
        (Version::V5, Answer::Unjudged, "connack 0x89"),
        (Version::V311, Answer::Unreachable, "connack 0x88"),
        (Version::V5, Answer::Unreachable, "connack 0x88"),
    ] {
        let mut bench = bench();
        let client = bench.open("c", &as_eve(version));

        answer(&mut bench, client, given.clone());

        assert_eq!(bench.told(client), [expected], "{version:?} {given:?}");
        assert!(!bench.shard.wants_reading(client.id), "closed");
        assert_eq!(bench.shard.sessions(), 0);
        let told = bench.events.iter().any(|event| event.contains("LoginFailed") && event.contains("user: \"eve\""));
        assert_eq!(told, matches!(given, Answer::Wrong(..)), "{:?}", bench.events);
    }
}

#[test]
fn a_name_without_a_password_is_nobodys() {
    let mut bench = bench();

    let client = bench.open("c", &Setup { password: None, ..as_eve(Version::V5) });

    assert_eq!(bench.told(client), ["connack 0x86"]);
    assert_eq!(asked(&mut bench), []);
}

#[test]
fn nobody_is_asked_about_who_has_guessed_too_often() {
    let mut bench = bench();

    let client = bench.open("c", &Setup { username: Some("mallory"), ..as_eve(Version::V5) });

    assert_eq!(bench.told(client), ["connack 0x89"]);
    assert_eq!(asked(&mut bench), []);
}

#[test]
fn strangers_may_come_without_a_name_only_where_that_is_wanted() {
    for (strangers, expected) in [(Strangers::Welcome, "connack new"), (Strangers::Refused, "connack 0x87")] {
        let (mut bench, _) = bench_with(strangers);

        let client = bench.open("c", &Setup::default());
        assert_eq!(bench.told(client), [expected]);

        let client = bench.open("d", &as_eve(Version::V311));
        answer(&mut bench, client, Answer::Wrong(Way::Password, "guessed"));
        assert_eq!(bench.told(client), ["connack 0x86"], "who gives a name has to be it, whoever else may come in");
    }
}

#[test]
fn what_comes_before_the_answer_is_heard_after_it_in_order() {
    let mut bench = bench();
    let client = bench.open("c", &as_eve(Version::V311));

    bench.ask(client, "t", QoS::AtLeastOnce);
    bench.publish(client, "t", QoS::AtLeastOnce, 1, "early");
    assert_eq!(bench.told(client), NOTHING);
    answer(&mut bench, client, right());

    assert_eq!(bench.told(client), ["connack new", "suback 1", "publish q1 id1 t early", "puback 1"]);
}

#[test]
fn who_is_refused_is_not_heard_with_what_came_behind() {
    let mut bench = bench();
    let listener = logged_in(&mut bench, "listener", &as_eve(Version::V311));
    bench.subscribe(listener, "#", QoS::AtMostOnce);
    let client = bench.open("c", &as_eve(Version::V311));
    bench.publish(client, "t", QoS::AtMostOnce, 0, "not for you");

    answer(&mut bench, client, Answer::Wrong(Way::Password, "guessed"));

    assert_eq!(bench.told(client), ["connack 0x86"]);
    assert_eq!(bench.told(listener), NOTHING);
}

#[test]
fn nobody_is_taken_over_before_the_password_is_right() {
    let mut bench = bench();
    let old = logged_in(&mut bench, "c", &as_eve(Version::V5));

    let thief = bench.open("c", &as_eve(Version::V5));
    assert_eq!(bench.told(old), NOTHING);
    answer(&mut bench, thief, Answer::Wrong(Way::Password, "guessed"));
    assert_eq!(bench.told(old), NOTHING);
    bench.subscribe(old, "still/here", QoS::AtMostOnce);

    let new = bench.open("c", &as_eve(Version::V5));
    answer(&mut bench, new, right());
    assert_eq!(bench.told(old), ["disconnect 0x8e"]);
}

#[test]
fn two_with_one_name_are_let_in_in_the_order_of_their_answers() {
    let mut bench = bench();
    let first = bench.open("c", &as_eve(Version::V5));
    let second = bench.open("c", &as_eve(Version::V5));

    answer(&mut bench, second, right());
    answer(&mut bench, first, right());

    assert_eq!(bench.told(second), ["connack new", "disconnect 0x8e"]);
    assert_eq!(bench.told(first), ["connack new"]);
}

#[test]
fn an_answer_for_somebody_who_has_gone_changes_nothing() {
    let mut bench = bench();
    let gone = bench.open("c", &Setup { will: Some(will("w", 0)), ..as_eve(Version::V311) });
    bench.cut_off(gone);

    answer(&mut bench, gone, right());
    assert_eq!(bench.shard.sessions(), 0);

    // The slot is somebody else's now, who waits for another answer.
    let next = bench.open("d", &as_eve(Version::V311));
    answer(&mut bench, gone, right());
    assert_eq!(bench.told(next), NOTHING);
    answer(&mut bench, next, right());
    answer(&mut bench, next, Answer::Wrong(Way::Password, "guessed"));
    assert_eq!(bench.told(next), ["connack new"], "there is one answer");
}

#[test]
fn an_answer_has_no_more_time_than_connect() {
    let mut bench = bench();
    let client = bench.open("c", &as_eve(Version::V5));

    bench.pass(Config::default().connect_wait_ms);

    assert_eq!(bench.told(client), ["connack 0x89"]);
    answer(&mut bench, client, right());
    assert_eq!(bench.shard.sessions(), 0, "too late");
}

#[test]
fn a_stop_does_not_wait_for_answers() {
    let mut bench = bench();
    let client = bench.open("c", &as_eve(Version::V5));

    bench.act(crate::Shard::shutdown);
    assert_eq!(bench.told(client), ["connack 0x88"]);

    answer(&mut bench, client, right());
    assert_eq!(bench.shard.sessions(), 0);
}

#[test]
fn a_method_goes_before_a_password() {
    let mut bench = bench();
    let properties = ConnectProperties { authentication_method: Some("none such"), ..ConnectProperties::default() };

    let client = bench.open("c", &Setup { properties, ..as_eve(Version::V5) });

    assert_eq!(asked(&mut bench), []);
    assert_eq!(bench.told(client), ["connack 0x8c"]);
}

#[test]
fn who_has_gone_or_has_another_password_is_sent_away_and_nobody_else() {
    let (mut bench, eve) = bench_with(Strangers::Welcome);
    let stranger = bench.connect("s", &Setup { version: Version::V5, ..Setup::default() }).0;
    for (version, kept) in [(1, true), (2, false), (0, false)] {
        eve.becomes(1);
        let client = logged_in(&mut bench, "c", &as_eve(Version::V5));

        eve.becomes(version);
        bench.act(crate::Shard::users_changed);

        let expected = if kept { vec![] } else { vec!["disconnect 0x87"] };
        assert_eq!(bench.told(client), expected, "version {version}");
        if kept {
            bench.say(client, &Packet::Publish(message("t", QoS::AtMostOnce, 0, "on")));
            bench.disconnect(client);
        }
    }
    assert_eq!(bench.told(stranger), NOTHING);
    bench.subscribe(stranger, "t", QoS::AtMostOnce);
}

#[test]
fn who_came_without_a_name_goes_when_that_is_not_enough_any_more() {
    for (strangers, expected) in [(Strangers::Welcome, vec![]), (Strangers::Refused, vec!["disconnect 0x87"])] {
        let (mut bench, eve) = bench_with(Strangers::Welcome);
        let stranger = bench.connect("s", &Setup { version: Version::V5, ..Setup::default() }).0;
        let user = logged_in(&mut bench, "c", &as_eve(Version::V5));

        let login = Login::new(Arc::clone(&eve) as Arc<dyn Users>, Secret::new([3; 32]), strangers);
        bench.act(|shard, cx| shard.reconfigure(cx, Arc::new(Config { login: Some(login), ..Config::default() })));
        bench.act(crate::Shard::users_changed);

        assert_eq!(bench.told(stranger), expected);
        assert_eq!(bench.told(user), NOTHING);
    }
}

/// A yes with what came along.
fn right_with(bench: &Bench, lasts_ms: Option<u64>, rules: Option<Acl>) -> Answer {
    let until = lasts_ms.map(|ms| bench.now.plus_ms(ms));
    Answer::Right(Known { user: "eve".into(), by: Way::Jwt, version: None, rules: rules.map(Arc::new), until })
}

#[test]
fn a_login_that_is_good_for_a_time_ends_with_it() {
    for (version, told) in [(Version::V5, vec!["disconnect 0xa0"]), (Version::V311, vec![])] {
        let mut bench = bench();
        let client = bench.open("c", &Setup { will: Some(will("w", 0)), ..as_eve(version) });
        let yes = right_with(&bench, Some(60_000), None);
        answer(&mut bench, client, yes);
        assert_eq!(bench.told(client), ["connack new"]);

        bench.pass(59_999);
        assert_eq!(bench.told(client), NOTHING, "{version:?}");
        bench.pass(1);

        assert_eq!(bench.told(client), told, "{version:?}");
        bench.outputs();
        assert!(bench.events.iter().any(|event| event.contains("is good no more")), "{:?}", bench.events);
    }
}

#[test]
fn a_connection_in_the_place_of_one_whose_time_is_over_goes_on() {
    let mut bench = bench();
    let old = bench.open("c", &as_eve(Version::V5));
    let yes = right_with(&bench, Some(1_000), None);
    answer(&mut bench, old, yes);
    bench.cut_off(old);
    let new = logged_in(&mut bench, "c", &as_eve(Version::V5));

    bench.pass(2_000);

    assert_eq!(bench.told(new), NOTHING);
}

fn own(default: Effect) -> Acl {
    let rule = |effect, action, topic: &str| Rule {
        name: topic.into(),
        effect,
        actions: Actions::default().with(action),
        topics: vec![Pattern::new(topic, Placeholders::Meant).unwrap()],
        who: Who::default(),
    };
    let rules = vec![
        rule(Effect::Deny, Action::Publish, "own/closed"),
        rule(Effect::Allow, Action::Publish, "own/%c/#"),
        rule(Effect::Allow, Action::Subscribe, "own/#"),
        rule(Effect::Allow, Action::Receive, "own/open"),
    ];
    Acl::new(rules, default)
}

/// Where it may publish.
fn may_publish(bench: &mut Bench, client: Client, topics: &[&str]) -> Vec<bool> {
    let mut may = Vec::new();
    for topic in topics {
        bench.publish(client, topic, QoS::AtLeastOnce, 1, "x");
        let told = bench.told(client);
        assert!(matches!(&*told, [one] if one.starts_with("puback 1")), "{told:?}");
        may.push(!told[0].ends_with("0x87"));
    }
    may
}

#[test]
fn rules_that_come_with_a_login_go_before_those_of_all() {
    let of_all = Rule {
        name: "all".into(),
        effect: Effect::Allow,
        actions: Actions::default().with(Action::Publish),
        topics: vec![
            Pattern::new("all/#", Placeholders::Meant).unwrap(),
            Pattern::new("own/closed", Placeholders::Meant).unwrap(),
        ],
        who: Who::default(),
    };
    let topics = ["own/closed", "own/c/1", "own/d/1", "all/1", "else"];
    for (rules, default, expected) in [
        (None, Effect::Deny, [false, true, false, false, false]),
        (Some(Acl::new(vec![of_all], Effect::Deny)), Effect::Deny, [false, true, false, true, false]),
        // All but what is denied by name.
        (None, Effect::Allow, [false, true, true, true, true]),
    ] {
        let mut bench = bench();
        let has_rules = rules.is_some();
        bench.act(|shard, _| shard.set_acl(rules.map(Arc::new)));
        let client = bench.open("c", &as_eve(Version::V5));
        let answered = right_with(&bench, None, Some(own(default)));
        answer(&mut bench, client, answered);
        assert_eq!(bench.told(client), ["connack new"]);

        assert_eq!(may_publish(&mut bench, client, &topics), expected, "{has_rules} {default:?}");
        // They stay when those of all change.
        bench.act(|shard, _| shard.set_acl(None));
        assert_eq!(may_publish(&mut bench, client, &topics[..2]), expected[..2]);
    }
}

#[test]
fn rules_of_its_own_are_for_one_client_and_for_what_it_receives() {
    let mut bench = bench();
    let reader = bench.open("c", &as_eve(Version::V5));
    let answered = right_with(&bench, None, Some(own(Effect::Deny)));
    answer(&mut bench, reader, answered);
    let writer = logged_in(&mut bench, "w", &as_eve(Version::V5));
    bench.told(reader);
    bench.subscribe(reader, "own/#", QoS::AtMostOnce);
    bench.subscribe(writer, "own/#", QoS::AtMostOnce);

    bench.publish(writer, "own/secret", QoS::AtMostOnce, 0, "x");
    bench.publish(writer, "own/open", QoS::AtMostOnce, 0, "y");

    assert_eq!(bench.told(reader), ["publish q0 id0 own/open y"]);
    assert_eq!(bench.told(writer), ["publish q0 id0 own/secret x", "publish q0 id0 own/open y"]);
}

#[test]
fn each_listener_has_a_door_of_its_own() {
    let door = |strangers, passwords, scram| Door { strangers, passwords, scram };
    let doors = vec![
        door(Strangers::Refused, Passwords::Named, true),
        door(Strangers::Refused, Passwords::All, false),
        door(Strangers::Welcome, Passwords::Ignored, false),
    ];
    let (mut bench, _) = bench_with(Strangers::Refused);
    let login = Login { doors, ..Login::new(Arc::new(Eve(1.into())), Secret::new([3; 32]), Strangers::Refused) };
    bench.act(|shard, cx| shard.reconfigure(cx, Arc::new(Config { login: Some(login), ..Config::default() })));
    let named = as_eve(Version::V5);
    let nameless = Setup { username: None, ..as_eve(Version::V5) };
    let nobody = Setup { version: Version::V5, ..Setup::default() };
    for (listener, setup, is_asked, told) in [
        (0, &named, true, NOTHING),
        (0, &nameless, false, vec!["connack 0x87"]),
        (0, &nobody, false, vec!["connack 0x87"]),
        (1, &named, true, NOTHING),
        (1, &nameless, true, NOTHING),
        (1, &nobody, false, vec!["connack 0x87"]),
        (2, &named, false, vec!["connack new"]),
        (2, &nameless, false, vec!["connack new"]),
        (2, &nobody, false, vec!["connack new"]),
        (7, &nobody, false, vec!["connack new"]),
    ] {
        bench.listener = listener;
        let client = bench.open("c", setup);
        assert_eq!(asked(&mut bench).len(), usize::from(is_asked), "{listener} {told:?}");
        assert_eq!(bench.told(client), told, "{listener}");
        bench.cut_off(client);
    }
}

#[test]
fn logins_are_counted_by_how_and_by_what_became_of_them() {
    let (mut bench, _) = bench_with(Strangers::Welcome);
    logged_in(&mut bench, "eve", &as_eve(Version::V5));
    bench.connect("stranger", &Setup::default());
    for given in [
        Answer::Right(Known::user("adam", Way::Http, None)),
        Answer::Wrong(Way::Jwt, "expired"),
        Answer::Wrong(Way::Password, "guessed"),
        Answer::Unjudged,
        Answer::Unreachable,
    ] {
        let client = bench.open("c", &as_eve(Version::V5));
        answer(&mut bench, client, given);
    }
    // Too many guesses, and a method that is not offered.
    bench.open("m", &Setup { username: Some("mallory"), ..as_eve(Version::V5) });
    let method = ConnectProperties { authentication_method: Some("GUESS"), ..ConnectProperties::default() };
    bench.open("g", &Setup { version: Version::V5, properties: method, ..Setup::default() });

    let logins = bench.shard.counters().logins;
    let mut counted = Vec::new();
    for outcome in LoginOutcome::ALL {
        for way in Way::ALL {
            let count = logins[outcome as usize][way as usize];
            if count > 0 {
                counted.push((outcome, way, count));
            }
        }
    }
    assert_eq!(
        counted,
        [
            (LoginOutcome::Accepted, Way::Password, 1),
            (LoginOutcome::Accepted, Way::Http, 1),
            (LoginOutcome::Anonymous, Way::Nothing, 1),
            (LoginOutcome::Wrong, Way::Password, 1),
            (LoginOutcome::Wrong, Way::Jwt, 1),
            (LoginOutcome::Refused, Way::Nothing, 1),
            (LoginOutcome::Unjudged, Way::Password, 3),
        ]
    );
}
