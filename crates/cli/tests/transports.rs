//! TLS, WebSocket, both together and Unix sockets: clients of others and our own commands against `columba serve`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use columba_check::broker::Broker;
use columba_check::load::{Via, free_port, write_certificate};
use columba_check::outside;
use columba_check::program::Program;
use tempfile::TempDir;

const COLUMBA: &str = env!("CARGO_BIN_EXE_columba");

/// A broker with a listener of every kind.
struct House {
    _broker: Broker,
    dir: TempDir,
    ca: PathBuf,
    ports: Vec<(Via, u16)>,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder for scratch files");
        let (cert, key) = write_certificate(dir.path()).expect("a certificate");
        let vias = [Via::Tls, Via::WebSocket, Via::SecureWebSocket];
        let ports: Vec<_> = vias.map(|via| (via, free_port().expect("a free port"))).into();
        let mut words: Vec<String> = ports.iter().map(|(via, port)| format!("--listen={via}://127.0.0.1:{port}")).collect();
        words.push(format!("--listen=unix:{}", dir.path().join("mqtt.sock").display()));
        words.extend([format!("--cert={}", cert.display()), format!("--key={}", key.display())]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Self { _broker: Broker::start(COLUMBA, &words), dir, ca: cert, ports }
    }

    fn port(&self, via: Via) -> u16 {
        self.ports.iter().find(|(known, _)| *known == via).expect("a listener of every kind").1
    }

    fn url(&self, via: Via) -> String {
        format!("{via}://localhost:{}/mqtt", self.port(via))
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("mqtt.sock")
    }
}

/// One message at each QoS from one client of this kind to another. `start` is given a role and what belongs to it.
fn deliver(name: &str, start: impl Fn(&str, &[&str]) -> Program) {
    let topic = format!("transports/{}", name.replace(['/', ' ', ':'], "-"));
    let mut subscriber = start("subscribe", &["--id", "outside-subscriber", "--qos", "2", "--topic", &topic]);
    assert_eq!(subscriber.until("ready"), "ready: 2", "{name}");
    for qos in ["0", "1", "2"] {
        let payload = format!("{name} at {qos}");
        let publisher = start("publish", &["--id", "outside-publisher", "--qos", qos, "--topic", &topic, "--payload", &payload]);
        let (lines, status) = publisher.finish();
        assert!(status.success() && lines.last().is_some_and(|line| line == "done"), "{name}: {lines:?}");
        assert_eq!(subscriber.until("message"), format!("message: {qos} {topic} {payload}"));
    }
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients")
}

#[test]
fn mqttjs_speaks_every_transport() {
    let Some((node, modules)) = outside::or_skip(outside::node_with("mqtt"), "mqttjs_speaks_every_transport", "MQTT.js") else {
        return;
    };
    let house = House::new();
    for (via, five) in [Via::Tls, Via::WebSocket, Via::SecureWebSocket].into_iter().flat_map(|via| [(via, false), (via, true)]) {
        deliver(&format!("mqttjs over {via} {five}"), |role, more| {
            let mut command = Command::new(&node);
            command.arg(clients().join("outside_mqttjs.js")).args([role, "--url", &house.url(via), "--ca"]).arg(&house.ca);
            command.args(more).args(five.then_some("--five")).env("NODE_PATH", &modules);
            Program::start(&mut command)
        });
    }
}

#[test]
fn paho_speaks_every_transport() {
    for environment in ["paho1", "paho2"] {
        let Some(python) = outside::or_skip(outside::python(environment), "paho_speaks_every_transport", environment) else {
            continue;
        };
        let house = House::new();
        for via in [Via::Tls, Via::WebSocket, Via::SecureWebSocket] {
            deliver(&format!("{environment} over {via}"), |role, more| {
                let mut command = Command::new(&python);
                command.arg(clients().join("outside_paho.py")).args([role, "--five", "--port", &house.port(via).to_string()]);
                command.args(more).env("PYTHONWARNINGS", "ignore").env("PYTHONDONTWRITEBYTECODE", "1");
                if via != Via::WebSocket {
                    command.arg("--ca").arg(&house.ca);
                }
                command.args((via != Via::Tls).then_some("--web"));
                Program::start(&mut command)
            });
        }
    }
}

