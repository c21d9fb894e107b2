//! In the place of mosquitto: the same files, the same clients, and they see the same.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use columba_check::{
    load::{free_port, write_certificate},
    outside,
};
use tempfile::TempDir;

const COLUMBA: &str = env!("CARGO_BIN_EXE_columba");

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Alice may hear everything but the cellar; Bob may speak, and has one room.
const RULES: &str = "# who may do what
user alice
topic t
topic read house/#
topic read web/#
topic readwrite mail/#
topic read closed/#
topic deny house/cellar/#

user bob
topic write house/#
topic write web/#
topic write mail/#
topic read house/kept/0

pattern readwrite own/%u/#
pattern write from/%c
";

/// A house as many have it: a plain port, one with TLS, one for web pages, users, and messages that survive a restart.
struct House {
    dir: TempDir,
    conf: PathBuf,
    ca: PathBuf,
    plain: u16,
    tls: u16,
    web: u16,
    /// Where nothing is but what the house keeps.
    site: u16,
}

impl House {
    fn build() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = write_certificate(dir.path()).unwrap();
        let [plain, tls, web, site] = [(); 4].map(|()| free_port().unwrap());
        let users = dir.path().join("passwd");
        for (mode, user, password) in [(&["-c", "-b"][..], "alice", "wonderland"), (&["-b"], "bob", "builder")] {
            let made = Command::new("mosquitto_passwd").args(mode).arg(&users).args([user, password]).status().unwrap();
            assert!(made.success());
        }
        fs::write(dir.path().join("acl"), RULES).unwrap();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::create_dir(dir.path().join("conf.d")).unwrap();
        let conf = dir.path().join("mosquitto.conf");
        let (dir_, cert_, key_) = (dir.path().display(), cert.display(), key.display());
        let text = format!(
            "# what stands in many houses\npid_file {dir_}/mosquitto.pid\nuser root\nper_listener_settings false\nallow_anonymous false\n\
             password_file {dir_}/passwd\nacl_file {dir_}/acl\npersistence true\npersistence_location {dir_}/data/\nautosave_interval 1800\n\
             log_dest stderr\nlog_type error\nlog_type warning\nconnection_messages false\nmax_queued_messages 5000\ninclude_dir {dir_}/conf.d\n"
        );
        fs::write(&conf, text).unwrap();
        let listeners = format!(
            "listener {plain} 127.0.0.1\n\nlistener {tls} 127.0.0.1\ncafile {cert_}\ncertfile {cert_}\nkeyfile {key_}\n\n\
             listener {web} 127.0.0.1\nprotocol websockets\n\n\
             listener {site} 127.0.0.1\nmount_point house/kept/\n"
        );
        fs::write(dir.path().join("conf.d/listeners.conf"), listeners).unwrap();
        Self { dir, conf, ca: cert, plain, tls, web, site }
    }

    fn start(&self, program: &Path, words: &[&str]) -> Broker {
        let child = Command::new(program).args(words).arg("-c").arg(&self.conf).stdout(Stdio::null()).spawn().unwrap();
        let broker = Broker(child);
        let began = Instant::now();
        for port in [self.plain, self.tls, self.web, self.site] {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(began.elapsed() < PATIENCE, "{} does not listen", program.display());
                thread::sleep(Duration::from_millis(10));
            }
        }
        broker
    }

    /// What a client of mosquitto's says and how it ends, on the plain port or the one with TLS.
    fn client(&self, program: &str, is_tls: bool, words: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(["-h", "localhost", "-p", &if is_tls { self.tls } else { self.plain }.to_string()]);
        if is_tls {
            command.arg("--cafile").arg(&self.ca);
        }
        let output = command.args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        // A wrong password is "bad user name or password" here (4, 0x86), and "not authorized" there.
        let ended = match output.status.code() {
            Some(4 | 5 | 0x86 | 0x87) => "refused".to_owned(),
            code => format!("{code:?}"),
        };
        format!("{program} {words:?}, TLS {is_tls}: {ended}: {said}")
    }

    /// A subscriber of MQTT.js at the port for web pages, a publisher at the plain one.
    fn by_web(&self) -> String {
        let (node, modules) = outside::node_with("mqtt").unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/outside_mqttjs.js");
        let mut command = Command::new(node);
        command.arg(script).args([
            "subscribe",
            "--id",
            "page",
            "--qos",
            "1",
            "--topic",
            "web/#",
            "--user",
            "alice",
            "--password",
            "wonderland",
        ]);
        command.args(["--url", &format!("ws://localhost:{}/mqtt", self.web)]).env("NODE_PATH", modules);
        let mut page = columba_check::program::Program::start(&mut command);
        let ready = page.until("ready");
        self.client("mosquitto_pub", false, &["-u", "bob", "-P", "builder", "-t", "web/page", "-q", "1", "-m", "hello"]);
        format!("{ready}, {}", page.until("message"))
    }

    /// The day of a house. Between both halves the broker starts anew.
    fn morning(&self) -> Vec<String> {
        let (alice, bob) = (["-u", "alice", "-P", "wonderland"], ["-u", "bob", "-P", "builder"]);
        let publish = |is_tls, who: &[&str], words: &[&str]| self.client("mosquitto_pub", is_tls, &[who, words].concat());
        let subscribe = |is_tls, who: &[&str], words: &[&str]| self.client("mosquitto_sub", is_tls, &[who, words].concat());
        let some = ["-t", "t", "-m", "x", "-q", "1"];
        let mut seen = vec![
            publish(false, &[], &some),
            publish(false, &["-u", "alice"], &some),
            publish(false, &["-u", "alice", "-P", "wrong"], &some),
            publish(false, &["-u", "nobody", "-P", "wonderland"], &some),
            publish(true, &["-u", "alice", "-P", "wrong"], &[&some[..], &["-V", "5"]].concat()),
            publish(true, &alice, &[&some[..], &["-V", "5"]].concat()),
            publish(true, &alice, &[&some[..], &["-V", "mqttv31"]].concat()),
        ];
        for (number, qos) in ["0", "1", "2"].iter().enumerate() {
            let topic = format!("house/kept/{number}");
            seen.push(publish(number > 0, &bob, &["-t", &topic, "-r", "-q", qos, "-m", "kept"]));
        }
        seen.push(subscribe(true, &alice, &["-t", "house/kept/+", "-C", "3", "-v", "-q", "2", "-F", "%t %q %r %p"]));
        seen.push(subscribe(false, &alice, &["-i", "desk", "-c", "-q", "2", "-t", "mail/#", "-E"]));
        for qos in ["1", "2"] {
            seen.push(publish(true, &bob, &["-t", "mail/in", "-q", qos, "-m", &format!("letter {qos}")]));
        }
        // Behind a mount point topics are short, and rules speak of whole ones. (What its own clients get is not compared: mosquitto 2.0.11 forgets to make
        // it short again.)
        let site = self.site.to_string();
        for who in [&bob, &alice] {
            let words = ["-p", &site, "-t", "side/door", "-r", "-q", "1", "-m", who[1]];
            seen.push(publish(false, who, &words));
        }
        seen.push(subscribe(false, &alice, &["-t", "house/kept/side/#", "-C", "1", "-F", "%t %q %r %p"]));
        // What the rules deny is as good as never said, and the clients of 3.1.1 are not told.
        for (who, topic) in [
            (&bob, "closed/door"),
            (&bob, "house/cellar/light"),
            (&bob, "own/bob/key"),
            (&bob, "own/alice/key"),
            (&alice, "own/alice/key"),
        ] {
            seen.push(publish(false, who, &["-t", topic, "-r", "-q", "1", "-m", who[1]]));
        }
        seen.push(publish(false, &bob, &["-i", "gate", "-t", "from/gate", "-q", "1", "-m", "x"]));
        for (who, filter) in
            [(&alice, "closed/#"), (&alice, "house/#"), (&alice, "own/+/key"), (&bob, "own/+/key"), (&bob, "house/kept/+")]
        {
            seen.push(subscribe(false, who, &["-t", filter, "-W", "2", "-q", "1", "-F", "%t %q %r %p"]));
        }
        seen.push(self.by_web());
        seen
    }

    fn evening(&self) -> Vec<String> {
        let alice = ["-u", "alice", "-P", "wonderland"];
        let subscribe = |words: &[&str]| self.client("mosquitto_sub", true, &[&alice, words].concat());
        vec![
            subscribe(&["-i", "desk", "-c", "-q", "2", "-t", "mail/#", "-C", "2", "-F", "%t %q %r %p"]),
            subscribe(&["-t", "house/kept/+", "-C", "3", "-q", "2", "-F", "%t %q %r %p"]),
        ]
    }

    fn day(&self, program: &Path, words: &[&str]) -> Vec<String> {
        let mut broker = self.start(program, words);
        let mut seen = self.morning();
        broker.stop();
        let mut broker = self.start(program, words);
        seen.extend(self.evening());
        broker.stop();
        seen
    }
}

