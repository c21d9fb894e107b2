//! Plays scripts, side by side where the world allows it, and says what came of each.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use columba_proto::Version;

use super::stage::{Features, Login, Setting, Stage, Told};
use super::world::{Unable, World};
use super::{Need, Script, Stop, Suite, Verdict, plays};

/// A script in one version.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The story.
    pub script: &'static Script,
    /// In which version it is told.
    pub version: Version,
}

/// What came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The broker did all that the story wants.
    Passed,
    /// It did not.
    Failed {
        /// What the standard wants.
        expected: String,
        /// What came in its place.
        got: String,
    },
    /// It cannot be judged here, for this reason.
    Skipped(String),
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Ok(()) => Self::Passed,
            Err(Stop::Failed { expected, got }) => Self::Failed { expected, got },
            Err(Stop::Skipped(why)) => Self::Skipped(why),
        }
    }
}

/// A story that was told.
#[derive(Clone, Debug)]
pub struct Played {
    /// Which.
    pub title: &'static str,
    /// In which version.
    pub version: Version,
    /// What it shows in this version.
    pub clauses: Vec<&'static str>,
    /// What came of it.
    pub outcome: Outcome,
    /// Every packet, and what is worth knowing.
    pub told: Told,
    /// By the world's own clock.
    pub took: Duration,
}

impl Played {
    fn new(case: Case, outcome: Outcome, told: Told, took: Duration) -> Self {
        let clauses = case.script.clauses_in(case.version).map(|clause| clause.id).collect();
        Self { title: case.script.title, version: case.version, clauses, outcome, told, took }
    }

    /// One that was not even begun.
    pub fn skipped(case: Case, why: &str) -> Self {
        Self::new(case, Outcome::Skipped(why.to_owned()), Told::default(), Duration::ZERO)
    }
}

/// Which scripts are wanted.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Only these versions; empty: all.
    pub versions: Vec<Version>,
    /// Only these suites; empty: all.
    pub suites: Vec<Suite>,
    /// Only scripts of which a clause or the title is like one of these (`*` stands for anything); empty: all.
    pub only: Vec<String>,
}

impl Choice {
    /// The scripts that are chosen, by version.
    pub fn cases(&self) -> Vec<Case> {
        let versions = Version::ALL.into_iter().filter(|version| self.versions.is_empty() || self.versions.contains(version));
        let chosen = |version| {
            plays::all()
                .filter(move |script| script.versions.contains(&version) && self.wants(script, version))
                .map(move |script| Case { script, version })
        };
        versions.flat_map(chosen).collect()
    }

    fn wants(&self, script: &Script, version: Version) -> bool {
        let named = |pattern: &String| {
            is_like(pattern, script.title) || script.clauses_in(version).any(|clause| is_like(pattern, clause.id))
        };
        (self.suites.is_empty() || self.suites.contains(&script.suite)) && (self.only.is_empty() || self.only.iter().any(named))
    }
}

/// Whether `text` is what `pattern` says, where `*` stands for anything; letters count the same in both cases.
fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_lowercase(), text.to_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Tells one story.
pub fn play(case: Case, world: Box<dyn World>, setting: &Setting, prefix: &str) -> Played {
    let begun = world.now();
    let lack = case.script.needs.iter().find_map(|need| setting.features.lack(*need));
    let stage = Stage::new(world, case.version, setting.clone(), prefix.to_owned());
    let verdict = match lack {
        Some(why) => Err(Stop::Skipped(why.into())),
        None => (case.script.play)(&stage),
    };
    let outcome = Outcome::from(verdict);
    let took = stage.now().saturating_sub(begun);
    Played::new(case, outcome, stage.finish(), took)
}

/// Asks the broker what it has, in MQTT 5; a broker without that says nothing, and is taken to have all.
pub fn probe(world: Box<dyn World>, login: Option<Login>) -> Result<Setting, Unable> {
    let stage = Stage::new(world, Version::V5, Setting { login: login.clone(), ..Setting::default() }, "columba-check".into());
    let answer = stage.client("probe").map(|client| {
        let features = Features::of(client.connack());
        client.disconnect();
        features
    });
    match answer {
        Ok(features) => Ok(Setting { features, login }),
        Err(Stop::Failed { got, .. }) if stage.is_empty() => Err(Unable(got)),
        Err(_) => Ok(Setting { features: Features::default(), login }),
    }
}

/// Which version the broker refuses, and how. Whoever takes no MQTT 3.1 is not judged by it.
pub fn refuses(world: Box<dyn World>, setting: &Setting, version: Version) -> Option<String> {
    let stage = Stage::new(world, version, setting.clone(), "columba-check".into());
    match stage.client("probe") {
        Ok(client) => {
            client.disconnect();
            None
        }
        Err(Stop::Failed { got, .. }) => Some(format!("the server does not take MQTT {}: {got}", version.name())),
        Err(Stop::Skipped(why)) => Some(why),
    }
}

/// Plays all of them, `abreast` at a time; those that restart the broker come last, one by one. `each` is told of every one as it ends; the answer has them
/// in the order of the cases.
pub fn play_all(
    cases: &[Case],
    new_world: &(dyn Fn() -> Box<dyn World> + Sync),
    setting: &Setting,
    abreast: usize,
    run: &str,
    mut each: impl FnMut(&Played),
) -> Vec<Played> {
    let restarts = |case: &Case| case.script.needs.contains(&Need::Restart);
    let (last, first): (Vec<usize>, Vec<usize>) = (0..cases.len()).partition(|&at| restarts(&cases[at]));
    let mut played: Vec<Option<Played>> = cases.iter().map(|_| None).collect();
    let tell = |at: usize| play(cases[at], new_world(), setting, &format!("{run}-{at}-"));
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (done, ended) = mpsc::channel();
        for _ in 0..abreast.clamp(1, first.len().max(1)) {
            let (done, next, first, tell) = (done.clone(), &next, &first, &tell);
            scope.spawn(move || {
                while let Some(&at) = first.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if done.send((at, tell(at))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        for (at, one) in ended {
            each(&one);
            played[at] = Some(one);
        }
    });
    for at in last {
        let one = tell(at);
        each(&one);
        played[at] = Some(one);
    }
    played.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::is_like;

    #[test]
    fn a_star_stands_for_anything() {
        assert!(is_like("MQTT-4.3.3-*", "MQTT-4.3.3-10"));
        assert!(is_like("*will*", "The will is published"));
        assert!(is_like("MQTT-3.1.2-1", "MQTT-3.1.2-1"));
        assert!(!is_like("MQTT-3.1.2-1", "MQTT-3.1.2-11"));
        assert!(!is_like("MQTT-4.3.3-*", "MQTT-4.3.2-1"));
    }
}