/// What a command of mosquitto's kind is told, to each transport that it has.
fn by_command(publish: &[&str], subscribe: &[&str], targets: &[Vec<String>], announce: (&str, &str)) {
    for (number, target) in targets.iter().enumerate() {
        let topic = format!("commands/{number}");
        let start = |words: &[&str], more: &[&str]| {
            Program::start(Command::new(words[0]).args(&words[1..]).args(target).args(["-t", &topic]).args(more))
        };
        let mut subscriber = start(subscribe, &["-q", "2", "-C", "1", announce.0]);
        subscriber.until_has(announce.1);

        let (lines, status) = start(publish, &["-q", "2", "-m", "hello"]).finish();
        assert!(status.success(), "{target:?}: {lines:?}");

        subscriber.until_has("hello");
        assert!(subscriber.finish().1.success(), "{target:?}");
    }
}

#[test]
fn mosquitto_s_commands_speak_tls() {
    let test = "mosquitto_s_commands_speak_tls";
    let Some(publish) = outside::or_skip(outside::program("mosquitto_pub"), test, "mosquitto-clients") else { return };
    let Some(subscribe) = outside::or_skip(outside::program("mosquitto_sub"), test, "mosquitto-clients") else { return };
    let house = House::new();
    let (publish, subscribe) = (publish.display().to_string(), subscribe.display().to_string());
    let ca = house.ca.display().to_string();
    let target = ["-h", "localhost", "-p", &house.port(Via::Tls).to_string(), "--cafile", &ca].map(str::to_owned).to_vec();
    let old = [target.clone(), vec!["--tls-version".into(), "tlsv1.2".into()]].concat();

    by_command(&[&publish], &["stdbuf", "-oL", &subscribe], &[target, old], ("-d", "SUBACK"));
}

#[test]
fn our_commands_speak_every_transport() {
    let house = House::new();
    let ca = house.ca.display().to_string();
    let with_ca = |words: &[&str]| words.iter().chain(&["--cafile", &ca]).map(|&word| word.to_owned()).collect::<Vec<_>>();
    let targets = [
        with_ca(&["-L", house.url(Via::Tls).trim_end_matches("/mqtt")]),
        with_ca(&["-L", &house.url(Via::SecureWebSocket)]),
        with_ca(&["-h", "localhost", "-p", &house.port(Via::Tls).to_string()]),
        vec!["-L".into(), house.url(Via::WebSocket)],
        vec!["-h".into(), "localhost".into(), "-p".into(), house.port(Via::WebSocket).to_string(), "--ws".into()],
        vec!["-L".into(), format!("mqtts://localhost:{}", house.port(Via::Tls)), "--insecure".into()],
        vec!["-L".into(), format!("unix:{}", house.socket().display())],
        vec!["--unix".into(), house.socket().display().to_string()],
    ];

    by_command(&[COLUMBA, "pub"], &[COLUMBA, "sub"], &targets, ("--trace=all", "suback"));
}

#[test]
fn whom_our_commands_do_not_trust_is_told_with_status_8() {
    let house = House::new();
    let publish = |words: &[&str]| {
        let output = Command::new(COLUMBA).args(["pub", "-t", "a", "-m", "b"]).args(words).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };

    let (code, text) = publish(&["-L", house.url(Via::Tls).trim_end_matches("/mqtt")]);
    assert_eq!(code, Some(8), "{text}");
    assert!(text.contains("is not trusted") && text.contains("try: --cafile"), "{text}");
    let (code, text) =
        publish(&["-h", "127.0.0.1", "-p", &house.port(Via::Tls).to_string(), "--cafile", &house.ca.display().to_string()]);
    assert_eq!(code, Some(8), "{text}");
    assert!(text.contains(" is for localhost, not for 127.0.0.1"), "{text}");
    assert!(text.contains("try: -h localhost -p"), "{text}");
    let (code, text) = publish(&["-L", &format!("mqtts://localhost:{}", house.port(Via::WebSocket)), "--insecure"]);
    assert_eq!(code, Some(8), "{text}");
}

