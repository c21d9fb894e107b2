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
        "{:<20} {:>12} {:>12} {:>7} {:>9} {:>9} {:>6} {:>10}",
        "attack", "p99 calm", "p99", "ratio", "begun", "let in", "flaws", "peak MiB"
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
        held &= flaws == 0 && (attack.may_enter() || seen.let_in == 0);
        let hundredths = under * 100 / calm.max(1);
        // Writing to a string cannot fail.
        write!(
            text,
            "\n{:<20} {calm:>9} us {under:>9} us {:>4}.{:02} {:>9} {:>9} {flaws:>6} {:>10}",
            attack.name(),
            hundredths / 100,
            hundredths % 100,
            seen.opened,
            seen.let_in,
            peak / MIB
        )
        .ok();
    }
    Ok((text, if held { Exit::Done } else { Exit::Other }))
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
