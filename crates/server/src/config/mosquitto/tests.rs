use std::{fs, time::Duration};

use columba_broker::{MissedQos0, limits::Terms};
use columba_proto::{QoS, Version};

use super::*;
use crate::config::{Access, Data, Identity, Interface, Method, Quota, Sources};

fn import(text: &str) -> Result<Import, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mosquitto.conf");
    fs::write(&path, text).unwrap();
    let shown = dir.path().display().to_string();
    Import::read(&path).map_err(|error| error.to_string().replace(&format!("{shown}/"), ""))
}

fn config(text: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mosquitto.conf");
    fs::write(&path, text).unwrap();
    let shown = dir.path().display().to_string();
    let loaded = Config::load(&Sources { file: Some(path), ..Sources::default() });
    loaded.map_err(|error| error.to_string().replace(&format!("{shown}/"), ""))
}

#[test]
fn an_empty_file_means_what_it_means_to_mosquitto() {
    let config = config("# nothing\n\n").unwrap();

    assert_eq!(config.listeners, [Listener::local()]);
    assert_eq!(config.access, Access::ThisMachine);
    assert_eq!(config.data, Data::Ephemeral);
    assert_eq!(config.limits.queue_messages_max, 1000);
    assert_eq!(config.limits.queue_full, columba_broker::QueueFull::DropNewest);
}

#[test]
fn what_a_small_house_has_is_honoured() {
    let config = config(
        "per_listener_settings false\r\nlistener 1883\nmax_connections 200\nlistener 1884 ::1\nlistener 1885 127.0.0.1\nallow_anonymous true\n\
         persistence true\npersistence_location /var/lib/mosquitto/\nautosave_interval 30\nmax_inflight_messages 40\n\
         max_queued_messages 0\nmax_queued_bytes 5000\nmax_packet_size 300000\nmessage_size_limit 2000\nmax_keepalive 600\nretain_available false\n\
         persistent_client_expiration 2d\nlog_type all\n",
    )
    .unwrap();

    let listeners: Vec<String> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!(listeners, ["*:1883", "[::1]:1884", "127.0.0.1:1885"]);
    assert_eq!(config.listeners[0].max_connections, Some(200));
    assert_eq!(config.access, Access::Anyone);
    assert_eq!(config.data, Data::Directory("/var/lib/mosquitto/columba".into()));
    let limits = &config.limits;
    assert_eq!((limits.inflight, limits.receive_maximum), (40, 40));
    assert_eq!((limits.queue_messages_max, limits.queue_bytes_max), (u64::MAX, 5000));
    assert_eq!(limits.max_payload, 2_000);
    assert_eq!((limits.max_packet_size, limits.max_keep_alive_s, limits.retain), (300_000, 600, false));
    assert_eq!(Duration::from_secs(limits.session_expiry_max_s.into()), Duration::from_hours(48));
    assert!(config.notes.iter().any(|note| note.contains("autosave_interval: no counterpart")), "{:?}", config.notes);
}

#[test]
fn what_holds_on_one_listener_holds_on_that_one() {
    let config = config(
        "listener 1883\nmax_qos 1\nmax_topic_alias 5\nlistener 1884\nmount_point site/7/\naccept_protocol_versions 5, 4\n\
         listener 1885\nallow_anonymous true\n",
    )
    .unwrap();

    let terms: Vec<&Terms> = config.listeners.iter().map(|listener| &listener.terms).collect();
    let first = Terms { max_qos: Some(QoS::AtLeastOnce), max_topic_alias: Some(5), ..Terms::default() };
    let mount_point = Some("site/7/".parse().unwrap());
    let second = Terms { versions: vec![Version::V311, Version::V5], mount_point, ..Terms::default() };
    assert_eq!(terms, [&first, &second, &Terms::default()]);
    assert_eq!(config.limits.max_qos, QoS::ExactlyOnce);
}

