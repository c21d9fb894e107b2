//! Every conversation, with a broker in this process.

use std::num::NonZeroU32;
use std::sync::Arc;

use columba_broker::Config;
use columba_broker::auth::{self, Users};
use columba_check::script::Login;
use columba_check::script::memory::Memory;
use columba_check::script::runner::{self, Case, Choice, Outcome, Played};
use columba_check::script::world::World;
use columba_proto::QoS;
use columba_proto::scram::{Keys, Secret};

fn play(config: &Config, cases: &[Case]) -> Vec<Played> {
    let new_world = || -> Box<dyn World> { Box::new(Memory::new(config.clone(), 1)) };
    let login = config.login.is_some().then(|| Login { username: "judge".into(), password: Some(b"fair".into()) });
    let mut setting = runner::probe(new_world(), login).expect("a broker in this process");
    setting.features.restart = true;
    runner::play_all(cases, &new_world, &setting, 4, "memory", |_| {})
}

/// What a script says that did not go as the standard wants, word for word.
fn complaint(played: &Played) -> Option<String> {
    let said = |played: &Played| {
        let lines: Vec<String> = played
            .told
            .transcript
            .iter()
            .map(|said| format!("  {:>8.3} s  {:<10} {}", said.at.as_secs_f64(), said.who, said.what))
            .collect();
        lines.join("\n")
    };
    let title = format!("{} (MQTT {})", played.title, played.version.name());
    match &played.outcome {
        Outcome::Failed { expected, got } => Some(format!("{title}\n{}\n  expected {expected}\n  got      {got}", said(played))),
        Outcome::Passed if !played.told.advice.is_empty() => {
            Some(format!("{title}\n{}\n  against advice: {}", said(played), played.told.advice.join("; ")))
        }
        Outcome::Passed | Outcome::Skipped(_) => None,
    }
}

fn judge(played: &[Played]) {
    let complaints: Vec<String> = played.iter().filter_map(complaint).collect();
    assert!(complaints.is_empty(), "{} of {} scripts:\n{}", complaints.len(), played.len(), complaints.join("\n\n"));
}

#[test]
fn columba_goes_along_with_every_conversation() {
    let cases = Choice::default().cases();
    assert!(!cases.is_empty());
    let played = play(&Config::default(), &cases);

    judge(&played);
    // Columba has all there is; what it takes without a limit only a narrow one can refuse.
    let is_skipped = |played: &&Played| matches!(played.outcome, Outcome::Skipped(_));
    let of_limits: Vec<Case> =
        cases.iter().zip(&played).filter(|(_, played)| is_skipped(played)).map(|(case, _)| *case).collect();
    let played = play(&narrow(), &of_limits);
    let skipped: Vec<_> = played.iter().filter(is_skipped).collect();
    assert!(skipped.is_empty(), "a script that nobody plays shows nothing: {skipped:?}");
}

/// There is a judge.
#[derive(Debug)]
struct Judge;

impl Users for Judge {
    fn scram_keys(&self, user: &str) -> Option<Keys> {
        let rounds = NonZeroU32::new(2).expect("not zero");
        (user == "judge").then(|| Keys::derive("fair", b"salt", rounds).expect("a password that can be"))
    }

    fn version(&self, user: &str) -> Option<auth::UserVersion> {
        (user == "judge").then_some(auth::UserVersion(0))
    }

    fn may_try(&self, _: &str, _: &str) -> bool {
        true
    }
}

/// A broker that lacks what it may lack, and knows somebody.
fn narrow() -> Config {
    Config {
        max_qos: QoS::AtLeastOnce,
        retain: false,
        wildcard_subscriptions: false,
        shared_subscriptions: false,
        receive_maximum: 2,
        inflight: 2,
        max_topic_alias: 1,
        max_packet_size: 4_096,
        login: Some(auth::Login::new(Arc::new(Judge), Secret::new([7; 32]), auth::Strangers::Welcome)),
        ..Config::default()
    }
}

#[test]
fn a_narrow_broker_keeps_what_it_announces() {
    judge(&play(&narrow(), &Choice::default().cases()));
}
