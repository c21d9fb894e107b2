//! The HTTP port: health, metrics, and who gets nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;
#[path = "common/web.rs"]
mod web;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use columba_server::{
    Config, Running, Server, StartError,
    config::{Data, Http, Wanted},
    tokens::{FILE, Role, Tokens},
};
use common::{Keep, Raw, address, config, connect, expect_disconnect, publish};
use web::{JSON, ask, call, get};

fn broker(set: &[&str]) -> (Running, SocketAddr) {
    let set = [&["http.url=127.0.0.1:0", "sys.interval=100ms"], set].concat();
    let broker = Server::start(Config { data: Data::Ephemeral, ..config(&set) }).unwrap();
    let at = broker.http_addrs()[0];
    (broker, at)
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
        // More than the system keeps for one who does not read.
        assert!(sent < 64 << 20, "it goes on reading");
    }
}

fn configured(set: &[&str]) -> Config {
    Config { data: Data::Ephemeral, ..config(set) }
}

/// Again and again until it is so.
fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        std::thread::yield_now();
    }
}

#[test]
fn the_http_port_moves_with_a_reload_and_whoever_was_asking_is_answered() {
    let [first, second] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], columba_check::load::free_port().unwrap())));
    let mut broker = Server::start(configured(&[&format!("http.url={first}")])).unwrap();
    let body = r#"{"topic": "t", "payload": "x"}"#;
    let mut asking = TcpStream::connect(first).unwrap();
    asking.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let len = body.len();
    let head = format!(
        "POST /api/v1/publish HTTP/1.1\r\nHost: {first}\r\nExpect: 100-continue\r\n{JSON}\r\nContent-Length: {len}\r\n\r\n"
    );
    asking.write_all(head.as_bytes()).unwrap();
    let mut goes_on = [0; 25];
    asking.read_exact(&mut goes_on).unwrap();
    assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    let mut silent = TcpStream::connect(first).unwrap();

    assert!(broker.reload(configured(&[&format!("http.url={second}")])).unwrap().is_empty(), "nothing waits for a start");

    assert_eq!(broker.http_addrs(), [second]);
    assert_eq!(get(second, "/healthz").0, 200);
    until(|| TcpStream::connect(first).is_err());
    asking.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    asking.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(matches!(silent.read(&mut [0]), Ok(0) | Err(_)), "nobody keeps the former port");

    broker.reload(configured(&["http.url=off"])).unwrap();
    assert!(broker.http_addrs().is_empty());
    until(|| TcpStream::connect(second).is_err());
    broker.reload(configured(&[&format!("http.url={first}")])).unwrap();
    assert_eq!(get(first, "/healthz").0, 200);
}

#[test]
fn a_port_or_a_tokens_file_that_cannot_be_had_keeps_a_reload_from_changing_anything() {
    let directory = tempfile::tempdir().unwrap();
    let here = format!("http.url=127.0.0.1:{}", columba_check::load::free_port().unwrap());
    let mut broker = Server::start(configured(&[&here])).unwrap();
    let at = broker.http_addrs()[0];
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("http.url={}", holder.local_addr().unwrap());
    let wrong = directory.path().join("tokens");
    std::fs::write(&wrong, "no token\n").unwrap();
    let wrong = format!("http.tokens_file={}", wrong.display());
    let also = columba_check::load::free_port().unwrap();

    for (refused, why) in [([&*taken, ""], "is taken"), ([&*here, &*wrong], "tokens:1: a line is")] {
        let set: Vec<&str> = refused.into_iter().filter(|set| !set.is_empty()).chain(["http.metrics=false"]).collect();
        let mut next = configured(&set);
        next.listeners.push(columba_server::config::Listener::at(format!("127.0.0.1:{also}").parse().unwrap()));

        let error = broker.reload(next).unwrap_err();

        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(broker.http_addrs(), [at]);
        assert_eq!(get(at, "/metrics").0, 200);
        assert_eq!(call(at, "GET", "/overview", &[], "").0, 200);
        TcpStream::connect(("127.0.0.1", also)).unwrap_err();
    }
}

