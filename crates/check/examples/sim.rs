//! `just sim SEED`: lives one simulated life again, exactly, and judges it.
//!
//! `sim SEED [--verbose] [--fault NAME]` replays one seed; `sim --from BASE --count N [--fault NAME]` looks through many.

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::process::ExitCode;

use columba_check::sim::{self, PlantedFault};

fn main() -> ExitCode {
    let mut seed = None;
    let (mut base, mut count) = (0, None);
    let mut verbose = false;
    let mut fault = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--verbose" => verbose = true,
            "--fault" => {
                let name = arguments.next().unwrap_or_default();
                fault = PlantedFault::ALL.into_iter().find(|fault| format!("{fault:?}").eq_ignore_ascii_case(&name));
                if fault.is_none() {
                    println!("the faults are {:?}", PlantedFault::ALL);
                    return ExitCode::from(2);
                }
            }
            "--from" => base = arguments.next().and_then(|text| text.parse().ok()).unwrap_or_default(),
            "--count" => count = arguments.next().and_then(|text| text.parse().ok()),
            text => seed = text.parse().ok(),
        }
    }
    match (seed, count) {
        (Some(seed), None) => one(seed, verbose, fault),
        (None, Some(count)) => many(base, count, fault),
        _ => {
            println!("usage: sim SEED [--verbose] [--fault NAME] | sim --from BASE --count N [--fault NAME]");
            ExitCode::from(2)
        }
    }
}

fn one(seed: u64, verbose: bool, fault: Option<PlantedFault>) -> ExitCode {
    let outcome = sim::run(seed, fault);
    if verbose {
        for step in 0..outcome.history.facts.len() {
            println!("{}", outcome.history.line(step));
        }
    }
    let messages = outcome.history.messages.len();
    println!(
        "seed {seed}: {} facts, {messages} messages, fingerprint {:016x}",
        outcome.history.facts.len(),
        outcome.history.fingerprint()
    );
    match outcome.complaint() {
        None => {
            println!("all promises were kept");
            ExitCode::SUCCESS
        }
        Some(complaint) => {
            println!("{complaint}");
            ExitCode::FAILURE
        }
    }
}

fn many(base: u64, count: usize, fault: Option<PlantedFault>) -> ExitCode {
    let begun = std::time::Instant::now();
    let seeds: Vec<u64> = sim::seeds(base, count).collect();
    let bad = sim::live_all(&seeds, fault);
    for (index, (seed, complaint)) in bad.iter().enumerate() {
        let what = complaint.lines().nth(1).unwrap_or_default();
        println!("seed {seed}: {}", if index < 3 { complaint } else { what });
    }
    println!("{} of {count} lives were bad; {} ms", bad.len(), begun.elapsed().as_millis());
    if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
