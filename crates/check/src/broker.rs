//! A broker under test: a port of its own, data of its own, stopped and started again at will.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitStatus;

use tempfile::TempDir;

use crate::load::{Durability, LoadError, Peer, Process, Running, free_port};

/// A broker under test. Its methods panic with the broker's log when it does not do as told: they are for tests.
#[derive(Debug)]
pub struct Broker {
    peer: Peer,
    port: u16,
    dir: TempDir,
    running: Option<Running>,
}

impl Broker {
    /// Starts `program serve`, with `extra` words on its command line. `COLUMBA_TEST_BROKER=mosquitto` takes the installed
    /// mosquitto instead, which judges the test.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start(program: &str, extra: &[&str]) -> Self {
        let other = std::env::var_os("COLUMBA_TEST_BROKER").filter(|name| name == "mosquitto");
        let mosquitto = other.and_then(|_| Peer::mosquitto(Durability::EveryChange));
        Self::of(mosquitto.unwrap_or_else(|| Peer::columba(program, extra)))
    }

    /// Starts any peer.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn of(peer: Peer) -> Self {
        let port = free_port().expect("the loopback interface has a free port");
        let dir = tempfile::tempdir().expect("the system has a folder for scratch files");
        let mut broker = Self { peer, port, dir, running: None };
        broker.restart();
        broker
    }

    /// Starts it again on the same port, with the same data.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn restart(&mut self) {
        self.running = None;
        let started = self.peer.start(self.port, self.dir.path());
        self.running = Some(self.or_log(started));
    }

    /// SIGKILL: no warning, nothing flushed.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// SIGTERM, and how it left.
    ///
    /// # Panics
    ///
    /// When it does not leave.
    pub fn terminate(&mut self) -> ExitStatus {
        let status = self.running.as_mut().map(Running::terminate).expect("it runs");
        self.or_log(status)
    }

    /// How it left, by itself.
    ///
    /// # Panics
    ///
    /// When it stays.
    pub fn leave(&mut self) -> ExitStatus {
        let status = self.running.as_mut().map(Running::leave).expect("it runs");
        self.or_log(status)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Its process, to look at.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn process(&self) -> Process {
        self.running.as_ref().map(Running::process).expect("it runs")
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens, as a URL.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join(format!("{}.log", self.peer.name()))).unwrap_or_default()
    }

    fn or_log<T>(&self, result: Result<T, LoadError>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => panic!("{error}\n{}", self.log()),
        }
    }
}