#[test]
fn names_metrics_tokens_and_the_interval_of_sys_are_taken_by_a_reload() {
    let directory = tempfile::tempdir().unwrap();
    let here = format!("http.url=127.0.0.1:{}", columba_check::load::free_port().unwrap());
    let mut broker = Server::start(configured(&[&here, "sys.interval=1h"])).unwrap();
    let at = broker.http_addrs()[0];
    let theirs = || get(at, "/metrics?names=mosquitto");
    let as_host = |host: &str| ask(at, &format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).0;
    until(|| theirs().0 == 200);
    let (mut client, _) = Raw::connected(address(&broker), &connect(5, "client", Keep::Nothing));
    client.send(&publish(5, 1, "t", b"x"));
    client.expect(0x40);

    broker.reload(configured(&[&here, "sys.interval=20ms", "http.hosts=[\"broker.example\"]"])).unwrap();
    until(|| theirs().2.contains("broker_publish_messages_received 1\n"));
    assert_eq!((as_host("broker.example"), as_host("other.example")), (200, 421));

    let path = directory.path().join("tokens");
    let mut tokens = Tokens::default();
    let token = tokens.create(Role::Viewer, None, "a test").unwrap();
    tokens.write(&path).unwrap();
    let tokens = format!("http.tokens_file={}", path.display());
    broker.reload(configured(&[&here, &tokens, "sys.interval=0"])).unwrap();
    assert_eq!((as_host("broker.example"), theirs().0), (421, 404));
    assert_eq!(call(at, "GET", "/overview", &[], "").0, 401);
    let bearer = format!("Authorization: Bearer {token}");
    until(|| call(at, "GET", "/retained?filter=$SYS/%23", &[&bearer], "").1["items"] == serde_json::json!([]));

    broker.reload(configured(&[&here, "sys.interval=1h", "http.metrics=false"])).unwrap();
    assert_eq!(call(at, "GET", "/overview", &[], "").0, 200, "without tokens, as before");
    assert_eq!(get(at, "/metrics").0, 404);
    until(|| call(at, "GET", "/retained?filter=$SYS/%23", &[], "").1["items"] != serde_json::json!([]));
}

#[test]
fn the_configuration_in_force_is_told_with_who_said_it() {
    let here = format!("http.url=127.0.0.1:{}", columba_check::load::free_port().unwrap());
    let mut broker = Server::start(configured(&[&here, "limits.inflight=7", "runtime.shards=2"])).unwrap();
    let at = broker.http_addrs()[0];
    let told = |key: &str| {
        let (status, told) = call(at, "GET", "/config", &[], "");
        assert_eq!(status, 200);
        let item = told["items"].as_array().unwrap().iter().find(|item| item["key"] == key).unwrap().clone();
        (item["value"].to_string(), item["origin"].as_str().unwrap().to_owned(), told["waits_for_start"].to_string())
    };
    let is = |value: &str, origin: &str, waits: &str| (value.to_owned(), origin.to_owned(), waits.to_owned());

    assert_eq!(told("limits.inflight"), is("7", "--set limits.inflight=7", "[]"));
    assert_eq!(told("limits.max_qos"), is("2", "default", "[]"));
    assert_eq!(told("listener[0].url"), is("\"127.0.0.1:0\"", "--listen 127.0.0.1:0", "[]"));
    broker.reload(configured(&[&here, "limits.max_qos=1", "runtime.shards=3"])).unwrap();

    let waits = "[\"runtime\"]";
    assert_eq!(told("limits.inflight"), is("100", "default", waits));
    assert_eq!(told("limits.max_qos"), is("1", "--set limits.max_qos=1", waits));
    assert_eq!(told("runtime.shards"), is("2", "--set runtime.shards=2", waits));
}