#[test]
fn what_stands_before_the_first_listener_makes_one_of_its_own() {
    let addresses = |text: &str| -> Vec<String> {
        config(text).unwrap().listeners.iter().map(|listener| listener.address.to_string()).collect()
    };

    assert_eq!(addresses("port 1900\n"), ["*:1900"]);
    assert_eq!(addresses("bind_address 127.0.0.1\n"), ["127.0.0.1:1883"]);
    assert_eq!(addresses("max_connections 5\nlistener 1901\n"), ["*:1883", "*:1901"]);
    assert_eq!(addresses("listener 1901\nmax_connections 5\n"), ["*:1901"]);
    assert_eq!(addresses("listener 1901\nport 1900\n"), ["*:1900", "*:1901"]);
}

#[test]
fn with_a_listener_nobody_is_let_in_who_was_not_before() {
    let import = import("listener 1883\n").unwrap();

    assert!(import.remarks.iter().any(|remark| &*remark.option == "allow_anonymous"), "{:?}", import.remarks);
    assert_eq!(config("listener 1883\n").unwrap().access, Access::Users);
}

#[test]
fn what_would_make_the_broker_weaker_is_refused_where_it_stands() {
    for (text, error) in [
        ("plugin /usr/lib/x.so\n", "mosquitto.conf:1:1: \"plugin\" is not honoured: there are no plugins"),
        ("\nauth_opt_host db\n", "mosquitto.conf:2:1: \"auth_opt_host\" is not honoured: there are no plugins"),
        ("psk_file /etc/psk\n", "mosquitto.conf:1:1: \"psk_file\" is not honoured: there are no pre-shared keys"),
        ("connection up\n", "mosquitto.conf:1:1: \"connection\" is not honoured: there are no bridges yet"),
        ("bridge_insecure true\n", "mosquitto.conf:1:1: \"bridge_insecure\" is not honoured: there are no bridges yet"),
        (
            " alow_anonymous false\n",
            "mosquitto.conf:1:2: \"alow_anonymous\" is not honoured: not an option of mosquitto 2.0; did you mean \"allow_anonymous\"?",
        ),
        (
            "listner 1883\n",
            "mosquitto.conf:1:1: \"listner\" is not honoured: not an option of mosquitto 2.0; did you mean \"listener\"?",
        ),
        ("quantum_leap 1\n", "mosquitto.conf:1:1: \"quantum_leap\" is not honoured: not an option of mosquitto 2.0"),
    ] {
        assert_eq!(config(text).unwrap_err(), error);
    }
    // Each is told, not only the first.
    assert_eq!(import("plugin x\nconnection y\n").unwrap().refused().count(), 2);
}

#[test]
fn a_value_that_is_none_is_refused_where_it_stands() {
    for (text, place, expected) in [
        ("listener many\n", "1:10", "a port from 0 to 65535"),
        ("\n  allow_anonymous maybe\n", "2:19", "true or false"),
        ("protocol mqttsn\n", "1:10", "mqtt or websockets"),
        ("socket_domain x25\n", "1:15", "ipv4 or ipv6"),
        ("max_inflight_messages -4\n", "1:23", "a whole number"),
        ("sys_interval often\n", "1:14", "a whole number"),
        ("persistent_client_expiration soon\n", "1:30", "a time like 12h, 14d, 2w, 3m (months) or 1y"),
        ("max_qos 7\n", "1:1", "a number from 0 to 2"),
        ("mount_point site\n", "1:13", "a slash at its end: without one it would run into the first level of the topics"),
        ("mount_point $x/\n", "1:1", "something that does not begin with \"$\""),
        ("accept_protocol_versions 5,6\n", "1:26", "3, 4 and 5, with commas between them"),
        ("tls_version tlsv1.1\n", "1:13", "tlsv1.2 or tlsv1.3: older ones are not spoken"),
        (
            "log_type nonsense\n",
            "1:10",
            "error, warning, notice, information, debug, subscribe, unsubscribe, websockets, none or all",
        ),
        ("log_dest nowhere\n", "1:10", "none, syslog, stdout, stderr, topic or file FILE"),
        ("password_file\n", "1:14", "a file"),
        ("bind_interface lo # the loopback\n", "1:1", "the name of a network interface, like eth0"),
    ] {
        let option = text.split_whitespace().next().unwrap();
        let error = format!("mosquitto.conf:{place}: \"{option}\" is not honoured: it wants {expected}");
        assert_eq!(config(text).unwrap_err(), error);
    }
}

