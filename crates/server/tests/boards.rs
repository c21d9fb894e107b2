//! The Grafana board and the alert rules ask for nothing that a running broker does not show.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]
#![expect(clippy::unnecessary_debug_formatting, reason = "TOML quotes paths as Rust does")]

#[path = "common/pki.rs"]
mod pki;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use columba_server::{Config, Server, config::Data};
use serde_json::Value;

use self::pki::Authority;

/// What expressions are made of, beside metrics and labels.
const WORDS: [&str; 20] = [
    "sum",
    "min",
    "max",
    "by",
    "rate",
    "increase",
    "resets",
    "deriv",
    "histogram_quantile",
    "time",
    "and",
    "or",
    "up",
    "m",
    "h",
    "on",
    "avg",
    "count",
    "label_values",
    "ignoring",
];

/// Labels that the scraper adds, and that of histograms.
const ADDED: [&str; 3] = ["job", "instance", "le"];

/// Samples by their name, with the labels that they have.
type Shown = BTreeMap<String, BTreeSet<String>>;

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(name)
}

/// What a broker shows that has everything: a disk, TLS, a file to look at, and keys to fetch.
fn shown() -> Shown {
    let directory = tempfile::tempdir().unwrap();
    let acl = directory.path().join("acl.toml");
    std::fs::write(&acl, "[[rule]]\nallow = \"all\"\ntopics = \"#\"\n").unwrap();
    let authority = Authority::new();
    let files = authority.server_files("localhost");
    let text = format!(
        "[http]\nurl = \"127.0.0.1:0\"\n[acl]\nfile = {acl:?}\n[auth.jwt]\njwks_url = \"http://127.0.0.1:1/keys\"\n[[listener]]\nurl = \"mqtts://127.0.0.1:0\"\ncert = {:?}\nkey = {:?}\n",
        files.cert(),
        files.key()
    );
    let config = Config::parse("test.toml", &text).unwrap();
    let data = Data::Directory(directory.path().join("data"));
    let broker = Server::start(Config { data, ..config }).unwrap();
    let at = broker.http_addrs()[0];
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let mut shown = Shown::new();
    for line in answer.split_once("\r\n\r\n").unwrap().1.lines().filter(|line| !line.starts_with('#') && line.contains(' ')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(labels, _)| labels);
        let names = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
        shown.entry(name.to_owned()).or_default().extend(names);
    }
    shown
}

/// One piece of an expression.
#[derive(Debug, Eq, PartialEq)]
enum Token<'e> {
    Word(&'e str),
    Sign(char),
}

fn tokens(expression: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = expression;
    while let Some(c) = rest.chars().next() {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
        if c == '"' {
            rest = rest[1..].split_once('"').expect("a string ends").1;
        } else if is_part(c) {
            let len = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(&rest[..len]));
            rest = &rest[len..];
        } else {
            tokens.push(Token::Sign(c));
            rest = &rest[c.len_utf8()..];
        }
    }
    tokens.retain(|token| *token != Token::Sign(' '));
    tokens
}

/// What is wrong with an expression.
fn judge(expression: &str, shown: &Shown) -> Vec<String> {
    let (mut wrong, mut metric, mut known) = (Vec::new(), None, BTreeSet::new());
    // Labels stand in braces behind a metric, and in the parentheses behind `by`; these come before their metrics.
    let (mut in_braces, mut in_by, mut by) = (false, false, Vec::new());
    let tokens = tokens(expression);
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Sign('{') => in_braces = true,
            Token::Sign('}') => in_braces = false,
            Token::Sign('(') => in_by = at > 0 && tokens[at - 1] == Token::Word("by"),
            Token::Sign(')') => in_by = false,
            Token::Sign(_) => {}
            Token::Word(label) if in_braces => {
                let labels: Option<&BTreeSet<String>> = metric.and_then(|name: &str| shown.get(name));
                if !ADDED.contains(label) && !labels.is_some_and(|labels| labels.contains(*label)) {
                    wrong.push(format!("{metric:?} has no label {label}"));
                }
            }
            Token::Word(label) if in_by => by.push(*label),
            Token::Word(name) if name.starts_with("columba_") || name.starts_with("process_") => {
                metric = Some(*name);
                match shown.get(*name) {
                    Some(labels) => known.extend(labels.iter().map(String::as_str)),
                    None => wrong.push(format!("no metric {name}")),
                }
            }
            Token::Word("up") => metric = Some("up"),
            Token::Word(word) if WORDS.contains(word) || word.starts_with(|c: char| c.is_ascii_digit() || c == '$') => {}
            Token::Word(word) => wrong.push(format!("what is {word}?")),
        }
    }
    let missing = by.into_iter().filter(|label| !ADDED.contains(label) && !known.contains(label));
    wrong.extend(missing.map(|label| format!("nothing here has a label {label}")));
    wrong
}

