//! `columba serve` as a process: what it prints, what it refuses, how it ends.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::Duration,
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// CONNECT of MQTT 5, client identifier "c", clean start.
const CONNECT: &[u8] = b"\x10\x0E\0\x04MQTT\x05\x02\0\x3C\0\0\x01c";

fn columba(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_columba"));
    command.args(["serve", "--http", "off"]).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("COLUMBA_") {
            command.env_remove(name);
        }
    }
    command
}

/// A broker of its own, and the lines that it says when it is up.
struct Broker {
    process: Child,
    stdout: BufReader<ChildStdout>,
    banner: [String; 3],
}

impl Broker {
    fn start(args: &[&str]) -> Self {
        Self::spawn(columba(args).stderr(Stdio::null()))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut process = command.spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line
        };
        let banner = [line(), line(), line()];
        Self { process, stdout, banner }
    }

    fn address(&self) -> SocketAddr {
        let url = self.banner[1].split_whitespace().find_map(|word| word.strip_prefix("mqtt://")).unwrap();
        url.parse().unwrap()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end; the answer is the exit code.
    fn ends(mut self) -> Option<i32> {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "nothing is said after the banner");
        self.process.wait().unwrap().code()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Where a test has failed; else it is gone already.
        self.process.kill().unwrap_or_default();
        self.process.wait().unwrap();
    }
}

fn connected(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(CONNECT).unwrap();
    let mut head = [0; 2];
    client.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 0x20, "CONNACK");
    let mut body = vec![0; usize::from(head[1])];
    client.read_exact(&mut body).unwrap();
    assert_eq!(body[1], 0, "success");
    client
}

fn refused(args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = columba(args).output().unwrap();
    assert!(stdout.is_empty());
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn the_banner_says_where_and_what_came_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();

    let broker = Broker::start(&["--listen", "localhost:0", "--data-dir", path]);

    let [first, second, third] = &broker.banner;
    let begin = format!("columba {}  data {path} (0 sessions, 0 retained, recovered in ", env!("CARGO_PKG_VERSION"));
    assert!(first.starts_with(&begin), "{first}");
    assert!(second.contains("mqtt://127.0.0.1:") && second.ends_with("no password: this machine only\n"), "{second}");
    let port = broker.address().port();
    assert!(third.starts_with(&format!("Try:  columba sub -p {port} ")), "{third}");
}

#[test]
fn all_addresses_are_shown_as_those_that_can_be_reached() {
    let mut command = columba(&["--listen", "*:0", "--allow-anonymous", "--ephemeral"]);
    let mut process = command.stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let shown: Vec<String> = lines.take_while(|line| !line.starts_with("Try:")).collect();

    let urls: Vec<&str> =
        shown.iter().flat_map(|line| line.split_whitespace()).filter_map(|word| word.strip_prefix("mqtt://")).collect();
    let reached: Vec<bool> =
        urls.iter().map(|address| TcpStream::connect(address.parse::<SocketAddr>().unwrap()).is_ok()).collect();

    process.kill().unwrap();
    process.wait().unwrap();
    assert!(urls.iter().any(|address| address.starts_with("127.0.0.1:")), "{shown:?}");
    assert!(!urls.iter().any(|address| address.starts_with("0.0.0.0:") || address.starts_with("[::]:")), "{shown:?}");
    assert!(reached.iter().all(|reached| *reached), "{urls:?} {reached:?}");
    assert!(shown.last().unwrap().ends_with("no password: anyone who reaches it may connect"), "{shown:?}");
}

#[test]
fn sigterm_tells_clients_and_ends_with_0() {
    for signal in ["TERM", "INT"] {
        let broker = Broker::start(&["--listen", "127.0.0.1:0", "--ephemeral"]);
        let mut client = connected(broker.address());

        broker.signal(signal);

        let mut farewell = Vec::new();
        client.read_to_end(&mut farewell).unwrap();
        assert_eq!((farewell[0], farewell[2]), (0xE0, 0x8B), "DISCONNECT: server shutting down");
        drop(client);
        assert_eq!(broker.ends(), Some(0), "{signal}");
    }
}

