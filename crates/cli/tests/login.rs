//! Users, from `columba user` to a login over TCP.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use columba_check::broker::Broker;
use columba_check::outside;

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

/// A broker that lets in who is in this file.
fn broker_with(file: &Path, more: &[&str]) -> Broker {
    let setting = format!("auth.password.file={}", file.display());
    Broker::start(COLUMBA, &[&["--set", &setting], more].concat())
}

fn publish(broker: &Broker, words: &[&str]) -> (Option<i32>, String) {
    let port = broker.port().to_string();
    let out = columba(&[&["pub", "-p", &port, "-t", "t", "-m", "x", "-q", "1"], words].concat(), "");
    (out.status.code(), text(&out.stderr))
}

const SCRAM: [&str; 2] = ["--auth-method", "scram-sha-256"];

/// What the log says of a users file that has changed.
const USERS_READ: &str = "file read again what=\"users file\"";

#[test]
fn who_is_in_the_users_file_logs_in_and_nobody_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    let path = file.to_str().unwrap();
    assert!(user("add", "eve", &file, "pencil").status.success());
    let by_scram = ["user", "add", "scarlet", "--file", path, "--hash", "scram-sha-256"];
    assert!(columba(&by_scram, "pencil\n").status.success());
    assert!(!text(&std::fs::read(&file).unwrap()).contains("pencil"));
    let broker = broker_with(&file, &[]);

    for version in ["3.1", "3.1.1", "5"] {
        for name in ["eve", "scarlet"] {
            assert_eq!(publish(&broker, &["-u", name, "-P", "pencil", "-V", version]).0, Some(0), "{name} {version}");
        }
    }
    assert_eq!(publish(&broker, &[&["-u", "scarlet", "-P", "pencil"][..], &SCRAM].concat()).0, Some(0));

    for words in [
        &["-u", "eve", "-P", "Pencil"][..],
        &["-u", "bob", "-P", "pencil"],
        &["-u", "eve", "-P", "Pencil", "-V", "3.1.1"],
        &["-u", "scarlet", "-P", "Pencil", "--auth-method", "scram-sha-256"],
        &["-u", "bob", "-P", "pencil", "--auth-method", "scram-sha-256"],
        // Her password is kept in a form that SCRAM cannot use.
        &["-u", "eve", "-P", "pencil", "--auth-method", "scram-sha-256"],
    ] {
        let (code, said) = publish(&broker, words);
        assert_eq!(code, Some(5), "{words:?}: {said}");
        assert!(said.contains("bad user name or password"), "{words:?}: {said}");
    }
    for words in [&[][..], &["-V", "3.1.1"]] {
        let (code, said) = publish(&broker, words);
        assert_eq!(code, Some(5), "{words:?}: {said}");
        assert!(said.contains("not authorised"), "{words:?}: {said}");
    }
    let (code, said) = publish(&broker, &[&["-u", "scarlet", "-P", "pencil", "-V", "3.1.1"][..], &SCRAM].concat());
    assert_eq!(code, Some(2), "{said}");

    let log = broker.log();
    assert_eq!(log.matches("WARN login failed").count(), 1, "the first is told, the others are counted: {log}");
    assert!(!log.contains("encil"), "{log}");
}

#[test]
fn files_of_mosquitto_passwd_are_read_as_they_are() {
    let story = "files_of_mosquitto_passwd_are_read_as_they_are";
    let Some(passwd) = outside::or_skip(outside::program("mosquitto_passwd"), story, "mosquitto_passwd") else { return };
    let Some(publisher) = outside::or_skip(outside::program("mosquitto_pub"), story, "mosquitto_pub") else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    let path = file.to_str().unwrap();
    let made = |words: &[&str]| assert!(Command::new(&passwd).args(words).status().unwrap().success());
    made(&["-c", "-b", path, "seven", "pencil"]);
    made(&["-H", "sha512", "-b", path, "six", "pencil"]);
    let kinds = columba(&["user", "ls", "--hashes", "--file", path], "");
    assert_eq!(text(&kinds.stdout), "seven  pbkdf2\nsix  sha512\n");
    let broker = broker_with(&file, &[]);

    for name in ["six", "seven"] {
        for version in ["mqttv31", "mqttv311", "mqttv5"] {
            for (password, code) in [("pencil", 0), ("Pencil", if version == "mqttv5" { 134 } else { 4 })] {
                let port = broker.port().to_string();
                let words = ["-p", &port, "-u", name, "-P", password, "-V", version, "-t", "t", "-m", "x", "-q", "1"];
                let out = Command::new(&publisher).args(words).output().unwrap();
                assert_eq!(out.status.code(), Some(code), "{name} {password} {version}: {}", text(&out.stderr));
            }
        }
        assert_eq!(user("verify", name, &file, "pencil").status.code(), Some(0));
        assert_eq!(user("verify", name, &file, "Pencil").status.code(), Some(5));
    }

    // Into a file of ours, and from there again.
    let ours = dir.path().join("users");
    let import = ["user", "import", path, "--file", ours.to_str().unwrap()];
    assert_eq!(columba(&import, "").status.code(), Some(0));
    assert_eq!(columba(&import, "").status.code(), Some(2), "they are there already");
    assert_eq!(text(&std::fs::read(&ours).unwrap()), text(&std::fs::read(&file).unwrap()));
}