/// A broker that is killed with its test.
struct Broker(Child);

impl Broker {
    fn stop(&mut self) {
        assert!(Command::new("kill").arg(self.0.id().to_string()).status().unwrap().success());
        self.0.wait().unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

#[test]
fn the_same_files_and_the_same_clients_see_the_same() {
    let test = "the_same_files_and_the_same_clients_see_the_same";
    let Some(mosquitto) = outside::or_skip(outside::program("mosquitto"), test, "mosquitto") else { return };
    for name in ["mosquitto_passwd", "mosquitto_pub", "mosquitto_sub"] {
        if outside::or_skip(outside::program(name), test, name).is_none() {
            return;
        }
    }
    if outside::or_skip(outside::node_with("mqtt"), test, "MQTT.js").is_none() {
        return;
    }
    let house = House::build();

    let theirs = house.day(&mosquitto, &[]);
    let ours = house.day(Path::new(COLUMBA), &["serve", "--http", "off"]);

    assert_eq!(ours, theirs);
    assert_eq!(theirs.iter().filter(|line| line.contains(": refused:")).count(), 5);
    for expected in [
        "mail/in 2 0 letter 2",
        "own/alice/key 1 1 alice",
        "own/bob/key 1 1 bob",
        "house/kept/0 0 1 kept",
        "house/kept/side/door 0 1 bob",
    ] {
        assert!(theirs.iter().any(|line| line.contains(expected)), "{expected}: the day was one: {theirs:#?}");
    }
    assert!(!theirs.iter().any(|line| line.contains("closed/door 1 1") || line.contains("cellar/light 1 1")), "{theirs:#?}");
    assert!(house.dir.path().join("data/columba").is_dir(), "beside mosquitto's own store");
}

/// What the two clients see of a message as large as `len` bytes, and what the broker says.
fn carries(program: &Path, words: &[&str], len: usize) -> (Vec<String>, String) {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port().unwrap();
    let conf = dir.path().join("mosquitto.conf");
    fs::write(&conf, format!("listener {port} 127.0.0.1 # the only one\nallow_anonymous true # for now\nlog_dest stderr\n"))
        .unwrap();
    let file = dir.path().join("message");
    fs::write(&file, "m".repeat(len)).unwrap();
    let log = dir.path().join("log");
    let said = fs::File::create(&log).unwrap();
    let child = Command::new(program).args(words).arg("-c").arg(&conf).stdout(Stdio::null()).stderr(said).spawn().unwrap();
    let mut broker = Broker(child);
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < PATIENCE, "{} does not listen", program.display());
        thread::sleep(Duration::from_millis(10));
    }
    let port = port.to_string();
    let client = |program: &str, words: &[&str]| {
        Command::new(program).args(["-h", "127.0.0.1", "-p", &port, "-t", "large"]).args(words).output().unwrap()
    };
    let sent = client("mosquitto_pub", &["-r", "-q", "1", "-f", file.to_str().unwrap()]);
    let seconds = PATIENCE.as_secs().to_string();
    let came = client("mosquitto_sub", &["-C", "1", "-N", "-W", &seconds]);
    broker.stop();
    let seen = vec![format!("{:?}", sent.status.code()), format!("{:?}: {} bytes", came.status.code(), came.stdout.len())];
    (seen, fs::read_to_string(log).unwrap())
}

