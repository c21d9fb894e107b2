use std::{fs, time::Duration};

use columba_broker::limits::Terms;
use columba_proto::{QoS, Version};

use super::*;
use crate::config::{Access, Data, Sources};

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
        ("alow_anonymous false\n", "mosquitto.conf:1:1: \"alow_anonymous\" is not honoured: not an option of mosquitto 2.0"),
    ] {
        assert_eq!(config(text).unwrap_err(), error);
    }
    assert!(config("per_listener_settings true\n").unwrap_err().contains("is not honoured"));
    // Each is told, not only the first.
    assert_eq!(import("plugin x\nconnection y\n").unwrap().refused().count(), 2);
}

#[test]
fn a_value_that_is_none_is_an_error_where_it_stands() {
    for (text, error) in [
        ("listener many\n", "mosquitto.conf:1:1: \"listener\" wants a port from 0 to 65535"),
        ("allow_anonymous maybe\n", "mosquitto.conf:1:1: \"allow_anonymous\" wants true or false"),
        ("protocol mqttsn\n", "mosquitto.conf:1:1: \"protocol\" wants mqtt or websockets"),
        ("max_inflight_messages -4\n", "mosquitto.conf:1:1: \"max_inflight_messages\" wants a whole number"),
        (
            "persistent_client_expiration soon\n",
            "mosquitto.conf:1:1: \"persistent_client_expiration\" wants a time like 12h, 14d, 2w, 3m (months) or 1y",
        ),
        ("max_qos 7\n", "mosquitto.conf:1:1: \"max_qos\" wants a number from 0 to 2"),
        (
            "mount_point site\n",
            "mosquitto.conf:1:1: \"mount_point\" wants a slash at its end: without one it would run into the first level of the topics",
        ),
        ("mount_point $x/\n", "mosquitto.conf:1:1: \"mount_point\" wants something that does not begin with \"$\""),
        (
            "accept_protocol_versions 5,6\n",
            "mosquitto.conf:1:1: \"accept_protocol_versions\" wants 3, 4 and 5, with commas between them",
        ),
    ] {
        assert_eq!(config(text).unwrap_err(), error);
    }
}

#[test]
fn a_listener_with_tls_and_one_for_web_pages_mean_the_same_here() {
    let text = "listener 8883\ncafile /c/ca.crt\ncertfile /c/server.crt\nkeyfile /c/server.key\ncrlfile /c/list.pem\nrequire_certificate true\nuse_identity_as_username true\n\
                tls_version tlsv1.3\nlistener 9001\nprotocol websockets\nwebsockets_origin https://app.example\nlistener 9002\nprotocol websockets\ncertfile /c/server.crt\n\
                keyfile /c/server.key\nlistener 0 /run/mqtt.sock\nallow_anonymous true\n";
    let written = import(text).unwrap().to_toml();

    for line in [
        "url = \"mqtts://*:8883\"\nca = \"/c/ca.crt\"\ncert = \"/c/server.crt\"\nkey = \"/c/server.key\"\ncrl = \"/c/list.pem\"\nclient_cert = \"require\"\nidentity = \"cn\"\ntls_version = \"tlsv1.3\"\n",
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
fn what_it_writes_reads_as_the_same() {
    let text = "listener 1884 127.0.0.1\nmax_connections 5\nallow_anonymous true\nmax_queued_messages 7\nmax_queued_messages 8\npersistence true\n";
    let written = import(text).unwrap().to_toml();
    let (ours, theirs) = (Config::parse("columba.toml", &written).unwrap(), config(text).unwrap());

    assert_eq!(ours.listeners, theirs.listeners);
    assert_eq!(ours.data, theirs.data);
    assert_eq!(format!("{:?}", ours.limits), format!("{:?}", theirs.limits));
    assert_eq!(
        written,
        "data_dir = \"/var/lib/mosquitto/columba\"\n\n[[listener]]\nurl = \"mqtt://127.0.0.1:1884\"\nmax_connections = 5\n\n[auth]\nanonymous = true\n\n\
         [limits]\nqueue_messages = 8\nqueue_full = \"drop-newest\"\n"
    );
}
