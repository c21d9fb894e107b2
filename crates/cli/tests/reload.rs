//! Another configuration while the broker runs: who is there stays, who comes gets what is said now, and a wrong one changes nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use columba_check::program::Program;
use tempfile::TempDir;

const COLUMBA: &str = env!("CARGO_BIN_EXE_columba");

/// A broker with a file, and what it logs.
struct House {
    dir: TempDir,
    program: Program,
    port: String,
}

impl House {
    fn start(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("columba.toml"), config).unwrap();
        let mut command = Command::new(COLUMBA);
        command.args(["serve", "--listen", "127.0.0.1:0", "--http", "off"]);
        command.arg("--config").arg(dir.path().join("columba.toml")).arg("--data-dir").arg(dir.path().join("data"));
        let mut program = Program::start(&mut command);
        let line = program.until_has("mqtt://127.0.0.1:");
        let port = line.split_once("127.0.0.1:").unwrap().1.split_whitespace().next().unwrap().to_owned();
        Self { dir, program, port }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn write(&self, config: &str) {
        fs::write(self.dir.path().join("columba.toml"), config).unwrap();
    }

    fn publish(&self, more: &[&str]) -> Output {
        Command::new(COLUMBA).args(["pub", "-p", &self.port, "-t", "t", "-q", "1"]).args(more).output().unwrap()
    }
}

fn reload(data: &Path) -> (Option<i32>, String) {
    let output = Command::new(COLUMBA).arg("reload").arg("--data-dir").arg(data).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap().trim().to_owned())
}

#[test]
fn limits_hold_for_who_comes_and_who_is_there_stays() {
    let house = House::start("[limits]\nmax_qos = 2\n");
    let mut command = Command::new(COLUMBA);
    command.args(["sub", "-p", &house.port, "-t", "#", "-q", "1", "-v", "-V", "5"]);
    let mut subscriber = Program::start(&mut command);
    // It is there as soon as something reaches it.
    loop {
        let sent = house.publish(&["-m", "before"]);
        if !String::from_utf8(sent.stderr).unwrap().contains("no subscription matches") {
            break;
        }
    }
    subscriber.until_has("before");

    house.write("[limits]\nmax_qos = 0\n");
    assert_eq!(reload(&house.data()), (Some(0), "configuration read again".to_owned()));

    let refused = house.publish(&["-m", "too much"]);
    assert_ne!(refused.status.code(), Some(0), "its CONNACK says that QoS 1 is too high");
    let sent = Command::new(COLUMBA).args(["pub", "-p", &house.port, "-t", "t", "-m", "after"]).status().unwrap();
    assert!(sent.success());
    subscriber.until_has("after");
}

#[test]
fn a_wrong_file_changes_nothing_and_says_where_it_is_wrong() {
    let house = House::start("[limits]\nmax_qos = 1\n");

    house.write("[limits]\nmax_qos = 0\ninflght = 5\n");
    let (code, told) = reload(&house.data());
    assert_eq!(code, Some(1));
    assert!(told.contains("columba.toml:3:1: unknown key \"limits.inflght\""), "{told}");
    assert!(house.publish(&["-m", "still"]).status.success());
}

#[test]
fn what_waits_for_the_next_start_is_named() {
    let house = House::start("");

    house.write("[runtime]\nshards = 7\n[sys]\ninterval = \"3s\"\n[durability]\nsync = \"none\"\n[limits]\nmax_qos = 0\n");
    let (code, told) = reload(&house.data());
    assert_eq!((code, &*told), (Some(0), "configuration read again; for the next start wait: durability runtime"));
    assert!(!house.publish(&["-m", "x"]).status.success(), "the rest holds");
}

#[test]
fn who_asks_over_the_http_port_that_is_moved_hears_what_came_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("columba.toml");
    let port = || columba_check::load::free_port().unwrap();
    let (first, second) = (port(), port());
    let write = |port: u16| fs::write(&file, format!("ephemeral = true\n[http]\nurl = \"http://127.0.0.1:{port}\"\n")).unwrap();
    let ctl = |port: u16, what: &str| {
        let url = format!("http://127.0.0.1:{port}");
        Command::new(COLUMBA).args(["ctl", "--url", &url, what]).output().unwrap()
    };
    write(first);
    let mut program = Program::start(Command::new(COLUMBA).args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&file));
    program.until_has("mqtt://127.0.0.1:");

    write(second);
    let moved = ctl(first, "reload");

    assert!(moved.status.success(), "{moved:?}");
    assert!(String::from_utf8(moved.stdout).unwrap().contains("waits_for_start"));
    assert!(ctl(second, "overview").status.success());
    while ctl(first, "overview").status.success() {}

    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    write(holder.local_addr().unwrap().port());
    let refused = ctl(second, "reload");
    assert!(!refused.status.success() && String::from_utf8(refused.stderr).unwrap().contains("nothing has changed"));
    assert!(ctl(second, "overview").status.success());
}

#[test]
fn sighup_does_the_same_and_the_log_tells_more_from_then_on() {
    let mut house = House::start("");

    house.write("[log]\nfilter = \"debug\"\nformat = \"json\"\n[runtime]\nshards = 7\n");
    assert!(Command::new("kill").args(["-s", "HUP", &house.program.id().to_string()]).status().unwrap().success());
    house.program.until_has("\"event\":\"configuration read again; these keys wait for the next start\"");

    house.write("log = 5\n");
    assert!(Command::new("kill").args(["-s", "HUP", &house.program.id().to_string()]).status().unwrap().success());
    house.program.until_has("the configuration is not taken");
}

#[test]
fn where_no_broker_runs_reload_says_so() {
    let dir = tempfile::tempdir().unwrap();

    let (code, told) = reload(dir.path());
    assert_eq!(code, Some(1));
    assert!(told.starts_with("error: "), "{told}");
    // One without a data directory may run: it is reached in other ways.
    assert!(told.contains("\nnote: a broker that keeps nothing on disk has no data directory"), "{told}");
    assert!(told.ends_with("\ntry: columba ctl reload\ntry: kill -HUP PID"), "{told}");
}

#[test]
fn a_checkpoint_and_how_it_is_going_can_be_asked_for_by_signals() {
    let mut house = House::start("");
    let signal = |name: &str| {
        let status = Command::new("kill").args(["-s", name, &house.program.id().to_string()]).status().unwrap();
        assert!(status.success());
    };
    signal("USR1");
    signal("USR2");

    house.program.until_has("a checkpoint is asked for");
    let line = house.program.until_has("how it is going");
    assert!(line.contains("sessions=0") && line.contains("connections=0"), "{line}");
    assert!(house.publish(&["-m", "still there"]).status.success());
}