#[test]
fn clients_of_others_log_in() {
    let story = "clients_of_others_log_in";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    assert!(user("add", "eve", &file, "pencil").status.success());
    let broker = broker_with(&file, &[]);
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients");
    let port = broker.port().to_string();

    let paho = |environment: &str, password: &str, five: bool| {
        let python = outside::or_skip(outside::python(environment), story, environment)?;
        let mut command = Command::new(python);
        command.arg(clients.join("outside_paho.py")).args(["publish", "--port", &port, "--user", "eve", "--password", password]);
        command.args(five.then_some("--five")).env("PYTHONWARNINGS", "ignore").env("PYTHONDONTWRITEBYTECODE", "1");
        Some(command.output().unwrap())
    };
    for (environment, five) in [("paho1", false), ("paho2", true)] {
        let Some(right) = paho(environment, "pencil", five) else { return };
        assert_eq!(text(&right.stdout), "done\n", "{environment}");
        let wrong = paho(environment, "Pencil", five).unwrap();
        assert!(text(&wrong.stdout).starts_with("failed: "), "{environment}: {wrong:?}");
    }

    let Some((node, modules)) = outside::or_skip(outside::node_with("mqtt"), story, "MQTT.js") else { return };
    for five in [false, true] {
        let run = |password: &str| {
            let mut command = Command::new(&node);
            let url = format!("mqtt://eve:{password}@127.0.0.1:{port}");
            command.arg(clients.join("outside_mqttjs.js")).args(["publish", "--qos", "1", "--url", &url]);
            command.args(five.then_some("--five")).env("NODE_PATH", &modules).output().unwrap()
        };
        let right = run("pencil");
        assert!(text(&right.stdout).ends_with("done\n"), "{right:?}");
        assert!(!run("Pencil").status.success());
    }
}

