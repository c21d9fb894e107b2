//! Clients of others against `columba serve`: MQTT.js, paho-mqtt, aiomqtt, Paho C and rumqttc, every pair of QoS, away and back, across SIGTERM and SIGKILL.

use std::path::{Path, PathBuf};
use std::process::Command;

use columba_check::broker::Broker;
use columba_check::outside;
use columba_check::program::Program;
use columba_check::script::{publisher_trace, subscriber_trace};

const COLUMBA: &str = env!("CARGO_BIN_EXE_columba");

/// A program of `clients/` and how to start it.
struct Outside {
    interpreter: PathBuf,
    program: PathBuf,
    /// Said with every role.
    common: Vec<String>,
    node_modules: Option<PathBuf>,
    /// Whether it prints the packets of delivery.
    traces: bool,
}

impl Outside {
    fn mqttjs(test: &str, five: bool) -> Option<Self> {
        let (interpreter, modules) = outside::or_skip(outside::node_with("mqtt"), test, "MQTT.js")?;
        let common = if five { vec!["--five".to_owned()] } else { Vec::new() };
        Some(Self {
            interpreter,
            program: clients().join("outside_mqttjs.js"),
            common,
            node_modules: Some(modules),
            traces: true,
        })
    }

    fn paho(test: &str, environment: &str, more: &[&str]) -> Option<Self> {
        let interpreter = outside::or_skip(outside::python(environment), test, environment)?;
        let common = more.iter().map(|&word| word.to_owned()).collect();
        Some(Self { interpreter, program: clients().join("outside_paho.py"), common, node_modules: None, traces: false })
    }

    fn aiomqtt(test: &str, more: &[&str]) -> Option<Self> {
        Self::paho(test, "aiomqtt", more).map(|found| Self { program: clients().join("outside_aiomqtt.py"), ..found })
    }

    /// One that `.ci/run outside` compiles.
    fn compiled(test: &str, name: &str, more: &[&str]) -> Option<Self> {
        let program = outside::or_skip(outside::program(name), test, name)?;
        let common = more.iter().map(|&word| word.to_owned()).collect();
        Some(Self { interpreter: program, program: PathBuf::new(), common, node_modules: None, traces: false })
    }

    fn start(&self, broker: &Broker, role: &str, id: &str, more: &[&str]) -> Program {
        let mut command = Command::new(&self.interpreter);
        // A compiled one interprets itself.
        command.args(Some(&self.program).filter(|program| !program.as_os_str().is_empty()));
        command.arg(role).args(["--id", id]).args(&self.common).args(more);
        match &self.node_modules {
            Some(modules) => command.env("NODE_PATH", modules).args(["--url", &broker.url()]),
            None => command
                .env("PYTHONWARNINGS", "ignore")
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .args(["--port", &broker.port().to_string()]),
        };
        Program::start(&mut command)
    }

    /// Publishes one message, checks the publisher's lines, and waits until its side of the exchange is over.
    fn publish(&self, broker: &Broker, qos: u8, topic: &str, payload: &str) {
        let publisher = self.start(
            broker,
            "publish",
            "outside-publisher",
            &["--qos", &qos.to_string(), "--topic", topic, "--payload", payload],
        );
        let (lines, status) = publisher.finish();
        let mut expected: Vec<&str> = if self.traces { publisher_trace(qos).to_vec() } else { Vec::new() };
        expected.push("done");
        assert_eq!(lines, expected, "publisher at QoS {qos}");
        assert!(status.success());
    }

    /// What a subscriber prints for one message, in order: MQTT.js hands a QoS 2 message over at its PUBREL.
    fn reception(&self, qos: u8, topic: &str, payload: &str) -> Vec<String> {
        let mut lines: Vec<String> =
            if self.traces { subscriber_trace(qos).iter().map(|&line| line.to_owned()).collect() } else { Vec::new() };
        lines.push(format!("message: {qos} {topic} {payload}"));
        lines
    }
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients")
}

