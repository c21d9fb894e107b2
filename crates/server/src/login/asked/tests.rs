//! A real service on a port of this machine, that answers, is slow, talks nonsense, or goes.

use std::{fs, net::TcpListener, thread};

use columba_proto::Time;

use super::*;
use crate::login::service::{self, Request, http};

const NOW: Moment = Moment { unix_s: 1_794_000_000.0, time: Time(5_000_000) };

/// The service, which is asked as it should be.
fn open(answer: impl Fn(&Value) -> Option<Vec<u8>> + Send + Sync + 'static) -> service::Service {
    service::Service::open(move |request| answer(&asked_of(request)))
}

fn asked_of(request: &Request) -> Value {
    assert_eq!(request.line, "post /auth?by=columba http/1.1");
    assert!(request.head.contains(&"content-type: application/json".to_owned()), "{:?}", request.head);
    serde_json::from_slice(&request.body).unwrap()
}

fn asks(desk: &service::Service, more: Service) -> Arc<Asked> {
    let url = desk.url("/auth?by=columba").parse().unwrap();
    Asked::new(&Service { url: Some(url), ..more }).unwrap().unwrap()
}

fn question(user: &str, password: &str) -> Question {
    Question {
        user: user.into(),
        password: password.as_bytes().into(),
        peer: "[::ffff:10.0.0.1]:7".into(),
        client_id: "c".into(),
        listener: 0,
    }
}

fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Right(known) => format!("right: {}", known.user),
        Verdict::Wrong(_, why) => (*why).into(),
        Verdict::Pass => "pass".into(),
        Verdict::Unreachable => "unreachable".into(),
    }
}

/// Asks on one line, in this order.
fn ask(asked: &Asked, questions: &[Question]) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut line = Line::default();
        let mut answers = Vec::new();
        for question in questions {
            answers.push(said(&asked.judge(&mut line, question, "localhost:1883", NOW).await));
        }
        answers
    })
}

fn patient() -> Service {
    Service { timeout: Duration::from_mins(1), ..Service::default() }
}

#[test]
fn the_service_is_told_who_asks_and_its_answers_are_kept_for_a_while() {
    let desk = open(|question| {
        let result = if question["password"] == "pencil" { "allow" } else { "deny" };
        Some(http("200 OK", &json!({"result": result}).to_string()))
    });
    let asked = asks(&desk, Service { cache: Duration::from_mins(10), cache_denied: Duration::from_mins(10), ..patient() });
    let (right, wrong) = (question("eve", "pencil"), question("eve", "chalk"));

    let answers = ask(&asked, &[right.clone(), wrong.clone(), right, wrong]);

    assert_eq!(answers, ["right: eve", "denied by the service", "right: eve", "denied by the service"]);
    assert_eq!(desk.count(), (2, 1), "each was asked once, on one connection");
    assert_eq!(
        asked_of(&desk.requests()[0]),
        json!({
            "username": "eve", "password": "pencil", "clientid": "c", "peername": "[::ffff:10.0.0.1]:7", "peerhost": "10.0.0.1",
            "listener": "localhost:1883"
        })
    );
}

