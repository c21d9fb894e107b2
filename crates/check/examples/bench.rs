//! `cargo run --release -p columba-check --example bench -- compare|idle [path of columba]`
#![expect(clippy::print_stdout, reason = "a program that prints a table")]

use std::error::Error;
use std::time::Duration;

use columba_check::load::{ComparePlan, Durability, IdlePlan, Peer, Topics, compare, idle};
use columba_proto::Version;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut peers = vec![Peer::mosquitto(Durability::Memory).ok_or("mosquitto is not installed")?];
    peers.extend(words.get(1).map(|program| Peer::columba(program, &[])));
    match words.first().map(String::as_str) {
        Some("compare") => {
            for topics in [Topics::Pairs, Topics::All] {
                let plan = ComparePlan {
                    measured: Duration::from_secs(3),
                    runs: 3,
                    topics,
                };
                println!("{}", compare(&peers, &plan, |line| eprintln!("{line}"))?);
            }
        }
        Some("idle") => {
            for peer in &peers {
                let dir = tempfile::tempdir()?;
                let plan = IdlePlan {
                    few: 1_000,
                    many: 10_000,
                    version: Version::V311,
                    subscribe: false,
                };
                println!("{}: {:?}", peer.name(), idle(peer, plan, dir.path())?);
            }
        }
        _ => return Err("compare or idle?".into()),
    }
    Ok(())
}