/// Every cell of the table: received QoS = min(published, granted), and the packets of each side are exactly those of the standard.
fn every_pair_of_qos(client: &Outside) {
    let broker = Broker::start(COLUMBA, &[]);
    for granted in 0..=2 {
        let topic = format!("pairs/{granted}");
        let mut subscriber =
            client.start(&broker, "subscribe", "outside-subscriber", &["--qos", &granted.to_string(), "--topic", &topic]);
        assert_eq!(subscriber.until("ready"), format!("ready: {granted}"));

        // The last message shows that nothing more came of the one before it.
        for published in [0, 1, 2, 0] {
            let payload = format!("published at {published}");
            client.publish(&broker, published, &topic, &payload);

            let expected = client.reception(published.min(granted), &topic, &payload);
            let mut lines = subscriber.take(expected.len());
            // When the application sees a message between its packets is its library's affair.
            lines.sort();
            let mut expected_sorted = expected;
            expected_sorted.sort();
            assert_eq!(lines, expected_sorted, "published at {published}, granted {granted}");
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Meanwhile {
    Nothing,
    Terminated,
    Killed,
}

/// What was published at QoS 1 and 2 while the subscriber was away comes once and in order, whatever happened to the broker.
fn away_and_back(client: &Outside, meanwhile: Meanwhile) {
    let mut broker = Broker::start(COLUMBA, &[]);
    let mut subscriber = client.start(&broker, "subscribe", "outside-away", &["--qos", "2", "--topic", "away/#"]);
    subscriber.until("ready");
    drop(subscriber);
    let published = [(1, "m0"), (2, "m1"), (1, "m2"), (2, "m3")];
    for (qos, payload) in published {
        client.publish(&broker, qos, "away/topic", payload);
    }

    match meanwhile {
        Meanwhile::Nothing => {}
        Meanwhile::Terminated => assert!(broker.terminate().success(), "SIGTERM ends it with 0"),
        Meanwhile::Killed => broker.kill(),
    }
    if meanwhile != Meanwhile::Nothing {
        broker.restart();
    }
    let mut subscriber = client.start(&broker, "resume", "outside-away", &[]);
    // What was kept shows that there was one where the library does not say.
    let session = subscriber.until("session");
    assert!(["session: true", "session: untold"].contains(&&*session), "{meanwhile:?}: {session}");
    let mut messages: Vec<String> = published.iter().map(|_| subscriber.until("message")).collect();
    // A live message at the end shows that nothing came twice.
    client.publish(&broker, 1, "away/topic", "last");
    assert_eq!(subscriber.until("message"), "message: 1 away/topic last");

    // The library hands a QoS 2 message over at its PUBREL, so order holds within a QoS.
    messages.sort_by_key(|line| line.chars().nth("message: ".len()));
    assert_eq!(
        messages,
        ["message: 1 away/topic m0", "message: 1 away/topic m2", "message: 2 away/topic m1", "message: 2 away/topic m3"],
        "{meanwhile:?}"
    );
}

fn everything(client: Option<Outside>) {
    let Some(client) = client else { return };
    every_pair_of_qos(&client);
    for meanwhile in [Meanwhile::Nothing, Meanwhile::Terminated, Meanwhile::Killed] {
        away_and_back(&client, meanwhile);
    }
}

#[test]
fn mqttjs_speaking_3_1_1() {
    everything(Outside::mqttjs("mqttjs_speaking_3_1_1", false));
}

#[test]
fn mqttjs_speaking_5() {
    everything(Outside::mqttjs("mqttjs_speaking_5", true));
}

#[test]
fn paho_1_speaking_3_1_1() {
    everything(Outside::paho("paho_1_speaking_3_1_1", "paho1", &[]));
}

#[test]
fn paho_1_speaking_5() {
    everything(Outside::paho("paho_1_speaking_5", "paho1", &["--five"]));
}

#[test]
fn paho_2_with_the_first_callbacks_speaking_3_1_1() {
    everything(Outside::paho("paho_2_with_the_first_callbacks_speaking_3_1_1", "paho2", &[]));
}

#[test]
fn paho_2_with_the_second_callbacks_speaking_3_1_1() {
    everything(Outside::paho("paho_2_with_the_second_callbacks_speaking_3_1_1", "paho2", &["--api", "2"]));
}

#[test]
fn paho_2_with_the_second_callbacks_speaking_5() {
    everything(Outside::paho("paho_2_with_the_second_callbacks_speaking_5", "paho2", &["--api", "2", "--five"]));
}

#[test]
fn aiomqtt_speaking_3_1_1() {
    everything(Outside::aiomqtt("aiomqtt_speaking_3_1_1", &[]));
}

#[test]
fn aiomqtt_speaking_5() {
    everything(Outside::aiomqtt("aiomqtt_speaking_5", &["--five"]));
}

#[test]
fn paho_c_speaking_3_1_1() {
    everything(Outside::compiled("paho_c_speaking_3_1_1", "outside-paho-c", &[]));
}

#[test]
fn paho_c_speaking_5() {
    everything(Outside::compiled("paho_c_speaking_5", "outside-paho-c", &["--five"]));
}

#[test]
fn rumqttc_speaking_3_1_1() {
    everything(Outside::compiled("rumqttc_speaking_3_1_1", "outside-rumqttc", &[]));
}

#[test]
fn rumqttc_speaking_5() {
    everything(Outside::compiled("rumqttc_speaking_5", "outside-rumqttc", &["--five"]));
}
