//! The HTTP port: health, metrics, and who gets nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use columba_server::{
    Config, Running, Server, StartError,
    config::{Data, Http, Wanted},
};
use common::{Keep, Raw, address, config, connect, publish};

fn broker(set: &[&str]) -> (Running, SocketAddr) {
    let set = [&["http.url=127.0.0.1:0", "sys.interval=100ms"], set].concat();
    let broker = Server::start(Config { data: Data::Ephemeral, ..config(&set) }).unwrap();
    let at = broker.http_addrs()[0];
    (broker, at)
}

/// Status, head and body of what comes back.
fn ask(at: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn get(at: SocketAddr, path: &str) -> (u16, String, String) {
    ask(at, &format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n"))
}

#[test]
fn a_broker_that_is_well_lives_and_is_ready() {
    let (_broker, at) = broker(&["runtime.shards=2"]);

    assert_eq!(get(at, "/healthz").2, r#"{"reasons":[],"status":"alive"}"#);
    let (status, head, body) = get(at, "/readyz");
    assert_eq!((status, &*body), (200, r#"{"reasons":[],"status":"ready"}"#));
    assert!(head.contains("content-type: application/json"), "{head}");
}

#[test]
fn metrics_tell_what_clients_did_under_both_names() {
    let (broker, at) = broker(&[]);
    let (mut client, _) = Raw::connected(address(&broker), &connect(5, "client", Keep::Nothing));
    for id in 1..=3 {
        client.send(&publish(5, id, "t", b"x"));
        client.expect(0x40);
    }

    let (status, head, body) = get(at, "/metrics");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    let line = |line: &str| assert!(body.lines().any(|known| known == line), "{line}\n{body}");
    line("columba_publish_received_total{qos=\"1\"} 3");
    line("columba_connections{listener=\"127.0.0.1:0\",version=\"5\"} 1");
    line("columba_retained_messages 0");
    assert!(body.ends_with("# EOF\n"));

    let theirs = loop {
        let (status, _, body) = get(at, "/metrics?names=mosquitto");
        if status == 200 && body.contains("broker_publish_messages_received 3\n") {
            break body;
        }
    };
    assert!(theirs.contains("# TYPE broker_clients_connected gauge\nbroker_clients_connected 1\n"), "{theirs}");
    assert_eq!(get(at, "/metrics?names=nagios").0, 400);
}

#[test]
fn metrics_can_be_turned_off() {
    let (_broker, at) = broker(&["http.metrics=false"]);

    assert_eq!(get(at, "/metrics").0, 404);
}

#[test]
fn every_answer_has_the_headers_that_keep_browsers_honest() {
    let (_broker, at) = broker(&[]);

    for path in ["/healthz", "/metrics", "/nothing", "/../etc/passwd", "/%2e%2e/etc/passwd"] {
        let (_, head, _) = get(at, path);
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(head.contains(header), "{path}: {header}\n{head}");
        }
        assert!(!head.contains("access-control-allow"), "{head}");
    }
}

#[test]
fn a_name_that_points_here_gets_nothing_but_probes() {
    let (_broker, at) = broker(&["http.hosts=[\"broker.example\"]"]);
    let as_host = |path: &str, host: &str| ask(at, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));

    let (status, head, body) = as_host("/metrics", "evil.example");
    assert_eq!(status, 421);
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    assert!(body.contains("http.hosts"), "{body}");
    assert_eq!(as_host("/metrics", "broker.example").0, 200);
    assert_eq!(as_host("/readyz", "evil.example").0, 200);
}

#[test]
fn what_is_not_there_says_so() {
    let (_broker, at) = broker(&[]);

    let (status, head, body) = get(at, "/nothing");
    assert_eq!(status, 404);
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    assert!(body.contains(r#""title":"Not Found""#), "{body}");
    let posted = ask(at, &format!("POST /metrics HTTP/1.1\r\nHost: {at}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    assert_eq!(posted.0, 405);
}

#[test]
fn a_taken_port_stops_only_those_who_asked_for_it() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = holder.local_addr().unwrap().to_string();
    let set = config(&[&format!("http.url={url}")]);
    assert_eq!(set.http.wanted, Wanted::Always);

    let asked = Server::start(Config { data: Data::Ephemeral, ..set.clone() });
    let by_default = Http { wanted: Wanted::IfFree, ..set.http.clone() };
    let broker = Server::start(Config { data: Data::Ephemeral, http: by_default, ..set }).unwrap();

    assert!(matches!(asked, Err(StartError::Taken { .. })), "{asked:?}");
    assert!(broker.http_addrs().is_empty());
    Raw::connected(address(&broker), &connect(5, "client", Keep::Nothing));
}

#[test]
fn a_stop_frees_the_port_also_while_somebody_is_connected() {
    let (broker, at) = broker(&[]);
    let _silent = TcpStream::connect(at).unwrap();

    broker.stop();

    TcpListener::bind(at).unwrap();
}

#[test]
fn a_head_that_never_ends_is_cut_off() {
    let (_broker, at) = broker(&[]);
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    let line = format!("X-Filler: {}\r\n", "a".repeat(1000));

    let mut sent = 0;
    while stream.write_all(line.as_bytes()).is_ok() {
        sent += line.len();
        assert!(sent < 4 << 20, "it goes on reading");
    }
}
