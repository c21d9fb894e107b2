//! `just sim SEED`: lives one simulated life again, exactly, and judges it. `just sim-long`: a hundred thousand, with pauses.

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::{fmt::Write as _, fs, path::PathBuf, process::ExitCode, time::Instant};

use columba_check::sim::{self, Happening, PlantedFault, Tally};

const USAGE: &str = "usage: sim SEED [--verbose] [--fault NAME | --into MOMENT]
       sim --from BASE --count N [--fault NAME] [--threads N] [--statistics] [--state FILE]

--state FILE   remembers after every 500 lives how far the series has come; the same command goes on there";

/// Lives between two notes in the state file.
const STEP: usize = 500;

/// What the command line says.
#[derive(Default)]
struct Arguments {
    seed: Option<u64>,
    base: Option<u64>,
    count: Option<usize>,
    verbose: bool,
    statistics: bool,
    fault: Option<PlantedFault>,
    threads: Option<usize>,
    state: Option<PathBuf>,
    into: Option<Happening>,
}

fn main() -> ExitCode {
    let arguments = match read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            println!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match (arguments.seed, arguments.count) {
        (Some(seed), None) => one(seed, &arguments),
        (None, Some(count)) => many(count, &arguments),
        (Some(_), Some(_)) | (None, None) => {
            println!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn read(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--verbose" => arguments.verbose = true,
            "--statistics" => arguments.statistics = true,
            "--fault" => {
                let name = value()?;
                let known = PlantedFault::ALL.into_iter().find(|fault| format!("{fault:?}").eq_ignore_ascii_case(&name));
                arguments.fault = Some(known.ok_or_else(|| format!("the faults are {:?}", PlantedFault::ALL))?);
            }
            "--into" => {
                let name = value()?;
                let known = Happening::ALL.iter().copied().find(|moment| format!("{moment:?}").eq_ignore_ascii_case(&name));
                arguments.into = Some(known.ok_or_else(|| format!("the moments are {:?}", Happening::ALL))?);
            }
            "--from" => arguments.base = Some(number(&value()?)?),
            "--count" => arguments.count = Some(number(&value()?)?),
            "--threads" => arguments.threads = Some(number(&value()?)?),
            "--state" => arguments.state = Some(value()?.into()),
            text => arguments.seed = Some(number(text)?),
        }
    }
    Ok(arguments)
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

fn one(seed: u64, arguments: &Arguments) -> ExitCode {
    let outcome = match arguments.into {
        Some(moment) => sim::run_into(seed, moment),
        None => sim::run(seed, arguments.fault),
    };
    if arguments.verbose {
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

/// How far a long series has come.
struct Progress {
    base: u64,
    done: usize,
    /// Seeds of lives that were bad.
    bad: Vec<u64>,
}

impl Progress {
    /// As the file says; a file that says nothing is one of a series that begins now.
    fn load(arguments: &Arguments) -> Self {
        let text = arguments.state.as_ref().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        let mut words = text.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        let (base, done) = (words.next(), words.next());
        match (base, done.and_then(|done| usize::try_from(done).ok())) {
            (Some(base), Some(done)) if arguments.base.is_none_or(|asked| asked == base) => {
                Self { base, done, bad: words.collect() }
            }
            _ => Self { base: arguments.base.unwrap_or_default(), done: 0, bad: Vec::new() },
        }
    }

    fn save(&self, arguments: &Arguments) -> std::io::Result<()> {
        let Some(path) = &arguments.state else { return Ok(()) };
        let mut text = format!("from {}\ndone {}\n", self.base, self.done);
        for seed in &self.bad {
            writeln!(text, "bad {seed}").map_err(std::io::Error::other)?;
        }
        fs::write(path, text)
    }
}

fn many(count: usize, arguments: &Arguments) -> ExitCode {
    let begun = Instant::now();
    let mut progress = Progress::load(arguments);
    if progress.done > 0 {
        println!("goes on from {}, behind {} of {count} lives", progress.base, progress.done);
    }
    let threads = arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let step = if arguments.state.is_some() { STEP } else { count };
    let mut tally = Tally::default();
    while progress.done < count {
        let seeds: Vec<u64> = sim::seeds(progress.base, count).skip(progress.done).take(step).collect();
        let series = sim::live_on(threads, &seeds, arguments.fault);
        for (seed, complaint) in &series.bad {
            let what = complaint.lines().nth(1).unwrap_or_default();
            println!("seed {seed}: {}", if progress.bad.len() < 3 { complaint } else { what });
            progress.bad.push(*seed);
        }
        tally.merge(&series.tally);
        progress.done += seeds.len();
        if let Err(error) = progress.save(arguments) {
            println!("how far it has come cannot be written: {error}");
            return ExitCode::from(2);
        }
    }
    if arguments.statistics {
        println!("{tally}");
    }
    println!("{} of {count} lives were bad; {} ms", progress.bad.len(), begun.elapsed().as_millis());
    if progress.bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
