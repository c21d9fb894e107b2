//! Attacks on `columba serve` from processes of their own: memory stays within a budget, nobody gets in who may not, and good clients beside them lose
//! nothing. How long these wait is no business of a test: `just attack` prints it, with ten times as many attackers.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use columba_check::attack::{Attack, Seen, Stage};
use columba_check::outside::{or_skip, program};

const COLUMBA: &str = env!("CARGO_BIN_EXE_columba");
const MIB: u64 = 1024 * 1024;
/// How long the good clients are watched, at first.
const MEASURED: Duration = Duration::from_secs(2);
/// On a machine with much else to do an attack takes longer to become one: they are watched again for twice as long, and so on up to this.
const MEASURED_MAX: Duration = Duration::from_secs(64);

/// What must hold whatever the attack is; `budget` is for the whole process, in MiB.
fn bears(attack: Attack, budget: u64) {
    bears_all(attack, budget, |seen| seen.opened > 0);
}

/// The same; the attack is one when it `has_come_about`.
fn bears_all(attack: Attack, budget: u64, has_come_about: impl Fn(Seen) -> bool) {
    bears_as(attack, attack.few_connections(), "", budget, has_come_about);
}

fn bears_as(attack: Attack, connections: usize, limits: &str, budget: u64, has_come_about: impl Fn(Seen) -> bool) {
    let stage = Stage::set(COLUMBA, limits).expect("a broker");
    let mut measured = MEASURED;
    loop {
        let bout = match stage.bout(attack, connections, measured) {
            Ok(bout) => bout,
            Err(error) => panic!("{attack}: {error}\n{}", stage.log()),
        };

        assert!(bout.good.sent > 0 && bout.good.is_flawless(), "{attack}: {:?}", bout.good);
        assert!(bout.peak <= budget * MIB, "{attack}: {} MiB", bout.peak / MIB);
        if !attack.may_enter() {
            assert_eq!(bout.seen.let_in, 0, "{attack}: let in");
        }
        let entered = bout.seen.let_in > 0 || !attack.may_enter();
        if entered && has_come_about(bout.seen) {
            return;
        }
        measured *= 2;
        assert!(measured <= MEASURED_MAX, "{attack}: it never came about: {:?}", bout.seen);
    }
}

#[test]
fn half_open_connections() {
    bears(Attack::HalfOpenTcp, 96);
}

#[test]
fn half_open_handshakes() {
    bears(Attack::HalfOpenTls, 128);
}

#[test]
fn a_connect_that_never_ends() {
    bears(Attack::SlowConnect, 96);
}

#[test]
fn garbage_on_every_transport() {
    // Who says nonsense is sent away.
    bears_all(Attack::Garbage, 96, |seen| seen.closed > 0);
}

#[test]
fn lengths_that_promise_everything() {
    bears(Attack::HugeLengths, 96);
}

#[test]
fn packets_of_which_the_end_never_comes() {
    // Two hundred of them would take 400 MiB: who holds most is sent away.
    bears_as(Attack::Unfinished, 400, "memory = \"64MiB\"", 256, |seen| seen.closed > 200);
}

#[test]
fn connections_come_and_go() {
    bears(Attack::ConnectStorm, 96);
}

#[test]
fn clients_fight_for_one_identifier() {
    bears(Attack::Takeovers, 96);
}

#[test]
fn filters_full_of_wildcards() {
    bears(Attack::SubscriptionBomb, 160);
}

#[test]
fn aliases_that_always_mean_something_else() {
    bears(Attack::AliasFlood, 128);
}

#[test]
fn packets_full_of_user_properties() {
    bears(Attack::UserPropertyFlood, 160);
}

#[test]
fn a_flood_of_retained_messages() {
    bears(Attack::RetainedFlood, 256);
}

#[test]
fn a_publisher_at_full_speed_into_a_dead_subscriber() {
    bears(Attack::DeadSubscriber, 256);
}

#[test]
fn frames_of_one_byte() {
    bears(Attack::OneByteFrames, 96);
}

#[test]
fn a_handshake_is_not_begun_anew() {
    let openssl = or_skip(program("openssl"), "a_handshake_is_not_begun_anew", "openssl");
    let Some(openssl) = openssl else { return };
    let stage = Stage::set(COLUMBA, "").expect("a broker");
    let mut client = Command::new(openssl)
        .args(["s_client", "-tls1_2", "-connect", &stage.target().tls.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    // Its word for a renegotiation; the input stays open, so that it does not go by itself.
    let mut input = client.stdin.take().expect("it is piped");
    input.write_all(b"R\n").expect("it listens");

    let mut said = String::new();
    client.stderr.take().expect("it is piped").read_to_string(&mut said).expect("it says why it ends");

    client.wait().expect("it has ended");
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
}

#[test]
fn certificates_that_are_not_good() {
    // Each kind was tried.
    bears_all(Attack::WrongCertificates, 96, |seen| seen.closed >= 5);
}
