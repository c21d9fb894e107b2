//! What clients may do: the same files of passwords and rules under Debian's mosquitto and under columba, and rules that change.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

#[path = "../../client/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use columba_check::broker::Broker;
use columba_check::outside;

use support::Mosquitto;

const COLUMBA: &str = env!("CARGO_BIN_EXE_columba");

const RULES: &str = "\
# who has not logged in
topic read public/#
topic write inbox

user eve
topic readwrite eve/#
topic deny eve/secret
topic read both/+/state
topic write name with spaces

user bob
topic read #
topic write both/#
topic deny both/closed

pattern readwrite clients/%c/#
pattern write users/%u/x%c
pattern deny clients/%c/closed
pattern read $SYS/own/%u
";

/// Topics that each client tries to publish to, and to receive.
const TOPICS: [&str; 16] = [
    "public/a",
    "inbox",
    "eve/a",
    "eve/secret",
    "both/x/state",
    "both/x/y",
    "both/closed",
    "name with spaces",
    "clients/me/a",
    "clients/me/closed",
    "clients/you/a",
    "users/eve/xme",
    "users/bob/xme",
    "users/eve/xyou",
    "elsewhere",
    "a/%c/%u",
];

/// As whom: nobody, one with rules, one with others, one without any.
const USERS: [Option<&str>; 4] = [None, Some("eve"), Some("bob"), Some("carl")];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Tools {
    publish: std::path::PathBuf,
    subscribe: std::path::PathBuf,
}

impl Tools {
    fn words(port: u16, user: Option<&str>, id: &str) -> Vec<String> {
        let mut words = vec!["-p".to_owned(), port.to_string(), "-i".to_owned(), id.to_owned()];
        if let Some(user) = user {
            words.extend(["-u", user, "-P", "pencil"].map(str::to_owned));
        }
        words
    }

    fn publish(&self, port: u16, user: Option<&str>, id: &str, topic: &str, payload: &str) {
        let out = Command::new(&self.publish)
            .args(Self::words(port, user, id))
            .args(["-q", "1", "-t", topic, "-m", payload])
            .output()
            .unwrap();
        assert!(out.status.success(), "{topic}: {}", text(&out.stderr));
    }