fn durable(directory: &Path, set: &[&str]) -> (Running, SocketAddr) {
    let set = [&["http.url=127.0.0.1:0"], set].concat();
    let broker = Server::start(Config { data: Data::Directory(directory.into()), ..config(&set) }).unwrap();
    let at = broker.http_addrs()[0];
    (broker, at)
}

#[test]
fn clients_are_listed_shown_and_kicked() {
    let (broker, at) = broker(&["runtime.shards=3"]);
    let mut clients: Vec<Raw> =
        (0..5).map(|n| Raw::connected(address(&broker), &connect(5, &format!("client/{n}"), Keep::Session)).0).collect();
    clients[3].subscribe(5, "a/#", 1);
    clients[3].subscribe(5, "b", 0);

    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = call(at, "GET", &format!("/clients?limit=2{cursor}"), &[], "");
        assert_eq!(status, 200, "{page}");
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        names.extend(items.iter().map(|item| item["client_id"].as_str().unwrap().to_owned()));
        let Some(next) = page["cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    names.sort();
    assert_eq!(names, ["client/0", "client/1", "client/2", "client/3", "client/4"]);

    let (_, shown) = call(at, "GET", "/clients/client%2F3", &[], "");
    assert_eq!(
        (&shown["connection"]["version"], &shown["subscriptions"], &shown["durable"]),
        (&"5".into(), &2.into(), &true.into())
    );
    let (_, page) = call(at, "GET", "/clients/client%2F3/subscriptions?limit=1&cursor=1.0", &[], "");
    assert_eq!((&page["items"][0]["filter"], &page["cursor"]), (&"b".into(), &serde_json::Value::Null));

    assert_eq!(call(at, "DELETE", "/clients/client%2F3", &[], "").0, 204);
    expect_disconnect(&mut clients[3], 0x98);
    assert_eq!(call(at, "DELETE", "/clients/client%2F3", &[], "").0, 404);
    assert_eq!(call(at, "GET", "/sessions?q=t%2F3", &[], "").1["items"][0]["connection"], serde_json::Value::Null);
    assert_eq!(call(at, "DELETE", "/sessions/client%2F3", &[], "").0, 204);
    assert_eq!(call(at, "GET", "/clients/client%2F3", &[], "").0, 404);
    assert_eq!(call(at, "GET", "/clients?cursor=x", &[], "").0, 400);
    for (wrong, part) in [("limit=x", "limit"), ("limt=2", "limt")] {
        let (status, problem) = call(at, "GET", &format!("/clients?{wrong}"), &[], "");
        assert_eq!((status, &problem["status"]), (400, &400.into()));
        assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
    }
}

#[test]
fn subscriptions_of_all_are_listed_and_those_with_one_filter() {
    let (broker, at) = broker(&["runtime.shards=3"]);
    let mut clients: Vec<Raw> =
        (0..7).map(|n| Raw::connected(address(&broker), &connect(5, &format!("client/{n}"), Keep::Session)).0).collect();
    for client in &mut clients {
        client.subscribe(5, "a/#", 1);
        client.subscribe(5, "$share/g/b", 0);
    }
    clients[3].subscribe(5, "b", 2);
    let all = |filter: &str| {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let (status, page) = call(at, "GET", &format!("/subscriptions?limit=2{filter}{cursor}"), &[], "");
            assert_eq!(status, 200, "{page}");
            let found = page["items"].as_array().unwrap();
            assert!(found.len() <= 2);
            items.extend(found.iter().map(|it| format!("{} {} {}", it["client_id"], it["filter"], it["qos"])));
            let Some(next) = page["cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        items.sort();
        items
    };
    let of_each = |filter: &str, qos: u8| -> Vec<String> { (0..7).map(|n| format!("\"client/{n}\" {filter:?} {qos}")).collect() };

    let mut expected = [of_each("a/#", 1), of_each("$share/g/b", 0), vec!["\"client/3\" \"b\" 2".to_owned()]].concat();
    expected.sort();
    assert_eq!(all(""), expected);
    assert_eq!(all("&filter=a/%23"), of_each("a/#", 1));
    assert_eq!(all("&filter=$share/g/b"), of_each("$share/g/b", 0));
    assert_eq!(all("&filter=b"), ["\"client/3\" \"b\" 2"]);
    assert!(all("&filter=a/c").is_empty(), "what it matches is not asked for");
    for wrong in ["filter=a%23", "filter=", "cursor=1.2", "cursor=1.2.x", "limit=-1"] {
        assert_eq!(call(at, "GET", &format!("/subscriptions?{wrong}"), &[], "").0, 400, "{wrong}");
    }
    let end = format!("/subscriptions?cursor=2.{0}.{0}", usize::MAX);
    assert_eq!(call(at, "GET", &end, &[], "").1, serde_json::json!({ "items": [], "cursor": null }));
}

#[test]
fn a_file_that_was_not_taken_is_noted_and_the_broker_is_ready_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("acl.toml");
    std::fs::write(&rules, "default = \"allow\"\n").unwrap();
    let (_broker, at) = broker(&[&format!("acl.file={}", rules.display())]);
    assert_eq!(get(at, "/readyz").2, r#"{"reasons":[],"status":"ready"}"#);

    std::fs::write(&rules, "nonsense").unwrap();

    // Files are looked at once a second.
    let (status, body) = loop {
        let (status, _, body) = get(at, "/readyz");
        if body.contains("notes") {
            break (status, body);
        }
    };
    let said: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &said["status"], &said["notes"][0]["note"]), (200, &"ready".into(), &"file-refused".into()));
    assert!(!body.contains(dir.path().to_str().unwrap()), "whoever asks is not told where it is: {body}");
}

