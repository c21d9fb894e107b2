//! Brokers to measure: started on a free port, stopped when dropped.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{LoadError, Process};
use crate::outside;

/// A broker that does not listen after this has failed to start.
const START_WAIT_MAX: Duration = Duration::from_secs(30);
/// A broker that has not left after SIGTERM is killed after this.
const STOP_WAIT_MAX: Duration = Duration::from_secs(20);

/// Below every system's range of ephemeral ports, above the ports with a name.
const PORTS: Range<u16> = 20_000..32_000;

/// A broker that can be started.
#[derive(Clone, Debug)]
pub struct Peer {
    name: String,
    program: PathBuf,
    kind: Kind,
    /// Further words of its command line.
    extra: Vec<String>,
    /// Where its data goes, if not beside its log.
    data: Option<PathBuf>,
    /// The file that says where it listens, if not the command line.
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Mosquitto(Durability),
    Columba,
}

/// What mosquitto keeps over a restart. (columba keeps what it acknowledged, always.)
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Durability {
    /// Nothing: what it does without configuration.
    Memory,
    /// Its database is written now and then, and at the end; what came since is lost with a crash.
    NowAndThen,
    /// Its database is written at every change.
    EveryChange,
}

impl Peer {
    /// The installed mosquitto.
    pub fn mosquitto(durability: Durability) -> Option<Self> {
        let program = outside::program("mosquitto")?;
        Some(Self {
            name: "mosquitto".to_owned(),
            program,
            kind: Kind::Mosquitto(durability),
            extra: Vec::new(),
            data: None,
            config: None,
        })
    }

    /// `program serve`, with further words for its command line.
    pub fn columba(program: impl Into<PathBuf>, extra: &[&str]) -> Self {
        Self {
            name: "columba".to_owned(),
            program: program.into(),
            kind: Kind::Columba,
            extra: extra.iter().map(|&word| word.to_owned()).collect(),
            data: None,
            config: None,
        }
    }

    /// columba listens where this file says, on the port that it is started on among others.
    #[must_use]
    pub fn with_config(self, file: impl Into<PathBuf>) -> Self {
        Self { config: Some(file.into()), ..self }
    }

    /// columba's data goes into `dir`, while its log stays where it is started.
    #[must_use]
    pub fn with_data_in(self, dir: impl Into<PathBuf>) -> Self {
        Self { data: Some(dir.into()), ..self }
    }

    /// What to call it in a table.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it on `port` with everything it writes in `dir`, and waits until it listens.
    pub fn start(&self, port: u16, dir: &Path) -> Result<Running, LoadError> {
        let log = dir.join(format!("{}.log", self.name));
        let output = File::options().create(true).append(true).open(&log).map_err(LoadError::io("opening the broker's log"))?;
        let errors = output.try_clone().map_err(LoadError::io("opening the broker's log"))?;
        let mut command = Command::new(&self.program);
        match self.kind {
            Kind::Mosquitto(durability) => {
                let conf = dir.join("mosquitto.conf");
                fs::write(&conf, mosquitto_conf(port, durability, dir)).map_err(LoadError::io("writing mosquitto.conf"))?;
                command.arg("-c").arg(conf);
            }
            Kind::Columba => {
                let data = self.data.clone().unwrap_or_else(|| dir.join("data"));
                command.args(["serve", "--http", "off", "--data-dir"]).arg(data);
                match &self.config {
                    Some(file) => command.arg("--config").arg(file),
                    None => command.args(["--listen", &format!("mqtt://127.0.0.1:{port}")]),
                };
            }
        }
        let child = command.args(&self.extra).current_dir(dir).stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        let child = child.map_err(LoadError::io("starting the broker"))?;
        let mut running = Running { child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) };
        if running.listens_within(START_WAIT_MAX) {
            Ok(running)
        } else {
            Err(LoadError::NotListening { program: self.name.clone(), log })
        }
    }
}

fn mosquitto_conf(port: u16, durability: Durability, dir: &Path) -> String {
    let listener = format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
    match durability {
        Durability::Memory => listener,
        Durability::NowAndThen => listener + &persistence(dir) + "max_queued_messages 0\n",
        Durability::EveryChange => listener + &persistence(dir) + "autosave_interval 1\nautosave_on_changes true\n",
    }
}

fn persistence(dir: &Path) -> String {
    // As the user who starts it: it would give up root and could not write into `dir`.
    format!("user root\npersistence true\npersistence_location {}/\n", dir.display())
}

/// A broker that runs, and is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process, to look at.
    pub fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    /// SIGKILL: no warning, nothing flushed.
    pub fn kill(&mut self) -> Result<(), LoadError> {
        self.child.kill().map_err(LoadError::io("killing the broker"))?;
        self.child.wait().map_err(LoadError::io("waiting for the broker")).map(drop)
    }

    /// SIGTERM, then its exit status; SIGKILL for one that does not go.
    pub fn terminate(&mut self) -> Result<ExitStatus, LoadError> {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .map_err(|error| LoadError::io("terminating the broker")(error.into()))?;
        }
        self.leave()
    }

    /// Its exit status once it has left by itself; SIGKILL for one that does not go.
    pub fn leave(&mut self) -> Result<ExitStatus, LoadError> {
        let deadline = Instant::now() + STOP_WAIT_MAX;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().map_err(LoadError::io("waiting for the broker"))? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.kill()?;
        Err(LoadError::Stalled { doing: "waiting for the broker to leave" })
    }

    fn listens_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if TcpStream::connect(self.address).is_ok() {
                return true;
            }
            if !matches!(self.child.try_wait(), Ok(None)) {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already is what we want.
        self.kill().ok();
    }
}

/// A port of the loopback interface on which nothing listens. Not one from which the system connects: a client that tries
/// again and again while its broker is away would one day connect to itself.
pub fn free_port() -> Result<u16, LoadError> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Tests of several processes run side by side: each begins somewhere else.
    let own = (std::process::id() % 997) as u16;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        if step >= PORTS.end - PORTS.start {
            return Err(LoadError::Stalled { doing: "looking for a free port" });
        }
        let port = PORTS.start + (own * 11 + step) % (PORTS.end - PORTS.start);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
}