    /// Somebody who prints what comes, and is ready.
    fn subscribe(&self, port: u16, user: &str, id: &str, filter: &str) -> Subscriber {
        // Line by line, or what it says waits for more of it.
        let child = Command::new("stdbuf")
            .arg("-oL")
            .arg(&self.subscribe)
            .args(Self::words(port, Some(user), id))
            .args(["-q", "1", "-t", filter, "-v", "-d"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut subscriber = Subscriber { child, lines: Vec::new(), reader: None };
        subscriber.reader = Some(std::io::BufReader::new(subscriber.child.stdout.take().unwrap()));
        subscriber.until("Subscribed");
        subscriber
    }
}

struct Subscriber {
    child: std::process::Child,
    reader: Option<std::io::BufReader<std::process::ChildStdout>>,
    lines: Vec<String>,
}

impl Subscriber {
    /// Reads until a line begins like this.
    fn until(&mut self, beginning: &str) {
        use std::io::BufRead as _;
        let reader = self.reader.as_mut().unwrap();
        loop {
            let mut line = String::new();
            assert!(reader.read_line(&mut line).unwrap() > 0, "no {beginning} behind {:?}", self.lines);
            let is_it = line.starts_with(beginning);
            self.lines.push(line.trim_end().to_owned());
            if is_it {
                return;
            }
        }
    }

    /// The messages, in order.
    fn messages(&self) -> Vec<String> {
        self.lines.iter().filter(|line| !line.starts_with("Client ") && !line.starts_with("Subscribed")).cloned().collect()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}

/// Who publishes what arrives, and who receives what is there.
fn what_clients_may_do(port: u16, tools: &Tools) -> Vec<String> {
    let mut seen = Vec::new();
    // "all" may read everything, but for topics that begin with $.
    let mut reader = tools.subscribe(port, "all", "reader", "#");
    for user in USERS {
        for topic in TOPICS {
            tools.publish(port, user, "me", topic, user.unwrap_or("nobody"));
        }
    }
    tools.publish(port, Some("all"), "end", "end", "end");
    reader.until("end end");
    seen.extend(reader.messages().into_iter().map(|line| format!("published: {line}")));

    for user in ["eve", "bob", "carl"] {
        // A filter by which something may come for each.
        let mut subscriber = tools.subscribe(port, user, "me", "#");
        for topic in TOPICS {
            tools.publish(port, Some("all"), "writer", topic, "x");
        }
        tools.publish(port, Some("all"), "writer", "clients/me/end", "end");
        subscriber.until("clients/me/end end");
        seen.extend(subscriber.messages().into_iter().map(|line| format!("received by {user}: {line}")));
    }
    seen
}

fn files(dir: &Path, passwd: &Path) -> (String, String) {
    let (passwords, rules) = (dir.join("passwords"), dir.join("rules"));
    for (index, user) in ["all", "eve", "bob", "carl"].into_iter().enumerate() {
        let mut command = Command::new(passwd);
        command.args((index == 0).then_some("-c")).arg("-b").arg(&passwords).args([user, "pencil"]);
        assert!(command.status().unwrap().success());
    }
    fs::write(&rules, format!("{RULES}\nuser all\ntopic #\n")).unwrap();
    // mosquitto gives up its rights when root starts it.
    for file in [&passwords, &rules] {
        fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    }
    fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    (passwords.display().to_string(), rules.display().to_string())
}

#[test]
fn the_same_files_mean_the_same_under_mosquitto_and_here() {
    let story = "the_same_files_mean_the_same_under_mosquitto_and_here";
    let found = |name: &str| outside::or_skip(outside::program(name), story, name);
    let (Some(passwd), Some(publish), Some(subscribe)) =
        (found("mosquitto_passwd"), found("mosquitto_pub"), found("mosquitto_sub"))
    else {
        return;
    };
    let tools = Tools { publish, subscribe };
    let dir = tempfile::tempdir().unwrap();
    let (passwords, rules) = files(dir.path(), &passwd);
    let lines = format!("allow_anonymous true\npassword_file {passwords}\nacl_file {rules}");
    let Some(mosquitto) = Mosquitto::start(&lines) else { return };

    let theirs = what_clients_may_do(mosquitto.port, &tools);
    let settings = [format!("auth.password.file={passwords}"), format!("acl.file={rules}")];
    let broker = Broker::start(COLUMBA, &["--allow-anonymous", "--set", &settings[0], "--set", &settings[1]]);
    let ours = what_clients_may_do(broker.port(), &tools);

    assert_eq!(ours, theirs);
    for expected in
        ["published: eve/a eve", "published: inbox nobody", "received by eve: both/x/state x", "received by bob: public/a x"]
    {
        assert!(theirs.iter().any(|line| line == expected), "{expected}: {theirs:?}");
    }
}

fn columba(words: &[&str]) -> Output {
    Command::new(COLUMBA).args(words).env_remove("COLUMBA_URL").output().unwrap()
}

#[test]
fn what_is_denied_is_said_with_the_rule_and_other_rules_hold_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("acl.toml");
    fs::write(&rules, "[[rule]]\nallow = \"all\"\ntopics = \"open/#\"\n").unwrap();
    let setting = format!("acl.file={}", rules.display());
    let broker = Broker::start(COLUMBA, &["--set", &setting]);
    let port = broker.port().to_string();
    let publish = |more: &[&str]| {
        let out = columba(&[&["pub", "-p", &port, "-m", "x", "-q", "1", "-t"], more].concat());
        (out.status.code(), text(&out.stderr))
    };
    assert_eq!(publish(&["open/a"]).0, Some(0));
    let (code, said) = publish(&["closed/a"]);
    assert_eq!(code, Some(12), "{said}");
    assert!(said.contains("not allowed: no rule allows it"), "{said}");
    for version in ["3.1", "3.1.1"] {
        let note = format!("columba: note: MQTT {version} cannot report a refused publish; use -V 5\n");
        assert_eq!(publish(&["closed/a", "-V", version]), (Some(0), note));
        assert_eq!(publish(&["closed/a", "-V", version, "--quiet"]), (Some(0), String::new()));
        let at_qos_0 = columba(&["pub", "-p", &port, "-m", "x", "-q", "0", "-t", "closed/a", "-V", version]);
        assert_eq!(text(&at_qos_0.stderr), "", "no version would say so");
    }
    let refused = columba(&["sub", "-p", &port, "-t", "closed/#", "-W", "5"]);
    assert_eq!(refused.status.code(), Some(12), "{}", text(&refused.stderr));
    let told = "error: subscribe to \"closed/#\" was refused: not authorised (0x87): not allowed: no rule allows it\n";
    assert!(text(&refused.stderr).contains(told), "{}", text(&refused.stderr));

    let until = |words: &str| {
        let patience = Instant::now() + Duration::from_mins(1);
        while !broker.log().contains(words) {
            assert!(Instant::now() < patience, "no {words:?} in {}", broker.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until("publication denied");
    fs::write(&rules, "[[rule]]\nallow = \"everything\"\ntopics = \"#\"\n").unwrap();
    until("file not taken: what it said before stays in force what=\"ACL file\"");
    assert_eq!(publish(&["open/a"]).0, Some(0));
    fs::write(&rules, "[[rule]]\nallow = \"all\"\ntopics = \"closed/#\"\n").unwrap();
    until("file read again what=\"ACL file\"");
    assert_eq!(publish(&["open/a"]).0, Some(12));
    assert_eq!(publish(&["closed/a"]).0, Some(0));

    fs::write(&rules, "[[rule]]\nallow = \"everything\"\ntopics = \"#\"\n").unwrap();
    let out = columba(&["serve", "--ephemeral", "--listen", "127.0.0.1:0", "--set", &setting]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("rule 1: \"everything\" is none of publish, subscribe, receive and all"), "{out:?}");
}

#[test]
fn acl_check_names_the_rule_that_decides() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("acl.toml"), dir.path().join("rules"));
    let roles = "[roles.ops]\nusers = [\"alice\"]\n[[rule]]\nallow = \"publish\"\ntopics = \"plant/%c/#\"\nroles = \"ops\"\n";
    fs::write(&ours, roles).unwrap();
    fs::write(&theirs, RULES).unwrap();
    let check = |file: &Path, words: &[&str]| {
        let out = columba(&[&["acl", "check", "--file", file.to_str().unwrap()], words].concat());
        (out.status.code(), text(&out.stdout).trim_end().to_owned())
    };

    assert_eq!(check(&ours, &["alice", "pub", "plant/7/a", "-i", "7"]), (Some(0), "allowed by rule 1 (roles/ops)".to_owned()));
    assert_eq!(check(&ours, &["alice", "pub", "plant/8/a", "-i", "7"]), (Some(12), "denied: no rule allows it".to_owned()));
    assert_eq!(check(&ours, &["bob", "pub", "plant/7/a", "-i", "7"]).0, Some(12));
    assert_eq!(check(&ours, &["alice", "sub", "#"]).0, Some(12));
    assert_eq!(check(&ours, &["alice", "pub", "plant/#"]).0, Some(2), "no topic");
    let denied = check(&theirs, &["eve", "recv", "eve/secret"]);
    assert_eq!(denied, (Some(12), "denied by line 7 (topic deny eve/secret)".to_owned()));
    assert_eq!(check(&theirs, &["-", "sub", "public/+"]), (Some(0), "allowed by line 2 (topic read public/#)".to_owned()));
}
