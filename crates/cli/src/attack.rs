//! `columba bench attack`: what somebody does to a broker who means harm, and what good clients notice of it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use columba_check::attack::{Attack, Attacker, Seen, Stage, Target, assault};
use columba_check::load::Report;

use crate::bench::{MIB, program, say};
use crate::exit::{Exit, Failure};
use crate::values;

/// What `columba bench attack` takes.
#[derive(Args, Debug)]
pub(crate) struct AttackArgs {
    /// Only these attacks [default: all]
    #[arg(value_name = "ATTACK", value_parser = attack)]
    only: Vec<Attack>,
    /// Runs of which the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = runs)]
    runs: usize,
    /// Measured time of each run
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "3s")]
    duration: Duration,
    /// Connections of the attackers at one time [default: thousands, by the attack]
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// A line of the section `[limits]` of the broker's configuration (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    limit: Vec<String>,
}

/// What `columba bench attacker` takes.
#[derive(Args, Debug)]
pub(crate) struct AttackerArgs {
    #[arg(value_name = "ATTACK", value_parser = attack)]
    attack: Attack,
    #[arg(long, value_name = "N")]
    connections: usize,
    /// Of this machine: MQTT, over TLS, inside a WebSocket, over TLS with a certificate
    #[arg(long, value_name = "PORT,PORT,PORT,PORT", value_parser = ports)]
    ports: [u16; 4],
}

/// Every attack on a broker of its own, and what good clients beside it saw.
pub(crate) fn bouts(args: &AttackArgs) -> Result<(String, Exit), Failure> {
    let attacks = if args.only.is_empty() { &Attack::ALL[..] } else { &args.only };
    let limits = args.limit.join("\n");
    let program = program()?;
    let mut text = format!(
        "{:<20} {:>12} {:>12} {:>7} {:>9} {:>9} {:>6} {:>10} {:>7}",
        "attack", "p99 calm", "p99", "ratio", "begun", "let in", "flaws", "peak MiB", "budget"
    );
    let mut held = true;
    for &attack in attacks {
        let connections = args.connections.unwrap_or_else(|| attack.connections());
        let (mut calm, mut under, mut flaws, mut peak) = (Vec::new(), Vec::new(), 0, 0);
        let mut seen = Seen::default();
        for run in 1..=args.runs {
            say(&format!("{attack}, run {run} of {}: {connections} connections", args.runs));
            // A broker of its own each time: what one attack leaves behind is not the next one's.
            let stage = Stage::set(&program, &limits)?.with_attackers_that_yield();
            calm.push(p99_us(&stage.calm(args.duration)?));
            let bout = stage.bout(attack, connections, args.duration)?;
            under.push(p99_us(&bout.good));
            flaws += bout.good.lost + bout.good.duplicates + bout.good.out_of_order + bout.good.corrupt;
            peak = peak.max(bout.peak);
            seen.opened += bout.seen.opened;
            seen.let_in += bout.seen.let_in;
        }
        let (calm, under) = (median(calm), median(under));
        // With other limits it is they that say what a client may take.
        let budget = args.limit.is_empty().then(|| attack.budget(connections));
        held &= holds(attack, &seen, flaws, peak, budget);
        let hundredths = under * 100 / calm.max(1);
        // Writing to a string cannot fail.
        write!(
            text,
            "\n{:<20} {calm:>9} us {under:>9} us {:>4}.{:02} {:>9} {:>9} {flaws:>6} {:>10} {:>7}",
            attack.name(),
            hundredths / 100,
            hundredths % 100,
            seen.opened,
            seen.let_in,
            peak / MIB,
            budget.map_or_else(|| "-".to_owned(), |budget| budget.to_string())
        )
        .ok();
    }
    Ok((text, if held { Exit::Done } else { Exit::Other }))
}

/// Whether good clients lost nothing, nobody came in who may not, and memory, of which `peak` is in bytes and `budget` in MiB, stayed within its bound.
fn holds(attack: Attack, seen: &Seen, flaws: u64, peak: u64, budget: Option<u64>) -> bool {
    flaws == 0 && (attack.may_enter() || seen.let_in == 0) && budget.is_none_or(|budget| peak <= budget * MIB)
}

fn p99_us(report: &Report) -> u64 {
    report.latency.value_at_quantile(0.99) / 1000
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

/// One attack, until the input ends.
pub(crate) fn attacker(args: &AttackerArgs) -> Result<(String, Exit), Failure> {
    let [plain, tls, web_socket, certified] = args.ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let target = Target { plain, tls, web_socket, certified };
    let over = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&over);
    thread::spawn(move || {
        // Whoever started us says so by closing, or is gone itself.
        io::copy(&mut io::stdin(), &mut io::sink()).ok();
        ends.store(true, Ordering::Relaxed);
    });
    let attacker = Attacker { attack: args.attack, target: &target, connections: args.connections, over: &over };
    let seen = assault(attacker, || {
        // Nobody reads it any more: then the input ends, too.
        writeln!(io::stdout(), "{}", Seen::lines(None)).and_then(|()| io::stdout().flush()).ok();
    })?;
    Ok((Seen::lines(Some(seen)), Exit::Done))
}

fn attack(name: &str) -> Result<Attack, String> {
    let names = || Attack::ALL.map(Attack::name).join(", ");
    Attack::named(name).ok_or_else(|| format!("the attacks are {}", names()))
}

fn runs(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|runs| *runs > 0).ok_or_else(|| "a number from 1 on".to_owned())
}

fn ports(text: &str) -> Result<[u16; 4], String> {
    let ports: Vec<u16> = text.split(',').map_while(|port| port.parse().ok()).collect();
    ports.try_into().map_err(|_| "four ports with commas between them".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_holds_that_loses_nothing_lets_nobody_in_and_stays_within_its_memory() {
        let attack = Attack::HalfOpenTls;
        let (nobody, somebody) = (Seen::default(), Seen { let_in: 1, ..Seen::default() });
        let budget = attack.budget(attack.connections());
        let peak = budget * MIB;

        assert!(holds(attack, &nobody, 0, peak, Some(budget)));
        assert!(!holds(attack, &nobody, 0, peak + 1, Some(budget)));
        assert!(holds(attack, &nobody, 0, peak + 1, None), "with other limits");
        assert!(!holds(attack, &nobody, 1, peak, Some(budget)));
        assert!(!holds(attack, &somebody, 0, peak, Some(budget)));
        assert!(holds(Attack::Takeovers, &somebody, 0, peak, Some(budget)), "who may come in");
        let most = Attack::ALL.map(|attack| attack.budget(attack.connections())).into_iter().max();
        assert_eq!(most, Some(Attack::Unfinished.budget(1_000)), "a packet each is the most that a stranger may hold");
    }
}