/// Waits until the log says so.
fn until_logged(broker: &Broker, words: &str) {
    let patience = Instant::now() + Duration::from_mins(1);
    while !broker.log().contains(words) {
        assert!(Instant::now() < patience, "no \"{words}\" in {}", broker.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_file_is_read_again_when_it_changes_and_on_sighup_and_a_bad_one_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    assert!(user("add", "eve", &file, "pencil").status.success());
    assert!(user("add", "bob", &file, "chalk").status.success());
    let broker = broker_with(&file, &[]);
    let subscriber = |name: &str, password: &str| {
        let port = broker.port().to_string();
        let words = ["sub", "-p", &port, "-t", "t", "-i", name, "-u", name, "-P", password, "--no-reconnect"];
        Command::new(COLUMBA).args(words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (eve, mut bob) = (subscriber("eve", "pencil"), subscriber("bob", "chalk"));
    until_logged(&broker, "client connected client_id=eve");
    until_logged(&broker, "client connected client_id=bob");
    let listener = format!("listener=127.0.0.1:{}", broker.port());
    let line = |words: &str| broker.log().lines().find(|line| line.contains(words)).map(str::to_owned).unwrap();
    let came = line("client connected client_id=eve");
    assert!(came.contains("client_id=eve user=eve peer=127.0.0.1:") && came.contains(&listener), "{came}");

    assert!(user("passwd", "eve", &file, "pen").status.success());
    until_logged(&broker, USERS_READ);
    let sent_away = text(&eve.wait_with_output().unwrap().stderr);
    assert!(sent_away.contains("0x87"), "{sent_away}");
    let went = line("client disconnected client_id=eve");
    assert!(went.contains("user=eve") && went.contains(&listener) && went.contains("reason_code=135 duration_ms="), "{went}");
    assert_eq!(publish(&broker, &["-u", "eve", "-P", "pen"]).0, Some(0));
    assert_eq!(publish(&broker, &["-u", "eve", "-P", "pencil"]).0, Some(5));

    let good = std::fs::read(&file).unwrap();
    std::fs::write(&file, "eve:nothing\n").unwrap();
    until_logged(&broker, "file not taken: what it said before stays in force what=\"users file\"");
    assert!(broker.log().contains(":1: no hash that is known here"), "{}", broker.log());
    assert_eq!(publish(&broker, &["-u", "eve", "-P", "pen"]).0, Some(0));

    std::fs::write(&file, good).unwrap();
    let before = broker.log().matches(USERS_READ).count();
    let pid = broker.process().id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    let patience = Instant::now() + Duration::from_mins(1);
    while broker.log().matches(USERS_READ).count() == before {
        assert!(Instant::now() < patience, "{}", broker.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(bob.try_wait().unwrap().is_none(), "who has not changed stays");
    bob.kill().unwrap();
    bob.wait().unwrap();
}

#[test]
fn a_setting_that_lets_nobody_in_is_refused_and_so_is_an_old_name() {
    for (setting, expected) in [
        ("auth.anonymous=false", "error: auth.anonymous = false, and there is no way to log in: nobody could connect\n"),
        ("auth.users_file=users", "error: --set auth.users_file=users: \"auth.users_file\" is \"auth.password.file\" now\n"),
    ] {
        let out = columba(&["serve", "--ephemeral", "--listen", "127.0.0.1:0", "--set", setting], "");
        assert_eq!(out.status.code(), Some(2));
        assert!(text(&out.stderr).starts_with(expected), "{}", text(&out.stderr));
    }
}

#[test]
fn plain_words_are_hashed_on_their_way_in() {
    let dir = tempfile::tempdir().unwrap();
    let (from, file) = (dir.path().join("plain"), dir.path().join("users"));
    std::fs::write(&from, "# ours\neve:pencil\nbob:a:b\n").unwrap();
    let import = |more: &[&str]| {
        let words = ["user", "import", from.to_str().unwrap(), "--file", file.to_str().unwrap()];
        columba(&[&words, more].concat(), "")
    };
    assert_eq!(import(&[]).status.code(), Some(2), "these are no hashes");
    assert_eq!(import(&["--plain", "--hash", "pbkdf2"]).status.code(), Some(0));

    let kinds = columba(&["user", "ls", "--hashes", "--file", file.to_str().unwrap()], "");
    assert_eq!(text(&kinds.stdout), "eve  pbkdf2\nbob  pbkdf2\n");
    assert!(!text(&std::fs::read(&file).unwrap()).contains("pencil"));
    for (name, password, code) in [("eve", "pencil", 0), ("bob", "a:b", 0), ("bob", "a", 5), ("mallory", "x", 2)] {
        assert_eq!(user("verify", name, &file, password).status.code(), Some(code), "{name}");
    }
}

#[test]
fn the_users_file_is_the_one_that_the_configuration_names() {
    let dir = tempfile::tempdir().unwrap();
    let (file, config) = (dir.path().join("users"), dir.path().join("columba.toml"));
    std::fs::write(&config, format!("auth.password.file = \"{}\"\n", file.display())).unwrap();
    let config = config.to_str().unwrap();

    let added = columba(&["user", "add", "alice", "-c", config], "pencil\n");
    assert!(added.status.success(), "{}", text(&added.stderr));
    assert_eq!(text(&columba(&["user", "ls", "--file", file.to_str().unwrap()], "").stdout), "alice\n");
    let verified = columba(&["user", "verify", "alice", "-c", config], "pencil\n");
    assert!(verified.status.success(), "{}", text(&verified.stderr));

    let unsaid = columba(&["user", "add", "bob"], "pencil\n");
    assert_eq!(unsaid.status.code(), Some(2));
    assert_eq!(
        text(&unsaid.stderr),
        "error: it is not said which users file is meant\ntry: --file users\ntry: -c columba.toml\n"
    );
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
