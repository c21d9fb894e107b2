//! `cargo run --release -p columba-check --example bench -- compare|idle|restart [path of columba]`
#![expect(clippy::print_stdout, reason = "a program that prints a table")]

use std::error::Error;
use std::time::Duration;

use columba_check::load::{ComparePlan, Durability, IdlePlan, Peer, RestartPlan, Topics, compare, idle, restart};
use columba_proto::Version;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let durability =
        if words.first().is_some_and(|word| word == "restart") { Durability::EveryChange } else { Durability::Memory };
    let mut peers = vec![Peer::mosquitto(durability).ok_or("mosquitto is not installed")?];
    peers.extend(words.get(1).map(|program| Peer::columba(program, &[])));
    match words.first().map(String::as_str) {
        Some("compare") => {
            for topics in [Topics::Pairs, Topics::All] {
                let plan = ComparePlan { measured: Duration::from_secs(3), runs: 3, topics };
                println!("{}", compare(&peers, &plan, |line| eprintln!("{line}"))?);
            }
        }
        Some("idle") => {
            for peer in &peers {
                let dir = tempfile::tempdir()?;
                let plan = IdlePlan { few: 1_000, many: 10_000, version: Version::V311, subscribe: false };
                println!("{}: {:?}", peer.name(), idle(peer, plan, dir.path())?);
            }
        }
        Some("restart") => {
            for peer in &peers {
                let dir = tempfile::tempdir()?;
                let plan =
                    RestartPlan { sessions: 1_000, messages: 100_000, payload: 256, version: Version::V311, window: 1_000 };
                let found = restart(peer, plan, dir.path(), |line| eprintln!("{line}"))?;
                println!("{}: {found:?}", peer.name());
            }
        }
        _ => return Err("compare, idle or restart?".into()),
    }
    Ok(())
}
