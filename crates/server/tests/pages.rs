//! Attacks on the HTTP port, by pages in somebody's browser and by whoever can reach it: nothing is shown and nothing happens.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;
#[path = "common/web.rs"]
mod web;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use columba_server::{
    Config, Running, Server,
    config::Data,
    tokens::{FILE, Role, Tokens},
};
use common::{Keep, Raw, address, config, connect};
use web::{JSON, ask, call, get};

/// A broker with something to steal, something to break, and a token for it.
struct House {
    broker: Running,
    at: SocketAddr,
    admin: String,
    token: String,
    /// Whoever is kicked is it.
    victim: Raw,
    _dir: tempfile::TempDir,
}

impl House {
    fn build() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (users, tokens_file) = (dir.path().join("users"), dir.path().join(FILE));
        std::fs::write(&users, "").unwrap();
        let mut tokens = Tokens::default();
        let token = tokens.create(Role::Admin, None, "").unwrap();
        tokens.write(&tokens_file).unwrap();
        let set = [
            "http.url=127.0.0.1:0".to_owned(),
            "sys.interval=0".to_owned(),
            "http.hosts=[\"broker.example\"]".to_owned(),
            format!("http.tokens_file={}", tokens_file.display()),
            format!("auth.password.file={}", users.display()),
            "auth.anonymous=true".to_owned(),
        ];
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        let broker = Server::start(Config { data: Data::Ephemeral, ..config(&set) }).unwrap();
        let at = broker.http_addrs()[0];
        let (victim, _) = Raw::connected(address(&broker), &connect(5, "victim", Keep::Session));
        let admin = format!("Authorization: Bearer {token}");
        let house = Self { broker, at, admin, token, victim, _dir: dir };
        let body = r#"{"topic":"kept","payload":"secret","retain":true}"#;
        assert_eq!(call(at, "POST", "/publish", &[&house.admin, JSON], body).0, 202);
        house
    }

    /// All is as it was.
    fn found_untouched(mut self) {
        self.victim.ping();
        let (status, kept) = call(self.at, "GET", "/retained", &[&self.admin], "");
        let topics: Vec<&str> = kept["items"].as_array().unwrap().iter().map(|item| item["topic"].as_str().unwrap()).collect();
        assert_eq!((status, &*topics), (200, &["kept"][..]));
        let (_, users) = call(self.at, "GET", "/users", &[&self.admin], "");
        assert_eq!(users["items"].as_array().map(Vec::len), Some(0), "{users}");
        self.broker.stop();
    }
}

