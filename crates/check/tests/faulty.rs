//! A script that a broken broker passes is worth nothing: for each clause of each fault, a script that cites it must fail.

use std::collections::BTreeSet;

use columba_broker::Config;
use columba_check::script::clause::{Clause, Standard};
use columba_check::script::faulty::{self, Fault, Faulty};
use columba_check::script::memory::Memory;
use columba_check::script::runner::{self, Case, Choice, Outcome};
use columba_check::script::world::World;

fn memory() -> Box<dyn World> {
    Box::new(Memory::new(Config::default(), 1))
}

/// The clauses of this fault that no script finds broken.
fn missed(fault: &Fault, cases: &[Case]) -> Vec<String> {
    let mut setting = runner::probe(memory(), None).expect("a broker in this process");
    setting.features.restart = true;
    let cites = |case: &&Case, clause: &Clause| case.script.clauses_in(case.version).any(|cited| cited == clause);
    let finds = |case: &Case| {
        let played = runner::play(*case, Box::new(Faulty::new(memory(), fault)), &setting, "faulty-");
        matches!(played.outcome, Outcome::Failed { .. })
    };
    let missed = |clause: &&Clause| !cases.iter().filter(|case| cites(case, clause)).any(finds);
    fault
        .breaks
        .iter()
        .filter(missed)
        .map(|clause| {
            let scripts: Vec<_> = cases.iter().filter(|case| cites(case, clause)).map(|case| case.script.title).collect();
            format!("{} {clause}: a broker that {} passes {scripts:?}", clause.standard.name(), fault.name)
        })
        .collect()
}

#[test]
fn the_scripts_find_every_fault() {
    let cases = Choice::default().cases();
    let missed: Vec<String> = faulty::all().flat_map(|fault| missed(fault, &cases)).collect();

    assert!(missed.is_empty(), "{} missed:\n{}", missed.len(), missed.join("\n"));
}

#[test]
fn at_least_forty_clauses_of_each_standard_are_broken_once() {
    let broken: BTreeSet<Clause> = faulty::all().flat_map(|fault| fault.breaks).copied().collect();
    let count = |standard| broken.iter().filter(|clause| clause.standard == standard).count();

    let counts = (count(Standard::Mqtt5), count(Standard::Mqtt311));
    assert!(counts.0 >= 40 && counts.1 >= 40, "{counts:?}");
}
