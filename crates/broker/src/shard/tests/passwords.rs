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
    auth::{Answer, Login, Question, Strangers, UserVersion, Users},
    id::ConnectionId,
    seam::Output,
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
    let login = Login { users: Arc::clone(&eve) as Arc<dyn Users>, secret: Arc::new(Secret::new([3; 32])), strangers };
    (Bench::with(Config { login: Some(login), ..Config::default() }), eve)
}

fn bench() -> Bench {
    bench_with(Strangers::Refused).0
}

fn as_eve(version: Version) -> Setup<'static> {
    Setup { version, username: Some("eve"), password: Some(b"pencil"), ..Setup::default() }
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
    answer(bench, client, Answer::Right(FIRST));
    assert_eq!(bench.told(client), ["connack new"]);
    client
}

#[test]
fn the_world_is_asked_about_a_password_and_the_client_waits() {
    for version in Version::ALL {
        let mut bench = bench();

        let client = bench.open("c", &as_eve(version));

        let question = Question { user: "eve".into(), password: (*b"pencil").into(), peer: "table".into() };
        assert_eq!(asked(&mut bench), [(client.id, question)]);
        assert_eq!(bench.told(client), NOTHING, "{version:?}");
        assert!(!bench.shard.wants_reading(client.id), "what it says now would have to be kept");

        answer(&mut bench, client, Answer::Right(FIRST));
        assert_eq!(bench.told(client), ["connack new"], "{version:?}");
        assert!(bench.shard.wants_reading(client.id));
        assert!(bench.events.iter().any(|event| event.contains("user: Some(\"eve\")")), "{:?}", bench.events);
    }
}

#[test]
fn a_wrong_password_is_refused_in_the_words_of_each_version() {
    for (version, given, expected) in [
        (Version::V31, Answer::Wrong, "connack 0x86"),
        (Version::V311, Answer::Wrong, "connack 0x86"),
        (Version::V5, Answer::Wrong, "connack 0x86"),
        (Version::V311, Answer::Unjudged, "connack 0x88"),
        (Version::V5, Answer::Unjudged, "connack 0x89"),
    ] {
        let mut bench = bench();
        let client = bench.open("c", &as_eve(version));

        answer(&mut bench, client, given);

        assert_eq!(bench.told(client), [expected], "{version:?} {given:?}");
        assert!(!bench.shard.wants_reading(client.id), "closed");
        assert_eq!(bench.shard.sessions(), 0);
        let told = bench.events.iter().any(|event| event.contains("LoginFailed") && event.contains("user: \"eve\""));
        assert_eq!(told, given == Answer::Wrong, "{:?}", bench.events);
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
        answer(&mut bench, client, Answer::Wrong);
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
    answer(&mut bench, client, Answer::Right(FIRST));

    assert_eq!(bench.told(client), ["connack new", "suback 1", "publish q1 id1 t early", "puback 1"]);
}

#[test]
fn who_is_refused_is_not_heard_with_what_came_behind() {
    let mut bench = bench();
    let listener = logged_in(&mut bench, "listener", &as_eve(Version::V311));
    bench.subscribe(listener, "#", QoS::AtMostOnce);
    let client = bench.open("c", &as_eve(Version::V311));
    bench.publish(client, "t", QoS::AtMostOnce, 0, "not for you");

    answer(&mut bench, client, Answer::Wrong);

    assert_eq!(bench.told(client), ["connack 0x86"]);
    assert_eq!(bench.told(listener), NOTHING);
}

#[test]
fn nobody_is_taken_over_before_the_password_is_right() {
    let mut bench = bench();
    let old = logged_in(&mut bench, "c", &as_eve(Version::V5));

    let thief = bench.open("c", &as_eve(Version::V5));
    assert_eq!(bench.told(old), NOTHING);
    answer(&mut bench, thief, Answer::Wrong);
    assert_eq!(bench.told(old), NOTHING);
    bench.subscribe(old, "still/here", QoS::AtMostOnce);

    let new = bench.open("c", &as_eve(Version::V5));
    answer(&mut bench, new, Answer::Right(FIRST));
    assert_eq!(bench.told(old), ["disconnect 0x8e"]);
}

#[test]
fn two_with_one_name_are_let_in_in_the_order_of_their_answers() {
    let mut bench = bench();
    let first = bench.open("c", &as_eve(Version::V5));
    let second = bench.open("c", &as_eve(Version::V5));

    answer(&mut bench, second, Answer::Right(FIRST));
    answer(&mut bench, first, Answer::Right(FIRST));

    assert_eq!(bench.told(second), ["connack new", "disconnect 0x8e"]);
    assert_eq!(bench.told(first), ["connack new"]);
}

#[test]
fn an_answer_for_somebody_who_has_gone_changes_nothing() {
    let mut bench = bench();
    let gone = bench.open("c", &Setup { will: Some(will("w", 0)), ..as_eve(Version::V311) });
    bench.cut_off(gone);

    answer(&mut bench, gone, Answer::Right(FIRST));
    assert_eq!(bench.shard.sessions(), 0);

    // The slot is somebody else's now, who waits for another answer.
    let next = bench.open("d", &as_eve(Version::V311));
    answer(&mut bench, gone, Answer::Right(FIRST));
    assert_eq!(bench.told(next), NOTHING);
    answer(&mut bench, next, Answer::Right(FIRST));
    answer(&mut bench, next, Answer::Wrong);
    assert_eq!(bench.told(next), ["connack new"], "there is one answer");
}

#[test]
fn an_answer_has_no_more_time_than_connect() {
    let mut bench = bench();
    let client = bench.open("c", &as_eve(Version::V5));

    bench.pass(Config::default().connect_wait_ms);

    assert_eq!(bench.told(client), ["connack 0x89"]);
    answer(&mut bench, client, Answer::Right(FIRST));
    assert_eq!(bench.shard.sessions(), 0, "too late");
}

#[test]
fn a_stop_does_not_wait_for_answers() {
    let mut bench = bench();
    let client = bench.open("c", &as_eve(Version::V5));

    bench.act(crate::Shard::shutdown);
    assert_eq!(bench.told(client), ["connack 0x88"]);

    answer(&mut bench, client, Answer::Right(FIRST));
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
