//! `columba pub` and `columba sub` with Debian's mosquitto: its broker, and its clients at the other end.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{Mosquitto, Subscribed, columba, columba_with_input, interrupt};
use columba_check::outside;

const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv5"];

const PUBLISHER: [&str; 3] =
    ["send: publish\n", "send: publish\nreceive: puback\n", "send: publish\nreceive: pubrec\nsend: pubrel\nreceive: pubcomp\n"];

const SUBSCRIBER: [&str; 3] = [
    "receive: publish\n",
    "receive: publish\nsend: puback\n",
    "receive: publish\nsend: pubrec\nreceive: pubrel\nsend: pubcomp\n",
];

fn tool(name: &str) -> Option<PathBuf> {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    outside::or_skip(outside::program(name), &test, name)
}

#[test]
fn what_columba_publishes_mosquitto_sub_receives_at_every_version_and_qos() {
    let (Some(broker), Some(mosquitto_sub)) = (Mosquitto::start(""), tool("mosquitto_sub")) else { return };
    let port = broker.port.to_string();
    for version in VERSIONS {
        for (qos, expected) in PUBLISHER.iter().enumerate() {
            let level = qos.to_string();
            let topic = format!("pub/{version}/{qos}");

            // Retained, so that the other side need not be there first.
            let published = columba(&[
                "pub", "-p", &port, "-V", version, "-t", &topic, "-q", &level, "-m", "hello", "-r", "--trace", "--quiet",
            ]);
            let received = Command::new(&mosquitto_sub)
                .args(["-p", &port, "-V", version, "-t", &topic, "-q", "2", "-C", "1", "-F", "%t %q %r %p"])
                .output()
                .unwrap();

            assert_eq!((published.code, published.err.as_str()), (Some(0), *expected), "{version} {qos}");
            assert_eq!(String::from_utf8_lossy(&received.stdout), format!("{topic} {qos} 1 hello\n"));
        }
    }
}

#[test]
fn what_mosquitto_pub_publishes_columba_receives_at_every_version_and_qos() {
    let (Some(broker), Some(mosquitto_pub)) = (Mosquitto::start(""), tool("mosquitto_pub")) else { return };
    let port = broker.port.to_string();
    for version in VERSIONS {
        for (qos, expected) in SUBSCRIBER.iter().enumerate() {
            let level = qos.to_string();
            let topic = format!("sub/{version}/{qos}");
            let words = ["-p", &port, "-V", version, "-t", &topic, "-q", &level, "-m", "hello"];
            let retained = Command::new(&mosquitto_pub).args(words).arg("-r").status().unwrap();
            assert!(retained.success());

            let received =
                columba(&["sub", "-p", &port, "-V", version, "-t", &topic, "-q", "2", "-C", "1", "-F", "%t %q %r %p", "--trace"]);

            assert_eq!(received.code, Some(0), "{version} {qos}: {received:?}");
            assert_eq!(received.out, format!("{topic} {qos} 1 hello\n"));
            assert_eq!(received.err, *expected);
        }
    }
}

#[test]
fn columba_talks_to_itself_at_the_lower_qos_of_both() {
    let Some(broker) = Mosquitto::start("") else { return };
    let port = broker.port.to_string();
    for version in ["3.1", "3.1.1", "5"] {
        for (sent_at, expected) in PUBLISHER.iter().enumerate() {
            for asked_for in 0..=2 {
                let subscriber =
                    Subscribed::start(&["-p", &port, "-V", version, "-q", &asked_for.to_string(), "-C", "1", "-F", "%q %p", "t"]);

                let published =
                    columba(&["pub", "-p", &port, "-V", version, "-q", &sent_at.to_string(), "t", "hi", "--trace", "--quiet"]);
                let received = subscriber.said();

                let effective = sent_at.min(asked_for);
                assert_eq!((received.code, received.out.as_str()), (Some(0), format!("{effective} hi\n").as_str()));
                assert_eq!((published.code, published.err.as_str()), (Some(0), *expected));
            }
        }
    }
}

#[test]
fn each_line_of_the_input_is_a_message_and_keeps_its_place() {
    let Some(broker) = Mosquitto::start("allow_anonymous true\nmax_queued_messages 0") else { return };
    let port = broker.port.to_string();
    let lines = (0..500).map(|number| format!("line {number}\n")).collect::<Vec<_>>().concat();
    let subscriber = Subscribed::start(&["-p", &port, "-q", "2", "-C", "500", "log"]);

    let published = columba_with_input(&["pub", "-p", &port, "-q", "2", "-t", "log", "-l"], &lines);

    assert_eq!(published.code, Some(0), "{published:?}");
    assert_eq!(subscriber.said().out, lines);
}

