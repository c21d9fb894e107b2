//! Every conversation, with a broker in this process.

use columba_broker::Config;
use columba_check::script::memory::Memory;
use columba_check::script::runner::{self, Case, Choice, Outcome, Played};
use columba_check::script::world::World;
use columba_proto::QoS;

fn play(config: &Config, cases: &[Case]) -> Vec<Played> {
    let new_world = || -> Box<dyn World> { Box::new(Memory::new(config.clone(), 1)) };
    let mut setting = runner::probe(new_world(), None).expect("a broker in this process");
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

/// A broker that lacks what it may lack.
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
        ..Config::default()
    }
}

#[test]
fn a_narrow_broker_keeps_what_it_announces() {
    judge(&play(&narrow(), &Choice::default().cases()));
}
