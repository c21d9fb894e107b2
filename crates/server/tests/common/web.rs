//! A client of the HTTP port that writes requests as they are, wrong ones too.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "each test binary uses its own part; where a step fails, so does the test"
)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// What an API takes.
pub const JSON: &str = "Content-Type: application/json";

/// Status, head in small letters, and body of what comes back.
pub fn ask(at: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, head.to_ascii_lowercase(), body.to_owned())
}

pub fn get(at: SocketAddr, path: &str) -> (u16, String, String) {
    ask(at, &format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n"))
}

/// With a method, headers and a body, as JSON where there is one.
pub fn call(at: SocketAddr, method: &str, path: &str, headers: &[&str], body: &str) -> (u16, serde_json::Value) {
    let headers: String = headers.iter().flat_map(|header| [header, "\r\n"]).collect();
    let len = body.len();
    let head = format!(
        "{method} /api/v1{path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Length: {len}\r\n{headers}\r\n{body}"
    );
    let (status, _, body) = ask(at, &head);
    (status, serde_json::from_str(&body).unwrap_or_default())
}