#[test]
fn a_second_signal_is_obeyed_at_once() {
    let broker = Broker::start(&["--listen", "127.0.0.1:0", "--ephemeral"]);
    // A client that takes note of nothing keeps the stop waiting.
    let mut client = connected(broker.address());

    broker.signal("TERM");
    let mut first = [0];
    client.read_exact(&mut first).unwrap();
    broker.signal("TERM");

    // Where the first stop was faster, it ended with 0.
    let code = broker.ends();
    assert!(code == Some(1) || code == Some(0), "{code:?}");
}

#[test]
fn a_killed_broker_leaves_its_port_and_its_directory_free() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let broker = Broker::start(&["--listen", "127.0.0.1:0", "--data-dir", path]);
    let address = broker.address().to_string();
    let client = connected(broker.address());

    broker.signal("KILL");
    assert_eq!(broker.ends(), None);
    let again = Broker::start(&["--listen", &address, "--data-dir", path]);

    assert_eq!(again.address().to_string(), address);
    drop(client);
    again.signal("TERM");
    assert_eq!(again.ends(), Some(0));
}

#[test]
fn without_descriptors_newcomers_wait_and_nobody_else_notices() {
    let program = env!("CARGO_BIN_EXE_columba");
    let limited = format!("ulimit -n 48 && exec {program} serve --http off --listen 127.0.0.1:0 --ephemeral");
    let mut command = Command::new("sh");
    command.args(["-c", &limited]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut broker = Broker::spawn(&mut command);
    let log = broker.process.stderr.take().unwrap();

    let mut first = connected(broker.address());
    let crowd: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(broker.address()).unwrap()).collect();
    let told = BufReader::new(log).lines().map(Result::unwrap).find(|line| line.contains("cannot accept connections"));
    assert!(told.is_some());
    first.write_all(&[0xC0, 0]).unwrap();
    let mut answer = [0; 2];
    first.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0xD0, 0]);
    drop(crowd);

    connected(broker.address());
    broker.signal("TERM");
    assert_eq!(broker.ends(), Some(0));
}

#[test]
fn what_is_refused_says_why_and_what_to_try() {
    let (code, text) = refused(&["--listen", "0.0.0.0:0", "--ephemeral"]);
    let mut lines = text.lines();
    assert_eq!(code, Some(2));
    assert_eq!(lines.next(), Some("error: listener 0.0.0.0:0 is reachable from other machines and has no authentication"));
    assert_eq!(lines.next(), Some("try:   columba serve --http off --listen localhost:0 --ephemeral   # this machine only"));
    let users = "or:    columba user add NAME --file users && columba serve --http off --listen 0.0.0.0:0 --ephemeral --set auth.password.file=users   # by user name and password";
    assert_eq!(lines.next(), Some(users));
    let last =
        "or:    columba serve --http off --listen 0.0.0.0:0 --ephemeral --allow-anonymous   # anyone on the network may connect";
    assert_eq!(lines.next(), Some(last));

    let (code, text) = refused(&["--ephemeral", "--set", "limits.inflihgt=5"]);
    assert_eq!(code, Some(2));
    assert_eq!(text, "error: --set limits.inflihgt=5: unknown key \"limits.inflihgt\"; did you mean \"inflight\"?\n");

    let broker = Broker::start(&["--listen", "127.0.0.1:0", "--ephemeral"]);
    let (code, text) = refused(&["--listen", &broker.address().to_string(), "--ephemeral"]);
    assert_eq!(code, Some(1));
    let taken = format!("error: {} is taken (pid {}, columba)\n", broker.address(), broker.process.id());
    assert!(text.starts_with(&taken), "{text}");
}

