//! `columba check`, on columba itself: every conversation over TCP in real time, through kill -9 and clean restarts.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use columba_check::load::free_port;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_columba");

/// A broker that a shell line ends and starts again, as users of `--restart-cmd` have it. The line starts it the first time as well, so that it is nobody's
/// child and leaves no zombie behind.
struct Broker {
    dir: TempDir,
    port: u16,
}

impl Broker {
    fn start() -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port().unwrap());
        let at = dir.path().display();
        let script = format!(
            r#"if [ -f {at}/pid ]; then
    pid=$(cat {at}/pid)
    if [ "$COLUMBA_CHECK_ENDING" = killed ]; then kill -9 "$pid"; else kill "$pid"; fi
    while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
fi
{PROGRAM} serve --listen 127.0.0.1:{port} --data-dir {at}/data >>{at}/log 2>&1 </dev/null &
echo $! >{at}/pid
"#
        );
        let broker = Self { dir, port };
        fs::write(broker.script(), script).unwrap();
        assert!(Command::new("sh").arg(broker.script()).status().unwrap().success());
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it never listened: {}", broker.log());
            sleep(Duration::from_millis(20));
        }
        broker
    }

    /// Read by a shell, not executed: while it is written, a process that another test starts can inherit the open file, and Linux executes no file that
    /// somebody has open for writing (ETXTBSY).
    fn script(&self) -> PathBuf {
        self.dir.path().join("restart")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn check(&self, args: &[&str]) -> Output {
        let restart = format!("sh {}", self.script().display());
        let target = format!("127.0.0.1:{}", self.port);
        let restart = ["--restart-cmd", &restart];
        Command::new(PROGRAM).arg("check").arg(target).args(restart).args(args).output().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.dir.path().join("pid")).unwrap_or_default();
        // It is gone with its directory, whatever the answer.
        let _gone = Command::new("kill").args(["-9", pid.trim()]).status();
    }
}

#[test]
fn columba_keeps_the_standard_to_the_letter_and_its_advice() {
    let broker = Broker::start();
    let output = broker.check(&["--strict", "--silence", "400ms", "--patience", "30s"]);

    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}\n{}", String::from_utf8_lossy(&output.stderr), broker.log());
    assert!(text.contains(", 0 failed, ") && !text.contains("cannot be restarted"), "{text}");
}

#[test]
fn the_list_needs_no_broker_and_names_the_clauses() {
    let output = Command::new(PROGRAM).args(["check", "--list", "--suite", "5", "--only", "MQTT-3.1.0-*"]).output().unwrap();

    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    assert!(text.contains("MQTT-3.1.0-1") && text.contains("MQTT-3.1.0-2"), "{text}");
    assert!(!text.contains("3.1.1  "), "{text}");
}

#[test]
fn programs_can_read_the_verdict() {
    let broker = Broker::start();
    let of = |format| {
        let output = broker.check(&["--only", "MQTT-3.1.0-2", "--suite", "5", "--format", format]);
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };

    let json: serde_json::Value = serde_json::from_str(&of("json")).unwrap();
    assert_eq!(json["failed"], 0);
    assert_eq!(json["scripts"][0]["version"], "5");
    assert_eq!(json["scripts"][0]["result"], "pass");
    let tap = of("tap");
    assert!(tap.starts_with("TAP version 13\n1..1\nok 1 - MQTT 5: "), "{tap}");
    let junit = of("junit");
    assert!(junit.contains("<testsuite name=\"columba check\" tests=\"1\" failures=\"0\" skipped=\"0\">"), "{junit}");
}

#[test]
fn nobody_there_and_nothing_chosen_are_told_apart() {
    let port = free_port().unwrap();
    let nobody = Command::new(PROGRAM).args(["check", &format!("127.0.0.1:{port}")]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("cannot connect"), "{nobody:?}");

    let nothing = Command::new(PROGRAM).args(["check", "--only", "no such clause"]).output().unwrap();
    assert_eq!(nothing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("--list"), "{nothing:?}");
}