#[test]
fn offline_messages_wait_for_a_kept_session() {
    let Some(broker) = Mosquitto::start("") else { return };
    let port = broker.port.to_string();
    let sub = ["sub", "-p", &port, "-c", "-i", "sleeper", "-q", "2", "-t", "plant/#"];
    assert_eq!(columba(&[&sub[..], &["-E"]].concat()).code, Some(0));
    for number in ["one", "two", "three"] {
        assert_eq!(columba(&["pub", "-p", &port, "-q", "2", "plant/x", number]).code, Some(0));
    }

    let received = columba(&[&sub[..], &["-C", "3", "--format", "json"]].concat());

    let payloads: Vec<serde_json::Value> =
        received.out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["payload"].clone()).collect();
    assert_eq!(payloads, ["one", "two", "three"]);
    let again = columba(&[&sub[..], &["-W", "0.3"]].concat());
    assert_eq!((again.code, again.out.as_str()), (Some(27), ""));
}

#[test]
fn properties_travel_both_ways() {
    let Some(broker) = Mosquitto::start("") else { return };
    let port = broker.port.to_string();
    let subscriber = Subscribed::start(&[
        "-p",
        &port,
        "-C",
        "1",
        "--format",
        "json",
        "-t",
        "p",
        "-D",
        "subscribe",
        "subscription-identifier",
        "7",
    ]);

    let published = columba(&[
        "pub",
        "-p",
        &port,
        "p",
        "x",
        "--user-property",
        "site=north",
        "--content-type",
        "text/plain",
        "--expiry",
        "1h",
        "--response-topic",
        "answers",
        "-D",
        "publish",
        "correlation-data",
        "17",
        "-D",
        "publish",
        "payload-format-indicator",
        "1",
    ]);

    assert_eq!(published.code, Some(0), "{published:?}");
    let message: serde_json::Value = serde_json::from_str(&subscriber.said().out).unwrap();
    let properties = &message["properties"];
    assert_eq!(message["sub_id"], 7);
    assert_eq!(properties["user-properties"]["site"], "north");
    assert_eq!(properties["content-type"], "text/plain");
    assert_eq!(properties["message-expiry-interval"], 3_600);
    assert_eq!(properties["response-topic"], "answers");
    assert_eq!(properties["correlation-data"], "17");
    assert_eq!(properties["payload-format-indicator"], 1);
}

#[test]
fn retained_messages_are_shown_left_out_or_removed() {
    let Some(broker) = Mosquitto::start("") else { return };
    let port = broker.port.to_string();
    assert_eq!(columba(&["pub", "-p", &port, "-r", "-q", "1", "kept", "old"]).code, Some(0));

    let shown = columba(&["sub", "-p", &port, "kept", "-v", "-W", "0.3"]);
    let left_out = columba(&["sub", "-p", &port, "kept", "-R", "-W", "0.3"]);
    let removed = columba(&["sub", "-p", &port, "kept", "--remove-retained", "-W", "0.3"]);
    let gone = columba(&["sub", "-p", &port, "kept", "-W", "0.3"]);

    assert_eq!((shown.out.as_str(), left_out.out.as_str()), ("kept old\n", ""));
    assert_eq!((removed.out.as_str(), gone.out.as_str()), ("old\n", ""));
}

#[test]
fn called_by_mosquittos_name_it_is_that_command() {
    let Some(broker) = Mosquitto::start("") else { return };
    let port = broker.port.to_string();
    let folder = tempfile::tempdir().unwrap();
    let link = |name: &str| {
        let path = folder.path().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_columba"), &path).unwrap();
        path
    };

    let published = Command::new(link("mosquitto_pub")).args(["-p", &port, "-t", "a", "-m", "x", "-r"]).status().unwrap();
    let received = Command::new(link("mosquitto_sub")).args(["-p", &port, "-t", "a", "-C", "1"]).output().unwrap();

    assert!(published.success());
    assert_eq!(received.stdout, b"x\n");
}

#[test]
fn the_will_of_a_killed_client_is_published_and_that_of_one_that_ends_is_not() {
    let Some(broker) = Mosquitto::start("") else { return };
    let port = broker.port.to_string();
    let heir = Subscribed::start(&["-p", &port, "-C", "2", "-v", "-t", "gone/#"]);
    let with_will = |name: &str| {
        let topic = format!("gone/{name}");
        Subscribed::start(&["-p", &port, "--will-topic", &topic, "--will-payload", "bye", "--will-qos", "1", "-t", "a"])
    };

    let ends = with_will("ended");
    interrupt(ends.id());
    assert_eq!(ends.said().code, Some(0));
    with_will("killed").kill();
    assert_eq!(columba(&["pub", "-p", &port, "-q", "1", "gone/marker", "end"]).code, Some(0));

    assert_eq!(heir.said().out, "gone/killed bye\ngone/marker end\n");
}