#[test]
fn a_file_is_read_and_its_mistakes_are_placed() {
    let directory = tempfile::tempdir().unwrap();
    let write = |text: &str| -> String {
        let path = directory.path().join("columba.toml");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let data = |name: &str| -> String { Path::new(directory.path()).join(name).to_str().unwrap().to_owned() };

    let file = write(&format!("data_dir = \"{}\"\n[[listener]]\nurl = \"mqtt://127.0.0.1:0\"\n", data("store")));
    let broker = Broker::start(&["--config", &file]);
    assert!(broker.banner[0].contains(&data("store")), "{}", broker.banner[0]);
    drop(broker);

    let file = write("[log]\nfromat = \"json\"\n");
    let (code, text) = refused(&["-c", &file]);
    assert_eq!(code, Some(2));
    assert_eq!(text, format!("error: {file}:2:1: unknown key \"log.fromat\"; did you mean \"format\"?\n"));
}

#[test]
fn what_would_not_start_is_told_by_check_in_the_same_words() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| -> String {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let broken = file("broken", "no users file\n");
    let (tls, users) = ("[[listener]]\nurl = \"mqtts://127.0.0.1:0\"\n", "[auth.password]\nfile = ");
    let cases = [
        ("columba.toml", "[[listener]]\nurl = \"mqtt://*:0\"\n".to_owned(), "has no authentication"),
        ("mosquitto.conf", "listener 24020\n".to_owned(), "no way to log in"),
        ("columba.toml", format!("{users}\"/none/users\"\n"), "/none/users"),
        ("columba.toml", format!("{users}\"{broken}\"\n"), "broken:1"),
        ("columba.toml", "[acl]\nfile = \"/none/acl.toml\"\n".to_owned(), "/none/acl.toml"),
        ("columba.toml", format!("[acl]\nfile = \"{broken}\"\n"), "broken:1"),
        ("columba.toml", format!("{tls}cert = \"/none/cert\"\nkey = \"/none/key\"\n"), "/none/cert"),
        ("columba.toml", format!("{tls}cert = \"{broken}\"\nkey = \"{broken}\"\n"), "broken"),
        ("columba.toml", "[auth.jwt]\nkey_file = \"/none/key\"\n".to_owned(), "/none/key"),
        ("columba.toml", "[auth]\norder = [\"http\"]\n".to_owned(), "auth.http.url"),
        ("columba.toml", "[[listener]]\nurl = \"mqtt://no-such-host.invalid:0\"\n".to_owned(), "no-such-host.invalid"),
    ];
    for (name, text, part) in cases {
        let path = file(name, &text);
        let started = refused(&["-c", &path]);
        let check = Command::new(env!("CARGO_BIN_EXE_columba")).args(["config", "check", &path]).output().unwrap();
        let told = String::from_utf8(check.stderr).unwrap();

        let first = |text: &str| text.lines().find(|line| line.starts_with("error: ")).unwrap_or_default().to_owned();
        assert!(first(&told).contains(part), "{text}: {told}");
        assert_eq!(first(&told), first(&started.1), "{text}");
        assert_eq!(check.status.code(), Some(2), "{text}");
        assert_ne!(started.0, Some(0), "{text}");
    }
}

fn health(url: &str, more: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_columba")).args(["health", "--url", url]).args(more).output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn health_says_by_its_exit_code_whether_the_broker_is_well() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_columba"));
    command.args(["serve", "--http", "http://127.0.0.1:0", "--listen", "127.0.0.1:0", "--ephemeral"]);
    let broker = Broker::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()));
    let url = broker.banner[2].split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();

    assert_eq!(health(&url, &[]), (Some(0), "ready\n".into()));
    assert_eq!(health(&url, &["--live"]), (Some(0), "alive\n".into()));
    let mqtt = format!("http://{}", broker.address());
    assert_ne!(health(&mqtt, &[]).0, Some(0), "MQTT is no HTTP");
    drop(broker);
    let (code, told) = health(&url, &[]);
    assert_eq!(code, Some(4), "{told}");
    assert!(told.contains("connection refused") && told.contains("try: columba serve"), "{told}");
}

#[test]
fn a_configuration_that_is_not_taken_is_noted_and_the_broker_is_ready_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("columba.toml");
    std::fs::write(&file, "").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_columba"));
    command.args(["serve", "--http", "http://127.0.0.1:0", "--listen", "127.0.0.1:0", "--ephemeral", "-c"]).arg(&file);
    let broker = Broker::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()));
    let url = broker.banner[2].split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    let at: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let ready = || {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(!ready().contains("notes"));

    std::fs::write(&file, "[limits]\ninflght = 5\n").unwrap();
    broker.signal("HUP");

    let answer = loop {
        let answer = ready();
        if answer.contains("notes") {
            break answer;
        }
    };
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"note\":\"config-refused\""), "{answer}");
    assert_eq!(health(url, &[]), (Some(0), "ready\n".into()));
}

