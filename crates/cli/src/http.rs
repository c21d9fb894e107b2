//! One request to a broker's HTTP port.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::explain;

/// How long the broker may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// More than any answer has.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Where the HTTP port is.
#[derive(Args, Clone, Debug)]
pub(crate) struct HttpArgs {
    /// HTTP port of the broker
    #[arg(long, value_name = "URL", env = "COLUMBA_HTTP_URL", default_value = "http://127.0.0.1:8083")]
    url: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    /// The body, which is JSON.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        serde_json::from_str(&self.body).map_err(|_| strange(&format!("status {} and no JSON", self.status)))
    }
}

impl HttpArgs {
    /// Asks with `GET`.
    pub(crate) fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.ask("GET", path, None, None)
    }

    /// Asks with any method, a token and a body.
    pub(crate) fn ask(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Result<Answer, Failure> {
        let host = self.host()?;
        let failed = |error: &io::Error| {
            let failure = Failure::new(Exit::NotConnected, format!("no answer from {}: {}", self.url, explain::io(error)));
            failure.try_this("columba serve").note("another port? give it by --url")
        };
        let mut stream = connect(&host).map_err(|error| failed(&error))?;
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nConnection: close\r\n");
        if let Some(token) = token {
            if token.chars().any(char::is_control) {
                return Err(Failure::usage("a token is one line"));
            }
            request.extend(["Authorization: Bearer ", token, "\r\n"]);
        }
        let body = body.map(Value::to_string);
        if let Some(body) = &body {
            request.extend(["Content-Type: application/json\r\nContent-Length: ", &body.len().to_string(), "\r\n"]);
        }
        request += "\r\n";
        request += body.as_deref().unwrap_or_default();
        let mut bytes = Vec::new();
        let exchanged =
            stream.write_all(request.as_bytes()).and_then(|()| (&mut stream).take(ANSWER_BYTES_MAX).read_to_end(&mut bytes));
        exchanged.map_err(|error| failed(&error))?;
        read(&bytes).ok_or_else(|| strange("what is no HTTP"))
    }

    /// Host and port.
    fn host(&self) -> Result<String, Failure> {
        let rest = self.url.strip_prefix("http://").filter(|rest| !rest.is_empty());
        let rest = rest.ok_or_else(|| Failure::usage(format!("--url takes http://HOST:PORT, not {:?}", self.url)))?;
        let host = rest.split('/').next().unwrap_or(rest);
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(if has_port { host.to_owned() } else { format!("{host}:80") })
    }
}

fn strange(what: &str) -> Failure {
    Failure::new(Exit::Other, format!("the answer is {what}")).note("is that the HTTP port of a columba broker?")
}

fn connect(host: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Status and body of an answer that ends with its connection.
fn read(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
    Some(Answer { status, body: String::from_utf8_lossy(&bytes[end + 4..]).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer = read(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}").unwrap();

        assert_eq!((answer.status, &*answer.body), (503, "{}"));
        assert!(read(b"SSH-2.0-OpenSSH\r\n\r\n").is_none());
        assert!(read(b"HTTP/1.1 200 OK\r\n").is_none());
    }
}
