//! mosquitto's clients against `columba serve`, and columba's clients against Debian's mosquitto: every QoS, every version.

use std::path::PathBuf;
use std::process::Command;

use columba_check::broker::Broker;
use columba_check::load::{Durability, Peer};
use columba_check::outside;
use columba_check::program::Program;

const COLUMBA: &str = env!("CARGO_BIN_EXE_columba");

/// A pair of client programs that share mosquitto's options.
struct Clients {
    publish: Vec<String>,
    subscribe: Vec<String>,
    /// What makes the subscriber say that it is subscribed, and a word of what it then says.
    announce: (&'static str, &'static str),
}

impl Clients {
    fn mosquitto(test: &str) -> Option<Self> {
        let publish = outside::or_skip(outside::program("mosquitto_pub"), test, "mosquitto-clients")?;
        let subscribe = outside::or_skip(outside::program("mosquitto_sub"), test, "mosquitto-clients")?;
        let word = |path: PathBuf| path.to_string_lossy().into_owned();
        // Into a pipe it writes by the block; we wait for its lines.
        let subscribe = vec!["stdbuf".to_owned(), "-oL".to_owned(), word(subscribe)];
        Some(Self { publish: vec![word(publish)], subscribe, announce: ("-d", "SUBACK") })
    }

    fn columba() -> Self {
        let command = |name: &str| vec![COLUMBA.to_owned(), name.to_owned()];
        Self { publish: command("pub"), subscribe: command("sub"), announce: ("--trace=all", "suback") }
    }

    /// One message at each published QoS to one subscription, then the exit of everybody.
    fn deliver(&self, broker: &Broker, version: &str, granted: u8) {
        let topic = format!("{version}/{granted}");
        let port = broker.port().to_string();
        let common = ["-h", "127.0.0.1", "-p", &port, "-V", version, "-t", &topic];
        let granted_word = granted.to_string();
        let mut subscriber = start(
            &self.subscribe,
            &[&common[..], &["-i", "outside-sub", "-q", &granted_word, "-C", "3", "-F", "%q %t %p", self.announce.0]].concat(),
        );
        subscriber.until_has(self.announce.1);

        for published in 0..=2 {
            let qos = published.to_string();
            let message = format!("published at {published}");
            let (lines, status) =
                start(&self.publish, &[&common[..], &["-i", "outside-pub", "-q", &qos, "-m", &message]].concat()).finish();
            assert!(status.success(), "publishing at {published} in {version}: {lines:?}");

            let expected = format!("{} {topic} published at {published}", granted.min(published));
            assert_eq!(subscriber.until_has(" published at "), expected);
        }
        let (lines, status) = subscriber.finish();
        assert!(status.success(), "subscribing at {granted} in {version}: {lines:?}");
        assert!(!lines.iter().any(|line| line.contains(" published at ")), "delivered again: {lines:?}");
    }

    fn everything(&self, broker: &Broker) {
        for version in ["mqttv31", "mqttv311", "mqttv5"] {
            for granted in 0..=2 {
                self.deliver(broker, version, granted);
            }
        }
    }

    /// What was published while a session's client was away comes when it returns, once and in order.
    fn away_and_back(&self, broker: &Broker, version: &str, keep: &[&str]) {
        let port = broker.port().to_string();
        let common = ["-h", "127.0.0.1", "-p", &port, "-V", version, "-t", "away/and/back"];
        let session = [&common[..], &["-i", "outside-away", "-q", "2", "-c"], keep].concat();
        let (lines, status) = start(&self.subscribe, &[&session[..], &["-E"]].concat()).finish();
        assert!(status.success(), "{lines:?}");

        for (qos, message) in [("1", "first"), ("2", "second"), ("1", "third")] {
            let (lines, status) = start(&self.publish, &[&common[..], &["-q", qos, "-m", message]].concat()).finish();
            assert!(status.success(), "{lines:?}");
        }

        let (lines, status) = start(&self.subscribe, &[&session[..], &["-C", "3", "-F", "%q %p"]].concat()).finish();
        assert!(status.success(), "{lines:?}");
        let mut lines: Vec<String> = lines.into_iter().filter(|line| line.starts_with(['1', '2'])).collect();
        // A client may hand a QoS 2 message over only at its PUBREL, so order holds within a QoS.
        lines.sort_by_key(|line| line.chars().next());
        assert_eq!(lines, ["1 first", "1 third", "2 second"], "{version}");
    }
}

fn start(program: &[String], arguments: &[&str]) -> Program {
    Program::start(Command::new(&program[0]).args(&program[1..]).args(arguments))
}

#[test]
fn mosquitto_clients_talk_to_columba() {
    let Some(clients) = Clients::mosquitto("mosquitto_clients_talk_to_columba") else {
        return;
    };
    let broker = Broker::start(COLUMBA, &[]);

    clients.everything(&broker);
    clients.away_and_back(&broker, "mqttv311", &[]);
    clients.away_and_back(&broker, "mqttv5", &["-x", "3600"]);
}

/// A request with `mosquitto_rr`, seen by a subscriber with its response topic where the version has one, and answered.
#[test]
fn mosquitto_requests_are_answered_through_columba() {
    let test = "mosquitto_requests_are_answered_through_columba";
    let Some(clients) = Clients::mosquitto(test) else { return };
    let Some(request) = outside::or_skip(outside::program("mosquitto_rr"), test, "mosquitto-clients") else { return };
    let broker = Broker::start(COLUMBA, &[]);
    let port = broker.port().to_string();
    for (version, tells_where) in [("mqttv311", false), ("mqttv5", true)] {
        for qos in ["0", "1", "2"] {
            let common = ["-h", "127.0.0.1", "-p", &port, "-V", version, "-q", qos];
            let mut service = start(
                &clients.subscribe,
                &[&common[..], &["-t", "service", "-C", "1", "-F", "asked: %p %R", clients.announce.0]].concat(),
            );
            service.until_has(clients.announce.1);

            let asking = Program::start(Command::new(&request).args(
                [&common[..], &["-t", "service", "-e", "replies/here", "-m", "how much?", "-W", "20", "-i", "asker"]].concat(),
            ));
            let asked = service.until_has("asked: ");
            assert_eq!(asked.trim_end(), if tells_where { "asked: how much? replies/here" } else { "asked: how much?" });
            let (_, status) = start(&clients.publish, &[&common[..], &["-t", "replies/here", "-m", "three"]].concat()).finish();
            assert!(status.success());

            let (lines, status) = asking.finish();
            assert!(status.success(), "{version} at QoS {qos}: {lines:?}");
            assert_eq!(lines, ["three"], "{version} at QoS {qos}");
        }
    }
}

#[test]
fn columba_clients_talk_to_mosquitto() {
    let mosquitto = Peer::mosquitto(Durability::Memory);
    let Some(mosquitto) = outside::or_skip(mosquitto, "columba_clients_talk_to_mosquitto", "mosquitto") else {
        return;
    };
    let broker = Broker::of(mosquitto);

    Clients::columba().everything(&broker);
    Clients::columba().away_and_back(&broker, "mqttv311", &[]);
    Clients::columba().away_and_back(&broker, "mqttv5", &["-x", "3600"]);
}

#[test]
fn columba_clients_talk_to_columba() {
    let broker = Broker::start(COLUMBA, &[]);

    Clients::columba().everything(&broker);
    Clients::columba().away_and_back(&broker, "mqttv311", &[]);
    Clients::columba().away_and_back(&broker, "mqttv5", &["-x", "3600"]);
}
