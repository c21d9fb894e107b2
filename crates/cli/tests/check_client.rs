//! `columba check client`, on our own clients and on mosquitto's.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::process::{Command, Output};

use columba_check::outside;

const PROGRAM: &str = env!("CARGO_BIN_EXE_columba");

fn check(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(["check", "client"]).args(args).output().unwrap()
}

fn judge(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn our_clients_keep_the_standard_through_every_cut() {
    let publisher = format!(
        "{PROGRAM} pub -h {{host}} -p {{port}} -V {{version}} -t {{topic}} -q {{qos}} -m {{payload}} -i {{id}} -c --reconnect"
    );
    let subscriber = format!("{PROGRAM} sub -h {{host}} -p {{port}} -V {{version}} -t {{topic}} -q {{qos}} -i {{id}} -c");

    let text = judge(&check(&["--strict", "--publisher", &publisher, "--subscriber", &subscriber]));

    // What a lasting session may have, and aliases, which this command does not take.
    assert!(text.contains("37 passed, 0 failed, 2 skipped"), "{text}");
}

#[test]
fn a_clean_client_takes_up_no_session() {
    let publisher = format!("{PROGRAM} pub -h {{host}} -p {{port}} -V {{version}} -t {{topic}} -q {{qos}} -m {{payload}}");

    let text = judge(&check(&["--strict", "--publisher", &publisher, "--only", "MQTT-3.2.2-4"]));

    assert!(text.contains("1 passed, 0 failed, 0 skipped"), "{text}");
}

#[test]
fn mosquittos_clients_can_be_judged() {
    let found = outside::program("mosquitto_pub");
    if outside::or_skip(found, "mosquittos_clients_can_be_judged", "mosquitto_pub").is_none() {
        return;
    }
    let publisher = "mosquitto_pub -h {host} -p {port} -V {version} -t {topic} -q {qos} -m {payload} -i {id}";

    let text = judge(&check(&["--publisher", publisher, "--only", "a publisher at QoS"]));

    assert!(text.contains("9 passed, 0 failed, 0 skipped"), "{text}");
}