#[test]
fn a_listener_with_tls_and_one_for_web_pages_mean_the_same_here() {
    let text = "listener 8883\ncafile /c/ca.crt\ncapath /c/ca.d\ncertfile /c/server.crt\nkeyfile /c/server.key\ncrlfile /c/list.pem\nrequire_certificate true\nuse_identity_as_username true\n\
                tls_version tlsv1.3\nlistener 9001\nprotocol websockets\nwebsockets_origin https://app.example\nlistener 9002\nprotocol websockets\ncertfile /c/server.crt\n\
                keyfile /c/server.key\nlistener 0 /run/mqtt.sock\nallow_anonymous true\n";
    let written = import(text).unwrap().to_toml();

    for line in [
        "url = \"mqtts://*:8883\"\nca = \"/c/ca.crt\"\nca_dir = \"/c/ca.d\"\ncert = \"/c/server.crt\"\nkey = \"/c/server.key\"\ncrl = \"/c/list.pem\"\nclient_cert = \"require\"\ntls_version = \"tlsv1.3\"\nidentity = \"cn\"\n",
        "url = \"ws://*:9001\"\norigins = [\"https://app.example\"]\n",
        "url = \"wss://*:9002\"\n",
        "url = \"unix:/run/mqtt.sock\"\n",
    ] {
        assert!(written.contains(line), "{line}\nin\n{written}");
    }
    let (ours, theirs) = (Config::parse("columba.toml", &written).unwrap(), config(text).unwrap());
    assert_eq!(ours.listeners, theirs.listeners);
    assert_eq!(ours.listeners.len(), 4);
}

#[test]
fn of_common_name_and_subject_each_is_said_for_itself() {
    let tls = "listener 8883\ncertfile /c\nkeyfile /k\ncafile /ca\nrequire_certificate true\n";
    let (common_name, subject) = ("use_identity_as_username", "use_subject_as_username");
    for (lines, expected) in [
        (format!("{common_name} true\n{subject} false\n"), Identity::CommonName),
        (format!("{common_name} false\n{subject} true\n"), Identity::Subject),
        (format!("{subject} true\n{common_name} false\n"), Identity::Subject),
        (format!("{common_name} true\n{subject} true\n"), Identity::CommonName),
        (format!("{subject} true\n{common_name} true\n"), Identity::CommonName),
        (format!("{common_name} true\n{common_name} false\n"), Identity::None),
        (format!("{common_name} false\n"), Identity::None),
    ] {
        assert_eq!(config(&format!("{tls}{lines}")).unwrap().listeners[0].tls.identity, expected, "{lines}");
    }
    let told = import(&format!("{tls}{common_name} true\n{subject} true\n")).unwrap();
    let whys: Vec<&str> = told.remarks[5..7].iter().map(|remark| &*remark.why).collect();
    assert_eq!(whys, ["identity = \"cn\"", "use_identity_as_username is true, too, and comes first, as there"]);
}

#[test]
fn files_of_a_directory_are_read_in_the_order_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let included = dir.path().join("conf.d");
    fs::create_dir(&included).unwrap();
    fs::write(included.join("b.conf"), "max_inflight_messages 2\n").unwrap();
    fs::write(included.join("A.conf"), "max_inflight_messages 1\nlistener 1900\n").unwrap();
    fs::write(included.join("c.conf.old"), "max_inflight_messages 3\n").unwrap();
    let path = dir.path().join("mosquitto.conf");
    fs::write(&path, format!("include_dir {}\nallow_anonymous true\n", included.display())).unwrap();

    let config = Config::load(&Sources { file: Some(path.clone()), ..Sources::default() }).unwrap();
    assert_eq!((config.limits.inflight, config.listeners.len()), (2, 1));

    fs::write(included.join("d.conf"), format!("include_dir {}\n", included.display())).unwrap();
    let error = Config::load(&Sources { file: Some(path), ..Sources::default() }).unwrap_err().to_string();
    assert!(error.ends_with("files include each other too deeply"), "{error}");
}