#[test]
fn ctl_shows_and_changes_a_running_broker_and_tokens_say_who_may() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_columba"));
    command.args(["serve", "--http", "http://127.0.0.1:0", "--listen", "127.0.0.1:0", "--data-dir", path]);
    let broker = Broker::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()));
    let url = broker.banner[2].split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_columba")).args(words).output().unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let ctl = |words: &[&str]| run(&[&["ctl", "--url", &*url], words].concat());
    let _client = connected(broker.address());

    let (code, told) = ctl(&["clients"]);
    assert!(code == Some(0) && told.contains(r#""client_id":"c""#) && told.lines().count() == 1, "{told}");
    for words in [&["subscriptions"][..], &["subscriptions", "c"], &["subscriptions", "--filter", "a/#"]] {
        assert_eq!(ctl(words), (Some(0), String::new()), "{words:?}: nobody subscribes to anything");
    }
    assert_eq!(ctl(&["subscriptions", "--filter", "a#"]).0, Some(1));
    assert!(ctl(&["config"]).1.contains(r#""key":"http.url","origin":"--http http://127.0.0.1:0","value":"http://127.0.0.1:0""#));
    assert_eq!(ctl(&["publish", "-r", "-q", "1", "home/door", "open"]), (Some(0), String::new()));
    assert!(ctl(&["retained"]).1.contains(r#""topic":"home/door""#));
    assert!(ctl(&["retained-get", "home/door"]).1.contains(r#""payload": "open""#));
    assert_eq!(ctl(&["retained-rm", "home/door"]).0, Some(0));
    assert!(ctl(&["reload"]).1.contains(r#""waits_for_start": []"#));
    assert_eq!(ctl(&["purge", "c"]), (Some(0), "0\n".to_owned()), "nothing waits");
    assert_eq!(ctl(&["kick", "c"]).0, Some(0));
    assert_eq!(ctl(&["kick", "c"]).0, Some(1));

    let (_, token) = run(&["token", "create", "--role", "viewer", "--name", "board", "--data-dir", path]);
    assert_eq!(ctl(&["overview"]).0, Some(12), "now it takes a token");
    assert_eq!(ctl(&["--token", token.trim(), "overview"]).0, Some(0));
    assert_eq!(ctl(&["--token", token.trim(), "kick", "c"]).0, Some(12), "a viewer looks");
    let (_, list) = run(&["token", "ls", "--data-dir", path]);
    let id = list.split(' ').next().unwrap();
    assert!(list.ends_with(" viewer for-ever board\n"), "{list}");
    let (_, short) = run(&["token", "create", "--role", "viewer", "--expires", "0s", "--data-dir", path]);
    assert_eq!(ctl(&["--token", short.trim(), "overview"]).0, Some(12), "its time is over");
    assert!(run(&["token", "ls", "--data-dir", path]).1.contains(" viewer over\n"));
    assert_eq!(run(&["token", "del", id, "--data-dir", path]).0, Some(0));
    assert_eq!(ctl(&["--token", token.trim(), "overview"]).0, Some(12));
}

/// CONNECT in MQTT 3.1.1 without clean session; the answer is CONNACK's session present flag.
fn has_session(address: SocketAddr, client_id: &str) -> bool {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let id = client_id.as_bytes();
    let (rest, len) = (u8::try_from(12 + id.len()).unwrap(), u8::try_from(id.len()).unwrap());
    client.write_all(&[&[0x10, rest, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 60, 0, len][..], id].concat()).unwrap();
    let mut connack = [0; 4];
    client.read_exact(&mut connack).unwrap();
    assert_eq!((connack[0], connack[3]), (0x20, 0), "CONNACK with success");
    client.write_all(&[0xE0, 0]).unwrap();
    connack[2] == 1
}

#[test]
fn what_an_administrator_has_ended_or_cleared_is_gone_for_good_when_the_answer_comes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_columba"));
        command.args(["serve", "--http", "http://127.0.0.1:0", "--listen", "127.0.0.1:0", "--data-dir", path]);
        let broker = Broker::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()));
        let url = broker.banner[2].split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
        (broker, url)
    };
    let ctl = |url: &str, words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_columba")).args([&["ctl", "--url", url], words].concat()).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };

    for round in 0..3 {
        let (broker, url) = start();
        assert!(!has_session(broker.address(), "ends"), "round {round}");
        assert!(!ctl(&url, &["retained"]).contains("\"clears\""), "round {round}");
        assert_eq!(has_session(broker.address(), "stays"), round > 0);
        ctl(&url, &["publish", "-r", "-q", "1", "clears", "x"]);
        ctl(&url, &["retained-rm", "clears"]);
        ctl(&url, &["end-session", "ends"]);
        // By SIGKILL.
        drop(broker);
    }
}