#[test]
fn messages_are_published_kept_and_cleared() {
    let directory = tempfile::tempdir().unwrap();
    let (broker, at) = durable(directory.path(), &["limits.retained_cache=0"]);
    let (mut reader, _) = Raw::connected(address(&broker), &connect(4, "reader", Keep::Nothing));
    reader.subscribe(4, "a/#", 1);

    let body = r#"{"topic":"a/b","payload":"21.5","qos":1,"retain":true}"#;
    assert_eq!(call(at, "POST", "/publish", &[JSON], body).0, 202);
    assert!(reader.expect(0x32).ends_with(b"21.5"));
    assert_eq!(call(at, "POST", "/publish", &[JSON], r#"{"topic":"raw","payload_hex":"ff00","retain":true}"#).0, 202);

    let (_, page) = call(at, "GET", "/retained", &[], "");
    let topics: Vec<&str> = page["items"].as_array().unwrap().iter().map(|item| item["topic"].as_str().unwrap()).collect();
    assert_eq!(topics, ["a/b", "raw"]);
    assert_eq!(call(at, "GET", "/retained/a/b", &[], "").1["payload"], "21.5");
    assert_eq!(call(at, "GET", "/retained/raw", &[], "").1["payload_hex"], "ff00");
    assert_eq!(call(at, "DELETE", "/retained/a/b", &[], "").0, 204);
    assert_eq!(call(at, "GET", "/retained/a/b", &[], "").0, 404);
    broker.stop();

    // Where memory keeps none of them.
    let (_broker, at) = durable(directory.path(), &["limits.retained_cache=0", "sys.interval=0"]);
    assert_eq!(call(at, "GET", "/retained/raw", &[], "").1["payload_hex"], "ff00");
    assert_eq!(call(at, "GET", "/overview", &[], "").1["retained"], 1);
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    let (_broker, at) = broker(&["limits.max_qos=1"]);

    for (body, headers, status) in [
        (r#"{"topic":"a/#"}"#, &[JSON][..], 400),
        (r#"{"topic":""}"#, &[JSON], 400),
        (r#"{"topic":"t","qos":2}"#, &[JSON], 400),
        (r#"{"topic":"t","qos":7}"#, &[JSON], 400),
        (r#"{"topic":"t","payload_hex":"f"}"#, &[JSON], 400),
        (r#"{"topic":"$SYS/broker/uptime"}"#, &[JSON], 403),
        (r#"{"topic":"t","paylod":"x"}"#, &[JSON], 422),
        (r#"{"topic":"#, &[JSON], 400),
        // What the form of a page can send.
        (r#"{"topic":"t"}"#, &["Content-Type: text/plain"], 415),
        (r#"{"topic":"t"}"#, &[], 415),
        (r#"{"topic":"t"}"#, &[JSON, "Origin: http://evil.example"], 403),
        (r#"{"topic":"t"}"#, &[JSON, "Sec-Fetch-Site: cross-site"], 403),
    ] {
        let (found, problem) = call(at, "POST", "/publish", headers, body);
        assert_eq!(found, status, "{body} {headers:?}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    }
    assert_eq!(call(at, "GET", "/retained?filter=a%2F%23%2Fb", &[], "").0, 400);
}

#[test]
fn tokens_decide_as_soon_as_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let (_broker, at) = durable(directory.path(), &[]);
    assert_eq!(call(at, "GET", "/overview", &[], "").0, 200, "without tokens this machine needs none");
    assert_eq!(call(at, "GET", "/overview", &["X-Forwarded-For: 10.0.0.1"], "").0, 401, "but a proxy speaks for others");

    let path = directory.path().join(FILE);
    let mut tokens = Tokens::default();
    let [viewer, admin] =
        [Role::Viewer, Role::Admin].map(|role| format!("Authorization: Bearer {}", tokens.create(role, None, "x").unwrap()));
    tokens.write(&path).unwrap();

    let ask = |method, path, header: &str| call(at, method, path, &[header], "").0;
    assert_eq!(call(at, "GET", "/overview", &[], "").0, 401);
    assert_eq!(ask("GET", "/overview", "Authorization: Bearer columba_0000"), 401);
    assert_eq!(ask("GET", "/overview", "Authorization: Basic eDp4"), 401);
    assert_eq!(ask("GET", "/overview", &viewer), 200);
    assert_eq!(ask("DELETE", "/clients/x", &viewer), 403);
    assert_eq!(ask("GET", "/retained/t", &viewer), 403, "payloads are for admins");
    assert_eq!(ask("DELETE", "/clients/x", &admin), 404);

    std::fs::write(&path, "damaged\n").unwrap();
    assert_eq!(ask("GET", "/overview", &admin), 503, "nobody is let in by a file that cannot be read");
}

#[test]
fn paths_lead_nowhere_else() {
    let (_broker, at) = broker(&[]);

    for path in [
        "/clients/../../etc/passwd",
        "/clients/%2e%2e%2f%2e%2e",
        "//overview",
        "/overview/",
        "/retained/",
        "/clients/a%00b",
        "/clients/%ff",
    ] {
        let (status, _) = call(at, "GET", path, &[], "");
        assert!((400..500).contains(&status), "{path}: {status}");
    }
}

#[test]
fn every_operation_takes_the_role_that_its_description_names() {
    let description = include_str!("../src/admin/http/api/openapi.json");
    let description: serde_json::Value = serde_json::from_str(description).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut tokens = Tokens::default();
    let viewer = format!("Authorization: Bearer {}", tokens.create(Role::Viewer, None, "").unwrap());
    let over = format!("Authorization: Bearer {}", tokens.create(Role::Admin, Some(1), "").unwrap());
    let file = directory.path().join(FILE);
    tokens.write(&file).unwrap();
    let (_broker, at) = broker(&[&format!("http.tokens_file={}", file.display())]);

    let mut counts = (0, 0);
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
            let path = path.replace("{id}", "x").replace("{topic}", "x").replace("{name}", "x");
            let ask = |header: &[&str]| call(at, &method.to_ascii_uppercase(), &path, header, "").0;
            for nobody in [&[][..], &[over.as_str()], &["Authorization: Bearer "], &["Authorization: bearer columba_"]] {
                assert_eq!(ask(nobody), 401, "{method} {path} {nobody:?}");
            }
            if path == "/stream" {
                // It has no end; its own test looks at it.
                continue;
            }
            let seen = ask(&[&viewer]);
            if operation["description"].as_str().unwrap().starts_with("Takes the role viewer.") {
                assert!(matches!(seen, 200 | 404), "{method} {path}: {seen}");
                assert_eq!(method, "get", "{path}: whoever changes something is an admin");
                counts.0 += 1;
            } else {
                assert_eq!(seen, 403, "{method} {path}");
                counts.1 += 1;
            }
        }
    }
    assert!(counts.0 >= 8 && counts.1 >= 8, "{counts:?}");
}

#[test]
fn where_clients_have_rules_this_machine_is_nobody_special() {
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users");
    std::fs::write(&users, "").unwrap();
    let acl = directory.path().join("acl.toml");
    std::fs::write(&acl, "").unwrap();

    for key in [format!("auth.password.file={}", users.display()), format!("acl.file={}", acl.display())] {
        let (_broker, at) = broker(&[&key]);
        let (status, problem) = call(at, "GET", "/overview", &[], "");
        assert_eq!(status, 401, "{key}");
        assert!(problem["detail"].as_str().unwrap().contains("columba token create"), "{problem}");
        assert_eq!(get(at, "/readyz").0, 200, "probes go on");
    }
}

#[test]
fn users_are_listed_added_changed_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    std::fs::write(&file, "# the gate\n").unwrap();
    let mut tokens = Tokens::default();
    let admin = format!("Authorization: Bearer {}", tokens.create(Role::Admin, None, "").unwrap());
    let tokens_file = directory.path().join(FILE);
    tokens.write(&tokens_file).unwrap();
    let set = [format!("auth.password.file={}", file.display()), format!("http.tokens_file={}", tokens_file.display())];
    let (broker, at) = broker(&set.each_ref().map(String::as_str));
    let ask = |method: &str, path: &str, body: &str| call(at, method, path, &[&admin, JSON], body);
    let eve = r#"{"name":"eve","password":"pencil"}"#;

    assert_eq!(ask("POST", "/users", eve).0, 201);
    assert_eq!(ask("POST", "/users", eve).0, 409);
    let (_, listed) = ask("GET", "/users", "");
    assert_eq!(listed["items"], serde_json::json!([{ "name": "eve", "hash": "argon2id" }]));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# the gate\neve:$argon2id$") && !text.contains("pencil"), "{text}");
    // The broker looks at its files by itself, once a second.
    while !is_let_in(address(&broker), "eve", "pencil") {}

    assert_eq!(ask("PUT", "/users/eve", r#"{"password":"pen"}"#).0, 204);
    assert_eq!(ask("PUT", "/users/bob", r#"{"password":"pen"}"#).0, 404);
    while !is_let_in(address(&broker), "eve", "pen") {}
    for (body, status) in [
        (r#"{"name":"a:b","password":"x"}"#, 400),
        (r#"{"name":"bob","password":""}"#, 400),
        (r#"{"name":"bob"}"#, 422),
        (r#"{"name":"bob","password":"x","admin":true}"#, 422),
    ] {
        assert_eq!(ask("POST", "/users", body).0, status, "{body}");
    }
    assert_eq!(call(at, "POST", "/users", &[&admin], eve).0, 415, "what a form can send");
    assert_eq!(ask("DELETE", "/users/eve", "").0, 204);
    assert_eq!(ask("DELETE", "/users/eve", "").0, 404);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "# the gate\n");

    let (_none, at) = self::broker(&[]);
    assert_eq!(call(at, "GET", "/users", &[], "").0, 404, "there is no file");
}

/// Whether CONNACK says yes.
fn is_let_in(address: SocketAddr, user: &str, password: &str) -> bool {
    let text = |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
    let body = [b"\x00\x04MQTT\x04\xC2\x00\x00", &*text("c"), &text(user), &text(password)].concat();
    let mut client = Raw::open(address);
    client.send(&[&[0x10, u8::try_from(body.len()).unwrap()], &*body].concat());
    client.frame().is_some_and(|(first, body)| first == 0x20 && body[1] == 0)
}

#[test]
fn listeners_are_shown_with_who_is_there() {
    let (broker, at) = broker(&[]);
    let (_client, _) = Raw::connected(address(&broker), &connect(5, "client", Keep::Nothing));

    let (status, shown) = call(at, "GET", "/listeners", &[], "");

    assert_eq!(status, 200);
    let expected = serde_json::json!({
        "listener": "127.0.0.1:0", "connected": { "3.1": 0, "3.1.1": 0, "5": 1 }, "certificate_ends_s": null,
    });
    assert_eq!(shown["items"], serde_json::json!([expected]));
}

#[test]
fn a_body_has_a_bound_and_a_head_is_one() {
    let (_broker, at) = broker(&[]);
    let large = format!(r#"{{"topic":"t","payload":"{}"}}"#, "x".repeat(4 << 20));
    assert_eq!(call(at, "POST", "/publish", &[JSON], &large).0, 413);

    for request in [
        "GET /api/v1/overview\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /api/v1/overview HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
        "GET /api/v1/overview HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n",
        "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        "GET /api/v1/overview HTTP/9.9\r\nHost: localhost\r\n\r\n",
        "\x10\x0D\x00\x04MQTT\x05\x02\x00\x3C\x00\x00\x00",
    ] {
        let (status, _, body) = ask(at, request);
        assert_eq!(status, 400, "{request:?}: {body}");
    }
}

#[test]
fn silent_connections_keep_neither_clients_nor_probes_out() {
    let (broker, at) = broker(&[]);
    // Fewer than there are places: they are there for half a minute each.
    let silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(at).unwrap()).collect();
    let mut trickling = TcpStream::connect(at).unwrap();
    trickling.write_all(b"POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{").unwrap();

    assert_eq!(get(at, "/healthz").0, 200);
    Raw::connected(address(&broker), &connect(5, "client", Keep::Nothing));
    drop(silent);
}

#[test]
fn the_stream_brings_the_overview_again_and_again_to_so_many_and_no_more() {
    let (broker, at) = broker(&[]);
    let open = || {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(format!("GET /api/v1/stream HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes()).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        stream
    };
    let mut streams: Vec<TcpStream> = (0..32).map(|_| open()).collect();
    assert_eq!(call(at, "GET", "/stream", &[], "").0, 503, "all places are taken");

    let (_client, _) = Raw::connected(address(&broker), &connect(5, "client", Keep::Nothing));
    for stream in &mut streams[..2] {
        let (mut told, mut chunk) = (String::new(), [0; 4096]);
        while !(told.matches("event: overview\ndata: {").count() >= 2 && told.contains(r#""clients":{"away":0,"connected":1}"#)) {
            let len = stream.read(&mut chunk).unwrap();
            assert!(len > 0, "it ended: {told}");
            told += std::str::from_utf8(&chunk[..len]).unwrap();
        }
        assert!(told.contains("content-type: text/event-stream"), "{told}");
    }

    drop(streams);
    // A place is free as soon as the broker has noticed, at its next event.
    while ask_for_head(at) == 503 {}
    broker.stop();
}

/// The status alone, of an answer that may have no end.
fn ask_for_head(at: SocketAddr) -> u16 {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(format!("GET /api/v1/stream HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes()).unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}