#[test]
fn of_two_files_that_differ_in_capitals_alone_the_one_in_capitals_is_first() {
    let dir = tempfile::tempdir().unwrap();
    for letter in 'a'..='h' {
        // In both orders: a directory has one of its own.
        let (small, large) = (letter, letter.to_ascii_uppercase());
        for name in if letter < 'e' { [small, large] } else { [large, small] } {
            fs::write(dir.path().join(format!("{name}.conf")), "pid_file /p\n").unwrap();
        }
    }

    let read = import(&format!("include_dir {}\n", dir.path().display())).unwrap();
    let names: String = read.remarks[1..]
        .iter()
        .filter_map(|remark| match &remark.place {
            Place::Line { path, .. } => path.file_stem()?.to_str(),
            Place::File(_) | Place::Variable(_) | Place::Option { .. } => None,
        })
        .collect();
    assert_eq!(names, "AaBbCcDdEeFfGgHh");
}

#[test]
fn what_it_writes_reads_as_the_same() {
    let text = "listener 1884 127.0.0.1\nmax_connections 5\nmax_connections 6\nallow_anonymous true\nmax_queued_messages 7\nmax_queued_messages 8\n\
                websockets_origin https://a.example\nprotocol websockets\nwebsockets_origin https://b.example\npersistence true\n";
    let written = import(text).unwrap().to_toml();
    let (ours, theirs) = (Config::parse("columba.toml", &written).unwrap(), config(text).unwrap());

    assert_eq!(ours.listeners, theirs.listeners);
    assert_eq!(ours.data, theirs.data);
    assert_eq!(format!("{:?}", ours.limits), format!("{:?}", theirs.limits));
    assert_eq!(
        written,
        "data_dir = \"/var/lib/mosquitto/columba\"\n\n[[listener]]\nurl = \"ws://127.0.0.1:1884\"\nmax_connections = 6\n\
         origins = [\"https://a.example\", \"https://b.example\"]\n\n[auth]\nanonymous = true\n\n\
         [limits]\nqueue_messages = 8\nqueue_full = \"drop-newest\"\nmax_packet_size = 268435460\ninflight = 20\nreceive_maximum = 20\n"
    );
}

