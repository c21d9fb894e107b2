//! Command lines that people type, mosquitto's above all, and what becomes of them.

use std::ffi::OsString;

use columba_proto::{QoS, Version};

use crate::args::{Cli, Command, OutputKind, PubArgs, SubArgs, TraceLevel};
use crate::exit::Exit;
use crate::{Stop, parse};

/// Splits at spaces, except inside single quotes.
fn words(line: &str) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take().map(OsString::from)),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word.map(OsString::from));
    words
}

fn parsed(line: &str) -> Result<Cli, Stop> {
    parse(words(line))
}

fn publish(line: &str) -> PubArgs {
    match parsed(line).unwrap().command {
        Some(Command::Pub(args)) => *args,
        other => panic!("{line}: {other:?}"),
    }
}

fn subscribe(line: &str) -> SubArgs {
    match parsed(line).unwrap().command {
        Some(Command::Sub(args)) => *args,
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str) -> String {
    match parsed(line) {
        Err(Stop { text, exit: Exit::Usage }) => text,
        other => panic!("{line}: {other:?}"),
    }
}

/// Lines of manuals, tutorials and scripts, as they are called.
const OF_MOSQUITTO: &[&str] = &[
    "mosquitto_pub -t sensors/temperature -m 32 -q 1",
    "mosquitto_pub -h localhost -t test/topic -m hello",
    "mosquitto_pub -h 192.168.1.1 -p 1885 -t sensors/temperature -m '1266193804 32'",
    "mosquitto_pub -d -t sensors/temperature -m '1266193804 32'",
    "mosquitto_pub -r -n -t switches/kitchen_lights/status -h 192.168.1.1",
    "mosquitto_pub -t my/topic -f ./data",
    "mosquitto_pub -t my/topic -s",
    "mosquitto_pub -t my/topic -l",
    "mosquitto_pub -l -t topic -q 2 -M 100",
    "mosquitto_pub -t topic -m message -u user -P password",
    "mosquitto_pub -t topic -m message -i client -c -q 2",
    "mosquitto_pub -t topic -m message -I prefix-",
    "mosquitto_pub -t topic -m message -k 30 -V mqttv31",
    "mosquitto_pub -t topic -m message -V mqttv311",
    "mosquitto_pub -t topic -m message -V mqttv5",
    "mosquitto_pub -t topic -m message -V 5 -x 3600",
    "mosquitto_pub -t topic -m message --quiet",
    "mosquitto_pub -t topic -m -5",
    "mosquitto_pub -t topic -m -t",
    "mosquitto_pub -t topic -m ''",
    "mosquitto_pub -t topic -m message --repeat 10 --repeat-delay 0.5",
    "mosquitto_pub -L mqtt://user:password@broker:1883/topic -m message",
    "mosquitto_pub -L mqtt://broker/topic -l",
    "mosquitto_pub -t topic -m m --will-topic gone --will-payload bye --will-qos 1 --will-retain",
    "mosquitto_pub -t topic -m m -V 5 -D publish content-type text/plain",
    "mosquitto_pub -t topic -m m -V 5 -D publish user-property name value -q 1",
    "mosquitto_pub -t topic -m m -V 5 -D CONNECT session-expiry-interval 60 -D publish message-expiry-interval 10",
    "mosquitto_pub -t topic -m m -V 5 --property publish response-topic answers -D publish correlation-data 17",
    "mosquitto_pub -V 5 -t t -m m --will-topic w -D will will-delay-interval 5 -D will user-property a b",
    "mosquitto_pub -V 5 -t t -m m -D disconnect session-expiry-interval 0 -D disconnect user-property a -b",
    "mosquitto_pub -A 127.0.0.1 -t t -m m",
    "mosquitto_pub --nodelay -t t -m m",
    "mosquitto_pub --host localhost --port 1883 --topic t --message m --qos 1 --retain --id me",
    "mosquitto_pub --username u --pw p --keepalive 10 --topic t --null-message",
    "mosquitto_pub --file f --topic t --debug --disable-clean-session --id i",
    "mosquitto_pub --stdin-line --topic t --max-inflight 5",
    "mosquitto_pub --stdin-file --topic t --protocol-version 5 --session-expiry -1",
    "mosquitto_pub --null-message --topic t --id-prefix p",
    "mosquitto_sub -t sensors/temperature -q 1",
    "mosquitto_sub -t 'sensors/machine/+/temperature/+'",
    "mosquitto_sub -h test.mosquitto.org -t '#' -v",
    "mosquitto_sub -t '$SYS/#' -v",
    "mosquitto_sub -v -t '$SYS/broker/uptime' -C 1",
    "mosquitto_sub -t a -t b -t c/# -q 2",
    "mosquitto_sub -c -i backup -t plant/# -q 2",
    "mosquitto_sub -c -i me -x ∞ -V 5 -t a",
    "mosquitto_sub -t a -x -1 -V 5",
    "mosquitto_sub -t bbc/# -T bbc/subtitles/+/raw",
    "mosquitto_sub -t test -W 3 -C 10",
    "mosquitto_sub -E -i client -c -t a -q 1",
    "mosquitto_sub -U old/topic -t new/topic -c -i client",
    "mosquitto_sub -R -t lights/+",
    "mosquitto_sub --retained-only -t '#' -W 1",
    "mosquitto_sub --remove-retained -t test/#  -W 1",
    "mosquitto_sub -N -t image -C 1",
    "mosquitto_sub -t a -F %j --pretty",
    "mosquitto_sub -t a -F '%I %t %p'",
    "mosquitto_sub -F '@Y-@m-@dT@H:@M:@S@z : %t : %p' -t '#'",
    "mosquitto_sub -F '\\e[92m%t \\e[96m%p\\e[0m' -t a -q 2",
    "mosquitto_sub -L mqtt://broker:1884/home/#",
    "mosquitto_sub -u alice -P secret -t a -k 5 -d",
    "mosquitto_sub -p 1884 -V 5 -t a -D subscribe subscription-identifier 7 -D subscribe user-property a b",
    "mosquitto_sub -V 5 -t a -D connect receive-maximum 10 -D connect maximum-packet-size 1000",
    "mosquitto_sub --topic a --filter-out b --unsubscribe c --verbose --qos 2",
    "mosquitto_sub -t '$share/group/a/#' -q 1",
];

#[test]
fn mosquittos_command_lines_are_understood() {
    assert!(OF_MOSQUITTO.len() >= 60);
    for line in OF_MOSQUITTO {
        if let Err(stop) = parsed(line) {
            panic!("{line}: {}", stop.text);
        }
        let as_columba = line.replace("mosquitto_", "columba ");
        assert!(parsed(&as_columba).is_ok(), "{as_columba}");
        let with_path = format!("/usr/local/bin/{line}");
        assert!(parsed(&with_path).is_ok(), "{with_path}");
    }
}

#[test]
fn values_that_look_like_options_are_values() {
    assert_eq!(publish("mosquitto_pub -t topic -m -5").message.as_deref(), Some("-5"));
    assert_eq!(publish("mosquitto_pub -t topic -m -t").message.as_deref(), Some("-t"));
    assert_eq!(publish("mosquitto_pub -t topic -m -D").message.as_deref(), Some("-D"));
    assert_eq!(publish("mosquitto_pub -t topic -m ''").message.as_deref(), Some(""));
    assert_eq!(subscribe("mosquitto_sub -t a -x -1").common.session_expiry, Some(u32::MAX));
}

#[test]
fn the_letters_mean_what_they_mean_to_mosquitto() {
    let args = publish("columba pub -h broker -p 1884 -V mqttv31 -c -i me -q 2 -r -t a -m b");

    assert_eq!(args.common.host.as_deref(), Some("broker"));
    assert_eq!(args.common.port, Some(1884));
    assert_eq!(args.common.protocol_version, Some(Version::V31));
    assert!(args.common.keep_session && args.retain);
    assert_eq!(args.qos, QoS::ExactlyOnce);
}

#[test]
fn versions_have_many_names() {
    for (name, version) in [
        ("5", Version::V5),
        ("5.0", Version::V5),
        ("mqttv5", Version::V5),
        ("3.1.1", Version::V311),
        ("4", Version::V311),
        ("mqttv311", Version::V311),
        ("3.1", Version::V31),
        ("mqttv31", Version::V31),
    ] {
        let args = publish(&format!("columba pub -V {name} a b"));
        assert_eq!(args.common.protocol_version, Some(version), "{name}");
    }
    assert!(refused("columba pub -V 6 a b").contains("5, 3.1.1 or 3.1"));
}

#[test]
fn properties_take_two_or_three_values() {
    let args = publish("columba pub -t a -m b -D publish user-property name value -D publish content-type text/plain -q 1");

    assert_eq!(args.common.properties.len(), 2);
    assert_eq!(args.qos, QoS::AtLeastOnce);
    let text = refused("columba pub -t a -m b -D subscribe content-type text");
    assert!(text.contains("subscribe cannot have the property content-type"), "{text}");
    refused("columba pub -t a -m b -D publish");
}

#[test]
fn the_long_way_and_the_short_way_are_the_same() {
    let args =
        publish("columba pub home/x hi --user-property k=v --content-type text --expiry 5m --response-topic r --correlation 7");

    assert_eq!(args.positional_topic.as_deref(), Some("home/x"));
    assert_eq!(args.positional_message.as_deref(), Some("hi"));
    assert_eq!(args.expiry, Some(300));
    assert_eq!(args.user_property, [("k".to_owned(), "v".to_owned())]);
    let args = subscribe("columba sub 'a/#' b --share group --format json --retain-handling new --no-local");
    assert_eq!(args.positional_filters, ["a/#", "b"]);
    assert_eq!(args.format, OutputKind::Json);
    assert!(args.no_local);
}

#[test]
fn a_trace_has_levels_and_swallows_no_word() {
    let args = subscribe("columba sub --trace a");
    assert_eq!((args.common.trace, args.positional_filters.len()), (Some(TraceLevel::Names), 1));
    assert_eq!(publish("columba pub --trace=detail a b").common.trace, Some(TraceLevel::Detail));
    assert_eq!(publish("columba pub a b --trace=all --trace-to stdout").common.trace_to, "stdout");
}

#[test]
fn a_bare_h_asks_for_help_and_a_host_does_not() {
    for line in ["columba pub -h", "columba sub -h", "columba pub --help", "columba --help", "columba", "mosquitto_sub --help"] {
        match parsed(line) {
            Err(Stop { text, exit: Exit::Done }) => assert!(text.contains("Usage"), "{line}: {text}"),
            other => panic!("{line}: {other:?}"),
        }
    }
    assert_eq!(subscribe("columba sub -h host filter").positional_filters, ["filter"]);
}

#[test]
fn the_version_has_three_spellings() {
    assert!(parsed("columba -V").unwrap().version);
    assert!(parsed("columba --version").unwrap().version);
    assert!(matches!(parsed("columba version").unwrap().command, Some(Command::Version)));
}

#[test]
fn what_makes_no_sense_is_said_in_one_line_with_something_to_try() {
    for line in [
        "columba pub --frobnicate",
        "columba pub -q 3 a b",
        "columba pub -m x -n -t a",
        "columba sub -C 0 a",
        "columba frobnicate",
        "columba pub -p 99999 a b",
        "columba pub --will-payload x a b",
    ] {
        let text = refused(line);
        assert!(text.starts_with("error: "), "{line}: {text}");
        assert!(!text.starts_with("error: error"), "{line}: {text}");
        assert!(text.lines().last().unwrap().starts_with("try: columba"), "{line}: {text}");
        assert!(!text.contains("Usage:"), "{line}: {text}");
    }
}

#[test]
fn keys_without_certificates_are_known_not_to_be_there() {
    let text = refused("mosquitto_pub -t a -m b --psk 1234 --psk-identity me");

    assert!(text.contains("note: TLS is spoken with certificates only"), "{text}");
}