fn judge_all<'e>(expressions: impl Iterator<Item = (&'e str, &'e str)>, shown: &Shown) -> usize {
    let mut count = 0;
    for (title, expression) in expressions {
        assert_eq!(judge(expression, shown), Vec::<String>::new(), "{title}: {expression}");
        count += 1;
    }
    count
}

#[test]
fn the_board_and_the_alerts_ask_for_what_is_shown() {
    let shown = shown();
    let board: Value = serde_json::from_str(&std::fs::read_to_string(packaging("grafana/columba.json")).unwrap()).unwrap();
    let panels: Vec<&Value> = board["panels"].as_array().unwrap().iter().collect();
    let asked = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(move |target| (title, target["expr"].as_str().unwrap()))
    });
    assert!(judge_all(asked, &shown) > 30);
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has a number of its own");
    let rows = panels.iter().filter(|panel| panel["type"] == "row").map(|panel| panel["title"].as_str().unwrap());
    assert_eq!(rows.collect::<Vec<_>>(), ["Now", "Traffic", "Clients", "Queues", "QoS handshakes", "Store", "Process"]);
    let variables = board["templating"]["list"].as_array().unwrap().iter().filter_map(|variable| variable["query"].as_str());
    assert_eq!(variables.filter(|query| query.contains("label_values(columba_build")).count(), 2);

    let alerts = std::fs::read_to_string(packaging("prometheus/alerts.yml")).unwrap();
    let lines =
        |key: &str| alerts.lines().filter_map(|line| line.trim().strip_prefix(key)).map(str::to_owned).collect::<Vec<_>>();
    let (names, expressions) = (lines("- alert: "), lines("expr: "));
    assert_eq!(names.len(), expressions.len());
    assert_eq!(judge_all(names.iter().map(String::as_str).zip(expressions.iter().map(String::as_str)), &shown), 10);
    for key in ["labels: {severity: ", "summary: ", "description: "] {
        assert_eq!(lines(key).len(), names.len(), "{key}");
    }
    assert!(shown.contains_key("columba_build"));
}

#[test]
fn an_expression_that_asks_for_nothing_is_found() {
    let shown: Shown = [("columba_x_total".to_owned(), BTreeSet::from(["qos".to_owned()]))].into();
    for (expression, wrong) in [
        ("sum by (qos) (rate(columba_x_total{job=~\"$job\",qos=\"1\"}[$__rate_interval])) > 0", 0),
        ("histogram_quantile(0.99, sum by (le, instance) (rate(columba_x_total[10m]))) > 0.1 and up == 1", 0),
        ("rate(columba_x[5m])", 1),
        ("rate(columba_x_total{state=\"away\"}[5m])", 1),
        ("sum by (state) (rate(columba_x_total[5m]))", 1),
        ("sun(columba_x_total)", 1),
    ] {
        assert_eq!(judge(expression, &shown).len(), wrong, "{expression}");
    }
}

#[test]
fn prometheus_reads_the_alerts() {
    let Ok(checked) = Command::new("promtool").args(["check", "rules"]).arg(packaging("prometheus/alerts.yml")).output() else {
        println!("skipped: no promtool");
        return;
    };
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