#[test]
fn a_message_that_mosquitto_carries_is_carried_here() {
    let test = "a_message_that_mosquitto_carries_is_carried_here";
    let Some(mosquitto) = outside::or_skip(outside::program("mosquitto"), test, "mosquitto") else { return };
    for name in ["mosquitto_pub", "mosquitto_sub"] {
        if outside::or_skip(outside::program(name), test, name).is_none() {
            return;
        }
    }

    let (theirs, _) = carries(&mosquitto, &[], 3_000_000);
    let (ours, log) = carries(Path::new(COLUMBA), &["serve", "--http", "off"], 3_000_000);

    assert_eq!(ours, theirs);
    assert_eq!(theirs, ["Some(0)", "Some(0): 3000000 bytes"]);
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    assert_eq!(log.contains("runs as root"), is_root, "{log}");
}

/// Whom a broker lets in that reads its authorities from a directory: the exit statuses of those who show certificates of the first, of the second and none.
fn let_in_by_directory(program: &Path, words: &[&str], dir: &Path) -> [bool; 3] {
    let port = free_port().unwrap();
    let (cert, key) = write_certificate(dir).unwrap();
    let conf = dir.join("mosquitto.conf");
    let text = format!(
        "listener {port} 127.0.0.1\ncertfile {}\nkeyfile {}\ncapath {}\nrequire_certificate true\nuse_identity_as_username true\n\
         allow_anonymous false\nuser root\nlog_dest none\n",
        cert.display(),
        key.display(),
        dir.join("authorities").display()
    );
    fs::write(&conf, text).unwrap();
    let child = Command::new(program).args(words).arg("-c").arg(&conf).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut broker = Broker(child.unwrap());
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < PATIENCE, "{} does not listen", program.display());
        thread::sleep(Duration::from_millis(10));
    }
    let comes_in = |client: Option<&str>| {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "localhost", "-p", &port.to_string(), "-t", "t", "-m", "x", "-q", "1"]).arg("--cafile").arg(&cert);
        if let Some(client) = client {
            let file = |ending| dir.join(format!("{client}.{ending}"));
            command.arg("--cert").arg(file("pem")).arg("--key").arg(file("key"));
        }
        command.output().unwrap().status.success()
    };
    let seen = [Some("pump-1"), Some("pump-2"), None].map(comes_in);
    broker.stop();
    seen
}

