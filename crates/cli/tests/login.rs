//! Users, from `columba user` to a login over TCP.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use columba_check::broker::Broker;

const COLUMBA: &str = env!("CARGO_BIN_EXE_columba");

/// Runs `columba`; it reads `input`.
fn columba(words: &[&str], input: &str) -> Output {
    let mut child = Command::new(COLUMBA)
        .args(words)
        .env_remove("COLUMBA_URL")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading.
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap_or_default();
    child.wait_with_output().unwrap()
}

fn user(verb: &str, name: &str, file: &Path, password: &str) -> Output {
    columba(&["user", verb, name, "--file", file.to_str().unwrap()], &format!("{password}\n"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn who_is_in_the_users_file_logs_in_and_nobody_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    assert!(user("add", "eve", &file, "pencil").status.success());
    assert!(!text(&std::fs::read(&file).unwrap()).contains("pencil"));
    let setting = format!("auth.users_file={}", file.display());
    let broker = Broker::start(COLUMBA, &["--set", &setting]);
    let port = broker.port().to_string();
    let publish = |more: &[&str]| {
        let out = columba(&[&["pub", "-p", &port, "-t", "t", "-m", "x", "-q", "1"], more].concat(), "");
        (out.status.code(), text(&out.stderr))
    };

    let scram = ["--auth-method", "scram-sha-256"];
    assert_eq!(publish(&[&["-u", "eve", "-P", "pencil"][..], &scram].concat()).0, Some(0));

    for (what, words) in [
        ("wrong password", &["-u", "eve", "-P", "Pencil", "--auth-method", "scram-sha-256"][..]),
        ("unknown", &["-u", "bob", "-P", "pencil", "--auth-method", "scram-sha-256"]),
    ] {
        let (code, said) = publish(words);
        assert_eq!(code, Some(5), "{what}: {said}");
        assert!(said.contains("bad user name or password (0x86)"), "{what}: {said}");
    }
    for words in [&[][..], &["-u", "eve", "-P", "pencil"], &["-V", "3.1.1"]] {
        let (code, said) = publish(words);
        assert_eq!(code, Some(5), "{words:?}: {said}");
        assert!(said.contains("not authorised (0x87)"), "{words:?}: {said}");
    }
    let (code, said) = publish(&[&["-u", "eve", "-P", "pencil", "-V", "3.1.1"][..], &scram].concat());
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn users_come_change_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    let done = |output: Output| (output.status.code(), text(&output.stderr));

    assert_eq!(done(user("passwd", "eve", &file, "a")).0, Some(2), "no file yet");
    assert_eq!(done(user("add", "eve", &file, "a")), (Some(0), String::new()));
    assert_eq!(done(user("add", "bob", &file, "b")), (Some(0), String::new()));
    let (code, said) = done(user("add", "eve", &file, "c"));
    assert_eq!(code, Some(2));
    assert!(said.starts_with("error: user \"eve\" is there already\n"), "{said}");
    assert_eq!(done(user("add", "mallory", &file, "")).0, Some(2), "no password");
    assert_eq!(done(user("passwd", "eve", &file, "c")), (Some(0), String::new()));
    let listed = columba(&["user", "ls", "--file", file.to_str().unwrap()], "");
    assert_eq!(text(&listed.stdout), "eve\nbob\n");
    assert_eq!(done(user("del", "eve", &file, "")), (Some(0), String::new()));
    assert_eq!(done(user("del", "eve", &file, "")).0, Some(2));
}
