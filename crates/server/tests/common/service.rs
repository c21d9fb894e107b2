//! A service over HTTP on a port of this machine, that answers, is slow, talks nonsense, or goes: as a test wants it.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "each test binary uses its own part; where a step fails, so does the test"
)]

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// What it was asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// Method, path and version, in small letters.
    pub line: String,
    /// The headers, in small letters.
    pub head: Vec<String>,
    pub body: Vec<u8>,
}

/// The running service.
#[derive(Debug)]
pub struct Service {
    pub address: SocketAddr,
    scheme: &'static str,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
}

impl Service {
    /// Answers every request by `answer`, until that says `None` and the connection ends without a word.
    pub fn open(answer: impl Fn(&Request) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::start("http", |stream| stream, answer)
    }

    /// The same over TLS, by this certificate and key, PEM.
    pub fn open_tls(chain: &str, key: &str, answer: impl Fn(&Request) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let config = Arc::new(config);
        let wrap = move |stream| {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            rustls::StreamOwned::new(connection, stream)
        };
        Self::start("https", wrap, answer)
    }

    fn start<S: Read + Write + 'static>(
        scheme: &'static str,
        wrap: impl Fn(TcpStream) -> S + Send + Sync + 'static,
        answer: impl Fn(&Request) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service =
            Self { address: listener.local_addr().unwrap(), scheme, requests: Arc::default(), connections: Arc::default() };
        let (requests, connections) = (Arc::clone(&service.requests), Arc::clone(&service.connections));
        let (wrap, answer) = (Arc::new(wrap), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                connections.fetch_add(1, Ordering::SeqCst);
                let (wrap, answer, requests) = (Arc::clone(&wrap), Arc::clone(&answer), Arc::clone(&requests));
                thread::spawn(move || serve(wrap(stream.unwrap()), &*answer, &requests));
            }
        });
        service
    }

    /// Where something of it is, by address.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// The same by name.
    pub fn url_by(&self, name: &str, path: &str) -> String {
        format!("{}://{name}:{}{path}", self.scheme, self.address.port())
    }

    /// What it was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// So many requests, on so many connections.
    pub fn count(&self) -> (usize, usize) {
        (self.requests().len(), self.connections.load(Ordering::SeqCst))
    }
}

fn serve(stream: impl Read + Write, answer: &dyn Fn(&Request) -> Option<Vec<u8>>, requests: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        let Some(said) = answer(&request) else { return };
        // Who asked may not want to know any more.
        if reader.get_mut().write_all(&said).and_then(|()| reader.get_mut().flush()).is_err() {
            return;
        }
    }
}

/// `None`: the other end is gone, or never came so far.
fn read(reader: &mut BufReader<impl Read>) -> Option<Request> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let len = head.iter().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    Some(Request { line: head.remove(0), head, body })
}

/// An answer with a length.
pub fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