/// Everything that changes something: method, path below the API, body.
const DEEDS: [(&str, &str, &str); 9] = [
    ("POST", "/publish", r#"{"topic":"stolen","payload":"x","retain":true}"#),
    ("DELETE", "/retained/kept", ""),
    ("DELETE", "/clients/victim", ""),
    ("DELETE", "/sessions/victim", ""),
    ("DELETE", "/sessions/victim/queue", ""),
    ("POST", "/users", r#"{"name":"mallory","password":"x"}"#),
    ("PUT", "/users/mallory", r#"{"password":"x"}"#),
    ("DELETE", "/users/mallory", ""),
    ("POST", "/reload", ""),
];

/// Everything that shows something.
const SIGHTS: [&str; 9] = [
    "/metrics",
    "/api/v1/overview",
    "/api/v1/clients",
    "/api/v1/clients/victim",
    "/api/v1/sessions",
    "/api/v1/retained",
    "/api/v1/retained/kept",
    "/api/v1/listeners",
    "/api/v1/users",
];

/// What stands in no answer that strangers get.
fn shows_nothing(what: &str, body: &str) {
    for secret in ["columba_", "victim", "kept", "secret", "root:", "\"items\""] {
        assert!(!body.contains(secret), "{what}: {secret}\n{body}");
    }
}

#[test]
fn the_deeds_are_all_that_the_description_has() {
    let description: serde_json::Value = serde_json::from_str(include_str!("../src/admin/http/api/openapi.json")).unwrap();
    let mut described: Vec<String> = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| !["parameters", "get"].contains(&&***key)) {
            let path = path.replace("{id}", "victim").replace("{topic}", "kept").replace("{name}", "mallory");
            described.push(format!("{} {path}", method.to_ascii_uppercase()));
        }
    }
    let mut known: Vec<String> = DEEDS.iter().map(|(method, path, _)| format!("{method} {path}")).collect();

    described.sort();
    known.sort();
    assert_eq!(known, described);
}

#[test]
fn dns_rebinding_shows_nothing_and_does_nothing() {
    let house = House::build();
    let (at, admin) = (house.at, &house.admin);
    for host in [
        "evil.example",
        "evil.example:8083",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "broker.example.",
        "x@localhost",
        "",
    ] {
        for path in SIGHTS {
            let (status, _, body) =
                ask(at, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{admin}\r\nConnection: close\r\n\r\n"));
            assert_eq!(status, 421, "{host} {path}: {body}");
            shows_nothing(path, &body);
        }
        for (method, path, body) in DEEDS {
            let len = body.len();
            let head = format!(
                "{method} /api/v1{path} HTTP/1.1\r\nHost: {host}\r\n{admin}\r\n{JSON}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n"
            );
            assert_eq!(ask(at, &(head + body)).0, 421, "{host} {method} {path}");
        }
    }
    // Two of them, or none: whoever stands between may have looked at the other one.
    for hosts in ["Host: localhost\r\nHost: evil.example\r\n", "Host: evil.example\r\nHost: localhost\r\n", ""] {
        let (status, _, body) = ask(at, &format!("GET /metrics HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n"));
        assert_eq!(status, 400, "{hosts:?}: {body}");
    }
    assert_eq!(ask(at, "GET /metrics HTTP/1.1\r\nHost: broker.example\r\nConnection: close\r\n\r\n").0, 200, "its own name");
    house.found_untouched();
}

#[test]
fn pages_of_other_sites_do_nothing_also_with_a_token() {
    let house = House::build();
    let own = format!("Origin: http://{}", house.at);
    for (method, path, body) in DEEDS {
        for header in [
            "Origin: http://evil.example",
            "Origin: https://evil.example",
            "Origin: null",
            "Origin: http://127.0.0.1:1",
            "Origin: file://",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
        ] {
            let (status, problem) = call(house.at, method, path, &[&house.admin, JSON, header], body);
            assert_eq!(status, 403, "{method} {path} {header}: {problem}");
        }
    }
    // What a form can send without asking, also where the browser says nothing of where it comes from.
    for kind in
        ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "text/plain; application/json", ""]
    {
        for (method, path, body) in DEEDS.iter().filter(|(_, _, body)| !body.is_empty()) {
            let kind = format!("Content-Type: {kind}");
            let (status, problem) = call(house.at, method, path, &[&house.admin, &own, &kind], body);
            assert_eq!(status, 415, "{method} {path} {kind}: {problem}");
        }
    }
    // May it ask? It may not.
    for (_, path, _) in DEEDS {
        let head = format!(
            "OPTIONS /api/v1{path} HTTP/1.1\r\nHost: {}\r\nOrigin: http://evil.example\r\nAccess-Control-Request-Method: DELETE\r\n\
             Access-Control-Request-Headers: authorization\r\nConnection: close\r\n\r\n",
            house.at
        );
        let (status, head, _) = ask(house.at, &head);
        assert!(status == 403 && !head.contains("access-control-allow"), "{path}: {head}");
    }
    house.found_untouched();
}

#[test]
fn nothing_that_a_browser_sends_by_itself_is_a_token() {
    let house = House::build();
    let token = &house.token;
    for header in [
        format!("Cookie: token={token}"),
        format!("Cookie: Authorization=Bearer {token}; authorization={token}; session={token}"),
        format!("Authorization: Basic {token}"),
        format!("Authorization: {token}"),
        format!("Proxy-Authorization: Bearer {token}"),
        format!("X-Authorization: Bearer {token}"),
        format!("Referer: http://{}/?token={token}", house.at),
    ] {
        for (method, path, body) in DEEDS {
            assert_eq!(call(house.at, method, path, &[&header, JSON], body).0, 401, "{method} {path} {header}");
        }
        assert_eq!(call(house.at, "GET", "/overview", &[&header], "").0, 401, "{header}");
    }
    for query in [format!("?token={token}"), format!("?access_token={token}"), format!("?authorization=Bearer%20{token}")] {
        assert_eq!(call(house.at, "GET", &format!("/overview{query}"), &[], "").0, 401, "{query}");
    }
    // And nothing is given to be sent along the next time.
    for path in SIGHTS.into_iter().chain(["/healthz", "/readyz", "/nothing"]) {
        let (_, head, _) =
            ask(house.at, &format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{}\r\nConnection: close\r\n\r\n", house.at, house.admin));
        assert!(!head.contains("set-cookie") && !head.contains("www-authenticate: basic"), "{path}: {head}");
    }
    house.found_untouched();
}

#[test]
fn odd_paths_lead_past_no_check() {
    let house = House::build();
    for path in [
        "//api/v1/overview",
        "/api/v1//overview",
        "/api//v1/overview",
        "/api/v1/../v1/overview",
        "/api/v1/./overview",
        "/healthz/../api/v1/overview",
        "/healthz/..;/metrics",
        "/healthz%2f..%2fmetrics",
        "/healthz/../metrics",
        "/readyz//metrics",
        "/%61pi/v1/overview",
        "/api%2fv1%2foverview",
        "/api/v1/%6fverview",
        "/api/v1/%2e%2e/v1/overview",
        "/api/v1/overview;.css",
        "/api/v1/overview.css",
        "/api/v1/overview%00",
        "/api/v1/overview%20",
        "/api/v1/overview/",
        "/api/v1/overview?/healthz",
        "/API/V1/overview",
        "/api\\v1\\overview",
        "/..%5c..%5cetc%5cpasswd",
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/%252e%252e/%252e%252e/etc/passwd",
        "/..%c0%af..%c0%afetc/passwd",
        "/static/../../../etc/passwd",
        "/.git/config",
    ] {
        // Without a token, in whatever way it is written.
        let (status, _, body) = get(house.at, path);
        assert!((400..500).contains(&status), "{path}: {status} {body}");
        shows_nothing(path, &body);
        // And no path is a probe but the two, for which any name does.
        let (status, _, body) = ask(house.at, &format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"));
        assert!(matches!(status, 400 | 421), "{path}: {status} {body}");
    }
    // A name may hold anything, and is one name.
    for path in ["/clients/..%2f..%2fmetrics", "/clients/%2e%2e", "/clients/victim%2f", "/clients/victim%00"] {
        let (status, _) = call(house.at, "GET", path, &[&house.admin], "");
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
    for header in
        ["X-HTTP-Method-Override: DELETE", "X-Original-URL: /api/v1/clients/nobody", "X-Rewrite-URL: /api/v1/clients/nobody"]
    {
        assert_eq!(call(house.at, "GET", "/clients/victim", &[&house.admin, header], "").0, 200, "{header} is not looked at");
    }
    house.found_untouched();
}

#[test]
fn an_absolute_address_is_this_one_or_none() {
    let house = House::build();
    let (at, admin) = (house.at, &house.admin);
    let status = |target: &str, host: &str| {
        ask(at, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{admin}\r\nConnection: close\r\n\r\n")).0
    };
    let here = at.to_string();

    assert_eq!(status(&format!("http://{at}/api/v1/overview"), &here), 200, "as clients of proxies write it");
    assert_eq!(status("http://broker.example/api/v1/overview", "Broker.Example"), 200);
    // The standard goes by the address, pages by the header: nobody gets to choose (RFC 9112, 3.2.2).
    for (target, host) in [
        ("http://evil.example/api/v1/overview", &*here),
        ("http://evil.example/metrics", "localhost"),
        ("http://localhost/metrics", "evil.example"),
        ("http://user@localhost/metrics", "localhost"),
        ("http://localhost@evil.example/metrics", "localhost"),
        ("http://localhost:1/metrics", "localhost"),
        ("file://localhost/etc/passwd", "localhost"),
        ("evil.example:443", "localhost"),
        ("*", "localhost"),
    ] {
        let status = status(target, host);
        assert!((400..500).contains(&status), "{target} {host}: {status}");
    }
    house.found_untouched();
}

#[test]
fn heads_that_are_too_large_are_refused_and_others_go_on() {
    let house = House::build();
    let at = house.at;
    let with = |line: &str, headers: &str| {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // It may have said no before it has read all of it, and then the rest finds nobody.
        drop(stream.write_all(format!("{line} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n{headers}\r\n").as_bytes()));
        let mut head = [0; 12];
        if stream.read_exact(&mut head).is_err() {
            return None;
        }
        std::str::from_utf8(&head[9..]).ok()?.parse::<u16>().ok()
    };
    assert_eq!(with("GET /healthz", &format!("X: {}\r\n", "a".repeat(10_000))), Some(200), "a large one is none of these");
    let many = "X-More: y\r\n".repeat(2_000);
    for (what, line, headers) in [
        ("a header", "GET /healthz".to_owned(), format!("X: {}\r\n", "a".repeat(1 << 20))),
        ("a name", "GET /healthz".to_owned(), format!("{}: x\r\n", "a".repeat(100_000))),
        ("many headers", "GET /healthz".to_owned(), many),
        ("a path", format!("GET /{}", "a".repeat(100_000)), String::new()),
        ("a query", format!("GET /healthz?{}", "a".repeat(1 << 20)), String::new()),
        ("a method", format!("{} /healthz", "A".repeat(100_000)), String::new()),
        ("a token", "GET /api/v1/overview".to_owned(), format!("Authorization: Bearer {}\r\n", "a".repeat(100_000))),
    ] {
        let status = with(&line, &headers);
        assert!(status.is_none_or(|status| [400, 414, 431].contains(&status)), "{what}: {status:?}");
        assert_eq!(get(at, "/healthz").0, 200, "after {what}");
    }
    house.found_untouched();
}
