//! How a client is started: by a shell line, or by a test that is one itself.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::{Order, Role};
use crate::script::{Stop, Verdict};

/// Starts clients.
pub trait Start {
    /// Starts one; it is skipped where it cannot do this.
    fn start(&self, order: &Order) -> Verdict<Box<dyn Running>>;
}

/// A client that was started.
pub trait Running {
    /// Whether it is gone.
    fn has_ended(&mut self) -> bool;
    /// What it has printed so far.
    fn output(&self) -> String;
    /// Ends it.
    fn end(&mut self);
}

/// Lines for `sh`, in which `{host}`, `{port}`, `{version}`, `{qos}`, `{topic}`, `{payload}` and `{id}` are filled in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Commands {
    /// Publishes `{payload}` to `{topic}` at `{qos}`, and stays until it is acknowledged.
    pub publisher: Option<String>,
    /// Subscribes to `{topic}` at `{qos}` as `{id}`, keeps its session, prints the payloads, and stays.
    pub subscriber: Option<String>,
    /// How the client's command line writes the versions, oldest first.
    pub versions: [String; 3],
}

impl Start for Commands {
    fn start(&self, order: &Order) -> Verdict<Box<dyn Running>> {
        let (line, option) = match order.role {
            Role::Publisher => (&self.publisher, "--publisher"),
            Role::Subscriber => (&self.subscriber, "--subscriber"),
        };
        let Some(line) = line else { return Err(Stop::Skipped(format!("no {option} was given"))) };
        let index = columba_proto::Version::ALL.iter().position(|version| *version == order.version);
        let version = index.and_then(|index| self.versions.get(index)).filter(|version| !version.is_empty());
        let Some(version) = version else {
            return Err(Stop::Skipped(format!("the client is said not to speak MQTT {}", order.version.name())));
        };
        let line = line
            .replace("{host}", &order.address.ip().to_string())
            .replace("{port}", &order.address.port().to_string())
            .replace("{version}", version)
            .replace("{qos}", &(order.qos as u8).to_string())
            .replace("{topic}", &order.topic)
            .replace("{payload}", &order.payload)
            .replace("{id}", &order.client_id);
        Program::start(&line).map(|program| -> Box<dyn Running> { Box::new(program) })
    }
}

/// A program and what it has printed.
struct Program {
    child: Child,
    output: Arc<Mutex<Vec<u8>>>,
}

impl Program {
    fn start(line: &str) -> Verdict<Self> {
        // `exec`: what is ended later is the client, not the shell before it.
        let mut child = Command::new("sh")
            .args(["-c", &format!("exec {line}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Stop::Skipped(format!("cannot run sh: {error}")))?;
        let output = Arc::new(Mutex::new(Vec::new()));
        if let Some(mut stdout) = child.stdout.take() {
            let output = Arc::clone(&output);
            thread::spawn(move || {
                let mut chunk = [0; 4_096];
                while let Ok(count @ 1..) = stdout.read(&mut chunk) {
                    output.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..count]);
                }
            });
        }
        Ok(Self { child, output })
    }
}

impl Running for Program {
    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn end(&mut self) {
        // It may be gone by itself.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}