#[test]
fn of_a_directory_of_authorities_those_count_that_count_there() {
    let test = "of_a_directory_of_authorities_those_count_that_count_there";
    let Some(mosquitto) = outside::or_skip(outside::program("mosquitto"), test, "mosquitto") else { return };
    for name in ["mosquitto_pub", "openssl"] {
        if outside::or_skip(outside::program(name), test, name).is_none() {
            return;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let openssl = |words: &str| {
        let made = Command::new("openssl").args(words.split(' ')).current_dir(dir.path()).stderr(Stdio::null()).status().unwrap();
        assert!(made.success(), "openssl {words}");
    };
    let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    fs::create_dir(dir.path().join("authorities")).unwrap();
    for number in [1, 2] {
        let (ca, pump) = (format!("ca-{number}"), format!("pump-{number}"));
        openssl(&format!("{new} -subj /CN={ca} -addext basicConstraints=critical,CA:TRUE -keyout {ca}.key -out {ca}.pem"));
        openssl(&format!(
            "{new} -subj /CN={pump} -addext basicConstraints=CA:FALSE -CA {ca}.pem -CAkey {ca}.key -keyout {pump}.key -out {pump}.pem"
        ));
        fs::copy(dir.path().join(format!("{ca}.pem")), dir.path().join(format!("authorities/{ca}.pem"))).unwrap();
        // The second has no link.
        if number == 1 {
            openssl("rehash authorities");
        }
    }

    let theirs = let_in_by_directory(&mosquitto, &[], dir.path());
    let ours = let_in_by_directory(Path::new(COLUMBA), &["serve", "--http", "off"], dir.path());

    assert_eq!(ours, theirs);
    assert_eq!(theirs, [true, false, false]);
}

/// A broker that listens on all addresses of one interface alone, or what it says where it does not.
#[cfg(target_os = "linux")]
fn on_interface(dir: &Path, interface: &str, port: u16) -> Result<Broker, String> {
    let conf = dir.join("mosquitto.conf");
    let ready = free_port().unwrap();
    // The last one is opened last.
    let text = format!("listener {port}\nbind_interface {interface}\nlistener {ready} 127.0.0.1\nallow_anonymous true\n");
    fs::write(&conf, text).unwrap();
    let log = dir.join("log");
    let mut command = Command::new(COLUMBA);
    command.args(["serve", "--http", "off", "-c"]).arg(&conf).stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
    let mut broker = Broker(command.spawn().unwrap());
    while TcpStream::connect(("127.0.0.1", ready)).is_err() {
        if broker.0.try_wait().unwrap().is_some() {
            return Err(fs::read_to_string(&log).unwrap());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(broker)
}

/// Whether somebody listens on this port of all addresses.
#[cfg(target_os = "linux")]
fn is_listened_on(port: u16) -> bool {
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    sockets.lines().any(|line| line.contains(&format!(" 00000000:{port:04X} 00000000:0000 0A ")))
}

#[cfg(target_os = "linux")]
#[test]
fn who_comes_over_another_interface_finds_nobody() {
    let test = "who_comes_over_another_interface_finds_nobody";
    let dir = tempfile::tempdir().unwrap();
    let port = free_port().unwrap();
    let is_served = || {
        let Ok(mut client) = TcpStream::connect(("127.0.0.1", port)) else { return false };
        client.write_all(b"\x10\x0D\x00\x04MQTT\x05\x02\x00\x3C\x00\x00\x00").unwrap();
        let mut kind = [0];
        client.read_exact(&mut kind).unwrap();
        kind == [0x20]
    };

    match on_interface(dir.path(), "lo", port) {
        Ok(_broker) => assert!(is_listened_on(port) && is_served()),
        Err(log) if log.contains("cannot listen on the network interface") => return outside::skip(test, &log),
        Err(log) => panic!("{log}"),
    }
    let missing = on_interface(dir.path(), "columba-nowhere", port).err().unwrap();
    for words in ["error: there is no network interface \"columba-nowhere\"\n", "ip -brief link"] {
        assert!(missing.contains(words), "{missing}");
    }
    let mut others = fs::read_dir("/sys/class/net").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let Some(other) = others.find(|name| name != "lo" && name != "bonding_masters") else {
        return outside::skip(test, "this machine has no interface but lo");
    };
    let _broker = on_interface(dir.path(), &other, port).unwrap();
    assert!(is_listened_on(port) && !is_served(), "{other} has not the address of lo");
}

#[test]
fn what_is_imported_starts_and_what_is_not_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (conf, toml) = (dir.path().join("mosquitto.conf"), dir.path().join("columba.toml"));
    let import = |text: &str| {
        fs::write(&conf, text).unwrap();
        let output = Command::new(COLUMBA).args(["config", "import"]).arg(&conf).output().unwrap();
        fs::write(&toml, &output.stdout).unwrap();
        let check = Command::new(COLUMBA).args(["config", "check"]).arg(&toml).output().unwrap();
        assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stderr));
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };

    let (code, report) = import("listener 1883 127.0.0.1\nmax_connections 5\nmax_connections 6\nallow_anonymous true\n");
    assert_eq!(code, Some(0), "{report}");
    assert!(report.ends_with(": 6 honoured, 0 no counterpart, 0 refused\n"), "{report}");
    let (code, report) = import("listener 1883 127.0.0.1\nmax_qos 9\nallow_anonymous true\n");
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("mosquitto.conf:2:1: max_qos: refused: it wants a number from 0 to 2\n"), "{report}");
}