#[test]
fn what_is_written_down_is_a_configuration_whatever_was_read() {
    for (text, refused) in [
        (
            "listener 1883\ncrlfile /c/list.pem\n",
            "mosquitto.conf:2:1: crlfile: refused: a listener without certfile does not speak TLS",
        ),
        (
            "listener 1883\ncapath /c/ca.d\n",
            "mosquitto.conf:2:1: capath: refused: a listener without certfile does not speak TLS",
        ),
        (
            "listener 1883\ntls_version tlsv1.3\n",
            "mosquitto.conf:2:1: tls_version: refused: a listener without certfile does not speak TLS",
        ),
        (
            "listener 8883\ncertfile /c/server.crt\n",
            "mosquitto.conf:2:1: certfile: refused: certfile and keyfile belong together",
        ),
        (
            "listener 8883\ncertfile /c/server.crt\nkeyfile /c/server.key\nrequire_certificate true\n",
            "mosquitto.conf:4:1: require_certificate: refused: it needs cafile or capath: the authorities that sign clients' certificates",
        ),
        (
            "listener 8883\ncertfile /c/server.crt\nkeyfile /c/server.key\nuse_identity_as_username true\n",
            "mosquitto.conf:4:1: use_identity_as_username: refused: clients show no certificate without `require_certificate true`",
        ),
        (
            "listener 1883\nwebsockets_origin https://a.example\n",
            "mosquitto.conf:2:1: websockets_origin: refused: it is for `protocol websockets`",
        ),
        (
            "listener 0 /run/mqtt.sock\nbind_interface lo\n",
            "mosquitto.conf:2:1: bind_interface: refused: a unix socket is on no network",
        ),
        ("listener 1883\nmax_qos 9\n", "mosquitto.conf:2:1: max_qos: refused: it wants a number from 0 to 2"),
        (
            "listener 1883 ::1\nsocket_domain ipv4\n",
            "mosquitto.conf:2:1: socket_domain: refused: socket_domain and the address of the listener are of two families",
        ),
        ("listener 1883 bad host\n", "mosquitto.conf:1:1: listener: refused: it wants an address to listen on"),
    ] {
        let import = import(text).unwrap();
        let said: Vec<String> = import.refused().map(ToString::to_string).collect();
        assert!(said.len() == 1 && said[0].contains(refused), "{text}: {said:?}");
        Config::parse("columba.toml", &import.to_toml()).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn of_one_listener_every_line_that_does_not_fit_is_refused_at_once() {
    for (text, expected) in [
        (
            "listener 1883\ncrlfile /x\nmount_point $x/\nwebsockets_origin https://a.example\nwebsockets_origin https://b.example\n\
             use_identity_as_username false\nmax_connections 5\nmax_qos 9\n",
            vec!["crlfile:2", "mount_point:3", "websockets_origin:4", "websockets_origin:5", "max_qos:8"],
        ),
        (
            "listener 8883 ::1\nsocket_domain ipv4\ncertfile /c/server.crt\ncrlfile /a\ncrlfile /b\n",
            vec!["socket_domain:2", "certfile:3", "crlfile:4", "crlfile:5"],
        ),
        (
            "listener 8883\ncertfile /c/server.crt\nrequire_certificate true\nlistener 0 /run/mqtt.sock\nbind_interface lo\ncafile /c/ca.crt\n",
            vec!["certfile:2", "require_certificate:3", "bind_interface:5", "cafile:6"],
        ),
        ("listener 1883\nmax_qos 9\nmax_qos 1\n", vec![]),
    ] {
        let import = import(text).unwrap();
        assert_eq!(refused(&import), expected, "{text}");
        Config::parse("columba.toml", &import.to_toml()).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

/// The options that are refused, each with its line.
fn refused(import: &Import) -> Vec<String> {
    let told = |remark: &Remark| match &remark.place {
        Place::Line { line, .. } => format!("{}:{line}", remark.option),
        other @ (Place::File(_) | Place::Variable(_) | Place::Option { .. }) => panic!("{other}"),
    };
    import.refused().map(told).collect()
}

#[test]
fn what_mosquitto_has_where_nothing_is_said_holds_here_too() {
    let imported = config("listener 1883\nallow_anonymous true\n").unwrap().limits;
    assert_eq!((imported.inflight, imported.receive_maximum, imported.max_packet_size), (20, 20, 268_435_460));

    let told = import("listener 1883\nallow_anonymous true\n").unwrap();
    assert!(told.remarks.iter().any(|remark| &*remark.option == "max_packet_size" && remark.verdict == Verdict::Noted));
    let said = config("max_packet_size 5000\nmax_inflight_messages 0\n").unwrap().limits;
    assert_eq!((said.inflight, said.receive_maximum, said.max_packet_size), (65_535, 65_535, 5_000));
}

#[test]
fn lines_that_say_what_is_so_anyway_are_honoured() {
    for (option, good, bad) in [
        ("allow_zero_length_clientid", "true", "false"),
        ("upgrade_outgoing_qos", "false", "true"),
        ("use_username_as_clientid", "0", "1"),
        ("tls_keyform", "pem", "engine"),
    ] {
        assert!(config(&format!("{option} {good}\n")).is_ok(), "{option} {good}");
        assert!(config(&format!("{option} {bad}\n")).unwrap_err().contains("is not honoured"), "{option} {bad}");
    }
}

#[test]
fn of_a_value_as_much_is_read_as_mosquitto_reads() {
    let text = "listener 1883 127.0.0.1 # the plain one\nallow_anonymous true # for now\nmax_queued_messages 1000 # many\nsys_interval 5s\nretain_available 1 # yes\n\
                retry_interval 20\nmax_connections -1 # all\npersistence false # not yet\n";
    let (read, told) = (config(text).unwrap(), import(text).unwrap());

    assert_eq!((read.access, read.limits.queue_messages_max), (Access::Anyone, 1000));
    assert_eq!((read.sys_interval, read.limits.retain), (Some(Duration::from_secs(5)), true));
    assert_eq!(read.listeners[0].address.to_string(), "127.0.0.1:1883");
    let interval = told.remarks.iter().find(|remark| &*remark.option == "sys_interval").unwrap();
    assert_eq!((interval.verdict, &*interval.why), (Verdict::Noted, "only \"5\" of it is read, as there: sys.interval = 5"));
    let retry = told.remarks.iter().find(|remark| &*remark.option == "retry_interval").unwrap();
    assert_eq!(retry.verdict, Verdict::NoCounterpart);
}

#[test]
fn messages_at_qos_0_wait_where_they_did() {
    for (text, expected) in [
        ("", MissedQos0::Lost),
        ("queue_qos0_messages false\n", MissedQos0::Lost),
        ("queue_qos0_messages true\n", MissedQos0::Waits),
    ] {
        assert_eq!(config(text).unwrap().limits.missed_qos0, expected, "{text}");
    }
}

#[test]
fn memory_is_bounded_as_it_was() {
    for (text, expected) in [
        ("", Config::default().memory_max),
        ("memory_limit 0\n", Quota::None),
        ("memory_limit 100000000\n", Quota::Bytes(100_000_000)),
        ("memory_limit 5000\n", Quota::Bytes(32 << 20)),
    ] {
        assert_eq!(config(text).unwrap().memory_max, expected, "{text}");
    }
    let raised = import("memory_limit 5000\n").unwrap();
    assert_eq!(
        (raised.remarks[0].verdict, &*raised.remarks[0].why),
        (Verdict::Noted, "limits.memory = 33554432, the least that it can be")
    );
}

#[test]
fn as_much_is_logged_as_was_wanted() {
    for (text, filter) in [
        ("", "info"),
        ("log_type error\n", "error"),
        ("log_type error\nlog_type warning\n", "warn"),
        ("log_type notice\nlog_type error\n", "info"),
        ("log_type all\n", "debug"),
        ("log_type none\n", "off"),
        ("log_type all\nlog_type none\nlog_type error\n", "error"),
        ("log_type subscribe\n", "off"),
        ("log_type error\nlog_type websockets\n", "error"),
        ("log_dest none\n", "off"),
        ("log_dest none\nlog_dest stderr\nlog_type warning\n", "warn"),
        ("log_dest stderr\nlog_dest none\nlog_type all\n", "off"),
    ] {
        assert_eq!(config(text).unwrap().log.filter.to_string(), filter, "{text}");
    }
}

#[test]
fn a_family_of_addresses_is_a_part_of_the_address() {
    for (text, address) in [
        ("listener 1883\nsocket_domain ipv4\n", "0.0.0.0:1883"),
        ("listener 1883\nsocket_domain ipv6\n", "[::]:1883"),
        ("listener 1883 localhost\nsocket_domain ipv6\n", "[::1]:1883"),
        ("listener 1883 10.0.0.7\nsocket_domain ipv4\n", "10.0.0.7:1883"),
        ("socket_domain ipv4\n", "0.0.0.0:1883"),
    ] {
        assert_eq!(config(text).unwrap().listeners[0].address.to_string(), address, "{text}");
    }
}

#[test]
fn an_interface_is_that_of_its_listener() {
    let (text, of_first) =
        ("listener 1883\nbind_interface eth0\nlistener 1883\nbind_interface lo\n", "bind_interface lo\nlistener 1900\n");
    let (read, told) = (config(text).unwrap(), import(text).unwrap());

    let of = |config: &Config| -> Vec<String> {
        config
            .listeners
            .iter()
            .map(|listener| format!("{} {:?}", listener.address, listener.interface.as_ref().map(Interface::name)))
            .collect()
    };
    assert_eq!(of(&read), ["*:1883 Some(\"eth0\")", "*:1883 Some(\"lo\")"]);
    assert_eq!(of(&config(of_first).unwrap()), ["*:1883 Some(\"lo\")", "*:1900 None"], "it makes one of its own, there too");
    assert_eq!(Config::parse("columba.toml", &told.to_toml()).unwrap().listeners, read.listeners);
    assert_eq!((told.remarks[1].verdict, &*told.remarks[1].why), (Verdict::Honoured, "interface = \"eth0\""));
}

#[test]
fn each_line_is_told_of_in_its_order() {
    let text = "# all of it\nper_listener_settings false\nlistener 8883 ::1\ncertfile /c.crt\nkeyfile /c.key\nprotocol websockets\npassword_file /p\n\
                persistence true\npersistence_location /srv\nautosave_interval 5\nuser mosquitto\nlog_dest stderr\nlog_type error\nmax_inflight_messages 7\n";
    let told: Vec<String> = import(text)
        .unwrap()
        .remarks
        .iter()
        .map(|remark| format!("{}: {}: {}", remark.option, remark.verdict.name(), remark.why))
        .collect();

    let expected = [
        "per_listener_settings: honoured: it is always so",
        "listener: honoured: url = \"wss://[::1]:8883\"",
        "certfile: honoured: cert = \"/c.crt\"",
        "keyfile: honoured: key = \"/c.key\"",
        "protocol: honoured: url = \"wss://[::1]:8883\"",
        "password_file: honoured: auth.password.file = \"/p\"",
        "persistence: honoured: data_dir = \"/srv/columba\"",
        "persistence_location: honoured: data_dir = \"/srv/columba\"",
        "autosave_interval: no counterpart: everything acknowledged is on disk already",
        "user: no counterpart: it stays whoever starts it, root too: have the service manager start it as that user",
        "log_dest: honoured: logs go there",
        "log_type: honoured: log.filter = \"error\"",
        "max_inflight_messages: honoured: limits.inflight and limits.receive_maximum = 7",
    ];
    assert_eq!(told[..expected.len()], expected);
    let notes = config(text).unwrap().notes;
    let told: Vec<&str> = notes.iter().map(|note| note.rsplit("mosquitto.conf").next().unwrap()).collect();
    assert!(!told.iter().any(|note| note.contains("certfile")), "only what there is to know goes to the log: {told:?}");
}

#[test]
fn who_may_come_in_may_differ_from_listener_to_listener() {
    let text = "per_listener_settings true\nlistener 1883 127.0.0.1\nallow_anonymous true\nlistener 8883\nallow_anonymous false\npassword_file /p\n\
                listener 1884\npassword_file /p\nallow_anonymous true\n";
    let (read, told) = (config(text).unwrap(), import(text).unwrap());

    let ways: Vec<Option<Vec<Method>>> = read.listeners.iter().map(|listener| listener.auth.clone()).collect();
    let expected = [vec![Method::Anonymous], vec![Method::Password], vec![Method::Password, Method::Anonymous]];
    assert_eq!(ways, expected.map(Some));
    assert_eq!((read.access, read.password_file.as_deref()), (Access::Users, Some(Path::new("/p"))));
    assert_eq!(Config::parse("columba.toml", &told.to_toml()).unwrap().listeners, read.listeners);
    assert_eq!(&*told.remarks[2].why, "auth = [\"anonymous\"]");
}

#[test]
fn what_all_listeners_say_is_said_for_all() {
    let one =
        config("per_listener_settings true\nlistener 1883\nallow_anonymous false\npassword_file /p\nacl_file /a\n").unwrap();
    assert_eq!((one.listeners[0].auth.clone(), one.access), (None, Access::Users));
    assert_eq!((one.password_file.as_deref(), one.acl_file.as_deref()), (Some(Path::new("/p")), Some(Path::new("/a"))));

    // There, too, a password file above all listeners opens one of its own.
    let default = config("per_listener_settings true\npassword_file /p\nlistener 1884\npassword_file /p\n").unwrap();
    assert_eq!((default.listeners.len(), default.access), (2, Access::Users));
    assert_eq!(config("per_listener_settings true\n").unwrap().access, Access::ThisMachine);
}

#[test]
fn what_listeners_cannot_have_for_themselves_is_refused() {
    for (text, lines) in [
        ("listener 1883\npassword_file /p\nlistener 1884\npassword_file /q\n", vec!["password_file:3", "password_file:5"]),
        ("listener 1883\nallow_anonymous true\nacl_file /a\nlistener 1884\nallow_anonymous true\n", vec!["acl_file:4"]),
        ("listener 1883\nallow_anonymous true\nlistener 1884\n", vec!["listener:4"]),
        ("acl_file /a\nlistener 1883\nallow_anonymous true\n", vec!["acl_file:2"]),
        ("listener 1883\nallow_anonymous true\nper_listener_settings true\n", vec![]),
    ] {
        let import = import(&format!("per_listener_settings true\n{text}")).unwrap();
        assert_eq!(refused(&import), lines, "{text}");
    }
    assert!(config("allow_anonymous true\nper_listener_settings true\n").unwrap_err().contains("it stands before everything"));
}