fn told(words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(COLUMBA).args(["pub", "-t", "a", "-m", "b"]).args(words).output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn who_takes_the_wrong_transport_is_told_the_right_one() {
    let house = House::new();
    let plain = Broker::start(COLUMBA, &[]);
    let (tls, web) = (house.port(Via::Tls), house.port(Via::WebSocket));

    for (words, status, expected) in [
        (format!("mqtt://localhost:{tls}"), 8, format!("error: localhost:{tls} speaks TLS\ntry: -L mqtts://localhost:{tls}\n")),
        (format!("mqtts://localhost:{}", plain.port()), 8, format!("\ntry: -L mqtt://localhost:{}\n", plain.port())),
        (
            format!("mqtt://localhost:{web}"),
            4,
            format!("error: localhost:{web} speaks HTTP, not MQTT\ntry: -L ws://localhost:{web}"),
        ),
        (format!("wss://localhost:{web}"), 8, format!("\ntry: -L ws://localhost:{web}\n")),
    ] {
        let (code, text) = told(&["-L", &words, "--insecure"][..if words.starts_with("mqtt:") { 2 } else { 3 }]);
        assert_eq!(code, Some(status), "{words}: {text}");
        assert!(text.contains(&expected), "{words}: {text}");
    }
}

#[test]
fn who_has_to_show_a_certificate_is_told_so() {
    let dir = tempfile::tempdir().expect("a folder for scratch files");
    let (cert, key) = write_certificate(dir.path()).expect("a certificate");
    let port = free_port().expect("a free port");
    let config = dir.path().join("columba.toml");
    let (cert, key) = (cert.display(), key.display());
    let listener = format!("[[listener]]\nurl = \"mqtts://127.0.0.1:{port}\"\ncert = \"{cert}\"\nkey = \"{key}\"\n");
    std::fs::write(&config, format!("{listener}ca = \"{cert}\"\nclient_cert = \"require\"\n")).expect("a configuration");
    let mut broker = Program::start(Command::new(COLUMBA).args(["serve", "--ephemeral", "--http", "off", "-c"]).arg(&config));
    broker.until_has("mqtts://");

    let (code, text) = told(&["-L", &format!("mqtts://localhost:{port}"), "--insecure"]);

    assert_eq!(code, Some(8), "{text}");
    assert!(text.contains("wants a certificate of its clients\ntry: --cert FILE --key FILE"), "{text}");
}

#[test]
fn a_certificate_made_as_the_message_says_is_taken() {
    let name = "a_certificate_made_as_the_message_says_is_taken";
    let Some(openssl) = outside::or_skip(outside::program("openssl"), name, "openssl") else { return };
    let dir = tempfile::tempdir().expect("a folder for scratch files");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let with = |words: &str| {
        let made = Command::new(&openssl).args(words.split(' ')).current_dir(dir.path()).stderr(Stdio::null()).status();
        assert!(made.expect("it runs").success(), "{words}");
        let port = free_port().expect("a free port");
        let words = ["--listen", &format!("mqtts://127.0.0.1:{port}"), "--cert", &file("cert.pem"), "--key", &file("key.pem")];
        let _broker = Broker::start(COLUMBA, &words);
        told(&["-L", &format!("mqtts://localhost:{port}"), "--cafile", &file("cert.pem")])
    };
    // What most guides say: it makes an authority.
    let (code, text) = with("req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 9 -subj /CN=localhost");
    assert_eq!(code, Some(8), "{text}");
    assert!(text.contains("shows an authority's certificate as its own"), "{text}");

    let command = text.lines().find_map(|line| line.strip_prefix("try: openssl ")).unwrap_or_else(|| panic!("{text}"));
    let (code, text) = with(command);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn conversations_of_the_standard_hold_over_every_transport() {
    let house = House::new();
    for via in [Via::Tls, Via::WebSocket, Via::SecureWebSocket] {
        let target = if via == Via::Tls { format!("mqtts://localhost:{}", house.port(via)) } else { house.url(via) };

        let output = Command::new(COLUMBA)
            .args(["check", &target, "--suite", "5", "--only", "MQTT-4.3.*", "--only", "MQTT-3.14.*", "--strict"])
            .output()
            .expect("it runs");

        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{via}: {text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("passed"), "{via}: {text}");
    }
}

#[test]
fn the_benchmark_of_transports_gives_a_row_for_each_with_nothing_lost() {
    let words = ["bench", "transports", "--runs", "1", "--duration", "100ms", "--idle", "20"];
    let output = Command::new(COLUMBA).args(words).output().expect("columba starts");
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));

    assert!(output.status.success(), "{errors}");
    for via in Via::ALL {
        let row = told.lines().find(|line| line.split_whitespace().next() == Some(via.scheme()));
        let cells: Vec<&str> = row.unwrap_or_else(|| panic!("no row for {via}: {told}")).split_whitespace().collect();
        assert_eq!(cells[3], "0", "flaws over {via}: {told}");
    }
}