#[test]
fn an_answer_is_kept_no_longer_than_it_holds() {
    let desk = open(|_| Some(http("200 OK", r#"{"result": "allow", "expire_at": 1794000000.01}"#)));
    let asked = asks(&desk, Service { cache: Duration::from_mins(10), ..patient() });

    assert_eq!(ask(&asked, &[question("eve", "pencil")]), ["right: eve"]);
    thread::sleep(Duration::from_millis(20));
    assert_eq!(ask(&asked, &[question("eve", "pencil")]), ["right: eve"]);

    assert_eq!(desk.count().0, 2, "asked again");
}

#[test]
fn what_it_answers_is_understood_or_nobody_gets_in() {
    let answer = |status, body: &str| {
        verdict(status, body.as_bytes(), "eve", NOW).map_or_else(|error| format!("none: {error}"), |verdict| said(&verdict))
    };
    for (status, body, expected) in [
        (200, r#"{"result": "allow"}"#, "right: eve"),
        (200, r#"{"result": "allow", "client_attrs": {"role": "x"}, "is_superuser": false}"#, "right: eve"),
        (200, r#"{"result": "deny", "is_superuser": true}"#, "denied by the service"),
        (200, r#"{"result": "ignore"}"#, "pass"),
        (200, r#"{"result": "allow", "expire_at": 1794000001}"#, "right: eve"),
        (200, r#"{"result": "allow", "expire_at": 1793999999}"#, "what the service says has expired"),
        (204, "", "right: eve"),
        (403, "", "denied by the service"),
        (200, "", "none: an answer that is not understood"),
        (200, "allow", "none: an answer that is not understood"),
        (200, "{}", "none: an answer that is not understood"),
        (200, r#"{"result": "yes"}"#, "none: an answer that is not understood"),
        (200, r#"{"result": true}"#, "none: an answer that is not understood"),
        (200, r#"{"result": "allow", "acl": "all"}"#, "none: rules that are not understood"),
        (200, r#"{"result": "allow", "is_superuser": "no"}"#, "none: an answer that is not understood"),
        (301, "", "none: status 301"),
        (401, "", "none: status 401"),
        (500, r#"{"result": "allow"}"#, "none: status 500"),
    ] {
        assert_eq!(answer(status, body), expected, "{status} {body}");
    }
    let rules = |body: &str| match verdict(200, body.as_bytes(), "eve", NOW) {
        Ok(Verdict::Right(known)) => known.rules.is_some(),
        other => panic!("{other:?}"),
    };
    assert!(!rules(r#"{"result": "allow"}"#));
    assert!(rules(r#"{"result": "allow", "is_superuser": true}"#));
    assert!(rules(r#"{"result": "allow", "acl": [{"permission": "allow", "action": "publish", "topic": "a"}]}"#));
}

#[test]
fn one_that_is_slow_or_talks_nonsense_lets_nobody_in_and_is_left_alone_after_some_tries() {
    let huge = http("200 OK", &format!("{{\"result\": \"allow\", \"more\": \"{}\"}}", "x".repeat(ANSWER_BYTES_MAX)));
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "X-More: x\r\n".repeat(100_000)).into_bytes();
    for (what, answer, timeout) in [
        ("slow", None, Duration::from_millis(50)),
        ("nonsense", Some(b"NOT HTTP AT ALL\r\n\r\n".to_vec()), patient().timeout),
        ("huge", Some(huge), patient().timeout),
        ("heads without end", Some(endless), patient().timeout),
        ("an error", Some(http("502 Bad Gateway", "<html>")), patient().timeout),
        (
            "less than it says",
            Some(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"result\"".to_vec()),
            Duration::from_millis(50),
        ),
    ] {
        let is_slow = what == "slow";
        let desk = open(move |_| {
            if is_slow {
                thread::sleep(Duration::from_mins(10));
            }
            answer.clone()
        });
        let asked = asks(&desk, Service { timeout, ..Service::default() });
        let questions: Vec<Question> = (0..20).map(|number| question("eve", &number.to_string())).collect();

        assert_eq!(ask(&asked, &questions), vec!["unreachable"; 20], "{what}");

        let (count, _) = desk.count();
        // One that ends a connection in the middle may have been asked again on another one.
        assert!((5..=10).contains(&count), "{what}: {count}");
    }
}

#[test]
fn one_that_closes_its_connections_is_called_again_and_one_that_is_gone_is_not_there() {
    let closing = open(|question| {
        let is_last = question["username"] == "last";
        (!is_last).then(|| {
            let mut answer = http("204 No Content", "");
            answer.splice(0..0, []);
            answer
        })
    });
    let asked = asks(&closing, patient());
    assert_eq!(
        ask(&asked, &[question("a", "1"), question("last", "2"), question("b", "3")]),
        ["right: a", "unreachable", "right: b"]
    );

    // It asks for the connection to be closed, which is no failure.
    let polite = open(|_| Some(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_vec()));
    let asked = asks(&polite, patient());
    let questions: Vec<Question> = (0..10).map(|number| question("a", &number.to_string())).collect();
    assert_eq!(ask(&asked, &questions), vec!["right: a"; 10]);
    assert_eq!(polite.count(), (10, 10));

    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/auth", gone.local_addr().unwrap()).parse().unwrap();
    drop(gone);
    let asked = Asked::new(&Service { url: Some(url), ..patient() }).unwrap().unwrap();
    assert_eq!(ask(&asked, &[question("a", "1")]), ["unreachable"]);
}

#[test]
fn a_password_that_is_no_text_is_not_sent() {
    let desk = open(|_| Some(http("204 No Content", "")));
    let asked = asks(&desk, patient());
    let odd = Question { password: [0xFF, 0xFE].into(), ..question("eve", "") };

    assert_eq!(ask(&asked, &[odd]), ["a password that is no text, which JSON cannot say"]);
    assert_eq!(desk.count(), (0, 0));
}

#[test]
fn over_tls_the_service_is_the_one_whose_certificate_is_good() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let desk = service::Service::open_tls(&certified.cert.pem(), &certified.signing_key.serialize_pem(), |_| {
        Some(http("204 No Content", ""))
    });
    let dir = tempfile::tempdir().unwrap();
    let asked = |name: &str, ca: &str| {
        let path = dir.path().join("ca.pem");
        fs::write(&path, ca).unwrap();
        let url = desk.url_by(name, "/auth").parse().unwrap();
        let asked = Asked::new(&Service { url: Some(url), ca: Some(path), ..patient() }).unwrap().unwrap();
        ask(&asked, &[question("eve", "pencil")])
    };
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();

    assert_eq!(asked("localhost", &certified.cert.pem()), ["right: eve"]);
    assert_eq!(asked("127.0.0.1", &certified.cert.pem()), ["unreachable"], "another name");
    assert_eq!(asked("localhost", &other.cert.pem()), ["unreachable"], "another certificate");
}
