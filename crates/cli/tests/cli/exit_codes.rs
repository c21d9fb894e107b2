//! A command never reports success when the broker said no, and says what happened in words.

use std::io::{BufRead, BufReader, Write};

use crate::support::{Mosquitto, Subscribed, columba, columba_with_input, fake_server, interrupt, said, start};

/// CONNACK of MQTT 5: accepted.
const ACCEPTED: &[u8] = &[0x20, 3, 0, 0, 0];

#[test]
fn a_denied_publish_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("acl");
    std::fs::write(&rules, "topic readwrite open/#\n").unwrap();
    let Some(broker) = Mosquitto::start(&format!("allow_anonymous true\nacl_file {}", rules.display())) else { return };
    let port = broker.port.to_string();

    for qos in ["1", "2"] {
        let denied = columba(&["pub", "-p", &port, "-q", qos, "denied", "x"]);
        assert_eq!(
            (denied.code, denied.err.as_str()),
            (Some(12), "error: publish to \"denied\" was refused: not authorised (0x87)\n")
        );
    }
    let mixed = columba(&["pub", "-p", &port, "-q", "1", "open/x", "x", "--quiet"]);
    assert_eq!((mixed.code, mixed.err.as_str()), (Some(0), ""));
}

#[test]
fn a_bad_login_is_told_apart_from_none() {
    let Some(broker) = Mosquitto::start("allow_anonymous false") else { return };
    let port = broker.port.to_string();

    let nobody = columba(&["pub", "-p", &port, "a", "x"]);
    let alice = columba_with_input(&["sub", "-p", &port, "-u", "alice", "-P", "-", "a"], "wrong\n");

    assert_eq!(nobody.code, Some(5), "{nobody:?}");
    assert!(nobody.err.starts_with("error: this broker does not allow anonymous clients"), "{nobody:?}");
    assert_eq!(alice.code, Some(5), "{alice:?}");
    assert!(alice.err.starts_with("error: broker refused user \"alice\": "), "{alice:?}");
}

#[test]
fn a_message_that_is_too_large_is_not_sent() {
    let Some(broker) = Mosquitto::start("allow_anonymous true\nmax_packet_size 100") else { return };

    let large = columba(&["pub", "-p", &broker.port.to_string(), "-q", "1", "a", &"x".repeat(200)]);

    assert_eq!(large.code, Some(9), "{large:?}");
    assert!(large.err.contains("and the broker takes 100"), "{large:?}");
}

#[test]
fn nobody_there_is_said_with_what_to_do() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);

    let alone = columba(&["pub", "-h", "127.0.0.1", "-p", &port.to_string(), "a", "x"]);

    assert_eq!(alone.code, Some(4));
    assert_eq!(
        alone.err,
        format!(
            "error: nothing is listening on 127.0.0.1:{port} (connection refused)\ntry: columba serve --listen 127.0.0.1:{port}\n"
        )
    );
}

#[test]
fn a_command_line_without_sense_is_2() {
    for words in [&["pub", "a"][..], &["sub"], &["pub", "-q", "7", "a", "b"], &["sub", "a/#/b"], &["pub", "a/+", "b"]] {
        let wrong = columba(words);
        assert_eq!(wrong.code, Some(2), "{words:?}: {wrong:?}");
        assert!(wrong.err.starts_with("error: "), "{wrong:?}");
    }
}

#[test]
fn time_that_is_over_is_27() {
    let port = fake_server(&[ACCEPTED, ACCEPTED]).to_string();

    let published = columba(&["pub", "-p", &port, "-q", "1", "a", "x", "--timeout", "300ms"]);
    let subscribed = columba(&["sub", "-p", &port, "a", "-W", "0.3"]);

    assert_eq!((published.code, subscribed.code), (Some(27), Some(27)), "{published:?} {subscribed:?}");
    assert!(published.err.contains("1 of 1 messages were not acknowledged"), "{published:?}");
}

#[test]
fn an_interrupt_counts_what_is_not_acknowledged() {
    let port = fake_server(&[ACCEPTED]).to_string();
    let mut publisher = start(&["pub", "-p", &port, "-q", "1", "-t", "log", "-l", "--trace"]);
    let mut err = BufReader::new(publisher.stderr.take().unwrap());
    let mut input = publisher.stdin.take().unwrap();
    input.write_all(b"one\ntwo\nthree\n").unwrap();
    let mut lines = (&mut err).lines();
    for _ in 0..3 {
        assert_eq!(lines.next().unwrap().unwrap(), "send: publish");
    }

    interrupt(publisher.id());

    let last: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(last, ["columba: 3 of 3 messages were not acknowledged"]);
    assert_eq!(said(publisher).code, Some(130));
}

#[test]
fn an_interrupted_subscriber_has_done_its_work() {
    let Some(broker) = Mosquitto::start("") else { return };
    let subscriber = Subscribed::start(&["-p", &broker.port.to_string(), "a"]);

    interrupt(subscriber.id());

    assert_eq!(subscriber.said().code, Some(0));
}

#[test]
fn a_broker_that_refuses_version_5_is_spoken_to_in_3_1_1_and_that_is_said_once() {
    // Refused in the words of 3.1.1; then CONNACK, and PUBACK for identifier 1.
    let port = fake_server_that_hangs_up_first().to_string();

    let published = columba(&["pub", "-p", &port, "-q", "1", "a", "x"]);

    assert_eq!(published.code, Some(0), "{published:?}");
    assert_eq!(published.err.matches("refuses MQTT 5").count(), 1, "{published:?}");
    assert!(published.err.ends_with("columba: note: MQTT 3.1.1 cannot report a refused publish\n"), "{published:?}");
}

fn fake_server_that_hangs_up_first() -> u16 {
    use std::io::Read;
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 1_024];
        let (mut first, _) = listener.accept().unwrap();
        assert!(first.read(&mut buffer).unwrap() > 0);
        first.write_all(&[0x20, 2, 0, 1]).unwrap();
        drop(first);
        let (mut second, _) = listener.accept().unwrap();
        assert!(second.read(&mut buffer).unwrap() > 0);
        second.write_all(&[0x20, 2, 0, 0]).unwrap();
        // The PUBLISH, then what follows until the client goes.
        assert!(second.read(&mut buffer).unwrap() > 0);
        second.write_all(&[0x40, 2, 0, 1]).unwrap();
        while second.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {}
    });
    port
}

#[test]
fn a_takeover_is_explained() {
    // CONNACK, and right behind it DISCONNECT with 0x8e.
    let port = fake_server(&[&[0x20, 3, 0, 0, 0, 0xe0, 2, 0x8e, 0]]).to_string();

    let taken_over = columba(&["sub", "-p", &port, "-i", "sensor-1", "a"]);

    assert_eq!(taken_over.code, Some(7), "{taken_over:?}");
    assert!(taken_over.err.contains("another client has connected as \"sensor-1\""), "{taken_over:?}");
}
